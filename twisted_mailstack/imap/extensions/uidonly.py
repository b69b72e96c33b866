# -*- test-case-name: tests.imap.test_uidonly -*-
"""
UIDONLY (RFC 9586): messages are named by their UIDs alone.

Commands that take or give sequence numbers say so in their record (C{usesSequenceNumbers}) and are
refused by the session; C{View.resolve} refuses those within search criteria. C{imap.selected} and
C{imap.fetch} write UIDFETCH for FETCH, and VANISHED for EXPUNGE.
"""

from __future__ import annotations

from twisted_mailstack.imap.extension import Extension

EXTENSION = Extension(b"UIDONLY", 9586, enables=(b"UIDONLY",))
