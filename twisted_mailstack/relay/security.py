# -*- test-case-name: tests.relay.test_security -*-
"""
How well a connection to the next hop must be secured, and by what.

For mail exchangers, the first of these that there is:

    1. DANE (RFC 7672), if the resolver validates and the host has TLSA records;
    2. MTA-STS (RFC 8461), if the domain has a policy;
    3. what the route says: opportunistic by default (RFC 7435).

A message that demands it (REQUIRETLS, RFC 8689) goes only to a host that is vouched for, whatever
the domain's policy; one that waives it (TLS-Required) goes anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import time
from typing import Any, Protocol

from twisted_mailstack.errors import DestinationUnavailable, MailError
from twisted_mailstack.interfaces import IDNSLookup
from twisted_mailstack.model.queue import QueuedMessage
from twisted_mailstack.net.clienttls import ClientTLS, TLSAttempt
from twisted_mailstack.relay.dane import DANE, TLSARecords
from twisted_mailstack.relay.hosts import Exchangers, HostAddresses, HostFinder
from twisted_mailstack.relay.mtasts import PolicyFetcher, PolicyProblem, STSPolicies, STSPolicy
from twisted_mailstack.relay.records import RelayRecords
from twisted_mailstack.relay.routes import Route
from twisted_mailstack.relay.tlsrpt import SUCCESS, ReportedPolicy, SessionCounter

#: The file below the data directory in which policies and counters are kept.
RECORDS_FILE = "relay.sqlite"
_NO_POLICY = "no-policy-found"
# RFC 8460 §4.3 has no type for a host that isn't in the policy.
_MISMATCH = "validation-failure"


@dataclass(frozen=True)
class Security:
    """
    What holds for one connection.

    @ivar required: no mail without TLS. If not, it is used where it works.
    @ivar tls: makes the TLS connection, and verifies what is to be verified; C{None}: no TLS.
    @ivar authenticates: it is certain who the server is, with C{tls} where that is required.
    @ivar policy: where it comes from, for TLS-RPT; C{None}: from the configuration, which is
        nobody else's business.
    @ivar finding: what is wrong already, where that doesn't matter (a policy that is being tested).
    """

    required: bool
    tls: TLSAttempt | None
    authenticates: bool = False
    policy: ReportedPolicy | None = None
    finding: str = ""

    @property
    def isUsual(self) -> bool:
        """Whether nobody has asked for more than that TLS is used where it works."""
        kind = None if self.policy is None else self.policy.kind
        return not self.required and kind in (None, _NO_POLICY)


class SecurityUnmet(MailError):
    """
    A host can't give a message the security that it demands (RFC 8689 §4.2.1).
    """

    smtpCode = 550
    enhancedStatus = "5.7.10"
    text = "Encryption needed"


def demandsTLS(message: QueuedMessage) -> bool:
    """
    @return: whether it must go over TLS, to hosts that are known for certain (REQUIRETLS, RFC 8689
        §4.2.1). A notification goes all the same (RFC 8689 §5).
    """
    return "REQUIRETLS" in message.parameters and message.reversePath is not None


def waivesTLS(message: QueuedMessage) -> bool:
    """
    @return: whether its sender would rather have it arrive than go over TLS, whatever the policies
        of domains are (the header field TLS-Required, RFC 8689 §4.2.2).
    """
    waived = (message.parameters.get("TLS-REQUIRED") or "").lower() == "no"
    return waived and "REQUIRETLS" not in message.parameters


class ISecurityPolicy(Protocol):
    """
    Says how well connections are to be secured.
    """

    async def securityOf(
        self,
        route: Route,
        host: HostAddresses,
        port: int,
        exchangers: Exchangers | None,
        message: QueuedMessage,
    ) -> Security:
        """
        Asked for each connection.

        @param exchangers: of which the host is one; C{None}: it is a configured one.
        @param message: the first to be sent.
        @raise DestinationUnavailable: if that host must not be used now.
        @raise SecurityUnmet: if it is no host for this message.
        """

    def count(
        self, route: Route, security: Security, result: str, host: str, address: str, reason: str
    ) -> None:
        """
        Note how it went (TLS-RPT).

        @param result: C{success}, or a result type of RFC 8460 §4.3.
        @param reason: for people.
        """


class RelaySecurity:
    """
    See L{ISecurityPolicy}. What isn't given is not looked for.
    """

    def __init__(
        self,
        tls: ClientTLS,
        dane: DANE | None = None,
        sts: STSPolicies | None = None,
        counter: SessionCounter | None = None,
        closing: Callable[[], None] = lambda: None,
    ) -> None:
        """
        @param closing: called at the end of L{close}.
        """
        self._tls = tls
        self._dane = dane
        self._sts = sts
        self._counter = counter
        self._closing = closing

    def close(self) -> None:
        """
        Stop what goes on in the background, and make durable what was counted.
        """
        if self._sts is not None:
            self._sts.close()
        if self._counter is not None:
            self._counter.flush()
        self._closing()

    async def securityOf(
        self,
        route: Route,
        host: HostAddresses,
        port: int,
        exchangers: Exchangers | None,
        message: QueuedMessage,
    ) -> Security:
        """See L{ISecurityPolicy}."""
        demanded = demandsTLS(message)
        if route.path:
            # A socket of this machine: nobody is in between.
            return Security(False, None, True)
        if route.tls == "none" and not demanded:
            return Security(False, None)
        if exchangers is None:
            return self._byRoute(route, host.host, demanded, None)
        if waivesTLS(message):
            return self._byRoute(route, host.host, False, None)
        if self._dane is not None:
            try:
                tlsa = await self._dane.recordsOf(exchangers, host, port)
            except DestinationUnavailable as error:
                policy = ReportedPolicy("tlsa", host.name or host.host)
                self._count(exchangers.domain, policy, "dnssec-invalid", host.host, "", error.text)
                raise
            if tlsa is not None and tlsa.usable:
                return self._byDANE(tlsa)
        else:
            tlsa = None
        sts = None if self._sts is None else await self._sts.policyOf(exchangers.domain)
        if sts is not None and sts.mode != "none":
            return self._bySTS(route, sts, exchangers, host.host, demanded, tlsa is not None)
        if demanded and not exchangers.authenticated:
            # RFC 8689 §4.2.1: first the host's name must be certain, then its certificate.
            raise SecurityUnmet("It isn't certain which hosts take the mail of the domain")
        if tlsa is not None:
            policy = ReportedPolicy("tlsa", tlsa.base, tlsa.lines)
        else:
            policy = ReportedPolicy(_NO_POLICY, exchangers.domain)
        return self._byRoute(route, host.host, demanded, policy, tlsa is not None)

    def _byDANE(self, tlsa: TLSARecords) -> Security:
        policy = ReportedPolicy("tlsa", tlsa.base, tlsa.lines)
        return Security(True, self._tls.checked(tlsa.base, tlsa.check), True, policy)

    def _bySTS(
        self,
        route: Route,
        sts: STSPolicy,
        exchangers: Exchangers,
        host: str,
        demanded: bool,
        hasTLS: bool,
    ) -> Security:
        domain = exchangers.domain
        policy = ReportedPolicy("sts", domain, sts.lines, sts.patterns)
        if sts.covers(host):
            if sts.mode == "enforce" or demanded:
                return Security(True, self._tls.verified(host), True, policy)
            return self._byRoute(route, host, False, policy, hasTLS, self._tls.observed)
        reason = f"{host} is none of the hosts of the policy"
        if sts.mode == "enforce":
            self._count(domain, policy, _MISMATCH, host, "", reason)
            raise DestinationUnavailable(
                f"{host} is none of the hosts that the policy of {domain} (MTA-STS) allows",
                enhancedStatus="4.7.5",
            )
        if demanded:
            raise SecurityUnmet(f"{reason} of {domain}")
        return replace(self._byRoute(route, host, False, policy, hasTLS), finding=reason)

    def _byRoute(
        self,
        route: Route,
        host: str,
        demanded: bool,
        policy: ReportedPolicy | None,
        hasTLS: bool = False,
        otherwise: Callable[[str], TLSAttempt] | None = None,
    ) -> Security:
        """
        @param hasTLS: RFC 7672 §2.2: TLSA records that can't be used still say that there is TLS.
        @param otherwise: makes TLS where nothing is to be verified.
        """
        if demanded or route.tls in ("verified", "implicit"):
            return Security(True, self._tls.verified(host), True, policy)
        required = hasTLS or route.tls == "required"
        make = otherwise or self._tls.opportunistic
        return Security(required, make(host), False, policy)

    def count(
        self, route: Route, security: Security, result: str, host: str, address: str, reason: str
    ) -> None:
        """See L{ISecurityPolicy}."""
        if security.policy is None or route.domain is None:
            return
        if result == SUCCESS and security.finding:
            result, reason = _MISMATCH, security.finding
        self._count(route.domain, security.policy, result, host, address, reason)

    def _count(
        self,
        domain: str,
        policy: ReportedPolicy,
        result: str,
        host: str,
        address: str,
        reason: str,
    ) -> None:
        if self._counter is not None:
            self._counter.count(domain, policy, result, host, address, reason)


def makeSecurity(
    reactor: Any,
    dns: IDNSLookup,
    finder: HostFinder,
    data: Path,
    *,
    dane: bool = True,
    mtasts: bool = True,
    trustRoot: Any = None,
    now: Callable[[], float] = time,
) -> RelaySecurity:
    """
    Everything that there is; call its C{close} at the end.

    @param data: the directory in which L{RECORDS_FILE} is kept.
    @param dane: look for TLSA records. Without a resolver that validates none are found.
    @param mtasts: look for policies of MTA-STS.
    @param trustRoot: see L{ClientTLS}.
    @raise twisted_mailstack.relay.records.RecordsProblem: if the file can't be used.
    """
    records = RelayRecords(data / RECORDS_FILE)
    tls = ClientTLS(trustRoot)
    counter = SessionCounter(records, reactor, now)

    def unfetched(domain: str, problem: PolicyProblem) -> None:
        counter.count(domain, ReportedPolicy("sts", domain), problem.kind, reason=problem.text)

    sts = None
    if mtasts:
        fetch = PolicyFetcher(reactor, finder, tls)
        sts = STSPolicies(dns, fetch, records, now, unfetched)
    return RelaySecurity(tls, DANE(dns) if dane else None, sts, counter, records.close)
