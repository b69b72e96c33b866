# -*- test-case-name: tests.storage.test_sql -*-
"""
Recent logins in the SQL store: so many of each account, and of names that nobody has (account 0).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from zope.interface import implementer

from twisted_mailstack.interfaces import ILoginHistory
from twisted_mailstack.model.records import KEPT_LOGINS, KEPT_STRAY_LOGINS, LoginRecord
from twisted_mailstack.storage.sql.writer import Transaction

if TYPE_CHECKING:
    from twisted_mailstack.storage.sql.store import SQLMailStore

_ACCOUNT_ID = re.compile(r"A([1-9][0-9]{0,17})\Z")
#: Of names that nobody has.
NOBODY = 0


@implementer(ILoginHistory)
class SQLLoginHistory:
    """See L{ILoginHistory}."""

    def __init__(self, store: SQLMailStore) -> None:
        self._store = store

    async def record(self, records: Sequence[LoginRecord]) -> None:
        """See L{ILoginHistory}."""

        def change(transaction: Transaction) -> None:
            accounts = set()
            for each in records:
                account = NOBODY if each.accountId is None else _number(each.accountId)
                if (
                    account != NOBODY
                    and not transaction.execute(
                        "SELECT 1 FROM account WHERE account = ?", (account,)
                    ).fetchone()
                ):
                    continue
                accounts.add(account)
                transaction.execute(
                    "INSERT INTO login SELECT ?, coalesce(max(number), 0) + 1, ?, ?, ?, ?, ?, ?, ?"
                    " FROM login WHERE account = ?",
                    (account, each.when, *each[2:], account),
                )
            for account in accounts:
                kept = KEPT_STRAY_LOGINS if account == NOBODY else KEPT_LOGINS
                transaction.execute(
                    "DELETE FROM login WHERE account = ? AND number <="
                    " (SELECT max(number) FROM login WHERE account = ?) - ?",
                    (account, account, kept),
                )

        await self._store.writer.submit(change)

    async def recent(self, accountId: str | None, limit: int) -> Sequence[LoginRecord]:
        """See L{ILoginHistory}."""
        account = NOBODY if accountId is None else _number(accountId)
        rows = self._store.reader.execute(
            "SELECT at, name, service, peer, mechanism, success, credential FROM login"
            " WHERE account = ? ORDER BY number DESC LIMIT ?",
            (account, max(limit, 0)),
        ).fetchall()
        return [
            LoginRecord(at, accountId, name, service, peer, mechanism, bool(success), credential)
            for at, name, service, peer, mechanism, success, credential in rows
        ]


def _number(accountId: str) -> int:
    match = _ACCOUNT_ID.match(accountId)
    return int(match[1]) if match else -1
