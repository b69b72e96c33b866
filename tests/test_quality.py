"""
What tools can see of the code and its documentation: lint, format, types, a build without warnings.
They are part of the tests, so that one command says whether a change can be taken.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent


class QualityTests(SynchronousTestCase):
    """
    Each tool is content.
    """

    if not (ROOT / "twisted_mailstack").is_dir():
        skip = "the package is not in this tree"

    def assertContent(self, *command: str) -> None:
        """
        Run a tool's module in the checkout.
        """
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout.decode(errors="replace")[-5000:])

    def cache(self) -> str:
        """
        @return: a directory for a tool's files, since several may run at a time.
        """
        return str(Path(self.mktemp()).absolute())

    def test_lint(self) -> None:
        """No finding of ruff's."""
        self.assertContent("ruff", "check", "--no-cache", ".")

    def test_format(self) -> None:
        """Everything is formatted as ruff formats it."""
        self.assertContent("ruff", "format", "--no-cache", "--check", ".")

    def test_types(self) -> None:
        """mypy --strict, with zope's interfaces, finds nothing in the package."""
        self.assertContent("mypy", "--cache-dir", self.cache(), "twisted_mailstack")

    def test_documentation(self) -> None:
        """The documentation builds without a warning."""
        self.assertContent("sphinx", "-W", "-q", "-b", "html", "docs", self.cache())
