"""
The session: greeting, lines, order, limits, timeouts, failures (RFC 5321 §3.1, §3.8, §4.3, §4.5.3).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.smtp.support import PLAIN, SMTPTestCase, TroubledTarget
from twisted_mailstack.delivery.policy import PolicyStep
from twisted_mailstack.errors import (
    MailError,
    NoSuchAccount,
    OverQuota,
    SessionEnded,
    SyntaxProblem,
)
from twisted_mailstack.interfaces import IStagedContent
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import ConnectionInfo, Envelope, Recipient
from twisted_mailstack.smtp.commands.session import ehlo
from twisted_mailstack.smtp.extension import Command, Extension
from twisted_mailstack.smtp.registry import COMMANDS, EXTENSIONS
from twisted_mailstack.smtp.session import Registry, SMTPSession, SMTPSettings
from twisted_mailstack.testing.conversation import Conversation


class Gate(PolicyStep):
    """
    A policy that lets nothing pass before it is told to.

    @ivar waiting: what waits, by stage, in order.
    """

    def __init__(self, *stages: str) -> None:
        self.stages = stages
        self.waiting: list[tuple[str, Deferred[None]]] = []

    def _wait(self, stage: str) -> Deferred[None] | None:
        if stage not in self.stages:
            return None
        answer: Deferred[None] = Deferred()
        self.waiting.append((stage, answer))
        return answer

    def connection(self, info: ConnectionInfo) -> Deferred[None] | None:
        """See L{IPolicyStep}."""
        return self._wait("connection")

    def reversePath(self, envelope: Envelope) -> Deferred[None] | None:
        """See L{IPolicyStep}."""
        return self._wait("reversePath")

    def recipient(self, envelope: Envelope, recipient: Recipient) -> Deferred[None] | None:
        """See L{IPolicyStep}."""
        return self._wait("recipient")

    def message(
        self, envelope: Envelope, recipients: Collection[Recipient], content: IStagedContent
    ) -> Deferred[bytes] | bytes:
        """See L{IPolicyStep}."""
        waiting = self._wait("message")
        return b"" if waiting is None else waiting.addCallback(lambda _: b"")

    def open(self, error: Exception | None = None) -> None:
        """
        Let the first that waits pass.
        """
        _, answer = self.waiting.pop(0)
        if error is None:
            answer.callback(None)
        else:
            answer.errback(error)


class GreetingTests(SMTPTestCase):
    """
    How a session begins (RFC 5321 §3.1).
    """

    def refuse(self, error: Exception) -> Conversation:
        """
        @return: a connection that a policy refused.
        """

        class Refusing(PolicyStep):
            def connection(self, info: ConnectionInfo) -> None:
                raise error

        return self.serve(policies=[Refusing()]).connect()

    def test_refused(self) -> None:
        """
        A refusal is a 554 with our name and the reason; then every command gets 503, and the
        connection stays until QUIT ("MUST still wait for the client to send a QUIT").
        """
        for code in (554, 550, 521):
            conversation = self.refuse(MailError("listed at bl.test", smtpCode=code))
            conversation.check("""
                S: 554 mx.example.test listed at bl.test
                C: EHLO client.test
                S: 503 5.5.1 No service here
                C: MAIL FROM:<>
                S: 503 5.5.1 No service here
                C: NOOP
                S: 503 5.5.1 No service here
                C: XFOO
                S: 503 5.5.1 No service here
            """)
            self.assertFalse(conversation.finished)
            conversation.check("C: QUIT\nS: 221 2.0.0 mx.example.test closing")
            self.assertTrue(conversation.finished)

    def test_refusedForNow(self) -> None:
        """A temporary refusal is a 421 (§4.3.2), and the connection is closed."""
        for code in (421, 450, 451):
            conversation = self.refuse(MailError("busy", smtpCode=code))
            conversation.check("S: 421 mx.example.test busy")
            self.assertTrue(conversation.finished)

    def test_policyFails(self) -> None:
        """A policy that fails is a temporary refusal, with nothing of its text."""
        conversation = self.refuse(RuntimeError("/etc/secret"))
        conversation.check("S: 421 mx.example.test Temporary failure, try again later")
        self.assertTrue(conversation.finished)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_slow(self) -> None:
        """The greeting may take its time; what the client sent before it waits for it."""
        gate = Gate("connection")
        conversation = self.serve(policies=[gate]).connect()
        self.assertEqual(conversation.send(b"HELO early.test\r\nNOOP\r\n"), b"")
        gate.open()
        conversation.check("""
            S: 220 mx.example.test ESMTP
            S: 250 mx.example.test
            S: 250 2.0.0 OK
        """)


class LineTests(SMTPTestCase):
    """
    Lines of commands: where they end, how long they may be, what may be in them.
    """

    def test_limit(self) -> None:
        """512 octets with CRLF are taken, 513 aren't (§4.5.3.1.4), and all of it is skipped."""
        conversation = self.serve().greeted()
        for verb in (b"NOOP ", b"HELP ", b"VRFY ", b"RSET"):
            self.assertNotIn(
                b"too long", conversation.send(verb + b" " * (510 - len(verb)) + b"\r\n")
            )
            self.assertEqual(
                conversation.send(verb + b" " * (511 - len(verb)) + b"\r\nNOOP\r\n"),
                b"500 5.5.2 Line too long\r\n250 2.0.0 OK\r\n",
            )

    def test_RCPT(self) -> None:
        """RCPT with the longest path of all is taken (§4.5.3.1.3)."""
        conversation = self.serve().greeted()
        conversation.send(b"MAIL FROM:<>\r\n")
        domain = ".".join((*(each * 63 for each in "bcd"), "e" * 50))
        path = f"{'a' * (254 - len(domain) - 1)}@{domain}"
        self.assertEqual(
            conversation.send(f"RCPT TO:<{path}>\r\n".encode()), b"550 5.7.1 Relaying denied\r\n"
        )

    def test_extensionsAllowMore(self) -> None:
        """Each extension adds to MAIL's line what its RFC says."""
        more = 26 + 17 + 10 + 500  # RFC 1870 §3, RFC 6152 §2, RFC 6531 §3.1, RFC 4954 §3
        more += len(" RET=FULL") + len(" ENVID=") + 100  # RFC 3461 §5.4
        # RFC 3030 §3 8), RFC 8689 §2, RFC 6710 §3, RFC 2852 §3, RFC 4865 §4
        more += 16 + 11 + 15 + 17 + 34
        conversation = self.serve().greeted()
        line = b"MAIL FROM:<a@far.test>"
        longest = line + b" " * (512 + more - 2 - len(line))
        self.assertEqual(conversation.send(longest + b" \r\n"), b"500 5.5.2 Line too long\r\n")
        self.assertEqual(conversation.send(longest + b"\r\n"), b"250 2.1.0 OK\r\n")

    def test_veryLong(self) -> None:
        """Megabytes without a line end are one line too long, kept nowhere, and one error."""
        conversation = self.serve(maxErrors=1).greeted()
        for _ in range(100):
            self.assertEqual(conversation.send(b"X" * 50_000), b"")
        self.assertLess(conversation.stream.buffered, 100_000)
        self.assertEqual(
            conversation.send(b"\r\nNOOP\r\n"), b"500 5.5.2 Line too long\r\n250 2.0.0 OK\r\n"
        )

    def test_longUnknown(self) -> None:
        """A long line of no known command is just that."""
        self.assertEqual(
            self.serve().greeted().send(b"XFOO " + b"x" * 2000 + b"\r\n"),
            b"500 5.5.1 Command not recognised\r\n",
        )

    def test_onlyCRLF(self) -> None:
        """
        A CR or LF by itself ends no command (§2.3.8), and one with such a thing in it isn't run.
        """
        conversation = self.serve().greeted()
        self.assertEqual(conversation.send(b"NOOP\nNOOP\nQUIT\n"), b"")
        self.assertEqual(conversation.send(b"\r\n"), b"500 5.5.1 Command not recognised\r\n")
        self.assertEqual(
            conversation.send(b"MAIL FROM:<a@far.test>\rRSET\r\n"),
            b"501 5.5.4 Control characters are not allowed\r\n",
        )
        self.assertEqual(
            conversation.send(b"MAIL FROM:<a@far.test>\nRCPT TO:<alice@example.test>\r\n"),
            b"501 5.5.4 Control characters are not allowed\r\n",
        )
        self.assertEqual(conversation.send(b"NOOP\r"), b"")
        self.assertEqual(
            conversation.send(b"\nQUIT\r\r\n"),
            b"250 2.0.0 OK\r\n" + (b"500 5.5.1 Command not recognised\r\n"),
        )

    def test_octets(self) -> None:
        """8-bit octets and NULs in commands are errors like others, and never more."""
        conversation = self.serve(maxErrors=100).greeted()
        for line in (
            *(b"\xff\xfe\xfd", b"MAIL FROM:<\xff@far.test>", b"MAIL FROM:<a\0b@far.test>"),
            *(b"MAIL FROM:<a@far.test> SIZE=\xb2", b"RCPT TO:<\xff>", b"EHLO \xff", b"HELO \0"),
            *(b"VRFY \xff", b"VRFY \0", b"AUTH \xff", b"AUTH PLAIN \xff", b"STARTTLS \xff"),
            *(b"DATA \xff", b"RSET \0", b"QUIT \0", b"EXPN \xff", b"\x16\x03\x01\x02\x00\x01"),
        ):
            answer = conversation.send(line + b"\r\n")
            self.assertRegex(answer, rb"\A5[0-9]{2} [\x20-\x7e]*\r\n\Z", line)


class OrderTests(SMTPTestCase):
    """
    Replies come in the order of the commands, whatever waits (RFC 2920 §3.2).
    """

    SESSION = (
        b"EHLO client.test\r\n"
        b"MAIL FROM:<a@far.test>\r\n"
        b"RCPT TO:<alice@example.test>\r\n"
        b"RCPT TO:<nobody@example.test>\r\n"
        b"RCPT TO:<bob@example.test>\r\n"
        b"DATA\r\n"
        b"Subject: x\r\n\r\n..\r\n.\r\n"
        b"MAIL FROM:<b@far.test>\r\n"
        b"RCPT TO:<nobody@example.test>\r\n"
        b"DATA\r\n"
        b"NOOP\r\n"
        b"RSET\r\n"
        b"QUIT\r\n"
    )
    CODES = b"220 250 250 250 550 250 354 250 250 550 554 250 250 221".split()

    def codes(self, answers: bytes) -> list[bytes]:
        """
        @return: the codes of the replies.
        """
        return [line[:3] for line in answers.split(b"\r\n")[:-1] if line[3:4] == b" "]

    def test_gate(self) -> None:
        """
        A policy that waits at every stage keeps back what is behind it, and nothing that is before
        it: the replies so far are sent at once (RFC 2920 §3.2 (7): MUST).
        """
        gate = Gate("reversePath", "recipient", "message")
        server = self.serve(policies=[gate])
        conversation = server.connect()
        said = conversation.wire.take() + conversation.send(self.SESSION)
        stages = []
        while gate.waiting:
            self.assertEqual(len(gate.waiting), 1)
            stages.append((gate.waiting[0][0], len(self.codes(said))))
            gate.open()
            said += conversation.wire.take()
        self.assertEqual(
            stages,
            [
                *[("reversePath", 2), ("recipient", 3), ("recipient", 4), ("recipient", 5)],
                *[("message", 7), ("reversePath", 8), ("recipient", 9)],
            ],
        )
        self.assertEqual(self.codes(said), self.CODES)
        self.assertTrue(conversation.finished)
        self.assertEqual([len(server.inbox("alice")), len(server.inbox("bob"))], [1, 1])

    def test_refusedLater(self) -> None:
        """A refusal that comes late is the reply to its own command."""
        gate = Gate("recipient")
        conversation = self.serve(policies=[gate]).connect()
        said = conversation.wire.take() + conversation.send(self.SESSION)
        gate.open(NoSuchAccount())
        gate.open()
        gate.open(MailError("later", smtpCode=450))
        gate.open()
        said += conversation.wire.take()
        expected = list(self.CODES)
        expected[3:6] = [b"550", b"550", b"450"]
        # No recipient is left, so there is no text: its lines are commands that aren't known. A
        # client has to wait for 354.
        self.assertEqual(self.codes(said)[:7], [*expected[:6], b"554"])
        conversation.disconnect()

    def test_oneSegment(self) -> None:
        """A whole session in one segment gives the same replies and mail as one in many."""
        results = set()
        for size in (len(self.SESSION), 1, 2, 3, 7, 64):
            server = self.serve()
            self.setQueueIds()
            conversation = server.connect()
            said = conversation.wire.take()
            for at in range(0, len(self.SESSION), size):
                said += conversation.send(self.SESSION[at : at + size])
            self.assertTrue(conversation.finished)
            results.add((said, tuple(server.inbox("alice")), tuple(server.inbox("bob"))))
        self.assertEqual(len(results), 1)
        ((said, alice, bob),) = results
        self.assertEqual(self.codes(said), self.CODES)
        self.assertEqual((len(alice), len(bob)), (1, 1))

    def setQueueIds(self) -> None:
        """Every transaction is called the same."""
        self.patch(SMTPSession, "newQueueId", lambda session: "Q")

    def test_dataWithoutRecipients(self) -> None:
        """
        All recipients refused and DATA pipelined: DATA fails too (RFC 2920 §3.1), and the client
        goes on with RSET or another recipient.
        """
        conversation = self.serve().greeted()
        self.assertEqual(
            conversation.send(
                b"MAIL FROM:<a@far.test>\r\nRCPT TO:<x@example.test>\r\n"
                b"RCPT TO:<y@far.test>\r\nDATA\r\n"
            ),
            b"250 2.1.0 OK\r\n550 5.1.1 No such user here\r\n550 5.7.1 Relaying denied\r\n"
            b"554 5.5.1 No valid recipients\r\n",
        )
        conversation.check("""
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: .
            S: 250 2.0.0 OK: Q1
        """)

    def test_nextBehindText(self) -> None:
        """The next transaction may come with the end of the text (RFC 2920 §3.1)."""
        server = self.serve()
        conversation = server.greeted()
        conversation.send(b"MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")
        self.assertEqual(
            conversation.send(
                b"one\r\n.\r\nRSET\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"
            ),
            b"250 2.0.0 OK: Q1\r\n250 2.0.0 OK\r\n250 2.1.0 OK\r\n250 2.1.5 OK\r\n"
            b"354 End data with <CR><LF>.<CR><LF>\r\n",
        )
        conversation.check("C: two\nC: .\nS: 250 2.0.0 OK: Q2")
        self.assertEqual(len(server.inbox()), 2)

    def test_oneWrite(self) -> None:
        """The replies to a group of commands leave together (RFC 2920 §3.2 (2))."""
        conversation = self.serve().greeted()
        sent: list[bytes] = []
        self.patch(conversation.wire, "send", sent.append)
        conversation.stream.received(
            b"RSET\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"
        )
        self.assertEqual(len(sent), 1)
        self.assertEqual(sent[0].count(b"\r\n"), 4)
        conversation.disconnect()


class ErrorTests(SMTPTestCase):
    """
    What happens when things go wrong.
    """

    def test_tooMany(self) -> None:
        """After too many failures the connection is closed with 421 (RFC 5321 §7.8)."""
        conversation = self.serve(maxErrors=3).greeted()
        for _ in range(3):
            conversation.check("C: FOO\nS: 500 5.5.1 Command not recognised")
        conversation.check("C: FOO\nS: 421 4.7.0 mx.example.test too many errors")
        self.assertTrue(conversation.finished)

    def test_default(self) -> None:
        """A few mistakes close nothing (§3.8: "tolerant of unknown commands")."""
        conversation = self.serve().greeted()
        for _ in range(20):
            conversation.check("C: FOO\nS: 500 5.5.1 Command not recognised")
        conversation.check("C: NOOP\nS: 250 2.0.0 OK")

    def test_longLines(self) -> None:
        """Lines that are too long count too."""
        conversation = self.serve(maxErrors=1).greeted()
        line = b"NOOP " + b"x" * 20_000 + b"\r\n"
        self.assertEqual(conversation.send(line), b"500 5.5.2 Line too long\r\n")
        self.assertEqual(conversation.send(line), b"421 4.7.0 mx.example.test too many errors\r\n")
        self.assertTrue(conversation.finished)

    def test_messageMakesUp(self) -> None:
        """A message that is accepted makes up for what went wrong before."""
        server = self.serve(maxErrors=3)
        conversation = server.greeted()
        for number in range(1, 4):
            for _ in range(3):
                conversation.check("C: FOO\nS: 500 5.5.1 Command not recognised")
            conversation.check(f"""
                C: MAIL FROM:<>
                S: 250 2.1.0 OK
                C: RCPT TO:<alice@example.test>
                S: 250 2.1.5 OK
                C: DATA
                S: 354 End data with <CR><LF>.<CR><LF>
                C: .
                S: 250 2.0.0 OK: Q{number}
            """)

    def test_notShared(self) -> None:
        """Each connection's mistakes are its own."""
        server = self.serve(maxErrors=2)
        one, other = server.greeted(), server.greeted()
        for _ in range(2):
            for conversation in (one, other):
                conversation.check("C: FOO\nS: 500 5.5.1 Command not recognised")
        one.check("C: FOO\nS: 421 4.7.0 mx.example.test too many errors")
        self.assertTrue(one.finished)
        other.check("C: NOOP\nS: 250 2.0.0 OK")
        self.assertFalse(other.finished)
        server.greeted().check("C: FOO\nS: 500 5.5.1 Command not recognised")

    def test_421(self) -> None:
        """Whoever says 421 means it: our name is in it (§4.2.2), and the connection is closed."""

        class Closing(PolicyStep):
            def reversePath(self, envelope: Envelope) -> None:
                raise MailError("too much from you", smtpCode=421, enhancedStatus="4.7.0")

        conversation = self.serve(policies=[Closing()]).greeted()
        conversation.check("C: MAIL FROM:<>\nS: 421 4.7.0 mx.example.test too much from you")
        self.assertTrue(conversation.finished)

    def test_defect(self) -> None:
        """
        A command that fails by a defect: 451 and nothing of the machine; the log has it all, the
        transaction is over, the session goes on.
        """

        async def breaks(session: SMTPSession, argument: bytes) -> None:
            raise OSError(28, "No space left on device", "/var/lib/mail/secret.db")

        extension = Extension("XBREAK", 5321, commands=(Command(b"XBREAK", breaks, "XBREAK"),))
        self.serve(extensions=(extension,)).greeted().check("""
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: XBREAK
            S: 451 4.3.0 Temporary failure, try again later
            C: RCPT TO:<alice@example.test>
            S: 503 5.5.1 Say MAIL first
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
        """)
        (failure,) = self.flushLoggedErrors(OSError)
        self.assertIn("secret.db", str(failure.value))

    def test_defectsCount(self) -> None:
        """Who makes us fail again and again is sent away."""

        async def breaks(session: SMTPSession, argument: bytes) -> None:
            raise ZeroDivisionError

        extension = Extension("XBREAK", 5321, commands=(Command(b"XBREAK", breaks, "XBREAK"),))
        conversation = self.serve(extensions=(extension,), maxErrors=2).greeted()
        for _ in range(2):
            conversation.check("C: XBREAK\nS: 451 4.3.0 Temporary failure, try again later")
        conversation.check("C: XBREAK\nS: 421 4.7.0 mx.example.test too many errors")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)

    def test_policyDefects(self) -> None:
        """A policy that fails, at any stage, is a temporary failure of that command."""
        for stage, line in (
            ("reversePath", "MAIL FROM:<>"),
            ("recipient", "RCPT TO:<alice@example.test>"),
            ("message", "."),
        ):
            policy = PolicyStep()
            error = KeyError("secret")

            def fail(*arguments: object, error: Exception = error) -> None:
                raise error

            setattr(policy, stage, fail)
            server = self.serve(policies=[policy])
            conversation = server.greeted()
            lines = ["MAIL FROM:<>", "RCPT TO:<alice@example.test>", "DATA", "text", "."]
            for each in lines[: lines.index(line)]:
                conversation.send(each.encode() + b"\r\n")
            conversation.check(f"""
                C: {line}
                S: 451 4.3.0 Temporary failure, try again later
                C: NOOP
                S: 250 2.0.0 OK
            """)
            self.assertEqual(server.inbox(), [])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 3)


class EndTests(SMTPTestCase):
    """
    Timeouts and the server's end (RFC 5321 §3.8, §4.5.3.2.7).
    """

    GOODBYE = b"421 4.4.2 mx.example.test closing: timeout\r\n"

    def test_silence(self) -> None:
        """A client that is silent for five minutes is told so and closed; not before."""
        server = self.serve()
        conversation = server.connect()
        conversation.wire.take()
        server.clock.advance(299)
        self.assertEqual(conversation.send(b"NOOP\r\n"), b"250 2.0.0 OK\r\n")
        server.clock.advance(299)
        self.assertFalse(conversation.finished)
        server.clock.advance(2)
        self.assertEqual(conversation.wire.take(), self.GOODBYE)
        self.assertTrue(conversation.finished)

    def test_slowLine(self) -> None:
        """A line that comes an octet a minute is not a line that comes."""
        server = self.serve(timeout=300)
        conversation = server.greeted()
        for _ in range(5):
            conversation.send(b"X")
            server.clock.advance(61)
        self.assertEqual(conversation.wire.take(), self.GOODBYE)
        self.assertTrue(conversation.finished)

    def test_inText(self) -> None:
        """Silence in the midst of the text ends the session, and nothing is delivered or left."""
        server = self.serve()
        conversation = server.greeted()
        conversation.send(b"MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\nhalf of")
        self.assertNotEqual(server.store.staged, set())
        server.clock.advance(301)
        self.assertEqual(conversation.wire.take(), self.GOODBYE)
        self.assertTrue(conversation.finished)
        self.assertEqual(server.store.staged, set())
        self.assertEqual(server.inbox(), [])

    def test_textThatComes(self) -> None:
        """A text may take as long as it needs, if it comes."""
        server = self.serve()
        conversation = server.greeted()
        conversation.send(b"MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")
        for _ in range(20):
            server.clock.advance(200)
            conversation.send(b"line\r\n")
        self.assertEqual(conversation.send(b".\r\n"), b"250 2.0.0 OK: Q1\r\n")

    def test_slowCommit(self) -> None:
        """Time that we take isn't the client's."""
        done: Deferred[None] = Deferred()
        server = self.serve(target=TroubledTarget("commit", done))
        conversation = server.greeted()
        conversation.send(b"MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n.\r\n")
        server.clock.advance(1000)
        done.callback(None)
        self.assertEqual(conversation.wire.take()[-18:], b"250 2.0.0 OK: Q1\r\n")
        self.assertFalse(conversation.finished)

    def test_shutdown(self) -> None:
        """When the server stops, a session that waits says 421 (§3.8: SHOULD) and ends."""
        server = self.serve()
        for before in (b"", b"EHLO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\n"):
            conversation = server.connect()
            conversation.send(before)
            conversation.wire.take()
            conversation.stream.end(SessionEnded.SHUTDOWN)
            self.assertEqual(
                conversation.wire.take(), b"421 4.3.2 mx.example.test shutting down\r\n"
            )
            self.assertTrue(conversation.finished)

    def test_shutdownWhileCommitting(self) -> None:
        """What is being committed is committed and answered before the goodbye."""
        done: Deferred[None] = Deferred()
        server = self.serve(target=TroubledTarget("commit", done))
        conversation = server.greeted()
        conversation.send(b"MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")
        conversation.send(b".\r\n")
        conversation.stream.end(SessionEnded.SHUTDOWN)
        self.assertFalse(conversation.finished)
        done.callback(None)
        self.assertEqual(
            conversation.wire.take(),
            b"250 2.0.0 OK: Q1\r\n421 4.3.2 mx.example.test shutting down\r\n",
        )


class SubmissionTests(SMTPTestCase):
    """
    A submission server (RFC 6409 §4.3, RFC 4954 §6): first AUTH, then mail.
    """

    def test_requiresAUTH(self) -> None:
        """Without AUTH there is no mail, but what leads to it, and what does no harm."""
        server = self.serve(submission=True)
        server.greeted(secure=True).check(f"""
            C: MAIL FROM:<alice@example.test>
            S: 530 5.7.0 Authentication required
            C: RCPT TO:<alice@example.test>
            S: 530 5.7.0 Authentication required
            C: DATA
            S: 530 5.7.0 Authentication required
            C: VRFY alice@example.test
            S: 530 5.7.0 Authentication required
            C: EXPN staff
            S: 530 5.7.0 Authentication required
            C: NOOP
            S: 250 2.0.0 OK
            C: RSET
            S: 250 2.0.0 OK
            C: HELP QUIT
            S: 214 2.0.0 QUIT
            C: AUTH PLAIN {PLAIN}
            S: 235 2.7.0 Authenticated
            C: MAIL FROM:<alice@example.test>
            S: 250 2.1.0 OK
            C: RCPT TO:<bob@example.test>
            S: 250 2.1.5 OK
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: .
            S: 250 2.0.0 OK: Q1
            C: QUIT
            S: 221 2.0.0 mx.example.test closing
        """)
        self.assertIn(b" with ESMTPSA ", server.inbox("bob")[0])


class SettingsTests(SynchronousTestCase):
    """
    L{SMTPSettings} and L{Registry}.
    """

    def test_minima(self) -> None:
        """What the RFC guarantees to clients can't be configured away (§4.5.3.1)."""
        SMTPSettings(hostname="mx", maxMessageOctets=65536, maxRecipients=100, maxLineOctets=1000)
        for wrong in (
            {"maxMessageOctets": 65535},
            {"maxRecipients": 99},
            {"maxLineOctets": 999},
            {"bareNewlines": "accept"},
            {"maxRecipientDomains": 0},
            {"maxHold": -1},
            {"minDeliverBy": 1_000_000_000},
            {"maxPriority": 10},
        ):
            self.assertRaises(ValueError, SMTPSettings, hostname="mx", **wrong)

    def test_ofExtensions(self) -> None:
        """A registry has the commands, parameters and lengths of its extensions, and no others."""

        async def nothing(session: SMTPSession, argument: bytes) -> None:
            """Nothing."""

        def check(session: SMTPSession, value: str | None) -> None:
            """Nothing."""

        extension = Extension(
            "XA",
            5321,
            commands=(Command(b"XA", nothing, "XA", 700),),
            mailParameters={"XA": check},
            rcptParameters={"XB": check},
            mailOctets=5,
            rcptOctets=7,
        )
        registry = Registry(COMMANDS, [extension])
        self.assertEqual(set(registry.commands), {c.name for c in COMMANDS} | {b"XA"})
        self.assertEqual(registry.mailParameters, {"XA": [(extension, check)]})
        self.assertEqual(registry.rcptParameters, {"XB": [(extension, check)]})
        limits = registry.lineLimits
        self.assertEqual([limits[each] for each in (b"MAIL", b"RCPT", b"XA")], [517, 519, 700])
        self.assertEqual(registry.longestLine, 700)

    def test_keywords(self) -> None:
        """Each extension has a keyword of the right form (§4.1.1.1) and another than the others."""
        keywords = [extension.keyword for extension in EXTENSIONS]
        self.assertEqual(len(set(keywords)), len(keywords))
        for keyword in keywords:
            self.assertRegex(keyword, r"\A[A-Z0-9][A-Z0-9-]*\Z")


class LogTests(SMTPTestCase):
    """
    What an operator reads: who, what, queue id, outcome.
    """

    def setUp(self) -> None:
        """Watch the log."""
        super().setUp()
        events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        self.events = events

    def lines(self) -> list[str]:
        """
        @return: the log's lines.
        """
        return [formatEvent(event) for event in self.events if "log_format" in event]

    def test_accepted(self) -> None:
        """A message that was taken."""
        server = self.serve()
        server.greeted().send(
            b"MAIL FROM:<a@far.test>\r\nRCPT TO:<alice@example.test>\r\n"
            b"RCPT TO:<bob@example.test>\r\nDATA\r\n12345678\r\n.\r\n"
        )
        self.assertEqual(
            self.lines()[-1],
            "Q1: accepted: from=<a@far.test> to=<alice@example.test>,<bob@example.test> size=10"
            " peer=192.0.2.1 helo=client.test user=-",
        )

    def test_refused(self) -> None:
        """A connection, a sender, a recipient and a message that were refused, each with why."""

        class Refusing(PolicyStep):
            def connection(self, info: ConnectionInfo) -> None:
                if info.peer == "203.0.113.1":
                    raise MailError("listed")

            def reversePath(self, envelope: Envelope) -> None:
                if envelope.reversePath is None:
                    raise MailError("later", smtpCode=450, enhancedStatus="4.7.1")

        server = self.serve(policies=[Refusing()])
        server.connect(peer="203.0.113.1").disconnect()
        self.assertEqual(self.lines()[-1], "smtp: refused: peer=203.0.113.1: 554 listed")
        conversation = server.authenticated()
        conversation.send(b"MAIL FROM:<>\r\n")
        self.assertEqual(self.lines()[-1], "Q1: refused: from=<> peer=192.0.2.1: 450 4.7.1 later")
        conversation.send(b"MAIL FROM:<a@far.test>\r\nRCPT TO:<nobody@example.test>\r\n")
        self.assertEqual(
            self.lines()[-1],
            "Q2: refused: from=<a@far.test> to=<nobody@example.test> peer=192.0.2.1:"
            " 550 5.1.1 No such user here",
        )
        conversation.send(b"RCPT TO:<alice@example.test>\r\nDATA\r\na\nb\r\n.\r\n")
        self.assertRegex(
            self.lines()[-1],
            r"\AQ2: refused: 550 The message has a NUL[^:]*: [^:]*: from=<a@far.test>"
            r" to=<alice@example.test> size=5 peer=192.0.2.1 helo=client.test"
            r" user=alice@example.test\Z",
        )

    def test_many(self) -> None:
        """Of very many recipients the first are named."""
        server = self.serve()
        conversation = server.greeted()
        conversation.send(b"MAIL FROM:<>\r\n")
        for number in range(12):
            conversation.send(b"RCPT TO:<alice+%d@example.test>\r\n" % number)
        conversation.send(b"DATA\r\n.\r\n")
        line = self.lines()[-1]
        self.assertIn(",<alice+9@example.test>,... (12 in all) ", line)
        self.assertNotIn("alice+10", line)

    def test_oneLine(self) -> None:
        """Nothing that a client says makes a line of the log."""
        server = self.serve()
        for hello in (b"EHLO a\rQ1:\r\n", b"EHLO a\nQ1:\r\n", "EHLO a\u2028Q1:\r\n".encode()):
            conversation = server.connect()
            conversation.send(hello + b"EHLO {curly}\r\n")
            conversation.send(b"MAIL FROM:<{0}@far.test>\r\nRCPT TO:<{a.b}@far.test>\r\n")
            conversation.send(b"RCPT TO:<alice@example.test>\r\nDATA\r\n.\r\n")
        text = "\n".join(self.lines())
        self.assertNotIn("\nQ1:\n", text)
        self.assertIn("from=<{0}@far.test> ", text)
        self.assertIn(" helo={curly} ", text)


class ExtensionTests(SMTPTestCase):
    """
    What an extension can do.
    """

    def serveWith(self, extension: Extension, **arguments: Any) -> Conversation:
        """
        @return: a connection to a server that has one more extension.
        """
        server = self.serve(extensions=(*EXTENSIONS, extension), **arguments)
        return server.greeted()

    def test_checkMail(self) -> None:
        """It sees all parameters of MAIL together, and only if each is right by itself."""
        seen: list[object] = []

        def check(
            session: SMTPSession, path: Address | None, parameters: dict[str, str | None]
        ) -> None:
            seen.append((path, dict(parameters)))
            if "BODY" in parameters and "SIZE" in parameters:
                raise SyntaxProblem("Not both")

        self.serveWith(Extension("X", 0, checkMail=check)).check("""
            C: MAIL FROM:<> BODY=7BIT SIZE=5x
            S: 501 5.5.4 SIZE needs a number
            C: MAIL FROM:<> BODY=7BIT SIZE=5
            S: 501 5.5.4 Not both
            C: RCPT TO:<alice@example.test>
            S: 503 5.5.1 Say MAIL first
            C: MAIL FROM:<a@far.test> SIZE=5
            S: 250 2.1.0 OK
        """)
        self.assertEqual(
            seen,
            [(None, {"BODY": "7BIT", "SIZE": "5"}), (Address("a", "far.test"), {"SIZE": "5"})],
        )

    def test_checkRcpt(self) -> None:
        """It may refuse a recipient, knowing the transaction."""

        def check(session: SMTPSession, recipient: Recipient) -> None:
            assert session.transaction is not None
            if session.transaction.recipients:
                raise MailError("One is enough", smtpCode=452, enhancedStatus="4.5.3")

        self.serveWith(Extension("X", 0, checkRcpt=check)).check("""
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
            C: RCPT TO:<bob@example.test>
            S: 452 4.5.3 One is enough
        """)

    def test_checkData(self) -> None:
        """It may refuse DATA; the transaction stays."""

        def check(session: SMTPSession) -> None:
            raise MailError("Not so", smtpCode=503, enhancedStatus="5.5.1")

        self.serveWith(Extension("X", 0, checkData=check)).check("""
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
            C: DATA
            S: 503 5.5.1 Not so
            C: RCPT TO:<bob@example.test>
            S: 250 2.1.5 OK
        """)

    def test_unavailable(self) -> None:
        """
        What isn't there in a session isn't offered, its command isn't either, its parameters are
        unknown, and its checks aren't asked.
        """

        async def run(session: SMTPSession, argument: bytes) -> None:
            session.ok()

        def check(session: SMTPSession, *others: object) -> None:
            raise MailError("asked")

        def acceptAny(session: SMTPSession, value: str | None) -> None:
            pass

        for available in (False, True):
            conversation = self.serveWith(
                Extension(
                    "XOFF",
                    0,
                    available=lambda session, available=available: available,  # type: ignore[misc]
                    commands=(Command(b"XRUN", run, "XRUN"),),
                    mailParameters={"XMAIL": acceptAny},
                    rcptParameters={"XRCPT": acceptAny},
                    checkRcpt=check,
                )
            )
            offered = conversation.send(b"EHLO client.test\r\n")
            self.assertEqual(b"250-XOFF\r\n" in offered, available)
            self.assertEqual(b" XRUN" in conversation.send(b"HELP\r\n"), available)
            if available:
                conversation.check("""
                    C: XRUN
                    S: 250 2.0.0 OK
                    C: HELP XRUN
                    S: 214 2.0.0 XRUN
                    C: MAIL FROM:<> XMAIL=1
                    S: 250 2.1.0 OK
                    C: RCPT TO:<alice@example.test> XRCPT
                    S: 550 5.0.0 asked
                """)
            else:
                conversation.check("""
                    C: XRUN
                    S: 502 5.5.1 Not available here
                    C: HELP XRUN
                    S: 504 5.5.4 No such command
                    C: MAIL FROM:<> XMAIL=1
                    S: 555 5.5.4 XMAIL is not a known parameter
                    C: MAIL FROM:<>
                    S: 250 2.1.0 OK
                    C: RCPT TO:<alice@example.test> XRCPT
                    S: 555 5.5.4 XRCPT is not a known parameter
                    C: RCPT TO:<alice@example.test>
                    S: 250 2.1.5 OK
                """)

    async def take(self, session: SMTPSession, argument: bytes) -> None:
        """A command that octets follow."""
        session.ok((await session.stream.readExactly(int(argument))).decode("ascii"))

    def payload(self, argument: bytes) -> int | None:
        """See L{Command}."""
        return int(argument) if argument.isdigit() else None

    def extension(self) -> Extension:
        """
        @return: one with such a command.
        """
        return Extension(
            "X",
            0,
            commands=(
                Command(
                    b"XTAKE",
                    self.take,
                    "XTAKE octets",
                    maxLine=20,
                    beforeAuthentication=False,
                    payload=self.payload,
                ),
            ),
        )

    def test_payload(self) -> None:
        """
        What follows a command that is refused before it is executed is never taken for commands,
        however it is cut.
        """
        stream = b"XTAKE 7\r\nRSET\r\n.XTAKE 6" + b" " * 20 + b"\r\nQUIT\r\nNOOP\r\n"
        refused = b"530 5.7.0 Authentication required\r\n500 5.5.2 Line too long\r\n"
        for size in (len(stream), 1, 10):
            conversation = self.serveWith(self.extension(), submission=True)
            said = b""
            for at in range(0, len(stream), size):
                said += conversation.send(stream[at : at + size])
            self.assertEqual(said, refused + b"250 2.0.0 OK\r\n")

    def test_payloadTurnedAway(self) -> None:
        """Likewise where nobody is served."""

        class Refusing(PolicyStep):
            def connection(self, info: ConnectionInfo) -> None:
                raise MailError("No")

        server = self.serve(extensions=(*EXTENSIONS, self.extension()), policies=[Refusing()])
        conversation = server.connect()
        conversation.wire.take()
        self.assertEqual(
            conversation.send(b"XTAKE 6\r\nQUIT\r\nQUIT\r\n"),
            b"503 5.5.1 No service here\r\n221 2.0.0 mx.example.test closing\r\n",
        )

    def test_payloadUnknown(self) -> None:
        """Where nobody knows how much follows, the session ends."""
        conversation = self.serveWith(self.extension(), submission=True)
        self.assertEqual(
            conversation.send(b"XTAKE x\r\nNOOP\r\n"), b"530 5.7.0 Authentication required\r\n"
        )
        self.assertTrue(conversation.finished)

    def test_payloadVanishes(self) -> None:
        """The client goes in the midst of it."""
        conversation = self.serveWith(self.extension(), submission=True)
        conversation.send(b"XTAKE 100\r\nabc")
        conversation.disconnect()
        self.assertTrue(conversation.finished)
        self.assertIsNone(conversation.failure)

    def test_claims(self) -> None:
        """
        What a trusted peer says of the connection holds for everything from then on; whom it has
        authenticated is forgotten with TLS.
        """

        async def claim(session: SMTPSession, argument: bytes) -> None:
            session.claims["peer"] = argument.decode("ascii")
            session.claimedLogin = Address("alice", "example.test")
            session.ok(session.info.peer)

        seen: list[Envelope] = []

        class Watching(PolicyStep):
            def reversePath(self, envelope: Envelope) -> None:
                seen.append(envelope)

        command = Command(b"XCLAIM", claim, "XCLAIM address")
        conversation = self.serveWith(
            Extension("X", 0, commands=(command,)), policies=[Watching()], submission=True
        )
        conversation.check("""
            C: MAIL FROM:<>
            S: 530 5.7.0 Authentication required
            C: XCLAIM 198.51.100.7
            S: 250 2.0.0 198.51.100.7
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: RSET
            S: 250 2.0.0 OK
            C: STARTTLS
            S: 220 2.0.0 Ready to start TLS
        """)
        conversation.send(b"EHLO client.test\r\n")
        conversation.check("""
            C: MAIL FROM:<>
            S: 530 5.7.0 Authentication required
            C: XCLAIM 198.51.100.8
            S: 250 2.0.0 198.51.100.8
        """)
        (envelope,) = seen
        self.assertEqual(envelope.connection.peer, "198.51.100.7")
        self.assertEqual(envelope.connection.peerPort, 50000)
        self.assertEqual(str(envelope.authenticated), "alice@example.test")


class LMTPTests(SMTPTestCase):
    """
    The session that speaks LMTP (RFC 2033).
    """

    COMMANDS = (
        *(each for each in COMMANDS if each.name not in (b"EHLO", b"HELO")),
        Command(b"LHLO", ehlo, "LHLO domain", enhanced=False),
    )

    def greet(self, **arguments: Any) -> Conversation:
        """
        @return: a connection that has said LHLO.
        """
        server = self.serve(commands=self.COMMANDS, lmtp=True, **arguments)
        return server.greeted("LHLO client.test")

    def send(self, conversation: Conversation, *recipients: str) -> None:
        """
        Go as far as 354.
        """
        lines = "".join(
            f"C: RCPT TO:<{each}@example.test>\nS: 250 2.1.5 OK\n" for each in recipients
        )
        conversation.check(
            "C: MAIL FROM:<chris@far.test>\nS: 250 2.1.0 OK\n"
            f"{lines}C: DATA\nS: 354 End data with <CR><LF>.<CR><LF>"
        )

    def test_LHLO(self) -> None:
        """EHLO and HELO are no commands (§4.1), and LHLO comes first."""
        conversation = self.serve(commands=self.COMMANDS, lmtp=True).connect()
        conversation.check("""
            S: 220 mx.example.test LMTP
            C: EHLO client.test
            S: 500 5.5.1 Command not recognised
            C: HELO client.test
            S: 500 5.5.1 Command not recognised
            C: MAIL FROM:<>
            S: 503 5.5.1 Say LHLO first
        """)
        self.assertIn(b"\r\n250-PIPELINING\r\n", conversation.send(b"LHLO client.test\r\n"))

    def test_replies(self) -> None:
        """
        One reply for each recipient, in their order, also if one is named twice (§4.2): each with
        what became of it.
        """
        target = TroubledTarget("commit", [None, OverQuota(), ValueError("defect"), None])
        conversation = self.greet(target=target)
        self.send(conversation, "alice", "bob", "alice", "alice")
        conversation.check("""
            C: text
            C: .
            S: 250 2.0.0 OK: Q1
            S: 452 4.2.2 The account is over its quota
            S: 451 4.3.0 Temporary failure, try again later
            S: 250 2.0.0 OK: Q1
            C: NOOP
            S: 250 2.0.0 OK
        """)

    def test_refused(self) -> None:
        """A message that is refused whole is refused to each; never with 421, which is for once."""
        for trouble, reply in (
            (MailError("bad", smtpCode=554, enhancedStatus="5.6.0"), "554 5.6.0 bad"),
            (MailError("off", smtpCode=421, enhancedStatus="4.3.2"), "451 4.3.0 off"),
            (ValueError("defect"), "451 4.3.0 Temporary failure, try again later"),
        ):
            conversation = self.greet(target=TroubledTarget("commit", trouble))
            self.send(conversation, "alice", "bob")
            conversation.check(f"""
                C: .
                S: {reply}
                S: {reply}
                C: NOOP
                S: 250 2.0.0 OK
            """)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_refusedWhileItComes(self) -> None:
        """So is one that is refused while it comes."""
        conversation = self.greet()
        self.send(conversation, "alice", "bob")
        answer = conversation.send(b"a\0b\r\n.\r\n")
        self.assertEqual([line[:9] for line in answer.split(b"\r\n")[:-1]], [b"550 5.6.0"] * 2)

    def test_noRecipients(self) -> None:
        """DATA without recipients is 503 (§4.2: MUST)."""
        self.greet().check("""
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: DATA
            S: 503 5.5.1 No valid recipients
        """)

    def test_protocol(self) -> None:
        """The trace field says how it came (RFC 3848, RFC 6531 §4.3), the target whom it owes."""
        seen: list[Envelope] = []

        class Watching(PolicyStep):
            def reversePath(self, envelope: Envelope) -> None:
                seen.append(envelope)

        for parameters, protocol in (("", "LMTP"), (" SMTPUTF8", "UTF8LMTP")):
            target = TroubledTarget()
            conversation = self.greet(target=target, policies=[Watching()])
            conversation.check(f"""
                C: MAIL FROM:<>{parameters}
                S: 250 2.1.0 OK
                C: RCPT TO:<alice@example.test>
                S: 250 2.1.5 OK
                C: DATA
                S: 354 End data with <CR><LF>.<CR><LF>
            """)
            conversation.send(b".\r\n")
            self.assertIn(b" with %b\r\n" % protocol.encode(), target.committed[0])
        self.assertTrue(all(envelope.perRecipient for envelope in seen))
