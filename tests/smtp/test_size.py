"""
SIZE (RFC 1870).
"""

from __future__ import annotations

from tests.smtp.support import SMTPTestCase, exchange, now
from twisted_mailstack.model.address import Address


class SizeTests(SMTPTestCase):
    """
    What a client declares, and what comes of it.
    """

    def test_example(self) -> None:
        """After RFC 1870 §8: the limit is announced, and a message within it is welcome."""
        server = self.serve(maxMessageOctets=1_000_000)
        conversation = server.connect()
        conversation.wire.take()
        self.assertIn(b"\r\n250-SIZE 1000000\r\n", conversation.send(b"EHLO client.test\r\n"))
        conversation.check("""
            C: MAIL FROM:<ned@far.test> SIZE=500000
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
        """)

    def test_tooLarge(self) -> None:
        """More than the limit is refused at MAIL (§6.1: 552), the limit itself isn't."""
        self.serve(maxMessageOctets=100_000).greeted().check("""
            C: MAIL FROM:<> SIZE=100001
            S: 552 5.3.4 Message exceeds the size limit
            C: MAIL FROM:<> SIZE=99999999999999999999
            S: 552 5.3.4 Message exceeds the size limit
            C: RCPT TO:<alice@example.test>
            S: 503 5.5.1 Say MAIL first
            C: MAIL FROM:<> SIZE=100000
            S: 250 2.1.0 OK
            C: RSET
            S: 250 2.0.0 OK
            C: MAIL FROM:<> SIZE=0
            S: 250 2.1.0 OK
        """)

    def test_malformed(self) -> None:
        """What is no number of 1 to 20 digits is a syntax error (§3 (4))."""
        conversation = self.serve().greeted()
        for value in ("SIZE", "SIZE=-1", "SIZE=1k", "SIZE=1.5", "SIZE=+1", "SIZE=0x10", "SIZE=٣"):
            answer = conversation.send(f"MAIL FROM:<> {value}\r\n".encode())
            self.assertEqual(answer, b"501 5.5.4 SIZE needs a number\r\n", value)
        conversation.check("""
            C: MAIL FROM:<> SIZE=000000000000000000001
            S: 501 5.5.4 SIZE needs a number
            C: MAIL FROM:<> SIZE=
            S: 501 5.5.4 Malformed parameter
            C: MAIL FROM:<> SIZE=00000000000000000001
            S: 250 2.1.0 OK
        """)

    def test_onlyAnEstimate(self) -> None:
        """
        The text ends where it ends, whatever was declared (§6: "MUST NOT use the SIZE parameter to
        determine end of content").
        """
        server = self.serve()
        for number, size in enumerate((1, 5, 1_000_000), 1):
            server.greeted().check(f"""
                C: MAIL FROM:<> SIZE={size}
                S: 250 2.1.0 OK
                C: RCPT TO:<alice@example.test>
                S: 250 2.1.5 OK
                C: DATA
                S: 354 End data with <CR><LF>.<CR><LF>
                C: longer than five octets
                C: .
                S: 250 2.0.0 OK: Q{number}
            """)

    def test_perRecipient(self) -> None:
        """
        A recipient who has no room for so much is refused at RCPT, for now if room can be made,
        for good if it is more than the account may ever hold (§6.4); the others aren't.
        """
        server = self.serve()
        now(server.directory.setQuota(Address("alice", "example.test"), 1000, None))
        for size, answer in (
            (500, "250 2.1.5 OK"),
            (1000, "250 2.1.5 OK"),
            (1001, "552 5.2.3 The message is larger than the account"),
        ):
            server.greeted().check(f"""
                C: MAIL FROM:<> SIZE={size}
                S: 250 2.1.0 OK
                C: RCPT TO:<alice@example.test>
                S: {answer}
                C: RCPT TO:<bob@example.test>
                S: 250 2.1.5 OK
            """)
        server.greeted().check("""
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: first
            C: .
            S: 250 2.0.0 OK: Q4
            C: MAIL FROM:<> SIZE=900
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test>
            S: 452 4.2.2 The account is over its quota
            C: RCPT TO:<bob@example.test>
            S: 250 2.1.5 OK
        """)


class ClientTests(SMTPTestCase):
    """
    What a client tells the next server.
    """

    def test_told(self) -> None:
        """The size as it is sent, whatever was declared when it came (§6.1)."""
        for offered in ("SIZE 1000", "SIZE", "SIZE 0", "SIZE 23", "SIZE x"):
            sent = exchange(
                offered, parameters={"SIZE": "7"}, text=b"a: b\r\n\r\nabcdefgh.\r\n..\r\n"
            )
            self.assertEqual(sent.commands[0], "MAIL FROM:<sender@example.test> SIZE=23", offered)
        self.assertEqual(exchange("").commands[0], "MAIL FROM:<sender@example.test>")

    def test_tooLarge(self) -> None:
        """What the server doesn't take isn't sent at all, and fails for good (§5, §6.3)."""
        sent = exchange("SIZE 21", text=b"x" * 20 + b"\r\n", recipients=(("a@far.test", {}),) * 2)
        self.assertEqual((sent.commands, sent.text), ([], None))
        self.assertEqual(
            [(result.code, result.enhancedStatus) for result in sent.results],
            [(552, "5.3.4")] * 2,
        )
