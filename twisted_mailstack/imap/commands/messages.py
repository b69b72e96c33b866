# -*- test-case-name: tests.imap.test_messages -*-
"""
FETCH, STORE, COPY, SEARCH, EXPUNGE and their UID forms (RFC 9051 §6.4).
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted_mailstack.errors import MessageExpunged, SyntaxProblem
from twisted_mailstack.imap.commands.append import openDestination, requireRoom
from twisted_mailstack.imap.extension import ONLY_SELECTED, Command
from twisted_mailstack.imap.fetch import fetch, parseItems
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.search import parseSearch, search
from twisted_mailstack.imap.selected import uidsOf
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.model.flags import FlagOperation, KeywordSpelling
from twisted_mailstack.model.records import CopyResult
from twisted_mailstack.model.sequence import NumberSet, SequenceSet


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


def copyUID(result: CopyResult) -> bytes:
    """
    @return: the COPYUID response code (RFC 4315 §3), empty if nothing was copied.
    """
    if not result.sources:
        return b""
    return b"[COPYUID %d %b %b] " % (
        result.uidValidity,
        NumberSet.of(result.sources).render(),
        NumberSet.of(result.destinations).render(),
    )


def requireSome(result: CopyResult, byUID: bool) -> None:
    """
    After COPY and MOVE. What is left of the messages was copied, and the client is told which those
    are, and which are gone (RFC 2180 §4.4).

    @raise MessageExpunged: if none was left.
    """
    if not result.sources and not byUID:
        raise MessageExpunged()


def parseCopy(session: IMAPSession, cursor: Cursor) -> tuple[SequenceSet, str]:
    """
    The arguments of COPY and MOVE.
    """
    cursor.space()
    numbers = cursor.sequenceSet()
    cursor.space()
    name = cursor.mailbox()
    cursor.end()
    return numbers, name


async def _copy(session: IMAPSession, cursor: Cursor, byUID: bool) -> bytes:
    numbers, name = parseCopy(session, cursor)
    selected = session.theSelected()
    indexes = selected.view.resolve(numbers, byUID)
    destination = await openDestination(session, name)
    if not indexes:
        return b"nothing to copy"
    uids = NumberSet.of(uidsOf(selected.view, indexes))
    result = await selected.mailbox.copyMessages(uids, destination)
    requireSome(result, byUID)
    return copyUID(result) + b"COPY completed"


async def copy(session: IMAPSession, cursor: Cursor) -> bytes:
    """RFC 9051 §6.4.7."""
    return await _copy(session, cursor, False)


async def uidCopy(session: IMAPSession, cursor: Cursor) -> bytes:
    """RFC 9051 §6.4.9."""
    return await _copy(session, cursor, True)


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


async def expunge(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 9051 §6.4.3: what is gone is told at the command's end."""
    cursor.end()
    selected = session.theSelected()
    selected.requireWritable()
    await selected.mailbox.expunge(None)


COMMANDS = (
    Command(b"FETCH", ONLY_SELECTED, fetch_, mayExpunge=False),
    Command(b"STORE", ONLY_SELECTED, store, mayExpunge=False),
    Command(b"SEARCH", ONLY_SELECTED, search_, mayExpunge=False),
    Command(b"COPY", ONLY_SELECTED, copy),
    Command(b"EXPUNGE", ONLY_SELECTED, expunge),
    Command(b"UID FETCH", ONLY_SELECTED, uidFetch),
    Command(b"UID STORE", ONLY_SELECTED, uidStore),
    Command(b"UID SEARCH", ONLY_SELECTED, uidSearch),
    Command(b"UID COPY", ONLY_SELECTED, uidCopy),
)
