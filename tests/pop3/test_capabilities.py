"""
CAPA (RFC 2449): exactly what holds, in each state.
"""

from __future__ import annotations

from tests.pop3.support import FIRST, POP3TestCase, Server, multiLine
from twisted_mailstack.model.records import NEVER
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
        """What holds for all accounts is announced in both states (RFC 2449 §6.7)."""
        for days in (0, 1, 30):
            server = Server(expireDays=days)
            for client in (server.connect(), server.login()):
                self.assertIn(f"EXPIRE {days}", self.capabilities(client))
                client.disconnect()

    def assertDiffers(self, server: Server, start: str, before: str, **after: str) -> None:
        """
        @param start: of the line.
        @param before: what is announced before login; C{after}: behind it, by account.
        """

        def found(client: Conversation) -> list[str]:
            return [each for each in self.capabilities(client) if each.startswith(start)]

        self.assertEqual(found(server.connect()), [before] if before else [])
        for name, expected in after.items():
            client = server.login(name)
            self.assertEqual(found(client), [expected] if expected else [], name)
            client.send(b"QUIT\r\n")

    def surveyed(self, **settings: int) -> Server:
        """
        @return: a server that knows what accounts have of their own.
        """
        server = Server(**settings)
        server.options |= {
            "survey": server.store.directory,
            "memory": server.store.memory,
            "now": server.store.now,
        }
        return server

    def test_ownDelays(self) -> None:
        """
        Before login the largest delay that somebody has, and USER if it may be another; after it
        the account's (RFC 2449 §6.5). Announced in one state it is in both (§5).
        """
        for usual, own, before, alice, bob in (
            (0, 60, "LOGIN-DELAY 60 USER", "LOGIN-DELAY 60", "LOGIN-DELAY 0"),
            (30, 60, "LOGIN-DELAY 60 USER", "LOGIN-DELAY 60", "LOGIN-DELAY 30"),
            (30, 0, "LOGIN-DELAY 30 USER", "LOGIN-DELAY 0", "LOGIN-DELAY 30"),
            (30, 30, "LOGIN-DELAY 30", "LOGIN-DELAY 30", "LOGIN-DELAY 30"),
            (0, 0, "", "", ""),
            (0, None, "", "", ""),
            (5, None, "LOGIN-DELAY 5", "LOGIN-DELAY 5", "LOGIN-DELAY 5"),
        ):
            server = self.surveyed(loginDelay=usual)
            server.set("alice", loginDelay=own)
            self.assertDiffers(server, "LOGIN-DELAY", before, alice=alice, bob=bob)
        server = self.surveyed()
        server.set("alice", loginDelay=7)
        server.set("bob", loginDelay=70)
        self.assertDiffers(
            *(server, "LOGIN-DELAY", "LOGIN-DELAY 70 USER"),
            alice="LOGIN-DELAY 7",
            bob="LOGIN-DELAY 70",
        )
        # Nobody remembers when somebody logged in, so that nothing is enforced.
        server.options["memory"] = None
        self.assertDiffers(server, "LOGIN-DELAY", "", alice="", bob="")

    def test_ownExpiry(self) -> None:
        """
        Before login the smallest number of days that somebody has, and USER if it may be another;
        after it the account's (RFC 2449 §6.7).
        """
        for usual, own, before, alice, bob in (
            (None, 30, "EXPIRE 30 USER", "EXPIRE 30", "EXPIRE NEVER"),
            (None, NEVER, "EXPIRE NEVER", "EXPIRE NEVER", "EXPIRE NEVER"),
            (None, 0, "EXPIRE 0 USER", "EXPIRE 0", "EXPIRE NEVER"),
            (10, 30, "EXPIRE 10 USER", "EXPIRE 30", "EXPIRE 10"),
            (30, 10, "EXPIRE 10 USER", "EXPIRE 10", "EXPIRE 30"),
            (10, NEVER, "EXPIRE 10 USER", "EXPIRE NEVER", "EXPIRE 10"),
            (10, 10, "EXPIRE 10", "EXPIRE 10", "EXPIRE 10"),
            (10, None, "EXPIRE 10", "EXPIRE 10", "EXPIRE 10"),
        ):
            server = self.surveyed(expireDays=usual)  # type: ignore[arg-type]
            server.set("alice", expireDays=own)
            self.assertDiffers(server, "EXPIRE", before, alice=alice, bob=bob)
        # Nobody can say what accounts have of their own: then it doesn't count.
        server.set("alice", expireDays=1)
        server.options["survey"] = None
        self.assertDiffers(server, "EXPIRE", "EXPIRE 10", alice="EXPIRE 10", bob="EXPIRE 10")

    def test_cannotExpire(self) -> None:
        """Of an account that can't remember what was fetched, nothing is ever removed."""
        server = Server(expireDays=0)
        server.put(FIRST)
        server.store.plain = {server.inbox().account.accountId}
        self.assertDiffers(server, "EXPIRE", "EXPIRE 0", alice="EXPIRE NEVER", bob="EXPIRE 0")
        client = server.login()
        client.send(b"RETR 1\r\nQUIT\r\n")
        self.assertEqual(server.messages(), [FIRST])

    def test_surveyFails(self) -> None:
        """If that can't be found out CAPA is refused for now, and the session goes on."""

        class Broken:
            async def surveyMaildrops(self) -> None:
                raise OSError(5, "I/O")

        self.server.options["survey"] = Broken()
        client = self.server.connect()
        client.wire.take()
        said = client.send(b"CAPA\r\nNOOP\r\n")
        self.assertEqual(said.count(b"\r\n"), 2)
        self.assertTrue(said.startswith(b"-ERR [SYS/TEMP] "))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

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
