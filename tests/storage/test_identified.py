"""
Mailboxes that are known to be the same, in every storage, and through sharing.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.sharing.test_account import ROOT, Shared
from tests.storage.test_memory import MemoryStore
from tests.storage.test_sql import SQLStore
from twisted_mailstack.interfaces import IIdentifiedMailbox
from twisted_mailstack.testing import contracts


class MemoryIdentifiedTests(MemoryStore, contracts.IdentifiedMailboxContract, SynchronousTestCase):
    """In memory."""


class SQLIdentifiedTests(SQLStore, contracts.IdentifiedMailboxContract, SynchronousTestCase):
    """In the database."""


class SharedIdentifiedTests(Shared, MemoryStore, SynchronousTestCase):
    """Through sharing."""

    def test_identity(self) -> None:
        """A mailbox that others see is the one that its owner sees."""
        self.grant("lr")
        opened: Any = self.wait(self.bob.openMailbox(f"{ROOT}/Work"))
        inner: Any = self.work
        self.assertTrue(IIdentifiedMailbox.providedBy(opened))
        self.assertEqual(opened.identity, inner.identity)
