"""
UIDBATCHES (draft-ietf-mailmaint-imap-uidbatches).
"""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import MESSAGE, Server, now
from twisted_mailstack.model.sequence import NumberSet


class BatchTests(SynchronousTestCase):
    """
    A mailbox with 1,200 messages, every other UID of 2,400.
    """

    def setUp(self) -> None:
        """Fill it."""
        self.server = server = Server()
        writer = server.account.newContent()
        writer.write(MESSAGE)
        staged = now(writer.finish())
        inbox = now(server.account.openMailbox("INBOX"))
        now(inbox.append([(staged, frozenset(), 0, 0)] * 2400))
        now(inbox.expunge(NumberSet.of(range(1, 2400, 2)), onlyDeleted=False))
        self.client = server.select()

    def batches(self, arguments: str) -> list[tuple[int, int]]:
        """
        @return: first and last UID of each batch.
        """
        answer = self.client.send(b"A143 UIDBATCHES %b\r\n" % arguments.encode())
        match = re.fullmatch(
            rb'\* UIDBATCHES \(TAG "A143"\)(?: ([\d:,]+))?\r\nA143 OK UIDBATCHES completed\r\n',
            answer,
        )
        assert match is not None, answer
        found = []
        for each in (match.group(1) or b"").split(b",") if match.group(1) else []:
            first, last = each.split(b":")
            found.append((int(first), int(last)))
        return found

    def test_capability(self) -> None:
        """It is announced."""
        answer = self.client.send(b"a CAPABILITY\r\n")
        self.assertIn(b"UIDBATCHES", answer.partition(b"\r\n")[0].split())

    def test_batches(self) -> None:
        """The newest come first; each but the last has as many messages as were asked for."""
        self.assertEqual(self.batches("500"), [(2400, 1402), (1401, 402), (401, 1)])
        self.assertEqual(self.batches("600"), [(2400, 1202), (1201, 1)])
        self.assertEqual(self.batches("5000"), [(2400, 1)])

    def test_counts(self) -> None:
        """What a batch says is what UID SEARCH finds in it."""
        for first, last in self.batches("500")[:2]:
            answer = self.client.send(b"s UID SEARCH RETURN (COUNT) UID %d:%d\r\n" % (last, first))
            self.assertIn(b" COUNT 500\r\n", answer)

    def test_some(self) -> None:
        """Only some of the batches, by their numbers."""
        whole = self.batches("500")
        self.assertEqual(self.batches("500 2:3"), whole[1:])
        self.assertEqual(self.batches("500 1:1"), whole[:1])
        self.assertEqual(self.batches("500 3:99"), whole[2:])
        self.assertEqual(self.batches("500 7:9"), [])

    def test_single(self) -> None:
        """A batch of one UID is a range as well: uid-range = (uniqueid ":" uniqueid)."""
        self.server.deliver(mailbox="Sent")
        self.client.send(b"s SELECT Sent\r\n")
        self.assertEqual(self.batches("500"), [(1, 1)])

    def test_empty(self) -> None:
        """An empty mailbox has none."""
        self.client.send(b"s SELECT Sent\r\n")
        self.assertEqual(self.batches("500"), [])

    def test_refused(self) -> None:
        """Batches that are too small, and what doesn't follow the grammar."""
        answer = self.client.send(b"a UIDBATCHES 499\r\n")
        self.assertTrue(answer.startswith(b"a NO [TOOSMALL] "), answer)
        answer = self.client.send(b"a UIDBATCHES 500 3:2\r\n")
        self.assertTrue(answer.startswith(b"a BAD [CLIENTBUG] "), answer)
        for arguments in (
            *(b"", b" x", b" 500 ", b" 500 0:1", b" 500 1:2 3", b" 500 1,2", b" 500 *", b" 500 2"),
        ):
            answer = self.client.send(b"a UIDBATCHES%b\r\n" % arguments)
            self.assertTrue(answer.startswith(b"a BAD "), answer)

    def test_uidOnly(self) -> None:
        """It is there with UIDONLY, for which it was made."""
        client = self.server.login()
        client.send(b"e ENABLE UIDONLY\r\n")
        client.send(b"s SELECT INBOX\r\n")
        self.client = client
        self.assertEqual(len(self.batches("500")), 3)
