"""
The sequence numbers of a session: RFC 3501 §2.3.1.2, §7.4.1, RFC 9051 §7.5.1, and C{\\Recent}.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.imap.view import View
from twisted_mailstack.model.flags import DELETED, FLAGGED, SEEN, Flags, internFlags
from twisted_mailstack.model.records import Changes
from twisted_mailstack.model.sequence import NumberSet, SequenceSet


def changes(
    entries: Sequence[tuple[int, Sequence[str], int]] = (),
    vanished: Sequence[int] = (),
    *,
    modSeq: int = 10,
    uidNext: int = 100,
    keywords: tuple[str, ...] = (),
) -> Changes:
    """
    @param entries: UID, flags, modSeq.
    """
    return Changes(
        array("I", [uid for uid, _, _ in entries]),
        [internFlags(flags) for _, flags, _ in entries],
        array("Q", [each for _, _, each in entries]),
        NumberSet.of(vanished),
        modSeq,
        uidNext,
        keywords,
    )


def viewOf(*uids: int) -> View:
    """
    @return: a view of messages without flags.
    """
    return View(changes([(uid, (), 1) for uid in uids]))


class NumberTests(SynchronousTestCase):
    """
    Which messages a sequence set names.
    """

    def test_sequenceNumbers(self) -> None:
        """
        A sequence number is a message's place in the mailbox; sets may overlap, run backwards and
        have any order; C{*} is the last message (RFC 9051 §9, seq-range).
        """
        view = viewOf(3, 4, 8, 20)
        for text, indexes in (
            (b"1", [0]),
            (b"4", [3]),
            (b"2:3", [1, 2]),
            (b"3:2", [1, 2]),
            (b"*", [3]),
            (b"*:*", [3]),
            (b"3:*", [2, 3]),
            (b"*:3", [2, 3]),
            (b"4,1", [0, 3]),
            (b"1:3,2:4,2", [0, 1, 2, 3]),
        ):
            self.assertEqual(view.resolve(SequenceSet.parse(text), False), indexes, text)

    def test_sequenceNumbersBeyondTheEnd(self) -> None:
        """
        A sequence number greater than the number of messages is an error, and never taken for the
        last message; C{5:*} has 5 in it (RFC 9051 §9, seq-number).
        """
        view = viewOf(3, 4, 8, 20)
        for text in (b"5", b"4:5", b"1,5", b"5:*", b"*:5", b"4294967295", b"1:4294967295"):
            with self.assertRaises(SyntaxProblem, msg=text):
                view.resolve(SequenceSet.parse(text), False)

    def test_sequenceNumbersOfAnEmptyMailbox(self) -> None:
        """
        In an empty mailbox no sequence number exists, C{*} included (RFC 9051 §9, seq-number).
        """
        for text in (b"1", b"*", b"1:*", b"*:*", b"*:1"):
            with self.assertRaises(SyntaxProblem, msg=text):
                viewOf().resolve(SequenceSet.parse(text), False)

    def test_uids(self) -> None:
        """
        UIDs that nobody has are ignored; C{*} is the highest UID in use, whatever stands at the
        other end of its range (RFC 9051 §6.4.9, RFC 3501 §6.4.8).
        """
        view = viewOf(3, 4, 8, 20)
        for text, indexes in (
            (b"3", [0]),
            (b"1", []),
            (b"5:7", []),
            (b"1:5", [0, 1]),
            (b"4:8", [1, 2]),
            (b"*", [3]),
            (b"8:*", [2, 3]),
            (b"21:*", [3]),
            (b"4294967295:*", [3]),
            (b"*:21", [3]),
            (b"1:4294967295", [0, 1, 2, 3]),
            (b"20,3,3:4", [0, 1, 3]),
        ):
            self.assertEqual(view.resolve(SequenceSet.parse(text), True), indexes, text)

    def test_uidsOfAnEmptyMailbox(self) -> None:
        """
        A set of UIDs names nothing in an empty mailbox, and is no error.
        """
        for text in (b"1", b"*", b"1:*", b"*:*", b"5:*"):
            self.assertEqual(viewOf().resolve(SequenceSet.parse(text), True), [], text)

    def test_index(self) -> None:
        """
        A UID is found where it is; one that is missing isn't.
        """
        view = viewOf(3, 4, 8)
        self.assertEqual(
            [view.index(uid) for uid in (1, 3, 4, 5, 8, 9)], [None, 0, 1, None, 2, None]
        )

    def test_uidOnly(self) -> None:
        """
        Where UIDs alone may name messages any sequence number is refused, with UIDREQUIRED (RFC
        9586 §3).
        """
        view = viewOf(3, 4)
        view.uidOnly = True
        for text in (b"1", b"*", b"7"):
            problem = self.assertRaises(SyntaxProblem, view.resolve, SequenceSet.parse(text), False)
            self.assertEqual(problem.imapCode, "UIDREQUIRED", text)
        self.assertEqual(view.resolve(SequenceSet.parse(b"4"), True), [1])

    def test_numbersUsed(self) -> None:
        """
        Whether a command has sequence numbers in it is known afterwards (RFC 7162 §3.2.10.2).
        """
        view = viewOf(3, 4)
        view.resolve(SequenceSet.parse(b"4"), True)
        self.assertFalse(view.numbersUsed)
        view.resolve(SequenceSet.parse(b"1"), False)
        self.assertTrue(view.numbersUsed)

    def test_highestOf(self) -> None:
        """
        The highest modSeq of some messages.
        """
        view = View(changes([(1, [], 5), (2, [], 9), (3, [], 7)]))
        self.assertEqual(view.highestOf([0, 2]), 7)
        self.assertEqual(view.highestOf([]), 0)

    def test_firstUnseen(self) -> None:
        """
        The first message without C{\\Seen} is found by its number; none if all were seen.
        """
        self.assertIsNone(viewOf().firstUnseen())
        self.assertEqual(viewOf(5).firstUnseen(), 1)
        seen = [(1, [SEEN], 1), (2, [SEEN, FLAGGED], 1)]
        self.assertIsNone(View(changes(seen)).firstUnseen())
        self.assertEqual(View(changes([*seen, (3, [FLAGGED], 1)])).firstUnseen(), 3)


class ChangeTests(SynchronousTestCase):
    """
    What others change, taken over.
    """

    def test_modSeqs(self) -> None:
        """
        For who knows modSeqs a message has changed that has a higher one, whatever its flags (RFC
        7162 §3.1).
        """
        view = viewOf(3, 4)
        self.assertEqual(view.apply(changes([(4, [], 12)], modSeq=12), True), (0, [1]))
        self.assertEqual(view.apply(changes([(4, [], 12)], modSeq=12), True), (0, []))

    def test_newMessages(self) -> None:
        """
        New messages come behind the known ones, with their flags.
        """
        view = viewOf(3, 4)
        new, changed = view.apply(changes([(7, [SEEN], 12), (9, [], 13)], modSeq=13, uidNext=10))
        self.assertEqual((new, changed), (2, []))
        self.assertEqual(list(view.uids), [3, 4, 7, 9])
        self.assertEqual(view.flags[2:], [frozenset([SEEN]), frozenset()])
        self.assertEqual((view.highestModSeq, view.uidNext), (13, 10))

    def test_flags(self) -> None:
        """
        Messages whose flags are others now are named; those that only got a newer modSeq with the
        same flags are not.
        """
        view = viewOf(3, 4, 5)
        new, changed = view.apply(changes([(3, [SEEN], 12), (4, [], 12)], modSeq=12))
        self.assertEqual((new, changed), (0, [0]))
        self.assertEqual(view.flags[0], frozenset([SEEN]))
        self.assertEqual(list(view.modSeqs), [12, 12, 1])

    def test_ownChangesAreNotNews(self) -> None:
        """
        What the session itself changed comes back in the change log and is no news; what another
        session made of it later is.
        """
        view = viewOf(3, 4)
        self.assertEqual(view.update(4, internFlags([SEEN]), 12), 1)
        self.assertEqual(view.apply(changes([(4, [SEEN], 12)], modSeq=12)), (0, []))
        self.assertEqual(view.apply(changes([(4, [], 13)], modSeq=13)), (0, [1]))

    def test_olderThanKnown(self) -> None:
        """
        A state older than the one known, of whatever origin, changes nothing.
        """
        view = viewOf(3)
        view.update(3, internFlags([SEEN]), 20)
        view.update(3, internFlags([FLAGGED]), 19)
        self.assertEqual(view.apply(changes([(3, [DELETED], 18)], modSeq=20)), (0, []))
        self.assertEqual(view.flags, [frozenset([SEEN])])

    def test_updateOfUnknown(self) -> None:
        """
        A change of a message that the client doesn't know of is left for the change log.
        """
        view = viewOf(3)
        self.assertIsNone(view.update(9, internFlags([SEEN]), 20))
        self.assertEqual(list(view.uids), [3])

    def test_expungeIsHeldBack(self) -> None:
        """
        A message that is gone keeps its number until the client is told (RFC 9051 §7.5.1): until
        then numbers mean what the client believes they do.
        """
        view = viewOf(3, 4, 8, 20)
        self.assertEqual(view.apply(changes([], [4, 8], modSeq=12)), (0, []))
        self.assertTrue(view.hasGone)
        self.assertEqual([view.isGone(uid) for uid in (3, 4, 8, 20)], [False, True, True, False])
        self.assertEqual(view.resolve(SequenceSet.parse(b"4"), False), [3])
        self.assertEqual(list(view.uids), [3, 4, 8, 20])
        self.assertEqual(view.expunge(), [3, 2])
        self.assertEqual(list(view.uids), [3, 20])
        self.assertFalse(view.hasGone)
        self.assertFalse(view.isGone(4))
        self.assertEqual(view.expunge(), [])

    def test_expungeFewOrMany(self) -> None:
        """
        However many go, the rest keep their flags and modSeqs.
        """
        for count in (1, 31, 32, 33, 150, 199, 200):
            entries = [(uid, [f"k{uid}"], uid + 1000) for uid in range(1, 201)]
            view = View(changes(entries))
            gone = [uid for uid in range(1, 201) if uid * 7 % 200 < count]
            view.apply(changes([], gone, modSeq=12))
            self.assertEqual(view.gone, NumberSet.of(gone))
            self.assertEqual(view.expunge(), gone[::-1])
            left = [entry for entry in entries if entry[0] not in gone]
            self.assertEqual(list(view.uids), [uid for uid, _, _ in left])
            self.assertEqual(view.flags, [internFlags(flags) for _, flags, _ in left])
            self.assertEqual(list(view.modSeqs), [modSeq for _, _, modSeq in left])
            self.assertEqual(view.gone, NumberSet())

    def test_newMessagesWhileExpungesAreHeldBack(self) -> None:
        """
        New messages get numbers behind the ones that are gone and not yet told: EXISTS never
        shrinks without an EXPUNGE.
        """
        view = viewOf(3, 4)
        view.apply(changes([(5, [], 13)], [3], modSeq=13))
        self.assertEqual(list(view.uids), [3, 4, 5])
        view.apply(changes([(6, [], 14)], [5], modSeq=14))
        self.assertEqual(list(view.uids), [3, 4, 5, 6])
        self.assertEqual(view.expunge(), [3, 1])
        self.assertEqual(list(view.uids), [4, 6])

    def test_comeAndGone(self) -> None:
        """
        A message that came and was expunged between two looks never was there for this client.
        """
        view = viewOf(3)
        self.assertEqual(view.apply(changes([(6, [], 14)], [4, 5], modSeq=14)), (1, []))
        self.assertFalse(view.hasGone)
        self.assertEqual(list(view.uids), [3, 6])

    def test_allGone(self) -> None:
        """
        When all messages are gone each is told, the last one first, and the mailbox is empty; the
        next message is number 1.
        """
        view = viewOf(3, 4, 5)
        view.apply(changes([], [3, 4, 5], modSeq=12))
        self.assertEqual(view.expunge(), [3, 2, 1])
        self.assertEqual((list(view.uids), view.flags, list(view.modSeqs)), ([], [], []))
        self.assertEqual(view.apply(changes([(6, [], 13)], modSeq=13)), (1, []))
        self.assertEqual(view.resolve(SequenceSet.parse(b"*"), False), [0])

    def test_keywords(self) -> None:
        """
        The keywords of the mailbox are those of the last look.
        """
        view = viewOf(3)
        view.apply(changes(keywords=("$Forwarded",)))
        self.assertEqual(view.keywords, ("$Forwarded",))

    @settings(deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.integers(0, 4),
                st.lists(st.integers(0, 30), max_size=5),
                st.booleans(),
            ),
            max_size=15,
        )
    )
    def test_clientAgrees(self, steps: list[tuple[int, list[int], bool]]) -> None:
        """
        Whatever comes and goes, a client that only counts EXISTS and takes away what EXPUNGE names,
        one after the other, has the same messages.
        """
        stored: list[int] = []
        uidNext = 1
        view = View(changes([], uidNext=1))
        client: list[int] = []
        for count, places, mayExpunge in steps:
            before = list(stored)
            added = list(range(uidNext, uidNext + count))
            uidNext += count
            stored += added
            gone = sorted({stored[place] for place in places if place < len(stored)})
            stored = [uid for uid in stored if uid not in gone]
            fresh = [uid for uid in added if uid in stored]
            new, _ = view.apply(changes([(uid, (), 5) for uid in fresh], gone, uidNext=uidNext))
            self.assertEqual(new, len(fresh))
            if mayExpunge:
                for number in view.expunge():
                    del client[number - 1]
            client += fresh
            self.assertEqual(list(view.uids), client)
            if mayExpunge:
                self.assertEqual(client, stored)
            self.assertTrue(set(before) - set(gone) <= set(client))


class RecentTests(SynchronousTestCase):
    """
    C{\\Recent} (RFC 3501 §2.3.2).
    """

    def test_claimed(self) -> None:
        """
        Messages in the claimed range are recent, others aren't.
        """
        view = viewOf(3, 4, 8, 20)
        self.assertEqual((view.recent, view.hasRecent), (0, False))
        view.claim(4, 9)
        self.assertEqual([view.isRecent(uid) for uid in (3, 4, 8, 20)], [False, True, True, False])
        self.assertEqual((view.recent, view.hasRecent), (2, True))

    def test_nothingClaimed(self) -> None:
        """
        An empty range makes nothing recent.
        """
        view = viewOf(3, 4)
        view.claim(5, 4)
        self.assertEqual((view.recent, view.hasRecent), (0, False))

    def test_claimedBeforeSeen(self) -> None:
        """
        A message that was claimed before the view has it is recent once it does.
        """
        view = viewOf(3)
        view.claim(4, 5)
        self.assertEqual(view.recent, 0)
        view.apply(changes([(4, [], 12), (5, [], 12), (6, [], 12)], modSeq=12))
        self.assertEqual(view.recent, 2)
        self.assertFalse(view.isRecent(6))

    def test_expungedIsNotCounted(self) -> None:
        """
        A recent message that was expunged isn't counted any more, but is until that is told.
        """
        view = viewOf(3, 4)
        view.claim(3, 4)
        view.apply(changes([], [4]))
        self.assertEqual(view.recent, 2)
        view.expunge()
        self.assertEqual(view.recent, 1)

    def test_rangesThatTouchAreOne(self) -> None:
        """
        A session that stays for ten thousand deliveries keeps one range, not ten thousand.
        """
        view = viewOf()
        for uid in range(1, 10_001):
            view.claim(uid, uid)
        self.assertEqual(view._recent, [(1, 10_000)])
        view.claim(20_000, 20_001)
        view.claim(20_001, 20_005)
        view.claim(20_002, 20_003)
        self.assertEqual(view._recent, [(1, 10_000), (20_000, 20_005)])

    def test_flagsDontHaveIt(self) -> None:
        """
        C{\\Recent} is no stored flag: the columns of the view never have it.
        """
        view = viewOf(3)
        view.claim(3, 3)
        flags: list[Flags] = view.flags
        self.assertEqual(flags, [frozenset()])


class TwinTests(SynchronousTestCase):
    """
    Two views of a mailbox that share their columns.
    """

    def test_twin(self) -> None:
        """
        A twin is at the same place of the change log; what is gone and held back isn't in it, and
        neither is anything that is the session's own.
        """
        view = View(changes([(3, [SEEN], 5), (4, [], 6), (8, [], 7)], modSeq=9, uidNext=12))
        view.claim(3, 8)
        view.saved.append(3)
        view.touched = {3}
        view.uidOnly = True
        view.apply(changes([], [4], modSeq=11, uidNext=13, keywords=("a",)))
        twin = view.twin()
        self.assertEqual(_state(twin), ([3, 8], [{SEEN}, set()], [5, 7], 11, 13, ("a",)))
        self.assertFalse(twin.hasGone or twin.hasRecent or twin.uidOnly or twin.saved)
        self.assertIsNone(twin.touched)
        self.assertEqual(list(view.uids), [3, 4, 8])
        self.assertEqual(view.expunge(), [2])

    def test_sharing(self) -> None:
        """
        Until one of them changes there is only one list of the messages.
        """
        view = viewOf(3, 4, 8)
        twin = view.twin()
        twin.apply(changes([], modSeq=15))
        self.assertIs(view.uids, twin.uids)
        self.assertIs(view.flags, twin.flags)
        twin.apply(changes([(9, [], 16)], modSeq=16))
        self.assertIsNot(view.uids, twin.uids)
        # Of its own: no need to copy it once more.
        own = twin.flags
        twin.update(3, internFlags([SEEN]), 17)
        self.assertIs(twin.flags, own)

    @settings(deadline=None)
    @given(st.data())
    def test_independent(self, data: st.DataObject) -> None:
        """
        Whatever is done to one of them, and in whatever order twins are made, the others stay as
        they are.
        """
        first = [(uid, (), 1) for uid in range(1, 1 + data.draw(st.integers(0, 60)))]
        uidNext = modSeq = len(first) + 1
        views = [View(changes(first, uidNext=uidNext))]
        models = [_Model(first)]
        for _ in range(data.draw(st.integers(1, 12))):
            which = data.draw(st.integers(0, len(views) - 1))
            view, model = views[which], models[which]
            what = data.draw(st.sampled_from(("twin", "new", "flags", "own", "gone", "tell")))
            modSeq += 1
            some = data.draw(st.sets(st.sampled_from(sorted(model.held) or [0])))
            flags = frozenset(data.draw(st.sampled_from([(), (SEEN,), (FLAGGED, "k")])))
            entries = [(uid, tuple(flags), modSeq) for uid in sorted(some) if uid]
            if what == "twin":
                views.append(view.twin())
                models.append(
                    _Model([(u, *e) for u, e in model.held.items() if u not in model.gone])
                )
            elif what == "new":
                entries = [(uidNext, tuple(flags), modSeq)]
                uidNext += 1
                view.apply(changes(entries, modSeq=modSeq))
                model.take(entries)
            elif what == "flags":
                getattr(view, data.draw(st.sampled_from(("apply", "observe"))))(changes(entries))
                model.take(entries)
            elif what == "own":
                for uid, _, _ in entries:
                    view.update(uid, flags, modSeq)
                model.take(entries)
            elif what == "gone":
                view.apply(changes([], sorted(some)))
                model.gone |= some & set(model.held)
            else:
                view.expunge()
                model.held = {u: e for u, e in model.held.items() if u not in model.gone}
                model.gone = set()
            for each, expected in zip(views, models, strict=True):
                self.assertEqual(_state(each)[:3], expected.columns())
                self.assertEqual(set(each.gone), expected.gone)


class _Model:
    """
    A view that shares nothing.
    """

    def __init__(self, entries: Sequence[tuple[int, Sequence[str], int]]) -> None:
        self.held: dict[int, tuple[Sequence[str], int]] = {}
        self.gone: set[int] = set()
        self.take(entries)

    def take(self, entries: Sequence[tuple[int, Sequence[str], int]]) -> None:
        """Messages that are new, or have other flags."""
        self.held.update({uid: (flags, modSeq) for uid, flags, modSeq in entries})

    def columns(self) -> tuple[list[int], list[set[str]], list[int]]:
        """What the view has to have."""
        uids = sorted(self.held)
        return uids, [set(self.held[u][0]) for u in uids], [self.held[u][1] for u in uids]


def _state(view: View) -> tuple[object, ...]:
    return (
        *(list(view.uids), [set(each) for each in view.flags], list(view.modSeqs)),
        *(view.highestModSeq, view.uidNext, view.keywords),
    )
