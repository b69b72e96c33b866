"""
What sources of passwords are tested with: a hasher that needs no time, threads that are none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from twisted_mailstack.auth.checkers.source import SourceServices, SourceUnavailable
from twisted_mailstack.auth.passwords import verifyPassword
from twisted_mailstack.interfaces import IPasswordHasher, IPasswordSource
from twisted_mailstack.model.address import Address

T = TypeVar("T")
ALICE = Address("alice", "example.test")
BOB = Address("bob", "example.test")
NOBODY = Address("nobody", "example.test")


@implementer(IPasswordHasher)
class InstantHasher:
    """
    Verifies at once.

    @ivar asked: each hash that was asked about.
    """

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    async def hash(self, password: bytes) -> str:
        """See L{IPasswordHasher}."""
        return "{PLAIN}" + password.decode()

    async def verify(self, hashed: str | None, password: bytes, origin: str = "") -> bool:
        """See L{IPasswordHasher}."""
        self.asked.append(hashed)
        return hashed is not None and verifyPassword(hashed, password)


class OneThread:
    """
    Runs everything where it is called.

    @ivar held: if a list, what would run is kept in it instead.
    """

    def __init__(self) -> None:
        self.running = False
        self.held: list[tuple[Deferred[Any], Callable[[], Any]]] | None = None

    def start(self) -> None:
        """Begin."""
        self.running = True

    def stop(self) -> Deferred[None]:
        """End."""
        self.running = False
        return succeed(None)

    def run(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """
        Do it.
        """
        if self.held is not None:
            waiting: Deferred[Any] = Deferred()
            self.held.append((waiting, lambda: function(*arguments)))
            return waiting
        return maybeDeferred(function, *arguments)


@implementer(IPasswordSource)
class FakeSource:
    """
    Knows passwords by address.

    @ivar asked: each question.
    @ivar down: whether it can't tell.
    """

    def __init__(self, **passwords: bytes) -> None:
        self.passwords = passwords
        self.asked: list[tuple[Address, bytes, str]] = []
        self.down = False

    async def start(self) -> None:
        """See L{IPasswordSource}."""

    async def stop(self) -> None:
        """See L{IPasswordSource}."""

    async def verify(self, address: Address, password: bytes, origin: str = "") -> bool:
        """See L{IPasswordSource}."""
        self.asked.append((address, password, origin))
        if self.down:
            raise SourceUnavailable()
        return self.passwords.get(address.localPart) == password


class FakeWeb:
    """
    Answers requests.

    @ivar answers: what is to be answered, one after another: a status and a body, or an error.
    @ivar requests: that came.
    """

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.requests: list[tuple[str, str, Mapping[str, str], bytes]] = []
        self.closed = False

    async def __call__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes]:
        """As L{Fetch<twisted_mailstack.auth.tokens.Fetch>}."""
        self.requests.append((method, url, headers, body))
        answer = self.answers.pop(0)
        if isinstance(answer, Deferred):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        status, octets = answer
        return status, octets

    async def close(self) -> None:
        """No more."""
        self.closed = True


class SourceTestCase(SynchronousTestCase):
    """
    @ivar services: with a clock, an L{InstantHasher}, L{OneThread} and a L{FakeWeb}.
    """

    def setUp(self) -> None:
        """Make them."""
        self.clock = Clock()
        self.hasher = InstantHasher()
        self.threads = OneThread()
        self.web = FakeWeb()
        self.services = SourceServices(
            reactor=self.clock,
            now=self.now,
            hasher=self.hasher,
            makeThreads=lambda name, most: self.threads,
            makeFetch=lambda timeout, caFile: self.web,
        )

    def now(self) -> float:
        """Seconds since 1970."""
        return 4_000_000_000.0 + self.clock.seconds()

    def begin(self, awaitable: Awaitable[T]) -> Deferred[T]:
        """
        @return: a Deferred of it.
        """

        async def wait() -> T:
            return await awaitable

        return ensureDeferred(wait())

    def run_(self, awaitable: Awaitable[T]) -> T:
        """
        @return: the result of what needn't wait.
        """
        return self.successResultOf(self.begin(awaitable))

    def ask(self, source: Any, address: Address, password: bytes | str) -> Any:
        """
        @return: C{True}, C{False}, C{None} if it can't tell.
        """
        octets = password.encode() if isinstance(password, str) else password
        results: list[Any] = []
        self.begin(source.verify(address, octets)).addBoth(results.append)
        (result,) = results
        if isinstance(result, Failure):
            result.trap(SourceUnavailable)
            return None
        return result

    def logged(self) -> list[str]:
        """
        @return: what the log says of what is wrong, and forget it.
        """
        found = [
            str(event["log_format"]).format(**event)
            for event in self._events
            if event["log_level"].name in ("warn", "error", "critical")
        ]
        self._events.clear()
        return found

    def watchLog(self) -> None:
        """
        From now on L{logged} tells.
        """
        self._events: list[Any] = []
        observer: Any = self._events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
