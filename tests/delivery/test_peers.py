"""
What is found out about clients by asking others.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.delivery.peers import KEPT, Answers, within
from twisted_mailstack.errors import LookupFailed


class AnswersTests(SynchronousTestCase):
    """
    L{Answers}.
    """

    def setUp(self) -> None:
        """A question that is answered when the test wants it."""
        self.clock = Clock()
        self.asked: list[tuple[str, Deferred[str]]] = []
        self.answers: Answers[str] = Answers(self.ask, self.clock, 3)

    def ask(self, peer: str) -> Deferred[str]:
        """Keep the question."""
        answer: Deferred[str] = Deferred()
        self.asked.append((peer, answer))
        return answer

    def peers(self) -> list[str]:
        """
        @return: about whom was asked.
        """
        return [peer for peer, _ in self.asked]

    def get(self, peer: str) -> Deferred[str]:
        """
        @return: fires with the answer.
        """
        return ensureDeferred(self.answers.get(peer))

    def test_once(self) -> None:
        """It is asked once, for all that wait and for who comes a little later."""
        self.answers.begin("a")
        waiting = [self.get("a"), self.get("a")]
        self.answers.begin("a")
        self.assertEqual(self.peers(), ["a"])
        self.asked[0][1].callback("yes")
        self.assertEqual([self.successResultOf(each) for each in waiting], ["yes", "yes"])
        self.clock.advance(KEPT - 1)
        self.assertEqual(self.successResultOf(self.get("a")), "yes")
        self.assertEqual(self.peers(), ["a"])

    def test_again(self) -> None:
        """After a while it is asked again; about another client at once."""
        self.get("a")
        self.asked[0][1].callback("yes")
        self.clock.advance(KEPT)
        later = self.get("a")
        other = self.get("b")
        self.assertEqual(self.peers(), ["a", "a", "b"])
        self.asked[1][1].callback("no")
        self.assertEqual(self.successResultOf(later), "no")
        self.assertNoResult(other)

    def test_slow(self) -> None:
        """An answer that takes longer than it would be kept is waited for all the same."""
        first = self.get("a")
        self.clock.advance(2 * KEPT)
        second = self.get("a")
        self.asked[0][1].callback("yes")
        self.assertEqual([self.successResultOf(first), self.successResultOf(second)], ["yes"] * 2)
        self.assertEqual(self.peers(), ["a"])

    def test_failing(self) -> None:
        """All that wait are told that it failed; who comes next asks again."""
        waiting = [self.get("a"), self.get("a")]
        self.asked[0][1].errback(ValueError("broken"))
        for each in waiting:
            self.failureResultOf(each, ValueError)
        self.get("a")
        self.assertEqual(self.peers(), ["a", "a"])

    def test_nobodyWaits(self) -> None:
        """What fails while nobody waits is nobody's business."""
        self.answers.begin("a")
        self.asked[0][1].errback(ValueError("broken"))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_bounded(self) -> None:
        """The oldest answers go; who waits for one gets it all the same."""
        first = self.get("a")
        for peer in "bcde":
            self.get(peer)
        self.asked[0][1].callback("yes")
        self.assertEqual(self.successResultOf(first), "yes")
        self.get("a")
        self.get("e")
        self.assertEqual(self.peers(), [*"abcde", "a"])


class WithinTests(SynchronousTestCase):
    """
    L{within}.
    """

    def test_inTime(self) -> None:
        """What is there in time is there, success or failure; no timer is left."""
        clock = Clock()
        for fails in (False, True):
            work: Deferred[str] = Deferred()
            done = within(work, 5, clock)
            clock.advance(4.9)
            self.assertNoResult(done)
            if fails:
                work.errback(ValueError())
                self.failureResultOf(done, ValueError)
            else:
                work.callback("yes")
                self.assertEqual(self.successResultOf(done), "yes")
            self.assertEqual(clock.getDelayedCalls(), [])

    def test_tooLate(self) -> None:
        """What isn't is cancelled, and what becomes of it nobody's business."""
        clock = Clock()
        cancelled: list[object] = []
        work: Deferred[str] = Deferred(cancelled.append)
        done = within(work, 5, clock)
        clock.advance(5)
        self.failureResultOf(done, LookupFailed)
        self.assertEqual(cancelled, [work])

    def test_atOnce(self) -> None:
        """Nor is a timer left where nothing had to be waited for."""
        clock = Clock()

        async def work() -> int:
            return 7

        self.assertEqual(self.successResultOf(within(work(), 5, clock)), 7)
        self.assertEqual(clock.getDelayedCalls(), [])
