"""
A network in memory on which our side is the client: servers at addresses, that answer, refuse or
say nothing.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError, TimeoutError
from twisted.protocols import tls
from twisted.python.failure import Failure

from tests.net.network import ClientTransport, MemorySocket, Network, NetworkTestCase

#: Where nobody answers, and where connections are refused.
SILENT = "silent"
REFUSED = "refused"


class Transport(ClientTransport):
    """
    Our end of a connection.
    """

    def __init__(self, sock: Any, protocol: Any, network: Any, peer: Any) -> None:
        self.peer = peer
        super().__init__(sock, protocol, network)

    def getPeer(self) -> Any:
        """See ITransport."""
        return self.peer


class Connector:
    """
    An attempt to connect.
    """

    def __init__(self, internet: Internet, where: Any, factory: Any, timeout: float) -> None:
        self.where = where
        self._internet = internet
        self._factory = factory
        server = internet.servers.get(where, REFUSED)
        if server == SILENT:
            self._call = internet.callLater(timeout, self._fail, TimeoutError())
        elif server == REFUSED:
            self._call = internet.callLater(0, self._fail, ConnectionRefusedError())
        else:
            self._call = internet.callLater(0, self._connect, server)

    def _fail(self, error: Exception) -> None:
        self._factory.clientConnectionFailed(self, Failure(error))

    def _connect(self, server: Any) -> None:
        ours, theirs = MemorySocket(), MemorySocket()
        ours.peer, theirs.peer = theirs, ours
        self._internet.sockets.append(ours)
        if isinstance(self.where, str):
            peer: Any = UNIXAddress(self.where)
        else:
            kind = IPv6Address if ":" in self.where[0] else IPv4Address
            peer = kind("TCP", *self.where)
        accepted = server.buildProtocol(IPv4Address("TCP", "192.0.2.1", 50000))
        protocol = self._factory.buildProtocol(peer)
        where = ("192.0.2.1", 50000)
        transport = tcp.Server(theirs, accepted, where, None, 1, self._internet)  # type: ignore[arg-type]
        protocol.makeConnection(Transport(ours, protocol, self._internet, peer))
        accepted.makeConnection(transport)

    def getDestination(self) -> Any:
        """See IConnector."""
        return self.where

    def stopConnecting(self) -> None:
        """See IConnector."""
        self._call.cancel()


class Internet(Network):
    """
    @ivar servers: by (address, port) or path: a factory, L{SILENT} or L{REFUSED}, which is the
        default.
    @ivar attempts: where connections were tried, in order.
    @ivar sockets: our ends of the connections that were made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.servers: dict[Any, Any] = {}
        self.attempts: list[Any] = []
        self.sockets: list[MemorySocket] = []

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: object = None
    ) -> Connector:
        """See IReactorTCP."""
        return self._attempt((host, port), factory, timeout)

    def connectUNIX(
        self, address: str, factory: Any, timeout: float = 30, checkPID: bool = False
    ) -> Connector:
        """See IReactorUNIX."""
        return self._attempt(address, factory, timeout)

    def _attempt(self, where: Any, factory: Any, timeout: float) -> Connector:
        self.attempts.append(where)
        connector = Connector(self, where, factory, timeout)
        factory.doStart()
        factory.startedConnecting(connector)
        return connector

    @property
    def open(self) -> int:
        """How many connections of ours there are."""
        return sum(not sock.closed for sock in self.sockets)


class InternetTestCase(NetworkTestCase):
    """
    A test with such a network.

    @ivar internet: the network.
    """

    def setUp(self) -> None:
        """Make the network."""
        super().setUp()
        self.network = self.internet = Internet()
        self.patch(tls, "_get_default_clock", lambda: self.internet)

    def start(self, work: Any) -> Deferred[Any]:
        """
        Begin a coroutine, and let octets move.
        """
        result = Deferred.fromCoroutine(work)
        self.internet.pump()
        return result

    def result(self, work: Any) -> Any:
        """
        @return: what a coroutine returns.
        """
        return self.successResultOf(self.start(work))

    def assertIdle(self) -> None:
        """No connection is open, and nothing waits for its time."""
        self.internet.pump()
        self.assertEqual(self.internet.open, 0)
        self.assertEqual([str(call) for call in self.internet.getDelayedCalls()], [])
