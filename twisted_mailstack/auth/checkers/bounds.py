# -*- test-case-name: tests.auth.checkers.test_bounds -*-
"""
Asking others about passwords: only so many questions at a time, each answered in time or not at
all.

Questions from one network never take all the places, so that who guesses from there waits for
himself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from twisted_mailstack.auth.checkers.source import SourceUnavailable

#: Questions that may wait for their turn, of all networks and of one.
MAX_WAITING = 200
MAX_WAITING_OF_ONE = 50


class _Question:
    def __init__(self, begin: Callable[[], Any], origin: str) -> None:
        self.begin = begin
        self.origin = origin
        self.work: Deferred[Any] | None = None
        self.answer: Deferred[Any] = Deferred()


class Bounds:
    """
    The bounds of one source.
    """

    log = Logger()

    def __init__(
        self, clock: IReactorTime, name: str, most: int, timeout: float, cancels: bool = True
    ) -> None:
        """
        @param name: of the source, for the log.
        @param most: questions at a time.
        @param timeout: seconds for each, its wait for the others included.
        @param cancels: whether what is asked can be ended. What can't be, as a thread, keeps its
            place until it ends by itself.
        """
        self._clock = clock
        self._name = name
        self._most = most
        self._timeout = timeout
        self._cancels = cancels
        self._waiting: list[_Question] = []
        self._running: Counter[str] = Counter()

    async def ask(self, begin: Callable[[], Any], origin: str = "") -> Any:
        """
        @param begin: asks; returns a Deferred or a value.
        @param origin: the network that the question comes from, empty if that isn't known.
        @raise SourceUnavailable: if there is no answer, whatever the reason; the log says it.
        """
        ours = sum(each.origin == origin for each in self._waiting)
        if len(self._waiting) >= MAX_WAITING or (origin and ours >= MAX_WAITING_OF_ONE):
            self._fail("too many logins wait")
        question = _Question(begin, origin)
        self._waiting.append(question)
        timer = self._clock.callLater(self._timeout, self._expire, question)
        try:
            self._next()
            return await question.answer
        except SourceUnavailable:
            raise
        except CancelledError:
            # Whoever asked is gone.
            self._end(question)
            raise
        except Exception as error:
            # Whatever a library makes of what is wrong there.
            self._fail(f"{type(error).__name__}: {error}")
        finally:
            if timer.active():
                timer.cancel()

    def _fail(self, text: str) -> Any:
        self.log.error("checker {name}: {text}", name=self._name, text=text)
        raise SourceUnavailable()

    def _expire(self, question: _Question) -> None:
        if not question.answer.called:
            question.answer.errback(TimeoutError(f"no answer in {self._timeout:g} seconds"))
        self._end(question)

    def _end(self, question: _Question) -> None:
        if question in self._waiting:
            self._waiting.remove(question)
        elif self._cancels and question.work is not None:
            question.work.cancel()

    def _next(self) -> None:
        while sum(self._running.values()) < self._most:
            question = next((each for each in self._waiting if self._may(each.origin)), None)
            if question is None:
                return
            self._waiting.remove(question)
            self._running[question.origin] += 1
            question.work = maybeDeferred(question.begin)
            question.work.addBoth(self._answered, question)

    def _may(self, origin: str) -> bool:
        return not origin or self._running[origin] < max(1, self._most - 1)

    def _answered(self, result: Any, question: _Question) -> None:
        self._running[question.origin] -= 1
        if not self._running[question.origin]:
            del self._running[question.origin]
        if not question.answer.called:
            question.answer.callback(result)
        self._next()
