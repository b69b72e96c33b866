# -*- test-case-name: tests.model.test_surrogate -*-
"""
Headers in UTF-8 (RFC 6532) for those who read ASCII only: a surrogate, as RFC 6857 makes it.

Texts and names of people become encoded words, domains their A-labels. An address whose local-part
isn't ASCII has no other form: it becomes a group of nobody whose name shows it. A field that has no
place for encoded words is put into one that has, C{Downgraded-} before its name. Fields that are
ASCII, or aren't UTF-8 either, stay octet for octet.
"""

from __future__ import annotations

import re
from base64 import b64encode

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.model.address import parseDomain
from twisted_mailstack.model.header import (
    HeaderAddress,
    decodeText,
    parseAddressList,
    parseParameters,
    unfold,
)

_TEXTS = frozenset((b"subject", b"comments", b"content-description"))
_ADDRESSES = frozenset(
    prefix + name
    for prefix in (b"", b"resent-")
    for name in (b"from", b"sender", b"to", b"cc", b"bcc", b"reply-to")
) | {b"return-path", b"disposition-notification-to"}
_PARAMETERS = frozenset((b"content-type", b"content-disposition"))
#: Characters of a line with encoded words, and of what is around the base64 in one (RFC 2047 §2).
_LINE, _AROUND = 76, len("=?UTF-8?B??=")
#: Octets of UTF-8 in one encoded word, which may have 75 characters.
_PIECE = 45
#   field-name = 1*ftext (RFC 5322 §3.6.8)
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:(.*)", re.DOTALL)
_FOLD = re.compile(rb"\r?\n(?![ \t])")
#   attribute-char (RFC 2231 §7)
_NOT_ATTRIBUTE = re.compile(rb"[^A-Za-z0-9!#$&+\-.^_`{|}~]")
_TOKEN = re.compile(rb"[A-Za-z0-9!#$%&'*+\-.^_`{|}~]+\Z")
_ATOMS = re.compile(rb"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~.]+\Z")


def asciiHeader(header: bytes) -> bytes:
    """
    @param header: fields, with the blank line or without.
    @return: the same, or if fields have UTF-8, a surrogate; lines of which end in CRLF.
    """
    if header.isascii():
        return header
    fields = []
    start = 0
    for end in [*(match.end() for match in _FOLD.finditer(header)), len(header)]:
        field, start = header[start:end], end
        fields.append(field if field.isascii() else _asciiField(field))
    return b"".join(fields)


def _asciiField(field: bytes) -> bytes:
    match = _FIELD.match(field)
    if match is None:
        return field
    try:
        field.decode("utf-8")
    except UnicodeDecodeError:
        return field
    name, value = match.groups()
    value = value.strip()
    key = name.lower()
    if key in _TEXTS:
        return _joined(name, _words(decodeText(value), len(name) + 2))
    if key in _ADDRESSES:
        return _joined(name, _addresses(value))
    if key in _PARAMETERS:
        main, parameters = parseParameters(value)
        if main.isascii():
            return _joined(name, [main + b";", *_parameters(parameters)])
    name = b"Downgraded-" + name
    return _joined(name, _words(decodeText(value), len(name) + 2))


def _joined(name: bytes, pieces: list[bytes]) -> bytes:
    # RFC 2047 §2: lines with encoded words have 76 characters at most.
    gap = b": " if not pieces or len(name) + 2 + len(pieces[0]) <= _LINE else b":\r\n "
    return name + gap + b"\r\n ".join(pieces) + b"\r\n"


def _words(text: str, used: int = 0) -> list[bytes]:
    # Encoded words, none of which cuts a character (RFC 2047 §5). The space that folds them isn't
    # shown. So many characters stand before the first one on its line.
    pieces: list[bytes] = []
    piece = b""
    room = min(_PIECE, max(4, (_LINE - used - _AROUND) // 4 * 3))
    for character in text:
        octets = character.encode("utf-8", "replace")
        if len(piece) + len(octets) > room:
            pieces.append(piece)
            piece = b""
            room = _PIECE
        piece += octets
    pieces.append(piece)
    return [b"=?UTF-8?B?%b?=" % b64encode(each) for each in pieces if each]


def _addresses(value: bytes) -> list[bytes]:
    found: list[bytes] = []
    groups = 0
    pieces = parseAddressList(value)
    for each in pieces:
        if each.domain is None:
            if each.localPart is not None:
                found += [*_phrase(each.localPart), b":"]
                groups += 1
            elif groups:
                groups -= 1
                found[-1] = found[-1].removesuffix(b",")
                found.append(b";,")
            continue
        rendered = _mailbox(each)
        if groups and rendered[-1] == b":;":
            # Inside of a group there can't be another (RFC 5322 §3.4).
            rendered = [*_phrase(_shown(each)), b"<invalid@internationalized.invalid>"]
        rendered[-1] += b","
        found += rendered
    if found:
        found[-1] = found[-1].removesuffix(b",")
    return found or [*_words(decodeText(value)), b":;"]


def _mailbox(each: HeaderAddress) -> list[bytes]:
    name, _, localPart, domain = each
    if localPart is None or not localPart.isascii():
        return [*_phrase(_shown(each)), b":;"]
    if domain is not None and not domain.isascii():
        try:
            domain = parseDomain(domain.decode("utf-8")).encode("ascii")
        except (SyntaxProblem, UnicodeError):
            return [*_phrase(_shown(each)), b":;"]
    if not _ATOMS.match(localPart):
        localPart = b'"' + re.sub(rb'(["\\])', rb"\\\1", localPart) + b'"'
    address = b"<%b@%b>" % (localPart, domain or b"")
    return [*_phrase(name), address] if name else [address]


def _shown(each: HeaderAddress) -> bytes:
    name, _, localPart, domain = each
    address = b"%b@%b" % (localPart or b"", domain or b"")
    return b"%b <%b>" % (name, address) if name else address


def _phrase(name: bytes) -> list[bytes]:
    if name.isascii() and re.fullmatch(rb"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~ ]+", name):
        return [name]
    if name.isascii() and b"=?" not in name:
        return [b'"' + re.sub(rb'(["\\])', rb"\\\1", unfold(name)) + b'"']
    return _words(decodeText(name))


def _parameters(parameters: list[tuple[bytes, bytes]]) -> list[bytes]:
    found = []
    for name, value in parameters:
        if not name.isascii():
            continue
        if value.isascii():
            quoted = re.sub(rb'(["\\])', rb"\\\1", value)
            found.append(b"%b=%b" % (name, value if _TOKEN.match(value) else b'"' + quoted + b'"'))
            continue
        # RFC 2231 §4. Of a name that says so already only the octets are encoded.
        head, _, rest = value.rpartition(b"'") if name.endswith(b"*") else (b"UTF-8'", b"", value)
        encoded = _NOT_ATTRIBUTE.sub(lambda match: b"%%%02X" % match.group()[0], rest)
        if name.endswith(b"*"):
            encoded = encoded.replace(b"%25", b"%")
        prefix = head + b"'" if head else b""
        found.append(b"%b*=%b%b" % (name.removesuffix(b"*"), prefix, encoded))
    return [each + b";" for each in found[:-1]] + found[-1:]
