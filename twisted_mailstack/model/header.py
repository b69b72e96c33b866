# -*- test-case-name: tests.model.test_header -*-
"""
Header fields at bytes level: RFC 5322 §2.2 and §3.6, RFC 2047, RFC 2231; in the spirit of RFC 7103.

Whatever the input, nothing here raises: what can't be understood is given as it stands. Work is
linear in the size of the input, and results that a client sees are bounded by L{MAX_VALUE}.
"""

from __future__ import annotations

import binascii
import codecs
import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

#: The most octets of one field's value that are looked at. Real fields are far shorter; a field of
#: megabytes must not cost a structure of megabytes.
MAX_VALUE = 64 * 1024
#: The most addresses taken from one field.
MAX_ADDRESSES = 2000

_END = re.compile(rb"\r?\n\r?\n|\A\r?\n")
#   field-name = 1*ftext, ftext = %d33-57 / %d59-126. Space before the colon is obsolete syntax
#   (RFC 5322 §4.5.8) that still occurs.
_FIELD = re.compile(rb"^([!-9;-~]+)[ \t]*:((?:[^\n]*)(?:\n[ \t][^\n]*)*)\n?", re.MULTILINE)
#: The blank line at the end of a header.
_BLANK = re.compile(rb"(?:\A|\n)\r?\n\Z")
_FOLD = re.compile(rb"\r?\n(?=[ \t])|[\r\n]+")


def headerEnd(data: bytes) -> int:
    """
    @return: the offset behind the blank line that ends the header, C{len(data)} if there is none.
    """
    match = _END.search(data)
    return match.end() if match else len(data)


def unfold(value: bytes) -> bytes:
    """
    @return: the value on one line, without white space around it (RFC 5322 §2.2.3).
    """
    # The line's own end goes first: only few fields have folds inside.
    value = value.strip(b" \t\r\n")
    if b"\n" in value or b"\r" in value:
        value = _FOLD.sub(b"", value)
    return value


class Header:
    """
    The fields of one header.
    """

    def __init__(self, data: bytes) -> None:
        """
        @param data: the header's octets, the blank line at the end included or not.
        """
        self.data = data
        self._index: dict[bytes, list[bytes]] | None = None

    def fields(self) -> Iterator[tuple[bytes, bytes]]:
        """
        @return: each field's name as written and its value as written, folds included, the line
            end not. Lines that are no field are passed over.
        """
        for match in _FIELD.finditer(self.data):
            yield match.group(1), match.group(2).removesuffix(b"\r")

    def _fields(self) -> dict[bytes, list[bytes]]:
        if self._index is None:
            self._index = {}
            for match in _FIELD.finditer(self.data):
                self._index.setdefault(match.group(1).lower(), []).append(match.group(2))
        return self._index

    def get(self, name: bytes) -> bytes | None:
        """
        @param name: in any case.
        @return: the first such field's value, unfolded; C{None} if there is no such field.
        """
        found = self._fields().get(name.lower())
        return unfold(found[0][:MAX_VALUE]) if found else None

    def getAll(self, name: bytes) -> list[bytes]:
        """
        @return: the unfolded values of all fields of that name, in order.
        """
        return [unfold(value[:MAX_VALUE]) for value in self._fields().get(name.lower(), ())]


def selectFields(header: bytes, names: Collection[bytes], exclude: bool = False) -> bytes:
    """
    HEADER.FIELDS and HEADER.FIELDS.NOT (RFC 9051 §6.4.5.1).

    @param header: with its blank line.
    @param names: in any case.
    @return: the lines of these (or of all other) fields, exactly as stored, and the blank line.
    """
    wanted = {name.lower() for name in names}
    # Without the blank line at the end.
    lines = header.removesuffix(b"\n").removesuffix(b"\r") if _BLANK.search(header) else header
    parts = []
    position = 0
    for match in _FIELD.finditer(lines):
        if exclude and match.start() > position:
            parts.append(lines[position : match.start()])
        if (match.group(1).lower() in wanted) != exclude:
            parts.append(match.group())
        position = match.end()
    if exclude:
        parts.append(lines[position:])
    # "Subsetting does not exclude the [RFC5322] delimiting blank line"; one is always given, also
    # behind a last line that has no end.
    selected = b"".join(parts)
    return selected + (b"\r\n" if not selected or selected.endswith(b"\n") else b"\r\n\r\n")


# --- encoded words -----------------------------------------------------------------------------

#   encoded-word = "=?" charset "?" encoding "?" encoded-text "?="       (RFC 2047 §2)
_WORD = re.compile(rb"=\?([^?\s]{1,100})\?([bBqQ])\?([^?\r\n]*)\?=")
_BETWEEN = re.compile(rb"[ \t\r\n]*\Z")
_HEX = re.compile(rb"=([0-9A-Fa-f]{2})")


@lru_cache(maxsize=256)
def findCodec(charset: str) -> codecs.CodecInfo | None:
    """
    @return: Python's codec for a charset's name, C{None} if it has none (or one that isn't text).
    """
    name = charset.strip().strip("\"'").lower()
    name = _CHARSETS.get(name, name)
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError, UnicodeError):
        return None
    # base64, zip and the like are codecs too, and "unicode_escape", "idna", "punycode" no charsets.
    if not getattr(found, "_is_text_encoding", True):
        return None
    return None if found.name in _NOT_CHARSETS else found


_NOT_CHARSETS = {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs"}
#: Names that occur in mail and that Python doesn't know, or takes too literally.
_CHARSETS = {
    "ascii": "cp1252",
    "us-ascii": "cp1252",
    "iso-8859-1": "cp1252",
    "latin1": "cp1252",
    "iso-8859-8-i": "iso-8859-8",
    "iso-8859-8-e": "iso-8859-8",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "ks_c_5601-1987": "cp949",
    "ks_c_5601": "cp949",
    "x-sjis": "cp932",
    "shift_jis": "cp932",
    "cp-850": "cp850",
    "x-mac-roman": "mac-roman",
    "macintosh": "mac-roman",
    "x-unknown": "utf-8",
    "unknown-8bit": "utf-8",
    "utf-8-mac": "utf-8",
    "utf8mb4": "utf-8",
    "tis-620": "cp874",
    "windows-874": "cp874",
}


_SURROGATE = re.compile("[\ud800-\udfff]")


def decodeCharset(data: bytes, charset: bytes | str) -> str:
    """
    @param charset: as named in the message; unknown ones are guessed.
    @return: the text; octets that are wrong in it become U+FFFD. Never raises.
    """
    name = charset.decode("latin-1") if isinstance(charset, bytes) else charset
    found = findCodec(name)
    if found is None or found.name == "cp1252":
        # Declared ASCII or Latin-1, or unknown: what is valid UTF-8 is nearly always that.
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return _cp1252(data) if found is not None else data.decode("latin-1")
    try:
        # UTF-7 can name half a surrogate pair, which is no text: nobody could store or send it.
        return _SURROGATE.sub("\ufffd", found.decode(data, "replace")[0])
    except (UnicodeError, ValueError, AssertionError, LookupError):
        return data.decode("latin-1")


def _cp1252(data: bytes) -> str:
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def decodeText(value: bytes) -> str:
    """
    A field's value as text: folds undone, encoded words decoded (RFC 2047 §6), octets outside
    ASCII taken for UTF-8, or else Latin-1 (RFC 6532, RFC 7103 §7.6).
    """
    value = unfold(value)
    if b"=?" not in value:
        return _raw(value)
    result: list[str] = []
    # Adjacent words of one charset are decoded together: mailers cut inside characters.
    pending = b""
    pendingCharset = ""
    position = 0
    for match in _WORD.finditer(value):
        between = value[position : match.start()]
        charset = match.group(1).partition(b"*")[0].decode("latin-1").lower()
        octets = _decodeWord(match.group(2), match.group(3))
        adjacent = position > 0 and _BETWEEN.match(between) is not None
        if not (adjacent and charset == pendingCharset):
            if pendingCharset:
                result.append(decodeCharset(pending, pendingCharset))
            pending = b""
            # White space between two encoded words isn't shown.
            if not adjacent:
                result.append(_raw(between))
        pending += octets
        pendingCharset = charset
        position = match.end()
    if pendingCharset:
        result.append(decodeCharset(pending, pendingCharset))
    result.append(_raw(value[position:]))
    return "".join(result)


def _raw(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _decodeWord(encoding: bytes, text: bytes) -> bytes:
    if encoding in b"qQ":
        return _HEX.sub(lambda m: bytes.fromhex(m.group(1).decode()), text.replace(b"_", b" "))
    return decodeBase64(text)


_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")


def decodeBase64(data: bytes) -> bytes:
    """
    Base64 as it comes: junk between, padding missing or in the middle. Never raises.
    """
    try:
        return binascii.a2b_base64(data)
    except binascii.Error:
        pass
    result = []
    for run in data.split(b"="):
        run = _NOT_BASE64.sub(b"", run)
        if len(run) % 4 == 1:
            run = run[:-1]
        if run:
            result.append(binascii.a2b_base64(run + b"=" * (-len(run) % 4)))
    return b"".join(result)


# --- addresses ---------------------------------------------------------------------------------


class HeaderAddress(NamedTuple):
    """
    One address as ENVELOPE shows it (RFC 9051 §7.5.2).

    A group begins with one whose C{domain} is C{None} and whose C{localPart} is the group's name,
    and ends with one of which everything is C{None}.

    @ivar name: the display name, encoded words left as they are.
    @ivar route: the obsolete source route.
    """

    name: bytes | None
    route: bytes | None
    localPart: bytes | None
    domain: bytes | None


_ADDRESS_TOKEN = re.compile(
    rb"""
    (?P<space>[ \t\r\n\x00]+)
    | (?P<quoted>"(?:[^"\\]|\\.)*"?)
    | (?P<comment>\()
    | (?P<literal>\[[^\]\[\\]*\]?)
    | (?P<special>[<>,;:@])
    | (?P<word>[^\s"()\[<>,;:@\x00]+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_TOKEN = re.compile(rb"\\.|[()]", re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
#: What nearly all addresses look like, so most of a field is read by one match each.
_SIMPLE = re.compile(
    rb'[ \t]*(?:"([^"\\\r\n]*)"|([A-Za-z0-9 !#$%&\'*+\-/=?^_`{|}~.\x80-\xff]*?))[ \t]*'
    rb"<([A-Za-z0-9!#$%&'*+\-/=?^_`{|}~.]+)@([A-Za-z0-9.\-]+)>[ \t]*(?:,|\Z)"
    rb"|[ \t]*([A-Za-z0-9!#$%&'*+\-/=?^_`{|}~.]+)@([A-Za-z0-9.\-]+)[ \t]*(?:,|\Z)"
)
_SPACES = re.compile(rb"[ \t\r\n]+")


def parseAddressList(value: bytes) -> list[HeaderAddress]:
    """
    Read an address-list (RFC 5322 §3.4, obsolete forms of §4.4 included), taking what can be
    taken from a malformed one.
    """
    value = unfold(value[:MAX_VALUE])
    result: list[HeaderAddress] = []
    at = 0
    while at < len(value) and len(result) < MAX_ADDRESSES:
        match = _SIMPLE.match(value, at)
        if match is None:
            return _parseAddresses(value[at:], result)
        quoted, phrase, local, domain, bareLocal, bareDomain = match.groups()
        if bareLocal is not None:
            result.append(HeaderAddress(None, None, bareLocal, bareDomain))
        else:
            name = quoted if quoted is not None else _SPACES.sub(b" ", phrase.strip(b" \t"))
            result.append(HeaderAddress(name or None, None, local, domain))
        at = match.end()
    return result


def _parseAddresses(value: bytes, result: list[HeaderAddress]) -> list[HeaderAddress]:
    # One pass over the tokens. Outside <>, words gather until "," or ";" or "<" shows what they
    # were: a display name or an address without brackets.
    words: list[bytes] = []  # with b"@" where one stood
    spaced: list[bool] = []  # whether space stood before that word
    comment: bytes | None = None
    inAngle = inGroup = space = False
    name: bytes | None = None
    angle: list[bytes] = []

    def flush() -> None:
        nonlocal comment, name, angle, inAngle
        if inAngle or angle:
            result.append(_angleAddress(name, angle))
        elif words:
            result.append(_bareAddress(words, spaced, comment))
        words.clear()
        spaced.clear()
        comment = name = None
        angle = []
        inAngle = False

    at = 0
    while at < len(value) and len(result) < MAX_ADDRESSES:
        match = _ADDRESS_TOKEN.match(value, at)
        assert match is not None
        at = match.end()
        kind = match.lastgroup
        token = match.group()
        if kind == "space":
            space = True
            continue
        if kind == "comment":
            text, at = _readComment(value, at)
            comment = text if comment is None else comment + b" " + text
            space = True
            continue
        if kind == "quoted":
            closed = len(token) > 1 and token.endswith(b'"')
            token = _ESCAPED.sub(rb"\1", token[1:-1] if closed else token[1:])
        if inAngle:
            if token == b">" and kind == "special":
                result.append(_angleAddress(name if name is not None else comment, angle))
                words.clear()
                spaced.clear()
                comment = name = None
                angle = []
                inAngle = False
            elif token == b"," and kind == "special" and b"@" in angle[1:]:
                # The bracket was never closed: the next address begins.
                flush()
            else:
                angle.append(token)
        elif kind == "special" and token == b"<":
            name = _joinWords(words, spaced) if words else None
            words.clear()
            spaced.clear()
            inAngle = True
        elif kind == "special" and token == b",":
            flush()
        elif kind == "special" and token == b";":
            flush()
            if inGroup:
                result.append(HeaderAddress(None, None, None, None))
                inGroup = False
        elif kind == "special" and token == b":" and not inGroup:
            group = _joinWords(words, spaced)
            words.clear()
            spaced.clear()
            comment = None
            result.append(HeaderAddress(None, None, group, None))
            inGroup = True
        elif kind == "special" and token == b">":
            pass
        else:
            words.append(token)
            spaced.append(space)
        space = False
    if len(result) < MAX_ADDRESSES:
        flush()
    if inGroup:
        result.append(HeaderAddress(None, None, None, None))
    return result


def _readComment(value: bytes, at: int) -> tuple[bytes, int]:
    # The comment that begins before C{at}, all the rest if it isn't closed, and where it ends.
    end = _commentEnd(value, at)
    if end is None:
        return _ESCAPED.sub(rb"\1", value[at:]), len(value)
    return _ESCAPED.sub(rb"\1", value[at : end - 1]), end


def _commentEnd(value: bytes, at: int) -> int | None:
    depth = 1
    for match in _COMMENT_TOKEN.finditer(value, at):
        token = match.group()
        if token == b"(":
            depth += 1
        elif token == b")":
            depth -= 1
            if depth == 0:
                return match.end()
    return None


def _joinWords(words: list[bytes], spaced: list[bool]) -> bytes:
    parts = []
    for position, word in enumerate(words):
        if position and spaced[position]:
            parts.append(b" ")
        parts.append(word)
    return b"".join(parts)


def _angleAddress(name: bytes | None, angle: list[bytes]) -> HeaderAddress:
    route = None
    if angle and angle[0] == b"@" and b":" in angle:
        # obs-route: @a,@b:user@c
        colon = angle.index(b":")
        route = b"".join(angle[:colon])
        angle = angle[colon + 1 :]
    local, domain = _splitAddress(angle)
    return HeaderAddress(name or None, route, local, domain)


def _bareAddress(words: list[bytes], spaced: list[bool], comment: bytes | None) -> HeaderAddress:
    if b"@" not in words:
        # No address at all: shown as a local-part, so that a person sees what stood there.
        return HeaderAddress(comment, None, _joinWords(words, spaced), b"")
    local, domain = _splitAddress(words)
    return HeaderAddress(comment, None, local, domain)


def _splitAddress(words: list[bytes]) -> tuple[bytes, bytes]:
    if b"@" not in words:
        return b"".join(words), b""
    last = len(words) - 1 - words[::-1].index(b"@")
    return b"".join(words[:last]), b"".join(words[last + 1 :])


# --- parameters --------------------------------------------------------------------------------

Parameters = list[tuple[bytes, bytes]]

#   parameter = attribute "=" value (RFC 2045 §5.1). Values with spaces but no quotes occur.
_PARAMETER = re.compile(
    rb""";?\s*([^\s=;"()]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"?|([^;"()]*?(?=\s*(?:;|\(|\Z))|[^;]*))""",
    re.DOTALL,
)
_MAX_PARAMETERS = 200


def parseParameters(value: bytes) -> tuple[bytes, Parameters]:
    """
    Read the value of Content-Type or Content-Disposition.

    @return: what stands before the first C{;}, and the parameters as written, quotes undone.
    """
    value = unfold(value[:MAX_VALUE])
    if b"(" in value:
        value = withoutComments(value)
    main, semicolon, rest = value.partition(b";")
    parameters: Parameters = []
    if semicolon:
        at = 0
        while at < len(rest) and len(parameters) < _MAX_PARAMETERS:
            match = _PARAMETER.match(rest, at)
            if match is None:
                at = rest.find(b";", at) + 1
                if at == 0:
                    break
                continue
            name, quoted, plain = match.groups()
            text = _ESCAPED.sub(rb"\1", quoted) if quoted is not None else plain.strip()
            parameters.append((name, text))
            at = match.end()
            following = rest.find(b";", at)
            at = len(rest) if following < 0 else following
    return main.strip(), parameters


_COMMENT_OR_QUOTED = re.compile(rb'["(]')
_QUOTED_REST = re.compile(rb'(?:[^"\\]|\\.)*"', re.DOTALL)


def withoutComments(value: bytes) -> bytes:
    """
    @return: a structured field's value with a space for each comment (RFC 5322 §3.2.2). One that
        isn't closed is none: what stands behind the bracket is worth more.
    """
    parts = []
    at = start = 0
    while match := _COMMENT_OR_QUOTED.search(value, at):
        at = match.end()
        if match.group() == b'"':
            quoted = _QUOTED_REST.match(value, at)
            if quoted is None:
                break
            at = quoted.end()
            continue
        end = _commentEnd(value, at)
        if end is None:
            break
        parts += [value[start : match.start()], b" "]
        at = start = end
    parts.append(value[start:])
    return b"".join(parts)


#   parameter sections and charsets: name*0*=charset'language'text (RFC 2231 §3-4)
_SECTION = re.compile(r"([^*]+)(?:\*(\d{1,4}))?(\*)?\Z")


def decodeParameters(parameters: Parameters) -> dict[str, str]:
    """
    @return: the parameters as text by their lower-case names: RFC 2231's continuations joined and
        charsets decoded, and RFC 2047's words too, which mailers wrongly put there.
    """
    plain: dict[str, str] = {}
    sections: dict[str, dict[int, tuple[bytes, bool]]] = {}
    for name, value in parameters:
        match = _SECTION.match(name.decode("latin-1").lower())
        if match is None:
            continue
        base, section, extended = match.groups()
        if section is None and extended is None:
            plain.setdefault(base, decodeText(value))
        else:
            sections.setdefault(base, {}).setdefault(
                int(section or 0), (value, extended is not None)
            )
    for base, found in sections.items():
        octets = b""
        charset = b"us-ascii"
        for number in sorted(found):
            value, extended = found[number]
            if extended:
                if octets == b"" and value.count(b"'") >= 2:
                    charset, _, value = value.split(b"'", 2)
                value = unquote_to_bytes(value)
            octets += value
        plain[base] = decodeCharset(octets, charset or b"us-ascii")
    return plain


#   msg-id = [CFWS] "<" id-left "@" id-right ">" [CFWS]
_MESSAGE_ID = re.compile(rb"<[^<>\s]+>")


def parseMessageIds(value: bytes) -> list[bytes]:
    """
    @return: the message ids of References or In-Reply-To, brackets included.
    """
    return _MESSAGE_ID.findall(unfold(value[:MAX_VALUE]))
