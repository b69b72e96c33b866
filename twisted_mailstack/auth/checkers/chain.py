# -*- test-case-name: tests.auth.checkers.test_chain -*-
"""
The checkers (twisted.cred) that know passwords, one after another: the first that says yes counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import LoginFailed, UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from zope.interface import implementer

from twisted_mailstack.auth.checker import NotAuthorized
from twisted_mailstack.auth.checkers.source import SourceUnavailable
from twisted_mailstack.errors import TemporaryFailure
from twisted_mailstack.sasl.credentials import IProvenIdentity


@implementer(ICredentialsChecker)
class CheckerChain:
    """
    Asks each checker until one says yes. If one can't be asked the others are, and if none of them
    says yes the answer is that it couldn't be found out, not that the password was wrong.
    """

    log = Logger()
    credentialInterfaces = (IUsernamePassword, IProvenIdentity)

    def __init__(self, proven: Any, checkers: Sequence[Any]) -> None:
        """
        @param proven: the checker that finds the accounts of those whom their mechanism has
            verified.
        @param checkers: of passwords, in the order in which they are asked.
        """
        self._proven = proven
        self._checkers = tuple(checkers)

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """
        @return: the accountId. Fails with UnauthorizedLogin if nobody knows that password, with
            TemporaryFailure if that couldn't be found out.
        """
        if IProvenIdentity.providedBy(credentials):
            found: Deferred[bytes | tuple[()]] = self._proven.requestAvatarId(credentials)
            return found
        return Deferred.fromCoroutine(self._check(credentials))

    async def _check(self, credentials: Any) -> bytes | tuple[()]:
        problem: Exception = UnauthorizedLogin()
        for checker in self._checkers:
            try:
                accountId: bytes | tuple[()] = await checker.requestAvatarId(credentials)
                return accountId
            except NotAuthorized as error:
                # Another may know better, also one that can't be asked; if none does it is told.
                if not isinstance(problem, TemporaryFailure):
                    problem = error
            except LoginFailed:
                continue
            except CancelledError:
                # The client is gone.
                raise
            except TemporaryFailure as error:
                problem = error
            except Exception:
                self.log.failure("{checker!r} failed", checker=checker)
                problem = SourceUnavailable()
        raise problem
