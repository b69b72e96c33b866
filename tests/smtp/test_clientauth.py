"""
AUTH, the client's side (RFC 4954).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.smtp.support import Server, SMTPTestCase
from twisted_mailstack.errors import (
    AuthenticationFailed,
    ConnectionClosed,
    EncryptionRequired,
    MailError,
    SessionEnded,
    SyntaxProblem,
)
from twisted_mailstack.interfaces import IClientMechanism, ISASLClientExchange
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.sasl.credentials import TokenCredentials
from twisted_mailstack.sasl.login import LoginClient
from twisted_mailstack.sasl.plain import PlainClient
from twisted_mailstack.sasl.registry import CLIENT_MECHANISMS
from twisted_mailstack.smtp.clientauth import MAX_COMMAND, authenticate
from twisted_mailstack.smtp.clientsession import SMTPClientSession
from twisted_mailstack.smtp.framing import MalformedReply
from twisted_mailstack.testing.conversation import FakeWire
from twisted_mailstack.wire.stream import Stream

TIM = b64encode(b"\0tim\0secret").decode()


@implementer(IClientMechanism, ISASLClientExchange)
class Scripted:
    """
    A mechanism, and its one exchange.

    @ivar heard: what it was told.
    """

    needsTLS = False

    def __init__(self, *responses: bytes | None, name: bytes = b"X-SCRIPT") -> None:
        self.name = name
        self.heard: list[bytes | None] = []
        self.proven = True
        self._responses = list(responses)

    def begin(self, credentials: Any, info: ConnectionInfo) -> ISASLClientExchange:
        """See L{IClientMechanism}."""
        return self

    def respond(self, challenge: bytes | None) -> bytes | None:
        """See L{ISASLClientExchange}."""
        self.heard.append(challenge)
        if not self._responses:
            raise AuthenticationFailed("Who are you?")
        return self._responses.pop(0)

    def accepted(self) -> None:
        """See L{ISASLClientExchange}."""
        if not self.proven:
            raise AuthenticationFailed("It isn't the server")


class Login:
    """
    A client that logs in to a server that a test speaks for.
    """

    def __init__(
        self, offered: str = "AUTH PLAIN LOGIN", secure: bool = True, **arguments: Any
    ) -> None:
        self.wire = FakeWire("relay", secure)
        self.clock = Clock()
        self.stream = Stream(self.wire, self.clock)
        self.session = SMTPClientSession(self.stream, "client.test", remote="far")
        Deferred.fromCoroutine(self.session.hello())
        self.stream.flush()
        self.wire.take()
        self.stream.received(f"250-far.test\r\n250-{offered}\r\n250 HELP\r\n".encode())
        username = arguments.pop("username", "tim")
        password = arguments.pop("password", "secret")
        self.result = Deferred.fromCoroutine(
            authenticate(self.session, username, password, **arguments)
        )
        self.stream.flush()

    def sent(self) -> str:
        """
        @return: what the client sent.
        """
        return self.wire.take().decode()

    def hear(self, line: str) -> str:
        """
        @return: what the client sends to a reply.
        """
        self.stream.received(line.encode() + b"\r\n")
        return self.sent()


class AuthenticateTests(SynchronousTestCase):
    """
    L{authenticate}.
    """

    def refused(self, login: Login, kind: type[Exception] = AuthenticationFailed) -> Any:
        """
        @return: why the login failed.
        """
        error = self.failureResultOf(login.result, kind).value
        self.assertFalse(login.session.authenticated)
        return error

    def test_plain(self) -> None:
        """PLAIN goes in one command (§4), and the session knows it has logged in."""
        login = Login()
        self.assertEqual(login.sent(), f"AUTH PLAIN {TIM}\r\n")
        self.assertFalse(login.session.authenticated)
        login.hear("235 2.7.0 Welcome")
        self.successResultOf(login.result)
        self.assertTrue(login.session.authenticated)
        self.assertTrue(login.session.usable)

    def test_login(self) -> None:
        """LOGIN, where there is nothing better."""
        login = Login("AUTH LOGIN X-OTHER")
        self.assertEqual(login.sent(), "AUTH LOGIN\r\n")
        self.assertEqual(login.hear("334 VXNlcm5hbWU6"), "dGlt\r\n")
        self.assertEqual(login.hear("334 UGFzc3dvcmQ6"), "c2VjcmV0\r\n")
        login.hear("235 OK")
        self.successResultOf(login.result)

    def test_names(self) -> None:
        """Mechanisms in lower case, and the old form of the keyword, are understood."""
        for offered in ("AUTH plain", "auth Plain", "AUTH=PLAIN", "AUTH=LOGIN PLAIN"):
            self.assertEqual(Login(offered).sent(), f"AUTH PLAIN {TIM}\r\n")

    def test_utf8(self) -> None:
        """Names and passwords are UTF-8."""
        login = Login(username="j\u00f6rg", password="\u20ac", authorizationIdentity="\u00fc")
        expected = b64encode("\u00fc\0j\u00f6rg\0\u20ac".encode()).decode()
        self.assertEqual(login.sent(), f"AUTH PLAIN {expected}\r\n")

    def test_noTLS(self) -> None:
        """No password is sent in the clear, unless that is allowed."""
        login = Login(secure=False)
        self.assertEqual(login.sent(), "")
        self.refused(login, EncryptionRequired)
        self.assertEqual(Login(secure=False, allowPlaintext=True).sent(), f"AUTH PLAIN {TIM}\r\n")
        safe = Scripted(b"x")
        login = Login("AUTH PLAIN X-SCRIPT", False, mechanisms=(*CLIENT_MECHANISMS, safe))
        self.assertEqual(login.sent(), "AUTH X-SCRIPT eA==\r\n")

    def test_nothingInCommon(self) -> None:
        """No AUTH at all, or nothing that is known."""
        for offered in ("SIZE", "AUTH", "AUTH GSSAPI", "AUTHENTICATE PLAIN"):
            login = Login(offered)
            self.assertEqual(login.sent(), "")
            self.assertEqual(self.refused(login).smtpCode, 504)
            self.assertTrue(login.session.usable)

    def test_refused(self) -> None:
        """
        A password that is refused isn't tried another way: accounts are locked after a few wrong
        attempts.
        """
        login = Login()
        login.sent()
        self.assertEqual(login.hear("535 5.7.8 Authentication failed"), "")
        error = self.refused(login)
        self.assertEqual(
            (error.smtpCode, error.enhancedStatus, error.text),
            (535, "5.7.8", "Authentication failed"),
        )
        self.assertTrue(login.session.usable)

    def test_temporary(self) -> None:
        """A server that can't say now (§6: 454) isn't one that refuses."""
        for reply in ("454 4.7.0 Later", "421 4.3.2 Down"):
            login = Login()
            login.hear(reply)
            error = self.refused(login, MailError)
            self.assertNotIsInstance(error, AuthenticationFailed)
            self.assertTrue(error.temporary)
            self.assertEqual(login.session.usable, reply[:3] != "421")

    def test_another(self) -> None:
        """Where it is the mechanism that is refused (§6) the next one is tried."""
        for code in (432, 504, 534, 538):
            login = Login()
            login.sent()
            self.assertEqual(login.hear(f"{code} Not this one"), "AUTH LOGIN\r\n")
            login.hear(f"{code} Nor this")
            error = self.failureResultOf(login.result, MailError).value
            self.assertEqual((error.smtpCode, error.text), (code, "Nor this"))

    def test_longInitialResponse(self) -> None:
        """
        An initial response for which the command has no room comes behind the first challenge
        (§4).
        """
        for password in ("x" * 367, "x" * 368):
            login = Login(password=password)
            message = b64encode(b"\0tim\0" + password.encode()).decode()
            fits = len(f"AUTH PLAIN {message}\r\n") <= MAX_COMMAND
            self.assertEqual(fits, len(password) == 367)
            if fits:
                self.assertEqual(login.sent(), f"AUTH PLAIN {message}\r\n")
            else:
                self.assertEqual(login.sent(), "AUTH PLAIN\r\n")
                self.assertEqual(login.hear("334 "), f"{message}\r\n")
            login.hear("235 OK")
            self.successResultOf(login.result)

    def test_empty(self) -> None:
        """An empty initial response is "=", an empty response an empty line (§4)."""
        mechanism = Scripted(b"", b"", b"x")
        login = Login("AUTH X-SCRIPT", mechanisms=[mechanism])
        self.assertEqual(login.sent(), "AUTH X-SCRIPT =\r\n")
        self.assertEqual(login.hear("334 eA=="), "\r\n")
        self.assertEqual(login.hear("334"), "eA==\r\n")
        login.hear("235 OK")
        self.successResultOf(login.result)
        self.assertEqual(mechanism.heard, [None, b"x", b""])

    def test_tooMuchAsked(self) -> None:
        """A server that asks for more than the mechanism has is told that we cancel (§4)."""
        login = Login()
        login.sent()
        self.assertEqual(login.hear("334 "), "*\r\n")
        login.hear("501 5.7.0 Cancelled")
        self.refused(login)
        self.assertTrue(login.session.usable)

    def test_notBase64(self) -> None:
        """A challenge that can't be read cancels too (§4), and says nothing of the password."""
        for challenge in ("Username:", "eA", "e A==", "\u00fc"):
            login = Login("AUTH LOGIN")
            login.sent()
            self.assertEqual(login.hear(f"334 {challenge}"), "*\r\n")
            login.hear("501 Cancelled")
            self.assertTrue(self.refused(login, MailError).temporary)

    def test_notCancelled(self) -> None:
        """A server that goes on all the same is left."""
        for reply in ("334 eA==", "235 OK", "250 OK"):
            login = Login("AUTH LOGIN")
            login.hear("334 ?")
            login.hear(reply)
            self.refused(login, MailError)
            self.assertFalse(login.session.usable)
            self.assertTrue(login.wire.lost)

    def test_notTrusted(self) -> None:
        """A server that doesn't prove who it is gets nothing more."""
        mechanism = Scripted(b"x")
        mechanism.proven = False
        login = Login("AUTH X-SCRIPT", mechanisms=[mechanism])
        login.hear("235 OK")
        self.refused(login)
        self.assertTrue(login.wire.lost)
        # One that is content before it knows who we are: it can't be the one.
        login = Login("AUTH LOGIN")
        login.hear("235 OK")
        self.refused(login)
        self.assertTrue(login.wire.lost)

    def test_outOfStep(self) -> None:
        """Another go-ahead than 334 is none."""
        login = Login()
        login.hear("354 Go")
        self.refused(login, MalformedReply)
        self.assertTrue(login.wire.lost)

    def test_broken(self) -> None:
        """The connection is lost, or the server falls silent or speaks something else."""
        login = Login()
        login.stream.lost()
        self.refused(login, ConnectionClosed)
        login = Login()
        login.clock.advance(300)
        self.refused(login, SessionEnded)
        login = Login()
        login.hear("What?")
        self.refused(login, MalformedReply)

    def test_unsayable(self) -> None:
        """What a mechanism can't say is left to the next one."""
        login = Login("AUTH PLAIN LOGIN", password="a\0b")
        self.assertEqual(login.sent(), "AUTH LOGIN\r\n")
        login = Login("AUTH PLAIN", password="")
        self.assertEqual(login.sent(), "")
        self.refused(login, SyntaxProblem)


class CredentialsTests(SynchronousTestCase):
    """
    What is no password.
    """

    def test_token(self) -> None:
        """A token is sent by the mechanism that is for tokens, whatever else is offered."""
        token = TokenCredentials(b"tim@far.test", b"abc")
        login = Login("AUTH PLAIN SCRAM-SHA-256 XOAUTH2", credentials=token)
        sent = b64decode(login.sent().removeprefix("AUTH XOAUTH2 "))
        self.assertEqual(sent, b"user=tim@far.test\x01auth=Bearer abc\x01\x01")
        login.hear("235 welcome")
        self.successResultOf(login.result)
        self.assertTrue(login.session.authenticated)

    def test_refused(self) -> None:
        """A token that the server doesn't take: its JSON is answered, then it says no."""
        login = Login("AUTH XOAUTH2", credentials=TokenCredentials(b"tim@far.test", b"abc"))
        login.sent()
        self.assertEqual(login.hear("334 " + b64encode(b'{"status":"401"}').decode()), "\r\n")
        login.hear("535 5.7.8 no")
        login.result.addErrback(lambda failure: failure.trap(AuthenticationFailed))
        self.successResultOf(login.result)
        self.assertFalse(login.session.authenticated)

    def test_nothing(self) -> None:
        """
        Without a mechanism for it nothing is sent; without TLS a token isn't either, and that is
        said.
        """
        token = TokenCredentials(b"tim@far.test", b"abc")
        for offered, secure, kind in (
            *(
                ("AUTH PLAIN", True, AuthenticationFailed),
                ("AUTH PLAIN", False, AuthenticationFailed),
            ),
            ("AUTH XOAUTH2", False, EncryptionRequired),
        ):
            login = Login(offered, secure, credentials=token)
            self.assertEqual(login.sent(), "")
            self.failureResultOf(login.result, kind)

    def test_scram(self) -> None:
        """SCRAM before PLAIN; a server that says yes without having shown that it knows is left."""
        login = Login("AUTH PLAIN SCRAM-SHA-1 SCRAM-SHA-256")
        self.assertTrue(login.sent().startswith("AUTH SCRAM-SHA-256 "))
        login.hear("235 welcome")
        self.failureResultOf(login.result, AuthenticationFailed)
        self.assertFalse(login.session.authenticated)


class ServerTests(SMTPTestCase):
    """
    Our client, our server.
    """

    def login(self, server: Server, *arguments: Any, **given: Any) -> Deferred[None]:
        """
        @return: the attempt to log in.
        """
        conversation = server.connect(secure=True)
        wire = FakeWire("client", True)
        stream = Stream(wire, Clock())
        session = SMTPClientSession(stream, "client.test")

        async def attempt() -> None:
            await session.greet()
            await authenticate(session, *arguments, **given)

        result = Deferred.fromCoroutine(attempt())
        pending = conversation.wire.take()
        for _ in range(20):
            if pending:
                stream.received(pending)
            stream.flush()
            sent = wire.take()
            if not sent and not pending:
                server.clock.advance(10)
            pending = conversation.send(sent) if sent else conversation.wire.take()
        return result

    def test_mechanisms(self) -> None:
        """Each mechanism of the client logs in to the server; a wrong password doesn't."""
        server = self.serve()
        for mechanism in (PlainClient(), LoginClient()):
            result = self.login(server, "alice@example.test", "secret", mechanisms=[mechanism])
            self.successResultOf(result)
            result = self.login(server, "alice@example.test", "wrong", mechanisms=[mechanism])
            error = self.failureResultOf(result, AuthenticationFailed).value
            self.assertEqual((error.smtpCode, error.enhancedStatus), (535, "5.7.8"))
