"""
The avatar: C{twisted_mailstack.sharing.account}. What IMAP makes of it: C{tests.imap.test_acl}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface, alsoProvides
from zope.interface.verify import verifyObject

from tests.storage.test_memory import MemoryStore
from tests.storage.test_sql import SQLStore
from twisted_mailstack.errors import AccessDenied, CannotDoThat, MailError, NoSuchMailbox
from twisted_mailstack.interfaces import IAccount, IMailbox, ISharingAccount
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.flags import FlagOperation
from twisted_mailstack.model.mailboxname import normaliseName
from twisted_mailstack.sharing.account import SharingAccount, ownerLevel
from twisted_mailstack.sharing.mailbox import SharedMailbox
from twisted_mailstack.testing import contracts

ROOT = "Other Users/alice@example.test"


class AvatarAccountTests(MemoryStore, contracts.AccountContract, SynchronousTestCase):
    """
    To its owner an avatar is the account itself.
    """

    def addAccount(self, localPart: str) -> IAccount:
        """See L{contracts.StorageContract}."""
        store: Any = self.store
        return SharingAccount(super().addAccount(localPart), store)


class Shared(contracts.StorageContract):
    """
    Alice shares with Bob.

    @cvar viewer: Bob's name.
    """

    viewer = "bob"

    def setUp(self) -> None:
        """Alice has Work; Bob has an avatar."""
        super().setUp()
        self.work = self.mailbox("Work")
        self.bob = self.avatar(self.viewer)

    def avatar(self, localPart: str, **more: Any) -> Any:
        """
        @return: the avatar of a new account.
        """
        return SharingAccount(self.addAccount(localPart), self.sharing(), **more)

    def sharing(self) -> Any:
        """
        @return: the store.
        """
        return self.store

    def grant(
        self, rights: str, mailbox: IMailbox | None = None, identifier: str = "bob@example.test"
    ) -> None:
        """
        Replace somebody's rights, Bob's in Work if nothing is said.
        """
        mailboxId = (mailbox or self.work).mailboxId
        control = self.sharing().sharing
        self.wait(control.change(mailboxId, identifier, FlagOperation.REPLACE, frozenset(rights)))


class SharingTests(Shared):
    """
    What others see, over any store.
    """

    def test_provides(self) -> None:
        """It is what its interface says, and provides what the storage's account provides."""
        self.assertTrue(verifyObject(ISharingAccount, self.bob))

        class IMore(Interface):
            """Something that this storage can do."""

        alsoProvides(self.account, IMore)
        self.account.more = "more"  # type: ignore[attr-defined]
        avatar: Any = SharingAccount(self.account, self.sharing())
        self.assertTrue(IMore.providedBy(avatar))
        self.assertEqual(avatar.more, "more")
        self.assertRaises(AttributeError, lambda: avatar.less)

    def test_ownIsBare(self) -> None:
        """One's own mailboxes are the storage's: they cost nothing more."""
        own = self.wait(self.bob.openMailbox("INBOX"))
        self.assertIs(type(own), type(self.work))
        self.assertIs(type(self.wait(self.bob.openMailbox("INBOX"))), type(own))

    def test_escaped(self) -> None:
        """Whatever an address has in it, it is one level of a name, and another for each."""
        addresses = [
            Address(localPart, "example.test")
            for localPart in ("a/b", "a=2Fb", "a=b", "a=3Db", 'a"b', "a b", "a%b", "é", "INBOX")
        ]
        levels = [ownerLevel(address) for address in addresses]
        self.assertEqual(len(set(levels)), len(addresses))
        for level in levels:
            self.assertNotIn("/", level)
            self.assertEqual(normaliseName(f"Other Users/{level}/x"), f"Other Users/{level}/x")

    def test_slash(self) -> None:
        """Mailboxes of an account with a delimiter in its address are found, under one name."""
        odd = self.addAccount("sales/support=eu")
        self.grant("lr", self.mailbox("INBOX", odd))
        name = "Other Users/sales=2Fsupport=3Deu@example.test"
        self.assertIn(name, [info.name for info in self.wait(self.bob.listMailboxes())])
        self.wait(self.bob.openMailbox(name))
        for other in (
            *(
                "Other Users/sales=2Fsupport=eu@example.test",
                "Other Users/sales/support=eu@example.test",
            ),
            *(name.upper(), name.replace("sales", "Sales"), "Other Users/", "Other Users//x"),
        ):
            self.assertFails(self.bob.openMailbox(other), NoSuchMailbox)

    def test_ownName(self) -> None:
        """One isn't among the others."""
        self.grant("lr", self.mailbox("INBOX", self.bob.own), "anyone")
        self.grant("lr", identifier="anyone")
        names = [info.name for info in self.wait(self.bob.listMailboxes())]
        self.assertEqual([name for name in names if name.startswith("Other")], [f"{ROOT}/Work"])
        self.assertFails(self.bob.openMailbox("Other Users/bob@example.test"), NoSuchMailbox)

    def test_statuses(self) -> None:
        """The numbers of all mailboxes have those of others that may be read, and no more."""
        self.append(self.work)
        hidden = self.mailbox("Hidden")
        self.grant("lr")
        self.grant("l", hidden)
        found = self.wait(self.bob.statuses())
        self.assertEqual(found[self.work.mailboxId].messages, 1)
        self.assertNotIn(hidden.mailboxId, found)
        self.assertEqual(len(found), len(self.wait(self.bob.own.listMailboxes())) + 1)

    def test_metadata(self) -> None:
        """
        Entries of others' mailboxes need l and another right; private ones are one's own, and what
        all see takes w (RFC 5464 §3.3).
        """
        name = f"{ROOT}/Work"
        both = {"/private/comment": b"mine", "/shared/comment": b"all"}
        self.wait(self.account.setMetadata("Work", both, 10))  # type: ignore[attr-defined]
        for rights, error in (("", NoSuchMailbox), ("rw", NoSuchMailbox), ("lk", AccessDenied)):
            self.grant(rights)
            self.assertFails(self.bob.getMetadata(name, both), error)
            self.assertFails(self.bob.metadataSizes(name), error)
            self.assertFails(self.bob.setMetadata(name, {"/private/x": b""}, 10), error)
        self.grant("lr")
        self.assertEqual(self.wait(self.bob.getMetadata(name, both)), {"/shared/comment": b"all"})
        self.wait(self.bob.setMetadata(name, {"/private/comment": b"bob's"}, 10))
        self.assertEqual(
            self.wait(self.bob.getMetadata(name, both)),
            {"/private/comment": b"bob's", "/shared/comment": b"all"},
        )
        self.assertEqual(
            self.wait(self.account.getMetadata("Work", both)),  # type: ignore[attr-defined]
            both,
        )
        self.assertFails(self.bob.setMetadata(name, {"/shared/comment": b""}, 10), AccessDenied)
        self.grant("lrw")
        self.wait(self.bob.setMetadata(name, {"/shared/comment": b"new"}, 10))
        self.assertEqual(
            self.wait(self.bob.metadataSizes(name)),
            {"/private/comment": 5, "/shared/comment": 3},
        )
        self.wait(self.bob.setMetadata("INBOX", {"/private/comment": b"x"}, 10))
        self.assertEqual(self.wait(self.bob.metadataSizes("INBOX")), {"/private/comment": 1})

    def test_specialUse(self) -> None:
        """Only owners give special uses."""
        self.grant("lk")
        error = self.assertFails(
            self.bob.createMailbox(f"{ROOT}/Work/x", "\\Archive"), CannotDoThat
        )
        self.assertEqual(error.imapCode, "USEATTR")

    def test_placeholder(self) -> None:
        """A name that only holds children is nothing that others see."""
        below = self.mailbox("Work/Below")
        self.grant("lrk")
        self.grant("lr", below)
        self.wait(self.account.deleteMailbox("Work"))
        names = [info.name for info in self.wait(self.bob.listMailboxes())]
        self.assertEqual([name for name in names if "/" in name], [f"{ROOT}/Work/Below"])
        self.assertFails(self.bob.openMailbox(f"{ROOT}/Work"), NoSuchMailbox)
        self.assertFails(self.bob.createMailbox(f"{ROOT}/Work/x"), AccessDenied)

    def test_watch(self) -> None:
        """
        Who watches is told of changes of his own mailboxes, and of those of others that he may see:
        of what is in them, of their list, and of his rights.
        """
        told: list[str] = []
        stop = self.bob.watch(told.append)

        def news(awaitable: Any) -> set[str]:
            del told[:]
            self.wait(awaitable)
            return set(told)

        def deliver(mailbox: IMailbox) -> set[str]:
            del told[:]
            self.append(mailbox)
            return set(told)

        own = self.mailbox("INBOX", self.bob.own)
        self.assertEqual(deliver(own), {own.mailboxId})
        self.assertEqual(deliver(self.work), set())
        self.grant("lr")
        self.assertIn("", told)
        self.assertEqual(deliver(self.work), {self.work.mailboxId})
        self.assertEqual(deliver(self.mailbox("Sent")), set())
        self.assertEqual(news(self.account.createMailbox("Elsewhere")), set())
        self.assertIn("", news(self.account.createMailbox("Work/Below")))
        self.assertIn("", news(self.account.renameMailbox("Work", "Done")))
        self.grant("l")
        self.assertIn("", told)
        self.assertIn("", news(self.account.deleteMailbox("Done")))
        below = self.mailbox("Done/Below")
        self.assertEqual(deliver(below), {below.mailboxId})
        self.grant("", below)
        self.assertEqual(deliver(below), set())
        stop()
        stop()
        self.grant("lr", below)
        self.assertEqual((deliver(below), deliver(own)), (set(), set()))

    def test_ownerRemoved(self) -> None:
        """With the owner's account all of it is gone."""
        self.grant("lra")
        opened = self.wait(self.bob.openMailbox(f"{ROOT}/Work"))
        self.wait(self.store.directory.removeAccount(self.address("alice")))
        for call in (
            *(opened.status(), self.bob.openMailbox(f"{ROOT}/Work"), opened.expunge(None)),
            *(self.bob.accessList(f"{ROOT}/Work"), self.bob.rights(f"{ROOT}/Work")),
        ):
            self.assertFails(call, NoSuchMailbox)

    def test_quotas(self) -> None:
        """Only an administrator sets quotas, and sees everybody's."""
        self.assertFails(self.bob.setQuota("alice@example.test", 1, 2, 3), AccessDenied)
        self.assertFails(self.bob.setQuota("bob@example.test", 1, 2, 3), AccessDenied)
        admin = self.avatar("admin", administrator=True)
        self.wait(admin.setQuota("alice@example.test", 1, 2, 30, 4))
        quota, mailboxes, annotations = self.wait(admin.quotaOf("alice@example.test"))
        self.assertEqual((quota.octetLimit, quota.messageLimit, mailboxes[1]), (1, 2, 30))
        self.assertEqual(annotations, (0, 4))
        self.assertFails(admin.setQuota("nobody@example.test", 1, 2, 3), MailError)

    def test_addressAgain(self) -> None:
        """Who gets an address that somebody had before has none of the other's rights."""
        self.grant("lr")
        self.wait(self.store.directory.removeAccount(self.address("bob")))
        bob = self.avatar("bob")
        self.assertFails(bob.openMailbox(f"{ROOT}/Work"), NoSuchMailbox)


class MemorySharingTests(MemoryStore, SharingTests, SynchronousTestCase):
    """In memory."""


class SQLSharingTests(SQLStore, SharingTests, SynchronousTestCase):
    """In SQL."""

    def test_otherProcess(self) -> None:
        """What another process grants and takes away holds at once, and is told soon."""
        told: list[str] = []
        self.bob.watch(told.append)
        self.grant("l")
        opened = self.wait(self.bob.openMailbox(f"{ROOT}/Work"))
        elsewhere: Any = self.startStore()
        for rights, error in (("lr", None), ("l", AccessDenied), ("", NoSuchMailbox)):
            del told[:]
            change = elsewhere.sharing.change(
                self.work.mailboxId,
                "bob@example.test",
                FlagOperation.REPLACE,
                frozenset(rights),
            )
            self.wait(change)
            if error is None:
                self.wait(opened.status())
            else:
                self.assertFails(opened.status(), error)
            self.waitUntil(lambda: "" in told)


class FullRights(Shared):
    """
    Bob may do everything in all of Alice's mailboxes, and the tests use them as he does.
    """

    # The contracts have a Bob of their own.
    viewer = "zoe"

    def mailbox(self, name: str, account: IAccount | None = None) -> IMailbox:
        """See L{contracts.StorageContract}."""
        opened = super().mailbox(name, account)
        if account in (None, self.account) and hasattr(self, "bob"):
            self.grant("lrswipkxtea", opened, f"{self.viewer}@example.test")
            visible = ROOT if name == "INBOX" else f"{ROOT}/{name}"
            found: IMailbox = self.wait(self.bob.openMailbox(visible))
            assert isinstance(found, SharedMailbox)
            return found
        return opened
