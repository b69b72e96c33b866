# -*- test-case-name: tests.imap.test_literalplus -*-
"""LITERAL+ (RFC 7888): literals that the client sends without being asked. See C{imap.framing}."""

from __future__ import annotations

from twisted_mailstack.imap.extension import Extension

EXTENSION = Extension(b"LITERAL+", 7888)
