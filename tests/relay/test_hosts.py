"""
Which hosts take the mail of a domain (RFC 5321 §5.1), and at which addresses.
"""

from __future__ import annotations

from collections.abc import Collection

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.relay.support import DNS
from twisted_mailstack.errors import DestinationUnavailable, MailError
from twisted_mailstack.relay.hosts import MAX_HOSTS, Exchangers, HostAddresses, HostFinder

OURS = ("mail.here.test", "mx2.here.test")


class HostsTestCase(SynchronousTestCase):
    """
    @ivar dns: the DNS.
    """

    def setUp(self) -> None:
        """A DNS without names."""
        self.dns = DNS()
        self.shuffled: list[list[str]] = []

    def shuffle(self, some: list[str]) -> None:
        """The other way round, which is as random as anything."""
        self.shuffled.append(list(some))
        some.reverse()

    def finder(self, families: Collection[str] = ("AAAA", "A")) -> HostFinder:
        """
        @return: what finds.
        """
        return HostFinder(self.dns, OURS, families=families, shuffle=self.shuffle)

    def exchangers(self, domain: str = "example.org") -> Exchangers:
        """
        @return: the hosts of a domain.
        """
        return self.successResultOf(Deferred.fromCoroutine(self.finder().exchangers(domain)))

    def refusal(self, domain: str = "example.org") -> MailError:
        """
        @return: why a domain has none.
        """
        attempt = Deferred.fromCoroutine(self.finder().exchangers(domain))
        error: MailError = self.failureResultOf(attempt, MailError).value
        return error

    def addresses(self, host: str, *families: str) -> HostAddresses:
        """
        @return: the addresses of a host.
        """
        finder = self.finder(families or ("AAAA", "A"))
        return self.successResultOf(Deferred.fromCoroutine(finder.addresses(host)))


class ExchangerTests(HostsTestCase):
    """
    The mail exchangers of a domain.
    """

    def test_preference(self) -> None:
        """The lowest preference comes first; equals come in random order (RFC 5321 §5.1)."""
        self.dns.mx(
            "example.org", (20, "c.test"), (10, "a.test"), (65535, "d.test"), (10, "b.test")
        )
        found = self.exchangers()
        self.assertEqual(found.hosts, ("b.test", "a.test", "c.test", "d.test"))
        self.assertEqual(self.shuffled[0], ["a.test", "b.test"])
        self.assertEqual(
            (found.domain, found.implicit, found.authenticated), ("example.org", False, False)
        )

    def test_repeated(self) -> None:
        """A host that is named twice is tried once, at its best preference."""
        self.dns.mx("example.org", (10, "a.test"), (20, "a.test"), (20, "b.test"), (10, "a.test"))
        self.assertEqual(self.exchangers().hosts, ("a.test", "b.test"))

    def test_many(self) -> None:
        """Of very many only some are tried."""
        self.dns.mx("example.org", *((n, f"{n}.test") for n in range(100)))
        self.assertEqual(self.exchangers().hosts, tuple(f"{n}.test" for n in range(MAX_HOSTS)))

    def test_implicit(self) -> None:
        """A domain without MX records is its own host (RFC 5321 §5.1)."""
        found = self.exchangers()
        self.assertEqual((found.hosts, found.implicit), (("example.org",), True))

    def test_alias(self) -> None:
        """A domain that is an alias has the exchangers of what it is an alias of."""
        self.dns.add("example.org", "MX", *[(10, "mx.test")], at="other.test")
        self.dns.mx("example.org", (10, "mx.test"))
        self.assertEqual(self.exchangers().hosts, ("mx.test",))
        self.assertEqual(self.exchangers().domain, "example.org")

    def test_authenticated(self) -> None:
        """Whether DNSSEC vouches for them is known, also that there are none."""
        self.dns.signed = True
        self.dns.mx("example.org", (10, "mx.test"))
        self.assertTrue(self.exchangers().authenticated)
        self.assertTrue(self.exchangers("implicit.test").authenticated)

    def test_noSuchDomain(self) -> None:
        """A domain that doesn't exist is for good: 5.1.2, bad destination system address."""
        self.dns.add("example.org", "MX", exists=False)
        error = self.refusal()
        self.assertEqual((error.smtpCode, error.enhancedStatus), (550, "5.1.2"))
        self.assertFalse(isinstance(error, DestinationUnavailable))
        self.assertIn("example.org", error.text)

    def test_lookupFails(self) -> None:
        """A DNS that gives no answer says nothing of the domain: it is tried again later."""
        self.dns.fail("example.org", "MX")
        error = self.refusal()
        self.assertIsInstance(error, DestinationUnavailable)
        self.assertEqual((error.temporary, error.enhancedStatus), (True, "4.4.3"))

    def test_nullMX(self) -> None:
        """A null MX says that there is no mail: 556 5.1.10, at once (RFC 7505 §3, §4.2)."""
        for records in ([(0, "")], [(10, "")], [(0, ""), (0, "")]):
            self.dns.mx("example.org", *records)
            error = self.refusal()
            self.assertEqual((error.smtpCode, error.enhancedStatus), (556, "5.1.10"))

    def test_nullMXAmongOthers(self) -> None:
        """Beside other records a null MX means nothing (RFC 7505 §3 forbids it)."""
        self.dns.mx("example.org", (0, ""), (10, "mx.test"))
        self.assertEqual(self.exchangers().hosts, ("mx.test",))

    def test_ourselves(self) -> None:
        """
        Where we are one of the hosts, ours and what is behind it are no way forward (RFC 5321
        §5.1).
        """
        self.dns.mx("example.org", (30, "d.test"), (20, "c.test"), (20, OURS[1]), (10, "a.test"))
        self.assertEqual(self.exchangers().hosts, ("a.test",))

    def test_onlyOurselves(self) -> None:
        """Where nobody is better than we, mail would come back: 5.4.6, for good."""
        for records in (
            [(10, OURS[0])],
            [(10, "a.test"), (10, OURS[0])],
            [(10, OURS[1]), (20, "a.test")],
        ):
            self.dns.mx("example.org", *records)
            error = self.refusal()
            self.assertEqual((error.smtpCode, error.enhancedStatus), (554, "5.4.6"))
            self.assertFalse(isinstance(error, DestinationUnavailable))

    def test_implicitOurselves(self) -> None:
        """Also where a domain without MX is this server, or an alias of it."""
        self.assertEqual(self.refusal(OURS[0]).enhancedStatus, "5.4.6")
        self.dns.add("www.here.test", "MX", at=OURS[0])
        self.assertEqual(self.refusal("www.here.test").enhancedStatus, "5.4.6")

    def test_ownNamesInAnyCase(self) -> None:
        """Our own names may be written as one likes."""
        finder = HostFinder(self.dns, ["MAIL.Here.Test"])
        self.dns.mx("example.org", (10, "mail.here.test"))
        attempt = Deferred.fromCoroutine(finder.exchangers("example.org"))
        self.failureResultOf(attempt, MailError)


class AddressTests(HostsTestCase):
    """
    The addresses of a host.
    """

    def test_bothFamilies(self) -> None:
        """IPv6 and IPv4 take turns, each in random order, so that neither uses up the attempt."""
        self.dns.host("mx.test", *(f"192.0.2.{n}" for n in (1, 2, 3)), "2001:db8::1", "2001:db8::2")
        found = self.addresses("mx.test")
        self.assertEqual(
            found.addresses,
            ("2001:db8::2", "192.0.2.3", "2001:db8::1", "192.0.2.2", "192.0.2.1"),
        )
        self.assertEqual(
            self.addresses("mx.test", "A", "AAAA").addresses[:2], ("192.0.2.3", "2001:db8::2")
        )

    def test_oneFamily(self) -> None:
        """A machine without IPv6 needn't try it, nor ask for it."""
        self.dns.host("mx.test", "192.0.2.1", "2001:db8::1")
        self.assertEqual(self.addresses("mx.test", "A").addresses, ("192.0.2.1",))
        self.assertEqual(self.dns.asked, [("mx.test", "A")])

    def test_none(self) -> None:
        """A host without addresses, or that doesn't exist, has none: no error by itself."""
        self.assertEqual(self.addresses("mx.test").addresses, ())
        self.dns.host("gone.test", exists=False)
        self.assertEqual(self.addresses("gone.test").addresses, ())

    def test_lookupFails(self) -> None:
        """What can't be looked up is unknown; what is found of the other family is used."""
        self.dns.fail("mx.test", "AAAA")
        finding = Deferred.fromCoroutine(self.finder().addresses("mx.test"))
        error = self.failureResultOf(finding, DestinationUnavailable).value
        self.assertEqual(error.enhancedStatus, "4.4.3")
        self.assertIn("mx.test", error.text)
        self.dns.add("mx.test", "A", "192.0.2.1")
        self.assertEqual(self.addresses("mx.test").addresses, ("192.0.2.1",))

    def test_alias(self) -> None:
        """A mail exchanger should be no alias (RFC 5321 §5.1); one that is works all the same."""
        self.dns.host("mx.test", "192.0.2.1", at="real.test")
        found = self.addresses("mx.test")
        self.assertEqual(
            (found.host, found.name, found.addresses), ("mx.test", "real.test", ("192.0.2.1",))
        )

    def test_address(self) -> None:
        """An MX record with an address in it is wrong (RFC 1035 §3.3.9), and is used."""
        for address in ("192.0.2.1", "2001:db8::1"):
            self.assertEqual(self.addresses(address).addresses, (address,))
        self.assertEqual(self.dns.asked, [])

    def test_authenticated(self) -> None:
        """All addresses must be vouched for; a family without any doesn't matter."""
        self.dns.host("plain.test", "192.0.2.1")
        self.dns.add("half.test", "AAAA", "2001:db8::1")
        self.dns.add("four.test", "AAAA")
        self.dns.signed = True
        self.dns.host("mx.test", "192.0.2.1", "2001:db8::1")
        self.dns.add("half.test", "A", "192.0.2.1")
        self.dns.add("four.test", "A", "192.0.2.1")
        for host, expected in (
            ("plain.test", False),
            ("mx.test", True),
            ("half.test", False),
            ("four.test", True),
            ("none.test", False),
        ):
            self.assertEqual(self.addresses(host).authenticated, expected, host)
