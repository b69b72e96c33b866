# -*- test-case-name: tests.smtp.test_smtputf8 -*-
"""
SMTPUTF8 (RFC 6531): addresses and header fields in UTF-8. Local delivery keeps every octet, and
local accounts may have such addresses.
"""

from __future__ import annotations

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.smtp.extension import Extension
from twisted_mailstack.smtp.session import SMTPSession


def check(session: SMTPSession, value: str | None) -> None:
    """RFC 6531 §3.4: no value."""
    if value is not None:
        raise SyntaxProblem("SMTPUTF8 takes no value")


# RFC 6531 §3.1 (7): MAIL may be 10 octets longer.
EXTENSION = Extension("SMTPUTF8", 6531, mailParameters={"SMTPUTF8": check}, mailOctets=10)
