# -*- test-case-name: tests.imap.test_framing -*-
"""
Cutting commands out of the stream: lines, and literals (RFC 9051 §4.3, RFC 7888), before anything
is parsed. So a malformed command is discarded as a whole, and what stands in a literal is never
taken for a command.

Sizes are checked before a client is told to go on, and before an octet of a non-synchronising
literal is kept: what is too large is read past, in bounded memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from twisted_mailstack.errors import LimitExceeded, MailError, SessionEnded, SyntaxProblem
from twisted_mailstack.interfaces import IContentWriter
from twisted_mailstack.wire.stream import Stream

#   literal = "{" number64 ["+"] "}" CRLF *CHAR8
_LITERAL = re.compile(rb"\{(\d+)(\+?)\}\Z")
_LITERAL_LIKE = re.compile(rb"\{[^{}\s\"]*\}\Z")
#: Octets of a literal that go to the store at a time.
WINDOW = 64 * 1024
#: A refused non-synchronising literal of more octets than this isn't read past: the client, which
#: sends it anyway, is disconnected.
MAX_SKIPPED = 64 * 1024 * 1024


@dataclass(frozen=True)
class FramingLimits:
    """
    @ivar line: octets of a line.
    @ivar literal: of a literal that is kept in memory.
    @ivar command: of a command in all, streamed literals not counted.
    """

    line: int
    literal: int
    command: int


#: Before login nobody can make the server hold more than this for a connection.
BEFORE_LOGIN = FramingLimits(line=8192, literal=4096, command=16384)
#: RFC 9051 §4 (RFC 7162 §4): at least 8,192 octets; clients send long UID sets.
AFTER_LOGIN = FramingLimits(line=128 * 1024, literal=128 * 1024, command=512 * 1024)

#: Given the command so far and the size of a literal: a writer for it, or C{None} to keep it in
#: memory. Raises MailError to refuse it.
SinkFor = Callable[[bytes, int], "IContentWriter | None"]


class Refused(Exception):
    """
    The command was discarded.

    @ivar text: what there is of it, for its tag.
    """

    def __init__(self, text: bytes, error: MailError) -> None:
        super().__init__(error.text)
        self.text = text
        self.error = error


async def readCommand(
    stream: Stream, limits: FramingLimits, sinkFor: SinkFor
) -> tuple[bytes, list[IContentWriter]]:
    """
    @return: the command without its final CRLF, and the writers to which literals went; in the
        text they stand as C{{$0}}, C{{$1}}...
    @raise Refused: if it was malformed or too large; all of it is read then.
    """
    parts: list[bytes] = []
    sinks: list[IContentWriter] = []
    length = 0
    try:
        while True:
            try:
                line = await stream.readLine(limits.line)
            except LimitExceeded as error:
                raise Refused(b"".join(parts), error) from None
            length += len(line)
            match = _LITERAL.search(line)
            if match is None:
                parts.append(line)
                text = b"".join(parts)
                if length > limits.command:
                    raise Refused(text[: limits.line], LimitExceeded("The command is too long"))
                if _LITERAL_LIKE.search(line) and line.count(b'"') % 2 == 0:
                    raise Refused(text, SyntaxProblem("Invalid literal"))
                return text, sinks
            size = int(match.group(1)) if len(match.group(1)) <= 18 else 1 << 62
            waits = not match.group(2)
            text = b"".join(parts) + line[: match.start()]
            try:
                if length > limits.command:
                    raise LimitExceeded("The command is too long")
                sink = sinkFor(text, size)
                if sink is None and (size > limits.literal or length + size > limits.command):
                    raise LimitExceeded("The literal is too long")
            except MailError as error:
                if not waits:
                    await _skip(stream, limits, size)
                raise Refused(text[: limits.line], error) from None
            if waits:
                stream.write(b"+ Ready\r\n")
            if sink is None:
                parts.append(line + b"\r\n" + await stream.readExactly(size))
                length += size
            else:
                parts.append(line[: match.start()] + b"{$%d}" % len(sinks))
                sinks.append(sink)
                await _stream(stream, sink, size)
    except BaseException:
        for sink in sinks:
            sink.abort()
        raise


async def _stream(stream: Stream, sink: IContentWriter, size: int) -> None:
    while size:
        data = await stream.readSome(min(WINDOW, size))
        size -= len(data)
        waiting = sink.write(data)
        if waiting is not None:
            await waiting


async def _skip(stream: Stream, limits: FramingLimits, size: int) -> None:
    # The rest of a command whose literal the client sends without asking: it and what follows.
    while True:
        if size > MAX_SKIPPED:
            stream.write(b"* BYE literal too large\r\n")
            raise SessionEnded("refused")
        while size:
            size -= len(await stream.readSome(min(WINDOW, size)))
        try:
            line = await stream.readLine(limits.line)
        except LimitExceeded:
            return
        match = _LITERAL.search(line)
        if match is None or not match.group(2):
            return
        size = int(match.group(1)) if len(match.group(1)) <= 18 else 1 << 62
