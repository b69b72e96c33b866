# -*- test-case-name: tests.imap.test_binary -*-
"""
BINARY (RFC 3516): parts without their transfer encoding. They are decoded while they are sent, so
that a large one is never held; L{twisted_mailstack.imap.fetch} does it. Messages with NULs are
taken as literal8 by L{twisted_mailstack.imap.commands.append}, which encodes their binary parts:
only so can they be fetched by C{BODY[]}, too (§6).
"""

from __future__ import annotations

from twisted_mailstack.imap.extension import Extension
from twisted_mailstack.imap.fetch import FetchItem, parseBinary

#: Also of RFC 9051 §6.4.5.
ITEMS = {
    b"BINARY": FetchItem(
        b"BINARY", (), parse=lambda cursor: parseBinary(cursor, b"BINARY", False, False)
    ),
    b"BINARY.PEEK": FetchItem(
        b"BINARY", (), parse=lambda cursor: parseBinary(cursor, b"BINARY", True, False)
    ),
    b"BINARY.SIZE": FetchItem(
        b"BINARY.SIZE", (), parse=lambda cursor: parseBinary(cursor, b"BINARY.SIZE", True, True)
    ),
}

EXTENSION = Extension(b"BINARY", 3516, fetchItems=ITEMS)
