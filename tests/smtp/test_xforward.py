"""
XFORWARD, as Postfix documents it in XFORWARD_README.
"""

from __future__ import annotations

from twisted.logger import formatEvent, globalLogPublisher

from tests.smtp.support import NETWORKS, Server, SMTPTestCase
from tests.smtp.test_xclient import Watching


class XFORWARDTests(SMTPTestCase):
    """
    A content filter that tells where mail comes from.
    """

    def trusting(self, **arguments: object) -> tuple[Server, Watching]:
        """
        @return: a server that believes the filter.
        """
        watching = Watching()
        server = self.serve(xforwardNetworks=NETWORKS, policies=[watching], **arguments)
        return server, watching

    def test_example(self) -> None:
        """
        The example of the README: what was said in several commands holds for the next message,
        for the log; the connection is what it is.
        """
        events: list[str] = []

        def observe(event: dict[str, object]) -> None:
            if "log_format" in event:
                events.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        server, watching = self.trusting()
        conversation = server.connect()
        conversation.wire.take()
        offered = conversation.send(b"EHLO client.example.com\r\n")
        self.assertIn(b"\r\n250-XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE\r\n", offered)
        conversation.check("""
            C: XFORWARD NAME=spike.porcupine.org ADDR=168.100.189.2 PROTO=ESMTP
            S: 250 2.0.0 OK
            C: XFORWARD HELO=spike.porcupine.org
            S: 250 2.0.0 OK
            C: MAIL FROM:<wietse@porcupine.org>
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: .
            S: 250 2.0.0 OK: Q1
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
        """)
        first, second = watching.envelopes
        self.assertEqual(
            first.forwarded,
            {
                "NAME": "spike.porcupine.org",
                "ADDR": "168.100.189.2",
                "PROTO": "ESMTP",
                "HELO": "spike.porcupine.org",
            },
        )
        self.assertEqual((first.connection.peer, first.helo), ("192.0.2.1", "client.example.com"))
        self.assertTrue(
            events[-1].endswith(
                " peer=192.0.2.1 helo=client.example.com user=- forwarded=NAME=spike.porcupine.org,"
                "ADDR=168.100.189.2,PROTO=ESMTP,HELO=spike.porcupine.org"
            ),
            events[-1],
        )
        # "At the end of the next MAIL FROM transaction ... all XFORWARD attributes are reset".
        self.assertEqual(second.forwarded, {})

    def test_RSET(self) -> None:
        """RSET ends it too."""
        server, watching = self.trusting()
        server.greeted().check("""
            C: XFORWARD ADDR=168.100.189.2
            S: 250 2.0.0 OK
            C: RSET
            S: 250 2.0.0 OK
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
        """)
        self.assertEqual(watching.envelopes[0].forwarded, {})

    def test_unavailable(self) -> None:
        """What isn't available any more is erased; what isn't mentioned stays."""
        server, watching = self.trusting()
        server.greeted().check("""
            C: XFORWARD NAME=a.test ADDR=non-IP PORT=25 SOURCE=LOCAL IDENT=4B9
            S: 250 2.0.0 OK
            C: XFORWARD name=[unavailable] PORT=[UNAVAILABLE] source=remote
            S: 250 2.0.0 OK
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
        """)
        self.assertEqual(
            watching.envelopes[0].forwarded, {"ADDR": "non-IP", "SOURCE": "remote", "IDENT": "4B9"}
        )

    def test_malformed(self) -> None:
        """
        Other attributes, none, and values that are too long or have control characters, spaces or
        what is special in header fields are syntax errors.
        """
        server, watching = self.trusting(maxErrors=100)
        conversation = server.greeted()
        for attributes in (
            *(
                "",
                "NAME",
                "NAME=",
                "FOO=1",
                "NAME=a NAME=a",
                "LOGIN=alice@example.test",
                "NAME=a+2b",
            ),
            *("NAME=" + "x" * 256, "PROTO=" + "x" * 65, "PORT=65536", "PORT=x", "SOURCE=ELSEWHERE"),
            *("NAME=a+20b", "NAME=a+0D+0Ab", "NAME=a(b", "HELO=<a>", "IDENT=a;b", "NAME=+C3+A4"),
        ):
            answer = conversation.send(f"XFORWARD {attributes}\r\n".encode())
            self.assertRegex(answer, rb"\A501 5\.5\.4 ", attributes)
        conversation.check("C: MAIL FROM:<>\nS: 250 2.1.0 OK")
        self.assertEqual(watching.envelopes[0].forwarded, {})

    def test_strangers(self) -> None:
        """Nobody else is offered it, or believed; a proxy of XCLIENT isn't either."""
        server, _ = self.trusting()
        conversation = server.connect(peer="203.0.113.5")
        self.assertNotIn(b"XFORWARD", conversation.send(b"EHLO client.test\r\n"))
        conversation.check("C: XFORWARD ADDR=192.0.2.1\nS: 502 5.5.1 Not available here")
        self.serve(xclientNetworks=NETWORKS).greeted().check("""
            C: XFORWARD ADDR=192.0.2.1
            S: 502 5.5.1 Not available here
        """)

    def test_transaction(self) -> None:
        """Not within a transaction (503)."""
        server, _ = self.trusting()
        server.greeted().check("""
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: XFORWARD ADDR=203.0.113.5
            S: 503 5.5.1 Not within a transaction
        """)
