"""
How many connections there may be to one host.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.relay.slots import SPARE, HostSlots

KEYS = ("mx.test 25", "192.0.2.1 25")


class Connection:
    """
    A connection that gives its slots back when it ends.
    """

    def __init__(self, slots: HostSlots, keys: tuple[str, ...] = KEYS) -> None:
        self.slots = slots
        self.keys = keys
        self.ended = 0

    def end(self) -> None:
        """See Spare."""
        self.ended += 1
        self.slots.giveBack(self.keys)


class SlotsTests(SynchronousTestCase):
    """
    L{HostSlots}.
    """

    def setUp(self) -> None:
        """Two for each host."""
        self.clock = Clock()
        self.slots = HostSlots(self.clock, 2)

    def take(self, name: str, keys: tuple[str, ...] = KEYS) -> Any:
        """
        @return: what C{take} does.
        """
        return self.slots.take(keys, name)

    def full(self) -> list[Connection]:
        """
        @return: as many connections as there may be.
        """
        for name in ("x", "y"):
            self.assertIsNone(self.take(name))
        return [Connection(self.slots), Connection(self.slots)]

    def test_limit(self) -> None:
        """So many and no more, by name and by address; other hosts are none of its business."""
        self.full()
        for keys in (KEYS, KEYS[:1], KEYS[1:], ("other 25", KEYS[1])):
            self.assertNoResult(self.take("a", keys))
        self.assertIsNone(self.take("a", ("mx.test 26", "192.0.2.2 25")))

    def test_none(self) -> None:
        """Without a limit there are as many as one likes."""
        slots = HostSlots(self.clock, 0)
        for number in range(1000):
            self.assertIsNone(slots.take(KEYS, str(number)))

    def test_line(self) -> None:
        """Those in line are told one after the other, one for each that is given back."""
        connections = self.full()
        waiting = [self.take(name) for name in "abc"]
        for number, connection in enumerate(connections):
            connection.end()
            self.assertEqual([each.called for each in waiting].count(True), number + 1)
            self.assertTrue(waiting[number].called)
        self.assertIsNone(self.take("a"))
        self.assertIsNone(self.take("b"))
        self.assertTrue(self.slots.wanted(KEYS))
        self.assertFalse(self.slots.wanted(("other 25",)))

    def test_place(self) -> None:
        """Who was told and finds that somebody was faster keeps the place in line."""
        connections = self.full()
        first, second = self.take("a"), self.take("b")
        connections[0].end()
        self.assertTrue(first.called)
        self.assertIsNone(self.take("fast"))
        again = self.take("a")
        self.assertNoResult(again)
        connections[1].end()
        self.assertTrue(again.called)
        self.assertNoResult(second)

    def test_leave(self) -> None:
        """Who doesn't care any more is not told."""
        connections = self.full()
        first, second = self.take("a"), self.take("b")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        connections[0].end()
        self.assertTrue(second.called)

    def test_lostInterest(self) -> None:
        """Who was told and never came keeps nobody out."""
        connections = self.full()
        for name in "abc":
            self.take(name)
        for connection in connections:
            connection.end()
        self.assertIsNone(self.take("new"))
        self.assertIsNone(self.take("c"))

    def test_spare(self) -> None:
        """A connection that is kept is for the next in line, and for nobody who wasn't told."""
        connections = self.full()
        first, second = self.take("a"), self.take("b")
        self.slots.keep(connections[0])
        self.assertTrue(first.called)
        self.assertNoResult(second)
        for name in ("b", "x", "new"):
            self.assertIsNone(self.slots.find(name, lambda spare: True))
        self.slots.makeRoom(KEYS, "new")
        self.assertIsNone(self.slots.find("a", lambda spare: False))
        self.assertIs(self.slots.find("a", lambda spare: True), connections[0])
        self.assertIsNone(self.slots.find("a", lambda spare: True))
        self.assertEqual((connections[0].ended, self.clock.getDelayedCalls()), (0, []))
        # It has its slots all the time.
        self.assertNoResult(self.take("new"))

    def test_spareNotTaken(self) -> None:
        """It ends after a moment, and the next is told."""
        connections = self.full()
        first, second = self.take("a"), self.take("b")
        self.slots.keep(connections[0])
        self.clock.advance(SPARE - 1)
        self.assertEqual(connections[0].ended, 0)
        self.clock.advance(1)
        self.assertEqual(connections[0].ended, 1)
        self.assertTrue(first.called and second.called)

    def test_makeRoom(self) -> None:
        """It ends at once if the next in line has no use for it."""
        connections = self.full()
        first = self.take("a")
        self.slots.keep(connections[0])
        self.assertTrue(first.called)
        again: Deferred[None] = self.take("a")
        self.slots.makeRoom(KEYS, "a")
        self.assertEqual(connections[0].ended, 1)
        self.assertTrue(again.called)
        self.assertIsNone(self.take("a"))

    def test_stop(self) -> None:
        """At the end nothing is kept."""
        connections = self.full()
        self.take("a")
        self.slots.keep(connections[0])
        self.slots.stop()
        self.assertEqual((connections[0].ended, self.clock.getDelayedCalls()), (1, []))
