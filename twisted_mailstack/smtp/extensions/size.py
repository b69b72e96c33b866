# -*- test-case-name: tests.smtp.test_size -*-
"""SIZE (RFC 1870): the client says how large the message is, the server how large it may be."""

from __future__ import annotations

from twisted_mailstack.errors import MessageTooLarge, SyntaxProblem
from twisted_mailstack.smtp.extension import Extension
from twisted_mailstack.smtp.session import SMTPSession


def check(session: SMTPSession, value: str | None) -> None:
    """RFC 1870 §6.1: size-value = 1*20DIGIT."""
    if value is None or not (value.isascii() and value.isdigit()) or len(value) > 20:
        raise SyntaxProblem("SIZE needs a number")
    if int(value) > session.settings.maxMessageOctets:
        raise MessageTooLarge()


EXTENSION = Extension(
    "SIZE",
    1870,
    ehlo=lambda session: str(session.settings.maxMessageOctets),
    mailParameters={"SIZE": check},
    # RFC 1870 §3 (7)
    mailOctets=26,
)
