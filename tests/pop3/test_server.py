"""
The server's factory on a network in memory, with real TLS.
"""

from __future__ import annotations

from tests.net.network import Client, NetworkTestCase
from tests.pop3.support import FIRST, SECOND, Server, multiLine
from twisted_mailstack.net.protocol import MailFactory

GREETING = b"+OK POP3 ready at mx.example.test\r\n"
LOGIN = b"USER alice\r\nPASS secret\r\n"
LOGGED_IN = b"+OK send PASS\r\n+OK 2 messages, 64 octets\r\n"


class ServerTestCase(NetworkTestCase):
    """
    @ivar server: with two messages for Alice.
    @ivar factory: its factory, on the test's network.
    """

    def setUp(self) -> None:
        """Make them."""
        super().setUp()
        self.certificate = self.makeCertificate()
        self.server = Server(tls=self.certificate)
        self.server.put(FIRST, SECOND)
        self.factory: MailFactory = self.server.factory(self.network)

    def connect(self) -> Client:
        """
        @return: a client of the port without TLS.
        """
        return self.network.connect(self.factory)

    def connectTLS(self) -> Client:
        """
        @return: a client of the port with TLS, its handshake done.
        """
        client = self.network.connect(self.implicitTLS(self.factory, self.certificate))
        client.startTLS()
        return client

    def assertOver(self, client: Client) -> None:
        """The connection is closed and nothing is left of it."""
        self.network.pump()
        self.assertIsNotNone(client.lost)
        self.assertEqual(self.factory.protocols, set())
        self.assertFalse(self.server.locked)
        self.assertEqual(self.network.getDelayedCalls(), [])


class POP3FactoryTests(ServerTestCase):
    """
    Whole sessions.
    """

    def test_implicitTLS(self) -> None:
        """A session on the port with TLS (RFC 8314 §3.3)."""
        client = self.connectTLS()
        self.assertEqual(client.take(), GREETING)
        self.assertEqual(client.send(LOGIN), LOGGED_IN)
        self.assertEqual(multiLine(client.send(b"RETR 1\r\n")), (b"+OK 39 octets", FIRST, b""))
        self.assertEqual(
            client.send(b"DELE 1\r\nQUIT\r\n"), b"+OK message 1 deleted\r\n+OK bye\r\n"
        )
        self.assertOver(client)
        self.assertEqual(self.server.messages(), [SECOND])

    def test_stls(self) -> None:
        """A session that begins without TLS (RFC 2595 §4)."""
        client = self.connect()
        self.assertEqual(client.take(), GREETING)
        self.assertIn(b"\r\nSTLS\r\n", client.send(b"CAPA\r\n"))
        self.assertTrue(client.send(LOGIN).startswith(b"-ERR Encryption required"))
        self.assertEqual(client.send(b"STLS\r\n"), b"+OK begin TLS\r\n")
        client.startTLS()
        capabilities = client.send(b"CAPA\r\n")
        self.assertNotIn(b"STLS", capabilities)
        self.assertIn(b"\r\nSASL PLAIN LOGIN\r\n", capabilities)
        self.assertEqual(client.send(LOGIN + b"QUIT\r\n"), LOGGED_IN + b"+OK bye\r\n")
        self.assertOver(client)

    def test_injection(self) -> None:
        """Text behind STLS is never run: the connection is dropped without a word."""
        client = self.connect()
        client.take()
        self.assertEqual(client.send(b"STLS\r\nCAPA\r\n"), b"")
        self.assertOver(client)

    def test_pieces(self) -> None:
        """Octet by octet through TLS it is the same."""
        client = self.connectTLS()
        script = LOGIN + b"UIDL\r\nRETR 2\r\nQUIT\r\n"
        whole = client.send(script)
        client = self.connectTLS()
        self.assertEqual(b"".join(client.send(bytes([octet])) for octet in script), whole)

    def test_large(self) -> None:
        """A large message to a client that reads slowly comes whole, and isn't held in memory."""
        message = b"Subject: large\r\n\r\n" + b".0123456789\r\n" * 150_000
        self.server.put(message)
        client = self.connectTLS()
        client.send(LOGIN)
        client.transport.pauseProducing()
        client.send(b"RETR 3\r\nQUIT\r\n")
        server = client.server
        self.assertLess(len(server.dataBuffer) + server._tempDataLen, 600_000)
        client.transport.resumeProducing()
        self.network.pump()
        status, text, rest = multiLine(client.take())
        self.assertEqual((status, rest), (b"+OK 1950018 octets", b"+OK bye\r\n"))
        self.assertEqual(text, message)
        self.assertOver(client)

    def test_disconnect(self) -> None:
        """A connection that is lost frees the maildrop; nothing is deleted."""
        client = self.connectTLS()
        client.send(LOGIN + b"DELE 1\r\n")
        self.assertTrue(self.server.locked)
        client.transport.abortConnection()
        self.assertOver(client)
        self.assertEqual(self.server.messages(), [FIRST, SECOND])

    def test_disconnectInRETR(self) -> None:
        """Also in the midst of a message."""
        self.server.put(b"x" * 2_000_000)
        client = self.connectTLS()
        client.send(LOGIN)
        client.transport.pauseProducing()
        client.send(b"DELE 1\r\nRETR 3\r\nQUIT\r\n")
        client.transport.abortConnection()
        self.assertOver(client)
        self.assertEqual(len(self.server.messages()), 3)

    def test_wrongPassword(self) -> None:
        """Failed logins are answered late, and the third ends the connection."""
        client = self.connectTLS()
        client.send(b"USER alice\r\nPASS wrong\r\n" * 3)
        for _ in range(7):
            self.assertIsNone(client.lost)
            self.network.wait(1)
        self.assertEqual(client.take().count(b"-ERR [AUTH] Authentication failed\r\n"), 3)
        self.assertOver(client)

    def test_timeouts(self) -> None:
        """Ten minutes (RFC 1939 §3), before login and after it; then it closes without a word."""
        for before in (b"", LOGIN):
            client = self.connectTLS()
            client.send(before)
            self.network.wait(599)
            self.assertIsNone(client.lost)
            self.network.wait(1)
            self.assertEqual(client.take(), b"")
            self.assertOver(client)

    def test_noHandshake(self) -> None:
        """Nobody holds a connection to the port with TLS by saying nothing."""
        client = self.network.connect(self.implicitTLS(self.factory, self.certificate))
        self.network.wait(self.factory.handshakeTimeout)
        self.assertOver(client)

    def test_refusal(self) -> None:
        """One connection too many is told in POP3's terms, under TLS where that is expected."""
        self.factory.maxConnections = 1
        first = self.connect()
        first.take()
        for client in (self.connect(), self.connectTLS()):
            self.assertEqual(client.take(), b"-ERR [SYS/TEMP] too many connections, try later\r\n")
            self.assertIsNotNone(client.lost)
        self.assertEqual(first.send(b"QUIT\r\n"), b"+OK bye\r\n")

    def test_shutDown(self) -> None:
        """The server's end: a goodbye to each, what is being deleted is deleted."""
        idle, busy = self.connectTLS(), self.connectTLS()
        idle.take()
        busy.send(LOGIN)
        self.server.gate.held = {"removeMessages"}
        busy.send(b"DELE 1\r\nQUIT\r\n")
        over: list[object] = []
        self.factory.shutDown().addCallback(over.append)
        self.network.pump()
        self.assertEqual(idle.take(), b"-ERR [SYS/TEMP] shutting down, nothing was deleted\r\n")
        self.assertEqual(over, [])
        self.server.gate.release()
        self.network.pump()
        self.assertTrue(over)
        self.assertEqual(busy.take(), b"+OK message 1 deleted\r\n+OK bye\r\n")
        self.assertEqual(self.server.messages(), [SECOND])

    def test_shutDownInDelay(self) -> None:
        """A login that has just failed doesn't hold up the server's end."""
        client = self.connectTLS()
        client.send(b"USER alice\r\nPASS wrong\r\n")
        over: list[object] = []
        self.factory.shutDown().addCallback(over.append)
        self.network.pump()
        self.assertTrue(over)
        self.assertEqual(
            client.take(),
            b"-ERR [AUTH] Authentication failed\r\n"
            b"-ERR [SYS/TEMP] shutting down, nothing was deleted\r\n",
        )
        self.assertOver(client)

    def test_cutOff(self) -> None:
        """If that takes too long the connection is cut, and the deletion is done all the same."""
        client = self.connectTLS()
        self.server.gate.held = {"removeMessages"}
        client.send(LOGIN + b"DELE 1\r\nQUIT\r\n")
        over: list[object] = []
        self.factory.shutDown(5).addCallback(over.append)
        self.network.wait(5)
        self.assertIsNotNone(client.lost)
        self.assertEqual(over, [])
        self.server.gate.release()
        self.assertTrue(over)
        self.assertOver(client)
        self.assertEqual(self.server.messages(), [SECOND])
