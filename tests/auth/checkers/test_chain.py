"""
One checker after another.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_mailstack.auth.checker import NotAuthorized
from twisted_mailstack.auth.checkers.chain import CheckerChain
from twisted_mailstack.auth.checkers.source import SourceUnavailable
from twisted_mailstack.auth.login import FIRST_DELAY, Login
from twisted_mailstack.errors import TemporaryFailure
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.sasl.credentials import (
    IProvenIdentity,
    PasswordCredentials,
    ProvenIdentity,
)


class _Checker:
    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked = 0

    def requestAvatarId(self, credentials: Any) -> Any:
        self.asked += 1
        if isinstance(self.answer, Deferred):
            return self.answer
        return fail(self.answer) if isinstance(self.answer, Exception) else succeed(self.answer)


class ChainTests(SynchronousTestCase):
    """
    L{CheckerChain}.
    """

    def check(self, *answers: Any) -> Any:
        """
        @return: what a chain of checkers that answer so says.
        """
        self.checkers = [_Checker(answer) for answer in answers]
        self.proven = _Checker(b"proven")
        self.chain = CheckerChain(self.proven, self.checkers)
        results: list[Any] = []
        self.chain.requestAvatarId(PasswordCredentials(b"a", b"p")).addBoth(results.append)
        return results[0] if results else None

    def test_interface(self) -> None:
        """It is a checker of cred, of passwords and of those that a mechanism has verified."""
        self.check()
        verifyObject(ICredentialsChecker, self.chain)
        self.assertEqual(set(self.chain.credentialInterfaces), {IUsernamePassword, IProvenIdentity})

    def test_first(self) -> None:
        """The first that says yes counts; those behind it aren't asked."""
        self.assertEqual(self.check(UnauthorizedLogin(), b"two", b"three"), b"two")
        self.assertEqual([each.asked for each in self.checkers], [1, 1, 0])

    def test_none(self) -> None:
        """If nobody knows it, it is wrong, and everybody was asked."""
        result = self.check(UnauthorizedLogin(), UnauthorizedLogin())
        assert isinstance(result, Failure)
        self.assertIsNotNone(result.check(UnauthorizedLogin))
        self.assertEqual([each.asked for each in self.checkers], [1, 1])

    def test_down(self) -> None:
        """
        If one can't be asked the next ones are; if they don't say yes, the answer is temporary,
        wherever it stands.
        """
        self.assertEqual(self.check(SourceUnavailable(), b"two"), b"two")
        for answers in (
            (SourceUnavailable(), UnauthorizedLogin()),
            (UnauthorizedLogin(), SourceUnavailable()),
            (UnauthorizedLogin(), TemporaryFailure(), UnauthorizedLogin()),
        ):
            result = self.check(*answers)
            assert isinstance(result, Failure)
            self.assertIsNotNone(result.check(TemporaryFailure), answers)
            self.assertEqual([each.asked for each in self.checkers], [1] * len(answers))

    def test_notAuthorized(self) -> None:
        """
        That somebody may not act as somebody else is said if nobody lets him, and each was asked.
        """
        self.assertEqual(self.check(NotAuthorized(), b"two"), b"two")
        for answers, answer in (
            ((NotAuthorized(), UnauthorizedLogin()), NotAuthorized),
            ((NotAuthorized(), SourceUnavailable()), SourceUnavailable),
            ((SourceUnavailable(), NotAuthorized()), SourceUnavailable),
        ):
            result = self.check(*answers)
            assert isinstance(result, Failure)
            self.assertIs(result.type, answer, answers)

    def test_guessing(self) -> None:
        """
        While one is down a wrong password isn't said to be one, but nobody guesses faster: each
        attempt waits, and counts for the connection.
        """
        self.check(UnauthorizedLogin(), SourceUnavailable())
        sleeps: list[float] = []

        async def sleep(seconds: float) -> None:
            sleeps.append(seconds)

        realm: Any = SimpleNamespace(requestAvatar=None)
        login = Login(Portal(realm, [self.chain]), sleep, 2)
        info = ConnectionInfo("192.0.2.1", 1234, "imap")
        for exhausted in (False, True):
            attempt = ensureDeferred(login.attempt(PasswordCredentials(b"a", b"p"), "PLAIN", info))
            self.failureResultOf(attempt, SourceUnavailable)
            self.assertEqual(login.exhausted, exhausted)
        self.assertEqual(sleeps, [FIRST_DELAY] * 2)

    def test_broken(self) -> None:
        """A checker that fails in its own way is one that can't be asked, and is logged."""
        self.assertEqual(self.check(ZeroDivisionError(), b"two"), b"two")
        result = self.check(ZeroDivisionError(), UnauthorizedLogin())
        assert isinstance(result, Failure)
        self.assertIsNotNone(result.check(TemporaryFailure))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_proven(self) -> None:
        """Whoever a mechanism has verified is looked for in the store only."""
        self.check(UnauthorizedLogin())
        self.checkers[0].asked = 0
        credentials = ProvenIdentity(b"a@a.test")
        result = self.chain.requestAvatarId(credentials)
        self.assertEqual(self.successResultOf(result), b"proven")
        self.assertEqual(self.checkers[0].asked, 0)

    def test_gone(self) -> None:
        """A client that goes while one is asked ends that, and nobody else is asked."""
        cancelled: list[object] = []
        waiting: Deferred[bytes] = Deferred(cancelled.append)
        self.checkers = [_Checker(waiting), _Checker(b"two")]
        chain = CheckerChain(None, self.checkers)
        result = chain.requestAvatarId(PasswordCredentials(b"a", b"p"))
        result.cancel()
        self.failureResultOf(result)
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.checkers[1].asked, 0)
