"""
Each command in each state, with each response code that it may get: the tables are held to the
registry and to the errors there are, so that whatever is new has to be in them.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import md5
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from tests.pop3.support import FIRST, POP3TestCase, Server, responses
from tests.pop3.test_apop import Checker, Secrets
from tests.test_errors import POP3_CODES
from twisted_mailstack.errors import StoreDamaged, TemporaryFailure
from twisted_mailstack.pop3 import surrogate
from twisted_mailstack.pop3.extension import State
from twisted_mailstack.pop3.registry import COMMANDS, EXTENSIONS
from twisted_mailstack.pop3.session import Registry
from twisted_mailstack.testing.conversation import Conversation

LOGIN = b"USER alice\r\nPASS secret\r\n"
PLAIN = b"AGFsaWNlAHNlY3JldA=="


class Start(NamedTuple):
    """
    How a state is reached.

    @ivar said: by the client, after the greeting.
    @ivar secure: under TLS from the beginning.
    """

    said: bytes
    secure: bool = True


#: RFC 1939's states, and what a session knows in them.
STARTS = {
    "greeted": Start(b"", False),
    "stls": Start(b"STLS\r\n", False),
    "secure": Start(b""),
    "named": Start(b"USER alice\r\n"),
    "refused": Start(b"USER alice\r\nPASS wrong\r\n"),
    "utf8": Start(b"UTF8\r\n"),
    "logged in": Start(LOGIN),
    "marked": Start(LOGIN + b"DELE 1\r\n"),
    "utf8 logged in": Start(b"UTF8\r\n" + LOGIN),
}
AUTHORIZATION = ("greeted", "stls", "secure", "named", "refused", "utf8")
TRANSACTION = ("logged in", "marked", "utf8 logged in")

NOT = "-ERR Not in this state"
TLS = "-ERR Encryption required: use STLS first"
IN = "+OK 2 messages, 64 octets"
GONE = "-ERR That message is deleted"
NOBODY = "-ERR Say USER first"

Row = dict[str, str]


def before(first: str, others: str, **named: str) -> Row:
    """
    @param first: the response without TLS; C{others}: with it; C{named}: to be told apart.
    @return: what a command of AUTHORIZATION gets.
    """
    row = dict.fromkeys(AUTHORIZATION, others) | dict.fromkeys(TRANSACTION, NOT)
    return row | {"greeted": first} | named


def after(text: str, marked: str) -> Row:
    """
    @param marked: the response when the first message is marked.
    @return: what a command of TRANSACTION gets.
    """
    return dict.fromkeys(AUTHORIZATION, NOT) | dict.fromkeys(TRANSACTION, text) | {"marked": marked}


def always(text: str) -> Row:
    """
    @return: what a command gets everywhere.
    """
    return dict.fromkeys(STARTS, text)


#: A command line of each command, and the first line of what it gets in each state.
MATRIX: dict[bytes, Row] = {
    b"USER alice": before(TLS, "+OK send PASS"),
    b"PASS secret": before(TLS, NOBODY, named=IN),
    b"APOP alice c4c9334bac560ecc979e58001b3e22fb": before(
        "-ERR [AUTH] Authentication failed", "-ERR [AUTH] Authentication failed"
    ),
    b"AUTH PLAIN " + PLAIN: before(TLS, IN),
    b"STLS": before("+OK begin TLS", "-ERR TLS is active already"),
    b"UTF8": before("+OK UTF8 mode", "+OK UTF8 mode"),
    b"CAPA": always("+OK capabilities follow"),
    b"LANG": always("+OK languages follow"),
    b"QUIT": always("+OK bye"),
    b"STAT": after("+OK 2 64", "+OK 1 25"),
    b"LIST": after(IN, "+OK 1 messages, 25 octets"),
    b"UIDL": after("+OK unique-ids follow", "+OK unique-ids follow"),
    b"RETR 1": after("+OK 39 octets", GONE),
    b"TOP 1 1": after("+OK top of message follows", GONE),
    b"DELE 1": after("+OK message 1 deleted", GONE),
    b"NOOP": after("+OK", "+OK"),
    b"RSET": after(IN, IN),
}
#: Those whose positive response has several lines.
SEVERAL = {b"CAPA", b"LANG", b"LIST", b"UIDL", b"RETR", b"TOP"}
KNOWN = Registry(COMMANDS, EXTENSIONS).known


def nameOf(line: bytes) -> bytes:
    """
    @return: the command's name.
    """
    return line.partition(b" ")[0]


class MatrixTests(SynchronousTestCase):
    """
    Every command of the registry in every state.
    """

    def reach(self, state: str) -> Conversation:
        """
        @return: a connection in that state, its output read.
        """
        self.server = Server()
        self.server.options["secrets"] = Secrets()
        self.server.put(FIRST, b"Subject: second\r\n\r\ntext\r\n")
        start = STARTS[state]
        client = self.server.connect(start.secure)
        client.send(start.said)
        self.server.clock.advance(15)
        said = client.wire.take()
        self.assertFalse(client.finished, said)
        return client

    def give(self, client: Conversation, line: bytes) -> bytes:
        """
        @return: the response, however long it takes.
        """
        said = client.send(line + b"\r\n")
        if not said:
            self.server.clock.advance(15)
            said = client.wire.take()
        return said

    def where(self, client: Conversation) -> State | None:
        """
        @return: the state, as a client finds it out; C{None}: the session is over.
        """
        if client.finished:
            return None
        said = self.give(client, b"STAT")
        return State.TRANSACTION if said.startswith(b"+OK ") else State.AUTHORIZATION

    def test_complete(self) -> None:
        """There is a row for each command that a server of ours has, and each has all states."""
        self.assertEqual({nameOf(line) for line in MATRIX}, set(KNOWN))
        for line, row in MATRIX.items():
            self.assertEqual(set(row), set(STARTS), line)
        self.assertEqual({*AUTHORIZATION, *TRANSACTION}, set(STARTS))

    def test_matrix(self) -> None:
        """
        Each gets one response, which is the expected one, in any case of letters; what isn't for
        the state changes nothing; only logging in and QUIT lead to another state.
        """
        for line, row in MATRIX.items():
            name = nameOf(line)
            for state, expected in row.items():
                what = f"{line!r}, {state}"
                client = self.reach(state)
                came = State.AUTHORIZATION if state in AUTHORIZATION else State.TRANSACTION
                allowed = came in KNOWN[name].states
                self.assertEqual(expected == NOT, not allowed, what)
                said = self.give(client, line)
                (status,) = responses(said, [name in SEVERAL])
                self.assertEqual(status.decode(), expected, what)
                went: State | None = came
                if name == b"QUIT":
                    went = None
                elif expected == IN and came is State.AUTHORIZATION:
                    went = State.TRANSACTION
                self.assertIs(self.where(client), went, what)
                left = 1 if name == b"QUIT" and state == "marked" else 2
                self.assertEqual(len(self.server.messages()), left, what)
                client.disconnect()
                self.assertTrue(client.finished)
                self.assertFalse(self.server.locked, what)

    def test_case(self) -> None:
        """Keywords are in any case (RFC 1939 §3)."""
        for line, row in MATRIX.items():
            name, space, rest = line.partition(b" ")
            state = "logged in" if State.TRANSACTION in KNOWN[name].states else "secure"
            for form in (name.lower(), name[:1] + name[1:].lower()):
                said = self.give(self.reach(state), form + space + rest)
                self.assertEqual(said.partition(b"\r\n")[0].decode(), row[state])

    def test_over(self) -> None:
        """After QUIT there is no state any more: nothing is run, nothing is said."""
        for line in MATRIX:
            for state in ("secure", "logged in"):
                client = self.reach(state)
                self.assertEqual(client.send(b"QUIT\r\n" + line + b"\r\n"), b"+OK bye\r\n")
                self.assertEqual(client.send(line + b"\r\n"), b"")
                self.assertTrue(client.finished)

    def test_inExchange(self) -> None:
        """
        In the midst of AUTH a command is none: it is a response that the mechanism doesn't
        understand, and the exchange is over (RFC 5034 §4).
        """
        for line in MATRIX:
            for state in ("secure", "utf8"):
                client = self.reach(state)
                self.assertEqual(client.send(b"AUTH PLAIN\r\n"), b"+ \r\n")
                said = self.give(client, line)
                (status,) = responses(said, [False])
                self.assertTrue(status.startswith(b"-ERR "), (line, said))
                self.assertEqual(self.give(client, b"STAT"), NOT.encode() + b"\r\n")
                self.assertEqual(self.give(client, b"AUTH PLAIN " + PLAIN)[:4], b"+OK ")
                client.disconnect()

    def test_tooLong(self) -> None:
        """A line that is too long for its command is refused in each state, and nothing is done."""
        for line in MATRIX:
            for state in STARTS:
                client = self.reach(state)
                said = self.give(client, line + b" " * 20_000)
                (status,) = responses(said, [False])
                self.assertTrue(status.startswith(b"-ERR "), (line, state, said))
                came = State.AUTHORIZATION if state in AUTHORIZATION else State.TRANSACTION
                self.assertIs(self.where(client), came)
                client.disconnect()

    def test_pipelined(self) -> None:
        """
        All commands of a state in one go are answered one by one, in their order (RFC 2449 §6.6),
        as if each had come by itself.
        """
        for state in ("secure", "logged in", "marked"):
            came = State.AUTHORIZATION if state in AUTHORIZATION else State.TRANSACTION
            # What ends the state comes last, and what marks before it.
            ends = (b"DELE", b"PASS", b"AUTH", b"QUIT")
            lines = sorted(
                (each for each in MATRIX if came in KNOWN[nameOf(each)].states),
                key=lambda each: ends.index(nameOf(each)) if nameOf(each) in ends else -1,
            )
            lines = [each for each in lines if nameOf(each) not in (b"APOP", b"PASS", b"RSET")]
            client = self.reach(state)
            said = client.send(b"".join(each + b"\r\n" for each in lines))
            found = responses(said, [nameOf(each) in SEVERAL for each in lines])
            self.assertEqual([each.decode() for each in found], [MATRIX[e][state] for e in lines])
            self.assertTrue(client.finished)


class CodeTests(POP3TestCase):
    """
    Each response code (RFC 2449 §8, RFC 3206, RFC 6856 §5), by each command that can have it.
    """

    def setUp(self) -> None:
        """Three ways to log in."""
        super().setUp()
        self.server.options |= {"secrets": Secrets(), "now": self.server.store.now}
        self.server.portal.registerChecker(Checker(self.server.inbox().account.accountId))

    def inUse(self) -> None:
        """Another session."""
        self.holder = self.server.login()

    def tooSoon(self) -> None:
        """A login just before."""
        server = Server(loginDelay=60)
        server.options = self.server.options | {"memory": self.server.store.memory}
        server.store, server.portal = self.server.store, self.server.portal
        self.server = server
        server.login().send(b"QUIT\r\n")

    def temporary(self) -> None:
        """The store can't be asked."""
        self.server.gate.error, self.server.gate.fails = TemporaryFailure, {"changesSince"}

    def permanent(self) -> None:
        """What is stored is damaged."""
        self.server.gate.error, self.server.gate.fails = StoreDamaged, {"changesSince"}

    def login(self, how: str, right: bool = True) -> bytes:
        """
        @return: the response to an attempt.
        """
        client = self.server.connect()
        greeting = client.wire.take()
        timestamp = greeting[greeting.index(b"<") : greeting.index(b">") + 1]
        if how == "PASS":
            client.send(b"USER alice\r\n")
            said = client.send(b"PASS %b\r\n" % (b"secret" if right else b"wrong"))
        elif how == "APOP":
            digest = md5(timestamp + (b"tanstaaf" if right else b"x")).hexdigest()
            said = client.send(b"APOP alice %b\r\n" % digest.encode())
        else:
            said = client.send(b"AUTH PLAIN %b\r\n" % (PLAIN if right else b"AGFsaWNlAHdyb25n"))
        if not said:
            self.server.clock.advance(15)
            said = client.wire.take()
        self.assertEqual(said.count(b"\r\n"), 1)
        self.assertFalse(client.finished)
        self.assertEqual(client.send(b"STAT\r\n"), b"-ERR Not in this state\r\n")
        client.send(b"QUIT\r\n")
        return said

    def codeOf(self, said: bytes) -> str:
        """
        @return: the response code.
        """
        self.assertTrue(said.startswith(b"-ERR ["), said)
        return said[len(b"-ERR [") : said.index(b"] ")].decode()

    def test_login(self) -> None:
        """
        PASS, APOP and AUTH tell why they failed: whether the user has to do something about it, or
        only to wait, or the operator has to.
        """
        causes: dict[str, Callable[[], None] | None] = {
            "AUTH": None,
            "IN-USE": self.inUse,
            "LOGIN-DELAY": self.tooSoon,
            "SYS/TEMP": self.temporary,
            "SYS/PERM": self.permanent,
        }
        self.assertEqual(set(causes), POP3_CODES)
        for code, cause in causes.items():
            self.setUp()
            if cause is not None:
                cause()
            for how in ("PASS", "APOP", "AUTH"):
                self.assertEqual(self.codeOf(self.login(how, cause is not None)), code, how)

    def test_onlyWhoIsIn(self) -> None:
        """Who doesn't know the password learns nothing else than that (RFC 3206 §4)."""
        for cause in (self.inUse, self.tooSoon, self.temporary, self.permanent):
            self.setUp()
            cause()
            for how in ("PASS", "APOP", "AUTH"):
                self.assertEqual(self.codeOf(self.login(how, False)), "AUTH")

    def test_commands(self) -> None:
        """Commands that need the storage tell whether to try again (RFC 3206 §3)."""
        for error, code in ((TemporaryFailure, "SYS/TEMP"), (StoreDamaged, "SYS/PERM")):
            for line, call in (
                (b"RETR 1", "openMessage"),
                (b"TOP 1 0", "openMessage"),
                (b"RETR 1", "read"),
                (b"UIDL", "uniqueIds"),
                (b"UIDL 1", "uniqueIds"),
            ):
                client = self.server.login()
                self.server.gate.error, self.server.gate.fails = error, {call}
                self.assertEqual(self.codeOf(client.send(line + b"\r\n")), code)
                self.server.gate.fails = set()
                self.assertEqual(client.send(b"NOOP\r\n"), b"+OK\r\n")
                client.disconnect()
            client = self.server.login()
            self.server.gate.fails = {"removeMessages"}
            client.send(b"DELE 1\r\n")
            self.assertEqual(self.codeOf(client.send(b"QUIT\r\n")), code)
            self.server.gate.fails = set()

    def test_utf8(self) -> None:
        """[UTF8] of RETR and TOP, where what they are about can't be sent without UTF8."""
        self.server.put("Subject: \u00fc\r\n\r\n".encode())
        self.patch(surrogate, "MAX_HEADERS", 1)
        client = self.server.login()
        for line in (b"RETR 3", b"TOP 3 0", b"TOP 3 9"):
            self.assertEqual(self.codeOf(client.send(line + b"\r\n")), "UTF8")

    def test_promised(self) -> None:
        """RESP-CODES: no other text begins with a bracket (RFC 2449 §6.4)."""
        for row in MATRIX.values():
            for text in row.values():
                code, _, rest = text.partition(" ")
                self.assertIn(code, ("+OK", "-ERR"))
                if rest.startswith("["):
                    self.assertIn(rest[1 : rest.index("]")], POP3_CODES)
