# -*- test-case-name: tests.imap.test_compress -*-
"""
COMPRESS=DEFLATE (RFC 4978). The stream does it (C{wire.stream}), within TLS if there is TLS.
"""

from __future__ import annotations

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.imap.extension import LOGGED_IN, Command, Extension, State
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession


async def compress(session: IMAPSession, cursor: Cursor) -> bytes:
    """RFC 4978 §3. From behind the OK on; text behind the command drops the connection."""
    cursor.space()
    algorithm = cursor.atom().upper()
    cursor.end()
    if algorithm != b"DEFLATE":
        raise SyntaxProblem("Unknown compression algorithm")
    if session.stream.compressed:
        raise SyntaxProblem("DEFLATE is active already", imapCode="COMPRESSIONACTIVE")
    session.afterResponse = session.stream.startCompression
    return b"DEFLATE active"


# Not before login: nobody else makes the server spend memory on it.
EXTENSION = Extension(
    lambda session: None if session.state is State.NOT_AUTHENTICATED else b"COMPRESS=DEFLATE",
    4978,
    (Command(b"COMPRESS", LOGGED_IN, compress),),
)
