# -*- test-case-name: tests.imap.test_starttls -*-
"""STARTTLS and LOGINDISABLED (RFC 3501 §6.2.1). Never within TLS or after login."""

from __future__ import annotations

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.imap.extension import Command, Extension, State
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession


def _usable(session: IMAPSession) -> bool:
    return (
        session.hasTLS
        and not session.stream.info.secure
        and session.state is State.NOT_AUTHENTICATED
    )


async def starttls(session: IMAPSession, cursor: Cursor) -> None:
    """
    The tagged OK goes out in the clear, then TLS begins; text behind the command drops the
    connection.
    """
    cursor.end()
    if session.stream.info.secure:
        raise SyntaxProblem("TLS is active already")
    if not session.hasTLS:
        raise SyntaxProblem("TLS is not available")
    session.afterResponse = session.beginTLS


LOGINDISABLED = Extension(
    lambda session: (
        None
        if session.plaintextAllowed or session.state is not State.NOT_AUTHENTICATED
        else b"LOGINDISABLED"
    ),
    3501,
)

EXTENSION = Extension(
    lambda session: b"STARTTLS" if _usable(session) else None,
    3501,
    (Command(b"STARTTLS", frozenset((State.NOT_AUTHENTICATED,)), starttls, synchronises=False),),
)
