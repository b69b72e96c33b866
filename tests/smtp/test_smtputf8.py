"""
SMTPUTF8 (RFC 6531).
"""

from __future__ import annotations

from tests.smtp.support import SMTPTestCase, now
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
