# -*- test-case-name: tests.net.test_protocol -*-
"""
The Twisted protocol and factory under every server of ours: they carry a
L{Stream<twisted_mailstack.wire.stream.Stream>} to a session, which is one coroutine.

The factory counts connections and ends them all when the server stops: each session says its
protocol's goodbye when it next waits; what is being committed is committed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from ipaddress import ip_address, ip_network
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, ensureDeferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IOpenSSLServerConnectionCreator,
    IPushProducer,
    IReactorTime,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_mailstack.errors import ConnectionClosed, PlaintextInjected, SessionEnded
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.wire.stream import Stream

Serve = Callable[[Stream], Awaitable[None]]


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

    def __init__(self, factory: MailFactory) -> None:
        self.factory = factory
        self.done: Deferred[None] = Deferred()
        self._lost = False
        self._serving = False
        self._losing = False

    def connectionMade(self) -> None:
        """
        Start the session.
        """
        if ITCPTransport.providedBy(self.transport):
            # Replies are small and go out whole: waiting to fill a segment only delays them.
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
        self.stream = Stream(self, self.factory.clock, self.factory.timeout)
        self.transport.registerProducer(self, True)
        self.factory.connected(self)
        if not ISSLTransport.providedBy(self.transport):
            self._start()

    def handshakeCompleted(self) -> None:
        """
        Implicit TLS is up: now the session can say who it talks to. After STARTTLS it runs
        already.
        """
        if not self._serving:
            self._start()

    def _start(self) -> None:
        self._serving = True
        ensureDeferred(self._serve())

    async def _serve(self) -> None:
        try:
            await self.factory.serve(self.stream)
        except (ConnectionClosed, SessionEnded):
            pass
        except PlaintextInjected:
            self.log.warn(
                "{service}: {peer} sent text behind STARTTLS; dropped",
                service=self.factory.service,
                peer=self.peer,
            )
            self.transport.abortConnection()
        except Exception:
            self.log.failure("{service}: session failed", service=self.factory.service)
        finally:
            if not self._lost:
                self.stream.close()
            self._serving = False
            self._finishIfOver()

    def dataReceived(self, data: bytes) -> None:
        """Octets for the session."""
        self.stream.received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The peer is gone."""
        self._lost = True
        self.stream.lost()
        self._finishIfOver()

    def _finishIfOver(self) -> None:
        # Over when the peer is gone and the session has returned: it may still be committing.
        if self._lost and not self._serving and not self.done.called:
            self.factory.disconnected(self)
            self.done.callback(None)

    @property
    def peer(self) -> str:
        """The peer's IP address as text, C{local} if it has none."""
        return getattr(self.transport.getPeer(), "host", None) or "local"

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
        self.transport.write(data)

    def setPaused(self, paused: bool) -> None:
        """See L{twisted_mailstack.wire.stream.IWire}."""
        if self._lost or self._losing:
            return
        if paused:
            self.transport.pauseProducing()
        else:
            self.transport.resumeProducing()

    def startTLS(self) -> None:
        """See L{twisted_mailstack.wire.stream.IWire}."""
        # The producer belongs to the plain transport; TLS puts its own buffer in front of it.
        self.transport.unregisterProducer()
        self.transport.startTLS(self.factory.tls)
        self.transport.registerProducer(self, True)

    def lose(self) -> None:
        """See L{twisted_mailstack.wire.stream.IWire}."""
        if self._losing or self._lost:
            return
        self._losing = True
        # loseConnection waits for a registered streaming producer for ever.
        self.transport.unregisterProducer()
        self.transport.loseConnection()
        # A peer that neither reads nor closes must not keep the connection.
        timer = self.factory.clock.callLater(self.factory.closeTimeout, self._abort)
        self.done.addCallback(lambda _: timer.cancel() if timer.active() else None)

    def _abort(self) -> None:
        if not self._lost:
            self.transport.abortConnection()

    def describe(self) -> ConnectionInfo:
        """See L{twisted_mailstack.wire.stream.IWire}."""
        peer = self.transport.getPeer()
        secure = ISSLTransport.providedBy(self.transport)
        version = cipher = None
        if secure:
            handle = self.transport.getHandle()
            version = handle.get_protocol_version_name()
            cipher = handle.get_cipher_name()
        return ConnectionInfo(
            self.peer, getattr(peer, "port", 0), self.factory.service, secure, version, cipher
        )


class MailFactory(Factory):
    """
    Makes a connection for each client, up to its limits.

    @ivar serve: runs one session.
    @ivar service: the name of the service, for logs and policies.
    @ivar clock: for timeouts.
    @ivar tls: the context factory for STARTTLS, C{None} if there is none.
    @ivar timeout: seconds that a read may take, until the session says otherwise.
    @ivar refusal: sent to a client for which there is no room, with C{closeTimeout} to read it.
    @ivar maxConnections: at a time, in all.
    @ivar maxConnectionsPerPeer: at a time from one IPv4 address or IPv6 /64; loopback is exempt.
    """

    noisy = False
    closeTimeout = 10.0

    def __init__(
        self,
        serve: Serve,
        service: str,
        clock: IReactorTime,
        *,
        tls: IOpenSSLServerConnectionCreator | None = None,
        timeout: float = 300.0,
        refusal: bytes = b"",
        maxConnections: int = 10_000,
        maxConnectionsPerPeer: int = 100,
    ) -> None:
        self.serve = serve
        self.service = service
        self.clock = clock
        self.tls = tls
        self.timeout = timeout
        self.refusal = refusal
        self.maxConnections = maxConnections
        self.maxConnectionsPerPeer = maxConnectionsPerPeer
        self.protocols: set[MailProtocol] = set()
        self._perPeer: Counter[str] = Counter()
        self._stopping = False

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        """
        @return: a connection, or one that only says that there is no room.
        """
        peer = _network(getattr(addr, "host", None))
        if (
            self._stopping
            or len(self.protocols) >= self.maxConnections
            or (peer and self._perPeer[peer] >= self.maxConnectionsPerPeer)
        ):
            return Refusal(self.refusal)
        return MailProtocol(self)

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

        @param patience: seconds after which those that remain are cut off.
        @return: fires when none is left and nothing is being committed any more.
        """
        self._stopping = True
        if not self.protocols:
            return succeed(None)
        waiting = [protocol.done for protocol in self.protocols]
        for protocol in list(self.protocols):
            protocol.stream.end(SessionEnded.SHUTDOWN)

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

    transport: Any

    def __init__(self, line: bytes) -> None:
        self.line = line

    def connectionMade(self) -> None:
        """Say it."""
        if self.line:
            self.transport.write(self.line)
        self.transport.loseConnection()


def _network(host: str | None) -> str:
    """
    @return: what counts as one peer; empty for what isn't counted.
    """
    if host is None or host == "local":
        return ""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    if address.is_loopback:
        return ""
    if address.version == 6:
        return str(ip_network((address, 64), strict=False))
    return str(address)
