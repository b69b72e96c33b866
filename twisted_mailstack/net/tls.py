# -*- test-case-name: tests.net.test_tls -*-
"""
TLS for servers: certificates from files, read again when they change, or a self-signed one.

L{Certificates} is the context factory for STARTTLS and implicit TLS alike: a client that names the
host it wants (SNI, RFC 6066 §3) gets the certificate for that name. Each new connection gets the
context of the moment, so a new certificate serves at once and no session is dropped. TLS 1.2 is the
floor (RFC 8996 forbids what is below).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.logger import Logger
from zope.interface import implementer

#: A self-signed certificate serves so long, and is renewed when so little of it is left.
SELF_SIGNED_DAYS = 825
RENEW_DAYS = 30


class CertificateProblem(Exception):
    """A certificate or key can't be used; the text says which and why."""


@implementer(IOpenSSLServerConnectionCreator)
class Certificate:
    """
    @ivar certificate: the file with the certificate chain, PEM.
    @ivar key: the file with its private key, PEM.
    @ivar expires: when the certificate that serves ends, UTC.
    @ivar context: what connections are made with now; C{silent}: those whose clients aren't asked
        for a certificate.
    @ivar names: of the hosts that it is for, lower case; C{*} in place of a first label stands for
        any (RFC 6125 §6.4.3).
    """

    expires: datetime
    names: frozenset[str]
    context: SSL.Context
    silent: SSL.Context
    log = Logger()

    def __init__(self, certificate: Path, key: Path, authorities: Path | None = None) -> None:
        """
        @param authorities: a file with the certificates, PEM, of those who vouch for clients: these
            are asked for one (for EXTERNAL, RFC 4422 appendix A), and one that nobody vouches for
            isn't taken. C{None}: no client is asked.
        @raise CertificateProblem: if they can't be used.
        """
        self.certificate = certificate
        self.key = key
        self._authorities = authorities
        self._choose: Callable[[SSL.Connection, bool], None] | None = None
        self._stamp = self._readStamp()
        self._load()
        self._told = ""

    def _readStamp(self) -> tuple[tuple[int, int], ...]:
        try:
            files = (self.certificate, self.key, self._authorities)
            stats = [os.stat(path) for path in files if path is not None]
        except OSError as error:
            raise CertificateProblem(f"{error.filename}: {error.strerror}") from error
        return tuple((each.st_mtime_ns, each.st_ino) for each in stats)

    def _load(self) -> None:
        chain = _readChain(self.certificate)
        private = _readKey(self.key)
        if private.public_key() != chain[0].public_key():
            raise CertificateProblem(
                f"{self.certificate} and {self.key} don't belong together: the first certificate of"
                " the file must be the server's own, and the key must be its key"
            )
        try:
            own, *others = (X509.from_cryptography(each) for each in chain)
            # Says now whether OpenSSL takes them.
            context, silent = (
                CertificateOptions(
                    privateKey=PKey.from_cryptography_key(private),
                    certificate=own,
                    extraCertChain=others,
                    raiseMinimumTo=TLSVersion.TLSv1_2,
                ).getContext()
                for _ in range(2)
            )
            if self._authorities is not None:
                _askClients(context, self._authorities)
        except (SSL.Error, ValueError, TypeError) as error:
            raise CertificateProblem(
                f"{self.certificate} and {self.key} can't be used for TLS: {error}"
            ) from error
        if self._choose is not None:
            choose = self._choose
            silent.set_tlsext_servername_callback(lambda each: choose(each, False))
            context.set_tlsext_servername_callback(lambda each: choose(each, True))
        self.context = context
        self.silent = silent
        self.expires = chain[0].not_valid_after_utc
        self.names = _namesOf(chain[0])
        if self.expires < datetime.now(UTC):
            self.log.warn(
                "the certificate {path} has expired on {expires:%Y-%m-%d}",
                path=str(self.certificate),
                expires=self.expires,
            )

    def reload(self) -> bool:
        """
        Read the files again, if they changed. If they can't be used the old ones go on serving.

        @return: whether new ones serve from now on.
        """
        try:
            stamp = self._readStamp()
            if stamp == self._stamp:
                return False
            self._load()
        except CertificateProblem as problem:
            # This is asked every minute; what is wrong need be told once.
            if str(problem) != self._told:
                self._told = str(problem)
                self.log.error("the certificate was not reloaded: {problem}", problem=self._told)
            return False
        self._stamp = stamp
        self._told = ""
        self.log.info("certificate reloaded: {path}", path=str(self.certificate))
        return True

    def chooseBy(self, choose: Callable[[SSL.Connection, bool], None]) -> None:
        """
        Have somebody look at each connection when the client has said which host it wants.

        @param choose: given the connection, and whether it is one whose client may be asked.
        """
        self._choose = choose
        # pyOpenSSL changes no context that a connection was made with.
        self._load()

    def isFor(self, name: str) -> bool:
        """
        @param name: of a host, lower case.
        @return: whether clients that want it take this certificate, as far as names go.
        """
        return name in self.names or "*." + name.partition(".")[2] in self.names

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """See L{IOpenSSLServerConnectionCreator}."""
        return SSL.Connection(self.context, None)


@implementer(IOpenSSLServerConnectionCreator)
class Silent:
    """
    A server's certificates, for ports where other servers deliver: some of these show a certificate
    of their own when they are asked, which isn't one of a client that logs in, and were refused.
    """

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """See L{IOpenSSLServerConnectionCreator}."""
        return SSL.Connection(self._certificates.default.silent, None)


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """
    All that a server has.

    @ivar default: for clients that name no host, or one for which there is no certificate.
    @ivar silent: the same, where no client is asked for a certificate.
    """

    log = Logger()

    def __init__(self, default: Certificate, others: Sequence[Certificate] = ()) -> None:
        self.default = default
        self.silent = Silent(self)
        self._others = tuple(others)
        if others:
            default.chooseBy(self._choose)

    def reload(self) -> bool:
        """
        As L{Certificate.reload}, for each.

        @return: whether any is new.
        """
        new = [each for each in (self.default, *self._others) if each.reload()]
        return bool(new)

    def find(self, name: str) -> Certificate:
        """
        @param name: of a host, lower case.
        @return: the certificate for it; of several, one that names it and not only C{*}; the
            default if there is none.
        """
        every = (self.default, *self._others)
        exact = [each for each in every if name in each.names]
        return (exact or [each for each in every if each.isFor(name)] or [self.default])[0]

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """See L{IOpenSSLServerConnectionCreator}."""
        return self.default.serverConnectionForTLS(protocol)

    def _choose(self, connection: SSL.Connection, asks: bool) -> None:
        # Called in the midst of the handshake. No exception may leave.
        try:
            name = connection.get_servername()
            if name is not None:
                found = self.find(name.decode("ascii", "replace").lower())
                connection.set_context(found.context if asks else found.silent)
        except Exception:
            self.log.failure("no certificate could be chosen")


def _askClients(context: SSL.Context, authorities: Path) -> None:
    known = [X509.from_cryptography(each) for each in _readChain(authorities)]
    store = context.get_cert_store()
    assert store is not None
    for each in known:
        store.add_cert(each)
    # Who it takes certificates of is told to clients.
    context.set_client_ca_list([each.get_subject() for each in known])
    # Asked, not demanded: there are other ways to log in.
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_CLIENT_ONCE, lambda *given: bool(given[-1]))
    # Sessions are resumed with the certificate that they began with (OpenSSL asks for a name).
    context.set_session_id(b"mailstack")


def _namesOf(certificate: x509.Certificate) -> frozenset[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        # It is for no host by today's rules (RFC 6125 §6.4.4): others may make do with it.
        return frozenset()
    return frozenset(name.lower() for name in found.value.get_values_for_type(x509.DNSName))


def _readChain(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise CertificateProblem(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise CertificateProblem(f"{path} has no valid PEM certificate") from error


def _readKey(path: Path) -> Any:
    try:
        return serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise CertificateProblem(f"{path}: {error.strerror}") from error
    except TypeError as error:
        # OpenSSL would ask for the passphrase on the terminal.
        raise CertificateProblem(
            f"{path} is encrypted: the server needs the key without a passphrase"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateProblem(f"{path} has no valid PEM private key") from error


class SelfSigned(Certificate):
    """
    A self-signed certificate of our own making, renewed before it expires.
    """

    def __init__(
        self,
        directory: Path,
        names: Sequence[str],
        needed: Iterable[str] = (),
        file: str = "self-signed",
        authorities: Path | None = None,
    ) -> None:
        """
        @param names: of hosts, the first one the server's own.
        @param needed: those for which it is made anew if it isn't for them. For others it is kept,
            as clients may trust it.
        @param file: what its files are called.
        """
        self._names = tuple(names)
        self._files = directory / f"{file}.pem", directory / f"{file}.key"
        try:
            super().__init__(*self._files, authorities)
            old = self._expiring or not self.names.issuperset(needed)
        except CertificateProblem:
            old = True
        if old:
            _makeSelfSigned(*self._files, self._names)
            super().__init__(*self._files, authorities)

    @property
    def _expiring(self) -> bool:
        return self.expires < datetime.now(UTC) + timedelta(days=RENEW_DAYS)

    def reload(self) -> bool:
        """
        As L{Certificate.reload}, and renew it if it is about to expire.
        """
        if self._expiring:
            try:
                _makeSelfSigned(*self._files, self._names)
            except OSError as error:
                self.log.error("the certificate was not renewed: {error}", error=str(error))
        return super().reload()


def selfSigned(
    directory: Path, hostname: str, names: Iterable[str] = (), authorities: Path | None = None
) -> Certificate:
    """
    @param directory: where it is kept; must exist.
    @param names: of hosts, besides the server's own, in lower case.
    @return: the self-signed certificate that is kept there, made if there is none that can be used.
    """
    needed = tuple(names)
    every = (hostname, "localhost", socket.gethostname(), *needed)
    names = [each for each in dict.fromkeys(every) if each]
    return SelfSigned(directory, names, needed, authorities=authorities)


def loadCertificates(
    directory: Path,
    hostname: str,
    files: tuple[Path, Path] | None,
    others: Iterable[tuple[Path, Path]] = (),
    names: Iterable[str] = (),
    authorities: Path | None = None,
) -> Certificates:
    """
    Everything that a server shows.

    @param directory: where self-signed certificates are kept; must exist.
    @param files: certificate and key for clients that name no host. C{None}: of the others the
        first that is for C{hostname}, or a self-signed one.
    @param others: certificate and key for other hosts.
    @param names: of hosts that the server is known by, lower case. Those that no certificate is for
        get a self-signed one.
    @param authorities: as of L{Certificate}.
    @raise CertificateProblem: if any can't be used.
    """
    loaded = [Certificate(*each, authorities) for each in others]
    if files is not None:
        default = Certificate(*files, authorities)
    else:
        own = [each for each in loaded if each.isFor(hostname.lower())]
        if not own:
            missing = [name for name in names if not any(each.isFor(name) for each in loaded)]
            return Certificates(selfSigned(directory, hostname, missing, authorities), loaded)
        default = own[0]
        loaded.remove(default)
    missing = [name for name in names if not any(e.isFor(name) for e in (default, *loaded))]
    if missing:
        loaded.append(SelfSigned(directory, missing, missing, "self-signed-names", authorities))
    return Certificates(default, loaded)


def _makeSelfSigned(certificate: Path, key: Path, names: Sequence[str]) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName(each) for each in names if each and each.isascii()]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    _write(
        key,
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        0o600,
    )
    _write(certificate, made.public_bytes(serialization.Encoding.PEM), 0o644)


def _write(path: Path, data: bytes, mode: int) -> None:
    temporary = path.with_suffix(path.suffix + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    os.replace(temporary, path)
