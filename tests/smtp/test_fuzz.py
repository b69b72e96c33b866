"""
Anything at all, in every state of a session: it never raises, never hangs, answers with well-formed
replies, leaves nothing behind, and delivers exactly what it acknowledged; however the octets were
cut into segments.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from itertools import pairwise
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.smtp.support import NETWORKS, PLAIN, TODAY, Server, SMTPTestCase
from tests.smtp.test_reply import WELL_FORMED
from twisted_mailstack.auth.urls import URLAuthority
from twisted_mailstack.delivery.policy import PolicyStep
from twisted_mailstack.errors import MailError, PlaintextInjected
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.smtp.extensions import futurerelease
from twisted_mailstack.smtp.lmtp import LMTP_COMMANDS
from twisted_mailstack.smtp.registry import COMMANDS, EXTENSIONS
from twisted_mailstack.smtp.session import SMTPSession
from twisted_mailstack.testing.conversation import Conversation

ACKNOWLEDGED = b"250 2.0.0 OK: Q\r\n"
REPLIES = re.compile(rb"(?:" + WELL_FORMED.pattern.replace(rb"\1", rb"[2-5][0-9][0-9]") + rb")*")

#: Streams of L{FuzzTests.test_manyStreams}; more of them for a longer look.
STREAMS = int(os.environ.get("MAILSTACK_FUZZ", "1500"))

#: What leads to each state, from the greeting on.
MAIL = b"EHLO c.test\r\nMAIL FROM:<a@far.test> SMTPUTF8\r\n"
RCPT = MAIL + b"RCPT TO:<alice@example.test>\r\n"
BINARY = b"EHLO c.test\r\nMAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<alice@example.test>\r\n"
STATES = {
    "fresh": b"",
    "helo": b"HELO c.test\r\n",
    "ehlo": b"EHLO c.test\r\n",
    "mail": MAIL,
    "rcpt": RCPT,
    "data": RCPT + b"DATA\r\n",
    "text": RCPT + b"DATA\r\nSubject: x\r\n\r\nline\r\n",
    "lineSoFar": RCPT + b"DATA\r\n.",
    "plain": b"EHLO c.test\r\nAUTH PLAIN\r\n",
    "login": b"EHLO c.test\r\nAUTH LOGIN\r\nYWxpY2U=\r\n",
    "authenticated": f"EHLO c.test\r\nAUTH PLAIN {PLAIN}\r\nMAIL FROM:<>\r\n".encode(),
    "lineTooLong": b"X" * 20_000,
    "chunk": RCPT + b"BDAT 4\r\nab\r\n",
    "withinChunk": RCPT + b"BDAT 60 LAST\r\nab",
    "binary": BINARY + b"BDAT 45\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\r\n",
    "forwarded": b"EHLO c.test\r\nXFORWARD NAME=a\r\nMAIL FROM:<>\r\n",
    "claimed": b"XCLIENT ADDR=203.0.113.5 HELO=c.test PROTO=ESMTP\r\n",
    "refusedChunk": RCPT + b"BDAT 1\r\n\n",
}

#: What URLs lead to: a text, and what may be in none.
TEXTS = {b"imap://x/a": [b"Subject: b\r", b"\n\r\n."], b"imap://x/b": [b"a\n", b"\0"]}
URLS = [
    *(b"BURL " + url + end for url in (*TEXTS, b"imap://x/c") for end in (b"", b" LAST")),
    *(b"BURL", b"BURL a LAST LAST"),
]

#: Commands and pieces of text, which mutate into others.
LINES = [
    *(b"EHLO client.test", b"HELO client.test", b"EHLO [IPv6:::1]", b"NOOP", b"NOOP x", b"RSET"),
    *(b"HELP", b"HELP MAIL", b"VRFY alice@example.test", b"VRFY <alice@example.test> SMTPUTF8"),
    *(b"EXPN x", b"MAIL FROM:<>", b"MAIL FROM:<a@far.test>", b"MAIL FROM:<a@far.test> SIZE=100"),
    *(b"MAIL FROM:<@x.test:a@[192.0.2.1]> BODY=8BITMIME", b'MAIL FROM:<"a b"@far.test> AUTH=<>'),
    *("MAIL FROM:<ä@far.test> SMTPUTF8".encode(), b"RCPT TO:<alice@example.test>"),
    *(b"RCPT TO:<bob@example.test>", b"RCPT TO:<Postmaster>", b"RCPT TO:<nobody@example.test>"),
    *(b"RCPT TO:<x@far.test>", b"RCPT TO:<alice+tag@example.test>", b"DATA", b"DATA", b"DATA"),
    *(b".", b".", b".", b"..", b".x", b"", b"Subject: x", b"Return-Path: <x>", b" folded"),
    *(b"a\rb", b"a\nb", b"\n.", b"\r.", b"\0", b"\xff\xfe", b"\xc3\xa4", b"x" * 600),
    *(b"AUTH", b"AUTH LOGIN", b"AUTH PLAIN", f"AUTH PLAIN {PLAIN}".encode(), PLAIN.encode()),
    *URLS,
    *(b"BDAT 0 LAST", b"BDAT 0", b"BDAT 3 LAST\r\n.", b"BDAT 6\r\nab\r", b"BDAT 40", b"BDAT 2 X"),
    *(b"BDAT", b"BDAT LAST", b"BDAT 99999999999999999999", b"BDAT 1\r\n\n", b"BDAT 8 LAST"),
    b"BDAT " + b"9" * 5000,
    *(b"MAIL FROM:<a@far.test> BODY=BINARYMIME", b"MAIL FROM:<> RET=HDRS ENVID=a+20b BY=60;R"),
    *(
        b"MAIL FROM:<> MT-PRIORITY=3 BY=-1;NT",
        b"MAIL FROM:<> HOLDFOR=1",
        b"MAIL FROM:<> HOLDUNTIL=2023-11-14T23:13:20Z",
        b"MAIL FROM:<> REQUIRETLS",
    ),
    *(b"RCPT TO:<bob@example.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+20b", b"ETRN @far.test"),
    *(
        b"XCLIENT ADDR=203.0.113.5 NAME=a.test LOGIN=bob@example.test",
        b"XCLIENT HELO=x PROTO=ESMTP",
    ),
    *(b"XFORWARD ADDR=203.0.113.5 PORT=1", b"XFORWARD NAME=[UNAVAILABLE]", b"ETRN example.test"),
    *(
        b"*",
        b"=",
        b"AUTH X",
        b"AUTH PLAIN !",
        b"QUIT x",
        b"STARTTLS x",
        b"XFOO",
        b"MAIL",
        b"RCPT",
        b"EHLO",
    ),
]
WHOLE = [b"MAIL FROM:<a@far.test>", b"RCPT TO:<alice@example.test>", b"DATA", b"text", b"."]
CHUNKED = [*WHOLE[:2], b"BDAT 4", b"te\r\nBDAT 4 LAST", b"xt"]
NAMED = [*WHOLE[:2], b"BURL imap://x/a", b"BDAT 4", b"te", b"BURL imap://x/a LAST"]

#: What the servers speak.
KINDS = ("smtp", "lmtp", "submission")


def spoken(stream: bytes, kind: str) -> bytes:
    """
    @return: a stream of SMTP as another kind of server wants it, so that it gets as far.
    """
    if kind == "lmtp":
        return stream.replace(b"EHLO", b"LHLO").replace(b"HELO", b"LHLO")
    if kind == "submission":
        return stream.replace(b"EHLO c.test\r\n", f"EHLO c.test\r\nAUTH PLAIN {PLAIN}\r\n".encode())
    return stream


def mutate(random: Random) -> bytes:
    """
    @return: a sequence of commands, some of them damaged.
    """
    lines: list[bytes] = []
    for _ in range(random.randint(1, 8)):
        lines += (
            random.choice((WHOLE, CHUNKED, NAMED))
            if random.random() < 0.4
            else random.choices(LINES, k=random.randint(0, 4))
        )
    stream = bytearray(b"".join(line + b"\r\n" for line in lines))
    for _ in range(random.randint(0, 3)):
        at = random.randint(0, len(stream))
        piece = random.choice((b"", b"\r\n", b".", b"\r", b"\n", b"\0", random.randbytes(3)))
        stream[at : at + random.randint(0, 6)] = piece
    return bytes(stream)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """The same, as a strategy: its examples shrink, but take ten times as long to make."""
    lines: list[bytes] = []
    for piece in draw(st.lists(st.one_of(st.just(None), st.sampled_from(LINES)), max_size=12)):
        lines += draw(st.sampled_from((WHOLE, CHUNKED, NAMED))) if piece is None else [piece]
    stream = bytearray(b"".join(line + b"\r\n" for line in lines))
    for at, octets in draw(
        st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=3)), max_size=3)
    ):
        stream[at : at + 3] = octets
    return bytes(stream)


cuts = st.lists(st.integers(0, 400), max_size=12)


def segments(stream: bytes, at: list[int]) -> list[bytes]:
    """
    @return: the stream, cut.
    """
    edges = [0, *sorted({cut for cut in at if 0 < cut < len(stream)}), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


class Pieces:
    """A text that a URL leads to."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def pieces(self) -> AsyncIterator[bytes]:
        """All of it."""
        for piece in self._pieces:
            yield piece


async def openURL(authority: object, url: bytes, *reader: object, **given: object) -> Pieces:
    """See URLAuthority."""
    if url not in TEXTS:
        raise MailError("no such")
    return Pieces(TEXTS[url])


class FuzzTests(SMTPTestCase):
    """
    See the module.
    """

    def setUp(self) -> None:
        """Every transaction is called the same."""
        super().setUp()
        self.patch(SMTPSession, "newQueueId", lambda session: "Q")
        self.patch(futurerelease, "time", lambda: TODAY)
        self.patch(URLAuthority, "open", openURL)

    def server(self, kind: str = "smtp") -> Server:
        """
        @param kind: one of L{KINDS}.
        @return: a server, with a limit of errors that doesn't end sessions early.
        """
        return Server(
            queue=True,
            commands=LMTP_COMMANDS if kind == "lmtp" else COMMANDS,
            lmtp=kind == "lmtp",
            submission=kind == "submission",
            urls="mx.example.test",
            maxErrors=1000,
            maxLoginFailures=1000,
            allowPlaintextAuth=True,
            verify=True,
            xclientNetworks=NETWORKS,
            xforwardNetworks=NETWORKS,
            etrnNetworks=NETWORKS,
            maxRecipientDomains=2,
        )

    def talk(self, server: Server, *parts: bytes) -> tuple[bytes, Conversation]:
        """
        @return: all that the server said, and the connection.
        """
        conversation = server.connect()
        said = conversation.wire.take()
        for part in parts:
            said += conversation.send(part)
            # Failed logins are answered late.
            while not conversation.finished and server.clock.getDelayedCalls():
                due = min(call.getTime() for call in server.clock.getDelayedCalls())
                if due - server.clock.seconds() > 20:
                    break
                server.clock.advance(due - server.clock.seconds())
                said += conversation.wire.take()
        return said, conversation

    def hold(self, server: Server, said: bytes, conversation: Conversation) -> list[list[bytes]]:
        """
        See that all is as it should be.

        @return: what alice and bob got, and what waits in the spool.
        """
        conversation.disconnect()
        self.assertTrue(conversation.finished, "it hangs")
        if conversation.failure is not None:
            self.assertTrue(conversation.failure.check(PlaintextInjected), conversation.failure)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertIsNotNone(REPLIES.fullmatch(said), said)
        self.assertTrue(all(len(line) <= 512 for line in said.splitlines(True)))
        self.assertEqual(server.store.staged, set())
        boxes = [server.inbox("alice"), server.inbox("bob")]
        spooled = [text for message, text in server.queued() if message.origin != "notification"]
        messages = sum(map(len, boxes)) + len(spooled)
        acknowledged = said.count(ACKNOWLEDGED)
        if b"220 mx.example.test LMTP" in said:
            # A reply for each recipient, of which several may be the same account. What their
            # sender is to be told is in the spool.
            self.assertTrue(bool(acknowledged) <= messages <= 2 * acknowledged, (said, boxes))
        else:
            # Each message is for one or two accounts, and perhaps for others.
            self.assertTrue(acknowledged <= messages <= 3 * acknowledged, (said, boxes))
        for stored in (*boxes[0], *boxes[1]):
            self.assertTrue(stored.startswith(b"Return-Path: <"))
        for stored in (*boxes[0], *boxes[1], *spooled):
            self.assertEqual(stored.count(b"\n"), stored.count(b"\r\n"))
            self.assertEqual(stored.count(b"\r"), stored.count(b"\r\n"))
            self.assertNotIn(b"\0", stored)
        return [*boxes, spooled]

    def test_everything(self) -> None:
        """No command and no parameter of any extension is left out of all this."""
        known = b"\r\n".join([*LINES, *STATES.values(), *WHOLE]) + b"\r\n"
        verbs = {command.name for command in COMMANDS}
        keywords: set[str] = set()
        for extension in EXTENSIONS:
            verbs.update(command.name for command in extension.commands)
            keywords.update(extension.mailParameters, extension.rcptParameters)
        for verb in verbs:
            found = re.search(rb"(?:\A|\n)" + verb + rb"[ \r]", known)
            self.assertIsNotNone(found, verb)
        for keyword in keywords:
            found = re.search(rb" " + keyword.encode() + rb"[= \r]", known)
            self.assertIsNotNone(found, keyword)

    @given(st.sampled_from(KINDS), st.sampled_from(sorted(STATES)), st.binary(max_size=200), cuts)
    @settings(max_examples=800, deadline=None)
    @example("smtp", "fresh", b"STARTTLS\r\nNOOP\r\n", [])
    @example("smtp", "rcpt", b"STARTTLS\r\n\x16\x03\x01\r\n", [10])
    @example("smtp", "data", b"\r\n.\r\n", [1, 2, 3])
    @example("lmtp", "text", b".\r\n.\r\n", [])
    @example("submission", "plain", b"\r\n", [])
    @example("smtp", "login", b"*\r\n", [])
    def test_anyOctets(self, kind: str, state: str, octets: bytes, at: list[int]) -> None:
        """Arbitrary octets in each state."""
        server = self.server(kind)
        parts = segments(octets + b"\r\n.\r\n", at)
        said, conversation = self.talk(server, spoken(STATES[state], kind), *parts)
        self.hold(server, said, conversation)

    def same(self, stream: bytes, at: list[int], kind: str = "smtp") -> None:
        """
        See that a stream gives the same replies and the same mail in one piece and cut.
        """
        whole, cut = self.server(kind), self.server(kind)
        first = self.talk(whole, stream)
        second = self.talk(cut, *segments(stream, at))
        self.assertEqual(
            (first[0], self.hold(whole, *first)),
            (second[0], self.hold(cut, *second)),
            (stream, at, kind),
        )

    @given(st.sampled_from(KINDS), st.sampled_from(sorted(STATES)), mutated(), cuts)
    @settings(max_examples=300, deadline=None)
    def test_mutatedCommands(self, kind: str, state: str, stream: bytes, at: list[int]) -> None:
        """
        Commands, damaged or out of order, in each state: cut anywhere they give the same replies
        and the same mail as in one piece.
        """
        self.same(spoken(STATES[state] + stream, kind), at, kind)

    def test_manyStreams(self) -> None:
        """The same for very many, which are the same at each run."""
        states = sorted(STATES)
        for seed in range(STREAMS):
            random = Random(seed)
            kind = random.choice(KINDS)
            stream = spoken(STATES[random.choice(states)] + mutate(random), kind)
            at = [random.randint(0, len(stream)) for _ in range(random.randint(0, 12))]
            self.same(stream, at, kind)

    @given(st.sampled_from(KINDS), mutated())
    @settings(max_examples=60, deadline=None)
    def test_bytewise(self, kind: str, stream: bytes) -> None:
        """The same an octet at a time."""
        stream = spoken(STATES["ehlo"] + stream, kind)
        self.same(stream, list(range(len(stream))), kind)

    @given(st.sampled_from(KINDS), mutated(), st.integers(0, 300))
    @settings(max_examples=200, deadline=None)
    def test_vanishing(self, kind: str, stream: bytes, last: int) -> None:
        """The client goes away at any octet of it."""
        server = self.server(kind)
        stream = spoken(STATES["ehlo"] + stream[:last], kind)
        said, conversation = self.talk(server, stream)
        self.hold(server, said, conversation)

    @given(mutated())
    @settings(max_examples=50, deadline=None)
    def test_turnedAway(self, stream: bytes) -> None:
        """Whoever was refused at the greeting gets nothing but 503 and 221 (RFC 5321 §3.1)."""

        class Refusing(PolicyStep):
            def connection(self, info: ConnectionInfo) -> None:
                raise MailError("No")

        server = Server(policies=[Refusing()], maxErrors=1000)
        said, conversation = self.talk(server, stream)
        self.assertEqual(self.hold(server, said, conversation), [[], [], []])
        codes = {line[:3] for line in said.split(b"\r\n")[:-1]}
        self.assertLessEqual(codes, {b"554", b"503", b"500", b"501", b"221"})

    @given(st.sampled_from(sorted(STATES)), mutated(), cuts)
    @settings(max_examples=200, deadline=None)
    def test_limits(self, state: str, stream: bytes, at: list[int]) -> None:
        """The same with limits that end sessions: there is a 421 and then nothing."""
        server = Server(maxErrors=2, maxTransactions=1, maxLoginFailures=1, allowPlaintextAuth=True)
        said, conversation = self.talk(server, STATES[state], *segments(stream, at))
        finished = conversation.finished
        self.hold(server, said, conversation)
        if b"\r\n421 " in said:
            self.assertTrue(finished)
            self.assertEqual(said.rpartition(b"\r\n421 ")[2].count(b"\r\n"), 1)
