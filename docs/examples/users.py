"""
The user table of an application, and what twisted.cred needs to let its users read mail: a checker
that knows their passwords and a realm that gives each of them an account.

Nothing here knows a protocol; one portal serves IMAP, POP3 and submission alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred
from zope.interface import Interface, implementer

from twisted_mailstack.errors import AlreadyExists
from twisted_mailstack.interfaces import IAccount, IMailStore, IPasswordHasher
from twisted_mailstack.model.address import Address


@dataclass(frozen=True)
class User:
    """
    A row of the application's own table.

    @ivar passwordHash: from C{auth.passwords.hashPassword}; any other scheme does with its hasher.
    """

    name: str
    passwordHash: str


@implementer(ICredentialsChecker)
class UserChecker:
    """
    Checks passwords against the table. The avatar id is the user's name.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, users: Mapping[str, User], hasher: IPasswordHasher) -> None:
        self._users = users
        self._hasher = hasher

    def requestAvatarId(self, credentials: IUsernamePassword) -> Deferred[bytes | tuple[()]]:
        """See L{ICredentialsChecker}; names and passwords are bytes."""
        return Deferred.fromCoroutine(self._check(credentials))

    async def _check(self, credentials: IUsernamePassword) -> bytes | tuple[()]:
        user = self._users.get(credentials.username.decode("utf-8", "replace"))
        # Also for unknown names, so that nobody learns from the time it takes which ones exist.
        hashed = None if user is None else user.passwordHash
        if await self._hasher.verify(hashed, credentials.password) and user is not None:
            return user.name.encode("utf-8")
        raise UnauthorizedLogin()


@implementer(IRealm)
class UserRealm:
    """
    Gives each user an account of a store, made at the first login.
    """

    def __init__(self, store: IMailStore, domain: str) -> None:
        self._store = store
        self._domain = domain

    def requestAvatar(
        self, avatarId: bytes | tuple[()], mind: object, *interfaces: type[Interface]
    ) -> Deferred[tuple[type[Interface], Any, Callable[[], None]]]:
        """See L{IRealm}: every protocol asks for L{IAccount}."""
        if IAccount not in interfaces:
            raise NotImplementedError("this realm has accounts only")
        return Deferred.fromCoroutine(self._open(bytes(avatarId).decode("utf-8")))

    async def _open(self, name: str) -> tuple[type[Interface], Any, Callable[[], None]]:
        return IAccount, await self.accountOf(name), lambda: None

    async def accountOf(self, name: str) -> IAccount:
        """
        @return: a user's account; so the application can look into it too.
        """
        directory = self._store.directory
        address = Address(name, self._domain)
        record = await directory.findAccount(address)
        if record is None:
            if await directory.findDomain(self._domain) is None:
                await directory.addDomain(self._domain)
            try:
                # No password: the directory's own checker isn't used.
                record = await directory.addAccount(address, None)
            except AlreadyExists:
                # By another first login at the same time.
                return await self.accountOf(name)
        return await self._store.openAccount(record.accountId)


def makePortal(
    store: IMailStore, domain: str, users: Mapping[str, User], hasher: IPasswordHasher
) -> Portal:
    """
    @return: what the factories take.
    """
    return Portal(UserRealm(store, domain), [UserChecker(users, hasher)])
