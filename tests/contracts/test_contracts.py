"""
The contract tests themselves: each interface of storage has one, and they see a store that breaks
its promises.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any
from unittest import TestResult

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.storage.test_memory import (
    MemoryAccountTests,
    MemoryContentTests,
    MemoryDirectoryTests,
    MemoryMailboxTests,
    MemoryMovableMailboxTests,
    MemoryStoreTests,
)
from twisted_mailstack import interfaces
from twisted_mailstack.errors import OverQuota
from twisted_mailstack.model.flags import KeywordSpelling
from twisted_mailstack.model.records import MailboxStatus
from twisted_mailstack.storage.memory import (
    MemoryAccount,
    MemoryContent,
    MemoryDirectory,
    MemoryMailbox,
    MemoryMailStore,
    MemoryWriter,
)
from twisted_mailstack.testing import contracts
from twisted_mailstack.testing.contracts import base

#: Which contract holds implementations to which interface.
CONTRACTS = {
    interfaces.IContentWriter: contracts.ContentContract,
    interfaces.IStagedContent: contracts.ContentContract,
    interfaces.IMessageContent: contracts.ContentContract,
    interfaces.IMailbox: contracts.MailboxContract,
    interfaces.IMovableMailbox: contracts.MovableMailboxContract,
    interfaces.IReplacingMailbox: contracts.ReplacingMailboxContract,
    interfaces.IURLKeyStore: contracts.URLKeysContract,
    interfaces.IURLKeys: contracts.URLKeysContract,
    interfaces.IIdentifiedMailbox: contracts.IdentifiedMailboxContract,
    interfaces.ISearchableMailbox: contracts.SearchableMailboxContract,
    interfaces.ISortingMailbox: contracts.SortingMailboxContract,
    interfaces.IAccount: contracts.AccountContract,
    interfaces.IDirectory: contracts.DirectoryContract,
    interfaces.IDirectoryAdmin: contracts.DirectoryContract,
    interfaces.IMailStore: contracts.StoreContract,
    interfaces.ILoginRecordingStore: contracts.LoginHistoryContract,
    interfaces.ILoginHistory: contracts.LoginHistoryContract,
}
#: What else holds implementations to an interface.
MORE = {
    interfaces.IDirectory: contracts.CredentialsContract,
    interfaces.IDirectoryAdmin: contracts.CredentialsContract,
}

# The tests of the memory store are borrowed, not run once more.
_CASES = (
    *(MemoryAccountTests, MemoryContentTests, MemoryDirectoryTests, MemoryMailboxTests),
    *(MemoryMovableMailboxTests, MemoryStoreTests),
)
del MemoryAccountTests, MemoryContentTests, MemoryDirectoryTests, MemoryMailboxTests
del MemoryMovableMailboxTests, MemoryStoreTests


class CompletenessTests(SynchronousTestCase):
    """
    Nothing is left out.
    """

    def test_everyMethodIsCalled(self) -> None:
        """Each method and attribute of an interface is used in the source of its contract."""
        for interface, contract in CONTRACTS.items():
            source = "".join(
                inspect.getsource(inspect.getmodule(each))  # type: ignore[arg-type]
                for each in (contract, MORE.get(interface, contract), base.StorageContract)
            )
            for name in interface.names(all=True):
                self.assertIn(f".{name}", source, interface)
            self.assertIn(f"assertProvides({interface.__name__}", source)

    def test_mixins(self) -> None:
        """A contract is no test case by itself: trial would run it wherever it is imported."""
        for name in contracts.__all__:
            self.assertFalse(issubclass(getattr(contracts, name), TestCase | SynchronousTestCase))

    def test_everyTestSaysWhat(self) -> None:
        """Each test says what a user of the store can rely on."""
        for contract in {
            *(*CONTRACTS.values(), *MORE.values(), contracts.DurableStoreContract),
        }:
            for name, method in inspect.getmembers(contract, inspect.isfunction):
                if name.startswith("test_"):
                    self.assertTrue(method.__doc__, name)


class BrokenStoreTests(SynchronousTestCase):
    """
    A store that breaks one promise fails a test.
    """

    def assertSeen(self, test: str, owner: type, name: str, broken: Any) -> None:
        """
        A test fails once a method of the memory store is another.
        """
        case: Any = next(each for each in _CASES if hasattr(each, test))
        for isBroken in (False, True):
            if isBroken:
                self.patch(owner, name, broken)
            result = TestResult()
            case(test).run(result)
            self.assertEqual(result.testsRun, 1)
            self.assertEqual(result.wasSuccessful(), not isBroken, test)

    def test_octetsAltered(self) -> None:
        """A writer that ends lines as it likes."""
        write = MemoryWriter.write

        def broken(self: MemoryWriter, data: bytes) -> None:
            write(self, data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))

        self.assertSeen("test_neverAltered", MemoryWriter, "write", broken)

    def test_rangeNotCut(self) -> None:
        """A content that gives more than was asked for."""

        async def broken(self: MemoryContent, offset: int, length: int) -> bytes:
            return self._data[offset:]

        self.assertSeen("test_everyRange", MemoryContent, "read", broken)

    def test_uidReused(self) -> None:
        """A mailbox that gives the UID of an expunged message again."""
        add = MemoryMailbox.add

        def broken(self: MemoryMailbox, *arguments: Any) -> int:
            self._box.uidNext = max((each.uid for each in self._box.entries), default=0) + 1
            return add(self, *arguments)

        self.assertSeen("test_uidsNeverReused", MemoryMailbox, "add", broken)

    def test_appendNotAtomic(self) -> None:
        """A mailbox that appends one after another."""
        append = MemoryMailbox.append

        async def broken(self: MemoryMailbox, messages: Any) -> Any:
            for each in messages:
                result = await append(self, [each])
            return result

        self.assertSeen("test_appendAllOrNone", MemoryMailbox, "append", broken)

    def test_flagsAlwaysChange(self) -> None:
        """A mailbox that gives a new modSeq where nothing changed."""
        storeFlags = MemoryMailbox.storeFlags

        async def broken(self: MemoryMailbox, *arguments: Any) -> Any:
            self._box.modSeq = self.account.nextModSeq()
            return await storeFlags(self, *arguments)

        self.assertSeen("test_storeFlagsNothingNew", MemoryMailbox, "storeFlags", broken)

    def test_keywordsUnspelled(self) -> None:
        """A mailbox that keeps keywords as each client writes them."""
        self.assertSeen(
            "test_keywordSpelling",
            KeywordSpelling,
            "apply",
            lambda self, flags: (frozenset(flags), ()),
        )

    def test_recentTwice(self) -> None:
        """A mailbox that gives recent messages to every session."""

        async def broken(self: MemoryMailbox) -> tuple[int, int]:
            return self._box.recentUid, self._box.uidNext - 1

        self.assertSeen("test_claimRecent", MemoryMailbox, "claimRecent", broken)

    def test_moveIsACopy(self) -> None:
        """A mailbox whose messages stay when they are moved."""
        self.assertSeen("test_move", MemoryMailbox, "moveMessages", MemoryMailbox.copyMessages)

    def test_watchersFail(self) -> None:
        """A store in which one watcher's failure is everybody's."""

        def broken(self: MemoryAccount, changed: Callable[..., None], *arguments: str) -> None:
            changed(*arguments)

        self.assertSeen("test_watcherFails", MemoryAccount, "_call", broken)

    def test_deletedMailboxAnswers(self) -> None:
        """A mailbox that goes on after it was deleted."""

        async def broken(self: MemoryMailbox) -> MailboxStatus:
            return MailboxStatus(1, 1, 1, 0, 0, 0, 0, 0, ())

        self.assertSeen("test_deleted", MemoryMailbox, "status", broken)

    def test_inboxRenamed(self) -> None:
        """An account whose INBOX goes when it is renamed."""
        renameMailbox = MemoryAccount.renameMailbox

        async def broken(self: MemoryAccount, old: str, new: str) -> None:
            self.boxes[f"{old} "] = self.boxes.pop(old)
            await renameMailbox(self, f"{old} ", new)

        self.assertSeen("test_renameInbox", MemoryAccount, "renameMailbox", broken)

    def test_partialRaises(self) -> None:
        """A store that knows all or nothing."""
        deliver = MemoryMailStore.deliver

        async def broken(self: MemoryMailStore, *arguments: Any) -> Any:
            return await deliver(self, *arguments[:3])

        self.assertSeen("test_deliverPartial", MemoryMailStore, "deliver", broken)

    def test_noQuota(self) -> None:
        """A store that takes everything."""

        def broken(self: MemoryAccount, messages: int, octets: int) -> None:
            if octets > 1 << 40:
                raise OverQuota()

        self.assertSeen("test_appendQuota", MemoryAccount, "checkRoom", broken)

    def test_caseMatters(self) -> None:
        """A directory that compares local-parts letter by letter."""

        async def broken(self: MemoryDirectory, address: Any) -> Any:
            return next((r for r in self._accounts.values() if r.address == address), None)

        self.assertSeen("test_folding", MemoryDirectory, "findAccount", broken)

    def test_hangs(self) -> None:
        """A store that never answers fails the test instead of stopping it."""
        self.patch(base, "PATIENCE", 0.01)

        def broken(self: MemoryAccount) -> Deferred[Any]:
            return Deferred()

        self.assertSeen("test_quota", MemoryAccount, "quota", broken)
