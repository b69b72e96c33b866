# -*- test-case-name: tests.imap.test_unselect -*-
"""UNSELECT (RFC 3691): CLOSE that expunges nothing."""

from __future__ import annotations

from twisted_mailstack.imap.extension import ONLY_SELECTED, Command, Extension
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession


async def unselect(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 3691 §2."""
    cursor.end()
    session.unselect()


EXTENSION = Extension(b"UNSELECT", 3691, (Command(b"UNSELECT", ONLY_SELECTED, unselect),))
