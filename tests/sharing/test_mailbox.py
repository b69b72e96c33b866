"""
A mailbox of another account: C{twisted_mailstack.sharing.mailbox}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface, alsoProvides
from zope.interface.verify import verifyObject

from tests.sharing.test_account import ROOT, FullRights, Shared
from tests.storage.test_memory import MemoryStore
from tests.storage.test_sql import SQLStore
from twisted_mailstack.errors import AccessDenied, NoSuchMailbox
from twisted_mailstack.interfaces import (
    IMovableMailbox,
    IReceivingMailbox,
    IRestrictedMailbox,
    ISearchableMailbox,
)
from twisted_mailstack.model.flags import FlagOperation
from twisted_mailstack.testing import contracts
from twisted_mailstack.testing.contracts.base import EVERYTHING


class MemorySharedMailboxTests(
    FullRights, MemoryStore, contracts.MailboxContract, SynchronousTestCase
):
    """With all rights it is like one's own."""


class SQLSharedMailboxTests(FullRights, SQLStore, contracts.MailboxContract, SynchronousTestCase):
    """With all rights it is like one's own."""


class AbilityTests(Shared, MemoryStore, SynchronousTestCase):
    """
    What others can do with the abilities of a storage.
    """

    def open(self) -> Any:
        """
        @return: Work as Bob sees it.
        """
        return self.wait(self.bob.openMailbox(f"{ROOT}/Work"))

    def test_provides(self) -> None:
        """It is what its interfaces say."""
        self.grant("lr")
        opened = self.open()
        for interface in (IRestrictedMailbox, IReceivingMailbox, IMovableMailbox):
            self.assertTrue(verifyObject(interface, opened))
        self.assertIs(opened.account, self.bob)

    def test_reading(self) -> None:
        """Abilities that only read are there for who may read."""
        inner: Any = self.work
        alsoProvides(inner, ISearchableMailbox)

        async def candidates(*arguments: Any) -> Any:
            return arguments

        for name in ISearchableMailbox:
            setattr(inner, name, candidates)
        self.patch(self.account, "openMailbox", lambda name: _already(inner))
        self.grant("lr")
        opened = self.open()
        self.assertTrue(ISearchableMailbox.providedBy(opened))
        self.assertEqual(self.wait(opened.candidates(["x"])), (["x"],))
        self.grant("l")
        self.assertFails(opened.candidates(["x"]), AccessDenied)
        self.grant("")
        self.assertFails(opened.candidates(["x"]), NoSuchMailbox)

    def test_unknown(self) -> None:
        """An ability that nobody has thought about is not there for others."""

        class IDangerous(Interface):
            """Something new."""

        inner: Any = self.work
        alsoProvides(inner, IDangerous)
        inner.destroy = lambda: None
        self.patch(self.account, "openMailbox", lambda name: _already(inner))
        self.grant("lrswipkxtea")
        opened = self.open()
        self.assertFalse(IDangerous.providedBy(opened))
        self.assertRaises(AttributeError, lambda: opened.destroy)

    def test_onlyDeleted(self) -> None:
        r"""Who removes messages that aren't C{\Deleted} needs the right to make them so."""
        uid = self.append(self.work)
        for rights in ("lre", "lrt"):
            self.grant(rights)
            self.assertFails(self.open().expunge(self.numbers(uid), False), AccessDenied)
        self.grant("lrte")
        self.assertEqual(self.wait(self.open().expunge(self.numbers(uid), False)), [uid])

    def test_changesUnread(self) -> None:
        """Who can't read a mailbox changes nothing in it, and learns no more than from LIST."""
        self.append(self.work, flags=("\\Deleted",))
        self.grant("l")
        opened = self.open()
        for rights, error in (("l", AccessDenied), ("k", NoSuchMailbox), ("", NoSuchMailbox)):
            self.grant(rights)
            for call in (
                opened.expunge(None),
                opened.expunge(EVERYTHING, False),
                opened.moveMessages(EVERYTHING, self.mailbox("INBOX", self.bob.own)),
                opened.storeFlags(EVERYTHING, FlagOperation.ADD, frozenset(("\\Seen",))),
                opened.claimRecent(),
                opened.append([]),
            ):
                self.assertFails(call, error)
        self.assertEqual(self.flags(self.work), {1: {"\\Deleted"}})

    def test_neitherSide(self) -> None:
        """Both sides of a copy are looked at; nothing is copied if one refuses."""
        self.append(self.work)
        carol = self.addAccount("carol")
        target = self.mailbox("INBOX", carol)
        name = "Other Users/carol@example.test"
        self.grant("l", target)
        self.grant("lr")
        destination = self.wait(self.bob.openMailbox(name))
        self.assertFails(self.open().copyMessages(EVERYTHING, destination), AccessDenied)
        self.grant("li", target)
        self.grant("l")
        self.assertFails(self.open().copyMessages(EVERYTHING, destination), AccessDenied)
        self.assertEqual(self.uids(target), [])
        self.grant("lr")
        self.wait(self.open().copyMessages(EVERYTHING, destination))
        self.assertEqual(self.uids(target), [1])
        self.assertFails(self.open().moveMessages(EVERYTHING, destination), AccessDenied)
        self.assertEqual(self.uids(self.work), [1])


async def _already(value: Any) -> Any:
    return value
