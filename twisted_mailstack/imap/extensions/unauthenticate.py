# -*- test-case-name: tests.imap.test_unauthenticate -*-
"""UNAUTHENTICATE (RFC 8437): another login on the same connection."""

from __future__ import annotations

from twisted_mailstack.imap.extension import LOGGED_IN, Command, Extension, State
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession


async def unauthenticate(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 8437 §3. The next command may be there already, unless it is compressed."""
    cursor.end()
    session.afterResponse = session.logOut


EXTENSION = Extension(
    lambda session: None if session.state is State.NOT_AUTHENTICATED else b"UNAUTHENTICATE",
    8437,
    # "No expunge event is generated."
    (Command(b"UNAUTHENTICATE", LOGGED_IN, unauthenticate, synchronises=False),),
)
