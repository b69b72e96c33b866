"""
Certificates: from files, from the server itself, and what TLS is spoken with them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from twisted.logger import LogLevel, capturedLogs
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.net.network import Client, NetworkTestCase
from twisted_mailstack.errors import SessionEnded
from twisted_mailstack.net.protocol import MailFactory
from twisted_mailstack.net.tls import (
    RENEW_DAYS,
    SELF_SIGNED_DAYS,
    Certificate,
    CertificateProblem,
    Certificates,
    loadCertificates,
    selfSigned,
)
from twisted_mailstack.wire.stream import Stream


class Issuer:
    """
    Something that signs certificates.

    @ivar certificate: its own.
    """

    def __init__(self, name: str, by: Issuer | None = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (by or self).issue(name, self.key, ca=True)

    def issue(
        self, name: str, key: Any, days: float = 90, ca: bool = False, names: Sequence[str] = ()
    ) -> x509.Certificate:
        """
        @param days: until it expires.
        @param names: of hosts that it is for.
        @return: a certificate for a key.
        """
        now = datetime.now(UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        algorithm = None if isinstance(self.key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1000))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            hosts = x509.SubjectAlternativeName([x509.DNSName(each) for each in names])
            builder = builder.add_extension(hosts, critical=False)
        return builder.sign(self.key, algorithm)


def pem(what: Any, passphrase: bytes | None = None) -> bytes:
    """
    @return: a certificate or a private key as PEM.
    """
    if isinstance(what, x509.Certificate):
        return what.public_bytes(serialization.Encoding.PEM)
    encryption = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    octets: bytes = what.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    return octets


@implementer(IOpenSSLClientConnectionCreator)
class ClientTLS:
    """
    A client that speaks certain versions only, and takes any certificate.
    """

    def __init__(self, lowest: int, highest: int) -> None:
        self.context = SSL.Context(SSL.TLS_METHOD)
        self.context.set_min_proto_version(lowest)
        self.context.set_max_proto_version(highest)
        # OpenSSL itself doesn't begin anything old otherwise.
        self.context.set_cipher_list(b"ALL:@SECLEVEL=0")

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """See IOpenSSLClientConnectionCreator."""
        return SSL.Connection(self.context, None)


class CertificateTestCase(NetworkTestCase):
    """
    @ivar certificatePath: where the certificate of the test is to be written.
    @ivar keyPath: likewise its key.
    @ivar stream: the server's, of the last connection.
    """

    def setUp(self) -> None:
        """A directory."""
        super().setUp()
        self.directory = Path(self.mktemp())
        self.directory.mkdir(parents=True)
        self.certificatePath = self.directory / "fullchain.pem"
        self.keyPath = self.directory / "privkey.pem"

    def write(self, certificates: bytes, key: bytes) -> None:
        """Write the files, as an ACME client does: new ones that take the place of the old."""
        for path, octets in ((self.certificatePath, certificates), (self.keyPath, key)):
            new = path.with_suffix(".new")
            new.write_bytes(octets)
            # Seen as changed, however coarse the file system's clock is.
            before = path.stat().st_mtime_ns if path.exists() else 0
            os.replace(new, path)
            os.utime(path, ns=(before + 1_000_000_000, before + 1_000_000_000))

    def writeLeaf(self, name: str, days: float = 90) -> None:
        """Write a certificate by a new issuer, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        self.write(pem(Issuer("Test CA").issue(name, key, days)), pem(key))

    def load(self) -> Certificate:
        """
        @return: the certificate in the files.
        """
        return Certificate(self.certificatePath, self.keyPath)

    def connect(self, certificate: Any, options: Any = None) -> Client:
        """
        @return: a client that has shaken hands with a server which has that certificate.
        """

        async def serve(stream: Stream) -> None:
            self.stream = stream
            try:
                while True:
                    stream.write(await stream.readLine(100) + b"\r\n")
            except SessionEnded:
                pass

        factory = MailFactory(serve, "test", self.network)
        client = self.network.connect(self.implicitTLS(factory, certificate))
        client.startTLS(options)
        return client

    def shown(self, certificate: Any) -> list[str]:
        """
        @return: the names in the chain that a client gets.
        """
        chain = self.connect(certificate).tls.get_peer_cert_chain(as_cryptography=True)
        return [
            str(each.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value) for each in chain
        ]


class FileTests(CertificateTestCase):
    """
    What is in the files.
    """

    def test_interface(self) -> None:
        """A certificate is what Twisted's endpoints and startTLS take."""
        self.writeLeaf("mx.example.test")
        verifyObject(IOpenSSLServerConnectionCreator, self.load())

    def test_chain(self) -> None:
        """A client gets the whole chain of the file, the server's own certificate first."""
        root = Issuer("Root")
        middle = Issuer("Middle", root)
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = middle.issue("mx.example.test", key)
        self.write(pem(leaf) + b"\n# the issuer\n" + pem(middle.certificate), pem(key))
        self.assertEqual(self.shown(self.load()), ["mx.example.test", "Middle"])

    def test_keyTypes(self) -> None:
        """RSA, ECDSA and Ed25519 keys serve."""
        issuer = Issuer("Test CA")
        for key in (
            rsa.generate_private_key(65537, 2048),
            ec.generate_private_key(ec.SECP384R1()),
            ed25519.Ed25519PrivateKey.generate(),
        ):
            self.write(pem(issuer.issue("mx.example.test", key)), pem(key))
            client = self.connect(self.load())
            self.assertEqual(client.send(b"one\r\n"), b"one\r\n")

    def test_oneFile(self) -> None:
        """Certificate and key may be in one file."""
        key = ec.generate_private_key(ec.SECP256R1())
        self.certificatePath.write_bytes(pem(key) + pem(Issuer("CA").issue("mx.test", key)))
        self.assertEqual(
            self.shown(Certificate(self.certificatePath, self.certificatePath)), ["mx.test"]
        )

    def test_expires(self) -> None:
        """It is known when the certificate ends."""
        self.writeLeaf("mx.example.test", days=12)
        left = self.load().expires - datetime.now(UTC)
        self.assertLess(abs(left - timedelta(days=12)), timedelta(minutes=5))

    def test_expired(self) -> None:
        """One that has expired serves, since the mail must flow, and the log says so."""
        self.writeLeaf("mx.example.test", days=-3)
        with capturedLogs() as events:
            certificate = self.load()
        (event,) = (each for each in events if each["log_level"] is LogLevel.warn)
        self.assertEqual(event["path"], str(self.certificatePath))
        self.assertEqual(self.shown(certificate), ["mx.example.test"])


class OCSPTests(CertificateTestCase):
    """
    OCSP is left to the certificate.
    """

    def test_asked(self) -> None:
        """A client that asks for a response with the handshake gets none, and its session."""
        self.writeLeaf("mx.example.test")
        context = SSL.Context(SSL.TLS_METHOD)
        answers: list[bytes] = []
        context.set_ocsp_client_callback(lambda connection, data, _: not answers.append(data))

        @implementer(IOpenSSLClientConnectionCreator)
        class Options:
            def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
                connection = SSL.Connection(context, None)
                connection.request_ocsp()
                return connection

        client = self.connect(self.load(), Options())
        self.assertEqual(client.send(b"one\r\n"), b"one\r\n")
        self.assertEqual(answers, [b""])


class ProblemTests(CertificateTestCase):
    """
    Files that can't be used: the text says which one, and why.
    """

    def setUp(self) -> None:
        """Good files, for the test to spoil."""
        super().setUp()
        self.writeLeaf("mx.example.test")

    def assertProblem(self, path: Path, reason: str) -> None:
        """Loading fails with a text that names the file and the reason."""
        text = str(self.assertRaises(CertificateProblem, self.load))
        self.assertIn(str(path), text)
        self.assertIn(reason, text)

    def test_missing(self) -> None:
        """A file that isn't there."""
        for path in (self.keyPath, self.certificatePath):
            path.unlink()
            self.assertProblem(path, "No such file")

    def test_directory(self) -> None:
        """A directory in place of a file."""
        for path in (self.keyPath, self.certificatePath):
            path.unlink()
            path.mkdir()
            self.assertProblem(path, "directory")

    def test_noCertificate(self) -> None:
        """A file without a certificate: empty, something else, the key, a damaged one."""
        whole = self.certificatePath.read_bytes()
        for octets in (b"", b"\xff\x00", self.keyPath.read_bytes(), whole[:-60], whole[200:]):
            self.certificatePath.write_bytes(octets)
            self.assertProblem(self.certificatePath, "no valid PEM certificate")

    def test_noKey(self) -> None:
        """A file without a key: empty, something else, the certificate, a damaged one."""
        whole = self.keyPath.read_bytes()
        for octets in (b"", b"\xff\x00", self.certificatePath.read_bytes(), whole[:-60]):
            self.keyPath.write_bytes(octets)
            self.assertProblem(self.keyPath, "no valid PEM private key")

    def test_encryptedKey(self) -> None:
        """A key with a passphrase: nobody is there to be asked for it."""
        key = ec.generate_private_key(ec.SECP256R1())
        self.write(pem(Issuer("CA").issue("mx.test", key)), pem(key, b"secret"))
        self.assertProblem(self.keyPath, "without a passphrase")

    def test_otherKey(self) -> None:
        """A key that isn't the certificate's, of the same and of another type."""
        for key in (ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()):
            self.keyPath.write_bytes(pem(key))
            self.assertProblem(self.keyPath, "don't belong together")

    def test_wrongOrder(self) -> None:
        """A chain with the issuer first."""
        issuer = Issuer("CA")
        key = ec.generate_private_key(ec.SECP256R1())
        self.write(pem(issuer.certificate) + pem(issuer.issue("mx.test", key)), pem(key))
        self.assertProblem(self.certificatePath, "the first certificate of the file must be")


class ReloadTests(CertificateTestCase):
    """
    The files change while the server runs.
    """

    def setUp(self) -> None:
        """A certificate that serves."""
        super().setUp()
        self.writeLeaf("old.example.test")
        self.served = self.load()

    def test_unchanged(self) -> None:
        """Files that didn't change aren't read again."""
        self.patch(self.served, "_load", None)
        self.assertFalse(self.served.reload())

    def test_changed(self) -> None:
        """New connections get the new certificate; sessions that are there go on."""
        client = self.connect(self.served)
        self.writeLeaf("new.example.test", days=30)
        self.assertEqual(self.shown(self.served), ["old.example.test"])
        self.assertTrue(self.served.reload())
        self.assertEqual(self.shown(self.served), ["new.example.test"])
        self.assertEqual(client.send(b"still there\r\n"), b"still there\r\n")
        self.assertLess(self.served.expires, datetime.now(UTC) + timedelta(days=31))
        self.assertFalse(self.served.reload())

    def test_symbolicLink(self) -> None:
        """A link that points to other files now is a change, as certbot makes it."""
        archive = self.directory.resolve() / "archive"
        for number, name in enumerate(("one.example.test", "two.example.test")):
            self.certificatePath = archive / f"{number}.pem"
            self.keyPath = archive / f"{number}.key"
            archive.mkdir(exist_ok=True)
            self.writeLeaf(name)
        links = self.directory / "live.pem", self.directory / "live.key"

        def link(number: int) -> None:
            for path, suffix in zip(links, ("pem", "key"), strict=True):
                path.unlink(missing_ok=True)
                path.symlink_to(archive / f"{number}.{suffix}")

        link(0)
        served = Certificate(*links)
        link(1)
        self.assertTrue(served.reload())
        self.assertEqual(self.shown(served), ["two.example.test"])

    def test_unusable(self) -> None:
        """
        If the new files can't be used the old certificate goes on serving, and when they are put
        right the new one serves. The log says it once, not every minute.
        """
        good = self.certificatePath.read_bytes(), self.keyPath.read_bytes()
        with capturedLogs() as events:
            self.write(b"not a certificate", b"not a key")
            for _ in range(3):
                self.assertFalse(self.served.reload())
            self.assertEqual(self.shown(self.served), ["old.example.test"])
            self.certificatePath.unlink()
            self.assertFalse(self.served.reload())
        errors = [each["problem"] for each in events if each["log_level"] is LogLevel.error]
        self.assertEqual(len(errors), 2)
        self.assertIn("no valid PEM certificate", errors[0])
        self.assertIn("No such file", errors[1])
        self.write(*good)
        self.assertTrue(self.served.reload())

    def test_betweenTheTwo(self) -> None:
        """
        Seen when only one of the two files is new, nothing changes; the next look finds both.
        """
        key = self.keyPath.read_bytes()
        self.writeLeaf("new.example.test")
        newKey = self.keyPath.read_bytes()
        self.keyPath.write_bytes(key)
        self.assertFalse(self.served.reload())
        self.assertEqual(self.shown(self.served), ["old.example.test"])
        self.write(self.certificatePath.read_bytes(), newKey)
        self.assertTrue(self.served.reload())
        self.assertEqual(self.shown(self.served), ["new.example.test"])


class VersionTests(CertificateTestCase):
    """
    RFC 8996: nothing below TLS 1.2.
    """

    def setUp(self) -> None:
        """A certificate."""
        super().setUp()
        self.writeLeaf("mx.example.test")
        self.served = self.load()

    def test_newest(self) -> None:
        """TLS 1.3 is spoken with who can."""
        self.assertEqual(self.connect(self.served).tls.get_protocol_version_name(), "TLSv1.3")

    def test_floor(self) -> None:
        """TLS 1.2 is spoken with who can't more."""
        client = self.connect(self.served, ClientTLS(SSL.TLS1_VERSION, SSL.TLS1_2_VERSION))
        self.assertEqual(client.tls.get_protocol_version_name(), "TLSv1.2")
        self.assertEqual(client.send(b"one\r\n"), b"one\r\n")

    def test_forbidden(self) -> None:
        """Older ones are forbidden, and not only by what OpenSSL does of its own accord."""
        for context in (self.served.context, self.served.silent):
            options = context.set_options(0)
            for each in (SSL.OP_NO_SSLv3, SSL.OP_NO_TLSv1, SSL.OP_NO_TLSv1_1):
                self.assertTrue(options & each)
            for each in (SSL.OP_NO_TLSv1_2, SSL.OP_NO_TLSv1_3):
                self.assertFalse(options & each)

    def test_renegotiation(self) -> None:
        """
        No client begins the handshake anew, which costs the server more than the client (and is
        how text of others was put before a session, RFC 5746 §1); other clients don't notice.
        """
        client = self.connect(self.served, ClientTLS(SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION))
        self.assertEqual(client.send(b"one\r\n"), b"one\r\n")
        tls = client.tls
        before = tls.server_random()
        tls.renegotiate()
        self.assertRaises(SSL.WantReadError, tls.do_handshake)
        FileDescriptor.write(client.transport, tls.bio_read(2**16))
        self.network.pump()
        # Refused (no_renegotiation), which ends it for this client: there was no second hello.
        self.assertIsNotNone(client.lost)
        self.assertEqual(tls.server_random(), before)
        self.assertEqual(self.connect(self.served).send(b"three\r\n"), b"three\r\n")

    def test_below(self) -> None:
        """A client that knows TLS 1.1 at most is told that its version won't do, and closed."""
        sent: list[bytes] = []
        write = SSL.Connection.bio_write
        self.patch(SSL.Connection, "bio_write", lambda c, data: sent.append(data) or write(c, data))
        client = self.connect(self.served, ClientTLS(SSL.TLS1_VERSION, SSL.TLS1_1_VERSION))
        self.assertIsNotNone(client.lost)
        # The last record: alert (21), fatal (2), protocol_version (70).
        self.assertEqual((sent[-1][0], sent[-1][-2:]), (21, bytes([2, 70])))


class SelfSignedTests(CertificateTestCase):
    """
    The certificate that a server makes for itself.
    """

    def make(self, hostname: str = "mx.example.test") -> Certificate:
        """
        @return: the certificate of the test's directory.
        """
        return selfSigned(self.directory, hostname)

    def leaf(self, certificate: Certificate) -> x509.Certificate:
        """
        @return: what a client sees.
        """
        found = self.connect(certificate).tls.get_peer_certificate(as_cryptography=True)
        assert found is not None
        return found

    def test_made(self) -> None:
        """It is made for the server's name and localhost, and serves."""
        leaf = self.leaf(self.make())
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        dns = names.get_values_for_type(x509.DNSName)
        self.assertIn("mx.example.test", dns)
        self.assertIn("localhost", dns)
        self.assertLess(leaf.not_valid_before_utc, datetime.now(UTC))

    def test_modes(self) -> None:
        """Nobody else can read the key, not even while it is written."""
        modes: list[int] = []
        replace = os.replace

        def spy(source: Any, target: Any) -> None:
            modes.append(stat.S_IMODE(os.stat(source).st_mode))
            replace(source, target)

        self.patch(os, "replace", spy)
        before = os.umask(0)
        try:
            made = self.make()
        finally:
            os.umask(before)
        self.assertEqual(modes, [0o600, 0o644])
        self.assertEqual(stat.S_IMODE(made.key.stat().st_mode), 0o600)
        self.assertEqual(len(list(self.directory.iterdir())), 2)

    def test_kept(self) -> None:
        """A restart uses the one that is there: clients that trust it go on trusting it."""
        self.assertEqual(self.leaf(self.make()), self.leaf(self.make()))
        self.assertEqual(self.leaf(self.make()), self.leaf(self.make("other.example.test")))

    def test_damaged(self) -> None:
        """Half of a pair, or a damaged one, is made anew."""
        for name in ("self-signed.key", "self-signed.pem"):
            before = self.leaf(self.make())
            (self.directory / name).write_bytes(b"")
            self.assertNotEqual(self.leaf(self.make()), before)
            (self.directory / name).unlink()
            self.assertNotEqual(self.leaf(self.make()), before)

    def test_leftovers(self) -> None:
        """What an interrupted start left is no hindrance."""
        (self.directory / "self-signed.key.new").write_bytes(b"half")
        self.leaf(self.make())

    def test_renewedAtStart(self) -> None:
        """One that is about to expire is made anew at the next start."""
        before = self.leaf(self.make())
        self.age(SELF_SIGNED_DAYS - RENEW_DAYS - 1)
        self.assertEqual(self.leaf(self.make()), before)
        self.age(SELF_SIGNED_DAYS - RENEW_DAYS + 1)
        self.assertNotEqual(self.leaf(self.make()), before)

    def test_renewedMeanwhile(self) -> None:
        """One that is about to expire is renewed while the server runs."""
        served = self.make()
        before = self.leaf(served)
        self.age(SELF_SIGNED_DAYS - RENEW_DAYS - 1)
        self.assertFalse(served.reload())
        self.age(SELF_SIGNED_DAYS - RENEW_DAYS + 1)
        self.assertTrue(served.reload())
        self.assertNotEqual(self.leaf(served), before)
        self.assertFalse(served.reload())

    def test_notRenewed(self) -> None:
        """If it can't be written the old one serves, and the log says so."""
        served = self.make()
        before = self.leaf(served)
        self.age(SELF_SIGNED_DAYS - 1)

        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        self.patch(os, "replace", fail)
        with capturedLogs() as events:
            self.assertFalse(served.reload())
        self.assertIn("No space left", str(events[0]["error"]))
        self.assertEqual(self.leaf(served), before)

    def age(self, days: float) -> None:
        """Let time pass, for certificates."""
        now = datetime.now(UTC) + timedelta(days=days)

        class Later(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return now

        self.patch(__import__("twisted_mailstack.net.tls").net.tls, "datetime", Later)

    def test_names(self) -> None:
        """Whatever the machine is called, a certificate is made."""
        for name in ("", "x" * 200 + ".example.test", "пример.test", "192.0.2.1", "[::1]"):
            self.leaf(self.make(name))
            for path in self.directory.iterdir():
                path.unlink()


@implementer(IOpenSSLClientConnectionCreator)
class NamingTLS:
    """
    A client that says which host it wants, and takes any certificate.
    """

    def __init__(self, name: str | None) -> None:
        self._name = name
        self._context = SSL.Context(SSL.TLS_METHOD)

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """See IOpenSSLClientConnectionCreator."""
        connection = SSL.Connection(self._context, None)
        if self._name is not None:
            connection.set_tlsext_host_name(self._name.encode("ascii"))
        return connection


class PairTestCase(CertificateTestCase):
    """
    Certificates for several names.
    """

    def pair(self, *names: str) -> tuple[Path, Path]:
        """
        @return: files with a certificate for these names and its key.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        made = Issuer("Test CA").issue(names[0], key, names=names)
        files = self.directory / f"{names[0]}.pem", self.directory / f"{names[0]}.key"
        for path, octets in zip(files, (pem(made), pem(key)), strict=True):
            path.write_bytes(octets)
        return files


class NamesTests(PairTestCase):
    """
    Several certificates: a client that names its host gets the one for it (RFC 6066 §3).
    """

    def shownTo(self, certificates: Any, name: str | None) -> str:
        """
        @return: the name of the certificate that a client gets who wants that host.
        """
        client = self.connect(certificates, NamingTLS(name))
        found = client.tls.get_peer_certificate(as_cryptography=True)
        subject = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        return str(subject)

    def test_names(self) -> None:
        """By name, whatever its case; by a wildcard for one label; else the default."""
        certificates = Certificates(
            Certificate(*self.pair("mx.example.test")),
            [
                Certificate(*self.pair("*.a.test", "a.test")),
                Certificate(*self.pair("special.a.test")),
                Certificate(*self.pair("mail.b.test", "imap.b.test")),
            ],
        )
        verifyObject(IOpenSSLServerConnectionCreator, certificates)
        for name, expected in (
            (None, "mx.example.test"),
            ("mx.example.test", "mx.example.test"),
            ("unknown.test", "mx.example.test"),
            ("a.test", "*.a.test"),
            ("any.a.test", "*.a.test"),
            ("SPECIAL.A.test", "special.a.test"),
            ("x.any.a.test", "mx.example.test"),
            ("imap.b.test", "mail.b.test"),
        ):
            self.assertEqual(self.shownTo(certificates, name), expected, name)

    def test_session(self) -> None:
        """A session with another than the default certificate is one like any other."""
        certificates = Certificates(
            Certificate(*self.pair("mx.example.test")), [Certificate(*self.pair("b.test"))]
        )
        client = self.connect(certificates, NamingTLS("b.test"))
        self.assertEqual(client.send(b"one\r\n"), b"one\r\n")

    def test_reload(self) -> None:
        """Each is read again when it changes; sessions that are there go on."""
        certificates = Certificates(
            Certificate(*self.pair("mx.example.test")), [Certificate(*self.pair("b.test"))]
        )
        client = self.connect(certificates, NamingTLS("b.test"))
        self.assertFalse(certificates.reload())
        for name in ("mx.example.test", "b.test"):
            before = [path.stat().st_mtime_ns for path in self.pair(name)]
            files = self.pair(name, "new.test")
            for path, stamp in zip(files, before, strict=True):
                os.utime(path, ns=(stamp + 1_000_000_000, stamp + 1_000_000_000))
            self.assertTrue(certificates.reload())
        self.assertEqual(certificates.find("new.test").names, {"mx.example.test", "new.test"})
        self.assertEqual(client.send(b"two\r\n"), b"two\r\n")

    def test_load(self) -> None:
        """
        What is configured; without a default the one for the server's own name; for names that have
        none a self-signed one.
        """
        own, b = self.pair("mx.example.test"), self.pair("b.test")
        made = self.directory / "made"
        made.mkdir()

        def shown(files: Any, others: Any, names: Sequence[str]) -> list[str]:
            found = loadCertificates(made, "mx.example.test", files, others, names)
            wanted = (None, "mx.example.test", "b.test", "c.test")
            return [self.shownTo(found, name) for name in wanted]

        self.assertEqual(shown(own, [], []), ["mx.example.test"] * 4)
        self.assertEqual(list(made.iterdir()), [])
        both = ["mx.example.test", "mx.example.test", "b.test"]
        self.assertEqual(shown(None, [b, own], []), [*both, "mx.example.test"])
        self.assertEqual(shown(own, [b], ["b.test", "c.test"]), [*both, "c.test"])
        self.assertEqual(len(list(made.iterdir())), 2)
        # The one that is there serves until it is to be for other names.
        before = (made / "self-signed-names.pem").read_bytes()
        shown(own, [b], ["c.test"])
        self.assertEqual((made / "self-signed-names.pem").read_bytes(), before)
        shown(own, [b], ["c.test", "d.test"])
        self.assertNotEqual((made / "self-signed-names.pem").read_bytes(), before)

    def test_selfSigned(self) -> None:
        """With none at all, the self-signed one is for all names."""
        found = loadCertificates(self.directory, "mx.example.test", None, [], ["c.test"])
        self.assertTrue(found.default.names >= {"mx.example.test", "localhost", "c.test"})

    def test_problem(self) -> None:
        """One that can't be used is named."""
        own = self.pair("mx.example.test")
        missing = self.directory / "missing.pem"
        text = str(
            self.assertRaises(
                CertificateProblem, loadCertificates, self.directory, "x", own, [(missing, missing)]
            )
        )
        self.assertIn(str(missing), text)


class ClientCertificateTests(PairTestCase):
    """
    Clients that are asked who they are.
    """

    def client(self, issuer: Issuer | None, name: str | None = None) -> Any:
        """
        @param name: of the host that it wants.
        @return: options of a client that has a certificate of this issuer, if any.
        """
        context = SSL.Context(SSL.TLS_METHOD)
        if issuer is not None:
            key = ec.generate_private_key(ec.SECP256R1())
            context.use_certificate(
                X509.from_cryptography(issuer.issue("alice", key, names=("alice.test",)))
            )
            context.use_privatekey(PKey.from_cryptography_key(key))

        @implementer(IOpenSSLClientConnectionCreator)
        class Options:
            def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
                connection = SSL.Connection(context, None)
                if name is not None:
                    connection.set_tlsext_host_name(name.encode("ascii"))
                return connection

        return Options()

    def served(self, authorities: Path | None) -> Any:
        """
        @return: a server's certificates.
        """
        own = self.pair("mx.example.test")
        return loadCertificates(
            self.directory, "mx.example.test", own, [self.pair("b.test")], (), authorities
        )

    def test_asked(self) -> None:
        """One that is vouched for is known to the session; having none is no obstacle."""
        issuer = Issuer("Clients")
        authorities = self.directory / "clients.pem"
        authorities.write_bytes(pem(issuer.certificate))
        served = self.served(authorities)
        for given, known in ((issuer, True), (None, False)):
            client = self.connect(served, self.client(given))
            self.assertEqual(client.send(b"one\r\n"), b"one\r\n")
            channel = self.stream.info.channel
            assert channel is not None
            self.assertEqual(channel.peerCertificate() is not None, known)

    def test_notVouchedFor(self) -> None:
        """One that nobody vouches for ends the handshake."""
        authorities = self.directory / "clients.pem"
        authorities.write_bytes(pem(Issuer("Clients").certificate))
        client = self.connect(self.served(authorities), self.client(Issuer("Somebody")))
        self.assertTrue(client.lost)

    def test_notAsked(self) -> None:
        """Without EXTERNAL nobody is asked, and nobody's certificate counts."""
        client = self.connect(self.served(None), self.client(Issuer("Clients")))
        self.assertEqual(client.send(b"one\r\n"), b"one\r\n")
        channel = self.stream.info.channel
        assert channel is not None
        self.assertIsNone(channel.peerCertificate())

    def test_silent(self) -> None:
        """
        Where other servers deliver nobody is asked: one that would show a certificate of its own
        comes in, whichever host it wants, and nobody's certificate counts.
        """
        authorities = self.directory / "clients.pem"
        issuer = Issuer("Clients")
        authorities.write_bytes(pem(issuer.certificate))
        served = self.served(authorities)
        self.assertTrue(verifyObject(IOpenSSLServerConnectionCreator, served.silent))
        for by in (issuer, Issuer("Somebody")):
            for name in (None, "mx.example.test", "b.test"):
                client = self.connect(served.silent, self.client(by, name))
                self.assertEqual(client.send(b"one\r\n"), b"one\r\n")
                channel = self.stream.info.channel
                assert channel is not None
                self.assertIsNone(channel.peerCertificate())

    def test_askedByName(self) -> None:
        """Elsewhere everybody is asked, whichever host he wants."""
        authorities = self.directory / "clients.pem"
        issuer = Issuer("Clients")
        authorities.write_bytes(pem(issuer.certificate))
        served = self.served(authorities)
        for name in (None, "mx.example.test", "b.test"):
            client = self.connect(served, self.client(issuer, name))
            self.assertEqual(client.send(b"one\r\n"), b"one\r\n")
            channel = self.stream.info.channel
            assert channel is not None
            self.assertIsNotNone(channel.peerCertificate())
            self.assertTrue(self.connect(served, self.client(Issuer("Somebody"), name)).lost)

    def test_authoritiesChange(self) -> None:
        """Who vouches for clients is read again, like the server's own certificate."""
        authorities = self.directory / "clients.pem"
        authorities.write_bytes(pem(Issuer("Others").certificate))
        served = self.served(authorities)
        issuer = Issuer("Clients")
        self.assertTrue(self.connect(served, self.client(issuer)).lost)
        self.assertFalse(served.reload())
        new = self.directory / "new.pem"
        new.write_bytes(pem(issuer.certificate))
        new.replace(authorities)
        self.assertTrue(served.reload())
        client = self.connect(served, self.client(issuer))
        self.assertEqual(client.send(b"one\r\n"), b"one\r\n")
        authorities.unlink()
        self.assertFalse(served.reload())
        self.assertEqual(self.connect(served, self.client(issuer)).send(b"two\r\n"), b"two\r\n")

    def test_authoritiesMissing(self) -> None:
        """A file that isn't there is named."""
        text = str(self.assertRaises(CertificateProblem, self.served, self.directory / "gone.pem"))
        self.assertIn("gone.pem", text)
