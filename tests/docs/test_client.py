"""
The example of docs/client.rst: in memory, and as a program that talks to a real server.
"""

from __future__ import annotations

import imaplib
import io
import re
import subprocess
import sys
from functools import partial
from typing import Any

from docs.examples import announce
from tests.docs import DOCS, ROOT
from tests.interop.harness import PASSWORD, Server, environment, looseTLS
from tests.relay.server import CLOSE
from tests.relay.server import Server as MemoryServer
from tests.smtp.test_client import ADDRESS, LOGIN, ClientTestCase
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import Recipient
from twisted_mailstack.smtp import client as clientModule
from twisted_mailstack.smtp.client import TLS_LEVELS, SMTPClient, sendMail

ANNOUNCEMENT = b"Subject: Saturday\nFrom: announcements@club.example\n\nCome all.\n"
ANN, BOB = "ann@a.example", "bob@b.example"


class AnnounceTests(ClientTestCase):
    """
    docs/examples/announce.py in memory.
    """

    def setUp(self) -> None:
        """A submission server."""
        super().setUp()
        self.server = self.serve(
            587,
            certificate=self.issued.server,
            offeredTLS=("AUTH PLAIN",),
            replies={"tls AUTH": "235 2.7.0 Hello"},
        )

    def announce(self) -> Any:
        """
        @return: the announcement, under way to two members.
        """
        client = self.client(**LOGIN)
        return self.start(announce.announce(self.internet, client, ANNOUNCEMENT, [ANN, BOB]))

    def test_sent(self) -> None:
        """Each member has a copy, over one connection."""
        results = self.successResultOf(self.announce())
        self.assertEqual([each.delivered for each in results.values()], [True, True])
        lines = ANNOUNCEMENT.replace(b"\n", b"\r\n")
        self.assertEqual(
            self.server.messages,
            [b"To: %b\r\n%b" % (member.encode(), lines) for member in (ANN, BOB)],
        )
        self.assertEqual(len(self.server.sessions), 1)

    def test_later(self) -> None:
        """Who can't have it now is tried again, who never can isn't."""
        self.server.replies["tls RCPT"] = "450 4.2.1 Busy"
        announcing = self.announce()
        self.assertNoResult(announcing)
        self.server.replies["tls RCPT"] = "550 5.1.1 Unknown"
        self.internet.wait(announce.PAUSE)
        results = self.successResultOf(announcing)
        self.assertEqual([each.code for each in results.values()], [550, 550])
        self.assertEqual(len(self.server.sessions), 2)

    def test_unreachable(self) -> None:
        """A server that is away for a while; and in the end for good."""
        told = io.StringIO()
        self.patch(sys, "stderr", told)
        self.internet.servers.pop((ADDRESS, 587))
        announcing = self.announce()
        self.internet.wait(1)
        self.assertNoResult(announcing)
        self.internet.servers[ADDRESS, 587] = self.server
        self.internet.wait(announce.PAUSE)
        self.assertEqual([each.code for each in self.successResultOf(announcing).values()],
                         [250, 250])  # fmt: skip
        self.server.replies["greeting"] = CLOSE
        announcing = self.announce()
        self.internet.wait(announce.PAUSE)
        self.internet.wait(announce.PAUSE)
        self.assertEqual(self.successResultOf(announcing), {})
        self.assertIn("attempt 3: mx.example.org: the connection was closed", told.getvalue())


class ProgramTests(ClientTestCase):
    """
    As a program.
    """

    def test_program(self) -> None:
        """It submits to twistd mailstack, whose certificate it is told to trust."""
        server = Server()
        self.addCleanup(server.close)
        server.start()
        server.addAccounts("announcements@club.example", "ann@club.example")
        message = server.work / "announcement.eml"
        message.write_bytes(ANNOUNCEMENT)
        certificate = server.data / "self-signed.pem"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "docs.examples.announce"),
                *(f"localhost:{server.ports['submission']}", str(message)),
                *("ann@club.example", "nobody@club.example"),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=ROOT,
            env={
                **environment(),
                "SSL_CERT_FILE": str(certificate),
                "MAIL_USER": "announcements@club.example",
                "MAIL_PASSWORD": PASSWORD,
            },
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        ann, nobody = done.stdout.splitlines()
        self.assertIn("ann@club.example: localhost said: 250 2.", ann)
        self.assertIn("nobody@club.example: localhost said: 550 5.1.1 ", nobody)
        with imaplib.IMAP4_SSL(
            "127.0.0.1", server.ports["imaps"], ssl_context=looseTLS(), timeout=30
        ) as client:
            client.login("ann@club.example", PASSWORD)
            client.select()
            _, data = client.fetch("1", "(BODY[TEXT])")
            assert isinstance(data[0], tuple)
            self.assertEqual(data[0][1], b"Come all.\r\n")


class PageTests(ClientTestCase):
    """
    What the page says.
    """

    def test_blocks(self) -> None:
        """Each block of code does what is said of it."""
        text = (DOCS / "client.rst").read_text("utf-8")
        blocks = re.findall(r"::\n\n((?:    .*\n|\n)+)", text)
        self.assertEqual(len(blocks), 3)
        self.names["smtp.example.org"] = [ADDRESS]
        settings: dict[str, Any] = {
            "certificate": self.authority.issue("smtp.example.org").server,
            "offeredTLS": ("AUTH PLAIN", "DSN"),
            "replies": {"tls AUTH": "235 2.7.0 Hello"},
        }
        submission = self.serve(587, "smtp.example.org", **settings)
        store = MemoryServer(replies={"message": "250 2.0.0 OK\r\n250 2.0.0 OK"})
        self.internet.servers["/run/dovecot/lmtp"] = store
        printed: list[str] = []
        client = self.connected("smtp.example.org", **LOGIN)
        for block in blocks:
            names: dict[str, Any] = {
                "reactor": self.internet,
                "client": client,
                "message": b"Subject: x\n\n",
                "password": "secret",
                "print": printed.append,
                "sendMail": partial(sendMail, trustRoot=self.authority.trustRoot),
                "SMTPClient": SMTPClient,
                "Recipient": Recipient,
                "Address": Address,
            }
            exec("async def example():\n" + block, names)
            sending = self.start(names["example"]())
            self.internet.wait(1)
            self.successResultOf(sending)
        self.end(client)
        self.assertEqual(len(printed), 1)
        self.assertEqual(len(submission.messages), 2)
        self.assertEqual(store.sessions[0].verbs, ["LHLO", "MAIL", "RCPT", "RCPT", "DATA", "QUIT"])
        lines = [line for session in submission.sessions for line in session.lines]
        self.assertIn("MAIL FROM:<alice@example.org> AUTH=<> RET=HDRS ENVID=order-4711", lines)
        self.assertIn("RCPT TO:<bob@example.net> NOTIFY=SUCCESS,FAILURE", lines)

    def test_levels(self) -> None:
        """Each level of TLS is explained."""
        text = (DOCS / "client.rst").read_text("utf-8")
        for level in TLS_LEVELS:
            self.assertIn(f"\n``{level}`` ", text)

    def test_names(self) -> None:
        """Methods and exceptions that it names are there."""
        for name in ("noop", "reset", "verify", "command", "quit", "connect", "send", "usable"):
            self.assertTrue(hasattr(SMTPClient, name))
        for name in ("sendMail", "TLSUnavailable"):
            self.assertTrue(hasattr(clientModule, name))
