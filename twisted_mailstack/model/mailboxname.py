# -*- test-case-name: tests.model.test_mailboxname -*-
"""
Mailbox names: modified UTF-7 (RFC 3501 §5.1.3), INBOX, hierarchy, LIST patterns (RFC 9051 §6.3.9).

Inside the house a mailbox name is a C{str} in Unicode with C{/} between levels. INBOX is written
in capitals, also as the first level of a longer name; every other name keeps its case.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from functools import lru_cache
from unicodedata import normalize

from twisted_mailstack.errors import InvalidMailboxName

DELIMITER = "/"
INBOX = "INBOX"

#: Longest mailbox name, in octets of UTF-8, and most levels. No RFC names a limit.
MAX_NAME = 1000
MAX_LEVELS = 50

_SHIFTED = re.compile(rb"&([^-]*)-?")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
_WILDCARDS = re.compile(r"[*%]+")
_WILDCARD = re.compile(r"([*%])")
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def decodeName(wire: bytes, utf8: bool = False) -> str:
    """
    @param wire: the name as the client sent it.
    @param utf8: the session speaks UTF-8 (RFC 6855, RFC 9051): no modified UTF-7. Without it, a
        name with octets outside ASCII is taken for UTF-8 all the same, as many clients send it.
    @raise InvalidMailboxName: if the octets are in neither encoding, or not in the one form that
        modified UTF-7 allows: there are no superfluous shifts, and printable ASCII stands for
        itself. So the delimiter can't hide, and a name is told as it was given.
    """
    try:
        if utf8 or b"&" not in wire or not wire.isascii():
            return wire.decode("utf-8")
        return _fromModifiedUTF7(wire)
    except ValueError:
        raise InvalidMailboxName("The mailbox name is not valid modified UTF-7 or UTF-8") from None


@lru_cache(maxsize=4096)
def encodeName(name: str, utf8: bool = False) -> bytes:
    """
    @return: the name as the client is told it: modified UTF-7, or UTF-8 if the session speaks it.
    """
    if utf8:
        return name.encode("utf-8")
    return _UNPRINTABLE.sub(_shift, name.replace("&", "&-")).encode("ascii")


def _shift(match: re.Match[str]) -> str:
    encoded = b64encode(match.group().encode("utf-16-be")).rstrip(b"=").replace(b"/", b",")
    return f"&{encoded.decode('ascii')}-"


def _fromModifiedUTF7(wire: bytes) -> str:
    parts: list[str] = []
    at = 0
    for match in _SHIFTED.finditer(wire):
        parts.append(wire[at : match.start()].decode("ascii"))
        encoded = match.group(1)
        at = match.end()
        if encoded:
            padded = encoded.replace(b",", b"/") + b"=" * (-len(encoded) % 4)
            parts.append(b64decode(padded, validate=True).decode("utf-16-be"))
        else:
            parts.append("&")
    parts.append(wire[at:].decode("ascii"))
    name = "".join(parts)
    if encodeName(name) != wire:
        raise ValueError("not the one form")
    return name


def normaliseName(name: str) -> str:
    """
    @return: the name as it is stored and compared: INBOX in capitals, in Unicode's normalisation
        form C (RFC 9051 §5.1), no trailing delimiter (a client may CREATE C{a/} to say that it
        will hold children, RFC 9051 §6.3.4).
    @raise InvalidMailboxName: if it can't be a mailbox's name.
    """
    name = normalize("NFC", name.removesuffix(DELIMITER))
    levels = name.split(DELIMITER)
    if _isInbox(levels[0]):
        levels[0] = INBOX
    if "" in levels:
        raise InvalidMailboxName("A mailbox name can't have an empty level")
    if _FORBIDDEN.search(name):
        raise InvalidMailboxName("A mailbox name can't have control characters")
    if len(levels) > MAX_LEVELS or len(name.encode("utf-8")) > MAX_NAME:
        raise InvalidMailboxName("The mailbox name is too long", imapCode="LIMIT")
    return DELIMITER.join(levels)


def _isInbox(name: str) -> bool:
    # Not by Unicode's case alone: a dotless i has the capital I, too.
    return name.isascii() and name.upper() == INBOX


def parents(name: str) -> Iterator[str]:
    """
    @return: the superior names, the topmost first: C{a}, C{a/b} for C{a/b/c}.
    """
    at = name.find(DELIMITER)
    while at >= 0:
        yield name[:at]
        at = name.find(DELIMITER, at + 1)


def normalisePattern(pattern: str) -> str:
    """
    @return: a LIST pattern in its one form; without wildcards, the one name that it matches.
    """
    pattern = normalize("NFC", pattern)
    # Wildcards in a row are one: the stronger.
    pattern = _WILDCARDS.sub(lambda match: "*" if "*" in match.group() else "%", pattern)
    head = pattern[: len(INBOX)]
    if _isInbox(head) and pattern[len(INBOX) : len(INBOX) + 1] in ("", DELIMITER, "*", "%"):
        pattern = INBOX + pattern[len(INBOX) :]
    return pattern


def compilePattern(pattern: str) -> Callable[[str], bool]:
    """
    A LIST pattern: C{*} matches anything, C{%} anything but the delimiter.

    INBOX matches without regard to case (RFC 9051 §6.3.9). Matching takes time proportional to the
    name, whatever the pattern: no backtracking.

    @return: a function that says whether a name matches.
    """
    pattern = normalisePattern(pattern)
    if len(_WILDCARDS.sub("", pattern)) > MAX_NAME:
        return lambda name: False
    return _compile(pattern)


@lru_cache(maxsize=1024)
def _compile(pattern: str) -> Callable[[str], bool]:
    if _WILDCARDS.search(pattern) is None:
        return pattern.__eq__
    if pattern == "*":
        return lambda name: True
    head, wildcard, tail = _WILDCARD.split(pattern, 1)
    if _WILDCARD.search(tail) is None:
        return _oneWildcard(head, wildcard, tail)
    # A set of positions in the pattern is an int, one bit each; the last means that all matched.
    stars = percents = 0
    literals: dict[str, int] = {}
    for at, token in enumerate(pattern):
        if token == "*":
            stars |= 1 << at
        elif token == "%":
            percents |= 1 << at
        else:
            literals[token] = literals.get(token, 0) | 1 << at
    wildcards = stars | percents
    matched = 1 << len(pattern)

    def match(name: str) -> bool:
        # What the name read so far can have reached. A wildcard may match nothing.
        reached = 1 | (wildcards & 1) << 1
        for character in name:
            stay = reached & (stars if character == DELIMITER else wildcards)
            reached = (reached & literals.get(character, 0)) << 1 | stay
            reached |= (reached & wildcards) << 1
            if not reached:
                return False
        return reached & matched != 0

    return match


def _oneWildcard(head: str, wildcard: str, tail: str) -> Callable[[str], bool]:
    # What nearly all patterns are; an account's ten thousand names are matched in a millisecond.
    least, end = len(head) + len(tail), len(tail)
    within = wildcard == "%"

    def match(name: str) -> bool:
        return (
            len(name) >= least
            and name.startswith(head)
            and name.endswith(tail)
            and not (within and name.find(DELIMITER, len(head), len(name) - end) >= 0)
        )

    return match
