# -*- test-case-name: tests.imap.test_specialuse -*-
"""
SPECIAL-USE (RFC 6154): LIST says which mailbox is for drafts, sent mail, junk and so on, and can be
asked for those alone.
"""

from __future__ import annotations

from twisted_mailstack.imap.extension import Extension, ListReturn
from twisted_mailstack.model.records import MailboxInfo


def attributes(info: MailboxInfo, hasChildren: bool) -> tuple[bytes, ...]:
    """RFC 6154 §2: in an ordinary LIST too."""
    return tuple(info.specialUse.encode("ascii").split()) if info.specialUse else ()


EXTENSION = Extension(
    b"SPECIAL-USE",
    6154,
    listAttributes=attributes,
    listSelections={b"SPECIAL-USE": lambda info: info.specialUse is not None},
    listReturns={b"SPECIAL-USE": ListReturn()},
)
