"""
PARTIAL (RFC 9394).
"""

from __future__ import annotations

from tests.imap.test_esearch import SearchingTestCase


class SearchTests(SearchingTestCase):
    """
    The return option of SEARCH (§3.1).
    """

    def test_capability(self) -> None:
        """It is announced."""
        self.assertIn(b" PARTIAL ", self.server.login().send(b"a CAPABILITY\r\n"))

    def test_examples(self) -> None:
        """The examples of §3.1, with smaller numbers."""
        self.fill(".F.FFF.F", gone=10).check("""
            C: A01 UID SEARCH RETURN (PARTIAL -1:-3) FLAGGED
            S: * ESEARCH (TAG "A01") UID PARTIAL (-1:-3 15:16,18)
            S: A01 OK UID SEARCH completed
            C: A02 UID SEARCH RETURN (PARTIAL 4:8) FLAGGED
            S: * ESEARCH (TAG "A02") UID PARTIAL (4:8 16,18)
            S: A02 OK UID SEARCH completed
            C: A03 UID SEARCH RETURN (PARTIAL 1:3) FLAGGED
            S: * ESEARCH (TAG "A03") UID PARTIAL (1:3 12,14:15)
            S: A03 OK UID SEARCH completed
            C: A04 UID SEARCH RETURN (PARTIAL 6:9) FLAGGED
            S: * ESEARCH (TAG "A04") UID PARTIAL (6:9 NIL)
            S: A04 OK UID SEARCH completed
            C: A05 SEARCH RETURN (PARTIAL 2:2 COUNT) FLAGGED
            S: * ESEARCH (TAG "A05") COUNT 5 PARTIAL (2:2 4)
            S: A05 OK SEARCH completed
        """)

    def test_ranges(self) -> None:
        """
        "A range 500:400 is the same as 400:500", and comes back as it was written.
        """
        client = self.fill("FFFFFFFFF", gone=0)
        for given, found in (
            (b"1:1", b"1"),
            (b"9:9", b"9"),
            (b"10:10", b"NIL"),
            (b"3:2", b"2:3"),
            (b"20:8", b"8:9"),
            (b"1:4294967295", b"1:9"),
            (b"-1:-1", b"9"),
            (b"-9:-9", b"1"),
            (b"-10:-10", b"NIL"),
            (b"-3:-2", b"7:8"),
            (b"-20:-8", b"1:2"),
            (b"-4294967295:-1", b"1:9"),
        ):
            answer = client.send(b"a SEARCH RETURN (PARTIAL %b) ALL\r\n" % given)
            expected = b'* ESEARCH (TAG "a") PARTIAL (%b %b)\r\n' % (given, found)
            self.assertTrue(answer.startswith(expected), (answer, expected))

    def test_emptyMailbox(self) -> None:
        """Nothing, but for the range."""
        client = self.server.select()
        for given in (b"1:5", b"-1:-5"):
            answer = client.send(b"a SEARCH RETURN (PARTIAL %b) ALL\r\n" % given)
            self.assertIn(b'(TAG "a") PARTIAL (%b NIL)\r\n' % given, answer)

    def test_syntaxErrors(self) -> None:
        """
        A range has two numbers, both from the same end; "either one PARTIAL, one ALL, or neither".
        """
        client = self.fill("FF")
        for options in (
            "PARTIAL",
            "PARTIAL ",
            "PARTIAL 1",
            "PARTIAL 0:5",
            "PARTIAL 1:0",
            "PARTIAL -0:-5",
            "PARTIAL 1:-5",
            "PARTIAL -1:5",
            "PARTIAL 1:*",
            "PARTIAL *:1",
            "PARTIAL 1:4294967296",
            "PARTIAL 1:2,4",
            "PARTIAL 1:2x",
            "PARTIAL (1:2)",
            "PARTIAL $",
            "PARTIAL 1:2 ALL",
            "ALL PARTIAL 1:2",
            "PARTIAL 1:2 PARTIAL 3:4",
        ):
            self.assertBad(client, f"SEARCH RETURN ({options}) ALL")

    def test_sorted(self) -> None:
        """With SORT the window is over the sorted list."""
        client = self.fill("FFFF", gone=0)
        for number, size in ((1, 30), (2, 10), (3, 20), (4, 40)):
            self.server.deliver(b"x" * size, flags=["\\Draft"], mailbox="Sent")
            del number
        client.send(b"s SELECT Sent\r\n")
        for window, found in (
            (b"1:2", b"2:3"),
            (b"2:3", b"3,1"),
            (b"-1:-2", b"1,4"),
            (b"9:9", b"NIL"),
        ):
            answer = client.send(b"a SORT RETURN (PARTIAL %b) (SIZE) UTF-8 ALL\r\n" % window)
            expected = b'* ESEARCH (TAG "a") PARTIAL (%b %b)\r\n' % (window, found)
            self.assertTrue(answer.startswith(expected), (answer, expected))


class FetchTests(SearchingTestCase):
    """
    The modifier of UID FETCH (§3.3).
    """

    def fetched(self, answer: bytes) -> list[int]:
        """
        @return: the numbers in FETCH responses.
        """
        lines = answer.split(b"\r\n")[:-2]
        return [int(line.split()[1]) for line in lines if b" FETCH (" in line]

    def test_examples(self) -> None:
        """
        The examples of §3.3: the last three of a range, the first of it.
        """
        client = self.fill("......", gone=20)
        self.expunge(b"23")
        client.send(b"n NOOP\r\n")
        client.check("""
            C: 10 UID FETCH 20:25 (UID FLAGS) (PARTIAL -1:-3)
            S: * 2 FETCH (UID 22 FLAGS ())
            S: * 3 FETCH (UID 24 FLAGS ())
            S: * 4 FETCH (UID 25 FLAGS ())
            S: 10 OK UID FETCH completed
            C: 11 UID FETCH 20:25 (UID FLAGS) (PARTIAL 1:2)
            S: * 1 FETCH (UID 21 FLAGS ())
            S: * 2 FETCH (UID 22 FLAGS ())
            S: 11 OK UID FETCH completed
            C: 12 UID FETCH 1:* (UID) (PARTIAL 10:20)
            S: 12 OK UID FETCH completed
            C: 13 UID FETCH 1:* UID (partial 5:4)
            S: * 4 FETCH (UID 25)
            S: * 5 FETCH (UID 26)
            S: 13 OK UID FETCH completed
        """)

    def test_changedSince(self) -> None:
        """
        §3.4: the window first, then what changed in it, in whatever order the two are written.
        """
        client = self.fill("......", gone=0)
        answer = client.send(b"a UID FETCH 6 MODSEQ\r\n")
        modSeq = int(answer.partition(b"MODSEQ (")[2].partition(b")")[0])
        client.send(b"b STORE 1,4,6 +FLAGS (\\Seen)\r\n")
        for modifiers in (
            b"PARTIAL -1:-3 CHANGEDSINCE %d",
            b"CHANGEDSINCE %d PARTIAL -1:-3",
        ):
            answer = client.send(b"c UID FETCH 1:* (UID) (%b)\r\n" % (modifiers % modSeq))
            self.assertEqual(self.fetched(answer), [4, 6], answer)

    def test_saved(self) -> None:
        """A window of C{$}."""
        client = self.fill("F.FF")
        client.send(b"a SEARCH RETURN (SAVE) FLAGGED\r\n")
        answer = client.send(b"b UID FETCH $ (UID) (PARTIAL 2:3)\r\n")
        self.assertEqual(self.fetched(answer), [3, 4])

    def test_syntaxErrors(self) -> None:
        """FETCH without UID has no such modifier."""
        client = self.fill("..")
        for command in (
            "FETCH 1:* (UID) (PARTIAL 1:2)",
            "UID FETCH 1:* (UID) (PARTIAL)",
            "UID FETCH 1:* (UID) (PARTIAL 1:*)",
            "UID FETCH 1:* (UID) (PARTIAL 1:-2)",
            "UID FETCH 1:* (UID) (PARTIAL 1:2 PARTIAL 3:4)",
            "UID FETCH 1:* (UID) PARTIAL 1:2",
        ):
            self.assertBad(client, command)
