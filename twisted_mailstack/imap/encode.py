# -*- test-case-name: tests.imap.test_encode -*-
"""
Writing what responses are made of (RFC 9051 §9).
"""

from __future__ import annotations

import re
from functools import lru_cache

from twisted_mailstack.model.envelope import imapString
from twisted_mailstack.model.flags import RECENT, SYSTEM_FLAGS, Flags
from twisted_mailstack.model.mailboxname import encodeName

_ATOM = re.compile(rb"[A-Za-z0-9$#_\-./+&,]+\Z")
_ORDER = {flag: number for number, flag in enumerate(SYSTEM_FLAGS)}

string = imapString


def astring(value: bytes) -> bytes:
    """
    @return: an atom where it can be one, else a string.
    """
    if _ATOM.match(value) and value.upper() != b"NIL":
        return value
    return imapString(value)


# An account may have that many, and its LIST names each.
@lru_cache(maxsize=32_768)
def mailbox(name: str, utf8: bool = False) -> bytes:
    """
    @return: a mailbox name, encoded as the session wants it.
    """
    encoded = encodeName(name, utf8)
    if utf8 and not encoded.isascii():
        # QUOTED-CHAR = ... / UTF8-2 / UTF8-3 / UTF8-4 (RFC 9051 §9)
        return b'"%b"' % encoded.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return astring(encoded)


@lru_cache(maxsize=10_000)
def flagList(flags: Flags, recent: bool = False) -> bytes:
    """
    @param recent: with the flag that is the session's own.
    @return: the parenthesised list, system flags first.
    """
    ordered = sorted(flags, key=lambda flag: (_ORDER.get(flag, 99), flag))
    if recent:
        ordered.insert(0, RECENT)
    return f"({' '.join(ordered)})".encode("ascii")
