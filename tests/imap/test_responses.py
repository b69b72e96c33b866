"""
What a server says, cut from the stream and read.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.imap.responses import (
    MAX_NESTING,
    Code,
    Continuation,
    Data,
    MalformedResponse,
    Status,
    numberOf,
    octetsOf,
    parseResponse,
    parseValues,
    readResponse,
)
from twisted_mailstack.testing.conversation import FakeWire
from twisted_mailstack.wire.stream import Stream


class Gathered:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        """See Sink."""
        self.data += data


def read(octets: bytes, size: int, sinkFor: Any = None) -> list[Any]:
    """
    @return: the responses in these octets, which come in pieces of C{size}; last, what was raised.
    """
    stream = Stream(FakeWire(), Clock())
    found: list[Any] = []

    async def run() -> None:
        while True:
            found.append(await readResponse(stream, sinkFor))

    result = Deferred.fromCoroutine(run())
    result.addErrback(lambda failure: found.append(failure))
    for start in range(0, len(octets), size):
        stream.received(octets[start : start + size])
    return [each.value if isinstance(each, Failure) else each for each in found]


class ParseTests(SynchronousTestCase):
    """One response, whole."""

    def test_status(self) -> None:
        """Tagged and untagged status responses, with and without codes (RFC 9051 §7.1)."""
        for text, expected in (
            (b"* OK IMAP4rev1 ready", Status("*", "OK", None, "IMAP4rev1 ready")),
            (b"a1 NO no such", Status("a1", "NO", None, "no such")),
            (b"a1 ok", Status("a1", "OK", None, "")),
            (b"* OK [UIDNEXT 4392] next", Status("*", "OK", Code("UIDNEXT", ("4392",)), "next")),
            (b"a2 OK [READ-WRITE]", Status("a2", "OK", Code("READ-WRITE"), "")),
            (
                b"* OK [PERMANENTFLAGS (\\Deleted \\*)] Limited",
                Status("*", "OK", Code("PERMANENTFLAGS", (("\\Deleted", "\\*"),)), "Limited"),
            ),
            (
                b'a3 NO [BADCHARSET ("x]y" UTF-8)] no',
                Status("a3", "NO", Code("BADCHARSET", ((b"x]y", "UTF-8"),)), "no"),
            ),
            (b"* BYE going", Status("*", "BYE", None, "going")),
            (b"* OK [odd ((] text", Status("*", "OK", Code("ODD", (b"((",)), "text")),
        ):
            self.assertEqual(parseResponse(text), expected)

    def test_data(self) -> None:
        """Untagged data, with a number before the name or not."""
        for text, expected in (
            (b"* 18 EXISTS", Data("EXISTS", 18, ())),
            (b"* CAPABILITY IMAP4rev1 IDLE", Data("CAPABILITY", None, ("IMAP4rev1", "IDLE"))),
            (b"* SEARCH 2 84 882", Data("SEARCH", None, ("2", "84", "882"))),
            (b"* SEARCH", Data("SEARCH", None, ())),
            (
                b"* SEARCH 2 5 (MODSEQ 917162500)",
                Data("SEARCH", None, ("2", "5", ("MODSEQ", "917162500"))),
            ),
            (
                b'* LIST (\\Noselect) "/" "a \\"b\\\\"',
                Data("LIST", None, (("\\Noselect",), b"/", b'a "b\\')),
            ),
            (b"* LIST () NIL {4}\r\nf oo", Data("LIST", None, ((), None, b"f oo"))),
            (
                b'* 12 FETCH (FLAGS (\\Seen) UID 4 BODY[HEADER.FIELDS (DATE "X]")]<0> {2}\r\n)( )',
                Data(
                    "FETCH",
                    12,
                    (
                        (
                            "FLAGS",
                            ("\\Seen",),
                            "UID",
                            "4",
                            'BODY[HEADER.FIELDS (DATE "X]")]<0>',
                            b")(",
                        ),
                    ),
                ),
            ),
            (
                b"* VANISHED (EARLIER) 41,43:116",
                Data("VANISHED", None, (("EARLIER",), "41,43:116")),
            ),
        ):
            self.assertEqual(parseResponse(text), expected)

    def test_continuation(self) -> None:
        """RFC 9051 §7.6; some servers leave out the space."""
        self.assertEqual(parseResponse(b"+ Ready"), Continuation(b"Ready"))
        self.assertEqual(parseResponse(b"+"), Continuation(b""))

    def test_malformed(self) -> None:
        """What isn't IMAP is told apart from what is."""
        for text in (
            b"",
            b"220 mx ESMTP",
            b"* ",
            b"* 1 FETCH (",
            b"* 1 FETCH )",
            b'* LIST () "/',
            b"* LIST () {10}\r\nshort",
            b"* 1 FETCH " + b"(" * (MAX_NESTING + 1),
        ):
            self.assertRaises(MalformedResponse, parseResponse, text)

    def test_deep(self) -> None:
        """Lists within lists are read without recursion."""
        depth = MAX_NESTING - 2
        (value,) = parseValues(b"(" * depth + b"x" + b")" * depth)
        for _ in range(depth - 1):
            (value,) = value
        self.assertEqual(value, ("x",))

    def test_octetsOf(self) -> None:
        """An astring is the same in each of its forms, one that is called NIL too."""
        self.assertEqual([octetsOf(each) for each in ("a", b"a", None)], [b"a", b"a", b"NIL"])
        self.assertRaises(MalformedResponse, octetsOf, ("a",))

    def test_numberOf(self) -> None:
        """Numbers are digits."""
        self.assertEqual(numberOf("18446744073709551615"), 2**64 - 1)
        for value in ("-1", "", "1" * 21, "\u0661", b"1", None):
            self.assertRaises(MalformedResponse, numberOf, value)

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=60))
    def test_anything(self, octets: bytes) -> None:
        """Whatever comes is a response or malformed."""
        for prefix in (b"", b"* ", b"* 1 FETCH (", b"a1 OK ["):
            try:
                parseResponse(prefix + octets)
            except MalformedResponse:
                continue


class ReadTests(SynchronousTestCase):
    """Responses out of a stream."""

    octets = (
        b'* 1 FETCH (BODY[] {8}\r\n a\r\n{3}\r UID 7)\r\n* LIST () "/" {0}\r\n\r\na1 OK done\r\n'
    )
    expected = (
        Data("FETCH", 1, (("BODY[]", b" a\r\n{3}\r", "UID", "7"),)),
        Data("LIST", None, ((), b"/", b"")),
        Status("a1", "OK", None, "done"),
    )

    def test_pieces(self) -> None:
        """However they come, literals that look like lines included."""
        for size in (1, 2, 3, 7, len(self.octets)):
            self.assertEqual(tuple(read(self.octets, size)), self.expected)

    def test_sink(self) -> None:
        """A literal that somebody wants to have is streamed to them, whatever is in it."""
        for size in (1, 5, len(self.octets)):
            sink = Gathered()
            asked: list[tuple[bytes, int]] = []
            found = read(self.octets, size, partial(self.sinkFor, sink, asked))
            self.assertEqual(found[0], Data("FETCH", 1, (("BODY[]", sink, "UID", "7"),)))
            self.assertEqual(tuple(found[1:]), self.expected[1:])
            self.assertEqual(sink.data, b" a\r\n{3}\r")
            self.assertEqual(asked[0], (b"* 1 FETCH (BODY[] {8}", 8))

    def sinkFor(
        self, sink: Gathered, asked: list[tuple[bytes, int]], response: bytes, octets: int
    ) -> Gathered | None:
        """A literal with octets in it is wanted."""
        asked.append((response, octets))
        return sink if octets else None

    def test_tooLarge(self) -> None:
        """A literal that would fill the memory is refused before it is read."""
        found = read(b"* 1 FETCH (BODY[] {99999999999}\r\nx", 100)
        self.assertIsInstance(found[0], MalformedResponse)
