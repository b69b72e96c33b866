"""
Where a message's recipients go.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.delivery.support import to
from tests.smtp.support import TODAY, UnreachableRelay
from twisted_mailstack.delivery.dispatch import LIFETIME, WARN_AFTER, Dispatch
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.mailboxname import INBOX
from twisted_mailstack.model.queue import LOCAL, QueuedMessage
from twisted_mailstack.model.records import AccountRecord

SENDER = Address("s", "near.test")


class PlacementTests(SynchronousTestCase):
    """
    L{Dispatch.placement}.
    """

    def test_final(self) -> None:
        """
        Final delivery puts Return-Path in front (RFC 5321 §4.4), Delivered-To, and what policies
        add.
        """
        account = AccountRecord("A1", Address("alice", "example.test"))
        for path, line in ((SENDER, b"<s@near.test>"), (None, b"<>")):
            placement = Dispatch().placement(
                account, Address("alice+x", "example.test"), path, b"X-A: 1\r\n"
            )
            self.assertEqual((placement.accountId, placement.mailbox), ("A1", INBOX))
            self.assertEqual(
                placement.prefix,
                b"Return-Path: " + line + b"\r\nDelivered-To: alice+x@example.test\r\nX-A: 1\r\n",
            )


class QueuedTests(SynchronousTestCase):
    """
    L{Dispatch.queued}.
    """

    def queued(self, dispatch: Dispatch | None = None, **arguments: Any) -> QueuedMessage:
        """
        @return: a message for somebody elsewhere and an account.
        """
        dispatch = dispatch or Dispatch(UnreachableRelay(), now=lambda: TODAY + 0.9)
        recipients = [
            (to("a@far.test"), None),
            (to("alice@example.test"), Address("team", "example.test")),
        ]
        return dispatch.queued("Q1", SENDER, {"RET": "HDRS"}, recipients, **arguments)

    def test_values(self) -> None:
        """What is known of it goes along; its times are whole seconds."""
        message = self.queued(added=b"X-A: 1\r\n", origin="192.0.2.1", priority=4)
        self.assertEqual(
            message[:7],
            (
                *("Q1", SENDER, {"RET": "HDRS"}, b"X-A: 1\r\n"),
                *(TODAY, TODAY + LIFETIME, message.recipients),
            ),
        )
        self.assertEqual((message.priority, message.origin), (4, "192.0.2.1"))
        self.assertEqual(
            [
                (each.number, str(each.address), each.destination, each.nextAttempt, each.checkAt)
                for each in message.recipients
            ],
            [
                (0, "a@far.test", "far.test", TODAY, TODAY + WARN_AFTER),
                (1, "alice@example.test", LOCAL, TODAY, TODAY + WARN_AFTER),
            ],
        )

    def test_routes(self) -> None:
        """The relay says whom a recipient waits for, by sender and address."""
        relay = UnreachableRelay()
        self.patch(relay, "destinationOf", lambda path, address: f"{path}>{address.domain}")
        message = self.queued(Dispatch(relay))
        self.assertEqual(
            [each.destination for each in message.recipients], ["s@near.test>far.test", LOCAL]
        )

    def test_via(self) -> None:
        """By which address an account was reached is kept if it is another than its own."""
        self.assertEqual(
            [each.via for each in self.queued().recipients], [None, Address("team", "example.test")]
        )
        address = Address("alice", "example.test")
        message = Dispatch().queued("Q1", SENDER, {}, [(to(str(address)), address)])
        self.assertIsNone(message.recipients[0].via)

    def test_noRelay(self) -> None:
        """Without one (it was switched off) its domain."""
        self.assertEqual(self.queued(Dispatch()).recipients[0].destination, "far.test")

    def test_times(self) -> None:
        """
        Not before a time means that expiry and warning are as much later; a deadline may be
        earlier than the usual one, and never later (RFC 2852 §3).
        """
        for arguments, times in (
            ({"notBefore": TODAY + 100}, (100, 100 + WARN_AFTER, 100 + LIFETIME)),
            ({"notBefore": TODAY - 100}, (0, WARN_AFTER, LIFETIME)),
            ({"expires": TODAY + 50}, (0, 50, 50)),
            ({"expires": TODAY + 10 * LIFETIME}, (0, WARN_AFTER, LIFETIME)),
            ({"warnAt": TODAY + 50}, (0, 50, LIFETIME)),
            ({"warnAt": TODAY + 10 * LIFETIME}, (0, LIFETIME, LIFETIME)),
            ({"warnAt": TODAY - 50}, (0, -50, LIFETIME)),
        ):
            message = self.queued(**arguments)
            recipient = message.recipients[0]
            self.assertEqual(
                (recipient.nextAttempt, recipient.checkAt, message.expires),
                tuple(TODAY + each for each in times),
                arguments,
            )

    def test_noWarning(self) -> None:
        """Warnings may be switched off."""
        message = self.queued(Dispatch(warnAfter=0, lifetime=1000, now=lambda: TODAY))
        self.assertEqual(message.recipients[0].checkAt, TODAY + 1000)
