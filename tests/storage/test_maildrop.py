"""
What the stores keep for POP3.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.test_memory import MemoryStore
from tests.storage.test_sql import SQLStore
from twisted_mailstack.testing import contracts


class MemoryMaildropTests(MemoryStore, contracts.MaildropAccountContract, SynchronousTestCase):
    """In memory."""


class SQLMaildropTests(SQLStore, contracts.MaildropAccountContract, SynchronousTestCase):
    """On disk."""


del MemoryStore, SQLStore
