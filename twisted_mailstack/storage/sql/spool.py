# -*- test-case-name: tests.storage.test_sqlspool -*-
"""
The spool of the SQL store: mail that waits, in the same database as the mailboxes.

A queued message refers to a C{content} as an account's message does, so a message for local and
other recipients is stored once and accepted in one step. What waits is found by destination: each
question is an indexed read whose cost does not grow with the queue.

The spool is account 0 to L{Watchers<twisted_mailstack.storage.sql.watchers.Watchers>}: each
destination that has new recipients is a mailbox of it, and 0 stands for any other change.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from twisted.logger import Logger
from zope.interface import implementer

from twisted_mailstack.errors import (
    MailError,
    MessageExpunged,
    NoSuchAccount,
    NoSuchMailbox,
    SyntaxProblem,
)
from twisted_mailstack.interfaces import ISpool, IStagedContent
from twisted_mailstack.model.address import Address, foldLocalPart
from twisted_mailstack.model.header import Header, parseMessageIds
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
from twisted_mailstack.storage.sql.content import MessageContent, StagedContent, readChunks
from twisted_mailstack.storage.sql.directory import accountNumber
from twisted_mailstack.storage.sql.mailbox import checkQuota, insertMessage, takeIds
from twisted_mailstack.storage.sql.schema import CHUNK
from twisted_mailstack.storage.sql.thread import threadOf
from twisted_mailstack.storage.sql.writer import Transaction

if TYPE_CHECKING:
    import sqlite3

    from twisted_mailstack.storage.sql.store import SQLMailStore

log = Logger()

#: The spool among accounts, and what stands for changes by an operator, or another process.
SPOOL = 0
ANYTHING = (SPOOL, 0)
#: Recipients after which a change gives way to those that wait.
STEP = 500
#: Messages that one step of an operator's change works on: some ten milliseconds. Each step writes
#: all pages that it touches, which are most of an index for a few hundred already.
CHANGE = 2000

_MESSAGE = (
    "m.message, m.queue_id, m.sender, m.sender_domain, m.parameters, m.prefix, m.arrived,"
    " m.expires, m.priority, m.held, m.origin, m.octets"
)
_RECIPIENT = (
    "r.number, r.local_part, r.domain, r.parameters, r.destination, r.next_attempt, r.check_at,"
    " r.attempts, r.last_reply, r.delay_notified, r.via"
)

# What the queue asks all the time; each is answered by an index alone (tests/storage/
# test_sqlspool.py).
POSTPONED = "SELECT name, retry_at, failures, last_reply FROM destination"
#: From one name to the next: a GROUP BY would read all of the index.
NAMES = (
    "WITH RECURSIVE each(name) AS ("
    " SELECT min(destination) FROM queued_recipient WHERE held = 0"
    " UNION ALL SELECT (SELECT min(destination) FROM queued_recipient"
    "  WHERE held = 0 AND destination > each.name) FROM each WHERE each.name IS NOT NULL"
    ") SELECT name FROM each WHERE name IS NOT NULL"
)
PRIORITIES = (
    "WITH RECURSIVE each(value) AS ("
    " SELECT max(priority) FROM queued_recipient WHERE held = 0 AND destination = ?1"
    " UNION ALL SELECT (SELECT max(priority) FROM queued_recipient WHERE held = 0"
    "  AND destination = ?1 AND priority < each.value) FROM each"
    "  WHERE each.value IS NOT NULL"
    ") SELECT value FROM each WHERE value IS NOT NULL"
)
EARLIEST = (
    "SELECT min(next_attempt) FROM queued_recipient"
    " WHERE held = 0 AND destination = ? AND priority = ?"
)
#: Of a list in JSON: one statement for many costs a fraction of one for each.
_THESE = "(SELECT value FROM json_each(?1))"
_ROWS = (
    f"SELECT {_MESSAGE}, {_RECIPIENT} FROM queued_recipient r"
    " JOIN queued m ON m.message = r.message"
)
DUE = (
    f"{_ROWS} WHERE r.held = 0 AND r.destination = ? AND r.priority = ? AND r.next_attempt <= ?"
    " ORDER BY r.next_attempt, r.message, r.number LIMIT ?"
)
OVERDUE = (
    f"{_ROWS} WHERE r.held = 0 AND r.check_at <= ? ORDER BY r.check_at, r.message, r.number LIMIT ?"
)
#: By its message: + hides what else there is from SQLite, which would take all of a destination.
WAITING = "SELECT number FROM queued_recipient WHERE message = ? AND +destination = ? AND +held = 0"
CONTENT = (
    "SELECT m.content, m.prefix, m.octets, c.structure FROM queued m"
    " JOIN content c ON c.content = m.content WHERE m.message = ?"
)
ALL = f"{_ROWS} WHERE (r.message, r.number) > (?, ?) ORDER BY r.message, r.number LIMIT ?"
FORGET = (
    "DELETE FROM destination WHERE NOT EXISTS (SELECT 1 FROM queued_recipient r"
    " WHERE r.held IN (0, 1) AND r.destination = destination.name)"
)


def _dump(parameters: Mapping[str, str | None]) -> str:
    return json.dumps(dict(parameters)) if parameters else ""


def _load(text: str) -> dict[str, str | None]:
    return cast("dict[str, str | None]", json.loads(text)) if text else {}


def _recipient(row: Sequence[Any]) -> QueuedRecipient:
    number, localPart, domain, parameters, destination, nextAttempt, checkAt = row[:7]
    return QueuedRecipient(
        *(number, Address(localPart, domain), _load(parameters), destination, nextAttempt),
        *(checkAt, row[7], row[8], bool(row[9])),
        Address.parse(row[10]) if row[10] else None,
    )


def _message(row: Sequence[Any], recipients: Iterable[QueuedRecipient]) -> QueuedMessage:
    spoolId, queueId, sender, senderDomain, parameters, prefix, arrived, expires = row[:8]
    return QueuedMessage(
        queueId,
        None if senderDomain is None else Address(sender, senderDomain),
        _load(parameters),
        *(prefix, arrived, expires, tuple(recipients), row[8], bool(row[9]), row[10], row[11]),
        spoolId,
    )


def _messages(rows: Iterable[Sequence[Any]]) -> list[QueuedMessage]:
    # Rows of _MESSAGE and _RECIPIENT; a message is where its first recipient is.
    found: dict[int, tuple[Sequence[Any], list[QueuedRecipient]]] = {}
    messages = []
    for row in rows:
        try:
            recipient = _recipient(row[12:])
        except (TypeError, ValueError, SyntaxProblem):
            _damaged(row)
        else:
            found.setdefault(row[0], (row, []))[1].append(recipient)
    for row, recipients in found.values():
        try:
            messages.append(_message(row, recipients))
        except (TypeError, ValueError):
            _damaged(row)
    return messages


def _damaged(row: Sequence[Any]) -> None:
    # It stays where it is until somebody looks; all others go on.
    log.error(
        "{queueId}: queued data is damaged, see mailstack check; what it is of stays in the queue",
        queueId=row[1],
    )


@implementer(ISpool)
class SQLSpool:
    """
    See L{ISpool}.
    """

    def __init__(self, store: SQLMailStore) -> None:
        self._store = store

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
        store = self._store
        staged = cast("StagedContent | None", content)
        now = int(store.now())

        def change(transaction: Transaction) -> list[Exception | None]:
            if settled and not _settle(transaction, settled):
                return [None] * len(placements)
            results: list[Exception | None] = []
            placed: int | None = None
            waiting = list(queued.recipients) if queued is not None else []
            for number, placement in enumerate(placements):
                assert staged is not None
                try:
                    placed = store.place(transaction, staged, placement, placed, internalDate, now)
                except MailError as error:
                    results.append(error)
                    fallback = fallbacks[number] if fallbacks else None
                    if fallback is not None:
                        waiting.append(fallback)
                else:
                    results.append(None)
                    waiting += successes[number] if successes else ()
            if waiting:
                assert staged is not None and queued is not None
                if placed is None:
                    placed = staged.place(transaction, 1)
                else:
                    transaction.execute(
                        "UPDATE content SET copies = copies + 1 WHERE content = ?", (placed,)
                    )
                complete = queued._replace(recipients=tuple(waiting))
                _insert(transaction, complete, placed, staged.summary.size)
            return results

        size = len(placements) + len(settled) + (len(queued.recipients) if queued else 0)
        return await store.writer.submit(change, long=size > STEP)

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        """See L{ISpool}."""

        def change(transaction: Transaction) -> None:
            _settle(transaction, outcomes)

        await self._store.writer.submit(change, long=len(outcomes) > STEP)

    async def postpone(self, destination: str, retryAt: int, failures: int, lastReply: str) -> None:
        """See L{ISpool}."""

        def change(transaction: Transaction) -> None:
            if failures:
                transaction.execute(
                    "INSERT OR REPLACE INTO destination VALUES (?, ?, ?, ?)",
                    (destination, retryAt, failures, lastReply),
                )
            else:
                transaction.execute("DELETE FROM destination WHERE name = ?", (destination,))

        await self._store.writer.submit(change)

    # --- taking out ----------------------------------------------------------------------------

    async def destinations(self) -> Sequence[DestinationState]:
        """See L{ISpool}."""

        def read(connection: sqlite3.Connection) -> list[DestinationState]:
            postponed = {row[0]: row[1:] for row in connection.execute(POSTPONED)}
            found = []
            for (name,) in connection.execute(NAMES).fetchall():
                due = _earliest(connection, name)
                if due is not None:
                    found.append(DestinationState(name, due, *postponed.get(name, (0, 0, ""))))
            return found

        # Tens of microseconds for each of them, of which there may be many.
        found: list[DestinationState] = await self._store.readInThread(read)
        return found

    async def earliest(self, destination: str) -> int | None:
        """See L{ISpool}."""
        return _earliest(self._store.reader, destination)

    async def due(self, destination: str, now: int, limit: int) -> Sequence[QueuedMessage]:
        """See L{ISpool}."""
        rows: list[Any] = []
        connection = self._store.reader
        for priority in _priorities(connection, destination):
            rows += connection.execute(
                DUE, (destination, priority, now, limit - len(rows))
            ).fetchall()
            if len(rows) >= limit:
                break
        return _messages(rows)

    async def waiting(self, spoolId: int, destination: str) -> Collection[int]:
        """See L{ISpool}."""
        return {row[0] for row in self._store.reader.execute(WAITING, (spoolId, destination))}

    async def overdue(self, now: int, limit: int) -> Sequence[QueuedMessage]:
        """See L{ISpool}."""
        return _messages(self._store.reader.execute(OVERDUE, (now, limit)).fetchall())

    async def place(
        self,
        spoolId: int,
        placements: Sequence[tuple[int, Placement]],
        internalDate: int,
        told: Collection[int] = (),
    ) -> Sequence[Exception | None]:
        """See L{ISpool}."""
        store = self._store
        now = int(store.now())

        def change(transaction: Transaction) -> list[Exception | None]:
            row = transaction.execute(
                "SELECT content FROM queued WHERE message = ?", (spoolId,)
            ).fetchone()
            if row is None:
                raise MessageExpunged()
            (content,) = row
            results: list[Exception | None] = []
            for number, placement in placements:
                if not transaction.execute(
                    "SELECT 1 FROM queued_recipient WHERE message = ? AND number = ?"
                    " AND destination <> ?",
                    (spoolId, number, DELIVERED),
                ).fetchone():
                    # Settled meanwhile: not twice.
                    results.append(None)
                    continue
                try:
                    self._placeStored(transaction, content, placement, internalDate, now)
                except MailError as error:
                    results.append(error)
                else:
                    results.append(None)
                    if number in told:
                        _arrived(transaction, spoolId, number, internalDate)
                    else:
                        _settle(transaction, [Outcome(spoolId, number, True)])
            return results

        return await store.writer.submit(change, long=len(placements) > STEP)

    def _placeStored(
        self,
        transaction: Transaction,
        content: int,
        placement: Placement,
        internalDate: int,
        now: int,
    ) -> None:
        account = accountNumber(placement.accountId)
        size, headerSize = transaction.execute(
            "SELECT octets, header_octets FROM content WHERE content = ?", (content,)
        ).fetchone()
        octets = size + len(placement.prefix)
        try:
            checkQuota(transaction, account, 1, octets)
        except NoSuchMailbox:
            raise NoSuchAccount() from None
        box = self._store.boxFor(transaction, account, placement.mailbox)
        box.requireUids(1)
        header = Header(readChunks(transaction.connection, content, 0, min(headerSize, CHUNK)))
        identities = [
            identity
            for name in (b"references", b"in-reply-to", b"message-id")
            for identity in parseMessageIds(header.get(name) or b"")
        ]
        message = takeIds(transaction, account, 2)
        thread = threadOf(transaction, account, identities, message + 1)
        transaction.execute("UPDATE content SET copies = copies + 1 WHERE content = ?", (content,))
        insertMessage(transaction, account, message, content, placement.prefix, size, thread)
        box.insert(message, box.spell(placement.flags), octets, internalDate, 0, now)
        box.write()

    async def openContent(self, spoolId: int) -> MessageContent:
        """See L{ISpool}."""
        connection = self._store.reader
        row = connection.execute(CONTENT, (spoolId,)).fetchone()
        if row is None:
            raise MessageExpunged()
        return MessageContent(connection, row)

    def lockQueue(self) -> Callable[[], None] | None:
        """See L{ISpool}."""
        # A lock of the file system: it ends with the process, however that ends.
        path = self._store.locks / "queue"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        held = [descriptor]

        def release() -> None:
            if held:
                os.close(held.pop())

        return release

    def watch(self, changed: Callable[[Collection[str] | None], None]) -> Callable[[], None]:
        """See L{ISpool}."""

        def somethingChanged(destination: int | str) -> None:
            changed({destination} if isinstance(destination, str) else None)

        return self._store.watchers.addAccount(SPOOL, somethingChanged)

    # --- operators -----------------------------------------------------------------------------

    async def select(
        self, wanted: QueueFilter, limit: int, after: int = 0
    ) -> Sequence[QueuedMessage]:
        """See L{ISpool}."""
        condition, values = _condition(wanted)

        def read(connection: sqlite3.Connection) -> list[QueuedMessage]:
            rows = connection.execute(
                f"SELECT {_MESSAGE}, {_RECIPIENT} FROM (SELECT * FROM queued m WHERE"
                f" m.message > ? AND {condition} ORDER BY m.message LIMIT ?) m"
                " JOIN queued_recipient r ON r.message = m.message"
                " ORDER BY m.message, r.number",
                (after, *values, limit),
            ).fetchall()
            return _messages(rows)

        found: list[QueuedMessage] = await self._store.readInThread(read)
        return found

    async def hold(self, wanted: QueueFilter, held: bool) -> int:
        """See L{ISpool}."""

        def step(transaction: Transaction, messages: list[int]) -> int:
            some = json.dumps(messages)
            transaction.execute(
                f"UPDATE queued_recipient SET held = ?2 WHERE message IN {_THESE} AND held <> ?2",
                (some, held),
            )
            return transaction.execute(
                f"UPDATE queued SET held = ?2 WHERE message IN {_THESE} AND held <> ?2",
                (some, held),
            ).rowcount

        return await self._each(wanted, step)

    async def retry(self, wanted: QueueFilter) -> int:
        """See L{ISpool}."""
        now = int(self._store.now())

        def step(transaction: Transaction, messages: list[int]) -> int:
            some = json.dumps(messages)
            # Most are due, if it is their destination that waits.
            transaction.execute(
                "UPDATE queued_recipient SET next_attempt = ?2"
                f" WHERE message IN {_THESE} AND next_attempt > ?2",
                (some, now),
            )
            transaction.execute(
                "DELETE FROM destination WHERE name IN"
                f" (SELECT destination FROM queued_recipient WHERE message IN {_THESE})",
                (some,),
            )
            return len(messages)

        return await self._each(wanted, step)

    async def delete(self, wanted: QueueFilter) -> int:
        """See L{ISpool}."""

        def step(transaction: Transaction, messages: list[int]) -> int:
            for message in messages:
                transaction.execute("DELETE FROM queued_recipient WHERE message = ?", (message,))
                (content,) = transaction.execute(
                    "DELETE FROM queued WHERE message = ? RETURNING content", (message,)
                ).fetchone()
                _letGo(transaction, content)
            # Nobody who runs the queue may be there to forget them.
            transaction.execute(FORGET)
            return len(messages)

        return await self._each(wanted, step)

    async def _each(
        self, wanted: QueueFilter, step: Callable[[Transaction, list[int]], int]
    ) -> int:
        # In steps, so that the server's own changes go on in between.
        condition, values = _condition(wanted)
        last = done = 0
        while True:
            after = last

            def change(transaction: Transaction, after: int = after) -> tuple[int, list[int]]:
                rows = transaction.execute(
                    f"SELECT m.message FROM queued m WHERE m.message > ? AND {condition}"
                    " ORDER BY m.message LIMIT ?",
                    (after, *values, CHANGE),
                ).fetchall()
                messages = [row[0] for row in rows]
                if messages:
                    transaction.changed.add(ANYTHING)
                return step(transaction, messages), messages

            count, messages = await self._store.writer.submit(change, long=True)
            done += count
            if len(messages) < CHANGE:
                return done
            last = messages[-1]

    async def counts(self) -> QueueCounts:
        """See L{ISpool}."""

        def read(connection: sqlite3.Connection) -> QueueCounts:
            messages, held, octets, oldest = connection.execute(
                "SELECT count(*), coalesce(sum(held), 0), coalesce(sum(octets), 0), min(arrived)"
                " FROM queued"
            ).fetchone()
            rows = connection.execute(
                "SELECT destination, count(*), sum(attempts > 0) FROM queued_recipient"
                " GROUP BY destination"
            ).fetchall()
            return QueueCounts(
                *(messages, held, octets, {row[0]: row[1] for row in rows}),
                *(sum(row[2] for row in rows), oldest),
            )

        found: QueueCounts = await self._store.readInThread(read)
        return found

    async def reroute(self, route: Callable[[QueuedMessage, str], str]) -> int:
        """See L{ISpool}."""
        last, done = (0, -1), 0
        while True:

            def read(
                connection: sqlite3.Connection, last: tuple[int, int] = last
            ) -> list[tuple[Any, ...]]:
                return connection.execute(ALL, (*last, STEP)).fetchall()

            rows: list[tuple[Any, ...]] = await self._store.readInThread(read)
            changes = []
            for row in rows:
                recipient = _recipient(row[12:])
                wanted = route(_message(row, (recipient,)), recipient.destination)
                if wanted != recipient.destination:
                    changes.append((wanted, row[0], recipient.number, recipient.destination))
            if changes:

                def change(transaction: Transaction, changes: list[Any] = changes) -> int:
                    transaction.changed.add(ANYTHING)
                    # Some may be gone meanwhile.
                    return transaction.executemany(
                        "UPDATE queued_recipient SET destination = ?"
                        " WHERE message = ? AND number = ? AND destination = ?",
                        changes,
                    ).rowcount

                done += await self._store.writer.submit(change, long=True)
            if len(rows) < STEP:
                return done
            last = rows[-1][0], rows[-1][12]


def _priorities(connection: sqlite3.Connection, destination: str) -> list[int]:
    return [row[0] for row in connection.execute(PRIORITIES, (destination,))]


def _earliest(connection: sqlite3.Connection, destination: str) -> int | None:
    found = [
        connection.execute(EARLIEST, (destination, priority)).fetchone()[0]
        for priority in _priorities(connection, destination)
    ]
    # One that was the last of its priority may be gone meanwhile.
    return min((each for each in found if each is not None), default=None)


def _condition(wanted: QueueFilter) -> tuple[str, list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []

    def add(condition: str, *parameters: Any) -> None:
        conditions.append(condition)
        values.extend(parameters)

    if wanted.queueIds:
        add(f"m.queue_id IN ({','.join('?' * len(wanted.queueIds))})", *wanted.queueIds)
    if wanted.sender is not None:
        localPart, at, domain = wanted.sender.rpartition("@")
        if not wanted.sender:
            add("m.sender_domain IS NULL")
        elif at:
            add("m.sender_domain = ?", domain.lower())
            add("m.sender_folded = ?", foldLocalPart(localPart))
        else:
            add("m.sender_domain = ?", domain.lower())
    waiting = "EXISTS (SELECT 1 FROM queued_recipient r WHERE r.message = m.message AND "
    if wanted.recipient is not None:
        localPart, _, domain = wanted.recipient.rpartition("@")
        add(waiting + "r.folded = ? AND r.domain = ?)", foldLocalPart(localPart), domain.lower())
    if wanted.domain is not None:
        add(waiting + "r.domain = ?)", wanted.domain.lower())
    if wanted.arrivedBefore is not None:
        add("m.arrived < ?", wanted.arrivedBefore)
    if wanted.held is not None:
        add("m.held = ?", wanted.held)
    return " AND ".join(conditions) or "1", values


def _insert(transaction: Transaction, queued: QueuedMessage, content: int, octets: int) -> None:
    sender = queued.reversePath
    message = transaction.execute(
        "INSERT INTO queued (queue_id, content, prefix, octets, sender, sender_folded,"
        " sender_domain, parameters, arrived, expires, priority, held, origin, waiting)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(queued.queueId, content, queued.prefix, octets + len(queued.prefix)),
            "" if sender is None else sender.localPart,
            "" if sender is None else foldLocalPart(sender.localPart),
            None if sender is None else sender.domain,
            *(_dump(queued.parameters), queued.arrived, queued.expires, queued.priority),
            *(queued.held, queued.origin, len(queued.recipients)),
        ),
    ).lastrowid
    transaction.executemany(
        "INSERT INTO queued_recipient (message, number, local_part, folded, domain, parameters,"
        " destination, priority, held, next_attempt, check_at, attempts, last_reply,"
        " delay_notified, via) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                *(message, each.number, each.address.localPart),
                *(foldLocalPart(each.address.localPart), each.address.domain),
                *(_dump(each.parameters), each.destination, queued.priority, queued.held),
                *(each.nextAttempt, each.checkAt, each.attempts, each.lastReply),
                *(each.delayNotified, "" if each.via is None else str(each.via)),
            )
            for each in queued.recipients
        ],
    )
    transaction.changed.update((SPOOL, each.destination) for each in queued.recipients)


def _arrived(transaction: Transaction, message: int, number: int, at: int) -> None:
    # The number is another, since whoever works on the recipient settles it by the old one.
    transaction.execute(
        "UPDATE queued_recipient SET destination = ?1, next_attempt = ?2, check_at = ?3,"
        " number = (SELECT max(number) + 1 FROM queued_recipient WHERE message = ?4)"
        " WHERE message = ?4 AND number = ?5",
        (DELIVERED, at, NEVER, message, number),
    )
    transaction.changed.add((SPOOL, DELIVERED))


def _settle(transaction: Transaction, outcomes: Sequence[Outcome]) -> int:
    """
    @return: how many of the recipients were there.
    """
    known = 0
    ended: dict[int, int] = {}
    for outcome in outcomes:
        key = (outcome.spoolId, outcome.number)
        if not outcome.final:
            known += transaction.execute(
                "UPDATE queued_recipient SET last_reply = coalesce(nullif(?, ''), last_reply),"
                " next_attempt = coalesce(?, next_attempt), attempts = coalesce(?, attempts),"
                " check_at = coalesce(?, check_at), delay_notified = max(delay_notified, ?)"
                " WHERE message = ? AND number = ?",
                (
                    *(outcome.reply, outcome.nextAttempt, outcome.attempts, outcome.checkAt),
                    *(outcome.delayNotified, *key),
                ),
            ).rowcount
            continue
        if transaction.execute(
            "DELETE FROM queued_recipient WHERE message = ? AND number = ?", key
        ).rowcount:
            known += 1
            ended[outcome.spoolId] = ended.get(outcome.spoolId, 0) + 1
    for message, count in ended.items():
        # Most often these were all that were left.
        row = transaction.execute(
            "DELETE FROM queued WHERE message = ? AND waiting = ? RETURNING content",
            (message, count),
        ).fetchone()
        if row is not None:
            _letGo(transaction, row[0])
        else:
            transaction.execute(
                "UPDATE queued SET waiting = waiting - ? WHERE message = ?", (count, message)
            )
    return known


def _letGo(transaction: Transaction, content: int) -> None:
    transaction.execute("UPDATE content SET copies = copies - 1 WHERE content = ?", (content,))
    transaction.unplaced = True
