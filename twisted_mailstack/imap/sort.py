# -*- test-case-name: tests.imap.test_sort -*-
"""
Sorting messages (RFC 5256 §3, C{SORT}): by the storage where it can
(L{ISortingMailbox<twisted_mailstack.interfaces.ISortingMailbox>}), else by what is found in each
message's header.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.imap.search import Context
from twisted_mailstack.interfaces import ISortingMailbox
from twisted_mailstack.model.mime import MAX_HEADER
from twisted_mailstack.model.records import Attribute
from twisted_mailstack.model.sorting import (
    SortCriterion,
    SortKey,
    SortValues,
    ThreadRow,
    sortValues,
)

if TYPE_CHECKING:
    from twisted_mailstack.imap.grammar import Cursor

#: Criteria of one command.
MAX_CRITERIA = 20
#: The key of RFC 6203 §6: by the score of a fuzzy search, the highest first.
RELEVANCY = "RELEVANCY"


class ComputedKey:
    """
    A sort key that is found neither in the header nor by the storage.
    """

    async def values(self, context: Context, found: Sequence[int]) -> Mapping[int, str]:
        """
        @param found: indexes of messages in the view, ascending.
        @return: by what they are sorted, by index; those that are missing come first.
        """
        raise NotImplementedError


#: What a sort key stands for.
Criterion = SortKey | ComputedKey | str
#: Reads a sort key that has arguments; the cursor stands behind its name.
ReadCriterion = Callable[["Cursor"], Criterion]

#: The keys of RFC 5256 §3.
KEYS: dict[bytes, Criterion] = {
    b"ARRIVAL": SortKey.ARRIVAL,
    b"CC": SortKey.CC,
    b"DATE": SortKey.DATE,
    b"FROM": SortKey.FROM,
    b"SIZE": SortKey.SIZE,
    b"SUBJECT": SortKey.SUBJECT,
    b"TO": SortKey.TO,
}


class Program(NamedTuple):
    """
    @ivar criteria: keys, and whether each is reversed, the one that counts most first.
    """

    criteria: tuple[tuple[Criterion, bool], ...]

    @property
    def byRelevancy(self) -> bool:
        """Whether scores are needed."""
        return any(key == RELEVANCY for key, _ in self.criteria)


def parseProgram(cursor: Cursor, known: Mapping[bytes, Criterion | ReadCriterion]) -> Program:
    """
    sort-criteria = "(" sort-criterion *(SP sort-criterion) ")"

    @raise SyntaxProblem: also for a key that isn't known.
    """
    criteria: list[tuple[Criterion, bool]] = []
    cursor.expect(b"(")
    while True:
        #   sort-criterion = ["REVERSE" SP] sort-key
        name = cursor.atom().upper()
        reverse = name == b"REVERSE"
        if reverse:
            cursor.space()
            name = cursor.atom().upper()
        key = known.get(name)
        if key is None:
            raise SyntaxProblem("Unknown sort key")
        if len(criteria) >= MAX_CRITERIA:
            raise SyntaxProblem("Too many sort keys")
        criteria.append((key(cursor) if callable(key) else key, reverse))
        if cursor.skip(b")"):
            return Program(tuple(criteria))
        cursor.space()


async def sort(program: Program, found: Sequence[int], context: Context) -> Sequence[int]:
    """
    @param found: indexes of messages in the view, ascending.
    @return: them sorted; messages that turned out to be gone are missing.
    """
    criteria, scores = program.criteria, context.scores
    if program.byRelevancy and b"FUZZY" not in context.asked:
        # RFC 6203 §6: "MUST NOT be used unless a FUZZY search key is also given".
        raise SyntaxProblem("RELEVANCY is for FUZZY searches")
    if not found:
        return []
    if program.byRelevancy and criteria[0][0] == RELEVANCY and len(criteria) == 1:
        # Equal scores stay in the order of the mailbox.
        sign = 1 if criteria[0][1] else -1
        return sorted(found, key=lambda at: sign * scores.get(at, 0))
    computed = {
        key: await key.values(context, found) for key, _ in criteria if isinstance(key, ComputedKey)
    }
    if not program.byRelevancy and not computed and ISortingMailbox.providedBy(context.mailbox):
        # zope's provider is the proof that mypy can't see.
        mailbox: Any = context.mailbox
        wanted = [SortCriterion(key, reverse) for key, reverse in criteria if key != RELEVANCY]  # type: ignore[arg-type]
        result = await mailbox.sortMessages(await context.numbersOf(found), wanted)
        return await context.found(found, result)
    rows: dict[int, _Row] = {}
    order = list(found)
    if any(isinstance(key, SortKey) for key, _ in criteria):
        rows = {row.at: row async for row in _values(context, found)}
        order = [at for at in found if at in rows]
    # From the last key to the first: sorting keeps the order of what is equal.
    for key, reverse in reversed(criteria):
        if key == RELEVANCY:
            order.sort(key=lambda at: scores.get(at, 0), reverse=not reverse)
        elif isinstance(key, ComputedKey):
            values = computed[key]
            order.sort(key=lambda at: values.get(at, ""), reverse=reverse)
        else:
            value = _VALUES[key]  # type: ignore[index]
            order.sort(key=lambda at: value(rows[at]), reverse=reverse)
    return order


async def threadRows(
    found: Sequence[int], context: Context
) -> tuple[Sequence[int], Sequence[ThreadRow]]:
    """
    @param found: indexes of messages in the view, ascending.
    @return: indexes and, in parallel, what threads these messages, ascending; those that turned out
        to be gone are missing.
    """
    if not found:
        return (), ()
    uids = context.view.uids
    if ISortingMailbox.providedBy(context.mailbox):
        mailbox: Any = context.mailbox
        known: Sequence[ThreadRow] = await mailbox.threadRows(await context.numbersOf(found))
        return await context.found(found, (row.uid for row in known)), known
    indexes: list[int] = []
    rows = []
    async for each in _values(context, found):
        values = each.values
        date = each.date if values.sentDate is None else values.sentDate
        row = ThreadRow(
            *(uids[each.at], date, each.date, values.subject, values.isReply),
            *(values.identity, values.references),
        )
        indexes.append(each.at)
        rows.append(row)
    return indexes, rows


class _Row(NamedTuple):
    """What one message is sorted by."""

    at: int
    date: int
    octets: int
    values: SortValues


_VALUES: dict[SortKey, Callable[[_Row], Any]] = {
    SortKey.ARRIVAL: lambda row: row.date,
    SortKey.CC: lambda row: row.values.copy,
    # RFC 5256 §2.2: without a sent date INTERNALDATE is used.
    SortKey.DATE: lambda row: row.date if row.values.sentDate is None else row.values.sentDate,
    SortKey.DISPLAYFROM: lambda row: row.values.displayFrom,
    SortKey.DISPLAYTO: lambda row: row.values.displayTo,
    SortKey.FROM: lambda row: row.values.sender,
    SortKey.SIZE: lambda row: row.octets,
    SortKey.SUBJECT: lambda row: row.values.subject,
    SortKey.TO: lambda row: row.values.recipient,
}


async def _values(context: Context, found: Sequence[int]) -> AsyncIterator[_Row]:
    attributes = (Attribute.INTERNAL_DATE, Attribute.OCTETS)
    # As much of a header as a storage looks at when the message arrives.
    async for at, (_, date, octets, _), header in context.headers(found, attributes, MAX_HEADER):
        yield _Row(at, date, octets, sortValues(header))
