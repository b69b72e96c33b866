"""
SORT (RFC 5256 §3) and SORT=DISPLAY (RFC 5957), with a storage that sorts and with one that doesn't.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.imap.stepped import SteppedServer
from tests.imap.support import Server, now
from twisted_mailstack.interfaces import ISortingMailbox
from twisted_mailstack.model.records import SMALL_MESSAGE
from twisted_mailstack.testing.conversation import Conversation


def message(*fields: str, body: str = "x\r\n") -> bytes:
    """
    @return: a message with these fields.
    """
    return "\r\n".join([*fields, "", body]).encode("utf-8")


class SortTestCase(SynchronousTestCase):
    """
    A server, and SORT as a function.
    """

    def makeServer(self) -> Server:
        """
        @return: one over the memory store, which doesn't sort.
        """
        return Server()

    def setUp(self) -> None:
        """Start it."""
        self.server = self.makeServer()

    def sort(
        self, session: Conversation, criteria: str, query: str = "ALL", command: str = "SORT"
    ) -> list[int]:
        """
        @return: the numbers in their order.
        """
        answer = session.send(f"a {command} ({criteria}) UTF-8 {query}\r\n".encode())
        lines = answer.split(b"\r\n")
        self.assertEqual(lines[1:], [b"a OK %b completed" % command.encode(), b""], criteria)
        words = lines[0].split(b" ")
        self.assertEqual(words[:2], [b"*", b"SORT"], answer)
        return [int(word) for word in words[2:]]


class SortTests(SortTestCase):
    """
    The keys of RFC 5256.
    """

    def test_storage(self) -> None:
        """The memory store leaves it to the library."""
        mailbox = now(self.server.account.openMailbox("INBOX"))
        self.assertFalse(ISortingMailbox.providedBy(mailbox))

    def test_capability(self) -> None:
        """SORT and SORT=DISPLAY are told."""
        answer = self.server.login().send(b"a CAPABILITY\r\n")
        words = answer.split(b"\r\n")[0].split(b" ")
        self.assertIn(b"SORT", words)
        self.assertIn(b"SORT=DISPLAY", words)

    def test_subject(self) -> None:
        """SUBJECT compares base subjects, without regard to case; equal ones stay in order."""
        for subject in ("Re: beta", "alpha", "[list] BETA", "fwd: Alpha (fwd)", "", "Älpha"):
            self.server.deliver(message(f"Subject: {subject}"))
        session = self.server.select()
        self.assertEqual(self.sort(session, "SUBJECT"), [5, 2, 4, 6, 1, 3])
        # "REVERSE only reverses a single criterion": equal ones stay in order.
        self.assertEqual(self.sort(session, "REVERSE SUBJECT"), [1, 3, 6, 2, 4, 5])

    def test_date(self) -> None:
        """DATE is the Date field in UTC, INTERNALDATE without one; ARRIVAL is INTERNALDATE."""
        for field, arrival in (
            ("Date: Sun, 31 Dec 2000 16:01:33 -0800", 3),
            ("Date: Mon, 1 Jan 2001 00:01:32 +0000", 2),
            ("Date: nonsense", 978_307_292),
            ("Subject: none", 978_307_294),
            ("Date: Mon, 1 Jan 2001 00:01:33 +0000", 5),
        ):
            self.server.deliver(message(field), date=arrival)
        session = self.server.select()
        # 1 Jan 2001 00:01:33 UTC is 978307293.
        self.assertEqual(self.sort(session, "DATE"), [2, 3, 1, 5, 4])
        self.assertEqual(self.sort(session, "REVERSE DATE"), [4, 1, 5, 2, 3])
        self.assertEqual(self.sort(session, "ARRIVAL"), [2, 1, 5, 3, 4])

    def test_size(self) -> None:
        """SIZE counts octets."""
        for body in ("xxx", "x", "xxxx", "x"):
            self.server.deliver(message("Subject: x", body=body))
        session = self.server.select()
        self.assertEqual(self.sort(session, "SIZE"), [2, 4, 1, 3])
        self.assertEqual(self.sort(session, "REVERSE SIZE"), [3, 1, 2, 4])

    def test_addresses(self) -> None:
        """FROM, TO and CC compare the mailbox of the first address; a missing field is first."""
        for address in ("Zoe <b@x.example>, a@x.example", "Adam <C@x.example>", "a@y.example"):
            self.server.deliver(message(f"From: {address}", f"To: {address}", f"Cc: {address}"))
        self.server.deliver(message("Subject: none"))
        session = self.server.select()
        for key in ("FROM", "TO", "CC"):
            self.assertEqual(self.sort(session, key), [4, 3, 1, 2], key)

    def test_display(self) -> None:
        """DISPLAYFROM and DISPLAYTO compare names, decoded, else addresses (RFC 5957)."""
        for address in (
            *("Zoe <a@x.example>", "=?utf-8?q?=C3=A9mile?= <z@x.example>", "mia@x.example"),
            *("adam <q@x.example>", '"" <mia@a.example>', "Team: x@y.example;"),
        ):
            self.server.deliver(message(f"From: {address}", f"To: {address}"))
        self.server.deliver(message("Subject: none"))
        session = self.server.select()
        for key in ("DISPLAYFROM", "DISPLAYTO"):
            self.assertEqual(self.sort(session, key), [7, 4, 2, 5, 3, 6, 1], key)

    def test_several(self) -> None:
        """The first key counts, then the next (RFC 5256 §3: (SUBJECT REVERSE DATE))."""
        for number, subject in enumerate("babab"):
            self.server.deliver(message(f"Subject: {subject}"), date=number)
        session = self.server.select()
        self.assertEqual(self.sort(session, "SUBJECT REVERSE DATE"), [4, 2, 5, 3, 1])
        self.assertEqual(self.sort(session, "REVERSE SUBJECT DATE"), [1, 3, 5, 2, 4])
        self.assertEqual(
            self.sort(session, "subject reverse size reverse arrival"), [4, 2, 5, 3, 1]
        )

    def test_search(self) -> None:
        """What matches is sorted; the charset is that of the query's strings."""
        for subject in ("c", "b café", "a café"):
            self.server.deliver(message(f"Subject: {subject}"))
        session = self.server.select()
        self.assertEqual(self.sort(session, "SUBJECT", 'SUBJECT "café"'), [3, 2])
        self.assertEqual(
            session.send(b"a SORT (SUBJECT) iso-8859-1 SUBJECT {4+}\r\ncaf\xe9 NOT 3\r\n"),
            b"* SORT 2\r\na OK SORT completed\r\n",
        )
        self.assertEqual(self.sort(session, "SUBJECT", 'SUBJECT "not there"'), [])
        self.assertEqual(
            session.send(b'a SORT (SUBJECT) "US-ASCII" TEXT "not in mailbox"\r\n'),
            b"* SORT\r\na OK SORT completed\r\n",
        )

    def test_byUID(self) -> None:
        """UID SORT gives UIDs; numbers in the query are sequence numbers as ever."""
        for subject in ("d", "c", "b", "a"):
            self.server.deliver(message(f"Subject: {subject}"))
        session = self.server.select()
        session.send(b"a STORE 1 +FLAGS (\\Deleted)\r\n")
        session.send(b"a EXPUNGE\r\n")
        self.assertEqual(self.sort(session, "SUBJECT", "1:2", "UID SORT"), [3, 2])
        self.assertEqual(self.sort(session, "SUBJECT", "UID 3:4", "UID SORT"), [4, 3])
        self.assertEqual(self.sort(session, "SUBJECT", "UID 3:4"), [3, 2])

    def test_empty(self) -> None:
        """In an empty mailbox nothing is found."""
        self.assertEqual(self.sort(self.server.select(), "DATE"), [])

    def test_syntax(self) -> None:
        """The charset is mandatory, keys are known; anything else is BAD."""
        self.server.deliver()
        session = self.server.select()
        for query in (
            *("", "(DATE)", "(DATE) UTF-8", "() UTF-8 ALL", "DATE UTF-8 ALL"),
            *("(REVERSE) UTF-8 ALL", "(NAME) UTF-8 ALL", "(DATE REVERSE) UTF-8 ALL"),
            *("(DATE ) UTF-8 ALL", "(REVERSE REVERSE DATE) UTF-8 ALL", "(DATE) UTF-8 ALL ("),
            "(" + "DATE " * 1000 + "DATE) UTF-8 ALL",
        ):
            answer = session.send(f"a SORT {query}\r\n".encode())
            self.assertTrue(answer.startswith(b"a BAD "), (query, answer))
            self.assertEqual(answer.count(b"\r\n"), 1)
        answer = session.send(b"a SORT (DATE) x-nowhere ALL\r\n")
        self.assertTrue(answer.startswith(b"a NO [BADCHARSET (US-ASCII UTF-8)] "), answer)

    def test_expunged(self) -> None:
        """What another session expunged isn't told during SORT, and not found any more."""
        for subject in "cba":
            self.server.deliver(message(f"Subject: {subject}"))
        session, other = self.server.select(), self.server.select()
        other.send(b"a STORE 2 +FLAGS.SILENT (\\Deleted)\r\n")
        other.send(b"a EXPUNGE\r\n")
        answer = session.send(b"a SORT (SUBJECT) UTF-8 ALL\r\n")
        self.assertNotIn(b" EXPUNGE\r\n", answer)
        self.assertIn(b"* SORT 3 1\r\n", answer)
        answer = session.send(b"a UID SORT (SUBJECT) UTF-8 ALL\r\n")
        self.assertIn(b"* SORT 3 1\r\n", answer)
        self.assertIn(b"* 2 EXPUNGE\r\n", answer)

    def test_largeHeader(self) -> None:
        """A message with a huge header is sorted like others."""
        filler = "X-Filler: " + "x" * SMALL_MESSAGE
        self.server.deliver(message("Subject: b", filler))
        self.server.deliver(message("Subject: a"))
        session = self.server.select()
        self.assertEqual(self.sort(session, "SUBJECT"), [2, 1])


class PushedDownTests(SortTests):
    """
    The same, by the SQL store.
    """

    def makeServer(self) -> Server:
        """See L{SortTestCase.makeServer}."""
        server = SteppedServer(self.mktemp())
        self.addCleanup(lambda: now(server.store.stop()))
        return server

    def test_storage(self) -> None:
        """The SQL store sorts."""
        mailbox = now(self.server.account.openMailbox("INBOX"))
        self.assertTrue(ISortingMailbox.providedBy(mailbox))


_WORDS = st.sampled_from(
    [
        "",
        "a",
        "B",
        "Re: a",
        "é",
        "e\u0301",
        "ß",
        "SS",
        "_",
        "Z",
        "[x] b",
        "(fwd)",
        "ǅ",
        "日本",
        "\U0001f600",
    ]
)
_DATES = st.sampled_from(["", "Date: 1 Jan 2001 00:00:00 +0000", "Date: 2 Jan 2001 00:00:00 +0100"])
_PROGRAMS = st.lists(
    st.tuples(
        st.sampled_from(["", "REVERSE "]),
        st.sampled_from(*(["ARRIVAL CC DATE FROM SIZE SUBJECT TO DISPLAYFROM DISPLAYTO".split()])),
    ).map("".join),
    min_size=1,
    max_size=4,
).map(" ".join)


class SameTests(SortTestCase):
    """
    Whoever sorts, the order is the same.
    """

    def test_same(self) -> None:
        """Random messages and programs give one order, whether or not the storage sorts."""
        sql = SteppedServer(self.mktemp())
        self.addCleanup(lambda: now(sql.store.stop()))
        sessions = self.server.select(), sql.select()

        @settings(max_examples=60, deadline=None)
        @given(
            st.lists(st.tuples(_WORDS, _WORDS, _DATES, st.integers(0, 3)), max_size=4), _PROGRAMS
        )
        def same(messages: list[tuple[str, str, str, int]], program: str) -> None:
            for subject, name, date, arrival in messages:
                fields = [f"Subject: {subject}", f'From: "{name}" <{name or "x"}@x.example>']
                fields += [f"To: {name} <x@x.example>", f"Cc: {name}@x.example"]
                data = message(*fields, *([date] if date else []))
                for each in (self.server, sql):
                    each.deliver(data, date=978_300_000 + arrival)
            for session in sessions:
                session.send(b"a NOOP\r\n")
            one, other = (self.sort(session, program) for session in sessions)
            self.assertEqual(one, other)

        same()
