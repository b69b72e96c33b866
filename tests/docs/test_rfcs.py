"""
docs/rfcs.rst against the code: what is cited is listed, what is said to be there is cited.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

import twisted_mailstack
from tests.docs import DOCS, ROOT
from twisted_mailstack.imap.registry import EXTENSIONS as IMAP
from twisted_mailstack.pop3.registry import EXTENSIONS as POP3
from twisted_mailstack.smtp.registry import EXTENSIONS as SMTP

_CITED = re.compile(r"RFC\s+(\d{3,5})")


class Row(NamedTuple):
    """A line of one of the tables."""

    number: int
    title: str
    status: str
    remark: str


def tables() -> list[list[Row]]:
    """
    @return: the rows of each table of the page.
    """
    found: list[list[Row]] = []
    for line in (DOCS / "rfcs.rst").read_text("utf-8").splitlines():
        if line.startswith(".. csv-table::"):
            found.append([])
        elif re.match(r"   \d", line):
            number, *rest = next(csv.reader([line.strip()], skipinitialspace=True))
            found[-1].append(Row(int(number), *rest))
    return found


def cited(path: Path, pattern: str) -> dict[int, str]:
    """
    @return: by RFC, one of the files that cite it.
    """
    return {
        int(number): str(file.relative_to(ROOT))
        for file in sorted(path.glob(pattern))
        for number in _CITED.findall(file.read_text("utf-8"))
    }


class RFCTests(SynchronousTestCase):
    """
    The page and the code say the same.
    """

    def setUp(self) -> None:
        """Read both."""
        self.tables = tables()
        self.rows = {row.number: row for table in self.tables for row in table}
        self.cited = cited(Path(twisted_mailstack.__file__).parent, "**/*.py")

    def test_form(self) -> None:
        """Each RFC is listed once, in order, with a status; Partial says what is missing."""
        self.assertEqual(len(self.rows), sum(map(len, self.tables)))
        for table in self.tables:
            numbers = [row.number for row in table]
            self.assertEqual(numbers, sorted(numbers))
        for row in self.rows.values():
            self.assertTrue(row.title, row)
            self.assertIn(row.status, ("Yes", "Partial", "No"), row)
            if row.status == "Partial":
                self.assertTrue(row.remark, row)

    def test_citedIsListed(self) -> None:
        """What the package, the README or a page of the documentation cites is in the table."""
        everywhere = {**cited(ROOT, "*.rst"), **cited(DOCS, "**/*.rst"), **self.cited}
        missing = {number: everywhere[number] for number in everywhere.keys() - self.rows.keys()}
        self.assertEqual(missing, {})

    def test_listedIsCited(self) -> None:
        """What is said to be there, wholly or in part, is cited where it is."""
        claimed = {row.number for row in self.rows.values() if row.status != "No"}
        self.assertEqual(claimed - self.cited.keys(), set())

    def test_extensionsAreThere(self) -> None:
        """The RFC that an extension names in its record isn't said to be missing."""
        named = (
            {each.rfc for each in SMTP if each.rfc}
            | {each.rfc for each in POP3}
            | {each.rfc for each in IMAP}
        )
        for number in named:
            self.assertIn(self.rows[number].status, ("Yes", "Partial"), number)
