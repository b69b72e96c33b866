"""
The built-in policies in sessions: what clients see of them, over commands, texts and connections.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.task import Clock

from tests.delivery.steps.support import MadeUpDNS
from tests.smtp.support import TODAY, Server, SMTPTestCase
from twisted_mailstack.delivery.policy import Policies, PolicyStep
from twisted_mailstack.delivery.registry import RECEIVING, SUBMISSION, makeSteps
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.delivery.step import Rate, StepServices
from twisted_mailstack.delivery.steps.accountlimits import AccountLimitsSettings
from twisted_mailstack.delivery.steps.dnsbl import BlockList, DNSBLSettings
from twisted_mailstack.delivery.steps.greylisting import GreylistingSettings
from twisted_mailstack.delivery.steps.headers import HeaderChecksSettings
from twisted_mailstack.delivery.steps.helo import HeloSettings
from twisted_mailstack.delivery.steps.rates import RatesSettings
from twisted_mailstack.delivery.steps.reversedns import ReverseDNSSettings
from twisted_mailstack.delivery.steps.sizes import SizesSettings


class Later(PolicyStep):
    """
    Stands for policies that are made after their server.
    """

    policies: Policies

    def connection(self, info: Any) -> Any:
        """See L{IPolicyStep}."""
        return self.policies.connection(info)

    def reversePath(self, envelope: Any) -> Any:
        """See L{IPolicyStep}."""
        return self.policies.reversePath(envelope)

    def recipient(self, envelope: Any, recipient: Any) -> Any:
        """See L{IPolicyStep}."""
        return self.policies.recipient(envelope, recipient)

    def message(self, envelope: Any, recipients: Any, content: Any) -> Any:
        """See L{IPolicyStep}."""
        return self.policies.message(envelope, recipients, content)


class PolicyTests(SMTPTestCase):
    """
    Servers with policies.
    """

    def setUp(self) -> None:
        """A DNS."""
        super().setUp()
        self.dns = MadeUpDNS()
        self.seconds = Clock()

    def serveWith(
        self, settings: Any = (), names: Sequence[str] | None = None, **arguments: Any
    ) -> Server:
        """
        @param settings: of policies, by name.
        @param names: in the order in which they are asked, if it isn't the usual one.
        @return: a server with all policies.
        """
        later = Later()
        server = self.serve(policies=[later], **arguments)
        now = lambda: TODAY + self.seconds.seconds()  # noqa: E731
        self.patch(server.store.memory, "_now", now)
        services = StepServices(
            hostname="mx.example.test",
            resolver=Resolver(server.directory),
            clock=self.seconds,
            now=now,
            lookup=self.dns,
            memory=server.store.memory,
        )
        if names is None:
            names = SUBMISSION if arguments.get("submission") else RECEIVING
        later.policies = Policies(makeSteps(names, dict(settings), services))
        return server

    def test_nothing(self) -> None:
        """Without settings ordinary mail gets through, and is stored as it came."""
        server = self.serveWith()
        text = b"From: <sender@far.test>\r\nDelivered-To: x@far.test\r\n\r\nx\r\n"
        server.greeted().send(
            b"MAIL FROM:<sender@far.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"
            + text
            + b".\r\n"
        )
        self.assertEqual(server.inbox(), [self.stored(text)])

    def test_ownSender(self) -> None:
        """
        Who is logged in is told at MAIL that the address isn't his, and at the end of DATA and of
        BDAT that the one in From isn't; the session goes on.
        """
        server = self.serveWith(submission=True)
        conversation = server.authenticated()
        conversation.check("""
            C: MAIL FROM:<bob@example.test>
            S: 550 5.7.1 bob@example.test is no address of alice@example.test
            C: MAIL FROM:<alice+x@example.test>
            S: 250 2.1.0 OK
            C: RCPT TO:<bob@example.test>
            S: 250 2.1.5 OK
        """)
        conversation.send(b"DATA\r\n")
        refusal = b"550 5.7.1 bob@example.test in From is no address of alice@example.test\r\n"
        text = b"From: bob@example.test\r\n\r\n"
        self.assertEqual(conversation.send(text + b".\r\n"), refusal)
        own = text.replace(b"bob", b"alice+b")
        for sent, told in ((text, refusal), (own, b"250 2.0.0 OK: Q4\r\n")):
            conversation.send(b"MAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\n")
            self.assertEqual(server.inbox("bob"), [])
            self.assertEqual(conversation.send(b"BDAT %d LAST\r\n%b" % (len(sent), sent)), told)
        self.assertEqual(len(server.inbox("bob")), 1)

    def test_ownSenderAtReceiving(self) -> None:
        """Who logs in where mail of others comes in is held to the same; others aren't."""
        server = self.serveWith()
        self.assertIn(
            b"550 5.7.1", server.authenticated().send(b"MAIL FROM:<bob@example.test>\r\n")
        )
        self.assertIn(b"250 ", server.greeted().send(b"MAIL FROM:<bob@example.test>\r\n"))

    def test_unqualified(self) -> None:
        """Submission refuses domains that nobody else knows (RFC 6409 §4.2)."""
        server = self.serveWith(submission=True, queue=True)
        conversation = server.authenticated()
        conversation.check("""
            C: MAIL FROM:<alice@example.test>
            S: 250 2.1.0 OK
            C: RCPT TO:<x@sales>
            S: 554 5.1.2 The domain sales is not fully qualified
            C: RCPT TO:<bob@example.test>
            S: 250 2.1.5 OK
        """)

    def test_greylisting(self) -> None:
        """Who comes for the first time is put off; when he comes again he has delivered once."""
        server = self.serveWith({"greylisting": GreylistingSettings(enabled=True)})
        commands = (
            b"MAIL FROM:<sender@far.test>\r\nRCPT TO:<alice@example.test>\r\n"
            b"RCPT TO:<nobody@example.test>\r\nDATA\r\n"
        )
        told = server.greeted().send(commands)
        self.assertEqual(
            told,
            b"250 2.1.0 OK\r\n451 4.7.1 Greylisted: try again in 300 seconds\r\n"
            b"550 5.1.1 No such user here\r\n554 5.5.1 No valid recipients\r\n",
        )
        self.seconds.advance(300)
        conversation = server.greeted()
        conversation.send(commands)
        self.assertIn(b"250 ", conversation.send(b"Subject: x\r\n\r\n.\r\n"))
        self.assertEqual(server.inbox(), [self.stored(b"Subject: x\r\n\r\n", queueId="Q2")])

    def test_greylistedNotification(self) -> None:
        """A notification is put off at its end (RFC 6647), and comes again."""
        server = self.serveWith({"greylisting": GreylistingSettings(enabled=True)})
        for expected in (b"451 4.7.1 Greylisted", b"250 2.0.0"):
            conversation = server.greeted()
            conversation.send(b"MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")
            self.assertTrue(conversation.send(b"Subject: x\r\n\r\n.\r\n").startswith(expected))
            self.seconds.advance(300)
        self.assertEqual(len(server.inbox()), 1)

    def test_waitingForDNS(self) -> None:
        """
        While a list is asked, what is pipelined waits in its order; when it doesn't answer the mail
        is taken.
        """
        self.dns.silent.add("1.2.0.192.slow.test")
        server = self.serveWith({"dnsbl": DNSBLSettings(lists=(BlockList("slow.test"),))})
        conversation = server.greeted()
        told = conversation.send(
            b"MAIL FROM:<sender@far.test>\r\nRCPT TO:<alice@example.test>\r\n"
            b"RCPT TO:<nobody@example.test>\r\nNOOP\r\n"
        )
        self.assertEqual(told, b"250 2.1.0 OK\r\n")
        self.seconds.advance(5)
        self.assertEqual(
            conversation.wire.take(),
            b"250 2.1.5 OK\r\n550 5.1.1 No such user here\r\n250 2.0.0 OK\r\n",
        )

    def test_vanishes(self) -> None:
        """A client that goes away meanwhile leaves nothing behind."""
        self.dns.silent.add("1.2.0.192.slow.test")
        server = self.serveWith({"dnsbl": DNSBLSettings(lists=(BlockList("slow.test"),))})
        conversation = server.greeted()
        conversation.send(
            b"MAIL FROM:<sender@far.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"
        )
        conversation.stream.lost()
        self.seconds.advance(5)
        self.assertEqual(self.seconds.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_listed(self) -> None:
        """A listed client is refused for everyone but the postmaster."""
        self.dns.answers["1.2.0.192.zen.test", "A"] = ("127.0.0.4",)
        server = self.serveWith({"dnsbl": DNSBLSettings(lists=(BlockList("zen.test"),))})
        server.greeted().check("""
            C: MAIL FROM:<sender@far.test>
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test>
            S: 550 5.7.1 192.0.2.1 is listed by zen.test
            C: RCPT TO:<postmaster@example.test>
            S: 250 2.1.5 OK
            C: RCPT TO:<Postmaster>
            S: 250 2.1.5 OK
        """)

    def test_order(self) -> None:
        """The first that refuses decides, in whatever order the operator wants (policies)."""
        self.dns.answers["1.2.0.192.zen.test", "A"] = ("127.0.0.4",)
        settings = {
            "greylisting": GreylistingSettings(enabled=True),
            "dnsbl": DNSBLSettings(lists=(BlockList("zen.test"),)),
        }
        for names, code in (
            (("dnsbl", "greylisting"), b"550"),
            (("greylisting", "dnsbl"), b"451"),
            (("greylisting",), b"451"),
            ((), b"250"),
        ):
            conversation = self.serveWith(settings, names).greeted()
            conversation.send(b"MAIL FROM:<sender@far.test>\r\n")
            answer = conversation.send(b"RCPT TO:<alice@example.test>\r\n")
            self.assertEqual(answer[:3], code, names)

    def ends(self, server: Server, text: bytes) -> bytes:
        """
        @return: what is said of a message in the end, the same for DATA and for BDAT.
        """
        conversation = server.greeted()
        begin = b"MAIL FROM:<sender@far.test>\r\nRCPT TO:<alice@example.test>\r\n"
        conversation.send(begin + b"DATA\r\n")
        answer = conversation.send(text + b".\r\n")
        conversation.send(begin)
        chunk = conversation.send(b"BDAT %d LAST\r\n%b" % (len(text), text))
        self.assertEqual(chunk[:9], answer[:9])
        self.assertIn(b"250 ", conversation.send(b"NOOP\r\n"))
        return answer

    def test_sizes(self) -> None:
        """What is too large for a recipient is refused at RCPT if declared, else at its end."""
        limits = SizesSettings(recipients={"alice@example.test": 300})
        server = self.serveWith({"sizes": limits})
        server.greeted().check("""
            C: MAIL FROM:<sender@far.test> SIZE=301
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test>
            S: 552 5.2.3 alice@example.test takes messages of at most 300 octets
            C: RCPT TO:<bob@example.test>
            S: 250 2.1.5 OK
        """)
        self.assertEqual(
            self.ends(server, b"Subject: x\r\n\r\n" + b"x" * 300 + b"\r\n")[:3], b"552"
        )
        self.assertEqual(server.inbox(), [])
        self.assertEqual(self.ends(server, b"Subject: x\r\n\r\n")[:3], b"250")

    def test_helo(self) -> None:
        """Who says to be this server, or has no whole name, is refused at MAIL."""
        server = self.serveWith({"helo": HeloSettings(ours=True, qualified=True)})
        for name, code in (
            ("MX.example.test", b"550"),
            ("client", b"550"),
            ("[192.0.2.9]", b"550"),
            ("[192.0.2.1]", b"250"),
            ("client.test", b"250"),
        ):
            conversation = server.greeted(f"EHLO {name}")
            answer = conversation.send(b"MAIL FROM:<sender@far.test>\r\n")
            self.assertEqual(answer[:3], code, name)

    def test_reverseDNS(self) -> None:
        """A client without a name is refused at RCPT (RFC 7372 §3.3), one with a name isn't."""
        server = self.serveWith({"reverse-dns": ReverseDNSSettings(action="reject")})
        self.dns.addName("192.0.2.9", "mail.far.test")
        for peer, reply in (
            ("192.0.2.1", b"550 5.7.25 192.0.2.1 has no name in the DNS\r\n"),
            ("192.0.2.9", b"250 2.1.5 OK\r\n"),
        ):
            conversation = server.greeted(peer=peer)
            conversation.send(b"MAIL FROM:<sender@far.test>\r\n")
            self.assertEqual(conversation.send(b"RCPT TO:<alice@example.test>\r\n"), reply)

    def test_hops(self) -> None:
        """A message that has been through a hundred servers goes round (RFC 5321 §6.3)."""
        server = self.serveWith()
        for hops, reply in ((100, b"554 5.4.6"), (99, b"250 2.0.0")):
            self.assertEqual(self.ends(server, b"Received: x\r\n" * hops + b"\r\n")[:9], reply)

    def test_headers(self) -> None:
        """Headers of the kinds that the operator doesn't want are refused in the end."""
        server = self.serveWith({"header-checks": HeaderChecksSettings(checks=("from", "once"))})
        good = b"From: a@far.test\r\n"
        for header, reply in (
            (b"", b"550 5.6.0"),
            (good * 2, b"550 5.6.0"),
            (good, b"250 2.0.0"),
        ):
            self.assertEqual(self.ends(server, header + b"\r\nx\r\n")[:9], reply)

    def test_rates(self) -> None:
        """
        Messages and recipients that come too fast are put off, of a network at MAIL and RCPT, of an
        account wherever it connects from; the session goes on.
        """
        rates = RatesSettings(
            messages=Rate(2, 60), recipients=Rate(2, 60), accountMessages=Rate(1, 60)
        )
        server = self.serveWith({"rates": rates})
        server.greeted().check("""
            C: MAIL FROM:<sender@far.test>
            S: 250 2.1.0 OK
            C: RCPT TO:<alice@example.test>
            S: 250 2.1.5 OK
            C: RCPT TO:<bob@example.test>
            S: 250 2.1.5 OK
            C: RCPT TO:<bob@example.test>
            S: 450 4.7.0 Too many recipients from 192.0.2.0/24, try later
            C: RSET
            S: 250 2.0.0 OK
            C: MAIL FROM:<sender@far.test>
            S: 250 2.1.0 OK
        """)
        server.greeted(peer="192.0.2.9").check("""
            C: MAIL FROM:<sender@far.test>
            S: 450 4.7.0 Too many messages from 192.0.2.0/24, try later
            C: NOOP
            S: 250 2.0.0 OK
        """)
        for code in (b"250", b"450"):
            answer = server.authenticated().send(b"MAIL FROM:<alice@example.test>\r\n")
            self.assertEqual(answer[:3], code)

    def test_tooManyConnections(self) -> None:
        """A network that connects too fast is turned away in the greeting, and comes later."""
        server = self.serveWith({"rates": RatesSettings(connections=Rate(1, 60))})
        self.assertTrue(server.connect().wire.take().startswith(b"220 "))
        turned = server.connect(peer="192.0.2.9")
        self.assertEqual(
            turned.wire.take(),
            b"421 mx.example.test Too many connections from 192.0.2.0/24, try later\r\n",
        )
        self.seconds.advance(60)
        self.assertTrue(server.connect().wire.take().startswith(b"220 "))

    def test_accountLimits(self) -> None:
        """An account that has sent enough is put off at MAIL."""
        limits = AccountLimitsSettings(messagesPerHour=1)
        server = self.serveWith({"account-limits": limits}, submission=True)
        conversation = server.authenticated()
        begin = b"MAIL FROM:<alice@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n"
        text = b"From: alice@example.test\r\n\r\n.\r\n"
        conversation.send(begin)
        self.assertIn(b"250 ", conversation.send(text))
        self.assertEqual(
            conversation.send(b"MAIL FROM:<alice@example.test>\r\n"),
            b"450 4.7.1 You may send 1 messages in an hour: try later\r\n",
        )

    def test_loop(self) -> None:
        """
        What an alias passes on to another server, which sends it back, is found when it is back
        (RFC 9228).
        """
        server = self.serveWith(queue=True)
        server.alias("out@example.test", "x@far.test")
        begin = b"MAIL FROM:<sender@far.test>\r\nRCPT TO:<out@example.test>\r\nDATA\r\n"
        conversation = server.greeted()
        conversation.send(begin)
        conversation.send(b"Subject: x\r\n\r\n.\r\n")
        ((_, text),) = server.queued()
        conversation.send(begin)
        self.assertEqual(
            conversation.send(text + b".\r\n"),
            b"554 5.4.6 Mail loop: out@example.test has had this message\r\n",
        )
        self.assertEqual(len(server.queued()), 1)
