"""
EMAILID and THREADID: C{twisted_mailstack.imap.extensions.objectid}.
"""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server

FETCHED = re.compile(
    rb"\* (\d) FETCH \(EMAILID \(([A-Za-z0-9_-]{1,255})\) THREADID \(([A-Za-z0-9_-]{1,255})\)\)"
)


class MessageTests(SynchronousTestCase):
    """
    RFC 8474 §5, §6: message A, an answer to it, and message C.
    """

    def setUp(self) -> None:
        """They are in INBOX, which is selected."""
        self.server = Server()
        self.server.deliver(b"Subject: Message A\r\nMessage-ID: <54797@example.com>\r\n\r\na")
        self.server.deliver(
            b"Subject: Re: Message A\r\nMessage-ID: <21213@example.org>\r\n"
            b"References: <54797@example.com>\r\n\r\nb"
        )
        self.server.deliver(b"Subject: Message C\r\nMessage-ID: <60280@example.com>\r\n\r\nc")
        self.client = self.server.select()

    def ids(self, command: bytes = b"FETCH 1:*") -> list[tuple[bytes, bytes]]:
        """
        @return: EMAILID and THREADID of the messages.
        """
        answer = self.client.send(b"22 " + command + b" (emailid threadid)\r\n")
        return [(email, thread) for _, email, thread in FETCHED.findall(answer)]

    def test_fetch(self) -> None:
        """§5.3's example: an id for each, and one for the thread; none is of both kinds."""
        (a, thread), (b, same), (c, other) = self.ids()
        self.assertEqual(thread, same)
        self.assertEqual(len({a, b, c, thread, other}), 5)
        self.assertEqual(self.ids(), [(a, thread), (b, same), (c, other)])
        answer = self.client.send(b"x UID FETCH 2 EMAILID\r\n")
        self.assertIn(b"* 2 FETCH (UID 2 EMAILID (%b))" % b, answer)

    def test_copyAndMove(self) -> None:
        """§5.1: "the same EMAILID as the source message" after COPY or MOVE, and the thread's."""
        first, second, _ = self.ids()
        self.client.send(b"a COPY 1 Archive\r\nb MOVE 2 Archive\r\nc SELECT Archive\r\n")
        self.assertEqual(self.ids(), [first, second])

    def test_search(self) -> None:
        """§6's examples; case matters."""
        (a, thread), (b, _), (c, other) = self.ids()
        for keys, found in (
            (b"EMAILID " + a, b" 1"), (b"threadid " + thread, b" 1 2"),
            (b"THREADID " + other, b" 3"),
            (b"OR EMAILID " + a + b" EMAILID " + c, b" 1 3"), (b"NOT EMAILID " + b, b" 1 3"),
            (b"EMAILID nobody", b""), (b"EMAILID " + thread, b""),
            (b"EMAILID " + a.swapcase(), b""),
            (b"EMAILID " + b"x" * 255, b""),
        ):  # fmt: skip
            answer = self.client.send(b"27 SEARCH " + keys + b"\r\n")
            self.assertEqual(answer, b"* SEARCH" + found + b"\r\n27 OK SEARCH completed\r\n", keys)

    def test_malformed(self) -> None:
        """What can't be an id is BAD."""
        for keys in (b"EMAILID", b'EMAILID ""', b"EMAILID a/b", b"THREADID " + b"x" * 256):
            self.assertRegex(self.client.send(b"a SEARCH " + keys + b"\r\n"), b"^a BAD ", keys)
        self.assertRegex(self.client.send(b"a FETCH 1 EMAILIDS\r\n"), b"^a BAD ")
