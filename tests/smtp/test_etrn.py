"""
ETRN (RFC 1985).
"""

from __future__ import annotations

from tests.smtp.support import NETWORKS, TODAY, Server, SMTPTestCase, now
from twisted_mailstack.model.queue import QueueFilter


class ETRNTests(SMTPTestCase):
    """
    Starting the queue for a domain.
    """

    def waiting(self, *addresses: str, **settings: object) -> Server:
        """
        @return: a server in which a message for each of these waits, not to be tried for an hour.
        """
        server = self.serve(queue=True, submission=True, **settings)
        for address in addresses:
            conversation = server.authenticated()
            conversation.send(
                f"MAIL FROM:<a@far.test> HOLDFOR=3600\r\nRCPT TO:<{address}>\r\nDATA\r\n".encode()
            )
            self.assertTrue(conversation.send(b".\r\n").startswith(b"250 "))
        return server

    def started(self, server: Server) -> list[str]:
        """
        @return: the domains whose mail may be tried now.
        """
        waiting = now(server.store.spool.select(QueueFilter(), 100))
        return sorted(
            recipient.address.domain
            for message in waiting
            for recipient in message.recipients
            if recipient.nextAttempt <= TODAY
        )

    def test_offered(self) -> None:
        """It is offered to who may use it, where there is a queue."""
        for server, offered in (
            (self.serve(queue=True, etrnNetworks=NETWORKS), True),
            (self.serve(queue=True), False),
            (self.serve(etrnNetworks=NETWORKS), False),
        ):
            answer = server.connect().send(b"EHLO client.test\r\n")
            self.assertEqual(b"\r\n250-ETRN\r\n" in answer, offered)
        conversation = self.serve(queue=True).authenticated()
        self.assertIn(b"\r\n250-ETRN\r\n", conversation.send(b"EHLO client.test\r\n"))

    def test_example(self) -> None:
        """RFC 1985: what waits is started, or nothing waits."""
        server = self.waiting("a@mail.uu.test", "b@uu.test", "c@uu.test", "d@other.test")
        server.authenticated().check("""
            C: ETRN
            S: 501 5.5.4 A domain is needed
            C: ETRN localname
            S: 251 2.0.0 No messages are waiting for localname
            C: ETRN UU.test
            S: 253 2.0.0 2 messages for uu.test are started
            C: ETRN mail.uu.test
            S: 253 2.0.0 1 messages for mail.uu.test are started
        """)
        self.assertEqual(self.started(server), ["mail.uu.test", "uu.test", "uu.test"])

    def test_below(self) -> None:
        """An at sign means the domain and all that are below it."""
        server = self.waiting("a@mail.uu.test", "b@uu.test", "c@xuu.test")
        server.authenticated().check("""
            C: ETRN @uu.test
            S: 253 2.0.0 2 messages for uu.test are started
            C: ETRN @test
            S: 253 2.0.0 3 messages for test are started
        """)

    def test_refused(self) -> None:
        """
        Strangers may not (459), named queues there are none (458), and what is no domain is a
        syntax error.
        """
        server = self.waiting("a@uu.test")
        server = self.serve(queue=True)
        server.greeted().check("""
            C: ETRN uu.test
            S: 459 4.7.1 Not allowed
        """)
        server.authenticated().check("""
            C: ETRN #queue
            S: 458 4.3.0 There is no such queue
            C: ETRN uu..test
            S: 501 5.5.4 Invalid domain name
            C: ETRN @
            S: 501 5.5.4 Invalid domain name
            C: ETRN two words
            S: 501 5.5.4 Invalid domain name
        """)
        self.serve(queue=True, submission=True).greeted().check("""
            C: ETRN uu.test
            S: 530 5.7.0 Authentication required
        """)

    def test_networks(self) -> None:
        """A configured peer may without AUTH; another may not."""
        server = self.serve(queue=True, etrnNetworks=NETWORKS)
        # An IPv6 socket shows an IPv4 peer as an IPv6 address.
        for peer in ("192.0.2.1", "::ffff:192.0.2.1"):
            server.greeted(peer=peer).check("""
                C: ETRN uu.test
                S: 251 2.0.0 No messages are waiting for uu.test
            """)
        for peer in ("203.0.113.1", "::ffff:203.0.113.1", "::192.0.2.1", "local"):
            server.greeted(peer=peer).check("C: ETRN uu.test\nS: 459 4.7.1 Not allowed")

    def test_order(self) -> None:
        """Not before EHLO and not within a transaction."""
        server = self.serve(queue=True, etrnNetworks=NETWORKS)
        conversation = server.connect()
        conversation.wire.take()
        conversation.check("C: ETRN uu.test\nS: 503 5.5.1 Say EHLO first")
        server.greeted().check("""
            C: MAIL FROM:<>
            S: 250 2.1.0 OK
            C: ETRN uu.test
            S: 503 5.5.1 Not within a transaction
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
        """)

    def test_noQueue(self) -> None:
        """Without a queue there is no such command."""
        self.serve(etrnNetworks=NETWORKS).greeted().check("""
            C: ETRN uu.test
            S: 502 5.5.1 Not available here
        """)
