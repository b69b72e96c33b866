# -*- test-case-name: tests.model.test_sequence -*-
"""
Sets of message numbers (RFC 9051 §9 C{sequence-set}), for UIDs and sequence numbers alike.

A L{NumberSet} is an immutable, sorted tuple of disjoint, non-adjacent inclusive ranges, so that
C{1:4294967295} costs no more than C{1}. What a client wrote is a L{SequenceSet}, in which C{*}
has no number yet: L{SequenceSet.resolve} gives it one.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from twisted_mailstack.errors import SyntaxProblem

#: nz-number: unsigned, 32 bits, not zero (RFC 9051 §9).
MAX_NUMBER = 0xFFFFFFFF

#   seq-range    = seq-number ":" seq-number
#   seq-number   = nz-number / "*"
#   sequence-set = (seq-number / seq-range) ["," sequence-set]
_SET = re.compile(
    rb"(?:[1-9]\d{0,9}|\*)(?::(?:[1-9]\d{0,9}|\*))?(?:,(?:[1-9]\d{0,9}|\*)(?::(?:[1-9]\d{0,9}|\*))?)*\Z"
)


class NumberSet:
    """
    An immutable set of positive integers, stored as ranges.

    @ivar ranges: sorted, disjoint, non-adjacent C{(first, last)}, both included.
    """

    __slots__ = ("_firsts", "ranges")

    ranges: tuple[tuple[int, int], ...]

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        """
        @param ranges: in any order, overlapping or not, each C{first <= last}.
        """
        merged: list[tuple[int, int]] = []
        for first, last in sorted(ranges):
            if merged and first <= merged[-1][1] + 1:
                if last > merged[-1][1]:
                    merged[-1] = (merged[-1][0], last)
            else:
                merged.append((first, last))
        self.ranges = tuple(merged)
        self._firsts = [first for first, _ in merged]

    @classmethod
    def of(cls, numbers: Iterable[int]) -> NumberSet:
        """
        @return: the set of these numbers, given in any order.
        """
        ranges: list[tuple[int, int]] = []
        ordered = sorted(numbers)
        if ordered:
            first = last = ordered[0]
            for number in ordered:
                if number > last + 1:
                    ranges.append((first, last))
                    first = number
                last = number
            ranges.append((first, last))
        return cls._ofRanges(ranges)

    @classmethod
    def _ofRanges(cls, ranges: Sequence[tuple[int, int]]) -> NumberSet:
        # They are as they have to be.
        result = cls.__new__(cls)
        result.ranges = tuple(ranges)
        result._firsts = [first for first, _ in ranges]
        return result

    @classmethod
    def parse(cls, text: bytes) -> NumberSet:
        """
        Read a set without C{*}.

        @raise SyntaxProblem: if it isn't one.
        """
        return SequenceSet.parse(text).numbers()

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number <= self.ranges[at][1]

    def __iter__(self) -> Iterator[int]:
        for first, last in self.ranges:
            yield from range(first, last + 1)

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.ranges)

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NumberSet) and self.ranges == other.ranges

    def __hash__(self) -> int:
        return hash(self.ranges)

    def __repr__(self) -> str:
        return f"NumberSet({self.render().decode()})"

    def __or__(self, other: NumberSet) -> NumberSet:
        return NumberSet(self.ranges + other.ranges)

    def __and__(self, other: NumberSet) -> NumberSet:
        # The cost is that of the ranges of the smaller set, and of the result.
        few, many = sorted((self, other), key=lambda numbers: len(numbers.ranges))
        ranges: list[tuple[int, int]] = []
        for first, last in few.ranges:
            start = max(bisect_right(many._firsts, first) - 1, 0)
            part = list(many.ranges[start : bisect_right(many._firsts, last, start)])
            if part and part[0][1] < first:
                del part[0]
            if part:
                part[0] = max(part[0][0], first), part[0][1]
                part[-1] = part[-1][0], min(part[-1][1], last)
            ranges += part
        return NumberSet._ofRanges(ranges)

    def __sub__(self, other: NumberSet) -> NumberSet:
        # What is between the other's ranges, and before and behind them.
        gaps: list[tuple[int, int]] = []
        start = 0
        for first, last in other.ranges:
            if start < first:
                gaps.append((start, first - 1))
            start = last + 1
        if self.ranges and start <= self.ranges[-1][1]:
            gaps.append((start, self.ranges[-1][1]))
        return self & NumberSet._ofRanges(gaps)

    def select(self, ordered: Sequence[int]) -> list[int]:
        """
        @param ordered: ascending numbers, such as the UIDs of a mailbox.
        @return: those of them that are in this set, ascending; the cost is that of the ranges and
            of the result, not of the numbers between.
        """
        found: list[int] = []
        for first, last in self.ranges:
            low = bisect_right(ordered, first - 1)
            found.extend(ordered[low : bisect_right(ordered, last, low)])
        return found

    @staticmethod
    def slices(ordered: Sequence[int], size: int) -> Iterator[NumberSet]:
        """
        Cut ascending numbers into sets of at most C{size}, as C{IMailbox.fetch} likes to be asked.
        """
        for at in range(0, len(ordered), size):
            yield NumberSet.of(ordered[at : at + size])

    def render(self) -> bytes:
        """
        @return: the canonical text, like C{1:3,7}; empty for the empty set.
        """
        return b",".join(
            b"%d" % first if first == last else b"%d:%d" % (first, last)
            for first, last in self.ranges
        )


class SequenceSet:
    """
    A sequence-set as the client wrote it.

    @ivar elements: pairs of numbers in the client's order; C{None} stands for C{*}.
    """

    __slots__ = ("elements",)

    def __init__(self, elements: tuple[tuple[int | None, int | None], ...]) -> None:
        self.elements = elements

    @classmethod
    def parse(cls, text: bytes) -> SequenceSet:
        """
        @raise SyntaxProblem: if the text is no sequence-set.
        """
        # A long one is rarely seen again, and a thousand long ones would fill the memory.
        return _parseKnown(text) if len(text) <= _KNOWN_OCTETS else _parse(text)

    @property
    def hasStar(self) -> bool:
        """Whether C{*} occurs."""
        return any(first is None or last is None for first, last in self.elements)

    def resolve(self, largest: int) -> NumberSet:
        """
        @param largest: what C{*} means: the largest number in use, 0 if there is none.
        @return: the numbers; C{*} of an empty mailbox is in no set, and C{5:*} of a mailbox whose
            largest is 3 is C{3:5} (RFC 9051 §9, the note at seq-range).
        """
        ranges = []
        for first, last in self.elements:
            low = largest if first is None else first
            high = largest if last is None else last
            if low > high:
                low, high = high, low
            if high > 0 and low > 0:
                ranges.append((low, high))
            elif high > 0 and not (first is None and last is None):
                # An empty mailbox: "*" is nobody, the other end alone names numbers.
                ranges.append((high, high))
        return NumberSet(ranges)

    def numbers(self) -> NumberSet:
        """
        @raise SyntaxProblem: if C{*} occurs, or it is C{$}.
        """
        if self is LAST_RESULT:
            raise SyntaxProblem("$ is not allowed here")
        if self.hasStar:
            raise SyntaxProblem("* is not allowed here")
        return self.resolve(0)


#: C{$}: what the last search saved (RFC 5182). It has no numbers of its own.
LAST_RESULT = SequenceSet(())


def _parse(text: bytes) -> SequenceSet:
    if not _SET.match(text):
        raise SyntaxProblem("Invalid sequence set")
    elements: list[tuple[int | None, int | None]] = []
    for element in text.split(b","):
        first, colon, last = element.partition(b":")
        low = None if first == b"*" else int(first)
        high = (None if last == b"*" else int(last)) if colon else low
        if (low or 0) > MAX_NUMBER or (high or 0) > MAX_NUMBER:
            raise SyntaxProblem("Invalid sequence set: number out of range")
        elements.append((low, high))
    return SequenceSet(tuple(elements))


_KNOWN_OCTETS = 100
_parseKnown = lru_cache(maxsize=1024)(_parse)
