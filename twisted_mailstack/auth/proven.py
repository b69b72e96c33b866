# -*- test-case-name: tests.auth.test_proven -*-
"""
Checkers (twisted.cred) for clients that a mechanism has verified, and for those that needn't be.
"""

from __future__ import annotations

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IAnonymous
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from zope.interface import implementer

from twisted_mailstack.auth.names import accountAddress, isSame
from twisted_mailstack.interfaces import IDirectory
from twisted_mailstack.model.address import Address
from twisted_mailstack.sasl.credentials import IProvenIdentity


@implementer(ICredentialsChecker)
class ProvenChecker:
    """
    Finds the account of a name that a mechanism has verified.
    """

    credentialInterfaces = (IProvenIdentity,)

    def __init__(self, directory: IDirectory, defaultDomain: str | None = None) -> None:
        """
        @param defaultDomain: of names without C{@}; C{None}: they are unknown.
        """
        self._directory = directory
        self._defaultDomain = defaultDomain

    def requestAvatarId(self, credentials: IProvenIdentity) -> Deferred[bytes | tuple[()]]:
        """
        @return: the accountId. Fails with UnauthorizedLogin if there is no such account, it is
            disabled, or may not act as the one that is wanted.
        """
        return Deferred.fromCoroutine(self._check(credentials))

    async def _check(self, credentials: IProvenIdentity) -> bytes | tuple[()]:
        address = accountAddress(credentials.username, self._defaultDomain)
        record = None if address is None else await self._directory.findAccount(address)
        identity = credentials.authorizationIdentity
        if (
            record is None
            or not record.enabled
            # RFC 4422 §2: whom to act as; here everybody is only themselves.
            or not (
                identity is None
                or isSame(accountAddress(identity, self._defaultDomain), record.address)
            )
        ):
            raise UnauthorizedLogin()
        return record.accountId.encode("ascii")


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
