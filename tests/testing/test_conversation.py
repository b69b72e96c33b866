"""
Tests for L{twisted_mailstack.testing.conversation}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.testing.conversation import Conversation, FakeWire
from twisted_mailstack.wire.stream import Stream


async def echo(stream: Stream) -> None:
    """
    A session that greets and says everything again, in capitals.
    """
    stream.write(b"hello\r\n")
    while (line := await stream.readLine(1000)) != b"quit":
        if line == b"fail":
            raise ValueError("as you wish")
        stream.write(line.upper() + (b"" if line == b"open" else b"\r\n"))
        if line == b"tls":
            stream.startTLS()
    stream.write(b"bye\r\n")
    stream.close()


class ConversationTests(SynchronousTestCase):
    """
    Scripts that are held to what a session says.
    """

    def assertDiffers(self, script: str, *parts: str) -> None:
        """
        The script fails, and the failure shows these lines.
        """
        error = self.assertRaises(AssertionError, Conversation(echo).check, script)
        for part in parts:
            self.assertIn(part, str(error).splitlines())

    def test_passes(self) -> None:
        """A script that is right passes; it may go on with another."""
        conversation = Conversation(echo)
        conversation.check(
            """
            S: hello
            C: one
            S: ONE
            C: two three
            S: TWO THREE
            """
        )
        self.assertFalse(conversation.finished)
        conversation.check("C: quit\nS: bye")
        self.assertTrue(conversation.finished)
        self.assertTrue(conversation.wire.lost)

    def test_emptyLines(self) -> None:
        """An empty line is said as C: and expected as S:."""
        Conversation(echo).check("S: hello\nC:\nS:\nC: x\nS: X")

    def test_otherText(self) -> None:
        """Another answer is shown beside the one that was expected."""
        self.assertDiffers("S: hello\nC: one\nS: TWO", "- S: TWO", "+ S: ONE")

    def test_tooLittleAndTooMuch(self) -> None:
        """So is one that is missing, or that nobody expected, also before or at the end."""
        self.assertDiffers("S: hello\nC: one\nS: ONE\nS: MORE", "- S: MORE")
        self.assertDiffers("S: hello\nC: one", "+ S: ONE")
        self.assertDiffers("C: one\nS: ONE", "+ S: hello")
        self.assertDiffers("S: hello\nC: one\nC: two\nS: ONE\nS: TWO", "+ S: ONE", "- S: ONE")

    def test_noLineEnd(self) -> None:
        """A line that the session didn't end is no line."""
        self.assertDiffers("S: hello\nC: open\nS: OPEN", "+ S: OPEN (and no CRLF)")

    def test_failure(self) -> None:
        """What a session raises, the script raises."""
        self.assertRaises(ValueError, Conversation(echo).check, "S: hello\nC: fail")

    def test_badScript(self) -> None:
        """A line of neither side is a mistake in the script."""
        self.assertRaises(ValueError, Conversation(echo).check, "S: hello\none")

    def test_send(self) -> None:
        """Octets in any pieces, and what came back since."""
        conversation = Conversation(echo)
        self.assertEqual(conversation.send(b"on"), b"hello\r\n")
        self.assertEqual(conversation.send(b"e\r\ntwo\r\nth"), b"ONE\r\nTWO\r\n")

    def test_disconnect(self) -> None:
        """A client that goes away ends the session, which is no failure."""
        conversation = Conversation(echo)
        conversation.disconnect()
        self.assertTrue(conversation.finished)
        self.assertIsNone(conversation.failure)

    def test_settles(self) -> None:
        """What a session puts off so that others have a turn is done before the test goes on."""

        async def slow(stream: Stream) -> None:
            await stream.readLine(10)
            for _ in range(5):
                await stream.breathe()
            stream.write(b"done\r\n")

        self.assertEqual(Conversation(slow).send(b"x\r\n"), b"done\r\n")

    def test_wire(self) -> None:
        """The wire says what is known of the connection, before TLS and under it."""
        conversation = Conversation(echo, wire=FakeWire("imap", peer="198.51.100.1"))
        info = conversation.stream.info
        self.assertEqual((info.peer, info.service, info.secure), ("198.51.100.1", "imap", False))
        conversation.check("S: hello\nC: tls\nS: TLS")
        self.assertTrue(conversation.stream.info.secure)
        self.assertTrue(Conversation(echo, wire=FakeWire(secure=True)).stream.info.secure)
