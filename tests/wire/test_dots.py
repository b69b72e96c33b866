"""
Tests for L{twisted_mailstack.wire.dots}.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.wire.dots import DotReader, DotWriter, LineInspector

#: Octets of which nearly every sequence is one that somebody got wrong.
NASTY = st.lists(
    st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"a", b"\0", b"\xe4"]), max_size=40
).map(b"".join)
#: Streams of which many end.
STREAMS = st.tuples(NASTY, st.sampled_from([b"", b"\r\n.\r\n"]), NASTY).map(b"".join)


class Reading(NamedTuple):
    """
    What a reader finds in a stream.
    """

    text: bytes
    rest: bytes
    bareCR: bool
    bareLF: bool
    nul: bool
    longestLine: int


def naive(stream: bytes) -> Reading | None:
    """
    RFC 5321 §4.5.2 to the letter, line by line.

    @return: C{None} if the text doesn't end.
    """
    lines = stream.split(b"\r\n")
    # What stands behind the last CRLF is no line yet.
    for number, line in enumerate(lines[:-1]):
        if line == b".":
            text = b"".join(each.removeprefix(b".") + b"\r\n" for each in lines[:number])
            return Reading(
                text,
                b"\r\n".join(lines[number + 1 :]),
                re.search(rb"\r(?!\n)", text) is not None,
                re.search(rb"(?<!\r)\n", text) is not None,
                b"\0" in text,
                max(map(len, re.findall(rb"[^\n]*\n", text)), default=0),
            )
    return None


def read(chunks: list[bytes]) -> Reading | None:
    """
    @return: what L{DotReader} finds, and L{LineInspector} in that; or C{None}.
    """
    reader, lines = DotReader(), LineInspector()
    text = b""
    for chunk in chunks:
        part = reader.feed(chunk)
        lines.inspect(part)
        text += part
    if not reader.finished:
        return None
    lines.finishInspection()
    return Reading(text, reader.rest, lines.bareCR, lines.bareLF, lines.nul, lines.longestLine)


def octets(data: bytes) -> list[bytes]:
    """
    @return: the data octet by octet.
    """
    return [data[at : at + 1] for at in range(len(data))]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """
    @return: the data, cut at these places.
    """
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


class DotReaderTests(SynchronousTestCase):
    """
    Reading dot-stuffed text (RFC 5321 §4.5.2).
    """

    def assertReads(self, stream: bytes, text: bytes, rest: bytes = b"") -> None:
        """
        However it is cut in two, and octet by octet, the stream has that text and that rest.
        """
        for chunks in (
            *([stream[:at], stream[at:]] for at in range(len(stream) + 1)),
            octets(stream),
        ):
            found = read(chunks)
            assert found is not None, chunks
            self.assertEqual((found.text, found.rest), (text, rest), chunks)

    def test_text(self) -> None:
        """The text ends with the CRLF before the dot."""
        self.assertReads(b"a\r\nb\r\n.\r\n", b"a\r\nb\r\n")

    def test_empty(self) -> None:
        """A dot alone on the very first line is the end of an empty text."""
        self.assertReads(b".\r\n", b"")

    def test_firstDot(self) -> None:
        """A stuffed dot may be the very first octet."""
        self.assertReads(b"..\r\n.\r\n", b".\r\n")
        self.assertReads(b".a\r\n.\r\n", b"a\r\n")

    def test_stuffed(self) -> None:
        """One dot is removed at each line's beginning, none elsewhere."""
        self.assertReads(b"..\r\n...\r\na.\r\n.\r\n", b".\r\n..\r\na.\r\n")
        self.assertReads(b"a..b\r\n\r\n..\r\n\r\n.\r\n", b"a..b\r\n\r\n.\r\n\r\n")

    def test_rest(self) -> None:
        """What follows the end is the rest: commands, also if they look like text."""
        self.assertReads(b"a\r\n.\r\nQUIT\r\n", b"a\r\n", b"QUIT\r\n")
        self.assertReads(b"a\r\n.\r\n.\r\n..\r\n", b"a\r\n", b".\r\n..\r\n")

    def test_fedWhenFinished(self) -> None:
        """Octets fed behind the end join the rest."""
        reader = DotReader()
        self.assertEqual(reader.feed(b".\r\nQU"), b"")
        self.assertEqual(reader.feed(b"IT\r\n"), b"")
        self.assertEqual(reader.rest, b"QUIT\r\n")

    def test_endings(self) -> None:
        """Only CRLF.CRLF ends the text: no bare CR or LF takes part (SMTP smuggling)."""
        for ending in (
            *(b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r.\r\n", b"\r\n.\r\r\n"),
            *(b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\n. \r\n", b"\n\r.\r\n", b"\r\n.\n\r\n"),
        ):
            smuggled = b"a" + ending + b"MAIL FROM:<b@c.example>\r\n"
            found = read([smuggled, b".\r\nQUIT\r\n"])
            assert found is not None
            self.assertEqual(found.rest, b"QUIT\r\n")
            self.assertEqual(found, read(octets(smuggled + b".\r\nQUIT\r\n")))
            self.assertIn(b"MAIL FROM", found.text)

    def test_unfinished(self) -> None:
        """Without the end nothing is finished, and all but what may become it has been given."""
        reader = DotReader()
        stream = b"a\r\n..b\r\n.\r"
        text = b"".join(map(reader.feed, octets(stream)))
        self.assertFalse(reader.finished)
        self.assertEqual(text, b"a\r\n.b")

    def test_bareCR(self) -> None:
        """A CR that no LF follows is told of."""
        for text, bare in (
            (b"a\r\n", False),
            (b"a\rb\r\n", True),
            (b"\ra\r\n", True),
            (b"a\r\r\n", True),
            (b"a\r\n\rb\r\n", True),
        ):
            for chunks in ([text + b".\r\n"], octets(text + b".\r\n")):
                found = read(chunks)
                assert found is not None
                self.assertEqual((found.bareCR, found.bareLF), (bare, False), chunks)

    def test_bareLF(self) -> None:
        """An LF that no CR precedes is told of."""
        for text in (b"a\nb\r\n", b"\na\r\n", b"a\n\r\n", b"a\r\n\nb\r\n", b"\r\n.\nb\r\n"):
            for chunks in ([text + b".\r\n"], octets(text + b".\r\n")):
                found = read(chunks)
                assert found is not None
                self.assertEqual((found.bareCR, found.bareLF), (False, True), chunks)

    def test_flagsAreOfTheText(self) -> None:
        """What stands behind the end is not judged."""
        found = read([b"a\r\n.\r\n\0\r\n\n\r\r"])
        assert found is not None
        self.assertEqual((found.bareCR, found.bareLF, found.nul), (False, False, False))

    def test_nul(self) -> None:
        """NUL is told of, and told of at once."""
        lines = LineInspector()
        lines.inspect(b"a\0b")
        self.assertTrue(lines.nul)

    def test_longestLine(self) -> None:
        """
        A line's length counts its CRLF and not the dot that was added for transparency
        (RFC 5321 §4.5.3.1.6).
        """
        text = b"a\r\n" + b"." + b"." * 998 + b"\r\n" + b"bb\r\n"
        for chunks in ([text + b".\r\n"], octets(text + b".\r\n")):
            found = read(chunks)
            assert found is not None
            self.assertEqual(found.longestLine, 1000)

    def test_endlessLine(self) -> None:
        """A line is found too long before it ends."""
        lines = LineInspector()
        lines.inspect(b"x" * 600)
        lines.inspect(b"x" * 600)
        self.assertEqual(lines.longestLine, 1200)

    @given(STREAMS, st.lists(st.integers(0, 100), max_size=5))
    def test_anyStreamAnyChunks(self, stream: bytes, places: list[int]) -> None:
        """However it is cut, any stream reads as a line-by-line reading of the RFC says."""
        expected = naive(stream)
        self.assertEqual(read([stream]), expected)
        self.assertEqual(read(octets(stream)), expected)
        self.assertEqual(read(cut(stream, places)), expected)


class LineInspectorTests(SynchronousTestCase):
    """
    What is seen of text that is framed otherwise.
    """

    @given(NASTY, st.lists(st.integers(0, 40), max_size=5))
    def test_anyTextAnyChunks(self, text: bytes, places: list[int]) -> None:
        """Bare CRs and LFs, NULs and the longest line are found wherever the text is cut."""
        inspector = LineInspector()
        bounds = [0, *sorted(min(place, len(text)) for place in places), len(text)]
        for start, end in pairwise(bounds):
            inspector.inspect(text[start:end])
        inspector.finishInspection()
        self.assertEqual(
            (
                *(inspector.bareCR, inspector.bareLF, inspector.nul),
                *(inspector.eightBit, inspector.longestLine),
            ),
            (
                re.search(rb"\r(?!\n)", text) is not None,
                re.search(rb"(?<!\r)\n", text) is not None,
                b"\0" in text,
                re.search(rb"[\x80-\xff]", text) is not None,
                max(map(len, re.findall(rb"[^\n]*\n|[^\n]+\Z", text)), default=0),
            ),
        )

    def test_CRAtTheEnd(self) -> None:
        """A CR as the last octet is judged when it is known to be the last."""
        inspector = LineInspector()
        inspector.inspect(b"a\r")
        self.assertFalse(inspector.bareCR)
        inspector.finishInspection()
        self.assertTrue(inspector.bareCR)


class DotWriterTests(SynchronousTestCase):
    """
    Stuffing dots.
    """

    def assertWrites(self, text: bytes, stream: bytes) -> None:
        """
        However it is cut in two, and octet by octet, the text is written so.
        """
        for chunks in (*([text[:at], text[at:]] for at in range(len(text) + 1)), octets(text)):
            writer = DotWriter()
            written = b"".join([writer.feed(chunk) for chunk in chunks]) + writer.finish()
            self.assertEqual(written, stream, chunks)

    def test_stuffed(self) -> None:
        """A dot is put before each dot that begins a line, the very first included."""
        self.assertWrites(b".a\r\n..b\r\n.\r\nc.\r\n", b"..a\r\n...b\r\n..\r\nc.\r\n.\r\n")

    def test_empty(self) -> None:
        """An empty text is the dot alone."""
        self.assertWrites(b"", b".\r\n")

    def test_noFinalLineEnd(self) -> None:
        """A text that doesn't end in CRLF is given one, so that the dot stands on its own line."""
        self.assertWrites(b"a", b"a\r\n.\r\n")
        self.assertWrites(b"a\r", b"a\r\r\n.\r\n")
        self.assertWrites(b"a\n", b"a\n\r\n.\r\n")
        self.assertWrites(b"\r\n.", b"\r\n..\r\n.\r\n")

    def test_crlfStays(self) -> None:
        """CRLF stays CRLF."""
        self.assertWrites(b"a\r\n\r\nb\r\n", b"a\r\n\r\nb\r\n.\r\n")

    def test_bareNewlines(self) -> None:
        """A dot behind a bare CR or LF begins no line (RFC 5321 §2.3.8)."""
        self.assertWrites(b"a\n.\rb\r.\r\n", b"a\n.\rb\r.\r\n.\r\n")

    @given(NASTY, st.lists(st.integers(0, 100), max_size=5))
    def test_roundTrip(self, text: bytes, places: list[int]) -> None:
        """What is written is read back, octet for octet, whatever it is and however it is cut."""
        writer = DotWriter()
        stream = b"".join(map(writer.feed, cut(text, places))) + writer.finish()
        found = read([stream + b"rest"])
        assert found is not None
        self.assertEqual(found.text, text if text.endswith(b"\r\n") or not text else text + b"\r\n")
        self.assertEqual(found.rest, b"rest")
        self.assertEqual(found, naive(stream + b"rest"))
