"""
Policies: the order in which steps are asked, what they say, and the hop limit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Iterator
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.smtp.support import now, stage
from twisted_mailstack.delivery.policy import HopLimit, Policies, PolicyStep
from twisted_mailstack.errors import MailError
from twisted_mailstack.interfaces import IPolicyStep, IStagedContent
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import ConnectionInfo, Envelope, Recipient

INFO = ConnectionInfo("192.0.2.1", 50000, "smtp")
ENVELOPE = Envelope(INFO, "client.test", None, None, {}, "Q1")
RECIPIENT = Recipient(Address("alice", "example.test"), {})


class Noting(PolicyStep):
    """
    Writes down what it is asked, and answers what it was told to.
    """

    def __init__(self, name: str, notes: list[str], answer: Any = None) -> None:
        self.name = name
        self.notes = notes
        self.answer = answer

    def _ask(self, stage: str) -> Any:
        self.notes.append(f"{self.name} {stage}")
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def connection(self, info: ConnectionInfo) -> Any:
        """See L{IPolicyStep}."""
        return self._ask("connection")

    def reversePath(self, envelope: Envelope) -> Any:
        """See L{IPolicyStep}."""
        return self._ask("reversePath")

    def recipient(self, envelope: Envelope, recipient: Recipient) -> Any:
        """See L{IPolicyStep}."""
        return self._ask("recipient")

    def message(
        self, envelope: Envelope, recipients: Collection[Recipient], content: IStagedContent
    ) -> Any:
        """See L{IPolicyStep}."""
        return self._ask("message") or b""


class PoliciesTests(SynchronousTestCase):
    """
    L{Policies}.
    """

    def stages(self, policies: Policies) -> Iterator[tuple[str, Awaitable[Any]]]:
        """
        @return: each stage by name, asked when it is awaited.
        """
        content = now(stage(b"Subject: x\r\n\r\n"))
        yield "connection", policies.connection(INFO)
        yield "reversePath", policies.reversePath(ENVELOPE)
        yield "recipient", policies.recipient(ENVELOPE, RECIPIENT)
        yield "message", policies.message(ENVELOPE, [RECIPIENT], content)

    def test_order(self) -> None:
        """At each stage the steps are asked in the order in which they were given."""
        notes: list[str] = []
        policies = Policies([Noting("a", notes), Noting("b", notes), Noting("c", notes)])
        for name, asked in self.stages(policies):
            self.assertFalse(now(asked))
            self.assertEqual(notes, [f"{step} {name}" for step in "abc"])
            notes.clear()

    def test_firstRefusalDecides(self) -> None:
        """Who comes after a refusal isn't asked."""
        for refusal in (MailError("no"), fail(MailError("no"))):
            notes: list[str] = []
            policies = Policies([Noting("a", notes), Noting("b", notes), Noting("c", notes)])
            steps = policies._steps
            for name, asked in self.stages(policies):
                answer = refusal if isinstance(refusal, Exception) else fail(MailError("no"))
                self.patch(steps[1], "answer", answer)
                self.assertRaises(MailError, now, asked)
                self.assertEqual(notes, [f"a {name}", f"b {name}"])
                notes.clear()
            if not isinstance(refusal, Exception):
                refusal.addErrback(lambda _: None)

    def test_waiting(self) -> None:
        """A step that waits keeps the next from being asked."""
        notes: list[str] = []
        slow = Noting("a", notes)
        policies = Policies([slow, Noting("b", notes)])
        for name, asked in self.stages(policies):
            slow.answer = answer = Deferred()

            async def ask(asked: Awaitable[Any] = asked) -> Any:
                return await asked

            done = ensureDeferred(ask())
            self.assertEqual(notes, [f"a {name}"])
            self.assertNoResult(done)
            answer.callback(b"" if name == "message" else None)
            self.successResultOf(done)
            self.assertEqual(notes, [f"a {name}", f"b {name}"])
            notes.clear()

    def test_lines(self) -> None:
        """The header lines of all steps, the last step's on top, whether at once or later."""
        notes: list[str] = []
        policies = Policies(
            [
                Noting("a", notes, b"X-A: 1\r\nX-A: 2\r\n"),
                Noting("b", notes, b""),
                Noting("c", notes, succeed(b"X-C: 3\r\n")),
            ]
        )
        content = now(stage(b""))
        self.assertEqual(
            now(policies.message(ENVELOPE, [RECIPIENT], content)),
            b"X-C: 3\r\nX-A: 1\r\nX-A: 2\r\n",
        )

    def test_badLines(self) -> None:
        """
        Lines that don't end in CRLF would run into the message's own: that is a defect of the step,
        and raises.
        """
        content = now(stage(b""))
        for lines in (b"X-A: 1", b"X-A: 1\n", b"X-A: 1\r"):
            policies = Policies([Noting("a", [], lines)])
            self.assertRaises(ValueError, now, policies.message(ENVELOPE, [RECIPIENT], content))

    def test_none(self) -> None:
        """Without steps everything is accepted; a step that overrides nothing accepts it too."""
        verifyObject(IPolicyStep, PolicyStep())
        for policies in (Policies(), Policies([PolicyStep()])):
            for _, asked in self.stages(policies):
                self.assertFalse(now(asked))


class HopLimitTests(SynchronousTestCase):
    """
    L{HopLimit} (RFC 5321 §6.3).
    """

    def look(self, message: bytes, limit: int | None = None) -> bytes:
        """
        @return: the step's answer, for a message as the target has it: with our own field.
        """
        step = HopLimit() if limit is None else HopLimit(limit)
        verifyObject(IPolicyStep, step)
        content = now(stage(b"Received: from here\r\n\tby us;\r\n\tdate\r\n" + message))
        answer = step.message(ENVELOPE, [RECIPIENT], content)
        return answer if isinstance(answer, bytes) else now(answer)

    def test_limit(self) -> None:
        """
        99 hops are no loop ("at least 100 Received entries"), 100 are; the refusal is for good.
        """
        field = b"Received: from a\r\n\tby b;\r\n\tdate\r\n"
        self.assertEqual(self.look(field * 99 + b"\r\n"), b"")
        error = self.assertRaises(MailError, self.look, field * 100 + b"\r\n")
        self.assertEqual((error.smtpCode, error.enhancedStatus), (554, "5.4.6"))

    def test_shortFields(self) -> None:
        """The shortest fields there can be are counted like others."""
        self.assertEqual(self.look(b"Received:\r\n" * 99 + b"\r\n"), b"")
        self.assertRaises(MailError, self.look, b"Received:\r\n" * 100 + b"\r\n")

    def test_whatCounts(self) -> None:
        """Names of any case and with obsolete space count; the body and other fields don't."""
        self.assertRaises(MailError, self.look, b"rEcEiVeD \t: x\r\n" * 3 + b"\r\n", 3)
        for message in (
            b"Subject: x\r\n\r\n" + b"Received: x\r\n" * 200,
            b"X-Received: x\r\n" * 200 + b"\r\n",
            b"Received-SPF: x\r\n" * 200 + b"\r\n",
            b"Subject: x\r\n" + b" Received: folded\r\n" * 200 + b"\r\n",
            b"",
        ):
            self.assertEqual(self.look(message, 3), b"")

    def test_hugeHeader(self) -> None:
        """A header of many megabytes is only looked at as far as is reasonable."""
        self.assertEqual(self.look(b"X: y\r\n" * 1_000_000 + b"\r\n"), b"")
