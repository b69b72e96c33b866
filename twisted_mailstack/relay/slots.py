# -*- test-case-name: tests.relay.test_slots -*-
"""
How many connections there may be to one host, for however many domains it takes mail.

Who gets none stands in line, and is told when one is given back. A connection that is given back
while others stand in line is kept for one of them for a moment, so that a thousand domains of one
provider, with a message each, don't make a thousand connections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds that a connection is kept for the next in line, who may be waiting for other things.
SPARE = 5.0


class Spare(Protocol):
    """
    A connection that can be kept.
    """

    keys: tuple[str, ...]

    def end(self) -> None:
        """End it, and give its slots back, now or soon."""


class HostSlots:
    """
    Counts connections by key: the host's name, and its address, since a host may have many of
    either. Each connection has all its keys.
    """

    def __init__(self, clock: IReactorTime, limit: int) -> None:
        """
        @param limit: connections for each key; 0 for any number.
        """
        self._clock = clock
        self._limit = limit
        self._used: Counter[str] = Counter()
        # In the order in which they came. Who was told keeps the place (C{None}) until it has a
        # connection: somebody else may have been faster.
        self._lines: dict[str, dict[str, Deferred[None] | None]] = {}
        self._spares: dict[Spare, IDelayedCall] = {}

    def take(self, keys: Collection[str], name: str) -> Deferred[None] | None:
        """
        Take a slot of each key, or stand in line.

        @param name: who wants it.
        @return: C{None} if it has them; else fires when trying again may help.
        """
        for key in keys:
            if self._limit and self._used[key] >= self._limit:
                line = self._lines.setdefault(key, {})
                waiting = line.get(name)
                if waiting is None:
                    waiting = line[name] = Deferred(partial(self._leave, key, name))
                return waiting
        self._used.update(keys)
        self.arrived(keys, name)
        return None

    def _leave(self, key: str, name: str, _: object) -> None:
        self.arrived((key,), name)

    def arrived(self, keys: Iterable[str], name: str) -> None:
        """
        Somebody has a connection and stands in line no more.
        """
        for key in keys:
            line = self._lines.get(key)
            if line is not None:
                line.pop(name, None)
                if not line:
                    del self._lines[key]

    def giveBack(self, keys: Collection[str]) -> None:
        """
        A connection is no more: whoever is next in line for one of its keys is told.
        """
        self._used.subtract(keys)
        for key in keys:
            if not self._used[key]:
                del self._used[key]
            self._tellNext(key)

    def wanted(self, keys: Iterable[str]) -> bool:
        """
        @return: whether somebody stands in line for one of them and wasn't told yet.
        """
        return any(
            waiting is not None for key in keys for waiting in self._lines.get(key, {}).values()
        )

    def _tellNext(self, key: str) -> None:
        line = self._lines.get(key, {})
        for name, waiting in line.items():
            if waiting is not None:
                line[name] = None
                waiting.callback(None)
                return
        # Those who were told had their chance, or have lost interest.
        self._lines.pop(key, None)

    # --- connections that are kept -------------------------------------------------------------

    def keep(self, spare: Spare) -> None:
        """
        Keep a connection for the next in line; it has its slots meanwhile.
        """
        self._spares[spare] = self._clock.callLater(SPARE, self._drop, spare)
        for key in spare.keys:
            if self.wanted((key,)):
                self._tellNext(key)
                return

    def _drop(self, spare: Spare) -> None:
        del self._spares[spare]
        spare.end()

    def find(self, name: str, fits: Callable[[Spare], bool]) -> Spare | None:
        """
        @param name: who wants it.
        @return: a connection that was kept and fits, and wasn't kept for somebody else; it isn't
            kept any more.
        """
        for spare in self._spares:
            if self._mayHave(name, spare.keys) and fits(spare):
                self._spares.pop(spare).cancel()
                self.arrived(spare.keys, name)
                return spare
        return None

    def _mayHave(self, name: str, keys: Iterable[str]) -> bool:
        told = [
            each
            for key in keys
            for each, waiting in self._lines.get(key, {}).items()
            if waiting is None
        ]
        return name in told or not told

    def makeRoom(self, keys: Collection[str], name: str) -> None:
        """
        End a connection that was kept and that the next in line has no use for.
        """
        for spare in self._spares:
            if not set(keys).isdisjoint(spare.keys) and self._mayHave(name, spare.keys):
                self._spares.pop(spare).cancel()
                spare.end()
                return

    def stop(self) -> None:
        """
        Keep nothing any more.
        """
        for spare in list(self._spares):
            self._spares.pop(spare).cancel()
            spare.end()
