"""
SEARCH=FUZZY (RFC 6203).
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.imap.stepped import SteppedServer
from tests.imap.support import Server, now
from twisted_mailstack.imap.extensions.fuzzy import Pattern
from twisted_mailstack.model.records import SMALL_MESSAGE
from twisted_mailstack.model.text import fold


class PatternTests(SynchronousTestCase):
    """
    How near a text is.
    """

    def score(self, wanted: str, text: str) -> int:
        """
        @return: 0 to 100.
        """
        return Pattern(fold(wanted)).score(text)

    def test_exact(self) -> None:
        """The text as it is scores 100, wherever it is and whatever the case."""
        for text in ("hello", "say HELLO there", "othello"):
            self.assertEqual(self.score("Hello", text), 100)

    def test_near(self) -> None:
        """A letter changed, left out or put in: less than 100, more than 0."""
        for text in ("helo", "hallo", "heello", "hxello", "hell"):
            self.assertTrue(0 < self.score("hello", text) <= 99, text)
        # The RFC's example: the misspelled "Helo" finds "hello" and "help".
        for text in ("hello", "help"):
            self.assertTrue(self.score("Helo", text) > 0, text)

    def test_far(self) -> None:
        """More letters, and any in a short word, are another word."""
        for wanted, text in (("hello", "jelly roll"), ("cat", "car"), ("hello", ""), ("work", "w")):
            self.assertEqual(self.score(wanted, text), 0, (wanted, text))

    def test_longWords(self) -> None:
        """Of eight letters two may differ; one is nearer than two."""
        one, two = self.score("relevancy", "relevency"), self.score("relevancy", "relivency")
        self.assertTrue(100 > one > two > 0)
        self.assertEqual(self.score("relevancy", "rilivency"), 0)

    def test_words(self) -> None:
        """Each word must be there; in another order it isn't the text as it is."""
        self.assertTrue(0 < self.score("meeting tomorrow", "tomorow we have a meeting") < 100)
        self.assertEqual(self.score("meeting tomorrow", "a meeting"), 0)
        self.assertEqual(self.score("a b", "b then a"), 99)

    def test_long(self) -> None:
        """Long searches and long words are for the text as it is."""
        many = " ".join(f"word{n}" for n in range(1000))
        self.assertEqual(self.score(many, many), 100)
        self.assertEqual(self.score(many, many[::-1]), 0)
        self.assertEqual(self.score("x" * 100, "x" * 99), 0)
        self.assertEqual(self.score("abcd" * 2, "abce" * 100_000), 0)

    @given(st.text(max_size=12), st.text(max_size=30))
    def test_anything(self, wanted: str, text: str) -> None:
        """Every text has a score from 0 to 100; 100 is the text as it is, or its words."""
        score = self.score(wanted, text)
        self.assertTrue(0 <= score <= 100)
        if fold(wanted) in fold(text):
            self.assertEqual(score, 100)


class FuzzyTests(SynchronousTestCase):
    """
    FUZZY and RELEVANCY.
    """

    def makeServer(self) -> Server:
        """
        @return: one without an index.
        """
        return Server()

    def setUp(self) -> None:
        """Messages about hello, help and something else."""
        self.server = self.makeServer()
        for subject, body in (
            ("Hello", "nothing"),
            ("other", "this says helo somewhere"),
            ("help", "work at user@example.com"),
            ("xyz", "xyz"),
        ):
            self.server.deliver(
                f"From: user@example.com\r\nSubject: {subject}\r\n\r\n{body}\r\n".encode(),
                flags=["\\Seen"] if subject == "help" else [],
            )
        self.session = self.server.select()

    def ask(self, command: str) -> bytes:
        """
        @return: the untagged response.
        """
        answer = self.session.send(f"a {command}\r\n".encode())
        lines = answer.split(b"\r\n")
        self.assertTrue(lines[-2].startswith(b"a OK "), answer)
        return b"".join(lines[:-2])

    def test_capability(self) -> None:
        """SEARCH=FUZZY is told."""
        self.assertIn(b" SEARCH=FUZZY", self.session.send(b"a CAPABILITY\r\n"))

    def test_fuzzy(self) -> None:
        """FUZZY makes the next key match nearly, and no other."""
        self.assertEqual(self.ask("SEARCH SUBJECT helo"), b"* SEARCH")
        self.assertEqual(self.ask("SEARCH FUZZY SUBJECT helo"), b"* SEARCH 1 3")
        self.assertEqual(self.ask("SEARCH FUZZY TEXT helo"), b"* SEARCH 1 2 3")
        self.assertEqual(self.ask("SEARCH FUZZY BODY hello"), b"* SEARCH 2")
        self.assertEqual(
            self.ask("SEARCH FUZZY SUBJECT helo FROM user@example.com"), b"* SEARCH 1 3"
        )
        self.assertEqual(self.ask("SEARCH FUZZY SUBJECT helo FROM usr@example.com"), b"* SEARCH")
        self.assertEqual(self.ask("SEARCH FUZZY (SUBJECT helo FROM usr@example.com)"), b"* SEARCH")
        self.assertEqual(
            self.ask("SEARCH FUZZY (SUBJECT helo FROM user@exmple.com)"), b"* SEARCH 1 3"
        )

    def test_otherKeys(self) -> None:
        """Flags and numbers match as ever (RFC 6203 §5); what must not match is exact."""
        self.assertEqual(self.ask("SEARCH FUZZY SEEN"), b"* SEARCH 3")
        self.assertEqual(self.ask("SEARCH FUZZY 2:3 FUZZY SUBJECT helo"), b"* SEARCH 3")
        self.assertEqual(self.ask("SEARCH FUZZY NOT SUBJECT helo"), b"* SEARCH 1 2 3 4")
        self.assertEqual(self.ask("SEARCH FUZZY OR SUBJECT helo SUBJECT xyz"), b"* SEARCH 1 3 4")
        self.assertEqual(self.ask('SEARCH FUZZY SUBJECT ""'), b"* SEARCH 1 2 3 4")
        self.assertEqual(self.ask('SEARCH FUZZY TEXT ""'), b"* SEARCH 1 2 3 4")

    def test_scores(self) -> None:
        """RELEVANCY gives a score for each message that is listed, 1 to 100."""
        answer = self.ask("SEARCH RETURN (RELEVANCY ALL) FUZZY TEXT helo")
        self.assertTrue(answer.startswith(b'* ESEARCH (TAG "a") '), answer)
        self.assertIn(b" ALL 1:3", answer)
        scores = self.scores(answer)
        self.assertEqual((len(scores), scores[1]), (3, 100))
        self.assertTrue(0 < scores[0] < 100 and 0 < scores[2] < 100)
        # An exact key gives no less.
        answer = self.ask("SEARCH RETURN (ALL RELEVANCY) FUZZY SEEN")
        self.assertEqual(self.scores(answer), [100])
        answer = self.ask("SEARCH RETURN (ALL RELEVANCY) FUZZY SUBJECT nowhere")
        self.assertIn(b"RELEVANCY ()", answer)

    def scores(self, answer: bytes) -> list[int]:
        """
        @return: those in the response.
        """
        _, _, rest = answer.partition(b" RELEVANCY (")
        return [int(score) for score in rest.partition(b")")[0].split()]

    def test_partial(self) -> None:
        """The scores are of what is listed."""
        answer = self.ask("SEARCH RETURN (PARTIAL 2:3 RELEVANCY) FUZZY TEXT helo")
        self.assertIn(b"PARTIAL (2:3 2:3)", answer)
        scores = self.scores(answer)
        self.assertEqual((len(scores), scores[0]), (2, 100))

    def test_sorted(self) -> None:
        """SORT by RELEVANCY begins with what is nearest (RFC 6203 §6)."""
        self.assertEqual(self.ask("SORT (RELEVANCY) UTF-8 FUZZY TEXT helo"), b"* SORT 2 1 3")
        self.assertEqual(
            self.ask("SORT (REVERSE RELEVANCY) UTF-8 FUZZY TEXT helo"), b"* SORT 1 3 2"
        )
        self.assertEqual(
            self.ask("SORT (RELEVANCY REVERSE SUBJECT) UTF-8 FUZZY TEXT helo"), b"* SORT 2 3 1"
        )
        self.assertEqual(
            self.ask("UID SORT (FROM RELEVANCY) UTF-8 FUZZY TEXT helo"), b"* SORT 2 1 3"
        )
        answer = self.ask("SORT RETURN (RELEVANCY ALL) (RELEVANCY) UTF-8 FUZZY TEXT helo")
        self.assertIn(b" ALL 2,1,3", answer)
        scores = self.scores(answer)
        self.assertEqual(scores, sorted(scores, reverse=True))

    def test_needsFuzzy(self) -> None:
        """RELEVANCY "MUST NOT be used unless a FUZZY search key is also given"."""
        for command in (
            "SEARCH RETURN (RELEVANCY) TEXT helo",
            "SORT (RELEVANCY) UTF-8 TEXT helo",
            "SORT (RELEVANCY) UTF-8 UID 99",
            *("SEARCH FUZZY", "SEARCH FUZZY FUZZ", "SEARCH FUZZY SUBJECT"),
        ):
            answer = self.session.send(f"a {command}\r\n".encode())
            self.assertTrue(answer.startswith(b"a BAD "), (command, answer))

    def test_large(self) -> None:
        """Large messages too."""
        filler = b"x" * SMALL_MESSAGE
        self.server.deliver(b"Subject: large\r\n\r\n" + filler + b" relevency \r\n")
        self.session.send(b"a NOOP\r\n")
        self.assertEqual(self.ask("SEARCH FUZZY BODY relevancy"), b"* SEARCH 5")


class SQLTests(FuzzyTests):
    """
    The same over the SQL store.
    """

    def makeServer(self) -> Server:
        """See L{FuzzyTests.makeServer}."""
        server = SteppedServer(self.mktemp())
        self.addCleanup(lambda: now(server.store.stop()))
        return server
