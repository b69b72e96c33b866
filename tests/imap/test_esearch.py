r"""
ESEARCH (RFC 4731), and what IMAP4rev2 (RFC 9051 §6.4.4) makes of SEARCH.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import Server, now
from twisted_mailstack.imap import results, search
from twisted_mailstack.imap.extensions import sasl
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.testing.conversation import Conversation
from twisted_mailstack.wire.stream import Stream


class SearchingTestCase(SynchronousTestCase):
    """
    A mailbox in which sequence numbers and UIDs differ.
    """

    def setUp(self) -> None:
        """Start the server."""
        self.server = self.makeServer()

    def makeServer(self) -> Server:
        """
        @return: over the store that the tests are about.
        """
        return Server()

    def fill(self, flags: str, gone: int = 1) -> Conversation:
        r"""
        @param flags: a letter for each message: C{F} flagged, C{S} seen, C{.} neither.
        @param gone: messages that were there before, so that the first UID is one higher.
        @return: a session, none of whose messages is recent.
        """
        for _ in range(gone):
            self.server.deliver()
        self.expunge(b"1:*")
        for flag in flags:
            names = {"F": ["\\Flagged"], "S": ["\\Seen"]}.get(flag, [])
            self.server.deliver(flags=names)
        self.server.select()
        return self.server.select()

    def expunge(self, uids: bytes) -> None:
        """
        Another session expunges these messages.
        """
        other = self.server.select()
        other.send(b"a UID STORE %b +FLAGS.SILENT (\\Deleted)\r\n" % uids)
        other.send(b"b UID EXPUNGE %b\r\n" % uids)

    def assertBad(self, client: Conversation, command: str) -> None:
        """
        It is answered BAD, and with nothing else.
        """
        answer = client.send(f"x {command}\r\n".encode())
        self.assertRegex(answer, rb"\Ax BAD [^\r\n]+\r\n\Z", command)


class ReturnTests(SearchingTestCase):
    """
    The return options (RFC 4731 §3.1).
    """

    def test_capability(self) -> None:
        """It is announced."""
        self.assertIn(b" ESEARCH ", self.server.login().send(b"a CAPABILITY\r\n"))

    def test_examples(self) -> None:
        """The examples of RFC 4731 §3.1."""
        client = self.fill(".F.......FF....", gone=6)
        client.check("""
            C: A282 SEARCH RETURN (MIN COUNT) FLAGGED SINCE 1-Jan-1970 NOT FROM "Smith"
            S: * ESEARCH (TAG "A282") MIN 2 COUNT 3
            S: A282 OK SEARCH completed
            C: A283 SEARCH RETURN () FLAGGED SINCE 1-Jan-1970 NOT FROM "Smith"
            S: * ESEARCH (TAG "A283") ALL 2,10:11
            S: A283 OK SEARCH completed
            C: A284 SEARCH RETURN (MIN) UNSEEN
            S: * ESEARCH (TAG "A284") MIN 1
            S: A284 OK SEARCH completed
            C: A285 UID SEARCH RETURN (MIN MAX) 1:5000
            S: * ESEARCH (TAG "A285") UID MIN 7 MAX 21
            S: A285 OK UID SEARCH completed
            C: A286 SEARCH RETURN (COUNT) DELETED
            S: * ESEARCH (TAG "A286") COUNT 0
            S: A286 OK SEARCH completed
        """)

    def test_nothingFound(self) -> None:
        """
        MIN, MAX and ALL are left out if there is nothing, COUNT isn't; "it still MUST send the
        ESEARCH response".
        """
        client = self.fill("..")
        client.check("""
            C: a SEARCH RETURN (MIN) FLAGGED
            S: * ESEARCH (TAG "a")
            S: a OK SEARCH completed
            C: b UID SEARCH RETURN (MAX ALL) FLAGGED
            S: * ESEARCH (TAG "b") UID
            S: b OK UID SEARCH completed
            C: c UID SEARCH RETURN () FLAGGED
            S: * ESEARCH (TAG "c") UID
            S: c OK UID SEARCH completed
            C: d UID SEARCH RETURN (MIN MAX ALL COUNT) FLAGGED
            S: * ESEARCH (TAG "d") UID COUNT 0
            S: d OK UID SEARCH completed
        """)

    def test_emptyMailbox(self) -> None:
        """An empty mailbox is searched like another."""
        self.server.select().check("""
            C: a SEARCH RETURN (MIN MAX COUNT ALL) ALL
            S: * ESEARCH (TAG "a") COUNT 0
            S: a OK SEARCH completed
        """)

    def test_forms(self) -> None:
        """
        Options in any case and order; the tag is a string, whatever is in it; behind RETURN there
        may be CHARSET.
        """
        client = self.fill("F.F")
        client.check("""
            C: a"b SEARCH RETURN (ALL) ALL
            S: * BAD A command begins with its tag
            C: A.1[ search return (max Min) CHARSET utf-8 flagged
            S: * ESEARCH (TAG "A.1[") MIN 1 MAX 3
            S: A.1[ OK SEARCH completed
            C: b UID SEARCH RETURN (COUNT ALL MAX MIN) CHARSET US-ASCII FLAGGED
            S: * ESEARCH (TAG "b") UID MIN 2 MAX 4 ALL 2,4 COUNT 2
            S: b OK UID SEARCH completed
        """)

    def test_syntaxErrors(self) -> None:
        """
        What isn't known is refused, and so is what has another form.
        """
        client = self.fill("F")
        for command in (
            "SEARCH RETURN",
            "SEARCH RETURN ",
            "SEARCH RETURN ALL",
            "SEARCH RETURN (ALL)",
            "SEARCH RETURN (ALL) ",
            "SEARCH RETURN (ALL)ALL",
            "SEARCH RETURN (ALL  MIN) ALL",
            "SEARCH RETURN ( ALL) ALL",
            "SEARCH RETURN (ALL ) ALL",
            "SEARCH RETURN (FROBNICATE) ALL",
            "SEARCH RETURN (ALL 5) ALL",
            "SEARCH RETURN (MIN MIN) ALL",
            "SEARCH RETURN (ALL) RETURN (ALL) ALL",
            "SEARCH CHARSET UTF-8 RETURN (ALL) ALL",
            "UID SEARCH RETURN (ALL) FROBNICATE",
        ):
            self.assertBad(client, command)

    def test_otherKeyword(self) -> None:
        """A key that begins like RETURN isn't taken for it."""
        self.assertBad(self.fill(""), "SEARCH RETURNED (ALL) ALL")

    def test_withoutTheExtension(self) -> None:
        """A server without return options knows no RETURN."""
        server = Server(extensions=(sasl.AUTH,))
        answer = server.select().send(b"a SEARCH RETURN (ALL) ALL\r\n")
        self.assertTrue(answer.startswith(b"a BAD "), answer)

    def test_pipelined(self) -> None:
        """
        Responses come in the order of the commands, each with its tag (RFC 9051 §5.5).
        """
        client = self.fill("F.F")
        answer = client.send(
            b"a SEARCH RETURN (COUNT) FLAGGED\r\n"
            b"b SEARCH FLAGGED\r\n"
            b"c UID SEARCH RETURN (ALL) UNFLAGGED\r\n"
        )
        self.assertEqual(
            answer,
            b'* ESEARCH (TAG "a") COUNT 2\r\na OK SEARCH completed\r\n'
            b"* SEARCH 1 3\r\nb OK SEARCH completed\r\n"
            b'* ESEARCH (TAG "c") UID ALL 3\r\nc OK UID SEARCH completed\r\n',
        )

    def test_chunks(self) -> None:
        """
        However the octets come.
        """
        client = self.fill("F.F")
        command = b'a SEARCH RETURN (MIN COUNT) SUBJECT "afternoon" FLAGGED\r\n'
        whole = client.send(command)
        self.assertEqual(whole, b'* ESEARCH (TAG "a") MIN 1 COUNT 2\r\na OK SEARCH completed\r\n')
        parts = [client.send(command[at : at + 1]) for at in range(len(command))]
        self.assertEqual(b"".join(parts), whole)

    def test_expunged(self) -> None:
        """
        What another session expunged isn't found (RFC 2180 §4.3), but numbers stay what they are
        as long as EXPUNGE isn't told.
        """
        client = self.fill("FFF")
        self.expunge(b"3")
        client.check("""
            C: a SEARCH RETURN (ALL COUNT) FLAGGED SUBJECT meeting
            S: * ESEARCH (TAG "a") ALL 1,3 COUNT 2
            S: a OK [EXPUNGEISSUED] SEARCH completed
            C: b UID SEARCH RETURN (ALL COUNT) FLAGGED
            S: * ESEARCH (TAG "b") UID ALL 2,4 COUNT 2
            S: * 2 EXPUNGE
            S: b OK UID SEARCH completed
            C: c SEARCH RETURN (ALL) FLAGGED
            S: * ESEARCH (TAG "c") ALL 1:2
            S: c OK SEARCH completed
        """)


class SliceTests(SearchingTestCase):
    """
    A mailbox that is looked at in slices, so that others have their turn.
    """

    def setUp(self) -> None:
        """Slices of two messages."""
        super().setUp()
        self.patch(search, "SLICE", 2)

    def test_everyOption(self) -> None:
        """
        Whatever is wanted of them, the results are the same as those of one slice: at the edges, in
        the first and the last slice, in none.
        """
        for flags in (
            "",
            "F",
            ".F",
            "F...F",
            ".FF..",
            "....F",
            "F....",
            "..FF..",
            ".....",
            "FFFFF",
        ):
            self.server = Server()
            client = self.fill(flags)
            found = [number for number, flag in enumerate(flags, 1) if flag == "F"]
            expected = b""
            if found:
                expected = b" MIN %d MAX %d" % (found[0], found[-1])
            self.assertIn(
                b'* ESEARCH (TAG "a")%b\r\n' % expected,
                client.send(b"a SEARCH RETURN (MIN MAX) FLAGGED\r\n"),
                flags,
            )
            listed = NumberSet.of(found).render()
            self.assertIn(
                b'* ESEARCH (TAG "b")%b COUNT %d\r\n'
                % (b" ALL " + listed if found else b"", len(found)),
                client.send(b"b SEARCH RETURN (COUNT ALL) FLAGGED\r\n"),
                flags,
            )
            for low, high in ((1, 1), (1, 2), (2, 3), (3, 9)):
                some = NumberSet.of(found[low - 1 : high]).render() or b"NIL"
                self.assertIn(
                    b"PARTIAL (%d:%d %b)\r\n" % (low, high, some),
                    client.send(b"c SEARCH RETURN (PARTIAL %d:%d) FLAGGED\r\n" % (low, high)),
                    flags,
                )
                last = list(reversed(found))[low - 1 : high]
                some = NumberSet.of(last).render() or b"NIL"
                self.assertIn(
                    b"PARTIAL (-%d:-%d %b)\r\n" % (low, high, some),
                    client.send(b"d SEARCH RETURN (PARTIAL -%d:-%d) FLAGGED\r\n" % (low, high)),
                    flags,
                )

    def test_noMoreThanNeeded(self) -> None:
        """
        MIN, MAX and PARTIAL look no further than they have to.
        """
        client = self.fill("FFFFFFFFFFFF")
        inbox = now(self.server.account.openMailbox("INBOX"))
        looked: list[int] = []
        fetch = type(inbox).fetch

        async def counting(mailbox: object, uids: NumberSet, attributes: object) -> object:
            looked.extend(uids)
            return await fetch(mailbox, uids, attributes)

        self.patch(type(inbox), "fetch", counting)
        for options, uids in (
            (b"MIN", [2, 3]),
            (b"MAX", [12, 13]),
            (b"MIN MAX", [2, 3, 12, 13]),
            (b"PARTIAL 1:3", [2, 3, 4, 5]),
            (b"PARTIAL -1:-3", [12, 13, 10, 11]),
            (b"MIN COUNT", list(range(2, 14))),
            (b"MIN SAVE", [2, 3]),
            (b"SAVE", list(range(2, 14))),
            (b"UPDATE MIN", list(range(2, 14))),
        ):
            del looked[:]
            client.send(b"a SEARCH RETURN (%b) LARGER 0\r\n" % options)
            self.assertEqual(looked, uids, options)

    def test_manyResults(self) -> None:
        """
        However much is found, it is told whole and in one response; others have turns meanwhile.
        """
        self.patch(results, "SLICE", 2)
        self.patch(search, "SLICE", 10_000)
        turns: list[None] = []
        breathe = Stream.breathe

        async def breathing(stream: Stream) -> None:
            turns.append(None)
            await breathe(stream)

        for flags in ("FFFFFFF", "F.F.F.F", "FFF.FFF", "FF", "F"):
            self.server = Server()
            client = self.fill(flags)
            self.server.deliver(mailbox="Sent", flags=["\\Flagged"])
            found = [number for number, flag in enumerate(flags, 1) if flag == "F"]
            del turns[:]
            self.patch(Stream, "breathe", breathing)
            listed = b"".join(b" %d" % number for number in found)
            self.assertEqual(
                client.send(b"a SEARCH FLAGGED\r\n"),
                b"* SEARCH%b\r\na OK SEARCH completed\r\n" % listed,
            )
            numbers = NumberSet.of(found).render()
            self.assertEqual(
                client.send(b"b SEARCH RETURN (ALL MIN) FLAGGED\r\n"),
                b'* ESEARCH (TAG "b") MIN 1 ALL %b\r\nb OK SEARCH completed\r\n' % numbers,
            )
            self.assertEqual(len(turns), 2 * ((len(found) - 1) // 2), flags)
            uids = NumberSet.of(number + 1 for number in found).render()
            self.assertIn(b" UID ALL %b\r\n" % uids, client.send(b"c ESEARCH FLAGGED\r\n"))
            self.patch(Stream, "breathe", breathe)

    def test_modSeqBehindMany(self) -> None:
        """
        The old response's MODSEQ comes behind all numbers (RFC 7162 §3.1.5).
        """
        self.patch(results, "SLICE", 2)
        client = self.fill("FFFFF")
        self.assertRegex(
            client.send(b"a SEARCH MODSEQ 1\r\n").replace(b"\r\n", b" "),
            rb"\* SEARCH 1 2 3 4 5 \(MODSEQ \d+\) a OK ",
        )


class Revision2Tests(SearchingTestCase):
    """
    Once IMAP4rev2 is enabled (RFC 9051 §6.4.4).
    """

    def fill(self, flags: str, gone: int = 1) -> Conversation:
        """See L{SearchingTestCase}."""
        client = super().fill(flags, gone)
        self.server.sessions[-1].enabled.add(b"IMAP4REV2")
        return client

    def test_withoutReturn(self) -> None:
        """
        SEARCH is answered with ESEARCH, also without RETURN.
        """
        self.fill("F.F").check("""
            C: A282 SEARCH FLAGGED
            S: * ESEARCH (TAG "A282") ALL 1,3
            S: A282 OK SEARCH completed
            C: A283 UID SEARCH FLAGGED
            S: * ESEARCH (TAG "A283") UID ALL 2,4
            S: A283 OK UID SEARCH completed
            C: A284 SEARCH TEXT "string not in mailbox"
            S: * ESEARCH (TAG "A284")
            S: A284 OK SEARCH completed
        """)

    def test_charset(self) -> None:
        """
        US-ASCII and UTF-8 may be named; what isn't known is NO with the list of those that are.
        """
        client = self.fill("F")
        client.check("""
            C: a SEARCH CHARSET UTF-8 FLAGGED
            S: * ESEARCH (TAG "a") ALL 1
            S: a OK SEARCH completed
            C: b SEARCH CHARSET X-NOWHERE FLAGGED
            S: b NO [BADCHARSET (US-ASCII UTF-8)] That charset is not supported
        """)


class CharsetTests(SearchingTestCase):
    """
    CHARSET once UTF8=ACCEPT is enabled.
    """

    def test_notAllowed(self) -> None:
        """
        It is refused with BAD (RFC 6855 §3), UTF-8 too; text is in UTF-8 without it.
        """
        self.server.deliver("Subject: grüße\r\n\r\nx".encode())
        client = self.server.select()
        self.server.sessions[-1].enabled.add(b"UTF8=ACCEPT")
        for charset in ("UTF-8", "US-ASCII", "X-NOWHERE"):
            for form in ("SEARCH", "UID SEARCH", "SEARCH RETURN (ALL)", "ESEARCH"):
                self.assertBad(client, f"{form} CHARSET {charset} ALL")
        self.assertEqual(
            client.send('a SEARCH SUBJECT "grüße"\r\n'.encode()),
            b"* SEARCH 1\r\na OK SEARCH completed\r\n",
        )


class ModSeqTests(SearchingTestCase):
    """
    MODSEQ among the keys (RFC 4731 §3.2, RFC 7162 §3.1.10).
    """

    def test_returned(self) -> None:
        """
        The modSeq of the one message that MIN or MAX tell, the higher of both, else the highest of
        all that was found; none if nothing was found.
        """
        client = self.fill("FFFF", gone=0)
        uids = {1: 0, 2: 0, 3: 0, 4: 0}
        for number in (3, 1, 4, 2):
            answer = client.send(
                b"a UID FETCH %d MODSEQ\r\nb UID STORE %d +FLAGS (\\Seen)\r\n" % (number, number)
            )
            uids[number] = int(answer.rpartition(b"MODSEQ (")[2].partition(b")")[0])
        self.assertEqual(sorted(uids, key=lambda uid: uids[uid]), [3, 1, 4, 2])
        for options, data, told in (
            (b"MIN", b"MIN 1", 1),
            (b"MAX", b"MAX 4", 4),
            (b"MIN MAX", b"MIN 1 MAX 4", 4),
            (b"MIN COUNT", b"MIN 1 COUNT 4", 2),
            (b"ALL", b"ALL 1:4", 2),
            (b"", b"ALL 1:4", 2),
            (b"COUNT", b"COUNT 4", 2),
            (b"PARTIAL 3:3", b"PARTIAL (3:3 3)", 3),
            (b"MIN PARTIAL 3:3", b"MIN 1 PARTIAL (3:3 3)", 1),
        ):
            answer = client.send(b"a SEARCH RETURN (%b) MODSEQ 1\r\n" % options)
            expected = b'* ESEARCH (TAG "a") %b MODSEQ %d\r\n' % (data, uids[told])
            self.assertTrue(answer.startswith(expected), (answer, expected))
        answer = client.send(b"a SEARCH MODSEQ 1\r\n")
        self.assertTrue(answer.startswith(b"* SEARCH 1 2 3 4 (MODSEQ %d)\r\n" % uids[2]), answer)

    def test_nothing(self) -> None:
        """
        No MODSEQ where no message is told.
        """
        client = self.fill("FF")
        client.check("""
            C: a SEARCH RETURN (ALL COUNT) MODSEQ 99999
            S: * OK [HIGHESTMODSEQ 12] Highest mailbox mod-sequence
            S: * ESEARCH (TAG "a") COUNT 0
            S: a OK SEARCH completed
            C: b SEARCH MODSEQ 99999
            S: * SEARCH
            S: b OK SEARCH completed
            C: c SEARCH RETURN (PARTIAL 7:9) MODSEQ 1
            S: * ESEARCH (TAG "c") PARTIAL (7:9 NIL)
            S: c OK SEARCH completed
        """)

    def test_sort(self) -> None:
        """
        SORT too (RFC 7162 §3.1.6 and §3.1.10, example 20).
        """
        client = self.fill("FF")
        first = client.send(b"a SORT RETURN (ALL) (REVERSE ARRIVAL) UTF-8 MODSEQ 1\r\n")
        self.assertRegex(first, rb'\* ESEARCH \(TAG "a"\) ALL (2,1|1:2) MODSEQ \d+\r\n')
        self.assertRegex(
            client.send(b"a SORT (ARRIVAL) UTF-8 MODSEQ 1\r\n"), rb"\* SORT 1 2 \(MODSEQ \d+\)\r\n"
        )
