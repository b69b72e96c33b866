"""
A policy that can be configured by name: accounts send no mail at night.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import localtime

from twisted_mailstack.delivery.policy import PolicyStep
from twisted_mailstack.delivery.step import StepProblem, StepRecord, StepServices
from twisted_mailstack.errors import MailError
from twisted_mailstack.model.records import Envelope


@dataclass(frozen=True, kw_only=True)
class CurfewSettings:
    """
    @ivar begins: the hour from which on nothing is sent.
    @ivar ends: the hour from which on it is sent again.
    """

    begins: int = 22
    ends: int = 6

    def __post_init__(self) -> None:
        if self.begins not in range(24) or self.ends not in range(24):
            raise StepProblem("an hour is 0 to 23")


class Curfew(PolicyStep):
    """
    Puts off what accounts send at night; mail from others is taken.
    """

    def __init__(self, settings: CurfewSettings, now: Callable[[], float]) -> None:
        self._settings = settings
        self._now = now

    def reversePath(self, envelope: Envelope) -> None:
        """A temporary refusal at MAIL."""
        begins, ends = self._settings.begins, self._settings.ends
        hour = localtime(self._now()).tm_hour
        night = begins <= hour or hour < ends if begins > ends else begins <= hour < ends
        if envelope.authenticated is not None and night:
            raise MailError(f"Not before {ends}:00", smtpCode=450, enhancedStatus="4.7.1")


def make(settings: CurfewSettings, services: StepServices) -> Curfew | None:
    """With equal hours there is no night, and nothing to do."""
    return None if settings.begins == settings.ends else Curfew(settings, services.now)


STEP = StepRecord(name="curfew", settings=CurfewSettings, make=make)
