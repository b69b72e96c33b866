"""
How fast networks and accounts may come.
"""

from __future__ import annotations

from ipaddress import ip_network

from tests.delivery.steps.support import ALICE, BOB, StepTestCase
from twisted_mailstack.delivery.step import Rate
from twisted_mailstack.delivery.steps.rates import STEP


class RatesTests(StepTestCase):
    """
    C{rates}.
    """

    def test_connections(self) -> None:
        """A network that connects too fast is told so in the greeting, until time went by."""
        step = self.make(STEP, connections=Rate(3, 60))
        for host in (1, 2, 255):
            self.assertEqual(self.connect(step, f"192.0.2.{host}"), "")
        told = "421 4.7.0 Too many connections from 192.0.2.0/24, try later"
        self.assertEqual(self.connect(step, "192.0.2.3"), told)
        self.assertEqual(self.connect(step, "::ffff:192.0.2.4"), told)
        self.assertEqual(self.connect(step, "192.0.3.1"), "")
        self.clock.advance(20)
        self.assertEqual(self.connect(step, "192.0.2.3"), "")
        self.assertEqual(self.connect(step, "192.0.2.3"), told)

    def test_networks(self) -> None:
        """An IPv6 network is a /64."""
        step = self.make(STEP, connections=Rate(1, 60))
        self.assertEqual(self.connect(step, "2001:db8:0:1::1"), "")
        self.assertEqual(
            self.connect(step, "2001:db8:0:1:ffff::2"),
            "421 4.7.0 Too many connections from 2001:db8:0:1::/64, try later",
        )
        self.assertEqual(self.connect(step, "2001:db8:0:2::1"), "")

    def test_messages(self) -> None:
        """So it is with messages, at MAIL, and with recipients, at RCPT."""
        step = self.make(STEP, messages=Rate(1, 60), recipients=Rate(2, 60))
        self.assertEqual(self.mail(step), "")
        self.assertEqual(
            self.mail(step), "450 4.7.0 Too many messages from 192.0.2.0/24, try later"
        )
        self.assertEqual([self.rcpt(step), self.rcpt(step, BOB)], ["", ""])
        self.assertEqual(
            self.rcpt(step), "450 4.7.0 Too many recipients from 192.0.2.0/24, try later"
        )
        self.assertEqual(self.connect(step), "")

    def test_accounts(self) -> None:
        """Who is logged in counts as the account, wherever from."""
        step = self.make(
            STEP,
            messages=Rate(1, 60),
            recipients=Rate(1, 60),
            accountMessages=Rate(2, 60),
            accountRecipients=Rate(2, 60),
        )
        for peer in ("192.0.2.1", "198.51.100.1"):
            self.assertEqual(self.mail(step, login=ALICE, peer=peer), "")
            self.assertEqual(self.rcpt(step, login=ALICE, peer=peer), "")
        self.assertEqual(
            self.mail(step, login=ALICE, peer="127.0.0.1"),
            "450 4.7.0 Too many messages from alice@example.test, try later",
        )
        self.assertIn("Too many recipients", self.rcpt(step, login="Alice@example.test"))
        self.assertEqual(self.mail(step, login=BOB), "")
        # The network's own was not touched.
        self.assertEqual([self.mail(step), self.rcpt(step)], ["", ""])

    def test_accountsAreUnlimited(self) -> None:
        """Without a rate of their own, accounts have none."""
        step = self.make(STEP, messages=Rate(1, 60))
        self.assertEqual([self.mail(step, login=ALICE) for _ in range(9)], [""] * 9)

    def test_exempt(self) -> None:
        """This machine, Unix sockets and exempt networks may come as fast as they like."""
        step = self.make(
            STEP,
            connections=Rate(1, 60),
            messages=Rate(1, 60),
            recipients=Rate(1, 60),
            exempt=(ip_network("198.51.100.0/24"), ip_network("2001:db8::/32")),
        )
        for peer in (
            "127.0.0.9",
            "::1",
            "::ffff:127.0.0.1",
            "local",
            "198.51.100.7",
            "2001:db8::1",
        ):
            for _ in range(3):
                self.assertEqual(self.connect(step, peer), "")
                self.assertEqual(self.mail(step, peer=peer), "")
                self.assertEqual(self.rcpt(step, peer=peer), "")

    def test_nothing(self) -> None:
        """Without rates there is nothing to do."""
        self.assertIsNone(STEP.make(STEP.settings(), self.services))
