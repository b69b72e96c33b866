"""
URLs of messages: C{twisted_mailstack.model.imapurl}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.model.imapurl import (
    IMAPURL,
    URLAuth,
    parseSection,
    parseURL,
    renderMessageURL,
)


class ParseTests(SynchronousTestCase):
    """
    RFC 5092.
    """

    def test_relative(self) -> None:
        """As CATENATE has them (RFC 4469, appendix A); names of parameters in any case."""
        for text, expected in (
            (
                b"/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER",
                IMAPURL("", "", None, "Drafts", 385759045, 20, (), "HEADER"),
            ),
            (
                b"/Drafts;UIDVALIDITY=385759045/;UID=20/;Section=2.MIME",
                IMAPURL("", "", None, "Drafts", 385759045, 20, (2,), "MIME"),
            ),
            (b"/Drafts/;UID=3002", IMAPURL("", "", None, "Drafts", None, 3002)),
            (b"Drafts/;UID=3002", IMAPURL("", "", None, "Drafts", None, 3002)),
            (b";UID=1", IMAPURL("", "", None, "", None, 1)),
            (b";uid=1/;section=1.5.9", IMAPURL("", "", None, "", None, 1, (1, 5, 9))),
            (b"/a/b/c/;UID=1", IMAPURL("", "", None, "a/b/c", None, 1)),
            (b"/a%20b%3Bc%2F%C3%A9/;UID=1", IMAPURL("", "", None, "a b;c/é", None, 1)),
            (
                b"/INBOX/;UID=1/;SECTION=1.2/;PARTIAL=0.1024",
                IMAPURL("", "", None, "INBOX", None, 1, (1, 2), partial=(0, 1024)),
            ),
            (
                b"/INBOX/;UID=1/;PARTIAL=1024",
                IMAPURL("", "", None, "INBOX", None, 1, partial=(1024, None)),
            ),
            (
                b"/INBOX/;UID=1/;SECTION=HEADER.FIELDS%20(To%20From)",
                IMAPURL("", "", None, "INBOX", None, 1, (), "HEADER", (b"To", b"From")),
            ),
            (
                b"/INBOX/;UID=1/;SECTION=2.HEADER.FIELDS.NOT%20(To)",
                IMAPURL("", "", None, "INBOX", None, 1, (2,), "HEADER", (b"To",), True),
            ),
        ):
            self.assertEqual(parseURL(text), expected, text)

    def test_absolute(self) -> None:
        """RFC 5092's own examples."""
        self.assertEqual(
            parseURL(b"imap://psicorp.example.org/~peter/%E6%97%A5/;UID=1"),
            IMAPURL("", "psicorp.example.org", None, "~peter/日", None, 1),
        )
        self.assertEqual(
            parseURL(
                b"IMAP://;AUTH=GSSAPI@Minbari.example.org:1143/gray-council;uidvalidity=385759045/"
                b";uid=20/;section=1.2"
            ),
            IMAPURL("", "minbari.example.org", 1143, "gray-council", 385759045, 20, (1, 2)),
        )
        self.assertEqual(
            parseURL(b"imap://joe%40example.com;AUTH=*@[::1]/INBOX/;uid=20"),
            IMAPURL("joe@example.com", "[::1]", None, "INBOX", None, 20),
        )

    def test_authorisation(self) -> None:
        """RFC 4467 §9, with its example of a URL."""
        rump = (
            "imap://joe@example.com/INBOX/;uid=20/;section=1.2;expire=2004-12-31T23:59:59Z"
            ";urlauth=submit+fred"
        )
        token = b"91354a473744909de610943775f92038"
        found = parseURL(rump.encode() + b":internal:" + token)
        self.assertEqual(
            found.authorisation,
            URLAuth(rump, 1104537599, "submit", "fred", "INTERNAL", bytes.fromhex(token.decode())),
        )
        found = parseURL(b"imap://joe@example.com/INBOX/;uid=20;urlauth=anonymous")
        self.assertEqual(
            found.authorisation,
            URLAuth(
                "imap://joe@example.com/INBOX/;uid=20;urlauth=anonymous",
                None, "anonymous", "", "", b"",
            ),
        )  # fmt: skip
        for access, expected in (
            (b"authuser", ("authuser", "")),
            (b"user+joe%40example.com", ("user", "joe@example.com")),
        ):
            found = parseURL(b"/INBOX/;UID=1;URLAUTH=" + access)
            assert found.authorisation is not None
            self.assertEqual((found.authorisation.access, found.authorisation.user), expected)

    def test_malformed(self) -> None:
        """What names no message, or isn't one kind of URL at all."""
        for text in (
            b"", b"/", b"INBOX", b"/INBOX", b"/INBOX/", b"/INBOX;UIDVALIDITY=1", b"/;UID=1",
            b"/INBOX/;UID=0", b"/INBOX/;UID=01", b"/INBOX/;UID=4294967296", b"/INBOX/;UID=x",
            b"/INBOX/;UID=1/", b"/INBOX/;UID=1/;SECTION=", b"/INBOX/;UID=1/;SECTION=0",
            b"/INBOX/;UID=1/;SECTION=1.", b"/INBOX/;UID=1/;SECTION=MIME",
            b"/INBOX/;UID=1/;SECTION=1.FOO", b"/INBOX/;UID=1/;SECTION=1HEADER",
            b"/INBOX/;UID=1/;SECTION=HEADER.FIELDS", b"/INBOX/;UID=1/;SECTION=HEADER.FIELDS%20()",
            b"/INBOX/;UID=1/;PARTIAL=0.0", b"/INBOX/;UID=1/;PARTIAL=-1", b"/INBOX/;UID=1/;PARTIAL=",
            b"/INBOX;UIDVALIDITY=0/;UID=1", b"/INBOX?SUBJECT/;UID=1", b"/INBOX/;UID=1?x",
            b"/INBOX/;UID=1#x", b"/IN%/;UID=1", b"/IN%zz/;UID=1", b"/%FF/;UID=1", b"/%00/;UID=1",
            b"/a%0D%0A/;UID=1", b"/a b/;UID=1", b"/\xc3\xa9/;UID=1", b"/a\x00/;UID=1",
            b"http://example.com/INBOX/;UID=1", b"imaps://example.com/INBOX/;UID=1",
            b"imap:///INBOX/;UID=1", b"imap://example.com", b"imap://example.com/",
            b"imap://example.com/;UID=1", b"imap://example.com;UID=1",
            b"//example.com/INBOX/;UID=1",
            b"imap://a@b@example.com/INBOX/;UID=1", b"imap://example.com:x/INBOX/;UID=1",
            b"/INBOX/;UID=1;URLAUTH=nobody", b"/INBOX/;UID=1;URLAUTH=submit+",
            b"/INBOX/;UID=1;EXPIRE=2004-12-31T23:59:59Z",
            b"/INBOX/;UID=1;EXPIRE=x;URLAUTH=authuser",
            b"/INBOX/;UID=1;EXPIRE=2004-13-31T23:59:59Z;URLAUTH=authuser",
            b"/INBOX/;UID=1;URLAUTH=authuser:internal:12",
            b"/INBOX/;UID=1;URLAUTH=authuser:internal",
            b"/INBOX/;UID=1;URLAUTH=authuser:internal:" + b"1" * 33,
            b"/" + b"a" * 5000 + b"/;UID=1", b"/INBOX/;UID=1/;SECTION=" + b"1." * 300 + b"1",
        ):  # fmt: skip
            self.assertRaises(SyntaxProblem, parseURL, text)

    def test_sections(self) -> None:
        """Of what sort each is."""
        self.assertEqual(parseSection(""), ((), "", None, False))
        self.assertEqual(parseSection("text"), ((), "TEXT", None, False))
        self.assertEqual(parseSection("3.header"), ((3,), "HEADER", None, False))

    def test_roundTrip(self) -> None:
        """What is rendered is read as what it was."""
        for name in ("INBOX", "a b/c;d?e#f%g", "é日本", "a:b@c", "&", '"'):
            found = parseURL(renderMessageURL(name, 7, 9, "1.2.MIME").encode())
            self.assertEqual(found, IMAPURL("", "", None, name, 7, 9, (1, 2), "MIME"))
