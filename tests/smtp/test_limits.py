"""
LIMITS (RFC 9422).
"""

from __future__ import annotations

from tests.smtp.support import SMTPTestCase, exchange
from twisted_mailstack.smtp.extensions.limits import parseLimits


class ServerTests(SMTPTestCase):
    """
    The server's side.
    """

    def offered(self, **settings: int) -> bytes:
        """
        @return: the line of the EHLO reply.
        """
        conversation = self.serve(**settings).connect()
        conversation.wire.take()
        lines = conversation.send(b"EHLO client.test\r\n").split(b"\r\n")
        return next((line[4:] for line in lines if line[4:10] == b"LIMITS"), b"")

    def test_offered(self) -> None:
        """The limits are those of the settings; what has none isn't mentioned."""
        self.assertEqual(self.offered(), b"LIMITS MAILMAX=10000 RCPTMAX=1000")
        self.assertEqual(
            self.offered(maxTransactions=5, maxRecipients=100, maxRecipientDomains=1),
            b"LIMITS MAILMAX=5 RCPTMAX=100 RCPTDOMAINMAX=1",
        )
        # A limit has six digits.
        self.assertEqual(
            self.offered(maxTransactions=1_000_000, maxRecipients=999_999), b"LIMITS RCPTMAX=999999"
        )
        self.assertEqual(self.offered(maxTransactions=10**9, maxRecipients=10**9), b"")

    def test_MAILMAX(self) -> None:
        """So many transactions are served, and not one more."""
        conversation = self.serve(maxTransactions=2).greeted()
        for _ in range(2):
            conversation.check("C: MAIL FROM:<>\nS: 250 2.1.0 OK\nC: RSET\nS: 250 2.0.0 OK")
        self.assertTrue(conversation.send(b"MAIL FROM:<>\r\n").startswith(b"421 "))

    def test_RCPTMAX(self) -> None:
        """So many recipients are taken, and not one more."""
        conversation = self.serve(maxRecipients=100).greeted()
        conversation.send(b"MAIL FROM:<>\r\n")
        for number in range(100):
            answer = conversation.send(b"RCPT TO:<alice+%d@example.test>\r\n" % number)
            self.assertTrue(answer.startswith(b"250 "))
        self.assertTrue(conversation.send(b"RCPT TO:<bob@example.test>\r\n").startswith(b"452 "))

    def test_RCPTDOMAINMAX(self) -> None:
        """
        So many domains are taken in one session, as often as one likes; another is for another
        session.
        """
        server = self.serve(queue=True, maxRecipientDomains=2)
        server.authenticated().check("""
            C: MAIL FROM:<a@far.test>
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
            C: RCPT TO:<a@One.test>
            S: 250 2.1.5 OK
            C: RCPT TO:<a@two.test>
            S: 452 4.5.3 Too many domains
            C: RCPT TO:<b@one.test>
            S: 250 2.1.5 OK
            C: RSET
            S: 250 2.0.0 OK
            C: MAIL FROM:<a@far.test>
            S: 250 2.1.0 OK
            C: RCPT TO:<a@two.test>
            S: 452 4.5.3 Too many domains
        """)


class ClientTests(SMTPTestCase):
    """
    The client's side.
    """

    def test_parse(self) -> None:
        """What isn't known, no number or nothing is no limit."""
        self.assertEqual(
            parseLimits("MAILMAX=5 rcptmax=0020 X=1 RCPTDOMAINMAX NEW MAILMAX=x =3"),
            {"MAILMAX": 5, "RCPTMAX": 20},
        )
        for text in ("", "RCPTMAX=0", "RCPTMAX=1234567", "RCPTMAX=-1", "RCPTMAX=1.5", "RCPTMAX=٣"):
            self.assertEqual(parseLimits(text), {}, text)

    def names(
        self, count: int, domain: str = "far.test"
    ) -> tuple[tuple[str, dict[str, None]], ...]:
        """
        @return: recipients.
        """
        return tuple((f"r{number}@{domain}", {}) for number in range(count))

    def test_RCPTMAX(self) -> None:
        """More recipients than the server takes at once go in several transactions."""
        sent = exchange("LIMITS RCPTMAX=2", recipients=self.names(5))
        self.assertEqual(
            sent.commands,
            [
                "MAIL FROM:<sender@example.test>",
                "RCPT TO:<r0@far.test>",
                "RCPT TO:<r1@far.test>",
                "MAIL FROM:<sender@example.test>",
                "RCPT TO:<r2@far.test>",
                "RCPT TO:<r3@far.test>",
                "MAIL FROM:<sender@example.test>",
                "RCPT TO:<r4@far.test>",
            ],
        )
        self.assertEqual([each.code for each in sent.results], [250] * 5)
        self.assertTrue(sent.usable)

    def test_MAILMAX(self) -> None:
        """After so many transactions the connection isn't used any more; what is left waits."""
        sent = exchange("LIMITS RCPTMAX=2 MAILMAX=2", recipients=self.names(5))
        self.assertEqual(len(sent.commands), 6)
        self.assertEqual([each.delivered for each in sent.results], [True] * 4 + [False])
        self.assertTrue(sent.results[4].temporary)
        self.assertFalse(sent.usable)
        sent = exchange("LIMITS MAILMAX=1", recipients=self.names(5))
        self.assertEqual([each.code for each in sent.results], [250] * 5)
        self.assertFalse(sent.usable)

    def test_RCPTDOMAINMAX(self) -> None:
        """Recipients of more domains than it takes wait for another connection."""
        recipients = (*self.names(2, "one.test"), *self.names(1, "two.test"))
        sent = exchange("LIMITS RCPTDOMAINMAX=1", recipients=recipients)
        self.assertEqual(len(sent.commands), 3)
        self.assertEqual([each.delivered for each in sent.results], [True, True, False])
        self.assertTrue(sent.results[2].temporary)
        self.assertFalse(sent.usable)

    def test_none(self) -> None:
        """A server that names no limits gets everything at once."""
        for offered in ("", "LIMITS", "LIMITS FOO=1"):
            sent = exchange(offered, recipients=self.names(1500))
            self.assertEqual(len(sent.commands), 1501)
            self.assertTrue(sent.usable)
