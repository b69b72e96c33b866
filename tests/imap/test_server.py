"""
The factory: C{twisted_mailstack.imap.server}, over real transports and TLS in memory.
"""

from __future__ import annotations

import zlib
from typing import Any

from tests.imap.support import MESSAGE, Server, capabilities
from tests.net.network import WINDOW, Client, NetworkTestCase
from twisted_mailstack.imap.extension import ANY, Command, Extension
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.registry import EXTENSIONS
from twisted_mailstack.imap.server import IMAPFactory
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.net.protocol import MailFactory

CAPABILITIES = capabilities(False).encode()


class ServerTests(NetworkTestCase):
    """
    Connections to a server.
    """

    def setUp(self) -> None:
        """Alice's account."""
        super().setUp()
        self.server = Server()

    def makeFactory(self, **options: Any) -> IMAPFactory:
        """
        @param options: as of L{IMAPFactory}.
        """
        return IMAPFactory(self.server.portal, self.server.settings, self.network, **options)

    def login(self, factory: Any) -> Client:
        """
        @return: a client under implicit TLS that is logged in.
        """
        client = self.network.connect(self.implicitTLS(factory, self.makeCertificate()))
        client.startTLS()
        client.take()
        answer = client.send(b"a LOGIN alice@example.test secret\r\n")
        self.assertRegex(answer, rb"^a OK ")
        return client

    def test_greeting(self) -> None:
        """The client is greeted with what the connection offers."""
        client = self.network.connect(self.makeFactory())
        self.assertEqual(
            client.take(),
            b"* OK [CAPABILITY %b LOGINDISABLED] imap.example.test ready\r\n" % CAPABILITIES,
        )

    def test_starttls(self) -> None:
        """STARTTLS, where the factory was given TLS; then everything works through it."""
        client = self.network.connect(self.makeFactory(tls=self.makeCertificate()))
        self.assertIn(b" STARTTLS LOGINDISABLED] ", client.take())
        self.assertEqual(client.send(b"a STARTTLS\r\n"), b"a OK STARTTLS completed\r\n")
        client.startTLS()
        self.assertEqual(
            client.send(b"b CAPABILITY\r\n"),
            b"* CAPABILITY %b AUTH=PLAIN AUTH=LOGIN\r\nb OK CAPABILITY completed\r\n"
            % CAPABILITIES,
        )
        self.assertRegex(client.send(b"c LOGIN alice@example.test secret\r\n"), rb"^c OK ")
        self.assertEqual(
            client.send(b"d LOGOUT\r\n"),
            b"* BYE imap.example.test closing\r\nd OK LOGOUT completed\r\n",
        )
        self.assertIsNotNone(client.lost)

    def test_compressed(self) -> None:
        """COMPRESS within TLS; what follows it in the clear drops the connection."""
        factory = self.makeFactory()
        client = self.login(factory)
        self.assertEqual(client.send(b"b COMPRESS DEFLATE\r\n"), b"b OK DEFLATE active\r\n")
        deflater = zlib.compressobj(wbits=-15)
        wire = deflater.compress(b"c NOOP\r\n") + deflater.flush(zlib.Z_SYNC_FLUSH)
        inflater = zlib.decompressobj(-15)
        self.assertEqual(inflater.decompress(client.send(wire)), b"c OK NOOP completed\r\n")
        other = self.login(factory)
        other.send(b"b COMPRESS DEFLATE\r\nc CREATE x\r\n")
        self.assertIsNotNone(other.lost)

    def test_injection(self) -> None:
        """Text behind STARTTLS drops the connection, before TLS."""
        client = self.network.connect(self.makeFactory(tls=self.makeCertificate()))
        client.send(b"a STARTTLS\r\nb LOGIN alice@example.test secret\r\n")
        self.assertIsNotNone(client.lost)

    def test_implicit(self) -> None:
        """Under implicit TLS the greeting comes through it."""
        factory = self.makeFactory(service="imaps")
        client = self.network.connect(self.implicitTLS(factory, self.makeCertificate()))
        client.startTLS()
        self.assertRegex(client.take(), rb"^\* OK \[CAPABILITY [^]]* AUTH=PLAIN AUTH=LOGIN\] ")

    def test_tooMany(self) -> None:
        """Who is one too many is told so: a greeting of BYE (RFC 3501 §7.1.5)."""
        factory = self.makeFactory(maxConnections=1)
        self.network.connect(factory)
        client = self.network.connect(factory)
        self.assertEqual(client.take(), b"* BYE too many connections, try later\r\n")

    def test_shutDown(self) -> None:
        """All sessions are told when the server stops."""
        factory = self.makeFactory()
        clients = [self.network.connect(factory) for _ in range(3)]
        for client in clients:
            client.take()
        done = factory.shutDown()
        self.network.pump()
        for client in clients:
            self.assertEqual(client.take(), b"* BYE shutting down\r\n")
        self.successResultOf(done)

    def test_loginTimeout(self) -> None:
        """Who doesn't log in is disconnected after a minute."""
        client = self.network.connect(self.makeFactory())
        client.take()
        self.network.wait(60)
        self.assertEqual(client.take(), b"* BYE autologout: idle for too long\r\n")
        self.assertIsNotNone(client.lost)

    def test_extensions(self) -> None:
        """Third parties pass C{extensions=EXTENSIONS + (mine,)}."""

        async def xhello(session: IMAPSession, cursor: Cursor) -> bytes:
            return b"hello"

        mine = Extension(b"XMINE", 3501, (Command(b"XHELLO", ANY, xhello),))
        client = self.network.connect(self.makeFactory(extensions=(*EXTENSIONS, mine)))
        self.assertIn(b" XMINE]", client.take())
        self.assertEqual(client.send(b"a XHELLO\r\n"), b"a OK hello\r\n")

    def test_largeMessage(self) -> None:
        """A megabyte goes in and comes out, in pieces, octet for octet."""
        data = MESSAGE + bytes(range(1, 256)) * 4096
        client = self.login(self.makeFactory())
        client.send(b"b APPEND INBOX {%d}\r\n" % len(data))
        self.assertRegex(client.send(data + b"\r\n"), rb"^b OK \[APPENDUID 1 1\]")
        client.send(b"c SELECT INBOX\r\n")
        said = client.send(b"d FETCH 1 BODY.PEEK[]\r\n")
        self.assertTrue(
            said.startswith(b"* 1 FETCH (BODY[] {%d}\r\n" % len(data) + data + b")\r\n")
        )

    def test_whoDoesNotRead(self) -> None:
        """
        A client that floods the server with commands and reads no answer is held up: neither
        answers nor commands pile up in the server.
        """
        factory: MailFactory = self.makeFactory()
        client = self.network.connect(factory)
        client.take()
        client.transport.pauseProducing()
        client.transport.write(b"a CAPABILITY\r\n" * 30_000)
        self.network.pump()
        (protocol,) = factory.protocols
        self.assertLess(protocol.stream.bytesOut, 3 * WINDOW)
        self.assertLess(protocol.stream.bytesIn, WINDOW)
        client.transport.resumeProducing()
        self.network.pump()
        self.assertEqual(client.take().count(b"a OK CAPABILITY completed\r\n"), 30_000)
