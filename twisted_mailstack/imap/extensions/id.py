# -*- test-case-name: tests.imap.test_id -*-
"""ID (RFC 2971): who is talking. The server tells its name; its version would help attackers."""

from __future__ import annotations

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.imap.extension import ANY, Command, Extension
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession

#: RFC 2971 §3.3.
MAX_PAIRS = 30
MAX_NAME = 30
MAX_VALUE = 1024


async def id_(session: IMAPSession, cursor: Cursor) -> None:
    """id = "ID" SP id-params-list"""
    cursor.space()
    if not cursor.skipWord(b"NIL"):
        cursor.expect(b"(")
        pairs = 0
        while not cursor.skip(b")"):
            if pairs:
                cursor.space()
            name = cursor.string()
            cursor.space()
            value = cursor.nstring()
            pairs += 1
            if pairs > MAX_PAIRS or len(name) > MAX_NAME or len(value or b"") > MAX_VALUE:
                raise SyntaxProblem("Too much of an ID")
    cursor.end()
    session.stream.write(b'* ID ("name" "twisted_mailstack")\r\n')


EXTENSION = Extension(b"ID", 2971, (Command(b"ID", ANY, id_),))
