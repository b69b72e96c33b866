"""
When it is tried again.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.delivery.schedule import DELAYS, JITTER, RetrySchedule


class ScheduleTests(SynchronousTestCase):
    """
    L{RetrySchedule}.
    """

    def test_delays(self) -> None:
        """The delay after each failure; the last one goes on."""
        schedule = RetrySchedule([10, 20, 40], 0)
        self.assertEqual([schedule.delay(n) for n in range(1, 6)], [10, 20, 40, 40, 40])
        self.assertEqual(schedule.delay(10**9), 40)

    def test_jitter(self) -> None:
        """It varies by a part of itself, in both directions, and is a second at least."""
        for chance, delay in ((0.0, 80), (0.5, 100), (1.0, 120)):
            self.assertEqual(RetrySchedule([100], 0.2, lambda c=chance: c).delay(1), delay)
        self.assertEqual(RetrySchedule([1], 0.9, lambda: 0.0).delay(1), 1)

    def test_usual(self) -> None:
        """
        RFC 5321 §4.5.4.1: in the end at least 30 minutes apart; some in the first hour, as for
        greylisting hosts.
        """
        schedule = RetrySchedule()
        self.assertGreaterEqual(DELAYS[-1] * (1 - JITTER), 1800)
        self.assertLessEqual(sum(DELAYS[:3]), 3600)
        self.assertEqual(sorted(DELAYS), list(DELAYS))
        self.assertLessEqual(abs(schedule.delay(1) - DELAYS[0]), DELAYS[0] * JITTER + 1)

    def test_wrong(self) -> None:
        """A schedule that would never wait isn't one."""
        for delays in ((), (0,), (10, -1)):
            self.assertRaises(ValueError, RetrySchedule, delays)
