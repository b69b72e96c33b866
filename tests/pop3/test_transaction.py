"""
Commands of the TRANSACTION state (RFC 1939 §5, §7) and what QUIT does then (§6).
"""

from __future__ import annotations

from tests.pop3.support import FIRST, SECOND, POP3TestCase, multiLine, now
from twisted_mailstack.errors import OverQuota, SessionEnded, StoreDamaged, TemporaryFailure
from twisted_mailstack.model.flags import SEEN
from twisted_mailstack.model.records import Attribute
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.pop3 import surrogate
from twisted_mailstack.pop3.surrogate import WINDOW
from twisted_mailstack.storage.memory import MemoryContent
from twisted_mailstack.testing.conversation import Conversation

HEADER = b"Subject: x\r\n\r\n"


class TransactionTestCase(POP3TestCase):
    """
    @ivar client: logged in, with two messages.
    """

    def setUp(self) -> None:
        """Log in."""
        super().setUp()
        self.client = self.server.login()

    def check(self, script: str) -> None:
        """Hold the client's conversation to a script."""
        self.client.check(script)

    def again(self, *messages: bytes) -> None:
        """Log in anew, with these messages alone."""
        self.client.disconnect()
        self.server.expunge(*range(1, 1000))
        self.server.put(*messages)
        self.client = self.server.login()
        self.server.gate.calls.clear()

    def retrieve(self, number: int = 1) -> bytes:
        """
        @return: a message as a client reads it.
        """
        _, text, rest = multiLine(self.client.send(b"RETR %d\r\n" % number))
        self.assertEqual(rest, b"")
        return text

    def top(self, lines: int, number: int = 1) -> bytes:
        """
        @return: the top of a message as a client reads it.
        """
        _, text, rest = multiLine(self.client.send(b"TOP %d %d\r\n" % (number, lines)))
        self.assertEqual(rest, b"")
        return text


class CommandTests(TransactionTestCase):
    """
    The commands, as in RFC 1939's examples.
    """

    def test_stat(self) -> None:
        """The number of messages and their octets; deleted ones don't count (§5)."""
        self.check("""
            C: STAT
            S: +OK 2 64
            C: DELE 1
            S: +OK message 1 deleted
            C: STAT
            S: +OK 1 25
            C: DELE 2
            S: +OK message 2 deleted
            C: STAT
            S: +OK 0 0
        """)

    def test_list(self) -> None:
        """All messages that aren't deleted, or one; their numbers stay what they were (§5)."""
        self.check("""
            C: LIST
            S: +OK 2 messages, 64 octets
            S: 1 39
            S: 2 25
            S: .
            C: LIST 2
            S: +OK 2 25
            C: DELE 1
            S: +OK message 1 deleted
            C: LIST
            S: +OK 1 messages, 25 octets
            S: 2 25
            S: .
            C: LIST 1
            S: -ERR That message is deleted
            C: LIST 3
            S: -ERR No such message
        """)

    def test_empty(self) -> None:
        """An empty maildrop has no messages."""
        self.again()
        self.check("""
            C: STAT
            S: +OK 0 0
            C: LIST
            S: +OK 0 messages, 0 octets
            S: .
            C: UIDL
            S: +OK unique-ids follow
            S: .
            C: RETR 1
            S: -ERR No such message
            C: RSET
            S: +OK 0 messages, 0 octets
            C: QUIT
            S: +OK bye
        """)

    def test_retr(self) -> None:
        """The message, its dots stuffed (§5)."""
        self.check("""
            C: RETR 1
            S: +OK 39 octets
            S: Subject: first
            S:\x20
            S: one
            S: ..two
            S: ..
            S: three
            S: .
            C: RETR 3
            S: -ERR No such message
        """)

    def test_dele(self) -> None:
        """A deleted message is not there any more for this session (§5)."""
        self.check("""
            C: DELE 1
            S: +OK message 1 deleted
            C: DELE 1
            S: -ERR That message is deleted
            C: RETR 1
            S: -ERR That message is deleted
            C: TOP 1 0
            S: -ERR That message is deleted
            C: UIDL 1
            S: -ERR That message is deleted
            C: DELE 3
            S: -ERR No such message
        """)

    def test_noop(self) -> None:
        """Nothing (§5)."""
        self.check("""
            C: NOOP
            S: +OK
        """)

    def test_rset(self) -> None:
        """Nothing is deleted any more (§5)."""
        self.check("""
            C: DELE 1
            S: +OK message 1 deleted
            C: DELE 2
            S: +OK message 2 deleted
            C: RSET
            S: +OK 2 messages, 64 octets
            C: RETR 2
            S: +OK 25 octets
            S: Subject: second
            S:\x20
            S: text
            S: .
            C: QUIT
            S: +OK bye
        """)
        self.assertEqual(self.server.messages(), [FIRST, SECOND])

    def test_uidl(self) -> None:
        """A unique-id for each message that isn't deleted, or for one (§7)."""
        rows = now(self.server.inbox().fetch(NumberSet.of([1, 2]), (Attribute.MESSAGE_ID,)))
        found = now(self.server.inbox().account.uniqueIds([row[1] for row in rows]))
        first, second = found.values()
        self.check(f"""
            C: UIDL
            S: +OK unique-ids follow
            S: 1 {first}
            S: 2 {second}
            S: .
            C: UIDL 2
            S: +OK 2 {second}
            C: DELE 1
            S: +OK message 1 deleted
            C: UIDL
            S: +OK unique-ids follow
            S: 2 {second}
            S: .
            C: UIDL 3
            S: -ERR No such message
        """)

    def test_numbers(self) -> None:
        """What isn't a message's number is refused, by every command that takes one."""
        for number in (
            *(b"0", b"3", b"-1", b"+1", b"1.0", b"1,2", b"1:2", b"*", b"x", b"1x", b"0x1", b"00"),
            *(b"4294967297", b"18446744073709551617", b"9" * 200, b"\xb9", "１".encode(), b"1\0"),
        ):
            for line in (b"LIST %b", b"UIDL %b", b"RETR %b", b"DELE %b", b"TOP %b 0"):
                said = self.client.send(line % number + b"\r\n")
                self.assertEqual((said[:5], said.count(b"\r\n")), (b"-ERR ", 1), (line, number))
            # So much nonsense would end the session.
            self.client.disconnect()
            self.client = self.server.login()
        self.check("""
            C: STAT
            S: +OK 2 64
        """)

    def test_snapshot(self) -> None:
        """What arrives during a session is in the next one, and isn't deleted by this one (§5)."""
        self.server.put(b"Subject: later\r\n\r\n")
        self.check("""
            C: STAT
            S: +OK 2 64
            C: RETR 3
            S: -ERR No such message
            C: DELE 1
            S: +OK message 1 deleted
            C: DELE 2
            S: +OK message 2 deleted
            C: QUIT
            S: +OK bye
        """)
        self.assertEqual(self.server.messages(), [b"Subject: later\r\n\r\n"])

    def test_seenIsIMAPs(self) -> None:
        r"""Reading by POP3 doesn't set IMAP's flags."""
        self.retrieve()
        self.client.send(b"QUIT\r\n")
        rows = now(self.server.inbox().fetch(NumberSet([(1, 9)]), (Attribute.FLAGS,)))
        self.assertFalse(any(SEEN in flags for _, flags in rows))


class RETRTests(TransactionTestCase):
    """
    Messages of all kinds come whole.
    """

    MESSAGES = (
        FIRST,
        b"",
        b"\r\n",
        b".\r\n",
        b".",
        b"..\r\n...\r\n.\r\n\r\n.\r\n",
        b"Subject: only a header\r\n",
        HEADER,
        HEADER + b".\r\n.\r\n",
        HEADER + bytes(range(256)).replace(b"\n", b"").replace(b"\r", b"") + b"\r\n",
        HEADER + b"x" * 5000 + b"\r\n." + b"y" * 5000 + b"\r\n",
        HEADER + b"\r\n" * 50,
        HEADER + b"a\rb\r\r\nc\r\n",
    )

    def test_whole(self) -> None:
        """Octet for octet: 8-bit, NUL, dots anywhere, long lines; and as large as LIST says."""
        self.again(*self.MESSAGES)
        for number, message in enumerate(self.MESSAGES, 1):
            ending = b"" if message.endswith(b"\r\n") or not message else b"\r\n"
            self.assertEqual(self.retrieve(number), message + ending)
            self.assertEqual(
                self.client.send(b"LIST %d\r\n" % number), b"+OK %d %d\r\n" % (number, len(message))
            )

    def test_windows(self) -> None:
        """However a message is cut while it is sent, the same octets come."""
        self.again(*self.MESSAGES)
        for window in (1, 2, 3, 5, 4096):
            self.patch(surrogate, "WINDOW", window)
            for number, message in enumerate(self.MESSAGES, 1):
                ending = b"" if message.endswith(b"\r\n") or not message else b"\r\n"
                self.assertEqual(self.retrieve(number), message + ending)

    def test_windowEdges(self) -> None:
        """A line that begins with a dot at the edge of a window has it stuffed."""
        for at in range(-4, 5):
            message = b"x" * (WINDOW + at) + b"\r\n.\r\n" + b"y" * WINDOW + b"\r\n"
            self.again(message)
            self.assertEqual(self.retrieve(), message)

    def test_noEnd(self) -> None:
        """A message without a final line end gets one, and the end is where it is."""
        self.again(HEADER + b"no end", HEADER + b"one\r\n.", b"\r")
        self.assertEqual(
            self.client.send(b"RETR 1\r\nRETR 2\r\nRETR 3\r\nNOOP\r\n"),
            b"+OK 20 octets\r\nSubject: x\r\n\r\nno end\r\n.\r\n"
            b"+OK 20 octets\r\nSubject: x\r\n\r\none\r\n..\r\n.\r\n"
            b"+OK 1 octets\r\n\r\r\n.\r\n"
            b"+OK\r\n",
        )

    def test_bareLF(self) -> None:
        """
        A message with bare LFs can't end its response, whatever the client takes for a line's end:
        they come as CRLF.
        """
        self.again(b"Subject: x\n\none\n.\n+OK 99 octets\n..\n")
        self.assertEqual(
            self.client.send(b"RETR 1\r\nNOOP\r\n"),
            b"+OK 35 octets\r\nSubject: x\r\n\r\none\r\n..\r\n+OK 99 octets\r\n...\r\n.\r\n+OK\r\n",
        )
        self.assertEqual(self.top(1), b"Subject: x\r\n\r\none\r\n")

    def test_streams(self) -> None:
        """
        A large message is read window by window, each when the client has taken the one before.
        """
        self.again(HEADER + b"z" * (5 * WINDOW))
        send = self.client.wire.send

        def fill(data: bytes) -> None:
            send(data)
            self.client.stream.setBlocked(True)

        self.patch(self.client.wire, "send", fill)
        said = [self.client.send(b"RETR 1\r\nNOOP\r\n")]
        while not said[-1].endswith(b"+OK\r\n"):
            self.assertEqual(self.server.gate.calls.count("read"), len(said))
            self.client.stream.setBlocked(False)
            said.append(self.client.wire.take())
        self.assertEqual(len(said), 6)
        self.assertLessEqual(max(map(len, said)), WINDOW + 100)
        _, text, rest = multiLine(b"".join(said))
        self.assertEqual((text, rest), (HEADER + b"z" * (5 * WINDOW) + b"\r\n", b"+OK\r\n"))

    def test_expunged(self) -> None:
        """A message that IMAP has removed meanwhile can't be had; the session goes on."""
        self.server.expunge(1)
        self.check("""
            C: RETR 1
            S: -ERR That message was removed by another session
            C: TOP 1 0
            S: -ERR That message was removed by another session
            C: DELE 1
            S: +OK message 1 deleted
            C: RETR 2
            S: +OK 25 octets
            S: Subject: second
            S:\x20
            S: text
            S: .
            C: DELE 2
            S: +OK message 2 deleted
            C: QUIT
            S: +OK bye
        """)
        self.assertEqual(self.server.messages(), [])


class TOPTests(TransactionTestCase):
    """
    TOP (§7): the header, the blank line, and so many lines of the body.
    """

    def test_lines(self) -> None:
        """None, some, all, and more lines than there are."""
        self.check("""
            C: TOP 1 0
            S: +OK top of message follows
            S: Subject: first
            S:\x20
            S: .
            C: TOP 1 2
            S: +OK top of message follows
            S: Subject: first
            S:\x20
            S: one
            S: ..two
            S: .
        """)
        self.assertEqual(self.top(4), FIRST)
        self.assertEqual(self.top(5), FIRST)
        self.assertEqual(self.top(2**80), FIRST)
        self.assertEqual(self.top(0, 2), b"Subject: second\r\n\r\n")

    def test_notANumber(self) -> None:
        """The number of lines is not negative, and a number."""
        for lines in (b"-1", b"x", b"+1", b"1.5", b"\xb2"):
            self.assertEqual(
                self.client.send(b"TOP 1 %b\r\n" % lines), b"-ERR A number of lines is needed\r\n"
            )

    def test_shapes(self) -> None:
        """Messages without a body, without a blank line, without a header, or without an end."""
        for message, header, one in (
            (b"", b"", b""),
            (b"A: b\r\n", b"A: b\r\n", b"A: b\r\n"),
            (b"A: b\r\n\r\n", b"A: b\r\n\r\n", b"A: b\r\n\r\n"),
            (b"\r\nx\r\ny\r\n", b"\r\n", b"\r\nx\r\n"),
            (b"A: b\r\n\r\nx", b"A: b\r\n\r\n", b"A: b\r\n\r\nx\r\n"),
            (b"A: b\r\n\r\n\r\n\r\n", b"A: b\r\n\r\n", b"A: b\r\n\r\n\r\n"),
            (b"A: b\r\n c\r\n\r\n.\r\n", b"A: b\r\n c\r\n\r\n", b"A: b\r\n c\r\n\r\n.\r\n"),
        ):
            self.again(message)
            self.assertEqual(self.top(0), header, message)
            self.assertEqual(self.top(1), one, message)

    def test_windows(self) -> None:
        """However the message is cut while it is sent, the lines are counted right."""
        body = [b"one\r\n", b"\r\n", b".\r\n", b"\r\n", b"five\r\n"]
        header = b"Subject: x\r\nTo: y\r\n\r\n"
        self.again(header + b"".join(body))
        for window in (*range(1, 9), len(header) - 1, len(header), len(header) + 1):
            self.patch(surrogate, "WINDOW", window)
            for lines in range(7):
                self.assertEqual(self.top(lines), header + b"".join(body[:lines]), (window, lines))

    def test_largeHeader(self) -> None:
        """A header of several windows comes whole."""
        header = b"".join(b"X-%06d: %b\r\n" % (n, b"v" * 100) for n in range(3000)) + b"\r\n"
        self.assertGreater(len(header), 2 * WINDOW)
        self.again(header + b"one\r\ntwo\r\n")
        self.assertEqual(self.top(0), header)
        self.assertEqual(self.top(1), header + b"one\r\n")

    def test_readsNoMore(self) -> None:
        """A client that asks for headers only doesn't have large messages read."""
        self.again(HEADER + b"z\r\n" * WINDOW)
        asked: list[int] = []
        read = MemoryContent.read

        async def watch(content: MemoryContent, offset: int, length: int) -> bytes:
            asked.append(length)
            return await read(content, offset, length)

        self.patch(MemoryContent, "read", watch)
        self.top(0)
        self.assertEqual(asked, [len(HEADER)])
        self.top(3)
        self.assertEqual(len(asked), 2)


class QUITTests(TransactionTestCase):
    """
    UPDATE (§6).
    """

    def left(self) -> list[bytes]:
        """
        @return: what is in the mailbox when the session is over and the maildrop free.
        """
        self.assertFreed(self.client)
        return self.server.messages()

    def test_deletes(self) -> None:
        """QUIT deletes what is marked, and nothing else; until then all is there for others."""
        self.client.send(b"DELE 2\r\n")
        self.assertEqual(self.server.messages(), [FIRST, SECOND])
        self.assertEqual(self.client.send(b"QUIT\r\n"), b"+OK bye\r\n")
        self.assertEqual(self.left(), [FIRST])

    def test_nothing(self) -> None:
        """QUIT without a deletion changes nothing."""
        self.server.gate.calls.clear()
        self.assertEqual(self.client.send(b"QUIT\r\n"), b"+OK bye\r\n")
        self.assertEqual((self.left(), self.server.gate.calls), ([FIRST, SECOND], []))

    def test_someExpunged(self) -> None:
        """What IMAP removed meanwhile is no hindrance."""
        self.server.expunge(1)
        self.client.send(b"DELE 1\r\nDELE 2\r\n")
        self.assertEqual(self.client.send(b"QUIT\r\n"), b"+OK bye\r\n")
        self.assertEqual(self.left(), [])

    def test_fails(self) -> None:
        """
        If the messages can't be deleted QUIT says so, none is deleted, the maildrop is free and
        the connection closed (§6).
        """
        for error, said in (
            (TemporaryFailure, b"[SYS/TEMP] Temporary failure, try again later"),
            (StoreDamaged, b"[SYS/PERM] The stored data is damaged"),
            (OverQuota, b"The account is over its quota"),
            (lambda: OSError(28, "/data"), b"[SYS/TEMP] Temporary failure, try again later"),
        ):
            self.server.gate.error, self.server.gate.fails = error, {"removeMessages"}
            self.client.send(b"DELE 1\r\nDELE 2\r\n")
            self.assertEqual(self.client.send(b"QUIT\r\nQUIT\r\nSTAT\r\n"), b"-ERR %b\r\n" % said)
            self.assertEqual(self.left(), [FIRST, SECOND])
            self.server.gate.fails = set()
            self.client = self.server.login()
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_oneStep(self) -> None:
        """All deletions are one change for everybody else."""
        before = now(self.server.inbox().status()).highestModSeq
        self.client.send(b"DELE 1\r\nDELE 2\r\nQUIT\r\n")
        self.assertEqual(now(self.server.inbox().status()).highestModSeq, before + 1)


class FailureTests(TransactionTestCase):
    """
    The store fails, at any of its calls.
    """

    def test_everyCall(self) -> None:
        """
        Whichever call fails, with an error for the peer or with a defect: no lie, no hang; a
        response half sent ends the connection; only a QUIT that said +OK has deleted.
        """
        script = b"LIST\r\nUIDL\r\nRETR 1\r\nTOP 2 0\r\nDELE 1\r\nDELE 2\r\nQUIT\r\n"
        self.patch(surrogate, "WINDOW", 10)
        defects = 0
        for error in (TemporaryFailure, lambda: RuntimeError("defect")):
            for at in range(100):
                self.client.disconnect()
                gate = self.server.gate
                gate.calls.clear()
                gate.error, gate.failAt = error, at
                client = self.client = self.server.connect()
                said = client.send(b"USER alice\r\nPASS secret\r\n" + script + b"QUIT\r\n")
                reached = len(gate.calls) > at
                gate.failAt = None
                self.assertTrue(client.finished)
                if client.failure is not None:
                    client.failure.raiseException()
                self.assertFalse(self.server.locked)
                defects += len(self.flushLoggedErrors(RuntimeError))
                deleted = said.endswith(b"+OK bye\r\n") and b"message 2 deleted" in said
                self.assertEqual(self.server.messages(), [] if deleted else [FIRST, SECOND])
                if deleted:
                    self.server.put(FIRST, SECOND)
                if not reached:
                    self.assertTrue(deleted)
                    break
                self.assertTrue(b"-ERR [SYS/TEMP] " in said or not said.endswith(b".\r\n"))
            else:
                self.fail("never through")
        self.assertGreater(defects, 5)

    def test_firstRead(self) -> None:
        """A message that can't be read at all is an error, and the session goes on."""
        self.server.gate.fails, self.server.gate.error = {"read"}, StoreDamaged
        self.assertEqual(
            self.client.send(b"RETR 1\r\nTOP 1 0\r\nNOOP\r\n"),
            b"-ERR [SYS/PERM] The stored data is damaged\r\n" * 2 + b"+OK\r\n",
        )

    def broken(self, client: Conversation, said: bytes, sent: bytes) -> None:
        """The response ends in the midst, and so does the connection; nothing is deleted."""
        self.assertEqual(said, sent)
        self.assertTrue(client.wire.lost)
        self.assertFreed(client)
        self.assertEqual(now(self.server.inbox().status()).messages, 1)

    def test_laterRead(self) -> None:
        """
        If the rest of a message can't be read the connection is closed without the end of the
        response: so the client knows that it hasn't the whole message.
        """
        for error, logged in ((StoreDamaged, 0), (lambda: OSError(5, "I/O"), 1)):
            self.again(HEADER + b"abc\r\ndef\r\n")
            self.patch(surrogate, "WINDOW", 19)
            self.server.gate.error, self.server.gate.failAt = error, 2
            said = self.client.send(b"RETR 1\r\nNOOP\r\nQUIT\r\n")
            self.server.gate.failAt = None
            self.broken(self.client, said, b"+OK 24 octets\r\nSubject: x\r\n\r\nabc\r\n")
            self.assertEqual(len(self.flushLoggedErrors(OSError)), logged)

    def test_shortRead(self) -> None:
        """A store that gives less than there should be is damaged, and the client notices."""
        self.again(HEADER + b"abc\r\ndef\r\n")
        data = self.server.messages()[0]

        async def read(content: object, offset: int, length: int) -> bytes:
            return data[:19][offset : offset + length]

        self.patch(MemoryContent, "read", read)
        said = self.client.send(b"RETR 1\r\nNOOP\r\nQUIT\r\n")
        self.broken(self.client, said, b"+OK 24 octets\r\nSubject: x\r\n\r\nabc\r\n")


class LostTests(TransactionTestCase):
    """
    The client goes away, or the server does, in the midst of a message.
    """

    def setUp(self) -> None:
        """A client that doesn't read, in the midst of a large message."""
        super().setUp()
        self.again(HEADER + b"z" * (3 * WINDOW))
        self.client.stream.setBlocked(True)
        self.client.send(b"DELE 1\r\nRSET\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n")

    def test_disconnect(self) -> None:
        """The session ends, nothing is deleted."""
        self.client.disconnect()
        self.assertFreed(self.client)
        self.assertEqual(len(self.server.messages()), 1)

    def test_timeout(self) -> None:
        """
        A client that takes nothing for so long is closed; nothing is put in the midst of the
        message, and nothing is deleted.
        """
        self.client.wire.take()
        self.server.clock.advance(600)
        self.assertEqual(self.client.wire.take(), b"")
        self.assertFreed(self.client)
        self.assertEqual(len(self.server.messages()), 1)

    def test_shutdown(self) -> None:
        """When the server stops the message is sent to its end; what is pipelined is done."""
        self.client.stream.end(SessionEnded.SHUTDOWN)
        self.client.stream.setBlocked(False)
        said = self.client.wire.take()
        self.assertTrue(said.endswith(b"zz\r\n.\r\n+OK message 1 deleted\r\n+OK bye\r\n"))
        self.assertFreed(self.client)
