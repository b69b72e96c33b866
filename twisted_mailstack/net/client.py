# -*- test-case-name: tests.net.test_client -*-
"""
The Twisted protocol under every client of ours: it connects, and gives a
L{Stream<twisted_mailstack.wire.stream.Stream>} to whoever asked for it.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectingCancelledError, TimeoutError
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IPushProducer,
    IReactorTime,
    ISSLTransport,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.net.channel import TLSChannel
from twisted_mailstack.net.clienttls import TLSAttempt, TLSProblem
from twisted_mailstack.wire.stream import Stream

#: Seconds that a peer has to take what is left and close.
CLOSE_TIMEOUT = 10.0


@implementer(IHandshakeListener, IPushProducer)
class ClientConnection(Protocol):
    """
    One connection to a server.

    @ivar stream: its octets.
    @ivar tls: the client's side of TLS; may be set as long as TLS hasn't begun.
    @ivar tlsProblem: why TLS failed or is not to be used, C{None} if it didn't, and is.
    @ivar reason: why the connection was lost, C{None} while it is there.
    """

    # TCP, TLS or a Unix socket; Twisted's annotation says only ITransport | None.
    transport: Any

    def __init__(
        self, clock: IReactorTime, service: str, tls: IOpenSSLClientConnectionCreator | None
    ) -> None:
        self.tls = tls
        self.tlsProblem: TLSProblem | None = None
        self.reason: Failure | None = None
        self.stream = Stream(self, clock)
        self.peer = "local"
        self._clock = clock
        self._service = service
        self._losing = False
        self._shaking = False
        # Fires when the stream can be used, with implicit TLS after the handshake.
        self.ready: Deferred[None] = Deferred(lambda _: self.abort())
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """The connection is there."""
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
        self.peer = getattr(self.transport.getPeer(), "host", None) or "local"
        self.transport.registerProducer(self, True)
        if ISSLTransport.providedBy(self.transport):
            self._shaking = True
        else:
            self.ready.callback(None)

    def handshakeCompleted(self) -> None:
        """TLS is up. If it is not as it must be the connection is cut."""
        self._shaking = False
        if isinstance(self.tls, TLSAttempt):
            try:
                self.tls.verifyPeer(self.transport.getHandle())
            except TLSProblem as problem:
                self.tlsProblem = problem
                self.abort()
                return
        if not self.ready.called:
            self.ready.callback(None)

    def dataReceived(self, data: bytes) -> None:
        """Octets for the session."""
        if not self._losing:
            self.stream.received(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The server is gone."""
        self.reason = reason
        if reason.check(SSL.Error) is not None:
            # Also behind the handshake: with TLS 1.3 only then a server says what it doesn't like.
            self._fail(_why(reason.value))
        elif self._shaking:
            self._fail("the connection was closed during the TLS handshake")
        self.stream.lost()
        if not self.ready.called:
            self.ready.errback(self.tlsProblem or reason)
        self.lost.callback(None)

    def _fail(self, text: str) -> None:
        found = self.tls.problem if isinstance(self.tls, TLSAttempt) else None
        self.tlsProblem = self.tlsProblem or found or TLSProblem(text)

    def abort(self) -> None:
        """Cut the connection."""
        if self._shaking:
            self._fail("the TLS handshake did not end")
        self._losing = True
        if self.reason is None and self.transport is not None:
            self.transport.abortConnection()

    # --- IPushProducer -------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The server doesn't keep up."""
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
        if self.reason is None and not self._losing:
            if paused:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    def setWindow(self, octets: int) -> None:
        """See L{twisted_mailstack.wire.stream.IWire}. Clients have no need of it."""

    def startTLS(self) -> None:
        """See L{twisted_mailstack.wire.stream.IWire}. If TLS fails the connection is lost."""
        self._shaking = True
        self.transport.unregisterProducer()
        self.transport.startTLS(self.tls)
        self.transport.registerProducer(self, True)

    def lose(self) -> None:
        """See L{twisted_mailstack.wire.stream.IWire}."""
        if self._losing or self.reason is not None:
            return
        self._losing = True
        self.transport.unregisterProducer()
        # Only who reads sees the peer close.
        self.transport.resumeProducing()
        self.transport.loseConnection()
        timer = self._clock.callLater(CLOSE_TIMEOUT, self.abort)
        self.lost.addCallback(lambda _: timer.cancel() if timer.active() else None)

    def describe(self) -> ConnectionInfo:
        """See L{twisted_mailstack.wire.stream.IWire}."""
        peer = self.transport.getPeer()
        secure = ISSLTransport.providedBy(self.transport)
        version = cipher = None
        handle = self.transport.getHandle() if secure else None
        if handle is not None:
            version = handle.get_protocol_version_name()
            cipher = handle.get_cipher_name()
        port = getattr(peer, "port", 0)
        channel = None if handle is None else TLSChannel(handle, server=False)
        return ConnectionInfo(
            self.peer, port, self._service, secure, version, cipher, channel=channel
        )


async def connect(
    endpoint: IStreamClientEndpoint,
    clock: IReactorTime,
    *,
    service: str = "client",
    tls: IOpenSSLClientConnectionCreator | None = None,
    timeout: float = 30.0,
) -> ClientConnection:
    """
    Connect to a server.

    @param endpoint: for implicit TLS one made by C{twisted.internet.endpoints.wrapClientTLS}.
    @param service: its name, for logs.
    @param tls: for STARTTLS; with implicit TLS the same that the endpoint has.
    @param timeout: seconds for the connection and the TLS handshake.
    @raise ConnectError: if it can't be reached (or another of C{twisted.internet.error}).
    @raise TLSProblem: if implicit TLS failed.
    """
    protocol = ClientConnection(clock, service, tls)

    factory = Factory.forProtocol(lambda: protocol)
    # It would have two lines in the log for each connection.
    factory.noisy = False

    async def reach() -> None:
        await endpoint.connect(factory)
        await protocol.ready

    attempt = Deferred.fromCoroutine(reach())
    timedOut = []

    def giveUp() -> None:
        timedOut.append(True)
        attempt.cancel()
        protocol.abort()

    timer = clock.callLater(timeout, giveUp)
    try:
        await attempt
    except Exception as error:
        if timedOut:
            raise protocol.tlsProblem or TimeoutError() from None
        if isinstance(error, ConnectingCancelledError):
            raise CancelledError() from error
        raise
    finally:
        if timer.active():
            timer.cancel()
    return protocol


def _why(error: BaseException | None) -> str:
    # OpenSSL's list of (library, function, reason).
    given = error.args[0] if error is not None and error.args else None
    reasons = given if isinstance(given, list) else []
    return ", ".join(str(reason[-1]) for reason in reasons if reason) or "TLS failed"


__all__ = ["ClientConnection", "ConnectError", "connect"]
