"""
What holds for every command: C{twisted_mailstack.imap.session}.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import MESSAGE, Server, capabilities, now
from twisted_mailstack.errors import MailError, SessionEnded, TemporaryFailure
from twisted_mailstack.imap.extension import ANY, Command, Extension
from twisted_mailstack.imap.framing import WINDOW_BEFORE_LOGIN
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.registry import EXTENSIONS
from twisted_mailstack.imap.session import IMAPSession, IMAPSettings
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.testing.conversation import Conversation
from twisted_mailstack.testing.faulty import Fault, FaultyStore
from twisted_mailstack.wire.stream import HIGH_WATER

GREETING = (
    f"S: * OK [CAPABILITY {capabilities(False)} AUTH=PLAIN AUTH=LOGIN] imap.example.test ready"
)

#: Commands of RFC 3501 with arguments, by the states in which they are valid (§9).
NONAUTH = (b"LOGIN alice@example.test wrong", b"AUTHENTICATE X", b"STARTTLS")
AUTH = (
    b"SELECT Missing", b"EXAMINE Missing", b"CREATE INBOX", b"DELETE INBOX",
    b"RENAME Missing x", b"SUBSCRIBE a", b"UNSUBSCRIBE a", b'LIST "" ""', b'LSUB "" ""',
    b"STATUS INBOX (MESSAGES)", b"NAMESPACE",
)  # fmt: skip
SELECT = (
    b"CHECK", b"EXPUNGE", b"SEARCH ALL", b"FETCH 1 FLAGS", b"STORE 1 FLAGS ()", b"COPY 1 Missing",
    b"MOVE 1 Missing", b"UID FETCH 1 FLAGS", b"UID SEARCH ALL", b"UID STORE 1 FLAGS ()",
    b"UID COPY 1 Missing", b"UID MOVE 1 Missing", b"UID EXPUNGE 1", b"UNSELECT", b"CLOSE",
)  # fmt: skip


class ConversationTests(SynchronousTestCase):
    """
    Whole sessions, states and tags.
    """

    def setUp(self) -> None:
        """A server."""
        self.server = Server()

    def test_sample(self) -> None:
        """RFC 3501 §8's sample connection: greeting, login, select, fetch, store, logout."""
        for _ in range(3):
            self.server.deliver(flags=["\\Seen"])
        self.server.deliver()
        self.server.connect().check(
            r"""
            S: GREETING
            C: a001 login alice@example.test secret
            S: a001 OK [CAPABILITY LISTED] logged in
            C: a002 select inbox
            S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft)
            S: * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft \*)] Flags that are kept
            S: * 4 EXISTS
            S: * 4 RECENT
            S: * OK [UNSEEN 4] First unseen
            S: * OK [UIDVALIDITY 1] UIDs valid
            S: * OK [UIDNEXT 5] Predicted next UID
            S: * OK [MAILBOXID (M1-1)] Ok
            S: * OK [ANNOTATIONS 16384] Annotations of messages
            S: * OK [HIGHESTMODSEQ 11] Highest mailbox mod-sequence
            S: a002 OK [READ-WRITE] selected
            C: a003 fetch 4 (flags rfc822.size)
            S: * 4 FETCH (FLAGS (\Recent) RFC822.SIZE 333)
            S: a003 OK FETCH completed
            C: a005 store 4 +flags \deleted
            S: * 4 FETCH (FLAGS (\Recent \Deleted))
            S: a005 OK STORE completed
            C: a006 logout
            S: * BYE imap.example.test closing
            S: a006 OK LOGOUT completed
            """.replace("S: GREETING", GREETING)  # noqa: E501
            .replace("LISTED", capabilities(True))
            .replace("333", str(len(MESSAGE)))
        )

    def test_logoutEnds(self) -> None:
        """Behind LOGOUT the connection is closed, in every state; nothing is expunged."""
        self.server.deliver(flags=["\\Deleted"])
        for client in (self.server.connect(), self.server.login(), self.server.select()):
            client.wire.take()
            self.assertEqual(
                client.send(b"a LOGOUT\r\nb NOOP\r\n"),
                b"* BYE imap.example.test closing\r\na OK LOGOUT completed\r\n",
            )
            self.assertTrue(client.finished)
        self.assertEqual(now(now(self.server.account.openMailbox("INBOX")).status()).messages, 1)

    def test_states(self) -> None:
        """A command in the wrong state is answered BAD (RFC 3501 §3), and changes nothing."""
        self.server.deliver()
        for makeClient, wrong in (
            (self.server.connect, AUTH + SELECT + (b"ENABLE X", b"IDLE")),
            (self.server.login, NONAUTH + SELECT),
            (self.server.select, (*NONAUTH, b"ENABLE X")),
        ):
            client = makeClient()
            client.wire.take()
            for command in wrong:
                # Enough of them would end a session that isn't logged in.
                client = makeClient() if client.finished else client
                client.wire.take()
                answer = client.send(b"a " + command + b"\r\n")
                self.assertRegex(answer, rb"^a BAD Not when ", command)

    def test_validStates(self) -> None:
        """And in its states none is."""
        self.server.deliver()
        for makeClient, valid in (
            (self.server.connect, NONAUTH[:2]),
            (self.server.login, AUTH),
            (self.server.select, AUTH),
        ):
            for command in valid:
                client = makeClient()
                client.send(b"a " + command + b"\r\n")
                self.server.clock.advance(1)
                client.settle()
                self.assertNotIn(b"BAD", client.wire.take(), command)
        for command in SELECT:
            client = self.server.select()
            self.assertNotIn(b"BAD", client.send(b"a " + command + b"\r\n"), command)
            self.server.deliver()

    def test_unknown(self) -> None:
        """Unknown commands are BAD in every state, X ones and unknown UID ones too."""
        self.server.deliver()
        for client in (self.server.connect(), self.server.login(), self.server.select()):
            client.wire.take()
            client.check(
                """
                C: A442 XPIG-LATIN
                S: A442 BAD Unknown command
                C: A443 uid noop
                S: A443 BAD Unknown command
                C: A444 BLURDYBLOOP {102856}
                S: A444 BAD Unknown command
                C: A445 BLURDYBLOOP {4+}
                C: b NO (FOO)
                S: A445 BAD Unknown command
                """
            )

    def test_case(self) -> None:
        """The case of a command doesn't matter; that of a tag does."""
        self.server.select().check(
            """
            C: Aa nOOp
            S: Aa OK NOOP completed
            C: aA UiD sEarch ALL
            S: * SEARCH
            S: aA OK UID SEARCH completed
            """
        )

    def test_malformed(self) -> None:
        """
        "It is a syntax error to send a command with missing or extraneous spaces or arguments"
        (RFC 3501 §2.2.1): BAD with the command's tag, and the next command is served.
        """
        for line in (
            b"a", b"a ", b"a  NOOP", b"a NOOP ", b"a NOOP x", b"a NOOP\t",
            b"a NO\xc3\xa4",
            b"a NOOP\0", b"a UID", b"a UID ", b"a UID  FETCH 1 FLAGS", b"a UIDFETCH 1 FLAGS",
            b"a (NOOP)",
            b'a "NOOP"', b"a {4+}\r\nNOOP", b"a SELECT", b"a SELECT ", b"a SELECT INBOX ",
            b"a SELECT  INBOX", b"a SELECT INBOX x", b"a SELECT (INBOX)", b'a SELECT "INBOX',
            b"a CREATE",
            b"a DELETE", b"a RENAME x", b"a RENAME x y z", b"a SUBSCRIBE", b"a UNSUBSCRIBE",
            b"a LIST", b'a LIST ""', b'a LIST "" * x', b"a LSUB", b'a LSUB "" * x', b"a STATUS",
            b"a STATUS INBOX", b"a STATUS INBOX ()", b"a STATUS INBOX MESSAGES",
            b"a STATUS INBOX (MESSAGES", b"a STATUS INBOX (FOO)",
            b"a STATUS INBOX (MESSAGES  RECENT)",
            b"a STATUS INBOX ( MESSAGES)", b"a APPEND", b"a APPEND INBOX", b"a APPEND INBOX ",
            b"a APPEND INBOX x", b'a APPEND INBOX "x"', b"a CHECK x", b"a CLOSE x", b"a EXPUNGE x",
            b"a CAPABILITY x", b"a LOGOUT x", b"a NAMESPACE x", b"a UNSELECT x", b"a IDLE x",
            b"a UID EXPUNGE", b"a UID EXPUNGE x", b"a ID", b"a +", b"a *", b"a \\Seen", b"a ]",
        ):  # fmt: skip
            client = self.server.select()
            answer = client.send(line + b"\r\nb CHECK\r\n")
            self.assertRegex(answer, rb"^a BAD [^\r\n]+\r\nb OK CHECK completed\r\n$", line)

    def test_noTag(self) -> None:
        """Without a tag that can be told back, BAD is untagged (RFC 3501 §7.1.3)."""
        for line in (
            b"", b" ", b"+ NOOP", b"a+b NOOP", b"* NOOP", b"(a) NOOP", b'"a" NOOP',
            b"\xe4 NOOP", b"a%b",
            b"\0 NOOP", b"{3+}\r\nabc NOOP", b"+", b" a NOOP", b"a\\b NOOP", b"a\tNOOP",
            b"x" * 200_000 + b" NOOP",
        ):  # fmt: skip
            client = self.server.login()
            answer = client.send(line + b"\r\nb NOOP\r\n")
            self.assertRegex(answer, rb"^\* BAD [^\r\n]+\r\nb OK NOOP completed\r\n$", line[:20])

    def test_tagsThatMislead(self) -> None:
        """A tag may be anything, a command's name too."""
        client = self.server.login()
        client.check(
            """
            C: APPEND NOOP
            S: APPEND OK NOOP completed
            C: UID NOOP
            S: UID OK NOOP completed
            C: OK NOOP
            S: OK OK NOOP completed
            C: APPEND CREATE {3}
            S: + Ready
            C: foo
            S: APPEND OK [MAILBOXID (M1-7)] CREATE completed
            """
        )

    def test_longLine(self) -> None:
        """
        A line of 8,000 octets is fine (RFC 2683 §3.2.1.5), one that never ends is discarded and
        answered with its tag.
        """
        client = self.server.select()
        self.server.deliver()
        client.send(b"a NOOP\r\n")
        numbers = b",".join([b"1"] * 30_000)
        self.assertIn(b"a OK", client.send(b"a FETCH " + numbers + b" FLAGS\r\n"))
        self.assertEqual(
            client.send(b"a FETCH " + b",".join([b"1"] * 80_000) + b" FLAGS\r\nb NOOP\r\n"),
            b"a BAD [LIMIT] Line too long\r\nb OK NOOP completed\r\n",
        )
        client = self.server.connect()
        client.wire.take()
        self.assertEqual(
            client.send(b"a LOGIN " + b"x" * 9000 + b" y\r\nb NOOP\r\n"),
            b"a BAD [LIMIT] Line too long\r\nb OK NOOP completed\r\n",
        )


class OrderTests(SynchronousTestCase):
    """
    "The server MUST execute commands to completion in the order given by the client" (RFC 3501
    §5.5).
    """

    def test_waiting(self) -> None:
        """What is pipelined behind a command that waits is neither run nor answered before it."""
        server = Server()
        server.deliver()
        client = server.login()
        opened = now(server.account.openMailbox("INBOX"))
        ready: Deferred[Any] = Deferred()
        self.patch(server.account, "openMailbox", lambda name: ready)
        self.assertEqual(
            client.send(b"a SELECT INBOX\r\nb FETCH 1 UID\r\nc CREATE foo\r\nd LOGOUT\r\n"), b""
        )
        self.assertNotIn("foo", [info.name for info in now(server.account.listMailboxes())])
        ready.callback(opened)
        said = client.wire.take()
        self.assertRegex(
            said,
            rb"(?s)\* 1 EXISTS.*a OK .*\* 1 FETCH \(UID 1\)\r\nb OK .*\r\nc OK .*\* BYE .*d OK ",
        )
        self.assertTrue(client.finished)

    def test_clientGone(self) -> None:
        """When the client goes while a command waits, the command ends and nothing else runs."""
        server = Server()
        client = server.login()
        account = server.account
        create = account.createMailbox
        ready: Deferred[None] = Deferred()

        async def slow(name: str) -> Any:
            await ready
            return await create(name)

        self.patch(account, "createMailbox", slow)
        client.send(b"a CREATE one\r\nb DELETE Sent\r\n")
        client.disconnect()
        self.assertFalse(client.finished)
        ready.callback(None)
        self.assertTrue(client.finished)
        names = {info.name for info in now(account.listMailboxes())}
        self.assertIn("one", names)
        self.assertIn("Sent", names)

    def test_oneWrite(self) -> None:
        """The replies to commands that came together leave together."""
        server = Server()
        client = server.login()
        sent: list[bytes] = []
        self.patch(client.wire, "send", sent.append)
        client.send(b"a NOOP\r\nb NOOP\r\nc NOOP\r\n")
        self.assertEqual(len(sent), 1)


def raising(error: Exception) -> tuple[Extension, ...]:
    """
    @return: extensions with a command FAIL that raises this.
    """

    async def fail(session: IMAPSession, cursor: Cursor) -> None:
        raise error

    return (*EXTENSIONS, Extension(b"XFAIL", 3501, (Command(b"FAIL", ANY, fail),)))


class ErrorTests(SynchronousTestCase):
    """
    What goes wrong, and what the client is told of it.
    """

    def test_bug(self) -> None:
        """What isn't the client's business is logged whole and answered without details."""
        client = Server(extensions=raising(ValueError("/secret/path"))).login()
        client.check(
            """
            C: a FAIL
            S: a NO [SERVERBUG] internal error, try later
            C: b NOOP
            S: b OK NOOP completed
            """
        )
        (failure,) = self.flushLoggedErrors(ValueError)
        self.assertIn("in fail", failure.getTraceback())

    def test_text(self) -> None:
        """
        A text that third-party code gives can't end the line or leave ASCII (resp-text, RFC 3501
        §9).
        """
        error = MailError("größe\r\n* BYE x\0y", imapCode="CANNOT")
        client = Server(extensions=raising(error)).login()
        client.check(
            """
            C: a FAIL
            S: a NO [CANNOT] gr??e??* BYE x?y
            """
        )

    def test_tooManyErrors(self) -> None:
        """Before login a client that sends nonsense is disconnected, with a reason."""
        client = Server(maxErrors=3).connect()
        client.wire.take()
        client.check(
            """
            C: GET / HTTP/1.1
            S: GET BAD Unknown command
            C: Host: example.test
            S: Host: BAD Unknown command
            C:
            S: * BAD A command begins with its tag
            S: * BYE too many errors
            """
        )
        self.assertTrue(client.finished)

    def test_errorsAfterLogin(self) -> None:
        """A client that is logged in isn't."""
        client = Server(maxErrors=3).login()
        for _ in range(10):
            self.assertEqual(client.send(b"a FOO\r\n"), b"a BAD Unknown command\r\n")

    def test_newsOfAFailure(self) -> None:
        """A command that fails tells what others changed, too."""
        server = Server()
        client = server.select()
        server.deliver()
        client.check(
            """
            C: a CREATE INBOX
            S: * 1 EXISTS
            S: * 1 RECENT
            S: a NO [ALREADYEXISTS] That mailbox exists already
            """
        )


class EndTests(SynchronousTestCase):
    """
    "A server MUST NOT unilaterally close the connection without sending an untagged BYE response"
    (RFC 3501 §3.4).
    """

    def setUp(self) -> None:
        """A server."""
        self.server = Server()

    def test_autologout(self) -> None:
        """After half an hour without a command, not before (RFC 3501 §5.4)."""
        client = self.server.login()
        self.server.clock.advance(1799)
        self.assertEqual(client.wire.take(), b"")
        self.server.clock.advance(1)
        self.assertEqual(client.wire.take(), b"* BYE autologout: idle for too long\r\n")
        self.assertTrue(client.finished)

    def test_autologoutIsReset(self) -> None:
        """ANY command resets the timer."""
        client = self.server.login()
        for command in (b"NOOP", b"FOO", b"CREATE INBOX"):
            self.server.clock.advance(1700)
            self.assertIn(b"a ", client.send(b"a " + command + b"\r\n"))
        self.server.clock.advance(1799)
        self.assertFalse(client.finished)

    def test_beforeLogin(self) -> None:
        """A minute, before login; octets that make no command gain nothing."""
        client = self.server.connect()
        client.wire.take()
        for _ in range(59):
            self.server.clock.advance(1)
            client.send(b"x")
        self.assertFalse(client.finished)
        self.server.clock.advance(1)
        self.assertEqual(client.wire.take(), b"* BYE autologout: idle for too long\r\n")

    def test_settings(self) -> None:
        """Less than RFC 3501's half an hour can't be configured."""
        with self.assertRaises(ValueError):
            IMAPSettings(hostname="x", timeout=1799)

    def test_shutdown(self) -> None:
        """When the server stops, it says so: idle, selected, in a literal, or authenticating."""
        for start in (b"", b"a SELECT INBOX\r\n", b"a APPEND INBOX {10}\r\nabc", b"a CREATE x"):
            client = self.server.login()
            client.send(start)
            client.stream.end(SessionEnded.SHUTDOWN)
            self.assertEqual(client.wire.take(), b"* BYE shutting down\r\n", start)
            self.assertTrue(client.finished)
        client = self.server.connect()
        client.send(b"a AUTHENTICATE PLAIN\r\n")
        client.stream.end(SessionEnded.SHUTDOWN)
        self.assertEqual(client.wire.take(), b"* BYE shutting down\r\n")

    def test_shutdownWhileBusy(self) -> None:
        """A command under way is finished first."""
        client = self.server.login()
        ready: Deferred[None] = Deferred()

        async def slow(name: str) -> None:
            await ready

        self.patch(self.server.account, "deleteMailbox", slow)
        client.send(b"a DELETE Sent\r\n")
        client.stream.end(SessionEnded.SHUTDOWN)
        self.assertEqual(client.wire.take(), b"")
        ready.callback(None)
        self.assertEqual(client.wire.take(), b"a OK DELETE completed\r\n* BYE shutting down\r\n")

    def test_deletedMailbox(self) -> None:
        """RFC 2180 §3.3: who has selected a mailbox that another session deletes is told so."""
        now(self.server.account.createMailbox("FOO"))
        other = self.server.select("FOO")
        self.assertEqual(
            self.server.login().send(b"A002 DELETE FOO\r\n"), b"A002 OK DELETE completed\r\n"
        )
        other.check(
            """
            C: b NOOP
            S: * BYE the selected mailbox was deleted
            S: b OK NOOP completed
            """
        )
        self.assertTrue(other.finished)

    def test_goneInALiteral(self) -> None:
        """A connection that breaks in the midst of a literal leaves no message."""
        for sent in (b"", b"Subject: x\r\n", MESSAGE):
            client = self.server.login()
            client.send(b"a APPEND INBOX {%d}\r\n" % len(MESSAGE) + sent)
            client.disconnect()
            self.assertTrue(client.finished)
            self.assertIsNone(client.failure)
        self.assertEqual(now(now(self.server.account.openMailbox("INBOX")).status()).messages, 0)

    def test_noWatchersAreLeft(self) -> None:
        """However a session ends, it watches its mailbox no longer."""
        box = self.server.account.boxes["INBOX"]  # type: ignore[attr-defined]
        for end in (
            lambda client: client.disconnect(),
            lambda client: client.send(b"a LOGOUT\r\n"),
            lambda client: client.send(b"a SELECT Missing\r\n"),
            lambda client: client.send(b"a CLOSE\r\n"),
            lambda client: client.stream.end(SessionEnded.SHUTDOWN),
            lambda client: self.server.clock.advance(1800),
        ):
            client = self.server.select()
            self.assertEqual(len(box.watchers), 1)
            end(client)
            self.assertEqual(len(box.watchers), 0)


class MemoryTests(SynchronousTestCase):
    """
    What a client can make the server hold.
    """

    def flood(self, client: Conversation, start: bytes, chunk: bytes, octets: int) -> int:
        """
        Send as long as the server reads.

        @return: the most octets the process held for it.
        """
        client.send(start)
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(octets // len(chunk)):
                if client.wire.paused or client.finished:
                    break
                client.send(chunk)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        return peak - before

    def test_beforeLogin(self) -> None:
        """
        Nobody who isn't logged in makes the server hold more than 64 KB, whatever is sent: a line
        without end, literals of any size in any number, or an endless authentication.
        """
        server = Server()
        for start, chunk in (
            (b"", b"x" * 2048),
            (b"a LOGIN ", b"x" * 2048),
            (b'a LOGIN "', b"x" * 2048),
            (b"a LOGIN {4096+}\r\n", b"x" * 4096),
            (b"a LOGIN {60000000+}\r\n", b"x" * 4096),
            (b"a LOGIN {60000000+}\r\n", b" {0+}\r\n" * 500),
            (b"a LOGIN", b" {100+}\r\n" + b"x" * 100),
            (b"a LOGIN", b" {0+}\r\n"),
            (b"a ID (", b'"x" {1000+}\r\n' + b"x" * 1000 + b" "),
            (b"a AUTHENTICATE PLAIN\r\n", b"x" * 2048),
            (b"a AUTHENTICATE PLAIN ", b"x" * 2048),
            (b"", b"\r\n"),
            (b"", b"a\0" * 1000),
        ):
            client = server.connect()
            held = self.flood(client, start, chunk, 200_000)
            self.assertLess(held, 64 * 1024, (start, chunk[:20]))

    def test_whileItWaits(self) -> None:
        """
        While a failed login is being delayed the client is read from until a small window of it
        waits, no longer.
        """
        client = Server().connect()
        client.send(b"a LOGIN x y\r\n")
        sent = 0
        while not client.wire.paused:
            client.send(b"b NOOP\r\n" * 100)
            sent += 800
        self.assertLessEqual(sent, WINDOW_BEFORE_LOGIN + 800)

    def test_window(self) -> None:
        """
        Before login, and again after UNAUTHENTICATE, little is read ahead and little waits to be
        sent; who is logged in has room.
        """
        client = Server().connect()
        self.assertEqual(client.wire.window, WINDOW_BEFORE_LOGIN)
        client.send(b"a LOGIN alice@example.test wrong\r\n")
        self.assertEqual(client.wire.window, WINDOW_BEFORE_LOGIN)
        client.clock.advance(10)
        client.send(b"a LOGIN alice@example.test secret\r\n")
        self.assertEqual(client.wire.window, HIGH_WATER)
        client.send(b"a UNAUTHENTICATE\r\n")
        self.assertEqual(client.wire.window, WINDOW_BEFORE_LOGIN)

    def test_allThatIsHeld(self) -> None:
        """
        All that one who isn't logged in can make the server hold at a time, the session itself
        included, is less than 64 KB: a command as it is put together, as much input as fills the
        window and one more read of that size, and answers that aren't taken.
        """
        server = Server()
        for start in (
            # Waits for the rest of a command, as large as it may be.
            b"a ID (" + b" ".join(b'"%d" {2000+}\r\n' % n + b"x" * 2000 for n in range(7)),
            # In the midst of an authentication.
            b"a AUTHENTICATE PLAIN\r\n" + b"A" * 12_000,
            # While a failed login is delayed.
            b"a LOGIN x y\r\n",
            # The transport says that the peer takes nothing.
            b"",
        ):
            sent = start + b"b CAPABILITY\r\n" * 5000
            tracemalloc.start()
            try:
                before, _ = tracemalloc.get_traced_memory()
                client = server.connect()
                self.takeNothing(client)
                for at in range(0, len(sent), WINDOW_BEFORE_LOGIN):
                    if client.wire.paused:
                        break
                    # As much as one read brings.
                    client.stream.received(sent[at : at + WINDOW_BEFORE_LOGIN])
                    client.settle()
                held, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            self.assertTrue(client.wire.paused, start[:20])
            self.assertLess(held - before, 64 * 1024, start[:20])

    def takeNothing(self, client: Conversation) -> None:
        """
        The peer takes nothing, and the transport says so once a window of it waits.
        """
        send = client.wire.send

        def fill(data: bytes) -> None:
            send(data)
            client.stream.setBlocked(len(client.wire.sent) > WINDOW_BEFORE_LOGIN)

        client.wire.send = fill  # type: ignore[method-assign]

    def test_whoDoesNotRead(self) -> None:
        """
        A client that sends commands and doesn't read the answers is not read from either: its
        answers are bounded.
        """
        server = Server()
        for client in (server.connect(), server.login()):
            client.wire.take()
            client.stream.setBlocked(True)
            for _ in range(100):
                if client.wire.paused:
                    break
                client.send(b"a CAPABILITY\r\n" * 100)
            self.assertTrue(client.wire.paused)
            self.assertEqual(client.wire.take(), b"")
            client.stream.setBlocked(False)
            self.assertIn(b"a OK CAPABILITY", client.wire.take())


class BrokenStoreTests(SynchronousTestCase):
    """
    A store that fails, at whichever call: every command is answered, and the session goes on.
    """

    SCRIPT = (
        b'a LIST "" *\r\n', b'a LSUB "" *\r\n', b"a CREATE foo\r\n",
        b"a STATUS INBOX (MESSAGES)\r\n",
        b"a SUBSCRIBE foo\r\n", b"a SELECT INBOX\r\n", b"a NOOP\r\n",
        b"a APPEND INBOX (\\Seen) {%d+}\r\n%b\r\n" % (len(MESSAGE), MESSAGE),
        b"a FETCH 1 (UID BODY[])\r\n", b"a STORE 1 +FLAGS (\\Deleted)\r\n", b"a COPY 1 foo\r\n",
        b"a SEARCH TEXT meet\r\n", b"a EXPUNGE\r\n", b"a RENAME foo bar\r\n", b"a DELETE bar\r\n",
        b"a EXAMINE INBOX\r\n", b"a CLOSE\r\n",
    )  # fmt: skip

    def play(self, failAt: int, error: Callable[[], Exception] = Fault) -> tuple[list[bytes], int]:
        """
        @param failAt: the number of the call that fails, 0 for none.
        @return: the answers, and how many calls were made.
        """
        store = FaultyStore(MemoryMailStore())
        server = Server(store=store)
        server.deliver()
        client = server.login()
        before = len(store.calls)
        if failAt:
            store.failAt(failAt, error)
        answers = []
        for command in self.SCRIPT:
            answers.append(client.send(command))
            self.assertFalse(client.finished, (failAt, command))
        return answers, len(store.calls) - before

    def test_none(self) -> None:
        """If none fails, all commands succeed."""
        answers, calls = self.play(0)
        self.assertGreater(calls, 25)
        for answer in answers:
            self.assertRegex(answer, rb"(?:\A|\r\n)a OK [^\r\n]*\r\n\Z")

    def everyCall(self, error: Callable[[], Exception]) -> None:
        """
        At each call in turn.
        """
        _, calls = self.play(0)
        for failAt in range(1, calls + 1):
            answers, _ = self.play(failAt, error)
            for command, answer in zip(self.SCRIPT, answers, strict=True):
                tagged = [line for line in answer.split(b"\r\n") if line.startswith(b"a ")]
                self.assertEqual(len(tagged), 1, (failAt, command, answer))
                self.assertTrue(answer.endswith(tagged[0] + b"\r\n"))

    def test_unexpected(self) -> None:
        """With an exception that nobody expects, which is logged."""
        self.everyCall(Fault)
        _, calls = self.play(0)
        self.assertEqual(len(self.flushLoggedErrors(Fault)), calls)

    def test_temporary(self) -> None:
        """With one that the client is told (RFC 5530 UNAVAILABLE)."""
        self.everyCall(TemporaryFailure)
        self.flushLoggedErrors(TemporaryFailure)
        answers, _ = self.play(1, TemporaryFailure)
        self.assertEqual(answers[0], b"a NO [UNAVAILABLE] Temporary failure, try again later\r\n")
