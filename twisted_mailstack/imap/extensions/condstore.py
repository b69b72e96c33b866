# -*- test-case-name: tests.imap.test_condstore -*-
"""
CONDSTORE (RFC 7162 §3.1): modSeqs of messages, and changes that depend on them.

What is told unasked once a client is aware of modSeqs is written by C{imap.selected}; STORE knows
UNCHANGEDSINCE.
"""

from __future__ import annotations

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.imap.extension import (
    Extension,
    FetchModifier,
    FetchRequest,
    SelectParameter,
)
from twisted_mailstack.imap.fetch import FetchItem
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.search import InView, Node, Parser
from twisted_mailstack.imap.selected import Selected
from twisted_mailstack.imap.session import IMAPSession

#: Messages whose modSeqs are compared in one go.
SLICE = 50_000

MODSEQ = FetchItem(b"MODSEQ", (), form=b"(%d)", known=Selected.modSeqs, enables=b"CONDSTORE")


def _modSeq(session: IMAPSession, cursor: Cursor) -> int:
    cursor.space()
    return cursor.modSeq()


def _nothing(session: IMAPSession, cursor: Cursor) -> None:
    # A parameter without a value.
    return None


async def _selected(session: IMAPSession, value: object) -> None:
    # HIGHESTMODSEQ is among SELECT's responses anyway: enable() would say it again.
    session.enabled.add(b"CONDSTORE")


async def _changedSince(request: FetchRequest) -> None:
    """RFC 7162 §3.1.4.1."""
    session = request.session
    selected = session.theSelected()
    modSeqs = selected.view.modSeqs
    since = request.modifiers[b"CHANGEDSINCE"]
    if since >= selected.view.highestModSeq and not selected.stale:
        # Nothing happened: the answer to most that ask.
        request.indexes = []
    changed: list[int] = []
    for start in range(0, len(request.indexes), SLICE):
        if start:
            await session.stream.breathe()
        changed += [at for at in request.indexes[start : start + SLICE] if modSeqs[at] > since]
    request.indexes = changed
    if MODSEQ not in request.items:
        request.items = (*request.items, MODSEQ)


async def _searched(session: IMAPSession, parser: Parser) -> None:
    session.enable(b"CONDSTORE")


def _search(parser: Parser) -> Node:
    """
    RFC 7162 §3.1.5: C{MODSEQ [SP entry-name SP entry-type-req] SP mod-sequence-valzer}. A message
    has one modSeq for all its metadata, so the entry is read and ignored.
    """
    cursor = parser.cursor
    cursor.space()
    if cursor.peek() == b'"':
        if not cursor.string().lower().startswith(b"/flags/"):
            raise SyntaxProblem("Unknown entry name")
        cursor.space()
        if cursor.atom().lower() not in (b"priv", b"shared", b"all"):
            raise SyntaxProblem("priv, shared or all expected")
        cursor.space()
    since = cursor.modSeq()
    parser.asked.add(b"MODSEQ")
    parser.pending.append(_searched)
    return InView(lambda view, at: view.modSeqs[at] >= since)


EXTENSION = Extension(
    b"CONDSTORE",
    7162,
    fetchItems={b"MODSEQ": MODSEQ},
    fetchModifiers={b"CHANGEDSINCE": FetchModifier(_modSeq, _changedSince)},
    storeModifiers={b"UNCHANGEDSINCE": _modSeq},
    searchKeys={b"MODSEQ": _search},
    statusItems={b"HIGHESTMODSEQ": lambda status: status.highestModSeq},
    statusEnables={b"HIGHESTMODSEQ": b"CONDSTORE"},
    selectParameters={b"CONDSTORE": SelectParameter(_nothing, _selected)},
    selectResponse=lambda session, selected: selected.announceModSeq(),
    enables=(b"CONDSTORE",),
)
