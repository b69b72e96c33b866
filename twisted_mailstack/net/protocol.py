# -*- test-case-name: tests.net.test_protocol -*-
"""
The Twisted protocol and factory under every server of ours: they carry a
L{Stream<twisted_mailstack.wire.stream.Stream>} to a session, which is one coroutine.

The factory counts connections and ends them all when the server stops: each session says its
protocol's goodbye when it next waits; what is being committed is committed.

No connection lasts without a session: one that doesn't finish its TLS handshake, isn't closed by
its peer, or was refused and stays, is cut off after a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    IOpenSSLServerConnectionCreator,
    IPushProducer,
    IReactorTime,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.tcp import Server
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_mailstack.errors import ConnectionClosed, PlaintextInjected, SessionEnded
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.net.channel import TLSChannel
from twisted_mailstack.wire.stream import Stream

Serve = Callable[[Stream], Awaitable[None]]

#: Seconds that a peer has to take its goodbye and close when the server stops. One that sleeps
#: answers no close, and mustn't hold up a restart.
GOODBYE_TIMEOUT = 2.0
#: Connections that are told at a time that there is no room; more are just closed.
MAX_REFUSALS = 100


@implementer(IHandshakeListener, IPushProducer)
class MailProtocol(Protocol):
    """
    Carries one connection's octets between a transport and a L{Stream}.
    """

    log = Logger()
    factory: MailFactory
    stream: Stream
    # TCP, TLS or a Unix socket; Twisted's annotation says only ITransport | None.
    transport: Any

    def __init__(self, factory: MailFactory, source: IAddress | None = None) -> None:
        """
        @param source: where the connection comes from; C{None}: what the transport says. They
            differ behind a balancer (L{twisted_mailstack.net.proxy}).
        """
        self.factory = factory
        self.done: Deferred[None] = Deferred()
        self.peer = "local"
        self._source = source
        self._lost = False
        self._started = False
        self._serving = False
        self._losing = False
        self._direct = False
        self._handshake: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """
        Start the session, or wait for the handshake of implicit TLS.
        """
        if ITCPTransport.providedBy(self.transport):
            # Replies are small and go out whole: waiting to fill a segment only delays them.
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
        self._direct = type(self.transport) is Server
        if self._source is None:
            self._source = self.transport.getPeer()
        self.peer = _address(getattr(self._source, "host", None))
        self.stream = Stream(self, self.factory.clock, self.factory.timeout)
        self.transport.registerProducer(self, True)
        self.factory.connected(self)
        if ISSLTransport.providedBy(self.transport):
            self._awaitHandshake()
        else:
            self._start()

    def _awaitHandshake(self) -> None:
        # Until it is done nobody reads from the stream, or a session with long timeouts does.
        self._handshake = self.factory.clock.callLater(
            self.factory.handshakeTimeout, self._handshakeTimedOut
        )

    def _handshakeTimedOut(self) -> None:
        self._handshake = None
        self.log.info(
            "{service}: no TLS handshake: peer={peer}",
            service=self.factory.service,
            peer=self.peer,
        )
        self._abort()

    def _handshakeOver(self) -> None:
        handshake, self._handshake = self._handshake, None
        if handshake is not None:
            handshake.cancel()

    def handshakeCompleted(self) -> None:
        """
        Implicit TLS is up: now the session can say who it talks to. After STARTTLS it runs
        already.
        """
        self._handshakeOver()
        if not self._started:
            self._start()

    def _start(self) -> None:
        self._started = self._serving = True
        ensureDeferred(self._serve())

    async def _serve(self) -> None:
        try:
            await self.factory.serve(self.stream)
            # Closing gives a peer that doesn't read little time, so what it is still taking of a
            # large response goes first.
            await self.stream.drain()
        except (ConnectionClosed, SessionEnded):
            pass
        except PlaintextInjected:
            self.log.warn(
                "{service}: {peer} sent text behind STARTTLS or COMPRESS; dropped",
                service=self.factory.service,
                peer=self.peer,
            )
            self._abort()
        except Exception:
            self.log.failure("{service}: session failed", service=self.factory.service)
        finally:
            if not self._lost and not self._losing:
                self.stream.close()
            self._serving = False
            self._finishIfOver()

    def dataReceived(self, data: bytes) -> None:
        """Octets for the session."""
        self.stream.received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The peer is gone."""
        self._lost = True
        if self._handshake is not None:
            self._handshakeOver()
            self.log.info(
                "{service}: the TLS handshake failed: peer={peer} {reason}",
                service=self.factory.service,
                peer=self.peer,
                reason=reason.getErrorMessage(),
            )
        self.stream.lost()
        self._finishIfOver()

    def end(self, reason: str) -> None:
        """
        Ask the session to end with its goodbye; without a session, cut the connection off.
        """
        if self._started:
            self.stream.end(reason)
        else:
            self._abort()

    def _finishIfOver(self) -> None:
        # Over when the peer is gone and the session has returned: it may still be committing.
        if self._lost and not self._serving and not self.done.called:
            self.factory.disconnected(self)
            self.done.callback(None)

    # --- IPushProducer: the transport says whether the peer keeps up ---------------------------

    def pauseProducing(self) -> None:
        """The peer doesn't keep up."""
        self.stream.setBlocked(True)

    def resumeProducing(self) -> None:
        """It does again."""
        self.stream.setBlocked(False)

    def stopProducing(self) -> None:
        """The transport is gone; C{connectionLost} says so too."""

    # --- IWire ---------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """See L{twisted_mailstack.wire.stream.IWire}."""
        transport = self.transport
        # Twisted's write waits for the reactor's next turn: two changes of the set that is polled
        # and another event for each reply, a quarter of what a small command costs. What a plain
        # socket takes goes at once, if nothing waits before it.
        if (
            self._direct
            and not self._losing
            and not self._lost
            and not transport.dataBuffer
            and not transport._tempDataBuffer
        ):
            sent = transport.writeSomeData(data)
            # Anything else is an error, which the transport finds again and deals with.
            if isinstance(sent, int):
                if sent == len(data):
                    return
                data = data[sent:]
        transport.write(data)

    def setPaused(self, paused: bool) -> None:
        """See L{twisted_mailstack.wire.stream.IWire}."""
        if self._lost or self._losing:
            return
        if paused:
            self.transport.pauseProducing()
        else:
            self.transport.resumeProducing()

    def setWindow(self, octets: int) -> None:
        """See L{twisted_mailstack.wire.stream.IWire}."""
        # Implicit TLS has the socket's transport below it.
        socket = getattr(self.transport, "transport", self.transport)
        if isinstance(socket, FileDescriptor):
            socket.bufferSize = octets

    def startTLS(self) -> None:
        """See L{twisted_mailstack.wire.stream.IWire}."""
        # The producer belongs to the plain transport; TLS puts its own buffer in front of it.
        self.transport.unregisterProducer()
        self._direct = False
        self._awaitHandshake()
        self.transport.startTLS(self.factory.tls)
        self.transport.registerProducer(self, True)

    def lose(self) -> None:
        """See L{twisted_mailstack.wire.stream.IWire}."""
        if self._losing or self._lost:
            return
        if self._handshake is not None:
            # In the midst of a handshake nothing can be said, not even goodbye.
            self._abort()
            return
        self._losing = True
        # loseConnection waits for a registered streaming producer for ever.
        self.transport.unregisterProducer()
        # Only who reads sees the peer close.
        self.transport.resumeProducing()
        self.transport.loseConnection()
        # A peer that neither reads nor closes must not keep the connection.
        timer = self.factory.clock.callLater(self.factory.closeTimeout, self._abort)
        self.done.addCallback(lambda _: timer.cancel() if timer.active() else None)

    def _abort(self) -> None:
        self._losing = True
        if not self._lost:
            self.transport.abortConnection()

    def describe(self) -> ConnectionInfo:
        """See L{twisted_mailstack.wire.stream.IWire}."""
        secure = ISSLTransport.providedBy(self.transport)
        version = cipher = None
        handle = self.transport.getHandle() if secure else None
        # There is none any more when the connection is lost.
        if handle is not None:
            version = handle.get_protocol_version_name()
            cipher = handle.get_cipher_name()
        return ConnectionInfo(
            self.peer,
            getattr(self._source, "port", 0),
            self.factory.service,
            secure,
            version,
            cipher,
            channel=None if handle is None else TLSChannel(handle, server=True),
        )


class MailFactory(Factory):
    """
    Makes a connection for each client, up to its limits.

    @ivar serve: runs one session.
    @ivar service: the name of the service, for logs and policies.
    @ivar clock: for timeouts.
    @ivar tls: the context factory for STARTTLS, C{None} if there is none.
    @ivar timeout: seconds that a read may take, until the session says otherwise.
    @ivar handshakeTimeout: seconds that a TLS handshake may take.
    @ivar closeTimeout: seconds that a peer has to take what is left and close, after the session.
    @ivar refusal: sent to a client for which there is no room, with C{closeTimeout} to read it.
    @ivar maxConnections: at a time, in all.
    @ivar maxConnectionsPerPeer: at a time from one IPv4 address or IPv6 /64; loopback is exempt.
    @ivar protocols: the connections.
    @ivar refusals: connections that are being refused.
    """

    noisy = False

    def __init__(
        self,
        serve: Serve,
        service: str,
        clock: IReactorTime,
        *,
        tls: IOpenSSLServerConnectionCreator | None = None,
        timeout: float = 300.0,
        handshakeTimeout: float = 30.0,
        closeTimeout: float = 10.0,
        refusal: bytes = b"",
        maxConnections: int = 10_000,
        maxConnectionsPerPeer: int = 100,
    ) -> None:
        self.serve = serve
        self.service = service
        self.clock = clock
        self.tls = tls
        self.timeout = timeout
        self.handshakeTimeout = handshakeTimeout
        self.closeTimeout = closeTimeout
        self.refusal = refusal
        self.maxConnections = maxConnections
        self.maxConnectionsPerPeer = maxConnectionsPerPeer
        self.protocols: set[MailProtocol] = set()
        self.refusals: set[Refusal] = set()
        self._perPeer: Counter[str] = Counter()
        self._stopping = False

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """
        @return: a connection, or one that only says that there is no room.
        """
        peer = _network(getattr(addr, "host", None))
        if (
            self._stopping
            or len(self.protocols) >= self.maxConnections
            or (peer and self._perPeer[peer] >= self.maxConnectionsPerPeer)
        ):
            return Refusal(self)
        return MailProtocol(self, addr)

    def connected(self, protocol: MailProtocol) -> None:
        """A connection began."""
        self.protocols.add(protocol)
        self._perPeer[_network(protocol.peer)] += 1

    def disconnected(self, protocol: MailProtocol) -> None:
        """It is over."""
        self.protocols.discard(protocol)
        peer = _network(protocol.peer)
        self._perPeer[peer] -= 1
        if self._perPeer[peer] <= 0:
            del self._perPeer[peer]

    def shutDown(self, patience: float = 10.0) -> Deferred[None]:
        """
        End every session with its goodbye.

        @param patience: seconds after which those that remain are cut off, in whatever they are;
            a peer whose session is over has L{GOODBYE_TIMEOUT}.
        @return: fires when none is left and nothing is being committed any more.
        """
        self._stopping = True
        self.closeTimeout = min(self.closeTimeout, GOODBYE_TIMEOUT)
        for refusal in list(self.refusals):
            refusal.transport.abortConnection()
        waiting = [protocol.done for protocol in self.protocols]
        if not waiting:
            return succeed(None)
        for protocol in list(self.protocols):
            protocol.end(SessionEnded.SHUTDOWN)

        def cutOff() -> None:
            for protocol in list(self.protocols):
                protocol.transport.abortConnection()

        timer = self.clock.callLater(patience, cutOff)

        def over(_: object) -> None:
            if timer.active():
                timer.cancel()

        return DeferredList(waiting).addCallback(over)


class Refusal(Protocol):
    """
    Says one line and closes.
    """

    factory: MailFactory
    transport: Any

    def __init__(self, factory: MailFactory) -> None:
        self.factory = factory
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Say it. When very many are told already, say nothing."""
        if len(self.factory.refusals) >= MAX_REFUSALS:
            self.transport.abortConnection()
            return
        self.factory.refusals.add(self)
        # Under TLS the line waits for a handshake that may never come.
        self._timer = self.factory.clock.callLater(
            self.factory.closeTimeout, self.transport.abortConnection
        )
        self.transport.write(self.factory.refusal)
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is over."""
        self.factory.refusals.discard(self)
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


@lru_cache(maxsize=1024)
def _address(host: str | None) -> str:
    # An IPv6 socket that takes IPv4 too shows IPv4 addresses as ::ffff:192.0.2.1; in policies,
    # logs and Received they are what they are.
    if host and host.lower().startswith("::ffff:") and "." in host:
        return host[7:]
    return host or "local"


@lru_cache(maxsize=1024)
def _network(host: str | None) -> str:
    """
    @return: what counts as one peer; empty for what isn't counted.
    """
    try:
        address = ip_address((host or "").partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, IPv6Address):
        # An IPv6 socket that takes IPv4 too shows it so; all of IPv4 isn't one network.
        if address.ipv4_mapped is None:
            return "" if address.is_loopback else str(ip_network((address, 64), strict=False))
        address = address.ipv4_mapped
    return "" if address.is_loopback else str(address)
