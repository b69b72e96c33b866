"""
Messages for servers that take ASCII only (RFC 6152 §3).
"""

from __future__ import annotations

from twisted_mailstack.errors import MailError
from twisted_mailstack.smtp.clientsession import Readable


async def toSevenBit(content: Readable) -> Readable:
    """
    @return: the message with its parts in 7-bit transfer encodings.
    @raise MailError: if that can't be done.
    """
    raise MailError(
        "The message has octets that the next server does not take",
        smtpCode=554,
        enhancedStatus="5.6.3",
    )
