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
from twisted.trial.unittest import SynchronousTestCase

from docs.examples import webusers
from tests.auth.checkers.support import InstantHasher
from tests.cli.support import CommandTestCase
from tests.docs import DOCS
from tests.docs.accounts import AccountsTestCase
from tests.docs.console import blocks, matches, steps
from twisted_mailstack.auth.checkers.registry import SOURCES
from twisted_mailstack.config import load
from twisted_mailstack.interfaces import IAccount
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

    def test_others(self) -> None:
        """Wrong passwords, unknown names and who is no longer active get nothing, after a hash."""
        for name, password in ((b"alice", b"x"), (b"nobody", b"secret"), (b"gone", b"secret")):
            self.hasher.asked.clear()
            login = self.portal.login(PasswordCredentials(name, password), None, IAccount)
            self.failureResultOf(login, UnauthorizedLogin)
            self.assertEqual(len(self.hasher.asked), 1)
