# -*- test-case-name: tests.delivery.steps.test_helo -*-
"""
C{helo}: what a client calls itself.

Deviation: RFC 5321 §4.1.4 has that a message MUST NOT be refused since the name isn't the client's.
So all of it is off unless the operator wants it. Clients on this machine, and who is logged in, may
call themselves as they like: mail programs don't know their names.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from twisted.internet.interfaces import IReactorTime

from twisted_mailstack.delivery.peers import within
from twisted_mailstack.delivery.policy import PolicyStep
from twisted_mailstack.delivery.step import (
    Exemptions,
    Network,
    StepRecord,
    StepServices,
    needLookup,
)
from twisted_mailstack.errors import LookupFailed, MailError, SyntaxProblem
from twisted_mailstack.interfaces import IDNSLookup
from twisted_mailstack.model.address import parseDomain
from twisted_mailstack.model.records import Envelope


@dataclass(frozen=True, kw_only=True)
class HeloSettings:
    """
    @ivar ours: refuse clients that say they were this server, or give an address that isn't theirs.
    @ivar qualified: refuse what is neither an address literal nor a name with a dot in it.
    @ivar resolves: refuse names that the DNS doesn't have.
    @ivar timeout: seconds to wait for the DNS; without an answer nothing is refused.
    @ivar exempt: networks of clients that may call themselves as they like.
    """

    ours: bool = False
    qualified: bool = False
    resolves: bool = False
    timeout: float = 5.0
    exempt: tuple[Network, ...] = ()


class Helo(PolicyStep):
    """
    See the module.
    """

    def __init__(self, settings: HeloSettings, services: StepServices) -> None:
        self._settings = settings
        self._hostname = services.hostname.lower()
        self._clock: IReactorTime = services.clock
        self._lookup: IDNSLookup | None = needLookup(services) if settings.resolves else None
        self._exemptions = Exemptions(settings.exempt)

    async def reversePath(self, envelope: Envelope) -> None:
        """See L{IPolicyStep}."""
        address = self._exemptions.client(envelope.connection.peer)
        if address is None or envelope.authenticated is not None:
            return
        try:
            name = parseDomain(envelope.helo)
        except SyntaxProblem:
            if self._settings.qualified:
                raise _refused(f"{envelope.helo} is no host name") from None
            return
        if name.startswith("["):
            literal = ip_address(name[1:-1].removeprefix("IPv6:"))
            if self._settings.ours and literal != address:
                raise _refused(f"{name} is not your address")
            return
        if self._settings.ours and name.rstrip(".") == self._hostname:
            raise _refused(f"{name} is this server, not you")
        if self._settings.qualified and "." not in name:
            raise _refused(f"{name} is not fully qualified")
        if self._lookup is not None and not await self._exists(self._lookup, name):
            raise _refused(f"There is no host {name}")

    async def _exists(self, lookup: IDNSLookup, name: str) -> bool:
        # Whatever it has: hosts are reached by MX records, too.
        try:
            answer = await within(lookup.lookup(name, "A"), self._settings.timeout, self._clock)
        except LookupFailed:
            return True
        return answer.exists


def _refused(text: str) -> MailError:
    return MailError(text, smtpCode=550, enhancedStatus="5.7.1")


def _make(settings: HeloSettings, services: StepServices) -> Helo | None:
    if settings.ours or settings.qualified or settings.resolves:
        return Helo(settings, services)
    return None


STEP = StepRecord(name="helo", settings=HeloSettings, make=_make)
