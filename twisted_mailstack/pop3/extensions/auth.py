# -*- test-case-name: tests.pop3.test_auth -*-
"""
AUTH (RFC 5034, RFC 1734) with the mechanisms of C{sasl}.
"""

from __future__ import annotations

from base64 import b64encode
from binascii import Error, a2b_base64

from twisted_mailstack.errors import (
    AuthenticationFailed,
    EncryptionRequired,
    MailError,
    SyntaxProblem,
)
from twisted_mailstack.pop3.extension import Command, Extension, State
from twisted_mailstack.pop3.session import POP3Session
from twisted_mailstack.sasl.exchange import claimed, respond
from twisted_mailstack.sasl.registry import choose, offered

#: Of the client's responses (RFC 4954's figure; RFC 5034 §4 names none for POP3).
# Deviation: and of the command itself, since clients send long initial responses.
MAX_LINE = 12288


def _names(session: POP3Session) -> list[bytes]:
    settings = session.settings
    return list(offered(session.mechanisms, session.stream.info, settings.allowPlaintextAuth))


def _capability(session: POP3Session) -> bytes | None:
    names = _names(session)
    return b"SASL " + b" ".join(names) if names else None


async def auth(session: POP3Session, name: bytes = b"", initial: bytes | None = None) -> None:
    """RFC 5034 §4. Without an argument it lists the mechanisms, as some clients expect."""
    if not name:
        lines = b"".join(each + b"\r\n" for each in _names(session))
        session.stream.write(b"+OK mechanisms follow\r\n%b.\r\n" % lines)
        return
    info, allowPlaintext = session.stream.info, session.settings.allowPlaintextAuth
    try:
        mechanism = choose(session.mechanisms, name, info, allowPlaintext)
    except EncryptionRequired:
        raise EncryptionRequired("Encryption required: use STLS first") from None
    if mechanism is None:
        raise MailError("Unknown mechanism")
    exchange = mechanism.begin(info)
    mechanismName = mechanism.name.decode("ascii")
    #   initial-response = base64 / "="
    response = b"" if initial == b"=" else None if initial is None else _decode(initial)
    try:
        step = await respond(exchange, response)
        while isinstance(step, bytes):
            session.stream.write(b"+ %b\r\n" % b64encode(step))
            line = await session.stream.readLine(MAX_LINE)
            if line == b"*":
                raise SyntaxProblem("Authentication cancelled")
            step = await respond(exchange, _decode(line))
    except AuthenticationFailed as error:
        await session.login.refuse(claimed(error), mechanismName, info)
    await session.logIn(step, mechanismName)


def _decode(text: bytes) -> bytes:
    try:
        # Python takes a padding too many.
        if len(text) % 4 == 0:
            return a2b_base64(text, strict_mode=True) if text else b""
    except Error:
        pass
    raise SyntaxProblem("Not valid base64")


EXTENSION = Extension(
    _capability, 5034, (Command(b"AUTH", (State.AUTHORIZATION,), auth, most=2, longest=MAX_LINE),)
)
