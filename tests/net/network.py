"""
A network in memory: Twisted's own TCP transports on sockets that are two buffers, and a reactor
that is a L{Clock} which is pumped until nothing moves. So closing, pausing, aborting and STARTTLS
are those of a real server, without a port.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EPIPE, EWOULDBLOCK
from itertools import count
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.protocols import tls
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from twisted_mailstack.net.tls import Certificate, selfSigned

#: What the network holds between a sender and a receiver that doesn't read.
WINDOW = 256 * 1024


class MemorySocket:
    """
    One end of a connection.

    @ivar options: what was set, by (level, name).
    """

    _numbers = count(1_000_000)

    def __init__(self) -> None:
        self.peer: MemorySocket = self
        self.incoming = bytearray()
        self.closed = False
        self.options: dict[tuple[int, int], object] = {}
        self._number = next(self._numbers)

    def setblocking(self, blocking: bool) -> None:
        """See socket."""

    def fileno(self) -> int:
        """See socket."""
        return self._number

    def setsockopt(self, level: int, name: int, value: object) -> None:
        """See socket."""
        self.options[level, name] = value

    def getsockopt(self, level: int, name: int) -> object:
        """See socket."""
        return self.options.get((level, name), 0)

    def getsockname(self) -> tuple[str, int]:
        """See socket."""
        return "198.51.100.1", 110

    def recv(self, size: int) -> bytes:
        """See socket."""
        if not self.incoming:
            if self.peer.closed:
                return b""
            raise OSError(EWOULDBLOCK, "nothing there")
        data = bytes(self.incoming[:size])
        del self.incoming[:size]
        return data

    def send(self, data: Any) -> int:
        """See socket."""
        if self.peer.closed:
            raise OSError(EPIPE, "nobody reads")
        room = WINDOW - len(self.peer.incoming)
        if room <= 0:
            raise OSError(EWOULDBLOCK, "no room")
        self.peer.incoming += bytes(data[:room])
        return min(room, len(data))

    def shutdown(self, how: int) -> None:
        """See socket."""
        self.closed = True

    def close(self) -> None:
        """See socket."""
        self.closed = True


class ClientTransport(tcp._TLSClientMixin, tcp.Connection):  # type: ignore[misc]
    """
    The client's end.
    """

    _base = tcp.Connection

    def __init__(self, sock: Any, protocol: Any, reactor: Any) -> None:
        super().__init__(sock, protocol, reactor)
        self.logstr = "client"
        self.connected = 1
        self.startReading()

    def getHost(self) -> IPv4Address:
        """See ITransport."""
        return IPv4Address("TCP", "192.0.2.1", 50000)

    def getPeer(self) -> IPv4Address:
        """See ITransport."""
        return IPv4Address("TCP", "198.51.100.1", 110)


@implementer(IReactorFDSet)
class Network(Clock):
    """
    The reactor, and what connects clients to a server's factory.
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: dict[Any, None] = {}
        self.writers: dict[Any, None] = {}

    def addReader(self, reader: Any) -> None:
        """See IReactorFDSet."""
        self.readers[reader] = None

    def addWriter(self, writer: Any) -> None:
        """See IReactorFDSet."""
        self.writers[writer] = None

    def removeReader(self, reader: Any) -> None:
        """See IReactorFDSet."""
        self.readers.pop(reader, None)

    def removeWriter(self, writer: Any) -> None:
        """See IReactorFDSet."""
        self.writers.pop(writer, None)

    def removeAll(self) -> list[Any]:
        """See IReactorFDSet."""
        raise NotImplementedError

    getReaders = getWriters = removeAll

    def pump(self) -> None:
        """
        Move octets until nothing moves any more. The time doesn't.
        """
        for _ in range(100_000):
            moved = False
            for each in list(self.writers):
                if each in self.writers and not _stuck(each):
                    moved = True
                    self._turn(each, each.doWrite, False)
            for each in list(self.readers):
                if each in self.readers and _readable(each):
                    moved = True
                    self._turn(each, each.doRead, True)
            if any(call.getTime() <= self.seconds() for call in self.getDelayedCalls()):
                moved = True
                self.advance(0)
            if not moved:
                return
        raise AssertionError("the network doesn't come to rest")

    def _turn(self, transport: Any, work: Callable[[], Any], reading: bool) -> None:
        why = work()
        if why is not None:
            self.removeReader(transport)
            self.removeWriter(transport)
            if reading and why is CONNECTION_DONE:
                transport.readConnectionLost(Failure(why))
            else:
                transport.connectionLost(Failure(why))

    def wait(self, seconds: float) -> None:
        """
        Let time pass, in which octets move.
        """
        self.pump()
        self.advance(seconds)
        self.pump()

    def connect(self, factory: Any, peer: str = "192.0.2.1") -> Client:
        """
        @param peer: the address the client comes from.
        @return: a client whose connection the factory has accepted.
        """
        ours, theirs = MemorySocket(), MemorySocket()
        ours.peer, theirs.peer = theirs, ours
        kind = IPv6Address if ":" in peer else IPv4Address
        address = kind("TCP", peer, 50000)
        protocol = factory.buildProtocol(address)
        where = (peer, 50000, 0, 0) if ":" in peer else (peer, 50000)
        server = tcp.Server(theirs, protocol, where, None, 1, self)  # type: ignore[arg-type]
        client = Client(self, server, theirs)
        transport = ClientTransport(ours, client, self)
        client.makeConnection(transport)
        protocol.makeConnection(server)
        self.pump()
        return client


def _stuck(transport: Any) -> bool:
    sock = getattr(transport, "socket", None)
    return sock is not None and not sock.peer.closed and len(sock.peer.incoming) >= WINDOW


def _readable(transport: Any) -> bool:
    sock = getattr(transport, "socket", None)
    return sock is not None and bool(sock.incoming or sock.peer.closed)


class Client(Protocol):
    """
    A client that says what the test tells it.

    @ivar server: the server's transport.
    @ivar sock: the server's socket.
    @ivar received: what came from the server and wasn't taken.
    @ivar lost: why the connection is gone, C{None} while it is there.
    """

    transport: Any

    def __init__(self, network: Network, server: Any, sock: MemorySocket) -> None:
        self.network = network
        self.server = server
        self.sock = sock
        self.received = b""
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note it."""
        self.lost = reason

    def send(self, data: bytes) -> bytes:
        """
        @return: what the server said to it, or since the last call.
        """
        self.transport.write(data)
        self.network.pump()
        return self.take()

    def take(self) -> bytes:
        """
        @return: what came since the last call.
        """
        received, self.received = self.received, b""
        return received

    def startTLS(self, options: Any = None) -> None:
        """
        Begin TLS, as the client's side of it.
        """
        self.transport.startTLS(options or clientOptions())
        self.network.pump()

    @property
    def tls(self) -> SSL.Connection:
        """The client's TLS connection."""
        return self.transport.getHandle()


def clientOptions(**options: Any) -> CertificateOptions:
    """
    @return: a client's TLS that takes any certificate.
    """
    return CertificateOptions(**options)


class NetworkTestCase(SynchronousTestCase):
    """
    A test with a network of its own, in which TLS too takes its time from the network's clock.
    """

    def setUp(self) -> None:
        """Make the network."""
        self.network = Network()
        self.patch(tls, "_get_default_clock", lambda: self.network)

    def makeCertificate(self) -> Certificate:
        """
        @return: a self-signed one.
        """
        directory = Path(self.mktemp())
        directory.mkdir(parents=True)
        return selfSigned(directory, "mx.example.test")

    def implicitTLS(self, factory: Any, certificate: Any) -> Any:
        """
        @return: the factory under TLS from the first octet, as the server makes it.
        """
        return tls.TLSMemoryBIOFactory(certificate, False, factory)
