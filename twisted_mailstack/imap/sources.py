# -*- test-case-name: tests.imap.test_multisearch -*-
"""
Which mailboxes a command means: C{filter-mailboxes} of RFC 5465 §6, with what RFC 7377 §2.2 adds.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.interfaces import IAccount, ISharingAccount
from twisted_mailstack.model.mailboxname import DELIMITER, parents
from twisted_mailstack.model.records import MailboxInfo

_NAMING = frozenset((b"SUBTREE", b"SUBTREE-ONE", b"MAILBOXES"))
#: What may be searched.
KINDS = _NAMING | {b"SELECTED", b"INBOXES", b"PERSONAL", b"SUBSCRIBED"}


class MailboxFilter(NamedTuple):
    """
    @ivar kind: upper case.
    @ivar names: of mailboxes, for those kinds that have them; as they were given, each once.
    """

    kind: bytes
    names: Collection[str] = ()

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
            return any(above in self.names for above in parents(name))
        if kind == b"SUBTREE-ONE":
            return name.rpartition(DELIMITER)[0] in self.names
        return False


def foreignPrefixes(account: IAccount) -> tuple[str, ...]:
    """
    @return: what the names of mailboxes begin with that aren't in a personal namespace (RFC 2342).
    """
    if not ISharingAccount.providedBy(account):
        return ()
    # zope's provider is the proof that mypy can't see.
    sharing: Any = account
    return sharing.othersPrefix, sharing.publicPrefix


def readFilter(cursor: Cursor, kinds: Collection[bytes] = KINDS) -> MailboxFilter:
    """
    filter-mailboxes

    @param kinds: that are allowed.
    @raise SyntaxProblem: for another.
    """
    kind = cursor.atom().upper()
    if kind not in kinds:
        raise SyntaxProblem("Unknown mailbox specifier")
    if kind not in _NAMING:
        return MailboxFilter(kind)
    cursor.space()
    #   one-or-more-mailbox = mailbox / "(" mailbox *(SP mailbox) ")"
    enclosed = cursor.skip(b"(")
    names = {cursor.mailbox(): None}
    while enclosed and not cursor.skip(b")"):
        cursor.space()
        names[cursor.mailbox()] = None
    return MailboxFilter(kind, names)


def readFilters(cursor: Cursor) -> list[MailboxFilter]:
    """
    filter-mailboxes *(SP filter-mailboxes)
    """
    filters = [readFilter(cursor)]
    # What follows may be the scope options of RFC 7377, in parentheses.
    while cursor.peek() == b" " and cursor.text[cursor.at + 1 : cursor.at + 2] != b"(":
        cursor.space()
        filters.append(readFilter(cursor))
    return filters
