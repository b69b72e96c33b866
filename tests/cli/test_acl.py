"""
C{mailstack acl}.
"""

from __future__ import annotations

from tests.cli.support import ALICE, BOB, CommandTestCase


class ACLTests(CommandTestCase):
    """
    Who may do what in whose mailboxes.
    """

    def test_set(self) -> None:
        """Rights are set, added, taken away and listed; who has none isn't listed."""
        self.add(ALICE, BOB)
        self.assertEqual(
            self.mailstack("acl", "set", ALICE, "inbox", BOB.upper().lower(), "lrc"),
            f"INBOX: {BOB} lrkxc\n",
        )
        self.assertEqual(
            self.mailstack("acl", "set", ALICE, "INBOX", BOB, "-k"), f"INBOX: {BOB} lrxc\n"
        )
        self.assertEqual(
            self.mailstack("acl", "set", ALICE, "INBOX", BOB, "+s"), f"INBOX: {BOB} lrsxc\n"
        )
        self.mailstack("acl", "set", ALICE, "Sent", "@example.test", "lr")
        self.mailstack("acl", "set", ALICE, "Sent", f"-{BOB}", "r")
        self.assertEqual(
            self.mailstack("acl", "list", ALICE),
            f"INBOX: {BOB} lrsxc\nSent: -{BOB} r\nSent: @example.test lr\n",
        )
        self.assertEqual(
            self.mailstack("acl", "list", ALICE, "Sent"),
            f"Sent: -{BOB} r\nSent: @example.test lr\n",
        )
        self.assertEqual(
            self.mailstack("acl", "delete", ALICE, "Sent", f"-{BOB}"), f"Sent: -{BOB} nothing\n"
        )
        self.assertEqual(
            self.mailstack("acl", "set", ALICE, "Sent", "@example.test", "-lr"),
            "Sent: @example.test nothing\n",
        )
        self.assertEqual(self.mailstack("acl", "list", ALICE, "Sent"), "")

    def test_refused(self) -> None:
        """What is wrong is said: no account, no mailbox, nobody, no right, the owner."""
        self.add(ALICE, BOB)
        for arguments, said in (
            (("list", "nobody@example.test"), "there is no account nobody@example.test"),
            (("list", ALICE, "Nowhere"), "No such mailbox"),
            (("set", ALICE, "Nowhere", BOB, "l"), "No such mailbox"),
            (("set", ALICE, "Sent", "nobody@example.test", "l"), "No such user"),
            (("set", ALICE, "Sent", "@other.test", "l"), "No such user"),
            (("set", ALICE, "Sent", BOB, "lq"), "The right q is not supported"),
            (("set", ALICE, "Sent", ALICE, "l"), "the owner of a mailbox has all rights"),
            (("delete", ALICE, "Sent", f"-{ALICE}"), "the owner of a mailbox has all rights"),
            (("publish", ALICE, "a/b"), "one level"),
            (("publish", ALICE, ""), "one level"),
            (("publish", ALICE, "a\nb"), "control characters"),
            (("publish", "nobody@example.test", "x"), "there is no account"),
            (("withdraw", "nobody@example.test"), "there is no account"),
        ):
            self.assertIn(said, self.mailstack("acl", *arguments, status=1), arguments)
        self.assertIn("empty level", self.mailstack("acl", "list", ALICE, "a//b", status=2))
        self.assertEqual(self.mailstack("acl", "list", ALICE), "")

    def test_publish(self) -> None:
        """An account is made public, under one name that no other has, and a person's again."""
        self.add(ALICE, BOB)
        self.assertEqual(
            self.mailstack("acl", "publish", ALICE, "office"),
            f"The mailboxes of {ALICE} are below Shared/office.\n",
        )
        self.assertIn("office", self.mailstack("acl", "publish", BOB, "office", status=1))
        self.assertEqual(self.mailstack("acl", "withdraw", ALICE), f"{ALICE} is not public.\n")
        self.mailstack("acl", "publish", BOB, "office")
