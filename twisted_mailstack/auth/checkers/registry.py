# -*- test-case-name: tests.auth.checkers.test_registry -*-
"""
The sources of passwords that can be configured by name, one line each.
"""

from __future__ import annotations

from twisted_mailstack.auth.checkers import command, file, http, ldap, pam, sql
from twisted_mailstack.auth.checkers.source import SourceRecord

#: The store's own accounts, which need no source.
ACCOUNTS = "accounts"
SOURCES: tuple[SourceRecord, ...] = (
    file.SOURCE,
    sql.SOURCE,
    ldap.SOURCE,
    pam.SOURCE,
    command.SOURCE,
    http.SOURCE,
)
