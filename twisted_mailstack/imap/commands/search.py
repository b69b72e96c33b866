# -*- test-case-name: tests.imap.test_messages -*-
"""SEARCH and UID SEARCH (RFC 3501 §6.4.4, §6.4.8)."""

from __future__ import annotations

from collections.abc import Sequence

from twisted_mailstack.imap.extension import ONLY_SELECTED, Command
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.search import parseSearch, search
from twisted_mailstack.imap.selected import uidsOf
from twisted_mailstack.imap.session import IMAPSession


async def _search(session: IMAPSession, cursor: Cursor, byUID: bool) -> None:
    cursor.space()
    selected = session.theSelected()
    node = parseSearch(cursor, session.registry.searchKeys, selected.view)
    found: Sequence[int] = await search(node, selected.view, selected.mailbox, session.stream)
    numbers = uidsOf(selected.view, found) if byUID else [at + 1 for at in found]
    session.stream.write(b"* SEARCH%b\r\n" % b"".join([b" %d" % number for number in numbers]))


async def search_(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 3501 §6.4.4."""
    await _search(session, cursor, False)


async def uidSearch(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 3501 §6.4.8."""
    await _search(session, cursor, True)


COMMANDS = (
    Command(b"SEARCH", ONLY_SELECTED, search_, mayExpunge=False, usesSequenceNumbers=True),
    Command(b"UID SEARCH", ONLY_SELECTED, uidSearch),
)
