"""
C{mailstack logins}: one's own, from a server.
"""

from __future__ import annotations

from typing import Any, Self

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.cli.support import CommandTestCase
from twisted_mailstack.cli.logins import fetchLogins, makeClient
from twisted_mailstack.cli.servers import ServerURL, parseServer
from twisted_mailstack.errors import MailError
from twisted_mailstack.model.logins import LOGINS, writeLogins
from twisted_mailstack.model.records import LoginRecord

ONE = LoginRecord(1_700_000_000, None, "alice", "imaps", "192.0.2.1", "PLAIN", True, "Phone")


class Client:
    """
    One that is told what the server has.
    """

    def __init__(self, value: bytes | None, *capabilities: str) -> None:
        self.value = value
        self.capabilities = frozenset(capabilities)
        self.asked: list[tuple[str, ...]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *problem: object) -> None:
        self.asked.append(("end",))

    async def getMetadata(self, *names: str) -> dict[str, bytes | None]:
        """The entry."""
        self.asked.append(names)
        return {LOGINS: self.value}


class FetchTests(SynchronousTestCase):
    """
    What is asked of a server, and what becomes of its answer.
    """

    def fetch(self, client: Any) -> list[LoginRecord]:
        """
        @return: the logins.
        """
        return self.successResultOf(ensureDeferred(fetchLogins(client)))

    def test_told(self) -> None:
        """The server's entry is asked for, by either capability (RFC 5464 §1)."""
        for capability in ("METADATA", "METADATA-SERVER"):
            client = Client(writeLogins([ONE]), capability)
            self.assertEqual(self.fetch(client), [ONE])
            self.assertEqual(client.asked, [("", LOGINS), ("end",)])

    def test_notTold(self) -> None:
        """Another server, or an older one, doesn't; that is said."""
        for client in (Client(None, "METADATA"), Client(writeLogins([ONE]), "IMAP4REV1")):
            problem = self.failureResultOf(ensureDeferred(fetchLogins(client)), MailError)  # type: ignore[arg-type]
            self.assertIn("doesn't tell of logins", problem.getErrorMessage())
        strange: Any = Client(b"something", "METADATA")
        self.failureResultOf(ensureDeferred(fetchLogins(strange)), MailError)

    def test_client(self) -> None:
        """Without TLS no password is sent, unless that was asked for."""
        for level, allowed in (("none", True), ("required", False)):
            where = ServerURL("imap", "mail.example.test", 1143, "alice", level)
            client: Any = makeClient(Clock(), where, "secret")
            self.assertIs(client._allowPlaintextAuth, allowed)
            self.assertEqual(client._destination.level, level)


class CommandLineTests(CommandTestCase):
    """
    What the command is told.
    """

    def test_server(self) -> None:
        """A URL's user may have its @ in it, as it is or encoded."""
        for text in ("imaps://a@b.test@mail.test:99", "imaps://a%40b.test@mail.test:99/"):
            self.assertEqual(
                parseServer(text, None), ServerURL("imap", "mail.test", 99, "a@b.test", "implicit")
            )
        self.assertEqual(parseServer("imap://a@h", None).tls, "verified")
        self.assertEqual(parseServer("pop3://a@h", "none"), ("pop3", "h", None, "a", "none"))

    def test_misuse(self) -> None:
        """What can't be done is said before a password is asked for."""
        for arguments in (
            *(
                ("pop3s://a@h",),
                ("imaps://h",),
                ("a@h",),
                ("imaps://a:secret@h",),
                ("imaps://a@h:x",),
            ),
            *(
                ("imaps://a@h/x",),
                ("imaps://a@h", "--tls", "none"),
                ("imaps://a@h", "--limit", "0"),
            ),
        ):
            said = self.mailstack("logins", *arguments, status=2)
            self.assertNotIn("Password", said)
        self.assertIn("the password is empty", self.mailstack("logins", "imaps://a@h", status=1))
        # No data directory is needed, or made.
        self.assertFalse(self.data.exists())
