"""
Certificates of a certification authority that exists in a test only.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cached_property
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from OpenSSL.crypto import X509, PKey
from twisted.internet import ssl


class Issued:
    """
    A certificate and its key.

    @ivar certificate: the certificate.
    @ivar chain: what the server sends behind it.
    """

    def __init__(
        self, certificate: x509.Certificate, key: Any, chain: tuple[x509.Certificate, ...] = ()
    ) -> None:
        self.certificate = certificate
        self.key = key
        self.chain = chain

    @property
    def der(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def spki(self) -> bytes:
        """Its public key, as TLSA records have it."""
        return self.certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )

    @cached_property
    def server(self) -> ssl.CertificateOptions:
        """What a server makes TLS connections with."""
        return ssl.CertificateOptions(
            privateKey=PKey.from_cryptography_key(self.key),
            certificate=X509.from_cryptography(self.certificate),
            extraCertChain=[X509.from_cryptography(each) for each in self.chain],
        )


class Authority:
    """
    Issues certificates.

    @ivar own: its own certificate.
    """

    def __init__(self, name: str = "Test Authority", by: Authority | None = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.by = by
        self.own = (by or self)._sign(self.name, self.key, (), 365, ca=True)

    @property
    def trustRoot(self) -> Any:
        """For clients that trust it."""
        pem = self.own.public_bytes(Encoding.PEM)
        return ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(pem)])

    def issue(
        self, *names: str, days: float = 90, chain: tuple[x509.Certificate, ...] | None = None
    ) -> Issued:
        """
        @param names: host names and addresses.
        @param days: until it expires.
        @param chain: what the server sends behind it; by default this authority's certificate.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, (names or ("none",))[0])])
        certificate = self._sign(subject, key, names, days, ca=False)
        return Issued(certificate, key, (self.own,) if chain is None else chain)

    def _sign(
        self, subject: x509.Name, key: Any, names: tuple[str, ...], days: float, ca: bool
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=100))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_generalName(name) for name in names]), False
            )
        return builder.sign(self.key, hashes.SHA256())


def _generalName(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
