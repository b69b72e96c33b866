# -*- test-case-name: tests.pop3.test_capabilities -*-
"""
Capabilities that are promises about what the server does anyway (RFC 2449 §6, RFC 3206).
"""

from __future__ import annotations

from twisted_mailstack.pop3.extension import Extension, State, always
from twisted_mailstack.pop3.session import POP3Session


def _user(session: POP3Session) -> bytes | None:
    # The same in both states, as RFC 2449 §5 asks.
    return b"USER" if session.plaintextAllowed else None


def _implementation(session: POP3Session) -> bytes | None:
    # RFC 2449 §6.9: rather not before login.
    return b"IMPLEMENTATION twisted_mailstack" if session.state is State.TRANSACTION else None


TOP = Extension(always(b"TOP"), 2449)
UIDL = Extension(always(b"UIDL"), 2449)
USER = Extension(_user, 2449)
PIPELINING = Extension(always(b"PIPELINING"), 2449)
#: [IN-USE], and that every response may begin with a code (RFC 2449 §8).
RESP_CODES = Extension(always(b"RESP-CODES"), 2449)
#: [AUTH], [SYS/TEMP] and [SYS/PERM] (RFC 3206).
AUTH_RESP_CODE = Extension(always(b"AUTH-RESP-CODE"), 3206)
#: The server never deletes of its own accord.
EXPIRE = Extension(always(b"EXPIRE NEVER"), 2449)
IMPLEMENTATION = Extension(_implementation, 2449)
