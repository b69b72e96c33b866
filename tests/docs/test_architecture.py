"""
docs/architecture.rst against tests/test_layers.py, and the pages against one another.
"""

from __future__ import annotations

import re
from importlib import import_module

from twisted.trial.unittest import SynchronousTestCase

from tests.docs import DOCS, ROOT
from tests.test_layers import LAYERS


def layerTable() -> dict[str, set[str]]:
    """
    @return: the modules of each layer, as the page's table has them.
    """
    text = (DOCS / "architecture.rst").read_text("utf-8")
    body = text[text.index("layer  modules ") :]
    body = body[body.index("\n0 ") : body.index("\n\nNothing below 7")]
    found: dict[str, set[str]] = {}
    number = ""
    for line in body.splitlines():
        start = re.match(r"(\d[\d.]*) ", line)
        if start:
            number = start.group(1)
        if line.startswith((" ", number)) and number:
            # The modules' column only.
            found.setdefault(number, set()).update(re.findall(r"``(\w+)``", line[7:53]))
    return found


class ArchitectureTests(SynchronousTestCase):
    """
    The picture is that of the house.
    """

    def test_layers(self) -> None:
        """The table has each layer of the import rule, with exactly its modules."""
        enforced: dict[str, set[str]] = {}
        for prefix, number, _ in LAYERS:
            enforced.setdefault(f"{number:g}", set()).add(prefix.rpartition(".")[2])
        self.assertEqual(layerTable(), enforced)

    def test_filesExist(self) -> None:
        """Every file that a page names is there."""
        missing = set()
        for page in (*DOCS.glob("*.rst"), ROOT / "README.rst"):
            for name in re.findall(r"``((?:[\w.]+/)+\w+\.(?:py|rst))``", page.read_text("utf-8")):
                if not any((top / name).exists() for top in (ROOT, ROOT / "twisted_mailstack")):
                    missing.add(f"{page.name}: {name}")
        self.assertEqual(missing, set())

    def test_namesExist(self) -> None:
        """Every name of the package that a page spells out with its module is there."""
        missing = set()
        pattern = r"``(?:twisted_mailstack\.)?((?:[a-z0-9]+\.)+)(?!py\b)([A-Za-z_]+)\b[^`]*``"
        for page in DOCS.glob("*.rst"):
            for path, name in re.findall(pattern, page.read_text("utf-8")):
                module = path.rstrip(".").replace(".", "/")
                if (ROOT / "twisted_mailstack" / f"{module}.py").exists():
                    found = import_module(f"twisted_mailstack.{path.rstrip('.')}")
                    if not hasattr(found, name):
                        missing.add(f"{page.name}: {path}{name}")
        self.assertEqual(missing, set())

    def test_everyPageInTheIndex(self) -> None:
        """The index leads to every page, and to none that isn't there."""
        text = (DOCS / "index.rst").read_text("utf-8")
        listed = set(re.findall(r"^   (\w+)$", text, re.MULTILINE))
        pages = {page.stem for page in DOCS.glob("*.rst")} - {"index"}
        self.assertEqual(pages - listed, set())

    def test_newsFragments(self) -> None:
        """Each piece of news names its issue and its kind, and is one line."""
        for path in ROOT.glob("newsfragments/[!.]*"):
            self.assertRegex(path.name, r"\A\d+\.(feature|bugfix|doc|removal|misc)(\.\d+)?\Z")
            self.assertRegex(path.read_text("utf-8"), r"\A[^\n]+\n\Z", path.name)
