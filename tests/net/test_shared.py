"""
Work that several wait for, some of whom don't wait to the end.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.net.shared import SharedWork


class SharedWorkTests(SynchronousTestCase):
    """
    One coroutine, several who wait.
    """

    def setUp(self) -> None:
        """Work that waits for something, which can be cancelled."""
        self.cancelled = 0
        self.overs = 0
        self.event: Deferred[str] = Deferred(self.cancel)

    def cancel(self, _: Deferred[str]) -> None:
        """The work was cancelled."""
        self.cancelled += 1

    def make(self) -> SharedWork[str]:
        """
        @return: the work.
        """

        async def work() -> str:
            return await self.event

        return SharedWork(work(), self.over)

    def over(self) -> None:
        """Nobody can join any more."""
        self.overs += 1

    def join(self, work: SharedWork[str]) -> Deferred[str]:
        """
        @return: fires when somebody who waits is told.
        """
        return Deferred.fromCoroutine(work.join())

    def test_all(self) -> None:
        """Each who waits gets the result, also who comes later."""
        work = self.make()
        first, second = self.join(work), self.join(work)
        self.assertTrue(work.running)
        self.event.callback("done")
        self.assertFalse(work.running)
        for each in (first, second, self.join(work)):
            self.assertEqual(self.successResultOf(each), "done")
        self.assertEqual(self.overs, 1)

    def test_failure(self) -> None:
        """Each who waits gets the failure, and nothing is left that nobody looked at."""
        work = self.make()
        first, second = self.join(work), self.join(work)
        self.event.errback(ValueError("no"))
        for each in (first, second, self.join(work)):
            self.failureResultOf(each, ValueError)

    def test_atOnce(self) -> None:
        """Work that never has to wait is over before anybody can join, and still has a result."""
        self.event.callback("done")
        work = self.make()
        self.assertFalse(work.running)
        self.assertEqual(self.overs, 1)
        self.assertEqual(self.successResultOf(self.join(work)), "done")

    def test_oneLeaves(self) -> None:
        """Who is cancelled is told so; the others wait on."""
        work = self.make()
        first, second = self.join(work), self.join(work)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertNoResult(second)
        self.assertEqual((self.cancelled, self.overs), (0, 0))
        self.event.callback("done")
        self.assertEqual(self.successResultOf(second), "done")

    def test_allLeave(self) -> None:
        """When nobody waits any more the work is cancelled, once, and nobody can join it."""
        work = self.make()
        first, second = self.join(work), self.join(work)
        first.cancel()
        second.cancel()
        self.failureResultOf(first, CancelledError)
        self.failureResultOf(second, CancelledError)
        self.assertEqual((self.cancelled, self.overs), (1, 1))
        self.assertFalse(work.running)

    def test_leavesWhenTold(self) -> None:
        """Somebody who is told may cancel another, who has been told nothing yet."""
        work = self.make()
        first, second = self.join(work), self.join(work)
        first.addCallback(lambda _: second.cancel())
        self.event.callback("done")
        self.successResultOf(first)
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.cancelled, 0)
