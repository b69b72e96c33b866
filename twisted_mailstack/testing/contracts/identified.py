# -*- test-case-name: tests.storage.test_identified -*-
"""
What L{IIdentifiedMailbox} promises.
"""

from __future__ import annotations

from typing import cast

from twisted_mailstack.interfaces import IIdentifiedMailbox
from twisted_mailstack.model.address import Address
from twisted_mailstack.testing.contracts.base import StorageContract


class IdentifiedMailboxContract(StorageContract):
    """
    Objects of one mailbox are known as such.
    """

    def test_provides(self) -> None:
        """A mailbox that has an identity says so."""
        self.assertProvides(IIdentifiedMailbox, self.mailbox("INBOX"))

    def test_identity(self) -> None:
        """
        It is that of every object of the mailbox, by whatever name, and of no other mailbox, in
        this account or another, in this store or another; nor of one that gets the name later.
        """
        self.wait(self.account.createMailbox("a"))
        self.wait(self.account.createMailbox("b"))
        address = Address.parse("other@example.test")
        record = self.wait(self.store.directory.addAccount(address, None))
        accounts = self.account, self.wait(self.store.openAccount(record.accountId))
        names = (0, "INBOX"), (0, "a"), (0, "b"), (1, "INBOX")

        def identities() -> list[object]:
            return [
                cast(IIdentifiedMailbox, self.wait(accounts[which].openMailbox(name))).identity
                for which, name in names
            ]

        found = identities()
        self.assertEqual(len(set(found)), 4)
        self.assertEqual(identities(), found)
        self.wait(self.account.renameMailbox("b", "c"))
        renamed = self.wait(self.account.openMailbox("c"))
        self.assertEqual(cast(IIdentifiedMailbox, renamed).identity, found[2])
        self.wait(self.account.deleteMailbox("a"))
        self.wait(self.account.createMailbox("a"))
        again = self.wait(self.account.openMailbox("a"))
        self.assertNotIn(cast(IIdentifiedMailbox, again).identity, found)
