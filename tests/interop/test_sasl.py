"""
Other people's SASL against ours, in both directions: their clients log in to C{twistd mailstack},
and our clients' halves to their servers.
"""

from __future__ import annotations

import atexit
import hashlib
import imaplib
import json
import poplib
import smtplib
import subprocess
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from scramp import ScramClient as TheirClient
from scramp import ScramException
from scramp import ScramMechanism as TheirMechanism
from twisted.trial.unittest import SynchronousTestCase

from tests.interop.harness import ALICE, PASSWORD, Server, looseTLS, needs, run
from twisted_mailstack.interfaces import IClientMechanism
from twisted_mailstack.model.records import Channel, ConnectionInfo
from twisted_mailstack.sasl.crammd5 import CramMD5Client
from twisted_mailstack.sasl.credentials import PasswordCredentials
from twisted_mailstack.sasl.login import LoginClient
from twisted_mailstack.sasl.plain import PlainClient
from twisted_mailstack.sasl.scram import ScramClient

TOKEN = "a.good-token~for_alice"
#: All that can be offered, and the places where tokens are good and where nobody sees mail.
CONFIG = """
[auth]
mechanisms = [
    "SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS",
    "SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1",
    "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN", "CRAM-MD5", "ANONYMOUS",
]
scram = ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"]
scram-iterations = 4096
anonymous-account = "public@example.test"
max-failures = 3

[oauth]
introspection = "http://127.0.0.1:%d/introspect"
client = "mail"
scope = "mail"
"""
SECURE = ConnectionInfo("127.0.0.1", 1, "imaps", True)


class Introspect(BaseHTTPRequestHandler):
    """
    An authorisation server that gave out one token.
    """

    def do_POST(self) -> None:
        """RFC 7662 §2."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        known = parse_qs(body).get("token") == [TOKEN]
        answer = {"active": known}
        if known:
            answer.update(username=ALICE, scope="mail openid", exp=2**40)
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


@cache
def sharedServer() -> Server:
    """
    @return: one running server for all tests of this process.
    """
    web = HTTPServer(("127.0.0.1", 0), Introspect)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    server = Server(config=CONFIG % web.server_port)
    atexit.register(server.close)
    server.start()
    config = str(server.work / "mailstack.toml")
    for address in (ALICE, "public@example.test"):
        server.tool("--config", config, "user", "add", "--plain", address, stdin=PASSWORD + "\n")
    return server


class Bound(Channel):
    """
    A connection with one binding, or with none that is empty.
    """

    def __init__(self, kind: str, data: bytes) -> None:
        self._known = {kind: data}

    def binding(self, kind: str) -> bytes | None:
        """See L{Channel}."""
        return self._known.get(kind) or None


class TheirClientTests(SynchronousTestCase):
    """
    Their clients, our server.
    """

    def setUp(self) -> None:
        """A server that offers all that it can."""
        self.server = sharedServer()
        self.ports = self.server.ports

    def gsasl(self, mechanism: str, *arguments: str, password: str = PASSWORD) -> bytes:
        """
        Log in with GNU SASL's client after STARTTLS, by IMAP and by SMTP.
        """
        needs("gsasl")
        printed = b""
        for protocol, service in (("--imap", "imap"), ("--smtp", "submission")):
            printed += run(
                [
                    *("gsasl", "--client", protocol, "--connect"),
                    *(f"127.0.0.1:{self.ports[service]}", "--starttls", "--x509-ca-file="),
                    *(f"--authentication-id={ALICE}", f"--password={password}"),
                    *("--application-data", f"--mechanism={mechanism}", *arguments),
                ],
                status=None,
            )
        return printed

    def test_gsasl(self) -> None:
        """Every mechanism that both know; those with -PLUS bind to the TLS connection."""
        for mechanism, *arguments in (
            *(("SCRAM-SHA-256-PLUS",), ("SCRAM-SHA-1-PLUS",)),
            *(("SCRAM-SHA-256", "--no-cb"), ("SCRAM-SHA-1", "--no-cb")),
            *(("PLAIN",), ("LOGIN",), ("CRAM-MD5",)),
        ):
            printed = self.gsasl(mechanism, *arguments)
            self.assertEqual(printed.count(b"Client authentication finished"), 2, printed)

    def test_wrong(self) -> None:
        """A wrong password is wrong by all of them."""
        for mechanism, *arguments in (
            *(("SCRAM-SHA-256-PLUS",), ("SCRAM-SHA-1", "--no-cb"), ("CRAM-MD5",)),
        ):
            printed = self.gsasl(mechanism, *arguments, password="wrong")
            self.assertNotIn(b"Client authentication finished", printed)

    def test_downgrade(self) -> None:
        """A client that can bind, and says that we don't offer to, is refused: somebody lied."""
        printed = self.gsasl("SCRAM-SHA-256")
        self.assertNotIn(b"Client authentication finished", printed)

    def test_anonymous(self) -> None:
        """Nobody in particular gets into the account that is for that, by IMAP alone."""
        needs("gsasl")
        for protocol, service, right in (("--imap", "imap", 1), ("--smtp", "submission", 0)):
            printed = run(
                [
                    *("gsasl", "--client", protocol, "--connect"),
                    *(f"127.0.0.1:{self.ports[service]}", "--starttls", "--x509-ca-file="),
                    *("--anonymous-token=me", "--application-data", "--mechanism=ANONYMOUS"),
                ],
                status=None,
            )
            self.assertEqual(printed.count(b"Client authentication finished"), right, printed)

    def scramp(self, mechanism: str, password: str = PASSWORD) -> None:
        """
        Log in by IMAP with scramp.
        """
        client = imaplib.IMAP4_SSL(
            "127.0.0.1", self.ports["imaps"], ssl_context=looseTLS(), timeout=60
        )
        self.addCleanup(client.shutdown)
        binding = None
        if mechanism.endswith("-PLUS"):
            # Our self-signed certificate is signed with SHA-256 (RFC 5929 §4.1).
            shown = client.sock.getpeercert(True)  # type: ignore[union-attr]
            binding = "tls-server-end-point", hashlib.sha256(shown or b"").digest()
        theirs = TheirClient([mechanism], ALICE, password, channel_binding=binding)
        steps: list[Callable[[bytes], str]] = [
            lambda challenge: theirs.get_client_first(),
            lambda challenge: (
                theirs.set_server_first(challenge.decode()) or theirs.get_client_final()
            ),
            lambda challenge: theirs.set_server_final(challenge.decode()) or "",
        ]
        client.authenticate(mechanism, lambda challenge: steps.pop(0)(challenge).encode())
        self.assertEqual(steps, [])

    def test_scramp(self) -> None:
        """The three hash functions, with the server's certificate bound to and without."""
        for name in ("SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"):
            self.scramp(name)
            self.scramp(name + "-PLUS")
        with self.assertRaises(imaplib.IMAP4.error):
            self.scramp("SCRAM-SHA-512", password="wrong")

    def test_curl(self) -> None:
        """Tokens and passwords, by IMAP, POP3 and SMTP; a token that is none is told as such."""
        needs("curl")
        for token, status in ((TOKEN, 0), ("x", 67)):
            for scheme in ("imaps", "pop3s"):
                for mechanism in ("OAUTHBEARER", "XOAUTH2"):
                    run(
                        [
                            *("curl", "-sS", "-k", "--max-time", "60"),
                            *("--oauth2-bearer", token, "--user", f"{ALICE}:"),
                            *("--login-options", f"AUTH={mechanism}"),
                            f"{scheme}://127.0.0.1:{self.ports[scheme]}/",
                        ],
                        status=status,
                    )
        for scheme in ("imaps", "pop3s", "smtps"):
            for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5"):
                port = self.ports["submissions" if scheme == "smtps" else scheme]
                run(
                    [
                        *("curl", "-sS", "-k", "--max-time", "60"),
                        *("--user", f"{ALICE}:{PASSWORD}"),
                        *("--login-options", f"AUTH={mechanism}"),
                        f"{scheme}://127.0.0.1:{port}/",
                        *(("--request", "NOOP") if scheme == "smtps" else ()),
                    ]
                )

    def test_msmtp(self) -> None:
        """Each of its methods that we have."""
        needs("msmtp")
        folder = Path(self.mktemp()).resolve()
        folder.mkdir(parents=True)
        for method in (
            *("plain", "login", "cram-md5", "scram-sha-1", "scram-sha-256"),
            *("oauthbearer", "xoauth2"),
        ):
            config = folder / method
            secret = TOKEN if method in ("oauthbearer", "xoauth2") else PASSWORD
            config.write_text(
                f"account default\nhost 127.0.0.1\nport {self.ports['submissions']}\nfrom {ALICE}\n"
                f"tls on\ntls_starttls off\ntls_certcheck off\nauth {method}\nuser {ALICE}\n"
                f'password "{secret}"\n'
            )
            config.chmod(0o600)
            run(
                ["msmtp", f"--file={config}", ALICE],
                stdin=f"From: {ALICE}\r\nSubject: {method}\r\n\r\nHello\r\n".encode(),
            )
        for end in ("public", "nobody"):
            config.write_text(config.read_text().replace(f"user {ALICE}", f"user {end}@x.test"))
            run(["msmtp", f"--file={config}", ALICE], stdin=b"\r\n", status=77)

    def test_mpop(self) -> None:
        """Likewise by POP3."""
        needs("mpop")
        folder = Path(self.mktemp()).resolve()
        folder.mkdir(parents=True)
        for method in (
            *("plain", "login", "cram-md5", "scram-sha-1", "scram-sha-256"),
            *("oauthbearer", "xoauth2"),
        ):
            secrets = {TOKEN if method in ("oauthbearer", "xoauth2") else PASSWORD: 0}
            if method in ("scram-sha-256", "oauthbearer"):
                # Refused.
                secrets["wrong"] = 77
            for secret, status in secrets.items():
                config = folder / "mpoprc"
                config.write_text(
                    f"account default\nhost 127.0.0.1\nport {self.ports['pop3s']}\n"
                    f"user {ALICE}\ntls on\ntls_starttls off\ntls_certcheck off\n"
                    f"auth {method}\ndelivery maildir {folder}\n"
                    f'password "{secret}"\n'
                )
                config.chmod(0o600)
                run(["mpop", f"--file={config}", "--auth-only"], status=status)

    def test_swaks(self) -> None:
        """Its mechanisms, under STARTTLS; a wrong password is refused."""
        needs("swaks")
        for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5"):
            for password, status in ((PASSWORD, 0), ("wrong", 28)):
                run(
                    [
                        *("swaks", "--server", f"127.0.0.1:{self.ports['submission']}", "--tls"),
                        *("--auth", mechanism, "--auth-user", ALICE, "--auth-password", password),
                        *("--from", ALICE, "--to", ALICE, "--quit-after", "AUTH"),
                    ],
                    status=status,
                )

    def test_mbsync(self) -> None:
        """Cyrus SASL within mbsync: it takes SCRAM by itself, and what it is told to."""
        needs("mbsync")
        folder = Path(self.mktemp()).resolve()
        folder.mkdir(parents=True)
        (folder / "l").mkdir()
        certificate = self.server.data / "self-signed.pem"
        for mechanism in ("*", "SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN"):
            config = folder / "mbsyncrc"
            config.write_text(
                f"IMAPAccount a\nHost localhost\nPort {self.ports['imaps']}\nUser {ALICE}\n"
                f'Pass "{PASSWORD}"\nSSLType IMAPS\nCertificateFile {certificate}\n'
                f"AuthMechs {mechanism}\n\nIMAPStore r\nAccount a\n\nMaildirStore l\n"
                f"Path {folder}/l/\nInbox {folder}/l/INBOX\n\n"
                "Channel c\nFar :r:\nNear :l:\nPatterns INBOX\nCreate Near\nSyncState *\n"
            )
            run(["mbsync", "-c", str(config), "--list", "c"])

    def test_python(self) -> None:
        """The standard library's clients: CRAM-MD5 with IMAP, the best that it knows with SMTP."""
        with imaplib.IMAP4_SSL(
            "127.0.0.1", self.ports["imaps"], ssl_context=looseTLS(), timeout=60
        ) as imap:
            imap.login_cram_md5(ALICE, PASSWORD)
        with smtplib.SMTP_SSL(
            "127.0.0.1", self.ports["submissions"], context=looseTLS(), timeout=60
        ) as smtp:
            smtp.ehlo()
            smtp.user, smtp.password = ALICE, PASSWORD
            code, _ = smtp.auth("CRAM-MD5", smtp.auth_cram_md5)
            self.assertEqual(code, 235)
        pop3 = poplib.POP3_SSL("127.0.0.1", self.ports["pop3s"], context=looseTLS(), timeout=60)
        self.assertIn("SCRAM-SHA-256-PLUS", pop3.capa()["SASL"])
        pop3.quit()


class TheirServerTests(SynchronousTestCase):
    """
    Our clients' halves, their servers.
    """

    def gsasl(
        self, client: IClientMechanism, password: str, ours: bytes = b"", theirs: bytes = b""
    ) -> bool:
        """
        @param ours: what our client binds to, and C{theirs} the server.
        @return: whether GNU SASL's server took it, and our client the server.
        """
        needs("gsasl")
        name = client.name.decode()
        process = subprocess.Popen(
            [
                *("gsasl", "--server", "--quiet", "--application-data", f"--mechanism={name}"),
                *(f"--password={PASSWORD}", f"--authentication-id={ALICE}"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # What couldn't be written to it when it ended isn't written again.
            bufsize=0,
        )
        assert process.stdin is not None and process.stdout is not None
        credentials = PasswordCredentials(ALICE.encode(), password.encode())
        exchange = client.begin(credentials, SECURE._replace(channel=Bound("tls-exporter", ours)))
        timer = threading.Timer(20, process.kill)
        timer.start()
        try:
            # It prints the mechanism's name, and then in each line a challenge.
            self.assertEqual(process.stdout.readline().strip(), client.name)
            # The first one is empty where it is for the client to begin.
            initial, sent = exchange.respond(None), False
            while line := process.stdout.readline():
                response, initial = initial, None
                if response is None:
                    # In front of it may be what it asks for, below.
                    challenge = b64decode(line.rpartition(b":")[2].strip())
                    if not challenge and sent:
                        # What goes with its success, which is nothing; and nothing is the answer.
                        process.stdin.write(b"\n")
                        break
                    response = exchange.respond(challenge)
                process.stdin.write(b64encode(response or b"") + b"\n")
                if theirs and not sent:
                    # It asks whoever types for what is bound to.
                    process.stdin.write(b64encode(theirs) + b"\n")
                sent = True
        except BrokenPipeError:
            # It has seen enough.
            pass
        finally:
            process.stdin.close()
            process.wait()
            timer.cancel()
            process.stdout.close()
        if process.returncode == 0:
            exchange.accepted()
            return True
        return False

    def scramp(self, scheme: str, plus: bool, password: str = PASSWORD) -> None:
        """
        Log in to scramp's server.
        """
        name = scheme.upper() + "-PLUS" * plus
        mechanism = TheirMechanism(name)
        kept = mechanism.make_auth_info(PASSWORD)
        binding = "tls-server-end-point", hashlib.sha256(b"a certificate").digest()
        server = mechanism.make_server(
            lambda username: kept, channel_binding=binding if plus else None
        )

        info = SECURE._replace(channel=Bound(*binding)) if plus else SECURE
        client = ScramClient(scheme, plus=plus)
        self.assertEqual(client.name.decode(), name)
        credentials = PasswordCredentials(ALICE.encode(), password.encode())
        exchange = client.begin(credentials, info)
        server.set_client_first((exchange.respond(None) or b"").decode())
        final = exchange.respond(server.get_server_first().encode()) or b""
        server.set_client_final(final.decode())
        exchange.respond(server.get_server_final().encode())
        exchange.accepted()

    def test_gsasl(self) -> None:
        """All that it has of ours; a wrong password is wrong."""
        for client in (
            *(PlainClient(), LoginClient(), CramMD5Client()),
            *(ScramClient("scram-sha-1"), ScramClient("scram-sha-256")),
        ):
            for password, right in ((PASSWORD, True), ("wrong", False)):
                self.assertIs(self.gsasl(client, password), right, (client.name, password))

    def test_gsaslBinds(self) -> None:
        """It binds to what both have, and to nothing else."""
        for scheme in ("scram-sha-1", "scram-sha-256"):
            client = ScramClient(scheme, plus=True)
            for password, theirs, right in (
                (PASSWORD, b"x" * 32, True),
                (PASSWORD, b"y" * 32, False),
                ("wrong", b"x" * 32, False),
            ):
                found = self.gsasl(client, password, b"x" * 32, theirs)
                self.assertIs(found, right, (client.name, password, theirs))

    def test_scramp(self) -> None:
        """The three hash functions, with channel binding and without; wrong passwords are."""
        for scheme in ("scram-sha-1", "scram-sha-256", "scram-sha-512"):
            for plus in (False, True):
                self.scramp(scheme, plus)
        self.assertRaises(ScramException, self.scramp, "scram-sha-256", False, "wrong")
