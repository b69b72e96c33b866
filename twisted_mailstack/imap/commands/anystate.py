# -*- test-case-name: tests.imap.test_anystate -*-
"""
CAPABILITY, NOOP, LOGOUT (RFC 9051 §6.1).
"""

from __future__ import annotations

from twisted_mailstack.imap.extension import ANY, Command
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession


async def capability(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 9051 §6.1.1."""
    cursor.end()
    session.stream.write(b"* CAPABILITY %b\r\n" % session.capabilities())


async def noop(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 9051 §6.1.2: what others changed is told with every command's end."""
    cursor.end()


async def logout(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 9051 §6.1.3."""
    cursor.end()
    session.stream.write(b"* BYE %b closing\r\n" % session.settings.hostname.encode())
    session.closing = True


COMMANDS = (
    Command(b"CAPABILITY", ANY, capability),
    Command(b"NOOP", ANY, noop),
    Command(b"LOGOUT", ANY, logout, synchronises=False),
)
