"""
The memory store keeps every contract of storage but those that need a disk.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.interfaces import IMailStore
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.testing import contracts


class MemoryStore(contracts.StorageContract):
    """
    Makes the stores.
    """

    def makeStore(self) -> IMailStore:
        """See the contract."""
        return MemoryMailStore(self.now)


class MemoryContentTests(MemoryStore, contracts.ContentContract, SynchronousTestCase):
    """Messages' octets."""


class MemoryMailboxTests(MemoryStore, contracts.MailboxContract, SynchronousTestCase):
    """Mailboxes."""


class MemoryMovableMailboxTests(MemoryStore, contracts.MovableMailboxContract, SynchronousTestCase):
    """MOVE."""


class MemoryReplacingMailboxTests(
    MemoryStore, contracts.ReplacingMailboxContract, SynchronousTestCase
):
    """REPLACE."""


class MemoryURLKeysTests(MemoryStore, contracts.URLKeysContract, SynchronousTestCase):
    """Keys of mailboxes."""


class MemoryAccountTests(MemoryStore, contracts.AccountContract, SynchronousTestCase):
    """Accounts."""


class MemoryAccessControlTests(MemoryStore, contracts.AccessControlContract, SynchronousTestCase):
    """Sharing."""


class MemoryDirectoryTests(MemoryStore, contracts.DirectoryContract, SynchronousTestCase):
    """The directory."""


class MemoryCredentialsTests(MemoryStore, contracts.CredentialsContract, SynchronousTestCase):
    """Who may log in."""


class MemoryLoginHistoryTests(MemoryStore, contracts.LoginHistoryContract, SynchronousTestCase):
    """Recent logins."""


class MemoryStoreTests(MemoryStore, contracts.StoreContract, SynchronousTestCase):
    """The store."""


class MemoryKeyedMemoryTests(MemoryStore, contracts.KeyedMemoryContract, SynchronousTestCase):
    """What the server remembers."""
