"""
The session: its states, what a command looks like, how it ends.
"""

from __future__ import annotations

import gc
from random import Random
from typing import Any

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.pop3.support import FIRST, SECOND, POP3TestCase, Server, responses
from twisted_mailstack.errors import SessionEnded
from twisted_mailstack.pop3.extension import BOTH, Command, Extension, State, always
from twisted_mailstack.pop3.registry import COMMANDS, EXTENSIONS
from twisted_mailstack.pop3.session import POP3Session, POP3Settings, Registry
from twisted_mailstack.storage import memorymaildrop
from twisted_mailstack.testing.conversation import Conversation

BEFORE = {"USER", "PASS", "APOP", "AUTH", "STLS", "UTF8"}
AFTER = {"STAT", "LIST", "UIDL", "RETR", "TOP", "DELE", "NOOP", "RSET"}
EITHER = {"CAPA", "LANG", "QUIT"}


class GreetingTests(POP3TestCase):
    """
    The first line.
    """

    def test_greeting(self) -> None:
        """RFC 1939 §4: a positive response. No timestamp: APOP isn't offered (§7)."""
        self.assertEqual(
            self.server.connect().wire.take(), b"+OK POP3 ready at mx.example.test\r\n"
        )

    def test_addressLiteral(self) -> None:
        """
        A host without a name has brackets, which at the beginning of the text would be a response
        code (RFC 2449 §8).
        """
        server = Server()
        server.settings = POP3Settings(hostname="[192.0.2.9]")
        self.assertEqual(server.connect().wire.take(), b"+OK POP3 ready at [192.0.2.9]\r\n")


class CommandTests(POP3TestCase):
    """
    What a command looks like (RFC 1939 §3, RFC 2449 §3 and §4).
    """

    def test_allKnown(self) -> None:
        """Each command of the server is in one of the tables of this module."""
        known = {name.decode() for name in Registry(COMMANDS, EXTENSIONS).known}
        self.assertEqual(known, BEFORE | AFTER | EITHER)

    def test_wrongState(self) -> None:
        """A command of the other state is refused, and the session goes on (RFC 1939 §3)."""
        client = self.server.connect()
        client.wire.take()
        for name in sorted(AFTER):
            self.assertEqual(client.send(name.encode() + b" 1\r\n"), b"-ERR Not in this state\r\n")
        client = self.server.login()
        for name in sorted(BEFORE):
            self.assertEqual(client.send(name.encode() + b" x\r\n"), b"-ERR Not in this state\r\n")
        self.assertEqual(client.send(b"STAT\r\n"), b"+OK 2 64\r\n")

    def test_unknown(self) -> None:
        """An unknown command is refused, whatever it looks like."""
        for client in (self.server.connect(), self.server.login()):
            client.wire.take()
            for line in (
                *(b"", b" ", b"XYZZY", b"NOO", b"NOOPS", b" NOOP", b"\tNOOP", b"NOOP\0", b"\0"),
                *(b"QUIT\tnow", b"+OK", b"."),
                *(b"\xff\xfe", "ＱＵＩＴ".encode(), b"GET / HTTP/1.0", b"QUIT\r"),
            ):
                self.assertEqual(client.send(line + b"\r\n"), b"-ERR Unknown command\r\n", line)

    def test_case(self) -> None:
        """Keywords are in any case (RFC 1939 §3)."""
        client = self.server.connect()
        client.wire.take()
        client.check("""
            C: uSeR alice
            S: +OK send PASS
            C: pAsS secret
            S: +OK 2 messages, 64 octets
            C: stat
            S: +OK 2 64
            C: Quit
            S: +OK bye
        """)

    def test_parameterCounts(self) -> None:
        """Too few or too many parameters are refused, and nothing is done."""
        few, many = b"-ERR A parameter is missing\r\n", b"-ERR Too many parameters\r\n"
        client = self.server.login()
        for line, expected in (
            (b"STAT 1", many),
            (b"LIST 1 2", many),
            (b"UIDL 1 2", many),
            (b"RETR", few),
            (b"RETR 1 2", many),
            (b"DELE", few),
            (b"DELE 1 2", many),
            (b"TOP", few),
            (b"TOP 1", few),
            (b"TOP 1 2 3", many),
            (b"NOOP 1", many),
            (b"RSET 1", many),
            (b"CAPA 1", many),
            (b"QUIT 1", many),
        ):
            self.assertEqual(client.send(line + b"\r\n"), expected, line)
        self.assertEqual(client.send(b"STAT\r\n"), b"+OK 2 64\r\n")
        client = self.server.connect()
        client.wire.take()
        for line in (b"QUIT now", b"CAPA x", b"STLS x", b"AUTH PLAIN AA== BB=="):
            self.assertEqual(client.send(line + b"\r\n"), many, line)

    def test_spaces(self) -> None:
        """Spaces at the end of a line, or too many of them, do no harm."""
        client = self.server.login()
        for line in (b"STAT ", b"STAT   "):
            self.assertEqual(client.send(line + b"\r\n"), b"+OK 2 64\r\n")
        self.assertEqual(client.send(b"LIST  2 \r\n"), b"+OK 2 25\r\n")

    def test_bareLF(self) -> None:
        """A line may end in LF alone, as some clients and people with telnet write it."""
        client = self.server.login()
        self.assertEqual(client.send(b"STAT\nNOOP\r\n"), b"+OK 2 64\r\n+OK\r\n")

    def test_longLines(self) -> None:
        """
        A command may have 255 octets, CRLF included (RFC 2449 §4); a longer one is refused whole,
        and nothing of it is taken for another.
        """
        for client in (self.server.connect(), self.server.login()):
            client.wire.take()
            whole = b"QUIT" + b" " * 249 + b"\r\n"
            self.assertEqual(len(whole), 255)
            for line in (
                b" " + whole,
                b"QUIT " + b"x" * 1000 + b"\r\n",
                b"z" * 5000 + b"QUIT\r\n",
                b"USER " + b"y" * 20_000 + b"\nQUIT"[:0] + b"\r\n",
            ):
                said = client.send(line)
                self.assertEqual(said.count(b"\r\n"), 1)
                self.assertTrue(said.startswith(b"-ERR "), said)
            self.assertEqual(client.send(whole), b"+OK bye\r\n")

    def test_tooLong(self) -> None:
        """It is said what was wrong."""
        client = self.server.login()
        self.assertEqual(client.send(b"NOOP" + b" " * 250 + b"\r\n"), b"-ERR Line too long\r\n")
        client = self.server.connect()
        client.wire.take()
        self.assertEqual(client.send(b"CAPA" + b" " * 250 + b"\r\n"), b"-ERR Too long\r\n")

    def test_tooManyErrors(self) -> None:
        """A client that only talks nonsense is sent away, in either state; nothing is deleted."""
        for connect in (self.server.connect, self.server.login):
            client = connect()
            client.wire.take()
            client.send(b"DELE 1\r\n")
            done = 0
            while not client.finished:
                self.assertEqual(client.send(b"XYZZY\r\n"), b"-ERR Unknown command\r\n")
                done += 1
                self.assertLessEqual(done, self.server.settings.maxErrors)
            self.assertFreed(client)
        self.assertEqual(self.server.messages(), [FIRST, SECOND])

    def test_notErrors(self) -> None:
        """Once logged in, asking for messages that aren't there is no reason to be sent away."""
        client = self.server.login()
        for _ in range(100):
            self.assertTrue(client.send(b"RETR 99\r\n").startswith(b"-ERR "))
        self.assertEqual(client.send(b"NOOP\r\n"), b"+OK\r\n")


class EndTests(POP3TestCase):
    """
    How a session ends. Only QUIT deletes (RFC 1939 §6).
    """

    def test_quitBeforeLogin(self) -> None:
        """QUIT is always possible (RFC 1939 §4)."""
        client = self.server.connect()
        client.check("""
            S: +OK POP3 ready at mx.example.test
            C: QUIT
            S: +OK bye
        """)
        self.assertFreed(client)

    def test_quit(self) -> None:
        """After QUIT nothing more is run."""
        client = self.server.login()
        self.assertEqual(client.send(b"QUIT\r\nSTAT\r\n"), b"+OK bye\r\n")
        self.assertFreed(client)

    def test_disconnect(self) -> None:
        """Without QUIT nothing is deleted, and the maildrop is free again."""
        client = self.server.login()
        client.send(b"DELE 1\r\nDELE 2\r\n")
        client.disconnect()
        self.assertFreed(client)
        self.assertEqual(self.server.messages(), [FIRST, SECOND])

    def test_disconnectAnywhere(self) -> None:
        """
        A connection that is lost after any octet of a session up to the end of QUIT deletes
        nothing and leaves no lock; one octet more and all is deleted.
        """
        script = b"USER alice\r\nPASS secret\r\nDELE 1\r\nRETR 2\r\nDELE 2\r\nQUIT\r\n"
        for at in range(len(script) + 1):
            client = self.server.connect()
            client.send(script[:at])
            client.disconnect()
            self.assertFreed(client)
            left = [] if at == len(script) else [FIRST, SECOND]
            self.assertEqual(self.server.messages(), left, script[:at])

    def test_autologout(self) -> None:
        """
        After ten minutes without a command the connection is closed without a word, nothing is
        deleted (RFC 1939 §3), and the maildrop is free again.
        """
        client = self.server.login()
        client.send(b"DELE 1\r\n")
        self.server.clock.advance(599)
        self.assertEqual(client.send(b"NOOP\r\n"), b"+OK\r\n")
        self.server.clock.advance(599)
        self.assertFalse(client.finished)
        self.server.clock.advance(1)
        self.assertEqual(client.wire.take(), b"")
        self.assertFreed(client)
        self.assertEqual(self.server.messages(), [FIRST, SECOND])

    def test_halfACommand(self) -> None:
        """Octets that trickle in don't keep a session alive, only commands do."""
        client = self.server.login()
        for _ in range(60):
            self.server.clock.advance(10)
            client.send(b"x")
        self.assertFreed(client)

    def test_beforeLogin(self) -> None:
        """Strangers have the ten minutes of RFC 1939 §3, and no more."""
        client = self.server.connect()
        client.wire.take()
        self.server.clock.advance(599)
        self.assertFalse(client.finished)
        self.server.clock.advance(1)
        self.assertEqual(client.wire.take(), b"")
        self.assertFreed(client)

    def test_shutdown(self) -> None:
        """When the server stops it says so; nothing is deleted."""
        for connect in (self.server.connect, self.server.login):
            client = connect()
            client.send(b"DELE 1\r\n")
            client.stream.end(SessionEnded.SHUTDOWN)
            self.assertEqual(
                client.wire.take(), b"-ERR [SYS/TEMP] shutting down, nothing was deleted\r\n"
            )
            self.assertFreed(client)
        self.assertEqual(self.server.messages(), [FIRST, SECOND])

    def test_shutdownBehindQuit(self) -> None:
        """A QUIT that is there already is done before the server stops."""
        client = self.server.login()
        self.server.gate.held = {"removeMessages"}
        client.send(b"DELE 1\r\n")
        client.send(b"QUIT\r\n")
        client.stream.end(SessionEnded.SHUTDOWN)
        self.server.gate.release()
        self.assertEqual(client.wire.take(), b"+OK bye\r\n")
        self.assertFreed(client)
        self.assertEqual(self.server.messages(), [SECOND])

    def test_lostDuringQuit(self) -> None:
        """A QUIT that was begun is done to its end, also when the client is gone meanwhile."""
        client = self.server.login()
        self.server.gate.held = {"removeMessages"}
        client.send(b"DELE 1\r\nQUIT\r\n")
        client.disconnect()
        self.assertTrue(self.server.locked)
        self.server.gate.release()
        self.assertFreed(client)
        self.assertEqual(self.server.messages(), [SECOND])

    def test_defect(self) -> None:
        """
        A defect of ours is logged, told to the client as a temporary failure (RFC 3206) without
        details, and the session goes on.
        """

        async def crash(session: POP3Session) -> None:
            raise RuntimeError("/var/lib/secret-path")

        self.server.options["extensions"] = (
            *EXTENSIONS,
            Extension(always(b"CRASH"), 1939, (Command(b"CRASH", BOTH, crash),)),
        )
        client = self.server.login()
        self.assertEqual(
            client.send(b"CRASH\r\nSTAT\r\n"),
            b"-ERR [SYS/TEMP] Temporary failure, try again later\r\n+OK 2 64\r\n",
        )
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_timeoutFloor(self) -> None:
        """The autologout timer can't be set below RFC 1939's ten minutes (§3)."""
        for name in ("timeout", "loginTimeout"):
            self.assertRaises(ValueError, POP3Settings, hostname="x", **{name: 599})


class OrderTests(POP3TestCase):
    """
    Pipelining (RFC 2449 §6.6): responses in the order of the commands, however they come.
    """

    SCRIPT = (
        b"CAPA\r\nUSER alice\r\nPASS wrong\r\nSTAT\r\nUSER alice\r\nPASS secret\r\nSTAT\r\n"
        b"LIST\r\nLIST 2\r\nUIDL\r\nRETR 1\r\nTOP 2 0\r\nDELE 1\r\nRETR 1\r\nLIST\r\nXYZZY\r\n"
        b"NOOP\r\nRSET\r\nDELE 2\r\nCAPA\r\nQUIT\r\n"
    )
    MULTI = (
        *(False, True, False, False, False, False, False, False),
        *(True, False, True, True, True, False, False, True, False),
        *(False, False, False, True, False),
    )

    def run_(self, *pieces: bytes) -> bytes:
        """
        @return: all that a session says to these pieces.
        """
        # The same unique-ids each time.
        self.patch(memorymaildrop, "token_hex", lambda octets: "00" * octets)
        server = Server()
        server.put(FIRST, SECOND)
        client = server.connect()
        said = client.wire.take()
        for piece in pieces:
            said += client.send(piece)
        server.clock.advance(20)
        said += client.wire.take()
        self.assertTrue(client.finished)
        self.assertEqual(server.messages(), [FIRST])
        return said

    def test_pieces(self) -> None:
        """Whole, octet by octet or in any pieces, with octets behind: the same responses."""
        whole = self.run_(self.SCRIPT)
        statuses = responses(whole, self.MULTI)
        self.assertEqual(statuses[-1], b"+OK bye")
        self.assertEqual(statuses.count(b"-ERR Not in this state"), 1)
        self.assertEqual(self.run_(self.SCRIPT + b"STAT\r\nmore"), whole)
        self.assertEqual(self.run_(*(bytes([octet]) for octet in self.SCRIPT)), whole)
        for size in (2, 3, 7, 50):
            pieces = [self.SCRIPT[at : at + size] for at in range(0, len(self.SCRIPT), size)]
            self.assertEqual(self.run_(*pieces), whole)
        self.assertEqual(self.run_(self.SCRIPT.replace(b"\r\n", b"\n")), whole)

    def test_waits(self) -> None:
        """While one command waits for the store none behind it is run."""
        client = self.server.login()
        self.server.gate.held = {"openMessage"}
        self.assertEqual(client.send(b"RETR 2\r\nSTAT\r\n"), b"")
        self.server.gate.release()
        said = client.wire.take()
        self.assertEqual(responses(said, (True, False)), [b"+OK 25 octets", b"+OK 2 64"])

    def test_peerDoesNotRead(self) -> None:
        """
        A client that pipelines and doesn't read isn't read from either: what waits for it is
        bounded by what one command says.
        """
        client = self.server.login()
        client.stream.setBlocked(True)
        said = client.send(b"LIST\r\n" * 10_000)
        self.assertLess(len(said), 1000)
        client.stream.setBlocked(False)
        client.settle()
        said += client.wire.take()
        self.assertEqual(said.count(b"+OK 2 messages"), 10_000)


class ExtensionTests(POP3TestCase):
    """
    A command and capability of one's own.
    """

    def test_own(self) -> None:
        """It is announced, run in its states, and gets its parameters."""

        async def echo(session: POP3Session, *words: bytes) -> None:
            session.ok(b"/".join(words))

        self.server.options["extensions"] = (
            *EXTENSIONS,
            Extension(
                always(b"ECHO"),
                2449,
                (Command(b"ECHO", (State.TRANSACTION,), echo, 1, 3, longest=400),),
            ),
        )
        client = self.server.login()
        self.assertIn(b"\r\nECHO\r\n", client.send(b"CAPA\r\n"))
        self.assertEqual(client.send(b"ECHO a b\r\n"), b"+OK a/b\r\n")
        self.assertTrue(client.send(b"ECHO\r\n").startswith(b"-ERR "))
        word = b"x" * 390
        self.assertEqual(client.send(b"ECHO %b\r\n" % word), b"+OK %b\r\n" % word)
        self.assertTrue(client.send(b"NOOP%b\r\n" % (b" " * 300)).startswith(b"-ERR "))


class LogTests(POP3TestCase):
    """
    What the operator reads.
    """

    def play(self, *steps: Any) -> list[str]:
        """
        @return: the lines of a session's log; none of its events has the password.
        """
        # What other tests left says its logout when it is collected.
        gc.collect()
        with capturedLogs() as events:
            client = self.server.connect()
            for step in steps:
                if callable(step):
                    step(client)
                else:
                    client.send(step)
        for event in events:
            self.assertNotIn("secret", formatEvent(event))
            self.assertNotIn("secret", repr(event))
        return [formatEvent(event) for event in events]

    def test_session(self) -> None:
        """Who, from where, how, and what came of it."""
        self.assertEqual(
            self.play(
                b"USER alice\r\nPASS secret\r\n",
                b"RETR 1\r\nDELE 1\r\nDELE 2\r\nRSET\r\nDELE 2\r\nQUIT\r\n",
            ),
            [
                "pop3s: login: user=alice@example.test peer=192.0.2.1 mechanism=PASS tls=TLSv1.3",
                "pop3s: logout: user=alice@example.test peer=192.0.2.1 retrieved=1 deleted=1"
                " end=quit",
            ],
        )

    def test_ends(self) -> None:
        """The log tells how a session ended, and that nothing was deleted then."""
        for end, expected in (
            (Conversation.disconnect, "disconnected"),
            (lambda client: client.stream.end(SessionEnded.SHUTDOWN), "shutdown"),
            (lambda client: self.server.clock.advance(600), "timeout"),
            (b"x\r\n" * 20, "errors"),
        ):
            lines = self.play(b"USER alice\r\nPASS secret\r\nDELE 1\r\n", end)
            self.assertTrue(lines[-1].endswith(f" deleted=0 end={expected}"), lines)

    def test_nothingSecret(self) -> None:
        """Passwords are in no event, also when they are wrong or something fails."""
        self.server.hasher.busy = True
        self.play(b"USER alice\r\nPASS secret\r\n")
        self.server.hasher.busy = False
        self.play(b"USER alice\r\nPASS xsecretx\r\n", lambda _: self.server.clock.advance(9))
        self.play(b"PASS secret\r\nUSER\r\nPASS secret secret\r\nAUTH PLAIN secret\r\n")
        self.play(b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n")
        self.play(b"USER alice\r\nPASS " + b"secret" * 100 + b"\r\n")
        self.server.gate.failAt = len(self.server.gate.calls)
        self.server.gate.error = lambda: RuntimeError("store")
        self.play(b"USER alice\r\nPASS secret\r\n")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class FuzzTests(SynchronousTestCase):
    """
    Whatever comes, the server answers in well-formed lines or ends the session; it never fails.
    """

    WORDS = (
        *(b"USER", b"PASS", b"AUTH", b"STLS", b"STAT", b"LIST", b"UIDL", b"RETR", b"TOP", b"DELE"),
        *(b"NOOP", b"RSET", b"CAPA", b"alice", b"secret", b"PLAIN", b"LOGIN", b"*", b"=", b"0"),
        *(b"1", b"2", b"3", b"-1", b"4294967296", b"99999999999999999999", b"AGFsaWNlAHNlY3JldA=="),
        *(b" ", b"\t", b"\0", b"\r", b"\xff", b"\xc3\xa9", b"%s", b"x" * 300, b"y" * 13_000, b""),
    )

    def nonsense(self, random: Random) -> bytes:
        """
        @return: a line, more or less.
        """
        if random.random() < 0.3:
            return random.randbytes(random.randrange(40)) + b"\r\n"
        words = random.choices(self.WORDS, k=random.randrange(1, 5))
        return b" ".join(words) + random.choice((b"\r\n", b"\r\n", b"\n", b"", b"\r"))

    def play(self, seed: int, *beginnings: bytes) -> None:
        """Talk nonsense, from each of these states on."""
        random = Random(seed)
        for beginning in beginnings:
            server = Server(maxErrors=1000, maxLoginFailures=1000)
            server.put(FIRST, SECOND, b"", b"." * 5000, bytes(range(256)))
            client = server.connect(secure=random.random() < 0.8)
            said = client.wire.take() + client.send(beginning)
            for _ in range(30):
                said += client.send(self.nonsense(random))
                server.clock.advance(16)
                if client.finished:
                    break
            said += client.wire.take()
            if client.failure is not None:
                client.failure.raiseException()
            self.assertTrue(said.endswith(b"\r\n"))
            client.disconnect()
            self.assertTrue(client.finished)
            self.assertFalse(server.locked)
            self.assertEqual(len(server.messages()), 5)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_everyState(self) -> None:
        """From every state: the first, behind USER, in AUTH's exchange, logged in, in a line."""
        login = b"USER alice\r\nPASS secret\r\n"
        for seed in range(12):
            self.play(
                seed,
                b"",
                b"USER alice\r\n",
                b"AUTH PLAIN\r\n",
                b"AUTH LOGIN\r\nYWxpY2U=\r\n",
                login,
                login + b"DELE 1\r\nRETR ",
                b"STLS\r\n",
            )
