"""
What is said of mailboxes besides their names, in both stores: their numbers all at once, special
uses, metadata: C{twisted_mailstack.storage.sql.metadata},
C{twisted_mailstack.storage.memorymetadata}.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.test_memory import MemoryStore
from tests.storage.test_sql import SQLStore
from twisted_mailstack.storage.sql.metadata import MAX_REMOVED
from twisted_mailstack.storage.sql.store import FILE
from twisted_mailstack.testing import contracts


class MemorySurveyTests(MemoryStore, contracts.SurveyableAccountContract, SynchronousTestCase):
    """The contract."""


class MemorySpecialUseTests(MemoryStore, contracts.SpecialUseAccountContract, SynchronousTestCase):
    """The contract."""


class MemoryMetadataTests(MemoryStore, contracts.MetadataAccountContract, SynchronousTestCase):
    """The contract."""


class SQLSurveyTests(SQLStore, contracts.SurveyableAccountContract, SynchronousTestCase):
    """The contract."""


class SQLSpecialUseTests(SQLStore, contracts.SpecialUseAccountContract, SynchronousTestCase):
    """The contract."""


class SQLMetadataTests(SQLStore, contracts.MetadataAccountContract, SynchronousTestCase):
    """
    The contract, and what is in the database.
    """

    def rows(self, where: str = "1") -> int:
        """
        @return: how many entries there are in the database.
        """
        connection = sqlite3.connect(Path(self.path) / FILE)
        try:
            (count,) = connection.execute(f"SELECT count(*) FROM metadata WHERE {where}").fetchone()
        finally:
            connection.close()
        return int(count)

    def test_kept(self) -> None:
        """They survive the store."""
        self.put({"/private/comment": b"\0\xff"}, "INBOX")
        self.wait(self.store.stop())
        again = self.startStore()
        account = self.wait(again.openAccount(self.account.accountId))
        found = self.wait(account.getMetadata("INBOX", ["/private/comment"]))
        self.assertEqual(dict(found), {"/private/comment": b"\0\xff"})

    def test_removedRows(self) -> None:
        """A bounded number of removed entries stays, and none when the mailbox or account goes."""
        self.make("a")
        for mailboxName in ("", "a"):
            for number in range(3):
                names = [f"/private/{number}/{n}" for n in range(MAX_REMOVED)]
                self.put(dict.fromkeys(names, b"x"), mailboxName)
                self.put(dict.fromkeys(names, None), mailboxName)
        self.assertEqual(self.rows(), 2 * MAX_REMOVED)
        self.wait(self.account.deleteMailbox("a"))
        self.assertEqual(self.rows(), MAX_REMOVED)
        self.put({"/private/x": b"y"})
        self.wait(self.store.directory.removeAccount(self.account.address))
        self.assertEqual(self.rows(), 0)

    def test_readerRemoved(self) -> None:
        """With an account go its private entries of others' mailboxes, and nothing else."""
        other = self.addAccount("other")
        self.put({"/private/x": b"mine", "/shared/x": b"y"}, "INBOX")
        self.put({"/private/x": b"theirs"}, "INBOX", reader=other.accountId)
        self.wait(self.store.directory.removeAccount(other.address))
        self.assertEqual(self.rows(), 2)
        self.assertEqual(self.entries("INBOX"), {"/private/x": b"mine", "/shared/x": b"y"})

    def test_check(self) -> None:
        """Entries of nobody are damage, as is one from the future."""
        self.put({"/private/x": b"y"}, "INBOX")
        self.assertEqual(list(self.wait(self.store.check())), [])
        connection = sqlite3.connect(Path(self.path) / FILE)
        connection.execute("UPDATE metadata SET mailbox = 999, mod_seq = 999")
        connection.execute("INSERT INTO metadata VALUES (77, 0, 0, '/shared/x', x'', 1)")
        connection.commit()
        connection.close()
        found = sorted(f"{each.where}: {each.what}" for each in self.wait(self.store.check()))
        self.assertEqual(len(found), 3, found)
        self.assertIn("has 1 metadata entries of mailboxes that don't exist", found[2])
        self.assertIn("a metadata entry has modSeq 999", found[1])
        self.assertEqual(found[0], "account A77: does not exist, but has 1 metadata entries")
