"""
From the spool into accounts.
"""

from __future__ import annotations

from typing import Any

from zope.interface.verify import verifyObject

from tests.delivery.support import DirectoryTestCase, staged
from tests.smtp.support import TODAY, now
from twisted_mailstack.delivery.dispatch import Dispatch
from twisted_mailstack.delivery.localrelay import LocalRelay
from twisted_mailstack.delivery.notification import Notifier
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.errors import MessageExpunged
from twisted_mailstack.interfaces import IRelay, IRelayConnection
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.queue import (
    DELIVERED,
    EXPANDED,
    LOCAL,
    AttemptResult,
    QueuedMessage,
    QueuedRecipient,
    QueueFilter,
)

TEXT = b"Subject: x\r\n\r\nbody\r\n"


class LocalRelayTests(DirectoryTestCase):
    """
    L{LocalRelay}.
    """

    def setUp(self) -> None:
        """Make it."""
        super().setUp()
        self.spool: Any = self.store.spool
        dispatch = Dispatch(now=lambda: TODAY)
        self.notifier = Notifier(
            self.spool,
            self.store.newContent,
            Resolver(self.directory),
            dispatch,
            "mx.example.test",
            now=lambda: TODAY,
        )
        self.relay = LocalRelay(self.spool, self.directory, dispatch, self.notifier)

    def queue(
        self, *recipients: str, text: bytes = TEXT, notify: str | None = None
    ) -> QueuedMessage:
        """
        @return: a message of bob's that waits for accounts.
        """
        parameters: dict[str, str | None] = {} if notify is None else {"NOTIFY": notify}
        message = QueuedMessage(
            "Q1",
            Address("bob", "example.test"),
            {},
            b"X-Added: 1\r\n",
            TODAY,
            TODAY + 1000,
            tuple(
                QueuedRecipient(number, Address.parse(each), parameters, LOCAL, TODAY, TODAY)
                for number, each in enumerate(recipients)
            ),
        )
        now(self.spool.accept(staged(self.store, text), [], 0, message))
        return now(self.spool.select(QueueFilter(), 100))[-1]

    def send(self, message: QueuedMessage) -> list[AttemptResult]:
        """
        @return: the results.
        """
        connection = now(self.relay.connect(LOCAL, message))
        self.assertTrue(connection.accepts(message))
        content = now(self.spool.openContent(message.spoolId))
        results = list(now(connection.send(message, content)))
        now(connection.close())
        return results

    def waiting(self) -> list[str]:
        """
        @return: who is in the spool.
        """
        return [
            str(each.address)
            for message in now(self.spool.select(QueueFilter(), 100))
            for each in message.recipients
        ]

    def test_provides(self) -> None:
        """It is a relay and a connection."""
        self.assertTrue(verifyObject(IRelay, self.relay))
        self.assertTrue(verifyObject(IRelayConnection, self.relay))
        self.assertEqual(self.relay.destinationOf(None, Address("a", "b.test")), LOCAL)

    def test_delivered(self) -> None:
        """A copy as final delivery makes it (RFC 5321 §4.4), and the recipient is final at once."""
        (result,) = self.send(self.queue("alice@example.test"))
        self.assertTrue(result.delivered)
        self.assertEqual(
            self.inbox("alice@example.test"),
            [
                b"Return-Path: <bob@example.test>\r\nDelivered-To: alice@example.test\r\n"
                b"X-Added: 1\r\n" + TEXT
            ],
        )
        self.assertEqual(self.waiting(), [])

    def test_each(self) -> None:
        """Each recipient has its own result: delivered, still no room, no longer there."""
        now(self.directory.setQuota(Address("bob", "example.test"), None, 0))
        results = self.send(
            self.queue("nobody@example.test", "alice@example.test", "bob@example.test")
        )
        self.assertEqual(
            [(each.code, each.enhancedStatus, each.remote) for each in results],
            [(550, "5.1.1", ""), (250, "2.1.5", ""), (452, "4.2.2", "")],
        )
        self.assertEqual(self.waiting(), ["nobody@example.test", "bob@example.test"])

    def test_success(self) -> None:
        """
        Whose sender wishes to know of success waits for that from the moment that the copy is
        there, and is reported as delivered; not by whoever made the copy.
        """
        (result,) = self.send(self.queue("alice@example.test", notify="SUCCESS"))
        self.assertTrue(result.notifies)
        for destination, said in ((DELIVERED, "Delivered"), (EXPANDED, "Expanded")):
            (message,) = now(self.spool.select(QueueFilter(), 100))
            (recipient,) = message.recipients
            self.assertEqual(
                (str(recipient.address), recipient.destination, recipient.nextAttempt),
                ("alice@example.test", DELIVERED, TODAY),
            )
            recipient = recipient._replace(destination=destination)
            (result,) = self.send(message._replace(recipients=(recipient,)))
            self.assertEqual(
                (result.code, result.enhancedStatus, result.text), (250, "2.1.5", said)
            )
            self.assertFalse(result.notifies or result.remote)
        self.assertEqual(len(self.inbox("alice@example.test")), 1)

    def test_via(self) -> None:
        """
        Delivered-To has the address by which the account was reached (RFC 9228), as in a copy that
        is made at once; and no second one, which is in front of what was passed on to others.
        """
        message = self.queue("alice@example.test")
        (recipient,) = message.recipients
        message = message._replace(
            prefix=b"Delivered-To: team@example.test\r\nX-Added: 1\r\n",
            recipients=(recipient._replace(via=Address("Team", "example.test")),),
        )
        self.assertTrue(self.send(message)[0].delivered)
        self.assertEqual(
            self.inbox("alice@example.test"),
            [
                b"Return-Path: <bob@example.test>\r\nDelivered-To: Team@example.test\r\n"
                b"X-Added: 1\r\n" + TEXT
            ],
        )

    def test_noSuccess(self) -> None:
        """Nobody is told of what didn't happen, or didn't wish to know."""
        now(self.directory.setQuota(Address("alice", "example.test"), None, 0))
        self.send(self.queue("alice@example.test", notify="SUCCESS"))
        now(self.directory.setQuota(Address("alice", "example.test"), None, None))
        self.send(self.queue("alice@example.test", notify="FAILURE"))
        self.assertEqual(len(self.inbox("alice@example.test")), 1)
        self.assertEqual(self.waiting(), ["alice@example.test"])

    def test_removedMeanwhile(self) -> None:
        """A message that is gone is delivered to nobody."""
        message = self.queue("alice@example.test")
        content = now(self.spool.openContent(message.spoolId))
        now(self.spool.delete(QueueFilter()))
        self.assertRaises(MessageExpunged, now, self.relay.send(message, content))
        self.assertEqual(self.inbox("alice@example.test"), [])

    def test_twice(self) -> None:
        """What was placed already isn't placed again."""
        message = self.queue("alice@example.test", "nobody@example.test")
        self.send(message)
        self.assertTrue(self.send(message)[0].delivered)
        self.assertEqual(len(self.inbox("alice@example.test")), 1)
