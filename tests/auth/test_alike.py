"""
What a client sees of a login that fails, by each protocol and each way of showing a password: to
the octet and to the second the same, whatever was wrong; and so are the lines of the log.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import formatEvent, globalLogPublisher

from tests.auth.test_policy import LoginTestCase
from twisted_mailstack.auth.login import FIRST_DELAY, MAX_DELAY
from twisted_mailstack.auth.onetime import newSecret
from twisted_mailstack.auth.schemes import makeSecrets, newAppPassword
from twisted_mailstack.imap.registry import makeRegistry
from twisted_mailstack.imap.session import IMAPSession, IMAPSettings
from twisted_mailstack.pop3.server import POP3Factory
from twisted_mailstack.pop3.session import POP3Settings
from twisted_mailstack.sasl.registry import MECHANISMS
from twisted_mailstack.smtp.server import SMTPFactory
from twisted_mailstack.smtp.session import SMTPSettings
from twisted_mailstack.testing.conversation import Conversation, FakeWire
from twisted_mailstack.wire.stream import Stream

HOST = "mail.example.test"
#: Seconds that a hash takes here, and between two looks.
HASH, LOOK = 0.5, 0.125


def encoded(text: str) -> str:
    """
    @return: base64.
    """
    return b64encode(text.encode("utf-8")).decode("ascii")


def _plain(name: str, password: str) -> str:
    return encoded(f"\0{name}\0{password}")


#: By service, what a client may say, up to the answer.
WAYS: dict[str, Sequence[Callable[[str, str], Sequence[str]]]] = {
    "imaps": (
        lambda name, password: (f"a AUTHENTICATE PLAIN {_plain(name, password)}",),
        lambda name, password: ("a AUTHENTICATE PLAIN", _plain(name, password)),
        lambda name, password: ("a AUTHENTICATE LOGIN", encoded(name), encoded(password)),
        lambda name, password: (f'a LOGIN "{name}" "{password}"',),
    ),
    "pop3s": (
        lambda name, password: (f"AUTH PLAIN {_plain(name, password)}",),
        lambda name, password: ("AUTH LOGIN", encoded(name), encoded(password)),
        lambda name, password: (f"USER {name}", f"PASS {password}"),
    ),
    "submissions": (
        lambda name, password: ("EHLO client.example.test", f"AUTH PLAIN {_plain(name, password)}"),
        lambda name, password: (
            *("EHLO client.example.test", "AUTH LOGIN", encoded(name), encoded(password)),
        ),
    ),
}


class Seen(NamedTuple):
    """
    What there is to be seen of a login.

    @ivar octets: that the server said; C{seconds}: that it took for the last of them.
    @ivar lines: of the log, with C{NAME} and C{PEER} in the places of these.
    """

    octets: bytes
    seconds: float
    lines: tuple[str, ...]


class AlikeTests(LoginTestCase):
    """
    Accounts of which each is closed in another way.
    """

    def setUp(self) -> None:
        """Make them."""
        super().setUp()
        self.log = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)
        self.peers = 0
        for name in ("closed", "ended", "empty", "elsewhere", "none", "code"):
            secrets = None if name == "empty" else makeSecrets(b"right")
            self.now(self.directory.addAccount(self.address(name), secrets))
        self.now(self.directory.setEnabled(self.address("closed"), False))
        self.setPolicy("ended", expires=int(self.clock.seconds()) - 1)
        self.setPolicy("elsewhere", networks=("203.0.113.0/24",))
        self.setPolicy("none", services=frozenset())
        self.setPolicy("code", totp=newSecret())
        self.app = self.appPassword("alice", services=frozenset())
        self.old = self.appPassword("alice", expires=int(self.clock.seconds()) - 1)
        self.appOfClosed = self.appPassword("closed")

    def appPassword(self, name: str, **more: Any) -> str:
        """
        @return: a new one.
        """
        text, secrets = newAppPassword()
        arguments = {"services": None, "expires": None, **more}
        self.now(
            self.directory.addAppPassword(
                self.address(name), text, secrets, arguments["services"], arguments["expires"]
            )
        )
        return text

    def runInThread(self, function: Any, *arguments: Any) -> Deferred[Any]:
        """A hash takes its time."""
        self.computed += 1
        return deferLater(self.clock, HASH, function, *arguments)

    def serve(self, service: str) -> Callable[[Stream], Any]:
        """
        @return: what serves a connection.
        """
        factory: Any
        if service == "imaps":
            settings = IMAPSettings(hostname=HOST)

            async def serve(stream: Stream) -> None:
                session = IMAPSession(
                    stream, settings, makeRegistry(), self.portal, MECHANISMS, False
                )
                await session.run()

            return serve
        if service == "pop3s":
            factory = POP3Factory(self.portal, POP3Settings(hostname=HOST), self.clock)
        else:
            target: Any = None
            factory = SMTPFactory(
                target,
                SMTPSettings(hostname=HOST, submission=True),
                self.clock,
                portal=self.portal,
            )
        found: Callable[[Stream], Any] = factory.serve
        return found

    def talk(self, service: str, lines: Sequence[str]) -> Seen:
        """
        Log in, from a network of which nothing is known.
        """
        self.peers += 1
        peer = f"10.{self.peers // 250}.{self.peers % 250}.1"
        wire = FakeWire(service, True, peer)
        client = Conversation(self.serve(service), wire=wire, clock=self.clock)
        self.log._events.clear()
        octets = client.wire.take()
        for line in lines:
            start = self.clock.seconds()
            said = client.send(f"{line}\r\n".encode())
            while not said:
                self.assertLess(self.clock.seconds() - start, 60)
                self.clock.advance(LOOK)
                client.settle()
                said = client.wire.take()
            octets += said
        seconds = self.clock.seconds() - start
        texts = [formatEvent(each) for each in self.log if "log_format" in each]
        client.disconnect()
        found = tuple(
            re.sub(r"user='.*?' ", "user=NAME ", text).replace(peer, "PEER") for text in texts
        )
        return Seen(octets, seconds, found)

    def wrong(self) -> list[tuple[str, str, int]]:
        """
        @return: names and passwords that don't get in, and how many hashes each costs.
        """
        return [
            ("alice@example.test", "wrong", 1),
            ("alice", "wrong", 1),
            ("nobody@example.test", "wrong", 1),
            ("nobody@else.test", "wrong", 1),
            ("no address@", "wrong", 1),
            ("bob@example.test", "alice's", 1),
            ("closed@example.test", "right", 1),
            ("closed@example.test", "wrong", 1),
            ("closed@example.test", self.appOfClosed, 1),
            ("ended@example.test", "right", 1),
            ("empty@example.test", "right", 1),
            ("elsewhere@example.test", "right", 1),
            ("none@example.test", "right", 1),
            ("code@example.test", "right", 1),
            ("code@example.test", "rightabcdef", 1),
            ("alice@example.test*bob@example.test", "wrong", 1),
            ("alice@example.test*nobody@example.test", "wrong", 1),
            # Whoever has an app password has it, whatever it costs; how long it takes isn't seen.
            ("alice@example.test", self.app, 0),
            ("alice@example.test", self.old, 0),
        ]

    def check(self, service: str) -> None:
        """
        By each way of a service.
        """
        for number, way in enumerate(WAYS[service]):
            seen: dict[Seen, str] = {}
            for name, password, hashes in self.wrong():
                # A right password that was verified a moment ago is known: then it costs nothing.
                self.clock.advance(3600)
                before = self.computed
                found = self.talk(service, way(name, password))
                self.assertEqual(self.computed - before, hashes, (service, number, name, password))
                seen.setdefault(found, f"{name}: {password}")
            self.assertEqual(len(seen), 1, seen)
            ((octets, seconds, lines),) = seen
            self.assertEqual(seconds, FIRST_DELAY)
            # It isn't another answer than that of a login.
            right = self.talk(service, way("alice@example.test", "alice's"))
            self.assertNotEqual(right.octets, octets)
            (line,) = lines
            self.assertRegex(
                line, rf"\A{service}: login failed: user=NAME peer=PEER mechanism=\w+\Z"
            )
            self.assertRegex(right.lines[0], rf"\A{service}: login: ")

    def test_imap(self) -> None:
        """RFC 5530: AUTHENTICATIONFAILED."""
        self.check("imaps")

    def test_pop3(self) -> None:
        """RFC 3206: AUTH; USER says nothing of the name (RFC 1939 §13)."""
        self.check("pop3s")

    def test_smtp(self) -> None:
        """RFC 4954 §6: 535 5.7.8."""
        self.check("submissions")

    def test_remembered(self) -> None:
        """
        A right password that isn't enough, and that this server has just verified, is refused as
        late as any.
        """
        for service, ways in WAYS.items():
            for way in ways:
                found = set()
                for _ in range(2):
                    found.add(self.talk(service, way("none@example.test", "right")))
                    self.now(self.guard.forgive("none@example.test", ()))
                self.assertEqual(len(found), 1, found)
        self.assertEqual(self.computed, 1)

    def test_manyNetworks(self) -> None:
        """
        Names that are guessed at from many networks are locked for new ones, whether there is such
        an account or not; that, too, is said in the same words after the same time.
        """
        names = ("alice@example.test", "nobody@example.test", "closed@example.test")
        for at, name in enumerate(names):
            for number in range(20):
                self.assertIsNone(self.logIn(name, f"x{number}", peer=f"198.{at}.{number}.1"))
        before = self.computed
        for service, ways in WAYS.items():
            for way in ways:
                seen = {self.talk(service, way(name, "right")) for name in names}
                self.assertEqual(len(seen), 1, seen)
                ((octets, seconds, _),) = seen
                self.assertEqual(seconds, MAX_DELAY)
                self.assertIn(b"Too many failed logins", octets)
        self.assertEqual(self.computed, before)
