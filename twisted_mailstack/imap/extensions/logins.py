# -*- test-case-name: tests.imap.test_logins -*-
"""
The recent logins to an account, for its owner: a read-only metadata entry of the server (RFC 5464
§3.2), where the storage keeps them (L{ILoginRecordingAccount}); the latest first, as
L{twisted_mailstack.model.logins} writes them.

Deviation: "The vendor-token MUST be registered with IANA". Ours isn't; it is the package's name.
"""

from __future__ import annotations

from twisted_mailstack.imap.extension import Extension
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.interfaces import ILoginRecordingAccount
from twisted_mailstack.model.logins import LOGINS, writeLogins
from twisted_mailstack.model.records import KEPT_LOGINS


async def _logins(session: IMAPSession) -> bytes | None:
    account = session.theAccount()
    # Who is anybody is told nothing of the others.
    if not ILoginRecordingAccount.providedBy(account) or session.mechanism == "ANONYMOUS":
        return None
    return writeLogins(await account.recentLogins(KEPT_LOGINS))


EXTENSION = Extension(b"", 5464, serverMetadata={LOGINS: _logins})
