# -*- test-case-name: tests.sharing.test_account -*-
"""
Being told of changes in mailboxes of others, while what may be seen of them changes too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from twisted_mailstack.interfaces import IAccount

Seen = Mapping[str, tuple[IAccount, object]]


class Watching:
    """
    Watches the mailboxes of others that an account sees, as C{IAccount.watch} says.
    """

    log = Logger()

    def __init__(self, look: Callable[[], Awaitable[Seen]], changed: Callable[[str], None]) -> None:
        """
        @param look: gives what is seen: by mailboxId the owner, and what else should be told if it
            changes.
        """
        self._look = look
        self._changed = changed
        self._seen: dict[str, object] = {}
        self._owners: dict[str, Callable[[], None]] = {}
        self._stopped = False
        self._looking = False
        self._again = False

    def refresh(self, tell: bool = True) -> None:
        """
        What is seen may be something else.

        @param tell: whether that is news.
        """
        if self._looking:
            self._again = True
            return
        self._looking = True
        Deferred.fromCoroutine(self._refresh(tell)).addErrback(
            lambda failure: self.log.failure("what others share can't be watched", failure)
        )

    async def _refresh(self, tell: bool) -> None:
        try:
            while not self._stopped:
                self._again = False
                seen = await self._look()
                if not self._again:
                    break
        finally:
            self._looking = False
        if self._stopped:
            return
        before, self._seen = self._seen, {key: what for key, (_, what) in seen.items()}
        owners = {owner.accountId: owner for owner, _ in seen.values()}
        for accountId in self._owners.keys() - owners.keys():
            self._owners.pop(accountId)()
        for accountId in owners.keys() - self._owners.keys():
            self._owners[accountId] = owners[accountId].watch(self._ownerChanged)
        if tell and before != self._seen:
            self._changed("")

    def _ownerChanged(self, mailboxId: str) -> None:
        if not mailboxId:
            self.refresh()
        elif mailboxId in self._seen:
            self._changed(mailboxId)

    def stop(self) -> None:
        """
        Be told nothing more. Idempotent.
        """
        self._stopped = True
        owners, self._owners = self._owners, {}
        for stop in owners.values():
            stop()
