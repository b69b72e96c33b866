# -*- test-case-name: tests.imap.test_appendlimit -*-
"""APPENDLIMIT (RFC 7889): how large a message may be; the same for all mailboxes."""

from __future__ import annotations

from twisted_mailstack.imap.extension import Extension
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.interfaces import IMailbox


def capability(session: IMAPSession) -> bytes:
    """RFC 7889 §2: capability =/ "APPENDLIMIT" ["=" number]"""
    return b"APPENDLIMIT=%d" % session.settings.maxMessageOctets


async def limit(session: IMAPSession, mailbox: IMailbox | None) -> int:
    """RFC 7889 §3.1: status-att-val =/ "APPENDLIMIT" SP (number / nil)"""
    return session.settings.maxMessageOctets


EXTENSION = Extension(capability, 7889, statusQueries={b"APPENDLIMIT": limit})
