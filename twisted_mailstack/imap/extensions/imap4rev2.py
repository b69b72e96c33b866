# -*- test-case-name: tests.imap.test_imap4rev2 -*-
"""
IMAP4rev2 (RFC 9051) beside IMAP4rev1. What it folded in is always there; ENABLE IMAP4rev2 changes
what the server says: C{\\Recent}, RECENT and UNSEEN are no more, SELECT tells the mailbox's name,
flags come with UIDs, SEARCH is answered by ESEARCH, names and texts may be UTF-8.
"""

from __future__ import annotations

from twisted_mailstack.imap.encode import mailbox
from twisted_mailstack.imap.extension import Extension
from twisted_mailstack.imap.selected import Selected
from twisted_mailstack.imap.session import IMAPSession


def listResponse(session: IMAPSession, selected: Selected) -> bytes:
    """
    RFC 9051 §6.3.2: "The server MUST return a LIST response with the mailbox name", and the name
    that the client gave, if it isn't that one.
    """
    if not selected.isRev2:
        return b""
    name = mailbox(selected.name, True)
    given = selected.given.removesuffix("/")
    if given == selected.name:
        return b'* LIST () "/" %b\r\n' % name
    return b'* LIST () "/" %b ("OLDNAME" (%b))\r\n' % (name, mailbox(given, True))


EXTENSION = Extension(b"IMAP4rev2", 9051, enables=(b"IMAP4REV2",), selectResponse=listResponse)
