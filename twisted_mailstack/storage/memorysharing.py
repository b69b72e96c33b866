# -*- test-case-name: tests.storage.test_memory -*-
"""
Access control lists of the memory store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from twisted.logger import Logger
from zope.interface import implementer

from twisted_mailstack.errors import AlreadyExists, CannotDoThat, NoSuchAccount, NoSuchMailbox
from twisted_mailstack.interfaces import IAccessControl
from twisted_mailstack.model.flags import FlagOperation
from twisted_mailstack.model.rights import (
    MAX_ENTRIES,
    NO_RIGHTS,
    Rights,
    SharedMailbox,
    withNegative,
)

if TYPE_CHECKING:
    from twisted_mailstack.storage.memory import Box, MemoryAccount, MemoryMailStore


@implementer(IAccessControl)
class MemoryAccessControl:
    """See L{IAccessControl}."""

    log = Logger()

    def __init__(self, store: MemoryMailStore) -> None:
        self._store = store
        self._published: dict[str, str] = {}
        self._watchers: dict[object, Callable[[], None]] = {}

    def _find(self, mailboxId: str) -> tuple[MemoryAccount, Box] | None:
        for account in self._store.accounts.values():
            for box in account.boxes.values():
                if box.mailboxId == mailboxId and box.selectable:
                    return account, box
        return None

    async def entries(
        self, mailboxId: str, identifiers: Collection[str] | None = None
    ) -> Mapping[str, Rights]:
        """See L{IAccessControl}."""
        found = self._find(mailboxId)
        return {} if found is None else _chosen(found[1], identifiers)

    async def change(
        self, mailboxId: str, identifier: str, operation: FlagOperation, rights: Rights
    ) -> None:
        """See L{IAccessControl}."""
        old = await self.entries(mailboxId)
        changed = operation.apply(old.get(identifier, NO_RIGHTS), rights)
        await self.replace(mailboxId, {**old, identifier: changed})

    async def replace(self, mailboxId: str, entries: Mapping[str, Rights]) -> None:
        """See L{IAccessControl}."""
        found = self._find(mailboxId)
        if found is None:
            raise NoSuchMailbox()
        account, box = found
        kept = {identifier: rights for identifier, rights in entries.items() if rights}
        if len(kept) > MAX_ENTRIES:
            raise CannotDoThat("The access control list is too long", imapCode="LIMIT")
        box.access = kept
        self._store.changed(account, box)
        self._store.tell()
        self._tell()

    async def shared(self, identifiers: Collection[str]) -> Sequence[SharedMailbox]:
        """See L{IAccessControl}."""
        names = {accountId: name for name, accountId in self._published.items()}
        return [
            SharedMailbox(
                account.accountId,
                account.address,
                names.get(account.accountId),
                account.info(box)._replace(subscribed=False, specialUse=None),
                found,
            )
            for account in self._store.accounts.values()
            for box in account.boxes.values()
            if (found := _chosen(box, identifiers))
        ]

    async def publish(self, accountId: str, name: str | None) -> None:
        """See L{IAccessControl}."""
        if accountId not in self._store.accounts:
            raise NoSuchAccount()
        if name is not None and self._published.get(name, accountId) != accountId:
            raise AlreadyExists(f"Another account is public under the name {name}")
        self._withdraw(accountId)
        if name is not None:
            self._published[name] = accountId
        self._tell()

    def _withdraw(self, accountId: str) -> None:
        self._published = {n: each for n, each in self._published.items() if each != accountId}

    async def published(self, name: str) -> str | None:
        """See L{IAccessControl}."""
        return self._published.get(name)

    def forget(self, removed: MemoryAccount) -> None:
        """
        An account is removed: so is what is said of it.
        """
        self._withdraw(removed.accountId)
        for account in self._store.accounts.values():
            for box in account.boxes.values():
                for identifier in withNegative((str(removed.address),)):
                    if box.access.pop(identifier, None) is not None:
                        self._store.changed(account, box)
        self._tell()

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """See L{IAccessControl}."""
        token = object()
        self._watchers[token] = changed
        return lambda: cast(None, self._watchers.pop(token, None))

    def _tell(self) -> None:
        for changed in list(self._watchers.values()):
            try:
                changed()
            except Exception:
                self.log.failure("a watcher failed")


def _chosen(box: Box, identifiers: Collection[str] | None) -> dict[str, Rights]:
    return {
        identifier: rights
        for identifier, rights in sorted(box.access.items())
        if identifiers is None or identifier in identifiers
    }
