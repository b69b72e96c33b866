# -*- test-case-name: tests.smtp.test_framing -*-
"""
Cutting a server's replies out of the stream (RFC 5321 §4.2), for clients.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from twisted_mailstack.errors import LimitExceeded
from twisted_mailstack.wire.stream import Stream

#: Octets of a reply line, its end included. RFC 5321 §4.5.3.1.5 has 512; servers send longer ones.
MAX_LINE = 4096
#: Octets of a reply, all its lines together.
MAX_REPLY = 64 * 1024

#   Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF
#   Deviation: any digit may be the second (RFC 5321 §4.3.2: the first one counts).
_LINE = re.compile(rb"([2-5][0-9][0-9])([ \-]|\Z)(.*)\Z", re.DOTALL)
#   status-code = class "." subject "." detail   (RFC 3463 §2)
_ENHANCED = re.compile(r"([245])\.[0-9]{1,3}\.[0-9]{1,3}(?=[ \t]|\Z)")
#: What isn't printed, in text that goes to logs and notifications: C0, C1, line separators.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class MalformedReply(Exception):
    """What the server sent is no reply: it speaks something else, or lost its way."""


class Reply(NamedTuple):
    """
    @ivar code: the reply code, from 200 to 599.
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


async def readReply(stream: Stream) -> Reply:
    """
    Read a reply, however it is cut, within the stream's timeout as a whole. One that was received
    before the connection was lost is still given.

    @raise MalformedReply: if it is none.
    @raise ConnectionClosed: if the server is gone, and said nothing (more) before; L{SessionEnded}
        at the timeout.
    """
    timeout = stream.timeout
    deadline = None if timeout is None else stream.clock.seconds() + timeout
    try:
        return await _readReply(stream, deadline)
    finally:
        stream.timeout = timeout


async def _readReply(stream: Stream, deadline: float | None) -> Reply:
    lines: list[str] = []
    octets = 0
    code = 0
    status = ""
    while True:
        try:
            # Deviation: a bare LF ends a line too, as some servers send.
            line = stream.takeLine(MAX_LINE)
            if line is None:
                if deadline is not None:
                    # Or a server could take that long for every line.
                    stream.timeout = max(0, deadline - stream.clock.seconds())
                line = await stream.readLine(MAX_LINE)
        except LimitExceeded:
            raise MalformedReply("a reply line is too long") from None
        octets += len(line) + 2
        if octets > MAX_REPLY:
            raise MalformedReply("a reply is too long")
        match = _LINE.match(line)
        if match is None:
            raise MalformedReply(f"not a reply: {_printable(line[:80])!r}")
        if code and int(match.group(1)) != code:
            # RFC 5321 §4.2.1: "the reply code on each line MUST be the same".
            raise MalformedReply(f"a reply with two codes, {code} and {match.group(1).decode()}")
        code = int(match.group(1))
        text = _printable(match.group(3))
        found = _ENHANCED.match(text)
        if found is not None and found.group(1) == str(code)[0]:
            status = status or found.group()
            text = text[found.end() :]
        lines.append(text.strip())
        if match.group(2) != b"-":
            return Reply(code, status or f"{code // 100}.0.0", tuple(lines))


def _printable(text: bytes) -> str:
    return _CONTROLS.sub(" ", text.decode("utf-8", "replace"))
