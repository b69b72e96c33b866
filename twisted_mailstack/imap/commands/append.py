# -*- test-case-name: tests.imap.test_append -*-
"""
APPEND (RFC 9051 §6.3.12), with APPENDUID (RFC 4315 §3).
"""

from __future__ import annotations

from collections.abc import Sequence
from time import time

from twisted_mailstack.errors import (
    MailboxNotSelectable,
    MailError,
    MessageTooLarge,
    NoSuchMailbox,
    OverQuota,
)
from twisted_mailstack.imap.extension import LOGGED_IN, Command
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.interfaces import IContentWriter, IMailbox
from twisted_mailstack.model.flags import NO_FLAGS, Flags, KeywordSpelling

#: Keywords that one mailbox may have: clients make them, and everyone is told all of them.
MAX_KEYWORDS = 1000


def requireRoom(known: Sequence[str], new: Sequence[str]) -> None:
    """
    @param known: the mailbox's keywords.
    @param new: those that it is to get.
    @raise MailError: LIMIT (RFC 5530), if these are too many.
    """
    if new and len(known) + len(new) > MAX_KEYWORDS:
        raise MailError("The mailbox has too many keywords", imapCode="LIMIT")


async def openDestination(session: IMAPSession, name: str) -> IMailbox:
    """
    The mailbox to which APPEND, COPY or MOVE puts something.

    @raise NoSuchMailbox: with TRYCREATE: it could be created (RFC 9051 §7.1). Likewise
        L{MailboxNotSelectable}: CREATE makes a mailbox of a name that only held children.
    """
    try:
        return await session.theAccount().openMailbox(name)
    except (NoSuchMailbox, MailboxNotSelectable) as error:
        raise type(error)(imapCode="TRYCREATE") from None


def _arguments(cursor: Cursor) -> tuple[str, Flags, tuple[int, int]]:
    """
    @return: what stands before the message: the mailbox, flags, internal date and its zone.
    """
    name = cursor.mailbox()
    cursor.space()
    flags = NO_FLAGS
    if cursor.peek() == b"(":
        flags = cursor.flagList()
        cursor.space()
    date = int(time()), 0
    if cursor.peek() == b'"':
        date = cursor.dateTime()
        cursor.space()
    return name, flags, date


async def literalSink(session: IMAPSession, cursor: Cursor, size: int) -> IContentWriter | None:
    """
    The message goes straight to the store; a mailbox's name may be a literal too. What is bound to
    fail is refused before the message is sent.
    """
    cursor.space()
    if cursor.atEnd:
        return None
    name, _, _ = _arguments(cursor)
    cursor.end()
    if size == 0:
        raise MailError("An empty message can't be appended")
    if size > session.settings.maxMessageOctets:
        raise MessageTooLarge()
    account = session.theAccount()
    await openDestination(session, name)
    quota = await account.quota()
    if quota.octetLimit is not None and quota.octets + size > quota.octetLimit:
        raise OverQuota()
    return account.newContent(size)


async def append(session: IMAPSession, cursor: Cursor) -> bytes:
    """append = "APPEND" SP mailbox [SP flag-list] [SP date-time] SP literal"""
    cursor.space()
    name, flags, date = _arguments(cursor)
    writer = cursor.content()
    cursor.end()
    mailbox = await openDestination(session, name)
    if any(flag[0] != "\\" for flag in flags):
        known = (await mailbox.status()).keywords
        requireRoom(known, KeywordSpelling(known).apply(flags)[1])
    staged = await writer.finish()
    try:
        result = await mailbox.append([(staged, flags, *date)])
    except NoSuchMailbox:
        # Deleted meanwhile.
        raise NoSuchMailbox(imapCode="TRYCREATE") from None
    finally:
        staged.discard()
    return b"[APPENDUID %d %d] APPEND completed" % (result.uidValidity, result.uids[0])


COMMANDS = (Command(b"APPEND", LOGGED_IN, append, literalSink=literalSink),)
