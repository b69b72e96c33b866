"""
REPLACE: C{twisted_mailstack.imap.extensions.replace}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface

from tests.imap.support import Server, now
from tests.imap.test_acl import ROOT, SharingTestCase
from twisted_mailstack.imap.extensions import replace
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import Attribute
from twisted_mailstack.model.sequence import NumberSet


class INobody(Interface):
    """What no mailbox provides."""


class SharedTests(SharingTestCase):
    """
    RFC 8508 §4.1: in somebody else's mailbox.
    """

    def test_rights(self) -> None:
        """
        The rights of STORE and EXPUNGE there, and of APPEND where the new one goes; without them
        nothing is done.
        """
        for rights, target, done in (
            ("lrite", f"{ROOT}/Work", True),
            ("lrwite", "Drafts", True),
            ("lrte", "Drafts", True),
            ("lrte", f"{ROOT}/Work", False),
            ("lrie", f"{ROOT}/Work", False),
            ("lrit", f"{ROOT}/Work", False),
            ("lri", "Drafts", False),
        ):
            self.setUp()
            self.grant(rights)
            bob = self.server.login("bob")
            self.assertIn(b" OK ", bob.send(f's SELECT "{ROOT}/Work"\r\n'.encode()))
            answer = bob.send(f'a REPLACE 1 "{target}" {{3+}}\r\nabc\r\n'.encode())
            self.assertRegex(answer, rb"a OK " if done else rb"a NO ", rights)
            mine = now(now(self.alice.openMailbox("Work")).status())
            theirs = now(now(self.bob.openMailbox("Drafts")).status())
            if not done:
                self.assertEqual((mine.messages, mine.uidNext, theirs.messages), (1, 2, 0))
            elif target == "Drafts":
                self.assertEqual((mine.messages, theirs.messages), (0, 1))
            else:
                self.assertEqual((mine.messages, mine.uidNext), (1, 3))

    def test_fromOnesOwn(self) -> None:
        """A message of one's own goes to somebody else's mailbox."""
        self.grant("li")
        self.server.deliver(mailbox="Drafts", account=self.bob)
        bob = self.server.login("bob")
        bob.send(b"s SELECT Drafts\r\n")
        answer = bob.send(f'a REPLACE 1 "{ROOT}/Work" {{3+}}\r\nabc\r\n'.encode())
        self.assertRegex(answer, rb"a OK ")
        self.assertEqual(now(now(self.alice.openMailbox("Work")).status()).messages, 2)
        self.assertEqual(now(now(self.bob.openMailbox("Drafts")).status()).messages, 0)


class ReplaceTests(SynchronousTestCase):
    """
    RFC 8508; four messages in Drafts, which is selected.
    """

    def setUp(self) -> None:
        """Nothing is left to be told."""
        self.server = Server(maxMessageOctets=1000)
        for number in range(4):
            self.server.deliver(b"draft %d" % number, "Drafts")
        self.client = self.server.select("Drafts")

    def stored(self, mailbox: str = "Drafts") -> list[tuple[int, bytes]]:
        """
        @return: UID and content of each message.
        """
        opened = now(self.server.account.openMailbox(mailbox))
        rows = now(opened.fetch(NumberSet([(1, 0xFFFFFFFF)]), (Attribute.CONTENT,)))
        return [(row[0], row[1]) for row in rows]

    def test_capability(self) -> None:
        """It is told."""
        self.assertRegex(self.client.send(b"a CAPABILITY\r\n"), rb" REPLACE[ \r]")

    def test_example(self) -> None:
        """§3.2's example: APPENDUID comes before EXPUNGE (§4.3); nothing is told of the flags."""
        answer = self.client.send(b"A003 REPLACE 2 Drafts (\\Seen \\Draft) {3}\r\n")
        self.assertEqual(answer, b"+ Ready\r\n")
        answer = self.client.send(b"new\r\n")
        lines = answer.split(b"\r\n")
        self.assertEqual(lines[0], b"* OK [APPENDUID 2 5] Replacement ready")
        self.assertIn(b"* 2 EXPUNGE", lines)
        self.assertEqual(lines[-2:], [b"A003 OK REPLACE completed", b""])
        self.assertNotIn(b"FETCH", answer)
        self.assertEqual(
            self.stored(), [(1, b"draft 0"), (3, b"draft 2"), (4, b"draft 3"), (5, b"new")]
        )
        self.client.check(
            r"""
            C: f FETCH 3:4 (UID FLAGS)
            S: * 3 FETCH (UID 4 FLAGS (\Recent))
            S: * 4 FETCH (UID 5 FLAGS (\Recent \Seen \Draft))
            S: f OK FETCH completed
            """
        )

    def test_byUID(self) -> None:
        """§3.3; with flags and a date or without, non-synchronising, the name as a literal."""
        for uid, arguments in (
            (b"2", b"Drafts"),
            (b"3", b'Drafts () "17-Jul-1996 02:44:25 -0700"'),
            (b"*", b"{6+}\r\nDrafts (\\Seen)"),
        ):
            answer = self.client.send(
                b"A004 UID REPLACE " + uid + b" " + arguments + b" {2+}\r\nxy\r\n"
            )
            self.assertRegex(answer, rb"^\* OK \[APPENDUID 2 \d\] ")
            self.assertRegex(answer, rb"A004 OK UID REPLACE completed\r\n$")
        self.assertEqual(len(self.stored()), 4)
        self.assertEqual([each[1] for each in self.stored()[-2:]], [b"xy", b"xy"])

    def test_elsewhere(self) -> None:
        """§3.4: into another mailbox, as from Drafts to Sent."""
        answer = self.client.send(b"a REPLACE 1 Sent {4+}\r\nsent\r\n")
        self.assertEqual(
            answer,
            b"* OK [APPENDUID 3 1] Replacement ready\r\n* 1 EXPUNGE\r\na OK REPLACE completed\r\n",
        )
        self.assertEqual(self.stored("Sent"), [(1, b"sent")])
        self.assertEqual(len(self.stored()), 3)

    def test_catenate(self) -> None:
        """§4.2's example: the message with lines put in front."""
        answer = self.client.send(
            b"A011 UID REPLACE 3 Drafts CATENATE (TEXT {10+}\r\nTo: Mitzy\n"
            b' URL "/Drafts/;UID=3" URL ;UID=1)\r\n'
        )
        self.assertRegex(answer, rb"^\* OK \[APPENDUID 2 5\] ")
        self.assertEqual(self.stored()[-1], (5, b"To: Mitzy\ndraft 2draft 0"))

    def test_oneMessageOnly(self) -> None:
        """§4.7: no replacing with several."""
        for more in (b" {1+}\r\ny", b" ", b" CATENATE (URL ;UID=1)"):
            answer = self.client.send(b"a REPLACE 1 Drafts {1+}\r\nx" + more + b"\r\nb NOOP\r\n")
            self.assertRegex(answer, rb"^a BAD [^\r]*\r\nb OK ")
        self.assertEqual(len(self.stored()), 4)

    def test_malformed(self) -> None:
        """BAD, and the session goes on in step."""
        for arguments in (
            b"", b"1", b"1 Drafts", b"1 {3+}\r\nabc", b"x Drafts {3+}\r\nabc",
            b"1:2 Drafts {3+}\r\nabc", b"1,2 Drafts {3+}\r\nabc", b"0 Drafts {3+}\r\nabc",
            b"5 Drafts {3+}\r\nabc", b"1 Drafts (\\Recent) {3+}\r\nabc", b'1 Drafts "abc"',
        ):  # fmt: skip
            answer = self.client.send(b"a REPLACE " + arguments + b"\r\nb NOOP\r\n")
            self.assertRegex(answer, rb"^a BAD [^\r]*\r\nb OK NOOP completed\r\n$", arguments)
        self.assertEqual(len(self.stored()), 4)

    def test_refused(self) -> None:
        """
        NO, with nothing changed and no EXPUNGE: a UID that isn't there, TRYCREATE, TOOBIG, empty,
        NUL; before the message is sent, where it can be.
        """
        for command, answer in (
            (b"UID REPLACE 99 Drafts", rb"NO \[EXPUNGEISSUED\]"),
            (b"REPLACE 1 missing", rb"NO \[TRYCREATE\]"),
        ):
            self.assertRegex(self.client.send(b"a " + command + b" {3}\r\n"), b"^a " + answer)
            sent = self.client.send(b"a " + command + b" {3+}\r\nabc\r\nb NOOP\r\n")
            self.assertRegex(sent, b"^a " + answer + rb"[^\r]*\r\nb OK NOOP completed\r\n$")
        for data, answer in (
            (b"{1001}\r\n", rb"NO \[TOOBIG\]"),
            (b"{0}\r\n", b"NO An empty"),
            (b"{3+}\r\na\0b\r\n", rb"NO \[CANNOT\]"),
            (b"CATENATE (URL /missing/;UID=1)\r\n", rb"NO \[BADURL "),
        ):
            self.assertRegex(self.client.send(b"a REPLACE 1 Drafts " + data), b"^a " + answer)
        self.assertEqual(len(self.stored()), 4)

    def test_readOnly(self) -> None:
        """Nothing is replaced in a mailbox that was opened by EXAMINE."""
        client = self.server.select("Drafts", "EXAMINE")
        self.assertRegex(client.send(b"a REPLACE 1 Sent {3}\r\n"), rb"^a NO \[READ-ONLY\] ")
        self.assertRegex(
            client.send(b"a REPLACE 1 Sent CATENATE (URL ;UID=1)\r\n"), rb"^a NO \[READ-ONLY\] "
        )
        self.assertEqual(self.stored("Sent"), [])

    def test_onlySelected(self) -> None:
        """§3.5: "MUST only be valid in the selected state"."""
        client = self.server.login()
        for name in (b"REPLACE", b"UID REPLACE"):
            answer = client.send(b"a " + name + b" 1 Drafts {3}\r\n")
            self.assertRegex(answer, b"^a BAD ")

    def test_quota(self) -> None:
        """§3.4: "only the net quota consumption is considered"."""
        alice = Address("alice", "example.test")
        now(self.server.store.directory.setQuota(alice, 28, 4))
        self.assertRegex(self.client.send(b"a REPLACE 1 Drafts {8}\r\n"), rb"^a NO \[OVERQUOTA\] ")
        self.assertRegex(
            self.client.send(b"a REPLACE 1 Drafts CATENATE (URL ;UID=1 URL ;UID=2)\r\n"),
            rb"^a NO \[OVERQUOTA\] ",
        )
        self.assertRegex(
            self.client.send(b"a REPLACE 1 Drafts {7+}\r\n1234567\r\n"), rb"a OK [^\r]*\r\n$"
        )
        self.assertEqual(len(self.stored()), 4)

    def test_goneMeanwhile(self) -> None:
        """Another session expunges the message: nothing is added."""
        self.assertEqual(self.client.send(b"a REPLACE 1 Drafts {3}\r\n"), b"+ Ready\r\n")
        other = self.server.select("Drafts")
        other.send(b"x STORE 1 +FLAGS.SILENT (\\Deleted)\r\ny EXPUNGE\r\n")
        answer = self.client.send(b"abc\r\n")
        self.assertRegex(answer, rb"a NO \[EXPUNGEISSUED\] [^\r]*\r\n$")
        self.assertEqual([uid for uid, _ in self.stored()], [2, 3, 4])

    def test_withoutTheInterface(self) -> None:
        """A storage that can't do it in one step: appended first, then expunged."""
        self.patch(replace, "IReplacingMailbox", INobody)
        self.test_example()
        self.assertRegex(self.client.send(b"a REPLACE 1 missing {3}\r\n"), rb"^a NO \[TRYCREATE\] ")
        mailbox = type(now(self.server.account.openMailbox("Drafts")))
        original = mailbox.append

        async def append(*arguments: object) -> object:
            raise OSError("disk")

        self.patch(mailbox, "append", append)
        self.assertRegex(
            self.client.send(b"a REPLACE 1 Drafts {3+}\r\nabc\r\n"), rb"a NO \[SERVERBUG\] "
        )
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual(len(self.stored()), 4)
        self.patch(mailbox, "append", original)

    def test_othersSeeIt(self) -> None:
        """Another session is told of both."""
        other = self.server.select("Drafts")
        self.client.send(b"a REPLACE 2 Drafts {3+}\r\nabc\r\n")
        answer = other.send(b"n NOOP\r\n")
        self.assertIn(b"* 2 EXPUNGE\r\n", answer)
        self.assertIn(b"* 4 EXISTS\r\n", answer)

    def test_uidOnly(self) -> None:
        """RFC 9586 §3: where there are only UIDs, only UID REPLACE is left."""
        client = self.server.login()
        client.send(b"e ENABLE UIDONLY\r\ns SELECT Drafts\r\n")
        self.assertRegex(
            client.send(b"a REPLACE 1 Drafts {1+}\r\nx\r\n"), rb"a BAD \[UIDREQUIRED\] [^\r]*\r\n$"
        )
        answer = client.send(b"b UID REPLACE 1 Drafts {1+}\r\nx\r\n")
        self.assertIn(b"* OK [APPENDUID 2 5] ", answer)
        self.assertIn(b"* VANISHED 1\r\n", answer)

    def test_vanished(self) -> None:
        """§4.5: with QRESYNC as by UID EXPUNGE."""
        client = self.server.login()
        client.send(b"e ENABLE QRESYNC\r\ns SELECT Drafts\r\n")
        answer = client.send(b"a REPLACE 2 Drafts {1+}\r\nx\r\n")
        self.assertLess(answer.index(b"APPENDUID"), answer.index(b"* VANISHED 2\r\n"))
