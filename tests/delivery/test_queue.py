"""
The queue: what is sent when, over how many connections, and what becomes of what isn't taken.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.delivery.support import (
    BROKEN,
    LATER,
    NEVER,
    TAKEN,
    Network,
    QueueTestCase,
    RecordingNotifier,
)
from tests.smtp.support import TODAY, now
from twisted_mailstack.delivery.queue import (
    BROKEN as BROKEN_LIMIT,
)
from twisted_mailstack.delivery.queue import (
    FULL_AGAIN,
    LOAD,
    LOOK,
    MAX_RECIPIENTS,
    QUANTUM,
    SPOOL_AGAIN,
    UNSETTLED,
    QueueRunner,
)
from twisted_mailstack.errors import DestinationUnavailable, HostBusy, MailError, TemporaryFailure
from twisted_mailstack.model.queue import (
    DELIVERED,
    EXPANDED,
    AttemptResult,
    Outcome,
    QueuedMessage,
    QueuedRecipient,
    QueueFilter,
)

ALL = QueueFilter()


class SendingTests(QueueTestCase):
    """
    What gets through.
    """

    def test_sent(self) -> None:
        """What is accepted is sent at once, and leaves the spool."""
        self.start()
        self.pass_()
        one = self.queue("a@far.test")
        self.pass_()
        self.assertEqual(self.network.delivered, {(one, "a@far.test"): 1})
        self.assertEqual(self.waiting(), [])

    def test_waitedForUs(self) -> None:
        """What was in the spool when the server started is sent, too."""
        one = self.queue("a@far.test", "b@other.test")
        self.start()
        self.pass_()
        self.assertEqual(set(self.network.delivered), {(one, "a@far.test"), (one, "b@other.test")})
        self.assertEqual(self.waiting(), [])

    def test_together(self) -> None:
        """
        Recipients of one destination get a message in one transaction (RFC 5321 §2.1), those of
        another in one of their own; what is sent has the content's prefix and octets.
        """
        self.queue("a@far.test", "x@other.test", "b@far.test", "c@far.test")
        seen: list[bytes] = []

        def answer(message: QueuedMessage, recipient: QueuedRecipient) -> AttemptResult:
            content = now(self.spool.openContent(message.spoolId))
            seen.append(now(content.read(0, 40)))
            return TAKEN

        self.network.answer = answer
        self.start()
        self.pass_()
        self.assertEqual(
            sorted(
                (destination, [str(each.address) for each in message.recipients])
                for _, destination, message in self.network.attempts
            ),
            [
                ("far.test", ["a@far.test", "b@far.test", "c@far.test"]),
                ("other.test", ["x@other.test"]),
            ],
        )
        self.assertTrue(seen[0].startswith(b"Received: here\r\nSubject: x\r\n\r\n"))

    def test_manyRecipients(self) -> None:
        """No transaction has more recipients than every server takes (RFC 5321 §4.5.3.1.8)."""
        number = 3 * MAX_RECIPIENTS + 7
        one = self.queue(*(f"u{each}@far.test" for each in range(number)))
        self.start()
        self.pass_(3)
        sizes = [len(message.recipients) for _, _, message in self.network.attempts]
        self.assertEqual(sum(sizes), number)
        self.assertLessEqual(max(sizes), MAX_RECIPIENTS)
        self.assertLessEqual(len(sizes), 5)
        self.assertEqual(
            self.network.delivered,
            Counter({(one, f"u{each}@far.test"): 1 for each in range(number)}),
        )

    def test_priority(self) -> None:
        """The higher priority goes first (RFC 6710 §4.1), within one the older."""
        low = self.queue("a@far.test", priority=-4)
        self.clock.advance(1)
        first, second = self.queue("a@far.test"), None
        self.clock.advance(1)
        high = self.queue("a@far.test", priority=6)
        second = self.queue("a@far.test")
        self.start()
        self.pass_()
        self.assertEqual(
            [message.queueId for _, _, message in self.network.attempts],
            [high, first, second, low],
        )

    def test_notBefore(self) -> None:
        """What is to wait (RFC 4865) isn't tried before, and nothing is connected for it."""
        self.start()
        self.queue("a@far.test", nextAttempt=TODAY + 100)
        self.pass_(99)
        self.assertEqual(self.network.connects, [])
        self.pass_(1)
        self.assertEqual([at for at, *_ in self.network.attempts], [100.0])
        self.assertEqual(self.waiting(), [])

    def test_numbers(self) -> None:
        """It counts what it did."""
        answers = {"a": TAKEN, "b": LATER, "c": NEVER}
        self.network.answer = lambda message, each: answers[each.address.localPart]
        runner = self.start()
        self.queue("a@far.test", "b@far.test", "c@far.test", "a@far.test")
        self.pass_()
        self.assertEqual(
            (runner.attempts, runner.delivered, runner.deferred, runner.failed), (1, 2, 1, 1)
        )


class ConnectionTests(QueueTestCase):
    """
    How many connections there are, and for how long.
    """

    def test_reuse(self) -> None:
        """One message after the other goes over a connection."""
        for _ in range(30):
            self.queue("a@far.test")
        self.start(firstPerDestination=1, maxPerDestination=1)
        self.pass_()
        self.assertEqual(len(self.network.connects), 1)
        self.assertEqual(sum(self.network.delivered.values()), 30)

    def test_linger(self) -> None:
        """A connection waits a while for the next message, then is closed politely."""
        self.start(linger=2.0)
        self.queue("a@far.test")
        self.pass_()
        (connection,) = self.network.connections
        self.pass_(1.5, 0.5)
        self.queue("a@far.test")
        self.pass_()
        self.assertEqual((connection.sent, connection.closed), (2, False))
        self.pass_(2.5, 0.5)
        self.assertTrue(connection.closed)
        self.queue("a@far.test")
        self.pass_()
        self.assertEqual(len(self.network.connections), 2)

    def test_messagesPerConnection(self) -> None:
        """After so many messages a new one is made."""
        for _ in range(25):
            self.queue("a@far.test")
        self.start(messagesPerConnection=10, maxPerDestination=1)
        self.pass_()
        self.assertEqual([each.sent for each in self.network.connections], [10, 10, 5])

    def test_notForThatMessage(self) -> None:
        """A message that a connection can't be used for gets another one (RFC 8689 §4.2.1)."""
        for demand in ({}, {"REQUIRETLS": None}, {}):
            self.queue("a@far.test", mail=demand)
        made = self.network.connections

        def accepts(message: QueuedMessage) -> bool:
            return "REQUIRETLS" not in message.parameters or len(made) > 1

        self.network.accepts = accepts
        self.start(maxPerDestination=1)
        self.pass_()
        self.assertEqual([each.sent for each in made], [1, 2])
        self.assertTrue(made[0].closed)
        self.assertEqual(self.waiting(), [])

    def test_oneAtFirst(self) -> None:
        """One connection finds out whether a destination answers, whatever waits for it."""
        for _ in range(50):
            self.queue("a@far.test")
        self.network.connecting["far.test"] = 10.0
        self.network.sending["far.test"] = 1.0
        self.start(firstPerDestination=4)
        self.pass_(10)
        self.assertEqual(self.network.most["far.test"], 1)
        self.pass_(1)
        # It has got a message through: now there are more.
        self.assertEqual(self.network.open["far.test"], 4)

    def test_grows(self) -> None:
        """While messages get through there are more and more connections, up to a limit."""
        for _ in range(500):
            self.queue("a@far.test")
        self.network.sending["far.test"] = 1.0
        self.start(firstPerDestination=2, maxPerDestination=7)
        self.pass_(3)
        self.assertLess(self.network.most["far.test"], 7)
        self.pass_(60)
        self.assertEqual(self.network.most["far.test"], 7)
        self.pass_(30)
        self.assertEqual(self.waiting(), [])

    def test_fewerWhenRefused(self) -> None:
        """
        A host that refuses the third connection at a time gets two; its mail goes through them, and
        it does not count as unreachable.
        """
        for _ in range(100):
            self.queue("a@far.test")
        network = self.network
        network.sending["far.test"] = 1.0
        connect = network.connect

        async def connectTwo(destination: str, message: QueuedMessage) -> Any:
            if network.open[destination] >= 2:
                network.connects.append((self.clock.seconds(), destination))
                raise DestinationUnavailable("too many connections", smtpCode=421)
            return await connect(destination, message)

        self.patch(network, "connect", connectTwo)
        self.start()
        self.pass_(60)
        self.assertEqual(self.waiting(), [])
        self.assertEqual(network.most["far.test"], 2)
        # It is tried again now and then whether more are allowed, not with each message.
        self.assertLess(len(network.connects), 12)

    def test_fewerWhenBusy(self) -> None:
        """
        A destination whose host has no more connections for it goes on with those that it has, and
        finds out now and then whether there may be more, not with each message.
        """
        for _ in range(200):
            self.queue("a@far.test")
        network = self.network
        network.sending["far.test"] = 1.0
        connect, limits = network.connect, [2]

        async def connectSome(destination: str, message: QueuedMessage) -> Any:
            if network.open[destination] >= limits[0]:
                network.connects.append((self.clock.seconds(), destination))
                raise HostBusy("busy", Deferred())
            return await connect(destination, message)

        self.patch(network, "connect", connectSome)
        self.start()
        self.pass_(50)
        self.assertEqual(network.most["far.test"], 2)
        self.assertEqual(sum(network.delivered.values()), 99)
        self.assertLess(len(network.connects), 12)
        limits[0] = 10
        self.pass_(FULL_AGAIN + 5)
        self.assertGreater(network.most["far.test"], 2)
        self.pass_(50)
        self.assertEqual(self.waiting(), [])

    def test_inAll(self) -> None:
        """There are never more connections than allowed in all."""
        for number in range(40):
            for _ in range(5):
                self.queue(f"a@d{number}.test")
        self.network.sending["*"] = self.network.connecting["*"] = 1.0
        runner = self.start(maxConnections=10)
        for _ in range(100):
            self.pass_(1)
            self.assertLessEqual(runner.connections, 10)
        self.assertEqual(self.waiting(), [])


class UnreachableTests(QueueTestCase):
    """
    Destinations that can't be reached: it is they that wait, not each message (RFC 5321 §4.5.4.1).
    """

    def test_postponed(self) -> None:
        """However many messages wait, a destination is tried once, then later and later."""
        for _ in range(300):
            self.queue("a@far.test")
        self.takeDown()
        self.start(delays=[60, 300, 600])
        self.pass_(3000, 30.0)
        self.assertEqual(self.network.connected("far.test"), [0, 60, 360, 960, 1560, 2160, 2760])
        self.assertEqual(self.network.attempts, [])
        # No recipient has lost an attempt.
        self.assertEqual({self.recipient(queueId).attempts for queueId, _ in self.waiting()}, {0})

    def test_jitter(self) -> None:
        """The delays vary, so that what failed together isn't tried together for ever."""
        for number in range(20):
            self.queue(f"a@d{number}.test")
            self.takeDown(f"d{number}.test")
        self.start(jitter=0.2, delays=[1000])
        self.pass_(1250, 10.0)
        times = [self.network.connected(f"d{number}.test")[1] for number in range(20)]
        self.assertGreaterEqual(min(times), 800)
        self.assertLessEqual(max(times), 1210)
        self.assertGreater(len(set(times)), 5)

    def test_newMail(self) -> None:
        """New mail for such a destination, or much of it, does not make it be tried sooner."""
        self.takeDown()
        self.start(delays=[600])
        self.queue("a@far.test")
        self.pass_()
        for _ in range(300):
            self.queue("a@far.test")
            self.pass_(1)
        self.assertEqual(self.network.connected("far.test"), [0])

    def test_recovers(self) -> None:
        """When it can be reached again all that waits goes out, and its failures are forgotten."""
        for _ in range(20):
            self.queue("a@far.test")
        self.takeDown()
        self.start(delays=[60, 300])
        self.pass_(70)
        state = self.state("far.test")
        self.assertEqual((state.failures, state.retryAt), (2, TODAY + 360))
        self.assertIn("connection refused", state.lastReply)
        del self.network.down["far.test"]
        self.network.answer = lambda message, each: LATER if message.queueId == "Q1" else TAKEN
        self.pass_(300)
        self.assertEqual(self.waiting(), [("Q1", "a@far.test")])
        state = self.state("far.test")
        self.assertEqual((state.failures, state.retryAt, state.lastReply), (0, 0, ""))

    def test_kept(self) -> None:
        """It is known after a restart, too."""
        self.queue("a@far.test")
        self.takeDown()
        first = self.start(delays=[60, 600])
        self.pass_(100)
        now(first.stop())
        self.start(delays=[60, 600])
        self.pass_(550)
        self.assertEqual(self.network.connected("far.test"), [0, 60])
        self.pass_(20)
        self.assertEqual(self.network.connected("far.test"), [0, 60, 660])

    def test_operator(self) -> None:
        """An operator has it tried at once; it is not put off by what was known."""
        self.queue("a@far.test")
        self.takeDown()
        self.start(delays=[600, 6000])
        self.pass_(10)
        self.assertEqual(now(self.spool.retry(ALL)), 1)
        self.pass_()
        self.assertEqual(self.network.connected("far.test"), [0, 10])
        self.pass_(20)
        del self.network.down["far.test"]
        now(self.spool.retry(ALL))
        self.pass_()
        self.assertEqual(self.waiting(), [])

    def test_nothingWaitsAnyMore(self) -> None:
        """When the last message for it is gone, what was known of it is, too."""
        self.queue("a@far.test")
        self.takeDown()
        self.start(delays=[600])
        self.pass_(10)
        now(self.spool.delete(ALL))
        self.pass_(700)
        self.assertEqual(self.network.connected("far.test"), [0])
        del self.network.down["far.test"]
        self.queue("a@far.test")
        self.assertEqual(self.state("far.test").failures, 0)
        self.pass_()
        self.assertEqual(self.waiting(), [])

    def test_permanently(self) -> None:
        """A domain that takes no mail at all (RFC 7505) ends its recipients at once."""
        self.network.down["far.test"] = MailError("no mail", smtpCode=556, enhancedStatus="5.1.10")
        one, two = self.queue("a@far.test", "b@far.test"), self.queue("a@far.test")
        self.start()
        self.pass_()
        self.assertEqual(self.waiting(), [])
        self.assertEqual(
            self.notifier.told,
            [
                *((one, "failed", "a@far.test"), (one, "failed", "b@far.test")),
                (two, "failed", "a@far.test"),
            ],
        )
        self.assertEqual(self.notifier.reports[0].result.enhancedStatus, "5.1.10")

    def test_onlyThatMessage(self) -> None:
        """A temporary problem of one message (as with a TLS demand) makes that one wait alone."""
        problem = MailError("no TLS", smtpCode=450, enhancedStatus="4.7.10")
        connect = self.network.connect

        async def connectSome(destination: str, message: QueuedMessage) -> Any:
            if message.parameters:
                raise problem
            return await connect(destination, message)

        self.patch(self.network, "connect", connectSome)
        demanding = self.queue("a@far.test", mail={"REQUIRETLS": None})
        self.queue("a@far.test")
        self.start()
        self.pass_()
        self.assertEqual(self.waiting(), [(demanding, "a@far.test")])
        self.assertEqual(self.recipient(demanding).attempts, 1)
        self.assertEqual(self.state("far.test").failures, 0)

    def test_broken(self) -> None:
        """
        A host that takes connections and drops each before anything gets through counts as one
        that can't be reached, after a few; so its queue isn't worked off in vain.
        """
        for _ in range(100):
            self.queue("a@far.test")
        self.network.answer = lambda message, each: BROKEN
        self.start(delays=[60, 6000])
        self.pass_(10)
        self.assertEqual(len(self.network.attempts), BROKEN_LIMIT)
        state = self.state("far.test")
        self.assertEqual((state.failures, state.retryAt), (1, TODAY + 60))
        self.assertIn("It closed the connection", state.lastReply)
        self.pass_(60)
        # Later and later, though it could be connected to.
        self.assertEqual(len(self.network.attempts), 2 * BROKEN_LIMIT)
        self.assertEqual(self.state("far.test").failures, 2)
        self.network.answer = lambda message, each: TAKEN
        self.pass_(7000, 10.0)
        self.assertEqual(self.waiting(), [])

    def test_brokenNowAndThen(self) -> None:
        """One that breaks now and then is still used."""
        for _ in range(30):
            self.queue("a@far.test")
        self.network.answer = lambda message, each: (
            BROKEN if len(self.network.attempts) % 3 == 0 else TAKEN
        )
        self.start(delays=[60])
        self.pass_(50)
        self.assertEqual(len(self.network.attempts), 30)
        self.assertEqual(self.state("far.test").failures, 0)
        self.network.answer = lambda message, each: TAKEN
        self.pass_(20)
        self.assertEqual(self.waiting(), [])


class FairnessTests(QueueTestCase):
    """
    Nobody waits for others.
    """

    def test_dead(self) -> None:
        """A dead domain with many messages delays nobody."""
        self.takeDown("dead.test")
        self.network.connecting["dead.test"] = 30.0
        for _ in range(2000):
            self.queue("a@dead.test")
        for number in range(20):
            self.queue(f"a@d{number}.test")
        self.start(maxConnections=2)
        self.pass_()
        self.assertEqual(sum(self.network.delivered.values()), 20)

    def test_busy(self) -> None:
        """A busy domain gives its turn away after some messages, if others wait."""
        for _ in range(1000):
            self.queue("a@busy.test")
        self.network.sending["*"] = 1.0
        self.start(maxConnections=3, maxPerDestination=3, firstPerDestination=3)
        self.pass_(5)
        self.assertEqual(self.network.open["busy.test"], 3)
        for number in range(5):
            self.queue(f"a@d{number}.test")
        self.pass_(QUANTUM + 5)
        self.assertEqual(
            sum(1 for _, address in self.network.delivered if "busy" not in address), 5
        )
        before = len(self.network.attempts)
        self.pass_(10)
        # And goes on.
        self.assertGreaterEqual(len(self.network.attempts) - before, 25)

    def test_manyBusy(self) -> None:
        """Of many busy domains each gets about the same."""
        for _ in range(200):
            for number in range(6):
                self.queue(f"a@d{number}.test")
        self.network.sending["*"] = 1.0
        self.start(maxConnections=3)
        self.pass_(6 * QUANTUM * 3)
        sent = Counter(destination for _, destination, _ in self.network.attempts)
        self.assertEqual(len(sent), 6)
        self.assertLessEqual(max(sent.values()) - min(sent.values()), 2 * QUANTUM)

    def test_manyHanging(self) -> None:
        """
        Many domains that could not be reached, each of which keeps a connection busy for minutes
        when it is tried, leave the most of the connections to the others.
        """
        for number in range(100):
            self.queue(f"a@dead{number}.test")
            self.takeDown(f"dead{number}.test")
        self.start(maxConnections=8, delays=[60])
        self.pass_(10)
        for number in range(100):
            self.network.connecting[f"dead{number}.test"] = 1000.0
        self.pass_(60)
        for number in range(50):
            self.queue(f"a@d{number}.test")
        self.network.sending["*"] = 1.0
        self.pass_(20)
        self.assertEqual(sum(self.network.delivered.values()), 50)

    def test_manyRecover(self) -> None:
        """
        Those of them that can be reached again don't count among them any more, however much they
        have to send.
        """
        for number in range(8):
            for _ in range(100):
                self.queue(f"a@dead{number}.test")
            self.takeDown(f"dead{number}.test")
        self.start(maxConnections=8, delays=[60], maxPerDestination=1)
        self.pass_(10)
        self.network.down.clear()
        self.network.sending["*"] = 1.0
        self.pass_(60)
        self.assertEqual(sum(self.network.open.values()), 8)

    def test_idleMakeRoom(self) -> None:
        """Connections that wait for the next message are closed when others want to connect."""
        self.start(maxConnections=2, linger=1000.0)
        for number in range(6):
            self.queue(f"a@d{number}.test")
            self.pass_()
        self.assertEqual(sum(self.network.delivered.values()), 6)

    def test_neverReached(self) -> None:
        """One that hangs for ever costs one connection."""
        self.network.connecting["hangs.test"] = None
        for _ in range(10):
            self.queue("a@hangs.test")
        self.start(maxConnections=2)
        for number in range(5):
            self.queue(f"a@d{number}.test")
        self.pass_(10)
        self.assertEqual(sum(self.network.delivered.values()), 5)
        self.assertEqual(self.network.open["hangs.test"], 1)


class DeferredTests(QueueTestCase):
    """
    Recipients that are answered temporarily.
    """

    def test_alone(self) -> None:
        """They wait alone; what the others were told is final."""
        answers = {"a": TAKEN, "b": LATER, "c": NEVER}
        self.network.answer = lambda message, each: answers[each.address.localPart]
        self.start(delays=[60])
        one = self.queue("a@far.test", "b@far.test", "c@far.test")
        self.pass_()
        self.assertEqual(self.waiting(), [(one, "b@far.test")])
        self.assertEqual(self.notifier.told, [(one, "failed", "c@far.test")])
        recipient = self.recipient(one, 1)
        self.assertEqual((recipient.attempts, recipient.nextAttempt), (1, TODAY + 60))
        self.assertEqual(recipient.lastReply, "mx.test said: 451 4.2.0 Not now")
        # Another message isn't kept back.
        two = self.queue("a@far.test")
        self.pass_()
        self.assertEqual(self.network.delivered[two, "a@far.test"], 1)

    def test_schedule(self) -> None:
        """They are tried again and again, less and less often."""
        self.network.answer = lambda message, each: LATER
        self.start(delays=[60, 300, 1000])
        self.queue("a@far.test")
        self.pass_(3400, 10.0)
        self.assertEqual([at for at, *_ in self.network.attempts], [0, 60, 360, 1360, 2360, 3360])

    def test_togetherAgain(self) -> None:
        """Those of one message that were put off together are tried together, with any jitter."""
        self.network.answer = lambda message, each: LATER
        self.start(delays=[1000], jitter=0.5)
        self.queue(*(f"u{number}@far.test" for number in range(10)))
        self.pass_(1600, 10.0)
        self.assertEqual(
            [len(message.recipients) for _, _, message in self.network.attempts][:2], [10, 10]
        )

    def test_greylisted(self) -> None:
        """Who says 4yz and then 2yz gets the message once."""
        answers = iter([LATER, LATER, TAKEN])
        self.network.answer = lambda message, each: next(answers)
        self.start()
        one = self.queue("a@far.test")
        self.pass_(1000, 10.0)
        self.assertEqual(self.network.delivered, {(one, "a@far.test"): 1})
        self.assertEqual((self.waiting(), self.notifier.told), ([], []))

    def test_lastAttempt(self) -> None:
        """The last attempt is when the message expires; what it says is what the sender is told."""
        self.network.answer = lambda message, each: LATER
        self.start(delays=[400])
        one = self.queue("a@far.test", lifetime=1000)
        self.pass_(1100, 10.0)
        self.assertEqual([at for at, *_ in self.network.attempts], [0, 400, 800, 1000])
        self.assertEqual(self.waiting(), [])
        self.assertEqual(self.notifier.told[-1], (one, "failed", "a@far.test"))
        self.assertEqual(self.notifier.reports[-1].result, LATER)

    def test_success(self) -> None:
        """
        Who wishes to know of success (RFC 3461 §5.2.2) is told, unless the next hop takes that
        over (§5.2.1): that it was relayed, if a host took it.
        """
        answers = iter([TAKEN, TAKEN._replace(notifies=True), TAKEN._replace(remote="")])
        self.network.answer = lambda message, each: next(answers)
        self.start()
        wish: dict[str, str | None] = {"NOTIFY": "SUCCESS"}
        first, _, third = (self.queue("a@far.test", parameters=wish) for _ in range(3))
        self.pass_()
        self.assertEqual(
            self.notifier.told,
            [(first, "relayed", "a@far.test"), (third, "delivered", "a@far.test")],
        )

    def test_deliverBy(self) -> None:
        """
        RFC 2852 §4.1.4: what is traced, and what goes to a host that won't tell of delays, makes a
        notification that it was relayed, once; whoever takes over the notifications. In the spool
        of an account it is delivered, and not relayed.
        """
        self.notifier.wants = lambda message, recipient, action: action == "traced"
        for by, taken, told in (
            ("120;NT", TAKEN._replace(notifies=True, heedsTime=True), ["relayed"]),
            ("120;N", TAKEN._replace(notifies=True), ["relayed"]),
            ("120;N", TAKEN._replace(heedsTime=True), []),
            ("120;RT", TAKEN._replace(notifies=True, heedsTime=True), ["relayed"]),
            ("120;R", TAKEN._replace(notifies=True, heedsTime=True), []),
            ("120;NT", TAKEN._replace(remote=""), []),
            (None, TAKEN, []),
        ):
            answer = taken
            self.network.answer = lambda message, each: answer  # noqa: B023
            self.notifier.told = []
            runner = self.start()
            mail: dict[str, str | None] = {} if by is None else {"BY": by}
            self.queue("a@far.test", mail=mail)
            self.pass_()
            self.assertEqual([action for _, action, _ in self.notifier.told], told, by)
            stopped = ensureDeferred(runner.stop())
            self.pass_(5)
            self.successResultOf(stopped)

    def test_arrived(self) -> None:
        """
        Whose copy is there, or was expanded, makes that notification and nothing else: at the time
        at which it got there, however late it is by now (RFC 2852), and with no line in the log
        that it was sent.
        """
        lines = self.capturedLines()
        self.network.answer = lambda message, each: TAKEN._replace(remote="")
        names = {DELIVERED: "delivered", EXPANDED: "expanded"}
        wish: dict[str, str | None] = {"NOTIFY": "SUCCESS"}
        for destination in names:
            self.queue(
                "a@here.test",
                destination=destination,
                parameters=wish,
                mail={"BY": "120;R"},
                expires=int(self.now()) - 10,
                nextAttempt=int(self.now()) - 200,
                warnAfter=1 << 40,
                lifetime=1 << 40,
            )
        runner = self.start()
        self.pass_(100, 10.0)
        self.assertEqual(
            [(each.action, each.at, each.result.code) for each in self.notifier.reports],
            [(action, TODAY - 200, 250) for action in names.values()],
        )
        self.assertEqual((self.waiting(), runner.delivered, runner.failed), ([], 0, 0))
        self.assertEqual([line for line in lines if ": sent: " in line], [])

    def test_arrivedAndExpired(self) -> None:
        """What arrived isn't told as failed, however late it is told at all."""
        self.network.answer = lambda message, each: LATER
        self.queue(
            "a@far.test",
            destination=DELIVERED,
            parameters={"NOTIFY": "SUCCESS"},
            expires=int(self.now()) + 10,
            lifetime=1 << 40,
            warnAfter=1 << 40,
        )
        self.start(delays=[60])
        self.pass_(200)
        self.assertEqual(self.notifier.told, [])
        self.assertEqual(len(self.network.attempts), 4)
        self.network.answer = lambda message, each: TAKEN._replace(remote="")
        self.pass_(60)
        self.assertEqual(self.notifier.told, [("Q1", "delivered", "a@far.test")])

    def test_nullPath(self) -> None:
        """
        What fails and nobody is told of, since it has the null reverse-path (RFC 5321 §4.5.5) and
        nobody is configured to want it, is in the log, whether it was refused or expired.
        """
        lines = self.capturedLines()
        self.notifier.wants = lambda message, recipient, action: False
        self.network.answer = lambda message, each: (
            NEVER if each.address.domain == "far.test" else LATER
        )
        self.start(delays=[400])
        one = self.queue("a@far.test", reversePath=None)
        other = self.queue("b@late.test", reversePath=None, lifetime=1000)
        self.pass_(1100, 10.0)
        self.assertEqual((self.waiting(), self.notifier.told), ([], []))
        for queueId, address, reply in ((one, "a@far.test", "550"), (other, "b@late.test", "451")):
            self.assertEqual(
                [
                    line
                    for line in lines
                    if line.startswith(f"{queueId}: failed: from=<> to=<{address}> ")
                    and reply in line
                ],
                [line for line in lines if line.startswith(f"{queueId}: failed: ")],
            )
            self.assertTrue([line for line in lines if line.startswith(f"{queueId}: failed: ")])

    def capturedLines(self) -> list[str]:
        """
        @return: what is logged from here on.
        """
        lines: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            lines.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        return lines


class OverdueTests(QueueTestCase):
    """
    What waits for long.
    """

    def test_warned(self) -> None:
        """The sender is told once that a message is delayed, and what was said of it last."""
        self.network.answer = lambda message, each: LATER
        self.start(delays=[600])
        one = self.queue("a@far.test", warnAfter=3600)
        self.pass_(3500, 10.0)
        self.assertEqual(self.notifier.told, [])
        self.pass_(200, 10.0)
        self.assertEqual(self.notifier.told, [(one, "delayed", "a@far.test")])
        self.assertEqual(self.notifier.reports[0].result, LATER)
        self.pass_(20_000, 10.0)
        self.assertEqual(len(self.notifier.told), 1)

    def test_warnedUnreachable(self) -> None:
        """Likewise when nobody could be reached."""
        self.takeDown()
        self.start(delays=[600])
        one = self.queue("a@far.test", warnAfter=3600)
        self.pass_(3700, 10.0)
        self.assertEqual(self.notifier.told, [(one, "delayed", "a@far.test")])
        self.assertEqual(
            self.notifier.reports[0].result,
            AttemptResult(451, "4.4.1", "connection refused"),
        )

    def test_notWarned(self) -> None:
        """Who doesn't wish to be told of delays isn't; of the failure they are."""

        def wants(message: QueuedMessage, recipient: QueuedRecipient, action: str) -> bool:
            return action == "failed"

        self.patch(self.notifier, "wants", wants)
        self.takeDown()
        self.start(delays=[600])
        one = self.queue("a@far.test", warnAfter=1000, lifetime=5000)
        self.pass_(6000, 10.0)
        self.assertEqual(self.notifier.told, [(one, "failed", "a@far.test")])

    def test_expired(self) -> None:
        """What expires while its destination can't be reached is given up, and nothing else."""
        self.takeDown()
        self.start(delays=[600])
        one = self.queue("a@far.test", "b@far.test", lifetime=3000, warnAfter=10**6)
        self.pass_(2000, 10.0)
        two = self.queue("a@far.test", lifetime=3000, warnAfter=10**6)
        self.pass_(1500, 10.0)
        self.assertEqual(self.waiting(), [(two, "a@far.test")])
        self.assertEqual(
            self.notifier.told, [(one, "failed", "a@far.test"), (one, "failed", "b@far.test")]
        )
        self.assertEqual(self.notifier.reports[0].result.text, "connection refused")

    def test_downForLong(self) -> None:
        """
        After the server itself was down till after its expiry, a message is tried once more before
        it is given up.
        """
        one = self.queue("a@far.test", lifetime=1000)
        two = self.queue("b@dead.test", lifetime=1000)
        self.takeDown("dead.test")
        self.clock.advance(100_000)
        self.start()
        self.pass_(LOOK + 1)
        self.assertEqual(self.network.delivered, {(one, "a@far.test"): 1})
        self.assertEqual(self.network.connected("dead.test"), [100_000])
        self.assertEqual(self.notifier.told, [(two, "failed", "b@dead.test")])
        self.assertEqual(self.waiting(), [])

    def test_expiredInAttempt(self) -> None:
        """
        What expires while it is found out that nobody can be reached is given up right then, the
        other messages that waited for that attempt, too; what an operator holds meanwhile isn't.
        """
        self.network.connecting["far.test"] = 130.0
        self.takeDown()
        for _ in range(3):
            self.queue("a@far.test", lifetime=100, warnAfter=10**6)
        self.start(delays=[3600])
        self.pass_(125)
        now(self.spool.hold(QueueFilter(("Q2",)), True))
        self.pass_(4)
        self.assertEqual(self.notifier.told, [])
        self.pass_(2)
        self.assertEqual(
            self.notifier.told, [("Q1", "failed", "a@far.test"), ("Q3", "failed", "a@far.test")]
        )
        self.assertEqual(self.notifier.reports[0].result.text, "connection refused")
        self.assertEqual(self.waiting(), [("Q2", "a@far.test")])
        self.assertEqual(self.network.connected("far.test"), [0])

    def test_expiredAndSettled(self) -> None:
        """
        Who was told of the attempt that a message expired in isn't told again, even if that ended
        while others' senders were told.
        """
        gate: Deferred[None] = Deferred()
        notify = self.notifier.notify

        async def slowly(message: QueuedMessage, *arguments: Any) -> None:
            if message.queueId == "Q1":
                await gate
            await notify(message, *arguments)

        self.patch(self.notifier, "notify", slowly)
        self.network.connecting["far.test"] = 25.0
        for domain in ("dead.test", "far.test"):
            self.takeDown(domain)
            self.queue(f"a@{domain}", lifetime=100)
        self.start(delays=[75])
        self.pass_(126)
        self.assertEqual(self.notifier.told, [("Q2", "failed", "a@far.test")])
        gate.callback(None)
        self.pass_(10)
        self.assertEqual(
            self.notifier.told, [("Q2", "failed", "a@far.test"), ("Q1", "failed", "a@dead.test")]
        )
        self.assertEqual(self.waiting(), [])

    def test_expiredInLine(self) -> None:
        """
        What expires while its destination, which could not be reached lately, waits for its turn is
        given up soon, too.
        """
        self.takeDown()
        self.queue("a@far.test", lifetime=1000, warnAfter=10**6)
        self.start(maxConnections=1, delays=[970])
        self.pass_(900)
        # Somebody else has the only connection.
        self.network.sending["busy.test"] = None
        self.queue("a@busy.test")
        self.pass_(90)
        self.assertEqual(self.notifier.told, [])
        self.pass_(10 + 3 * LOOK)
        self.assertEqual(self.notifier.told, [("Q1", "failed", "a@far.test")])
        self.assertEqual(self.network.connected("far.test"), [0])

    def test_expiredAndInTurn(self) -> None:
        """
        After a long pause of the server there is a long queue, all of it expired: whoever's turn
        comes late gets an attempt all the same.
        """
        for _ in range(30):
            self.queue("a@far.test", lifetime=1000)
        self.network.sending["far.test"] = 60.0
        self.clock.advance(100_000)
        self.start(maxPerDestination=1)
        self.pass_(30 * 60 + 10, 10.0)
        self.assertEqual(sum(self.network.delivered.values()), 30)
        self.assertEqual(self.notifier.told, [])

    def test_expiredWhileWarned(self) -> None:
        """An attempt at the time of a warning does not put off the time of expiry."""
        self.takeDown()
        self.network.connecting["far.test"] = 50.0
        self.queue("a@far.test", lifetime=100, warnAfter=10)
        self.start(delays=[3600])
        self.pass_(100 + 2 * LOOK)
        self.assertEqual(self.notifier.told, [("Q1", "failed", "a@far.test")])

    def test_manyAtOnce(self) -> None:
        """However many there are, all are looked at in one go; those being tried hide nobody."""
        self.network.sending["far.test"] = None
        for number in range(1300):
            self.queue(f"u{number}@far.test", lifetime=100)
        self.clock.advance(1)
        self.takeDown("dead.test")
        self.queue("a@dead.test", lifetime=100)
        self.start()
        self.pass_(10)
        self.pass_(200, 10.0)
        self.assertIn(("Q1301", "failed", "a@dead.test"), self.notifier.told)

    def test_mustNotBeLate(self) -> None:
        """What must not be late (RFC 2852 §4, by-mode R) is never tried after its time."""
        self.start()
        self.takeDown("dead.test")
        late = self.queue("a@far.test", mail={"BY": "100;R"}, lifetime=100)
        dead = self.queue("a@dead.test", mail={"BY": "100;R"}, lifetime=100)
        self.assertEqual(self.waiting(), [(late, "a@far.test"), (dead, "a@dead.test")])
        self.clock.advance(100)
        self.pass_(60)
        self.assertEqual(self.network.attempts, [])
        self.assertEqual(
            sorted(self.notifier.told),
            [(late, "failed", "a@far.test"), (dead, "failed", "a@dead.test")],
        )
        for report in self.notifier.reports:
            self.assertEqual(report.result.enhancedStatus, "5.4.7")

    def test_operatorMeanwhile(self) -> None:
        """While its sender is told that it expired a message isn't sent, whoever wants it so."""
        gate: Deferred[None] = Deferred()
        notify = self.notifier.notify

        async def slowly(*arguments: Any) -> None:
            await gate
            await notify(*arguments)

        self.patch(self.notifier, "notify", slowly)
        self.takeDown()
        self.queue("a@far.test", lifetime=100)
        self.start(delays=[1000])
        self.pass_(130)
        del self.network.down["far.test"]
        now(self.spool.retry(ALL))
        self.pass_(10)
        gate.callback(None)
        self.pass_(10)
        self.assertEqual((self.network.attempts, self.waiting()), ([], []))

    def test_oneCannotBeTold(self) -> None:
        """If one can't be looked at, the others are."""
        notify = self.notifier.notify

        async def some(message: QueuedMessage, *arguments: Any) -> None:
            if message.queueId == "Q1":
                raise TemporaryFailure()
            await notify(message, *arguments)

        self.patch(self.notifier, "notify", some)
        self.takeDown()
        for _ in range(3):
            self.queue("a@far.test", warnAfter=10)
        self.start(delays=[1000])
        self.pass_(40)
        self.assertEqual([queueId for queueId, *_ in self.notifier.told], ["Q2", "Q3"])
        self.assertTrue(self.flushLoggedErrors(TemporaryFailure))
        self.patch(self.notifier, "notify", notify)
        self.pass_(40)
        self.assertEqual([queueId for queueId, *_ in self.notifier.told], ["Q2", "Q3", "Q1"])

    def test_held(self) -> None:
        """What is held is neither told of, nor given up."""
        self.queue("a@far.test", held=True, lifetime=100)
        self.start()
        self.pass_(1000, 10.0)
        self.assertEqual(self.notifier.told, [])
        self.assertEqual(len(self.waiting()), 1)


class OperatorTests(QueueTestCase):
    """
    What operators do while the queue runs.
    """

    def test_held(self) -> None:
        """A held message isn't tried; when it is released it is, at once."""
        one = self.queue("a@far.test", held=True)
        self.start()
        self.pass_(100)
        self.assertEqual(self.network.connects, [])
        now(self.spool.hold(ALL, False))
        self.pass_()
        self.assertEqual(self.network.delivered, {(one, "a@far.test"): 1})

    def loaded(self) -> list[str]:
        """
        @return: the queue ids of messages that are loaded, behind one that is being sent.
        """
        self.network.sending["far.test"] = 100.0
        self.queue("a@far.test")
        some = [self.queue("a@far.test") for _ in range(3)]
        self.start()
        self.pass_(1)
        return some

    def test_holdLoaded(self) -> None:
        """It doesn't matter that a message was loaded already, as long as it isn't being sent."""
        held, other, _ = self.loaded()
        now(self.spool.hold(QueueFilter((held,)), True))
        self.pass_(500, 10.0)
        self.assertEqual(self.waiting(), [(held, "a@far.test")])
        self.assertEqual(self.network.delivered[other, "a@far.test"], 1)
        now(self.spool.hold(ALL, False))
        self.pass_(200, 10.0)
        self.assertEqual(self.waiting(), [])
        self.assertEqual(set(self.network.delivered.values()), {1})

    def test_deleteLoaded(self) -> None:
        """Likewise for one that is removed."""
        gone, other, _ = self.loaded()
        now(self.spool.delete(QueueFilter((gone,))))
        self.pass_(500, 10.0)
        self.assertEqual(self.waiting(), [])
        self.assertNotIn((gone, "a@far.test"), self.network.delivered)
        self.assertEqual(self.network.delivered[other, "a@far.test"], 1)

    def test_rerouteLoaded(self) -> None:
        """Likewise after a change of routes: it goes the new way."""
        self.loaded()
        now(self.spool.reroute(lambda message, destination: "other.test"))
        self.pass_(500, 10.0)
        self.assertEqual(self.waiting(), [])
        # The one that was being sent went the old way.
        self.assertEqual(
            [name for _, name, _ in self.network.attempts], ["far.test"] + ["other.test"] * 3
        )

    def test_deleteWhileSent(self) -> None:
        """One that is removed while it is being sent may get there, and stays removed."""
        self.network.sending["far.test"] = 10.0
        self.queue("a@far.test", "b@far.test")
        self.network.answer = lambda message, each: LATER
        self.start()
        self.pass_(5)
        now(self.spool.delete(ALL))
        self.pass_(100)
        self.assertEqual((self.waiting(), len(self.network.attempts)), ([], 1))
        self.assertEqual(self.notifier.told, [])

    def test_holdWhileSent(self) -> None:
        """One that is held while it is being sent waits afterwards, if it didn't get through."""
        self.network.sending["far.test"] = 10.0
        self.network.answer = lambda message, each: LATER
        self.queue("a@far.test")
        self.start(delays=[20])
        self.pass_(5)
        now(self.spool.hold(ALL, True))
        self.pass_(100)
        self.assertEqual((len(self.waiting()), len(self.network.attempts)), (1, 1))
        now(self.spool.hold(ALL, False))
        self.pass_(1)
        self.assertEqual(len(self.network.attempts), 2)

    def test_anotherProcess(self) -> None:
        """What another process put into the spool is found."""
        changed: list[Any] = []

        def watch(callback: Any) -> Any:
            changed.append(callback)
            return lambda: None

        self.patch(self.spool, "watch", watch)
        self.start()
        self.pass_()
        one = self.queue("a@far.test")
        self.pass_(100)
        self.assertEqual(self.network.attempts, [])
        changed[0](None)
        self.pass_()
        self.assertEqual(self.network.delivered, {(one, "a@far.test"): 1})


class TroubleTests(QueueTestCase):
    """
    Relays and spools that fail.
    """

    def test_connectRaises(self) -> None:
        """A relay that raises what it should not is one that can't be reached, and is logged."""
        self.network.down["far.test"] = KeyError("defect")
        self.queue("a@far.test")
        self.queue("a@other.test")
        self.start(delays=[60])
        self.pass_(50)
        self.assertEqual(self.network.connected("far.test"), [0])
        self.assertEqual(self.network.delivered, {("Q2", "a@other.test"): 1})
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        del self.network.down["far.test"]
        self.pass_(20)
        self.assertEqual(self.waiting(), [])

    def test_noRelay(self) -> None:
        """Likewise if there is no relay for it."""
        self.queue("a@far.test")
        runner = self.runner(delays=[60])

        def relayFor(destination: str) -> Network:
            raise LookupError(destination)

        self.patch(runner, "_relayFor", relayFor)
        runner.start()
        self.pass_(50)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        self.assertEqual(self.state("far.test").failures, 1)

    def test_sendRaises(self) -> None:
        """
        If sending raises, the recipients wait, and the connection isn't used any more: nobody
        knows in which state it is.
        """

        def answer(message: QueuedMessage, recipient: QueuedRecipient) -> AttemptResult:
            if message.queueId == "Q1":
                raise KeyError("defect")
            return TAKEN

        self.network.answer = answer
        one = self.queue("a@far.test")
        self.queue("a@far.test")
        self.start(delays=[60], maxPerDestination=1)
        self.pass_(1)
        self.assertEqual([each.sent for each in self.network.connections], [1, 1])
        self.assertEqual(self.waiting(), [(one, "a@far.test")])
        self.assertEqual(self.recipient(one).attempts, 1)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_tooFewResults(self) -> None:
        """A result that is missing is no delivery."""
        self.patch(self.network, "answer", lambda message, each: TAKEN)
        one = self.queue("a@far.test", "b@far.test")

        class Connection:
            def accepts(self, message: QueuedMessage) -> bool:
                return True

            async def send(self, message: QueuedMessage, content: Any) -> list[AttemptResult]:
                return [TAKEN]

            async def close(self) -> None:
                pass

        async def connect(destination: str, message: QueuedMessage) -> Any:
            return Connection()

        self.patch(self.network, "connect", connect)
        self.start(delays=[60])
        self.pass_(1)
        self.assertEqual(self.waiting(), [(one, "a@far.test"), (one, "b@far.test")])

    def test_closeRaises(self) -> None:
        """A connection that can't be closed properly is none any more."""
        runner = self.start(linger=1.0)
        self.queue("a@far.test")
        self.pass_()
        (connection,) = self.network.connections
        close = connection.close

        async def failing() -> None:
            await close()
            raise OSError("x")

        self.patch(connection, "close", failing)
        self.pass_(2)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual(runner.connections, 0)
        self.queue("a@far.test")
        self.pass_()
        self.assertEqual(self.waiting(), [])

    def failing(self, *names: str) -> list[str]:
        """
        Have some methods of the spool fail.

        @return: those that do; a test takes them out.
        """
        bad = list(names)
        for name in names:
            method = getattr(self.spool, name)

            async def call(*arguments: Any, name: str = name, method: Any = method) -> Any:
                if name in bad:
                    raise TemporaryFailure(name)
                return await method(*arguments)

            self.patch(self.spool, name, call)
        return bad

    def test_settleFails(self) -> None:
        """
        As long as a result can't be written its recipient isn't tried again, and what more is sent
        is bounded; when it can be written all goes on.
        """
        for _ in range(200):
            self.queue("a@far.test")
        bad = self.failing("settle")
        self.start(maxPerDestination=2, firstPerDestination=2)
        self.pass_(300)
        # What a crash now would have sent twice.
        self.assertLessEqual(len(self.network.attempts), 2 * (UNSETTLED + 1))
        bad.clear()
        self.pass_(2 * SPOOL_AGAIN)
        self.assertEqual(self.waiting(), [])
        self.assertEqual(set(self.network.delivered.values()), {1})
        self.assertTrue(self.flushLoggedErrors(TemporaryFailure))

    def test_notifyFails(self) -> None:
        """Likewise for one whose sender can't be told."""
        self.network.answer = lambda message, each: NEVER
        one = self.queue("a@far.test")
        self.notifier.problem = TemporaryFailure()
        self.start()
        self.pass_(100)
        self.assertEqual((len(self.network.attempts), len(self.waiting())), (1, 1))
        self.notifier.problem = None
        self.pass_(2 * SPOOL_AGAIN)
        self.assertEqual(self.notifier.told, [(one, "failed", "a@far.test")])
        self.assertEqual((len(self.network.attempts), len(self.waiting())), (1, 0))
        self.assertTrue(self.flushLoggedErrors(TemporaryFailure))

    def test_spoolFails(self) -> None:
        """Whatever the spool can't do, it is asked again, not all the time, and nothing is lost."""
        for names in (
            *(("due",), ("waiting",), ("openContent",), ("earliest",), ("destinations",)),
            *(("overdue",), ("postpone",), ("due", "earliest", "destinations", "waiting")),
        ):
            bad = self.failing(*names)
            calls = Counter(names)
            self.network.attempts.clear()
            runner = self.start(delays=[20])
            queueIds = [self.queue("a@far.test"), self.queue("b@other.test")]
            self.takeDown("other.test")
            self.pass_(60)
            self.assertLessEqual(len(self.network.attempts), 10, names)
            bad.clear()
            self.network.down.clear()
            self.pass_(120)
            self.assertEqual(self.waiting(), [], names)
            self.assertEqual(self.network.delivered[queueIds[0], "a@far.test"], 1, names)
            logged = self.flushLoggedErrors(TemporaryFailure)
            # Content that can't be read is one message's temporary failure.
            self.assertTrue(logged or names == ("openContent",), names)
            self.assertLessEqual(len(calls), 4)
            now(runner.stop())
            self.pass_()

    def test_beginningFails(self) -> None:
        """If it can't be read what waits when the server starts, it is read later."""
        one = self.queue("a@far.test")
        bad = self.failing("destinations")
        self.start()
        self.pass_(2 * LOOK)
        bad.clear()
        self.pass_(LOOK + 1)
        self.assertEqual(self.network.delivered, {(one, "a@far.test"): 1})
        self.assertEqual(len(self.flushLoggedErrors(TemporaryFailure)), 3)

    def test_lockFails(self) -> None:
        """If it can't be found out who runs the queue, that is tried again."""
        lockQueue = self.spool.lockQueue
        problems: list[Exception] = [OSError("locks"), OSError("locks")]

        def failing() -> Any:
            if problems:
                raise problems.pop()
            return lockQueue()

        self.patch(self.spool, "lockQueue", failing)
        self.queue("a@far.test")
        runner = self.runner()
        runner.start()
        self.pass_(3 * LOOK)
        self.assertTrue(runner.running)
        self.assertEqual(self.waiting(), [])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 2)

    def test_watcherWhileNoting(self) -> None:
        """
        A destination that is just found unreachable isn't taken for a reachable one because the
        spool doesn't know yet; what an operator changes there meanwhile counts.
        """
        gates: list[Deferred[None]] = []
        postpone = self.spool.postpone

        async def slowly(*arguments: Any) -> None:
            gate: Deferred[None] = Deferred()
            gates.append(gate)
            await gate
            await postpone(*arguments)

        self.patch(self.spool, "postpone", slowly)
        self.takeDown()
        self.queue("a@far.test")
        self.start(delays=[1000])
        self.pass_()
        now(self.spool.hold(self.other(), True))
        self.pass_(10)
        self.assertEqual(self.network.connected("far.test"), [0])
        gates.pop().callback(None)
        self.pass_(10)
        self.assertEqual(self.network.connected("far.test"), [0])
        now(self.spool.retry(ALL))
        self.pass_()
        self.assertEqual(self.network.connected("far.test"), [0, 20])
        gates.pop().callback(None)

    def other(self) -> QueueFilter:
        """
        @return: what means a message that nobody is interested in.
        """
        return QueueFilter((self.queue("a@other.test"),))


class OutdatedTests(QueueTestCase):
    """
    A spool whose answers take so long that they are outdated.
    """

    def slow(self, name: str) -> list[Deferred[None]]:
        """
        @return: fire one, and the answer that was found when that call began arrives.
        """
        gates: list[Deferred[None]] = []
        method = getattr(self.spool, name)

        async def slowly(*arguments: Any) -> Any:
            answer = await method(*arguments)
            gate: Deferred[None] = Deferred()
            gates.append(gate)
            await gate
            return answer

        self.patch(self.spool, name, slowly)
        return gates

    def test_nothingWaits(self) -> None:
        """A destination isn't forgotten if mail for it came while it was asked what waits."""
        self.queue("a@far.test")
        gates = self.slow("earliest")
        self.start(linger=0.0)
        self.pass_(1)
        self.assertEqual(len(gates), 1)
        # Nothing waits; now something does, for later.
        one = self.queue("a@far.test", nextAttempt=TODAY + 100)
        self.pass_(1)
        for _ in range(5):
            for gate in gates:
                if not gate.called:
                    gate.callback(None)
            self.pass_(1)
        self.pass_(100)
        self.assertEqual(self.network.delivered[one, "a@far.test"], 1)
        for gate in gates:
            if not gate.called:
                gate.callback(None)

    def test_due(self) -> None:
        """Who was put off while the spool was asked what is due isn't tried at once."""
        self.network.answer = lambda message, each: LATER
        self.queue("a@far.test")
        written: Deferred[None] = Deferred()
        settle = self.spool.settle

        async def slowly(outcomes: list[Outcome]) -> None:
            await written
            await settle(outcomes)

        self.patch(self.spool, "settle", slowly)
        gates = self.slow("due")
        self.start(delays=[1000])
        self.pass_(1)
        gates[0].callback(None)
        self.pass_(1)
        # It is asked what more there is, before the first result is written.
        self.assertEqual((len(gates), len(self.network.attempts)), (2, 1))
        written.callback(None)
        gates[1].callback(None)
        self.pass_(100)
        for gate in gates[2:]:
            gate.callback(None)
        self.assertEqual(len(self.network.attempts), 1)


class StopTests(QueueTestCase):
    """
    Starting and stopping.
    """

    def stop(self, runner: QueueRunner, patience: float = 5.0) -> Deferred[None]:
        """
        @return: fires when it has stopped.
        """
        return ensureDeferred(runner.stop(patience))

    def test_idle(self) -> None:
        """A queue that has nothing to do stops at once, and waits for no connection's next mail."""
        runner = self.start(linger=1000.0)
        self.queue("a@far.test")
        self.pass_()
        self.successResultOf(self.stop(runner))
        self.assertFalse(runner.running)

    def test_beforeAndAfter(self) -> None:
        """Stopping what hasn't started, or has stopped, does nothing; nor does starting twice."""
        runner = self.runner()
        self.successResultOf(self.stop(runner))
        runner.start()
        runner.start()
        self.queue("a@far.test")
        self.pass_()
        self.assertEqual(len(self.network.attempts), 1)
        self.successResultOf(self.stop(runner))
        self.successResultOf(self.stop(runner))

    def test_patience(self) -> None:
        """What is being sent may be finished, and what became of it is known at the next start."""
        for _ in range(5):
            self.queue("a@far.test")
        self.network.sending["far.test"] = 3.0
        runner = self.start(maxPerDestination=1)
        self.pass_(1)
        stopped = self.stop(runner)
        self.pass_(1)
        self.assertNoResult(stopped)
        self.pass_(1)
        self.successResultOf(stopped)
        self.assertEqual((len(self.network.attempts), len(self.waiting())), (1, 4))

    def test_cut(self) -> None:
        """What takes longer is cut, and waits in the spool as it was."""
        one = self.queue("a@far.test")
        two = self.queue("a@hangs.test")
        self.network.sending["far.test"] = self.network.connecting["hangs.test"] = None
        runner = self.start()
        self.pass_(1)
        stopped = self.stop(runner)
        self.pass_(4)
        self.assertNoResult(stopped)
        self.pass_(1)
        self.successResultOf(stopped)
        self.assertEqual(self.waiting(), [(one, "a@far.test"), (two, "a@hangs.test")])
        self.assertEqual(self.recipient(one).attempts, 0)

    def test_cutClosing(self) -> None:
        """A connection that hangs while it is closed is cut, too."""
        runner = self.start()
        self.queue("a@far.test")
        self.pass_()
        (connection,) = self.network.connections
        close = connection.close

        async def hanging() -> None:
            await close()
            await Deferred()

        self.patch(connection, "close", hanging)
        stopped = self.stop(runner)
        self.pass_(5)
        self.successResultOf(stopped)

    def test_resultsAreKept(self) -> None:
        """What is known is written, however long that takes: nothing would be sent twice."""
        gates: list[Deferred[None]] = []
        settle = self.spool.settle

        async def slowly(outcomes: list[Outcome]) -> None:
            gate: Deferred[None] = Deferred()
            gates.append(gate)
            await gate
            await settle(outcomes)

        self.patch(self.spool, "settle", slowly)
        self.queue("a@far.test")
        runner = self.start()
        self.pass_()
        stopped = self.stop(runner)
        self.pass_(60)
        self.assertNoResult(stopped)
        gates.pop().callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.waiting(), [])

    def test_resultsOnceMore(self) -> None:
        """What could not be written is tried once more when it stops, and is no reason to hang."""
        bad = True

        async def settle(outcomes: list[Outcome], settle: Any = self.spool.settle) -> None:
            if bad:
                raise TemporaryFailure()
            await settle(outcomes)

        self.patch(self.spool, "settle", settle)
        self.queue("a@far.test")
        runner = self.start()
        self.pass_(12)
        bad = False
        self.successResultOf(self.stop(runner))
        self.assertEqual(self.waiting(), [])
        bad = True
        self.queue("a@far.test")
        runner.start()
        self.pass_(12)
        self.successResultOf(self.stop(runner))
        self.assertEqual(len(self.waiting()), 1)
        self.assertTrue(self.flushLoggedErrors(TemporaryFailure))

    def test_again(self) -> None:
        """It can be started again, and does what it did before."""
        runner = self.start()
        for _ in range(3):
            for number in range(30):
                self.queue(f"a@d{number}.test")
            stopped = self.stop(runner)
            self.pass_()
            self.successResultOf(stopped)
            runner.start()
            self.pass_()
            self.assertEqual(self.waiting(), [])
        self.assertEqual(set(self.network.delivered.values()), {1})

    def test_whileItStops(self) -> None:
        """It can be started while it still stops, and then runs as before."""
        self.network.sending["far.test"] = 3.0
        runner = self.start()
        self.queue("a@far.test")
        self.pass_()
        stopped = self.stop(runner)
        runner.start()
        self.pass_(10)
        self.successResultOf(stopped)
        self.assertTrue(runner.running)
        self.queue("a@far.test")
        self.pass_(5)
        self.assertEqual(self.waiting(), [])
        self.assertEqual(set(self.network.delivered.values()), {1})

    def test_oneAtATime(self) -> None:
        """One process runs the queue of a spool; when it ends another takes over."""
        first, second = self.start(), self.start()
        self.assertEqual((first.running, second.running), (True, False))
        self.queue("a@far.test")
        self.pass_(2 * LOOK)
        self.assertEqual(second.attempts, 0)
        self.successResultOf(self.stop(first))
        one = self.queue("a@far.test")
        self.pass_(LOOK)
        self.assertTrue(second.running)
        self.assertEqual(self.network.delivered[one, "a@far.test"], 1)

    def test_nothingAfterwards(self) -> None:
        """What arrives when it has stopped waits."""
        runner = self.start()
        self.pass_()
        self.successResultOf(self.stop(runner))
        self.queue("a@far.test")
        self.pass_(100)
        self.assertEqual(self.network.connects, [])


class MemoryTests(QueueTestCase):
    """
    What is kept in memory is bounded, whatever the queue.
    """

    def size(self, runner: QueueRunner) -> tuple[int, int, int]:
        """
        @return: the recipients in memory, the destinations, and the alarms.
        """
        destinations = runner._destinations.values()
        return (
            sum(len(each.taken) for each in destinations),
            len(destinations),
            len(runner._later),
        )

    def test_recipients(self) -> None:
        """Of a queue of thousands a few dozen recipients of each busy destination are loaded."""
        for _ in range(500):
            self.queue(*(f"u{number}@far.test" for number in range(5)))
        self.network.sending["far.test"] = 1.0
        runner = self.start(maxPerDestination=3)
        most = 0
        for _ in range(300):
            self.pass_(1)
            most = max(most, self.size(runner)[0])
            if not self.waiting():
                break
        self.assertLessEqual(most, LOAD + 3 * (UNSETTLED + 1) * 5)
        self.assertEqual(self.waiting(), [])

    def test_crowded(self) -> None:
        """
        A destination to whose host others wait for connections gets them turn by turn: what is read
        for a turn is what is sent in it, not the same again and again.
        """
        for _ in range(10 * QUANTUM):
            self.queue("a@far.test")
        connect, due = self.network.connect, self.spool.due
        loaded: list[int] = []

        async def connectCrowded(*arguments: Any) -> Any:
            connection: Any = await connect(*arguments)
            connection.wanted = True
            return connection

        async def counted(*arguments: Any) -> Any:
            messages = await due(*arguments)
            loaded.append(len(messages))
            return messages

        self.patch(self.network, "connect", connectCrowded)
        self.patch(self.spool, "due", counted)
        self.start(maxPerDestination=1)
        self.pass_(5)
        self.assertEqual(self.waiting(), [])
        self.assertEqual(len(self.network.connects), 10)
        self.assertLess(sum(loaded), 10 * QUANTUM + LOAD)

    def test_nothing(self) -> None:
        """When all is sent nothing is left, of however many destinations."""
        runner = self.start(linger=1.0)
        for number in range(500):
            self.queue(f"a@d{number}.test")
        self.pass_(10)
        self.assertEqual(self.waiting(), [])
        self.assertEqual(self.size(runner), (0, 0, 0))

    def test_postponed(self) -> None:
        """Of what waits for an unreachable destination nothing is in memory."""
        self.takeDown()
        for _ in range(500):
            self.queue("a@far.test")
        runner = self.start()
        self.pass_(10)
        self.assertEqual(self.size(runner)[:2], (0, 1))

    def test_alarms(self) -> None:
        """Alarms don't pile up, however much comes for a destination that waits."""
        self.takeDown()
        self.network.answer = lambda message, each: LATER
        runner = self.start(delays=[5, 5000, 5000, 5000], jitter=0.9)
        for number in range(3000):
            self.queue("a@far.test", nextAttempt=int(self.now()) + 10_000 - number)
            self.queue("a@other.test", nextAttempt=int(self.now()) + 10_000 - 3 * number)
            self.clock.advance(0.1)
        self.assertLess(self.size(runner)[2], 250)


class SlowSpool:
    """
    A spool whose calls take their time, some of which fail.
    """

    def __init__(self, spool: Any, case: QueueTestCase, chance: Any, trouble: float) -> None:
        self._spool = spool
        self._case = case
        self._chance = chance
        self.trouble = trouble

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._spool, name)
        if name in ("watch", "lockQueue", "openContent", "accept", "select"):
            return method

        async def call(*arguments: Any) -> Any:
            clock, chance = self._case.clock, self._chance
            # What is read may be outdated when it gets there; what is written may take a while.
            early = chance.random() < 0.5
            result = await method(*arguments) if early else None
            waiting: Deferred[None] = Deferred()
            clock.callLater(chance.choice((0, 0, 0, 0.5, 3)), waiting.callback, None)
            await waiting
            if chance.random() < self.trouble:
                raise TemporaryFailure(name)
            return result if early else await method(*arguments)

        return call


class RandomTests(SynchronousTestCase):
    """
    Whatever happens, in the end all that could be delivered is, and nothing twice.
    """

    def meddle(self, case: QueueTestCase, runner: QueueRunner, chance: Any) -> None:
        """
        Operators look after the queue, and restart it. What they change is read anew, so they help
        what is stuck on its way: in the second half of a story they don't.
        """
        spool = case.store.spool
        if chance.random() < 0.2:
            now(spool.retry(ALL))
        if chance.random() < 0.2:
            now(spool.hold(QueueFilter(sender="near.test"), chance.random() < 0.3))
        else:
            now(spool.hold(ALL, False))
        if chance.random() < 0.1:
            # A result that can't be written till the end is one that is lost.
            trouble, case.spool.trouble = case.spool.trouble, 0.0
            stopped = ensureDeferred(runner.stop(chance.choice((0.0, 3.0))))
            case.pass_(30, 0.5)
            case.successResultOf(stopped)
            case.spool.trouble = trouble
            runner.start()

    def run_(self, seed: int) -> None:
        """
        One story.
        """
        import random

        chance = random.Random(seed)
        case = QueueTestCase()
        case.setUp()
        network = case.network
        spool = SlowSpool(case.spool, case, chance, chance.choice((0, 0, 0.05, 0.3)))
        case.spool = spool
        case.notifier = RecordingNotifier(spool)
        names = [f"d{number}.test" for number in range(chance.choice((1, 3, 12)))]
        odds = chance.choice(((1, 0, 0), (6, 2, 1), (2, 6, 2)))
        network.answer = lambda message, each: chance.choices((TAKEN, LATER, BROKEN), odds)[0]
        runner = case.runner(
            jitter=0.3,
            delays=[5, 20, 60],
            maxConnections=chance.choice((1, 2, 5, 50)),
            maxPerDestination=chance.choice((1, 3, 20)),
            firstPerDestination=chance.choice((1, 5)),
            messagesPerConnection=chance.choice((1, 3, 1000)),
            linger=chance.choice((0.0, 2.0)),
        )
        runner.start()
        queued: dict[tuple[str, str], int] = {}
        steps = chance.choice((5, 40))
        for step in range(steps):
            for name in names:
                network.connecting[name] = chance.choice((0, 0, 1, 20))
                network.sending[name] = chance.choice((0, 0, 1, 5))
                if chance.random() < 0.2:
                    case.takeDown(name)
                else:
                    network.down.pop(name, None)
            for _ in range(chance.choice((0, 1, 10))):
                recipients = [
                    f"u{number}@{chance.choice(names)}" for number in range(chance.choice((1, 4)))
                ]
                queueId = case.queue(
                    *recipients,
                    nextAttempt=int(case.now()) + chance.choice((0, 0, 0, 50)),
                    held=step < steps / 2 and chance.random() < 0.05,
                )
                queued.update({(queueId, each): 1 for each in recipients})
            if step < steps / 2:
                self.meddle(case, runner, chance)
            elif step - 1 < steps / 2:
                now(case.store.spool.hold(ALL, False))
            case.pass_(chance.choice((0, 1, 30)), 0.5)
        # Now all goes well again.
        spool.trouble = 0.0
        network.answer = lambda message, each: TAKEN
        for times in (network.down, network.connecting, network.sending):
            times.clear()
        case.pass_(400, 1.0)
        self.assertEqual(case.waiting(), [], seed)
        twice = {key: times for key, times in network.delivered.items() if times > 1}
        self.assertEqual(twice, {}, seed)
        self.assertEqual(set(network.delivered), set(queued), seed)
        self.assertEqual(MemoryTests.size(case, runner), (0, 0, 0), seed)  # type: ignore[arg-type]
        case.doCleanups()

    def test_stories(self) -> None:
        """Destinations and spools that come and go, operators, restarts."""
        for seed in range(25):
            self.run_(seed)
        self.flushLoggedErrors()
