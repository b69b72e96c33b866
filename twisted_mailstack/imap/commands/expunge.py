# -*- test-case-name: tests.imap.test_messages -*-
"""EXPUNGE (RFC 9051 §6.4.3)."""

from __future__ import annotations

from twisted_mailstack.imap.extension import ONLY_SELECTED, Command
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession


async def expunge(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 9051 §6.4.3: what is gone is told at the command's end."""
    cursor.end()
    selected = session.theSelected()
    selected.requireWritable()
    if await selected.expunge():
        selected.wantModSeq()


COMMANDS = (Command(b"EXPUNGE", ONLY_SELECTED, expunge),)
