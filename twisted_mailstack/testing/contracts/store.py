# -*- test-case-name: tests.storage.test_memory -*-
"""
What L{IMailStore} promises; of a store that keeps things (L{DurableStoreContract}), and of one that
several processes use at the same time (L{SharedStoreContract}), some more.
"""

from __future__ import annotations

from collections.abc import Awaitable

from twisted_mailstack.errors import MaildropLocked, NoSuchAccount, OverQuota, TemporaryFailure
from twisted_mailstack.interfaces import IMailStore
from twisted_mailstack.model.flags import DELETED, NO_FLAGS, SEEN, FlagOperation
from twisted_mailstack.model.records import Attribute, Placement
from twisted_mailstack.testing.contracts.base import EVERYTHING, StorageContract, start


class StoreContract(StorageContract):
    """
    A storage backend: accounts, mailboxes and messages in one place.
    """

    def placement(self, localPart: str, mailbox: str = "INBOX", prefix: bytes = b"") -> Placement:
        """
        @return: one for an account, which is made if it isn't there.
        """
        address = self.address(localPart)
        record = self.wait(self.store.directory.findAccount(address))
        if record is None:
            record = self.wait(self.store.directory.addAccount(address, None))
        return Placement(record.accountId, mailbox, prefix)

    def contents(self, placement: Placement, mailbox: str = "INBOX") -> list[bytes]:
        """
        @return: the messages in a mailbox of that account.
        """
        account = self.wait(self.store.openAccount(placement.accountId))
        found = self.wait(account.openMailbox(mailbox))
        return [self.message(found, uid) for uid in self.uids(found)]

    def test_provides(self) -> None:
        """The store is what the interface says."""
        self.assertProvides(IMailStore, self.store)

    def test_openAccount(self) -> None:
        """There must be one."""
        self.assertFails(self.store.openAccount("nobody"), NoSuchAccount)

    # --- delivery ------------------------------------------------------------------------------

    def test_deliver(self) -> None:
        """Each recipient has a copy, with its own prefix and flags, at the date given."""
        self.seconds = 5_000.9
        one = self.placement("one", prefix=b"To: one\r\n")._replace(flags=frozenset({SEEN, "k"}))
        two = self.placement("two", prefix=b"To: two\r\nX: y\r\n")
        for data in (b"Subject: x\r\n\r\nsmall", b"Subject: x\r\n\r\n" + b"large" * 120_000):
            results = self.deliver(data, one, two, date=-77)
            self.assertEqual(list(results), [None, None])
            self.assertEqual(self.contents(one)[-1], b"To: one\r\n" + data)
            self.assertEqual(self.contents(two)[-1], b"To: two\r\nX: y\r\n" + data)
        account = self.wait(self.store.openAccount(one.accountId))
        rows = self.fetch(
            self.mailbox("INBOX", account),
            *(Attribute.FLAGS, Attribute.INTERNAL_DATE, Attribute.ZONE, Attribute.SAVE_DATE),
        )
        self.assertEqual(rows[0][1:], (frozenset({SEEN, "k"}), -77, 0, 5_000))
        self.assertSound()

    def test_deliverSeveralToOne(self) -> None:
        """One account can get several copies, in several mailboxes."""
        placements = [
            self.placement("alice", "INBOX", b"A: 1\r\n"),
            self.placement("alice", "INBOX", b"A: 2\r\n"),
            self.placement("alice", "Junk", b"A: 3\r\n"),
        ]
        self.assertEqual(list(self.deliver(b"x", *placements)), [None] * 3)
        self.assertEqual(self.contents(placements[0]), [b"A: 1\r\nx", b"A: 2\r\nx"])
        self.assertEqual(self.contents(placements[0], "Junk"), [b"A: 3\r\nx"])
        self.assertEqual(self.wait(self.account.quota())[::2], (3 * 7, 3))
        self.assertSound()

    def test_deliverWhereItIsMissing(self) -> None:
        """INBOX is taken where the mailbox is missing, or only a name above others."""
        self.mailbox("a/b")
        self.wait(self.account.deleteMailbox("a"))
        for name in ("nothing", "a", "INBOX"):
            self.deliver(name.encode(), self.placement("alice", name))
        self.assertEqual(self.contents(self.placement("alice")), [b"nothing", b"a", b"INBOX"])

    def test_deliverToNobody(self) -> None:
        """Without placements nothing is placed."""
        staged = self.stage()
        self.assertEqual(list(self.wait(self.store.deliver(staged, [], 0))), [])
        self.assertSound()

    def test_deliverAllOrNothing(self) -> None:
        """If one can't be placed, nobody gets it, and the reason is raised."""
        bob, alice = self.placement("bob"), self.placement("alice")
        nobody = self.placement("carol")
        self.wait(self.store.directory.removeAccount(self.address("carol")))
        self.wait(self.store.directory.setQuota(self.address("bob"), 3, None))
        for data in (b"small", b"large" * 120_000):
            for placements, error in (
                ((alice, bob), OverQuota),
                ((alice, nobody), NoSuchAccount),
                ((bob, alice), OverQuota),
                ((nobody, alice), NoSuchAccount),
            ):
                staged = self.stage(data)
                self.assertFails(self.store.deliver(staged, placements, 0), error)
                staged.discard()
                self.assertEqual((self.contents(alice), self.contents(bob)), ([], []))
        self.assertEqual(self.wait(self.account.quota()).messages, 0)
        self.assertSound()

    def test_deliverPartial(self) -> None:
        """With C{partial} who can get it does, and for each of the others there is a reason."""
        alice, bob, nobody = (self.placement(name) for name in ("alice", "bob", "carol"))
        self.wait(self.store.directory.removeAccount(self.address("carol")))
        self.wait(self.store.directory.setQuota(self.address("bob"), None, 0))
        for data in (b"small", b"large" * 120_000):
            for placements in ((alice, bob, nobody), (nobody, bob, alice)):
                results = self.deliver(data, *placements, partial=True)
                wanted = {alice: type(None), bob: OverQuota, nobody: NoSuchAccount}
                self.assertEqual(
                    [type(result) for result in results], [wanted[each] for each in placements]
                )
                self.assertEqual(self.contents(alice)[-1], data)
        self.assertEqual(len(self.contents(alice)), 4)
        self.assertEqual(self.contents(bob), [])
        results = self.deliver(b"x", bob, nobody, partial=True)
        self.assertNotIn(None, results)
        self.assertSound()

    def test_deliverQuota(self) -> None:
        """The prefix counts; what fits exactly fits; several copies for one must fit together."""
        alice = self.placement("alice", prefix=b"A: b\r\n")
        self.wait(self.store.directory.setQuota(self.address("alice"), 20, None))
        staged = self.stage(b"1234")
        self.assertFails(self.store.deliver(staged, [alice] * 3, 0), OverQuota)
        self.assertEqual(self.contents(alice), [])
        results = self.wait(self.store.deliver(staged, [alice] * 3, 0, True))
        self.assertEqual([type(each) for each in results], [type(None)] * 2 + [OverQuota])
        self.assertEqual(self.wait(self.account.quota()).octets, 20)
        self.assertFails(
            self.store.deliver(self.stage(b""), [alice._replace(prefix=b"x")], 0), OverQuota
        )
        self.wait(self.store.directory.setQuota(self.address("alice"), None, 3))
        self.assertFails(self.store.deliver(staged, [alice] * 2, 0), OverQuota)
        self.assertEqual(len(self.contents(alice)), 2)
        self.assertSound()

    def test_deliveredToAll(self) -> None:
        """Of a message to many, everybody sees all of it, and each can expunge its own."""
        placements = [self.placement(f"user{n}", prefix=b"N: %d\r\n" % n) for n in range(20)]
        data = b"large" * 120_000
        self.deliver(data, *placements)
        for number, placement in enumerate(placements[:-1]):
            self.assertEqual(self.contents(placement), [b"N: %d\r\n" % number + data])
            account = self.wait(self.store.openAccount(placement.accountId))
            self.wait(self.mailbox("INBOX", account).expunge(None, False))
        self.append(self.mailbox("INBOX"), b"something else")
        self.assertEqual(self.contents(placements[-1]), [b"N: 19\r\n" + data])
        self.assertSound()

    def test_watchersOfADelivery(self) -> None:
        """When one recipient's watcher is told, all recipients have the message."""
        alice, bob = self.placement("alice"), self.placement("bob")
        inboxes = [
            self.mailbox("INBOX", self.wait(self.store.openAccount(each.accountId)))
            for each in (alice, bob)
        ]
        found: list[list[int]] = []

        async def look() -> None:
            found.append([(await inbox.status()).messages for inbox in inboxes])

        def changed() -> None:
            start(look())

        for inbox in inboxes:
            self.addCleanup(inbox.watch(changed))
        self.deliver(b"x", alice, bob)
        self.waitUntil(lambda: len(found) >= 2)
        self.assertEqual(found, [[1, 1]] * len(found))

    def test_manyAtOnce(self) -> None:
        """Many changes that are begun at once all happen, each once, and none is lost."""
        inbox = self.mailbox("INBOX")
        uid = self.append(inbox)
        staged = self.stage()
        placement = self.placement("alice")
        waiting: list[Awaitable[object]] = []
        for number in range(40):
            waiting += [
                start(self.store.deliver(staged, [placement], 0)),
                start(inbox.append([(staged, NO_FLAGS, 0, 0)])),
                start(
                    inbox.storeFlags(
                        self.numbers(uid), FlagOperation.ADD, frozenset({f"k{number}"})
                    )
                ),
            ]
        for each in waiting:
            self.wait(each)
        self.assertEqual(len(self.uids(inbox)), 81)
        self.assertEqual(len(self.flags(inbox)[uid]), 40)
        self.assertSound()

    # --- check, stop ---------------------------------------------------------------------------

    def test_check(self) -> None:
        """A sound store has no damage; progress goes from little to all; nothing is changed."""
        self.deliver(b"x" * 600_000)
        self.stage(b"y" * 600_000)
        status = self.wait(self.mailbox("INBOX").status())
        told: list[tuple[int, int]] = []
        found = self.wait(self.store.check(lambda done, whole: told.append((done, whole))))
        self.assertEqual(list(found), [])
        self.waitUntil(lambda: told and told[-1][0] == told[-1][1])
        self.assertEqual([done for done, _ in told], sorted(done for done, _ in told))
        self.assertEqual(self.wait(self.mailbox("INBOX").status()), status)

    def test_stopIsIdempotent(self) -> None:
        """To stop twice is as good as once."""
        self.wait(self.store.stop())
        self.wait(self.store.stop())


class DurableStoreContract(StorageContract):
    """
    What is told to be done is there after the store was closed and opened again.
    """

    def restart(self) -> None:
        """
        Close the store and open it again.
        """
        self.wait(self.store.stop())
        self.store = self.startStore()
        self.account = self.wait(self.store.openAccount(self.account.accountId))

    def test_everythingIsKept(self) -> None:
        """Accounts, mailboxes, messages, flags, subscriptions and numbers are as they were."""
        directory = self.store.directory
        inbox = self.mailbox("INBOX")
        self.deliver(b"large" * 120_000)
        self.append(inbox, b"small", (SEEN, "Keyword"), 55, 60)
        self.append(inbox, b"gone")
        self.wait(inbox.expunge(self.numbers(3), False))
        self.wait(inbox.claimRecent())
        self.mailbox("a/b")
        self.wait(self.account.deleteMailbox("a"))
        self.wait(self.account.setSubscribed("missing", True))
        self.wait(directory.setQuota(self.address("alice"), 1 << 40, 7))
        self.wait(directory.setPassword(self.address("alice"), "$x"))
        self.wait(directory.setAlias(self.address("info"), [self.address("alice")]))

        def everything() -> list[object]:
            inbox = self.mailbox("INBOX")
            return [
                self.wait(self.store.directory.listDomains()),
                self.wait(self.store.directory.listAccounts()),
                self.wait(self.store.directory.listAliases()),
                self.wait(self.account.listMailboxes()),
                self.wait(self.account.quota()),
                self.wait(inbox.status()),
                self.wait(inbox.changesSince(0)),
                self.wait(inbox.changesSince(2)),
                self.fetch(inbox, *Attribute),
                self.message(inbox, 1),
            ]

        before = everything()
        self.restart()
        self.assertEqual(everything(), before)
        self.assertSound()

    def test_numbersGoOn(self) -> None:
        """UIDs, modSeqs, uidValidities and ids go on after those that were used."""
        inbox = self.mailbox("INBOX")
        uid = self.append(inbox)
        self.wait(inbox.expunge(None, False))
        status = self.wait(inbox.status())
        gone = self.mailbox("gone")
        validity = self.wait(gone.status()).uidValidity
        self.wait(self.account.deleteMailbox("gone"))
        self.restart()
        inbox = self.mailbox("INBOX")
        self.assertTrue(self.append(inbox) > uid)
        self.assertTrue(self.wait(inbox.status()).highestModSeq > status.highestModSeq)
        again = self.mailbox("gone")
        self.assertNotEqual(again.mailboxId, gone.mailboxId)
        self.assertTrue(self.wait(again.status()).uidValidity > validity)

    def test_stopFinishes(self) -> None:
        """What was begun before the store is stopped is done; what comes after is refused."""
        inbox = self.mailbox("INBOX")
        staged = self.stage()
        begun = [start(inbox.append([(staged, NO_FLAGS, 0, 0)])) for _ in range(30)]
        stopped = start(self.store.stop())
        late = start(inbox.append([(staged, NO_FLAGS, 0, 0)]))
        for each in begun:
            self.wait(each)
        self.assertFails(late, TemporaryFailure)
        self.wait(stopped)
        self.restart()
        self.assertEqual(len(self.uids(self.mailbox("INBOX"))), 30)
        self.assertSound()

    def test_unplacedIsGone(self) -> None:
        """What was written and never placed, nor discarded, costs nothing after the next start."""
        self.stage(b"x" * 600_000)
        writer = self.store.newContent()
        writer.write(b"x" * 600_000)
        self.restart()
        self.assertSound()


class SharedStoreContract(StorageContract):
    """
    Several processes use one store. A second object for it stands in for the other process.
    """

    def setUp(self) -> None:
        """
        Another object for the same store.
        """
        super().setUp()
        self.elsewhere = self.startStore()
        self.theirs = self.wait(self.elsewhere.openAccount(self.account.accountId))

    def test_seenAtOnce(self) -> None:
        """What one did the other sees as soon as it is done, in both directions."""
        here = self.mailbox("INBOX")
        there = self.wait(self.theirs.openMailbox("INBOX"))
        self.append(here, b"1")
        self.assertEqual(self.message(there, 1), b"1")
        self.addFlags(there, [1], SEEN)
        self.assertEqual(self.flags(here), {1: frozenset({SEEN})})
        self.append(there, b"2")
        self.wait(here.expunge(self.numbers(1), False))
        self.assertEqual((self.uids(here), self.uids(there)), ([2], [2]))
        self.wait(self.theirs.createMailbox("new"))
        self.wait(self.account.openMailbox("new"))
        directory = self.elsewhere.directory
        self.wait(directory.addDomain("new.test"))
        self.assertIsNotNone(self.wait(self.store.directory.findDomain("new.test")))
        self.wait(directory.setPassword(self.address("alice"), "$x"))
        (found,) = self.wait(self.store.directory.findCredentials(self.account.accountId))
        self.assertEqual(found.secrets, {"argon2id": "$x"})

    def test_turns(self) -> None:
        """Both can change things in turn and at once; no UID is given twice, none is lost."""
        here = self.mailbox("INBOX")
        there = self.wait(self.theirs.openMailbox("INBOX"))
        staged, other = self.stage(), self.elsewhere.newContent()
        other.write(b"x")
        theirs = self.wait(other.finish())
        self.addCleanup(theirs.discard)
        waiting = []
        for _ in range(15):
            waiting.append(start(here.append([(staged, NO_FLAGS, 0, 0)])))
            waiting.append(start(there.append([(theirs, NO_FLAGS, 0, 0)])))
        uids = [self.wait(each).uids[0] for each in waiting]
        self.assertEqual(sorted(uids), list(range(1, 31)))
        self.assertEqual(self.uids(here), self.uids(there))
        self.assertSound()

    def test_told(self) -> None:
        """Watchers here are told soon of what was done there."""
        here = self.mailbox("INBOX")
        there = self.wait(self.theirs.openMailbox("INBOX"))
        calls: list[str] = []
        self.addCleanup(here.watch(lambda: calls.append("mailbox")))
        self.addCleanup(self.account.watch(lambda mailboxId: calls.append("account")))
        for change in (
            lambda: self.append(there),
            lambda: self.addFlags(there, [1], DELETED),
            lambda: self.wait(there.expunge(None)),
            lambda: self.append(there),
            lambda: self.wait(there.copyMessages(EVERYTHING, there)),
        ):
            change()
            self.waitUntil(lambda: {"mailbox", "account"} <= set(calls))
            calls.clear()
        self.wait(self.theirs.createMailbox("new"))
        self.waitUntil(lambda: "account" in calls)

    def test_toldOfDeletion(self) -> None:
        """Also when the mailbox is deleted there."""
        here = self.mailbox("other")
        calls: list[None] = []
        self.addCleanup(here.watch(lambda: calls.append(None)))
        self.wait(self.theirs.deleteMailbox("other"))
        self.waitUntil(lambda: calls)

    def test_maildropLock(self) -> None:
        """The maildrop's lock excludes other processes."""
        release = self.wait(self.account.lockMaildrop())
        self.assertFails(self.theirs.lockMaildrop(), MaildropLocked)
        release()
        self.wait(self.theirs.lockMaildrop())()

    def test_recentOnce(self) -> None:
        r"""A message is C{\Recent} in one process only."""
        here = self.mailbox("INBOX")
        there = self.wait(self.theirs.openMailbox("INBOX"))
        self.append(here)
        self.assertEqual(self.wait(there.claimRecent()), (1, 1))
        first, last = self.wait(here.claimRecent())
        self.assertTrue(last < first)

    def test_startLeavesOthersAlone(self) -> None:
        """What one is writing is not cleared up by another that starts."""
        data = b"large" * 120_000
        staged = self.stage(data)
        writer = self.store.newContent()
        waiting = writer.write(data)
        if waiting is not None:
            self.wait(waiting)
        self.startStore()
        mailbox = self.mailbox("INBOX")
        self.append(self.mailbox("other"))
        self.wait(mailbox.append([(staged, NO_FLAGS, 0, 0)]))
        finished = self.wait(writer.finish())
        self.addCleanup(finished.discard)
        self.wait(mailbox.append([(finished, NO_FLAGS, 0, 0)]))
        self.assertEqual([self.message(mailbox, uid) for uid in self.uids(mailbox)], [data] * 2)
        self.assertSound()
