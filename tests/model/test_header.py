"""
Tests for L{twisted_mailstack.model.header}.
"""

from __future__ import annotations

import encodings
from collections.abc import Callable
from email.header import Header as EmailHeader
from email.message import Message
from email.utils import formataddr

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.model.header import (
    MAX_ADDRESSES,
    MAX_VALUE,
    Header,
    HeaderAddress,
    decodeBase64,
    decodeCharset,
    decodeParameters,
    decodeText,
    findCodec,
    headerEnd,
    joinSections,
    parseAddressList,
    parseMessageIds,
    parseParameters,
    selectFields,
    unfold,
    withoutComments,
)

#: An address of the form most people have.
PLAIN = "abcdefghijklmnopqrstuvwxyz0123456789-"
GROUP_END = HeaderAddress(None, None, None, None)
#: Octets that header fields are made of, and ones that break them.
SYNTAX = st.lists(
    st.sampled_from(
        [
            *(b"<", b">", b"@", b",", b";", b":", b'"', b"\\", b"(", b")", b"[", b"]", b"."),
            *(b" ", b"\t", b"\r\n ", b"\0", b"\xe9", b"=", b"*", b"'", b"%41", b"a", b"b.c"),
            *(b"=?utf-8?q?x?=", b"=?", b"?=", b"\r", b"\n"),
        ]
    ),
    max_size=30,
).map(b"".join)


def address(local: bytes, domain: bytes, name: bytes | None = None) -> HeaderAddress:
    """
    @return: an ordinary address.
    """
    return HeaderAddress(name, None, local, domain)


def group(name: bytes) -> HeaderAddress:
    """
    @return: what begins a group.
    """
    return HeaderAddress(None, None, name, None)


class HeaderTests(SynchronousTestCase):
    """
    C{Header}, C{headerEnd} and C{unfold}.
    """

    def test_fields(self) -> None:
        """The fields in their order, as written; their names have no case."""
        data = b"Subject: a\r\nX-A:  b \r\n\tc\r\nSUBJECT: d\r\nEmpty:\r\n\r\n"
        header = Header(data)
        self.assertEqual(
            list(header.fields()),
            [
                (b"Subject", b" a"),
                (b"X-A", b"  b \r\n\tc"),
                (b"SUBJECT", b" d"),
                (b"Empty", b""),
            ],
        )
        self.assertEqual(header.get(b"subject"), b"a")
        self.assertEqual(header.getAll(b"suBject"), [b"a", b"d"])
        self.assertEqual(header.get(b"x-a"), b"b \tc")
        self.assertEqual(header.get(b"empty"), b"")
        self.assertIsNone(header.get(b"none"))
        self.assertEqual(header.getAll(b"none"), [])

    def test_lineEnds(self) -> None:
        """Messages of bare LFs have fields too, and so has a header that ends nowhere."""
        for data in (b"A: 1\nB: 2\n 3\n\nbody", b"A: 1\r\nB: 2\n 3", b"A: 1\r\nB: 2\r\n 3\r\n"):
            header = Header(data[: headerEnd(data)])
            self.assertEqual(header.get(b"a"), b"1")
            self.assertEqual(header.get(b"b"), b"2 3")

    def test_spaceBeforeColon(self) -> None:
        """Obsolete syntax (RFC 5322 §4.5, RFC 7103 §7.4)."""
        self.assertEqual(Header(b"MIME-Version : 1.0\r\n").get(b"mime-version"), b"1.0")

    def test_foldsOfSpaces(self) -> None:
        """A line of spaces is a fold, not the header's end (RFC 5322 appendix A.6.3)."""
        data = b"To    : Mary Smith\r\n  \r\n          <mary@example.net>\r\nA: b\r\n\r\n"
        self.assertEqual(headerEnd(data), len(data))
        self.assertEqual(Header(data).get(b"to"), b"Mary Smith            <mary@example.net>")
        self.assertEqual(Header(data).get(b"a"), b"b")

    def test_noFields(self) -> None:
        """Lines that are no field are passed over, with what continues them."""
        data = b"From mary Mon Jan 1\r\nA: 1\r\ngarbage\r\n more\r\n: x\r\n\xe9: y\r\nB: 2\r\n"
        self.assertEqual([name for name, _ in Header(data).fields()], [b"A", b"B"])
        for nothing in (b"", b"\r\n", b" A: 1\r\n", b"\0", b"\n\n"):
            self.assertEqual(list(Header(nothing).fields()), [])

    def test_headerEnd(self) -> None:
        """The header ends behind the first blank line, or with the message."""
        for data, end in (
            *((b"A: b\r\n\r\nbody", 8), (b"A: b\n\nbody", 6), (b"A: b\r\n\nbody", 7)),
            *((b"A: b\n\r\nbody", 7), (b"\r\nbody", 2), (b"\nbody", 1), (b"", 0), (b"A: b", 4)),
            *((b"A: b\r\n", 6), (b"A: b\r\r\n\r\nx", 9), (b"A: b\r\n \r\n\r\nx", 11)),
        ):
            self.assertEqual(headerEnd(data), end, data)

    def test_unfold(self) -> None:
        """A fold's line end goes, its white space stays (RFC 5322 §2.2.3)."""
        for value, unfolded in (
            *((b" a\r\n b", b"a b"), (b"a\r\n\t b \r\n", b"a\t b"), (b"a\n b", b"a b")),
            *((b"\r\n a", b"a"), (b" \t ", b""), (b"a\r\r\n b", b"a b"), (b"a\rb", b"ab")),
        ):
            self.assertEqual(unfold(value), unfolded)

    def test_longValue(self) -> None:
        """Of a value of megabytes a bounded part is looked at."""
        header = Header(b"A: " + b"x" * 1_000_000 + b"\r\nB: y\r\n")
        self.assertLessEqual(len(header.get(b"a") or b""), MAX_VALUE)
        self.assertEqual(header.get(b"b"), b"y")


class SelectFieldsTests(SynchronousTestCase):
    """
    HEADER.FIELDS and HEADER.FIELDS.NOT (RFC 9051 §6.4.5.1).
    """

    HEADER = (
        b"Received: a\r\n b\r\nFrom: x\r\nTo : y\r\nSUBJECT: z\r\nto: w\r\n"
        b"odd line\r\n more\r\n\r\n"
    )

    def test_fields(self) -> None:
        """The fields named, in any case, as stored and in their order, and the blank line."""
        self.assertEqual(
            selectFields(self.HEADER, [b"to", b"RECEIVED"]),
            b"Received: a\r\n b\r\nTo : y\r\nto: w\r\n\r\n",
        )
        self.assertEqual(selectFields(self.HEADER, [b"none"]), b"\r\n")

    def test_not(self) -> None:
        """All that isn't named, lines that are no fields among it."""
        self.assertEqual(
            selectFields(self.HEADER, [b"to", b"Received"], exclude=True),
            b"From: x\r\nSUBJECT: z\r\nodd line\r\n more\r\n\r\n",
        )
        self.assertEqual(selectFields(self.HEADER, [], exclude=True), self.HEADER)
        self.assertEqual(selectFields(b"A: b\r\n\r\n", [b"a"], exclude=True), b"\r\n")

    def test_bareLF(self) -> None:
        """A header with bare LFs keeps its own, the blank line included."""
        self.assertEqual(selectFields(b"A: b\nC: d\n\n", [b"a"]), b"A: b\n\n")
        self.assertEqual(selectFields(b"A: b\nC: d\n\n", [b"a"], exclude=True), b"C: d\n\n")

    def test_noBlankLine(self) -> None:
        """The blank line is given even if the message ends before it, or within a line."""
        for header in (b"A: b\r\nC: d\r\n", b"A: b\r\nC: d"):
            self.assertEqual(selectFields(header, [b"a"]), b"A: b\r\n\r\n")
            self.assertEqual(selectFields(header, [b"c"]), b"C: d\r\n\r\n")
            self.assertEqual(selectFields(header, [b"x"], exclude=True), b"A: b\r\nC: d\r\n\r\n")
        self.assertEqual(selectFields(b"", [b"a"]), b"\r\n")
        self.assertEqual(selectFields(b"\r\n", [b"a"], exclude=True), b"\r\n")

    @given(SYNTAX, st.lists(st.sampled_from([b"a", b"b", b"A"])))
    def test_complement(self, header: bytes, names: list[bytes]) -> None:
        """Whatever the header, each of its octets is in one or in the other."""
        header = header[: headerEnd(header)]
        one = selectFields(header, names)
        other = selectFields(header, names, exclude=True)
        self.assertTrue(one.endswith(b"\n") and other.endswith(b"\n"))
        self.assertGreaterEqual(len(one) + len(other), len(header))
        self.assertEqual(selectFields(other, names), selectFields(other, [b"not there"]))


class AddressListTests(SynchronousTestCase):
    """
    C{parseAddressList}: RFC 5322 §3.4, §4.4, RFC 7103 §7.1; as ENVELOPE has it, RFC 9051 §7.5.2.
    """

    def assertReads(self, value: bytes, *addresses: HeaderAddress) -> None:
        """
        These are the value's addresses.
        """
        self.assertEqual(parseAddressList(value), list(addresses), value)

    def test_mailboxes(self) -> None:
        """RFC 5322 appendix A.1.2."""
        self.assertReads(
            b'"Joe Q. Public" <john.q.public@example.com>',
            address(b"john.q.public", b"example.com", b"Joe Q. Public"),
        )
        self.assertReads(
            b"Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>",
            address(b"mary", b"x.test", b"Mary Smith"),
            address(b"jdoe", b"example.org"),
            address(b"one", b"y.test", b"Who?"),
        )
        self.assertReads(
            rb'<boss@nil.test>, "Giant; \"Big\" Box" <sysservices@example.net>',
            address(b"boss", b"nil.test"),
            address(b"sysservices", b"example.net", b'Giant; "Big" Box'),
        )

    def test_groups(self) -> None:
        """Groups are marked at both ends (RFC 5322 appendix A.1.3)."""
        self.assertReads(
            b"A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;",
            group(b"A Group"),
            address(b"c", b"a.test", b"Ed Jones"),
            address(b"joe", b"where.test"),
            address(b"jdoe", b"one.test", b"John"),
            GROUP_END,
        )
        self.assertReads(b"Undisclosed recipients:;", group(b"Undisclosed recipients"), GROUP_END)
        self.assertReads(
            b"a@x, G: b@x;, c@x",
            address(b"a", b"x"),
            group(b"G"),
            address(b"b", b"x"),
            GROUP_END,
            address(b"c", b"x"),
        )
        # A quoted colon begins none.
        self.assertReads(
            b'"Mary Smith: Personal Account" <smith@home.example>',
            address(b"smith", b"home.example", b"Mary Smith: Personal Account"),
        )

    def test_comments(self) -> None:
        """Comments and folds anywhere (RFC 5322 appendix A.5)."""
        self.assertReads(
            rb"Pete(A nice \) chap) <pete(his account)@silly.test(his host)>",
            address(b"pete", b"silly.test", b"Pete"),
        )
        self.assertReads(
            b"A Group(Some people)\r\n     :Chris Jones <c@(Chris's host.)public.example>,\r\n"
            b"         joe@example.org,\r\n  John <jdoe@one.test> (my dear friend); (the end)",
            group(b"A Group"),
            address(b"c", b"public.example", b"Chris Jones"),
            address(b"joe", b"example.org"),
            address(b"jdoe", b"one.test", b"John"),
            GROUP_END,
        )
        self.assertReads(
            b"(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;",
            group(b"Hidden recipients"),
            GROUP_END,
        )

    def test_commentAsName(self) -> None:
        """A comment is the name of an address without one, as it was before RFC 822."""
        self.assertReads(b"jo@x.test (Jo Doe)", address(b"jo", b"x.test", b"Jo Doe"))
        self.assertReads(b"(Jo) <jo@x.test>", address(b"jo", b"x.test", b"Jo"))
        self.assertReads(rb"jo@x.test (Jo \(D\))", address(b"jo", b"x.test", b"Jo (D)"))

    def test_obsolete(self) -> None:
        """RFC 5322 appendix A.6.1 and A.6.3, and routes of several hops."""
        self.assertReads(
            b"Joe Q. Public <john.q.public@example.com>",
            address(b"john.q.public", b"example.com", b"Joe Q. Public"),
        )
        self.assertReads(
            b"Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example",
            HeaderAddress(b"Mary Smith", b"@node.test", b"mary", b"example.net"),
            address(b"jdoe", b"test.example"),
        )
        self.assertReads(
            b"John Doe <jdoe@machine(comment).  example>",
            address(b"jdoe", b"machine.example", b"John Doe"),
        )
        self.assertReads(
            b"<@a.test,@b.test, @c.test:u@d.test>, e@f",
            HeaderAddress(None, b"@a.test,@b.test,@c.test", b"u", b"d.test"),
            address(b"e", b"f"),
        )

    def test_localParts(self) -> None:
        """The quotes of a local-part aren't part of it (RFC 9051 §9, addr-mailbox)."""
        self.assertReads(b'"john doe"@x.test', address(b"john doe", b"x.test"))
        self.assertReads(b'J <"john@doe"@x.test>', address(b"john@doe", b"x.test", b"J"))
        self.assertReads(b'"a"."b"@x.test', address(b"a.b", b"x.test"))
        self.assertReads(b"jo@[192.0.2.1]", address(b"jo", b"[192.0.2.1]"))
        self.assertReads(b"<jo@[IPv6:2001:db8::1]>", address(b"jo", b"[IPv6:2001:db8::1]"))

    def test_octets(self) -> None:
        """Encoded words stay as they are, and so do octets outside ASCII (RFC 6532)."""
        self.assertReads(
            b"=?ISO-8859-1?Q?Keld_J=F8rn_Simonsen?= <keld@dkuug.dk>",
            address(b"keld", b"dkuug.dk", b"=?ISO-8859-1?Q?Keld_J=F8rn_Simonsen?="),
        )
        self.assertReads(
            "Jürgen <jü@bücher.example>".encode(),
            address("jü".encode(), "bücher.example".encode(), "Jürgen".encode()),
        )
        self.assertReads(b"a\xff b@x", address(b"b", b"x", b"a\xff"))

    def test_brackets(self) -> None:
        """Brackets that are too many, too few, or not closed (RFC 7103 §7.1.2, 7.1.3, 7.1.5)."""
        self.assertReads(b"<<<user2@example.org>>>", address(b"user2", b"example.org"))
        self.assertReads(b"A <<b@x>>", address(b"b", b"x", b"A"))
        self.assertReads(b"<another@example.net", address(b"another", b"example.net"))
        self.assertReads(b"second@example.org>", address(b"second", b"example.org"))
        self.assertReads(
            b"<third@example.net, fourth@example.net>",
            address(b"third", b"example.net"),
            address(b"fourth", b"example.net"),
        )
        self.assertReads(b"A <a@x, B <b@y>", address(b"a", b"x", b"A"), address(b"b", b"y", b"B"))
        self.assertReads(
            b"G:<a@x;, b@y", group(b"G"), address(b"a", b"x"), GROUP_END, address(b"b", b"y")
        )

    def test_parentheses(self) -> None:
        """Parentheses without their other half (RFC 7103 §7.1.4)."""
        self.assertReads(
            b"(Testing <fran@example.com>", address(b"fran", b"example.com", b"Testing")
        )
        self.assertReads(
            b"Testing) <sam@example.com>", address(b"sam", b"example.com", b"Testing)")
        )

    def test_quotes(self) -> None:
        """Quotes without their other half (RFC 7103 §7.1.6)."""
        self.assertReads(b'"Joe <joe@example.com>', address(b"joe", b"example.com", b"Joe"))
        self.assertReads(
            b'"Joe\\" <joe@example.com>, b@x',
            address(b"joe", b"example.com", b"Joe\\"),
            address(b"b", b"x"),
        )

    def test_nameWithoutBrackets(self) -> None:
        """A name beside an address that has no brackets."""
        self.assertReads(b"Jo Doe jo@x.test", address(b"jo", b"x.test", b"Jo Doe"))
        self.assertReads(b"jo@x.test Jo Doe", address(b"jo", b"x.test", b"Jo Doe"))

    def test_missingComma(self) -> None:
        """Addresses without a comma between; words behind an address that are none."""
        self.assertReads(b"A <a@x> B <b@y>", address(b"a", b"x", b"A"), address(b"b", b"y", b"B"))
        self.assertReads(b"<a@x> or so, b@y", address(b"a", b"x"), address(b"b", b"y"))

    def test_noAddress(self) -> None:
        """What has no @ is shown as a local-part (RFC 7103 §7.1.7); nothing is nothing."""
        self.assertReads(b"Joe", address(b"Joe", b""))
        self.assertReads(b"Joe Doe, b@x", address(b"Joe Doe", b""), address(b"b", b"x"))
        self.assertReads(b"<>", address(b"", b""))
        self.assertReads(b"@x", address(b"", b"x"))
        for nothing in (b"", b" ", b",", b", ,\t,", b"\0", b";", b"(only a comment)", b">"):
            self.assertReads(nothing)

    @given(
        st.lists(
            st.tuples(
                st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=15),
                st.text(PLAIN, min_size=1, max_size=8),
                st.text(PLAIN, min_size=1, max_size=8),
            ),
            min_size=1,
            max_size=5,
        ),
        st.sampled_from([", ", ",", ",\r\n ", " , "]),
    )
    def test_sameAsOthers(self, parts: list[tuple[str, str, str]], comma: str) -> None:
        """What another implementation writes is read as it was meant."""
        # That implementation doesn't quote a backslash or blanks in a row by themselves.
        assume(all(name == " ".join(name.split()) and "\\" not in name for name, _, _ in parts))
        value = comma.join(formataddr((name, f"{local}@{domain}")) for name, local, domain in parts)
        self.assertReads(
            value.encode(),
            *(
                address(local.encode(), domain.encode(), name.encode() or None)
                for name, local, domain in parts
            ),
        )

    @settings(max_examples=300)
    @given(SYNTAX)
    @example(b"<@")
    @example(b"a@@b")
    @example(b'"\\')
    def test_anyOctets(self, value: bytes) -> None:
        """Any octets are a list whose groups begin and end."""
        inGroup = False
        for each in parseAddressList(value):
            if each == GROUP_END:
                self.assertTrue(inGroup)
                inGroup = False
            elif each.domain is None:
                self.assertFalse(inGroup)
                inGroup = True
            else:
                self.assertIsNotNone(each.localPart)
        self.assertFalse(inGroup)

    def test_many(self) -> None:
        """So many addresses are taken and no more; a group is closed all the same."""
        for value in (b"a@x," * 20_000, b"a <(b)c@x>," * 5000):
            self.assertEqual(len(parseAddressList(value)), MAX_ADDRESSES)
        found = parseAddressList(b"G:" + b"a@x," * 20_000)
        self.assertEqual(len(found), MAX_ADDRESSES + 1)
        self.assertEqual(found[-1], GROUP_END)


class DecodeTextTests(SynchronousTestCase):
    """
    C{decodeText}: RFC 2047, RFC 6532.
    """

    def test_examples(self) -> None:
        """RFC 2047 §8."""
        for value, text in (
            (b"=?US-ASCII?Q?Keith_Moore?=", "Keith Moore"),
            (b"=?ISO-8859-1?Q?Keld_J=F8rn_Simonsen?=", "Keld Jørn Simonsen"),
            (b"=?ISO-8859-1?Q?Andr=E9?= Pirard", "André Pirard"),
            (
                b"=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=\r\n"
                b" =?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?=",
                "If you can read this you understand the example.",
            ),
            (b"=?iso-8859-8?b?7eXs+SDv4SDp7Oj08A==?=", "םולש ןב ילטפנ"),
            (b"(=?ISO-8859-1?Q?a?=)", "(a)"),
            (b"(=?ISO-8859-1?Q?a?= b)", "(a b)"),
            (b"(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)", "(ab)"),
            (b"(=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=)", "(ab)"),
            (b"(=?ISO-8859-1?Q?a?=\r\n    =?ISO-8859-1?Q?b?=)", "(ab)"),
            (b"(=?ISO-8859-1?Q?a_b?=)", "(a b)"),
            (b"(=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=)", "(a b)"),
        ):
            self.assertEqual(decodeText(value), text)

    def test_language(self) -> None:
        """A word may name its language (RFC 2231 §5)."""
        self.assertEqual(decodeText(b"=?US-ASCII*EN?Q?Keith_Moore?="), "Keith Moore")

    def test_brokenAcrossWords(self) -> None:
        """A character that was cut in two between words of one charset is whole."""
        self.assertEqual(decodeText(b"=?utf-8?q?=E6=97?= =?UTF-8?q?=A5?="), "日")
        self.assertEqual(decodeText(b"=?utf-8?b?5pc=?=\r\n =?utf-8?q?=A5?= x"), "日 x")

    def test_unencoded(self) -> None:
        """Octets outside ASCII are UTF-8, or else Latin-1 (RFC 6532, RFC 7103 §7.7)."""
        self.assertEqual(decodeText("größer".encode()), "größer")
        self.assertEqual(decodeText("größer".encode("latin-1")), "größer")
        self.assertEqual(decodeText("größer =?utf-8?q?=C3=A9?=".encode()), "größer é")

    def test_malformed(self) -> None:
        """What is no encoded word stays; what can be read of a broken one is read."""
        for value, text in (
            *((b"=?utf-8?x?a?=", "=?utf-8?x?a?="), (b"=?utf-8?q?a", "=?utf-8?q?a")),
            *((b"=??q?a?=", "=??q?a?="), (b"a =? b ?= c", "a =? b ?= c")),
            *((b"=?no-such?q?a=E9?=", "aé"), (b"=?no-such?q?=C3=A9?=", "é")),
            *((b"=?utf-8?q?a=ZZ=4?=", "a=ZZ=4"), (b"=?utf-8?q?=FF?=", "\ufffd")),
            *((b"=?utf-8?b?YWI?=", "ab"), (b"=?utf-8?b?Y?=", ""), (b"=?utf-8?b?!!!?=", "")),
            *((b"=?utf-8?q??=", ""), (b"=?utf-8?q?a b?=", "a b"), (b"x=?utf-8?q?a?=y", "xay")),
            *((b"=?unicode_escape?q?=5Cu0041?=", "\\u0041"), (b"=?idna?q?xn--a?=", "xn--a")),
            *((b"=?base64?q?YQ?=", "YQ"), (b"=?rot13?q?a?=", "a"), (b"=?zlib?q?a?=", "a")),
        ):
            self.assertEqual(decodeText(value), text, value)

    @given(
        st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.just(" ")),
        st.sampled_from(
            ["utf-8", "koi8-r", "iso-8859-15", "big5", "gb2312", "shift_jis", "euc-kr"]
        ),
    )
    def test_sameAsOthers(self, text: str, charset: str) -> None:
        """What another implementation encodes, folds included, is read as it was meant."""
        text = " ".join(text.encode(charset, "ignore").decode(charset).split())
        assume(text.isprintable() and "=?" not in text)
        encoded = EmailHeader(text, charset, maxlinelen=40).encode(linesep="\r\n")
        self.assertEqual(decodeText(encoded.encode()), text)

    @given(SYNTAX)
    def test_anyOctets(self, value: bytes) -> None:
        """Any octets are a text that can be stored."""
        decodeText(value).encode("utf-8")


class CharsetTests(SynchronousTestCase):
    """
    C{findCodec} and C{decodeCharset}.
    """

    def test_known(self) -> None:
        """Charsets in the names that occur in mail."""
        for charset, data, text in (
            ("utf-8", b"\xc3\xa9", "é"),
            ("UTF8", b"\xc3\xa9", "é"),
            ('"utf-8"', b"\xc3\xa9", "é"),
            (" utf-8 ", b"\xc3\xa9", "é"),
            ("windows-1252", b"\x80", "€"),
            ("cp1251", b"\xc0", "А"),
            ("KOI8-R", b"\xe1", "А"),
            ("iso-8859-8-i", b"\xe0", "א"),
            ("gb2312", "中".encode("gb2312"), "中"),
            ("ks_c_5601-1987", "한".encode("cp949"), "한"),
            ("iso-2022-jp", "日".encode("iso2022_jp"), "日"),
            ("Shift_JIS", "①".encode("cp932"), "①"),
            ("utf-16", "é".encode("utf-16"), "é"),
            ("utf-7", b"+AOk-", "é"),
            ("macintosh", b"\x8e", "é"),
            ("tis-620", b"\xa1", "ก"),
        ):
            self.assertEqual(decodeCharset(data, charset), text, charset)
            self.assertEqual(decodeCharset(data, charset.encode()), text, charset)

    def test_mislabelled(self) -> None:
        """What is called ASCII or Latin-1 and is UTF-8, is that (RFC 7103 §7.6)."""
        for charset in ("us-ascii", "iso-8859-1", "windows-1252", "", "x-unknown", "no-such"):
            self.assertEqual(decodeCharset("größer".encode(), charset), "größer")
        for charset in ("us-ascii", "iso-8859-1"):
            self.assertEqual(decodeCharset("größer €".encode("cp1252"), charset), "größer €")
            self.assertEqual(decodeCharset(b"\x81", charset), "\x81")

    def test_neverRaises(self) -> None:
        """Wrong octets become U+FFFD, and so do halves of surrogate pairs."""
        self.assertEqual(decodeCharset(b"a\xffb", "utf-8"), "a\ufffdb")
        self.assertEqual(decodeCharset(b"+2AA-", "utf-7"), "\ufffd")
        octets = bytes(range(256)) * 2 + b"\x1b$B\x1b(B+~{"
        for module in encodings.aliases.aliases:
            decodeCharset(octets, module).encode("utf-8")
        for name in ("", "\0", "é", "../x", "a.b", "os", "x" * 10_000, "encodings", "aliases"):
            decodeCharset(octets, name).encode("utf-8")

    def test_notCharsets(self) -> None:
        """Python's codecs that are no charsets aren't used."""
        for name in (
            *("base64", "hex", "zip", "bz2", "rot13", "uu", "quopri", "unicode_escape", "idna"),
            *("raw_unicode_escape", "punycode", "undefined", "unicode-escape"),
        ):
            self.assertIsNone(findCodec(name), name)

    def test_madeUp(self) -> None:
        """Names that senders make up leave nothing behind in Python's own table."""
        before = len(encodings._cache)
        for number in range(100):
            decodeText(b"=?made-up-%d?q?a?=" % number)
            decodeCharset(b"a", b"made-up-%d" % number + b"x" * 100_000)
        self.assertEqual(len(encodings._cache), before)


class Base64Tests(SynchronousTestCase):
    """
    C{decodeBase64} (RFC 2045 §6.8, RFC 7103 §8.2).
    """

    def test_sane(self) -> None:
        """With line ends, with padding or without it."""
        for data, octets in (
            *((b"", b""), (b"YQ==", b"a"), (b"YWI=", b"ab"), (b"YWJj", b"abc")),
            *((b"YW\r\nJj\r\n", b"abc"), (b"YQ", b"a"), (b"YWI", b"ab"), (b"YQ==\r\n", b"a")),
        ):
            self.assertEqual(decodeBase64(data), octets)

    def test_damaged(self) -> None:
        """Junk between is passed over; padding in the middle doesn't end it; rests are dropped."""
        for data, octets in (
            *((b"Y!W-J\xffj", b"abc"), (b"YQ==YQ==", b"aa"), (b"YQ=YWI=YWJj", b"aababc")),
            *((b"Y", b""), (b"YWJjY", b"abc"), (b"====", b""), (b"=YQ", b"a"), (b"YQ===", b"a")),
            (b"\0", b""),
        ):
            self.assertEqual(decodeBase64(data), octets, data)

    def test_hostile(self) -> None:
        """A body of padding is decoded."""
        for piece in (b"=", b"A=", b"AA=", b"AAAA=", b"!="):
            decodeBase64(piece * 200_000)

    @given(st.binary(max_size=60))
    def test_anyOctets(self, data: bytes) -> None:
        """Nothing raises."""
        decodeBase64(data)
        decodeBase64(data + b"=")


class ParameterTests(SynchronousTestCase):
    """
    C{parseParameters} and C{decodeParameters}: RFC 2045 §5.1, RFC 2231.
    """

    def assertReads(self, value: bytes, main: bytes, *parameters: tuple[bytes, bytes]) -> None:
        """
        The value is that.
        """
        self.assertEqual(parseParameters(value), (main, list(parameters)), value)

    def test_sane(self) -> None:
        """Tokens and quoted strings, with comments and folds."""
        self.assertReads(b"text/plain", b"text/plain")
        self.assertReads(b"", b"")
        self.assertReads(
            b"text/plain; charset=us-ascii (Plain text)", b"text/plain", (b"charset", b"us-ascii")
        )
        self.assertReads(
            b'text/plain; charset="us-ascii"', b"text/plain", (b"charset", b"us-ascii")
        )
        self.assertReads(
            b'Multipart/Mixed;\r\n\tboundary="a; b=c";X=y',
            b"Multipart/Mixed",
            (b"boundary", b"a; b=c"),
            (b"X", b"y"),
        )
        self.assertReads(rb'a/b; n="x\"y\\z"', b"a/b", (b"n", b'x"y\\z'))
        self.assertReads(b'a/b; n=""', b"a/b", (b"n", b""))
        self.assertReads(b'a/b; n="(no comment)"', b"a/b", (b"n", b"(no comment)"))

    def test_lenient(self) -> None:
        """Spaces around =, no quotes where they are due, semicolons too many or missing."""
        self.assertReads(b"a/b; n = v", b"a/b", (b"n", b"v"))
        self.assertReads(
            b"a/b; name=my file.txt; x=y", b"a/b", (b"name", b"my file.txt"), (b"x", b"y")
        )
        self.assertReads(b"a/b;;; ; n=v;", b"a/b", (b"n", b"v"))
        self.assertReads(b'a/b; n="v" x="y"', b"a/b", (b"n", b"v"), (b"x", b"y"))
        self.assertReads(b"a/b; boundary=a/b:c=d?", b"a/b", (b"boundary", b"a/b:c=d?"))

    def test_damaged(self) -> None:
        """A quote or a parenthesis that isn't closed doesn't swallow what follows."""
        self.assertReads(b'a/b; n="v; x=y', b"a/b", (b"n", b"v"), (b"x", b"y"))
        self.assertReads(b"a/b (c; x=y", b"a/b", (b"x", b"y"))
        self.assertReads(b"a/b; n; =v; x=y; z", b"a/b", (b"x", b"y"))

    def test_without(self) -> None:
        """withoutComments leaves quoted strings and unclosed comments alone."""
        self.assertEqual(withoutComments(rb'a(b(c)\))d "(e)" (f'), rb'a d "(e)" (f')

    @given(
        st.dictionaries(
            st.text(PLAIN, min_size=1, max_size=8).filter(lambda name: name.strip("-")),
            st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1),
            max_size=4,
        )
    )
    def test_sameAsOthers(self, parameters: dict[str, str]) -> None:
        """What another implementation writes is read as it was meant."""
        message = Message()
        message.add_header("Content-Type", "a/b")
        for name, text in parameters.items():
            message.set_param(name, text)
        self.assertReads(
            message["Content-Type"].encode(),
            b"a/b",
            *((name.encode(), text.encode()) for name, text in parameters.items()),
        )

    @given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1))
    def test_encoded(self, text: str) -> None:
        """Parameters encoded by another implementation are decoded (RFC 2231 §4)."""
        message = Message()
        message.add_header("X", "y", filename=("utf-8", "en", text))
        _, parameters = parseParameters(message["X"].encode())
        self.assertEqual(decodeParameters(parameters), {"filename": text})

    def test_examples(self) -> None:
        """RFC 2231 §3, §4 and §4.1."""
        for value, decoded in (
            (
                b'message/external-body; access-type=URL;\r\n URL*0="ftp://";\r\n'
                b' URL*1="cs.utk.edu/pub/moore/bulk-mailer/bulk-mailer.tar"',
                {
                    "access-type": "URL",
                    "url": "ftp://cs.utk.edu/pub/moore/bulk-mailer/bulk-mailer.tar",
                },
            ),
            (
                b"application/x-stuff; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A",
                {"title": "This is ***fun***"},
            ),
            (
                b"application/x-stuff; title*0*=us-ascii'en'This%20is%20even%20more%20;"
                b' title*1*=%2A%2A%2Afun%2A%2A%2A%20; title*2="isn\'t it!"',
                {"title": "This is even more ***fun*** isn't it!"},
            ),
        ):
            self.assertEqual(decodeParameters(parseParameters(value)[1]), decoded)

    def test_joined(self) -> None:
        """
        Sections become one parameter, where the first of them stood: a plain one, or one that is
        encoded whole (RFC 9051 §7.5.2, RFC 2231 §4).
        """
        for value, joined in (
            (b"x=1; n*1=b; y=2; N*0=a", [(b"x", b"1"), (b"n", b"ab"), (b"y", b"2")]),
            (b"n*0*=utf-8''%C3; n*1*=%A9", [(b"n*", b"utf-8''%C3%A9")]),
            (b"n*0*=utf-8''%C3%A9; n*1=\"a %'\"", [(b"n*", b"utf-8''%C3%A9a%20%25%27")]),
            (b'n*0="it\'s"; n*1*=%20so', [(b"n*", b"''it%27s%20so")]),
            (b"n*=utf-8''%C3%A9; m=n", [(b"n*", b"utf-8''%C3%A9"), (b"m", b"n")]),
            (b"n**=1; n*x=2; n*=3", [(b"n**", b"1"), (b"n*x", b"2"), (b"n*", b"3")]),
            (b"n*0=a; n*0=b", [(b"n", b"a")]),
        ):
            parameters = parseParameters(b"a/b; " + value)[1]
            self.assertEqual(joinSections(parameters), joined, value)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from([b"n*0", b"n*1", b"n*0*", b"n*1*", b"N*2*", b"n", b"n*", b"m*0"]),
                st.binary(max_size=8),
            )
        )
    )
    def test_joiningLosesNothing(self, parameters: list[tuple[bytes, bytes]]) -> None:
        """Joined, parameters mean what they meant."""
        joined = joinSections(parameters)
        self.assertEqual(decodeParameters(joined), decodeParameters(parameters))
        self.assertEqual(joinSections(joined), joined)

    def test_decoded(self) -> None:
        """Sections in any order; cut inside a character; RFC 2047's words; the encoded wins."""
        for value, decoded in (
            (b"n*1*=%A9; n*0*=utf-8''%C3", {"n": "é"}),
            (b"n*=''a%20b", {"n": "a b"}),
            (b"n*=%C3%A9", {"n": "é"}),
            (b"n*=iso-8859-1''%A4", {"n": "¤"}),
            (b"n=plain; n*=utf-8''%C3%A9", {"n": "é"}),
            (b"n*=utf-8''%C3%A9; n=plain", {"n": "é"}),
            (b'N="=?utf-8?q?=C3=A9?="', {"n": "é"}),
            (b"n=a; N=b", {"n": "a"}),
            (b"n*10=k; n*2=c; n*0=a; n*1=b", {"n": "abck"}),
            (b"n*x=1; *=2; n**=3; m=4", {"m": "4"}),
            (b"n*0=a'b'c", {"n": "a'b'c"}),
            (b"n*=no-such''%E9", {"n": "é"}),
            ("n=größer".encode(), {"n": "größer"}),
        ):
            self.assertEqual(decodeParameters(parseParameters(b"a/b; " + value)[1]), decoded, value)

    @given(SYNTAX)
    def test_anyOctets(self, value: bytes) -> None:
        """Nothing raises, and names have no spaces."""
        _, parameters = parseParameters(value)
        for name, _ in parameters:
            self.assertNotRegex(name, rb"[\s;=]")
        decodeParameters(parameters)


class MessageIdTests(SynchronousTestCase):
    """
    C{parseMessageIds} (RFC 5322 §3.6.4).
    """

    def test_ids(self) -> None:
        """The ids with their brackets, whatever stands between."""
        for value, ids in (
            (b"<1234@local.machine.example>", [b"<1234@local.machine.example>"]),
            (b" <a@x>\r\n\t<b@y><c@z> ", [b"<a@x>", b"<b@y>", b"<c@z>"]),
            (b"Your message of Monday <a@x> (really)", [b"<a@x>"]),
            (b"<1234   @   local(blah)  .machine .example>", [b"<1234@local.machine.example>"]),
            (b"<no-at>", [b"<no-at>"]),
        ):
            self.assertEqual(parseMessageIds(value), ids)

    def test_none(self) -> None:
        """What isn't one is none."""
        for value in (b"", b"a@x", b"<>", b"< >", b"<a", b"a>", b"<a<", b"\0"):
            self.assertEqual(parseMessageIds(value), [])


class HostileTests(SynchronousTestCase):
    """
    Fields made to cost time: each of these takes hours where the work isn't linear.
    """

    def test_linear(self) -> None:
        """Each of these large fields is read."""
        readers: tuple[Callable[[bytes], object], ...] = (
            parseAddressList,
            parseParameters,
            decodeText,
            parseMessageIds,
            withoutComments,
            decodeBase64,
            unfold,
            lambda value: Header(b"A: " + value).get(b"a"),
            lambda value: selectFields(value, [b"a"]),
            lambda value: decodeParameters(parseParameters(b"a/b;" + value)[1]),
        )
        for head, body, tail in (
            *((b"", b" ", b"x"), (b"a@b,", b" ", b"("), (b"", b"a ", b"("), (b"", b"\t", b"<")),
            *((b"<", b"a,", b""), (b"<", b"@a,", b""), (b"", b"<", b""), (b"", b"(", b"")),
            *((b"", b"()", b""), (b"", b'"', b""), (b'"', b'\\"', b""), (b"", b'\\"', b"")),
            *((b"", b"[", b""), (b"", b"@", b""), (b"", b"a@", b""), (b"", b",", b"")),
            *((b"", b";", b""), (b"", b":", b""), (b"", b"=", b""), (b"", b"a=", b"")),
            *((b"a/b;c=d", b" ", b"e"), (b"a/b;", b"; ", b""), (b"a/b;", b"a;", b"")),
            *((b"a/b;", b'a="\\";', b""), (b"a/b;c=d", b" (", b""), (b"a/b;", b"a*=", b"")),
            *((b"", b"=?", b""), (b"", b"=?a?q?", b""), (b"", b"=?a?q?x?=", b"")),
            *(
                (b"", b"=?a?b?=", b""),
                (b"", b"\r\n ", b""),
                (b"", b"\r", b"\n"),
                (b"", b"\n", b"x"),
            ),
            *((b"", b"a", b""), (b"", b"a\t", b""), (b"", b"<a", b""), (b"", b"YQ=", b"")),
            *((b"", b"\0", b""), (b"", b"\xff", b""), (b"", b"A: b\n", b""), (b"", b".", b"")),
        ):
            repeats = (MAX_VALUE // 2 - len(head) - len(tail)) // len(body)
            value = head + body * repeats + tail
            for read in readers:
                read(value)
