"""
Delivery to the accounts of a store, and into its spool for everyone else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from zope.interface import implementer_only

from tests.delivery.support import DirectoryTestCase, envelope, to
from tests.smtp.support import TODAY, UnreachableRelay, WatchedStore, now
from twisted_mailstack.delivery.dispatch import LIFETIME, Dispatch
from twisted_mailstack.delivery.localrelay import LocalRelay
from twisted_mailstack.delivery.notification import Notifier
from twisted_mailstack.delivery.queue import QueueRunner
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.delivery.target import MailDelivery, MailTarget
from twisted_mailstack.errors import (
    MailError,
    MessageTooLarge,
    NoSuchAccount,
    NoSuchDomain,
    OverQuota,
    TemporaryFailure,
)
from twisted_mailstack.interfaces import IMailStore, IStagedContent
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.queue import (
    DELIVERED,
    EXPANDED,
    LOCAL,
    NEVER,
    QueuedMessage,
    QueueFilter,
)
from twisted_mailstack.model.records import Placement, Recipient
from twisted_mailstack.testing.faulty import Fault, FaultyStore

PREFIX = b"Return-Path: <s@far.test>\r\nDelivered-To: alice@example.test\r\n"


@implementer_only(IMailStore)
class PlainStore(WatchedStore):
    """
    A store without a spool.
    """


class TargetTestCase(DirectoryTestCase):
    """
    A target. Nothing may be left staged after a test.

    @cvar relays: whether there is a way to other domains.
    """

    relays = False

    def setUp(self) -> None:
        """Make it."""
        super().setUp()
        self.target = MailTarget(
            self.store,
            Resolver(self.directory),
            Dispatch(UnreachableRelay() if self.relays else None, now=lambda: TODAY),
        )
        self.addCleanup(lambda: self.assertEqual(self.store.staged, set()))

    def deliver(
        self,
        text: bytes,
        *recipients: str,
        reversePath: str | None = "s@far.test",
        pieces: int = 1,
    ) -> Sequence[Exception | None]:
        """
        @return: the results.
        """
        delivery = self.target.begin(envelope(reversePath))
        for recipient in recipients or ("alice@example.test",):
            now(delivery.addRecipient(to(recipient)))
        for at in range(pieces):
            waiting = delivery.write(
                text[at * len(text) // pieces : (at + 1) * len(text) // pieces]
            )
            if waiting is not None:
                now(waiting)
        return now(delivery.commit())

    def queued(self) -> list[QueuedMessage]:
        """
        @return: what is in the spool.
        """
        return list(now(self.store.spool.select(QueueFilter(), 1000)))

    def queuedText(self, message: QueuedMessage) -> bytes:
        """
        @return: a message in the spool, as it would be sent.
        """
        content = now(self.store.spool.openContent(message.spoolId))
        return now(content.read(0, content.size))


class AccountTests(TargetTestCase):
    """
    L{MailTarget} without a relay.
    """

    TEXT = b"Subject: x\r\n\r\nbody\r\n"

    def test_stored(self) -> None:
        """Return-Path, Delivered-To, then the message as it came, in however many pieces."""
        for pieces in (1, 2, len(self.TEXT)):
            self.assertEqual(self.deliver(self.TEXT, pieces=pieces), [None])
            self.assertEqual(self.inbox("alice@example.test")[-1], PREFIX + self.TEXT)

    def test_returnPath(self) -> None:
        """
        There is exactly one Return-Path, the envelope's (RFC 5321 §4.4): those that came with the
        message are gone from its header and stay in its body.
        """
        for path, line in (
            ("s@far.test", b"<s@far.test>"),
            (None, b"<>"),
            ('"a b"@far.test', b'<"a b"@far.test>'),
            ("用户@far.test", "<用户@far.test>".encode()),
        ):
            self.deliver(
                b"Return-Path: <forged@x.test>\r\nSubject: x\r\nreturn-path:\r\n <y>\r\n\r\n"
                b"Return-Path: <body>\r\n",
                reversePath=path,
                pieces=7,
            )
            self.assertEqual(
                self.inbox("alice@example.test")[-1],
                b"Return-Path: " + line + b"\r\nDelivered-To: alice@example.test\r\n"
                b"Subject: x\r\n\r\nReturn-Path: <body>\r\n",
            )

    def test_endsInField(self) -> None:
        """A message that ends in the midst of its header is stored as far as it came."""
        for text, left in (
            (b"Subject: x\r\nRetur", b"Subject: x\r\nRetur"),
            (b"Subject: x\r\nReturn-Path", b"Subject: x\r\nReturn-Path"),
            (b"Subject: x\r\nReturn-Path: y", b"Subject: x\r\n"),
            (b"Subject: x\r\n\r", b"Subject: x\r\n\r"),
        ):
            self.deliver(text, pieces=len(text))
            self.assertEqual(self.inbox("alice@example.test")[-1], PREFIX + left)

    def test_empty(self) -> None:
        """A message without any text is one."""
        self.assertEqual(self.deliver(b""), [None])
        self.assertEqual(self.inbox("alice@example.test"), [PREFIX])

    def test_severalRecipients(self) -> None:
        """Each gets a copy that names the recipient which led to it, and nobody a second one."""
        self.alias("team@example.test", "alice@example.test", "bob@example.test")
        results = self.deliver(
            self.TEXT,
            *("Bob+tag@example.test", "team@example.test", "bob@example.test"),
            *("alice@example.test", "bob+tag@example.test"),
        )
        self.assertEqual(results, [None] * 5)
        for name, via in (("alice", b"team"), ("bob", b"Bob+tag")):
            (stored,) = self.inbox(f"{name}@example.test")
            self.assertEqual(
                stored,
                b"Return-Path: <s@far.test>\r\nDelivered-To: "
                + via
                + b"@example.test\r\n"
                + self.TEXT,
            )

    def test_oneContent(self) -> None:
        """However many get it, the message is stored once."""
        placed: list[Any] = []
        deliver = self.store.deliver

        def watched(
            content: Any, placements: Sequence[Placement], date: int, partial: bool = False
        ) -> Any:
            placed.append((content, [placement.mailbox for placement in placements], date))
            return deliver(content, placements, date, partial)

        self.patch(self.store, "deliver", watched)
        self.deliver(self.TEXT, "alice@example.test", "bob@example.test")
        self.assertEqual([(each[1], each[2]) for each in placed], [(["INBOX", "INBOX"], TODAY)])

    def test_refusedRecipient(self) -> None:
        """A recipient that is refused doesn't touch the others."""
        delivery = self.target.begin(envelope())
        now(delivery.addRecipient(to("alice@example.test")))
        for address, error in (
            ("nobody@example.test", NoSuchAccount),
            ("someone@far.test", NoSuchDomain),
        ):
            self.assertRaises(error, now, delivery.addRecipient(to(address)))
        delivery.write(self.TEXT)
        self.assertEqual(now(delivery.commit()), [None])
        self.assertEqual(len(self.inbox("alice@example.test")), 1)

    def test_elsewhere(self) -> None:
        """
        Without a relay, other domains are refused for good: a stranger's as relaying, our own
        user's with the reason; an alias's that leads there too, since half of it would be lost.
        """
        self.alias("both@example.test", "alice@example.test", "x@far.test")
        stranger = self.target.begin(envelope())
        ours = self.target.begin(envelope(authenticated="alice@example.test"))
        self.assertRaises(NoSuchDomain, now, stranger.addRecipient(to("x@far.test")))
        for delivery, address in (
            (ours, "x@far.test"),
            (ours, "both@example.test"),
            (stranger, "both@example.test"),
        ):
            error = self.assertRaises(MailError, now, delivery.addRecipient(to(address)))
            self.assertEqual((error.smtpCode, error.enhancedStatus), (550, "5.7.1"))
            self.assertIn("does not relay", error.text)
        stranger.abort()
        ours.abort()

    def test_barePostmaster(self) -> None:
        """Who gets the postmaster's mail is named by its own address."""
        delivery = self.target.begin(envelope())
        now(delivery.addRecipient(Recipient(Address("postmaster", ""), {})))
        delivery.write(self.TEXT)
        now(delivery.commit())
        self.assertEqual(self.inbox("alice@example.test"), [PREFIX + self.TEXT])

    def test_verify(self) -> None:
        """VRFY says an address that would be taken, and raises what RCPT would."""
        self.assertEqual(
            now(self.target.verify(Address("Alice", "example.test"))), "Alice@example.test"
        )
        self.assertRaises(NoSuchAccount, now, self.target.verify(Address("nobody", "example.test")))

    def test_inspect(self) -> None:
        """Whoever inspects sees the whole message, and its lines go below Delivered-To."""
        seen: list[bytes] = []

        async def inspect(content: IStagedContent) -> bytes:
            seen.append(await content.read(0, 1000))
            return b"X-Checked: yes\r\n"

        delivery = self.target.begin(envelope())
        for name in ("alice", "bob"):
            now(delivery.addRecipient(to(f"{name}@example.test")))
        delivery.write(self.TEXT)
        now(delivery.commit(inspect))
        self.assertEqual(seen, [self.TEXT])
        for name in ("alice", "bob"):
            (stored,) = self.inbox(f"{name}@example.test")
            self.assertTrue(
                stored.endswith(b"@example.test\r\nX-Checked: yes\r\n" + self.TEXT), stored
            )

    def test_inspectRefuses(self) -> None:
        """What is refused there is delivered to nobody."""
        for error in (MailError("no"), KeyError("x")):

            async def inspect(content: IStagedContent, error: Exception = error) -> bytes:
                raise error

            delivery = self.target.begin(envelope())
            now(delivery.addRecipient(to("alice@example.test")))
            delivery.write(self.TEXT)
            self.assertRaises(type(error), now, delivery.commit(inspect))
        self.assertEqual(self.inbox("alice@example.test"), [])

    def test_abort(self) -> None:
        """At any point before the commit it can be given up, more than once."""
        for steps in range(4):
            delivery = self.target.begin(envelope())
            for step in (
                lambda d: now(d.addRecipient(to("alice@example.test"))),
                lambda d: d.write(b"Subject: x\r\n"),
                lambda d: d.write(b"\r\nbody"),
            )[:steps]:
                step(delivery)
            delivery.abort()
            delivery.abort()
            self.assertEqual(self.store.staged, set())
        self.assertEqual(self.inbox("alice@example.test"), [])

    def test_sideBySide(self) -> None:
        """Deliveries that are under way at the same time don't mix."""
        one, other = (
            self.target.begin(envelope("one@far.test")),
            self.target.begin(envelope("other@far.test")),
        )
        for delivery, name in ((one, "alice"), (other, "bob")):
            now(delivery.addRecipient(to(f"{name}@example.test")))
        for piece in (b"a", b"b"):
            one.write(b"1" + piece)
            other.write(b"2" + piece)
        now(other.commit())
        now(one.commit())
        self.assertTrue(self.inbox("alice@example.test")[0].endswith(b"alice@example.test\r\n1a1b"))
        self.assertTrue(self.inbox("bob@example.test")[0].endswith(b"bob@example.test\r\n2a2b"))


class QuotaTests(TargetTestCase):
    """
    Accounts that are full.
    """

    alice = Address("alice", "example.test")

    def limit(self, octets: int | None, messages: int | None = None) -> None:
        """
        Bound alice's account.
        """
        now(self.directory.setQuota(self.alice, octets, messages))

    def test_atRCPT(self) -> None:
        """A full account is refused at RCPT for now; the others get the message."""
        self.limit(None, 1)
        self.deliver(b"one")
        delivery = self.target.begin(envelope())
        self.assertRaises(OverQuota, now, delivery.addRecipient(to("alice@example.test")))
        now(delivery.addRecipient(to("bob@example.test")))
        delivery.write(b"two")
        self.assertEqual(now(delivery.commit()), [None])
        self.assertEqual(len(self.inbox("alice@example.test")), 1)
        self.assertEqual(len(self.inbox("bob@example.test")), 1)

    def test_declaredSize(self) -> None:
        """What was declared counts (RFC 1870 §6.4): for now, or for good if it never fits."""
        self.limit(500)
        self.deliver(b"x" * 100)
        for size, error in (("100", None), ("450", OverQuota), ("501", MessageTooLarge)):
            delivery = self.target.begin(envelope(SIZE=size))
            adding = delivery.addRecipient(to("alice@example.test"))
            if error is None:
                now(adding)
            else:
                self.assertRaises(error, now, adding)
            delivery.abort()

    def test_alone(self) -> None:
        """
        The only recipient has filled up since RCPT: the client is told, and tries again. For an
        account that was removed it needn't.
        """
        one, other = self.target.begin(envelope()), self.target.begin(envelope())
        for delivery in (one, other):
            now(delivery.addRecipient(to("alice@example.test")))
            delivery.write(b"late")
        self.limit(None, 0)
        (result,) = now(one.commit())
        self.assertIsInstance(result, OverQuota)
        now(self.directory.removeAccount(self.alice))
        (result,) = now(other.commit())
        self.assertIsInstance(result, NoSuchAccount)
        self.assertEqual(self.queued(), [])

    def test_group(self) -> None:
        """
        An address that stands for several, of whom one is full, is taken; the copy of the one that
        is full waits in the spool.
        """
        self.alias("team@example.test", "alice@example.test", "bob@example.test")
        self.limit(None, 0)
        self.assertEqual(self.deliver(b"x", "team@example.test"), [None])
        self.assertEqual(len(self.inbox("bob@example.test")), 1)
        self.assertWaits("alice@example.test", b"x")

    def assertWaits(self, address: str, text: bytes) -> None:
        """
        One account's copy of one message waits in the spool, and may be tried at once.
        """
        (message,) = self.queued()
        (recipient,) = message.recipients
        self.assertEqual(
            (str(recipient.address), recipient.destination, recipient.nextAttempt),
            (address, LOCAL, TODAY),
        )
        self.assertEqual(self.queuedText(message), text)
        self.assertEqual(self.inbox("alice@example.test"), [])

    def test_filledMeanwhile(self) -> None:
        """
        One of several that has filled up since RCPT: its copy waits in the spool, so nobody gets
        the message twice, and nobody not at all (RFC 5321 §4.1.1.4: one reply for all).
        """
        delivery = self.target.begin(envelope())
        for name in ("bob", "alice"):
            now(delivery.addRecipient(to(f"{name}@example.test")))
        delivery.write(b"late")
        self.limit(None, 0)
        self.assertEqual(now(delivery.commit()), [None, None])
        self.assertEqual(len(self.inbox("bob@example.test")), 1)
        self.assertWaits("alice@example.test", b"late")

    def test_removedMeanwhile(self) -> None:
        """
        One of several whose account was removed since RCPT: it goes into the spool, where the next
        attempt makes a notification, since the reply can say nothing of it (RFC 5321 §3.6.3, §6.1).
        """
        delivery = self.target.begin(envelope())
        for name in ("bob", "alice"):
            now(delivery.addRecipient(to(f"{name}@example.test")))
        delivery.write(b"late")
        now(self.directory.removeAccount(self.alice))
        self.assertEqual(now(delivery.commit()), [None, None])
        self.assertEqual(len(self.inbox("bob@example.test")), 1)
        (message,) = self.queued()
        self.assertEqual([str(each.address) for each in message.recipients], [str(self.alice)])

    def test_perRecipient(self) -> None:
        """
        With a reply for each recipient (RFC 2033 §4.2), each that is one account is told its own;
        what is part of a group still waits in the spool.
        """
        self.addAccount("carol@example.test")
        self.alias("team@example.test", "carol@example.test", "bob@example.test")
        delivery = self.target.begin(envelope()._replace(perRecipient=True))
        for name in ("alice", "team"):
            now(delivery.addRecipient(to(f"{name}@example.test")))
        delivery.write(b"late")
        self.limit(None, 0)
        now(self.directory.setQuota(Address("carol", "example.test"), None, 0))
        first, second = now(delivery.commit())
        self.assertIsInstance(first, OverQuota)
        self.assertIsNone(second)
        self.assertEqual(len(self.inbox("bob@example.test")), 1)
        self.assertWaits("carol@example.test", b"late")


class PlainStoreTests(QuotaTests):
    """
    A store without a spool: all get their copy or none.
    """

    def makeStore(self) -> WatchedStore:
        """See L{DirectoryTestCase}."""
        return PlainStore(now=lambda: TODAY)

    def test_alone(self) -> None:
        """The only recipient has filled up since RCPT: the client is told, and tries again."""
        self.limit(None, 1)
        delivery = self.target.begin(envelope())
        now(delivery.addRecipient(to("alice@example.test")))
        delivery.write(b"late")
        self.deliver(b"first")
        self.assertRaises(OverQuota, now, delivery.commit())

    def test_group(self) -> None:
        """An address that stands for several, of whom one is full, is refused for now."""
        self.alias("team@example.test", "alice@example.test", "bob@example.test")
        self.limit(None, 0)
        delivery = self.target.begin(envelope())
        self.assertRaises(OverQuota, now, delivery.addRecipient(to("team@example.test")))
        delivery.abort()

    def test_filledMeanwhile(self) -> None:
        """
        One that has filled up since RCPT: nobody gets the message and the client tries again, so
        nobody gets it twice (RFC 5321 §4.1.1.4: one reply for all).
        """
        self.limit(None, 1)
        delivery = self.target.begin(envelope())
        for name in ("bob", "alice"):
            now(delivery.addRecipient(to(f"{name}@example.test")))
        delivery.write(b"late")
        self.deliver(b"first")
        error = self.assertRaises(OverQuota, now, delivery.commit())
        self.assertTrue(error.temporary)
        self.assertEqual(self.inbox("bob@example.test"), [])
        self.assertEqual(len(self.inbox("alice@example.test")), 1)

    def test_removedMeanwhile(self) -> None:
        """
        One whose account was deleted since RCPT: the client tries again, and learns then which
        recipient it is; the others aren't refused for good because of it.
        """
        delivery = self.target.begin(envelope())
        for name in ("bob", "alice"):
            now(delivery.addRecipient(to(f"{name}@example.test")))
        delivery.write(b"late")
        now(self.directory.removeAccount(self.alice))
        error = self.assertRaises(TemporaryFailure, now, delivery.commit())
        self.assertTrue(error.temporary)
        self.assertEqual(self.inbox("bob@example.test"), [])

    def test_perRecipient(self) -> None:
        """With a reply for each recipient, too."""
        delivery = self.target.begin(envelope()._replace(perRecipient=True))
        for name in ("bob", "alice"):
            now(delivery.addRecipient(to(f"{name}@example.test")))
        self.limit(None, 0)
        self.assertRaises(OverQuota, now, delivery.commit())
        self.assertEqual(self.inbox("bob@example.test"), [])

    def test_noRelay(self) -> None:
        """Without a spool nothing can be relayed, whatever relay there is."""
        self.target.dispatch.relay = UnreachableRelay()
        delivery = self.target.begin(envelope("alice@example.test", "alice@example.test"))
        error = self.assertRaises(MailError, now, delivery.addRecipient(to("x@far.test")))
        self.assertEqual((error.smtpCode, error.enhancedStatus), (550, "5.7.1"))
        delivery.abort()

    def test_noHolding(self) -> None:
        """Without a spool nothing can be held for later (RFC 4865), so it isn't taken."""
        delivery = self.target.begin(envelope(HOLDFOR="60"))
        self.assertRaises(MailError, now, delivery.addRecipient(to("alice@example.test")))
        delivery.abort()


class FailureTests(TargetTestCase):
    """
    A store of which a call fails or waits.
    """

    def begin(self) -> MailDelivery:
        """
        @return: a delivery to alice.
        """
        delivery = self.target.begin(envelope())
        now(delivery.addRecipient(to("alice@example.test")))
        return delivery

    def test_deliver(self) -> None:
        """If the last step fails nothing is there, and nothing staged."""

        async def fail(*arguments: Any, **others: Any) -> None:
            raise OSError("disk full")

        self.patch(self.store, "deliver", fail)
        delivery = self.begin()
        delivery.write(b"x")
        self.assertRaises(OSError, now, delivery.commit())
        self.assertEqual(self.store.staged, set())

    def test_finish(self) -> None:
        """If the content can't be finished, what was written is thrown away."""
        newContent = self.store.newContent

        def broken(sizeHint: int | None = None) -> Any:
            writer = newContent(sizeHint)

            async def fail() -> None:
                raise OSError("disk full")

            setattr(writer, "finish", fail)  # noqa: B010 it is a method
            return writer

        self.patch(self.store, "newContent", broken)
        delivery = self.begin()
        delivery.write(b"x")
        self.assertRaises(OSError, now, delivery.commit())
        self.assertEqual(self.store.staged, set())

    def test_waiting(self) -> None:
        """Every call of the store may take its time."""
        gates: list[Deferred[None]] = []
        deliver = self.store.deliver

        def slow(*arguments: Any, **others: Any) -> Any:
            gate: Deferred[None] = Deferred()
            gates.append(gate)
            return gate.addCallback(lambda _: ensureDeferred(deliver(*arguments, **others)))

        self.patch(self.store, "deliver", slow)
        delivery = self.begin()
        delivery.write(b"x")

        async def commit() -> Sequence[Exception | None]:
            return await delivery.commit()

        done = ensureDeferred(commit())
        self.assertNoResult(done)
        gates[0].callback(None)
        self.assertEqual(self.successResultOf(done), [None])

    def test_waitingWrites(self) -> None:
        """A store that takes each piece in its own time gets them in order, the last one too."""
        newContent = self.store.newContent

        def slow(sizeHint: int | None = None) -> Any:
            writer = newContent(sizeHint)
            write = writer.write

            async def writeLater(data: bytes) -> None:
                write(data)

            setattr(writer, "write", writeLater)  # noqa: B010 it is a method
            return writer

        self.patch(self.store, "newContent", slow)
        self.target.dispatch.relay = UnreachableRelay()
        delivery = self.target.begin(envelope("s@far.test", "alice@example.test"))
        for address in ("alice@example.test", "x@far.test"):
            now(delivery.addRecipient(to(address)))
        for piece in (b"Subject: x\r\n", b"\r\nbody\r\nRet", b"urn-Path"):
            waiting = delivery.write(piece)
            assert waiting is not None
            now(waiting)
        now(delivery.commit())
        text = b"Subject: x\r\n\r\nbody\r\nReturn-Path"
        self.assertEqual(self.inbox("alice@example.test"), [PREFIX + text])
        self.assertEqual(self.queuedText(*self.queued()), text)


class RelayTests(TargetTestCase):
    """
    A target with a way to other domains.
    """

    relays = True

    def begin(self, *recipients: str) -> MailDelivery:
        """
        @return: our own user's delivery.
        """
        delivery = self.target.begin(envelope("alice@example.test", "alice@example.test"))
        for recipient in recipients:
            now(delivery.addRecipient(to(recipient)))
        return delivery

    def reached(self) -> list[str]:
        """
        @return: whom the one message in the spool is for.
        """
        (message,) = self.queued()
        return [str(recipient.address) for recipient in message.recipients]

    def test_both(self) -> None:
        """
        What is for others goes into the spool with the lines of policies and without our
        Return-Path (RFC 5321 §4.4: only final delivery adds it); our accounts get theirs.
        """
        delivery = self.begin("x@far.test", "alice@example.test", "y@far.test")

        async def inspect(content: IStagedContent) -> bytes:
            return b"X-Added: 1\r\n"

        for piece in (b"Return-P", b"ath: <x>\r\nSubject: x\r\n\r\n"):
            delivery.write(piece)
        self.assertEqual(now(delivery.commit(inspect)), [None, None, None])
        self.assertEqual(self.reached(), ["x@far.test", "y@far.test"])
        self.assertEqual(self.queuedText(*self.queued()), b"X-Added: 1\r\nSubject: x\r\n\r\n")
        (stored,) = self.inbox("alice@example.test")
        self.assertTrue(stored.endswith(b"\r\nX-Added: 1\r\nSubject: x\r\n\r\n"))

    def test_once(self) -> None:
        """One address elsewhere is queued once, however it is reached."""
        self.alias("out@example.test", "x@far.test")
        delivery = self.begin("x@far.test", "out@example.test", "x@far.test")
        delivery.write(b"x")
        self.assertEqual(now(delivery.commit()), [None] * 3)
        self.assertEqual(self.reached(), ["x@far.test"])

    def test_passedOn(self) -> None:
        """
        What an alias passes on says so, and is known if it comes back (RFC 9228); where there were
        several recipients none is told of another (RFC 5321 §7.2).
        """
        self.alias("out@example.test", "x@far.test", "y@far.test", "alice@example.test")
        for recipients, line in (
            (["out+tag@example.test"], b"Delivered-To: out+tag@example.test\r\n"),
            (["out@example.test", "bob@example.test"], b""),
            (["x@far.test"], b""),
        ):
            delivery = self.begin(*recipients)
            delivery.write(b"Subject: x\r\n\r\n")
            now(delivery.commit())
            self.assertEqual(self.queuedText(self.queued()[-1]), line + b"Subject: x\r\n\r\n")
        self.assertEqual(
            self.inbox("alice@example.test")[0].count(b"Delivered-To: out+tag@example.test\r\n"), 1
        )

    def test_originalRecipient(self) -> None:
        """
        Whom the sender has named goes along, as its type is written (RFC 3461 §4.2, RFC 6533 §3),
        unless the sender said something else.
        """
        for name, original in (
            ("out+tag@example.test", "rfc822;out+2Btag@example.test"),
            ("jörg+tag@example.test", r"utf-8;j\x{F6}rg\x{2B}tag@example.test"),
        ):
            self.alias(name.replace("+tag", ""), "x@far.test")
            delivery = self.begin(name)
            delivery.write(b"x")
            now(delivery.commit())
            message = self.queued()[-1]
            self.assertEqual(message.recipients[0].parameters, {"ORCPT": original})

    def test_returnPath(self) -> None:
        """
        A stranger's message that is only relayed isn't looked at (RFC 5321 §4.4); our own user's
        goes out without Return-Path, which whoever originates mail should not send.
        """
        self.alias("out@example.test", "x@far.test")
        text = b"Return-Path: <x@y.test>\r\nSubject: x\r\n\r\n"
        for sender, left in ((None, text), ("alice@example.test", text[25:])):
            delivery = self.target.begin(envelope("alice@example.test", sender))
            now(delivery.addRecipient(to("out@example.test")))
            for piece in (text[:5], text[5:]):
                delivery.write(piece)
            now(delivery.commit())
            queued = self.queuedText(self.queued()[-1])
            self.assertEqual(queued, b"Delivered-To: out@example.test\r\n" + left)

    def test_onlyLocal(self) -> None:
        """Where nobody elsewhere is meant nothing is queued."""
        delivery = self.begin("alice@example.test")
        delivery.write(b"x")
        now(delivery.commit())
        self.assertEqual(self.queued(), [])

    def test_strangersAlias(self) -> None:
        """A stranger's mail goes there through an alias of ours, and in no other way."""
        self.alias("out@example.test", "x@far.test")
        delivery = self.target.begin(envelope())
        now(delivery.addRecipient(to("out@example.test")))
        self.assertRaises(NoSuchDomain, now, delivery.addRecipient(to("x@far.test")))
        delivery.write(b"x")
        now(delivery.commit())
        self.assertEqual(self.reached(), ["x@far.test"])

    def test_fails(self) -> None:
        """If the spool fails the client isn't told that all is well, and nothing is left."""

        async def fail(*arguments: Any, **others: Any) -> None:
            raise OSError("full")

        self.patch(self.store.spool, "accept", fail)
        delivery = self.begin("x@far.test", "alice@example.test")
        delivery.write(b"x")
        self.assertRaises(OSError, now, delivery.commit())
        self.assertEqual((self.queued(), self.inbox("alice@example.test")), ([], []))


class WishTests(TargetTestCase):
    """
    What senders wish, by parameters.
    """

    relays = True

    def setUp(self) -> None:
        """With somebody who tells them."""
        super().setUp()
        self.target.notifier = Notifier(
            self.store.spool,
            self.store.newContent,
            self.target.resolver,
            self.target.dispatch,
            "mx.example.test",
            now=lambda: TODAY,
        )

    def send(
        self,
        *recipients: tuple[str, str | None],
        sender: str = "alice@example.test",
        mail: dict[str, str | None] | None = None,
        perRecipient: bool = False,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> Sequence[Exception | None]:
        """
        @param recipients: with their NOTIFY.
        @param meanwhile: what happens between RCPT and the end of data.
        @return: the results.
        """
        delivery = self.target.begin(
            envelope(sender, "alice@example.test", **(mail or {}))._replace(
                perRecipient=perRecipient
            )
        )
        try:
            for address, notify in recipients:
                parameters: dict[str, str | None] = {} if notify is None else {"NOTIFY": notify}
                now(delivery.addRecipient(to(address)._replace(parameters=parameters)))
            delivery.write(b"Subject: x\r\n\r\n")
            meanwhile()
            results = now(delivery.commit())
        except BaseException:
            delivery.abort()
            raise
        self.runQueue()
        return results

    def runQueue(self) -> None:
        """
        Let what is in the spool for that make its notifications.
        """
        clock = Clock()
        notifier = self.target.notifier
        assert notifier is not None
        relay = LocalRelay(self.store.spool, self.directory, self.target.dispatch, notifier)
        away = UnreachableRelay()
        runner = QueueRunner(
            self.store.spool,
            lambda name: relay if name in (DELIVERED, EXPANDED) else away,
            notifier,
            clock,
            now=lambda: TODAY,
        )
        runner.start()
        clock.pump([0] * 20)
        stopped = ensureDeferred(runner.stop(0))
        clock.pump([0, 1])
        self.successResultOf(stopped)

    def told(self) -> list[tuple[str, str]]:
        """
        @return: action and recipient of each report that alice got.
        """
        found = []
        for octets in self.inbox("alice@example.test"):
            if b"report-type=delivery-status" in octets:
                for recipient, action in re.findall(
                    rb"Final-Recipient: [^;]*; (.*)\r\nAction: (.*)\r\n", octets
                ):
                    found.append((action.decode(), recipient.decode()))
        return found

    def test_delivered(self) -> None:
        """
        Who wishes to know is told when a copy is in its mailbox (RFC 3461 §5.2.3 a), in the words
        in which they named the recipient; who doesn't isn't (b, c).
        """
        self.send(
            *(("bob+x@example.test", "SUCCESS,FAILURE"), ("alice@example.test", "FAILURE")),
            *(("bob@example.test", "success"), ("bob@example.test", None)),
        )
        self.assertEqual(
            self.told(),
            [("delivered", "bob+x@example.test"), ("delivered", "bob@example.test")],
        )

    def test_notYet(self) -> None:
        """A copy that waits in the spool isn't delivered, and keeps the wish to be told."""
        self.send(
            *(("bob@example.test", "SUCCESS"), ("x@far.test", None)),
            meanwhile=lambda: now(self.directory.setQuota(Address("bob", "example.test"), None, 0)),
        )
        self.assertEqual(self.told(), [])
        (message,) = self.queued()
        self.assertEqual(
            [(str(each.address), each.parameters) for each in message.recipients],
            [("x@far.test", {}), ("bob@example.test", {"NOTIFY": "SUCCESS"})],
        )
        self.assertEqual([each.number for each in message.recipients], [0, 1])

    def test_aliasForOne(self) -> None:
        """An alias for one address passes all wishes on, and nothing is told (§5.2.7.2)."""
        self.alias("out@example.test", "x@far.test")
        self.send(("out@example.test", "SUCCESS,DELAY"), mail={"ENVID": "1", "RET": "HDRS"})
        (message,) = self.queued()
        self.assertEqual(message.parameters, {"ENVID": "1", "RET": "HDRS"})
        self.assertEqual(
            message.recipients[0].parameters,
            {"NOTIFY": "SUCCESS,DELAY", "ORCPT": "rfc822;out@example.test"},
        )
        self.assertEqual(self.told(), [])

    def test_aliasForAccount(self) -> None:
        """An alias for one account: delivered is what the sender named."""
        self.alias("robert@example.test", "bob@example.test")
        self.send(("robert@example.test", "SUCCESS"))
        self.assertEqual(self.told(), [("delivered", "robert@example.test")])

    def test_aliasForSeveral(self) -> None:
        """
        One for several is expanded, which is told; they don't tell of success any more, of failure
        they do (§5.2.7.3 c).
        """
        self.alias("team@example.test", "bob@example.test", "x@far.test", "y@far.test")
        for notify, left in (
            ("SUCCESS", "NEVER"),
            ("success,FAILURE", "FAILURE"),
            ("DELAY,SUCCESS,FAILURE", "DELAY,FAILURE"),
            ("FAILURE", "FAILURE"),
            ("NEVER", "NEVER"),
            (None, None),
        ):
            before = len(self.told())
            self.send(("team@example.test", notify))
            for recipient in self.queued()[-1].recipients:
                self.assertEqual(recipient.parameters.get("NOTIFY"), left)
            expected = [("expanded", "team@example.test")] * ("SUCCESS" in str(notify).upper())
            self.assertEqual(self.told()[before:], expected)

    def test_crash(self) -> None:
        """
        That somebody is to be told is as durable as the copy, in the same step: whatever call of
        the store fails, there are both or neither; and a process that ends right behind it tells
        when it is started again.
        """
        self.alias("team@example.test", "bob@example.test", "x@far.test")
        faulty: Any = FaultyStore(self.store)
        self.target = MailTarget(
            faulty, self.target.resolver, self.target.dispatch, self.target.notifier
        )
        run, failures = self.runQueue, 0
        self.runQueue = lambda: None  # type: ignore[method-assign]
        for number in range(1, 20):
            copies, told = len(self.inbox("bob@example.test")), len(self.told())
            faulty.failAt(number)
            try:
                self.send(("bob@example.test", "SUCCESS"), ("team@example.test", "SUCCESS"))
            except Fault:
                failures += 1
            faulty.heal()
            self.assertEqual(len(self.told()), told)
            run()
            new = len(self.inbox("bob@example.test")) - copies
            self.assertEqual(
                sorted(self.told()[told:]),
                [("delivered", "bob@example.test"), ("expanded", "team@example.test")] * new,
            )
            if new:
                break
        else:
            self.fail("it never gets through")
        self.assertGreater(failures, 2)

    def test_waitsToBeTold(self) -> None:
        """
        Until the sender is told, that stands in the spool: it is never overdue, and may be done at
        once; no number is given twice.
        """
        self.alias("team@example.test", "bob@example.test", "x@far.test")
        self.runQueue = lambda: None  # type: ignore[method-assign]
        self.send(
            ("alice@example.test", "SUCCESS"), ("team@example.test", "SUCCESS"), mail={"BY": "1;R"}
        )
        (message,) = self.queued()
        self.assertEqual(
            [
                (each.destination, str(each.address), each.nextAttempt, each.checkAt)
                for each in message.recipients
            ],
            [
                ("far.test", "x@far.test", TODAY, TODAY + 1),
                (EXPANDED, "team@example.test", TODAY, NEVER),
                (DELIVERED, "alice@example.test", TODAY, NEVER),
            ],
        )
        self.assertEqual(len({each.number for each in message.recipients}), 3)

    def test_nullPath(self) -> None:
        """The null reverse-path is never told."""
        delivery = self.target.begin(envelope(None))
        recipient = to("bob@example.test")._replace(parameters={"NOTIFY": "SUCCESS"})
        now(delivery.addRecipient(recipient))
        self.assertEqual(now(delivery.commit()), [None])
        self.assertEqual(self.queued(), [])

    def test_held(self) -> None:
        """
        What is to be held (RFC 4865) waits in the spool, whoever it is for; and is as long in the
        queue from then on as other mail.
        """
        for mail in ({"HOLDFOR": "600"}, {"HOLDUNTIL": "2023-11-14T22:23:20Z"}):
            parameters: dict[str, str | None] = dict(mail)
            self.send(*(("bob@example.test", "SUCCESS"), ("x@far.test", None)), mail=parameters)
            self.assertEqual(self.inbox("bob@example.test"), [])
            message = self.queued()[-1]
            self.assertEqual(
                [(each.destination, each.nextAttempt) for each in message.recipients],
                [("far.test", TODAY + 600), (LOCAL, TODAY + 600)],
            )
            self.assertEqual(message.expires, TODAY + 600 + LIFETIME)
        self.assertEqual(self.told(), [])

    def test_heldNoLonger(self) -> None:
        """A time that is over holds nothing."""
        self.send(("bob@example.test", None), mail={"HOLDUNTIL": "2023-11-14T22:13:20Z"})
        self.assertEqual(len(self.inbox("bob@example.test")), 1)

    def test_deliverBy(self) -> None:
        """A message that must not be late (RFC 2852) expires then; else its sender is warned."""
        self.send(("x@far.test", None), mail={"BY": "120;R"})
        self.send(("x@far.test", None), mail={"BY": "120;N"})
        first, second = self.queued()
        self.assertEqual((first.expires, first.mustNotBeLate), (TODAY + 120, True))
        self.assertEqual(first.recipients[0].checkAt, TODAY + 120)
        self.assertEqual((second.expires, second.mustNotBeLate), (TODAY + LIFETIME, False))
        self.assertEqual(second.recipients[0].checkAt, TODAY + 120)

    def test_priority(self) -> None:
        """RFC 6710."""
        self.send(("x@far.test", None), mail={"MT-PRIORITY": "-3"})
        self.assertEqual(self.queued()[0].priority, -3)
