# -*- test-case-name: tests.imap.test_multiappend -*-
"""MULTIAPPEND (RFC 3502): several messages by one APPEND. See C{imap.commands.append}."""

from __future__ import annotations

from twisted_mailstack.imap.extension import Extension

EXTENSION = Extension(b"MULTIAPPEND", 3502)
