# -*- test-case-name: tests.storage.test_sqlcheck -*-
"""
The integrity check: looks at all that is stored and names what is damaged, in an operator's words.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterator

from twisted_mailstack.model.flags import DELETED, SEEN
from twisted_mailstack.model.records import Damage
from twisted_mailstack.storage.sql.schema import PIECES

#: The most findings that are listed.
MAX_FINDINGS = 1000


def checkDatabase(
    connection: sqlite3.Connection, progress: Callable[[int, int], None] | None = None
) -> list[Damage]:
    """
    @param progress: called with the contents looked at and how many there are.
    @return: what was found, at most L{MAX_FINDINGS}.
    """
    found: list[Damage] = []
    # One instant for all of it, so that what changes meanwhile looks like no damage.
    connection.execute("BEGIN")
    try:
        for check in (_database, _mailboxes, _entries, _messages, _accounts, _queue):
            found += _guarded(lambda check=check: list(check(connection)))  # type: ignore[misc]
        found += _guarded(lambda: list(_contents(connection, progress)))
    finally:
        connection.execute("ROLLBACK")
    return found[:MAX_FINDINGS]


def _guarded(check: Callable[[], list[Damage]]) -> list[Damage]:
    try:
        return check()
    except sqlite3.DatabaseError as error:
        return [
            Damage(
                "the database file",
                f"can't be read: {error}; export what is left and restore a backup",
            )
        ]


def _database(connection: sqlite3.Connection) -> Iterator[Damage]:
    for (line,) in connection.execute("PRAGMA integrity_check(100)"):
        if line != "ok":
            yield Damage("the database file", f"{line}; export what is left, restore a backup")


_NAME = "a.local_part || '@' || a.domain || ', mailbox ' || b.name"


def _mailboxes(connection: sqlite3.Connection) -> Iterator[Damage]:
    rows = connection.execute(
        f"SELECT {_NAME}, b.messages, b.unseen, b.deleted, b.octets, b.uid_next, b.mod_seq,"
        " a.mod_seq, count(e.uid), coalesce(sum((' ' || e.flags || ' ') NOT LIKE ?), 0),"
        " coalesce(sum((' ' || e.flags || ' ') LIKE ?), 0), coalesce(sum(m.octets), 0),"
        " coalesce(max(e.uid), 0), coalesce(max(e.mod_seq), 0)"
        " FROM mailbox b JOIN account a ON a.account = b.account"
        " LEFT JOIN entry e ON e.account = b.account AND e.mailbox = b.mailbox"
        " LEFT JOIN message m ON m.account = e.account AND m.message = e.message"
        " GROUP BY b.account, b.mailbox",
        (f"% {SEEN} %", f"% {DELETED} %"),
    )
    for row in rows:
        where, kept, counted = row[0], row[1:5], row[8:12]
        for name, has, should in zip(
            ("messages", "unseen messages", "deleted messages", "octets"),
            kept,
            counted,
            strict=True,
        ):
            if has != should:
                yield Damage(where, f"counts {has} {name}, has {should}")
        if row[12] >= row[5]:
            yield Damage(where, f"has a UID {row[12]}, but the next is said to be {row[5]}")
        if row[13] > row[6] or row[6] > row[7]:
            yield Damage(where, f"modSeqs out of order: {row[13]}, {row[6]}, {row[7]}")


def _entries(connection: sqlite3.Connection) -> Iterator[Damage]:
    rows = connection.execute(
        "SELECT e.account, e.mailbox, e.uid, b.name, a.local_part || '@' || a.domain, m.message"
        " FROM entry e"
        " LEFT JOIN mailbox b ON b.account = e.account AND b.mailbox = e.mailbox"
        " LEFT JOIN account a ON a.account = e.account"
        " LEFT JOIN message m ON m.account = e.account AND m.message = e.message"
        " WHERE b.name IS NULL OR a.domain IS NULL OR m.message IS NULL"
    )
    for account, mailbox, uid, name, address, message in rows:
        where = f"{address or f'account A{account}'}, mailbox {name or mailbox}, UID {uid}"
        if message is None:
            yield Damage(where, "its message is missing")
        else:
            yield Damage(where, "belongs to no mailbox")


def _messages(connection: sqlite3.Connection) -> Iterator[Damage]:
    rows = connection.execute(
        "SELECT m.account, m.message, m.copies, count(e.uid), m.octets - length(m.prefix),"
        " c.octets, c.content FROM message m"
        " LEFT JOIN content c ON c.content = m.content"
        " LEFT JOIN (SELECT account, message, uid FROM entry) e"
        " ON e.account = m.account AND e.message = m.message"
        " GROUP BY m.account, m.message"
    )
    for account, message, copies, entries, octets, size, content in rows:
        where = f"account A{account}, message E{account}-{message}"
        if copies != entries:
            yield Damage(where, f"counts {copies} copies, has {entries}")
        if content is None:
            yield Damage(where, "its content is missing")
        elif octets != size:
            yield Damage(where, f"says {octets} octets, its content {size}")


def _accounts(connection: sqlite3.Connection) -> Iterator[Damage]:
    rows = connection.execute(
        "SELECT a.local_part || '@' || a.domain, a.messages, a.octets,"
        " coalesce(sum(b.messages), 0), coalesce(sum(b.octets), 0),"
        " coalesce(sum(b.name = 'INBOX' AND b.selectable), 0)"
        " FROM account a LEFT JOIN mailbox b ON b.account = a.account GROUP BY a.account"
    )
    for address, messages, octets, inMailboxes, octetsInMailboxes, inboxes in rows:
        if (messages, octets) != (inMailboxes, octetsInMailboxes):
            yield Damage(
                address,
                f"counts {messages} messages and {octets} octets,"
                f" its mailboxes {inMailboxes} and {octetsInMailboxes}",
            )
        if not inboxes:
            yield Damage(address, "has no INBOX")


def _queue(connection: sqlite3.Connection) -> Iterator[Damage]:
    rows = connection.execute(
        "SELECT q.queue_id, q.waiting, q.octets - length(q.prefix), c.octets, c.content,"
        " (SELECT count(*) FROM queued_recipient r WHERE r.message = q.message)"
        " FROM queued q LEFT JOIN content c ON c.content = q.content"
    )
    for queueId, waiting, octets, size, content, recipients in rows:
        where = f"queued message {queueId}"
        if waiting != recipients or not recipients:
            yield Damage(where, f"counts {waiting} waiting recipients, has {recipients}")
        if content is None:
            yield Damage(where, "its content is missing")
        elif octets != size:
            yield Damage(where, f"says {octets} octets, its content {size}")
    for message, address in connection.execute(
        "SELECT r.message, r.local_part || '@' || r.domain FROM queued_recipient r"
        " LEFT JOIN queued q ON q.message = r.message WHERE q.message IS NULL"
    ):
        yield Damage(f"queued recipient {address}", f"its message {message} is missing")


def _contents(
    connection: sqlite3.Connection, progress: Callable[[int, int], None] | None
) -> Iterator[Damage]:
    (whole,) = connection.execute("SELECT count(*) FROM content").fetchone()
    used = dict(
        connection.execute(
            "SELECT content, count(*) FROM"
            " (SELECT content FROM message UNION ALL SELECT content FROM queued) GROUP BY content"
        )
    )
    rows = connection.execute(
        "SELECT content, copies, octets, checksum FROM content ORDER BY content"
    )
    for done, (content, copies, octets, checksum) in enumerate(rows):
        if progress is not None and done % 500 == 0:
            progress(done, whole)
        if copies != used.get(content, 0):
            yield Damage(f"content {content}", f"counts {copies} uses, has {used.get(content, 0)}")
        if copies == 0:
            # Being written, or about to be removed.
            continue
        size = crc = 0
        try:
            for (data,) in connection.execute(
                "SELECT data FROM chunk WHERE piece BETWEEN ? AND ? ORDER BY piece",
                (content * PIECES, content * PIECES + PIECES - 1),
            ):
                size += len(data)
                crc = zlib.crc32(data, crc)
        except sqlite3.DatabaseError as error:
            yield Damage(_whose(connection, content), f"its octets can't be read: {error}")
            continue
        if size != octets:
            yield Damage(_whose(connection, content), f"has {size} of {octets} octets")
        elif crc != checksum:
            yield Damage(_whose(connection, content), "its octets are not those that were stored")
    orphans = connection.execute(
        f"SELECT DISTINCT piece / {PIECES} FROM chunk"
        f" WHERE piece / {PIECES} NOT IN (SELECT content FROM content)"
    ).fetchall()
    for (content,) in orphans:
        yield Damage(f"content {content}", "octets that belong to no message")
    if progress is not None:
        progress(whole, whole)


def _whose(connection: sqlite3.Connection, content: int) -> str:
    rows = connection.execute(
        f"SELECT {_NAME} || ', UID ' || e.uid FROM message m"
        " JOIN account a ON a.account = m.account"
        " JOIN entry e ON e.account = m.account AND e.message = m.message"
        " JOIN mailbox b ON b.account = e.account AND b.mailbox = e.mailbox"
        " WHERE m.content = ?1"
        " UNION ALL SELECT 'queued message ' || queue_id FROM queued WHERE content = ?1 LIMIT 20",
        (content,),
    ).fetchall()
    return "; ".join(row[0] for row in rows) or f"content {content}"
