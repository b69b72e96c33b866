# -*- test-case-name: tests.auth.test_passwords -*-
"""
Password hashes: argon2id (RFC 9106), computed off the reactor's thread.

At most L{WORKERS} hashes are computed at a time and L{MAX_WAITING} wait, so a storm of logins costs
neither memory nor the event loop. A password that was verified is remembered for L{CACHE_SECONDS}
under a keyed digest together with the hash it was verified against: a changed password is another
hash, so it is forgotten at once.

Passwords are prepared by SASLprep before they are hashed (RFC 4616 §2, RFC 6856 §2.2).
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from typing import Any

from argon2 import PasswordHasher as Argon2
from argon2 import Type
from argon2.exceptions import Argon2Error
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from twisted_mailstack.errors import SyntaxProblem, TemporaryFailure
from twisted_mailstack.interfaces import IPasswordHasher
from twisted_mailstack.sasl.saslprep import saslprep

#: Threads that hash. argon2 releases the GIL, so this is also the number of cores it may take.
WORKERS = 2
#: Verifications that may wait; a login beyond them is told to come back.
MAX_WAITING = 500
CACHE_SECONDS = 60.0
CACHE_ENTRIES = 10_000

#: OWASP's recommendation: 19 MiB, two passes, one lane: 20 ms here, and 38 MiB for two workers.
_argon2 = Argon2(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)

RunInThread = Callable[..., Deferred[Any]]


def hashPassword(password: bytes) -> str:
    """
    @param password: UTF-8.
    @return: a PHC string with a fresh salt. Takes 20 ms of CPU where it is called.
    @raise SyntaxProblem: if it can't be a password: it is empty, isn't UTF-8 or has characters
        that SASLprep forbids.
    """
    return _argon2.hash(_prepare(password))


def verifyPassword(hashed: str, password: bytes) -> bool:
    """
    @param hashed: a PHC string; one that is none, or of a kind that isn't known, is nobody's.
    @return: whether the password is the hash's. Takes 20 ms of CPU where it is called.
    """
    try:
        prepared = _prepare(password)
    except SyntaxProblem:
        # As much work as for any other wrong password.
        prepared = ""
    try:
        return _argon2.verify(hashed, prepared) and prepared != ""
    except (Argon2Error, ValueError):
        return False


def _prepare(password: bytes) -> str:
    try:
        return saslprep(password.decode("utf-8"))
    except UnicodeDecodeError:
        raise SyntaxProblem("It is not UTF-8") from None


@implementer(IPasswordHasher)
class PasswordHasher:
    """
    Hashes in the threads it is given.
    """

    def __init__(self, runInThread: RunInThread, clock: IReactorTime) -> None:
        """
        @param runInThread: C{runInThread(function, *arguments)} gives a Deferred; bounded to
            L{WORKERS} threads by whoever made it.
        @param clock: for the cache.
        """
        self._run = runInThread
        self._clock = clock
        self._waiting = 0
        self._key = os.urandom(32)
        self._verified: dict[bytes, float] = {}
        # Verified against for unknown names, so that they take as long as known ones.
        self._decoy = hashPassword(os.urandom(16).hex().encode())

    async def hash(self, password: bytes) -> str:
        """See L{IPasswordHasher}."""
        hashed: str = await self._limited(hashPassword, password)
        return hashed

    async def verify(self, hashed: str | None, password: bytes) -> bool:
        """See L{IPasswordHasher}."""
        if hashed is None:
            await self._limited(verifyPassword, self._decoy, password)
            return False
        digest = hmac.digest(self._key, hashed.encode() + b"\0" + password, "sha256")
        now = self._clock.seconds()
        until = self._verified.get(digest)
        if until is not None and now < until:
            return True
        if not await self._limited(verifyPassword, hashed, password):
            return False
        if len(self._verified) >= CACHE_ENTRIES:
            self._verified.clear()
        self._verified[digest] = now + CACHE_SECONDS
        return True

    async def _limited(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self._waiting >= MAX_WAITING:
            raise TemporaryFailure("Too many logins at once, try again later")
        self._waiting += 1
        try:
            return await self._run(function, *arguments)
        finally:
            self._waiting -= 1
