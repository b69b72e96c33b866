"""
Line ends that stand by themselves become CRLF (RFC 5321 §2.3.8).
"""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.wire.dots import LineInspector
from twisted_mailstack.wire.newlines import NewlineConverter


def convert(*pieces: bytes) -> bytes:
    """
    @return: what becomes of a text that comes in these pieces.
    """
    converter = NewlineConverter()
    return b"".join([*map(converter.feed, pieces), converter.finish()])


class NewlineConverterTests(SynchronousTestCase):
    """
    L{NewlineConverter}.
    """

    def test_converted(self) -> None:
        """Each CR or LF by itself is a line's end; CRLF stays one line's end."""
        for text, converted in (
            (b"", b""),
            (b"a", b"a"),
            (b"a\r\nb\r\n", b"a\r\nb\r\n"),
            (b"a\nb\n", b"a\r\nb\r\n"),
            (b"a\rb\r", b"a\r\nb\r\n"),
            (b"\n", b"\r\n"),
            (b"\r", b"\r\n"),
            (b"\n\n", b"\r\n\r\n"),
            (b"\r\r", b"\r\n\r\n"),
            # An LF that ends one line isn't the CR of the next.
            (b"a\n\rb", b"a\r\n\r\nb"),
            (b"a\r\r\nb", b"a\r\n\r\nb"),
            (b"a\r\n\nb", b"a\r\n\r\nb"),
            (b"\0\xff\x85\x0b\x0c\xe2\x80\xa8", b"\0\xff\x85\x0b\x0c\xe2\x80\xa8"),
        ):
            self.assertEqual(convert(text), converted, text)

    def test_smuggled(self) -> None:
        """
        What others could take for the end of the text and a new command is ordinary lines, whose
        dots the next writer stuffs.
        """
        for end in (b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r"):
            converted = convert(b"x" + end + b"MAIL FROM:<>\r\n")
            self.assertEqual(converted, b"x\r\n.\r\nMAIL FROM:<>\r\n")

    def test_everyCut(self) -> None:
        """Whole, in two pieces cut anywhere, octet by octet: the result is the same."""
        text = b"a\r\nb\nc\rd\r\r\ne\n\rf\r\n\r\n\n\rg\r"
        converted = b"a\r\nb\r\nc\r\nd\r\n\r\ne\r\n\r\nf\r\n\r\n\r\n\r\ng\r\n"
        self.assertEqual(convert(text), converted)
        self.assertEqual(convert(*(bytes([octet]) for octet in text)), converted)
        for cut in range(len(text)):
            self.assertEqual(convert(text[:cut], b"", text[cut:]), converted, cut)

    def test_rightTextIsNotCopied(self) -> None:
        """Text that has only CRLF goes through as it came, without a copy."""
        text = b"line\r\n" * 1000
        self.assertIs(NewlineConverter().feed(text), text)

    @given(st.binary(max_size=40), st.lists(st.integers(0, 40), max_size=6))
    @settings(max_examples=300, deadline=None)
    @example(b"\r\n\r", [1, 2])
    def test_anyText(self, noise: bytes, at: list[int]) -> None:
        """Any text, cut anywhere: no CR or LF by itself is left, all else is there, in order."""
        text = noise.translate(bytes(b"\r\nx"[octet % 3] for octet in range(256)))
        edges = [0, *sorted({min(cut, len(text)) for cut in at}), len(text)]
        converted = convert(*(text[a:b] for a, b in pairwise(edges)))
        inspector = LineInspector()
        inspector.inspect(converted)
        inspector.finishInspection()
        self.assertFalse(inspector.bareCR or inspector.bareLF)
        # The same lines as of a text file that was read with universal line ends.
        lines = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self.assertEqual(converted.split(b"\r\n"), lines)
