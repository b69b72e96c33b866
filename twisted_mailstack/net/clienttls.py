# -*- test-case-name: tests.net.test_clienttls -*-
"""
TLS for clients: verified, or opportunistic (RFC 7435), where an unverified certificate is better
than none, or verified by something else than the certificate's issuer.

Why it failed is known by the names that TLS reports use (RFC 8460 §4.3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import (
    verify_certificate_hostname,
    verify_certificate_ip_address,
)
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions, TLSVersion, platformTrust
from twisted.logger import Logger
from zope.interface import implementer

# OpenSSL's X509_V_ERR_…: no way from the certificate to an authority that is trusted, ...
_NOT_TRUSTED = frozenset({2, 18, 19, 20, 21, 24, 27, 28, 79})
# ... and not yet or no longer valid.
_EXPIRED = frozenset({9, 10})


class TLSProblem(Exception):
    """
    TLS did not come about, or not as it must.

    @ivar text: for people.
    @ivar kind: a result type of RFC 8460 §4.3.
    """

    def __init__(self, text: str, kind: str = "validation-failure") -> None:
        super().__init__(text)
        self.text = text
        self.kind = kind


#: Given the connection whose handshake is done; raises L{TLSProblem} if it is not to be used.
CheckPeer = Callable[[SSL.Connection], None]


@implementer(IOpenSSLClientConnectionCreator)
class TLSAttempt:
    """
    The client's side of one connection's TLS; made by L{ClientTLS}.

    @ivar hostname: of the server, as it is told (SNI).
    @ivar problem: what was found wrong with the server's certificate, C{None} so far.
    """

    log = Logger()

    def __init__(
        self,
        context: SSL.Context,
        hostname: str,
        names: Sequence[str] = (),
        enforce: bool = False,
        check: CheckPeer | None = None,
    ) -> None:
        self.hostname = hostname
        self.problem: TLSProblem | None = None
        self._context = context
        self._names = tuple(names)
        self._enforce = enforce
        self._check = check

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """See IOpenSSLClientConnectionCreator."""
        connection = SSL.Connection(self._context, None)
        if not isAddress(self.hostname):
            # RFC 6066 §3: a name, never an address.
            connection.set_tlsext_host_name(self.hostname.encode("ascii"))
        if self._names:
            mode = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
            connection.set_verify(mode, self._judge)
        else:
            connection.set_verify(SSL.VERIFY_NONE, None)
        return connection

    def _judge(self, _: SSL.Connection, certificate: X509, error: int, depth: int, ok: Any) -> bool:
        # OpenSSL asks of each certificate, the server's own (depth 0) last. No exception may leave.
        try:
            if not ok:
                self._note(certificateProblem(error))
            elif depth == 0 and self.problem is None:
                self._note(nameProblem(certificate.to_cryptography(), self._names))
        except Exception:
            self.log.failure("a certificate can't be judged")
            self._note(TLSProblem("the certificate can't be judged"))
        return self.problem is None or not self._enforce

    def _note(self, problem: TLSProblem | None) -> None:
        if self.problem is None:
            self.problem = problem

    def verifyPeer(self, connection: SSL.Connection) -> None:
        """
        To be called when the handshake is done, before anything is sent.

        @raise TLSProblem: if the connection must not be used.
        """
        if self._check is None:
            return
        try:
            self._check(connection)
        except TLSProblem as problem:
            self._note(problem)
            raise


class ClientTLS:
    """
    Makes the client's side of TLS connections, with one context for all: making one costs
    milliseconds.
    """

    def __init__(self, trustRoot: Any = None, certificate: Any = None) -> None:
        """
        @param trustRoot: the authorities whose certificates are trusted, as
            C{twisted.internet.ssl.trustRootFromCertificates} makes it; by default the platform's.
        @param certificate: what servers are shown that ask for one, a
            C{twisted.internet.ssl.PrivateCertificate}; by default none.
        """
        self._trustRoot = trustRoot
        self._certificate = certificate
        self._made: SSL.Context | None = None

    def _context(self) -> SSL.Context:
        if self._made is None:
            own = self._certificate
            # RFC 8996: nothing below TLS 1.2.
            self._made = CertificateOptions(
                privateKey=None if own is None else own.privateKey.original,
                certificate=None if own is None else own.original,
                trustRoot=platformTrust() if self._trustRoot is None else self._trustRoot,
                raiseMinimumTo=TLSVersion.TLSv1_2,
            ).getContext()
        return self._made

    def opportunistic(self, hostname: str) -> TLSAttempt:
        """
        @return: takes any certificate: it keeps out those who listen, not those who interfere.
        """
        return TLSAttempt(self._context(), hostname)

    def verified(self, hostname: str) -> TLSAttempt:
        """
        @return: takes certificates that a trusted authority issued for this name or address.
        """
        return TLSAttempt(self._context(), hostname, (hostname,), enforce=True)

    def observed(self, hostname: str) -> TLSAttempt:
        """
        @return: as L{verified}, but takes the certificate all the same; what is wrong with it is
            the attempt's C{problem}.
        """
        return TLSAttempt(self._context(), hostname, (hostname,))

    def checked(self, hostname: str, check: CheckPeer) -> TLSAttempt:
        """
        @return: takes what C{check} doesn't refuse.
        """
        return TLSAttempt(self._context(), hostname, check=check)


def certificateProblem(error: int) -> TLSProblem:
    """
    @param error: one of OpenSSL's C{X509_V_ERR_…}.
    @return: what that is.
    """
    if error in _EXPIRED:
        return TLSProblem("the certificate is not valid now", "certificate-expired")
    if error in _NOT_TRUSTED:
        return TLSProblem("the certificate's issuer is not trusted", "certificate-not-trusted")
    return TLSProblem(f"the certificate can't be verified (OpenSSL's error {error})")


def nameProblem(certificate: x509.Certificate, names: Sequence[str]) -> TLSProblem | None:
    """
    @param names: host names or addresses, one of which the certificate is to be for.
    @return: C{None} if it is.
    """
    for name in names:
        try:
            if isAddress(name):
                verify_certificate_ip_address(certificate, name)
            else:
                verify_certificate_hostname(certificate, name)
        except (VerificationError, CertificateError, ValueError):
            continue
        return None
    return TLSProblem(
        f"the certificate is not for {' or '.join(names)}", "certificate-host-mismatch"
    )


def isAddress(text: str) -> bool:
    """
    @return: whether it is an IP address, not a host's name.
    """
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
