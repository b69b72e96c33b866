"""
Sorting and threading by the SQL store.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.test_sql import SQLStore
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.model.sorting import SortCriterion, SortKey
from twisted_mailstack.storage.sql import sorting
from twisted_mailstack.storage.sql.store import FILE
from twisted_mailstack.testing import contracts
from twisted_mailstack.testing.contracts.base import EVERYTHING

BY_SUBJECT = [SortCriterion(SortKey.SUBJECT)]


class SQLSortingMailboxTests(SQLStore, contracts.SortingMailboxContract, SynchronousTestCase):
    """The contract."""


class LargeSortingMailboxTests(SQLSortingMailboxTests):
    """The contract, as if all mailboxes were large."""

    def setUp(self) -> None:
        """Everything is done in a thread."""
        super().setUp()
        self.patch(sorting, "FEW", 0)


class TableTests(SQLStore, SynchronousTestCase):
    """
    The table of what sorts contents.
    """

    store: Any

    def setUp(self) -> None:
        """Four messages."""
        super().setUp()
        self.inbox: Any = self.mailbox("INBOX")
        for subject in "dbca":
            self.append(self.inbox, f"Subject: {subject}\r\n\r\n".encode())

    def execute(self, statement: str) -> list[Any]:
        """
        @return: the rows of a statement behind everybody's back.
        """
        connection = sqlite3.connect(Path(self.place()) / FILE, isolation_level=None)
        rows = connection.execute(statement).fetchall()
        connection.close()
        return rows

    def test_olderRelease(self) -> None:
        """What an older release stored is sorted all the same, and then has its row."""
        before = self.execute("SELECT * FROM sorting")
        self.execute("DELETE FROM sorting WHERE content < 4")
        self.assertSound()
        for uids in (NumberSet.of([2, 3]), EVERYTHING):
            found = self.wait(self.inbox.sortMessages(uids, BY_SUBJECT))
            self.assertEqual(found, [uid for uid in (4, 2, 3, 1) if uid in uids])
        self.assertEqual(self.execute("SELECT * FROM sorting"), before)
        self.execute("DELETE FROM sorting")
        rows = self.wait(self.inbox.threadRows(EVERYTHING))
        self.assertEqual([row.subject for row in rows], ["D", "B", "C", "A"])
        self.assertEqual(self.execute("SELECT * FROM sorting"), before)

    def test_damaged(self) -> None:
        """A message whose octets are missing is sorted as if it were empty."""
        self.execute("DELETE FROM sorting")
        self.execute("DELETE FROM chunk WHERE piece / 65536 = 2")
        self.execute("DELETE FROM content WHERE content = 3")
        for _ in range(2):
            found = self.wait(self.inbox.sortMessages(EVERYTHING, BY_SUBJECT))
            self.assertEqual(found, [2, 3, 4, 1])
        self.assertEqual(len(self.wait(self.inbox.threadRows(EVERYTHING))), 4)

    def test_gone(self) -> None:
        """A row goes with its content."""
        self.wait(self.inbox.expunge(None, False))
        self.waitUntil(lambda: not self.execute("SELECT 1 FROM content"))
        self.assertEqual(self.execute("SELECT 1 FROM sorting"), [])

    def test_check(self) -> None:
        """A check finds rows that are wrong, or of nobody."""
        self.assertSound()
        self.execute("UPDATE sorting SET subject = 'Z' WHERE content = 2")
        self.execute(
            "INSERT INTO sorting SELECT 99, sent_date, subject, is_reply, sender,"
            " recipient, copy, display_from, display_to, identity, refs FROM sorting"
            " WHERE content = 1"
        )
        found = [f"{damage.where}: {damage.what}" for damage in self.wait(self.store.check())]
        self.assertEqual(len(found), 2, found)
        self.assertIn("UID 2: what sorts it", " ".join(found))
        self.assertIn("content 99: is sorted, but not there", " ".join(found))
