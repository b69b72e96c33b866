"""
CAPABILITY, NOOP and LOGOUT: C{twisted_mailstack.imap.commands.anystate}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server, capabilities, now

BEFORE = capabilities(False)
AFTER = capabilities(True)


class CapabilityTests(SynchronousTestCase):
    """
    RFC 3501 §6.1.1: exactly what may be used now.
    """

    def check(self, server: Server, secure: bool, listed: str) -> None:
        """
        The greeting and the command say the same.
        """
        client = server.connect(secure)
        client.check(
            f"""
            S: * OK [CAPABILITY {listed}] imap.example.test ready
            C: abcd CAPABILITY
            S: * CAPABILITY {listed}
            S: abcd OK CAPABILITY completed
            """
        )

    def test_plain(self) -> None:
        """Without TLS: STARTTLS, no LOGIN, and no mechanism that shows a password (§11.2)."""
        self.check(Server(), False, f"{BEFORE} STARTTLS LOGINDISABLED")

    def test_secure(self) -> None:
        """Under TLS: no STARTTLS, and the mechanisms."""
        self.check(Server(), True, f"{BEFORE} AUTH=PLAIN AUTH=LOGIN")

    def test_noTLS(self) -> None:
        """A server without a certificate offers no STARTTLS."""
        self.check(Server(hasTLS=False), False, f"{BEFORE} LOGINDISABLED")

    def test_allowed(self) -> None:
        """Where passwords without TLS are configured, both ways are there."""
        self.check(
            Server(allowPlaintextAuth=True), False, f"{BEFORE} STARTTLS AUTH=PLAIN AUTH=LOGIN"
        )

    def test_noMechanisms(self) -> None:
        """Without mechanisms there is no AUTH=."""
        self.check(Server(mechanisms=()), True, BEFORE)

    def test_afterLogin(self) -> None:
        """After login nothing about logging in or TLS is left, selected or not."""
        server = Server(allowPlaintextAuth=True)
        for client in (server.login(), server.select()):
            client.check(
                f"""
                C: abcd CAPABILITY
                S: * CAPABILITY {AFTER}
                S: abcd OK CAPABILITY completed
                """
            )

    def test_inOK(self) -> None:
        """The OK to a login tells what holds from then on (§7.2.1)."""
        client = Server().connect()
        client.wire.take()
        client.check(
            f"""
            C: a LOGIN alice@example.test secret
            S: a OK [CAPABILITY {AFTER}] logged in
            """
        )


class NoopTests(SynchronousTestCase):
    """
    RFC 3501 §6.1.2.
    """

    def test_always(self) -> None:
        """It always succeeds."""
        server = Server()
        for client in (server.connect(), server.login(), server.select()):
            client.wire.take()
            client.check(
                """
                C: a002 NOOP
                S: a002 OK NOOP completed
                """
            )

    def test_news(self) -> None:
        """It tells what others did: new flags, what is gone, what is new."""
        server = Server()
        for _ in range(4):
            server.deliver()
        client = server.select()
        inbox = now(server.account.openMailbox("INBOX"))
        server.select().check(
            r"""
            C: a STORE 2 +FLAGS.SILENT (\Deleted)
            S: a OK STORE completed
            C: b EXPUNGE
            S: * 2 EXPUNGE
            S: b OK EXPUNGE completed
            C: c STORE 3 FLAGS.SILENT (\Seen \Answered)
            S: c OK STORE completed
            """
        )
        server.deliver()
        client.check(
            r"""
            C: a047 NOOP
            S: * 4 FETCH (FLAGS (\Recent \Answered \Seen))
            S: * 2 EXPUNGE
            S: * 4 EXISTS
            S: * 4 RECENT
            S: a047 OK NOOP completed
            C: a048 NOOP
            S: a048 OK NOOP completed
            """
        )
        self.assertEqual(now(inbox.status()).messages, 4)


class LogoutTests(SynchronousTestCase):
    """
    RFC 3501 §6.1.3.
    """

    def test_example(self) -> None:
        """BYE, then OK, then the connection is closed."""
        client = Server().login()
        client.check(
            """
            C: A023 LOGOUT
            S: * BYE imap.example.test closing
            S: A023 OK LOGOUT completed
            """
        )
        self.assertTrue(client.finished)

    def test_noNews(self) -> None:
        """Nobody who leaves is told of new mail."""
        server = Server()
        client = server.select()
        server.deliver()
        client.check(
            """
            C: a LOGOUT
            S: * BYE imap.example.test closing
            S: a OK LOGOUT completed
            """
        )
