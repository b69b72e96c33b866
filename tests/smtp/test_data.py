"""
The text of a message: DATA, transparency, its limits, and what a failure in the midst of it does
(RFC 5321 §3.3, §4.1.1.4, §4.5.2, §4.5.3.1).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost

from tests.smtp.support import Server, SMTPTestCase, TroubledTarget
from twisted_mailstack.delivery.policy import PolicyStep
from twisted_mailstack.errors import (
    ConnectionClosed,
    MailError,
    NoSuchAccount,
    OverQuota,
    TemporaryFailure,
)
from twisted_mailstack.interfaces import IStagedContent
from twisted_mailstack.model.records import Envelope, Recipient
from twisted_mailstack.testing.conversation import Conversation

#: What is said to a message that has lines of another kind.
BARE = b"550 5.6.0 The message has a NUL, or a CR or LF by itself: lines must end in CRLF\r\n"
PREFIX = re.compile(rb".*?;\r\n\t[^\r]*\r\n", re.DOTALL)


def stuffed(text: bytes) -> bytes:
    """
    @return: a message as a client sends it (RFC 5321 §4.5.2), line by line.
    """
    lines = text.split(b"\r\n")
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines) + (
        b".\r\n" if text.endswith(b"\r\n") or not text else b"\r\n.\r\n"
    )


class DataTestCase(SMTPTestCase):
    """
    A transaction that has come to DATA.
    """

    def begin(self, server: Server) -> Conversation:
        """
        @return: a connection on which 354 was said.
        """
        conversation = server.greeted()
        conversation.check("""
            C: MAIL FROM:<sender@far.test>
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
        """)
        return conversation

    def texts(self, server: Server) -> list[bytes]:
        """
        @return: what alice got, without what we put in front.
        """
        return [PREFIX.sub(b"", octets, 1) for octets in server.inbox()]


class TextTests(DataTestCase):
    """
    What is stored is what was sent.
    """

    def test_octetForOctet(self) -> None:
        """The text is stored as it came, dots unstuffed, and nothing else changed."""
        for text in (
            b"",
            b"\r\n",
            b"Subject: x\r\n\r\nbody\r\n",
            b".\r\n",
            b"..\r\n",
            b".hidden\r\n..\r\n...\r\n",
            b"\r\n.\r\n\r\n",
            b"a\r\n.\r\n.\r\nb\r\n",
            b"8-bit \xff\xfe\x80\xc3\xa4\r\n",
            b"\x01\x02\x1b\x7f\t\x0b\x0c\r\n",
            b"x" * 998 + b"\r\n",
            b"MAIL FROM:<a@b.test>\r\nQUIT\r\n",
        ):
            server = self.serve()
            conversation = self.begin(server)
            self.assertRegex(conversation.send(stuffed(text)), rb"\A250 2.0.0 OK: Q\d+\r\n\Z")
            self.assertEqual(self.texts(server), [text])

    def test_example(self) -> None:
        """The whole stored message of one transaction (RFC 5321 §4.4)."""
        server = self.serve()
        conversation = self.begin(server)
        conversation.check("""
            C: From: Sender <sender@far.test>
            C: Subject: dots
            C:\x20
            C: ..
            C: ..hidden
            C: .
            S: 250 2.0.0 OK: Q1
        """)
        text = b"From: Sender <sender@far.test>\r\nSubject: dots\r\n\r\n.\r\n.hidden\r\n"
        self.assertEqual(server.inbox(), [self.stored(text)])

    def test_noFinalLineEnd(self) -> None:
        """A client whose text doesn't end in a line end adds it (§4.1.1.4), and it is stored."""
        server = self.serve()
        self.begin(server).send(stuffed(b"no end"))
        self.assertEqual(self.texts(server), [b"no end\r\n"])

    def test_cutAnywhere(self) -> None:
        """However the text is cut into segments, the same is stored and said."""
        text = b"\r\n.\r\n..\r\na\r\n.b\r\n\r\n...\r\n"
        wire = stuffed(text)
        for cut in range(len(wire) + 1):
            for second in range(cut, len(wire) + 1):
                if second not in (cut, cut + 1, cut + 3):
                    continue
                server = self.serve()
                conversation = self.begin(server)
                said = b"".join(
                    conversation.send(part)
                    for part in (wire[:cut], wire[cut:second], wire[second:])
                    if part
                )
                self.assertRegex(said, rb"\A250 2.0.0 OK: Q\d+\r\n\Z")
                self.assertEqual(self.texts(server), [text], (cut, second))

    def test_large(self) -> None:
        """A message larger than what is read at a time is whole, dots at every edge."""
        for shift in range(5):
            text = (b"." * (65536 - shift) + b"\r\n.\r\n") * 4
            server = self.serve()
            self.assertTrue(self.begin(server).send(stuffed(text)).startswith(b"250 "))
            self.assertEqual(self.texts(server), [text])

    @given(
        st.lists(
            st.sampled_from([b".", b"..", b"\r\n", b"a", b".\r\n", b"\r\n.\r\n", b"\xff"]),
            max_size=12,
        ),
        st.lists(st.integers(0, 60), max_size=6),
    )
    @settings(max_examples=150, deadline=None)
    def test_anyText(self, pieces: list[bytes], cuts: list[int]) -> None:
        """Any text of whole lines comes out as it went in, however it was cut."""
        text = b"".join(pieces)
        if text and not text.endswith(b"\r\n"):
            text += b"\r\n"
        wire = stuffed(text)
        server = Server()
        conversation = self.begin(server)
        edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
        said = b"".join(conversation.send(wire[a:b]) for a, b in pairwise(edges))
        self.assertEqual(said.count(b"\r\n"), 1)
        self.assertTrue(said.startswith(b"250 2.0.0 OK"))
        self.assertEqual(self.texts(server), [text])
        self.assertEqual(server.store.staged, set())


class SmugglingTests(DataTestCase):
    """
    Where the text ends, no two readers can disagree.
    """

    def test_onlyCRLF(self) -> None:
        """
        Nothing but CRLF.CRLF ends the text (§4.1.1.4: "MUST NOT be treated as equivalent"), and a
        text that has such line ends is refused, so that it's never passed on.
        """
        for end in (
            *(b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\n.\r", b"\r.\n"),
            *(b"\r.\r\n", b"\r\r\n.\n", b"\n\r.\n\r", b"\r\n.\r\r\n", b"\r\n\0.\r\n"),
        ):
            server = self.serve()
            conversation = self.begin(server)
            smuggled = (
                b"MAIL FROM:<forged@example.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"
            )
            self.assertEqual(
                conversation.send(b"Subject: x\r\n\r\ntext" + end + smuggled), b"", end
            )
            self.assertEqual(conversation.send(b"forged\r\n.\r\n"), BARE, end)
            self.assertEqual(server.inbox(), [])
            conversation.check("C: NOOP\nS: 250 2.0.0 OK")

    def test_bytewise(self) -> None:
        """The same, an octet at a time."""
        for text in (b"a\nb", b"a\rb", b"\na", b"\ra", b"a\n", b"a\r", b"\0", b"a\r\r", b"\n\r"):
            server = self.serve()
            conversation = self.begin(server)
            said = b"".join(
                conversation.send(bytes([octet])) for octet in text + b"\r\n.\r\nNOOP\r\n"
            )
            self.assertEqual(said, BARE + b"250 2.0.0 OK\r\n", text)
            self.assertEqual(server.inbox(), [])

    def test_kept(self) -> None:
        """Where the operator wants it, bare line ends are kept; they still end nothing."""
        server = self.serve(bareNewlines="keep")
        conversation = self.begin(server)
        text = b"a\nb\rc\n.\nd\r.\r\r\n"
        self.assertEqual(conversation.send(stuffed(text)), b"250 2.0.0 OK: Q1\r\n")
        self.assertEqual(self.texts(server), [text])

    def test_normalised(self) -> None:
        """Where the operator wants it, each bare line end becomes CRLF; none is passed on."""
        server = self.serve(bareNewlines="normalise")
        conversation = self.begin(server)
        text = b"a\nb\rc\n.\nd\r.\r\r\n\n.\r\ne\r"
        self.assertEqual(conversation.send(text + b"\r\n.\r\n"), b"250 2.0.0 OK: Q1\r\n")
        lines = (b"a", b"b", b"c", b".", b"d", b".", b"", b"", b".", b"e", b"")
        self.assertEqual(self.texts(server), [b"".join(line + b"\r\n" for line in lines)])

    def test_normalisedBytewise(self) -> None:
        """The same, an octet at a time; it never ends the text."""
        server = self.serve(bareNewlines="normalise")
        conversation = self.begin(server)
        said = b"".join(
            conversation.send(bytes([octet])) for octet in b"\n.\n\r.\r\n\r\r\n.\r\nNOOP\r\n"
        )
        self.assertEqual(said, b"250 2.0.0 OK: Q1\r\n250 2.0.0 OK\r\n")
        self.assertEqual(self.texts(server), [b"\r\n.\r\n\r\n.\r\n\r\n\r\n"])

    def test_NULsAreNotKept(self) -> None:
        """NUL is refused in any case."""
        server = self.serve(bareNewlines="keep")
        self.assertEqual(self.begin(server).send(b"a\0b\r\n.\r\n"), BARE)


class LimitTests(DataTestCase):
    """
    Sizes (§4.5.3.1, RFC 1870).
    """

    def test_size(self) -> None:
        """
        A message of exactly the limit is taken, a larger one refused with 552 when all of it has
        come; the connection stays in step. Stuffed dots don't count (RFC 1870 §5).
        """
        server = self.serve(maxMessageOctets=65536)
        line = b"." + b"x" * 61 + b"\r\n"
        text = line * 1024
        conversation = self.begin(server)
        self.assertEqual(conversation.send(stuffed(text)), b"250 2.0.0 OK: Q1\r\n")
        conversation = self.begin(server)
        self.assertEqual(
            conversation.send(stuffed(b"y" + text)),
            b"552 5.3.4 Message exceeds the size limit\r\n",
        )
        self.assertEqual(self.texts(server), [text])
        conversation.check("""
            C: RCPT TO:<alice@example.test>
            S: 503 5.5.1 Say MAIL first
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
        """)

    def test_largeInPieces(self) -> None:
        """A message that is far too large is read to its end and kept nowhere meanwhile."""
        server = self.serve(maxMessageOctets=65536)
        conversation = self.begin(server)
        for _ in range(50):
            self.assertEqual(conversation.send(b"x" * 9_998 + b"\r\n"), b"")
        self.assertEqual(server.store.staged, set())
        self.assertEqual(
            conversation.send(b".\r\nNOOP\r\n"),
            b"552 5.3.4 Message exceeds the size limit\r\n250 2.0.0 OK\r\n",
        )
        self.assertEqual(server.inbox(), [])

    def test_longLines(self) -> None:
        """
        However long a line of text is, it ends nothing and none of it runs as a command: it is
        stored whole.
        """
        server = self.serve()
        text = b"x" * 5_000_000 + b"\r\nQUIT\r\n"
        self.assertEqual(self.begin(server).send(stuffed(text)), b"250 2.0.0 OK: Q1\r\n")
        self.assertEqual(self.texts(server), [text])

    def test_lineLimit(self) -> None:
        """
        With a limit, longer lines refuse the message at its end. 1,000 octets are guaranteed, CRLF
        counted and the stuffed dot not (§4.5.3.1.6).
        """
        server = self.serve(maxLineOctets=1000)
        for size, said in (
            (998, b"250 2.0.0 OK: Q1\r\n"),
            (999, b"550 5.6.0 A line is too long\r\n"),
            (100_000, b"550 5.6.0 A line is too long\r\n"),
        ):
            conversation = self.begin(server)
            self.assertEqual(
                conversation.send(stuffed(b"." + b"x" * (size - 1) + b"\r\n") + b"NOOP\r\n"),
                said + b"250 2.0.0 OK\r\n",
            )
        self.assertEqual(len(server.inbox()), 1)


class FailureTests(DataTestCase):
    """
    Whatever fails, the text is read to its end and never taken for commands, and 250 is said only
    for what was committed.
    """

    #: What a client sends behind 354: the text, and the next command.
    TEXT = b"Subject: x\r\n\r\nQUIT\r\nRSET\r\n.\r\nNOOP\r\n"

    def test_DATA(self) -> None:
        """A store that takes nothing refuses DATA itself, before the text is sent."""
        for error, said in (
            (OverQuota(), b"452 4.2.2 The account is over its quota\r\n"),
            (
                OSError("/var/spool: No space left"),
                b"451 4.3.0 Temporary failure, try again later\r\n",
            ),
        ):
            for sync in (True, False):
                target = TroubledTarget("write", error, sync=sync)
                conversation = self.serve(target=target).greeted()
                conversation.send(b"MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\n")
                self.assertEqual(conversation.send(b"DATA\r\n"), said)
                conversation.check("""
                    C: DATA
                    S: 503 5.5.1 Say MAIL first
                    C: MAIL FROM:<>
                    S: 250 2.1.0 OK
                """)
                self.assertEqual((target.committed, target.aborted), ([], 1))
                conversation.send(b"QUIT\r\n")
        self.flushLoggedErrors(OSError)

    def test_write(self) -> None:
        """A store that fails in the midst of the text answers at its end, and is aborted once it
        failed."""
        for error, said in (
            (TemporaryFailure(), b"451 4.3.0 Temporary failure, try again later\r\n"),
            (MailError("Too odd", smtpCode=554, enhancedStatus="5.6.0"), b"554 5.6.0 Too odd\r\n"),
            (ZeroDivisionError("secret"), b"451 4.3.0 Temporary failure, try again later\r\n"),
            # Its own connection, to whatever it talks to; not ours.
            (ConnectionClosed(), b"451 4.3.0 Temporary failure, try again later\r\n"),
            (ConnectionLost(), b"451 4.3.0 Temporary failure, try again later\r\n"),
        ):
            for at in (2, 3):
                for sync in (True, False):
                    target = TroubledTarget("write", error, at, sync)
                    conversation = self.begin(self.serve(target=target))
                    head, rest = self.TEXT[:15], self.TEXT[15:]
                    self.assertEqual(conversation.send(head), b"")
                    self.assertEqual(conversation.send(rest), said + b"250 2.0.0 OK\r\n")
                    self.assertEqual(target.committed, [])
                    self.assertGreaterEqual(target.aborted, 1)
                    self.assertNotIn("commit", target.calls)
        self.flushLoggedErrors()

    def test_commit(self) -> None:
        """A store that can't commit answers 4yz or 5yz, never 250."""
        for error, said in (
            (OverQuota(), b"452 4.2.2 The account is over its quota\r\n"),
            (MailError("Not that", smtpCode=554), b"554 5.0.0 Not that\r\n"),
            (RuntimeError("/dev/sda"), b"451 4.3.0 Temporary failure, try again later\r\n"),
            (ConnectionClosed(), b"451 4.3.0 Temporary failure, try again later\r\n"),
        ):
            target = TroubledTarget("commit", error)
            conversation = self.begin(self.serve(target=target))
            self.assertEqual(conversation.send(self.TEXT), said + b"250 2.0.0 OK\r\n")
            self.assertEqual(target.committed, [])
        self.flushLoggedErrors()

    def test_abort(self) -> None:
        """A target that can't even abort stops nothing."""
        target = TroubledTarget("abort", ValueError("x"))
        conversation = self.serve(target=target).greeted()
        conversation.check("""
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: RSET
            S: 250 2.0.0 OK
        """)
        conversation.disconnect()
        self.assertTrue(conversation.finished)
        self.assertIsNone(conversation.failure)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_begin(self) -> None:
        """A target that can't begin: 451 to MAIL, and no transaction."""
        conversation = self.serve(target=TroubledTarget("begin", KeyError("x"))).greeted()
        conversation.check("""
            C: MAIL FROM:<>
            S: 451 4.3.0 Temporary failure, try again later
            C: RCPT TO:<alice@example.test>
            S: 503 5.5.1 Say MAIL first
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
        """)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_results(self) -> None:
        """
        Of several recipients one reply speaks: 250 if somebody got it, the first refusal if nobody
        did (§4.4: "the response to the DATA command MUST be an OK reply").
        """
        for results, said in (
            ([None, None], b"250 2.0.0 OK: Q"),
            ([OverQuota(), None], b"250 2.0.0 OK: Q"),
            ([OverQuota(), NoSuchAccount()], b"452 4.2.2 The account is over its quota"),
            ([KeyError("x"), NoSuchAccount()], b"451 4.3.0 Temporary failure, try again later"),
        ):
            conversation = self.serve(target=TroubledTarget("commit", results)).greeted()
            conversation.send(b"MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\n")
            conversation.send(b"RCPT TO:<bob@example.test>\r\nDATA\r\n")
            self.assertTrue(conversation.send(b".\r\n").startswith(said))

    def test_waiting(self) -> None:
        """250 waits for the commit, and what the client sent meanwhile waits for 250."""
        done: Deferred[None] = Deferred()
        target = TroubledTarget("commit", done)
        conversation = self.begin(self.serve(target=target))
        self.assertEqual(conversation.send(b"text\r\n.\r\nNOOP\r\n"), b"")
        self.assertEqual(target.committed, [])
        done.callback(None)
        self.assertEqual(conversation.wire.take(), b"250 2.0.0 OK: Q1\r\n250 2.0.0 OK\r\n")
        self.assertEqual(len(target.committed), 1)

    def test_backPressure(self) -> None:
        """While the store takes a piece of the text no more is read."""
        waiting: Deferred[None] = Deferred()
        target = TroubledTarget("write", waiting, 2)
        conversation = self.begin(self.serve(target=target))
        conversation.send(b"x" * 100_000)
        calls = target.calls.count("write")
        conversation.send(b"x" * 100_000)
        self.assertEqual(target.calls.count("write"), calls)
        self.assertTrue(conversation.wire.paused)
        waiting.callback(None)
        self.assertFalse(conversation.wire.paused)
        self.assertEqual(conversation.send(b"\r\n.\r\n"), b"250 2.0.0 OK: Q1\r\n")
        self.assertTrue(target.committed[0].endswith(b"x" * 200_000 + b"\r\n"))


class VanishingTests(SMTPTestCase):
    """
    The client goes away, at any point of the dialogue.
    """

    DIALOGUE = (
        b"EHLO client.test\r\nMAIL FROM:<a@far.test>\r\nRCPT TO:<alice@example.test>\r\n"
        b"RCPT TO:<bob@example.test>\r\nDATA\r\nSubject: x\r\n\r\n..text\r\n.\r\nQUIT\r\n"
    )

    def test_everyOctet(self) -> None:
        """
        Whatever octet was its last, the session ends, nothing is left staged, and there is mail
        only if the text was whole.
        """
        end = self.DIALOGUE.index(b"\r\n.\r\n") + 5
        for last in range(len(self.DIALOGUE) + 1):
            server = self.serve()
            conversation = server.connect()
            conversation.send(self.DIALOGUE[:last])
            conversation.disconnect()
            self.assertTrue(conversation.finished)
            self.assertIsNone(conversation.failure)
            self.assertEqual(server.store.staged, set())
            self.assertEqual(len(server.inbox("alice")), 1 if last >= end else 0, last)

    def vanish(self, trouble: str, at: int = 1) -> tuple[TroubledTarget, Deferred[Any]]:
        """
        @return: a target and what one of its calls waits for, after the client went away.
        """
        waiting: Deferred[Any] = Deferred()
        target = TroubledTarget(trouble, waiting, at)
        conversation = self.serve(target=target).connect()
        conversation.send(self.DIALOGUE)
        conversation.disconnect()
        self.assertFalse(conversation.finished)
        self.connections.append(conversation)
        return target, waiting

    def test_whileRecipientIsAdded(self) -> None:
        """Gone while RCPT waits: when that has an answer the transaction is given up."""
        target, waiting = self.vanish("addRecipient")
        waiting.callback(None)
        self.assertTrue(self.connections[0].finished)
        self.assertEqual((target.aborted, target.committed), (1, []))

    def test_whileWriting(self) -> None:
        """Gone while the text is being stored."""
        for at in (1, 2):
            target, waiting = self.vanish("write", at)
            waiting.callback(None)
            self.assertTrue(self.connections[-1].finished)
            self.assertGreaterEqual(target.aborted, 1)
            self.assertEqual(target.committed, [])

    def test_whileCommitting(self) -> None:
        """Gone while it is being committed: that isn't undone (§4.1.1.10)."""
        target, waiting = self.vanish("commit")
        waiting.callback(None)
        self.assertTrue(self.connections[0].finished)
        self.assertEqual((target.aborted, len(target.committed)), (0, 1))

    def test_whilePoliciesLook(self) -> None:
        """
        Gone before anything was committed: the message isn't taken, since the client will send it
        again (§4.1.1.10: "MUST cancel any pending transaction").
        """
        looked: Deferred[bytes] = Deferred()

        class Slow(PolicyStep):
            def message(
                self, envelope: Envelope, recipients: Collection[Recipient], content: IStagedContent
            ) -> Awaitable[bytes]:
                return looked

        server = self.serve(policies=[Slow()])
        conversation = server.connect()
        conversation.send(self.DIALOGUE)
        conversation.disconnect()
        self.assertFalse(conversation.finished)
        looked.callback(b"")
        self.assertTrue(conversation.finished)
        self.assertIsNone(conversation.failure)
        self.assertEqual(server.inbox(), [])

    def test_whilePoliciesWait(self) -> None:
        """Gone while a policy thinks about the connection, the sender or a recipient."""
        answers: list[Deferred[None]] = []

        def wait(*arguments: object) -> Deferred[None]:
            answers.append(Deferred())
            return answers[-1]

        for stage in ("connection", "reversePath", "recipient"):
            policy = PolicyStep()
            waiting: Callable[..., Deferred[None]] = wait
            setattr(policy, stage, waiting)
            for fails in (False, True):
                server = self.serve(policies=[policy])
                conversation = server.connect()
                conversation.send(self.DIALOGUE)
                conversation.disconnect()
                self.assertFalse(conversation.finished)
                if fails:
                    answers[-1].errback(MailError("no"))
                else:
                    answers[-1].callback(None)
                self.assertTrue(conversation.finished)
                self.assertIsNone(conversation.failure)
                self.assertEqual(server.inbox(), [])
