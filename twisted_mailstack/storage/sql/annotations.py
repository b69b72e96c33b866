# -*- test-case-name: tests.storage.test_messageannotations -*-
"""
Annotations of messages (RFC 5257) in the SQL store.

A row is what one reader (0 for everybody) has for one entry of one message. One that was removed
stays, without a value, so that it can be told; not more than L{MAX_REMOVED} of a message and a
reader. A mailbox that never had any says so in its own row, which each change reads anyway.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from twisted_mailstack.errors import CannotDoThat
from twisted_mailstack.model.flags import flagsFromText
from twisted_mailstack.model.records import (
    Annotation,
    AnnotationChange,
    AnnotationKey,
    AnnotationScope,
    StoreResult,
)
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.storage.sql.writer import Transaction

#: Removed annotations that are remembered, of a message and a reader.
MAX_REMOVED = 20

#: An account and one of its mailboxes.
Place = tuple[int, int]

_HERE = " WHERE account = ? AND mailbox = ?"
_VISIBLE = _HERE + " AND uid BETWEEN ? AND ? AND reader IN (0, ?) AND value IS NOT NULL"
_PUT = "INSERT OR REPLACE INTO annotation VALUES (?, ?, ?, ?, ?, ?, ?)"


def readerNumber(account: int, reader: str | None) -> int:
    """
    @param account: the mailbox's.
    @param reader: as of L{IAnnotatedMailbox<twisted_mailstack.interfaces.IAnnotatedMailbox>}.
    """
    return account if reader is None else int(reader[1:])


def readAnnotations(
    connection: Any, place: Place, uids: NumberSet, entries: Collection[str] | None, whose: int
) -> list[Annotation]:
    """See L{IAnnotatedMailbox.annotations}."""
    statement = "SELECT uid, entry, reader <> 0, value FROM annotation" + _VISIBLE
    if entries is not None:
        statement += f" AND entry IN ({', '.join('?' * len(entries))})"
    statement += " ORDER BY uid, entry, reader"
    return [
        Annotation(uid, entry, bool(private), bytes(value))
        for first, last in uids.ranges
        for uid, entry, private, value in connection.execute(
            statement, (*place, first, last, whose, *(entries or ()))
        ).fetchall()
    ]


def annotationOctets(connection: Any, account: int) -> int:
    """
    @return: the octets of all that an account's messages have.
    """
    octets: int = connection.execute(
        "SELECT coalesce(sum(length(value)), 0) FROM annotation WHERE account = ?", (account,)
    ).fetchone()[0]
    return octets


def annotatedMessages(connection: Any, place: Place, uids: NumberSet, whose: int) -> list[int]:
    """See L{IAnnotatedMailbox.annotatedMessages}."""
    return [
        row[0]
        for first, last in uids.ranges
        for row in connection.execute(
            "SELECT DISTINCT uid FROM annotation" + _VISIBLE + " ORDER BY uid",
            (*place, first, last, whose),
        ).fetchall()
    ]


def hasMoreChanges(connection: Any, place: Place, modSeq: int, than: int) -> bool:
    """
    @return: whether there are more changes after a modSeq.
    """
    row = connection.execute(
        "SELECT 1 FROM annotation INDEXED BY annotation_mod_seq"
        + _HERE
        + " AND mod_seq > ? ORDER BY mod_seq LIMIT 1 OFFSET ?",
        (*place, modSeq, than),
    ).fetchone()
    return row is not None


def changesSince(connection: Any, place: Place, modSeq: int, whose: int) -> list[AnnotationChange]:
    """See L{IAnnotatedMailbox.annotationChangesSince}."""
    return [
        AnnotationChange(*row)
        for row in connection.execute(
            "SELECT mod_seq, uid, entry FROM annotation INDEXED BY annotation_mod_seq"
            + _HERE
            + " AND mod_seq > ? AND reader IN (0, ?) ORDER BY 1, 2, 3",
            (*place, modSeq, whose),
        ).fetchall()
    ]


class Setting:
    """
    Annotations that are to be set in messages of one mailbox, in a transaction.
    """

    def __init__(
        self,
        transaction: Transaction,
        place: Place,
        values: Mapping[AnnotationKey, bytes | None],
        whose: int,
    ) -> None:
        self._transaction = transaction
        self._place = place
        self._values = {
            (entry, whose if private else 0): value for (entry, private), value in values.items()
        }
        self._whose = whose
        self.result = StoreResult([], [], [])
        # What is to be written once all is read, and the messages and readers of which too many
        # removed ones are then remembered.
        self._changes: list[tuple[int, str, int, bytes | None]] = []
        self._forgetful: list[tuple[int, int]] = []

    def compare(self, uids: NumberSet, limit: int, unchangedSince: int | None) -> None:
        """
        Find out what there is to change; C{result} then has it, with the old modSeqs.

        @raise CannotDoThat: if a message would have too many.
        """
        changed: list[Any] = []
        unchanged: list[Any] = []
        modified: list[int] = []
        for first, last in uids.ranges:
            rows = self._transaction.execute(
                "SELECT e.uid, e.flags, e.mod_seq, a.entry, a.reader, a.value, a.mod_seq"
                " FROM entry e LEFT JOIN annotation a ON a.account = e.account"
                " AND a.mailbox = e.mailbox AND a.uid = e.uid AND a.reader IN (0, ?)"
                " WHERE e.account = ? AND e.mailbox = ? AND e.uid BETWEEN ? AND ? ORDER BY e.uid",
                (self._whose, *self._place, first, last),
            )
            for (uid, flags, modSeq), found in groupby(rows, lambda row: row[:3]):
                there = {(row[3], row[4]): row[5:] for row in found if row[3] is not None}
                touched = [there[key][1] for key in self._values if key in there]
                if unchangedSince is not None and any(each > unchangedSince for each in touched):
                    modified.append(uid)
                    continue
                done = self._compareOne(uid, there, limit)
                (changed if done else unchanged).append((uid, flagsFromText(flags), modSeq))
        self.result = StoreResult(changed, unchanged, modified)

    def _compareOne(
        self, uid: int, there: Mapping[tuple[str, int], tuple[bytes | None, int]], limit: int
    ) -> bool:
        """
        @return: whether anything is another.
        """
        changes = [
            (uid, *key, value)
            for key, value in self._values.items()
            if value != (there[key][0] if key in there else None)
        ]
        before = {key for key, (value, _) in there.items() if value is not None}
        after = before | {change[1:3] for change in changes if change[3] is not None}
        after -= {change[1:3] for change in changes if change[3] is None}
        if len(after) > limit and not after <= before:
            raise CannotDoThat("Too many annotations", imapCode="ANNOTATE TOOMANY")
        self._changes += changes
        for reader in {change[2] for change in changes if change[3] is None}:
            removed = {key for key, (value, _) in there.items() if value is None}
            removed |= {change[1:3] for change in changes if change[3] is None}
            if sum(key[1] == reader for key in removed) > MAX_REMOVED:
                self._forgetful.append((uid, reader))
        return bool(changes)

    def write(self, modSeq: int) -> StoreResult:
        """
        Do it.

        @param modSeq: of this change.
        @return: C{result}, with the new modSeqs.
        """
        transaction, place = self._transaction, self._place
        changed = [(uid, flags, modSeq) for uid, flags, _ in self.result.changed]
        transaction.executemany(
            _PUT,
            [
                (*place, uid, entry, reader, value, modSeq)
                for uid, entry, reader, value in self._changes
            ],
        )
        transaction.executemany(
            "UPDATE entry SET mod_seq = ?" + _HERE + " AND uid = ?",
            [(modSeq, *place, uid) for uid, _, _ in changed],
        )
        # Without the unary plus, SQLite would walk all changes of the mailbox for the order.
        transaction.executemany(
            "DELETE FROM annotation"
            + _HERE
            + " AND uid = ? AND reader = ? AND entry IN (SELECT entry FROM annotation"
            + _HERE
            + " AND uid = ? AND reader = ? AND value IS NULL"
            " ORDER BY +mod_seq DESC LIMIT -1 OFFSET ?)",
            [
                (*place, uid, reader, *place, uid, reader, MAX_REMOVED)
                for uid, reader in self._forgetful
            ],
        )
        markAnnotated(transaction, place)
        return self.result._replace(changed=changed)


def markAnnotated(transaction: Transaction, place: Place) -> None:
    """
    From now on a mailbox has annotations.
    """
    transaction.execute("UPDATE mailbox SET annotated = 1" + _HERE + " AND NOT annotated", place)


def addAnnotations(
    transaction: Transaction,
    place: Place,
    given: Iterable[tuple[int, Mapping[AnnotationKey, bytes]]],
    whose: int,
    modSeq: int,
) -> None:
    """
    New messages have annotations.

    @param given: by UID.
    """
    rows = [
        (*place, uid, entry, whose if private else 0, value, modSeq)
        for uid, values in given
        for (entry, private), value in values.items()
    ]
    if rows:
        transaction.executemany(_PUT, rows)
        markAnnotated(transaction, place)


def copyAnnotations(
    transaction: Transaction,
    source: Place,
    target: Place,
    pairs: Sequence[tuple[int, int]],
    along: AnnotationScope | None,
    modSeq: int,
) -> None:
    """
    Copies of messages get what the messages have. The source must be marked as annotated.

    @param pairs: UIDs of message and copy.
    @param along: what goes along; C{None} for everything, whosever it is.
    """
    statement = (
        "INSERT INTO annotation SELECT ?, ?, ?, entry, reader, value, ? FROM annotation"
        + _HERE
        + " AND uid = ? AND value IS NOT NULL"
    )
    readers: tuple[int, ...] = ()
    if along is not None:
        # No account has the number -1.
        whose = readerNumber(source[0], along.reader) if along.private else -1
        readers = (whose, 0 if along.shared else -1)
        statement += " AND reader IN (?, ?)"
    transaction.executemany(
        statement, [(*target, new, modSeq, *source, uid, *readers) for uid, new in pairs]
    )
    markAnnotated(transaction, target)


def forgetAnnotations(transaction: Transaction, place: Place, uids: Iterable[int]) -> None:
    """
    Messages are gone.
    """
    transaction.executemany(
        "DELETE FROM annotation" + _HERE + " AND uid = ?", [(*place, uid) for uid in uids]
    )


def forgetReader(transaction: Transaction, account: int) -> None:
    """
    An account is gone, and what it noted in mailboxes of others.
    """
    transaction.execute(
        "DELETE FROM annotation WHERE reader = ? AND reader <> account AND reader <> 0", (account,)
    )
