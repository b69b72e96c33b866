# -*- test-case-name: tests.imap.test_sort -*-
"""SORT (RFC 5256) and SORT=DISPLAY (RFC 5957)."""

from __future__ import annotations

from twisted_mailstack.imap.extension import ONLY_SELECTED, Command, Extension
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.search import Context, Parser, find, readCharset
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.imap.sort import KEYS, parseProgram, sort
from twisted_mailstack.model.sorting import SortKey


async def _sort(session: IMAPSession, cursor: Cursor, byUID: bool) -> None:
    cursor.space()
    selected = session.theSelected()
    view = selected.view
    program = parseProgram(cursor, session.registry.sortKeys)
    cursor.space()
    charset = readCharset(cursor)
    cursor.space()
    node = Parser(cursor, session.registry.searchKeys, view, charset).keys()
    context = Context(view, selected.mailbox, session.stream)
    found = await sort(program, await find(node, context), context)
    numbers = [view.uids[at] for at in found] if byUID else [at + 1 for at in found]
    session.stream.write(b"* SORT%b\r\n" % b"".join([b" %d" % number for number in numbers]))


async def sort_(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 5256 §3: no EXPUNGE may be told while it is answered."""
    await _sort(session, cursor, False)


async def uidSort(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 5256 §3."""
    await _sort(session, cursor, True)


EXTENSION = Extension(
    b"SORT",
    5256,
    commands=(
        Command(b"SORT", ONLY_SELECTED, sort_, mayExpunge=False, usesSequenceNumbers=True),
        Command(b"UID SORT", ONLY_SELECTED, uidSort),
    ),
    sortKeys=KEYS,
)
DISPLAY = Extension(
    b"SORT=DISPLAY",
    5957,
    sortKeys={b"DISPLAYFROM": SortKey.DISPLAYFROM, b"DISPLAYTO": SortKey.DISPLAYTO},
)
