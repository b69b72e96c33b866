"""
THREAD (RFC 5256 §3): ORDEREDSUBJECT, REFERENCES, and REFS (draft-ietf-morg-inthread).
"""

from __future__ import annotations

import gc

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.imap.stepped import SteppedServer
from tests.imap.support import Server, now
from twisted_mailstack.imap.thread import Thread, orderedSubject, references, refs, render
from twisted_mailstack.model.sorting import ThreadRow
from twisted_mailstack.testing.conversation import Conversation

ALGORITHMS = {"ORDEREDSUBJECT": orderedSubject, "REFERENCES": references, "REFS": refs}


async def breathe() -> None:
    """
    Nobody else is here.
    """


def row(
    uid: int,
    identity: int = 0,
    references: tuple[int, ...] = (),
    subject: str = "",
    isReply: bool = False,
    date: int | None = None,
    arrival: int = 0,
) -> tuple[int, ThreadRow]:
    """
    @return: a message as the algorithms get it; its date is its UID if nothing is said.
    """
    sent = uid if date is None else date
    return uid, ThreadRow(uid, sent, arrival, subject, isReply, identity, references)


class AlgorithmTests(SynchronousTestCase):
    """
    The algorithms alone.
    """

    def thread(self, algorithm: str, *rows: tuple[int, ThreadRow]) -> str:
        """
        @return: the threads as THREAD shows them.
        """
        threads: list[Thread] = now(ALGORITHMS[algorithm](rows, breathe))
        return b"".join(render(threads)).decode()

    def test_render(self) -> None:
        """The example of RFC 5256 §4: (2)(3 6 (4 23)(44 7 96)), and siblings without a parent."""
        chain = [row(3, 3), row(6, 6, (3,)), row(4, 4, (6,)), row(23, 23, (4,))]
        other = [row(44, 44, (6,)), row(7, 7, (44,), date=50), row(96, 96, (7,))]
        self.assertEqual(
            self.thread("REFERENCES", row(2, 2), *chain, *other), "(2)(3 6 (4 23)(44 7 96))"
        )
        self.assertEqual(self.thread("REFERENCES", row(3, 3, (1,)), row(5, 5, (1,))), "((3)(5))")
        for algorithm in ALGORITHMS:
            self.assertEqual(self.thread(algorithm), "")

    def test_orderedSubject(self) -> None:
        """One thread a subject, by date; the second and all others are the first one's children."""
        self.assertEqual(
            self.thread(
                "ORDEREDSUBJECT",
                *(row(1, subject="B"), row(2, subject="A"), row(3, subject="B", date=0)),
                *(row(4, subject="B"), row(5, subject="A")),
            ),
            "(3 (1)(4))(2 5)",
        )

    def test_dummies(self) -> None:
        """(3) A parent that isn't there: dropped with one child, kept at the top with several."""
        self.assertEqual(self.thread("REFERENCES", row(1, 1, (9,))), "(1)")
        self.assertEqual(self.thread("REFERENCES", row(1, 1, (9,)), row(2, 2, (9,))), "((1)(2))")
        # Below the top its children are promoted.
        self.assertEqual(
            self.thread("REFERENCES", row(5, 5), row(6, 6, (5, 9)), row(7, 7, (5, 9))),
            "(5 (6)(7))",
        )
        # A dummy whose only child is a dummy of two.
        self.assertEqual(
            self.thread("REFERENCES", row(1, 1, (8, 9)), row(2, 2, (8, 9))), "((1)(2))"
        )

    def test_truncatedReferences(self) -> None:
        """(1) (A) An existing link stays; (B) a message's own last reference wins."""
        # 3 says that 2 is 1's child; 2 itself says it has no parent, and comes later or earlier.
        self.assertEqual(self.thread("REFS", row(1, 1), row(2, 2), row(3, 3, (1, 2))), "(1 2 3)")
        self.assertEqual(self.thread("REFS", row(3, 3, (1, 2)), row(1, 1), row(2, 2)), "(1)(2 3)")
        # Both 3 and 4 tell of 2's parent: the first is believed.
        self.assertEqual(
            self.thread(
                "REFS",
                *(row(1, 1), row(2, 2, (1,)), row(3, 3, (9, 2)), row(4, 4, (2,))),
            ),
            "(1 2 (3)(4))",
        )

    def test_duplicates(self) -> None:
        """Of messages with one id the first has it, the others have none of that name."""
        self.assertEqual(
            self.thread("REFERENCES", row(1, 7), row(2, 7), row(3, 3, (7,))), "(1 3)(2)"
        )
        self.assertEqual(self.thread("REFERENCES", row(1), row(2), row(3, 3, ())), "(1)(2)(3)")

    def test_loops(self) -> None:
        """No link makes a loop: of messages that refer to each other, or to themselves."""
        self.assertEqual(self.thread("REFERENCES", row(1, 1, (2,)), row(2, 2, (1,))), "(2 1)")
        self.assertEqual(self.thread("REFERENCES", row(1, 1, (1,))), "(1)")
        self.assertEqual(
            self.thread("REFERENCES", row(1, 1, (3,)), row(2, 2, (1,)), row(3, 3, (2,))), "(3 1 2)"
        )
        self.assertEqual(self.thread("REFERENCES", row(1, 1, (2, 3, 2, 3, 2))), "(1)")

    def test_subjects(self) -> None:
        """(5) Threads with one subject become one."""
        # A reply goes below what it replies to, wherever that is.
        self.assertEqual(
            self.thread("REFERENCES", row(1, subject="A"), row(2, subject="A", isReply=True)),
            "(1 2)",
        )
        self.assertEqual(
            self.thread("REFERENCES", row(1, subject="A", isReply=True), row(2, subject="A")),
            "(2 1)",
        )
        # Two that are no replies, or both are: siblings.
        for isReply in (False, True):
            self.assertEqual(
                self.thread(
                    "REFERENCES",
                    *(row(n, subject="A", isReply=isReply) for n in (1, 2, 3)),
                ),
                "((1)(2)(3))",
            )
        # No subject is no common subject.
        self.assertEqual(self.thread("REFERENCES", row(1), row(2)), "(1)(2)")
        # By the subject of a dummy's first child: into the dummy, also of two dummies.
        dummies = [row(1, 1, (91,), "A"), row(2, 2, (91,), "A")]
        self.assertEqual(self.thread("REFERENCES", *dummies, row(3, subject="A")), "((1)(2)(3))")
        others = [row(4, 4, (92,), "A"), row(5, 5, (92,), "B")]
        self.assertEqual(self.thread("REFERENCES", *dummies, *others), "((1)(2)(4)(5))")

    def test_sorted(self) -> None:
        """(4), (6) Siblings are sorted by sent date, dummies by their first child's."""
        self.assertEqual(
            self.thread(
                "REFERENCES",
                *(row(1, 1, date=9), row(2, 2, (1,), date=8), row(3, 3, (1,), date=7)),
                *(row(4, 4, (90,), date=6), row(5, 5, (90,), date=1), row(6, 6, date=5)),
            ),
            "((5)(4))(6)(1 (3)(2))",
        )
        # What was merged is sorted like the rest.
        self.assertEqual(
            self.thread(
                "REFERENCES",
                *(row(1, date=3, subject="A"), row(2, date=4)),
                *(row(3, date=9, subject="A"), row(4, date=5, subject="A")),
            ),
            "((1)(4)(3))(2)",
        )

    def test_refs(self) -> None:
        """REFS: subjects don't matter, and the thread with the newest arrival is the last one."""
        self.assertEqual(
            self.thread(
                "REFS",
                *(row(1, 1, subject="A", arrival=1), row(2, 2, subject="A", arrival=2)),
                *(row(3, 3, (1,), subject="B", arrival=3), row(4, 4, (9,), arrival=0)),
            ),
            "(4)(2)(1 3)",
        )

    def test_deep(self) -> None:
        """A thread of ten thousand messages, one below the other, however they are ordered."""
        count = 10_000
        rows = [row(n, n, (n - 1,) if n > 1 else ()) for n in range(1, count + 1)]
        whole = "(" + " ".join(str(n) for n in range(1, count + 1)) + ")"
        for algorithm in ("REFERENCES", "REFS"):
            self.assertEqual(self.thread(algorithm, *rows), whole)
            self.assertEqual(self.thread(algorithm, *rows[::-1]), whole)

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.integers(0, 6),
                st.lists(st.integers(1, 9), max_size=4).map(tuple),
                st.sampled_from(["", "A", "B"]),
                st.booleans(),
                st.integers(0, 3),
            ),
            max_size=10,
        )
    )
    def test_anything(self, messages: list[tuple[int, tuple[int, ...], str, bool, int]]) -> None:
        """Whatever messages say of each other, each of them is shown exactly once."""
        rows = [row(uid, *values) for uid, values in enumerate(messages, 1)]
        for algorithm in ALGORITHMS:
            shown = self.thread(algorithm, *rows)
            numbers = shown.replace("(", " ").replace(")", " ").split()
            self.assertEqual(sorted(map(int, numbers)), [each[0] for each in rows])
            self.assertNotIn("()", shown)


def message(subject: str, messageId: str = "", references: str = "") -> bytes:
    """
    @return: a message of a thread.
    """
    lines = [f"Subject: {subject}"]
    lines += [f"Message-ID: {messageId}"] if messageId else []
    lines += [f"References: {references}"] if references else []
    return "\r\n".join([*lines, "", "x", ""]).encode()


class ThreadTests(SynchronousTestCase):
    """
    THREAD and UID THREAD.
    """

    def makeServer(self) -> Server:
        """
        @return: one whose storage leaves it to the library to look at headers.
        """
        return Server()

    def setUp(self) -> None:
        """A mailbox with two threads."""
        self.server = self.makeServer()
        self.server.deliver(message("deleted"))
        self.server.deliver(message("A", "<a@x>"), date=1)
        self.server.deliver(message("b", "<b@x>"), date=2)
        self.server.deliver(message("Re: a", '<"c"@x>', "<a@x>"), date=3)
        self.server.deliver(message("Re: c", "<d@x>", "<a@x>\r\n <c@x>"), date=4)
        self.server.deliver(message("Re: B", "<e@x>"), date=5)
        self.session = self.server.select()
        self.session.send(b"a STORE 1 +FLAGS (\\Deleted)\r\n")
        self.session.send(b"a EXPUNGE\r\n")

    def thread(
        self, arguments: str, command: str = "THREAD", session: Conversation | None = None
    ) -> str:
        """
        @return: the threads.
        """
        answer = (session or self.session).send(f"a {command} {arguments}\r\n".encode())
        lines = answer.decode().split("\r\n")
        self.assertEqual(lines[1:], [f"a OK {command} completed", ""])
        self.assertTrue(lines[0].startswith("* THREAD"))
        return lines[0][len("* THREAD") :]

    def test_capability(self) -> None:
        """Each algorithm is told."""
        answer = self.session.send(b"a CAPABILITY\r\n").split(b"\r\n")[0].split(b" ")
        for name in ALGORITHMS:
            self.assertIn(f"THREAD={name}".encode(), answer)

    def test_algorithms(self) -> None:
        """By number, and by UID."""
        self.assertEqual(self.thread("REFERENCES UTF-8 ALL"), " (1 3 4)(2 5)")
        self.assertEqual(self.thread("REFS UTF-8 ALL"), " (2)(1 3 4)(5)")
        self.assertEqual(self.thread("orderedsubject us-ascii ALL"), " (1 3)(2 5)(4)")
        self.assertEqual(self.thread("REFERENCES UTF-8 ALL", "UID THREAD"), " (2 4 5)(3 6)")

    def test_search(self) -> None:
        """Only what matches is threaded; none is an empty response."""
        self.assertEqual(self.thread("REFERENCES UTF-8 2:4"), " (2)(3 4)")
        self.assertEqual(self.thread("REFERENCES UTF-8 NOT 3"), " (1 4)(2 5)")
        self.assertEqual(self.thread('ORDEREDSUBJECT US-ASCII TEXT "gewp"'), "")

    def test_syntax(self) -> None:
        """An unknown algorithm and a missing charset are BAD, an unknown charset is NO."""
        for arguments in ("", "JWZ UTF-8 ALL", "REFERENCES UTF-8", "REFS"):
            answer = self.session.send(f"a THREAD {arguments}\r\n".encode())
            self.assertTrue(answer.startswith(b"a BAD "), answer)
        answer = self.session.send(b"a THREAD REFS x-nowhere ALL\r\n")
        self.assertTrue(answer.startswith(b"a NO [BADCHARSET (US-ASCII UTF-8)] "), answer)

    def test_expunged(self) -> None:
        """
        What another session expunged isn't told during THREAD, nor during UID THREAD with message
        numbers among its keys; else UID THREAD tells it.
        """
        other = self.server.select()
        other.send(b"a STORE 3 +FLAGS.SILENT (\\Deleted)\r\n")
        other.send(b"a EXPUNGE\r\n")
        answer = self.session.send(b"a THREAD REFERENCES UTF-8 ALL\r\n")
        self.assertIn(b"* THREAD (1 4)(2 5)\r\n", answer)
        self.assertIn(b"\r\na OK [EXPUNGEISSUED] THREAD completed\r\n", answer)
        self.assertNotIn(b" EXPUNGE\r\n", answer)
        answer = self.session.send(b"a UID THREAD REFERENCES UTF-8 1:*\r\n")
        self.assertIn(b"* THREAD (2 5)(3 6)\r\n", answer)
        self.assertIn(b"\r\na OK [EXPUNGEISSUED] UID THREAD completed\r\n", answer)
        self.assertNotIn(b" EXPUNGE\r\n", answer)
        answer = self.session.send(b"a UID THREAD REFERENCES UTF-8 ALL\r\n")
        self.assertIn(b"* THREAD (2 5)(3 6)\r\n", answer)
        self.assertIn(b"* 3 EXPUNGE\r\n", answer)


class PushedDownTests(ThreadTests):
    """
    The same, by the SQL store's columns.
    """

    def makeServer(self) -> Server:
        """See L{ThreadTests.makeServer}."""
        server = SteppedServer(self.mktemp())
        self.addCleanup(lambda: now(server.store.stop()))
        return server


class MemoryTests(SynchronousTestCase):
    """
    What is held.
    """

    def test_released(self) -> None:
        """
        When threads were rendered nothing of them is left for Python's garbage collection to find,
        however many messages there were.
        """
        rows = [
            ThreadRow(uid, uid, uid, f"s{uid % 3}", uid % 2 == 0, uid, (uid // 2, 1000 + uid % 5))
            for uid in range(1, 200)
        ]
        wasEnabled = gc.isenabled()
        gc.collect()
        gc.disable()
        try:
            for algorithm in (orderedSubject, references, refs):
                threads = now(algorithm([(row.uid, row) for row in rows], breathe))
                self.assertTrue(b"".join(render(threads)))
                del threads
                left = [each for each in gc.get_objects() if isinstance(each, Thread)]
                self.assertEqual(len(left), 0, algorithm)
        finally:
            if wasEnabled:
                gc.enable()
