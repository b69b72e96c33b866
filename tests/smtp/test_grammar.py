"""
Command lines of SMTP: what is read from them, and that nothing else gets through.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.model.address import Address
from twisted_mailstack.smtp.grammar import (
    POSTMASTER,
    decodeArgument,
    parseClientName,
    parseMailArgument,
    splitCommand,
)


class SplitTests(SynchronousTestCase):
    """
    L{splitCommand}.
    """

    def test_verbAndArgument(self) -> None:
        """A verb in any case, then the rest (RFC 5321 §2.4: verbs are not case sensitive)."""
        for line, verb, argument in (
            (b"NOOP", b"NOOP", b""),
            (b"nOOp", b"NOOP", b""),
            (b"MAIL FROM:<a@b.test> SIZE=1", b"MAIL", b"FROM:<a@b.test> SIZE=1"),
            (b"HELP  DATA", b"HELP", b"DATA"),
            (b"XFOO bar", b"XFOO", b"bar"),
        ):
            self.assertEqual(splitCommand(line), (verb, argument), line)

    def test_trailingSpace(self) -> None:
        """White space at the end of a line is tolerated (RFC 5321 §4.1.1)."""
        for end in (b" ", b"\t", b"  \t "):
            self.assertEqual(splitCommand(b"QUIT" + end), (b"QUIT", b""))
            self.assertEqual(splitCommand(b"HELP DATA" + end), (b"HELP", b"DATA"))

    def test_noVerb(self) -> None:
        """A line that doesn't begin with a word of letters is no command."""
        for line in (
            *(b"", b" ", b" NOOP", b"\tNOOP", b"\0", b"N\0OOP", b"NO\xd6P", b"250 OK", b"<QUIT>"),
            *(b"NOOP\tx", b"NOOP\rx", b"Subject: x", b"--", b".", b"\xff\xfe", b"DATA\nQUIT"),
        ):
            self.assertEqual(splitCommand(line)[0], b"", line)

    @given(st.binary(max_size=40))
    def test_anything(self, line: bytes) -> None:
        """Any line gives a verb of upper-case letters or none, and never an error."""
        verb, _ = splitCommand(line)
        self.assertTrue(verb == b"" or (verb.isalpha() and verb.isupper()))


class DecodeTests(SynchronousTestCase):
    """
    L{decodeArgument}.
    """

    def test_text(self) -> None:
        """UTF-8 is text (RFC 6531 §3.3), whatever script, joiners among it."""
        for text in ("FROM:<a@b.test>", "TO:<θσερ@εχαμπλε.ψομ>", "می\u200cخواهم", "a\u00a0b"):
            self.assertEqual(decodeArgument(text.encode()), text)

    def test_refused(self) -> None:
        """What isn't UTF-8, control characters and other ends of lines are syntax errors."""
        for octets in (
            *(b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"caf\xe9"),
            *(b"\0", b"a\0b", b"a\rb", b"a\nb", b"a\tb", b"\x1b[2J", b"\x7f", b"\x01"),
            *("\u0085".encode(), "\u009b".encode(), "\u2028".encode(), "\u2029".encode()),
        ):
            self.assertRaises(SyntaxProblem, decodeArgument, octets)

    @given(st.binary(max_size=40))
    def test_anything(self, octets: bytes) -> None:
        """Any octets are text that encodes to themselves, or a syntax error."""
        try:
            text = decodeArgument(octets)
        except SyntaxProblem:
            return
        self.assertEqual(text.encode(), octets)


class MailArgumentTests(SynchronousTestCase):
    """
    L{parseMailArgument}.
    """

    def test_paths(self) -> None:
        """Paths of every form of RFC 5321 §4.1.2 and RFC 6531 §3.3."""
        for text, path in (
            ("FROM:<Smith@bar.com>", Address("Smith", "bar.com")),
            ("FROM:<>", None),
            ("from:<a@B.Test>", Address("a", "b.test")),
            ("From:<a@b>", Address("a", "b")),
            ("FROM:<user@[127.0.0.1]>", Address("user", "[127.0.0.1]")),
            ("FROM:<user@[IPv6:::1]>", Address("user", "[IPv6:::1]")),
            ("FROM:<user@[ipv6:2001:DB8::1]>", Address("user", "[IPv6:2001:db8::1]")),
            ("FROM:<a.b-c+d=e/f@b.test>", Address("a.b-c+d=e/f", "b.test")),
            ('FROM:<"Joe\\,Smith"@b.test>', Address("Joe,Smith", "b.test")),
            ('FROM:<"a> b"@b.test>', Address("a> b", "b.test")),
            ('FROM:<"a@b"@b.test>', Address("a@b", "b.test")),
            ('FROM:<"\\""@b.test>', Address('"', "b.test")),
            ('FROM:<"plain"@b.test>', Address("plain", "b.test")),
            ('FROM:<""@b.test>', Address("", "b.test")),
            ("FROM:<θσερ@b.test>", Address("θσερ", "b.test")),
            ("FROM:<a@bücher.test>", Address("a", "xn--bcher-kva.test")),
        ):
            self.assertEqual(parseMailArgument(text, "FROM"), (path, {}), text)

    def test_sourceRoute(self) -> None:
        """A source route is recognised and dropped (RFC 5321 §4.1.1.3, appendix C)."""
        for text in ("TO:<@hosta.int,@jkl.org:userc@d.bar.org>", "TO:<@a.test:userc@d.bar.org>"):
            self.assertEqual(
                parseMailArgument(text, "TO"), (Address("userc", "d.bar.org"), {}), text
            )

    def test_postmaster(self) -> None:
        """RCPT has <Postmaster> in any case and without a domain (§4.1.1.3); MAIL hasn't."""
        for text in ("TO:<postmaster>", "TO:<Postmaster>", "to:<POSTMASTER>"):
            self.assertEqual(parseMailArgument(text, "TO"), (POSTMASTER, {}), text)
        self.assertEqual(
            parseMailArgument("TO:<Postmaster@b.test>", "TO"), (Address("Postmaster", "b.test"), {})
        )
        self.assertRaises(SyntaxProblem, parseMailArgument, "FROM:<postmaster>", "FROM")
        self.assertRaises(SyntaxProblem, parseMailArgument, "TO:<abuse>", "TO")

    def test_spaceBehindColon(self) -> None:
        """A space behind the colon, which many clients send, is tolerated; one before isn't."""
        self.assertEqual(parseMailArgument("FROM: <>", "FROM"), (None, {}))
        self.assertEqual(parseMailArgument("TO: <postmaster>", "TO"), (POSTMASTER, {}))
        for text in ("FROM :<>", " FROM:<>", "FROM\u00a0:<>"):
            self.assertRaises(SyntaxProblem, parseMailArgument, text, "FROM")

    def test_parameters(self) -> None:
        """Parameters are words, with a value or without; keywords are upper-cased, values kept."""
        for text, parameters in (
            ("FROM:<> SIZE=10", {"SIZE": "10"}),
            ("FROM:<> size=10 Body=8bitMime", {"SIZE": "10", "BODY": "8bitMime"}),
            ("FROM:<> SMTPUTF8", {"SMTPUTF8": None}),
            ("FROM:<>  A  B ", {"A": None, "B": None}),
            ("FROM:<> X-1=<a@b.test>", {"X-1": "<a@b.test>"}),
            ("FROM:<> ENVID=a+3Db", {"ENVID": "a+3Db"}),
            ("FROM:<> N=käse", {"N": "käse"}),
            ("FROM:<> N=a\u3000b", {"N": "a\u3000b"}),
        ):
            self.assertEqual(parseMailArgument(text, "FROM"), (None, parameters), text)

    def test_malformed(self) -> None:
        """What the grammar doesn't have is a syntax error, never something like it."""
        for text in (
            *("", "FROM", "FROM:", "FROM<>", "FROM:<", "FROM:>", "FROM:a@b.test", "FROM:<a@b.test"),
            *(
                "FORM:<>",
                "TO:<a@b.test>",
                "FROM:<a>",
                "FROM:<@b.test>",
                "FROM:<a@>",
                "FROM:<a@b@c>",
            ),
            *("FROM:<a b@b.test>", "FROM:<a..b@b.test>", "FROM:<.a@b.test>", "FROM:<a.@b.test>"),
            *('FROM:<"a@b.test>', 'FROM:<a"b@b.test>', 'FROM:<"a"b@b.test>', 'FROM:<"a\\"@b.test>'),
            *("FROM:<a@b..test>", "FROM:<a@.test>", "FROM:<a@b.test.>", "FROM:<a@-b.test>"),
            *("FROM:<a@b_.-test>", "FROM:<a@b c>", "FROM:<a@[1.2.3]>", "FROM:<a@[1.2.3.256]>"),
            *("FROM:<a@[1.2.3.4>", "FROM:<a@1.2.3.4]>", "FROM:<a@[]>", "FROM:<a@[IPv6:1]>"),
            *("FROM:<a@[IPv6:fe80::1%eth0]>", "FROM:<a@[x:y]>"),
            *("FROM:<@a.test>", "FROM:<@a.test:>", "FROM:<@a.test:b>", "FROM:<a@b.test><>"),
            *("FROM:<a@b.test>SIZE=1", "FROM:<a@b.test> =1", "FROM:<a@b.test> SIZE="),
            *("FROM:<a@b.test> SIZE=1=2", "FROM:<a@b.test> -A=1", "FROM:<a@b.test> A_B=1"),
            *("FROM:<a@b.test> SIZE=1 SIZE=1", "FROM:<a@b.test> SIZE=1 size=2"),
            *("FROM:<a@b.test> <b@b.test>", "FROM:<<a@b.test>>", "FROM:<a@b.test>>"),
        ):
            self.assertRaises(SyntaxProblem, parseMailArgument, text, "FROM")

    def test_sizes(self) -> None:
        """
        Local-parts to 64 octets, domains to 255, paths to 256 (RFC 5321 §4.5.3.1.1-3): up to there
        all is taken, beyond nothing. Octets count, not characters.
        """
        label = "d" * 63
        domain = f"{label}.{label}.{'e' * 61}"
        for local in ("a" * 64, "é" * 32, '"' + "a" * 64 + '"'):
            address, _ = parseMailArgument(f"TO:<{local}@b.test>", "TO")
            self.assertEqual(address, Address(local.strip('"'), "b.test"))
        for local in ("a" * 65, "é" * 33, '"' + "a" * 65 + '"'):
            self.assertRaises(SyntaxProblem, parseMailArgument, f"TO:<{local}@b.test>", "TO")
        longest = f"{'a' * (254 - len(domain) - 1)}@{domain}"
        self.assertEqual(len(f"<{longest}>"), 256)
        self.assertEqual(parseMailArgument(f"TO:<{longest}>", "TO")[0], Address.parse(longest))
        self.assertRaises(SyntaxProblem, parseMailArgument, f"TO:<a{longest}>", "TO")
        self.assertRaises(SyntaxProblem, parseMailArgument, f"TO:<a@{'d' * 64}.test>", "TO")

    @given(
        st.text(
            st.characters(min_codepoint=0x20, exclude_categories=("Cs", "Cc", "Zl", "Zp")),
            max_size=16,
        ),
        st.sampled_from(["b.test", "[192.0.2.7]", "[IPv6:2001:db8::7]", "xn--bcher-kva.test"]),
    )
    def test_roundTrip(self, localPart: str, domain: str) -> None:
        """Every address is read back from its written form, whatever its local-part."""
        address = Address(localPart, domain)
        self.assertEqual(parseMailArgument(f"FROM:<{address}>", "FROM"), (address, {}))

    @given(st.text(max_size=40), st.sampled_from(["", "FROM:<", "FROM:<a@b> ", 'FROM:<"']))
    def test_anything(self, text: str, head: str) -> None:
        """Any text is an argument or a syntax error."""
        try:
            path, parameters = parseMailArgument(head + text, "FROM")
        except SyntaxProblem:
            return
        if path is not None:
            self.assertEqual(Address.parse(str(path)), path)
        self.assertTrue(all(key.isascii() and key == key.upper() for key in parameters))


class ClientNameTests(SynchronousTestCase):
    """
    L{parseClientName}.
    """

    def test_names(self) -> None:
        """Domains and address literals; what follows them is ignored (RFC 5321 §4.1.1.1)."""
        for text, name in (
            ("client.test", "client.test"),
            ("[192.0.2.1]", "[192.0.2.1]"),
            ("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
            ("[192.0.2.1] I am a workstation", "[192.0.2.1]"),
            ("not_a-name!", "not_a-name!"),
            ("a" * 255, "a" * 255),
        ):
            self.assertEqual(parseClientName(text), name)

    def test_refused(self) -> None:
        """None at all, one longer than a domain can be (§4.5.3.1.2), and one that isn't ASCII."""
        for text in ("", " ", "a" * 256, "клиент.test", "caf\u00e9"):
            self.assertRaises(SyntaxProblem, parseClientName, text)
