# -*- test-case-name: tests.imap.test_namespace -*-
"""NAMESPACE (RFC 2342): one personal namespace at the root."""

from __future__ import annotations

from twisted_mailstack.imap.extension import LOGGED_IN, Command, Extension
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession


async def namespace(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 2342 §5: personal, other users', shared."""
    cursor.end()
    session.stream.write(b'* NAMESPACE (("" "/")) NIL NIL\r\n')


EXTENSION = Extension(b"NAMESPACE", 2342, (Command(b"NAMESPACE", LOGGED_IN, namespace),))
