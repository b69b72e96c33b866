# -*- test-case-name: tests.imap.test_idle -*-
"""IDLE (RFC 2177): what others change is told at once, until the client says DONE."""

from __future__ import annotations

from twisted_mailstack.errors import LimitExceeded, SessionEnded, SyntaxProblem
from twisted_mailstack.imap.extension import LOGGED_IN, Command, Extension
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession

MAX_LINE = 1024


async def idle(session: IMAPSession, cursor: Cursor) -> bytes:
    """RFC 2177 §3."""
    cursor.end()
    stream = session.stream
    stream.write(b"+ idling\r\n")
    while True:
        await session.tellNews()
        session.tellModSeq()
        if session.closing:
            # The mailbox was deleted: DONE isn't waited for.
            raise SessionEnded("mailbox deleted")
        try:
            line = stream.takeLine(MAX_LINE)
        except LimitExceeded:
            # Refused as one line, however it came.
            line = await stream.readLine(MAX_LINE)
        if line is None:
            await stream.wait()
        elif line.upper() == b"DONE":
            break
        else:
            raise SyntaxProblem("DONE expected")
    return b"IDLE terminated"


EXTENSION = Extension(b"IDLE", 2177, (Command(b"IDLE", LOGGED_IN, idle),))
