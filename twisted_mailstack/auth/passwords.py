# -*- test-case-name: tests.auth.test_passwords -*-
"""
Passwords are hashed off the reactor's thread, and only so many at a time.

At most L{WORKERS} hashes are computed at a time and L{MAX_WAITING} wait, so a storm of logins costs
neither memory nor the event loop; a login beyond them is told to come back. Those that wait take
turns by the network they come from. Those of networks that have just shown wrong passwords come
last, one of each at a time, but one turn of L{LAST_TURNS} is theirs if others wait, too: whoever
guesses waits for himself.

A password that was verified is remembered for L{CACHE_SECONDS} under a keyed digest together with
the hash it was verified against: a changed password is another hash, so it is forgotten at once.
"""

from __future__ import annotations

import hmac
import os
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from twisted_mailstack.auth import schemes
from twisted_mailstack.auth.guessing import TooManyFailures
from twisted_mailstack.auth.schemes import makeSecrets, parseSecret, prepare, verifySecret
from twisted_mailstack.errors import SyntaxProblem, TemporaryFailure
from twisted_mailstack.interfaces import IPasswordHasher

#: Threads that hash. argon2 releases the GIL, so this is also the number of cores it may take.
WORKERS = 2
#: Verifications that may be under way or wait, of all networks and of one.
MAX_WAITING = 500
MAX_WAITING_OF_ONE = 100
CACHE_SECONDS = 60.0
CACHE_ENTRIES = 10_000
#: How long a network is known for a wrong password, and how many networks are.
SUSPECT_SECONDS = 60.0
SUSPECTS = 10_000
#: One of so many turns is for a network that is.
LAST_TURNS = 20

RunInThread = Callable[..., Deferred[Any]]


def hashPassword(password: bytes) -> str:
    """
    @param password: UTF-8.
    @return: a PHC string with a fresh salt. Takes 20 ms of CPU where it is called.
    @raise SyntaxProblem: if it can't be a password: it is empty, isn't UTF-8 or has characters
        that SASLprep forbids.
    """
    return schemes.argon2.hash(prepare(password))


def verifyPassword(hashed: str, password: bytes) -> bool:
    """
    @param hashed: a PHC string, or any other form of L{schemes.parseSecret}; one that is none is
        nobody's.
    @return: whether the password is the hash's. Takes 20 ms of CPU where it is called.
    """
    try:
        scheme, text = parseSecret(hashed)
    except SyntaxProblem:
        return False
    return verifySecret(scheme, text, password)


class _Job:
    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.turn: Deferred[None] = Deferred()


@implementer(IPasswordHasher)
class PasswordHasher:
    """
    Hashes in the threads it is given.
    """

    def __init__(
        self,
        runInThread: RunInThread,
        clock: IReactorTime,
        workers: int = WORKERS,
        isLocked: Callable[[str], bool] = lambda origin: False,
    ) -> None:
        """
        @param runInThread: C{runInThread(function, *arguments)} gives a Deferred.
        @param clock: for the cache.
        @param workers: how many run at a time.
        @param isLocked: whether a network has been locked out while it waited for its turn.
        """
        self._run = runInThread
        self._clock = clock
        self._workers = workers
        self._isLocked = isLocked
        self._count = 0
        self._turns = 0
        self._running: dict[str, int] = {}
        self._queues: OrderedDict[str, deque[_Job]] = OrderedDict()
        self._suspects: dict[str, float] = {}
        self._key = os.urandom(32)
        self._verified: dict[bytes, float] = {}
        # Verified against for unknown names, so that they take as long as known ones.
        self._decoy = hashPassword(os.urandom(16).hex().encode())

    async def hash(self, password: bytes) -> str:
        """See L{IPasswordHasher}."""
        hashed: str = await self._limited("", hashPassword, password)
        return hashed

    async def makeSecrets(self, *arguments: Any) -> dict[str, str]:
        """
        As L{schemes.makeSecrets}.
        """
        made: dict[str, str] = await self._limited("", makeSecrets, *arguments)
        return made

    async def verify(self, hashed: str | None, password: bytes, origin: str = "") -> bool:
        """See L{IPasswordHasher}."""
        if hashed is None:
            await self._limited(origin, verifyPassword, self._decoy, password)
            self._suspect(origin)
            return False
        digest = hmac.digest(self._key, hashed.encode() + b"\0" + password, "sha256")
        until = self._verified.get(digest)
        if until is not None and self._clock.seconds() < until:
            return True
        if not await self._limited(origin, verifyPassword, hashed, password):
            self._suspect(origin)
            return False
        if len(self._verified) >= CACHE_ENTRIES:
            self._verified.clear()
        self._verified[digest] = self._clock.seconds() + CACHE_SECONDS
        return True

    def _suspect(self, origin: str) -> None:
        if not origin:
            return
        if len(self._suspects) >= SUSPECTS:
            self._suspects.clear()
        self._suspects[origin] = self._clock.seconds() + SUSPECT_SECONDS

    async def _limited(self, origin: str, function: Callable[..., Any], *arguments: Any) -> Any:
        waiting = self._queues.get(origin, ())
        if self._count >= MAX_WAITING or (origin and len(waiting) >= MAX_WAITING_OF_ONE):
            raise TemporaryFailure("Too many logins at once, try again later")
        job = _Job(origin)
        self._count += 1
        try:
            self._queues.setdefault(origin, deque()).append(job)
            self._next()
            try:
                await job.turn
            except BaseException:
                # Whoever waited for it is gone.
                self._leave(job)
                raise
            try:
                return await self._run(function, *arguments)
            finally:
                self._done(job)
        finally:
            self._count -= 1

    def _leave(self, job: _Job) -> None:
        jobs = self._queues.get(job.origin)
        if jobs is not None and job in jobs:
            jobs.remove(job)
            if not jobs:
                del self._queues[job.origin]

    def _done(self, job: _Job) -> None:
        self._running[job.origin] -= 1
        if not self._running[job.origin]:
            del self._running[job.origin]
        self._next()

    def _next(self) -> None:
        # The one whose turn it is, of those that may.
        while sum(self._running.values()) < self._workers:
            origin = self._choose()
            if origin is None:
                return
            if self._isLocked(origin):
                for job in self._queues.pop(origin):
                    job.turn.errback(TooManyFailures())
                continue
            jobs = self._queues[origin]
            job = jobs.popleft()
            if jobs:
                self._queues.move_to_end(origin)
            else:
                del self._queues[origin]
            self._turns += 1
            self._running[origin] = self._running.get(origin, 0) + 1
            job.turn.callback(None)

    def _choose(self) -> str | None:
        suspect: str | None = None
        other: str | None = None
        for origin in self._queues:
            if not self._isSuspect(origin):
                other = origin
                break
            if suspect is None and self._running.get(origin, 0) < max(1, self._workers - 1):
                suspect = origin
        # The empty one is a network, too.
        if self._turns % LAST_TURNS == LAST_TURNS - 1:
            return other if suspect is None else suspect
        return suspect if other is None else other

    def _isSuspect(self, origin: str) -> bool:
        return self._suspects.get(origin, 0.0) > self._clock.seconds()
