"""
C{mailstack user}.
"""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time

from tests.cli.support import ALICE, BOB, CommandTestCase, Look
from tests.interop.harness import environment
from twisted_mailstack.model.address import Address


class AddTests(CommandTestCase):
    """
    C{mailstack user add}.
    """

    def test_withoutPassword(self) -> None:
        """An account whose password is known elsewhere needs none here, and isn't asked for it."""
        self.mailstack("user", "add", "--no-password", ALICE)
        self.assertIn(ALICE, self.mailstack("user", "list"))
        look = Look(self.data)
        record = look.run(look.store.directory.findAccount(Address.parse(ALICE)))
        assert record is not None
        self.assertEqual(look.run(look.store.directory.findCredentials(record.accountId)), [])
        look.close()

    def test_newDomain(self) -> None:
        """The first address of a domain makes the domain, and says so; the next one doesn't."""
        self.assertEqual(
            self.mailstack("user", "add", ALICE, stdin="secret\n"),
            f"Made the domain example.test.\nMade the account {ALICE}.\n",
        )
        self.assertEqual(
            self.mailstack("user", "add", BOB, stdin="secret\n"), f"Made the account {BOB}.\n"
        )
        self.assertEqual(self.mailstack("domain", "list"), "example.test\n")

    def test_mailboxes(self) -> None:
        """An account begins with INBOX and the special-use mailboxes, as every other."""
        self.add(ALICE)
        look = Look(self.data)
        self.addCleanup(look.close)
        self.assertEqual(look.names(ALICE), ["INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"])

    def test_passwords(self) -> None:
        """The password is one line of standard input: all of it but the line's end."""
        for number, (line, password) in enumerate(
            (
                ("with spaces  in it", b"with spaces  in it"),
                (" around ", b" around "),
                ('staple pa"ss\\wörd', 'staple pa"ss\\wörd'.encode()),
                ("日本語 😀", "日本語 😀".encode()),
                ("-dash", b"-dash"),
                ("%s{}$HOME", b"%s{}$HOME"),
                ("x" * 500, b"x" * 500),
            )
        ):
            for end in ("\n", "\r\n", ""):
                address = f"user{number}{len(end)}@example.test"
                self.mailstack("user", "add", address, stdin=line + end)
                look = Look(self.data)
                self.assertTrue(look.password(address, password), line)
                self.assertFalse(look.password(address, password + b"\n"))
                look.close()

    def test_composed(self) -> None:
        """A password typed as one character or as two is the same password (RFC 4616 §2)."""
        self.add(ALICE, password="wo\u0308rd")
        look = Look(self.data)
        self.addCleanup(look.close)
        self.assertTrue(look.password(ALICE, "wörd".encode()))

    def test_oneLine(self) -> None:
        """What follows the first line isn't the password's."""
        self.mailstack("user", "add", ALICE, stdin="secret\nsomething else\n")
        look = Look(self.data)
        self.addCleanup(look.close)
        self.assertTrue(look.password(ALICE, b"secret"))

    def test_noPassword(self) -> None:
        """Nothing, an empty line, what isn't UTF-8 or has a NUL is no password; nothing is made."""
        for stdin in (b"", b"\n", b"\r\n", b"p\xe4ss\n", b"pa\0ss\n"):
            said = self.mailstack("user", "add", ALICE, stdin=stdin, status=1)
            self.assertIn("password", said)
            self.assertEqual(self.mailstack("user", "list"), "")
            self.assertEqual(self.mailstack("domain", "list"), "")

    def test_exists(self) -> None:
        """An account that exists is left as it is, whatever the case of the letters."""
        self.add(ALICE, password="first")
        for address in (ALICE, "ALICE@Example.TEST"):
            said = self.mailstack("user", "add", address, stdin="second\n", status=1)
            self.assertIn("exists already", said)
        look = Look(self.data)
        self.addCleanup(look.close)
        self.assertTrue(look.password(ALICE, b"first"))

    def test_aliasExists(self) -> None:
        """An address that is an alias can't be an account."""
        self.add(ALICE)
        self.mailstack("alias", "set", BOB, ALICE)
        self.assertIn(
            "exists already", self.mailstack("user", "add", BOB, stdin="secret\n", status=1)
        )

    def test_invalidAddress(self) -> None:
        """What is no address is refused with status 2, as any misuse, and named."""
        for address in (
            "alice",
            "@example.test",
            "alice@",
            "a b@example.test",
            "a@b@c",
            "a@-x",
            "",
        ):
            said = self.mailstack("user", "add", address, stdin="secret\n", status=2)
            self.assertIn(f"{address}: ", said)
        self.assertFalse(self.data.exists())

    def test_internationalised(self) -> None:
        """An address in UTF-8 is an account like any other; the domain becomes A-labels."""
        self.mailstack("user", "add", "jörg@bücher.example", stdin="secret\n")
        self.assertIn("jörg@xn--bcher-kva.example", self.mailstack("user", "list"))
        self.assertIn(
            "exists already",
            self.mailstack("user", "add", "jo\u0308rg@BÜCHER.example", stdin="x\n", status=1),
        )

    def test_misuse(self) -> None:
        """A missing or superfluous argument and an unknown option: status 2."""
        self.mailstack("user", "add", status=2)
        self.mailstack("user", "add", ALICE, BOB, status=2)
        self.mailstack("user", "add", "--what", ALICE, status=2)
        self.mailstack("user", "what", status=2)


class TerminalTests(CommandTestCase):
    """
    With a person at a terminal.
    """

    def ask(self, *answers: str) -> tuple[int, str]:
        """
        Run C{user add} on a terminal and answer each question.

        @return: the exit status, and all that stood on the screen.
        """
        mine, theirs = pty.openpty()
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "twisted_mailstack.cli", "--data", str(self.data)),
                *("user", "add", ALICE),
            ],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(),
            start_new_session=True,
        )
        os.close(theirs)
        screen = b""
        waiting = list(answers)
        deadline = time.monotonic() + 30
        try:
            while time.monotonic() < deadline:
                if not select.select([mine], [], [], 0.2)[0]:
                    continue
                try:
                    data = os.read(mine, 4096)
                except OSError:
                    # The other side is closed.
                    break
                if not data:
                    break
                screen += data
                if screen.rstrip(b" ").endswith(b":") and waiting:
                    os.write(mine, waiting.pop(0).encode() + b"\n")
                    screen += b"<answered>"
        finally:
            os.close(mine)
            status = process.wait(30)
        return status, screen.decode()

    def test_twice(self) -> None:
        """It is asked for twice and not shown."""
        status, screen = self.ask("my secret", "my secret")
        self.assertEqual(status, 0, screen)
        self.assertIn("Made the account", screen)
        self.assertNotIn("my secret", screen)
        look = Look(self.data)
        self.addCleanup(look.close)
        self.assertTrue(look.password(ALICE, b"my secret"))

    def test_different(self) -> None:
        """Two that differ are asked for again."""
        status, screen = self.ask("one", "two", "three", "three")
        self.assertEqual(status, 0, screen)
        self.assertIn("do not match", screen)
        look = Look(self.data)
        self.addCleanup(look.close)
        self.assertTrue(look.password(ALICE, b"three"))


class PasswdTests(CommandTestCase):
    """
    C{mailstack user passwd}.
    """

    def test_changed(self) -> None:
        """The new password is the only one."""
        self.add(ALICE, password="old")
        self.assertEqual(
            self.mailstack("user", "passwd", ALICE, stdin="new\n"),
            f"Changed the password of {ALICE}.\n",
        )
        look = Look(self.data)
        self.addCleanup(look.close)
        self.assertTrue(look.password(ALICE, b"new"))
        self.assertFalse(look.password(ALICE, b"old"))

    def test_unknown(self) -> None:
        """An account that there isn't is said before a password is asked for."""
        self.add(ALICE)
        self.assertIn(f"there is no account {BOB}", self.mailstack("user", "passwd", BOB, status=1))


class ListTests(CommandTestCase):
    """
    C{mailstack user list}.
    """

    def test_list(self) -> None:
        """One line for each account: its address, what it holds, its limit, if it is disabled."""
        self.add(BOB, ALICE, "carol@other.test")
        look = Look(self.data)
        look.append(ALICE, b"x" * 2048)
        look.close()
        self.mailstack("user", "quota", ALICE, "--octets", str(1 << 20))
        self.mailstack("user", "disable", BOB)
        lines = [line.split() for line in self.mailstack("user", "list").splitlines()]
        self.assertEqual(
            lines,
            [
                [ALICE, "1", "messages", "2.0", "KiB", "of", "1.0", "MiB"],
                [BOB, "0", "messages", "0", "B", "disabled"],
                ["carol@other.test", "0", "messages", "0", "B"],
            ],
        )
        lines = self.mailstack("user", "list", "other.test").splitlines()
        self.assertEqual(len(lines), 1)

    def test_none(self) -> None:
        """No account, no line."""
        self.mailstack("domain", "add", "example.test")
        self.assertEqual(self.mailstack("user", "list"), "")


class RemoveTests(CommandTestCase):
    """
    C{mailstack user remove}.
    """

    def test_removed(self) -> None:
        """With --yes the account and its mail are gone; the address can be used again, empty."""
        self.add(ALICE, BOB)
        look = Look(self.data)
        look.append(ALICE, b"hello\r\n")
        look.close()
        self.assertEqual(
            self.mailstack("user", "remove", "--yes", ALICE), f"Removed the account {ALICE}.\n"
        )
        self.assertNotIn(ALICE, self.mailstack("user", "list"))
        self.add(ALICE)
        look = Look(self.data)
        self.addCleanup(look.close)
        self.assertEqual(look.messages(ALICE), [])
        self.assertIn("No damage found.", self.mailstack("check"))

    def test_notAsked(self) -> None:
        """Without a terminal to ask on, and without --yes, nothing is removed."""
        self.add(ALICE)
        self.assertIn("--yes", self.mailstack("user", "remove", ALICE, stdin="y\n", status=1))
        self.assertIn(ALICE, self.mailstack("user", "list"))

    def test_unknown(self) -> None:
        """An account that there isn't."""
        self.add(ALICE)
        self.assertIn(
            f"there is no account {BOB}",
            self.mailstack("user", "remove", "--yes", BOB, status=1),
        )


class StateTests(CommandTestCase):
    """
    C{mailstack user enable}, C{disable} and C{quota}.
    """

    def test_disabled(self) -> None:
        """Disabled and enabled again; the mail stays."""
        self.add(ALICE)
        self.assertEqual(self.mailstack("user", "disable", ALICE), f"{ALICE} may not log in.\n")
        self.assertIn("disabled", self.mailstack("user", "list"))
        self.assertEqual(self.mailstack("user", "enable", ALICE), f"{ALICE} may log in.\n")
        self.assertNotIn("disabled", self.mailstack("user", "list"))

    def test_quota(self) -> None:
        """Each limit is set by itself, and lifted by 0; without options they are shown."""
        self.add(ALICE)
        said = self.mailstack("user", "quota", ALICE, "--octets", "2048")
        self.assertEqual(said, f"Set the quota of {ALICE}.\n")
        self.mailstack("user", "quota", ALICE, "--messages", "7")
        self.assertEqual(
            self.mailstack("user", "quota", ALICE),
            f"{ALICE}: 0 B of 2.0 KiB, 0 messages of 7\n",
        )
        self.mailstack("user", "quota", ALICE, "--octets", "0")
        self.assertEqual(
            self.mailstack("user", "quota", ALICE),
            f"{ALICE}: 0 B of any number, 0 messages of 7\n",
        )

    def test_mailboxQuota(self) -> None:
        """The number of mailboxes is limited likewise, and shown where it is."""
        self.add(ALICE)
        self.mailstack("user", "quota", ALICE, "--mailboxes", "9")
        self.mailstack("user", "quota", ALICE, "--messages", "7")
        self.assertEqual(
            self.mailstack("user", "quota", ALICE),
            f"{ALICE}: 0 B of any number, 0 messages of 7, 6 mailboxes of 9\n",
        )
        self.mailstack("user", "quota", ALICE, "--mailboxes", "0")
        self.assertEqual(
            self.mailstack("user", "quota", ALICE),
            f"{ALICE}: 0 B of any number, 0 messages of 7\n",
        )

    def test_annotationQuota(self) -> None:
        """The octets of annotations are limited likewise."""
        self.add(ALICE)
        self.mailstack("user", "quota", ALICE, "--annotations", "2048")
        self.mailstack("user", "quota", ALICE, "--messages", "7")
        self.assertEqual(
            self.mailstack("user", "quota", ALICE),
            f"{ALICE}: 0 B of any number, 0 messages of 7, annotations: 0 B of 2.0 KiB\n",
        )
        self.mailstack("user", "quota", ALICE, "--annotations", "0")
        self.assertEqual(
            self.mailstack("user", "quota", ALICE),
            f"{ALICE}: 0 B of any number, 0 messages of 7\n",
        )

    def test_quotaBounds(self) -> None:
        """A number below zero, beyond all use or none at all is refused."""
        self.add(ALICE)
        for number in ("-1", str(10**30), "many"):
            self.mailstack("user", "quota", ALICE, "--octets", number, status=2)

    def test_defaultQuota(self) -> None:
        """A new account gets the quota of the configuration."""
        config = self.mktemp()
        with open(config, "w") as file:
            file.write(f'data = "{self.data}"\n[quota]\nmessages = 5\n')
        self.command("--config", config, "user", "add", ALICE, stdin="secret\n")
        self.assertIn("messages of 5", self.mailstack("user", "quota", ALICE))

    def test_unknown(self) -> None:
        """Each says which account there isn't."""
        self.add(ALICE)
        for command in ("enable", "disable", "quota"):
            said = self.mailstack("user", command, BOB, status=1)
            self.assertIn(BOB, said)
            self.assertIn("no account", said)
