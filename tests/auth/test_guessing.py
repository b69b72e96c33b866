"""
Who is locked out, by what, and who isn't.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable
from ipaddress import ip_network
from typing import Any, TypeVar

from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.auth.guessing import (
    KNOWN,
    GuessingGuard,
    GuessingLimits,
    peerAddress,
)
from twisted_mailstack.storage.memory import KeyedMemory

T = TypeVar("T")
ALICE = "alice@example.test"


class GuardTests(SynchronousTestCase):
    """
    L{GuessingGuard}.
    """

    def setUp(self) -> None:
        """A network may fail three times, an account five, in 100 seconds."""
        self.seconds = 1_700_000_000.0
        self.memory = KeyedMemory(lambda: self.seconds)
        self.guard = self.makeGuard()

    def makeGuard(self, secret: bytes | None = None, **limits: Any) -> GuessingGuard:
        """
        @return: a process's.
        """
        wanted = {"networkFailures": 3, "accountFailures": 5, "period": 100, **limits}
        return GuessingGuard(self.memory, lambda: self.seconds, GuessingLimits(**wanted), secret)

    def now(self, awaitable: Awaitable[T]) -> T:
        """
        @return: the result of what needn't wait.
        """

        async def wait() -> T:
            return await awaitable

        return self.successResultOf(ensureDeferred(wait()))

    def fail(self, peer: str, name: str = ALICE, password: bytes | None = None) -> int:  # type: ignore[override]
        """
        @return: the network's failures.
        """
        return self.now(self.guard.failed(name, peer, password))

    def isLocked(self, peer: str, name: str = ALICE, guard: GuessingGuard | None = None) -> bool:
        """
        @return: whether it is.
        """
        return self.now((guard or self.guard).isLocked(name, peer))

    def test_network(self) -> None:
        """A network that failed so often is locked out for all names; others aren't."""
        for number in range(3):
            self.assertFalse(self.isLocked("192.0.2.9"))
            self.assertEqual(self.fail(f"192.0.2.{number}", f"{number}@example.test"), number + 1)
        for peer in ("192.0.2.0", "192.0.2.200", "::ffff:192.0.2.4"):
            for name in (ALICE, "nobody@example.test"):
                self.assertTrue(self.isLocked(peer, name))
        for peer in ("192.0.3.0", "2001:db8::1", "strange"):
            self.assertFalse(self.isLocked(peer))

    def test_ipv6(self) -> None:
        """Of IPv6 it is a /64, whatever the rest, and however it is written."""
        for number in range(3):
            self.fail(f"2001:db8:0:1::{number}")
        self.assertTrue(self.isLocked("2001:0DB8::1:ffff:1:2:3%eth0"))
        self.assertFalse(self.isLocked("2001:db8:0:2::1"))

    def test_prefixes(self) -> None:
        """What is one network can be said."""
        self.guard = self.makeGuard(ipv4Prefix=32, ipv6Prefix=48)
        for _ in range(3):
            self.fail("192.0.2.1")
            self.fail("2001:db8:0:1::1")
        self.assertEqual([self.isLocked(f"192.0.2.{n}", "x") for n in (1, 2)], [True, False])
        self.assertTrue(self.isLocked("2001:db8:0:2::1"))

    def test_period(self) -> None:
        """It ends by itself; trying on meanwhile, which isn't counted, doesn't prolong it."""
        for _ in range(3):
            self.fail("192.0.2.1")
            self.seconds += 1
        self.seconds += 98
        self.assertTrue(self.isLocked("192.0.2.1"))
        self.seconds += 2
        self.assertFalse(self.isLocked("192.0.2.1"))

    def test_everywhere(self) -> None:
        """Another process, and one that was started anew, know it."""
        for _ in range(3):
            self.fail("192.0.2.1")
        self.assertTrue(self.isLocked("192.0.2.1", guard=self.makeGuard()))

    def test_account(self) -> None:
        """
        A name that was guessed at from many networks isn't taken from new ones any more, but from
        those from which its owner came; one that doesn't exist likewise, so that nobody can tell.
        """
        self.now(self.guard.succeeded(ALICE, "203.0.113.5"))
        for name in (ALICE, "nobody@example.test"):
            for number in range(5):
                self.assertFalse(self.isLocked("198.51.100.1", name))
                self.fail(f"192.0.{number}.1", name)
            self.assertTrue(self.isLocked("198.51.100.1", name))
        self.assertFalse(self.isLocked("203.0.113.77"))
        self.assertTrue(self.isLocked("203.0.113.77", "nobody@example.test"))
        self.assertFalse(self.isLocked("198.51.100.1", "bob@example.test"))

    def test_counts(self) -> None:
        """Told are the network's failures, or the name's, but where its owner comes from."""
        self.now(self.guard.succeeded(ALICE, "203.0.113.5"))
        self.assertEqual([self.fail(f"192.0.{n}.1") for n in range(3)], [1, 2, 3])
        self.assertEqual(self.fail("192.0.0.2", "bob@example.test"), 2)
        self.assertEqual(self.fail("203.0.113.6"), 1)
        self.assertEqual(self.fail("192.0.9.1"), 5)

    def test_knownForAWhile(self) -> None:
        """Where the owner came from is known so long from his last login there."""
        self.now(self.guard.succeeded(ALICE, "203.0.113.5"))
        self.seconds += KNOWN - 86400
        self.now(self.guard.succeeded(ALICE, "203.0.113.5"))
        self.seconds += KNOWN - 1
        for number in range(5):
            self.fail(f"192.0.{number}.1")
        self.assertFalse(self.isLocked("203.0.113.5"))
        self.seconds += 1
        self.assertTrue(self.isLocked("203.0.113.5"))

    def test_knownNetworkGuesses(self) -> None:
        """From where the owner comes one can't guess on and on either."""
        self.now(self.guard.succeeded(ALICE, "203.0.113.5"))
        for _ in range(3):
            self.fail("203.0.113.6")
        self.assertTrue(self.isLocked("203.0.113.5"))

    def test_repeats(self) -> None:
        """A client that tries one old password again and again is counted once."""
        for _ in range(10):
            self.assertEqual(self.fail("192.0.2.1", password=b"old"), 1)
        self.assertFalse(self.isLocked("192.0.2.1"))
        self.assertEqual(self.fail("192.0.2.1", password=b"other"), 2)
        self.assertEqual(self.fail("192.0.2.1", "bob@example.test", b"old"), 3)
        self.assertTrue(self.isLocked("192.0.2.1"))

    def test_repeatsElsewhere(self) -> None:
        """
        Processes that know the same secret know what was shown to the others; without it each
        counts it once. A wrong password of another client, or under another name, is another one.
        """
        one, two = (self.makeGuard(b"shared", networkFailures=0) for _ in range(2))
        for guard in (one, two, one, two):
            self.assertEqual(self.now(guard.failed(ALICE, "192.0.2.1", b"old")), 1)
        self.assertEqual(self.now(two.failed(ALICE, "192.0.2.2", b"old")), 2)
        self.assertEqual(self.now(two.failed(ALICE, "192.0.2.2", b"old")), 2)
        self.assertEqual(self.now(one.failed("bob@example.test", "192.0.2.1", b"old")), 3)
        self.assertEqual(self.now(two.failed(ALICE, "192.0.2.1", b"new")), 4)
        for count in (5, 5):
            self.assertEqual(self.now(self.guard.failed(ALICE, "192.0.2.1", b"old")), count)
        # A failure after the time of the first one counts again.
        self.seconds += 100
        self.assertEqual(self.now(two.failed(ALICE, "192.0.2.1", b"old")), 1)

    def test_repeatsUnknown(self) -> None:
        """Nothing of a wrong password can be found out from what is stored."""
        for password in (b"geheim", b"\xff", b""):
            self.fail("192.0.2.1", password=password)
        for each in ("geheim", hashlib.sha256(b"geheim").hexdigest()[:32]):
            self.assertNotIn(each, repr(self.memory._entries))
        before = {key for key in self.memory._entries if key.startswith("login:r:")}
        self.assertEqual(len(before), 3)
        self.now(self.makeGuard().failed(ALICE, "192.0.2.1", b"geheim"))
        self.assertEqual(len({k for k in self.memory._entries if k.startswith("login:r:")}), 4)

    def test_exempt(self) -> None:
        """This machine, where a webmail may be, and what the operator names is never locked out."""
        self.guard = self.makeGuard(exempt=[*GuessingLimits().exempt, ip_network("192.0.2.0/24")])
        for peer in ("127.0.0.1", "::1", "local", "192.0.2.1", "::ffff:127.0.0.1"):
            for _ in range(10):
                self.assertEqual(self.fail(peer), 0)
            self.assertFalse(self.isLocked(peer))

    def test_off(self) -> None:
        """0 is no limit."""
        self.guard = self.makeGuard(networkFailures=0, accountFailures=0)
        for _ in range(100):
            self.fail("192.0.2.1")
        self.assertFalse(self.isLocked("192.0.2.1"))

    def test_keys(self) -> None:
        """Whatever the name, what is remembered is short, and doesn't show it."""
        self.fail("192.0.2.1", "s3cret\ud800" * 1000)
        for key in self.memory._entries:
            self.assertLess(len(key), 200)
            self.assertNotIn("s3cret", key)

    def test_addresses(self) -> None:
        """What is no address is none."""
        self.assertEqual(str(peerAddress("local")), "127.0.0.1")
        self.assertIsNone(peerAddress("?"))
