"""
The C{mailstack} command as a whole.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from tests.cli.support import ALICE, CommandTestCase
from tests.interop.harness import environment
from twisted_mailstack.cli.main import main


class CommandTests(CommandTestCase):
    """
    What all commands have in common.
    """

    def test_help(self) -> None:
        """Help is given for the whole and for each command, with -h too."""
        text = self.command("--help")
        for name in ("alias", "backup", "check", "domain", "export", "import", "init", "user"):
            self.assertIn(f"\n  {name} ", text)
            self.assertIn("Usage: ", self.command(name, "-h"))
        self.assertIn("Usage: ", self.mailstack("user", "add", "--help"))

    def test_documented(self) -> None:
        """Every command and option has a line of help."""

        def walk(command: object, path: str) -> None:
            self.assertTrue(getattr(command, "help", None), path)
            for name, below in getattr(command, "commands", {}).items():
                walk(below, f"{path} {name}")
            for parameter in command.params:  # type: ignore[attr-defined]
                if parameter.param_type_name == "option":
                    self.assertTrue(parameter.help, f"{path} {parameter.name}")

        walk(main, "mailstack")

    def test_version(self) -> None:
        """--version says which it is."""
        self.assertEqual(
            self.command("--version"), f"mailstack, version {version('twisted_mailstack')}\n"
        )

    def test_module(self) -> None:
        """It runs as a module too, for trees that aren't installed."""
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "twisted_mailstack.cli",
                "--data",
                str(self.data),
                "user",
                "list",
            ],
            capture_output=True,
            env=environment(),
        )
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"there is no mail in", done.stderr)

    def test_unknown(self) -> None:
        """An unknown command and an unknown option: status 2."""
        self.mailstack("what", status=2)
        self.command("--what", "user", "list", status=2)

    def test_noData(self) -> None:
        """Where no mail is, every command says so, makes nothing and says what to do."""
        source = self.mktemp()
        Path(source).write_text("Subject: x\n\nx\n")
        for arguments in (
            ["user", "list"],
            ["user", "passwd", ALICE],
            ["user", "remove", "--yes", ALICE],
            ["alias", "list"],
            ["domain", "list"],
            ["check"],
            ["backup", self.mktemp()],
            ["export", ALICE, self.mktemp()],
            ["import", ALICE, source],
        ):
            said = self.mailstack(*arguments, stdin="x\n", status=1)
            self.assertIn(f"there is no mail in {self.data}", said)
            self.assertIn("--data", said)
        self.assertFalse(self.data.exists())

    def test_dataIsAFile(self) -> None:
        """A data directory that is a file is named."""
        self.data.write_text("")
        said = self.mailstack("user", "add", ALICE, stdin="x\n", status=1)
        self.assertIn(str(self.data), said)

    def test_notADatabase(self) -> None:
        """A database that is something else is named, and left as it is."""
        self.data.mkdir()
        file = self.data / "mail.sqlite3"
        file.write_bytes(b"something else\n" * 1000)
        self.assertIn(str(file), self.mailstack("user", "list", status=1))
        self.assertEqual(file.read_bytes(), b"something else\n" * 1000)

    def test_permission(self) -> None:
        """Where one isn't allowed to look, that is said, with the file."""
        self.add(ALICE)
        file = str(self.data / "mail.sqlite3")
        openFile = os.open

        def refuse(path: str, *arguments: object, **named: object) -> int:
            if str(path).startswith(str(self.data)):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return openFile(path, *arguments, **named)  # type: ignore[arg-type]

        self.patch(os, "open", refuse)
        said = self.mailstack("user", "list", status=1)
        self.assertIn("Permission denied", said)
        self.assertIn(file, said)

    def test_config(self) -> None:
        """--config names the data directory; --data goes before it; a wrong file is told."""
        self.add(ALICE)
        config = Path(self.mktemp())
        config.write_text(f'data = "{self.data}"\n')
        self.assertIn(ALICE, self.command("--config", config, "user", "list"))
        self.assertIn(ALICE, self.command("-c", config, "-d", self.data, "user", "list"))
        self.command("--config", config, "--data", self.mktemp(), "user", "list", status=1)
        config.write_text("dta = 1\n")
        said = self.command("--config", config, "user", "list", status=2)
        self.assertIn(f"{config}: there is no key dta; did you mean data?", said)

    def test_default(self) -> None:
        """Without options it is ./mailstack-data, as for the server."""
        self.add(ALICE)
        place = Path(self.mktemp()).resolve()
        place.mkdir()
        os.symlink(self.data, place / "mailstack-data")
        before = os.getcwd()
        os.chdir(place)
        self.addCleanup(os.chdir, before)
        self.assertIn(ALICE, self.command("user", "list"))


class InitTests(CommandTestCase):
    """
    C{mailstack init}.
    """

    def test_init(self) -> None:
        """It writes a file that changes nothing as it stands, and says how to use it."""
        config = Path(self.mktemp())
        said = self.command("--config", config, "init")
        self.assertIn(f"Wrote {config}.", said)
        self.assertIn(f"twistd -n mailstack --config {config}", said)
        self.assertIn('# hostname = ""', config.read_text())
        self.command("--config", config, "--data", self.data, "domain", "add", "a.test")

    def test_noOverwriting(self) -> None:
        """A file that is there stays."""
        config = Path(self.mktemp())
        config.write_text("mine\n")
        said = self.command("--config", config, "init", status=1)
        self.assertIn(f"{config}: File exists", said)
        self.assertEqual(config.read_text(), "mine\n")

    def test_nowhere(self) -> None:
        """A directory that there isn't."""
        config = Path(self.mktemp()) / "x.toml"
        self.assertIn(
            f"{config}: No such file or directory",
            self.command("--config", config, "init", status=1),
        )

    def test_default(self) -> None:
        """Without --config it is mailstack.toml here."""
        place = Path(self.mktemp())
        place.mkdir()
        before = os.getcwd()
        os.chdir(place)
        self.addCleanup(os.chdir, before)
        self.command("init")
        self.assertTrue(Path("mailstack.toml").is_file())
