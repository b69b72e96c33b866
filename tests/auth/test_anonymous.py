"""
Clients that are nobody in particular.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_mailstack.auth.anonymous import AnonymousChecker
from twisted_mailstack.model.address import Address
from twisted_mailstack.sasl.credentials import AnonymousCredentials
from twisted_mailstack.storage.memory import MemoryMailStore

PUBLIC = Address("public", "x.test")


class AnonymousCheckerTests(SynchronousTestCase):
    """
    L{AnonymousChecker}.
    """

    def run_(self, awaitable: Any) -> Any:
        """
        @return: what comes of it.
        """
        return self.successResultOf(ensureDeferred(awaitable))

    def test_account(self) -> None:
        """They get the one account, as long as it is there and enabled."""
        directory = MemoryMailStore().directory
        checker = AnonymousChecker(directory, PUBLIC)
        verifyObject(ICredentialsChecker, checker)
        credentials = AnonymousCredentials(b"me")
        self.failureResultOf(checker.requestAvatarId(credentials), UnauthorizedLogin)
        self.run_(directory.addDomain("x.test"))
        account = self.run_(directory.addAccount(PUBLIC, None))
        found = self.successResultOf(checker.requestAvatarId(credentials))
        self.assertEqual(found, account.accountId.encode())
        self.run_(directory.setEnabled(PUBLIC, False))
        self.failureResultOf(checker.requestAvatarId(credentials), UnauthorizedLogin)
