"""
C{mailstack check} and C{mailstack backup}.
"""

from __future__ import annotations

import sqlite3
import sys
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

from tests.cli.support import ALICE, BOB, CommandTestCase, Look
from twisted_mailstack.cli.context import progress
from twisted_mailstack.net import tls
from twisted_mailstack.net.tls import selfSigned

LARGE = b"Subject: large\r\n\r\n" + bytes(range(256)) * 4096


class MailTestCase(CommandTestCase):
    """
    Two accounts with mail.
    """

    def setUp(self) -> None:
        """The mail."""
        super().setUp()
        self.add(ALICE, BOB)
        look = Look(self.data)
        for number in range(3):
            look.append(ALICE, b"Subject: %d\r\n\r\ntext\r\n" % number)
        look.append(ALICE, LARGE, mailbox="Archive")
        look.close()

    def damage(self, *statements: str) -> None:
        """
        Change the database behind everybody's back.
        """
        connection = sqlite3.connect(self.data / "mail.sqlite3")
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()


class IndexTests(MailTestCase):
    """
    C{mailstack index}.
    """

    def found(self, text: str) -> set[str]:
        """
        @return: the names of index files in which a text is found.
        """
        found = set()
        for file in (self.data / "index").glob("*.sqlite3"):
            connection = sqlite3.connect(file)
            if connection.execute(
                "SELECT 1 FROM document WHERE document MATCH ?", (text,)
            ).fetchone():
                found.add(file.name)
            connection.close()
        return found

    def test_all(self) -> None:
        """Every account that has mail is indexed."""
        self.assertEqual(self.mailstack("index"), "Indexed 2 accounts.\n")
        self.assertEqual(self.found("tex"), {"A1.sqlite3"})

    def test_some(self) -> None:
        """Only those that are named; one that isn't there is an error."""
        self.assertEqual(self.mailstack("index", BOB), "Indexed 1 account.\n")
        self.assertEqual(self.found("tex"), set())
        self.assertIn("no account", self.mailstack("index", "carol@example.test", status=1))

    def test_rebuild(self) -> None:
        """What is damaged is made anew; check says so."""
        self.mailstack("index")
        file = self.data / "index" / "A1.sqlite3"
        file.write_bytes(b"this is no database, is it?" * 1000)
        self.assertIn("mailstack index --rebuild", self.mailstack("check", status=1))
        self.assertIn("A1", self.mailstack("index", status=1))
        self.mailstack("index", "--rebuild")
        self.assertEqual(self.found("tex"), {"A1.sqlite3"})
        self.assertEqual(self.mailstack("check"), "No damage found.\n")


class CheckTests(MailTestCase):
    """
    C{mailstack check}.
    """

    def test_sound(self) -> None:
        """Nothing is wrong: it says so, status 0."""
        self.assertEqual(self.mailstack("check"), "No damage found.\n")

    def test_empty(self) -> None:
        """A store without mail is sound."""
        self.assertEqual(self.command("--data", self.empty(), "check"), "No damage found.\n")

    def empty(self) -> Path:
        """
        @return: a data directory without accounts.
        """
        data = Path(self.mktemp())
        self.command("--data", data, "domain", "add", "a.test")
        return data

    def test_octets(self) -> None:
        """Octets that changed on the disk: the message is named, the status says so."""
        self.damage("UPDATE chunk SET data = zeroblob(length(data)) WHERE piece % 65536 = 1")
        said = self.mailstack("check", status=1)
        self.assertIn(f"{ALICE}", said)
        self.assertIn("Archive", said)
        self.assertNotIn("No damage", said)

    def test_lost(self) -> None:
        """A piece that is gone."""
        self.damage("DELETE FROM chunk WHERE piece % 65536 = 1")
        self.assertIn("Archive", self.mailstack("check", status=1))

    def test_counts(self) -> None:
        """Numbers that no longer agree: which mailbox of whom, what it says, what is right."""
        self.damage("UPDATE mailbox SET messages = 7 WHERE name = 'INBOX' AND account = 1")
        said = self.mailstack("check", status=1)
        self.assertIn(f"{ALICE}, mailbox INBOX: counts 7 messages, has 3", said)
        self.assertIn("Error: 2 findings", said)

    def test_several(self) -> None:
        """Everything that is found is listed, each on a line."""
        self.damage(
            "UPDATE mailbox SET messages = 7 WHERE name = 'INBOX'", "UPDATE account SET octets = 1"
        )
        lines = self.mailstack("check", status=1).splitlines()
        self.assertGreaterEqual(len(lines), 4)
        self.assertEqual(len(set(lines)), len(lines))

    def test_changesNothing(self) -> None:
        """A check repairs nothing: a second one finds the same."""
        self.damage("UPDATE mailbox SET messages = 7 WHERE name = 'INBOX' AND account = 1")
        first = self.mailstack("check", status=1)
        self.assertEqual(self.mailstack("check", status=1), first)

    def test_pages(self) -> None:
        """A database whose pages are overwritten is named too."""
        file = self.data / "mail.sqlite3"
        octets = bytearray(file.read_bytes())
        for page in range(2, len(octets) // 8192 - 1, 2):
            octets[page * 8192 : page * 8192 + 2000] = b"\xff" * 2000
        file.write_bytes(octets)
        self.assertIn("database", self.mailstack("check", status=1))

    def test_checkers(self) -> None:
        """Checkers that couldn't be asked, and lines of a password file, are told; no damage."""
        config, users = Path(self.mktemp()), Path(self.mktemp()).resolve()
        users.write_text("alice\n")
        config.write_text(
            f'data = "{self.data}"\n[auth]\ncheckers = ["file", "command"]\n'
            f'[checker-file]\npath = "{users}"\n[checker-command]\ncommand = ["/no/check"]\n'
        )
        self.assertEqual(
            self.command("--config", config, "check").splitlines(),
            [
                f"{users}: line 1: there is no colon",
                "checker-command.command: /no/check is no program that can be run",
                "No damage found.",
            ],
        )
        config.write_text('auth.checkers = ["fiel"]\n')
        said = self.command("--config", config, "check", status=2)
        self.assertIn("auth.checkers: there is no fiel; did you mean file?", said)

    def test_certificate(self) -> None:
        """A configured certificate that is about to end, or can't be used, is told; no damage."""
        folder = Path(self.mktemp())
        folder.mkdir()
        config = Path(self.mktemp())

        def write(certificate: Path, key: Path) -> None:
            config.write_text(
                f'data = "{self.data}"\n[tls]\ncertificate = "{certificate}"\nkey = "{key}"\n'
            )

        self.patch(tls, "SELF_SIGNED_DAYS", 100)
        own = selfSigned(folder, "localhost")
        write(own.certificate, own.key)
        self.assertEqual(self.command("--config", config, "check"), "No damage found.\n")
        self.patch(tls, "SELF_SIGNED_DAYS", 20)
        self.patch(tls, "RENEW_DAYS", 1)
        other = Path(self.mktemp())
        other.mkdir()
        own = selfSigned(other, "localhost")
        write(own.certificate, own.key)
        said = self.command("--config", config, "check")
        days = (datetime.now(UTC) + timedelta(days=20)).strftime("%Y-%m-%d")
        self.assertIn(f"{own.certificate} expires on {days}", said)
        write(folder / "missing", own.key)
        self.assertIn("missing: No such file", self.command("--config", config, "check"))


class BackupTests(MailTestCase):
    """
    C{mailstack backup}.
    """

    def test_copy(self) -> None:
        """The copy is a data directory with everything in it, sound and for its owner alone."""
        target = Path(self.mktemp()).resolve()
        self.assertEqual(
            self.mailstack("backup", target),
            f"Copied to {target}. It can be used as a data directory.\n",
        )
        self.assertEqual(target.stat().st_mode & 0o777, 0o700)
        self.assertEqual((target / "mail.sqlite3").stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.command("--data", target, "check"), "No damage found.\n")
        old, new = Look(self.data), Look(target)
        self.addCleanup(old.close)
        self.addCleanup(new.close)
        for mailbox in ("INBOX", "Archive"):
            self.assertEqual(new.messages(ALICE, mailbox), old.messages(ALICE, mailbox))
        self.assertEqual(new.messages(ALICE, "Archive")[0][0], LARGE)
        self.assertTrue(new.password(ALICE, b"a password"))

    def test_whileUsed(self) -> None:
        """A store that another process has open is copied as it is at one instant."""
        look = Look(self.data)
        self.addCleanup(look.close)
        look.append(ALICE, b"just now\r\n")
        target = Path(self.mktemp())
        self.mailstack("backup", target)
        copy = Look(target)
        self.addCleanup(copy.close)
        self.assertEqual(copy.messages(ALICE), look.messages(ALICE))

    def test_exists(self) -> None:
        """A backup that is there isn't overwritten."""
        target = Path(self.mktemp()).resolve()
        self.mailstack("backup", target)
        before = (target / "mail.sqlite3").read_bytes()
        said = self.mailstack("backup", target, status=1)
        self.assertIn(f"{target / 'mail.sqlite3'}: File exists", said)
        self.assertEqual((target / "mail.sqlite3").read_bytes(), before)

    def test_notWritable(self) -> None:
        """A place where nothing can be written is named."""
        blocker = Path(self.mktemp()).resolve()
        blocker.write_text("")
        self.mailstack("backup", blocker, status=2)
        self.assertIn(str(blocker), self.mailstack("backup", blocker / "x", status=1))


class ProgressTests(CommandTestCase):
    """
    Long work at a terminal.
    """

    def test_terminal(self) -> None:
        """Somebody sees it: how far it is, in percent."""

        class Terminal(StringIO):
            """A terminal."""

            def isatty(self) -> bool:
                """It is one."""
                return True

        screen = Terminal()
        self.patch(sys, "stderr", screen)
        with progress("Working", 200) as show:
            for done in (0, 100, 200, 300):
                show(done)
        self.assertIn("Working", screen.getvalue())
        self.assertIn("100%", screen.getvalue())

    def test_file(self) -> None:
        """Nobody sees it: nothing is written."""
        screen = StringIO()
        self.patch(sys, "stderr", screen)
        with progress("Working", 0) as show:
            show(1)
        self.assertEqual(screen.getvalue(), "")
