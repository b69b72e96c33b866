# -*- test-case-name: tests.delivery.test_schedule -*-
"""
When to try again (RFC 5321 §4.5.4.1).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

#: Seconds between attempts; the last one goes on. RFC 5321 wants at least 30 minutes as a rule, and
#: allows more attempts in the first hour; greylisting hosts let mail in after 1 to 15 minutes.
DELAYS = (60, 300, 600, 1800, 3600, 7200, 14400)
#: How much a delay varies, so that what failed together isn't tried together for ever.
JITTER = 0.15


class RetrySchedule:
    """
    The delays after failed attempts.
    """

    def __init__(
        self,
        delays: Sequence[int] = DELAYS,
        jitter: float = JITTER,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """
        @param delays: seconds after the first, second... failure; the last one for all that follow.
        @param jitter: the part of a delay by which it may be longer or shorter.
        @param chance: gives numbers from 0 to 1.
        """
        if not delays or min(delays) <= 0:
            raise ValueError("a retry schedule needs delays above 0")
        self._delays = tuple(delays)
        self._jitter = jitter
        self._chance = chance

    def delay(self, failures: int) -> int:
        """
        @param failures: so far in a row, at least 1.
        @return: seconds to wait.
        """
        base = self._delays[min(failures, len(self._delays)) - 1]
        return max(1, round(base * (1 + self._jitter * (2 * self._chance() - 1))))
