# -*- test-case-name: tests.smtp.test_clientauth -*-
"""
AUTH (RFC 4954), the client's side, with the mechanisms of C{sasl}.

The password goes over TLS only, unless the mechanism doesn't show it or the caller allows it. It is
sent to a server that refused it no second time, by whatever mechanism: that would be a second wrong
attempt.
"""

from __future__ import annotations

from base64 import b64encode
from binascii import a2b_base64
from collections.abc import Sequence
from typing import Any

from twisted_mailstack.errors import (
    AuthenticationFailed,
    EncryptionRequired,
    MailError,
    SyntaxProblem,
)
from twisted_mailstack.interfaces import IClientMechanism, ISASLClientExchange
from twisted_mailstack.sasl.credentials import PasswordCredentials, WrongCredentials
from twisted_mailstack.sasl.registry import CLIENT_MECHANISMS, usable
from twisted_mailstack.smtp.clientsession import SMTPClientSession
from twisted_mailstack.smtp.framing import MalformedReply, Reply

#: Octets of a command with its CRLF (RFC 5321 §4.5.3.1.4); an initial response that doesn't fit is
#: sent behind the first challenge (RFC 4954 §4).
MAX_COMMAND = 512
#: RFC 4954 §6: what says something of the mechanism, not of the password. 432: "A password
#: transition is needed"; 504: unknown; 534: too weak; 538: not without TLS.
_ANOTHER = frozenset({432, 504, 534, 538})


async def authenticate(
    session: SMTPClientSession,
    username: str = "",
    password: str = "",
    *,
    credentials: Any = None,
    authorizationIdentity: str | None = None,
    mechanisms: Sequence[IClientMechanism] = CLIENT_MECHANISMS,
    allowPlaintext: bool = False,
) -> None:
    """
    Log in, with the first mechanism that both sides have. The session then is C{authenticated}.

    @param session: that has said EHLO.
    @param credentials: instead of a username and a password: what other mechanisms begin with (see
        C{sasl.credentials}).
    @param authorizationIdentity: whom to act as, C{None} for the same.
    @param mechanisms: the preferred ones first.
    @param allowPlaintext: the password may be sent without TLS.
    @raise EncryptionRequired: if it would have to be, and isn't.
    @raise AuthenticationFailed: if the server refuses, isn't to be trusted, or has no mechanism in
        common with us.
    @raise MailError: if it refuses for now.
    @raise ConnectionClosed: as L{SMTPClientSession.command}; L{SessionEnded
        <twisted_mailstack.errors.SessionEnded>} and L{MalformedReply} too.
    """
    if credentials is None:
        credentials = PasswordCredentials(
            username.encode("utf-8"),
            password.encode("utf-8"),
            None if authorizationIdentity is None else authorizationIdentity.encode("utf-8"),
        )
    problem: MailError | None = None
    for mechanism in _candidates(session, mechanisms, allowPlaintext):
        try:
            exchange = mechanism.begin(credentials, session.stream.info)
        except WrongCredentials:
            continue
        except SyntaxProblem as error:
            problem = problem or error
            continue
        reply = await _attempt(session, mechanism.name, exchange)
        if reply.positive:
            _accepted(session, exchange)
            return
        problem = _refused(session, reply)
        if reply.code not in _ANOTHER:
            break
    if problem is not None:
        raise problem
    if not allowPlaintext and not session.stream.info.secure:
        for mechanism in _candidates(session, mechanisms, True):
            if mechanism.needsTLS and _takes(mechanism, credentials, session):
                raise EncryptionRequired("No password is sent without TLS")
    raise AuthenticationFailed(
        "The server offers no way to log in that is known here",
        smtpCode=504,
        enhancedStatus="5.7.4",
    )


def _takes(mechanism: IClientMechanism, credentials: Any, session: SMTPClientSession) -> bool:
    try:
        mechanism.begin(credentials, session.stream.info)
    except SyntaxProblem:
        return False
    return True


def _candidates(
    session: SMTPClientSession, mechanisms: Sequence[IClientMechanism], allowPlaintext: bool
) -> list[IClientMechanism]:
    names = set()
    for keyword, value in session.offered.items():
        if keyword == "AUTH" or keyword.startswith("AUTH="):
            # Some old servers say AUTH=PLAIN, for clients that are older still.
            words = f"{keyword.removeprefix('AUTH').removeprefix('=')} {value}"
            names.update(words.upper().encode("utf-8").split())
    return usable(mechanisms, names, session.stream.info, allowPlaintext)


def _accepted(session: SMTPClientSession, exchange: ISASLClientExchange) -> None:
    try:
        exchange.accepted()
    except AuthenticationFailed:
        session.leave()
        raise
    session.authenticated = True


def _refused(session: SMTPClientSession, reply: Reply) -> MailError:
    result = session.resultOf(reply)
    kind = MailError if result.temporary else AuthenticationFailed
    return kind(
        result.text or "Refused", smtpCode=result.code, enhancedStatus=result.enhancedStatus
    )


async def _attempt(session: SMTPClientSession, name: bytes, exchange: ISASLClientExchange) -> Reply:
    """
    @return: the last reply, which is no challenge.
    """
    line = b"AUTH " + name
    initial = exchange.respond(None)
    if initial is not None:
        #   initial-response = base64 / "="
        encoded = b64encode(initial) or b"="
        if len(line) + len(encoded) + 3 <= MAX_COMMAND:
            line += b" " + encoded
            initial = None
    reply = await session.command(line)
    while reply.code == 334:
        try:
            challenge = _decode(reply.text)
            # One that wasn't sent before is the response to the first challenge (RFC 4422 §5.1).
            response, initial = initial, None
            if response is None:
                response = exchange.respond(challenge) or b""
        except MailError:
            # RFC 4954 §4: a line with nothing but an asterisk cancels.
            reply = await session.command(b"*")
            if reply.code // 100 != 5:
                session.leave()
            raise
        reply = await session.command(b64encode(response))
    if reply.code // 100 == 3:
        session.leave()
        raise MalformedReply(f"it replied {reply.code} to AUTH")
    return reply


def _decode(text: str) -> bytes:
    try:
        return a2b_base64(text, strict_mode=True) if text else b""
    except ValueError:
        raise MailError(
            "The server asks what is not base64", smtpCode=451, enhancedStatus="4.7.0"
        ) from None
