"""
Tests for L{twisted_mailstack.wire.stream}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import (
    ConnectionClosed,
    LimitExceeded,
    PlaintextInjected,
    SessionEnded,
)
from twisted_mailstack.testing.conversation import FakeWire
from twisted_mailstack.wire.stream import HIGH_WATER, KEPT, LineTooLong, Stream

T = TypeVar("T")


def chunkings(data: bytes) -> Iterator[list[bytes]]:
    """
    @return: the data whole, cut in two at each place, and octet by octet.
    """
    yield [data]
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]
    yield [data[at : at + 1] for at in range(len(data))]


class LoggingWire(FakeWire):
    """
    A wire that keeps every call in order, and delivers waiting input when it is un-paused, as a
    transport may.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[object] = []
        self.waiting: list[bytes] = []
        self.stream: Stream | None = None

    def send(self, data: bytes) -> None:
        super().send(data)
        self.calls.append(data)

    def setPaused(self, paused: bool) -> None:
        super().setPaused(paused)
        self.calls.append("pause" if paused else "resume")
        if not paused and self.waiting and self.stream is not None:
            self.stream.received(self.waiting.pop(0))

    def startTLS(self) -> None:
        super().startTLS()
        self.calls.append("startTLS")

    def lose(self) -> None:
        super().lose()
        self.calls.append("lose")


class StreamTestCase(SynchronousTestCase):
    """
    A stream without a session.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.wire = LoggingWire()
        self.stream = self.wire.stream = Stream(self.wire, self.clock)

    def start(self, work: Awaitable[T]) -> Deferred[T]:
        """
        @return: what comes of a session's code, started now.
        """

        async def run() -> T:
            return await work

        return Deferred.fromCoroutine(run())

    def fresh(self) -> Stream:
        """
        @return: another stream, for the next chunking.
        """
        self.wire = LoggingWire()
        self.stream = self.wire.stream = Stream(self.wire, self.clock)
        return self.stream

    async def readAll(self, limit: int, strict: bool) -> list[bytes | str]:
        """
        @return: what readLine gives until the peer is gone; too long lines as what is told of them.
        """
        result: list[bytes | str] = []
        while True:
            try:
                result.append(await self.stream.readLine(limit, strict))
            except LineTooLong as error:
                result.append(f"{error.beginning!r}...{error.ending!r}")
            except ConnectionClosed:
                return result


class LineTests(StreamTestCase):
    """
    C{takeLine} and C{readLine}.
    """

    def assertLines(
        self, data: bytes, expected: list[bytes | str], limit: int = 100, strict: bool = False
    ) -> None:
        """
        However the octets are cut, these are the lines.
        """
        for chunks in chunkings(data):
            self.fresh()
            lines = self.start(self.readAll(limit, strict))
            for chunk in chunks:
                self.stream.received(chunk)
            self.stream.lost()
            self.assertEqual(self.successResultOf(lines), expected, chunks)

    def test_lines(self) -> None:
        """CRLF ends a line, and so does a bare LF where nothing depends on it."""
        self.assertLines(b"a\r\n\r\nbc\n\nd\r\nrest", [b"a", b"", b"bc", b"", b"d"])

    def test_bareCR(self) -> None:
        """A CR elsewhere is part of the line."""
        self.assertLines(b"a\rb\r\r\nc\r\n", [b"a\rb\r", b"c"])

    def test_strict(self) -> None:
        """A strict line ends at CRLF only: a bare LF, first, last or within, does not end it."""
        self.assertLines(
            b"\na\nb\n\r\n\r\r\n\r\nc\n\rd\r\n",
            [b"\na\nb\n", b"\r", b"", b"c\n\rd"],
            strict=True,
        )

    def test_limit(self) -> None:
        """The limit counts the line's end; a line that has exactly so many octets passes."""
        self.assertLines(b"12345678\r\n", [b"12345678"], 10)
        self.assertLines(b"12345678\r\n", [b"12345678"], 10, strict=True)
        self.assertLines(b"123456789\n", [b"123456789"], 10)

    def test_tooLong(self) -> None:
        """A longer line is discarded to its end, and the next is read as if nothing had been."""
        for strict in (False, True):
            self.assertLines(
                b"first\r\n" + b"x" * 9 + b"\r\nlast\r\n",
                [b"first", "b'xxxxxxxxx'...b'xxxxxxxxx'", b"last"],
                10,
                strict,
            )
            self.assertLines(
                b"x" * 20 + b"\r\nlast\r\n",
                ["b'xxxxxxxxxx'...b'xxxxxxxxxxxxxxxxxxxx'", b"last"],
                10,
                strict,
            )

    def test_tooLongStrict(self) -> None:
        """A bare LF doesn't end the line that is discarded, if only CRLF ends lines."""
        self.assertLines(
            b"0123456789\nQUIT\r\r\nnext\r\n",
            ["b'0123456789'...b'0123456789\\nQUIT'", b"next"],
            10,
            strict=True,
        )

    def test_tooLongEnds(self) -> None:
        """Of a line far too long its beginning and its end are told, whatever the chunks."""
        line = b"a1 APPEND " + b"x" * 2000 + b"{5+}"
        for size in (1, 7, 255, 256, 257, 1000, 5000):
            self.fresh()
            lines = self.start(self.stream.readLine(500))
            data = line + b"\r\nagain\r\n"
            for at in range(0, len(data), size):
                self.stream.received(data[at : at + size])
            error = self.failureResultOf(lines, LineTooLong).value
            self.assertEqual(error.beginning, line[:KEPT])
            self.assertEqual(error.ending, line[-KEPT:])
            self.assertIsInstance(error, LimitExceeded)
            self.assertEqual(self.stream.takeLine(500), b"again")

    def test_discardIsBounded(self) -> None:
        """Nothing of a line that never ends is kept."""
        lines = self.start(self.stream.readLine(100))
        for _ in range(50):
            self.stream.received(b"x" * 10_000)
        self.assertNoResult(lines)
        self.assertLessEqual(self.stream.buffered, 1)

    def test_takeLine(self) -> None:
        """takeLine doesn't wait: no whole line is no line, and one too long stays."""
        self.assertIsNone(self.stream.takeLine(10))
        self.stream.received(b"12345\r")
        self.assertIsNone(self.stream.takeLine(10))
        self.stream.received(b"\nabc")
        self.assertEqual(self.stream.takeLine(10), b"12345")
        self.stream.received(b"defghijk")
        self.assertRaises(LineTooLong, self.stream.takeLine, 10)
        self.assertEqual(self.stream.buffered, 11)

    def test_pipelined(self) -> None:
        """Lines that came together are read one by one without waiting."""
        self.stream.received(b"a\r\nb\r\nc\r\n")
        for expected in (b"a", b"b", b"c"):
            self.assertEqual(self.successResultOf(self.start(self.stream.readLine(10))), expected)
        self.assertNoResult(self.start(self.stream.readLine(10)))


class OctetTests(StreamTestCase):
    """
    C{readExactly}, C{readSome}, C{unread}.
    """

    def test_exactly(self) -> None:
        """So many octets, however they come, and what follows stays."""
        for chunks in chunkings(b"0123456789\r\nrest"):
            self.fresh()
            result = self.start(self.stream.readExactly(12))
            for chunk in chunks:
                self.stream.received(chunk)
            self.assertEqual(self.successResultOf(result), b"0123456789\r\n")
            self.assertEqual(self.stream.buffered, 4)

    def test_none(self) -> None:
        """No octets are there at once."""
        self.assertEqual(self.successResultOf(self.start(self.stream.readExactly(0))), b"")

    def test_some(self) -> None:
        """As many as there are, at most the limit."""
        result = self.start(self.stream.readSome(4))
        self.assertNoResult(result)
        self.stream.received(b"ab")
        self.assertEqual(self.successResultOf(result), b"ab")
        self.stream.received(b"cdefgh")
        self.assertEqual(self.successResultOf(self.start(self.stream.readSome(4))), b"cdef")
        self.assertEqual(self.successResultOf(self.start(self.stream.readSome(4))), b"gh")

    def test_mixed(self) -> None:
        """Lines and octets follow one another in one stream: a literal is never a command."""
        self.stream.received(b"APPEND {8}\r\nNOOP\r\n\r\n\r\nNOOP\r\n")

        async def session() -> tuple[bytes, bytes, bytes, bytes]:
            stream = self.stream
            return (
                await stream.readLine(100),
                await stream.readExactly(8),
                await stream.readLine(100),
                await stream.readLine(100),
            )

        self.assertEqual(
            self.successResultOf(self.start(session())),
            (b"APPEND {8}", b"NOOP\r\n\r\n", b"", b"NOOP"),
        )

    def test_unread(self) -> None:
        """What is put back is read next, in front of what else there is."""
        self.stream.received(b"one\r\ntwo\r\n")
        self.successResultOf(self.start(self.stream.readExactly(7)))
        self.stream.unread(b"NE\r\ntw")
        self.assertEqual(self.successResultOf(self.start(self.stream.readLine(10))), b"NE")
        self.assertEqual(self.successResultOf(self.start(self.stream.readLine(10))), b"two")

    def test_counts(self) -> None:
        """Octets in and out are counted once."""
        self.stream.received(b"NOOP\r\nx")
        self.successResultOf(self.start(self.stream.readLine(10)))
        self.stream.unread(b"NOOP\r\n")
        self.stream.write(b"250 OK\r\n")
        self.stream.flush()
        self.assertEqual((self.stream.bytesIn, self.stream.bytesOut), (7, 8))


class PauseTests(StreamTestCase):
    """
    Input that nobody takes doesn't fill the memory.
    """

    def test_pausedAboveHighWater(self) -> None:
        """More than C{HIGH_WATER} octets that the session hasn't taken pause the peer, once."""
        self.stream.received(b"x" * HIGH_WATER)
        self.assertFalse(self.wire.paused)
        self.stream.received(b"x")
        self.assertTrue(self.wire.paused)
        self.stream.received(b"x")
        self.assertEqual(self.wire.calls, ["pause"])

    def test_resumedWhenTaken(self) -> None:
        """The peer may go on when the session needs what isn't there, not before."""
        self.stream.received(b"x" * (HIGH_WATER + 1))
        self.successResultOf(self.start(self.stream.readExactly(HIGH_WATER)))
        self.assertTrue(self.wire.paused)
        rest = self.start(self.stream.readExactly(3))
        self.assertFalse(self.wire.paused)
        self.stream.received(b"yz")
        self.assertEqual(self.successResultOf(rest), b"xyz")

    def test_deliveredWhileResuming(self) -> None:
        """A transport that has input and delivers it in the midst of resuming is understood."""
        self.stream.received(b"x" * (HIGH_WATER + 1))
        self.wire.waiting = [b"yz"]
        result = self.start(self.stream.readExactly(HIGH_WATER + 3))
        self.assertEqual(self.successResultOf(result)[-3:], b"xyz")

    def test_largeReads(self) -> None:
        """What is larger than the mark can be read, in one amount or as a line."""
        result = self.start(self.stream.readExactly(5 * HIGH_WATER))
        for _ in range(5):
            self.stream.received(b"x" * HIGH_WATER)
        self.assertEqual(len(self.successResultOf(result)), 5 * HIGH_WATER)
        line = self.start(self.stream.readLine(5 * HIGH_WATER))
        for _ in range(4):
            self.stream.received(b"x" * HIGH_WATER)
        self.stream.received(b"\r\n")
        self.assertEqual(len(self.successResultOf(line)), 4 * HIGH_WATER)

    def test_unreadReplies(self) -> None:
        """A peer that doesn't read its replies isn't read from, until it does."""
        self.stream.received(b"NOOP\r\n")
        self.stream.setBlocked(True)
        line = self.start(self.stream.readLine(100))
        self.assertNoResult(line)
        self.stream.setBlocked(False)
        self.assertEqual(self.successResultOf(line), b"NOOP")

    def test_behindClose(self) -> None:
        """What a peer sends behind the session's goodbye is dropped, not kept."""
        self.stream.received(b"QUIT\r\nNOOP\r\n")
        self.stream.write(b"221 bye\r\n")
        self.stream.close()
        for _ in range(10):
            self.stream.received(b"x" * HIGH_WATER)
        self.assertEqual(self.stream.buffered, 0)
        self.assertEqual(self.wire.calls, [b"221 bye\r\n", "lose"])


#: Everything in which a session can wait.
WAITS: dict[str, Callable[[Stream], Coroutine[Any, Any, object]]] = {
    "readLine": lambda stream: stream.readLine(100),
    "strict readLine": lambda stream: stream.readLine(100, strict=True),
    "readExactly": lambda stream: stream.readExactly(5),
    "readSome": lambda stream: stream.readSome(5),
    "wait": lambda stream: stream.wait(),
    "drain": lambda stream: stream.drain(),
    "breathe": lambda stream: stream.breathe(),
    "sleep": lambda stream: stream.sleep(3),
}
READS = [name for name in WAITS if name not in ("drain", "breathe", "sleep")]


class EndTests(StreamTestCase):
    """
    The peer goes, the server stops, nothing happens for too long: wherever a session waits.
    """

    def waiting(self, name: str) -> Deferred[object]:
        """
        @return: a session that waits.
        """
        self.fresh()
        self.stream.timeout = 60
        if name == "drain":
            self.stream.setBlocked(True)
        result = self.start(WAITS[name](self.stream))
        self.assertNoResult(result)
        return result

    def test_lostMeanwhile(self) -> None:
        """Whatever a session waits for, a peer that goes away ends it, and no timer stays."""
        for name in WAITS:
            result = self.waiting(name)
            self.stream.lost()
            self.clock.advance(3)
            self.failureResultOf(result, ConnectionClosed)
            self.assertEqual(self.clock.getDelayedCalls(), [], name)

    def test_lostBefore(self) -> None:
        """Nothing waits for a peer that is gone, even if it left input behind."""
        for name in WAITS:
            self.fresh()
            self.stream.received(b"12345\r\n")
            self.stream.lost()
            result = self.start(WAITS[name](self.stream))
            self.clock.advance(3)
            self.failureResultOf(result, ConnectionClosed)
            self.assertTrue(self.stream.closed)

    def test_lostWhileDiscarding(self) -> None:
        """Nor for the end of a line too long."""
        result = self.start(self.stream.readLine(10))
        self.stream.received(b"x" * 100)
        self.stream.lost()
        self.failureResultOf(result, ConnectionClosed)

    def test_ended(self) -> None:
        """A server that stops ends every read that waits."""
        for name in READS:
            result = self.waiting(name)
            self.stream.end(SessionEnded.SHUTDOWN)
            error = self.failureResultOf(result, SessionEnded).value
            self.assertEqual(error.reason, SessionEnded.SHUTDOWN)

    def test_endedBefore(self) -> None:
        """One that stops while a session works ends it at its next read that has to wait."""
        self.stream.received(b"NOOP\r\n")
        self.stream.end(SessionEnded.SHUTDOWN)
        self.assertEqual(self.successResultOf(self.start(self.stream.readLine(10))), b"NOOP")
        self.failureResultOf(self.start(self.stream.readLine(10)), SessionEnded)

    def test_endedWhileDraining(self) -> None:
        """What is being sent is sent, also when the server stops."""
        result = self.waiting("drain")
        self.stream.end(SessionEnded.SHUTDOWN)
        self.assertNoResult(result)
        self.stream.setBlocked(False)
        self.successResultOf(result)

    def test_endedAndNotReading(self) -> None:
        """A peer that takes nothing doesn't keep a server from stopping for longer than that."""
        result = self.waiting("drain")
        self.stream.end(SessionEnded.SHUTDOWN)
        self.clock.advance(59)
        self.assertNoResult(result)
        self.clock.advance(1)
        self.failureResultOf(result, SessionEnded)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_timeout(self) -> None:
        """Nothing for C{timeout} seconds ends every read, and sending to one who takes nothing."""
        for name in (*READS, "drain"):
            result = self.waiting(name)
            self.clock.advance(59.9)
            self.assertNoResult(result)
            self.clock.advance(0.1)
            error = self.failureResultOf(result, SessionEnded).value
            self.assertEqual(error.reason, SessionEnded.TIMEOUT)

    def test_slowOctets(self) -> None:
        """An octet now and then doesn't put the end of a line off (slow-loris)."""
        for name in ("readLine", "strict readLine", "readExactly"):
            result = self.waiting(name)
            for _ in range(3):
                self.clock.advance(19)
                self.stream.received(b"x")
                self.assertNoResult(result)
            self.clock.advance(3)
            self.failureResultOf(result, SessionEnded)

    def test_slowDiscard(self) -> None:
        """Nor the end of a line that is too long."""
        self.stream.timeout = 60
        result = self.start(self.stream.readLine(10))
        for _ in range(6):
            self.stream.received(b"x" * 100)
            self.clock.advance(10)
        self.failureResultOf(result, SessionEnded)

    def test_eachReadAnew(self) -> None:
        """The next read has all the time again."""
        self.stream.timeout = 60
        for _ in range(5):
            result = self.start(self.stream.readLine(10))
            self.clock.advance(59)
            self.stream.received(b"x\r\n")
            self.successResultOf(result)
        result = self.start(self.stream.readLine(10))
        self.clock.advance(59)
        self.assertNoResult(result)
        self.clock.advance(1)
        self.failureResultOf(result, SessionEnded)

    def test_shorterTimeout(self) -> None:
        """A timeout that is shortened holds for the next read, whatever was running before."""
        self.stream.timeout = 1800
        result = self.start(self.stream.readLine(10))
        self.stream.received(b"DONE\r\n")
        self.successResultOf(result)
        self.stream.timeout = 60
        result = self.start(self.stream.readLine(10))
        self.clock.advance(60)
        self.failureResultOf(result, SessionEnded)

    def test_longerTimeout(self) -> None:
        """One that is lengthened, too."""
        self.stream.timeout = 60
        result = self.start(self.stream.readLine(10))
        self.stream.received(b"IDLE\r\n")
        self.successResultOf(result)
        self.stream.timeout = 1800
        result = self.start(self.stream.readLine(10))
        self.clock.advance(1799)
        self.assertNoResult(result)
        self.clock.advance(1)
        self.failureResultOf(result, SessionEnded)

    def test_noTimeout(self) -> None:
        """C{None} waits for ever."""
        result = self.start(self.stream.readLine(10))
        self.clock.advance(10**9)
        self.assertNoResult(result)

    def test_busySession(self) -> None:
        """The time in which the session works and doesn't read isn't the peer's."""
        self.stream.timeout = 60
        result = self.start(self.stream.readLine(10))
        self.stream.received(b"x\r\n")
        self.successResultOf(result)
        self.clock.advance(1000)
        result = self.start(self.stream.readLine(10))
        self.clock.advance(59)
        self.assertNoResult(result)

    def test_oneTimer(self) -> None:
        """However many reads there are, a connection has one timer."""
        self.stream.timeout = 60
        for _ in range(100):
            result = self.start(self.stream.readLine(10))
            self.stream.received(b"x\r\n")
            self.successResultOf(result)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)


class WaitTests(StreamTestCase):
    """
    C{wait} and C{wake}, for sessions that speak unasked.
    """

    def test_input(self) -> None:
        """New input ends it; input that was there already doesn't."""
        self.stream.received(b"half a li")
        result = self.start(self.stream.wait())
        self.assertNoResult(result)
        self.stream.received(b"ne\r\n")
        self.successResultOf(result)
        self.assertEqual(self.stream.takeLine(100), b"half a line")

    def test_wake(self) -> None:
        """News end it."""
        result = self.start(self.stream.wait())
        self.stream.wake()
        self.successResultOf(result)
        self.assertNoResult(self.start(self.stream.wait()))

    def test_wokenBefore(self) -> None:
        """News that came while the session worked aren't lost, and are told of once."""
        self.stream.wake()
        self.stream.wake()
        self.successResultOf(self.start(self.stream.wait()))
        self.assertNoResult(self.start(self.stream.wait()))

    def test_wokenWhileReading(self) -> None:
        """News don't end a read, but the wait behind it."""
        result = self.start(self.stream.readLine(10))
        self.stream.wake()
        self.assertNoResult(result)
        self.stream.received(b"x\r\n")
        self.assertEqual(self.successResultOf(result), b"x")
        self.successResultOf(self.start(self.stream.wait()))

    def test_roomIsNoNews(self) -> None:
        """A send buffer that has room again ends neither a wait nor a read."""
        for name in READS:
            self.fresh()
            result = self.start(WAITS[name](self.stream))
            self.stream.setBlocked(False)
            self.assertNoResult(result)

    def test_breathe(self) -> None:
        """Everyone else has a turn before long work goes on."""
        result = self.start(self.stream.breathe())
        self.assertNoResult(result)
        self.clock.advance(0)
        self.successResultOf(result)

    def test_sleep(self) -> None:
        """What was written leaves first; input doesn't shorten it."""
        self.stream.write(b"535 no\r\n")
        result = self.start(self.stream.sleep(3))
        self.assertEqual(self.wire.take(), b"535 no\r\n")
        self.stream.received(b"AUTH\r\n")
        self.clock.advance(2.9)
        self.assertNoResult(result)
        self.clock.advance(0.1)
        self.successResultOf(result)

    def test_sleepAndLost(self) -> None:
        """A peer that goes doesn't shorten it: its place is taken until the time is over."""
        result = self.start(self.stream.sleep(3))
        self.stream.lost()
        self.clock.advance(2.9)
        self.assertNoResult(result)
        self.clock.advance(0.1)
        self.failureResultOf(result, ConnectionClosed)

    def test_sleepAndEnd(self) -> None:
        """The end of the server does; nobody sleeps after it either, and no timer stays."""
        result = self.start(self.stream.sleep(3))
        self.stream.end(SessionEnded.SHUTDOWN)
        self.successResultOf(result)
        self.successResultOf(self.start(self.stream.sleep(3)))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class OutputTests(StreamTestCase):
    """
    C{write}, C{flush}, C{drain}, C{close}.
    """

    def test_together(self) -> None:
        """Replies to commands that came together leave in one piece, in order, when it waits."""
        self.stream.received(b"a\r\nb\r\nc\r\n")

        async def session() -> None:
            while True:
                self.stream.write(b"250 " + await self.stream.readLine(10) + b"\r\n")

        self.start(session())
        self.assertEqual(self.wire.calls, [b"250 a\r\n250 b\r\n250 c\r\n"])
        self.stream.received(b"d\r\n")
        self.assertEqual(self.wire.calls[1:], [b"250 d\r\n"])

    def test_much(self) -> None:
        """Much output doesn't wait for the session."""
        self.stream.write(b"x" * (HIGH_WATER - 1))
        self.assertEqual(self.wire.calls, [])
        self.stream.write(b"y")
        self.assertEqual(self.wire.calls, [b"x" * (HIGH_WATER - 1) + b"y"])

    def test_smallWindow(self) -> None:
        """
        With a smaller window less input is taken and less output gathered, and the transport is
        told so; a session that writes more than that without waiting lets the transport have a turn
        to say that the peer doesn't keep up.
        """
        self.stream.setWindow(100)
        self.assertEqual(self.wire.window, 100)
        self.stream.write(b"x" * 99)
        self.assertEqual(self.wire.take(), b"")
        self.stream.write(b"y")
        self.assertEqual(self.wire.take(), b"x" * 99 + b"y")
        self.stream.received(b"a\r\n" * 33)
        self.assertFalse(self.wire.paused)
        self.stream.received(b"a\r\n")
        self.assertTrue(self.wire.paused)
        read: list[bytes] = []

        async def session() -> None:
            while True:
                read.append(await self.stream.readLine(10))
                self.stream.write(b"x" * 60)

        self.start(session())
        self.assertEqual(len(read), 2)
        self.stream.setBlocked(True)
        self.clock.advance(0)
        self.assertEqual(len(read), 2)
        self.stream.setBlocked(False)
        self.assertEqual(len(read), 4)
        for _ in range(34):
            self.clock.advance(0)
        self.assertEqual(read, [b"a"] * 34)
        self.assertFalse(self.wire.paused)

    def test_drain(self) -> None:
        """drain goes on at once while the peer keeps up, else when it does again."""
        self.stream.write(b"data")
        self.successResultOf(self.start(self.stream.drain()))
        self.assertEqual(self.wire.take(), b"data")
        self.stream.setBlocked(True)
        self.stream.write(b"more")
        result = self.start(self.stream.drain())
        self.assertEqual(self.wire.take(), b"more")
        self.assertNoResult(result)
        self.stream.received(b"NOOP\r\n")
        self.stream.wake()
        self.assertNoResult(result)
        self.stream.setBlocked(False)
        self.successResultOf(result)
        self.assertEqual(self.stream.takeLine(10), b"NOOP")

    def test_blockedWhileSending(self) -> None:
        """A transport that fills up in the midst of a send stops the sender."""
        send = self.wire.send

        def fill(data: bytes) -> None:
            send(data)
            self.stream.setBlocked(True)

        self.wire.send = fill  # type: ignore[method-assign]
        self.stream.write(b"data")
        self.assertNoResult(self.start(self.stream.drain()))

    def test_closed(self) -> None:
        """Nothing is sent to a peer that is gone, and nothing is kept for it."""
        self.stream.write(b"before")
        self.stream.lost()
        self.stream.write(b"after")
        self.stream.flush()
        self.assertEqual(self.wire.calls, [])
        self.assertEqual(self.stream.bytesOut, 0)

    def test_close(self) -> None:
        """What was written leaves before the connection closes."""
        self.stream.write(b"bye\r\n")
        self.stream.close()
        self.assertEqual(self.wire.calls, [b"bye\r\n", "lose"])


class STARTTLSTests(StreamTestCase):
    """
    C{startTLS} (RFC 3207 §4.2, RFC 9051 §6.2.1).
    """

    def test_start(self) -> None:
        """The go-ahead leaves in the clear, then TLS begins; the connection says so."""
        self.assertFalse(self.stream.info.secure)
        self.stream.write(b"220 ready\r\n")
        self.stream.startTLS()
        self.assertEqual(self.wire.calls, [b"220 ready\r\n", "startTLS"])
        self.assertTrue(self.stream.info.secure)

    def test_injected(self) -> None:
        """A single octet that came behind STARTTLS in the clear refuses it."""
        for injected in (b"N", b"\n", b"EHLO x\r\nMAIL FROM:<a@b.example>\r\n"):
            self.fresh()
            self.stream.received(b"STARTTLS\r\n" + injected)
            self.successResultOf(self.start(self.stream.readLine(100)))
            self.stream.write(b"220 ready\r\n")
            self.assertRaises(PlaintextInjected, self.stream.startTLS)
            self.assertEqual(self.wire.calls, [])

    def test_injectedAndTaken(self) -> None:
        """Octets that were read and put back count too."""
        self.stream.unread(b"NOOP\r\n")
        self.assertRaises(PlaintextInjected, self.stream.startTLS)


class OrderTests(StreamTestCase):
    """
    One coroutine a connection.
    """

    def test_oneAtATime(self) -> None:
        """While a session waits for something else, pipelined commands wait; none overtakes."""
        slow: Deferred[None] = Deferred()
        log: list[bytes] = []

        async def session() -> None:
            while True:
                line = await self.stream.readLine(100)
                if line == b"SLOW":
                    await slow
                log.append(line)
                self.stream.write(line + b"\r\n")

        self.start(session())
        self.stream.received(b"SLOW\r\nFAST\r\n")
        self.stream.received(b"LAST\r\n")
        self.assertEqual(log, [])
        slow.callback(None)
        self.assertEqual(log, [b"SLOW", b"FAST", b"LAST"])
        self.assertEqual(self.wire.take(), b"SLOW\r\nFAST\r\nLAST\r\n")

    def test_lostWhileBusy(self) -> None:
        """A peer that goes away doesn't interrupt what its session does meanwhile."""
        commit: Deferred[None] = Deferred()
        log: list[str] = []

        async def session() -> None:
            await self.stream.readLine(100)
            await commit
            log.append("committed")
            await self.stream.readLine(100)

        result = self.start(session())
        self.stream.received(b"x\r\n")
        self.stream.lost()
        self.assertEqual(log, [])
        commit.callback(None)
        self.assertEqual(log, ["committed"])
        self.failureResultOf(result, ConnectionClosed)
