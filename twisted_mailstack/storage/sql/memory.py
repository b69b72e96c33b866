# -*- test-case-name: tests.storage.test_sqlmemory -*-
"""
What a server remembers, in the mailboxes' database: one row a key. What is due to be forgotten goes
with the next changes, a few rows each, so there is nothing to be cleared up.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from zope.interface import implementer

from twisted_mailstack.interfaces import IKeyedMemory
from twisted_mailstack.storage.sql.writer import Transaction

if TYPE_CHECKING:
    from twisted_mailstack.storage.sql.store import SQLMailStore

Entry = tuple[str, int, int]

#: Rows that a change removes at most. More than it can bring, so that they don't gather.
FORGOTTEN = 50

_REPLACE = "INSERT OR REPLACE INTO remembered VALUES (?, ?, ?)"
_INTRODUCE = """
INSERT INTO remembered VALUES (?, ?, ?) ON CONFLICT (key)
DO UPDATE SET number = excluded.number, expires = excluded.expires WHERE expires <= ?
"""
_ADD = """
INSERT INTO remembered VALUES (?, ?, ?) ON CONFLICT (key)
DO UPDATE SET number = excluded.number + CASE WHEN expires > ? THEN number ELSE 0 END,
    expires = max(expires, excluded.expires)
"""


@implementer(IKeyedMemory)
class SQLMemory:
    """
    See L{IKeyedMemory}.
    """

    def __init__(self, store: SQLMailStore) -> None:
        self._store = store

    async def recall(self, keys: Collection[str]) -> Mapping[str, int]:
        """See L{IKeyedMemory}."""
        now = int(self._store.now())
        execute = self._store.reader.execute
        found = {}
        for key in keys:
            row = execute(
                "SELECT number FROM remembered WHERE key = ? AND expires > ?", (key, now)
            ).fetchone()
            if row is not None:
                found[key] = row[0]
        return found

    async def remember(self, entries: Sequence[Entry]) -> None:
        """See L{IKeyedMemory}."""

        def change(transaction: Transaction) -> None:
            self._forget(transaction, len(entries))
            transaction.executemany(_REPLACE, entries)

        await self._store.writer.submit(change)

    async def introduce(self, entries: Sequence[Entry]) -> Mapping[str, int]:
        """See L{IKeyedMemory}."""
        return await self._upsert(_INTRODUCE, entries)

    async def add(self, entries: Sequence[Entry]) -> Mapping[str, int]:
        """See L{IKeyedMemory}."""
        return await self._upsert(_ADD, entries)

    async def _upsert(self, statement: str, entries: Sequence[Entry]) -> Mapping[str, int]:
        def change(transaction: Transaction) -> dict[str, int]:
            now = self._forget(transaction, len(entries))
            transaction.executemany(statement, [(*entry, now) for entry in entries])
            found = {}
            for key, _, _ in entries:
                (found[key],) = transaction.execute(
                    "SELECT number FROM remembered WHERE key = ?", (key,)
                ).fetchone()
            return found

        return await self._store.writer.submit(change)

    def _forget(self, transaction: Transaction, entries: int) -> int:
        now = int(self._store.now())
        transaction.execute(
            "DELETE FROM remembered WHERE key IN"
            " (SELECT key FROM remembered WHERE expires <= ? LIMIT ?)",
            (now, FORGOTTEN + entries),
        )
        return now
