# -*- test-case-name: tests.imap.test_append -*-
"""
APPEND (RFC 9051 §6.3.12), with APPENDUID (RFC 4315 §3).
"""

from __future__ import annotations

from time import time

from twisted_mailstack.errors import MailError, NoSuchMailbox
from twisted_mailstack.imap.extension import LOGGED_IN, Command
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.interfaces import IMailbox
from twisted_mailstack.model.flags import NO_FLAGS


async def openDestination(session: IMAPSession, name: str) -> IMailbox:
    """
    The mailbox to which APPEND, COPY or MOVE puts something.

    @raise NoSuchMailbox: with TRYCREATE: it could be created (RFC 9051 §7.1).
    """
    try:
        return await session.theAccount().openMailbox(name)
    except NoSuchMailbox:
        raise NoSuchMailbox(imapCode="TRYCREATE") from None


async def append(session: IMAPSession, cursor: Cursor) -> bytes:
    """append = "APPEND" SP mailbox [SP flag-list] [SP date-time] SP literal"""
    cursor.space()
    name = cursor.mailbox()
    cursor.space()
    flags = NO_FLAGS
    if cursor.peek() == b"(":
        flags = cursor.flagList()
        cursor.space()
    date, zone = int(time()), 0
    if cursor.peek() == b'"':
        date, zone = cursor.dateTime()
        cursor.space()
    writer = cursor.content()
    cursor.end()
    if writer.size == 0:
        raise MailError("An empty message can't be appended")
    mailbox = await openDestination(session, name)
    staged = await writer.finish()
    try:
        result = await mailbox.append([(staged, flags, date, zone)])
    finally:
        staged.discard()
    return b"[APPENDUID %d %d] APPEND completed" % (result.uidValidity, result.uids[0])


COMMANDS = (Command(b"APPEND", LOGGED_IN, append),)
