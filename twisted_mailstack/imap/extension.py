# -*- test-case-name: tests.imap.test_registry -*-
"""
The records of which an IMAP server is made: commands, FETCH items, SEARCH keys, STATUS items, and
the extensions that bring them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from twisted_mailstack.errors import SyntaxProblem

if TYPE_CHECKING:
    from twisted_mailstack.imap.commands.append import MessageReader
    from twisted_mailstack.imap.fetch import FetchItem, Item
    from twisted_mailstack.imap.grammar import Cursor
    from twisted_mailstack.imap.results import Results
    from twisted_mailstack.imap.search import SearchKey
    from twisted_mailstack.imap.selected import Selected
    from twisted_mailstack.imap.session import IMAPSession
    from twisted_mailstack.imap.sort import Criterion, ReadCriterion
    from twisted_mailstack.imap.thread import Algorithm
    from twisted_mailstack.interfaces import IContentWriter, IMailbox, IStagedContent
    from twisted_mailstack.model.records import MailboxInfo, MailboxStatus
    from twisted_mailstack.model.sequence import SequenceSet


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
    @ivar mayExpunge: whether EXPUNGE responses may be sent during it (RFC 9051 §7.5.1). A UID
        command in whose arguments sequence numbers occur has none anyway.
    @ivar synchronises: whether what others changed is told at its end.
    @ivar usesSequenceNumbers: whether it takes or gives sequence numbers, so that it is refused
        once UIDONLY is enabled (RFC 9586): FETCH, SEARCH and so on without UID before them.
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
    usesSequenceNumbers: bool = False


@dataclass(slots=True)
class Listed:
    """
    A name that LIST is about to tell.

    @ivar info: of the name; its C{mailboxId} is empty if no mailbox has it.
    @ivar selected: whether it meets the selection criteria; if not, it is there for the sake of
        names below it that do (RFC 5258 §3.5).
    @ivar attributes: as they are written.
    @ivar items: extended data items, as they are written.
    @ivar responses: whole untagged responses that follow its own.
    """

    info: MailboxInfo
    selected: bool
    attributes: list[bytes]
    items: list[bytes] = field(default_factory=list)
    responses: list[bytes] = field(default_factory=list)


@dataclass(frozen=True)
class ListReturn:
    """
    A return option of LIST (RFC 5258 §3): what is told of each name.

    @ivar parse: C{parse(session, cursor)}: reads the option's value; the cursor stands behind the
        option's name.
    @ivar apply: C{await apply(session, value, listed)}: adds to what is told of each of these
        names. Called with some hundred names at a time. C{None}: what the option asks for is
        told always.
    """

    parse: Callable[[IMAPSession, Cursor], Any] | None = None
    apply: Callable[[IMAPSession, Any, Sequence[Listed]], Awaitable[None]] | None = None


@dataclass(frozen=True)
class SelectParameter:
    """
    A parameter of SELECT and EXAMINE (RFC 4466 §2.4).

    @ivar parse: C{parse(session, cursor)}: reads the value; the cursor stands behind the
        parameter's name. Raises what refuses the command while nothing is done.
    @ivar opened: C{await opened(session, value)}: once the mailbox is selected and SELECT's own
        untagged responses are written; what it raises leaves no mailbox selected.
    """

    parse: Callable[[IMAPSession, Cursor], Any]
    opened: Callable[[IMAPSession, Any], Awaitable[None]]


@dataclass
class FetchRequest:
    """
    A FETCH or UID FETCH command.

    @ivar numbers: as the client wrote them.
    @ivar items: what is asked for.
    @ivar modifiers: values by the names of the modifiers.
    @ivar indexes: in the view, of the messages whose data are to be sent, in that order.
    """

    session: IMAPSession
    byUID: bool
    numbers: SequenceSet
    items: tuple[Item, ...]
    modifiers: Mapping[bytes, Any]
    indexes: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class FetchModifier:
    """
    A modifier of FETCH and UID FETCH (RFC 4466 §2.4).

    @ivar parse: C{parse(session, cursor)}: reads the value; the cursor stands behind the
        modifier's name.
    @ivar apply: C{await apply(request)}: narrows C{request.indexes}, adds to C{request.items},
        writes what comes before the FETCH responses. In the order of the registry's extensions.
    @ivar check: C{check(request)}: raises if it doesn't go with the rest of the command; before
        anything is done, C{request.indexes} included.
    """

    parse: Callable[[IMAPSession, Cursor], Any]
    apply: Callable[[FetchRequest], Awaitable[None]]
    check: Callable[[FetchRequest], None] | None = None


class Storing(Protocol):
    """
    A STORE command under way.

    @ivar done: how many messages have now what they were to have.
    @ivar modified: UIDs of messages that failed UNCHANGEDSINCE (RFC 7162 §3.1.3).
    """

    done: int
    modified: list[int]

    async def run(self, indexes: Sequence[int]) -> None:
        """
        Change these messages.
        """

    async def tell(self) -> None:
        """
        Write the FETCH responses that this asks for.
        """


@dataclass(frozen=True)
class StoreItem:
    """
    What STORE and UID STORE can change besides flags (RFC 4466 §2.5).

    @ivar parse: C{parse(session, cursor)}: reads the value; the cursor stands behind the name and a
        space.
    @ivar begin: C{begin(session, value, byUID, unchangedSince)}.
    @ivar checkLiteral: C{checkLiteral(size)}: raises to refuse a literal before it is sent.
    """

    parse: Callable[[IMAPSession, Cursor], Any]
    begin: Callable[[IMAPSession, Any, bool, int | None], Storing]
    checkLiteral: Callable[[int], None]


@dataclass(frozen=True)
class SearchReturn:
    """
    A return option of SEARCH, SORT and ESEARCH (RFC 4466 §2.6.1).

    @ivar data: C{data(results, value)}: its data in the ESEARCH response, without the name; C{None}
        for none.
    @ivar messages: C{messages(results, value)}: which of what was found it is about, as indexes.
        C{None} if it isn't about messages.
    @ivar reach: C{reach(value)}: how many of what is found it needs from the beginning, and how
        many from the end. C{None}: all, if it is about messages or C{needsAll}.
    @ivar needsAll: whether everything has to be found for it though it isn't about messages.
    @ivar parse: C{parse(session, cursor)}: reads its value; the cursor stands behind its name.
    @ivar excludes: names of options that it doesn't go with.
    @ivar silent: whether it asks for no response.
    @ivar ofSelected: whether it is for the selected mailbox only, even if others are searched.
    @ivar alone: whether no mailbox but the selected one may be searched with it.
    @ivar check: C{check(results)}: raises if it can't be had; before anything is looked at.
    @ivar conclude: C{await conclude(results)}: once the response is written.
    @ivar failed: C{failed(session)}: when the command failed, but not for its syntax.
    """

    data: Callable[[Results, Any], bytes | None] | None = None
    messages: Callable[[Results, Any], Sequence[int]] | None = None
    reach: Callable[[Any], tuple[int, int]] | None = None
    needsAll: bool = False
    parse: Callable[[IMAPSession, Cursor], Any] | None = None
    excludes: tuple[bytes, ...] = ()
    silent: bool = False
    ofSelected: bool = False
    alone: bool = False
    check: Callable[[Results], None] | None = None
    conclude: Callable[[Results], Awaitable[None]] | None = None
    failed: Callable[[IMAPSession], None] | None = None


ParseModifier = Callable[["IMAPSession", "Cursor"], Any]


def readModifiers(
    session: IMAPSession, cursor: Cursor, parsers: Mapping[bytes, ParseModifier]
) -> dict[bytes, Any]:
    """
    A list of parameters or modifiers (RFC 4466 §2.4)::

        "(" name [SP value] *(SP name [SP value]) ")"

    @param parsers: each reads the value behind its name, the space included.
    @return: the values by name.
    @raise SyntaxProblem: for a name that isn't known, or that is there twice.
    """
    values: dict[bytes, Any] = {}
    cursor.expect(b"(")
    while True:
        name = cursor.atom().upper()
        parse = parsers.get(name)
        if parse is None or name in values:
            raise SyntaxProblem("Unknown modifier" if parse is None else "Modifier given twice")
        values[name] = parse(session, cursor)
        if cursor.skip(b")"):
            return values
        cursor.space()


ListSelection = Callable[["MailboxInfo"], bool]
CheckAppend = Callable[["IMAPSession", "IStagedContent"], Awaitable[None]]
StatusQuery = Callable[["IMAPSession", "IMailbox"], Awaitable[Any]]
ServerEntry = Callable[["IMAPSession"], Awaitable["bytes | None"]]


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
        selected by it; C{None} for one that doesn't narrow what is selected. Each has a return
        option of the same name, which it implies, in C{listReturns}.
    @ivar listReturns: return options of LIST by name.
    @ivar statusQueries: STATUS items that need more than the mailbox's numbers, by name:
        C{await query(session, mailbox)} gives the value, a number or as it is written.
    @ivar createParameters: of CREATE (RFC 4466 §2.2) by name: given the cursor, which stands
        behind the parameter's name, reads the value and gives arguments for C{createMailbox} of
        L{IAccount<twisted_mailstack.interfaces.IAccount>}.
    @ivar selectResponse: C{selectResponse(session, selected)}: untagged responses for SELECT and
        EXAMINE.
    @ivar selectParameters: of SELECT and EXAMINE by name.
    @ivar fetchModifiers: of FETCH and UID FETCH by name.
    @ivar storeModifiers: of STORE and UID STORE by name: reads the value; the cursor stands behind
        the modifier's name.
    @ivar storeItems: of STORE and UID STORE by name.
    @ivar appendOptions: of a new message (RFC 4466 §6: append-ext) by name: given a reader whose
        cursor stands behind the name and a space, reads the value.
    @ivar statusEnables: what asking for a STATUS item enables, by the name of the item.
    @ivar createCode: a response code for the OK of CREATE, given what was made; C{None} for none.
    @ivar appendData: forms of a new message (RFC 4466 §6: append-data-ext) by name: given a reader
        whose cursor stands behind the name and a space, reads what the message is made of.
    @ivar checkMetadata: C{check(session, mailboxName, entry, value)}: raises to refuse a metadata
        entry; C{mailboxName} is empty for the account's own.
    @ivar serverMetadata: metadata entries of the server (RFC 5464) that nobody sets, by their names
        in lower case: C{await value(session)} gives the value, C{None} where there is none.
    @ivar checkAppend: C{await check(session, content)}: raises to refuse a new message.
    @ivar searchReturns: return options of SEARCH, SORT and ESEARCH by name, in the order in which
        their data are written.
    @ivar progress: C{progress(session, tag)}: makes what is called now and then during a long
        command, with the number of messages it has looked at.
    @ivar enables: what ENABLE may name (RFC 5161), while the capability is offered.
    @ivar sortKeys: of SORT, by name (RFC 5256); or what reads one, given the cursor, which stands
        behind the name.
    @ivar threadAlgorithms: of THREAD, by name: C{await algorithm(messages, breathe)} gives the
        threads (imap.thread).
    @ivar implies: what is enabled along with them.
    @ivar whenEnabled: C{whenEnabled(session)}: called when one of them is enabled.
    """

    capability: bytes | Callable[[IMAPSession], bytes | None]
    rfc: int
    commands: tuple[Command, ...] = ()
    fetchItems: Mapping[bytes, FetchItem] = field(default_factory=dict)
    searchKeys: Mapping[bytes, SearchKey] = field(default_factory=dict)
    statusItems: Mapping[bytes, Callable[[MailboxStatus], Any]] = field(default_factory=dict)
    listAttributes: Callable[[MailboxInfo, bool], tuple[bytes, ...]] | None = None
    listSelections: Mapping[bytes, ListSelection | None] = field(default_factory=dict)
    listReturns: Mapping[bytes, ListReturn] = field(default_factory=dict)
    statusQueries: Mapping[bytes, StatusQuery] = field(default_factory=dict)
    createParameters: Mapping[bytes, Callable[[Cursor], Mapping[str, Any]]] = field(
        default_factory=dict
    )
    selectResponse: Callable[[IMAPSession, Selected], bytes] | None = None
    selectParameters: Mapping[bytes, SelectParameter] = field(default_factory=dict)
    fetchModifiers: Mapping[bytes, FetchModifier] = field(default_factory=dict)
    storeModifiers: Mapping[bytes, ParseModifier] = field(default_factory=dict)
    storeItems: Mapping[bytes, StoreItem] = field(default_factory=dict)
    appendOptions: Mapping[bytes, Callable[[MessageReader], None]] = field(default_factory=dict)
    statusEnables: Mapping[bytes, bytes] = field(default_factory=dict)
    createCode: Callable[[MailboxInfo], bytes] | None = None
    appendData: Mapping[bytes, Callable[[MessageReader], None]] = field(default_factory=dict)
    checkAppend: CheckAppend | None = None
    checkMetadata: Callable[[IMAPSession, str, str, bytes], None] | None = None
    serverMetadata: Mapping[str, ServerEntry] = field(default_factory=dict)
    searchReturns: Mapping[bytes, SearchReturn] = field(default_factory=dict)
    progress: Callable[[IMAPSession, bytes], Callable[[int], None]] | None = None
    enables: tuple[bytes, ...] = ()
    sortKeys: Mapping[bytes, Criterion | ReadCriterion] = field(default_factory=dict)
    threadAlgorithms: Mapping[bytes, Algorithm] = field(default_factory=dict)
    implies: tuple[bytes, ...] = ()
    whenEnabled: Callable[[IMAPSession], None] | None = None
