# -*- test-case-name: tests.imap.test_authentication -*-
"""
LOGIN, AUTHENTICATE (RFC 9051 §6.2).
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
from twisted_mailstack.imap.extension import Command, State
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.sasl.credentials import PasswordCredentials
from twisted_mailstack.sasl.exchange import claimed, respond
from twisted_mailstack.sasl.registry import choose

#: Octets of a line of an exchange (RFC 4954 §4 asks this of SMTP).
MAX_RESPONSE = 12288


async def login(session: IMAPSession, cursor: Cursor) -> bytes:
    """RFC 9051 §6.2.3. Tells the capabilities in its OK, so that the client needn't ask."""
    cursor.space()
    name = cursor.astring()
    cursor.space()
    password = cursor.astring()
    cursor.end()
    if not session.plaintextAllowed:
        raise EncryptionRequired()
    await session.logIn(PasswordCredentials(name, password), "LOGIN")
    return b"[CAPABILITY %b] logged in" % session.capabilities()


async def authenticate(session: IMAPSession, cursor: Cursor) -> bytes:
    """RFC 9051 §6.2.2, with an initial response (RFC 4959)."""
    cursor.space()
    name = cursor.atom().upper()
    response: bytes | None = None
    if cursor.skip(b" "):
        #   authenticate = "AUTHENTICATE" SP auth-type [SP (base64 / "=")] *(CRLF base64)
        given = cursor.rest()
        if not given:
            raise SyntaxProblem("Initial response expected")
        response = b"" if given == b"=" else _decode(given)
    cursor.end()
    settings, info = session.settings, session.stream.info
    mechanism = choose(session.mechanisms, name, info, settings.allowPlaintextAuth)
    if mechanism is None:
        raise MailError("Unknown mechanism")
    exchange = mechanism.begin(info)
    try:
        step = await respond(exchange, response)
        while isinstance(step, bytes):
            session.stream.write(b"+ %b\r\n" % b64encode(step))
            line = await session.stream.readLine(MAX_RESPONSE)
            if line == b"*":
                raise SyntaxProblem("Authentication cancelled")
            step = await respond(exchange, _decode(line))
    except AuthenticationFailed as error:
        # The mechanism found it out by itself; it is a failed attempt like any other.
        await session.login.refuse(claimed(error), name.decode("ascii"), info)
    await session.logIn(step, name.decode("ascii"))
    return b"[CAPABILITY %b] authenticated" % session.capabilities()


def _decode(text: bytes) -> bytes:
    try:
        # Python takes a padding too many.
        if len(text) % 4 == 0:
            return a2b_base64(text, strict_mode=True) if text else b""
    except Error:
        pass
    raise SyntaxProblem("Not valid base64")


_BEFORE = frozenset((State.NOT_AUTHENTICATED,))

COMMANDS = (
    Command(b"LOGIN", _BEFORE, login),
    Command(b"AUTHENTICATE", _BEFORE, authenticate),
)
