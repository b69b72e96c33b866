"""
A realm over the user table of a web application, here Django's: who may log in there reads mail
here with the same password.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred
from zope.interface import Interface, implementer

from twisted_mailstack.interfaces import IAccount, IMailStore, IPasswordHasher
from twisted_mailstack.model.address import Address

QUERY = "SELECT password FROM auth_user WHERE username = ? AND is_active"


@implementer(IRealm, ICredentialsChecker)
class WebUsers:
    """Knows the users' passwords, and gives each an account, made at the first login."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, path: str, store: IMailStore, hasher: IPasswordHasher, domain: str) -> None:
        self._users = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        self._store, self._hasher, self._domain = store, hasher, domain

    def requestAvatarId(self, credentials: IUsernamePassword) -> Deferred[bytes | tuple[()]]:
        return Deferred.fromCoroutine(self._check(credentials.username, credentials.password))

    async def _check(self, name: bytes, password: bytes) -> bytes:
        found = self._users.execute(QUERY, (name.decode("utf-8", "replace"),)).fetchone()
        # For unknown names, too: nobody learns from the time it takes which there are.
        if await self._hasher.verify(found and found[0], password) and found:
            return name
        raise UnauthorizedLogin()

    def requestAvatar(self, avatarId: Any, mind: object, *interfaces: type[Interface]) -> Any:
        return Deferred.fromCoroutine(self._open(avatarId.decode("utf-8")))

    async def _open(self, name: str) -> tuple[type[Interface], IAccount, Any]:
        directory, address = self._store.directory, Address(name, self._domain)
        record = await directory.findAccount(address) or await directory.addAccount(address, None)
        return IAccount, await self._store.openAccount(record.accountId), lambda: None


def makePortal(path: str, store: IMailStore, hasher: IPasswordHasher, domain: str) -> Portal:
    """The portal of the three protocols' factories. The domain is in the store's directory."""
    users = WebUsers(path, store, hasher, domain)
    return Portal(users, [users])
