"""
Annotations of messages, in both stores: C{twisted_mailstack.storage.sql.annotations},
C{twisted_mailstack.storage.memoryannotations}.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.test_memory import MemoryStore
from tests.storage.test_sql import SQLStore
from twisted_mailstack.storage.sql import mailbox
from twisted_mailstack.storage.sql.annotations import MAX_REMOVED
from twisted_mailstack.storage.sql.store import FILE
from twisted_mailstack.testing import contracts


class MemoryAnnotatedMailboxTests(
    MemoryStore, contracts.AnnotatedMailboxContract, SynchronousTestCase
):
    """The contract."""


class SQLManyAnnotationsTests(SQLStore, contracts.AnnotatedMailboxContract, SynchronousTestCase):
    """
    The contract, where everything is so much that a thread reads it.
    """

    def setUp(self) -> None:
        """A little is much."""
        super().setUp()
        self.patch(mailbox, "MANY", 0)


class SQLAnnotatedMailboxTests(SQLStore, contracts.AnnotatedMailboxContract, SynchronousTestCase):
    """
    The contract, and what is in the database.
    """

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """
        @return: the rows of a statement of our own.
        """
        connection = sqlite3.connect(Path(self.path) / FILE)
        try:
            with connection:
                return connection.execute(statement).fetchall()
        finally:
            connection.close()

    def test_kept(self) -> None:
        """They survive the store."""
        self.put(self.found[0], {("/comment", True): b"\0\xff"})
        before = self.rows(self.inbox)
        self.wait(self.store.stop())
        self.store = self.startStore()
        account = self.wait(self.store.openAccount(self.account.accountId))
        self.assertEqual(self.rows(self.wait(account.openMailbox("INBOX"))), before)

    def test_removedOnesAreFew(self) -> None:
        """Those that were removed are remembered, the latest ones of each message."""
        uid = self.found[0]
        for number in range(MAX_REMOVED + 5):
            self.put(uid, {(f"/vendor/x/{number}", True): b"1"})
            self.put(uid, {(f"/vendor/x/{number}", True): None})
        changes = self.wait(self.inbox.annotationChangesSince(0))
        self.assertEqual(
            [change.entry for change in changes],
            [f"/vendor/x/{number}" for number in range(5, MAX_REMOVED + 5)],
        )

    def test_nothingLeft(self) -> None:
        """No row stays behind when messages, mailboxes or accounts go."""
        self.append(self.other)
        for each in (self.inbox, self.other):
            everything = self.numbers(*self.uids(each))
            for reader in (None, self.bob.accountId):
                self.wait(
                    each.storeAnnotations(
                        everything,
                        {("/comment", True): b"x", ("/comment", False): b"y"},
                        9,
                        None,
                        reader,
                    )
                )
        self.wait(self.inbox.expunge(self.numbers(self.found[0]), False))
        self.wait(self.account.deleteMailbox("other"))
        self.assertEqual(self.execute("SELECT DISTINCT uid FROM annotation"), [(2,), (3,)])
        self.wait(self.store.directory.removeAccount(self.bob.address))
        count = "SELECT count(*) FROM annotation"
        self.assertEqual(self.execute(count), [(4,)])
        self.wait(self.store.directory.removeAccount(self.account.address))
        self.assertEqual(self.execute(count), [(0,)])

    def test_check(self) -> None:
        """C{mailstack check} finds annotations that can't be right."""
        self.put(self.found[0], {("/comment", True): b"x"})
        for damage, finding in (
            ("UPDATE annotation SET uid = 99", "has annotations, but isn't there"),
            ("UPDATE annotation SET mod_seq = mod_seq + 1000", "an annotation has modSeq"),
            ("UPDATE annotation SET value = 7", "an annotation can't be read"),
            ("UPDATE mailbox SET annotated = 0", "its mailbox is said to have none"),
            ("UPDATE annotation SET account = 99", "does not exist, but has 1 annotations"),
        ):
            saved = self.execute("SELECT * FROM annotation")
            self.execute(damage)
            found = " ".join(each.what for each in self.wait(self.store.check()))
            self.assertIn(finding, found)
            self.execute("DELETE FROM annotation")
            row = ", ".join("x'78'" if isinstance(each, bytes) else repr(each) for each in saved[0])
            self.execute(f"INSERT INTO annotation VALUES ({row})")
            self.execute("UPDATE mailbox SET annotated = 1")
        self.assertEqual(list(self.wait(self.store.check())), [])

    def test_indexes(self) -> None:
        """What concerns some messages looks at their annotations alone."""
        statements: list[str] = []
        store: Any = self.store
        store.writer.connection.set_trace_callback(statements.append)
        for number in range(MAX_REMOVED + 2):
            self.put(self.found[0], {(f"/vendor/x/{number}", True): b"1"})
            self.put(self.found[0], {(f"/vendor/x/{number}", True): None})
        self.put(self.found[1], {("/comment", True): b"1"})
        self.wait(self.inbox.copyMessages(self.numbers(*self.found), self.other))
        self.wait(self.inbox.expunge(self.numbers(*self.found), False))
        store.writer.connection.set_trace_callback(None)
        looked = [each for each in statements if " annotation" in each]
        self.assertTrue(any(each.startswith("DELETE") and "LIMIT" in each for each in looked))
        for each in looked:
            for *_, step in self.execute("EXPLAIN QUERY PLAN " + each):
                self.assertNotIn("annotation_mod_seq", str(step), each)
                self.assertNotIn("SCAN annotation", str(step), each)

    def test_costsNothing(self) -> None:
        """Where there are no annotations no statement looks for any."""
        statements: list[str] = []
        store: Any = self.store
        store.writer.connection.set_trace_callback(statements.append)
        self.append(self.inbox)
        self.deliver(b"Subject: x\r\n\r\n")
        self.wait(self.inbox.copyMessages(self.numbers(*self.found), self.other))
        self.wait(self.inbox.moveMessages(self.numbers(self.found[0]), self.other))
        self.wait(self.inbox.expunge(self.numbers(self.found[1]), False))
        store.writer.connection.set_trace_callback(None)
        self.assertTrue(statements)
        # The table, not the column of its limit.
        looked = [each for each in statements if re.search(r" annotation\b", each)]
        self.assertEqual(looked, [])
