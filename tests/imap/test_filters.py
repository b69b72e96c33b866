"""
FILTERS (RFC 5466).
"""

from __future__ import annotations

from tests.imap.stepped import SteppedServer
from tests.imap.support import Server, now
from tests.imap.test_esearch import SearchingTestCase


class FilterTests(SearchingTestCase):
    """
    The search key FILTER.
    """

    def define(self, name: str, value: bytes | None) -> None:
        """
        Store a filter, as SETMETADATA does but unchecked.
        """
        entry = f"/private/filters/values/{name.lower()}"
        now(self.server.account.setMetadata("", {entry: value}, 1000))  # type: ignore[attr-defined]

    def assertFound(self, keys: str, found: str, command: str = "SEARCH") -> None:
        """
        @param found: numbers.
        """
        answer = self.client.send(f"a {command} {keys}\r\n".encode())
        expected = f"* SEARCH{' ' if found else ''}{found}\r\na OK {command} completed\r\n"
        self.assertEqual(answer.decode(), expected, keys)

    def assertUndefined(self, keys: str, name: str) -> None:
        """
        It is NO, and that filter is named.
        """
        answer = self.client.send(f"a SEARCH {keys}\r\n".encode())
        self.assertRegex(answer.decode(), rf"\Aa NO \[UNDEFINED-FILTER {name}\] [^\r\n]+\r\n\Z")

    def makeServer(self) -> Server:
        """See L{SearchingTestCase}."""
        return Server(serverEntries=self.shared)

    def setUp(self) -> None:
        """Four messages: flagged, seen, neither, flagged."""
        self.shared: dict[str, bytes] = {}
        super().setUp()
        self.client = self.fill("FS.F", gone=0)

    def test_example(self) -> None:
        """
        The example of §3.1: the key stands for what the filter says, all of it.
        """
        self.define("on-the-road", b'OR SMALLER 5 FROM "fred"')
        self.assertFound("UID 2:900 FILTER on-the-road SINCE 1-Jan-1970", "2 3 4")
        self.define("on-the-road", b"OR SMALLER 5 FLAGGED UID 1:3")
        self.assertFound("FILTER on-the-road", "1")
        self.assertFound("NOT FILTER on-the-road", "2 3 4")
        self.assertFound("OR SEEN FILTER on-the-road", "1 2")
        self.assertFound("(FILTER on-the-road) FLAGGED", "1")
        self.assertFound("UID 1:3 filter ON-THE-ROAD", "1", "UID SEARCH")

    def test_places(self) -> None:
        """
        If there is a private one and a shared one, the private one is used (§3.2).
        """
        self.shared["/shared/filters/values/both"] = b"SEEN"
        self.assertFound("FILTER Both", "2")
        self.define("both", b"FLAGGED")
        self.assertFound("FILTER both", "1 4")
        self.define("both", None)
        self.assertFound("FILTER both", "2")
        del self.shared["/shared/filters/values/both"]
        self.assertUndefined("FILTER both", "both")

    def test_undefined(self) -> None:
        """
        "MUST cause failure of the SEARCH command with the tagged NO response that includes the
        UNDEFINED-FILTER response code followed by the name".
        """
        self.assertUndefined("FILTER nowhere", "nowhere")
        self.assertUndefined("OR SEEN FILTER No.Where", "No.Where")
        self.assertUndefined("FILTER nowhere FILTER other", "nowhere")

    def test_incomplete(self) -> None:
        """
        A filter that is no search criterion (§3.1).
        """
        for value in (
            b"OR SMALLER",
            b"OR SMALLER 5",
            b"",
            b"FROBNICATE",
            b"(SEEN",
            b"SEEN)",
            b"SEEN ",
            b" SEEN",
            b"SUBJECT",
            b"RETURN (ALL) SEEN",
            b"CHARSET UTF-8 SEEN",
            b"SUBJECT {5}\r\nab",
            b"SUBJECT \xff",
        ):
            self.define("half", value)
            if value == b"SUBJECT {5}\r\nab":
                # Cut short.
                continue
            self.assertUndefined("FILTER half", "half")

    def test_managed(self) -> None:
        r"""
        Filters are made, changed and removed by SETMETADATA (§3.2), which takes no value that isn't
        a search criterion.
        """
        self.client.check(r"""
            C: a007 SETMETADATA "" ("/private/filters/values/On-The-Road" "OR SMALLER 5 FLAGGED")
            S: a007 OK SETMETADATA completed
            C: b SEARCH FILTER on-the-road
            S: * SEARCH 1 4
            S: b OK SEARCH completed
            C: c SETMETADATA "" (/private/filters/values/on-the-road "OR SMALLER")
            S: c NO [CANNOT] The filter is no search criterion: Space expected
            C: d SETMETADATA "" (/private/filters/values/x "ALL" /private/filters/values/y "")
            S: d NO [CANNOT] The filter is no search criterion: Atom expected
            C: dd SEARCH FILTER x
            S: dd NO [UNDEFINED-FILTER x] No such filter
            C: e SETMETADATA "" (/private/filters/values/other "FILTER later")
            S: e OK SETMETADATA completed
            C: f SEARCH FILTER other
            S: f NO [UNDEFINED-FILTER later] No such filter
            C: g SEARCH FILTER on-the-road
            S: * SEARCH 1 4
            S: g OK SEARCH completed
            C: h SETMETADATA "" (/private/filters/descriptions/other "OR")
            S: h OK SETMETADATA completed
            C: i SETMETADATA INBOX (/private/filters/values/other "OR")
            S: i OK SETMETADATA completed
            C: j SETMETADATA "" (/private/filters/values/on-the-road NIL)
            S: j OK SETMETADATA completed
            C: k SEARCH FILTER on-the-road
            S: k NO [UNDEFINED-FILTER on-the-road] No such filter
        """)

    def test_capability(self) -> None:
        """
        FILTERS is announced where METADATA is, once somebody is logged in.
        """
        self.assertIn(b"FILTERS", self.client.send(b"a CAPABILITY\r\n").split())
        self.assertNotIn(b"FILTERS", self.server.connect().wire.take().split())

    def test_utf8(self) -> None:
        """
        Filters are in UTF-8, with literals too; another CHARSET is refused with BAD and BADCHARSET.
        """
        self.server.deliver("Subject: grüße\r\n\r\nx".encode(), flags=["\\Seen"])
        self.client.send(b"n NOOP\r\n")
        self.define("quoted", 'SUBJECT "GRÜSS" SEEN'.encode())
        self.define("literal", "SUBJECT {6}\r\ngrüß SEEN".encode())
        for name in ("quoted", "literal"):
            self.assertFound(f"FILTER {name}", "5")
            self.assertFound(f"CHARSET UTF-8 FILTER {name}", "5")
            self.assertFound(f"CHARSET us-ascii FILTER {name}", "5")
        answer = self.client.send(b"a SEARCH CHARSET ISO-8859-1 FILTER quoted\r\n")
        self.assertTrue(answer.startswith(b"a BAD [BADCHARSET (US-ASCII UTF-8)] "), answer)

    def test_withinOneAnother(self) -> None:
        """
        "Implementations MUST be able to perform at least 3 substitution passes".
        """
        self.define("one", b"FILTER two")
        self.define("two", b"NOT (FILTER three)")
        self.define("three", b"OR FILTER four SEEN")
        self.define("four", b"FLAGGED")
        self.assertFound("FILTER one", "3")
        self.assertFound("FILTER one FILTER two UNSEEN", "3")
        self.assertFound("FILTER four FILTER four", "1 4")

    def test_loops(self) -> None:
        """
        "If an implementation detects a loop it MUST behave as if the specified filter doesn't
        exist".
        """
        self.define("self", b"OR SEEN FILTER SELF")
        self.assertUndefined("FILTER self", "SELF")
        self.define("ping", b"FILTER pong")
        self.define("pong", b"FILTER ping")
        self.assertUndefined("FILTER ping", "ping")
        for number in range(30):
            self.define(f"deep{number}", b"FILTER deep%d" % (number + 1))
        self.define("deep30", b"ALL")
        self.assertUndefined("FILTER deep0", r"deep\d+")

    def test_bomb(self) -> None:
        """
        Filters that multiply are refused before they cost anything.
        """
        for number in range(9):
            self.define(f"b{number}", b" ".join([b"FILTER b%d" % (number + 1)] * 10))
        self.define("b9", b"ALL")
        answer = self.client.send(b"a SEARCH FILTER b0\r\n")
        self.assertTrue(answer.startswith(b"a NO [LIMIT] "), answer)

    def test_everyCommand(self) -> None:
        """SORT, THREAD and ESEARCH know it too, and what it asks for besides."""
        self.define("f", b"FLAGGED MODSEQ 1")
        for command, answer in (
            (b"SORT (ARRIVAL) UTF-8 FILTER f", rb"\* SORT 1 4 \(MODSEQ \d+\)\r\n"),
            (b"THREAD ORDEREDSUBJECT UTF-8 FILTER f", rb"\* THREAD \("),
            (b"ESEARCH FILTER f", rb"\* ESEARCH \([^)]+\) UID ALL 1,4 MODSEQ \d+\r\n"),
            (b"SEARCH FILTER f", rb"\* SEARCH 1 4 \(MODSEQ \d+\)\r\n"),
        ):
            self.assertRegex(self.client.send(b"a %b\r\n" % command), answer)

    def test_syntaxErrors(self) -> None:
        """A filter's name is an atom without a slash."""
        for keys in ("FILTER", "FILTER ", "FILTER a/b", 'FILTER "a"', "FILTER (a)", "FILTER a%"):
            self.assertBad(self.client, f"SEARCH {keys}")


class SQLFilterTests(FilterTests):
    """
    The same over the SQL store.
    """

    def makeServer(self) -> Server:
        """See L{SearchingTestCase}."""
        return SteppedServer(self.mktemp(), serverEntries=self.shared)
