# -*- test-case-name: tests.storage.test_annotations -*-
"""
Metadata entries (RFC 5464) of an account of the SQL store and its mailboxes.

Mailbox 0 is the account itself, reader 0 is everybody. An entry that was removed stays, without a
value, so that L{metadataChangesSince<twisted_mailstack.interfaces.IMetadataAccount>} can tell of
it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from twisted_mailstack.errors import CannotDoThat
from twisted_mailstack.model.records import MetadataChange
from twisted_mailstack.storage.sql.mailbox import nextModSeq
from twisted_mailstack.storage.sql.writer import Transaction

PRIVATE = "/private/"
#: Removed entries that are remembered, of a mailbox and a reader.
MAX_REMOVED = 100

_THERE = " WHERE account = ? AND mailbox = ? AND reader IN (0, ?) AND value IS NOT NULL"


class Metadata:
    """
    The entries of an account.
    """

    def __init__(self, account: int) -> None:
        self._account = account

    def _number(self, reader: str | None) -> int:
        return self._account if reader is None else int(reader[1:])

    def sizes(self, connection: Any, mailbox: int, reader: str | None) -> Mapping[str, int]:
        """See L{IMetadataAccount<twisted_mailstack.interfaces.IMetadataAccount>}."""
        return dict(
            connection.execute(
                "SELECT entry, length(value) FROM metadata" + _THERE,
                (self._account, mailbox, self._number(reader)),
            ).fetchall()
        )

    def get(
        self, connection: Any, mailbox: int, names: Collection[str], reader: str | None
    ) -> Mapping[str, bytes]:
        """See L{IMetadataAccount<twisted_mailstack.interfaces.IMetadataAccount>}."""
        whose = self._number(reader)
        found: dict[str, bytes] = {}
        for name in names:
            row = connection.execute(
                "SELECT value FROM metadata" + _THERE + " AND entry = ?",
                (self._account, mailbox, whose, name),
            ).fetchone()
            if row is not None:
                found[name] = row[0]
        return found

    def set(
        self,
        transaction: Transaction,
        mailbox: int,
        values: Mapping[str, bytes | None],
        limit: int,
        reader: str | None,
    ) -> int:
        """See L{IMetadataAccount<twisted_mailstack.interfaces.IMetadataAccount>}."""
        whose = self._number(reader)
        there = self.sizes(transaction, mailbox, reader).keys()
        after = there | {name for name, value in values.items() if value is not None}
        after -= {name for name, value in values.items() if value is None}
        if len(after) > limit and not after <= there:
            raise CannotDoThat("Too many metadata entries", imapCode="METADATA TOOMANY")
        modSeq = nextModSeq(transaction, self._account)
        transaction.executemany(
            "INSERT OR REPLACE INTO metadata (account, mailbox, entry, reader, value, mod_seq)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    *(self._account, mailbox, name),
                    *(whose if name.startswith(PRIVATE) else 0, value, modSeq),
                )
                for name, value in values.items()
                if value is not None or name in there
            ],
        )
        for each in (0, whose):
            removed = transaction.execute(
                "SELECT entry FROM metadata WHERE account = ? AND mailbox = ? AND reader = ?"
                " AND value IS NULL ORDER BY mod_seq DESC LIMIT -1 OFFSET ?",
                (self._account, mailbox, each, MAX_REMOVED),
            ).fetchall()
            transaction.executemany(
                "DELETE FROM metadata WHERE account = ? AND mailbox = ? AND reader = ?"
                " AND entry = ?",
                [(self._account, mailbox, each, *row) for row in removed],
            )
        if mailbox:
            transaction.execute(
                "UPDATE mailbox SET mod_seq = ? WHERE account = ? AND mailbox = ? AND selectable",
                (modSeq, self._account, mailbox),
            )
            transaction.changed.add((self._account, mailbox))
        transaction.changed.add((self._account, 0))
        return modSeq

    def changesSince(
        self, connection: Any, modSeq: int, reader: str | None
    ) -> Sequence[MetadataChange]:
        """See L{IMetadataAccount<twisted_mailstack.interfaces.IMetadataAccount>}."""
        return [
            MetadataChange(*row)
            for row in connection.execute(
                "SELECT m.mod_seq, coalesce(b.name, ''), m.entry"
                " FROM metadata m INDEXED BY metadata_mod_seq"
                " LEFT JOIN mailbox b ON b.account = m.account AND b.mailbox = m.mailbox"
                " WHERE m.account = ? AND m.mod_seq > ? AND m.reader IN (0, ?)"
                " ORDER BY 1, 2, 3",
                (self._account, modSeq, self._number(reader)),
            )
        ]

    def forget(self, transaction: Transaction, mailbox: int) -> None:
        """
        A mailbox is gone.
        """
        transaction.execute(
            "DELETE FROM metadata WHERE account = ? AND mailbox = ?", (self._account, mailbox)
        )

    def copy(self, transaction: Transaction, source: int, target: int, modSeq: int) -> None:
        """
        A mailbox gets what another has.
        """
        transaction.execute(
            "INSERT INTO metadata (account, mailbox, entry, reader, value, mod_seq)"
            " SELECT account, ?, entry, reader, value, ? FROM metadata"
            " WHERE account = ? AND mailbox = ? AND value IS NOT NULL",
            (target, modSeq, self._account, source),
        )
