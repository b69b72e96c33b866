"""
XCLIENT, as Postfix documents it in XCLIENT_README.
"""

from __future__ import annotations

from twisted.logger import formatEvent, globalLogPublisher

from tests.smtp.support import NETWORKS, PLAIN, Server, SMTPTestCase
from twisted_mailstack.delivery.policy import PolicyStep
from twisted_mailstack.errors import MailError
from twisted_mailstack.model.records import ConnectionInfo, Envelope
from twisted_mailstack.testing.conversation import Conversation

OFFER = b"\r\n250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT\r\n"


class Watching(PolicyStep):
    """
    Sees everything, and refuses one address.
    """

    def __init__(self) -> None:
        self.connections: list[ConnectionInfo] = []
        self.envelopes: list[Envelope] = []

    def connection(self, info: ConnectionInfo) -> None:
        """See L{IPolicyStep}."""
        self.connections.append(info)
        if info.peer == "203.0.113.66":
            raise MailError("Listed", smtpCode=554, enhancedStatus="5.7.1")
        if info.peer == "203.0.113.77":
            raise MailError("Come again", smtpCode=451, enhancedStatus="4.7.1")

    def reversePath(self, envelope: Envelope) -> None:
        """See L{IPolicyStep}."""
        self.envelopes.append(envelope)


class XCLIENTTests(SMTPTestCase):
    """
    A proxy that speaks for its clients.
    """

    def trusting(self, **arguments: object) -> tuple[Server, Watching]:
        """
        @return: a server that believes the proxy.
        """
        watching = Watching()
        server = self.serve(xclientNetworks=NETWORKS, policies=[watching], **arguments)
        return server, watching

    def claim(self, conversation: Conversation, attributes: str) -> None:
        """
        Speak for another client, and say hello as it.
        """
        conversation.check(f"C: XCLIENT {attributes}\nS: 220 mx.example.test ESMTP")
        conversation.send(b"EHLO spike.porcupine.org\r\n")

    def test_example(self) -> None:
        """The example of the README: from the new greeting on the session is the client's."""
        server, watching = self.trusting()
        conversation = server.connect()
        conversation.check("S: 220 mx.example.test ESMTP")
        self.assertIn(OFFER, conversation.send(b"EHLO client.example.com\r\n"))
        conversation.check("""
            C: XCLIENT NAME=spike.porcupine.org ADDR=168.100.189.2
            S: 220 mx.example.test ESMTP
        """)
        self.assertIn(OFFER, conversation.send(b"EHLO spike.porcupine.org\r\n"))
        conversation.check("""
            C: MAIL FROM:<wietse@porcupine.org>
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: text
            C: .
            S: 250 2.0.0 OK: Q1
        """)
        self.assertEqual(
            [info.peer for info in watching.connections], ["192.0.2.1", "168.100.189.2"]
        )
        (envelope,) = watching.envelopes
        self.assertEqual(envelope.connection.name, "spike.porcupine.org")
        self.assertEqual(
            server.inbox(),
            [
                self.stored(
                    b"text\r\n",
                    reversePath="<wietse@porcupine.org>",
                    hello="spike.porcupine.org",
                    peer="[168.100.189.2]",
                )
            ],
        )

    def test_strangers(self) -> None:
        """Nobody else is offered it, or believed; whatever they claimed before."""
        server, watching = self.trusting()
        conversation = server.connect(peer="203.0.113.5")
        self.assertNotIn(b"XCLIENT", conversation.send(b"EHLO client.test\r\n"))
        conversation.check("C: XCLIENT ADDR=192.0.2.1\nS: 502 5.5.1 Not available here")
        for peer in ("local", "2001:db8::1", "::ffff:203.0.113.5"):
            offered = server.connect(peer=peer).send(b"EHLO client.test\r\n")
            self.assertNotIn(b"XCLIENT", offered)
        self.assertNotIn("192.0.2.1", [info.peer for info in watching.connections])

    def test_attributes(self) -> None:
        """What each attribute says; names in any case, values in xtext."""
        for attributes, expected in (
            ("addr=2001:db8::0:1", {"peer": "2001:db8::1"}),
            ("ADDR=IPV6:2001:db8::1", {"peer": "2001:db8::1"}),
            ("ADDR=ipv6:2001:DB8::1", {"peer": "2001:db8::1"}),
            ("ADDR=[UNAVAILABLE]", {"peer": "unknown"}),
            ("ADDR=+5Bunavailable+5D", {"peer": "unknown"}),
            ("PORT=25", {"peerPort": 25}),
            ("PORT=[UNAVAILABLE]", {"peerPort": 0}),
            ("NAME=Host.Example", {"name": "host.example"}),
            ("NAME=[UNAVAILABLE]", {"name": ""}),
            ("NAME=[TempUnavail]", {"name": None}),
            ("DESTADDR=198.51.100.1 DESTPORT=587", {"reached": "198.51.100.1", "reachedPort": 587}),
            ("DESTADDR=[UNAVAILABLE] DESTPORT=[UNAVAILABLE]", {"reached": "", "reachedPort": 0}),
        ):
            server, watching = self.trusting()
            self.claim(server.greeted(), attributes)
            info = watching.connections[-1]
            self.assertEqual({name: getattr(info, name) for name in expected}, expected, attributes)

    def test_malformed(self) -> None:
        """Anything else is a syntax error (501), and nothing of it holds."""
        server, watching = self.trusting(maxErrors=100)
        conversation = server.greeted()
        for attributes in (
            *("", "ADDR", "ADDR=", "=1", "ADDR=1.2.3", "ADDR=1.2.3.4.5", "ADDR=host.example"),
            *(
                "ADDR=[1.2.3.4]",
                "ADDR=IPV6:1::2::3",
                "PORT=-1",
                "PORT=65536",
                "PORT=x",
                "PORT=000025",
            ),
            *("NAME=a..b", "NAME=-", "PROTO=LMTP", "PROTO=[UNAVAILABLE]", "LOGIN=alice", "LOGIN=@"),
            *("FOO=1", "ADDR=1.2.3.4 FOO=1", "ADDR=1.2.3.4 ADDR=1.2.3.4", "ADDR=1.2.3.4, PORT=1"),
            *("HELO=" + "x" * 256, "HELO=a+20b", "HELO=a+0D+0Ab", "HELO=a+00", "HELO=+C3+A4"),
            *("HELO=a+2b", "NAME=ä", "ADDR=1.2.3.4%eth0", "ADDR=fe80::1%25", "DESTPORT=1x"),
        ):
            answer = conversation.send(f"XCLIENT {attributes}\r\n".encode())
            self.assertRegex(answer, rb"\A501 5\.5\.4 ", attributes)
        conversation.check("C: MAIL FROM:<>\nS: 250 2.1.0 OK")
        self.assertEqual(watching.envelopes[0].connection.peer, "192.0.2.1")
        self.assertEqual(len(watching.connections), 1)

    def test_reset(self) -> None:
        """
        The session begins anew: there is no EHLO and no login any more, unless XCLIENT gives them;
        what it gave by itself stays through another one.
        """
        server, watching = self.trusting()
        conversation = server.greeted(secure=True)
        conversation.check(f"""
            C: AUTH PLAIN {PLAIN}
            S: 235 2.7.0 Authenticated
            C: XCLIENT NAME=a.test ADDR=203.0.113.5
            S: 220 mx.example.test ESMTP
            C: MAIL FROM:<>
            S: 503 5.5.1 Say EHLO first
            C: XCLIENT PORT=77
            S: 220 mx.example.test ESMTP
        """)
        conversation.send(b"EHLO client.test\r\n")
        conversation.check("C: MAIL FROM:<>\nS: 250 2.1.0 OK")
        (envelope,) = watching.envelopes
        self.assertIsNone(envelope.authenticated)
        info = envelope.connection
        self.assertEqual((info.name, info.peer, info.peerPort), ("a.test", "203.0.113.5", 77))
        self.assertTrue(info.secure)

    def test_hello(self) -> None:
        """It "must not reset" HELO and PROTO that came with it."""
        server, watching = self.trusting()
        server.greeted().check("""
            C: XCLIENT HELO=spike.test PROTO=SMTP
            S: 220 mx.example.test ESMTP
            C: MAIL FROM:<> SIZE=1
            S: 555 5.5.4 Parameters need EHLO
            C: XCLIENT HELO=spike.test PROTO=ESMTP
            S: 220 mx.example.test ESMTP
            C: MAIL FROM:<> SIZE=1
            S: 250 2.1.0 OK
        """)
        self.assertEqual(watching.envelopes[0].helo, "spike.test")
        server.greeted().check("""
            C: XCLIENT HELO=[UNAVAILABLE]
            S: 220 mx.example.test ESMTP
            C: MAIL FROM:<>
            S: 503 5.5.1 Say EHLO first
        """)

    def test_login(self) -> None:
        """Whom the proxy has authenticated may submit; nobody offers AUTH to them any more."""
        server, watching = self.trusting(submission=True)
        conversation = server.greeted(secure=True)
        conversation.check("""
            C: MAIL FROM:<>
            S: 530 5.7.0 Authentication required
            C: XCLIENT LOGIN=alice@example.test ADDR=203.0.113.5
            S: 220 mx.example.test ESMTP
        """)
        self.assertNotIn(b"AUTH", conversation.send(b"EHLO client.test\r\n"))
        conversation.check(f"""
            C: AUTH PLAIN {PLAIN}
            S: 503 5.5.1 Already authenticated
            C: MAIL FROM:<alice@example.test>
            S: 250 2.1.0 OK
            C: RSET
            S: 250 2.0.0 OK
            C: XCLIENT LOGIN=[UNAVAILABLE]
            S: 220 mx.example.test ESMTP
        """)
        conversation.send(b"EHLO client.test\r\n")
        conversation.check("C: MAIL FROM:<>\nS: 530 5.7.0 Authentication required")
        self.assertEqual(str(watching.envelopes[0].authenticated), "alice@example.test")

    def test_refused(self) -> None:
        """
        A client that the policies don't want gets what it would have got: its proxy then speaks
        for the next one.
        """
        server, _ = self.trusting()
        conversation = server.greeted()
        conversation.check("""
            C: XCLIENT ADDR=203.0.113.66
            S: 554 mx.example.test Listed
            C: MAIL FROM:<>
            S: 503 5.5.1 No service here
        """)
        conversation = server.greeted()
        self.assertEqual(
            conversation.send(b"XCLIENT ADDR=203.0.113.77\r\nNOOP\r\n"),
            b"421 mx.example.test Come again\r\n",
        )
        self.assertTrue(conversation.finished)

    def test_transaction(self) -> None:
        """Not within a transaction (503)."""
        server, _ = self.trusting()
        server.greeted().check("""
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: XCLIENT ADDR=203.0.113.5
            S: 503 5.5.1 Not within a transaction
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
        """)

    def test_log(self) -> None:
        """The log shows the client."""
        events: list[str] = []

        def observe(event: dict[str, object]) -> None:
            if "log_format" in event:
                events.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        server, _ = self.trusting()
        conversation = server.greeted()
        self.claim(conversation, "ADDR=203.0.113.5")
        conversation.send(b"MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n.\r\n")
        self.assertIn(" peer=203.0.113.5 ", events[-1])
