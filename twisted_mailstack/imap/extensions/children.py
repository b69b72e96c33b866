# -*- test-case-name: tests.imap.test_children -*-
"""CHILDREN (RFC 3348; RFC 5258 §4): LIST says which mailboxes have children, asked or not."""

from __future__ import annotations

from twisted_mailstack.imap.extension import Extension, ListReturn
from twisted_mailstack.model.records import MailboxInfo


def attributes(info: MailboxInfo, hasChildren: bool) -> tuple[bytes, ...]:
    """RFC 3348 §3."""
    return (b"\\HasChildren",) if hasChildren else (b"\\HasNoChildren",)


EXTENSION = Extension(
    b"CHILDREN",
    3348,
    listAttributes=attributes,
    listReturns={b"CHILDREN": ListReturn()},
)
