"""
Tests for L{twisted_mailstack.model.address}.
"""

from __future__ import annotations

from unicodedata import normalize

import idna
from hypothesis import assume, example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.model.address import (
    NULL_PATH,
    Address,
    foldLocalPart,
    formatPath,
    parseDomain,
    parsePath,
)

ATEXT = "abcXYZ019!#$%&'*+-/=?^_`{|}~"
#: Local-parts that need quotes and ones that don't, ASCII and not.
LOCAL_PARTS = st.one_of(
    st.text(ATEXT + ".", max_size=12),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=12),
)
DOMAINS = st.sampled_from(
    (
        *("a.example", "b", "x-1.y--2.example", "[192.0.2.1]", "[IPv6:2001:db8::1]"),
        *("bücher.example", "faß.example", "例え.テスト"),
    )
)


class AddressTests(SynchronousTestCase):
    """
    C{Address.parse}: RFC 5321 §4.1.2's Mailbox.
    """

    def assertParses(self, text: str, localPart: str, domain: str) -> None:
        """
        The text is that address, which written out and read again is the same.
        """
        address = Address.parse(text)
        self.assertEqual(address, Address(localPart, domain))
        self.assertEqual(Address.parse(str(address)), address)

    def assertRefused(self, *texts: str) -> None:
        """
        None of the texts is an address.
        """
        for text in texts:
            with self.assertRaises(SyntaxProblem, msg=repr(text)):
                Address.parse(text)

    def test_dotString(self) -> None:
        """Dot-string: atoms joined by single dots."""
        self.assertParses("user@example.com", "user", "example.com")
        self.assertParses("a.b+c@example.com", "a.b+c", "example.com")
        self.assertParses("!#$%&'*+-/=?^_`{|}~@x", "!#$%&'*+-/=?^_`{|}~", "x")

    def test_localPartKeepsItsCase(self) -> None:
        """Only the domain has no case (RFC 5321 §2.4)."""
        self.assertParses("John.Doe@EXAMPLE.Com", "John.Doe", "example.com")

    def test_quoted(self) -> None:
        """All quoted forms are equivalent, and the least quoting is written (RFC 5321 §4.1.2)."""
        self.assertParses('"user"@example.com', "user", "example.com")
        self.assertParses(r'"u\s\e\r"@example.com', "user", "example.com")
        self.assertParses('"john doe"@example.com', "john doe", "example.com")
        self.assertParses(r'"Joe\,Smith"@example.com', "Joe,Smith", "example.com")
        self.assertParses(r'"a\"b\\c"@example.com', 'a"b\\c', "example.com")
        self.assertParses('"a@b"@example.com', "a@b", "example.com")
        self.assertParses('"a..b"@example.com', "a..b", "example.com")
        self.assertParses('">"@example.com', ">", "example.com")
        self.assertParses('""@example.com', "", "example.com")
        self.assertEqual(str(Address.parse('"user"@example.com')), "user@example.com")
        self.assertEqual(str(Address("a b", "x")), '"a b"@x')
        self.assertEqual(str(Address('a"\\', "x")), r'"a\"\\"@x')

    def test_badLocalParts(self) -> None:
        """Everything else is no local-part."""
        self.assertRefused(
            *("@x", "a.@x", ".a@x", "a..b@x", "a b@x", "a@b@x", "a,b@x", "a<b@x", "(a)@x"),
            *('"a@x', 'a"@x', '"a"b@x', 'a"b"@x', '"a""b"@x', '"a\\"@x', '"a\n"@x', '"\\\n"@x'),
            *("a\0@x", "a\x7f@x", '"\x1f"@x', "a\x85@x", "a\ud800@x", '"\udfff"@x', "a\r\n@x"),
        )

    def test_noAddress(self) -> None:
        """Nor is a text without one of its halves."""
        self.assertRefused("", "a", "@", "a@", "@x", "<a@x>", " a@x", "a@x ", "a@x\n", "a @x")

    def test_domains(self) -> None:
        """Labels of letters, digits and inner hyphens, at most 63 octets each."""
        self.assertParses("a@x", "a", "x")
        self.assertParses("a@1.2x.3-4", "a", "1.2x.3-4")
        self.assertParses("a@" + "x" * 63 + ".example", "a", "x" * 63 + ".example")
        self.assertRefused(
            *("a@.", "a@x.", "a@.x", "a@x..y", "a@-x", "a@x-", "a@x.-y", "a@x y", "a@x!y", "a@x/y"),
            *("a@" + "x" * 64, "a@x\0", "a@x\n", "a@x:25", "a@x%y", "a@[x]y", "a@x[1.2.3.4]"),
        )

    def test_lengths(self) -> None:
        """RFC 5321 §4.5.3.1: 64 octets of local-part, 254 of an address that fits into a path."""
        label = "d" * 61 + "."
        domain = label * 3 + "e"
        self.assertParses("l" * 64 + "@" + domain, "l" * 64, domain)
        self.assertRefused("l" * 65 + "@x")
        self.assertParses("é" * 32 + "@x", "é" * 32, "x")
        self.assertRefused("é" * 32 + "l@x")
        self.assertRefused("é" * 33 + "@x")
        # Quotes and backslashes aren't the local-part's own.
        self.assertParses('"' + '\\"' * 64 + '"@x', '"' * 64, "x")
        self.assertRefused('"' + '\\"' * 65 + '"@x')
        longest = "l" * 64 + "@" + label * 3 + "e" * 3
        self.assertEqual(len(longest), 254)
        Address.parse(longest)
        self.assertRefused(longest + "e")

    def test_smtputf8(self) -> None:
        """Letters outside ASCII in both halves (RFC 6531 §3.3)."""
        self.assertParses("jürgen@example.com", "jürgen", "example.com")
        self.assertParses('"jürgen x"@example.com', "jürgen x", "example.com")
        self.assertParses("用户@例え.テスト", "用户", "xn--r8jz45g.xn--zckzah")
        self.assertParses("😀.x@example.com", "😀.x", "example.com")

    def test_isASCII(self) -> None:
        """Only a local-part outside ASCII needs SMTPUTF8; a domain has A-labels."""
        self.assertTrue(Address.parse("user@bücher.example").isASCII)
        self.assertFalse(Address.parse("jürgen@example.com").isASCII)

    @given(LOCAL_PARTS, DOMAINS)
    @example("a b", "x")
    @example("\u00a0", "x")
    @example("a\u2028b", "x")
    def test_roundTrip(self, localPart: str, domain: str) -> None:
        """Every address survives being written and read, alone and as a path."""
        assume(len(localPart.encode()) <= 64)
        address = Address(localPart, parseDomain(domain))
        self.assertEqual(Address.parse(str(address)), address)
        self.assertEqual(parsePath(formatPath(address) + " SIZE=1"), (address, " SIZE=1"))

    @given(st.text(st.sampled_from('a@."\\ <>[]é:') | st.characters(), max_size=20))
    def test_anyText(self, text: str) -> None:
        """Any text is an address that is written and read again the same, or is refused."""
        try:
            address = Address.parse(text)
        except SyntaxProblem:
            return
        self.assertEqual(Address.parse(str(address)), address)
        self.assertTrue(address.domain.isascii())
        str(address).encode("utf-8")


class DomainTests(SynchronousTestCase):
    """
    C{parseDomain}: names as A-labels, and address literals.
    """

    def test_idna2008(self) -> None:
        """U-labels become the A-labels under which they are registered (RFC 5891)."""
        for text, domain in (
            ("bücher.example", "xn--bcher-kva.example"),
            # IDNA2003 took these for fass.example, and dropped the joiner.
            ("faß.example", "xn--fa-hia.example"),
            ("βόλος.com", "xn--nxasmm1c.com"),
            ("نامه\u200cای.com", "xn--mgba3gch31f060k.com"),
            ("xn--FA-hia.example", "xn--fa-hia.example"),
        ):
            self.assertEqual(parseDomain(text), domain)
            self.assertEqual(parseDomain(domain), domain)

    def test_mapped(self) -> None:
        """Capitals, wide forms, ideographic full stops and decomposed letters are the same name."""
        for text in (
            "BÜCHER.example",
            "bu\u0308cher.example",
            "ｂücher。example",
            "bücher.EXAMPLE",
        ):
            self.assertEqual(parseDomain(text), "xn--bcher-kva.example")
        self.assertEqual(parseDomain("\u212aelvin.example"), "kelvin.example")

    def test_notRegistrable(self) -> None:
        """What no registry may have is refused, look-alikes of delimiters among it."""
        for text in (
            *(
                "☕.example",
                "a\u2044b.example",
                "a\u200db.example",
                "\u0301a.example",
                "ü..x",
                "ü.",
            ),
            *(
                "-ü.example",
                "ü-.example",
                "a ü",
                "ü\u2028",
                "ü" * 60 + ".example",
                "ü." * 150 + "x",
            ),
            *("\ud800.example", "xn--ü.example"),
        ):
            with self.assertRaises(SyntaxProblem, msg=repr(text)):
                parseDomain(text)

    @given(st.text(st.characters(categories=["Ll", "Lo", "Nd"]), min_size=1, max_size=8))
    def test_sameAsLibrary(self, label: str) -> None:
        """A name is that of IDNA2008 with UTS #46's mapping, or none."""
        try:
            expected = idna.encode(f"{label}.example", uts46=True).decode("ascii")
        except idna.IDNAError:
            if not label.isascii():
                self.assertRaises(SyntaxProblem, parseDomain, f"{label}.example")
            return
        self.assertEqual(parseDomain(f"{label}.example"), expected)

    def test_ipv4(self) -> None:
        """[192.0.2.1]: four decimal numbers up to 255 (RFC 5321 §4.1.3), zeros in front or not."""
        self.assertEqual(parseDomain("[192.0.2.1]"), "[192.0.2.1]")
        self.assertEqual(parseDomain("[127.000.000.010]"), "[127.0.0.10]")
        for text in (
            *("[]", "[1.2.3]", "[1.2.3.4.5]", "[256.1.1.1]", "[1.2.3.4", "1.2.3.4]", "[1.2.3.4]x"),
            *("[0001.2.3.4]", "[1..3.4]", "[ 1.2.3.4]", "[１.2.3.4]", "[0x1.2.3.4]", "[-1.2.3.4]"),
            *("[1.2.3.4\n]", "[[1.2.3.4]]", "[example.com]", "[1.2.3.4%eth0]", "[²5.2.3.4]"),
        ):
            with self.assertRaises(SyntaxProblem, msg=repr(text)):
                parseDomain(text)

    def test_ipv6(self) -> None:
        """[IPv6:...]: the tag in any case, all forms of the address, which have one canonical."""
        for text, literal in (
            ("[IPv6:2001:DB8:0:0:0:0:0:1]", "[IPv6:2001:db8::1]"),
            ("[ipv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
            ("[IPv6:::]", "[IPv6:::]"),
            ("[IPv6:::1]", "[IPv6:::1]"),
            ("[IPv6:1:2:3:4:5:6:7:8]", "[IPv6:1:2:3:4:5:6:7:8]"),
        ):
            self.assertEqual(parseDomain(text), literal)
        self.assertEqual(
            parseDomain("[IPv6:64:ff9b::192.0.2.33]"), parseDomain("[IPv6:64:ff9b::c000:221]")
        )
        for text in (
            *(
                "[2001:db8::1]",
                "[IPv6:]",
                "[IPv6:1]",
                "[IPv6:1::2::3]",
                "[IPv6:g::]",
                "[IPv6: ::1]",
            ),
            *("[IPv6:fe80::1%eth0]", "[IPv6:fe80::1%a>b c]", "[IPv6:1:2:3:4:5:6:7:8:9]"),
            *("[IPv6:::1", "[IPv6:::ffff:1.2.3.256]", "[IPv6:12345::]", "[IPv4:1.2.3.4]"),
        ):
            with self.assertRaises(SyntaxProblem, msg=repr(text)):
                parseDomain(text)

    def test_otherLiterals(self) -> None:
        """A tag that isn't registered with IANA is refused: IPv6 is the only one there is."""
        for text in ("[X400:c=de]", "[tag:content]", "[IPv7:1]"):
            with self.assertRaises(SyntaxProblem, msg=text):
                parseDomain(text)


class PathTests(SynchronousTestCase):
    """
    C{parsePath} and C{formatPath}.
    """

    def test_null(self) -> None:
        """<> is the null path, no address and no text (RFC 5321 §4.5.5)."""
        self.assertEqual(parsePath("<>"), (NULL_PATH, ""))
        self.assertEqual(parsePath("<> BODY=8BITMIME"), (None, " BODY=8BITMIME"))
        self.assertEqual(formatPath(NULL_PATH), "<>")

    def test_rest(self) -> None:
        """What follows the bracket is given back as it is."""
        address = Address("a", "x")
        self.assertEqual(parsePath("<a@x>"), (address, ""))
        self.assertEqual(parsePath("<a@x> SIZE=1"), (address, " SIZE=1"))
        self.assertEqual(parsePath("<a@x>y"), (address, "y"))
        self.assertEqual(formatPath(address), "<a@x>")

    def test_quotedBrackets(self) -> None:
        """A bracket, a quote or a backslash in a quoted local-part doesn't end the path."""
        for localPart in (">", "<", '">', "\\", '\\">', "a@b> SIZE=1"):
            address = Address(localPart, "x")
            self.assertEqual(parsePath(formatPath(address) + " y"), (address, " y"))

    def test_sourceRoute(self) -> None:
        """A source route is accepted and ignored (RFC 5321 §4.1.1.3, appendix C)."""
        for text in ("<@a.example:u@x>", "<@a.example,@b.example:u@x>", "<@ü.example:u@x>"):
            self.assertEqual(parsePath(text), (Address("u", "x"), ""), text)
        self.assertEqual(parsePath('<@a:"b:c"@x>'), (Address("b:c", "x"), ""))

    def test_refused(self) -> None:
        """What isn't a path is refused."""
        for text in (
            *("", "a@x", "<a@x", "< a@x>", "<a@x >", "< >", "<a>", '<"a@x>', '<"a\\"@x>', "<\\>"),
            *("<@a:>", "<@a>", "<a:u@x>", "<@a,:u@x>", "<@a b:u@x>", "<@a.example:>", "<<a@x>>"),
            *("<a\ud800@x>", "<a@\udfff>"),
        ):
            with self.assertRaises(SyntaxProblem, msg=repr(text)):
                parsePath(text)

    def test_length(self) -> None:
        """A path has at most 256 octets (RFC 5321 §4.5.3.1.3), written with A-labels."""
        rest = "." + "d" * 61 + "." + "d" * 61 + "." + "d" * 63
        self.assertEqual(len(f"<{'l' * 64}@{rest}>"), 255)
        parsePath(f"<{'l' * 64}@e{rest}>")
        for label in ("ee", "é"):
            with self.assertRaises(SyntaxProblem):
                parsePath(f"<{'l' * 64}@{label}{rest}>")


class FoldTests(SynchronousTestCase):
    """
    C{foldLocalPart}.
    """

    def test_fold(self) -> None:
        """Capitals and composition make no difference; other characters do."""
        for one, other in (("JOHN", "john"), ("JÜRGEN", "ju\u0308rgen"), ("ΣΑΣ", "σας")):
            self.assertEqual(foldLocalPart(one), foldLocalPart(other))
        self.assertNotEqual(foldLocalPart("jürgen"), foldLocalPart("jurgen"))

    @given(st.text(st.characters(codec="utf-8"), max_size=8))
    @example("\u0345\u0301")
    @example("α\u0345\u0301")
    @example("İ\u0327")
    def test_stable(self, text: str) -> None:
        """Folding twice changes no more, and all compositions fold the same."""
        folded = foldLocalPart(text)
        self.assertEqual(foldLocalPart(folded), folded)
        for form in ("NFC", "NFD"):
            self.assertEqual(foldLocalPart(normalize(form, text)), folded)
