"""
NOTIFY (RFC 5465).
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.stepped import SteppedServer
from tests.imap.support import Server, now
from tests.imap.test_capabilities import PlainStore
from twisted_mailstack.model.flags import FlagOperation
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.testing.conversation import Conversation

TEXT = b"From: alice@example.org\r\nSubject: Re: good morning\r\n\r\ntext\r\n"


class NotifyTestCase(SynchronousTestCase):
    """
    A server with mail in INBOX and a mailbox below Lists.
    """

    def setUp(self) -> None:
        """Start it."""
        self.start(Server())

    def start(self, server: Server) -> None:
        """
        Use that server.
        """
        self.server = server
        self.account = server.account
        now(self.account.createMailbox("Lists/Lemonade"))
        for _ in range(3):
            server.deliver(TEXT)
        now(now(self.account.openMailbox("INBOX")).claimRecent())

    def store(self, uids: str, flag: str, mailbox: str = "INBOX") -> None:
        """Add a flag from outside."""
        numbers = NumberSet.parse(uids.encode())
        opened = now(self.account.openMailbox(mailbox))
        now(opened.storeFlags(numbers, FlagOperation.ADD, frozenset((flag,))))

    def annotate(self, uids: str, entry: str, mailbox: str = "INBOX") -> None:
        """Set an annotation from outside."""
        opened: Any = now(self.account.openMailbox(mailbox))
        values = {(entry, True): b"x"}
        now(opened.storeAnnotations(NumberSet.parse(uids.encode()), values, 10))

    def expunge(self, uids: str, mailbox: str = "INBOX") -> None:
        """Expunge from outside."""
        opened = now(self.account.openMailbox(mailbox))
        now(opened.expunge(NumberSet.parse(uids.encode()), onlyDeleted=False))

    def notified(self, events: str, selected: bool = True, enable: str = "") -> Conversation:
        """
        @return: a session that has given NOTIFY, nothing left to be taken.
        """
        client = self.server.login()
        if enable:
            client.send(b"e ENABLE %b\r\n" % enable.encode())
        if selected:
            client.send(b"s SELECT INBOX\r\n")
        answer = client.send(b"n NOTIFY SET %b\r\n" % events.encode())
        self.assertTrue(answer.endswith(b"n OK NOTIFY completed\r\n"), answer)
        return client

    def told(self, client: Conversation) -> list[bytes]:
        """
        @return: the lines that were pushed since the last time.
        """
        client.settle()
        return client.wire.take().split(b"\r\n")[:-1]


class SelectedTests(NotifyTestCase):
    """
    Of the selected mailbox.
    """

    ALL = "(selected (MessageNew MessageExpunge FlagChange))"

    def test_capability(self) -> None:
        """NOTIFY is announced (§3)."""
        answer = self.server.login().send(b"a CAPABILITY\r\n")
        self.assertIn(b"NOTIFY", answer.partition(b"\r\n")[0].split())

    def test_everything(self) -> None:
        """
        New messages, flags with their UIDs, and expunges are told at once, with no command under
        way (§3.1, §5.1-5.3).
        """
        client = self.notified(self.ALL)
        self.server.deliver()
        self.assertEqual(self.told(client), [b"* 4 EXISTS", b"* 1 RECENT"])
        self.store("2", "\\Seen")
        self.assertEqual(self.told(client), [b"* 2 FETCH (UID 2 FLAGS (\\Seen))"])
        self.expunge("1:2")
        self.assertEqual(self.told(client), [b"* 2 EXPUNGE", b"* 1 EXPUNGE"])
        client.check("C: a NOOP\nS: a OK NOOP completed")

    def test_items(self) -> None:
        """What the client wants of new messages follows EXISTS (§5.2, the RFC's example)."""
        client = self.notified(
            "(selected (MessageNew (uid body.peek[header.fields (from to subject)])"
            " MessageExpunge))"
        )
        self.server.deliver(TEXT)
        self.assertEqual(
            self.told(client),
            [
                b"* 4 EXISTS",
                b"* 1 RECENT",
                b"* 4 FETCH (UID 4 BODY[HEADER.FIELDS (FROM TO SUBJECT)] {54}",
                b"From: alice@example.org",
                b"Subject: Re: good morning",
                b"",
                b")",
            ],
        )

    def test_itemsWithModSeqs(self) -> None:
        """
        Who wants modSeqs gets those of new messages with the items, and UIDs (RFC 7162 §3.2.4: "in
        all subsequent untagged FETCH responses").
        """
        for items in ("flags", "uid flags modseq"):
            client = self.notified(
                f"(selected (MessageNew ({items}) MessageExpunge FlagChange))", enable="QRESYNC"
            )
            uid = self.server.deliver()
            inbox = now(self.account.openMailbox("INBOX"))
            modSeq = now(inbox.status()).highestModSeq
            self.assertIn(
                b"* %d FETCH (UID %d FLAGS (\\Recent) MODSEQ (%d))" % (uid, uid, modSeq),
                self.told(client),
            )
            client.disconnect()

    def test_annotations(self) -> None:
        """Changed annotations are told with UIDs, if AnnotationChange is wanted (§5.1)."""
        client = self.notified("(selected (MessageNew MessageExpunge AnnotationChange))")
        self.annotate("2", "/comment")
        self.store("1", "\\Seen")
        self.assertEqual(self.told(client), [b"* 2 FETCH (UID 2 ANNOTATION (/comment))"])
        client.send(b"n NOTIFY SET (selected (MessageNew MessageExpunge FlagChange))\r\n")
        self.told(client)
        self.annotate("2", "/altsubject")
        self.assertEqual(self.told(client), [])
        client.send(b"n NOTIFY SET (selected (MessageNew MessageExpunge AnnotationChange))\r\n")
        self.annotate("3", "/altsubject")
        self.assertEqual(self.told(client), [b"* 3 FETCH (UID 3 ANNOTATION (/altsubject))"])
        client.send(b"s SELECT INBOX (ANNOTATE)\r\n")
        client.send(b"n NOTIFY SET (selected (MessageNew MessageExpunge))\r\n")
        self.annotate("3", "/comment")
        self.assertEqual(self.told(client), [])

    def test_annotationsOfNewMessages(self) -> None:
        """New messages come with their annotations, also those without the part in question."""
        client = self.notified(
            "(selected (MessageNew (uid annotation (/2/comment value.priv)) MessageExpunge))"
        )
        self.server.deliver()
        self.assertEqual(self.told(client), [b"* 4 EXISTS", b"* 1 RECENT", b"* 4 FETCH (UID 4)"])

    def test_annotationsBeforeSearches(self) -> None:
        """FETCH precedes the ESEARCH that it causes (§5.1)."""
        client = self.server.select()
        client.send(b"u SEARCH RETURN (UPDATE) ANNOTATION /comment value x\r\n")
        client.send(b"n NOTIFY SET (selected (MessageNew MessageExpunge AnnotationChange))\r\n")
        self.annotate("2", "/comment")
        self.assertEqual(
            self.told(client),
            [
                b"* 2 FETCH (UID 2 ANNOTATION (/comment))",
                b'* ESEARCH (TAG "u") ADDTO (0 2)',
            ],
        )

    def test_itemsOfSearches(self) -> None:
        """
        Items of MessageNew and of a search's UPDATE are combined; what the search doesn't find has
        those of MessageNew (§5.2, §7).
        """
        client = self.notified("(selected (MessageNew (uid rfc822.size) MessageExpunge))")
        client.send(b"u SEARCH RETURN (UPDATE (UID FLAGS)) FLAGGED\r\n")
        self.told(client)
        self.server.deliver(b"12345", flags=["\\Flagged"])
        self.assertEqual(
            self.told(client),
            [
                b"* 4 EXISTS",
                b"* 1 RECENT",
                b"* 4 FETCH (UID 4 FLAGS (\\Recent \\Flagged) RFC822.SIZE 5)",
                b'* ESEARCH (TAG "u") ADDTO (0 4)',
            ],
        )
        self.server.deliver(b"123")
        self.assertEqual(
            self.told(client),
            [b"* 5 EXISTS", b"* 2 RECENT", b"* 5 FETCH (UID 5 RFC822.SIZE 3)"],
        )
        client.send(b"n NOTIFY SET (selected (MessageNew MessageExpunge))\r\n")
        self.told(client)
        self.server.deliver(b"123", flags=["\\Flagged"])
        self.assertEqual(
            self.told(client),
            [
                b"* 6 EXISTS",
                b"* 3 RECENT",
                b"* 6 FETCH (UID 6 FLAGS (\\Recent \\Flagged))",
                b'* ESEARCH (TAG "u") ADDTO (0 6)',
            ],
        )

    def test_flagChangeWantedAgain(self) -> None:
        """
        Flags that changed while that wasn't to be told are told once it is: a "NOTIFY SET command
        MUST cause the server to immediately return any accumulated changes" (§3.1).
        """
        for events in ("(selected (MessageNew MessageExpunge))", "(selected NONE)"):
            client = self.notified(events)
            self.store("2", "\\Seen")
            self.assertNotIn(b"FETCH", client.send(b"a NOOP\r\n"))
            answer = client.send(b"b NOTIFY SET %b\r\n" % self.ALL.encode())
            answer += client.send(b"c NOOP\r\n")
            self.assertIn(b"* 2 FETCH (UID 2 FLAGS (\\Seen))\r\n", answer)
            self.assertEqual(answer.count(b" FETCH "), 1, answer)
            client.disconnect()
            self.start(Server())

    def test_askedFor(self) -> None:
        """
        A client that isn't told of changes of flags and asks for them gets them as they are, in
        FETCH, by CHANGEDSINCE and by SEARCH.
        """
        client = self.notified("(selected NONE)", enable="CONDSTORE")
        inbox = now(self.account.openMailbox("INBOX"))
        before = now(inbox.status()).highestModSeq
        for number in range(3):
            self.store("2", f"k{number}")
            after = now(inbox.status()).highestModSeq
            flags = b" ".join(b"k%d" % each for each in range(number + 1))
            client.settle()
            client.check(
                f"""
                C: a FETCH 1:* FLAGS (CHANGEDSINCE {before})
                S: * 2 FETCH (FLAGS ({flags.decode()}) MODSEQ ({after}))
                S: a OK [HIGHESTMODSEQ {before}] FETCH completed
                C: b SEARCH KEYWORD k{number}
                S: * SEARCH 2
                S: b OK SEARCH completed
                """
            )

    def test_withoutFlagChange(self) -> None:
        """Flags aren't told if FlagChange isn't wanted, and FETCH shows them all the same."""
        client = self.notified("(selected (MessageNew MessageExpunge))")
        self.store("2", "\\Seen")
        self.assertEqual(self.told(client), [])
        client.check(
            """
            C: a UID FETCH 2 (FLAGS)
            S: * 2 FETCH (UID 2 FLAGS (\\Seen))
            S: a OK UID FETCH completed
            """
        )

    def test_none(self) -> None:
        """
        Without SELECTED, with SELECTED NONE, and after NOTIFY NONE nothing of the selected mailbox
        is told, but for what the client does itself (§3.1).
        """
        for events in ("(selected NONE)", "(personal (SubscriptionChange))"):
            client = self.notified(events)
            self.server.deliver()
            self.store("1", "\\Seen")
            self.assertEqual(self.told(client), [])
            self.assertEqual(client.send(b"a NOOP\r\n"), b"a OK NOOP completed\r\n")
        client = self.notified(self.ALL)
        client.send(b"a NOTIFY NONE\r\n")
        self.store("1", "\\Flagged")
        self.assertEqual(self.told(client), [])
        client.send(b"b STORE 1 +FLAGS.SILENT (\\Deleted)\r\n")
        self.assertIn(b"* 1 EXPUNGE\r\n", client.send(b"c EXPUNGE\r\n"))

    def test_delayed(self) -> None:
        """With SELECTED-DELAYED, EXPUNGE waits for a command in which it may be told (§6.1.2)."""
        client = self.notified("(selected-delayed (MessageNew MessageExpunge FlagChange))")
        self.expunge("1")
        self.server.deliver()
        self.assertEqual(self.told(client), [b"* 4 EXISTS", b"* 1 RECENT"])
        client.check(
            """
            C: a FETCH 1 (UID)
            S: * 1 FETCH (UID 1)
            S: a OK FETCH completed
            C: b NOOP
            S: * 1 EXPUNGE
            S: b OK NOOP completed
            """
        )

    def test_accumulated(self) -> None:
        """NOTIFY SET first tells what has changed until then (§3.1)."""
        client = self.server.select()
        self.expunge("2")
        self.assertEqual(
            client.send(b"a NOTIFY SET (selected NONE)\r\n"),
            b"* 2 EXPUNGE\r\na OK NOTIFY completed\r\n",
        )

    def test_vanished(self) -> None:
        """With QRESYNC, VANISHED stands in for EXPUNGE, and modSeqs are told (§5.3)."""
        client = self.notified(self.ALL, enable="QRESYNC")
        self.expunge("2")
        self.assertIn(b"* VANISHED 2", self.told(client))

    def test_idle(self) -> None:
        """IDLE tells the same (§4)."""
        client = self.notified("(selected (MessageNew (uid) MessageExpunge))")
        client.send(b"i IDLE\r\n")
        self.store("1", "\\Seen")
        self.server.deliver()
        self.assertEqual(self.told(client), [b"* 4 EXISTS", b"* 1 RECENT", b"* 4 FETCH (UID 4)"])
        self.assertEqual(client.send(b"DONE\r\n"), b"i OK IDLE terminated\r\n")

    def test_anotherMailbox(self) -> None:
        """It is about whatever mailbox is selected when something happens (§3.1)."""
        client = self.notified(self.ALL, selected=False)
        client.send(b"s SELECT Sent\r\n")
        self.server.deliver(mailbox="Sent")
        self.assertEqual(self.told(client), [b"* 1 EXISTS", b"* 1 RECENT"])
        self.server.deliver()
        self.assertEqual(self.told(client), [])

    def test_inTheMidstOfACommand(self) -> None:
        """A command that is half there isn't interrupted."""
        client = self.notified(self.ALL)
        client.send(b"a NO")
        self.server.deliver()
        self.assertEqual(self.told(client), [])
        self.assertEqual(
            client.send(b"OP\r\n"), b"* 4 EXISTS\r\n* 1 RECENT\r\na OK NOOP completed\r\n"
        )

    def test_deleted(self) -> None:
        """If the selected mailbox is deleted, the client is told so."""
        client = self.server.login()
        client.send(b"s SELECT Lists/Lemonade\r\n")
        client.send(b"n NOTIFY SET %b\r\n" % self.ALL.encode())
        now(self.account.deleteMailbox("Lists/Lemonade"))
        self.assertEqual(self.told(client), [b"* BYE the selected mailbox was deleted"])
        self.assertTrue(client.finished)


class OtherMailboxTests(NotifyTestCase):
    """
    Of messages in other mailboxes.
    """

    def test_status(self) -> None:
        """With STATUS the client is told how each mailbox is (§3.1, the RFC's example)."""
        client = self.server.login()
        client.check(
            """
            C: b notify set status (selected NONE) (subtree Lists MessageNew MessageExpunge)
            S: * STATUS Lists (UIDVALIDITY 7 UIDNEXT 1 MESSAGES 0)
            S: * STATUS Lists/Lemonade (UIDVALIDITY 8 UIDNEXT 1 MESSAGES 0)
            S: b OK NOTIFY completed
            """
        )

    def test_new(self) -> None:
        """A message that arrives, or goes, is told by STATUS (§5.2, §5.3)."""
        client = self.notified("(mailboxes (Sent Lists/Lemonade) (MessageNew MessageExpunge))")
        self.server.deliver(mailbox="Lists/Lemonade")
        self.assertEqual(self.told(client), [b"* STATUS Lists/Lemonade (UIDNEXT 2 MESSAGES 1)"])
        self.store("1", "\\Seen", "Lists/Lemonade")
        self.assertEqual(self.told(client), [])
        self.expunge("1", "Lists/Lemonade")
        self.assertEqual(self.told(client), [b"* STATUS Lists/Lemonade (UIDNEXT 2 MESSAGES 0)"])
        self.server.deliver(mailbox="Drafts")
        self.assertEqual(self.told(client), [])

    def test_flags(self) -> None:
        """Flags are told by UNSEEN, and by HIGHESTMODSEQ to who has enabled CONDSTORE (§5.1)."""
        self.server.deliver(mailbox="Sent")
        events = "(mailboxes Sent (MessageNew MessageExpunge FlagChange))"
        client = self.notified(events)
        aware = self.notified(events, enable="CONDSTORE")
        self.store("1", "\\Seen", "Sent")
        self.assertEqual(self.told(client), [b"* STATUS Sent (UNSEEN 0)"])
        (line,) = self.told(aware)
        self.assertRegex(line, rb"\* STATUS Sent \(UIDVALIDITY 3 UNSEEN 0 HIGHESTMODSEQ \d+\)\Z")
        self.store("1", "\\Answered", "Sent")
        self.assertEqual(self.told(client), [])
        self.assertIn(b"HIGHESTMODSEQ", self.told(aware)[0])
        # Being told of modSeqs enables nothing.
        self.assertNotIn(b"CONDSTORE", self.server.sessions[0].enabled)

    def test_annotations(self) -> None:
        """Changes of annotations are told to who has enabled CONDSTORE, by HIGHESTMODSEQ (§5.1)."""
        self.server.deliver(mailbox="Sent")
        events = "(mailboxes Sent (MessageNew MessageExpunge AnnotationChange))"
        client = self.notified(events)
        aware = self.notified(f"STATUS {events}", enable="CONDSTORE")
        self.store("1", "\\Seen", "Sent")
        self.assertEqual(self.told(client) + self.told(aware), [])
        self.annotate("1", "/comment", "Sent")
        self.assertEqual(self.told(client), [])
        (line,) = self.told(aware)
        self.assertRegex(line, rb"\* STATUS Sent \(UIDVALIDITY 3 HIGHESTMODSEQ \d+\)\Z")

    def test_annotationsAtFirst(self) -> None:
        """With STATUS, HIGHESTMODSEQ and UIDVALIDITY are told at once (§3.1)."""
        client = self.server.login()
        answer = client.send(
            b"n NOTIFY SET STATUS (mailboxes Sent (MessageNew MessageExpunge AnnotationChange))\r\n"
        )
        self.assertRegex(
            answer, rb"\* STATUS Sent \(UIDVALIDITY 3 UIDNEXT 1 MESSAGES 0 HIGHESTMODSEQ \d+\)"
        )

    def test_selectedOverrides(self) -> None:
        """Of the selected mailbox is told what SELECTED says, even if it is among others (§3.1)."""
        client = self.notified("(personal (MessageNew MessageExpunge))")
        self.server.deliver()
        self.assertEqual(self.told(client), [])
        client.send(b"u UNSELECT\r\n")
        self.server.deliver()
        self.assertEqual(self.told(client), [b"* STATUS INBOX (UIDNEXT 6 MESSAGES 5)"])

    def test_subscribed(self) -> None:
        """SUBSCRIBED follows the subscriptions (§6.4)."""
        client = self.notified("(subscribed (MessageNew MessageExpunge))", selected=False)
        self.server.deliver(mailbox="Lists/Lemonade")
        self.assertEqual(self.told(client), [])
        now(self.account.setSubscribed("Lists/Lemonade", True))
        self.told(client)
        self.server.deliver(mailbox="Lists/Lemonade")
        self.assertEqual(self.told(client), [b"* STATUS Lists/Lemonade (UIDNEXT 3 MESSAGES 2)"])

    def test_created(self) -> None:
        """A mailbox that is made later counts as well, from its first message on."""
        client = self.notified("(subtree Lists (MessageNew MessageExpunge))", selected=False)
        now(self.account.createMailbox("Lists/New"))
        self.server.deliver(mailbox="Lists/New")
        self.assertEqual(self.told(client)[-1], b"* STATUS Lists/New (UIDNEXT 2 MESSAGES 1)")

    def test_unknownNames(self) -> None:
        """Names that no mailbox has are ignored (§3.1), and so is what isn't a pattern (§6.6)."""
        client = self.notified('(mailboxes (absent "Sen%" "*") (MessageNew MessageExpunge))')
        self.server.deliver(mailbox="Sent")
        self.assertEqual(self.told(client), [])

    def test_replaced(self) -> None:
        """NOTIFY SET replaces what was there (§3.1)."""
        client = self.notified("(mailboxes Sent (MessageNew MessageExpunge))")
        client.send(b"m NOTIFY SET (mailboxes Drafts (MessageNew MessageExpunge))\r\n")
        self.server.deliver(mailbox="Sent")
        self.assertEqual(self.told(client), [])
        self.server.deliver(mailbox="Drafts")
        self.assertEqual(len(self.told(client)), 1)


class NameTests(NotifyTestCase):
    """
    Of names and subscriptions.
    """

    def test_created(self) -> None:
        """A new mailbox, and the one above it, which is affected too (§5.4)."""
        client = self.notified("(personal (MailboxName))")
        now(self.account.createMailbox("NewMailbox"))
        self.assertEqual(self.told(client), [b'* LIST (\\HasNoChildren) "/" NewMailbox'])
        now(self.account.createMailbox("NewMailbox/a%b"))
        self.assertEqual(
            self.told(client),
            [
                b'* LIST (\\HasChildren) "/" NewMailbox',
                b'* LIST (\\HasNoChildren) "/" "NewMailbox/a%b"',
            ],
        )

    def test_deleted(self) -> None:
        """A mailbox that is no more (§5.4)."""
        client = self.notified("(personal (MailboxName))")
        now(self.account.deleteMailbox("Lists/Lemonade"))
        self.assertEqual(
            self.told(client),
            [
                b'* LIST (\\HasNoChildren) "/" Lists',
                b'* LIST (\\NonExistent) "/" Lists/Lemonade',
            ],
        )

    def test_renamed(self) -> None:
        """One that is renamed, without a word about those below it (§5.4)."""
        client = self.notified("(personal (MailboxName))")
        now(self.account.renameMailbox("Lists", "Old"))
        self.assertEqual(
            self.told(client),
            [b'* LIST (\\HasChildren) "/" Old ("OLDNAME" ("Lists"))'.replace(b'"Lists"', b"Lists")],
        )

    def test_subscriptions(self) -> None:
        r"""A name that is subscribed has C{\Subscribed}, one that isn't hasn't (§5.5)."""
        client = self.notified("(personal (SubscriptionChange))")
        now(self.account.setSubscribed("Lists", True))
        self.assertEqual(self.told(client), [b'* LIST (\\HasChildren \\Subscribed) "/" Lists'])
        now(self.account.setSubscribed("Lists", False))
        self.assertEqual(self.told(client), [b'* LIST (\\HasChildren) "/" Lists'])
        now(self.account.createMailbox("untold"))
        self.assertEqual(self.told(client), [])

    def test_metadata(self) -> None:
        """Entries of mailboxes and of the server, as far as they are asked for (§5.6, §5.7)."""
        client = self.notified(
            "(subtree Lists (MailboxMetadataChange)) (personal (ServerMetadataChange))"
        )
        other = self.server.login()
        self.told(client)
        other.send(b'a SETMETADATA Lists (/private/comment "x")\r\n')
        self.assertEqual(self.told(client), [b"* METADATA Lists /private/comment"])
        other.send(b'b SETMETADATA INBOX (/private/comment "x")\r\n')
        self.assertEqual(self.told(client), [])
        other.send(b'c SETMETADATA "" (/private/comment "x")\r\n')
        self.assertEqual(self.told(client), [b'* METADATA "" /private/comment'])


class CommandTests(NotifyTestCase):
    """
    What is refused.
    """

    def refused(self, arguments: str) -> str:
        """
        @return: the answer to NOTIFY.
        """
        client = self.server.select()
        answer = client.send(b"n NOTIFY %b\r\n" % arguments.encode()).decode()
        self.server.deliver()
        self.assertEqual(self.told(client), [])
        return answer

    def test_badEvent(self) -> None:
        """An event that isn't known is NO, with those that are (§3.1)."""
        answer = self.refused("SET (personal (MessageRead MessageNew MessageExpunge))")
        self.assertTrue(
            answer.startswith(
                "n NO [BADEVENT (MessageNew MessageExpunge FlagChange AnnotationChange MailboxName"
            ),
            answer,
        )

    def test_noAnnotations(self) -> None:
        """Where the storage has no annotations, AnnotationChange isn't known."""
        self.server = Server(store=PlainStore(MemoryMailStore()))
        answer = self.refused("SET (personal (AnnotationChange MessageNew MessageExpunge))")
        self.assertIn("n NO [BADEVENT (MessageNew MessageExpunge FlagChange MailboxName", answer)

    def test_bad(self) -> None:
        """What doesn't follow the grammar, or belongs together and isn't (§5, §6.1)."""
        for arguments in (
            "",
            "PERHAPS",
            "NONE x",
            "SET",
            "SET STATUS",
            "SET (personal)",
            "SET (everywhere (MessageNew MessageExpunge))",
            "SET (personal (MessageNew))",
            "SET (personal (MessageExpunge))",
            "SET (personal (FlagChange))",
            "SET (personal (AnnotationChange))",
            "SET (personal (MessageNew (uid) MessageExpunge))",
            "SET (selected (MailboxName))",
            "SET (selected NONE) (selected-delayed NONE)",
            "SET (mailboxes (MessageNew MessageExpunge))",
            "SET (selected (MessageNew (nonsense) MessageExpunge))",
            "SET (personal (MailboxName)) x",
        ):
            self.assertTrue(self.refused(arguments).startswith("n BAD "), arguments)

    def test_beforeLogin(self) -> None:
        """It is a command of those who are logged in."""
        client = self.server.connect()
        client.wire.take()
        self.assertTrue(client.send(b"a NOTIFY NONE\r\n").startswith(b"a BAD "))

    def test_closed(self) -> None:
        """Once the session is over, nobody is told anything."""
        client = self.notified("(personal (MessageNew MessageExpunge))")
        client.send(b"z LOGOUT\r\n")
        self.server.deliver(mailbox="Sent")
        self.assertTrue(client.finished)
        self.assertEqual(client.wire.take(), b"")


class SQLTests(NotifyTestCase):
    """
    With the SQL store, where things take a while.
    """

    def setUp(self) -> None:
        """Start it."""
        self.start(SteppedServer(self.mktemp()))

    def test_everything(self) -> None:
        """Messages here and there, and a new name."""
        client = self.notified(
            "(selected (MessageNew MessageExpunge FlagChange))"
            " (personal (MailboxName MessageNew MessageExpunge))"
        )
        self.server.deliver(mailbox="Sent")
        self.assertEqual(self.told(client), [b"* STATUS Sent (UIDNEXT 2 MESSAGES 1)"])
        self.expunge("1")
        self.assertEqual(self.told(client), [b"* 1 EXPUNGE"])
        now(self.account.createMailbox("new"))
        self.assertEqual(self.told(client), [b'* LIST (\\HasNoChildren) "/" new'])
