"""
Recent logins are written down, and nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from twisted_mailstack.auth.history import DELAY, MOST, LoginRecorder
from twisted_mailstack.interfaces import ILoginHistory
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import LoginRecord
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.testing.faulty import Fault, FaultyStore

T = TypeVar("T")
ALICE = Address("alice", "example.test")


@implementer(ILoginHistory)
class Slow:
    """
    A history that writes when the test says so.
    """

    def __init__(self) -> None:
        self.records: list[list[LoginRecord]] = []
        self.writing: list[Deferred[None]] = []

    def record(self, records: Sequence[LoginRecord]) -> Deferred[None]:
        """See L{ILoginHistory}."""
        self.records.append(list(records))
        self.writing.append(Deferred())
        return self.writing[-1]

    def recent(self, accountId: str | None, limit: int) -> Any:
        """See L{ILoginHistory}."""


class RecorderTests(SynchronousTestCase):
    """
    L{LoginRecorder}.
    """

    def setUp(self) -> None:
        """An account with an app password."""
        self.clock = Clock()
        self.clock.advance(1000)
        self.store = FaultyStore(MemoryMailStore(self.clock.seconds))
        directory = self.store.wrapped.directory
        self.now(directory.addDomain("example.test"))
        self.account = self.now(directory.addAccount(ALICE, None)).accountId
        self.credential = self.now(directory.addAppPassword(ALICE, "a", {"x": "y"})).credentialId
        self.recorder = LoginRecorder(self.store.logins, self.store.directory, self.clock)
        self.store.calls.clear()

    def now(self, awaitable: Awaitable[T]) -> T:
        """
        @return: the result of what needn't wait.
        """

        async def wait() -> T:
            return await awaitable

        return self.successResultOf(ensureDeferred(wait()))

    def record(self, number: int = 0, success: bool = True) -> LoginRecord:
        """
        @return: one of alice's.
        """
        return LoginRecord(
            1000 + number, self.account, "alice", "imap", "192.0.2.1", "PLAIN", success
        )

    def kept(self) -> list[LoginRecord]:
        """
        @return: what is in the store.
        """
        return list(self.now(self.store.wrapped.logins.recent(self.account, 10_000)))

    def test_together(self) -> None:
        """What happens within a moment is one write, and when a credential was used another."""
        for number in range(50):
            self.recorder.note(self.record(number), self.credential)
        self.assertEqual(self.store.calls, [])
        self.clock.advance(DELAY)
        self.assertEqual(self.store.calls, ["ILoginHistory.record", "IDirectory.touchCredential"])
        self.assertEqual(self.kept(), [self.record(number) for number in reversed(range(50))])
        (found,) = self.now(self.store.wrapped.directory.findCredentials(self.account))
        self.assertEqual(found.lastUsed, 1049)
        self.clock.advance(10 * DELAY)
        self.assertEqual(len(self.store.calls), 2)

    def test_failedUse(self) -> None:
        """A login that failed uses nothing."""
        self.recorder.note(self.record(success=False), self.credential)
        self.clock.advance(DELAY)
        (found,) = self.now(self.store.wrapped.directory.findCredentials(self.account))
        self.assertIsNone(found.lastUsed)

    def test_underWay(self) -> None:
        """A server that stops waits for what is being written, and writes what came meanwhile."""
        history = Slow()
        recorder = LoginRecorder(history, self.store.wrapped.directory, self.clock)
        recorder.note(self.record(1), self.credential)
        self.clock.advance(DELAY)
        recorder.note(self.record(2), self.credential)
        closing = ensureDeferred(recorder.close())
        self.assertNoResult(closing)
        self.assertEqual(history.records, [[self.record(1)]])
        history.writing.pop().callback(None)
        self.assertEqual(history.records, [[self.record(1)], [self.record(2)]])
        self.assertNoResult(closing)
        history.writing.pop().callback(None)
        self.assertIsNone(self.successResultOf(closing))
        (found,) = self.now(self.store.wrapped.directory.findCredentials(self.account))
        self.assertEqual(found.lastUsed, 1002)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_flush(self) -> None:
        """When the server stops nothing is left, and nothing is planned any more."""
        self.recorder.note(self.record())
        self.now(self.recorder.flush())
        self.assertEqual(self.kept(), [self.record()])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.now(self.recorder.flush())

    def test_bounded(self) -> None:
        """A store that doesn't come after is no reason to take all memory."""
        for number in range(MOST + 500):
            self.recorder.note(self.record(number))
        self.assertEqual(len(self.recorder._waiting), MOST)

    def test_failing(self) -> None:
        """A store that can't keep it is logged; the next ones are written."""
        self.store.failAt(1)
        self.recorder.note(self.record(1))
        self.clock.advance(DELAY)
        self.assertEqual(len(self.flushLoggedErrors(Fault)), 1)
        self.recorder.note(self.record(2))
        self.clock.advance(DELAY)
        self.assertEqual(self.kept(), [self.record(2)])
