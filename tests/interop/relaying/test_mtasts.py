"""
MTA-STS (RFC 8461) from end to end: the policies are fetched from web servers by HTTPS, and hold for
mail.
"""

from __future__ import annotations

import atexit
import ssl
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.trial.unittest import SynchronousTestCase

from tests.interop.relaying.peer import Peer
from tests.interop.relaying.servers import MailHost, Network, text, waitFor
from tests.net.authority import Authority


class WebServer:
    """
    The web servers of all domains; which one is meant TLS tells (SNI, RFC 6066 §3).

    @ivar answers: by host: a status, a type and a content; of a redirection, where to.
    @ivar asked: the host and path of each request.
    @ivar certificates: by host.
    """

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, str, str]] = {}
        self.asked: list[str] = []
        self.certificates: dict[str, ssl.SSLContext] = {}
        web = self

        class Request(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host = self.headers["Host"].partition(":")[0]
                web.asked.append(host + self.path)
                status, kind, content = web.answers.get(host, (404, "text/plain", "no"))
                self.send_response(status)
                self.send_header("Content-Type", kind)
                if status // 100 == 3:
                    self.send_header("Location", content)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content.encode())

            def log_message(self, *arguments: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *arguments: Any) -> None:
                # A client that doesn't like the certificate.
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

        def choose(connection: Any, name: str | None, _: ssl.SSLContext) -> None:
            if name in self.certificates:
                connection.context = self.certificates[name]

        context.sni_callback = choose
        self._server = Server(("127.0.0.1", 0), Request)
        self.port = self._server.server_address[1]
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """
        Answer no more.
        """
        self._server.shutdown()
        self._server.server_close()


class STSHost(MailHost):
    """
    A server of ours that believes the test's authority, and finds web servers at the test's port.
    """

    def __init__(self, network: Network, domain: str, port: int, authority: Path) -> None:
        super().__init__(network, domain, {})
        self.program = f"""
import os
os.environ["SSL_CERT_FILE"] = {str(authority)!r}
from twisted_mailstack.relay import mtasts
mtasts.PolicyFetcher.__init__.__kwdefaults__["port"] = {port}
mtasts.FETCH_AGAIN = 1.0
{MailHost.program}"""


class Places:
    """
    A server of ours, web servers and peers.

    @ivar peers: by domain.
    """

    def __init__(self) -> None:
        self.network = Network()
        atexit.register(self.network.close)
        self.place = Path(mkdtemp(prefix="mailstack-sts-"))
        self.authority, self.stranger = Authority(), Authority("Nobody")
        trusted = self.place / "authority.pem"
        trusted.write_bytes(self.authority.own.public_bytes(Encoding.PEM))
        self.web = WebServer()
        atexit.register(self.web.close)
        self.a = STSHost(self.network, "a.test", self.web.port, trusted)
        atexit.register(self.a.close)
        self.network.dns.host(self.a.name, self.a.address)
        self.a.start()
        self.peers: dict[str, Peer] = {}

    def context(self, *names: str, by: Authority | None = None) -> ssl.SSLContext:
        """
        @return: a server's, with a certificate for these names.
        """
        issued = (by or self.authority).issue(*names)
        path = self.place / f"{names[0]}-{len(list(self.place.iterdir()))}.pem"
        path.write_bytes(
            issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + b"".join(
                each.public_bytes(Encoding.PEM) for each in (issued.certificate, *issued.chain)
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


@cache
def shared() -> Places:
    """
    @return: all of it, running.
    """
    return Places()


class MTASTSTests(SynchronousTestCase):
    """
    Each test has domains of its own.
    """

    def setUp(self) -> None:
        """All of it."""
        self.places = shared()
        self.a = self.places.a
        self.web = self.places.web

    def peer(self, domain: str, tls: ssl.SSLContext | None) -> Peer:
        """
        @return: a domain's mail exchanger, C{mx} below it.
        """
        peer = self.places.network.peer(domain, tls=tls)
        self.places.peers[domain] = peer
        return peer

    def good(self, domain: str) -> ssl.SSLContext:
        """
        @return: with a certificate as it should be.
        """
        return self.places.context(f"mx.{domain}")

    def bad(self, domain: str) -> ssl.SSLContext:
        """
        @return: with one that nobody knows who issued.
        """
        return self.places.context(f"mx.{domain}", by=self.places.stranger)

    def policy(
        self,
        domain: str,
        mode: str = "enforce",
        mx: str | None = None,
        *,
        policyId: str = "1",
        by: Authority | None = None,
    ) -> None:
        """
        A domain publishes a policy.

        @param by: who issued the web server's certificate.
        """
        host = f"mta-sts.{domain}"
        content = f"version: STSv1\nmode: {mode}\nmx: {mx or 'mx.' + domain}\nmax_age: 86400\n"
        self.web.answers[host] = (200, "text/plain", content)
        self.web.certificates[host] = self.places.context(host, by=by)
        self.places.network.dns.host(host, "127.0.0.1")
        self.places.network.dns.txt(f"_mta-sts.{domain}", f"v=STSv1; id={policyId};")

    def fetched(self, domain: str) -> int:
        """
        @return: how often the policy was asked for.
        """
        return self.web.asked.count(f"mta-sts.{domain}/.well-known/mta-sts.txt")

    def send(self, domain: str) -> None:
        """
        One more message.
        """
        self.a.submit(f"x@{domain}", text("sts"))

    def assertTaken(self, peer: Peer, secure: bool, messages: int = 1) -> None:
        """It has so many, and they came so."""
        waitFor(lambda: len(peer.taken) >= messages, f"{peer.name} takes it")
        self.assertEqual([each.secure for each in peer.taken], [secure] * messages)

    def failed(self, domain: str, times: int = 2) -> str:
        """
        Wait until it was tried so often and in vain.

        @return: what was said then.
        """

        def lines() -> list[str]:
            return self.a.lines(f"{domain}: unreachable")

        waitFor(lambda: len(lines()) >= times, f"{domain} is tried again")
        return lines()[-1]

    def test_enforced(self) -> None:
        """
        Mail goes to the host that the policy names, through TLS with its certificate verified. The
        policy is fetched once, and holds on over a restart, without web server and record (§5.1).
        """
        domain = "good.test"
        peer = self.peer(domain, self.good(domain))
        self.policy(domain)
        self.send(domain)
        self.assertTaken(peer, True)
        self.send(domain)
        self.assertTaken(peer, True, 2)
        self.assertEqual(self.fetched(domain), 1)
        self.assertEqual(self.a.tlsReport(domain)["sts"][1:], (0, []))
        self.a.stop()
        del self.web.answers[f"mta-sts.{domain}"]
        self.places.network.dns.fail(f"_mta-sts.{domain}")
        # Somebody else answers in its place.
        peer.tls = self.bad(domain)
        self.a.start()
        self.send(domain)
        self.assertIn("certificate", self.failed(domain))
        self.assertEqual((len(peer.taken), self.fetched(domain)), (2, 1))

    def test_refused(self) -> None:
        """
        Under a policy that is enforced no mail goes to a host whose certificate isn't good or is
        another host's, that offers no TLS, or that the policy doesn't name (§5). It waits. When the
        domain has set it right, and says so with a new id, it arrives.
        """
        domains = ("stranger.test", "other.test", "clear.test", "unnamed.test")
        stranger, other, clear, unnamed = domains
        peers = [
            self.peer(stranger, self.bad(stranger)),
            self.peer(other, self.places.context("elsewhere.test")),
            self.peer(clear, None),
            self.peer(unnamed, self.good(unnamed)),
        ]
        for domain in domains:
            self.policy(domain, mx="*.elsewhere.test" if domain == unnamed else None)
            self.send(domain)
        said = [self.failed(domain) for domain in domains]
        for line, words in zip(
            said, ("certificate", "certificate", "STARTTLS", "none of the hosts"), strict=True
        ):
            self.assertIn(words, line)
        self.assertEqual([peer.attempts for peer in peers], [0] * 4)
        self.assertEqual(self.a.tlsReport(unnamed)["sts"][2], ["validation-failure"])
        for domain, peer in zip(domains, peers, strict=True):
            self.policy(domain, "none", policyId="2")
            self.assertTaken(peer, peer.tls is not None)
            self.assertEqual(self.fetched(domain), 2)

    def test_testing(self) -> None:
        """
        Under one that is tested mail goes all the same, and what would have been in its way is
        counted (§5).
        """
        peers = {}
        for domain in ("stranger2.test", "clear2.test"):
            tls = self.bad(domain) if domain.startswith("stranger") else None
            peers[domain] = self.peer(domain, tls)
            self.policy(domain, "testing")
            self.send(domain)
        for peer in peers.values():
            self.assertTaken(peer, peer.tls is not None)
        kinds = {
            "stranger2.test": "certificate-not-trusted",
            "clear2.test": "starttls-not-supported",
        }
        for domain, kind in kinds.items():
            self.assertEqual(self.a.tlsReport(domain)["sts"], (0, 1, [kind]))

    def test_notFetched(self) -> None:
        """
        A policy that can't be had is none: mail goes as if there were none, and the failure is
        counted (§3.3, §5): a certificate of nobody's, another status, a redirection (to where the
        policy is), another type, nonsense, nobody there.
        """
        domains = [f"{name}.test" for name in ("forged", "lost", "moved", "page", "odd", "nobody")]
        for domain in domains:
            self.policy(domain, by=self.places.stranger if domain == "forged.test" else None)
        self.policy("there.test")
        dns, answers = self.places.network.dns, self.web.answers
        content = answers["mta-sts.there.test"][2]
        answers["mta-sts.lost.test"] = (500, "text/plain", content)
        there = f"https://mta-sts.there.test:{self.web.port}/.well-known/mta-sts.txt"
        answers["mta-sts.moved.test"] = (301, "text/plain", there)
        answers["mta-sts.page.test"] = (200, "text/html", content)
        answers["mta-sts.odd.test"] = (200, "text/plain", "version: STSv2\n")
        dns.host("mta-sts.nobody.test", self.places.network.address())
        peers = {domain: self.peer(domain, self.bad(domain)) for domain in domains}
        for domain in domains:
            self.send(domain)
        for domain in domains:
            self.assertTaken(peers[domain], True)
            kind = {
                "forged.test": "sts-webpki-invalid",
                "odd.test": "sts-policy-invalid",
            }.get(domain, "sts-policy-fetch-error")
            found = self.a.tlsReport(domain)
            self.assertEqual(found["sts"], (0, 1, [kind]), domain)
            self.assertEqual(found["no-policy-found"][:2], (1, 0), domain)
        self.assertEqual((self.fetched("forged.test"), self.fetched("there.test")), (0, 0))
        self.assertEqual(self.fetched("moved.test"), 1)
