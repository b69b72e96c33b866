# -*- test-case-name: tests.pop3.test_authorization -*-
"""
Commands before login, and those of every state: USER, PASS, CAPA, QUIT (RFC 1939 §4 and §7, RFC
2449 §5). APOP is not offered: it needs passwords stored in the clear.
"""

from __future__ import annotations

from twisted_mailstack.errors import EncryptionRequired, SyntaxProblem
from twisted_mailstack.pop3.extension import BOTH, Command, State
from twisted_mailstack.pop3.session import POP3Session
from twisted_mailstack.sasl.credentials import PasswordCredentials


async def user(session: POP3Session, name: bytes) -> None:
    """RFC 1939 §7. Says nothing about whether there is such a user."""
    session.user = None
    _requireEncryption(session)
    if not name:
        raise SyntaxProblem("A name is needed")
    session.user = name
    session.ok(b"send PASS")


async def password(session: POP3Session, given: bytes) -> None:
    """RFC 1939 §7. The password is all behind the space, spaces included."""
    # Deviation: other commands may have come since USER; RFC 1939 §7 wants it immediately before.
    _requireEncryption(session)
    if session.user is None:
        raise SyntaxProblem("Say USER first")
    if not given:
        raise SyntaxProblem("A password is needed")
    await session.logIn(PasswordCredentials(session.user, given), "PASS")


def _requireEncryption(session: POP3Session) -> None:
    if not session.plaintextAllowed:
        raise EncryptionRequired("Encryption required: use STLS first")


async def capa(session: POP3Session) -> None:
    """RFC 2449 §5: what holds now, in this state."""
    lines = [extension.capability(session) for extension in session.registry.extensions]
    shown = b"".join(line + b"\r\n" for line in lines if line is not None)
    session.stream.write(b"+OK capabilities follow\r\n%b.\r\n" % shown)


async def quit(session: POP3Session) -> None:
    """
    RFC 1939 §4 and §6: from TRANSACTION it deletes what is marked, all or nothing. It is the only
    thing that deletes, and ends the session whether or not it could.
    """
    session.closing = True
    if session.maildrop is not None:
        session.removed = await session.maildrop.update()
    session.ok(b"bye")


COMMANDS = (
    Command(b"USER", (State.AUTHORIZATION,), user, verbatim=True),
    Command(b"PASS", (State.AUTHORIZATION,), password, verbatim=True),
    Command(b"CAPA", BOTH, capa),
    Command(b"QUIT", BOTH, quit),
)
