"""
What gets installed: a namespace package beside Twisted's own, one plugin, the types.
"""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points, requires, version
from pathlib import Path

import twisted
import twisted.plugins
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface.verify import verifyObject

import twisted_mailstack
from tests.interop.harness import environment

ROOT = Path(__file__).parent.parent
PACKAGE = Path(twisted_mailstack.__file__).parent


def setup() -> configparser.ConfigParser:
    """
    @return: setup.cfg.
    """
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", "utf-8")
    return parser


class PluginTests(SynchronousTestCase):
    """
    C{twistd mailstack}.
    """

    def test_namespaces(self) -> None:
        """
        Neither twisted nor twisted.plugins has an __init__ of ours: it would hide Twisted's own.
        """
        for folder in ("twisted", "twisted/plugins"):
            self.assertFalse((ROOT / folder / "__init__.py").exists(), folder)
        ours = {path.name for path in (ROOT / "twisted").rglob("*.py")}
        self.assertEqual(ours, {"mailstack_plugin.py"})

    def test_realTwisted(self) -> None:
        """The twisted that is imported is Twisted, also with this directory first on the path."""
        self.assertTrue(twisted.__version__)
        assert twisted.__file__ is not None
        self.assertNotEqual(Path(twisted.__file__).parent.parent.resolve(), ROOT)
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "import twisted.internet.defer, twisted; print(twisted.__file__)",
            ],
            capture_output=True,
            cwd=ROOT,
            env=environment(),
            check=True,
        )
        self.assertEqual(Path(done.stdout.decode().strip()), Path(twisted.__file__))

    def test_found(self) -> None:
        """There is one plugin of that name, it is a service maker, and it is light to read."""
        found = [each for each in getPlugins(IServiceMaker) if each.tapname == "mailstack"]
        self.assertEqual(len(found), 1)
        (plugin,) = found
        verifyObject(IServiceMaker, plugin)
        self.assertTrue(plugin.description)
        self.assertTrue(callable(plugin.makeService))
        self.assertTrue(callable(plugin.options))

    def test_light(self) -> None:
        """Every twistd reads the plugin, so it imports nothing of the package."""
        tree = ast.parse((ROOT / "twisted/plugins/mailstack_plugin.py").read_text())
        imported = {
            node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        self.assertEqual(imported, {"twisted.application.service"})

    def test_twistd(self) -> None:
        """twistd knows it, and its help tells of its options."""
        done = subprocess.run(
            [
                *(sys.executable, "-c", "from twisted.scripts.twistd import run; run()"),
                *("mailstack", "--help"),
            ],
            capture_output=True,
            cwd=self.mktemp_(),
            env=environment(),
            check=True,
        )
        for option in (b"--config", b"--data", b"--listen"):
            self.assertIn(option, done.stdout)

    def mktemp_(self) -> str:
        """
        @return: an empty directory.
        """
        path = Path(self.mktemp())
        path.mkdir()
        return str(path)


class MetadataTests(SynchronousTestCase):
    """
    What the installed distribution says of itself.
    """

    def test_version(self) -> None:
        """The version is that of setup.cfg, and a version."""
        given = setup()["metadata"]["version"]
        self.assertEqual(version("twisted_mailstack"), given)
        self.assertRegex(given, r"\A\d+\.\d+\.\d+([ab]\d+|rc\d+)?\Z")

    def test_command(self) -> None:
        """mailstack is the one command."""
        found = [
            each
            for each in entry_points(group="console_scripts")
            if each.value.startswith("twisted_mailstack")
        ]
        self.assertEqual({each.name for each in found}, {"mailstack"})
        self.assertTrue(callable(found[0].load()))

    def test_typed(self) -> None:
        """Type checkers of other projects use our annotations (PEP 561)."""
        self.assertTrue((PACKAGE / "py.typed").is_file())
        self.assertIn("py.typed", setup()["options.package_data"]["twisted_mailstack"])

    def test_lowerBounds(self) -> None:
        """Every dependency has a lower bound."""
        for name, text in (
            ("options", "install_requires"),
            ("options.extras_require", "test"),
            ("options.extras_require", "dev"),
        ):
            for line in setup()[name][text].split("\n"):
                if line.strip() and not line.startswith("#"):
                    self.assertIn(">=", line)
        self.assertEqual(setup()["options"]["python_requires"], ">=3.11")

    def test_imported(self) -> None:
        """What the package imports is the standard library or a dependency of its own."""
        names = {
            re.split(r"[ ><=!;\[]", line)[0].lower().replace("-", "_").replace(".", "_")
            for line in requires("twisted_mailstack") or ()
            if "extra ==" not in line
        }
        # Distributions whose modules have another name.
        names |= {"zope", "openssl", "argon2"} | {"twisted_mailstack"}
        for path in PACKAGE.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Import):
                    modules = [each.name for each in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    modules = [node.module or ""]
                else:
                    continue
                for module in modules:
                    top = module.partition(".")[0]
                    if top not in sys.stdlib_module_names:
                        self.assertIn(top.lower(), names, f"{path.name} imports {module}")

    def test_python(self) -> None:
        """Every tool is told the same lowest Python."""
        ruff = tomllib.loads((ROOT / "ruff.toml").read_text())
        self.assertEqual(ruff["target-version"], "py311")
        self.assertEqual(setup()["mypy"]["python_version"], "3.11")


class FilesTests(SynchronousTestCase):
    """
    The checkout.
    """

    def test_testPackages(self) -> None:
        """Every directory with tests is a package, so that trial finds them."""
        for path in (ROOT / "tests").rglob("test_*.py"):
            self.assertTrue((path.parent / "__init__.py").exists(), path.parent)

    def test_toxWheel(self) -> None:
        """The wheel has a build environment of its own: a shared one makes corrupt wheels."""
        tox = configparser.ConfigParser(interpolation=None)
        tox.read(ROOT / "tox.ini", "utf-8")
        self.assertEqual(tox["testenv"]["package"], "editable")
        self.assertEqual(tox["testenv:wheel"]["package"], "wheel")
        self.assertNotEqual(tox["testenv:wheel"]["wheel_build_env"], ".pkg")

    def test_sourceDistribution(self) -> None:
        """What git has is in the source distribution: nothing is left out by oversight."""
        try:
            listed = subprocess.run(
                ["git", "ls-files"], cwd=ROOT, capture_output=True, check=True
            ).stdout.decode()
        except (OSError, subprocess.CalledProcessError):
            raise SkipTest("not a git checkout") from None
        manifest = (ROOT / "MANIFEST.in").read_text()
        tops = {line.partition("/")[0] for line in listed.splitlines()}
        for top in tops - {".ci", ".gitignore", "MANIFEST.in", "setup.py", "setup.cfg"}:
            if top not in ("twisted_mailstack", "issues"):
                self.assertIn(top, manifest.replace("\n", " "))
