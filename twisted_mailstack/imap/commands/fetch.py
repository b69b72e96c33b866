# -*- test-case-name: tests.imap.test_messages -*-
"""FETCH and UID FETCH (RFC 9051 §6.4.5, §6.4.9)."""

from __future__ import annotations

from typing import Any

from twisted_mailstack.imap.extension import (
    ONLY_SELECTED,
    Command,
    FetchRequest,
    readModifiers,
)
from twisted_mailstack.imap.fetch import FetchItem, fetch, parseItems
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession


async def _fetch(session: IMAPSession, cursor: Cursor, byUID: bool) -> None:
    cursor.space()
    numbers = cursor.sequenceSet()
    cursor.space()
    items = parseItems(cursor, session.registry.fetchItems)
    modifiers = session.registry.fetchModifiers
    values: dict[bytes, Any] = {}
    if cursor.skip(b" "):
        parsers = {name: modifier.parse for name, modifier in modifiers.items()}
        values = readModifiers(session, cursor, parsers)
    cursor.end()
    request = FetchRequest(session, byUID, numbers, items, values)
    given = [modifier for name, modifier in modifiers.items() if name in values]
    for modifier in given:
        if modifier.check is not None:
            modifier.check(request)
    request.indexes = session.theSelected().view.resolve(numbers, byUID)
    for modifier in given:
        await modifier.apply(request)
    for item in request.items:
        if isinstance(item, FetchItem) and item.enables:
            session.enable(item.enables)
    await fetch(session, session.atMost(request.indexes), request.items, byUID)


async def fetch_(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 9051 §6.4.5."""
    await _fetch(session, cursor, False)


async def uidFetch(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 9051 §6.4.9."""
    await _fetch(session, cursor, True)


COMMANDS = (
    Command(b"FETCH", ONLY_SELECTED, fetch_, mayExpunge=False, usesSequenceNumbers=True),
    Command(b"UID FETCH", ONLY_SELECTED, uidFetch),
)
