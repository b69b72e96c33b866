"""
An SMTP server that does what a script says, connection by connection, and remembers what it heard.
"""

from __future__ import annotations

import socketserver
import ssl
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from socket import AF_INET, AF_INET6, SO_LINGER, SOL_SOCKET
from typing import Any, NamedTuple

#: What a script may say instead of a reply: close without one; and behind the last octet of a
#: message, to which L{KEEP} says that it was taken nevertheless (RFC 5321 §6.1).
DROP = "drop"
KEEP = "keep"
#: Octets of a message that are read before the connection is dropped in its midst.
MIDST = 40_000

#: By stage (C{greeting}, a command's verb, C{text} for the midst of a message, C{end} for its end,
#: C{after} for when that was answered): a reply, L{DROP} or L{KEEP}. For C{RCPT} also a table of
#: replies by address.
Script = Mapping[str, Any]


class Taken(NamedTuple):
    """
    A message that the peer has taken.

    @ivar mail: what stood behind C{MAIL FROM:}.
    @ivar rcpts: what stood behind each C{RCPT TO:} that was accepted.
    @ivar octets: without dot-stuffing.
    @ivar secure: whether it came through TLS.
    """

    mail: str
    rcpts: tuple[str, ...]
    octets: bytes
    secure: bool


class _Dropped(Exception):
    """
    The script says so.
    """


class Peer:
    """
    See the module.

    @ivar address: where it listens.
    @ivar always: what it says whenever its scripts say nothing.
    @ivar taken: messages it has taken, whether it said so or not.
    @ivar heard: the command lines of each connection.
    """

    def __init__(
        self,
        address: str,
        port: int,
        *scripts: Script,
        always: Script | None = None,
        extensions: Sequence[str] = ("PIPELINING", "8BITMIME"),
        name: str = "peer.test",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """
        @param scripts: of the first connection, the second, and so on. Each stage goes wrong once.
        @param always: of those that follow, and whenever; by default they take everything.
        @param extensions: that EHLO tells.
        @param tls: for STARTTLS.
        """
        self.taken: list[Taken] = []
        self.heard: list[list[str]] = []
        self.name = name
        self.extensions = list(extensions) + (["STARTTLS"] if tls is not None else [])
        self.tls = tls
        self.address = address
        self._port = port
        self._scripts = list(scripts)
        self.always = always or {}
        self._lock = threading.Lock()
        self._server: socketserver.BaseServer | None = None
        self.start()

    def start(self) -> None:
        """
        Listen.
        """
        peer = self

        class Connection(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with peer._lock:
                    script = peer._scripts.pop(0) if peer._scripts else {}
                    heard: list[str] = []
                    peer.heard.append(heard)
                _Session(peer, self.request, dict(script), heard).run()

        class Listener(socketserver.ThreadingTCPServer):
            address_family = AF_INET6 if ":" in peer.address else AF_INET
            allow_reuse_address = True
            daemon_threads = True
            request_queue_size = 100

        self._server = Listener((self.address, self._port), Connection)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """
        Take no more connections.
        """
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def attempts(self) -> int:
        """
        How many transactions were begun.
        """
        return sum(line.startswith("MAIL") for heard in self.heard for line in heard)

    @property
    def recipients(self) -> list[str]:
        """
        The addresses of all messages that were taken, without parameters.
        """
        return [rcpt.split(">")[0].strip("<") for each in self.taken for rcpt in each.rcpts]


class _Session:
    """
    One connection.
    """

    def __init__(
        self, peer: Peer, connection: Any, script: dict[str, Any], heard: list[str]
    ) -> None:
        self.peer = peer
        self.script = script
        self.heard = heard
        self.mail = ""
        self.rcpts: list[str] = []
        self._chunks: list[bytes] = []
        self._connection = connection
        self._connection.settimeout(30)
        self._file = connection.makefile("rb")
        self._secure = False
        self._reset()

    def run(self) -> None:
        """
        Until either side ends it.
        """
        try:
            self._play("greeting", f"220 {self.peer.name} ESMTP")
            while True:
                line = self._file.readline()
                if not line:
                    break
                text = line.decode("utf-8").rstrip("\r\n")
                self.heard.append(text)
                verb = text.split(" ")[0].split(":")[0].upper()
                command: Callable[[str], None] | None = getattr(self, f"_{verb}", None)
                if command is None:
                    self._say("500 5.5.1 What?")
                else:
                    command(text)
                if verb == "QUIT":
                    break
        except _Dropped:
            # At once, and with what was sent unread, as a crash does.
            self._connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
        finally:
            self._file.close()
            self._connection.close()

    def _say(self, reply: str) -> None:
        self._connection.sendall(reply.encode("utf-8") + b"\r\n")

    def _play(self, stage: str, reply: str) -> bool:
        """
        @return: whether the reply has the usual code.
        """
        said = self._planned(stage, reply)
        if said in (DROP, KEEP):
            raise _Dropped
        self._say(said)
        return bool(said[:3] == reply[:3])

    def _planned(self, stage: str, reply: str) -> Any:
        return self.script.pop(stage, self.peer.always.get(stage, reply))

    def _reset(self) -> None:
        self.mail = ""
        self.rcpts = []
        self._chunks = []

    # --- commands ------------------------------------------------------------------------------

    def _EHLO(self, text: str) -> None:
        self._reset()
        offers = [each for each in self.peer.extensions if each != "STARTTLS" or not self._secure]
        lines = [self.peer.name, *offers]
        self._play(
            "EHLO",
            "\r\n".join(
                f"250{' ' if number == len(lines) else '-'}{line}"
                for number, line in enumerate(lines, 1)
            ),
        )

    def _HELO(self, text: str) -> None:
        self._reset()
        self._play("HELO", f"250 {self.peer.name}")

    def _STARTTLS(self, text: str) -> None:
        if self._play("STARTTLS", "220 2.0.0 go on"):
            assert self.peer.tls is not None
            self._file.close()
            self._connection = self.peer.tls.wrap_socket(self._connection, server_side=True)
            self._file = self._connection.makefile("rb")
            self._secure = True

    def _MAIL(self, text: str) -> None:
        if self.mail:
            self._say("503 5.5.1 There is one already")
        elif self._play("MAIL", "250 2.1.0 ok"):
            self.mail = text.partition(":")[2]

    def _RCPT(self, text: str) -> None:
        given = text.partition(":")[2]
        said = self._planned("RCPT", "250 2.1.5 ok")
        if isinstance(said, Mapping):
            table = dict(said)
            said = table.pop(given.split(">")[0].strip("<"), "250 2.1.5 ok")
            if table:
                self.script["RCPT"] = table
        if said == DROP:
            raise _Dropped
        if not self.mail:
            said = "503 5.5.1 MAIL first"
        if said.startswith("2"):
            self.rcpts.append(given)
        self._say(said)

    def _DATA(self, text: str) -> None:
        if not self.rcpts:
            self._say("503 5.5.1 RCPT first")
            return
        if not self._play("DATA", "354 go on"):
            return
        received = 0
        lines: list[bytes] = []
        while (line := self._file.readline()) != b".\r\n":
            if not line:
                raise _Dropped
            received += len(line)
            if received >= MIDST and "text" in self.script:
                raise _Dropped
            lines.append(line[1:] if line.startswith(b".") else line)
        self._end(b"".join(lines))

    def _BDAT(self, text: str) -> None:
        _, size, *last = text.split(" ")
        wanted = int(size)
        if "text" in self.script:
            self._file.read(min(wanted, MIDST))
            raise _Dropped
        self._chunks.append(self._file.read(wanted))
        if last:
            self._end(b"".join(self._chunks))
        else:
            self._say("250 2.0.0 ok")

    def _end(self, octets: bytes) -> None:
        said = self._planned("end", "250 2.0.0 taken")
        if said.startswith("2") or said == KEEP:
            taken = Taken(self.mail, tuple(self.rcpts), octets, self._secure)
            with self.peer._lock:
                self.peer.taken.append(taken)
        self._reset()
        if said in (DROP, KEEP):
            raise _Dropped
        self._say(said)
        if self._planned("after", "") == DROP:
            raise _Dropped

    def _RSET(self, text: str) -> None:
        self._reset()
        self._play("RSET", "250 2.0.0 ok")

    def _QUIT(self, text: str) -> None:
        self._play("QUIT", "221 2.0.0 bye")
