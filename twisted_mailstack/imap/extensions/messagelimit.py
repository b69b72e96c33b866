# -*- test-case-name: tests.imap.test_messagelimit -*-
"""
MESSAGELIMIT (RFC 9738), where it is configured: how many messages one command may be about. FETCH,
STORE and UID EXPUNGE do as many as that, the newest, and say which was the oldest of them; COPY,
MOVE and APPEND, which do all or nothing, refuse. SEARCH isn't limited.
"""

from __future__ import annotations

from twisted_mailstack.imap.extension import Extension
from twisted_mailstack.imap.session import IMAPSession


def capability(session: IMAPSession) -> bytes | None:
    """RFC 9738 §3: capability =/ "MESSAGELIMIT=" message-limit"""
    limit = session.settings.maxMessages
    return b"MESSAGELIMIT=%d" % limit if limit else None


EXTENSION = Extension(capability, 9738)
