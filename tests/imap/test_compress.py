"""
COMPRESS=DEFLATE (RFC 4978): C{twisted_mailstack.imap.extensions.compress}.
"""

from __future__ import annotations

import zlib
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import MESSAGE, Server
from twisted_mailstack.errors import PlaintextInjected
from twisted_mailstack.testing.conversation import Conversation
from twisted_mailstack.wire.stream import HIGH_WATER


class Compressed:
    """
    The client's side of a compressed connection.
    """

    def __init__(self, client: Conversation) -> None:
        self.client = client
        self.deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
        self.inflater = zlib.decompressobj(-15)

    def deflate(self, data: bytes) -> bytes:
        """
        @return: as it goes over the wire.
        """
        return self.deflater.compress(data) + self.deflater.flush(zlib.Z_SYNC_FLUSH)

    def send(self, data: bytes, piece: int = 1 << 30) -> bytes:
        """
        @param piece: octets that arrive at a time.
        @return: what the server answers.
        """
        packed = self.deflate(data)
        answer = b""
        for at in range(0, len(packed), piece):
            answer += self.inflater.decompress(self.client.send(packed[at : at + piece]))
        return answer


class CompressTests(SynchronousTestCase):
    """
    §3.
    """

    def setUp(self) -> None:
        """A session that is logged in."""
        self.server = Server()
        self.client = self.server.login()

    def compress(self) -> Compressed:
        """
        @return: the connection, compressed.
        """
        self.assertEqual(self.client.send(b"c compress deflate\r\n"), b"c OK DEFLATE active\r\n")
        return Compressed(self.client)

    def test_example(self) -> None:
        """From behind the OK on, both directions are compressed; the OK isn't."""
        packed = self.compress()
        self.assertEqual(packed.send(b"d NOOP\r\n"), b"d OK NOOP completed\r\n")
        self.assertEqual(packed.send(b"e NOOP\r\n", 1), b"e OK NOOP completed\r\n")
        # Each answer is flushed, however little it is.
        self.assertEqual(packed.send(b"f IDLE\r\n"), b"+ idling\r\n")
        self.assertEqual(packed.send(b"DONE\r\n"), b"f OK IDLE terminated\r\n")

    def test_nothing(self) -> None:
        """Where there is nothing to say nothing is sent, not even a flush of nothing."""
        self.client.send(b"a NOTIFY SET (personal (MessageNew MessageExpunge))\r\n")
        self.compress()
        self.server.deliver()
        self.assertIn(b"\xff\xff", self.client.wire.take())
        self.client.stream.wake()
        self.client.settle()
        self.assertEqual(self.client.wire.take(), b"")

    def test_capability(self) -> None:
        """It is offered once somebody is logged in."""
        client = self.server.connect()
        self.assertNotIn(b"COMPRESS", client.wire.take())
        self.assertRegex(client.send(b"a COMPRESS DEFLATE\r\n"), rb"^a BAD ")
        self.assertIn(b" COMPRESS=DEFLATE ", self.client.send(b"a CAPABILITY\r\n"))

    def test_refused(self) -> None:
        """BAD for another algorithm, for other arguments, and when it is active already."""
        for arguments in ("", " ", " LZ4", " DEFLATE x", " (DEFLATE)", " DEFLATE DEFLATE"):
            answer = self.client.send(f"a COMPRESS{arguments}\r\n".encode())
            self.assertRegex(answer, rb"^a BAD ")
        packed = self.compress()
        self.assertEqual(
            packed.send(b"d COMPRESS DEFLATE\r\n"),
            b"d BAD [COMPRESSIONACTIVE] DEFLATE is active already\r\n",
        )
        self.assertEqual(packed.send(b"e NOOP\r\n"), b"e OK NOOP completed\r\n")

    def test_injected(self) -> None:
        """
        "The client MUST NOT send any further commands until it has seen the result": plaintext
        behind it is never run, and the connection is dropped.
        """
        self.client.send(b"c COMPRESS DEFLATE\r\nd CREATE injected\r\n")
        assert self.client.failure is not None
        self.assertTrue(self.client.failure.check(PlaintextInjected))
        self.assertNotIn(b"injected", self.server.login().send(b'a LIST "" *\r\n'))

    def test_news(self) -> None:
        """What is told unasked is compressed too, and sent at once."""
        self.client.send(b"s SELECT INBOX\r\n")
        packed = self.compress()
        packed.send(b"i IDLE\r\n")
        self.server.deliver()
        self.client.settle()
        self.assertEqual(
            packed.inflater.decompress(self.client.wire.take()), b"* 1 EXISTS\r\n* 1 RECENT\r\n"
        )

    def test_literals(self) -> None:
        """Literals go both ways, in pieces of any size."""
        packed = self.compress()
        for piece in (1, 7, 1 << 20):
            command = b"a APPEND INBOX {%d+}\r\n%b\r\n" % (len(MESSAGE), MESSAGE)
            self.assertRegex(packed.send(command, piece), rb"^a OK \[APPENDUID 1 \d\] ")
        packed.send(b"b SELECT INBOX\r\n")
        answer = packed.send(b"c FETCH 1:3 BODY.PEEK[]\r\n")
        self.assertEqual(answer.count(MESSAGE), 3)

    def test_pipelined(self) -> None:
        """Commands within one flush, or several in one piece, run in order."""
        packed = self.compress()
        wire = (
            packed.deflate(b"a NOOP\r\nb NO")
            + packed.deflate(b"OP\r\n")
            + packed.deflate(b"c NOOP\r\n")
        )
        self.assertEqual(
            packed.inflater.decompress(self.client.send(wire)),
            b"a OK NOOP completed\r\nb OK NOOP completed\r\nc OK NOOP completed\r\n",
        )

    def test_garbage(self) -> None:
        """What can't be inflated ends the connection, without an error of ours."""
        for garbage in (b"a NOOP\r\n", b"\xff" * 100, b"\0\0\0\0\0"):
            self.client = self.server.login()
            self.compress()
            self.client.send(garbage)
            self.assertTrue(self.client.finished)
            self.assertIsNone(self.client.failure)

    def test_random(self) -> None:
        """Whatever octets come, in any pieces: they are read, or the connection ends."""
        source = Random(4978)
        for _ in range(100):
            self.client = self.server.login()
            packed = self.compress()
            wire = bytearray(packed.deflate(b"a NOOP\r\nb CREATE {5+}\r\nfoo/x\r\nc NOOP\r\n"))
            for _ in range(source.randrange(4)):
                wire[source.randrange(len(wire))] = source.randrange(256)
            wire += source.randbytes(source.randrange(50))
            while wire and not self.client.finished:
                piece = source.randrange(1, 20)
                self.client.send(bytes(wire[:piece]))
                del wire[:piece]
            self.assertIsNone(self.client.failure)
            self.client.disconnect()

    def test_ended(self) -> None:
        """A client that ends its deflated stream has nothing more to say."""
        packed = self.compress()
        data = packed.deflater.compress(b"a NOOP\r\n") + packed.deflater.flush()
        self.assertIn(b"a OK", packed.inflater.decompress(self.client.send(data)))
        self.client.send(b"b NOOP\r\n")
        self.assertTrue(self.client.finished)

    def test_bomb(self) -> None:
        """
        A few octets that inflate to very many are inflated a window at a time, as they are read:
        a literal of that size is refused and read past, and the session goes on.
        """
        packed = self.compress()
        stream = self.client.stream
        most = 0
        inflated = 0
        unpack = stream._unpack

        def measured() -> bool:
            nonlocal most, inflated
            result = unpack()
            most = max(most, len(stream._buffer))
            inflated += stream.buffered
            return result

        self.patch(stream, "_unpack", measured)
        size = 20_000_000
        wire = packed.deflate(b"a CREATE {%d+}\r\n" % size + b"x" * size + b"\r\nb NOOP\r\n")
        self.assertLess(len(wire), HIGH_WATER)
        answer = packed.inflater.decompress(self.client.send(wire))
        self.assertRegex(answer, rb"^a BAD [^\n]*\nb OK NOOP completed\r\n\Z")
        self.assertGreaterEqual(inflated, size)
        self.assertLessEqual(most, 256 * 1024)

    def test_longLine(self) -> None:
        """Nor does a line that never ends fill the memory."""
        packed = self.compress()
        answer = packed.send(b"x" * 5_000_000 + b"\r\na NOOP\r\n")
        self.assertTrue(answer.endswith(b"a OK NOOP completed\r\n"))

    def test_manyFlushes(self) -> None:
        """Flushes without anything between them cost little, and say nothing."""
        packed = self.compress()
        self.assertEqual(self.client.send(b"\0\0\0\xff\xff" * 10_000), b"")
        self.assertEqual(packed.send(b"a NOOP\r\n"), b"a OK NOOP completed\r\n")

    def test_paused(self) -> None:
        """Who sends faster than is read is asked to wait, as without compression."""
        packed = self.compress()
        stream = self.client.stream
        self.patch(stream, "_fire", lambda: None)
        stream.received(b"\0\0\0\xff\xff" * 20_000)
        self.assertTrue(self.client.wire.paused)
        self.patch(stream, "_fire", type(stream)._fire.__get__(stream))
        self.assertEqual(packed.send(b"a NOOP\r\n"), b"a OK NOOP completed\r\n")
        self.assertFalse(self.client.wire.paused)

    def test_smaller(self) -> None:
        """§4: responses become much smaller, and the log counts what went over the wire."""
        for _ in range(200):
            self.server.deliver()
        packed = self.compress()
        packed.send(b"a SELECT INBOX\r\n")
        before = self.client.stream.bytesOut
        answer = packed.send(b"b FETCH 1:* (UID FLAGS ENVELOPE)\r\n")
        self.assertLess(4 * (self.client.stream.bytesOut - before), len(answer))

    def test_end(self) -> None:
        """LOGOUT's last words are compressed, too."""
        packed = self.compress()
        self.assertRegex(
            packed.send(b"a LOGOUT\r\n"), rb"^\* BYE [^\n]*\na OK LOGOUT completed\r\n"
        )
