# -*- test-case-name: tests.pop3.test_language -*-
"""
LANG (RFC 6856 §3): the server's texts are English, so there is little to choose; clients learn that
by asking. English is also what "i-default" is (RFC 2277 §4.5), so nothing has to be kept.
"""

from __future__ import annotations

from twisted_mailstack.errors import MailError
from twisted_mailstack.pop3.extension import BOTH, Command, Extension, always
from twisted_mailstack.pop3.session import POP3Session

#: Tags, and what the languages are called in themselves.
LANGUAGES = {b"en": b"English", b"i-default": b"English"}


def lookup(wanted: bytes) -> bytes | None:
    """
    @return: the language that a basic language range gets: itself, or one within it, as RFC 4647
        §3.3.1 says ("en" within "en"); else cut from its end until it matches (§3.4).
    """
    wanted = wanted.lower()
    if wanted == b"*":
        return b"en"
    while wanted:
        if wanted in LANGUAGES:
            return wanted
        wanted = wanted.rpartition(b"-")[0]
        if wanted[-2:-1] == b"-":
            # A single letter at the end is cut with what followed it.
            wanted = wanted[:-2]
    return None


async def lang(session: POP3Session, wanted: bytes | None = None) -> None:
    """RFC 6856 §3.2."""
    if wanted is None:
        lines = [b"%b %b\r\n" % each for each in LANGUAGES.items()]
        session.stream.write(b"+OK languages follow\r\n%b.\r\n" % b"".join(lines))
        return
    found = lookup(wanted)
    if found is None:
        raise MailError("Unsupported language")
    session.ok(b"%b language selected" % found)


EXTENSION = Extension(always(b"LANG"), 6856, (Command(b"LANG", BOTH, lang, most=1),))
