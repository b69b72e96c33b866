# -*- test-case-name: tests.smtp.test_reply -*-
"""
SMTP replies (RFC 5321 §4.2) with enhanced status codes (RFC 2034).
"""

from __future__ import annotations

import re

from twisted_mailstack.errors import MailError

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")


def reply(code: int, text: str, enhancedStatus: str | None = None) -> bytes:
    """
    @param text: one line, or several separated by newlines.
    @param enhancedStatus: put at the head of each line (RFC 2034 §4); C{None} for none, as RFC 2034
        wants for the greeting, EHLO and 3yz replies.
    """
    lines = [_CONTROLS.sub(" ", line) for line in text.split("\n")]
    head = f"{enhancedStatus} " if enhancedStatus else ""
    last = len(lines) - 1
    return b"".join(
        f"{code}{'-' if number < last else ' '}{head}{line}\r\n".encode()
        for number, line in enumerate(lines)
    )


def errorReply(error: MailError) -> bytes:
    """
    @return: the one form in which an error is told to a client.
    """
    return reply(error.smtpCode, error.text, error.enhancedStatus)
