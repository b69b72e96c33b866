"""
Mail to and from Debian's Postfix and Exim, over STARTTLS, both ways.
"""

from __future__ import annotations

import atexit
import re
import smtplib
from collections.abc import Sequence
from functools import cache

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.relaying.mtas import MTA, Exim, Postfix
from tests.interop.relaying.servers import (
    OCTETS,
    MailHost,
    Network,
    Notification,
    text,
    waitFor,
)

#: Each test has one.
USERS = ("octets", "large", "žofie", "dsn", "sender", "outage", "many")


@cache
def shared(kind: type[MTA]) -> tuple[MailHost, MTA]:
    """
    @return: a server of ours and another, both running.
    """
    kind.needed()
    network = Network()
    atexit.register(network.close)
    ours = network.server("a.test")
    theirs = kind(
        network.address(),
        network.port,
        "p.test",
        USERS,
        {ours.domain: (ours.address, network.port)},
    )
    atexit.register(theirs.close)
    network.dns.host(theirs.name, theirs.address)
    network.dns.mx(theirs.domain, (10, theirs.name))
    ours.start()
    theirs.start()
    return ours, theirs


class MTATests:
    """
    What holds with each of them.
    """

    kind: type[MTA]

    def setUp(self) -> None:
        """Both."""
        super().setUp()
        self.ours, self.theirs = shared(self.kind)

    def fresh(self, name: str) -> str:
        """
        @return: the address of an account of ours that no other test has.
        """
        address = self.ours.user(name)
        self.ours.addAccounts(address)
        return address

    def send(
        self,
        sender: str,
        recipients: str | Sequence[str],
        message: bytes,
        mail: Sequence[str] = (),
        rcpt: Sequence[str] = (),
    ) -> None:
        """
        Give the other server a message.
        """
        with smtplib.SMTP(self.theirs.address, self.theirs.port, timeout=60) as client:
            self.assertEqual(client.sendmail(sender, recipients, message, mail, rcpt), {})

    def assertSecure(self, octets: bytes, host: str) -> None:
        """The topmost Received field is of that host and says that it came through TLS."""
        match = re.search(rb"(?m)^Received: ((?:.*\r\n)(?:[ \t].*\r\n)*)", octets)
        assert match is not None, octets
        trace = b" ".join(match.group(1).split()).decode()
        self.assertIn(f" by {host} ", trace)
        self.assertRegex(trace, r"with (UTF8SMTPS|E?SMTPS|esmtps|utf8esmtps)\b")

    def test_fromUs(self) -> None:
        """
        What we pass on arrives octet by octet, once: 8-bit text, dots, long lines, and a message of
        several chunks.
        """
        ours, theirs = self.ours, self.theirs
        large = b"".join(b".%07d is a line of the text\r\n" % number for number in range(60_000))
        ours.submit("octets@p.test", OCTETS, mail=["BODY=8BITMIME"])
        ours.submit(["large@p.test", "many@p.test"], text("large", body=large))
        (octets,) = theirs.mail(1, "octets")
        self.assertTrue(octets.endswith(b"\r\n" + OCTETS), octets)
        self.assertTrue(octets.lower().startswith(b"return-path: <alice@a.test>\r\n"), octets)
        self.assertSecure(octets, theirs.name)
        (octets,) = theirs.mail(1, "large")
        self.assertTrue(octets.endswith(b"\r\n" + text("large", body=large)))
        theirs.mail(1, "many")
        ours.drained()
        for user in ("octets", "large", "many"):
            self.assertEqual(len(theirs.inbox(user)), 1)
        self.assertEqual(ours.inbox(), [])

    def test_toUs(self) -> None:
        """What it passes on to us arrives so, too."""
        ours = self.ours
        to, other = self.fresh("octets"), self.fresh("large")
        large = b"".join(b".%07d is a line of the text\r\n" % number for number in range(60_000))
        self.send("octets@p.test", to, OCTETS, ["BODY=8BITMIME"])
        self.send("large@p.test", [to, other], text("large", "large@p.test", large))
        ours.mail(2, to)
        (octets,) = [each for each in ours.inbox(to) if b"Subject: octets" in each]
        self.assertTrue(octets.endswith(b"\r\n" + OCTETS), octets)
        self.assertTrue(octets.startswith(b"Return-Path: <octets@p.test>\r\n"))
        self.assertSecure(octets, ours.name)
        (octets,) = ours.mail(1, other)
        self.assertTrue(octets.endswith(b"\r\n" + text("large", "large@p.test", large)))
        self.assertEqual(len(ours.inbox(to)), 2)

    def test_utf8(self) -> None:
        """Addresses and header fields in UTF-8, both ways (RFC 6531)."""
        ours, theirs = self.ours, self.theirs
        mine, other = self.fresh("žofie"), "žofie@p.test"
        options = ["SMTPUTF8", "BODY=8BITMIME"]
        message = text("Grüße", mine) + "Žluťoučký kůň\r\n".encode()
        ours.submit(other, message, sender=mine, mail=options)
        (octets,) = theirs.mail(1, "žofie")
        self.assertTrue(octets.endswith(b"\r\n" + message), octets)
        self.assertSecure(octets, theirs.name)
        message = text("Grüße", other) + "Žluťoučký kůň\r\n".encode()
        self.send(other, mine, message, options)
        (octets,) = ours.mail(1, mine)
        self.assertTrue(octets.endswith(b"\r\n" + message), octets)
        self.assertTrue(octets.startswith(f"Return-Path: <{other}>\r\n".encode()), octets)
        self.assertIn(b"with UTF8SMTPS", octets)

    def test_success(self) -> None:
        """
        Wishes about notifications reach the one who can fulfil them, and what it says of success
        reaches the sender, both ways (RFC 3461).
        """
        ours, theirs = self.ours, self.theirs
        mine = self.fresh("dsn")
        for sender, to, submit, inbox, host in (
            (ours.user(), "dsn@p.test", ours.submit, lambda: ours.mail(1), theirs.name),
            (
                "dsn@p.test",
                mine,
                lambda *given, mail, rcpt: self.send("dsn@p.test", *given, mail, rcpt),
                lambda: theirs.mail(2, "dsn")[1:],
                ours.name,
            ),
        ):
            submit(
                to,
                text("dsn", sender),
                mail=["RET=HDRS", "ENVID=an+2Bid"],
                rcpt=["NOTIFY=SUCCESS", "ORCPT=rfc822;first+2B@a.test"],
            )
            (octets,) = inbox()
            notification = Notification(octets)
            self.assertEqual(notification.fields["reporting-mta"], f"dns; {host}")
            self.assertIn(notification.fields["original-envelope-id"], ("an+id", "an+2Bid"))
            only = notification.only
            self.assertEqual(only["action"], "delivered")
            self.assertRegex(only["status"], r"\A2\.\d+\.\d+\Z")
            self.assertEqual(only["final-recipient"].lower().replace(" ", ""), f"rfc822;{to}")
            self.assertIn("first+", only["original-recipient"])

    def test_refused(self) -> None:
        """What the one refuses the other tells the sender of, both ways."""
        ours, theirs = self.ours, self.theirs
        mine = self.fresh("sender")
        ours.submit("nobody@p.test", text("refused", mine), sender=mine)
        (octets,) = ours.mail(1, mine)
        only = Notification(octets).only
        self.assertEqual((only["action"], only["status"]), ("failed", "5.1.1"))
        self.assertEqual(only["final-recipient"], "rfc822; nobody@p.test")
        self.assertEqual(only["remote-mta"], f"dns; {theirs.name}")
        self.assertTrue(only["diagnostic-code"].startswith("smtp; 550 5.1.1 "), only)
        self.send("sender@p.test", "nobody@a.test", text("refused", "sender@p.test"))
        (octets,) = theirs.mail(1, "sender")
        only = Notification(octets).only
        self.assertEqual(only["action"], "failed")
        self.assertIn("550", only["diagnostic-code"])
        self.assertIn("5.1.1", only["diagnostic-code"])
        ours.drained()
        self.assertEqual(len(ours.inbox(mine)), 1)

    def test_outage(self) -> None:
        """While the one is down the other keeps the mail, both ways; it arrives once."""
        ours, theirs = self.ours, self.theirs
        mine = self.fresh("outage")
        theirs.stop()
        ours.submit("outage@p.test", text("outage"))
        waitFor(
            lambda: ours.count("SELECT count(*) FROM destination WHERE name = 'p.test'"),
            "the failure is noted",
        )
        theirs.start()
        theirs.mail(1, "outage")
        ours.drained()
        self.assertEqual(len(theirs.inbox("outage")), 1)
        ours.stop()
        self.send("outage@p.test", mine, text("outage", "outage@p.test"))
        waitFor(lambda: "Connection refused" in theirs.output(), "it has tried")
        ours.start()
        ours.mail(1, mine)
        self.assertEqual(len(ours.inbox(mine)), 1)


class PostfixTests(MTATests, SynchronousTestCase):
    """
    Debian's Postfix.
    """

    kind = Postfix


class EximTests(MTATests, SynchronousTestCase):
    """
    Debian's Exim, which passes messages on in chunks (RFC 3030).
    """

    kind = Exim

    def test_toUs(self) -> None:
        """As with the others, in chunks."""
        super().test_toUs()
        # Its log has a K where it did that.
        self.assertRegex(self.theirs.output(), r"(?m)=> octets@a\.test .* K ")
