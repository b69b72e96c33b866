"""
Logging in, as every protocol does it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import LoginDenied, LoginFailed, UnauthorizedLogin, UnhandledCredentials
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, ensureDeferred, fail, maybeDeferred
from twisted.internet.task import Clock, deferLater
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from twisted_mailstack.auth.checker import NotAuthorized
from twisted_mailstack.auth.login import FIRST_DELAY, MAX_DELAY, Login
from twisted_mailstack.errors import (
    AuthenticationFailed,
    AuthorizationFailed,
    ConnectionClosed,
    NoSuchAccount,
    TemporaryFailure,
)
from twisted_mailstack.interfaces import IAccount
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.sasl.credentials import PasswordCredentials
from twisted_mailstack.storage.memory import MemoryMailStore

INFO = ConnectionInfo("192.0.2.1", 50000, "pop3", True, "TLSv1.3", "TLS_AES_256_GCM_SHA384")
PASSWORD = b"s3cret-w0rd"


@implementer(ICredentialsChecker, IRealm)
class Doorman:
    """
    A checker and a realm that do as they are told.

    @ivar refusal: raised by the checker, unless it is C{None}.
    @ivar realmFailure: likewise by the realm.
    @ivar gone: how often each avatar's logout was called.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self) -> None:
        self.refusal: Exception | None = None
        self.realmFailure: Exception | None = None
        self.gone: list[int] = []
        self.account = MemoryMailStore()
        self.logoutFails = False

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes]:
        """See ICredentialsChecker."""
        if self.refusal is not None:
            return fail(self.refusal)
        return maybeDeferred(lambda: b"A1")

    def requestAvatar(self, avatarId: bytes, mind: object, *interfaces: Any) -> Any:
        """See IRealm."""
        if self.realmFailure is not None:
            raise self.realmFailure
        number = len(self.gone)
        self.gone.append(0)

        def logout() -> None:
            self.gone[number] += 1
            if self.logoutFails:
                raise RuntimeError("logout")

        return IAccount, Avatar(), logout


class Avatar:
    """What is logged of an account."""

    address = Address("alice", "example.test")


class LoginTestCase(SynchronousTestCase):
    """
    @ivar login: the attempts of a connection.
    """

    def setUp(self) -> None:
        """Make the attempts of one connection."""
        self.clock = Clock()
        self.doorman = Doorman()
        self.portal = Portal(self.doorman, [self.doorman])
        self.login = Login(self.portal, self.sleep)

    def sleep(self, seconds: float) -> Deferred[None]:
        """Wait, by the clock."""
        return deferLater(self.clock, seconds)

    def attempt(
        self, name: bytes = b"alice@example.test", password: bytes = PASSWORD
    ) -> Deferred[IAccount]:
        """
        @return: fires when the attempt is over.
        """
        credentials = PasswordCredentials(name, password)
        return ensureDeferred(self.login.attempt(credentials, "PLAIN", INFO))

    def refuse(self, *_: object) -> None:
        """Make an attempt that fails, and let its delay pass."""
        self.doorman.refusal = UnauthorizedLogin()
        attempt = self.attempt()
        self.clock.advance(MAX_DELAY)
        self.failureResultOf(attempt, AuthenticationFailed)


class LoginTests(LoginTestCase):
    """
    Attempts, right and wrong.
    """

    def test_right(self) -> None:
        """The account is there at once."""
        self.assertIsInstance(self.successResultOf(self.attempt()), Avatar)
        self.assertEqual((self.login.failures, self.login.exhausted), (0, False))

    def test_alike(self) -> None:
        """
        Whatever cred says, and if the account has just been removed: the same error, with the same
        text, after the same delay.
        """
        texts = set()
        for refusal, realmFailure in (
            (UnauthorizedLogin(), None),
            (LoginFailed("wrong password for alice"), None),
            (LoginDenied("account disabled"), None),
            (NoSuchAccount("nobody called alice"), None),
            (None, NoSuchAccount()),
            (None, UnauthorizedLogin()),
        ):
            self.login = Login(self.portal, self.sleep)
            self.doorman.refusal, self.doorman.realmFailure = refusal, realmFailure
            attempt = self.attempt()
            self.clock.advance(FIRST_DELAY - 0.1)
            self.assertNoResult(attempt)
            self.clock.advance(0.1)
            texts.add(self.failureResultOf(attempt, AuthenticationFailed).value.text)
            self.assertEqual(self.login.failures, 1)
        self.assertEqual(texts, {AuthenticationFailed.text})

    def test_notAuthorized(self) -> None:
        """Who is known but may not act as somebody else is told so (RFC 5530 §3), and as late."""
        self.doorman.refusal = NotAuthorized()
        attempt = self.attempt()
        self.clock.advance(FIRST_DELAY - 0.1)
        self.assertNoResult(attempt)
        self.clock.advance(0.1)
        error = self.failureResultOf(attempt, AuthorizationFailed).value
        self.assertEqual(error.imapCode, "AUTHORIZATIONFAILED")
        self.assertEqual(self.login.failures, 1)

    def test_growingDelay(self) -> None:
        """Each failure of a connection is answered later than the one before, up to a bound."""
        self.login = Login(self.portal, self.sleep, 100)
        self.doorman.refusal = UnauthorizedLogin()
        delays = []
        for _ in range(7):
            attempt = self.attempt()
            (call,) = self.clock.getDelayedCalls()
            delays.append(call.getTime() - self.clock.seconds())
            self.clock.advance(delays[-1])
            self.failureResultOf(attempt, AuthenticationFailed)
        self.assertEqual(delays, [1, 2, 4, 8, 15, 15, 15])

    def test_exhausted(self) -> None:
        """After so many failures the connection is at its end; a success doesn't count them off."""
        for _ in range(2):
            self.refuse()
            self.assertFalse(self.login.exhausted)
        self.doorman.refusal = None
        self.successResultOf(self.attempt())
        self.refuse()
        self.assertTrue(self.login.exhausted)

    def test_veryMany(self) -> None:
        """Where the operator allows very many attempts, they are."""
        self.login = Login(self.portal, self.sleep, 10_000)
        self.login.failures = 5000
        self.refuse()
        self.assertEqual(self.login.failures, 5001)

    def test_temporary(self) -> None:
        """
        If it couldn't be found out that is said at once, and doesn't count as a failed attempt.
        """
        self.doorman.refusal = TemporaryFailure("too many logins")
        problem = self.failureResultOf(self.attempt(), TemporaryFailure).value
        self.assertEqual((problem.text, self.login.failures), ("too many logins", 0))

    def test_broken(self) -> None:
        """A defect of a checker or a realm isn't taken for a wrong password."""
        self.doorman.refusal = RuntimeError("database")
        self.failureResultOf(self.attempt(), RuntimeError)
        self.doorman.refusal, self.doorman.realmFailure = None, RuntimeError("disk")
        self.failureResultOf(self.attempt(), RuntimeError)
        self.assertEqual(self.login.failures, 0)

    def test_noChecker(self) -> None:
        """
        A portal that has no checker for a mechanism's credentials is set up wrongly: the client
        isn't blamed.
        """
        self.login = Login(Portal(self.doorman), self.sleep)
        self.failureResultOf(self.attempt(), UnhandledCredentials)
        self.assertEqual(self.login.failures, 0)

    def test_leavesMeanwhile(self) -> None:
        """A client that goes during the delay ends the session."""

        async def sleep(seconds: float) -> None:
            raise ConnectionClosed()

        self.login = Login(self.portal, sleep)
        self.doorman.refusal = UnauthorizedLogin()
        self.failureResultOf(self.attempt(), ConnectionClosed)

    def test_refuse(self) -> None:
        """A mechanism that knows of a failure by itself has it counted and delayed alike."""
        refused = ensureDeferred(self.login.refuse("alice", "SCRAM-SHA-256", INFO))
        self.assertNoResult(refused)
        self.clock.advance(FIRST_DELAY)
        self.failureResultOf(refused, AuthenticationFailed)
        self.assertEqual(self.login.failures, 1)


class LogoutTests(LoginTestCase):
    """
    cred's contract: the realm is told when an avatar isn't used any more.
    """

    def test_logOut(self) -> None:
        """It is told once."""
        self.successResultOf(self.attempt())
        self.assertEqual(self.doorman.gone, [0])
        self.login.logOut()
        self.login.logOut()
        self.assertEqual(self.doorman.gone, [1])

    def test_never(self) -> None:
        """Without a login there is nothing to be told."""
        self.refuse()
        self.login.logOut()
        self.assertEqual(self.doorman.gone, [])

    def test_again(self) -> None:
        """Who logs in again leaves the first account."""
        self.successResultOf(self.attempt())
        self.successResultOf(self.attempt())
        self.assertEqual(self.doorman.gone, [1, 0])

    def test_fails(self) -> None:
        """A logout that fails is logged; the session ends as it does."""
        self.successResultOf(self.attempt())
        self.doorman.logoutFails = True
        self.login.logOut()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class LogTests(LoginTestCase):
    """
    What the log says: who, from where, how; and nothing secret.
    """

    def capture(self, act: Callable[[], object]) -> list[dict[str, Any]]:
        """
        @return: the events of it. The password is in none.
        """
        with capturedLogs() as events:
            act()
        for event in events:
            self.assertNotIn(PASSWORD.decode(), repr(event))
            self.assertNotIn(PASSWORD.decode(), formatEvent(event))
        return [dict(event) for event in events]

    def test_right(self) -> None:
        """A login is logged."""
        (event,) = self.capture(lambda: self.successResultOf(self.attempt()))
        self.assertEqual(
            formatEvent(event),
            "pop3: login: user=alice@example.test peer=192.0.2.1 mechanism=PLAIN tls=TLSv1.3",
        )

    def test_wrong(self) -> None:
        """A failed one too, as a warning, in a line that a log watcher can match."""
        (event,) = self.capture(self.refuse)
        self.assertIs(event["log_level"], LogLevel.warn)
        self.assertEqual(
            formatEvent(event),
            "pop3: login failed: user='alice@example.test' peer=192.0.2.1 mechanism=PLAIN",
        )

    def test_forged(self) -> None:
        """A name can't forge lines of the log, or fill it."""
        self.doorman.refusal = UnauthorizedLogin()
        for name in (
            b"x\r\npop3: login failed: user='y' peer=198.51.100.1 mechanism=PLAIN",
            b"\x1b[2J\0\xff\xfe",
            b"z" * 100_000,
        ):
            (event,) = self.capture(lambda name=name: self.attempt(name))  # type: ignore[misc]
            line = formatEvent(event)
            self.assertTrue(line.isprintable() or "\ufffd" in line)
            self.assertNotIn("\n", line)
            self.assertNotIn("\x1b", line)
            self.assertLess(len(line), 1000)
