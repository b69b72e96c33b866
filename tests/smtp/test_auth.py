"""
AUTH (RFC 4954).
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from tests.smtp.support import PLAIN, ClearPasswords, Server, SMTPTestCase, exchange, now
from twisted_mailstack.auth.realm import MailRealm
from twisted_mailstack.errors import AuthenticationFailed, TemporaryFailure
from twisted_mailstack.interfaces import ISASLExchange, IServerMechanism
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.sasl.credentials import PasswordCredentials
from twisted_mailstack.testing.conversation import Conversation

WRONG = b64encode(b"\0alice@example.test\0wrong").decode("ascii")


def encoded(text: str) -> str:
    """
    @return: base64.
    """
    return b64encode(text.encode()).decode("ascii")


@implementer(IServerMechanism, ISASLExchange)
class Odd:
    """A mechanism that fails in its own way, or asks for more."""

    name = b"X-ODD"
    needsTLS = False

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def begin(self, info: ConnectionInfo) -> ISASLExchange:
        """See L{IServerMechanism}."""
        return self

    def respond(self, response: bytes | None) -> Any:
        """See L{ISASLExchange}."""
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer(response)


class OfferTests(SMTPTestCase):
    """
    When AUTH is offered.
    """

    def offered(self, conversation: Conversation) -> bytes | None:
        """
        @return: the mechanisms of the EHLO reply.
        """
        for line in conversation.send(b"EHLO client.test\r\n").split(b"\r\n"):
            if line[4:8] == b"AUTH":
                return line[9:]
        return None

    def test_onlyUnderTLS(self) -> None:
        """Mechanisms that send a password are offered under TLS only, and refused without it."""
        server = self.serve()
        self.assertEqual(self.offered(server.connect(secure=True)), b"PLAIN LOGIN")
        conversation = server.connect()
        self.assertIsNone(self.offered(conversation))
        conversation.check(f"""
            C: AUTH PLAIN {PLAIN}
            S: 538 5.7.11 Encryption required: use STARTTLS first
            C: AUTH LOGIN
            S: 538 5.7.11 Encryption required: use STARTTLS first
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
        """)

    def test_allowed(self) -> None:
        """Where it is configured, passwords are taken without TLS."""
        server = self.serve(allowPlaintextAuth=True)
        self.assertEqual(self.offered(server.connect()), b"PLAIN LOGIN")
        server.greeted().check(f"C: AUTH PLAIN {PLAIN}\nS: 235 2.7.0 Authenticated")

    def test_withoutPassword(self) -> None:
        """A mechanism that sends no password is offered without TLS too."""
        server = self.serve(mechanisms=[Odd(None)])
        self.assertEqual(self.offered(server.connect()), b"X-ODD")

    def test_none(self) -> None:
        """A server without accounts to log in to has no AUTH, nor its parameter."""
        conversation = self.serve(login=False).connect(secure=True)
        self.assertIsNone(self.offered(conversation))
        conversation.check(f"""
            C: AUTH PLAIN {PLAIN}
            S: 502 5.5.1 AUTH is not available
            C: MAIL FROM:<> AUTH=<>
            S: 555 5.5.4 AUTH is not available
        """)

    def test_notAgain(self) -> None:
        """Once authenticated it isn't offered any more (§4: "MUST reject" a second one)."""
        conversation = self.serve().authenticated()
        self.assertIsNone(self.offered(conversation))
        conversation.check(f"C: AUTH PLAIN {PLAIN}\nS: 503 5.5.1 Already authenticated")


class ExchangeTests(SMTPTestCase):
    """
    The dialogue.
    """

    def test_initialResponse(self) -> None:
        """PLAIN with its message in the command (§4's example), the mechanism in any case."""
        server = self.serve()
        server.greeted(secure=True).check(f"C: AUTH PLAIN {PLAIN}\nS: 235 2.7.0 Authenticated")
        server.greeted(secure=True).check(f"C: auth plain {PLAIN}\nS: 235 2.7.0 Authenticated")

    def test_challenge(self) -> None:
        """PLAIN without one: an empty challenge, "334 " with its space."""
        self.serve().greeted(secure=True).check(f"""
            C: AUTH PLAIN
            S: 334\x20
            C: {PLAIN}
            S: 235 2.7.0 Authenticated
        """)

    def test_LOGIN(self) -> None:
        """LOGIN in its two forms."""
        server = self.serve()
        server.greeted(secure=True).check(f"""
            C: AUTH LOGIN
            S: 334 {encoded("Username:")}
            C: {encoded("alice@example.test")}
            S: 334 {encoded("Password:")}
            C: {encoded("secret")}
            S: 235 2.7.0 Authenticated
        """)
        server.greeted(secure=True).check(f"""
            C: AUTH LOGIN {encoded("alice@example.test")}
            S: 334 {encoded("Password:")}
            C: {encoded("secret")}
            S: 235 2.7.0 Authenticated
        """)

    def test_emptyInitialResponse(self) -> None:
        """A single "=" is an initial response of no octets (§4)."""
        got: list[bytes | None] = []

        def respond(response: bytes | None) -> Any:
            got.append(response)
            if len(got) < 3:
                return b"more"
            return PasswordCredentials(b"alice@example.test", b"secret")

        server = self.serve(mechanisms=[Odd(respond)])
        server.greeted().check(f"""
            C: AUTH X-ODD =
            S: 334 {encoded("more")}
            C:
            S: 334 {encoded("more")}
            C: {encoded("x" * 500)}
            S: 235 2.7.0 Authenticated
        """)
        self.assertEqual(got, [b"", b"", b"x" * 500])

    def test_cancelled(self) -> None:
        """A "*" ends the exchange with 501 (§4: MUST), and is no failed login."""
        self.serve(maxLoginFailures=1).greeted(secure=True).check(f"""
            C: AUTH LOGIN
            S: 334 {encoded("Username:")}
            C: *
            S: 501 5.7.0 Authentication cancelled
            C: AUTH PLAIN
            S: 334\x20
            C: *
            S: 501 5.7.0 Authentication cancelled
            C: AUTH PLAIN {PLAIN}
            S: 235 2.7.0 Authenticated
        """)

    def test_malformed(self) -> None:
        """
        No mechanism, an unknown one, and what is no base64 or no message of the mechanism
        (§4: 504, 501): none of it raises, or is a failed login.
        """
        self.serve(maxLoginFailures=1).greeted(secure=True).check(f"""
            C: AUTH
            S: 501 5.5.4 A mechanism is needed
            C: AUTH\x20
            S: 501 5.5.4 A mechanism is needed
            C: AUTH CRAM-MD5
            S: 504 5.5.4 Unknown mechanism
            C: AUTH PLAIN !!!
            S: 501 5.5.2 Not valid base64
            C: AUTH PLAIN {PLAIN} {PLAIN}
            S: 501 5.5.2 Not valid base64
            C: AUTH PLAIN {PLAIN[:-2]}
            S: 501 5.5.2 Not valid base64
            C: AUTH PLAIN AAAA=
            S: 501 5.5.2 Not valid base64
            C: AUTH PLAIN =
            S: 501 5.5.4 Malformed PLAIN message
            C: AUTH PLAIN {encoded("alice")}
            S: 501 5.5.4 Malformed PLAIN message
            C: AUTH PLAIN
            S: 334\x20
            C: not base64!
            S: 501 5.5.2 Not valid base64
            C: NOOP
            S: 250 2.0.0 OK
        """)

    def test_octets(self) -> None:
        """8-bit octets and NULs in a response are no base64."""
        conversation = self.serve().greeted(secure=True)
        for line in (b"\xff\xfe", b"\0", b"QQ\0==", "ÄÖ==".encode(), b"Q Q=="):
            self.assertEqual(conversation.send(b"AUTH PLAIN\r\n"), b"334 \r\n")
            self.assertEqual(
                conversation.send(line + b"\r\n"), b"501 5.5.2 Not valid base64\r\n", line
            )

    def test_long(self) -> None:
        """Responses may be long (§4: 12,288 octets); what is longer is 500 5.5.6 and skipped."""
        got: list[int] = []

        def respond(response: bytes | None) -> Any:
            if response is None:
                return b""
            got.append(len(response))
            return PasswordCredentials(b"alice@example.test", b"secret")

        server = self.serve(mechanisms=[Odd(respond)])
        conversation = server.greeted()
        longest = b64encode(b"x" * 9213)
        self.assertEqual(len(longest), 12284)
        conversation.send(b"AUTH X-ODD\r\n")
        self.assertEqual(
            conversation.send(b"A" * 12_287 + b"\r\nNOOP\r\n"),
            b"500 5.5.6 Line too long\r\n250 2.0.0 OK\r\n",
        )
        conversation.send(b"AUTH X-ODD\r\n")
        self.assertEqual(conversation.send(longest + b"\r\n"), b"235 2.7.0 Authenticated\r\n")
        self.assertEqual(got, [9213])
        conversation = server.greeted()
        line = b"AUTH X-ODD "
        self.assertEqual(
            conversation.send(line + b"A" * (12_287 - len(line)) + b"\r\n"),
            b"500 5.5.2 Line too long\r\n",
        )
        self.assertEqual(
            conversation.send(line + b"A" * (12_284 - len(line) - 1) + b"\r\n"),
            b"235 2.7.0 Authenticated\r\n",
        )

    def test_order(self) -> None:
        """Not before EHLO, not after HELO, not within a transaction (§4)."""
        conversation = self.serve().connect(secure=True)
        conversation.check(f"""
            S: 220 mx.example.test ESMTP
            C: AUTH PLAIN {PLAIN}
            S: 503 5.5.1 Say EHLO first
            C: HELO client.test
            S: 250 mx.example.test
            C: AUTH PLAIN {PLAIN}
            S: 503 5.5.1 Say EHLO first
        """)
        conversation.send(b"EHLO client.test\r\n")
        conversation.check(f"""
            C: MAIL FROM:<a@far.test>
            S: 250 2.1.0 OK
            C: AUTH PLAIN {PLAIN}
            S: 503 5.5.1 Not within a transaction
            C: RSET
            S: 250 2.0.0 OK
            C: AUTH PLAIN {PLAIN}
            S: 235 2.7.0 Authenticated
        """)

    def test_remains(self) -> None:
        """RSET and EHLO don't end what AUTH began."""
        conversation = self.serve(submission=True).authenticated()
        conversation.check("C: RSET\nS: 250 2.0.0 OK")
        conversation.send(b"EHLO client.test\r\n")
        conversation.check("C: MAIL FROM:<alice@example.test>\nS: 250 2.1.0 OK")

    def test_envelope(self) -> None:
        """Who is authenticated is known to policies and delivery, whatever the reverse-path."""
        server = self.serve()
        seen: list[Any] = []
        begin = server.target.begin
        self.patch(
            server.target, "begin", lambda envelope: seen.append(envelope) or begin(envelope)
        )
        server.authenticated().check("""
            C: MAIL FROM:<other@far.test>
            S: 250 2.1.0 OK
            C: QUIT
            S: 221 2.0.0 mx.example.test closing
        """)
        self.assertEqual(seen[0].authenticated, Address("alice", "example.test"))

    def test_mechanismFails(self) -> None:
        """A mechanism with a defect is a temporary failure, and the session goes on."""
        self.serve(mechanisms=[Odd(KeyError("secret"))]).greeted().check("""
            C: AUTH X-ODD
            S: 451 4.3.0 Temporary failure, try again later
            C: NOOP
            S: 250 2.0.0 OK
        """)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_loggedOut(self) -> None:
        """The realm is told when the account isn't used any more: at the end, and at STARTTLS."""
        loggedOut: list[str] = []
        server = self.serve(allowPlaintextAuth=True)
        requestAvatar = MailRealm.requestAvatar

        def watched(self: MailRealm, *arguments: Any) -> Any:
            def logout() -> None:
                loggedOut.append("out")

            return requestAvatar(self, *arguments).addCallback(lambda r: (*r[:2], logout))

        self.patch(MailRealm, "requestAvatar", watched)
        for lines in (b"QUIT\r\n", b"STARTTLS\r\n", b"", b"MAIL FROM:<>\r\n"):
            conversation = server.greeted()
            conversation.check(f"C: AUTH PLAIN {PLAIN}\nS: 235 2.7.0 Authenticated")
            self.assertEqual(loggedOut, [])
            conversation.send(lines)
            if lines != b"STARTTLS\r\n":
                conversation.disconnect()
            self.assertEqual(loggedOut, ["out"], lines)
            loggedOut.clear()

    def test_vanished(self) -> None:
        """A client that goes away in the midst of it leaves nothing."""
        server = self.serve()
        for lines in (b"AUTH PLAIN\r\n", b"AUTH LOGIN\r\nYQ==\r\n"):
            conversation = server.greeted(secure=True)
            conversation.send(lines)
            conversation.disconnect()
            self.assertTrue(conversation.finished)
            self.assertIsNone(conversation.failure)


class FailureTests(SMTPTestCase):
    """
    Wrong passwords.
    """

    def attempt(self, server: Server, conversation: Conversation, seconds: float) -> bytes:
        """
        A wrong password.

        @param seconds: after which there has to be an answer, and not before.
        @return: the answer.
        """
        self.assertEqual(conversation.send(f"AUTH PLAIN {WRONG}\r\n".encode()), b"")
        server.clock.advance(seconds - 0.1)
        self.assertEqual(conversation.wire.take(), b"")
        server.clock.advance(0.2)
        return conversation.wire.take()

    def test_delay(self) -> None:
        """Each failure is answered later than the one before, and the last with a goodbye."""
        server = self.serve(maxLoginFailures=3)
        conversation = server.greeted(secure=True)
        refused = b"535 5.7.8 Authentication failed\r\n"
        self.assertEqual(self.attempt(server, conversation, 1), refused)
        self.assertEqual(self.attempt(server, conversation, 2), refused)
        self.assertEqual(
            self.attempt(server, conversation, 4),
            b"421 4.7.0 mx.example.test too many failed logins\r\n",
        )
        self.assertTrue(conversation.finished)

    def test_pipelined(self) -> None:
        """A thousand attempts sent at once come one after the other, and no more than three."""
        server = self.serve()
        conversation = server.greeted(secure=True)
        conversation.send(f"AUTH PLAIN {WRONG}\r\n".encode() * 1000)
        server.clock.pump([0.5] * 20)
        answers = conversation.wire.take().split(b"\r\n")[:-1]
        self.assertEqual([answer[:3] for answer in answers], [b"535", b"535", b"421"])
        self.assertTrue(conversation.finished)

    def test_notForgotten(self) -> None:
        """A new EHLO, RSET or STARTTLS doesn't give new attempts."""
        server = self.serve(allowPlaintextAuth=True)
        conversation = server.greeted()
        for seconds, between in ((1, b"RSET\r\n"), (2, b"STARTTLS\r\n")):
            self.assertTrue(self.attempt(server, conversation, seconds).startswith(b"535 "))
            conversation.send(between)
            conversation.send(b"EHLO client.test\r\n")
        self.assertTrue(self.attempt(server, conversation, 4).startswith(b"421 "))

    def test_notShared(self) -> None:
        """Each connection has its own count."""
        server = self.serve(maxLoginFailures=1)
        one, other = server.greeted(secure=True), server.greeted(secure=True)
        self.assertTrue(self.attempt(server, one, 1).startswith(b"421 "))
        other.check(f"C: AUTH PLAIN {PLAIN}\nS: 235 2.7.0 Authenticated")

    def test_byMechanism(self) -> None:
        """A mechanism that sees by itself that it fails is delayed and counted all the same."""
        server = self.serve(mechanisms=[Odd(AuthenticationFailed())], maxLoginFailures=2)
        conversation = server.greeted()
        for seconds, answer in (
            (1, b"535 5.7.8 Authentication failed\r\n"),
            (2, b"421 4.7.0 mx.example.test too many failed logins\r\n"),
        ):
            self.assertEqual(conversation.send(b"AUTH X-ODD\r\n"), b"")
            server.clock.advance(seconds - 0.1)
            self.assertEqual(conversation.wire.take(), b"")
            server.clock.advance(0.2)
            self.assertEqual(conversation.wire.take(), answer)
        self.assertTrue(conversation.finished)

    def test_alike(self) -> None:
        """An unknown name, a wrong password and a disabled account look alike."""
        server = self.serve()
        now(server.directory.setEnabled(Address("bob", "example.test"), False))
        answers = set()
        for name, password in (
            ("alice@example.test", "wrong"),
            ("nobody@example.test", "secret"),
            ("alice@far.test", "secret"),
            ("alice", "secret"),
            ("bob@example.test", "secret"),
            ("not an address", "secret"),
        ):
            conversation = server.greeted(secure=True)
            message = encoded(f"\0{name}\0{password}")
            self.assertEqual(conversation.send(f"AUTH PLAIN {message}\r\n".encode()), b"")
            server.clock.advance(1)
            answers.add(conversation.wire.take())
        self.assertEqual(answers, {b"535 5.7.8 Authentication failed\r\n"})

    def test_vanished(self) -> None:
        """A client that doesn't wait for the answer leaves nothing behind."""
        server = self.serve()
        conversation = server.greeted(secure=True)
        conversation.send(f"AUTH PLAIN {WRONG}\r\n".encode())
        conversation.disconnect()
        server.clock.advance(20)
        self.assertTrue(conversation.finished)
        self.assertIsNone(conversation.failure)

    def test_notNow(self) -> None:
        """If it can't be found out now the answer is 454 (§6), and it's no failed login."""

        async def busy(self: ClearPasswords, hashed: str | None, password: bytes) -> bool:
            raise TemporaryFailure("Too many logins at once, try again later")

        server = self.serve(maxLoginFailures=1)
        conversation = server.greeted(secure=True)
        patch = self.patch(ClearPasswords, "verify", busy)
        conversation.check(f"""
            C: AUTH PLAIN {PLAIN}
            S: 454 4.7.0 Too many logins at once, try again later
        """)
        patch.restore()
        conversation.check(f"C: AUTH PLAIN {PLAIN}\nS: 235 2.7.0 Authenticated")

    def test_slow(self) -> None:
        """While a password is being checked the next command waits."""
        checked: Deferred[bool] = Deferred()

        async def verify(
            self: ClearPasswords, hashed: str | None, password: bytes, origin: str = ""
        ) -> bool:
            return await checked

        self.patch(ClearPasswords, "verify", verify)
        conversation = self.serve().greeted(secure=True)
        self.assertEqual(conversation.send(f"AUTH PLAIN {PLAIN}\r\nNOOP\r\n".encode()), b"")
        checked.callback(True)
        self.assertEqual(conversation.wire.take(), b"235 2.7.0 Authenticated\r\n250 2.0.0 OK\r\n")

    def test_logged(self) -> None:
        """Neither a password nor what holds it comes into the log."""
        events: list[dict[str, Any]] = []
        from twisted.logger import formatEvent, globalLogPublisher

        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        server = self.serve()
        server.authenticated()
        conversation = server.greeted(secure=True)
        conversation.send(f"AUTH PLAIN {WRONG}\r\n".encode())
        server.clock.advance(2)
        text = "".join(formatEvent(event) for event in events)
        self.assertIn("login failed", text)
        for secret in ("secret", "wrong", PLAIN, WRONG):
            self.assertNotIn(secret, text)


class ParameterTests(SMTPTestCase):
    """
    AUTH= of MAIL (RFC 4954 §5).
    """

    def test_values(self) -> None:
        """An xtext or <>; it changes nothing about who sent it."""
        server = self.serve()
        conversation = server.greeted()
        for value in ("<>", "e+3Dmc2@example.test", "a@b.test", "+2B"):
            conversation.check(f"""
                C: MAIL FROM:<a@far.test> AUTH={value}
                S: 250 2.1.0 OK
                C: RCPT TO:<b@far.test>
                S: 550 5.7.1 Relaying denied
                C: RSET
                S: 250 2.0.0 OK
            """)

    def test_malformed(self) -> None:
        """Anything else is a syntax error."""
        self.serve().greeted().check("""
            C: MAIL FROM:<a@far.test> AUTH
            S: 501 5.5.4 AUTH= needs an xtext or <>
            C: MAIL FROM:<a@far.test> AUTH=a+zz
            S: 501 5.5.4 AUTH= needs an xtext or <>
            C: MAIL FROM:<a@far.test> AUTH=a+
            S: 501 5.5.4 AUTH= needs an xtext or <>
            C: MAIL FROM:<a@far.test> AUTH=a+2b
            S: 501 5.5.4 AUTH= needs an xtext or <>
            C: MAIL FROM:<a@far.test> AUTH=e=mc2
            S: 501 5.5.4 Malformed parameter
        """)


class ClientTests(SMTPTestCase):
    """
    AUTH= to the next server (RFC 4954 §5).
    """

    def test_authenticated(self) -> None:
        """
        What a sender said is trusted no more than by anybody: a server that we have authenticated
        to is told so (MUST), another nothing.
        """
        parameters = {"AUTH": "alice@example.test"}
        for authenticated, expected in ((True, " AUTH=<>"), (False, "")):
            sent = exchange("AUTH PLAIN", parameters=parameters, authenticated=authenticated)
            self.assertEqual(sent.commands[0], f"MAIL FROM:<sender@example.test>{expected}")
        self.assertEqual(
            exchange("", parameters=parameters).commands[0], "MAIL FROM:<sender@example.test>"
        )
