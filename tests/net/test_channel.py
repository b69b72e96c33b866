"""
What mechanisms ask of TLS: both ends of a real handshake, in memory.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.net.channel import TLSChannel


def issued(key: Any, algorithm: Any) -> x509.Certificate:
    """
    @return: a self-signed certificate.
    """
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x.test")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, algorithm)
    )


class TLSChannelTests(SynchronousTestCase):
    """
    L{TLSChannel}.
    """

    key = ec.generate_private_key(ec.SECP256R1())

    def shake(
        self,
        version: int = SSL.TLS1_3_VERSION,
        key: Any = None,
        algorithm: Any = hashes.SHA256(),  # noqa: B008
        client: x509.Certificate | None = None,
        asked: bool = False,
    ) -> tuple[TLSChannel, TLSChannel]:
        """
        @param client: the client's certificate, whose key is L{key}.
        @param asked: whether the server asks for one.
        @return: both ends' channels, the server's first.
        """
        key = key or self.key
        self.certificate = issued(key, algorithm)
        contexts = [SSL.Context(SSL.TLS_METHOD) for _ in range(2)]
        for context in contexts:
            context.set_max_proto_version(version)
        contexts[0].use_certificate(X509.from_cryptography(self.certificate))
        contexts[0].use_privatekey(PKey.from_cryptography_key(key))
        if asked:
            contexts[0].set_verify(SSL.VERIFY_PEER, lambda *_: True)
        if client is not None:
            contexts[1].use_certificate(X509.from_cryptography(client))
            contexts[1].use_privatekey(PKey.from_cryptography_key(self.key))
        server, other = (SSL.Connection(context, None) for context in contexts)
        server.set_accept_state()
        other.set_connect_state()
        for _ in range(6):
            for one, two in ((other, server), (server, other)):
                try:
                    one.do_handshake()
                except SSL.WantReadError:
                    pass
                try:
                    two.bio_write(one.bio_read(65536))
                except SSL.WantReadError:
                    pass
        return TLSChannel(server, server=True), TLSChannel(other, server=False)

    def test_exporter(self) -> None:
        """Both ends have the same, no other connection has it (RFC 9266 §2)."""
        server, client = self.shake()
        found = server.binding("tls-exporter")
        self.assertEqual(found, client.binding("tls-exporter"))
        self.assertEqual(len(found or b""), 32)
        self.assertNotEqual(found, self.shake()[0].binding("tls-exporter"))

    def test_oldVersion(self) -> None:
        """With TLS 1.2 there is none of that type; that of the certificate there is."""
        for channel in self.shake(SSL.TLS1_2_VERSION):
            self.assertIs(channel.binding("tls-exporter"), None)
            self.assertNotEqual(channel.binding("tls-server-end-point"), None)
            self.assertIs(channel.binding("tls-unique"), None)

    def test_endPoint(self) -> None:
        """The certificate's hash, by the function that it was signed with (RFC 5929 §4.1)."""
        for algorithm, name in ((hashes.SHA256(), "sha256"), (hashes.SHA384(), "sha384")):
            server, client = self.shake(algorithm=algorithm)
            digest = hashlib.new(name, self.certificate.public_bytes(Encoding.DER)).digest()
            self.assertEqual(server.binding("tls-server-end-point"), digest)
            self.assertEqual(client.binding("tls-server-end-point"), digest)

    def test_noHash(self) -> None:
        """A signature without a single hash function has no such binding."""
        for channel in self.shake(key=ed25519.Ed25519PrivateKey.generate(), algorithm=None):
            self.assertIs(channel.binding("tls-server-end-point"), None)

    def test_peerCertificate(self) -> None:
        """A client's certificate counts where the server asked for it, so that it was verified."""
        own = issued(self.key, hashes.SHA256())
        server, client = self.shake(client=own, asked=True)
        self.assertEqual(server.peerCertificate(), own.public_bytes(Encoding.DER))
        self.assertEqual(client.peerCertificate(), self.certificate.public_bytes(Encoding.DER))
        self.assertIs(self.shake(client=own)[0].peerCertificate(), None)
        self.assertIs(self.shake(asked=True)[0].peerCertificate(), None)
