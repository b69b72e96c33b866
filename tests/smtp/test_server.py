"""
The SMTP server on Twisted's own transports, in memory: TCP, STARTTLS, implicit TLS.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.portal import Portal

from tests.net.network import Client, NetworkTestCase
from tests.smtp.support import PLAIN, ClearPasswords, now
from twisted_mailstack.auth.checker import DirectoryChecker
from twisted_mailstack.auth.realm import MailRealm
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.delivery.target import MailTarget
from twisted_mailstack.model.address import Address
from twisted_mailstack.smtp.server import SMTPFactory
from twisted_mailstack.smtp.session import SMTPSettings
from twisted_mailstack.storage.memory import MemoryMailStore

TRANSACTION = b"MAIL FROM:<a@far.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"


class ServerTestCase(NetworkTestCase):
    """
    A server with alice's account.
    """

    def setUp(self) -> None:
        """Make the store."""
        super().setUp()
        self.store = MemoryMailStore()
        now(self.store.directory.addDomain("example.test"))
        address = Address("alice", "example.test")
        self.account = now(self.store.directory.addAccount(address, "secret")).accountId

    def factory(self, tls: bool = False, **arguments: Any) -> SMTPFactory:
        """
        @param arguments: of L{SMTPSettings} or of the factory.
        """
        names = ("maxErrors", "submission", "maxLoginFailures", "timeout")
        settings = {name: arguments.pop(name) for name in names if name in arguments}
        certificate: Any = self.makeCertificate() if tls else None
        return SMTPFactory(
            MailTarget(self.store, Resolver(self.store.directory)),
            SMTPSettings(hostname="mx.example.test", **settings),
            self.network,
            portal=Portal(
                MailRealm(self.store), [DirectoryChecker(self.store.directory, ClearPasswords())]
            ),
            tls=certificate,
            **arguments,
        )

    def connect(self, factory: Any, peer: str = "192.0.2.1") -> Client:
        """
        @return: a client that has seen the greeting.
        """
        client = self.network.connect(factory, peer)
        self.assertEqual(client.take(), b"220 mx.example.test ESMTP\r\n")
        return client

    def inbox(self) -> list[bytes]:
        """
        @return: alice's messages.
        """
        entries = self.store.accounts[self.account].boxes["INBOX"].entries
        return [entry.message.prefix + entry.message.data for entry in entries]


class PlainTests(ServerTestCase):
    """
    Without TLS.
    """

    def test_session(self) -> None:
        """A session from the greeting to QUIT, after which the server closes the connection."""
        client = self.connect(self.factory())
        self.assertTrue(client.send(b"EHLO client.test\r\n").startswith(b"250-mx.example.test "))
        self.assertTrue(
            client.send(TRANSACTION).endswith(b"354 End data with <CR><LF>.<CR><LF>\r\n")
        )
        self.assertTrue(client.send(b"Subject: x\r\n\r\n..\r\n.\r\n").startswith(b"250 2.0.0 OK: "))
        self.assertEqual(client.send(b"QUIT\r\n"), b"221 2.0.0 mx.example.test closing\r\n")
        self.assertIsNotNone(client.lost)
        (stored,) = self.inbox()
        self.assertTrue(stored.endswith(b"\r\nSubject: x\r\n\r\n.\r\n"))
        self.assertIn(b"Received: from client.test ([192.0.2.1])\r\n", stored)

    def test_IPv6(self) -> None:
        """A client's IPv6 address is in the trace field."""
        client = self.connect(self.factory(), "2001:db8::9")
        client.send(b"EHLO client.test\r\n" + TRANSACTION)
        client.send(b".\r\n")
        self.assertIn(b"([IPv6:2001:db8::9])\r\n", self.inbox()[0])

    def test_large(self) -> None:
        """A message of several megabytes arrives whole."""
        client = self.connect(self.factory())
        client.send(b"EHLO client.test\r\n" + TRANSACTION)
        line = b"x" * 78 + b"\r\n"
        self.assertTrue(client.send(line * 50_000 + b".\r\n").startswith(b"250 2.0.0 OK"))
        head, _, text = self.inbox()[0].partition(b"xx")
        self.assertTrue(head.endswith(b"\r\n"))
        self.assertEqual(b"xx" + text, line * 50_000)

    def test_clientCloses(self) -> None:
        """A client that closes without QUIT ends its transaction and its connection (§4.1.1.5)."""
        factory = self.factory()
        client = self.connect(factory)
        client.send(b"EHLO client.test\r\n" + TRANSACTION)
        client.send(b"half a message")
        client.transport.loseConnection()
        self.network.pump()
        self.assertEqual((factory.protocols, self.inbox()), (set(), []))

    def test_timeout(self) -> None:
        """A silent client is told and closed."""
        client = self.connect(self.factory())
        self.network.wait(301)
        self.assertEqual(client.take(), b"421 4.4.2 mx.example.test closing: timeout\r\n")
        self.network.wait(11)
        self.assertIsNotNone(client.lost)

    def test_shutDown(self) -> None:
        """When the server stops each client is told (§3.8)."""
        factory = self.factory()
        clients = [self.connect(factory) for _ in range(3)]
        stopped = factory.shutDown()
        self.network.pump()
        for client in clients:
            self.assertEqual(client.take(), b"421 4.3.2 mx.example.test shutting down\r\n")
        self.network.wait(11)
        self.successResultOf(stopped)


class LimitTests(ServerTestCase):
    """
    How many connections, and what each may do.
    """

    def test_tooMany(self) -> None:
        """
        One connection more than allowed is told so in place of the greeting, with our name first
        (RFC 5321 §4.3.1) and no enhanced status (RFC 2034 §3), and closed.
        """
        factory = self.factory(maxConnections=2)
        first = self.connect(factory)
        self.connect(factory)
        third = self.network.connect(factory)
        self.assertEqual(third.take(), b"421 mx.example.test too many connections, try later\r\n")
        self.assertIsNotNone(third.lost)
        first.send(b"QUIT\r\n")
        self.connect(factory)

    def test_perPeer(self) -> None:
        """So many from one address; others don't suffer from it."""
        factory = self.factory(maxConnectionsPerPeer=1)
        self.connect(factory)
        self.assertTrue(self.network.connect(factory).take().startswith(b"421 "))
        self.connect(factory, "192.0.2.2")

    def test_notShared(self) -> None:
        """
        Errors and failed logins of one connection aren't another's, and connections of one factory
        not another factory's.
        """
        wrong = b"AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdAB3cm9uZw==\r\n"
        one, other = (
            self.factory(True, maxErrors=3, maxLoginFailures=2, maxConnections=1) for _ in range(2)
        )
        for factory in (one, other):
            client = self.connect(factory)
            client.send(b"STARTTLS\r\n")
            client.startTLS()
            client.send(b"EHLO client.test\r\n")
            for _ in range(2):
                self.assertTrue(client.send(b"FOO\r\n").startswith(b"500 "))
            client.send(wrong)
            self.network.wait(2)
            self.assertTrue(client.take().startswith(b"535 "))
            client.send(b"QUIT\r\n")


class TLSTests(ServerTestCase):
    """
    STARTTLS (RFC 3207) and implicit TLS (RFC 8314 §3.3).
    """

    def secure(self, factory: SMTPFactory) -> Client:
        """
        @return: a client that has changed to TLS and said EHLO again.
        """
        client = self.connect(factory)
        self.assertIn(b"\r\n250-STARTTLS\r\n", client.send(b"EHLO client.test\r\n"))
        self.assertEqual(client.send(b"STARTTLS\r\n"), b"220 2.0.0 Ready to start TLS\r\n")
        client.startTLS()
        answer = client.send(b"EHLO client.test\r\n")
        self.assertNotIn(b"STARTTLS", answer)
        self.assertIn(b"\r\n250-AUTH PLAIN LOGIN\r\n", answer)
        return client

    def test_startTLS(self) -> None:
        """A session under STARTTLS, with AUTH; the trace field says how it was protected."""
        client = self.secure(self.factory(True, submission=True))
        self.assertEqual(
            client.send(f"AUTH PLAIN {PLAIN}\r\n".encode()), b"235 2.7.0 Authenticated\r\n"
        )
        client.send(TRANSACTION)
        self.assertTrue(client.send(b"x\r\n.\r\n").startswith(b"250 "))
        self.assertRegex(
            self.inbox()[0],
            rb"\r\n\tby mx\.example\.test with ESMTPSA \(TLSv1\.[23] [A-Z0-9_-]+\)\r\n",
        )
        self.assertEqual(client.send(b"QUIT\r\n"), b"221 2.0.0 mx.example.test closing\r\n")

    def test_injected(self) -> None:
        """What came behind STARTTLS in the clear is never answered; the connection is dropped."""
        for behind in (b"NOOP\r\n", b"\r\n", b"M"):
            client = self.connect(self.factory(True))
            client.send(b"EHLO client.test\r\n")
            self.assertEqual(client.send(b"STARTTLS\r\n" + behind), b"")
            self.assertIsNotNone(client.lost)

    def test_noHandshake(self) -> None:
        """Behind 220 only TLS is read: commands in the clear end the connection, unanswered."""
        client = self.connect(self.factory(True))
        client.send(b"EHLO client.test\r\n")
        client.send(b"STARTTLS\r\n")
        answer = client.send(b"NOOP\r\nMAIL FROM:<a@far.test>\r\n")
        self.assertNotIn(b"250", answer)
        self.network.wait(60)
        self.assertIsNotNone(client.lost)
        self.assertEqual(self.inbox(), [])

    def test_implicit(self) -> None:
        """Under implicit TLS the greeting comes when the handshake is done."""
        factory = self.factory(True, service="submissions")
        wrapped = self.implicitTLS(factory, factory.tls)
        client = self.network.connect(wrapped)
        self.assertEqual(client.take(), b"")
        client.startTLS()
        self.assertEqual(client.take(), b"220 mx.example.test ESMTP\r\n")
        self.assertNotIn(b"STARTTLS", client.send(b"EHLO client.test\r\n"))
        client.send(TRANSACTION)
        client.send(b".\r\n")
        self.assertIn(b" with ESMTPS (TLSv1.", self.inbox()[0])
