# -*- test-case-name: tests.imap.test_qresync -*-
"""
QRESYNC (RFC 7162 §3.2): what happened since a modSeq, expunged messages included, told in one go.

VANISHED instead of EXPUNGE is written by C{imap.selected}.
"""

from __future__ import annotations

from typing import NamedTuple

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.imap.extension import (
    Extension,
    FetchModifier,
    FetchRequest,
    SelectParameter,
)
from twisted_mailstack.imap.fetch import fetch
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.selected import vanished
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.imap.view import View
from twisted_mailstack.model.records import Changes
from twisted_mailstack.model.sequence import MAX_NUMBER, NumberSet, SequenceSet

#: Changed messages that are looked up in one go.
SLICE = 10_000


class Known(NamedTuple):
    """
    The parameter of SELECT: what the client knows of the mailbox.

    @ivar uids: that it cares about, C{None} for all.
    @ivar matchNumbers: sequence numbers, and in C{matchUids} the UIDs that belong to them.
    """

    uidValidity: int
    modSeq: int
    uids: NumberSet | None
    matchNumbers: NumberSet
    matchUids: NumberSet


def _requireEnabled(session: IMAPSession) -> None:
    if b"QRESYNC" not in session.enabled:
        raise SyntaxProblem("ENABLE QRESYNC first")


# --- SELECT and EXAMINE ------------------------------------------------------------------------


def parse(session: IMAPSession, cursor: Cursor) -> Known:
    """
    RFC 7162 §7::

        "QRESYNC" SP "(" uidvalidity SP mod-sequence-value [SP known-uids] [SP seq-match-data] ")"
        seq-match-data = "(" known-sequence-set SP known-uid-set ")"
    """
    _requireEnabled(session)
    cursor.space()
    cursor.expect(b"(")
    uidValidity = cursor.number()
    cursor.space()
    modSeq = cursor.modSeq()
    if not 0 < uidValidity <= MAX_NUMBER or not modSeq:
        raise SyntaxProblem("Number out of range")
    uids: NumberSet | None = None
    matchNumbers = matchUids = NumberSet()
    more = cursor.skip(b" ")
    if more and cursor.peek() != b"(":
        uids = cursor.sequenceSet().numbers()
        more = cursor.skip(b" ")
    if more:
        cursor.expect(b"(")
        matchNumbers = _ascending(cursor.sequenceSet())
        cursor.space()
        matchUids = _ascending(cursor.sequenceSet())
        cursor.expect(b")")
        if len(matchNumbers) != len(matchUids):
            raise SyntaxProblem("As many sequence numbers as UIDs are needed")
        if b"UIDONLY" in session.enabled:
            raise SyntaxProblem("UIDONLY is enabled", imapCode="UIDREQUIRED")
    cursor.expect(b")")
    return Known(uidValidity, modSeq, uids, matchNumbers, matchUids)


def _ascending(given: SequenceSet) -> NumberSet:
    # "Both MUST be provided in ascending order" (RFC 7162 §3.2.5.2): they belong together in pairs.
    numbers = given.numbers()
    last = 0
    for first, end in given.elements:
        assert first is not None and end is not None
        if not last < first <= end:
            raise SyntaxProblem("Ascending order expected")
        last = end
    return numbers


def matched(view: View, numbers: NumberSet, uids: NumberSet) -> int:
    """
    Where the client's sample of sequence numbers ceases to agree with the mailbox. Numbers agree up
    to the first message that was expunged, and none after it does, so that it is found without
    looking at all of them.

    @return: the highest UID below which the client knows of all that was expunged, 0 for none.
    """
    found = 0
    low, high = 0, len(numbers)
    while low < high:
        middle = (low + high) // 2
        number, uid = _nth(numbers, middle), _nth(uids, middle)
        if number <= len(view.uids) and view.uids[number - 1] == uid:
            found = uid
            low = middle + 1
        else:
            high = middle
    return found


def _nth(numbers: NumberSet, n: int) -> int:
    for first, last in numbers.ranges:
        if n <= last - first:
            return first + n
        n -= last - first + 1
    raise IndexError(n)


async def _opened(session: IMAPSession, known: Known) -> None:
    """RFC 7162 §3.2.5.1."""
    selected = session.theSelected()
    if known.uidValidity != selected.uidValidity:
        # "MUST ignore the remaining parameters and behave as if no dynamic message data changed".
        return
    view = selected.view
    uids = _whole(view) if known.uids is None else known.uids
    changes = await selected.mailbox.changesSince(known.modSeq)
    agreed = matched(view, known.matchNumbers, known.matchUids)
    _tellVanished(session, changes, uids - NumberSet([(1, agreed)] if agreed else ()))
    items = (b"FLAGS", session.registry.fetchItems[b"MODSEQ"])
    changed = uids.select(changes.uids)
    for start in range(0, len(changed), SLICE):
        if start:
            await session.stream.breathe()
        # What changed after the mailbox was opened is told as news.
        indexes = [
            at
            for uid in changed[start : start + SLICE]
            if (at := view.index(uid)) is not None and view.modSeqs[at] > known.modSeq
        ]
        await fetch(session, indexes, items, True)


# --- UID FETCH ---------------------------------------------------------------------------------


def _vanished(session: IMAPSession, cursor: Cursor) -> None:
    _requireEnabled(session)


def _check(request: FetchRequest) -> None:
    if not request.byUID or b"CHANGEDSINCE" not in request.modifiers:
        raise SyntaxProblem("VANISHED goes with UID FETCH and CHANGEDSINCE")


async def _apply(request: FetchRequest) -> None:
    """RFC 7162 §3.2.6."""
    selected = request.session.theSelected()
    changes = await selected.mailbox.changesSince(request.modifiers[b"CHANGEDSINCE"])
    # The last messages may be those that are gone: here "*" is no less than what SELECT means by
    # all (RFC 7162 §3.2.5.1).
    _tellVanished(request.session, changes, request.numbers.resolve(selected.view.uidNext - 1))


# --- both --------------------------------------------------------------------------------------


def _whole(view: View) -> NumberSet:
    return NumberSet([(1, view.uidNext - 1)] if view.uidNext > 1 else ())


def _tellVanished(session: IMAPSession, changes: Changes, uids: NumberSet) -> None:
    """
    @param uids: that the client cares about.
    """
    view = session.theSelected().view
    gone = changes.vanished & uids
    # Of those that the client is told to be there, VANISHED without EARLIER tells.
    known = gone.select(view.uids)
    if known:
        gone -= NumberSet.of(known)
    session.stream.write(vanished(gone, earlier=True))


EXTENSION = Extension(
    b"QRESYNC",
    7162,
    selectParameters={b"QRESYNC": SelectParameter(parse, _opened)},
    fetchModifiers={b"VANISHED": FetchModifier(_vanished, _apply, _check)},
    enables=(b"QRESYNC",),
    implies=(b"CONDSTORE",),
)
