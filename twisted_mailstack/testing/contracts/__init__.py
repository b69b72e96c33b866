"""
Tests for whoever implements the interfaces of storage (L{twisted_mailstack.interfaces}): each
sentence of an interface's docstring is a test of its contract. Subclass those that your store
provides, next to a C{SynchronousTestCase} of trial's, and say how a store is made::

    from twisted.trial.unittest import SynchronousTestCase
    from twisted_mailstack.testing import contracts

    class MyStore:
        def makeStore(self):
            return MyMailStore(...)

    class MyMailboxTests(MyStore, contracts.MailboxContract, SynchronousTestCase):
        pass

A store that does work in threads reports to C{self.calls.callFromThread}; its clock is
C{self.clock} and the time C{self.now}. C{makeStore} may be called again within a test, and then
makes another object for the same store; only L{DurableStoreContract}, L{SharedStoreContract} and
the same of the spool do that.
"""

from twisted_mailstack.testing.contracts.account import AccountContract
from twisted_mailstack.testing.contracts.annotations import (
    MetadataAccountContract,
    SpecialUseAccountContract,
    SurveyableAccountContract,
)
from twisted_mailstack.testing.contracts.base import CallQueue, StorageContract
from twisted_mailstack.testing.contracts.content import ContentContract
from twisted_mailstack.testing.contracts.credentials import CredentialsContract
from twisted_mailstack.testing.contracts.directory import DirectoryContract
from twisted_mailstack.testing.contracts.identified import IdentifiedMailboxContract
from twisted_mailstack.testing.contracts.logins import LoginHistoryContract
from twisted_mailstack.testing.contracts.mailbox import (
    MailboxContract,
    MovableMailboxContract,
    SearchableAccountContract,
    SearchableMailboxContract,
)
from twisted_mailstack.testing.contracts.maildrop import MaildropAccountContract
from twisted_mailstack.testing.contracts.memory import KeyedMemoryContract
from twisted_mailstack.testing.contracts.messageannotations import AnnotatedMailboxContract
from twisted_mailstack.testing.contracts.replacing import ReplacingMailboxContract
from twisted_mailstack.testing.contracts.sharing import AccessControlContract
from twisted_mailstack.testing.contracts.sorting import SortingMailboxContract
from twisted_mailstack.testing.contracts.spool import (
    DurableSpoolContract,
    SharedSpoolContract,
    SpoolContract,
)
from twisted_mailstack.testing.contracts.store import (
    DurableStoreContract,
    SharedStoreContract,
    StoreContract,
)
from twisted_mailstack.testing.contracts.urlkeys import URLKeysContract

__all__ = [
    "AccessControlContract",
    "AccountContract",
    "AnnotatedMailboxContract",
    "CallQueue",
    "ContentContract",
    "CredentialsContract",
    "DirectoryContract",
    "DurableSpoolContract",
    "DurableStoreContract",
    "IdentifiedMailboxContract",
    "KeyedMemoryContract",
    "LoginHistoryContract",
    "MailboxContract",
    "MaildropAccountContract",
    "MetadataAccountContract",
    "MovableMailboxContract",
    "ReplacingMailboxContract",
    "SearchableAccountContract",
    "SearchableMailboxContract",
    "SharedSpoolContract",
    "SharedStoreContract",
    "SortingMailboxContract",
    "SpecialUseAccountContract",
    "SpoolContract",
    "StorageContract",
    "StoreContract",
    "SurveyableAccountContract",
    "URLKeysContract",
]
