# -*- test-case-name: tests.storage.test_sql -*-
"""
Connections to the database, and what its failures mean to whoever asked.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_mailstack.errors import MailError, StoreDamaged, TemporaryFailure

T = TypeVar("T")

log = Logger()


def explain(error: sqlite3.Error) -> MailError:
    """
    Log a failure of the database, for the operator.

    @return: what the peer is told.
    """
    # The primary result code is the low octet of an extended one.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        log.critical(
            "the database is damaged: {error}; run: mailstack check", error=error, code=code
        )
        return StoreDamaged()
    if code == sqlite3.SQLITE_FULL:
        log.critical("no room for mail: {error}", error=error, code=code)
        # RFC 5321 §4.2.3, RFC 3463 §3.4.
        return TemporaryFailure("Insufficient system storage", smtpCode=452, enhancedStatus="4.3.1")
    log.failure("the database failed: {error}", Failure(error), error=error, code=code)
    return TemporaryFailure()


def _explained(method: Callable[..., T]) -> Callable[..., T]:
    def explained(*arguments: Any) -> T:
        try:
            return method(*arguments)
        except sqlite3.Error as error:
            raise explain(error) from error

    return explained


class ReadingCursor(sqlite3.Cursor):
    """
    Raises L{MailError}s where the database fails, so that no reader has to look out for that.
    """

    execute = _explained(sqlite3.Cursor.execute)
    fetchone = _explained(sqlite3.Cursor.fetchone)
    fetchall = _explained(sqlite3.Cursor.fetchall)
    fetchmany = _explained(sqlite3.Cursor.fetchmany)
    __next__ = _explained(sqlite3.Cursor.__next__)


class ReadingConnection(sqlite3.Connection):
    """
    A connection with L{ReadingCursor}s.
    """

    def execute(self, statement: str, parameters: Any = ()) -> sqlite3.Cursor:
        """
        @raise TemporaryFailure: also if the connection was closed.
        """
        try:
            cursor: sqlite3.Cursor = self.cursor(ReadingCursor)
        except sqlite3.ProgrammingError:
            raise TemporaryFailure("The store is closed") from None
        return cursor.execute(statement, parameters)


def connect(
    file: Path, factory: type[sqlite3.Connection] = sqlite3.Connection
) -> sqlite3.Connection:
    """
    @return: a new connection to the database, in autocommit mode.
    """
    connection = sqlite3.connect(
        file,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=500,
        timeout=30,
        factory=factory,
    )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -16000")
    connection.execute("PRAGMA temp_store = MEMORY")
    # Freed pages are overwritten only where that costs no more writes.
    connection.execute("PRAGMA secure_delete = FAST")
    return connection
