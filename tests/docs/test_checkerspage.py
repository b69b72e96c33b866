"""
docs/checkers.rst: its configurations can be read, its commands do what it shows, its example lets
the users of a web application in.
"""

from __future__ import annotations

import shlex
import sqlite3
from pathlib import Path
from typing import Any

from twisted.cred.error import UnauthorizedLogin
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from docs.examples import webusers
from tests.auth.checkers.support import InstantHasher
from tests.cli.support import CommandTestCase
from tests.delivery.support import envelope, to
from tests.docs import DOCS
from tests.docs.accounts import AccountsTestCase, Conversation, FakeWire
from tests.docs.console import blocks, matches, steps
from twisted_mailstack.auth.checkers.registry import SOURCES
from twisted_mailstack.config import load
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.delivery.target import MailTarget
from twisted_mailstack.imap.server import IMAPFactory
from twisted_mailstack.imap.session import IMAPSettings
from twisted_mailstack.interfaces import IAccount
from twisted_mailstack.pop3.server import POP3Factory
from twisted_mailstack.pop3.session import POP3Settings
from twisted_mailstack.sasl.credentials import PasswordCredentials

PAGE = DOCS / "checkers.rst"
FILES = {
    "/etc/dovecot/users": "alice@example.org:{PLAIN}a secret::::::\nbob@example.org:!\n",
    "/etc/postfix/vmailbox": (
        "alice@example.org example.org/alice/\nbob@example.org x\ncarol@example.org y\n"
    ),
    "/etc/postfix/virtual": (
        "info@example.org alice@example.org\n@example.com bob@example.org\n"
        "sales@example.org\n  alice@example.org, carol@example.org\n"
    ),
}


class ConfigurationTests(SynchronousTestCase):
    """
    The configurations.
    """

    def test_each(self) -> None:
        """Each can be read, and each checker has one."""
        named: set[str] = set()
        for text in blocks(PAGE, "toml"):
            path = self.mktemp()
            Path(path).write_text(text)
            named.update(load(path).checkers)
        self.assertEqual(named, {"accounts", *(record.name for record in SOURCES)})


class CommandTests(CommandTestCase):
    """
    The commands.
    """

    def test_commands(self) -> None:
        """Each command prints what is shown."""
        count = 0
        for step in steps(PAGE):
            words = shlex.split(step.command)
            self.assertEqual(words.pop(0), "mailstack")
            file = Path(self.mktemp()).resolve()
            file.write_text(FILES[words.pop()])
            lines = self.mailstack(*words, file).splitlines()
            self.assertTrue(matches(step.expected, lines), (step.command, lines))
            count += 1
        self.assertEqual(count, len(FILES))


class WebUsersTests(AccountsTestCase):
    """
    docs/examples/webusers.py.
    """

    def setUp(self) -> None:
        """A table with one user who may log in and one who may not."""
        super().setUp()
        path = self.mktemp()
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE auth_user (username, password, is_active)")
            database.executemany(
                "INSERT INTO auth_user VALUES (?, '{PLAIN}secret', ?)",
                [("alice", 1), ("zoe", 1), ("gone", 0)],
            )
        database.close()
        self.hasher = InstantHasher()
        self.portal = webusers.makePortal(path, self.store, self.hasher, "example.test")

    def test_short(self) -> None:
        """It takes less than 60 lines."""
        text = (DOCS / "examples" / "webusers.py").read_text("utf-8")
        self.assertLess(len(text.splitlines()), 60)

    def test_login(self) -> None:
        """Users of the table get their accounts; one who is new gets one that is made."""
        for name, address in ((b"alice", "alice@example.test"), (b"zoe", "zoe@example.test")):
            for _ in range(2):
                credentials = PasswordCredentials(name, b"secret")
                login = self.portal.login(credentials, None, IAccount)
                avatar: Any = self.successResultOf(login)[1]
                self.assertEqual(str(avatar.address), address)

    def test_protocols(self) -> None:
        """
        One account is whom mail is delivered to, and who reads it by IMAP and by POP3: what one of
        them does is what the others see, at once.
        """
        self.portal.login(PasswordCredentials(b"zoe", b"secret"), None, IAccount)
        target = MailTarget(self.store, Resolver(self.store.directory))
        delivery = target.begin(envelope())
        self.run_(delivery.addRecipient(to("zoe@example.test")))
        delivery.write(b"Subject: hello\r\n\r\ntext\r\n")
        self.assertEqual(self.run_(delivery.commit()), [None])
        clock = Clock()
        imap = Conversation(
            IMAPFactory(self.portal, IMAPSettings(hostname="x.test"), clock).serve,
            wire=FakeWire("imaps", True),
            clock=clock,
        )
        self.assertIn(b"1 EXISTS", imap.send(b"a LOGIN zoe secret\r\nb SELECT INBOX\r\n"))
        pop3 = Conversation(
            POP3Factory(self.portal, POP3Settings(hostname="x.test"), clock).serve,
            wire=FakeWire("pop3s", True),
            clock=clock,
        )
        said = pop3.send(b"USER zoe\r\nPASS secret\r\nRETR 1\r\nDELE 1\r\n")
        self.assertIn(b"Subject: hello\r\n\r\ntext\r\n.\r\n", said)
        self.assertIn(b"BODY[TEXT] {6}\r\ntext\r\n", imap.send(b"c FETCH 1 BODY[TEXT]\r\n"))
        self.assertEqual(pop3.send(b"QUIT\r\n"), b"+OK bye\r\n")
        self.assertIn(b"* 1 EXPUNGE\r\n", imap.send(b"d NOOP\r\n"))

    def test_others(self) -> None:
        """Wrong passwords, unknown names and who is no longer active get nothing, after a hash."""
        for name, password in ((b"alice", b"x"), (b"nobody", b"secret"), (b"gone", b"secret")):
            self.hasher.asked.clear()
            login = self.portal.login(PasswordCredentials(name, password), None, IAccount)
            self.failureResultOf(login, UnauthorizedLogin)
            self.assertEqual(len(self.hasher.asked), 1)
