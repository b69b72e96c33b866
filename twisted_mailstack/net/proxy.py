# -*- test-case-name: tests.net.test_proxy -*-
"""
The PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt): a load balancer says in front
of each connection where it really comes from.

It is believed of configured networks only, and of those it is demanded: a balancer that forgot it
would make everyone look like itself. The connection's own protocol begins when the header is there,
since a mail server speaks first and must know to whom.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

#: Seconds in which the header must come.
TIMEOUT = 10.0
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
#: Octets of a version 1 line, its end included (§2.1).
MAX_LINE = 107
#   PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535 CRLF
_LINE = re.compile(rb"PROXY (TCP4|TCP6) (\S+) (\S+) (\d{1,5}) (\d{1,5})\Z")
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: .*)?\Z")

PeerAddress = IPv4Address | IPv6Address


class BadHeader(Exception):
    """What came is no PROXY header."""


def parseHeader(data: bytes) -> tuple[PeerAddress | None, int] | None:
    """
    @return: the source (C{None}: the balancer itself, as for its health checks) and how many octets
        the header has; C{None} if it isn't there whole.
    @raise BadHeader: if it is none.
    """
    if data.startswith(_SIGNATURE[: len(data)]):
        return _parseBinary(data)
    if not data.startswith(b"PROXY "[: len(data)]):
        raise BadHeader("neither version of the PROXY protocol")
    end = data.find(b"\r\n", 0, MAX_LINE)
    if end < 0:
        if len(data) >= MAX_LINE:
            raise BadHeader("the PROXY line is too long")
        return None
    return _parseLine(data[:end]), end + 2


def _parseLine(line: bytes) -> PeerAddress | None:
    if _UNKNOWN.match(line):
        return None
    match = _LINE.match(line)
    if match is None:
        raise BadHeader("malformed PROXY line")
    family, source, destination, port, toPort = match.groups()
    if int(port) > 65535 or int(toPort) > 65535:
        raise BadHeader("a port is too large")
    version = 4 if family == b"TCP4" else 6
    try:
        addresses = [ip_address(each.decode("ascii")) for each in (source, destination)]
    except (ValueError, UnicodeDecodeError):
        raise BadHeader("not an address in the PROXY line") from None
    if any(each.version != version for each in addresses):
        raise BadHeader("the addresses are not of that family")
    return _address(version, str(addresses[0]), int(port))


def _address(version: int, host: str, port: int) -> PeerAddress:
    if version == 4:
        return IPv4Address("TCP", host, port)
    return IPv6Address("TCP", host, port)


def _parseBinary(data: bytes) -> tuple[PeerAddress | None, int] | None:
    if len(data) < 16:
        return None
    version, family, length = struct.unpack("!BBH", data[12:16])
    if version >> 4 != 2 or version & 15 > 1:
        raise BadHeader("unknown version or command")
    end = 16 + length
    if len(data) < end:
        return None
    if version & 15 == 0:
        # LOCAL: the balancer's own connection.
        return None, end
    body = data[16:end]
    # The transport must be STREAM; what is unspecified (0) counts as unknown (§2.2).
    if family == 0x11 and length >= 12:
        source, port = body[:4], struct.unpack("!H", body[8:10])[0]
        return _address(4, str(ip_address(source)), port), end
    if family == 0x21 and length >= 36:
        source, port = body[:16], struct.unpack("!H", body[32:34])[0]
        return _address(6, str(ip_address(source)), port), end
    if family in (0x00, 0x31):
        return None, end
    raise BadHeader("unknown family, or too few octets for it")


class ProxyFactory(Factory):
    """
    Stands in front of another factory.
    """

    noisy = False

    def __init__(
        self,
        wrapped: Any,
        networks: Collection[IPv4Network | IPv6Network],
        clock: IReactorTime,
        service: str = "",
        timeout: float = TIMEOUT,
    ) -> None:
        """
        @param wrapped: the factory (IProtocolFactory) that makes the connections' protocols, given
            the real source's address.
        @param networks: of the balancers.
        @param service: for logs.
        """
        self.wrapped = wrapped
        self.networks = tuple(networks)
        self.clock = clock
        self.service = service
        self.timeout = timeout

    def doStart(self) -> None:
        """See IProtocolFactory."""
        super().doStart()
        self.wrapped.doStart()

    def doStop(self) -> None:
        """See IProtocolFactory."""
        self.wrapped.doStop()
        super().doStop()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """
        @return: a balancer's connection, or at once the wrapped one.
        """
        if self._isBalancer(getattr(addr, "host", None)):
            return ProxyHeader(self, self.wrapped.buildProtocol)
        return self.wrapped.buildProtocol(addr)

    def _isBalancer(self, host: str | None) -> bool:
        try:
            address = ip_address((host or "").partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self.networks)


class ProxyHeader(Protocol):
    """
    Reads the header, then gives the transport to the protocol that is meant.
    """

    log = Logger()
    transport: Any

    def __init__(self, factory: ProxyFactory, build: Callable[[IAddress | None], Any]) -> None:
        self.factory = factory
        self._build = build
        self._buffer = b""
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Wait for the header."""
        factory: Any = self.factory
        self._timer = factory.clock.callLater(factory.timeout, self._refuse, "no PROXY header came")

    def dataReceived(self, data: bytes) -> None:
        """Octets of the header, and perhaps behind it."""
        self._buffer += data
        try:
            found = parseHeader(self._buffer)
        except BadHeader as problem:
            self._refuse(str(problem))
            return
        if found is None:
            return
        source, size = found
        self._stopTimer()
        rest, self._buffer = self._buffer[size:], b""
        transport = self.transport
        protocol = self._build(source if source is not None else transport.getPeer())
        if protocol is None:
            transport.abortConnection()
            return
        # From here on the transport is the other's: STARTTLS and all else work on the real one.
        transport.protocol = protocol
        protocol.makeConnection(transport)
        if rest:
            protocol.dataReceived(rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It went before its header was there."""
        self._stopTimer()

    def _stopTimer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _refuse(self, problem: str) -> None:
        self._stopTimer()
        factory: Any = self.factory
        self.log.warn(
            "{service}: {problem}: balancer={peer}",
            service=factory.service,
            problem=problem,
            peer=getattr(self.transport.getPeer(), "host", ""),
        )
        self.transport.abortConnection()
