# -*- test-case-name: tests.imap.test_literalplus -*-
"""
LITERAL+ (RFC 7888): literals that the client sends without being asked. See C{imap.framing}.

LITERAL-, which is a part of IMAP4rev2 (RFC 9051), is LITERAL+ for small literals only; a server
must not tell both (RFC 7888 §5).
"""

from __future__ import annotations

from twisted_mailstack.imap.extension import Extension

EXTENSION = Extension(b"LITERAL+", 7888)
