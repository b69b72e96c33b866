# -*- test-case-name: tests.imap.test_partial -*-
"""PARTIAL (RFC 9394): a window of what was found, and of what UID FETCH is to send."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.imap.extension import Extension, FetchModifier, FetchRequest, SearchReturn
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.results import Results
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.model.sequence import MAX_NUMBER

#   partial-range-first = nz-number ":" nz-number
#   partial-range-last  = MINUS nz-number ":" MINUS nz-number
_RANGE = re.compile(rb"(-?)([1-9]\d{0,9}):\1([1-9]\d{0,9})(?=[ )]|\Z)")

T = TypeVar("T")


class Window(NamedTuple):
    """
    @ivar text: as the client wrote it.
    @ivar fromEnd: whether it counts from the last message.
    @ivar low: the first place of it, 1 for the first (or the last) message.
    @ivar high: the last place.
    """

    text: bytes
    fromEnd: bool
    low: int
    high: int

    def of(self, values: Sequence[T]) -> Sequence[T]:
        """
        @return: what of these is in the window, in their order.
        """
        if self.fromEnd:
            count = len(values)
            return values[max(0, count - self.high) : max(0, count - self.low + 1)]
        return values[self.low - 1 : self.high]


def _parse(session: IMAPSession, cursor: Cursor) -> Window:
    cursor.space()
    match = _RANGE.match(cursor.text, cursor.at)
    if match is None:
        raise SyntaxProblem("Range expected")
    cursor.at = match.end()
    #   "A range 500:400 is the same as 400:500."
    low, high = sorted((int(match.group(2)), int(match.group(3))))
    if high > MAX_NUMBER:
        raise SyntaxProblem("Range expected")
    return Window(match.group(), bool(match.group(1)), low, high)


def _data(results: Results, window: Window) -> bytes:
    return b"(%b %b)" % (window.text, results.render(window.of(results.found)) or b"NIL")


def _reach(window: Window) -> tuple[int, int]:
    return (0, window.high) if window.fromEnd else (window.high, 0)


def _check(request: FetchRequest) -> None:
    if not request.byUID:
        raise SyntaxProblem("PARTIAL is for UID FETCH")


async def _narrow(request: FetchRequest) -> None:
    # Before CHANGEDSINCE, which narrows the window further (§3.4).
    request.indexes = list(request.modifiers[b"PARTIAL"].of(request.indexes))


RETURN = SearchReturn(
    _data,
    messages=lambda results, window: window.of(results.found),
    reach=_reach,
    parse=_parse,
    excludes=(b"ALL",),
)
EXTENSION = Extension(
    b"PARTIAL",
    9394,
    searchReturns={b"PARTIAL": RETURN},
    fetchModifiers={b"PARTIAL": FetchModifier(_parse, _narrow, _check)},
)
