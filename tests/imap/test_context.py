r"""
CONTEXT=SEARCH, CONTEXT=SORT and ESORT (RFC 5267).
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from tests.imap.stepped import SteppedServer
from tests.imap.support import Server, now
from tests.imap.test_esearch import SearchingTestCase
from twisted_mailstack.imap.extensions import context
from twisted_mailstack.model.flags import FlagOperation, internFlags
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.testing.conversation import Conversation


class ContextTestCase(SearchingTestCase):
    """
    A mailbox with its sizes as sort keys.
    """

    def sized(self, sizes: Sequence[int]) -> Conversation:
        """
        @return: a session with messages of these sizes, none recent.
        """
        for size in sizes:
            self.server.deliver(b"x" * size)
        self.server.select()
        return self.server.select()


class CapabilityTests(ContextTestCase):
    """
    What is announced.
    """

    def test_capability(self) -> None:
        """CONTEXT=SEARCH, and with SORT the others (§4.1)."""
        answer = self.server.login().send(b"a CAPABILITY\r\n")
        for name in (b"CONTEXT=SEARCH", b"CONTEXT=SORT", b"ESORT", b"SORT"):
            self.assertIn(name, answer.split(), name)


class ESortTests(ContextTestCase):
    """
    Extended SORT (§3).
    """

    def test_returned(self) -> None:
        """
        MIN and MAX are the first and the last in the order, ALL has the order; ranges ascend
        (§3.2).
        """
        self.sized([50, 40, 10, 20, 30]).check("""
            C: E01 UID SORT RETURN () (REVERSE SIZE) UTF-8 UNDELETED
            S: * ESEARCH (TAG "E01") UID ALL 1:2,5,4,3
            S: E01 OK UID SORT completed
            C: E02 SORT RETURN (MIN MAX COUNT ALL) (SIZE) UTF-8 1:4
            S: * ESEARCH (TAG "E02") MIN 3 MAX 1 ALL 3:4,2,1 COUNT 4
            S: E02 OK SORT completed
            C: E03 SORT RETURN (MIN COUNT) (SIZE) UTF-8 DELETED
            S: * ESEARCH (TAG "E03") COUNT 0
            S: E03 OK SORT completed
            C: E04 SORT (SIZE) UTF-8 1:4
            S: * SORT 3 4 2 1
            S: E04 OK SORT completed
        """)

    def test_syntaxErrors(self) -> None:
        """As with SEARCH."""
        client = self.sized([1])
        for command in (
            "SORT RETURN (SIZE) UTF-8 ALL",
            "SORT RETURN (ALL) UTF-8 ALL",
            "SORT RETURN (FROBNICATE) (SIZE) UTF-8 ALL",
            "SORT RETURN (ALL PARTIAL 1:2) (SIZE) UTF-8 ALL",
        ):
            self.assertBad(client, command)


class UpdateTests(ContextTestCase):
    """
    UPDATE of SEARCH (§4.3).
    """

    def test_hint(self) -> None:
        """CONTEXT is a hint (§4.2), and changes nothing."""
        self.fill("..F").check("""
            C: A01 SEARCH RETURN (CONTEXT COUNT) UNFLAGGED
            S: * ESEARCH (TAG "A01") COUNT 2
            S: A01 OK SEARCH completed
        """)

    def test_flags(self) -> None:
        """
        Flags that others change: ADDTO and REMOVEFROM behind the FETCH responses they come from.
        """
        client, other = self.fill("F.F."), self.server.select()
        client.check("""
            C: B01 UID SEARCH RETURN (UPDATE COUNT) FLAGGED
            S: * ESEARCH (TAG "B01") UID COUNT 2
            S: B01 OK UID SEARCH completed
        """)
        other.send(b"a STORE 1 -FLAGS (\\Flagged)\r\nb STORE 2,4 +FLAGS (\\Flagged)\r\n")
        client.check(r"""
            C: c NOOP
            S: * 1 FETCH (FLAGS ())
            S: * 2 FETCH (FLAGS (\Flagged))
            S: * 4 FETCH (FLAGS (\Flagged))
            S: * ESEARCH (TAG "B01") UID REMOVEFROM (0 2) ADDTO (0 3,5)
            S: c OK NOOP completed
            C: d NOOP
            S: d OK NOOP completed
        """)

    def test_ownChanges(self) -> None:
        """
        What the session changes itself, silently too, and C{\\Seen} by looking.
        """
        self.fill("F..").check(r"""
            C: B01 SEARCH RETURN (UPDATE ALL) OR FLAGGED SEEN
            S: * ESEARCH (TAG "B01") ALL 1
            S: B01 OK SEARCH completed
            C: a STORE 2 +FLAGS.SILENT (\Flagged)
            S: * ESEARCH (TAG "B01") ADDTO (0 2)
            S: a OK STORE completed
            C: b STORE 1 -FLAGS (\Flagged)
            S: * 1 FETCH (FLAGS ())
            S: * ESEARCH (TAG "B01") REMOVEFROM (0 1)
            S: b OK STORE completed
            C: c FETCH 3 BODY[1]<0.1>
            S: * 3 FETCH (FLAGS (\Seen) BODY[1]<0> {1}
            S: H)
            S: * ESEARCH (TAG "B01") ADDTO (0 3)
            S: c OK FETCH completed
            C: d STORE 3 +FLAGS (\Answered)
            S: * 3 FETCH (FLAGS (\Answered \Seen))
            S: d OK STORE completed
        """)

    def test_newMessages(self) -> None:
        """
        "MUST be sent after the EXISTS notification itself" (§4.3.3); those that don't match aren't
        told.
        """
        client = self.fill("F")
        client.send(b"B01 SEARCH RETURN (UPDATE) FLAGGED\r\n")
        self.server.deliver()
        self.server.deliver(flags=["\\Flagged"])
        self.server.deliver(flags=["\\Flagged"])
        self.server.deliver()
        client.check("""
            C: a NOOP
            S: * 5 EXISTS
            S: * 4 RECENT
            S: * ESEARCH (TAG "B01") ADDTO (0 3:4)
            S: a OK NOOP completed
        """)

    def test_expunged(self) -> None:
        """
        "MUST be sent prior to the expunge notification itself" (§4.3.4): at once, while EXPUNGE
        waits (appendix A.3).
        """
        client = self.fill("FFF.")
        client.send(b"B01 SEARCH RETURN (UPDATE) FLAGGED\r\n")
        self.expunge(b"3,5")
        client.check("""
            C: a FETCH 1 UID
            S: * 1 FETCH (UID 2)
            S: * ESEARCH (TAG "B01") REMOVEFROM (0 2)
            S: a OK FETCH completed
            C: b NOOP
            S: * 4 EXPUNGE
            S: * 2 EXPUNGE
            S: b OK NOOP completed
        """)

    def test_expungedAndNew(self) -> None:
        """
        All at once: numbers are valid where they are told.
        """
        client = self.fill("FFF")
        client.send(b"B01 SEARCH RETURN (UPDATE) FLAGGED\r\n")
        self.expunge(b"2:3")
        self.server.deliver(flags=["\\Flagged"])
        client.check("""
            C: a NOOP
            S: * 4 EXISTS
            S: * 1 RECENT
            S: * ESEARCH (TAG "B01") REMOVEFROM (0 1:2) ADDTO (0 4)
            S: * 2 EXPUNGE
            S: * 1 EXPUNGE
            S: a OK NOOP completed
        """)

    def test_idle(self) -> None:
        """In IDLE they come at once."""
        client = self.fill(".")
        client.send(b"B01 UID SEARCH RETURN (UPDATE) FLAGGED\r\n")
        client.send(b"i IDLE\r\n")
        self.server.deliver(flags=["\\Flagged"])
        self.assertEqual(
            client.wire.take(),
            b'* 2 EXISTS\r\n* 1 RECENT\r\n* ESEARCH (TAG "B01") UID ADDTO (0 3)\r\n',
        )

    def test_numbersAreThoseOfThen(self) -> None:
        """
        "Any message sequence numbers used in the search program are evaluated at the time the
        command is received" (§4.3); UIDs and C{*} of UIDs are what they are.
        """
        client = self.fill("F.F", gone=0)
        client.send(b"B01 UID SEARCH RETURN (UPDATE) 2:*\r\n")
        client.send(b"B02 UID SEARCH RETURN (UPDATE) UID 2:*\r\n")
        self.expunge(b"1")
        client.send(b"a NOOP\r\n")
        self.server.deliver()
        client.check(r"""
            C: b NOOP
            S: * 3 EXISTS
            S: * 1 RECENT
            S: * ESEARCH (TAG "B02") UID ADDTO (0 4)
            S: b OK NOOP completed
            C: c STORE 1 +FLAGS (\Seen)
            S: * 1 FETCH (FLAGS (\Seen))
            S: c OK STORE completed
        """)

    def test_severalSearches(self) -> None:
        """Each by its tag, in the order in which they began."""
        client = self.fill("..")
        for tag, key in ((b"x1", b"FLAGGED"), (b"x2", b"UNFLAGGED"), (b"x3", b"SEEN")):
            client.send(b"%b SEARCH RETURN (UPDATE) %b\r\n" % (tag, key))
        client.check(r"""
            C: a STORE 1 +FLAGS.SILENT (\Flagged)
            S: * ESEARCH (TAG "x1") ADDTO (0 1)
            S: * ESEARCH (TAG "x2") REMOVEFROM (0 1)
            S: a OK STORE completed
        """)

    def test_otherOptions(self) -> None:
        """
        "There is no interaction between UPDATE and any other return options": all of what matches
        is kept up.
        """
        client = self.fill("FFFF")
        client.send(b"B01 SEARCH RETURN (UPDATE MIN PARTIAL 1:1 SAVE) FLAGGED\r\n")
        client.check(r"""
            C: a STORE 3 -FLAGS.SILENT (\Flagged)
            S: * ESEARCH (TAG "B01") REMOVEFROM (0 3)
            S: a OK STORE completed
        """)

    def test_tagReuse(self) -> None:
        """
        "SHALL result in the server rejecting the searching command with a BAD response", without
        any effect; a search without UPDATE may.
        """
        self.fill("F..").check(r"""
            C: B01 SEARCH RETURN (UPDATE COUNT) FLAGGED
            S: * ESEARCH (TAG "B01") COUNT 1
            S: B01 OK SEARCH completed
            C: B01 SORT RETURN (UPDATE) (DATE) UTF-8 SEEN
            S: B01 BAD Tag reuse
            C: B01 UID SEARCH RETURN (UPDATE) SEEN
            S: B01 BAD Tag reuse
            C: B01 SEARCH RETURN (COUNT) SEEN
            S: * ESEARCH (TAG "B01") COUNT 0
            S: B01 OK SEARCH completed
            C: a STORE 2 +FLAGS.SILENT (\Seen \Flagged)
            S: * ESEARCH (TAG "B01") ADDTO (0 2)
            S: a OK STORE completed
        """)

    def test_ends(self) -> None:
        """
        "Updates will cease when the mailbox is no longer selected" (§4.3); the tag is free then.
        """
        client = self.fill("F.")
        client.send(b"B01 SEARCH RETURN (UPDATE) FLAGGED\r\n")
        client.send(b"a SELECT INBOX\r\n")
        client.check(r"""
            C: b STORE 2 +FLAGS.SILENT (\Flagged)
            S: b OK STORE completed
            C: B01 SEARCH RETURN (UPDATE ALL) FLAGGED
            S: * ESEARCH (TAG "B01") ALL 1:2
            S: B01 OK SEARCH completed
        """)

    def test_storeFails(self) -> None:
        """
        If it can't be found out what matches, it is told when it can be; FETCH and EXISTS are told
        all the same.
        """
        client = self.fill("F.")
        client.send(b"B01 SEARCH RETURN (UPDATE) FLAGGED SUBJECT meeting\r\n")
        mailbox = self.server.sessions[-1].theSelected().mailbox
        fetch = type(mailbox).fetch

        def fails(*arguments: object) -> None:
            raise OSError("disk")

        self.patch(type(mailbox), "fetch", fails)
        client.check(r"""
            C: a STORE 2 +FLAGS (\Flagged)
            S: * 2 FETCH (FLAGS (\Flagged))
            S: a OK STORE completed
        """)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.patch(type(mailbox), "fetch", fetch)
        client.check(r"""
            C: b STORE 1 +FLAGS (\Seen)
            S: * 1 FETCH (FLAGS (\Flagged \Seen))
            S: * ESEARCH (TAG "B01") ADDTO (0 2)
            S: b OK STORE completed
        """)


class ItemTests(ContextTestCase):
    """
    UPDATE with items that are fetched of new messages (RFC 5465 §7).
    """

    BOSS = (
        b"Subject: Re: good morning\r\n"
        b"From: myboss@example.org\r\n"
        b"To: bob@example.org\r\n"
        b"\r\n"
        b"text\r\n"
    )

    def test_example(self) -> None:
        """
        The example of §7: "the EXISTS response MUST precede any FETCH responses, and together they
        MUST precede the ESEARCH response".
        """
        client = self.fill("..")
        self.assertEqual(
            client.send(
                b"a00 SEARCH RETURN (COUNT UPDATE (UID BODY[HEADER.FIELDS (TO FROM SUBJECT)]))"
                b' FROM "boss"\r\n'
            ),
            b'* ESEARCH (TAG "a00") COUNT 0\r\na00 OK SEARCH completed\r\n',
        )
        client.send(b"i IDLE\r\n")
        self.server.deliver(self.BOSS)
        client.settle()
        # BODY[] sets \Seen, which is told with it (RFC 9051 §6.4.5).
        self.assertEqual(
            client.wire.take(),
            b"* 3 EXISTS\r\n* 1 RECENT\r\n"
            b"* 3 FETCH (UID 4 FLAGS (\\Recent \\Seen)"
            b" BODY[HEADER.FIELDS (TO FROM SUBJECT)] {76}\r\n"
            b"Subject: Re: good morning\r\n"
            b"From: myboss@example.org\r\n"
            b"To: bob@example.org\r\n"
            b"\r\n"
            b")\r\n"
            b'* ESEARCH (TAG "a00") ADDTO (0 3)\r\n',
        )

    def test_onlyNew(self) -> None:
        """
        Nothing is fetched of what doesn't match, nor "if a message becomes a member … due to flag
        or annotation changes", also if it is rather new.
        """
        client = self.fill(".")
        client.send(b"B01 SEARCH RETURN (UPDATE (UID)) FLAGGED\r\n")
        self.server.deliver()
        client.check(r"""
            C: a NOOP
            S: * 2 EXISTS
            S: * 1 RECENT
            S: a OK NOOP completed
            C: b STORE 1:2 +FLAGS.SILENT (\Flagged)
            S: * ESEARCH (TAG "B01") ADDTO (0 1:2)
            S: b OK STORE completed
        """)

    def test_sort(self) -> None:
        """With SORT; the RFC's grammar has no space before the items."""
        client = self.sized([50, 10])
        client.send(b"C01 UID SORT RETURN (UPDATE(RFC822.SIZE)) (SIZE) UTF-8 ALL\r\n")
        self.server.deliver(b"x" * 20)
        client.check("""
            C: a NOOP
            S: * 3 EXISTS
            S: * 1 RECENT
            S: * 3 FETCH (RFC822.SIZE 20)
            S: * ESEARCH (TAG "C01") UID ADDTO (2 3)
            S: a OK NOOP completed
        """)

    def test_combined(self) -> None:
        """
        What several searches want of a message is "combined into a single FETCH response" (§5.2),
        without repetitions.
        """
        client = self.fill("")
        client.send(b"x1 SEARCH RETURN (UPDATE (UID FLAGS)) FLAGGED\r\n")
        client.send(b"x2 SEARCH RETURN (UPDATE) ALL\r\n")
        client.send(b"x3 SEARCH RETURN (UPDATE (RFC822.SIZE UID)) LARGER 3\r\n")
        for text, flags in ((b"1", ["\\Flagged"]), (b"12345", ["\\Flagged"]), (b"1234", [])):
            self.server.deliver(text, flags=flags)
        client.check(r"""
            C: a NOOP
            S: * 3 EXISTS
            S: * 3 RECENT
            S: * 1 FETCH (UID 2 FLAGS (\Recent \Flagged))
            S: * 2 FETCH (UID 3 FLAGS (\Recent \Flagged) RFC822.SIZE 5)
            S: * 3 FETCH (UID 4 RFC822.SIZE 4)
            S: * ESEARCH (TAG "x1") ADDTO (0 1:2)
            S: * ESEARCH (TAG "x2") ADDTO (0 1:3)
            S: * ESEARCH (TAG "x3") ADDTO (0 2:3)
            S: a OK NOOP completed
            C: b CANCELUPDATE "x1" "x3"
            S: b OK CANCELUPDATE completed
        """)
        self.server.deliver(b"12345")
        client.check("""
            C: c NOOP
            S: * 4 EXISTS
            S: * 4 RECENT
            S: * ESEARCH (TAG "x2") ADDTO (0 4)
            S: c OK NOOP completed
        """)

    def test_before(self) -> None:
        """Numbers are those of before an EXPUNGE that is told with it."""
        client = self.fill("..")
        client.send(b"B01 SEARCH RETURN (UPDATE (UID)) FLAGGED\r\n")
        self.expunge(b"2")
        self.server.deliver(flags=["\\Flagged"])
        client.check("""
            C: a NOOP
            S: * 3 EXISTS
            S: * 1 RECENT
            S: * 3 FETCH (UID 4)
            S: * ESEARCH (TAG "B01") ADDTO (0 3)
            S: * 1 EXPUNGE
            S: a OK NOOP completed
        """)

    def test_seen(self) -> None:
        """What the FETCH itself changes is told after what was found."""
        client = self.fill("")
        client.send(b"B01 SEARCH RETURN (UPDATE (BODY[TEXT])) UNSEEN\r\n")
        self.server.deliver(b"\r\ntext")
        client.check(r"""
            C: a NOOP
            S: * 1 EXISTS
            S: * 1 RECENT
            S: * 1 FETCH (FLAGS (\Recent \Seen) BODY[TEXT] {4}
            S: text)
            S: * ESEARCH (TAG "B01") ADDTO (0 1)
            S: a OK NOOP completed
            C: b NOOP
            S: * ESEARCH (TAG "B01") REMOVEFROM (0 1)
            S: b OK NOOP completed
        """)

    def test_rev2(self) -> None:
        """FETCH responses that no command asked for have the UID (RFC 9051 §7.5.2)."""
        client = self.server.login()
        client.send(b"e ENABLE IMAP4rev2\r\n")
        client.send(b"s SELECT INBOX\r\n")
        client.send(b"B01 SEARCH RETURN (UPDATE (RFC822.SIZE)) ALL\r\n")
        self.server.deliver(b"12345")
        client.check("""
            C: a NOOP
            S: * 1 EXISTS
            S: * 1 FETCH (UID 1 RFC822.SIZE 5)
            S: * ESEARCH (TAG "B01") ADDTO (0 1)
            S: a OK NOOP completed
        """)

    def test_fetchFails(self) -> None:
        """If a message can't be read, what is found is told all the same."""
        client = self.fill("F")
        client.send(b"B01 SEARCH RETURN (UPDATE (RFC822.SIZE)) FLAGGED\r\n")
        mailbox = self.server.sessions[-1].theSelected().mailbox

        def fails(*arguments: object) -> None:
            raise OSError("disk")

        self.server.deliver(flags=["\\Flagged"])
        self.patch(type(mailbox), "fetch", fails)
        client.check("""
            C: a NOOP
            S: * 2 EXISTS
            S: * 1 RECENT
            S: * ESEARCH (TAG "B01") ADDTO (0 2)
            S: a OK NOOP completed
        """)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_failedBefore(self) -> None:
        """What couldn't be looked at when it was new is fetched when it is found."""
        client = self.fill("F.")
        client.send(b"B01 SEARCH RETURN (UPDATE (UID)) FLAGGED SUBJECT hello\r\n")
        mailbox = self.server.sessions[-1].theSelected().mailbox
        fetch = type(mailbox).fetch

        def fails(*arguments: object) -> None:
            raise OSError("disk")

        self.server.deliver(b"Subject: hello\r\n\r\n", flags=["\\Flagged"])
        self.patch(type(mailbox), "fetch", fails)
        client.check("""
            C: a NOOP
            S: * 3 EXISTS
            S: * 1 RECENT
            S: a OK NOOP completed
        """)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.patch(type(mailbox), "fetch", fetch)
        client.check(r"""
            C: b STORE 1 +FLAGS.SILENT (\Seen)
            S: * 3 FETCH (UID 4)
            S: * ESEARCH (TAG "B01") ADDTO (0 3)
            S: b OK STORE completed
        """)

    def test_syntaxErrors(self) -> None:
        """A list of items, not an empty one, no macro, none that isn't known."""
        client = self.fill("F")
        for given in ("()", "( UID)", "(UID", "(ALL)", "(FROB)", "(UID) (UID)", " UID", "  (UID)"):
            self.assertBad(client, f"SEARCH RETURN (UPDATE {given}) ALL")
        self.assertBad(client, "SEARCH RETURN (COUNT (UID)) ALL")


class RefusalTests(ContextTestCase):
    """
    NOUPDATE (§4.3.1).
    """

    def test_tooMany(self) -> None:
        """
        There is a limit; "other return options specified SHALL still be honoured".
        """
        self.patch(context, "MAX_UPDATES", 1)
        self.fill("F.").check(r"""
            C: B01 SEARCH RETURN (UPDATE COUNT) FLAGGED
            S: * ESEARCH (TAG "B01") COUNT 1
            S: B01 OK SEARCH completed
            C: B02 UID SORT RETURN (UPDATE COUNT) (DATE) UTF-8 FLAGGED
            S: * ESEARCH (TAG "B02") UID COUNT 1
            S: * NO [NOUPDATE "B02"] Too many contexts
            S: B02 OK UID SORT completed
            C: B03 CANCELUPDATE "B01"
            S: B03 OK CANCELUPDATE completed
            C: B04 SEARCH RETURN (UPDATE COUNT) FLAGGED
            S: * ESEARCH (TAG "B04") COUNT 1
            S: B04 OK SEARCH completed
        """)

    def test_time(self) -> None:
        """What changes as time goes by isn't kept up, and that is said."""
        self.fill("F").check(
            """
            C: a SEARCH RETURN (UPDATE COUNT) NOT YOUNGER 100
            S: * ESEARCH (TAG "a") COUNT 0
            S: * NO [NOUPDATE "a"] Not of what changes as time goes by
            S: a OK SEARCH completed
        """
        )

    def test_sorted(self) -> None:
        """Too many messages to be kept sorted; not too many to be kept unsorted."""
        self.patch(context, "MAX_SORTED", 1)
        self.fill("FF").check("""
            C: a SORT RETURN (UPDATE COUNT) (DATE) UTF-8 FLAGGED
            S: * ESEARCH (TAG "a") COUNT 2
            S: * NO [NOUPDATE "a"] Too many messages to be kept sorted
            S: a OK SORT completed
            C: b SEARCH RETURN (UPDATE COUNT) FLAGGED
            S: * ESEARCH (TAG "b") COUNT 2
            S: b OK SEARCH completed
        """)


class CancelTests(ContextTestCase):
    """
    CANCELUPDATE (§4.3.5).
    """

    def test_cancel(self) -> None:
        """No updates any more for the tags that are named; the others go on."""
        client = self.fill("F.")
        for tag in (b"B01", b"B02", b"B03"):
            client.send(b"%b SEARCH RETURN (UPDATE) FLAGGED\r\n" % tag)
        client.check(r"""
            C: B04 CANCELUPDATE "B01" "B03"
            S: B04 OK CANCELUPDATE completed
            C: a STORE 2 +FLAGS.SILENT (\Flagged)
            S: * ESEARCH (TAG "B02") ADDTO (0 2)
            S: a OK STORE completed
            C: b CANCELUPDATE "B02"
            S: b OK CANCELUPDATE completed
            C: c STORE 2 -FLAGS.SILENT (\Flagged)
            S: c OK STORE completed
        """)

    def test_errors(self) -> None:
        """A tag that isn't one of an update, none at all, without a mailbox."""
        client = self.fill("F.")
        client.send(b"B01 SEARCH RETURN (UPDATE) FLAGGED\r\n")
        for arguments in ("", " ", ' "B02"', ' "B01" "B02"', ' ("B01")', ' "B01"  "B01"'):
            self.assertBad(client, f"CANCELUPDATE{arguments}")
        self.assertBad(self.server.login(), 'CANCELUPDATE "B01"')
        client.check(r"""
            C: a STORE 2 +FLAGS.SILENT (\Flagged)
            S: * ESEARCH (TAG "B01") ADDTO (0 2)
            S: a OK STORE completed
        """)


class SortedUpdateTests(ContextTestCase):
    """
    UPDATE of SORT: each change with its place.
    """

    def test_places(self) -> None:
        """
        REMOVEFROM and ADDTO name places in the list as it is when they are reached (§4.3.3,
        §4.3.4).
        """
        client = self.sized([50, 40, 30, 20, 10])
        client.check("""
            C: C01 UID SORT RETURN (UPDATE ALL) (SIZE) UTF-8 UNDELETED
            S: * ESEARCH (TAG "C01") UID ALL 5,4,3,2,1
            S: C01 OK UID SORT completed
        """)
        client.check(r"""
            C: a STORE 1,3,4 +FLAGS.SILENT (\Deleted)
            S: * ESEARCH (TAG "C01") UID REMOVEFROM (2 4,3 3 1)
            S: a OK STORE completed
            C: b STORE 3,4 -FLAGS.SILENT (\Deleted)
            S: * ESEARCH (TAG "C01") UID ADDTO (2 4,3)
            S: b OK STORE completed
        """)
        self.server.deliver(b"x" * 45)
        self.server.deliver(b"x" * 5)
        client.check(r"""
            C: c STORE 1 -FLAGS.SILENT (\Deleted)
            S: * 7 EXISTS
            S: * 2 RECENT
            S: * ESEARCH (TAG "C01") UID ADDTO (1 7 6 6,1)
            S: c OK STORE completed
        """)


class ModelTests(ContextTestCase):
    """
    Random changes: a client that follows what it is told has what a new search finds.
    """

    def follow(self, listed: list[int], answer: bytes, tag: bytes) -> None:
        """
        Do to a list of UIDs what the responses say.
        """
        for data in re.findall(rb'\* ESEARCH \(TAG "%b"\) UID ([^\r\n]+)\r\n' % tag, answer):
            for kind, pairs in re.findall(rb"(ADDTO|REMOVEFROM) \(([^)]+)\)", data):
                words = pairs.split()
                for place, numbers in zip(words[::2], words[1::2], strict=True):
                    uids: list[int] = []
                    for part in numbers.split(b","):
                        first, _, last = part.partition(b":")
                        uids += range(int(first), int(last or first) + 1)
                    at = int(place) - 1
                    if kind == b"ADDTO" and at < 0:
                        listed[:] = sorted({*listed, *uids})
                    elif kind == b"ADDTO":
                        listed[at:at] = uids
                    elif at < 0:
                        self.assertTrue(set(uids) <= set(listed), (uids, listed))
                        listed[:] = [uid for uid in listed if uid not in uids]
                    else:
                        self.assertEqual(listed[at : at + len(uids)], uids)
                        del listed[at : at + len(uids)]

    def test_random(self) -> None:
        """
        Deliveries, flags and expunges by others and by the session itself.
        """
        chance = random.Random(4)
        client = self.sized([chance.randrange(1, 100) for _ in range(8)])
        inbox = now(self.server.account.openMailbox("INBOX"))
        searches = {
            b"s1": b"UID SEARCH RETURN (%b) OR FLAGGED SMALLER 30",
            b"s2": b"UID SORT RETURN (%b) (SIZE) UTF-8 UNFLAGGED",
            b"s3": b"UID SORT RETURN (%b) (REVERSE SIZE ARRIVAL) UTF-8 OR FLAGGED LARGER 50",
        }
        lists: dict[bytes, list[int]] = {tag: [] for tag in searches}

        def found(command: bytes) -> list[int]:
            line = re.search(rb" UID ALL ([\d:,]+)\r\n", client.send(b"q %b\r\n" % command))
            listed: list[int] = []
            if line is not None:
                self.follow(listed, b'* ESEARCH (TAG "x") UID ADDTO (1 %b)\r\n' % line[1], b"x")
            return listed

        for tag, command in searches.items():
            lists[tag] = found(command % b"ALL")
            client.send(b"%b %b\r\n" % (tag, command % b"UPDATE"))
        for step in range(150):
            kind = chance.randrange(5)
            uids = NumberSet.of(chance.sample(range(1, 60), 8))
            answer = b""
            if kind == 0:
                for _ in range(chance.randrange(1, 3)):
                    size = chance.randrange(1, 100)
                    self.server.deliver(b"x" * size, flags=chance.choice([[], ["\\Flagged"]]))
            elif kind == 1:
                operation = chance.choice([FlagOperation.ADD, FlagOperation.REMOVE])
                now(inbox.storeFlags(uids, operation, internFlags(["\\Flagged"])))
            elif kind == 2:
                now(inbox.expunge(NumberSet.of(list(uids)[:2]), onlyDeleted=False))
            elif kind == 3:
                answer += client.send(
                    b"o UID STORE %b +FLAGS.SILENT (\\Flagged)\r\n" % uids.render()
                )
            answer += client.send(chance.choice([b"n NOOP\r\n", b"n FETCH 1 FLAGS\r\n"]))
            for tag, listed in lists.items():
                self.follow(listed, answer, tag)
            if step % 5 == 0:
                answer = client.send(b"n NOOP\r\n")
                for tag, listed in lists.items():
                    self.follow(listed, answer, tag)
                    self.assertEqual(listed, found(searches[tag] % b"ALL"), (step, tag))


class SQLModelTests(ModelTests):
    """
    The same over the SQL store.
    """

    def makeServer(self) -> Server:
        """See L{SearchingTestCase}."""
        return SteppedServer(self.mktemp())
