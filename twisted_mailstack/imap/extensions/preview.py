# -*- test-case-name: tests.imap.test_preview -*-
"""
PREVIEW (RFC 8970): how a message's text begins. It is found when a message arrives, so that LAZY
makes no difference.
"""

from __future__ import annotations

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.imap.encode import string
from twisted_mailstack.imap.extension import Extension
from twisted_mailstack.imap.fetch import FetchItem
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.model.records import Attribute


def _render(preview: str) -> bytes:
    return string(preview.encode("utf-8"))


PREVIEW = FetchItem(b"PREVIEW", (Attribute.PREVIEW,), _render)


def parse(cursor: Cursor) -> FetchItem:
    """fetch-att =/ "PREVIEW" [SP "(" preview-mod *(SP preview-mod) ")"]   (RFC 8970 §6)"""
    if cursor.skip(b" ("):
        modifiers = 0
        while not modifiers or not cursor.skip(b")"):
            if modifiers:
                cursor.space()
            modifiers += 1
            if not cursor.skipWord(b"LAZY"):
                raise SyntaxProblem("Unknown PREVIEW modifier")
    return PREVIEW


EXTENSION = Extension(
    b"PREVIEW",
    8970,
    fetchItems={b"PREVIEW": FetchItem(b"PREVIEW", (Attribute.PREVIEW,), parse=parse)},
)
