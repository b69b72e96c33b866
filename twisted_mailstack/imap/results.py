# -*- test-case-name: tests.imap.test_results -*-
"""
What SEARCH, SORT and ESEARCH tell of what they found (RFC 4466 §2.6, RFC 4731), and the course that
they have in common.

Each return option is a L{SearchReturn<twisted_mailstack.imap.extension.SearchReturn>} of the
registry. Without any the old untagged responses SEARCH and SORT are written.
"""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted_mailstack.errors import LimitExceeded, SyntaxProblem
from twisted_mailstack.imap.encode import string
from twisted_mailstack.imap.extension import SearchReturn
from twisted_mailstack.imap.grammar import TAG, Cursor
from twisted_mailstack.imap.search import (
    SLICE,
    Context,
    Query,
    find,
    readQuery,
    readSearchCharset,
)
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.imap.view import View
from twisted_mailstack.interfaces import IMailbox

#: Puts what was found, indexes ascending, into the order that is wanted.
Arrange = Callable[[Context, Sequence[int]], Awaitable[Sequence[int]]]
#: Reads what a command has before its search keys: the charset of these, as Python names it, and
#: the order of what is found, C{None} for that of the mailbox.
ReadOrder = Callable[[IMAPSession, Cursor], "tuple[str, Arrange | None]"]


@dataclass
class Results:
    """
    What was found, and how it is to be told.

    @ivar session: that asked.
    @ivar tag: of the command.
    @ivar byUID: whether messages are named by their UIDs.
    @ivar returns: values of the return options, by name; C{None} if there was no RETURN.
    @ivar query: what was searched for.
    @ivar arrange: the order, C{None} for that of the mailbox.
    @ivar context: what was looked at.
    @ivar place: of the mailbox, in the correlator of ESEARCH responses (RFC 7377 §2.1); empty where
        it can't be another than the selected one.
    @ivar found: indexes in the view of the context, in that order; with L{reaches}, maybe only so
        many from its ends as the options need.
    """

    session: IMAPSession
    tag: bytes
    byUID: bool
    returns: Mapping[bytes, Any] | None
    query: Query
    arrange: Arrange | None
    context: Context
    place: bytes = b""
    found: Sequence[int] = ()
    _all: bytes | None = None

    @property
    def head(self) -> bytes:
        """What an ESEARCH response begins with."""
        #   search-correlator = SP "(" one-correlator *(SP one-correlator) ")"
        uid = b" UID" if self.byUID else b""
        return b"* ESEARCH (TAG %b%b)%b" % (string(self.tag), self.place, uid)

    def numbers(self, indexes: Iterable[int]) -> list[int]:
        """
        @return: these messages as the client is told of them.
        """
        if self.byUID:
            uids = self.context.view.uids
            return [uids[at] for at in indexes]
        return [at + 1 for at in indexes]

    def render(self, indexes: Sequence[int]) -> bytes:
        """
        @return: a sequence-set of these messages, in this order; each range of it ascending
            (RFC 5267 §3.2).
        """
        return renderInOrder(self.numbers(indexes))

    async def prepare(self) -> None:
        """
        Render everything that was found, if that is to be told, with turns for others if it is
        much.
        """
        if self.returns and b"ALL" not in self.returns:
            return
        ranges = _Ranges()
        for start in range(0, len(self.found), SLICE):
            if start:
                await self.session.stream.breathe()
            ranges.extend(self.numbers(self.found[start : start + SLICE]))
        self._all = ranges.render()

    def renderAll(self) -> bytes:
        """
        @return: a sequence-set of all that was found, in its order; empty for nothing.
        """
        return self.render(self.found) if self._all is None else self._all

    def told(self) -> Sequence[int]:
        """
        @return: the messages that the return options are about, ascending: what is saved (RFC 5182
            §2.4, RFC 9394 §3.2) and whose highest modSeq is told (RFC 4731 §3.2).
        """
        known = self.session.registry.searchReturns
        about = [
            (option.messages, value)
            for name, value in (self.returns or {}).items()
            if (option := known[name]).messages is not None
        ]
        if not about:
            return sorted(self.found) if self.arrange is not None else self.found
        told: set[int] = set()
        for messages, value in about:
            some = messages(self, value)
            if len(some) == len(self.found):
                return sorted(self.found) if self.arrange is not None else self.found
            told.update(some)
        return sorted(told)


def renderInOrder(numbers: Sequence[int]) -> bytes:
    """
    @return: a sequence-set, in which only what ascends by ones is a range.
    """
    ranges = _Ranges()
    ranges.extend(numbers)
    return ranges.render()


class _Ranges:
    """
    A sequence-set as it is made, piece by piece.
    """

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._first = self._last = 0

    def extend(self, numbers: Iterable[int]) -> None:
        first, last = self._first, self._last
        parts: list[bytes] = []
        for number in numbers:
            if number == last + 1 and first:
                last = number
                continue
            if first:
                parts.append(b"%d" % first if first == last else b"%d:%d" % (first, last))
            first = last = number
        self._first, self._last = first, last
        if parts:
            # Octets cost much less in one piece.
            self._chunks.append(b",".join(parts))

    def render(self) -> bytes:
        if self._first:
            # Closes the last one.
            self.extend((0,))
            self._first = 0
        return b",".join(self._chunks)


def readReturns(session: IMAPSession, cursor: Cursor) -> dict[bytes, Any] | None:
    """
    ["RETURN" SP "(" [search-return-opt *(SP search-return-opt)] ")" SP] (RFC 4466 §2.6.1)

    @return: values by the options' names, in the order of the registry; C{None} for no RETURN.
    @raise SyntaxProblem: for an option that isn't known, or that doesn't go with another.
    """
    known = session.registry.searchReturns
    if not known or not cursor.skipWord(b"RETURN"):
        return None
    given: dict[bytes, Any] = {}
    cursor.space()
    cursor.expect(b"(")
    while not cursor.skip(b")"):
        if given:
            cursor.space()
        name = cursor.atom().upper()
        option = known.get(name)
        if option is None:
            raise SyntaxProblem("Unknown return option")
        if name in given:
            raise SyntaxProblem("Return option given twice")
        given[name] = None if option.parse is None else option.parse(session, cursor)
    if any(other in given for name in given for other in known[name].excludes):
        raise SyntaxProblem("Those return options don't go together")
    cursor.space()
    return {name: given[name] for name in known if name in given}


def reaches(session: IMAPSession, returns: Mapping[bytes, Any]) -> tuple[int, int] | None:
    """
    @return: how many of what is found these options need from the beginning, and from the end;
        C{None} for all.
    """
    known = session.registry.searchReturns
    first = last = 0
    for name, value in returns.items():
        option = known[name]
        if option.messages is None and not option.needsAll:
            continue
        if option.reach is None:
            return None
        beginning, ending = option.reach(value)
        first, last = max(first, beginning), max(last, ending)
    return (first, last) if first or last else None


def tagOf(cursor: Cursor) -> bytes:
    """
    @return: the tag of the command.
    """
    match = TAG.match(cursor.text)
    assert match is not None
    return match.group()


async def lookUp(results: Results) -> None:
    """
    Search, and put in order.
    """
    session, context, returns = results.session, results.context, results.returns
    arrange = results.arrange
    context.asked = results.query.asked
    reach = None if returns is None or arrange is not None else reaches(session, returns)
    first, last = reach or (None, None)
    found = await find(results.query.node, context, first, last)
    results.found = found if arrange is None else await arrange(context, found)


async def searching(
    session: IMAPSession, cursor: Cursor, name: bytes, byUID: bool, readOrder: ReadOrder | None
) -> bytes | None:
    """
    A whole SEARCH or SORT command in the selected mailbox.

    @param cursor: behind the command's name.
    @param name: of the untagged response that it has without return options.
    @param readOrder: reads what is before the search keys; C{None}: as SEARCH has it.
    @return: the text of the tagged OK, C{None} for the usual one.
    """
    cursor.space()
    selected = session.theSelected()
    returns = readReturns(session, cursor)
    try:
        arrange: Arrange | None = None
        if readOrder is None:
            charset = readSearchCharset(session, cursor)
            # Then there is no SEARCH response any more (RFC 9051 §6.4.4, §7.3.4).
            if returns is None and b"IMAP4REV2" in session.enabled:
                returns = {}
        else:
            charset, arrange = readOrder(session, cursor)
        view = selected.view
        query = await readQuery(session, cursor, view, charset)
        results = Results(
            *(session, tagOf(cursor), byUID, returns, query, arrange),
            newContext(session, view, selected.mailbox, tagOf(cursor)),
        )
        check(results)
        await lookUp(results)
    except (SyntaxProblem, LimitExceeded):
        # BAD doesn't touch what is saved.
        raise
    except Exception:
        if returns is not None:
            forget(session, returns)
        raise
    await tell(results, name)
    return completed(results.context, name, byUID)


def completed(context: Context, name: bytes, byUID: bool) -> bytes | None:
    """
    @return: the text of the tagged OK of a command that looked at messages, C{None} for the usual
        one: EXPUNGEISSUED, if some are gone and may not be told at its end (RFC 5530 §3).
    """
    view = context.view
    if (byUID and not view.numbersUsed) or not (context.expunged or view.hasGone):
        return None
    return b"[EXPUNGEISSUED] %b%b completed" % (b"UID " if byUID else b"", name)


def newContext(session: IMAPSession, view: View, mailbox: IMailbox, tag: bytes) -> Context:
    """
    @return: what a search with this tag looks at; it tells of its progress where there is an
        extension for that.
    """
    makeProgress = session.registry.progress
    return Context(
        view,
        mailbox,
        session.stream,
        None if makeProgress is None else makeProgress(session, tag),
    )


def check(results: Results) -> None:
    """
    @raise MailError: if a return option can't be had; nothing is done yet.
    """
    for option in _options(results):
        if option.check is not None:
            option.check(results)


def _options(results: Results) -> Iterator[SearchReturn]:
    # Those that are for this mailbox.
    session = results.session
    selected = session.selected
    isSelected = selected is not None and results.context.view is selected.view
    for name in results.returns or ():
        option = session.registry.searchReturns[name]
        if isSelected or not option.ofSelected:
            yield option


def forget(session: IMAPSession, returns: Mapping[bytes, Any]) -> None:
    """
    The command failed: tell its return options.
    """
    known = session.registry.searchReturns
    for name in returns:
        option = known[name]
        if option.failed is not None:
            option.failed(session)


async def tell(results: Results, name: bytes) -> None:
    """
    Write the untagged responses.

    @param name: of the one without return options, C{SEARCH} or C{SORT}.
    """
    session, returns = results.session, results.returns
    modSeq = highestModSeq(results)
    if returns is None:
        await _tellNumbers(results, name, modSeq)
        return
    await results.prepare()
    response = extended(results, modSeq)
    if response:
        session.stream.write(response)
    await conclude(results)


async def _tellNumbers(results: Results, name: bytes, modSeq: bytes) -> None:
    #   "SEARCH" *(SP nz-number) [SP search-sort-mod-seq]
    stream, found = results.session.stream, results.found
    stream.write(b"* " + name)
    for start in range(0, len(found), SLICE):
        if start:
            # Others have a turn, and the peer takes what there is.
            await results.session.drainAmid()
            await stream.breathe()
        numbers = results.numbers(found[start : start + SLICE])
        stream.write(b"".join([b" %d" % number for number in numbers]))
    # RFC 7162 §3.1.5, §3.1.6
    stream.write(b" (MODSEQ %b)\r\n" % modSeq if modSeq else b"\r\n")


def highestModSeq(results: Results) -> bytes:
    """
    @return: the highest modSeq of the messages that are told, if the query asked for it and there
        are any; else empty.
    """
    if b"MODSEQ" not in results.query.asked:
        return b""
    highest = results.context.view.highestOf(results.told())
    return b"%d" % highest if highest else b""


def extended(results: Results, modSeq: bytes) -> bytes:
    """
    @return: the ESEARCH response (RFC 4466 §2.6.2), empty if none is wanted.
    """
    known = results.session.registry.searchReturns
    returns = results.returns or {}
    silent = bool(returns) and all(known[name].silent for name in returns)
    if silent:
        return b""
    parts = [results.head]
    shown = {name: value for name, value in returns.items() if not known[name].silent}
    if not shown and results.found:
        # "If the list of result options is empty … equivalent to "(ALL)"" (RFC 4731 §3.1).
        parts.append(b" ALL %b" % results.renderAll())
    for name, value in shown.items():
        data = known[name].data
        written = None if data is None else data(results, value)
        if written is not None:
            parts.append(b" %b %b" % (name, written))
    if modSeq:
        parts.append(b" MODSEQ %b" % modSeq)
    return b"".join(parts) + b"\r\n"


async def conclude(results: Results) -> None:
    """
    What return options do besides telling.
    """
    for option in _options(results):
        if option.conclude is not None:
            await option.conclude(results)


async def collectUIDs(context: Context, indexes: Sequence[int]) -> array[int]:
    """
    @return: the UIDs of these messages, in this order; if they are many, others have turns.
    """
    uids = context.view.uids
    collected = array("I")
    for start in range(0, len(indexes), SLICE):
        if start:
            await context.breathe()
        collected.extend([uids[at] for at in indexes[start : start + SLICE]])
    return collected
