"""
Our clients log in to another's server, over TLS: Dovecot's for IMAP, POP3 and submission, and by
SCRAM to scramp's.
"""

from __future__ import annotations

import atexit
import json
import re
import socketserver
import subprocess
import sys
import threading
import time
from base64 import b64decode, b64encode
from functools import cache
from hashlib import sha256
from http.server import HTTPServer
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext, TLSVersion
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from scramp import ScramException, ScramMechanism
from twisted.trial.unittest import SynchronousTestCase

from tests.interop.dovecot import PROTOCOLS, Dovecot, needsDovecot, pem
from tests.interop.harness import ALICE, BOB, PASSWORD, ROOT, environment
from tests.interop.test_sasl import TOKEN, Introspect
from tests.net.authority import Authority, Issued

#: What Dovecot knows of ours, but for GSSAPI.
BY_PASSWORD = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256")
BY_TOKEN = ("OAUTHBEARER", "XOAUTH2")
CONFIG = """
auth_mechanisms = {mechanisms} external anonymous
auth_failure_delay = 0
auth_verbose = yes
auth_username_chars =
auth_ssl_username_from_cert = yes
ssl_verify_client_cert = yes
ssl_require_crl = no
ssl_ca = <{place}/ca.pem
ssl_cert_username_field = commonName
hostname = localhost
passdb {{
  driver = oauth2
  mechanisms = oauthbearer xoauth2
  args = {place}/oauth2.conf
}}
passdb {{
  driver = static
  mechanisms = external
  args = nopassword
}}
passdb {{
  driver = passwd-file
  master = yes
  mechanisms = plain scram-sha-256
  args = scheme=PLAIN {place}/masters
}}
passdb {{
  driver = passwd-file
  mechanisms = plain login cram-md5 scram-sha-1 scram-sha-256
  args = scheme=PLAIN {place}/users
}}
"""
OAUTH2 = """
introspection_mode = post
introspection_url = http://127.0.0.1:{web}/introspect
username_attribute = username
active_attribute = active
active_value = true
"""
#: What servers say: the greeting, what is offered, a challenge, and how it ends.
SPOKEN = {
    "imap": ("* OK hi", "* CAPABILITY IMAP4rev1 SASL-IR{names}", "+ ", "OK in", "NO no", "* BYE"),
    "pop3": ("+OK hi", "+OK\r\nSASL{names}\r\n.", "+ ", "+OK in", "-ERR [AUTH] no", "+OK bye"),
    "submission": (
        *("220 x.test ESMTP", "250-x.test\r\n250 AUTH{names}", "334 ", "235 in", "535 no"),
        "221 bye",
    ),
}
#: A name that SCRAM has to escape, and a password that isn't ASCII.
ODD, ODD_PASSWORD = "a=2c,b@example.test", "p\u00e4ss w\u00f6rd"
#: One that no other test logs in to.
BEST = "best@example.test"
USERS = ((ALICE, PASSWORD), (BEST, PASSWORD), (ODD, ODD_PASSWORD))


@cache
def server() -> Dovecot:
    """
    @return: one for all tests of this process.
    """
    authority = Authority()
    found = Dovecot(*PROTOCOLS, certificate=authority.issue("localhost", "127.0.0.1"))
    atexit.register(found.close)
    web = HTTPServer(("127.0.0.1", 0), Introspect)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    for name, content in (
        ("ca.pem", authority.own.public_bytes(Encoding.PEM)),
        ("alice.pem", b"".join(pem(authority.issue(ALICE)))),
        ("stranger.pem", b"".join(pem(Authority("Nobody").issue(ALICE)))),
        ("users", "".join(f"{name}:{secret}::::::\n" for name, secret in USERS).encode()),
        ("masters", f"{BOB}:{PASSWORD}::::::\n".encode()),
        ("oauth2.conf", OAUTH2.format(web=web.server_port).encode()),
    ):
        (found.place / name).write_bytes(content)
    mechanisms = " ".join((*BY_PASSWORD, *BY_TOKEN)).lower()
    found.start(CONFIG.format(place=found.place, mechanisms=mechanisms))
    return found


class ScrampServer(socketserver.ThreadingTCPServer):
    """
    A server for nothing but logging in, over TLS and by SCRAM, with scramp's half. TLS is 1.2: what
    the client can bind to is the certificate.

    @ivar offered: the mechanisms that it says it has.
    """

    daemon_threads = True

    def __init__(self, protocol: str, certificate: Issued, place: Path) -> None:
        """
        @param place: where files are written.
        """
        super().__init__(("127.0.0.1", 0), ScrampHandler)
        self.spoken = SPOKEN[protocol]
        self.tagged = protocol == "imap"
        self.offered: list[str] = []
        self.binding = "tls-server-end-point", sha256(certificate.der).digest()
        self.context = SSLContext(PROTOCOL_TLS_SERVER)
        self.context.maximum_version = TLSVersion.TLSv1_2
        path = place / f"{protocol}.pem"
        path.write_bytes(b"".join(pem(certificate)))
        self.context.load_cert_chain(path)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that just go."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class ScrampHandler(socketserver.StreamRequestHandler):
    """
    One connection of it.
    """

    server: ScrampServer

    def say(self, text: str) -> None:
        """A line, or more."""
        self.wfile.write(text.encode() + b"\r\n")

    def setup(self) -> None:
        """TLS."""
        self.request = self.server.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def handle(self) -> None:
        """Until the client leaves."""
        greeting, offer, _, success, failure, goodbye = self.server.spoken
        prefix = " AUTH=" if self.server.tagged else " "
        names = "".join(prefix + each for each in self.server.offered)
        self.say(greeting)
        for line in self.rfile:
            words = line.decode().split()
            tag = words.pop(0) if self.server.tagged else ""
            verb = words[0].upper()
            if verb.startswith("AUTH"):
                self.say(f"{tag} {success if self.admits(*words[1:]) else failure}".lstrip())
                continue
            leaves = verb in ("QUIT", "LOGOUT")
            self.say(goodbye if leaves else offer.format(names=names))
            if tag:
                self.say(f"{tag} OK done")
            if leaves:
                break

    def admits(self, name: str, initial: str) -> bool:
        """
        @return: whether the client knows the password.
        """
        mechanism = ScramMechanism(name)
        kept = mechanism.make_auth_info(PASSWORD)
        server = mechanism.make_server(lambda username: kept, channel_binding=self.server.binding)
        try:
            server.set_client_first(b64decode(initial).decode())
            server.set_client_final(self.ask(server.get_server_first()))
            return self.ask(server.get_server_final()) == ""
        except ScramException:
            return False

    def ask(self, challenge: str) -> str:
        """
        @return: the client's response.
        """
        self.say(self.server.spoken[2] + b64encode(challenge.encode()).decode())
        return b64decode(self.rfile.readline()).decode()


class ClientTestCase(SynchronousTestCase):
    """
    Makes clients log in.

    @ivar said: what came of each: nothing, or the name of an error and its text.
    """

    def attempt(
        self,
        protocol: str,
        port: int,
        trust: Path,
        mechanism: str | None,
        *credentials: str | None,
        **given: Any,
    ) -> dict[str, Any]:
        """
        @param mechanism: the only one that the client knows, C{None} for all.
        @param credentials: their class, and what it is made with.
        @param given: else, and C{tls}.
        @return: as C{loginclient} takes it.
        """
        options = {"host": "127.0.0.1", "port": port, "tls": given.pop("tls", "verified")}
        return {
            "protocol": protocol,
            "mechanism": mechanism,
            "credentials": credentials,
            "trust": str(trust),
            "options": options,
            **given,
        }

    def work(self, *attempts: dict[str, Any]) -> list[str | None]:
        """
        @return: for each the name of the error that it ended in, C{None} for a login.
        """
        done = subprocess.run(
            [sys.executable, "-m", "tests.interop.loginclient"],
            input=json.dumps(attempts).encode(),
            capture_output=True,
            timeout=200,
            cwd=ROOT,
            env=environment(),
        )
        self.assertEqual(done.stderr.decode(), "")
        self.said = json.loads(done.stdout)
        return [each[0] if each else None for each in self.said]


class DovecotTests(ClientTestCase):
    """
    Right and wrong secrets, with each mechanism that it has.
    """

    def setUp(self) -> None:
        """The server."""
        needsDovecot(*PROTOCOLS)
        self.dovecot = server()

    def login(
        self,
        protocol: str,
        mechanism: str | None,
        *credentials: str | None,
        shown: str | None = None,
    ) -> dict[str, Any]:
        """
        @param shown: the file with the client's certificate.
        @return: an attempt.
        """
        place = self.dovecot.place
        return self.attempt(
            *(protocol, self.dovecot.ports[protocol], place / "ca.pem", mechanism, *credentials),
            certificate=shown and str(place / shown),
        )

    def logged(self, pattern: str, wanted: int) -> list[Any]:
        """
        @param wanted: how many there are, at least. The server writes when it comes to it.
        @return: what the pattern finds in its log.
        """
        deadline = time.monotonic() + 30
        while True:
            found: list[Any] = re.findall(pattern, self.dovecot.log())
            if len(found) >= wanted or time.monotonic() > deadline:
                return found
            time.sleep(0.05)

    def logins(self, protocol: str, wanted: int) -> list[tuple[str, str]]:
        """
        @return: the user and the mechanism of each login.
        """
        return self.logged(
            rf"{protocol}-login: Info: Login: user=<(.*?)>, method=([A-Z0-9-]+)", wanted
        )

    def check(self, protocol: str, hasAnonymous: bool = True) -> None:
        """
        Log in by one mechanism after the other.
        """
        before = len(self.logins(protocol, 0))
        password, token = "PasswordCredentials", "TokenCredentials"
        attempts = [
            (self.login(protocol, mechanism, kind, ALICE, secret), secret != "wrong")
            for names, kind, secrets in (
                (BY_PASSWORD, password, (PASSWORD, "wrong")),
                (BY_TOKEN, token, (TOKEN, "wrong")),
            )
            for mechanism in names
            for secret in secrets
        ]
        attempts += [
            (
                self.login(protocol, "EXTERNAL", "CertificateCredentials", shown=shown),
                shown == "alice.pem",
            )
            for shown in ("alice.pem", "stranger.pem", None)
        ]
        anonymous = self.login(protocol, "ANONYMOUS", "AnonymousCredentials", "me")
        attempts.append((anonymous, hasAnonymous))
        found = self.work(*(each for each, _ in attempts))
        wanted = [None if right else "AuthenticationFailed" for _, right in attempts]
        self.assertEqual(found, wanted, self.said)
        names = [(ALICE, each["mechanism"]) for each, right in attempts if right]
        if hasAnonymous:
            names[-1] = ("anonymous", "ANONYMOUS")
        self.assertEqual(sorted(self.logins(protocol, before + len(names))[before:]), sorted(names))

    def test_imap(self) -> None:
        """IMAPClient."""
        self.check("imap")

    def test_pop3(self) -> None:
        """POP3Client."""
        self.check("pop3")

    def test_submission(self) -> None:
        """SMTPClient. Nobody in particular may submit, so the server doesn't offer ANONYMOUS."""
        self.check("submission", hasAnonymous=False)
        self.assertIn("no way to log in", self.said[-1][1])

    def test_names(self) -> None:
        """
        Names that have to be escaped and passwords that aren't ASCII; and whoever may act as
        another says so by PLAIN and SCRAM.
        """
        attempts = [
            self.login("imap", mechanism, "PasswordCredentials", ODD, ODD_PASSWORD)
            for mechanism in BY_PASSWORD
        ]
        acting = [
            self.login("imap", mechanism, "PasswordCredentials", name, password, ALICE)
            for mechanism in ("PLAIN", "SCRAM-SHA-256")
            for name, password in ((BOB, PASSWORD), (BOB, "wrong"), (ODD, ODD_PASSWORD))
        ]
        found = self.work(*attempts, *acting)
        refused = "AuthenticationFailed"
        self.assertEqual(found, [*[None] * 5, *[None, refused, refused] * 2], self.said)

    def test_best(self) -> None:
        """
        The best that both have is taken, and a password that was wrong isn't sent by another.
        """
        for protocol in PROTOCOLS:
            before = len(self.logins(protocol, 0))
            found = self.work(
                *(
                    self.login(protocol, None, "PasswordCredentials", BEST, each)
                    for each in ("wrong", PASSWORD)
                )
            )
            self.assertEqual(found, ["AuthenticationFailed", None], self.said)
            taken = self.logins(protocol, before + 1)[before:]
            self.assertEqual(taken, [(BEST, "SCRAM-SHA-256")])
        self.assertEqual(len(self.logged(f"\\({BEST},127.0.0.1,.*mismatch", 3)), 3)


class ScrampTests(ClientTestCase):
    """
    Servers of our own, whose SCRAM is scramp's.
    """

    def check(self, protocol: str) -> None:
        """
        The three hash functions, bound to the server's certificate and not.
        """
        place = Path(self.mktemp()).resolve()
        place.mkdir(parents=True)
        authority = Authority()
        trust = place / "ca.pem"
        trust.write_bytes(authority.own.public_bytes(Encoding.PEM))
        server = ScrampServer(protocol, authority.issue("127.0.0.1"), place)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        plain = ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"]
        plus = [each + "-PLUS" for each in plain]

        def work(*given: tuple[str, str]) -> list[str | None]:
            return self.work(
                *(
                    self.attempt(
                        *(protocol, server.port, trust, mechanism),
                        *("PasswordCredentials", ALICE, password),
                        tls="implicit",
                    )
                    for mechanism, password in given
                )
            )

        server.offered = [*plain, *plus]
        given = [(each, password) for each in server.offered for password in (PASSWORD, "wrong")]
        refused = "AuthenticationFailed"
        self.assertEqual(work(*given), [None, refused] * 6, self.said)
        # Somebody between has kept from the client that it could bind: then the server tells.
        server.offered = plain
        self.assertEqual(work(*((each, PASSWORD) for each in plain)), [refused] * 3, self.said)

    def test_imap(self) -> None:
        """IMAPClient."""
        self.check("imap")

    def test_pop3(self) -> None:
        """POP3Client."""
        self.check("pop3")

    def test_submission(self) -> None:
        """SMTPClient."""
        self.check("submission")
