"""
How large messages may be for some recipients and accounts.
"""

from __future__ import annotations

from tests.delivery.steps.support import ALICE, BOB, StepTestCase
from twisted_mailstack.delivery.step import StepProblem
from twisted_mailstack.delivery.steps.sizes import STEP


def message(octets: int) -> bytes:
    """
    @return: one of that size.
    """
    return b"x: " + b"y" * (octets - 5) + b"\r\n"


class SizesTests(StepTestCase):
    """
    C{sizes}.
    """

    def test_recipients(self) -> None:
        """An address, or its domain, takes no larger ones; RFC 3463 §3.3 has a status for that."""
        step = self.make(STEP, recipients={"Example.TEST": 1000, "Bob@example.test": 2000})
        for recipient, limit in ((ALICE, 1000), (BOB, 2000), ("BOB@example.test", 2000)):
            told = f"552 5.2.3 {recipient} takes messages of at most {limit} octets"
            self.assertEqual(self.rcpt(step, recipient, SIZE=str(limit)), "")
            self.assertEqual(self.rcpt(step, recipient, SIZE=str(limit + 1)), told)
            self.assertEqual(self.data(step, message(limit), recipient), "")
            self.assertEqual(self.data(step, message(limit + 1), recipient), told)
            # Whatever was declared.
            self.assertEqual(self.data(step, message(limit + 1), recipient, SIZE="1"), told)
        for recipient in ("x@far.test", "x@sub.example.test"):
            self.assertEqual(self.rcpt(step, recipient, SIZE="999999"), "")
            self.assertEqual(self.data(step, message(9999), recipient), "")
        self.assertEqual(self.mail(step, SIZE="999999"), "")

    def test_undeclared(self) -> None:
        """Without SIZE (RFC 1870 §5) nothing is known before the message is there."""
        step = self.make(STEP, recipients={"example.test": 1000})
        for given in ({}, {"SIZE": None}, {"SIZE": "0"}):
            self.assertEqual(self.rcpt(step, ALICE, **given), "")

    def test_severalRecipients(self) -> None:
        """A message that is too large for one of its recipients is refused."""
        step = self.make(STEP, recipients={"alice@example.test": 1000})
        self.assertIn("552", self.data(step, message(1001), BOB, ALICE))
        self.assertEqual(self.data(step, message(1001), BOB), "")

    def test_senders(self) -> None:
        """Accounts may have a limit for what they send."""
        step = self.make(STEP, senders={"example.test": 1000, BOB: 2000})
        for login, limit in ((ALICE, 1000), (BOB, 2000)):
            told = f"552 5.3.4 You may send messages of at most {limit} octets"
            self.assertEqual(self.mail(step, login, login=login, SIZE=str(limit)), "")
            self.assertEqual(self.mail(step, login, login=login, SIZE=str(limit + 1)), told)
            self.assertEqual(self.data(step, message(limit), "x@far.test", login=login), "")
            self.assertEqual(self.data(step, message(limit + 1), "x@far.test", login=login), told)
        # It isn't the reverse-path that counts.
        self.assertEqual(self.mail(step, ALICE, SIZE="999999"), "")

    def test_nothing(self) -> None:
        """Without limits there is nothing to do."""
        self.assertIsNone(STEP.make(STEP.settings(), self.services))

    def test_settings(self) -> None:
        """What can't be is told."""
        for settings in (
            {"recipients": {"a..b": 1}},
            {"recipients": {"@b": 1}},
            {"senders": {"example.test": 0}},
        ):
            self.assertRaises(StepProblem, self.make, STEP, **settings)
