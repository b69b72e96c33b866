"""
APPEND: C{twisted_mailstack.imap.commands.append}.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import MESSAGE, Server, now
from twisted_mailstack.imap.commands import append
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.flags import Flags
from twisted_mailstack.model.records import Attribute
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.storage.memory import MemoryStaged, MemoryWriter
from twisted_mailstack.testing.conversation import Conversation

#: 17-Jul-1996 02:44:25 -0700
DATE = 837596665


class AppendTestCase(SynchronousTestCase):
    """
    A session that is logged in; the time is DATE.
    """

    def setUp(self) -> None:
        """Nothing is selected."""
        self.patch(append, "time", lambda: DATE + 0.9)
        self.server = Server(maxMessageOctets=100_000)
        self.client = self.server.login()

    def append(self, arguments: bytes, data: bytes = MESSAGE) -> bytes:
        """
        @param arguments: what stands before the message.
        @return: the answer, but for the request to go on.
        """
        answer = self.client.send(b"A003 APPEND " + arguments + b" {%d}\r\n" % len(data))
        if answer != b"+ Ready\r\n":
            return answer
        return self.client.send(data + b"\r\n")

    def stored(self, mailbox: str = "INBOX") -> list[tuple[bytes, Flags, int, int]]:
        """
        @return: content, flags, internal date and zone of each message.
        """
        opened = now(self.server.account.openMailbox(mailbox))
        columns = (
            Attribute.CONTENT,
            Attribute.FLAGS,
            Attribute.INTERNAL_DATE,
            Attribute.ZONE,
        )
        rows = now(opened.fetch(NumberSet([(1, 0xFFFFFFFF)]), columns))
        return [tuple(row[1:]) for row in rows]  # type: ignore[misc]

    def assertRefused(self, arguments: bytes, data: bytes, answer: bytes) -> None:
        """
        Both kinds of literal are answered so, the session goes on in step, and nothing is stored.
        """
        self.assertRegex(self.append(arguments, data), b"^A003 " + answer)
        literal = b" {%d+}\r\n" % len(data) + data + b"\r\n"
        said = self.client.send(b"A003 APPEND " + arguments + literal + b"b NOOP\r\n")
        self.assertRegex(said, b"^A003 " + answer + rb"[^\r]*\r\nb OK NOOP completed\r\n$")
        self.assertEqual(self.stored(), [])


class AppendTests(AppendTestCase):
    """
    RFC 3501 §6.3.11.
    """

    def test_example(self) -> None:
        """The RFC's example, with APPENDUID (RFC 4315 §3); then the message is there."""
        now(self.server.account.createMailbox("saved-messages"))
        self.client.check(
            rf"""
            C: A003 APPEND saved-messages (\Seen) {{{len(MESSAGE) + 2}}}
            S: + Ready
            C: Date: Mon, 7 Feb 1994 21:52:25 -0800 (PST)
            C: From: Fred Foobar <foobar@Blurdybloop.example>
            C: Subject: afternoon meeting
            C: To: mooch@owatagu.siam.edu.example
            C: Message-Id: <B27397-0100000@Blurdybloop.example>
            C: MIME-Version: 1.0
            C: Content-Type: TEXT/PLAIN; CHARSET=US-ASCII
            C:
            C: Hello Joe, do you think we can meet at 3:30 tomorrow?
            C:
            C:
            S: A003 OK [APPENDUID 7 1] APPEND completed
            """
        )
        self.assertEqual(
            self.stored("saved-messages"), [(MESSAGE + b"\r\n", frozenset({"\\Seen"}), DATE, 0)]
        )

    def test_arguments(self) -> None:
        """Flags and date may be given or not; by default there are none, and the date is now."""
        for arguments, flags, date, zone in (
            (b"INBOX", set(), DATE, 0),
            (b"INBOX ()", set(), DATE, 0),
            (rb"INBOX (\Seen \Draft $Forwarded)", {"\\Seen", "\\Draft", "$Forwarded"}, DATE, 0),
            (rb"INBOX (\SEEN)", {"\\Seen"}, DATE, 0),
            (b'INBOX " 1-Jan-1994 00:00:00 +0100"', set(), 757378800, 60),
            (rb'INBOX (\Seen) "17-Jul-1996 02:44:25 -0700"', {"\\Seen"}, DATE, -420),
            (b'"inbox" ()', set(), DATE, 0),
        ):
            self.setUp()
            self.assertEqual(
                self.append(arguments), b"A003 OK [APPENDUID 1 1] APPEND completed\r\n"
            )
            self.assertEqual(self.stored(), [(MESSAGE, frozenset(flags), date, zone)], arguments)

    def test_names(self) -> None:
        """
        A mailbox's name may look like anything, or be a literal itself: only the message goes to
        the store as one.
        """
        for name, sent in (
            ("x (", b'"x ("'),
            ("{5}", b'"{5}"'),
            ("{$0}", b'"{$0}"'),
            (" ", b'" "'),
            ("APPEND", b"append".upper()),
            ("a APPEND ", b"{9+}\r\na APPEND "),
            ("x", b"{1+}\r\nx"),
            ("x y", b"{3+}\r\nx y"),
            ('"', b'"\\""'),
            ("Entwürfe", '"Entwürfe"'.encode()),
        ):
            self.setUp()
            now(self.server.account.createMailbox(name))
            for flags in (b"", rb" (\Seen)"):
                self.assertRegex(self.append(sent + flags), rb"^A003 OK ", sent)
            self.assertEqual([each[0] for each in self.stored(name)], [MESSAGE, MESSAGE])

    def test_tags(self) -> None:
        """Nor does a tag matter."""
        for tag in (b"APPEND", b"a]APPEND", b"}"):
            answer = self.client.send(tag + b" append INBOX {3+}\r\nabc\r\n")
            self.assertRegex(answer, b"^" + tag + rb" OK \[APPENDUID ")

    def test_octets(self) -> None:
        """What is stored is what was sent, octet for octet."""
        for data in (
            b"x", b"\r\n", b"\n", b"\r", b".\r\n..\r\n", b"no end", b"a\nb\rc",
            b"\r\n" + bytes(range(1, 256)),
            b"x" * 99_000, b"A004 LOGOUT\r\n", b"Subject: {5}\r\n\r\n{5+}\r\n",
        ):  # fmt: skip
            self.setUp()
            self.assertRegex(self.append(b"INBOX", data), rb"^A003 OK ")
            self.assertEqual([each[0] for each in self.stored()], [data])

    def test_chunks(self) -> None:
        """However it comes."""
        command = b"a APPEND {5+}\r\nINBOX (\\Seen) {10+}\r\n12345\r\n890\r\nb NOOP\r\n"
        for size in (1, 2, 7, len(command)):
            self.setUp()
            said = b""
            for at in range(0, len(command), size):
                said += self.client.send(command[at : at + size])
            self.assertEqual(
                said, b"a OK [APPENDUID 1 1] APPEND completed\r\nb OK NOOP completed\r\n"
            )
            self.assertEqual(self.stored(), [(b"12345\r\n890", frozenset({"\\Seen"}), DATE, 0)])

    def test_selected(self) -> None:
        """To the selected mailbox: "the server SHOULD notify the client immediately"."""
        self.client.send(b"a SELECT INBOX\r\n")
        self.assertEqual(
            self.append(b"INBOX"),
            b"* 1 EXISTS\r\n* 1 RECENT\r\nA003 OK [APPENDUID 1 1] APPEND completed\r\n",
        )
        self.client.check(
            r"""
            C: c FETCH 1 (UID FLAGS)
            S: * 1 FETCH (UID 1 FLAGS (\Recent))
            S: c OK FETCH completed
            """
        )

    def test_selectedByOthers(self) -> None:
        """Other sessions are told too."""
        other = self.server.select()
        self.append(b"INBOX")
        other.check(
            """
            C: a NOOP
            S: * 1 EXISTS
            S: * 1 RECENT
            S: a OK NOOP completed
            """
        )


class RefusedTests(AppendTestCase):
    """
    "If the append is unsuccessful for any reason, the mailbox MUST be restored to its state before
    the APPEND attempt" (RFC 3501 §6.3.11). What can be refused before the message is sent, is.
    """

    def test_missing(self) -> None:
        """No such mailbox, but it could be made: TRYCREATE. It isn't made by itself."""
        self.assertRefused(b"missing", MESSAGE, rb"NO \[TRYCREATE\]")
        self.assertNotIn(b"missing", self.client.send(b'l LIST "" *\r\n'))

    def test_notSelectable(self) -> None:
        """CREATE helps for a name that only holds others, too."""
        now(self.server.account.createMailbox("a/b"))
        now(self.server.account.deleteMailbox("a"))
        self.assertRefused(b"a", MESSAGE, rb"NO \[TRYCREATE\]")
        self.client.send(b"c CREATE a\r\n")
        self.assertRegex(self.append(b"a"), rb"^A003 OK ")

    def test_impossible(self) -> None:
        """A name that can't be made has no TRYCREATE."""
        for name in (b'""', b"a//b", b"&", b'"a\x07"'):
            self.assertRefused(name, MESSAGE, rb"NO \[CANNOT\]")

    def test_malformed(self) -> None:
        """Errors in flags, date and spaces are BAD."""
        for arguments in (
            b"INBOX ", b"INBOX  ()", b"INBOX ()()", b"INBOX () ", rb"INBOX \Seen",
            rb"INBOX (\Recent)",
            rb"INBOX (\*)", b"INBOX (", b"INBOX (a", b'INBOX "17-Jul-1996"',
            b'INBOX "32-Jul-1996 02:44:25 -0700"', b'INBOX "17-Jul-1996 02:44:25 -0700" ()',
            b'INBOX () () ', b"INBOX x", b"INBOX NIL", b"(INBOX)", b" INBOX", b'"INBOX',
        ):  # fmt: skip
            self.assertRefused(arguments, b"abc", b"BAD")
        for line in (
            b"INBOX{3+}\r\nabc",
            b"INBOX {3+}\r\nabc x",
            b"INBOX {3+}\r\nabc  {3+}\r\nabc",
        ):
            answer = self.client.send(b"a APPEND " + line + b"\r\nb NOOP\r\n")
            self.assertRegex(answer, rb"^a BAD [^\r]*\r\nb OK NOOP completed\r\n$", line)
        self.assertEqual(self.stored(), [])

    def test_noLiteral(self) -> None:
        """The message is a literal; nothing that a client writes in a line refers to one."""
        for line in (
            b'INBOX "abc"',
            b"INBOX abc",
            b"INBOX {$0}",
            b"INBOX {3}x",
            b"INBOX {-5}",
            b"INBOX",
        ):
            answer = self.client.send(b"a APPEND " + line + b"\r\nb NOOP\r\n")
            self.assertRegex(answer, rb"^a BAD [^\r]*\r\nb OK NOOP completed\r\n$", line)
        self.assertEqual(self.stored(), [])

    def test_empty(self) -> None:
        """No octets are no message."""
        self.assertRefused(b"INBOX", b"", b"NO")

    def test_tooLarge(self) -> None:
        """TOOBIG (RFC 4469 §4.2), before an octet is sent."""
        for size in (b"100001", b"99999999999", b"9" * 40):
            self.assertEqual(
                self.client.send(b"a APPEND INBOX {" + size + b"}\r\n"),
                b"a NO [TOOBIG] Message exceeds the size limit\r\n",
            )
        self.assertRefused(b"INBOX", b"x" * 100_001, rb"NO \[TOOBIG\]")
        self.assertRegex(self.append(b"INBOX", b"x" * 100_000), b"^A003 OK ")

    def test_overQuota(self) -> None:
        """OVERQUOTA (RFC 5530), for octets before an octet is sent."""
        alice = Address("alice", "example.test")
        now(self.server.store.directory.setQuota(alice, len(MESSAGE), None))
        self.assertEqual(
            self.client.send(b"a APPEND INBOX {%d}\r\n" % (len(MESSAGE) + 1)),
            b"a NO [OVERQUOTA] The account is over its quota\r\n",
        )
        self.assertRefused(b"INBOX", MESSAGE + b"x", rb"NO \[OVERQUOTA\]")
        self.assertRegex(self.append(b"INBOX"), b"^A003 OK ")

    def test_tooManyMessages(self) -> None:
        """And for the number of messages."""
        alice = Address("alice", "example.test")
        now(self.server.store.directory.setQuota(alice, None, 1))
        self.assertRegex(self.append(b"INBOX"), b"^A003 OK ")
        self.assertRegex(self.append(b"INBOX"), rb"^A003 NO \[OVERQUOTA\]")
        self.assertEqual(len(self.stored()), 1)

    def test_deletedMeanwhile(self) -> None:
        """A mailbox that another session deletes while the message arrives is missing."""
        self.assertEqual(self.client.send(b"a APPEND Sent {3}\r\n"), b"+ Ready\r\n")
        self.server.login().send(b"x DELETE Sent\r\n")
        self.assertRegex(self.client.send(b"abc\r\n"), rb"^a NO \[TRYCREATE\] ")
        now(self.server.account.createMailbox("Sent"))
        mailbox = type(now(self.server.account.openMailbox("Sent")))
        original = mailbox.append

        async def later(*arguments: object) -> object:
            await self.server.account.deleteMailbox("Sent")
            return await original(*arguments)  # type: ignore[arg-type]

        self.patch(mailbox, "append", later)
        self.assertRegex(self.append(b"Sent"), rb"^A003 NO \[TRYCREATE\] ")

    def test_tooManyKeywords(self) -> None:
        """A mailbox takes a bounded number of keywords, LIMIT (RFC 5530) beyond; known ones go."""
        self.patch(append, "MAX_KEYWORDS", 2)
        self.assertRegex(self.append(rb"INBOX (k1 k2 \Seen)"), b"^A003 OK ")
        self.assertEqual(
            self.append(b"INBOX (K1 k3)"), b"A003 NO [LIMIT] The mailbox has too many keywords\r\n"
        )
        self.assertRegex(self.append(rb"INBOX (K1 \Draft)"), b"^A003 OK ")
        self.assertRegex(self.append(rb"Sent (k3)"), b"^A003 OK ")
        self.assertEqual(len(self.stored()), 2)

    def test_NUL(self) -> None:
        """NUL octets are in no literal (RFC 3501 §9), and could never be fetched."""
        self.assertRefused(b"INBOX", b"a\0b", rb"NO \[CANNOT\]")

    def test_storeFails(self) -> None:
        """A store that can't take it, at whichever step, is answered; the session goes on."""

        def broken(*_: object) -> None:
            raise OSError("disk")

        mailbox = type(now(self.server.account.openMailbox("INBOX")))
        account = type(self.server.account)
        for place, name in (
            (account, "openMailbox"), (account, "quota"), (account, "newContent"),
            (MemoryWriter, "write"), (MemoryWriter, "finish"), (mailbox, "append"),
        ):  # fmt: skip
            patch = self.patch(place, name, broken)
            answer = self.client.send(b"a APPEND INBOX {3+}\r\nabc\r\nb NOOP\r\n")
            self.assertEqual(
                answer,
                b"a NO [SERVERBUG] internal error, try later\r\nb OK NOOP completed\r\n",
                name,
            )
            patch.restore()
            self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual(self.stored(), [])

    def test_beforeLogin(self) -> None:
        """Who isn't logged in is asked for no message."""
        client = self.server.connect()
        client.wire.take()
        client.check(
            """
            C: a APPEND INBOX {3}
            S: a BAD Not when not authenticated
            C: b APPEND INBOX {7+}
            C: c NOOP
            S: b BAD Not when not authenticated
            """.replace("{7+}", "{6+}")
        )


class DiscardTests(AppendTestCase):
    """
    Nothing is left of what isn't appended.
    """

    def setUp(self) -> None:
        """The writers are remembered."""
        super().setUp()
        self.ended: list[str] = []
        test = self

        class Writer(MemoryWriter):
            def abort(self) -> None:
                test.ended.append("abort")

        self.patch(self.server.account, "newContent", lambda size: Writer())

    def test_whole(self) -> None:
        """A refused command's content is thrown away."""
        self.client.send(b"a APPEND INBOX {3+}\r\nabc x\r\n")
        self.assertEqual(self.ended, ["abort"])

    def test_staged(self) -> None:
        """What was staged is let go of, whether it was appended or not."""
        self.patch(MemoryStaged, "discard", lambda staged: self.ended.append("discard"))
        self.assertRegex(self.append(b"INBOX"), b"^A003 OK ")
        now(self.server.store.directory.setQuota(Address("alice", "example.test"), None, 1))
        self.assertRegex(self.append(b"INBOX"), rb"^A003 NO ")
        self.assertEqual(self.ended.count("discard"), 2)

    def test_gone(self) -> None:
        """That of a client that goes in its midst, and behind it."""
        for sent in (b"", b"ab", b"abc", b"abc "):
            self.setUp()
            self.client.send(b"a APPEND INBOX {3+}\r\n" + sent)
            self.client.disconnect()
            self.assertEqual(self.ended, ["abort"], sent)

    def test_goneWhileAppending(self) -> None:
        """What is being appended when the client goes, is appended."""
        mailbox = type(now(self.server.account.openMailbox("INBOX")))
        original = mailbox.append
        ready: Deferred[None] = Deferred()

        async def slow(*arguments: object) -> object:
            await ready
            return await original(*arguments)  # type: ignore[arg-type]

        self.patch(mailbox, "append", slow)
        client: Conversation = self.client
        client.send(b"a APPEND INBOX {3+}\r\nabc\r\n")
        client.disconnect()
        ready.callback(None)
        self.assertTrue(client.finished)
        self.assertEqual([each[0] for each in self.stored()], [b"abc"])
