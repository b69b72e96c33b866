"""
docs/dependencies.rst against setup.cfg and against what the package imports.
"""

from __future__ import annotations

import ast
import re
import sys
from configparser import ConfigParser
from importlib.metadata import packages_distributions
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import twisted_mailstack
from tests.docs import DOCS, ROOT

_REQUIREMENT = re.compile(r"([A-Za-z0-9._\-]+) *>= *([0-9.]+)\Z")


def requirements(section: str, option: str) -> dict[str, str]:
    """
    @return: the lower bound of each package that setup.cfg names there.
    """
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg", "utf-8")
    found = {}
    for line in parser[section][option].strip().splitlines():
        match = _REQUIREMENT.match(line.strip())
        assert match is not None, f"{line}: a package and its lower bound are wanted"
        found[match.group(1)] = match.group(2)
    return found


def rows() -> dict[str, tuple[str, str]]:
    """
    @return: each package of the page's table: its lower bound, and why it is there.
    """
    text = (DOCS / "dependencies.rst").read_text("utf-8")
    found = re.findall(r"^([A-Za-z][\w.\-]*)  +([0-9.]+)  +(\S.*)$", text, re.MULTILINE)
    return {name: (bound, why) for name, bound, why in found}


def canonical(name: str) -> str:
    """
    @return: a distribution's name as it is compared.
    """
    return re.sub(r"[-_.]+", "-", name).lower()


class DependencyTests(SynchronousTestCase):
    """
    What is needed is named once, with its reason.
    """

    def test_table(self) -> None:
        """Each package that is installed with ours is in the table, with its bound and a reason."""
        needed = requirements("options", "install_requires")
        self.assertEqual({name: bound for name, (bound, _) in rows().items()}, needed)

    def test_extras(self) -> None:
        """What tests and development need is named too."""
        text = (DOCS / "dependencies.rst").read_text("utf-8")
        for extra in ("test", "dev"):
            for name in requirements("options.extras_require", extra):
                self.assertIn(name, text)

    def test_imports(self) -> None:
        """The package imports nothing that isn't in the table."""
        allowed = {canonical(name) for name in requirements("options", "install_requires")}
        owners = packages_distributions()
        for path in Path(twisted_mailstack.__file__).parent.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module or ""]
                for name in names:
                    top = name.partition(".")[0]
                    if top in sys.stdlib_module_names or top == "twisted_mailstack":
                        continue
                    owned = {canonical(owner) for owner in owners.get(top, [top])}
                    self.assertTrue(owned & allowed, f"{path} imports {name}")
