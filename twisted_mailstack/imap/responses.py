# -*- test-case-name: tests.imap.test_responses -*-
"""
What a server says, as values: the client's side of the grammar (RFC 3501 §7, RFC 9051 §7).

A response is cut from the stream whole, literals included (L{readResponse}), and read leniently
(L{parseResponse}): what is in it is kept as it is, and what a response is about is decided by who
asked for it. Nothing here knows commands.

Values are: an atom C{str}, a string (quoted or literal) C{bytes}, NIL C{None}, a list C{tuple}; a
literal that was streamed, whatever it was streamed to.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

from twisted_mailstack.wire.stream import LineTooLong, Stream

#: Octets of a response: a SEARCH over a million messages has eight million. Streamed literals are
#: not counted.
MAX_RESPONSE = 64 * 1024 * 1024
#: Lists within lists.
MAX_NESTING = 5000
#: Octets of a streamed literal at a time.
WINDOW = 64 * 1024

#   literal = "{" number64 "}" CRLF *CHAR8; literal8 = "~{" number64 "}" CRLF *OCTET
_LITERAL = re.compile(rb"~?\{(\d{1,18})\}\Z")
# Only we write this: a server's line has no LF.
_SUNK = "{$%d}\n"
_TOKEN = re.compile(
    rb" *(?:"
    rb"(?P<list>[()])"
    rb'|"(?P<quoted>(?:[^"\\\r\n]|\\[^\r\n])*)"'
    rb"|~?\{(?P<size>\d{1,18})\}\r\n"
    rb"|\{\$(?P<sunk>\d+)\}\n"
    # msg-att-static: a section's header list may have quoted strings in it.
    rb'|(?P<atom>[A-Za-z0-9.\-]+\[(?:[^\]"\r\n]|"(?:[^"\\\r\n]|\\[^\r\n])*")*\](?:<\d+>)?'
    rb'|[^ ()"{\r\n]+)'
    rb")"
)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
#   response-tagged = tag SP resp-cond-state CRLF, and the untagged ones; resp-text's text may be
#   empty, and some servers leave out the space before it, too.
_STATUS = re.compile(rb"([^ ]+) (OK|NO|BAD|PREAUTH|BYE)(?: (.*))?\Z", re.IGNORECASE | re.DOTALL)
#   resp-text = ["[" resp-text-code "]" SP] text
_CODE = re.compile(rb'\[([^\] ]+)(?: ((?:[^\]"]|"(?:[^"\\]|\\.)*")*))?\] ?(.*)\Z', re.DOTALL)
_DATA = re.compile(rb"\* (?:(\d{1,10}) )?([A-Za-z][A-Za-z0-9.\-]*)(?: |\Z)")


class MalformedResponse(Exception):
    """The peer doesn't speak IMAP, or says more than is taken."""


class Code(NamedTuple):
    """
    A response code (RFC 9051 §7.1).

    @ivar name: upper case.
    @ivar values: what follows it.
    """

    name: str
    values: tuple[Any, ...] = ()


class Status(NamedTuple):
    """
    A status response.

    @ivar tag: C{*} if it is untagged.
    @ivar kind: C{OK}, C{NO}, C{BAD}, C{PREAUTH} or C{BYE}.
    """

    tag: str
    kind: str
    code: Code | None
    text: str


class Data(NamedTuple):
    """
    Any other untagged response.

    @ivar name: upper case: C{EXISTS}, C{FETCH}, C{LIST}...
    @ivar number: what precedes the name, C{None} if nothing does.
    """

    name: str
    number: int | None
    values: tuple[Any, ...]


class Continuation(NamedTuple):
    """
    The server waits for more of the command (RFC 9051 §7.6).
    """

    text: bytes


Response = Status | Data | Continuation


class Sink(Protocol):
    """
    Takes a literal as it comes.
    """

    def write(self, data: bytes) -> Awaitable[None] | None:
        """
        @return: what to wait for before the next.
        """


#: Given a response up to one of its literals and that one's size: where it goes, or C{None} to keep
#: it in memory.
SinkFor = Callable[[bytes, int], "Sink | None"]


async def readResponse(stream: Stream, sinkFor: SinkFor | None = None) -> Response:
    """
    @return: the next response.
    @raise MalformedResponse: if it is none, or too long.
    @raise ConnectionClosed: as L{Stream.readLine}.
    """
    response = bytearray()
    sunk: list[Sink] = []
    while True:
        try:
            line = await stream.readLine(MAX_RESPONSE)
        except LineTooLong:
            raise MalformedResponse("a response is too long") from None
        response += line
        match = _LITERAL.search(line)
        if match is None:
            return parseResponse(bytes(response), sunk)
        size = int(match.group(1))
        sink = None if sinkFor is None else sinkFor(bytes(response), size)
        if sink is None:
            if len(response) + size > MAX_RESPONSE:
                raise MalformedResponse("a response is too long")
            response += b"\r\n"
            response += await stream.readExactly(size)
            continue
        del response[len(response) - len(match.group()) :]
        response += (_SUNK % len(sunk)).encode("ascii")
        sunk.append(sink)
        while size:
            data = await stream.readSome(min(WINDOW, size))
            size -= len(data)
            waiting = sink.write(data)
            if waiting is not None:
                await waiting


def parseResponse(response: bytes, sunk: Sequence[Sink] = ()) -> Response:
    """
    @param response: without its final CRLF.
    @param sunk: where its streamed literals went.
    @raise MalformedResponse: if it is none.
    """
    if response.startswith(b"+"):
        return Continuation(response[1:].removeprefix(b" "))
    match = _STATUS.match(response)
    if match is not None:
        tag, kind, rest = match.groups()
        code, text = _statusText(rest or b"")
        return Status(_text(tag), _text(kind).upper(), code, text)
    match = _DATA.match(response)
    if match is None:
        raise MalformedResponse(f"not a response: {_text(response[:80])}")
    number, name = match.groups()
    word = _text(name).upper()
    rest = response[match.end() :]
    if word == "SEARCH" and b"(" not in rest and b'"' not in rest:
        # There may be a million of them.
        return Data(word, None, tuple(_text(rest).split()))
    values = parseValues(response, match.end(), sunk)
    return Data(word, None if number is None else int(number), values)


def parseValues(response: bytes, at: int = 0, sunk: Sequence[Sink] = ()) -> tuple[Any, ...]:
    """
    @return: the values that stand there, to the end.
    @raise MalformedResponse: if they don't follow the grammar.
    """
    # Without recursion: BODYSTRUCTURE may be nested deeply.
    lists: list[list[Any]] = [[]]
    end = len(response.rstrip(b" "))
    while at < end:
        match = _TOKEN.match(response, at)
        if match is None:
            raise MalformedResponse(f"not a value: {_text(response[at : at + 80])}")
        at = match.end()
        kind = match.lastgroup
        if kind == "atom":
            atom = match.group("atom")
            lists[-1].append(None if atom.upper() == b"NIL" else _text(atom))
        elif kind == "quoted":
            quoted = match.group("quoted")
            lists[-1].append(_ESCAPED.sub(rb"\1", quoted) if b"\\" in quoted else quoted)
        elif kind == "size":
            size = int(match.group("size"))
            if at + size > len(response):
                raise MalformedResponse("a literal is cut")
            lists[-1].append(response[at : at + size])
            at += size
        elif kind == "sunk":
            lists[-1].append(sunk[int(match.group("sunk"))])
        elif match.group("list") == b"(":
            lists.append([])
            if len(lists) > MAX_NESTING:
                raise MalformedResponse("lists are nested too deeply")
        elif len(lists) > 1:
            done = tuple(lists.pop())
            lists[-1].append(done)
        else:
            raise MalformedResponse("a list ends that didn't begin")
    if len(lists) > 1:
        raise MalformedResponse("a list doesn't end")
    return tuple(lists[0])


def _statusText(rest: bytes) -> tuple[Code | None, str]:
    match = _CODE.match(rest)
    if match is None:
        return None, _text(rest)
    name, values, text = match.groups()
    try:
        parsed = parseValues(values or b"")
    except MalformedResponse:
        # A code that nobody knows is no reason to give up.
        parsed = (values,)
    return Code(_text(name).upper(), parsed), _text(text)


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


def octetsOf(value: Any) -> bytes:
    """
    @return: an astring's octets, whichever form it had. An atom C{NIL} stood for its name.
    """
    if value is None:
        return b"NIL"
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, bytes):
        return value
    raise MalformedResponse("a string was expected")


def numberOf(value: Any) -> int:
    """
    @raise MalformedResponse: if it isn't a number.
    """
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        return int(value)
    raise MalformedResponse("a number was expected")
