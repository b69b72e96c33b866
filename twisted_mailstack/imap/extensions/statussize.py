# -*- test-case-name: tests.imap.test_statussize -*-
"""STATUS=SIZE (RFC 8438): the octets of a mailbox, exactly the sum of RFC822.SIZE."""

from __future__ import annotations

from twisted_mailstack.imap.extension import Extension

EXTENSION = Extension(b"STATUS=SIZE", 8438, statusItems={b"SIZE": lambda status: status.octets})
