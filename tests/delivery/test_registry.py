"""
The policies that can be configured by name, and what several of them want.
"""

from __future__ import annotations

import re
from dataclasses import is_dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import twisted_mailstack
from tests.delivery.steps.support import StepTestCase
from tests.docs import DOCS
from twisted_mailstack.delivery.policy import HopLimit, PolicyStep
from twisted_mailstack.delivery.registry import RECEIVING, STEPS, SUBMISSION, makeSteps
from twisted_mailstack.delivery.step import (
    Buckets,
    Exemptions,
    NoSettings,
    Rate,
    StepProblem,
    StepRecord,
    clientAddress,
    clientNetwork,
    parseRate,
)
from twisted_mailstack.delivery.steps.deliveredto import DeliveredTo
from twisted_mailstack.delivery.steps.greylisting import GreylistingSettings
from twisted_mailstack.delivery.steps.hops import HopLimitSettings
from twisted_mailstack.delivery.steps.ownsender import OwnSender, OwnSenderSettings


class RegistryTests(StepTestCase):
    """
    L{STEPS} and L{makeSteps}.
    """

    def test_everyFile(self) -> None:
        """Every file of C{delivery/steps} is in the table, once, and has a name of its own."""
        package = Path(twisted_mailstack.__file__).parent / "delivery" / "steps"
        files = [path for path in package.glob("*.py") if path.stem != "__init__"]
        self.assertEqual(len(STEPS), len(files))
        names = [record.name for record in STEPS]
        self.assertEqual(len(set(names)), len(names))
        for name in names:
            self.assertRegex(name, r"\A[a-z]+(-[a-z]+)*\Z")

    def test_orders(self) -> None:
        """Both orders name what there is, each once, and counting comes last."""
        names = {record.name for record in STEPS}
        for order in (RECEIVING, SUBMISSION):
            self.assertEqual(len(set(order)), len(order))
            self.assertLessEqual(set(order), names)
            self.assertEqual(order[-1], "account-limits")
        self.assertEqual(set(RECEIVING) | set(SUBMISSION), names)

    def test_documented(self) -> None:
        """Every policy has its place in docs/policies.rst."""
        text = (DOCS / "policies.rst").read_text("utf-8")
        for record in STEPS:
            self.assertTrue(re.search(rf"^``{record.name}``$", text, re.MULTILINE), record.name)

    def test_defaults(self) -> None:
        """Without settings only what asks nobody and forbids nothing honest is there."""
        steps = makeSteps(RECEIVING, {}, self.services)
        self.assertEqual([type(each) for each in steps], [OwnSender, HopLimit, DeliveredTo])
        for record in STEPS:
            self.assertTrue(is_dataclass(record.settings()), record.name)

    def test_order(self) -> None:
        """The steps are in the order of the names, made with their settings."""
        settings = {
            "hop-limit": HopLimitSettings(limit=150),
            "own-sender": OwnSenderSettings(required=False),
        }
        steps = makeSteps(["delivered-to", "own-sender", "hop-limit"], settings, self.services)
        self.assertEqual([type(each) for each in steps], [DeliveredTo, HopLimit])
        self.assertEqual(self.data(steps[1], b"Received: x\r\n" * 140), "")

    def test_unknown(self) -> None:
        """A name that there isn't is told, with the nearest that there is."""
        error = self.assertRaises(StepProblem, makeSteps, ["greylist"], {}, self.services)
        self.assertEqual(str(error), "there is no policy greylist; did you mean greylisting?")
        error = self.assertRaises(StepProblem, makeSteps, ["xyz"], {}, self.services)
        self.assertIn("there are rates, dnsbl", str(error))

    def test_problem(self) -> None:
        """What can't be made is told with its name."""
        settings = {"greylisting": GreylistingSettings(enabled=True, exemptRecipients=("a..b",))}
        error = self.assertRaises(StepProblem, makeSteps, ["greylisting"], settings, self.services)
        self.assertEqual(str(error), "greylisting: 'a..b': Invalid domain name")

    def test_ofOnesOwn(self) -> None:
        """Others add their own, and may take the place of a built-in one."""
        mine, other = PolicyStep(), PolicyStep()
        records = (
            StepRecord(name="mine", settings=NoSettings, make=lambda settings, services: mine),
            StepRecord(name="rates", settings=NoSettings, make=lambda settings, services: other),
        )
        steps = makeSteps(["rates", "mine"], {}, self.services, (*STEPS, *records))
        self.assertEqual(steps, [other, mine])


class RateTests(SynchronousTestCase):
    """
    L{parseRate} and L{Buckets}.
    """

    def test_parse(self) -> None:
        """Rates are a number in a time."""
        for text, rate in (
            ("1/s", Rate(1, 1)),
            ("100/h", Rate(100, 3600)),
            ("20/10m", Rate(20, 600)),
            ("5/2d", Rate(5, 172800)),
            ("", None),
        ):
            self.assertEqual(parseRate(text), rate)
        for text in (
            "0/s",
            "1/0s",
            "1",
            "1/",
            "/s",
            "1/w",
            "-1/s",
            "1/s ",
            "1.5/s",
            "1/-1s",
            "١/s",
        ):
            self.assertRaises(StepProblem, parseRate, text)

    def test_buckets(self) -> None:
        """So many at once, then one each time that one's share of the time is over."""
        seconds = [100.0]
        buckets = Buckets(Rate(3, 60), lambda: seconds[0])
        self.assertEqual([buckets.take("a") for _ in range(5)], [True] * 3 + [False] * 2)
        self.assertTrue(buckets.take("b"))
        seconds[0] += 19.9
        self.assertFalse(buckets.take("a"))
        seconds[0] += 0.1
        self.assertEqual([buckets.take("a"), buckets.take("a")], [True, False])
        # What isn't used doesn't add up beyond the rate.
        seconds[0] += 10_000
        self.assertEqual([buckets.take("a") for _ in range(4)], [True] * 3 + [False])

    def test_refusalsCostNothing(self) -> None:
        """Who comes too fast is served at the rate, however often he tries."""
        seconds = [0.0]
        buckets = Buckets(Rate(1, 1), lambda: seconds[0])
        taken = 0
        for _ in range(1000):
            taken += buckets.take("a")
            seconds[0] += 0.01
        self.assertIn(taken, (10, 11))

    def test_bounded(self) -> None:
        """The ones used longest ago are forgotten."""
        buckets = Buckets(Rate(1, 60), lambda: 0.0, most=3)
        for key in "abca":
            buckets.take(key)
        buckets.take("d")
        self.assertEqual(len(buckets), 3)
        self.assertEqual([buckets.take(key) for key in "ab"], [False, True])


class ClientTests(SynchronousTestCase):
    """
    Which clients there are.
    """

    def test_address(self) -> None:
        """Who is on this machine, and what has no address, is no client on the net."""
        for peer, address in (
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
        ):
            self.assertEqual(clientAddress(peer), ip_address(address))
        for peer in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "local", "", "x", "::"):
            self.assertIsNone(clientAddress(peer), peer)

    def test_network(self) -> None:
        """A /24, or an IPv6 /64."""
        self.assertEqual(clientNetwork(ip_address("192.0.2.77")), "192.0.2.0/24")
        self.assertEqual(clientNetwork(ip_address("2001:db8:1:2:3::4")), "2001:db8:1:2::/64")

    def test_exemptions(self) -> None:
        """Networks of either kind can be exempt."""
        exemptions = Exemptions((ip_network("192.0.2.0/25"), ip_network("2001:db8::/32")))
        for peer in ("192.0.2.127", "::ffff:192.0.2.1", "2001:db8::9", "127.0.0.1"):
            self.assertIsNone(exemptions.client(peer), peer)
        for peer in ("192.0.2.128", "2001:db9::9"):
            self.assertEqual(exemptions.client(peer), ip_address(peer))
