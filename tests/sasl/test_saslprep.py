"""
SASLprep (RFC 4013).
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.sasl.saslprep import saslprep


class SASLprepTests(SynchronousTestCase):
    """
    What becomes one string, and what is no string at all.
    """

    def test_examples(self) -> None:
        """The examples of RFC 4013 §3."""
        for given, prepared in (
            ("I\u00adX", "IX"),
            ("user", "user"),
            ("USER", "USER"),
            ("\u00aa", "a"),
            ("\u2168", "IX"),
        ):
            self.assertEqual(saslprep(given), prepared)
        for given in ("\u0007", "\u0627\u0031"):
            self.assertRaises(SyntaxProblem, saslprep, given)

    def test_ascii(self) -> None:
        """Every printable ASCII character stands for itself, spaces at the ends included."""
        text = "".join(map(chr, range(0x20, 0x7F)))
        self.assertEqual(saslprep(text), text)
        self.assertEqual(saslprep("  a b  "), "  a b  ")

    def test_forms(self) -> None:
        """Composed, decomposed and wide forms are one (RFC 4013 §2.2: NFKC)."""
        self.assertEqual(saslprep("Gru\u0308\u00dfe"), "Gr\u00fc\u00dfe")
        self.assertEqual(saslprep("\uff30\uff57"), "Pw")
        self.assertEqual(saslprep("\ufb01n"), "fin")

    def test_spaces(self) -> None:
        """Any space is a space (RFC 4013 §2.1)."""
        self.assertEqual(saslprep("a\u00a0b\u3000c\u2003d"), "a b c d")

    def test_mappedToNothing(self) -> None:
        """What can't be seen isn't there; a string of only that is empty, which is no password."""
        self.assertEqual(saslprep("a\u200d\ufe0fb"), "ab")
        self.assertRaises(SyntaxProblem, saslprep, "\u00ad\u200d")
        self.assertRaises(SyntaxProblem, saslprep, "")

    def test_prohibited(self) -> None:
        """Control characters and the like may not be in it, one of each table of RFC 4013 §2.3."""
        for character in (
            *("\0", "\t", "\r", "\n", "\x7f"),
            *("\x80", "\u2028"),
            *("\ue000", "\U000f0000"),
            *("\ufdd0", "\uffff"),
            *("\ud800", "\ufff9", "\u2ff0", "\u200e", "\U000e0041"),
        ):
            problem = self.assertRaises(SyntaxProblem, saslprep, f"a{character}b")
            self.assertIn(f"U+{ord(character):04X}", problem.text)

    def test_directions(self) -> None:
        """
        Letters written from right to left aren't mixed with others, and begin and end the string
        (RFC 3454 §6).
        """
        self.assertEqual(saslprep("\u05d0 1 \u05d1"), "\u05d0 1 \u05d1")
        for text in ("\u05d0a\u05d1", "1\u05d0", "\u05d01"):
            self.assertRaises(SyntaxProblem, saslprep, text)

    def test_young(self) -> None:
        """Characters younger than Unicode 3.2 are taken as they are."""
        self.assertEqual(saslprep("pass\U0001f600word"), "pass\U0001f600word")

    def test_idempotent(self) -> None:
        """What is prepared stays as it is."""
        for text in ("Gru\u0308\u00dfe", "\u2168\u00aa", "a\u00a0b", "\U0001f600"):
            self.assertEqual(saslprep(saslprep(text)), saslprep(text))
