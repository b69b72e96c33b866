# -*- test-case-name: tests.smtp.test_binarymime -*-
"""
Binary MIME parts made base64 while a message streams by (RFC 2045 §6), for what can't carry them as
they are: BINARYMIME of SMTP (RFC 3030 §3), literal8 of IMAP (RFC 3516 §4.4).

Parts whose transfer encoding is binary become base64, which preserves each of their octets; what
else there is stays as it is.
"""

from __future__ import annotations

import re
from base64 import encodebytes
from typing import NamedTuple

from twisted_mailstack.errors import MailError
from twisted_mailstack.model.header import Header, decodeParameters
from twisted_mailstack.model.mime import Part, scan

#: Octets of one part's header, parts inside one another, and parts. A message that has more is
#: refused: it couldn't be said where its binary parts are, or not in a reasonable time.
MAX_HEADER = 256 * 1024
MAX_DEPTH = 100
MAX_PARTS = 10_000
#: Octets of a boundary's line. Longer ones are no boundaries.
MAX_BOUNDARY_LINE = 1000
#: Octets in a line of base64 (RFC 2045 §6.8: at most 76 characters).
_LINE = 57

_ENCODING = re.compile(
    rb"^content-transfer-encoding[ \t]*:[^\r\n]*(?:\r\n[ \t][^\r\n]*)*(?:\r\n|\Z)",
    re.IGNORECASE | re.MULTILINE,
)
_IDENTITIES = (b"7bit", b"8bit", b"binary")


class _Boundary(NamedTuple):
    """
    A line that separates parts.

    @ivar start: where it begins, behind the CRLF before it; C{end} where the next one does.
    @ivar depth: how many multiparts are open around it.
    """

    start: int
    end: int
    depth: int
    closing: bool


class BinaryEncoder:
    """
    See the module.
    """

    def __init__(self) -> None:
        # Of the multiparts around, the innermost last; and whether they are digests.
        self._boundaries: list[tuple[bytes, bool]] = []
        # By boundary, how many multiparts are open with the innermost that has it.
        self._depths: dict[bytes, int] = {}
        self._parts = 0
        self._buffer = b""
        # Of what may come next: a header, or a body that is binary or isn't.
        self._inHeader = True
        self._binary = False
        # Whether the buffer begins where a line does; whether base64 was written for this part.
        self._atLine = True
        self._written = False
        # Octets that don't fill a line of base64 yet.
        self._rest = b""

    def feed(self, text: bytes) -> bytes:
        """
        @return: what becomes of the next octets; may be empty.
        @raise MailError: if the message must be refused: it can't be said where its parts are.
        """
        self._buffer += text
        return self._run(False)

    def finish(self) -> bytes:
        """
        @return: what is left when all was fed.
        @raise MailError: as L{feed}.
        """
        return self._run(True) + self._flush()

    def _run(self, final: bool) -> bytes:
        out: list[bytes] = []
        while self._readHeader(out, final) if self._inHeader else self._readBody(out, final):
            pass
        return b"".join(out)

    # --- headers -------------------------------------------------------------------------------

    def _readHeader(self, out: list[bytes], final: bool) -> bool:
        buffer = self._buffer
        if buffer.startswith(b"\r\n"):
            end = 2
        else:
            end = buffer.find(b"\r\n\r\n") + 4
            if end < 4:
                end = len(buffer) if final else 0
        # Parts may end before their header does.
        boundary, _ = self._findBoundary(end or len(buffer), final)
        if boundary is not None:
            out.append(buffer[: boundary.start])
            self._enter(out, boundary)
            return True
        if not end and len(buffer) > MAX_HEADER:
            raise MailError("A header is too long", smtpCode=550, enhancedStatus="5.6.0")
        if not end:
            return False
        self._buffer = buffer[end:]
        self._atLine = True
        out.append(self._startBody(buffer[:end]))
        return not final or bool(self._buffer)

    def _startBody(self, header: bytes) -> bytes:
        part = scan(header)
        encoding = part.encoding.lower()
        subtype = part.subtype.lower()
        inDigest = bool(self._boundaries) and self._boundaries[-1][1]
        # RFC 2046 §5.1.5: in a digest a part without a type is a message.
        isMessage = part.isMessage or (inDigest and Header(header).get(b"content-type") is None)
        isMessage = isMessage and encoding in _IDENTITIES
        self._inHeader = isMessage
        self._binary = self._written = False
        boundary = _boundaryOf(part) if part.isMultipart else None
        if boundary is not None:
            if len(self._boundaries) >= MAX_DEPTH:
                raise MailError("Parts are nested too deeply", smtpCode=550, enhancedStatus="5.6.0")
            self._boundaries.append((boundary, subtype == b"digest"))
            self._depths[boundary] = len(self._boundaries)
        if encoding != b"binary":
            return header
        # RFC 2045 §6.4: multiparts and messages are never encoded, but what is in them.
        self._binary = not (part.isMultipart or isMessage)
        name = b"base64" if self._binary else b"8bit"
        return _ENCODING.sub(b"Content-Transfer-Encoding: " + name + b"\r\n", header)

    # --- bodies --------------------------------------------------------------------------------

    def _readBody(self, out: list[bytes], final: bool) -> bool:
        buffer = self._buffer
        boundary, undecided = self._findBoundary(len(buffer), final)
        if boundary is None:
            out.append(self._body(buffer[:undecided]))
            self._buffer = buffer[undecided:]
            self._atLine = self._atLine and not undecided
            return False
        # The CRLF before a boundary belongs to it (RFC 2046 §5.1.1).
        content = buffer[: max(boundary.start - 2, 0)]
        out.append(self._body(content) + self._flush())
        if not self._written:
            out.append(buffer[len(content) : boundary.start])
        self._enter(out, boundary)
        return True

    def _enter(self, out: list[bytes], boundary: _Boundary) -> None:
        out.append(self._buffer[boundary.start : boundary.end])
        self._buffer = self._buffer[boundary.end :]
        if boundary.depth < len(self._boundaries):
            del self._boundaries[boundary.depth :]
            self._depths = {each: n for n, (each, _) in enumerate(self._boundaries, 1)}
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise MailError("There are too many parts", smtpCode=550, enhancedStatus="5.6.0")
        self._inHeader = not boundary.closing
        self._binary = self._written = False
        self._atLine = True

    def _body(self, data: bytes) -> bytes:
        if not self._binary:
            return data
        data = self._rest + data
        whole = len(data) - len(data) % _LINE
        self._rest = data[whole:]
        self._written = self._written or whole > 0
        return encodebytes(data[:whole]).replace(b"\n", b"\r\n")

    def _flush(self) -> bytes:
        rest, self._rest = self._rest, b""
        self._written = self._written or bool(rest)
        return encodebytes(rest).replace(b"\n", b"\r\n") if rest else b""

    def _findBoundary(self, stop: int, final: bool) -> tuple[_Boundary | None, int]:
        """
        @param stop: a boundary's line must begin before.
        @return: the first boundary in the buffer; and, if there is none, how many octets are
            certainly none.
        """
        buffer = self._buffer
        if not self._boundaries:
            return None, len(buffer)
        at = 0 if self._atLine else self._nextLine(0)
        while 0 <= at < stop:
            if buffer.startswith(b"--", at):
                end = buffer.find(b"\r\n", at)
                if end < 0 and not final and len(buffer) - at < MAX_BOUNDARY_LINE:
                    return None, max(at - 2, 0)
                end = len(buffer) if end < 0 else end
                found = self._match(buffer[at + 2 : end].rstrip(b" \t"))
                if found is not None and end - at < MAX_BOUNDARY_LINE:
                    return _Boundary(at, min(end + 2, len(buffer)), *found), 0
            at = self._nextLine(at)
        if final:
            return None, len(buffer)
        # What may yet become a line's end and two hyphens.
        for tail in (b"\r\n-", b"\r\n", b"\r"):
            if buffer.endswith(tail):
                return None, len(buffer) - len(tail)
        if self._atLine and buffer in (b"", b"-"):
            return None, 0
        return None, len(buffer)

    def _nextLine(self, at: int) -> int:
        found = self._buffer.find(b"\r\n--", at)
        return found + 2 if found >= 0 else -1

    def _match(self, line: bytes) -> tuple[int, bool] | None:
        # How many multiparts are open then, and whether the line closes one.
        depth = self._depths.get(line)
        if depth is not None:
            return depth, False
        depth = self._depths.get(line[:-2]) if line.endswith(b"--") else None
        return None if depth is None else (depth - 1, True)


def _boundaryOf(part: Part) -> bytes | None:
    value = decodeParameters(part.parameters).get("boundary", "").encode("utf-8").rstrip(b" \t")
    return value if 0 < len(value) < MAX_BOUNDARY_LINE - 4 else None
