# -*- test-case-name: tests.storage.test_memory -*-
"""
What L{IMailbox} promises, and L{IMovableMailbox} and L{ISearchableMailbox} where a store has them.
"""

from __future__ import annotations

import re
from array import array
from random import Random
from threading import get_ident
from typing import Any

from twisted_mailstack.errors import (
    MailError,
    MessageExpunged,
    NoSuchAccount,
    NoSuchMailbox,
    OverQuota,
)
from twisted_mailstack.interfaces import (
    IMailbox,
    IMovableMailbox,
    ISearchableAccount,
    ISearchableMailbox,
)
from twisted_mailstack.model.flags import (
    DELETED,
    FLAGGED,
    NO_FLAGS,
    SEEN,
    FlagOperation,
    Flags,
    internFlags,
)
from twisted_mailstack.model.message import summarise
from twisted_mailstack.model.records import (
    SMALL_MESSAGE,
    Attribute,
    Changes,
    CopyResult,
    Placement,
    StoreResult,
)
from twisted_mailstack.model.sequence import MAX_NUMBER, NumberSet
from twisted_mailstack.testing.contracts.base import EVERYTHING, StorageContract, start

#: RFC 8474 §4: objectid = 1*255(ALPHA / DIGIT / "_" / "-"); ours have at most 64 characters.
OBJECT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")

ADD, REMOVE, REPLACE = FlagOperation.ADD, FlagOperation.REMOVE, FlagOperation.REPLACE


class Follower:
    """
    Knows a mailbox only by its change log.
    """

    def __init__(self, changes: Changes) -> None:
        self.entries: dict[int, tuple[Flags, int]] = {}
        self.modSeq = 0
        self.apply(changes)

    def apply(self, changes: Changes) -> None:
        """
        Take over what happened.
        """
        for uid, flags, modSeq in zip(changes.uids, changes.flags, changes.modSeqs, strict=True):
            self.entries[uid] = flags, modSeq
        for uid in changes.vanished.select(sorted(self.entries)):
            del self.entries[uid]
        self.modSeq = changes.highestModSeq


class MailboxContract(StorageContract):
    """
    One mailbox as a change log.
    """

    def setUp(self) -> None:
        """
        Two mailboxes of alice's.
        """
        super().setUp()
        self.inbox = self.mailbox("INBOX")
        self.other = self.mailbox("other")

    def change(
        self,
        uids: NumberSet,
        operation: FlagOperation,
        *flags: str,
        unchangedSince: int | None = None,
        mailbox: IMailbox | None = None,
    ) -> StoreResult:
        """
        @return: the result of C{storeFlags}.
        """
        return self.wait(
            (mailbox or self.inbox).storeFlags(uids, operation, frozenset(flags), unchangedSince)
        )

    def copy(
        self, uids: NumberSet, destination: IMailbox, source: IMailbox | None = None
    ) -> CopyResult:
        """
        @return: the result of C{copyMessages}.
        """
        return self.wait((source or self.inbox).copyMessages(uids, destination))

    def modSeq(self, mailbox: IMailbox | None = None) -> int:
        """
        @return: the highest modSeq of a mailbox.
        """
        return self.wait((mailbox or self.inbox).status()).highestModSeq

    # --- the mailbox itself --------------------------------------------------------------------

    def test_provides(self) -> None:
        """A mailbox is what the interface says, and knows its account and id."""
        self.assertProvides(IMailbox, self.inbox)
        self.assertEqual(self.inbox.account.accountId, self.account.accountId)
        ids = {info.name: info.mailboxId for info in self.wait(self.account.listMailboxes())}
        self.assertEqual(self.inbox.mailboxId, ids["INBOX"])
        self.assertEqual(self.other.mailboxId, ids["other"])

    def test_ids(self) -> None:
        """Every id has the form of RFC 8474 §4, and no two objects share one."""
        self.append(self.inbox)
        self.append(self.inbox)
        rows = self.fetch(self.inbox, Attribute.MESSAGE_ID, Attribute.THREAD_ID)
        ids = [
            *(row[1] for row in rows),
            *(row[2] for row in rows),
            *(info.mailboxId for info in self.wait(self.account.listMailboxes())),
            self.account.accountId,
        ]
        for each in ids:
            self.assertTrue(OBJECT_ID.match(each), each)
        self.assertEqual(len(set(ids)), len(ids))

    def test_empty(self) -> None:
        """A new mailbox has no messages, and its next UID is 1."""
        status = self.wait(self.other.status())
        self.assertEqual(
            (status.messages, status.unseen, status.deleted, status.recent, status.octets),
            (0, 0, 0, 0, 0),
        )
        self.assertEqual((status.uidNext, status.keywords), (1, ()))
        self.assertTrue(0 < status.uidValidity <= MAX_NUMBER)
        self.assertTrue(status.highestModSeq > 0)
        self.assertCounts(self.other)

    def test_twoObjects(self) -> None:
        """Each object of a mailbox sees at once what was done by another."""
        again = self.mailbox("INBOX")
        uid = self.append(again)
        self.assertEqual(self.uids(self.inbox), [uid])
        self.wait(self.inbox.expunge(None, False))
        self.assertEqual(self.uids(again), [])

    # --- UIDs ----------------------------------------------------------------------------------

    def test_uidsAscend(self) -> None:
        """Each message gets a higher UID than all before it (RFC 9051 §2.3.1.1)."""
        uids = [self.append(self.inbox) for _ in range(5)]
        self.assertEqual(uids, sorted(set(uids)))
        self.assertEqual(self.wait(self.inbox.status()).uidNext, uids[-1] + 1)

    def test_uidsNeverReused(self) -> None:
        """
        A UID never comes back, not after its message was expunged, the last one or all of them, nor
        by a copy or move.
        """
        used: set[int] = set()
        for _ in range(3):
            for _ in range(2):
                uid = self.append(self.inbox)
                self.assertNotIn(uid, used)
                used.add(uid)
            made = self.copy(NumberSet.of([uid]), self.inbox).destinations
            self.assertNotIn(made[0], used)
            used.update(made)
            self.wait(self.inbox.expunge(None, False))
        self.assertEqual(self.wait(self.inbox.status()).uidNext, max(used) + 1)

    def test_uidNext(self) -> None:
        """
        UIDNEXT changes when messages are added, even if they are expunged, and only then
        (RFC 9051 §2.3.1.1).
        """
        self.append(self.inbox)
        before = self.wait(self.inbox.status()).uidNext
        self.change(EVERYTHING, ADD, SEEN)
        self.wait(self.inbox.claimRecent())
        self.copy(EVERYTHING, self.other)
        self.wait(self.inbox.expunge(None, False))
        self.assertEqual(self.wait(self.inbox.status()).uidNext, before)
        self.append(self.inbox)
        self.wait(self.inbox.expunge(None, False))
        self.assertTrue(self.wait(self.inbox.status()).uidNext > before)

    # --- APPEND --------------------------------------------------------------------------------

    def test_append(self) -> None:
        """What was appended is there with its flags, date and zone, saved now."""
        self.seconds = 1_234_567_890.5
        uid = self.append(self.inbox, b"x", ("\\Seen", "Keyword"), -12345, -570)
        rows = self.fetch(
            self.inbox,
            *(Attribute.FLAGS, Attribute.INTERNAL_DATE, Attribute.ZONE, Attribute.SAVE_DATE),
            Attribute.PREFIX_SIZE,
        )
        self.assertEqual(
            list(rows),
            [(uid, frozenset(("\\Seen", "Keyword")), -12345, -570, 1_234_567_890, 0)],
        )
        self.assertCounts(self.inbox)

    def test_appendSeveral(self) -> None:
        """Several messages get their UIDs in the order given, in one step (RFC 3502)."""
        before = self.modSeq()
        messages = [
            (self.stage(b"%d" % number), frozenset({f"k{number}"}), number, 0)
            for number in range(5)
        ]
        result = self.wait(self.inbox.append(messages))
        self.assertEqual(result.uidValidity, self.wait(self.inbox.status()).uidValidity)
        self.assertEqual(list(result.uids), sorted(result.uids))
        rows = self.fetch(self.inbox, Attribute.CONTENT, Attribute.FLAGS, Attribute.MODSEQ)
        self.assertEqual(
            [row[:3] for row in rows],
            [
                (uid, b"%d" % number, frozenset({f"k{number}"}))
                for number, uid in enumerate(result.uids)
            ],
        )
        # One step is one modSeq.
        self.assertEqual(len({row[3] for row in rows}), 1)
        self.assertTrue(rows[0][3] > before)

    def test_appendNothing(self) -> None:
        """To append nothing changes nothing."""
        before = self.wait(self.inbox.status())
        result = self.wait(self.inbox.append([]))
        self.assertEqual(list(result.uids), [])
        self.assertEqual(result.uidValidity, before.uidValidity)
        self.assertEqual(self.wait(self.inbox.status()), before)

    def test_appendAllOrNone(self) -> None:
        """If the last of several doesn't fit, none is there (RFC 3502 §6.3.11)."""
        for octets, messages in ((25, None), (None, 2), (25, 2)):
            self.wait(self.store.directory.setQuota(self.address("alice"), octets, messages))
            before = self.wait(self.inbox.status())
            batch = [(self.stage(b"x" * 10), frozenset({"new"}), 0, 0) for _ in range(3)]
            self.assertFails(self.inbox.append(batch), OverQuota)
            self.assertEqual(self.wait(self.inbox.status()), before)
            self.assertEqual(self.wait(self.account.quota()).messages, 0)
        self.assertSound()

    def test_appendQuota(self) -> None:
        """What fits exactly fits; one octet or one message more does not."""
        directory = self.store.directory
        self.wait(directory.setQuota(self.address("alice"), 20, None))
        self.append(self.inbox, b"x" * 10)
        self.append(self.other, b"x" * 10)
        staged = self.stage(b"y")
        self.assertFails(self.inbox.append([(staged, NO_FLAGS, 0, 0)]), OverQuota)
        # Nothing always fits.
        self.append(self.inbox, b"")
        self.wait(directory.setQuota(self.address("alice"), None, 3))
        self.assertFails(self.inbox.append([(staged, NO_FLAGS, 0, 0)]), OverQuota)
        self.wait(self.inbox.expunge(None, False))
        self.wait(self.inbox.append([(staged, NO_FLAGS, 0, 0)]))
        self.assertSound()

    # --- the change log ------------------------------------------------------------------------

    def test_modSeqOfTheAccount(self) -> None:
        """
        Each change takes the next modSeq of the account, whichever mailbox it is in, and is as
        young as that.
        """
        seen: list[int] = []

        def young(mailbox: IMailbox) -> None:
            modSeq = self.modSeq(mailbox)
            self.assertTrue(modSeq > max(seen, default=0), (modSeq, seen))
            seen.append(modSeq)

        self.append(self.inbox)
        young(self.inbox)
        self.append(self.other)
        young(self.other)
        self.change(EVERYTHING, ADD, SEEN)
        young(self.inbox)
        self.copy(EVERYTHING, self.other)
        young(self.other)
        self.wait(self.inbox.expunge(None, False))
        young(self.inbox)
        self.deliver(b"x")
        young(self.inbox)
        self.assertTrue(seen[-1] < 1 << 63)

    def test_otherMailboxesStay(self) -> None:
        """A change of one mailbox is none of another: its highest modSeq stays."""
        self.append(self.inbox)
        before = self.wait(self.other.status())
        self.change(EVERYTHING, ADD, SEEN)
        self.wait(self.inbox.expunge(None, False))
        self.assertEqual(self.wait(self.other.status()), before)
        # To copy from a mailbox doesn't change it.
        self.append(self.inbox)
        before = self.wait(self.inbox.status())
        self.copy(EVERYTHING, self.other)
        self.assertEqual(self.wait(self.inbox.status()), before)

    def test_changesSinceZero(self) -> None:
        """The whole mailbox: three columns by ascending UID, and nothing vanished."""
        uids = [self.append(self.inbox, flags=flags) for flags in ((), ("\\Seen",), ("a", "b"))]
        self.wait(self.inbox.expunge(NumberSet.of(uids[1:2]), False))
        changes = self.wait(self.inbox.changesSince(0))
        self.assertEqual(changes.uids, array("I", [uids[0], uids[2]]))
        self.assertEqual(changes.flags, [NO_FLAGS, frozenset("ab")])
        self.assertIsInstance(changes.modSeqs, array)
        self.assertEqual(changes.modSeqs.typecode, "Q")
        self.assertEqual(changes.vanished, NumberSet())
        status = self.wait(self.inbox.status())
        self.assertEqual(
            (changes.highestModSeq, changes.uidNext, changes.keywords),
            (status.highestModSeq, status.uidNext, status.keywords),
        )

    def test_changesSince(self) -> None:
        """Only what changed after a modSeq, and what vanished after it."""
        one, two, three, four = [self.append(self.inbox) for _ in range(4)]
        at = self.modSeq()
        nothing = self.wait(self.inbox.changesSince(at))
        self.assertEqual((list(nothing.uids), nothing.vanished), ([], NumberSet()))
        self.assertEqual(nothing.highestModSeq, at)
        self.change(NumberSet.of([two]), ADD, FLAGGED)
        self.wait(self.inbox.expunge(NumberSet.of([three]), False))
        five = self.append(self.inbox)
        changes = self.wait(self.inbox.changesSince(at))
        self.assertEqual(list(changes.uids), [two, five])
        self.assertEqual(changes.flags, [frozenset({FLAGGED}), NO_FLAGS])
        self.assertTrue(all(modSeq > at for modSeq in changes.modSeqs))
        self.assertIn(three, changes.vanished)
        self.assertEqual(changes.vanished.select([one, two, four, five]), [], "they are there")
        self.assertEqual(changes.highestModSeq, self.modSeq())
        # And from there on nothing.
        again = self.wait(self.inbox.changesSince(changes.highestModSeq))
        self.assertEqual((list(again.uids), again.vanished), ([], NumberSet()))

    def test_newAndGone(self) -> None:
        """What came and went meanwhile is no entry; it may be named among what vanished."""
        at = self.modSeq()
        uid = self.append(self.inbox)
        self.wait(self.inbox.expunge(None, False))
        changes = self.wait(self.inbox.changesSince(at))
        self.assertEqual(list(changes.uids), [])
        self.assertTrue(changes.vanished in (NumberSet(), NumberSet.of([uid])))
        self.assertEqual(changes.uidNext, uid + 1)
        self.assertTrue(changes.highestModSeq > at)

    def test_vanishedManyTimes(self) -> None:
        """
        Whoever asks after each of many expunges, and whoever asks once, end with the same; what is
        there is never said to have vanished.
        """
        uids = [self.append(self.inbox) for _ in range(12)]
        often = Follower(self.wait(self.inbox.changesSince(0)))
        seldom = Follower(self.wait(self.inbox.changesSince(0)))
        there = list(uids)
        for uid in (uids[3], uids[5], uids[4], uids[0], uids[11], uids[10], uids[1], uids[2]):
            self.wait(self.inbox.expunge(NumberSet.of([uid]), False))
            there.remove(uid)
            changes = self.wait(self.inbox.changesSince(often.modSeq))
            self.assertIn(uid, changes.vanished)
            self.assertEqual(changes.vanished.select(there), [])
            often.apply(changes)
            self.assertEqual(sorted(often.entries), there)
        changes = self.wait(self.inbox.changesSince(seldom.modSeq))
        self.assertEqual(changes.vanished.select(uids), sorted(set(uids) - set(there)))
        seldom.apply(changes)
        self.assertEqual(seldom.entries, often.entries)
        self.assertSound()

    def test_followers(self) -> None:
        """
        Whatever happens, whoever follows the change log, at whatever pace, knows what the mailbox
        has.
        """
        chance = Random(8)
        mailboxes = (self.inbox, self.other)
        followers = [
            (mailbox, Follower(self.wait(mailbox.changesSince(0))), pace)
            for mailbox in mailboxes
            for pace in (1, 3, 17)
        ]
        staged = self.stage()
        words = (SEEN, DELETED, FLAGGED, "one", "ONE", "two")
        for step in range(1, 150):
            mailbox = chance.choice(mailboxes)
            there = self.uids(mailbox)
            some = NumberSet.of(chance.sample(there, chance.randint(0, len(there))))
            flags = frozenset(chance.sample(words, chance.randint(0, 3)))
            action = chance.randrange(6)
            if action <= 1:
                self.wait(mailbox.append([(staged, flags, step, 0)] * chance.randint(1, 3)))
            elif action == 2:
                operation = chance.choice((ADD, REMOVE, REPLACE))
                self.wait(mailbox.storeFlags(some, operation, flags))
            elif action == 3:
                self.wait(mailbox.expunge(chance.choice((None, some)), chance.random() < 0.8))
            elif len(there) < 30:
                self.wait(mailbox.copyMessages(some, chance.choice(mailboxes)))
            for followed, follower, pace in followers:
                if step % pace == 0:
                    follower.apply(self.wait(followed.changesSince(follower.modSeq)))
                    whole = Follower(self.wait(followed.changesSince(0)))
                    self.assertEqual(follower.entries, whole.entries, step)
                    self.assertEqual(follower.modSeq, whole.modSeq)
        self.assertSound()

    # --- flags ---------------------------------------------------------------------------------

    def test_storeFlags(self) -> None:
        """+FLAGS, -FLAGS and FLAGS (RFC 9051 §6.4.6), and what is told of each message."""
        one = self.append(self.inbox, flags=(SEEN,))
        two = self.append(self.inbox, flags=(FLAGGED, "k"))
        both = NumberSet.of([one, two])
        before = self.modSeq()
        result = self.change(both, ADD, FLAGGED)
        now = self.modSeq()
        self.assertTrue(now > before)
        self.assertEqual(list(result.changed), [(one, frozenset({SEEN, FLAGGED}), now)])
        (unchanged,) = result.unchanged
        self.assertEqual(unchanged[:2], (two, frozenset({FLAGGED, "k"})))
        self.assertTrue(unchanged[2] <= before)
        self.assertEqual(list(result.modified), [])
        self.change(both, REMOVE, FLAGGED, "k")
        self.assertEqual(self.flags(self.inbox), {one: frozenset({SEEN}), two: NO_FLAGS})
        self.change(both, REPLACE, DELETED)
        self.assertEqual(self.flags(self.inbox), dict.fromkeys((one, two), frozenset({DELETED})))
        self.change(both, REPLACE)
        self.assertEqual(self.flags(self.inbox), dict.fromkeys((one, two), NO_FLAGS))
        self.assertCounts(self.inbox)

    def test_storeFlagsNothingNew(self) -> None:
        """An entry whose flags stay as they are gets no new modSeq."""
        uid = self.append(self.inbox, flags=(SEEN, "k"))
        before = self.wait(self.inbox.status())
        for operation, flags in (
            *((ADD, (SEEN,)), (ADD, ()), (REMOVE, (DELETED, "unknown"))),
            *((REPLACE, (SEEN, "k")), (REPLACE, ("K", SEEN))),
        ):
            result = self.change(NumberSet.of([uid]), operation, *flags)
            self.assertEqual(list(result.changed), [])
            self.assertEqual(
                list(result.unchanged), [(uid, frozenset({SEEN, "k"}), before.highestModSeq)]
            )
        self.assertEqual(self.wait(self.inbox.status()), before)

    def test_storeFlagsOfNobody(self) -> None:
        """UIDs that name nothing are ignored."""
        uid = self.append(self.inbox)
        gone = self.append(self.inbox)
        self.wait(self.inbox.expunge(NumberSet.of([gone]), False))
        before = self.wait(self.inbox.status())
        for uids in (NumberSet(), NumberSet.of([gone, 4000]), NumberSet([(gone, MAX_NUMBER)])):
            self.assertEqual(self.change(uids, ADD, "new"), StoreResult([], [], []))
        self.assertEqual(self.wait(self.inbox.status()), before)
        self.assertEqual(self.change(EVERYTHING, ADD, SEEN).changed[0][0], uid)

    def test_unchangedSince(self) -> None:
        """
        Entries whose modSeq is above C{unchangedSince} are left alone and named; one that has
        exactly that modSeq is changed (RFC 7162 §3.1.3).
        """
        one, two = self.append(self.inbox), self.append(self.inbox)
        at = self.modSeq()
        self.change(NumberSet.of([one]), ADD, FLAGGED)
        result = self.change(NumberSet.of([one, two]), ADD, SEEN, unchangedSince=at)
        self.assertEqual(list(result.modified), [one])
        self.assertEqual([changed[0] for changed in result.changed], [two])
        self.assertEqual(
            self.flags(self.inbox), {one: frozenset({FLAGGED}), two: frozenset({SEEN})}
        )
        before = self.wait(self.inbox.status())
        result = self.change(EVERYTHING, ADD, "new", unchangedSince=0)
        self.assertEqual(result, StoreResult([], [], [one, two]))
        self.assertEqual(self.wait(self.inbox.status()), before, "also no keyword is known by it")
        # Also if the flags would have stayed: the client must learn of the change.
        result = self.change(NumberSet.of([one]), ADD, FLAGGED, unchangedSince=at)
        self.assertEqual(list(result.modified), [one])

    def test_unchangedSinceOneCall(self) -> None:
        """Of two sessions that both found the message unchanged, one wins (RFC 7162 §3.1.3)."""
        uid = NumberSet.of([self.append(self.inbox)])
        at = self.modSeq()
        results = [
            start(self.inbox.storeFlags(uid, REPLACE, frozenset({word}), at))
            for word in ("one", "two")
        ]
        found = [self.wait(result) for result in results]
        self.assertEqual([len(result.changed) for result in found], [1, 0])
        self.assertEqual(list(found[1].modified), list(uid))

    def test_keywordSpelling(self) -> None:
        """A keyword keeps the spelling under which its mailbox first saw it."""
        one = self.append(self.inbox, flags=("Junk",))
        two = self.append(self.inbox, flags=("JUNK", "other"))
        result = self.change(NumberSet.of([two]), ADD, "junk", "Other")
        self.assertEqual([row[1] for row in result.unchanged], [frozenset({"Junk", "other"})])
        self.change(NumberSet.of([one]), REMOVE, "jUNK")
        self.assertEqual(self.flags(self.inbox), {one: NO_FLAGS, two: frozenset({"Junk", "other"})})
        self.assertEqual(self.wait(self.inbox.status()).keywords, ("Junk", "other"))
        # Another mailbox has seen nothing yet.
        self.append(self.other, flags=("JUNK",))
        self.assertEqual(self.wait(self.other.status()).keywords, ("JUNK",))

    def test_keywordsStay(self) -> None:
        """STATUS and the change log name every keyword the mailbox has seen, in that order."""
        uid = self.append(self.inbox, flags=("b",))
        self.change(NumberSet.of([uid]), REPLACE, "a")
        self.deliver(b"x", Placement(self.account.accountId, "INBOX", flags=frozenset({"c", SEEN})))
        self.wait(self.inbox.expunge(None, False))
        self.assertEqual(self.wait(self.inbox.status()).keywords, ("b", "a", "c"))
        self.assertEqual(self.wait(self.inbox.changesSince(self.modSeq())).keywords, tuple("bac"))

    def test_keywordRemovedBeforeSeen(self) -> None:
        """To remove a keyword that nobody has doesn't make it known."""
        uid = self.append(self.inbox, flags=(SEEN,))
        self.change(NumberSet.of([uid]), REMOVE, "never", SEEN)
        self.assertEqual(self.wait(self.inbox.status()).keywords, ())

    def test_flagsAreShared(self) -> None:
        """Equal sets of flags are one object, so that a large mailbox holds few of them."""
        for _ in range(2):
            self.append(self.inbox, flags=(SEEN, "k"))
        wanted = internFlags((SEEN, "k"))
        for flags in self.wait(self.inbox.changesSince(0)).flags:
            self.assertIs(flags, wanted)
        for row in self.fetch(self.inbox, Attribute.FLAGS):
            self.assertIs(row[1], wanted)

    # --- recent messages -----------------------------------------------------------------------

    def test_claimRecent(self) -> None:
        r"""Each message is C{\Recent} for exactly one session (RFC 3501 §2.3.2)."""
        first, last = self.wait(self.inbox.claimRecent())
        self.assertTrue(last < first)
        one, two = self.append(self.inbox), self.append(self.inbox)
        self.assertEqual(self.wait(self.inbox.status()).recent, 2)
        self.assertEqual(self.wait(self.inbox.claimRecent()), (one, two))
        self.assertEqual(self.wait(self.inbox.status()).recent, 0)
        first, last = self.wait(self.mailbox("INBOX").claimRecent())
        self.assertTrue(last < first)
        three = self.append(self.inbox)
        self.assertEqual(self.wait(self.inbox.claimRecent()), (three, three))

    def test_recentCounts(self) -> None:
        """RECENT of STATUS counts what is there and unclaimed, by whatever way it came or went."""
        one = self.append(self.inbox)
        self.wait(self.inbox.claimRecent())
        self.copy(NumberSet.of([one]), self.inbox)
        self.deliver(b"x")
        self.append(self.inbox)
        self.assertEqual(self.wait(self.inbox.status()).recent, 3)
        self.wait(self.inbox.expunge(NumberSet.of([one]), False))
        self.assertEqual(self.wait(self.inbox.status()).recent, 3)
        self.wait(self.inbox.expunge(NumberSet.of([one + 2]), False))
        self.assertEqual(self.wait(self.inbox.status()).recent, 2)
        self.change(EVERYTHING, ADD, SEEN)
        self.assertEqual(self.wait(self.inbox.status()).recent, 2)
        self.wait(self.inbox.expunge(None, False))
        self.assertEqual(self.wait(self.inbox.status()).recent, 0)
        self.assertEqual(self.wait(self.inbox.claimRecent()), (one + 1, one + 3))

    def test_claimIsNoChange(self) -> None:
        """To claim takes no modSeq, and nobody is told."""
        self.append(self.inbox)
        calls: list[None] = []
        self.addCleanup(self.inbox.watch(lambda: calls.append(None)))
        before = self.modSeq()
        self.wait(self.inbox.claimRecent())
        self.assertEqual(self.modSeq(), before)
        self.assertEqual(calls, [])

    def test_claimsAtOnce(self) -> None:
        """Sessions that claim at the same time share the messages out, none twice, none left."""
        claims = []
        for _ in range(4):
            self.append(self.inbox)
            claims += [start(self.inbox.claimRecent()) for _ in range(3)]
        claims.append(start(self.inbox.claimRecent()))
        claimed = [uid for first, last in map(self.wait, claims) for uid in range(first, last + 1)]
        self.assertEqual(sorted(claimed), self.uids(self.inbox))

    # --- FETCH ---------------------------------------------------------------------------------

    def test_fetchColumns(self) -> None:
        """The UID, then a column for each attribute in the order asked for; twice if asked so."""
        uid = self.append(self.inbox, b"abc", (SEEN,))
        wanted = (Attribute.OCTETS, Attribute.UID, Attribute.FLAGS, Attribute.OCTETS)
        self.assertEqual(
            list(self.fetch(self.inbox, *wanted)), [(uid, 3, uid, frozenset({SEEN}), 3)]
        )
        self.assertEqual(list(self.fetch(self.inbox)), [(uid,)])

    def test_fetchSets(self) -> None:
        """Rows ascend by UID; UIDs that name nothing are ignored; many ranges are one instant."""
        uids = [self.append(self.inbox) for _ in range(9)]
        self.wait(self.inbox.expunge(NumberSet.of(uids[4:5]), False))
        del uids[4]

        def found(numbers: NumberSet) -> list[int]:
            return [row[0] for row in self.fetch(self.inbox, Attribute.FLAGS, uids=numbers)]

        self.assertEqual(found(NumberSet()), [])
        self.assertEqual(found(EVERYTHING), uids)
        self.assertEqual(
            found(NumberSet.of([uids[6], uids[0], uids[2]])),
            [
                uids[0],
                uids[2],
                uids[6],
            ],
        )
        self.assertEqual(found(NumberSet([(MAX_NUMBER - 5, MAX_NUMBER)])), [])
        self.assertEqual(found(NumberSet.of([uids[-1] + 1])), [])
        every = NumberSet.of(range(1, 100_000, 2))
        self.assertEqual(found(every), [uid for uid in uids if uid % 2])

    def test_fetchEverything(self) -> None:
        """Each attribute is what was found in the message, with the prefix in front of it."""
        data = (
            b"From: a@b.test\r\nSubject: Re: =?utf-8?q?caf=C3=A9?=\r\nMessage-ID: <1@b.test>\r\n"
            b"Date: Mon, 7 Feb 1994 21:52:25 -0800\r\n\r\nHello you\r\n"
        )
        prefix = b"Return-Path: <>\r\n"
        self.deliver(data, Placement(self.account.accountId, "INBOX", prefix), date=1234)
        summary = summarise(data)
        wanted: dict[Attribute, Any] = {
            Attribute.UID: 1,
            Attribute.FLAGS: NO_FLAGS,
            Attribute.MODSEQ: self.modSeq(),
            Attribute.INTERNAL_DATE: 1234,
            Attribute.ZONE: 0,
            Attribute.SAVE_DATE: int(self.seconds),
            Attribute.OCTETS: len(prefix + data),
            Attribute.ENVELOPE: summary.envelope,
            Attribute.BODY_STRUCTURE: summary.bodyStructure,
            Attribute.BODY: summary.body,
            Attribute.PREVIEW: "Hello you",
            Attribute.STRUCTURE: summary.structure,
            Attribute.PREFIX_SIZE: len(prefix),
            Attribute.HEADER: prefix + data[: data.index(b"Hello")],
            Attribute.CONTENT: prefix + data,
            Attribute.SENT_DATE: 760686745,
            Attribute.SUBJECT: "Re: café",
            Attribute.BASE_SUBJECT: "CAFÉ",
        }
        for attribute, value in wanted.items():
            self.assertEqual(list(self.fetch(self.inbox, attribute)), [(1, value)], attribute)
        self.assertEqual(
            list(self.fetch(self.inbox, *wanted)), [(1, *wanted.values())], "all of them at once"
        )
        self.assertEqual(
            {*wanted, Attribute.MESSAGE_ID, Attribute.THREAD_ID}, set(Attribute), "none left out"
        )
        ((_, first, second),) = self.fetch(self.inbox, Attribute.MESSAGE_ID, Attribute.THREAD_ID)
        self.assertIsInstance(first, str)
        self.assertIsInstance(second, str)

    def test_fetchNoDate(self) -> None:
        """A message without a valid Date has no sent date."""
        self.append(self.inbox, b"Date: yesterday\r\n\r\n")
        self.assertEqual(list(self.fetch(self.inbox, Attribute.SENT_DATE)), [(1, None)])

    def test_fetchLarge(self) -> None:
        """The content and the header of a large message aren't given whole; all else is."""
        header = b"X-Long: " + b"x" * SMALL_MESSAGE + b"\r\n\r\n"
        self.append(self.inbox, b"Subject: x\r\n\r\n" + b"y" * SMALL_MESSAGE)
        self.append(self.inbox, header + b"y")
        rows = self.fetch(self.inbox, Attribute.HEADER, Attribute.CONTENT, Attribute.OCTETS)
        self.assertEqual(
            list(rows),
            [
                (1, b"Subject: x\r\n\r\n", None, SMALL_MESSAGE + 14),
                (2, None, None, len(header) + 1),
            ],
        )

    def test_threads(self) -> None:
        """Messages that refer to one another are one thread, in whichever order they come."""

        def message(identity: str, refers: str = "") -> bytes:
            return f"Message-ID: <{identity}@b.test>\r\n{refers}\r\nx".encode()

        self.append(self.inbox, message("1"))
        self.append(self.inbox, message("2", "In-Reply-To: <1@b.test>\r\n"))
        self.append(self.other, message("3", "References: <1@b.test> <2@b.test>\r\n"))
        self.append(self.inbox, message("5", "References: <4@b.test>\r\n"))
        self.append(self.inbox, message("4"))
        self.append(self.inbox, b"no id")
        self.append(self.inbox, b"no id")
        threads = [row[1] for row in self.fetch(self.inbox, Attribute.THREAD_ID)]
        self.assertEqual(threads[0], threads[1])
        self.assertEqual(
            [threads[0]], [row[1] for row in self.fetch(self.other, Attribute.THREAD_ID)]
        )
        self.assertEqual(threads[2], threads[3])
        self.assertEqual(len(set(threads)), 4)

    def test_openMessage(self) -> None:
        """There is nothing to open where there is no entry, or none any more."""
        uid = self.append(self.inbox)
        self.wait(self.inbox.expunge(None, False))
        for number in (uid, uid + 1, MAX_NUMBER):
            self.assertFails(self.inbox.openMessage(number), MessageExpunged)

    # --- EXPUNGE -------------------------------------------------------------------------------

    def test_expunge(self) -> None:
        r"""Only what has C{\Deleted} goes, and what went is told, ascending."""
        uids = [self.append(self.inbox, flags=(DELETED,) if n % 2 else ()) for n in range(6)]
        self.assertEqual(list(self.wait(self.inbox.expunge(NumberSet.of(uids[:2])))), uids[1:2])
        self.assertEqual(list(self.wait(self.inbox.expunge(None))), [uids[3], uids[5]])
        self.assertEqual(self.uids(self.inbox), [uids[0], uids[2], uids[4]])
        self.assertSound()

    def test_expungeWhatever(self) -> None:
        """With C{onlyDeleted} false, what is named goes."""
        one, two, three = [self.append(self.inbox) for _ in range(3)]
        named = NumberSet.of([one, three, 4000])
        self.assertEqual(list(self.wait(self.inbox.expunge(named, False))), [one, three])
        self.assertEqual(self.uids(self.inbox), [two])
        self.assertEqual(list(self.wait(self.inbox.expunge(None, False))), [two])
        self.assertSound()

    def test_expungeNothing(self) -> None:
        """If nothing goes nothing has changed."""
        self.append(self.inbox)
        before = self.wait(self.inbox.status())
        for uids, onlyDeleted in ((None, True), (NumberSet(), False), (NumberSet.of([99]), False)):
            self.assertEqual(list(self.wait(self.inbox.expunge(uids, onlyDeleted))), [])
        self.assertEqual(self.wait(self.inbox.status()), before)

    def test_expungedOnce(self) -> None:
        """Of two who expunge at once, each is told what went by its own call."""
        uids = [self.append(self.inbox, flags=(DELETED,)) for _ in range(2)]
        calls = [start(self.inbox.expunge(None)), start(self.inbox.expunge(None))]
        results = [list(self.wait(call)) for call in calls]
        self.assertEqual(sorted(results[0] + results[1]), uids)

    # --- COPY ----------------------------------------------------------------------------------

    def test_copy(self) -> None:
        """
        Flags, keywords and internal date go along (RFC 9051 §6.4.7), the save date is new, and it
        is the same message.
        """
        self.append(self.other)
        self.seconds = 1_000.0
        one = self.append(self.inbox, b"1", (SEEN, "k"), 111, 60)
        two = self.append(self.inbox, b"2", (DELETED,), 222, -60)
        self.seconds = 2_000.0
        result = self.copy(NumberSet([(one, two), (two + 5, MAX_NUMBER)]), self.other)
        self.assertEqual(result.uidValidity, self.wait(self.other.status()).uidValidity)
        self.assertEqual(list(result.sources), [one, two])
        self.assertEqual(list(result.destinations), sorted(result.destinations))
        wanted = NumberSet.of(result.destinations)
        attributes = (
            *(Attribute.CONTENT, Attribute.FLAGS, Attribute.INTERNAL_DATE, Attribute.ZONE),
            *(Attribute.MESSAGE_ID, Attribute.THREAD_ID),
        )
        copies = self.fetch(self.other, *attributes, uids=wanted)
        self.assertEqual(
            [row[1:] for row in copies], [row[1:] for row in self.fetch(self.inbox, *attributes)]
        )
        self.assertEqual([row[0] for row in copies], list(result.destinations))
        saved = self.fetch(self.other, Attribute.SAVE_DATE, uids=wanted)
        self.assertEqual([row[1] for row in saved], [2_000, 2_000])
        self.assertEqual(self.uids(self.inbox), [one, two])
        self.assertSound()

    def test_copyOutlivesSource(self) -> None:
        """A copy stays when its source goes, and the other way round."""
        data = b"large" * 120_000
        uid = self.append(self.inbox, data)
        (made,) = self.copy(NumberSet.of([uid]), self.other).destinations
        self.wait(self.inbox.expunge(None, False))
        self.append(self.inbox, b"something else")
        self.assertEqual(self.message(self.other, made), data)
        (back,) = self.copy(NumberSet.of([made]), self.inbox, self.other).destinations
        self.wait(self.other.expunge(None, False))
        self.assertEqual(self.message(self.inbox, back), data)
        self.assertSound()

    def test_copyIntoItself(self) -> None:
        """A mailbox can be copied into itself; the copies aren't copied again."""
        one = self.append(self.inbox, b"1", ("k",))
        two = self.append(self.inbox, b"2")
        result = self.copy(EVERYTHING, self.inbox)
        self.assertEqual(list(result.sources), [one, two])
        self.assertEqual(self.uids(self.inbox), [one, two, *result.destinations])
        rows = self.fetch(self.inbox, Attribute.CONTENT, Attribute.FLAGS)
        self.assertEqual([row[1:] for row in rows[2:]], [row[1:] for row in rows[:2]])
        self.assertSound()
        self.wait(self.inbox.expunge(NumberSet.of([one, two]), False))
        self.assertEqual(self.message(self.inbox, result.destinations[0]), b"1")
        self.assertSound()

    def test_copyNothing(self) -> None:
        """To copy what isn't there changes nothing, in a full account as well."""
        self.append(self.inbox)
        self.wait(self.store.directory.setQuota(self.address("alice"), 1, 0))
        before = self.wait(self.other.status())
        result = self.copy(NumberSet.of([99]), self.other)
        self.assertEqual((list(result.sources), list(result.destinations)), ([], []))
        self.assertEqual(result.uidValidity, before.uidValidity)
        self.assertEqual(self.wait(self.other.status()), before)

    def test_copyAllOrNone(self) -> None:
        """If not all copies fit, there is none."""
        for _ in range(3):
            self.append(self.inbox, b"x" * 10)
        for octets, messages in ((55, None), (None, 5)):
            self.wait(self.store.directory.setQuota(self.address("alice"), octets, messages))
            for destination in (self.other, self.inbox):
                before = self.wait(destination.status())
                self.assertFails(self.inbox.copyMessages(EVERYTHING, destination), OverQuota)
                self.assertEqual(self.wait(destination.status()), before)
        self.wait(self.store.directory.setQuota(self.address("alice"), 60, 6))
        self.copy(EVERYTHING, self.other)
        self.assertSound()

    def test_copyToAnotherAccount(self) -> None:
        """
        Within the store a message can go to another account. There it is that account's own: its
        quota, its ids.
        """
        bob = self.addAccount("bob")
        theirs = self.mailbox("INBOX", bob)
        prefix = b"X: y\r\n"
        self.deliver(
            b"Subject: x\r\n\r\nbody",
            Placement(self.account.accountId, "INBOX", prefix, frozenset({SEEN, "k"})),
        )
        result = self.copy(EVERYTHING, theirs)
        self.assertEqual(result.uidValidity, self.wait(theirs.status()).uidValidity)
        attributes = (Attribute.CONTENT, Attribute.FLAGS, Attribute.INTERNAL_DATE)
        self.assertEqual(self.fetch(theirs, *attributes), self.fetch(self.inbox, *attributes))
        self.assertEqual(self.wait(bob.quota())[::2], self.wait(self.account.quota())[::2])
        ids = [
            self.fetch(mailbox, attribute)[0][1]
            for mailbox in (self.inbox, theirs)
            for attribute in (Attribute.MESSAGE_ID, Attribute.THREAD_ID)
        ]
        self.assertEqual(len(set(ids)), 4)
        self.wait(self.inbox.expunge(None, False))
        self.assertEqual(self.message(theirs, 1), prefix + b"Subject: x\r\n\r\nbody")
        self.assertSound()
        self.wait(self.store.directory.setQuota(self.address("bob"), None, 1))
        self.append(self.inbox)
        self.assertFails(self.inbox.copyMessages(EVERYTHING, theirs), OverQuota)
        self.assertSound()

    # --- watching ------------------------------------------------------------------------------

    def test_watch(self) -> None:
        """Whoever watches is called after any change, by whatever way it comes."""
        one = self.append(self.inbox)
        calls: list[str] = []
        self.addCleanup(self.mailbox("INBOX").watch(lambda: calls.append("inbox")))
        self.addCleanup(self.other.watch(lambda: calls.append("other")))

        def told(*names: str) -> None:
            # What was done through this store is told by now.
            self.assertEqual(set(calls), set(names))
            calls.clear()

        self.append(self.inbox)
        told("inbox")
        self.change(NumberSet.of([one]), ADD, SEEN)
        told("inbox")
        self.copy(NumberSet.of([one]), self.other)
        told("other")
        self.wait(self.inbox.expunge(NumberSet.of([one]), False))
        told("inbox")
        self.deliver(b"x")
        told("inbox")
        self.wait(self.account.renameMailbox("INBOX", "new"))
        self.assertIn("inbox", calls)
        calls.clear()
        self.wait(self.account.deleteMailbox("other"))
        told("other")

    def test_watchersThread(self) -> None:
        """It is called in the reactor's thread: the one that uses the store."""
        threads: list[int] = []
        self.addCleanup(self.inbox.watch(lambda: threads.append(get_ident())))
        self.addCleanup(self.account.watch(lambda mailboxId: threads.append(get_ident())))
        self.append(self.inbox)
        self.change(EVERYTHING, ADD, SEEN)
        self.wait(self.inbox.expunge(None, False))
        self.assertEqual(set(threads), {get_ident()})

    def test_watchFindsTheChange(self) -> None:
        """When it is called the change is there, and what another mailbox got by it, too."""
        found: list[int] = []

        def changed() -> None:
            start(self.inbox.status()).addCallback(lambda status: found.append(status.messages))

        self.addCleanup(self.inbox.watch(changed))
        self.append(self.inbox)
        self.waitUntil(lambda: found == [1])

    def test_watchUntilStopped(self) -> None:
        """After it was stopped, once or twice, nobody is called; others go on."""
        calls: list[str] = []
        stop = self.inbox.watch(lambda: calls.append("one"))
        self.addCleanup(self.inbox.watch(lambda: calls.append("two")))
        stop()
        stop()
        self.append(self.inbox)
        self.assertEqual(set(calls), {"two"})

    def test_watchTheSameTwice(self) -> None:
        """One function can watch twice; each is stopped by itself."""
        calls: list[None] = []

        def changed() -> None:
            calls.append(None)

        stop = self.inbox.watch(changed)
        self.addCleanup(self.inbox.watch(changed))
        stop()
        stop()
        self.append(self.inbox)
        self.assertEqual(len(calls), 1)

    def test_watcherFails(self) -> None:
        """What a watcher raises is logged; the change is done and the others are told."""
        calls: list[None] = []

        def fail() -> None:
            raise ZeroDivisionError

        self.addCleanup(self.inbox.watch(fail))
        self.addCleanup(self.inbox.watch(lambda: calls.append(None)))
        self.append(self.inbox)
        self.assertEqual(len(self.uids(self.inbox)), 1)
        self.assertEqual(len(calls), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_watcherStops(self) -> None:
        """A watcher may stop itself or others, and begin to watch, while it is called."""
        calls: list[str] = []

        def first() -> None:
            calls.append("first")
            stopFirst()
            stopSecond()
            self.addCleanup(self.inbox.watch(lambda: calls.append("third")))

        stopFirst = self.inbox.watch(first)
        stopSecond = self.inbox.watch(lambda: None)
        self.append(self.inbox)
        self.append(self.inbox)
        self.assertEqual(calls.count("first"), 1)
        self.assertIn("third", calls)

    def test_nobodyIsToldOfNothing(self) -> None:
        """Calls that change nothing tell nobody, nor do calls that fail."""
        self.append(self.inbox)
        calls: list[None] = []
        self.addCleanup(self.inbox.watch(lambda: calls.append(None)))
        self.wait(self.store.directory.setQuota(self.address("alice"), 1, 1))
        self.change(NumberSet.of([99]), ADD, SEEN)
        self.wait(self.inbox.expunge(None))
        self.wait(self.inbox.append([]))
        staged = self.stage()
        self.assertFails(self.inbox.append([(staged, NO_FLAGS, 0, 0)]), OverQuota)
        self.assertFails(self.inbox.copyMessages(EVERYTHING, self.inbox), OverQuota)
        self.fetch(self.inbox, Attribute.CONTENT)
        self.assertEqual(calls, [])

    # --- mailboxes that are gone ---------------------------------------------------------------

    def assertGone(self, mailbox: IMailbox, there: IMailbox) -> None:
        """
        Every method of a mailbox says that it isn't there.
        """
        staged = self.stage()
        one = NumberSet.of([1])
        for call in (
            lambda: mailbox.status(),
            lambda: mailbox.changesSince(0),
            lambda: mailbox.changesSince(1 << 60),
            lambda: mailbox.claimRecent(),
            lambda: mailbox.fetch(one, (Attribute.FLAGS,)),
            lambda: mailbox.fetch(EVERYTHING, ()),
            lambda: mailbox.openMessage(1),
            lambda: mailbox.storeFlags(one, ADD, frozenset({SEEN})),
            lambda: mailbox.expunge(None),
            lambda: mailbox.expunge(one, False),
            lambda: mailbox.append([(staged, NO_FLAGS, 0, 0)]),
            lambda: mailbox.append([]),
            lambda: mailbox.copyMessages(one, there),
            lambda: there.copyMessages(EVERYTHING, mailbox),
        ):
            self.assertFails(call(), NoSuchMailbox)
        mailbox.watch(lambda: None)()

    def test_deleted(self) -> None:
        """After DELETE every method says so, also once the name is there again."""
        self.append(self.inbox)
        self.append(self.other)
        self.wait(self.account.deleteMailbox("other"))
        self.assertGone(self.other, self.inbox)
        again = self.mailbox("other")
        self.append(again)
        self.assertGone(self.other, self.inbox)
        self.assertNotEqual(again.mailboxId, self.other.mailboxId)
        self.assertSound()

    def test_deletedWithChildren(self) -> None:
        """The same if the name stays, for its children, or becomes selectable again."""
        self.mailbox("other/below")
        self.wait(self.account.deleteMailbox("other"))
        self.append(self.inbox)
        self.assertGone(self.other, self.inbox)
        self.wait(self.account.createMailbox("other"))
        self.assertGone(self.other, self.inbox)

    def test_accountRemoved(self) -> None:
        """The same if the whole account is removed while its mailbox is in use."""
        bob = self.addAccount("bob")
        theirs = self.mailbox("INBOX", bob)
        uid = self.append(theirs)
        content = self.wait(theirs.openMessage(uid))
        calls: list[None] = []
        self.addCleanup(theirs.watch(lambda: calls.append(None)))
        self.append(self.inbox)
        self.wait(self.store.directory.removeAccount(self.address("bob")))
        self.assertTrue(calls)
        self.assertGone(theirs, self.inbox)
        try:
            self.wait(content.read(0, 5))
        except MessageExpunged:
            pass
        self.assertSound()

    def test_renamed(self) -> None:
        """After RENAME the object goes on, with its id, UIDs and messages."""
        one = self.append(self.other, b"1")
        before = self.wait(self.other.status())
        self.wait(self.account.renameMailbox("other", "new/name"))
        self.assertEqual(self.wait(self.other.status())[1:], before[1:])
        two = self.append(self.other, b"2")
        renamed = self.mailbox("new/name")
        self.assertEqual(renamed.mailboxId, self.other.mailboxId)
        self.assertEqual(self.uids(renamed), [one, two])
        self.assertEqual(self.message(renamed, one), b"1")

    # --- all together --------------------------------------------------------------------------

    def test_countsAfterEveryOperation(self) -> None:
        """What STATUS and the quota count is what is there, after each kind of change."""
        account, placements = self.account, Placement(self.account.accountId, "INBOX", b"A: b\r\n")
        bob = self.addAccount("bob")
        theirs = self.mailbox("INBOX", bob)
        steps = (
            lambda: self.append(self.inbox, b"12345", (SEEN, "k")),
            lambda: self.append(self.inbox, b"1234567", (DELETED,)),
            lambda: self.deliver(b"delivered", placements, placements),
            lambda: self.change(EVERYTHING, ADD, DELETED),
            lambda: self.change(EVERYTHING, REMOVE, SEEN),
            lambda: self.change(NumberSet.of([1, 3]), REPLACE, SEEN),
            lambda: self.copy(EVERYTHING, self.inbox),
            lambda: self.copy(EVERYTHING, self.other),
            lambda: self.copy(NumberSet.of([1, 2]), theirs),
            lambda: self.wait(self.inbox.claimRecent()),
            lambda: self.wait(self.inbox.expunge(None)),
            lambda: self.wait(account.renameMailbox("INBOX", "old")),
            lambda: self.append(self.mailbox("old/below"), b"123"),
            lambda: self.wait(account.deleteMailbox("old")),
            lambda: self.wait(account.renameMailbox("other", "another/name")),
            lambda: self.wait(self.other.expunge(NumberSet.of([1]), False)),
            lambda: self.wait(account.deleteMailbox("another/name")),
            lambda: self.wait(self.store.directory.removeAccount(self.address("bob"))),
        )
        for number, step in enumerate(steps):
            step()
            try:
                self.assertSound()
            except self.failureException as error:
                raise self.failureException(f"after step {number}: {error}") from error


class MovableMailboxContract(StorageContract):
    """
    MOVE as one step (RFC 6851).
    """

    def setUp(self) -> None:
        """
        Two mailboxes, the first with three messages.
        """
        super().setUp()
        self.inbox = self.mailbox("INBOX")
        self.other = self.mailbox("other")
        self.found = [
            self.append(self.inbox, b"%d" % number, (SEEN, f"k{number}"), number, number)
            for number in range(3)
        ]

    def move(self, uids: NumberSet, destination: IMailbox) -> CopyResult:
        """
        @return: the result of C{moveMessages}.
        """
        return self.wait(self.movable().moveMessages(uids, destination))

    def movable(self) -> IMovableMailbox:
        """
        @return: INBOX.
        """
        return IMovableMailbox(self.inbox)

    def test_provides(self) -> None:
        """A mailbox that can move says so."""
        self.assertProvides(IMovableMailbox, self.inbox)

    def test_move(self) -> None:
        """The messages are in the destination as they were, saved now, and gone from the source."""
        attributes = (
            *(Attribute.CONTENT, Attribute.FLAGS, Attribute.INTERNAL_DATE, Attribute.ZONE),
            *(Attribute.MESSAGE_ID, Attribute.THREAD_ID),
        )
        before = self.fetch(self.inbox, *attributes)
        at = self.wait(self.inbox.status()).highestModSeq
        self.seconds += 1000
        result = self.move(NumberSet.of([self.found[0], self.found[2], 99]), self.other)
        self.assertEqual(list(result.sources), [self.found[0], self.found[2]])
        self.assertEqual(list(result.destinations), self.uids(self.other))
        self.assertEqual(result.uidValidity, self.wait(self.other.status()).uidValidity)
        self.assertEqual(self.uids(self.inbox), [self.found[1]])
        moved = self.fetch(self.other, *attributes)
        self.assertEqual([row[1:] for row in moved], [before[0][1:], before[2][1:]])
        for row in self.fetch(self.other, Attribute.SAVE_DATE):
            self.assertEqual(row[1], int(self.seconds))
        changes = self.wait(self.inbox.changesSince(at))
        self.assertEqual(changes.vanished.select(self.found), [self.found[0], self.found[2]])
        self.assertEqual(list(changes.uids), [])
        self.assertTrue(changes.highestModSeq > at)
        self.assertSound()

    def test_moveIntoItself(self) -> None:
        """The messages get new UIDs, the old ones vanish (RFC 6851 §3.3 allows it)."""
        result = self.move(EVERYTHING, self.inbox)
        self.assertEqual(list(result.sources), self.found)
        self.assertEqual(self.uids(self.inbox), list(result.destinations))
        self.assertTrue(min(result.destinations) > max(self.found))
        self.assertEqual(
            [self.message(self.inbox, uid) for uid in result.destinations],
            [
                b"0",
                b"1",
                b"2",
            ],
        )
        self.assertSound()

    def test_moveNothing(self) -> None:
        """To move what isn't there changes nothing."""
        before = self.wait(self.inbox.status()), self.wait(self.other.status())
        result = self.move(NumberSet.of([99]), self.other)
        self.assertEqual((list(result.sources), list(result.destinations)), ([], []))
        self.assertEqual((self.wait(self.inbox.status()), self.wait(self.other.status())), before)

    def test_moveInAFullAccount(self) -> None:
        """Within an account a move needs no room."""
        self.wait(self.store.directory.setQuota(self.address("alice"), 1, 1))
        before = self.wait(self.account.quota())
        self.move(EVERYTHING, self.other)
        self.assertEqual(self.wait(self.account.quota()), before)
        self.move(EVERYTHING, self.inbox)
        self.assertSound()

    def test_moveToAnotherAccount(self) -> None:
        """To another account it needs room there, and gives it back here."""
        bob = self.addAccount("bob")
        theirs = self.mailbox("INBOX", bob)
        self.wait(self.store.directory.setQuota(self.address("bob"), None, 2))
        self.assertFails(self.movable().moveMessages(EVERYTHING, theirs), OverQuota)
        self.assertEqual((self.uids(self.inbox), self.uids(theirs)), (self.found, []))
        self.move(NumberSet.of(self.found[:2]), theirs)
        self.assertEqual(self.uids(self.inbox), self.found[2:])
        self.assertEqual([self.message(theirs, uid) for uid in self.uids(theirs)], [b"0", b"1"])
        self.assertEqual(self.wait(bob.quota()).messages, 2)
        self.assertEqual(self.wait(self.account.quota()).messages, 1)
        self.assertSound()

    def test_movedTwice(self) -> None:
        """Of two who move the same messages at once, one does."""
        movable = self.movable()
        calls = [start(movable.moveMessages(EVERYTHING, self.other)) for _ in range(2)]
        sources = [list(self.wait(call).sources) for call in calls]
        self.assertEqual(sorted(sources), [[], self.found])
        self.assertEqual(len(self.uids(self.other)), 3)
        self.assertSound()

    def test_watchersFindBothDone(self) -> None:
        """Whoever is told of a move finds the messages in one mailbox, not in both or in none."""
        found: list[tuple[int, int]] = []

        async def look() -> None:
            source, target = await self.inbox.status(), await self.other.status()
            found.append((source.messages, target.messages))

        def changed() -> None:
            start(look())

        for mailbox in (self.inbox, self.other):
            self.addCleanup(mailbox.watch(changed))
        self.move(NumberSet.of(self.found[:2]), self.other)
        self.waitUntil(lambda: len(found) >= 2)
        self.assertEqual(set(found), {(1, 2)})

    def test_moveFromDeleted(self) -> None:
        """From or to a mailbox that was deleted nothing moves."""
        self.wait(self.account.deleteMailbox("other"))
        self.assertFails(self.movable().moveMessages(EVERYTHING, self.other), NoSuchMailbox)
        self.assertFails(
            IMovableMailbox(self.other).moveMessages(EVERYTHING, self.inbox), NoSuchMailbox
        )
        self.assertEqual(self.uids(self.inbox), self.found)


class SearchableMailboxContract(StorageContract):
    """
    A first, fast answer to a substring search.
    """

    def test_provides(self) -> None:
        """A mailbox that can say so does."""
        self.assertProvides(ISearchableMailbox, self.mailbox("INBOX"))

    def test_candidates(self) -> None:
        """No message in which all texts occur is left out, whatever the case."""
        inbox = self.mailbox("INBOX")
        self.append(inbox, b"Subject: Alpha beta\r\n\r\ngamma delta\r\n")
        self.append(inbox, b"Subject: =?utf-8?q?caf=C3=A9?=\r\n\r\nnothing\r\n")
        self.append(
            inbox,
            b"Subject: x\r\nContent-Transfer-Encoding: base64\r\n\r\nVGhlIEFscGhh\r\n",
        )
        for texts, uids in (
            *((("alpha",), {1, 3}), (("ALPHA", "gamma"), {1}), (("caf\xc9",), {2})),
            *((("a b",), {1}), (("the",), {3}), ((), {1, 2, 3})),
        ):
            found = self.wait(ISearchableMailbox(inbox).candidates(texts))
            if found is not None:
                self.assertEqual(uids - set(found.select([1, 2, 3])), set(), texts)

    def test_where(self) -> None:
        """Asked about the header alone, or the body alone, no message is left out either."""
        inbox = self.mailbox("INBOX")
        self.append(inbox, b"Subject: alpha\r\n\r\nbeta\r\n")
        self.append(inbox, b"Subject: beta\r\n\r\nalpha\r\n")
        for inHeader, inBody, uid in ((True, False, 1), (False, True, 2)):
            found = self.wait(ISearchableMailbox(inbox).candidates(["alpha"], inHeader, inBody))
            if found is not None:
                self.assertIn(uid, found)

    def test_deleted(self) -> None:
        """A mailbox that is gone has no candidates."""
        other = self.mailbox("other")
        self.wait(self.account.deleteMailbox("other"))
        self.assertFails(ISearchableMailbox(other).candidates(("x",)), MailError)


class SearchableAccountContract(StorageContract):
    """
    A first, fast answer to a substring search in all mailboxes.
    """

    account: Any
    store: Any

    def test_provides(self) -> None:
        """An account that can say so does."""
        self.assertProvides(ISearchableAccount, self.account)

    def test_candidates(self) -> None:
        """
        Each mailbox that can be selected is in it, empty or not, others aren't; no message in which
        all texts occur is left out, a copy no more than the first.
        """
        for name in ("a", "b/c", "d"):
            self.wait(self.account.createMailbox(name))
        self.wait(self.account.deleteMailbox("b"))
        opened = {name: self.wait(self.account.openMailbox(name)) for name in ("a", "b/c", "d")}
        ids = {name: mailbox.mailboxId for name, mailbox in opened.items()}
        self.append(opened["a"], b"Subject: Alpha beta\r\n\r\ngamma\r\n")
        self.append(opened["a"], b"Subject: x\r\n\r\nAlpha\r\n")
        self.append(opened["b/c"], b"Subject: gamma\r\n\r\nALPHA\r\n")
        self.wait(opened["a"].copyMessages(NumberSet.of([1]), opened["b/c"]))
        selectable = {i.mailboxId for i in self.wait(self.account.listMailboxes()) if i.selectable}
        for texts, inHeader, inBody, matches in (
            (["alpha"], True, True, {"a": [1, 2], "b/c": [1, 2]}),
            (["alpha"], True, False, {"a": [1], "b/c": [2]}),
            (["alpha"], False, True, {"a": [2], "b/c": [1]}),
            (["alpha", "GAMMA"], True, True, {"a": [1], "b/c": [1, 2]}),
            (["al"], True, True, {"a": [1, 2], "b/c": [1, 2]}),
            (["nowhere"], True, True, {}),
            ([], True, True, {"a": [1, 2], "b/c": [1, 2]}),
        ):
            found = self.wait(self.account.candidates(texts, inHeader, inBody))
            if found is not None:
                self.assertEqual(set(found), selectable)
                for name, uids in matches.items():
                    self.assertEqual(set(uids) - set(found[ids[name]]), set(), texts)

    def test_accountRemoved(self) -> None:
        """When the account is gone there is nothing to ask."""
        self.wait(self.store.directory.removeAccount(self.account.address))
        self.assertFails(self.account.candidates(["alpha"]), NoSuchAccount)
