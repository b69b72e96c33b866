# -*- test-case-name: tests.imap.test_listextended -*-
"""
LIST-EXTENDED (RFC 5258): LIST with options and several patterns. Its syntax and RECURSIVEMATCH are
in C{imap.commands.listing}, the return option CHILDREN is in C{imap.extensions.children}.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted_mailstack.imap.commands.listing import RECURSIVEMATCH
from twisted_mailstack.imap.extension import Extension, Listed, ListReturn
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.model.records import MailboxInfo


def isSubscribed(info: MailboxInfo) -> bool:
    """RFC 5258 §3.1: whether or not a mailbox has the name."""
    return info.subscribed


async def tellSubscribed(session: IMAPSession, value: None, listed: Sequence[Listed]) -> None:
    """RFC 5258 §3.2."""
    for each in listed:
        if each.info.subscribed:
            each.attributes.append(b"\\Subscribed")


# REMOTE widens what is listed by what is on other servers: there is none.
EXTENSION = Extension(
    b"LIST-EXTENDED",
    5258,
    listSelections={b"SUBSCRIBED": isSubscribed, b"REMOTE": None, RECURSIVEMATCH: None},
    listReturns={b"SUBSCRIBED": ListReturn(apply=tellSubscribed)},
)
