"""
CONDSTORE (RFC 7162 §3.1).

The store in memory counts from 1: in a fresh server INBOX's n-th message arrives with modSeq 7 + n.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server, now
from twisted_mailstack.imap.extensions import condstore
from twisted_mailstack.imap.registry import EXTENSIONS
from twisted_mailstack.model.flags import FlagOperation, Flags
from twisted_mailstack.model.records import StoreResult
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.testing.conversation import Conversation


class CondstoreTestCase(SynchronousTestCase):
    """
    A server.
    """

    def setUp(self) -> None:
        """Start it."""
        self.server = Server()

    def select(self, count: int, parameters: str = "") -> Conversation:
        """
        @return: a session with so many messages in INBOX, none of them recent.
        """
        self.deliver(count)
        now(now(self.server.account.openMailbox("INBOX")).claimRecent())
        return self.server.select(f"INBOX{parameters}")

    def deliver(self, count: int) -> None:
        """
        Put messages into INBOX.
        """
        for _ in range(count):
            self.server.deliver()


class EnablingTests(CondstoreTestCase):
    """
    "CONDSTORE enabling commands" (RFC 7162 §3.1): from then on FETCH responses have UID and MODSEQ
    (§3.2.4).
    """

    def assertAware(self, client: Conversation) -> None:
        """Whether what another session changes is told with MODSEQ."""
        other = self.server.select()
        other.send(b"a STORE 1 +FLAGS (\\Answered)\r\n")
        self.assertRegex(
            client.send(b"a NOOP\r\n"),
            rb"^\* 1 FETCH \(UID 1 FLAGS \(\\Answered\) MODSEQ \(\d+\)\)\r\na OK NOOP completed",
        )

    def test_capability(self) -> None:
        """It is announced (§3.1.1)."""
        self.assertIn(b" CONDSTORE ", self.server.login().send(b"a CAPABILITY\r\n"))

    def test_notAware(self) -> None:
        """A client that never asked gets no modSeqs, though SELECT tells the mailbox's."""
        client = self.select(1)
        self.server.select().send(b"a STORE 1 +FLAGS (\\Answered)\r\n")
        self.assertEqual(
            client.send(b"a NOOP\r\n"), b"* 1 FETCH (FLAGS (\\Answered))\r\na OK NOOP completed\r\n"
        )
        self.assertEqual(
            client.send(b"b STORE 1 +FLAGS.SILENT (\\Seen)\r\n"), b"b OK STORE completed\r\n"
        )

    def test_selectParameter(self) -> None:
        """SELECT INBOX (CONDSTORE) (§3.1.8, Example 18), and EXAMINE."""
        for command in ("SELECT", "EXAMINE"):
            server = self.server = Server()
            server.deliver()
            now(now(server.account.openMailbox("INBOX")).claimRecent())
            client = server.login()
            answer = client.send(f"a {command} INBOX (condstore)\r\n".encode())
            self.assertIn(
                b"\r\n* OK [HIGHESTMODSEQ 8] Highest mailbox mod-sequence\r\na OK [", answer
            )
            self.assertAware(client)

    def test_enable(self) -> None:
        """ENABLE CONDSTORE (RFC 5161 §3.1's example)."""
        self.deliver(1)
        now(now(self.server.account.openMailbox("INBOX")).claimRecent())
        client = self.server.login()
        client.check(
            """
            C: a1 ENABLE CONDSTORE
            S: * ENABLED CONDSTORE
            S: a1 OK ENABLE completed
            """
        )
        client.send(b"a SELECT INBOX\r\n")
        self.assertAware(client)

    def test_status(self) -> None:
        """
        STATUS (HIGHESTMODSEQ) gives what SELECT would (§3.1.7, Example 17), and, as the first
        enabling command with a mailbox selected, is told that one's HIGHESTMODSEQ (§3.1).
        """
        client = self.select(1)
        client.check(
            """
            C: A042 STATUS Sent (UIDNEXT MESSAGES HIGHESTMODSEQ)
            S: * OK [HIGHESTMODSEQ 8] Highest mailbox mod-sequence
            S: * STATUS Sent (UIDNEXT 1 MESSAGES 0 HIGHESTMODSEQ 4)
            S: A042 OK STATUS completed
            C: A043 STATUS Sent (HIGHESTMODSEQ)
            S: * STATUS Sent (HIGHESTMODSEQ 4)
            S: A043 OK STATUS completed
            """
        )
        self.assertAware(client)
        self.assertIn(b"* OK [HIGHESTMODSEQ 4] ", self.server.login().send(b"a SELECT Sent\r\n"))

    def test_named(self) -> None:
        """What another command enabled is named by ENABLE all the same, once."""
        self.server.login().check(
            """
            C: a STATUS Sent (HIGHESTMODSEQ)
            S: * STATUS Sent (HIGHESTMODSEQ 4)
            S: a OK STATUS completed
            C: b ENABLE CONDSTORE
            S: * ENABLED CONDSTORE
            S: b OK ENABLE completed
            C: c ENABLE CONDSTORE
            S: * ENABLED
            S: c OK ENABLE completed
            """
        )

    def test_fetchItem(self) -> None:
        """FETCH with MODSEQ (§3.1.4.2, Example 13)."""
        client = self.select(3)
        client.check(
            """
            C: a FETCH 1:3 (MODSEQ)
            S: * OK [HIGHESTMODSEQ 10] Highest mailbox mod-sequence
            S: * 1 FETCH (MODSEQ (8))
            S: * 2 FETCH (MODSEQ (9))
            S: * 3 FETCH (MODSEQ (10))
            S: a OK FETCH completed
            C: b UID FETCH 2 (flags modseq)
            S: * 2 FETCH (UID 2 FLAGS () MODSEQ (9))
            S: b OK UID FETCH completed
            """
        )
        self.assertAware(client)

    def test_fetchModifier(self) -> None:
        """FETCH with CHANGEDSINCE."""
        client = self.select(1)
        self.assertIn(
            b"* OK [HIGHESTMODSEQ 8] ", client.send(b"a FETCH 1 FLAGS (CHANGEDSINCE 8)\r\n")
        )
        self.assertAware(client)

    def test_search(self) -> None:
        """SEARCH with MODSEQ."""
        client = self.select(1)
        self.assertIn(b"* OK [HIGHESTMODSEQ 8] ", client.send(b"a SEARCH MODSEQ 8\r\n"))
        self.assertAware(client)

    def test_store(self) -> None:
        """
        STORE with UNCHANGEDSINCE (Example 5): HIGHESTMODSEQ "presumably because this was the first
        CONDSTORE enabling command".
        """
        client = self.select(1)
        client.check(
            r"""
            C: c101 STORE 1 (UNCHANGEDSINCE 12121230045) +FLAGS.SILENT (\Deleted)
            S: * OK [HIGHESTMODSEQ 8] Highest mailbox mod-sequence
            S: * 1 FETCH (UID 1 MODSEQ (9))
            S: c101 OK STORE completed
            C: c102 STORE 1 (UNCHANGEDSINCE 12121230045) -FLAGS.SILENT (\Deleted)
            S: * 1 FETCH (UID 1 MODSEQ (10))
            S: c102 OK STORE completed
            """
        )
        self.assertAware(client)

    def test_lasting(self) -> None:
        """It lasts "until the connection is closed", with other mailboxes too."""
        client = self.select(1, " (CONDSTORE)")
        client.send(b"a SELECT Sent\r\nb CLOSE\r\nc SELECT INBOX\r\n")
        self.assertAware(client)

    def test_malformed(self) -> None:
        """Nothing is enabled by what is BAD."""
        client = self.select(1)
        for command in (
            b"FETCH 1 (MODSEQ",
            b"FETCH 2 (MODSEQ)",
            b"FETCH 1 FLAGS (CHANGEDSINCE)",
            b"FETCH 1 FLAGS (CHANGEDSINCE 1 CHANGEDSINCE 1)",
            b"FETCH 1 FLAGS (CHANGEDSINCE 9223372036854775808)",
            b"FETCH 1 FLAGS (CHANGEDSINCE -1)",
            b"FETCH 1 FLAGS CHANGEDSINCE 1",
            b"FETCH 1 FLAGS ()",
            b"FETCH 1 FLAGS (CHANGEDSINCE 1) ",
            b"FETCH 1 FLAGS  (CHANGEDSINCE 1)",
            b"FETCH 1 FLAGS (UNCHANGEDSINCE 1)",
            b"STORE 1 (UNCHANGEDSINCE) FLAGS ()",
            b"STORE 1 (UNCHANGEDSINCE 9223372036854775808) FLAGS ()",
            b"STORE 1 (UNCHANGEDSINCE 1 UNCHANGEDSINCE 1) FLAGS ()",
            b"STORE 1 (UNCHANGEDSINCE 1)FLAGS ()",
            b"STORE 1 () FLAGS ()",
            b"STORE 1 (CHANGEDSINCE 1) FLAGS ()",
            b"STORE 2 (UNCHANGEDSINCE 1) FLAGS ()",
            b"SEARCH MODSEQ",
            b"SEARCH MODSEQ x",
            b'SEARCH MODSEQ "/flags/x" 5',
            b'SEARCH MODSEQ "/flags/x" some 5',
            b'SEARCH MODSEQ "/other/x" all 5',
            b'SEARCH MODSEQ "/flags/x" all',
            b"SEARCH MODSEQ 9223372036854775808",
            b"STATUS Sent (HIGHESTMODSEQ x)",
            b"SELECT INBOX (CONDSTORE CONDSTORE)",
            b"SELECT INBOX (CONDSTORE x)",
            b"SELECT INBOX ()",
            b"SELECT INBOX CONDSTORE",
            b"SELECT INBOX (CONDSTORE) ",
        ):
            answer = client.send(b"a " + command + b"\r\n")
            self.assertRegex(answer, rb"^a BAD [^\r]*\r\n\Z", command)
        self.assertEqual(
            client.send(b"b STORE 1 FLAGS (\\Seen)\r\n"),
            b"* 1 FETCH (FLAGS (\\Seen))\r\nb OK STORE completed\r\n",
        )

    def test_withoutExtension(self) -> None:
        """A server without it knows none of this."""
        extensions = tuple(
            each for each in EXTENSIONS if b"CONDSTORE" not in (each.capability, *each.implies)
        )
        self.server = Server(extensions=extensions)
        self.server.deliver()
        client = self.server.login()
        self.assertNotIn(b"HIGHESTMODSEQ", client.send(b"a SELECT INBOX\r\n"))
        for command in (
            b"FETCH 1 MODSEQ",
            b"FETCH 1 FLAGS (CHANGEDSINCE 1)",
            b"STORE 1 (UNCHANGEDSINCE 1) FLAGS ()",
            b"SEARCH MODSEQ 1",
            b"STATUS INBOX (HIGHESTMODSEQ)",
            b"SELECT INBOX (CONDSTORE)",
        ):
            self.assertRegex(client.send(b"a " + command + b"\r\n"), rb"^a BAD ", command)
        self.assertIn(condstore.EXTENSION, EXTENSIONS)


class StoreTests(CondstoreTestCase):
    """
    STORE and UID STORE (RFC 7162 §3.1.3).
    """

    def flagsOf(self, uid: int) -> list[str]:
        """
        @return: the flags of a message in INBOX, sorted.
        """
        mailbox = now(self.server.account.openMailbox("INBOX"))
        changes = now(mailbox.changesSince(0))
        return sorted(changes.flags[list(changes.uids).index(uid)])

    def test_allPass(self) -> None:
        """Example 3: each message is told, although the STORE is silent."""
        self.select(8, " (CONDSTORE)").check(
            r"""
            C: a103 UID STORE 6,4,8 (UNCHANGEDSINCE 12121230045) +FLAGS.SILENT (\Deleted)
            S: * 4 FETCH (UID 4 MODSEQ (16))
            S: * 6 FETCH (UID 6 MODSEQ (16))
            S: * 8 FETCH (UID 8 MODSEQ (16))
            S: a103 OK UID STORE completed
            """
        )

    def test_star(self) -> None:
        """Example 4: C{*}, and a keyword, which FLAGS names before it is used."""
        self.select(3, " (CONDSTORE)").check(
            r"""
            C: a104 STORE * (UNCHANGEDSINCE 12121230045) +FLAGS.SILENT (\Deleted $Processed)
            S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft $Processed)
            S: * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft $Processed \*)] Flags that are kept
            S: * 3 FETCH (UID 3 MODSEQ (11))
            S: a104 OK STORE completed
            """  # noqa: E501
        )

    def test_someFail(self) -> None:
        """
        Example 6: those that fail don't stop the others, and are named by the tagged response; as
        recommended their flags are told.
        """
        client = self.select(9, " (CONDSTORE)")
        self.server.select().send(
            b"a STORE 7 +FLAGS (\\Seen \\Deleted)\r\nb STORE 9 +FLAGS (\\Answered \\Deleted)\r\n"
        )
        client.check(
            r"""
            C: d105 STORE 7,5,9 (UNCHANGEDSINCE 16) +FLAGS.SILENT (\Deleted)
            S: * 7 FETCH (UID 7 FLAGS (\Deleted \Seen) MODSEQ (17))
            S: * 9 FETCH (UID 9 FLAGS (\Answered \Deleted) MODSEQ (18))
            S: * 5 FETCH (UID 5 MODSEQ (19))
            S: d105 OK [MODIFIED 7,9] Conditional STORE failed
            """
        )
        self.assertEqual(self.flagsOf(5), ["\\Deleted"])

    def test_uidsFail(self) -> None:
        """UID STORE names UIDs, also where sequence numbers differ from them."""
        self.deliver(3)
        now(now(self.server.account.openMailbox("INBOX")).expunge(NumberSet([(1, 1)]), False))
        client = self.server.select("INBOX (CONDSTORE)")
        client.check(
            r"""
            C: a UID STORE 2:3 (UNCHANGEDSINCE 9) FLAGS.SILENT (\Seen)
            S: * 1 FETCH (UID 2 MODSEQ (12))
            S: * 2 FETCH (UID 3 FLAGS (\Recent) MODSEQ (10))
            S: a OK [MODIFIED 3] Conditional STORE failed
            C: b STORE 1:2 (UNCHANGEDSINCE 10) FLAGS.SILENT (\Flagged)
            S: * 1 FETCH (UID 2 FLAGS (\Recent \Seen) MODSEQ (12))
            S: * 2 FETCH (UID 3 MODSEQ (13))
            S: b OK [MODIFIED 1] Conditional STORE failed
            """
        )

    def test_equal(self) -> None:
        """ "Equal to or less than" passes, one less doesn't."""
        client = self.select(1, " (CONDSTORE)")
        self.assertIn(
            b"a OK [MODIFIED 1] ", client.send(b"a STORE 1 (UNCHANGEDSINCE 7) FLAGS (\\Seen)\r\n")
        )
        self.assertEqual(self.flagsOf(1), [])
        self.assertEqual(
            client.send(b"b STORE 1 (unchangedsince 8) FLAGS (\\Seen)\r\n"),
            b"* 1 FETCH (UID 1 FLAGS (\\Seen) MODSEQ (9))\r\nb OK STORE completed\r\n",
        )

    def test_zero(self) -> None:
        """
        Examples 7 and 8: 0 "always fails if the metadata item exists. A system flag MUST always be
        considered existent, whether it was set or not". A keyword exists where it is set, so that
        0 sets it for the first that asks, and for no other.
        """
        client = self.select(1, " (CONDSTORE)")
        other = self.server.select("INBOX (CONDSTORE)")
        for arguments in (
            rb"+FLAGS (\Seen)", rb"-FLAGS (\Seen)", rb"+FLAGS ($MDNSent \Seen)",
            rb"FLAGS ($MDNSent)", rb"FLAGS ()",
        ):  # fmt: skip
            answer = client.send(b"a STORE 1 (UNCHANGEDSINCE 0) " + arguments + b"\r\n")
            self.assertTrue(
                answer.endswith(b"a OK [MODIFIED 1] Conditional STORE failed\r\n"),
                (arguments, answer),
            )
        self.assertEqual(self.flagsOf(1), [])
        answer = client.send(b"b STORE 1 (UNCHANGEDSINCE 0) +FLAGS.SILENT ($MDNSent)\r\n")
        self.assertTrue(
            answer.endswith(b"* 1 FETCH (UID 1 MODSEQ (9))\r\nb OK STORE completed\r\n"), answer
        )
        answer = other.send(b"c STORE 1 (UNCHANGEDSINCE 0) +FLAGS.SILENT ($mdnsent)\r\n")
        self.assertTrue(
            answer.endswith(
                b"* 1 FETCH (UID 1 FLAGS ($MDNSent) MODSEQ (9))\r\n"
                b"c OK [MODIFIED 1] Conditional STORE failed\r\n"
            ),
            answer,
        )
        self.assertEqual(self.flagsOf(1), ["$MDNSent"])

    def test_otherFlag(self) -> None:
        """
        §3.1.12: a flag that nobody touched is changed although another was, and the client learns
        of both.
        """
        client = self.select(2, " (CONDSTORE)")
        other = self.server.select()
        other.send(b"a STORE 1 +FLAGS ($Processed)\r\nb STORE 1 -FLAGS ($Processed)\r\n")
        other.send(b"c STORE 1 +FLAGS (\\Deleted \\Answered)\r\n")
        answer = client.send(b"a STORE 1:2 (UNCHANGEDSINCE 9) +FLAGS.SILENT ($Processed)\r\n")
        self.assertTrue(
            answer.endswith(
                b"* 1 FETCH (UID 1 FLAGS (\\Answered \\Deleted) MODSEQ (12))\r\n"
                b"* 1 FETCH (UID 1 MODSEQ (14))\r\n* 2 FETCH (UID 2 MODSEQ (13))\r\n"
                b"a OK STORE completed\r\n"
            ),
            answer,
        )
        self.assertEqual(self.flagsOf(1), ["$Processed", "\\Answered", "\\Deleted"])

    def test_sameFlag(self) -> None:
        """
        The flag that another session touched isn't; nor is any by FLAGS, which means them all; nor
        by a client that doesn't know what the server told it of last.
        """
        client = self.select(3, " (CONDSTORE)")
        other = self.server.select()
        other.send(b"a STORE 1:2 +FLAGS (\\Flagged)\r\n")
        client.check(
            r"""
            C: a STORE 1 (UNCHANGEDSINCE 10) -FLAGS.SILENT (\Flagged)
            S: * 1 FETCH (UID 1 FLAGS (\Flagged) MODSEQ (11))
            S: * 2 FETCH (UID 2 FLAGS (\Flagged) MODSEQ (11))
            S: a OK [MODIFIED 1] Conditional STORE failed
            C: b STORE 2 (UNCHANGEDSINCE 10) FLAGS.SILENT (\Seen)
            S: * 2 FETCH (UID 2 FLAGS (\Flagged) MODSEQ (11))
            S: b OK [MODIFIED 2] Conditional STORE failed
            C: c STORE 2 (UNCHANGEDSINCE 10) +FLAGS.SILENT (\Seen)
            S: * 2 FETCH (UID 2 FLAGS (\Flagged) MODSEQ (11))
            S: c OK [MODIFIED 2] Conditional STORE failed
            C: d STORE 2 (UNCHANGEDSINCE 11) +FLAGS.SILENT (\Seen)
            S: * 2 FETCH (UID 2 MODSEQ (12))
            S: d OK STORE completed
            """
        )

    def test_onceMore(self) -> None:
        """
        What another session changes between the first try and the second is not overwritten by the
        second.
        """
        client = self.select(1, " (CONDSTORE)")
        other = self.server.select()
        other.send(b"a STORE 1 +FLAGS (\\Answered)\r\n")
        mailbox = type(now(self.server.account.openMailbox("INBOX")))
        original = mailbox.storeFlags
        calls: list[int | None] = []

        async def storeFlags(
            self_: Any,
            uids: NumberSet,
            operation: FlagOperation,
            flags: Flags,
            unchangedSince: int | None = None,
        ) -> StoreResult:
            calls.append(unchangedSince)
            if len(calls) == 2:
                await original(self_, uids, FlagOperation.ADD, frozenset(["\\Flagged"]))
            result: StoreResult = await original(self_, uids, operation, flags, unchangedSince)
            return result

        self.patch(mailbox, "storeFlags", storeFlags)
        client.check(
            r"""
            C: a STORE 1 (UNCHANGEDSINCE 8) +FLAGS.SILENT (\Flagged)
            S: * 1 FETCH (UID 1 FLAGS (\Answered) MODSEQ (9))
            S: * 1 FETCH (UID 1 FLAGS (\Answered \Flagged) MODSEQ (10))
            S: a OK [MODIFIED 1] Conditional STORE failed
            """
        )
        self.assertEqual(calls, [8, 9])

    def test_expunged(self) -> None:
        """
        Example 11 (RFC 2180 §4.2.3): some are gone, one fails the test, so the NO has MODIFIED; the
        EXPUNGEs come when they may, and HIGHESTMODSEQ is below them until then (§3.2).
        """
        client = self.select(7, " (CONDSTORE)")
        other = self.server.select()
        other.send(b"a STORE 2 FLAGS (\\Deleted \\Answered)\r\nb STORE 4:7 +FLAGS (\\Deleted)\r\n")
        other.send(b"c UID EXPUNGE 4:7\r\n")
        client.check(
            r"""
            C: B001 STORE 1:7 (UNCHANGEDSINCE 14) FLAGS (\SEEN)
            S: * 2 FETCH (UID 2 FLAGS (\Answered \Deleted) MODSEQ (15))
            S: * 1 FETCH (UID 1 FLAGS (\Seen) MODSEQ (18))
            S: * 3 FETCH (UID 3 FLAGS (\Seen) MODSEQ (18))
            S: * OK [HIGHESTMODSEQ 14] told
            S: B001 NO [MODIFIED 2] Some of the messages were expunged
            C: B002 NOOP
            S: * 7 EXPUNGE
            S: * 6 EXPUNGE
            S: * 5 EXPUNGE
            S: * 4 EXPUNGE
            S: B002 OK [HIGHESTMODSEQ 18] NOOP completed
            C: b003 STORE 2 (UNCHANGEDSINCE 15) +FLAGS (\Seen)
            S: * 2 FETCH (UID 2 FLAGS (\Answered \Deleted \Seen) MODSEQ (19))
            S: b003 OK STORE completed
            """
        )

    def test_repeated(self) -> None:
        """A message that is named twice isn't failed for having been changed the first time."""
        answer = self.select(9, " (CONDSTORE)").send(
            b"e105 STORE 7,3:9 (UNCHANGEDSINCE 12121230045) +FLAGS.SILENT (\\Deleted)\r\n"
        )
        self.assertEqual(answer.count(b" FETCH "), 7)
        self.assertTrue(answer.endswith(b"e105 OK STORE completed\r\n"), answer)

    def test_unchanged(self) -> None:
        """
        Setting a flag that is set "SHOULD NOT change the mod-sequence" (§3.1.11); the FETCH
        response of a conditional STORE comes all the same (§3.1.3).
        """
        self.select(1, " (CONDSTORE)").check(
            r"""
            C: a STORE 1 +FLAGS.SILENT (\Seen)
            S: * 1 FETCH (UID 1 MODSEQ (9))
            S: a OK STORE completed
            C: b STORE 1 +FLAGS.SILENT (\Seen)
            S: b OK STORE completed
            C: c STORE 1 (UNCHANGEDSINCE 9) +FLAGS.SILENT (\Seen)
            S: * 1 FETCH (UID 1 MODSEQ (9))
            S: c OK STORE completed
            C: d STORE 1 +FLAGS (\Seen)
            S: * 1 FETCH (UID 1 FLAGS (\Seen) MODSEQ (9))
            S: d OK STORE completed
            """
        )

    def test_nothing(self) -> None:
        """UIDs that nobody has fail no test."""
        self.assertEqual(
            self.select(1, " (CONDSTORE)").send(b"a UID STORE 9 (UNCHANGEDSINCE 1) FLAGS ()\r\n"),
            b"a OK UID STORE completed\r\n",
        )

    def test_readOnly(self) -> None:
        """After EXAMINE nothing is changed."""
        self.deliver(1)
        client = self.server.select("INBOX (CONDSTORE)", "EXAMINE")
        self.assertEqual(
            client.send(b"a STORE 1 (UNCHANGEDSINCE 9) +FLAGS (\\Seen)\r\n"),
            b"a NO [READ-ONLY] The mailbox is selected read-only\r\n",
        )


class FetchTests(CondstoreTestCase):
    """
    FETCH and UID FETCH (RFC 7162 §3.1.4).
    """

    def test_changedSince(self) -> None:
        """
        Example 12: only messages with a higher modSeq are told, with MODSEQ, whether it was asked
        for or not.
        """
        client = self.select(4, " (CONDSTORE)")
        client.send(b"a STORE 2 +FLAGS.SILENT (\\Deleted)\r\n")
        client.check(
            r"""
            C: s100 UID FETCH 1:* (FLAGS) (CHANGEDSINCE 9)
            S: * 2 FETCH (UID 2 FLAGS (\Deleted) MODSEQ (12))
            S: * 3 FETCH (UID 3 FLAGS () MODSEQ (10))
            S: * 4 FETCH (UID 4 FLAGS () MODSEQ (11))
            S: s100 OK UID FETCH completed
            C: s101 FETCH 1:3 (MODSEQ UID) (changedsince 10)
            S: * 2 FETCH (UID 2 MODSEQ (12))
            S: s101 OK FETCH completed
            C: s102 FETCH 1:3 FAST (CHANGEDSINCE 9223372036854775807)
            S: s102 OK FETCH completed
            C: s103 FETCH 1 RFC822.SIZE (CHANGEDSINCE 0)
            S: * 1 FETCH (RFC822.SIZE 326 MODSEQ (8))
            S: s103 OK FETCH completed
            """
        )

    def test_seen(self) -> None:
        r"""
        FETCH that sets C{\Seen} tells UID, FLAGS and MODSEQ as they are then (§3.2.4), for a FETCH
        of sections too; a FETCH that sets nothing has what it was asked for.
        """
        client = self.select(2, " (CONDSTORE)")
        client.check(
            r"""
            C: a FETCH 1 BODY[HEADER.FIELDS (TO)]
            S: * 1 FETCH (UID 1 MODSEQ (10) FLAGS (\Seen) BODY[HEADER.FIELDS (TO)] {38}
            S: To: mooch@owatagu.siam.edu.example
            S:
            S: )
            S: a OK FETCH completed
            C: b FETCH 1 BODY.PEEK[HEADER.FIELDS (TO)]
            S: * 1 FETCH (BODY[HEADER.FIELDS (TO)] {38}
            S: To: mooch@owatagu.siam.edu.example
            S:
            S: )
            S: b OK FETCH completed
            C: c FETCH 2 (RFC822.SIZE FLAGS BODY[2])
            S: * 2 FETCH (UID 2 FLAGS (\Seen) RFC822.SIZE 326 MODSEQ (11) BODY[2] NIL)
            S: c OK FETCH completed
            C: d FETCH 1:2 FLAGS
            S: * 1 FETCH (FLAGS (\Seen))
            S: * 2 FETCH (FLAGS (\Seen))
            S: d OK FETCH completed
            """
        )

    def test_seenAndModSeq(self) -> None:
        r"""MODSEQ is told once, whoever asked for it; after EXAMINE nothing is set and told."""
        client = self.select(1, " (CONDSTORE)")
        self.assertEqual(
            client.send(b"a FETCH 1 (MODSEQ BODY[2] UID)\r\n"),
            b"* 1 FETCH (UID 1 MODSEQ (9) FLAGS (\\Seen) BODY[2] NIL)\r\na OK FETCH completed\r\n",
        )
        readOnly = self.server.select("INBOX (CONDSTORE)", "EXAMINE")
        self.assertEqual(
            readOnly.send(b"a FETCH 1 BODY[2]\r\n"),
            b"* 1 FETCH (BODY[2] NIL)\r\na OK FETCH completed\r\n",
        )

    def test_fromTheView(self) -> None:
        """
        MODSEQ is that of the flags which the session knows: a client that is cut off after them has
        missed no change.
        """
        client = self.select(1, " (CONDSTORE)")
        self.server.select().send(b"a STORE 1 +FLAGS (\\Seen)\r\n")
        client.check(
            r"""
            C: a FETCH 1 (FLAGS MODSEQ)
            S: * 1 FETCH (FLAGS () MODSEQ (8))
            S: * 1 FETCH (UID 1 FLAGS (\Seen) MODSEQ (9))
            S: a OK FETCH completed
            """
        )

    def test_example14(self) -> None:
        """Example 14: what one session changes is told to another with the same modSeq."""
        one = self.select(7, " (CONDSTORE)")
        two = self.server.select("INBOX (CONDSTORE)")
        one.check(
            r"""
            C: A160 STORE 7 +FLAGS.SILENT (\Deleted)
            S: * 7 FETCH (UID 7 MODSEQ (15))
            S: A160 OK STORE completed
            C: A240 STORE 7 +FLAGS.SILENT (\Seen)
            S: * 7 FETCH (UID 7 MODSEQ (16))
            S: A240 OK STORE completed
            """
        )
        two.check(
            r"""
            C: C180 NOOP
            S: * 7 FETCH (UID 7 FLAGS (\Deleted \Seen) MODSEQ (16))
            S: C180 OK NOOP completed
            """
        )

    def test_thereAndBack(self) -> None:
        """A flag that was set and unset again changed the modSeq, so that is told."""
        client = self.select(1, " (CONDSTORE)")
        plain = self.server.select()
        self.server.select().send(b"a STORE 1 +FLAGS (\\Seen)\r\nb STORE 1 -FLAGS (\\Seen)\r\n")
        self.assertEqual(
            client.send(b"a NOOP\r\n"),
            b"* 1 FETCH (UID 1 FLAGS () MODSEQ (10))\r\na OK NOOP completed\r\n",
        )
        self.assertEqual(plain.send(b"a NOOP\r\n"), b"a OK NOOP completed\r\n")


class SearchTests(CondstoreTestCase):
    """
    SEARCH (RFC 7162 §3.1.5, §3.1.6).
    """

    def test_search(self) -> None:
        """
        Example 15: "equal to or greater"; the entry is ignored, and the highest modSeq of what was
        found ends the response. Nothing found, nothing ends it (Example 16).
        """
        client = self.select(4, " (CONDSTORE)")
        client.send(b"a STORE 2 +FLAGS.SILENT (\\Deleted)\r\n")
        client.check(
            r"""
            C: a SEARCH MODSEQ "/flags/\\draft" all 10
            S: * SEARCH 2 3 4 (MODSEQ 12)
            S: a OK SEARCH completed
            C: b UID SEARCH UNDELETED MODSEQ "/flags/$mdnsent" Priv 10
            S: * SEARCH 3 4 (MODSEQ 11)
            S: b OK UID SEARCH completed
            C: c SEARCH OR NOT MODSEQ 8 LARGER 50000
            S: * SEARCH
            S: c OK SEARCH completed
            C: d SEARCH MODSEQ 0 1
            S: * SEARCH 1 (MODSEQ 8)
            S: d OK SEARCH completed
            C: e SEARCH NOT MODSEQ "/flags/x" shared 10
            S: * SEARCH 1 (MODSEQ 8)
            S: e OK SEARCH completed
            C: f SEARCH 1:2
            S: * SEARCH 1 2
            S: f OK SEARCH completed
            """
        )


class HighestModSeqTests(CondstoreTestCase):
    """
    What the client takes for the mailbox's highest modSeq (RFC 7162 §3.2, §6).
    """

    def test_nothingToSay(self) -> None:
        """A client that saw all changes in FETCH responses reckons it by itself."""
        client = self.select(2, " (CONDSTORE)")
        self.server.select().send(b"a STORE 1 FLAGS (\\Seen)\r\nb STORE 2 FLAGS (\\Seen)\r\n")
        answer = client.send(b"a NOOP\r\n")
        self.assertEqual(answer.count(b"FETCH"), 2)
        self.assertNotIn(b"HIGHESTMODSEQ", answer)

    def test_newMessages(self) -> None:
        """New messages are seen in EXISTS, which has no modSeq."""
        client = self.select(1, " (CONDSTORE)")
        self.server.deliver()
        self.assertTrue(
            client.send(b"a NOOP\r\n").endswith(b"a OK [HIGHESTMODSEQ 9] NOOP completed\r\n")
        )

    def test_idle(self) -> None:
        """In IDLE it is told at once."""
        client = self.select(1, " (CONDSTORE)")
        client.send(b"a IDLE\r\n")
        self.server.deliver()
        client.settle()
        self.assertIn(
            b"* 2 EXISTS\r\n* 1 RECENT\r\n* OK [HIGHESTMODSEQ 9] told\r\n", client.send(b"")
        )
        self.assertEqual(client.send(b"DONE\r\n"), b"a OK IDLE terminated\r\n")

    def test_metadata(self) -> None:
        """SETMETADATA "MUST increment the per-mailbox mod-sequence" (§3.2)."""
        client = self.select(1, " (CONDSTORE)")
        client.check(
            """
            C: a SETMETADATA INBOX (/private/comment "mine")
            S: a OK [HIGHESTMODSEQ 9] SETMETADATA completed
            C: b STATUS INBOX (HIGHESTMODSEQ)
            S: * STATUS INBOX (HIGHESTMODSEQ 9)
            S: b OK STATUS completed
            """
        )

    def test_close(self) -> None:
        """CLOSE "MUST NOT send" it (§3.2.8)."""
        client = self.select(1, " (CONDSTORE)")
        client.send(b"a STORE 1 +FLAGS.SILENT (\\Deleted)\r\n")
        self.assertEqual(client.send(b"b CLOSE\r\n"), b"b OK CLOSE completed\r\n")

    def test_otherCodes(self) -> None:
        """Where the tagged OK has a code of its own it comes before that."""
        client = self.select(1, " (CONDSTORE)")
        answer = client.send(b"a COPY 1 INBOX\r\n")
        self.assertIn(b"* OK [HIGHESTMODSEQ 9] told\r\na OK [COPYUID 1 1 2] ", answer)
