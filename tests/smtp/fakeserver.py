"""
An SMTP server that says what a test tells it to, for tests of the client; in memory, on a clock
that stands still.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from twisted_mailstack.model.address import Address
from twisted_mailstack.model.queue import AttemptResult
from twisted_mailstack.model.records import Recipient
from twisted_mailstack.smtp.clientsession import (
    BytesContent,
    ClientTimeouts,
    OutgoingMessage,
    Readable,
    SMTPClientSession,
)
from twisted_mailstack.smtp.extension import Extension
from twisted_mailstack.testing.conversation import FakeWire
from twisted_mailstack.wire.stream import Stream

#: What an answer may be besides a reply: the connection is closed, or nothing comes, nor behind it;
#: likewise behind a reply that isn't whole.
DROP = None
SILENCE = b""

#: Given the step and its number among those of its kind, from 0 on, the reply. Steps are C{RSET},
#: C{MAIL}, C{RCPT}, C{DATA}, C{BDAT} (a chunk that isn't the last) and C{END} (of the text, also by
#: C{BDAT LAST}; with LMTP once for each recipient).
Answer = Callable[[str, int], "bytes | None"]
TEXT = b"Subject: x\r\n\r\ntext\r\n"
OK = {
    "RSET": b"250 2.0.0 OK\r\n",
    "MAIL": b"250 2.1.0 OK\r\n",
    "RCPT": b"250 2.1.5 OK\r\n",
    "DATA": b"354 Go\r\n",
    "BDAT": b"250 2.0.0 Go on\r\n",
    "END": b"250 2.0.0 Taken\r\n",
    "EHLO": b"250-far.test\r\n250 SIZE\r\n",
    "QUIT": b"221 2.0.0 Bye\r\n",
}


def answers(script: Mapping[str, bytes | Sequence[bytes | None] | None]) -> Answer:
    """
    @param script: replies by step; a sequence has one for each, the last for all further ones.
    """

    def answer(step: str, number: int) -> bytes | None:
        found = script.get(step, OK.get(step, b"250 OK\r\n"))
        if found is None or isinstance(found, bytes):
            return found
        return found[min(number, len(found) - 1)]

    return answer


class FakeServer:
    """
    The server's side of one connection.

    @ivar commands: lines that were commands, in order.
    @ivar delivered: C{(address, text)} of what it took, once it has said so.
    @ivar said: by address, the last reply that was about that recipient.
    @ivar mailReply: the last one to MAIL; C{mailReplies}: all.
    @ivar gone: it closes the connection.
    @ivar odd: what a client must never do, if it did.
    """

    def __init__(self, answer: Answer, lmtp: bool = False, careless: bool = False) -> None:
        """
        @param careless: it replies to RCPT and DATA as always also if it refused MAIL.
        """
        self.answer = answer
        self.careless = careless
        self.lmtp = lmtp
        self.commands: list[str] = []
        self.delivered: list[tuple[str, bytes]] = []
        self.said: dict[str, bytes] = {}
        self.gone = False
        self._mute = False
        self.odd: list[str] = []
        self._counts: dict[str, int] = {}
        self._buffer = b""
        self._output = b""
        self._reset()
        self._awaited = 0
        self._last = False
        self.mailReply: bytes | None = None
        self.mailReplies: list[bytes | None] = []

    def _reset(self) -> None:
        self._begun = False
        self._failed = False
        self._named: list[str] = []
        self._accepted: list[str] = []
        self._data: bytes | None = None
        self._chunks = b""

    def take(self) -> bytes:
        """
        @return: what it says.
        """
        output, self._output = self._output, b""
        return output

    def received(self, data: bytes) -> None:
        """Octets of the client."""
        self._buffer += data
        while not self.gone and self._step():
            pass

    def _say(self, step: str, about: Iterable[str] = ()) -> int:
        number = self._counts.get(step, 0)
        self._counts[step] = number + 1
        reply = self.answer(step, number)
        if reply is None:
            self.gone = True
            return 0
        if self.gone or self._mute:
            return 0
        self._put(reply)
        for address in about:
            self.said[address] = reply
        if reply[:3] == b"421":
            self.gone = True
        return reply[0] - 0x30 if reply[:1] in (b"2", b"3", b"4", b"5") else 0

    def _put(self, reply: bytes) -> None:
        if not self._mute:
            self._output += reply
            self._mute = not reply.endswith(b"\n")

    def _step(self) -> bool:
        if self._awaited:
            part = self._buffer[: self._awaited]
            self._buffer = self._buffer[len(part) :]
            self._awaited -= len(part)
            self._chunks += part
            if self._awaited:
                return False
            self._chunkEnded()
            return True
        if self._data is not None:
            data = self._data + self._buffer
            end = b".\r\n" if data.startswith(b".\r\n") else b"\r\n.\r\n"
            text, found, rest = data.partition(end)
            if not found:
                self._data, self._buffer = data, b""
                return False
            self._buffer = rest
            self._ended((b"\r\n" + text + b"\r\n" if text else b"").replace(b"\r\n.", b"\r\n")[2:])
            return True
        line, found, rest = self._buffer.partition(b"\r\n")
        if not found:
            return False
        self._buffer = rest
        self._command(line.decode("utf-8"))
        return True

    def _command(self, line: str) -> None:
        self.commands.append(line)
        verb = line.replace(":", " ").partition(" ")[0].upper()
        if verb in ("EHLO", "LHLO", "HELO", "RSET"):
            if self._say("RSET" if verb == "RSET" else "EHLO") == 2:
                self._reset()
        elif verb == "MAIL":
            if self._begun:
                self.odd.append("MAIL within a transaction")
            self.mailReply = self.answer("MAIL", self._counts.get("MAIL", 0))
            self.mailReplies.append(self.mailReply)
            self._begun = self._say("MAIL") == 2
        elif verb == "RCPT":
            address = line.partition("<")[2].partition(">")[0]
            if not self._begun and not self.careless:
                self._put(b"503 5.5.1 MAIL first\r\n")
                self.said[address] = self.mailReply or b""
                return
            code = self._say("RCPT", [address] if self._begun else ())
            if not self._begun and self.mailReply is not None:
                self.said[address] = self.mailReply
            if code == 2 and self._begun:
                self._accepted.append(address)
        elif verb == "DATA" and not self._begun and not self.careless:
            self._put(b"503 5.5.1 MAIL first\r\n")
        elif verb == "DATA":
            if self._say("DATA", self._accepted) == 3:
                self._data = b""
        elif verb == "BDAT":
            _, size, *last = line.split(" ")
            self._awaited, self._last = int(size), bool(last)
            if not self._accepted:
                self.odd.append("BDAT for nobody")
            if not self._awaited:
                self._chunkEnded()
        else:
            self._say(verb)

    def _chunkEnded(self) -> None:
        if self._last:
            self._ended(self._chunks)
        elif self._failed:
            self._put(b"503 5.5.1 It failed\r\n")
        elif self._say("BDAT", self._accepted) not in (0, 2):
            self._failed = True

    def _ended(self, text: bytes) -> None:
        accepted = self._accepted
        if self._failed:
            self._put(b"503 5.5.1 It failed\r\n" * (len(accepted) if self.lmtp else 1))
        elif self.lmtp:
            for address in accepted:
                if self._say("END", [address]) == 2:
                    self.delivered.append((address, text))
        elif self._say("END", accepted) == 2:
            self.delivered += [(address, text) for address in accepted]
        self._reset()


class Wire(FakeWire):
    """
    A wire on which the client has to wait while much is under way.
    """

    def __init__(self, stream: Callable[[], Stream], room: int) -> None:
        super().__init__("relay", True)
        self._stream = stream
        self._room = room
        self.blocked = False

    def send(self, data: bytes) -> None:
        """See IWire."""
        super().send(data)
        if len(self.sent) > self._room and not self.blocked:
            self.blocked = True
            self._stream().setBlocked(True)

    def unblock(self) -> None:
        """There is room again."""
        self.blocked = False
        self._stream().setBlocked(False)


def whole(data: bytes) -> Iterable[bytes]:
    """
    @return: octets in one piece.
    """
    return (data,)


def singly(data: bytes) -> Iterable[bytes]:
    """
    @return: octets one by one.
    """
    return (bytes((octet,)) for octet in data)


class Dialogue:
    """
    A client and a server that talk.

    @ivar sent: all that the client sent; C{heard}: how many octets it heard.
    """

    def __init__(
        self,
        script: Mapping[str, bytes | Sequence[bytes | None] | None] | Answer | None = None,
        *,
        offered: Sequence[str] = ("PIPELINING",),
        lmtp: bool = False,
        careless: bool = False,
        extensions: Sequence[Extension] = (),
        pieces: Callable[[bytes], Iterable[bytes]] = whole,
        hears: int | None = None,
        takes: int | None = None,
        room: int = 64 * 1024,
        timeouts: ClientTimeouts | None = None,
    ) -> None:
        """
        @param pieces: how what the server says is cut.
        @param hears: the connection is lost when the client has heard so many octets more than the
            reply to EHLO; C{takes}: when the server has got so many behind that command.
        """
        answer = script if callable(script) else answers(script or {})
        self.clock = Clock()
        self.wire = Wire(lambda: self.stream, room)
        self.stream = Stream(self.wire, self.clock)
        self.session = SMTPClientSession(
            self.stream,
            "client.test",
            remote="far",
            lmtp=lmtp,
            extensions=extensions,
            timeouts=timeouts,
        )
        self.server = FakeServer(answer, lmtp, careless)
        self.sent = b""
        self.heard = 0
        self._pieces = pieces
        self._hears = self._takes = None
        saying = Deferred.fromCoroutine(self.session.hello())
        self.stream.flush()
        self.wire.take()
        lines = "".join(f"250-{line}\r\n" for line in ("far.test", *offered))
        self.stream.received(lines.encode() + b"250 HELP\r\n")
        assert saying.called
        self._hears, self._takes = hears, takes

    def pump(self) -> None:
        """
        Let both talk until both wait.
        """
        for _ in range(100_000):
            moved = False
            self.stream.flush()
            data = self.wire.take()
            if self._takes is not None and self._takes < len(self.sent) + len(data):
                data = data[: self._takes - len(self.sent)]
                self.sent += data
                self.server.received(data)
                self.hear(self.server.take())
                self.lose()
                return
            if data:
                moved = True
                self.sent += data
                self.server.received(data)
            self.hear(said := self.server.take())
            moved = moved or bool(said)
            if self.server.gone or self.wire.lost:
                self.lose()
                return
            if self.wire.blocked:
                self.wire.unblock()
                moved = True
            if not moved:
                return
        raise AssertionError("they never stop")

    def hear(self, said: bytes) -> None:
        """
        The client gets this.
        """
        for piece in self._pieces(said):
            if self._hears is not None and self.heard + len(piece) > self._hears:
                self.stream.received(piece[: self._hears - self.heard])
                self.lose()
                return
            self.heard += len(piece)
            if piece and not self.stream.closed:
                self.stream.received(piece)

    def lose(self) -> None:
        """
        The connection is lost.
        """
        self.server.gone = True
        self.stream.lost()

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """
        @return: what becomes of what the client does; timeouts pass where nothing else happens.
        """

        async def wait() -> Any:
            return await awaitable

        found: list[Any] = []
        Deferred.fromCoroutine(wait()).addBoth(found.append)
        self.pump()
        for _ in range(10):
            if found:
                break
            self.clock.advance(1000)
            self.pump()
        if not found:
            raise AssertionError("it waits for ever")
        if isinstance(found[0], Failure):
            found[0].raiseException()
        return found[0]

    def send(
        self,
        *recipients: str,
        content: bytes | Readable = TEXT,
        reversePath: str | None = "me@example.test",
        parameters: Mapping[str, str | None] | None = None,
    ) -> list[AttemptResult]:
        """
        @return: what became of a message.
        """
        if isinstance(content, bytes):
            content = BytesContent(content)
        message = OutgoingMessage(
            None if reversePath is None else Address.parse(reversePath),
            [Recipient(Address.parse(address), {}) for address in recipients or ("a@far.test",)],
            content,
            parameters or {},
        )
        results: list[AttemptResult] = self.run(self.session.send(message))
        return results
