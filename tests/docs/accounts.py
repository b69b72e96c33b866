"""
A store in memory with two accounts and a portal that asks no hash: what the examples run on.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable
from typing import TypeVar

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.auth.realm import MailRealm
from twisted_mailstack.interfaces import IAccount, IMailStore
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.flags import NO_FLAGS
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.testing.conversation import Conversation, FakeWire

T = TypeVar("T")
ALICE = Address("alice", "example.test")
BOB = Address("bob", "example.test")
PASSWORD = b"correct horse"
PLAIN = b64encode(b"\0alice\0" + PASSWORD).decode()


class AccountsTestCase(SynchronousTestCase):
    """
    Alice and Bob, each with INBOX and the usual mailboxes.

    @ivar store: theirs; C{portal} lets Alice in as C{alice} with L{PASSWORD}.
    """

    def makeStore(self) -> IMailStore:
        """
        @return: an empty store.
        """
        return MemoryMailStore()

    def setUp(self) -> None:
        """Make the accounts."""
        self.store = self.makeStore()
        self.run_(self.store.directory.addDomain(ALICE.domain))
        self.alice, self.bob = (
            self.run_(self.store.directory.addAccount(address, None)).accountId
            for address in (ALICE, BOB)
        )
        checker = _Checker(alice=PASSWORD)
        checker.accounts = {b"alice": self.alice.encode()}
        self.portal = Portal(MailRealm(self.store), (checker,))

    def run_(self, awaitable: Awaitable[T]) -> T:
        """
        @return: the result of something that has to be there at once.
        """

        async def wait() -> T:
            return await awaitable

        return self.successResultOf(ensureDeferred(wait()))

    def account(self, accountId: str) -> IAccount:
        """
        @return: one of the accounts.
        """
        return self.run_(self.store.openAccount(accountId))

    def put(self, *messages: bytes, accountId: str | None = None) -> None:
        """
        Put messages into an INBOX, Alice's if none is named.
        """
        account = self.account(accountId or self.alice)
        inbox = self.run_(account.openMailbox("INBOX"))
        for octets in messages:
            writer = account.newContent()
            writer.write(octets)
            staged = self.run_(writer.finish())
            self.run_(inbox.append([(staged, NO_FLAGS, 1_700_000_000, 0)]))

    def inbox(self, accountId: str | None = None) -> list[bytes]:
        """
        @return: the messages in an INBOX, Alice's if none is named.
        """
        inbox = self.run_(self.account(accountId or self.alice).openMailbox("INBOX"))
        found = []
        for uid in self.run_(inbox.changesSince(0)).uids:
            content = self.run_(inbox.openMessage(uid))
            found.append(self.run_(content.read(0, content.size)))
        return found


class _Checker(InMemoryUsernamePasswordDatabaseDontUse):
    accounts: dict[bytes, bytes]

    def requestAvatarId(self, credentials: object) -> Deferred[bytes]:
        """The account's id for the name."""
        found: Deferred[bytes] = super().requestAvatarId(credentials)
        return found.addCallback(lambda name: self.accounts[name])


def secureWire() -> FakeWire:
    """
    @return: a connection that is under TLS.
    """
    return FakeWire(secure=True)


__all__ = [
    "ALICE",
    "BOB",
    "PASSWORD",
    "PLAIN",
    "AccountsTestCase",
    "Conversation",
    "FakeWire",
    "secureWire",
]
