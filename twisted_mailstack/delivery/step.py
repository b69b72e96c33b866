# -*- test-case-name: tests.delivery.test_registry -*-
"""
The records of which policies are made, and what several of them want: rates, times, networks.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from time import time
from typing import Any, NamedTuple

from twisted.internet.interfaces import IReactorTime

from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.interfaces import IDNSLookup, IKeyedMemory, IPolicyStep

Network = IPv4Network | IPv6Network


class StepProblem(ValueError):
    """Policies can't be made so; the text says what is wrong, in an operator's words."""


@dataclass(frozen=True, kw_only=True)
class StepServices:
    """
    What steps may use.

    @ivar hostname: what the server calls itself.
    @ivar clock: for timeouts and intervals.
    @ivar now: seconds since 1970.
    @ivar lookup: C{None}: there is no DNS.
    @ivar memory: C{None}: the store remembers nothing.
    """

    hostname: str
    resolver: Resolver
    clock: IReactorTime
    now: Callable[[], float] = time
    lookup: IDNSLookup | None = None
    memory: IKeyedMemory | None = None


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """
    A policy that can be had by its name.

    @ivar name: in the configuration.
    @ivar settings: makes its settings; what isn't given has its default.
    @ivar make: makes the step; C{None}: with these settings there is nothing to do.
    """

    name: str
    settings: Callable[..., Any]
    make: Callable[[Any, StepServices], IPolicyStep | None]


@dataclass(frozen=True)
class NoSettings:
    """Of steps that can only be there or not."""


def needLookup(services: StepServices) -> IDNSLookup:
    """
    @raise StepProblem: if there is no DNS.
    """
    if services.lookup is None:
        raise StepProblem("it needs DNS, and there is none")
    return services.lookup


def needMemory(services: StepServices) -> IKeyedMemory:
    """
    @raise StepProblem: if nothing is remembered.
    """
    if services.memory is None:
        raise StepProblem("it needs a store that remembers things, and this one doesn't")
    return services.memory


# --- rates -------------------------------------------------------------------------------------


class Rate(NamedTuple):
    """
    @ivar most: that many, also at once,
    @ivar seconds: in such a time.
    """

    most: int
    seconds: int


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_RATE = re.compile(r"([0-9]{1,9})/([0-9]{1,6})?([smhd])")


def parseRate(text: str) -> Rate | None:
    """
    @param text: like C{100/h} or C{20/10m}; empty for no limit.
    @raise StepProblem: if it is something else.
    """
    if not text:
        return None
    match = _RATE.fullmatch(text)
    if match is None or not int(match.group(1)) or match.group(2) == "0":
        raise StepProblem(f"{text!r} is no rate: like 100/h, 20/10m; units are s, m, h and d")
    most, number, unit = match.groups()
    return Rate(int(most), int(number or 1) * _UNITS[unit])


class Buckets:
    """
    Token buckets under keys: each is full at first, and fills at its rate. Bounded: the ones that
    were used longest ago are forgotten, which makes them full.
    """

    def __init__(self, rate: Rate, seconds: Callable[[], float], most: int = 100_000) -> None:
        """
        @param seconds: a time that only grows.
        """
        self._rate = rate
        self._seconds = seconds
        self._most = most
        # What is left of each, and when that was; in the order of use.
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key: str) -> bool:
        """
        @return: whether one could be taken.
        """
        now = self._seconds()
        most, seconds = self._rate
        left, before = self._buckets.pop(key, (float(most), now))
        left = min(float(most), left + (now - before) * most / seconds)
        # What is due to the last digit of a sum of fractions is due.
        taken = left >= 1 - 1e-9
        self._buckets[key] = (max(0.0, left - 1) if taken else left), now
        if len(self._buckets) > self._most:
            del self._buckets[next(iter(self._buckets))]
        return taken

    def __len__(self) -> int:
        return len(self._buckets)


# --- clients -----------------------------------------------------------------------------------


def clientAddress(peer: str) -> IPv4Address | IPv6Address | None:
    """
    @param peer: of a L{ConnectionInfo<twisted_mailstack.model.records.ConnectionInfo>}.
    @return: the address of a client on the net; C{None} for who is on this machine, and what has no
        address.
    """
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return None if address.is_loopback or address.is_unspecified else address


def clientNetwork(address: IPv4Address | IPv6Address) -> str:
    """
    @return: what counts as one client: a /24 or an IPv6 /64. Large senders have several addresses
        in one, and whoever has one IPv6 address has 2**64.
    """
    length = 24 if isinstance(address, IPv4Address) else 64
    return str(ip_network((address, length), strict=False))


@dataclass(frozen=True)
class Exemptions:
    """
    Clients that a step has nothing to say about, besides those on this machine.
    """

    networks: tuple[Network, ...] = field(default=())

    def client(self, peer: str) -> IPv4Address | IPv6Address | None:
        """
        @return: the address of a client that is not exempt.
        """
        address = clientAddress(peer)
        if address is None or any(address in network for network in self.networks):
            return None
        return address
