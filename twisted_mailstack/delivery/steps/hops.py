# -*- test-case-name: tests.delivery.steps.test_hops -*-
"""
C{hop-limit}: mail that goes round in circles (RFC 5321 §6.3), found by its Received fields.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mailstack.delivery.policy import HopLimit
from twisted_mailstack.delivery.step import StepProblem, StepRecord


@dataclass(frozen=True, kw_only=True)
class HopLimitSettings:
    """
    @ivar limit: Received fields with which a message is refused; RFC 5321 §6.3 wants at least 100.
    """

    limit: int = 100

    def __post_init__(self) -> None:
        if self.limit < 100:
            raise StepProblem("the limit must be at least 100 (RFC 5321 §6.3)")


STEP = StepRecord(
    name="hop-limit",
    settings=HopLimitSettings,
    make=lambda settings, services: HopLimit(settings.limit),
)
