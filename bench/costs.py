"""
What single things cost the server (docs/performance.rst).

    python -m bench.costs [--connections 500]

CPU time of the server's process for a command, a login, a message; resident memory for a connection
that idles. The client runs beside it, so rates would measure both: CPU time measures the server.
"""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Callable

from bench.floor import Raw, cpu, memory, smtpSource
from tests.interop.harness import DOMAIN, PASSWORD, Server, looseTLS, needs

ACCOUNT = f"cost@{DOMAIN}"
BODY = b"From: a@b.test\r\nSubject: cost\r\nMessage-ID: <%d@b.test>\r\n\r\n" + b"x" * 70 + b"\r\n"
SIZE = 5000
#: Messages of the mailbox in which a session idles.
MESSAGES = 2000


class Line:
    """
    A client that sends lines and waits for as many replies.
    """

    def __init__(self, server: Server, service: str, tls: bool = False) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.ports[service]), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = looseTLS().wrap_socket(self.socket)
        self.wait(1)

    def wait(self, lines: int) -> bytes:
        """
        @return: at least so many lines.
        """
        reply = b""
        while reply.count(b"\n") < lines:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError(reply)
            reply += data
        return reply

    def ask(self, data: bytes, lines: int = 1) -> bytes:
        """
        @return: the replies.
        """
        self.socket.sendall(data)
        return self.wait(lines)


def measure(server: Server, what: str, count: int, work: Callable[[], object]) -> None:
    """
    Print what each of so many things cost the server.
    """
    assert server.process is not None
    work()
    before = cpu(server.process.pid)
    work()
    used = cpu(server.process.pid) - before
    print(f"{what:46} {used / count * 1e6:8.1f} µs CPU", flush=True)


def commands(server: Server) -> None:
    """
    One command at a time, and a hundred at once.
    """
    smtp, imap, pop3 = (
        Line(server, "smtp"),
        Line(server, "imaps", True),
        Line(server, "pop3s", True),
    )
    imap.ask(f'a LOGIN "{ACCOUNT}" "{PASSWORD}"\r\n'.encode())
    reply = imap.ask(b"b SELECT INBOX\r\n")
    while b"\nb OK" not in reply:
        reply += imap.wait(1)
    pop3.ask(f"USER {ACCOUNT}\r\n".encode())
    pop3.ask(f"PASS {PASSWORD}\r\n".encode())
    for name, line, noop in (
        ("SMTP", smtp, b"NOOP\r\n"),
        ("IMAP over TLS", imap, b"x NOOP\r\n"),
        ("POP3 over TLS", pop3, b"NOOP\r\n"),
    ):

        def single(line: Line = line, noop: bytes = noop) -> None:
            for _ in range(5000):
                line.ask(noop)

        def pipelined(line: Line = line, noop: bytes = noop) -> None:
            for _ in range(200):
                line.ask(noop * 100, 100)

        measure(server, f"{name}: NOOP, one at a time", 5000, single)
        measure(server, f"{name}: NOOP, a hundred at once", 20000, pipelined)
        line.socket.close()


def messages(server: Server) -> None:
    """
    A message of 5 KB by one connection that waits for each reply, and by a pipelining one.
    """
    number = iter(range(1_000_000))
    smtp = Line(server, "smtp")
    smtp.ask(b"EHLO bench.test\r\n", 5)

    def text() -> bytes:
        octets = BODY % next(number)
        return octets + (b"x" * 70 + b"\r\n") * ((SIZE - len(octets)) // 72) + b".\r\n"

    def stepwise() -> None:
        for _ in range(500):
            smtp.ask(b"MAIL FROM:<a@b.test>\r\n")
            smtp.ask(b"RCPT TO:<%b>\r\n" % ACCOUNT.encode())
            smtp.ask(b"DATA\r\n")
            assert smtp.ask(text()).startswith(b"250"), "not accepted"

    def pipelined() -> None:
        for _ in range(500):
            smtp.ask(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<%b>\r\nDATA\r\n" % ACCOUNT.encode(), 3)
            assert smtp.ask(text()).startswith(b"250"), "not accepted"

    measure(server, "SMTP: message of 5 KB, one at a time", 500, stepwise)
    measure(server, "SMTP: the same with PIPELINING", 500, pipelined)
    smtp.socket.close()


def logins(server: Server) -> None:
    """
    IMAP connections with TLS handshake and LOGIN.
    """

    def login() -> None:
        for _ in range(50):
            Raw(server, ACCOUNT).socket.close()

    measure(server, "IMAP: TLS handshake, LOGIN (seen a minute ago)", 50, login)


def idle(count: int) -> None:
    """
    Connections that wait. Each kind gets a server of its own: memory that was freed is used again.
    """

    def selected(server: Server) -> socket.socket:
        raw = Raw(server, ACCOUNT)
        raw.ask(b"SELECT INBOX")
        raw.socket.sendall(b"x IDLE\r\n")
        raw.socket.recv(4096)
        return raw.socket

    kinds: tuple[tuple[str, Callable[[Server], socket.socket]], ...] = (
        ("SMTP: a connection that was greeted", lambda server: Line(server, "smtp").socket),
        ("IMAP: greeted", lambda server: Line(server, "imap").socket),
        ("IMAP over TLS: greeted", lambda server: Line(server, "imaps", True).socket),
        (f"IMAP over TLS: a mailbox of {MESSAGES:,} in IDLE", selected),
    )
    for what, make in kinds:
        server = Server()
        try:
            server.start()
            server.addAccounts(ACCOUNT)
            smtpSource(server, ACCOUNT, MESSAGES, 0, True)
            assert server.process is not None
            pid = server.process.pid
            held = [make(server) for _ in range(20)]
            before = memory(pid)[0]
            held += [make(server) for _ in range(count)]
            after = memory(pid)[0]
            print(f"{what:46} {(after - before) / count:8.1f} KiB", flush=True)
            for each in held:
                each.close()
        finally:
            server.close()


def main() -> int:
    """The command."""
    needs("smtp-source")
    options = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    options.add_argument("--connections", type=int, default=500)
    given = options.parse_args()
    server = Server()
    try:
        server.start()
        server.addAccounts(ACCOUNT)
        commands(server)
        messages(server)
        logins(server)
    finally:
        server.close()
    idle(given.connections)
    return 0


if __name__ == "__main__":
    sys.exit(main())
