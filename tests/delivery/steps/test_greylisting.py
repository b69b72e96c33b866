"""
Greylisting (RFC 6647).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

from tests.delivery.steps.support import ALICE, BOB, STRANGER, StepTestCase, envelope
from tests.smtp.support import now
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.delivery.step import StepProblem
from twisted_mailstack.delivery.steps.greylisting import STEP
from twisted_mailstack.errors import TemporaryFailure
from twisted_mailstack.interfaces import IPolicyStep
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import Recipient
from twisted_mailstack.storage.sql.store import SQLMailStore
from twisted_mailstack.testing.contracts import CallQueue

DAY = 86400
WAIT = "451 4.7.1 Greylisted: try again in {} seconds"


class GreylistingTests(StepTestCase):
    """
    C{greylisting}.
    """

    def step(self, **settings: Any) -> IPolicyStep:
        """
        @return: one that is enabled, with few enough passes to be seen.
        """
        return self.make(STEP, **{"enabled": True, "networkPasses": 0, **settings})

    def passed(self, step: IPolicyStep, **given: Any) -> None:
        """
        Somebody comes, and comes again.
        """
        self.assertIn("451", self.rcpt(step, **given))
        self.clock.advance(300)
        self.assertEqual(self.rcpt(step, **given), "")

    def test_firstTime(self) -> None:
        """Who comes for the first time is put off, until the delay is over; then he is known."""
        step = self.step(delay=300)
        self.assertEqual(self.connect(step), "")
        self.assertEqual(self.mail(step), "")
        self.assertEqual(self.rcpt(step), WAIT.format(300))
        self.clock.advance(100)
        self.assertEqual(self.rcpt(step), WAIT.format(200))
        self.clock.advance(199)
        self.assertEqual(self.rcpt(step), WAIT.format(1))
        self.clock.advance(1)
        self.assertEqual([self.rcpt(step) for _ in range(3)], [""] * 3)
        self.assertEqual(self.data(step), "")

    def test_triplet(self) -> None:
        """Another network, sender or recipient is another first time."""
        step = self.step()
        self.passed(step)
        for given in (
            {"peer": "192.0.3.1"},
            {"peer": "2001:db8::1"},
            {"reversePath": "other@far.test"},
            {"recipient": BOB},
        ):
            self.assertEqual(self.rcpt(step, **given), WAIT.format(300), given)
        for given in (
            # A neighbour tries again; addresses are the same in any case.
            {"peer": "192.0.2.200"},
            {"peer": "::ffff:192.0.2.3"},
            {"reversePath": "Stranger@FAR.test"},
            {"recipient": "Alice@example.test"},
        ):
            self.assertEqual(self.rcpt(step, **given), "", given)

    def test_IPv6(self) -> None:
        """An IPv6 network is a /64."""
        step = self.step()
        self.passed(step, peer="2001:db8:0:1::1")
        self.assertEqual(self.rcpt(step, peer="2001:db8:0:1:9::2"), "")
        self.assertIn("451", self.rcpt(step, peer="2001:db8:0:2::1"))

    def test_window(self) -> None:
        """Who comes again too late comes for the first time."""
        step = self.step(window=3600)
        self.assertIn("451", self.rcpt(step))
        self.clock.advance(3600)
        self.assertEqual(self.rcpt(step), WAIT.format(300))
        self.clock.advance(3599)
        self.assertEqual(self.rcpt(step), "")

    def test_kept(self) -> None:
        """Who is known stays so for as long as he comes now and then (RFC 6647 §5)."""
        step = self.step(kept=10 * DAY)
        self.passed(step)
        for _ in range(5):
            self.clock.advance(9 * DAY)
            self.assertEqual(self.rcpt(step), "")
        self.clock.advance(10 * DAY)
        self.assertIn("451", self.rcpt(step))

    def test_networkIsKnown(self) -> None:
        """A network from which several passed isn't put off any more, while it is in use."""
        step = self.step(networkPasses=3, kept=10 * DAY)
        for number in range(3):
            self.passed(step, reversePath=f"{number}@far.test")
        # Once more the same is none more.
        for _ in range(4):
            self.assertEqual(self.rcpt(step, reversePath="new@far.test", recipient=BOB), "")
            self.clock.advance(9 * DAY)
        self.assertIn("451", self.rcpt(step, reversePath="new@far.test", peer="192.0.3.1"))
        self.clock.advance(10 * DAY)
        self.assertIn("451", self.rcpt(step, reversePath="new@far.test"))

    def test_samePassCountsOnce(self) -> None:
        """One sender that writes often doesn't make its network known."""
        step = self.step(networkPasses=2)
        self.passed(step)
        for _ in range(5):
            self.assertEqual(self.rcpt(step), "")
        self.assertIn("451", self.rcpt(step, reversePath="other@far.test"))

    def test_remembered(self) -> None:
        """It holds over restarts and for other processes."""
        self.assertIn("451", self.rcpt(self.step()))
        self.clock.advance(300)
        self.assertEqual(self.rcpt(self.step()), "")
        self.assertEqual(self.rcpt(self.step()), "")

    def test_nullPath(self) -> None:
        """
        With the null reverse-path RCPT says who exists, and the text is put off: others ask so
        before they take mail from us.
        """
        step = self.step()
        self.assertEqual(self.rcpt(step, reversePath=None), "")
        self.assertEqual(self.data(step, b"", ALICE, BOB, reversePath=None), WAIT.format(300))
        self.clock.advance(299)
        self.assertEqual(self.data(step, b"", ALICE, BOB, reversePath=None), WAIT.format(1))
        self.clock.advance(1)
        self.assertEqual(self.data(step, b"", ALICE, BOB, reversePath=None), "")
        self.assertEqual(self.data(step, b"", BOB, reversePath=None), "")

    def test_nullPathWithOthers(self) -> None:
        """One recipient that is new puts the text off for all, since there is one reply."""
        step = self.step()
        self.data(step, b"", ALICE, reversePath=None)
        self.clock.advance(300)
        self.assertEqual(self.data(step, b"", ALICE, BOB, reversePath=None), WAIT.format(300))
        self.clock.advance(300)
        self.assertEqual(self.data(step, b"", ALICE, BOB, reversePath=None), "")

    def test_exempt(self) -> None:
        """This machine, exempt networks and recipients, and who is logged in."""
        step = self.step(
            exemptClients=(ip_network("198.51.100.0/24"),),
            exemptRecipients=("Bob@example.test", "open.test"),
        )
        for given in (
            *({"peer": "127.0.0.1"}, {"peer": "::1"}, {"peer": "local"}, {"login": ALICE}),
            *({"peer": "198.51.100.1"}, {"recipient": "bob@EXAMPLE.test"}),
            {"recipient": "x@open.test"},
        ):
            self.assertEqual(self.rcpt(step, **given), "", given)
        self.assertEqual(self.data(step, b"", BOB, reversePath=None), "")
        self.assertEqual(self.data(step, b"", ALICE, reversePath=None, login=ALICE), "")
        self.assertIn("451", self.rcpt(step))

    def test_nobody(self) -> None:
        """Who doesn't exist is for the target to refuse; nothing is remembered of it."""
        step = self.step()
        asked: list[Collection[str]] = []
        recall = self.store.memory.recall

        async def watched(keys: Collection[str]) -> Any:
            asked.append(keys)
            return await recall(keys)

        self.patch(self.store.memory, "recall", watched)
        for recipient in ("nobody@example.test", "x@elsewhere.test"):
            self.assertEqual(self.rcpt(step, recipient), "")
        self.assertEqual(asked, [])
        self.assertIn("451", self.rcpt(step, "postmaster@example.test"))
        self.assertEqual(len(asked), 1)

    def test_noNames(self) -> None:
        """Nobody's address can be read out of what is kept."""
        step = self.step(networkPasses=1)
        self.passed(step)
        kept = " ".join(self.store.memory._entries)
        for word in ("stranger", "alice", "example", "192.0.2.1"):
            self.assertNotIn(word, kept)

    def test_rarelyWritten(self) -> None:
        """What is known costs no write with each message, but one a day."""
        step = self.step()
        self.passed(step)
        self.rcpt(step)
        written: list[str] = []
        for name in ("add", "remember", "introduce"):
            call = getattr(self.store.memory, name)

            def watched(entries: Any, name: str = name, call: Any = call) -> Any:
                written.append(name)
                return call(entries)

            self.patch(self.store.memory, name, watched)
        for _ in range(10):
            self.assertEqual(self.rcpt(step), "")
        self.assertEqual(written, [])
        self.clock.advance(DAY)
        self.rcpt(step)
        self.rcpt(step)
        self.assertEqual(written, ["add"])

    def test_failingMemory(self) -> None:
        """Where the store fails, mail is put off, and taken later."""
        step = self.step()

        async def failing(keys: Collection[str]) -> Any:
            raise TemporaryFailure()

        self.patch(self.store.memory, "recall", failing)
        self.assertEqual(self.rcpt(step), "451 4.3.0 Temporary failure, try again later")

    def test_settings(self) -> None:
        """It is off unless it is wanted; what can't be is told."""
        self.assertIsNone(STEP.make(STEP.settings(), self.services))
        for settings in (
            {"delay": 0},
            {"delay": 100, "window": 100},
            {"exemptRecipients": ("a..b",)},
            {"exemptRecipients": ("@x",)},
        ):
            self.assertRaises(StepProblem, self.step, **settings)
        self.services = replace(self.services, memory=None)
        self.assertRaises(StepProblem, self.step)


class DurableGreylistingTests(StepTestCase):
    """
    The same in a database.
    """

    def test_kept(self) -> None:
        """Who came before the server was stopped passes after it."""
        calls = CallQueue()
        path = self.mktemp()

        def ask() -> str:
            store = SQLMailStore(path, self.clock, calls.callFromThread, now=self.now)
            calls.wait(store.start())
            try:
                services = replace(
                    self.services, memory=store.memory, resolver=Resolver(self.directory)
                )
                step = STEP.make(STEP.settings(enabled=True), services)
                assert step is not None
                recipient = Recipient(Address.parse(ALICE), {})
                asked = step.recipient(envelope(STRANGER), recipient)
                assert asked is not None
                calls.wait(asked)
            except Exception as error:
                return str(error)
            finally:
                calls.wait(store.stop())
            return ""

        self.assertIn("try again in 300 seconds", ask())
        self.clock.advance(299)
        self.assertIn("try again in 1 seconds", ask())
        self.clock.advance(1)
        self.assertEqual([ask(), ask()], ["", ""])
        self.assertIsNotNone(now(self.directory.findDomain("example.test")))
