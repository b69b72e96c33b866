"""
DANE (RFC 7672): when it applies, and whose certificates it takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from cryptography import x509
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.net.authority import Authority, Issued
from tests.relay.support import DNS
from twisted_mailstack.errors import DestinationUnavailable
from twisted_mailstack.model.dns import TLSA
from twisted_mailstack.net.clienttls import TLSProblem
from twisted_mailstack.relay.dane import DANE, TLSARecords, checkChain, strongest
from twisted_mailstack.relay.hosts import Exchangers, HostAddresses, HostFinder

MX = "mx.example.net"


def digest(kind: int, octets: bytes) -> bytes:
    """
    @return: what a TLSA record of that matching type has (RFC 6698 §2.1.3).
    """
    if kind == 0:
        return octets
    return hashlib.new({1: "sha256", 2: "sha512"}[kind], octets).digest()


def tlsa(usage: int, selector: int, matchingType: int, of: Issued) -> TLSA:
    """
    @return: a record for a certificate.
    """
    octets = of.spki if selector else of.der
    return TLSA(usage, selector, matchingType, digest(matchingType, octets))


class ChainTests(SynchronousTestCase):
    """
    Certificates held to TLSA records.
    """

    authority = Authority()
    between = Authority("Between", by=authority)
    issued = between.issue(MX)
    chain = (issued.certificate, between.own, authority.own)

    def problem(
        self,
        records: Sequence[TLSA],
        chain: Sequence[x509.Certificate] | None = None,
        names: Sequence[str] = (MX,),
    ) -> str | None:
        """
        @return: the result type of RFC 8460 of what is wrong, C{None} if nothing is.
        """
        found = TLSARecords(MX, 25, tuple(names), tuple(records))
        self.assertEqual(found.usable, found.records)
        try:
            checkChain(found.usable, chain or self.chain, names)
        except TLSProblem as problem:
            return problem.kind
        return None

    def authorityAsIssued(self, authority: Authority) -> Issued:
        """
        @return: an authority's own certificate.
        """
        return Issued(authority.own, authority.key)

    def test_ownCertificate(self) -> None:
        """DANE-EE: the server's certificate or key, whole or as a digest (RFC 7672 §3.1.1)."""
        other = self.between.issue(MX)
        for selector in (0, 1):
            for kind in (0, 1, 2):
                self.assertIsNone(self.problem([tlsa(3, selector, kind, self.issued)]))
                self.assertEqual(
                    self.problem([tlsa(3, selector, kind, other)]), "validation-failure"
                )

    def test_ownCertificateOnly(self) -> None:
        """With DANE-EE names, dates and issuers don't matter (RFC 7672 §3.1.1)."""
        odd = Authority("Nobody").issue("elsewhere.test", days=-10, chain=())
        self.assertIsNone(self.problem([tlsa(3, 1, 1, odd)], [odd.certificate]))

    def test_ownCertificateElsewhere(self) -> None:
        """A record of DANE-EE is of the server's own certificate, not of one behind it."""
        record = tlsa(3, 1, 1, self.authorityAsIssued(self.between))
        self.assertEqual(self.problem([record]), "validation-failure")

    def test_newCertificate(self) -> None:
        """One of several records is enough, as when a certificate is replaced."""
        other = self.between.issue(MX)
        self.assertIsNone(self.problem([tlsa(3, 1, 1, other), tlsa(3, 1, 1, self.issued)]))

    def test_authority(self) -> None:
        """DANE-TA: an authority, the last or one in between, by certificate or key (§3.1.2)."""
        for authority in (self.authority, self.between):
            for selector in (0, 1):
                for kind in (0, 1, 2):
                    record = tlsa(2, selector, kind, self.authorityAsIssued(authority))
                    self.assertIsNone(self.problem([record]), (selector, kind))
        other = tlsa(2, 0, 1, self.authorityAsIssued(Authority()))
        self.assertEqual(self.problem([other]), "validation-failure")

    def test_authorityNotSent(self) -> None:
        """An authority's certificate that is in the DNS needn't be sent."""
        whole = tlsa(2, 0, 0, self.authorityAsIssued(self.authority))
        self.assertIsNone(self.problem([whole], self.chain[:2]))
        short = tlsa(2, 0, 1, self.authorityAsIssued(self.authority))
        self.assertEqual(self.problem([short], self.chain[:2]), "validation-failure")

    def test_authorityOfSomebodyElse(self) -> None:
        """That the authority is sent along isn't enough: it must have issued the certificate."""
        odd = Authority("Nobody").issue(MX)
        record = tlsa(2, 0, 1, self.authorityAsIssued(self.authority))
        self.assertEqual(
            self.problem([record], [odd.certificate, self.authority.own]),
            "certificate-not-trusted",
        )

    def test_authorityByName(self) -> None:
        """An authority that only has the same name hasn't issued it."""
        record = tlsa(2, 0, 1, self.authorityAsIssued(twin := Authority("Between")))
        self.assertNotEqual(self.problem([record], [self.issued.certificate, twin.own]), None)

    def test_authorityChecks(self) -> None:
        """With DANE-TA names and dates do matter (§3.1.2, §3.2)."""
        record = tlsa(2, 0, 1, self.authorityAsIssued(self.authority))
        expired = self.authority.issue(MX, days=-1)
        other = self.authority.issue("other.test")
        for issued, kind in (
            (expired, "certificate-expired"),
            (other, "certificate-host-mismatch"),
        ):
            chain = [issued.certificate, self.authority.own]
            self.assertEqual(self.problem([record], chain), kind)

    def test_names(self) -> None:
        """The certificate may be for any name that the server is known by (§3.2.2)."""
        record = tlsa(2, 0, 1, self.authorityAsIssued(self.authority))
        issued = self.authority.issue("example.org")
        chain = [issued.certificate, self.authority.own]
        self.assertEqual(self.problem([record], chain), "certificate-host-mismatch")
        self.assertIsNone(self.problem([record], chain, (MX, "example.org")))

    def test_strongest(self) -> None:
        """Of digests only the strongest counts, for each usage and selector (RFC 7671 §9)."""
        other = self.between.issue(MX)
        weak, strong = tlsa(3, 1, 1, self.issued), tlsa(3, 1, 2, other)
        self.assertEqual(strongest([weak, strong]), [strong])
        self.assertEqual(self.problem([weak, strong]), "validation-failure")
        whole = tlsa(3, 1, 0, other)
        for others in ([whole], [tlsa(3, 0, 2, other)], [tlsa(2, 1, 2, other)]):
            self.assertIsNone(self.problem([weak, *others]))
        self.assertEqual(strongest([weak, whole]), [weak, whole])


class UsableTests(SynchronousTestCase):
    """
    Which records can be used (RFC 7672 §3.1.3, RFC 6698 §2.1).
    """

    def test_usable(self) -> None:
        """Usages 2 and 3, with data that makes sense."""
        issued = Authority().issue(MX)
        good = [
            tlsa(usage, selector, kind, issued)
            for usage in (2, 3)
            for selector in (0, 1)
            for kind in (0, 1, 2)
        ]
        bad = [
            *(record._replace(usage=usage) for record in good for usage in (0, 1, 4, 255)),
            *(record._replace(selector=selector) for record in good for selector in (2, 255)),
            *(record._replace(matchingType=kind) for record in good for kind in (3, 255)),
            *(record._replace(data=record.data[:-1]) for record in good),
            *(record._replace(data=b"") for record in good),
            TLSA(3, 1, 0, b"no key"),
            TLSA(3, 0, 0, issued.spki),
            TLSA(3, 1, 1, bytes(64)),
            TLSA(3, 1, 2, bytes(32)),
        ]
        found = TLSARecords(MX, 25, (MX,), (*bad, *good))
        self.assertEqual(found.usable, tuple(good))
        self.assertEqual(TLSARecords(MX, 25, (MX,), tuple(bad)).usable, ())

    def test_lines(self) -> None:
        """In reports they are as in a zone file, in a fixed order."""
        found = TLSARecords(MX, 25, (), (TLSA(3, 1, 1, b"\xab\x01"), TLSA(2, 0, 1, b"\x00")))
        self.assertEqual(
            found.lines,
            (
                "_25._tcp.mx.example.net. IN TLSA 2 0 1 00",
                "_25._tcp.mx.example.net. IN TLSA 3 1 1 AB01",
            ),
        )


class FindingTests(SynchronousTestCase):
    """
    When DANE applies, and where its records are looked for.
    """

    def setUp(self) -> None:
        """A signed domain with a signed mail exchanger that has a record."""
        self.dns = DNS()
        self.finder = HostFinder(self.dns)
        self.record = tlsa(3, 1, 1, Authority().issue(MX))
        self.dns.signed = True
        self.dns.mx("example.org", (10, MX))
        self.dns.host(MX, "192.0.2.1")
        self.dns.add(f"_25._tcp.{MX}", "TLSA", self.record)

    def find(self, host: str = MX, port: int = 25) -> TLSARecords | None:
        """
        @return: what a host of the domain is held to.
        """

        async def find() -> TLSARecords | None:
            exchangers = await self.finder.exchangers("example.org")
            addresses = await self.finder.addresses(host)
            return await DANE(self.dns).recordsOf(exchangers, addresses, port)

        return self.successResultOf(Deferred.fromCoroutine(find()))

    def asked(self) -> list[str]:
        """
        @return: whose TLSA records were asked for.
        """
        return [name for name, kind in self.dns.asked if kind == "TLSA"]

    def test_applies(self) -> None:
        """Records are found by port and name; all that the server is called is known."""
        self.assertEqual(self.find(), TLSARecords(MX, 25, (MX, "example.org"), (self.record,)))
        self.dns.add(f"_587._tcp.{MX}", "TLSA", self.record)
        found = self.find(port=587)
        assert found is not None
        self.assertEqual(found.port, 587)

    def test_noRecords(self) -> None:
        """A host without records has no DANE."""
        self.dns.add(f"_25._tcp.{MX}", "TLSA")
        self.assertIsNone(self.find())
        self.dns.add(f"_25._tcp.{MX}", "TLSA", exists=False)
        self.assertIsNone(self.find())

    def test_unsignedDomain(self) -> None:
        """Nor has one of a domain that isn't signed: who forges it forges the host's name."""
        self.dns.signed = False
        self.dns.mx("example.org", (10, MX))
        self.assertIsNone(self.find())
        self.assertEqual(self.asked(), [])

    def test_unsignedHost(self) -> None:
        """Where the host's addresses aren't signed nothing is asked (RFC 7672 §2.2.2)."""
        self.dns.signed = False
        self.dns.host(MX, "192.0.2.1")
        self.assertIsNone(self.find())
        self.assertEqual(self.asked(), [])

    def test_unsignedRecords(self) -> None:
        """Records that nobody vouches for are none."""
        self.dns.signed = False
        self.dns.add(f"_25._tcp.{MX}", "TLSA", self.record)
        self.assertIsNone(self.find())

    def test_lookupFails(self) -> None:
        """
        If they can't be looked up the host must not be used: that is what somebody who interferes
        would see to (RFC 7672 §2.1.2).
        """
        self.dns.fail(f"_25._tcp.{MX}", "TLSA")

        async def find() -> TLSARecords | None:
            found = HostAddresses(MX, ("192.0.2.1",), True, MX)
            exchangers = Exchangers("example.org", (MX,), True)
            return await DANE(self.dns).recordsOf(exchangers, found, 25)

        error = self.failureResultOf(Deferred.fromCoroutine(find()), DestinationUnavailable).value
        self.assertEqual(error.enhancedStatus, "4.7.5")
        self.assertIn(MX, error.text)

    def test_alias(self) -> None:
        """For an alias the records are where it leads (RFC 7672 §2.2.2), or at itself."""
        self.dns.host("www.example.net", "192.0.2.1", at=MX)
        found = self.find("www.example.net")
        assert found is not None
        self.assertEqual((found.base, found.names), (MX, (MX, "www.example.net", "example.org")))
        self.dns.add(f"_25._tcp.{MX}", "TLSA")
        self.dns.add("_25._tcp.www.example.net", "TLSA", self.record)
        found = self.find("www.example.net")
        assert found is not None
        self.assertEqual(found.base, "www.example.net")

    def test_aliasOfUnsigned(self) -> None:
        """A signed alias of an unsigned host has its own records, if any (RFC 7672 §2.2.2)."""
        self.dns.add("www.example.net", "CNAME", "cloud.test")
        self.dns.add("_25._tcp.www.example.net", "TLSA", self.record)
        self.dns.signed = False
        self.dns.host("www.example.net", "192.0.2.1", at="cloud.test")
        self.dns.add("_25._tcp.cloud.test", "TLSA", self.record)
        found = self.find("www.example.net")
        assert found is not None
        self.assertEqual(found.base, "www.example.net")
        self.assertEqual(self.asked(), ["_25._tcp.www.example.net"])
        self.dns.add("www.example.net", "CNAME", "cloud.test")
        self.assertIsNone(self.find("www.example.net"))

    def test_implicit(self) -> None:
        """A signed domain that is its own host has DANE too (RFC 7672 §2.2.1)."""
        self.dns.add("example.org", "MX")
        self.dns.host("example.org", "192.0.2.1")
        self.dns.add("_25._tcp.example.org", "TLSA", self.record)
        found = self.find("example.org")
        assert found is not None
        self.assertEqual((found.base, found.names), ("example.org", ("example.org",)))
