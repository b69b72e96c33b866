"""
A message is composed in a mailbox and submitted from there (RFC 4468 §4), over real connections:
Python's imaplib and smtplib, with the commands they don't know sent as they are.
"""

from __future__ import annotations

import imaplib
import re
import smtplib

from twisted.trial.unittest import TestCase

from tests.interop.harness import ALICE, BOB, DOMAIN, PASSWORD, Server, looseTLS

#: Not held in memory by the server.
ATTACHMENT = b"0123456789abcdef" * 4 + b"\r\n"
LARGE = (
    f"From: {ALICE}\r\nTo: {BOB}\r\nSubject: large\r\nDate: Mon, 7 Feb 1994 21:52:25 -0800\r\n"
    "Message-ID: <large@example.test>\r\n\r\n"
).encode() + ATTACHMENT * 8000


class BURLTests(TestCase):
    """
    Alice submits to Bob.
    """

    def imap(self, server: Server, user: str) -> imaplib.IMAP4:
        """
        @return: a session that is logged in.
        """
        client = imaplib.IMAP4("127.0.0.1", server.ports["imap"], 30)
        self.addCleanup(client.shutdown)
        client.starttls(looseTLS())
        client.login(user, PASSWORD)
        return client

    def test_composedAndSubmitted(self) -> None:
        """
        CATENATE makes the message, GENURLAUTH the URL, BURL sends it; Bob gets each octet, and what
        alice had to send beyond the first draft was a few hundred.
        """
        server = Server()
        self.addCleanup(server.close)
        server.tool("domain", "add", DOMAIN)
        server.addAccounts(ALICE, BOB)
        server.start()
        alice = self.imap(server, ALICE)
        alice.append("Drafts", "", "", LARGE)
        alice.select("Drafts")
        for name, states in (("GENURLAUTH", ("AUTH", "SELECTED")), ("REPLACE", ("SELECTED",))):
            imaplib.Commands[name] = states  # type: ignore[attr-defined]
            self.addCleanup(imaplib.Commands.pop, name)  # type: ignore[attr-defined]
        parts = "URL ;UID=1 URL ;UID=1/;SECTION=TEXT"
        kind, _ = alice._simple_command("REPLACE", f"1 Drafts CATENATE ({parts})")
        self.assertEqual(kind, "OK")
        submission = smtplib.SMTP("127.0.0.1", server.ports["submission"], timeout=30)
        self.addCleanup(submission.close)
        submission.starttls(context=looseTLS())
        submission.login(ALICE, PASSWORD)
        submission.ehlo("client.test")
        match = re.match(r"imap imap://(\S+)\Z", submission.esmtp_features["burl"].strip())
        assert match is not None
        user = ALICE.replace("@", "%40")
        rump = f"imap://{user}@{match[1]}/Drafts/;UID=2;URLAUTH=submit+{user}"
        kind, _ = alice._simple_command("GENURLAUTH", f'"{rump}"', "INTERNAL")
        self.assertEqual(kind, "OK")
        [answer] = alice.response("GENURLAUTH")[1]
        assert isinstance(answer, bytes)
        url = answer.decode("ascii").strip('"')
        self.assertEqual(submission.mail(ALICE)[0], 250)
        self.assertEqual(submission.rcpt(BOB)[0], 250)
        self.assertEqual(submission.docmd("BURL", f"{url} LAST")[0], 250)
        bob = self.imap(server, BOB)
        bob.select()
        _, found = bob.fetch("1", "(BODY[])")
        assert isinstance(found[0], tuple)
        self.assertTrue(found[0][1].endswith(LARGE + ATTACHMENT * 8000))
