"""
What processes of one server tell each other.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.workers.bus import CHANGED, LOG, MAX_GATHERED, Inbox, Outbox


class BusTests(SynchronousTestCase):
    """
    One direction.
    """

    def setUp(self) -> None:
        """Both ends."""
        self.heard: list[tuple[str, Any]] = []
        self.wire = b""
        self.outbox = Outbox(self.write)
        self.inbox = Inbox(lambda kind, value: self.heard.append((kind, value)))

    def write(self, data: bytes) -> None:
        """The pipe."""
        self.wire += data

    def test_pieces(self) -> None:
        """What is sent arrives, whatever pieces the pipe makes of it."""
        self.outbox.send("announce", "größer\nzwei")
        self.outbox.tell({(1, 2), (0, "far.test")})
        self.outbox.tell(None)
        self.outbox.log("a.b", "warn", "text")
        for size in (1, 7, len(self.wire)):
            self.heard.clear()
            for start in range(0, len(self.wire), size):
                self.inbox.feed(self.wire[start : start + size])
            announced, (kind, changed), everything, logged = self.heard
            self.assertEqual(announced, ("announce", "größer\nzwei"))
            self.assertEqual((kind, set(changed)), (CHANGED, {(1, 2), (0, "far.test")}))
            self.assertEqual(everything, (CHANGED, None))
            self.assertEqual(logged, (LOG, ["a.b", "warn", "text"]))

    def test_slow(self) -> None:
        """
        To a process that can't take it each mailbox is told once, when it can; log lines are
        counted.
        """
        self.outbox.pauseProducing()
        for _ in range(3):
            self.outbox.tell({(1, 2)})
            self.outbox.tell({(1, 3)})
            self.outbox.log("a.b", "warn", "text")
        self.assertEqual(self.wire, b"")
        self.outbox.resumeProducing()
        self.inbox.feed(self.wire)
        (_, changed), (_, (_, level, text)) = self.heard
        self.assertEqual(sorted(changed), [(1, 2), (1, 3)])
        self.assertEqual((level, text), ("warn", "3 events are missing here"))
        # And then it is as before.
        self.outbox.pauseProducing()
        self.outbox.resumeProducing()
        self.outbox.tell({(1, 4)})
        self.heard.clear()
        self.inbox.feed(self.wire[self.wire.rindex(b"\n", 0, -1) + 1 :])
        self.assertEqual(self.heard, [(CHANGED, [(1, 4)])])

    def test_hangs(self) -> None:
        """To one that hangs for long it is told that anything may have changed."""
        for tell in (
            lambda: self.outbox.tell(None),
            lambda: self.outbox.tell({(1, each) for each in range(MAX_GATHERED + 1)}),
        ):
            self.outbox.pauseProducing()
            self.outbox.tell({(1, 2)})
            tell()
            self.outbox.tell({(1, 2)})
            self.outbox.resumeProducing()
        self.inbox.feed(self.wire)
        self.assertEqual(self.heard, [(CHANGED, None)] * 2)
