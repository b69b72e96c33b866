"""
docs/queue.rst: what it shows of the log is what is logged, and its numbers are those of the code.
"""

from __future__ import annotations

import re
from typing import Any

from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.delivery.support import LATER, NEVER, TAKEN, QueueTestCase
from tests.docs import DOCS
from tests.smtp.support import UnreachableRelay, now
from twisted_mailstack.delivery import notification, queue
from twisted_mailstack.delivery.dispatch import LIFETIME, WARN_AFTER, Dispatch
from twisted_mailstack.delivery.notification import Notifier
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.delivery.schedule import DELAYS, JITTER
from twisted_mailstack.model.address import Address

PAGE = (DOCS / "queue.rst").read_text("utf-8")
FLAT = " ".join(PAGE.split())


class LogTests(QueueTestCase):
    """
    The lines of the log.
    """

    def test_lines(self) -> None:
        """Each that is shown is logged, and no other."""
        (block,) = re.findall(r"ends otherwise::\n\n((?:    .*\n)+)", PAGE)
        shown = [re.escape(line.strip()) for line in block.splitlines()]
        patterns = [
            re.sub(r"[A-Z]{4,}(?:\\-XXXX)?|\\\.\\\.\\\.|HOST|\bN\b", ".*", line) for line in shown
        ]
        self.assertEqual(len(patterns), 7)
        lines: list[str] = []

        def observe(event: Any) -> None:
            if event.get("log_namespace", "").startswith("twisted_mailstack.delivery"):
                lines.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        dispatch = Dispatch(UnreachableRelay(), now=self.now)
        self.notifier = Notifier(
            self.spool,
            self.store.newContent,
            Resolver(self.store.directory),
            dispatch,
            "mx.example.test",
            now=self.now,
        )
        answers = {"taken": TAKEN, "later": LATER, "never": NEVER}
        self.network.answer = lambda message, each: answers.get(each.address.localPart, TAKEN)
        self.takeDown("dead.test")
        self.start(delays=[400])
        self.queue("taken@far.test", "later@far.test", "never@far.test")
        self.queue("taken@dead.test", lifetime=700)
        self.queue("never@far.test", reversePath=None)
        now(self.store.directory.addDomain("example.test"))
        self.queue("never@far.test", reversePath=Address("forged", "example.test"))
        self.queue("taken@dead.test", reversePath=None, lifetime=700)
        self.pass_(1200, 10.0)
        for pattern in patterns:
            self.assertTrue(any(re.fullmatch(pattern, line) for line in lines), (pattern, lines))
        for line in lines:
            self.assertTrue(any(re.fullmatch(pattern, line) for pattern in patterns), line)


class NumberTests(SynchronousTestCase):
    """
    The numbers of the page.
    """

    def test_numbers(self) -> None:
        """What is said to be so is so."""
        settings = queue.QueueSettings()
        for said, holds in (
            ("at most ten messages of a connection", queue.UNSETTLED == 10),
            ("it may have five, then", settings.firstPerDestination == 5),
            ("waits two seconds for the next one", settings.linger == 2),
            ("for twenty messages at a time", queue.QUANTUM == 20),
            ("may have a quarter of all connections", queue.SUSPECTS == 4),
            ("a hundred recipients are in memory", queue.LOAD == 100),
            ("another takes over within 30 seconds", queue.LOOK == 30),
            ("each 15 percent longer or shorter", JITTER == 0.15),
            (
                "at once, after 1, 5, 10 and 30 minutes, 1, 2 and 4 hours",
                DELAYS == (60, 300, 600, 1800, 3600, 7200, 14400),
            ),
            ("What has more than 64 KiB", notification.MAX_RETURNED == 64 * 1024),
        ):
            self.assertIn(said, FLAT)
            self.assertTrue(holds, said)
        self.assertEqual((WARN_AFTER, LIFETIME), (4 * 3600, 5 * 86400))
