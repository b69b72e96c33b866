"""
The example of docs/reading.rst: in memory, and as a program that talks to a real server.
"""

from __future__ import annotations

import smtplib
import subprocess
import sys
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from docs.examples import fetchpop3, mirror
from tests.docs import ROOT
from tests.imap.support import MESSAGE
from tests.imap.support import Server as MemoryServer
from tests.imap.test_client import Pair
from tests.interop.harness import ALICE, PASSWORD, Server, environment
from tests.pop3.support import FIRST, SECOND
from tests.pop3.support import Server as POP3Server
from tests.pop3.test_client import Pair as POP3Pair
from twisted_mailstack.model.flags import FlagOperation


class MirrorTests(SynchronousTestCase):
    """
    docs/examples/mirror.py in memory.
    """

    def test_update(self) -> None:
        """What arrives comes, what is expunged goes, what is there isn't read again."""
        server = MemoryServer()
        server.deliver(MESSAGE)
        server.deliver(b"Subject: two\r\n\r\n\xff")
        pair = Pair(server)
        client = pair.login()
        directory = Path(self.mktemp())
        directory.mkdir()
        state = pair.do(mirror.update(client, "INBOX", directory, None))
        self.assertEqual((directory / "1.eml").read_bytes(), MESSAGE)
        self.assertEqual((directory / "2.eml").read_bytes(), b"Subject: two\r\n\r\n\xff")
        other = Pair(server)
        other.login()
        other.do(other.client.select("INBOX"))
        other.do(other.client.store("1", FlagOperation.ADD, ["\\Deleted"]))
        other.do(other.client.expunge())
        server.deliver(b"Subject: three\r\n\r\n")
        (directory / "2.eml").write_bytes(b"kept")
        state = pair.do(mirror.update(client, "INBOX", directory, state))
        self.assertEqual(sorted(path.name for path in directory.iterdir()), ["2.eml", "3.eml"])
        self.assertEqual((directory / "2.eml").read_bytes(), b"kept")
        pair.do(mirror.update(client, "INBOX", directory, state._replace(uidValidity=99)))
        self.assertEqual((directory / "2.eml").read_bytes(), b"Subject: two\r\n\r\n\xff")

    def test_program(self) -> None:
        """As a program it follows an account of twistd mailstack, whose certificate it trusts."""
        server = Server()
        self.addCleanup(server.close)
        server.start()
        server.addAccounts(ALICE)
        directory = server.work / "copy"
        directory.mkdir()
        where = f"localhost:{server.ports['imaps']}"
        with subprocess.Popen(
            [sys.executable, "-m", "docs.examples.mirror", where, "INBOX", str(directory)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={
                **environment(),
                "SSL_CERT_FILE": str(server.data / "self-signed.pem"),
                "MAIL_USER": ALICE,
                "MAIL_PASSWORD": PASSWORD,
            },
        ) as program:
            self.addCleanup(program.kill)
            assert program.stdout is not None
            self.assertEqual(program.stdout.readline(), "0 messages\n")
            with smtplib.SMTP("127.0.0.1", server.ports["smtp"]) as client:
                client.sendmail("x@elsewhere.test", [ALICE], b"Subject: new\r\n\r\nhello\r\n")
            self.assertEqual(program.stdout.readline(), "1 messages\n")
            deadline = time.monotonic() + 10
            while not (path := directory / "1.eml").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            self.assertTrue(path.read_bytes().endswith(b"Subject: new\r\n\r\nhello\r\n"))
            program.kill()


class FetchPOP3Tests(SynchronousTestCase):
    """
    docs/examples/fetchpop3.py.
    """

    def test_fetch(self) -> None:
        """In memory: what is new comes, and only that."""
        server = POP3Server()
        server.put(FIRST, SECOND)
        directory = Path(self.mktemp())
        directory.mkdir()
        for expected in (2, 0, 1):
            if expected == 1:
                server.put(b"Subject: three\r\n\r\n")
            pair = POP3Pair(server)
            client = pair.login()
            self.assertEqual(pair.do(fetchpop3.fetch(client, directory)), expected)
            pair.connection.disconnect()
        found = sorted(path.read_bytes() for path in directory.glob("*.eml"))
        self.assertEqual(found, sorted([FIRST, SECOND, b"Subject: three\r\n\r\n"]))

    def test_program(self) -> None:
        """As a program, from twistd mailstack, whose certificate it trusts."""
        server = Server()
        self.addCleanup(server.close)
        server.start()
        server.addAccounts(ALICE)
        with smtplib.SMTP("127.0.0.1", server.ports["smtp"]) as client:
            client.sendmail("x@elsewhere.test", [ALICE], b"Subject: new\r\n\r\nhello\r\n")
        where = f"localhost:{server.ports['pop3s']}"
        for expected in ("1 new messages\n", "0 new messages\n"):
            done = subprocess.run(
                [sys.executable, "-m", "docs.examples.fetchpop3", where, str(server.work)],
                capture_output=True,
                text=True,
                cwd=ROOT,
                env={
                    **environment(),
                    "SSL_CERT_FILE": str(server.data / "self-signed.pem"),
                    "MAIL_USER": ALICE,
                    "MAIL_PASSWORD": PASSWORD,
                },
            )
            self.assertEqual((done.stdout, done.stderr), (expected, ""))
