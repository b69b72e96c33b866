# -*- test-case-name: tests.wire.test_stream -*-
"""
One connection as a session sees it: octets to read, octets to write, no transport.

A session is one coroutine that pulls lines and octets from a L{Stream} and writes its replies to
it. The state of the session decides how the stream is cut, since nothing else reads from it: a
message's text is never taken for a command, and commands run strictly in order however they were
pipelined. What a session writes is sent in one piece when it next waits.

Bounds: input that the session hasn't taken is at most C{HIGH_WATER} and what one read of the
transport brings, or what L{WINDOW} octets of it are when inflated; a line is bounded by its caller;
a peer that doesn't read its replies isn't read
from either, so output is bounded by what one command writes, and in L{Stream.drain} by less.
L{Stream.setWindow} makes that less, for peers that have yet to say who they are.

A session is never cancelled from outside. When the peer is gone, its next read raises
L{ConnectionClosed}, so what it is committing is committed.
"""

from __future__ import annotations

import zlib
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twisted_mailstack.errors import (
    ConnectionClosed,
    LimitExceeded,
    PlaintextInjected,
    SessionEnded,
)
from twisted_mailstack.model.records import ConnectionInfo

#: Input not taken above which the peer is asked to wait, and output gathered above which it is sent
#: without waiting for the session to wait; see L{Stream.setWindow}.
HIGH_WATER = 64 * 1024
#: Octets that are inflated at a time, however few they were on the wire.
WINDOW = 64 * 1024
#: What deflating costs a connection: 2^(13+2) + 2^(6+9) octets, and at most 2^15 + 10,000 the other
#: direction. zlib's defaults cost four times as much, and make IMAP's responses no smaller.
WINDOW_BITS = -13
MEMORY_LEVEL = 6
#: What a sync flush ends with: an empty stored block.
_FLUSHED = b"\0\0\xff\xff"
#: An empty block that ends a deflated stream.
_END = b"\x03\0"
#: Octets that are kept of each end of a line that is too long.
KEPT = 256


class LineTooLong(LimitExceeded):
    """
    A line was longer than its reader allows. IMAP needs to know how it began (the tag) and how it
    ended (whether a literal follows, RFC 7888 §3).

    @ivar beginning: its first octets, at most L{KEPT}; C{ending} likewise its last, without the
        line's end.
    """

    text = "Line too long"

    def __init__(self, beginning: bytes = b"", ending: bytes = b"") -> None:
        super().__init__()
        self.beginning = beginning
        self.ending = ending


class IWire(Protocol):
    """
    What carries a stream: L{twisted_mailstack.net.protocol.MailProtocol}, or a double in tests.
    """

    def send(self, data: bytes) -> None:
        """Send octets, in order."""

    def setPaused(self, paused: bool) -> None:
        """Stop or go on calling L{Stream.received}."""

    def setWindow(self, octets: int) -> None:
        """Read no more than so much at a time, and say that the peer doesn't keep up once more than
        that waits to be sent."""

    def startTLS(self) -> None:
        """All that is sent from now on goes through TLS, as the server's side of it."""

    def lose(self) -> None:
        """Close the connection when all is sent."""

    def describe(self) -> ConnectionInfo:
        """What is known of the connection now."""


class Stream:
    """
    @ivar timeout: seconds that a read may take as a whole, C{None} for ever. A read of a line
        counts from its start, so a peer that sends an octet a minute gains nothing.
    @ivar clock: for timeouts.
    @ivar bytesIn: octets received, for accounting and logs; C{bytesOut} likewise sent.
    """

    def __init__(self, wire: IWire, clock: IReactorTime, timeout: float | None = None) -> None:
        self.wire = wire
        self.clock = clock
        self.timeout = timeout
        self.bytesIn = 0
        self.bytesOut = 0
        self._buffer = b""
        self._at = 0
        self._paused = False
        self._waiter: Deferred[None] | None = None
        self._sleeper: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        self._deadline: float | None = None
        self._closed = False
        self._losing = False
        self._ending: SessionEnded | None = None
        self._woken = False
        self._output: list[bytes] = []
        self._pending = 0
        self._window = HIGH_WATER
        # Octets that were sent since the session last waited.
        self._unwaited = 0
        self._blocked = False
        self._info: ConnectionInfo | None = None
        self._deflater: zlib._Compress | None = None
        self._inflater: zlib._Decompress | None = None
        # What is received and not inflated; and of that what the inflater gave back, since it had
        # filled its window.
        self._packed = b""
        self._packedAt = 0
        self._tail: bytes | None = None

    # --- the transport's side ------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """
        Octets came in. Behind L{close} nobody wants them.
        """
        self.bytesIn += len(data)
        if self._losing:
            return
        if self._inflater is not None:
            self._packed = self._packed[self._packedAt :] + data
            self._packedAt = 0
            if len(self._packed) > self._window and not self._paused:
                self._paused = True
                self.wire.setPaused(True)
            self._fire()
            return
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0
        if len(self._buffer) > self._window and not self._paused:
            self._paused = True
            self.wire.setPaused(True)
        self._fire()

    def lost(self) -> None:
        """
        The connection is gone: every read and wait from now on raises L{ConnectionClosed}, even
        if there is input left, since nobody would get the replies.
        """
        self._closed = True
        self._output.clear()
        self._pending = 0
        self._fire()

    def setBlocked(self, blocked: bool) -> None:
        """
        The transport's send buffer is full, or has room again.
        """
        self._blocked = blocked
        if not blocked:
            self._fire()

    # --- the owner's side ----------------------------------------------------------------------

    def end(self, reason: str) -> None:
        """
        Ask the session to end: its next read that has to wait raises L{SessionEnded}.
        """
        if self._ending is None:
            self._ending = SessionEnded(reason)
        self._wakeSleeper()
        self._fire()

    def wake(self) -> None:
        """
        Make a L{wait} of the session return: there is news. Without one under way, the next
        returns at once.
        """
        self._woken = True
        self._fire()

    # --- the session's side: input -------------------------------------------------------------

    def setWindow(self, octets: int) -> None:
        """
        Bound what is held for the peer: so much input and so much output, each with as much as one
        read or one command brings. C{HIGH_WATER} until this is called.
        """
        self._window = octets
        self.wire.setWindow(octets)

    @property
    def info(self) -> ConnectionInfo:
        """What is known of the connection; current after STARTTLS too."""
        if self._info is None:
            self._info = self.wire.describe()
        return self._info

    @property
    def buffered(self) -> int:
        """Octets that are received and not taken."""
        return len(self._buffer) - self._at

    @property
    def closed(self) -> bool:
        """Whether the peer is gone."""
        return self._closed

    def takeLine(self, limit: int, strict: bool = False) -> bytes | None:
        """
        @param limit: the most octets a line may have, its end included.
        @param strict: only CRLF ends a line (SMTP: a bare LF must not, RFC 5321 §2.3.8). Without
            it a bare LF does too.
        @return: the next line without its end, or C{None} if it isn't there yet.
        @raise LineTooLong: if it is longer. What was buffered of it stays; see L{readLine}.
        """
        end = self._buffer.find(b"\r\n" if strict else b"\n", self._at)
        if end < 0:
            if len(self._buffer) - self._at > limit:
                raise LineTooLong()
            return None
        start, self._at = self._at, end + (2 if strict else 1)
        if self._at - start > limit:
            self._at = start
            raise LineTooLong()
        if not strict and self._buffer[end - 1 : end] == b"\r" and end > start:
            end -= 1
        return self._buffer[start:end]

    async def readLine(self, limit: int, strict: bool = False) -> bytes:
        """
        As L{takeLine}, waiting for the line.

        @raise LineTooLong: if it is. All of it, to its end, has been discarded.
        @raise ConnectionClosed: if the peer is gone.
        @raise SessionEnded: at a timeout, or when the server stops.
        """
        await self._beginRead()
        try:
            while (line := self.takeLine(limit, strict)) is None:
                await self._more()
        except LineTooLong:
            # No more than is there however the line came, so that nothing depends on chunks.
            beginning = self._buffer[self._at : self._at + min(KEPT, limit)]
            ending = await self._discardLine(b"\r\n" if strict else b"\n")
            raise LineTooLong(beginning.partition(b"\n")[0].removesuffix(b"\r"), ending) from None
        return line

    async def _discardLine(self, terminator: bytes) -> bytes:
        # Returns the line's last octets. One more is kept for the CR of its end.
        last = b""
        while (end := self._buffer.find(terminator, self._at)) < 0:
            # A CR at the very end may be the first half of the line's end.
            end = len(self._buffer) - self._buffer.endswith(b"\r")
            last = (last + self._buffer[max(self._at, end - KEPT - 1) : end])[-KEPT - 1 :]
            self._at = end
            await self._more()
        last = (last + self._buffer[max(self._at, end - KEPT - 1) : end])[-KEPT - 1 :]
        self._at = end + len(terminator)
        return last.removesuffix(b"\r")[-KEPT:]

    async def readExactly(self, octets: int) -> bytes:
        """
        @return: so many octets. For amounts that may be held in memory; see L{readSome}.
        """
        await self._beginRead()
        parts = []
        while octets:
            part = self._take(octets)
            if part:
                parts.append(part)
                octets -= len(part)
            else:
                await self._more()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def readSome(self, limit: int) -> bytes:
        """
        @return: between 1 and C{limit} octets, as soon as there are any.
        """
        await self._beginRead()
        while not (part := self._take(limit)):
            await self._more()
        return part

    def unread(self, data: bytes) -> None:
        """
        Put back octets that were read but are not ours to use.
        """
        self._buffer = data + self._buffer[self._at :]
        self._at = 0

    async def wait(self) -> None:
        """
        Wait until input is there that wasn't when this was called, or L{wake} is called. For
        sessions that have to say something without being asked (IDLE).

        C{stream.timeout} counts from this call.
        """
        await self._beginRead()
        if self._woken:
            self._woken = False
            return
        await self._more(wakeable=True)
        self._woken = False

    async def breathe(self) -> None:
        """
        Let everyone else have a turn, in the midst of long work.
        """
        self._unwaited = 0
        turn: Deferred[None] = Deferred()
        self.clock.callLater(0, turn.callback, None)
        await turn
        if self._closed:
            raise ConnectionClosed()

    async def sleep(self, seconds: float) -> None:
        """
        Wait, as after a failed login. A peer that goes meanwhile is waited for all the same, so
        that it gains nothing by going; the end of the server is not.

        @raise ConnectionClosed: afterwards, if the peer went meanwhile.
        """
        self.flush()
        if self._ending is None:
            sleeper: Deferred[None] = Deferred()
            self._sleeper = sleeper
            timer = self.clock.callLater(seconds, self._wakeSleeper)
            await sleeper
            if timer.active():
                timer.cancel()
        if self._closed:
            raise ConnectionClosed()

    def _wakeSleeper(self) -> None:
        sleeper, self._sleeper = self._sleeper, None
        if sleeper is not None:
            sleeper.callback(None)

    def _take(self, limit: int) -> bytes:
        start = self._at
        if not start and len(self._buffer) <= limit:
            part, self._buffer = self._buffer, b""
        else:
            part = self._buffer[start : start + limit]
            self._at = start + len(part)
        return part

    async def _beginRead(self) -> None:
        if self._blocked:
            # Or a peer that sends commands and never reads would fill the memory with replies.
            await self.drain()
        if self._unwaited > self._window < HIGH_WATER:
            # TLS gathers what is written in one turn before it says that it is too much.
            await self.breathe()
            await self.drain()
        self._startRead()

    def _startRead(self) -> None:
        if self._closed:
            raise ConnectionClosed()
        self._deadline = None if self.timeout is None else self.clock.seconds() + self.timeout

    async def _more(self, wakeable: bool = False) -> None:
        self.flush()
        if self._closed:
            raise ConnectionClosed()
        if self._inflater is not None and self._unpack():
            return
        if self._ending is not None:
            raise self._ending
        before = self.bytesIn
        while True:
            if self._paused:
                self._paused = False
                self.wire.setPaused(False)
                # Un-pausing may deliver at once.
                if self.bytesIn != before:
                    return
            await self._suspend()
            if self._closed:
                raise ConnectionClosed()
            if self.bytesIn != before or (wakeable and self._woken):
                return
            if self._ending is not None:
                raise self._ending

    def _unpack(self) -> bool:
        """
        Inflate what was received, up to L{WINDOW} octets.

        @return: whether there is more to read now.
        @raise ConnectionClosed: if it can't be inflated; or was ended, and not by
            L{stopCompression}.
        """
        inflater = self._inflater
        assert inflater is not None
        while self._tail is not None or self._packedAt < len(self._packed):
            if inflater.eof:
                self.lost()
                raise ConnectionClosed()
            piece = self._tail
            if piece is None:
                # No further than to a flush: behind it the peer may have ended compression.
                start, end = self._packedAt, self._packed.find(_FLUSHED, self._packedAt)
                end = len(self._packed) if end < 0 else end + len(_FLUSHED)
                piece, self._packedAt = self._packed[start:end], end
            try:
                data = inflater.decompress(piece, WINDOW)
            except zlib.error:
                self.lost()
                raise ConnectionClosed() from None
            self._tail = inflater.unconsumed_tail if len(data) == WINDOW else None
            if data:
                self._buffer = self._buffer[self._at :] + data
                self._at = 0
                return True
        return False

    async def _suspend(self) -> None:
        self._unwaited = 0
        self._waiter = Deferred()
        if self._deadline is not None:
            left = max(0, self._deadline - self.clock.seconds())
            if self._timer is None:
                self._timer = self.clock.callLater(left, self._timerFired)
            elif self._timer.getTime() > self._deadline:
                # The timeout was longer when the timer was started.
                self._timer.reset(left)
        await self._waiter

    def _fire(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)
        if self._closed and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _timerFired(self) -> None:
        # One timer a connection, moved only when it fires: most reads end long before, and
        # starting and cancelling a DelayedCall for each would cost more than the read.
        self._timer = None
        if self._waiter is None or self._deadline is None:
            return
        left = self._deadline - self.clock.seconds()
        if left > 0:
            self._timer = self.clock.callLater(left, self._timerFired)
        else:
            # Also if the session was told of a shutdown: it still waits, for a peer that is silent.
            self._ending = SessionEnded(SessionEnded.TIMEOUT)
            self._fire()

    # --- the session's side: output ------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """
        Send octets. They leave when the session next waits, or when much has gathered.
        """
        if self._closed or not data:
            return
        self._output.append(data)
        self._pending += len(data)
        if self._pending >= self._window:
            self.flush()

    def flush(self) -> None:
        """
        Send now what was written.
        """
        if self._output:
            data = self._output[0] if len(self._output) == 1 else b"".join(self._output)
            self._output = []
            self._pending = 0
            if self._deflater is not None:
                data = self._deflater.compress(data) + self._deflater.flush(zlib.Z_SYNC_FLUSH)
            self.bytesOut += len(data)
            self._unwaited += len(data)
            self.wire.send(data)

    async def drain(self) -> None:
        """
        After much was written: wait until the peer has taken enough of it that memory stays
        bounded.

        @raise ConnectionClosed: if the peer is gone.
        @raise SessionEnded: if it takes nothing for as long as C{timeout}.
        """
        self.flush()
        self._startRead()
        while self._blocked and not self._closed:
            # Also one from an earlier wait: a peer that took its time isn't given it twice.
            if self._ending is not None and self._ending.reason == SessionEnded.TIMEOUT:
                raise self._ending
            await self._suspend()
        if self._closed:
            raise ConnectionClosed()

    def startTLS(self) -> None:
        """
        Send what was written, then begin TLS.

        @raise PlaintextInjected: if the peer sent anything behind its STARTTLS. The caller drops
            the connection.
        """
        if self.buffered:
            raise PlaintextInjected()
        self.flush()
        self._info = None
        self.wire.startTLS()

    @property
    def compressed(self) -> bool:
        """Whether both directions are compressed."""
        return self._inflater is not None

    def startCompression(self) -> None:
        """
        Send what was written, then compress both directions with DEFLATE (RFC 4978).

        @raise PlaintextInjected: if the peer sent anything behind its command. The caller drops
            the connection.
        """
        if self.buffered:
            raise PlaintextInjected()
        self.flush()
        self._deflater = zlib.compressobj(
            zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, WINDOW_BITS, MEMORY_LEVEL
        )
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)

    def stopCompression(self) -> None:
        """
        Send what was written, as the end of what is compressed. What the peer sent behind the flush
        or the end of its own stream isn't compressed any more.

        @raise PlaintextInjected: if there is compressed input left that wasn't read.
        """
        if self._inflater is None or self._deflater is None:
            return
        if self.buffered or self._tail is not None:
            raise PlaintextInjected()
        if not self._closed:
            data = self._deflater.compress(b"".join(self._output)) + self._deflater.flush()
            self._output = []
            self._pending = 0
            self.bytesOut += len(data)
            self.wire.send(data)
        rest = self._inflater.unused_data + self._packed[self._packedAt :]
        if not self._inflater.eof:
            rest = rest.removeprefix(_END)
        self._buffer, self._at = rest, 0
        self._packed, self._packedAt = b"", 0
        self._deflater = self._inflater = None

    def close(self) -> None:
        """
        Send what was written and close the connection. What the peer still sends is dropped.
        """
        self.flush()
        self._losing = True
        self._buffer = b""
        self._at = 0
        self.wire.lose()
