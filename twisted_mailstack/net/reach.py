# -*- test-case-name: tests.net.test_reach -*-
"""
Where a client's server is, and how safe the way to it has to be.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import IStreamClientEndpoint

from twisted_mailstack.errors import DestinationUnavailable
from twisted_mailstack.model.address import parseDomain
from twisted_mailstack.net.client import ClientConnection, connect
from twisted_mailstack.net.clienttls import ClientTLS, TLSAttempt, isAddress

#: What may be said of TLS: none; demand it; demand it with a certificate that is good for the host;
#: the same, from the beginning (RFC 8314).
TLS_LEVELS = ("none", "required", "verified", "implicit")


class TLSUnavailable(DestinationUnavailable):
    """
    The connection isn't as safe as it must be (RFC 3463 §3.8: X.7.5).
    """

    enhancedStatus = "4.7.5"
    text = "TLS is not available as it must be"


class Destination:
    """
    A server to connect to.

    @ivar name: for people.
    @ivar level: one of L{TLS_LEVELS}.
    """

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int,
        level: str,
        *,
        path: str | None = None,
        endpoint: IStreamClientEndpoint | None = None,
        trustRoot: Any = None,
        certificate: Any = None,
        connectTimeout: float = 30.0,
    ) -> None:
        """
        @param host: a name or an IP address. What a certificate must be for.
        @param path: a Unix socket, instead of a host.
        @param endpoint: what connects, instead of the host and the port.
        @param trustRoot: the authorities whose certificates are trusted, as
            C{twisted.internet.ssl.trustRootFromCertificates} makes it; by default the platform's.
        @param certificate: what servers are shown that ask for one, a
            C{twisted.internet.ssl.PrivateCertificate}; by default none.
        @raise ValueError: if that makes no sense.
        """
        if (path is not None) + (endpoint is not None) > 1 or not (host or path or endpoint):
            raise ValueError("a host, a path or an endpoint is needed, and only one of them")
        if path is not None and host:
            raise ValueError("either a host or a path is needed")
        if level not in TLS_LEVELS:
            raise ValueError(f"tls is one of {', '.join(TLS_LEVELS)}")
        if level != "none" and not host:
            raise ValueError("TLS needs the name of the host")
        self.level = level
        self.name = host or path or "the server"
        self._reactor = reactor
        self._host = host if not host or isAddress(host) else parseDomain(host)
        self._port = port
        self._path = path
        self._endpoint = endpoint
        self._tls = ClientTLS(trustRoot, certificate)
        self._connectTimeout = connectTimeout

    def _attempt(self) -> TLSAttempt | None:
        if self.level == "none":
            return None
        if self.level == "required":
            return self._tls.opportunistic(self._host)
        return self._tls.verified(self._host)

    async def connect(self) -> ClientConnection:
        """
        Connect; with implicit TLS it is up then.

        @raise ConnectError: if it can't be reached (or another of C{twisted.internet.error}).
        @raise TLSProblem: if implicit TLS failed.
        """
        attempt = self._attempt()
        endpoint = self._endpoint or self._makeEndpoint()
        if self.level == "implicit":
            assert attempt is not None
            endpoint = wrapClientTLS(attempt, endpoint)
        return await connect(endpoint, self._reactor, tls=attempt, timeout=self._connectTimeout)

    def _makeEndpoint(self) -> IStreamClientEndpoint:
        if self._path is not None:
            return UNIXClientEndpoint(self._reactor, self._path, self._connectTimeout)
        maker: Any = HostnameEndpoint
        if isAddress(self._host):
            maker = TCP6ClientEndpoint if ":" in self._host else TCP4ClientEndpoint
        endpoint: IStreamClientEndpoint = maker(
            self._reactor, self._host, self._port, self._connectTimeout
        )
        return endpoint
