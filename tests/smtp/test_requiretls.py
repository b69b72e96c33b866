"""
REQUIRETLS and TLS-Required (RFC 8689).
"""

from __future__ import annotations

from tests.smtp.support import PLAIN, Server, SMTPTestCase, exchange
from twisted_mailstack.testing.conversation import Conversation


class ServerTests(SMTPTestCase):
    """
    The server's side.
    """

    def authenticated(self, server: Server) -> Conversation:
        """
        @return: alice's connection.
        """
        conversation = server.greeted(secure=True)
        conversation.check(f"C: AUTH PLAIN {PLAIN}\nS: 235 2.7.0 Authenticated")
        return conversation

    def test_offered(self) -> None:
        """It is offered within TLS, where the target hands it on (§2: "in effect promising")."""
        for queue in (False, True):
            for secure in (False, True):
                conversation = self.serve(queue=queue).connect(secure=secure)
                offered = conversation.send(b"EHLO client.test\r\n")
                self.assertEqual(b"\r\n250-REQUIRETLS\r\n" in offered, queue and secure)

    def test_example(self) -> None:
        """A message that came so waits so (§4.1: MUST tag)."""
        server = self.serve(queue=True)
        self.authenticated(server).check("""
            C: MAIL FROM:<alice@example.test> REQUIRETLS
            S: 250 2.1.0 OK
            C: RCPT TO:<roger@far.test>
            S: 250 2.1.5 OK
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: TLS-Required: No
            C:\x20
            C: .
            S: 250 2.0.0 OK: Q1
        """)
        ((message, text),) = server.queued()
        # "the TLS-Required header field MUST be ignored but MAY be included"
        self.assertEqual(message.parameters, {"REQUIRETLS": None, "BODY": "7BIT"})
        self.assertIn(b"TLS-Required: No\r\n", text)

    def test_refused(self) -> None:
        """Without TLS, with a value, or where nobody hands it on."""
        self.serve(queue=True).greeted().check("""
            C: MAIL FROM:<> REQUIRETLS
            S: 530 5.7.10 REQUIRETLS needs TLS
            C: RCPT TO:<alice@example.test>
            S: 503 5.5.1 Say MAIL first
        """)
        self.serve(queue=True).greeted(secure=True).check("""
            C: MAIL FROM:<> REQUIRETLS=YES
            S: 501 5.5.4 REQUIRETLS takes no value
            C: MAIL FROM:<> REQUIRETLS REQUIRETLS
            S: 501 5.5.4 REQUIRETLS is given twice
        """)
        self.serve().greeted(secure=True).check("""
            C: MAIL FROM:<> REQUIRETLS
            S: 555 5.5.4 REQUIRETLS is not a known parameter
        """)

    def test_field(self) -> None:
        """
        TLS-Required: No tags the message (§4.1: MUST); anything else in that field, or only in the
        body, doesn't.
        """
        for header, tagged in (
            (b"TLS-Required: No\r\n\r\n", True),
            (b"Subject: x\r\ntls-required:\r\n no\r\n\r\n", True),
            (b"TLS-Required: No\r\n", True),
            (b"TLS-Required: Yes\r\n\r\n", False),
            (b"TLS-Required: No\r\nTLS-Required: Yes\r\n\r\n", False),
            (b"Subject: x\r\n\r\nTLS-Required: No\r\n", False),
            (b"X-TLS-Required: No\r\n\r\n", False),
        ):
            server = self.serve(queue=True)
            conversation = self.authenticated(server)
            conversation.send(b"MAIL FROM:<a@far.test>\r\nRCPT TO:<b@far.test>\r\nDATA\r\n")
            self.assertTrue(conversation.send(header + b".\r\n").startswith(b"250 "))
            ((message, _),) = server.queued()
            expected = {"BODY": "7BIT", "TLS-REQUIRED": "No"} if tagged else {"BODY": "7BIT"}
            self.assertEqual(message.parameters, expected, header)

    def test_noParameter(self) -> None:
        """The tag is none that a client could give."""
        self.serve(queue=True).greeted(secure=True).check("""
            C: MAIL FROM:<> TLS-REQUIRED=No
            S: 555 5.5.4 TLS-REQUIRED is not a known parameter
        """)

    def test_notification(self) -> None:
        """
        A notification of such a message demands the same of its way (§5: MUST), and is no more
        than its header (§5: "MUST behave as if RET=HDRS was present").
        """
        server = self.serve(queue=True)
        server.greeted(secure=True).check("""
            C: MAIL FROM:<sender@far.test> REQUIRETLS RET=FULL
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test> NOTIFY=SUCCESS
            S: 250 2.1.5 OK
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: Subject: x
            C:\x20
            C: secret
            C: .
            S: 250 2.0.0 OK: Q1
        """)
        ((message, text),) = server.tell()
        self.assertEqual(str(message.recipients[0].address), "sender@far.test")
        self.assertIn("REQUIRETLS", message.parameters)
        self.assertIn(b"\r\nSubject: x\r\n", text)
        self.assertNotIn(b"secret", text)


class ClientTests(SMTPTestCase):
    """
    The client's side.
    """

    def test_passedOn(self) -> None:
        """Within TLS, to a server that offers it (§4.2.1 5.)."""
        sent = exchange("REQUIRETLS", parameters={"REQUIRETLS": None})
        self.assertEqual(sent.commands[0], "MAIL FROM:<sender@example.test> REQUIRETLS")

    def test_notAdded(self) -> None:
        """What wasn't wished isn't demanded; the field's tag is for us alone."""
        for parameters in ({}, {"TLS-REQUIRED": "No"}):
            sent = exchange("REQUIRETLS", parameters=parameters)
            self.assertEqual(sent.commands[0], "MAIL FROM:<sender@example.test>")

    def test_refused(self) -> None:
        """Else the message MUST NOT be transmitted, and the result says why (§4.2.1)."""
        for offered, secure, status in (
            ("8BITMIME", True, "5.7.30"),
            ("REQUIRETLS", False, "5.7.10"),
            ("", False, "5.7.10"),
        ):
            sent = exchange(offered, secure=secure, parameters={"REQUIRETLS": None})
            self.assertEqual((sent.commands, sent.text), ([], None))
            self.assertEqual([each[:2] for each in sent.results], [(550, status)])

    def test_notification(self) -> None:
        """A notification goes even where it isn't offered (§5: SHOULD NOT ... be discarded)."""
        for offered, expected in (("REQUIRETLS", " REQUIRETLS"), ("", "")):
            sent = exchange(offered, reversePath=None, parameters={"REQUIRETLS": None})
            self.assertEqual(sent.commands[0], f"MAIL FROM:<>{expected}")

    def test_local(self) -> None:
        """What goes through a socket on the same machine needs no TLS."""
        sent = exchange("REQUIRETLS", secure=False, peer="local", parameters={"REQUIRETLS": None})
        self.assertEqual(sent.commands[0], "MAIL FROM:<sender@example.test> REQUIRETLS")
