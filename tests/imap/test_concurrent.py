"""
Several sessions on one mailbox, as conversations: RFC 2180, RFC 3501 §5.2 and §7. Random ones are
in C{test_model_based}.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from tests.imap.client import MailboxModel, splitResponses
from tests.imap.stepped import SteppedServer
from tests.imap.support import Server, now
from twisted_mailstack.imap import fetch
from twisted_mailstack.testing.conversation import Conversation


class ConversationTests(SynchronousTestCase):
    """
    Two sessions that take turns.
    """

    def setUp(self) -> None:
        """Start a server with four messages that are not recent."""
        self.server = Server()
        for _ in range(4):
            self.server.deliver()
        now(now(self.server.account.openMailbox("INBOX")).claimRecent())
        self.one = self.server.select()
        self.two = self.server.select()

    def test_nothingUnasked(self) -> None:
        """
        A session is told with its next command, never while none is in progress: EXPUNGE must not
        come then (RFC 3501 §7.4.1).
        """
        self.one.send(b"a STORE 1 +FLAGS (\\Deleted)\r\n")
        self.one.send(b"b EXPUNGE\r\n")
        self.server.deliver()
        self.assertEqual(self.two.wire.take(), b"")

    def test_eachCommandTells(self) -> None:
        """
        Every command of a session that has a mailbox selected tells what others did, failing ones
        too.
        """
        for command, answer in (
            (b"NOOP", b"OK"),
            (b"CHECK", b"OK"),
            (b"STATUS Sent (MESSAGES)", b"OK"),
            (b'LIST "" Drafts', b"OK"),
            (b"CREATE INBOX", b"NO"),
            (b"COPY 1 Nowhere", b"NO"),
            (b"FETCH 1 UID", b"OK"),
            (b"SEARCH SEEN", b"OK"),
            (b"FETCH 99 UID", b"BAD"),
            (b"UID FETCH 99 UID", b"OK"),
            (b"EXPUNGE", b"OK"),
        ):
            uid = self.server.deliver()
            responses = splitResponses(self.two.send(b"a " + command + b"\r\n"))
            self.assertIn(b"* %d EXISTS" % uid, responses, command)
            self.assertTrue(responses[-1].startswith(b"a " + answer), responses)

    def test_closedSessionsAreToldNothing(self) -> None:
        """
        A session that has closed its mailbox, or selected another one, is told nothing more of it.
        """
        self.one.send(b"a CLOSE\r\n")
        self.two.send(b"a SELECT Sent\r\n")
        self.server.deliver()
        for session in (self.one, self.two):
            self.assertEqual(session.send(b"b NOOP\r\n"), b"b OK NOOP completed\r\n")

    def test_selectForgets(self) -> None:
        """
        Selecting again shows the mailbox as it is: what was held back isn't told any more.
        """
        self.one.send(b"a STORE 2 +FLAGS.SILENT (\\Deleted)\r\n")
        self.one.send(b"b EXPUNGE\r\n")
        answer = splitResponses(self.two.send(b"a SELECT INBOX\r\n"))
        self.assertIn(b"* 3 EXISTS", answer)
        self.assertFalse([each for each in answer if b"EXPUNGE" in each], answer)
        self.assertEqual(self.two.send(b"b NOOP\r\n"), b"b OK NOOP completed\r\n")

    def test_selectFails(self) -> None:
        """
        A SELECT that fails leaves no mailbox selected (RFC 3501 §6.3.1), and nobody to be told.
        """
        self.two.send(b"a SELECT Nowhere\r\n")
        self.server.deliver()
        self.assertEqual(self.two.send(b"b NOOP\r\n"), b"b OK NOOP completed\r\n")
        self.assertTrue(self.two.send(b"c FETCH 1 UID\r\n").startswith(b"c BAD "))

    def test_deletedMailbox(self) -> None:
        """
        If another session deletes the mailbox, a session that has it selected is told and
        disconnected with its next command (RFC 2180 §3.3).
        """
        self.one.send(b"a CREATE here\r\n")
        for command in (
            b"NOOP",
            b"FETCH 1 UID",
            b"STORE 1 +FLAGS (\\Seen)",
            b"SEARCH ALL",
            b"COPY 1 INBOX",
            b"MOVE 1 INBOX",
            b"EXPUNGE",
            b"CLOSE",
            b"UID FETCH 1 BODY[]",
        ):
            self.server.deliver(mailbox="here")
            session = self.server.select("here")
            self.one.send(b"b DELETE here\r\n")
            answer = session.send(b"a " + command + b"\r\n")
            self.assertIn(b"* BYE ", answer, command)
            self.assertTrue(session.finished, command)
            self.assertIsNone(session.failure, command)
            self.assertEqual(self.flushLoggedErrors(), [], command)
            self.one.send(b"c CREATE here\r\n")

    def test_deletedAndMadeAgain(self) -> None:
        """
        A mailbox of the same name that is made afterwards is another one.
        """
        self.one.send(b"a CREATE here\r\n")
        self.server.deliver(mailbox="here")
        session = self.server.select("here")
        self.one.send(b"b DELETE here\r\n")
        self.one.send(b"c CREATE here\r\n")
        self.assertIn(b"* BYE ", session.send(b"a FETCH 1 BODY[]\r\n"))

    def test_renamedMailbox(self) -> None:
        """
        If another session renames the mailbox, who has it selected goes on with it (RFC 2180 §3.4).
        """
        self.one.send(b"a CREATE here\r\n")
        self.server.deliver(mailbox="here")
        session = self.server.select("here")
        self.one.send(b"b RENAME here there\r\n")
        self.server.deliver(mailbox="there")
        session.check(r"""
            C: a STORE 1 +FLAGS (\Seen)
            S: * 1 FETCH (FLAGS (\Recent \Seen))
            S: * 2 EXISTS
            S: * 2 RECENT
            S: a OK STORE completed
        """)

    def test_recentInOne(self) -> None:
        """
        New mail is recent in the session that is told first; the other sees it without.
        """
        self.server.deliver()
        self.one.check(r"""
            C: a NOOP
            S: * 5 EXISTS
            S: * 1 RECENT
            S: a OK NOOP completed
            C: b FETCH 5 FLAGS
            S: * 5 FETCH (FLAGS (\Recent))
            S: b OK FETCH completed
        """)
        self.two.check(r"""
            C: a NOOP
            S: * 5 EXISTS
            S: * 0 RECENT
            S: a OK NOOP completed
            C: b FETCH 5 FLAGS
            S: * 5 FETCH (FLAGS ())
            S: b OK FETCH completed
        """)

    def test_expungeWhileNumbersAreInUse(self) -> None:
        """
        While EXPUNGEs are held back numbers mean what they meant, for every command that uses them;
        COPY, the one that may be told, takes them as they were when it was sent (RFC 2180 §4.4.2).
        UID SEARCH is told unless it has numbers among its criteria (RFC 7162 §3.2.10.2).
        """
        self.one.send(b"a STORE 1 +FLAGS.SILENT (\\Deleted)\r\n")
        self.one.send(b"b EXPUNGE\r\n")
        self.two.check(r"""
            C: a FETCH 2 UID
            S: * 2 FETCH (UID 2)
            S: a OK FETCH completed
            C: b STORE 3 +FLAGS (\Flagged)
            S: * 3 FETCH (FLAGS (\Flagged))
            S: b OK STORE completed
            C: c SEARCH FLAGGED
            S: * SEARCH 3
            S: c OK [EXPUNGEISSUED] SEARCH completed
            C: d UID SEARCH 3
            S: * SEARCH 3
            S: d OK [EXPUNGEISSUED] UID SEARCH completed
            C: e UID SEARCH FLAGGED
            S: * SEARCH 3
            S: * 1 EXPUNGE
            S: e OK UID SEARCH completed
            C: f COPY 2 Sent
            S: f OK [COPYUID 3 3 1] COPY completed
        """)

    def test_order(self) -> None:
        """
        Flags, EXPUNGE and EXISTS of one look come in an order in which each number is right when it
        is read.
        """
        self.one.send(b"a STORE 1,3 +FLAGS.SILENT (\\Deleted)\r\n")
        self.one.send(b"b EXPUNGE\r\n")
        self.one.send(b"c STORE 1:2 +FLAGS.SILENT (\\Seen)\r\n")
        self.server.deliver()
        self.two.check(r"""
            C: a NOOP
            S: * 2 FETCH (FLAGS (\Seen))
            S: * 4 FETCH (FLAGS (\Seen))
            S: * 3 EXPUNGE
            S: * 1 EXPUNGE
            S: * 3 EXISTS
            S: * 1 RECENT
            S: a OK NOOP completed
        """)


class DeletedTests(SynchronousTestCase):
    """
    A mailbox that is deleted under a session (RFC 2180 §3.3).
    """

    def test_inIdle(self) -> None:
        """
        In IDLE, to a client that wants modSeqs: BYE is the last that it is told.
        """
        server = Server()
        server.deliver(mailbox="Sent")
        client = server.select("Sent (CONDSTORE)")
        client.send(b"a IDLE\r\n")
        server.deliver(mailbox="Sent")
        now(server.account.deleteMailbox("Sent"))
        client.settle()
        told = splitResponses(client.wire.take())
        self.assertEqual(told[-1], b"* BYE the selected mailbox was deleted")
        self.assertTrue(client.finished)

    def test_amidStore(self) -> None:
        """
        In the midst of a command: one BYE, and the command is still answered.
        """
        server = Server()
        server.deliver(mailbox="Sent")
        client = server.select("Sent")
        mailbox = type(now(server.account.openMailbox("Sent")))
        original = mailbox.storeFlags

        async def storeFlags(*arguments: Any) -> Any:
            result = await original(*arguments)
            await server.account.deleteMailbox("Sent")
            return result

        self.patch(mailbox, "storeFlags", storeFlags)
        self.assertEqual(
            client.send(b"a STORE 1 +FLAGS (new)\r\nb NOOP\r\n"),
            b"* BYE the selected mailbox was deleted\r\n"
            b"* 1 FETCH (FLAGS (\\Recent new))\r\na OK STORE completed\r\n",
        )
        self.assertTrue(client.finished)


class SQLStoreTests(SynchronousTestCase):
    """
    Over the SQL store, where commands of several sessions really overlap.
    """

    def setUp(self) -> None:
        """Start a server with four messages."""
        self.patch(fetch, "METADATA_SLICE", 1)
        fetch.compileItems.cache_clear()
        self.addCleanup(fetch.compileItems.cache_clear)
        self.server = SteppedServer(self.mktemp())
        self.addCleanup(lambda: now(self.server.store.stop()))
        for _ in range(4):
            self.server.deliver(flags=["\\Deleted"])

    def test_toldWithTheCommand(self) -> None:
        """
        What a command does to the selected mailbox is told before its OK.
        """
        session = self.server.select()
        self.server.store.atOnce = False
        for command, expected in (
            (b"STORE 1 +FLAGS (work)", b"* 1 FETCH (FLAGS (\\Recent \\Deleted work))"),
            (b"COPY 1 INBOX", b"* 5 EXISTS"),
            (b"APPEND INBOX {3+}\r\na\r\n", b"* 6 EXISTS"),
            (b"UID EXPUNGE 1", b"* 1 EXPUNGE"),
            (b"MOVE 1 Trash", b"* 1 EXPUNGE"),
            (b"EXPUNGE", b"* 1 EXPUNGE"),
        ):
            responses = splitResponses(session.send(b"a " + command + b"\r\n"))
            self.assertIn(expected, responses, command)
            self.assertTrue(responses[-1].startswith(b"a OK"), responses)
        self.server.store.atOnce = True
        self.assertEqual(session.send(b"b NOOP\r\n"), b"b OK NOOP completed\r\n")

    def test_pipelined(self) -> None:
        """
        Commands that come in one piece run strictly one after the other, each seeing what the one
        before did, however long that takes.
        """
        session = self.server.login()
        self.server.store.atOnce = False
        answer = session.send(
            b"a SELECT INBOX\r\nb STORE 1 FLAGS.SILENT (work)\r\nc FETCH 1 FLAGS\r\n"
            b"d EXPUNGE\r\ne UID SEARCH ALL\r\nf CLOSE\r\ng FETCH 1 FLAGS\r\n"
        )
        self.server.store.atOnce = True
        responses = splitResponses(answer)
        tagged = [each for each in responses if each[:2] in (b"%c " % tag for tag in b"abcdefg")]
        self.assertEqual(
            [each[:5].rstrip() for each in tagged],
            [b"a OK", b"b OK", b"c OK", b"d OK", b"e OK", b"f OK", b"g BAD"],
        )
        self.assertLess(
            responses.index(tagged[1]), responses.index(rb"* 1 FETCH (FLAGS (\Recent work))")
        )
        self.assertEqual(responses[responses.index(tagged[3]) + 1], b"* SEARCH 1")

    COMMANDS = (
        b"FETCH 1:4 (UID FLAGS RFC822.SIZE)",
        b"STORE 2:3 +FLAGS (\\Seen work)",
        b"EXPUNGE",
        b"MOVE 2:3 INBOX",
        b"UID SEARCH SUBJECT meeting",
        b"NOOP",
    )

    def test_overlapping(self) -> None:
        """
        Two sessions send different commands at once, in every order, and their steps alternate:
        afterwards both of them, and a third that said nothing, know the same.
        """
        for commands in permutations(self.COMMANDS, 2):
            for uid in range(4):
                self.server.deliver(flags=["\\Deleted"] if uid % 2 else [])
            sessions = [self.server.login() for _ in range(3)]
            models = [MailboxModel() for _ in sessions]
            for session, model in zip(sessions, models, strict=True):
                model.read(session.send(b"s SELECT INBOX\r\n"), b"SELECT", b"s")
                model.read(session.send(b"f FETCH 1:* (UID FLAGS)\r\n"), b"FETCH", b"f")
            self.server.store.atOnce = False
            for session, command in zip(sessions, commands, strict=False):
                session.stream.received(b"a " + command + b"\r\n")
                if self.server.store.steps:
                    self.server.store.steps.popleft()()
            self.server.settle()
            self.server.store.atOnce = True
            names = [each.removeprefix(b"UID ").split()[0] for each in commands]
            for session, model, name, command in zip(
                sessions, models, names, commands, strict=False
            ):
                model.read(session.wire.take(), b"UID" if command[:3] == b"UID" else name, b"a")
            self.agree(sessions, models)

    def agree(self, sessions: list[Conversation], models: list[MailboxModel]) -> None:
        """
        Hold clients to one another.
        """
        known = []
        for session, model in zip(sessions, models, strict=True):
            model.read(session.send(b"n NOOP\r\n"), b"NOOP", b"n")
            if model.messages:
                model.read(session.send(b"f FETCH 1:* (UID FLAGS)\r\n"), b"FETCH", b"f")
            known.append(model.flagsByUID())
            session.disconnect()
        self.assertEqual(known[1:], known[:-1])

    def test_deliveryWhileSelecting(self) -> None:
        """
        Mail that comes at any moment of a SELECT is seen by it, or told with the next command, and
        is recent in one session.
        """
        for moment in range(8):
            self.server.store.atOnce = False
            session = self.server.login()
            before = self.server.login()
            before.send(b"s SELECT INBOX\r\n")
            session.stream.received(b"s SELECT INBOX\r\n")
            for _ in range(moment):
                if self.server.store.steps:
                    self.server.store.steps.popleft()()
            ensureDeferred(self.append())
            for _ in range(3):
                if self.server.store.steps:
                    self.server.store.steps.popleft()()
            before.stream.received(b"n NOOP\r\n")
            self.server.settle()
            answers = [each.wire.take() for each in (session, before)]
            answers[0] += session.send(b"n NOOP\r\n")
            answers[1] += before.send(b"m NOOP\r\n")
            exists = [
                [line for line in splitResponses(each) if line.endswith(b" EXISTS")][-1]
                for each in answers
            ]
            self.assertEqual(exists, [b"* %d EXISTS" % (5 + moment)] * 2)
            flags = [
                each.send(b"f FETCH * FLAGS\r\n").count(b"\\Recent") for each in (session, before)
            ]
            self.assertEqual(sum(flags), 1, moment)
            self.server.store.atOnce = True
            for each in (session, before):
                each.disconnect()

    async def append(self) -> None:
        """
        New mail, step by step.
        """
        account = self.server.account
        writer = account.newContent()
        writer.write(b"Subject: new\r\n\r\n")
        staged = await writer.finish()
        inbox = await account.openMailbox("INBOX")
        await inbox.append([(staged, frozenset(), 0, 0)])
        staged.discard()
