"""
C{twistd mailstack} with several workers: whichever of them a client meets, it is one server.
"""

from __future__ import annotations

import imaplib
import os
import poplib
import re
import signal
import smtplib
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.client import MailboxModel
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


class WorkersTestCase(SynchronousTestCase):
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


class WorkersTests(WorkersTestCase):
    """
    What they do together.
    """

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


class Client:
    """
    An IMAP client that believes what it is told, see L{MailboxModel}.
    """

    def __init__(self, session: imaplib.IMAP4) -> None:
        self._session = session
        self.model = MailboxModel()

    def ask(self, command: str) -> bytes:
        """
        @return: the tagged response, without its tag.
        """
        self._session.send(f"x {command}\r\n".encode())
        data = line = b""
        while not line.startswith(b"x "):
            line = self._session.readline()
            data += line
            size = re.search(rb"\{(\d+)\}\r\n\Z", line)
            if size is not None:
                data += self._session.read(int(size.group(1)))
        words = command.split()
        name = " ".join(words[:2]) if words[0] == "UID" else words[0]
        return self.model.read(data, name.encode(), b"x")

    def anything(self, random: Random) -> None:
        """
        Do what clients do.
        """
        number = random.randint(1, max(1, len(self.model.messages)))
        flag = random.choice(["\\Seen", "\\Deleted", "\\Deleted", "a", "b"])
        command = random.choice(
            [
                "APPEND INBOX {5+}\r\nHello",
                f"STORE {number}:* +FLAGS ({flag})",
                f"STORE {number} -FLAGS.SILENT ({flag})",
                f"UID COPY 1:{number} INBOX",
                f"UID MOVE {number}:{number + 2} INBOX",
                f"FETCH {number} (UID FLAGS)",
                "UID SEARCH UNDELETED",
                "EXPUNGE",
                "NOOP",
            ]
        )
        if not self.model.messages and command.startswith(("STORE", "FETCH")):
            # The client knows what it does: it names no message that isn't there.
            command = "NOOP"
        if ".SILENT" in command:
            # What it isn't told it doesn't know.
            self.model.messages[number - 1].flags = None
        tagged = self.ask(command)
        assert tagged.startswith((b"OK ", b"NO ")), (command, tagged)

    def agrees(self, stored: Mapping[int | None, frozenset[str] | None]) -> bool:
        """
        @return: whether what it was told is what is stored.
        """
        assert self.ask("NOOP").startswith(b"OK ")
        return len(self.model.messages) == len(stored) and all(
            known.uid in (None, uid)
            and (known.flags is None or known.flags - {"\\Recent"} == flags)
            for known, (uid, flags) in zip(self.model.messages, stored.items(), strict=True)
        )


class AgreementTests(WorkersTestCase):
    """
    Sessions of several workers on one mailbox, all at once.
    """

    def test_agree(self) -> None:
        """
        Whatever they do, each is told what the others did, in an order that makes sense; in the
        end all know the same.
        """
        seed = int(time.time())
        clients = [Client(self.imap(pid)) for pid in self.serving() for _ in range(2)]
        for each in clients:
            each.ask("SELECT INBOX")

        def work(number: int) -> None:
            random = Random(f"{seed} {number}")
            for _ in range(100):
                clients[number].anything(random)

        with ThreadPoolExecutor(len(clients)) as threads:
            try:
                list(threads.map(work, range(len(clients))))
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {error}") from error
        fresh = Client(self.imap(self.serving()[0]))
        fresh.ask("SELECT INBOX")
        fresh.ask("FETCH 1:* (UID FLAGS)")
        stored = fresh.model.flagsByUID()
        self.assertTrue(stored, f"seed {seed}")
        for each in clients:
            # What another worker did it hears of a moment later.
            self.eventually(f"agreement, seed {seed}", lambda each=each: each.agrees(stored))
            each.ask("FETCH 1:* (UID FLAGS)")
            self.assertEqual(each.model.flagsByUID(), stored, f"seed {seed}")
        self.assertIn("No damage found.", self.server.tool("check"))


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
