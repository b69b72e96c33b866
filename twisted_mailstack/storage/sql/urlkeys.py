# -*- test-case-name: tests.storage.test_sql -*-
"""
Keys of mailboxes in the SQL store. They go with their mailboxes.
"""

from __future__ import annotations

import re
from secrets import token_bytes
from typing import TYPE_CHECKING

from zope.interface import implementer

from twisted_mailstack.errors import NoSuchMailbox
from twisted_mailstack.interfaces import IURLKeys
from twisted_mailstack.model.records import URL_KEY_OCTETS
from twisted_mailstack.storage.sql.writer import Transaction

if TYPE_CHECKING:
    from twisted_mailstack.storage.sql.store import SQLMailStore

_MAILBOX_ID = re.compile(r"M([1-9][0-9]{0,17})-([1-9][0-9]{0,17})\Z")
_ACCOUNT_ID = re.compile(r"A([1-9][0-9]{0,17})\Z")
_SELECT = "SELECT key FROM url_key WHERE account = ? AND mailbox = ?"


@implementer(IURLKeys)
class SQLURLKeys:
    """See L{IURLKeys}."""

    def __init__(self, store: SQLMailStore) -> None:
        self._store = store

    async def key(self, mailboxId: str, make: bool) -> bytes | None:
        """See L{IURLKeys}."""
        match = _MAILBOX_ID.match(mailboxId)
        numbers = (int(match[1]), int(match[2])) if match else (-1, -1)
        row = self._store.reader.execute(_SELECT, numbers).fetchone()
        if row is not None or not make:
            return None if row is None else bytes(row[0])

        def change(transaction: Transaction) -> bytes:
            if not transaction.execute(
                "SELECT 1 FROM mailbox WHERE account = ? AND mailbox = ? AND selectable", numbers
            ).fetchone():
                raise NoSuchMailbox()
            transaction.execute(
                "INSERT OR IGNORE INTO url_key VALUES (?, ?, ?)",
                (*numbers, token_bytes(URL_KEY_OCTETS)),
            )
            # Somebody else's, who was faster.
            return bytes(transaction.execute(_SELECT, numbers).fetchone()[0])

        made: bytes = await self._store.writer.submit(change)
        return made

    async def forget(self, mailboxId: str) -> None:
        """See L{IURLKeys}."""
        match = _MAILBOX_ID.match(mailboxId)
        if match:
            numbers = int(match[1]), int(match[2])
            await self._store.writer.submit(lambda transaction: forgetURLKey(transaction, *numbers))

    async def forgetAll(self, accountId: str) -> None:
        """See L{IURLKeys}."""
        match = _ACCOUNT_ID.match(accountId)
        if match:
            numbers = (int(match[1]),)

            def change(transaction: Transaction) -> None:
                transaction.execute("DELETE FROM url_key WHERE account = ?", numbers)

            await self._store.writer.submit(change)


def forgetURLKey(transaction: Transaction, account: int, mailbox: int) -> None:
    """
    A mailbox is gone, or what its key authorised is to be void.
    """
    transaction.execute("DELETE FROM url_key WHERE account = ? AND mailbox = ?", (account, mailbox))
