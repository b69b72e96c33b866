"""
SEARCH with an index finds what SEARCH without one finds, whatever is in the mail, whatever is
asked, and however far the index is.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.imap.stepped import SteppedServer, SteppedStore
from tests.imap.support import Server, now
from twisted_mailstack.imap import search
from twisted_mailstack.model.records import SMALL_MESSAGE
from twisted_mailstack.storage.sql import index
from twisted_mailstack.storage.sql.index import AccountIndex
from twisted_mailstack.testing.conversation import Conversation


class IndexedStore(SteppedStore):
    """
    With indexes.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._indexing = True


class IndexedServer(SteppedServer):
    """
    A server whose store has indexes; they are built when a test says so.
    """

    def __init__(self, path: str) -> None:
        Server.__init__(self, store=IndexedStore(path))

    def build(self, slices: int) -> None:
        """
        Index so many slices of alice's messages.
        """
        account: Any = self.account
        connection = self.store.connect()
        for _ in range(slices):
            AccountIndex(self.store.path, account.number).update(connection)
        connection.close()


_CHARACTERS = st.one_of(
    st.sampled_from(
        'abAB \u00df\u0130\u0301\u0327\u00e9\ufb01\u03a3\u03c2\u212b\u1e9e\U0001f600"*'
    ),
    st.characters(blacklist_categories=("Cs", "Cc")),
)
_TEXT = st.text(_CHARACTERS, max_size=8)
_MESSAGES = st.lists(
    st.tuples(_TEXT, _TEXT, _TEXT, st.sampled_from(["plain", "base64", "attached"])), max_size=3
)


def message(subject: str, name: str, body: str, form: str) -> bytes:
    """
    @return: a message with these texts.
    """
    from base64 import b64encode
    from urllib.parse import quote

    head = f"Subject: {subject}\r\nFrom: {name} <x@y.example>\r\nMIME-Version: 1.0\r\n"
    kind = "Content-Type: text/plain; charset=utf-8\r\n"
    if form == "plain":
        return f"{head}{kind}\r\n{body}\r\n".encode()
    encoded = b64encode(body.encode()).decode()
    part = f"{kind}Content-Transfer-Encoding: base64\r\n"
    if form == "base64":
        return f"{head}{part}\r\n{encoded}\r\n".encode()
    return (
        f"{head}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n{part}"
        f"Content-Disposition: attachment; filename*=utf-8''{quote(name)}\r\n\r\n{encoded}\r\n"
        "--b--\r\n"
    ).encode()


def _literal(text: str) -> bytes:
    octets = text.encode()
    return b"{%d+}\r\n%b" % (len(octets), octets)


class SameTests(SynchronousTestCase):
    """
    Two servers, one with an index.
    """

    def setUp(self) -> None:
        """However few messages there are, the index is asked."""
        self.patch(search, "FEW", 0)
        self.patch(index, "SLICE", 2)
        self.plain = Server()
        self.indexed = IndexedServer(self.mktemp())
        self.addCleanup(lambda: now(self.indexed.store.stop()))

    def search(self, session: Conversation, query: bytes) -> bytes:
        """
        @return: the whole answer.
        """
        return session.send(b"a SEARCH CHARSET UTF-8 %b\r\n" % query)

    def test_same(self) -> None:
        """Random mail, random queries, and indexes that are behind: the same answers."""
        sessions = self.plain.select(), self.indexed.select()

        @settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(_MESSAGES, st.integers(0, 3), st.data())
        def check(mail: list[tuple[str, str, str, str]], slices: int, data: st.DataObject) -> None:
            for each in mail:
                for server in (self.plain, self.indexed):
                    server.deliver(message(*each))
            self.indexed.build(slices)
            for session in sessions:
                session.send(b"a NOOP\r\n")
            texts = [text for each in mail for text in each[:3]] or [""]
            for _ in range(4):
                query = self.draw(data, texts, 2)
                one, other = (self.search(session, query) for session in sessions)
                self.assertEqual(one, other, query)

        check()

    def draw(self, data: st.DataObject, texts: list[str], depth: int) -> bytes:
        """
        @return: a search key.
        """
        kind = data.draw(st.sampled_from(["text", "not", "or", "and"] if depth else ["text"]))
        if kind == "not":
            return b"NOT " + self.draw(data, texts, depth - 1)
        if kind != "text":
            one, other = (self.draw(data, texts, depth - 1) for _ in range(2))
            return b"OR %b %b" % (one, other) if kind == "or" else b"(%b %b)" % (one, other)
        key = data.draw(st.sampled_from(["SUBJECT", "FROM", "BODY", "TEXT", "HEADER X-No", "TO"]))
        source = data.draw(st.one_of(st.sampled_from(texts), _TEXT))
        begin = data.draw(st.integers(0, len(source)))
        wanted = source[begin : data.draw(st.integers(begin, len(source)))]
        if data.draw(st.booleans()):
            wanted = wanted.swapcase()
        return key.encode() + b" " + _literal(wanted)

    def test_candidatesOnly(self) -> None:
        """What the index excludes isn't read at all."""
        for number in range(20):
            self.indexed.deliver(b"Subject: word%02d\r\n\r\nbody%02d text\r\n" % (number, number))
        self.indexed.build(20)
        session = self.indexed.select()
        looked: list[int] = []
        original = search.Context.rows

        def rows(context: Any, candidates: Any, *arguments: Any) -> Any:
            looked.append(len(candidates))
            return original(context, candidates, *arguments)

        self.patch(search.Context, "rows", rows)
        for query, most in (
            (b"SUBJECT word17", 1),
            (b"BODY body17", 1),
            (b"TEXT word17", 1),
            (b"SUBJECT word17 BODY body18", 0),
            (b"BODY nothing", 0),
            (b"OR SUBJECT word03 BODY body04", 2),
            (b"FROM nobody TEXT text", 0),
        ):
            looked.clear()
            self.search(session, query)
            self.assertTrue(sum(looked) <= most, (query, looked))

    def test_large(self) -> None:
        """Large and huge messages are found, and huge ones are looked at."""
        self.patch(index, "MAX_INDEXED", 3 * SMALL_MESSAGE)
        for size in (SMALL_MESSAGE, 3 * SMALL_MESSAGE):
            data = b"Subject: x\r\n\r\n" + b"word " * (size // 4) + b"needle\r\n"
            for server in (self.plain, self.indexed):
                server.deliver(data)
        self.indexed.build(5)
        for session in (self.plain.select(), self.indexed.select()):
            self.assertIn(b"* SEARCH 1 2\r\n", self.search(session, b"BODY needle"))
            self.assertIn(b"* SEARCH 1 2\r\n", self.search(session, b"TEXT needle"))
            self.assertIn(b"* SEARCH\r\n", self.search(session, b"BODY nowhere"))

    def test_brokenIndex(self) -> None:
        """With an index that can't be read all is found, too."""
        self.indexed.deliver(b"Subject: word\r\n\r\n")
        self.indexed.build(1)
        account: Any = self.indexed.account
        file = AccountIndex(self.indexed.store.path, account.number).file
        file.write_bytes(b"no database" * 1000)
        session = self.indexed.select()
        self.assertIn(b"* SEARCH 1\r\n", self.search(session, b"SUBJECT word"))
        self.assertIn(b"* SEARCH\r\n", self.search(session, b"SUBJECT nothing"))
