# -*- test-case-name: tests.pop3.test_authorization -*-
"""
Commands before login, and those of every state: USER, PASS, CAPA, QUIT (RFC 1939 §4 and §7, RFC
2449 §5). APOP is not offered: it needs passwords stored in the clear.
"""

from __future__ import annotations

from twisted_mailstack.errors import EncryptionRequired, MailError, SyntaxProblem
from twisted_mailstack.pop3.extension import BOTH, Command, State
from twisted_mailstack.pop3.session import POP3Session
from twisted_mailstack.sasl.credentials import PasswordCredentials


async def user(session: POP3Session, argument: bytes) -> None:
    """RFC 1939 §7. Says nothing about whether there is such a user."""
    if not session.plaintextAllowed:
        raise EncryptionRequired("Encryption required: use STLS first")
    if not argument:
        raise SyntaxProblem("A name is needed")
    session.user = argument
    session.ok(b"send PASS")


async def password(session: POP3Session, argument: bytes) -> None:
    """RFC 1939 §7. The password is all behind the space, spaces included."""
    if not session.plaintextAllowed:
        raise EncryptionRequired("Encryption required: use STLS first")
    if session.user is None:
        raise MailError("Say USER first")
    await session.logIn(PasswordCredentials(session.user, argument), "PASS")


async def capa(session: POP3Session, argument: bytes) -> None:
    """RFC 2449 §5: what holds now, in this state."""
    lines = [extension.capability(session) for extension in session.registry.extensions]
    shown = b"".join(line + b"\r\n" for line in lines if line is not None)
    session.stream.write(b"+OK capabilities follow\r\n%b.\r\n" % shown)


async def quit(session: POP3Session, argument: bytes) -> None:
    """RFC 1939 §4 and §6: from TRANSACTION it deletes what is marked, all or nothing."""
    session.closing = True
    if session.maildrop is not None:
        try:
            await session.maildrop.update()
        except BaseException:
            session.maildrop.deleted.clear()
            raise
    session.ok(b"bye")


COMMANDS = (
    Command(b"USER", (State.AUTHORIZATION,), user),
    Command(b"PASS", (State.AUTHORIZATION,), password),
    Command(b"CAPA", BOTH, capa),
    Command(b"QUIT", BOTH, quit),
)
