# -*- test-case-name: tests.smtp.test_reply -*-
"""
SMTP replies (RFC 5321 §4.2) with enhanced status codes (RFC 2034).

Whatever the text is, what comes out is one well-formed reply: no line is longer than RFC 5321
§4.5.3.1.5 allows (a long text becomes several lines), and there is nothing in it but printable
ASCII (RFC 6531 §3.7.4 allows UTF-8 in a few replies only).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from twisted_mailstack.errors import MailError

#: RFC 5321 §4.5.3.1.5: octets of a reply line, its CRLF included.
MAX_LINE = 512
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
#: Texts that surely fit into one line.
_SHORT = 400


def reply(code: int, text: str, enhancedStatus: str | None = None, utf8: bool = False) -> bytes:
    """
    @param text: one line, or several separated by newlines.
    @param enhancedStatus: put at the head of each line (RFC 2034 §4); C{None} for none, as RFC 2034
        wants for the greeting, EHLO and 3yz replies.
    @param utf8: the client said that it can read UTF-8 in this reply. Else what isn't ASCII is
        shown by escapes.
    """
    head = f"{enhancedStatus} " if enhancedStatus else ""
    if len(text) <= _SHORT and text.isascii():
        if text.isprintable():
            return f"{code} {head}{text}\r\n".encode("ascii")
        *first, final = text.split("\n")
        if final.isprintable() and all(map(str.isprintable, first)):
            lines = "".join([f"{code}-{head}{line}\r\n" for line in first])
            return f"{lines}{code} {head}{final}\r\n".encode("ascii")
    room = MAX_LINE - len(f"{code}-{head}\r\n")
    pieces = [
        piece
        for line in text.split("\n")
        for piece in _cut(
            _CONTROLS.sub(" ", line).encode("utf-8" if utf8 else "ascii", "backslashreplace"), room
        )
    ]
    last = len(pieces) - 1
    return b"".join(
        f"{code}{'-' if number < last else ' '}{head}".encode("ascii") + line + b"\r\n"
        for number, line in enumerate(pieces)
    )


def _cut(line: bytes, room: int) -> Iterator[bytes]:
    while len(line) > room:
        # Behind a space if there is one, and never within a character.
        at = line.rfind(b" ", room // 2, room) + 1 or room
        while line[at] & 0xC0 == 0x80:
            at -= 1
        yield line[:at]
        line = line[at:]
    yield line


def errorReply(error: MailError, enhanced: bool = True) -> bytes:
    """
    @param enhanced: with the enhanced status code. Its class is always that of the reply code
        (RFC 2034 §4), whatever the error says.
    @return: the one form in which an error is told to a client.
    """
    status = f"{error.smtpCode // 100}{error.enhancedStatus[1:]}" if enhanced else None
    return reply(error.smtpCode, error.text, status)
