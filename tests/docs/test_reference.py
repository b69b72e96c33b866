"""
docs/configuration.rst and docs/commands.rst say what the code says.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import click
from twisted.internet.endpoints import serverFromString
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from docs.reference import HERE, PAGES, escape, rewritten
from tests.docs.console import blocks
from twisted_mailstack.cli.main import main as mailstack
from twisted_mailstack.config import Configuration, ConfigurationProblem, load, template


class ReferenceTests(SynchronousTestCase):
    """
    The parts that are written out of the code.
    """

    def test_current(self) -> None:
        """Every page is as C{python -m docs.reference} would write it."""
        for name in PAGES:
            self.assertEqual(
                (HERE / name).read_text("utf-8"),
                rewritten(name),
                f"docs/{name} is not current: run python -m docs.reference",
            )

    def test_everyKey(self) -> None:
        """Each key is there once, with what it is for and what it is without being set."""
        text = (HERE / "configuration.rst").read_text("utf-8")
        for field in fields(Configuration):
            found = re.findall(
                rf"^``{re.escape(field.metadata['key'])}``\n    (.+)$", text, re.MULTILINE
            )
            self.assertEqual(len(found), 1, field.metadata["key"])
            if isinstance(field.default, int) and not isinstance(field.default, bool):
                self.assertIn(f"default {field.default:,})", text)

    def test_everyCommand(self) -> None:
        """Each command of C{mailstack} is there, and each of its options."""
        text = (HERE / "commands.rst").read_text("utf-8")

        def walk(path: str, command: click.Command) -> None:
            if isinstance(command, click.Group):
                for name, below in command.commands.items():
                    walk(f"{path} {name}", below)
            else:
                self.assertIn(f"\n``{path}", text)
            for parameter in command.params:
                if isinstance(parameter, click.Option) and parameter.name != "version":
                    self.assertIn(parameter.opts[0], text)

        walk("mailstack", mailstack)

    def test_escape(self) -> None:
        """Text of the code isn't taken for markup."""
        self.assertEqual(escape("*@x, a_ b_c `d` |e| \\"), "\\*@x, a\\_ b_c \\`d\\` \\|e\\| \\\\")


class ConfigurationExampleTests(SynchronousTestCase):
    """
    The configuration files that the pages show.
    """

    def write(self, text: str) -> str:
        """
        @return: the path of a file with this text.
        """
        path = Path(self.mktemp())
        path.write_text(text, "utf-8")
        return str(path)

    def test_examples(self) -> None:
        """Each can be loaded, and sets what it says."""
        examples = [
            *blocks(HERE / "configuration.rst", "toml"),
            *blocks(HERE / "operators.rst", "toml"),
        ]
        self.assertTrue(examples)
        for text in examples:
            loaded = load(self.write(text))
            for key, value in tomllib.loads(text).items():
                if not isinstance(value, dict):
                    self.assertEqual(getattr(loaded, key), value)
            for endpoint in loaded.endpoints().values():
                serverFromString(MemoryReactorClock(), endpoint)

    def test_everyKeyAtItsDefault(self) -> None:
        """A file that sets every key to what the template shows is the same as no file."""
        # Uncommenting the template is what an operator does with it.
        lines = [
            line[2:] if re.match(r"# [a-z\-.]+ = ", line) else line
            for line in template().splitlines()
            if not line.startswith("# listen")
        ]
        self.assertEqual(load(self.write("\n".join(lines))), load(None))

    def test_unknownKey(self) -> None:
        """A key that doesn't exist is an error that names the nearest, as the page says."""
        path = self.write("[smtp]\nmax-message-sise = 1\n")
        problem = self.assertRaises(ConfigurationProblem, load, path)
        self.assertIn("did you mean smtp.max-message-size?", str(problem))

    def test_commandLineFirst(self) -> None:
        """--data and --listen go before the file; other services stay as it says."""
        path = self.write('data = "a"\n[listen]\nsmtp = "tcp:1"\nimap = "tcp:2"\n')
        loaded = load(path, data="b", listen={"smtp": "tcp:3"})
        self.assertEqual(loaded.data, "b")
        self.assertEqual(loaded.endpoints()["smtp"], "tcp:3")
        self.assertEqual(loaded.endpoints()["imap"], "tcp:2")
