# -*- test-case-name: tests.delivery.steps.test_reversedns -*-
"""
C{reverse-dns}: whether a client's address has a name that has this address (RFC 7601 §3, "iprev").

Names are looked up when the client connects, at most L{MAX_NAMES} of them (RFC 7601 §3 wants a
bound). What was found is told at RCPT, with the status of RFC 7372 §3.3 where it is a reason to
refuse, so that the postmaster can be reached (RFC 5321 §4.5.1), and in a field of messages that are
taken. Where the DNS gives no answer, or not in time, there is no opinion, and nothing is refused.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

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

MAX_NAMES = 10
OFF, HEADER, REJECT = "off", "header", "reject"
_POSTMASTER = "postmaster"
#   RFC 7601 §2.7.3
PASS, FAIL, NONE, UNKNOWN = "pass", "fail", "permerror", "temperror"
_REASONS = {FAIL: "has a name that isn't its own", NONE: "has no name"}


@dataclass(frozen=True, kw_only=True)
class ReverseDNSSettings:
    """
    @ivar action: C{"reject"} mail of clients that don't pass; C{"header"}: only the field
        C{X-Reverse-DNS} says what was found; C{"off"}.
    @ivar timeout: seconds for all look-ups together.
    @ivar exempt: networks of clients that are not looked up.
    """

    action: str = OFF
    timeout: float = 10.0
    exempt: tuple[Network, ...] = ()

    def __post_init__(self) -> None:
        if self.action not in (OFF, HEADER, REJECT):
            raise StepProblem(f'{self.action!r} must be "{OFF}", "{HEADER}" or "{REJECT}"')


class Finding(NamedTuple):
    """
    @ivar result: as in RFC 7601 §2.7.3.
    @ivar name: that was found; of one that passes the one that does.
    """

    result: str
    name: str = ""


class ReverseDNS(PolicyStep):
    """
    See the module.
    """

    def __init__(self, settings: ReverseDNSSettings, services: StepServices) -> None:
        self._settings = settings
        self._clock = services.clock
        self._lookup = needLookup(services)
        self._exemptions = Exemptions(settings.exempt)
        self._answers: Answers[Finding] = Answers(self._ask, services.clock)

    def connection(self, info: ConnectionInfo) -> None:
        """See L{IPolicyStep}."""
        if info.name is None and self._exemptions.client(info.peer) is not None:
            self._answers.begin(info.peer)

    async def recipient(self, envelope: Envelope, recipient: Recipient) -> None:
        """See L{IPolicyStep}."""
        if self._settings.action != REJECT or recipient.address.localPart.lower() == _POSTMASTER:
            return
        finding = await self._find(envelope)
        if finding is not None and finding.result in _REASONS:
            # RFC 7372 §3.3
            raise MailError(
                f"{envelope.connection.peer} {_REASONS[finding.result]} in the DNS",
                smtpCode=550,
                enhancedStatus="5.7.25",
            )

    async def message(
        self, envelope: Envelope, recipients: Collection[Recipient], content: IStagedContent
    ) -> bytes:
        """See L{IPolicyStep}."""
        finding = await self._find(envelope)
        if finding is None:
            return b""
        name = f" {finding.name}" if finding.name else ""
        return f"X-Reverse-DNS: {finding.result}{name}\r\n".encode()

    async def _find(self, envelope: Envelope) -> Finding | None:
        # None: nobody wants to know.
        info = envelope.connection
        if envelope.authenticated is not None or self._exemptions.client(info.peer) is None:
            return None
        if info.name is not None:
            # Somebody trusted has looked already.
            return Finding(PASS, info.name) if info.name else Finding(NONE)
        return await self._answers.get(info.peer)

    async def _ask(self, peer: str) -> Finding:
        address = self._exemptions.client(peer)
        assert address is not None
        try:
            return await within(self._look(address), self._settings.timeout, self._clock)
        except LookupFailed:
            return Finding(UNKNOWN)

    async def _look(self, address: IPv4Address | IPv6Address) -> Finding:
        kind = "A" if isinstance(address, IPv4Address) else "AAAA"
        answer = await self._lookup.lookup(address.reverse_pointer, "PTR")
        names = [name for each in answer.records[:MAX_NAMES] if (name := _name(each))]
        failed = False
        for name in names:
            try:
                forward = await self._lookup.lookup(name, kind)
            except LookupFailed:
                failed = True
                continue
            if any(ip_address(record) == address for record in forward.records):
                return Finding(PASS, name)
        if failed:
            return Finding(UNKNOWN)
        return Finding(FAIL, names[0]) if names else Finding(NONE)


def _name(text: str) -> str:
    # Whoever has an address can put anything there.
    try:
        name = parseDomain(text)
    except SyntaxProblem:
        return ""
    return "" if name.startswith("[") else name


def _make(settings: ReverseDNSSettings, services: StepServices) -> ReverseDNS | None:
    return None if settings.action == OFF else ReverseDNS(settings, services)


STEP = StepRecord(name="reverse-dns", settings=ReverseDNSSettings, make=_make)
