"""
What the stores keep for POP3.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.test_memory import MemoryStore
from tests.storage.test_sql import SQLStore
from twisted_mailstack.errors import CannotDoThat
from twisted_mailstack.model.sequence import MAX_NUMBER
from twisted_mailstack.storage.sql import maildrop
from twisted_mailstack.storage.sql.schema import _MAILDROP, MIGRATIONS, upgrade
from twisted_mailstack.testing import contracts
from twisted_mailstack.testing.contracts.base import EVERYTHING, start


class MemoryMaildropTests(MemoryStore, contracts.MaildropAccountContract, SynchronousTestCase):
    """In memory."""


class SQLMaildropTests(SQLStore, contracts.MaildropAccountContract, SynchronousTestCase):
    """On disk."""

    def test_allOrNone(self) -> None:
        """
        If what is in the second mailbox can't be moved, what is in the first one stays, too; other
        changes of the same group are done.
        """
        trash: Any = self.mailbox("Trash")
        store: Any = self.store
        self.wait(
            store.writer.submit(
                lambda transaction: transaction.execute(
                    "UPDATE mailbox SET uid_next = ? WHERE mailbox = ?",
                    (MAX_NUMBER - 2, trash._mailbox),
                )
            )
        )
        moving = start(
            self.maildrop.removeMessages(
                [(self.inbox, EVERYTHING), (self.other, EVERYTHING)], trash
            )
        )
        beside = start(self.account.createMailbox("beside"))
        self.assertFails(moving, CannotDoThat)
        self.wait(beside)
        self.assertEqual(self.uids(self.inbox), [self.first, self.second])
        self.assertEqual(self.uids(self.other), [self.third])
        self.assertEqual(self.uids(trash), [])


del MemoryStore, SQLStore


class UpgradeTests(SynchronousTestCase):
    """
    Databases of before.
    """

    def test_kept(self) -> None:
        """What POP3 clients know of INBOX, its UIDVALIDITY and the UID, they go on knowing."""
        at = MIGRATIONS.index(_MAILDROP)
        connection = sqlite3.connect(":memory:", isolation_level=None)
        self.addCleanup(connection.close)
        upgrade(connection, MIGRATIONS[:at])
        for mailbox, name in ((2, "INBOX"), (3, "Sent")):
            connection.execute(
                "INSERT INTO mailbox (account, mailbox, name, selectable, uid_validity)"
                " VALUES (1, ?, ?, 1, ?)",
                (mailbox, name, 1_700_000_000 + mailbox),
            )
        for mailbox, uid, message in ((2, 4, 10), (2, 7, 12), (2, 9, 10), (3, 1, 14)):
            connection.execute(
                "INSERT INTO entry VALUES (1, ?, ?, ?, '', 1, 0, 0, 0)", (mailbox, uid, message)
            )
        upgrade(connection)
        found = maildrop.uniqueIds(connection, 1, "token", ["E1-10", "E1-12", "E1-14"])
        self.assertEqual(
            found, {"E1-10": "1700000002.4", "E1-12": "1700000002.7", "E1-14": "token.14"}
        )
