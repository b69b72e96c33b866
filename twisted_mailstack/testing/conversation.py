# -*- test-case-name: tests.testing.test_conversation -*-
"""
Runs a session against a written conversation, in memory and without a clock that moves by itself.

A test reads like an RFC's example::

    self.converse(session, '''
        S: 220 mx.example.test ESMTP
        C: NOOP
        S: 250 2.0.0 OK
    ''')

C{C:} lines are sent with CRLF, C{S:} lines are what must come back, in order and completely, each
ended by CRLF. A difference fails the test as a diff of the conversation.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable
from textwrap import dedent

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from twisted_mailstack.errors import ConnectionClosed, SessionEnded
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.wire.stream import Stream


class FakeWire:
    """
    The wire of a L{Stream} in memory.

    @ivar sent: all octets sent and not yet taken by L{take}.
    @ivar lost: whether the session closed the connection.
    @ivar paused: whether the stream wants no input now.
    @ivar window: as the stream set it; 0: it didn't.
    @ivar secure: whether TLS was started (or was on from the beginning).
    """

    def __init__(
        self, service: str = "test", secure: bool = False, peer: str = "192.0.2.1"
    ) -> None:
        self.sent = b""
        self.lost = False
        self.paused = False
        self.window = 0
        self.secure = secure
        self.service = service
        self.peer = peer

    def send(self, data: bytes) -> None:
        """See IWire."""
        self.sent += data

    def setPaused(self, paused: bool) -> None:
        """See IWire."""
        self.paused = paused

    def setWindow(self, octets: int) -> None:
        """See IWire."""
        self.window = octets

    def startTLS(self) -> None:
        """See IWire."""
        self.secure = True

    def lose(self) -> None:
        """See IWire."""
        self.lost = True

    def describe(self) -> ConnectionInfo:
        """See IWire."""
        version = "TLSv1.3" if self.secure else None
        cipher = "TLS_AES_256_GCM_SHA384" if self.secure else None
        return ConnectionInfo(self.peer, 50000, self.service, self.secure, version, cipher)

    def take(self) -> bytes:
        """
        @return: what was sent since the last call.
        """
        sent, self.sent = self.sent, b""
        return sent


class Conversation:
    """
    One session on a L{FakeWire}.

    @ivar finished: the session has returned; C{failure} is what it raised, if it was not the end
        of the connection.
    """

    def __init__(
        self,
        serve: Callable[[Stream], Awaitable[None]],
        *,
        wire: FakeWire | None = None,
        clock: Clock | None = None,
        timeout: float | None = None,
    ) -> None:
        self.wire = wire or FakeWire()
        self.clock = clock or Clock()
        self.stream = Stream(self.wire, self.clock, timeout)
        self.finished = False
        self.failure: Failure | None = None

        async def run() -> None:
            await serve(self.stream)

        def over(result: object) -> None:
            self.finished = True
            self.stream.flush()
            if isinstance(result, Failure) and not result.check(ConnectionClosed, SessionEnded):
                self.failure = result

        self.result: Deferred[None] = ensureDeferred(run()).addBoth(over)

    def send(self, data: bytes) -> bytes:
        """
        @param data: octets from the client, in one piece.
        @return: what the session sent until it waited again.
        """
        self.stream.received(data)
        self.settle()
        return self.wire.take()

    def settle(self) -> None:
        """
        Let what was put off by C{breathe} run. A test whose parts do work in threads replaces it.
        """
        self.clock.advance(0)

    def disconnect(self) -> None:
        """
        The client goes away.
        """
        self.stream.lost()
        self.settle()

    def check(self, script: str) -> None:
        """
        Hold the conversation to a script.

        @raise AssertionError: with a diff, where they part.
        """
        expected = []
        actual = []
        pending = self.wire.take()
        lines = [line for line in dedent(script).strip("\n").split("\n") if line.strip()]
        for line in [*lines, ""]:
            side, _, text = line.partition(": ")
            if side in ("C", "C:", ""):
                # The server's lines up to here are due.
                actual += _serverLines(pending)
                pending = b""
                if side:
                    expected.append(line)
                    actual.append(line)
                    pending = self.send(text.encode("utf-8") + b"\r\n")
            elif side in ("S", "S:"):
                expected.append(line if text else "S:")
            else:
                raise ValueError(f"neither C: nor S: {line!r}")
        if self.failure is not None:
            self.failure.raiseException()
        if expected != actual:
            raise AssertionError(
                "the conversation differs (- expected, + actual)\n"
                + "\n".join(difflib.ndiff(expected, actual))
            )


def _serverLines(sent: bytes) -> list[str]:
    # As a script has them: an empty line is "S:", a last line without its end says so.
    lines = [line.decode("utf-8", "backslashreplace") for line in sent.split(b"\r\n")]
    last = lines.pop()
    if last:
        lines.append(f"{last} (and no CRLF)")
    return [f"S: {line}" if line else "S:" for line in lines]
