"""
The memory store's spool keeps the contract but for what needs a disk.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.test_memory import MemoryStore
from twisted_mailstack.testing import contracts


class MemorySpoolTests(MemoryStore, contracts.SpoolContract, SynchronousTestCase):
    """Mail that waits."""
