# -*- test-case-name: tests.imap.test_move -*-
"""
MOVE (RFC 6851). One step where the storage can (L{IMovableMailbox}); else messages are copied and
then expunged, so that a failure in between leaves two copies rather than none.
"""

from __future__ import annotations

from typing import Any

from twisted_mailstack.imap.commands.append import openDestination
from twisted_mailstack.imap.commands.copy import copyUID, parseCopy, requireSome
from twisted_mailstack.imap.extension import ONLY_SELECTED, Command, Extension
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.selected import uidsOf
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.interfaces import IMailbox, IMovableMailbox
from twisted_mailstack.model.records import CopyResult
from twisted_mailstack.model.sequence import NumberSet


async def _moveMessages(source: IMailbox, uids: NumberSet, destination: IMailbox) -> CopyResult:
    if IMovableMailbox.providedBy(source):
        movable: Any = source
        moved: CopyResult = await movable.moveMessages(uids, destination)
        return moved
    result = await source.copyMessages(uids, destination)
    await source.expunge(NumberSet.of(result.sources), onlyDeleted=False)
    return result


async def _move(session: IMAPSession, cursor: Cursor, byUID: bool) -> bytes:
    numbers, name = parseCopy(session, cursor)
    selected = session.theSelected()
    indexes = selected.view.resolve(numbers, byUID)
    selected.requireWritable()
    session.requireAtMost(len(indexes))
    destination = await openDestination(session, name)
    if not indexes:
        return b"nothing to move"
    result = await _moveMessages(
        selected.mailbox, NumberSet.of(uidsOf(selected.view, indexes)), destination
    )
    requireSome(result, byUID)
    # RFC 6851 §4.3: COPYUID goes before the EXPUNGEs, so not into the tagged OK.
    if result.sources:
        session.stream.write(b"* OK %bmoved\r\n" % copyUID(result))
    return b"MOVE completed"


async def move(session: IMAPSession, cursor: Cursor) -> bytes:
    """RFC 6851 §3.1."""
    return await _move(session, cursor, False)


async def uidMove(session: IMAPSession, cursor: Cursor) -> bytes:
    """RFC 6851 §3.2."""
    return await _move(session, cursor, True)


EXTENSION = Extension(
    b"MOVE",
    6851,
    (
        Command(b"MOVE", ONLY_SELECTED, move, usesSequenceNumbers=True),
        Command(b"UID MOVE", ONLY_SELECTED, uidMove),
    ),
)
