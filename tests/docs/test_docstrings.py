"""
Docstrings are the specification: everything public has one, and what they lead to is there.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import twisted_mailstack
from docs.publicnames import docstring, inline, publicNames
from tests.docs import DOCS, ROOT

PACKAGE = Path(twisted_mailstack.__file__).parent
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def undocumented(source: str) -> Iterator[str]:
    """
    @return: what of a module is public and has no docstring.
    """
    tree = ast.parse(source)
    if source.strip() and ast.get_docstring(tree) is None:
        yield "the module"

    def walk(node: ast.Module | ast.ClassDef, path: str) -> Iterator[str]:
        for child in node.body:
            if not isinstance(child, _DEFINITIONS) or child.name.startswith("_"):
                continue
            # What is only there for the type checker says nothing of its own.
            marks = {ast.unparse(each) for each in child.decorator_list}
            if ast.get_docstring(child) is None and "overload" not in marks:
                yield path + child.name
            if isinstance(child, ast.ClassDef):
                yield from walk(child, f"{path}{child.name}.")

    yield from walk(tree, "")


class DocstringTests(SynchronousTestCase):
    """
    The package documents itself.
    """

    def test_everythingPublic(self) -> None:
        """Every module, class, function and method that others may see has a docstring."""
        missing = [
            f"{path.relative_to(ROOT)}: {name}"
            for path in sorted(PACKAGE.rglob("*.py"))
            for name in undocumented(path.read_text("utf-8"))
        ]
        self.assertEqual(missing, [])

    def test_seen(self) -> None:
        """A docstring that is missing is seen, at each level; private names need none."""
        source = (
            '"""A module."""\nclass A:\n    def f(self): pass\n    def _g(self): pass\n'
            "    class B:\n        '''Has one.'''\n        async def h(self): pass\n"
            "def i():\n    def inner(): pass\nclass _C:\n    def j(self): pass\n"
        )
        self.assertEqual(list(undocumented(source)), ["A", "A.f", "A.B.h", "i"])
        self.assertEqual(list(undocumented("x = 1")), ["the module"])


class PublicNamesTests(SynchronousTestCase):
    """
    docs/api.rst, and what makes it.
    """

    def test_modules(self) -> None:
        """Each module of the page is there and offers something, and none is on it twice."""
        names = re.findall(
            r"^\.\. public-names:: (\S+)$", (DOCS / "api.rst").read_text(), re.MULTILINE
        )
        self.assertEqual(sorted(set(names)), sorted(names))
        for name in names:
            self.assertTrue(list(publicNames(import_module(name))), name)

    def test_inline(self) -> None:
        """Epytext becomes nodes: names and code literally, the rest as it is."""
        self.assertEqual(
            [str(node.astext()) for node in inline("See L{a.b}, L{this<c.d>} or C{{n}} I{now}.")],
            ["See ", "a.b", ", ", "this", " or ", "{n}", " ", "now", "."],
        )

    def test_fields(self) -> None:
        """Fields become a list behind the text; a field's text may have several lines."""
        first, fields = docstring(
            "It does\n    something.\n\n    @param a: the first,\n        on two lines.\n"
            "    @return: a number.\n    @raise ValueError: for none.\n"
        )
        self.assertEqual(first.astext(), "It does something.")
        self.assertEqual(
            [item.astext() for item in fields.children],
            ["a: the first, on two lines.", "Returns: a number.", "Raises ValueError: for none."],
        )
