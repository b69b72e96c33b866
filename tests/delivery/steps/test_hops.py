"""
The hop limit's settings; what it does is in L{tests.delivery.test_policy}.
"""

from __future__ import annotations

from tests.delivery.steps.support import StepTestCase
from twisted_mailstack.delivery.step import StepProblem
from twisted_mailstack.delivery.steps.hops import STEP


class HopLimitTests(StepTestCase):
    """
    C{hop-limit}.
    """

    def test_limit(self) -> None:
        """A message with more Received fields than the limit is refused (RFC 5321 §6.3)."""
        step = self.make(STEP, limit=120)
        self.assertEqual(self.data(step, b"Received: x\r\n" * 120), "")
        self.assertEqual(self.data(step, b"Received: x\r\n" * 121), "554 5.4.6 Too many hops")

    def test_least(self) -> None:
        """RFC 5321 §6.3 wants at least 100."""
        self.make(STEP, limit=100)
        self.assertRaises(StepProblem, self.make, STEP, limit=99)
