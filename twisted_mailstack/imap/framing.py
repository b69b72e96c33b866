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
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from twisted_mailstack.errors import CannotDoThat, LimitExceeded, SessionEnded
from twisted_mailstack.interfaces import IContentWriter
from twisted_mailstack.wire.stream import LineTooLong, Stream

#   literal = "{" number64 ["+"] "}" CRLF *CHAR8
#   literal8 = "~{" number64 ["+"] "}" CRLF *OCTET   (RFC 3516 §7, RFC 7888 §6)
#   "The protocol receiver of an IMAP server MUST check the end of every received line" (RFC 7888
#   §3), whatever stands before it.
_LITERAL = re.compile(rb"(~?)\{(\d+)(\+?)\}\Z")
#: Octets of a literal that go to the store at a time.
WINDOW = 64 * 1024
#: A refused non-synchronising literal of more octets than this isn't read past: the client, which
#: sends it anyway, is disconnected (RFC 7888 §4).
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


#: Before login nobody can make the server hold more than 64 KB for a connection: twice this, as a
#: command is put together, and twice the window in each direction (L{Stream.setWindow}).
BEFORE_LOGIN = FramingLimits(line=8192, literal=4096, command=16384)
WINDOW_BEFORE_LOGIN = 8 * 1024
#: RFC 9051 §4 (RFC 7162 §4): at least 8,192 octets; clients send long UID sets.
AFTER_LOGIN = FramingLimits(line=128 * 1024, literal=128 * 1024, command=512 * 1024)

#: Given the command up to one of its literals (with the C{~} of one that may have NULs), where its
#: literals went before, and this one's size: a writer for it, or C{None} to keep it in memory.
#: Raises to refuse the command.
SinkFor = Callable[[bytes, Sequence[IContentWriter], int], Awaitable["IContentWriter | None"]]
#: Given a command up to its first literal: what is to be asked about each of its literals, or
#: C{None} if all are kept in memory. Raises to refuse the command.
SinksOf = Callable[[bytes], "SinkFor | None"]


class Refused(Exception):
    """
    The command was discarded.

    @ivar text: how it began, for its tag.
    @ivar error: why: a L{MailError<twisted_mailstack.errors.MailError>}, or what failed in a sink.
    """

    def __init__(self, text: bytes, error: Exception) -> None:
        super().__init__(str(error))
        self.text = text
        self.error = error


async def readCommand(
    stream: Stream, limits: FramingLimits, sinksOf: SinksOf
) -> tuple[bytes, list[IContentWriter]]:
    """
    @return: the command without its final CRLF, and the writers to which literals went; in the
        text they stand as C{{$0}}, C{{$1}}... and a bare LF, which a client can't send there.
    @raise Refused: if it was too large, or refused by C{sinksOf}, its answer or a writer. All that
        the client sends of it without being asked has been read then.
    """
    # One buffer, as thousands of small pieces would take many times their octets.
    command = bytearray()
    sinks: list[IContentWriter] = []
    sinkFor: SinkFor | None = None
    length = 0
    try:
        while True:
            try:
                line = await stream.readLine(limits.line)
            except LineTooLong as error:
                await _skip(stream, limits, error.ending)
                # Up to a space, so that no part of a tag is taken for the tag.
                text = bytes(command) or error.beginning.rpartition(b" ")[0]
                raise Refused(text, error) from None
            length += len(line)
            match = _LITERAL.search(line)
            if match is None and length <= limits.command:
                return bytes(command + line), sinks
            text = line if match is None else line[: match.start()]
            try:
                if length > limits.command:
                    raise LimitExceeded("The command is too long")
                assert match is not None
                size = _size(match)
                if not command:
                    sinkFor = sinksOf(text)
                tilde = match.group(1)
                sink = None
                if sinkFor is not None:
                    sink = await sinkFor(bytes(command + text + tilde), sinks, size)
                if sink is None and (size > limits.literal or length + size > limits.command):
                    raise LimitExceeded("The literal is too long")
            except Exception as error:
                await _skip(stream, limits, line)
                raise Refused(bytes(command) or line, error) from None
            if not match.group(3):
                stream.write(b"+ Ready\r\n")
            if sink is None:
                command += line + b"\r\n"
                command += await stream.readExactly(size)
                length += size
            else:
                command += text + tilde + b"{$%d}\n" % len(sinks)
                sinks.append(sink)
                failed = await _stream(stream, sink, size, bool(tilde))
                if failed is not None:
                    await _skip(stream, limits, await _lineEnd(stream, limits))
                    raise Refused(bytes(command), failed)
    except BaseException:
        for sink in sinks:
            sink.abort()
        raise


def _size(match: re.Match[bytes]) -> int:
    # More digits than any size has: int() takes quadratic time for thousands of them.
    return int(match.group(2)) if len(match.group(2)) <= 18 else 1 << 62


async def _stream(
    stream: Stream, sink: IContentWriter, size: int, binary: bool
) -> Exception | None:
    """
    Read all of a literal into a sink.

    @param binary: whether it may have NULs.
    @return: what failed, but for the connection itself.
    """
    failed: Exception | None = None
    while size:
        data = await stream.readSome(min(WINDOW, size))
        size -= len(data)
        if failed is not None:
            continue
        try:
            # CHAR8 = any OCTET except NUL; nobody could be sent it back (RFC 3501 §4.3.1).
            if not binary and b"\0" in data:
                raise CannotDoThat("A literal can't have NUL octets")
            waiting = sink.write(data)
            if waiting is not None:
                await waiting
        except Exception as error:
            failed = error
            sink.abort()
    return failed


async def _skip(stream: Stream, limits: FramingLimits, line: bytes) -> None:
    """
    Read past the rest of a refused command: literals that the client sends without being asked,
    and what follows them.

    @param line: the line that was read last, or its end.
    """
    match = _LITERAL.search(line)
    while match is not None and match.group(3):
        size = _size(match)
        if size > MAX_SKIPPED:
            stream.write(b"* BYE [TOOBIG] refused, and too large to be read past\r\n")
            raise SessionEnded("refused")
        while size:
            size -= len(await stream.readSome(min(WINDOW, size)))
        match = _LITERAL.search(await _lineEnd(stream, limits))


async def _lineEnd(stream: Stream, limits: FramingLimits) -> bytes:
    try:
        return await stream.readLine(limits.line)
    except LineTooLong as error:
        return error.ending
