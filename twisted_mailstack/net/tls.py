# -*- test-case-name: tests.net.test_tls -*-
"""
TLS for servers: a certificate from files, read again when it changes, or a self-signed one.

A L{Certificate} is the context factory for STARTTLS and implicit TLS alike. Each new connection
gets the context of the moment, so a new certificate serves at once and no session is dropped. TLS
1.2 is the floor (RFC 8996 forbids what is below).
"""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.ssl import CertificateOptions, PrivateCertificate, TLSVersion
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
    """

    log = Logger()

    def __init__(self, certificate: Path, key: Path) -> None:
        """
        @raise CertificateProblem: if they can't be used.
        """
        self.certificate = certificate
        self.key = key
        self._stamp = self._readStamp()
        self._options = self._load()

    def _readStamp(self) -> tuple[tuple[int, int], ...]:
        try:
            stats = [os.stat(path) for path in (self.certificate, self.key)]
        except OSError as error:
            raise CertificateProblem(f"{error.filename}: {error.strerror}") from error
        return tuple((each.st_mtime_ns, each.st_ino) for each in stats)

    def _load(self) -> CertificateOptions:
        try:
            chain = x509.load_pem_x509_certificates(self.certificate.read_bytes())
            pem = chain[0].public_bytes(serialization.Encoding.PEM)
            own = PrivateCertificate.loadPEM(pem + b"\n" + self.key.read_bytes())
            from OpenSSL.crypto import X509

            options = CertificateOptions(
                privateKey=own.privateKey.original,
                certificate=own.original,
                extraCertChain=[X509.from_cryptography(each) for each in chain[1:]],
                raiseMinimumTo=TLSVersion.TLSv1_2,
            )
            # Says now whether key and certificate belong together.
            options.getContext().check_privatekey()
            return options
        except (OSError, ValueError, IndexError, SSL.Error, TypeError) as error:
            raise CertificateProblem(
                f"{self.certificate} and {self.key} can't be used: {error or type(error).__name__}"
            ) from error

    def reload(self) -> bool:
        """
        Read the files again, if they changed. If they can't be used the old ones go on serving.

        @return: whether new ones serve from now on.
        """
        try:
            stamp = self._readStamp()
            if stamp == self._stamp:
                return False
            self._options = self._load()
            self._stamp = stamp
        except CertificateProblem as problem:
            self.log.error("the certificate was not reloaded: {problem}", problem=str(problem))
            return False
        self.log.info("certificate reloaded: {path}", path=str(self.certificate))
        return True

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """See L{IOpenSSLServerConnectionCreator}."""
        return SSL.Connection(self._options.getContext(), None)

    @property
    def expires(self) -> datetime:
        """When the certificate ends, UTC."""
        certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        return certificate.not_valid_after_utc


def selfSigned(directory: Path, hostname: str) -> Certificate:
    """
    @return: the self-signed certificate that is kept in a directory, made if there is none or if it
        is about to expire.
    """
    certificate, key = directory / "self-signed.pem", directory / "self-signed.key"
    try:
        found = Certificate(certificate, key)
        if found.expires > datetime.now(UTC) + timedelta(days=RENEW_DAYS):
            return found
    except (CertificateProblem, ValueError):
        pass
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    now = datetime.now(UTC)
    names = list(dict.fromkeys(("localhost", hostname, socket.gethostname())))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(each) for each in names if each.isascii()]),
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
    return Certificate(certificate, key)


def _write(path: Path, data: bytes, mode: int) -> None:
    temporary = path.with_suffix(path.suffix + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    os.replace(temporary, path)
