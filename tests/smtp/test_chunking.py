"""
CHUNKING (RFC 3030 §2, §4).
"""

from __future__ import annotations

import re
from itertools import pairwise
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from tests.smtp.support import Server, SMTPTestCase, TroubledTarget
from tests.smtp.test_data import BARE, PREFIX
from twisted_mailstack.errors import MailError, OverQuota
from twisted_mailstack.smtp.commands.session import ehlo
from twisted_mailstack.smtp.extension import Command
from twisted_mailstack.smtp.registry import COMMANDS
from twisted_mailstack.testing.conversation import Conversation

NO_RECIPIENTS = b"554 5.5.1 No valid recipients\r\n"


def bdat(text: bytes, last: bool = False) -> bytes:
    """
    @return: a chunk as a client sends it.
    """
    return b"BDAT %d%b\r\n%b" % (len(text), b" LAST" if last else b"", text)


class ChunkingTestCase(SMTPTestCase):
    """
    A transaction that has come to BDAT.
    """

    def begin(self, server: Server, *recipients: str) -> Conversation:
        """
        @return: a connection on which recipients were accepted, alice if none are named.
        """
        conversation = server.greeted()
        conversation.check("C: MAIL FROM:<sender@far.test>\nS: 250 2.1.0 OK")
        for recipient in recipients or ("alice@example.test",):
            conversation.check(f"C: RCPT TO:<{recipient}>\nS: 250 2.1.5 OK")
        return conversation

    def texts(self, server: Server, localPart: str = "alice") -> list[bytes]:
        """
        @return: what somebody got, without what we put in front.
        """
        return [PREFIX.sub(b"", octets, 1) for octets in server.inbox(localPart)]


class ChunkingTests(ChunkingTestCase):
    """
    What is stored and said.
    """

    def test_simple(self) -> None:
        """RFC 3030 §4.1: a message in one chunk."""
        server = self.serve()
        conversation = server.connect()
        conversation.wire.take()
        self.assertIn(b"\r\n250-CHUNKING\r\n", conversation.send(b"EHLO ymir.claremont.edu\r\n"))
        conversation.check("""
            C: MAIL FROM:<Sam@Random.com>
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
        """)
        text = (
            b"To: Susan@random.com\r\nFrom: Sam@random.com\r\n"
            b"Subject: This is a bodyless test message\r\n"
        )
        self.assertEqual(len(text), 86)
        self.assertEqual(
            conversation.send(b"BDAT 86 LAST\r\n" + text + b"QUIT\r\n"),
            b"250 2.0.0 OK: Q1\r\n221 2.0.0 mx.example.test closing\r\n",
        )
        self.assertEqual(
            server.inbox(),
            [
                self.stored(
                    text,
                    reversePath="<Sam@random.com>",
                    hello="ymir.claremont.edu",
                )
            ],
        )

    def test_pipelined(self) -> None:
        """RFC 3030 §4.2: chunks one behind the other, the last one empty; a reply to each."""
        server = self.serve()
        conversation = self.begin(server, "alice@example.test", "bob@example.test")
        first, second = b"x" * 998 + b"\r\n", b"y" * 322 + b"\r\n"
        answer = conversation.send(bdat(first * 100) + bdat(second) + bdat(b"", True))
        self.assertEqual(
            answer,
            b"250 2.0.0 100000 octets received\r\n250 2.0.0 324 octets received\r\n"
            b"250 2.0.0 OK: Q1\r\n",
        )
        for who in ("alice", "bob"):
            self.assertEqual(self.texts(server, who), [first * 100 + second])

    def test_octetForOctet(self) -> None:
        """There is no transparency: dots and what looks like an end or a command are text."""
        for text in (
            b"",
            b"\r\n",
            b".\r\n",
            b"..\r\n.\r\n",
            b"a\r\n.\r\nQUIT\r\n",
            b"BDAT 0 LAST\r\n",
            b"no line end",
            b"8-bit \xff\xfe\x80\r\n\x01\x7f\t\r\n",
        ):
            for at in range(len(text) + 1):
                server = self.serve()
                conversation = self.begin(server)
                answer = conversation.send(bdat(text[:at]) + bdat(text[at:], True))
                self.assertRegex(answer, rb"\A250 2.0.0 \d+ octets received\r\n250 2.0.0 OK: Q")
                self.assertEqual(self.texts(server), [text])

    @given(
        st.lists(st.sampled_from([b"\r\n", b".", b"..\r\n", b"a", b"BDAT 3\r\n"]), max_size=12),
        st.lists(st.integers(0, 40), max_size=4),
        st.lists(st.integers(0, 200), max_size=6),
    )
    @settings(max_examples=150, deadline=None)
    def test_anyChunksAnySegments(
        self, pieces: list[bytes], chunks: list[int], segments: list[int]
    ) -> None:
        """However it is cut into chunks, and these into segments, the same text is stored."""
        text = b"".join(pieces)
        edges = [0, *sorted(min(at, len(text)) for at in chunks), len(text)]
        parts = [text[a:b] for a, b in pairwise(edges)]
        stream = b"".join(map(bdat, parts[:-1])) + bdat(parts[-1], True)
        bounds = [0, *sorted(min(at, len(stream)) for at in segments), len(stream)]
        server = self.serve()
        conversation = self.begin(server)
        said = b"".join(conversation.send(stream[a:b]) for a, b in pairwise(bounds))
        self.assertEqual(said.count(b" octets received\r\n"), len(parts) - 1)
        self.assertEqual(self.texts(server), [text])

    def test_RSET(self) -> None:
        """RSET between chunks clears all of them (§2); nothing is delivered."""
        server = self.serve()
        conversation = self.begin(server)
        conversation.send(bdat(b"half\r\n"))
        conversation.check("""
            C: RSET
            S: 250 2.0.0 OK
            C: BDAT 0 LAST
            S: 503 5.5.1 Say MAIL first
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
        """)
        self.assertEqual(server.inbox(), [])

    def test_nextMessage(self) -> None:
        """Both ways can be used in one session (§2), also pipelined."""
        server = self.serve()
        conversation = self.begin(server)
        envelope = b"MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\n"
        answer = conversation.send(
            bdat(b"one\r\n", True)
            + envelope
            + b"DATA\r\ntwo\r\n.\r\n"
            + envelope
            + bdat(b"three\r\n", True)
        )
        self.assertEqual(answer.count(b"250 2.0.0 OK: Q"), 3)
        self.assertEqual(self.texts(server), [b"one\r\n", b"two\r\n", b"three\r\n"])


class OrderTests(ChunkingTestCase):
    """
    What makes no sense, and that what was announced is read all the same (§2: MUST).
    """

    def test_withoutTransaction(self) -> None:
        """BDAT before MAIL and behind the last chunk is 503 (§2: MUST)."""
        server = self.serve()
        conversation = server.greeted()
        self.assertEqual(
            conversation.send(bdat(b"QUIT\r\n") + bdat(b"QUIT\r\n", True)),
            b"503 5.5.1 Say MAIL first\r\n" * 2,
        )
        conversation = self.begin(server)
        self.assertEqual(
            conversation.send(bdat(b"a\r\n", True) + bdat(b"QUIT\r\n") + bdat(b"", True)),
            b"250 2.0.0 OK: Q1\r\n" + b"503 5.5.1 Say MAIL first\r\n" * 2,
        )
        self.assertEqual(self.texts(server), [b"a\r\n"])

    def test_withoutRecipients(self) -> None:
        """
        A message for nobody is refused at each of its chunks; recipients that come behind the first
        one would get a message with a hole.
        """
        server = self.serve()
        conversation = server.greeted()
        conversation.check("""
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: RCPT TO:<nobody@example.test>
            S: 550 5.1.1 No such user here
        """)
        self.assertEqual(conversation.send(bdat(b"QUIT\r\n")), NO_RECIPIENTS)
        conversation.check("""
            C: RCPT TO:<alice@example.test>
            S: 503 5.5.1 The text has begun to come
        """)
        self.assertEqual(
            conversation.send(bdat(b"QUIT\r\n") + bdat(b"QUIT\r\n", True)), NO_RECIPIENTS * 2
        )
        conversation.check("C: MAIL FROM:<>\nS: 250 2.1.0 OK")
        self.assertEqual(server.inbox(), [])

    def test_DATA(self) -> None:
        """DATA behind BDAT in one transaction is 503 (§2: MUST)."""
        server = self.serve()
        conversation = self.begin(server)
        conversation.send(bdat(b"a\r\n"))
        conversation.check("""
            C: DATA
            S: 503 5.5.1 The text has begun to come otherwise
            C: RCPT TO:<bob@example.test>
            S: 503 5.5.1 The text has begun to come
            C: MAIL FROM:<>
            S: 503 5.5.1 A transaction is under way
            C: RSET
            S: 250 2.0.0 OK
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
        """)

    def test_malformed(self) -> None:
        """
        What is wrong behind the size is a syntax error, and the message has lost a piece: nothing
        of it is delivered.
        """
        for argument in (b"6 LASTING", b"6 FIRST", b"6 LAST LAST", b"6 6"):
            server = self.serve()
            conversation = self.begin(server)
            answer = conversation.send(
                bdat(b"a\r\n") + b"BDAT %b\r\nQUIT\r\n" % argument + bdat(b"b\r\n", True)
            )
            self.assertEqual(
                answer,
                b"250 2.0.0 3 octets received\r\n"
                + b"501 5.5.4 Syntax: BDAT octets [LAST]\r\n" * 2,
            )
            conversation.check("C: MAIL FROM:<>\nS: 250 2.1.0 OK")
            self.assertEqual(server.inbox(), [])

    def test_noSize(self) -> None:
        """Without a size nobody knows what is text: the session ends."""
        for argument in (b"", b" ", b" LAST", b" -1", b" +5", b" 5x", b" 0x10", b" 1.5", b" \xb2"):
            server = self.serve()
            conversation = self.begin(server)
            self.assertEqual(
                conversation.send(b"BDAT" + argument + b"\r\nQUIT\r\n"),
                b"501 5.5.4 Syntax: BDAT octets [LAST]\r\n",
                argument,
            )
            self.assertTrue(conversation.finished)

    def test_digits(self) -> None:
        """Nor with a size that no chunk has, however many digits there are."""
        for digits, code in ((21, b"501"), (500, b"501"), (507, b"500"), (5000, b"500")):
            conversation = self.begin(self.serve())
            answer = conversation.send(b"BDAT " + b"9" * digits + b"\r\nQUIT\r\n")
            self.assertEqual((answer[:3], answer.count(b"\n")), (code, 1))
            self.assertTrue(conversation.finished)
            self.assertIsNone(conversation.failure)

    def test_spelling(self) -> None:
        """The size may have leading zeros, LAST any case, and spaces may follow."""
        server = self.serve()
        conversation = self.begin(server)
        self.assertEqual(conversation.send(b"bdat  0003  last  \r\na\r\n"), b"250 2.0.0 OK: Q1\r\n")
        self.assertEqual(self.texts(server), [b"a\r\n"])

    def test_tooLongLine(self) -> None:
        """A line that is too long is refused, its text read, and the message has a hole."""
        server = self.serve()
        conversation = self.begin(server)
        padded = b"BDAT 6" + b" " * 520 + b"\r\nQUIT\r\n"
        self.assertEqual(
            conversation.send(padded + bdat(b"b\r\n", True)), b"500 5.5.2 Line too long\r\n" * 2
        )
        self.assertEqual(server.inbox(), [])

    def test_beforeAuthentication(self) -> None:
        """At submission a stranger's chunk is read and refused (RFC 4954 §6)."""
        conversation = self.serve(submission=True).greeted()
        self.assertEqual(
            conversation.send(bdat(b"QUIT\r\n", True)), b"530 5.7.0 Authentication required\r\n"
        )

    def test_manyErrors(self) -> None:
        """
        Chunks that were under way when the first one was refused don't count as errors; those of
        no transaction do.
        """
        conversation = self.begin(self.serve(maxErrors=2, maxMessageOctets=65536))
        answer = conversation.send(bdat(b"x" * 1000) * 100 + bdat(b"", True))
        self.assertEqual(answer.count(b"552 5.3.4 Message exceeds the size limit\r\n"), 36)
        conversation.check("C: MAIL FROM:<>\nS: 250 2.1.0 OK\nC: RSET\nS: 250 2.0.0 OK")
        self.assertIn(b"421 ", conversation.send(bdat(b"x") * 3))


class RefusalTests(ChunkingTestCase):
    """
    Messages that are refused while they come.
    """

    def test_size(self) -> None:
        """
        The limit holds for all chunks together; what is too much is discarded, and the next
        command is understood. The limit itself is welcome.
        """
        server = self.serve(maxMessageOctets=65536)
        line = b"x" * 1022 + b"\r\n"
        conversation = self.begin(server)
        answer = conversation.send(bdat(line * 63) + bdat(line, True))
        self.assertTrue(answer.endswith(b"250 2.0.0 OK: Q1\r\n"))
        conversation = self.begin(server)
        answer = conversation.send(
            bdat(line * 64) + bdat(b"x") + bdat(b"QUIT\r\n") + bdat(b"QUIT\r\n", True) + b"NOOP\r\n"
        )
        self.assertEqual(
            answer,
            b"250 2.0.0 65536 octets received\r\n"
            + b"552 5.3.4 Message exceeds the size limit\r\n" * 3
            + b"250 2.0.0 OK\r\n",
        )
        self.assertEqual(self.texts(server), [line * 64])

    def test_hugeChunk(self) -> None:
        """A chunk that is far too large is refused when it is read, not before (§2: MUST)."""
        server = self.serve(maxMessageOctets=65536)
        conversation = self.begin(server)
        self.assertEqual(conversation.send(b"BDAT 1000000 LAST\r\n"), b"")
        for _ in range(9):
            self.assertEqual(conversation.send(b"QUIT\r\n" * 10_000 + b"." * 40_000), b"")
        answer = conversation.send(b"QUIT\r\n" * 10_000 + b"." * 40_000 + b"NOOP\r\n")
        self.assertEqual(answer, b"552 5.3.4 Message exceeds the size limit\r\n250 2.0.0 OK\r\n")
        self.assertEqual(server.inbox(), [])

    def test_bareNewlines(self) -> None:
        """
        NULs and CRs and LFs by themselves are refused as in DATA, also where chunks meet and at the
        very end.
        """
        for text in (b"a\nb\r\n", b"a\rb\r\n", b"a\0b\r\n", b"\n", b"a\r\n\r", b"a\r\r\n"):
            for at in range(len(text) + 1):
                server = self.serve()
                conversation = self.begin(server)
                answer = conversation.send(bdat(text[:at]) + bdat(text[at:], True))
                self.assertTrue(answer.endswith(BARE), (text, at, answer))
                self.assertEqual(server.inbox(), [])

    def test_kept(self) -> None:
        """Where they are to be kept they are, but for NUL."""
        server = self.serve(bareNewlines="keep")
        conversation = self.begin(server)
        text = b"a\nb\rc\r\n\r"
        self.assertEqual(conversation.send(bdat(text, True)), b"250 2.0.0 OK: Q1\r\n")
        self.assertEqual(self.texts(server), [text])
        self.assertEqual(self.begin(server).send(bdat(b"\0", True)), BARE)

    def test_lineLimit(self) -> None:
        """The limit of lines holds over chunks."""
        server = self.serve(maxLineOctets=1000)
        answer = self.begin(server).send(bdat(b"x" * 500) + bdat(b"x" * 498 + b"\r\n", True))
        self.assertTrue(answer.endswith(b"250 2.0.0 OK: Q1\r\n"))
        answer = self.begin(server).send(bdat(b"x" * 500) + bdat(b"x" * 499 + b"\r\n", True))
        self.assertTrue(answer.endswith(b"550 5.6.0 A line is too long\r\n"))

    def test_failingTarget(self) -> None:
        """
        A target that fails at any point: the chunk is read, the reply says so, the rest of the
        message gets the same, and the session goes on.
        """
        for trouble, at in (("write", 1), ("write", 2), ("write", 3), ("commit", 1)):
            for error, reply in (
                (OverQuota(), b"452 4.2.2 The account is over its quota\r\n"),
                (ValueError("defect"), b"451 4.3.0 Temporary failure, try again later\r\n"),
            ):
                target = TroubledTarget(trouble, error, at)
                conversation = self.begin(self.serve(target=target))
                answer = conversation.send(
                    bdat(b"QUIT\r\n") + bdat(b"QUIT\r\n") + bdat(b"", True) + b"NOOP\r\n"
                )
                # The first write is of the trace field.
                accepted = max(0, at - 2) if trouble == "write" else 2
                self.assertEqual(
                    answer,
                    b"250 2.0.0 6 octets received\r\n" * accepted
                    + reply * (3 - accepted)
                    + b"250 2.0.0 OK\r\n",
                )
                self.assertEqual(target.committed, [])
                if isinstance(error, ValueError):
                    self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_retried(self) -> None:
        """After a temporary refusal and RSET the same message gets through on the connection."""
        target = TroubledTarget("write", OverQuota(), 2)
        conversation = self.begin(self.serve(target=target))
        self.assertTrue(conversation.send(bdat(b"a\r\n")).startswith(b"452 "))
        conversation.check("""
            C: RCPT TO:<bob@example.test>
            S: 503 5.5.1 The text has begun to come
            C: RSET
            S: 250 2.0.0 OK
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
        """)
        self.assertEqual(conversation.send(bdat(b"a\r\n", True)), b"250 2.0.0 OK: Q2\r\n")

    def test_waits(self) -> None:
        """A target that waits holds back the reply to the chunk, and the chunks behind it."""
        gate: Deferred[None] = Deferred()
        target = TroubledTarget("write", gate, 2)
        conversation = self.begin(self.serve(target=target))
        self.assertEqual(conversation.send(bdat(b"a\r\n") + bdat(b"b\r\n", True)), b"")
        gate.callback(None)
        self.assertEqual(
            conversation.wire.take(), b"250 2.0.0 3 octets received\r\n250 2.0.0 OK: Q1\r\n"
        )
        self.assertTrue(target.committed[0].endswith(b"a\r\nb\r\n"))

    def test_vanishing(self) -> None:
        """A client that goes at any octet leaves nothing behind; only a whole message counts."""
        stream = bdat(b"a\r\n") + bdat(b"b\r\n", True)
        for at in range(len(stream)):
            server = self.serve()
            conversation = self.begin(server)
            conversation.send(stream[:at])
            conversation.disconnect()
            self.assertTrue(conversation.finished)
            self.assertIsNone(conversation.failure)
            self.assertEqual(server.inbox(), [])

    def test_timeout(self) -> None:
        """A client that stops in the midst of a chunk is left after the timeout."""
        server = self.serve()
        conversation = self.begin(server)
        conversation.send(b"BDAT 100 LAST\r\nabc")
        server.clock.advance(301)
        self.assertEqual(
            conversation.wire.take(), b"421 4.4.2 mx.example.test closing: timeout\r\n"
        )
        self.assertEqual(server.inbox(), [])


class LMTPTests(ChunkingTestCase):
    """
    BDAT in LMTP (RFC 2033 §4.3).
    """

    def serve(self, **arguments: Any) -> Server:
        """
        @return: a server that speaks LMTP.
        """
        commands = (*COMMANDS, Command(b"LHLO", ehlo, "LHLO domain", enhanced=False))
        return super().serve(commands=commands, lmtp=True, **arguments)

    def begin(self, server: Server, *recipients: str) -> Conversation:
        """See L{ChunkingTestCase}."""
        conversation = server.greeted("LHLO client.test")
        conversation.check("C: MAIL FROM:<sender@far.test>\nS: 250 2.1.0 OK")
        for recipient in recipients:
            conversation.send(f"RCPT TO:<{recipient}@example.test>\r\n".encode())
        return conversation

    def test_replies(self) -> None:
        """The last chunk gets a reply for each recipient, the others one (§4.3)."""
        target = TroubledTarget("commit", [None, OverQuota(), None])
        conversation = self.begin(self.serve(target=target), "alice", "bob", "alice")
        self.assertEqual(
            conversation.send(bdat(b"a\r\n") + bdat(b"b\r\n", True)),
            b"250 2.0.0 3 octets received\r\n250 2.0.0 OK: Q1\r\n"
            b"452 4.2.2 The account is over its quota\r\n250 2.0.0 OK: Q1\r\n",
        )

    def test_refusedBefore(self) -> None:
        """Also if an earlier chunk was refused."""
        target = TroubledTarget("write", MailError("full", smtpCode=452), 2)
        conversation = self.begin(self.serve(target=target), "alice", "bob")
        answer = conversation.send(bdat(b"a\r\n") + bdat(b"b\r\n") + bdat(b"", True) + b"NOOP\r\n")
        self.assertEqual(re.findall(rb"(?m)^\d+", answer), [b"452"] * 4 + [b"250"])

    def test_nobody(self) -> None:
        """Without recipients the last chunk gets "zero replies" (§4.3), the others one."""
        conversation = self.begin(self.serve(), "nobody")
        self.assertEqual(
            conversation.send(bdat(b"a\r\n") + bdat(b"QUIT\r\n", True) + b"NOOP\r\n"),
            b"503 5.5.1 No valid recipients\r\n250 2.0.0 OK\r\n",
        )
        conversation = self.serve().greeted("LHLO client.test")
        self.assertEqual(
            conversation.send(bdat(b"QUIT\r\n", True) + b"NOOP\r\n"), b"250 2.0.0 OK\r\n"
        )


class StreamTests(ChunkingTestCase):
    """
    Very many streams.
    """

    def test_randomStreams(self) -> None:
        """
        Chunks that are too long, too short, malformed or out of order, cut anywhere: the replies
        and the mail are the same as in one piece, and a message is delivered if and only if it was
        acknowledged.
        """
        pieces = [b"a\r\n", b"", b"x\n", b"BDAT 3\r\n", b"RSET\r\n", b"\0", b"long" * 50]
        for seed in range(150):
            random = Random(seed)
            stream = b""
            for _ in range(random.randint(1, 6)):
                text = random.choice(pieces)
                size = len(text) + random.choice((0, 0, 0, 0, -1, 1, 5))
                last = random.choice((b"", b"", b" LAST", b" LAST", b" X"))
                stream += random.choice(
                    (
                        b"BDAT %d%b\r\n%b" % (max(0, size), last, text),
                        b"BDAT %d%b\r\n%b" % (max(0, size), last, text),
                        b"RCPT TO:<alice@example.test>\r\n",
                        b"RSET\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\n",
                        b"DATA\r\n",
                    )
                )
            outcomes = set()
            for size in (len(stream), random.randint(1, 9), 1):
                server = self.serve(maxErrors=1000)
                conversation = self.begin(server)
                said = b""
                for at in range(0, len(stream), size):
                    said += conversation.send(stream[at : at + size])
                conversation.disconnect()
                self.assertIsNone(conversation.failure)
                boxes = [*server.inbox(), *server.inbox("bob")]
                ids = {match for box in boxes for match in re.findall(rb"\tid (Q\d+)", box)}
                self.assertEqual(set(re.findall(rb"OK: (Q\d+)", said)), ids)
                delivered = (self.texts(server), self.texts(server, "bob"))
                outcomes.add((re.sub(rb"OK: Q\d+", b"OK", said), repr(delivered)))
            self.assertEqual(len(outcomes), 1, stream)
