"""
STORE, COPY, EXPUNGE and their UID forms (RFC 3501 §6.4, RFC 9051 §6.4; with others around: RFC 2180
§4). FETCH is in C{test_fetch}, SEARCH in C{test_search}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.imap.client import Known, MailboxModel, splitResponses
from tests.imap.support import MESSAGE, Server, now
from twisted_mailstack.errors import TemporaryFailure
from twisted_mailstack.imap.commands import append
from twisted_mailstack.interfaces import IMailStore
from twisted_mailstack.model.flags import FlagOperation
from twisted_mailstack.model.records import SMALL_MESSAGE, Attribute
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.testing.conversation import Conversation
from twisted_mailstack.testing.faulty import FaultyStore

ALL = NumberSet([(1, 0xFFFFFFFF)])


class MailboxTestCase(SynchronousTestCase):
    """
    A server whose messages are counted.
    """

    def setUp(self) -> None:
        """Start it."""
        self.server = Server()

    def stored(self, mailbox: str = "INBOX") -> dict[int, str]:
        """
        @return: flags by UID, sorted, as the store has them.
        """
        opened = now(self.server.account.openMailbox(mailbox))
        rows = now(opened.fetch(ALL, (Attribute.FLAGS,)))
        return {uid: " ".join(sorted(flags)) for uid, flags in rows}

    def change(self, uids: str, operation: FlagOperation, *flags: str) -> None:
        """
        Change flags in INBOX from outside.
        """
        inbox = now(self.server.account.openMailbox("INBOX"))
        now(inbox.storeFlags(NumberSet.parse(uids.encode()), operation, frozenset(flags)))

    def expunge(self, uids: str) -> None:
        """
        Expunge messages of INBOX from outside.
        """
        inbox = now(self.server.account.openMailbox("INBOX"))
        now(inbox.expunge(NumberSet.parse(uids.encode()), onlyDeleted=False))

    def select(self, count: int = 3, command: str = "SELECT") -> Conversation:
        """
        @return: a session with INBOX and so many messages, none of them recent.
        """
        for _ in range(count):
            self.server.deliver()
        now(now(self.server.account.openMailbox("INBOX")).claimRecent())
        return self.server.select(command=command)


class StoreTests(MailboxTestCase):
    """
    STORE (RFC 3501 §6.4.6).
    """

    def test_operations(self) -> None:
        """
        +FLAGS adds, -FLAGS takes away, FLAGS replaces, and the new flags are told (the RFC's
        example).
        """
        session = self.select()
        session.check(r"""
            C: A003 STORE 2:3 +FLAGS (\Deleted)
            S: * 2 FETCH (FLAGS (\Deleted))
            S: * 3 FETCH (FLAGS (\Deleted))
            S: A003 OK STORE completed
            C: A004 STORE 2 FLAGS (\Seen \Flagged)
            S: * 2 FETCH (FLAGS (\Flagged \Seen))
            S: A004 OK STORE completed
            C: A005 STORE 2:3 -FLAGS (\Deleted \Flagged)
            S: * 2 FETCH (FLAGS (\Seen))
            S: * 3 FETCH (FLAGS ())
            S: A005 OK STORE completed
            C: A006 STORE 2 FLAGS ()
            S: * 2 FETCH (FLAGS ())
            S: A006 OK STORE completed
        """)
        self.assertEqual(self.stored(), {1: "", 2: "", 3: ""})

    def test_systemFlags(self) -> None:
        """
        All system flags but C{\\Recent} can be stored, in any case, and come back in the RFC's
        spelling (RFC 3501 §2.3.2).
        """
        session = self.select(1)
        session.check(r"""
            C: a STORE 1 FLAGS (\aNSWERED \flagged \DELETED \Seen \draft)
            S: * 1 FETCH (FLAGS (\Answered \Flagged \Deleted \Seen \Draft))
            S: a OK STORE completed
        """)

    def test_listWithoutParentheses(self) -> None:
        """
        store-att-flags may be flags without parentheses (RFC 9051 §9); names in any case.
        """
        session = self.select(1)
        session.check(r"""
            C: a store 1 +flags \Seen \Flagged
            S: * 1 FETCH (FLAGS (\Flagged \Seen))
            S: a OK STORE completed
            C: b Store 1 -Flags.Silent \Seen
            S: b OK STORE completed
            C: c FETCH 1 FLAGS
            S: * 1 FETCH (FLAGS (\Flagged))
            S: c OK FETCH completed
        """)

    def test_silent(self) -> None:
        """
        .SILENT stores, and doesn't tell.
        """
        session = self.select(2)
        session.check(r"""
            C: a STORE 1:2 +FLAGS.SILENT (\Seen)
            S: a OK STORE completed
            C: b STORE 1 FLAGS.SILENT (\Draft)
            S: b OK STORE completed
            C: c STORE 2 -FLAGS.SILENT (\Seen)
            S: c OK STORE completed
            C: d NOOP
            S: d OK NOOP completed
        """)
        self.assertEqual(self.stored(), {1: "\\Draft", 2: ""})

    def test_nothingChanges(self) -> None:
        """
        Flags that are as wanted already are told all the same, but not to others: nothing changed.
        """
        session = self.select(1)
        other = self.server.select()
        session.check(r"""
            C: a STORE 1 +FLAGS ()
            S: * 1 FETCH (FLAGS ())
            S: a OK STORE completed
            C: b STORE 1 -FLAGS (\Seen)
            S: * 1 FETCH (FLAGS ())
            S: b OK STORE completed
        """)
        other.check("""
            C: a NOOP
            S: a OK NOOP completed
        """)

    def test_uid(self) -> None:
        """
        UID STORE names messages by UID and tells the UIDs; UIDs that nobody has are ignored (RFC
        3501 §6.4.8).
        """
        session = self.select(3)
        self.expunge("2")
        session.check(r"""
            C: a NOOP
            S: * 2 EXPUNGE
            S: a OK NOOP completed
            C: b UID STORE 2:* +FLAGS (\Seen)
            S: * 2 FETCH (UID 3 FLAGS (\Seen))
            S: b OK UID STORE completed
            C: c UID STORE 2,77 +FLAGS (\Draft)
            S: c OK UID STORE completed
            C: d UID STORE 99:* -FLAGS (\Seen)
            S: * 2 FETCH (UID 3 FLAGS ())
            S: d OK UID STORE completed
        """)
        self.assertEqual(self.stored(), {1: "", 3: ""})

    def test_sequenceNumbersThatDontExist(self) -> None:
        """
        A number beyond the last message is refused, and nothing is stored for the others.
        """
        session = self.select(2)
        session.check(r"""
            C: a STORE 1:3 +FLAGS (\Seen)
            S: a BAD No such message
            C: b STORE 3:* +FLAGS (\Seen)
            S: b BAD No such message
            C: c STORE 0 +FLAGS (\Seen)
            S: c BAD Invalid sequence set
        """)
        self.assertEqual(self.stored(), {1: "", 2: ""})

    def test_malformed(self) -> None:
        """
        Commands outside the grammar are BAD and change nothing: C{\\Recent} can't be stored, nor
        system flags that don't exist.
        """
        session = self.select(1)
        for text in (
            r"STORE 1 +FLAGS (\Recent)",
            r"STORE 1 FLAGS (\Seen \Recent)",
            r"STORE 1 +FLAGS (\Unheard)",
            r"STORE 1 +FLAGS (\*)",
            r"STORE 1 +FLAGS (a%b)",
            r'STORE 1 +FLAGS ("x")',
            r"STORE 1 +FLAGS (\Seen",
            r"STORE 1 +FLAGS (\Seen ) ",
            r"STORE 1 +FLAGS \Seen)",
            r"STORE 1 +FLAGS",
            r"STORE 1 +FLAGS ",
            r"STORE 1 FLAG (\Seen)",
            r"STORE 1 FLAGS.LOUD (\Seen)",
            r"STORE 1 FLAGS. (\Seen)",
            r"STORE 1 (\Seen)",
            r"STORE +FLAGS (\Seen)",
            r"STORE 1  +FLAGS (\Seen)",
            r"STORE 1,, +FLAGS (\Seen)",
            r"STORE",
            r"UID STORE",
        ):
            answer = session.send(f"a {text}\r\n".encode())
            self.assertTrue(answer.startswith(b"a BAD "), (text, answer))
            self.assertEqual(answer.count(b"\r\n"), 1, answer)
        self.assertEqual(self.stored(), {1: ""})

    def test_readOnly(self) -> None:
        """
        In a mailbox opened by EXAMINE nothing is stored (RFC 3501 §6.3.2).
        """
        session = self.select(1, "EXAMINE")
        session.check(r"""
            C: a STORE 1 +FLAGS (\Seen)
            S: a NO [READ-ONLY] The mailbox is selected read-only
            C: b UID STORE 1 +FLAGS.SILENT (\Seen)
            S: b NO [READ-ONLY] The mailbox is selected read-only
        """)
        self.assertEqual(self.stored(), {1: ""})


class KeywordTests(MailboxTestCase):
    """
    Keywords (RFC 3501 §2.3.2).
    """

    def test_new(self) -> None:
        """
        A keyword that the mailbox doesn't know is announced by FLAGS and PERMANENTFLAGS before a
        message has it (RFC 9051 §7.3.5), to every session.
        """
        session = self.select(2)
        other = self.server.select()
        session.check(r"""
            C: a STORE 1 +FLAGS ($Forwarded \Seen)
            S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft $Forwarded)
            S: * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft $Forwarded \*)] Flags that are kept
            S: * 1 FETCH (FLAGS (\Seen $Forwarded))
            S: a OK STORE completed
            C: b STORE 2 +FLAGS ($Forwarded)
            S: * 2 FETCH (FLAGS ($Forwarded))
            S: b OK STORE completed
        """)  # noqa: E501
        other.check(r"""
            C: a NOOP
            S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft $Forwarded)
            S: * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft $Forwarded \*)] Flags that are kept
            S: * 1 FETCH (FLAGS (\Seen $Forwarded))
            S: * 2 FETCH (FLAGS ($Forwarded))
            S: a OK NOOP completed
        """)  # noqa: E501

    def test_case(self) -> None:
        """
        Keywords that differ in case are one (RFC 9051 §2.3.2), in the spelling first used; a silent
        STORE in another spelling stays silent.
        """
        session = self.select(1)
        session.send(b"a STORE 1 +FLAGS (Project-X)\r\n")
        session.check(r"""
            C: b STORE 1 +FLAGS (PROJECT-x)
            S: * 1 FETCH (FLAGS (Project-X))
            S: b OK STORE completed
            C: c STORE 1 +FLAGS.SILENT (project-x)
            S: c OK STORE completed
            C: d STORE 1 -FLAGS.SILENT (project-X)
            S: d OK STORE completed
            C: e FETCH 1 FLAGS
            S: * 1 FETCH (FLAGS ())
            S: e OK FETCH completed
        """)

    def test_removingAnUnknownOne(self) -> None:
        """
        Taking away a keyword that nobody has makes it no keyword of the mailbox.
        """
        session = self.select(1)
        session.check(r"""
            C: a STORE 1 -FLAGS (Unheard)
            S: * 1 FETCH (FLAGS ())
            S: a OK STORE completed
            C: b NOOP
            S: b OK NOOP completed
        """)

    def test_characters(self) -> None:
        """
        A keyword is an atom: all its characters come back as they were.
        """
        session = self.select(1)
        keyword = "!#$&'+,-./0:;<=>?@A[^_`z|}~"
        session.send(f"a STORE 1 +FLAGS.SILENT ({keyword})\r\n".encode())
        self.assertEqual(
            session.send(b"b FETCH 1 FLAGS\r\n").split(b"\r\n")[0],
            b"* 1 FETCH (FLAGS (%b))" % keyword.encode(),
        )

    def test_length(self) -> None:
        """
        A keyword may have 255 characters; a longer one is refused.
        """
        session = self.select(1)
        longest = "k" * 255
        self.assertIn(
            f"* 1 FETCH (FLAGS ({longest}))".encode(),
            session.send(f"a STORE 1 FLAGS ({longest})\r\n".encode()),
        )
        answer = session.send(f"b STORE 1 FLAGS ({longest}k)\r\n".encode())
        self.assertTrue(answer.startswith(b"b BAD "), answer)
        self.assertEqual(self.stored(), {1: longest})

    def test_tooMany(self) -> None:
        """
        A mailbox takes a bounded number of keywords; beyond it a new one is refused with LIMIT (RFC
        5530), a known one isn't, and taking away always works.
        """
        self.patch(append, "MAX_KEYWORDS", 3)
        session = self.select(1)
        session.send(b"a STORE 1 FLAGS (k1 k2 k3)\r\n")
        session.check(r"""
            C: b STORE 1 +FLAGS (k4)
            S: b NO [LIMIT] The mailbox has too many keywords
            C: c STORE 1 FLAGS (k4 k1)
            S: c NO [LIMIT] The mailbox has too many keywords
            C: d STORE 1 FLAGS (K1 k3 \Seen)
            S: * 1 FETCH (FLAGS (\Seen k1 k3))
            S: d OK STORE completed
            C: e STORE 1 -FLAGS (k1 k9)
            S: * 1 FETCH (FLAGS (\Seen k3))
            S: e OK STORE completed
        """)


class StoreWithOthersTests(MailboxTestCase):
    """
    STORE while other sessions change the mailbox.
    """

    def test_toldToOthers(self) -> None:
        """
        What one session stores, silently or not, the others are told with their next command.
        """
        session = self.select(2)
        other = self.server.select()
        session.send(b"a STORE 2 +FLAGS.SILENT (\\Seen)\r\n")
        other.check(r"""
            C: a FETCH 1 UID
            S: * 1 FETCH (UID 1)
            S: * 2 FETCH (FLAGS (\Seen))
            S: a OK FETCH completed
        """)

    def test_silentTellsWhatOthersDid(self) -> None:
        """
        A silent STORE still tells a message's flags if they aren't what the client must expect
        (RFC 9051 §6.4.6: changes from external sources are sent).
        """
        session = self.select(3)
        self.change("1", FlagOperation.ADD, "\\Answered")
        self.change("2", FlagOperation.ADD, "\\Seen")
        session.check(r"""
            C: a STORE 1:3 +FLAGS.SILENT (\Seen)
            S: * 1 FETCH (FLAGS (\Answered \Seen))
            S: a OK STORE completed
            C: b NOOP
            S: b OK NOOP completed
        """)

    def test_expungedSilently(self) -> None:
        """
        A silent STORE of messages of which some are expunged does the others, and is OK (RFC 2180
        §4.2.1); the EXPUNGE waits, as it must not come during STORE (RFC 3501 §7.4.1).
        """
        session = self.select(4)
        self.expunge("2")
        session.check(r"""
            C: a STORE 1:3 +FLAGS.SILENT (\Seen)
            S: a OK STORE completed
            C: b STORE 4 +FLAGS.SILENT (\Seen)
            S: b OK STORE completed
            C: c NOOP
            S: * 2 EXPUNGE
            S: c OK NOOP completed
        """)
        self.assertEqual(self.stored(), {1: "\\Seen", 3: "\\Seen", 4: "\\Seen"})

    def test_expunged(self) -> None:
        """
        Flags are stored for the messages that are left, and the answer is NO (RFC 2180 §4.2.3);
        without any left only NO (§4.2.2).
        """
        session = self.select(3)
        self.expunge("2:3")
        session.check(r"""
            C: a STORE 1:3 +FLAGS (\Seen)
            S: * 1 FETCH (FLAGS (\Seen))
            S: a NO [EXPUNGEISSUED] Some of the messages were expunged
            C: b STORE 2:3 +FLAGS (\Seen)
            S: b NO [EXPUNGEISSUED] Some of the messages were expunged
            C: c NOOP
            S: * 3 EXPUNGE
            S: * 2 EXPUNGE
            S: c OK NOOP completed
        """)

    def test_expungedByUID(self) -> None:
        """
        UID STORE ignores UIDs that are gone (RFC 3501 §6.4.8), and EXPUNGE may be told with it (RFC
        3501 §7.4.1, note).
        """
        session = self.select(3)
        self.expunge("2")
        session.check(r"""
            C: a UID STORE 2:3 +FLAGS (\Seen)
            S: * 3 FETCH (UID 3 FLAGS (\Seen))
            S: * 2 EXPUNGE
            S: a OK UID STORE completed
        """)

    def test_newMessagesAreTold(self) -> None:
        """
        New messages are announced with STORE; the messages' numbers aren't touched.
        """
        session = self.select(1)
        self.server.deliver()
        session.check(r"""
            C: a STORE 1 +FLAGS (\Seen)
            S: * 1 FETCH (FLAGS (\Seen))
            S: * 2 EXISTS
            S: * 1 RECENT
            S: a OK STORE completed
        """)


class CopyTests(MailboxTestCase):
    """
    COPY (RFC 3501 §6.4.7, RFC 4315 §3).
    """

    def test_copy(self) -> None:
        """
        Messages are copied behind those of the other mailbox; COPYUID says which became which.
        """
        self.server.deliver(mailbox="Archive")
        session = self.select(4)
        session.check("""
            C: A003 COPY 2:4 Archive
            S: A003 OK [COPYUID 6 2:4 2:4] COPY completed
            C: A004 UID COPY 4,1 archive
            S: A004 NO [TRYCREATE] No such mailbox
            C: A005 UID COPY 4,1 "Archive"
            S: A005 OK [COPYUID 6 1,4 5:6] COPY completed
        """)
        self.assertEqual(len(self.stored()), 4)

    def test_whatGoesAlong(self) -> None:
        """
        Flags, keywords and the internal date are preserved (RFC 9051 §6.4.7), in the keywords'
        spelling of the other mailbox; content and size are the same.
        """
        self.server.deliver(mailbox="Archive", flags=["project-x"])
        self.server.deliver(
            MESSAGE + b"\xff no end", flags=["\\Seen", "PROJECT-X"], date=1000, zone=90
        )
        session = self.server.select()
        session.send(b"a COPY 1 Archive\r\n")
        session.send(b"b EXAMINE Archive\r\n")
        self.assertEqual(
            session.send(b"c FETCH 2 (FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])\r\n"),
            b"* 2 FETCH (FLAGS (\\Recent \\Seen project-x)"
            b' INTERNALDATE " 1-Jan-1970 01:46:40 +0130" RFC822.SIZE %d BODY[] {%d}\r\n%b)\r\n'
            b"c OK FETCH completed\r\n" % (2 * (len(MESSAGE) + 8,) + (MESSAGE + b"\xff no end",)),
        )

    def test_isRecent(self) -> None:
        """
        The copies are C{\\Recent} (RFC 9051 §6.4.7 allows it; RFC 3501 §6.4.7: SHOULD).
        """
        session = self.select(2)
        session.check(r"""
            C: a COPY 1:2 Sent
            S: a OK [COPYUID 3 1:2 1:2] COPY completed
            C: b STATUS Sent (MESSAGES RECENT)
            S: * STATUS Sent (MESSAGES 2 RECENT 2)
            S: b OK STATUS completed
        """)

    def test_intoTheSameMailbox(self) -> None:
        """
        Copies into the selected mailbox are announced at once.
        """
        session = self.select(2)
        session.check(r"""
            C: a COPY 1:2 INBOX
            S: * 4 EXISTS
            S: * 2 RECENT
            S: a OK [COPYUID 1 1:2 3:4] COPY completed
        """)

    def test_announced(self) -> None:
        """
        Sessions that have the destination selected are told.
        """
        session = self.select(1)
        other = self.server.select("Sent")
        session.send(b"a COPY 1 Sent\r\n")
        other.check("""
            C: a NOOP
            S: * 1 EXISTS
            S: * 1 RECENT
            S: a OK NOOP completed
        """)

    def test_destinationMissing(self) -> None:
        """
        A destination that doesn't exist isn't created; TRYCREATE says that it could be.
        """
        session = self.select(1)
        session.check("""
            C: a COPY 1 Nowhere
            S: a NO [TRYCREATE] No such mailbox
            C: b UID COPY 77 Nowhere
            S: b NO [TRYCREATE] No such mailbox
        """)
        self.assertIn(b"c OK ", session.send(b"c CREATE Nowhere\r\n"))
        session.check("""
            C: d COPY 1 Nowhere
            S: d OK [COPYUID 7 1 1] COPY completed
        """)

    def test_nothing(self) -> None:
        """
        UIDs that nobody has are ignored: OK, and no COPYUID (RFC 4315 §3).
        """
        session = self.select(1)
        answer = session.send(b"a UID COPY 5:6 Sent\r\n")
        self.assertTrue(answer.startswith(b"a OK "), answer)
        self.assertNotIn(b"COPYUID", answer)
        self.assertEqual(self.stored("Sent"), {})

    def test_fromReadOnly(self) -> None:
        """
        EXAMINE forbids changes to the mailbox selected, not to others.
        """
        session = self.select(1, "EXAMINE")
        session.check("""
            C: a COPY 1 Sent
            S: a OK [COPYUID 3 1 1] COPY completed
        """)

    def test_malformed(self) -> None:
        """
        What isn't in the grammar, or names no message, is BAD and copies nothing.
        """
        session = self.select(1)
        for text in ("COPY 1", "COPY 1 ", "COPY Sent", "COPY 2 Sent", "COPY 1:2 Sent", "COPY *"):
            answer = session.send(f"a {text}\r\n".encode())
            self.assertTrue(answer.startswith(b"a BAD "), (text, answer))
        answer = session.send(b"a COPY 1 Sent Drafts\r\n")
        self.assertTrue(answer.startswith(b"a BAD "), answer)
        self.assertEqual(self.stored("Sent"), {})

    def test_overQuota(self) -> None:
        """
        If the copies don't all fit, none is made (RFC 3501 §6.4.7: the destination is restored).
        """
        session = self.select(3)
        address = self.server.account.address
        now(self.server.store.directory.setQuota(address, None, 5))
        session.check("""
            C: a COPY 1:3 Sent
            S: a NO [OVERQUOTA] The account is over its quota
            C: b STATUS Sent (MESSAGES UIDNEXT)
            S: * STATUS Sent (MESSAGES 0 UIDNEXT 1)
            S: b OK STATUS completed
            C: c COPY 1:2 Sent
            S: c OK [COPYUID 3 1:2 1:2] COPY completed
        """)

    def test_expunged(self) -> None:
        """
        Of messages that another session expunged, those that are left are copied; which are gone is
        told with the command (RFC 2180 §4.4.2), and COPYUID names what was copied.
        """
        session = self.select(4)
        self.expunge("2,4")
        session.check("""
            C: a COPY 1:4 Sent
            S: * 4 EXPUNGE
            S: * 2 EXPUNGE
            S: a OK [COPYUID 3 1,3 1:2] COPY completed
        """)

    def test_allExpunged(self) -> None:
        """
        If nothing is left to be copied, COPY fails and says why (RFC 2180 §4.4.1); UID COPY ignores
        them (RFC 3501 §6.4.8).
        """
        session = self.select(3)
        self.expunge("2")
        session.check("""
            C: a COPY 2 Sent
            S: * 2 EXPUNGE
            S: a NO [EXPUNGEISSUED] Some of the messages were expunged
        """)
        self.expunge("3")
        answer = session.send(b"b UID COPY 3 Sent\r\n")
        self.assertTrue(answer.startswith(b"* 2 EXPUNGE\r\nb OK "), answer)
        self.assertNotIn(b"COPYUID", answer)


class ExpungeTests(MailboxTestCase):
    """
    EXPUNGE (RFC 3501 §6.4.3), UID EXPUNGE (RFC 4315 §2.1), CLOSE (RFC 3501 §6.4.2).
    """

    def deleted(self, *numbers: int) -> Conversation:
        """
        @return: a session with six messages, these of which have C{\\Deleted}.
        """
        for number in range(1, 7):
            self.server.deliver(flags=["\\Deleted"] if number in numbers else [])
        now(now(self.server.account.openMailbox("INBOX")).claimRecent())
        return self.server.select()

    def test_expunge(self) -> None:
        """
        All messages with C{\\Deleted} go, each told by the number it has at that moment; the others
        move up.
        """
        session = self.deleted(2, 3, 6)
        session.check("""
            C: a EXPUNGE
            S: * 6 EXPUNGE
            S: * 3 EXPUNGE
            S: * 2 EXPUNGE
            S: a OK EXPUNGE completed
            C: b FETCH 1:* UID
            S: * 1 FETCH (UID 1)
            S: * 2 FETCH (UID 4)
            S: * 3 FETCH (UID 5)
            S: b OK FETCH completed
            C: c EXPUNGE
            S: c OK EXPUNGE completed
        """)
        self.assertEqual(list(self.stored()), [1, 4, 5])

    def test_uidsNeverReturn(self) -> None:
        """
        The UID of an expunged message is never used again, that of the last one included (RFC 3501
        §2.3.1.1).
        """
        session = self.deleted(6)
        session.send(b"a EXPUNGE\r\n")
        self.assertEqual(self.server.deliver(), 7)
        session.check("""
            C: b NOOP
            S: * 6 EXISTS
            S: * 1 RECENT
            S: b OK NOOP completed
            C: c FETCH 6 UID
            S: * 6 FETCH (UID 7)
            S: c OK FETCH completed
        """)

    def test_othersSeeItWhenTheyMay(self) -> None:
        """
        Another session isn't told by FETCH, STORE or SEARCH, whose numbers it would upset, but by
        the next command that allows it (RFC 3501 §7.4.1).
        """
        session = self.deleted(2)
        other = self.server.select()
        session.send(b"a EXPUNGE\r\n")
        other.check(r"""
            C: a FETCH 3 UID
            S: * 3 FETCH (UID 3)
            S: a OK FETCH completed
            C: b STORE 3 +FLAGS (\Seen)
            S: * 3 FETCH (FLAGS (\Seen))
            S: b OK STORE completed
            C: c SEARCH ALL
            S: * SEARCH 1 3 4 5 6
            S: c OK [EXPUNGEISSUED] SEARCH completed
            C: d CHECK
            S: * 2 EXPUNGE
            S: d OK CHECK completed
            C: e SEARCH ALL
            S: * SEARCH 1 2 3 4 5
            S: e OK SEARCH completed
        """)

    def test_uidCommandsMayTellIt(self) -> None:
        """
        UID FETCH, UID STORE and UID SEARCH are other commands: EXPUNGE may come with them (RFC 3501
        §7.4.1, note).
        """
        for command, response in (
            (b"UID FETCH 3 FLAGS", b"* 3 FETCH (UID 3 FLAGS ())\r\n"),
            (b"UID STORE 3 +FLAGS (\\Seen)", b"* 3 FETCH (UID 3 FLAGS (\\Seen))\r\n"),
            (b"UID SEARCH SUBJECT meeting", b"* SEARCH 1 3\r\n"),
        ):
            self.server = Server()
            session = self.select(3)
            self.expunge("2")
            name = b" ".join(command.split()[:2])
            self.assertEqual(
                session.send(b"b " + command + b"\r\n"),
                response + b"* 2 EXPUNGE\r\nb OK " + name + b" completed\r\n",
            )

    def test_readOnly(self) -> None:
        """
        EXAMINE: nothing is expunged, not by CLOSE either, which says nothing about it.
        """
        self.deleted(1)
        session = self.server.select(command="EXAMINE")
        session.check("""
            C: a EXPUNGE
            S: a NO [READ-ONLY] The mailbox is selected read-only
            C: b UID EXPUNGE 1:*
            S: b NO [READ-ONLY] The mailbox is selected read-only
            C: c CLOSE
            S: c OK CLOSE completed
        """)
        self.assertEqual(len(self.stored()), 6)

    def test_close(self) -> None:
        """
        CLOSE expunges and doesn't tell; others are told (RFC 3501 §6.4.2).
        """
        session = self.deleted(1, 2)
        other = self.server.select()
        session.check("""
            C: a CLOSE
            S: a OK CLOSE completed
            C: b FETCH 1 UID
            S: b BAD Not when authenticated
        """)
        other.check("""
            C: a NOOP
            S: * 2 EXPUNGE
            S: * 1 EXPUNGE
            S: a OK NOOP completed
        """)

    def test_deletedByOthers(self) -> None:
        """
        EXPUNGE removes what has C{\\Deleted}, also what another session marked a moment before.
        """
        session = self.select(2)
        self.change("2", FlagOperation.ADD, "\\Deleted")
        session.check("""
            C: a EXPUNGE
            S: * 2 EXPUNGE
            S: a OK EXPUNGE completed
        """)

    def test_uidExpunge(self) -> None:
        """
        UID EXPUNGE removes only those with C{\\Deleted} that are in the set (the RFC's example, RFC
        4315 §2.1).
        """
        session = self.deleted(2, 4, 6)
        session.check("""
            C: A003 UID EXPUNGE 3:6
            S: * 6 EXPUNGE
            S: * 4 EXPUNGE
            S: A003 OK UID EXPUNGE completed
            C: A004 UID EXPUNGE 99
            S: A004 OK UID EXPUNGE completed
            C: A005 UID EXPUNGE *
            S: A005 OK UID EXPUNGE completed
        """)
        self.assertEqual(list(self.stored()), [1, 2, 3, 5])

    def test_malformed(self) -> None:
        """
        EXPUNGE takes no arguments, UID EXPUNGE takes one.
        """
        session = self.deleted(1)
        for text in ("EXPUNGE 1", "EXPUNGE ", "UID EXPUNGE", "UID EXPUNGE 0", "UID EXPUNGE 1 2"):
            answer = session.send(f"a {text}\r\n".encode())
            self.assertTrue(answer.startswith(b"a BAD "), (text, answer))
        self.assertEqual(len(self.stored()), 6)


class StateTests(MailboxTestCase):
    """
    Where these commands may be given.
    """

    def test_onlyWhenSelected(self) -> None:
        """
        Without a selected mailbox they are BAD (RFC 3501 §6.4).
        """
        session = self.server.login()
        for text in (
            "FETCH 1 FLAGS",
            r"STORE 1 FLAGS (\Seen)",
            "COPY 1 Sent",
            "SEARCH ALL",
            "EXPUNGE",
            "UID FETCH 1 FLAGS",
            r"UID STORE 1 FLAGS (\Seen)",
            "UID COPY 1 Sent",
            "UID SEARCH ALL",
            "UID EXPUNGE 1",
            "MOVE 1 Sent",
            "UID MOVE 1 Sent",
        ):
            self.assertEqual(
                session.send(f"a {text}\r\n".encode()), b"a BAD Not when authenticated\r\n"
            )

    def test_unknownUIDCommand(self) -> None:
        """
        UID goes with the commands of the RFC only.
        """
        session = self.select(1)
        for text in ("UID", "UID ", "UID NOOP", "UID EXPUNGE", "UID UID FETCH 1 FLAGS"):
            answer = session.send(f"a {text}\r\n".encode())
            self.assertTrue(answer.startswith(b"a BAD "), (text, answer))


class FuzzTests(MailboxTestCase):
    """
    Commands made of what commands are made of.
    """

    TOKENS = (
        *(
            "FETCH",
            "STORE",
            "SEARCH",
            "COPY",
            "MOVE",
            "EXPUNGE",
            "UID ",
            "1",
            "1:2",
            "*",
            "2:*",
            "9",
        ),
        *(
            " ",
            " ",
            " ",
            "(",
            ")",
            "[",
            "]",
            "<",
            ">",
            "0.5",
            ".",
            ",",
            ":",
            '"',
            '""',
            "{1+}\r\nx",
        ),
        *(
            "FLAGS",
            "+FLAGS",
            "-FLAGS.SILENT",
            "\\Seen",
            "\\Recent",
            "work",
            "BODY",
            "BODY[",
            "BODY[]",
        ),
        *(
            "BODY.PEEK[HEADER.FIELDS (",
            "HEADER",
            "TEXT",
            "MIME",
            "1.2",
            "RFC822",
            "ENVELOPE",
            "ALL",
        ),
        *(
            "OR",
            "NOT",
            "SUBJECT",
            "KEYWORD",
            "ON",
            "7-Feb-1994",
            "LARGER",
            "CHARSET",
            "UTF-8",
            "INBOX",
        ),
        *(
            "Sent",
            "NIL",
            "\xff",
            "é",
            "%",
            "{0+}\r\n",
            "4294967296",
            "\\",
            "-1",
            "&-",
            "\x00",
            "\x7f",
        ),
    )

    STARTS = (
        *("", "UID ", "FETCH 1 ", "FETCH 1:2 (FLAGS ", "UID FETCH 1:* BODY[", "FETCH 1 BODY[TEXT]"),
        *("STORE 1 ", "UID STORE 1 +FLAGS (", "STORE 2 FLAGS.SILENT ", "COPY ", "UID MOVE 1 "),
        *("SEARCH ", "UID SEARCH NOT (", "SEARCH OR SUBJECT ", "SEARCH CHARSET ", "UID EXPUNGE "),
    )

    @settings(deadline=None, max_examples=200)
    @given(
        st.lists(
            st.tuples(st.sampled_from(STARTS), st.lists(st.sampled_from(TOKENS), max_size=8)),
            min_size=1,
            max_size=20,
        )
    )
    def test_anything(self, commands: list[tuple[str, list[str]]]) -> None:
        """
        Whatever comes, each command gets one tagged response, never for an error of ours, and the
        next one is understood.
        """
        self.server = Server()
        session = self.select(2)
        for start, tokens in commands:
            octets = (start + "".join(tokens)).encode("latin-1")
            responses = splitResponses(session.send(b"a " + octets + b"\r\nb NOOP\r\n"))
            tagged = [each for each in responses if each[:2] in (b"a ", b"b ")]
            self.assertEqual(len(tagged), 2, (octets, responses))
            self.assertRegex(tagged[0], rb"\Aa (OK|NO|BAD) ")
            self.assertNotIn(b"SERVERBUG", tagged[0])
            self.assertEqual(tagged[1], b"b OK NOOP completed")


class FailingStoreTests(MailboxTestCase):
    """
    A store that fails at its n-th call: the command is answered NO, the session goes on, and what
    the client knows stays in step with what is stored.
    """

    SCRIPT = (
        b"FETCH 1:3 (FLAGS ENVELOPE)",
        b"FETCH 1:2 BODY[]",
        b"STORE 1:3 +FLAGS (\\Flagged new)",
        b"STORE 2 -FLAGS.SILENT (\\Seen)",
        b"SEARCH TEXT joe",
        b"COPY 1:2 INBOX",
        b"MOVE 1 Sent",
        b"STORE 2 +FLAGS (\\Deleted)",
        b"UID EXPUNGE 1:*",
        b"STORE 1 +FLAGS (\\Deleted)",
        b"EXPUNGE",
        b"FETCH 1 RFC822",
        b"NOOP",
    )

    def run_(self, failAt: int, error: Callable[[], Exception]) -> bool:
        """
        @return: whether the script came to that call at all.
        """
        store = FaultyStore(MemoryMailStore())
        self.server = Server(store=cast(IMailStore, store))
        # The test itself looks past the faults.
        self.server.account = cast(Any, self.server.account).wrapped
        large = MESSAGE + b"x" * SMALL_MESSAGE + b"\r\n"
        for data in (MESSAGE, MESSAGE, large):
            self.server.deliver(data)
        session = self.server.select()
        client = MailboxModel([Known() for _ in range(3)])
        client.read(session.send(b"x UID FETCH 1:* FLAGS\r\n"), b"UID FETCH", b"x")
        store.calls.clear()
        store.failAt(failAt, error)
        for command in self.SCRIPT:
            name = command.partition(b" ")[0]
            before = len(self.stored()) + len(self.stored("Sent"))
            tagged = client.read(session.send(b"x " + command + b"\r\n"), name, b"x")
            if session.wire.lost:
                # A large message that can't be read to its end: closing is the only way to say so.
                self.assertEqual(store.calls[failAt - 1], "IMessageContent.read")
                return True
            # BAD: for want of a message that COPY should have made; EXPUNGEISSUED: of one whose
            # EXPUNGE couldn't be told when MOVE took it away.
            self.assertRegex(tagged, rb"\A(OK|NO \[(SERVERBUG|UNAVAILABLE|EXPUNGEISSUED)\]|BAD) ")
            after = len(self.stored()) + len(self.stored("Sent"))
            if not tagged.startswith(b"OK") or name not in (b"COPY", b"UID", b"EXPUNGE"):
                # Nothing is lost, or there twice.
                self.assertEqual(after, before, command)
        reached = len(store.calls) >= failAt
        client.read(session.send(b"x NOOP\r\n"), b"NOOP", b"x")
        # New messages: their flags weren't told, and have to be asked for.
        unknown = [at for at, each in enumerate(client.messages, 1) if each.uid is None]
        for number in unknown:
            client.read(session.send(b"x FETCH %d (UID FLAGS)\r\n" % number), b"FETCH", b"x")
        told = {uid: " ".join(sorted(flags or ())) for uid, flags in client.flagsByUID().items()}
        self.assertEqual(told, self.stored(), store.calls[failAt - 1 :][:1])
        return reached

    def test_temporaryFailures(self) -> None:
        """
        Whichever call fails with an error that is meant for the client.
        """
        for number in range(1, 200):
            reached = self.run_(number, TemporaryFailure)
            self.flushLoggedErrors(TemporaryFailure)
            if not reached:
                break
        self.assertGreater(number, 20)

    def test_defects(self) -> None:
        """
        Whichever call raises what it never should: it is logged, the client is told SERVERBUG.
        """
        for number in range(1, 200):
            reached = self.run_(number, lambda: OSError("disk on fire"))
            if not reached:
                break
            self.assertTrue(self.flushLoggedErrors(OSError))
        self.assertGreater(number, 20)
