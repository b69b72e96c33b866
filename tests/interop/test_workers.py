"""
C{twistd mailstack} with several workers: whichever of them a client meets, it is one server.
"""

from __future__ import annotations

import imaplib
import os
import poplib
import signal
import smtplib
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.harness import ALICE, PASSWORD, Server, looseTLS

COUNT = 3
CONFIG = f"""
workers = {COUNT}

[auth]
exempt-networks = []
ipv4-prefix = 32
network-failures = 2
"""
MESSAGE = b"From: bob@far.test\r\nSubject: hello\r\n\r\nHello.\r\n"


class WorkersTests(SynchronousTestCase):
    """
    A server with three workers.
    """

    def setUp(self) -> None:
        """Start it."""
        self.server = Server(config=CONFIG)
        self.socket = self.server.work / "lmtp.socket"
        self.server.arguments += ["--listen", f"lmtp=unix:{self.socket}:mode=600"]
        self.addCleanup(self.server.close)
        self.server.start()
        self.server.addAccounts(ALICE)
        self.eventually("all workers", lambda: len(self.serving()) == COUNT)

    def eventually(self, what: str, test: Callable[[], object]) -> None:
        """Processes take their time."""
        deadline = time.monotonic() + 60
        while not test():
            self.assertLess(
                time.monotonic(), deadline, f"waited in vain: {what}\n{self.server.output()}"
            )
            time.sleep(0.05)

    def children(self) -> list[int]:
        """
        @return: the workers' process ids.
        """
        assert self.server.process is not None
        pid = self.server.process.pid
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def serving(self) -> list[int]:
        """
        @return: those of them that have the store open.
        """
        return [each for each in self.children() if self.hasStore(each)]

    @staticmethod
    def hasStore(pid: int) -> bool:
        """Whether a process has the database open."""
        try:
            files = [os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            # It ends, or a file was closed.
            return False
        return any(each.endswith("mail.sqlite3-shm") for each in files)

    @contextmanager
    def only(self, pid: int) -> Iterator[None]:
        """
        Meanwhile no other worker takes a connection.
        """
        others = [each for each in self.children() if each != pid]
        for each in others:
            os.kill(each, signal.SIGSTOP)
        try:
            yield
        finally:
            for each in others:
                os.kill(each, signal.SIGCONT)

    def imap(self, pid: int, password: str = PASSWORD) -> imaplib.IMAP4:
        """
        @return: a session in one worker, with the INBOX selected.
        """
        with self.only(pid):
            client = imaplib.IMAP4_SSL(
                "127.0.0.1", self.server.ports["imaps"], ssl_context=looseTLS(), timeout=60
            )
        self.addCleanup(client.shutdown)
        client.login(ALICE, password)
        client.select()
        return client

    def pop3(self, pid: int) -> poplib.POP3:
        """
        @return: a session in one worker, before the login.
        """
        with self.only(pid):
            client = poplib.POP3_SSL(
                "127.0.0.1", self.server.ports["pop3s"], context=looseTLS(), timeout=60
            )
        self.addCleanup(client.close)
        return client

    def deliver(self, pid: int) -> None:
        """
        A message comes by one worker.
        """
        with self.only(pid):
            client = smtplib.LMTP(str(self.socket))
        with client:
            self.assertEqual(client.sendmail("bob@far.test", [ALICE], MESSAGE), {})

    def test_told(self) -> None:
        """
        Who waits in one worker is told of what happens in another; the socket in the file system
        is what it was made to be.
        """
        first, second, third = self.serving()
        client = self.imap(first)
        client.send(b"x IDLE\r\n")
        while not client.readline().startswith(b"+"):
            pass
        self.deliver(second)
        self.assertEqual(client.readline(), b"* 1 EXISTS\r\n")
        self.assertEqual(client.readline(), b"* 1 RECENT\r\n")
        other = self.imap(third)
        other.store("1", "+FLAGS", r"(\Seen)")
        self.assertIn(b"\\Seen", client.readline())
        self.assertEqual(stat.S_IMODE(self.socket.stat().st_mode), 0o600)

    def test_maildrop(self) -> None:
        """A maildrop that a POP3 session of one worker has is in use in the others."""
        first, second, _ = self.serving()
        client = self.pop3(first)
        client.user(ALICE)
        client.pass_(PASSWORD)
        other = self.pop3(second)
        other.user(ALICE)
        self.assertIn(
            b"IN-USE", self.assertRaises(poplib.error_proto, other.pass_, PASSWORD).args[0]
        )
        client.quit()
        other.user(ALICE)
        other.pass_(PASSWORD)

    def test_guessing(self) -> None:
        """Failures in two workers lock a network out of the third."""
        *two, third = self.serving()
        for number, pid in enumerate(two):
            refused = self.assertRaises(imaplib.IMAP4.error, self.imap, pid, f"wrong{number}")
            self.assertIn("AUTHENTICATIONFAILED", str(refused))
        refused = self.assertRaises(imaplib.IMAP4.error, self.imap, third)
        self.assertIn("Too many failed logins", str(refused))

    def test_killed(self) -> None:
        """
        When a worker is killed, sessions elsewhere don't notice, what was acknowledged is there,
        and another one takes its place; SIGTERM ends them all.
        """
        first, second, _ = self.serving()
        self.deliver(first)
        client = self.imap(second)
        os.kill(first, signal.SIGKILL)
        self.assertEqual(client.search(None, "SUBJECT", "hello"), ("OK", [b"1"]))
        self.eventually(
            "another one", lambda: len(self.serving()) == COUNT and first not in self.children()
        )
        workers = self.serving()
        (fresh,) = {*workers} - {second} - {*self.before(workers)}
        self.deliver(fresh)
        self.assertEqual(self.imap(fresh).search(None, "ALL"), ("OK", [b"1 2"]))
        self.assertEqual(client.noop()[0], "OK")
        self.assertEqual(client.search(None, "ALL"), ("OK", [b"1 2"]))
        self.assertIn("worker ", self.server.output())
        self.assertEqual(self.server.stop(), -signal.SIGTERM)
        self.assertEqual([each for each in workers if self.hasStore(each)], [])
        self.assertFalse(self.socket.exists())

    @staticmethod
    def before(workers: list[int]) -> list[int]:
        """
        @return: those that aren't the youngest.
        """
        started = {
            each: int(Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()[19])
            for each in workers
        }
        return sorted(workers, key=started.__getitem__)[:-1]

    def test_parentKilled(self) -> None:
        """Workers don't outlive their parent: the ports are free for the next one."""
        workers = self.serving()
        self.server.stop(signal.SIGKILL)
        self.eventually("their end", lambda: not any(self.hasStore(each) for each in workers))
        self.socket.unlink(missing_ok=True)
        self.server.start()
        self.eventually("all workers", lambda: len(self.serving()) == COUNT)
        self.deliver(self.serving()[0])


class CannotStartTests(SynchronousTestCase):
    """
    What a worker finds out.
    """

    def test_reason(self) -> None:
        """The parent ends with it, and status 1."""
        server = Server(config='workers = 2\n[tls]\ncertificate = "c.pem"\nkey = "k.pem"\n')
        self.addCleanup(server.close)
        # The ports are bound before that is known.
        server.start()
        assert server.process is not None
        self.assertEqual(server.process.wait(60), 1)
        self.assertIn("mailstack: c.pem: No such file or directory", server.output())
