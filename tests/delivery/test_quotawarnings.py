"""
Who is warned of his quota, when, and how often.
"""

from __future__ import annotations

from collections.abc import Awaitable
from email import message_from_bytes
from typing import Any, TypeVar

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.delivery.quotawarnings import QuotaWarner, usedPercent
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import Attribute, Placement, Quota
from twisted_mailstack.model.sequence import MAX_NUMBER, NumberSet
from twisted_mailstack.storage.memory import MemoryMailStore

T = TypeVar("T")
ALICE = Address("alice", "example.test")
EVERYTHING = NumberSet([(1, MAX_NUMBER)])


class PercentTests(SynchronousTestCase):
    """
    L{usedPercent}.
    """

    def test_nearer(self) -> None:
        """The limit counts that is nearer; what has none doesn't; nothing of nothing is all."""
        for quota, percent in (
            (Quota(89, 100, 0, None), 89),
            (Quota(899, 1000, 9, 10), 90),
            (Quota(50, None, 1, 3), 33),
            (Quota(5, None, 5, None), 0),
            (Quota(0, 0, 0, None), 100),
            (Quota(150, 100, 0, 5), 150),
        ):
            self.assertEqual(usedPercent(quota), percent, quota)


class WarnerTests(SynchronousTestCase):
    """
    L{QuotaWarner}.
    """

    def setUp(self) -> None:
        """Alice may have ten messages; bob as many as he likes."""
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.store = MemoryMailStore(self.clock.seconds)
        self.now(self.store.directory.addDomain("example.test"))
        self.ids = {}
        for name in ("alice", "bob"):
            address = Address(name, "example.test")
            self.ids[name] = self.now(self.store.directory.addAccount(address, None)).accountId
            # What nobody has limited says so.
            self.store.directory._replace(address, limited=name == "alice")
        self.setQuota(None, 10)
        self.warner = self.makeWarner()

    def makeWarner(self, *thresholds: int) -> QuotaWarner:
        """
        @return: a process's.
        """

        async def pause() -> None:
            pass

        return QuotaWarner(
            self.store,
            self.store.memory,
            thresholds or (80, 95),
            "mail.example.test",
            self.clock.seconds,
            pause,
        )

    def now(self, awaitable: Awaitable[T]) -> T:
        """
        @return: the result of what needn't wait.
        """

        async def wait() -> T:
            return await awaitable

        return self.successResultOf(ensureDeferred(wait()))

    def setQuota(self, octets: int | None, messages: int | None) -> None:
        """Set alice's."""
        self.now(self.store.directory.setQuota(ALICE, octets, messages))

    def deliver(self, count: int, name: str = "alice") -> None:
        """Deliver so many."""
        for _ in range(count):
            writer = self.store.newContent()
            writer.write(b"Subject: x\r\n\r\n" + b"y" * 100)
            staged = self.now(writer.finish())
            self.now(self.store.deliver(staged, [Placement(self.ids[name], "INBOX")], 0))

    def inbox(self) -> Any:
        """
        @return: alice's.
        """
        account = self.now(self.store.openAccount(self.ids["alice"]))
        return self.now(account.openMailbox("INBOX"))

    def warnings(self) -> list[bytes]:
        """
        @return: the messages that she got.
        """
        found = self.now(self.inbox().fetch(EVERYTHING, [Attribute.CONTENT]))
        texts = [row[-1] for row in found]
        return [text for text in texts if b"MAILER-DAEMON" in text]

    def look(self) -> None:
        """Let it look."""
        self.now(self.warner.look())

    def test_once(self) -> None:
        """Below the threshold there is nothing; from it on one message, and no second one."""
        self.deliver(7)
        self.look()
        self.assertEqual(self.warnings(), [])
        self.deliver(1)
        for _ in range(3):
            self.look()
        (text,) = self.warnings()
        message = message_from_bytes(text)
        self.assertEqual(message["Subject"], "Your mailbox is 80 percent full")
        self.assertEqual(message["To"], str(ALICE))
        self.assertEqual(message["From"], "Mail delivery system <MAILER-DAEMON@mail.example.test>")
        self.assertEqual(message["Auto-Submitted"], "auto-generated")
        self.assertIn("8 messages of 10", message.get_payload())
        self.assertTrue(text.endswith(b"\r\n"))
        self.assertNotIn(b"\n", text.replace(b"\r\n", b""))

    def test_nextThreshold(self) -> None:
        """Each threshold is told of; several that were passed at once by one message."""
        self.setQuota(None, 100)
        self.deliver(80)
        self.look()
        self.deliver(14)
        self.look()
        self.assertEqual(len(self.warnings()), 2)

    def test_jump(self) -> None:
        """Who comes above two at once hears of it once."""
        self.setQuota(None, 100)
        self.deliver(97)
        self.look()
        self.look()
        (text,) = self.warnings()
        self.assertIn(b"97 percent", text)

    def test_again(self) -> None:
        """Who makes room, and fills it again, is told again."""
        self.deliver(8)
        self.look()
        self.now(self.inbox().expunge(EVERYTHING, False))
        self.look()
        self.assertEqual(self.warnings(), [])
        self.deliver(8)
        self.look()
        self.assertEqual(len(self.warnings()), 1)

    def test_otherProcess(self) -> None:
        """It is one warning, however many processes look, and after a restart."""
        self.deliver(8)
        self.look()
        self.now(self.makeWarner().look())
        self.assertEqual(len(self.warnings()), 1)

    def test_atTheSameTime(self) -> None:
        """Two processes that look at the same time, without knowing of it, warn once."""
        self.deliver(8)

        async def recall(keys: object) -> dict[str, int]:
            return {}

        self.patch(self.store.memory, "recall", recall)
        self.look()
        self.now(self.makeWarner().look())
        self.assertEqual(len(self.warnings()), 1)

    def test_octets(self) -> None:
        """Octets count, too, and are told as people read them."""
        self.setQuota(12_000, None)
        self.deliver(90)
        self.look()
        (text,) = self.warnings()
        self.assertIn(b"KiB of 11.7 KiB", text)

    def test_full(self) -> None:
        """An account that has no room even for that is in the log, once."""
        self.deliver(10)
        with capturedLogs() as events:
            self.look()
            self.look()
        self.assertEqual(self.warnings(), [])
        lines = [formatEvent(event) for event in events]
        self.assertEqual(
            lines,
            [
                "quota: user=alice@example.test used=100% octets=1140 of any messages=10 of 10",
                "quota: user=alice@example.test can't be told: The account is over its quota",
            ],
        )

    def test_unlimited(self) -> None:
        """Who has no limit, and nobody where no thresholds are, is looked at."""
        self.deliver(50, "bob")
        self.look()
        self.deliver(9)
        self.warner = QuotaWarner(
            self.store, self.store.memory, (), "x", self.clock.seconds, lambda: self.fail()
        )
        self.look()
        self.assertEqual(self.warnings(), [])

    def test_international(self) -> None:
        """The message is ASCII whatever the address."""
        address = Address("j\u00fcrgen", "example.test")
        self.ids["alice"] = self.now(self.store.directory.addAccount(address, None)).accountId
        self.now(self.store.directory.setQuota(address, None, 4))
        self.deliver(3)
        self.warner = self.makeWarner(50)
        self.look()
        (text,) = self.warnings()
        self.assertTrue(text.isascii())
        self.assertTrue(message_from_bytes(text)["To"].endswith(":;"))
