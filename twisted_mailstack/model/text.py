# -*- test-case-name: tests.model.test_text -*-
"""
From a part's octets to text: transfer encodings (RFC 2045 §6), charsets, and what searches compare.

Nothing here raises, whatever the octets: damaged encodings give what can be read of them.
"""

from __future__ import annotations

import binascii
import html
import re
from collections.abc import Iterator
from unicodedata import normalize

from twisted_mailstack.model.header import decodeBase64, decodeCharset
from twisted_mailstack.model.mime import Part

#   "any trailing white space on a line must be deleted" (RFC 2045 §6.7)
_TRAILING_SPACE = re.compile(rb"(?<![ \t])[ \t]++(?=\r?\n)")
_UU_BEGIN = re.compile(rb"^begin [0-7]{3,4} [^\r\n]*\r?\n", re.M)
_UU_END = re.compile(rb"^(?:end|`)[ \t]*\r?$", re.M)
#: What isn't shown of HTML. What isn't closed goes on to the end, so that each octet is looked at
#: once.
_HIDDEN = re.compile(r"<(script|style|title)\b.*?(?:</\1\s*+>|\Z)|<!--.*?(?:-->|\Z)", re.I | re.S)
_BLOCK = re.compile(r"</?(?:p|div|br|tr|li|h[1-6]|table|blockquote)\b[^<>]*+>", re.I)
_TAG = re.compile(r"<[/!?]?[A-Za-z][^<>]*+>")
#: More digits than a character's number has. Python refuses to read thousands of them.
_TOO_LARGE = re.compile(r"&#(?:[0-9]{8,}|[xX][0-9A-Fa-f]{8,});?")


def decodeTransfer(data: bytes, encoding: bytes) -> bytes:
    """
    @param encoding: a Content-Transfer-Encoding, in any case; an unknown one changes nothing.
    """
    name = encoding.lower()
    if name == b"base64":
        return decodeBase64(data)
    if name == b"quoted-printable":
        # White space at a line's end was added under way, also behind a soft line break's "=".
        if any(end in data for end in (b" \r\n", b"\t\r\n", b" \n", b"\t\n")):
            data = _TRAILING_SPACE.sub(b"", data)
        return binascii.a2b_qp(data)
    if name in (b"x-uuencode", b"uuencode", b"x-uue", b"uue"):
        return _decodeUU(data)
    return data


def _decodeUU(data: bytes) -> bytes:
    begin = _UU_BEGIN.search(data)
    if begin is None:
        return data
    end = _UU_END.search(data, begin.end())
    result = []
    for line in data[begin.end() : end.start() if end else len(data)].splitlines():
        if not line:
            continue
        try:
            result.append(binascii.a2b_uu(line))
        except binascii.Error:
            # Some encoders pad lines wrongly: the line's first octet says how much is meant.
            octets = (((line[0] - 32) & 63) * 4 + 5) // 3
            try:
                result.append(binascii.a2b_uu(line[:octets]))
            except binascii.Error:
                continue
    return b"".join(result)


def charsetOf(part: Part) -> bytes:
    """
    @return: the charset parameter, C{us-ascii} if there is none (RFC 2046 §4.1.2).
    """
    for name, value in part.parameters:
        if name.lower() == b"charset" and value:
            return value
    return b"us-ascii"


def partText(data: bytes, part: Part, plain: bool = False) -> str:
    """
    @param data: the octets of the part's body, as stored.
    @param plain: show HTML as a reader would see it, without tags; a search looks at it as it is.
    """
    text = decodeCharset(decodeTransfer(data, part.encoding), charsetOf(part))
    if plain and part.subtype.lower() == b"html":
        text = _HIDDEN.sub(" ", text)
        text = _BLOCK.sub("\n", text)
        text = html.unescape(_TOO_LARGE.sub("\ufffd", _TAG.sub("", text)))
    return text


def fold(text: str) -> str:
    """
    What substring searches compare: without case, and one form for what Unicode can write in
    several (after RFC 5051's i;unicode-casemap, which titlecases and decomposes).
    """
    if text.isascii():
        return text.lower()
    return normalize("NFKD", normalize("NFKD", text).casefold())


def textParts(root: Part) -> Iterator[Part]:
    """
    @return: all text parts, those of enclosed messages among them, in the order of the message.
    """
    for part in root.walk():
        if part.isText:
            yield part
