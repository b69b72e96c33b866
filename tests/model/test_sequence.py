"""
Tests for L{twisted_mailstack.model.sequence}.
"""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.model import sequence
from twisted_mailstack.model.sequence import MAX_NUMBER, NumberSet, SequenceSet

NUMBERS = st.sets(st.integers(1, 60), max_size=30)
RANGES = st.lists(
    st.tuples(st.integers(1, 40), st.integers(0, 9)).map(lambda pair: (pair[0], sum(pair))),
    max_size=8,
)


class ParseTests(SynchronousTestCase):
    """
    Reading a sequence-set (RFC 9051 §9).
    """

    def test_valid(self) -> None:
        """Numbers, ranges in either order, and * (RFC 9051 §9, seq-range)."""
        for text, ranges in (
            (b"1", [(1, 1)]),
            (b"2,4:7,9,12:*", [(2, 2), (4, 7), (9, 9), (12, 15)]),
            (b"*:4,5:7", [(4, 15)]),
            (b"7:5", [(5, 7)]),
            (b"*", [(15, 15)]),
            (b"*:*", [(15, 15)]),
            (b"*:20", [(15, 20)]),
            (b"20:*", [(15, 20)]),
            (b"3,1,2", [(1, 3)]),
            (b"5,5,5:5", [(5, 5)]),
            (b"1:4294967295", [(1, MAX_NUMBER)]),
        ):
            self.assertEqual(SequenceSet.parse(text).resolve(15).ranges, tuple(ranges), text)

    def test_invalid(self) -> None:
        """0, numbers beyond 32 bits, leading zeros, and what has holes are refused."""
        for text in (
            *(b"", b"0", b"0:5", b"5:0", b"1,0", b"01", b"-1", b"+1", b"1.5", b"a", b"1:a"),
            *(b",", b"1,", b",1", b"1,,2", b":", b"1:", b":1", b"1:2:3", b"**", b"1*", b"*1"),
            *(
                b"4294967296",
                b"1:4294967296",
                b"4294967296:1",
                b"9999999999",
                b"99999999999999999999999",
            ),
            *(b" 1", b"1 ", b"1\n", b"1, 2", b"\xb2", b"$"),
        ):
            with self.assertRaises(SyntaxProblem, msg=repr(text)):
                SequenceSet.parse(text)

    def test_emptyMailbox(self) -> None:
        """* of an empty mailbox is nobody."""
        for text, ranges in ((b"*", ()), (b"*:*", ()), (b"1:*", ((1, 1),)), (b"*:3", ((3, 3),))):
            self.assertEqual(SequenceSet.parse(text).resolve(0).ranges, ranges)

    def test_starIsResolvedAnew(self) -> None:
        """The same text means other messages in another mailbox."""
        for largest in (3, 9, 3):
            self.assertEqual(SequenceSet.parse(b"2:*").resolve(largest).ranges, ((2, largest),))

    def test_hasStar(self) -> None:
        """Whether * occurs; where it may not, it is refused."""
        for text in (b"*", b"1:*", b"*:1", b"1,*"):
            self.assertTrue(SequenceSet.parse(text).hasStar)
            self.assertRaises(SyntaxProblem, NumberSet.parse, text)
        self.assertFalse(SequenceSet.parse(b"1:3,7").hasStar)
        self.assertEqual(NumberSet.parse(b"7,1:3").ranges, ((1, 3), (7, 7)))

    def test_long(self) -> None:
        """A set of very many numbers is read, and not kept."""
        before = sequence._parseKnown.cache_info()
        text = b",".join(b"%d" % number for number in range(1, 20_001, 2))
        self.assertEqual(len(NumberSet.parse(text)), 10_000)
        self.assertEqual(sequence._parseKnown.cache_info(), before)

    @given(
        st.lists(st.tuples(*[st.none() | st.integers(1, 30)] * 2), min_size=1, max_size=6),
        st.integers(1, 30),
    )
    def test_anySet(self, elements: list[tuple[int | None, int | None]], largest: int) -> None:
        """Any set means the numbers that counting them one by one gives."""
        text = b",".join(
            b":".join(b"*" if end is None else b"%d" % end for end in element)
            for element in elements
        )
        expected = set()
        for first, last in elements:
            low, high = sorted((first or largest, last or largest))
            expected |= set(range(low, high + 1))
        self.assertEqual(list(SequenceSet.parse(text).resolve(largest)), sorted(expected))


class NumberSetTests(SynchronousTestCase):
    """
    C{NumberSet} against Python's sets.
    """

    def assertIs_(self, numbers: NumberSet, expected: set[int]) -> None:
        """
        A set is these numbers, in all that it can say of itself.
        """
        self.assertEqual(list(numbers), sorted(expected))
        self.assertEqual(len(numbers), len(expected))
        self.assertEqual(bool(numbers), bool(expected))
        for number in range(70):
            self.assertEqual(number in numbers, number in expected)
        # Disjoint, ascending and not adjacent: one form for one set.
        flat = [end for each in numbers.ranges for end in each]
        self.assertEqual(flat, sorted(flat))
        for (_, last), (first, _) in zip(numbers.ranges, numbers.ranges[1:], strict=False):
            self.assertGreater(first, last + 1)

    @given(NUMBERS, NUMBERS)
    def test_of(self, some: set[int], others: set[int]) -> None:
        """Sets of numbers, their union and their equality."""
        self.assertIs_(NumberSet.of(some), some)
        self.assertIs_(NumberSet.of(some) | NumberSet.of(others), some | others)
        self.assertEqual(NumberSet.of(some) == NumberSet.of(others), some == others)
        self.assertEqual(hash(NumberSet.of(some)), hash(NumberSet.of(sorted(some) * 2)))
        self.assertEqual(NumberSet.of([*some, *others]), NumberSet.of(some | others))

    @given(RANGES, RANGES)
    def test_both(self, ranges: list[tuple[int, int]], others: list[tuple[int, int]]) -> None:
        """What two sets have in common, and what one has alone."""
        one, other = NumberSet(ranges), NumberSet(others)
        self.assertIs_(one & other, set(one) & set(other))
        self.assertIs_(one - other, set(one) - set(other))

    @given(RANGES)
    def test_ranges(self, ranges: list[tuple[int, int]]) -> None:
        """Ranges in any order, overlapping or touching, are merged."""
        expected = {number for first, last in ranges for number in range(first, last + 1)}
        self.assertIs_(NumberSet(ranges), expected)
        self.assertEqual(NumberSet(ranges), NumberSet.of(expected))

    @given(NUMBERS)
    def test_render(self, some: set[int]) -> None:
        """What is rendered is read back."""
        numbers = NumberSet.of(some)
        if some:
            self.assertEqual(NumberSet.parse(numbers.render()), numbers)
        else:
            self.assertEqual(numbers.render(), b"")

    @given(RANGES, NUMBERS)
    def test_select(self, ranges: list[tuple[int, int]], uids: set[int]) -> None:
        """Those of a mailbox's UIDs that are in the set, ascending."""
        numbers = NumberSet(ranges)
        for ordered in (sorted(uids), array("I", sorted(uids))):
            self.assertEqual(numbers.select(ordered), [uid for uid in ordered if uid in numbers])

    @given(NUMBERS, st.integers(1, 10))
    def test_slices(self, some: set[int], size: int) -> None:
        """Slices are of at most that size, in order, and together all of it."""
        slices = list(NumberSet.slices(sorted(some), size))
        self.assertEqual([number for each in slices for number in each], sorted(some))
        self.assertTrue(all(0 < len(each) <= size for each in slices))

    def test_huge(self) -> None:
        """The largest range costs no more than a number."""
        everything = NumberSet([(1, MAX_NUMBER)])
        self.assertEqual((everything - NumberSet([(5, 5)])).render(), b"1:4,6:4294967295")
        self.assertEqual((everything & NumberSet([(5, 6)])).render(), b"5:6")
        self.assertEqual(everything - everything, NumberSet())
        everything = NumberSet([(1, MAX_NUMBER)])
        self.assertEqual(len(everything), MAX_NUMBER)
        self.assertIn(MAX_NUMBER, everything)
        self.assertNotIn(MAX_NUMBER + 1, everything)
        self.assertNotIn(0, everything)
        self.assertEqual(everything.select([1, 5, MAX_NUMBER]), [1, 5, MAX_NUMBER])
        self.assertEqual(everything.render(), b"1:4294967295")
        self.assertEqual(everything | NumberSet.of([7]), everything)

    def test_text(self) -> None:
        """The canonical text (RFC 9051 §9)."""
        self.assertEqual(NumberSet.of([9, 2, 1, 3, 5]).render(), b"1:3,5,9")
        self.assertEqual(repr(NumberSet.of([1, 2])), "NumberSet(1:2)")

    def test_otherThings(self) -> None:
        """A set equals only sets."""
        self.assertNotEqual(NumberSet.of([1]), {1})
