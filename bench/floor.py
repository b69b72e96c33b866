"""
The two numbers that the design is held to (docs/performance.rst).

    python -m bench.floor [--messages 5000] [--mailbox 20000]

Deliveries: Debian's ``smtp-source`` (package postfix) sends 5 KB messages over 20 connections to 20
accounts; counted is the time until the last one is acknowledged, so durable, and seen by IMAP
STATUS. FETCH (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE) of a mailbox of 20,000, first after a
restart of the server and then again, by a client that only reads.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.interop.harness import DOMAIN, PASSWORD, Server, looseTLS, needs

CONNECTIONS = 20
SIZE = 5000


def memory(pid: int) -> tuple[int, int]:
    """
    @return: resident memory of a process now and at its highest, in KiB.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(values["VmRSS"].split()[0]), int(values["VmHWM"].split()[0])


def cpu(pid: int) -> float:
    """
    @return: seconds of CPU that a process has used.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


class Raw:
    """
    An IMAP client that costs next to nothing.
    """

    def __init__(self, server: Server, account: str) -> None:
        plain = socket.create_connection(("127.0.0.1", server.ports["imaps"]), 60)
        self.socket = looseTLS().wrap_socket(plain)
        self.socket.recv(4096)
        self.ask(b'LOGIN "%b" "%b"' % (account.encode(), PASSWORD.encode()))

    def ask(self, command: bytes) -> bytes:
        """
        @return: all that came back, the tagged line last.
        """
        self.socket.sendall(b"x " + command + b"\r\n")
        parts: list[bytes] = []
        tail = b""
        while True:
            data = self.socket.recv(1 << 18)
            if not data:
                raise ConnectionError(tail)
            parts.append(data)
            tail = (tail + data)[-4000:]
            last = tail.rstrip(b"\r\n").rpartition(b"\r\n")[2]
            if tail.endswith(b"\r\n") and last.startswith(b"x "):
                if not last.startswith(b"x OK"):
                    raise AssertionError(last)
                return b"".join(parts)


def smtpSource(server: Server, recipient: str, count: int, numbered: int, reuse: bool) -> float:
    """
    @return: seconds that Debian's smtp-source took.
    """
    command = ["smtp-source", "-s", str(CONNECTIONS), "-m", str(count), "-l", str(SIZE)]
    command += ["-f", "load@elsewhere.test", "-t", recipient]
    if numbered:
        command += ["-N"]
    if reuse:
        command += ["-d"]
    command += [f"127.0.0.1:{server.ports['smtp']}"]
    started = time.monotonic()
    subprocess.run(command, check=True, timeout=600)
    return time.monotonic() - started


def deliveries(count: int) -> None:
    """
    Print messages a second, new connections and kept ones.
    """
    server = Server()
    try:
        server.start()
        assert server.process is not None
        pid = server.process.pid
        accounts = [f"user{number}@{DOMAIN}" for number in range(20)]
        server.addAccounts(*accounts)
        for reuse in (False, True, False, True):
            before = sum(messages(server, account) for account in accounts)
            usedBefore, memoryBefore = cpu(pid), memory(pid)[0]
            started = time.monotonic()
            # Twenty senders of one connection each, an account each: smtp-source itself sends to
            # one recipient.
            senders = [
                subprocess.Popen(
                    [
                        *("smtp-source", "-s", "1", "-m", str(count // 20), "-l", str(SIZE)),
                        *("-f", "load@elsewhere.test", "-t", account, *(["-d"] if reuse else [])),
                        f"127.0.0.1:{server.ports['smtp']}",
                    ]
                )
                for account in accounts
            ]
            if any(sender.wait(600) for sender in senders):
                raise AssertionError("smtp-source failed")
            took = time.monotonic() - started
            used = cpu(pid) - usedBefore
            after = sum(messages(server, account) for account in accounts)
            if after - before != count // 20 * 20:
                raise AssertionError(f"{after - before} of {count} are visible")
            now, highest = memory(pid)
            print(
                f"{'kept' if reuse else 'new '} connections: {count / took:7.0f} messages/s,"
                f" {used / count * 1e6:5.0f} µs CPU each,"
                f" memory {memoryBefore // 1024} -> {now // 1024} MiB (highest {highest // 1024})",
                flush=True,
            )
    finally:
        server.close()


def messages(server: Server, account: str) -> int:
    """
    @return: what STATUS says of INBOX.
    """
    raw = Raw(server, account)
    reply = raw.ask(b"STATUS INBOX (MESSAGES)")
    raw.socket.close()
    return int(reply.partition(b"(MESSAGES ")[2].partition(b")")[0])


def fetches(count: int) -> None:
    """
    Print messages a second of a FETCH, after a restart and then.
    """
    server = Server()
    try:
        server.start()
        account = f"reader@{DOMAIN}"
        server.addAccounts(account)
        smtpSource(server, account, count, 0, True)
        server.stop()
        server.start()
        for what in ("first after restart", "second", "third"):
            raw = Raw(server, account)
            raw.ask(b"SELECT INBOX")
            started = time.monotonic()
            reply = raw.ask(b"FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)")
            took = time.monotonic() - started
            if reply.count(b" FETCH (") != count:
                raise AssertionError(reply.count(b" FETCH ("))
            print(f"FETCH of {count}, {what:19}: {count / took:8.0f} messages/s", flush=True)
            raw.socket.close()
    finally:
        server.close()


def main() -> int:
    """The command."""
    needs("smtp-source")
    options = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    options.add_argument("--messages", type=int, default=5000)
    options.add_argument("--mailbox", type=int, default=20000)
    given = options.parse_args()
    deliveries(given.messages)
    fetches(given.mailbox)
    return 0


if __name__ == "__main__":
    sys.exit(main())
