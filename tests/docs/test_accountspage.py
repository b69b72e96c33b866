"""
docs/accounts.rst: its commands do what it shows, its lists are the code's, its program runs.
"""

from __future__ import annotations

import re
import shlex
from typing import Any

from twisted.internet.defer import ensureDeferred

from tests.cli.support import CommandTestCase
from tests.docs import DOCS
from tests.docs.console import blocks, matches, steps
from twisted_mailstack.auth.login import FIRST_DELAY, MAX_DELAY, Login
from twisted_mailstack.auth.passwords import WORKERS
from twisted_mailstack.auth.realm import MailRealm
from twisted_mailstack.auth.schemes import APP_PASSWORD_LENGTH, parseSecret, withName
from twisted_mailstack.config import Configuration
from twisted_mailstack.delivery.quotawarnings import INTERVAL
from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.model.logins import LOGINS
from twisted_mailstack.model.records import KEPT_LOGINS, KEPT_STRAY_LOGINS
from twisted_mailstack.storage.memory import MemoryMailStore

PAGE = DOCS / "accounts.rst"
FLAT = " ".join(PAGE.read_text("utf-8").split())


class CommandTests(CommandTestCase):
    """
    The page as a script.
    """

    def test_commands(self) -> None:
        """Each command prints what is shown."""
        self.add("alice@example.org", "bob@example.org")
        count = 0
        for step in steps(PAGE):
            words = shlex.split(step.command)
            self.assertEqual(words.pop(0), "mailstack")
            output = self.mailstack(*words, stdin="a password\n")
            lines = output.splitlines()
            self.assertTrue(matches(step.expected, lines), (step.command, output))
            count += 1
        self.assertGreater(count, 15)


class TextTests(CommandTestCase):
    """
    What the page says of the code.
    """

    def test_schemes(self) -> None:
        """Every scheme that is named is known, but those that are said not to be."""
        names = set(re.findall(r"``\{([A-Z0-9-]+)\}``", FLAT)) - {"SCHEME"}
        unknown = {"OTP", "PLAIN-TRUNC"}
        self.assertLess(unknown, names)
        for name in names:
            if name in unknown:
                self.assertRaises(SyntaxProblem, parseSecret, f"{{{name}}}x")
            else:
                parseSecret(withName(f"{{{name}}}x", "alice@example.org"))
        for beginning in re.findall(r"``(\$\w+\$)``", FLAT):
            parseSecret(beginning + "x")

    def test_numbers(self) -> None:
        """Its numbers are the code's, and its keys are there."""
        self.assertIn(f"The last {KEPT_LOGINS} of each account", FLAT)
        self.assertIn(f"the last {KEPT_STRAY_LOGINS:,} under names", FLAT)
        self.assertIn(f"``{LOGINS}``", FLAT)
        self.assertEqual((FIRST_DELAY, MAX_DELAY, WORKERS), (1.0, 15.0, 2))
        self.assertEqual((APP_PASSWORD_LENGTH, INTERVAL), (20, 300.0))
        keys = set(Configuration().values)
        for key in re.findall(r"``((?:auth|quota)\.[a-z0-9-]+)``", FLAT):
            self.assertIn(key, keys)

    def test_program(self) -> None:
        """The portal of the page lets nobody in without credentials, and has its policy."""
        (source,) = blocks(PAGE, "python")
        names: dict[str, Any] = {}
        exec(source, names)
        store = MemoryMailStore()
        portal = names["makePortal"](store, MailRealm(store), ())
        login = Login(portal, lambda seconds: ensureDeferred(_nothing()))
        self.assertIs(login._policy, portal.policy)


async def _nothing() -> None:
    pass
