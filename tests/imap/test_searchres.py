"""
SEARCHRES (RFC 5182, RFC 9051 §6.4.4.1).
"""

from __future__ import annotations

from tests.imap.test_esearch import SearchingTestCase
from twisted_mailstack.imap import search
from twisted_mailstack.testing.conversation import Conversation


class SavedTestCase(SearchingTestCase):
    """
    What C{$} is.
    """

    def saved(self, client: Conversation) -> list[int]:
        """
        @return: the UIDs that are saved.
        """
        answer = client.send(b"sv UID SEARCH $\r\n").partition(b"\r\n")[0]
        self.assertTrue(answer.startswith(b"* SEARCH"), answer)
        return [int(uid) for uid in answer.split()[2:]]


class SaveTests(SavedTestCase):
    """
    The SAVE return option.
    """

    def test_capability(self) -> None:
        """It is announced, along with ESEARCH (§2.1)."""
        self.assertRegex(self.server.login().send(b"a CAPABILITY\r\n"), rb" ESEARCH SEARCHRES ")

    def test_example1(self) -> None:
        """Examples 1 and 2: no response but the tagged one; pipelined too."""
        client = self.fill(".F..F")
        self.assertEqual(
            client.send(
                b'A282 SEARCH RETURN (SAVE) FLAGGED SINCE 1-Jan-1970 NOT FROM "Smith"\r\n'
                b"A283 FETCH $ (UID FLAGS)\r\n"
            ),
            b"A282 OK SEARCH completed\r\n"
            b"* 2 FETCH (UID 3 FLAGS (\\Flagged))\r\n"
            b"* 5 FETCH (UID 6 FLAGS (\\Flagged))\r\n"
            b"A283 OK FETCH completed\r\n",
        )

    def test_example3(self) -> None:
        """Examples 3 and 4: C{$} in another search, as a key and behind UID."""
        client = self.fill(".F..F")
        client.check("""
            C: A300 SEARCH RETURN (SAVE) FLAGGED
            S: A300 OK SEARCH completed
            C: A301 UID SEARCH UID $ SMALLER 4096
            S: * SEARCH 3 6
            S: A301 OK UID SEARCH completed
            C: A302 UID SEARCH $ SMALLER 4096
            S: * SEARCH 3 6
            S: A302 OK UID SEARCH completed
            C: P283 SEARCH CHARSET UTF-8 (OR $ 1,4:10) TEXT {3}
            S: + Ready
            C: Joe
            S: * SEARCH 1 2 4 5
            S: P283 OK SEARCH completed
            C: P284 SEARCH NOT $
            S: * SEARCH 1 3 4
            S: P284 OK SEARCH completed
        """)

    def test_example6(self) -> None:
        """Examples 5 and 6: an empty C{$} is no error for any command."""
        client = self.fill("..")
        client.check("""
            C: E282 SEARCH RETURN (SAVE) FLAGGED
            S: E282 OK SEARCH completed
            C: E283 COPY $ "Sent"
            S: E283 OK nothing to copy
            C: E284 FETCH $ UID
            S: E284 OK FETCH completed
            C: E285 UID FETCH $ FLAGS
            S: E285 OK UID FETCH completed
            C: E286 STORE $ +FLAGS (\\Seen)
            S: E286 OK STORE completed
            C: E287 UID STORE $ +FLAGS (\\Seen)
            S: E287 OK UID STORE completed
            C: E288 MOVE $ Sent
            S: E288 OK nothing to move
            C: E289 UID EXPUNGE $
            S: E289 OK UID EXPUNGE completed
            C: E290 SEARCH $
            S: * SEARCH
            S: E290 OK SEARCH completed
            C: E291 SORT (ARRIVAL) UTF-8 $
            S: * SORT
            S: E291 OK SORT completed
        """)

    def test_example7(self) -> None:
        """Example 7: what was found is copied and deleted, all at once."""
        client = self.fill(".F")
        answer = client.send(
            b"F282 SEARCH RETURN (SAVE) FLAGGED\r\n"
            b"F283 COPY $ Junk\r\n"
            b"F284 STORE $ +FLAGS.Silent (\\Deleted)\r\n"
            b"F285 UID EXPUNGE $\r\n"
            b"F286 UID SEARCH $\r\n"
        )
        self.assertEqual(
            answer,
            b"F282 OK SEARCH completed\r\n"
            b"F283 OK [COPYUID 4 3 1] COPY completed\r\n"
            b"F284 OK STORE completed\r\n"
            b"* 2 EXPUNGE\r\nF285 OK UID EXPUNGE completed\r\n"
            b"* SEARCH\r\nF286 OK UID SEARCH completed\r\n",
        )

    def test_everyCommand(self) -> None:
        """
        C{$} stands wherever a sequence-set may, for numbers and for UIDs, whichever of the two
        found it.
        """
        for save in (b"SEARCH", b"UID SEARCH"):
            for command, answer in (
                (b"FETCH $ UID", b"* 2 FETCH (UID 3)"),
                (b"UID FETCH $ UID", b"* 2 FETCH (UID 3)"),
                (b"STORE $ FLAGS (\\Seen)", b"* 2 FETCH (FLAGS (\\Seen))"),
                (b"UID STORE $ FLAGS (\\Seen)", b"* 2 FETCH (UID 3 FLAGS (\\Seen))"),
                (b"COPY $ Sent", b"a OK [COPYUID 3 3 1]"),
                (b"UID COPY $ Sent", b"a OK [COPYUID 3 3 1]"),
                (b"MOVE $ Sent", b"* OK [COPYUID 3 3 1]"),
                (b"UID MOVE $ Sent", b"* OK [COPYUID 3 3 1]"),
                (b"SORT (DATE) UTF-8 $", b"* SORT 2"),
                (b"UID SORT (DATE) UTF-8 UID $", b"* SORT 3"),
                (b"THREAD REFERENCES UTF-8 $", b"* THREAD (2)"),
                (b"ESEARCH $", b'* ESEARCH (TAG "a" MAILBOX INBOX UIDVALIDITY 1) UID ALL 3'),
            ):
                self.setUp()
                client = self.fill(".F.")
                client.send(b"s %b RETURN (SAVE) FLAGGED\r\n" % save)
                said = client.send(b"a %b\r\n" % command)
                self.assertTrue(said.startswith(answer), (command, said))

    def test_notASet(self) -> None:
        """C{$} is all of a set, no part of one; as a mailbox name or an atom it is nothing new."""
        client = self.fill("F")
        client.send(b"s SEARCH RETURN (SAVE) ALL\r\n")
        for command in ("FETCH $,1 UID", "FETCH 1,$ UID", "FETCH $:1 UID", "FETCH $$ UID"):
            self.assertBad(client, command)

    def test_combinations(self) -> None:
        """
        The table of §2.4 and that of RFC 9394 §3.2.
        """
        client = self.fill(".FFFF.F", gone=0)
        for options, data, uids in (
            (b"SAVE", None, [2, 3, 4, 5, 7]),
            (b"SAVE MIN", b"MIN 2", [2]),
            (b"MAX SAVE", b"MAX 7", [7]),
            (b"MAX SAVE MIN", b"MIN 2 MAX 7", [2, 7]),
            (b"SAVE ALL", b"ALL 2:5,7", [2, 3, 4, 5, 7]),
            (b"SAVE COUNT", b"COUNT 5", [2, 3, 4, 5, 7]),
            (b"MAX SAVE MIN COUNT", b"MIN 2 MAX 7 COUNT 5", [2, 3, 4, 5, 7]),
            (b"ALL SAVE MIN", b"MIN 2 ALL 2:5,7", [2, 3, 4, 5, 7]),
            (b"SAVE PARTIAL 2:3", b"PARTIAL (2:3 3:4)", [3, 4]),
            (b"SAVE PARTIAL -1:-2", b"PARTIAL (-1:-2 5,7)", [5, 7]),
            (b"SAVE PARTIAL 2:3 MIN", b"MIN 2 PARTIAL (2:3 3:4)", [2, 3, 4]),
            (b"SAVE PARTIAL 2:3 MAX", b"MAX 7 PARTIAL (2:3 3:4)", [3, 4, 7]),
            (b"SAVE PARTIAL 2:3 MAX MIN", b"MIN 2 MAX 7 PARTIAL (2:3 3:4)", [2, 3, 4, 7]),
            (b"SAVE PARTIAL 2:3 COUNT", b"COUNT 5 PARTIAL (2:3 3:4)", [2, 3, 4, 5, 7]),
            (b"SAVE PARTIAL 2:3 COUNT MIN", b"MIN 2 COUNT 5 PARTIAL (2:3 3:4)", [2, 3, 4, 5, 7]),
            (b"SAVE PARTIAL 20:30", b"PARTIAL (20:30 NIL)", []),
        ):
            for size in (2, 10_000):
                self.patch(search, "SLICE", size)
                answer = client.send(b"a SEARCH RETURN (%b) FLAGGED\r\n" % options)
                response = b"" if data is None else b'* ESEARCH (TAG "a") %b\r\n' % data
                self.assertEqual(answer, response + b"a OK SEARCH completed\r\n", options)
                self.assertEqual(self.saved(client), uids, options)

    def test_nothingFound(self) -> None:
        """ "If no messages were found, the search result variable will contain the empty list"."""
        client = self.fill("FF")
        client.send(b"a SEARCH RETURN (SAVE) FLAGGED\r\n")
        client.send(b"b SEARCH RETURN (SAVE MIN) DELETED\r\n")
        self.assertEqual(self.saved(client), [])

    def test_sorted(self) -> None:
        """SORT saves too; what is saved is a set."""
        client = self.fill("FFF")
        client.send(b"a UID SORT RETURN (SAVE ALL) (REVERSE ARRIVAL) UTF-8 ALL\r\n")
        self.assertEqual(self.saved(client), [2, 3, 4])
        client.send(b"a UID SORT RETURN (SAVE MIN) (REVERSE SIZE REVERSE ARRIVAL) UTF-8 2:3\r\n")
        self.assertEqual(len(self.saved(client)), 1)


class KeptTests(SavedTestCase):
    """
    What changes C{$}, and what doesn't (§2.1).
    """

    def test_otherSearches(self) -> None:
        """
        Not a search without SAVE, whatever becomes of it, and not one that is answered BAD.
        """
        client = self.fill("F.F")
        client.send(b"a SEARCH RETURN (SAVE) FLAGGED\r\n")
        for command, status in (
            (b"SEARCH ALL", b"OK"),
            (b"SEARCH RETURN (ALL) UNFLAGGED", b"OK"),
            (b"SEARCH CHARSET X-NOWHERE ALL", b"NO"),
            (b"SEARCH RETURN (ALL) CHARSET X-NOWHERE ALL", b"NO"),
            (b"SEARCH RETURN (SAVE) FROBNICATE", b"BAD"),
            (b"SEARCH RETURN (SAVE SAVE) ALL", b"BAD"),
            (b"SEARCH RETURN (SAVE) CHARSET UTF-8", b"BAD"),
            (b"SEARCH RETURN (SAVE FROBNICATE) ALL", b"BAD"),
            (b"ESEARCH IN (personal) RETURN (SAVE) ALL", b"BAD"),
            (b"SORT RETURN (SAVE) (FROBNICATE) UTF-8 ALL", b"BAD"),
        ):
            self.assertIn(b"x %b" % status, client.send(b"x %b\r\n" % command))
            self.assertEqual(self.saved(client), [2, 4], command)

    def test_refused(self) -> None:
        """
        "A SEARCH command with the SAVE result option that caused the server to return the NO tagged
        response sets the value of the search result variable to the empty sequence".
        """
        client = self.fill("F.F")
        for command in (
            b"SEARCH RETURN (SAVE) CHARSET X-NOWHERE ALL",
            b"UID SEARCH RETURN (COUNT SAVE) CHARSET X-NOWHERE ALL",
            b"SORT RETURN (SAVE) (DATE) X-NOWHERE ALL",
            b"ESEARCH RETURN (SAVE) CHARSET X-NOWHERE ALL",
        ):
            client.send(b"a SEARCH RETURN (SAVE) FLAGGED\r\n")
            self.assertEqual(self.saved(client), [2, 4])
            self.assertTrue(client.send(b"x %b\r\n" % command).startswith(b"x NO "), command)
            self.assertEqual(self.saved(client), [], command)

    def test_storeFails(self) -> None:
        """
        So does a search that fails as the store does.
        """
        client = self.fill("F.F")
        client.send(b"a SEARCH RETURN (SAVE) FLAGGED\r\n")
        mailbox = self.server.sessions[-1].theSelected().mailbox

        def fails(*arguments: object) -> None:
            raise OSError("disk")

        self.patch(type(mailbox), "fetch", fails)
        answer = client.send(b"b SEARCH RETURN (SAVE) LARGER 1\r\n")
        self.assertTrue(answer.startswith(b"b NO [SERVERBUG] "), answer)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual(self.saved(client), [])

    def test_select(self) -> None:
        """SELECT and EXAMINE reset it, of the same mailbox too."""
        for again in (b"SELECT INBOX", b"EXAMINE INBOX"):
            self.setUp()
            client = self.fill("F.F")
            client.send(b"a SEARCH RETURN (SAVE) FLAGGED\r\n")
            client.send(b"b %b\r\n" % again)
            self.assertEqual(self.saved(client), [])

    def test_ownSession(self) -> None:
        """Each session has its own."""
        client, other = self.fill("F.F"), self.server.select()
        client.send(b"a SEARCH RETURN (SAVE) FLAGGED\r\n")
        self.assertEqual(self.saved(other), [])

    def test_expunge(self) -> None:
        """
        What is expunged is removed from it, told or not, and numbers follow.
        """
        client = self.fill("F.FF")
        client.send(b"a SEARCH RETURN (SAVE) FLAGGED\r\n")
        self.expunge(b"2")
        client.send(b"fe FETCH 2 UID\r\n")
        client.check("""
            C: b SEARCH $
            S: * SEARCH 3 4
            S: b OK [EXPUNGEISSUED] SEARCH completed
            C: c NOOP
            S: * 1 EXPUNGE
            S: c OK NOOP completed
            C: d FETCH $ UID
            S: * 2 FETCH (UID 4)
            S: * 3 FETCH (UID 5)
            S: d OK FETCH completed
            C: e UID SEARCH UID $
            S: * SEARCH 4 5
            S: e OK UID SEARCH completed
        """)

    def test_changedSince(self) -> None:
        """What no longer matches, or now would, changes nothing: it is a list of messages."""
        client = self.fill("F.F")
        client.send(b"a SEARCH RETURN (SAVE) FLAGGED\r\n")
        client.send(b"b STORE 1 -FLAGS (\\Flagged)\r\nc STORE 2 +FLAGS (\\Flagged)\r\n")
        self.server.deliver(flags=["\\Flagged"])
        client.send(b"d NOOP\r\n")
        self.assertEqual(self.saved(client), [2, 4])

    def test_uidOnly(self) -> None:
        """
        With UIDONLY (RFC 9586) there are no numbers, but there is C{$}; EXPUNGE may be told with
        it.
        """
        client = self.fill("F.F")
        client.send(b"e ENABLE UIDONLY\r\n")
        client = self.server.login()
        client.check("""
            C: a ENABLE UIDONLY
            S: * ENABLED UIDONLY
            S: a OK ENABLE completed
        """)
        client.send(b"b SELECT INBOX\r\n")
        client.send(b"c UID SEARCH RETURN (SAVE) FLAGGED\r\n")
        client.check("""
            C: d UID SEARCH RETURN (COUNT) $
            S: * ESEARCH (TAG "d") UID COUNT 2
            S: d OK UID SEARCH completed
            C: e UID SEARCH 1
            S: e BAD [UIDREQUIRED] UIDONLY is enabled
            C: f UID FETCH $ FLAGS
            S: * 2 UIDFETCH (FLAGS (\\Flagged))
            S: * 4 UIDFETCH (FLAGS (\\Flagged))
            S: f OK UID FETCH completed
        """)
        answer = client.send(b"g SEARCH RETURN (COUNT) ALL\r\n")
        self.assertTrue(answer.startswith(b"g BAD [UIDREQUIRED] "), answer)
