# -*- test-case-name: tests.imap.test_view -*-
"""
A session's view of its mailbox: what its client believes to be there.

Sequence number n is the n-th of C{uids}. The view is changed by L{View.apply} when the session
looks at the mailbox's change log, and EXPUNGEs are held back in it until the RFC allows to tell
them (RFC 9051 §7.5.1). It does no I/O and knows no protocol.

A mailbox of a million messages takes 20 MB. Views of it share that as long as they are alike
(L{View.twin}): the columns are copied when one of them is about to change.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from itertools import compress

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.model.flags import SEEN, Flags
from twisted_mailstack.model.records import Changes
from twisted_mailstack.model.sequence import LAST_RESULT, NumberSet, SequenceSet

#: Messages that are taken out of the columns one by one: cheaper than to make the columns anew.
_FEW = 32
_NOT = bytes((1, 0)) + bytes(254)


class View:
    r"""
    @ivar uids: of the messages the client knows of, ascending; C{flags} and C{modSeqs} in parallel.
        They may be another view's too, and are changed by the methods here alone.
    @ivar highestModSeq: up to where the change log was applied.
    @ivar uidNext: as of then.
    @ivar keywords: that the mailbox has seen, as of then.
    @ivar uidOnly: whether sequence numbers are refused (RFC 9586).
    @ivar saved: UIDs of what the last search saved, ascending (RFC 5182).
    @ivar touched: UIDs of messages that are new, or whose flags or modSeqs changed, gathered for
        whoever wants to know: C{None} if nobody does.
    @ivar numbersUsed: set when sequence numbers are resolved; whoever wants to know it of a command
        clears it before.
    """

    def __init__(self, changes: Changes) -> None:
        """
        @param changes: the whole mailbox, C{changesSince(0)}.
        """
        self.uids = changes.uids
        self.flags = changes.flags
        self.modSeqs = changes.modSeqs
        self.highestModSeq = changes.highestModSeq
        self.uidNext = changes.uidNext
        self.keywords = changes.keywords
        self.saved = array("I")
        self.touched: set[int] | None = None
        self.uidOnly = False
        self.numbersUsed = False
        # Whether the columns may be another view's too.
        self._shared = False
        # UIDs that are gone, and the client doesn't know.
        self._gone: set[int] = set()
        # Ascending ranges (first, last) of UIDs, those of messages yet to come included.
        self._recent: list[tuple[int, int]] = []

    @classmethod
    def empty(cls) -> View:
        """
        @return: of a mailbox without messages.
        """
        return cls(Changes(array("I"), [], array("Q"), NumberSet(), 0, 1, ()))

    def twin(self) -> View:
        """
        @return: another view of the mailbox, as of C{highestModSeq} and without anything that is
            held back here. It takes no room of its own until one of the two changes.
        """
        columns = self.uids, self.flags, self.modSeqs
        twin = View(Changes(*columns, NumberSet(), self.highestModSeq, self.uidNext, self.keywords))
        self._shared = twin._shared = True
        twin._gone = set(self._gone)
        twin.expunge()
        return twin

    def _own(self) -> None:
        # Before a column is changed in place.
        if self._shared:
            self.uids, self.flags, self.modSeqs = self.uids[:], self.flags[:], self.modSeqs[:]
            self._shared = False

    # --- recent messages -----------------------------------------------------------------------

    def claim(self, first: int, last: int) -> None:
        r"""
        Messages with these UIDs are C{\Recent} in this session, now or once they are seen.

        @param first: not below any that was claimed before.
        @param last: the last one; below C{first} for none.
        """
        if first > last:
            return
        recent = self._recent
        if recent and first <= recent[-1][1] + 1:
            # One range, not one for each delivery.
            recent[-1] = recent[-1][0], max(last, recent[-1][1])
        else:
            recent.append((first, last))

    def isRecent(self, uid: int) -> bool:
        r"""
        @return: whether the message has C{\Recent} in this session.
        """
        for first, last in self._recent:
            if first <= uid <= last:
                return True
        return False

    @property
    def recent(self) -> int:
        """How many messages are."""
        return sum(
            bisect_left(self.uids, last + 1) - bisect_left(self.uids, first)
            for first, last in self._recent
        )

    @property
    def hasRecent(self) -> bool:
        """Whether any may be."""
        return bool(self._recent)

    # --- numbers -------------------------------------------------------------------------------

    def index(self, uid: int) -> int | None:
        """
        @return: where the message is in the columns: its sequence number less one.
        """
        at = bisect_left(self.uids, uid)
        return at if at < len(self.uids) and self.uids[at] == uid else None

    def resolve(self, numbers: SequenceSet, byUID: bool) -> list[int]:
        """
        @param byUID: the numbers are UIDs: those that nobody has are ignored (RFC 9051 §6.4.9).
        @return: indexes, ascending; of C{$} those of the messages in C{saved} that are still there.
        @raise SyntaxProblem: for a sequence number that doesn't exist; with UIDREQUIRED (RFC 9586
            §3) for any, if there are to be only UIDs.
        """
        count = len(self.uids)
        if numbers is LAST_RESULT:
            return [at for at in map(self.index, self.saved) if at is not None]
        if byUID:
            found: list[int] = []
            for first, last in numbers.resolve(self.uids[-1] if count else 0).ranges:
                found.extend(range(bisect_left(self.uids, first), bisect_left(self.uids, last + 1)))
            return found
        if self.uidOnly:
            raise SyntaxProblem("UIDONLY is enabled", imapCode="UIDREQUIRED")
        self.numbersUsed = True
        ranges = numbers.resolve(count).ranges
        if (ranges and ranges[-1][1] > count) or (not count and not ranges):
            raise SyntaxProblem("No such message")
        return [number for first, last in ranges for number in range(first - 1, last)]

    def firstUnseen(self) -> int | None:
        """
        @return: the sequence number of the first message that isn't seen.
        """
        for number, flags in enumerate(self.flags, 1):
            if SEEN not in flags:
                return number
        return None

    # --- changes -------------------------------------------------------------------------------

    def update(self, uid: int, flags: Flags, modSeq: int) -> int | None:
        """
        The session itself changed flags.

        @return: the message's index, C{None} if the view has no such message.
        """
        at = self.index(uid)
        if at is not None and modSeq >= self.modSeqs[at]:
            self._own()
            self.flags[at] = flags
            self.modSeqs[at] = modSeq
            if self.touched is not None:
                self.touched.add(uid)
        return at

    def highestOf(self, indexes: Iterable[int]) -> int:
        """
        @return: the highest modSeq of these messages, 0 if there are none.
        """
        return max(map(self.modSeqs.__getitem__, indexes), default=0)

    def apply(self, changes: Changes, withModSeqs: bool = False) -> tuple[int, list[int]]:
        """
        Take over what happened since C{highestModSeq}.

        @param withModSeqs: a message whose modSeq alone is another has changed too.
        @return: how many messages are new, and the indexes of known ones whose flags are others
            now.
        """
        last = self.uids[-1] if self.uids else 0
        changed: list[int] = []
        new = 0
        if changes.uids:
            self._own()
        for uid, flags, modSeq in zip(changes.uids, changes.flags, changes.modSeqs, strict=True):
            if uid > last:
                if self.touched is not None:
                    self.touched.add(uid)
                self.uids.append(uid)
                self.flags.append(flags)
                self.modSeqs.append(modSeq)
                new += 1
                continue
            at = self.index(uid)
            if at is not None and modSeq > self.modSeqs[at]:
                if withModSeqs or flags != self.flags[at]:
                    changed.append(at)
                if self.touched is not None:
                    self.touched.add(uid)
                self.flags[at] = flags
                self.modSeqs[at] = modSeq
        self._gone.update(changes.vanished.select(self.uids))
        self.highestModSeq = changes.highestModSeq
        self.uidNext = changes.uidNext
        self.keywords = changes.keywords
        return new, changed

    def observe(self, changes: Changes) -> list[int]:
        """
        Take over the flags of known messages and nothing else: L{apply} is still to come.

        @return: UIDs of messages whose flags are others now.
        """
        changed = []
        if changes.uids:
            self._own()
        for uid, flags, modSeq in zip(changes.uids, changes.flags, changes.modSeqs, strict=True):
            at = self.index(uid)
            if at is not None and modSeq > self.modSeqs[at]:
                self.flags[at] = flags
                self.modSeqs[at] = modSeq
                changed.append(uid)
                if self.touched is not None:
                    self.touched.add(uid)
        return changed

    @property
    def hasGone(self) -> bool:
        """Whether EXPUNGEs are held back."""
        return bool(self._gone)

    @property
    def gone(self) -> NumberSet:
        """UIDs of messages that are gone and that the client doesn't know to be gone."""
        return NumberSet.of(self._gone)

    def isGone(self, uid: int) -> bool:
        """
        @return: whether the message is gone and the client doesn't know.
        """
        return uid in self._gone

    def expunge(self) -> list[int]:
        """
        Let the messages that are gone go.

        @return: their sequence numbers, the highest first, so that none shifts those that are yet
            to be told.
        """
        if not self._gone:
            return []
        count = len(self.uids)
        if len(self._gone) <= _FEW:
            places = sorted(bisect_left(self.uids, uid) for uid in self._gone)
            self._own()
            for at in reversed(places):
                del self.uids[at], self.flags[at], self.modSeqs[at]
        else:
            isGone = bytes(map(self._gone.__contains__, self.uids))
            isKept = isGone.translate(_NOT)
            places = list(compress(range(count), isGone))
            self.uids = array("I", compress(self.uids, isKept))
            self.flags = list(compress(self.flags, isKept))
            self.modSeqs = array("Q", compress(self.modSeqs, isKept))
            self._shared = False
        self._gone = set()
        return [at + 1 for at in reversed(places)]
