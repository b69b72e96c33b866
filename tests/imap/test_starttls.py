"""
STARTTLS and LOGINDISABLED (RFC 3501 §6.2.1): C{twisted_mailstack.imap.extensions.starttls}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server, capabilities
from twisted_mailstack.errors import PlaintextInjected

BEFORE = f"CAPABILITY {capabilities(False)} STARTTLS LOGINDISABLED"
AFTER = BEFORE.replace("STARTTLS LOGINDISABLED", "AUTH=PLAIN AUTH=LOGIN")


class StartTLSTests(SynchronousTestCase):
    """
    From text to TLS.
    """

    def setUp(self) -> None:
        """A connection without TLS."""
        self.server = Server()
        self.client = self.server.connect(secure=False)
        self.client.wire.take()

    def test_example(self) -> None:
        """The RFC's example: then the capabilities are others, and LOGIN works."""
        self.client.check(
            f"""
            C: a001 CAPABILITY
            S: * {BEFORE}
            S: a001 OK CAPABILITY completed
            C: a002 STARTTLS
            S: a002 OK STARTTLS completed
            """
        )
        self.assertTrue(self.client.wire.secure)
        self.client.check(
            f"""
            C: a003 CAPABILITY
            S: * {AFTER}
            S: a003 OK CAPABILITY completed
            C: a004 LOGIN alice@example.test secret
            S: a004 OK [CAPABILITY {capabilities(True)}] logged in
            """
        )

    def test_okIsInTheClear(self) -> None:
        """The OK is sent before TLS begins."""
        order: list[object] = []
        wire = self.client.wire
        self.patch(wire, "send", order.append)
        self.patch(wire, "startTLS", lambda: order.append("TLS"))
        self.client.send(b"a STARTTLS\r\n")
        self.assertEqual(order, [b"a OK STARTTLS completed\r\n", "TLS"])

    def test_injection(self) -> None:
        """
        What came behind STARTTLS without TLS is never run as if it had come through TLS: the
        connection is dropped.
        """
        for behind in (b"b LOGIN alice@example.test secret\r\n", b"b", b"\r\n", b"\x16\x03\x01"):
            client = self.server.connect(secure=False)
            client.wire.take()
            client.send(b"a STARTTLS\r\n" + behind)
            self.assertTrue(client.finished)
            assert client.failure is not None
            self.assertTrue(client.failure.check(PlaintextInjected))
            self.assertFalse(client.wire.secure)

    def test_withinTLS(self) -> None:
        """Not twice, whether TLS came by STARTTLS or was there from the beginning."""
        self.client.send(b"a STARTTLS\r\n")
        secure = self.server.connect()
        secure.wire.take()
        for client in (self.client, secure):
            client.check(
                """
                C: b STARTTLS
                S: b BAD TLS is active already
                C: c NOOP
                S: c OK NOOP completed
                """
            )

    def test_afterLogin(self) -> None:
        """Nor after login."""
        server = Server(allowPlaintextAuth=True)
        client = server.connect(secure=False)
        client.send(b"a LOGIN alice@example.test secret\r\n")
        client.check(
            """
            C: b STARTTLS
            S: b BAD Not when authenticated
            """
        )

    def test_notAvailable(self) -> None:
        """Without a certificate it is refused, and the session goes on."""
        client = Server(hasTLS=False).connect(secure=False)
        client.wire.take()
        client.check(
            """
            C: b STARTTLS
            S: b BAD TLS is not available
            C: c NOOP
            S: c OK NOOP completed
            """
        )

    def test_malformed(self) -> None:
        """An argument is BAD, and TLS doesn't begin."""
        self.client.check(
            """
            C: b STARTTLS now
            S: b BAD Unexpected text at the end of the command
            C: c NOOP
            S: c OK NOOP completed
            """
        )
        self.assertFalse(self.client.wire.secure)

    def test_stillNotAuthenticated(self) -> None:
        """The server remains in the not authenticated state, with a fresh start."""
        self.client.send(b"a STARTTLS\r\n")
        self.client.check(
            """
            C: b SELECT INBOX
            S: b BAD Not when not authenticated
            """
        )
