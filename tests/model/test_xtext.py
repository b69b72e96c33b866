"""
Tests for L{twisted_mailstack.model.xtext}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.model.xtext import (
    decodeUnitext,
    decodeXtext,
    encodeUnitext,
    encodeXtext,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


class XtextTests(SynchronousTestCase):
    """
    xtext (RFC 3461 §4).
    """

    def test_decode(self) -> None:
        """Printable ASCII stands for itself, "+" and two digits for an octet."""
        for text, octets in (
            ("", b""),
            ("QQ314159", b"QQ314159"),
            ("a+20b", b"a b"),
            ("+2B+3D", b"+="),
            ("+C3+A4+00", b"\xc3\xa4\0"),
            ("!~+7E", b"!~~"),
        ):
            self.assertEqual(decodeXtext(text), octets)

    def test_malformed(self) -> None:
        """Equal signs, spaces, controls, other characters and lower-case digits are none."""
        for text in ("=", "a b", "a\t", "+", "+2", "+2b", "+G0", "ä", "+ 20", "a\n", "+20\n"):
            self.assertRaises(SyntaxProblem, decodeXtext, text)

    @given(TEXTS)
    def test_roundTrip(self, text: str) -> None:
        """What is encoded has nothing in it but xchars and hexchars, and decodes to itself."""
        encoded = encodeXtext(text)
        self.assertTrue(all(33 <= ord(each) <= 126 and each != "=" for each in encoded))
        self.assertEqual(decodeXtext(encoded).decode("utf-8"), text)


class UnitextTests(SynchronousTestCase):
    """
    The utf-8 address type (RFC 6533 §3).
    """

    def test_decode(self) -> None:
        """Characters stand for themselves, the embedded ones for their code points."""
        for text, meaning in (
            ("user@example.test", "user@example.test"),
            ("jörg@example.test", "jörg@example.test"),
            (r"j\x{F6}rg@example.test", "jörg@example.test"),
            (r"\x{2B}\x{3D}\x{20}\x{5C}", "+= \\"),
            (r"\x{1F4E7}\x{10FFFF}", "\U0001f4e7\U0010ffff"),
        ):
            self.assertEqual(decodeUnitext(text), meaning)

    def test_malformed(self) -> None:
        """What has to be encoded, no characters, and other escapes are refused."""
        for text in (
            *("", " ", "a b", "a+b", "a=b", "\\", "\\x", r"\x{}", r"\x{6}", r"\x{f6}", "a\x7f"),
            *(r"\x{D800}", r"\x{DFFF}", r"\x{110000}", r"\x{1234567}", r"\u{F6}", "a\n"),
        ):
            self.assertRaises(SyntaxProblem, decodeUnitext, text)

    def test_encode(self) -> None:
        """UTF-8 stays where it may, controls, spaces and "\\", "+", "=" never do."""
        self.assertEqual(encodeUnitext("jörg+x@ö.test", False), r"jörg\x{2B}x@ö.test")
        self.assertEqual(encodeUnitext("jörg@ö.test", True), r"j\x{F6}rg@\x{F6}.test")
        self.assertEqual(encodeUnitext("a b\t", True), r"a\x{20}b\x{09}")

    @given(TEXTS.filter(bool), st.booleans())
    def test_roundTrip(self, text: str, ascii: bool) -> None:
        """What is encoded decodes to itself, and is ASCII where it has to be."""
        encoded = encodeUnitext(text, ascii)
        self.assertEqual(decodeUnitext(encoded), text)
        if ascii:
            self.assertTrue(encoded.isascii())
