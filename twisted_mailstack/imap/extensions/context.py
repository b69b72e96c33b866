# -*- test-case-name: tests.imap.test_context -*-
"""
CONTEXT=SEARCH, CONTEXT=SORT and ESORT (RFC 5267): the client is told as what it searched for comes
and goes, with items of new messages (RFC 5465 §7). C{ESORT} and C{PARTIAL} are in C{imap.results}
and C{imap.extensions.partial}.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from itertools import groupby

from twisted.logger import Logger

from twisted_mailstack.errors import (
    AccessDenied,
    ConnectionClosed,
    NoSuchMailbox,
    SessionEnded,
    SyntaxProblem,
)
from twisted_mailstack.imap.encode import string
from twisted_mailstack.imap.extension import ONLY_SELECTED, Command, Extension, SearchReturn
from twisted_mailstack.imap.extensions import partial
from twisted_mailstack.imap.fetch import Item, combineItems, fetchUnasked, parseItems
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.results import Results, collectUIDs, renderInOrder
from twisted_mailstack.imap.search import Context
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.imap.view import View

#: Searches of a session of which updates are told: each change is looked at for all of them.
MAX_UPDATES = 10
#: Sorted messages of which updates are told: they are sorted anew when some are added.
MAX_SORTED = 10_000
#: Messages that are put in or taken out one by one.
_FEW = 32


class Update:
    """
    A search whose results are kept up.

    @ivar items: that are fetched of new messages that are found.
    @ivar new: UIDs of those messages, until they are fetched.
    """

    log = Logger()

    def __init__(self, results: Results, uids: array[int], items: tuple[Item, ...] = ()) -> None:
        """
        @param results: of the search; what was found isn't looked at.
        @param uids: of what was found, in the order that the client has.
        """
        self.items = items
        self.new: list[int] = []
        # The last UID that was looked at: what comes in below it does so by changes of its flags.
        self._last = _lastUID(results.context.view)
        # The UIDs are enough to be held.
        self._results = replace(results, found=(), _all=None)
        self._uids = uids
        # What couldn't be looked at.
        self._missed: set[int] = set()

    async def __call__(self, touched: Collection[int]) -> bytes:
        """
        @param touched: UIDs of messages that are new or changed.
        @return: the ESEARCH response that tells what that means here, empty for nothing.
        """
        results = self._results
        view = results.context.view
        self._missed.update(touched)
        candidates = sorted(
            at
            for uid in self._missed
            if (at := view.index(uid)) is not None and not view.isGone(uid)
        )
        mailbox = results.context.mailbox
        context = Context(view, mailbox, results.session.stream)
        removed = self._among(view.gone) if view.hasGone else set()
        added: list[int] = []
        try:
            matches = set(await results.query.node.narrow(context, candidates)) - context.gone
            had = self._among([view.uids[at] for at in candidates])
            added = [at for at in candidates if at in matches and view.uids[at] not in had]
            order = await self._order(context, added)
        except ConnectionClosed:
            raise
        except Exception:
            # Told with what changes next.
            self.log.failure("what a search finds can't be kept up")
            order, added = None, []
        else:
            self._missed.clear()
            removed |= had - {view.uids[at] for at in matches}
            if self.items:
                # None "if a message becomes a member of UPDATE SEARCH due to flag or annotation
                # changes" (RFC 5465 §7).
                self.new = [uid for at in added if (uid := view.uids[at]) > self._last]
            self._last = _lastUID(view)
        parts = self._remove(removed) if removed else []
        if added:
            parts += self._add([view.uids[at] for at in added], order)
        if not parts:
            return b""
        return b" ".join([results.head, *parts]) + b"\r\n"

    def _among(self, uids: Iterable[int]) -> set[int]:
        """
        @return: those that are in the results.
        """
        mine = self._uids
        if self._results.arrange is not None:
            return set(uids).intersection(mine)
        places = ((uid, bisect_left(mine, uid)) for uid in uids)
        return {uid for uid, at in places if at < len(mine) and mine[at] == uid}

    async def _order(self, context: Context, added: Sequence[int]) -> Sequence[int] | None:
        # UIDs of all that there is then, sorted; maybe with some that are about to be removed.
        arrange = self._results.arrange
        if arrange is None or not added:
            return None
        view = context.view
        known = [at for uid in self._uids if (at := view.index(uid)) is not None]
        return [view.uids[at] for at in await arrange(context, sorted({*known, *added}))]

    def _numbers(self, uids: Sequence[int]) -> list[int]:
        if self._results.byUID:
            return list(uids)
        index = self._results.context.view.index
        return [at + 1 for uid in uids if (at := index(uid)) is not None]

    def _remove(self, removed: set[int]) -> list[bytes]:
        if self._results.arrange is None:
            gone = sorted(removed)
            if len(gone) <= _FEW:
                for uid in gone:
                    del self._uids[bisect_left(self._uids, uid)]
            else:
                self._uids = array("I", [uid for uid in self._uids if uid not in removed])
            return [b"REMOVEFROM (0 %b)" % renderInOrder(self._numbers(gone))]
        # Each place as it is once those before it are removed (§4.3.4).
        pairs: list[tuple[int, list[int]]] = []
        kept = array("I")
        for uid in self._uids:
            if uid not in removed:
                kept.append(uid)
            elif pairs and pairs[-1][0] == len(kept) + 1:
                pairs[-1][1].append(uid)
            else:
                pairs.append((len(kept) + 1, [uid]))
        self._uids = kept
        return [b"REMOVEFROM (%b)" % self._pairs(pairs)]

    def _add(self, added: list[int], order: Sequence[int] | None) -> list[bytes]:
        if self._results.arrange is None:
            if len(added) <= _FEW:
                for uid in added:
                    insort(self._uids, uid)
            else:
                self._uids = array("I", sorted((*self._uids, *added)))
            return [b"ADDTO (0 %b)" % renderInOrder(self._numbers(added))]
        new = set(added)
        known = new.union(self._uids)
        final = [uid for uid in order or () if uid in known]
        pairs: list[tuple[int, list[int]]] = []
        for place, uid in enumerate(final, 1):
            if uid not in new:
                continue
            if pairs and pairs[-1][0] + len(pairs[-1][1]) == place:
                pairs[-1][1].append(uid)
            else:
                pairs.append((place, [uid]))
        self._uids = array("I", final)
        return [b"ADDTO (%b)" % self._pairs(pairs)] if pairs else []

    def _pairs(self, pairs: list[tuple[int, list[int]]]) -> bytes:
        return b" ".join(
            b"%d %b" % (place, renderInOrder(self._numbers(uids))) for place, uids in pairs
        )


def _lastUID(view: View) -> int:
    return view.uids[-1] if view.uids else 0


class _NewItems:
    """
    Fetches of new messages what the searches of a session want that found them.
    """

    def __init__(self, session: IMAPSession) -> None:
        self._session = session

    async def __call__(self, before: bytes) -> None:
        """See L{Selected.fetchNew<twisted_mailstack.imap.selected.Selected>}."""
        # RFC 5465 contradicts itself: "The FETCH response(s) MUST follow any ESEARCH ADDTO
        # responses" (§5.2), and EXISTS and FETCH "together they MUST precede the ESEARCH response"
        # (§7). What UPDATE asks for goes by §7, which is about it and has an example; what NOTIFY
        # alone asks for goes by §5.2.
        session = self._session
        selected = session.theSelected()
        session.stream.write(before)
        wanted: dict[int, tuple[Item, ...]] = {}
        for update in selected.updates.values():
            if isinstance(update, Update):
                for uid in update.new:
                    wanted[uid] = (*wanted.get(uid, ()), *update.items)
                update.new = []
        selected.fetchedNew = wanted.keys()
        # "These attributes SHOULD be combined into a single FETCH response" (§5.2).
        runs = groupby(sorted(wanted), wanted.__getitem__)
        for items, uids in runs:
            indexes = [at for uid in uids if (at := selected.view.index(uid)) is not None]
            try:
                await fetchUnasked(session, indexes, combineItems((*items, *selected.newItems)))
            except (ConnectionClosed, SessionEnded, NoSuchMailbox, AccessDenied):
                raise
            except Exception:
                # What is found is told all the same.
                session.log.failure("new messages can't be fetched")


def _readItems(session: IMAPSession, cursor: Cursor) -> tuple[Item, ...]:
    #   modifier-update = "UPDATE" [ "(" fetch-att *(SP fetch-att) ")" ]
    # With a space in the RFC's example, as return options have it before their values.
    if b"NOTIFY" not in session.registry.known:
        return ()
    if not cursor.text.startswith((b"(", b" ("), cursor.at):
        return ()
    cursor.skip(b" ")
    return parseItems(cursor, session.registry.fetchItems)


def _check(results: Results) -> None:
    selected = results.session.selected
    # "SHALL result in the server rejecting the searching command with a BAD response" (§4.3).
    if selected is not None and results.tag in selected.updates:
        raise SyntaxProblem("Tag reuse")


async def _update(results: Results) -> None:
    selected = results.session.theSelected()
    why = ""
    if len(selected.updates) >= MAX_UPDATES:
        why = "Too many contexts"
    elif results.query.fleeting:
        why = "Not of what changes as time goes by"
    elif results.arrange is not None and len(results.found) > MAX_SORTED:
        why = "Too many messages to be kept sorted"
    if why:
        results.session.stream.write(
            b"* NO [NOUPDATE %b] %b\r\n" % (string(results.tag), why.encode("ascii"))
        )
        return
    uids = await collectUIDs(results.context, results.found)
    items = (results.returns or {})[b"UPDATE"]
    selected.updates[results.tag] = Update(results, uids, items)
    if items and selected.fetchNew is None:
        selected.fetchNew = _NewItems(results.session)
    if selected.view.touched is None:
        selected.view.touched = set()


async def cancelUpdate(session: IMAPSession, cursor: Cursor) -> None:
    """RFC 5267 §4.3.5."""
    tags: list[bytes] = []
    while cursor.skip(b" "):
        tags.append(cursor.astring())
    cursor.end()
    selected = session.theSelected()
    if not tags or not all(tag in selected.updates for tag in tags):
        raise SyntaxProblem("No updates are told for that tag" if tags else "Tag expected")
    for tag in tags:
        selected.updates.pop(tag, None)
    if not selected.updates:
        selected.view.touched = None


SEARCH = Extension(
    b"CONTEXT=SEARCH",
    5267,
    commands=(Command(b"CANCELUPDATE", ONLY_SELECTED, cancelUpdate),),
    searchReturns={
        b"PARTIAL": partial.RETURN,
        # A hint that nothing has to be made of (§4.2).
        b"CONTEXT": SearchReturn(),
        b"UPDATE": SearchReturn(
            needsAll=True, parse=_readItems, ofSelected=True, check=_check, conclude=_update
        ),
    },
)


def _withSort(name: bytes) -> Extension:
    return Extension(lambda session: name if b"SORT" in session.registry.known else None, 5267)


SORT = _withSort(b"CONTEXT=SORT")
ESORT = _withSort(b"ESORT")
