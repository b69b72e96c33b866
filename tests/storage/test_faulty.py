"""
A store that fails at its n-th call; and that neither store is left half-done by it.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.test_sql import SQLStore
from twisted_mailstack.errors import TemporaryFailure
from twisted_mailstack.interfaces import (
    IAccount,
    IContentWriter,
    IDirectoryAdmin,
    IMailbox,
    IMailStore,
    IMovableMailbox,
    IStagedContent,
)
from twisted_mailstack.model.flags import DELETED, SEEN
from twisted_mailstack.model.records import Attribute, Placement
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.testing import contracts
from twisted_mailstack.testing.contracts.base import EVERYTHING
from twisted_mailstack.testing.faulty import Fault, FaultyStore


class MemoryStore(contracts.StorageContract):
    """
    A memory store that can fail.
    """

    def makeStore(self) -> IMailStore:
        """See the contract."""
        self.faulty = FaultyStore(MemoryMailStore(self.now))
        return self.faulty


class FaultySQLStore(SQLStore):
    """
    An SQL store that can fail.
    """

    def makeStore(self) -> IMailStore:
        """See the contract."""
        self.faulty = FaultyStore(super().makeStore())
        return self.faulty


class FaultyStoreTests(MemoryStore, SynchronousTestCase):
    """
    What a test can rely on.
    """

    def test_provides(self) -> None:
        """The store and what comes out of it provide what the wrapped ones provide."""
        mailbox = self.mailbox("INBOX")
        for interface, value in (
            (IMailStore, self.store),
            (IDirectoryAdmin, self.store.directory),
            (IAccount, self.account),
            (IMailbox, mailbox),
            (IMovableMailbox, mailbox),
            (IAccount, mailbox.account),
            (IContentWriter, self.store.newContent()),
            (IContentWriter, self.account.newContent()),
            (IStagedContent, self.stage()),
        ):
            self.assertProvides(interface, value)

    def test_failsOnce(self) -> None:
        """The n-th call from now on fails, and no other."""
        mailbox = self.mailbox("INBOX")
        self.faulty.failAt(3)
        self.wait(mailbox.status())
        self.wait(self.account.quota())
        self.assertFails(self.store.directory.listDomains(), Fault)
        self.wait(self.store.directory.listDomains())
        self.faulty.failAt(1, TemporaryFailure)
        self.assertFails(self.store.openAccount("A1"), TemporaryFailure)
        self.faulty.failAt(1)
        self.faulty.heal()
        self.wait(mailbox.status())

    def test_calls(self) -> None:
        """The calls are named by interface and method, the failed one included."""
        mailbox = self.mailbox("INBOX")
        del self.faulty.calls[:]
        self.faulty.failAt(5)
        staged = self.stage(b"x")
        self.wait(mailbox.append([(staged, frozenset(), 0, 0)]))
        content = self.wait(mailbox.openMessage(1))
        self.assertFails(content.read(0, 1), Fault)
        mailbox.watch(lambda: None)()
        staged.discard()
        self.assertEqual(
            self.faulty.calls,
            [
                *("IContentWriter.write", "IContentWriter.finish", "IMailbox.append"),
                *("IMailbox.openMessage", "IMessageContent.read"),
            ],
        )

    def test_notMade(self) -> None:
        """A call that fails has not been made."""
        mailbox = self.mailbox("INBOX")
        staged = self.stage()
        self.faulty.failAt(1)
        self.assertFails(mailbox.append([(staged, frozenset(), 0, 0)]), Fault)
        writer = self.store.newContent()
        self.faulty.failAt(1)
        self.assertRaises(Fault, writer.write, b"x")
        self.assertEqual((writer.size, self.uids(mailbox)), (0, []))

    def test_argumentsAreTheStoresOwn(self) -> None:
        """Mailboxes and contents that are given to a call are what the store knows them as."""
        mailbox, other = self.mailbox("INBOX"), self.mailbox("other")
        self.append(mailbox)
        self.wait(mailbox.copyMessages(EVERYTHING, destination=other))
        self.deliver(b"x")
        self.assertEqual((len(self.uids(mailbox)), len(self.uids(other))), (2, 1))


class FaultyMemoryMailboxTests(MemoryStore, contracts.MailboxContract, SynchronousTestCase):
    """A faulty store that isn't told to fail is as good as the one in it."""


class FaultySQLMailboxTests(FaultySQLStore, contracts.MovableMailboxContract, SynchronousTestCase):
    """The same of another."""


class NothingHalfDone(contracts.StorageContract):
    """
    Whichever call fails, what a scenario did is not done, or done whole; the store is sound.
    """

    faulty: FaultyStore

    def setUp(self) -> None:
        """
        Two accounts with messages.
        """
        super().setUp()
        self.bob = self.addAccount("bob")
        self.inbox, self.other = self.mailbox("INBOX"), self.mailbox("other")
        self.append(self.inbox, b"1", (DELETED,))
        self.append(self.inbox, b"2", (SEEN, "k"))

    def state(self) -> object:
        """
        @return: all that can be seen.
        """
        found = []
        for account in (self.account, self.bob):
            found.append(self.wait(account.quota())[::2])
            for info in self.wait(account.listMailboxes()):
                mailbox = self.mailbox(info.name, account)
                rows = self.fetch(mailbox, Attribute.CONTENT, Attribute.FLAGS, Attribute.OCTETS)
                found.append((info.name, [row[1:] for row in rows]))
        return found

    def everyFailure(self, scenario: Callable[[], None], steps: int = 1) -> None:
        """
        @param steps: changes that the scenario makes one after another.
        """
        for error in (Fault, TemporaryFailure):
            number = 0
            while True:
                number += 1
                before = self.state()
                self.faulty.failAt(number, error)
                calls = len(self.faulty.calls)
                try:
                    scenario()
                except error:
                    failed = True
                else:
                    failed = False
                made = len(self.faulty.calls) - calls
                self.faulty.heal()
                self.assertSound()
                if not failed:
                    self.assertEqual(made, number - 1, "a failure was kept secret")
                    self.assertNotEqual(self.state(), before)
                    break
                if steps == 1:
                    self.assertEqual(self.state(), before)

    def test_delivery(self) -> None:
        """A delivery to two: openAccount, quota, the writer, deliver."""
        accounts = (self.account.accountId, self.bob.accountId)

        def scenario() -> None:
            for accountId in accounts:
                self.wait(self.wait(self.store.openAccount(accountId)).quota())
            writer = self.store.newContent()
            staged = None
            try:
                for _ in range(3):
                    waiting = writer.write(b"large" * 60_000)
                    if waiting is not None:
                        self.wait(waiting)
                staged = self.wait(writer.finish())
                self.wait(staged.read(0, 10))
                placements = [Placement(accountId, "INBOX", b"A: b\r\n") for accountId in accounts]
                self.wait(self.store.deliver(staged, placements, 0))
            finally:
                writer.abort()
                if staged is not None:
                    staged.discard()

        self.everyFailure(scenario)

    def test_append(self) -> None:
        """APPEND: openMailbox, the writer, append."""

        def scenario() -> None:
            mailbox = self.wait(self.account.openMailbox("other"))
            writer = self.account.newContent()
            writer.write(b"x" * 100)
            staged = self.wait(writer.finish())
            try:
                self.wait(mailbox.append([(staged, frozenset({"new"}), 0, 0)] * 2))
            finally:
                staged.discard()

        self.everyFailure(scenario)

    def test_move(self) -> None:
        """MOVE: there and back, each as a whole."""

        def scenario() -> None:
            source = self.wait(self.account.openMailbox("INBOX"))
            target = self.wait(self.account.openMailbox("other"))
            self.append(source, b"new")
            self.wait(IMovableMailbox(source).moveMessages(EVERYTHING, target))
            self.wait(IMovableMailbox(target).moveMessages(NumberSet.of([1]), source))

        self.everyFailure(scenario, steps=3)

    def test_expunge(self) -> None:
        """Flags, EXPUNGE."""

        def scenario() -> None:
            mailbox = self.wait(self.account.openMailbox("INBOX"))
            self.append(mailbox, b"new")
            self.addFlags(mailbox, self.uids(mailbox)[-1:], DELETED)
            self.wait(mailbox.expunge(None))
            self.append(mailbox, b"newer")

        self.everyFailure(scenario, steps=4)


class NothingHalfDoneMemoryTests(MemoryStore, NothingHalfDone, SynchronousTestCase):
    """The memory store."""


class NothingHalfDoneSQLTests(FaultySQLStore, NothingHalfDone, SynchronousTestCase):
    """The SQL store."""
