# -*- test-case-name: tests.imap.test_sort -*-
"""SORT (RFC 5256) and SORT=DISPLAY (RFC 5957)."""

from __future__ import annotations

from collections.abc import Sequence

from twisted_mailstack.imap.extension import ONLY_SELECTED, Command, Extension
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.results import Arrange, searching
from twisted_mailstack.imap.search import Context, readCharset
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.imap.sort import KEYS, parseProgram, sort
from twisted_mailstack.model.sorting import SortKey


def _readOrder(session: IMAPSession, cursor: Cursor) -> tuple[str, Arrange]:
    program = parseProgram(cursor, session.registry.sortKeys)
    cursor.space()
    charset = readCharset(cursor)
    cursor.space()

    async def arrange(context: Context, found: Sequence[int]) -> Sequence[int]:
        return await sort(program, found, context)

    return charset, arrange


async def sort_(session: IMAPSession, cursor: Cursor) -> bytes | None:
    """RFC 5256 §3: no EXPUNGE may be told while it is answered."""
    return await searching(session, cursor, b"SORT", False, _readOrder)


async def uidSort(session: IMAPSession, cursor: Cursor) -> bytes | None:
    """RFC 5256 §3."""
    return await searching(session, cursor, b"SORT", True, _readOrder)


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
