"""
Exchanges of several steps, which wait, as clients of IMAP, POP3 and SMTP meet them.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from tests.auth.test_policy import LoginTestCase
from tests.sasl.support import Bound
from twisted_mailstack.auth.schemes import makeSecrets
from twisted_mailstack.auth.secretsource import DirectorySecrets
from twisted_mailstack.errors import TemporaryFailure
from twisted_mailstack.imap.registry import EXTENSIONS as IMAP
from twisted_mailstack.imap.registry import makeRegistry
from twisted_mailstack.imap.session import IMAPSession, IMAPSettings
from twisted_mailstack.interfaces import ISecretSource
from twisted_mailstack.model.records import Channel, ConnectionInfo, StoredSecret
from twisted_mailstack.pop3.server import POP3Factory
from twisted_mailstack.pop3.session import POP3Settings
from twisted_mailstack.sasl.credentials import PasswordCredentials
from twisted_mailstack.sasl.scram import Scram, ScramClient
from twisted_mailstack.smtp.server import SMTPFactory
from twisted_mailstack.smtp.session import SMTPSettings
from twisted_mailstack.testing.contracts.mechanism import INFO
from twisted_mailstack.testing.conversation import Conversation, FakeWire

SCHEME = "scram-sha-256"
PROTOCOLS = {
    "imaps": (b"a AUTHENTICATE SCRAM-SHA-256\r\n", b"+ ", b"a OK ", b"a NO ", b"a BAD "),
    "pop3s": (b"AUTH SCRAM-SHA-256\r\n", b"+ ", b"+OK ", b"-ERR [AUTH] ", b"-ERR "),
    "submissions": (b"AUTH SCRAM-SHA-256\r\n", b"334 ", b"235 ", b"535 5.7.8 ", b"501 5."),
}


class Wire(FakeWire):
    """One whose TLS there may be something to bind to."""

    channel: Channel | None = None

    def describe(self) -> ConnectionInfo:
        """See FakeWire."""
        return super().describe()._replace(channel=self.channel)


@implementer(ISecretSource)
class Slow:
    """Another's answers, when it is told to give them."""

    def __init__(self, source: ISecretSource) -> None:
        self.source = source
        self.gate: Deferred[None] = Deferred()

    async def secretsFor(self, name: bytes, scheme: str, peer: str = "") -> Sequence[StoredSecret]:
        """See L{ISecretSource}."""
        await self.gate
        return await self.source.secretsFor(name, scheme, peer)


class ProtocolTests(LoginTestCase):
    """
    SCRAM with each protocol.
    """

    def setUp(self) -> None:
        """Alice has a verifier, Bob has none."""
        super().setUp()
        self.channel: Channel | None = None
        self.plus = False
        self.peers = 0
        self.samePeer = False
        self.source: ISecretSource = DirectorySecrets(
            *(self.directory, 4096, self.clock.seconds, "example.test"), self.guard.isLocked
        )
        alice = self.address("alice")
        made = makeSecrets(b"alice's", ("argon2id", SCHEME), str(alice), 4096)
        self.now(self.directory.setPassword(alice, made))

    def connect(self, protocol: str) -> Conversation:
        """
        @return: a connection on which a client can log in.
        """
        mechanisms = [Scram(SCHEME, self.source, plusOffered=self.plus)]
        if self.plus:
            mechanisms.append(Scram(SCHEME, self.source, plus=True))
        serve: Any
        if protocol == "imaps":
            registry = makeRegistry(tuple(IMAP))
            settings = IMAPSettings(hostname="mail.example.test")

            async def serve(stream: Any) -> None:
                await IMAPSession(stream, settings, registry, self.portal, mechanisms, False).run()

        elif protocol == "pop3s":
            serve = POP3Factory(
                self.portal,
                POP3Settings(hostname="mail.example.test"),
                self.clock,
                mechanisms=mechanisms,
            ).serve
        else:
            target: Any = None
            serve = SMTPFactory(
                target,
                SMTPSettings(hostname="mail.example.test", submission=True),
                self.clock,
                portal=self.portal,
                mechanisms=mechanisms,
            ).serve
        # Each from a network of its own, so that nobody is locked out.
        self.peers += not self.samePeer
        wire = Wire(protocol, True, f"198.51.{self.peers}.1")
        wire.channel = self.channel
        client = Conversation(serve, wire=wire, clock=self.clock)
        if protocol == "submissions":
            client.send(b"EHLO client.example.test\r\n")
        wire.take()
        self.addCleanup(client.disconnect)
        return client

    def steps(
        self,
        protocol: str,
        name: str = "alice@example.test",
        password: str = "alice's",
        last: bytes | None = None,
        mechanism: ScramClient | None = None,
        channel: Channel | None = None,
    ) -> list[bytes]:
        """
        Log in.

        @param last: sent in the place of the last message.
        @param channel: the client's.
        @return: all that the server said.
        """
        client = self.connect(protocol)
        command, prefix, *_ = PROTOCOLS[protocol]
        mechanism = mechanism or ScramClient(SCHEME)
        exchange = mechanism.begin(
            PasswordCredentials(name.encode(), password.encode()), INFO._replace(channel=channel)
        )
        initial = exchange.respond(None)
        said = [client.send(command.replace(SCHEME.upper().encode(), mechanism.name))]
        while said[-1].startswith(prefix) and said[-1].endswith(b"\r\n"):
            challenge = b64decode(said[-1][len(prefix) :].strip())
            response, initial = initial, None
            if response is None:
                response = exchange.respond(challenge)
            line = b64encode(response or b"")
            if challenge.startswith(b"v=") and last is not None:
                line = last
            said.append(client.send(line + b"\r\n"))
        for _ in range(20):
            if said[-1]:
                break
            self.clock.advance(1)
            said[-1] = client.wire.take()
        client.disconnect()
        return said

    def test_success(self) -> None:
        """
        The first challenge is empty, the server's last message is a challenge too, to which the
        response is empty, and then comes success (RFC 4422 §3.1; RFC 4954 §4, RFC 9051 §6.2.2, RFC
        5034 §4).
        """
        for protocol, (_, prefix, success, *_) in PROTOCOLS.items():
            empty, first, final, done = self.steps(protocol)
            self.assertEqual(empty, prefix + b"\r\n")
            self.assertTrue(b64decode(first[len(prefix) :]).startswith(b"r="))
            self.assertTrue(b64decode(final[len(prefix) :]).startswith(b"v="))
            self.assertTrue(done.startswith(success), done)

    def test_last(self) -> None:
        """Cancelled at the very last, or with something to say there: nobody is logged in."""
        for protocol, (*_, malformed) in PROTOCOLS.items():
            for last in (b"*", b64encode(b"x"), b"!"):
                answer = self.steps(protocol, last=last)[-1]
                self.assertTrue(answer.startswith(malformed), answer)

    def test_refused(self) -> None:
        """
        A wrong password, an account without a verifier, a name that isn't known, one that can't be:
        as many steps, the same text.
        """
        for protocol, (_, _, _, refused, _) in PROTOCOLS.items():
            found = [
                self.steps(protocol, name, password)
                for name, password in (
                    *(("alice@example.test", "wrong"), ("bob@example.test", "bob's")),
                    *(("nobody@example.test", "x"), ("a b@@", "x")),
                )
            ]
            self.assertEqual({len(each) for each in found}, {3})
            self.assertEqual(len({each[-1] for each in found}), 1)
            self.assertTrue(found[0][-1].startswith(refused), found[0])

    def test_downgrade(self) -> None:
        """
        Where channel binding is offered, a client that could bind and says that it wasn't offered
        to (RFC 5802 §6), or that binds to another connection than ours, is refused: somebody sits
        between. One that can't bind isn't, nor is it where there is nothing to bind to.
        """
        self.plus = True
        ours, others = Bound({"tls-exporter": b"x"}), Bound({"tls-exporter": b"y"})
        plus = ScramClient(SCHEME, plus=True)
        for protocol, (_, _, success, refused, _) in PROTOCOLS.items():
            for server, mechanism, channel, right in (
                *((ours, plus, ours, True), (ours, plus, others, False)),
                *((ours, ScramClient(SCHEME), None, True), (None, ScramClient(SCHEME), None, True)),
                (ours, ScramClient(SCHEME, flag=b"y"), others, False),
                (None, ScramClient(SCHEME, flag=b"y"), ours, True),
            ):
                self.channel = server
                said = self.steps(protocol, mechanism=mechanism, channel=channel)[-1]
                self.assertTrue(said.startswith(success if right else refused), said)
            # What isn't there can't be begun.
            self.channel = None
            said = self.steps(protocol, mechanism=plus, channel=ours)
            self.assertEqual(len(said), 1)
            self.assertIn(b"Unknown mechanism", said[0])

    def test_lockedOut(self) -> None:
        """
        Whoever is locked out learns nothing of the password that he tries: the server doesn't show
        that it knows the right one, and the answers are the same.
        """
        self.samePeer = True
        for number in range(10):
            self.steps("submissions", f"user{number}@example.test", "wrong")
        for protocol in PROTOCOLS:
            right = self.steps(protocol)
            wrong = self.steps(protocol, password="wrong")
            self.assertEqual((len(right), right[-1]), (len(wrong), wrong[-1]))
            self.assertIn(b"Too many failed logins", right[-1])
        salts = [
            b64decode(said[1][2:]).partition(b",")[2]
            for said in (self.steps("imaps"), self.steps("imaps", "alice"))
        ]
        self.samePeer = False
        elsewhere = b64decode(self.steps("imaps")[1][2:]).partition(b",")[2]
        self.assertEqual(salts, [elsewhere] * 2)

    def test_waits(self) -> None:
        """
        What a client sends while its account is looked up waits; one that goes meanwhile is let
        go.
        """
        slow = self.source = Slow(self.source)
        first = b64encode(b"n,,n=alice,r=x") + b"\r\n"
        for protocol, (command, prefix, *_, malformed) in PROTOCOLS.items():
            slow.gate = Deferred()
            client, gone = self.connect(protocol), self.connect(protocol)
            for each in (client, gone):
                each.send(command)
                self.assertEqual(each.send(first), b"")
            self.assertEqual(client.send(b"*\r\n"), b"")
            gone.disconnect()
            slow.gate.callback(None)
            client.settle()
            challenge, cancelled = client.wire.take().splitlines(keepends=True)
            self.assertTrue(challenge.startswith(prefix))
            self.assertTrue(cancelled.startswith(malformed), cancelled)
            self.assertTrue(gone.finished)
            self.assertIs(gone.failure, None)

    def test_down(self) -> None:
        """Secrets that can't be had make no password wrong."""
        slow = self.source = Slow(self.source)
        slow.gate.errback(TemporaryFailure())
        client = self.connect("submissions")
        client.send(b"AUTH SCRAM-SHA-256\r\n")
        said = client.send(b64encode(b"n,,n=alice,r=x") + b"\r\n")
        self.assertTrue(said.startswith(b"454 4.7.0 "), said)
