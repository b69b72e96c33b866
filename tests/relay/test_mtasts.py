"""
MTA-STS (RFC 8461): reading records and policies, fetching them, and how long they hold.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, wrapServerTLS
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data

from tests.net.authority import Authority
from tests.net.internet import SILENT, InternetTestCase
from tests.relay.support import DNS
from twisted_mailstack.net.clienttls import ClientTLS
from twisted_mailstack.relay.hosts import HostFinder
from twisted_mailstack.relay.mtasts import (
    FETCH_AGAIN,
    FETCH_TIMEOUT,
    MAX_AGE,
    MAX_POLICY,
    REFRESH,
    CachedPolicy,
    PolicyFetcher,
    PolicyProblem,
    STSPolicies,
    STSPolicy,
    parsePolicy,
    parseRecord,
)

# What trial runs; its type says only that it is a module.
reactor: Any = _reactor

DOMAIN = "example.org"
HOST = "mta-sts.example.org"


def policy(mode: str = "enforce", maxAge: int = 604800, mx: str = "mx.example.org") -> bytes:
    """
    @return: a policy as a web server gives it.
    """
    lines = ["version: STSv1", f"mode: {mode}", f"mx: {mx}", f"max_age: {maxAge}"]
    return "".join(line + "\r\n" for line in lines).encode()


class RecordTests(SynchronousTestCase):
    """
    The TXT record (RFC 8461 §3.1).
    """

    def test_id(self) -> None:
        """The id is found, with spaces, other fields and a semicolon at the end as allowed."""
        for record in (
            b"v=STSv1; id=20160831085700Z;",
            b"v=STSv1;id=20160831085700Z",
            b"v=STSv1 \t;  id=20160831085700Z  ;",
            b"v=STSv1; a.b-c=x:y; id=20160831085700Z; d_=1",
        ):
            self.assertEqual(parseRecord([record]), "20160831085700Z", record)
        self.assertEqual(parseRecord([b"v=STSv1; id=" + b"a" * 32]), "a" * 32)

    def test_none(self) -> None:
        """What isn't as it should be is none: there is no policy."""
        for record in (
            *(b"", b"v=spf1 -all", b"v=STSv1", b"v=STSv1;", b"v=STSv1; id=", b"v=STSv1; id"),
            *(b"v=STSv1; ID=1", b"v=STSv1; id=a-b", b"v=STSv1; id=1; id=2", b"V=STSv1; id=1"),
            *(b" v=STSv1; id=1", b"v=STSv12; id=1", b"v=STSv1; id=1;; x=y", b"v=STSv1; id=1; x"),
            *(b"v=STSv1; id=1\x00", b"v=STSv1; id=1; x=a=b", b"v=STSv1; id=" + b"a" * 33),
            *(b"id=1; v=STSv1", b"v=STSv1; id=\xff"),
        ):
            self.assertIsNone(parseRecord([record]), record)

    def test_others(self) -> None:
        """Records of something else don't matter; two of MTA-STS are none."""
        good = b"v=STSv1; id=1"
        self.assertEqual(parseRecord([b"v=spf1 -all", good, b""]), "1")
        self.assertIsNone(parseRecord([good, good]))
        self.assertIsNone(parseRecord([good, b"v=STSv1; broken"]))
        self.assertIsNone(parseRecord([]))


class PolicyTests(SynchronousTestCase):
    """
    The policy (RFC 8461 §3.2).
    """

    def test_example(self) -> None:
        """The RFC's example, with line ends of either kind, is read."""
        text = (
            b"version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\n"
            b"mx: backupmx.example.com\nmax_age: 604800\n"
        )
        expected = STSPolicy(
            "enforce",
            604800,
            ("mail.example.com", "*.example.net", "backupmx.example.com"),
            tuple(text.decode().splitlines()),
        )
        for content in (text, text.replace(b"\n", b"\r\n"), text.rstrip(b"\n")):
            self.assertEqual(parsePolicy(content), expected)

    def test_lenient(self) -> None:
        """Order, spaces, empty lines, unknown fields don't matter; of doubles the first counts."""
        found = parsePolicy(
            b"max_age:1\n\nx-new: some: thing\nmx:\tMX.Example.Org \nmode:testing\nmode: none\n"
            b"version:STSv1\nversion: STSv2\nmax_age: x\n"
        )
        self.assertEqual(found[:3], ("testing", 1, ("mx.example.org",)))

    def test_none(self) -> None:
        """A policy that says there is none needs no hosts."""
        self.assertEqual(parsePolicy(b"version: STSv1\nmode: none\nmax_age: 86400\n").mode, "none")

    def test_longAge(self) -> None:
        """No policy holds longer than a year."""
        self.assertEqual(parsePolicy(policy(maxAge=9999999999)).maxAge, MAX_AGE)

    def test_invalid(self) -> None:
        """Whatever else is no policy, and it is said why."""
        good = policy().decode()
        for bad in (
            "",
            "<html>no</html>",
            good.replace("STSv1", "STSv2"),
            good.replace("version: STSv1\r\n", ""),
            good.replace("enforce", "Enforce"),
            good.replace("enforce", ""),
            good.replace("mode: enforce\r\n", ""),
            good.replace("604800", "-1"),
            good.replace("604800", "12345678901"),
            good.replace("604800", "\u0663"),
            good.replace("604800", "1 day"),
            good.replace("max_age: 604800\r\n", ""),
            good.replace("mx: mx.example.org\r\n", ""),
            good.replace("mx.example.org", "mail.*.example.org"),
            good.replace("mx.example.org", "*"),
            good.replace("mx.example.org", "*."),
            good.replace("mx.example.org", "a..b"),
            good.replace("mx.example.org", "https://mx.example.org"),
            good + "nonsense\r\n",
        ):
            error = self.assertRaises(PolicyProblem, parsePolicy, bad.encode())
            self.assertEqual(error.kind, "sts-policy-invalid", bad)
        self.assertRaises(PolicyProblem, parsePolicy, policy() + b"x: \xff\r\n")

    def test_covers(self) -> None:
        """A star stands for exactly one label (RFC 8461 §4.1)."""
        found = parsePolicy(policy(mx="mx.example.org") + b"mx: *.Example.net\r\n")
        for host, expected in (
            ("mx.example.org", True),
            ("MX.example.org.", True),
            ("my.example.org", False),
            ("a.mx.example.org", False),
            ("a.example.net", True),
            ("b.a.example.net", False),
            ("example.net", False),
            ("net", False),
            ("aexample.net", False),
            ("*.example.net", True),
            ("", False),
        ):
            self.assertEqual(found.covers(host), expected, host)


class Cache:
    """
    Policies that are kept as long as the test.
    """

    def __init__(self) -> None:
        self.kept: dict[str, CachedPolicy] = {}
        self.broken = False

    def loadPolicy(self, domain: str) -> CachedPolicy | None:
        """See IPolicyCache."""
        if self.broken:
            raise OSError("disk")
        return self.kept.get(domain)

    def savePolicy(self, policy: CachedPolicy) -> None:
        """See IPolicyCache."""
        if self.broken:
            raise OSError("disk")
        self.kept[policy.domain] = policy

    def forgetPolicy(self, domain: str) -> None:
        """See IPolicyCache."""
        self.kept.pop(domain, None)


class FindingTests(SynchronousTestCase):
    """
    Which policy holds for a domain, and when it is fetched.
    """

    def setUp(self) -> None:
        """A domain with a policy that can be fetched."""
        self.dns = DNS()
        self.time = 1_000_000.0
        self.cache = Cache()
        self.fetches: list[str] = []
        self.served: Any = policy()
        self.reports: list[tuple[str, str]] = []
        self.publish("1")
        self.restart()

    def restart(self) -> None:
        """The server begins anew, with what is durable."""
        self.policies = STSPolicies(
            self.dns,
            self.fetch,
            self.cache,
            lambda: self.time,
            lambda domain, problem: self.reports.append((domain, problem.kind)),
        )

    def publish(self, policyId: str) -> None:
        """The domain's record has this id."""
        self.dns.add(f"_mta-sts.{DOMAIN}", "TXT", f"v=STSv1; id={policyId};".encode())

    async def fetch(self, domain: str) -> bytes:
        """See FetchPolicy."""
        self.fetches.append(domain)
        if isinstance(self.served, Exception):
            raise self.served
        if isinstance(self.served, Deferred):
            return await self.served
        content: bytes = self.served
        return content

    def ask(self) -> Deferred[STSPolicy | None]:
        """
        @return: fires with the policy.
        """
        return Deferred.fromCoroutine(self.policies.policyOf(DOMAIN))

    def mode(self) -> str | None:
        """
        @return: the mode of the policy that holds.
        """
        found = self.successResultOf(self.ask())
        return None if found is None else found.mode

    def test_first(self) -> None:
        """A policy is fetched when mail first goes to the domain, and kept as it came."""
        self.assertEqual(self.mode(), "enforce")
        self.assertEqual(self.fetches, [DOMAIN])
        self.assertEqual(self.cache.kept[DOMAIN], CachedPolicy(DOMAIN, "1", 1_000_000, policy()))

    def test_noRecord(self) -> None:
        """A domain without a record has none, and no web server is asked."""
        for break_ in (
            lambda: self.dns.add(f"_mta-sts.{DOMAIN}", "TXT"),
            lambda: self.dns.add(f"_mta-sts.{DOMAIN}", "TXT", exists=False),
            lambda: self.dns.add(f"_mta-sts.{DOMAIN}", "TXT", b"v=spf1 -all"),
            lambda: self.dns.fail(f"_mta-sts.{DOMAIN}", "TXT"),
        ):
            break_()
            self.assertIsNone(self.mode())
        self.assertEqual((self.fetches, self.reports), ([], []))

    def test_kept(self) -> None:
        """While it holds and the id stays the same it isn't fetched again, nor after a restart."""
        self.mode()
        self.time += REFRESH / 2
        self.assertEqual(self.mode(), "enforce")
        self.restart()
        self.assertEqual(self.mode(), "enforce")
        self.assertEqual(len(self.fetches), 1)

    def test_newId(self) -> None:
        """A new id says that there is a new policy (RFC 8461 §3.1)."""
        self.mode()
        self.publish("2")
        self.served = policy("testing")
        self.assertEqual(self.mode(), "testing")
        self.assertEqual(self.mode(), "testing")
        self.assertEqual(len(self.fetches), 2)
        self.assertEqual(self.cache.kept[DOMAIN].policyId, "2")

    def test_newIdNotFetched(self) -> None:
        """If the new one can't be had the old one holds (RFC 8461 §5.1); tried again later."""
        self.mode()
        self.publish("2")
        for problem in (PolicyProblem("down", "sts-policy-fetch-error"), b"no policy"):
            self.served = problem
            before = len(self.fetches)
            self.assertEqual(self.mode(), "enforce")
            self.time += FETCH_AGAIN - 1
            self.assertEqual(self.mode(), "enforce")
            self.assertEqual(len(self.fetches), before + 1)
            self.time += 1
        self.assertEqual(
            self.reports, [(DOMAIN, "sts-policy-fetch-error"), (DOMAIN, "sts-policy-invalid")]
        )
        self.served = policy("testing")
        self.assertEqual(self.mode(), "testing")

    def test_anotherIdAtOnce(self) -> None:
        """An id that is newer than the one that failed is tried at once."""
        self.served = PolicyProblem("down", "sts-policy-fetch-error")
        self.assertIsNone(self.mode())
        self.assertIsNone(self.mode())
        self.assertEqual(len(self.fetches), 1)
        self.publish("2")
        self.served = policy()
        self.assertEqual(self.mode(), "enforce")

    def test_recordGone(self) -> None:
        """
        That the record is gone, or can't be looked up, doesn't end a policy: that is what an
        attacker would see to (RFC 8461 §3.1, §10.2).
        """
        self.mode()
        self.dns.add(f"_mta-sts.{DOMAIN}", "TXT", exists=False)
        self.time += 2 * REFRESH
        self.assertEqual(self.mode(), "enforce")
        self.dns.fail(f"_mta-sts.{DOMAIN}", "TXT")
        self.assertEqual(self.mode(), "enforce")
        self.assertEqual(len(self.fetches), 1)

    def test_ends(self) -> None:
        """It ends when its time is over."""
        self.mode()
        self.dns.add(f"_mta-sts.{DOMAIN}", "TXT", exists=False)
        self.time += 604800 - 1
        self.assertEqual(self.mode(), "enforce")
        self.time += 1
        self.assertIsNone(self.mode())
        self.assertEqual(self.cache.kept, {})

    def test_clockSetBack(self) -> None:
        """A clock that is set back doesn't end it either."""
        self.mode()
        self.time -= 10_000
        self.served = PolicyProblem("down", "sts-policy-fetch-error")
        self.assertEqual(self.mode(), "enforce")

    def test_refreshed(self) -> None:
        """A policy of yesterday is fetched again while mail goes on under it (RFC 8461 §10.2)."""
        self.mode()
        self.time += REFRESH + 1
        self.served = arrives = Deferred[bytes]()
        self.assertEqual(self.mode(), "enforce")
        self.assertEqual(self.mode(), "enforce")
        self.assertEqual(len(self.fetches), 2)
        arrives.callback(policy("testing"))
        self.assertEqual(self.mode(), "testing")
        self.assertEqual(self.cache.kept[DOMAIN].fetched, int(self.time))

    def test_refreshedBeforeItEnds(self) -> None:
        """One that holds for less than two days is fetched again when half of it is over."""
        self.served = policy(maxAge=1000)
        self.mode()
        self.time += 500
        self.mode()
        self.assertEqual(len(self.fetches), 1)
        self.time += 1
        self.mode()
        self.assertEqual(len(self.fetches), 2)

    def test_refreshFails(self) -> None:
        """If that fails the policy holds on, and it is tried again some minutes later."""
        self.mode()
        self.time += REFRESH + 1
        self.served = PolicyProblem("down", "sts-policy-fetch-error")
        for _ in range(3):
            self.assertEqual(self.mode(), "enforce")
        self.assertEqual(len(self.fetches), 2)
        self.time += FETCH_AGAIN
        self.assertEqual(self.mode(), "enforce")
        self.assertEqual(len(self.fetches), 3)

    def test_removed(self) -> None:
        """A domain ends its policy with one that says so (RFC 8461 §8.3)."""
        self.mode()
        self.publish("2")
        self.served = policy("none")
        self.assertEqual(self.mode(), "none")

    def test_shared(self) -> None:
        """Who comes while it is fetched waits for the same; one who leaves is nothing to others."""
        self.served = arrives = Deferred[bytes]()
        first, second = self.ask(), self.ask()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        arrives.callback(policy())
        self.assertIsNotNone(self.successResultOf(second))
        self.assertEqual(len(self.fetches), 1)

    def test_nobodyWaits(self) -> None:
        """When nobody waits any more it isn't fetched, which is no failure of the domain's."""
        cancelled: list[object] = []
        self.served = Deferred(cancelled.append)
        asked = self.ask()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.reports, [])
        self.served = policy()
        self.assertEqual(self.mode(), "enforce")

    def test_close(self) -> None:
        """At the end nothing is fetched in the background."""
        self.mode()
        self.time += REFRESH + 1
        cancelled: list[object] = []
        self.served = Deferred(cancelled.append)
        self.mode()
        self.policies.close()
        self.assertEqual((len(cancelled), self.reports), (1, []))

    def test_cacheBroken(self) -> None:
        """If policies can't be kept mail goes on under those that can be fetched; it is logged."""
        self.cache.broken = True
        self.assertEqual(self.mode(), "enforce")
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 2)

    def test_failureOfOurs(self) -> None:
        """What else goes wrong while it is refreshed is logged and changes nothing."""
        self.mode()
        self.time += REFRESH + 1
        self.served = ZeroDivisionError()
        self.assertEqual(self.mode(), "enforce")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class WebServer(Protocol):
    """
    Sends what it is told once it has a request.
    """

    transport: Any

    def __init__(self, answer: bytes, close: bool) -> None:
        self.answer = answer
        self.close = close
        self.request = b""

    def dataReceived(self, data: bytes) -> None:
        """A request."""
        self.request += data
        if self.request.endswith(b"\r\n\r\n"):
            self.transport.write(self.answer)
            if self.close:
                self.transport.loseConnection()


def response(
    content: bytes, status: str = "200 OK", kind: str = "text/plain", more: str = ""
) -> bytes:
    """
    @return: a response of HTTP.
    """
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n{more}"
    return head.encode() + b"\r\n" + content


class FetchTests(InternetTestCase):
    """
    Fetching by HTTPS (RFC 8461 §3.3), from a server that sends what the test says.
    """

    authority = Authority()

    def setUp(self) -> None:
        """A DNS, and a client that trusts the authority."""
        super().setUp()
        self.dns = DNS()
        self.dns.host(HOST, "198.51.100.3")
        self.fetcher = PolicyFetcher(
            self.internet, HostFinder(self.dns), ClientTLS(self.authority.trustRoot)
        )
        self.servers: list[WebServer] = []

    def serve(
        self, answer: bytes, name: str = HOST, close: bool = False, by: Authority | None = None
    ) -> None:
        """There is a web server that answers this."""

        def make() -> WebServer:
            self.servers.append(WebServer(answer, close))
            return self.servers[-1]

        issued = (by or self.authority).issue(name)
        self.internet.servers["198.51.100.3", 443] = TLSMemoryBIOFactory(
            issued.server, False, Factory.forProtocol(make)
        )

    def fetch(self) -> Deferred[bytes]:
        """
        @return: fires with the policy.
        """
        return self.start(self.fetcher(DOMAIN))

    def problem(self) -> PolicyProblem:
        """
        @return: why there is none.
        """
        error: PolicyProblem = self.failureResultOf(self.fetch(), PolicyProblem).value
        self.assertIdle()
        return error

    def test_fetched(self) -> None:
        """It is fetched from where it must be, and the connection is closed."""
        self.serve(response(policy()))
        self.assertEqual(self.successResultOf(self.fetch()), policy())
        lines = self.servers[0].request.split(b"\r\n")
        self.assertEqual(lines[0], b"GET /.well-known/mta-sts.txt HTTP/1.1")
        self.assertIn(b"Host: mta-sts.example.org", lines)
        self.assertIdle()

    def test_forms(self) -> None:
        """The body may come in chunks or up to the end; the type may have parameters, any case."""
        chunks = b"".join(
            b"%x\r\n%b\r\n" % (1, policy()[at : at + 1]) for at in range(len(policy()))
        )
        for answer in (
            response(policy(), kind="Text/Plain; charset=utf-8"),
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
            + chunks
            + b"0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + policy(),
        ):
            self.serve(answer, close=answer.startswith(b"HTTP/1.0"))
            self.assertEqual(self.successResultOf(self.fetch()), policy())
            self.assertIdle()

    def test_statuses(self) -> None:
        """Only 200 will do: redirections are not followed (RFC 8461 §3.3)."""
        for status in ("404 Not Found", "500 Oops", "204 No Content", "301 Moved"):
            self.serve(response(policy(), status, more="Location: https://evil.test/\r\n"))
            problem = self.problem()
            self.assertEqual(problem.kind, "sts-policy-fetch-error")
            self.assertIn(status[:3], problem.text)
        self.assertEqual(set(self.internet.attempts), {("198.51.100.3", 443)})

    def test_types(self) -> None:
        """Only text/plain will do (RFC 8461 §3.2)."""
        for kind in ("text/html", "", "text/plainer", "application/octet-stream"):
            self.serve(response(policy(), kind=kind))
            self.assertIn("text/plain", self.problem().text)
        self.serve(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
        self.problem()

    def test_size(self) -> None:
        """A policy has at most 64 KB; what is longer isn't read to its end."""
        self.serve(response(b"x" * MAX_POLICY))
        self.assertEqual(len(self.successResultOf(self.fetch())), MAX_POLICY)
        for answer in (
            response(b"x" * (MAX_POLICY + 1)),
            b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + b"x" * 10 * MAX_POLICY,
        ):
            self.serve(answer)
            self.assertIn("too long", self.problem().text)

    def test_cutOff(self) -> None:
        """A policy that isn't whole is none."""
        whole = response(policy())
        for answer in (b"", b"HTTP/1.1 200 OK\r\n", whole[:-1], b"nonsense\r\n\r\n"):
            self.serve(answer, close=True)
            self.assertEqual(self.problem().kind, "sts-policy-fetch-error")

    def test_certificate(self) -> None:
        """The certificate must be good, for that name: otherwise nothing is asked."""
        for name, by in ((DOMAIN, None), (HOST, Authority("Nobody"))):
            self.serve(response(policy()), name, by=by)
            self.assertEqual(self.problem().kind, "sts-webpki-invalid")
        self.assertEqual({server.request for server in self.servers}, {b""})

    def test_addresses(self) -> None:
        """Each of the host's addresses is tried."""
        self.dns.host(HOST, "2001:db8::3", "198.51.100.3")
        self.serve(response(policy()))
        self.assertEqual(self.successResultOf(self.fetch()), policy())
        self.assertEqual(self.internet.attempts, [("2001:db8::3", 443), ("198.51.100.3", 443)])

    def test_unreachable(self) -> None:
        """A host that has no address, can't be looked up or refuses gives none."""
        self.assertEqual(self.problem().kind, "sts-policy-fetch-error")
        self.dns.host(HOST)
        self.assertIn("no address", self.problem().text)
        self.dns.fail(HOST, "A")
        self.assertIn(HOST, self.problem().text)

    def test_silent(self) -> None:
        """All of it may take a minute, wherever the server stops (RFC 8461 §3.3)."""
        for prepare in (
            lambda: self.internet.servers.update({("198.51.100.3", 443): SILENT}),
            lambda: self.serve(b""),
            lambda: self.serve(b"HTTP/1.1 200 OK\r\nContent-Ty"),
            lambda: self.serve(response(policy())[:-1]),
            lambda: self.dns.wait(HOST, "A", Deferred()),
        ):
            prepare()
            fetching = self.fetch()
            self.internet.wait(FETCH_TIMEOUT / 2 - 1)
            self.internet.wait(FETCH_TIMEOUT / 2)
            if not fetching.called:
                self.internet.wait(1)
            error = self.failureResultOf(fetching, PolicyProblem).value
            self.assertEqual(error.kind, "sts-policy-fetch-error")
            self.assertIdle()

    def test_cancel(self) -> None:
        """Whoever doesn't want it any more leaves nothing behind, at any moment."""
        for prepare in (
            lambda: self.internet.servers.update({("198.51.100.3", 443): SILENT}),
            lambda: self.serve(b""),
            lambda: self.serve(response(policy())[:-1]),
            lambda: self.dns.wait(HOST, "A", Deferred()),
        ):
            prepare()
            fetching = self.fetch()
            fetching.cancel()
            self.failureResultOf(fetching, CancelledError)
            self.assertIdle()


class RealWebServerTests(TestCase):
    """
    From a web server of Twisted's, on loopback.
    """

    async def test_fetch(self) -> None:
        """A policy as a domain would serve it."""
        authority = Authority()
        folder = Resource()
        folder.putChild(b"mta-sts.txt", Data(policy(), "text/plain"))
        root = Resource()
        root.putChild(b".well-known", folder)
        endpoint = wrapServerTLS(
            authority.issue(HOST).server, TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        )
        port = await endpoint.listen(Site(root))
        self.addCleanup(port.stopListening)
        dns = DNS()
        dns.host(HOST, "127.0.0.1")
        fetcher = PolicyFetcher(
            reactor,
            HostFinder(dns),
            ClientTLS(authority.trustRoot),
            port=port.getHost().port,
        )
        self.assertEqual(parsePolicy(await fetcher(DOMAIN)).mode, "enforce")
