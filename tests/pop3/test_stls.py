"""
STLS (RFC 2595 §4). The handshake itself is in test_server.
"""

from __future__ import annotations

from tests.pop3.support import POP3TestCase, Server
from twisted_mailstack.errors import PlaintextInjected


class STLSTests(POP3TestCase):
    """
    The command.
    """

    def test_stls(self) -> None:
        """TLS begins behind the response; the session stays in AUTHORIZATION."""
        client = self.server.connect(secure=False)
        client.check("""
            S: +OK POP3 ready at mx.example.test
            C: STLS
            S: +OK begin TLS
            C: STAT
            S: -ERR Not in this state
            C: USER alice
            S: +OK send PASS
            C: PASS secret
            S: +OK 2 messages, 64 octets
        """)
        self.assertTrue(client.wire.secure)

    def test_respondedFirst(self) -> None:
        """The response is sent in the clear before TLS begins."""
        client = self.server.connect(secure=False)
        client.wire.take()
        seen: list[bytes] = []
        self.patch(client.wire, "startTLS", lambda: seen.append(client.wire.take()))
        client.send(b"STLS\r\n")
        self.assertEqual(seen, [b"+OK begin TLS\r\n"])

    def test_injection(self) -> None:
        """
        Text that came with the command, before TLS, is never run (CVE-2011-0411): the session is
        over, and TLS isn't begun.
        """
        for behind in (b"USER alice\r\n", b"QUIT\r\n", b"x", b"\r\n", b"\0"):
            client = self.server.connect(secure=False)
            client.wire.take()
            # What of it reaches the client is the connection's business: it is aborted.
            self.assertEqual(client.send(b"STLS\r\n" + behind), b"+OK begin TLS\r\n")
            self.assertTrue(client.finished)
            self.assertFalse(client.wire.secure)
            assert client.failure is not None
            self.assertTrue(client.failure.check(PlaintextInjected))

    def test_forgets(self) -> None:
        """What was said before TLS is forgotten: a name too, where names are taken in the clear."""
        server = Server(allowPlaintextAuth=True)
        client = server.connect(secure=False)
        client.check("""
            S: +OK POP3 ready at mx.example.test
            C: USER alice
            S: +OK send PASS
            C: STLS
            S: +OK begin TLS
            C: PASS secret
            S: -ERR Say USER first
        """)

    def test_failuresCount(self) -> None:
        """Failed logins from before aren't."""
        server = Server(allowPlaintextAuth=True)
        client = server.connect(secure=False)
        for _ in range(2):
            client.send(b"USER alice\r\nPASS wrong\r\n")
            server.clock.advance(15)
        client.send(b"STLS\r\n")
        client.send(b"USER alice\r\nPASS wrong\r\n")
        server.clock.advance(15)
        self.assertTrue(client.finished)

    def test_active(self) -> None:
        """Under TLS there is no second."""
        client = self.server.connect()
        client.wire.take()
        self.assertEqual(client.send(b"STLS\r\n"), b"-ERR TLS is active already\r\n")
        client = self.server.connect(secure=False)
        client.send(b"STLS\r\n")
        self.assertEqual(client.send(b"STLS\r\n"), b"-ERR TLS is active already\r\n")

    def test_loggedIn(self) -> None:
        """It is for the AUTHORIZATION state only."""
        server = Server(allowPlaintextAuth=True)
        client = server.connect(secure=False)
        client.send(b"USER alice\r\nPASS secret\r\n")
        self.assertEqual(client.send(b"STLS\r\n"), b"-ERR Not in this state\r\n")
        self.assertFalse(client.wire.secure)

    def test_notAvailable(self) -> None:
        """A server without a certificate says so."""
        client = Server(tls=None).connect(secure=False)
        client.wire.take()
        self.assertEqual(client.send(b"STLS\r\n"), b"-ERR TLS is not available\r\n")

    def test_parameters(self) -> None:
        """It has none; with one nothing happens."""
        client = self.server.connect(secure=False)
        client.wire.take()
        self.assertEqual(client.send(b"STLS now\r\n"), b"-ERR Too many parameters\r\n")
        self.assertFalse(client.wire.secure)
