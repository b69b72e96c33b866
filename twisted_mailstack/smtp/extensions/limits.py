# -*- test-case-name: tests.smtp.test_limits -*-
"""
LIMITS (RFC 9422): how many messages, recipients and recipients' domains the server takes, so that
no client need find out by being refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from twisted_mailstack.errors import MailError
from twisted_mailstack.model.records import Recipient
from twisted_mailstack.smtp.clientsession import SMTPClientSession
from twisted_mailstack.smtp.extension import Extension
from twisted_mailstack.smtp.session import SMTPSession

#: RFC 9422: 1*6DIGIT.
LARGEST = 999_999
#   limit = name ["=" value]; the names' values that are known here are 1*6DIGIT, and not 0
_LIMIT = re.compile(r"(MAILMAX|RCPTMAX|RCPTDOMAINMAX)=([0-9]{1,6})\Z", re.IGNORECASE)


def ehlo(session: SMTPSession) -> str | None:
    """RFC 9422: those of the settings."""
    settings = session.settings
    limits = {
        "MAILMAX": settings.maxTransactions,
        "RCPTMAX": settings.maxRecipients,
        "RCPTDOMAINMAX": settings.maxRecipientDomains,
    }
    words = [
        f"{name}={limit}"
        for name, limit in limits.items()
        if limit is not None and 0 < limit <= LARGEST
    ]
    return " ".join(words) or None


def checkRcpt(session: SMTPSession, recipient: Recipient) -> None:
    """RCPTDOMAINMAX, which counts for the whole session."""
    limit = session.settings.maxRecipientDomains
    if limit is None:
        return
    domains = session.recipientDomains | {recipient.address.domain}
    if len(domains) > limit:
        raise MailError("Too many domains", smtpCode=452, enhancedStatus="4.5.3")
    session.recipientDomains = domains


def parseLimits(text: str) -> dict[str, int]:
    """
    @return: the limits that are known here. What isn't is somebody else's, or nobody's.
    """
    found = {}
    for word in text.split():
        match = _LIMIT.match(word)
        if match is not None and int(match.group(2)):
            found[match.group(1).upper()] = int(match.group(2))
    return found


def clientLimit(
    session: SMTPClientSession, recipients: Sequence[Recipient], offered: str | None
) -> int:
    """How many may be named in the next transaction."""
    limits = parseLimits(offered or "")
    if session.transactions >= limits.get("MAILMAX", LARGEST + 1):
        return 0
    count = min(len(recipients) or 1, limits.get("RCPTMAX", LARGEST))
    domains = set(session.domains)
    for number, recipient in enumerate(recipients[:count]):
        domains.add(recipient.address.domain)
        if len(domains) > limits.get("RCPTDOMAINMAX", LARGEST):
            return number
    return count


EXTENSION = Extension("LIMITS", 9422, ehlo=ehlo, checkRcpt=checkRcpt, clientLimit=clientLimit)
