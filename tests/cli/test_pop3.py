"""
``mailstack user pop3``.
"""

from __future__ import annotations

from tests.cli.support import ALICE, CommandTestCase, Look
from twisted_mailstack.interfaces import IMaildropAccount
from twisted_mailstack.model.records import NEVER, MaildropSettings


class POP3Tests(CommandTestCase):
    """
    What POP3 shows of an account.
    """

    def setUp(self) -> None:
        """An account with a mailbox more."""
        super().setUp()
        self.add(ALICE)
        look = Look(self.data)
        self.addCleanup(look.close)
        self.account = IMaildropAccount(look.account(ALICE))
        self.run_ = look.run
        self.run_(self.account.createMailbox("Listen/\u00fc"))

    @property
    def settings(self) -> MaildropSettings:
        """What is stored."""
        return self.run_(self.account.maildropSettings())

    def test_shown(self) -> None:
        """Without options it is shown."""
        self.assertEqual(
            self.mailstack("user", "pop3", ALICE),
            f"{ALICE}: all messages of INBOX; deleted ones are expunged\n",
        )
        self.mailstack(
            *("user", "pop3", ALICE, "--show", "unseen", "--also", "Listen/\u00fc"),
            *("--also", "Junk", "--delete", "trash"),
        )
        self.assertEqual(
            self.mailstack("user", "pop3", ALICE),
            f"{ALICE}: unseen messages of INBOX and Listen/\u00fc and Junk; deleted ones are moved"
            " to Trash\n",
        )

    def test_stays(self) -> None:
        """What isn't named stays."""
        self.mailstack("user", "pop3", ALICE, "--also", "Junk", "--also", "inbox", "--also", "Junk")
        self.assertEqual(self.settings, MaildropSettings(False, ("Junk",), False))
        self.mailstack("user", "pop3", ALICE, "--show", "unseen")
        self.mailstack("user", "pop3", ALICE, "--delete", "trash")
        self.assertEqual(self.settings, MaildropSettings(True, ("Junk",), True))
        self.mailstack("user", "pop3", ALICE, "--only-inbox", "--show", "all")
        self.assertEqual(self.settings, MaildropSettings(False, (), True))
        self.mailstack("user", "pop3", ALICE, "--delete", "expunge")
        self.assertEqual(self.settings, MaildropSettings())

    def test_policy(self) -> None:
        """What holds between logins, and for how long what was fetched stays."""
        for option, value, settings, said in (
            (
                "--login-delay",
                "900",
                MaildropSettings(loginDelay=900),
                "900 seconds between logins",
            ),
            ("--login-delay", "0", MaildropSettings(loginDelay=0), "0 seconds between logins"),
            ("--expire", "30", MaildropSettings(expireDays=30), "fetched ones go after 30 days"),
            ("--expire", "0", MaildropSettings(expireDays=0), "fetched ones go at once"),
            ("--expire", "never", MaildropSettings(expireDays=NEVER), "fetched ones stay"),
        ):
            self.mailstack("user", "pop3", ALICE, option, value)
            self.assertEqual(self.settings, settings)
            self.assertEqual(
                self.mailstack("user", "pop3", ALICE),
                f"{ALICE}: all messages of INBOX; deleted ones are expunged; {said}\n",
            )
            self.mailstack("user", "pop3", ALICE, option, "default")
            self.assertEqual(self.settings, MaildropSettings())
        for option in ("--login-delay", "--expire"):
            for value in ("-1", "x", "1.5", "", "\u0663", "2147483647", "9" * 30):
                self.mailstack("user", "pop3", ALICE, f"{option}={value}", status=2)
        self.mailstack("user", "pop3", ALICE, "--login-delay", "never", status=2)
        self.assertEqual(self.settings, MaildropSettings())

    def test_wrong(self) -> None:
        """What isn't there, or makes no sense, is told, and nothing is changed."""
        before = self.settings
        self.assertIn(
            "has no mailbox Nowhere",
            self.mailstack("user", "pop3", ALICE, "--also", "Nowhere", status=1),
        )
        self.mailstack("user", "pop3", ALICE, "--also", "a//b", status=1)
        self.mailstack("user", "pop3", ALICE, "--also", "Junk", "--only-inbox", status=2)
        self.mailstack("user", "pop3", ALICE, "--show", "some", status=2)
        self.assertIn(
            "there is no account", self.mailstack("user", "pop3", "x@example.test", status=1)
        )
        self.assertEqual(self.settings, before)
