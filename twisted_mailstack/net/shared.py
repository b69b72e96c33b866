# -*- test-case-name: tests.net.test_shared -*-
"""
Work that several wait for.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class SharedWork(Generic[T]):
    """
    A coroutine under way. Whoever waits for it may be cancelled without the others noticing; when
    the last one is, so is the work.
    """

    def __init__(self, work: Coroutine[Deferred[Any], Any, T], over: Callable[[], None]) -> None:
        """
        @param over: called once when nobody can join any more: when the work has ended, before
            those who wait are told, or when it is cancelled.
        """
        self._waiting: dict[Deferred[T], None] = {}
        self._over = over
        self._ended = False
        self._result: Any = None
        self._work = Deferred.fromCoroutine(work)
        self._work.addBoth(self._finished)

    @property
    def running(self) -> bool:
        """Whether it can be joined while it is under way."""
        return not self._ended

    async def join(self) -> T:
        """
        Wait for it.
        """
        waiter: Deferred[T] = Deferred(self._leave)
        if self._ended:
            self._tell(waiter)
        else:
            self._waiting[waiter] = None
        return await waiter

    def _finished(self, result: T | Failure) -> None:
        self._result = result
        self._end()
        while self._waiting:
            # Who is told may cancel others, who then aren't among them any more.
            waiter = next(iter(self._waiting))
            del self._waiting[waiter]
            self._tell(waiter)

    def _tell(self, waiter: Deferred[T]) -> None:
        if isinstance(self._result, Failure):
            waiter.errback(self._result)
        else:
            waiter.callback(self._result)

    def _leave(self, waiter: Deferred[T]) -> None:
        self._waiting.pop(waiter, None)
        if not self._waiting and not self._ended:
            self._end()
            self._work.cancel()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._over()
