"""
8BITMIME (RFC 6152).
"""

from __future__ import annotations

from tests.smtp.support import SMTPTestCase, exchange
from twisted_mailstack.errors import MailError
from twisted_mailstack.smtp.clientsession import BytesContent, Readable
from twisted_mailstack.smtp.extensions import eightbitmime


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
            C: MAIL FROM:<> BODY=9BIT
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

    def test_foundOut(self) -> None:
        """What a queued message is doesn't depend on what the client said of it."""
        for parameter in ("", " BODY=7BIT", " BODY=8BITMIME"):
            for text, body in ((b"a\r\n", "7BIT"), (b"\xe4\r\n", "8BITMIME")):
                server = self.serve(queue=True)
                conversation = server.authenticated()
                conversation.send(
                    f"MAIL FROM:<a@far.test>{parameter}\r\nRCPT TO:<b@far.test>\r\n".encode()
                    + b"DATA\r\n"
                )
                conversation.send(text + b".\r\n")
                ((message, _),) = server.queued()
                self.assertEqual(message.parameters, {"BODY": body})


class ClientTests(SMTPTestCase):
    """
    What goes on to the next server, and as what.
    """

    EIGHT = b"Subject: x\r\n\r\n\xc3\xa4\r\n"

    def setUp(self) -> None:
        """Encoding is somebody else's work: here it gives a fixed text."""
        super().setUp()
        self.encoded: list[Readable] = []

        async def toSevenBit(content: Readable) -> Readable:
            self.encoded.append(content)
            return BytesContent(b"Subject: x\r\n\r\n=C3=A4\r\n")

        self.patch(eightbitmime, "toSevenBit", toSevenBit)

    def test_offered(self) -> None:
        """Octets outside ASCII go as they are, and it is said (RFC 6152 §3: MUST)."""
        for parameters in ({"BODY": "8BITMIME"}, {"BODY": "8bitmime"}, {}):
            sent = exchange("8BITMIME", parameters=parameters, text=self.EIGHT)
            self.assertEqual(
                sent.commands[0], "MAIL FROM:<sender@example.test> BODY=8BITMIME", parameters
            )
            self.assertEqual(sent.text, self.EIGHT)
        self.assertEqual(self.encoded, [])

    def test_notOffered(self) -> None:
        """A server that doesn't offer it gets no such octets (§3: MUST NOT); they are encoded."""
        for parameters in ({"BODY": "8BITMIME"}, {}):
            sent = exchange("SIZE 1000", parameters=parameters, text=self.EIGHT)
            self.assertEqual(sent.commands[0], "MAIL FROM:<sender@example.test> SIZE=22")
            self.assertEqual(sent.text, b"Subject: x\r\n\r\n=C3=A4\r\n")
        self.assertEqual(len(self.encoded), 2)

    def test_notEncoded(self) -> None:
        """A message that can't be encoded fails for each of its recipients."""

        async def toSevenBit(content: Readable) -> Readable:
            raise MailError("no", smtpCode=554, enhancedStatus="5.6.3")

        self.patch(eightbitmime, "toSevenBit", toSevenBit)
        sent = exchange(text=self.EIGHT, recipients=(("a@far.test", {}), ("b@far.test", {})))
        self.assertEqual(sent.commands, [])
        self.assertEqual([each.line for each in sent.results], ["554 5.6.3 no"] * 2)

    def test_ASCII(self) -> None:
        """What is ASCII goes to any server, as nothing special."""
        for offered in ("", "8BITMIME"):
            for parameters in ({"BODY": "7BIT"}, {}):
                sent = exchange(offered, parameters=parameters, text=b"x" * 300_000 + b"\r\n")
                self.assertEqual(sent.commands[0], "MAIL FROM:<sender@example.test>")
        self.assertEqual(self.encoded, [])

    def test_late(self) -> None:
        """The first such octet may be anywhere."""
        exchange(text=b"x" * 300_000 + b"\xe4\r\n")
        self.assertEqual(len(self.encoded), 1)
