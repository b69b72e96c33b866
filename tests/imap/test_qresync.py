"""
QRESYNC (RFC 7162 §3.2).

The store in memory counts from 1: in a fresh server INBOX's n-th message arrives with modSeq 7 + n.
"""

from __future__ import annotations

import re
from array import array
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.stepped import SteppedServer
from tests.imap.support import Server, now
from twisted_mailstack.imap.extensions.qresync import matched
from twisted_mailstack.imap.registry import EXTENSIONS
from twisted_mailstack.imap.view import View
from twisted_mailstack.model.flags import NO_FLAGS
from twisted_mailstack.model.records import Changes
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.testing.conversation import Conversation


class QresyncTestCase(SynchronousTestCase):
    """
    A server.
    """

    def setUp(self) -> None:
        """Start it."""
        self.server = Server()

    @property
    def inbox(self) -> Any:
        """The mailbox itself."""
        return now(self.server.account.openMailbox("INBOX"))

    def deliver(self, count: int) -> None:
        """
        Put messages into INBOX; none stays recent.
        """
        for _ in range(count):
            self.server.deliver()
        now(self.inbox.claimRecent())

    def expunge(self, *uids: int) -> None:
        """
        Somebody removes messages, one after the other.
        """
        for uid in uids:
            now(self.inbox.expunge(NumberSet([(uid, uid)]), False))

    def enabled(self, names: str = "QRESYNC") -> Conversation:
        """
        @return: a session that has enabled these.
        """
        client = self.server.login()
        client.send(f"e ENABLE {names}\r\n".encode())
        return client

    def opened(self, names: str = "QRESYNC") -> Conversation:
        """
        @return: the same, with INBOX selected.
        """
        client = self.enabled(names)
        client.send(b"s SELECT INBOX\r\n")
        return client

    def resync(self, parameter: str, command: str = "SELECT") -> list[bytes]:
        """
        @return: what SELECT INBOX with this parameter tells behind HIGHESTMODSEQ.
        """
        answer = self.enabled().send(f"a {command} INBOX (QRESYNC {parameter})\r\n".encode())
        lines = answer.split(b"\r\n")
        self.assertIn(b"HIGHESTMODSEQ", answer)
        self.assertRegex(lines[-2], rb"^a OK \[READ-")
        at = next(at for at, line in enumerate(lines) if b"[HIGHESTMODSEQ" in line)
        return lines[at + 1 : -2]


class EnableTests(QresyncTestCase):
    """
    RFC 7162 §3.2.3.
    """

    def test_capability(self) -> None:
        """It is announced, with CONDSTORE and ENABLE (§3.2.2, §3.2.3)."""
        answer = self.server.login().send(b"a CAPABILITY\r\n")
        for name in (b" QRESYNC ", b" CONDSTORE ", b" ENABLE "):
            self.assertIn(name, answer)

    def test_enable(self) -> None:
        """
        "ENABLE QRESYNC" and "ENABLE QRESYNC CONDSTORE", in any order, "have identical results":
        modSeqs are told, and VANISHED.
        """
        for names in ("QRESYNC", "QRESYNC CONDSTORE", "condstore qresync"):
            self.server = Server()
            self.deliver(2)
            client = self.server.login()
            self.assertEqual(
                client.send(f"a ENABLE {names}\r\n".encode()),
                f"* ENABLED {names.upper()}\r\na OK ENABLE completed\r\n".encode(),
            )
            client.send(b"b SELECT INBOX\r\n")
            other = self.server.select()
            other.send(b"a STORE 1 +FLAGS (\\Seen)\r\n")
            self.expunge(2)
            client.check(
                r"""
                C: c NOOP
                S: * 1 FETCH (UID 1 FLAGS (\Seen) MODSEQ (10))
                S: * VANISHED 2
                S: c OK [HIGHESTMODSEQ 11] NOOP completed
                """
            )

    def test_required(self) -> None:
        """Without it the parameter of SELECT and VANISHED of UID FETCH are BAD."""
        self.deliver(1)
        client = self.server.select("INBOX (CONDSTORE)")
        for command in (
            b"SELECT INBOX (QRESYNC (1 1))",
            b"EXAMINE INBOX (QRESYNC (1 1))",
            b"UID FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED)",
        ):
            self.assertRegex(client.send(b"a " + command + b"\r\n"), rb"^a BAD ", command)
        self.assertEqual(client.send(b"b CHECK\r\n"), b"b OK CHECK completed\r\n")

    def test_vanishedModifier(self) -> None:
        """VANISHED goes with UID FETCH and CHANGEDSINCE alone (§3.2.6)."""
        self.deliver(1)
        client = self.opened()
        for command in (
            b"FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED)",
            b"FETCH 1:* FLAGS (VANISHED)",
            b"UID FETCH 1:* FLAGS (VANISHED)",
            b"UID FETCH 1:* FLAGS (VANISHED CHANGEDSINCE)",
            b"UID FETCH 1:* FLAGS (VANISHED 1 CHANGEDSINCE 1)",
            b"UID FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED VANISHED)",
        ):
            self.assertRegex(client.send(b"a " + command + b"\r\n"), rb"^a BAD ", command)


class SelectTests(QresyncTestCase):
    """
    The parameter of SELECT and EXAMINE (RFC 7162 §3.2.5).
    """

    def changed(self) -> None:
        """
        UIDs 1 to 9 arrive (modSeqs 8 to 16); 3 (17) and 4 get a flag; 1 (18), 2 (19), 8 (20) and 9
        (21) go.
        """
        self.deliver(9)
        other = self.server.select()
        other.send(b"a STORE 3:4 +FLAGS (\\Seen)\r\n")
        self.expunge(1, 2, 8, 9)

    def test_whole(self) -> None:
        """
        As §3.2.5.1's example: all of SELECT's own responses, CLOSED before them, then what
        vanished, then what changed.
        """
        # Other extensions have responses of their own for SELECT.
        mine = (each for each in EXTENSIONS if each.selectResponse is None or each.rfc == 7162)
        self.server = Server(extensions=tuple(mine))
        self.changed()
        client = self.enabled()
        client.check(
            r"""
            C: A02 SELECT Sent
            S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft)
            S: * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft \*)] Flags that are kept
            S: * 0 EXISTS
            S: * 0 RECENT
            S: * OK [UIDVALIDITY 3] UIDs valid
            S: * OK [UIDNEXT 1] Predicted next UID
            S: * OK [HIGHESTMODSEQ 4] Highest mailbox mod-sequence
            S: A02 OK [READ-WRITE] selected
            C: A03 SELECT INBOX (QRESYNC (1 16 1:9))
            S: * OK [CLOSED] Previous mailbox closed
            S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft)
            S: * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft \*)] Flags that are kept
            S: * 5 EXISTS
            S: * 0 RECENT
            S: * OK [UNSEEN 3] First unseen
            S: * OK [UIDVALIDITY 1] UIDs valid
            S: * OK [UIDNEXT 10] Predicted next UID
            S: * OK [HIGHESTMODSEQ 21] Highest mailbox mod-sequence
            S: * VANISHED (EARLIER) 1:2,8:9
            S: * 1 FETCH (UID 3 FLAGS (\Seen) MODSEQ (17))
            S: * 2 FETCH (UID 4 FLAGS (\Seen) MODSEQ (17))
            S: A03 OK [READ-WRITE] selected
            """  # noqa: E501
        )

    def test_allUids(self) -> None:
        """No list of UIDs means all there ever were, the last ones too; EXAMINE does it as well."""
        self.changed()
        for command in ("SELECT", "EXAMINE"):
            self.assertEqual(
                self.resync("(1 17)", command),
                [b"* VANISHED (EARLIER) 1:2,8:9"],
            )

    def test_newMessages(self) -> None:
        """Messages that are new are among what changed."""
        self.deliver(2)
        self.assertEqual(self.resync("(1 8)"), [b"* 2 FETCH (UID 2 FLAGS () MODSEQ (9))"])

    def test_knownUids(self) -> None:
        """Only what is in the list is told."""
        self.changed()
        self.assertEqual(
            self.resync("(1 16 2,4:8)"),
            [b"* VANISHED (EARLIER) 2,8", b"* 2 FETCH (UID 4 FLAGS (\\Seen) MODSEQ (17))"],
        )
        self.assertEqual(self.resync("(1 16 100:4294967295)"), [])

    def test_upToDate(self) -> None:
        """Nothing is told to who knows everything, or more than everything."""
        self.changed()
        for modSeq in (21, 22, 2**63 - 1):
            self.assertEqual(self.resync(f"(1 {modSeq})"), [])

    def test_emptyMailbox(self) -> None:
        """One that never had a message; one that lost them all."""
        self.assertEqual(self.resync("(1 1)"), [])
        self.deliver(3)
        self.expunge(1, 2, 3)
        self.assertEqual(self.resync("(1 10)"), [b"* VANISHED (EARLIER) 1:3"])
        self.assertEqual(self.resync("(1 10 1:3 (1:3 1:3))"), [b"* VANISHED (EARLIER) 1:3"])

    def test_uidValidity(self) -> None:
        """
        Another UIDVALIDITY: "MUST ignore the remaining parameters and behave as if no dynamic
        message data changed".
        """
        self.changed()
        self.assertEqual(self.resync("(67890007 16 1:9 (1 1))"), [])

    def test_matchData(self) -> None:
        """
        Up to where the client's sequence numbers agree it knows what was expunged (§3.2.5.2),
        however it came to have an old modSeq.
        """
        self.deliver(12)
        self.expunge(2, 4, 9)
        # The client of modSeq 19 knows of 2: number 3 is UID 4, and was; now it is UID 5.
        for match, vanished in (
            ("", b"2,4,9"),
            (" (1 1)", b"2,4,9"),
            (" (1:2 1,3)", b"4,9"),
            (" (1:3,7,9:11 1,3:4,8,10:12)", b"4,9"),
            (" (2,6 3,8)", b"9"),
            (" (2,9 3,12)", b""),
            (" (9 12)", b""),
            (" (10 12)", b"2,4,9"),
            (" (4000000000:4294967295 4000000000:4294967295)", b"2,4,9"),
        ):
            expected = [b"* VANISHED (EARLIER) " + vanished] if vanished else []
            self.assertEqual(self.resync(f"(1 19{match})"), expected, match)
            self.assertEqual(self.resync(f"(1 19 1:12{match})"), expected, match)

    def test_malformed(self) -> None:
        """
        "If any parameter is not syntactically valid, the server returns the tagged BAD response":
        what was selected stays so.
        """
        self.deliver(2)
        client = self.opened()
        for parameter in (
            b"QRESYNC",
            b"QRESYNC ()",
            b"QRESYNC (1)",
            b"QRESYNC (1 )",
            b"QRESYNC (1 x)",
            b"QRESYNC (0 1)",
            b"QRESYNC (1 0)",
            b"QRESYNC (4294967296 1)",
            b"QRESYNC (1 9223372036854775808)",
            b"QRESYNC (1 1",
            b"QRESYNC (1 1 )",
            b"QRESYNC (1 1 *)",
            b"QRESYNC (1 1 1:*)",
            b"QRESYNC (1 1 $)",
            b"QRESYNC (1 1 0)",
            b"QRESYNC (1 1 1 2)",
            b"QRESYNC (1 1 1 ())",
            b"QRESYNC (1 1 1 (1))",
            b"QRESYNC (1 1 1 (1 1 1))",
            b"QRESYNC (1 1 1 (1 *))",
            b"QRESYNC (1 1 1 (* 1))",
            b"QRESYNC (1 1 1 (1:2 1))",
            b"QRESYNC (1 1 1 (2,1 1:2))",
            b"QRESYNC (1 1 1 (1:2 2,1))",
            b"QRESYNC (1 1 1 (2:1 1:2))",
            b"QRESYNC (1 1 1 (1,1 1,2))",
            b"QRESYNC (1 1 (1 1) 1)",
            b"QRESYNC (1 1) QRESYNC (1 1)",
            b"QRESYNC (1 1) X",
        ):
            answer = client.send(b"a SELECT INBOX (" + parameter + b")\r\n")
            self.assertRegex(answer, rb"^a BAD [^\r]*\r\n\Z", parameter)
        self.assertEqual(client.send(b"b CHECK\r\n"), b"b OK CHECK completed\r\n")

    def test_withCondstore(self) -> None:
        """Beside CONDSTORE, in any order and case."""
        self.changed()
        for parameters in ("CONDSTORE QRESYNC (1 17)", "qresync (1 17) condstore"):
            answer = self.enabled().send(f"a SELECT INBOX ({parameters})\r\n".encode())
            self.assertIn(b"* VANISHED (EARLIER) 1:2,8:9\r\na OK ", answer)

    def test_otherMailbox(self) -> None:
        """A mailbox that isn't there: NO, and nothing is selected."""
        client = self.opened()
        client.check(
            """
            C: a SELECT missing (QRESYNC (1 1))
            S: * OK [CLOSED] Previous mailbox closed
            S: a NO [NONEXISTENT] No such mailbox
            C: b CHECK
            S: b BAD Not when authenticated
            """
        )

    def test_changedMeanwhile(self) -> None:
        """
        What happens after the mailbox was opened is told as news, once: it is not in what SELECT
        said of the mailbox.
        """
        self.deliver(3)
        client = self.enabled()
        other = self.server.select()
        mailbox = type(self.inbox)
        original = mailbox.changesSince
        asked: list[int] = []

        async def changesSince(self_: Any, modSeq: int) -> Changes:
            asked.append(modSeq)
            # The first opens the mailbox, as the other session knows it already.
            if asked == [10, 10]:
                self.patch(mailbox, "changesSince", original)
                other.send(b"a STORE 1 +FLAGS (\\Seen)\r\n")
                self.expunge(2)
                self.deliver(1)
            result: Changes = await original(self_, modSeq)
            return result

        self.patch(mailbox, "changesSince", changesSince)
        answer = client.send(b"a SELECT INBOX (QRESYNC (1 10))\r\n")
        self.assertIn(b"\r\n* 3 EXISTS\r\n", answer)
        self.assertTrue(
            answer.endswith(
                b"* OK [HIGHESTMODSEQ 10] Highest mailbox mod-sequence\r\n"
                b"* 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (11))\r\n"
                b"* VANISHED 2\r\n* 3 EXISTS\r\n* 0 RECENT\r\n"
                b"* OK [HIGHESTMODSEQ 13] told\r\na OK [READ-WRITE] selected\r\n"
            ),
            answer,
        )

    def test_storeFails(self) -> None:
        """If the store fails after the mailbox was opened, none is selected (RFC 9051 §6.3.2)."""
        self.deliver(1)
        client = self.enabled()
        mailbox = type(self.inbox)
        calls: list[int] = []
        original = mailbox.changesSince

        async def failing(self_: Any, modSeq: int) -> Changes:
            calls.append(modSeq)
            if modSeq == 5:
                raise OSError("broken")
            result: Changes = await original(self_, modSeq)
            return result

        self.patch(mailbox, "changesSince", failing)
        answer = client.send(b"a SELECT INBOX (QRESYNC (1 5))\r\n")
        self.assertTrue(
            answer.endswith(b"\r\na NO [SERVERBUG] internal error, try later\r\n"), answer
        )
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual(client.send(b"b CHECK\r\n"), b"b BAD Not when authenticated\r\n")
        self.assertEqual(calls, [0, 5])


class UidFetchTests(QresyncTestCase):
    """
    UID FETCH with VANISHED (RFC 7162 §3.2.6).
    """

    def test_example(self) -> None:
        """
        As §3.2.6's example: what vanished, out of the set that was given, then what changed.
        """
        self.deliver(6)
        self.server.select().send(b"a STORE 3,6 +FLAGS (\\Seen)\r\n")
        self.expunge(1, 4, 5)
        self.opened().check(
            r"""
            C: s100 UID FETCH 2:5 (FLAGS) (CHANGEDSINCE 13 VANISHED)
            S: * VANISHED (EARLIER) 4:5
            S: * 2 FETCH (UID 3 FLAGS (\Seen) MODSEQ (14))
            S: s100 OK UID FETCH completed
            C: s101 UID FETCH 2:5 (FLAGS) (VANISHED CHANGEDSINCE 17)
            S: s101 OK UID FETCH completed
            C: s102 UID FETCH 1:3 (FLAGS) (CHANGEDSINCE 13)
            S: * 2 FETCH (UID 3 FLAGS (\Seen) MODSEQ (14))
            S: s102 OK UID FETCH completed
            """
        )

    def test_last(self) -> None:
        """1:* has the last UIDs too, though nobody has them any more."""
        self.deliver(3)
        client = self.opened()
        self.expunge(2, 3)
        client.send(b"a NOOP\r\n")
        self.assertEqual(
            client.send(b"b UID FETCH 1:* FLAGS (CHANGEDSINCE 10 VANISHED)\r\n"),
            b"* VANISHED (EARLIER) 2:3\r\nb OK UID FETCH completed\r\n",
        )

    def test_untold(self) -> None:
        """
        What the client is yet to be told to be gone is told by VANISHED alone: "servers MUST NOT
        combine them" (§3.2.10).
        """
        self.deliver(3)
        client = self.opened()
        self.expunge(1)
        self.assertEqual(
            client.send(b"b UID FETCH 1:* FLAGS (CHANGEDSINCE 10 VANISHED)\r\n"),
            b"* VANISHED 1\r\nb OK [HIGHESTMODSEQ 11] UID FETCH completed\r\n",
        )


class VanishedTests(QresyncTestCase):
    """
    VANISHED in the place of EXPUNGE (RFC 7162 §3.2.7, §3.2.9, §3.2.10).
    """

    def test_expunge(self) -> None:
        """
        EXPUNGE and UID EXPUNGE (§3.2.7, §3.2.9, §3.2.10.2's example): one response, no EXISTS, and
        HIGHESTMODSEQ in the tagged OK.
        """
        self.deliver(8)
        client = self.opened()
        client.send(b"a STORE 2:3,5,8 +FLAGS.SILENT (\\Deleted)\r\n")
        client.check(
            r"""
            C: A202 EXPUNGE
            S: * VANISHED 2:3,5,8
            S: A202 OK [HIGHESTMODSEQ 17] EXPUNGE completed
            C: A203 STORE 1:2 +FLAGS.SILENT (\Deleted)
            S: * 1 FETCH (UID 1 MODSEQ (18))
            S: * 2 FETCH (UID 4 MODSEQ (18))
            S: A203 OK STORE completed
            C: A210 UID EXPUNGE 2:100
            S: * VANISHED 4
            S: A210 OK [HIGHESTMODSEQ 19] UID EXPUNGE completed
            C: A211 UID EXPUNGE 2:100
            S: A211 OK UID EXPUNGE completed
            C: A212 FETCH 1:* UID
            S: * 1 FETCH (UID 1)
            S: * 2 FETCH (UID 6)
            S: * 3 FETCH (UID 7)
            S: A212 OK FETCH completed
            """
        )

    def test_expungeSurpassed(self) -> None:
        """
        EXPUNGE has HIGHESTMODSEQ "if at least one message got expunged", also where the client
        would know it from a FETCH response.
        """
        self.deliver(2)
        client = self.opened()
        client.send(b"a STORE 2 +FLAGS.SILENT (\\Deleted)\r\n")
        other = self.server.select()
        original = type(self.inbox).expunge

        async def expunge(mailbox: Any, uids: NumberSet | None, onlyDeleted: bool = True) -> Any:
            result = await original(mailbox, uids, onlyDeleted)
            other.send(b"a STORE 1 +FLAGS (\\Seen)\r\n")
            return result

        self.patch(type(self.inbox), "expunge", expunge)
        client.check(
            r"""
            C: b EXPUNGE
            S: * 1 FETCH (UID 1 FLAGS (\Seen) MODSEQ (12))
            S: * VANISHED 2
            S: b OK [HIGHESTMODSEQ 12] EXPUNGE completed
            """
        )

    def test_onlyKnown(self) -> None:
        """
        A message that came and went unseen is in no VANISHED: "MUST refer only to messages that are
        visible to the client".
        """
        self.deliver(1)
        client = self.opened()
        self.deliver(2)
        self.expunge(2)
        client.check(
            r"""
            C: a NOOP
            S: * 2 EXISTS
            S: * 0 RECENT
            S: a OK [HIGHESTMODSEQ 11] NOOP completed
            """
        )

    def test_heldBack(self) -> None:
        """
        §6's example: not during FETCH, STORE and SEARCH, and HIGHESTMODSEQ is below what is held
        back, in the tagged OK, or before it where that has another code.
        """
        self.deliver(4)
        client = self.opened()
        self.expunge(4)
        self.server.select().send(b"a STORE 3 +FLAGS (\\Flagged)\r\n")
        client.check(
            r"""
            C: A150 STORE 1:3 (UNCHANGEDSINCE 10) FLAGS.SILENT (\Seen)
            S: * 3 FETCH (UID 3 FLAGS (\Flagged) MODSEQ (13))
            S: * 1 FETCH (UID 1 MODSEQ (14))
            S: * 2 FETCH (UID 2 MODSEQ (14))
            S: * OK [HIGHESTMODSEQ 11] told
            S: A150 OK [MODIFIED 3] Conditional STORE failed
            C: A151 STORE 3 +FLAGS.SILENT \Seen
            S: * 3 FETCH (UID 3 MODSEQ (15))
            S: A151 OK [HIGHESTMODSEQ 11] STORE completed
            C: A152 FETCH 1 FLAGS
            S: * 1 FETCH (FLAGS (\Seen))
            S: A152 OK FETCH completed
            C: A155 FETCH 1 MODSEQ
            S: * 1 FETCH (MODSEQ (14))
            S: A155 OK [HIGHESTMODSEQ 11] FETCH completed
            """
        )
        for command in (
            b"SEARCH ALL",
            b"SEARCH 4",
            b"UID SEARCH 4 SEEN",
            b"UID SEARCH NOT (OR 4 2)",
        ):
            answer = client.send(b"a " + command + b"\r\n")
            self.assertIn(b"\r\na OK ", answer, command)
            self.assertNotIn(b"VANISHED", answer, command)
        client.check(
            r"""
            C: A156 NOOP
            S: * VANISHED 4
            S: A156 OK [HIGHESTMODSEQ 15] NOOP completed
            """
        )

    def test_uidCommands(self) -> None:
        """UID FETCH, UID STORE and UID SEARCH without message numbers may have it."""
        for command, expected in (
            (b"UID FETCH 1 FLAGS", b"* 1 FETCH (UID 1 FLAGS ())\r\n* VANISHED 3\r\n"),
            (
                b"UID STORE 1 +FLAGS (\\Seen)",
                b"* 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (12))\r\n* VANISHED 3\r\n",
            ),
            (b"UID SEARCH UNSEEN", b"* SEARCH 1 2 3\r\n* VANISHED 3\r\n"),
        ):
            self.server = Server()
            self.deliver(3)
            client = self.opened()
            self.expunge(3)
            answer = client.send(b"a " + command + b"\r\n")
            self.assertTrue(answer.startswith(expected), answer)

    def test_move(self) -> None:
        """MOVE: COPYUID comes before VANISHED (RFC 6851 §4.3, §4.4)."""
        self.deliver(3)
        self.opened().check(
            r"""
            C: a UID MOVE 1:2 Archive
            S: * OK [COPYUID 6 1:2 1:2] moved
            S: * VANISHED 1:2
            S: a OK [HIGHESTMODSEQ 11] MOVE completed
            """
        )

    def test_close(self) -> None:
        """CLOSE tells neither, but the modSeq goes up (§3.2.8)."""
        self.deliver(1)
        client = self.opened()
        client.check(
            r"""
            C: a STORE 1 +FLAGS.SILENT (\Deleted)
            S: * 1 FETCH (UID 1 MODSEQ (9))
            S: a OK STORE completed
            C: A202 CLOSE
            S: A202 OK CLOSE completed
            C: b STATUS INBOX (HIGHESTMODSEQ MESSAGES)
            S: * STATUS INBOX (HIGHESTMODSEQ 10 MESSAGES 0)
            S: b OK STATUS completed
            """
        )

    def test_idle(self) -> None:
        """In IDLE it is told at once."""
        self.deliver(2)
        client = self.opened()
        client.send(b"a IDLE\r\n")
        self.expunge(1)
        client.settle()
        self.assertEqual(client.wire.take(), b"* VANISHED 1\r\n* OK [HIGHESTMODSEQ 10] told\r\n")

    def test_reselect(self) -> None:
        """
        It goes on in the next mailbox; what was held back in the one before is not told there.
        """
        self.deliver(2)
        client = self.opened()
        self.expunge(1)
        client.send(b"a FETCH 2 FLAGS\r\n")
        answer = client.send(b"b SELECT INBOX\r\n")
        self.assertTrue(answer.startswith(b"* OK [CLOSED] "), answer)
        self.assertNotIn(b"VANISHED", answer)
        self.expunge(2)
        self.assertIn(b"* VANISHED 2\r\n", client.send(b"c NOOP\r\n"))


class SQLStoreTests(SynchronousTestCase):
    """
    Over the SQL store, which keeps what vanished as ranges.
    """

    def test_resync(self) -> None:
        """
        A client that was away learns all that happened.
        """
        server = SteppedServer(self.mktemp())
        self.addCleanup(lambda: now(server.store.stop()))
        for _ in range(9):
            server.deliver()
        client = server.login()
        client.send(b"a ENABLE QRESYNC\r\n")
        answer = client.send(b"b SELECT INBOX\r\n")
        match = re.search(rb"UIDVALIDITY (\d+)\].*HIGHESTMODSEQ (\d+)\]", answer, re.DOTALL)
        assert match is not None
        uidValidity, modSeq = match.groups()
        client.disconnect()
        other = server.select()
        for command in (
            b"STORE 3:4 +FLAGS (\\Seen)", b"STORE 1,8:9 +FLAGS (\\Deleted)", b"UID EXPUNGE 1",
            b"EXPUNGE", b"UID MOVE 5 Archive", b"COPY 1 INBOX",
        ):  # fmt: skip
            self.assertIn(b"\r\na OK", b"\r\n" + other.send(b"a " + command + b"\r\n"), command)
        other.disconnect()
        client = server.login()
        client.send(b"a ENABLE QRESYNC\r\n")
        known = b"(%b %b 1:9 (1,9 1,9))" % (uidValidity, modSeq)
        answer = client.send(b"b SELECT INBOX (QRESYNC %b)\r\n" % known)
        lines = answer.split(b"\r\n")
        self.assertIn(b"* 6 EXISTS", lines)
        at = lines.index(b"* VANISHED (EARLIER) 1,5,8:9")
        self.assertRegex(lines[at + 1], rb"^\* 2 FETCH \(UID 3 FLAGS \(\\Seen\) MODSEQ \(\d+\)\)$")
        self.assertRegex(lines[at + 2], rb"^\* 3 FETCH \(UID 4 FLAGS \(\\Seen\) MODSEQ \(\d+\)\)$")
        self.assertRegex(lines[at + 3], rb"^b OK ")
        # A mailbox in which nothing ever happened has a modSeq too: 0 would mean that it has none.
        answer = client.send(b"c STATUS Drafts (HIGHESTMODSEQ)\r\n")
        self.assertRegex(answer, rb"HIGHESTMODSEQ [1-9]")


class MatchedTests(SynchronousTestCase):
    """
    Where the client's sample ceases to agree.
    """

    def test_everySample(self) -> None:
        """Whatever was expunged, and whatever sample the client took."""
        for gone in ((), (1,), (4,), (2, 7), (1, 2, 3), tuple(range(1, 9))):
            left = [uid for uid in range(1, 9) if uid not in gone]
            view = View(
                Changes(
                    array("I", left), [NO_FLAGS] * len(left), array("Q", [1] * len(left)),
                    NumberSet(), 1, 9, (),
                )
            )  # fmt: skip
            agree = gone[0] - 1 if gone else 8
            for sample in range(1, 256):
                numbers = [number for number in range(1, 9) if sample >> number - 1 & 1]
                expected = max((number for number in numbers if number <= agree), default=0)
                # The client knows UIDs 1 to 8: its number n is UID n.
                pairs = NumberSet.of(numbers)
                self.assertEqual(matched(view, pairs, pairs), expected, (gone, numbers))
