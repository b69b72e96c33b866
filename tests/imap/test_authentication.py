"""
LOGIN and AUTHENTICATE: C{twisted_mailstack.imap.commands.authentication}.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server
from twisted_mailstack.errors import AuthenticationFailed
from twisted_mailstack.testing.conversation import Conversation


def plain(user: str = "alice@example.test", password: str = "secret", actingAs: str = "") -> str:
    """
    @return: a PLAIN message in base64.
    """
    return b64encode(f"{actingAs}\0{user}\0{password}".encode()).decode("ascii")


class AuthenticationTestCase(SynchronousTestCase):
    """
    A server, and a connection under TLS.
    """

    def setUp(self) -> None:
        """The greeting is taken."""
        self.server = Server()
        self.client = self.connect()

    def connect(self, secure: bool = True) -> Conversation:
        """
        @return: a connection with the greeting taken.
        """
        client = self.server.connect(secure)
        client.wire.take()
        return client

    def check(self, script: str) -> None:
        """
        See L{Conversation.check}.
        """
        self.client.check(script)

    def assertLoggedIn(self, client: Conversation, yes: bool = True) -> None:
        """
        By a command that needs it.
        """
        answer = client.send(b"zz NAMESPACE\r\n")
        self.assertTrue(answer.endswith(b"zz OK NAMESPACE completed\r\n") == yes, answer)


class LoginTests(AuthenticationTestCase):
    """
    LOGIN (RFC 3501 §6.2.3).
    """

    def test_forms(self) -> None:
        """Name and password are astrings: atoms, quoted, literals of both kinds."""
        for command in (
            b"LOGIN alice@example.test secret",
            b'login "alice@example.test" "secret"',
            b'LOGIN {18+}\r\nalice@example.test "secret"',
            b"LOGIN {18+}\r\nalice@example.test {6+}\r\nsecret",
            b"LOGIN ALICE@EXAMPLE.TEST secret",
        ):
            client = self.connect()
            self.assertRegex(client.send(b"a001 " + command + b"\r\n"), rb"^a001 OK ", command)
            self.assertLoggedIn(client)

    def test_synchronisingLiterals(self) -> None:
        """RFC 3501 §7.5's example: the client is asked for each."""
        self.server.addAccount("fred", "fat man")
        client = self.client
        client.check(
            """
            C: A001 LOGIN {17}
            S: + Ready
            C: fred@example.test {7}
            S: + Ready
            """
        )
        self.assertRegex(client.send(b"fat man\r\n"), rb"^A001 OK \[CAPABILITY IMAP4rev1 [^]]+\] ")

    def test_anyPassword(self) -> None:
        """
        "A literal can contain any 8-bit character, and clients must allow users to enter all"
        (RFC 2683 §3.4.2); quotes and backslashes are escaped in a quoted string.
        """
        for number, (password, sent) in enumerate(
            (
                (' "\\ ', rb'" \"\\ "'),
                ("größe", b'"gr\xc3\xb6\xc3\x9fe"'),
                ("größe", b"{7+}\r\ngr\xc3\xb6\xc3\x9fe"),
                ("a\r\nb", b"{4+}\r\na\r\nb"),
                ("{5}", b'"{5}"'),
                ("*]", b'"*]"'),
                ("NIL", b"NIL"),
            )
        ):
            self.server.addAccount(f"u{number}", password)
            client = self.connect()
            answer = client.send(b"a LOGIN u%d@example.test %b\r\n" % (number, sent))
            self.assertRegex(answer, rb"^a OK ", sent)

    def test_malformed(self) -> None:
        """Too few, too many and no strings are BAD, and cost no delay."""
        for arguments in (
            b"", b" ", b" a", b" a ", b" a b c", b" a  b", b"  a b", b' "a b', b" (a) b", b" a b ",
            b" a \xff", b" a {3+}\r\nb\0c", b' a "\0"', b" a {1+}\r\nbc d",
        ):  # fmt: skip
            client = self.connect()
            self.assertRegex(client.send(b"a LOGIN" + arguments + b"\r\n"), rb"^a BAD ", arguments)

    def test_wrong(self) -> None:
        """
        An unknown name and a wrong password look alike (§11.2), are answered after a second that
        doubles, and the third ends the connection.
        """
        client = self.client
        for delay, arguments in ((1, "alice@example.test x"), (2, "nobody secret")):
            client.check(f"C: a LOGIN {arguments}")
            self.server.clock.advance(delay - 0.1)
            self.assertEqual(client.wire.take(), b"")
            self.server.clock.advance(0.1)
            client.check("S: a NO [AUTHENTICATIONFAILED] Authentication failed")
        client.check(f"C: a AUTHENTICATE PLAIN {plain(password='x')}")
        self.server.clock.advance(4)
        client.check(
            """
            S: a NO [AUTHENTICATIONFAILED] Authentication failed
            S: * BYE too many failed logins
            """
        )
        self.assertTrue(client.finished)

    def test_waitsInOrder(self) -> None:
        """What is pipelined behind a failed login waits for its answer."""
        client = self.client
        self.assertEqual(
            client.send(b"a LOGIN x y\r\nb NOOP\r\nc LOGIN alice@example.test secret\r\n"), b""
        )
        self.server.clock.advance(1)
        self.assertRegex(
            client.wire.take(),
            rb"^a NO [^\r]*\r\nb OK [^\r]*\r\nc OK [^\r]*\r\n$",
        )

    def test_disabled(self) -> None:
        """
        Without TLS even the right password is refused, as LOGINDISABLED promises (§7.2.1), and
        the client is told why (RFC 5530).
        """
        client = self.connect(secure=False)
        client.check(
            """
            C: d login "alice@example.test" "secret"
            S: d NO [PRIVACYREQUIRED] Encryption required: use STARTTLS first
            """
        )
        self.assertLoggedIn(client, False)

    def test_allowed(self) -> None:
        """Where that is configured, it isn't."""
        self.server = Server(allowPlaintextAuth=True)
        client = self.connect(secure=False)
        client.send(b"a LOGIN alice@example.test secret\r\n")
        self.assertLoggedIn(client)

    def test_once(self) -> None:
        """Nobody logs in twice (§6.2)."""
        self.server.login().check(
            """
            C: a LOGIN alice@example.test secret
            S: a BAD Not when authenticated
            """
        )

    def test_log(self) -> None:
        """Neither the right nor the wrong password gets into the log."""
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.client.send(b"a LOGIN alice@example.test opensesame\r\n")
        self.server.clock.advance(1)
        self.client.send(b"a LOGIN alice@example.test secret\r\n")
        self.client.disconnect()
        self.assertEqual(len(events), 3)
        said = repr(events)
        self.assertIn("alice@example.test", said)
        self.assertNotIn("opensesame", said)
        self.assertNotIn("'secret'", said)

    def test_unavailable(self) -> None:
        """If it can't be found out, that isn't a wrong password (RFC 5530 SERVERBUG)."""

        def broken(*_: object) -> None:
            raise OSError("disk")

        self.patch(self.server.store, "openAccount", broken)
        self.client.check(
            """
            C: a LOGIN alice@example.test secret
            S: a NO [SERVERBUG] internal error, try later
            C: b NOOP
            S: b OK NOOP completed
            """
        )
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)


class AuthenticateTests(AuthenticationTestCase):
    """
    AUTHENTICATE (RFC 3501 §6.2.2).
    """

    def test_plain(self) -> None:
        """RFC 4959 §4's second example: an empty challenge, "+" and a space."""
        self.check("C: A01 AUTHENTICATE PLAIN\nS: + ")
        self.assertRegex(
            self.client.send(f"{plain()}\r\n".encode()), rb"^A01 OK \[CAPABILITY IMAP4rev1 [^]]+\] "
        )
        self.assertLoggedIn(self.client)

    def test_login(self) -> None:
        """A mechanism with several steps."""
        self.check(
            f"""
            C: A01 authenticate login
            S: + {b64encode(b"Username:").decode()}
            C: {b64encode(b"alice@example.test").decode()}
            S: + {b64encode(b"Password:").decode()}
            """
        )
        self.client.send(b64encode(b"secret") + b"\r\n")
        self.assertLoggedIn(self.client)

    def test_cancelled(self) -> None:
        """A single "*" cancels with a tagged BAD, at each step."""
        self.check(
            f"""
            C: a AUTHENTICATE PLAIN
            S: +\x20
            C: *
            S: a BAD Authentication cancelled
            C: b AUTHENTICATE LOGIN
            S: + {b64encode(b"Username:").decode()}
            C: eA==
            S: + {b64encode(b"Password:").decode()}
            C: *
            S: b BAD Authentication cancelled
            C: c NOOP
            S: c OK NOOP completed
            """
        )

    def test_notBase64(self) -> None:
        """What isn't base64 is BAD; the next line is a command again."""
        for line in (
            b"abc",
            b"a===",
            b"=AAA",
            b"AAA=BBBB",
            b"AAAA=",
            b"AA AA",
            b"AAAA!",
            b"* ",
            b"\xff",
            b"=",
        ):
            client = self.connect()
            client.send(b"a AUTHENTICATE PLAIN\r\n")
            self.assertEqual(
                client.send(line + b"\r\nb NOOP\r\n"),
                b"a BAD Not valid base64\r\nb OK NOOP completed\r\n",
                line,
            )

    def test_notThat(self) -> None:
        """What is base64 and no message of the mechanism is BAD too."""
        for message in (b"", b"x", b"a\0b", b"\0\0x", b"\0x\0", b"a\0b\0c\0d", b"\0\xff\0x"):
            client = self.connect()
            client.send(b"a AUTHENTICATE PLAIN\r\n")
            self.assertRegex(client.send(b64encode(message) + b"\r\n"), rb"^a BAD ", message)

    def test_tooLong(self) -> None:
        """An endless response is discarded and answered; the stream stays in step."""
        self.client.send(b"a AUTHENTICATE PLAIN\r\n")
        for _ in range(10):
            self.client.send(b"A" * 10_000)
        self.assertEqual(
            self.client.send(b"\r\nb NOOP\r\n"),
            b"a BAD [LIMIT] Line too long\r\nb OK NOOP completed\r\n",
        )

    def test_longest(self) -> None:
        """A response of 12,288 octets is taken: what other protocols allow (RFC 4954 §4)."""
        self.client.send(b"a AUTHENTICATE PLAIN\r\n")
        message = b64encode(b"\0x\0" + b"y" * 9000)
        self.assertLess(len(message), 12286)
        self.client.send(message + b"\r\n")
        self.server.clock.advance(1)
        self.assertRegex(self.client.wire.take(), rb"^a NO \[AUTHENTICATIONFAILED\]")

    def test_unsupported(self) -> None:
        """An unknown mechanism is NO, before any challenge."""
        self.check(
            """
            C: a AUTHENTICATE GSSAPI
            S: a NO Unknown mechanism
            C: b AUTHENTICATE GSSAPI dGVzdA==
            S: b NO Unknown mechanism
            """
        )

    def test_malformed(self) -> None:
        """Without a mechanism, or with more than the RFCs allow, BAD."""
        for arguments in (b"", b" ", b" (PLAIN)", b' "PLAIN"', b" PLAIN x y", b" PLA\xffIN"):
            client = self.connect()
            self.assertRegex(client.send(b"a AUTHENTICATE" + arguments + b"\r\n"), rb"^a BAD ")

    def test_needsTLS(self) -> None:
        """
        A mechanism that shows a password isn't there without TLS "even if the password is correct"
        (§11.2), and isn't begun.
        """
        client = self.connect(secure=False)
        client.check(
            f"""
            C: a AUTHENTICATE PLAIN {plain()}
            S: a NO [PRIVACYREQUIRED] Encryption required: use STARTTLS first
            C: b AUTHENTICATE PLAIN
            S: b NO [PRIVACYREQUIRED] Encryption required: use STARTTLS first
            """
        )
        self.assertLoggedIn(client, False)

    def test_authorizationIdentity(self) -> None:
        """Whoever acts as himself may say so; as another he may not."""
        self.server.addAccount("bob")
        client = self.connect()
        client.send(f"a AUTHENTICATE PLAIN {plain(actingAs='alice@example.test')}\r\n".encode())
        self.assertLoggedIn(client)
        client = self.connect()
        client.send(f"a AUTHENTICATE PLAIN {plain(actingAs='bob@example.test')}\r\n".encode())
        self.server.clock.advance(1)
        self.assertRegex(client.wire.take(), rb"^a NO ")

    def test_mechanismRefuses(self) -> None:
        """A mechanism that finds out by itself that it fails is delayed and counted as well."""

        class Refusing:
            name = b"XREFUSING"
            needsTLS = False

            def begin(self, info: object) -> Refusing:
                return self

            def respond(self, response: bytes | None) -> bytes:
                if response is None:
                    return b"who?"
                raise AuthenticationFailed()

        self.server.mechanisms = (Refusing(),)
        client = self.connect()
        for delay in (1, 2, 4):
            client.send(b"a AUTHENTICATE XREFUSING\r\n")
            self.assertEqual(client.send(b"eA==\r\n"), b"")
            self.server.clock.advance(delay)
            said = client.wire.take()
            self.assertRegex(said, rb"^a NO \[AUTHENTICATIONFAILED\] Authentication failed\r\n")
        self.assertTrue(said.endswith(b"* BYE too many failed logins\r\n"))

    def test_logout(self) -> None:
        """The realm is told when the session doesn't use the account any more, however it ends."""
        out: list[str] = []
        realm = self.server.portal.realm
        request = realm.requestAvatar

        def requestAvatar(*arguments: Any) -> Any:
            def noting(result: Any) -> Any:
                return (*result[:2], lambda: out.append("logout"))

            return request(*arguments).addCallback(noting)

        self.patch(realm, "requestAvatar", requestAvatar)
        for end in (
            lambda client: client.send(b"a LOGOUT\r\n"),
            lambda client: client.disconnect(),
            lambda client: self.server.clock.advance(1800),
        ):
            client = self.server.login()
            self.assertEqual(out, [])
            end(client)
            self.assertEqual(out, ["logout"])
            out.clear()

    def test_goneInBetween(self) -> None:
        """A client that vanishes between challenge and response leaves nothing behind."""
        self.client.send(b"a AUTHENTICATE LOGIN\r\n")
        self.client.disconnect()
        self.assertTrue(self.client.finished)
        self.assertIsNone(self.client.failure)
        self.assertEqual(self.server.clock.getDelayedCalls(), [])
