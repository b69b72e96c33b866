"""
C{mailstack domain}.
"""

from __future__ import annotations

from tests.cli.support import ALICE, CommandTestCase


class DomainTests(CommandTestCase):
    """
    The domains whose mail is taken.
    """

    def test_add(self) -> None:
        """A domain is made, in lower case and as A-labels, and listed; the data directory too."""
        self.assertEqual(
            self.mailstack("domain", "add", "Example.TEST"), "Made the domain example.test.\n"
        )
        self.assertTrue(self.data.is_dir())
        self.mailstack("domain", "add", "bücher.example")
        self.assertEqual(self.mailstack("domain", "list"), "example.test\nxn--bcher-kva.example\n")

    def test_twice(self) -> None:
        """A domain that is there already."""
        self.mailstack("domain", "add", "example.test")
        said = self.mailstack("domain", "add", "EXAMPLE.test", status=1)
        self.assertIn("The domain example.test exists already", said)

    def test_remove(self) -> None:
        """A domain goes only when nobody has an address there any more."""
        self.add(ALICE)
        self.mailstack("alias", "set", "info@example.test", ALICE)
        self.assertIn("accounts: 1", self.mailstack("domain", "remove", "example.test", status=1))
        self.mailstack("user", "remove", "--yes", ALICE)
        self.assertIn("aliases: 1", self.mailstack("domain", "remove", "example.test", status=1))
        self.mailstack("alias", "remove", "info@example.test")
        self.assertEqual(
            self.mailstack("domain", "remove", "example.test"), "Removed the domain example.test.\n"
        )
        self.assertEqual(self.mailstack("domain", "list"), "")

    def test_unknown(self) -> None:
        """A domain that there isn't."""
        self.mailstack("domain", "add", "example.test")
        self.assertIn("other.test", self.mailstack("domain", "remove", "other.test", status=1))

    def test_invalid(self) -> None:
        """What is no domain."""
        for name in ("a b", "a..b", "", "a-.test", "x" * 64 + ".test"):
            self.assertIn(f"{name}: ", self.mailstack("domain", "add", name, status=2))
