# -*- test-case-name: tests.model.test_xtext -*-
"""
How values are written in SMTP parameters: xtext (RFC 3461 §4), and unitext for addresses that may
have any characters (RFC 6533 §3).
"""

from __future__ import annotations

import re

from twisted_mailstack.errors import SyntaxProblem

#   xtext = *( xchar / hexchar )
#   xchar = any ASCII CHAR between "!" (33) and "~" (126) inclusive, except for "+" and "="
#   hexchar = ASCII "+" immediately followed by two upper case hexadecimal digits
_XTEXT = re.compile(r"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})*\Z")
_HEXCHAR = re.compile(rb"\+([0-9A-F]{2})")
#   utf-8-addr-unitext = 1*(QUCHAR / EmbeddedUnicodeChar)
#   QUCHAR = ASCII printable characters except CTLs, SP, '\', '+' and '=', plus UTF-8
#   EmbeddedUnicodeChar = "\x" "{" HEXPOINT "}"
_UNITEXT = re.compile(
    r"(?:[\x21-\x2a\x2c-\x3c\x3e-\x5b\x5d-\x7e\u0080-\U0010ffff]|\\x\{[0-9A-F]{2,6}\})+\Z"
)
_EMBEDDED = re.compile(r"\\x\{([0-9A-F]{2,6})\}")
#   CTLs, SP, '\', '+', '='
_SPECIALS = re.compile(r"[\x00-\x20\x7f\\+=]")


def encodeXtext(text: str) -> str:
    """
    @return: the text as xtext, what isn't ASCII as the octets of UTF-8.
    """
    return "".join(
        chr(octet) if 33 <= octet <= 126 and octet not in b"+=" else f"+{octet:02X}"
        for octet in text.encode("utf-8")
    )


def decodeXtext(text: str) -> bytes:
    """
    @return: the octets that an xtext stands for.
    @raise SyntaxProblem: if it is none.
    """
    if not _XTEXT.match(text):
        raise SyntaxProblem("Not an xtext")
    return _HEXCHAR.sub(lambda match: bytes((int(match.group(1), 16),)), text.encode("ascii"))


def encodeUnitext(text: str, ascii: bool) -> str:
    """
    @param ascii: for where UTF-8 isn't allowed: utf-8-addr-xtext, else utf-8-addr-unitext.
    """
    return "".join(
        f"\\x{{{ord(character):02X}}}"
        if _SPECIALS.match(character) or (ascii and not character.isascii())
        else character
        for character in text
    )


def decodeUnitext(text: str) -> str:
    """
    @return: the text that a utf-8-enc-addr stands for.
    @raise SyntaxProblem: if it is none.
    """
    if not _UNITEXT.match(text):
        raise SyntaxProblem("Not a UTF-8 address")
    return _EMBEDDED.sub(_character, text)


def _character(match: re.Match[str]) -> str:
    point = int(match.group(1), 16)
    if point > 0x10FFFF or 0xD800 <= point < 0xE000:
        raise SyntaxProblem("Not a character")
    return chr(point)
