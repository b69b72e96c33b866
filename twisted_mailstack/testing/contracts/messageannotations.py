# -*- test-case-name: tests.storage.test_messageannotations -*-
"""
What L{IAnnotatedMailbox} promises.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted_mailstack.errors import CannotDoThat, NoSuchAccount, NoSuchMailbox, OverQuota
from twisted_mailstack.interfaces import (
    IAnnotatedAccount,
    IAnnotatedMailbox,
    IMovableMailbox,
    IReplacingMailbox,
)
from twisted_mailstack.model.flags import SEEN
from twisted_mailstack.model.records import (
    AnnotationChange,
    AnnotationKey,
    AnnotationScope,
    StoreResult,
)
from twisted_mailstack.testing.contracts.base import EVERYTHING, StorageContract

COMMENT = "/comment"
SUBJECT = "/altsubject"
#: Of annotations, where a test isn't about it.
MANY = 1000


class AnnotatedMailboxContract(StorageContract):
    """
    Annotations of messages.
    """

    account: Any
    inbox: Any
    other: Any

    def setUp(self) -> None:
        """
        Three messages, another mailbox, and another account.
        """
        super().setUp()
        self.inbox = self.mailbox("INBOX")
        self.other = self.mailbox("other")
        self.found = [self.append(self.inbox, b"%d" % number, (SEEN,)) for number in range(3)]
        self.bob = self.addAccount("bob")

    def put(
        self,
        uid: int,
        values: Mapping[AnnotationKey, bytes | None],
        reader: str | None = None,
        limit: int = MANY,
        unchangedSince: int | None = None,
    ) -> StoreResult:
        """
        Store annotations of a message in INBOX.
        """
        stored: StoreResult = self.wait(
            self.inbox.storeAnnotations(self.numbers(uid), values, limit, unchangedSince, reader)
        )
        return stored

    def rows(self, mailbox: Any, reader: str | None = None) -> list[tuple[Any, ...]]:
        """
        @return: all annotations there are.
        """
        return [tuple(each) for each in self.wait(mailbox.annotations(EVERYTHING, None, reader))]

    def highest(self, mailbox: Any = None) -> int:
        """
        @return: the highest modSeq of a mailbox.
        """
        modSeq: int = self.wait((mailbox or self.inbox).status()).highestModSeq
        return modSeq

    def test_provides(self) -> None:
        """Mailbox and account are what the interfaces say."""
        self.assertProvides(IAnnotatedMailbox, self.inbox)
        self.assertProvides(IAnnotatedAccount, self.account)

    def test_nothing(self) -> None:
        """At first there is nothing."""
        self.assertEqual(self.rows(self.inbox), [])
        self.assertEqual(list(self.wait(self.inbox.annotatedMessages(EVERYTHING))), [])
        self.assertEqual(list(self.wait(self.inbox.annotationChangesSince(0))), [])

    def test_stored(self) -> None:
        """What was stored is there, in order, whatever octets it has; an empty value is one."""
        first, second, third = self.found
        self.put(second, {(SUBJECT, False): b"\0\xff\r\n", (COMMENT, True): b"mine"})
        self.put(first, {(COMMENT, True): b"", (COMMENT, False): b"ours"})
        self.assertEqual(
            self.rows(self.inbox),
            [
                (first, COMMENT, False, b"ours"),
                (first, COMMENT, True, b""),
                (second, SUBJECT, False, b"\0\xff\r\n"),
                (second, COMMENT, True, b"mine"),
            ],
        )
        some = self.wait(self.inbox.annotations(self.numbers(second, third), [COMMENT, "/x"]))
        self.assertEqual([tuple(each) for each in some], [(second, COMMENT, True, b"mine")])
        self.assertEqual(list(self.wait(self.inbox.annotations(EVERYTHING, []))), [])
        self.assertEqual(list(self.wait(self.inbox.annotatedMessages(EVERYTHING))), [first, second])
        self.assertEqual(list(self.wait(self.inbox.annotatedMessages(self.numbers(third)))), [])
        self.assertSound()

    def test_names(self) -> None:
        """Names are told apart by case."""
        self.put(self.found[0], {("/vendor/a/X", True): b"1", ("/vendor/a/x", True): b"2"})
        self.assertEqual(
            [row[1:] for row in self.rows(self.inbox)],
            [("/vendor/a/X", True, b"1"), ("/vendor/a/x", True, b"2")],
        )

    def test_removed(self) -> None:
        """C{None} removes one, and nothing if there is none."""
        uid = self.found[0]
        self.put(uid, {(COMMENT, True): b"a", (COMMENT, False): b"b"})
        result = self.put(uid, {(COMMENT, True): None, (SUBJECT, True): None})
        self.assertEqual([each[0] for each in result.changed], [uid])
        self.assertEqual(self.rows(self.inbox), [(uid, COMMENT, False, b"b")])
        self.put(uid, {(COMMENT, False): None})
        self.assertEqual(list(self.wait(self.inbox.annotatedMessages(EVERYTHING))), [])
        self.assertSound()

    def test_modSeq(self) -> None:
        """A change takes the next modSeq: the message, and the mailbox, have it; flags stay."""
        before = self.highest()
        result = self.put(self.found[1], {(COMMENT, True): b"x"})
        ((uid, flags, modSeq),) = result.changed
        self.assertEqual((uid, flags), (self.found[1], frozenset((SEEN,))))
        self.assertGreater(modSeq, before)
        self.assertEqual(self.highest(), modSeq)
        changes = self.wait(self.inbox.changesSince(before))
        self.assertEqual(
            (list(changes.uids), changes.flags, list(changes.modSeqs)), ([uid], [flags], [modSeq])
        )
        self.assertCounts(self.inbox)

    def test_same(self) -> None:
        """What stays as it is gets no new modSeq."""
        uid = self.found[0]
        self.put(uid, {(COMMENT, True): b"x"})
        before = self.highest()
        result = self.put(uid, {(COMMENT, True): b"x", (COMMENT, False): None})
        self.assertEqual(list(result.changed), [])
        self.assertEqual(list(result.unchanged), [(uid, frozenset((SEEN,)), before)])
        self.assertEqual(self.highest(), before)

    def test_gone(self) -> None:
        """A UID that names nothing is ignored."""
        before = self.highest()
        self.assertEqual(
            [list(each) for each in self.put(99, {(COMMENT, True): b"x"})], [[], [], []]
        )
        self.assertEqual(self.highest(), before)
        self.assertEqual(self.rows(self.inbox), [])

    def test_readers(self) -> None:
        """Private ones are there for their reader alone; the owner is a reader, too."""
        uid, bob = self.found[0], self.bob.accountId
        self.put(uid, {(COMMENT, True): b"alice's", (SUBJECT, False): b"ours"})
        self.put(uid, {(COMMENT, True): b"bob's"}, bob)
        ours = (uid, SUBJECT, False, b"ours")
        self.assertEqual(self.rows(self.inbox), [ours, (uid, COMMENT, True, b"alice's")])
        self.assertEqual(self.rows(self.inbox, self.account.accountId), self.rows(self.inbox))
        self.assertEqual(self.rows(self.inbox, bob), [ours, (uid, COMMENT, True, b"bob's")])
        self.put(uid, {(SUBJECT, False): None}, bob)
        self.put(uid, {(COMMENT, True): None})
        self.assertEqual(self.rows(self.inbox), [])
        self.assertEqual(list(self.wait(self.inbox.annotatedMessages(EVERYTHING))), [])
        found = self.wait(self.inbox.annotatedMessages(EVERYTHING, bob))
        self.assertEqual(list(found), [uid])

    def test_limit(self) -> None:
        """Too many are refused, for all messages at once; fewer never are, nor other readers'."""
        second = self.found[1]
        two = {(COMMENT, True): b"a", (COMMENT, False): b"b"}
        self.put(second, two, limit=2)
        before = self.highest()
        error = self.assertFails(
            self.inbox.storeAnnotations(
                self.numbers(*self.found), {(SUBJECT, True): b"c", (SUBJECT, False): b"d"}, 2
            ),
            CannotDoThat,
        )
        self.assertEqual(error.imapCode, "ANNOTATE TOOMANY")
        self.assertEqual(self.highest(), before)
        self.assertEqual({row[0] for row in self.rows(self.inbox)}, {second})
        self.put(second, {(COMMENT, True): b"longer"}, limit=1)
        self.put(second, {(COMMENT, True): None, (SUBJECT, True): b"instead"}, limit=2)
        self.put(second, {(COMMENT, True): b"bob's"}, self.bob.accountId, limit=2)
        self.put(second, {(SUBJECT, True): None}, limit=0)
        self.assertEqual([row[1:] for row in self.rows(self.inbox)], [(COMMENT, False, b"b")])

    def test_unchangedSince(self) -> None:
        """A message is left alone of which one of these was changed since; one that never was."""
        first, second, _ = self.found
        self.put(first, {(COMMENT, True): b"x"})
        at = self.highest()
        self.addFlags(self.inbox, [first], "\\Flagged")
        self.put(first, {(SUBJECT, True): b"other"})
        result = self.wait(
            self.inbox.storeAnnotations(
                self.numbers(first, second), {(COMMENT, True): b"y"}, MANY, at
            )
        )
        self.assertEqual([each[0] for each in result.changed], [first, second])
        self.assertEqual(list(result.modified), [])
        result = self.wait(
            self.inbox.storeAnnotations(
                self.numbers(*self.found), {(COMMENT, True): b"z"}, MANY, at
            )
        )
        self.assertEqual([each[0] for each in result.changed], [self.found[2]])
        self.assertEqual(list(result.modified), [first, second])
        # One that was removed was changed.
        self.put(first, {(COMMENT, True): None})
        self.assertEqual(
            list(self.put(first, {(COMMENT, True): b"a"}, unchangedSince=0).modified), [first]
        )
        self.assertEqual(
            [each[0] for each in self.put(first, {(COMMENT, False): b"a"}, unchangedSince=0)[0]],
            [first],
        )

    def test_changesSince(self) -> None:
        """What was changed, removed ones and nobody else's private ones among it."""
        first, second, third = self.found
        self.put(first, {(COMMENT, True): b"x", (SUBJECT, True): b"x"})
        at = self.highest()
        self.put(first, {(COMMENT, True): None})
        one = self.highest()
        self.put(second, {(COMMENT, True): b"bob's"}, self.bob.accountId)
        two = self.highest()
        self.put(third, {(SUBJECT, False): b"x"})
        three = self.highest()
        changes = list(self.wait(self.inbox.annotationChangesSince(at)))
        self.assertEqual(
            changes,
            [AnnotationChange(one, first, COMMENT), AnnotationChange(three, third, SUBJECT)],
        )
        bobs = list(self.wait(self.inbox.annotationChangesSince(at, self.bob.accountId)))
        self.assertEqual(
            bobs, [AnnotationChange(two, second, COMMENT), AnnotationChange(three, third, SUBJECT)]
        )
        self.assertEqual(list(self.wait(self.inbox.annotationChangesSince(three))), [])

    def test_watched(self) -> None:
        """Who watches the mailbox is told."""
        told: list[str] = []
        self.addCleanup(self.inbox.watch(lambda: told.append("changed")))
        self.put(self.found[0], {(COMMENT, True): b"x"})
        self.assertTrue(told)

    def test_expunged(self) -> None:
        """They vanish with their message."""
        for uid in self.found:
            self.put(uid, {(COMMENT, True): b"x", (COMMENT, False): b"y"})
            self.put(uid, {(COMMENT, True): b"z"}, self.bob.accountId)
        at = self.highest()
        self.wait(self.inbox.expunge(self.numbers(self.found[0], self.found[2]), False))
        self.assertEqual({row[0] for row in self.rows(self.inbox)}, {self.found[1]})
        self.assertEqual(list(self.wait(self.inbox.annotationChangesSince(at))), [])
        self.assertSound()

    def test_mailboxDeleted(self) -> None:
        """With a mailbox its annotations go, and a new one of that name has none."""
        uid = self.append(self.other)
        self.wait(self.other.storeAnnotations(EVERYTHING, {(COMMENT, True): b"x"}, MANY))
        self.wait(self.account.deleteMailbox("other"))
        self.assertFails(self.other.annotations(EVERYTHING), NoSuchMailbox)
        self.assertFails(self.other.annotatedMessages(EVERYTHING), NoSuchMailbox)
        self.assertFails(self.other.annotationChangesSince(0), NoSuchMailbox)
        self.assertFails(
            self.other.storeAnnotations(self.numbers(uid), {(COMMENT, True): b"x"}, MANY),
            NoSuchMailbox,
        )
        again = self.mailbox("other")
        self.append(again)
        self.assertEqual(self.rows(again), [])
        self.assertSound()

    def test_accountRemoved(self) -> None:
        """With an account everything goes that it noted anywhere."""
        uid = self.found[0]
        self.put(uid, {(COMMENT, True): b"bob's", (SUBJECT, False): b"ours"}, self.bob.accountId)
        bobs = self.mailbox("INBOX", self.bob)
        self.append(bobs)
        noted: Any = bobs
        self.wait(noted.storeAnnotations(EVERYTHING, {(COMMENT, True): b"x"}, MANY))
        self.wait(self.store.directory.removeAccount(self.bob.address))
        self.assertEqual(
            self.rows(self.inbox, self.bob.accountId), [(uid, SUBJECT, False, b"ours")]
        )
        self.assertSound()

    def test_copied(self) -> None:
        """Copies get the shared ones and the owner's, nobody else's; the messages keep theirs."""
        uid = self.found[0]
        self.put(uid, {(COMMENT, True): b"a", (SUBJECT, False): b"b", (SUBJECT, True): b"gone"})
        self.put(uid, {(SUBJECT, True): None})
        self.put(uid, {(COMMENT, True): b"bob's"}, self.bob.accountId)
        before = self.rows(self.inbox)
        self.append(self.other)
        result = self.wait(self.inbox.copyMessages(self.numbers(*self.found), self.other))
        made = result.destinations[0]
        copied = [(made, SUBJECT, False, b"b"), (made, COMMENT, True, b"a")]
        self.assertEqual(self.rows(self.other), copied)
        self.assertEqual(self.rows(self.other, self.bob.accountId), copied[:1])
        self.assertEqual(self.rows(self.inbox), before)
        again = self.wait(self.inbox.copyMessages(self.numbers(uid), self.inbox))
        self.assertEqual(
            [row[1:] for row in self.rows(self.inbox) if row[0] == again.destinations[0]],
            [row[1:] for row in copied],
        )
        self.assertSound()

    def test_copiedAlong(self) -> None:
        """Only what is to go along does."""
        uid, bob = self.found[0], self.bob.accountId
        self.put(uid, {(COMMENT, True): b"a", (COMMENT, False): b"b"})
        self.put(uid, {(COMMENT, True): b"bob's"}, bob)
        shared, bobs = (COMMENT, False, b"b"), (COMMENT, True, b"bob's")
        for along, expected in (
            (AnnotationScope(bob), [shared, bobs]),
            (AnnotationScope(bob, private=False), [shared]),
            (AnnotationScope(bob, shared=False), [bobs]),
            (AnnotationScope(bob, False, False), []),
        ):
            result = self.wait(self.inbox.copyMessages(self.numbers(uid), self.other, None, along))
            made = result.destinations[0]
            found = [row[1:] for row in self.rows(self.other, bob) if row[0] == made]
            self.assertEqual(found, expected, along)
        self.assertNotIn((COMMENT, True, b"a"), [row[1:] for row in self.rows(self.other)])
        self.assertSound()

    def test_copiedToAnother(self) -> None:
        """In a mailbox of another account they are still the copier's."""
        self.put(self.found[0], {(COMMENT, True): b"a", (COMMENT, False): b"b"})
        bobs: Any = self.mailbox("INBOX", self.bob)
        made = self.wait(self.inbox.copyMessages(self.numbers(self.found[0]), bobs)).destinations[0]
        self.assertEqual(self.rows(bobs), [(made, COMMENT, False, b"b")])
        self.assertEqual(
            self.rows(bobs, self.account.accountId),
            [(made, COMMENT, False, b"b"), (made, COMMENT, True, b"a")],
        )
        self.assertSound()

    def test_moved(self) -> None:
        """They go with messages that are moved."""
        uid = self.found[0]
        self.put(uid, {(COMMENT, True): b"a", (COMMENT, False): b"b"})
        source = IMovableMailbox(self.inbox)
        made = self.wait(source.moveMessages(self.numbers(uid), self.other)).destinations[0]
        self.assertEqual(
            self.rows(self.other), [(made, COMMENT, False, b"b"), (made, COMMENT, True, b"a")]
        )
        self.assertEqual(self.rows(self.inbox), [])
        self.assertSound()

    def test_inboxRenamed(self) -> None:
        """RENAME of INBOX moves them with the messages, whosever they are."""
        uid = self.found[0]
        self.put(uid, {(COMMENT, True): b"a", (COMMENT, False): b"b"})
        self.put(uid, {(COMMENT, True): b"bob's"}, self.bob.accountId)
        self.wait(self.account.renameMailbox("INBOX", "old"))
        old = self.mailbox("old")
        made = self.uids(old)[0]
        shared = (made, COMMENT, False, b"b")
        self.assertEqual(self.rows(old), [shared, (made, COMMENT, True, b"a")])
        self.assertEqual(
            self.rows(old, self.bob.accountId), [shared, (made, COMMENT, True, b"bob's")]
        )
        self.assertEqual(self.rows(self.inbox), [])
        self.assertSound()

    def test_appended(self) -> None:
        """New messages may have some."""
        messages = [(self.stage(b"%d" % number), frozenset({SEEN}), 1, 0) for number in range(2)]
        values: list[dict[AnnotationKey, bytes]] = [
            {},
            {(COMMENT, True): b"a", (COMMENT, False): b"b"},
        ]
        result = self.wait(self.other.append(messages, values))
        made = result.uids[1]
        self.assertEqual(
            self.rows(self.other), [(made, COMMENT, False, b"b"), (made, COMMENT, True, b"a")]
        )
        bob = self.bob.accountId
        made = self.wait(self.inbox.append(messages[:1], values[1:], bob)).uids[0]
        self.assertEqual(
            self.rows(self.inbox, bob),
            [(made, COMMENT, False, b"b"), (made, COMMENT, True, b"a")],
        )
        self.assertEqual(self.rows(self.inbox), [(made, COMMENT, False, b"b")])
        self.assertSound()

    def test_appendRefused(self) -> None:
        """If the messages don't fit, there is nothing of it."""
        self.wait(self.store.directory.setQuota(self.account.address, None, 3))
        message = (self.stage(), frozenset({SEEN}), 1, 0)
        before = self.highest(self.other)
        self.assertFails(self.other.append([message], [{(COMMENT, True): b"a"}]), OverQuota)
        self.assertEqual(self.highest(self.other), before)
        self.assertEqual(self.rows(self.other), [])

    # --- how much ------------------------------------------------------------------------------

    def limit(self, octets: int | None) -> None:
        """
        Limit the account's annotations.
        """
        directory = self.store.directory
        self.wait(directory.setQuota(self.account.address, None, None, None, octets))

    def used(self) -> int:
        """
        @return: the octets of the account's annotations.
        """
        octets: int = self.wait(self.account.annotationQuota())[0]
        return octets

    def test_quota(self) -> None:
        """
        All values of all messages count, whoever noted them; what is more is refused, with all that
        came along, and what is there can always become smaller.
        """
        first, second, third = self.found
        self.assertEqual(self.wait(self.account.annotationQuota()), (0, None))
        self.put(first, {(COMMENT, True): b"1234", (SUBJECT, False): b"\0\xff"})
        self.put(second, {(COMMENT, True): b"56"}, self.bob.accountId)
        self.limit(10)
        self.assertEqual(self.wait(self.account.annotationQuota()), (8, 10))
        before, rows = self.highest(), self.rows(self.inbox)
        everybody = self.numbers(first, third)
        for values in (
            {(SUBJECT, True): b"123"},
            {(COMMENT, True): b"1234567"},
            {(COMMENT, True): None, (SUBJECT, True): b"1234567"},
        ):
            self.assertFails(
                self.inbox.storeAnnotations(self.numbers(first), values, MANY), OverQuota
            )
        for reader in (None, self.bob.accountId):
            self.assertFails(
                self.inbox.storeAnnotations(
                    everybody, {(SUBJECT, True): b"12"}, MANY, None, reader
                ),
                OverQuota,
            )
        self.assertEqual((self.highest(), self.rows(self.inbox)), (before, rows))
        # As much as there may be, and the same again.
        self.put(third, {(COMMENT, True): b"12", (SUBJECT, True): b""})
        self.put(first, {(COMMENT, True): b"4321"})
        self.assertEqual(self.used(), 10)
        # Less than there is.
        self.limit(1)
        self.assertFails(
            self.inbox.storeAnnotations(self.numbers(third), {(COMMENT, True): b"123"}, MANY),
            OverQuota,
        )
        self.put(first, {(COMMENT, True): b"1", (SUBJECT, True): b"12"})
        self.put(first, {(SUBJECT, False): None})
        self.assertEqual(self.used(), 7)
        self.wait(self.inbox.expunge(self.numbers(first), False))
        self.assertEqual(self.used(), 4)
        self.limit(0)
        self.put(third, {(COMMENT, False): b""})
        self.limit(None)
        self.put(third, {(COMMENT, True): b"x" * 5000})
        self.assertEqual(self.wait(self.account.annotationQuota()), (5002, None))
        self.assertSound()
        self.wait(self.store.directory.removeAccount(self.account.address))
        self.assertFails(self.account.annotationQuota(), NoSuchAccount)

    def test_quotaOfNewMessages(self) -> None:
        """
        Messages that bring more than there may be are not put there; one in another's place only
        has to find room for what is more.
        """
        self.put(self.found[0], {(COMMENT, True): b"1234"})
        self.limit(6)
        # Too large to be held in memory.
        large = self.stage(b"Subject: x\r\n\r\n" + b"x\r\n" * 300_000)
        message = (large, frozenset({SEEN}), 1, 0)
        before = self.highest(self.other), self.wait(self.account.quota())
        values = {(COMMENT, True): b"12", (COMMENT, False): b"3"}
        self.assertFails(self.other.append([message], [values]), OverQuota)
        self.assertEqual((self.highest(self.other), self.wait(self.account.quota())), before)
        self.wait(self.other.append([message], [{(COMMENT, True): b"12"}]))
        self.limit(8)
        self.put(self.found[0], {(COMMENT, True): b"123456"})
        source: Any = IReplacingMailbox(self.inbox)
        more = {(COMMENT, True): b"1234567"}
        message = (self.stage(), frozenset({SEEN}), 1, 0)
        self.assertFails(
            source.replaceMessage(self.found[0], self.inbox, message, [more]), OverQuota
        )
        self.assertEqual(self.used(), 8)
        more = {(COMMENT, True): b"654321"}
        message = (self.stage(), frozenset({SEEN}), 1, 0)
        self.wait(source.replaceMessage(self.found[0], self.inbox, message, [more]))
        self.assertEqual(self.used(), 8)
        message = (self.stage(), frozenset({SEEN}), 1, 0)
        self.wait(self.other.append([message], [{}]))
        self.assertSound()

    def test_quotaOfCopies(self) -> None:
        """
        Copies need room for what they take along, in the account that they are put in; what is
        moved within an account doesn't.
        """
        first, second, _ = self.found
        self.put(first, {(COMMENT, True): b"1234"})
        self.limit(3)
        before = self.highest(self.other)
        self.assertFails(self.inbox.copyMessages(self.numbers(first), self.other), OverQuota)
        self.assertEqual(self.highest(self.other), before)
        self.wait(self.inbox.copyMessages(self.numbers(second), self.other))
        movable: Any = IMovableMailbox(self.inbox)
        self.wait(movable.moveMessages(self.numbers(first), self.other))
        self.assertEqual(self.used(), 4)
        bob: Any = self.wait(self.store.openAccount(self.bob.accountId))
        theirs = self.wait(bob.openMailbox("INBOX"))
        movable = IMovableMailbox(self.other)
        self.wait(self.store.directory.setQuota(self.bob.address, None, None, None, 3))
        self.assertFails(movable.moveMessages(EVERYTHING, theirs), OverQuota)
        self.assertEqual((self.used(), self.rows(theirs)), (4, []))
        self.wait(self.store.directory.setQuota(self.bob.address, None, None, None, 4))
        self.wait(movable.moveMessages(EVERYTHING, theirs))
        self.assertEqual(self.used(), 0)
        self.assertEqual(self.wait(bob.annotationQuota()), (4, 4))
        self.assertSound()

    def test_replaced(self) -> None:
        """The message in another's place has what it was given, and nothing of the old one."""
        self.put(self.found[0], {(COMMENT, True): b"old", (SUBJECT, False): b"old"})
        source: Any = IReplacingMailbox(self.inbox)
        message = (self.stage(), frozenset({SEEN}), 1, 0)
        made = self.wait(
            source.replaceMessage(self.found[0], self.inbox, message, [{(COMMENT, True): b"new"}])
        ).uids[0]
        self.assertEqual(self.rows(self.inbox), [(made, COMMENT, True, b"new")])
        made = self.wait(source.replaceMessage(made, self.other, message)).uids[0]
        self.assertEqual(self.rows(self.inbox) + self.rows(self.other), [])
        self.assertSound()
