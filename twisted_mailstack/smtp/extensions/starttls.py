"""
STARTTLS (RFC 3207). What was said before TLS is forgotten, and what came behind the command in the
clear is never run: the connection is dropped.
"""

from __future__ import annotations

from twisted_mailstack.errors import MailError, SyntaxProblem
from twisted_mailstack.smtp.extension import Command, Extension
from twisted_mailstack.smtp.reply import reply
from twisted_mailstack.smtp.session import SMTPSession


def offered(session: SMTPSession) -> str | None:
    """Not within TLS (RFC 3207 §4.2)."""
    return "" if session.hasTLS and not session.stream.info.secure else None


async def starttls(session: SMTPSession, argument: bytes) -> None:
    """RFC 3207 §4."""
    if argument:
        raise SyntaxProblem("STARTTLS takes no argument")
    if session.stream.info.secure:
        raise MailError("TLS is active", smtpCode=503, enhancedStatus="5.5.1")
    if not session.hasTLS:
        raise MailError("TLS is not available", smtpCode=454, enhancedStatus="4.7.0")
    session.stream.write(reply(220, "Ready to start TLS", "2.0.0"))
    session.stream.startTLS()
    session.forget()


EXTENSION = Extension(
    "STARTTLS", 3207, ehlo=offered, commands=(Command(b"STARTTLS", starttls, "STARTTLS"),)
)
