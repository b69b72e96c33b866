"""
SMTPUTF8 (RFC 6531).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping

from tests.smtp.support import SMTPTestCase, exchange, now
from twisted_mailstack.model.address import Address
from twisted_mailstack.smtp.registry import EXTENSIONS


class SMTPUTF8Tests(SMTPTestCase):
    """
    Addresses in UTF-8, taken where the client says that it means them.
    """

    def test_delivery(self) -> None:
        """A message from and to such addresses, with such a header, is stored octet for octet."""
        server = self.serve()
        now(server.directory.addAccount(Address("дима", "example.test"), None))
        server.greeted().check("""
            C: MAIL FROM:<用户@far.test> SMTPUTF8
            S: 250 2.1.0 OK
            C: RCPT TO:<дима@example.test>
            S: 250 2.1.5 OK
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: Subject: привет
            C: .
            S: 250 2.0.0 OK: Q1
        """)
        self.assertEqual(
            server.inbox("дима"),
            [
                self.stored(
                    "Subject: привет\r\n".encode(),
                    reversePath="<用户@far.test>",
                    recipient="дима@example.test",
                    protocol="UTF8SMTP",
                )
            ],
        )

    def test_required(self) -> None:
        """
        Without the parameter an address outside ASCII is refused: at MAIL with 550, at RCPT with
        553 (§3.5); local-part or domain alike.
        """
        self.serve().greeted().check("""
            C: MAIL FROM:<用户@far.test>
            S: 550 5.6.7 The address needs SMTPUTF8
            C: MAIL FROM:<user@bücher.test>
            S: 550 5.6.7 The address needs SMTPUTF8
            C: MAIL FROM:<user@far.test>
            S: 250 2.1.0 OK
            C: RCPT TO:<дима@example.test>
            S: 553 5.6.7 The address needs SMTPUTF8
            C: RCPT TO:<alice@exämple.test>
            S: 553 5.6.7 The address needs SMTPUTF8
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
        """)

    def test_HELO(self) -> None:
        """After HELO there is no such thing."""
        self.serve().greeted("EHLO c.test").check("""
            C: HELO c.test
            S: 250 mx.example.test
            C: MAIL FROM:<a@far.test> SMTPUTF8
            S: 555 5.5.4 Parameters need EHLO
            C: MAIL FROM:<用户@far.test>
            S: 550 5.6.7 The address needs SMTPUTF8
        """)

    def test_noValue(self) -> None:
        """The parameter has no value (§3.4)."""
        self.serve().greeted().check("""
            C: MAIL FROM:<> SMTPUTF8=yes
            S: 501 5.5.4 SMTPUTF8 takes no value
        """)

    def test_domains(self) -> None:
        """U-labels and A-labels are the same domain (§3.2)."""
        server = self.serve()
        now(server.directory.addDomain("xn--bcher-kva.test"))
        server.addAccount("carol", "xn--bcher-kva.test")
        conversation = server.greeted()
        for number, domain in enumerate(("bücher.test", "BÜCHER.test", "xn--bcher-kva.test"), 1):
            conversation.check(f"""
                C: MAIL FROM:<> SMTPUTF8
                S: 250 2.1.0 OK
                C: RCPT TO:<carol@{domain}>
                S: 250 2.1.5 OK
                C: DATA
                S: 354 End data with <CR><LF>.<CR><LF>
                C: .
                S: 250 2.0.0 OK: Q{number}
            """)
        self.assertEqual(len(server.inbox("carol", "xn--bcher-kva.test")), 3)

    def test_forms(self) -> None:
        """A local-part is found in whatever form of Unicode it was typed, and in any case."""
        server = self.serve()
        now(server.directory.addAccount(Address("jos\u00e9", "example.test"), None))
        server.greeted().check("""
            C: MAIL FROM:<> SMTPUTF8
            S: 250 2.1.0 OK
            C: RCPT TO:<Jose\u0301@example.test>
            S: 250 2.1.5 OK
            C: RCPT TO:<JOS\u00c9@example.test>
            S: 250 2.1.5 OK
        """)

    def test_replies(self) -> None:
        """No reply but VRFY's has anything but ASCII (§3.7.4.2: MUST NOT)."""
        conversation = self.serve().authenticated()
        conversation.check("C: MAIL FROM:<> SMTPUTF8\nS: 250 2.1.0 OK")
        for line in ("RCPT TO:<дима@far.test>", "RCPT TO:<дима@example.test>", "RCPT TO:<д>"):
            answer = conversation.send(line.encode() + b"\r\n")
            self.assertTrue(answer.isascii() and answer.startswith(b"5"), answer)

    def test_notUTF8(self) -> None:
        """Octets that aren't UTF-8 are no address, with or without the parameter."""
        conversation = self.serve().greeted()
        for line in (b"MAIL FROM:<\xe9@far.test>", b"MAIL FROM:<\xe9@far.test> SMTPUTF8"):
            self.assertEqual(conversation.send(line + b"\r\n"), b"501 5.5.4 Not valid UTF-8\r\n")

    def test_withoutExtension(self) -> None:
        """A server that doesn't offer it takes neither parameter nor address."""
        others = [extension for extension in EXTENSIONS if extension.keyword != "SMTPUTF8"]
        self.serve(extensions=others).greeted().check("""
            C: MAIL FROM:<a@far.test> SMTPUTF8
            S: 555 5.5.4 SMTPUTF8 is not a known parameter
            C: MAIL FROM:<用户@far.test>
            S: 550 5.6.7 The address needs SMTPUTF8
        """)


class ClientTests(SMTPTestCase):
    """
    What goes on to the next server.
    """

    HEADER = "Subject: привет\r\n\r\ntext\r\n".encode()
    NESTED = (
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
        'Content-Disposition: attachment; filename="ä"\r\n\r\ntext\r\n--b--\r\n'
    ).encode()
    DECLARED: Mapping[str, str | None] = {"SMTPUTF8": None, "BODY": "8BITMIME"}
    OFFERED = "8BITMIME\nSMTPUTF8"

    def test_addresses(self) -> None:
        """Addresses in UTF-8 go as they are, and the parameter with them (RFC 6531 §3.4: MUST)."""
        sent = exchange(
            self.OFFERED, reversePath="用户@far.test", recipients=(("дима@bücher.test", {}),)
        )
        self.assertEqual(
            sent.commands,
            ["MAIL FROM:<用户@far.test> SMTPUTF8", "RCPT TO:<дима@xn--bcher-kva.test>"],
        )

    def test_header(self) -> None:
        """So do messages with such a header, of the message or of any part."""
        for text in (self.HEADER, self.NESTED):
            sent = exchange(self.OFFERED, parameters=self.DECLARED, text=text)
            self.assertEqual(
                sent.commands[0], "MAIL FROM:<sender@example.test> SMTPUTF8 BODY=8BITMIME"
            )
            self.assertEqual(sent.text, text)

    def test_notNeeded(self) -> None:
        """
        What was declared and needs nothing of it goes without (§3.4: SHOULD NOT), and to any
        server: a domain in A-labels and a body in UTF-8 are no reason.
        """
        for offered in ("8BITMIME", self.OFFERED):
            sent = exchange(
                offered,
                parameters=self.DECLARED,
                recipients=(("a@bücher.test", {}),),
                text="Subject: x\r\n\r\nпривет\r\n".encode(),
            )
            self.assertEqual(
                sent.commands,
                [
                    "MAIL FROM:<sender@example.test> BODY=8BITMIME",
                    "RCPT TO:<a@xn--bcher-kva.test>",
                ],
            )

    def test_notOffered(self) -> None:
        """
        A server that doesn't offer it is sent no such message (§3.2: MUST NOT): it fails for good,
        with a code that says why.
        """
        for arguments, result in (
            ({"reversePath": "用户@far.test"}, (550, "5.6.7")),
            ({"text": self.HEADER}, (554, "5.6.9")),
            ({"text": self.NESTED}, (554, "5.6.9")),
        ):
            sent = exchange("8BITMIME", parameters=self.DECLARED, **arguments)
            self.assertEqual(sent.commands, [])
            self.assertEqual([each[:2] for each in sent.results], [result])

    def test_attached(self) -> None:
        """
        A message with such a header inside of another goes to a server that doesn't offer it in
        base64 (RFC 6532 §3.7).
        """
        head = "MIME-Version: 1.0\r\nContent-Type: message/global\r\n"
        for offered in ("", "8BITMIME"):
            sent = exchange(
                offered, parameters=self.DECLARED, text=head.encode() + b"\r\n" + self.HEADER
            )
            self.assertEqual(sent.results[0].code, 250)
            self.assertNotIn("SMTPUTF8", sent.commands[0])
            encoded = head + "Content-Transfer-Encoding: base64\r\n\r\n"
            self.assertEqual(sent.text, encoded.encode() + b64encode(self.HEADER) + b"\r\n")
        sent = exchange(
            self.OFFERED, parameters=self.DECLARED, text=head.encode() + b"\r\n" + self.HEADER
        )
        self.assertEqual(sent.text, head.encode() + b"\r\n" + self.HEADER)

    def test_oneRecipient(self) -> None:
        """Where only a recipient's address needs it, the others get the message."""
        sent = exchange(
            "8BITMIME",
            parameters={"SMTPUTF8": None},
            recipients=(("a@far.test", {}), ("дима@far.test", {}), ("b@far.test", {})),
        )
        self.assertEqual(
            sent.commands,
            ["MAIL FROM:<sender@example.test>", "RCPT TO:<a@far.test>", "RCPT TO:<b@far.test>"],
        )
        self.assertEqual([each.code for each in sent.results], [250, 553, 250])
        self.assertEqual(sent.results[1].enhancedStatus, "5.6.7")
        sent = exchange("8BITMIME", recipients=(("дима@far.test", {}),))
        self.assertEqual(sent.commands, [])
        self.assertEqual([each.code for each in sent.results], [553])

    def test_undeclared(self) -> None:
        """
        A header in another encoding, of which nobody said that it was UTF-8, is no such message: it
        goes as it is.
        """
        text = b"Subject: \xe4\r\n\r\n"
        sent = exchange("8BITMIME", parameters={"BODY": "8BITMIME"}, text=text)
        self.assertEqual((sent.results[0].code, sent.text), (250, text))
