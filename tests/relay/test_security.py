"""
How well a connection must be secured: DANE, MTA-STS, the route, and what a message demands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.net.authority import Authority
from tests.relay.support import DNS, message
from tests.relay.test_dane import tlsa
from twisted_mailstack.errors import DestinationUnavailable
from twisted_mailstack.model.dns import TLSA
from twisted_mailstack.model.queue import QueuedMessage
from twisted_mailstack.net.clienttls import ClientTLS, TLSAttempt
from twisted_mailstack.relay.dane import DANE
from twisted_mailstack.relay.hosts import HostFinder
from twisted_mailstack.relay.mtasts import CachedPolicy, parsePolicy
from twisted_mailstack.relay.records import RelayRecords
from twisted_mailstack.relay.routes import Route, parseRoute
from twisted_mailstack.relay.security import (
    RECORDS_FILE,
    RelaySecurity,
    Security,
    SecurityUnmet,
    demandsTLS,
    makeSecurity,
    waivesTLS,
)
from twisted_mailstack.relay.tlsrpt import SUCCESS, ReportedPolicy, reportPolicies

DOMAIN = "example.org"
MX = "mx.example.org"
NONE = ReportedPolicy("no-policy-found", DOMAIN)


class TLS(ClientTLS):
    """
    Says which kind of TLS was made.
    """

    def __init__(self) -> None:
        super().__init__(Authority().trustRoot)
        self.made: list[tuple[str, str]] = []

    def opportunistic(self, hostname: str) -> TLSAttempt:
        """Note it."""
        self.made.append(("opportunistic", hostname))
        return super().opportunistic(hostname)

    def verified(self, hostname: str) -> TLSAttempt:
        """Note it."""
        self.made.append(("verified", hostname))
        return super().verified(hostname)

    def observed(self, hostname: str) -> TLSAttempt:
        """Note it."""
        self.made.append(("observed", hostname))
        return super().observed(hostname)

    def checked(self, hostname: str, check: Any) -> TLSAttempt:
        """Note it."""
        self.made.append(("checked", hostname))
        return super().checked(hostname, check)


class Counter:
    """
    @ivar counted: what was.
    """

    def __init__(self) -> None:
        self.counted: list[tuple[Any, ...]] = []
        self.flushes = 0

    def count(self, *what: Any) -> None:
        """See SessionCounter."""
        self.counted.append(what)

    def flush(self) -> None:
        """See SessionCounter."""
        self.flushes += 1


class Policies:
    """
    Knows the policy that the test says.
    """

    def __init__(self) -> None:
        self.policy: Any = None
        self.asked: list[str] = []
        self.closed = False

    async def policyOf(self, domain: str) -> Any:
        """See STSPolicies."""
        self.asked.append(domain)
        return self.policy

    def close(self) -> None:
        """See STSPolicies."""
        self.closed = True


class SecurityTests(SynchronousTestCase):
    """
    What holds for a connection.
    """

    record = tlsa(3, 1, 1, Authority().issue(MX))

    def setUp(self) -> None:
        """A domain with a mail exchanger, and nothing else."""
        self.tls = TLS()
        self.dns = DNS()
        self.finder = HostFinder(self.dns)
        self.policies = Policies()
        self.counter = Counter()
        self.closed = 0
        self.security = RelaySecurity(
            self.tls,
            DANE(self.dns),
            self.policies,  # type: ignore[arg-type]
            self.counter,  # type: ignore[arg-type]
            self.closing,
        )
        self.dns.mx(DOMAIN, (10, MX))
        self.dns.host(MX, "192.0.2.1")

    def closing(self) -> None:
        """The end."""
        self.closed += 1

    def sign(self, *records: TLSA) -> None:
        """The domain and its host are signed, and have these records."""
        self.dns.signed = True
        self.dns.mx(DOMAIN, (10, MX))
        self.dns.host(MX, "192.0.2.1")
        self.dns.add(f"_25._tcp.{MX}", "TLSA", *records)

    def policy(self, mode: str, mx: str = MX) -> ReportedPolicy:
        """
        The domain has this policy.

        @return: as it is reported.
        """
        text = f"version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: 1\n"
        self.policies.policy = parsePolicy(text.encode())
        return ReportedPolicy("sts", DOMAIN, tuple(text.splitlines()), (mx,))

    def ask(
        self,
        route: str = "mx",
        demanded: bool = False,
        security: RelaySecurity | None = None,
        sent: QueuedMessage | None = None,
    ) -> Deferred[Security]:
        """
        @return: fires with what holds for a connection by that route.
        """
        parsed = parseRoute(route)
        if parsed.byMX:
            parsed = Route(DOMAIN, domain=DOMAIN, tls=parsed.tls)
        parameters: dict[str, str | None] = {"REQUIRETLS": None} if demanded else {}

        async def ask() -> Security:
            exchangers = await self.finder.exchangers(DOMAIN) if parsed.domain else None
            host = await self.finder.addresses(MX if exchangers else parsed.host)
            return await (security or self.security).securityOf(
                parsed, host, 25, exchangers, sent or message(**parameters)
            )

        self.tls.made.clear()
        return Deferred.fromCoroutine(ask())

    def assertSecurity(
        self,
        kind: str | None,
        required: bool,
        policy: ReportedPolicy | None,
        route: str = "mx",
        demanded: bool = False,
    ) -> Security:
        """
        That holds.

        @param kind: of TLS, C{None} for none.
        """
        found = self.successResultOf(self.ask(route, demanded))
        self.assertEqual([made for made, _ in self.tls.made], [] if kind is None else [kind])
        self.assertEqual(found.tls is None, kind is None)
        self.assertEqual(found.required, required)
        self.assertEqual(found.policy, policy)
        if kind is not None:
            self.assertEqual(found.authenticates, kind in ("verified", "checked"))
        return found

    # --- without any policy --------------------------------------------------------------------

    def test_opportunistic(self) -> None:
        """By default TLS is used where it works (RFC 7435)."""
        self.assertSecurity("opportunistic", False, NONE)
        self.assertEqual(self.tls.made, [("opportunistic", MX)])
        self.assertEqual(self.policies.asked, [DOMAIN])

    def test_routeByMX(self) -> None:
        """A route may demand more of mail exchangers, or nothing at all."""
        self.assertSecurity("opportunistic", True, NONE, "mx?tls=required")
        self.assertSecurity("verified", True, NONE, "mx?tls=verified")
        self.policies.asked.clear()
        self.assertSecurity(None, False, None, "mx?tls=none")
        self.assertEqual(self.policies.asked, [])

    def test_configuredHost(self) -> None:
        """A configured host has what the route says; nobody's policy and no report matter."""
        for route, kind, required in (
            ("smtp://host", "opportunistic", False),
            ("smtp://host?tls=required", "opportunistic", True),
            ("smtp://host?tls=verified", "verified", True),
            ("smtp://host?tls=none", None, False),
            ("smtps://host", "verified", True),
            ("lmtp://host", "opportunistic", False),
        ):
            self.assertSecurity(kind, required, None, route)
        self.assertEqual(self.policies.asked, [])
        self.assertNotIn("TLSA", [kind for _, kind in self.dns.asked])

    def test_unixSocket(self) -> None:
        """On a socket of this machine there is nothing to secure."""
        self.assertSecurity(None, False, None, "lmtp+unix:/run/lmtp")
        found = self.assertSecurity(None, False, None, "lmtp+unix:/run/lmtp", True)
        self.assertTrue(found.authenticates)

    def test_nothingLookedFor(self) -> None:
        """Without DANE and MTA-STS nothing is looked for."""
        self.sign(self.record)
        found = self.successResultOf(self.ask(security=RelaySecurity(self.tls)))
        self.assertEqual((found.required, found.policy), (False, NONE))
        self.assertEqual(self.tls.made, [("opportunistic", MX)])

    # --- DANE ----------------------------------------------------------------------------------

    def test_dane(self) -> None:
        """TLSA records are what the host is held to."""
        self.sign(self.record)
        line = f"_25._tcp.{MX}. IN TLSA 3 1 1 {self.record.data.hex().upper()}"
        self.assertSecurity("checked", True, ReportedPolicy("tlsa", MX, (line,)))
        self.assertEqual(self.tls.made, [("checked", MX)])

    def test_daneBeforeSTS(self) -> None:
        """Where there are some, MTA-STS says nothing more (RFC 8461 §2)."""
        self.sign(self.record)
        self.policy("enforce", "elsewhere.test")
        self.assertEqual(self.successResultOf(self.ask()).policy.kind, "tlsa")  # type: ignore[union-attr]
        self.assertEqual(self.tls.made, [("checked", MX)])

    def test_daneBeforeRoute(self) -> None:
        """They also are what a route that wants a verified host gets."""
        self.sign(self.record)
        self.successResultOf(self.ask("mx?tls=verified"))
        self.assertEqual(self.tls.made, [("checked", MX)])

    def test_daneUnusable(self) -> None:
        """Records that can't be used still say that there is TLS (RFC 7672 §2.2)."""
        self.sign(TLSA(0, 0, 1, bytes(32)))
        found = self.successResultOf(self.ask())
        self.assertTrue(found.required)
        self.assertEqual(self.tls.made, [("opportunistic", MX)])
        assert found.policy is not None
        self.assertEqual(found.policy.kind, "tlsa")

    def test_daneUnusableAndSTS(self) -> None:
        """Then a policy of MTA-STS holds, and is no reason to do without TLS."""
        self.sign(TLSA(0, 0, 1, bytes(32)))
        self.assertSecurity("verified", True, self.policy("enforce"))
        self.assertSecurity("observed", True, self.policy("testing"))

    def test_daneFails(self) -> None:
        """A host whose records can't be looked up isn't used, and that is counted."""
        self.sign()
        self.dns.fail(f"_25._tcp.{MX}", "TLSA")
        self.failureResultOf(self.ask(), DestinationUnavailable)
        [counted] = self.counter.counted
        self.assertEqual(counted[:4], (DOMAIN, ReportedPolicy("tlsa", MX), "dnssec-invalid", MX))

    # --- MTA-STS -------------------------------------------------------------------------------

    def test_enforce(self) -> None:
        """A host of the policy must have a certificate that is good for it (RFC 8461 §4.2)."""
        self.assertSecurity("verified", True, self.policy("enforce"))
        self.assertEqual(self.tls.made, [("verified", MX)])
        self.assertSecurity("verified", True, self.policy("enforce", "*.example.org"))

    def test_enforceOtherHost(self) -> None:
        """A host that is none of the policy's isn't used (RFC 8461 §5), and that is counted."""
        policy = self.policy("enforce", "elsewhere.test")
        error = self.failureResultOf(self.ask(), DestinationUnavailable).value
        self.assertEqual((error.smtpCode, error.enhancedStatus), (451, "4.7.5"))
        [counted] = self.counter.counted
        self.assertEqual(counted[:5], (DOMAIN, policy, "validation-failure", MX, ""))

    def test_testing(self) -> None:
        """A policy that is being tested is held to and changes nothing (RFC 8461 §5)."""
        self.assertSecurity("observed", False, self.policy("testing"))

    def test_testingOtherHost(self) -> None:
        """A host that is none of its hosts is used, and counted as a failure."""
        policy = self.policy("testing", "elsewhere.test")
        found = self.assertSecurity("opportunistic", False, policy)
        self.assertEqual(self.counter.counted, [])
        route = Route(DOMAIN, domain=DOMAIN)
        self.security.count(route, found, SUCCESS, MX, "192.0.2.1", "")
        [counted] = self.counter.counted
        self.assertEqual(counted[:5], (DOMAIN, policy, "validation-failure", MX, "192.0.2.1"))
        self.assertIn(MX, counted[5])

    def test_testingAndRoute(self) -> None:
        """It doesn't weaken what the route demands."""
        self.assertSecurity("observed", True, self.policy("testing"), "mx?tls=required")
        self.assertSecurity("verified", True, self.policy("testing"), "mx?tls=verified")
        policy = self.policy("testing", "elsewhere.test")
        self.assertSecurity("verified", True, policy, "mx?tls=verified")

    def test_noneMode(self) -> None:
        """A policy that says there is none is none."""
        self.policy("none")
        self.assertSecurity("opportunistic", False, NONE)

    # --- REQUIRETLS ----------------------------------------------------------------------------

    def test_demandedUnsigned(self) -> None:
        """
        A message that demands security goes nowhere if it isn't certain whose hosts these are (RFC
        8689 §4.2.1): 5.7.10.
        """
        error = self.failureResultOf(self.ask(demanded=True), SecurityUnmet).value
        self.assertEqual((error.smtpCode, error.enhancedStatus), (550, "5.7.10"))
        self.failureResultOf(self.ask("mx?tls=none", True), SecurityUnmet)

    def test_demandedSigned(self) -> None:
        """It goes to a host of a signed domain whose certificate is good for it."""
        self.sign()
        self.assertSecurity("verified", True, NONE, demanded=True)
        self.assertSecurity("verified", True, NONE, "mx?tls=none", True)
        self.sign(self.record)
        self.successResultOf(self.ask(demanded=True))
        self.assertEqual(self.tls.made, [("checked", MX)])
        self.sign(TLSA(0, 0, 1, bytes(32)))
        self.successResultOf(self.ask(demanded=True))
        self.assertEqual(self.tls.made, [("verified", MX)])

    def test_demandedBySTS(self) -> None:
        """It goes to a host of a policy, in whatever mode that is, and to no other."""
        self.assertSecurity("verified", True, self.policy("enforce"), demanded=True)
        self.assertSecurity("verified", True, self.policy("testing"), demanded=True)
        self.policy("testing", "elsewhere.test")
        self.failureResultOf(self.ask(demanded=True), SecurityUnmet)

    def test_demandedOfConfigured(self) -> None:
        """It goes to a configured host whose certificate is good for it."""
        self.assertSecurity("verified", True, None, "smtp://host?tls=none", True)
        self.assertSecurity("verified", True, None, "smtp://host", True)

    def test_demandedByNotification(self) -> None:
        """A notification goes where it can (RFC 8689 §5)."""
        notification = message(REQUIRETLS=None)._replace(reversePath=None)
        self.assertFalse(demandsTLS(notification))
        self.assertTrue(demandsTLS(message(REQUIRETLS=None)))
        self.assertFalse(demandsTLS(message()))

    def test_waived(self) -> None:
        """
        A message whose sender waives it (TLS-Required: No, RFC 8689 §4.2.2) isn't held to the
        domain's policies; what the operator wants of the route holds.
        """
        waived = message(**{"TLS-REQUIRED": "No"})
        self.assertTrue(waivesTLS(waived))
        self.assertFalse(waivesTLS(message(REQUIRETLS=None, **{"TLS-REQUIRED": "No"})))
        self.sign(self.record)
        self.policy("enforce", "elsewhere.test")
        for level, required in (("opportunistic", False), ("required", True)):
            found = self.successResultOf(self.ask(f"mx?tls={level}", sent=waived))
            self.assertEqual((found.required, found.policy), (required, None))
            self.assertEqual(self.tls.made, [("opportunistic", MX)])

    # --- counting ------------------------------------------------------------------------------

    def test_count(self) -> None:
        """What became of a connection is counted under the policy that held for it."""
        route = Route(DOMAIN, domain=DOMAIN)
        found = self.successResultOf(self.ask())
        self.security.count(route, found, SUCCESS, MX, "192.0.2.1", "")
        self.security.count(route, found, "certificate-expired", MX, "192.0.2.1", "old")
        self.assertEqual(
            self.counter.counted,
            [
                (DOMAIN, NONE, SUCCESS, MX, "192.0.2.1", ""),
                (DOMAIN, NONE, "certificate-expired", MX, "192.0.2.1", "old"),
            ],
        )

    def test_countConfigured(self) -> None:
        """Connections to configured hosts are nobody else's business."""
        route = parseRoute("smtp://host")
        found = self.successResultOf(self.ask("smtp://host"))
        self.security.count(route, found, SUCCESS, "host", "192.0.2.1", "")
        self.assertEqual(self.counter.counted, [])

    def test_nothingCounted(self) -> None:
        """Without counters nothing is counted."""
        security = RelaySecurity(self.tls)
        security.count(Route(DOMAIN, domain=DOMAIN), Security(False, None, False, NONE), *"abcd")
        security.close()

    def test_close(self) -> None:
        """At the end all is brought to its end."""
        self.security.close()
        self.assertEqual((self.policies.closed, self.counter.flushes, self.closed), (True, 1, 1))


class MakeSecurityTests(SynchronousTestCase):
    """
    All of it put together.
    """

    def setUp(self) -> None:
        """A data directory."""
        self.data = Path(self.mktemp())
        self.data.mkdir(parents=True)
        self.dns = DNS()
        self.dns.mx(DOMAIN, (10, MX))
        self.dns.host(MX, "192.0.2.1")
        self.clock = Clock()

    def make(self, **settings: Any) -> RelaySecurity:
        """
        @return: what the server would have.
        """
        finder = HostFinder(self.dns)
        return makeSecurity(
            self.clock, self.dns, finder, self.data, now=lambda: 1_000_000.0, **settings
        )

    def found(self, security: RelaySecurity) -> Security:
        """
        @return: what holds for the domain's host.
        """
        finder = HostFinder(self.dns)

        async def ask() -> Security:
            exchangers = await finder.exchangers(DOMAIN)
            host = await finder.addresses(MX)
            route = Route(DOMAIN, domain=DOMAIN)
            return await security.securityOf(route, host, 25, exchangers, message())

        return self.successResultOf(Deferred.fromCoroutine(ask()))

    def test_lasting(self) -> None:
        """Policies and counters are there again after a restart."""
        records = RelayRecords(self.data / RECORDS_FILE)
        content = b"version: STSv1\nmode: enforce\nmx: mx.example.org\nmax_age: 9999\n"
        records.savePolicy(CachedPolicy(DOMAIN, "1", 999_999, content))
        security = self.make()
        found = self.found(security)
        self.assertTrue(found.required)
        security.count(Route(DOMAIN, domain=DOMAIN), found, SUCCESS, MX, "192.0.2.1", "")
        security.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        again = self.make()
        again.count(Route(DOMAIN, domain=DOMAIN), found, SUCCESS, MX, "192.0.2.1", "")
        again.close()
        [policy] = reportPolicies(records.sessions("1970-01-12"))[DOMAIN]
        self.assertEqual(policy["policy"]["policy-type"], "sts")
        self.assertEqual(policy["summary"]["total-successful-session-count"], 2)
        records.close()

    def test_unfetched(self) -> None:
        """A policy that can't be fetched is counted as a failure (RFC 8460 §4.3.2.2)."""
        self.dns.add(f"_mta-sts.{DOMAIN}", "TXT", b"v=STSv1; id=1;")
        security = self.make()
        self.assertEqual(self.found(security).policy, NONE)
        security.close()
        records = RelayRecords(self.data / RECORDS_FILE)
        self.addCleanup(records.close)
        [policy] = reportPolicies(records.sessions("1970-01-12"))[DOMAIN]
        self.assertEqual(policy["policy"], {"policy-type": "sts", "policy-domain": DOMAIN})
        [details] = policy["failure-details"]
        self.assertEqual(details["result-type"], "sts-policy-fetch-error")

    def test_switchedOff(self) -> None:
        """DANE and MTA-STS may be switched off."""
        self.dns.signed = True
        self.dns.mx(DOMAIN, (10, MX))
        self.dns.host(MX, "192.0.2.1")
        self.dns.add(f"_25._tcp.{MX}", "TLSA", tlsa(3, 1, 1, Authority().issue(MX)))
        security = self.make()
        self.assertTrue(self.found(security).required)
        security.close()
        self.dns.asked.clear()
        security = self.make(dane=False, mtasts=False)
        self.assertFalse(self.found(security).required)
        self.assertEqual({kind for _, kind in self.dns.asked}, {"MX", "A", "AAAA"})
        security.close()
