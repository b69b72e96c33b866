# -*- test-case-name: tests.smtp.test_framing -*-
"""
Cutting a server's replies out of the stream (RFC 5321 §4.2), for clients.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from twisted_mailstack.errors import LimitExceeded
from twisted_mailstack.wire.stream import Stream

#: Octets of a reply line. RFC 5321 §4.5.3.1.5 has 512; servers send longer ones.
MAX_LINE = 4096
#: Lines of a reply.
MAX_LINES = 500

#   Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
_LINE = re.compile(rb"([2-5]\d\d)([ \-]|\Z)(.*)\Z", re.DOTALL)
#   status-code = class "." subject "." detail   (RFC 3463 §2)
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:[ \t]+|\Z)")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")


class MalformedReply(Exception):
    """What the server sent is no reply: it speaks something else, or lost its way."""


class Reply(NamedTuple):
    """
    @ivar code: the reply code.
    @ivar enhancedStatus: RFC 2034's, or one that says no more than the code's class.
    @ivar lines: the text, codes removed, without control characters.
    """

    code: int
    enhancedStatus: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """All of it on one line."""
        return " ".join(line for line in self.lines if line)

    @property
    def positive(self) -> bool:
        """Whether it says yes (2yz)."""
        return 200 <= self.code < 300


async def readReply(stream: Stream, enhanced: bool = True) -> Reply:
    """
    @param enhanced: take the enhanced status codes off the text.
    @raise MalformedReply: if it is none.
    """
    lines: list[str] = []
    code = 0
    status = ""
    while True:
        try:
            # Deviation: a bare LF ends a line too, as some servers send.
            line = await stream.readLine(MAX_LINE)
        except LimitExceeded:
            raise MalformedReply("a reply line is too long") from None
        match = _LINE.match(line)
        if match is None or (code and int(match.group(1)) != code):
            raise MalformedReply(f"not a reply: {line[:80]!r}")
        code = int(match.group(1))
        text = _CONTROLS.sub(" ", match.group(3).decode("utf-8", "replace"))
        found = _ENHANCED.match(text) if enhanced else None
        if found is not None and found.group(1)[0] == str(code)[0]:
            status = status or found.group(1)
            text = text[found.end() :]
        lines.append(text.strip())
        if match.group(2) != b"-":
            return Reply(code, status or f"{code // 100}.0.0", tuple(lines))
        if len(lines) >= MAX_LINES:
            raise MalformedReply("a reply has too many lines")
