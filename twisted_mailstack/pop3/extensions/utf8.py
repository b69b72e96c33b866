"""
UTF8 (RFC 6856): names and passwords in UTF-8, and messages as they are stored, which they always
are here; so the command has nothing to switch.
"""

from __future__ import annotations

from twisted_mailstack.pop3.extension import Command, Extension, State, always
from twisted_mailstack.pop3.session import POP3Session


async def utf8(session: POP3Session, argument: bytes) -> None:
    """RFC 6856 §2.1."""
    session.ok(b"UTF-8 enabled")


EXTENSION = Extension(always(b"UTF8 USER"), 6856, (Command(b"UTF8", (State.AUTHORIZATION,), utf8),))
