# -*- test-case-name: tests.smtp.test_downgrade -*-
"""
Messages for servers that take less than the message is: ASCII only (RFC 6152 §3), which is why
parts that aren't 7-bit data (RFC 2045 §2.7) get a transfer encoding; or ASCII header fields only
(RFC 6531 §3.2), which is why messages that are attached to it, and have others, get one.

All else stays octet for octet, signed parts above all. The message is read in windows, three times
at most: for its structure, for what its parts are, and to write the new one.
"""

from __future__ import annotations

import codecs
import re
import weakref
from base64 import b64encode
from binascii import b2a_qp
from collections.abc import AsyncIterator, Callable
from tempfile import SpooledTemporaryFile
from typing import IO, NamedTuple

from twisted_mailstack.errors import MailError, StoreDamaged
from twisted_mailstack.model.header import Header, decodeParameters
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

#: What a body can be encoded in. All else is taken for an identity (RFC 2045 §6.2): "8-bit" and
#: other slips of those who meant one are found, and hardly ever an encoding that nobody knows.
_ENCODINGS = (b"quoted-printable", b"base64")
_FIELD = rb"^%b[ \t]*:[^\n]*?(?:\n[ \t][^\n]*?)*(\r?\n|\Z)(?![ \t])"
_ENCODING, _TYPE = (
    re.compile(_FIELD % name, re.IGNORECASE | re.MULTILINE)
    for name in (b"content-transfer-encoding", b"content-type")
)
_BLANK = re.compile(rb"(?:\A|(?<=\n))\r?\n\Z")
_NOT_BASE64 = bytes(
    set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
)
#: What isn't 7-bit data becomes a question mark, but for the newlines.
_PLAIN = bytes(0x3F if octet in b"\0\r" or octet > 127 else octet for octet in range(256))
#: Where a field may be folded (RFC 5322 §2.2.3): there is something on either side.
_GAP = re.compile(rb"(?<=[^ \t])[ \t](?=[ \t]*[^ \t])")
_makeDecoder = codecs.getincrementaldecoder("utf-8")
#: In a line, so that a CR is a bare one. A "=" before it isn't one of an encoded octet.
_NOT_SEVEN_BIT = re.compile(rb"(?<!=)=*[\0\r\x80-\xff]")


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


class _Frame(_Encoder):
    """
    What stands around the parts of a multipart. It is nobody's content (RFC 2046 §5.1.1), so that
    what isn't 7-bit data may go. Its lines end where they did, and boundaries stay boundaries.
    """

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """See L{_Encoder}."""
        *lines, held = (self._held + data).split(b"\n")
        # Whatever is left of a line so long is cut off.
        self._held = held[:_LONG]
        return b"".join([piece for line in lines for piece in (_frameLine(line), b"\r\n")])

    def finish(self) -> bytes:
        """See L{_Encoder}."""
        return _frameLine(self._held)


def _frameLine(line: bytes) -> bytes:
    line = line.rstrip(b"\r")
    text = line.translate(_PLAIN)
    if line.startswith(b"--"):
        # Perhaps a boundary, and white space behind it is none of it.
        stripped = line.rstrip(b" \t\r")
        if text.startswith(stripped):
            return stripped
        # None must come of what was none.
        text = b"?" + text[1:]
    return text[:MAX_LINE]


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
        # C{None} once it is clear that it isn't UTF-8.
        self._decoder: codecs.IncrementalDecoder | None = _makeDecoder()

    def feed(self, data: bytes) -> None:
        if not data.isascii() or b"\0" in data:
            self.eightBit = True
        if self.eightBit:
            self._decode(data)
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

    def _decode(self, data: bytes, final: bool = False) -> None:
        # What came before was ASCII.
        if self._decoder is not None:
            try:
                self._decoder.decode(data, final)
            except UnicodeDecodeError:
                self._decoder = None

    @property
    def charset(self) -> bytes:
        """When all was fed: what to call its characters."""
        if not self.eightBit:
            return b"us-ascii"
        self._decode(b"", final=True)
        return b"unknown-8bit" if self._decoder is None else b"utf-8"

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
    """

    def __init__(self, content: Readable, root: Part, *, headers: bool, bodies: bool) -> None:
        """
        @param headers: whether these are to be ASCII.
        @param bodies: whether these are to be 7-bit data.
        """
        self.segments: list[_Segment] = []
        self._content = content
        self._root = root
        self._ascii = headers
        self._sevenBit = bodies
        self._tooMany = sum(1 for _ in root.walk()) >= MAX_PARTS
        # What is planned already, in octets of the old message.
        self._done = 0
        self._headers: dict[Part, _Look] = {}
        # Parts that are encoded because of headers inside of them.
        self._global: set[Part] = set()
        # How many headers, bodies and frames are.
        self._changes = 0

    @property
    def changed(self) -> bool:
        """Whether it will differ."""
        return self._changes > 0

    async def make(self) -> None:
        """
        @raise MailError: if the message can't be made so.
        """
        if await self._hasUTF8(self._root) and self._ascii:
            raise _headerProblem()
        await self._part(self._root, isMessage=True, signed=False)

    async def _hasUTF8(self, part: Part) -> bool:
        # Whether there are headers that aren't ASCII, apart from those that are going to be encoded
        # with all that is around them.
        look = self._headers[part] = await self._look(part.headerOffset, part.bodyOffset)
        inside = False
        if _isOpen(part):
            for child in part.children:
                inside = await self._hasUTF8(child) or inside
        isGlobal = part.isMessage and part.subtype.lower() == b"global"
        if inside and isGlobal and self._ascii and not self._tooMany:
            # RFC 6532 §3.7: this may have an encoding, as message/rfc822 may not (RFC 2046 §5.2.1).
            self._global.add(part)
            inside = False
        return look.eightBit or inside

    async def _part(self, part: Part, isMessage: bool, signed: bool) -> None:
        index, before = len(self.segments), self._changes
        self._copy(part.bodyOffset)
        # What the header is to say.
        encoding, charset = None, b""
        isOpen = _isOpen(part)
        if part in self._global:
            if signed:
                raise _headerProblem()
            self._encode(part, Base64())
            encoding, isOpen = b"base64", False
        elif isOpen:
            await self._inside(part, signed)
            if self._sevenBit:
                encoding = b"7bit"
        elif self._sevenBit:
            look = await self._look(part.bodyOffset, part.endOffset)
            encoding = await self._leaf(part, look, signed)
            if look.eightBit or part.isMultipart:
                charset = look.charset
        self._copy(part.endOffset)
        if self._changes > before and (isOpen or encoding is not None):
            header = await self._header(part)
            if isMessage and Header(header).get(b"mime-version") is None:
                header = _addField(header, b"MIME-Version: 1.0")
            if charset:
                header = _setCharset(part, header, charset)
            if encoding is not None:
                header = _setEncoding(header, encoding, isOpen)
            text = _fold(header)
        elif self._headers[part].long and self._sevenBit and not signed:
            header = await self._header(part)
            text = _fold(header)
            if text == header:
                return
        else:
            return
        self.segments[index] = _Segment(part.headerOffset, part.bodyOffset, text)
        self._changes += 1

    async def _inside(self, part: Part, signed: bool) -> None:
        isSigned = part.isMultipart and part.subtype.lower() == b"signed"
        for number, child in enumerate(part.children):
            await self._frame(child.headerOffset, signed)
            # Deviation: RFC 1847 §2.1 has all of a multipart/signed opaque. Only its first part is
            # signed: the signature and what stands around don't make the message go back.
            await self._part(child, part.isMessage, signed or (isSigned and not number))
        await self._frame(part.endOffset, signed)

    async def _leaf(self, part: Part, look: _Look, signed: bool) -> bytes | None:
        """
        @return: the encoding that its body gets if it had none.
        """
        encoding = part.encoding.lower()
        encoded = encoding in _ENCODINGS
        if look.isSevenBit or (encoded and not (look.eightBit or look.long)):
            return None
        if signed:
            if look.eightBit:
                raise _impossible("A signed part of the message has octets that are not ASCII")
            return None
        if encoding == b"quoted-printable":
            self._encode(part, QuotedPrintable(encoded=True))
            return None
        if encoding == b"base64":
            self._encode(part, CleanBase64())
            return None
        if self._tooMany or not _mayBeEncoded(part, await self._header(part)):
            raise _impossible("A part of the message can't be encoded")
        if part.mediaType.lower() in (b"text", b"message", b"multipart"):
            self._encode(part, QuotedPrintable())
            return b"quoted-printable"
        self._encode(part, Base64())
        return b"base64"

    def _encode(self, part: Part, encoder: _Encoder) -> None:
        self.segments.append(_Segment(part.bodyOffset, part.endOffset, None, encoder))
        self._done = part.endOffset
        self._changes += 1

    async def _header(self, part: Part) -> bytes:
        if part.bodyOffset - part.headerOffset > MAX_HEADER:
            raise _impossible("A header of the message is too long")
        return b"".join(
            [data async for data in _windows(self._content, part.headerOffset, part.bodyOffset)]
        )

    def _copy(self, end: int) -> None:
        # A segment of nothing is one that may yet get a text.
        self.segments.append(_Segment(self._done, end))
        self._done = end

    async def _frame(self, end: int, signed: bool) -> None:
        # Boundaries, and the text before the first and behind the last.
        if end <= self._done:
            return
        look = await self._look(self._done, end) if self._sevenBit else None
        if look is None or look.isSevenBit or (signed and not look.eightBit):
            self._copy(end)
        elif signed:
            raise _impossible("A signed part of the message has octets that are not ASCII")
        else:
            self.segments.append(_Segment(self._done, end, None, _Frame()))
            self._done = end
            self._changes += 1

    async def _look(self, start: int, end: int) -> _Look:
        look = _Look()
        async for data in _windows(self._content, start, end):
            look.feed(data)
        return look


def _impossible(text: str) -> MailError:
    return MailError(text, smtpCode=554, enhancedStatus="5.6.3")


def _headerProblem() -> MailError:
    # RFC 6531 §3.5: X.6.9.
    return MailError(
        "The next server does not take headers that are not ASCII",
        smtpCode=554,
        enhancedStatus="5.6.9",
    )


def _isOpen(part: Part) -> bool:
    # Whether other parts are to be seen in it as it stands.
    if part.isMultipart:
        # One in which no boundary is has one child, which begins where it does. It is what it looks
        # like: text.
        return part.children[0].headerOffset > part.bodyOffset
    return part.isMessage and part.encoding.lower() not in _ENCODINGS


def _mayBeEncoded(part: Part, header: bytes) -> bool:
    # RFC 2046 §5.1, §5.2: what consists of parts, and pieces of messages, may not. A multipart that
    # is too deep to be looked into is given as something else.
    declared = (Header(header).get(b"content-type") or b"").lower()
    kind = part.mediaType.lower()
    if kind == b"message":
        return part.subtype.lower() not in (b"partial", b"external-body")
    composite = (b"multipart/", b"message/rfc822", b"message/global")
    return kind == b"multipart" or not declared.startswith(composite)


def _setEncoding(header: bytes, name: bytes, ifAny: bool) -> bytes:
    # The first such field counts; there must not be others that say something else. What consists
    # of parts needs none.
    field = b"Content-Transfer-Encoding: " + name
    first = True

    def replacement(match: re.Match[bytes]) -> bytes:
        nonlocal first
        if not first:
            return b""
        first = False
        return field + match.group(1)

    changed = _ENCODING.sub(replacement, header)
    return _addField(header, field) if first and not ifAny else changed


def _setCharset(part: Part, header: bytes, charset: bytes) -> bytes:
    # RFC 1428 §3: it is said as far as it is known, if nobody did.
    plain = b"Content-Type: text/plain; charset=" + charset
    match = _TYPE.search(header)
    if part.isMultipart and match is not None:
        return header[: match.start()] + plain + header[match.start(1) :]
    if not part.isText:
        return header
    if match is None:
        return _addField(header, plain)
    if "charset" in decodeParameters(part.parameters):
        return header
    field = header[match.start() : match.start(1)].rstrip(b" \t\r\n;")
    return header[: match.start()] + field + b"; charset=" + charset + header[match.start(1) :]


def _addField(header: bytes, field: bytes) -> bytes:
    blank = _BLANK.search(header)
    at = blank.start() if blank else len(header)
    return header[:at] + field + b"\r\n" + header[at:]


def _fold(header: bytes) -> bytes:
    return b"\r\n".join(
        line if len(line) <= MAX_LINE else _foldLine(line) for line in header.split(b"\r\n")
    )


def _foldLine(line: bytes) -> bytes:
    # Without a place to fold at it stays as it is.
    pieces, start, last = [], 0, 0
    for end in [*(match.start() for match in _GAP.finditer(line)), len(line)]:
        if end - start > MAX_LINE and last > start:
            pieces.append(line[start:last])
            start = last
        last = end
    return b"\r\n".join([*pieces, line[start:]])


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


async def toSevenBit(content: Readable, utf8: bool = False) -> Readable:
    """
    Parts that aren't 7-bit data become quoted-printable if they are text, else base64, and say so.
    What they decode to stays the same octet for octet, and so does all of what is signed. What is
    in none of the parts of a multipart may be changed.

    @param content: with lines ended by CRLF.
    @param utf8: header fields may be other than ASCII (RFC 6532).
    @return: the message as 7-bit data; C{content} itself if nothing has to be changed.
    @raise MailError: if that can't be done: 5.6.9 for a header that isn't ASCII, 5.6.3 for others.
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
    return await _rewrite(content, _Plan(content, root, headers=not utf8, bodies=True))


async def toASCIIHeaders(content: Readable) -> Readable:
    """
    A message/global part with header fields in UTF-8 becomes base64 (RFC 6532 §3.7); bodies stay
    what they are.

    @param content: with lines ended by CRLF.
    @return: a message all of whose header fields are ASCII; C{content} itself if they are already.
    @raise MailError: 5.6.9 if others aren't, or signed ones.
    @raise StoreDamaged: if there are fewer octets than C{content.size}.
    """
    scanner = StructureScanner()
    async for data in _windows(content, 0, content.size):
        scanner.feed(data)
    return await _rewrite(content, _Plan(content, scanner.finish(), headers=True, bodies=False))


async def _rewrite(content: Readable, plan: _Plan) -> Readable:
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
