"""
FUTURERELEASE (RFC 4865).
"""

from __future__ import annotations

from tests.smtp.support import TODAY, Server, SMTPTestCase, exchange
from twisted_mailstack.smtp.extensions import futurerelease


class ServerTests(SMTPTestCase):
    """
    The server's side.
    """

    def setUp(self) -> None:
        """Time stands still."""
        super().setUp()
        self.patch(futurerelease, "time", lambda: TODAY)

    def submission(self, **settings: object) -> Server:
        """
        @return: a server for submission, with a queue.
        """
        return self.serve(queue=True, submission=True, **settings)

    def test_offered(self) -> None:
        """
        It is offered for submission, where there is a queue, with how long and until when a message
        may be held.
        """
        line = b"\r\n250-FUTURERELEASE 86400 2023-11-15T22:13:20Z\r\n"
        server = self.submission(maxHold=86400)
        self.assertIn(line, server.connect().send(b"EHLO client.test\r\n"))
        for server in (
            self.serve(queue=True),
            self.serve(submission=True),
            self.submission(maxHold=0),
        ):
            offered = server.connect().send(b"EHLO client.test\r\n")
            self.assertNotIn(b"FUTURERELEASE", offered)
            conversation = server.authenticated()
            conversation.check("""
                C: MAIL FROM:<> HOLDFOR=60
                S: 555 5.5.4 HOLDFOR is not a known parameter
            """)

    def queue(self, parameters: str, recipient: str = "b@far.test") -> Server:
        """
        @return: a server to which such a message was submitted.
        """
        server = self.submission()
        conversation = server.authenticated()
        conversation.send(
            f"MAIL FROM:<alice@example.test> {parameters}\r\nRCPT TO:<{recipient}>\r\nDATA\r\n"
            "".encode()
        )
        self.assertTrue(conversation.send(b".\r\n").startswith(b"250 "))
        return server

    def test_held(self) -> None:
        """The message waits until then, for whomever it is."""
        for parameters, until in (
            ("HOLDFOR=600", TODAY + 600),
            ("holdfor=1", TODAY + 1),
            ("HOLDUNTIL=2023-11-14T23:13:20Z", TODAY + 3600),
            ("HOLDUNTIL=2023-11-15t00:13:20.00+01:00", TODAY + 3600),
        ):
            for recipient in ("b@far.test", "bob@example.test"):
                server = self.queue(parameters, recipient)
                ((message, _),) = server.queued()
                self.assertEqual(message.recipients[0].nextAttempt, until, parameters)
                self.assertEqual(server.inbox("bob"), [])

    def test_past(self) -> None:
        """A time that is over holds nothing."""
        server = self.queue("HOLDUNTIL=2023-11-14T22:13:19Z", "bob@example.test")
        self.assertEqual((server.queued(), len(server.inbox("bob"))), ([], 1))

    def test_syntax(self) -> None:
        """One to nine digits, not beginning with 0; a date-time of RFC 3339 (erratum 2040)."""
        conversation = self.submission(maxErrors=100).authenticated()
        for value in ("", "=0", "=-1", "=060", "=1234567890", "=1h", "=1.5", "=+60"):
            conversation.check(f"""
                C: MAIL FROM:<> HOLDFOR{value}
                S: 501 5.5.4 HOLDFOR needs a number of seconds
            """)
        for value in (
            *("", "=600", "=2023-11-15", "=2023-11-15T00:00Z", "=2023-11-15T00:00:00"),
            *("=20231115T000000Z", "=2023-11-15T00:00:00+0100", "=2023-11-15T00:00:00ZZ"),
        ):
            conversation.check(f"""
                C: MAIL FROM:<> HOLDUNTIL{value}
                S: 501 5.5.4 HOLDUNTIL needs a date and time of RFC 3339
            """)
        for value in ("2023-13-15T00:00:00Z", "2023-11-31T00:00:00Z", "2023-11-15T24:01:00Z"):
            conversation.check(f"""
                C: MAIL FROM:<> HOLDUNTIL={value}
                S: 501 5.5.4 HOLDUNTIL needs a date and time that there is
            """)

    def test_both(self) -> None:
        """It is one or the other."""
        self.submission().authenticated().check("""
            C: MAIL FROM:<> HOLDFOR=60 HOLDUNTIL=2023-11-15T00:00:00Z
            S: 501 5.5.4 HOLDFOR and HOLDUNTIL don't go together
            C: MAIL FROM:<> HOLDFOR=60 HOLDFOR=60
            S: 501 5.5.4 HOLDFOR is given twice
        """)

    def test_limit(self) -> None:
        """Longer than was announced is refused, exactly so long isn't."""
        self.submission(maxHold=86400).authenticated().check("""
            C: MAIL FROM:<> HOLDFOR=86401
            S: 501 5.5.4 Messages are held for 86400 seconds at most
            C: MAIL FROM:<> HOLDUNTIL=2023-11-15T22:13:21Z
            S: 501 5.5.4 Messages are held for 86400 seconds at most
            C: MAIL FROM:<> HOLDUNTIL=9999-12-31T23:59:59-23:59
            S: 501 5.5.4 Messages are held for 86400 seconds at most
            C: MAIL FROM:<> HOLDUNTIL=2023-11-15T22:13:20Z
            S: 250 2.1.0 OK
            C: RSET
            S: 250 2.0.0 OK
            C: MAIL FROM:<> HOLDFOR=86400
            S: 250 2.1.0 OK
        """)


class ClientTests(SMTPTestCase):
    """
    The client's side.
    """

    def test_notPassedOn(self) -> None:
        """It was held here: the next server is asked for nothing."""
        sent = exchange(
            "FUTURERELEASE 86400 2030-01-01T00:00:00Z", parameters={"HOLDFOR": "600"}, age=600
        )
        self.assertEqual(sent.commands[0], "MAIL FROM:<sender@example.test>")
