"""
Tests for L{twisted_mailstack.model.text}.
"""

from __future__ import annotations

import base64
import binascii
import quopri
from email.message import EmailMessage
from unicodedata import normalize

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.model.mime import Part, scan
from twisted_mailstack.model.text import charsetOf, decodeTransfer, fold, partText, textParts


def part(subtype: bytes, charset: bytes | None = None, encoding: bytes = b"7bit") -> Part:
    """
    @return: a text part.
    """
    result = Part()
    result.subtype = subtype
    result.encoding = encoding
    if charset is not None:
        result.parameters = [(b"Charset", charset)]
    return result


def uuencode(data: bytes) -> bytes:
    """
    @return: the data as uuencode writes it.
    """
    lines = [binascii.b2a_uu(data[at : at + 45], backtick=True) for at in range(0, len(data), 45)]
    return b"begin 644 a file.txt\n" + b"".join(lines) + b"`\nend\n"


class DecodeTransferTests(SynchronousTestCase):
    """
    C{decodeTransfer} (RFC 2045 §6).
    """

    @given(st.binary(max_size=200))
    def test_roundTrip(self, data: bytes) -> None:
        """What was encoded is decoded, with the line ends of mail."""
        # The other implementation makes all line ends alike.
        data = data.replace(b"\r", b"")
        for encoding, encoded in (
            (b"base64", base64.encodebytes(data)),
            (b"Quoted-Printable", quopri.encodestring(data)),
            (b"X-UUENCODE", uuencode(data)),
            (b"7bit", data),
            (b"8bit", data),
            (b"binary", data),
            (b"x-unknown", data),
        ):
            self.assertEqual(decodeTransfer(encoded, encoding), data)
            if b"\n" not in data:
                self.assertEqual(decodeTransfer(encoded.replace(b"\n", b"\r\n"), encoding), data)

    def test_quotedPrintable(self) -> None:
        """Soft line ends go, hard ones stay; what isn't hexadecimal stays (RFC 2045 §6.7)."""
        for encoded, data in (
            (b"a=\r\nb", b"ab"),
            (b"a=  \r\nb", b"ab"),
            (b"a\r\nb", b"a\r\nb"),
            (b"a \t \r\nb c\t\nd", b"a\r\nb c\nd"),
            (b"a=20\r\n", b"a \r\n"),
            (b"=e9=E9", b"\xe9\xe9"),
            (b"a=ZZb", b"a=ZZb"),
            (b"100%=", b"100%"),
        ):
            self.assertEqual(decodeTransfer(encoded, b"quoted-printable"), data, encoded)

    def test_uuencode(self) -> None:
        """Text around it goes, an end that is missing or lines that are damaged end nothing."""
        encoded = uuencode(b"a" * 50)
        self.assertEqual(decodeTransfer(b"Hello\n" + encoded + b"Bye\n", b"uuencode"), b"a" * 50)
        self.assertEqual(decodeTransfer(encoded[: encoded.rindex(b"`")], b"x-uue"), b"a" * 50)
        lines = encoded.split(b"\n")
        damaged = b"\n".join([lines[0], lines[1] + b"xx", b"", b"#\xff\xff", *lines[2:]])
        self.assertEqual(decodeTransfer(damaged, b"uue"), b"a" * 50)
        self.assertEqual(decodeTransfer(b"no such thing", b"uuencode"), b"no such thing")

    @given(st.binary(max_size=60), st.binary(max_size=12))
    @example(b"begin 644 x\n", b"uuencode")
    def test_anyOctets(self, data: bytes, encoding: bytes) -> None:
        """Nothing raises."""
        for each in (b"base64", b"quoted-printable", b"uuencode", encoding):
            decodeTransfer(data, each)
            decodeTransfer(b"begin 644 x\n" + data, each)

    def test_hostile(self) -> None:
        """Parts made to cost time are decoded."""
        for line in (
            b"begin 644 x\n",
            b"=\n",
            b" ",
            b" \t",
            b" \n",
            b"=",
            b"YQ==",
            b"`\n",
            b"end\n",
            b"M\n",
        ):
            for encoding in (b"base64", b"quoted-printable", b"uuencode"):
                decodeTransfer(line * 100_000 + b" \n", encoding)


class PartTextTests(SynchronousTestCase):
    """
    C{partText}.
    """

    def test_charset(self) -> None:
        """The transfer encoding first, then the charset; without one it is ASCII."""
        self.assertEqual(charsetOf(part(b"plain")), b"us-ascii")
        self.assertEqual(charsetOf(part(b"plain", b"")), b"us-ascii")
        for data, which, text in (
            (b"gr=F6=DFer", part(b"plain", b"iso-8859-1", b"quoted-printable"), "größer"),
            (b"w4k=\r\n", part(b"plain", b"utf-8", b"BASE64"), "É"),
            ("日本".encode("iso2022_jp"), part(b"plain", b"ISO-2022-JP"), "日本"),
            ("größer".encode(), part(b"plain"), "größer"),
        ):
            self.assertEqual(partText(data, which), text)

    def test_asStored(self) -> None:
        """A search looks at HTML as it is."""
        self.assertEqual(partText(b"<b>a</b>&amp;", part(b"html")), "<b>a</b>&amp;")

    def test_html(self) -> None:
        """A reader sees no tags, scripts, styles or comments, but the characters they name."""
        for source, shown in (
            ("<p>Hello <b>wor</b>ld</p>", "Hello world"),
            ("a<br>b<div>c</div>d", "a b c d"),
            ("<head><title>T</title><style>p {}</style></head>x", "x"),
            ("<STYLE type='a'>b</Style >x<script>y</script\n>z", "x z"),
            ("<!-- a <b> -- > -->x<!---->y", "x y"),
            ("<header>x</header>", "x"),
            ("<head>x", "x"),
            ("a &lt;b&gt; &amp;&#233;&#xe9;&eacute;&nbsp;x", "a <b> &ééé x"),
            ("1 < 2 > 0", "1 < 2 > 0"),
            ("<x", "<x"),
            ("<style>never closed", ""),
            ("a<!-- never closed", "a"),
            ("a<script <script>b</script>c", "a c"),
            ("&#0;&#xD800;&#99999999999;", "\ufffd\ufffd\ufffd"),
        ):
            text = partText(source.encode(), part(b"HTML", b"utf-8"), plain=True)
            self.assertEqual(" ".join(text.split()), shown, source)

    def test_plainStays(self) -> None:
        """Other text has no tags."""
        self.assertEqual(partText(b"<b>a</b>", part(b"plain"), plain=True), "<b>a</b>")

    def test_hostileHTML(self) -> None:
        """HTML made to cost time, or to make Python refuse, is read."""
        for source in (
            *("<script ", "<script>", "<!--", "<", "<p ", "</", "&", "&#", "<p", "<title>", "<b>"),
            *("&#1", "<script></script ", "<a <", ">", "--", "</script"),
        ):
            partText(source.encode() * 20_000, part(b"html"), plain=True)
        for reference in ("&#" + "9" * 10_000, "&#x" + "f" * 10_000 + ";", "&#" + "0" * 9999 + "1"):
            partText(reference.encode(), part(b"html"), plain=True).encode("utf-8")

    @given(
        st.lists(st.sampled_from("<>/!-&#;x1 psb\n") | st.sampled_from(["script", "<!--", "-->"]))
    )
    def test_anyHTML(self, source: list[str]) -> None:
        """Nothing raises, and nothing that can't be stored comes out."""
        partText("".join(source).encode(), part(b"html"), plain=True).encode("utf-8")


class FoldTests(SynchronousTestCase):
    """
    C{fold}: how searches compare (RFC 5051).
    """

    def test_fold(self) -> None:
        """Case, composition and width make no difference."""
        for one, other in (
            *(("ABC", "abc"), ("STRASSE", "straße"), ("ÉTÉ", "e\u0301te\u0301"), ("ﬁ", "FI")),
            *(("ＡＢＣ", "abc"), ("ΣΑΣ", "σας"), ("\u212b", "å"), ("ｶﾞ", "ガ")),
        ):
            self.assertEqual(fold(one), fold(other))
        self.assertNotEqual(fold("é"), fold("e"))

    @given(st.text())
    def test_stable(self, text: str) -> None:
        """Folding twice changes no more, and all forms fold the same."""
        folded = fold(text)
        self.assertEqual(fold(folded), folded)
        for form in ("NFC", "NFD"):
            self.assertEqual(fold(normalize(form, text)), folded)

    @given(st.text(st.characters(max_codepoint=0x7F)))
    def test_ascii(self, text: str) -> None:
        """The short way for ASCII says the same as the long one."""
        self.assertEqual(fold(text), fold(text + "é").removesuffix("e\u0301"))


class TextPartsTests(SynchronousTestCase):
    """
    C{textParts}.
    """

    def test_order(self) -> None:
        """All text parts in the order of the message, those of enclosed messages too."""
        inner = EmailMessage()
        inner.set_content("inner")
        message = EmailMessage()
        message.set_content("first")
        message.add_alternative("<p>second", subtype="html")
        message.add_attachment(b"no text", maintype="application", subtype="x")
        message.add_attachment(inner)
        data = message.as_bytes()
        found = [data[each.bodyOffset : each.endOffset].strip() for each in textParts(scan(data))]
        self.assertEqual(found, [b"first", b"<p>second", b"inner"])
