# -*- test-case-name: tests.smtp.test_deliverby -*-
"""
DELIVERBY (RFC 2852): by when a message is to be delivered, and what is to be done if it isn't: the
sender is notified (N), or it is returned (R).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from time import time
from typing import NamedTuple

from twisted_mailstack.errors import MailError, SyntaxProblem
from twisted_mailstack.smtp.clientsession import OutgoingMessage, SMTPClientSession
from twisted_mailstack.smtp.extension import Extension
from twisted_mailstack.smtp.session import SMTPSession

#: RFC 2852 §4: by-time has at most nine digits.
LARGEST = 999_999_999

#   by-value = by-time ";" by-mode [by-trace]
#   by-time  = ["-" / "+"] 1*9DIGIT ; a zero or negative value is not allowed with by-mode "R"
#   by-mode  = "N" / "R"; by-trace = "T"
_VALUE = re.compile(r"([+-]?[0-9]{1,9});([NR])(T?)", re.IGNORECASE)


class DeliverBy(NamedTuple):
    """
    @ivar seconds: may be negative where only notifications are asked for.
    @ivar returning: it is returned when they are over; else its sender is notified.
    @ivar tracing: its sender is told of each server that passes it on.
    """

    seconds: int
    returning: bool
    tracing: bool

    def __str__(self) -> str:
        return f"{self.seconds};{'R' if self.returning else 'N'}{'T' if self.tracing else ''}"


def parseDeliverBy(value: str | None) -> DeliverBy:
    """
    @raise SyntaxProblem: if it isn't a by-value.
    """
    match = _VALUE.fullmatch(value or "")
    if match is None:
        raise SyntaxProblem("BY needs seconds;N or seconds;R, and perhaps T")
    seconds, mode, trace = match.groups()
    found = DeliverBy(int(seconds), mode.upper() == "R", bool(trace))
    if found.returning and found.seconds <= 0:
        raise SyntaxProblem("BY with R needs a time that is not over")
    return found


def available(session: SMTPSession) -> bool:
    """Where there is a queue that looks at the time."""
    return session.honours("DELIVERBY")


def ehlo(session: SMTPSession) -> str | None:
    """RFC 2852: the least by-time with R, if there is one."""
    return str(session.settings.minDeliverBy or "")


def check(session: SMTPSession, value: str | None) -> None:
    """RFC 2852 §4."""
    asked = parseDeliverBy(value)
    least = session.settings.minDeliverBy
    if asked.returning and asked.seconds < least:
        # RFC 2852: "a permanent failure (55z) reply code"
        raise MailError(
            f"BY with R needs {least} seconds at least", smtpCode=555, enhancedStatus="5.5.4"
        )


def clientMail(
    session: SMTPClientSession, message: OutgoingMessage, offered: str | None
) -> Mapping[str, str | None]:
    """
    RFC 2852: with the time that is left.

    @raise MailError: if the message is to be returned rather than late, and its time is over, or
        the server doesn't promise that.
    """
    if "BY" not in message.parameters:
        return {}
    asked = parseDeliverBy(message.parameters["BY"])
    left = asked._replace(seconds=max(asked.seconds - _elapsed(message), -LARGEST))
    if asked.returning:
        least = int(offered) if offered and offered.isascii() and offered.isdigit() else 0
        if left.seconds <= 0 or left.seconds < least:
            raise MailError(
                "It could not be delivered in time", smtpCode=550, enhancedStatus="5.4.7"
            )
        if offered is None and not session.lmtp:
            # RFC 2852 §4.1.4.2. By LMTP it is delivered now, or not at all.
            raise MailError(
                f"{session.remote} does not promise to deliver in time or return",
                smtpCode=550,
                enhancedStatus="5.3.3",
            )
    return {} if offered is None else {"BY": str(left)}


def _elapsed(message: OutgoingMessage) -> int:
    # RFC 4865: the time runs from when the message is released.
    if hold := message.parameters.get("HOLDFOR"):
        return max(message.age - int(hold), 0)
    if until := message.parameters.get("HOLDUNTIL"):
        released = int(datetime.fromisoformat(until.upper()).timestamp())
        return max(min(message.age, int(time()) - released), 0)
    return message.age


EXTENSION = Extension(
    "DELIVERBY",
    2852,
    ehlo=ehlo,
    available=available,
    mailParameters={"BY": check},
    # RFC 2852: " BY=" and a by-value
    mailOctets=17,
    clientMail=clientMail,
)
