# -*- test-case-name: tests.storage.test_memory -*-
"""
Keys of mailboxes in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from secrets import token_bytes
from typing import TYPE_CHECKING

from zope.interface import implementer

from twisted_mailstack.errors import NoSuchMailbox
from twisted_mailstack.interfaces import IURLKeys
from twisted_mailstack.model.records import URL_KEY_OCTETS

if TYPE_CHECKING:
    from twisted_mailstack.storage.memory import MemoryMailStore


@implementer(IURLKeys)
class MemoryURLKeys:
    """See L{IURLKeys}."""

    def __init__(self, store: MemoryMailStore) -> None:
        self._store = store
        self._keys: dict[str, bytes] = {}

    def _ids(self, accountId: str | None = None) -> Iterator[str]:
        for account in self._store.accounts.values():
            if accountId in (None, account.accountId):
                for box in account.boxes.values():
                    if box.selectable:
                        yield box.mailboxId

    async def key(self, mailboxId: str, make: bool) -> bytes | None:
        """See L{IURLKeys}."""
        if mailboxId not in self._ids():
            if make:
                raise NoSuchMailbox()
            return None
        if make and mailboxId not in self._keys:
            self._keys[mailboxId] = token_bytes(URL_KEY_OCTETS)
        return self._keys.get(mailboxId)

    async def forget(self, mailboxId: str) -> None:
        """See L{IURLKeys}."""
        self._keys.pop(mailboxId, None)

    async def forgetAll(self, accountId: str) -> None:
        """See L{IURLKeys}."""
        for mailboxId in self._ids(accountId):
            self._keys.pop(mailboxId, None)
