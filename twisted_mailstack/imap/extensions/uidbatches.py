# -*- test-case-name: tests.imap.test_uidbatches -*-
"""
UIDBATCHES (draft-ietf-mailmaint-imap-uidbatches): ranges of UIDs that have equally many messages
each, the newest first.
"""

from __future__ import annotations

from twisted_mailstack.errors import MailError, SyntaxProblem
from twisted_mailstack.imap.encode import string
from twisted_mailstack.imap.extension import ONLY_SELECTED, Command, Extension
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.results import tagOf
from twisted_mailstack.imap.session import IMAPSession

#: Smaller batches than this would be as many answers as messages.
MIN_BATCH = 500


async def uidBatches(session: IMAPSession, cursor: Cursor) -> None:
    """
    ::

        uidbatches = "UIDBATCHES" SP nz-number [SP nz-number ":" nz-number]
        uidbatches-response = "UIDBATCHES" search-correlator [SP uid-range *("," uid-range)]
    """
    cursor.space()
    size = cursor.number()
    first, last = 1, 1 << 32
    if cursor.skip(b" "):
        first = cursor.number()
        cursor.expect(b":")
        last = cursor.number()
        if not first:
            raise SyntaxProblem("Batches are counted from 1")
    cursor.end()
    if first > last:
        raise SyntaxProblem("The first batch comes first", imapCode="CLIENTBUG")
    if size < MIN_BATCH:
        raise MailError(f"A batch has at least {MIN_BATCH} messages", imapCode="TOOSMALL")
    uids = session.theSelected().view.uids
    count = len(uids)
    ranges: list[bytes] = []
    # The n-th batch ends where the one before it begins, so that no UID is between them.
    for number in range(first - 1, min(last, -(-count // size))):
        above = count - number * size
        high = uids[above - 1] if not number else uids[above] - 1
        low = uids[above - size] if above > size else 1
        ranges.append(b"%d:%d" % (high, low))
    shown = b" " + b",".join(ranges) if ranges else b""
    session.stream.write(b"* UIDBATCHES (TAG %b)%b\r\n" % (string(tagOf(cursor)), shown))


EXTENSION = Extension(
    b"UIDBATCHES",
    # A draft: what it extends.
    9051,
    (Command(b"UIDBATCHES", ONLY_SELECTED, uidBatches),),
)
