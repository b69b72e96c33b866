"""
How much an account may send in an hour and in a day.
"""

from __future__ import annotations

from dataclasses import replace

from tests.delivery.steps.support import ALICE, BOB, StepTestCase
from twisted_mailstack.delivery.step import StepProblem
from twisted_mailstack.delivery.steps.accountlimits import STEP
from twisted_mailstack.interfaces import IPolicyStep


class AccountLimitsTests(StepTestCase):
    """
    C{account-limits}.
    """

    def setUp(self) -> None:
        """An interval begins."""
        super().setUp()
        self.clock.advance(86400 - self.now() % 86400)

    def send(self, step: IPolicyStep, *recipients: str, login: str = ALICE) -> str:
        """
        Send a message.

        @return: the first refusal.
        """
        recipients = recipients or (BOB,)
        for said in (
            self.mail(step, login, login=login),
            *(self.rcpt(step, each, login, login=login) for each in recipients),
        ):
            if said:
                return said
        return self.data(step, b"", *recipients, login=login)

    def test_messagesPerHour(self) -> None:
        """So many messages an hour, then they are put off, at MAIL; each account has its own."""
        step = self.make(STEP, messagesPerHour=3)
        self.assertEqual([self.send(step) for _ in range(3)], [""] * 3)
        told = "450 4.7.1 You may send 3 messages in an hour: try later"
        self.assertEqual(self.mail(step, ALICE, login=ALICE), told)
        self.assertEqual(self.mail(step, None, login="Alice@example.test"), told)
        self.assertEqual(self.send(step, login=BOB), "")
        self.assertEqual(self.mail(step), "")

    def test_slides(self) -> None:
        """What was sent in the hour before counts as if it had been spread over it."""
        step = self.make(STEP, messagesPerHour=4)
        self.clock.advance(3599)
        self.assertEqual([self.send(step) for _ in range(4)], [""] * 4)
        self.clock.advance(1)
        self.assertIn("450", self.send(step))
        self.clock.advance(899)
        self.assertIn("450", self.send(step))
        # A quarter of the hour is over, so one of four is.
        self.clock.advance(1)
        self.assertEqual(self.send(step), "")
        self.assertIn("450", self.send(step))
        self.clock.advance(2700)
        self.assertEqual([self.send(step) for _ in range(3)], [""] * 3)
        self.assertIn("450", self.send(step))

    def test_recipients(self) -> None:
        """Recipients are counted with each message; what has too many is not taken nor counted."""
        step = self.make(STEP, recipientsPerDay=5)
        self.assertEqual(self.send(step, "a@far.test", "b@far.test", "c@far.test"), "")
        self.assertEqual(
            self.send(step, "a@far.test", "b@far.test", "c@far.test"),
            "450 4.7.1 You may send 5 recipients in a day: try later",
        )
        self.assertEqual(self.send(step, "a@far.test", "b@far.test"), "")
        self.assertEqual(
            self.rcpt(step, BOB, ALICE, login=ALICE),
            "450 4.7.1 You may send 5 recipients in a day: try later",
        )
        self.assertEqual(self.rcpt(step, BOB), "")
        self.clock.advance(2 * 86400)
        self.assertEqual(self.send(step, *(f"{name}@far.test" for name in "abcde")), "")

    def test_never(self) -> None:
        """What has more recipients than an hour has is refused for good."""
        step = self.make(STEP, recipientsPerHour=2, recipientsPerDay=10)
        self.assertEqual(
            self.send(step, "a@far.test", "b@far.test", "c@far.test"),
            "550 5.7.1 You may send to at most 2 recipients in an hour",
        )

    def test_onlyWhatIsTaken(self) -> None:
        """Transactions that come to nothing don't count."""
        step = self.make(STEP, messagesPerDay=1, recipientsPerDay=1)
        for _ in range(3):
            self.assertEqual(self.mail(step, ALICE, login=ALICE), "")
            self.assertEqual(self.rcpt(step, BOB, ALICE, login=ALICE), "")
        self.assertEqual(self.send(step), "")
        self.assertIn("450", self.send(step))

    def test_severalAtATime(self) -> None:
        """Sessions at the same time have one limit: who comes last is refused at the end."""
        step = self.make(STEP, messagesPerHour=2)
        self.assertEqual([self.mail(step, ALICE, login=ALICE) for _ in range(3)], [""] * 3)
        said = [self.data(step, b"", login=ALICE) for _ in range(3)]
        self.assertEqual(said[:2], ["", ""])
        self.assertEqual(said[2], "450 4.7.1 You may send 2 messages in an hour: try later")
        # And has not made it worse for others.
        self.clock.advance(3600 + 1800)
        self.assertEqual(self.send(step), "")

    def test_remembered(self) -> None:
        """Another process, or this one after a restart, counts on."""
        self.assertEqual(self.send(self.make(STEP, messagesPerHour=1)), "")
        self.assertIn("450", self.send(self.make(STEP, messagesPerHour=1)))

    def test_severalLimits(self) -> None:
        """Whichever limit is reached first counts."""
        step = self.make(STEP, messagesPerHour=2, messagesPerDay=3)
        self.assertEqual([self.send(step) for _ in range(2)], ["", ""])
        self.assertIn("in an hour", self.send(step))
        self.clock.advance(2 * 3600)
        self.assertEqual(self.send(step), "")
        self.assertIn("in a day", self.send(step))

    def test_nothing(self) -> None:
        """Without limits there is nothing to do; with them a memory is needed."""
        self.assertIsNone(STEP.make(STEP.settings(), self.services))
        self.services = replace(self.services, memory=None)
        self.assertRaises(StepProblem, self.make, STEP, messagesPerHour=1)
