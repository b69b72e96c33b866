# -*- test-case-name: tests.storage.test_memory -*-
"""
What L{IContentWriter}, L{IStagedContent} and L{IMessageContent} promise.
"""

from __future__ import annotations

from hashlib import sha256

from twisted_mailstack.errors import MessageExpunged
from twisted_mailstack.interfaces import (
    IContentWriter,
    IMessageContent,
    IStagedContent,
)
from twisted_mailstack.model.flags import NO_FLAGS
from twisted_mailstack.model.message import summarise
from twisted_mailstack.model.records import SMALL_MESSAGE, Attribute, Placement
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.testing.contracts.base import StorageContract

#: What a store that takes its octets for text, or for lines, would change.
AWKWARD = {
    "nothing": b"",
    "NUL": b"Subject: a\0b\r\n\r\n\0\0\r\n",
    "8-bit": b"Subject: \xe9\xff\r\n\r\n" + bytes(range(256)),
    "no final line end": b"Subject: x\r\n\r\nthe end",
    "bare CR and LF": b"Subject: x\n\ra\r\rb\n\n\r",
    "leading dots": b"Subject: x\r\n\r\n.\r\n..\r\n.",
    "From lines": b"Subject: x\r\n\r\nFrom nobody\r\n>From\r\n",
    "only a header": b"Subject: x\r\n",
    "only a line end": b"\r\n",
    "a long line": b"Subject: x\r\n\r\n" + b"y" * 100_000,
    "half a surrogate pair": b"Subject: =?utf-7?q?+2AA-?=\r\n"
    b"Content-Type: text/plain; charset=utf-7\r\n\r\n+2AA-\r\n",
    "another script": "Subject: ÿ€\U0001f4e7\r\n\r\n".encode(),
}

MULTIPART = (
    b"Subject: parts\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n'
    b"\r\n"
    b"--b\r\n\r\none\r\n"
    b"--b\r\nContent-Type: text/html\r\n\r\n<p>two\r\n"
    b"--b--\r\n"
)


class ContentContract(StorageContract):
    """
    Messages' octets: what is written is what is read, in bounded pieces.
    """

    def test_writerProvides(self) -> None:
        """Both the store and an account give a writer."""
        for writer in (self.store.newContent(), self.account.newContent(1000)):
            self.assertProvides(IContentWriter, writer)
            self.assertEqual(writer.size, 0)
            writer.abort()

    def test_stagedProvides(self) -> None:
        """What was written whole is a staged content."""
        self.assertProvides(IStagedContent, self.stage())

    def test_contentProvides(self) -> None:
        """An opened message is a message content."""
        mailbox = self.mailbox("INBOX")
        uid = self.append(mailbox)
        self.assertProvides(IMessageContent, self.wait(mailbox.openMessage(uid)))

    def test_size(self) -> None:
        """The writer counts the octets written so far."""
        writer = self.store.newContent()
        for data, size in ((b"", 0), (b"abc", 3), (b"d" * 10, 13)):
            writer.write(data)
            self.assertEqual(writer.size, size)
        writer.abort()

    def test_neverAltered(self) -> None:
        """Whatever the octets are, they come back as they were: staged, stored and by fetch."""
        mailbox = self.mailbox("INBOX")
        for name, data in AWKWARD.items():
            staged = self.stage(data)
            self.assertEqual(self.octets(staged, len(data)), data, name)
            uid = self.append(mailbox, data)
            self.assertEqual(self.message(mailbox, uid), data, name)
            ((_, octets, content),) = self.fetch(
                mailbox, Attribute.OCTETS, Attribute.CONTENT, uids=NumberSet.of([uid])
            )
            self.assertEqual((octets, content), (len(data), data), name)
        self.assertSound()

    def test_anyChunking(self) -> None:
        """A message is the same however it was cut when it was written."""
        data = MULTIPART
        for size in (1, 2, 7, len(data)):
            writer = self.store.newContent()
            for at in range(0, len(data), size):
                writer.write(data[at : at + size])
            self.assertEqual(writer.size, len(data))
            staged = self.wait(writer.finish())
            self.addCleanup(staged.discard)
            self.assertEqual(staged.summary, summarise(data))
            self.assertEqual(self.octets(staged, len(data)), data)

    def test_summary(self) -> None:
        """The summary is what is found in the message."""
        for data in (MULTIPART, *AWKWARD.values()):
            self.assertEqual(self.stage(data).summary, summarise(data))

    def test_aroundTheSmallSize(self) -> None:
        """
        Nothing goes wrong where small messages end: CONTENT is given up to SMALL_MESSAGE octets,
        prefix included, and every size reads back.
        """
        mailbox = self.mailbox("INBOX")
        for size in (SMALL_MESSAGE - 1, SMALL_MESSAGE, SMALL_MESSAGE + 1, 2 * SMALL_MESSAGE):
            for prefix in (b"", b"X: y\r\n"):
                data = b"Subject: x\r\n\r\n" + b"z" * (size - 14)
                before = set(self.uids(mailbox))
                self.deliver(data, Placement(self.account.accountId, "INBOX", prefix))
                (uid,) = set(self.uids(mailbox)) - before
                whole = prefix + data
                self.assertEqual(self.message(mailbox, uid), whole)
                ((_, content, header),) = self.fetch(
                    mailbox, Attribute.CONTENT, Attribute.HEADER, uids=NumberSet.of([uid])
                )
                self.assertEqual(content, whole if len(whole) <= SMALL_MESSAGE else None)
                self.assertEqual(header, prefix + b"Subject: x\r\n\r\n")
        self.assertSound()

    def test_stagedRanges(self) -> None:
        """A range of a staged message is cut at its end."""
        for data in (b"0123456789", b"0123456789" * 60_000):
            staged = self.stage(data)
            for offset, length in (
                *((0, 0), (0, 4), (3, 4), (0, len(data)), (0, len(data) + 1)),
                *((len(data) - 3, 10), (len(data), 1), (len(data) + 1, 1), (262_140, 10)),
            ):
                self.assertEqual(
                    self.wait(staged.read(offset, length)), data[offset : offset + length]
                )

    def test_everyRange(self) -> None:
        """Every range of a short message that has a prefix is exactly those octets."""
        data, prefix = b"A: b\r\n\r\nc", b"X: y\r\n"
        mailbox = self.mailbox("INBOX")
        self.deliver(data, Placement(self.account.accountId, "INBOX", prefix))
        content = self.wait(mailbox.openMessage(1))
        whole = prefix + data
        self.assertEqual(content.size, len(whole))
        for offset in range(len(whole) + 2):
            for length in range(len(whole) + 2):
                self.assertEqual(
                    self.wait(content.read(offset, length)), whole[offset : offset + length]
                )

    def test_structureOffsets(self) -> None:
        """The offsets of the parts are those of the content that is read, prefix included."""
        mailbox = self.mailbox("INBOX")
        for prefix in (b"", b"Return-Path: <>\r\nDelivered-To: alice@example.test\r\n"):
            self.deliver(MULTIPART, Placement(self.account.accountId, "INBOX", prefix))
            content = self.wait(mailbox.openMessage(max(self.uids(mailbox))))
            root = content.structure
            bodies = [
                self.wait(content.read(part.bodyOffset, part.endOffset - part.bodyOffset))
                for part in root.children
            ]
            self.assertEqual(bodies, [b"one", b"<p>two"])
            self.assertEqual(
                self.wait(content.read(0, root.bodyOffset)),
                prefix + MULTIPART[: MULTIPART.index(b"\r\n\r\n") + 4],
            )
            # Asked for again it is the same, not moved once more.
            self.assertEqual(content.structure.bodyOffset, root.bodyOffset)

    def test_twentyMegabytes(self) -> None:
        """
        A message of 20 MB is written in pieces, waiting where the writer says so, and read in
        ranges, across the edges of whatever it is stored in.
        """
        line = b"0123456789abcdef" * 4 + b"\r\n"
        piece = line * 1000
        pieces = 20_000_000 // len(piece)
        wanted = sha256(b"Subject: big\r\n\r\n" + piece * pieces)
        writer = self.account.newContent(20_000_000)
        writer.write(b"Subject: big\r\n\r\n")
        for _ in range(pieces):
            waiting = writer.write(piece)
            if waiting is not None:
                self.wait(waiting)
        staged = self.wait(writer.finish())
        self.addCleanup(staged.discard)
        size = 16 + pieces * len(piece)
        self.assertEqual((writer.size, staged.summary.size), (size, size))
        mailbox = self.mailbox("INBOX")
        self.wait(mailbox.append([(staged, NO_FLAGS, 0, 0)]))
        staged.discard()
        content = self.wait(mailbox.openMessage(1))
        found = sha256()
        offset = 0
        while offset < content.size:
            data = self.wait(content.read(offset, 100_003))
            self.assertEqual(len(data), min(100_003, size - offset))
            found.update(data)
            offset += len(data)
        self.assertEqual(found.digest(), wanted.digest())
        self.assertSound()

    def test_inOnePiece(self) -> None:
        """A writer that is given everything at once takes it as well."""
        data = b"Subject: x\r\n\r\n" + b"0123456789" * 300_000
        mailbox = self.mailbox("INBOX")
        self.assertEqual(self.message(mailbox, self.append(mailbox, data)), data)

    # --- placing, discarding, aborting ---------------------------------------------------------

    def test_nothingBeforePlacing(self) -> None:
        """What was written and not placed is in no mailbox and counts for nothing."""
        mailbox = self.mailbox("INBOX")
        before = self.wait(mailbox.status()), self.wait(self.account.quota())
        self.stage()
        self.stage(b"x" * 600_000)
        self.assertEqual((self.wait(mailbox.status()), self.wait(self.account.quota())), before)
        self.assertSound()

    def test_placedOftenAndDiscarded(self) -> None:
        """One staged content can be placed again and again; discarding keeps what was placed."""
        mailbox, other = self.mailbox("INBOX"), self.mailbox("other")
        for data in (b"small", b"large" * 120_000):
            staged = self.stage(data)
            placement = Placement(self.account.accountId, "INBOX", b"X: y\r\n")
            uid = self.wait(mailbox.append([(staged, NO_FLAGS, 0, 0)])).uids[0]
            self.wait(other.append([(staged, NO_FLAGS, 0, 0), (staged, NO_FLAGS, 0, 0)]))
            self.wait(self.store.deliver(staged, [placement], 0))
            staged.discard()
            staged.discard()
            self.assertEqual(self.message(mailbox, uid), data)
            self.assertEqual(self.message(mailbox, uid + 1), b"X: y\r\n" + data)
            for last in self.uids(other)[-2:]:
                self.assertEqual(self.message(other, last), data)
        self.assertSound()

    def test_placedAgainAfterExpunge(self) -> None:
        """That what was placed first is gone doesn't keep a content from being placed again."""
        mailbox = self.mailbox("INBOX")
        for data in (b"small", b"large" * 120_000):
            staged = self.stage(data)
            for _ in range(2):
                uid = self.wait(mailbox.append([(staged, NO_FLAGS, 0, 0)])).uids[0]
                self.assertEqual(self.message(mailbox, uid), data)
                self.wait(mailbox.expunge(None, False))
            uid = self.wait(mailbox.append([(staged, NO_FLAGS, 0, 0)])).uids[0]
            staged.discard()
            self.assertEqual(self.message(mailbox, uid), data)
        self.assertSound()

    def test_discardIsIdempotent(self) -> None:
        """Discarding what was never placed, twice, leaves nothing."""
        for data in (b"small", b"large" * 120_000):
            staged = self.stage(data)
            staged.discard()
            staged.discard()
        self.assertSound()

    def test_abortIsIdempotent(self) -> None:
        """A message that is thrown away half-way, twice, leaves nothing."""
        for size in (0, 10, 600_000):
            writer = self.store.newContent()
            writer.write(b"x" * size)
            writer.abort()
            writer.abort()
        self.assertEqual(self.wait(self.account.quota()).messages, 0)
        self.assertSound()

    def test_abortAfterFinish(self) -> None:
        """After finish, abort does nothing: the message can be placed."""
        mailbox = self.mailbox("INBOX")
        for data in (b"small", b"large" * 120_000):
            writer = self.store.newContent()
            writer.write(data)
            staged = self.wait(writer.finish())
            writer.abort()
            uid = self.wait(mailbox.append([(staged, NO_FLAGS, 0, 0)])).uids[0]
            writer.abort()
            staged.discard()
            self.assertEqual(self.message(mailbox, uid), data)
        self.assertSound()

    def test_readWhileExpunged(self) -> None:
        """
        Who still reads a message that is expunged gets its octets or C{MessageExpunged}, never
        others.
        """
        mailbox = self.mailbox("INBOX")
        for data in (b"small" * 10, b"large" * 120_000):
            uid = self.append(mailbox, data)
            content = self.wait(mailbox.openMessage(uid))
            self.assertEqual(self.wait(content.read(0, 5)), data[:5])
            self.wait(mailbox.expunge(None, False))
            # Whatever a store does in the background is done before this.
            self.append(self.mailbox("other"), b"something else" * 1000)
            self.append(self.mailbox("other"), b"something else" * 100_000)
            try:
                found = self.wait(content.read(5, 20))
            except MessageExpunged:
                continue
            self.assertEqual(found, data[5:25])
