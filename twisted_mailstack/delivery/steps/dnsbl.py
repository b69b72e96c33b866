# -*- test-case-name: tests.delivery.steps.test_dnsbl -*-
"""
C{dnsbl}: lists of clients that are asked by DNS (RFC 5782), several with weights.

A client's address is looked up in each list when it connects, in all at the same time. Lists that
have it add their weight; one that knows good clients has a negative weight. What the sum says is
told at RCPT, so that the postmaster can be reached (RFC 5321 §4.5.1), and in a field of messages
that are taken. A list that gives no answer, or not in time, has no opinion.

Clients on this machine, of private networks, of exempt networks, and who is logged in, are not
looked up, or what was found doesn't count.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple

from twisted.internet.defer import DeferredList, ensureDeferred
from twisted.logger import Logger

from twisted_mailstack.delivery.peers import Answers, within
from twisted_mailstack.delivery.policy import PolicyStep
from twisted_mailstack.delivery.step import (
    Exemptions,
    Network,
    StepProblem,
    StepRecord,
    StepServices,
    needLookup,
)
from twisted_mailstack.errors import LookupFailed, MailError, SyntaxProblem
from twisted_mailstack.interfaces import IStagedContent
from twisted_mailstack.model.address import parseDomain
from twisted_mailstack.model.records import ConnectionInfo, Envelope, Recipient

_POSTMASTER = "postmaster"
#   127.0.0.2 | 127.0.0.2-11 | 127.0.0.0/24 | &12
_RANGE = re.compile(r"(\d+\.\d+\.\d+\.)(\d+)-(\d+)")
_MASK = re.compile(r"&(\d{1,3})")
#: RFC 5782 §2.1: "within 127.0.0.0/8".
_ANSWERS = ip_network("127.0.0.0/8")
#: What is no listing, though it is an answer: RFC 5782 §5 keeps 127.0.0.1 free, and large lists say
#: with the last network that they don't serve the resolver that asks.
_NEVER = (ip_network("127.0.0.1"), ip_network("127.255.255.0/24"))
#: Networks that nobody can list: of private use, of carriers, of a link.
_PRIVATE = tuple(
    ip_network(each)
    for each in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"),
        *("fc00::/7", "fe80::/10"),
    )
)


class BlockList(NamedTuple):
    """
    @ivar zone: in which it is asked.
    @ivar weight: that a listed client gets.
    @ivar ranges: of answers that count, from and to; empty: all within 127.0.0.0/8 but those that
        no list uses for listings.
    @ivar mask: of bits in an answer's last octet, one of which must be set; 0: that isn't asked.
    """

    zone: str
    weight: int = 1
    ranges: tuple[tuple[IPv4Address, IPv4Address], ...] = ()
    mask: int = 0

    def lists(self, answer: IPv4Address) -> bool:
        """
        @return: whether an answer means that the client is listed.
        """
        if answer not in _ANSWERS or any(answer in network for network in _NEVER):
            return False
        if self.mask and not int(answer) & self.mask & 0xFF:
            return False
        return not self.ranges or any(low <= answer <= high for low, high in self.ranges)


def parseBlockList(text: str) -> BlockList:
    """
    Read a list as it is configured: C{zone[=answers][*weight]}, where the answers are separated by
    commas: C{127.0.0.2}, C{127.0.0.4-11}, C{127.0.1.0/24}, or C{&12} for bits of the last octet.

    @raise StepProblem: if it is none.
    """
    head, star, weight = text.partition("*")
    zone, equals, answers = head.partition("=")
    try:
        if (star and not weight) or (equals and not answers):
            raise ValueError
        name = parseDomain(zone.strip().rstrip("."))
        ranges = []
        mask = 0
        for each in answers.split(",") if equals else ():
            bits = _MASK.fullmatch(each.strip())
            if bits:
                mask |= int(bits.group(1))
            else:
                ranges.append(_range(each.strip()))
        if mask > 255:
            raise ValueError
        return BlockList(name, int(weight) if star else 1, tuple(ranges), mask)
    except (ValueError, SyntaxProblem):
        raise StepProblem(
            f"{text!r} is no DNS list: like zen.example.org, or zen.example.org=127.0.0.2-11*2"
        ) from None


def _range(text: str) -> tuple[IPv4Address, IPv4Address]:
    match = _RANGE.fullmatch(text)
    if match:
        head, low, high = match.groups()
        found = IPv4Address(head + low), IPv4Address(head + high)
    else:
        network = ip_network(text)
        if not isinstance(network.network_address, IPv4Address):
            raise ValueError
        found = network.network_address, IPv4Address(int(network.broadcast_address))
    if found[0] > found[1] or found[0] not in _ANSWERS or found[1] not in _ANSWERS:
        raise ValueError
    return found


def reversedAddress(address: IPv4Address | IPv6Address) -> str:
    """
    @return: the address as it stands before a list's zone: octets (RFC 5782 §2.1), or nibbles
        (§2.4), the last one first.
    """
    # The suffix is that of the tree of reverse DNS: .in-addr.arpa, .ip6.arpa.
    return address.reverse_pointer.rsplit(".", 2)[0]


@dataclass(frozen=True, kw_only=True)
class DNSBLSettings:
    """
    @ivar lists: to be asked.
    @ivar reject: the sum of weights from which on mail is refused; 0: never.
    @ivar mark: the sum from which on messages get the field C{X-DNSBL}; 0: never.
    @ivar timeout: seconds to wait for a list.
    @ivar exempt: networks of clients that are not looked up.
    """

    lists: tuple[BlockList, ...] = ()
    reject: int = 1
    mark: int = 0
    timeout: float = 5.0
    exempt: tuple[Network, ...] = ()


class Verdict(NamedTuple):
    """
    @ivar weight: the sum.
    @ivar zones: that list the client.
    """

    weight: int = 0
    zones: tuple[str, ...] = ()


class DNSBL(PolicyStep):
    """
    See the module.
    """

    log = Logger()

    def __init__(self, settings: DNSBLSettings, services: StepServices) -> None:
        self._settings = settings
        self._clock = services.clock
        self._lookup = needLookup(services)
        self._exemptions = Exemptions(settings.exempt)
        self._answers: Answers[Verdict] = Answers(self._ask, services.clock)

    def connection(self, info: ConnectionInfo) -> None:
        """See L{IPolicyStep}."""
        # Nobody waits for it before there is a recipient.
        if self._isLookedUp(info):
            self._answers.begin(info.peer)

    async def recipient(self, envelope: Envelope, recipient: Recipient) -> None:
        """See L{IPolicyStep}."""
        info = envelope.connection
        if (
            not self._settings.reject
            or envelope.authenticated is not None
            or recipient.address.localPart.lower() == _POSTMASTER
            or not self._isLookedUp(info)
        ):
            return
        verdict = await self._answers.get(info.peer)
        if verdict.weight >= self._settings.reject:
            zones = ", ".join(verdict.zones)
            raise MailError(
                f"{info.peer} is listed by {zones}", smtpCode=550, enhancedStatus="5.7.1"
            )

    async def message(
        self, envelope: Envelope, recipients: Collection[Recipient], content: IStagedContent
    ) -> bytes:
        """See L{IPolicyStep}."""
        info = envelope.connection
        if not self._settings.mark or envelope.authenticated or not self._isLookedUp(info):
            return b""
        verdict = await self._answers.get(info.peer)
        if verdict.weight < self._settings.mark:
            return b""
        zones = ",\r\n\t".join(verdict.zones)
        return f"X-DNSBL: {verdict.weight}; {zones}\r\n".encode()

    def _isLookedUp(self, info: ConnectionInfo) -> bool:
        address = self._exemptions.client(info.peer)
        return address is not None and not any(address in network for network in _PRIVATE)

    async def _ask(self, peer: str) -> Verdict:
        address = self._exemptions.client(peer)
        assert address is not None
        asked = [ensureDeferred(self._askOne(each, address)) for each in self._settings.lists]
        results = await DeferredList(asked, fireOnOneErrback=True)
        found = [
            each for each, (_, listed) in zip(self._settings.lists, results, strict=True) if listed
        ]
        return Verdict(sum(each.weight for each in found), tuple(each.zone for each in found))

    async def _askOne(self, each: BlockList, address: IPv4Address | IPv6Address) -> bool:
        name = f"{reversedAddress(address)}.{each.zone}"
        try:
            answer = await within(
                self._lookup.lookup(name, "A"), self._settings.timeout, self._clock
            )
        except LookupFailed:
            self.log.info("dnsbl: no answer from {zone} for {peer}", zone=each.zone, peer=address)
            return False
        return any(each.lists(_ipv4(record)) for record in answer.records)


def _ipv4(record: str) -> IPv4Address:
    address = ip_address(record)
    return address if isinstance(address, IPv4Address) else IPv4Address(0)


def _make(settings: DNSBLSettings, services: StepServices) -> DNSBL | None:
    if not settings.lists or not (settings.reject or settings.mark):
        return None
    return DNSBL(settings, services)


STEP = StepRecord(name="dnsbl", settings=DNSBLSettings, make=_make)
