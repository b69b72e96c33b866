# -*- test-case-name: tests.smtp.test_eightbitmime -*-
"""8BITMIME (RFC 6152, RFC 1652): octets outside ASCII in the text. They are stored as they come."""

from __future__ import annotations

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.smtp.extension import Extension
from twisted_mailstack.smtp.session import SMTPSession


def check(session: SMTPSession, value: str | None) -> None:
    """body-value = "7BIT" / "8BITMIME" (RFC 6152 §2)."""
    if value is None or value.upper() not in ("7BIT", "8BITMIME"):
        raise SyntaxProblem("BODY is 7BIT or 8BITMIME")


# RFC 6152 §2 (5): MAIL may be 17 octets longer.
EXTENSION = Extension("8BITMIME", 6152, mailParameters={"BODY": check}, mailOctets=17)
