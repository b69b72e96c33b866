# -*- test-case-name: tests.contracts.test_delivery -*-
"""
What L{IDeliveryTarget}, L{IDelivery} and L{IPolicyStep} promise, as tests for whoever implements
them. Subclass one next to a C{SynchronousTestCase} of trial's, and say how what is tested is made::

    from twisted.trial.unittest import SynchronousTestCase
    from twisted_mailstack.testing.contracts.delivery import DeliveryTargetContract

    class MyTargetTests(DeliveryTargetContract, SynchronousTestCase):
        def makeTarget(self):
            return MyTarget(...)

        def delivered(self, recipient):
            return [...]
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from zope.interface.verify import verifyObject

from twisted_mailstack.errors import MailError
from twisted_mailstack.interfaces import (
    IDelivery,
    IDeliveryTarget,
    IPolicyStep,
    IStagedContent,
)
from twisted_mailstack.model.address import Address, ReversePath
from twisted_mailstack.model.message import summarise
from twisted_mailstack.model.records import ConnectionInfo, Envelope, Recipient
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.testing.contracts.base import CallQueue

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase

    Base = SynchronousTestCase
else:
    Base = object

T = TypeVar("T")

MESSAGE = b"From: Sender <sender@far.test>\r\nSubject: Hello\r\n\r\n.\r\nbody \xff\r\n"


def makeEnvelope(
    reversePath: ReversePath = Address("sender", "far.test"),  # noqa: B008 it is a constant
    authenticated: Address | None = None,
    peer: str = "192.0.2.1",
    **parameters: str | None,
) -> Envelope:
    """
    @param parameters: of MAIL.
    @return: an envelope.
    """
    connection = ConnectionInfo(peer, 50000, "smtp")
    return Envelope(connection, "client.test", reversePath, authenticated, parameters, "0Q1")


class DeliveryTargetContract(Base):
    """
    A place that mail can go to.

    @cvar recipients: at least two addresses that it takes mail for.
    @cvar unknown: one that it refuses.
    """

    recipients: Sequence[Address] = (
        Address("alice", "example.test"),
        Address("bob", "example.test"),
    )
    unknown: Address = Address("nobody", "example.test")

    def makeTarget(self) -> IDeliveryTarget:
        """
        Implement this: make a target that takes mail for C{recipients}.
        """
        raise NotImplementedError("makeTarget")

    def delivered(self, recipient: Address) -> Sequence[bytes]:
        """
        Implement this.

        @return: the messages that one of C{recipients} got from the target, in order, with
            whatever the target put in front.
        """
        raise NotImplementedError("delivered")

    def setUp(self) -> None:
        """
        Make the target.
        """
        super().setUp()
        self.calls = CallQueue()
        self.target = self.makeTarget()

    # --- what the tests are made of ------------------------------------------------------------

    def wait(self, awaitable: Awaitable[T] | None) -> T | None:
        """
        @return: the result, C{None} if there is nothing to wait for.
        """
        return None if awaitable is None else self.calls.wait(awaitable)

    def begin(self, *recipients: Address, envelope: Envelope | None = None) -> IDelivery:
        """
        @return: a delivery to these, or to the first of those it takes mail for.
        """
        delivery = self.target.begin(envelope or makeEnvelope())
        for address in recipients or self.recipients[:1]:
            self.wait(delivery.addRecipient(Recipient(address, {})))
        return delivery

    def texts(self, recipient: Address) -> list[bytes]:
        """
        @return: the messages that a recipient got, from the first field of L{MESSAGE} on.
        """
        return [octets[octets.index(b"From: Sender") :] for octets in self.delivered(recipient)]

    def assertNothing(self) -> None:
        """
        Nobody got anything.
        """
        for recipient in self.recipients:
            self.assertEqual(list(self.delivered(recipient)), [])

    # --- the contract --------------------------------------------------------------------------

    def test_provides(self) -> None:
        """Target and delivery have all that the interfaces say."""
        self.assertTrue(verifyObject(IDeliveryTarget, self.target))
        delivery = self.target.begin(makeEnvelope())
        self.assertTrue(verifyObject(IDelivery, delivery))
        delivery.abort()

    def test_delivery(self) -> None:
        """The message is there when the commit has fired, and not before."""
        delivery = self.begin()
        self.wait(delivery.write(MESSAGE))
        self.assertNothing()
        self.assertEqual(self.wait(delivery.commit()), [None])
        self.assertEqual(self.texts(self.recipients[0]), [MESSAGE])

    def test_pieces(self) -> None:
        """It makes no difference how the message is cut."""
        for size in (1, 2, 7):
            delivery = self.begin()
            for at in range(0, len(MESSAGE), size):
                self.wait(delivery.write(MESSAGE[at : at + size]))
            self.wait(delivery.commit())
        self.assertEqual(self.texts(self.recipients[0]), [MESSAGE] * 3)

    def test_large(self) -> None:
        """A message of several megabytes is whole."""
        delivery = self.begin()
        self.wait(delivery.write(MESSAGE))
        line = b"x" * 62 + b"\r\n"
        for _ in range(48):
            self.wait(delivery.write(line * 1024))
        self.wait(delivery.commit())
        self.assertEqual(self.texts(self.recipients[0]), [MESSAGE + line * 1024 * 48])

    def test_empty(self) -> None:
        """A message may be empty: no write at all, or one of nothing."""
        for writes in ((), (b"",)):
            delivery = self.begin()
            for data in writes:
                self.wait(delivery.write(data))
            self.assertEqual(self.wait(delivery.commit()), [None])
        self.assertEqual(len(self.delivered(self.recipients[0])), 2)

    def test_severalRecipients(self) -> None:
        """Each recipient gets it, once, also if it was added twice; each has its result."""
        delivery = self.begin(*self.recipients, self.recipients[0])
        self.wait(delivery.write(MESSAGE))
        results = self.wait(delivery.commit())
        assert results is not None
        self.assertEqual(list(results), [None] * (len(self.recipients) + 1))
        for recipient in self.recipients:
            self.assertEqual(self.texts(recipient), [MESSAGE])

    def test_refusedRecipient(self) -> None:
        """A recipient that is refused by a MailError leaves the others as they are."""
        delivery = self.begin()
        refused = delivery.addRecipient(Recipient(self.unknown, {}))
        self.assertRaises(MailError, self.wait, refused)
        self.wait(delivery.addRecipient(Recipient(self.recipients[1], {})))
        self.wait(delivery.write(MESSAGE))
        self.assertEqual(self.wait(delivery.commit()), [None, None])
        for recipient in self.recipients[:2]:
            self.assertEqual(self.texts(recipient), [MESSAGE])

    def test_nullReversePath(self) -> None:
        """A notification's reverse-path is no address (RFC 5321 §4.5.5)."""
        delivery = self.begin(envelope=makeEnvelope(None))
        self.wait(delivery.write(MESSAGE))
        self.wait(delivery.commit())
        self.assertEqual(self.texts(self.recipients[0]), [MESSAGE])

    def test_inspect(self) -> None:
        """Whoever inspects sees the whole message once; the lines it gives go in front."""
        seen: list[bytes] = []

        async def inspect(content: IStagedContent) -> bytes:
            self.assertEqual(content.summary.size, len(MESSAGE))
            seen.append(await content.read(0, 1000))
            return b"X-Inspected: yes\r\n"

        delivery = self.begin(*self.recipients)
        self.wait(delivery.write(MESSAGE))
        self.wait(delivery.commit(inspect))
        self.assertEqual(seen, [MESSAGE])
        for recipient in self.recipients:
            (octets,) = self.delivered(recipient)
            self.assertIn(b"X-Inspected: yes\r\n", octets[: octets.index(b"From: Sender")])
            self.assertEqual(self.texts(recipient), [MESSAGE])

    def test_inspectRefuses(self) -> None:
        """What inspection raises is raised, and nobody gets the message."""
        for error in (MailError("no"), ValueError("defect")):

            async def inspect(content: IStagedContent, error: Exception = error) -> bytes:
                raise error

            delivery = self.begin(*self.recipients)
            self.wait(delivery.write(MESSAGE))
            self.assertRaises(type(error), self.wait, delivery.commit(inspect))
        self.assertNothing()

    def test_abort(self) -> None:
        """At any time before the commit it can be forgotten, as often as one likes."""
        for recipients, writes in ((0, 0), (1, 0), (2, 0), (1, 1), (2, 3)):
            delivery = self.target.begin(makeEnvelope())
            for recipient in self.recipients[:recipients]:
                self.wait(delivery.addRecipient(Recipient(recipient, {})))
            for _ in range(writes):
                self.wait(delivery.write(MESSAGE))
            delivery.abort()
            delivery.abort()
        self.assertNothing()

    def test_sideBySide(self) -> None:
        """Deliveries under way at the same time don't touch each other."""
        deliveries = [self.begin(recipient) for recipient in self.recipients]
        for at in range(0, len(MESSAGE), 5):
            for delivery in deliveries:
                self.wait(delivery.write(MESSAGE[at : at + 5]))
        lost = self.begin(*self.recipients)
        self.wait(lost.write(b"lost"))
        for delivery in reversed(deliveries):
            self.wait(delivery.commit())
        lost.abort()
        for recipient in self.recipients:
            self.assertEqual(self.texts(recipient), [MESSAGE])

    def test_verify(self) -> None:
        """VRFY shows an address that would be taken, and raises a MailError for another."""
        for recipient in self.recipients:
            text = self.wait(self.target.verify(recipient))
            assert text is not None
            self.assertIn(recipient.domain, text)
        self.assertRaises(MailError, self.wait, self.target.verify(self.unknown))
        self.assertNothing()


class PolicyStepContract(Base):
    """
    A say in whether mail is taken: whatever it says, it says it in the way that is expected.

    @cvar messages: messages that are shown to it.
    """

    messages: Sequence[bytes] = (
        MESSAGE,
        b"",
        b"\r\n",
        b"no header at all",
        b"Subject: \xff\0\r\n folded\r\nReceived: x\r\n\r\n",
        b"Received: from a\r\n\tby b; date\r\n" * 150 + b"\r\n",
    )

    def makeStep(self) -> IPolicyStep:
        """
        Implement this: make the step.
        """
        raise NotImplementedError("makeStep")

    def setUp(self) -> None:
        """
        Make the step.
        """
        super().setUp()
        self.calls = CallQueue()
        self.step = self.makeStep()

    def envelopes(self) -> Iterator[Envelope]:
        """
        @return: envelopes of many kinds.
        """
        sender = Address("sender", "far.test")
        for peer in ("192.0.2.1", "2001:db8::1", "local"):
            yield makeEnvelope(sender, peer=peer)
            yield makeEnvelope(None, peer=peer)
            yield makeEnvelope(sender, Address("alice", "example.test"), peer)
        for path in (
            Address("θσερ", "xn--bcher-kva.test"),
            Address('a"b', "[192.0.2.1]"),
            Address("", "[IPv6:2001:db8::1]"),
        ):
            yield makeEnvelope(path, SIZE="100", BODY="8BITMIME", SMTPUTF8=None)

    def ask(self, asked: Any, *arguments: Any) -> Any:
        """
        @return: what the step said; its L{MailError} if it refused.
        """
        try:
            answer = asked(*arguments)
            return self.calls.wait(answer) if isinstance(answer, Awaitable) else answer
        except MailError as error:
            self.assertTrue(400 <= error.smtpCode <= 599, error.smtpCode)
            self.assertRegex(error.enhancedStatus, r"\A[245]\.[0-9]{1,3}\.[0-9]{1,3}\Z")
            return error

    def test_provides(self) -> None:
        """It has all that the interface says."""
        self.assertTrue(verifyObject(IPolicyStep, self.step))

    def test_stages(self) -> None:
        """
        At each stage but the last it accepts with C{None} or refuses with a MailError, at once or
        later; it raises nothing else, whoever the client is and whatever the addresses.
        """
        recipients = [
            Recipient(Address("alice", "example.test"), {}),
            Recipient(Address("alice+tag", "example.test"), {"NOTIFY": "NEVER"}),
            Recipient(Address("дима", "example.test"), {}),
            # RFC 5321 §4.5.1: the postmaster without a domain.
            Recipient(Address("postmaster", ""), {}),
        ]
        for envelope in self.envelopes():
            answers = [
                self.ask(self.step.connection, envelope.connection),
                self.ask(self.step.reversePath, envelope),
                *(self.ask(self.step.recipient, envelope, each) for each in recipients),
            ]
            for answer in answers:
                self.assertTrue(answer is None or isinstance(answer, MailError), answer)

    def test_message(self) -> None:
        """
        At the end it gives whole header lines, maybe none, or refuses, whatever the message is.
        """
        for envelope in self.envelopes():
            for data in self.messages:
                writer = MemoryMailStore().newContent()
                writer.write(data)
                content = self.calls.wait(writer.finish())
                self.assertEqual(content.summary.size, summarise(data).size)
                answer = self.ask(
                    self.step.message,
                    envelope,
                    [Recipient(Address("alice", "example.test"), {})],
                    content,
                )
                if not isinstance(answer, MailError):
                    self.assertIsInstance(answer, bytes)
                    self.assertTrue(answer == b"" or answer.endswith(b"\r\n"), answer)
                    #   field = field-name ":" ... ; what is folded begins with white space
                    for line in answer.split(b"\r\n")[:-1]:
                        self.assertRegex(line, rb"\A(?:[!-9;-~]+:|[ \t]+[^ \t])[^\r\n]*\Z")
