# -*- test-case-name: tests.storage.test_memory -*-
"""
What L{IURLKeyStore} and L{IURLKeys} promise.
"""

from __future__ import annotations

from twisted_mailstack.errors import NoSuchMailbox
from twisted_mailstack.interfaces import IURLKeys, IURLKeyStore
from twisted_mailstack.testing.contracts.base import StorageContract


class URLKeysContract(StorageContract):
    """
    Keys of mailboxes (RFC 4467 §7).
    """

    def setUp(self) -> None:
        """
        Two mailboxes, and one of another account.
        """
        super().setUp()
        self.assertProvides(IURLKeyStore, self.store)
        self.keys: IURLKeys = IURLKeyStore(self.store).urlKeys
        self.assertProvides(IURLKeys, self.keys)
        self.inbox = self.mailbox("INBOX").mailboxId
        self.other = self.mailbox("other").mailboxId
        self.bob = self.addAccount("bob")
        self.bobs = self.mailbox("INBOX", self.bob).mailboxId

    def key(self, mailboxId: str, make: bool = False) -> bytes | None:
        """
        @return: a mailbox's key.
        """
        return self.wait(self.keys.key(mailboxId, make))

    def test_keys(self) -> None:
        """None before one is made; then always the same, long enough, and another for each."""
        self.assertIs(self.key(self.inbox), None)
        made = [self.key(each, True) for each in (self.inbox, self.other, self.bobs)]
        self.assertEqual(len(set(made)), 3)
        for mailbox, key in zip((self.inbox, self.other, self.bobs), made, strict=True):
            self.assertTrue(key is not None and len(key) >= 16)
            self.assertEqual(self.key(mailbox), key)
            self.assertEqual(self.key(mailbox, True), key)

    def test_forget(self) -> None:
        """A key that was forgotten never comes back."""
        before = self.key(self.inbox, True), self.key(self.other, True)
        self.wait(self.keys.forget(self.inbox))
        self.assertIs(self.key(self.inbox), None)
        self.assertEqual(self.key(self.other), before[1])
        self.assertNotEqual(self.key(self.inbox, True), before[0])

    def test_forgetAll(self) -> None:
        """Those of one account, of no other."""
        for each in (self.inbox, self.other):
            self.key(each, True)
        theirs = self.key(self.bobs, True)
        self.wait(self.keys.forgetAll(self.account.accountId))
        self.assertIs(self.key(self.inbox), None)
        self.assertIs(self.key(self.other), None)
        self.assertEqual(self.key(self.bobs), theirs)

    def test_missing(self) -> None:
        """What isn't there has none; forgetting it does nothing."""
        for mailboxId in ("", "nonsense", "M1-99999999999999999999"):
            self.assertIs(self.key(mailboxId), None)
            self.assertFails(self.keys.key(mailboxId, True), NoSuchMailbox)
            self.wait(self.keys.forget(mailboxId))
        self.wait(self.keys.forgetAll("nobody"))

    def test_deleted(self) -> None:
        """The key goes with its mailbox, and with its account."""
        self.key(self.other, True)
        self.key(self.bobs, True)
        self.wait(self.account.deleteMailbox("other"))
        self.wait(self.store.directory.removeAccount(self.bob.address))
        for each in (self.other, self.bobs):
            self.assertIs(self.key(each), None)
            self.assertFails(self.keys.key(each, True), NoSuchMailbox)
        self.assertSound()
