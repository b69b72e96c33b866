"""
AUTH (RFC 5034).
"""

from __future__ import annotations

from base64 import b64encode

from zope.interface import implementer

from tests.pop3.support import POP3TestCase
from twisted_mailstack.errors import AuthenticationFailed
from twisted_mailstack.interfaces import ISASLExchange, IServerMechanism
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.pop3.extensions.auth import MAX_LINE
from twisted_mailstack.testing.conversation import Conversation

PLAIN = b64encode(b"\0alice\0secret").decode()
NAME, PASSWORD = b64encode(b"alice").decode(), b64encode(b"secret").decode()
LOGGED_IN = b"+OK 2 messages, 64 octets\r\n"
FAILED = b"-ERR [AUTH] Authentication failed\r\n"
BASE64 = b"-ERR Not valid base64\r\n"


class AUTHTestCase(POP3TestCase):
    """
    @ivar client: under TLS, greeted.
    """

    def setUp(self) -> None:
        """Connect."""
        super().setUp()
        self.client = self.greeted()

    def greeted(self, secure: bool = True) -> Conversation:
        """
        @return: a client whose greeting is read.
        """
        client = self.server.connect(secure)
        client.wire.take()
        return client

    def say(self, line: str) -> bytes:
        """
        @return: the response to a line, however long it takes.
        """
        said = self.client.send(line.encode() + b"\r\n")
        if not said:
            self.server.clock.advance(15)
            said = self.client.wire.take()
        return said


class AUTHTests(AUTHTestCase):
    """
    The exchange.
    """

    def test_initialResponse(self) -> None:
        """RFC 5034 §4: with an initial response there is nothing more to say."""
        self.client.check(f"""
            C: AUTH PLAIN {PLAIN}
            S: +OK 2 messages, 64 octets
            C: STAT
            S: +OK 2 64
        """)

    def test_challenge(self) -> None:
        """Without one the challenge is empty: a plus sign and a space, nothing else."""
        self.client.check(f"""
            C: auth plain
            S: +\x20
            C: {PLAIN}
            S: +OK 2 messages, 64 octets
        """)

    def test_login(self) -> None:
        """LOGIN asks for the name and the password, or for the password if it has the name."""
        self.client.check(f"""
            C: AUTH LOGIN
            S: + VXNlcm5hbWU6
            C: {NAME}
            S: + UGFzc3dvcmQ6
            C: {PASSWORD}
            S: +OK 2 messages, 64 octets
            C: QUIT
            S: +OK bye
        """)
        self.client = self.greeted()
        self.client.check(f"""
            C: AUTH LOGIN {NAME}
            S: + UGFzc3dvcmQ6
            C: {PASSWORD}
            S: +OK 2 messages, 64 octets
        """)

    def test_twice(self) -> None:
        """After a login AUTH is refused (RFC 5034 §4)."""
        self.say(f"AUTH PLAIN {PLAIN}")
        self.assertEqual(self.say(f"AUTH PLAIN {PLAIN}"), b"-ERR Not in this state\r\n")

    def test_pieces(self) -> None:
        """Octet by octet it is the same."""
        said = b""
        for octet in b"AUTH LOGIN\r\n%b\r\n%b\r\nSTAT\r\n" % (NAME.encode(), PASSWORD.encode()):
            said += self.client.send(bytes([octet]))
        self.assertEqual(
            said, b"+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n" + LOGGED_IN + b"+OK 2 64\r\n"
        )

    def test_pipelined(self) -> None:
        """Sent in one piece, the lines of the exchange aren't taken for commands."""
        said = self.client.send(b"AUTH PLAIN\r\n%b\r\nSTAT\r\n" % PLAIN.encode())
        self.assertEqual(said, b"+ \r\n" + LOGGED_IN + b"+OK 2 64\r\n")

    def test_wrong(self) -> None:
        """A wrong password fails as with PASS; after three the connection is closed."""
        wrong = b64encode(b"\0alice\0wrong").decode()
        for _ in range(3):
            self.assertFalse(self.client.finished)
            self.assertEqual(self.say(f"AUTH PLAIN {wrong}"), FAILED)
        self.assertFreed(self.client)

    def test_countedTogether(self) -> None:
        """Failures of PASS and AUTH are counted together."""
        wrong = b64encode(b"\0alice\0wrong").decode()
        self.say(f"AUTH PLAIN {wrong}")
        self.client.send(b"USER alice\r\n")
        self.assertEqual(self.say("PASS wrong"), FAILED)
        self.assertEqual(self.say(f"AUTH PLAIN {wrong}"), FAILED)
        self.assertFreed(self.client)

    def test_inUse(self) -> None:
        """A maildrop in use is told (RFC 2449 §8.1.2)."""
        self.server.login()
        self.assertEqual(
            self.say(f"AUTH PLAIN {PLAIN}"), b"-ERR [IN-USE] The maildrop is in use\r\n"
        )

    def test_authorizationIdentity(self) -> None:
        """One may act as oneself only (RFC 4616 §2)."""
        refused = b"-ERR [AUTH] Not allowed to act as that account\r\n"
        for identity, said in ((b"alice@example.test", LOGGED_IN), (b"bob", refused)):
            self.client.disconnect()
            self.client = self.greeted()
            message = b64encode(identity + b"\0alice\0secret").decode()
            self.assertEqual(self.say(f"AUTH PLAIN {message}"), said)

    def test_failsByItself(self) -> None:
        """
        A mechanism that knows of the failure itself has it delayed and counted like any other.
        """

        @implementer(IServerMechanism, ISASLExchange)
        class Never:
            name = b"NEVER"
            needsTLS = False

            def begin(self, info: ConnectionInfo) -> ISASLExchange:
                return self

            def respond(self, response: bytes | None) -> bytes:
                raise AuthenticationFailed()

        self.server.options["mechanisms"] = (Never(),)
        self.client = self.greeted()
        for _ in range(3):
            self.assertEqual(self.client.send(b"AUTH NEVER\r\n"), b"")
            self.server.clock.advance(15)
            self.assertEqual(self.client.wire.take(), FAILED)
        self.assertFreed(self.client)


class OfferTests(AUTHTestCase):
    """
    Which mechanisms there are.
    """

    def test_list(self) -> None:
        """AUTH alone lists them, for clients that don't know CAPA."""
        self.client.check("""
            C: AUTH
            S: +OK mechanisms follow
            S: PLAIN
            S: LOGIN
            S: .
        """)
        self.client = self.greeted(secure=False)
        self.client.check("""
            C: AUTH
            S: +OK mechanisms follow
            S: .
        """)

    def test_unknown(self) -> None:
        """A mechanism that isn't supported is refused."""
        for name in ("XYZZY", "CRAM-MD5", "PLAIN-", "="):
            self.assertEqual(self.say(f"AUTH {name}"), b"-ERR Unknown mechanism\r\n")

    def test_withoutTLS(self) -> None:
        """
        Without TLS no mechanism that shows the password is taken, with or without an initial
        response.
        """
        self.client = self.greeted(secure=False)
        for line in ("AUTH PLAIN", f"AUTH PLAIN {PLAIN}", "AUTH LOGIN"):
            self.assertEqual(self.say(line), b"-ERR Encryption required: use STLS first\r\n")
        self.assertEqual(self.server.hasher.asked, 0)

    def test_loopback(self) -> None:
        """Unless the operator allows it."""
        self.server.settings = type(self.server.settings)(hostname="x", allowPlaintextAuth=True)
        self.client = self.greeted(secure=False)
        self.assertEqual(self.say(f"AUTH PLAIN {PLAIN}"), LOGGED_IN)


class MalformedTests(AUTHTestCase):
    """
    Exchanges that come to nothing. Each leaves the session where it was.
    """

    def setUp(self) -> None:
        """Let many errors pass."""
        super().setUp()
        self.server.settings = type(self.server.settings)(hostname="x", maxErrors=1000)
        self.client = self.greeted()

    def tearDown(self) -> None:
        """Nobody's password was checked, and the login still works."""
        self.assertEqual(self.server.hasher.asked, 0)
        self.assertEqual(self.say(f"AUTH PLAIN {PLAIN}"), LOGGED_IN)

    def test_cancelled(self) -> None:
        """RFC 5034 §4: a star cancels, at any of the challenges."""
        for lines in (("AUTH PLAIN",), ("AUTH LOGIN",), ("AUTH LOGIN", NAME)):
            for line in lines:
                self.assertTrue(self.say(line).startswith(b"+ "))
            self.assertEqual(self.say("*"), b"-ERR Authentication cancelled\r\n")

    def test_base64(self) -> None:
        """
        What isn't base64 is refused, not skipped: other characters, padding missing or anywhere
        but at the end (RFC 5034 §4).
        """
        for text in ("!", "A", "AB", "ABC", "=AAA", "AAA=BBB", "AA=A", "A===", "AAAA=", "**", "é"):
            self.assertEqual(self.say(f"AUTH PLAIN {text}"), BASE64, text)
            self.say("AUTH PLAIN")
            self.assertEqual(self.say(text), BASE64, text)
        for text in (" ", PLAIN + " ", " " + PLAIN, PLAIN[:4] + " " + PLAIN[4:], "="):
            self.say("AUTH PLAIN")
            self.assertEqual(self.say(text), BASE64, text)

    def test_empty(self) -> None:
        """An equals sign is an empty initial response, an empty line an empty response."""
        self.assertEqual(self.say("AUTH PLAIN ="), b"-ERR Malformed PLAIN message\r\n")
        self.say("AUTH PLAIN")
        self.assertEqual(self.say(""), b"-ERR Malformed PLAIN message\r\n")
        self.assertTrue(self.say("AUTH LOGIN =").startswith(b"-ERR "))

    def test_message(self) -> None:
        """What is no message of the mechanism is refused."""
        for message in (
            b"alice",
            b"\0alice",
            b"\0\0secret",
            b"\0alice\0",
            b"\0a\0b\0c",
            b"\0a\0\xff",
        ):
            text = b64encode(message).decode()
            self.assertTrue(self.say(f"AUTH PLAIN {text}").startswith(b"-ERR Malformed"), message)

    def test_long(self) -> None:
        """
        Long responses are taken, too long ones refused whole: nothing of them is taken for a
        command.
        """
        message = b64encode(b"\0alice\0" + b"x" * 8000).decode()
        self.assertLess(len(message), MAX_LINE)
        for before in ("AUTH PLAIN ", "AUTH PLAIN\r\n"):
            said = self.client.send(f"{before}{'A' * MAX_LINE}QUIT\r\n".encode())
            self.assertEqual(said.removeprefix(b"+ \r\n"), b"-ERR Line too long\r\n")
        self.client.send(b"AUTH PLAIN " + message.encode() + b"\r\n")
        self.server.clock.advance(15)
        self.assertEqual(self.client.wire.take(), FAILED)
        self.assertEqual(self.server.hasher.asked, 1)
        self.server.hasher.asked = 0

    def test_parameters(self) -> None:
        """There are two parameters at most."""
        self.assertEqual(self.say(f"AUTH PLAIN {PLAIN} x"), b"-ERR Too many parameters\r\n")


class EndTests(AUTHTestCase):
    """
    The exchange doesn't go on for ever.
    """

    def test_silent(self) -> None:
        """A client that doesn't answer a challenge is closed as any other that is silent."""
        self.say("AUTH PLAIN")
        self.server.clock.advance(600)
        self.assertEqual(self.client.wire.take(), b"")
        self.assertFreed(self.client)

    def test_leaves(self) -> None:
        """Or it goes."""
        self.say("AUTH LOGIN")
        self.client.disconnect()
        self.assertFreed(self.client)
