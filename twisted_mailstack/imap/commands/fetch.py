# -*- test-case-name: tests.imap.test_messages -*-
"""FETCH and UID FETCH (RFC 9051 §6.4.5, §6.4.9)."""

from __future__ import annotations

from twisted_mailstack.imap.extension import ONLY_SELECTED, Command
from twisted_mailstack.imap.fetch import fetch, parseItems
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession


async def _fetch(session: IMAPSession, cursor: Cursor, byUID: bool) -> None:
    cursor.space()
    numbers = cursor.sequenceSet()
    cursor.space()
    items = parseItems(cursor, session.registry.fetchItems)
    cursor.end()
    indexes = session.theSelected().view.resolve(numbers, byUID)
    await fetch(session, indexes, items, byUID)


async def fetch_(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 9051 §6.4.5."""
    await _fetch(session, cursor, False)


async def uidFetch(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 9051 §6.4.9."""
    await _fetch(session, cursor, True)


COMMANDS = (
    Command(b"FETCH", ONLY_SELECTED, fetch_, mayExpunge=False),
    Command(b"UID FETCH", ONLY_SELECTED, uidFetch),
)
