# -*- test-case-name: tests.relay.test_tlsrpt -*-
"""
What TLS reports are made of (RFC 8460): for each day, domain and policy, how many connections had
TLS as it should be, and how and where it failed.

Counters are gathered in memory and added to the durable ones every few seconds and at the end, so a
crash loses a few seconds of statistics and the way of the mail costs nothing. Reports themselves
are not sent from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from time import time
from typing import Any, NamedTuple, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

#: Seconds that counters are gathered.
GATHER = 10.0
#: Different counters that are gathered, while they can't be written.
MAX_GATHERED = 100_000
#: Days that are kept. A report is to be sent on the next day (RFC 8460 §4.1).
KEEP_DAYS = 14
#: What isn't a result type of RFC 8460 §4.3: it went as it should.
SUCCESS = "success"


class ReportedPolicy(NamedTuple):
    """
    The policy that held for connections (RFC 8460 §4.4).

    @ivar kind: C{tlsa}, C{sts} or C{no-policy-found}.
    @ivar domain: the domain that has it: for C{tlsa} the TLSA base domain (RFC 8460 §1.1).
    @ivar lines: its text: of a policy of MTA-STS its lines, of DANE the TLSA records.
    @ivar hosts: the C{mx} patterns of a policy of MTA-STS.
    """

    kind: str
    domain: str
    lines: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


class Session(NamedTuple):
    """
    A counter's name.

    @ivar day: as C{2026-10-31}, in UTC (RFC 8460 §4.1).
    @ivar domain: the recipients', to which the report will go.
    @ivar result: L{SUCCESS} or a result type of RFC 8460 §4.3.
    @ivar host: the mail exchanger, empty for successes; C{address} likewise.
    @ivar reason: what went wrong, for people.
    """

    day: str
    domain: str
    policy: ReportedPolicy
    result: str
    host: str = ""
    address: str = ""
    reason: str = ""


class ISessionCounters(Protocol):
    """
    Counters that last: L{twisted_mailstack.relay.records.RelayRecords}.
    """

    def addSessions(self, counted: Mapping[Session, int], keepFrom: str) -> None:
        """
        Add to the counters, in one step.

        @param keepFrom: the first day that is of interest; what is older may be forgotten.
        @raise Exception: if it can't be done now; nothing was added.
        """

    def sessions(self, day: str) -> Iterable[tuple[Session, int]]:
        """
        All counters of a day.
        """


def dayOf(seconds: float) -> str:
    """
    @param seconds: since 1970.
    @return: the day in UTC, as C{2026-10-31}.
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


class SessionCounter:
    """
    Counts.
    """

    log = Logger()

    def __init__(
        self, counters: ISessionCounters, clock: IReactorTime, now: Callable[[], float] = time
    ) -> None:
        """
        @param clock: for the timer.
        @param now: seconds since 1970.
        """
        self._counters = counters
        self._clock = clock
        self._now = now
        self._gathered: dict[Session, int] = {}
        self._timer: IDelayedCall | None = None

    def count(
        self,
        domain: str,
        policy: ReportedPolicy,
        result: str,
        host: str = "",
        address: str = "",
        reason: str = "",
    ) -> None:
        """
        Count one connection. See L{Session}.
        """
        day = dayOf(self._now())
        if result == SUCCESS:
            session = Session(day, domain, policy, result)
        else:
            session = Session(day, domain, policy, result, host, address, reason)
        if session in self._gathered or len(self._gathered) < MAX_GATHERED:
            self._gathered[session] = self._gathered.get(session, 0) + 1
        if self._timer is None:
            self._timer = self._clock.callLater(GATHER, self.flush)

    def flush(self) -> None:
        """
        Make durable what was counted.
        """
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if not self._gathered:
            return
        keepFrom = dayOf(self._now() - KEEP_DAYS * 86400)
        try:
            self._counters.addSessions(self._gathered, keepFrom)
        except Exception:
            # Mail is more important. They are added with the next.
            self.log.failure("the counters for TLS reports can't be written")
        else:
            self._gathered = {}


def reportPolicies(counted: Iterable[tuple[Session, int]]) -> dict[str, list[dict[str, Any]]]:
    """
    @param counted: of one day, as L{ISessionCounters.sessions} gives it.
    @return: for each domain the array C{policies} of its report (RFC 8460 §4.4), sorted; what
        C{json.dumps} takes.
    """
    domains: dict[str, dict[ReportedPolicy, dict[str, Any]]] = {}
    for session, number in sorted(counted):
        policies = domains.setdefault(session.domain, {})
        entry = policies.get(session.policy)
        if entry is None:
            entry = policies[session.policy] = _entry(session.policy)
        if session.result == SUCCESS:
            entry["summary"]["total-successful-session-count"] += number
            continue
        entry["summary"]["total-failure-session-count"] += number
        details = {
            "result-type": session.result,
            "receiving-mx-hostname": session.host,
            "receiving-ip": session.address,
            "failed-session-count": number,
            "failure-reason-code": session.reason,
        }
        entry["failure-details"].append({key: value for key, value in details.items() if value})
    return {domain: list(policies.values()) for domain, policies in domains.items()}


def _entry(policy: ReportedPolicy) -> dict[str, Any]:
    described: dict[str, Any] = {"policy-type": policy.kind, "policy-domain": policy.domain}
    if policy.lines:
        described["policy-string"] = list(policy.lines)
    if policy.hosts:
        described["mx-host"] = list(policy.hosts)
    return {
        "policy": described,
        "summary": {"total-successful-session-count": 0, "total-failure-session-count": 0},
        "failure-details": [],
    }
