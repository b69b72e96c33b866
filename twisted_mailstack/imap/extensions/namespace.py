# -*- test-case-name: tests.imap.test_namespace -*-
"""
NAMESPACE (RFC 2342): one's own mailboxes at the root, and, where accounts can share, other persons'
and public ones below a name each.
"""

from __future__ import annotations

from typing import Any

from twisted_mailstack.imap.encode import string
from twisted_mailstack.imap.extension import LOGGED_IN, Command, Extension
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.interfaces import ISharingAccount
from twisted_mailstack.model.mailboxname import encodeName


async def namespace(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 2342 §5: personal, other users', shared."""
    cursor.end()
    account: Any = session.theAccount()
    others = public = b"NIL"
    if ISharingAccount.providedBy(account):
        others, public = (
            b'((%b "/"))' % string(encodeName(prefix, cursor.utf8))
            for prefix in (account.othersPrefix, account.publicPrefix)
        )
    session.stream.write(b'* NAMESPACE (("" "/")) %b %b\r\n' % (others, public))


EXTENSION = Extension(b"NAMESPACE", 2342, (Command(b"NAMESPACE", LOGGED_IN, namespace),))
