# -*- test-case-name: tests.smtp.test_session -*-
"""PIPELINING (RFC 2920): the session answers commands in order however they come."""

from __future__ import annotations

from twisted_mailstack.smtp.extension import Extension

EXTENSION = Extension("PIPELINING", 2920)
