"""
Tests for L{twisted_mailstack.model.mailboxname}.
"""

from __future__ import annotations

import re
from unicodedata import normalize

from hypothesis import example, given
from hypothesis import strategies as st
from imapclient import imap_utf7  # type: ignore[import-untyped]
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import InvalidMailboxName
from twisted_mailstack.model.mailboxname import (
    MAX_LEVELS,
    MAX_NAME,
    compilePattern,
    decodeName,
    encodeName,
    normaliseName,
    parents,
)

#: Text of all planes, without halves of surrogate pairs.
TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
#: Text in which shifts begin and end often.
SHIFTY = st.text(st.sampled_from("a&-/,+é日😀 "), max_size=20)


class WireTests(SynchronousTestCase):
    """
    C{decodeName} and C{encodeName}.
    """

    def test_examples(self) -> None:
        """The RFC's examples (RFC 3501 §5.1.3), and surrogate pairs."""
        for name, wire in (
            ("~peter/mail/台北/日本語", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("☺!", b"&Jjo-!"),
            ("INBOX", b"INBOX"),
            ("R&D", b"R&-D"),
            ("&", b"&-"),
            ("&-", b"&--"),
            ("Entwürfe", b"Entw&APw-rfe"),
            ("😀", b"&2D3eAA-"),
            ("", b""),
        ):
            self.assertEqual(decodeName(wire), name)
            self.assertEqual(encodeName(name), wire)

    def test_utf8(self) -> None:
        """In a session that speaks UTF-8, & is an ordinary character (RFC 6855 §3)."""
        for name in ("R&D", "&Jjo-!", "日本語&-"):
            self.assertEqual(decodeName(name.encode(), utf8=True), name)
            self.assertEqual(encodeName(name, utf8=True), name.encode())

    def test_utf8Unasked(self) -> None:
        """
        A client that sends UTF-8 all the same is understood, and its & is no shift: octets outside
        ASCII don't occur in modified UTF-7.
        """
        for name in ("Entwürfe", "R&D für alle", "ü&-"):
            self.assertEqual(decodeName(name.encode()), name)

    def test_invalid(self) -> None:
        """
        What isn't modified UTF-7 in its only form is refused (RFC 3501 §5.1.3: no null shifts, no
        superfluous ones, no printable ASCII in base64, the end in ASCII).
        """
        for wire in (
            *(b"&", b"R&D", b"a&", b"&&", b"&Jjo", b"&Jjo!", b"&Jjo-&", b"&AP-", b"&A-"),
            *(b"&U,BTFw-&ZeVnLIqe-", b"&Jjo-&-&", b"& -", b"&=-", b"&Jjo=-", b"&AA==-", b"&/-"),
            # Printable ASCII: "a", "/", "*", "&", and "b" between two that aren't.
            *(b"&AGE-", b"&AC8-", b"&ACo-", b"&ACY-", b"&AOkAYgDp-"),
            # Half a surrogate pair, pairs in the wrong order, half a character, bits left over.
            *(b"&2D0-", b"&3gA-", b"&3gDYPQ-", b"&2D3e-", b"&APx-"),
        ):
            with self.assertRaises(InvalidMailboxName, msg=repr(wire)):
                decodeName(wire)

    def test_invalidUTF8(self) -> None:
        """Octets that are no UTF-8 are refused, overlong forms and surrogates among them."""
        for wire in (
            b"\xff",
            b"a\xe9",
            b"\xc0\xaf",
            b"\xed\xa0\x80",
            b"\xe2\x82",
            b"\xf4\x90\x80\x80",
        ):
            for utf8 in (False, True):
                with self.assertRaises(InvalidMailboxName, msg=repr(wire)):
                    decodeName(wire, utf8)

    @given(TEXT | SHIFTY)
    def test_roundTrip(self, name: str) -> None:
        """Every name survives both encodings."""
        wire = encodeName(name)
        self.assertEqual(decodeName(wire), name)
        self.assertRegex(wire, rb"\A[\x20-\x7e]*\Z")
        self.assertEqual(decodeName(encodeName(name, utf8=True), utf8=True), name)

    @given(TEXT | SHIFTY)
    def test_sameAsOthers(self, name: str) -> None:
        """Another implementation writes it the same."""
        self.assertEqual(encodeName(name), imap_utf7.encode(name))

    @given(st.binary(max_size=20) | st.text("&-,+AZaz09/ ", max_size=12).map(str.encode))
    @example(b"&2D3eAA-&2D3eAA-")
    def test_anyOctets(self, wire: bytes) -> None:
        """Any octets are a name that is written again just so, or are refused; nothing else."""
        try:
            name = decodeName(wire)
        except InvalidMailboxName:
            return
        if b"&" in wire and wire.isascii():
            self.assertEqual(encodeName(name), wire)
        else:
            self.assertEqual(name.encode(), wire)


class NormaliseTests(SynchronousTestCase):
    """
    C{normaliseName}.
    """

    def test_inbox(self) -> None:
        """INBOX has no case, also as the first level; all else has (RFC 9051 §5.1)."""
        for name, normal in (
            ("inbox", "INBOX"),
            ("InBoX", "INBOX"),
            ("inbox/", "INBOX"),
            ("inbox/Work", "INBOX/Work"),
            ("Inbox/inbox", "INBOX/inbox"),
            ("a/inbox", "a/inbox"),
            ("inboxes", "inboxes"),
            ("Work", "Work"),
        ):
            self.assertEqual(normaliseName(name), normal)

    def test_notInbox(self) -> None:
        """A name that merely looks like it in capitals isn't INBOX."""
        for name in ("ınbox", "ınbox/a", "INBOX "):
            self.assertEqual(normaliseName(name), name)

    def test_trailingDelimiter(self) -> None:
        """CREATE a/ makes a (RFC 9051 §6.3.4)."""
        self.assertEqual(normaliseName("a/b/"), "a/b")

    def test_netUnicode(self) -> None:
        """
        However a client composes its characters, it is one mailbox: names are Net-Unicode
        (RFC 9051 §5.1, RFC 6855 §3).
        """
        for name in ("Entwu\u0308rfe", "\u1112\u1161\u11ab", "A\u030a/\u212b"):
            self.assertNotEqual(name, normalize("NFC", name))
            self.assertEqual(normaliseName(name), normalize("NFC", name))

    def test_bad(self) -> None:
        """Empty levels, control characters and what can't be encoded are refused."""
        for name in (
            *("", "/", "//", "/a", "a//b", "a//", "//a", "a/\x00", "a\r\nb", "\x7f", "\x1b[2J"),
            *("a\x85b", "a\u2028b", "\ud800", "a/\udfffb", "\t"),
        ):
            with self.assertRaises(InvalidMailboxName, msg=repr(name)):
                normaliseName(name)

    def test_limits(self) -> None:
        """A name may have so many octets of UTF-8 and so many levels, no more."""
        for good, bad in (
            ("a" * MAX_NAME, "a" * (MAX_NAME + 1)),
            ("é" * (MAX_NAME // 2), "é" * (MAX_NAME // 2) + "a"),
            ("/".join("a" * MAX_LEVELS), "/".join("a" * (MAX_LEVELS + 1))),
        ):
            self.assertEqual(normaliseName(good), good)
            error = self.assertRaises(InvalidMailboxName, normaliseName, bad)
            self.assertEqual(error.imapCode, "LIMIT")

    def test_ordinary(self) -> None:
        """Spaces, wildcards, quotes, emoji and the conventions' characters are allowed."""
        for name in ("a b", "50%", "*", '"', "\\", "(x)", "{3}", "#news.x", "~peter", "&", "😀"):
            self.assertEqual(normaliseName(name), name)

    @given(TEXT | st.text("a/I\u0308é", max_size=10))
    def test_once(self, name: str) -> None:
        """Normalising twice changes no more, and what comes out can be sent and found again."""
        try:
            normal = normaliseName(name)
        except InvalidMailboxName:
            return
        self.assertEqual(normaliseName(normal), normal)
        self.assertEqual(normaliseName(decodeName(encodeName(normal))), normal)
        self.assertTrue(compilePattern(normal)(normal) or "%" in normal or "*" in normal)

    def test_parents(self) -> None:
        """The superior names, the topmost first."""
        self.assertEqual(list(parents("a/bc/d")), ["a", "a/bc"])
        self.assertEqual(list(parents("a")), [])


class PatternTests(SynchronousTestCase):
    """
    C{compilePattern}: LIST's wildcards (RFC 9051 §6.3.9).
    """

    def test_examples(self) -> None:
        """* goes through levels, % doesn't; everything else is itself."""
        names = ("INBOX", "a", "a/b", "a/b/c", "ab", "b/a")
        for pattern, expected in (
            ("*", names),
            ("%", ("INBOX", "a", "ab")),
            ("", ()),
            ("a", ("a",)),
            ("a*", ("a", "a/b", "a/b/c", "ab")),
            ("a%", ("a", "ab")),
            ("a/*", ("a/b", "a/b/c")),
            ("a/%", ("a/b",)),
            ("%/%", ("a/b", "b/a")),
            ("*/%", ("a/b", "a/b/c", "b/a")),
            ("%/b%", ("a/b",)),
            ("*b*", ("a/b", "a/b/c", "ab", "b/a")),
            ("a/%/c", ("a/b/c",)),
            ("%%", ("INBOX", "a", "ab")),
            ("%*%", names),
            ("a/b/", ()),
            ("A", ()),
            ("a.", ()),
        ):
            matches = compilePattern(pattern)
            self.assertEqual(tuple(name for name in names if matches(name)), expected, pattern)

    def test_inbox(self) -> None:
        """INBOX in a pattern has no case, also with levels or wildcards behind it."""
        for pattern in ("inbox", "InBox", "inbox*", "Inbox%"):
            self.assertTrue(compilePattern(pattern)("INBOX"), pattern)
        self.assertTrue(compilePattern("inbox/*")("INBOX/a"))
        for pattern in ("inboxes", "ınbox", "inb%"):
            self.assertFalse(compilePattern(pattern)("INBOX"), pattern)
        self.assertTrue(compilePattern("inboxes")("inboxes"))

    def test_composed(self) -> None:
        """A pattern finds a name however its characters are composed."""
        self.assertTrue(compilePattern("Entwu\u0308r*")("Entwürfe"))

    def test_wholeName(self) -> None:
        """A name matches as a whole, line ends included."""
        self.assertFalse(compilePattern("a%")("ba"))
        self.assertFalse(compilePattern("%a")("ab"))
        self.assertTrue(compilePattern("a*")("a\nb"))

    @given(st.text("ab/*%I", max_size=8), st.text("ab/*%I", max_size=10))
    @example("*a*a*a*a*a*a*a*a*b", "a" * 30)
    def test_anyPattern(self, pattern: str, name: str) -> None:
        """Wildcards match just what a regular expression for them matches."""
        expression = re.escape(pattern).replace(r"\*", ".*").replace("%", "[^/]*")
        self.assertEqual(compilePattern(pattern)(name), bool(re.fullmatch(expression, name)))

    def test_longPattern(self) -> None:
        """A pattern that no name is long enough for matches none; one of wildcards is one."""
        self.assertFalse(compilePattern("a" * 100_000 + "*")("a" * MAX_NAME))
        self.assertTrue(compilePattern("%*" * 100_000)("a"))
        self.assertTrue(compilePattern("*a" * MAX_NAME)("a" * MAX_NAME))
        self.assertFalse(compilePattern("*a" * MAX_NAME + "b")("a" * MAX_NAME))
