# -*- test-case-name: tests.auth.test_realm -*-
"""
The realm (twisted.cred) over a store: every protocol's avatar is the account.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred
from zope.interface import Interface, implementer

from twisted_mailstack.interfaces import IAccount, IMailStore, ISharingStore
from twisted_mailstack.model.address import Address, foldLocalPart
from twisted_mailstack.sharing.account import SharingAccount


@implementer(IRealm)
class MailRealm:
    """
    Gives out the accounts of a store, each with what others share with it where the store can do
    that (L{ISharingStore}).
    """

    def __init__(
        self,
        store: IMailStore,
        administrators: Collection[Address] = (),
        defaultDomain: str | None = None,
    ) -> None:
        """
        @param administrators: accounts that may change quotas.
        @param defaultDomain: of names of accounts without one, as people write them.
        """
        self._store = store
        self._administrators = frozenset(map(_key, administrators))
        self._defaultDomain = defaultDomain

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
        if ISharingStore.providedBy(self._store):
            sharing: Any = self._store
            account = SharingAccount(
                account,
                sharing,
                administrator=_key(account.address) in self._administrators,
                defaultDomain=self._defaultDomain,
            )
        return IAccount, account, lambda: None


def _key(address: Address) -> tuple[str, str]:
    return address.domain, foldLocalPart(address.localPart)
