# -*- test-case-name: tests.pop3.test_authorization -*-
"""
Commands before login, and those of every state: USER, PASS, APOP, CAPA, QUIT (RFC 1939 §4 and §7,
RFC 2449 §5).
"""

from __future__ import annotations

import re
from hashlib import md5
from hmac import compare_digest

from twisted_mailstack.errors import EncryptionRequired, MailError, SyntaxProblem
from twisted_mailstack.pop3.extension import BOTH, Command, State
from twisted_mailstack.pop3.session import POP3Session
from twisted_mailstack.sasl.credentials import PasswordCredentials, ProvenIdentity

#: The scheme of the secrets that APOP needs.
SCHEME = "plain"
#   "a MD5 digest in hexadecimal format, using lower-case ASCII characters"
_APOP = re.compile(rb"(.+) ([0-9a-f]{32})\Z", re.DOTALL)


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


async def apop(session: POP3Session, given: bytes) -> None:
    """RFC 1939 §7: shows a digest of the greeting's timestamp and a secret that both have."""
    session.user = None
    if session.secrets is None:
        raise MailError("APOP is not available")
    match = _APOP.match(given)
    if match is None:
        raise SyntaxProblem("A name and a digest are needed")
    name, digest = match.groups()
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        raise SyntaxProblem("The name is not UTF-8") from None
    right = [
        each.credentialId
        for each in await session.secrets.secretsFor(name, SCHEME)
        if compare_digest(_digest(session.timestamp, each.text), digest)
    ]
    if not right or not right[0]:
        await session.login.refuse(name.decode("utf-8"), "APOP", session.stream.info)
    await session.logIn(ProvenIdentity(name, None, right[0]), "APOP")


def _digest(timestamp: bytes, secret: str) -> bytes:
    octets = timestamp + secret.encode("utf-8")
    return md5(octets, usedforsecurity=False).hexdigest().encode("ascii")


def _requireEncryption(session: POP3Session) -> None:
    if not session.plaintextAllowed:
        raise EncryptionRequired("Encryption required: use STLS first")


async def capa(session: POP3Session) -> None:
    """RFC 2449 §5: what holds now, in this state."""
    shown = b""
    for extension in session.registry.extensions:
        line = extension.capability(session)
        if not isinstance(line, bytes | None):
            line = await line
        if line is not None:
            shown += line + b"\r\n"
    session.stream.write(b"+OK capabilities follow\r\n%b.\r\n" % shown)


async def quit(session: POP3Session) -> None:
    """
    RFC 1939 §4 and §6: from TRANSACTION it deletes what is marked, and what has expired (§8, RFC
    2449 §6.7), all or nothing. It is the only thing that deletes, and ends the session whether or
    not it could.
    """
    session.closing = True
    if session.maildrop is not None:
        session.removed = await session.maildrop.update(session.expireDays, session.now())
    session.ok(b"bye")


COMMANDS = (
    Command(b"USER", (State.AUTHORIZATION,), user, verbatim=True),
    Command(b"PASS", (State.AUTHORIZATION,), password, verbatim=True),
    Command(b"APOP", (State.AUTHORIZATION,), apop, verbatim=True),
    Command(b"CAPA", BOTH, capa),
    Command(b"QUIT", BOTH, quit),
)
