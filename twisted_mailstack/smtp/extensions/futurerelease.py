# -*- test-case-name: tests.smtp.test_futurerelease -*-
"""
FUTURERELEASE (RFC 4865): submitted messages that are to be held for a while. They are held here:
nothing of it is passed on.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from time import time

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.smtp.extension import Extension
from twisted_mailstack.smtp.session import SMTPSession

#   future-release-integer = %x31-39 *8DIGIT
_SECONDS = re.compile(r"[1-9][0-9]{0,8}")
#   date-time of RFC 3339 §5.6
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2})",
    re.IGNORECASE,
)


def available(session: SMTPSession) -> bool:
    """RFC 4865: for submission; and where there is a queue in which they can wait."""
    settings = session.settings
    return settings.submission and settings.maxHold > 0 and session.honours("FUTURERELEASE")


def ehlo(session: SMTPSession) -> str | None:
    """RFC 4865: for how long and until when at most."""
    longest = session.settings.maxHold
    until = datetime.fromtimestamp(int(time()) + longest, UTC)
    return f"{longest} {until:%Y-%m-%dT%H:%M:%SZ}"


def checkFor(session: SMTPSession, value: str | None) -> None:
    """HOLDFOR: so many seconds."""
    if value is None or not _SECONDS.fullmatch(value):
        raise SyntaxProblem("HOLDFOR needs a number of seconds")
    if int(value) > session.settings.maxHold:
        raise _tooLong(session)


def checkUntil(session: SMTPSession, value: str | None) -> None:
    """HOLDUNTIL: until then; a time that is over doesn't hold it at all."""
    if value is None or not _DATE.fullmatch(value):
        raise SyntaxProblem("HOLDUNTIL needs a date and time of RFC 3339")
    try:
        until = datetime.fromisoformat(value.upper())
        late = until.timestamp() > time() + session.settings.maxHold
    except (ValueError, OverflowError):
        raise SyntaxProblem("HOLDUNTIL needs a date and time that there is") from None
    if late:
        raise _tooLong(session)


def _tooLong(session: SMTPSession) -> SyntaxProblem:
    return SyntaxProblem(f"Messages are held for {session.settings.maxHold} seconds at most")


def checkMail(session: SMTPSession, path: object, parameters: dict[str, str | None]) -> None:
    """RFC 4865: one of them."""
    if "HOLDFOR" in parameters and "HOLDUNTIL" in parameters:
        raise SyntaxProblem("HOLDFOR and HOLDUNTIL don't go together")


EXTENSION = Extension(
    "FUTURERELEASE",
    4865,
    ehlo=ehlo,
    available=available,
    mailParameters={"HOLDFOR": checkFor, "HOLDUNTIL": checkUntil},
    checkMail=checkMail,
    # RFC 4865: the longer of the two
    mailOctets=34,
)
