"""
Cutting the stream: C{twisted_mailstack.imap.framing}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from twisted_mailstack.errors import (
    CannotDoThat,
    LimitExceeded,
    MessageTooLarge,
    OverQuota,
    SessionEnded,
    SyntaxProblem,
)
from twisted_mailstack.imap.framing import (
    AFTER_LOGIN,
    BEFORE_LOGIN,
    WINDOW,
    FramingLimits,
    Refused,
    SinkFor,
    SinksOf,
    readCommand,
)
from twisted_mailstack.interfaces import IContentWriter, IStagedContent
from twisted_mailstack.testing.conversation import Conversation
from twisted_mailstack.wire.stream import LineTooLong, Stream

SMALL = FramingLimits(line=40, literal=11, command=60)


@implementer(IContentWriter)
class Sink:
    """
    A writer that remembers.

    @ivar writes: what each write brought.
    @ivar answer: what the next writes return; an exception is raised.
    """

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.aborted = False
        self.answer: Awaitable[None] | Exception | None = None

    @property
    def size(self) -> int:
        """See L{IContentWriter}."""
        return sum(map(len, self.writes))

    def write(self, data: bytes) -> Awaitable[None] | None:
        """See L{IContentWriter}."""
        if isinstance(self.answer, Exception):
            raise self.answer
        self.writes.append(data)
        return self.answer

    async def finish(self) -> IStagedContent:
        """See L{IContentWriter}."""
        raise NotImplementedError

    def abort(self) -> None:
        """See L{IContentWriter}."""
        self.aborted = True


def allInMemory(text: bytes) -> SinkFor | None:
    """No command has a literal that goes elsewhere."""
    return None


class Reader:
    """
    Reads commands until the end.

    @ivar read: the commands, and the tag and error's class of those refused.
    """

    def __init__(self, limits: FramingLimits = SMALL, sinksOf: SinksOf = allInMemory) -> None:
        self.read: list[bytes | tuple[bytes, type[Exception]]] = []
        self.ended: SessionEnded | None = None

        async def serve(stream: Stream) -> None:
            while True:
                try:
                    text, _ = await readCommand(stream, limits, sinksOf)
                    self.read.append(text)
                except Refused as refused:
                    self.read.append((refused.text.split(b" ")[0], type(refused.error)))
                except SessionEnded as ended:
                    self.ended = ended
                    return

        self.conversation = Conversation(serve)
        self.send = self.conversation.send


def chunkings(data: bytes) -> Iterator[list[bytes]]:
    """
    @return: the data whole, octet by octet, and cut in two at every place.
    """
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]


class LinesAndLiteralsTests(SynchronousTestCase):
    """
    What comes out, whatever the chunks.
    """

    def check(
        self,
        data: bytes,
        read: list[bytes | tuple[bytes, type[Exception]]],
        replies: bytes = b"",
        sinksOf: Callable[[], SinksOf] = lambda: allInMemory,
    ) -> None:
        """
        The same for every chunking, and with the beginning of another command behind.
        """
        for trailing in (b"", b"z NOO"):
            for chunks in chunkings(data + trailing):
                reader = Reader(sinksOf=sinksOf())
                said = b"".join(map(reader.send, chunks))
                self.assertEqual((reader.read, said), (read, replies), chunks)

    def test_lines(self) -> None:
        """A line is a command; the CRLF isn't part of it; an empty line is an empty command."""
        self.check(b"a NOOP\r\n\r\nb NOOP\r\n", [b"a NOOP", b"", b"b NOOP"])

    def test_bareLF(self) -> None:
        """A bare LF ends a line too: some clients are so."""
        self.check(b"a NOOP\nb NOOP\r\n", [b"a NOOP", b"b NOOP"])

    def test_bareCR(self) -> None:
        """A bare CR ends nothing."""
        self.check(b"a NO\rOP\r\n", [b"a NO\rOP"])

    def test_synchronisingLiteral(self) -> None:
        """RFC 3501 §7.5's example: the client is told to go on before each literal."""
        self.check(
            b"A001 LOGIN {11}\r\nFRED FOOBAR {7}\r\nfat man\r\n",
            [b"A001 LOGIN {11}\r\nFRED FOOBAR {7}\r\nfat man"],
            b"+ Ready\r\n+ Ready\r\n",
        )

    def test_nonSynchronisingLiteral(self) -> None:
        """RFC 7888 §3's example: nobody waits for anybody."""
        command = b"A001 LOGIN {11+}\r\nFRED FOOBAR {7+}\r\nfat man"
        self.check(command + b"\r\n", [command])

    def test_emptyLiteral(self) -> None:
        """A literal of 0 octets is asked for as any other (RFC 3501 §4.3)."""
        self.check(b"a X {0}\r\n y {0+}\r\n\r\n", [b"a X {0}\r\n y {0+}\r\n"], b"+ Ready\r\n")

    def test_literalIsNoCommand(self) -> None:
        """Lines, literals' beginnings and references within a literal are its text."""
        self.check(
            b"a X {10+}\r\nb NOOP\r\n{3\r\nc Y {9+}\r\n{$0}\n{9+} z\r\n",
            [b"a X {10+}\r\nb NOOP\r\n{3", b"c Y {9+}\r\n{$0}\n{9+} z"],
        )

    def test_noLiteral(self) -> None:
        """What only looks like one is left to the parser; nobody is told to go on."""
        for text in (b"{-5}", b"{+5}", b"{}", b"{+}", b"{ 5}", b"{5 }", b"{0x5}", b"{5}x", b"{5"):
            self.check(b"a X " + text + b"\r\nb NOOP\r\n", [b"a X " + text, b"b NOOP"])

    def test_withinQuotes(self) -> None:
        """ "MUST check the end of every received line" (RFC 7888 §3): quotes don't matter."""
        self.check(b'a X "y {4+}\r\nb NO z\r\nc\r\n', [b'a X "y {4+}\r\nb NO z', b"c"])

    def test_tooLongLine(self) -> None:
        """A line that is too long is discarded to its end, and its tag is known."""
        self.check(b"a X " + b"y" * 50 + b"\r\nb NOOP\r\n", [(b"a", LineTooLong), b"b NOOP"])

    def test_tooLongLineWithLiteral(self) -> None:
        """
        The literal at the end of a line that is too long is no command, nor is one at the end of
        the line behind it.
        """
        self.check(
            b"a X "
            + b"y" * 50
            + b" {9+}\r\nb LOGOUT\n"
            + b"z" * 50
            + b" {7+}\r\nc NOOP\n\r\nd\r\n",
            [(b"a", LineTooLong), b"d"],
        )

    def test_tooLongLineAfterLiteral(self) -> None:
        """The tag is that of the command's first line."""
        self.check(b"a X {2+}\r\nyy" + b"z" * 50 + b"\r\nd\r\n", [(b"a", LineTooLong), b"d"])

    def test_tooLargeSynchronising(self) -> None:
        """
        A literal that is too large isn't asked for; the client, which waits, sends another command.
        """
        for size in (b"12", b"99999999999", b"9" * 30):
            self.check(b"a X {" + size + b"}\r\nb\r\n", [(b"a", LimitExceeded), b"b"])

    def test_tooLargeNonSynchronising(self) -> None:
        """One that is sent all the same is read past, with what the client sends behind it."""
        self.check(
            b"a X {12+}\r\nb LOGOUT\r\n.. y {5+}\r\nc NO\n z\r\nd\r\n",
            [(b"a", LimitExceeded), b"d"],
        )

    def test_tooLargeThenSynchronising(self) -> None:
        """In a refused command nothing more is asked for."""
        self.check(b"a X {12+}\r\nb LOGOUT\r\n.. {5}\r\nd\r\n", [(b"a", LimitExceeded), b"d"])

    def test_tooLargeCommand(self) -> None:
        """All literals together are bounded too."""
        self.check(b"a X" + b" {9+}\r\n123456789" * 5 + b"\r\nb\r\n", [(b"a", LimitExceeded), b"b"])
        self.check(b"a X" + b" {0+}\r\n" * 20 + b"\r\nb\r\n", [(b"a", LimitExceeded), b"b"])

    def test_tooLargeTogether(self) -> None:
        """And one that would make it too large isn't asked for."""
        self.check(
            b"a X" + b" {9+}\r\n123456789" * 3 + b" {11}\r\nb\r\n",
            [(b"a", LimitExceeded), b"b"],
        )

    def test_refusedBySinksOf(self) -> None:
        """A command that is no command is refused before its literal (RFC 3501 §7.5)."""

        def refuse(text: bytes) -> SinkFor | None:
            raise SyntaxProblem(text.decode("ascii"))

        self.check(
            b"A044 BLURDYBLOOP {5}\r\nA045 NOOP\r\nA046 X {9+}\r\na LOGOUT\n\r\nb\r\n",
            [(b"A044", SyntaxProblem), b"A045 NOOP", (b"A046", SyntaxProblem), b"b"],
            sinksOf=lambda: refuse,
        )

    def test_streamed(self) -> None:
        """A literal with a sink leaves a reference that no client can write, and isn't bounded."""
        sinks: list[Sink] = []

        def sinksOf(text: bytes) -> SinkFor | None:
            async def sinkFor(text: bytes, _: Sequence[IContentWriter], size: int) -> Sink | None:
                if text.endswith(b"name "):
                    return None
                sinks.append(Sink())
                return sinks[-1]

            return sinkFor if text.startswith(b"a") else None

        self.check(
            b"a name {2}\r\nxx {12+}\r\nb LOGOUT\r\n{2 {1}\r\ny\r\nb {$0} {1+}\r\nz\r\n",
            [b"a name {2}\r\nxx {$0}\n {$1}\n", b"b {$0} {1+}\r\nz"],
            b"+ Ready\r\n+ Ready\r\n",
            lambda: sinksOf,
        )
        self.assertEqual({b"".join(sink.writes) for sink in sinks}, {b"b LOGOUT\r\n{2", b"y"})
        self.assertEqual({sink.aborted for sink in sinks}, {False})


class SinkTests(SynchronousTestCase):
    """
    Where literals go.
    """

    def setUp(self) -> None:
        """One sink for all."""
        self.sink = Sink()
        self.asked: list[tuple[bytes, int]] = []
        self.refuseAt = -1

        def sinksOf(text: bytes) -> SinkFor | None:
            async def sinkFor(
                text: bytes, sinks: Sequence[IContentWriter], size: int
            ) -> Sink | None:
                if size == self.refuseAt:
                    raise MessageTooLarge()
                self.asked.append((text, size))
                return self.sink

            self.asked.append((text, -1))
            return sinkFor

        self.reader = Reader(sinksOf=sinksOf)

    def test_asked(self) -> None:
        """At the first literal what is to be asked, then about each, with the command so far."""
        self.reader.send(b"a X {2+}\r\nyy (z) {3}\r\n")
        self.assertEqual(self.asked, [(b"a X ", -1), (b"a X ", 2), (b"a X {$0}\n (z) ", 3)])

    def test_literal8(self) -> None:
        """RFC 3516 §7: only a literal8 may have NULs; the tilde stands before its reference."""
        self.reader.send(b"a X ~{3}\r\na\0b ~{2+}\r\n\0\0 {1+}\r\nc\r\n")
        self.assertEqual(
            self.asked,
            [
                *((b"a X ", -1), (b"a X ~", 3), (b"a X ~{$0}\n ~", 2)),
                (b"a X ~{$0}\n ~{$1}\n ", 1),
            ],
        )
        self.assertEqual(b"".join(self.sink.writes), b"a\0b\0\0c")
        self.assertFalse(self.sink.aborted)
        self.reader.send(b"a X {3+}\r\na\0b\r\n")
        self.assertTrue(self.sink.aborted)

    def test_window(self) -> None:
        """However large a literal is, its octets come a bounded window at a time, unaltered."""
        data = bytes(range(1, 256)) * 2000
        self.reader.send(b"a X {%d}\r\n" % len(data))
        self.reader.send(data + b"\r\n")
        self.assertEqual(b"".join(self.sink.writes), data)
        self.assertLessEqual(max(map(len, self.sink.writes)), WINDOW)

    def test_waits(self) -> None:
        """A sink that isn't ready is waited for; the peer is asked to wait as well."""
        self.sink.answer = ready = Deferred()
        self.reader.send(b"a X {300000+}\r\n" + b"x" * 1000)
        self.reader.send(b"y" * 100_000)
        self.assertEqual(self.sink.writes, [b"x" * 1000])
        self.assertTrue(self.reader.conversation.wire.paused)
        self.sink.answer = None
        ready.callback(None)
        self.assertFalse(self.reader.conversation.wire.paused)
        self.reader.send(b"z" * 199_000 + b"\r\nb\r\n")
        self.assertEqual(self.sink.size, 300_000)
        self.assertEqual(self.reader.read, [b"a X {$0}\n", b"b"])

    def failing(self, error: Exception) -> None:
        """
        A literal whose sink fails in its midst.
        """
        self.assertEqual(self.reader.send(b"a X {12}\r\n"), b"+ Ready\r\n")
        self.reader.send(b"b LO")
        self.sink.answer = error
        self.reader.send(b"GOUT")
        # Already: what comes yet may be much, or never come.
        self.assertTrue(self.sink.aborted)
        self.sink.answer = None
        self.assertEqual(self.reader.send(b"\r\n{2 y {4+}\r\nc NO z\r\nd\r\n"), b"")
        self.assertEqual(self.reader.read, [(b"a", type(error)), b"d"])
        self.assertEqual(self.sink.writes, [b"b LO"])

    def test_fails(self) -> None:
        """When a sink fails, the rest of the command is read past."""
        self.failing(OSError("disk"))

    def test_refuses(self) -> None:
        """A sink may also refuse with what is the peer's business."""
        self.failing(OverQuota())

    def test_failsLater(self) -> None:
        """A sink that fails while it is waited for has failed."""
        self.sink.answer = ready = Deferred()
        self.reader.send(b"a X {9+}\r\nb LO")
        ready.errback(OSError("disk"))
        self.reader.send(b"GOUT\n\r\nd\r\n")
        self.assertEqual(self.reader.read, [(b"a", OSError), b"d"])
        self.assertTrue(self.sink.aborted)

    def test_NUL(self) -> None:
        """CHAR8 is any octet but NUL (RFC 3501 §9): the command is refused, as a whole."""
        for chunks in chunkings(b"a X {9+}\r\nb L\0GOUT\n\r\nd\r\n"):
            self.setUp()
            for chunk in chunks:
                self.reader.send(chunk)
            self.assertEqual(self.reader.read, [(b"a", CannotDoThat), b"d"])
            self.assertTrue(self.sink.aborted)

    def test_refusedLater(self) -> None:
        """When a later literal is refused, what earlier ones have written is thrown away."""
        self.refuseAt = 5
        self.assertEqual(self.reader.send(b"a X {2+}\r\nyy {5}\r\nd\r\n"), b"")
        self.assertEqual(self.reader.read, [(b"a", MessageTooLarge), b"d"])
        self.assertTrue(self.sink.aborted)

    def test_tooLongLater(self) -> None:
        """Likewise when the rest of the command is too long."""
        self.reader.send(b"a X {2+}\r\nyy" + b"z" * 70 + b"\r\nd\r\n")
        self.assertEqual(self.reader.read, [(b"a", LineTooLong), b"d"])
        self.assertTrue(self.sink.aborted)

    def test_connectionLost(self) -> None:
        """When the peer vanishes in the midst of a literal, or behind it, nothing is left."""
        for sent in (
            b"a X {5}\r\n",
            b"a X {5}\r\nabc",
            b"a X {5}\r\nabcde",
            b"a X {5+}\r\nabcde y",
        ):
            self.setUp()
            self.reader.send(sent)
            self.reader.conversation.disconnect()
            self.assertTrue(self.reader.conversation.finished)
            self.assertIsNone(self.reader.conversation.failure)
            self.assertTrue(self.sink.aborted)
            self.assertEqual(self.reader.read, [])

    def test_timeout(self) -> None:
        """Nor when it is silent for too long."""
        self.reader.conversation.stream.timeout = 60
        self.reader.send(b"a X {5}\r\nabc")
        self.reader.conversation.clock.advance(60)
        assert self.reader.ended is not None
        self.assertEqual(self.reader.ended.reason, SessionEnded.TIMEOUT)
        self.assertTrue(self.sink.aborted)


class HugeTests(SynchronousTestCase):
    """
    What no server should hold.
    """

    def test_readPast(self) -> None:
        """A literal of a megabyte before login is read past in bounded memory."""
        reader = Reader(BEFORE_LOGIN)
        reader.send(b"a LOGIN {1000000+}\r\n")
        for _ in range(100):
            reader.send(b"x" * 10_000)
            self.assertEqual(reader.conversation.stream.buffered, 0)
        self.assertEqual(reader.read, [])
        reader.send(b" y\r\nb NOOP\r\n")
        self.assertEqual(reader.read, [(b"a", LimitExceeded), b"b NOOP"])

    def test_disconnected(self) -> None:
        """
        What nobody would want to read past ends the connection, with a reason (RFC 7888 §4). An
        octet count of thousands of digits costs nothing.
        """
        for size in (b"2147483648", b"99999999999", b"9" * 6000):
            reader = Reader(BEFORE_LOGIN)
            self.assertEqual(
                reader.send(b"a LOGIN {" + size + b"+}\r\n"),
                b"* BYE [TOOBIG] refused, and too large to be read past\r\n",
            )
            self.assertIsNotNone(reader.ended)

    def test_manyLiterals(self) -> None:
        """Tens of thousands of literals in a command don't take quadratic time."""
        reader = Reader(AFTER_LOGIN)
        reader.send(b"a X" + b" {0+}\r\n" * 70_000 + b"\r\nb NOOP\r\n")
        self.assertEqual(len(reader.read), 2)
