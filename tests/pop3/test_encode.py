"""
Messages as multi-line responses.
"""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.pop3.encode import MultiLine

#: A message, and what is sent for it (RFC 1939 §3).
CASES = (
    (b"", b".\r\n"),
    (b"one\r\ntwo\r\n", b"one\r\ntwo\r\n.\r\n"),
    (b"no end", b"no end\r\n.\r\n"),
    (b".", b"..\r\n.\r\n"),
    (b".\r\n", b"..\r\n.\r\n"),
    (b".first\r\n", b"..first\r\n.\r\n"),
    (b"..\r\n.\r\n\r\n.x\r\ny.\r\n", b"...\r\n..\r\n\r\n..x\r\ny.\r\n.\r\n"),
    (b"a\r\n.\r\nb", b"a\r\n..\r\nb\r\n.\r\n"),
    (b"\r\n", b"\r\n.\r\n"),
    # Bare LFs: lines of their own, and their dots are stuffed.
    (b"a\nb\n", b"a\r\nb\r\n.\r\n"),
    (b"\n", b"\r\n.\r\n"),
    (b"\n.\n", b"\r\n..\r\n.\r\n"),
    (b"a\n.\nQUIT\n", b"a\r\n..\r\nQUIT\r\n.\r\n"),
    (b"a\r\n\n.\r\n", b"a\r\n\r\n..\r\n.\r\n"),
    (b"a\n\r\nb", b"a\r\n\r\nb\r\n.\r\n"),
    # A bare CR is part of a line.
    (b"a\rb\r.\r\n", b"a\rb\r.\r\n.\r\n"),
    (b"a\r\r\n.b\r\n", b"a\r\r\n..b\r\n.\r\n"),
    (b"end in CR\r", b"end in CR\r\r\n.\r\n"),
    (b"\0\xff.\0\r\n\xfe.\r\n", b"\0\xff.\0\r\n\xfe.\r\n.\r\n"),
)


def encode(*pieces: bytes) -> bytes:
    """
    @return: what is sent for a message that comes in these pieces.
    """
    text = MultiLine()
    return b"".join([*map(text.feed, pieces), text.finish()])


class MultiLineTests(SynchronousTestCase):
    """
    L{MultiLine}.
    """

    def test_cases(self) -> None:
        """Each message is sent as RFC 1939 §3 says, whole and cut in two at every octet."""
        for message, sent in CASES:
            self.assertEqual(encode(message), sent, message)
            for at in range(len(message) + 1):
                self.assertEqual(encode(message[:at], message[at:]), sent, (message, at))
            self.assertEqual(encode(*(bytes([octet]) for octet in message)), sent, message)

    def test_anyPieces(self) -> None:
        """Pieces never make a difference, nor do empty ones."""
        random = Random(1939)
        for _ in range(300):
            message = bytes(random.choices(b"..\r\r\n\n\nab", k=random.randrange(40)))
            cuts = sorted(random.choices(range(len(message) + 1), k=6))
            pieces = [message[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]
            self.assertEqual(encode(*pieces), encode(message), (message, cuts))

    def test_oneReading(self) -> None:
        """
        Readers that take CRLF, and readers that take LF, for a line's end find the same lines and
        the same end in whatever is sent.
        """
        random = Random(2449)
        for _ in range(300):
            message = bytes(random.choices(b"...\r\n\nab", k=random.randrange(40)))
            sent = encode(message)
            lines = sent.split(b"\r\n")
            self.assertEqual(
                [line.rstrip(b"\r") for line in sent.split(b"\n")],
                [line.rstrip(b"\r") for line in lines],
            )
            self.assertEqual(lines.index(b"."), len(lines) - 2)
