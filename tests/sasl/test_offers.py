"""
What clients of IMAP, POP3 and SMTP are offered: that depends on TLS and on the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.imap.support import now
from tests.sasl.support import Bound, FakeContext
from twisted_mailstack.config import Configuration
from twisted_mailstack.imap.registry import EXTENSIONS as IMAP
from twisted_mailstack.imap.registry import makeRegistry
from twisted_mailstack.imap.session import IMAPSession, IMAPSettings
from twisted_mailstack.mechanisms import Mechanisms
from twisted_mailstack.model.records import Channel, ConnectionInfo
from twisted_mailstack.pop3.server import POP3Factory
from twisted_mailstack.pop3.session import POP3Settings
from twisted_mailstack.sasl.registry import MAKERS
from twisted_mailstack.smtp.server import SMTPFactory
from twisted_mailstack.smtp.session import SMTPSettings
from twisted_mailstack.storage.memory import MemoryMailStore
from twisted_mailstack.testing.conversation import Conversation, FakeWire

NAME = "mail.example.test"
#: Of each protocol: how TLS is started, how one asks, how one chooses and how a challenge begins.
PROTOCOLS = {
    "imap": (b"a STARTTLS\r\n", b"a CAPABILITY\r\n", b"a AUTHENTICATE %b\r\n", b"+ "),
    "pop3": (b"STLS\r\n", b"CAPA\r\n", b"AUTH %b\r\n", b"+ "),
    "smtp": (b"STARTTLS\r\n", b"EHLO client.example.test\r\n", b"AUTH %b\r\n", b"334 "),
}
DEFAULT = ["SCRAM-SHA-256", "PLAIN", "LOGIN"]
CERTIFICATE = b"certificate"
#: All that can be had, and all that it needs.
ALL: Mapping[str, Any] = {
    "mechanisms": tuple(MAKERS),
    "oauthIntrospection": "https://x.test/i",
    "anonymous": "public@x.test",
    "certificateAccounts": {sha256(CERTIFICATE).hexdigest(): "a@x.test"},
}


class Wire(FakeWire):
    """
    One whose TLS is a channel that can be asked about.
    """

    channel: Channel | None = None

    def describe(self) -> ConnectionInfo:
        """See FakeWire."""
        found = super().describe()
        return found._replace(channel=self.channel) if self.secure else found


def names(protocol: str, said: bytes) -> list[str]:
    """
    @return: what a server offers, by its answer.
    """
    words = said.decode("ascii").replace("\r\n", " \r\n ").split(" ")
    if protocol == "imap":
        return [each.removeprefix("AUTH=") for each in words if each.startswith("AUTH=")]
    begin = "SASL" if protocol == "pop3" else "250-AUTH"
    if begin not in words:
        return []
    rest = words[words.index(begin) + 1 :]
    return rest[: rest.index("\r\n")]


class OfferTests(SynchronousTestCase):
    """
    On one connection, before TLS and then under TLS.
    """

    def connect(
        self,
        protocol: str,
        channel: Channel | None = None,
        allowPlaintext: bool = False,
        tickets: bool = False,
        **options: Any,
    ) -> Conversation:
        """
        @param options: of the configuration.
        @return: a connection without TLS.
        """

        async def fetch(*arguments: Any) -> tuple[int, bytes]:
            raise NotImplementedError

        clock = Clock()
        configuration = Configuration(hostname=NAME, **options)
        made = Mechanisms(configuration, clock, MemoryMailStore().directory, lambda: 0.0, fetch)
        if tickets:
            made.services = made.services._replace(
                tickets=lambda: FakeContext([], ""), accountName=lambda principal: None
            )
        now(made.look())
        nobody: Any = None
        portal, mechanisms, tls = Portal(nobody), made.of(protocol), nobody or object()
        serve: Any
        if protocol == "imap":
            imap = IMAPSettings(hostname=NAME, allowPlaintextAuth=allowPlaintext)
            registry = makeRegistry(tuple(IMAP))

            async def serve(stream: Any) -> None:
                await IMAPSession(stream, imap, registry, portal, mechanisms, True).run()

        elif protocol == "pop3":
            pop3 = POP3Settings(hostname=NAME, allowPlaintextAuth=allowPlaintext)
            serve = POP3Factory(portal, pop3, clock, mechanisms=mechanisms, tls=tls).serve
        else:
            smtp = SMTPSettings(hostname=NAME, submission=True, allowPlaintextAuth=allowPlaintext)
            serve = SMTPFactory(
                nobody, smtp, clock, portal=portal, mechanisms=mechanisms, tls=tls
            ).serve
        wire = Wire(protocol, False)
        wire.channel = channel
        client = Conversation(serve, wire=wire, clock=clock)
        wire.take()
        self.addCleanup(client.disconnect)
        return client

    def offers(self, protocol: str, **options: Any) -> tuple[list[str], list[str]]:
        """
        @return: what is offered before TLS and under it. What isn't can't be begun either.
        """
        client = self.connect(protocol, **options)
        start, ask, choose, challenge = PROTOCOLS[protocol]
        found = []
        for _ in range(2):
            offered = names(protocol, client.send(ask))
            if protocol == "pop3":
                # The older way to ask.
                listed = client.send(b"AUTH\r\n").decode("ascii").split("\r\n")
                self.assertEqual(listed[1:-2], offered)
            found.append(offered)
            for name in {*MAKERS, "X"} - {*offered}:
                said = client.send(choose % name.encode("ascii"))
                self.assertFalse(said.startswith(challenge), said)
            client.send(start)
        self.assertTrue(client.wire.secure)
        return found[0], found[1]

    def test_default(self) -> None:
        """Nothing without TLS, since all show or endanger the password."""
        for protocol in PROTOCOLS:
            self.assertEqual(self.offers(protocol), ([], DEFAULT))

    def test_plaintext(self) -> None:
        """Where it is allowed, all that TLS isn't needed for by its nature."""
        for protocol in PROTOCOLS:
            self.assertEqual(self.offers(protocol, allowPlaintext=True), (DEFAULT, DEFAULT))
            before, under = self.offers(protocol, allowPlaintext=True, tickets=True, **ALL)
            absent = {each for each in MAKERS if each.endswith("-PLUS")} | {"EXTERNAL"}
            self.assertEqual(set(MAKERS) - set(before) - {"ANONYMOUS"}, absent)
            self.assertEqual(under, before)

    def test_chosen(self) -> None:
        """Those that the configuration names and no others, in our order."""
        chosen = ("LOGIN", "PLAIN", "SCRAM-SHA-1", "CRAM-MD5")
        for protocol in PROTOCOLS:
            self.assertEqual(
                self.offers(protocol, mechanisms=chosen),
                ([], ["SCRAM-SHA-1", "PLAIN", "LOGIN", "CRAM-MD5"]),
            )
            # Nobody could check these.
            chosen_ = ("OAUTHBEARER", "XOAUTH2", "ANONYMOUS", "EXTERNAL", "GSSAPI")
            self.assertEqual(self.offers(protocol, mechanisms=chosen_), ([], []))

    def test_bound(self) -> None:
        """What is bound to TLS, where that can be, before its like."""
        for protocol in PROTOCOLS:
            for bindings in ({"tls-exporter": b"x"}, {"tls-server-end-point": b"x"}, {}):
                before, under = self.offers(
                    protocol,
                    channel=Bound(bindings),
                    mechanisms=("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"),
                )
                self.assertEqual(before, [])
                plus = ["SCRAM-SHA-256-PLUS"] if bindings else []
                self.assertEqual(under, [*plus, "SCRAM-SHA-256", "PLAIN"])

    def test_certificate(self) -> None:
        """EXTERNAL to those whose certificate is an account's."""
        for protocol in PROTOCOLS:
            for shown, wanted in ((CERTIFICATE, ["EXTERNAL"]), (b"another", []), (None, [])):
                options = {**ALL, "mechanisms": ("EXTERNAL",)}
                found = self.offers(protocol, channel=Bound({}, shown), **options)
                self.assertEqual(found, ([], wanted))

    def test_withoutTLS(self) -> None:
        """Tickets need no TLS; nor does nobody, who may read by IMAP alone."""
        for protocol in PROTOCOLS:
            before, under = self.offers(protocol, tickets=True, **ALL)
            wanted = ["GSSAPI", "ANONYMOUS"] if protocol == "imap" else ["GSSAPI"]
            self.assertEqual(before, wanted)
            self.assertEqual([each for each in under if each in before], wanted)
            self.assertIn("OAUTHBEARER", under)
