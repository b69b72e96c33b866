"""
LANG (RFC 6856 §3).
"""

from __future__ import annotations

from tests.pop3.support import POP3TestCase


class LANGTests(POP3TestCase):
    """
    The command, in both states.
    """

    def test_list(self) -> None:
        """Without a parameter the languages are listed: a tag, a space, a name (§3.2)."""
        for client in (self.server.connect(), self.server.login()):
            client.wire.take()
            client.check("""
                C: LANG
                S: +OK languages follow
                S: en English
                S: i-default English
                S: .
            """)

    def test_select(self) -> None:
        """The tag that was chosen, and a text; a range that is more exact than what is there."""
        client = self.server.connect()
        client.wire.take()
        for wanted, found in (
            *(("en", "en"), ("EN-us-x-y", "en"), ("*", "en"), ("I-Default", "i-default")),
            ("en-a-bb", "en"),
        ):
            said = client.send(f"LANG {wanted}\r\n".encode())
            self.assertEqual(said, f"+OK {found} language selected\r\n".encode(), wanted)

    def test_unsupported(self) -> None:
        """What isn't there is refused, and all goes on."""
        client = self.server.connect()
        client.wire.take()
        for wanted in (b"MUL", b"de", b"e", b"-", b"enx", b"\xff"):
            self.assertEqual(
                client.send(b"LANG " + wanted + b"\r\n"), b"-ERR Unsupported language\r\n"
            )
        self.assertEqual(client.send(b"LANG en de\r\n"), b"-ERR Too many parameters\r\n")
