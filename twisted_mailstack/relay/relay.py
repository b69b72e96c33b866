# -*- test-case-name: tests.relay.test_relay -*-
"""
The way to other servers: finds the hosts of a destination, connects to the first that serves, and
sends (RFC 5321 §5.1, RFC 3207).

A host that can't be reached, refuses, breaks off or hasn't the security that it must have is passed
over, whatever it said: only when no host is left does it matter, and then it is temporary, since
nobody has said anything of the mail itself. What is permanent is what the DNS says of a domain
(RFC 7505, RFC 5321 §5.1), that all its hosts say that they never take mail (RFC 7504), mail that
would come back to this server, and a message that demands what no host has (RFC 8689).
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from time import time
from typing import Any, cast

from twisted.internet.defer import ensureDeferred
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.error import ConnectError
from twisted.internet.error import ConnectionClosed as TransportClosed
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger
from zope.interface import implementer

from twisted_mailstack.errors import (
    ConnectionClosed,
    DestinationUnavailable,
    HostBusy,
    MailError,
    PlaintextInjected,
    SessionEnded,
)
from twisted_mailstack.interfaces import IMessageContent, IRelay, IRelayConnection
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.queue import AttemptResult, QueuedMessage
from twisted_mailstack.model.records import Recipient
from twisted_mailstack.net.client import ClientConnection, connect
from twisted_mailstack.net.clienttls import TLSProblem
from twisted_mailstack.relay.hosts import Exchangers, HostAddresses, HostFinder
from twisted_mailstack.relay.routes import SMTP_PORT, Route, Routes
from twisted_mailstack.relay.security import (
    ISecurityPolicy,
    Security,
    SecurityUnmet,
    demandsTLS,
    waivesTLS,
)
from twisted_mailstack.relay.slots import HostSlots
from twisted_mailstack.relay.tlsrpt import SUCCESS
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
#: Seconds that a server gets to answer QUIT.
QUIT_TIMEOUT = 5.0

#: Logs in (AUTH), with the route's name and password; raises a MailError if that is refused.
Authenticate = Callable[[SMTPClientSession, Route], Awaitable[None]]

# What a connection can come to, besides refusals.
_BROKEN = (
    ConnectError,
    TransportClosed,
    ConnectionClosed,
    SessionEnded,
    MalformedReply,
    PlaintextInjected,
    OSError,
)


class _HostFailed(Exception):
    """
    This host is no use now; the next may be.

    @ivar unmet: it is none for this message, for good, whatever it is for others.
    @ivar never: it takes no mail at all, for good.
    """

    def __init__(
        self, text: str, status: str = "4.4.1", unmet: bool = False, never: bool = False
    ) -> None:
        super().__init__(text)
        self.text = text
        self.status = status
        self.unmet = unmet
        self.never = never


class _TLSFailed(Exception):
    """
    TLS did not come about where it was tried.
    """

    def __init__(self, text: str, problem: TLSProblem) -> None:
        super().__init__(text)
        self.text = text
        self.problem = problem


class _Ourselves(Exception):
    """
    The host is this server.
    """


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
        authenticate: Authenticate | None = None,
        port: int = SMTP_PORT,
        connectTimeout: float = CONNECT_TIMEOUT,
        perHost: int = 0,
        now: Callable[[], float] = time,
    ) -> None:
        """
        @param reactor: for connections and timers.
        @param hostname: what we call ourselves.
        @param extensions: of SMTP, whose client's halves take part.
        @param authenticate: for routes with a user.
        @param port: of mail exchangers; another than 25 is for tests.
        @param perHost: connections to one host, for all destinations together; 0 for any number.
        @param now: seconds since 1970.
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
        self._now = now
        self._slots = HostSlots(reactor, perHost)

    def stop(self) -> None:
        """
        End connections that nobody uses, when nothing is to be sent any more.
        """
        self._slots.stop()

    def destinationOf(self, reversePath: Address | None, address: Address) -> str:
        """See L{IRelay}."""
        return self._routes.destinationOf(reversePath, address)

    async def connect(self, destination: str, message: QueuedMessage) -> SMTPRelayConnection:
        """See L{IRelay}."""
        route = self._routes.find(destination)
        hosts, exchangers = await self._hosts(route)
        failures: list[_HostFailed] = []
        tried = 0
        try:
            for host in hosts:
                if tried >= MAX_ADDRESSES:
                    break
                try:
                    found = await self._addresses(route, host)
                except DestinationUnavailable as error:
                    self._failed(failures, destination, host, _HostFailed(error.text, "4.4.3"))
                    continue
                for address in found.addresses[: MAX_ADDRESSES - tried]:
                    tried += 1
                    try:
                        return await self._tryHost(
                            destination, route, found, address, exchangers, message
                        )
                    except _HostFailed as failure:
                        self._failed(failures, destination, _label(host, address), failure)
        except _Ourselves:
            # RFC 5321 §5.1: this server is one of the hosts, so those behind it are no way forward.
            if not failures:
                raise MailError(
                    "The mail would come back to this server",
                    smtpCode=554,
                    enhancedStatus="5.4.6",
                ) from None
        raise self._verdict(route, failures)

    def _failed(
        self, failures: list[_HostFailed], destination: str, host: str, failure: _HostFailed
    ) -> None:
        failures.append(failure)
        self.log.info(
            "{destination}: {host}: {problem}",
            destination=destination,
            host=host,
            problem=failure.text,
        )

    def _verdict(self, route: Route, failures: Sequence[_HostFailed]) -> MailError:
        unmet = [failure for failure in failures if failure.unmet]
        # Of a host that was configured it is our configuration that is wrong.
        never = [failure for failure in failures if failure.never and route.domain is not None]
        others = [each for each in failures if each not in unmet and each not in never]
        if unmet and others:
            # One that can't be reached now may do for this message; for others all is well.
            last = others[-1]
            return MailError(last.text, smtpCode=451, enhancedStatus=last.status)
        if unmet:
            return MailError(unmet[-1].text, smtpCode=550, enhancedStatus=unmet[-1].status)
        if never and not others:
            return MailError(never[-1].text, smtpCode=521, enhancedStatus="5.3.2")
        if others:
            return DestinationUnavailable(others[-1].text, enhancedStatus=others[-1].status)
        if route.domain is None:
            # Our own configuration is wrong, or the DNS is: not for the sender to mend.
            return DestinationUnavailable(f"{route.host} has no address", enhancedStatus="4.4.4")
        # RFC 5321 §5.1: hosts that are named and have no address.
        return MailError(
            f"No host of {route.domain} has an address", smtpCode=550, enhancedStatus="5.4.4"
        )

    async def _hosts(self, route: Route) -> tuple[Sequence[str], Exchangers | None]:
        if route.path:
            return (route.path,), None
        if route.domain is None:
            return (route.host,), None
        if route.domain.startswith("["):
            # RFC 5321 §4.1.3: an address literal is its own host.
            return (route.domain[1:-1].removeprefix("IPv6:"),), None
        found = await self._finder.exchangers(route.domain)
        return found.hosts, found

    async def _addresses(self, route: Route, host: str) -> HostAddresses:
        if route.path:
            return HostAddresses(host, (host,))
        return await self._finder.addresses(host)

    # --- one host ------------------------------------------------------------------------------

    async def _tryHost(
        self,
        destination: str,
        route: Route,
        host: HostAddresses,
        address: str,
        exchangers: Exchangers | None,
        message: QueuedMessage,
    ) -> SMTPRelayConnection:
        port = self._port if route.domain is not None else route.port
        try:
            security = await self._security.securityOf(route, host, port, exchangers, message)
        except SecurityUnmet as error:
            raise _HostFailed(error.text, error.enhancedStatus, True) from error
        except DestinationUnavailable as error:
            raise _HostFailed(error.text, error.enhancedStatus) from error
        # Where nothing is to be verified, one connection is as good as another.
        shared = route.domain is not None and security.isUsual
        where = (address, port)

        def fits(spare: Any) -> bool:
            return (
                spare.where == where
                and (spare.destination == destination or (spare.shared and shared))
                and not (demandsTLS(message) and spare.destination != destination)
                and spare.accepts(message)
            )

        found: Any = self._slots.find(destination, fits)
        if found is not None:
            found.destination = destination
            return cast("SMTPRelayConnection", found)
        keys = tuple(dict.fromkeys(f"{each.lower()} {port}" for each in (host.host, address)))
        free = self._slots.take(keys, destination)
        if free is not None:
            self._slots.makeRoom(keys, destination)
            raise HostBusy(f"{_label(host.host, address)} has all connections it may have", free)
        try:
            connection = await self._openHost(route, host, address, port, security, message)
        except BaseException:
            self._slots.giveBack(keys)
            raise
        connection.count(self._slots, keys, destination, where, shared)
        if demandsTLS(message) and not connection.accepts(message):
            await connection.close()
            raise _HostFailed(f"{connection.remote} does not offer REQUIRETLS", "5.7.30", True)
        return connection

    async def _openHost(
        self,
        route: Route,
        host: HostAddresses,
        address: str,
        port: int,
        security: Security,
        message: QueuedMessage,
    ) -> SMTPRelayConnection:
        demanded = demandsTLS(message)
        try:
            session, wire = await self._open(route, host.host, address, port, security)
        except _TLSFailed as error:
            self._security.count(
                route, security, error.problem.kind, host.host, address, error.problem.text
            )
            if demanded:
                raise _HostFailed(error.text, SecurityUnmet.enhancedStatus, True) from error
            if security.required:
                raise _HostFailed(error.text, "4.7.5") from error
            # RFC 7435 §3: better in the clear than not at all.
            security = Security(False, None)
            session, wire = await self._open(route, host.host, address, port, security)
        # On a socket of this machine it is delivered, and goes no further.
        local = bool(route.path)
        return SMTPRelayConnection(
            session,
            wire,
            mayRequireTLS=local
            or (
                security.authenticates
                and session.stream.info.secure
                and "REQUIRETLS" in session.offered
            ),
            tlsWaived=waivesTLS(message) and not local,
            now=self._now,
        )

    def _endpoint(
        self, route: Route, address: str, port: int, security: Security
    ) -> IStreamClientEndpoint:
        if route.path:
            return UNIXClientEndpoint(self._reactor, route.path, self._connectTimeout)
        maker = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        endpoint: IStreamClientEndpoint = maker(self._reactor, address, port, self._connectTimeout)
        if route.tls == "implicit":
            assert security.tls is not None
            endpoint = wrapClientTLS(security.tls, endpoint)
        return endpoint

    async def _open(
        self, route: Route, host: str, address: str, port: int, security: Security
    ) -> tuple[SMTPClientSession, ClientConnection]:
        remote = _label(host, address)
        connection: ClientConnection | None = None
        try:
            connection = await connect(
                self._endpoint(route, address, port, security),
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
            try:
                await self._begin(route, host, address, port, session, security)
            except (MailError, _TLSFailed, _HostFailed, _Ourselves):
                await session.quit(QUIT_TIMEOUT)
                raise
        except MailError as error:
            # A refusal to serve at all: the next host may (RFC 5321 §3.1 for 5yz greetings).
            raise _HostFailed(
                f"{remote} said: {error.smtpCode} {error.text}", never=error.smtpCode == 521
            ) from error
        except TLSProblem as problem:
            if connection is not None:
                connection.abort()
            raise _TLSFailed(f"{remote}: {problem.text}", problem) from problem
        except _BROKEN as error:
            if connection is not None:
                connection.abort()
                found = connection.tlsProblem
                if found is not None:
                    raise _TLSFailed(f"{remote}: {found.text}", found) from error
            raise _HostFailed(f"{remote}: {_text(error)}") from error
        except BaseException:
            # Cancelled, for one.
            if connection is not None:
                connection.abort()
            raise
        return session, connection

    async def _begin(
        self,
        route: Route,
        host: str,
        address: str,
        port: int,
        session: SMTPClientSession,
        security: Security,
    ) -> None:
        hello = await session.greet()
        if port == self._port and not session.lmtp and not route.path:
            greeting = session.greeting
            self._refuseOurselves(hello.text, "" if greeting is None else greeting.text)
        if security.tls is not None:
            missing = await self._secure(session)
            if missing is not None and security.required:
                raise _TLSFailed(f"{session.remote}: {missing.text}", missing)
            problem = missing or security.tls.problem
            result, reason = (SUCCESS, "") if problem is None else (problem.kind, problem.text)
            self._security.count(route, security, result, host, address, reason)
        if route.username:
            if self._authenticate is None:
                raise _HostFailed("The route has a user, and nothing is given that logs in")
            if not session.stream.info.secure and route.tls != "none":
                raise _HostFailed(f"{session.remote}: no password is sent without TLS", "4.7.10")
            try:
                await self._authenticate(session, route)
            except MailError as error:
                raise _HostFailed(
                    f"{session.remote} refused to log in {route.username!r}:"
                    f" {error.smtpCode} {error.text}",
                    "4.7.0",
                ) from error
            session.authenticated = True

    def _refuseOurselves(self, *texts: str) -> None:
        # RFC 5321 §5.1, §6.3: a host that calls itself what we are called is us, by another name.
        ours = self._finder.ownNames | {self._hostname.lower()}
        for text in texts:
            name = text.partition(" ")[0].lower().rstrip(".")
            # Many call themselves localhost.
            if name in ours and not name.startswith("localhost"):
                raise _Ourselves

    async def _secure(self, session: SMTPClientSession) -> TLSProblem | None:
        """
        @return: why there is no TLS, where the session goes on without.
        @raise TLSProblem: why there is none, where it doesn't.
        """
        if session.stream.info.secure:
            return None
        if "STARTTLS" not in session.offered:
            return TLSProblem("it offers no STARTTLS", "starttls-not-supported")
        try:
            await session.startTLS()
        except MailError as error:
            if session.stream.info.secure:
                raise
            problem = TLSProblem(
                f"it refused STARTTLS: {error.smtpCode} {error.text}", "starttls-not-supported"
            )
            if session.usable:
                # RFC 3207 §4.1: the session goes on as it was.
                return problem
            raise problem from error
        except (ConnectionClosed, SessionEnded, MalformedReply) as error:
            if session.stream.info.secure:
                raise
            # There are hosts that offer STARTTLS and break at it, every time.
            raise TLSProblem(
                f"it broke off at STARTTLS: {_text(error)}", "starttls-not-supported"
            ) from error
        return None


def _label(host: str, address: str) -> str:
    return host if host == address else f"{host} [{address}]"


def _text(error: BaseException) -> str:
    if isinstance(error, SessionEnded | ConnectTimeout):
        return "timeout"
    if isinstance(error, ConnectionClosed | TransportClosed):
        return "the connection was closed"
    if isinstance(error, MalformedReply):
        return f"it does not speak SMTP: {error}"
    if isinstance(error, PlaintextInjected):
        return "it sent something behind its reply to STARTTLS"
    number = getattr(error, "osError", None)
    reason = os.strerror(number) if isinstance(number, int) else str(error)
    return reason or type(error).__name__


@implementer(IRelayConnection)
class SMTPRelayConnection:
    """
    A session with one host.

    @ivar remote: what the host is called in results.
    """

    def __init__(
        self,
        session: SMTPClientSession,
        connection: ClientConnection,
        *,
        mayRequireTLS: bool,
        tlsWaived: bool,
        now: Callable[[], float],
    ) -> None:
        """
        @param mayRequireTLS: it is certain who the host is, nobody listens, and the host sees to
            that from there on (RFC 8689 §4.2.1).
        @param tlsWaived: it was made for a message that doesn't care for policies.
        """
        self.remote = session.remote
        self._session = session
        self._connection = connection
        self._mayRequireTLS = mayRequireTLS
        self._tlsWaived = tlsWaived
        self._now = now
        self._slots: HostSlots | None = None
        self._ended = False
        self.keys: tuple[str, ...] = ()
        self.destination = ""
        self.where: tuple[str, int] = ("", 0)
        self.shared = False

    def count(
        self,
        slots: HostSlots,
        keys: tuple[str, ...],
        destination: str,
        where: tuple[str, int],
        shared: bool,
    ) -> None:
        """
        @param slots: whose C{keys} it has until it ends.
        @param where: to what it is connected.
        @param shared: it serves other destinations as well.
        """
        self._slots, self.keys = slots, keys
        self.destination, self.where, self.shared = destination, where, shared

    @property
    def wanted(self) -> bool:
        """See L{IRelayConnection}."""
        return self._slots is not None and self._slots.wanted(self.keys)

    def accepts(self, message: QueuedMessage) -> bool:
        """See L{IRelayConnection}."""
        stream = self._session.stream
        # A server that says something unasked says that it is about to close (421).
        if not self._session.usable or stream.closed or stream.buffered:
            return False
        if self._tlsWaived and not waivesTLS(message):
            return False
        return self._mayRequireTLS or not demandsTLS(message)

    async def send(
        self, message: QueuedMessage, content: IMessageContent
    ) -> Sequence[AttemptResult]:
        """See L{IRelayConnection}."""
        outgoing = OutgoingMessage(
            message.reversePath,
            [Recipient(each.address, each.parameters) for each in message.recipients],
            content,
            message.parameters,
            max(0, int(self._now()) - message.arrived),
        )
        try:
            return await self._session.send(outgoing)
        except BaseException:
            self._connection.abort()
            raise

    async def close(self) -> None:
        """See L{IRelayConnection}. It may be kept, for who stands in line for the host."""
        stream = self._session.stream
        usable = self._session.usable and not stream.closed and not stream.buffered
        if self._slots is not None and usable and self.wanted:
            self._slots.keep(self)
        else:
            await self._end()

    def end(self) -> None:
        """See L{Spare}."""
        ensureDeferred(self._end())

    async def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        try:
            if not self._session.stream.closed:
                await self._session.quit(QUIT_TIMEOUT)
        finally:
            if self._slots is not None:
                self._slots.giveBack(self.keys)
