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
    """

    expires: datetime
    log = Logger()

    def __init__(self, certificate: Path, key: Path) -> None:
        """
        @raise CertificateProblem: if they can't be used.
        """
        self.certificate = certificate
        self.key = key
        self._stamp = self._readStamp()
        self._load()
        self._told = ""

    def _readStamp(self) -> tuple[tuple[int, int], ...]:
        try:
            stats = [os.stat(path) for path in (self.certificate, self.key)]
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
            options = CertificateOptions(
                privateKey=PKey.from_cryptography_key(private),
                certificate=own,
                extraCertChain=others,
                raiseMinimumTo=TLSVersion.TLSv1_2,
            )
            # Says now whether OpenSSL takes them.
            options.getContext()
        except (SSL.Error, ValueError, TypeError) as error:
            raise CertificateProblem(
                f"{self.certificate} and {self.key} can't be used for TLS: {error}"
            ) from error
        self._options = options
        self.expires = chain[0].not_valid_after_utc
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

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """See L{IOpenSSLServerConnectionCreator}."""
        return SSL.Connection(self._options.getContext(), None)


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

    def __init__(self, directory: Path, hostname: str) -> None:
        self._hostname = hostname
        self._files = directory / "self-signed.pem", directory / "self-signed.key"
        try:
            super().__init__(*self._files)
            old = self._expiring
        except CertificateProblem:
            old = True
        if old:
            _makeSelfSigned(*self._files, hostname)
            super().__init__(*self._files)

    @property
    def _expiring(self) -> bool:
        return self.expires < datetime.now(UTC) + timedelta(days=RENEW_DAYS)

    def reload(self) -> bool:
        """
        As L{Certificate.reload}, and renew it if it is about to expire.
        """
        if self._expiring:
            try:
                _makeSelfSigned(*self._files, self._hostname)
            except OSError as error:
                self.log.error("the certificate was not renewed: {error}", error=str(error))
        return super().reload()


def selfSigned(directory: Path, hostname: str) -> Certificate:
    """
    @param directory: where it is kept; must exist.
    @return: the self-signed certificate that is kept there, made if there is none that can be used.
    """
    return SelfSigned(directory, hostname)


def _makeSelfSigned(certificate: Path, key: Path, hostname: str) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64] or "localhost")])
    now = datetime.now(UTC)
    names = dict.fromkeys(("localhost", hostname, socket.gethostname()))
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
