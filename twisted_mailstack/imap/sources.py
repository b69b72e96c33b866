# -*- test-case-name: tests.imap.test_multisearch -*-
"""
Which mailboxes a command means: C{filter-mailboxes} of RFC 5465 §6, with what RFC 7377 §2.2 adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.model.records import MailboxInfo

#: Those that have no names of mailboxes behind them.
_ALONE = frozenset((b"SELECTED", b"INBOXES", b"PERSONAL", b"SUBSCRIBED"))
_NAMING = frozenset((b"SUBTREE", b"SUBTREE-ONE", b"MAILBOXES"))


class MailboxFilter(NamedTuple):
    """
    @ivar kind: upper case.
    @ivar names: of mailboxes, for those kinds that have them.
    """

    kind: bytes
    names: tuple[str, ...] = ()

    def matches(self, info: MailboxInfo, personal: bool = True) -> bool:
        """
        @param info: of a mailbox.
        @param personal: whether it is in a personal namespace.
        @return: whether that is one of those that are meant; C{SELECTED} means none by name.
        """
        name, kind = info.name, self.kind
        if kind in (b"PERSONAL", b"INBOXES"):
            # Where mail is delivered to is the owner's business: "it MUST treat "inboxes" as
            # equivalent to "personal"" (RFC 5465 §6.2).
            return personal
        if kind == b"SUBSCRIBED":
            return info.subscribed
        if name in self.names:
            return True
        if kind == b"SUBTREE":
            return any(name.startswith(f"{above}/") for above in self.names)
        if kind == b"SUBTREE-ONE":
            return name.rpartition("/")[0] in self.names
        return False


def readFilters(cursor: Cursor, kinds: frozenset[bytes] = _ALONE | _NAMING) -> list[MailboxFilter]:
    """
    filter-mailboxes *(SP filter-mailboxes)

    @param kinds: that are allowed.
    @raise SyntaxProblem: for another.
    """
    filters: list[MailboxFilter] = []
    while True:
        kind = cursor.atom().upper()
        if kind not in kinds:
            raise SyntaxProblem("Unknown mailbox specifier")
        names: tuple[str, ...] = ()
        if kind in _NAMING:
            cursor.space()
            names = tuple(_readMailboxes(cursor))
        filters.append(MailboxFilter(kind, names))
        # What follows may be the scope options of RFC 7377, in parentheses.
        if cursor.peek() != b" " or cursor.text[cursor.at + 1 : cursor.at + 2] == b"(":
            return filters
        cursor.space()


def _readMailboxes(cursor: Cursor) -> Sequence[str]:
    #   one-or-more-mailbox = mailbox / "(" mailbox *(SP mailbox) ")"
    if not cursor.skip(b"("):
        return [cursor.mailbox()]
    names = [cursor.mailbox()]
    while not cursor.skip(b")"):
        cursor.space()
        names.append(cursor.mailbox())
    return names
