"""
Rights and identifiers (RFC 4314 §2).
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.rights import (
    ALL_RIGHTS,
    NO_RIGHTS,
    effectiveRights,
    formatRights,
    identifiersOf,
    parseRights,
    withNegative,
)


class RightsTests(SynchronousTestCase):
    """
    Letters on the wire, and what they mean.
    """

    def test_virtual(self) -> None:
        """C{c} stands for k and x, C{d} for e and t (RFC 4314 §2.1.1)."""
        self.assertEqual(parseRights("lrswida"), frozenset("lrswieta"))
        self.assertEqual(parseRights("c"), frozenset("kx"))
        self.assertEqual(parseRights("dt"), frozenset("te"))
        self.assertEqual(parseRights(""), NO_RIGHTS)
        self.assertEqual(parseRights("lrswipkxteancd"), ALL_RIGHTS)

    def test_shown(self) -> None:
        """Any member brings the letter of RFC 2086 with it; no right is named twice."""
        for given, shown in (
            ("lrswida", "lrswitead"),
            ("lrswikda", "lrswikteacd"),
            ("x", "xc"),
            ("e", "ed"),
            ("lr", "lr"),
            ("", ""),
        ):
            self.assertEqual(formatRights(parseRights(given)), shown)

    def test_unknown(self) -> None:
        """An unrecognised right is an error, never ignored (RFC 4314 §3.1)."""
        for text in ("lrQswicda", "lrqswicda", "0", "l r", "é", "+l", "\0"):
            self.assertRaises(SyntaxProblem, parseRights, text)

    def test_effective(self) -> None:
        """What entries grant is added up; what is taken away is so whatever grants it (§2)."""
        alice = identifiersOf(Address("alice", "example.test"))
        entries = {
            "alice@example.test": frozenset("lrs"),
            "@example.test": frozenset("wi"),
            "anyone": frozenset("p"),
            "bob@example.test": frozenset("a"),
            "anonymous": frozenset("x"),
            "-anyone": frozenset("w"),
            "-alice@example.test": frozenset("sk"),
            "-bob@example.test": frozenset("l"),
        }
        self.assertEqual(effectiveRights(entries, alice), frozenset("lrip"))
        carol = identifiersOf(Address("carol", "other.test"))
        self.assertEqual(effectiveRights(entries, carol), frozenset("p"))
        self.assertEqual(effectiveRights({}, alice), NO_RIGHTS)

    def test_negative(self) -> None:
        """Each identifier has its negative."""
        self.assertEqual(withNegative(("a@b", "anyone")), ("a@b", "anyone", "-a@b", "-anyone"))
