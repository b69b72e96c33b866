# -*- test-case-name: tests.auth.test_realm -*-
"""
The realm (twisted.cred) over a store: every protocol's avatar is the account.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred
from zope.interface import Interface, implementer

from twisted_mailstack.interfaces import IAccount, IMailStore


@implementer(IRealm)
class MailRealm:
    """
    Gives out the accounts of a store.
    """

    def __init__(self, store: IMailStore) -> None:
        self._store = store

    def requestAvatar(
        self, avatarId: bytes | tuple[()], mind: object, *interfaces: type[Interface]
    ) -> Deferred[tuple[type[Interface], Any, Callable[[], None]]]:
        """
        @param avatarId: an accountId.
        @return: C{(IAccount, account, logout)}.
        """
        if IAccount not in interfaces:
            raise NotImplementedError("this realm has accounts only")
        return Deferred.fromCoroutine(self._open(bytes(avatarId).decode("ascii")))

    async def _open(self, accountId: str) -> tuple[type[Interface], Any, Callable[[], None]]:
        account = await self._store.openAccount(accountId)
        return IAccount, account, lambda: None
