# -*- test-case-name: tests.relay.test_records -*-
"""
What the relay remembers over restarts: the policies of MTA-STS that it fetched (RFC 8461 §5.1) and
the counters of TLS reports (RFC 8460), in a SQLite file of its own beside the store.

A file of its own, since none of it is mail: it isn't backed up, may be deleted, must not wait for
the store's writer, and the store must not wait for it. A database rather than a file that is
written anew, since what is added every few seconds is little and what is there may be much, and
since the C{mailstack} command reads it while the server writes.

What is written survives the end of the process at any instant, and is left to the operating system
to put on the disk, so that nothing here waits for one: after a loss of power the last of it may be
missing, which costs a policy that is fetched again and some counts.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from twisted_mailstack.relay.mtasts import CachedPolicy
from twisted_mailstack.relay.tlsrpt import ReportedPolicy, Session

#: Seconds to wait for another process that writes.
_BUSY = 0.5
_VERSION = 1
_SCHEMA = """
CREATE TABLE policy (
    domain TEXT PRIMARY KEY,
    policy_id TEXT NOT NULL,
    fetched INTEGER NOT NULL,
    content BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE session (
    day TEXT NOT NULL,
    domain TEXT NOT NULL,
    policy TEXT NOT NULL,
    result TEXT NOT NULL,
    host TEXT NOT NULL,
    address TEXT NOT NULL,
    reason TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (day, domain, policy, result, host, address, reason)
) WITHOUT ROWID;
"""


class RecordsProblem(Exception):
    """The file can't be used; the text says which and why."""


class RelayRecords:
    """
    The file. One process writes, any number may read.
    """

    def __init__(self, path: Path) -> None:
        """
        Open it, and make it if it isn't there.

        @raise RecordsProblem: if it can't be used.
        """
        self.path = path
        try:
            # Whom one's users write to is nobody else's business.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._database = sqlite3.connect(
                path, timeout=_BUSY, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
            except BaseException:
                self._database.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise RecordsProblem(f"{path}: {error}") from error

    def _prepare(self) -> None:
        database = self._database
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        with _Transaction(database):
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in _SCHEMA.split(";\n"):
                    if statement.strip():
                        database.execute(statement)
                database.execute(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                raise RecordsProblem(
                    f"{self.path} was written by another version of the server: delete it, and it"
                    " is made anew"
                )

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    # --- policies of MTA-STS -------------------------------------------------------------------

    def loadPolicy(self, domain: str) -> CachedPolicy | None:
        """See L{twisted_mailstack.relay.mtasts.IPolicyCache}."""
        row = self._database.execute(
            "SELECT policy_id, fetched, content FROM policy WHERE domain = ?", (domain,)
        ).fetchone()
        return None if row is None else CachedPolicy(domain, *row)

    def savePolicy(self, policy: CachedPolicy) -> None:
        """See L{twisted_mailstack.relay.mtasts.IPolicyCache}."""
        self._database.execute("INSERT OR REPLACE INTO policy VALUES (?, ?, ?, ?)", policy)

    def forgetPolicy(self, domain: str) -> None:
        """See L{twisted_mailstack.relay.mtasts.IPolicyCache}."""
        self._database.execute("DELETE FROM policy WHERE domain = ?", (domain,))

    # --- counters of TLS reports ---------------------------------------------------------------

    def addSessions(self, counted: Mapping[Session, int], keepFrom: str) -> None:
        """See L{twisted_mailstack.relay.tlsrpt.ISessionCounters}."""
        rows = [
            (
                session.day,
                session.domain,
                json.dumps(session.policy),
                session.result,
                session.host,
                session.address,
                session.reason,
                number,
            )
            for session, number in counted.items()
        ]
        with _Transaction(self._database):
            self._database.executemany(
                "INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET number = number + excluded.number",
                rows,
            )
            self._database.execute("DELETE FROM session WHERE day < ?", (keepFrom,))

    def sessions(self, day: str) -> Iterator[tuple[Session, int]]:
        """See L{twisted_mailstack.relay.tlsrpt.ISessionCounters}."""
        for domain, policy, result, host, address, reason, number in self._database.execute(
            "SELECT domain, policy, result, host, address, reason, number FROM session"
            " WHERE day = ?",
            (day,),
        ):
            kind, where, lines, hosts = json.loads(policy)
            reported = ReportedPolicy(kind, where, tuple(lines), tuple(hosts))
            yield Session(day, domain, reported, result, host, address, reason), number

    def days(self) -> list[str]:
        """
        @return: the days of which there are counters, in order.
        """
        return [
            day
            for (day,) in self._database.execute("SELECT DISTINCT day FROM session ORDER BY day")
        ]


class _Transaction:
    """
    All or nothing.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        try:
            if kind is None:
                self._database.execute("COMMIT")
        finally:
            # Also if it can't be committed; some errors have undone it already.
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
