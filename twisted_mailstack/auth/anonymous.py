# -*- test-case-name: tests.auth.test_anonymous -*-
"""
The checker (twisted.cred) for clients that are nobody in particular.
"""

from __future__ import annotations

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IAnonymous
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from zope.interface import implementer

from twisted_mailstack.interfaces import IDirectory
from twisted_mailstack.model.address import Address


@implementer(ICredentialsChecker)
class AnonymousChecker:
    """
    Lets everybody in as one account.
    """

    credentialInterfaces = (IAnonymous,)

    def __init__(self, directory: IDirectory, account: Address) -> None:
        """
        @param account: what nobody in particular sees.
        """
        self._directory = directory
        self._account = account

    def requestAvatarId(self, credentials: IAnonymous) -> Deferred[bytes | tuple[()]]:
        """
        @return: the accountId. Fails with UnauthorizedLogin if there is no such account, or it is
            disabled.
        """
        return Deferred.fromCoroutine(self._check())

    async def _check(self) -> bytes | tuple[()]:
        record = await self._directory.findAccount(self._account)
        if record is None or not record.enabled:
            raise UnauthorizedLogin()
        return record.accountId.encode("ascii")
