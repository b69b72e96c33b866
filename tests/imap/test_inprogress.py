"""
INPROGRESS (RFC 9585), and how a long search lets others work.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.imap.support import now
from tests.imap.test_esearch import SearchingTestCase
from twisted_mailstack.imap import search
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.wire.stream import Stream


class LongSearchTests(SearchingTestCase):
    """
    A search that takes many turns, between which time goes by and others work.
    """

    def setUp(self) -> None:
        """
        Twelve messages, of which two are looked at in a turn.
        """
        super().setUp()
        self.patch(search, "ROWS", 2)
        self.client = self.fill("F" * 12, gone=0)

    def between(self, happens: Callable[[], None]) -> None:
        """
        Do something between the turns.
        """
        breathe = Stream.breathe

        async def breathing(stream: Stream) -> None:
            happens()
            await breathe(stream)

        self.patch(Stream, "breathe", breathing)

    def passTime(self, seconds: float) -> None:
        """
        Between turns time goes by.
        """

        def later() -> None:
            self.server.clock.rightNow += seconds

        self.between(later)

    def test_capability(self) -> None:
        """It is announced."""
        self.assertIn(b" INPROGRESS ", self.server.login().send(b"a CAPABILITY\r\n"))

    def test_told(self) -> None:
        """
        "It is RECOMMENDED that these are sent every 10-15 seconds", with the tag and how many
        messages were looked at.
        """
        self.passTime(6)
        self.client.check("""
            C: a1 SEARCH RETURN (COUNT) LARGER 0
            S: * OK [INPROGRESS ("a1" 6 NIL)] Still searching
            S: * OK [INPROGRESS ("a1" 10 NIL)] Still searching
            S: * ESEARCH (TAG "a1") COUNT 12
            S: a1 OK SEARCH completed
        """)

    def test_sentAtOnce(self) -> None:
        """
        It doesn't wait for the command's end.
        """
        sent: list[bytes] = []

        def later() -> None:
            self.server.clock.rightNow += 11
            sent.append(self.client.wire.take())

        self.between(later)
        rest = self.client.send(b"a SEARCH LARGER 0\r\n")
        self.assertEqual(sum(b"INPROGRESS" in each for each in sent), 4)
        self.assertTrue(rest.startswith(b"* SEARCH 1 2 "), rest)

    def test_quick(self) -> None:
        """A search that takes less says nothing."""
        self.passTime(1)
        answer = self.client.send(b"a SEARCH LARGER 0\r\n")
        self.assertNotIn(b"INPROGRESS", answer)

    def test_otherCommands(self) -> None:
        """SORT and ESEARCH tell it too; of several mailboxes the sum goes on."""
        for _ in range(12):
            self.server.deliver(mailbox="Sent")
        self.passTime(6)
        answer = self.client.send(b"a SORT (SIZE) UTF-8 LARGER 0\r\n")
        self.assertIn(b'* OK [INPROGRESS ("a" 6 NIL)] ', answer)
        answer = self.client.send(b"b ESEARCH IN (mailboxes (INBOX Sent)) LARGER 0\r\n")
        looked = [int(part.split()[1]) for part in answer.split(b"[INPROGRESS (")[1:]]
        self.assertEqual(looked, sorted(looked))
        self.assertGreater(looked[-1], 12, answer)

    def test_othersWork(self) -> None:
        """
        Other sessions are answered while it runs.
        """
        other = self.server.select()
        answers: list[bytes] = []

        def meanwhile() -> None:
            other.stream.received(b"n NOOP\r\n")
            answers.append(other.wire.take())

        self.between(meanwhile)
        self.client.send(b"a SEARCH LARGER 0\r\n")
        self.assertEqual(answers, [b"n OK NOOP completed\r\n"] * 5)

    def test_numbersAlone(self) -> None:
        """Also if it has to do with nothing but flags."""
        self.patch(search, "SLICE", 3)
        turns: list[None] = []
        self.between(lambda: turns.append(None))
        self.client.send(b"a SEARCH FLAGGED\r\n")
        self.assertEqual(len(turns), 3)

    def test_disconnected(self) -> None:
        """
        If the peer goes, nothing more is looked at.
        """
        inbox = now(self.server.account.openMailbox("INBOX"))
        looked: list[int] = []
        fetch = type(inbox).fetch

        async def counting(mailbox: object, uids: NumberSet, attributes: object) -> object:
            looked.extend(uids)
            return await fetch(mailbox, uids, attributes)

        self.patch(type(inbox), "fetch", counting)

        def goes() -> None:
            if len(looked) == 4:
                self.client.stream.lost()

        self.between(goes)
        self.client.send(b"a SEARCH LARGER 0\r\n")
        self.assertEqual(looked, [1, 2, 3, 4])
        self.assertTrue(self.client.finished)
        self.assertIsNone(self.client.failure)
