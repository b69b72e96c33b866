"""
What the tests of message parsing share: a reader of IMAP's grammar that knows nothing of the code
which is tested, messages whose parts are known from building them, and damaged messages.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from types import FrameType
from typing import Any

from hypothesis import strategies as st

# --- reading what FETCH sends ------------------------------------------------------------------


@dataclass
class Body:
    """
    A body of RFC 9051 §9, as a client understands it.
    """

    mediaType: bytes = b"multipart"
    subtype: bytes = b""
    parameters: list[tuple[bytes, bytes]] | None = None
    contentId: bytes | None = None
    description: bytes | None = None
    encoding: bytes = b""
    octets: int = 0
    lines: int | None = None
    envelope: list[Any] | None = None
    message: Body | None = None
    children: list[Body] = field(default_factory=list)
    md5: bytes | None = None
    disposition: tuple[bytes, list[tuple[bytes, bytes]] | None] | None = None
    language: list[bytes] | None = None
    location: bytes | None = None


@lru_cache
def _pattern(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern, re.DOTALL)


class IMAPReader:
    """
    Reads by the ABNF of RFC 9051 §9, one method an element; anything else is an AssertionError.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def match(self, pattern: bytes) -> re.Match[bytes]:
        """What must come next."""
        found = _pattern(pattern).match(self.data, self.at)
        assert found is not None, (pattern, self.data[self.at : self.at + 60])
        self.at = found.end()
        return found

    def comes(self, octets: bytes) -> bool:
        """Whether these octets come next."""
        return self.data.startswith(octets, self.at)

    def space(self) -> None:
        """SP"""
        assert self.data[self.at] == 0x20, self.data[self.at : self.at + 60]
        self.at += 1

    def end(self) -> None:
        """Nothing is left."""
        assert self.at == len(self.data), self.data[self.at : self.at + 60]

    def string(self) -> bytes:
        """string = quoted / literal"""
        if self.comes(b'"'):
            #   QUOTED-CHAR = <any TEXT-CHAR except quoted-specials> / "\" quoted-specials
            quoted = self.match(rb'"((?:[\x01-\x09\x0b\x0c\x0e-!#-\[\]-\x7f]|\\["\\])*)"').group(1)
            return re.sub(rb"\\(.)", rb"\1", quoted) if b"\\" in quoted else quoted
        #   literal = "{" number64 ["+"] "}" CRLF *CHAR8
        size = int(self.match(rb"\{(0|[1-9][0-9]*)\}\r\n").group(1))
        value = self.data[self.at : self.at + size]
        assert len(value) == size and b"\0" not in value
        self.at += size
        return value

    def nstring(self) -> bytes | None:
        """nstring = string / nil"""
        if self.comes(b"NIL"):
            self.match(b"NIL")
            return None
        return self.string()

    def number(self) -> int:
        """number"""
        return int(self.match(rb"0|[1-9][0-9]*").group())

    def addresses(self) -> list[tuple[bytes | None, ...]] | None:
        """ "(" 1*address ")" / nil"""
        if self.comes(b"NIL"):
            self.match(b"NIL")
            return None
        self.match(rb"\(")
        result = []
        while True:
            self.match(rb"\(")
            parts = [self.nstring()]
            for _ in range(3):
                self.space()
                parts.append(self.nstring())
            self.match(rb"\)")
            result.append(tuple(parts))
            if not self.comes(b"("):
                break
        self.match(rb"\)")
        return result

    def envelope(self) -> list[Any]:
        """envelope"""
        self.match(rb"\(")
        result: list[Any] = [self.nstring()]
        self.space()
        result.append(self.nstring())
        for _ in range(6):
            self.space()
            result.append(self.addresses())
        for _ in range(2):
            self.space()
            result.append(self.nstring())
        self.match(rb"\)")
        return result

    def parameters(self) -> list[tuple[bytes, bytes]] | None:
        """body-fld-param"""
        if self.comes(b"NIL"):
            self.match(b"NIL")
            return None
        self.match(rb"\(")
        result = []
        while True:
            name = self.string()
            self.space()
            result.append((name, self.string()))
            if not self.comes(b" "):
                break
            self.space()
        self.match(rb"\)")
        return result

    def body(self, extensible: bool) -> Body:
        """body, with all of its extension data or with none"""
        body = Body()
        self.match(rb"\(")
        if self.comes(b"("):
            while self.comes(b"("):
                body.children.append(self.body(extensible))
            self.space()
            body.subtype = self.string()
            if extensible:
                self.space()
                body.parameters = self.parameters()
        else:
            self._onePart(body, extensible)
        if extensible:
            self.space()
            self._disposition(body)
            self.space()
            self._language(body)
            self.space()
            body.location = self.nstring()
        self.match(rb"\)")
        return body

    def _onePart(self, body: Body, extensible: bool) -> None:
        body.mediaType = self.string()
        self.space()
        body.subtype = self.string()
        self.space()
        body.parameters = self.parameters()
        self.space()
        body.contentId = self.nstring()
        self.space()
        body.description = self.nstring()
        self.space()
        body.encoding = self.string()
        self.space()
        body.octets = self.number()
        kind = (body.mediaType.lower(), body.subtype.lower())
        if kind in ((b"message", b"rfc822"), (b"message", b"global")):
            self.space()
            body.envelope = self.envelope()
            self.space()
            body.message = self.body(extensible)
        if body.message is not None or kind[0] == b"text":
            self.space()
            body.lines = self.number()
        if extensible:
            self.space()
            body.md5 = self.nstring()

    def _disposition(self, body: Body) -> None:
        if self.comes(b"NIL"):
            self.match(b"NIL")
            return
        self.match(rb"\(")
        value = self.string()
        self.space()
        body.disposition = value, self.parameters()
        self.match(rb"\)")

    def _language(self, body: Body) -> None:
        if not self.comes(b"("):
            one = self.nstring()
            body.language = None if one is None else [one]
            return
        self.match(rb"\(")
        body.language = [self.string()]
        while self.comes(b" "):
            self.space()
            body.language.append(self.string())
        self.match(rb"\)")


def readEnvelope(data: bytes) -> list[Any]:
    """
    @return: the fields of an ENVELOPE.
    """
    reader = IMAPReader(data)
    result = reader.envelope()
    reader.end()
    return result


def readBody(data: bytes, extensible: bool) -> Body:
    """
    @return: a BODYSTRUCTURE (C{extensible}) or BODY.
    """
    reader = IMAPReader(data)
    result = reader.body(extensible)
    reader.end()
    return result


# --- messages that are known -------------------------------------------------------------------


@dataclass
class Entity:
    """
    A message or a part as it is to be built.

    @ivar fields: header lines with their line ends.
    @ivar body: of a leaf.
    @ivar message: the message within.
    @ivar children: of a multipart, with C{boundary}, C{preamble}, C{closed} and C{epilogue}.
    """

    fields: bytes = b""
    body: bytes = b""
    message: Entity | None = None
    children: list[Entity] | None = None
    boundary: bytes = b""
    preamble: bytes = b""
    closed: bool = True
    epilogue: bytes = b""


@dataclass
class Place:
    """
    Where an entity came to be in the octets.
    """

    header: int
    body: int
    end: int
    children: list[Place]


def build(entity: Entity) -> tuple[bytes, Place]:
    """
    @return: the octets, and where everything is in them.
    """
    out = bytearray()
    place = _write(out, entity)
    return bytes(out), place


def _write(out: bytearray, entity: Entity) -> Place:
    place = Place(len(out), 0, 0, [])
    out += entity.fields + b"\r\n"
    place.body = len(out)
    if entity.message is not None:
        place.children.append(_write(out, entity.message))
    elif entity.children is not None:
        if entity.preamble:
            out += entity.preamble + b"\r\n"
        for number, child in enumerate(entity.children):
            out += (b"\r\n" if number else b"") + b"--" + entity.boundary + b"\r\n"
            place.children.append(_write(out, child))
        if entity.closed:
            out += b"\r\n--" + entity.boundary + b"--" + entity.epilogue
    else:
        out += entity.body
    place.end = len(out)
    return place


_LINES = st.lists(
    st.sampled_from(
        [
            *(
                b"",
                b"text",
                b"\xe4\xf6",
                b"--",
                b"-- ",
                b"--b",
                b"--B1",
                b" --b1",
                b"--b1x",
                b"--b1 x",
            ),
            *(b"b1", b".", b"Content-Type: image/gif", b"--b-", b"--b1-", b"--b1---"),
        ]
    ),
    max_size=5,
)
_BODIES = st.tuples(_LINES, st.sampled_from([b"", b"\r\n"])).map(
    lambda pair: b"\r\n".join(pair[0]) + pair[1]
)
_LEAF_TYPES = st.sampled_from(
    [
        b"",
        b"Content-Type: text/plain\r\n",
        b"Content-Type: TEXT/HTML; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n",
        b"Content-Type: application/octet-stream;\r\n name=x\r\nContent-Disposition: inline\r\n",
        b"Content-Type: image/gif\r\nContent-ID: <a@b>\r\nContent-Description: x\r\n",
    ]
)
_FIELDS = st.sampled_from([b"", b"Subject: hello\r\n", b"From: a@b\r\nX: y\r\n z\r\n"])


def _leaf(fields: bytes, kind: bytes, body: bytes) -> Entity:
    return Entity(fields + kind, body)


def _message(fields: bytes, message: Entity) -> Entity:
    return Entity(fields + b"Content-Type: message/rfc822\r\n", message=message)


def _multipart(
    fields: bytes, children: list[Entity], preamble: bytes, closed: bool, epilogue: bytes
) -> Entity:
    return Entity(fields, children=children, preamble=preamble, closed=closed, epilogue=epilogue)


def _number(entity: Entity, numbers: Iterator[int], outermost: bool = True) -> Entity:
    # Each multipart gets a boundary of its own, many the beginning of another.
    if entity.message is not None:
        message = _number(entity.message, numbers, outermost)
        return Entity(entity.fields, message=message)
    if entity.children is None:
        return entity
    boundary = b"b%d" % next(numbers)
    return Entity(
        entity.fields + b"Content-Type: multipart/mixed; boundary=" + boundary + b"\r\n",
        children=[_number(child, numbers, False) for child in entity.children],
        boundary=boundary,
        preamble=entity.preamble,
        closed=entity.closed,
        epilogue=entity.epilogue,
    )


#: Messages of every structure, with lines in them that are nearly boundaries.
ENTITIES = st.recursive(
    st.builds(_leaf, _FIELDS, _LEAF_TYPES, _BODIES),
    lambda inner: st.one_of(
        st.builds(_message, _FIELDS, inner),
        st.builds(
            _multipart,
            _FIELDS,
            st.lists(inner, min_size=1, max_size=4),
            st.sampled_from([b"", b"preamble", b"a\r\n\r\n--\r\nb"]),
            st.sampled_from([True, True, True, False]),
            st.sampled_from([b"", b"\r\n", b"\r\nepilogue", b"\r\n\r\n--b\r\n"]),
        ),
    ),
    max_leaves=12,
).map(lambda entity: _number(entity, iter(range(1, 1000))))


#: The message of the example in RFC 9051 §6.4.5.1, by its part numbers.
EXAMPLE = b"""\
From: Sender <sender@example.com>
To: rcpt@example.com
Subject: The example
Date: Mon, 07 Feb 1994 21:52:25 -0800
Message-ID: <1@example.com>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="outer"

preamble
--outer
Content-Type: text/plain; charset=us-ascii

part 1
--outer
Content-Type: application/octet-stream
Content-Transfer-Encoding: base64

cGFydCAy
--outer
Content-Type: message/rfc822

From: three@example.com
Subject: part 3
Content-Type: multipart/mixed; boundary=three

--three

part 3.1
--three
Content-Type: application/octet-stream

part 3.2
--three--
--outer
Content-Type: multipart/mixed; boundary="four"

--four
Content-Type: image/gif
Content-ID: <gif@example.com>

part 4.1
--four
Content-Type: message/rfc822

Subject: part 4.2
Content-Type: multipart/mixed; boundary="out"

--out
Content-Type: text/plain

part 4.2.1
--out
Content-Type: multipart/alternative; boundary="outer2"

--outer2
Content-Type: text/plain

part 4.2.2.1
--outer2
Content-Type: text/richtext

part 4.2.2.2
--outer2--
--out--
--four--
--outer--
epilogue
""".replace(b"\n", b"\r\n")


# --- damaged messages --------------------------------------------------------------------------


def damagedMessages() -> Iterator[tuple[str, bytes]]:
    """
    @return: small messages with everything that can be wrong with one, and what it is.
    """
    lines = EXAMPLE.splitlines(keepends=True)
    at = 0
    for number, line in enumerate(lines):
        yield f"line {number} is missing", b"".join(lines[:number] + lines[number + 1 :])
        yield f"cut before line {number}", EXAMPLE[:at]
        yield f"cut in line {number}", EXAMPLE[: at + len(line) // 2]
        yield f"cut in the line end of {number}", EXAMPLE[: at + len(line) - 1]
        at += len(line)
    yield from _lineEnds()
    yield from _headers()
    yield from _boundaries()
    yield from _contents()
    randomness = random.Random(5)
    octets = b'\r\n\0-:;"\\()<>@=? \t\xe9aB'
    for number in range(150):
        data = bytearray(EXAMPLE)
        for _ in range(randomness.randrange(1, 12)):
            place = randomness.randrange(len(data))
            choice = randomness.randrange(4)
            if choice == 0:
                data[place] = randomness.choice(octets)
            elif choice == 1:
                data.insert(place, randomness.choice(octets))
            elif choice == 2:
                del data[place : place + randomness.randrange(1, 40)]
            else:
                other = randomness.randrange(len(data))
                data[place:place] = data[other : other + randomness.randrange(1, 60)]
        yield f"random damage {number}", bytes(data)


def _lineEnds() -> Iterator[tuple[str, bytes]]:
    yield "bare LFs", EXAMPLE.replace(b"\r\n", b"\n")
    yield "bare CRs", EXAMPLE.replace(b"\r\n", b"\r")
    yield "CR CR LF", EXAMPLE.replace(b"\r\n", b"\r\r\n")
    yield "LF CR", EXAMPLE.replace(b"\r\n", b"\n\r")
    yield "each line end doubled", EXAMPLE.replace(b"\r\n", b"\r\n\r\n")
    yield "every second a bare LF", EXAMPLE.replace(b"\r\n", b"\n", 20)
    yield "no line ends", EXAMPLE.replace(b"\r\n", b"")
    yield from (
        *(("nothing", b""), ("CRLF", b"\r\n"), ("LF", b"\n"), ("CR", b"\r"), ("NUL", b"\0")),
        *(("two CRLF", b"\r\n\r\n"), ("many CRLF", b"\r\n" * 50), ("spaces", b" \r\n \r\n")),
        *(("a letter", b"a"), ("a colon", b":"), ("a dash", b"-"), ("dashes", b"\n--\n--\n--")),
    )


def _headers() -> Iterator[tuple[str, bytes]]:
    yield "no header", b"\r\nbody\r\n"
    yield "no body", b"Subject: x\r\n\r\n"
    yield "no blank line", b"Subject: x\r\nFrom: a@b\r\n"
    yield "no line end", b"Subject: x"
    yield "no header but a body", b"just text\r\nand more\r\n\r\nand more"
    yield "folded at each octet", b"Subject:" + b"".join(b"\r\n %c" % each for each in b"hello")
    yield "all folded", re.sub(rb"(\w+): ", rb"\1:\r\n\t", EXAMPLE)
    yield "folds of spaces", EXAMPLE.replace(b"; ", b";\r\n   \r\n\t")
    yield "spaces before colons", re.sub(rb"(\w+):", rb"\1 \t:", EXAMPLE)
    yield "doubled fields", re.sub(rb"(?m)^(\w+: .*\r\n)", rb"\1\1", EXAMPLE)
    yield (
        "two of each",
        b"Subject: a\r\nSubject: b\r\nFrom: a@b\r\nFrom: c@d\r\nTo: x\r\nTo: y\r\n\r\n",
    )
    yield (
        "8-bit header",
        EXAMPLE.replace(b"Sender", b"S\xe9nder\xff").replace(b"example", b"ex\xfc"),
    )
    yield "8-bit field name", b"Subj\xe9ct: x\r\n\xff: y\r\nTo: a@b\r\n\r\n"
    yield "NULs", EXAMPLE.replace(b"e", b"\0")
    yield "a NUL in each field", re.sub(rb": ", b": \\0", EXAMPLE)
    yield "no colons", EXAMPLE.replace(b":", b"")
    yield "no spaces", EXAMPLE.replace(b" ", b"")
    yield "only continuations", b" a\r\n b\r\n\tc\r\n\r\nd"
    yield "mbox line", b"From sender Mon Feb  7 21:52:25 1994\r\n" + EXAMPLE
    yield "quotes", EXAMPLE.replace(b'"', b"")
    yield "backslashes", EXAMPLE.replace(b"a", b"\\")
    for number, value in enumerate(
        (
            *(
                b'"',
                b"(",
                b")",
                b"<",
                b">",
                b"@",
                b",",
                b";",
                b":",
                b"\\",
                b"[",
                b"<>",
                b'""',
                b"()",
            ),
            *(
                b"a@",
                b"@b",
                b"a b c",
                b"a@b@c",
                b"<a@b",
                b"a@b>",
                b'"a@b',
                b"(a@b",
                b"G:",
                b"G:a@b",
            ),
            *(b"G:;", b";", b":;", b"G: H: a@b;;", b"<@a:b@c>", b"<@a,@b,@c:d@e>", b"a@[1.2.3.4"),
            *(
                b"=?utf-8?q?=E6=97?= =?utf-8?q?=A5?= <a@b>",
                b"=?nope?q?a?= <a@b>",
                b"=?utf-8?b?@@@?=",
            ),
            *(
                b"=?utf-8?q?a",
                b"=?=?=?=",
                b"\xe9 <\xe9@\xe9>",
                b"a\0b <a\0@b>",
                b"a, , ,b",
                b"((((((",
            ),
            *(
                b"\r\n a@b,\r\n\r\n",
                b"undisclosed-recipients:;",
                b"a <a@b> b <c@d>",
                b"'",
                b"<<a@b>>",
            ),
        )
    ):
        fields = b"".join(
            b"%b: %b\r\n" % (name, value)
            for name in (b"From", b"To", b"Subject", b"Date", b"Message-ID", b"Content-Type")
        )
        yield f"odd value {number}", fields + b"\r\nbody\r\n"


def _boundaries() -> Iterator[tuple[str, bytes]]:
    def message(parameter: bytes, body: bytes) -> bytes:
        return b"Content-Type: multipart/mixed" + parameter + b"\r\n\r\n" + body

    one = b"--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n"
    yield from (
        ("no boundary", message(b"", one)),
        ("empty boundary", message(b'; boundary=""', one)),
        ("another boundary", message(b"; boundary=c", one)),
        ("unquoted odd boundary", message(b"; boundary=b ", one)),
        ("boundary of spaces", message(b'; boundary="  "', b"--  \r\n\r\nx\r\n")),
        ("boundary of dashes", message(b"; boundary=--", b"----\r\n\r\nx\r\n------\r\n")),
        ("boundary without end of quotes", message(b'; boundary="b', one)),
        ("boundary twice", message(b"; boundary=b; boundary=c", one)),
        ("boundary in sections", message(b'; boundary*0="b"', one)),
        ("boundary encoded", message(b"; boundary*=us-ascii''%62", one)),
        ("never opened", message(b"; boundary=b", b"text\r\n")),
        ("only closed", message(b"; boundary=b", b"--b--\r\ntext\r\n")),
        ("closed twice", message(b"; boundary=b", one + one)),
        ("not closed", message(b"; boundary=b", one[:-7])),
        ("nothing between", message(b"; boundary=b", b"--b\r\n--b\r\n--b\r\n--b--")),
        ("spaces behind", message(b"; boundary=b", one.replace(b"--b", b"--b \t "))),
        ("text behind", message(b"; boundary=b", one.replace(b"--b\r", b"--bx\r"))),
        ("closing with text", message(b"; boundary=b", one.replace(b"--b--", b"--b--x"))),
        ("first line", message(b"; boundary=b", b"--b")),
        ("boundary in the header", b"Content-Type: multipart/mixed; boundary=b\r\n--b\r\n\r\nx"),
        ("only a boundary", b"--b\r\n"),
        ("bare CR before", message(b"; boundary=b", one.replace(b"\r\n--b", b"\r--b"))),
        ("long", message(b"; boundary=" + b"b" * 990, b"--" + b"b" * 990 + b"\r\n\r\nx\r\n")),
        ("too long", message(b"; boundary=" + b"b" * 2000, b"--" + b"b" * 2000 + b"\r\n\r\nx")),
        ("longest with spaces", message(b"; boundary=b", b"--b" + b" " * 2000 + b"\r\n\r\nx\r\n")),
        *(
            (
                f"line of {octets}",
                message(
                    b"; boundary=" + b"b" * 990,
                    b"--" + b"b" * 990 + b" " * (octets - 992) + b"\r\n\r\nx\r\n",
                ),
            )
            for octets in range(994, 1006)
        ),
    )
    inner = message(b"; boundary=%b", b"--%b\r\n\r\nx\r\n--%b--\r\n")
    for outside, inside in (
        (b"b", b"b"),
        (b"b", b"bb"),
        (b"bb", b"b"),
        (b"b", b"b--"),
        (b"b--", b"b"),
    ):
        part = inner.replace(b"%b", inside)
        yield (
            f"{inside.decode()} in {outside.decode()}",
            message(
                b"; boundary=" + outside, b"--%b\r\n%b\r\n--%b--\r\n" % (outside, part, outside)
            ),
        )


def _contents() -> Iterator[tuple[str, bytes]]:
    for name, kind in (
        ("no subtype", b"text"),
        ("only a slash", b"/"),
        ("no type", b"/plain"),
        ("two slashes", b"a/b/c"),
        ("spaces", b" text / html ; charset = utf-8 "),
        ("comments", b"text/(c)plain(d); (e) charset(f)=(g)utf-8(h)"),
        ("quoted", b'"text"/"plain"'),
        ("empty", b""),
        ("message", b"message/rfc822"),
        ("global", b"message/global"),
        ("partial", b"message/partial; id=1"),
        ("multipart", b"multipart/mixed"),
        ("multipart digest", b"multipart/digest; boundary=b"),
        ("capitals", b"MULTIPART/MIXED; BOUNDARY=b"),
        ("unknown charset", b"text/plain; charset=no-such"),
        ("charset of octets", b"text/plain; charset=\xff\0"),
        ("not a charset", b"text/plain; charset=base64"),
        ("half a charset", b"text/plain; charset*0*="),
        ("many parameters", b"text/plain" + b"; a=b" * 1000),
        ("semicolons", b"text/plain" + b";" * 1000),
        ("8-bit", b"t\xe9xt/pl\xe4in; x=\xff"),
    ):
        for encoding in (b"base64", b"quoted-printable", b"\xff", b"", b"7bit 8bit"):
            yield (
                f"{name}, {encoding!r}",
                b"Content-Type: %b\r\nContent-Transfer-Encoding: %b\r\n"
                b"Content-Disposition: %b; filename=%b\r\nContent-Language: de,,en , \xff\r\n\r\n"
                b"--b\r\n\r\nY=Q==!\xff=\r\nYQ=\r\n=E9=ZZ\r\n--b--\r\n"
                % (kind, encoding, kind, kind),
            )


def largeMessages() -> Iterator[tuple[str, bytes]]:
    """
    @return: messages that are damaged by being too much.
    """
    multipart = b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n--%b\r\n"
    yield (
        "1,000 multiparts deep",
        b"".join(multipart % (b"b%d" % level, b"b%d" % level) for level in range(1000)) + b"\r\nx",
    )
    yield (
        "1,000 deep, one boundary",
        (multipart % (b"b", b"b")) * 1000 + b"\r\nx\r\n" + b"--b--\r\n" * 1000,
    )
    yield (
        "1,000 messages deep",
        b"Content-Type: message/rfc822\r\n\r\n" * 1000 + b"Subject: x\r\n\r\ny",
    )
    yield (
        "1,000 deep by turns",
        b"".join(
            multipart % (b"b%d" % level, b"b%d" % level) + b"Content-Type: message/rfc822\r\n\r\n"
            for level in range(500)
        ),
    )
    head = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    yield "10,000 parts", head + b"--b\r\n\r\nx\r\n" * 10_000 + b"--b--\r\n"
    yield "20,000 parts without a header", head + b"--b\n" * 20_000
    yield (
        "20,000 parts that are multiparts closed at once",
        head + (b"--b\r\n" + head + b"--b--\r\n") * 20_000,
    )
    yield (
        "10,000 multiparts without a boundary",
        head + b"--b\r\nContent-Type: multipart/x\r\n\r\n" * 10_000,
    )
    yield "a header line of 1 MB", b"Subject: " + b"x" * 1_000_000 + b"\r\nTo: a@b\r\n\r\nbody"
    yield "a line of 1 MB without a colon", b"x" * 1_000_000
    yield "a header of 1 MB", b"X: y\r\n" * 170_000 + b"Subject: late\r\n\r\nbody"
    yield "a header of 1 MB of folds", b"Subject:" + b"\r\n x" * 250_000 + b"\r\n\r\nbody"
    yield "a body line of 1 MB", head + b"--b\r\n\r\n" + b"-" * 1_000_000 + b"\r\n--b--\r\n"
    yield "1 MB of almost boundaries", head + b"\r\n--" * 250_000
    yield "20,000 addresses", b"To: " + b"a@b, " * 20_000 + b"\r\n\r\nbody"
    yield (
        "hostile addresses",
        b"To: a@b," + b" " * 60_000 + b"(\r\nCc: " + b"<a," * 20_000 + b"\r\n\r\n",
    )
    yield "hostile parameters", b"Content-Type: text/plain; a=b" + b" " * 60_000 + b"c\r\n\r\nx"
    yield (
        "a part's header of 1 MB",
        head + b"--b\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\nz\r\n--b--\r\n",
    )


# --- counting ----------------------------------------------------------------------------------


def work(function: Callable[[], object]) -> int:
    """
    @return: how many lines of Python a call runs.
    """
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        lines += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return lines
