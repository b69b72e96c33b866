"""
Servers of ours that pass mail to one another as the DNS says, in processes of their own.
"""

from __future__ import annotations

import atexit
import re
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.harness import PASSWORD
from tests.interop.relaying.servers import (
    OCTETS,
    MailHost,
    Network,
    Notification,
    notifications,
    settle,
    text,
    waitFor,
)


@cache
def shared() -> tuple[MailHost, MailHost, MailHost]:
    """
    @return: three running servers that the tests leave as they were, but for mail.
    """
    network = Network()
    atexit.register(network.close)
    # Who submits may say that the mail is anybody's.
    hosts = tuple(network.server(f"{name}.test", submission__policies=[]) for name in "abc")
    for each in hosts:
        each.start()
    a, b, c = hosts
    return a, b, c


def fresh(host: MailHost, name: str) -> str:
    """
    @return: the address of an account that no other test has.
    """
    address = host.user(name)
    host.addAccounts(address)
    return address


class MXTests(SynchronousTestCase):
    """
    RFC 5321 §5.1.
    """

    def setUp(self) -> None:
        """Three servers."""
        self.a, self.b, self.c = shared()
        self.dns = self.a.network.dns

    def test_chain(self) -> None:
        """
        Mail goes from one server to the next by MX, over TLS each time, through an alias that leads
        to the third; nothing but trace fields is added, and it arrives once.
        """
        to = fresh(self.c, "chain")
        self.b.addAlias("chain@b.test", to)
        self.a.submit("chain@b.test", OCTETS)
        (octets,) = self.c.mail(1, to)
        settle(self.a, self.b, self.c)
        self.assertEqual(len(self.c.inbox(to)), 1)
        self.assertTrue(octets.endswith(OCTETS), octets)
        trace = octets.removesuffix(OCTETS).decode()
        self.assertTrue(trace.startswith("Return-Path: <alice@a.test>\r\n"), trace)
        received = re.findall(r"(?m)^Received: from (\S+) [^;]*?\sby (\S+) with (\S+)", trace)
        self.assertEqual(
            [each[1:] for each in received],
            [("mx.c.test", "ESMTPS"), ("mx.b.test", "ESMTPS"), ("mx.a.test", "ESMTPA")],
        )
        self.assertEqual([each[0] for each in received[:2]], ["mx.b.test", "mx.a.test"])

    def test_implicit(self) -> None:
        """A domain without MX is its own host, by way of its aliases too (§5.1)."""
        self.dns.host("implicit.test", self.b.address)
        self.dns.alias("aliased.test", "implicit.test")
        for domain in ("implicit.test", "aliased.test"):
            to = f"someone@{domain}"
            self.b.addAccounts(to)
            self.a.submit(to, text(domain))
            self.b.mail(1, to)

    def test_secondary(self) -> None:
        """Where the preferred host does not answer, the next one gets the mail."""
        network = self.a.network
        self.dns.host("down.test", network.address())
        self.dns.mx("backup.test", (10, "down.test"), (20, self.b.name), (30, self.c.name))
        self.b.addAccounts("someone@backup.test")
        self.a.submit("someone@backup.test", text("secondary"))
        self.b.mail(1, "someone@backup.test")
        settle(self.a)
        self.assertEqual(self.c.lines("backup.test"), [])

    def test_smarthost(self) -> None:
        """
        A server that may not send by itself hands all of its mail to one that lets it in by name
        and password, and that one finds the way.
        """
        to = fresh(self.c, "smarthost")
        host = f"127.0.0.1:{self.b.ports['submission']}"
        passwords = Path(self.mktemp()).absolute()
        passwords.write_text(f"alice%40b.test@{host} {PASSWORD}\n")
        inside = self.a.network.server(
            "inside.test",
            relay__smarthost=f"smtp://alice%40b.test@{host}?tls=required",
            relay__passwords=str(passwords),
        )
        inside.start()
        inside.submit(to, text("smarthost", inside.user()))
        (octets,) = self.c.mail(1, to)
        settle(inside, self.b, self.c)
        self.assertEqual(len(self.c.inbox(to)), 1)
        received = re.findall(rb"by (\S+) with (\S+)", octets)
        self.assertEqual(
            received,
            [(b"mx.c.test", b"ESMTPS"), (b"mx.b.test", b"ESMTPSA"), (b"mx.inside.test", b"ESMTPA")],
        )

    def test_truncated(self) -> None:
        """An answer that is too large for UDP is asked for by TCP (RFC 7766)."""
        hosts = [f"{'long' * 10}{number}.test" for number in range(20)]
        self.dns.mx("many.test", (5, self.b.name), *((10, host) for host in hosts))
        self.b.addAccounts("someone@many.test")
        self.a.submit("someone@many.test", text("truncated"))
        self.b.mail(1, "someone@many.test")
        self.assertIn(("many.test", "MX"), self.dns.byTCP)

    def test_later(self) -> None:
        """While the DNS gives no answer the mail waits, and then it goes (§5.1)."""
        self.dns.mx("later.test", (10, self.b.name))
        self.dns.fail("later.test")
        self.b.addAccounts("someone@later.test")
        self.a.submit("someone@later.test", text("later"))
        waitFor(
            lambda: self.a.count("SELECT count(*) FROM destination WHERE name = 'later.test'"),
            "the failure is noted",
        )
        self.dns.mend("later.test")
        self.b.mail(1, "someone@later.test")

    def test_nowhere(self) -> None:
        """
        One message for domains that can't be delivered to for five reasons, and for one that can:
        the sender is told of each of the five, once, with the right status.
        """
        sender = fresh(self.a, "nowhere")
        dns = self.dns
        dns.mx("null.test", (0, ""))
        dns.mx("noaddress.test", (10, "mx.noaddress.test"))
        dns.host("mx.noaddress.test")
        # The exchanger is this server, which knows nothing of the domain.
        dns.mx("circle.test", (10, self.a.name))
        dns.mx("othername.test", (10, "other.a.test"))
        dns.host("other.a.test", self.a.address)
        statuses = {
            # RFC 3463 §3.2: bad destination system address
            "x@missing.test": "5.1.2",
            # RFC 7505 §4.1
            "x@null.test": "5.1.10",
            # RFC 3463 §3.5: unable to route
            "x@noaddress.test": "5.4.4",
            # RFC 3463 §3.5: routing loop
            "x@circle.test": "5.4.6",
            "x@othername.test": "5.4.6",
        }
        to = fresh(self.b, "nowhere")
        self.a.submit([*statuses, to], text("nowhere", sender), sender=sender)
        self.b.mail(1, to)
        settle(self.a)
        found = notifications(self.a.inbox(sender))
        self.assertEqual(
            {address: [each["status"] for each in told] for address, told in found.items()},
            {address: [status] for address, status in statuses.items()},
        )
        for (each,) in found.values():
            self.assertEqual(each["action"], "failed")

    def test_aliasLoop(self) -> None:
        """
        An address here leads to one there, which leads back: the mail goes round until somebody
        sees it, and its sender is told once (§6.3).
        """
        sender = fresh(self.c, "loop")
        self.a.addAlias("round@a.test", "round@b.test")
        self.b.addAlias("round@b.test", "round@a.test")
        self.c.submit("round@a.test", text("loop", sender), sender=sender)
        (told,) = self.c.mail(1, sender)
        settle(self.a, self.b, self.c)
        self.assertEqual(len(self.c.inbox(sender)), 1)
        only = Notification(told).only
        self.assertEqual((only["action"], only["status"]), ("failed", "5.4.6"))
        self.assertEqual(only["original-recipient"], "rfc822; round@a.test")

    def test_success(self) -> None:
        """
        Who asks to be told of success is told by the server that delivers (RFC 3461 §5.2.2), with
        the identifier and the recipient that the sender gave.
        """
        sender = fresh(self.a, "success")
        to = fresh(self.b, "success")
        self.a.submit(
            to,
            text("success", sender),
            sender=sender,
            mail=["RET=HDRS", "ENVID=an+2Bid"],
            rcpt=["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;someone+2Belse@a.test"],
        )
        (told,) = self.a.mail(1, sender)
        settle(self.a, self.b)
        self.assertEqual(len(self.a.inbox(sender)), 1)
        notification = Notification(told)
        self.assertEqual(notification.fields["reporting-mta"], f"dns; {self.b.name}")
        self.assertEqual(notification.fields["original-envelope-id"], "an+id")
        self.assertEqual(notification.only["original-recipient"], "rfc822; someone+else@a.test")
        self.assertEqual(notification.only["final-recipient"], f"rfc822; {to}")
        self.assertEqual(notification.only["action"], "delivered")
        self.assertEqual(notification.returned.get_content_type(), "text/rfc822-headers")

    def test_forwarded(self) -> None:
        """
        An alias leads to an address elsewhere that nobody has: the sender is told by name of the
        alias that was written to, and the alias's other target has its copy.
        """
        sender = fresh(self.c, "forwarded")
        other = fresh(self.a, "forwarded")
        self.a.addAlias("list@a.test", other, "nobody@b.test")
        self.c.submit("list@a.test", text("forwarded", sender), sender=sender)
        (told,) = self.c.mail(1, sender)
        settle(self.a, self.b, self.c)
        self.assertEqual(len(self.c.inbox(sender)), 1)
        self.assertEqual(len(self.a.inbox(other)), 1)
        notification = Notification(told)
        self.assertEqual(notification.fields["reporting-mta"], f"dns; {self.a.name}")
        only = notification.only
        self.assertEqual(only["final-recipient"], "rfc822; nobody@b.test")
        self.assertEqual(only["original-recipient"], "rfc822; list@a.test")
        self.assertEqual((only["action"], only["status"]), ("failed", "5.1.1"))
        self.assertEqual(only["remote-mta"], f"dns; {self.b.name}")
        self.assertTrue(only["diagnostic-code"].startswith("smtp; 550 5.1.1 "), only)

    def test_nullPath(self) -> None:
        """Mail with the null reverse-path makes no notification, whatever becomes of it."""
        before = self.a.count("SELECT count(*) FROM message")
        self.a.addAlias("null@a.test", "nobody@b.test", "x@missing.test")
        self.a.deliver("", "null@a.test", text("null path"))
        waitFor(lambda: len(self.a.lines("failed: from=<>")) == 2, "both have failed")
        settle(self.a, self.b)
        self.assertEqual(self.a.lines("notification: failed", "<>"), [])
        self.assertEqual(self.a.count("SELECT count(*) FROM message"), before)


class OutageTests(SynchronousTestCase):
    """
    A server that is down for a while, and C{mailstack queue} meanwhile.
    """

    def setUp(self) -> None:
        """Two servers, of which the second doesn't run."""
        self.network = Network()
        self.addCleanup(self.network.close)
        self.a = self.network.server("a.test", queue__retry=[3600])
        self.b = self.network.server("b.test")
        self.b.addAccounts(self.b.user())
        self.a.start()

    def test_outage(self) -> None:
        """
        Mail waits and says why; an operator sees it, keeps some of it back, deletes some, lets the
        rest go when the other server runs again; each that was not deleted arrives, once.
        """
        a, b = self.a, self.b
        for subject in ("one", "two", "three", "four"):
            a.submit(b.user(), text(subject))
        waitFor(
            lambda: a.count("SELECT count(*) FROM destination WHERE failures > 0"),
            "the failure is noted",
        )
        first, second, third, _ = (each["queueId"] for each in a.queued())
        said = a.tool("queue", "list")
        self.assertIn("4 messages.", said)
        self.assertIn(f"<{b.user()}>", said)
        self.assertIn("refused", said)
        said = a.tool("queue", "stats")
        self.assertRegex(said, r"messages +4 \(0 held\)")
        self.assertRegex(said, r"unreachable: b\.test, \d+ failures?, next attempt")
        self.assertIn("Subject: two", a.tool("queue", "show", second, "--header"))
        self.assertEqual(a.tool("queue", "hold", first, second), "2 messages held.\n")
        self.assertEqual(a.tool("queue", "delete", "--yes", third), "1 message deleted.\n")
        self.assertRegex(a.tool("queue", "stats"), r"messages +3 \(2 held\)")
        # It also lasts when this one starts anew, and so does what was found out.
        a.stop()
        a.start()
        self.assertEqual([each["held"] for each in a.queued()], [True, True, False])
        b.start()
        # The next attempt is an hour away.
        self.assertEqual(
            a.tool("queue", "retry", "--domain", "b.test"), "1 message to be tried now.\n"
        )
        b.mail(1)
        self.assertEqual(a.tool("queue", "release", first), "1 message released.\n")
        b.mail(2)
        self.assertEqual([each["queueId"] for each in a.queued()], [second])
        self.assertEqual(a.tool("queue", "release", "--all"), "1 message released.\n")
        b.mail(3)
        a.drained()
        found = [re.search(rb"Subject: (\w+)", each) for each in b.inbox()]
        self.assertEqual([each.group(1) for each in found if each], [b"four", b"one", b"two"])
        self.assertEqual(a.inbox(), [])
        self.assertRegex(a.tool("queue", "stats"), r"messages +0 \(0 held\)")
        self.assertNotIn("Traceback", a.log.read_text())

    def test_many(self) -> None:
        """
        A message for 300 recipients at ten domains is stored once while it waits, and each of them
        gets it once, at most 100 in one transaction (RFC 5321 §4.5.3.1.8).
        """
        a, network = self.a, self.network
        recipients = [f"user{number}@d{number % 9}.test" for number in range(180)]
        recipients += [f"user{number}@big.test" for number in range(120)]
        body = b"a line of text\r\n" * 20_000
        network.dns.fail("big.test")
        for number in range(9):
            network.dns.fail(f"d{number}.test")
        a.submit(recipients, text("many", body=body))
        waitFor(lambda: a.count("SELECT count(*) FROM destination") == 10, "all have failed")
        self.assertEqual(a.count(), 1)
        self.assertEqual(a.count("SELECT count(*) FROM queued_recipient"), 300)
        self.assertEqual(a.count("SELECT count(*) FROM content"), 1)
        self.assertLess(a.count("SELECT sum(length(data)) FROM chunk"), len(body) + 10_000)
        peers = {}
        for name in ("big.test", *(f"d{number}.test" for number in range(9))):
            peers[name] = network.peer(name, extensions=["PIPELINING", "CHUNKING"])
            network.dns.mend(name)
        a.tool("queue", "retry", "--all")
        a.drained()
        taken = [each for peer in peers.values() for each in peer.recipients]
        self.assertEqual(sorted(taken), sorted(recipients))
        for name, peer in peers.items():
            self.assertEqual({each.split("@")[1] for each in peer.recipients}, {name})
            for each in peer.taken:
                self.assertLessEqual(len(each.rcpts), 100)
                self.assertTrue(each.octets.endswith(body))
        self.assertEqual(a.inbox(), [])
