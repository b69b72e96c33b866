"""
What the SQL store remembers for its server.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.test_sql import SQLStore
from twisted_mailstack.errors import TemporaryFailure
from twisted_mailstack.storage.sql.memory import FORGOTTEN
from twisted_mailstack.storage.sql.store import FILE
from twisted_mailstack.testing import contracts


class SQLMemoryTests(SQLStore, contracts.KeyedMemoryContract, SynchronousTestCase):
    """
    The contract, and what is durable.
    """

    def rows(self) -> int:
        """
        @return: how many there are in the database.
        """
        connection = sqlite3.connect(Path(self.path) / FILE)
        try:
            (count,) = connection.execute("SELECT count(*) FROM remembered").fetchone()
        finally:
            connection.close()
        return int(count)

    def test_kept(self) -> None:
        """It survives the store, and other processes see and change it at once."""
        later = self.today + 10
        self.wait(self.memory.remember([("t:a", 1, later)]))
        other: Any = self.startStore()
        self.assertEqual(dict(self.wait(other.memory.recall(["t:a"]))), {"t:a": 1})
        self.assertEqual(dict(self.wait(other.memory.add([("t:a", 2, later)]))), {"t:a": 3})
        self.assertEqual(self.recall("t:a"), {"t:a": 3})
        self.assertEqual(dict(self.wait(self.memory.introduce([("t:a", 9, later)]))), {"t:a": 3})
        self.wait(self.store.stop())
        self.wait(other.stop())
        again: Any = self.startStore()
        self.assertEqual(dict(self.wait(again.memory.recall(["t:a"]))), {"t:a": 3})

    def test_doesNotGrow(self) -> None:
        """What is forgotten leaves the database with the next changes, a bounded number each."""
        old = 3 * FORGOTTEN
        self.wait(
            self.memory.remember([(f"t:{number}", 1, self.today + 1) for number in range(old)])
        )
        self.seconds += 1
        while old:
            old = max(0, old - FORGOTTEN - 1)
            self.wait(self.memory.add([("t:new", 1, self.today + 99)]))
            self.assertEqual(self.rows(), old + 1)

    def test_closed(self) -> None:
        """A store that was closed says so."""
        self.wait(self.store.stop())
        self.assertFails(self.memory.recall(["t:a"]), TemporaryFailure)
        self.assertFails(self.memory.add([("t:a", 1, self.today + 1)]), TemporaryFailure)
