"""
CAPA (RFC 2449): exactly what holds, in each state.
"""

from __future__ import annotations

from tests.pop3.support import POP3TestCase, Server, multiLine
from twisted_mailstack.testing.conversation import Conversation

ALWAYS = [
    *("TOP", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "EXPIRE NEVER"),
    *("UTF8 USER", "LANG"),
]
PASSWORDS = ["USER", "SASL PLAIN LOGIN"]


class CAPATests(POP3TestCase):
    """
    What is announced.
    """

    def capabilities(self, client: Conversation) -> list[str]:
        """
        @return: what a client is told.
        """
        client.wire.take()
        status, text, rest = multiLine(client.send(b"CAPA\r\n"))
        self.assertEqual((status, rest), (b"+OK capabilities follow", b""))
        return text.decode().splitlines()

    def assertCapabilities(self, client: Conversation, *expected: str) -> None:
        """It is told these, in any order, each once."""
        self.assertEqual(sorted(self.capabilities(client)), sorted((*ALWAYS, *expected)))

    def test_plain(self) -> None:
        """Without TLS: STLS, and nothing that would send a password (RFC 2595 §2.3)."""
        self.assertCapabilities(self.server.connect(secure=False), "STLS")

    def test_secure(self) -> None:
        """Under TLS: no STLS, but the ways to log in."""
        self.assertCapabilities(self.server.connect(), *PASSWORDS)

    def test_afterSTLS(self) -> None:
        """After STLS they are those of a secure connection (RFC 2595 §4)."""
        client = self.server.connect(secure=False)
        self.capabilities(client)
        client.send(b"STLS\r\n")
        self.assertCapabilities(client, *PASSWORDS)

    def test_transaction(self) -> None:
        """
        What was announced before login still is, as RFC 2449 §5 wants, and the implementation too.
        """
        self.assertCapabilities(self.server.login(), *PASSWORDS, "IMPLEMENTATION twisted_mailstack")

    def test_plaintextAllowed(self) -> None:
        """Where the operator allows passwords without TLS they are announced, and STLS too."""
        server = Server(allowPlaintextAuth=True)
        self.assertCapabilities(server.connect(secure=False), "STLS", *PASSWORDS)
        self.assertCapabilities(server.connect(secure=True), *PASSWORDS)
        client = server.connect(secure=False)
        client.send(b"USER alice\r\nPASS secret\r\n")
        self.assertCapabilities(client, *PASSWORDS, "IMPLEMENTATION twisted_mailstack")

    def test_withoutCertificate(self) -> None:
        """A server that has no TLS doesn't announce it."""
        self.assertCapabilities(Server(tls=None).connect(secure=False))

    def test_mechanisms(self) -> None:
        """The mechanisms are those that the server was given; without any there is no SASL."""
        self.server.options["mechanisms"] = ()
        self.assertCapabilities(self.server.connect(), "USER")

    def test_noTwoWays(self) -> None:
        """APOP isn't offered by itself: no timestamp in the greeting (RFC 2449 §6)."""
        client = self.server.connect()
        self.assertNotIn(b"<", client.wire.take())
        self.assertEqual(client.send(b"APOP alice 0\r\n"), b"-ERR APOP is not available\r\n")

    def test_loginDelay(self) -> None:
        """Announced where it is enforced, in both states (RFC 2449 §6.5)."""
        server = Server(loginDelay=30)
        self.assertNotIn("LOGIN-DELAY 30", self.capabilities(server.connect()))
        server.options["memory"] = server.store.memory
        self.assertIn("LOGIN-DELAY 30", self.capabilities(server.connect()))
        server.options["now"] = server.store.now
        self.assertIn("LOGIN-DELAY 30", self.capabilities(server.login()))

    def test_expire(self) -> None:
        """What the operator says of the policy (RFC 2449 §6.7)."""
        for days in (0, 1, 30):
            server = Server(expireDays=days)
            for client in (server.connect(), server.login()):
                self.assertIn(f"EXPIRE {days}", self.capabilities(client))
                client.disconnect()

    def test_form(self) -> None:
        """Each line is at most 512 octets of visible ASCII and single spaces (RFC 2449 §3)."""
        for client in (self.server.connect(), self.server.connect(False), self.server.login()):
            for line in self.capabilities(client):
                self.assertRegex(line, r"\A[!-~]+( [!-~]+)*\Z")
                self.assertNotIn(".", line.partition(" ")[0])
                self.assertLessEqual(len(line), 510)

    def test_kept(self) -> None:
        """What names a command is one that is known, in the state it is for (RFC 2449 §5)."""
        client = self.server.login()
        for name in self.capabilities(client):
            if name in ("TOP", "UIDL"):
                self.assertNotIn(b"Unknown", client.send(name.encode() + b"\r\n"))
        client = self.server.connect(secure=False)
        for name in self.capabilities(client):
            if name in ("STLS", "USER", "AUTH"):
                self.assertNotIn(b"-ERR", client.send(name.encode() + b"\r\n"))

    def test_parameters(self) -> None:
        """CAPA has none."""
        client = self.server.connect()
        client.wire.take()
        self.assertEqual(client.send(b"CAPA all\r\n"), b"-ERR Too many parameters\r\n")
