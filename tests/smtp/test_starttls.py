"""
STARTTLS (RFC 3207).
"""

from __future__ import annotations

from tests.smtp.support import PLAIN, SMTPTestCase
from twisted_mailstack.errors import PlaintextInjected


class StartTLSTests(SMTPTestCase):
    """
    From the clear to TLS, with nothing taken along.
    """

    def test_example(self) -> None:
        """After RFC 3207 §5: offered in the clear, not within TLS, and then AUTH is."""
        server = self.serve()
        conversation = server.greeted()
        conversation.check("""
            C: STARTTLS
            S: 220 2.0.0 Ready to start TLS
        """)
        self.assertTrue(conversation.wire.secure)
        answer = conversation.send(b"EHLO client.test\r\n")
        self.assertNotIn(b"STARTTLS", answer)
        self.assertIn(b"\r\n250-AUTH PLAIN LOGIN\r\n", answer)
        conversation.check("""
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: .
            S: 250 2.0.0 OK: Q1
        """)
        self.assertIn(b" with ESMTPS (TLSv1.3 ", server.inbox()[0])

    def test_forgotten(self) -> None:
        """
        Hello, transaction and authentication of before are forgotten (§4.2: "MUST discard any
        knowledge obtained from the client").
        """
        server = self.serve(allowPlaintextAuth=True)
        conversation = server.greeted()
        conversation.check(f"""
            C: AUTH PLAIN {PLAIN}
            S: 235 2.7.0 Authenticated
            C: MAIL FROM:<alice@example.test>
            S: 250 2.1.0 OK
            C: RCPT TO:<bob@example.test>
            S: 250 2.1.5 OK
            C: STARTTLS
            S: 220 2.0.0 Ready to start TLS
            C: DATA
            S: 503 5.5.1 Say MAIL first
            C: RCPT TO:<bob@example.test>
            S: 503 5.5.1 Say MAIL first
            C: MAIL FROM:<alice@example.test>
            S: 503 5.5.1 Say EHLO first
        """)
        conversation.send(b"EHLO client.test\r\n")
        conversation.check("""
            C: MAIL FROM:<alice@example.test>
            S: 250 2.1.0 OK
            C: RCPT TO:<someone@far.test>
            S: 550 5.7.1 Relaying denied
            C: RSET
            S: 250 2.0.0 OK
        """)
        conversation.check(f"C: AUTH PLAIN {PLAIN}\nS: 235 2.7.0 Authenticated")

    def test_forgottenOnSubmission(self) -> None:
        """AUTH in the clear doesn't count on a submission server once TLS is up."""
        conversation = self.serve(submission=True, allowPlaintextAuth=True).greeted()
        conversation.check(f"C: AUTH PLAIN {PLAIN}\nS: 235 2.7.0 Authenticated")
        conversation.check("C: STARTTLS\nS: 220 2.0.0 Ready to start TLS")
        conversation.send(b"EHLO client.test\r\n")
        conversation.check("C: MAIL FROM:<>\nS: 530 5.7.0 Authentication required")

    def test_injected(self) -> None:
        """
        What came in the clear behind STARTTLS is never run: the session ends without a word. Not
        even 220 is said, since there will be no TLS.
        """
        for behind in (b"\r\n", b"x", b"EHLO evil.test\r\nMAIL FROM:<evil@far.test>\r\n", b"\0"):
            server = self.serve()
            conversation = server.greeted()
            self.assertEqual(conversation.send(b"STARTTLS\r\n" + behind), b"")
            self.assertTrue(conversation.finished)
            assert conversation.failure is not None
            self.assertTrue(conversation.failure.check(PlaintextInjected))
            self.assertFalse(conversation.wire.secure)

    def test_injectedIntoTransaction(self) -> None:
        """Also from within a transaction, of which nothing remains."""
        server = self.serve()
        conversation = server.greeted()
        conversation.send(
            b"MAIL FROM:<a@far.test>\r\nRCPT TO:<alice@example.test>\r\nSTARTTLS\r\n"
            b"DATA\r\nx\r\n.\r\n"
        )
        self.assertTrue(conversation.finished)
        self.assertEqual(server.inbox(), [])

    def test_argument(self) -> None:
        """An argument is a syntax error (§4), and all stays as it was."""
        self.serve().greeted().check("""
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: STARTTLS now
            S: 501 5.5.4 STARTTLS takes no argument
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
        """)

    def test_twice(self) -> None:
        """Within TLS there is none (§4.2)."""
        self.serve().greeted(secure=True).check("""
            C: STARTTLS
            S: 503 5.5.1 TLS is active
            C: NOOP
            S: 250 2.0.0 OK
        """)

    def test_notAvailable(self) -> None:
        """A server without a certificate doesn't offer it, and says so."""
        conversation = self.serve(tls=False).connect()
        conversation.wire.take()
        self.assertNotIn(b"STARTTLS", conversation.send(b"EHLO client.test\r\n"))
        conversation.check("C: STARTTLS\nS: 502 5.5.1 TLS is not available")

    def test_afterHELO(self) -> None:
        """Without EHLO it works too; nothing in RFC 3207 asks for one."""
        conversation = self.serve().connect()
        conversation.check("""
            S: 220 mx.example.test ESMTP
            C: STARTTLS
            S: 220 2.0.0 Ready to start TLS
        """)
        self.assertTrue(conversation.wire.secure)
