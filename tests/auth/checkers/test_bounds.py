"""
Only so many questions at a time, each answered in time.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from tests.auth.checkers.support import SourceTestCase
from twisted_mailstack.auth.checkers.bounds import MAX_WAITING, MAX_WAITING_OF_ONE, Bounds
from twisted_mailstack.auth.checkers.source import SourceUnavailable


class BoundsTests(SourceTestCase):
    """
    L{Bounds}.
    """

    def setUp(self) -> None:
        """Two at a time, ten seconds."""
        super().setUp()
        self.watchLog()
        self.ended = 0
        self.asked: list[Deferred[Any]] = []
        self.bounds = Bounds(self.clock, "test", 2, 10.0)

    def question(self) -> Deferred[Any]:
        """
        @return: an answer that the test gives.
        """
        waiting: Deferred[Any] = Deferred(self.end)
        self.asked.append(waiting)
        return waiting

    def end(self, waiting: Deferred[Any]) -> None:
        """
        A question was ended.
        """
        self.ended += 1

    def put(self, origin: str = "") -> Deferred[Any]:
        """
        Ask.
        """
        return self.begin(self.bounds.ask(self.question, origin))

    def test_answer(self) -> None:
        """The answer is the answer; nothing is left behind."""
        result = self.put()
        self.asked[0].callback(True)
        self.assertIs(self.successResultOf(result), True)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_most(self) -> None:
        """Two run at a time, the others wait for their turn."""
        results = [self.put() for _ in range(4)]
        self.assertEqual(len(self.asked), 2)
        self.asked[1].callback(False)
        self.assertIs(self.successResultOf(results[1]), False)
        self.assertEqual(len(self.asked), 3)
        for each in self.asked[0], self.asked[2]:
            each.callback(True)
        self.asked[3].callback(True)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_timeout(self) -> None:
        """An answer that doesn't come in time is none; what was asked is ended; the log says it."""
        result = self.put()
        self.clock.advance(10)
        self.failureResultOf(result, SourceUnavailable)
        self.assertEqual(self.logged(), ["checker test: TimeoutError: no answer in 10 seconds"])
        self.assertEqual(self.ended, 1)

    def test_timeoutWaiting(self) -> None:
        """Who waits for his turn too long isn't asked about any more."""
        self.bounds = Bounds(self.clock, "test", 1, 10.0, cancels=False)
        self.put().addErrback(lambda _: None)
        waiting = self.put()
        self.clock.advance(10)
        self.failureResultOf(waiting, SourceUnavailable)
        self.asked[0].callback(True)
        self.assertEqual(len(self.asked), 1)

    def test_keepsItsPlace(self) -> None:
        """What can't be ended, a thread, keeps its place until it ends by itself."""
        self.bounds = Bounds(self.clock, "test", 1, 10.0, cancels=False)
        self.put().addErrback(lambda _: None)
        self.clock.advance(10)
        second = self.put()
        self.assertEqual(len(self.asked), 1)
        self.asked[0].callback(True)
        self.assertEqual(len(self.asked), 2)
        self.asked[1].callback(True)
        self.assertIs(self.successResultOf(second), True)

    def test_failure(self) -> None:
        """What fails, at once or later, is no answer, and the log says why."""
        result = self.put()
        self.asked[0].errback(ValueError("it is on fire"))
        self.failureResultOf(result, SourceUnavailable)

        def broken() -> None:
            raise ZeroDivisionError("none")

        self.failureResultOf(self.begin(self.bounds.ask(broken)), SourceUnavailable)
        self.assertEqual(
            self.logged(),
            ["checker test: ValueError: it is on fire", "checker test: ZeroDivisionError: none"],
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_gone(self) -> None:
        """A client that goes ends what was asked for it, and makes room."""
        results = [self.put(), self.put()]
        third = self.put()
        results[0].addErrback(lambda _: None).cancel()
        self.assertEqual(len(self.asked), 3)
        waiting = self.put().addErrback(lambda _: None)
        waiting.cancel()
        self.asked[2].callback(True)
        self.assertIs(self.successResultOf(third), True)
        self.assertEqual(len(self.asked), 3)

    def test_origin(self) -> None:
        """One network doesn't take all the places: others go past those that wait of it."""
        self.put("a")
        self.put("a")
        self.put("b")
        self.assertEqual(len(self.asked), 2)
        self.asked[0].callback(True)
        self.assertEqual(len(self.asked), 3)

    def test_tooMany(self) -> None:
        """Beyond what may wait, of one network or of all, the answer is temporary at once."""
        for _ in range(MAX_WAITING_OF_ONE + 1):
            self.put("a").addErrback(lambda _: None)
        self.failureResultOf(self.put("a"), SourceUnavailable)
        self.assertNoResult(self.put("b").addErrback(lambda _: None))
        for number in range(MAX_WAITING):
            self.put(str(number)).addErrback(lambda _: None)
        self.failureResultOf(self.put("c"), SourceUnavailable)
        self.assertEqual(set(self.logged()), {"checker test: too many logins wait"})
