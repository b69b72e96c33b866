"""
MT-PRIORITY (RFC 6710).
"""

from __future__ import annotations

from tests.smtp.support import NETWORKS, Server, SMTPTestCase, exchange
from twisted_mailstack.testing.conversation import Conversation


class ServerTests(SMTPTestCase):
    """
    The server's side.
    """

    def test_offered(self) -> None:
        """It is offered where a queue sorts by it; elsewhere its parameter is unknown."""
        for queue in (False, True):
            conversation = self.serve(queue=queue).connect()
            offered = conversation.send(b"EHLO client.test\r\n")
            self.assertEqual(b"\r\n250-MT-PRIORITY\r\n" in offered, queue)
        self.serve().greeted().check("""
            C: MAIL FROM:<> MT-PRIORITY=-1
            S: 555 5.5.4 MT-PRIORITY is not a known parameter
        """)

    def test_syntax(self) -> None:
        """-9 to 9, written in one way (§7); anything else is 501 5.5.2 (§4.1 1.: MUST)."""
        conversation = self.serve(queue=True, priorityNetworks=NETWORKS, maxErrors=100).greeted()
        for value in range(-9, 10):
            conversation.check(f"""
                C: MAIL FROM:<> MT-PRIORITY={value}
                S: 250 2.1.0 OK
                C: RSET
                S: 250 2.0.0 OK
            """)
        for word in ("10", "-10", "+3", "-0", "00", "03", "3.0", "x", "-"):
            conversation.check(f"""
                C: MAIL FROM:<> MT-PRIORITY={word}
                S: 501 5.5.2 MT-PRIORITY is -9 to 9
            """)
        conversation.check("""
            C: MAIL FROM:<> MT-PRIORITY
            S: 501 5.5.2 MT-PRIORITY is -9 to 9
            C: MAIL FROM:<> MT-PRIORITY=1 MT-PRIORITY=1
            S: 501 5.5.4 MT-PRIORITY is given twice
        """)

    def send(self, conversation: Conversation, priority: int, answer: str) -> None:
        """
        Send a message.
        """
        conversation.check(f"""
            C: MAIL FROM:<eljefe@far.test> MT-PRIORITY={priority}
            S: {answer}
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
            C: RCPT TO:<topbanana@far.test>
            S: 250 2.1.5 OK
        """)
        conversation.send(b"DATA\r\n")
        self.assertTrue(conversation.send(b"text\r\n.\r\n").startswith(b"250 "))

    def queuedPriority(self, server: Server) -> tuple[int, object]:
        """
        @return: of the message that waits: its priority, and what goes on.
        """
        ((message, _),) = server.queued()
        return message.priority, message.parameters.get("MT-PRIORITY")

    def test_lower(self) -> None:
        """Everybody may lower their own (§4.1); the trace field says it (§4.1 2., §7)."""
        server = self.serve(queue=True)
        self.send(server.authenticated(), -4, "250 2.1.0 OK")
        self.assertEqual(self.queuedPriority(server), (-4, "-4"))
        (stored,) = server.inbox()
        self.assertRegex(stored, rb"\r\n\tid Q1\r\n\tPRIORITY -4;\r\n\t")

    def test_raise(self) -> None:
        """
        Whom nobody trusts can't raise it (§4.1: MUST NOT allow): it becomes what is allowed, and
        the reply says so (SHOULD: X.3.6, the text contains the new priority).
        """
        server = self.serve(queue=True)
        self.send(server.authenticated(), 3, "250 2.3.6 0 is the new priority")
        self.assertEqual(self.queuedPriority(server), (0, "0"))
        self.assertIn(b"\r\n\tPRIORITY 0;", server.inbox()[0])
        self.serve(queue=True, maxPriority=9).greeted().check("""
            C: MAIL FROM:<> MT-PRIORITY=9
            S: 250 2.3.6 0 is the new priority
        """)

    def test_allowed(self) -> None:
        """Who has authenticated may raise it as far as the settings say."""
        for asked, given in ((4, 4), (5, 4)):
            server = self.serve(queue=True, maxPriority=4)
            answer = "250 2.1.0 OK" if asked == given else "250 2.3.6 4 is the new priority"
            self.send(server.authenticated(), asked, answer)
            self.assertEqual(self.queuedPriority(server), (given, str(given)))

    def test_trusted(self) -> None:
        """A peer with which that is agreed may give any."""
        server = self.serve(queue=True, priorityNetworks=NETWORKS)
        self.send(server.authenticated(), 9, "250 2.1.0 OK")
        self.assertEqual(self.queuedPriority(server), (9, "9"))
        server.greeted(peer="203.0.113.1").check("""
            C: MAIL FROM:<> MT-PRIORITY=9
            S: 250 2.3.6 0 is the new priority
        """)

    def test_none(self) -> None:
        """Without the parameter there is no clause, and the priority is 0 (§4.1 5.)."""
        server = self.serve(queue=True)
        conversation = server.authenticated()
        conversation.send(
            b"MAIL FROM:<a@far.test>\r\nRCPT TO:<b@far.test>\r\nRCPT TO:<alice@example.test>\r\n"
        )
        conversation.send(b"DATA\r\n.\r\n")
        self.assertEqual(self.queuedPriority(server), (0, None))
        self.assertNotIn(b"PRIORITY", server.inbox()[0])

    def test_notification(self) -> None:
        """A notification has the priority of what it tells of (§4.6: SHOULD)."""
        server = self.serve(queue=True)
        server.greeted().check("""
            C: MAIL FROM:<sender@far.test> MT-PRIORITY=-3
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test> NOTIFY=SUCCESS
            S: 250 2.1.5 OK
            C: DATA
            S: 354 End data with <CR><LF>.<CR><LF>
            C: .
            S: 250 2.0.0 OK: Q1
        """)
        self.assertEqual(self.queuedPriority(server), (-3, "-3"))


class ClientTests(SMTPTestCase):
    """
    The client's side.
    """

    def test_passedOn(self) -> None:
        """The priority that was found goes on (§4.2: MUST), where the server knows of it (§4.3)."""
        for offered, expected in (
            ("MT-PRIORITY", " MT-PRIORITY=3"),
            ("MT-PRIORITY STANAG4406", " MT-PRIORITY=3"),
            ("DSN", ""),
        ):
            sent = exchange(offered, parameters={"MT-PRIORITY": "3"})
            self.assertEqual(sent.commands[0], f"MAIL FROM:<sender@example.test>{expected}")
        self.assertEqual(exchange("MT-PRIORITY").commands[0], "MAIL FROM:<sender@example.test>")
