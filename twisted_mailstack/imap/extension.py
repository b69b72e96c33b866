# -*- test-case-name: tests.imap.test_registry -*-
"""
The records of which an IMAP server is made: commands, FETCH items, SEARCH keys, STATUS items, and
the extensions that bring them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twisted_mailstack.imap.fetch import FetchItem
    from twisted_mailstack.imap.grammar import Cursor
    from twisted_mailstack.imap.search import SearchKey
    from twisted_mailstack.imap.session import IMAPSession
    from twisted_mailstack.interfaces import IContentWriter
    from twisted_mailstack.model.records import MailboxInfo, MailboxStatus


class State(Enum):
    """RFC 9051 §3. LOGOUT is C{session.closing}."""

    NOT_AUTHENTICATED = "not authenticated"
    AUTHENTICATED = "authenticated"
    SELECTED = "selected"


ANY = frozenset(State)
LOGGED_IN = frozenset((State.AUTHENTICATED, State.SELECTED))
ONLY_SELECTED = frozenset((State.SELECTED,))

Execute = Callable[["IMAPSession", "Cursor"], Awaitable["bytes | None"]]
LiteralSink = Callable[["IMAPSession", "Cursor", int], Awaitable["IContentWriter | None"]]


@dataclass(frozen=True)
class Command:
    """
    @ivar name: upper case; a UID command has its two words, C{UID FETCH}.
    @ivar states: in which it may be given.
    @ivar execute: C{await execute(session, cursor)}: reads the arguments from the cursor, which
        stands behind the name, to the end; does it; writes untagged responses. Returns the text of
        the tagged OK (C{None} for "NAME completed"), or raises a
        L{MailError<twisted_mailstack.errors.MailError>}.
    @ivar mayExpunge: whether EXPUNGE responses may be sent during it (RFC 9051 §7.5.1).
    @ivar synchronises: whether what others changed is told at its end.
    @ivar literalSink: C{await literalSink(session, cursor, size)}: asked before each of the
        command's literals is accepted, with a cursor behind the name over what there is of the
        command. Returns a writer for the literal (C{Cursor.content} gives it back), or C{None} if
        it is an ordinary argument and kept in memory; raises to refuse the command at once.
        C{None}: all are ordinary.
    """

    name: bytes
    states: frozenset[State]
    execute: Execute
    mayExpunge: bool = True
    synchronises: bool = True
    literalSink: LiteralSink | None = None


@dataclass(frozen=True)
class Extension:
    """
    @ivar capability: its name, or a function of the session that gives it or C{None}: not now.
        Empty for none.
    @ivar rfc: where it is specified.
    @ivar commands: that it adds.
    @ivar fetchItems: by name; C{searchKeys} and C{statusItems} likewise.
    @ivar listAttributes: given a mailbox and whether it has children, name attributes for LIST.
    @ivar listSelections: selection options of LIST (RFC 5258 §3) by name: whether a mailbox is
        selected by it.
    @ivar listReturns: return options of LIST that may be given; what they ask for is shown
        always.
    @ivar enables: capabilities that ENABLE may name (RFC 5161).
    """

    capability: bytes | Callable[[IMAPSession], bytes | None]
    rfc: int
    commands: tuple[Command, ...] = ()
    fetchItems: Mapping[bytes, FetchItem] = field(default_factory=dict)
    searchKeys: Mapping[bytes, SearchKey] = field(default_factory=dict)
    statusItems: Mapping[bytes, Callable[[MailboxStatus], Any]] = field(default_factory=dict)
    listAttributes: Callable[[MailboxInfo, bool], tuple[bytes, ...]] | None = None
    listSelections: Mapping[bytes, Callable[[MailboxInfo], bool]] = field(default_factory=dict)
    listReturns: tuple[bytes, ...] = ()
    enables: tuple[bytes, ...] = ()
