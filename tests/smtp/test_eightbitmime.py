"""
8BITMIME (RFC 6152).
"""

from __future__ import annotations

from tests.smtp.support import SMTPTestCase


class EightBitMIMETests(SMTPTestCase):
    """
    BODY, and octets with the high bit.
    """

    def test_body(self) -> None:
        """BODY is 7BIT or 8BITMIME in any case (§2 (4)), and nothing else."""
        self.serve().greeted().check("""
            C: MAIL FROM:<> BODY=8BITMIME
            S: 250 2.1.0 OK
            C: RSET
            S: 250 2.0.0 OK
            C: MAIL FROM:<> body=7bit
            S: 250 2.1.0 OK
            C: RSET
            S: 250 2.0.0 OK
            C: MAIL FROM:<> BODY=BINARYMIME
            S: 501 5.5.4 BODY is 7BIT or 8BITMIME
            C: MAIL FROM:<> BODY
            S: 501 5.5.4 BODY is 7BIT or 8BITMIME
        """)

    def test_allOctets(self) -> None:
        """
        Every octet is preserved (RFC 1652 §3: "shall preserve all bits in each octet"), declared or
        not, after HELO as well.
        """
        octets = bytes(set(range(1, 256)) - {10, 13}) + b"\r\n"
        for hello, parameter in (
            ("EHLO", " BODY=8BITMIME"),
            ("EHLO", " BODY=7BIT"),
            ("EHLO", ""),
            ("HELO", ""),
        ):
            server = self.serve()
            conversation = server.connect()
            conversation.send(f"{hello} client.test\r\nMAIL FROM:<>{parameter}\r\n".encode())
            conversation.send(b"RCPT TO:<alice@example.test>\r\nDATA\r\n")
            self.assertTrue(conversation.send(octets + b".\r\n").startswith(b"250 2.0.0"))
            self.assertTrue(server.inbox()[0].endswith(b"+0000\r\n" + octets))
