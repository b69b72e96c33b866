# -*- test-case-name: tests.storage.test_sqlindex -*-
"""
The search index of one account: which message has which three characters in a row.

It is a file of its own beside the database, which can be thrown away at any time: it is made anew
from the messages. What it says is only a first answer, which whoever searches confirms in the
messages themselves; so it may name too many, as those that were expunged, but none may be missing.
Up to which message it knows all is in the file, written in one step with what was indexed.

A message has two documents, its header and its body (L{twisted_mailstack.model.searchtext}), folded
as searches compare them. The table is contentless and without positions: 0.4 of the texts' size.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from unicodedata import unidata_version

from twisted_mailstack.errors import MailError
from twisted_mailstack.model.mime import Part, unpackStructure
from twisted_mailstack.model.searchtext import MAX_HEADER, headerTexts, isWhole, pieces
from twisted_mailstack.model.text import fold, partText
from twisted_mailstack.storage.sql.content import readChunks

#: Directory of the indexes, beside the database.
DIRECTORY = "index"
#: Messages of one step, and seconds after which one ends.
SLICE = 200
SECONDS = 0.2
#: Octets of text of a message that are indexed; one that has more is looked at by each search.
MAX_INDEXED = 2 * 1024 * 1024
#: Three characters each of a text that are looked up: more hardly tell more.
MAX_TRIGRAMS = 12
#: Documents with a text up to which they are all listed, however few there are.
FEW = 1000
#: Messages that are gone, besides as many as there are, before it is made anew.
MAX_GONE = 2000

#: Another version of these tables, or of Unicode's, makes another index.
_VERSION = f"2 {unidata_version}"
_TABLES = (
    "CREATE TABLE IF NOT EXISTS state (version TEXT NOT NULL, up_to INTEGER NOT NULL,"
    " mod_seq INTEGER NOT NULL, messages INTEGER NOT NULL, newest INTEGER)",
    "CREATE TABLE IF NOT EXISTS partial (message INTEGER PRIMARY KEY)",
    "CREATE VIRTUAL TABLE IF NOT EXISTS document USING fts5(text, content='', detail=none,"
    " columnsize=0, tokenize='trigram case_sensitive 1')",
)
#: SQLite ends a text where it has a NUL, and has no character for half a surrogate pair.
_UNKNOWN = {0: "\ufffd", **dict.fromkeys(range(0xD800, 0xE000), "\ufffd")}


def isSupported() -> bool:
    """
    @return: whether this SQLite has what an index needs.
    """
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute(_TABLES[2])
    except sqlite3.Error:
        return False
    finally:
        connection.close()
    return True


class AccountIndex:
    """
    The index file of one account. Each method may run in any thread; several processes may use it.
    """

    def __init__(self, store: Path, account: int) -> None:
        """
        @param store: the directory of the store.
        """
        self.account = account
        self.file = store / DIRECTORY / f"A{account}.sqlite3"

    @contextmanager
    def _open(self, make: bool, patience: float = 5) -> Iterator[sqlite3.Connection]:
        if make:
            self.file.parent.mkdir(mode=0o700, exist_ok=True)
            os.close(os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(
            f"{self.file.absolute().as_uri()}?mode=rw",
            uri=True,
            isolation_level=None,
            timeout=patience,
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            # What a crash of the machine undoes is indexed again.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA secure_delete = FAST")
            yield connection
        finally:
            connection.close()

    def discard(self) -> None:
        """
        Remove the file.
        """
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.file}{suffix}").unlink(missing_ok=True)

    # --- searching -----------------------------------------------------------------------------

    def find(
        self, database: sqlite3.Connection, texts: Sequence[str], inHeader: bool, inBody: bool
    ) -> tuple[int, set[int]] | None:
        """
        @param database: the store's.
        @param texts: folded.
        @return: up to which message it knows all, and those of them that may have all texts;
            C{None} if it can't say.
        @raise sqlite3.Error: if the file is damaged.
        """
        queries = [query for query in map(_query, texts) if query]
        if not queries or not self.file.exists():
            return None
        with self._open(False) as connection:
            connection.execute("BEGIN")
            state = self._state(connection, database)
            if state is None:
                return None
            found: set[int] | None = None
            limit = max(FEW, state[1] // 2)
            for query in queries:
                rows = connection.execute(
                    "SELECT rowid FROM document WHERE document MATCH ? LIMIT ?", (query, limit)
                ).fetchall()
                if len(rows) == limit:
                    # In so many messages that looking it up further gains nothing.
                    continue
                some = {row >> 1 for (row,) in rows if (inBody if row & 1 else inHeader)}
                found = some if found is None else found & some
            if found is None:
                return None
            found.update(row[0] for row in connection.execute("SELECT message FROM partial"))
            return state[0], found

    def _state(
        self, connection: sqlite3.Connection, database: sqlite3.Connection
    ) -> tuple[int, int] | None:
        """
        @return: up to which message all are indexed, and how many were; C{None} if it is nothing
            that can be used.
        """
        try:
            row = connection.execute(
                "SELECT version, up_to, mod_seq, messages, newest FROM state"
            ).fetchone()
        except sqlite3.OperationalError:
            # Made, and nothing in it yet.
            return None
        if row is None or row[0] != _VERSION:
            return None
        account = database.execute(
            "SELECT mod_seq, next_id FROM account WHERE account = ?", (self.account,)
        ).fetchone()
        # A database that is older than its index was restored: ids may have come to others.
        if account is None or account[0] < row[2] or account[1] <= row[1]:
            return None
        newest = self._checksum(database, row[1])
        if newest is not None and newest != row[4]:
            return None
        return row[1], row[3]

    def _checksum(self, database: sqlite3.Connection, message: int) -> int | None:
        """
        @return: by which a message is known again, C{None} if it isn't there.
        """
        row = database.execute(
            "SELECT c.checksum FROM message m JOIN content c ON c.content = m.content"
            " WHERE m.account = ? AND m.message = ?",
            (self.account, message),
        ).fetchone()
        return None if row is None else row[0]

    # --- indexing ------------------------------------------------------------------------------

    def update(self, database: sqlite3.Connection) -> bool:
        """
        Index the next messages, some of them.

        @param database: a connection to the store's for reading, for this call.
        @return: whether there is more to do.
        @raise sqlite3.Error: if the file is damaged, or another process is about it.
        """
        account = database.execute(
            "SELECT mod_seq, next_id, messages FROM account WHERE account = ?", (self.account,)
        ).fetchone()
        if account is None:
            self.discard()
            return False
        if not account[2] and not self.file.exists():
            return False
        with self._open(True, 0) as connection:
            connection.execute("BEGIN IMMEDIATE")
            state = self._state(connection, database)
            if state is None or state[1] > 2 * account[2] + MAX_GONE:
                _clear(connection)
                state = (0, 0)
            upTo, indexed = state
            rows = database.execute(
                "SELECT m.message, m.content, m.prefix, m.octets, c.structure FROM message m"
                " JOIN content c ON c.content = m.content"
                " WHERE m.account = ? AND m.message > ? ORDER BY m.message LIMIT ?",
                (self.account, upTo, SLICE),
            ).fetchall()
            end = monotonic() + SECONDS
            done = 0
            for message, *row in rows:
                self._add(connection, message, _documents(database, *row))
                upTo = message
                done += 1
                if monotonic() > end:
                    break
            connection.execute("DELETE FROM state")
            connection.execute(
                "INSERT INTO state VALUES (?, ?, ?, ?, ?)",
                (_VERSION, upTo, account[0], indexed + done, self._checksum(database, upTo)),
            )
            connection.execute("COMMIT")
        return done < len(rows) or done == SLICE

    @staticmethod
    def _add(
        connection: sqlite3.Connection, message: int, documents: tuple[str, str] | None
    ) -> None:
        if documents is None:
            connection.execute("INSERT OR IGNORE INTO partial VALUES (?)", (message,))
            return
        for number, text in enumerate(documents):
            if text:
                connection.execute(
                    "INSERT INTO document (rowid, text) VALUES (?, ?)", (2 * message + number, text)
                )

    # --- checking ------------------------------------------------------------------------------

    def check(self, database: sqlite3.Connection, sample: int) -> str | None:
        """
        @param sample: messages at most that are looked at.
        @return: what is wrong, C{None} for nothing.
        """
        if not self.file.exists():
            return None
        try:
            with self._open(False) as connection:
                connection.execute("BEGIN")
                state = self._state(connection, database)
                if state is None:
                    return None
                for (line,) in connection.execute("PRAGMA integrity_check(1)"):
                    if line != "ok":
                        return str(line)
                return self._sample(connection, database, state[0], sample)
        except sqlite3.OperationalError as error:
            # Another process is about it.
            return None if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY else str(error)
        except sqlite3.Error as error:
            return str(error)

    def _sample(
        self, connection: sqlite3.Connection, database: sqlite3.Connection, upTo: int, sample: int
    ) -> str | None:
        partial = {row[0] for row in connection.execute("SELECT message FROM partial")}
        rows = database.execute(
            "SELECT m.message, m.content, m.prefix, m.octets, c.structure FROM message m"
            " JOIN content c ON c.content = m.content"
            " WHERE m.account = ? AND m.message <= ? ORDER BY random() LIMIT ?",
            (self.account, upTo, sample),
        )
        for message, *row in rows:
            documents = None if message in partial else _documents(database, *row)
            for number, text in enumerate(documents or ()):
                # Anywhere in it: its first and last characters, and some between.
                step = max(1, (len(text) - 12) // 5)
                for at in range(0, max(len(text) - 11, 1), step):
                    query = _query(text[at : at + 12])
                    if (
                        query
                        and not connection.execute(
                            "SELECT 1 FROM document WHERE document MATCH ? AND rowid = ?",
                            (query, 2 * message + number),
                        ).fetchone()
                    ):
                        return f"message E{self.account}-{message} is not found"
        return None


def _clear(connection: sqlite3.Connection) -> None:
    for table in ("document", "partial", "state"):
        connection.execute(f"DROP TABLE IF EXISTS {table}")
    for statement in _TABLES:
        connection.execute(statement)


def _query(text: str) -> str:
    """
    @param text: folded.
    @return: a query for all that have it, and maybe others; empty if it is too short to be found.
    """
    trigrams = [
        text[at : at + 3]
        for at in range(len(text) - 2)
        # What isn't in the index as it is in the text.
        if not any(ord(each) in _UNKNOWN for each in text[at : at + 3])
    ]
    if len(trigrams) > MAX_TRIGRAMS:
        last = len(trigrams) - 1
        trigrams = [trigrams[last * n // (MAX_TRIGRAMS - 1)] for n in range(MAX_TRIGRAMS)]
    quoted = ['"' + each.replace('"', '""') + '"' for each in dict.fromkeys(trigrams)]
    return " AND ".join(quoted)


def _documents(
    database: sqlite3.Connection, content: int, prefix: bytes, octets: int, structure: bytes
) -> tuple[str, str] | None:
    """
    @return: a message's header and body; C{None} if not all of it can be indexed.
    """

    def read(offset: int, end: int) -> bytes:
        # From the whole message: the prefix is in front of the content.
        if offset >= len(prefix):
            return readChunks(database, content, offset - len(prefix), end - offset)
        head = prefix[offset:end]
        return head + readChunks(database, content, 0, end - offset - len(head))

    try:
        root = unpackStructure(structure)
        root.shift(len(prefix))
        header: list[str] = []
        body: list[str] = []
        left = MAX_INDEXED
        for part in root.walk():
            for isHeader, begin, end in _ranges(part):
                left -= end - begin
                if left < 0:
                    return None
                data = read(begin, min(end, octets))
                if isHeader:
                    texts = header if part is root else body
                    texts += [fold(each) + "\n" for each in headerTexts(data, part)]
                else:
                    text = partText(data, part)
                    if not isWhole(text):
                        return None
                    body.extend(map(fold, pieces(text)))
                    # The next text is another one.
                    body.append("\n")
        return "".join(header).translate(_UNKNOWN), "".join(body).translate(_UNKNOWN)
    except (MailError, ValueError, TypeError, IndexError, KeyError):
        # It is damaged: whoever searches finds out.
        return None


def _ranges(part: Part) -> Iterator[tuple[bool, int, int]]:
    yield True, part.headerOffset, min(part.bodyOffset, part.headerOffset + MAX_HEADER)
    if part.isText:
        yield False, part.bodyOffset, part.endOffset


def accountCandidates(
    index: AccountIndex,
    database: sqlite3.Connection,
    texts: Sequence[str],
    inHeader: bool,
    inBody: bool,
) -> dict[int, list[int]] | None:
    """
    @return: as L{candidates}, by mailbox, of each that can be selected.
    """
    found = index.find(database, texts, inHeader, inBody)
    if found is None:
        return None
    upTo, messages = found
    database.execute("BEGIN")
    try:
        uids: dict[int, list[int]] = {
            mailbox: []
            for (mailbox,) in database.execute(
                "SELECT mailbox FROM mailbox WHERE account = ? AND selectable", (index.account,)
            )
        }
        for mailbox, uid in database.execute(
            "SELECT mailbox, uid FROM entry WHERE account = ?"
            " AND (message > ? OR message IN (SELECT value FROM json_each(?)))"
            " ORDER BY mailbox, uid",
            (index.account, upTo, json.dumps(list(messages))),
        ):
            uids[mailbox].append(uid)
    finally:
        database.execute("COMMIT")
    return uids


def candidates(
    index: AccountIndex,
    database: sqlite3.Connection,
    mailbox: int,
    texts: Sequence[str],
    inHeader: bool,
    inBody: bool,
) -> list[int] | None:
    """
    @param texts: folded.
    @return: the UIDs of a mailbox's messages that may have all texts, ascending; C{None} for all.
    @raise sqlite3.Error: if the index is damaged.
    """
    found = index.find(database, texts, inHeader, inBody)
    if found is None:
        return None
    upTo, messages = found
    # The index is asked first: what came since is above what it knows.
    return [
        row[0]
        for row in database.execute(
            "SELECT uid FROM entry WHERE account = ? AND mailbox = ?"
            " AND (message > ? OR message IN (SELECT value FROM json_each(?))) ORDER BY uid",
            (index.account, mailbox, upTo, json.dumps(list(messages))),
        )
    ]
