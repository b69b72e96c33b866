"""
docs/api.rst: what programs outside may use, out of the docstrings.
"""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec

from twisted.trial.unittest import SynchronousTestCase

from tests.docs import DOCS


class PublicNamesTests(SynchronousTestCase):
    """
    The page, and what makes it.
    """

    if find_spec("docutils") is None:
        skip = "docutils is not installed: the extra dev has it"

    def setUp(self) -> None:
        """docutils comes with sphinx, which the tests do without."""
        from docs import publicnames

        self.docs = publicnames

    def test_modules(self) -> None:
        """Each module of the page is there and offers something, and none is on it twice."""
        names = re.findall(
            r"^\.\. public-names:: (\S+)$", (DOCS / "api.rst").read_text(), re.MULTILINE
        )
        self.assertEqual(sorted(set(names)), sorted(names))
        for name in names:
            self.assertTrue(list(self.docs.publicNames(import_module(name))), name)

    def test_inline(self) -> None:
        """Epytext becomes nodes: names and code literally, the rest as it is."""
        text = "See L{a.b}, L{this<c.d>} or C{{n}} I{now}."
        self.assertEqual(
            [str(node.astext()) for node in self.docs.inline(text)],
            ["See ", "a.b", ", ", "this", " or ", "{n}", " ", "now", "."],
        )

    def test_fields(self) -> None:
        """Fields become a list behind the text; a field's text may have several lines."""
        first, fields = self.docs.docstring(
            "It does\n    something.\n\n    @param a: the first,\n        on two lines.\n"
            "    @return: a number.\n    @raise ValueError: for none.\n"
        )
        self.assertEqual(first.astext(), "It does something.")
        self.assertEqual(
            [item.astext() for item in fields.children],
            ["a: the first, on two lines.", "Returns: a number.", "Raises ValueError: for none."],
        )
