"""
Replies, as a client reads them (RFC 5321 §4.2).
"""

from __future__ import annotations

from typing import Any
from unicodedata import category

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import ConnectionClosed, SessionEnded
from twisted_mailstack.smtp.framing import MAX_LINE, MAX_REPLY, MalformedReply, Reply, readReply
from twisted_mailstack.testing.conversation import FakeWire
from twisted_mailstack.wire.stream import Stream


class Reading:
    """
    A reply that is being read.

    @ivar found: the reply or the exception, once there.
    """

    def __init__(self, *pieces: bytes, timeout: float | None = None) -> None:
        self.clock = Clock()
        self.stream = Stream(FakeWire(), self.clock, timeout)
        self.found: Any = None
        Deferred.fromCoroutine(readReply(self.stream)).addBoth(self._set)
        for piece in pieces:
            self.stream.received(piece)

    def _set(self, result: Any) -> None:
        self.found = getattr(result, "value", result)


class ReplyTests(SynchronousTestCase):
    """
    L{readReply}.
    """

    def read(self, data: bytes) -> Any:
        """
        @return: what becomes of these octets: the same whole, octet by octet, with more behind
            them, or when they were there before anybody asked.
        """
        reading = Reading(data)
        whole = reading.found
        single = Reading(*(bytes((octet,)) for octet in data)).found
        stream = Stream(FakeWire(), Clock())
        stream.received(data)
        early = Deferred.fromCoroutine(readReply(stream))
        before: list[Any] = []
        early.addBoth(lambda result: before.append(getattr(result, "value", result)))
        if isinstance(whole, Reply):
            trailing = Reading(data + b"250 next\r\n250")
            self.assertEqual(trailing.found, whole)
            self.assertEqual(trailing.stream.buffered, reading.stream.buffered + 13)
        for other in (single, before[0] if before else None):
            self.assertEqual(repr(other), repr(whole))
        return whole

    def test_oneLine(self) -> None:
        """A code, a space, a text."""
        self.assertEqual(self.read(b"250 OK, done\r\n"), Reply(250, "2.0.0", ("OK, done",)))
        self.assertEqual(self.read(b"354 go\r\n"), Reply(354, "3.0.0", ("go",)))

    def test_several(self) -> None:
        """Several lines are one reply (§4.2.1), whatever their text looks like."""
        self.assertEqual(
            self.read(
                b"250-First line\r\n250-Second line\r\n250-234 Text\r\n250 The last line\r\n"
            ),
            Reply(250, "2.0.0", ("First line", "Second line", "234 Text", "The last line")),
        )

    def test_bareCode(self) -> None:
        """The text may be missing, with or without the space (§4.2)."""
        for data in (b"250\r\n", b"250 \r\n", b"250-\r\n250\r\n"):
            reply = self.read(data)
            self.assertEqual((reply.code, reply.text), (250, ""))

    def test_unknownCodes(self) -> None:
        """Codes that nobody has heard of count by their first digit (§4.3.2)."""
        for code, positive in ((299, True), (399, False), (499, False), (577, False)):
            reply = self.read(b"%d x\r\n" % code)
            self.assertEqual((reply.code, reply.positive), (code, positive))

    def test_text(self) -> None:
        """All lines make one text, for logs."""
        reply = self.read(b"550-5.1.1 No such\r\n550-\r\n550 5.1.1 user here\r\n")
        self.assertEqual(reply.text, "No such user here")

    def test_enhanced(self) -> None:
        """The enhanced status is taken off each line (RFC 2034 §4)."""
        reply = self.read(b"550-5.7.1 Not\r\n550 5.7.1 you\r\n")
        self.assertEqual(reply, Reply(550, "5.7.1", ("Not", "you")))
        self.assertEqual(self.read(b"250 2.1.5\r\n"), Reply(250, "2.1.5", ("",)))
        self.assertEqual(self.read(b"452 4.5.3\tx\r\n"), Reply(452, "4.5.3", ("x",)))

    def test_notEnhanced(self) -> None:
        """What only resembles one is text: of another class, or in other digits."""
        for text in ("4.7.1 x", "5.7 x", "5.7.1x", "5.7.1234 x", "5.\u0661.1 x", "6.1.1 x"):
            reply = self.read(b"550 " + text.encode() + b"\r\n")
            self.assertEqual((reply.enhancedStatus, reply.text), ("5.0.0", text))

    def test_octets(self) -> None:
        """
        The text may be UTF-8 (RFC 6531 §3.7.4.2) or anything; nothing of it moves the cursor of
        who looks at a log.
        """
        self.assertEqual(self.read("550 Gr\u00fc\u00dfe\r\n".encode()).text, "Gr\u00fc\u00dfe")
        self.assertEqual(self.read(b"550 a\xffb\r\n").text, "a\ufffdb")
        text = "550 a\x00\x1b[2Jb\rc\x7fd\x85e\u2028f\x9bg\r\n"
        self.assertEqual(self.read(text.encode()).text, "a [2Jb c d e f g")

    def test_bareLF(self) -> None:
        """Servers that end lines by LF alone are understood."""
        self.assertEqual(self.read(b"250-a\n250 b\n"), Reply(250, "2.0.0", ("a", "b")))

    def test_malformed(self) -> None:
        """What isn't a reply is none, and is shown without control characters."""
        for data in (
            *(b"\r\n", b"25\r\n", b"2500 x\r\n", b"250x\r\n", b"250_x\r\n", b" 250 x\r\n"),
            *(b"150 x\r\n", b"650 x\r\n", b"050 x\r\n", b"SSH-2.0-x\r\n", b"* OK\r\n", b"+OK\r\n"),
            *(b"250-a\r\nb\r\n", b"\x00\x1b[2J\r\n", "\u0662\u0665\u0660 x\r\n".encode()),
        ):
            found = self.read(data)
            self.assertIsInstance(found, MalformedReply)
            self.assertTrue(str(found).isprintable(), data)

    def test_twoCodes(self) -> None:
        """All lines of a reply have the same code (§4.2.1)."""
        for data in (b"250-a\r\n550 b\r\n", b"550-a\r\n250 b\r\n", b"250-a\r\n251-b\r\n"):
            self.assertIsInstance(self.read(data), MalformedReply)

    def test_longLine(self) -> None:
        """A line may have L{MAX_LINE} octets, CRLF included; one that doesn't end is cut short."""
        text = b"x" * (MAX_LINE - 6)
        self.assertEqual(self.read(b"250 " + text + b"\r\n").text, text.decode())
        self.assertIsInstance(self.read(b"250 x" + text + b"\r\n"), MalformedReply)
        reading = Reading(b"250 " + b"x" * 100_000)
        self.assertIs(reading.found, None)
        reading.stream.received(b"\r\n")
        self.assertIsInstance(reading.found, MalformedReply)

    def test_longReply(self) -> None:
        """A reply that goes on and on is none."""
        line = b"250-" + b"x" * 58 + b"\r\n"
        lines = MAX_REPLY // len(line) - 1
        reply = Reading(line * lines + b"250 end\r\n").found
        self.assertEqual(len(reply.lines), lines + 1)
        for endless in (line, b"250-\r\n", b"250-\n"):
            reading = Reading()
            for _ in range(MAX_REPLY // len(endless) + 1):
                if reading.found is not None:
                    break
                reading.stream.received(endless * 10)
            self.assertIsInstance(reading.found, MalformedReply)

    def test_timeout(self) -> None:
        """
        A reply has its time as a whole (§4.5.3.2), however many octets and lines come meanwhile.
        """
        for piece in (b"2", b"250-x\r\n"):
            reading = Reading(timeout=300)
            for _ in range(2):
                reading.clock.advance(149)
                reading.stream.received(piece)
            self.assertIs(reading.found, None)
            reading.clock.advance(2)
            self.assertIsInstance(reading.found, SessionEnded)

    def test_timeoutStays(self) -> None:
        """What the next reply may take is what was set."""
        reading = Reading(timeout=300)
        reading.clock.advance(200)
        reading.stream.received(b"250-x\r\n250 y\r\n")
        self.assertEqual(reading.found.code, 250)
        self.assertEqual(reading.stream.timeout, 300)

    def test_lost(self) -> None:
        """A reply that isn't whole when the connection is lost is none."""
        whole = b"250-a\r\n250 b\r\n"
        for length in range(len(whole)):
            reading = Reading(whole[:length])
            reading.stream.lost()
            self.assertIsInstance(reading.found, ConnectionClosed)

    def test_lastWords(self) -> None:
        """What was said before the connection was lost can still be heard."""
        stream = Stream(FakeWire(), Clock())
        stream.received(b"421-Going\r\n421 down\r\n250")
        stream.lost()
        reply = self.successResultOf(Deferred.fromCoroutine(readReply(stream)))
        self.assertEqual((reply.code, reply.text), (421, "Going down"))
        self.failureResultOf(Deferred.fromCoroutine(readReply(stream)), ConnectionClosed)

    @settings(max_examples=200)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([b"250", b"550", b"421", b"2", b"", b"999"]),
                st.sampled_from([b"-", b" ", b"", b"x"]),
                st.binary(max_size=12) | st.sampled_from([b"5.1.1 x", b"2.0.0"]),
                st.sampled_from([b"\r\n", b"\n", b""]),
            ),
            max_size=5,
        )
    )
    def test_anything(self, lines: list[tuple[bytes, bytes, bytes, bytes]]) -> None:
        """Whatever comes, there is a reply with a proper code, none, or none yet."""
        found = self.read(b"".join(b"".join(line) for line in lines))
        if found is not None and not isinstance(found, MalformedReply):
            self.assertIn(found.code // 100, (2, 3, 4, 5))
            self.assertFalse([each for each in found.text if category(each) == "Cc"])
