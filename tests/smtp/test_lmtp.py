"""
LMTP's factory (RFC 2033), over the accounts of a store. The session: tests.smtp.test_session.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.smtp.support import TODAY, WatchedStore, now
from twisted_mailstack.delivery.dispatch import Dispatch
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.delivery.target import MailTarget
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.queue import QueueFilter
from twisted_mailstack.smtp.lmtp import LMTPFactory
from twisted_mailstack.smtp.session import SMTPSettings
from twisted_mailstack.testing.conversation import Conversation, FakeWire


class LMTPFactoryTests(SynchronousTestCase):
    """
    L{LMTPFactory}.
    """

    def setUp(self) -> None:
        """Two accounts, one of which is full."""
        self.store = WatchedStore(now=lambda: TODAY)
        self.directory = self.store.directory
        now(self.directory.addDomain("example.test"))
        for name in ("alice", "bob"):
            now(self.directory.addAccount(Address(name, "example.test"), None))
        dispatch = Dispatch(now=lambda: TODAY)
        self.factory = LMTPFactory(
            MailTarget(self.store, Resolver(self.directory), dispatch),
            SMTPSettings(hostname="mx.example.test"),
            Clock(),
        )

    def greeted(self) -> Conversation:
        """
        @return: a connection that has said LHLO.
        """
        wire = FakeWire("lmtp", False, "local")
        conversation = Conversation(self.factory.serve, wire=wire, clock=Clock())
        conversation.send(b"LHLO mta.test\r\n")
        return conversation

    def inbox(self, name: str) -> list[bytes]:
        """
        @return: the messages of an account.
        """
        record = now(self.directory.findAccount(Address(name, "example.test")))
        assert record is not None
        entries = self.store.accounts[record.accountId].boxes["INBOX"].entries
        return [entry.message.prefix + entry.message.data for entry in entries]

    def test_delivered(self) -> None:
        """Each recipient gets its copy and its reply; the trace says LMTP (RFC 3848)."""
        conversation = self.greeted()
        answer = conversation.send(
            b"MAIL FROM:<c@far.test>\r\nRCPT TO:<alice@example.test>\r\n"
            b"RCPT TO:<nobody@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n"
        )
        codes = [line[:3] for line in answer.splitlines()]
        self.assertEqual(codes, [b"250", b"250", b"550", b"250", b"354"])
        answer = conversation.send(b"Subject: x\r\n\r\ntext\r\n.\r\n")
        self.assertEqual([line[:3] for line in answer.splitlines()], [b"250", b"250"])
        for name in ("alice", "bob"):
            (message,) = self.inbox(name)
            self.assertIn(b" with LMTP\r\n", message)
            self.assertTrue(message.endswith(b"\r\n\r\ntext\r\n"))

    def test_full(self) -> None:
        """
        An account that has filled up since RCPT is told for itself, and the others have their mail:
        the client keeps that one in its queue, so nothing waits in ours.
        """
        conversation = self.greeted()
        conversation.send(
            b"MAIL FROM:<c@far.test>\r\nRCPT TO:<alice@example.test>\r\n"
            b"RCPT TO:<bob@example.test>\r\nDATA\r\n"
        )
        now(self.directory.setQuota(Address("alice", "example.test"), 10, None))
        answer = conversation.send(b"Subject: x\r\n\r\ntext\r\n.\r\n")
        self.assertEqual([line[:3] for line in answer.splitlines()], [b"452", b"250"])
        self.assertEqual(self.inbox("alice"), [])
        self.assertEqual(len(self.inbox("bob")), 1)
        self.assertEqual(now(self.store.spool.select(QueueFilter(), 10)), [])

    def test_relaying(self) -> None:
        """Mail for other domains is refused: there is nobody for whom to relay."""
        conversation = self.greeted()
        conversation.send(b"MAIL FROM:<alice@example.test>\r\n")
        self.assertEqual(conversation.send(b"RCPT TO:<x@far.test>\r\n")[:4], b"550 ")

    def test_hops(self) -> None:
        """
        Mail that an alias sends elsewhere, and that comes back here, ends some day (RFC 5321 §6.3):
        with a reply for each recipient.
        """
        conversation = self.greeted()
        for hops, reply in ((100, b"554 5.4.6"), (99, b"250 2.0.0")):
            conversation.send(
                b"MAIL FROM:<c@far.test>\r\nRCPT TO:<alice@example.test>\r\n"
                b"RCPT TO:<bob@example.test>\r\nDATA\r\n"
            )
            answer = conversation.send(b"Received: x\r\n" * hops + b"\r\n.\r\n")
            self.assertEqual([line[:9] for line in answer.splitlines()], [reply] * 2)

    def test_noLogin(self) -> None:
        """AUTH is offered only where there is a portal."""
        self.assertNotIn(b"AUTH", self.greeted().send(b"LHLO again\r\n"))
