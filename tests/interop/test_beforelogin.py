"""
What clients that don't log in make a running IMAP server hold.
"""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.interop.harness import Server, looseTLS

#: Clients at a time, of each kind.
CLIENTS = 25
#: Octets that each of them sends, if the server reads so many.
MOST = 300_000
#: "Before login no client can make the server hold more than 64 KB": the session, its streams and
#: what Twisted's transport holds for it.
LIMIT = 64 * 1024
#: What OpenSSL and Twisted's TLS protocol hold for a connection, which isn't ours to bound: two
#: BIOs, buffers for a record in each direction, the keys, and up to 64,000 octets that are written
#: in one turn of the reactor.
TLS = 128 * 1024
#: What each sends again and again, behind its beginning, until the server reads no more of it.
ATTACKS: dict[str, tuple[bytes, bytes]] = {
    "a line without end": (b"a LOGIN ", b"x" * 65536),
    "literals": (b"a LOGIN", b" {4000+}\r\n" + b"x" * 4000),
    "a literal of 60 MB": (b"a LOGIN {60000000+}\r\n", b"x" * 65536),
    "authentication without end": (b"a AUTHENTICATE PLAIN\r\n", b"A" * 65536),
    "commands, answers unread": (b"", b"a CAPABILITY\r\n" * 5000),
    "commands behind a failed login": (b"a LOGIN x y\r\n", b"b NOOP\r\n" * 8000),
    "garbage": (b"", bytes(range(256)) * 256),
}


class MemoryTests(SynchronousTestCase):
    """
    The memory of the server's process grows by so much for each of them.
    """

    def setUp(self) -> None:
        """Start a server."""
        if not Path("/proc/self/smaps_rollup").exists():
            raise SkipTest("memory is read from /proc")
        self.server = Server()
        self.addCleanup(self.server.close)
        self.server.start()

    def memory(self) -> int:
        """
        @return: octets that the server's process has for itself.
        """
        assert self.server.process is not None
        text = Path(f"/proc/{self.server.process.pid}/smaps_rollup").read_text()
        return sum(
            int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Private_")
        )

    def connect(self, secure: bool) -> socket.socket:
        """
        @return: a connection that was greeted.
        """
        client = socket.create_connection(("127.0.0.1", self.server.ports["imap"]), 20)
        # What it doesn't read soon fills this, and then the server.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.recv(4096)
        if secure:
            client.sendall(b"s STARTTLS\r\n")
            client.recv(4096)
            return looseTLS().wrap_socket(client)
        return client

    def flood(self, clients: list[socket.socket], beginning: bytes, more: bytes) -> int:
        """
        Send for as long as the server reads.

        @return: the most memory that the server had meanwhile.
        """
        waiting = dict.fromkeys(clients, beginning + more)
        total = dict.fromkeys(clients, 0)
        for client in clients:
            client.setblocking(False)
        highest = self.memory()
        idle = 0
        deadline = time.monotonic() + 1.5
        while waiting and idle < 3 and time.monotonic() < deadline:
            progress = False
            for client in list(waiting):
                try:
                    sent = client.send(waiting[client])
                except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    continue
                except OSError:
                    del waiting[client]
                    continue
                progress = True
                total[client] += sent
                waiting[client] = waiting[client][sent:] or more
                if total[client] > MOST:
                    del waiting[client]
            highest = max(highest, self.memory())
            if not progress:
                idle += 1
                time.sleep(0.05)
        return max(highest, self.memory())

    def hold(self, secure: bool) -> None:
        """
        Hold all attacks to the limit.
        """
        # What is there once for all of them: for TLS, and where failed logins are looked at.
        warm = [self.connect(True) for _ in range(4)]
        for client in warm:
            client.sendall(b"a LOGIN x y\r\n")
        for client in warm:
            client.recv(4096)
            client.close()
        found: dict[str, int] = {}
        kept: list[socket.socket] = []
        try:
            for name, (beginning, more) in ATTACKS.items():
                before = self.memory()
                clients = [self.connect(secure) for _ in range(CLIENTS)]
                # None goes before the last has come, or it would leave its memory to others.
                kept += clients
                found[name] = (self.flood(clients, beginning, more) - before) // CLIENTS
        finally:
            for client in kept:
                client.close()
        most = LIMIT + TLS * secure
        self.assertEqual({name: size for name, size in found.items() if size > most}, {})
        # Of all together: what one kind found lying about another left there.
        self.assertLess(sum(found.values()), len(found) * most)

    def test_plain(self) -> None:
        """Without TLS."""
        self.hold(False)

    def test_starttls(self) -> None:
        """Behind STARTTLS."""
        self.hold(True)
