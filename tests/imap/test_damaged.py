"""
Damaged messages, over the wire: whatever a message is like, it can be listed and read, and what is
said of it agrees with itself (RFC 9051 §7.5.2; RFC 7103).
"""

from __future__ import annotations

import imaplib
import io
import re
from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.imap.damaged import damagedMessages
from tests.imap.stepped import SteppedServer
from tests.imap.support import Server, now
from tests.model.support import Body, IMAPReader
from twisted_mailstack.storage import memory
from twisted_mailstack.testing.conversation import Conversation

try:
    from imapclient.response_parser import parse_fetch_response
except ImportError:
    parse_fetch_response = None

MESSAGES = dict(damagedMessages())
#: Parts of one message of which each section is asked for.
MOST_PARTS = 30
IDENTITIES = (b"7BIT", b"8BIT", b"BINARY")
DECODABLE = (*IDENTITIES, b"BASE64", b"QUOTED-PRINTABLE")
_ITEM = re.compile(rb"[A-Z0-9.]+(?:\[[^\]]*\])?(?:<\d+>)?")


class Reader(IMAPReader):
    """
    Reads FETCH responses, by the grammar alone.
    """

    def value(self, name: bytes) -> Any:
        """The value of an item."""
        if name == b"ENVELOPE":
            return self.envelope()
        if name in (b"BODY", b"BODYSTRUCTURE"):
            return self.body(name == b"BODYSTRUCTURE")
        if name in (b"RFC822.SIZE", b"UID") or name.startswith(b"BINARY.SIZE"):
            return self.number()
        if name == b"FLAGS":
            return self.match(rb"\([^()]*\)").group()
        if name in (b"EMAILID", b"THREADID"):
            return self.match(rb"\([A-Za-z0-9_-]+\)").group()
        if self.comes(b"~"):
            #   literal8 = "~{" number64 "}" CRLF *OCTET
            assert name.startswith(b"BINARY[")
            size = int(self.match(rb"~\{(\d+)\}\r\n").group(1))
            self.at += size
            data = self.data[self.at - size : self.at]
            assert len(data) == size and b"\0" in data
            return data
        return self.nstring()


def readFetch(answer: bytes) -> tuple[dict[bytes, Any], bytes]:
    """
    @return: the items of the only FETCH response, and the tagged response.
    """
    reader = Reader(answer)
    items: dict[bytes, Any] = {}
    if reader.comes(b"* "):
        reader.match(rb"\* 1 FETCH \(")
        while True:
            name = reader.match(_ITEM.pattern).group()
            reader.space()
            assert name not in items, name
            items[name] = reader.value(name)
            if reader.comes(b")"):
                break
            reader.space()
        reader.match(rb"\)\r\n")
    tagged = reader.match(rb"a (?:OK|NO|BAD) [^\r\n]*\r\n").group()
    reader.end()
    return items, tagged


def parts(body: Body, path: tuple[int, ...] = ()) -> Iterator[tuple[str, Body]]:
    """
    @return: the parts that a BODYSTRUCTURE names, each with its number (RFC 9051 §6.4.5.1).
    """
    children = body.children or ([body] if not path else [])
    if path and body.message is not None:
        children = body.message.children or [body.message]
    for number, child in enumerate(children, 1):
        inner = (*path, number)
        yield ".".join(map(str, inner)), child
        if child.children or child.message is not None:
            yield from parts(child, inner)


def same(one: Body, other: Body) -> bool:
    """
    @return: whether BODY says what BODYSTRUCTURE says.
    """
    fields = ("mediaType", "subtype", "contentId", "description", "encoding", "octets", "lines")
    return (
        all(getattr(one, each) == getattr(other, each) for each in fields)
        and (one.parameters == other.parameters or bool(one.children))
        and one.envelope == other.envelope
        and len(one.children) == len(other.children)
        and all(map(same, one.children, other.children))
        and (one.message is None) == (other.message is None)
        and (one.message is None or other.message is None or same(one.message, other.message))
    )


class InMemoryIMAP4(imaplib.IMAP4):
    """
    Python's own client, on a conversation.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._pending = io.BytesIO(b"* PREAUTH\r\n")
        super().__init__()

    def open(self, *arguments: object, **more: object) -> None:
        """There is nothing to open."""

    def _get_capabilities(self) -> None:
        self.capabilities = ("IMAP4REV1",)

    def read(self, size: int) -> bytes:
        """See imaplib."""
        return self._pending.read(size)

    def readline(self) -> bytes:
        """See imaplib."""
        return self._pending.readline()

    def send(self, data: bytes) -> None:
        """See imaplib."""
        self._pending = io.BytesIO(self._pending.read() + talk(self._conversation, bytes(data)))

    def shutdown(self) -> None:
        """Nor to close."""


def talk(client: Conversation, data: bytes) -> bytes:
    """
    @return: all that the server says to a command.
    """
    answer = client.send(data)
    while not re.search(rb"(?:\A|\r\n)[A-Za-z0-9]+ (?:OK|NO|BAD) [^\r\n]*\r\n\Z", answer[-2000:]):
        before = len(answer)
        client.settle()
        answer += client.wire.take()
        assert len(answer) > before or client.clock.getDelayedCalls(), answer[-500:]
        assert not client.finished, answer[-500:]
    return answer


class DamagedTests(SynchronousTestCase):
    """
    See the module.
    """

    client: Conversation

    def makeServer(self) -> Server:
        """
        @return: a server without messages.
        """
        return Server()

    def fetch(self, items: bytes) -> tuple[dict[bytes, Any], bytes]:
        """
        @return: what is told of the message.
        """
        return readFetch(talk(self.client, b"a FETCH 1 (" + items + b")\r\n"))

    def ok(self, items: bytes) -> dict[bytes, Any]:
        """
        @return: likewise, of what must succeed.
        """
        found, tagged = self.fetch(items)
        assert tagged.startswith(b"a OK "), tagged
        return found

    def examine(self, data: bytes) -> dict[bytes, Any]:
        """
        Look at a message in every way.

        @return: what was told in one.
        """
        server = self.makeServer()
        server.deliver(data)
        self.client = server.select()
        told = self.ok(b"UID FLAGS RFC822.SIZE INTERNALDATE ENVELOPE BODY BODYSTRUCTURE PREVIEW")
        shown = data.replace(b"\0", b"\x80")
        whole = self.ok(
            b"BODY.PEEK[] BODY.PEEK[HEADER] BODY.PEEK[TEXT] BINARY.PEEK[] BINARY.SIZE[]"
        )
        assert told[b"RFC822.SIZE"] == len(data) == whole[b"BINARY.SIZE[]"]
        assert whole[b"BODY[]"] == shown == whole[b"BODY[HEADER]"] + whole[b"BODY[TEXT]"]
        assert whole[b"BINARY[]"] == data
        assert same(told[b"BODY"], told[b"BODYSTRUCTURE"])
        self.headers(whole[b"BODY[HEADER]"])
        for first, count in ((0, 3), (5, 7), (len(data) - 2, 9), (len(data), 1), (1 << 40, 1)):
            if first >= 0:
                partial = self.ok(b"BODY.PEEK[]<%d.%d>" % (first, count))
                assert partial == {b"BODY[]<%d>" % first: shown[first : first + count]}
        found = list(parts(told[b"BODYSTRUCTURE"]))
        # Each look at one of 10,000 parts takes its time.
        most = MOST_PARTS if len(found) < 1000 else 1
        for path, part in (*found[:most], *found[most:][-1:]):
            self.part(path.encode(), part, shown)
        last = 1 + sum("." not in path for path, _ in found)
        missing = self.ok(b"BODY.PEEK[%d] BODY.PEEK[%d.MIME] BINARY.SIZE[%d]" % (last, last, last))
        assert list(missing.values()) == [None, None, 0]
        for key in (b"TEXT zzz", b"SUBJECT hello", b"SENTSINCE 1-Jan-1990", b"BODY caf"):
            answer = talk(self.client, b"a SEARCH " + key + b"\r\n")
            assert re.fullmatch(rb"\* SEARCH(?: 1)?\r\na OK [^\r]*\r\n", answer), answer
        return told

    def headers(self, header: bytes) -> None:
        """
        Fields of the header, and all but them.
        """
        found = self.ok(
            b"BODY.PEEK[HEADER.FIELDS (Subject)] BODY.PEEK[HEADER.FIELDS.NOT (Subject)]"
            b" BODY.PEEK[HEADER.FIELDS.NOT (X-Nobody-Has-That)]"
        )
        some, others, everything = found.values()
        # A blank line is always there, even if the header has none.
        assert everything.startswith(header) and len(everything) <= len(header) + 4
        for selected in (some, others):
            assert selected.endswith((b"\n", b"\r")), selected[-10:]
        lines = [*some.splitlines(), *others.splitlines()]
        assert set(header.splitlines()) - {b""} <= set(lines), (header, lines)

    def part(self, path: bytes, part: Body, whole: bytes) -> None:
        """
        One part: its sections, as the structure says they are.
        """
        found = self.ok(b"BODY.PEEK[%b] BODY.PEEK[%b.MIME]" % (path, path))
        body, mime = found[b"BODY[%b]" % path], found[b"BODY[%b.MIME]" % path]
        assert mime + body in whole
        if not part.children:
            assert len(body) == part.octets
        if part.lines is not None:
            assert part.lines == body.count(b"\n") + (not body.endswith(b"\n") and bool(body))
        if part.message is not None:
            inner = self.ok(b"BODY.PEEK[%b.HEADER] BODY.PEEK[%b.TEXT]" % (path, path))
            assert b"".join(inner.values()) == body
        else:
            inner = self.ok(b"BODY.PEEK[%b.HEADER] BODY.PEEK[%b.TEXT]" % (path, path))
            assert set(inner.values()) == {None}
        cut = self.ok(b"BODY.PEEK[%b]<1.4>" % path)
        assert cut == {b"BODY[%b]<1>" % path: body[1:5]}
        encoding = part.encoding.upper() or b"7BIT"
        items, tagged = self.fetch(b"BINARY.PEEK[%b] BINARY.SIZE[%b]" % (path, path))
        if encoding not in DECODABLE:
            assert tagged.startswith(b"a NO [UNKNOWN-CTE] ") and not items, (encoding, tagged)
            return
        assert tagged.startswith(b"a OK ")
        decoded = items[b"BINARY[%b]" % path]
        assert len(decoded) == items[b"BINARY.SIZE[%b]" % path]
        if encoding in IDENTITIES or part.children:
            assert decoded.replace(b"\0", b"\x80") == body

    def check(self, names: list[str]) -> None:
        """
        Some messages: held in memory, and every third of them streamed as well.
        """
        assert names
        for number, name in enumerate(names):
            try:
                told = self.examine(MESSAGES[name])
                self.others(MESSAGES[name])
                if number % 3 == 0:
                    patch = self.patch(memory, "SMALL_MESSAGE", 0)
                    streamed = self.examine(MESSAGES[name])
                    patch.restore()
                    assert told == streamed
            except AssertionError as error:
                raise self.failureException(f"{name}: {str(error)[:2000]}") from error
            self.assertEqual(self.flushLoggedErrors(), [], name)

    def others(self, data: bytes) -> None:
        """
        Clients that others have written understand what is told of it.
        """
        client = InMemoryIMAP4(self.client)
        client.state = "SELECTED"
        lines = talk(self.client, b"a FETCH 1 (ENVELOPE BODYSTRUCTURE)\r\n").split(b"\r\n")
        if max(map(len, lines)) > imaplib._MAXLINE:  # type: ignore[attr-defined]
            return
        kind, answer = client.fetch("1", "(RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[])")
        assert kind == "OK"
        assert any(data.replace(b"\0", b"\x80") == each[1] for each in answer if len(each) == 2)
        if parse_fetch_response is not None:
            parsed = parse_fetch_response(answer)
            assert set(parsed) == {1}
            assert parsed[1][b"RFC822.SIZE"] == len(data)

    def test_onDisk(self) -> None:
        """The SQL store says the same."""
        names = [name for name, data in MESSAGES.items() if 0 < len(data) < 100_000]
        for name in names[::11]:
            told = self.examine(MESSAGES[name])
            server = SteppedServer(self.mktemp())
            self.patch(self, "makeServer", lambda server=server: server)
            onDisk = self.examine(MESSAGES[name])
            self.assertEqual(now(server.store.check()), [], name)
            now(server.store.stop())
            self.patch(self, "makeServer", Server)
            self.assertEqual(told, onDisk, name)

    def test_enough(self) -> None:
        """There are at least 200 of them, all different."""
        self.assertTrue(len(set(MESSAGES.values())) >= 200)


def _slices() -> None:
    # One test for some of them each, so that a failure is found soon.
    names = [name for name, data in MESSAGES.items() if data]
    size = 50
    for at in range(0, len(names), size):

        def test(self: DamagedTests, some: list[str] = names[at : at + size]) -> None:
            self.check(some)

        test.__doc__ = f"Those from {names[at]!r} on can be listed and read, and agree."
        setattr(DamagedTests, f"test_from{at:04d}", test)


_slices()
