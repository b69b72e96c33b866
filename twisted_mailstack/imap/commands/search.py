# -*- test-case-name: tests.imap.test_search -*-
"""SEARCH and UID SEARCH (RFC 9051 §6.4.4, §6.4.9)."""

from __future__ import annotations

from twisted_mailstack.imap.extension import ONLY_SELECTED, Command
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.results import searching
from twisted_mailstack.imap.session import IMAPSession


async def search(session: IMAPSession, cursor: Cursor) -> bytes | None:
    """RFC 9051 §6.4.4."""
    return await searching(session, cursor, b"SEARCH", False, None)


async def uidSearch(session: IMAPSession, cursor: Cursor) -> bytes | None:
    """RFC 9051 §6.4.9."""
    return await searching(session, cursor, b"SEARCH", True, None)


COMMANDS = (
    Command(b"SEARCH", ONLY_SELECTED, search, mayExpunge=False, usesSequenceNumbers=True),
    Command(b"UID SEARCH", ONLY_SELECTED, uidSearch),
)
