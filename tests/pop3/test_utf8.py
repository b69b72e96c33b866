"""
UTF8 (RFC 6856 §2), and what clients get that don't say it.
"""

from __future__ import annotations

from email import message_from_bytes
from email.policy import default

from tests.pop3.support import POP3TestCase, multiLine
from twisted_mailstack.pop3 import surrogate

GLOBAL = (
    "From: Jörg <jörg@exämple.test>\r\nSubject: Grüße\r\nContent-Type: multipart/mixed;"
    ' boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n'
    "Content-Transfer-Encoding: 8bit\r\n\r\nä\r\n.ö\r\n--b\r\n"
    'Content-Disposition: attachment; filename="ü.txt"\r\n\r\nx\r\n--b--\r\n'
).encode()


class UTF8Tests(POP3TestCase):
    """
    The command.
    """

    def setUp(self) -> None:
        """A message that needs it."""
        super().setUp()
        self.server.expunge(1, 2)
        self.server.put(GLOBAL)

    def retrieve(self, command: bytes, utf8: bool) -> bytes:
        """
        @return: what a client gets.
        """
        client = self.server.connect()
        if utf8:
            self.assertEqual(client.send(b"utf8\r\n").splitlines()[-1], b"+OK UTF8 mode")
        client.send(b"USER alice\r\nPASS secret\r\n")
        _, text, rest = multiLine(client.send(command + b"\r\n"))
        self.assertEqual(rest, b"")
        client.send(b"QUIT\r\n")
        self.assertFreed(client)
        return text

    def test_asItIs(self) -> None:
        """In UTF-8 mode messages are sent as they are."""
        self.assertEqual(self.retrieve(b"RETR 1", True), GLOBAL)
        self.assertEqual(self.retrieve(b"TOP 1 0", True), GLOBAL[: GLOBAL.index(b"\r\n\r\n") + 4])

    def test_surrogate(self) -> None:
        """Else headers are ASCII, those of parts too; bodies are what they are."""
        text = self.retrieve(b"RETR 1", False)
        parsed = message_from_bytes(text, policy=default)
        self.assertEqual(parsed["subject"], "Grüße")
        self.assertIn("jörg@exämple.test", str(parsed["from"]))
        first, second = parsed.iter_parts()
        self.assertEqual(first.get_content(), "ä\r\n.ö")
        self.assertEqual(second.get_filename(), "ü.txt")
        header = text[: text.index(b"\r\n\r\n")]
        self.assertTrue(header.isascii())
        self.assertTrue(text.replace("ä\r\n.ö".encode(), b"").isascii())

    def test_window(self) -> None:
        """However it is read."""
        whole = self.retrieve(b"RETR 1", False)
        for window in (1, 2, 7, 50, len(GLOBAL) - 1, len(GLOBAL)):
            self.patch(surrogate, "WINDOW", window)
            self.assertEqual(self.retrieve(b"RETR 1", False), whole, window)
            self.assertEqual(self.retrieve(b"RETR 1", True), GLOBAL, window)

    def test_top(self) -> None:
        """TOP cuts the surrogate where it cuts the message."""
        whole = self.retrieve(b"RETR 1", False)
        end = whole.index(b"\r\n\r\n") + 4
        self.assertEqual(self.retrieve(b"TOP 1 0", False), whole[:end])
        lines = whole[end:].splitlines(keepends=True)
        for number in range(len(lines) + 2):
            text = self.retrieve(b"TOP 1 %d" % number, False)
            self.assertEqual(text, whole[:end] + b"".join(lines[:number]))

    def test_tooMuch(self) -> None:
        """Where there is too much to be changed the client is told how to get it (§5)."""
        self.patch(surrogate, "MAX_HEADERS", 20)
        client = self.server.login()
        said = client.send(b"RETR 1\r\nTOP 1 0\r\nNOOP\r\n")
        self.assertEqual(said.count(b"-ERR [UTF8] "), 2)
        self.assertTrue(said.endswith(b"+OK\r\n"))
        self.patch(surrogate, "MAX_HEADER", 20)
        self.assertEqual(client.send(b"RETR 1\r\n")[:12], b"-ERR [UTF8] ")
        client.disconnect()
        self.assertEqual(self.retrieve(b"RETR 1", True), GLOBAL)

    def test_others(self) -> None:
        """What isn't UTF-8, and what is ASCII, stays octet for octet."""
        latin = b"Subject: gr\xfc\xdfe\r\nX: y\r\n\r\n\xfc\r\n"
        self.server.put(latin)
        self.assertEqual(self.retrieve(b"RETR 2", False), latin)

    def test_states(self) -> None:
        """In AUTHORIZATION only, without parameters, and no STLS behind it (§2.1)."""
        client = self.server.connect(secure=False)
        client.wire.take()
        client.check("""
            C: UTF8 now
            S: -ERR Too many parameters
            C: UTF8
            S: +OK UTF8 mode
            C: UTF8
            S: +OK UTF8 mode
            C: STLS
            S: -ERR Too late: UTF8 was said
        """)
        self.assertFalse(client.wire.secure)
        client = self.server.login()
        self.assertEqual(client.send(b"UTF8\r\n"), b"-ERR Not in this state\r\n")
