"""
Messages whose headers have UTF-8, read in pieces.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.pop3.support import now
from twisted_mailstack.errors import StoreDamaged
from twisted_mailstack.model.mime import scan
from twisted_mailstack.pop3 import surrogate
from twisted_mailstack.pop3.surrogate import textOf


class Content:
    """A message in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)
        self.structure = scan(data)
        self.reads = 0

    async def read(self, offset: int, length: int) -> bytes:
        """See IMessageContent."""
        self.reads += 1
        return self.data[offset : offset + length]


class TextTests(SynchronousTestCase):
    """
    What is sent of a message.
    """

    def read(self, content: Content, utf8: bool = False) -> bytes:
        """
        @return: all of it.
        """
        anything: Any = content
        text = now(textOf(anything, utf8))
        parts: list[bytes] = []
        at = 0
        while at < text.size:
            parts.append(now(text.read(at, text.size)))
            at += len(parts[-1])
        return b"".join(parts)

    def test_nested(self) -> None:
        """A message in the message has a header too, and one whose body is at once its header."""
        data = (
            "Subject: ä\r\nContent-Type: message/rfc822\r\n\r\nSubject: ö\r\n"
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX: ü\r\n\r\n--b--\r\n"
        ).encode()
        for window in (1, 10, 1000):
            self.patch(surrogate, "WINDOW", window)
            found = self.read(Content(data))
            self.assertTrue(found.isascii())
            self.assertEqual(found.count(b"=?UTF-8?B?"), 3)
            self.assertEqual(self.read(Content(data), utf8=True), data)

    def test_edges(self) -> None:
        """Empty, header only, body only."""
        for data in (b"", b"\r\n", b"a: b", b"\r\nbody", "a: ü".encode(), "\r\nü".encode()):
            found = self.read(Content(data))
            self.assertEqual(
                found, b"Downgraded-a: =?UTF-8?B?w7w=?=\r\n" if data[2:4] == b" \xc3" else data
            )

    def test_once(self) -> None:
        """An ordinary message is read once."""
        content = Content(b"Subject: x\r\n\r\n" + b"y" * 1000)
        self.read(content)
        self.assertEqual(content.reads, 1)

    def test_damaged(self) -> None:
        """Less than there should be is damage."""
        content = Content("Subject: ü\r\n\r\nbody".encode())
        content.data = content.data[:-2]
        with self.assertRaises(StoreDamaged):
            self.read(content)
