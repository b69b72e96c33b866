"""
The example of docs/storage.rst: the whole store keeps the contracts of storage, a topic those of a
mailbox that it can keep, and IMAP and POP3 serve it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from unittest import TestResult

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.interface import InterfaceClass

from docs.examples.board import Board
from docs.examples.boardstore import BoardStore
from tests.docs.accounts import (
    BOB,
    PASSWORD,
    PLAIN,
    AccountsTestCase,
    Conversation,
    secureWire,
)
from twisted_mailstack import interfaces
from twisted_mailstack.imap.server import IMAPFactory
from twisted_mailstack.imap.session import IMAPSettings
from twisted_mailstack.interfaces import IAccount, IMailbox, IMailStore
from twisted_mailstack.model.flags import DELETED, FlagOperation
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.pop3.server import POP3Factory
from twisted_mailstack.pop3.session import POP3Settings
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.storage.sql.store import SQLMailStore
from twisted_mailstack.testing import contracts


class Boards(contracts.StorageContract):
    """
    Makes the stores.
    """

    def makeStore(self) -> IMailStore:
        """See the contract. Alice moderates."""
        self.board = Board("board.test", self.now)
        return BoardStore(MemoryMailStore(self.now), self.board, [self.address("alice")])


class BoardContentTests(Boards, contracts.ContentContract, SynchronousTestCase):
    """Messages' octets."""


class BoardMailboxTests(Boards, contracts.MailboxContract, SynchronousTestCase):
    """Ordinary mailboxes of accounts that have the board."""


class BoardMovableMailboxTests(Boards, contracts.MovableMailboxContract, SynchronousTestCase):
    """MOVE."""


class BoardAccountTests(Boards, contracts.AccountContract, SynchronousTestCase):
    """Accounts."""


class BoardDirectoryTests(Boards, contracts.DirectoryContract, SynchronousTestCase):
    """The directory."""


class BoardStoreTests(Boards, contracts.StoreContract, SynchronousTestCase):
    """The store."""


class BoardOverSQLTests(Boards, contracts.AccountContract, SynchronousTestCase):
    """Accounts of the store that the server uses, with the board in them."""

    def makeStore(self) -> IMailStore:
        """See the contract."""
        board = Board("board.test", self.now)
        inner = SQLMailStore(self.mktemp(), self.clock, self.calls.callFromThread, now=self.now)
        return BoardStore(inner, board)


#: What a topic doesn't promise, and so which tests of a mailbox it isn't held to: messages whose
#: octets somebody else chooses, copies into it, and what is done to the mailbox as a whole.
NOT_PROMISED = {
    "test_append",
    "test_appendAllOrNone",
    "test_appendNothing",
    "test_appendQuota",
    "test_appendSeveral",
    "test_copy",
    "test_copyAllOrNone",
    "test_copyIntoItself",
    "test_copyNothing",
    "test_copyOutlivesSource",
    "test_copyToAnotherAccount",
    "test_countsAfterEveryOperation",
    "test_deleted",
    "test_deletedWithChildren",
    "test_fetchColumns",
    "test_fetchEverything",
    "test_fetchLarge",
    "test_fetchNoDate",
    "test_followers",
    # All posts of a topic are one thread.
    "test_ids",
    "test_keywordsStay",
    "test_modSeqOfTheAccount",
    "test_nobodyIsToldOfNothing",
    "test_otherMailboxesStay",
    "test_provides",
    "test_recentCounts",
    "test_renamed",
    "test_threads",
    "test_uidNext",
    "test_uidsNeverReused",
    "test_watch",
}


def topicTests() -> type[contracts.MailboxContract]:
    """
    @return: the contract of a mailbox with topics for mailboxes, and posts for messages. Not in the
        module, where trial would run all of it.
    """

    class TopicTests(Boards, contracts.MailboxContract, SynchronousTestCase):
        """See above."""

        def mailbox(self, name: str, account: IAccount | None = None) -> IMailbox:
            """A topic."""
            if name not in self.board.topics:
                self.board.makeTopic(name)
            return self.wait((account or self.account).openMailbox(f"Board/{name}"))

        def append(
            self,
            mailbox: IMailbox,
            data: bytes = b"Hello",
            flags: Iterable[str] = (),
            date: int = 0,
            zone: int = 0,
        ) -> int:
            """A post, marked."""
            (topic,) = (
                each
                for each in self.board.topics.values()
                if f"B{each.number}" == mailbox.mailboxId
            )
            post = self.board.post(topic, "carol", data.decode("latin-1"))
            if flags:
                self.addFlags(mailbox, [post.number], *flags)
            return post.number

        def assertSound(self) -> None:
            """Posts count for nobody's quota; but what STATUS counts is there."""
            for name in self.board.topics:
                self.assertCounts(self.mailbox(name))

    return TopicTests


class TopicContractTests(SynchronousTestCase):
    """
    A topic is a mailbox.
    """

    def test_contract(self) -> None:
        """It keeps every promise of a mailbox but those that it says it can't."""
        case = topicTests()
        names = {name for name in dir(case) if name.startswith("test_")}
        self.assertEqual(NOT_PROMISED - names, set())
        self.assertGreater(len(names - NOT_PROMISED), 25)
        for name in sorted(names - NOT_PROMISED):
            result = TestResult()
            case(name).run(result)
            problems = [str(problem) for _, problem in (*result.errors, *result.failures)]
            self.assertEqual((name, problems, result.testsRun), (name, [], 1))


class BoardTests(AccountsTestCase):
    """
    The board as its users have it: Alice reads, Bob moderates.
    """

    def makeStore(self) -> IMailStore:
        """A store with the board around one in memory."""
        self.board = Board("board.test", lambda: 1_700_000_000.0)
        return BoardStore(MemoryMailStore(), self.board, [BOB])

    def setUp(self) -> None:
        """A topic with two posts."""
        super().setUp()
        self.topic = self.board.makeTopic("Gardening")
        self.board.post(self.topic, "carol", "When do I sow carrots?\n")
        self.board.post(self.topic, "dave", "Im März. Früher ist es zu kalt.\n")

    def topicOf(self, accountId: str) -> IMailbox:
        """
        @return: the topic in somebody's account.
        """
        return self.run_(self.account(accountId).openMailbox("Board/Gardening"))

    def imap(self) -> Conversation:
        """
        @return: Alice's session, logged in.
        """
        factory = IMAPFactory(self.portal, IMAPSettings(hostname="imap.test"), Clock())
        conversation = Conversation(factory.serve, wire=secureWire())
        conversation.wire.take()
        conversation.send(f"1 AUTHENTICATE PLAIN {PLAIN}\r\n".encode())
        return conversation

    def test_list(self) -> None:
        """LIST shows the topics below a name that can't be selected; LSUB those subscribed to."""
        conversation = self.imap()
        conversation.check("""
            C: a LIST "" Board*
            S: * LIST (\\Noselect \\HasChildren) "/" Board
            S: * LIST (\\HasNoChildren) "/" Board/Gardening
            S: a OK LIST completed
            C: b SUBSCRIBE Board/Gardening
            S: b OK SUBSCRIBE completed
            C: c LSUB "" Board*
            S: * LSUB () "/" Board/Gardening
            S: c OK LSUB completed
            C: d SELECT Board
            S: d NO That mailbox cannot be selected
            C: e SELECT Board/Cooking
            S: e NO [NONEXISTENT] No such mailbox
        """)

    def test_read(self) -> None:
        """A post is a message, found by SEARCH and marked by reading it."""
        conversation = self.imap()
        selected = conversation.send(b"a SELECT Board/Gardening\r\n").decode()
        self.assertIn("* 2 EXISTS\r\n* 2 RECENT\r\n", selected)
        conversation.check("""
            C: b SEARCH CHARSET UTF-8 TEXT "früher" FROM dave
            S: * SEARCH 2
            S: b OK SEARCH completed
            C: c FETCH 1 (UID BODY[TEXT])
            S: * 1 FETCH (UID 1 FLAGS (\\Recent \\Seen) BODY[TEXT] {24}
            S: When do I sow carrots?
            S: )
            S: c OK FETCH completed
            C: d SEARCH UNSEEN
            S: * SEARCH 2
            S: d OK SEARCH completed
        """)
        # Each reader has marks of their own.
        self.assertEqual(self.run_(self.topicOf(self.bob).status()).unseen, 2)

    def test_idle(self) -> None:
        """A post that comes while a client waits is told at once, and one that goes too."""
        conversation = self.imap()
        conversation.send(b"a SELECT Board/Gardening\r\n")
        conversation.send(b"b IDLE\r\n")
        self.board.post(self.topic, "erin", "Thanks!\n")
        self.board.remove(self.topic, [self.topic.posts[1]])
        conversation.settle()
        conversation.stream.flush()
        told = conversation.wire.take()
        self.assertIn(b"* 3 EXISTS\r\n", told)
        self.assertIn(b"* 1 EXPUNGE\r\n", told)

    def test_notByMail(self) -> None:
        """APPEND, DELETE, CREATE and RENAME are refused, and say why."""
        conversation = self.imap()
        conversation.check("""
            C: a CREATE Board/Cooking
            S: a NO [NOPERM] Topics are made on the web
            C: b DELETE Board/Gardening
            S: b NO [NOPERM] Topics are made on the web
            C: c RENAME Drafts Board/Drafts
            S: c NO [NOPERM] Topics are made on the web
        """)
        answer = conversation.send(b"e APPEND Board/Gardening {7+}\r\n\r\nhello\r\n")
        self.assertEqual(answer, b"e NO [NOPERM] Posts are written on the web\r\n")
        self.assertEqual(len(self.topic.posts), 2)

    def test_moderation(self) -> None:
        r"""Who doesn't moderate can't set C{\Deleted}, expunge or move; who does, can."""
        conversation = self.imap()
        conversation.send(b"a SELECT Board/Gardening\r\n")
        conversation.check("""
            C: b STORE 1 +FLAGS (\\Deleted)
            S: b NO [NOPERM] Only moderators delete posts
            C: c MOVE 1 Trash
            S: c NO [NOPERM] Only moderators delete posts
            C: d EXPUNGE
            S: d OK EXPUNGE completed
            C: e CLOSE
            S: e OK CLOSE completed
        """)
        trash = self.run_(self.account(self.alice).openMailbox("Trash"))
        self.assertEqual(self.run_(trash.status()).messages, 0)
        mailbox = self.topicOf(self.bob)
        self.run_(mailbox.storeFlags(NumberSet.of([2]), FlagOperation.ADD, frozenset((DELETED,))))
        self.assertEqual(list(self.run_(mailbox.expunge(None))), [2])
        self.assertEqual(list(self.run_(mailbox.expunge(NumberSet.of([1, 2]), False))), [1])
        self.assertEqual(self.topic.posts, {})

    def test_copy(self) -> None:
        """A post can be copied into an ordinary mailbox, with its marks and date."""
        conversation = self.imap()
        conversation.send(b"a SELECT Board/Gardening\r\nb STORE 2 +FLAGS.SILENT (\\Flagged)\r\n")
        self.assertIn(b"b2 OK [COPYUID ", conversation.send(b"b2 COPY 2 Archive\r\n"))
        conversation.send(b"c EXAMINE Archive\r\n")
        fetched = conversation.send(b"d FETCH 1 (FLAGS INTERNALDATE BODY.PEEK[])\r\n").decode()
        self.assertIn("FLAGS (\\Recent \\Flagged)", fetched)
        self.assertIn('"14-Nov-2023 22:13:20 +0000"', fetched)
        self.assertIn("Subject: Gardening\r\n", fetched)
        self.assertIn("Im März.", fetched)

    def test_ordinaryMailboxes(self) -> None:
        """INBOX and POP3 are as without the board."""
        self.put(b"Subject: hello\r\n\r\ntext\r\n")
        factory = POP3Factory(self.portal, POP3Settings(hostname="pop.test"), Clock())
        conversation = Conversation(factory.serve, wire=secureWire())
        conversation.send(b"USER alice\r\n")
        self.assertEqual(
            conversation.send(b"PASS " + PASSWORD + b"\r\n"), b"+OK 1 messages, 24 octets\r\n"
        )


class PageTests(SynchronousTestCase):
    """
    What the page says there is.
    """

    def test_optional(self) -> None:
        """Each optional interface of storage stands in its table."""
        page = (Path(__file__).parents[2] / "docs" / "storage.rst").read_text("utf-8")
        optional = [
            each
            for each in vars(interfaces).values()
            if isinstance(each, InterfaceClass)
            and (each.getDoc() or "").strip().startswith("Optional")
            and not each.isOrExtends(interfaces.IDeliveryTarget)
        ]
        self.assertGreater(len(optional), 10)
        for each in optional:
            self.assertIn(f"``{each.__name__}``", page)
