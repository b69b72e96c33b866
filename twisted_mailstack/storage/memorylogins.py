# -*- test-case-name: tests.storage.test_memory -*-
"""
Recent logins in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zope.interface import implementer

from twisted_mailstack.interfaces import ILoginHistory
from twisted_mailstack.model.records import KEPT_LOGINS, KEPT_STRAY_LOGINS, LoginRecord


@implementer(ILoginHistory)
class MemoryLoginHistory:
    """See L{ILoginHistory}."""

    def __init__(self, exists: Callable[[str], bool]) -> None:
        """
        @param exists: whether there is an account of that id.
        """
        self._exists = exists
        self._records: dict[str | None, list[LoginRecord]] = {}

    async def record(self, records: Sequence[LoginRecord]) -> None:
        """See L{ILoginHistory}."""
        for each in records:
            if each.accountId is None or self._exists(each.accountId):
                kept = self._records.setdefault(each.accountId, [])
                kept.append(each)
                del kept[: -(KEPT_STRAY_LOGINS if each.accountId is None else KEPT_LOGINS)]

    async def recent(self, accountId: str | None, limit: int) -> Sequence[LoginRecord]:
        """See L{ILoginHistory}."""
        if accountId is not None and not self._exists(accountId):
            return []
        return self._records.get(accountId, [])[::-1][: max(limit, 0)]
