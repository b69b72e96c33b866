"""
The policy of logins as clients of IMAP, POP3 and SMTP meet it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any

from tests.auth.test_policy import LoginTestCase
from twisted_mailstack.auth.login import MAX_DELAY
from twisted_mailstack.auth.schemes import newAppPassword
from twisted_mailstack.imap.registry import EXTENSIONS as IMAP
from twisted_mailstack.imap.registry import makeRegistry
from twisted_mailstack.imap.session import IMAPSession, IMAPSettings
from twisted_mailstack.net.protocol import MailFactory
from twisted_mailstack.pop3.server import POP3Factory
from twisted_mailstack.pop3.session import POP3Settings
from twisted_mailstack.sasl.registry import MECHANISMS
from twisted_mailstack.smtp.server import SMTPFactory
from twisted_mailstack.smtp.session import SMTPSettings
from twisted_mailstack.testing.conversation import Conversation, FakeWire
from twisted_mailstack.wire.stream import Stream


class ProtocolTests(LoginTestCase):
    """
    One portal, three protocols.
    """

    def talk(self, protocol: str, name: str, password: str, peer: str = "192.0.2.1") -> str:
        """
        Log in by PLAIN, under TLS, and wait for the answer.

        @return: its line.
        """
        plain = b64encode(f"\0{name}\0{password}".encode()).decode()
        if protocol == "imaps":
            settings = IMAPSettings(hostname="mail.example.test")
            registry = makeRegistry(tuple(IMAP))

            async def serve(stream: Stream) -> None:
                await IMAPSession(stream, settings, registry, self.portal, MECHANISMS, False).run()

            before, line = "", f"a AUTHENTICATE PLAIN {plain}"
        else:
            factory: MailFactory
            if protocol == "pop3s":
                factory = POP3Factory(
                    self.portal, POP3Settings(hostname="mail.example.test"), self.clock
                )
                before, line = "", f"AUTH PLAIN {plain}"
            else:
                target: Any = None
                factory = SMTPFactory(
                    target,
                    SMTPSettings(hostname="mail.example.test", submission=True),
                    self.clock,
                    portal=self.portal,
                )
                before, line = "EHLO client.example.test\r\n", f"AUTH PLAIN {plain}"
            serve = _serveOf(factory)
        wire = FakeWire(protocol, True, peer)
        client = Conversation(serve, wire=wire, clock=self.clock)
        wire.take()
        if before:
            client.send(before.encode())
        answer = client.send(f"{line}\r\n".encode())
        for _ in range(int(MAX_DELAY) + 2):
            if answer:
                break
            self.clock.advance(1)
            client.settle()
            answer = wire.take()
        client.disconnect()
        return answer.decode().splitlines()[0]

    def test_services(self) -> None:
        """A protocol that is switched off answers as of a wrong password."""
        self.setPolicy("alice", services=frozenset(("imap",)))
        self.assertTrue(self.talk("imaps", "alice", "alice's").startswith("a OK "))
        self.assertEqual(
            self.talk("pop3s", "alice", "alice's"), "-ERR [AUTH] Authentication failed"
        )
        self.assertEqual(
            self.talk("submissions", "alice", "alice's"), "535 5.7.8 Authentication failed"
        )

    def test_appPassword(self) -> None:
        """An app password for SMTP sends, and reads nothing."""
        text, secrets = newAppPassword()
        services = frozenset(("smtp",))
        self.now(self.directory.addAppPassword(self.address("alice"), "a", secrets, services))
        self.assertTrue(self.talk("submissions", "alice", text).startswith("235 "))
        self.assertTrue(
            self.talk("imaps", "alice", text).startswith("a NO [AUTHENTICATIONFAILED] ")
        )
        self.assertTrue(self.talk("pop3s", "alice", text).startswith("-ERR [AUTH] "))

    def test_lockedOut(self) -> None:
        """
        What fails in one protocol counts in all; the answer is a temporary one (RFC 5530
        UNAVAILABLE, RFC 3206 SYS/TEMP, RFC 4954 §6: 454), so that clients keep the password that
        they have.
        """
        for number, protocol in enumerate(("imaps", "pop3s", "submissions") * 3 + ("imaps",)):
            self.talk(protocol, f"user{number}", "wrong")
        text = "Too many failed logins, try again later"
        for name, password in (("alice", "alice's"), ("nobody", "x")):
            self.assertEqual(self.talk("imaps", name, password), f"a NO [UNAVAILABLE] {text}")
            self.assertEqual(self.talk("pop3s", name, password), f"-ERR [SYS/TEMP] {text}")
            self.assertEqual(self.talk("submissions", name, password), f"454 4.7.0 {text}")
        answer = self.talk("imaps", "alice", "alice's", "198.51.100.1")
        self.assertTrue(answer.startswith("a OK "))
        self.assertEqual(
            {record.service for record in self.logins(None)}, {"imaps", "pop3s", "submissions"}
        )


def _serveOf(factory: Any) -> Callable[[Stream], Any]:
    serve: Callable[[Stream], Any] = factory.serve
    return serve
