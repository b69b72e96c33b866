# -*- test-case-name: tests.storage.test_memoryspool -*-
"""
What L{ISpool} promises; of a spool that keeps things (L{DurableSpoolContract}), and of one that
several processes use at the same time (L{SharedSpoolContract}), some more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from twisted_mailstack.errors import MessageExpunged, NoSuchAccount, OverQuota
from twisted_mailstack.interfaces import ISpool, ISpoolingStore, IStagedContent
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.queue import (
    DELIVERED,
    LOCAL,
    NEVER,
    DestinationState,
    Outcome,
    QueueCounts,
    QueuedMessage,
    QueuedRecipient,
    QueueFilter,
)
from twisted_mailstack.model.records import Attribute, Placement
from twisted_mailstack.testing.contracts.base import StorageContract, start

ALL = QueueFilter()
DATA = b"Subject: x\r\nMessage-ID: <1@far.test>\r\n\r\nbody \xff\r\n"


class SpoolTestCase(StorageContract):
    """
    A store that has a spool.

    @ivar spool: it.
    """

    spool: ISpool

    def setUp(self) -> None:
        """
        Find the spool.
        """
        super().setUp()
        self.spool = self.spoolOf(self.store)

    @staticmethod
    def spoolOf(store: Any) -> ISpool:
        """
        @return: a store's spool.
        """
        found: ISpool = store.spool
        return found

    # --- what the tests are made of ------------------------------------------------------------

    def recipient(self, address: str, number: int = 0, **fields: Any) -> QueuedRecipient:
        """
        @param fields: other than the usual ones.
        @return: a recipient that waits for its domain, and may be tried at 100.
        """
        parsed = Address.parse(address)
        return QueuedRecipient(number, parsed, {}, parsed.domain, 100, 5000)._replace(**fields)

    def queued(self, *recipients: str | QueuedRecipient, **fields: Any) -> QueuedMessage:
        """
        @param fields: other than the usual ones.
        @return: a message to be queued.
        """
        return QueuedMessage(
            "Q1",
            Address("sender", "near.test"),
            {},
            b"",
            1000,
            9000,
            tuple(
                self.recipient(each, number) if isinstance(each, str) else each
                for number, each in enumerate(recipients)
            ),
        )._replace(**fields)

    def accept(
        self,
        *placements: Placement,
        queued: QueuedMessage | None = None,
        settled: Sequence[Outcome] = (),
        fallbacks: Sequence[QueuedRecipient | None] = (),
        successes: Sequence[Sequence[QueuedRecipient]] = (),
        data: bytes = DATA,
        content: IStagedContent | None = None,
    ) -> list[Exception | None]:
        """
        @return: the results.
        """
        if content is None and (placements or queued is not None):
            content = self.stage(data)
        return list(
            self.wait(
                self.spool.accept(content, placements, 777, queued, settled, fallbacks, successes)
            )
        )

    def put(
        self, *recipients: str | QueuedRecipient, data: bytes = DATA, **fields: Any
    ) -> QueuedMessage:
        """
        @return: a message that is queued now.
        """
        self.assertEqual(self.accept(queued=self.queued(*recipients, **fields), data=data), [])
        return self.all()[-1]

    def all(self, wanted: QueueFilter = ALL) -> list[QueuedMessage]:
        """
        @return: what is in the spool.
        """
        return list(self.wait(self.spool.select(wanted, 1_000_000)))

    def ids(self, wanted: QueueFilter) -> list[str]:
        """
        @return: the queue ids of what a filter means.
        """
        return [message.queueId for message in self.all(wanted)]

    def content(self, message: QueuedMessage) -> bytes:
        """
        @return: the octets of a message in the spool.
        """
        content = self.wait(self.spool.openContent(message.spoolId))
        return self.octets(content, content.size)

    def due(self, destination: str, now: int, limit: int = 1000) -> list[tuple[str, list[int]]]:
        """
        @return: queue ids, and the numbers of recipients.
        """
        found = self.wait(self.spool.due(destination, now, limit))
        return [(each.queueId, [one.number for one in each.recipients]) for each in found]

    def states(self) -> dict[str, DestinationState]:
        """
        @return: the destinations, by name.
        """
        found = list(self.wait(self.spool.destinations()))
        by = {state.name: state for state in found}
        self.assertEqual(len(by), len(found), "a destination is there twice")
        return by

    def placement(self, localPart: str = "alice", prefix: bytes = b"To: x\r\n") -> Placement:
        """
        @return: one for the INBOX of an account.
        """
        record = self.wait(self.store.directory.findAccount(self.address(localPart)))
        assert record is not None
        return Placement(record.accountId, "INBOX", prefix)

    def inbox(self, localPart: str = "alice") -> list[bytes]:
        """
        @return: the messages of an account.
        """
        account = self.wait(self.store.openAccount(self.placement(localPart).accountId))
        mailbox = self.wait(account.openMailbox("INBOX"))
        return [self.message(mailbox, uid) for uid in self.uids(mailbox)]

    def limit(self, localPart: str, messages: int | None) -> None:
        """
        Bound an account.
        """
        directory = self.store.directory
        self.wait(directory.setQuota(self.address(localPart), None, messages))


class SpoolContract(SpoolTestCase):
    """
    Mail that is accepted and yet to be delivered or relayed.
    """

    def test_provides(self) -> None:
        """Store and spool are what the interfaces say."""
        self.assertProvides(ISpoolingStore, self.store)
        self.assertProvides(ISpool, self.spool)

    # --- putting in ----------------------------------------------------------------------------

    def test_accept(self) -> None:
        """What is put in comes out as it was, and is what its prefix and content say."""
        parameters: dict[str, str | None] = {"SMTPUTF8": None, "RET": "HDRS", "X": 'é"\\'}
        message = self.queued(
            self.recipient("Bob@far.test", parameters={"NOTIFY": "NEVER", "ORCPT": "rfc822;é"}),
            self.recipient("b@other.test", 1, destination="host:25", attempts=3, lastReply="no é"),
            self.recipient('"a b"@far.test', 2, checkAt=77, delayNotified=True, nextAttempt=0),
            self.recipient("дима@far.test", 5),
            queueId="0Q9",
            reversePath=Address("Sender", "near.test"),
            parameters=parameters,
            prefix=b"Received: x\r\nX: \xff\r\n",
            priority=-9,
            origin="192.0.2.1 é",
        )
        self.assertEqual(self.accept(queued=message), [])
        (found,) = self.all()
        self.assertNotEqual(found.spoolId, 0)
        self.assertEqual(
            found,
            message._replace(octets=len(message.prefix) + len(DATA), spoolId=found.spoolId),
        )
        content = self.wait(self.spool.openContent(found.spoolId))
        self.assertEqual(content.size, found.octets)
        self.assertEqual(self.octets(content, content.size), message.prefix + DATA)
        # Offsets count from the prefix on.
        self.assertEqual(content.structure.bodyOffset, len(message.prefix) + DATA.index(b"body"))
        self.assertSound()

    def test_nullPath(self) -> None:
        """The null reverse-path is no address (RFC 5321 §4.5.5); an empty local-part is one."""
        for path in (None, Address("", "near.test"), Address("a", "[IPv6:::1]")):
            self.assertEqual(self.put("a@far.test", reversePath=path).reversePath, path)

    def test_large(self) -> None:
        """A message of any size, an empty one too."""
        for data in (b"", b"Subject: x\r\n\r\n" + b"large " * 200_000):
            message = self.put("a@far.test", data=data, prefix=b"P: 1\r\n")
            self.assertEqual(self.content(message), b"P: 1\r\n" + data)
        self.assertSound()

    def test_placedAndQueued(self) -> None:
        """One step gives local recipients their copy and queues the message for others."""
        self.addAccount("bob")
        results = self.accept(
            *(self.placement("alice", b"To: a\r\n"), self.placement("bob", b"To: b\r\n")),
            queued=self.queued("a@far.test", prefix=b"P: 1\r\n"),
        )
        self.assertEqual(results, [None, None])
        self.assertEqual(self.inbox("alice"), [b"To: a\r\n" + DATA])
        self.assertEqual(self.inbox("bob"), [b"To: b\r\n" + DATA])
        (message,) = self.all()
        self.assertEqual(self.content(message), b"P: 1\r\n" + DATA)
        rows = self.fetch(self.mailbox("INBOX"), Attribute.INTERNAL_DATE)
        self.assertEqual(rows[0][1], 777)
        self.assertSound()

    def test_contentStays(self) -> None:
        """Neither end of it, in a mailbox or in the spool, takes the content from the other."""
        data = b"Subject: x\r\n\r\n" + b"large " * 100_000
        self.accept(self.placement(), queued=self.queued("a@far.test"), data=data)
        self.accept(self.placement(), queued=self.queued("a@far.test"), data=data)
        inbox = self.mailbox("INBOX")
        self.wait(inbox.expunge(self.numbers(1), False))
        first, second = self.all()
        self.wait(self.spool.settle([Outcome(second.spoolId, 0, True)]))
        self.assertSound()
        self.assertEqual(self.content(first), data)
        self.assertEqual(self.inbox(), [b"To: x\r\n" + data])
        self.wait(self.spool.settle([Outcome(first.spoolId, 0, True)]))
        self.wait(inbox.expunge(None, False))
        self.assertSound()

    def test_partly(self) -> None:
        """Who can't have a copy is told in the result; the others have theirs."""
        self.addAccount("bob")
        self.limit("bob", 0)
        results = self.accept(
            *(self.placement("bob"), self.placement("alice")),
            Placement("nobody", "INBOX"),
            queued=self.queued("a@far.test"),
        )
        self.assertIsInstance(results[0], OverQuota)
        self.assertIsNone(results[1])
        self.assertIsInstance(results[2], NoSuchAccount)
        self.assertEqual((len(self.inbox("alice")), self.inbox("bob")), (1, []))
        self.assertEqual(len(self.all()), 1)
        self.assertSound()

    def test_fallbacks(self) -> None:
        """Whoever can't have a copy is queued instead, if there is one to be; the result tells."""
        self.addAccount("bob")
        self.limit("bob", 0)
        waiting = [
            self.recipient(f"{name}@example.test", number, destination=LOCAL)
            for number, name in enumerate(("alice", "bob", "gone"), 1)
        ]
        for others in (("x@far.test",), ()):
            queued = self.queued(*others)
            results = self.accept(
                *(self.placement("alice"), self.placement("bob")),
                *(Placement("nobody", "INBOX"), self.placement("bob")),
                queued=queued,
                fallbacks=[*waiting, None],
            )
            self.assertEqual(
                [type(result) for result in results],
                [type(None), OverQuota, NoSuchAccount, OverQuota],
            )
            message = self.all()[-1]
            self.assertEqual(message.recipients, (*queued.recipients, *waiting[1:]))
        self.assertSound()

    def test_successes(self) -> None:
        """
        With a copy those are queued whose senders are to be told of it, and nobody for one that
        can't be made; in a message of its own if nobody else waits.
        """
        self.addAccount("bob")
        self.limit("bob", 0)
        told = [
            self.recipient(name, number, destination=DELIVERED, checkAt=NEVER)
            for number, name in enumerate(("a@example.test", "b@example.test", "c@x.test"), 5)
        ]
        fallback = self.recipient("bob@example.test", 9, destination=LOCAL)
        for others in (("x@far.test",), ()):
            queued = self.queued(*others)
            self.accept(
                *(self.placement("alice"), self.placement("bob")),
                queued=queued,
                fallbacks=[None, fallback],
                successes=[told[:2], told[2:]],
            )
            self.assertEqual(self.all()[-1].recipients, (*queued.recipients, *told[:2], fallback))
        self.accept(self.placement("alice"), queued=self.queued(), successes=[[]])
        self.assertEqual(len(self.all()), 2)
        self.assertSound()

    def test_via(self) -> None:
        """The address by which an account was reached is kept as it was written."""
        for text in ("Team@example.test", '"a b"@example.test', "用户@example.test"):
            waiting = self.recipient("alice@example.test", via=Address.parse(text))
            self.assertEqual(self.put(waiting).recipients, (waiting,))

    def test_nobody(self) -> None:
        """A message that has no recipients in the end isn't queued."""
        self.assertEqual(self.accept(queued=self.queued()), [])
        self.assertEqual(
            self.accept(
                self.placement(), queued=self.queued(), fallbacks=[self.recipient("a@far.test")]
            ),
            [None],
        )
        self.assertEqual(self.all(), [])
        self.assertEqual(self.accept(), [])
        self.assertSound()

    def test_sameContentAgain(self) -> None:
        """Content that was staged once may be accepted several times."""
        content = self.stage(DATA)
        for _ in range(2):
            self.accept(self.placement(), queued=self.queued("a@far.test"), content=content)
        self.assertEqual([self.content(each) for each in self.all()], [DATA, DATA])
        self.assertSound()

    def test_ids(self) -> None:
        """What names a message for the spool never comes back."""
        seen: set[int] = set()
        for _ in range(3):
            message = self.put("a@far.test")
            self.assertNotIn(message.spoolId, seen)
            seen.add(message.spoolId)
            self.wait(self.spool.delete(ALL))

    # --- outcomes ------------------------------------------------------------------------------

    def test_final(self) -> None:
        """A recipient that is final leaves; with the last one the message does."""
        message = self.put("a@far.test", "b@far.test")
        self.wait(self.spool.settle([Outcome(message.spoolId, 1, True, "250 OK")]))
        (left,) = self.all()
        self.assertEqual(left.recipients, message.recipients[:1])
        self.assertEqual(self.content(message), DATA)
        self.wait(self.spool.settle([Outcome(message.spoolId, 0, True)]))
        self.assertEqual((self.all(), self.states()), ([], {}))
        self.assertFails(self.spool.openContent(message.spoolId), MessageExpunged)
        self.assertSound()

    def test_deferred(self) -> None:
        """One that isn't final is what its outcome says; what isn't said stays as it was."""
        message = self.put("a@far.test", "b@far.test")
        recipient = message.recipients[0]

        def settle(**fields: Any) -> QueuedRecipient:
            self.wait(self.spool.settle([Outcome(message.spoolId, 0, False, **fields)]))
            (found,) = self.all()
            self.assertEqual(found.recipients[1], message.recipients[1])
            return found.recipients[0]

        recipient = recipient._replace(lastReply="451 é", nextAttempt=200, attempts=1)
        self.assertEqual(settle(reply="451 é", nextAttempt=200, attempts=1), recipient)
        recipient = recipient._replace(checkAt=6000, delayNotified=True)
        self.assertEqual(settle(checkAt=6000, delayNotified=True), recipient)
        # Once told is told.
        self.assertEqual(settle(delayNotified=False), recipient)
        recipient = recipient._replace(nextAttempt=0, attempts=0, checkAt=0)
        self.assertEqual(settle(nextAttempt=0, attempts=0, checkAt=0), recipient)
        self.assertSound()

    def test_unknownOutcomes(self) -> None:
        """Outcomes of recipients that aren't there (any more) are ignored."""
        message = self.put("a@far.test", "b@far.test")
        for outcome in (
            *(Outcome(message.spoolId, 7, True), Outcome(message.spoolId + 1000, 0, True)),
            *(Outcome(message.spoolId, 7, False, "x"), Outcome(0, 0, True)),
        ):
            self.wait(self.spool.settle([outcome]))
        self.assertEqual(self.all(), [message])
        self.wait(
            self.spool.settle(
                [Outcome(message.spoolId, 7, True), Outcome(message.spoolId, 0, True)] * 2
            )
        )
        self.assertEqual(self.all()[0].recipients, message.recipients[1:])
        self.assertSound()

    def test_settledAndAccepted(self) -> None:
        """
        A notification and the end of what it tells of are one step; if that has ended already, or
        is gone, nothing happens at all.
        """
        message = self.put("a@far.test", "b@far.test")
        outcome = Outcome(message.spoolId, 0, True)
        told = self.queued("sender@near.test", queueId="N1", reversePath=None)
        self.assertEqual(self.accept(self.placement(), queued=told, settled=[outcome]), [None])
        self.assertEqual([each.queueId for each in self.all()], ["Q1", "N1"])
        self.assertEqual(len(self.inbox()), 1)
        self.assertEqual(self.accept(self.placement(), queued=told, settled=[outcome]), [None])
        self.assertEqual((len(self.all()), len(self.inbox())), (2, 1))
        # One of several that is still there is enough.
        both = [outcome, Outcome(message.spoolId, 1, True)]
        self.accept(self.placement(), queued=told, settled=both)
        self.assertEqual([each.queueId for each in self.all()], ["N1", "N1"])
        self.assertEqual(len(self.inbox()), 2)
        self.assertSound()

    def test_settledButNotAccepted(self) -> None:
        """A copy that can't be placed keeps nothing else from happening."""
        message = self.put("a@far.test")
        self.limit("alice", 0)
        (result,) = self.accept(self.placement(), settled=[Outcome(message.spoolId, 0, True)])
        self.assertIsInstance(result, OverQuota)
        self.assertEqual(self.all(), [])

    # --- taking out ----------------------------------------------------------------------------

    def test_due(self) -> None:
        """Messages with those of their recipients whose time has come, of that destination."""
        self.put(
            self.recipient("a@far.test", 0, nextAttempt=100),
            self.recipient("b@far.test", 1, nextAttempt=101),
            self.recipient("c@other.test", 2),
            self.recipient("d@other.test", 3, destination="far.test"),
        )
        self.assertEqual(self.due("far.test", 99), [])
        self.assertEqual(self.due("far.test", 100), [("Q1", [0, 3])])
        self.assertEqual(self.due("far.test", 101), [("Q1", [0, 3, 1])])
        self.assertEqual(self.due("other.test", 101), [("Q1", [2])])
        self.assertEqual(self.due("nowhere.test", 10**9), [])
        found = self.wait(self.spool.due("other.test", 100, 10))
        self.assertEqual(found[0], self.all()[0]._replace(recipients=found[0].recipients))

    def test_dueOrder(self) -> None:
        """The highest priority first, then by time; what came first of the same."""
        for queueId, priority, time in (
            *(("old", 0, 50), ("high", 3, 90), ("low", -9, 0), ("young", 0, 60)),
            *(("highest", 9, 95), ("higher", 3, 80), ("young too", 0, 60)),
        ):
            self.put(
                self.recipient("a@far.test", nextAttempt=time), queueId=queueId, priority=priority
            )
        order = ["highest", "higher", "high", "old", "young", "young too", "low"]
        self.assertEqual([each[0] for each in self.due("far.test", 100)], order)
        for limit in range(1, 8):
            found = self.due("far.test", 100, limit)
            self.assertEqual([each[0] for each in found], order[:limit])

    def test_dueLimit(self) -> None:
        """So many recipients, of as many messages as that takes."""
        for _ in range(3):
            self.put(*(f"u{number}@far.test" for number in range(4)))
        for limit in (1, 3, 4, 5, 11, 12, 13):
            numbers = [number for _, some in self.due("far.test", 100, limit) for number in some]
            self.assertEqual(len(numbers), min(limit, 12))

    def test_dueHeld(self) -> None:
        """Held messages are left out everywhere where it is asked what to do."""
        message = self.put("a@far.test", held=True)
        self.assertEqual(self.due("far.test", 100), [])
        self.assertEqual(self.states(), {})
        self.assertIsNone(self.wait(self.spool.earliest("far.test")))
        self.assertEqual(list(self.wait(self.spool.overdue(10_000, 10))), [])
        self.assertEqual(set(self.wait(self.spool.waiting(message.spoolId, "far.test"))), set())

    def test_duePostponed(self) -> None:
        """That its destination could not be reached is not looked at."""
        self.put("a@far.test")
        self.wait(self.spool.postpone("far.test", 10_000, 3, "no"))
        self.assertEqual(self.due("far.test", 100), [("Q1", [0])])

    def test_earliest(self) -> None:
        """When the next of a destination is due, whatever its priority."""
        self.assertIsNone(self.wait(self.spool.earliest("far.test")))
        for priority, time in ((0, 300), (5, 400), (-5, 200), (0, 250)):
            self.put(self.recipient("a@far.test", nextAttempt=time), priority=priority)
        self.put(self.recipient("a@other.test", nextAttempt=1))
        self.assertEqual(self.wait(self.spool.earliest("far.test")), 200)
        self.wait(self.spool.settle([Outcome(self.all()[2].spoolId, 0, True)]))
        self.assertEqual(self.wait(self.spool.earliest("far.test")), 250)

    def test_waiting(self) -> None:
        """Which recipients of a message wait for a destination, now."""
        message = self.put("a@far.test", "b@other.test", "c@far.test", "d@far.test")
        self.put("e@far.test")

        def waiting(destination: str = "far.test") -> set[int]:
            return set(self.wait(self.spool.waiting(message.spoolId, destination)))

        self.assertEqual((waiting(), waiting("other.test")), ({0, 2, 3}, {1}))
        self.assertEqual(waiting("nowhere.test"), set())
        self.wait(self.spool.settle([Outcome(message.spoolId, 2, True)]))
        self.wait(self.spool.settle([Outcome(message.spoolId, 3, False, nextAttempt=10**6)]))
        self.assertEqual(waiting(), {0, 3})
        self.wait(self.spool.delete(ALL))
        self.assertEqual(waiting(), set())

    def test_overdue(self) -> None:
        """Messages with those of their recipients whose time has come, the oldest first."""
        self.put(
            self.recipient("a@far.test", 0, checkAt=300),
            self.recipient("b@far.test", 1, checkAt=100),
            queueId="A",
        )
        self.put(self.recipient("a@other.test", checkAt=200), queueId="B")

        def overdue(now: int, limit: int = 100) -> list[tuple[str, list[int]]]:
            found = self.wait(self.spool.overdue(now, limit))
            return [(each.queueId, [one.number for one in each.recipients]) for each in found]

        self.assertEqual(overdue(99), [])
        self.assertEqual(overdue(100), [("A", [1])])
        self.assertEqual(overdue(250), [("A", [1]), ("B", [0])])
        self.assertEqual(overdue(300), [("A", [1, 0]), ("B", [0])])
        self.assertEqual(overdue(300, 2), [("A", [1]), ("B", [0])])

    def test_destinations(self) -> None:
        """All that is waited for, with what is known of it; names are what they are."""
        names = ["far.test", "Far.test", "", "[::1]:25", LOCAL, "é", "a" * 500, "far.test "]
        self.put(
            *(
                self.recipient("a@far.test", number, destination=name, nextAttempt=number)
                for number, name in enumerate(names)
            )
        )
        self.put(self.recipient("a@far.test", destination="far.test", nextAttempt=7), priority=7)
        self.wait(self.spool.postpone("far.test", 55, 2, "no é"))
        self.wait(self.spool.postpone("not waited for", 55, 2, "no"))
        self.assertEqual(
            self.states(),
            {name: DestinationState(name, number) for number, name in enumerate(names)}
            | {"far.test": DestinationState("far.test", 0, 55, 2, "no é")},
        )

    def test_postpone(self) -> None:
        """The last word counts; 0 failures means that it can be reached."""
        self.put("a@far.test")
        for retryAt, failures, reply in ((50, 1, "a"), (70, 2, "b"), (60, 3, "")):
            self.wait(self.spool.postpone("far.test", retryAt, failures, reply))
            self.assertEqual(
                self.states()["far.test"],
                DestinationState("far.test", 100, retryAt, failures, reply),
            )
        self.wait(self.spool.postpone("far.test", 0, 0, ""))
        self.assertEqual(self.states()["far.test"], DestinationState("far.test", 100))
        self.wait(self.spool.postpone("far.test", 0, 0, ""))

    def test_place(self) -> None:
        """Copies out of the spool: as those that were made at once, and final in the same step."""
        self.addAccount("bob")
        data = b"Subject: x\r\n\r\n" + b"large " * 100_000
        message = self.put(
            *("alice@example.test", "bob@example.test", "x@far.test"),
            prefix=b"P: 1\r\n",
            data=data,
        )
        results = self.wait(
            self.spool.place(
                message.spoolId,
                [(0, self.placement("alice", b"To: a\r\n")), (1, self.placement("bob", b""))],
                555,
            )
        )
        self.assertEqual(list(results), [None, None])
        # What is in front of it elsewhere is no part of a copy.
        self.assertTrue(self.inbox("alice") == [b"To: a\r\n" + data])
        self.assertTrue(self.inbox("bob") == [data])
        rows = self.fetch(self.mailbox("INBOX"), Attribute.INTERNAL_DATE, Attribute.SUBJECT)
        self.assertEqual(rows[0][1:], (555, "x"))
        self.assertEqual(self.all()[0].recipients, message.recipients[2:])
        self.assertSound()
        # Not twice.
        again = self.wait(self.spool.place(message.spoolId, [(0, self.placement("alice"))], 555))
        self.assertEqual((list(again), len(self.inbox("alice"))), ([None], 1))
        self.wait(self.spool.place(message.spoolId, [(2, self.placement("alice"))], 555))
        self.assertEqual((self.all(), len(self.inbox("alice"))), ([], 2))
        self.assertFails(self.spool.place(message.spoolId, [], 555), MessageExpunged)
        self.assertSound()

    def test_placeTold(self) -> None:
        """
        Who has its copy and whose sender is to be told waits for that, in the same step, under
        another number; who has none goes on waiting for it.
        """
        self.addAccount("bob")
        self.limit("bob", 0)
        message = self.put("x@far.test", "alice@example.test", "bob@example.test")
        placements = [(1, self.placement("alice")), (2, self.placement("bob"))]
        for _ in range(2):
            results = self.wait(self.spool.place(message.spoolId, placements, 555, (1, 2)))
            self.assertEqual([type(each) for each in results], [type(None), OverQuota])
            self.assertEqual(len(self.inbox("alice")), 1)
            self.assertEqual(
                sorted(self.all()[0].recipients),
                sorted(
                    (
                        message.recipients[0],
                        message.recipients[2],
                        message.recipients[1]._replace(
                            number=3, destination=DELIVERED, nextAttempt=555, checkAt=NEVER
                        ),
                    )
                ),
            )
        self.assertEqual(self.due(DELIVERED, 554), [])
        self.assertEqual(self.due(DELIVERED, 555), [("Q1", [3])])
        # What was said of the old number says nothing of it.
        self.wait(self.spool.settle([Outcome(message.spoolId, 1, True)]))
        self.assertEqual(self.due(DELIVERED, 555), [("Q1", [3])])
        self.assertEqual(
            [each.recipients for each in self.wait(self.spool.overdue(1 << 40, 10))],
            [(message.recipients[0], message.recipients[2])],
        )
        self.assertSound()
        self.wait(self.spool.settle([Outcome(message.spoolId, n, True) for n in (0, 2, 3)]))
        self.assertEqual(self.all(), [])
        self.assertSound()

    def test_placeThread(self) -> None:
        """A copy out of the spool belongs to the thread that its header says (RFC 8474)."""
        self.deliver(b"Message-ID: <0@far.test>\r\n\r\n")
        answer = b"Message-ID: <1@far.test>\r\nIn-Reply-To: <0@far.test>\r\n\r\n"
        message = self.put("alice@example.test", data=answer)
        self.wait(self.spool.place(message.spoolId, [(0, self.placement())], 1))
        rows = self.fetch(self.mailbox("INBOX"), Attribute.THREAD_ID)
        self.assertEqual(rows[0][1], rows[1][1])

    def test_placeFails(self) -> None:
        """Who can't have a copy goes on waiting; the others have theirs."""
        self.addAccount("bob")
        self.limit("bob", 0)
        message = self.put("bob@example.test", "alice@example.test", "gone@example.test")
        results = self.wait(
            self.spool.place(
                message.spoolId,
                [
                    *((0, self.placement("bob")), (1, self.placement("alice"))),
                    (2, Placement("nobody", "INBOX")),
                ],
                555,
            )
        )
        self.assertEqual([type(each) for each in results], [OverQuota, type(None), NoSuchAccount])
        self.assertEqual([each.number for each in self.all()[0].recipients], [0, 2])
        self.assertEqual(len(self.inbox("alice")), 1)
        self.assertSound()

    # --- operators -----------------------------------------------------------------------------

    def test_select(self) -> None:
        """The oldest first, from where one left off, with all recipients that wait."""
        for number in range(7):
            self.put("a@far.test", "b@other.test", queueId=f"Q{number}")
        seen: list[str] = []
        after = 0
        while some := self.wait(self.spool.select(ALL, 3, after)):
            self.assertLessEqual(len(some), 3)
            self.assertEqual({len(each.recipients) for each in some}, {2})
            seen += [each.queueId for each in some]
            after = some[-1].spoolId
        self.assertEqual(seen, [f"Q{number}" for number in range(7)])

    def test_filters(self) -> None:
        """What an operator means: all that is given must hold."""
        self.put("Bob@far.test", "x@other.test", queueId="A", arrived=10)
        self.put("eve@far.test", queueId="B", reversePath=None, arrived=20, held=True)
        self.put(
            *("bob@OTHER.test", 'É"@far.test'[:1] + "@far.test"),
            queueId="C",
            reversePath=Address("Élise", "near.test"),
            arrived=30,
        )
        self.put("a@far.test", queueId="D", reversePath=Address("", "empty.test"), arrived=40)
        for wanted, expected in (
            (QueueFilter(), "ABCD"),
            (QueueFilter(("A", "C", "nowhere")), "AC"),
            (QueueFilter(sender="sender@near.test"), "A"),
            (QueueFilter(sender="SENDER@Near.Test"), "A"),
            (QueueFilter(sender="élise@near.test"), "C"),
            (QueueFilter(sender=""), "B"),
            (QueueFilter(sender="near.test"), "AC"),
            (QueueFilter(sender="NEAR.test"), "AC"),
            (QueueFilter(sender="other.test"), ""),
            (QueueFilter(recipient="bob@far.test"), "A"),
            (QueueFilter(recipient="BOB@FAR.test"), "A"),
            (QueueFilter(recipient="bob@other.test"), "C"),
            (QueueFilter(recipient="é@far.test"), "C"),
            (QueueFilter(recipient="nobody@far.test"), ""),
            (QueueFilter(domain="far.test"), "ABCD"),
            (QueueFilter(domain="Other.Test"), "AC"),
            (QueueFilter(arrivedBefore=30), "AB"),
            (QueueFilter(held=True), "B"),
            (QueueFilter(held=False), "ACD"),
            (QueueFilter(domain="far.test", arrivedBefore=30, held=False), "A"),
            (QueueFilter(("B", "C"), sender="near.test"), "C"),
        ):
            self.assertEqual("".join(self.ids(wanted)), expected, wanted)
            counted = self.wait(self.spool.hold(wanted, True))
            self.assertEqual(counted, len(expected.replace("B", "")), wanted)
            self.wait(self.spool.hold(ALL, False))
            self.wait(self.spool.hold(QueueFilter(("B",)), True))
        (message,) = self.all(QueueFilter(("A",)))
        # Only of those that still wait.
        self.wait(self.spool.settle([Outcome(message.spoolId, 0, True)]))
        self.assertEqual(self.ids(QueueFilter(recipient="bob@far.test")), [])
        self.assertEqual(self.ids(QueueFilter(domain="other.test")), ["A", "C"])

    def test_hold(self) -> None:
        """Held is held, also what is half delivered; released it is as it was."""
        message = self.put("a@far.test", "b@far.test")
        self.wait(self.spool.settle([Outcome(message.spoolId, 0, True)]))
        before = self.all()
        self.assertEqual(self.wait(self.spool.hold(ALL, True)), 1)
        self.assertEqual(self.wait(self.spool.hold(ALL, True)), 0)
        self.assertTrue(self.all()[0].held)
        self.assertEqual(self.due("far.test", 100), [])
        self.assertEqual(self.wait(self.spool.hold(ALL, False)), 1)
        self.assertEqual(self.wait(self.spool.hold(ALL, False)), 0)
        self.assertEqual(self.all(), before)
        self.assertEqual(self.due("far.test", 100), [("Q1", [1])])
        self.assertSound()

    def test_retry(self) -> None:
        """Due at once, and their destinations may be tried; others aren't touched."""
        self.seconds = 2000
        self.put(
            self.recipient("a@far.test", 0, nextAttempt=5000, attempts=2),
            self.recipient("b@other.test", 1, nextAttempt=100),
            queueId="A",
        )
        self.put(self.recipient("a@third.test", nextAttempt=5000), queueId="B")
        for name in ("far.test", "other.test", "third.test"):
            self.wait(self.spool.postpone(name, 9000, 2, "no"))
        self.assertEqual(self.wait(self.spool.retry(QueueFilter(("A",)))), 1)
        first, second = self.all()
        self.assertEqual([each.nextAttempt for each in first.recipients], [2000, 100])
        self.assertEqual(first.recipients[0].attempts, 2)
        self.assertEqual(second.recipients[0].nextAttempt, 5000)
        states = self.states()
        self.assertEqual(
            {name: (state.retryAt, state.failures) for name, state in states.items()},
            {"far.test": (0, 0), "other.test": (0, 0), "third.test": (9000, 2)},
        )

    def test_delete(self) -> None:
        """Removed are messages with all that belongs to them; what they waited for is forgotten."""
        one = self.put("a@far.test", "b@other.test", queueId="A")
        self.put("a@far.test", queueId="B")
        for name in ("far.test", "other.test"):
            self.wait(self.spool.postpone(name, 9000, 2, "no"))
        self.assertEqual(self.wait(self.spool.delete(QueueFilter(("A",)))), 1)
        self.assertEqual(self.ids(ALL), ["B"])
        self.assertFails(self.spool.openContent(one.spoolId), MessageExpunged)
        self.put("b@other.test")
        states = self.states()
        self.assertEqual((states["far.test"].failures, states["other.test"].failures), (2, 0))
        self.assertEqual(self.wait(self.spool.delete(ALL)), 2)
        self.assertEqual(self.wait(self.spool.delete(ALL)), 0)
        self.assertSound()

    def test_manyAtOnce(self) -> None:
        """What an operator does is done to however many there are."""
        content = self.stage()
        waiting = [
            start(self.spool.accept(content, [], 0, self.queued("a@far.test", queueId=f"Q{n}")))
            for n in range(1203)
        ]
        for each in waiting:
            self.wait(each)
        self.assertEqual(self.wait(self.spool.hold(ALL, True)), 1203)
        self.assertEqual(self.wait(self.spool.hold(ALL, False)), 1203)
        self.assertEqual(self.wait(self.spool.retry(ALL)), 1203)
        self.assertEqual(self.wait(self.spool.reroute(lambda message, name: "b.test")), 1203)
        self.assertEqual(self.wait(self.spool.delete(ALL)), 1203)
        self.assertSound()

    def test_counts(self) -> None:
        """The queue in numbers."""
        self.assertEqual(self.wait(self.spool.counts()), QueueCounts(0, 0, 0, {}, 0, None))
        self.put("a@far.test", "b@far.test", "c@other.test", arrived=50, prefix=b"P: 1\r\n")
        self.put("a@far.test", arrived=30, held=True)
        self.put(self.recipient("a@far.test", attempts=3), arrived=40)
        found = self.wait(self.spool.counts())
        self.assertEqual(
            found._replace(recipients=dict(found.recipients)),
            QueueCounts(3, 1, 3 * len(DATA) + 6, {"far.test": 4, "other.test": 1}, 1, 30),
        )

    def test_reroute(self) -> None:
        """Recipients have the destination that is said now, and all else as it was."""
        message = self.put(
            *("a@far.test", "b@other.test", self.recipient("c@far.test", 2, attempts=4)),
            priority=3,
        )
        self.put("a@far.test", held=True, queueId="H")
        asked: list[tuple[str, int, str]] = []

        def route(queued: QueuedMessage, destination: str) -> str:
            (recipient,) = queued.recipients
            asked.append((queued.queueId, recipient.number, destination))
            return "smart.test" if recipient.address.domain == "far.test" else destination

        self.assertEqual(self.wait(self.spool.reroute(route)), 3)
        self.assertEqual(
            sorted(asked),
            [
                *(("H", 0, "far.test"), ("Q1", 0, "far.test")),
                *(("Q1", 1, "other.test"), ("Q1", 2, "far.test")),
            ],
        )
        found, held = self.all()
        self.assertEqual(
            found.recipients,
            tuple(
                each._replace(destination=name)
                for each, name in zip(
                    message.recipients, ("smart.test", "other.test", "smart.test"), strict=True
                )
            ),
        )
        self.assertEqual(held.recipients[0].destination, "smart.test")
        self.assertEqual(self.due("smart.test", 100), [("Q1", [0, 2])])
        self.assertEqual(self.wait(self.spool.reroute(route)), 0)
        self.assertSound()

    # --- being told, and being the one -----------------------------------------------------------

    def watched(self) -> tuple[list[set[str] | None], Callable[[], None]]:
        """
        @return: what a watcher was told, and how to stop it.
        """
        told: list[set[str] | None] = []

        def changed(names: Collection[str] | None) -> None:
            told.append(None if names is None else set(names))

        return told, self.spool.watch(changed)

    def test_watch(self) -> None:
        """Told are the destinations that have new recipients, and changes by operators."""
        told, stop = self.watched()
        self.addCleanup(stop)

        def changes() -> set[str] | None:
            found, told[:] = list(told), []
            self.assertTrue(found)
            if None in found:
                return None
            return {name for names in found if names is not None for name in names}

        self.put("a@far.test", "b@other.test")
        self.assertEqual(changes(), {"far.test", "other.test"})
        self.limit("alice", 0)
        waiting = self.recipient("alice@example.test", destination=LOCAL)
        self.accept(self.placement(), queued=self.queued(), fallbacks=[waiting])
        self.assertEqual(changes(), {LOCAL})
        for change in (
            lambda: self.spool.hold(ALL, True),
            lambda: self.spool.hold(ALL, False),
            lambda: self.spool.retry(ALL),
            lambda: self.spool.reroute(lambda message, name: "third.test"),
            lambda: self.spool.delete(ALL),
        ):
            self.wait(change())
            self.assertIsNone(changes())

    def test_watchTogether(self) -> None:
        """Nobody is overheard, however much happens at the same time."""
        told, stop = self.watched()
        self.addCleanup(stop)
        self.put("a@held.test", held=True)
        told.clear()
        content = self.stage()
        waiting: list[Any] = [
            start(self.spool.accept(content, [], 0, self.queued(f"a@d{number}.test")))
            for number in range(20)
        ]
        waiting.insert(10, start(self.spool.hold(ALL, False)))
        for each in waiting:
            self.wait(each)
        self.assertIn(None, told)
        names = {name for some in told if some is not None for name in some}
        self.assertEqual(names, {f"d{number}.test" for number in range(20)})

    def test_watchStops(self) -> None:
        """Who has stopped isn't told any more; stopping twice is nothing."""
        told, stop = self.watched()
        stop()
        stop()
        self.put("a@far.test")
        self.wait(self.spool.retry(ALL))
        self.assertEqual(told, [])

    def test_watcherFails(self) -> None:
        """A watcher that fails stops nobody."""

        def failing(names: Collection[str] | None) -> None:
            raise KeyError("defect")

        self.addCleanup(self.spool.watch(failing))
        told, stop = self.watched()
        self.addCleanup(stop)
        self.put("a@far.test")
        self.assertEqual(told, [{"far.test"}])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_lockQueue(self) -> None:
        """One takes mail out at a time."""
        release = self.spool.lockQueue()
        assert release is not None
        self.assertIsNone(self.spool.lockQueue())
        release()
        release()
        again = self.spool.lockQueue()
        assert again is not None
        # The first one's release is over.
        release()
        self.assertIsNone(self.spool.lockQueue())
        again()


class DurableSpoolContract(SpoolTestCase):
    """
    What is told to be done is there after the store was closed and opened again.
    """

    def test_everythingIsKept(self) -> None:
        """Messages, recipients, outcomes, and what is known of destinations."""
        self.put("a@far.test", "b@far.test", parameters={"RET": "HDRS"}, prefix=b"P: 1\r\n")
        self.put("c@other.test", held=True, data=b"large" * 120_000)
        first, second = self.all()
        self.wait(self.spool.settle([Outcome(first.spoolId, 0, True)]))
        self.wait(self.spool.settle([Outcome(first.spoolId, 1, False, "no", 300, 2)]))
        self.wait(self.spool.postpone("far.test", 70, 2, "no"))

        def everything() -> list[Any]:
            return [
                *(self.all(), self.states(), self.due("far.test", 1000)),
                *(self.content(first), self.content(second), self.wait(self.spool.counts())),
            ]

        before = everything()
        self.wait(self.store.stop())
        self.store = self.startStore()
        self.spool = self.spoolOf(self.store)
        self.assertEqual(everything(), before)
        self.assertGreater(self.put("a@far.test").spoolId, second.spoolId)
        self.assertSound()


class SharedSpoolContract(SpoolTestCase):
    """
    Several processes use one spool. A second object for the store stands in for the other process.
    """

    def setUp(self) -> None:
        """
        Another object for the same store.
        """
        super().setUp()
        self.elsewhere = self.startStore()
        self.theirs = self.spoolOf(self.elsewhere)

    def test_oneRuns(self) -> None:
        """One of them takes mail out; when it stops, another may."""
        release = self.spool.lockQueue()
        assert release is not None
        self.assertIsNone(self.theirs.lockQueue())
        release()
        other = self.theirs.lockQueue()
        assert other is not None
        self.assertIsNone(self.spool.lockQueue())
        other()

    def test_seenAtOnce(self) -> None:
        """What one did the other sees as soon as it is done."""
        message = self.put("a@far.test", "b@far.test")
        self.wait(self.theirs.settle([Outcome(message.spoolId, 0, True)]))
        self.assertEqual(self.due("far.test", 100), [("Q1", [1])])
        self.wait(self.theirs.delete(ALL))
        self.assertEqual(self.all(), [])

    def test_told(self) -> None:
        """Watchers here are told soon that something was done there."""
        told: list[Collection[str] | None] = []
        self.addCleanup(self.spool.watch(told.append))
        self.put("a@near.test")
        self.assertEqual(told, [{"near.test"}])
        for change in (
            lambda: self.theirs.postpone("far.test", 0, 1, "no"),
            lambda: self.theirs.hold(ALL, True),
            lambda: self.theirs.delete(ALL),
        ):
            told.clear()
            self.wait(change())
            self.waitUntil(lambda: None in told)
