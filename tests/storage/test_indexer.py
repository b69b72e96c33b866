"""
When the search indexes are kept up: in the background, and not beside a burst of mail.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.storage.sql.indexer import DELAY, PATIENCE, Indexer


class WaitingTests(SynchronousTestCase):
    """
    An indexer of which only the moments are looked at.
    """

    def setUp(self) -> None:
        """Nothing has changed yet."""
        self.clock = Clock()
        self.begun: list[float] = []
        self.indexer: Any = Indexer(
            Path(self.mktemp()),
            self.clock,
            lambda function, *arguments: function(*arguments),
            lambda: None,  # type: ignore[arg-type, return-value]
            self,  # type: ignore[arg-type]
        )

    def submit(self, work: object) -> None:
        """As an executor: note that a slice begins; it has nothing to do."""
        self.begun.append(self.clock.seconds())
        self.patch(self.indexer, "_update", lambda account: False)
        assert callable(work)
        work()

    def load(self, commits: int, seconds: int) -> None:
        """So many changes a second."""
        for _ in range(seconds * 10):
            for _ in range(commits // 10):
                self.indexer.changed([1])
            self.clock.advance(0.1)

    def test_calm(self) -> None:
        """A few changes are indexed a little later, those that come meanwhile with them."""
        self.load(10, 5)
        self.assertTrue(self.begun)
        self.assertLessEqual(self.begun[0], DELAY + 0.2)

    def test_busy(self) -> None:
        """During a burst nothing is indexed; after it all is."""
        self.load(200, 10)
        self.assertEqual(self.begun, [])
        self.clock.pump([0.1] * 50)
        self.assertEqual(len(self.begun), 1)

    def test_patience(self) -> None:
        """A burst that doesn't end is no reason never to index."""
        self.load(200, int(PATIENCE) + 5)
        self.assertTrue(self.begun)
        self.assertGreaterEqual(self.begun[0], PATIENCE)
