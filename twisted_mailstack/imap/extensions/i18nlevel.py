# -*- test-case-name: tests.imap.test_i18nlevel -*-
"""
I18NLEVEL=2 (RFC 5255 §4): which comparator SEARCH, SORT and THREAD compare with.

There is one, i;unicode-casemap (RFC 5051), which is the default and all that must be there.
"""

from __future__ import annotations

import re

from twisted_mailstack.errors import MailError, SyntaxProblem
from twisted_mailstack.imap.extension import LOGGED_IN, Command, Extension
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession

DEFAULT = "i;unicode-casemap"
#: Names of one command.
MAX_NAMES = 100

#   collation-order = ["+" / "-"] collation-wild
#   collation-wild  = ("*" / (ALPHA ["*"])) *(collation-char ["*"])         (RFC 4790 §3.2)
_ORDER = re.compile(r"([+-]?)((?:\*|[A-Za-z]\*?)(?:[A-Za-z0-9\-;=.]\*?)*)\Z")


def _matches(name: str) -> bool:
    """
    @param name: as the client asks for it.
    @return: whether it is the comparator that there is.
    @raise SyntaxProblem: if it is no such name.
    """
    if name.lower() == "default":
        return True
    found = _ORDER.match(name)
    if found is None or len(name) > 255:
        raise SyntaxProblem("That is no comparator's name")
    # One that is reversed is another.
    return found.group(1) != "-" and _matchesWild(found.group(2).lower(), DEFAULT)


def _matchesWild(wild: str, name: str) -> bool:
    first, *rest = wild.split("*")
    if not rest:
        return wild == name
    *middle, last = rest
    if not name.startswith(first):
        return False
    at = len(first)
    for each in middle:
        found = name.find(each, at)
        if found < 0:
            return False
        at = found + len(each)
    return len(name) - len(last) >= at and name.endswith(last)


async def comparator(session: IMAPSession, cursor: Cursor) -> bytes | None:
    """RFC 5255 §4.7."""
    names: list[str] = []
    while not cursor.atEnd:
        cursor.space()
        names.append(cursor.astring().decode("latin-1"))
        if len(names) > MAX_NAMES:
            raise SyntaxProblem("Too many comparators")
    matching = [name for name in names if _matches(name)]
    if names and not matching:
        raise MailError("There is no such comparator", imapCode="BADCOMPARATOR")
    session.stream.write(b"* COMPARATOR %b\r\n" % DEFAULT.encode("ascii"))
    return None


EXTENSION = Extension(
    lambda session: None if session.account is None else b"I18NLEVEL=2",
    5255,
    commands=(Command(b"COMPARATOR", LOGGED_IN, comparator),),
)
