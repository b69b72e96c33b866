"""
The server as an operator runs it: stopping, reloading, rights, the log, ports, and the C{mailstack}
command beside it.
"""

from __future__ import annotations

import atexit
import base64
import imaplib
import os
import poplib
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.interop.harness import (
    ALICE,
    BOB,
    DOMAIN,
    PASSWORD,
    Server,
    environment,
    freePorts,
    looseTLS,
)
from twisted_mailstack.net.tls import selfSigned

MESSAGE = b"From: a@elsewhere.test\r\nSubject: %b\r\n\r\ntext\r\n"
#: Somebody without rights.
NOBODY = 65534


@cache
def sharedServer() -> Server:
    """
    @return: one running server for the tests that leave it as it was.
    """
    server = Server()
    atexit.register(server.close)
    server.start()
    server.addAccounts(ALICE, BOB)
    return server


def connect(server: Server, service: str, tls: bool = False) -> socket.socket:
    """
    @return: a connection, which has been greeted.
    """
    connection = socket.create_connection(("127.0.0.1", server.ports[service]), 20)
    if tls:
        connection = looseTLS().wrap_socket(connection)
    connection.recv(4096)
    return connection


def ask(connection: socket.socket, line: bytes, until: bytes) -> bytes:
    """
    @return: what came back, at least up to a line that begins with C{until}.
    """
    connection.sendall(line)
    reply = b""
    while not re.search(rb"(?m)^" + re.escape(until) + rb".*\r\n", reply):
        data = connection.recv(65536)
        if not data:
            raise AssertionError(f"closed after {reply!r}")
        reply += data
    return reply


def rest(connection: socket.socket) -> bytes:
    """
    @return: all that comes until the other side closes.
    """
    reply = b""
    while data := connection.recv(65536):
        reply += data
    return reply


def send(server: Server, recipient: str, subject: bytes = b"x") -> str:
    """
    Deliver from outside.

    @return: the reply to the end of data.
    """
    with smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=60) as client:
        client.ehlo("client.test")
        client.mail("a@elsewhere.test")
        code, reply = client.rcpt(recipient)
        if code != 250:
            return f"{code} {reply.decode()}"
        code, reply = client.data(MESSAGE % subject)
        return f"{code} {reply.decode()}"


def imap(server: Server, account: str, password: str = PASSWORD) -> imaplib.IMAP4_SSL:
    """
    @return: a logged-in session.
    """
    client = imaplib.IMAP4_SSL(
        "127.0.0.1", server.ports["imaps"], ssl_context=looseTLS(), timeout=60
    )
    try:
        client.login(account, password)
    except imaplib.IMAP4.error:
        client.shutdown()
        raise
    return client


def waitFor(condition: Callable[[], bool], what: str) -> None:
    """
    Wait until something is so, half a minute at most.
    """
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within 30 s: {what}")
        time.sleep(0.02)


class StopTests(SynchronousTestCase):
    """
    SIGTERM.
    """

    def test_goodbyes(self) -> None:
        """
        Every session gets its protocol's goodbye in whatever state it is, over TLS too; a message
        whose text isn't finished isn't stored; the store is sound.
        """
        server = Server()
        self.addCleanup(server.close)
        server.start()
        server.addAccounts(ALICE)
        sessions: dict[str, tuple[socket.socket, bytes]] = {}

        def session(name: str, service: str, goodbye: bytes, tls: bool = False) -> socket.socket:
            connection = connect(server, service, tls)
            self.addCleanup(connection.close)
            sessions[name] = connection, goodbye
            return connection

        login = b'"%b" "%b"' % (ALICE.encode(), PASSWORD.encode())
        session("SMTP, greeted", "smtp", b"421 ")
        at = session("SMTP, in a transaction", "smtp", b"421 ")
        ask(at, b"EHLO x\r\n", b"250 ")
        ask(at, b"MAIL FROM:<a@b.test>\r\nRCPT TO:<%b>\r\n" % ALICE.encode(), b"250 2.1.5")
        at = session("SMTP, in the text", "smtp", b"421 ")
        ask(at, b"EHLO x\r\n", b"250 ")
        ask(at, b"MAIL FROM:<a@b.test>\r\nRCPT TO:<%b>\r\nDATA\r\n" % ALICE.encode(), b"354 ")
        at.sendall(MESSAGE)
        session("submissions, greeted", "submissions", b"421 ", tls=True)
        session("POP3, greeted", "pop3", b"-ERR ")
        at = session("POP3, logged in", "pop3s", b"-ERR ", tls=True)
        ask(at, b"USER %b\r\n" % ALICE.encode(), b"+OK")
        ask(at, b"PASS %b\r\n" % PASSWORD.encode(), b"+OK")
        session("IMAP, greeted", "imap", b"* BYE ")
        at = session("IMAP, selected", "imaps", b"* BYE ", tls=True)
        ask(at, b"a LOGIN " + login + b"\r\n", b"a OK")
        ask(at, b"b SELECT INBOX\r\n", b"b OK")
        at = session("IMAP, in IDLE", "imaps", b"* BYE ", tls=True)
        ask(at, b"a LOGIN " + login + b"\r\n", b"a OK")
        ask(at, b"b SELECT INBOX\r\n", b"b OK")
        ask(at, b"c IDLE\r\n", b"+ ")
        at = session("IMAP, in a literal", "imaps", b"* BYE ", tls=True)
        ask(at, b"a LOGIN " + login + b"\r\n", b"a OK")
        ask(at, b"b APPEND INBOX {100}\r\n", b"+ ")
        at.sendall(b"Subject: half")
        # One that never says anything, not even its half of the TLS handshake.
        mute = socket.create_connection(("127.0.0.1", server.ports["imaps"]), 20)
        self.addCleanup(mute.close)
        # twistd ends by the signal that it was sent.
        self.assertEqual(server.stop(), -signal.SIGTERM)
        for name, (connection, goodbye) in sessions.items():
            said = rest(connection)
            self.assertTrue(said.startswith(goodbye), f"{name}: {said!r}")
        self.assertNotIn("Traceback", server.log.read_text())
        self.assertIn("No damage found.", server.tool("check"))
        self.assertIn(" 0 messages", server.tool("user", "list"))

    def test_interrupted(self) -> None:
        """Ctrl-C on the terminal is the same."""
        server = Server()
        self.addCleanup(server.close)
        server.start()
        connection = connect(server, "smtp")
        self.addCleanup(connection.close)
        self.assertEqual(server.stop(signal.SIGINT), -signal.SIGINT)
        self.assertTrue(rest(connection).startswith(b"421 "))


class ReloadTests(SynchronousTestCase):
    """
    SIGHUP.
    """

    def test_certificate(self) -> None:
        """New connections get the new certificate, sessions go on; a damaged one has no effect."""
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        own = selfSigned(folder, "first.example")
        server = Server(config=f'tls.certificate = "{own.certificate}"\ntls.key = "{own.key}"\n')
        self.addCleanup(server.close)
        server.start()
        server.addAccounts(ALICE)
        session = imap(server, ALICE)
        self.addCleanup(session.shutdown)

        def served() -> str:
            return ssl.get_server_certificate(("127.0.0.1", server.ports["imaps"]))

        first = own.certificate.read_text()
        self.assertEqual(served().split(), first.split())
        other = Path(self.mktemp())
        other.mkdir()
        new = selfSigned(other, "second.example")
        second = new.certificate.read_text()
        os.replace(new.key, own.key)
        os.replace(new.certificate, own.certificate)
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        waitFor(lambda: served().split() == second.split(), "the new certificate")
        self.assertEqual(session.noop()[0], "OK")
        own.certificate.write_text("nonsense\n")
        server.process.send_signal(signal.SIGHUP)
        waitFor(lambda: "not reloaded" in server.log.read_text(), "an error in the log")
        self.assertEqual(served().split(), second.split())
        self.assertEqual(session.noop()[0], "OK")


class RightsTests(SynchronousTestCase):
    """
    Root binds the ports, somebody else serves.
    """

    def setUp(self) -> None:
        """Only root can."""
        if os.geteuid() != 0:
            raise SkipTest("ports below 1024 and --uid need root")

    def lowPort(self) -> int:
        """
        @return: a port below 1024 on which nobody listens.
        """
        for port in range(1023, 600, -1):
            try:
                socket.create_server(("127.0.0.1", port)).close()
                return port
            except OSError:
                continue
        raise SkipTest("no free port below 1024")

    def test_dropped(self) -> None:
        """
        A port below 1024 is bound, then the rights are given away whole; mail is taken and read,
        and what root's own C{mailstack} does beside it stays the server's.
        """
        server = Server(twistd=("--uid", str(NOBODY), "--gid", str(NOBODY)))
        self.addCleanup(server.close)
        server.work.chmod(0o755)
        server.data.mkdir(mode=0o700)
        os.chown(server.data, NOBODY, NOBODY)
        server.ports["smtp"] = self.lowPort()
        server.start()
        # It serves only after it has given them away; the port was bound before.
        smtplib.SMTP("127.0.0.1", server.ports["smtp"], timeout=60).close()
        assert server.process is not None
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        self.assertIn("\nUid:\t" + "\t".join([str(NOBODY)] * 4) + "\n", status)
        self.assertIn("\nGid:\t" + "\t".join([str(NOBODY)] * 4) + "\n", status)
        self.assertNotRegex(status, r"\nGroups:.*\b0\b")
        server.addAccounts(ALICE)
        self.assertTrue(send(server, ALICE).startswith("250 "))
        session = imap(server, ALICE)
        self.assertEqual(session.select()[1], [b"1"])
        session.shutdown()
        # A large one goes in pieces.
        file = server.work / "large.eml"
        file.write_bytes(b"Subject: large\n\n" + b"x" * 3_000_000)
        server.tool("import", ALICE, str(file))
        self.assertIn("No damage found.", server.tool("check"))
        for path in (server.data, *server.data.rglob("*")):
            self.assertEqual((path.stat().st_uid, path.stat().st_gid), (NOBODY, NOBODY), path)
        server.stop()
        self.assertNotIn("Traceback", server.log.read_text())
        server.start()
        session = imap(server, ALICE)
        self.assertEqual(session.select()[1], [b"2"])
        session.shutdown()

    def test_dataOfRoot(self) -> None:
        """A data directory that isn't the user's: a clear line, no traceback, status 1."""
        server = Server(twistd=("--uid", str(NOBODY), "--gid", str(NOBODY)))
        self.addCleanup(server.close)
        server.work.chmod(0o755)
        server.data.mkdir(mode=0o700)
        try:
            server.start()
        except AssertionError:
            # Whether its ports answered before it ended is chance.
            pass
        assert server.process is not None
        self.assertEqual(server.process.wait(20), 1)
        self.assertIn(str(server.data), server.output())
        self.assertIn("Permission denied", server.output())
        self.assertIn("must belong to the user", server.output())
        self.assertNotIn("Traceback", server.output())


class LogTests(SynchronousTestCase):
    """
    What the log tells, and what it doesn't.
    """

    def lines(self, server: Server, words: str) -> list[str]:
        """
        @return: the lines with these words, once there are any.
        """
        waitFor(lambda: words in server.log.read_text(), f"{words} in the log")
        return [line for line in server.log.read_text().splitlines() if words in line]

    def test_delivery(self) -> None:
        """One line a message: the queue id that the client was told, from whom, to whom, size."""
        server = sharedServer()
        reply = send(server, ALICE, b"logged")
        queueId = reply.split()[-1]
        (line,) = self.lines(server, queueId)
        for words in (
            "accepted",
            "from=<a@elsewhere.test>",
            f"to=<{ALICE}>",
            f"size={len(MESSAGE % b'logged')}",
            "peer=127.0.0.1",
            "helo=client.test",
            "user=-",
        ):
            self.assertIn(words, line)

    def test_submission(self) -> None:
        """Whose submission it was."""
        server = sharedServer()
        with smtplib.SMTP_SSL(
            "127.0.0.1", server.ports["submissions"], context=looseTLS(), timeout=60
        ) as client:
            client.login(ALICE, PASSWORD)
            client.mail(ALICE)
            client.rcpt(BOB)
            # The From field must be the sender's own.
            mine = MESSAGE.replace(b"a@elsewhere.test", ALICE.encode())
            _, reply = client.data(mine % b"submitted")
        (line,) = self.lines(server, reply.decode().split()[-1])
        self.assertIn(f"user={ALICE}", line)

    def test_refused(self) -> None:
        """Who was refused, and why."""
        server = sharedServer()
        send(server, "nobody-here@example.test")
        (line,) = self.lines(server, "nobody-here@example.test")
        for words in ("refused", "from=<a@elsewhere.test>", "peer=127.0.0.1", "550 5.1.1"):
            self.assertIn(words, line)

    def test_logins(self) -> None:
        """Each login and each failed one: who, from where, in which service."""
        server = sharedServer()
        server.addAccounts(f"logger@{DOMAIN}")
        imap(server, f"logger@{DOMAIN}").logout()
        with self.assertRaises(imaplib.IMAP4.error):
            imap(server, f"logger@{DOMAIN}", "wrong")
        waitFor(lambda: "login failed: user='logger@" in server.log.read_text(), "the failure")
        good, bad = (line for line in self.lines(server, f"logger@{DOMAIN}") if ": login" in line)
        for line in (good, bad):
            self.assertIn("127.0.0.1", line)
            self.assertIn("imaps", line)
        self.assertIn("failed", bad)
        self.assertNotIn("failed", good)

    def test_nothingSecret(self) -> None:
        """
        No password, right or wrong, and no text of a message is in the log, in whatever protocol,
        mechanism or wrong place it came, plain or in base64.
        """
        server = Server()
        self.addCleanup(server.close)
        server.start()
        right, wrong = "Zeppelin-Nord-77", "Quitte-Mond-99"
        server.tool("user", "add", ALICE, stdin=right + "\n")
        server.tool("user", "passwd", ALICE, stdin=right + "\n")
        dialogues: list[tuple[str, tuple[bytes, ...]]] = []
        for password in (right, wrong):
            plain = base64.b64encode(f"\0{ALICE}\0{password}".encode())
            user = base64.b64encode(ALICE.encode())
            word = base64.b64encode(password.encode())
            name, text = ALICE.encode(), password.encode()
            dialogues += [
                ("submissions", (b"EHLO x", b"AUTH PLAIN " + plain)),
                ("submissions", (b"EHLO x", b"AUTH PLAIN", plain)),
                ("submissions", (b"EHLO x", b"AUTH LOGIN", user, word)),
                ("submissions", (b"EHLO x", b"AUTH LOGIN " + user, word)),
                ("submissions", (b"EHLO x", b"AUTH WHAT " + plain)),
                ("submissions", (b"AUTH PLAIN " + plain, text, b"MAIL FROM:<a@b> " + text)),
                ("submissions", (b"EHLO " + text, b"RCPT TO:<" + text + b">")),
                ("pop3s", (b"USER " + name, b"PASS " + text)),
                ("pop3s", (b"PASS " + text, b"USER " + name + b" " + text, text + b" x")),
                ("pop3s", (b"AUTH PLAIN " + plain,)),
                ("pop3s", (b"AUTH PLAIN", plain)),
                ("pop3s", (b"AUTH LOGIN", user, word)),
                ("pop3s", (b"APOP " + name + b" " + text,)),
                ("imaps", (b"a LOGIN " + name + b" " + text,)),
                (
                    "imaps",
                    (
                        b"a LOGIN {%d+}" % len(name),
                        name + b" {%d+}" % len(text),
                        text,
                    ),
                ),
                ("imaps", (b"a AUTHENTICATE PLAIN " + plain,)),
                ("imaps", (b"a AUTHENTICATE PLAIN", plain)),
                ("imaps", (b"a AUTHENTICATE LOGIN", user, word)),
                ("imaps", (b"LOGIN " + name + b" " + text, text, b"a " + text + b" b")),
                ("imap", (b"a LOGIN " + name + b" " + text,)),
                ("pop3", (b"USER " + name, b"PASS " + text)),
            ]

        def speak(dialogue: tuple[str, tuple[bytes, ...]]) -> None:
            service, lines = dialogue
            connection = connect(server, service, tls=service.endswith("s"))
            try:
                for line in lines:
                    connection.sendall(line + b"\r\n")
                    connection.settimeout(5)
                    if not connection.recv(4096):
                        break
            except OSError:
                pass
            finally:
                connection.close()

        # Side by side, as failed logins are answered late.
        with ThreadPoolExecutor(len(dialogues)) as pool:
            list(pool.map(speak, dialogues))
        send(server, ALICE, b"Secret-Subject-55")
        imap(server, ALICE, right).logout()
        server.stop()
        log = server.log.read_text()
        self.assertIn("failed", log)
        for word in (right, wrong, "Secret-Subject-55"):
            for form in (word, base64.b64encode(word.encode()).decode().rstrip("=")[:-1]):
                self.assertNotIn(form, log)
        for password in (right, wrong):
            plain = base64.b64encode(f"\0{ALICE}\0{password}".encode()).decode()
            self.assertNotIn(plain, log)
            self.assertNotIn(plain.rstrip("=")[-16:-2], log)
        self.assertNotIn("argon2", log)


class PortTests(SynchronousTestCase):
    """
    Ports that are taken.
    """

    def test_inUse(self) -> None:
        """One clear line that names service and endpoint, status 1, no traceback."""
        server = Server()
        self.addCleanup(server.close)
        held = socket.create_server(("127.0.0.1", server.ports["imap"]))
        self.addCleanup(held.close)
        with self.assertRaises(AssertionError):
            server.start()
        assert server.process is not None
        self.assertEqual(server.process.wait(20), 1)
        self.assertIn(
            f"imap can't listen on tcp:{server.ports['imap']}:interface=127.0.0.1: ",
            server.output(),
        )
        self.assertNotIn("Traceback", server.output())
        self.assertFalse(server.data.exists())

    def test_daemon(self) -> None:
        """As a daemon: the same status, the line in the log, and no pid file that stays."""
        server = sharedServer()
        others = [name for name in server.ports if name != "imap"]
        place = Path(self.mktemp()).resolve()
        place.mkdir()
        done = subprocess.run(
            [
                *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()"),
                *("mailstack", "--listen"),
                f"imap=tcp:{server.ports['imap']}:interface=127.0.0.1",
                *(word for name in others for word in ("--listen", f"{name}=off")),
            ],
            capture_output=True,
            cwd=place,
            env=environment(),
            timeout=60,
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"imap can't listen on", done.stderr)
        waitFor(lambda: not (place / "twistd.pid").exists(), "the pid file is gone")
        self.assertIn("imap can't listen on", (place / "twistd.log").read_text())

    def test_daemonServes(self) -> None:
        """A daemon serves until it is told to stop; then its pid file is gone."""
        place = Path(self.mktemp()).resolve()
        place.mkdir()
        (port,) = freePorts(1)
        names = [name for name in sharedServer().ports if name != "smtp"]
        done = subprocess.run(
            [
                *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()"),
                *("mailstack", "--listen", f"smtp=tcp:{port}:interface=127.0.0.1"),
                *(word for name in names for word in ("--listen", f"{name}=off")),
            ],
            capture_output=True,
            cwd=place,
            env=environment(),
            timeout=60,
        )
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))
        pid = int((place / "twistd.pid").read_text())
        try:
            with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
                self.assertEqual(client.noop()[0], 250)
        finally:
            os.kill(pid, signal.SIGTERM)
        waitFor(lambda: not (place / "twistd.pid").exists(), "the pid file is gone")
        log = (place / "twistd.log").read_text()
        # Nobody saw a password, so none was made.
        self.assertIn("there are no accounts yet", log)
        self.assertNotIn("Traceback", log)


class SharedDataTests(SynchronousTestCase):
    """
    Two servers, one data directory.
    """

    def test_both(self) -> None:
        """What one takes in, a session in IDLE at the other is told; a maildrop has one lock."""
        first = sharedServer()
        account = f"shared@{DOMAIN}"
        first.addAccounts(account)
        second = Server(data=first.data)
        self.addCleanup(second.close)
        second.start()
        idling = connect(second, "imaps", tls=True)
        self.addCleanup(idling.close)
        ask(idling, b'a LOGIN "%b" "%b"\r\n' % (account.encode(), PASSWORD.encode()), b"a OK")
        ask(idling, b"b SELECT INBOX\r\n", b"b OK")
        ask(idling, b"c IDLE\r\n", b"+ ")
        self.assertTrue(send(first, account).startswith("250 "))
        self.assertIn(b"* 1 EXISTS", ask(idling, b"", b"* 1 EXISTS"))
        # One maildrop, one lock, whichever server (RFC 1939 §4).
        pop = poplib.POP3_SSL("127.0.0.1", first.ports["pop3s"], context=looseTLS(), timeout=60)
        self.addCleanup(pop.close)
        pop.user(account)
        pop.pass_(PASSWORD)
        other = poplib.POP3_SSL("127.0.0.1", second.ports["pop3s"], context=looseTLS(), timeout=60)
        self.addCleanup(other.close)
        other.user(account)
        with self.assertRaises(poplib.error_proto) as caught:
            other.pass_(PASSWORD)
        self.assertIn("[IN-USE]", str(caught.exception))
        second.stop()
        self.assertTrue(send(first, account).startswith("250 "))
        self.assertIn("No damage found.", first.tool("check"))


class CommandTests(SynchronousTestCase):
    """
    The C{mailstack} command while the server runs: it sees the change at once.
    """

    def setUp(self) -> None:
        """A server that runs."""
        self.server = sharedServer()

    def refused(self, account: str, password: str = PASSWORD) -> None:
        """
        Fail unless the login is refused.
        """
        with self.assertRaises(imaplib.IMAP4.error):
            imap(self.server, account, password)

    def test_account(self) -> None:
        """Made: it logs in and gets mail; another password: only that; disabled; removed."""
        account = "new@fresh.test"
        self.assertTrue(send(self.server, account).startswith("550 "))
        self.assertIn(
            "Made the domain fresh.test.",
            self.server.tool("user", "add", account, stdin=PASSWORD + "\n"),
        )
        imap(self.server, account).logout()
        self.assertTrue(send(self.server, account).startswith("250 "))
        self.server.tool("user", "passwd", account, stdin="Größe ist egal\n")
        self.refused(account)
        # imaplib's LOGIN can't send what is not ASCII.
        client = imaplib.IMAP4_SSL(
            "127.0.0.1", self.server.ports["imaps"], ssl_context=looseTLS(), timeout=60
        )
        plain = f"\0{account}\0Größe ist egal".encode()
        client.authenticate("PLAIN", lambda _: plain)
        self.assertEqual(client.select()[1], [b"1"])
        client.shutdown()
        self.server.tool("user", "passwd", account, stdin=PASSWORD + "\n")
        self.server.tool("user", "disable", account)
        self.refused(account)
        self.assertTrue(send(self.server, account).startswith("250 "))
        self.server.tool("user", "enable", account)
        imap(self.server, account).logout()
        self.server.tool("user", "remove", "--yes", account)
        self.refused(account)
        self.assertTrue(send(self.server, account).startswith("550 "))
        self.server.tool("domain", "remove", "fresh.test")
        self.assertIn("5.7.1", send(self.server, account))

    def test_removedWhileUsed(self) -> None:
        """An account that is removed under a session: it says so or ends, the server goes on."""
        account = f"gone@{DOMAIN}"
        self.server.addAccounts(account)
        send(self.server, account)
        session = imap(self.server, account)
        self.addCleanup(session.shutdown)
        session.select()
        self.server.tool("user", "remove", "--yes", account)
        try:
            status, _ = session.fetch("1", "(BODY.PEEK[])")
            self.assertEqual(status, "NO")
        except imaplib.IMAP4.abort:
            pass
        self.assertTrue(send(self.server, ALICE).startswith("250 "))

    def test_alias(self) -> None:
        """An alias works from then on, and no longer when it is removed."""
        alias = f"info@{DOMAIN}"
        self.assertTrue(send(self.server, alias).startswith("550 "))
        self.server.tool("alias", "set", alias, ALICE, BOB)
        self.assertTrue(send(self.server, alias).startswith("250 "))
        self.server.tool("alias", "remove", alias)
        self.assertTrue(send(self.server, alias).startswith("550 "))

    def test_quota(self) -> None:
        """A limit holds from the next message on."""
        account = f"small@{DOMAIN}"
        self.server.addAccounts(account)
        self.server.tool("user", "quota", account, "--messages", "1")
        self.assertTrue(send(self.server, account).startswith("250 "))
        self.assertIn("452 4.2.2", send(self.server, account))
        self.server.tool("user", "quota", account, "--messages", "0")
        self.assertTrue(send(self.server, account).startswith("250 "))

    def test_import(self) -> None:
        """A session in IDLE is told of what is imported; an export has it; a backup is sound."""
        account = f"mover@{DOMAIN}"
        self.server.addAccounts(account)
        idling = connect(self.server, "imaps", tls=True)
        self.addCleanup(idling.close)
        ask(idling, b'a LOGIN "%b" "%b"\r\n' % (account.encode(), PASSWORD.encode()), b"a OK")
        ask(idling, b"b SELECT INBOX\r\n", b"b OK")
        ask(idling, b"c IDLE\r\n", b"+ ")
        place = Path(self.mktemp()).resolve()
        place.mkdir()
        (place / "one.eml").write_bytes(b"Subject: imported\r\n\r\ntext\r\n")
        self.server.tool("import", account, str(place / "one.eml"))
        ask(idling, b"", b"* 1 EXISTS")
        self.server.tool("export", account, str(place / "out"))
        (file,) = (place / "out" / "cur").iterdir()
        self.assertEqual(file.read_bytes(), (place / "one.eml").read_bytes())
        self.server.tool("backup", str(place / "copy"))
        done = subprocess.run(
            [
                *(sys.executable, "-m", "twisted_mailstack.cli"),
                *("--data", str(place / "copy"), "check"),
            ],
            capture_output=True,
            env=environment(),
        )
        self.assertEqual((done.returncode, done.stdout), (0, b"No damage found.\n"))

    def test_noServer(self) -> None:
        """Each works as well while no server runs."""
        server = Server()
        self.addCleanup(server.close)
        server.addAccounts(ALICE)
        self.assertIn(ALICE, server.tool("user", "list"))
        self.assertIn("No damage found.", server.tool("check"))
        server.start()
        imap(server, ALICE).logout()
        # There was an account already, so none was made.
        self.assertNotIn("A first account", server.log.read_text())
