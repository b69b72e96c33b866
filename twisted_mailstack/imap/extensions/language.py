# -*- test-case-name: tests.imap.test_language -*-
"""
LANGUAGE (RFC 5255 §3): the server's texts are English, so there is little to choose; clients learn
that by asking. English is also what "i-default" is (RFC 2277 §4.5), so nothing has to be kept.
"""

from __future__ import annotations

from twisted_mailstack.errors import MailError, SyntaxProblem
from twisted_mailstack.imap.extension import ANY, Command, Extension
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession

LANGUAGES = {b"en": b"EN", b"i-default": b"i-default"}
#: Ranges that a command may name.
MAX_RANGES = 100


def lookup(wanted: bytes) -> bytes | None:
    """
    @return: the language that a range gets: RFC 4647 §3.4, cut from its end until it matches.
    """
    wanted = wanted.lower()
    if wanted in (b"default", b"*"):
        return LANGUAGES[b"en"]
    while wanted:
        if wanted in LANGUAGES:
            return LANGUAGES[wanted]
        wanted = wanted.rpartition(b"-")[0]
        if wanted[-2:-1] == b"-":
            # A single letter at the end is cut with what followed it.
            wanted = wanted[:-2]
    return None


async def language(session: IMAPSession, cursor: Cursor) -> None:
    """language-cmd = "LANGUAGE" *(SP lang-range-quoted)"""
    ranges: list[bytes] = []
    while not cursor.atEnd:
        cursor.space()
        ranges.append(cursor.astring())
        if len(ranges) > MAX_RANGES:
            raise SyntaxProblem("Too many languages")
    if not ranges:
        session.stream.write(b"* LANGUAGE (%b)\r\n" % b" ".join(LANGUAGES.values()))
        return
    for each in ranges:
        found = lookup(each)
        if found is not None:
            session.stream.write(b"* LANGUAGE (%b)\r\n" % found)
            return
    raise MailError("Unsupported language")


EXTENSION = Extension(b"LANGUAGE", 5255, (Command(b"LANGUAGE", ANY, language),))
