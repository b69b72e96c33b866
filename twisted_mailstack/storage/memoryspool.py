# -*- test-case-name: tests.storage.test_memoryspool -*-
"""
The spool of the memory store: says in few lines what each call means, and is a test double.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from itertools import count
from typing import TYPE_CHECKING

from twisted.logger import Logger
from zope.interface import implementer

from twisted_mailstack.errors import MessageExpunged
from twisted_mailstack.interfaces import ISpool, IStagedContent
from twisted_mailstack.model.address import Address, foldLocalPart
from twisted_mailstack.model.queue import (
    DELIVERED,
    NEVER,
    DestinationState,
    Outcome,
    QueueCounts,
    QueuedMessage,
    QueuedRecipient,
    QueueFilter,
)
from twisted_mailstack.model.records import Placement

if TYPE_CHECKING:
    from twisted_mailstack.storage.memory import MemoryContent, MemoryMailStore


@implementer(ISpool)
class MemorySpool:
    """
    See L{ISpool}.
    """

    log = Logger()

    def __init__(self, store: MemoryMailStore) -> None:
        self._store = store
        self._ids = count(1)
        self._queued: dict[int, QueuedMessage] = {}
        self._contents: dict[int, IStagedContent] = {}
        self._postponed: dict[str, DestinationState] = {}
        self._watchers: dict[object, Callable[[Collection[str] | None], None]] = {}
        self._locked = False

    # --- putting in ----------------------------------------------------------------------------

    async def accept(
        self,
        content: IStagedContent | None,
        placements: Sequence[Placement],
        internalDate: int,
        queued: QueuedMessage | None,
        settled: Sequence[Outcome] = (),
        fallbacks: Sequence[QueuedRecipient | None] = (),
        successes: Sequence[Sequence[QueuedRecipient]] = (),
    ) -> Sequence[Exception | None]:
        """See L{ISpool}."""
        if settled and not self._settle(settled):
            return [None] * len(placements)
        results: list[Exception | None] = []
        if placements:
            assert content is not None
            results += await self._store.deliver(content, placements, internalDate, partial=True)
        waiting = list(queued.recipients) if queued is not None else []
        for number, result in enumerate(results):
            if result is None:
                waiting += successes[number] if successes else ()
            elif fallbacks:
                fallback = fallbacks[number]
                waiting += () if fallback is None else (fallback,)
        if queued is not None and waiting:
            assert content is not None
            spoolId = next(self._ids)
            octets = content.summary.size + len(queued.prefix)
            self._queued[spoolId] = queued._replace(
                recipients=tuple(waiting), spoolId=spoolId, octets=octets
            )
            self._contents[spoolId] = content
            self._tell({recipient.destination for recipient in waiting})
        return results

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        """See L{ISpool}."""
        self._settle(outcomes)

    def _settle(self, outcomes: Sequence[Outcome]) -> int:
        known = 0
        for outcome in outcomes:
            message = self._queued.get(outcome.spoolId)
            for recipient in message.recipients if message is not None else ():
                if recipient.number == outcome.number:
                    known += 1
                    self._settleOne(outcome, recipient)
        return known

    def _settleOne(self, outcome: Outcome, recipient: QueuedRecipient) -> None:
        message = self._queued[outcome.spoolId]
        others = [each for each in message.recipients if each is not recipient]
        if not outcome.final:
            nextAttempt, attempts, checkAt = outcome.nextAttempt, outcome.attempts, outcome.checkAt
            others.append(
                recipient._replace(
                    lastReply=outcome.reply or recipient.lastReply,
                    nextAttempt=recipient.nextAttempt if nextAttempt is None else nextAttempt,
                    attempts=recipient.attempts if attempts is None else attempts,
                    checkAt=recipient.checkAt if checkAt is None else checkAt,
                    delayNotified=recipient.delayNotified or outcome.delayNotified,
                )
            )
        if others:
            others.sort(key=lambda each: each.number)
            self._queued[outcome.spoolId] = message._replace(recipients=tuple(others))
        else:
            self._remove(outcome.spoolId)

    def _remove(self, spoolId: int) -> None:
        del self._queued[spoolId]
        del self._contents[spoolId]

    async def postpone(self, destination: str, retryAt: int, failures: int, lastReply: str) -> None:
        """See L{ISpool}."""
        if failures:
            state = DestinationState(destination, 0, retryAt, failures, lastReply)
            self._postponed[destination] = state
        else:
            self._postponed.pop(destination, None)

    # --- taking out ----------------------------------------------------------------------------

    def _some(
        self, wanted: Callable[[QueuedRecipient], bool]
    ) -> list[tuple[QueuedMessage, QueuedRecipient]]:
        return [
            (message, recipient)
            for message in self._queued.values()
            if not message.held
            for recipient in message.recipients
            if wanted(recipient)
        ]

    async def destinations(self) -> Sequence[DestinationState]:
        """See L{ISpool}."""
        due: dict[str, int] = {}
        for _, recipient in self._some(lambda _: True):
            name = recipient.destination
            due[name] = min(due.get(name, recipient.nextAttempt), recipient.nextAttempt)
        return [
            self._postponed.get(name, DestinationState(name, 0))._replace(due=due[name])
            for name in sorted(due)
        ]

    async def earliest(self, destination: str) -> int | None:
        """See L{ISpool}."""
        waiting = self._some(lambda recipient: recipient.destination == destination)
        return min((recipient.nextAttempt for _, recipient in waiting), default=None)

    async def due(self, destination: str, now: int, limit: int) -> Sequence[QueuedMessage]:
        """See L{ISpool}."""
        found = self._some(
            lambda recipient: recipient.destination == destination and recipient.nextAttempt <= now
        )
        found.sort(
            key=lambda pair: (
                *(-pair[0].priority, pair[1].nextAttempt, pair[0].spoolId, pair[1].number),
            )
        )
        return _gather(found[:limit])

    async def waiting(self, spoolId: int, destination: str) -> Collection[int]:
        """See L{ISpool}."""
        found = self._some(lambda recipient: recipient.destination == destination)
        return {recipient.number for message, recipient in found if message.spoolId == spoolId}

    async def overdue(self, now: int, limit: int) -> Sequence[QueuedMessage]:
        """See L{ISpool}."""
        found = self._some(lambda recipient: recipient.checkAt <= now)
        found.sort(key=lambda pair: (pair[1].checkAt, pair[0].spoolId, pair[1].number))
        return _gather(found[:limit])

    async def place(
        self,
        spoolId: int,
        placements: Sequence[tuple[int, Placement]],
        internalDate: int,
        told: Collection[int] = (),
    ) -> Sequence[Exception | None]:
        """See L{ISpool}."""
        if spoolId not in self._queued:
            raise MessageExpunged()
        message, content = self._queued[spoolId], self._contents[spoolId]
        waiting = {
            recipient.number: recipient
            for recipient in message.recipients
            if recipient.destination != DELIVERED
        }
        results: list[Exception | None] = []
        for number, placement in placements:
            if number not in waiting:
                results.append(None)
                continue
            (result,) = await self._store.deliver(content, [placement], internalDate, partial=True)
            results.append(result)
            if result is None and number in told:
                self._arrived(spoolId, waiting[number], internalDate)
            elif result is None:
                self._settle([Outcome(spoolId, number, True)])
        return results

    def _arrived(self, spoolId: int, recipient: QueuedRecipient, at: int) -> None:
        message = self._queued[spoolId]
        number = max(each.number for each in message.recipients) + 1
        others = [each for each in message.recipients if each is not recipient]
        others.append(
            recipient._replace(number=number, destination=DELIVERED, nextAttempt=at, checkAt=NEVER)
        )
        self._queued[spoolId] = message._replace(recipients=tuple(others))
        self._tell({DELIVERED})

    async def openContent(self, spoolId: int) -> MemoryContent:
        """See L{ISpool}."""
        if spoolId not in self._queued:
            raise MessageExpunged()
        return self._store.openStaged(self._contents[spoolId], self._queued[spoolId].prefix)

    def lockQueue(self) -> Callable[[], None] | None:
        """See L{ISpool}."""
        if self._locked:
            return None
        self._locked = True
        held = [True]

        def release() -> None:
            if held:
                held.pop()
                self._locked = False

        return release

    def watch(self, changed: Callable[[Collection[str] | None], None]) -> Callable[[], None]:
        """See L{ISpool}."""
        token = object()
        self._watchers[token] = changed

        def stop() -> None:
            self._watchers.pop(token, None)

        return stop

    def _tell(self, names: Collection[str] | None) -> None:
        for changed in list(self._watchers.values()):
            try:
                changed(names)
            except Exception:
                self.log.failure("a watcher failed")

    # --- operators -----------------------------------------------------------------------------

    def _wanted(self, wanted: QueueFilter) -> list[QueuedMessage]:
        return [message for message in self._queued.values() if _matches(message, wanted)]

    async def select(
        self, wanted: QueueFilter, limit: int, after: int = 0
    ) -> Sequence[QueuedMessage]:
        """See L{ISpool}."""
        return [each for each in self._wanted(wanted) if each.spoolId > after][:limit]

    async def hold(self, wanted: QueueFilter, held: bool) -> int:
        """See L{ISpool}."""
        messages = [each for each in self._wanted(wanted) if each.held is not held]
        for message in messages:
            self._queued[message.spoolId] = message._replace(held=held)
        if messages:
            self._tell(None)
        return len(messages)

    async def retry(self, wanted: QueueFilter) -> int:
        """See L{ISpool}."""
        now = int(self._store.now())
        messages = self._wanted(wanted)
        for message in messages:
            for recipient in message.recipients:
                self._postponed.pop(recipient.destination, None)
            recipients = tuple(
                each._replace(nextAttempt=min(now, each.nextAttempt)) for each in message.recipients
            )
            self._queued[message.spoolId] = message._replace(recipients=recipients)
        if messages:
            self._tell(None)
        return len(messages)

    async def delete(self, wanted: QueueFilter) -> int:
        """See L{ISpool}."""
        messages = self._wanted(wanted)
        for message in messages:
            self._remove(message.spoolId)
        left = {
            each.destination for message in self._queued.values() for each in message.recipients
        }
        for name in self._postponed.keys() - left:
            del self._postponed[name]
        if messages:
            self._tell(None)
        return len(messages)

    async def counts(self) -> QueueCounts:
        """See L{ISpool}."""
        messages = list(self._queued.values())
        recipients = [each for message in messages for each in message.recipients]
        return QueueCounts(
            len(messages),
            sum(message.held for message in messages),
            sum(message.octets for message in messages),
            dict(Counter(each.destination for each in recipients)),
            sum(each.attempts > 0 for each in recipients),
            min((message.arrived for message in messages), default=None),
        )

    async def reroute(self, route: Callable[[QueuedMessage, str], str]) -> int:
        """See L{ISpool}."""
        changed = 0
        for message in list(self._queued.values()):
            recipients = []
            for each in message.recipients:
                wanted = route(message._replace(recipients=(each,)), each.destination)
                changed += wanted != each.destination
                recipients.append(each._replace(destination=wanted))
            self._queued[message.spoolId] = message._replace(recipients=tuple(recipients))
        if changed:
            self._tell(None)
        return changed


def _gather(
    found: Sequence[tuple[QueuedMessage, QueuedRecipient]],
) -> list[QueuedMessage]:
    # Each message where its first recipient is.
    messages: dict[int, tuple[QueuedMessage, list[QueuedRecipient]]] = {}
    for message, recipient in found:
        messages.setdefault(message.spoolId, (message, []))[1].append(recipient)
    return [
        message._replace(recipients=tuple(recipients)) for message, recipients in messages.values()
    ]


def _matches(message: QueuedMessage, wanted: QueueFilter) -> bool:
    if wanted.queueIds and message.queueId not in wanted.queueIds:
        return False
    if wanted.sender is not None and not _sentBy(message, wanted.sender):
        return False
    addresses = [recipient.address for recipient in message.recipients]
    if wanted.recipient is not None and _key(wanted.recipient) not in map(_folded, addresses):
        return False
    if wanted.domain is not None and wanted.domain.lower() not in {a.domain for a in addresses}:
        return False
    if wanted.arrivedBefore is not None and message.arrived >= wanted.arrivedBefore:
        return False
    return wanted.held is None or message.held is wanted.held


def _sentBy(message: QueuedMessage, sender: str) -> bool:
    path = message.reversePath
    if not sender or path is None:
        return not sender and path is None
    if "@" not in sender:
        return path.domain == sender.lower()
    return _folded(path) == _key(sender)


def _folded(address: Address) -> tuple[str, str]:
    return foldLocalPart(address.localPart), address.domain


def _key(text: str) -> tuple[str, str]:
    localPart, _, domain = text.rpartition("@")
    return foldLocalPart(localPart), domain.lower()
