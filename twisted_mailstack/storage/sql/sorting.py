# -*- test-case-name: tests.storage.test_sqlsorting -*-
"""
Sorting and threading by the database.

What messages are sorted by is in a narrow table of its own, a row for each content, written when
the content is placed: a whole mailbox is read of it in a few milliseconds. Contents that an older
release stored get their row when somebody sorts them.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterable, Sequence
from typing import Any

from twisted_mailstack.model.header import Header
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.model.sorting import (
    SortCriterion,
    SortKey,
    SortValues,
    ThreadRow,
    sortValues,
)
from twisted_mailstack.storage.sql.schema import PIECES
from twisted_mailstack.storage.sql.writer import Transaction

#: Messages up to which it runs in the reactor's thread.
FEW = 500
#: Contents whose row is made in one step.
SLICE = 200

_EXPRESSIONS = {
    SortKey.ARRIVAL: "e.internal_date",
    SortKey.CC: "coalesce(s.copy, '')",
    SortKey.DATE: "coalesce(s.sent_date, e.internal_date)",
    SortKey.DISPLAYFROM: "coalesce(s.display_from, '')",
    SortKey.DISPLAYTO: "coalesce(s.display_to, '')",
    SortKey.FROM: "coalesce(s.sender, '')",
    SortKey.SIZE: "m.octets",
    SortKey.SUBJECT: "coalesce(s.subject, '')",
    SortKey.TO: "coalesce(s.recipient, '')",
}
_MESSAGE = " JOIN message m ON m.account = e.account AND m.message = e.message"
_SORTING = " LEFT JOIN sorting s ON s.content = m.content"


def packValues(values: SortValues) -> tuple[Any, ...]:
    """
    @return: the row of C{sorting}, without the content.
    """
    return (*values[:9], array("Q", values.references).tobytes())


def storeValues(transaction: Transaction, content: int, values: SortValues) -> None:
    """
    Write a content's row.
    """
    transaction.execute(
        "INSERT OR REPLACE INTO sorting VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (content, *packValues(values)),
    )


def _unpackReferences(packed: bytes) -> array[int]:
    references = array("Q")
    references.frombytes(packed)
    return references


def sortedUids(
    connection: sqlite3.Connection,
    key: tuple[int, int],
    uids: NumberSet,
    criteria: Sequence[SortCriterion],
    known: bool,
) -> list[int] | None:
    """
    @param key: account and mailbox.
    @param known: rows of C{sorting} must not be missing.
    @return: those of the UIDs that are there, sorted; C{None} if such a row is missing.
    """
    order = [
        _EXPRESSIONS[criterion.key] + (" DESC" if criterion.reverse else "")
        for criterion in criteria
    ]
    text = " ".join(order)
    joins, missing = "", "0"
    if "m." in text or "s." in text:
        joins = _MESSAGE
    if "s." in text:
        joins += _SORTING
        missing = "s.content IS NULL"
    rows = list(
        _rows(
            connection,
            f"SELECT e.uid, {missing} FROM entry e{joins}",
            f" ORDER BY {', '.join([*order, 'e.uid'])}",
            key,
            uids,
        )
    )
    if known and any(row[1] for row in rows):
        return None
    return [row[0] for row in rows]


def threadRows(
    connection: sqlite3.Connection, key: tuple[int, int], uids: NumberSet, known: bool
) -> list[ThreadRow] | None:
    """
    @return: as L{sortedUids}, ascending by UID.
    """
    rows = _rows(
        connection,
        "SELECT e.uid, coalesce(s.sent_date, e.internal_date), e.internal_date, s.subject,"
        f" s.is_reply, s.identity, s.refs FROM entry e{_MESSAGE}{_SORTING}",
        " ORDER BY e.uid",
        key,
        uids,
    )
    found = []
    # Of messages in one thread it is the same.
    subjects: dict[str, str] = {}
    for uid, date, arrival, subject, isReply, identity, references in rows:
        if known and subject is None:
            return None
        subject = subject or ""
        found.append(
            ThreadRow(
                *(uid, date, arrival, subjects.setdefault(subject, subject), bool(isReply)),
                *(identity or 0, _unpackReferences(references) if references else ()),
            )
        )
    return found


def _rows(
    connection: sqlite3.Connection, head: str, tail: str, key: tuple[int, int], uids: NumberSet
) -> Iterable[Any]:
    ranges = uids.ranges
    where = " WHERE e.account = ? AND e.mailbox = ? AND e.uid "
    if len(ranges) == 1 or len(uids) > FEW:
        found = connection.execute(
            f"{head}{where}BETWEEN ? AND ?{tail}", (*key, ranges[0][0], ranges[-1][1])
        )
        if len(ranges) == 1:
            return found
        rows = found.fetchall()
        wanted = set(uids.select(sorted([row[0] for row in rows])))
        return [row for row in rows if row[0] in wanted]
    some = [uid for first, last in ranges for uid in range(first, last + 1)]
    return connection.execute(
        f"{head}{where}IN ({','.join('?' * len(some))}){tail}", (*key, *some)
    ).fetchall()


def missingContents(connection: sqlite3.Connection, key: tuple[int, int]) -> list[int]:
    """
    @return: the contents of a mailbox that have no row.
    """
    return [
        row[0]
        for row in connection.execute(
            f"SELECT DISTINCT m.content FROM entry e{_MESSAGE}{_SORTING}"
            " WHERE e.account = ? AND e.mailbox = ? AND s.content IS NULL",
            key,
        )
    ]


def findValues(
    connection: sqlite3.Connection, contents: Sequence[int]
) -> list[tuple[int, SortValues]]:
    """
    @return: what sorts these contents, found in their headers.
    """
    found = []
    for content in contents:
        row = connection.execute(
            "SELECT substr(k.data, 1, c.header_octets) FROM content c"
            f" LEFT JOIN chunk k ON k.piece = c.content * {PIECES} WHERE c.content = ?",
            (content,),
        ).fetchone()
        if row is not None:
            # Octets that are missing make it sort like an empty message.
            found.append((content, sortValues(Header(row[0] or b""))))
    return found
