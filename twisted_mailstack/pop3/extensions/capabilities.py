# -*- test-case-name: tests.pop3.test_capabilities -*-
"""
Capabilities that are promises about what the server does anyway (RFC 2449 §6, RFC 3206).
"""

from __future__ import annotations

from twisted_mailstack.model.records import NEVER
from twisted_mailstack.pop3.extension import Extension, State, always
from twisted_mailstack.pop3.session import POP3Session


def _user(session: POP3Session) -> bytes | None:
    # The same in both states, as RFC 2449 §5 asks.
    return b"USER" if session.plaintextAllowed else None


def _implementation(session: POP3Session) -> bytes | None:
    # RFC 2449 §6.9: rather not before login.
    return b"IMPLEMENTATION twisted_mailstack" if session.state is State.TRANSACTION else None


async def _loginDelay(session: POP3Session) -> bytes | None:
    # "the largest value [...] currently in use for any user", and whether it differs.
    found = (await session.surveyMaildrops()).loginDelays or ()
    usual = session.usualLoginDelay
    most = max(usual, *found, 0)
    if not most:
        return None
    if session.maildrop is not None:
        # Announced as before login, if only to say that it is none for this account.
        return b"LOGIN-DELAY %d" % session.loginDelay(session.maildrop)
    other = any(each != usual for each in found)
    return b"LOGIN-DELAY %d%b" % (most, b" USER" if other else b"")


async def _expire(session: POP3Session) -> bytes | None:
    # "the smallest value"
    usual = session.expireDays
    if session.maildrop is not None:
        return b"EXPIRE " + _days(usual)
    found = (await session.surveyMaildrops()).expireDays or ()
    other = any(each != usual for each in found)
    return b"EXPIRE %b%b" % (_days(min(usual, *found, NEVER)), b" USER" if other else b"")


def _days(days: int) -> bytes:
    return b"NEVER" if days == NEVER else b"%d" % days


TOP = Extension(always(b"TOP"), 2449)
UIDL = Extension(always(b"UIDL"), 2449)
USER = Extension(_user, 2449)
PIPELINING = Extension(always(b"PIPELINING"), 2449)
#: [IN-USE] and [LOGIN-DELAY], and that every response may begin with a code (RFC 2449 §8).
RESP_CODES = Extension(always(b"RESP-CODES"), 2449)
#: [AUTH], [SYS/TEMP] and [SYS/PERM] (RFC 3206).
AUTH_RESP_CODE = Extension(always(b"AUTH-RESP-CODE"), 3206)
#: An account may have its own; before login it isn't known which.
LOGIN_DELAY = Extension(_loginDelay, 2449)
EXPIRE = Extension(_expire, 2449)
IMPLEMENTATION = Extension(_implementation, 2449)
