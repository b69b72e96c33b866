"""
A mail server that does what a test says, and goes wrong where it says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

#: What may happen instead of a reply: the connection is closed, or nothing comes.
CLOSE = "close"
HANG = "hang"


class Server(Factory):
    """
    @ivar name: what it calls itself.
    @ivar offered: its extensions; C{STARTTLS} is there where it has a certificate.
    @ivar replies: by stage (C{greeting}, a verb, C{message}; with C{tls } in front under TLS): a
        reply, L{CLOSE} or L{HANG}.
    @ivar sessions: those that there were.
    """

    noisy = False

    def __init__(
        self,
        name: str = "mx.example.org",
        certificate: Any = None,
        offered: tuple[str, ...] = ("PIPELINING", "8BITMIME"),
        offeredTLS: tuple[str, ...] = (),
        replies: Mapping[str, str] | None = None,
        implicit: bool = False,
    ) -> None:
        """
        @param offeredTLS: offered under TLS in addition.
        @param implicit: TLS is there from the beginning.
        """
        self.name = name
        self.certificate = certificate
        self.offered = offered
        self.offeredTLS = offeredTLS
        self.replies = dict(replies or {})
        self.implicit = implicit
        self.sessions: list[Session] = []

    def buildProtocol(self, address: Any) -> Session:
        """See IProtocolFactory."""
        session = Session(self)
        self.sessions.append(session)
        return session

    @property
    def messages(self) -> list[bytes]:
        """All that it took."""
        return [message for session in self.sessions for message in session.messages]

    @property
    def secure(self) -> list[bool]:
        """For each session, whether it ended under TLS."""
        return [session.secure for session in self.sessions]


class Session(Protocol):
    """
    One connection.

    @ivar lines: commands, in order.
    @ivar messages: what it took.
    """

    transport: Any

    def __init__(self, server: Server) -> None:
        self.server = server
        self.secure = server.implicit
        self.lines: list[str] = []
        self.messages: list[bytes] = []
        self.lost: Failure | None = None
        self._data: bytes | None = None
        self._chunk = 0
        self._chunks = b""
        self._last = False
        self._begun = False
        self._recipients = 0
        self._buffer = b""
        self._mute = False

    def connectionMade(self) -> None:
        """Greet."""
        self.say("greeting", f"220 {self.server.name} ESMTP")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note it."""
        self.lost = reason

    @property
    def verbs(self) -> list[str]:
        """The verbs of the commands."""
        return [line.partition(" ")[0].partition(":")[0] for line in self.lines]

    def say(self, stage: str, usual: str, then: Callable[[], None] | None = None) -> bool:
        """
        Reply, as the test wants it.

        @param then: done only if the reply is the usual one.
        @return: whether it says yes.
        """
        stage = ("tls " if self.secure and not self.server.implicit else "") + stage
        reply = self.server.replies.get(stage, usual)
        if reply == CLOSE:
            self.transport.loseConnection()
            self._mute = True
        elif reply == HANG:
            self._mute = True
        elif reply:
            self.transport.write(reply.encode("latin-1") + b"\r\n")
            if reply is usual and then is not None:
                then()
        return reply[:1] == "2"

    def dataReceived(self, data: bytes) -> None:
        """Commands, or a message."""
        self._buffer += data
        while not self._mute:
            if self._chunk:
                chunk = self._buffer[: self._chunk]
                self._buffer = self._buffer[len(chunk) :]
                self._chunk -= len(chunk)
                self._chunks += chunk
                if self._chunk:
                    return
                self.endChunk()
            if b"\r\n" not in self._buffer:
                return
            line, _, self._buffer = self._buffer.partition(b"\r\n")
            if self._data is None:
                self.command(line.decode("latin-1"))
            elif line == b".":
                message, self._data = self._data, None
                self.say("message", "250 2.0.0 Taken", partial(self.messages.append, message))
            else:
                self._data += line.removeprefix(b".") + b"\r\n"

    def command(self, line: str) -> None:
        """One command."""
        self.lines.append(line)
        verb = line.partition(" ")[0].upper()
        if verb in ("EHLO", "LHLO"):
            offered = [*self.server.offered]
            if self.secure:
                offered += self.server.offeredTLS
            elif self.server.certificate is not None:
                offered.append("STARTTLS")
            lines = [f"{self.server.name} at your service", *offered]
            marks = ["-"] * (len(lines) - 1) + [" "]
            self.say(
                verb,
                "\r\n".join(f"250{mark}{text}" for mark, text in zip(marks, lines, strict=True)),
            )
        elif verb == "STARTTLS" and self.server.certificate is None:
            self.say(verb, "454 4.7.0 No TLS")
        elif verb == "STARTTLS":
            self.say(verb, "220 Go ahead", self.startTLS)
        elif verb == "MAIL":
            self._begun, self._recipients = self.say(verb, "250 OK"), 0
        elif verb == "RCPT":
            self._recipients += self.say(verb, "250 OK" if self._begun else "503 5.5.1 MAIL first")
        elif verb == "DATA" and not self._recipients:
            self.say(verb, "554 5.5.1 No valid recipients")
        elif verb == "DATA":
            self.say(verb, "354 Go ahead", self.begin)
        elif verb == "BDAT":
            _, size, *last = line.split(" ")
            self._chunk, self._last = int(size), bool(last)
            if not self._chunk:
                self.endChunk()
        elif verb == "QUIT":
            self.say(verb, "221 Bye", self.transport.loseConnection)
        else:
            self.say(verb, "250 OK")

    def startTLS(self) -> None:
        """Begin TLS."""
        self.secure = True
        self.transport.startTLS(self.server.certificate)

    def endChunk(self) -> None:
        """A chunk is whole (RFC 3030)."""
        if self._last:
            message, self._chunks = self._chunks, b""
            self.say("message", "250 2.0.0 Taken", partial(self.messages.append, message))
        else:
            self.say("BDAT", "250 2.0.0 Go on")

    def begin(self) -> None:
        """A message follows."""
        self._data = b""
