"""
Connections of clients: how they come about, how they don't, and how they end.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost, TimeoutError
from twisted.internet.interfaces import IHandshakeListener, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from tests.net.authority import Authority
from tests.net.internet import SILENT, InternetTestCase
from twisted_mailstack.errors import ConnectionClosed
from twisted_mailstack.net.client import CLOSE_TIMEOUT, ClientConnection, connect
from twisted_mailstack.net.clienttls import ClientTLS, TLSAttempt, TLSProblem

WHERE = ("198.51.100.1", 25)
NAME = "mx.example.org"


class Server(Protocol):
    """
    The other side.
    """

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note it."""
        self.lost = reason


class ClientTestCase(InternetTestCase):
    """
    @ivar server: the other side of the connection.
    """

    authority = Authority()

    def setUp(self) -> None:
        """A server."""
        super().setUp()
        self.client = ClientTLS(self.authority.trustRoot)
        self.server = Server()
        self.factory = Factory.forProtocol(lambda: self.server)
        self.internet.servers[WHERE] = self.factory

    def connect(self, tls: Any = None, implicit: bool = False) -> Deferred[ClientConnection]:
        """
        @return: fires with the connection.
        """
        endpoint: Any = TCP4ClientEndpoint(self.internet, *WHERE)
        if implicit:
            endpoint = wrapClientTLS(tls, endpoint)
        return self.start(connect(endpoint, self.internet, service="test", tls=tls, timeout=30))

    def secure(self, certificate: Any = None) -> None:
        """From now on the server has TLS from the beginning."""
        issued = certificate or self.authority.issue(NAME)
        self.internet.servers[WHERE] = TLSMemoryBIOFactory(issued.server, False, self.factory)


class ConnectionTests(ClientTestCase):
    """
    Without TLS.
    """

    def test_interfaces(self) -> None:
        """It keeps its contracts with Twisted."""
        connection = ClientConnection(self.internet, "test", None)
        verifyObject(IHandshakeListener, connection)
        verifyObject(IPushProducer, connection)

    def test_talk(self) -> None:
        """Octets go both ways, and it is known who is at the other end."""
        connection = self.successResultOf(self.connect())
        stream = connection.stream
        self.server.transport.write(b"220 hello\r\n")
        self.assertEqual(self.result(stream.readLine(100)), b"220 hello")
        stream.write(b"QUIT\r\n")
        stream.flush()
        self.internet.pump()
        self.assertEqual(self.server.received, b"QUIT\r\n")
        info = stream.info
        self.assertEqual(
            (info.peer, info.peerPort, info.service, info.secure), (*WHERE, "test", False)
        )

    def test_unixSocket(self) -> None:
        """A Unix socket has no address; the peer is local."""
        self.internet.servers["/run/lmtp"] = self.factory
        endpoint = UNIXClientEndpoint(self.internet, "/run/lmtp")
        connection = self.result(connect(endpoint, self.internet))
        self.assertEqual(connection.stream.info.peer, "local")

    def test_refused(self) -> None:
        """A host that refuses is an error at once."""
        del self.internet.servers[WHERE]
        self.failureResultOf(self.connect(), ConnectError)
        self.assertIdle()

    def test_silent(self) -> None:
        """A host that doesn't answer is given up after the time."""
        self.internet.servers[WHERE] = SILENT
        endpoint = TCP4ClientEndpoint(self.internet, *WHERE, timeout=1000)
        attempt = self.start(connect(endpoint, self.internet, timeout=30))
        self.internet.wait(29)
        self.assertNoResult(attempt)
        self.internet.wait(1)
        self.failureResultOf(attempt, TimeoutError)
        self.assertIdle()

    def test_cancel(self) -> None:
        """Who doesn't want to wait any more leaves nothing behind."""
        self.internet.servers[WHERE] = SILENT
        attempt = self.connect()
        attempt.cancel()
        self.failureResultOf(attempt, CancelledError)
        self.assertIdle()

    def test_serverCloses(self) -> None:
        """When the server closes, whoever reads is told."""
        connection = self.successResultOf(self.connect())
        reading = self.start(connection.stream.readLine(100))
        self.server.transport.loseConnection()
        self.internet.pump()
        self.failureResultOf(reading, ConnectionClosed)
        self.assertEqual(self.successResultOf(connection.lost), None)
        assert connection.reason is not None
        connection.reason.trap(ConnectionDone)
        self.assertIsNone(connection.tlsProblem)
        self.assertIdle()

    def test_close(self) -> None:
        """Closing sends what was written, and doesn't wait for ever for the server."""
        connection = self.successResultOf(self.connect())
        connection.stream.write(b"QUIT\r\n")
        connection.stream.close()
        self.internet.pump()
        self.assertEqual(self.server.received, b"QUIT\r\n")
        self.assertIsNotNone(self.server.lost)
        self.assertIdle()

    def test_closeWithoutReader(self) -> None:
        """A server that doesn't take the last octets is cut off after a while."""
        connection = self.successResultOf(self.connect())
        self.server.transport.pauseProducing()
        connection.stream.write(b"x" * 1_000_000)
        connection.stream.close()
        self.internet.wait(CLOSE_TIMEOUT - 1)
        self.assertIsNone(connection.reason)
        self.internet.wait(1)
        assert connection.reason is not None
        connection.reason.trap(ConnectionLost)
        self.server.transport.abortConnection()
        self.assertIdle()

    def test_abort(self) -> None:
        """Cutting the connection ends it at once, also twice, also when it is gone."""
        connection = self.successResultOf(self.connect())
        connection.abort()
        connection.abort()
        self.internet.pump()
        connection.abort()
        connection.lose()
        self.assertTrue(connection.stream.closed)
        self.assertIdle()

    def test_slowServer(self) -> None:
        """Of what a server doesn't take little is kept: the writer waits."""
        connection = self.successResultOf(self.connect())
        self.server.transport.pauseProducing()

        async def send() -> None:
            for _ in range(50):
                connection.stream.write(b"x" * 50_000)
                await connection.stream.drain()

        sending = self.start(send())
        self.assertNoResult(sending)
        self.server.transport.resumeProducing()
        self.internet.pump()
        self.successResultOf(sending)
        self.assertEqual(len(self.server.received), 2_500_000)

    def test_muchInput(self) -> None:
        """Of what a server sends unasked only so much is taken."""
        connection = self.successResultOf(self.connect())
        self.server.transport.write(b"x" * 2_000_000)
        self.internet.pump()
        self.assertLess(connection.stream.buffered, 300_000)
        connection.abort()
        self.internet.pump()


class StartTLSTests(ClientTestCase):
    """
    TLS that begins in the midst of a connection.
    """

    def begin(self, tls: TLSAttempt, certificate: Any = None) -> ClientConnection:
        """
        @return: a connection on which both sides have begun TLS.
        """
        connection = self.successResultOf(self.connect(tls))
        self.assertIsNone(connection.tlsProblem)
        connection.stream.startTLS()
        connection.stream.write(b"EHLO me.test\r\n")
        connection.stream.flush()
        issued = certificate or self.authority.issue(NAME)
        self.server.transport.startTLS(issued.server)
        self.internet.pump()
        return connection

    def test_good(self) -> None:
        """Behind the handshake all goes through TLS, and it is known which."""
        connection = self.begin(self.client.verified(NAME))
        self.assertEqual(self.server.received, b"EHLO me.test\r\n")
        self.server.transport.write(b"250 hello\r\n")
        self.assertEqual(self.result(connection.stream.readLine(100)), b"250 hello")
        info = connection.stream.info
        self.assertEqual((info.secure, info.tlsVersion), (True, "TLSv1.3"))
        self.assertIsNone(connection.tlsProblem)
        connection.stream.close()
        self.assertIdle()

    def test_notVerified(self) -> None:
        """A certificate that is no good ends the connection, before anything is sent."""
        connection = self.begin(self.client.verified(NAME), Authority("Nobody").issue(NAME))
        self.assertEqual(self.server.received, b"")
        assert connection.tlsProblem is not None
        self.assertEqual(connection.tlsProblem.kind, "certificate-not-trusted")
        self.assertTrue(connection.stream.closed)
        self.assertIdle()

    def test_checkRefuses(self) -> None:
        """So does a check that isn't passed when the handshake is done."""

        def check(connection: SSL.Connection) -> None:
            raise TLSProblem("no TLSA record matches")

        connection = self.begin(self.client.checked(NAME, check))
        self.assertEqual(self.server.received, b"")
        assert connection.tlsProblem is not None
        self.assertEqual(connection.tlsProblem.text, "no TLSA record matches")
        self.assertTrue(connection.stream.closed)
        self.assertIdle()

    def test_otherCreators(self) -> None:
        """Any of Twisted's ways to make TLS connections will do."""
        from twisted.internet.ssl import optionsForClientTLS

        trust = self.authority.trustRoot
        connection = self.begin(optionsForClientTLS(NAME, trust))  # type: ignore[arg-type]
        self.assertEqual(self.server.received, b"EHLO me.test\r\n")
        connection.abort()
        self.internet.pump()

    def test_noTLSThere(self) -> None:
        """A server that goes on in the clear has failed to do TLS, and it is said why."""
        connection = self.successResultOf(self.connect(self.client.opportunistic(NAME)))
        connection.stream.startTLS()
        self.server.transport.write(b"220 hello there, this is no TLS\r\n")
        self.internet.pump()
        assert connection.tlsProblem is not None
        self.assertEqual(connection.tlsProblem.kind, "validation-failure")
        self.assertTrue(connection.tlsProblem.text)
        self.assertTrue(connection.stream.closed)
        self.assertIdle()

    def test_closedInHandshake(self) -> None:
        """A server that closes instead of shaking hands has failed to do TLS."""
        connection = self.successResultOf(self.connect(self.client.opportunistic(NAME)))
        connection.stream.startTLS()
        self.internet.pump()
        self.server.transport.loseConnection()
        self.internet.pump()
        assert connection.tlsProblem is not None
        self.assertIn("handshake", connection.tlsProblem.text)

    def test_abortInHandshake(self) -> None:
        """A handshake that is given up has failed."""
        connection = self.successResultOf(self.connect(self.client.opportunistic(NAME)))
        connection.stream.startTLS()
        self.internet.pump()
        connection.abort()
        self.internet.pump()
        assert connection.tlsProblem is not None
        self.assertIdle()

    def test_lostLater(self) -> None:
        """A connection that is lost behind the handshake says nothing of TLS."""
        connection = self.begin(self.client.verified(NAME))
        self.server.transport.abortConnection()
        self.internet.pump()
        self.assertIsNone(connection.tlsProblem)
        self.assertTrue(connection.stream.closed)

    def test_refusedLater(self) -> None:
        """
        With TLS 1.3 a server says what it doesn't like when the client is through with the
        handshake: that is a failure of TLS too.
        """
        issued = self.authority.issue(NAME)
        context = issued.server.getContext()
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
        connection = self.begin(self.client.opportunistic(NAME), issued)
        assert connection.tlsProblem is not None
        self.assertIn("certificate required", connection.tlsProblem.text)


class ImplicitTLSTests(ClientTestCase):
    """
    TLS from the beginning.
    """

    def test_good(self) -> None:
        """The connection is there when the handshake is done."""
        self.secure()
        connection = self.successResultOf(self.connect(self.client.verified(NAME), True))
        self.assertTrue(connection.stream.info.secure)
        self.server.transport.write(b"220 hello\r\n")
        self.assertEqual(self.result(connection.stream.readLine(100)), b"220 hello")
        connection.stream.close()
        self.assertIdle()

    def test_notVerified(self) -> None:
        """A certificate that is no good is why there is no connection."""
        for issued, kind in (
            (self.authority.issue(NAME, days=-1), "certificate-expired"),
            (self.authority.issue("x.test"), "certificate-host-mismatch"),
        ):
            self.secure(issued)
            attempt = self.connect(self.client.verified(NAME), True)
            error = self.failureResultOf(attempt, TLSProblem).value
            self.assertEqual(error.kind, kind)
            self.assertIdle()

    def test_checkRefuses(self) -> None:
        """So is a check that isn't passed."""

        def check(connection: SSL.Connection) -> None:
            raise TLSProblem("no")

        self.secure()
        attempt = self.connect(self.client.checked(NAME, check), True)
        self.failureResultOf(attempt, TLSProblem)
        self.assertIdle()

    def test_noTLSThere(self) -> None:
        """A server that speaks in the clear has no TLS."""
        attempt = self.connect(self.client.verified(NAME), True)
        self.server.transport.write(b"220 hello there, this is no TLS\r\n")
        self.internet.pump()
        self.failureResultOf(attempt, TLSProblem)
        self.assertIdle()

    def test_closedInHandshake(self) -> None:
        """A server that closes instead of shaking hands has none either."""
        attempt = self.connect(self.client.verified(NAME), True)
        self.server.transport.loseConnection()
        self.internet.pump()
        self.failureResultOf(attempt, TLSProblem)
        self.assertIdle()

    def test_silent(self) -> None:
        """A server that doesn't shake hands is given up after the time."""
        attempt = self.connect(self.client.verified(NAME), True)
        self.internet.wait(29)
        self.assertNoResult(attempt)
        self.internet.wait(1)
        self.failureResultOf(attempt, TLSProblem)
        self.assertIdle()

    def test_cancel(self) -> None:
        """Who doesn't want to wait for the handshake any more leaves nothing behind."""
        attempt = self.connect(self.client.verified(NAME), True)
        attempt.cancel()
        self.failureResultOf(attempt, CancelledError)
        self.assertIdle()
