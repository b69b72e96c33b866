"""
Lists of clients that are asked by DNS (RFC 5782).
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network

from twisted.trial.unittest import SynchronousTestCase

from tests.delivery.steps.support import ALICE, PEER, StepTestCase, envelope
from twisted_mailstack.delivery.step import StepProblem
from twisted_mailstack.delivery.steps.dnsbl import (
    STEP,
    BlockList,
    parseBlockList,
    reversedAddress,
)
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import Recipient

NAME = "1.2.0.192.zen.test"
LISTED = f"550 5.7.1 {PEER} is listed by zen.test"


class BlockListTests(SynchronousTestCase):
    """
    L{BlockList}, and how one is configured.
    """

    def test_names(self) -> None:
        """The examples of RFC 5782 §2.1 and §2.4."""
        self.assertEqual(reversedAddress(ip_address("192.0.2.99")), "99.2.0.192")
        self.assertEqual(
            reversedAddress(ip_address("2001:db8:1:2:3:4:567:89ab")),
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2",
        )

    def test_answers(self) -> None:
        """Which answers mean that a client is listed."""
        for text, listed, unlisted in (
            (
                "zen.test",
                ("127.0.0.2", "127.0.0.255", "127.0.1.4"),
                # RFC 5782 §5 keeps the first free; the last says "I don't serve you". What is
                # outside 127/8 comes from who has the list's domain now.
                ("127.0.0.1", "127.255.255.254", "192.0.2.7", "0.0.0.0"),
            ),
            ("zen.test=127.0.0.2", ("127.0.0.2",), ("127.0.0.3",)),
            ("zen.test=127.0.0.2,127.0.0.9", ("127.0.0.2", "127.0.0.9"), ("127.0.0.3",)),
            ("zen.test=127.0.0.4-11", ("127.0.0.4", "127.0.0.11"), ("127.0.0.3", "127.0.0.12")),
            ("zen.test=127.0.3.0/24", ("127.0.3.0", "127.0.3.255"), ("127.0.2.9",)),
            ("zen.test=&6", ("127.0.0.2", "127.0.0.4", "127.0.0.7"), ("127.0.0.8", "127.0.0.9")),
            ("zen.test=127.0.0.0/24,&8", ("127.0.0.9",), ("127.0.0.2", "127.0.1.8")),
        ):
            parsed = parseBlockList(text)
            self.assertEqual(parsed.zone, "zen.test")
            for answer in listed:
                self.assertTrue(parsed.lists(IPv4Address(answer)), (text, answer))
            for answer in unlisted:
                self.assertFalse(parsed.lists(IPv4Address(answer)), (text, answer))

    def test_weights(self) -> None:
        """A weight stands behind a star; without one it is 1."""
        self.assertEqual(parseBlockList("zen.test"), BlockList("zen.test"))
        self.assertEqual(parseBlockList("Zen.TEST.*3"), BlockList("zen.test", 3))
        self.assertEqual(parseBlockList("zen.test=127.0.0.2*-4").weight, -4)

    def test_malformed(self) -> None:
        """What is no list is told."""
        for text in (
            *("", "a..b", "zen.test*", "zen.test*x", "zen.test=", "zen.test=x", "*2", "=127.0.0.2"),
            *("zen.test=192.0.2.1", "zen.test=127.0.0.9-2", "zen.test=::1", "zen.test=&256"),
            *("zen.test=127.0.0.2-300", "zen.test=127.0.0.2,", "zen.test*1*2"),
        ):
            error = self.assertRaises(StepProblem, parseBlockList, text)
            self.assertIn(repr(text), str(error))


class DNSBLTests(StepTestCase):
    """
    C{dnsbl}.
    """

    def setUp(self) -> None:
        """A list that has the client."""
        super().setUp()
        self.dns.answers[NAME, "A"] = ("127.0.0.2",)
        self.zen = BlockList("zen.test")

    def test_listed(self) -> None:
        """A client that is listed is refused at RCPT; others aren't."""
        step = self.make(STEP, lists=(self.zen,))
        self.assertEqual(self.connect(step), "")
        self.assertEqual(self.mail(step), "")
        self.assertEqual(self.rcpt(step), LISTED)
        self.assertEqual(
            self.rcpt(step, peer="::ffff:192.0.2.1"), LISTED.replace(PEER, f"::ffff:{PEER}")
        )
        self.assertEqual(self.rcpt(step, peer="192.0.2.2"), "")
        self.assertEqual(self.data(step), "")

    def test_IPv6(self) -> None:
        """An IPv6 client is looked up by its nibbles (RFC 5782 §2.4)."""
        name = reversedAddress(ip_address("2001:db9::1")) + ".zen.test"
        self.dns.answers[name, "A"] = ("127.0.0.2",)
        step = self.make(STEP, lists=(self.zen,))
        self.assertIn("2001:db9::1 is listed", self.rcpt(step, peer="2001:db9::1"))
        self.assertEqual(self.rcpt(step, peer="2001:db9::2"), "")

    def test_postmaster(self) -> None:
        """The postmaster can be reached (RFC 5321 §4.5.1)."""
        step = self.make(STEP, lists=(self.zen,))
        self.assertEqual(self.rcpt(step, "PostMaster@example.test"), "")
        bare = Recipient(Address("postmaster", ""), {})
        self.assertEqual(self.said(step.recipient(envelope(), bare)), "")

    def test_askedOnce(self) -> None:
        """It is asked when the client connects, and once for all its commands."""
        step = self.make(STEP, lists=(self.zen,))
        self.connect(step)
        self.assertEqual(self.dns.asked, [(NAME, "A")])
        self.mail(step)
        self.rcpt(step)
        self.rcpt(step, "bob@example.test")
        self.connect(step)
        self.assertEqual(self.dns.asked, [(NAME, "A")])

    def test_weights(self) -> None:
        """Weights add up; a list of good clients takes away."""
        for weights, refused in (
            ((1, 1), False),
            ((2, 1), True),
            ((1, 2, -1), False),
            ((3, -1, 1), True),
            ((-3,), False),
        ):
            lists = tuple(BlockList(f"l{n}.test", weight) for n, weight in enumerate(weights))
            for each in lists:
                self.dns.answers[f"1.2.0.192.{each.zone}", "A"] = ("127.0.0.2",)
            step = self.make(STEP, lists=(*lists, BlockList("unlisted.test", 9)), reject=3)
            self.assertEqual(bool(self.rcpt(step)), refused, weights)

    def test_mark(self) -> None:
        """From a lower sum on, messages are marked and taken."""
        self.dns.answers["1.2.0.192.other.test", "A"] = ("127.0.0.2",)
        lists = (self.zen, BlockList("other.test", 2))
        step = self.make(STEP, lists=lists, reject=9, mark=3)
        self.assertEqual(self.rcpt(step), "")
        self.assertEqual(self.data(step), "X-DNSBL: 3; zen.test,\r\n\tother.test\r\n")
        self.assertEqual(self.data(step, peer="192.0.2.2"), "")
        # Only marked.
        step = self.make(STEP, lists=lists, reject=0, mark=1)
        self.assertEqual(self.rcpt(step), "")
        self.assertTrue(self.data(step))
        self.assertEqual(self.data(step, login=ALICE), "")

    def test_noAnswer(self) -> None:
        """A list that doesn't answer has no opinion; the others have theirs."""
        step = self.make(STEP, lists=(BlockList("down.test"),))
        self.dns.failing.add("1.2.0.192.down.test")
        self.assertEqual(self.rcpt(step), "")
        step = self.make(STEP, lists=(BlockList("down.test"), self.zen))
        self.assertEqual(self.rcpt(step), LISTED)

    def test_timeout(self) -> None:
        """A list that takes too long has no opinion either, and isn't waited for any more."""
        self.dns.silent.add("1.2.0.192.slow.test")
        step = self.make(STEP, lists=(BlockList("slow.test"), self.zen), timeout=5.0)
        self.connect(step)
        waiting = [
            self.begin(step.recipient(envelope(), Recipient(Address.parse(ALICE), {})))
            for _ in range(2)
        ]
        self.clock.advance(4.9)
        for each in waiting:
            self.assertNoResult(each)
        self.clock.advance(0.2)
        for each in waiting:
            self.assertIn("is listed by zen.test", self.failureResultOf(each).getErrorMessage())
        self.assertEqual(self.dns.cancelled, ["1.2.0.192.slow.test"])

    def test_exempt(self) -> None:
        """Who is logged in, this machine, private and exempt networks aren't looked up."""
        step = self.make(STEP, lists=(self.zen,), exempt=(ip_network("198.51.100.0/24"),), mark=1)
        self.assertEqual(self.rcpt(step, login=ALICE), "")
        for peer in (
            *("127.0.0.1", "::1", "local", "10.1.2.3", "172.31.0.1", "192.168.7.7"),
            *("169.254.1.1", "fd00::1", "fe80::1", "fe80::1%eth0", "198.51.100.1", "100.64.1.1"),
        ):
            self.assertEqual(self.connect(step, peer), "")
            self.assertEqual(self.rcpt(step, peer=peer), "")
            self.assertEqual(self.data(step, peer=peer), "")
        self.assertEqual(self.dns.asked, [])

    def test_vanished(self) -> None:
        """A client that is gone before the answer came leaves nothing behind."""
        self.dns.silent.add(NAME)
        step = self.make(STEP, lists=(self.zen,))
        self.assertEqual(self.connect(step), "")
        self.clock.advance(10)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_settings(self) -> None:
        """Without lists, or without a reason, there is nothing to do; with them DNS is needed."""
        self.assertIsNone(STEP.make(STEP.settings(), self.services))
        settings = STEP.settings(lists=(self.zen,), reject=0)
        self.assertIsNone(STEP.make(settings, self.services))
        self.services = replace(self.services, lookup=None)
        self.assertRaises(StepProblem, self.make, STEP, lists=(self.zen,))
