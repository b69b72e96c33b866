# -*- test-case-name: tests.imap.test_messages -*-
"""COPY and UID COPY (RFC 9051 §6.4.7, §6.4.9), with COPYUID (RFC 4315 §3)."""

from __future__ import annotations

from twisted_mailstack.errors import MessageExpunged
from twisted_mailstack.imap.commands.append import openDestination
from twisted_mailstack.imap.extension import ONLY_SELECTED, Command
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.selected import uidsOf
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.model.records import CopyResult
from twisted_mailstack.model.sequence import NumberSet, SequenceSet


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
    session.requireAtMost(len(indexes))
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


COMMANDS = (
    Command(b"COPY", ONLY_SELECTED, copy, usesSequenceNumbers=True),
    Command(b"UID COPY", ONLY_SELECTED, uidCopy),
)
