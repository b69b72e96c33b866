# -*- test-case-name: tests.imap.test_listextended -*-
"""
LIST with everything that RFC 5258 and RFC 9051 §6.3.9 made of it, and LSUB (RFC 3501 §6.3.9).

Selection options, return options and attributes come from extensions; here is which names are told,
once each, and when one is told for the sake of names below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted_mailstack.errors import LimitExceeded, SyntaxProblem
from twisted_mailstack.imap.encode import mailbox
from twisted_mailstack.imap.extension import (
    LOGGED_IN,
    Command,
    Listed,
    ListReturn,
    ListSelection,
)
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.model.mailboxname import (
    DELIMITER,
    INBOX,
    compilePattern,
    normalisePattern,
    parents,
)
from twisted_mailstack.model.records import MailboxInfo

#: The selection option that tells of names above those that are selected (RFC 5258 §3.1).
RECURSIVEMATCH = b"RECURSIVEMATCH"
#: Patterns with wildcards that one LIST may have: each is tried on each name.
MAX_PATTERNS = 100
#: Fifths of a microsecond for which patterns are tried before others have their turn.
MAX_COST = 50_000
#: Names that are told at a time; then others have their turn, and the client takes what there is.
SLICE = 250

Matches = Callable[[str], bool]


@dataclass(frozen=True)
class ListRequest:
    """
    What a LIST command asks.

    @ivar patterns: with the reference applied; none is empty.
    @ivar selections: selection options by name.
    @ivar returns: return options, with their values.
    @ivar extended: whether the command has any of RFC 5258's extensions.
    @ivar utf8: whether names are told in UTF-8.
    """

    patterns: Sequence[str]
    selections: dict[bytes, ListSelection | None]
    returns: dict[bytes, tuple[ListReturn, Any]]
    extended: bool
    utf8: bool


def fullPattern(reference: str, pattern: str) -> str:
    """
    RFC 2683 §3.4.9: as "change directory" does, with one delimiter in between; a pattern that
    begins at the root ignores the reference.
    """
    if not reference or pattern.startswith(DELIMITER):
        return pattern
    return reference.removesuffix(DELIMITER) + DELIMITER + pattern


def _selections(session: IMAPSession, cursor: Cursor) -> dict[bytes, ListSelection | None]:
    """list-select-opts = "(" [list-select-opt *(SP list-select-opt)] ")" """
    known = session.registry.listSelections
    options: dict[bytes, ListSelection | None] = {}
    cursor.expect(b"(")
    first = True
    while not cursor.skip(b")"):
        if not first:
            cursor.space()
        first = False
        option = cursor.atom().upper()
        if option not in known:
            raise SyntaxProblem("Unknown LIST selection option")
        options[option] = known[option]
    # "The RECURSIVEMATCH option MUST NOT occur as the only selection option (or only with
    # REMOTE)".
    # Deviation: SPECIAL-USE is enough beside it, against the letter of RFC 6154's grammar.
    if RECURSIVEMATCH in options and all(each is None for each in options.values()):
        raise SyntaxProblem("RECURSIVEMATCH needs another selection option")
    return options


def _returns(session: IMAPSession, cursor: Cursor) -> dict[bytes, tuple[ListReturn, Any]]:
    """list-return-opts = "RETURN" SP "(" [return-option *(SP return-option)] ")" """
    if not cursor.skipWord(b"RETURN"):
        raise SyntaxProblem("RETURN expected")
    cursor.space()
    known = session.registry.listReturns
    options: dict[bytes, tuple[ListReturn, Any]] = {}
    cursor.expect(b"(")
    first = True
    while not cursor.skip(b")"):
        if not first:
            cursor.space()
        first = False
        name = cursor.atom().upper()
        option = known.get(name)
        if option is None:
            raise SyntaxProblem("Unknown LIST return option")
        value = None if option.parse is None else option.parse(session, cursor)
        # "If the client does this [more than once], the server MUST act as if it received the
        # option only once": the first counts.
        options.setdefault(name, (option, value))
    return options


def _patterns(cursor: Cursor) -> tuple[list[str], bool]:
    """
    mbox-or-pat = list-mailbox / patterns; patterns = "(" list-mailbox *(SP list-mailbox) ")"

    @return: them, and whether there are parentheses.
    """
    if not cursor.skip(b"("):
        return [cursor.listMailbox()], False
    patterns = [cursor.listMailbox()]
    while not cursor.skip(b")"):
        cursor.space()
        patterns.append(cursor.listMailbox())
    return patterns, True


def parseList(session: IMAPSession, cursor: Cursor) -> tuple[ListRequest, bool]:
    """
    Read the arguments of LIST::

        list = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]

    @return: them, and whether it is the question for the delimiter and the root: an empty name in
        a LIST without any extension (RFC 5258 §3).
    """
    cursor.space()
    selections: dict[bytes, ListSelection | None] = {}
    extended = cursor.peek() == b"("
    if extended:
        selections = _selections(session, cursor)
        cursor.space()
    reference = cursor.listMailbox()
    cursor.space()
    patterns, many = _patterns(cursor)
    extended |= many
    returns: dict[bytes, tuple[ListReturn, Any]] = {}
    if cursor.skip(b" "):
        extended = True
        returns = _returns(session, cursor)
    cursor.end()
    for name in selections:
        implied = session.registry.listReturns.get(name)
        if implied is not None:
            returns.setdefault(name, (implied, None))
    full = [fullPattern(reference, pattern) for pattern in dict.fromkeys(patterns) if pattern]
    if len(full) > MAX_PATTERNS and sum("*" in each or "%" in each for each in full) > MAX_PATTERNS:
        raise LimitExceeded("Too many patterns")
    request = ListRequest(full, selections, returns, extended, cursor.utf8)
    return request, not full and not extended


def _matcher(patterns: Iterable[str]) -> tuple[Matches, float]:
    """
    @return: what says whether a name matches any of these, and what that costs for a letter of it,
        in fifths of a microsecond.
    """
    exact: set[str] = set()
    wild: list[Matches] = []
    cost = 0.0
    for pattern in patterns:
        wildcards = pattern.count("*") + pattern.count("%")
        if wildcards:
            wild.append(compilePattern(pattern))
            # Those with more than one look at each letter.
            cost += 1 if wildcards > 1 else 0.05
        else:
            exact.add(normalisePattern(pattern))
    if not wild:
        return exact.__contains__, 0
    if len(wild) == 1 and not exact:
        return wild[0], cost
    return lambda name: name in exact or any(matches(name) for matches in wild), cost


class Matched:
    """
    Which of an account's names match the patterns of a LIST, found out beforehand, so that others
    have their turn meanwhile: a thousand patterns and letters in each of ten thousand names take
    seconds.

    @ivar matches: whether a name matches any pattern.
    @ivar isLevel: whether one that ends in C{%}.
    """

    def __init__(self, request: ListRequest) -> None:
        self.matches, self._cost = _matcher(request.patterns)
        levels = [pattern for pattern in request.patterns if pattern.endswith("%")]
        self.isLevel, cost = _matcher(levels)
        self._cost += cost

    async def prepare(self, session: IMAPSession, infos: Sequence[MailboxInfo]) -> None:
        """
        Try the patterns on all names that may be asked for, if that takes long.
        """
        if sum(len(info.name) for info in infos) * self._cost <= MAX_COST:
            return
        names = {info.name for info in infos}
        names |= _levels(names)
        spent = 0.0
        found: tuple[set[str], set[str]] = set(), set()
        for name in names:
            spent += len(name) * self._cost
            if spent > MAX_COST:
                spent = 0.0
                await session.stream.breathe()
            if self.matches(name):
                found[0].add(name)
            if self.isLevel(name):
                found[1].add(name)
        self.matches, self.isLevel = found[0].__contains__, found[1].__contains__


def _levels(names: Iterable[str]) -> set[str]:
    """
    @return: all that are above one of these names.
    """
    levels: set[str] = set()
    for name in names:
        at = name.rfind(DELIMITER)
        # What is above a level that is there already is there, too.
        while at > 0 and (level := name[:at]) not in levels:
            levels.add(level)
            at = name.rfind(DELIMITER, 0, at)
    return levels


def _order(listed: Listed) -> tuple[bool, str]:
    name = listed.info.name
    return name != INBOX, name


def selectNames(
    session: IMAPSession,
    request: ListRequest,
    infos: Sequence[MailboxInfo],
    matched: Matched | None = None,
) -> list[Listed]:
    """
    @param infos: what there is, and subscribed names that no mailbox has.
    @param matched: of the request, if it was prepared for these names.
    @return: the names that are to be told, in order.
    """
    matched = matched or Matched(request)
    matches = matched.matches
    existing = [info for info in infos if info.mailboxId]
    withChildren = _levels(info.name for info in existing)
    narrowing = {name: each for name, each in request.selections.items() if each is not None}
    # A name that no mailbox has is told only where the client asks for more than mailboxes.
    chosen = infos if narrowing else existing
    for each in narrowing.values():
        chosen = [info for info in chosen if each(info)]
    extended = request.extended or b"IMAP4REV2" in session.enabled
    missing = b"\\NonExistent" if extended else b"\\Noselect"
    more = session.registry.listAttributes

    def make(info: MailboxInfo, selected: bool, items: list[bytes]) -> Listed:
        attributes: list[bytes] = []
        if not info.selectable:
            attributes.append(b"\\Noselect" if info.mailboxId else missing)
        hasChildren = info.name in withChildren
        for attributesOf in more:
            attributes += attributesOf(info, hasChildren)
        return Listed(info, selected, attributes, items)

    if RECURSIVEMATCH in request.selections:
        return _recursive(chosen, infos, matches, tuple(narrowing), make)
    shown = [make(info, True, []) for info in chosen if matches(info.name)]
    if not narrowing:
        # "If the "%" wildcard is the last character of a mailbox name argument, matching levels
        # of hierarchy are also returned" (RFC 3501 §6.3.8; RFC 5258 §5, example 11).
        absent = withChildren.difference(info.name for info in existing)
        if absent:
            known = {info.name: info for info in infos}
            shown += [
                make(known.get(name) or MailboxInfo(name, "", False, False), False, [])
                for name in absent
                if matched.isLevel(name)
            ]
            shown.sort(key=_order)
    return shown


def _recursive(
    chosen: Sequence[MailboxInfo],
    infos: Sequence[MailboxInfo],
    matches: Matches,
    criteria: tuple[bytes, ...],
    make: Callable[[MailboxInfo, bool, list[bytes]], Listed],
) -> list[Listed]:
    """
    RFC 5258 §3.5: a name that meets the criteria says whether there are others below it that do;
    one that doesn't is told if not all of those below it are told themselves.
    """
    childInfo = b'"CHILDINFO" (%b)' % b" ".join(b'"%b"' % name for name in criteria)
    above: set[str] = set()
    hidden: set[str] = set()
    shown: dict[str, MailboxInfo] = {}
    for info in chosen:
        told = matches(info.name)
        if told:
            shown[info.name] = info
        for parent in parents(info.name):
            above.add(parent)
            if not told:
                hidden.add(parent)
    listed = [
        make(info, True, [childInfo] if name in above else []) for name, info in shown.items()
    ]
    known = {info.name: info for info in infos}
    listed += [
        make(known.get(name) or MailboxInfo(name, "", False, False), False, [childInfo])
        for name in hidden
        if name not in shown and matches(name)
    ]
    listed.sort(key=_order)
    return listed


def listLine(listed: Listed, utf8: bool, word: bytes = b"LIST") -> bytes:
    """
    @return: the LIST response, without the responses that follow it.
    """
    items = b" (%b)" % b" ".join(listed.items) if listed.items else b""
    return b'* %b (%b) "/" %b%b\r\n' % (
        word,
        b" ".join(listed.attributes),
        mailbox(listed.info.name, utf8),
        items,
    )


async def tellNames(session: IMAPSession, request: ListRequest, word: bytes = b"LIST") -> None:
    """
    Answer LIST, in bounded memory however many mailboxes there are.

    @param word: of the responses.
    """
    stream = session.stream
    infos = await session.theAccount().listMailboxes()
    matched = Matched(request)
    await matched.prepare(session, infos)
    shown = selectNames(session, request, infos, matched)
    for at in range(0, len(shown), SLICE):
        if at:
            await stream.breathe()
            await stream.drain()
        part = shown[at : at + SLICE]
        for option, value in request.returns.values():
            if option.apply is not None:
                await option.apply(session, value, part)
        lines: list[bytes] = []
        for listed in part:
            lines.append(listLine(listed, request.utf8, word))
            lines += listed.responses
        stream.write(b"".join(lines))


async def list_(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 3501 §6.3.8, RFC 5258 §3."""
    request, isRoot = parseList(session, cursor)
    if isRoot:
        session.stream.write(b'* LIST (\\Noselect) "/" ""\r\n')
    elif request.patterns:
        await tellNames(session, request)


async def lsub(session: IMAPSession, cursor: Cursor) -> None:
    r"""
    RFC 3501 §6.3.9: with C{%}, a name that isn't subscribed but has subscribed names below it is
    shown with C{\Noselect}.
    """
    cursor.space()
    reference = cursor.listMailbox()
    cursor.space()
    pattern = cursor.listMailbox()
    cursor.end()
    if not pattern:
        session.stream.write(b'* LSUB (\\Noselect) "/" ""\r\n')
        return
    full = fullPattern(reference, pattern)
    matches = compilePattern(full)
    infos = await session.theAccount().listMailboxes()
    subscribed = [info.name for info in infos if info.subscribed]
    shown = {name: b"" for name in subscribed if matches(name)}
    if full.endswith("%"):
        for name in _levels(subscribed):
            if matches(name):
                shown.setdefault(name, b"\\Noselect")
    session.stream.write(
        b"".join(
            b'* LSUB (%b) "/" %b\r\n' % (shown[name], mailbox(name, cursor.utf8))
            for name in sorted(shown, key=lambda name: (name != INBOX, name))
        )
    )


COMMANDS = (
    Command(b"LIST", LOGGED_IN, list_),
    Command(b"LSUB", LOGGED_IN, lsub),
)
