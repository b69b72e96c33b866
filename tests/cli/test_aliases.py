"""
C{mailstack alias}.
"""

from __future__ import annotations

from tests.cli.support import ALICE, BOB, CommandTestCase


class AliasTests(CommandTestCase):
    """
    Addresses whose mail goes to others.
    """

    def test_set(self) -> None:
        """An alias is set, listed, replaced and removed; case doesn't matter."""
        self.add(ALICE, BOB)
        self.assertEqual(
            self.mailstack("alias", "set", "info@example.test", ALICE, "else@far.example"),
            f"info@example.test goes to {ALICE}, else@far.example.\n",
        )
        self.assertEqual(
            self.mailstack("alias", "list"), f"info@example.test: {ALICE}, else@far.example\n"
        )
        self.mailstack("alias", "set", "INFO@example.test", BOB)
        self.assertEqual(
            self.mailstack("alias", "list", "example.test"), f"INFO@example.test: {BOB}\n"
        )
        self.assertEqual(self.mailstack("alias", "list", "other.test"), "")
        self.assertEqual(
            self.mailstack("alias", "remove", "info@example.test"),
            "Removed the alias info@example.test.\n",
        )
        self.assertEqual(self.mailstack("alias", "list"), "")

    def test_catchAll(self) -> None:
        """*@DOMAIN takes what nobody else has."""
        self.add(ALICE)
        self.mailstack("alias", "set", "*@example.test", ALICE)
        self.assertEqual(self.mailstack("alias", "list"), f"*@example.test: {ALICE}\n")

    def test_circle(self) -> None:
        """An alias that would lead back to itself is refused, and told how; nothing changes."""
        self.add(ALICE)
        self.mailstack("alias", "set", "team@example.test", "info@example.test", ALICE)
        said = self.mailstack(
            "alias", "set", "info@example.test", "team+x@example.test", ALICE, status=1
        )
        self.assertIn(
            "mail for info@example.test would go in a circle: info@example.test ->"
            " team+x@example.test -> info@example.test",
            said,
        )
        said = self.mailstack("alias", "set", "*@example.test", "gone@example.test", status=1)
        self.assertIn("gone@example.test -> gone@example.test", said)
        self.assertEqual(
            self.mailstack("alias", "list"), f"team@example.test: info@example.test, {ALICE}\n"
        )

    def test_account(self) -> None:
        """An account can't be an alias."""
        self.add(ALICE, BOB)
        said = self.mailstack("alias", "set", ALICE, BOB, status=1)
        self.assertIn(f"{ALICE} is an account", said)

    def test_unknown(self) -> None:
        """A domain that isn't ours, an alias that there isn't."""
        self.add(ALICE)
        said = self.mailstack("alias", "set", "a@far.example", ALICE, status=1)
        self.assertIn("far.example", said)
        said = self.mailstack("alias", "remove", "nobody@example.test", status=1)
        self.assertIn("nobody@example.test", said)

    def test_misuse(self) -> None:
        """No target, and what isn't an address."""
        self.mailstack("alias", "set", "info@example.test", status=2)
        self.mailstack("alias", "set", "info", ALICE, status=2)
        self.mailstack("alias", "set", "info@example.test", "bob", status=2)
