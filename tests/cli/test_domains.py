"""
C{mailstack domain}.
"""

from __future__ import annotations

from tests.cli.support import ALICE, CommandTestCase, Look
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.model.address import Address


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

    def test_alias(self) -> None:
        """A domain becomes the alias of another; it is made where it isn't there."""
        self.add(ALICE)
        self.assertEqual(
            self.mailstack("domain", "alias", "Old.test", "example.test"),
            "Made the domain old.test.\nMail for old.test goes to example.test.\n",
        )
        self.mailstack("domain", "add", "older.test")
        self.assertEqual(
            self.mailstack("domain", "alias", "older.test", "far.example"),
            "Mail for older.test goes to far.example.\n",
        )
        self.assertEqual(
            self.mailstack("domain", "list"),
            "example.test\nold.test -> example.test\nolder.test -> far.example\n",
        )
        look = Look(self.data)
        self.addCleanup(look.close)
        resolver = Resolver(look.store.directory)
        ((account,), elsewhere) = look.run(resolver.resolve(Address("alice+x", "old.test")))
        self.assertEqual((str(account.address), elsewhere), (ALICE, []))
        (accounts, elsewhere) = look.run(resolver.resolve(Address("x", "older.test")))
        self.assertEqual((accounts, elsewhere), ([], [Address("x", "far.example")]))
        # Once more is no mistake.
        self.mailstack("domain", "alias", "old.test", "example.test")
        self.mailstack("alias", "remove", "*@old.test")
        self.assertIn("\nold.test\n", self.mailstack("domain", "list"))

    def test_aliasOfItself(self) -> None:
        """Domains can't be aliases of each other."""
        self.mailstack("domain", "alias", "old.test", "example.test")
        self.mailstack("domain", "add", "example.test")
        said = self.mailstack("domain", "alias", "example.test", "old.test", status=1)
        self.assertIn("*@example.test -> *@old.test -> *@example.test", said)
        self.mailstack("domain", "alias", "self.test", "self.test", status=1)

    def test_catchAllStays(self) -> None:
        """A domain that has a catch-all doesn't lose it by becoming an alias."""
        self.add(ALICE)
        self.mailstack("alias", "set", "*@example.test", ALICE)
        said = self.mailstack("domain", "alias", "example.test", "far.example", status=1)
        self.assertIn(f"example.test has a catch-all, to {ALICE}", said)
        self.assertEqual(self.mailstack("alias", "list"), f"*@example.test: {ALICE}\n")

    def test_unknown(self) -> None:
        """A domain that there isn't."""
        self.mailstack("domain", "add", "example.test")
        self.assertIn("other.test", self.mailstack("domain", "remove", "other.test", status=1))

    def test_invalid(self) -> None:
        """What is no domain."""
        for name in ("a b", "a..b", "", "a-.test", "x" * 64 + ".test"):
            self.assertIn(f"{name}: ", self.mailstack("domain", "add", name, status=2))
