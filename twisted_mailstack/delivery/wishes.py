# -*- test-case-name: tests.delivery.test_wishes -*-
"""
What MAIL's parameters say about when and how urgently a message is to be delivered: FUTURERELEASE
(RFC 4865), DELIVERBY (RFC 2852), MT-PRIORITY (RFC 6710). Their syntax was checked when they came.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple


class DeliveryWishes(NamedTuple):
    """
    Times are seconds since 1970.

    @ivar notBefore: nothing is tried before; 0 for at once.
    @ivar expires: given up then; C{None} for the usual time.
    @ivar warnAt: the sender is told of a delay then; C{None} for the usual time.
    @ivar priority: -9 to 9.
    """

    notBefore: int = 0
    expires: int | None = None
    warnAt: int | None = None
    priority: int = 0


def deliveryWishes(parameters: Mapping[str, str | None], now: int) -> DeliveryWishes:
    """
    @param parameters: of MAIL.
    @param now: seconds since 1970.
    @return: what they mean for the spool.
    """
    notBefore = 0
    expires = warnAt = None
    if hold := parameters.get("HOLDFOR"):
        notBefore = now + int(hold)
    elif until := parameters.get("HOLDUNTIL"):
        notBefore = int(datetime.fromisoformat(until.upper()).timestamp())
    if by := parameters.get("BY"):
        seconds, _, mode = by.partition(";")
        deadline = max(now, notBefore) + int(seconds)
        if mode[:1].upper() == "R":
            expires = deadline
        else:
            warnAt = deadline
    return DeliveryWishes(notBefore, expires, warnAt, int(parameters.get("MT-PRIORITY") or 0))
