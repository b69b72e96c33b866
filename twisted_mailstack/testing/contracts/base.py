# -*- test-case-name: tests.storage.test_memory -*-
"""
What the contract tests of storage share: a store, somebody's account in it, and a way to wait for
what a store does in threads of its own, without a reactor.
"""

from __future__ import annotations

import queue
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import Interface
from zope.interface.verify import verifyObject

from twisted_mailstack.interfaces import (
    IAccount,
    IMailbox,
    IMailStore,
    IMessageContent,
    IStagedContent,
)
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.flags import NO_FLAGS, FlagOperation, Flags
from twisted_mailstack.model.records import Attribute, Placement
from twisted_mailstack.model.sequence import MAX_NUMBER, NumberSet

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase

    Base = SynchronousTestCase
else:
    # A mixin: imported by name into a test module it must not be run there by itself.
    Base = object

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

#: Seconds after which a call that a store's thread never makes fails the test.
PATIENCE = 60

DOMAIN = "example.test"
EVERYTHING = NumberSet([(1, MAX_NUMBER)])


class CallQueue:
    """
    Stands in for the reactor where a store's threads report to it: keeps the calls until a test
    runs them in its own thread.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]] = (
            queue.SimpleQueue()
        )

    def callFromThread(self, function: Callable[..., Any], *arguments: Any) -> None:
        """
        As C{IReactorFromThreads.callFromThread}.
        """
        self._calls.put((function, arguments))

    def runOne(self, timeout: float | None = None) -> bool:
        """
        Run the next call.

        @param timeout: seconds; L{PATIENCE} if nothing is said.
        @return: false if none came.
        """
        try:
            function, arguments = self._calls.get(timeout=PATIENCE if timeout is None else timeout)
        except queue.Empty:
            return False
        function(*arguments)
        return True

    def run(self) -> None:
        """
        Run what is there.
        """
        while not self._calls.empty():
            self.runOne()

    def wait(self, awaitable: Awaitable[T]) -> T:
        """
        Run calls until it has fired.

        @return: its result.
        @raise Exception: what it failed with.
        """
        outcome: list[Any] = []
        start(awaitable).addBoth(outcome.append)
        while not outcome:
            if not self.runOne():
                raise AssertionError(f"it did not fire within {PATIENCE} seconds: {awaitable!r}")
        (found,) = outcome
        if isinstance(found, Failure):
            found.raiseException()
        result: T = found
        return result


def start(awaitable: Awaitable[T]) -> Deferred[T]:
    """
    @return: the awaitable, begun.
    """

    async def run() -> T:
        return await awaitable

    return ensureDeferred(run())


class StorageContract(Base):
    """
    The beginning of every contract of storage.

    @ivar store: a started store with the domain L{DOMAIN} and the account C{account}.
    @ivar account: alice's.
    @ivar clock: for stores that need one.
    @ivar calls: runs what threads want to be run.
    @ivar seconds: what L{now} says.
    """

    store: IMailStore
    account: IAccount

    def makeStore(self) -> IMailStore:
        """
        Implement this: make a store that isn't started yet. Called again within one test (by the
        contracts that stop a store and open it again, or open it twice), it makes another object
        for the same store. A store that wants a clock, the time, or to call into the reactor's
        thread gets C{self.clock}, C{self.now} and C{self.calls.callFromThread}.
        """
        raise NotImplementedError("makeStore")

    def now(self) -> float:
        """
        Seconds since 1970, as the test wants them.
        """
        return self.seconds

    def setUp(self) -> None:
        """
        Start a store that has an account.
        """
        super().setUp()
        self.clock = Clock()
        self.calls = CallQueue()
        self.seconds = 1_700_000_000.0
        self.store = self.startStore()
        self.wait(self.store.directory.addDomain(DOMAIN))
        self.account = self.addAccount("alice")

    # --- waiting -------------------------------------------------------------------------------

    def wait(self, awaitable: Awaitable[T]) -> T:
        """
        @return: the result of something of the store.
        """
        return self.calls.wait(awaitable)

    def assertFails(self, awaitable: Awaitable[Any], kind: type[E]) -> E:
        """
        @return: the exception with which it fails, which is of that kind.
        """
        try:
            result = self.wait(awaitable)
        except kind as error:
            return error
        raise self.failureException(f"{kind.__name__} was not raised, but returned: {result!r}")

    def waitUntil(self, condition: Callable[[], object]) -> None:
        """
        Let threads and clock go on until something holds.
        """
        for _ in range(2000):
            self.calls.run()
            if condition():
                return
            self.clock.advance(0.05)
            self.calls.runOne(0.01)
        raise self.failureException("it never came to hold")

    # --- a store and what is in it -------------------------------------------------------------

    def startStore(self) -> IMailStore:
        """
        @return: a store, started, and stopped after the test.
        """
        store = self.makeStore()
        self.wait(store.start())
        self.addCleanup(lambda: self.wait(store.stop()))
        return store

    def address(self, localPart: str) -> Address:
        """
        @return: an address in L{DOMAIN}.
        """
        return Address(localPart, DOMAIN)

    def addAccount(self, localPart: str) -> IAccount:
        """
        @return: a new account.
        """
        record = self.wait(self.store.directory.addAccount(self.address(localPart), None))
        return self.wait(self.store.openAccount(record.accountId))

    def mailbox(self, name: str, account: IAccount | None = None) -> IMailbox:
        """
        @return: a mailbox of an account (alice's if none is given), made if it isn't there.
        """
        account = account or self.account
        if name not in [info.name for info in self.wait(account.listMailboxes())]:
            self.wait(account.createMailbox(name))
        return self.wait(account.openMailbox(name))

    def stage(self, data: bytes = b"Subject: Hello\r\n\r\nHello\r\n") -> IStagedContent:
        """
        @return: a message that was written whole, discarded after the test.
        """
        writer = self.store.newContent()
        waiting = writer.write(data)
        if waiting is not None:
            self.wait(waiting)
        staged = self.wait(writer.finish())
        self.addCleanup(staged.discard)
        return staged

    def append(
        self,
        mailbox: IMailbox,
        data: bytes = b"Subject: Hello\r\n\r\nHello\r\n",
        flags: Iterable[str] = (),
        date: int = 1_000_000_000,
        zone: int = 0,
    ) -> int:
        """
        @return: the UID of a message that is now in the mailbox.
        """
        staged = self.stage(data)
        result = self.wait(mailbox.append([(staged, frozenset(flags), date, zone)]))
        staged.discard()
        return result.uids[0]

    def deliver(
        self,
        data: bytes,
        *placements: Placement,
        partial: bool = False,
        date: int = 1_000_000_000,
    ) -> Sequence[Exception | None]:
        """
        Deliver a message, to alice's INBOX if nothing is said.
        """
        staged = self.stage(data)
        wanted = placements or (Placement(self.account.accountId, "INBOX"),)
        results = self.wait(self.store.deliver(staged, wanted, date, partial))
        staged.discard()
        return results

    def fetch(
        self, mailbox: IMailbox, *attributes: Attribute, uids: NumberSet = EVERYTHING
    ) -> Sequence[tuple[Any, ...]]:
        """
        @return: rows.
        """
        return self.wait(mailbox.fetch(uids, attributes))

    def uids(self, mailbox: IMailbox) -> list[int]:
        """
        @return: what is there.
        """
        return list(self.wait(mailbox.changesSince(0)).uids)

    def flags(self, mailbox: IMailbox) -> dict[int, Flags]:
        """
        @return: the flags of what is there, by UID.
        """
        changes = self.wait(mailbox.changesSince(0))
        return dict(zip(changes.uids, changes.flags, strict=True))

    def addFlags(self, mailbox: IMailbox, uids: Iterable[int], *flags: str) -> None:
        """
        Add flags.
        """
        self.wait(
            mailbox.storeFlags(NumberSet.of(uids), FlagOperation.ADD, frozenset(flags) or NO_FLAGS)
        )

    def octets(self, content: IMessageContent | IStagedContent, size: int) -> bytes:
        """
        @return: all octets of a message, read in ranges.
        """
        parts: list[bytes] = []
        offset = 0
        while offset < size:
            part = self.wait(content.read(offset, 50_000))
            self.assertTrue(0 < len(part) <= 50_000, len(part))
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    def message(self, mailbox: IMailbox, uid: int) -> bytes:
        """
        @return: a message of a mailbox.
        """
        content = self.wait(mailbox.openMessage(uid))
        return self.octets(content, content.size)

    @staticmethod
    def numbers(*uids: int) -> NumberSet:
        """
        @return: a set of UIDs.
        """
        return NumberSet.of(uids)

    # --- what is asserted again and again ------------------------------------------------------

    def assertProvides(self, interface: type[Interface], value: object) -> None:
        """
        The object has all that the interface says, with the right parameters.
        """
        self.assertTrue(verifyObject(interface, value))

    def assertSound(self) -> None:
        """
        The store finds no damage, and what it counts is what there is, everywhere.
        """
        self.assertEqual(list(self.wait(self.store.check())), [])
        for record in self.wait(self.store.directory.listAccounts()):
            account = self.wait(self.store.openAccount(record.accountId))
            messages = octets = 0
            for info in self.wait(account.listMailboxes()):
                if info.selectable:
                    mailbox = self.wait(account.openMailbox(info.name))
                    self.assertCounts(mailbox)
                    status = self.wait(mailbox.status())
                    messages += status.messages
                    octets += status.octets
            quota = self.wait(account.quota())
            self.assertEqual((quota.messages, quota.octets), (messages, octets))

    def assertCounts(self, mailbox: IMailbox) -> None:
        """
        The numbers of STATUS are those of the entries.
        """
        status = self.wait(mailbox.status())
        changes = self.wait(mailbox.changesSince(0))
        rows = self.fetch(mailbox, Attribute.FLAGS, Attribute.OCTETS, Attribute.MODSEQ)
        self.assertEqual([row[0] for row in rows], list(changes.uids))
        self.assertEqual([row[1] for row in rows], changes.flags)
        self.assertEqual([row[3] for row in rows], list(changes.modSeqs))
        self.assertEqual(status.messages, len(rows))
        self.assertEqual(status.unseen, sum("\\Seen" not in row[1] for row in rows))
        self.assertEqual(status.deleted, sum("\\Deleted" in row[1] for row in rows))
        self.assertEqual(status.octets, sum(row[2] for row in rows))
        self.assertEqual(status.highestModSeq, changes.highestModSeq)
        self.assertEqual(status.uidNext, changes.uidNext)
        self.assertEqual(status.keywords, changes.keywords)
        self.assertTrue(all(row[3] <= status.highestModSeq for row in rows))
        self.assertTrue(all(row[0] < status.uidNext for row in rows))
        for flags in changes.flags:
            keywords = {flag for flag in flags if not flag.startswith("\\")}
            self.assertEqual(keywords - set(status.keywords), set())
