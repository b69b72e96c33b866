# -*- test-case-name: tests.imap.test_thread -*-
"""
Threads (RFC 5256 §3, C{THREAD}): ORDEREDSUBJECT, REFERENCES, and REFS
(draft-ietf-morg-inthread).

Nothing recurses: a thread may be as deep as a mailbox has messages.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any

from twisted_mailstack.model.sorting import ThreadRow

#: Steps between two turns for everyone else.
STEPS = 2000

Breathe = Callable[[], Awaitable[None]]

#: What most messages have below them: a list for each would be a fifth of all that is held.
_NOTHING: Any = ()


class Thread:
    """
    A message and those below it, or a place where messages have a parent that isn't there.

    @ivar number: what the client calls the message; C{None} for a dummy.
    @ivar row: what threads it, C{None} for a dummy.
    """

    __slots__ = ("children", "group", "hadChildren", "number", "parent", "row")

    def __init__(self, number: int | None, row: ThreadRow | None) -> None:
        self.number = number
        self.row = row
        self.parent: Thread | None = None
        self.children: list[Thread] = _NOTHING
        self.hadChildren = False
        # Towards the one that stands for all that were ever linked, C{None} in that: those of
        # different groups can't make a loop.
        self.group: Thread | None = None

    def add(self, child: Thread) -> None:
        """Put one below it, behind those that are there."""
        if self.children is _NOTHING:
            self.children = []
        self.children.append(child)

    @property
    def date(self) -> int:
        """By what it is sorted among its siblings: equal dates by the order of the mailbox."""
        # A dummy has children, and they are sorted before it is (RFC 5256 §3, step 6).
        row = self.row or self.children[0].row
        assert row is not None
        return row.date << 32 | row.uid

    @property
    def subject(self) -> str:
        """The thread subject (RFC 5256 §3, step 5)."""
        row = self.row or self.children[0].row
        assert row is not None
        return row.subject

    @property
    def isReply(self) -> bool:
        """Whether it is a message whose subject says that it is a reply or forwarded."""
        return self.row is not None and self.row.isReply


def _group(thread: Thread) -> Thread:
    above = thread.group
    while above is not None:
        if above.group is not None:
            # The way gets shorter each time that it is gone.
            thread.group = above.group
        thread, above = above, above.group
    return thread


def _link(parent: Thread, child: Thread) -> None:
    # "Do not create a parent/child link if creating that link would introduce a loop."
    one, other = _group(parent), _group(child)
    if one is other and child.hadChildren:
        above: Thread | None = parent
        while above is not None:
            if above is child:
                return
            above = above.parent
    elif parent is child:
        return
    if one is not other:
        other.group = one
    child.parent = parent
    parent.hadChildren = True


class _Pause:
    """Gives everyone else a turn now and then."""

    def __init__(self, breathe: Breathe) -> None:
        self._breathe = breathe
        self._steps = 0

    async def __call__(self) -> None:
        self._steps += 1
        if self._steps >= STEPS:
            self._steps = 0
            await self._breathe()


async def _sort(threads: list[Thread], pause: _Pause) -> None:
    # What they are sorted by is found in many turns, the rest is quick.
    dates: list[int] = []
    for thread in threads:
        await pause()
        dates.append(thread.date)
    order = sorted(range(len(threads)), key=dates.__getitem__)
    threads[:] = [threads[at] for at in order]


async def orderedSubject(
    messages: Iterable[tuple[int, ThreadRow]], breathe: Breathe
) -> list[Thread]:
    """
    @param messages: what the client calls each message, and what threads it.
    @return: the threads of ORDEREDSUBJECT.
    """
    pause = _Pause(breathe)
    found: dict[str, list[Thread]] = {}
    for number, row in messages:
        await pause()
        found.setdefault(row.subject, []).append(Thread(number, row))
    threads = []
    for each in found.values():
        await pause()
        each.sort(key=lambda thread: thread.date)
        each[0].children = each[1:]
        threads.append(each[0])
    await _sort(threads, pause)
    return threads


async def references(messages: Iterable[tuple[int, ThreadRow]], breathe: Breathe) -> list[Thread]:
    """
    @return: the threads of REFERENCES.
    """
    pause = _Pause(breathe)
    heads = await _prune(await _relate(messages, pause), pause)
    # (4) Sort the messages under the root.
    for head in heads:
        if head.row is None:
            head.children.sort(key=lambda thread: thread.date)
    await _sort(heads, pause)
    heads = await _mergeSubjects(heads, pause)
    # (6) Sort each set of siblings.
    await _sortBelow(heads, pause)
    await _sort(heads, pause)
    return heads


async def refs(messages: Iterable[tuple[int, ThreadRow]], breathe: Breathe) -> list[Thread]:
    """
    @return: the threads of REFS: those of REFERENCES as references alone make them, the one whose
        newest message (by INTERNALDATE) is the oldest first, so that what is new is at the end.
    """
    pause = _Pause(breathe)
    heads = await _prune(await _relate(messages, pause), pause)
    await _sortBelow(heads, pause)
    newest: dict[int, tuple[int, int]] = {}
    for head in heads:
        latest = (0, 0)
        first = True
        stack = [head]
        while stack:
            await pause()
            thread = stack.pop()
            stack += thread.children
            if thread.row is not None:
                arrived = thread.row.arrival, thread.row.uid
                if first or arrived > latest:
                    latest, first = arrived, False
        newest[id(head)] = latest
    heads.sort(key=lambda head: newest[id(head)])
    return heads


async def _relate(messages: Iterable[tuple[int, ThreadRow]], pause: _Pause) -> list[Thread]:
    """
    Steps 1 and 2.

    @return: all that have no parent.
    """
    known: dict[int, Thread] = {}
    threads: list[Thread] = []
    for number, row in messages:
        await pause()
        thread = Thread(number, row)
        threads.append(thread)
        # Of several with one id the first has it; who has none is referred to by nobody.
        if row.identity:
            known.setdefault(row.identity, thread)
    every = list(threads)
    for thread in threads:
        assert thread.row is not None
        # (1) (A) Each reference is the parent of the next one, if that has none.
        previous: Thread | None = None
        for identity in thread.row.references:
            await pause()
            current = known.get(identity)
            if current is None:
                current = known[identity] = Thread(None, None)
                every.append(current)
            if previous is not None and current.parent is None:
                _link(previous, current)
            previous = current
        # (B) The last reference is the message's parent, whatever others said.
        thread.parent = None
        if previous is not None:
            _link(previous, thread)
    # (2) Those without parents are the children of the root.
    heads = []
    for thread in every:
        await pause()
        if thread.parent is None:
            heads.append(thread)
        else:
            thread.parent.add(thread)
        # Nothing goes round any more: all goes when it has been rendered, not when Python looks for
        # garbage.
        thread.parent = None
        thread.group = None
    return heads


async def _prune(heads: list[Thread], pause: _Pause) -> list[Thread]:
    """
    Step 3: dummies go, but for those that hold several threads together.
    """
    # Parents come before their children here.
    order = list(heads)
    for thread in order:
        await pause()
        order += thread.children
    for thread in reversed(order):
        await pause()
        if any(child.row is None for child in thread.children):
            children: list[Thread] = []
            for child in thread.children:
                # What was below a dummy has been pruned already.
                children += child.children if child.row is None else [child]
            thread.children = children
    result = []
    for head in heads:
        if head.row is None and len(head.children) < 2:
            result += head.children
        else:
            result.append(head)
    return result


async def _mergeSubjects(heads: list[Thread], pause: _Pause) -> list[Thread]:
    """
    Step 5: threads with one subject become one.

    @param heads: sorted; the children of dummies too.
    """
    table: dict[str, Thread] = {}
    for current in heads:
        await pause()
        subject = current.subject
        if not subject:
            continue
        there = table.get(subject)
        if there is None or (
            there.row is not None
            and (current.row is None or (there.isReply and not current.isReply))
        ):
            table[subject] = current
    # In the order of the root's children.
    root = dict.fromkeys(heads)
    for current in heads:
        await pause()
        subject = current.subject
        if not subject:
            continue
        there = table[subject]
        if there is current or current not in root:
            continue
        if there.row is None and current.row is None:
            there.children += current.children
            del root[current]
        elif there.row is None or (current.isReply and not there.isReply):
            there.add(current)
            del root[current]
        else:
            dummy = Thread(None, None)
            dummy.children = [there, current]
            del root[there]
            del root[current]
            root[dummy] = None
            table[subject] = dummy
    return list(root)


async def _sortBelow(heads: Sequence[Thread], pause: _Pause) -> None:
    # A dummy is among the heads only, so its children have dates of their own.
    stack = list(heads)
    while stack:
        await pause()
        thread = stack.pop()
        if len(thread.children) > 1:
            thread.children.sort(key=lambda child: child.date)
        stack += thread.children


Algorithm = Callable[[Iterable[tuple[int, ThreadRow]], Breathe], Awaitable[list[Thread]]]


def render(threads: Sequence[Thread]) -> Iterator[bytes]:
    """
    thread-list = "(" (thread-members / thread-nested) ")"

    @return: pieces of the lists of these threads.
    """
    #   thread-members = nz-number *(SP nz-number) [SP thread-nested]
    #   thread-nested  = 2*thread-list
    stack: list[Thread | None] = list(reversed(threads))
    # Each goes when it was rendered, if nobody else holds it.
    del threads
    while stack:
        thread = stack.pop()
        if thread is None:
            yield b")"
            continue
        yield b"("
        stack.append(None)
        space = b""
        while thread is not None:
            if thread.number is not None:
                yield b"%b%d" % (space, thread.number)
                space = b" "
            if len(thread.children) == 1:
                thread = thread.children[0]
                continue
            if thread.children:
                yield space
                stack += reversed(thread.children)
            thread = None
