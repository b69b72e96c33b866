"""
ENHANCEDSTATUSCODES (RFC 2034).
"""

from __future__ import annotations

from tests.smtp.support import PLAIN, SMTPTestCase


class EnhancedStatusTests(SMTPTestCase):
    """
    Which replies carry a status.
    """

    def test_everyReply(self) -> None:
        """
        Every 2yz, 4yz and 5yz reply carries one of its own class, in each of its lines (§4); the
        greeting and the replies to EHLO and HELO don't (§3 (4)).
        """
        server = self.serve(verify=True, allowPlaintextAuth=True)
        conversation = server.connect()
        self.assertEqual(conversation.wire.take(), b"220 mx.example.test ESMTP\r\n")
        lines = (
            *("NOOP", "RSET", "HELP", "HELP NOOP", "HELP x", "VRFY alice@example.test", "VRFY x"),
            *("EXPN x", "FOO", "x" * 600, "MAIL", "MAIL FROM:<>", "RCPT TO:<x@example.test>"),
            *("RCPT TO:<x@far.test>", "DATA", "AUTH", "AUTH FOO", "AUTH PLAIN !", "STARTTLS x"),
            *("RSET x", "QUIT x", "RCPT TO:<alice@example.test>", "MAIL FROM:<>", "RSET"),
            *(f"AUTH PLAIN {PLAIN}", f"AUTH PLAIN {PLAIN}", "QUIT"),
        )
        for hello in ("EHLO client.test", "EHLO", "HELO client.test", "HELO", "EHLO client.test"):
            answer = conversation.send(hello.encode() + b"\r\n")
            self.assertNotRegex(answer, rb"(?m)^[0-9]{3}[ -][245]\.[0-9]")
        for line in lines:
            answer = conversation.send(line.encode() + b"\r\n")
            for each in answer.split(b"\r\n")[:-1]:
                self.assertRegex(
                    each, rb"\A([245])[0-9]{2}[ -]\1\.[0-9]{1,3}\.[0-9]{1,3} .", (line, answer)
                )
        self.assertTrue(conversation.finished)

    def test_intermediate(self) -> None:
        """354 and 334 have none."""
        self.serve(allowPlaintextAuth=True).greeted().check("""
            C: AUTH PLAIN
            S: 334\x20
            C: *
            S: 501 5.7.0 Authentication cancelled
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: .
            S: 250 2.0.0 OK: Q1
        """)
