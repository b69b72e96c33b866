"""
Who is logged in sends under addresses of the account only (RFC 6409 §6.1).
"""

from __future__ import annotations

from tests.delivery.steps.support import ALICE, BOB, StepTestCase
from tests.smtp.support import now
from twisted_mailstack.delivery.policy import MAX_HEADER
from twisted_mailstack.delivery.step import StepProblem
from twisted_mailstack.delivery.steps.ownsender import STEP
from twisted_mailstack.interfaces import IPolicyStep


class OwnSenderTests(StepTestCase):
    """
    C{own-sender}.
    """

    def setUp(self) -> None:
        """Aliases of alice's."""
        super().setUp()
        now(self.directory.addDomain("old.test"))
        self.alias("*@old.test", "*@example.test")
        self.alias("info@example.test", ALICE)
        self.alias("team@example.test", BOB, "info+team@example.test", "x@far.test")
        self.alias("out@example.test", "x@far.test")
        self.step = self.make(STEP)

    def mayUse(self, address: str, step: IPolicyStep | None = None, login: str = ALICE) -> bool:
        """
        @return: whether an account may send under an address, at MAIL, in From and in Sender alike.
        """
        step = step or self.step
        said = [
            self.mail(step, address, login=login),
            self.data(step, f"From: x <{address}>\r\n\r\n".encode(), login=login),
            self.data(step, f"From: {login}\r\nSender: {address}\r\n\r\n".encode(), login=login),
        ]
        self.assertEqual(len({bool(each) for each in said}), 1, said)
        for each, where in zip(said, ("", " in From", " in Sender"), strict=True):
            if each:
                self.assertEqual(each, f"550 5.7.1 {address}{where} is no address of {login}")
        return not any(said)

    def test_own(self) -> None:
        """The account's address, its subaddresses, and aliases that lead to it."""
        for address in (
            *(ALICE, "Alice@example.test", "alice+tag@example.test", "info@example.test"),
            *("info+x@example.test", "team@example.test", "alice@old.test", "team@old.test"),
        ):
            self.assertTrue(self.mayUse(address), address)

    def test_others(self) -> None:
        """Nobody else's: another account's, one that nobody has, one elsewhere."""
        for address in (
            *(BOB, "bob+alice@example.test", "bob@old.test", "nobody@example.test"),
            *("out@example.test", "alice@far.test", "nobody@old.test"),
        ):
            self.assertFalse(self.mayUse(address), address)
        self.assertTrue(self.mayUse("team@example.test", login=BOB))
        self.assertFalse(self.mayUse("info@example.test", login=BOB))

    def test_catchAll(self) -> None:
        """Who has the catch-all has all that nobody else has."""
        self.alias("*@example.test", ALICE)
        self.assertTrue(self.mayUse("anything@example.test"))
        self.assertFalse(self.mayUse(BOB))

    def test_nullPath(self) -> None:
        """Dispositions have the null reverse-path; From is held to the account all the same."""
        self.assertEqual(self.mail(self.step, None, login=ALICE), "")
        said = self.data(
            self.step, b"From: bob@example.test\r\n\r\n", login=ALICE, reversePath=None
        )
        self.assertIn("550 5.7.1", said)

    def test_strangers(self) -> None:
        """Who isn't logged in isn't held to anything here."""
        self.assertEqual(self.mail(self.step, BOB), "")
        self.assertEqual(self.data(self.step, b"From: bob@example.test\r\n\r\n"), "")
        self.assertEqual(self.data(self.step, b""), "")

    def test_everyAddress(self) -> None:
        """Of several addresses, and several fields, each must be the account's."""
        for header in (
            "From: alice@example.test, bob@example.test",
            "From: bob@example.test, alice@example.test",
            "From: alice@example.test\r\nFrom: bob@example.test",
            "From: alice@example.test\r\nSubject: x\r\nfrom : bob@example.test",
            "From: team: alice@example.test, bob@example.test;",
            "From: alice@example.test\r\nSender: alice@example.test, bob@example.test",
            "From: bob@example.test\r\nResent-From: alice@example.test",
            "From: (alice@example.test) bob@example.test",
            'From: "alice@example.test" <bob@example.test>',
            "From: alice@example.test,\r\n\tbob@example.test",
        ):
            said = self.data(self.step, header.encode() + b"\r\n\r\n", login=ALICE)
            self.assertTrue(said.startswith("550 5.7.1 bob@example.test in "), (header, said))
        for header in (
            "From: alice@example.test, team@example.test\r\nSender: info@example.test",
            "From: Bob <alice@example.test>\r\nReply-To: x@far.test",
            "From: me: alice@example.test;",
            'From: "bob@example.test" <"alice"@EXAMPLE.test>',
            'From: "\\"bob@example.test" <alice@example.test> (Bob)',
            "From: Alice@example.test <alice@example.test>",
        ):
            self.assertEqual(self.data(self.step, header.encode() + b"\r\n\r\n", login=ALICE), "")

    def test_looksLikeAnAddress(self) -> None:
        """Where a field is malformed, what some reader may take for an address counts, too."""
        for header in (
            "From: bob@example.test alice@example.test",
            "From: bob@example.test <alice@example.test>",
            "From: <alice@example.test> bob@example.test",
            'From: "bob@example.test <alice@example.test>',
            "From: alice@example.test (bob@example.test)",
            "From: <bob@example.test> <alice@example.test>",
            "From: <@bob@example.test:alice@example.test>",
        ):
            said = self.data(self.step, header.encode() + b"\r\n\r\n", login=ALICE)
            self.assertTrue(said.startswith("550 5.7.1 bob@example.test in "), (header, said))

    def test_linear(self) -> None:
        """A field of nothing but quotes and backslashes takes no time."""
        for value in (b'"\\' * 30_000, b'\\"' * 30_000, b'"' * 60_001, b"a@" * 30_000):
            said = self.data(self.step, b"From: " + value + b"\r\n\r\n", login=ALICE)
            self.assertTrue(said.startswith("55"), said)

    def test_malformed(self) -> None:
        """A message in whose From there is no address is no message (RFC 6409 §6.3)."""
        for header in (
            *(b"", b"Subject: x", b"From:", b"From: nobody;", b"From: alice", b"From: <>"),
            *(b"From: alice@", b"From: alice@a..b", b"From: alice@example.test, \xff@\xfe.test"),
            b"From: alice@example.test\r\nSender: someone",
            b"X: y\r\n\r\nFrom: alice@example.test",
        ):
            said = self.data(self.step, header + b"\r\n\r\n", login=ALICE)
            self.assertTrue(said.startswith("554 5.6.0 "), (header, said))

    def test_hidden(self) -> None:
        """An address can't be hidden where nobody looks any more."""
        many = b"alice@example.test, " * 3000 + b"bob@example.test"
        for header in (
            b"From: alice@example.test," + b" " * 70_000 + b"bob@example.test",
            b"From: " + many,
            b"From: alice@example.test\r\nX: " + b"x" * MAX_HEADER + b"\r\nFrom: bob@example.test",
        ):
            said = self.data(self.step, header + b"\r\n\r\n", login=ALICE)
            self.assertTrue(said.startswith("554 5.6.0 "), said)

    def test_off(self) -> None:
        """It can be turned off, or only its look at the header."""
        self.assertIsNone(STEP.make(STEP.settings(required=False), self.services))
        step = self.make(STEP, fields=False)
        self.assertEqual(self.data(step, b"From: bob@example.test\r\n\r\n", login=ALICE), "")
        self.assertIn("550", self.mail(step, BOB, login=ALICE))

    def test_allowed(self) -> None:
        """Some addresses and domains may be everybody's."""
        step = self.make(STEP, allowed=("News@Far.test", "open.test", "bücher.example"))
        for address in ("news@far.test", "x@open.test", "y@xn--bcher-kva.example", ALICE):
            self.assertTrue(self.mayUse(address, step), address)
        for address in ("other@far.test", "x@sub.open.test", BOB):
            self.assertFalse(self.mayUse(address, step), address)

    def test_unrestricted(self) -> None:
        """Some accounts may use any address, and leave From away."""
        step = self.make(STEP, unrestricted=("Alice@example.test",))
        self.assertTrue(self.mayUse("anybody@far.test", step))
        self.assertEqual(self.data(step, b"", login=ALICE), "")
        self.assertFalse(self.mayUse(ALICE, step, login=BOB))

    def test_settings(self) -> None:
        """What is neither an address nor a domain is told."""
        for settings in (
            {"allowed": ("a b@c",)},
            {"allowed": ("a..b",)},
            {"unrestricted": ("example.test",)},
        ):
            self.assertRaises(StepProblem, self.make, STEP, **settings)
