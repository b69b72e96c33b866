# -*- test-case-name: tests.smtp.test_auth -*-
"""
AUTH (RFC 4954) with the mechanisms of C{sasl}. Those that send a password are offered under TLS
only.
"""

from __future__ import annotations

import re
from base64 import b64encode
from binascii import Error, a2b_base64
from collections.abc import Mapping
from typing import Any

from twisted_mailstack.errors import (
    AuthenticationFailed,
    LimitExceeded,
    MailError,
    SyntaxProblem,
    TemporaryFailure,
)
from twisted_mailstack.interfaces import ISASLExchange
from twisted_mailstack.sasl.exchange import claimed, respond
from twisted_mailstack.sasl.registry import choose, offered
from twisted_mailstack.smtp.clientsession import OutgoingMessage, SMTPClientSession
from twisted_mailstack.smtp.extension import Command, Extension
from twisted_mailstack.smtp.reply import reply
from twisted_mailstack.smtp.session import SMTPSession

#: RFC 4954 §4.
MAX_LINE = 12288
#   auth-param: "AUTH=" ( xtext / "<>" )
_XTEXT = re.compile(r"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})+\Z")


def _mechanisms(session: SMTPSession) -> dict[bytes, object]:
    return dict(offered(session.mechanisms, session.info, session.settings.allowPlaintextAuth))


def ehlo(session: SMTPSession) -> str | None:
    """The mechanisms that may be used now."""
    if session.login is None or session.authenticated is not None:
        return None
    names = b" ".join(_mechanisms(session)).decode("ascii")
    return names or None


async def auth(session: SMTPSession, argument: bytes) -> None:
    """RFC 4954 §4."""
    login = session.login
    if login is None:
        raise MailError("AUTH is not available", smtpCode=502, enhancedStatus="5.5.1")
    if session.helo is None or not session.extended:
        raise MailError("Say EHLO first", smtpCode=503, enhancedStatus="5.5.1")
    if session.authenticated is not None:
        raise MailError("Already authenticated", smtpCode=503, enhancedStatus="5.5.1")
    if session.transaction is not None:
        raise MailError("Not within a transaction", smtpCode=503, enhancedStatus="5.5.1")
    name, _, initial = argument.partition(b" ")
    if not name:
        raise SyntaxProblem("A mechanism is needed")
    settings, info = session.settings, session.info
    mechanism = choose(session.mechanisms, name, info, settings.allowPlaintextAuth)
    if mechanism is None:
        raise MailError("Unknown mechanism", smtpCode=504, enhancedStatus="5.5.4")
    mechanismName = mechanism.name.decode("ascii")
    initial = initial.strip()
    #   initial-response = base64 / "="
    response = None if not initial else b"" if initial == b"=" else _decode(initial)
    try:
        try:
            credentials = await _exchange(session, mechanism.begin(info), response)
        except AuthenticationFailed as error:
            # The mechanism found it out by itself; it is a failed attempt like any other.
            await login.refuse(claimed(error), mechanismName, info)
        account = await login.attempt(credentials, mechanismName, info)
    except AuthenticationFailed:
        if login.exhausted:
            raise MailError(
                "too many failed logins", smtpCode=421, enhancedStatus="4.7.0"
            ) from None
        raise
    except TemporaryFailure as error:
        # RFC 4954 §6
        raise MailError(error.text, smtpCode=454, enhancedStatus="4.7.0") from error
    session.account = account
    session.ok("Authenticated", "2.7.0", 235)


async def _exchange(session: SMTPSession, exchange: ISASLExchange, response: bytes | None) -> Any:
    step = await respond(exchange, response)
    while isinstance(step, bytes):
        session.stream.write(reply(334, b64encode(step).decode("ascii")))
        try:
            line = await session.stream.readLine(MAX_LINE, strict=True)
        except LimitExceeded:
            # RFC 4954 §6
            raise LimitExceeded("Line too long", enhancedStatus="5.5.6") from None
        if line == b"*":
            raise SyntaxProblem("Authentication cancelled", enhancedStatus="5.7.0")
        step = await respond(exchange, _decode(line))
    return step


def _decode(text: bytes) -> bytes:
    try:
        # Python takes a padding too many.
        if len(text) % 4 == 0:
            return a2b_base64(text, strict_mode=True) if text else b""
    except Error:
        pass
    raise SyntaxProblem("Not valid base64", enhancedStatus="5.5.2")


def check(session: SMTPSession, value: str | None) -> None:
    """
    AUTH= of MAIL (RFC 4954 §5): taken and not trusted, as the RFC allows: nothing is derived from
    it.
    """
    if session.login is None:
        raise MailError("AUTH is not available", smtpCode=555, enhancedStatus="5.5.4")
    if value is None or (value != "<>" and not _XTEXT.match(value)):
        raise SyntaxProblem("AUTH= needs an xtext or <>")


def clientMail(
    session: SMTPClientSession, message: OutgoingMessage, offered: str | None
) -> Mapping[str, str | None]:
    """
    RFC 4954 §5: nobody's AUTH= is trusted, so it counts as <>, which a server that we have
    authenticated to MUST be told.
    """
    return {"AUTH": "<>"} if session.authenticated and offered is not None else {}


EXTENSION = Extension(
    "AUTH",
    4954,
    ehlo=ehlo,
    commands=(Command(b"AUTH", auth, "AUTH mechanism [initial-response]", MAX_LINE),),
    mailParameters={"AUTH": check},
    # RFC 4954 §3 (6)
    mailOctets=500,
    clientMail=clientMail,
)
