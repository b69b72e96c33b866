# -*- test-case-name: tests.imap.test_thread -*-
"""THREAD (RFC 5256), with REFS (draft-ietf-morg-inthread)."""

from __future__ import annotations

from itertools import islice

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.imap.extension import ONLY_SELECTED, Command, Extension
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.results import completed, newContext, tagOf
from twisted_mailstack.imap.search import find, readCharset, readQuery
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.imap.sort import threadRows
from twisted_mailstack.imap.thread import orderedSubject, references, refs, render

#: Pieces of a THREAD response that are written in one turn.
PIECES = 10_000


async def _thread(session: IMAPSession, cursor: Cursor, byUID: bool) -> bytes | None:
    cursor.space()
    selected = session.theSelected()
    algorithm = session.registry.threadAlgorithms.get(cursor.atom().upper())
    if algorithm is None:
        raise SyntaxProblem("Unknown threading algorithm")
    cursor.space()
    charset = readCharset(cursor)
    cursor.space()
    query = await readQuery(session, cursor, selected.view, charset)
    context = newContext(session, selected.view, selected.mailbox, tagOf(cursor))
    indexes, rows = await threadRows(await find(query.node, context), context)
    numbers = (row.uid for row in rows) if byUID else (at + 1 for at in indexes)
    threads = await algorithm(zip(numbers, rows, strict=True), session.stream.breathe)
    #   thread-data = "THREAD" [SP 1*thread-list]
    stream = session.stream
    stream.write(b"* THREAD " if threads else b"* THREAD")
    pieces = render(threads)
    del threads, rows, numbers, indexes
    while some := b"".join(islice(pieces, PIECES)):
        stream.write(some)
        await session.drainAmid()
        await stream.breathe()
    stream.write(b"\r\n")
    return completed(context, b"THREAD", byUID)


async def thread(session: IMAPSession, cursor: Cursor) -> bytes | None:
    """RFC 5256 §3: no EXPUNGE may be told while it is answered."""
    return await _thread(session, cursor, False)


async def uidThread(session: IMAPSession, cursor: Cursor) -> bytes | None:
    """RFC 5256 §3."""
    return await _thread(session, cursor, True)


#: The commands that all algorithms need.
EXTENSION = Extension(
    b"",
    5256,
    commands=(
        Command(b"THREAD", ONLY_SELECTED, thread, mayExpunge=False, usesSequenceNumbers=True),
        Command(b"UID THREAD", ONLY_SELECTED, uidThread),
    ),
)
ORDEREDSUBJECT = Extension(
    b"THREAD=ORDEREDSUBJECT",
    5256,
    threadAlgorithms={b"ORDEREDSUBJECT": orderedSubject},
)
REFERENCES = Extension(
    b"THREAD=REFERENCES",
    5256,
    threadAlgorithms={b"REFERENCES": references},
)
REFS = Extension(
    b"THREAD=REFS",
    5256,
    threadAlgorithms={b"REFS": refs},
)
