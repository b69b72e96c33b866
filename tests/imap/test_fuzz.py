"""
Whatever a client sends, in any state and in any chunks, a session answers in IMAP's grammar or says
goodbye; it never fails, and how the octets were cut makes no difference.

C{MAILSTACK_FUZZ=100000} sends so many commands, made of all that the registry knows
(C{tests.imap.generated}), in each state.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import Any, cast

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.imap import generated
from tests.imap.stepped import SteppedServer
from tests.imap.support import MESSAGE, Server, now
from twisted_mailstack.auth.urls import URLAuthority
from twisted_mailstack.imap.commands import append
from twisted_mailstack.imap.extensions.context import MAX_UPDATES
from twisted_mailstack.imap.registry import makeRegistry
from twisted_mailstack.testing.conversation import Conversation

#: Commands of the long form.
LONG = int(os.environ.get("MAILSTACK_FUZZ", "0"))

MULTIPART = (
    b"From: a@b\r\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n"
    b"Content-Type: multipart/mixed; boundary=x\r\n"
    b"\r\n--x\r\n\r\none\r\n--x\r\nContent-Type: message/rfc822\r\n\r\n"
    + MESSAGE
    + b"\r\n--x--\r\n"
)

#: Valid commands of every kind.
COMMANDS = (
    b"CAPABILITY", b"NOOP", b"LOGIN alice@example.test secret", b'LOGIN "a" {1+}\r\nb',
    b"LOGIN {1}\r\na {1}\r\nb", b"AUTHENTICATE PLAIN AGEAYg==", b"AUTHENTICATE PLAIN\r\n*",
    b"AUTHENTICATE LOGIN\r\neA==\r\neQ==", b"STARTTLS", b'ID ("name" "x" "y" NIL)', b"ID NIL",
    b"ENABLE CONDSTORE", b"NAMESPACE", b"IDLE\r\nDONE", b"SELECT INBOX", b"EXAMINE INBOX",
    b"SELECT missing", b"CREATE foo/bar/", b"CREATE &ZeVnLIqe-", b"DELETE foo",
    b"RENAME foo baz/rag",
    b"RENAME INBOX old", b"SUBSCRIBE foo", b"UNSUBSCRIBE foo", b'LIST "" *', b'LIST "" ""',
    b'LIST (SPECIAL-USE) "foo/" "%" RETURN (SPECIAL-USE)', b'LSUB "" %',
    b"STATUS INBOX (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN)", b"APPEND INBOX {5+}\r\nhello",
    b'APPEND {5+}\r\nINBOX (\\Seen kw) "17-Jul-1996 02:44:25 -0700" {7}\r\na: b\r\n\r',
    b"CHECK", b"CLOSE", b"UNSELECT", b"EXPUNGE", b"UID EXPUNGE 1:*", b"SEARCH ALL",
    b"SEARCH CHARSET UTF-8 OR NOT TEXT {2+}\r\n\xc3\xbc (SEEN LARGER 5) SINCE 1-Feb-1994",
    b"UID SEARCH UID 1:2 HEADER Subject meeting SENTON 7-Feb-1994 KEYWORD kw", b"FETCH 1:* ALL",
    b"FETCH 1,2:* (UID FLAGS BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (Subject To)]<0.20>)",
    b"UID FETCH 1:* (BODY[] BODY[2.1] BODY[2.MIME] RFC822.TEXT ENVELOPE)", b"FETCH 1 FULL",
    b"STORE 1:* +FLAGS (\\Deleted)", b"UID STORE 2 -FLAGS.SILENT \\Seen kw2", b"STORE 1 FLAGS ()",
    b"APPEND Sent (\\Seen) {1+}\r\na {2}\r\nbc () CATENATE (URL /INBOX/;UID=1 TEXT {1+}\r\nd)",
    b'APPEND Sent CATENATE (URL "/INBOX;UIDVALIDITY=1/;UID=2/;SECTION=1.MIME/;PARTIAL=0.5")',
    b"APPEND Sent ~{40+}\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\0", b"ENABLE UTF8=ACCEPT",
    b"APPEND Sent UTF8 (~{5+}\r\nS: \xc3\xa9)", b"REPLACE 1 Sent (\\Draft) {1+}\r\nx",
    b"UID REPLACE 2 INBOX CATENATE (URL ;UID=2/;SECTION=TEXT TEXT {1}\r\nx)",
    b"FETCH 1:* (BINARY.PEEK[1]<0.9> BINARY.SIZE[2] BINARY[2.1] PREVIEW (LAZY) SAVEDATE EMAILID)",
    b"SEARCH SAVEDSINCE 1-Feb-1994 NOT SAVEDON 1-Jan-1970 OR EMAILID x SAVEDATESUPPORTED",
    b"STATUS INBOX (APPENDLIMIT MAILBOXID)", b"URLFETCH imap://a@b/INBOX/;UID=1", b"RESETKEY INBOX",
    b"GENURLAUTH imap://a@b/INBOX/;UID=1;URLAUTH=anonymous INTERNAL",
    b"COPY 1:* Sent", b"UID COPY 2 INBOX", b"MOVE 1 Trash", b"UID MOVE 1:* Sent",
    b'LIST (SUBSCRIBED REMOTE RECURSIVEMATCH) "" ("*" Sent/% {3+}\r\nfoo) RETURN (CHILDREN)',
    b"LIST () foo (% bar) RETURN (SUBSCRIBED STATUS (SIZE MAILBOXID DELETED) SPECIAL-USE)",
    b'LIST "" % RETURN (METADATA (/private/comment /shared/x) MYRIGHTS)', b'XLIST "" "*"',
    b"CREATE bin (USE (\\Trash \\Important))", b"LANGUAGE", b'LANGUAGE fr "en-gb" i-default',
    b'SETMETADATA INBOX (/private/comment "x" /shared/y ~{2+}\r\n\0z /private/z NIL)',
    b"GETMETADATA (DEPTH infinity MAXSIZE 10) INBOX (/private /shared/y)", b"UNAUTHENTICATE",
    b'GETMETADATA "" /shared/comment', b'SETMETADATA foo (/private/specialuse "\\\\Junk")',
    b"ENABLE METADATA", b"ENABLE UIDONLY", b"EXAMINE INBOX (CONDSTORE)",
    b"ENABLE QRESYNC\r\na SELECT INBOX (QRESYNC (1 9 1:9 (1:2 1:2)))",
    b"STATUS INBOX (HIGHESTMODSEQ)",
    b"FETCH 1:* (FLAGS MODSEQ) (CHANGEDSINCE 1)", b'SEARCH MODSEQ "/flags/\\\\draft" all 1',
    b"ENABLE QRESYNC\r\na SELECT INBOX\r\na UID FETCH 1:* FLAGS (CHANGEDSINCE 8 VANISHED)",
    b"UID STORE 1:* +FLAGS.SILENT (kw3)",
    b"STORE 1:* (UNCHANGEDSINCE 8) +FLAGS.SILENT (\\Seen)",
)  # fmt: skip

#: Pieces of which commands and other things are made.
TOKENS = (
    b" ", b" ", b" ", b"\r\n", b"\r\n", b"\n", b"\r", b"(", b")", b'"', b"\\", b'"a b"', b"*", b"%",
    b"{1}\r\n", b"{3+}\r\n", b"{3+}\r\nabc", b"{0}\r\n", b"{-5}", b"{99999999999}\r\n",
    b"{5000}\r\n",
    b"{70000000+}\r\n", b"{20+}\r\n", b"{$0}", b"\0", b"\xff", b"\xc3\xa4", b"NIL", b"1", b"1:*",
    b"0",
    b"4294967295", b"4294967296", b"2,1", b"INBOX", b"Sent", b"&", b"&-", b"/", b"]", b"[",
    b"<0.5>",
    b"BODY[", b"\\Seen", b"\\Recent", b"kw", b"+", b"a", b"UID", b"FETCH", b"SEARCH", b"APPEND",
    b"DONE",
    b"=", b"~{3+}\r\nabc",
)  # fmt: skip

_RESPONSE = re.compile(
    rb"\+ [\x01-\x7f]*"
    rb"|\* (?:OK|NO|BAD|BYE|CAPABILITY|ENABLED|ID|NAMESPACE|LIST|LSUB|STATUS|SEARCH|FLAGS"
    rb"|XLIST|LANGUAGE|METADATA|VANISHED|ACL|LISTRIGHTS|MYRIGHTS|QUOTA|QUOTAROOT)"
    rb"(?: [\x01-\x7f]*)?"
    rb"|\* \d+ (?:EXISTS|RECENT|EXPUNGE|(?:UID)?FETCH \([\x01-\x7f]*\))"
    rb'|[^\x00-\x20\x7f-\xff(){%*"\\+]+ (?:OK|NO|BAD) [\x01-\x7f]+',
    re.DOTALL,
)
_LITERAL = re.compile(rb"\{(\d+)\}\r\n")


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """
    A valid command with some octets taken out, put in or doubled.
    """
    command = draw(st.sampled_from(COMMANDS))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(command)))
        to = draw(st.integers(at, min(len(command), at + 8)))
        piece = draw(st.sampled_from(TOKENS) | st.binary(max_size=3) | st.just(command[at:to] * 2))
        command = command[:at] + piece + command[to:]
    return command


LINES = st.one_of(
    mutated(),
    mutated(),
    st.lists(st.sampled_from(TOKENS + COMMANDS), max_size=8).map(b"".join),
    st.binary(max_size=20),
)
STREAMS = st.lists(
    st.builds(
        lambda tag, line, end: tag + line + end,
        st.sampled_from((b"a ", b"b ", b"a ", b"", b"+ ")),
        LINES,
        st.sampled_from((b"\r\n", b"\r\n", b"\r\n", b"\n", b"")),
    ),
    min_size=1,
    max_size=8,
).map(b"".join)


def responses(said: bytes) -> list[bytes]:
    """
    @return: the responses, literals replaced by C{~}.
    @raise AssertionError: if it doesn't end with a response.
    """
    found = []
    response = b""
    while said:
        line, end, said = said.partition(b"\r\n")
        if not end:
            raise AssertionError(line)
        match = _LITERAL.search(line + end)
        if match is not None and match.end() == len(line) + 2:
            size = int(match.group(1))
            # Only a literal8 has NULs.
            binary = line[: match.start()].endswith(b"~")
            if len(said) < size or (b"\0" in said[:size] and not binary):
                raise AssertionError(said)
            response += line[: match.start()] + b"~"
            said = said[size:]
        else:
            found.append(response + line)
            response = b""
    return found


class FuzzTests(SynchronousTestCase):
    """
    In each state.
    """

    def connect(self, state: str) -> Conversation:
        """
        @return: a connection in that state, to a server of its own.
        """
        server = Server()
        if state == "messages":
            for data in (MESSAGE, MULTIPART, b"", b"x"):
                server.deliver(data, flags=["kw"])
        if state == "not authenticated":
            return server.connect()
        return server.login() if state == "authenticated" else server.select()

    def talk(self, state: str, chunks: Sequence[bytes]) -> bytes:
        """
        @return: all that the server said.
        """
        client = self.connect(state)
        said = client.wire.take()
        for chunk in chunks:
            if client.finished:
                break
            said += client.send(chunk)
        for _ in range(4):
            # Failed logins are answered after a while.
            client.clock.advance(4)
            client.settle()
        said += client.wire.take()
        client.disconnect()
        self.assertTrue(client.finished)
        if client.failure is not None:
            client.failure.raiseException()
        for failure in self.flushLoggedErrors():
            failure.raiseException()
        return said

    def hold(self, state: str, stream: bytes, cuts: Sequence[int]) -> None:
        """
        What has to be true.
        """
        self.patch(append, "time", lambda: 1_000_000_000)
        said = self.talk(state, [stream])
        for response in responses(said):
            self.assertTrue(_RESPONSE.fullmatch(response), response)
        self.assertEqual(self.talk(state, [stream[at : at + 1] for at in range(len(stream))]), said)
        edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        chunks = [stream[a:b] for a, b in pairwise(edges)]
        self.assertEqual(self.talk(state, chunks), said)

    @settings(max_examples=60)
    @given(STREAMS, st.lists(st.integers(0, 300), max_size=5))
    def test_notAuthenticated(self, stream: bytes, cuts: list[int]) -> None:
        """Before login."""
        self.hold("not authenticated", stream, cuts)

    @settings(max_examples=60)
    @given(STREAMS, st.lists(st.integers(0, 300), max_size=5))
    def test_authenticated(self, stream: bytes, cuts: list[int]) -> None:
        """After login."""
        self.hold("authenticated", stream, cuts)

    @settings(max_examples=40)
    @given(STREAMS, st.lists(st.integers(0, 300), max_size=5))
    def test_selected(self, stream: bytes, cuts: list[int]) -> None:
        """With an empty mailbox."""
        self.hold("selected", stream, cuts)

    @settings(max_examples=100)
    @given(STREAMS, st.lists(st.integers(0, 300), max_size=5))
    @example(b"a FETCH 1:* (BODY[] ENVELOPE BODYSTRUCTURE)\r\n", [])
    def test_messages(self, stream: bytes, cuts: list[int]) -> None:
        """With messages in it."""
        self.hold("messages", stream, cuts)

    def test_everyCommand(self) -> None:
        """Each of the commands that are mutated is valid in a state, as it is."""
        for command in COMMANDS:
            said = [
                self.talk(state, [b"a " + command + b"\r\n"])
                for state in ("not authenticated", "messages", "authenticated")
            ]
            if command not in (b"STARTTLS", b"AUTHENTICATE PLAIN\r\n*"):
                self.assertTrue(any(b"a BAD" not in each for each in said), (command, said))


class Peer:
    """
    A client in some state.

    @ivar said: all that the server said, inflated.
    """

    def __init__(self, server: Server, state: str) -> None:
        self.client = server.connect()
        self.session = server.sessions[-1]
        self.session.urls = URLAuthority(cast(Any, server.store), "imap.example.test", lambda: 0)
        self.said = b""
        self._deflater: Any = None
        self._inflater: Any = None
        for line in BEGINNINGS[state]:
            self.send(line)
        self.said = b""

    def send(self, data: bytes) -> None:
        """Send these octets, and hear what comes."""
        if self._deflater is not None:
            data = self._deflater.compress(data) + self._deflater.flush(zlib.Z_SYNC_FLUSH)
        self.client.stream.received(data)
        self.hear()

    def hear(self) -> None:
        """Hear what comes."""
        self.client.settle()
        data = self.client.wire.take()
        if self._inflater is not None:
            # UNAUTHENTICATE ends compression.
            inflated = self._inflater.decompress(data)
            data = inflated + self._inflater.unused_data
            if self._inflater.eof:
                self._deflater = self._inflater = None
        if self.client.stream.compressed and self._inflater is None:
            # Behind the answer to COMPRESS.
            plain, end, data = data.partition(b" OK DEFLATE active\r\n")
            assert end, plain
            self.said += plain + end
            self._deflater = zlib.compressobj(wbits=-15)
            self._inflater = zlib.decompressobj(wbits=-15)
            data = self._inflater.decompress(data)
        self.said += data

    def take(self) -> bytes:
        """What was heard since the last time."""
        said, self.said = self.said, b""
        return said


LOGIN = b"i LOGIN alice@example.test secret\r\n"
SELECT = b"i SELECT INBOX\r\n"
BEGINNINGS: dict[str, tuple[bytes, ...]] = {
    "not authenticated": (),
    "authenticating": (b"i AUTHENTICATE PLAIN\r\n",),
    "authenticated": (LOGIN,),
    "selected": (LOGIN, SELECT),
    "idle": (LOGIN, SELECT, b"i IDLE\r\n"),
    "notified": (
        *(LOGIN, SELECT, b"i NOTIFY SET STATUS (SELECTED (MessageNew (UID BODY.PEEK[])"),
        *(b" MessageExpunge FlagChange)) (PERSONAL (MessageNew MessageExpunge MailboxName))\r\n",),
    ),
    "uidonly": (LOGIN, b"i ENABLE UIDONLY\r\n", SELECT),
    "qresync": (LOGIN, b"i ENABLE QRESYNC\r\n", SELECT),
    "rev2": (LOGIN, b"i ENABLE IMAP4rev2 UTF8=ACCEPT METADATA QRESYNC\r\n", SELECT),
    "compressed": (LOGIN, SELECT, b"i COMPRESS DEFLATE\r\n"),
    "examined": (LOGIN, b"i EXAMINE INBOX\r\n"),
}

#: Commands that a server with TLS refuses to whoever isn't its administrator, or that need a search
#: that is kept up to date.
REFUSED = frozenset((b"STARTTLS", b"SETQUOTA", b"CANCELUPDATE"))

_ANY = re.compile(
    rb"\+ [\x01-\x7f]*"
    rb"|\* [A-Z0-9][\x01-\xff]*"
    rb'|[^\x00-\x20\x7f-\xff(){%*"\\+]+ (?:OK|NO|BAD) [\x01-\xff]+',
    re.DOTALL,
)


class EveryCommandTests(SynchronousTestCase):
    """
    Commands made of all that the registry knows.
    """

    def setUp(self) -> None:
        """The clock stands still."""
        self.patch(append, "time", lambda: 1_000_000_000)

    def furnish(self, server: Server) -> Server:
        """
        @return: the server, with something to look at.
        """
        server.addAccount("bob")
        for name in ("foo/bar", "台北"):
            now(server.account.createMailbox(name))
        for data in (MESSAGE, MULTIPART, b"", b"x"):
            server.deliver(data, flags=["kw"])
        server.deliver(MESSAGE, "foo", ["\\Deleted"])
        client = server.login()
        for name, value in (("f", "SEEN"), ("loop", "OR FILTER loop FILTER loop")):
            entry = f'a SETMETADATA "" (/private/filters/values/{name} "{value}")\r\n'
            assert b"a OK" in client.send(entry.encode())
        client.disconnect()
        return server

    def refill(self, server: Server) -> None:
        """
        There is something in INBOX again.
        """
        inbox = now(server.account.openMailbox("INBOX"))
        if now(inbox.status()).messages < 4:
            for data in (MESSAGE, MULTIPART, b"", b"x"):
                server.deliver(data, flags=["kw"])

    def check(self, peer: Peer, what: object) -> list[bytes]:
        """
        Hold what the server said to the grammar, and the server to its word.

        @return: the responses.
        """
        client = peer.client
        for failure in self.flushLoggedErrors():
            raise AssertionError(f"{what!r}: {failure.getTraceback()}")
        if client.failure is not None:
            raise AssertionError(f"{what!r}: {client.failure.getTraceback()}")
        # It waits for the client, or is gone.
        if not client.finished and client.stream._waiter is None:
            raise AssertionError(f"{what!r}: it hangs")
        if client.stream.buffered > 2 * 64 * 1024:
            raise AssertionError(f"{what!r}: {client.stream.buffered} octets wait")
        # What a session gathers, however long it goes on.
        selected = peer.session.selected
        updates = () if selected is None else selected.updates
        if len(peer.session.listeners) > 3 or len(updates) > MAX_UPDATES:
            raise AssertionError(f"{what!r}: {peer.session.listeners!r} {updates!r}")
        found = responses(peer.take())
        for response in found:
            if not _ANY.fullmatch(response):
                raise AssertionError(f"{what!r}: {response!r}")
        return found

    def fuzz(self, server: Server, state: str, seed: int) -> int:
        """
        Some commands, mutated, in pieces.

        @return: how many.
        """
        random = Random(seed)
        self.refill(server)
        peer = Peer(server, state)
        sent: list[bytes] = []
        for _ in range(10):
            if peer.client.finished:
                break
            tag = random.choices((b"a ", b"", b"+ "), (30, 1, 1))[0]
            end = random.choices((b"\r\n", b"\n", b""), (30, 1, 1))[0]
            line = tag + generated.mutated(random) + end
            sent.append(line)
            while line and not peer.client.finished:
                size = random.choice((1, 5, 1 << 20, 1 << 20, 1 << 20))
                peer.send(line[:size])
                line = line[size:]
            for _ in range(4):
                # Failed logins are answered after a while.
                peer.client.clock.advance(4)
                peer.hear()
            self.check(peer, (state, seed, sent))
        peer.client.disconnect()
        peer.client.settle()
        if not peer.client.finished:
            raise AssertionError(f"{state} {seed}: it goes on without a client")
        self.check(peer, (state, seed, sent))
        return len(sent)

    def answers(
        self, server: Server, state: str, seed: int, name: bytes | None = None
    ) -> set[bytes]:
        """
        Valid commands, one by one: each gets one tagged response.

        @param name: only these.
        @return: the names of those that were answered with OK.
        """
        random = Random(seed)
        self.refill(server)
        peer = Peer(server, state)
        done: set[bytes] = set()
        if state in ("idle", "authenticating"):
            peer.send(b"DONE\r\n" if state == "idle" else b"*\r\n")
            peer.take()
        for number in range(10):
            if peer.client.finished:
                break
            text = generated.command(random, name)
            tag = b"t%d" % number
            peer.send(tag + b" " + text + b"\r\n")
            if text == b"IDLE":
                peer.send(b"DONE\r\n")
            for _ in range(4):
                peer.client.clock.advance(4)
                peer.hear()
            what = state, seed, text
            found = self.check(peer, what)
            mine = [each for each in found if each.startswith(tag + b" ")]
            if len(mine) != 1 and not peer.client.finished:
                raise AssertionError(f"{what!r}: {found!r}")
            if any(each.startswith(tag + b" OK") for each in mine):
                words = text.split(None, 2)
                done.add(b" ".join(words[: 1 + (words[0] == b"UID")]))
        peer.client.disconnect()
        return done

    def test_generators(self) -> None:
        """There is a generator for each thing that the registry has."""
        registry = makeRegistry()
        for name, table in generated.TABLES.items():
            known = getattr(registry, name)
            self.assertEqual(
                set(known) - set(table), set(), f"add a generator to tests.imap.generated ({name})"
            )
        tables = {name for name, value in vars(registry).items() if isinstance(value, dict)}
        # By what it is that they are asked: names of others.
        tables -= {"commands", "statusEnables", "whenEnabled"}
        self.assertEqual(tables, set(generated.TABLES))

    def test_valid(self) -> None:
        """
        What is generated is answered command by command, in each state, and every command succeeds
        somewhere.
        """
        server = self.furnish(Server())
        done: set[bytes] = set()
        for seed in range(330):
            states = sorted(BEGINNINGS)
            done |= self.answers(server, states[seed % len(states)], seed)
            if seed % 30 == 0:
                server = self.furnish(Server())
        for name in sorted(set(generated.COMMANDS) - done - REFUSED):
            for seed in range(40):
                state = ("not authenticated", "examined", "selected")[seed % 3]
                if name in self.answers(server, state, seed, name):
                    break
            else:
                self.fail(f"{name!r} never succeeds")

    def test_mutated(self) -> None:
        """Mutated ones, in each state."""
        states = sorted(BEGINNINGS)
        server = self.furnish(Server())
        for seed in range(220):
            if seed % 22 == 0:
                server = self.furnish(Server())
            self.fuzz(server, states[seed % len(states)], seed)

    def test_mutatedOverSQL(self) -> None:
        """Over the SQL store."""
        states = sorted(BEGINNINGS)
        server = self.furnish(SteppedServer(self.mktemp()))
        for seed in range(1000, 1044):
            self.fuzz(server, states[seed % len(states)], seed)
        now(server.store.stop())

    def test_long(self) -> None:
        """As many as C{MAILSTACK_FUZZ} says."""
        states = sorted(BEGINNINGS)
        count = 0
        seed = 10_000
        server = self.furnish(Server())
        while count < LONG:
            seed += 1
            if seed % 50 == 0:
                server = self.furnish(Server())
            count += self.fuzz(server, states[seed % len(states)], seed)
            if seed % 3 == 0:
                self.answers(server, states[seed % len(states)], seed)

    if not LONG:
        test_long.skip = "MAILSTACK_FUZZ=100000 sends so many"  # type: ignore[attr-defined]
