# -*- test-case-name: tests.relay.test_relay -*-
"""
The way to other servers: finds the hosts of a destination, connects to the first that serves, and
sends (RFC 5321 §5.1, RFC 3207).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionLost
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger
from zope.interface import implementer

from twisted_mailstack.errors import (
    ConnectionClosed,
    DestinationUnavailable,
    MailError,
    PlaintextInjected,
    SessionEnded,
)
from twisted_mailstack.interfaces import IMessageContent, IRelay, IRelayConnection
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.queue import AttemptResult, QueuedMessage
from twisted_mailstack.model.records import Recipient
from twisted_mailstack.net.client import ClientConnection, connect
from twisted_mailstack.relay.hosts import HostFinder
from twisted_mailstack.relay.routes import Route, Routes
from twisted_mailstack.relay.security import ISecurityPolicy, Security
from twisted_mailstack.smtp.clientsession import (
    ClientTimeouts,
    OutgoingMessage,
    SMTPClientSession,
)
from twisted_mailstack.smtp.extension import Extension
from twisted_mailstack.smtp.framing import MalformedReply

#: Addresses of a destination that are tried in one attempt.
MAX_ADDRESSES = 10
CONNECT_TIMEOUT = 30.0

_NETWORK_PROBLEMS = (
    ConnectError,
    ConnectTimeout,
    ConnectionLost,
    ConnectingCancelledError,
    ConnectionClosed,
    SessionEnded,
    MalformedReply,
    PlaintextInjected,
    OSError,
)


class _HostFailed(Exception):
    """
    This host is no use now; the next may be.
    """

    def __init__(self, text: str, code: int = 451, status: str = "4.4.1") -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        self.status = status


@implementer(IRelay)
class SMTPRelay:
    """
    Relays by SMTP (or LMTP, where a route says so).
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        hostname: str,
        finder: HostFinder,
        routes: Routes,
        security: ISecurityPolicy,
        extensions: Sequence[Extension],
        *,
        timeouts: ClientTimeouts | None = None,
        authenticate: Callable[[SMTPClientSession, Route], object] | None = None,
        port: int = 25,
        connectTimeout: float = CONNECT_TIMEOUT,
    ) -> None:
        """
        @param reactor: for connections and timers.
        @param hostname: what we call ourselves.
        @param extensions: of SMTP, whose client's halves take part.
        @param port: of mail exchangers; another than 25 is for tests.
        """
        self._reactor = reactor
        self._hostname = hostname
        self._finder = finder
        self._routes = routes
        self._security = security
        self._extensions = tuple(extensions)
        self._timeouts = timeouts or ClientTimeouts()
        self._authenticate = authenticate
        self._port = port
        self._connectTimeout = connectTimeout

    def destinationOf(self, reversePath: Address | None, address: Address) -> str:
        """See L{IRelay}."""
        return self._routes.destinationOf(reversePath, address)

    async def connect(self, destination: str, message: QueuedMessage) -> SMTPRelayConnection:
        """See L{IRelay}."""
        route = self._routes.find(destination)
        failure: _HostFailed | None = None
        tried = 0
        hosts, authenticated = await self._hosts(route)
        for host in hosts:
            for address in await self._addresses(route, host):
                if tried >= MAX_ADDRESSES:
                    break
                tried += 1
                try:
                    return await self._tryHost(route, host, address, authenticated, message)
                except _HostFailed as error:
                    self.log.info(
                        "{destination}: {host} [{address}]: {problem}",
                        destination=destination,
                        host=host,
                        address=address,
                        problem=error.text,
                    )
                    failure = error
        if failure is None:
            # RFC 5321 §5.1: hosts that are named and have no address.
            raise MailError(
                f"No host of {destination} has an address", smtpCode=550, enhancedStatus="5.4.4"
            )
        raise DestinationUnavailable(
            failure.text, smtpCode=failure.code, enhancedStatus=failure.status
        )

    async def _hosts(self, route: Route) -> tuple[Sequence[str], bool]:
        if route.path:
            return (route.path,), False
        if route.domain is None:
            return (route.host,), False
        if route.domain.startswith("["):
            # RFC 5321 §4.1.3: an address literal is its own host.
            return (route.domain[1:-1].removeprefix("IPv6:"),), False
        found = await self._finder.exchangers(route.domain)
        hosts = await self._security.hosts(route.domain, found.hosts, found.authenticated)
        return hosts, found.authenticated

    async def _addresses(self, route: Route, host: str) -> list[str]:
        if route.path:
            return [""]
        try:
            return [str(ip_address(host))]
        except ValueError:
            pass
        try:
            return await self._finder.addresses(host)
        except DestinationUnavailable as error:
            raise DestinationUnavailable(
                f"{host}: {error.text}", enhancedStatus=error.enhancedStatus
            ) from error

    # --- one host ------------------------------------------------------------------------------

    async def _tryHost(
        self, route: Route, host: str, address: str, authenticated: bool, message: QueuedMessage
    ) -> SMTPRelayConnection:
        try:
            security = await self._security.securityOf(route, host, authenticated, message)
        except DestinationUnavailable as error:
            raise _HostFailed(error.text, error.smtpCode, error.enhancedStatus) from error
        try:
            return await self._open(route, host, address, security)
        except _TLSFailed as error:
            self._security.count(route.domain or "", host, security, error.kind)
            if security.required:
                raise _HostFailed(error.text, 451, "4.7.5") from error
        # RFC 7435: better in the clear than not at all.
        return await self._open(route, host, address, Security(False, None, security.policy))

    def _endpoint(self, route: Route, address: str, security: Security) -> IStreamClientEndpoint:
        endpoint: IStreamClientEndpoint
        if route.path:
            endpoint = UNIXClientEndpoint(self._reactor, route.path, self._connectTimeout)
        else:
            port = self._port if route.domain is not None else route.port
            maker = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
            endpoint = maker(self._reactor, address, port, int(self._connectTimeout))
        if route.tls == "implicit" and security.tls is not None:
            endpoint = wrapClientTLS(security.tls, endpoint)
        return endpoint

    async def _open(
        self, route: Route, host: str, address: str, security: Security
    ) -> SMTPRelayConnection:
        connection: ClientConnection | None = None
        remote = f"{host} [{address}]" if address and address != host else host
        try:
            connection = await connect(
                self._endpoint(route, address, security),
                self._reactor,
                service="relay",
                tls=security.tls,
                timeout=self._connectTimeout,
            )
            session = SMTPClientSession(
                connection.stream,
                self._hostname,
                remote=remote,
                lmtp=route.lmtp,
                extensions=self._extensions,
                timeouts=self._timeouts,
            )
            await session.greet()
            self._refuseOurselves(session)
            await self._secure(route, host, session, connection, security)
            if route.username and self._authenticate is not None:
                await self._authenticate(session, route)  # type: ignore[misc]
        except MailError as error:
            # A refusal to serve at all: the next host may (RFC 5321 §4.2.4.2 for 5yz greetings).
            await _leave(session)
            if isinstance(error, _Loop):
                raise MailError(error.text, smtpCode=554, enhancedStatus="5.4.6") from error
            raise _HostFailed(f"{remote} said: {error.smtpCode} {error.text}") from error
        except _NETWORK_PROBLEMS as error:
            if connection is not None:
                connection.abort()
                if connection.tlsFailed:
                    raise _TLSFailed(f"{remote}: TLS failed: {_text(error)}") from error
            raise _HostFailed(f"{remote}: {_text(error)}") from error
        except BaseException:
            if connection is not None:
                connection.abort()
            raise
        return SMTPRelayConnection(session, connection)

    def _refuseOurselves(self, session: SMTPClientSession) -> None:
        # A host that calls itself what we are called is us: mail would go round (§6.3).
        greeting = session.greeting
        if greeting is not None and not session.lmtp:
            name = greeting.text.partition(" ")[0].lower()
            if name == self._hostname.lower():
                raise _Loop("The mail would come back to this server")

    async def _secure(
        self,
        route: Route,
        host: str,
        session: SMTPClientSession,
        connection: ClientConnection,
        security: Security,
    ) -> None:
        if security.tls is None or session.stream.info.secure:
            return
        if "STARTTLS" not in session.offered:
            if security.required:
                raise _TLSFailed(f"{session.remote} offers no STARTTLS", "starttls-not-supported")
            return
        await session.startTLS()
        self._security.count(route.domain or "", host, security, "success")


class _Loop(MailError):
    """The next hop is this server."""


class _TLSFailed(Exception):
    """
    TLS did not come about.

    @ivar kind: a result type of RFC 8460 §4.3.
    """

    def __init__(self, text: str, kind: str = "validation-failure") -> None:
        super().__init__(text)
        self.text = text
        self.kind = kind


async def _leave(session: SMTPClientSession) -> None:
    await session.quit(5.0)


def _text(error: BaseException) -> str:
    if isinstance(error, SessionEnded | ConnectTimeout):
        return "timeout"
    if isinstance(error, ConnectionClosed | ConnectionLost):
        return "the connection was closed"
    if isinstance(error, MalformedReply):
        return f"it does not speak SMTP: {error}"
    reason = getattr(error, "osError", None) or error
    return str(reason) or type(error).__name__


@implementer(IRelayConnection)
class SMTPRelayConnection:
    """
    A session with one host.
    """

    def __init__(self, session: SMTPClientSession, connection: ClientConnection) -> None:
        self._session = session
        self._connection = connection

    def accepts(self, message: QueuedMessage) -> bool:
        """See L{IRelayConnection}."""
        if not self._session.usable or self._session.stream.closed:
            return False
        return "REQUIRETLS" not in message.parameters or "REQUIRETLS" in self._session.offered

    async def send(
        self, message: QueuedMessage, content: IMessageContent
    ) -> Sequence[AttemptResult]:
        """See L{IRelayConnection}."""
        outgoing = OutgoingMessage(
            message.reversePath,
            [Recipient(each.address, each.parameters) for each in message.recipients],
            content,
            message.parameters,
        )
        try:
            return await self._session.send(outgoing)
        except BaseException:
            self._connection.abort()
            raise

    async def close(self) -> None:
        """See L{IRelayConnection}."""
        if self._session.stream.closed:
            return
        await self._session.quit(5.0)
