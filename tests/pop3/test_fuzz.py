"""
Whatever a client sends, in any state and in any chunks, a session answers with responses or says
nothing more; it never fails, deletes nothing but by QUIT, and how the octets were cut makes no
difference.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.pop3.support import FIRST, SECOND, Server
from tests.pop3.test_apop import Secrets
from twisted_mailstack.errors import PlaintextInjected
from twisted_mailstack.model.records import MaildropSettings
from twisted_mailstack.pop3 import session
from twisted_mailstack.pop3.extension import State
from twisted_mailstack.pop3.registry import COMMANDS as GROUPS
from twisted_mailstack.pop3.registry import EXTENSIONS
from twisted_mailstack.pop3.session import Registry
from twisted_mailstack.storage import memorymaildrop
from twisted_mailstack.testing.conversation import Conversation

THIRD = "Subject: Grüße\r\nX: y\r\n\r\n.\r\n..\r\nä".encode()

#: Valid commands, in one state or the other.
COMMANDS = (
    *(b"USER alice", b"PASS secret", b"PASS  ", b"CAPA", b"QUIT", b"STLS", b"UTF8", b"LANG"),
    *(b"LANG *", b"LANG en", b"APOP alice 0123456789abcdef0123456789abcdef", b"AUTH"),
    *(b"AUTH PLAIN AGFsaWNlAHNlY3JldA==", b"AUTH PLAIN\r\nAGFsaWNlAHNlY3JldA=="),
    *(b"AUTH LOGIN\r\nYWxpY2U=\r\nc2VjcmV0", b"AUTH PLAIN\r\n*", b"AUTH PLAIN ="),
    *(b"STAT", b"LIST", b"LIST 1", b"UIDL", b"UIDL 2", b"RETR 1", b"RETR 3", b"TOP 1 0"),
    *(b"TOP 3 1", b"TOP 2 99999999999999999999", b"DELE 1", b"DELE 2", b"NOOP", b"RSET"),
)

#: Pieces of which commands and other things are made.
TOKENS = (
    *(b" ", b" ", b"\r\n", b"\n", b"\r", b"\0", b"\xff", b"\xc3\xbc", b"0", b"1", b"-1", b"2"),
    *(
        b"99",
        b"+",
        b"+OK",
        b"-ERR [IN-USE]",
        b".",
        b"..",
        b"*",
        b"=",
        b"[",
        b"]",
        b"\t",
        b"x" * 300,
    ),
    *(b"USER", b"PASS ", b"RETR ", b"TOP 1 ", b"\xd9\xa1"),
)

#: What leads to each state, from the greeting on.
STATES = {
    "fresh": b"",
    "named": b"USER alice\r\n",
    "utf8": b"UTF8\r\n",
    "exchange": b"AUTH PLAIN\r\n",
    "secondStep": b"AUTH LOGIN\r\nYWxpY2U=\r\n",
    "lineSoFar": b"NOO",
    "lineTooLong": b"X" * 400,
    "loggedIn": b"USER alice\r\nPASS secret\r\n",
    "marked": b"USER alice\r\nPASS secret\r\nDELE 1\r\nDELE 3\r\n",
    "utf8LoggedIn": b"UTF8\r\nUSER alice\r\nPASS secret\r\n",
    "others": b"USER bob\r\nPASS secret\r\n",
}

#: That which is reached by a change of the connection.
STLS = "stls"

#   response = status indicator, perhaps a code, text (RFC 1939 §3, RFC 2449 §3); or a challenge
_RESPONSE = re.compile(
    rb"\+OK(?: [^\r\n\0]*)?|-ERR(?: \[[A-Z/-]+\])? [^\r\n\0]+|\+ [A-Za-z0-9+/=]*"
)
#: Behind what a multi-line response goes on; LIST's begins as what a login says.
_BEGINS = re.compile(rb"\+OK (?:.* follows?|\d+ octets|\d+ messages, \d+ octets)")


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """
    A valid command with some octets taken out, put in or doubled.
    """
    command = draw(st.sampled_from(COMMANDS))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(command)))
        to = draw(st.integers(at, min(len(command), at + 8)))
        piece = draw(st.sampled_from(TOKENS) | st.binary(max_size=3) | st.just(command[at:to] * 2))
        command = command[:at] + piece + command[to:]
    return command


STREAMS = st.lists(
    st.builds(
        lambda line, end: line + end,
        st.one_of(
            st.sampled_from(COMMANDS),
            mutated(),
            st.lists(st.sampled_from(TOKENS + COMMANDS), max_size=6).map(b"".join),
            st.binary(max_size=20),
        ),
        st.sampled_from((b"\r\n", b"\r\n", b"\r\n", b"\n", b"")),
    ),
    min_size=1,
    max_size=8,
).map(b"".join)
CUTS = st.lists(st.integers(0, 300), max_size=5)


class FuzzTests(SynchronousTestCase):
    """
    In each state.
    """

    def connect(self, secure: bool) -> Conversation:
        """
        @return: a connection to a server of its own.
        """
        server = self.server = Server()
        server.options |= {"secrets": Secrets(), "now": lambda: 0.0}
        server.options["survey"] = server.store.directory
        server.put(FIRST, SECOND, THIRD)
        server.put(FIRST, name="bob", mailbox="Junk")
        bob: Any = server.inbox("bob").account
        bob._maildrop.settings = MaildropSettings(True, ("Junk",), True, 0, 0)
        return server.connect(secure)

    def setUp(self) -> None:
        """The same timestamp and unique-ids each time, so that what is said is the same."""
        self.patch(session, "randbits", lambda bits: bits)
        self.patch(memorymaildrop, "token_hex", lambda octets: "00" * octets)

    def talk(self, secure: bool, chunks: Sequence[bytes]) -> bytes:
        """
        @return: all that the server said.
        """
        client = self.connect(secure)
        said = client.wire.take()
        for chunk in chunks:
            if client.finished:
                break
            said += client.send(chunk)
        for _ in range(8):
            # Failed logins are answered after a while.
            client.clock.advance(16)
            client.settle()
        said += client.wire.take()
        client.disconnect()
        self.assertTrue(client.finished)
        if client.failure is not None:
            client.failure.trap(PlaintextInjected)
        self.assertFalse(self.server.locked)
        for failure in self.flushLoggedErrors():
            failure.raiseException()
        return said

    def hold(self, state: str, stream: bytes, cuts: Sequence[int], secure: bool = True) -> None:
        """
        What has to be true.
        """
        first = []
        if state == STLS:
            # What comes with it, before TLS, ends the connection.
            first = [b"STLS\r\n"]
        else:
            stream = STATES[state] + stream
        said = self.talk(secure, [*first, stream])
        left = len(self.server.messages())
        if b"+OK bye\r\n" not in said:
            self.assertEqual(left, 3)
        self.readResponses(said)
        edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        for chunks in (
            [stream[a:b] for a, b in pairwise(edges)],
            [stream[at : at + 1] for at in range(len(stream))],
        ):
            if b"STLS" in stream.upper():
                # What comes behind it before TLS ends the connection, what comes later doesn't.
                break
            self.assertEqual(self.talk(secure, [*first, *chunks]), said)
            self.assertEqual(len(self.server.messages()), left)

    def readResponses(self, said: bytes) -> None:
        """
        All of it is responses, and multi-line ones have an end.
        """
        self.assertTrue(said.endswith(b"\r\n"), said)
        lines = said.split(b"\r\n")[:-1]
        at = 0
        while at < len(lines):
            line = lines[at]
            self.assertTrue(_RESPONSE.fullmatch(line), line)
            at += 1
            if _BEGINS.fullmatch(line) and (
                b"messages" not in line or (at < len(lines) and _isListed(lines[at]))
            ):
                at = lines.index(b".", at) + 1

    @settings(max_examples=150)
    @given(st.sampled_from(sorted(STATES)), STREAMS, CUTS)
    @example("loggedIn", b"RETR 3\r\nTOP 3 1\r\nUIDL\r\nLIST\r\nDELE 3\r\nQUIT\r\nNOOP\r\n", [])
    @example("others", b"DELE 1\r\nQUIT\r\n", [])
    @example("exchange", b"*\r\nAUTH LOGIN\r\n=\r\n=\r\n", [3])
    def test_anything(self, state: str, stream: bytes, cuts: list[int]) -> None:
        """Under TLS."""
        self.hold(state, stream, cuts)

    @settings(max_examples=60)
    @given(st.sampled_from(sorted(STATES)), STREAMS, CUTS)
    @example("utf8", b"STLS\r\nCAPA\r\n", [])
    def test_plain(self, state: str, stream: bytes, cuts: list[int]) -> None:
        """Without TLS nobody gets in with a password."""
        self.hold(state, stream, cuts, secure=False)
        self.assertEqual(len(self.server.messages()), 3)

    @settings(max_examples=40)
    @given(STREAMS, CUTS)
    @example(b"USER alice\r\nPASS secret\r\nDELE 1\r\nQUIT\r\n", [5])
    def test_afterSTLS(self, stream: bytes, cuts: list[int]) -> None:
        """Where TLS was begun by STLS it is as under TLS."""
        self.hold(STLS, stream, cuts, secure=False)

    def test_everyCommand(self) -> None:
        """Each command of the registry is among those that are mutated, and valid somewhere."""
        known = Registry(GROUPS, EXTENSIONS).known
        names = {command.split()[0] for command in COMMANDS}
        self.assertEqual(names, set(known))
        for name, command in known.items():
            state = "loggedIn" if command.states == (State.TRANSACTION,) else "named"
            said = b""
            for each in COMMANDS:
                if each.split()[0] == name:
                    said += self.talk(name != b"STLS", [STATES[state] + each + b"\r\n"])
            after = said.split(b"\r\n", 2 if state == "named" else 3)[-1]
            if name not in (b"APOP",):
                self.assertIn(b"+OK", after, name)


def _isListed(line: bytes) -> bool:
    return line == b"." or re.fullmatch(rb"\d+ \d+", line) is not None
