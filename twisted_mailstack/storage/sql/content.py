# -*- test-case-name: tests.storage.test_sql -*-
"""
Messages' octets: written as they arrive, read in ranges.

A message of at most L{SMALL_MESSAGE} octets waits in memory until it is placed, in the transaction
that places it. A larger one is stored in chunks while it arrives; its C{content} row has a name in
C{owner} until it is discarded, so that what a crash leaves can be told from what is being written,
and what is placed and expunged at once can be placed again. The name begins with that of the
process and is this message's alone: if the change that made the row is undone, another message may
get the row's number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from zlib import crc32

from twisted.internet.defer import Deferred
from zope.interface import implementer

from twisted_mailstack.errors import (
    MessageExpunged,
    MessageTooLarge,
    StoreDamaged,
    TemporaryFailure,
)
from twisted_mailstack.interfaces import IContentWriter, IMessageContent, IStagedContent
from twisted_mailstack.model.message import Summariser, Summary
from twisted_mailstack.model.mime import Part, unpackStructure
from twisted_mailstack.model.records import SMALL_MESSAGE
from twisted_mailstack.storage.sql.schema import CHUNK, PIECES
from twisted_mailstack.storage.sql.sorting import storeValues
from twisted_mailstack.storage.sql.writer import Transaction, Writer

if TYPE_CHECKING:
    import sqlite3

#: Chunks that may wait for the disk before the writer of the message has to wait too.
MAX_CHUNKS_WAITING = 2

_INSERT = """
INSERT INTO content (copies, octets, checksum, summary_checksum, header_octets, envelope,
    body_structure, body, structure, preview, subject, base_subject, sent_date)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_COMPLETE = """
UPDATE content SET copies = copies + ?, octets = ?, checksum = ?, summary_checksum = ?,
    header_octets = ?, envelope = ?, body_structure = ?, body = ?, structure = ?, preview = ?,
    subject = ?, base_subject = ?, sent_date = ?
WHERE content = ? AND owner = ?
"""
#: The columns of C{content} that L{summaryChecksum} is of.
SUMMARY = (
    "header_octets, envelope, body_structure, body, structure, preview, subject, base_subject,"
    " sent_date"
)


def summaryChecksum(values: Sequence[bytes | str | int | None]) -> int:
    """
    @param values: of the columns L{SUMMARY}.
    """
    return crc32(
        b"\0".join(
            value if isinstance(value, bytes) else str(value).encode("utf-8") for value in values
        )
    )


@implementer(IContentWriter)
class ContentWriter:
    """
    See L{IContentWriter}.
    """

    def __init__(self, writer: Writer, reader: sqlite3.Connection, owner: str) -> None:
        self.size = 0
        self._writer = writer
        self._reader = reader
        self._owner = owner
        self._summariser = Summariser()
        self._checksum = 0
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._content: int | None = None
        self._chunks = 0
        self._pending: set[Deferred[None]] = set()
        self._failure: Exception | None = None
        self._over = False

    def write(self, data: bytes) -> Deferred[None] | None:
        """See L{IContentWriter}."""
        self.size += len(data)
        self._summariser.feed(data)
        self._checksum = crc32(data, self._checksum)
        self._buffer.append(data)
        self._buffered += len(data)
        if self._buffered <= CHUNK:
            return None
        joined = b"".join(self._buffer)
        at = 0
        while len(joined) - at > CHUNK:
            waiting = self._store(joined[at : at + CHUNK])
            at += CHUNK
        self._buffer, self._buffered = [joined[at:]], len(joined) - at
        return waiting if len(self._pending) >= MAX_CHUNKS_WAITING else None

    def _store(self, chunk: bytes) -> Deferred[None]:
        number, self._chunks = self._chunks, self._chunks + 1
        if number >= PIECES:
            # Its key would be another content's.
            raise MessageTooLarge()

        def change(transaction: Transaction) -> None:
            if number == 0:
                self._content = transaction.execute(
                    "INSERT INTO content (copies, owner) VALUES (0, ?)", (self._owner,)
                ).lastrowid
            # Changes of one writer run in order, but the one before may have failed.
            stored = transaction.execute(
                "INSERT INTO chunk SELECT content * ? + ?, ? FROM content"
                " WHERE content = ? AND owner = ?",
                (PIECES, number, chunk, self._content, self._owner),
            ).rowcount
            if not stored:
                raise TemporaryFailure()

        stored = self._writer.submit(change)
        done: Deferred[None] = Deferred()
        self._pending.add(done)

        def over(result: object) -> None:
            self._pending.discard(done)
            if result is not None:
                self._failure = self._failure or getattr(result, "value", None)
            done.callback(None)

        stored.addBoth(over)
        return done

    async def finish(self) -> IStagedContent:
        """See L{IContentWriter}."""
        self._over = True
        try:
            if self._chunks and self._buffered:
                self._store(b"".join(self._buffer))
            while self._pending:
                await next(iter(self._pending))
            if self._failure is not None:
                raise self._failure
        except BaseException:
            # Also when whoever waits is cancelled: nobody else knows of what was stored.
            self._discard()
            raise
        return StagedContent(
            self._writer,
            self._reader,
            self._summariser.finish(),
            self._checksum,
            None if self._chunks else b"".join(self._buffer),
            self._content,
            self._owner,
        )

    def abort(self) -> None:
        """See L{IContentWriter}."""
        if not self._over:
            self._over = True
            self._buffer = []
            self._discard()

    def _discard(self) -> None:
        if self._chunks:
            # Runs behind the chunks that still wait.
            disown(self._writer, self._owner)


def disown(writer: Writer, *owners: str) -> None:
    """
    Nobody writes or places what had these owners any more.
    """

    def change(transaction: Transaction) -> None:
        for owner in owners:
            transaction.execute("UPDATE content SET owner = NULL WHERE owner = ?", (owner,))
        transaction.unplaced = True

    # If it fails, the store's next start does it.
    writer.submit(change).addErrback(lambda _: None)


@implementer(IStagedContent)
class StagedContent:
    """
    See L{IStagedContent}.
    """

    def __init__(
        self,
        writer: Writer,
        reader: sqlite3.Connection,
        summary: Summary,
        checksum: int,
        data: bytes | None,
        content: int | None,
        owner: str,
    ) -> None:
        """
        @param data: the whole message, if it is small.
        @param content: where it was stored, if it is not.
        """
        self.summary = summary
        self._writer = writer
        self._reader = reader
        self._checksum = checksum
        self._data = data
        self._content = content
        self._owner = owner
        self._discarded = False

    def place(self, transaction: Transaction, copies: int) -> int:
        """
        Store it, with so many messages referring to it.

        @return: the content's id.
        """
        if self._discarded:
            raise ValueError("a discarded message can't be placed")
        summary = self.summary
        details = (
            *(summary.headerSize, summary.envelope, summary.bodyStructure, summary.body),
            *(summary.structure, summary.preview, summary.subject, summary.baseSubject),
            summary.sentDate,
        )
        values = (copies, summary.size, self._checksum, summaryChecksum(details), *details)
        if self._data is not None:
            content = transaction.execute(_INSERT, values).lastrowid
            assert content is not None
            transaction.execute("INSERT INTO chunk VALUES (?, ?)", (content * PIECES, self._data))
            storeValues(transaction, content, summary.sorting)
            return content
        assert self._content is not None
        if not transaction.execute(_COMPLETE, (*values, self._content, self._owner)).rowcount:
            raise StoreDamaged("a staged message is gone")
        storeValues(transaction, self._content, summary.sorting)
        return self._content

    async def read(self, offset: int, length: int) -> bytes:
        """See L{IStagedContent}."""
        if self._data is not None:
            return self._data[offset : offset + length]
        assert self._content is not None
        return readChunks(
            self._reader, self._content, offset, min(length, self.summary.size - offset)
        )

    def discard(self) -> None:
        """See L{IStagedContent}."""
        if not self._discarded:
            self._discarded = True
            if self._content is not None:
                disown(self._writer, self._owner)


def readChunks(connection: sqlite3.Connection, content: int, offset: int, length: int) -> bytes:
    """
    @param length: the content must have so many octets from there on.
    @return: the octets of that range of a content.
    @raise MessageExpunged: if it isn't there.
    @raise StoreDamaged: if some of them aren't.
    """
    if length <= 0:
        return b""
    first, last = offset // CHUNK, (offset + length - 1) // CHUNK
    rows = connection.execute(
        "SELECT data FROM chunk WHERE piece BETWEEN ? AND ? ORDER BY piece",
        (content * PIECES + first, content * PIECES + last),
    ).fetchall()
    data: bytes = rows[0][0] if len(rows) == 1 else b"".join([row[0] for row in rows])
    start = offset - first * CHUNK
    if start or len(data) > length:
        data = data[start : start + length]
    if len(rows) != last - first + 1 or len(data) != length:
        # One that nobody has any more is removed piece by piece.
        if not connection.execute(
            "SELECT 1 FROM content WHERE content = ? AND (copies > 0 OR owner IS NOT NULL)",
            (content,),
        ).fetchone():
            raise MessageExpunged()
        raise StoreDamaged("octets of a message are missing")
    return data


@implementer(IMessageContent)
class MessageContent:
    """
    See L{IMessageContent}.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        row: Sequence[object],
    ) -> None:
        """
        @param row: content, prefix, octets with the prefix, structure.
        """
        content, prefix, octets, structure = row
        assert isinstance(content, int) and isinstance(prefix, bytes)
        assert isinstance(octets, int) and isinstance(structure, bytes)
        self.size = octets
        self._connection = connection
        self._content = content
        self._prefix = prefix
        self._packed = structure
        self._structure: Part | None = None

    @property
    def structure(self) -> Part:
        """See L{IMessageContent}."""
        if self._structure is None:
            self._structure = unpackStructure(self._packed)
            self._structure.shift(len(self._prefix))
        return self._structure

    async def read(self, offset: int, length: int) -> bytes:
        """See L{IMessageContent}."""
        length = min(length, self.size - offset)
        skip = len(self._prefix)
        if offset >= skip:
            return readChunks(self._connection, self._content, offset - skip, length)
        head = self._prefix[offset : offset + length]
        return head + readChunks(self._connection, self._content, 0, length - len(head))


#: Whether L{SMALL_MESSAGE} fits one chunk, which the batch reads rely on.
assert SMALL_MESSAGE <= CHUNK
