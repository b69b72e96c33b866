"""
The SQL store without threads: each step that would run in one waits until a test runs it, so that
what happens in between is the test's choice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from twisted.internet.task import Clock

from tests.imap.support import Server
from twisted_mailstack.storage.sql import store
from twisted_mailstack.storage.sql.store import SQLMailStore
from twisted_mailstack.testing.conversation import Conversation


class SteppedStore(SQLMailStore):
    """
    @ivar steps: what waits: a thread's work, or its result on the way back.
    @ivar atOnce: nothing waits.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, Clock(), self._later)
        self.steps: deque[Callable[[], object]] = deque()
        self.atOnce = True

    async def start(self) -> None:
        """See L{SQLMailStore}."""
        with patch.object(store, "ThreadPoolExecutor", lambda *_: self):
            await super().start()
        # No test pulls the plug.
        self._writing.execute("PRAGMA synchronous = OFF")

    def _later(self, function: Callable[..., object], *arguments: Any) -> None:
        if self.atOnce:
            function(*arguments)
        else:
            self.steps.append(lambda: function(*arguments))

    def submit(self, work: Callable[[], None]) -> None:
        """As an executor."""
        self._later(work)

    def shutdown(self, wait: bool) -> None:
        """As an executor."""


class SteppedServer(Server):
    """
    An IMAP server over the SQL store.
    """

    store: SteppedStore

    def __init__(self, path: str, **settings: Any) -> None:
        super().__init__(store=SteppedStore(path), **settings)

    def connect(self, secure: bool = True) -> Conversation:
        """See L{Server}."""
        client = super().connect(secure)
        # What a client sends is answered before the test goes on.
        client.settle = self.settle  # type: ignore[method-assign]
        return client

    def settle(self) -> None:
        """
        Run all steps, and what was put off.
        """
        for _ in range(100_000):
            if self.store.steps:
                self.store.steps.popleft()()
            elif any(
                call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()
            ):
                self.clock.advance(0)
            else:
                return
        raise AssertionError("it never comes to rest")
