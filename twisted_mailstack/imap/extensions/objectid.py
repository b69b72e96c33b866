# -*- test-case-name: tests.imap.test_objectid -*-
"""OBJECTID (RFC 8474): what things are, whatever their names become."""

from __future__ import annotations

import re

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.imap.extension import Extension
from twisted_mailstack.imap.fetch import FetchItem
from twisted_mailstack.imap.search import Columns, Node, Parser, SearchKey
from twisted_mailstack.imap.selected import Selected
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.interfaces import IMailbox
from twisted_mailstack.model.records import Attribute, MailboxInfo

#   objectid = 1*255(ALPHA / DIGIT / "_" / "-")
_OBJECT_ID = re.compile(rb"[A-Za-z0-9_-]{1,255}\Z")


def createCode(info: MailboxInfo) -> bytes:
    """RFC 8474 §4.1."""
    return b"MAILBOXID (%b)" % info.mailboxId.encode("ascii")


def selectResponse(session: IMAPSession, selected: Selected) -> bytes:
    """RFC 8474 §4.2."""
    return b"* OK [MAILBOXID (%b)] Ok\r\n" % selected.mailbox.mailboxId.encode("ascii")


async def statusOf(session: IMAPSession, mailbox: IMailbox) -> bytes:
    """RFC 8474 §4.3."""
    return b"(%b)" % mailbox.mailboxId.encode("ascii")


def _render(objectId: str) -> bytes:
    return b"(%b)" % objectId.encode("ascii")


def _key(attribute: Attribute) -> SearchKey:
    def key(parser: Parser) -> Node:
        parser.cursor.space()
        wanted = parser.cursor.astring()
        if not _OBJECT_ID.match(wanted):
            raise SyntaxProblem("Not an object identifier")
        text = wanted.decode("ascii")
        return Columns((attribute,), lambda objectId: objectId == text)

    return key


EXTENSION = Extension(
    b"OBJECTID",
    8474,
    statusQueries={b"MAILBOXID": statusOf},
    selectResponse=selectResponse,
    createCode=createCode,
    # RFC 8474 §5.3, §6.
    fetchItems={
        b"EMAILID": FetchItem(b"EMAILID", (Attribute.MESSAGE_ID,), _render),
        b"THREADID": FetchItem(b"THREADID", (Attribute.THREAD_ID,), _render),
    },
    searchKeys={
        b"EMAILID": _key(Attribute.MESSAGE_ID),
        b"THREADID": _key(Attribute.THREAD_ID),
    },
)
