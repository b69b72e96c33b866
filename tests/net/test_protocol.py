"""
Connections: what carries a session, and what ends it.
"""

from __future__ import annotations

import socket
from errno import EPIPE
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

from tests.net.network import WINDOW, Client, NetworkTestCase
from twisted_mailstack.errors import SessionEnded
from twisted_mailstack.net.protocol import GOODBYE_TIMEOUT, MAX_REFUSALS, MailFactory
from twisted_mailstack.wire.stream import HIGH_WATER, Stream

CHUNK = b"x" * 65536


class Talk:
    """
    A little protocol, as a session of ours is: it greets, echoes lines, and knows a few commands.

    @ivar work: what WAIT waits for.
    @ivar ended: how each session ended.
    """

    def __init__(self) -> None:
        self.work: Deferred[None] = Deferred()
        self.ended: list[str] = []
        self.started = 0
        self.lines: list[bytes] = []

    async def serve(self, stream: Stream) -> None:
        """One session."""
        self.started += 1
        how = "failed"
        try:
            stream.write(b"hello\r\n")
            while (line := await stream.readLine(1000)) != b"QUIT":
                self.lines.append(line)
                if line == b"LAST":
                    stream.write(CHUNK * 6)
                    break
                await self._command(stream, line)
            stream.write(b"bye\r\n")
            how = "quit"
        except SessionEnded as ended:
            stream.write(b"ended: %b\r\n" % ended.reason.encode())
            how = ended.reason
        finally:
            self.ended.append(how)

    async def _command(self, stream: Stream, line: bytes) -> None:
        name, _, argument = line.partition(b" ")
        if name == b"WAIT":
            await self.work
            stream.write(b"done\r\n")
        elif name == b"FAIL":
            raise RuntimeError("a bug in a session")
        elif name == b"BIG":
            for _ in range(int(argument)):
                stream.write(CHUNK)
                await stream.drain()
        elif name == b"TLS":
            stream.write(b"begin\r\n")
            stream.startTLS()
        elif name == b"INFO":
            info = stream.info
            text = f"{info.peer} {info.peerPort} {info.service} {info.secure} {info.tlsVersion}\r\n"
            stream.write(text.encode())
        else:
            stream.write(b"%b\r\n" % line)


class TalkTestCase(NetworkTestCase):
    """
    @ivar factory: serves L{Talk}.
    """

    def setUp(self) -> None:
        """Make the factory."""
        super().setUp()
        self.talk = Talk()
        self.factory = self.makeFactory()

    def makeFactory(self, **options: Any) -> MailFactory:
        """
        @return: a factory with these options.
        """
        options.setdefault("timeout", 60)
        options.setdefault("refusal", b"no room\r\n")
        return MailFactory(self.talk.serve, "talk", self.network, **options)

    def connect(self, peer: str = "192.0.2.1") -> Client:
        """
        @return: a client of the factory.
        """
        return self.network.connect(self.factory, peer)

    def assertClean(self) -> None:
        """Nothing is left of any connection: no protocol, no timer, no socket that is watched."""
        self.network.pump()
        self.assertEqual(self.factory.protocols, set())
        self.assertEqual(self.factory.refusals, set())
        self.assertEqual(self.factory._perPeer, {})
        self.assertEqual(self.network.getDelayedCalls(), [])
        self.assertEqual((self.network.readers, self.network.writers), ({}, {}))

    def assertLost(self, client: Client) -> None:
        """The server has closed the connection."""
        self.network.pump()
        self.assertIsNotNone(client.lost)


class ConnectionTests(TalkTestCase):
    """
    A connection from its beginning to its end.
    """

    def test_noDelay(self) -> None:
        """Replies leave at once (TCP_NODELAY), and a dead peer is noticed (SO_KEEPALIVE)."""
        client = self.connect()
        self.assertTrue(client.sock.options[socket.IPPROTO_TCP, socket.TCP_NODELAY])
        self.assertTrue(client.sock.options[socket.SOL_SOCKET, socket.SO_KEEPALIVE])

    def test_conversation(self) -> None:
        """Lines reach the session, its replies reach the client, and its end closes."""
        client = self.connect()
        self.assertEqual(client.take(), b"hello\r\n")
        self.assertEqual(client.send(b"one\r\ntwo\r\nth"), b"one\r\ntwo\r\n")
        self.assertEqual(client.send(b"ree\r\n"), b"three\r\n")
        self.assertIsNone(client.lost)
        self.assertEqual(client.send(b"QUIT\r\nnot run\r\n"), b"bye\r\n")
        self.assertLost(client)
        self.assertEqual(self.talk.lines, [b"one", b"two", b"three"])
        self.assertClean()

    def test_oneWrite(self) -> None:
        """The replies to what came in one piece go out in one piece."""
        client = self.connect()
        client.take()
        pieces: list[bytes] = []
        self.patch(client, "dataReceived", pieces.append)
        client.send(b"".join(b"%d\r\n" % n for n in range(100)))
        self.assertEqual(pieces, [b"".join(b"%d\r\n" % n for n in range(100))])

    def test_describe(self) -> None:
        """A session knows who it talks to."""
        self.assertIn(b"192.0.2.1 50000 talk False None\r\n", self.connect().send(b"INFO\r\n"))

    def test_unixSocket(self) -> None:
        """On a Unix socket the peer has no address: it is called local, and isn't counted."""
        self.factory.maxConnectionsPerPeer = 1
        for _ in range(2):
            protocol = self.factory.buildProtocol(UNIXAddress(None))
            transport = StringTransport(peerAddress=UNIXAddress(None))
            protocol.makeConnection(transport)
            protocol.dataReceived(b"INFO\r\n")
            self.assertEqual(transport.value(), b"hello\r\nlocal 0 talk False None\r\n")

    def test_peerLeaves(self) -> None:
        """When the client is gone the session ends, and nothing is left of it."""
        client = self.connect()
        client.transport.loseConnection()
        self.assertClean()
        self.assertEqual(len(self.talk.ended), 1)

    def test_peerLeavesAnywhere(self) -> None:
        """A client that vanishes after any octet leaves nothing behind, and no error."""
        script = b"one\r\nBIG 1\r\nINFO\r\nQUIT\r\n"
        for at in range(len(script)):
            client = self.connect()
            client.send(script[:at])
            client.transport.abortConnection()
            self.assertClean()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_peerLeavesDuringWork(self) -> None:
        """
        What a session is doing when the client vanishes is done to its end, and the connection
        counts until then.
        """
        client = self.connect()
        client.send(b"WAIT\r\nnot run\r\n")
        client.transport.abortConnection()
        self.network.pump()
        self.assertEqual((self.talk.ended, len(self.factory.protocols)), ([], 1))
        self.talk.work.callback(None)
        self.assertEqual((self.talk.ended, self.talk.lines), (["failed"], [b"WAIT"]))
        self.assertClean()

    def test_sessionFails(self) -> None:
        """A bug in a session is logged and closes that connection only."""
        other, client = self.connect(), self.connect()
        client.send(b"FAIL\r\n")
        self.assertLost(client)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(other.send(b"still\r\n"), b"hello\r\nstill\r\n")

    def test_timeout(self) -> None:
        """A client that says nothing for as long as the session allows is closed."""
        client = self.connect()
        self.network.wait(59)
        self.assertIsNone(client.lost)
        self.network.wait(1)
        self.assertEqual(client.take(), b"hello\r\nended: timeout\r\n")
        self.assertLost(client)
        self.assertClean()


class DirectTests(TalkTestCase):
    """
    What the socket takes at once leaves at once; nothing else about sending differs.
    """

    def test_atOnce(self) -> None:
        """A reply is on its way before the reactor turns, and nothing waits to be written."""
        client = self.connect()
        client.take()
        protocol = next(iter(self.factory.protocols))
        protocol.dataReceived(b"one\r\n")
        self.assertEqual(bytes(client.sock.peer.incoming), b"one\r\n")
        self.assertEqual(self.network.writers, {})

    def test_partly(self) -> None:
        """What the socket doesn't take follows later; what is sent meanwhile comes behind it."""
        client = self.connect()
        client.take()
        protocol = next(iter(self.factory.protocols))
        sent = client.sock.send

        def three(data: Any) -> int:
            return sent(bytes(data[:3]))

        self.patch(client.sock, "send", three)
        protocol.dataReceived(b"abcdef\r\n")
        self.assertEqual(bytes(client.sock.peer.incoming), b"abc")
        protocol.dataReceived(b"ghijkl\r\n")
        self.assertEqual(bytes(client.sock.peer.incoming), b"abc")
        self.network.pump()
        self.assertEqual(client.take(), b"abcdef\r\nghijkl\r\n")
        self.assertEqual(self.network.writers, {})

    def test_notAtAll(self) -> None:
        """A socket that takes nothing just now gets it when it does."""
        client = self.connect()
        client.take()
        protocol = next(iter(self.factory.protocols))
        client.sock.peer.incoming += b"x" * WINDOW
        protocol.dataReceived(b"one\r\n")
        self.assertEqual(len(client.sock.peer.incoming), WINDOW)
        self.network.pump()
        self.assertEqual(client.take(), b"x" * WINDOW + b"one\r\n")

    def test_peerGone(self) -> None:
        """An error of the socket ends the connection as any other loss does, once."""
        client = self.connect()
        protocol = next(iter(self.factory.protocols))

        def broken(data: Any) -> int:
            raise OSError(EPIPE, "nobody reads")

        self.patch(client.sock, "send", broken)
        protocol.dataReceived(b"one\r\n")
        self.assertIn(protocol, self.factory.protocols)
        self.network.pump()
        self.assertClean()
        self.assertEqual(self.talk.ended, ["failed"])

    def test_aborted(self) -> None:
        """A connection that was cut off sends nothing more, whatever its session says."""
        client = self.connect()
        client.take()
        client.send(b"WAIT\r\n")
        protocol = next(iter(self.factory.protocols))
        protocol._abort()
        self.talk.work.callback(None)
        self.assertEqual(bytes(client.sock.peer.incoming), b"")
        self.network.pump()
        self.assertClean()

    def test_insideTLS(self) -> None:
        """After STARTTLS nothing goes past it."""
        self.factory = self.makeFactory(tls=self.makeCertificate())
        client = self.connect()
        client.send(b"TLS\r\n")
        client.startTLS()
        self.network.pump()
        client.take()
        protocol = next(iter(self.factory.protocols))
        wire: list[bytes] = []
        sent = client.sock.send

        def note(data: Any) -> int:
            wire.append(bytes(data))
            return sent(data)

        self.patch(client.sock, "send", note)
        self.assertEqual(client.send(b"secret\r\n"), b"secret\r\n")
        self.assertTrue(wire)
        self.assertNotIn(b"secret", b"".join(wire))
        self.assertFalse(protocol._direct)


class BackPressureTests(TalkTestCase):
    """
    Peers that don't read, or send without end.
    """

    def test_peerDoesNotRead(self) -> None:
        """A session waits for a client that doesn't read; what waits for it is bounded."""
        client = self.connect()
        client.take()
        client.transport.pauseProducing()
        client.send(b"BIG 60\r\nQUIT\r\n")
        server = client.server
        held = len(server.dataBuffer) - server.offset + server._tempDataLen
        self.assertLess(held, 4 * len(CHUNK))
        self.assertEqual(self.talk.ended, [])
        client.transport.resumeProducing()
        self.network.pump()
        self.assertEqual(client.take(), CHUNK * 60 + b"bye\r\n")
        self.assertLost(client)
        self.assertClean()

    def test_peerNeverReads(self) -> None:
        """One that takes nothing for as long as the timeout is cut off."""
        client = self.connect()
        client.transport.pauseProducing()
        client.send(b"BIG 60\r\n")
        self.network.wait(59)
        self.assertTrue(self.factory.protocols)
        self.network.wait(1)
        self.network.wait(self.factory.closeTimeout)
        self.assertEqual(self.talk.ended, [SessionEnded.TIMEOUT])
        self.assertClean()

    def test_slowToTheEnd(self) -> None:
        """
        Closing doesn't cut off what a slow client is still taking: the time to close begins when
        it has taken nearly all.
        """
        client = self.connect()
        client.transport.pauseProducing()
        client.send(b"LAST\r\n")
        taken = 0
        while client.lost is None and taken < 10_000_000:
            self.network.wait(5)
            # 16 KB in five seconds.
            piece = client.transport.socket.recv(16384) if client.transport.socket.incoming else b""
            taken += len(piece)
            if not piece:
                client.transport.resumeProducing()
                self.network.pump()
        self.assertEqual(taken + len(client.received), len(b"bye\r\n") + 6 * len(CHUNK))

    def test_peerSendsWithoutEnd(self) -> None:
        """While a session works, no more is taken from its client than it may hold."""
        client = self.connect()
        client.send(b"WAIT\r\n")
        client.send(b"y" * 2_000_000)
        (protocol,) = self.factory.protocols
        self.assertLessEqual(protocol.stream.buffered, HIGH_WATER + len(CHUNK))
        self.assertEqual(len(client.sock.incoming), WINDOW)
        self.talk.work.callback(None)
        self.network.pump()
        self.assertIn(b"done\r\n", client.take())

    def test_sendsWhileClosing(self) -> None:
        """What a client sends when its session is over is neither run nor kept."""
        client = self.connect()
        (protocol,) = self.factory.protocols
        protocol.stream.close()
        protocol.dataReceived(b"z" * 1_000_000)
        self.assertEqual(protocol.stream.buffered, 0)
        self.assertLost(client)

    def test_pausedAndClosing(self) -> None:
        """
        A client that was asked to wait, and goes while its session ends, is noticed at once: the
        connection doesn't wait for the end of the time to close.
        """
        certificate = self.makeCertificate()
        factory = self.implicitTLS(self.factory, certificate)
        client = self.network.connect(factory)
        client.startTLS()
        client.send(b"WAIT\r\nQUIT\r\n" + b"y" * 500_000)
        self.talk.work.callback(None)
        self.assertLost(client)
        self.assertClean()


class LimitTests(TalkTestCase):
    """
    How many connections there may be, and what one too many is told.
    """

    def assertRefused(self, client: Client) -> None:
        """The client was told why and the connection closed."""
        self.assertEqual(client.take(), b"no room\r\n")
        self.assertLost(client)

    def assertServed(self, client: Client) -> None:
        """The client has a session."""
        self.assertEqual(client.take(), b"hello\r\n")
        self.assertIsNone(client.lost)

    def test_total(self) -> None:
        """Beyond maxConnections a client is told, and let in when another has left."""
        self.factory.maxConnections = 2
        first = self.connect()
        self.assertServed(self.connect("192.0.2.2"))
        self.assertRefused(self.connect("192.0.2.3"))
        self.assertRefused(self.connect("127.0.0.1"))
        first.send(b"QUIT\r\n")
        self.assertServed(self.connect("192.0.2.3"))

    def test_perPeer(self) -> None:
        """One address may have so many; others aren't concerned."""
        self.factory.maxConnectionsPerPeer = 2
        first = self.connect()
        self.connect()
        self.assertRefused(self.connect())
        self.assertServed(self.connect("192.0.2.2"))
        first.transport.loseConnection()
        self.network.pump()
        self.assertServed(self.connect())
        self.assertRefused(self.connect())

    def test_perNetwork(self) -> None:
        """An IPv6 /64 network counts as one peer: its owner has all its addresses."""
        self.factory.maxConnectionsPerPeer = 1
        self.assertServed(self.connect("2001:db8:1:2::1"))
        self.assertRefused(self.connect("2001:db8:1:2:ffff::9"))
        self.assertServed(self.connect("2001:db8:1:3::1"))

    def test_linkLocal(self) -> None:
        """An address with a scope is an address."""
        self.factory.maxConnectionsPerPeer = 1
        self.assertServed(self.connect("fe80::1%eth0"))
        self.assertRefused(self.connect("fe80::2%eth0"))

    def test_mapped(self) -> None:
        """
        IPv4 clients of an IPv6 socket (::ffff:192.0.2.1) are counted by their IPv4 address, not
        all together.
        """
        self.factory.maxConnectionsPerPeer = 1
        self.assertServed(self.connect("::ffff:192.0.2.1"))
        self.assertServed(self.connect("::ffff:192.0.2.2"))
        self.assertRefused(self.connect("::ffff:192.0.2.1"))
        self.assertRefused(self.connect("192.0.2.1"))

    def test_mappedIsIPv4(self) -> None:
        """Sessions, and so policies and logs, are told the IPv4 address of such a client."""
        for peer, told in (
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
        ):
            self.assertServed(self.connect(peer))
            (protocol,) = self.factory.protocols
            self.assertEqual((protocol.peer, protocol.describe().peer), (told, told))
            protocol.transport.abortConnection()
            self.network.pump()

    def test_loopback(self) -> None:
        """The machine itself may have as many as it likes."""
        self.factory.maxConnectionsPerPeer = 1
        for peer in ("127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"):
            for _ in range(3):
                self.assertServed(self.connect(peer))

    def test_notCounted(self) -> None:
        """Who is refused takes nobody's place, and nothing is left of it."""
        self.factory.maxConnections = 0
        for _ in range(5):
            self.assertRefused(self.connect())
        self.assertClean()

    def test_ownLimits(self) -> None:
        """Each service has its own limits."""
        self.factory.maxConnections = 0
        self.assertRefused(self.connect())
        self.assertServed(self.network.connect(self.makeFactory()))

    def test_refusedAndStays(self) -> None:
        """A client that is refused and doesn't go is cut off."""
        certificate = self.makeCertificate()
        self.factory.maxConnections = 0
        clients = [
            self.network.connect(self.implicitTLS(self.factory, certificate)) for _ in range(3)
        ]
        self.network.wait(self.factory.closeTimeout - 1)
        self.assertEqual(len(self.factory.refusals), 3)
        self.network.wait(1)
        for client in clients:
            self.assertLost(client)
        self.assertClean()

    def test_tooManyToTell(self) -> None:
        """When very many are being refused the next ones are just closed."""
        certificate = self.makeCertificate()
        self.factory.maxConnections = 0
        factory = self.implicitTLS(self.factory, certificate)
        for _ in range(MAX_REFUSALS):
            self.assertIsNone(self.network.connect(factory).lost)
        self.assertLost(self.network.connect(factory))
        self.assertEqual(len(self.factory.refusals), MAX_REFUSALS)
        self.network.wait(self.factory.closeTimeout)
        self.assertClean()


class ImplicitTLSTests(TalkTestCase):
    """
    TLS from the first octet.
    """

    def setUp(self) -> None:
        """Put the factory under TLS."""
        super().setUp()
        certificate = self.makeCertificate()
        self.under = self.implicitTLS(self.factory, certificate)

    def connect(self, peer: str = "192.0.2.1") -> Client:
        """
        @return: a client that hasn't begun its handshake.
        """
        return self.network.connect(self.under, peer)

    def test_conversation(self) -> None:
        """The session begins under TLS, and both sides close cleanly."""
        client = self.connect()
        self.assertEqual(self.talk.started, 0)
        client.startTLS()
        self.assertEqual(
            client.send(b"INFO\r\n"), b"hello\r\n192.0.2.1 50000 talk True TLSv1.3\r\n"
        )
        self.assertTrue(client.sock.options[socket.IPPROTO_TCP, socket.TCP_NODELAY])
        self.assertEqual(client.send(b"QUIT\r\n"), b"bye\r\n")
        self.assertLost(client)
        assert client.lost is not None
        self.assertTrue(client.lost.check(ConnectionDone))
        self.assertClean()

    def test_noHandshake(self) -> None:
        """A client that connects and never says a word is cut off; no session is begun for it."""
        client = self.connect()
        self.network.wait(self.factory.handshakeTimeout - 1)
        self.assertIsNone(client.lost)
        self.network.wait(1)
        self.assertLost(client)
        self.assertEqual(self.talk.started, 0)
        self.assertClean()

    def hello(self) -> bytes:
        """
        @return: a client's first TLS message.
        """
        client = self.connect()
        sent: list[bytes] = []
        self.patch(client.sock.peer, "send", lambda data: sent.append(bytes(data)) or len(data))
        client.startTLS()
        self.patch(client.sock.peer, "send", lambda data: len(data))
        client.transport.abortConnection()
        self.assertClean()
        return b"".join(sent)

    def test_halfHandshake(self) -> None:
        """Octets that trickle in don't prolong the time for the handshake."""
        hello = self.hello()
        client = self.connect()
        for at in range(29):
            client.send(hello[at : at + 1])
            self.network.wait(1)
        self.assertIsNone(client.lost)
        self.network.wait(1)
        self.assertLost(client)
        self.assertClean()

    def test_leavesInHandshake(self) -> None:
        """A client may vanish anywhere in its handshake; nothing is left, and no error."""
        hello = self.hello()
        for at in range(0, len(hello) + 1, 13):
            client = self.connect()
            client.send(hello[:at])
            client.transport.abortConnection()
            self.assertClean()
        self.assertEqual((self.talk.started, self.flushLoggedErrors()), (0, []))

    def test_plainText(self) -> None:
        """Somebody who speaks without TLS is closed without a session."""
        client = self.connect()
        client.send(b"EHLO there\r\n")
        self.assertLost(client)
        self.assertEqual(self.talk.started, 0)
        self.assertClean()

    def test_logged(self) -> None:
        """An operator sees who doesn't get through the handshake, and why."""
        with capturedLogs() as events:
            self.connect().send(b"EHLO there\r\n")
            self.connect("192.0.2.2")
            self.network.wait(self.factory.handshakeTimeout)
            client = self.connect("192.0.2.3")
            client.startTLS()
            client.send(b"QUIT\r\n")
        first, second = map(formatEvent, events)
        self.assertTrue(first.startswith("talk: the TLS handshake failed: peer=192.0.2.1 "))
        self.assertIn("SSL", first)
        self.assertEqual(second, "talk: no TLS handshake: peer=192.0.2.2")

    def test_refusal(self) -> None:
        """One too many gets the refusal under TLS, where its client can read it."""
        self.factory.maxConnections = 0
        client = self.connect()
        client.startTLS()
        self.assertEqual(client.take(), b"no room\r\n")
        self.assertLost(client)
        self.assertClean()

    def test_countsFromTheFirst(self) -> None:
        """Connections without a handshake count, so that they can't be had without limit."""
        self.factory.maxConnections = 1
        self.connect()
        client = self.connect("192.0.2.2")
        client.startTLS()
        self.assertEqual(client.take(), b"no room\r\n")

    def test_peerDoesNotClose(self) -> None:
        """A client that doesn't answer the close is cut off after a time."""
        client = self.connect()
        client.startTLS()
        client.transport.pauseProducing()
        client.send(b"QUIT\r\n")
        self.network.wait(self.factory.closeTimeout - 1)
        self.assertEqual((self.talk.ended, len(self.factory.protocols)), (["quit"], 1))
        self.network.wait(1)
        self.assertClean()

    def test_largeResponse(self) -> None:
        """Large responses come whole through TLS, also to a client that is slow."""
        client = self.connect()
        client.startTLS()
        client.take()
        client.transport.pauseProducing()
        client.send(b"BIG 30\r\nQUIT\r\n")
        self.assertEqual(self.talk.ended, [])
        client.transport.resumeProducing()
        self.network.pump()
        self.assertEqual(client.take(), CHUNK * 30 + b"bye\r\n")
        self.assertClean()

    def test_describeWhenLost(self) -> None:
        """What is known of a connection can still be asked, for the log, when it is gone."""
        client = self.connect()
        client.startTLS()
        (protocol,) = self.factory.protocols
        client.transport.abortConnection()
        self.network.pump()
        info = protocol.stream.info
        self.assertEqual((info.peer, info.service, info.secure), ("192.0.2.1", "talk", True))


class STARTTLSTests(TalkTestCase):
    """
    TLS in the midst of a session.
    """

    def setUp(self) -> None:
        """Give the factory a certificate."""
        super().setUp()
        self.factory = self.makeFactory(tls=self.makeCertificate())

    def test_conversation(self) -> None:
        """The same session goes on under TLS and knows it."""
        client = self.connect()
        self.assertEqual(
            client.send(b"INFO\r\nTLS\r\n"),
            b"hello\r\n192.0.2.1 50000 talk False None\r\nbegin\r\n",
        )
        client.startTLS()
        self.assertEqual(client.send(b"INFO\r\n"), b"192.0.2.1 50000 talk True TLSv1.3\r\n")
        self.assertEqual(client.send(b"one\r\nQUIT\r\n"), b"one\r\nbye\r\n")
        self.assertLost(client)
        self.assertEqual(self.talk.started, 1)
        self.assertClean()

    def test_injection(self) -> None:
        """
        Text behind STARTTLS (CVE-2011-0411) is never run: the connection is dropped, even before
        TLS is agreed to.
        """
        for behind in (b"INJECTED\r\n", b"x"):
            client = self.connect()
            client.take()
            self.assertEqual(client.send(b"TLS\r\n" + behind), b"")
            self.assertLost(client)
            self.assertClean()
        self.assertEqual(self.talk.lines, [b"TLS", b"TLS"])

    def test_noHandshake(self) -> None:
        """A client that agrees on TLS and doesn't begin it is cut off, whatever the timeout."""
        self.factory.timeout = 100_000
        client = self.connect()
        client.send(b"TLS\r\n")
        self.network.wait(self.factory.handshakeTimeout)
        self.assertLost(client)
        self.assertClean()

    def test_sessionEndsInHandshake(self) -> None:
        """A session that ends while the handshake goes on isn't begun again by its end."""
        self.factory.timeout = 5
        client = self.connect()
        client.send(b"TLS\r\n")
        self.network.advance(5)
        client.startTLS()
        self.assertLost(client)
        self.assertEqual((self.talk.started, self.talk.ended), (1, [SessionEnded.TIMEOUT]))
        self.assertClean()

    def test_plainText(self) -> None:
        """A client that goes on without TLS is closed, and what it says isn't run."""
        client = self.connect()
        client.send(b"TLS\r\n")
        client.send(b"one\r\n")
        self.assertLost(client)
        self.assertEqual(self.talk.lines, [b"TLS"])
        self.assertClean()

    def test_largeResponse(self) -> None:
        """The back-pressure of a client that doesn't read works under TLS too."""
        client = self.connect()
        client.send(b"TLS\r\n")
        client.startTLS()
        client.take()
        client.transport.pauseProducing()
        client.send(b"BIG 60\r\n")
        self.assertLess(client.server._tempDataLen + len(client.server.dataBuffer), 4 * len(CHUNK))
        client.transport.resumeProducing()
        self.network.pump()
        self.assertEqual(len(client.take()), 60 * len(CHUNK))
        self.assertEqual(client.send(b"one\r\n"), b"one\r\n")


class ShutDownTests(TalkTestCase):
    """
    The server stops.
    """

    def shutDown(self, patience: float = 10) -> list[object]:
        """
        @return: a list that has something in it when all is over.
        """
        over: list[object] = []
        self.factory.shutDown(patience).addCallback(over.append)
        self.network.pump()
        return over

    def test_nobody(self) -> None:
        """Without connections it is over at once."""
        self.assertTrue(self.shutDown())

    def test_goodbye(self) -> None:
        """Each session says goodbye and is closed."""
        clients = [self.connect() for _ in range(3)]
        self.assertTrue(self.shutDown())
        for client in clients:
            self.assertEqual(client.take(), b"hello\r\nended: shutdown\r\n")
            self.assertLost(client)
        self.assertClean()

    def test_finishesWork(self) -> None:
        """What is under way is finished and told to the client; then comes the goodbye."""
        client = self.connect()
        client.take()
        client.send(b"WAIT\r\nlater\r\n")
        over = self.shutDown()
        self.network.wait(9)
        self.assertEqual(over, [])
        self.talk.work.callback(None)
        self.network.pump()
        self.assertEqual(client.take(), b"done\r\nlater\r\nended: shutdown\r\n")
        self.assertTrue(over)
        self.assertClean()

    def test_patience(self) -> None:
        """
        Clients that don't go are cut off after a time; work that is still under way is waited for.
        """
        stubborn, working = self.connect(), self.connect()
        stubborn.transport.pauseProducing()
        stubborn.send(b"BIG 60\r\n")
        working.send(b"WAIT\r\n")
        over = self.shutDown(8)
        self.network.wait(8)
        self.assertLost(working)
        self.assertEqual(over, [])
        self.talk.work.callback(None)
        self.network.pump()
        self.assertTrue(over)
        self.assertClean()

    def test_asleep(self) -> None:
        """A client that gets its goodbye and doesn't close holds up the end for a moment only."""
        certificate = self.makeCertificate()
        client = self.network.connect(self.implicitTLS(self.factory, certificate))
        client.startTLS()
        self.network.pump()
        client.transport.pauseProducing()
        over = self.shutDown()
        self.assertEqual(over, [])
        self.network.wait(GOODBYE_TIMEOUT)
        self.assertTrue(over)
        self.assertEqual(self.talk.ended, ["shutdown"])
        self.assertClean()

    def test_inHandshake(self) -> None:
        """Connections that have no session yet don't hold up the end."""
        certificate = self.makeCertificate()
        client = self.network.connect(self.implicitTLS(self.factory, certificate))
        self.assertTrue(self.shutDown())
        self.assertLost(client)
        self.assertClean()

    def test_inSTARTTLS(self) -> None:
        """Nor do those in the midst of STARTTLS."""
        self.factory.tls = self.makeCertificate()
        client = self.connect()
        client.send(b"TLS\r\n")
        self.assertTrue(self.shutDown())
        self.assertLost(client)
        self.assertClean()

    def test_refused(self) -> None:
        """Nor those that are being refused."""
        certificate = self.makeCertificate()
        self.factory.maxConnections = 0
        client = self.network.connect(self.implicitTLS(self.factory, certificate))
        self.assertTrue(self.shutDown())
        self.assertLost(client)
        self.assertClean()

    def test_newConnections(self) -> None:
        """Who comes while the server stops is refused."""
        self.connect().send(b"WAIT\r\n")
        self.shutDown()
        client = self.connect()
        self.assertEqual(client.take(), b"no room\r\n")
        self.assertLost(client)

    def test_lostMeanwhile(self) -> None:
        """A client that goes of its own accord while the server stops is one less to wait for."""
        client = self.connect()
        client.send(b"WAIT\r\n")
        over = self.shutDown()
        client.transport.abortConnection()
        self.network.pump()
        self.assertEqual(over, [])
        self.talk.work.callback(None)
        self.assertTrue(over)
        self.assertClean()


class TransportTests(NetworkTestCase):
    """
    The protocol alone, on a transport that only records.
    """

    def test_window(self) -> None:
        """
        The window of a stream is that of the socket: what is read at a time, and what may wait to
        be sent. Implicit TLS has the socket's transport below its own.
        """
        factory = MailFactory(Talk().serve, "talk", self.network)
        for isWrapped in (False, True):
            socket = FileDescriptor(self.network)
            protocol: Any = factory.buildProtocol(None)
            protocol.transport = StringTransport()
            if isWrapped:
                protocol.transport.transport = socket
            else:
                protocol.transport = socket
            protocol.setWindow(1234)
            self.assertEqual(socket.bufferSize, 1234)
        # Others have nothing of the kind.
        protocol.transport = StringTransport()
        protocol.setWindow(1234)

    def test_producer(self) -> None:
        """
        The protocol is its transport's streaming producer while the session lasts, and no longer:
        a transport with a producer never closes.
        """
        talk = Talk()
        factory = MailFactory(talk.serve, "talk", self.network)
        protocol = factory.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        self.assertIs(transport.producer, protocol)
        self.assertTrue(transport.streaming)
        protocol.dataReceived(b"QUIT\r\n")
        self.assertIsNone(transport.producer)
        self.assertTrue(transport.disconnecting)
        protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.network.getDelayedCalls(), [])
