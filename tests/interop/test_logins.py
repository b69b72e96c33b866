"""
Logins to a running server, by clients that aren't ours: what C{mailstack user} says holds at once,
what fails is counted for all services, and through a restart.
"""

from __future__ import annotations

import imaplib
import poplib
import smtplib
import time
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.harness import PASSWORD, Server, looseTLS
from twisted_mailstack.auth.onetime import STEP, code

ALICE = "alice@example.test"
#: This machine counts like any other network; each of its addresses is one. Hashing is as it is.
CONFIG = """
[auth]
exempt-networks = []
ipv4-prefix = 32
network-failures = 3
lockout = 600
"""


class LoginTests(SynchronousTestCase):
    """
    One server with one account.
    """

    def setUp(self) -> None:
        """Start it."""
        self.server = Server(config=CONFIG)
        self.addCleanup(self.server.close)
        self.server.start()
        self.server.addAccounts(ALICE)

    def imap(self, password: str) -> str:
        """
        @return: empty for a login, else what the server said.
        """
        client = imaplib.IMAP4_SSL(
            "127.0.0.1", self.server.ports["imaps"], ssl_context=looseTLS(), timeout=30
        )
        try:
            client.login(ALICE, password)
        except imaplib.IMAP4.error as error:
            return str(error)
        finally:
            client.shutdown()
        return ""

    def pop3(self, password: str) -> str:
        """
        @return: likewise.
        """
        client = poplib.POP3_SSL(
            "127.0.0.1", self.server.ports["pop3s"], context=looseTLS(), timeout=30
        )
        try:
            client.user(ALICE)
            client.pass_(password)
        except poplib.error_proto as error:
            return str(error)
        finally:
            client.close()
        return ""

    def smtp(self, password: str, source: str = "127.0.0.1") -> str:
        """
        @param source: the address that the client has.
        @return: likewise.
        """
        client = smtplib.SMTP_SSL(
            "127.0.0.1",
            self.server.ports["submissions"],
            context=looseTLS(),
            timeout=30,
            source_address=(source, 0),
        )
        try:
            client.login(ALICE, password)
        except smtplib.SMTPException as error:
            return str(error)
        finally:
            client.close()
        return ""

    def test_credentials(self) -> None:
        """App passwords, one-time codes and protocols are as the command has said a moment ago."""
        everywhere: tuple[Callable[[str], str], ...] = (self.imap, self.pop3, self.smtp)
        for login in everywhere:
            self.assertEqual(login(PASSWORD), "")
        shown = self.server.tool(
            *("user", "app-password", "add", ALICE, "Phone", "--service", "imap"),
        )
        app = shown.split()[-1]
        self.assertEqual(self.imap(app), "")
        self.assertIn("535", self.smtp(app))
        secret = self.server.tool("user", "totp", ALICE, "on").splitlines()[0].split()[-1]
        self.assertIn("AUTHENTICATIONFAILED", self.imap(PASSWORD))
        # The code of the step that is to come holds as well, so it doesn't run out meanwhile.
        digits = code(secret, int(time.time()) // STEP + 1)
        self.assertEqual(self.imap(PASSWORD + digits), "")
        self.assertEqual(self.imap(app), "")
        self.server.tool("user", "totp", ALICE, "off")
        self.unlock()
        self.server.tool("user", "services", ALICE, "pop3")
        self.assertEqual(self.pop3(PASSWORD), "")
        self.assertIn("AUTHENTICATIONFAILED", self.imap(app))
        # They are written within a second, on a machine that has nothing else to do.
        deadline = time.monotonic() + 60
        lines: list[str] = []
        while len(lines) < 11 and time.monotonic() < deadline:
            time.sleep(0.2)
            lines = self.server.tool("user", "logins", ALICE).splitlines()
        self.assertEqual(
            [line.split()[2:4] for line in lines],
            [
                *(["failed", "imaps"], ["ok", "pop3s"], ["ok", "imaps"], ["ok", "imaps"]),
                *(["failed", "imaps"], ["failed", "submissions"], ["failed", "submissions"]),
                # smtplib has tried PLAIN and LOGIN.
                ["ok", "imaps"],
                *(["ok", "submissions"], ["ok", "pop3s"], ["ok", "imaps"]),
            ],
        )
        self.assertTrue(lines[2].endswith("by Phone"), lines[2])
        # Their owner sees the same, by the server's certificate that nobody vouches for.
        self.server.tool("user", "services", ALICE, "--all")
        mine = ("logins", f"imap://{ALICE}@127.0.0.1:{self.server.ports['imap']}")
        seen = self.server.tool(*mine, "--tls", "required", stdin=PASSWORD + "\n").splitlines()
        # What is seen first may be this very login.
        self.assertEqual(seen[-len(lines) :], lines)
        few = self.server.tool(
            *mine, "--tls", "required", "--limit", "1", stdin=PASSWORD + "\n"
        ).splitlines()
        self.assertEqual(len(few), 1)
        said = self.server.tool(*mine, "--tls", "required", stdin="wrong\n", status=1)
        self.assertIn("uthentication failed", said)
        self.assertIn("not trusted", self.server.tool(*mine, stdin=PASSWORD + "\n", status=1))
        listed = self.server.tool("user", "app-password", "list", ALICE)
        self.assertNotIn("never", listed)

    def test_guessing(self) -> None:
        """
        Three failures, whatever the service, lock a network out, the right password too; a restart
        changes nothing; another network isn't; an operator lets it in again.
        """
        for login, wrong in ((self.imap, "x"), (self.pop3, "y"), (self.imap, "z")):
            self.assertNotEqual(login(wrong), "")
        self.assertEqual(self.smtp(PASSWORD, "127.0.0.2"), "")
        self.server.stop()
        self.server.start()
        self.assertIn("UNAVAILABLE", self.imap(PASSWORD))
        self.unlock()
        self.assertEqual(self.imap(PASSWORD), "")

    def unlock(self) -> None:
        """Let this machine in again."""
        config = str(self.server.work / "mailstack.toml")
        self.server.tool("--config", config, "user", "unlock", "--network", "127.0.0.1")
