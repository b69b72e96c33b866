"""
docs/operators.rst as one story: its commands, configuration, unit, log lines and fail2ban filter
against a real server.
"""

from __future__ import annotations

import imaplib
import poplib
import re
import shlex
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import time
from configparser import RawConfigParser
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.docs import DOCS
from tests.docs.accounts import AccountsTestCase, Conversation
from tests.docs.console import Step, blocks, matches, steps
from tests.interop.harness import PASSWORD, environment, freePorts, looseTLS
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.delivery.target import MailTarget
from twisted_mailstack.net.tls import selfSigned
from twisted_mailstack.smtp.server import SMTPFactory
from twisted_mailstack.smtp.session import SMTPSettings

PAGE = DOCS / "operators.rst"
#: The paths that the page names; each is below the test's own directory instead.
PATHS = re.compile(r"(?<![\w/])/(?:etc|var/lib|var/backups)/")
TWISTD = "from twisted.scripts.twistd import run; run()"


class Host:
    """
    A machine that is set up as the page says, as far as one directory can be one.
    """

    def __init__(self) -> None:
        self.top = Path(mkdtemp(prefix="mailstack-host-"))
        for below in ("etc/mailstack", "var/lib", "var/backups"):
            (self.top / below).mkdir(parents=True)
        self.log = self.top / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.ports: dict[str, int] = {}
        certificate = selfSigned(self.top / "etc/mailstack", "mail.example.org")
        certificate.certificate.rename(self.top / "etc/mailstack/fullchain.pem")
        certificate.key.rename(self.top / "etc/mailstack/privkey.pem")

    def here(self, text: str) -> str:
        """
        @return: the text with the paths of this host.
        """
        return PATHS.sub(lambda match: f"{self.top}{match.group()}", text)

    def there(self, text: str) -> str:
        """
        @return: the text with the paths of the page.
        """
        return text.replace(str(self.top), "")

    def configure(self, text: str) -> None:
        """
        Write the configuration file, with ports that are free.
        """
        names = re.findall(r'^(\w+) = "tcp:\d+"$', text, re.MULTILINE)
        self.ports = dict(zip(names, freePorts(len(names)), strict=True))
        for name, port in self.ports.items():
            text = re.sub(
                rf'^{name} = "tcp:\d+"$',
                f'{name} = "tcp:{port}:interface=127.0.0.1"',
                text,
                flags=re.MULTILINE,
            )
        (self.top / "etc/mailstack.toml").write_text(self.here(text))

    @cached_property
    def unit(self) -> RawConfigParser:
        """The unit that the page shows."""
        parser = RawConfigParser(strict=False)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(next(each for each in blocks(PAGE, "ini") if "[Unit]" in each))
        return parser

    def start(self) -> None:
        """Do what the unit's ExecStart says, and wait until every port answers."""
        program, *arguments = shlex.split(self.here(self.unit["Service"]["ExecStart"]))
        assert program.endswith("/twistd")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", TWISTD, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.top,
                env=environment(),
            )
        deadline = time.monotonic() + 30
        for port in self.ports.values():
            while True:
                assert self.process.poll() is None, self.output()
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline, self.output()
                    time.sleep(0.05)

    def stop(self) -> None:
        """What systemd does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == -signal.SIGTERM, self.output()

    def reload(self) -> None:
        """What the unit's ExecReload says."""
        assert self.process is not None
        assert self.unit["Service"]["ExecReload"] == "/bin/kill -HUP $MAINPID"
        self.process.send_signal(signal.SIGHUP)

    def output(self) -> str:
        """
        @return: the log.
        """
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def run(self, step: Step) -> tuple[int, str]:
        """
        Run a command of the page.

        @return: its status, and what it printed.
        """
        words = shlex.split(self.here(step.command))
        if words[0] == "systemctl":
            {"start": self.start, "stop": self.stop, "reload": self.reload}[words[1]]()
            return 0, ""
        tool = [sys.executable, "-m", "twisted_mailstack.cli"]
        if words[0] == "mailstack":
            # The alias that the page defines.
            words = [*tool, "--config", str(self.top / "etc/mailstack.toml"), *words[1:]]
        elif words[0] == "/opt/mailstack/bin/mailstack":
            words = [*tool, *words[1:]]
        done = subprocess.run(
            words,
            input=PASSWORD.encode() + b"\n",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            cwd=self.top,
            env=environment(),
        )
        return done.returncode, self.there(done.stdout.decode())

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.top, ignore_errors=True)

    # --- clients -------------------------------------------------------------------------------

    def deliver(self, *recipients: str) -> str:
        """
        Send a message from outside.

        @return: the last reply.
        """
        with smtplib.SMTP("127.0.0.1", self.ports["smtp"], timeout=30) as client:
            client.ehlo("far.test")
            client.mail("a@far.test")
            for recipient in recipients:
                code, text = client.rcpt(recipient)
                if code >= 300:
                    return f"{code} {text.decode()}"
            code, text = client.data(b"Subject: hello\r\n\r\ntext\r\n")
            return f"{code} {text.decode()}"

    def imap(self, who: str, password: str = PASSWORD) -> imaplib.IMAP4_SSL:
        """
        @return: a session that is logged in.
        """
        client = imaplib.IMAP4_SSL(
            "127.0.0.1", self.ports["imaps"], ssl_context=looseTLS(), timeout=30
        )
        client.login(who, password)
        return client

    def subjects(self, who: str) -> int:
        """
        @return: how many messages somebody's INBOX has.
        """
        client = self.imap(who)
        count = int(client.select()[1][0] or b"0")
        client.logout()
        return count


class OperatorTests(SynchronousTestCase):
    """
    The page works.
    """

    maxDiff = None

    def setUp(self) -> None:
        """A fresh host."""
        self.host = Host()
        self.addCleanup(self.host.close)

    def test_story(self) -> None:
        """Every command with a prompt prints what the page shows, from the first to the last."""
        host = self.host
        story = list(steps(PAGE))
        self.assertGreater(len(story), 25)
        for step in story:
            self.before(step)
            status, printed = host.run(step)
            shown = printed.splitlines()
            if not matches(step.expected, shown):
                self.assertEqual(list(step.expected), shown, f"{step.command}\n{host.output()}")
            self.assertEqual(status, 0, f"{step.command}: {printed}")
            self.after(step)
        # What was there before the backup is there after the restore, and nothing that came later.
        self.assertEqual(host.subjects("alice@example.org"), 3)
        self.logLines()
        host.stop()
        self.assertEqual(
            [line for line in host.output().splitlines() if "Traceback" in line], [], host.output()
        )

    def before(self, step: Step) -> None:
        """What happens between the page's commands."""
        host = self.host
        if step.command == "mailstack user add alice@example.org":
            # "These are worth setting"
            host.configure(next(each for each in blocks(PAGE, "toml") if "hostname" in each))
        elif step.command == "mailstack alias remove info@example.org":
            self.assertTrue(
                host.deliver("info@example.org", "sales@example.net").startswith("250 ")
            )
            self.assertTrue(host.deliver("alice+tag@example.org").startswith("250 "))
            self.assertTrue(host.deliver("postmaster@example.org").startswith("250 "))
            self.assertEqual(host.subjects("alice@example.org"), 3)
            self.assertEqual(host.subjects("bob@example.org"), 1)
            self.certificate()
        elif step.command == "systemctl stop mailstack":
            self.assertTrue(host.deliver("alice@example.org").startswith("250 "))
            self.assertEqual(host.subjects("alice@example.org"), 4)

    def after(self, step: Step) -> None:
        """What the page says of a command."""
        host = self.host
        if step.command.endswith(" init"):
            self.assertTrue((host.top / "etc/mailstack.toml").exists())
        elif step.command == "systemctl start mailstack":
            # An account was there, so none was made.
            self.assertNotIn("A first account", host.output())
        elif step.command == "mailstack user disable bob@example.org":
            self.assertRaises(imaplib.IMAP4.error, host.imap, "bob@example.org")
        elif step.command == "mailstack user enable bob@example.org":
            host.imap("bob@example.org").logout()
        elif step.command == "mailstack alias remove info@example.org":
            self.assertIn("550 5.1.1", host.deliver("info@example.org"))
            self.assertIn("550 5.7.1 Relaying denied", host.deliver("x@far.test"))
        elif step.command == "mailstack user add carol@example.org":
            host.imap("carol@example.org").logout()

    def certificate(self) -> None:
        """A new certificate serves after a reload, and a session goes on."""
        host = self.host
        client = host.imap("alice@example.org")
        before = _certificate(host.ports["imaps"])
        folder = host.top / "etc/mailstack"
        made = selfSigned(folder, "mail.example.org")
        made.key.rename(folder / "privkey.pem")
        made.certificate.rename(folder / "fullchain.pem")
        host.reload()
        deadline = time.monotonic() + 20
        while _certificate(host.ports["imaps"]) == before:
            self.assertLess(time.monotonic(), deadline, host.output())
            time.sleep(0.05)
        self.assertEqual(client.noop()[0], "OK")
        client.logout()

    def logLines(self) -> None:
        """The log has the lines that the page shows, and the filter finds what it is to find."""
        host = self.host
        client = imaplib.IMAP4_SSL(
            "127.0.0.1", host.ports["imaps"], ssl_context=looseTLS(), timeout=30
        )
        # A name that pretends to be a log line's end.
        name = "x' peer=203.0.113.9 mechanism=PLAIN"
        self.assertRaises(imaplib.IMAP4.error, client.login, f'"{name}"', "guess")
        client.shutdown()
        with smtplib.SMTP("127.0.0.1", host.ports["smtp"], timeout=30) as sender:
            sender.ehlo("me.test")
            sender.mail('"peer=203.0.113.9: 550 5.7.1 Relaying denied"@far.test')
            sender.rcpt("x@far.test")
            sender.rcpt("alice@example.org")
            queueId = sender.data(b"\r\n")[1].split()[-1].decode()
        self.pop()
        # A message that is refused as a whole.
        with smtplib.SMTP("127.0.0.1", host.ports["smtp"], timeout=30) as sender:
            sender.ehlo("me.test")
            sender.mail("a@far.test")
            sender.rcpt("alice@example.org")
            sender.docmd("DATA")
            sender.send(b"one\ntwo\r\n.\r\n")
            self.assertEqual(sender.getreply()[0], 550)
        lines = [
            line.partition("] ")[2]
            for line in host.output().splitlines()
            if "[twisted_mailstack." in line
        ]
        self.assertTrue(any(line.startswith(f"{queueId}: accepted: ") for line in lines))
        shown = [line for block in blocks(PAGE, "text") for line in block.splitlines()]
        self.assertEqual(len(shown), 7)
        for line in shown:
            pattern = re.sub(r"[A-Z]{4,}", r"\\S.*", re.escape(line))
            self.assertTrue(any(re.fullmatch(pattern, each) for each in lines), (line, lines))
        self.assertEqual([each for each in lines if PASSWORD in each or "guess" in each], [])
        banned = [
            match.group("host")
            for line in lines
            for pattern in _failregexes()
            if (match := pattern.search(line))
        ]
        self.assertEqual(set(banned), {"127.0.0.1"})
        # The disabled user, the false name; the stranger's two attempts to relay.
        self.assertEqual(len(banned), 4)

    def pop(self) -> None:
        """Log in and out by POP3."""
        client = poplib.POP3_SSL(
            "127.0.0.1", self.host.ports["pop3s"], timeout=30, context=looseTLS()
        )
        client.user("carol@example.org")
        client.pass_(PASSWORD)
        client.quit()


def _certificate(port: int) -> bytes | None:
    context = looseTLS()
    with socket.create_connection(("127.0.0.1", port), 30) as plain:
        with context.wrap_socket(plain) as wrapped:
            return wrapped.getpeercert(True)


def _failregexes() -> list[re.Pattern[str]]:
    # As fail2ban reads them: one a line, with <HOST> an address or a name.
    parser = RawConfigParser()
    parser.read_string(next(each for each in blocks(PAGE, "ini") if "[Definition]" in each))
    return [
        re.compile(line.replace("<HOST>", r"(?P<host>[\w:.\-]+)"))
        for line in parser["Definition"]["failregex"].splitlines()
    ]


class TroubleTests(SynchronousTestCase):
    """
    "What to do when": the messages are those that the page quotes.
    """

    def quoted(self, message: str) -> None:
        """
        The page has this message.
        """
        text = " ".join(PAGE.read_text("utf-8").split())
        self.assertIn(message, text)

    def twistd(self, *arguments: str) -> str:
        """
        @return: what a server printed that can't start.
        """
        done = subprocess.run(
            [sys.executable, "-c", TWISTD, "-n", "--pidfile=", "mailstack", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            cwd=self.folder,
            env=environment(),
        )
        self.assertNotEqual(done.returncode, 0)
        return done.stdout.decode()

    def setUp(self) -> None:
        """A directory of its own."""
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir(parents=True)
        names = ("submission", "submissions", "pop3", "pop3s", "imap", "imaps")
        self.off = [f"--listen={name}=off" for name in names]

    def test_portInUse(self) -> None:
        """A port that is taken is named, with the reason."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            printed = self.twistd(*self.off, f"--listen=smtp=tcp:{port}:interface=127.0.0.1")
        self.assertIn(f"smtp can't listen on tcp:{port}:interface=127.0.0.1: ", printed)
        self.assertIn("Address already in use", printed)
        self.quoted('"can\'t listen on tcp:25: Address already in use"')

    def test_damagedStore(self) -> None:
        """A database that can't be opened is named, by the server and by the command."""
        (self.folder / "data" / "mail.sqlite3").mkdir(parents=True)
        port = freePorts(1)[0]
        printed = self.twistd(
            *self.off, "--data", "data", f"--listen=smtp=tcp:{port}:interface=127.0.0.1"
        )
        self.assertIn("mail.sqlite3 can't be opened: ", printed)
        self.quoted("\"mail.sqlite3 can't be opened: ")

    def test_noMail(self) -> None:
        """The command says when there is no store where it looks."""
        done = subprocess.run(
            [sys.executable, "-m", "twisted_mailstack.cli", "user", "list"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            cwd=self.folder,
            env=environment(),
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"there is no mail in mailstack-data", done.stdout)
        self.quoted('"there is no mail in DIR"')


class RefusalTests(AccountsTestCase):
    """
    What SMTP says and the page explains.
    """

    def send(self, bareNewlines: str) -> bytes:
        """
        @return: the reply to a message with a bare line feed.
        """
        factory = SMTPFactory(
            MailTarget(self.store, Resolver(self.store.directory)),
            SMTPSettings(hostname="mx.example.test", bareNewlines=bareNewlines),
            Clock(),
        )
        conversation = Conversation(factory.serve)
        conversation.send(
            b"EHLO me.test\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"
        )
        return conversation.send(b"Subject: x\r\n\r\none\n.\nQUIT\r\n.\r\n")

    def test_bareNewlines(self) -> None:
        """A bare line feed is refused, or kept where that is configured; it ends nothing."""
        refused = self.send("refuse")
        message = "The message has a NUL, or a CR or LF by itself"
        self.assertIn(f" {message}".encode(), refused)
        self.assertEqual(refused.count(b"\r\n"), 1)
        self.assertIn(f'"{message}"', " ".join(PAGE.read_text("utf-8").split()))
        self.assertTrue(self.send("keep").startswith(b"250 "))
        self.assertTrue(self.inbox()[0].endswith(b"\r\n\r\none\n.\nQUIT\r\n"))
