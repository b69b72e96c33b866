"""
DELIVERBY (RFC 2852).
"""

from __future__ import annotations

from tests.smtp.support import TODAY, Server, SMTPTestCase, exchange
from twisted_mailstack.smtp.extensions import deliverby
from twisted_mailstack.smtp.extensions.deliverby import DeliverBy, parseDeliverBy


class ServerTests(SMTPTestCase):
    """
    The server's side.
    """

    def test_offered(self) -> None:
        """
        It is offered where there is a queue, with the least time for R if there is one;
        elsewhere its parameter is unknown.
        """
        for settings, line in (({}, b"DELIVERBY"), ({"minDeliverBy": 60}, b"DELIVERBY 60")):
            conversation = self.serve(queue=True, **settings).connect()
            offered = conversation.send(b"EHLO client.test\r\n")
            self.assertIn(b"\r\n250-" + line + b"\r\n", offered)
        self.serve().greeted().check("""
            C: MAIL FROM:<> BY=125;R
            S: 555 5.5.4 BY is not a known parameter
        """)

    def test_syntax(self) -> None:
        """by-time ";" by-mode [by-trace], of which R needs time that is left."""
        conversation = self.serve(queue=True, maxErrors=100).greeted()
        for value in ("125;R", "+125;r", "125;RT", "0;N", "-125;N", "-000000125;nt", "999999999;N"):
            conversation.check(f"""
                C: MAIL FROM:<> BY={value}
                S: 250 2.1.0 OK
                C: RSET
                S: 250 2.0.0 OK
            """)
        for value in (
            "125",
            ";R",
            "125;",
            "125;X",
            "125;NR",
            "125;TN",
            "1234567890;N",
            "1.5;N",
            "x;N",
        ):
            conversation.check(f"""
                C: MAIL FROM:<> BY={value}
                S: 501 5.5.4 BY needs seconds;N or seconds;R, and perhaps T
            """)
        for value in ("0;R", "-1;R", "+0;RT"):
            conversation.check(f"""
                C: MAIL FROM:<> BY={value}
                S: 501 5.5.4 BY with R needs a time that is not over
            """)
        conversation.check("""
            C: MAIL FROM:<> BY
            S: 501 5.5.4 BY needs seconds;N or seconds;R, and perhaps T
            C: MAIL FROM:<> BY=1;N BY=1;N
            S: 501 5.5.4 BY is given twice
        """)

    def test_least(self) -> None:
        """Less time for R than the server promises to keep is refused for good (55z)."""
        self.serve(queue=True, minDeliverBy=60).greeted().check("""
            C: MAIL FROM:<> BY=59;R
            S: 555 5.5.4 BY with R needs 60 seconds at least
            C: MAIL FROM:<> BY=60;R
            S: 250 2.1.0 OK
            C: RSET
            S: 250 2.0.0 OK
            C: MAIL FROM:<> BY=59;N
            S: 250 2.1.0 OK
        """)

    def queue(self, value: str) -> Server:
        """
        @return: a server in which a message waits that came with BY.
        """
        server = self.serve(queue=True)
        conversation = server.authenticated()
        conversation.send(
            f"MAIL FROM:<a@far.test> BY={value}\r\nRCPT TO:<b@far.test>\r\nDATA\r\n".encode()
        )
        self.assertTrue(conversation.send(b".\r\n").startswith(b"250 "))
        return server

    def test_queued(self) -> None:
        """With R it expires then; with N its sender is told then that it is late."""
        ((message, _),) = self.queue("125;R").queued()
        self.assertEqual((message.expires, message.mustNotBeLate), (TODAY + 125, True))
        self.assertEqual(message.parameters["BY"], "125;R")
        ((message, _),) = self.queue("125;N").queued()
        self.assertGreater(message.expires, TODAY + 86400)
        self.assertEqual(message.recipients[0].checkAt, TODAY + 125)


class ClientTests(SMTPTestCase):
    """
    The client's side.
    """

    def test_parse(self) -> None:
        """What is written is read, and written in one way."""
        self.assertEqual(parseDeliverBy("+0125;rt"), DeliverBy(125, True, True))
        self.assertEqual(str(DeliverBy(125, True, True)), "125;RT")
        self.assertEqual(str(DeliverBy(-5, False, False)), "-5;N")

    def test_passedOn(self) -> None:
        """The time that is left goes on, which for N may be less than none."""
        for given, age, expected in (
            ("125;R", 5, "120;R"),
            ("125;RT", 124, "1;RT"),
            ("125;N", 5, "120;N"),
            ("125;NT", 200, "-75;NT"),
            ("-999999999;N", 200, "-999999999;N"),
        ):
            sent = exchange("DELIVERBY", parameters={"BY": given}, age=age)
            self.assertEqual(sent.commands[0], f"MAIL FROM:<sender@example.test> BY={expected}")

    def test_held(self) -> None:
        """The time runs from when a message that was held is released (RFC 4865)."""
        self.patch(deliverby, "time", lambda: TODAY)
        for hold, age, expected in (
            ({"HOLDFOR": "3600"}, 3605, "120;R"),
            ({"HOLDUNTIL": "2023-11-14T22:13:15Z"}, 3605, "120;R"),
            ({"HOLDUNTIL": "2023-11-14T20:13:15Z"}, 15, "110;R"),
        ):
            sent = exchange("DELIVERBY", parameters={"BY": "125;R", **hold}, age=age)
            self.assertEqual(sent.commands[0], f"MAIL FROM:<sender@example.test> BY={expected}")

    def test_late(self) -> None:
        """What is to be returned rather than late isn't sent when it is."""
        for age in (125, 1000):
            sent = exchange("DELIVERBY", parameters={"BY": "125;R"}, age=age)
            self.assertEqual(sent.commands, [])
            self.assertEqual([each[:2] for each in sent.results], [(550, "5.4.7")])

    def test_least(self) -> None:
        """Nor to a server that promises so little time to nobody; for N it promises nothing."""
        sent = exchange("DELIVERBY 60", parameters={"BY": "125;R"}, age=66)
        self.assertEqual([each[:2] for each in sent.results], [(550, "5.4.7")])
        sent = exchange("DELIVERBY 60", parameters={"BY": "125;R"}, age=65)
        self.assertEqual(sent.commands[0], "MAIL FROM:<sender@example.test> BY=60;R")
        sent = exchange("DELIVERBY 60", parameters={"BY": "125;N"}, age=100)
        self.assertEqual(sent.commands[0], "MAIL FROM:<sender@example.test> BY=25;N")

    def test_notOffered(self) -> None:
        """To a server that doesn't know of it goes what may be late, and without it."""
        sent = exchange("DSN", parameters={"BY": "125;N"})
        self.assertEqual(sent.commands[0], "MAIL FROM:<sender@example.test>")
        sent = exchange("DSN", parameters={"BY": "125;R"})
        self.assertEqual(sent.commands, [])
        self.assertEqual([each[:2] for each in sent.results], [(550, "5.3.3")])

    def test_takenOver(self) -> None:
        """Whether the server heeds the time is told with its answer; one of LMTP has delivered."""
        for offered, lmtp, expected in (
            ("DELIVERBY", False, True),
            ("DSN", False, False),
            ("DSN", True, True),
        ):
            sent = exchange(offered, parameters={"BY": "125;N"}, lmtp=lmtp)
            self.assertEqual([each.heedsTime for each in sent.results], [expected])

    def test_lmtp(self) -> None:
        """By LMTP it is delivered at once, so that is in time, whatever the server offers."""
        sent = exchange("DSN", parameters={"BY": "125;R"}, lmtp=True)
        self.assertEqual([each.code for each in sent.results], [250])
        sent = exchange("DSN", parameters={"BY": "125;R"}, lmtp=True, age=125)
        self.assertEqual([each[:2] for each in sent.results], [(550, "5.4.7")])
