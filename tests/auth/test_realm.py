"""
From an accountId to an account.
"""

from __future__ import annotations

from twisted.cred.portal import IRealm
from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface
from zope.interface.verify import verifyObject

from twisted_mailstack.auth.realm import MailRealm
from twisted_mailstack.errors import NoSuchAccount
from twisted_mailstack.interfaces import IAccount, ISharingAccount
from twisted_mailstack.model.address import Address
from twisted_mailstack.storage.memory import MemoryMailStore


class RealmTests(SynchronousTestCase):
    """
    L{MailRealm}.
    """

    def setUp(self) -> None:
        """A store with Alice."""
        self.store = MemoryMailStore()
        self.realm = MailRealm(self.store)
        directory = self.store.directory
        self.successResultOf(ensureDeferred(directory.addDomain("example.test")))
        self.alice = self.successResultOf(
            ensureDeferred(directory.addAccount(Address("alice", "example.test"), None))
        )

    def test_interface(self) -> None:
        """It is a realm of cred."""
        verifyObject(IRealm, self.realm)

    def test_account(self) -> None:
        """The avatar is the account of the store; logging out may be done more than once."""
        interface, account, logout = self.successResultOf(
            self.realm.requestAvatar(self.alice.accountId.encode(), None, Interface, IAccount)
        )
        self.assertIs(interface, IAccount)
        verifyObject(IAccount, account)
        self.assertEqual(str(account.address), "alice@example.test")
        logout()
        logout()

    def test_sharing(self) -> None:
        """The avatar has what others share; administrators are known in any spelling."""
        for administrators, expected in (((), False), ((Address("ALICE", "example.test"),), True)):
            realm = MailRealm(self.store, administrators)
            _, account, _ = self.successResultOf(
                realm.requestAvatar(self.alice.accountId.encode(), None, IAccount)
            )
            self.assertTrue(ISharingAccount.providedBy(account))
            self.assertIs(account.administrator, expected)

    def test_otherInterfaces(self) -> None:
        """It has nothing else to give."""
        self.assertRaises(NotImplementedError, self.realm.requestAvatar, b"A1", None, Interface)

    def test_gone(self) -> None:
        """An account that was removed after its password was checked is gone; so is nobody's."""
        for avatarId in (b"A99", ()):
            self.failureResultOf(self.realm.requestAvatar(avatarId, None, IAccount), NoSuchAccount)
