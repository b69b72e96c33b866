"""
C{mailstack user}: who may log in to an account.
"""

from __future__ import annotations

import re
import time

from tests.cli.support import ALICE, BOB, CommandTestCase, Look
from twisted_mailstack.auth.onetime import code
from twisted_mailstack.auth.schemes import isAppPassword, verifySecret
from twisted_mailstack.model.records import (
    APP_PASSWORD,
    AccountPolicy,
    Credential,
    LoginRecord,
)


class AccessTestCase(CommandTestCase):
    """
    Alice's account.
    """

    def setUp(self) -> None:
        """Make it, and look at it beside the command."""
        super().setUp()
        self.add(ALICE)
        self.look = Look(self.data)
        self.addCleanup(self.look.close)
        self.accountId = self.look.account(ALICE).accountId

    def policy(self) -> AccountPolicy:
        """
        @return: alice's.
        """
        return self.look.run(self.look.store.directory.findPolicy(self.accountId))

    def appPasswords(self) -> list[Credential]:
        """
        @return: alice's.
        """
        found = self.look.run(self.look.store.directory.findCredentials(self.accountId))
        return [each for each in found if each.kind == APP_PASSWORD]


class AppPasswordTests(AccessTestCase):
    """
    C{mailstack user app-password}.
    """

    def test_add(self) -> None:
        """A password is shown once, and holds for what it is for, for SCRAM too."""
        shown = self.mailstack(
            *("user", "app-password", "add", ALICE, "My phone", "--service", "imap"),
            *("--service", "smtp", "--expires", "2030-12-31"),
        )
        match = re.fullmatch(r"The app password My phone of (\S+): (\S{20})\n", shown)
        assert match is not None, shown
        self.assertEqual(match[1], ALICE)
        (made,) = self.appPasswords()
        self.assertEqual((made.name, made.services), ("My phone", frozenset(("imap", "smtp"))))
        # To the end of the day, UTC.
        self.assertEqual(made.expires, 1_924_992_000)
        self.assertTrue(isAppPassword(match[2].encode(), made.secrets))
        verifier = made.secrets["scram-sha-256"]
        self.assertTrue(verifySecret("scram-sha-256", verifier, match[2].encode()))
        # One salt, whichever of the account's passwords a client has (RFC 5802 §5).
        (main,) = [
            each
            for each in self.look.run(self.look.store.directory.findCredentials(self.accountId))
            if each.kind != APP_PASSWORD
        ]
        self.assertEqual(main.secrets["scram-sha-256"].split(",")[:2], verifier.split(",")[:2])
        self.assertNotIn(match[2], self.mailstack("user", "app-password", "list", ALICE))

    def test_list(self) -> None:
        """Each is listed with what it is for, when it was used, and until when it holds."""
        self.mailstack("user", "app-password", "add", ALICE, "a")
        self.mailstack(
            *("user", "app-password", "add", ALICE, "b", "--service", "pop3"),
            *("--expires", "2030-12-31"),
        )
        (first, _) = self.appPasswords()
        self.look.run(self.look.store.directory.touchCredential(first.credentialId, 1_700_000_000))
        a, b = self.mailstack("user", "app-password", "list", ALICE).splitlines()
        self.assertEqual(a.split(), ["a", "all", "last", "used", "2023-11-14", "22:13:20"])
        self.assertEqual(b.split(), ["b", "pop3", "last", "used", "never", "until", "2030-12-31"])

    def test_remove(self) -> None:
        """One that is removed is no more; its name is free."""
        self.mailstack("user", "app-password", "add", ALICE, "a")
        self.mailstack("user", "app-password", "add", ALICE, "a", status=1)
        self.mailstack("user", "app-password", "remove", ALICE, "a")
        self.assertEqual(self.appPasswords(), [])
        self.mailstack("user", "app-password", "remove", ALICE, "a", status=1)
        self.mailstack("user", "app-password", "add", ALICE, "a")

    def test_misuse(self) -> None:
        """There must be such an account, and a name that can be shown."""
        self.mailstack("user", "app-password", "add", BOB, "a", status=1)
        self.mailstack("user", "app-password", "list", BOB, status=1)
        for name in ("", " ", "a\x1b[2J", "a\nb"):
            self.mailstack("user", "app-password", "add", ALICE, name, status=1)
        self.mailstack("user", "app-password", "add", ALICE, "a", "--service", "ftp", status=2)
        self.mailstack("user", "app-password", "add", ALICE, "a", "--expires", "soon", status=2)


class PolicyTests(AccessTestCase):
    """
    C{expire}, C{networks}, C{services}, C{master}, C{totp}: what one sets stays what else is.
    """

    def test_together(self) -> None:
        """Each is set by itself, and can be taken back."""
        self.assertEqual(
            self.mailstack("user", "expire", ALICE, "2030-12-31"),
            f"{ALICE} expires after 2030-12-31.\n",
        )
        self.assertEqual(
            self.mailstack("user", "networks", ALICE, "192.0.2.0/24", "2001:db8::/32"),
            f"{ALICE} may log in from 192.0.2.0/24 2001:db8::/32.\n",
        )
        self.assertEqual(
            self.mailstack("user", "services", ALICE, "smtp", "imap"),
            f"{ALICE} may use: imap smtp.\n",
        )
        self.assertEqual(self.mailstack("user", "master", ALICE, "on"), f"{ALICE} is a master.\n")
        self.assertEqual(
            self.policy(),
            AccountPolicy(
                1_924_992_000,
                ("192.0.2.0/24", "2001:db8::/32"),
                frozenset(("imap", "smtp")),
                True,
                None,
            ),
        )
        self.mailstack("user", "expire", ALICE, "never")
        self.mailstack("user", "networks", ALICE, "--any")
        self.mailstack("user", "services", ALICE, "--all")
        self.assertEqual(self.mailstack("user", "master", ALICE, "off"), f"{ALICE} is no master.\n")
        self.assertEqual(self.policy(), AccountPolicy())

    def test_shown(self) -> None:
        """Without anything to set it is shown, and nothing changes."""
        self.assertEqual(
            self.mailstack("user", "networks", ALICE), f"{ALICE} may log in from everywhere.\n"
        )
        self.assertEqual(self.mailstack("user", "services", ALICE), f"{ALICE} may use: all.\n")
        self.mailstack("user", "services", ALICE, "--none")
        self.assertEqual(self.mailstack("user", "services", ALICE), f"{ALICE} may use: none.\n")
        self.assertEqual(self.policy().services, frozenset())

    def test_totp(self) -> None:
        """A secret is shown once, as text and as what applications scan; each time another."""
        shown = self.mailstack("user", "totp", ALICE, "on")
        secret = self.policy().totp
        assert secret is not None
        self.assertEqual(shown.count(secret), 2)
        self.assertIn("otpauth://totp/", shown)
        self.assertEqual(len(code(secret, 1)), 6)
        self.mailstack("user", "totp", ALICE, "on")
        self.assertNotEqual(self.policy().totp, secret)
        self.mailstack("user", "totp", ALICE, "off")
        self.assertIsNone(self.policy().totp)

    def test_misuse(self) -> None:
        """What can't be is refused, and nothing is changed."""
        for arguments in (
            ("expire", ALICE, "31.12.2030"),
            ("expire", ALICE, "9999-12-31"),
            ("networks", ALICE, "192.0.2.1/24"),
            ("networks", ALICE, "192.0.2.0/24", "--any"),
            ("services", ALICE, "imap", "--all"),
            ("services", ALICE, "--none", "--all"),
            ("services", ALICE, "imaps"),
            ("master", ALICE, "maybe"),
        ):
            self.mailstack("user", *arguments, status=2)
        self.assertEqual(self.policy(), AccountPolicy())
        for arguments in (
            *(("expire", BOB, "never"), ("networks", BOB), ("services", BOB, "imap")),
            *(("master", BOB, "on"), ("totp", BOB, "on"), ("logins", BOB)),
        ):
            self.mailstack("user", *arguments, status=1)


class LoginsTests(AccessTestCase):
    """
    C{mailstack user logins} and C{unlock}.
    """

    def test_logins(self) -> None:
        """The latest first; a name that somebody said can't do anything to the terminal."""
        records = [
            LoginRecord(
                1_700_000_000, self.accountId, ALICE, "imaps", "192.0.2.1", "PLAIN", True, "Phone"
            ),
            LoginRecord(
                1_700_000_001, self.accountId, ALICE, "pop3", "2001:db8::1", "LOGIN", False
            ),
            LoginRecord(1_700_000_002, None, "\x1b[2Jx\n", "smtp", "192.0.2.9", "PLAIN", False),
        ]
        self.look.run(self.look.store.logins.record(records))
        second, first = self.mailstack("user", "logins", ALICE).splitlines()
        self.assertEqual(
            first.split(),
            ["2023-11-14", "22:13:20", "ok", "imaps", "192.0.2.1", "PLAIN", ALICE, "by", "Phone"],
        )
        self.assertEqual(
            second.split(),
            ["2023-11-14", "22:13:21", "failed", "pop3", "2001:db8::1", "LOGIN", ALICE],
        )
        self.assertEqual(
            self.mailstack("user", "logins", ALICE, "--limit", "1").splitlines(), [second]
        )
        (stray,) = self.mailstack("user", "logins").splitlines()
        self.assertTrue(stray.endswith("PLAIN         \ufffd[2Jx\ufffd"), stray)

    def test_unlock(self) -> None:
        """A network and a name that are locked out are let in again at once."""
        memory = self.look.store.memory
        until = int(time.time()) + 900
        keys = ["login:n:192.0.2.0/24", "login:n:2001:db8::/64"]
        self.look.run(memory.remember([(key, 99, until) for key in keys]))
        self.mailstack("user", "unlock", "--network", "192.0.2.7", "--network", "2001:db8::5")
        self.assertEqual(self.look.run(memory.recall(keys)), {})
        self.mailstack("user", "unlock", ALICE)
        self.mailstack("user", "unlock", status=2)
