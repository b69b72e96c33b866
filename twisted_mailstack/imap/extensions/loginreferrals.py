# -*- test-case-name: tests.imap.test_loginreferrals -*-
"""
LOGIN-REFERRALS (RFC 2221): who logs in is told on which server the mailboxes are, where
C{IMAPSettings.referrals} says so. See C{IMAPSession.logIn}.
"""

from __future__ import annotations

from twisted_mailstack.imap.extension import Extension

EXTENSION = Extension(
    lambda session: b"LOGIN-REFERRALS" if session.settings.referrals else None, 2221
)
