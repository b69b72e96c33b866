"""
The SQL store keeps every contract of storage.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.interfaces import IMailStore
from twisted_mailstack.storage.sql.store import SQLMailStore
from twisted_mailstack.testing import contracts


class SQLStore(contracts.StorageContract):
    """
    Makes the stores.
    """

    def makeStore(self) -> IMailStore:
        """See the contract."""
        return SQLMailStore(self.place(), self.clock, self.calls.callFromThread, now=self.now)

    def place(self) -> str:
        """
        @return: the one directory of a test.
        """
        if not hasattr(self, "path"):
            self.path = self.mktemp()
        return self.path


class SQLContentTests(SQLStore, contracts.ContentContract, SynchronousTestCase):
    """Messages' octets."""


class SQLMailboxTests(SQLStore, contracts.MailboxContract, SynchronousTestCase):
    """Mailboxes."""


class SQLMovableMailboxTests(SQLStore, contracts.MovableMailboxContract, SynchronousTestCase):
    """MOVE."""


class SQLReplacingMailboxTests(SQLStore, contracts.ReplacingMailboxContract, SynchronousTestCase):
    """REPLACE."""


class SQLURLKeysTests(SQLStore, contracts.URLKeysContract, SynchronousTestCase):
    """Keys of mailboxes."""


class SQLAccountTests(SQLStore, contracts.AccountContract, SynchronousTestCase):
    """Accounts."""


class SQLAccessControlTests(SQLStore, contracts.AccessControlContract, SynchronousTestCase):
    """Sharing."""


class SQLDirectoryTests(SQLStore, contracts.DirectoryContract, SynchronousTestCase):
    """The directory."""


class SQLCredentialsTests(SQLStore, contracts.CredentialsContract, SynchronousTestCase):
    """Who may log in."""


class SQLLoginHistoryTests(SQLStore, contracts.LoginHistoryContract, SynchronousTestCase):
    """Recent logins."""


class SQLStoreTests(SQLStore, contracts.StoreContract, SynchronousTestCase):
    """The store."""


class SQLDurableTests(SQLStore, contracts.DurableStoreContract, SynchronousTestCase):
    """What is kept."""


class SQLSharedTests(SQLStore, contracts.SharedStoreContract, SynchronousTestCase):
    """Several processes."""
