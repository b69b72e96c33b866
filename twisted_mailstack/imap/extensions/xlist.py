# -*- test-case-name: tests.imap.test_xlist -*-
"""
XLIST: what there was before SPECIAL-USE (RFC 6154), for clients of its time. LIST under another
name, that shows INBOX and the special uses by attributes of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.imap.commands.listing import parseList, tellNames
from twisted_mailstack.imap.extension import LOGGED_IN, Command, Extension, Listed, ListReturn
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.model.mailboxname import INBOX

#: Where it differs from RFC 6154.
NAMES = {b"\\All": b"\\AllMail", b"\\Junk": b"\\Spam", b"\\Flagged": b"\\Starred"}


async def _rename(session: IMAPSession, value: None, listed: Sequence[Listed]) -> None:
    for each in listed:
        each.attributes[:] = [NAMES.get(name, name) for name in each.attributes]
        if each.info.name == INBOX:
            each.attributes.append(b"\\Inbox")


async def xlist(session: IMAPSession, cursor: Cursor) -> None:
    """Its arguments are those of RFC 3501's LIST."""
    request, isRoot = parseList(session, cursor)
    if request.extended:
        raise SyntaxProblem("XLIST has no options")
    if isRoot:
        session.stream.write(b'* XLIST (\\Noselect) "/" ""\r\n')
        return
    request.returns[b""] = ListReturn(apply=_rename), None
    await tellNames(session, request, b"XLIST")


EXTENSION = Extension(b"XLIST", 6154, (Command(b"XLIST", LOGGED_IN, xlist),))
