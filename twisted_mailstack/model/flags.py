# -*- test-case-name: tests.model.test_flags -*-
r"""
Message flags (RFC 9051 §2.3.2, RFC 3501 §2.3.2).

A set of flags is a C{frozenset} of strings. Equal sets that come from L{internFlags} or
L{flagsFromText} are the same object, so that a mailbox of a million messages holds a few dozen
sets. Flags are compared without regard to case; the system flags have the RFC's spelling, a
keyword keeps the spelling under which its mailbox first saw it (L{KeywordSpelling}).

C{\Recent} is never stored: it belongs to a session's view.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

SEEN = "\\Seen"
ANSWERED = "\\Answered"
FLAGGED = "\\Flagged"
DELETED = "\\Deleted"
DRAFT = "\\Draft"
RECENT = "\\Recent"

#: The flags a client may set, in the order in which they are shown.
SYSTEM_FLAGS = (ANSWERED, FLAGGED, DELETED, SEEN, DRAFT)
_SYSTEM = {flag.lower(): flag for flag in SYSTEM_FLAGS}

#: Keywords that mean something to everybody (RFC 5788, RFC 8457, RFC 9051 §2.3.2), and are always
#: spelled so.
REGISTERED_KEYWORDS = (
    *("$Forwarded", "$MDNSent", "$SubmitPending", "$Submitted"),
    *("$Junk", "$NotJunk", "$Phishing", "$Important"),
)
_REGISTERED = {keyword.lower(): keyword for keyword in REGISTERED_KEYWORDS}

#: Longest keyword accepted. No RFC names one; it bounds what a client can make us keep.
MAX_KEYWORD = 255

#   flag-keyword = "$MDNSent" / "$Forwarded" / ... / atom     (RFC 9051 §9)
_KEYWORD = re.compile(r"[^\x00-\x20\x7f-\U0010ffff(){%*\"\\\]]+\Z")

Flags = frozenset[str]
NO_FLAGS: Flags = frozenset()

_interned: dict[Flags, Flags] = {NO_FLAGS: NO_FLAGS}
_fromText: dict[str, Flags] = {"": NO_FLAGS}
_toText: dict[Flags, str] = {NO_FLAGS: ""}
# Clients choose keywords, so the tables are bounded: emptying them costs speed, nothing else.
_MAX_INTERNED = 100_000


class FlagOperation(Enum):
    """What STORE does with the flags it is given (RFC 9051 §6.4.6)."""

    ADD = "+FLAGS"
    REMOVE = "-FLAGS"
    REPLACE = "FLAGS"

    def apply(self, old: Flags, given: Flags) -> Flags:
        """
        @return: the flags after the operation.
        """
        if self is FlagOperation.ADD:
            return internFlags(old | given)
        if self is FlagOperation.REMOVE:
            return internFlags(old - given)
        return internFlags(given)


class FlagScope(NamedTuple):
    r"""
    Which flags somebody may change, by the classes of RFC 4314 §4.

    @ivar seen: C{\Seen}.
    @ivar deleted: C{\Deleted}.
    @ivar others: all other flags, and keywords.
    """

    seen: bool
    deleted: bool
    others: bool

    def within(self, flags: Flags) -> Flags:
        """
        @return: those of the flags that may be changed.
        """
        return internFlags(
            flag
            for flag in flags
            if (self.seen if flag == SEEN else self.deleted if flag == DELETED else self.others)
        )

    def merge(self, old: Flags, new: Flags) -> Flags:
        """
        @return: what becomes of C{old} where C{new} is wanted: what may not be changed stays.
        """
        return internFlags((old - self.within(old)) | self.within(new))


def canonicalFlag(flag: str) -> str | None:
    """
    @return: the flag in its canonical spelling, or C{None} if it is neither a system flag that
        can be stored nor a valid keyword.
    """
    if flag.startswith("\\"):
        return _SYSTEM.get(flag.lower())
    if len(flag) <= MAX_KEYWORD and _KEYWORD.match(flag):
        return _REGISTERED.get(flag.lower(), flag)
    return None


def internFlags(flags: Iterable[str]) -> Flags:
    """
    @return: the one shared object for this set of flags.
    """
    found = flags if isinstance(flags, frozenset) else frozenset(flags)
    known = _interned.get(found)
    if known is None:
        if len(_interned) >= _MAX_INTERNED:
            _interned.clear()
        _interned[found] = known = found
    return known


def flagsToText(flags: Flags) -> str:
    """
    @return: the canonical text, sorted and separated by spaces, as storage keeps it.
    """
    text = _toText.get(flags)
    if text is None:
        if len(_toText) >= _MAX_INTERNED:
            _toText.clear()
        _toText[flags] = text = " ".join(sorted(flags))
    return text


def flagsFromText(text: str) -> Flags:
    """
    The inverse of L{flagsToText}; the result is interned.
    """
    flags = _fromText.get(text)
    if flags is None:
        if len(_fromText) >= _MAX_INTERNED:
            _fromText.clear()
        _fromText[text] = flags = internFlags(text.split())
    return flags


class KeywordSpelling:
    """
    The keywords that a mailbox has seen, each in the spelling it was first seen in.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._byFolded = {keyword.lower(): keyword for keyword in known}

    def keywords(self) -> tuple[str, ...]:
        """
        @return: the keywords in the order in which they were first seen.
        """
        return tuple(self._byFolded.values())

    def apply(self, flags: Iterable[str]) -> tuple[Flags, tuple[str, ...]]:
        """
        @return: the flags in this mailbox's spelling, and the keywords that are new to it (which
            are now known).
        """
        result = []
        new = []
        for flag in flags:
            if flag[0] != "\\":
                folded = flag.lower()
                known = self._byFolded.get(folded)
                if known is None:
                    self._byFolded[folded] = flag
                    new.append(flag)
                else:
                    flag = known
            result.append(flag)
        return internFlags(result), tuple(new)
