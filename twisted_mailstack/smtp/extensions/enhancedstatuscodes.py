# -*- test-case-name: tests.smtp.test_enhancedstatuscodes -*-
"""ENHANCEDSTATUSCODES (RFC 2034): replies carry the status codes of RFC 3463."""

from __future__ import annotations

from twisted_mailstack.smtp.extension import Extension

EXTENSION = Extension("ENHANCEDSTATUSCODES", 2034)
