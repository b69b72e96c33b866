# -*- test-case-name: tests.smtp.test_downgrade -*-
"""
Messages for servers that take ASCII only (RFC 6152 §3): parts that aren't 7-bit data (RFC 2045
§2.7) get a transfer encoding.

All else stays octet for octet. The message is read in windows, three times at most: for its
structure, for what its parts are, and to write the new one.
"""

from __future__ import annotations

import re
import weakref
from base64 import b64encode
from binascii import b2a_qp
from collections.abc import AsyncIterator, Callable
from tempfile import SpooledTemporaryFile
from typing import IO, NamedTuple

from twisted_mailstack.errors import MailError, StoreDamaged
from twisted_mailstack.model.header import Header
from twisted_mailstack.model.mime import MAX_HEADER, MAX_PARTS, Part, StructureScanner
from twisted_mailstack.smtp.clientsession import WINDOW, Readable

#: Octets of a converted message that are kept in memory; what is longer goes to a file.
IN_MEMORY = 256 * 1024
#: Octets of a line, without its CRLF (RFC 2045 §2.7).
MAX_LINE = 998
#: Octets of an encoded line (RFC 2045 §6.7 (5), §6.8).
_ENCODED_LINE = 76
#: Octets of a line of quoted-printable that is one of several: there is room for a "=" behind it
#: and for its first octet's encoding.
_PIECE = _ENCODED_LINE - 3
#: Octets of one line that are held until its end is seen.
_LONG = 64 * 1024
#: Octets that make a line of base64.
_BASE64_LINE = 57

_IDENTITIES = (b"7bit", b"8bit", b"binary")
_ENCODING = re.compile(
    rb"^content-transfer-encoding[ \t]*:[^\n]*?(?:\n[ \t][^\n]*?)*(\r?\n|\Z)(?![ \t])",
    re.IGNORECASE | re.MULTILINE,
)
_BLANK = re.compile(rb"(?:\A|(?<=\n))\r?\n\Z")
_NOT_BASE64 = bytes(
    set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
)
#: A "=" before it isn't one of an encoded octet.
_NOT_SEVEN_BIT = re.compile(rb"(?<!=)=*[\0\x80-\xff]")


class _Encoder:
    """
    A body in another form, in chunks as they come.
    """

    def feed(self, data: bytes) -> bytes:
        """The body's next octets."""
        raise NotImplementedError

    def finish(self) -> bytes:
        """What is left at its end."""
        raise NotImplementedError


class QuotedPrintable(_Encoder):
    """
    RFC 2045 §6.7. Line breaks stay line breaks; no line can be taken for a boundary, for the end
    of DATA or for the beginning of a message in an mbox file.
    """

    def __init__(self, encoded: bool = False) -> None:
        """
        @param encoded: whether it is quoted-printable already, but for octets that may not occur
            in it, or for the length of its lines.
        """
        self._encoded = encoded
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """See L{_Encoder}."""
        *lines, self._held = (self._held + data).split(b"\r\n")
        written = [piece for line in lines for piece in (self._line(line), b"\r\n")]
        while len(self._held) > _LONG:
            # What may be a line end isn't cut, nor is what is encoded already.
            cut = _LONG - 2
            if self._encoded:
                cut = _uncut(self._held, cut)
            written += [self._line(self._held[:cut], whole=False), b"=\r\n"]
            self._held = self._held[cut:]
        return b"".join(written)

    def finish(self) -> bytes:
        """See L{_Encoder}."""
        return self._line(self._held)

    def _line(self, line: bytes, whole: bool = True) -> bytes:
        if self._encoded:
            text = _NOT_SEVEN_BIT.sub(_escape, line)
            if whole and text == line and len(line) <= _ENCODED_LINE:
                return line
        else:
            # Its own soft line breaks can make a line that looks like a boundary.
            text = b2a_qp(line, istext=False).replace(b"=\n", b"")
        pieces = []
        at = 0
        while len(text) - at > (_PIECE if at or not whole else _ENCODED_LINE - 2):
            end = _uncut(text, at + _PIECE)
            pieces.append(_disguise(text[at:end]))
            at = end
        pieces.append(_disguise(text[at:]))
        return b"=\r\n".join(pieces)


def _escape(match: re.Match[bytes]) -> bytes:
    return b"".join(b"=%02X" % octet for octet in match.group())


def _uncut(text: bytes, cut: int) -> int:
    # A place to cut at, or just before, that isn't inside of an encoded octet.
    equals = text.find(b"=", cut - 2, cut)
    return cut if equals < 0 else equals


def _disguise(line: bytes) -> bytes:
    if line.startswith((b"--", b".", b"From ")):
        return b"=%02X" % line[0] + line[1:]
    return line


class Base64(_Encoder):
    """
    RFC 2045 §6.8.
    """

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """See L{_Encoder}."""
        data = self._held + data
        whole = len(data) - len(data) % _BASE64_LINE
        self._held = data[whole:]
        return b"".join(
            b64encode(data[at : at + _BASE64_LINE]) + b"\r\n"
            for at in range(0, whole, _BASE64_LINE)
        )

    def finish(self) -> bytes:
        """See L{_Encoder}."""
        return b64encode(self._held) + b"\r\n" if self._held else b""


class CleanBase64(_Encoder):
    """
    Base64 without the octets that decoders pass over ("all characters not found in Table 1 must be
    ignored", RFC 2045 §6.8), in lines of the right length.
    """

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """See L{_Encoder}."""
        data = self._held + data.translate(None, _NOT_BASE64)
        whole = len(data) - len(data) % _ENCODED_LINE
        self._held = data[whole:]
        return b"".join(
            data[at : at + _ENCODED_LINE] + b"\r\n" for at in range(0, whole, _ENCODED_LINE)
        )

    def finish(self) -> bytes:
        """See L{_Encoder}."""
        return self._held + b"\r\n" if self._held else b""


class _Look:
    """
    What octets are.

    @ivar eightBit: whether there are some that 7-bit data has not: above 127, or NUL.
    @ivar long: whether a line is too long.
    @ivar bare: whether a CR or LF is no part of a CRLF; not said of what has long lines.
    """

    def __init__(self) -> None:
        self.eightBit = False
        self.long = False
        self.bare = False
        self._held = b""

    def feed(self, data: bytes) -> None:
        if not data.isascii() or b"\0" in data:
            self.eightBit = True
        if self.long:
            return
        data = self._held + data
        ends = data.count(b"\r\n")
        if (
            data.count(b"\n") != ends
            or data.count(b"\r", 0, -1 if data[-1:] == b"\r" else None) != ends
        ):
            self.bare = True
        lines = data.split(b"\n")
        if max(map(len, lines)) > MAX_LINE:
            # The last one's CR may be half of its end.
            self.long = any(len(line.removesuffix(b"\r")) > MAX_LINE for line in lines)
        self._held = lines[-1]

    @property
    def isSevenBit(self) -> bool:
        """Whether they are 7-bit data (RFC 2045 §2.7)."""
        return not (self.eightBit or self.long or self.bare or self._held.endswith(b"\r"))


class _Segment(NamedTuple):
    """
    A piece of the new message.

    @ivar text: what stands in place of these octets of the old one; C{None} if they do, encoded by
        C{encoder} if there is one.
    """

    start: int
    end: int
    text: bytes | None = None
    encoder: _Encoder | None = None


class Converted:
    """
    A message that was written anew; it is a L{Readable}. Its file is gone when it is.
    """

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self.size = size
        weakref.finalize(self, file.close)

    async def read(self, offset: int, length: int) -> bytes:
        """See L{Readable}."""
        self._file.seek(offset)
        return self._file.read(length)


class _Plan:
    """
    Finds what is to be changed.

    @ivar segments: the new message, once L{make} is done.
    @ivar changed: whether it will differ.
    """

    def __init__(self, content: Readable, root: Part) -> None:
        self.segments: list[_Segment] = []
        self.changed = False
        self._content = content
        self._root = root
        self._tooMany = sum(1 for _ in root.walk()) >= MAX_PARTS
        # What is planned already, in octets of the old message.
        self._done = 0
        # Headers that are changed only where something else is: (index in segments, text).
        self._labels: list[tuple[int, bytes]] = []

    async def make(self) -> None:
        """
        @raise MailError: if the message can't be made 7-bit.
        """
        await self._part(self._root, None, False)
        await self._frame(self._content.size)
        if self.changed:
            for index, text in self._labels:
                self.segments[index] = self.segments[index]._replace(text=text)

    async def _part(self, part: Part, parent: Part | None, signed: bool) -> None:
        await self._frame(part.headerOffset)
        if (await self._look(part.headerOffset, part.bodyOffset)).eightBit:
            raise MailError(
                "The next server does not take headers that are not ASCII",
                smtpCode=554,
                enhancedStatus="5.6.7",
            )
        headerIndex = len(self.segments)
        self._copy(part.bodyOffset)
        encoding = part.encoding.lower()
        if part.isMultipart or (part.isMessage and encoding in _IDENTITIES):
            await self._label(part, headerIndex, signed)
            inner = signed or (part.isMultipart and part.subtype.lower() == b"signed")
            for child in part.children:
                # A multipart in which no boundary is has one child, which begins where it does;
                # all of it is what stands between parts.
                if not part.isMultipart or child.headerOffset > part.bodyOffset:
                    await self._part(child, part, inner)
            return
        look = await self._look(part.bodyOffset, part.endOffset)
        if look.isSevenBit or (encoding not in _IDENTITIES and not (look.eightBit or look.long)):
            await self._label(part, headerIndex, signed)
            return
        if signed:
            raise _impossible("A signed part of the message has octets that have to be encoded")
        header = await self._header(part)
        encoder: _Encoder
        name = None
        if encoding == b"quoted-printable":
            encoder = QuotedPrintable(encoded=True)
        elif encoding == b"base64":
            encoder = CleanBase64()
        elif encoding not in _IDENTITIES:
            # RFC 2045 §6.4: what is encoded isn't encoded again.
            raise _impossible("A part of the message has an encoding that is not known here")
        elif self._tooMany or not _mayBeEncoded(part, header):
            raise _impossible("A part of the message can't be encoded")
        elif part.mediaType.lower() in (b"text", b"message"):
            encoder, name = QuotedPrintable(), b"quoted-printable"
        else:
            encoder, name = Base64(), b"base64"
        if name is not None:
            message = parent is None or parent.isMessage
            text = _encodedHeader(header, name, message, look.eightBit)
            self.segments[headerIndex] = _Segment(part.headerOffset, part.bodyOffset, text)
        self.segments.append(_Segment(part.bodyOffset, part.endOffset, None, encoder))
        self._done = part.endOffset
        self.changed = True

    async def _header(self, part: Part) -> bytes:
        if part.bodyOffset - part.headerOffset > MAX_HEADER:
            raise _impossible("A header of the message is too long")
        return b"".join(
            [data async for data in _windows(self._content, part.headerOffset, part.bodyOffset)]
        )

    async def _label(self, part: Part, index: int, signed: bool) -> None:
        # What says 8bit will be 7bit. What is signed stays as it is, which does no harm: 7-bit data
        # is 8-bit data as well.
        if not signed and part.encoding.lower() in (b"8bit", b"binary"):
            self._labels.append((index, _setEncoding(await self._header(part), b"7bit")))

    def _copy(self, end: int) -> None:
        self.segments.append(_Segment(self._done, end))
        self._done = end

    async def _frame(self, end: int) -> None:
        # Boundaries, and the text before the first and behind the last.
        if end > self._done:
            if (await self._look(self._done, end)).eightBit:
                raise _impossible("Between the parts of the message are octets that are not ASCII")
            self._copy(end)

    async def _look(self, start: int, end: int) -> _Look:
        look = _Look()
        async for data in _windows(self._content, start, end):
            look.feed(data)
        return look


def _impossible(text: str) -> MailError:
    return MailError(text, smtpCode=554, enhancedStatus="5.6.3")


def _mayBeEncoded(part: Part, header: bytes) -> bool:
    # RFC 2046 §5.1, §5.2: what consists of parts, and pieces of messages, may not. A multipart that
    # is too deep to be looked into is given as something else.
    declared = (Header(header).get(b"content-type") or b"").lower()
    composite = (b"multipart/", b"message/rfc822", b"message/global")
    if part.mediaType.lower() != b"message":
        return not declared.startswith(composite)
    return part.subtype.lower() not in (b"partial", b"external-body")


def _setEncoding(header: bytes, name: bytes) -> bytes:
    # The first such field counts; there must not be others that say something else.
    field = b"Content-Transfer-Encoding: " + name
    first = True

    def replacement(match: re.Match[bytes]) -> bytes:
        nonlocal first
        if not first:
            return b""
        first = False
        return field + match.group(1)

    changed = _ENCODING.sub(replacement, header)
    return _addField(header, field) if first else changed


def _addField(header: bytes, field: bytes) -> bytes:
    blank = _BLANK.search(header)
    at = blank.start() if blank else len(header)
    return header[:at] + field + b"\r\n" + header[at:]


def _encodedHeader(header: bytes, name: bytes, message: bool, eightBit: bool) -> bytes:
    fields = Header(header)
    if message and fields.get(b"mime-version") is None:
        header = _addField(header, b"MIME-Version: 1.0")
    if eightBit and fields.get(b"content-type") is None:
        # RFC 1428 §3: nobody said what characters they are.
        header = _addField(header, b"Content-Type: text/plain; charset=unknown-8bit")
    return _setEncoding(header, name)


async def _windows(content: Readable, start: int, end: int) -> AsyncIterator[bytes]:
    while start < end:
        data = await content.read(start, min(WINDOW, end - start))
        if not data:
            # A message that is cut must not pass for a whole one.
            raise StoreDamaged
        yield data
        start += len(data)


async def _write(
    content: Readable, segments: list[_Segment], write: Callable[[bytes], object]
) -> None:
    for start, end, text, encoder in segments:
        if text is not None:
            write(text)
            continue
        async for data in _windows(content, start, end):
            write(data if encoder is None else encoder.feed(data))
        if encoder is not None:
            write(encoder.finish())


async def toSevenBit(content: Readable) -> Readable:
    """
    Parts that aren't 7-bit data become quoted-printable if they are text, else base64, and say so.
    What they decode to stays the same octet for octet. Nothing inside of a multipart/signed is
    changed.

    @param content: with lines ended by CRLF.
    @return: the message with its parts in 7-bit transfer encodings; C{content} itself if nothing
        has to be changed.
    @raise MailError: if that can't be done: 5.6.7 for a header that isn't ASCII, 5.6.3 for others.
    @raise StoreDamaged: if there are fewer octets than C{content.size}.
    """
    scanner = StructureScanner()
    look = _Look()
    async for data in _windows(content, 0, content.size):
        scanner.feed(data)
        look.feed(data)
    root = scanner.finish()
    if look.isSevenBit:
        return content
    plan = _Plan(content, root)
    await plan.make()
    if not plan.changed:
        return content
    file: IO[bytes] = SpooledTemporaryFile(max_size=IN_MEMORY)
    try:
        await _write(content, plan.segments, file.write)
        size = file.tell()
    except BaseException:
        file.close()
        raise
    return Converted(file, size)
