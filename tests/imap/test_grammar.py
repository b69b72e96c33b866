"""
Reading commands: C{twisted_mailstack.imap.grammar}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import InvalidMailboxName, MailError, SyntaxProblem
from twisted_mailstack.imap.grammar import TAG, Cursor
from twisted_mailstack.storage.memory import MemoryWriter

#: What is no ATOM-CHAR: "(" / ")" / "{" / SP / CTL / list-wildcards / quoted-specials /
#: resp-specials, and what is no CHAR.
SPECIALS = b'(){ %*"\\]' + bytes(range(0x20)) + bytes(range(0x7F, 0x100))


class CursorTests(SynchronousTestCase):
    """
    One element a test (RFC 3501 §9).
    """

    def read(self, method: Callable[[Cursor], Any], text: bytes) -> Any:
        """
        @return: what the method reads, which is all.
        """
        cursor = Cursor(text)
        value = method(cursor)
        cursor.end()
        return value

    def refuses(self, method: Callable[[Cursor], Any], *texts: bytes) -> None:
        """
        None of these is the element, with nothing behind it.
        """
        for text in texts:
            with self.assertRaises(SyntaxProblem, msg=text):
                self.read(method, text)

    def test_atom(self) -> None:
        """An atom is one or more of all but the specials; the case stays."""
        for octet in range(256):
            text = b"a%cB" % octet
            if octet in SPECIALS:
                self.refuses(Cursor.atom, text, bytes((octet,)))
            else:
                self.assertEqual(self.read(Cursor.atom, text), text)
        self.refuses(Cursor.atom, b"")

    def test_astringAtom(self) -> None:
        """In an astring that is no string C{]} is allowed too."""
        for octet in range(256):
            text = b"a%cB" % octet
            if octet in SPECIALS.replace(b"]", b""):
                self.refuses(Cursor.astring, text)
            else:
                self.assertEqual(self.read(Cursor.astring, text), text)
        self.refuses(Cursor.astring, b"")
        self.assertEqual(self.read(Cursor.astring, b"NIL"), b"NIL")

    def test_quoted(self) -> None:
        """A quoted string has what is between the quotes, with escaped quotes and backslashes."""
        for text, value in (
            (b'""', b""),
            (b'"a (b) {3} * ] %"', b"a (b) {3} * ] %"),
            (rb'"\"My\" mailbox\\Junk"', rb'"My" mailbox\Junk'),
            (rb'"\\\\"', rb"\\"),
            ('"Grüße"'.encode(), "Grüße".encode()),
            (b'"\t\x01\x7f"', b"\t\x01\x7f"),
        ):
            self.assertEqual(self.read(Cursor.string, text), value)
            self.assertEqual(self.read(Cursor.astring, text), value)

    def test_notQuoted(self) -> None:
        """Other escapes, CR, LF, NUL and missing quotes are refused."""
        self.refuses(
            Cursor.string,
            b'"', b'"a', b'a"', rb'"\a"', rb'"\"', b'"a"b', b'"a\rb"', b'"a\nb"', b'"a\0b"',
            b'"\\\r\n"', b"atom", b"", b"NIL",
        )  # fmt: skip

    def test_literal(self) -> None:
        """A literal is its octets, whatever they are; what is behind it goes on."""
        for text, value in (
            (b"{0}\r\n", b""),
            (b"{0+}\r\n", b""),
            (b'{5}\r\n"a{b\\', b'"a{b\\'),
            (b"{4+}\r\n\r\n\x80\xff", b"\r\n\x80\xff"),
            (b"{007}\r\n{3}\r\nab", b"{3}\r\nab"),
        ):
            self.assertEqual(self.read(Cursor.string, text), value)
            self.assertEqual(self.read(Cursor.astring, text), value)
            self.assertEqual(self.read(Cursor.nstring, text), value)
        cursor = Cursor(b"{3}\r\nabc {2}\r\nde")
        self.assertEqual(
            (cursor.astring(), cursor.space(), cursor.astring()), (b"abc", None, b"de")
        )

    def test_notLiteral(self) -> None:
        """NUL is in none (RFC 3501 §9), and what only looks like a literal is none."""
        self.refuses(
            Cursor.string, b"{3}\r\na\0b", b"{3}", b"{-1}\r\na", b"{}\r\n", b"{3}\nabc", b"{3}abc"
        )

    def test_nstring(self) -> None:
        """NIL in any case is none; as a string it is a string."""
        self.assertIsNone(self.read(Cursor.nstring, b"NIL"))
        self.assertIsNone(self.read(Cursor.nstring, b"nil"))
        self.assertEqual(self.read(Cursor.nstring, b'"NIL"'), b"NIL")
        self.refuses(Cursor.nstring, b"NILS", b"NI", b"atom", b"")

    def test_number(self) -> None:
        """Digits."""
        self.assertEqual(self.read(Cursor.number, b"0"), 0)
        self.assertEqual(self.read(Cursor.number, b"4294967295"), 4294967295)
        self.refuses(Cursor.number, b"", b"-1", b"+1", b"1.5", b"a", b" 1", b"9" * 30)

    def test_space(self) -> None:
        """Exactly one space: "It is NOT permitted to substitute TAB, insert additional spaces"."""
        self.read(Cursor.space, b" ")
        self.refuses(Cursor.space, b"", b"  ", b"\t", b"\xa0", b"a")

    def test_skipWord(self) -> None:
        """A word is found in any case, and only whole."""
        for text, found in (
            (b"Return (", True),
            (b"RETURN", True),
            (b"RETURNS", False),
            (b"", False),
        ):
            cursor = Cursor(text)
            self.assertEqual(cursor.skipWord(b"RETURN"), found, text)
            self.assertEqual(cursor.at, 6 if found else 0)

    def test_rest(self) -> None:
        """All that is left is read."""
        cursor = Cursor(b"a bc", at=1)
        self.assertEqual(cursor.rest(), b" bc")
        self.assertTrue(cursor.atEnd)
        self.assertEqual((cursor.rest(), cursor.peek()), (b"", b""))

    def test_mailbox(self) -> None:
        """A mailbox is an astring, in modified UTF-7; INBOX in any case is INBOX."""
        for text, name in (
            (b"inBox", "INBOX"),
            (b'"INBOX"', "INBOX"),
            (b"{5}\r\ninbox", "INBOX"),
            (b"inbox/Sub", "INBOX/Sub"),
            (b"Inboxes", "Inboxes"),
            (b"blurdybloop", "blurdybloop"),
            (b"owatagusiam/", "owatagusiam"),
            (b"#news.comp", "#news.comp"),
            (b"NIL", "NIL"),
            (b"a]b", "a]b"),
            (b'"a b"', "a b"),
            (b"~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),
            (b"&Jjo-!", "☺!"),
            (b"R&-D", "R&D"),
            ('"Entwürfe"'.encode(), "Entwürfe"),
            ("{9}\r\nEntwürfe".encode(), "Entwürfe"),
        ):
            self.assertEqual(self.read(Cursor.mailbox, text), name)

    def test_invalidMailbox(self) -> None:
        """
        Names that no mailbox can have are refused as such; RFC 3501 §5.1.3 tells which "&" are
        invalid.
        """
        for text in (
            b'""', b"/", b"//", b"a//b", b"/a", b"a//", b"{2}\r\na\n", b"&Jjo!", b"&", b'"a & b"',
            b"&U,BTFw-&ZeVnLIqe-", b"&AGE-", b"a&AC8-b", b'"\xff"', b'"\x07"', b"&AAo-",
            b"x" * 2000,
        ):  # fmt: skip
            with self.assertRaises(InvalidMailboxName, msg=text):
                self.read(Cursor.mailbox, text)

    def test_listMailbox(self) -> None:
        """A pattern may have wildcards without quotes, and a client's UTF-8."""
        for text, pattern in (
            (b"*", "*"),
            (b"%", "%"),
            (b"a/%/b*]", "a/%/b*]"),
            (b'"a *"', "a *"),
            (b'""', ""),
            (b"{1}\r\n%", "%"),
            (b"&ZeVnLIqe-*", "日本語*"),
            ("Entwürfe/*".encode(), "Entwürfe/*"),
        ):
            self.assertEqual(self.read(Cursor.listMailbox, text), pattern)
        self.refuses(Cursor.listMailbox, b"", b"(a)", b"a b", b"a{3", b'a"b"', b"a\\b", b"a\tb")

    def test_flagList(self) -> None:
        """Flags in parentheses, system flags in any case, none twice."""
        for text, flags in (
            (b"()", set()),
            (rb"(\Seen)", {"\\Seen"}),
            (
                rb"(\SEEN \deleted $Forwarded seen \Seen)",
                {"\\Seen", "\\Deleted", "$Forwarded", "seen"},
            ),
        ):
            self.assertEqual(self.read(Cursor.flagList, text), flags)

    def test_noFlagList(self) -> None:
        r"""C{\Recent} and C{\*} can't be set, unknown system flags neither; spaces are counted."""
        self.refuses(
            Cursor.flagList,
            rb"(\Recent)", rb"(\*)", rb"(\Unknown)", rb"(\)", b"( )", b"(a  b)", b"( a)", b"(a )",
            b"(a", b"a", b"", b'("a")', b"(a,(b))", b"(a]b)", b"(\xc3\xa4)",
            b"(" + b"x" * 300 + b")",
        )  # fmt: skip

    def test_storeFlags(self) -> None:
        """STORE's flags may go without parentheses."""
        self.assertEqual(self.read(Cursor.storeFlags, rb"\Seen kw"), {"\\Seen", "kw"})
        self.assertEqual(self.read(Cursor.storeFlags, rb"(\Seen kw)"), {"\\Seen", "kw"})
        self.assertEqual(self.read(Cursor.storeFlags, b"()"), set())
        self.refuses(Cursor.storeFlags, b"", b"a ", b"a  b", b"(a) b")

    def test_dateTime(self) -> None:
        """RFC 3501's date-time: seconds since 1970, and the zone in minutes."""
        for text, value in (
            (b'"17-Jul-1996 02:44:25 -0700"', (837596665, -420)),
            (b'" 1-Jan-1970 00:00:00 +0000"', (0, 0)),
            (b'"01-jan-1970 01:00:00 +0100"', (0, 60)),
            (b'"31-Dec-1969 23:59:59 +0000"', (-1, 0)),
            (b'"29-Feb-2024 12:00:00 +0530"', (1709188200, 330)),
        ):
            self.assertEqual(self.read(Cursor.dateTime, text), value)

    def test_noDateTime(self) -> None:
        """Impossible and malformed ones are refused."""
        self.refuses(
            Cursor.dateTime,
            b'"1-Jan-1970 00:00:00 +0000"', b'"00-Jan-1970 00:00:00 +0000"',
            b'"30-Feb-1996 02:44:25 -0700"', b'"29-Feb-2023 02:44:25 -0700"',
            b'"17-Jux-1996 02:44:25 -0700"', b'"17-Jul-96 02:44:25 -0700"',
            b'"17-Jul-1996 24:44:25 -0700"', b'"17-Jul-1996 02:60:25 -0700"',
            b'"17-Jul-1996 02:44:25"', b'"17-Jul-1996 02:44:25 GMT"', b'"17-Jul-1996 02:44:25 -07"',
            b'"17-Jul-0000 02:44:25 -0700"', b'"17-Jul-1996  02:44:25 -0700"', b'"', b'""', b"",
            b"17-Jul-1996 02:44:25 -0700", b'"17-Jul-1996 02:44:25 -9999"',
        )  # fmt: skip

    def test_date(self) -> None:
        """SEARCH's date, with or without quotes: days since 1970."""
        for text, day in ((b"1-Jan-1970", 0), (b'"2-Jan-1970"', 1), (b"01-Feb-1994", 8797)):
            self.assertEqual(self.read(Cursor.date, text), day)
        self.refuses(
            Cursor.date, b"", b'"1-Jan-1970', b'1-Jan-1970"', b"1-1-1970", b"30-Feb-1994",
            b"1-Jan-70", b"1-Jan-0000", b'""',
        )  # fmt: skip

    def test_sequenceSet(self) -> None:
        """Numbers, ranges in both directions and C{*}."""
        read = self.read(Cursor.sequenceSet, b"2,4:7,9,12:*")
        self.assertEqual(list(read.resolve(15)), [2, 4, 5, 6, 7, 9, 12, 13, 14, 15])
        self.assertEqual(
            list(self.read(Cursor.sequenceSet, b"*:4,5:7").resolve(10)), list(range(4, 11))
        )
        self.refuses(
            Cursor.sequenceSet, b"", b"0", b"1:", b":1", b",", b"1,", b"1:2:3", b"4294967296",
            b"a", b"1 2", b"-1", b"1:*:2", b"**",
        )  # fmt: skip

    def test_content(self) -> None:
        """Streamed literals are taken in order, and only where one stands."""
        first, second = MemoryWriter(), MemoryWriter()
        cursor = Cursor(b"{$0}\n {$1}\n", (first, second))
        self.assertIs(cursor.content(), first)
        cursor.space()
        self.assertIs(cursor.content(), second)
        cursor.end()
        for text in (b"{$0}", b"{$1}\n", b"{$2}\n", b"{$}\n", b"{0}\r\n", b"x", b""):
            with self.assertRaises(SyntaxProblem, msg=text):
                Cursor(text, (first, second)).content()

    def test_referenceIsNoString(self) -> None:
        """Where an argument is expected, a message that went to the store isn't one."""
        for method in (
            Cursor.string,
            Cursor.astring,
            Cursor.mailbox,
            Cursor.listMailbox,
            Cursor.atom,
        ):
            with self.assertRaises(SyntaxProblem):
                method(Cursor(b"{$0}\n", (MemoryWriter(),)))

    @given(st.binary(max_size=40), st.integers(0, 3))
    def test_arbitrary(self, text: bytes, at: int) -> None:
        """Whatever a client sends, an element is read or refused; the cursor never goes back."""
        for method in (
            Cursor.atom, Cursor.string, Cursor.astring, Cursor.nstring, Cursor.number,
            Cursor.sequenceSet, Cursor.mailbox, Cursor.listMailbox, Cursor.flagList,
            Cursor.storeFlags, Cursor.dateTime, Cursor.date, Cursor.content,
        ):  # fmt: skip
            cursor = Cursor(text, at=at)
            try:
                method(cursor)
            except MailError:
                continue
            self.assertTrue(at <= cursor.at <= len(text))


class TagTests(SynchronousTestCase):
    """
    C{tag = 1*<any ASTRING-CHAR except "+">}.
    """

    def test_tags(self) -> None:
        """A tag goes to the first space, or to the end."""
        for text, tag in (
            (b"a001 NOOP", b"a001"),
            (b"a", b"a"),
            (b". NOOP", b"."),
            (b"a]b[c:d;e=f} NOOP", b"a]b[c:d;e=f}"),
            (b"a  NOOP", b"a"),
        ):
            match = TAG.match(text)
            assert match is not None, text
            self.assertEqual(match.group(), tag)

    def test_noTags(self) -> None:
        """What has another octet in it is no tag, not even in part."""
        for octet in sorted({*SPECIALS, *b"+"} - {*b" ]"}):
            self.assertIsNone(TAG.match(b"a%cb NOOP" % octet), octet)
            self.assertIsNone(TAG.match(b"%c NOOP" % octet), octet)
        for text in (b"", b" NOOP", b"+ NOOP"):
            self.assertIsNone(TAG.match(text), text)
