"""
Docstrings are the specification: everything public has one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import twisted_mailstack
from tests.docs import ROOT

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
