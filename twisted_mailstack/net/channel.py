# -*- test-case-name: tests.net.test_channel -*-
"""
What SASL mechanisms ask of a TLS connection: channel bindings (RFC 5056) and the peer's
certificate.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from twisted_mailstack.model.records import Channel


class TLSChannel(Channel):
    """
    One connection's, after its handshake.
    """

    def __init__(self, connection: SSL.Connection, server: bool) -> None:
        """
        @param server: whether we are the server in it.
        """
        self._connection = connection
        self._server = server

    def binding(self, kind: str) -> bytes | None:
        """See L{Channel}."""
        if kind == "tls-exporter":
            return self._exporter()
        if kind == "tls-server-end-point":
            return self._serverEndPoint()
        return None

    def _exporter(self) -> bytes | None:
        # RFC 9266 §2, §4.2: with TLS 1.2 only under conditions that can't be asked for here.
        if self._connection.get_protocol_version_name() != "TLSv1.3":
            return None
        found: bytes = self._connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
        return found

    def _serverEndPoint(self) -> bytes | None:
        connection = self._connection
        shown = connection.get_certificate() if self._server else connection.get_peer_certificate()
        if shown is None:
            return None
        certificate = shown.to_cryptography()
        try:
            algorithm = certificate.signature_hash_algorithm
        except UnsupportedAlgorithm:
            return None
        if algorithm is None:
            # Such as Ed25519: no single hash, so there is no such binding (RFC 5929 §4.1).
            return None
        if isinstance(algorithm, (hashes.MD5, hashes.SHA1)):
            algorithm = hashes.SHA256()
        return certificate.fingerprint(algorithm)

    def peerCertificate(self) -> bytes | None:
        """See L{Channel}."""
        connection = self._connection
        if self._server and connection.get_context().get_verify_mode() == SSL.VERIFY_NONE:
            # Nobody has looked at it.
            return None
        shown = connection.get_peer_certificate()
        return None if shown is None else _der(shown.to_cryptography())


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
