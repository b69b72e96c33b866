# -*- test-case-name: tests.imap.test_uidplus -*-
"""UIDPLUS (RFC 4315): UID EXPUNGE. APPENDUID and COPYUID come with APPEND and COPY."""

from __future__ import annotations

from twisted_mailstack.imap.extension import ONLY_SELECTED, Command, Extension
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.selected import uidsOf
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.model.sequence import NumberSet


async def uidExpunge(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 4315 §2.1."""
    cursor.space()
    numbers = cursor.sequenceSet()
    cursor.end()
    selected = session.theSelected()
    selected.requireWritable()
    uids = uidsOf(selected.view, session.atMost(selected.view.resolve(numbers, True)))
    if uids and await selected.mailbox.expunge(NumberSet.of(uids)):
        selected.wantModSeq()


EXTENSION = Extension(b"UIDPLUS", 4315, (Command(b"UID EXPUNGE", ONLY_SELECTED, uidExpunge),))
