# -*- test-case-name: tests.delivery.test_peers -*-
"""
What is found out about clients by asking others, which takes time: asked once, when a client
connects, for all that wait for it, and kept for a while.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from twisted_mailstack.errors import LookupFailed

T = TypeVar("T")

#: Seconds that an answer is kept: for the commands of one connection and the next few.
KEPT = 60.0
#: Answers that are kept.
MOST = 10_000


class _Answer(Generic[T]):
    def __init__(self, until: float) -> None:
        self.until = until
        self.result: Any = None
        self.known = False
        self.waiting: list[Deferred[T]] = []


class Answers(Generic[T]):
    """
    One question, asked about many clients.
    """

    def __init__(
        self, ask: Callable[[str], Awaitable[T]], clock: IReactorTime, most: int = MOST
    ) -> None:
        """
        @param ask: finds out about a client.
        @param most: answers that are kept; the oldest go first.
        """
        self._ask = ask
        self._clock = clock
        self._most = most
        self._answers: dict[str, _Answer[T]] = {}

    def begin(self, peer: str) -> None:
        """
        Begin to find out; nobody has to wait for it.
        """
        self._begin(peer)

    def _begin(self, peer: str) -> _Answer[T]:
        now = self._clock.seconds()
        answer = self._answers.get(peer)
        if answer is not None and (not answer.known or now < answer.until):
            return answer
        self._answers.pop(peer, None)
        answer = self._answers[peer] = _Answer(now + KEPT)
        if len(self._answers) > self._most:
            del self._answers[next(iter(self._answers))]
        asking = Deferred.fromCoroutine(_await(self._ask(peer)))
        asking.addBoth(_tell, answer)
        return answer

    async def get(self, peer: str) -> T:
        """
        @return: what was found out.
        @raise Exception: what finding out failed with.
        """
        answer = self._begin(peer)
        waiter: Deferred[T] = Deferred()
        if answer.known:
            waiter.callback(answer.result)
        else:
            answer.waiting.append(waiter)
        return await waiter


def _tell(result: Any, answer: _Answer[Any]) -> None:
    answer.known, answer.result = True, result
    if isinstance(result, Failure):
        # Nothing was found out: who comes next asks again.
        answer.until = 0.0
    waiting, answer.waiting = answer.waiting, []
    for each in waiting:
        each.callback(result)


async def _await(work: Awaitable[T]) -> T:
    return await work


def within(work: Awaitable[T], seconds: float, clock: IReactorTime) -> Deferred[T]:
    """
    Wait for something, but not for ever.

    @return: fires with its result, or fails with L{LookupFailed} when the time is over; then the
        work is cancelled.
    """
    done: Deferred[T] = Deferred()
    working = Deferred.fromCoroutine(_await(work))

    def over() -> None:
        # What it says to that is nobody's business any more.
        done.errback(LookupFailed())
        working.cancel()

    timer = clock.callLater(seconds, over)

    def finish(result: Any) -> None:
        if timer.active():
            timer.cancel()
            done.callback(result)

    working.addBoth(finish)
    return done
