"""
The way to other servers: which host a message reaches, over what, and what becomes of it when a
host goes wrong, at each stage.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from tests.net.authority import Authority, Issued
from tests.net.internet import REFUSED, SILENT, InternetTestCase
from tests.relay.server import CLOSE, HANG, Server
from tests.relay.support import DNS, message
from tests.relay.test_dane import tlsa
from twisted_mailstack.errors import DestinationUnavailable, HostBusy, MailError, TemporaryFailure
from twisted_mailstack.interfaces import IRelay, IRelayConnection
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.queue import AttemptResult, QueuedMessage
from twisted_mailstack.net.clienttls import ClientTLS
from twisted_mailstack.relay.dane import DANE
from twisted_mailstack.relay.hosts import HostFinder
from twisted_mailstack.relay.mtasts import parsePolicy
from twisted_mailstack.relay.relay import MAX_ADDRESSES, QUIT_TIMEOUT, SMTPRelay
from twisted_mailstack.relay.routes import Route, Routes, parseRoute
from twisted_mailstack.relay.security import RelaySecurity
from twisted_mailstack.relay.tlsrpt import SUCCESS, ReportedPolicy
from twisted_mailstack.smtp.clientsession import BytesContent, ClientTimeouts, SMTPClientSession
from twisted_mailstack.smtp.extension import Extension

DOMAIN = "example.org"
MX = "mx.example.org"
FIRST, SECOND, THIRD = "198.51.100.1", "198.51.100.2", "198.51.100.3"
HOSTNAME = "mail.here.test"
CONTENT = b"Subject: hello\r\n\r\n.text\r\n"
TIMEOUTS = ClientTimeouts(greeting=100, command=90, dataInitiation=80, dataTermination=70)


class Policies:
    """
    A policy of MTA-STS, or none.
    """

    def __init__(self) -> None:
        self.policy: Any = None

    async def policyOf(self, domain: str) -> Any:
        """See STSPolicies."""
        return self.policy

    def close(self) -> None:
        """See STSPolicies."""


class Counter:
    """
    Keeps what is counted.
    """

    def __init__(self) -> None:
        self.counted: list[tuple[str, str]] = []

    def count(self, domain: str, policy: ReportedPolicy, result: str, *where: str) -> None:
        """See SessionCounter."""
        self.counted.append((policy.kind, result))

    def flush(self) -> None:
        """See SessionCounter."""


def _requireTLS(session: SMTPClientSession, message: Any, offered: str | None) -> Any:
    return {"REQUIRETLS": None} if "REQUIRETLS" in message.parameters else {}


REQUIRETLS = Extension("REQUIRETLS", 8689, clientMail=_requireTLS)


class RelayTestCase(InternetTestCase):
    """
    @ivar server: the mail exchanger of L{DOMAIN}, at L{FIRST}.
    """

    authority = Authority()
    issued = authority.issue(MX)
    nobodys = Authority("Nobody").issue(MX)

    def setUp(self) -> None:
        """A domain with a mail exchanger."""
        super().setUp()
        self.dns = DNS()
        self.dns.mx(DOMAIN, (10, MX))
        self.dns.host(MX, FIRST)
        self.policies = Policies()
        self.counter = Counter()
        self.security = RelaySecurity(
            ClientTLS(self.authority.trustRoot),
            DANE(self.dns),
            self.policies,  # type: ignore[arg-type]
            self.counter,  # type: ignore[arg-type]
        )
        self.logins: list[tuple[str, str]] = []
        self.server = self.serve(FIRST)

    def serve(self, address: str, name: str = MX, **settings: Any) -> Server:
        """
        @return: a mail server at that address.
        """
        server = Server(name, **settings)
        self.internet.servers[address, 25] = server
        return server

    def two(self, **settings: Any) -> Server:
        """
        @return: a second mail exchanger, for when the first is no use.
        """
        self.dns.mx(DOMAIN, (10, MX), (20, "mx2.example.org"))
        self.dns.host("mx2.example.org", SECOND)
        return self.serve(SECOND, "mx2.example.org", **settings)

    def relay(self, routes: Routes | None = None, **settings: Any) -> SMTPRelay:
        """
        @return: the relay.
        """
        return SMTPRelay(
            self.internet,
            HOSTNAME,
            HostFinder(self.dns, [HOSTNAME], shuffle=lambda _: None),
            routes or Routes(),
            self.security,
            [REQUIRETLS],
            timeouts=TIMEOUTS,
            now=lambda: 1500.0,
            **settings,
        )

    async def login(self, session: SMTPClientSession, route: Route) -> None:
        """See Authenticate."""
        self.logins.append((route.username, route.password))
        reply = await session.command(b"AUTH TEST")
        if not reply.positive:
            raise MailError(reply.text, smtpCode=reply.code)

    def connecting(
        self,
        sent: QueuedMessage | None = None,
        destination: str = DOMAIN,
        routes: Routes | None = None,
        **settings: Any,
    ) -> Deferred[Any]:
        """
        @return: fires with a connection.
        """
        relay = self.relay(routes, **settings)
        return self.start(relay.connect(destination, sent or message()))

    def connect(self, *arguments: Any, **settings: Any) -> Any:
        """
        @return: a connection.
        """
        return self.successResultOf(self.connecting(*arguments, **settings))

    def send(self, connection: Any, *recipients: str, content: bytes = CONTENT) -> list[Any]:
        """
        @return: what was said of each recipient.
        """
        sent = message(*recipients)
        results: list[Any] = self.result(connection.send(sent, BytesContent(content)))
        return results

    def close(self, connection: Any) -> None:
        """Close it, and see that nothing is left."""
        self.result(connection.close())
        self.assertIdle()

    def unavailable(self, *arguments: Any, **settings: Any) -> DestinationUnavailable:
        """
        @return: why no host can be reached now.
        """
        attempt = self.connecting(*arguments, **settings)
        error: DestinationUnavailable = self.failureResultOf(attempt, MailError).value
        self.assertIsInstance(error, DestinationUnavailable, error.text)
        self.assertIdle()
        return error

    def refused(self, *arguments: Any, **settings: Any) -> MailError:
        """
        @return: why a message can't be relayed, which is nothing of the destination.
        """
        attempt = self.connecting(*arguments, **settings)
        error: MailError = self.failureResultOf(attempt, MailError).value
        self.assertNotIsInstance(error, DestinationUnavailable)
        self.assertIdle()
        return error

    def routed(self, text: str, password: str = "") -> tuple[str, Routes]:
        """
        @return: the destination that is a route, and the routes that have it.
        """
        route = parseRoute(text, password)
        return route.destination, Routes(default=route)


class HostTests(RelayTestCase):
    """
    Which host a message reaches.
    """

    def test_interfaces(self) -> None:
        """It keeps its contracts."""
        verifyObject(IRelay, self.relay())
        verifyObject(IRelayConnection, self.connect())

    def test_destination(self) -> None:
        """A recipient waits for whom the routes say."""
        destination, routes = self.routed("smtp://smarthost")
        bob = Address("bob", DOMAIN)
        self.assertEqual(self.relay().destinationOf(None, bob), DOMAIN)
        self.assertEqual(self.relay(routes).destinationOf(None, bob), destination)

    def test_sent(self) -> None:
        """A message arrives as it is, from us by our name, and the connection ends politely."""
        connection = self.connect()
        self.assertTrue(connection.accepts(message()))
        [result] = self.send(connection)
        self.assertEqual(result, AttemptResult(250, "2.0.0", "Taken", f"{MX} [{FIRST}]", False))
        self.assertEqual(self.server.messages, [CONTENT])
        self.close(connection)
        [session] = self.server.sessions
        self.assertEqual(session.verbs, ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"])
        self.assertEqual(session.lines[0], f"EHLO {HOSTNAME}")
        self.assertFalse(connection.accepts(message()))
        self.close(connection)

    def test_several(self) -> None:
        """Messages go one after another over one connection; recipients have their own results."""
        self.server.replies["RCPT"] = "550 5.1.1 Nobody"
        connection = self.connect()
        results = self.send(connection, "bob@example.org", "carol@example.org")
        self.assertEqual([result.code for result in results], [550, 550])
        del self.server.replies["RCPT"]
        results = self.send(connection, "bob@example.org", "carol@example.org")
        self.assertEqual([result.code for result in results], [250, 250])
        self.close(connection)
        self.assertEqual(len(self.server.sessions), 1)

    def test_order(self) -> None:
        """Hosts and addresses are tried in order until one serves; each failure is logged."""
        self.two()
        self.dns.host(MX, "2001:db8::1", FIRST)
        self.internet.servers[FIRST, 25] = REFUSED
        with capturedLogs() as logs:
            connection = self.connect()
        self.assertEqual(self.internet.attempts, [("2001:db8::1", 25), (FIRST, 25), (SECOND, 25)])
        self.assertEqual(connection.remote, f"mx2.example.org [{SECOND}]")
        told = [(event["host"], event["problem"]) for event in logs if "problem" in event]
        self.assertEqual([host for host, _ in told], [f"{MX} [2001:db8::1]", f"{MX} [{FIRST}]"])
        self.assertIn("refused", told[0][1].lower())
        self.close(connection)

    def test_allRefuse(self) -> None:
        """If no host can be reached the destination waits, and it is said why."""
        self.internet.servers[FIRST, 25] = REFUSED
        error = self.unavailable()
        self.assertEqual((error.smtpCode, error.enhancedStatus), (451, "4.4.1"))
        self.assertIn(f"{MX} [{FIRST}]", error.text)

    def test_silent(self) -> None:
        """A host that doesn't answer is given up after a while, and the next is tried."""
        self.two()
        self.internet.servers[FIRST, 25] = SILENT
        attempt = self.connecting(connectTimeout=20)
        self.internet.wait(19)
        self.assertEqual(len(self.internet.attempts), 1)
        self.internet.wait(1)
        self.close(self.successResultOf(attempt))

    def test_many(self) -> None:
        """In one attempt only so many addresses are tried, of one host or of several."""
        self.internet.servers.clear()
        self.dns.host(MX, *(f"198.51.100.{n}" for n in range(50)))
        self.unavailable()
        self.assertEqual(len(self.internet.attempts), MAX_ADDRESSES)
        self.internet.attempts.clear()
        self.dns.mx(DOMAIN, *((n, f"mx{n}.test") for n in range(20)))
        for n in range(20):
            self.dns.host(f"mx{n}.test", *(f"203.0.113.{10 * n + m}" for m in range(3)))
        self.unavailable()
        self.assertEqual(len(self.internet.attempts), MAX_ADDRESSES)

    def test_noAddress(self) -> None:
        """Hosts that have no address will never take it: 5.4.4 (RFC 5321 §5.1)."""
        self.dns.host(MX)
        error = self.refused()
        self.assertEqual((error.smtpCode, error.enhancedStatus), (550, "5.4.4"))

    def test_oneWithoutAddress(self) -> None:
        """One that has none is passed over."""
        self.two()
        self.dns.host(MX)
        self.close(self.connect())

    def test_addressLookupFails(self) -> None:
        """A host whose address can't be looked up is passed over; if none is left it waits."""
        self.dns.fail(MX, "A")
        error = self.unavailable()
        self.assertEqual((error.smtpCode, error.enhancedStatus), (451, "4.4.3"))
        self.two()
        self.close(self.connect())

    def test_noSuchDomain(self) -> None:
        """What the DNS says of a domain is for good, or it waits (see HostFinder)."""
        self.dns.add(DOMAIN, "MX", exists=False)
        self.assertEqual(self.refused().enhancedStatus, "5.1.2")
        self.dns.fail(DOMAIN, "MX")
        self.assertEqual(self.unavailable().enhancedStatus, "4.4.3")
        self.dns.mx(DOMAIN, (0, ""))
        self.assertEqual(self.refused().enhancedStatus, "5.1.10")

    def test_addressLiteral(self) -> None:
        """An address literal is its own host (RFC 5321 §4.1.3); of the DNS nothing is asked."""
        for literal, address in (
            ("[198.51.100.7]", "198.51.100.7"),
            ("[IPv6:2001:db8::7]", "2001:db8::7"),
        ):
            self.serve(address)
            connection = self.connect(destination=literal)
            self.assertEqual(connection.remote, address)
            self.close(connection)
        self.assertEqual(self.dns.asked, [])

    # --- ourselves -----------------------------------------------------------------------------

    def test_loop(self) -> None:
        """
        A host that calls itself what we are called is us: mail would go round, so that is for good
        (RFC 5321 §5.1, §6.3).
        """
        for greeting, hello in (
            (f"220 {HOSTNAME} ESMTP", "250 x"),
            ("220 Mail.Here.Test. ready", "250 x"),
            ("220 ready", f"250-{HOSTNAME} hello\r\n250 PIPELINING"),
            (f"220-{HOSTNAME} ESMTP\r\n220 more", "250 x"),
        ):
            self.server.replies.update({"greeting": greeting, "EHLO": hello})
            error = self.refused()
            self.assertEqual((error.smtpCode, error.enhancedStatus), (554, "5.4.6"), greeting)

    def test_loopBehindOthers(self) -> None:
        """
        If a host that comes before us is only down now, it is waited for; those behind us are not
        tried.
        """
        self.dns.mx(DOMAIN, (10, MX), (20, "us.example.org"), (30, "third.example.org"))
        self.dns.host("us.example.org", SECOND)
        self.dns.host("third.example.org", THIRD)
        self.internet.servers[FIRST, 25] = REFUSED
        self.serve(SECOND, HOSTNAME)
        self.serve(THIRD)
        error = self.unavailable()
        self.assertIn(MX, error.text)
        self.assertNotIn((THIRD, 25), self.internet.attempts)

    def test_noLoop(self) -> None:
        """Somebody who is merely called localhost isn't us, nor is a filter beside us."""
        relay = SMTPRelay(
            self.internet,
            "localhost.localdomain",
            HostFinder(self.dns, ["localhost"]),
            Routes(),
            self.security,
            [],
        )
        for name in ("localhost.localdomain", "localhost"):
            self.server.name = name
            self.close(self.result(relay.connect(DOMAIN, message())))
        self.internet.servers["127.0.0.1", 10025] = Server(HOSTNAME)
        self.internet.servers["127.0.0.1", 24] = Server(HOSTNAME)
        for text in ("smtp://127.0.0.1:10025", "lmtp://127.0.0.1"):
            self.close(self.connect(None, *self.routed(text)))

    def test_smarthostIsUs(self) -> None:
        """A smarthost that is this server is a loop like any."""
        self.internet.servers["127.0.0.1", 25] = Server(HOSTNAME)
        self.assertEqual(
            self.refused(None, *self.routed("smtp://127.0.0.1")).enhancedStatus, "5.4.6"
        )

    # --- configured hosts ----------------------------------------------------------------------

    def test_smarthost(self) -> None:
        """A configured host is reached at its port, at each of its addresses."""
        self.dns.host("relay.test", FIRST, SECOND)
        self.internet.servers[SECOND, 587] = server = Server("relay.test")
        connection = self.connect(None, *self.routed("smtp://relay.test:587"))
        self.send(connection)
        self.assertEqual(server.messages, [CONTENT])
        self.assertEqual(connection.remote, f"relay.test [{SECOND}]")
        self.close(connection)
        self.assertEqual(self.internet.attempts, [(FIRST, 587), (SECOND, 587)])
        self.assertNotIn("MX", [kind for _, kind in self.dns.asked])
        self.assertEqual(self.counter.counted, [])

    def test_smarthostUnknown(self) -> None:
        """A smarthost whose name doesn't resolve is a fault of ours to be mended: mail waits."""
        self.dns.host("relay.test", exists=False)
        error = self.unavailable(None, *self.routed("smtp://relay.test"))
        self.assertIn("relay.test", error.text)

    def test_routeGone(self) -> None:
        """What waits for a route that isn't there any more waits on."""
        self.unavailable(None, "smtp://gone.test:25")

    def test_lmtp(self) -> None:
        """LMTP has a greeting of its own, and a reply for each recipient (RFC 2033)."""
        for text, where in (
            ("lmtp://127.0.0.1:2400", ("127.0.0.1", 2400)),
            ("lmtp+unix:/run/lmtp", "/run/lmtp"),
        ):
            server = Server("store.test", replies={"message": "250 one\r\n450 4.2.2 two"})
            self.internet.servers[where] = server
            connection = self.connect(None, *self.routed(text))
            results = self.send(connection, "bob@example.org", "carol@example.org")
            self.assertEqual([result.code for result in results], [250, 450])
            self.close(connection)
            self.assertEqual(server.sessions[0].verbs[0], "LHLO")

    def test_unixSocketGone(self) -> None:
        """A socket at which nobody listens is unavailable, by its path."""
        error = self.unavailable(None, *self.routed("lmtp+unix:/run/lmtp"))
        self.assertTrue(error.text.startswith("/run/lmtp: "), error.text)

    # --- logging in ----------------------------------------------------------------------------

    def secureRelay(self, **replies: str) -> Server:
        """
        @return: a smarthost with TLS.
        """
        server = Server("relay.test", self.authority.issue("relay.test").server, replies=replies)
        self.dns.host("relay.test", FIRST)
        self.internet.servers[FIRST, 587] = server
        return server

    def test_login(self) -> None:
        """A route with a user logs in, under TLS that is verified, before anything is sent."""
        server = self.secureRelay()
        routed = self.routed("smtp://user@relay.test:587", "secret")
        connection = self.connect(None, *routed, authenticate=self.login)
        self.assertEqual(self.logins, [("user", "secret")])
        self.send(connection)
        self.close(connection)
        self.assertEqual(
            server.sessions[0].verbs,
            ["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "QUIT"],
        )

    def test_loginRefused(self) -> None:
        """If that is refused mail waits, since the password can be mended."""
        self.secureRelay(**{"tls AUTH": "535 5.7.8 No"})
        routed = self.routed("smtp://user@relay.test:587", "secret")
        with capturedLogs() as logs:
            error = self.unavailable(None, *routed, authenticate=self.login)
        self.assertEqual((error.smtpCode, error.enhancedStatus), (451, "4.7.0"))
        self.assertIn("535", error.text)
        self.assertNotIn("secret", error.text + repr(logs))

    def test_noPasswordInTheClear(self) -> None:
        """A password isn't sent to a host without TLS, unless the route says so."""
        self.internet.servers["127.0.0.1", 587] = Server("relay.test")
        routed = self.routed("smtp://user@127.0.0.1:587", "secret")
        self.unavailable(None, *routed, authenticate=self.login)
        route = Route("loose", host="127.0.0.1", port=587, username="user", password="secret")
        self.unavailable(None, "loose", Routes(default=route), authenticate=self.login)
        self.assertEqual(self.logins, [])
        routed = self.routed("smtp://user@127.0.0.1:587?tls=none", "secret")
        self.close(self.connect(None, *routed, authenticate=self.login))
        self.assertEqual(self.logins, [("user", "secret")])

    def test_noWayToLogIn(self) -> None:
        """Without anything that logs in, mail isn't sent without."""
        self.secureRelay()
        self.unavailable(None, *self.routed("smtp://user@relay.test:587", "secret"))


class ManyDomainsTests(RelayTestCase):
    """
    A host of several domains, to which there may be one connection.
    """

    def setUp(self) -> None:
        """A second domain."""
        super().setUp()
        self.dns.mx("b.test", (10, MX))
        self.one = self.relay(perHost=1)

    def to(self, domain: str, **parameters: str | None) -> Any:
        """
        @return: a connection for a domain.
        """
        sent = message(f"bob@{domain}", destination=domain, **parameters)
        return self.result(self.one.connect(domain, sent))

    def busy(self, domain: str, **parameters: str | None) -> Deferred[None]:
        """
        @return: fires when there may be one for it.
        """
        sent = message(f"bob@{domain}", destination=domain, **parameters)
        attempt = self.start(self.one.connect(domain, sent))
        error = self.failureResultOf(attempt, HostBusy).value
        self.assertIn(MX, error.text)
        free: Deferred[None] = error.free
        return free

    def test_shared(self) -> None:
        """It is passed on, and ends politely when nobody wants it any more."""
        first = self.to(DOMAIN)
        self.assertFalse(first.wanted)
        free = self.busy("b.test")
        self.assertTrue(first.wanted)
        self.result(first.close())
        self.successResultOf(free)
        second = self.to("b.test")
        [result] = self.send(second, "bob@b.test")
        self.assertTrue(result.delivered)
        self.close(second)
        [session] = self.server.sessions
        self.assertEqual(session.verbs, ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"])
        self.close(self.to("b.test"))

    def test_brokenIsNotShared(self) -> None:
        """One that can't be used any more isn't passed on; its place is."""
        self.server.replies = {"MAIL": "421 4.3.2 Down"}
        first = self.to(DOMAIN)
        free = self.busy("b.test")
        self.send(first)
        self.server.replies = {}
        self.result(first.close())
        self.successResultOf(free)
        self.close(self.to("b.test"))
        self.assertEqual(len(self.server.sessions), 2)

    def test_failed(self) -> None:
        """An attempt that comes to nothing gives its place back."""
        self.server.replies = {"greeting": HANG}
        attempt = self.start(self.one.connect(DOMAIN, message()))
        free = self.busy("b.test")
        self.internet.wait(200)
        self.failureResultOf(attempt, DestinationUnavailable)
        self.successResultOf(free)
        self.server.replies = {}
        self.close(self.to("b.test"))

    def test_otherSecurity(self) -> None:
        """
        One over which whatever certificate was good enough isn't for a domain that has a policy: it
        ends, and makes room for one that is.
        """
        self.server.certificate = self.nobodys.server
        first = self.to(DOMAIN)
        free = self.busy("b.test")
        self.policies.policy = parsePolicy(
            b"version: STSv1\nmode: enforce\nmax_age: 100\nmx: mx.example.org\n"
        )
        self.result(first.close())
        self.successResultOf(free)
        again = self.busy("b.test")
        self.internet.pump()
        self.successResultOf(again)
        self.assertEqual(self.server.sessions[0].verbs[-1], "QUIT")
        self.server.certificate = self.issued.server
        second = self.to("b.test")
        self.assertEqual(len(self.server.sessions), 2)
        self.close(second)

    def test_routeSecurity(self) -> None:
        """Nor for one whose route wants a certificate that can be verified."""
        self.server.certificate = self.nobodys.server
        self.one = self.relay(Routes({"b.test": parseRoute("mx?tls=verified")}), perHost=1)
        destination = self.one.destinationOf(None, Address("bob", "b.test"))
        first = self.to(DOMAIN)
        self.busy(destination)
        self.result(first.close())
        self.busy(destination)
        self.internet.pump()
        self.server.certificate = self.issued.server
        second = self.to(destination)
        self.assertIsNot(second, first)
        self.close(second)


class StageTests(RelayTestCase):
    """
    A host that goes wrong, at each stage.
    """

    #: Before there is a connection to be used, in the clear and with TLS.
    stages = ("greeting", "EHLO")
    tlsStages = ("tls EHLO",)

    def setUp(self) -> None:
        """A second host that always works."""
        super().setUp()
        self.second = self.two()

    def test_breaks(self) -> None:
        """
        Whatever a host does before it takes a message, the next is tried; nothing is left open.
        """
        for stage in (*self.stages, *self.tlsStages):
            self.server.certificate = self.issued.server if stage in self.tlsStages else None
            for fault in (
                *(CLOSE, HANG, "421 4.3.2 Not now", "450 4.3.2 Not now", "554 5.3.2 Never"),
                *("nonsense", "250-never\r\n421 the same", "999 what?", "x" * 10_000),
            ):
                self.server.replies = {stage: fault}
                if fault[0] == "5":
                    self.server.replies[stage.replace("EHLO", "HELO")] = fault
                attempt = self.connecting()
                for _ in range(4):
                    # Each of the waits there may be.
                    self.internet.wait(200)
                connection = self.successResultOf(attempt)
                self.assertIn("mx2", connection.remote, (stage, fault))
                self.close(connection)
        self.assertEqual(self.counter.counted.count(("no-policy-found", SUCCESS)), 0)

    def test_breaksAtAll(self) -> None:
        """If that was the only host, the destination waits."""
        self.dns.mx(DOMAIN, (10, MX))
        for stage in self.stages:
            for fault, status in (
                (CLOSE, "closed"),
                ("421 4.3.2 Not now", "421"),
                ("554 5.3.2 Never", "554"),
                ("nonsense", "SMTP"),
            ):
                self.server.replies = {stage: fault}
                if stage == "EHLO":
                    self.server.replies["HELO"] = fault
                error = self.unavailable()
                self.assertTrue(error.temporary)
                self.assertIn(status, error.text)

    def test_never(self) -> None:
        """
        A host that says 521, as its greeting or to EHLO, takes no mail at all (RFC 7504): the next
        is tried, and if all say so the mail goes back at once. With one among them that may take it
        later it waits.
        """
        never = "521 mx.example.org does not accept mail"
        for stage in ("greeting", "EHLO"):
            self.server.replies = {stage: never}
            self.second.replies = {}
            connection = self.connect()
            self.assertIn("mx2", connection.remote)
            self.close(connection)
            self.assertNotIn("HELO", self.server.sessions[-1].verbs)
            self.second.replies = {"greeting": "554 5.3.2 Not now"}
            self.assertIn("554", self.unavailable().text)
            for first, second in ((never, never), ("554 5.3.2 Not now", never)):
                self.server.replies = {stage: first, "HELO": first}
                self.second.replies = {"greeting": second}
                if first != never:
                    self.assertIn("554", self.unavailable().text)
                    continue
                error = self.refused()
                self.assertEqual((error.smtpCode, error.enhancedStatus), (521, "5.3.2"))
                self.assertIn("does not accept mail", error.text)

    def test_neverOfSmarthost(self) -> None:
        """Of a host that an operator has named it is no matter of the sender's."""
        self.dns.host("smarthost", FIRST)
        self.server.replies = {"greeting": "521 Not me"}
        destination, routes = self.routed("smtp://smarthost")
        self.assertTrue(self.unavailable(None, destination, routes).temporary)

    def test_timeouts(self) -> None:
        """Each stage has its time (RFC 5321 §4.5.3.2)."""
        self.dns.mx(DOMAIN, (10, MX))
        for stage, seconds in (("greeting", TIMEOUTS.greeting), ("EHLO", TIMEOUTS.command)):
            self.server.replies = {stage: HANG}
            attempt = self.connecting()
            self.internet.wait(seconds - 1)
            self.assertNoResult(attempt)
            self.internet.wait(1)
            error = self.failureResultOf(attempt, DestinationUnavailable).value
            self.assertIn("timeout", error.text)
            self.assertIdle()

    def test_cancel(self) -> None:
        """Whoever doesn't want it any more leaves nothing open, at whatever stage."""
        self.server.certificate = self.issued.server
        for prepare in (
            lambda: self.dns.wait(DOMAIN, "MX", Deferred()),
            lambda: self.dns.mx(DOMAIN, (10, MX)),
            lambda: self.dns.wait(MX, "A", Deferred()),
            lambda: self.dns.host(MX, FIRST),
            lambda: self.internet.servers.update({(FIRST, 25): SILENT}),
            lambda: self.internet.servers.update({(FIRST, 25): self.server}),
            *(
                (lambda stage=stage: setattr(self.server, "replies", {stage: HANG}))
                for stage in (*self.stages, "STARTTLS", *self.tlsStages)
            ),
            # While it says goodbye to a host that doesn't serve.
            lambda: setattr(self.server, "replies", {"greeting": "554 No", "QUIT": HANG}),
        ):
            prepare()
            attempt = self.connecting()
            if attempt.called:
                self.close(self.successResultOf(attempt))
                continue
            attempt.cancel()
            self.failureResultOf(attempt, CancelledError)
            self.internet.wait(60)
            self.assertIdle()
        self.assertEqual(self.second.sessions, [])

    def test_quitIgnored(self) -> None:
        """A host that doesn't serve and doesn't say goodbye either isn't waited for long."""
        self.server.replies = {"greeting": "554 No", "QUIT": HANG}
        attempt = self.connecting()
        self.internet.wait(QUIT_TIMEOUT)
        self.close(self.successResultOf(attempt))

    def test_sending(self) -> None:
        """
        A host that goes wrong while it gets a message gives a temporary result (RFC 5321 §4.5.4.1),
        and the connection isn't used again.
        """
        for stage, fault, code in (
            *(("MAIL", CLOSE, 451), ("RCPT", CLOSE, 451), ("DATA", CLOSE, 451)),
            *(("message", CLOSE, 451), ("MAIL", "nonsense", 451), ("message", "nonsense", 451)),
            *(("MAIL", "421 4.3.2 Down", 421), ("message", "421 4.3.2 Down", 421)),
        ):
            self.server.replies = {}
            connection = self.connect()
            self.server.replies = {stage: fault}
            [result] = self.send(connection)
            self.assertEqual(result.code, code, (stage, fault))
            self.assertTrue(result.temporary)
            self.assertFalse(connection.accepts(message()))
            self.close(connection)

    def test_sendingConfused(self) -> None:
        """
        A host that says yes to DATA instead of asking for the message, or asks for something where
        nothing is to come, has lost its way: it hasn't got the message.
        """
        for stage, fault in (
            *(("DATA", "250 OK"), ("MAIL", "354 Go ahead"), ("MAIL", "334 ")),
            *(("RCPT", "354 Go ahead"), ("message", "354 Go ahead"), ("message", "334 ")),
        ):
            for offered in (("PIPELINING",), ()):
                self.server.replies = {}
                self.server.offered = offered
                connection = self.connect()
                self.server.replies = {stage: fault}
                [result] = self.send(connection)
                self.assertTrue(result.temporary, (stage, fault))
                self.assertFalse(connection.accepts(message()))
                self.close(connection)
        self.assertEqual(self.server.messages, [])

    def test_sendingTimeouts(self) -> None:
        """A host that falls silent meanwhile does so too, each stage having its time."""
        for stage, seconds in (
            ("MAIL", TIMEOUTS.command),
            ("DATA", TIMEOUTS.dataInitiation),
            ("message", TIMEOUTS.dataTermination),
        ):
            self.server.replies = {}
            connection = self.connect()
            self.server.replies = {stage: HANG}
            sending = self.start(connection.send(message(), BytesContent(CONTENT)))
            self.internet.wait(seconds - 1)
            self.assertNoResult(sending)
            self.internet.wait(1)
            [result] = self.successResultOf(sending)
            self.assertEqual((result.code, result.enhancedStatus), (451, "4.4.2"))
            self.assertFalse(connection.accepts(message()))
            closing = self.start(connection.close())
            self.internet.wait(60)
            self.successResultOf(closing)
            self.assertIdle()

    def test_sendingRefused(self) -> None:
        """What a host says of a message is its result, and the connection goes on."""
        for stage, reply in (
            ("MAIL", "550 5.7.1 Not you"),
            ("RCPT", "450 4.2.1 Later"),
            ("DATA", "451 4.3.0 Oops"),
            ("message", "552 5.3.4 Too big"),
        ):
            connection = self.connect()
            self.server.replies = {stage: reply}
            [result] = self.send(connection)
            self.assertEqual(f"{result.code} {result.enhancedStatus} {result.text}", reply)
            self.assertTrue(connection.accepts(message()))
            self.server.replies = {}
            [result] = self.send(connection)
            self.assertTrue(result.delivered)
            self.close(connection)

    def test_closedMeanwhile(self) -> None:
        """A connection that the host gave up between two messages isn't used for another."""
        for last in (b"", b"421 4.4.2 Idle for too long\r\n"):
            connection = self.connect()
            self.send(connection)
            session = self.server.sessions[-1]
            session.transport.write(last)
            if not last:
                session.transport.loseConnection()
            self.internet.pump()
            self.assertFalse(connection.accepts(message()))
            self.close(connection)

    def test_sendingCancelled(self) -> None:
        """A message that is given up in the middle cuts the connection."""
        connection = self.connect()
        self.server.replies = {"message": HANG}
        sending = self.start(connection.send(message(), BytesContent(CONTENT)))
        sending.cancel()
        self.failureResultOf(sending, CancelledError)
        self.assertIdle()
        self.assertFalse(connection.accepts(message()))

    def test_contentFails(self) -> None:
        """
        A message that can't be read to its end isn't sent as if it had ended, nor does what comes
        next become its end.
        """

        class Content:
            size = 1000

            async def read(self, offset: int, length: int) -> bytes:
                raise TemporaryFailure("damaged")

        connection = self.connect()
        [result] = self.result(connection.send(message(), Content()))
        self.assertEqual((result.temporary, result.text), (True, "damaged"))
        self.assertFalse(connection.accepts(message()))
        self.close(connection)
        self.assertEqual(self.server.messages, [])

    def test_age(self) -> None:
        """The session knows how long the message has waited (for RFC 2852)."""
        ages: list[int] = []

        async def prepare(session: Any, outgoing: Any, offered: Any) -> Any:
            ages.append(outgoing.age)
            return outgoing

        self.relay()
        relay = self.relay()
        relay._extensions = (Extension("X", 1, clientPrepare=prepare),)
        connection = self.result(relay.connect(DOMAIN, message()))
        self.send(connection)
        self.close(connection)
        self.assertEqual(ages, [500])


class TLSTests(RelayTestCase):
    """
    Connections and what secures them.
    """

    def setUp(self) -> None:
        """The host has TLS, with a good certificate."""
        super().setUp()
        self.server.certificate = self.issued.server

    def enforce(self, mode: str = "enforce", mx: str = MX) -> None:
        """The domain has a policy of MTA-STS."""
        text = f"version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: 1000\n"
        self.policies.policy = parsePolicy(text.encode())

    def sign(self, issued: Issued) -> None:
        """The domain is signed, and has a TLSA record for a certificate."""
        self.dns.signed = True
        self.dns.mx(DOMAIN, (10, MX))
        self.dns.host(MX, FIRST)
        self.dns.add(f"_25._tcp.{MX}", "TLSA", tlsa(3, 1, 1, issued))

    def delivered(self) -> bool:
        """
        @return: whether the message came through TLS.
        """
        connection = self.connect()
        [result] = self.send(connection)
        self.assertTrue(result.delivered)
        self.close(connection)
        return self.server.secure[-1]

    def test_opportunistic(self) -> None:
        """TLS is used where it is offered, whatever the certificate (RFC 7435)."""
        for certificate in (self.issued, self.nobodys):
            self.server.certificate = certificate.server
            self.assertTrue(self.delivered())
        self.assertEqual(self.counter.counted, [("no-policy-found", SUCCESS)] * 2)
        # EHLO again: what was offered in the clear counts no more (RFC 3207 §4.2).
        self.assertEqual(self.server.sessions[0].verbs[:3], ["EHLO", "STARTTLS", "EHLO"])

    def test_notOffered(self) -> None:
        """Where it isn't, mail goes in the clear, and that is counted."""
        self.server.certificate = None
        self.assertFalse(self.delivered())
        self.assertEqual(self.counter.counted, [("no-policy-found", "starttls-not-supported")])

    def test_startTLSRefused(self) -> None:
        """Where STARTTLS is offered and refused, the session goes on (RFC 3207 §4.1)."""
        for reply in ("454 4.7.0 Not now", "502 5.5.1 What?"):
            self.server.replies = {"STARTTLS": reply}
            self.assertFalse(self.delivered())
        self.assertEqual(len(self.server.sessions), 2)
        self.assertEqual(self.counter.counted, [("no-policy-found", "starttls-not-supported")] * 2)

    def test_startTLSBreaks(self) -> None:
        """
        Where a host offers STARTTLS and breaks off at it, mail goes in the clear, over another
        connection: some do so every time (RFC 7435 §3).
        """
        for fault in (CLOSE, HANG, "421 4.3.2 Oops", "nonsense"):
            self.server.sessions.clear()
            self.counter.counted.clear()
            self.server.replies = {"STARTTLS": fault}
            attempt = self.connecting()
            self.internet.wait(TIMEOUTS.command)
            connection = self.successResultOf(attempt)
            [result] = self.send(connection)
            self.assertTrue(result.delivered)
            self.close(connection)
            self.assertNotIn("STARTTLS", self.server.sessions[1].verbs)
            self.assertEqual(self.counter.counted, [("no-policy-found", "starttls-not-supported")])

    def test_handshakeFails(self) -> None:
        """Where the handshake fails, mail goes in the clear, over another connection."""
        for fault in ("220 Go ahead\r\nI have no TLS", CLOSE):

            def answer(fault: str = fault) -> None:
                # The only one, but where this server took a part of the handshake for a command.
                session = self.server.sessions[0]
                if fault == CLOSE:
                    session.transport.loseConnection()
                else:
                    session.transport.write(b"This is no TLS\r\n")

            self.server.sessions.clear()
            self.counter.counted.clear()
            self.server.replies = {"STARTTLS": "220 Go ahead"}
            attempt = self.connecting()
            answer()
            self.internet.pump()
            connection = self.successResultOf(attempt)
            [result] = self.send(connection)
            self.assertTrue(result.delivered)
            self.close(connection)
            self.assertEqual(len(self.server.sessions), 2)
            self.assertNotIn("STARTTLS", self.server.sessions[1].verbs)
            self.assertEqual(self.counter.counted, [("no-policy-found", "validation-failure")])

    def test_handshakeHangs(self) -> None:
        """So it does where the handshake doesn't end."""
        self.server.replies = {"STARTTLS": "220 Go ahead"}
        attempt = self.connecting()
        self.internet.wait(TIMEOUTS.command)
        connection = self.successResultOf(attempt)
        self.close(connection)
        self.assertEqual(len(self.server.sessions), 2)

    def test_injected(self) -> None:
        """
        A server that sends something behind its reply to STARTTLS is not believed, neither under
        TLS nor in the clear (CVE-2011-0411).
        """
        self.server.replies = {"STARTTLS": "220 Go ahead\r\n250 evil"}
        self.assertIn("STARTTLS", self.unavailable().text)
        self.assertEqual(len(self.server.sessions), 1)

    def test_required(self) -> None:
        """A route may demand TLS, with whatever certificate."""
        routed = (DOMAIN, Routes({DOMAIN: parseRoute("mx?tls=required")}))
        self.server.certificate = self.nobodys.server
        self.close(self.connect(None, *routed))
        self.server.certificate = None
        error = self.unavailable(None, *routed)
        self.assertEqual((error.smtpCode, error.enhancedStatus), (451, "4.7.5"))
        self.assertIn("STARTTLS", error.text)
        self.server.certificate = self.issued.server
        self.server.replies = {"STARTTLS": "454 4.7.0 Not now"}
        self.unavailable(None, *routed)
        self.assertEqual(self.server.messages, [])

    def test_verified(self) -> None:
        """Or a certificate that is good for the host; otherwise nothing is said to it."""
        routed = (DOMAIN, Routes({DOMAIN: parseRoute("mx?tls=verified")}))
        self.close(self.connect(None, *routed))
        self.server.sessions.clear()
        for issued, kind in (
            (self.nobodys, "certificate-not-trusted"),
            (self.authority.issue("other.test"), "certificate-host-mismatch"),
            (self.authority.issue(MX, days=-1), "certificate-expired"),
        ):
            self.server.certificate = issued.server
            self.counter.counted.clear()
            error = self.unavailable(None, *routed)
            self.assertEqual(error.enhancedStatus, "4.7.5")
            self.assertEqual(self.counter.counted, [("no-policy-found", kind)])
        for session in self.server.sessions:
            self.assertEqual(session.verbs, ["EHLO", "STARTTLS"])

    def test_none(self) -> None:
        """Or no TLS at all, where it is offered and broken."""
        routed = (DOMAIN, Routes({DOMAIN: parseRoute("mx?tls=none")}))
        self.close(self.connect(None, *routed))
        self.assertEqual(self.server.sessions[0].verbs, ["EHLO", "QUIT"])

    def test_implicit(self) -> None:
        """TLS from the beginning, verified: for the smarthost (RFC 8314 §3.3)."""
        from twisted.protocols.tls import TLSMemoryBIOFactory

        server = Server("relay.test", offered=("PIPELINING", "STARTTLS"), implicit=True)
        routed = self.routed("smtps://relay.test")
        self.dns.host("relay.test", FIRST)
        for issued, good in (
            (self.authority.issue("relay.test"), True),
            (self.authority.issue("other.test"), False),
            (self.nobodys, False),
        ):
            self.internet.servers[FIRST, 465] = TLSMemoryBIOFactory(issued.server, False, server)
            if good:
                connection = self.connect(None, *routed)
                self.send(connection)
                self.close(connection)
            else:
                self.assertEqual(self.unavailable(None, *routed).enhancedStatus, "4.7.5")
        self.assertEqual(server.sessions[0].verbs, ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"])
        self.assertEqual(len(server.messages), 1)
        # A server that has no TLS there.
        self.internet.servers[FIRST, 465] = Server("relay.test")
        self.unavailable(None, *routed)

    def test_implicitHangs(self) -> None:
        """A handshake that doesn't end is given up with the connection's time."""
        self.internet.servers["127.0.0.1", 465] = Server(replies={"greeting": HANG})
        attempt = self.connecting(None, *self.routed("smtps://127.0.0.1"), connectTimeout=20)
        self.internet.wait(20)
        self.failureResultOf(attempt, DestinationUnavailable)
        self.assertIdle()

    # --- policies ------------------------------------------------------------------------------

    def test_sts(self) -> None:
        """Under a policy of MTA-STS the host must be verified, or the next one is tried."""
        self.enforce()
        self.assertTrue(self.delivered())
        self.server.certificate = self.nobodys.server
        self.assertEqual(self.unavailable().enhancedStatus, "4.7.5")
        self.server.certificate = None
        self.unavailable()
        self.assertEqual(
            self.counter.counted,
            [
                ("sts", SUCCESS),
                ("sts", "certificate-not-trusted"),
                ("sts", "starttls-not-supported"),
            ],
        )
        self.assertEqual(len(self.server.messages), 1)

    def test_stsNextHost(self) -> None:
        """A host that isn't in the policy is passed over, unconnected."""
        second = self.two(certificate=self.authority.issue("mx2.example.org").server)
        self.enforce(mx="mx2.example.org")
        self.close(self.connect())
        self.assertEqual(self.server.sessions, [])
        self.assertEqual(len(second.sessions), 1)

    def test_stsTesting(self) -> None:
        """Under a policy that is being tested mail arrives, and what would fail is counted."""
        self.enforce("testing")
        self.assertTrue(self.delivered())
        self.server.certificate = self.nobodys.server
        self.assertTrue(self.delivered())
        self.server.certificate = None
        self.assertFalse(self.delivered())
        self.enforce("testing", "other.test")
        self.assertFalse(self.delivered())
        self.assertEqual(
            self.counter.counted,
            [
                ("sts", SUCCESS),
                ("sts", "certificate-not-trusted"),
                ("sts", "starttls-not-supported"),
                ("sts", "starttls-not-supported"),
            ],
        )

    def test_dane(self) -> None:
        """With TLSA records the host must have that certificate, and nothing else matters."""
        odd = Authority("Nobody").issue("elsewhere.test", days=-1)
        self.sign(odd)
        self.server.certificate = odd.server
        self.assertTrue(self.delivered())
        self.server.certificate = self.issued.server
        self.assertEqual(self.unavailable().enhancedStatus, "4.7.5")
        self.server.certificate = None
        self.unavailable()
        self.assertEqual(
            self.counter.counted,
            [
                ("tlsa", SUCCESS),
                ("tlsa", "validation-failure"),
                ("tlsa", "starttls-not-supported"),
            ],
        )
        self.assertEqual(self.server.sessions[1].verbs, ["EHLO", "STARTTLS"])

    def test_daneBroken(self) -> None:
        """A host whose TLSA records can't be looked up isn't connected to."""
        self.sign(self.issued)
        self.dns.fail(f"_25._tcp.{MX}", "TLSA")
        self.assertEqual(self.unavailable().enhancedStatus, "4.7.5")
        self.assertEqual(self.internet.attempts, [])

    # --- what a message demands ----------------------------------------------------------------

    def requiring(self, routes: Routes | None = None) -> Any:
        """
        @return: a connection for a message with REQUIRETLS.
        """
        return self.connect(message(REQUIRETLS=None), routes=routes)

    def test_demanded(self) -> None:
        """
        A message that demands TLS goes where the host is certain, verified and offers REQUIRETLS
        (RFC 8689 §4.2.1); the demand goes along.
        """
        self.enforce()
        self.server.offeredTLS = ("REQUIRETLS",)
        connection = self.requiring()
        self.assertTrue(connection.accepts(message(REQUIRETLS=None)))
        sent = message(REQUIRETLS=None)
        [result] = self.result(connection.send(sent, BytesContent(CONTENT)))
        self.assertTrue(result.delivered)
        self.close(connection)
        self.assertIn("REQUIRETLS", self.server.sessions[0].lines[3])

    def test_demandedUnmet(self) -> None:
        """
        If no host can do that the message fails for good (RFC 8689 §4.2.1), by 5.7.10 or 5.7.30;
        other messages are nothing to it.
        """
        sent = message(REQUIRETLS=None)
        self.assertEqual(self.refused(sent).enhancedStatus, "5.7.10")
        self.assertEqual(self.internet.attempts, [])
        self.enforce("testing")
        error = self.refused(sent)
        self.assertEqual((error.smtpCode, error.enhancedStatus), (550, "5.7.30"))
        self.server.offeredTLS = ("REQUIRETLS",)
        self.server.certificate = self.nobodys.server
        self.assertEqual(self.refused(sent).enhancedStatus, "5.7.10")
        self.server.certificate = None
        self.assertEqual(self.refused(sent).enhancedStatus, "5.7.10")
        self.assertFalse(self.delivered())

    def test_demandedNextHost(self) -> None:
        """The next host may do what the first doesn't."""
        self.two(
            certificate=self.authority.issue("mx2.example.org").server,
            offeredTLS=("REQUIRETLS",),
        )
        self.enforce(mx="*.example.org")
        connection = self.requiring()
        self.assertIn("mx2", connection.remote)
        self.close(connection)

    def test_demandedLater(self) -> None:
        """
        If one that may do it can't be reached now, the message alone waits; if none can be reached,
        all of the destination do.
        """
        self.two()
        self.enforce(mx="*.example.org")
        self.internet.servers[SECOND, 25] = REFUSED
        error = self.refused(message(REQUIRETLS=None))
        self.assertTrue(error.temporary)
        self.internet.servers[FIRST, 25] = REFUSED
        self.unavailable(message(REQUIRETLS=None))

    def test_demandedAndReuse(self) -> None:
        """A connection is used for such a message only if it could have been made for it."""
        self.server.offeredTLS = ("REQUIRETLS",)
        demanding = message(REQUIRETLS=None)
        for mode, accepted in (("enforce", True), ("testing", False)):
            self.enforce(mode)
            connection = self.connect()
            self.assertTrue(connection.accepts(message()))
            self.assertEqual(connection.accepts(demanding), accepted)
            self.close(connection)
        self.enforce()
        self.server.offeredTLS = ()
        connection = self.connect()
        self.assertFalse(connection.accepts(demanding))
        self.close(connection)
        # What is offered in the clear isn't believed.
        self.policies.policy = None
        self.server.offered += ("REQUIRETLS",)
        self.server.certificate = None
        connection = self.connect()
        self.assertFalse(connection.accepts(demanding))
        self.close(connection)

    def test_demandedLocally(self) -> None:
        """Over a socket of this machine it is delivered: nothing more is to be had."""
        self.internet.servers["/run/lmtp"] = Server()
        destination, routes = self.routed("lmtp+unix:/run/lmtp")
        connection = self.connect(message(REQUIRETLS=None), destination, routes)
        self.assertTrue(connection.accepts(message(REQUIRETLS=None)))
        self.close(connection)

    def test_demandedByNotification(self) -> None:
        """A notification goes all the same (RFC 8689 §5)."""
        notification = message(REQUIRETLS=None)._replace(reversePath=None)
        self.close(self.connect(notification))

    def test_waived(self) -> None:
        """
        A message whose sender waives TLS goes past the domain's policies (RFC 8689 §4.2.2), and its
        connection is for such messages only.
        """
        waived = message(**{"TLS-REQUIRED": "No"})
        self.enforce(mx="elsewhere.test")
        self.server.certificate = None
        connection = self.connect(waived)
        self.assertTrue(connection.accepts(waived))
        self.assertFalse(connection.accepts(message()))
        self.close(connection)
        self.unavailable()
