# -*- test-case-name: tests.imap.test_messages -*-
"""STORE and UID STORE (RFC 9051 §6.4.6, §6.4.9)."""

from __future__ import annotations

from twisted_mailstack.errors import MessageExpunged, SyntaxProblem
from twisted_mailstack.imap.commands.append import requireRoom
from twisted_mailstack.imap.extension import ONLY_SELECTED, Command
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.selected import uidsOf
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.model.flags import FlagOperation, KeywordSpelling
from twisted_mailstack.model.sequence import NumberSet

_OPERATIONS = {
    b"FLAGS": FlagOperation.REPLACE,
    b"+FLAGS": FlagOperation.ADD,
    b"-FLAGS": FlagOperation.REMOVE,
}


async def _store(session: IMAPSession, cursor: Cursor, byUID: bool) -> None:
    cursor.space()
    numbers = cursor.sequenceSet()
    cursor.space()
    name, dot, silent = cursor.atom().upper().partition(b".")
    operation = _OPERATIONS.get(name)
    if operation is None or (dot and silent != b"SILENT"):
        raise SyntaxProblem("FLAGS, +FLAGS or -FLAGS expected")
    cursor.space()
    flags = cursor.storeFlags()
    cursor.end()
    selected = session.theSelected()
    view = selected.view
    indexes = view.resolve(numbers, byUID)
    selected.requireWritable()
    # As the mailbox spells its keywords.
    flags, new = KeywordSpelling(view.keywords).apply(flags)
    if operation is not FlagOperation.REMOVE:
        requireRoom(view.keywords, new)
    if not indexes:
        return
    uids = NumberSet.of(uidsOf(view, indexes))
    result = await selected.mailbox.storeFlags(uids, operation, flags)
    told: list[int] = []
    for uid, after, modSeq in (*result.changed, *result.unchanged):
        at = view.index(uid)
        if at is None:
            continue
        # What another session changed meanwhile is told although this STORE is silent.
        expected = operation.apply(view.flags[at], flags)
        view.update(uid, after, modSeq)
        if not silent or expected != after:
            told.append(at)
    told.sort()
    if new:
        # FLAGS names a new keyword before it is used.
        await session.tellNews(mayExpunge=False)
    session.stream.write(b"".join(selected.flagResponses(told, byUID)))
    gone = len(indexes) - len(result.changed) - len(result.unchanged)
    if gone and not byUID and not silent:
        # RFC 2180 §4.2.2, §4.2.3; with UIDs, those that nobody has are ignored.
        raise MessageExpunged()


async def store(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 9051 §6.4.6."""
    await _store(session, cursor, False)


async def uidStore(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 9051 §6.4.9."""
    await _store(session, cursor, True)


COMMANDS = (
    Command(b"STORE", ONLY_SELECTED, store, mayExpunge=False),
    Command(b"UID STORE", ONLY_SELECTED, uidStore),
)
