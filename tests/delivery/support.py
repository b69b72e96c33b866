"""
What the tests of delivery share: a store with two accounts, in memory, where the time of day stands
still.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.smtp.support import TODAY, WatchedStore, now
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import ConnectionInfo, Envelope, Recipient

INFO = ConnectionInfo("192.0.2.1", 50000, "smtp")
PREFIX = b"Return-Path: <s@far.test>\r\nDelivered-To: alice@example.test\r\n"


def envelope(
    reversePath: str | None = "s@far.test",
    authenticated: str | None = None,
    **parameters: str | None,
) -> Envelope:
    """
    @return: an envelope.
    """
    return Envelope(
        INFO,
        "client.test",
        None if reversePath is None else Address.parse(reversePath),
        None if authenticated is None else Address.parse(authenticated),
        parameters,
        "Q1",
    )


def to(address: str) -> Recipient:
    """
    @return: a recipient.
    """
    return Recipient(Address.parse(address), {})


class DirectoryTestCase(SynchronousTestCase):
    """
    A store with the domain example.test, in which alice and bob are.
    """

    def makeStore(self) -> WatchedStore:
        """
        @return: an empty one.
        """
        return WatchedStore(now=lambda: TODAY)

    def setUp(self) -> None:
        """Make it."""
        self.store = self.makeStore()
        self.directory = self.store.directory
        now(self.directory.addDomain("example.test"))
        for name in ("alice", "bob"):
            self.addAccount(f"{name}@example.test")

    def addAccount(self, address: str) -> None:
        """
        Make an account.
        """
        now(self.directory.addAccount(Address.parse(address), None))

    def alias(self, address: str, *targets: str) -> None:
        """
        Make an alias.
        """
        now(
            self.directory.setAlias(
                Address.parse(address), [Address.parse(target) for target in targets]
            )
        )

    def inbox(self, address: str) -> list[bytes]:
        """
        @return: the messages of an account.
        """
        record = now(self.directory.findAccount(Address.parse(address)))
        assert record is not None
        entries = self.store.accounts[record.accountId].boxes["INBOX"].entries
        return [entry.message.prefix + entry.message.data for entry in entries]
