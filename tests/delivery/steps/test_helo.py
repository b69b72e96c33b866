"""
What a client calls itself.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from tests.delivery.steps.support import ALICE, StepTestCase, envelope
from twisted_mailstack.delivery.step import StepProblem
from twisted_mailstack.delivery.steps.helo import STEP


class HeloTests(StepTestCase):
    """
    C{helo}.
    """

    def test_off(self) -> None:
        """RFC 5321 §4.1.4: without the operator's wish nothing is refused for its name."""
        self.assertIsNone(STEP.make(STEP.settings(), self.services))

    def test_ours(self) -> None:
        """A client isn't this server, and has no other address than its own."""
        step = self.make(STEP, ours=True)
        for helo, told in (
            ("MX.example.test", "550 5.7.1 mx.example.test is this server, not you"),
            ("[192.0.2.9]", "550 5.7.1 [192.0.2.9] is not your address"),
            ("[IPv6:2001:db8::1]", "550 5.7.1 [IPv6:2001:db8::1] is not your address"),
            ("[127.0.0.1]", "550 5.7.1 [127.0.0.1] is not your address"),
        ):
            self.assertEqual(self.mail(step, helo=helo), told)
        for helo in ("[192.0.2.1]", "example.test", "client", "mx.example.test.far.test", "a b"):
            self.assertEqual(self.mail(step, helo=helo), "", helo)
        self.assertEqual(self.mail(step, helo="[IPv6:2001:DB8::A]", peer="2001:db8:0::a"), "")

    def test_qualified(self) -> None:
        """A name without a dot, or what is no name, is nobody's."""
        step = self.make(STEP, qualified=True)
        for helo, told in (
            ("client", "550 5.7.1 client is not fully qualified"),
            ("localhost", "550 5.7.1 localhost is not fully qualified"),
            ("a b", "550 5.7.1 a b is no host name"),
            ("[192.0.2.1", "550 5.7.1 [192.0.2.1 is no host name"),
        ):
            self.assertEqual(self.mail(step, helo=helo), told)
        for helo in ("client.far.test", "[192.0.2.9]", "bücher.example"):
            self.assertEqual(self.mail(step, helo=helo), "", helo)

    def test_resolves(self) -> None:
        """A name that the DNS doesn't have is nobody's; one without an address may be."""
        step = self.make(STEP, resolves=True)
        self.dns.answers["client.far.test", "A"] = ("198.51.100.1",)
        self.dns.answers["mail.far.test", "MX"] = ()
        self.dns.failing.add("down.test")
        self.assertEqual(
            self.mail(step, helo="gone.far.test"), "550 5.7.1 There is no host gone.far.test"
        )
        for helo in ("client.far.test", "mail.far.test", "down.test", "[192.0.2.9]", "a b"):
            self.assertEqual(self.mail(step, helo=helo), "", helo)

    def test_timeout(self) -> None:
        """The DNS isn't waited for too long."""
        step = self.make(STEP, resolves=True, timeout=3.0)
        self.dns.silent.add("slow.test")
        waiting = self.begin(step.reversePath(envelope(helo="slow.test")))
        self.clock.advance(2.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.2)
        self.assertIsNone(self.successResultOf(waiting))

    def test_exempt(self) -> None:
        """Mail programs, this machine and exempt networks call themselves as they like."""
        step = self.make(
            STEP,
            ours=True,
            qualified=True,
            resolves=True,
            exempt=(ip_network("198.51.100.0/24"),),
        )
        for helo in ("mx.example.test", "laptop", "gone.test", "[192.0.2.77]"):
            self.assertEqual(self.mail(step, helo=helo, login=ALICE), "")
            for peer in ("127.0.0.1", "local", "198.51.100.9"):
                self.assertEqual(self.mail(step, helo=helo, peer=peer), "")

    def test_needsDNS(self) -> None:
        """Only what asks the DNS needs it."""
        self.services = replace(self.services, lookup=None)
        self.make(STEP, ours=True, qualified=True)
        self.assertRaises(StepProblem, self.make, STEP, resolves=True)
