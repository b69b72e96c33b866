# -*- test-case-name: tests.pop3.test_utf8 -*-
"""
UTF8 (RFC 6856 §2): messages with headers in UTF-8 as they are. Who doesn't say it is sent
surrogates (L{twisted_mailstack.pop3.surrogate}).
"""

from __future__ import annotations

from twisted_mailstack.pop3.extension import Command, Extension, State, always
from twisted_mailstack.pop3.session import POP3Session


async def utf8(session: POP3Session) -> None:
    """RFC 6856 §2.1."""
    session.utf8 = True
    session.ok(b"UTF8 mode")


#: USER: names and passwords may be UTF-8, with the command or without (§2.2).
EXTENSION = Extension(always(b"UTF8 USER"), 6856, (Command(b"UTF8", (State.AUTHORIZATION,), utf8),))
