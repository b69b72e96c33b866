# -*- test-case-name: tests.storage.test_restored -*-
"""
Copies that are restored. What the original gave out after it was copied, UIDs and ids, must not be
given to other messages: clients would take them for those that they know. So a copy is marked, and
when it is first opened all its mailboxes get new UIDVALIDITYs, and ids go on far behind the last
ones. Both follow the time, so that they are others whenever, and however often, one is restored.

Messages keep their MESSAGE_IDs, and so POP3's unique-ids.
"""

from __future__ import annotations

import sqlite3

#: "MSBK": what the database's header says of a copy that wasn't opened yet.
MARK = 0x4D53424B
#: Ids that an account can use up in each second between two restorations.
IDS = 1 << 20


def markCopy(connection: sqlite3.Connection) -> None:
    """
    @param connection: to a copy.
    """
    connection.execute(f"PRAGMA application_id = {MARK}")


def _isMarked(connection: sqlite3.Connection) -> bool:
    (found,) = connection.execute("PRAGMA application_id").fetchone()
    return bool(found == MARK)


def renew(connection: sqlite3.Connection, now: int) -> bool:
    """
    Make a copy a store of its own. Writes nothing if it is none.

    @param connection: to a database of the current schema, in autocommit mode.
    @param now: seconds since 1970.
    @return: whether it was one.
    """
    if not _isMarked(connection):
        return False
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Again: another process may have been faster.
        marked = _isMarked(connection)
        if marked:
            _renew(connection, now)
            connection.execute("PRAGMA application_id = 0")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return marked


def _renew(connection: sqlite3.Connection, now: int) -> None:
    for account, highest in connection.execute(
        "SELECT account, uid_validity FROM account"
    ).fetchall():
        uidValidity = max(highest, now)
        mailboxes = connection.execute(
            "SELECT mailbox FROM mailbox WHERE account = ? AND selectable ORDER BY uid_validity",
            (account,),
        ).fetchall()
        connection.executemany(
            "UPDATE mailbox SET uid_validity = ? WHERE account = ? AND mailbox = ?",
            [(uidValidity + at, account, row[0]) for at, row in enumerate(mailboxes, 1)],
        )
        connection.execute(
            "UPDATE account SET uid_validity = ?, next_id = max(next_id, ?) WHERE account = ?",
            (uidValidity + len(mailboxes), now * IDS, account),
        )
    # Accounts that were made since the copy have numbers, too, and their messages ids with them.
    connection.execute(
        "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'account'", (now,)
    )
    connection.execute(
        "INSERT INTO sqlite_sequence (name, seq) SELECT 'account', ?"
        " WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'account')",
        (now,),
    )
