"""
The real server with checkers besides the accounts' own, and the clients of Python's library.
"""

from __future__ import annotations

import imaplib
import poplib
import smtplib
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.harness import ALICE, BOB, DOMAIN, PASSWORD, Server, looseTLS

CONFIG = """
[auth]
checkers = ["accounts", "file", "command"]
create-accounts = true
exempt-networks = ["127.0.0.0/8"]
max-failures = 100

[checker-file]
path = "{place}/users"

[checker-command]
command = ["{place}/check"]
timeout = 5
"""
CHECK = """#!/bin/sh
[ -e {place}/down ] && exit 111
[ "$(tr '\\000' : <&3)" = carol@example.test:known::  ]
"""


class CheckersTests(SynchronousTestCase):
    """
    One server, three checkers.
    """

    def setUp(self) -> None:
        """Alice has a password here, Bob's is in the file, Carol's is known to the command."""
        self.place = Path(self.mktemp()).resolve()
        self.place.mkdir()
        self.write(f"{BOB}:{{SHA256}}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=\n")
        check = self.place / "check"
        check.write_text(CHECK.format(place=self.place))
        check.chmod(0o700)
        self.server = Server(config=CONFIG.format(place=self.place))
        self.addCleanup(self.server.close)
        self.server.addAccounts(ALICE)
        self.server.start()

    def write(self, text: str) -> None:
        """
        Put another password file in the place of what is there.
        """
        other = self.place / "users.new"
        other.write_text(text)
        other.replace(self.place / "users")

    def login(self, name: str, password: str) -> str:
        """
        @return: C{yes}, or what the server said.
        """
        port = self.server.ports["imaps"]
        client = imaplib.IMAP4_SSL("127.0.0.1", port, ssl_context=looseTLS())
        try:
            client.login(name, password)
            client.select()
            return "yes"
        except imaplib.IMAP4.error as error:
            return str(error)
        finally:
            client.logout()

    def test_chain(self) -> None:
        """
        Each gets in by whoever knows the password, to accounts that are made at the first login, by
        each protocol; what the file says now holds; while the command is down nobody is told that
        a password is wrong, and whom others know gets in.
        """
        self.assertEqual(self.login(ALICE, PASSWORD), "yes")
        self.assertEqual(self.login(BOB, "secret"), "yes")
        carol = f"carol@{DOMAIN}"
        self.assertEqual(self.login(carol, "known"), "yes")
        self.assertIn("AUTHENTICATIONFAILED", self.login(carol, "wrong"))
        self.assertIn("AUTHENTICATIONFAILED", self.login(f"carol@other.{DOMAIN}", "known"))
        listed = self.server.tool("user", "list")
        self.assertEqual(listed.count("@"), 3, listed)

        pop = poplib.POP3_SSL("127.0.0.1", self.server.ports["pop3s"], context=looseTLS())
        pop.user(BOB)
        pop.pass_("secret")
        pop.quit()
        with smtplib.SMTP_SSL(
            "127.0.0.1", self.server.ports["submissions"], context=looseTLS()
        ) as smtp:
            smtp.login(carol, "known")

        (self.place / "down").touch()
        self.assertIn("UNAVAILABLE", self.login(carol, "known"))
        self.assertIn("UNAVAILABLE", self.login(ALICE, "wrong"))
        self.assertEqual(self.login(BOB, "secret"), "yes")
        pop = poplib.POP3_SSL("127.0.0.1", self.server.ports["pop3s"], context=looseTLS())
        pop.user(carol)
        error = self.assertRaises(poplib.error_proto, pop.pass_, "known")
        self.assertIn("[SYS/TEMP]", str(error))
        pop.quit()
        with smtplib.SMTP_SSL(
            "127.0.0.1", self.server.ports["submissions"], context=looseTLS()
        ) as smtp:
            smtp.ehlo()
            # The one reply that tells a client to try again (RFC 4954 §6).
            code, text = smtp.docmd("AUTH PLAIN AGNhcm9sQGV4YW1wbGUudGVzdABrbm93bg==")
            self.assertEqual((code, text[:6]), (454, b"4.7.0 "))
        (self.place / "down").unlink()

        self.write(f"{ALICE}:{{PLAIN}}another\n")
        time.sleep(1.1)
        self.assertEqual(self.login(ALICE, "another"), "yes")
        self.assertIn("AUTHENTICATIONFAILED", self.login(BOB, "secret"))
        self.server.stop()
