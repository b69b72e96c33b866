"""
The PROXY protocol, by the examples and rules of HAProxy's proxy-protocol.txt.
"""

from __future__ import annotations

import struct
from ipaddress import ip_network
from typing import Any

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.net.network import NetworkTestCase
from twisted_mailstack.net.protocol import MailFactory
from twisted_mailstack.net.proxy import BadHeader, ProxyFactory, parseHeader
from twisted_mailstack.wire.stream import Stream

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V4 = SIGNATURE + struct.pack(
    "!BBH4B4BHH", 0x21, 0x11, 12, 203, 0, 113, 7, 198, 51, 100, 1, 4711, 25
)
V6 = (
    SIGNATURE
    + struct.pack("!BBH", 0x21, 0x21, 36)
    + bytes.fromhex("20010db8000000000000000000000007")
    + bytes.fromhex("20010db8000000000000000000000001")
    + struct.pack("!HH", 4711, 25)
)
LINE4 = b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 25\r\n"
LINE6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 25\r\n"


class HeaderTests(SynchronousTestCase):
    """
    L{parseHeader}.
    """

    def test_source(self) -> None:
        """Both versions say where the connection comes from; what is behind them isn't theirs."""
        for header, host in (
            (LINE4, "203.0.113.7"),
            (LINE6, "2001:db8::7"),
            (V4, "203.0.113.7"),
            (V6, "2001:db8::7"),
            # Behind the addresses there may be more (§2.2.7), which is passed over.
            (V4[:14] + struct.pack("!H", 17) + V4[16:] + b"\x04\0\x02ab", "203.0.113.7"),
        ):
            for behind in (b"", b"EHLO x\r\n"):
                found = parseHeader(header + behind)
                assert found is not None and found[0] is not None
                self.assertEqual((found[0].host, found[0].port), (host, 4711))
                self.assertEqual(found[1], len(header))

    def test_pieces(self) -> None:
        """Every beginning of a header is waited upon."""
        for header in (LINE4, LINE6, V4, V6):
            for size in range(len(header)):
                self.assertIsNone(parseHeader(header[:size]), header[:size])

    def test_unknown(self) -> None:
        """What the balancer can't or won't say is its own connection (§2.1, §2.2)."""
        local = SIGNATURE + struct.pack("!BBH", 0x20, 0, 0)
        for header in (
            b"PROXY UNKNOWN\r\n",
            b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
            local,
            SIGNATURE + struct.pack("!BBH", 0x20, 0x11, 12) + V4[16:],
            SIGNATURE + struct.pack("!BBH", 0x21, 0x00, 3) + b"abc",
        ):
            self.assertEqual(parseHeader(header), (None, len(header)))

    def test_malformed(self) -> None:
        """Everything else is none."""
        for data in (
            b"EHLO x\r\n",
            b"\x16\x03\x01",
            b"PROXY TCP4 203.0.113.7 198.51.100.1 4711\r\n",
            b"PROXY TCP4 203.0.113.7 198.51.100.1 65536 25\r\n",
            b"PROXY TCP4 2001:db8::7 198.51.100.1 1 25\r\n",
            b"PROXY TCP6 203.0.113.7 198.51.100.1 1 25\r\n",
            b"PROXY TCP4 nowhere 198.51.100.1 1 25\r\n",
            b"PROXY TCP5 203.0.113.7 198.51.100.1 1 25\r\n",
            b"PROXY " + b"x" * 101,
            SIGNATURE + struct.pack("!BBH", 0x31, 0x11, 12) + V4[16:],
            SIGNATURE + struct.pack("!BBH", 0x22, 0x11, 12) + V4[16:],
            SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 4) + b"abcd",
            SIGNATURE + struct.pack("!BBH", 0x21, 0x12, 12) + V4[16:],
        ):
            self.assertRaises(BadHeader, parseHeader, data)


class ProxyFactoryTests(NetworkTestCase):
    """
    L{ProxyFactory} in front of a mail server's factory.
    """

    BALANCER = "192.0.2.9"

    def setUp(self) -> None:
        """A server that says who it talks to."""
        super().setUp()

        async def serve(stream: Stream) -> None:
            info = stream.info
            stream.write(b"hello %b %d %r\r\n" % (info.peer.encode(), info.peerPort, info.secure))
            while True:
                line = await stream.readLine(1000)
                if line == b"STARTTLS":
                    stream.startTLS()
                else:
                    stream.write(b"%b %r\r\n" % (line, stream.info.secure))

        self.tls = self.makeCertificate()
        self.inner = MailFactory(
            serve, "smtp", self.network, tls=self.tls, maxConnectionsPerPeer=1, refusal=b"full\r\n"
        )
        self.factory = self.front(self.inner)

    def front(self, factory: Any) -> ProxyFactory:
        """
        @return: it behind a balancer.
        """
        return ProxyFactory(factory, [ip_network("192.0.2.8/31")], self.network, "smtp")

    def test_believed(self) -> None:
        """The session begins when the header is there, and knows the client's address."""
        for header in (LINE4, V4):
            client = self.network.connect(self.factory, self.BALANCER)
            self.assertEqual(client.send(header[:-1]), b"")
            self.assertEqual(client.send(header[-1:]), b"hello 203.0.113.7 4711 False\r\n")
            self.assertEqual(client.send(b"x\r\n"), b"x False\r\n")
            client.transport.loseConnection()
            self.network.pump()

    def test_behind(self) -> None:
        """What came in one piece with the header is the client's first line."""
        client = self.network.connect(self.factory, self.BALANCER)
        self.assertEqual(
            client.send(LINE6 + b"x\r\n"), b"hello 2001:db8::7 4711 False\r\nx False\r\n"
        )

    def test_limits(self) -> None:
        """Limits are the client's, not the balancer's."""
        first = self.network.connect(self.factory, self.BALANCER)
        self.assertIn(b"hello", first.send(LINE4))
        second = self.network.connect(self.factory, self.BALANCER)
        self.assertEqual(second.send(LINE4), b"full\r\n")
        other = self.network.connect(self.factory, self.BALANCER)
        self.assertIn(b"hello", other.send(LINE6))

    def test_direct(self) -> None:
        """Who isn't a balancer has nothing to say in front, and isn't believed."""
        client = self.network.connect(self.factory, "192.0.2.10")
        self.assertEqual(client.take(), b"hello 192.0.2.10 50000 False\r\n")
        self.assertEqual(client.send(LINE4), LINE4[:-2] + b" False\r\n")

    def test_required(self) -> None:
        """A balancer that sends something else, or nothing for too long, is cut off."""
        with capturedLogs() as captured:
            client = self.network.connect(self.factory, self.BALANCER)
            self.assertEqual(client.send(b"EHLO x\r\n"), b"")
            self.assertIsNotNone(client.lost)
            client = self.network.connect(self.factory, self.BALANCER)
            self.network.wait(9.9)
            self.assertIsNone(client.lost)
            self.network.wait(0.2)
            self.assertIsNotNone(client.lost)
        said = [formatEvent(event) for event in captured]
        self.assertEqual(
            said,
            [
                "smtp: neither version of the PROXY protocol: balancer=192.0.2.9",
                "smtp: no PROXY header came: balancer=192.0.2.9",
            ],
        )

    def test_health(self) -> None:
        """A balancer that speaks for itself is a client like others."""
        client = self.network.connect(self.factory, self.BALANCER)
        self.assertEqual(client.send(b"PROXY UNKNOWN\r\n"), b"hello 192.0.2.9 50000 False\r\n")

    def test_starttls(self) -> None:
        """STARTTLS works behind the header."""
        client = self.network.connect(self.factory, self.BALANCER)
        client.send(LINE4 + b"STARTTLS\r\n")
        client.startTLS()
        self.assertEqual(client.send(b"x\r\n"), b"x True\r\n")

    def test_implicitTLS(self) -> None:
        """The header comes before TLS (§2)."""
        client = self.network.connect(
            self.front(self.implicitTLS(self.inner, self.tls)), self.BALANCER
        )
        client.send(LINE4)
        client.startTLS()
        self.assertEqual(client.take(), b"hello 203.0.113.7 4711 True\r\n")

    def test_goesAway(self) -> None:
        """A connection that ends before its header leaves nothing."""
        client = self.network.connect(self.factory, self.BALANCER)
        client.send(LINE4[:10])
        client.transport.loseConnection()
        self.network.pump()
        self.assertEqual(self.network.getDelayedCalls(), [])
        self.assertEqual(self.inner.protocols, set())
