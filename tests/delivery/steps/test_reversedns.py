"""
Whether a client's address has a name that has this address (RFC 7601 §3).
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

from tests.delivery.steps.support import ALICE, PEER, StepTestCase, envelope
from twisted_mailstack.delivery.step import StepProblem
from twisted_mailstack.delivery.steps.reversedns import MAX_NAMES, STEP
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import Recipient

NONE = f"550 5.7.25 {PEER} has no name in the DNS"
FAIL = f"550 5.7.25 {PEER} has a name that isn't its own in the DNS"


class ReverseDNSTests(StepTestCase):
    """
    C{reverse-dns}.
    """

    def test_pass(self) -> None:
        """A name that leads back to the address passes; one of several is enough."""
        step = self.make(STEP, action="reject")
        self.dns.addName(PEER, "mail.far.test")
        self.assertEqual(self.connect(step), "")
        self.assertEqual(self.rcpt(step), "")
        self.assertEqual(self.data(step), "X-Reverse-DNS: pass mail.far.test\r\n")
        self.dns.addName("192.0.2.2", "a.far.test", "b.far.test")
        self.dns.answers["a.far.test", "A"] = ("198.51.100.1",)
        self.dns.answers["b.far.test", "A"] = ("198.51.100.1", "192.0.2.2")
        self.assertEqual(self.data(step, peer="192.0.2.2"), "X-Reverse-DNS: pass b.far.test\r\n")

    def test_IPv6(self) -> None:
        """An IPv6 address is compared as what it is, however it is written."""
        step = self.make(STEP, action="reject")
        self.dns.addName("2001:db8::a", "mail.far.test")
        self.dns.answers["mail.far.test", "AAAA"] = ("2001:DB8:0:0::000A",)
        self.assertEqual(self.rcpt(step, peer="2001:db8::a"), "")
        self.assertIn(("mail.far.test", "AAAA"), self.dns.asked)

    def test_none(self) -> None:
        """A client without a name is refused at RCPT, with the status of RFC 7372 §3.3."""
        step = self.make(STEP, action="reject")
        self.assertEqual(self.connect(step), "")
        self.assertEqual(self.mail(step), "")
        self.assertEqual(self.rcpt(step), NONE)
        self.assertEqual(self.data(step), "X-Reverse-DNS: permerror\r\n")

    def test_fail(self) -> None:
        """A name that is somebody else's doesn't count; nor does what is no host name."""
        step = self.make(STEP, action="reject")
        self.dns.addName(PEER, "mail.bank.test")
        self.dns.answers["mail.bank.test", "A"] = ("198.51.100.1",)
        self.assertEqual(self.rcpt(step), FAIL)
        self.assertEqual(self.data(step), "X-Reverse-DNS: fail mail.bank.test\r\n")
        for name in ("a b\r\nX: y", "", "[192.0.2.2]", "a..b", "x" * 64):
            self.dns.addName("192.0.2.2", name)
            step = self.make(STEP, action="reject")
            self.assertIn("has no name", self.rcpt(step, peer="192.0.2.2"), name)

    def test_onlyHeader(self) -> None:
        """The operator may only want to know."""
        step = self.make(STEP, action="header")
        self.assertEqual(self.rcpt(step), "")
        self.assertEqual(self.data(step), "X-Reverse-DNS: permerror\r\n")

    def test_noAnswer(self) -> None:
        """Where the DNS gives no answer, there is no opinion."""
        reverse = ip_address(PEER).reverse_pointer
        self.dns.addName(PEER, "mail.far.test")
        for name in (reverse, "mail.far.test"):
            self.dns.failing = {name}
            step = self.make(STEP, action="reject")
            self.assertEqual(self.rcpt(step), "")
            self.assertEqual(self.data(step), "X-Reverse-DNS: temperror\r\n")

    def test_timeout(self) -> None:
        """Nor where it takes too long, all look-ups together."""
        self.dns.addName(PEER, "mail.far.test")
        self.dns.silent.add("mail.far.test")
        step = self.make(STEP, action="reject", timeout=7.0)
        self.connect(step)
        waiting = self.begin(step.recipient(envelope(), Recipient(Address.parse(ALICE), {})))
        self.clock.advance(6.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.2)
        self.assertIsNone(self.successResultOf(waiting))

    def test_manyNames(self) -> None:
        """Whoever has a thousand names has only some of them looked up (RFC 7601 §3)."""
        names = [f"n{number}.far.test" for number in range(1000)]
        self.dns.addName(PEER, *names)
        for name in names[:-1]:
            self.dns.answers[name, "A"] = ()
        self.assertEqual(self.rcpt(self.make(STEP, action="reject")), FAIL)
        self.assertEqual(len(self.dns.asked), 1 + MAX_NAMES)

    def test_askedOnce(self) -> None:
        """It is asked when the client connects, and once for all its commands."""
        step = self.make(STEP, action="reject")
        self.connect(step)
        asked = list(self.dns.asked)
        self.rcpt(step)
        self.rcpt(step)
        self.data(step)
        self.assertEqual(self.dns.asked, asked)

    def test_toldByOthers(self) -> None:
        """What somebody trusted has found isn't asked again."""
        step = self.make(STEP, action="reject")
        self.assertEqual(self.connect(step, name="mail.far.test"), "")
        self.assertEqual(self.rcpt(step, name="mail.far.test"), "")
        self.assertEqual(
            self.data(step, name="mail.far.test"), "X-Reverse-DNS: pass mail.far.test\r\n"
        )
        self.assertEqual(self.rcpt(step, name=""), NONE)
        self.assertEqual(self.dns.asked, [])

    def test_exempt(self) -> None:
        """Who is logged in, this machine, exempt networks, and mail for the postmaster."""
        step = self.make(STEP, action="reject", exempt=(ip_network("198.51.100.0/24"),))
        self.assertEqual(self.rcpt(step, login=ALICE), "")
        self.assertEqual(self.data(step, login=ALICE), "")
        for peer in ("127.0.0.1", "::1", "local", "198.51.100.1"):
            self.assertEqual(self.connect(step, peer), "")
            self.assertEqual(self.rcpt(step, peer=peer), "")
            self.assertEqual(self.data(step, peer=peer), "")
        self.assertEqual(self.rcpt(step, "postmaster@example.test"), "")
        self.assertEqual(self.dns.asked, [])

    def test_settings(self) -> None:
        """It is off unless it is wanted, and then needs DNS."""
        self.assertIsNone(STEP.make(STEP.settings(), self.services))
        self.assertRaises(StepProblem, STEP.settings, action="on")
        self.services = replace(self.services, lookup=None)
        self.assertRaises(StepProblem, self.make, STEP, action="header")
