# -*- test-case-name: tests.smtp.test_starttls -*-
"""
STARTTLS (RFC 3207). What was said before TLS is forgotten, and what came behind the command in the
clear is never run: the connection is dropped.
"""

from __future__ import annotations

from twisted_mailstack.errors import MailError, PlaintextInjected, SyntaxProblem
from twisted_mailstack.smtp.extension import Command, Extension
from twisted_mailstack.smtp.session import SMTPSession


def offered(session: SMTPSession) -> str | None:
    """Not within TLS (RFC 3207 §4.2)."""
    return "" if session.hasTLS and not session.info.secure else None


async def starttls(session: SMTPSession, argument: bytes) -> None:
    """RFC 3207 §4."""
    if argument:
        raise SyntaxProblem("STARTTLS takes no argument")
    if session.info.secure:
        raise MailError("TLS is active", smtpCode=503, enhancedStatus="5.5.1")
    if not session.hasTLS:
        # Not 454, which says that it may be there later: it isn't offered.
        raise MailError("TLS is not available", smtpCode=502, enhancedStatus="5.5.1")
    if session.stream.buffered:
        raise PlaintextInjected()
    session.ok("Ready to start TLS", "2.0.0", 220)
    session.stream.startTLS()
    session.forget()


EXTENSION = Extension(
    "STARTTLS", 3207, ehlo=offered, commands=(Command(b"STARTTLS", starttls, "STARTTLS"),)
)
