# -*- test-case-name: tests.model.test_mime -*-
"""
The MIME structure of a message as offsets: RFC 2045, RFC 2046; sections as of RFC 9051 §6.4.5.1.

L{StructureScanner} reads a message in chunks of any size, in one pass and in bounded memory: bodies
are only searched for boundaries, never split into lines. Whatever the input, it doesn't raise and
gives a tree in which each part lies within its parent. Nesting is bounded by L{MAX_DEPTH} and the
number of parts by L{MAX_PARTS}: what is beyond is an opaque part, or left unsplit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from twisted_mailstack.model.envelope import renderEnvelope
from twisted_mailstack.model.header import Header, Parameters, decodeParameters, parseParameters

#: Levels of multipart and message/rfc822 inside one another. Real mail has fewer than ten.
MAX_DEPTH = 100
#: Parts of one message.
MAX_PARTS = 10_000
#: Octets of one part's header in which fields are looked for. A thousand recipients are 64 KiB.
MAX_HEADER = 256 * 1024
#: A boundary has at most 70 octets (RFC 2046 §5.1.1); longer ones occur, lines so long don't: a
#: longer line is no boundary, whatever it begins with.
MAX_BOUNDARY_LINE = 1000


class Part:
    """
    A part of a message, or a message: the root, and the one inside a message/rfc822 part.

    @ivar mediaType: as written, like C{text}; C{subtype} likewise.
    @ivar parameters: of Content-Type, as written.
    @ivar encoding: the Content-Transfer-Encoding, C{7bit} if there is none.
    @ivar disposition: the Content-Disposition's value and parameters.
    @ivar headerOffset: where its header begins, in octets from the start of the message.
    @ivar bodyOffset: where its body begins, behind the blank line.
    @ivar endOffset: where its body ends. The line end before a boundary belongs to the boundary.
    @ivar lines: of its body.
    @ivar children: the parts of a multipart, or the one message of a message/rfc822.
    @ivar envelope: ENVELOPE of a message, C{None} for other parts.
    """

    __slots__ = (
        "bodyOffset",
        "children",
        "contentId",
        "description",
        "disposition",
        "encoding",
        "endOffset",
        "envelope",
        "headerOffset",
        "language",
        "lines",
        "location",
        "md5",
        "mediaType",
        "parameters",
        "subtype",
    )

    def __init__(self, headerOffset: int = 0) -> None:
        self.mediaType = b"text"
        self.subtype = b"plain"
        self.parameters: Parameters = []
        self.contentId: bytes | None = None
        self.description: bytes | None = None
        self.encoding = b"7bit"
        self.md5: bytes | None = None
        self.disposition: tuple[bytes, Parameters] | None = None
        self.language: bytes | None = None
        self.location: bytes | None = None
        self.headerOffset = headerOffset
        self.bodyOffset = headerOffset
        self.endOffset = headerOffset
        self.lines = 0
        self.children: list[Part] = []
        self.envelope: bytes | None = None

    @property
    def isText(self) -> bool:
        """Whether it is text/anything."""
        return self.mediaType.lower() == b"text"

    @property
    def isMultipart(self) -> bool:
        """Whether it has parts."""
        return self.mediaType.lower() == b"multipart"

    @property
    def isMessage(self) -> bool:
        """Whether it is message/rfc822 or message/global, with a message in it."""
        return self.mediaType.lower() == b"message" and self.subtype.lower() in _MESSAGES

    @property
    def size(self) -> int:
        """Octets of its body, in its transfer encoding."""
        return self.endOffset - self.bodyOffset

    def walk(self) -> Iterator[Part]:
        """
        @return: this part and all below it, in the order of the message.
        """
        waiting = [self]
        while waiting:
            part = waiting.pop()
            yield part
            waiting.extend(reversed(part.children))

    def shift(self, octets: int) -> None:
        """
        Move all offsets, for a message that has got octets put in front of it. The root's header
        then begins with them.
        """
        for part in self.walk():
            part.headerOffset += octets
            part.bodyOffset += octets
            part.endOffset += octets
        self.headerOffset -= octets


_MESSAGES = (b"rfc822", b"global")


class _Open:
    """A part whose end isn't found yet."""

    __slots__ = ("boundary", "newlines", "part")

    def __init__(self, part: Part) -> None:
        self.part = part
        self.boundary: bytes | None = None
        self.newlines = 0


class _BoundaryLine(NamedTuple):
    """
    A boundary, in indexes of the buffer.

    @ivar newline: of the newline before it.
    @ivar end: behind the line; -1 if it isn't whole yet and may become one.
    @ivar position: the stack's position of its multipart.
    @ivar closing: whether it is the last.
    """

    newline: int
    end: int
    position: int
    closing: bool


#: What ends a header, or may end it.
_HEADER_STOP = re.compile(rb"\n(?:(\r?\n)|--)")


class StructureScanner:
    """
    Finds the structure of a message that arrives in chunks.

    @ivar header: the message's own header as far as it is kept (L{MAX_HEADER}), once it was read.
        Its fields are found once, for everybody who asks.
    """

    def __init__(self) -> None:
        self.header: Header | None = None
        self._root = Part()
        self._stack = [_Open(self._root)]
        # Boundaries that may come now, and the stack's position of their multipart.
        self._boundaries: dict[bytes, int] = {}
        self._parts = 1
        self._inHeader = True
        self._keptHeader: bytes | None = None
        # The octets that may be needed again, and the offset of their first.
        self._buffer = b""
        self._base = 0
        # From where (an index into the buffer) to look next.
        self._from = 0
        # Newlines in the octets before the offset _counted.
        self._newlines = 0
        self._counted = 0

    def feed(self, data: bytes) -> None:
        """
        The message's next octets.
        """
        self._buffer = self._buffer + data if self._buffer else data
        self._run(False)

    def finish(self) -> Part:
        """
        @return: the message's root part.
        """
        self._run(True)
        self._close(0, self._base + len(self._buffer))
        return self._root

    def _run(self, final: bool) -> None:
        while self._readHeader(final) if self._inHeader else self._readBody(final):
            pass
        if not final:
            self._drop()

    def _drop(self) -> None:
        # Kept: what is to be looked at again, four octets before it for the line end, and a
        # header's beginning while the header isn't whole.
        keep = max(0, self._from - 4)
        if self._inHeader and self._keptHeader is None:
            start = self._stack[-1].part.headerOffset - self._base
            if len(self._buffer) - start <= 2 * MAX_HEADER:
                keep = min(keep, max(0, start - 4))
            else:
                self._keptHeader = self._buffer[start : start + MAX_HEADER]
        if keep:
            self._countTo(self._base + keep)
            self._buffer = self._buffer[keep:]
            self._base += keep
            self._from -= keep

    def _countTo(self, offset: int) -> int:
        if offset > self._counted:
            self._newlines += self._buffer.count(
                b"\n", self._counted - self._base, offset - self._base
            )
            self._counted = offset
            return self._newlines
        return self._newlines - self._buffer.count(
            b"\n", offset - self._base, self._counted - self._base
        )

    def _boundaryAt(self, newline: int, final: bool) -> _BoundaryLine | None:
        # What is behind that newline and two hyphens, if it is a boundary or may become one.
        buffer = self._buffer
        end = buffer.find(b"\n", newline + 3, newline + MAX_BOUNDARY_LINE)
        if end < 0:
            if len(buffer) >= newline + MAX_BOUNDARY_LINE:
                return None
            if not final:
                return _BoundaryLine(newline, -1, -1, False)
            end = len(buffer)
        line = buffer[newline + 3 : end].rstrip(b" \t\r")
        closing = False
        position = self._boundaries.get(line)
        if position is None and line.endswith(b"--"):
            closing = True
            position = self._boundaries.get(line[:-2])
        if position is None:
            return None
        return _BoundaryLine(newline, min(end + 1, len(buffer)), position, closing)

    def _readHeader(self, final: bool) -> bool:
        buffer = self._buffer
        start = self._stack[-1].part.headerOffset - self._base
        first = buffer[start : start + 2] if self._keptHeader is None else b"??"
        end = -1
        if first[:1] == b"\n":
            end = start + 1
        elif first == b"\r\n":
            end = start + 2
        elif not final and len(first) < 2:
            return False
        # The line end before the header's first line counts: the header itself may be missing.
        at = max(0, self._from - 1)
        while end < 0 and (match := _HEADER_STOP.search(buffer, at)):
            at = match.start()
            if match.group(1):
                end = match.end()
            elif self._boundaries and (found := self._boundaryAt(at, final)):
                if found.end < 0:
                    self._from = at
                    return False
                at = max(at - (buffer[at - 1 : at] == b"\r"), start)
                self._startBody(at, at)
                self._boundaryFound(found)
                return True
            at += 1
        if end < 0:
            if not final:
                # What may yet become a blank line, or a newline and two hyphens.
                self._from = max(self._from, len(buffer) - 2)
                return False
            end = len(buffer)
        # A boundary line may follow the blank line at once.
        self._from = max(end - 1, 0)
        self._startBody(end, end)
        return True

    def _startBody(self, headerEnd: int, bodyStart: int) -> None:
        opened = self._stack[-1]
        part = opened.part
        start = part.headerOffset - self._base
        if self._keptHeader is not None:
            data = self._keptHeader
            self._keptHeader = None
        else:
            data = self._buffer[start : min(headerEnd, start + MAX_HEADER)]
        header = Header(data)
        isRoot = len(self._stack) == 1
        parent = None if isRoot else self._stack[-2].part
        isMessage = parent is None or parent.isMessage
        if isRoot:
            self.header = header
        if isMessage:
            part.envelope = renderEnvelope(header)
        _readFields(part, header, parent)
        part.bodyOffset = self._base + bodyStart
        opened.newlines = self._countTo(part.bodyOffset)
        self._inHeader = False
        if part.isMultipart:
            boundary = _boundary(part)
            if len(self._stack) > MAX_DEPTH:
                _makeOpaque(part)
            elif boundary is not None and self._parts < MAX_PARTS:
                opened.boundary = boundary
                self._boundaries[boundary] = len(self._stack) - 1
        elif part.isMessage:
            if len(self._stack) > MAX_DEPTH:
                _makeOpaque(part)
            else:
                self._openChild(part.bodyOffset)

    def _openChild(self, offset: int) -> None:
        child = Part(offset)
        self._stack[-1].part.children.append(child)
        self._stack.append(_Open(child))
        self._parts += 1
        self._inHeader = True
        self._from = max(0, offset - self._base)

    def _readBody(self, final: bool) -> bool:
        buffer = self._buffer
        if not self._boundaries:
            self._from = len(buffer)
            return False
        at = self._from - 1
        while (at := buffer.find(b"\n--", at + 1)) >= 0:
            found = self._boundaryAt(at, final)
            if found is None:
                continue
            if found.end < 0:
                self._from = at
                return False
            self._boundaryFound(found)
            return True
        # What may yet become a newline and two hyphens.
        self._from = max(self._from, len(buffer) - 2)
        return False

    def _boundaryFound(self, found: _BoundaryLine) -> None:
        newline, end, position, closing = found
        at = newline - 1 if newline and self._buffer[newline - 1 : newline] == b"\r" else newline
        self._close(position + 1, self._base + at)
        self._from = max(end - 1, 0)
        opened = self._stack[position]
        self._inHeader = False
        if closing:
            # What follows is the epilogue, until a boundary further out.
            if opened.boundary is not None:
                self._forget(opened.boundary, position)
                opened.boundary = None
        else:
            self._openChild(self._base + end)
            if self._parts >= MAX_PARTS:
                # The last part gets all the rest, and none in it is looked for.
                self._boundaries.clear()

    def _forget(self, boundary: bytes, position: int) -> None:
        del self._boundaries[boundary]
        for outer in range(position - 1, -1, -1):
            # The same boundary, used again inside: the outer one counts again.
            if self._stack[outer].boundary == boundary:
                self._boundaries[boundary] = outer
                break

    def _close(self, position: int, end: int) -> None:
        # End all parts from this position of the stack on.
        while len(self._stack) > position:
            opened = self._stack.pop()
            part = opened.part
            if opened.boundary is not None and self._boundaries.get(opened.boundary) == len(
                self._stack
            ):
                self._forget(opened.boundary, len(self._stack))
            # A boundary right behind a header: its line end is the header's blank line.
            part.endOffset = end = max(end, part.bodyOffset)
            if part.endOffset > part.bodyOffset:
                part.lines = self._countTo(part.endOffset) - opened.newlines
                last = part.endOffset - 1 - self._base
                if self._buffer[last : last + 1] != b"\n":
                    part.lines += 1
            if part.isMultipart and not part.children:
                # The grammar of BODYSTRUCTURE wants at least one: all of it, as text.
                child = Part(part.bodyOffset)
                child.endOffset = part.endOffset
                child.lines = part.lines
                part.children.append(child)
            if part.isMessage:
                inner = part.children[0]
                if inner.envelope is None:
                    inner.envelope = renderEnvelope(Header(b""))


def _readFields(part: Part, header: Header, parent: Part | None) -> None:
    value = header.get(b"content-type")
    if value is not None:
        main, parameters = parseParameters(value)
        mediaType, slash, subtype = main.partition(b"/")
        mediaType, subtype = mediaType.strip(), subtype.strip()
        if slash and _isToken(mediaType) and _isToken(subtype):
            part.mediaType, part.subtype, part.parameters = mediaType, subtype, parameters
        elif not slash and mediaType.lower() == b"text":
            part.parameters = parameters
        # Otherwise RFC 2045 §5.2: what isn't valid is treated as text/plain.
    elif parent is not None and parent.isMultipart and parent.subtype.lower() == b"digest":
        part.mediaType, part.subtype = b"message", b"rfc822"
    value = header.get(b"content-transfer-encoding")
    if value:
        encoding = parseParameters(value)[0]
        if _isToken(encoding):
            part.encoding = encoding
    value = header.get(b"content-disposition")
    if value:
        main, parameters = parseParameters(value)
        if main:
            part.disposition = main, parameters
    part.contentId = header.get(b"content-id")
    part.description = header.get(b"content-description")
    part.md5 = header.get(b"content-md5")
    value = header.get(b"content-language")
    part.language = value or None
    part.location = header.get(b"content-location")


def _isToken(value: bytes) -> bool:
    return 0 < len(value) <= 255 and not value.translate(None, _TOKEN)


#   token = 1*<any CHAR except SPACE, CTLs, or tspecials>   (RFC 2045 §5.1)
_TOKEN = bytes(set(range(0x21, 0x7F)) - set(b'()<>@,;:\\"/[]?='))


def _boundary(part: Part) -> bytes | None:
    for name, value in part.parameters:
        folded = name.lower()
        if folded.startswith(b"boundary*"):
            # In sections, or encoded (RFC 2231).
            value = decodeParameters(part.parameters).get("boundary", "").encode("utf-8")
        elif folded != b"boundary":
            continue
        value = value.rstrip(b" \t")
        if 0 < len(value) < MAX_BOUNDARY_LINE - 4:
            return value
    return None


def _makeOpaque(part: Part) -> None:
    part.mediaType, part.subtype, part.parameters = b"application", b"octet-stream", []


def scan(data: bytes) -> Part:
    """
    @return: the structure of a message in one piece.
    """
    scanner = StructureScanner()
    scanner.feed(data)
    return scanner.finish()


# --- stored form -------------------------------------------------------------------------------


# Made once: json.dumps makes one at each call, which costs as much as a small structure.
_encodeJSON = json.JSONEncoder(separators=(",", ":")).encode


def packStructure(root: Part) -> bytes:
    """
    @return: the tree with what is needed to find sections and text without another scan.
    """
    return _encodeJSON(_pack(root)).encode("ascii")


def _pack(part: Part) -> list[Any]:
    return [
        part.headerOffset,
        part.bodyOffset,
        part.endOffset,
        part.lines,
        part.mediaType.decode("latin-1"),
        part.subtype.decode("latin-1"),
        part.encoding.decode("latin-1"),
        _packParameters(part.parameters),
        part.disposition
        and [part.disposition[0].decode("latin-1"), _packParameters(part.disposition[1])],
        [_pack(child) for child in part.children],
    ]


def _packParameters(parameters: Parameters) -> list[list[str]]:
    return [[name.decode("latin-1"), value.decode("latin-1")] for name, value in parameters]


def unpackStructure(data: bytes) -> Part:
    """
    The inverse of L{packStructure}; envelopes and descriptions are not in it.
    """
    return _unpack(json.loads(data))


def _unpack(fields: list[Any]) -> Part:
    part = Part(fields[0])
    part.bodyOffset, part.endOffset, part.lines = fields[1:4]
    part.mediaType, part.subtype, part.encoding = (text.encode("latin-1") for text in fields[4:7])
    part.parameters = _unpackParameters(fields[7])
    if fields[8]:
        part.disposition = fields[8][0].encode("latin-1"), _unpackParameters(fields[8][1])
    part.children = [_unpack(child) for child in fields[9]]
    return part


def _unpackParameters(pairs: list[list[str]]) -> Parameters:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]


# --- sections ----------------------------------------------------------------------------------


def findPart(root: Part, path: Sequence[int]) -> Part | None:
    """
    The part that a section's numbers name (RFC 9051 §6.4.5.1): the only part of a message that is
    no multipart is 1, and the numbers below a message/rfc822 part are those of its message.

    @param root: a message.
    @return: C{None} if there is none. The root itself for no numbers.
    """
    part = root
    asMessage = True
    for number in path:
        if part.isMessage and not asMessage:
            part = part.children[0]
            asMessage = True
        if part.isMultipart:
            if not 1 <= number <= len(part.children):
                return None
            part = part.children[number - 1]
        elif not asMessage or number != 1:
            return None
        asMessage = False
    return part


def sectionRange(root: Part, path: Sequence[int], kind: str) -> tuple[int, int] | None:
    """
    @param kind: C{""}, C{"HEADER"}, C{"TEXT"} or C{"MIME"}.
    @return: the offsets of the section, the end excluded; C{None} if there is no such section.
    """
    part = findPart(root, path)
    if part is None:
        return None
    if not path:
        if kind == "":
            return part.headerOffset, part.endOffset
        if kind == "MIME":
            return None
        message = part
    else:
        if kind == "":
            return part.bodyOffset, part.endOffset
        if kind == "MIME":
            return part.headerOffset, part.bodyOffset
        if not part.isMessage:
            return None
        message = part.children[0]
    if kind == "HEADER":
        return message.headerOffset, message.bodyOffset
    return message.bodyOffset, message.endOffset
