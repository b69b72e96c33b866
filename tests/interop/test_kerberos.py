"""
GSSAPI with MIT Kerberos: its KDC, run by ourselves, tickets of it, other people's clients.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64decode, b64encode
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.interop.dovecot import PROTOCOLS, Dovecot, needsDovecot
from tests.interop.harness import (
    ALICE,
    PASSWORD,
    ROOT,
    Server,
    environment,
    freePorts,
    needs,
    run,
)
from tests.net.authority import Authority
from twisted_mailstack.errors import AuthenticationFailed
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.sasl.credentials import TicketCredentials
from twisted_mailstack.sasl.gssapi import GSSAPI, GSSAPIClient, acceptor, accountNames

REALM = "EXAMPLE.TEST"
KRB5 = """
[libdefaults]
 default_realm = EXAMPLE.TEST
 dns_lookup_kdc = false
 dns_lookup_realm = false
 dns_canonicalize_hostname = false
 rdns = false
[realms]
 EXAMPLE.TEST = {
  kdc = 127.0.0.1:%d
 }
[domain_realm]
 localhost = EXAMPLE.TEST
"""
KDC = """
[kdcdefaults]
 kdc_listen = 127.0.0.1:%d
 kdc_tcp_listen = 127.0.0.1:%d
[realms]
 EXAMPLE.TEST = {
  database_name = %s/principal
  key_stash_file = %s/stash
  acl_file = %s/acl
 }
"""
CONFIG = """
[auth]
mechanisms = ["GSSAPI"]
gssapi-realms = {"EXAMPLE.TEST" = "example.test"}
gssapi-keytab = "%s"
"""
DOVECOT = """
auth_mechanisms = gssapi
auth_gssapi_hostname = localhost
auth_krb5_keytab = %s
auth_failure_delay = 0
passdb {
  driver = static
  args = nopassword
}
import_environment = TZ KRB5_CONFIG KRB5RCACHENAME
"""


class KerberosTests(SynchronousTestCase):
    """
    One KDC for each test; there are few.
    """

    def setUp(self) -> None:
        """A realm with Alice, who has a ticket, and the server's keys."""
        needs("krb5kdc", "kdb5_util", "kadmin.local", "kinit")
        if find_spec("gssapi") is None:
            raise SkipTest("not installed: gssapi")
        self.folder = Path(tempfile.mkdtemp(prefix="mailstack-kdc-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        (port,) = freePorts(1)
        (self.folder / "krb5.conf").write_text(KRB5 % port)
        (self.folder / "kdc.conf").write_text(KDC % (port, port, *[self.folder] * 3))
        self.keytab = self.folder / "keytab"
        for name, value in (
            ("KRB5_CONFIG", self.folder / "krb5.conf"),
            ("KRB5_KDC_PROFILE", self.folder / "kdc.conf"),
            ("KRB5CCNAME", f"FILE:{self.folder}/cache"),
            ("KRB5RCACHENAME", f"dfl:{self.folder}"),
        ):
            self._set(name, str(value))
        run(["kdb5_util", "create", "-s", "-r", REALM, "-P", "master"])
        for query in (
            "addprinc -pw pass alice",
            *(f"addprinc -randkey {service}/localhost" for service in ("imap", "smtp", "pop")),
            f"ktadd -k {self.keytab} imap/localhost smtp/localhost pop/localhost",
        ):
            run(["kadmin.local", "-r", REALM, "-q", query])
        kdc = subprocess.Popen(
            ["krb5kdc", "-n", "-r", REALM, "-P", str(self.folder / "pid")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

        def stop() -> None:
            kdc.terminate()
            kdc.wait(20)

        self.addCleanup(stop)
        for attempt in range(50):
            try:
                run(["kinit", "alice"], stdin=b"pass\n", timeout=20)
                break
            except AssertionError:
                if attempt == 49:
                    raise
                time.sleep(0.1)

    def _set(self, name: str, value: str) -> None:
        old = os.environ.get(name)
        os.environ[name] = value
        if old is None:
            self.addCleanup(os.environ.pop, name, None)
        else:
            self.addCleanup(os.environ.__setitem__, name, old)

    def test_halves(self) -> None:
        """Our client, our server, a real ticket: Alice is who the KDC says."""
        info = ConnectionInfo("127.0.0.1", 1, "imaps", True)
        names = accountNames({REALM: "example.test"})
        server = GSSAPI(acceptor(str(self.keytab)), names).begin(info)
        client = GSSAPIClient().begin(TicketCredentials("imap@localhost"), info)
        answer = server.respond(client.respond(None))
        while isinstance(answer, bytes):
            answer = server.respond(client.respond(answer))
        client.accepted()
        self.assertEqual((answer.username, answer.authorizationIdentity), (ALICE.encode(), None))

    def test_theirServer(self) -> None:
        """Our client logs in to GNU SASL's server, and without a ticket it doesn't begin."""
        needs("gsasl")
        info = ConnectionInfo("127.0.0.1", 1, "imaps", True)
        exchange = GSSAPIClient().begin(TicketCredentials("imap@localhost"), info)
        self._set("KRB5_KTNAME", f"FILE:{self.keytab}")
        process = subprocess.Popen(
            [
                *("gsasl", "--server", "--quiet", "--application-data", "--mechanism=GSSAPI"),
                *("--service=imap", "--hostname=localhost"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        assert process.stdin is not None and process.stdout is not None
        timer = threading.Timer(60, process.kill)
        timer.start()
        try:
            self.assertEqual(process.stdout.readline().strip(), b"GSSAPI")
            self.assertEqual(process.stdout.readline().strip(), b"")
            response = exchange.respond(None)
            for _ in range(2):
                process.stdin.write(b64encode(response or b"") + b"\n")
                response = exchange.respond(b64decode(process.stdout.readline().strip()))
            # It asks whoever types whether that is somebody.
            process.stdin.write(b64encode(response or b"") + b"\ny\n\n")
            said = process.communicate()
        finally:
            timer.cancel()
            process.kill()
            process.wait()
        self.assertEqual(process.returncode, 0, said)
        self.assertIn(b"Display Name: alice@EXAMPLE.TEST", said[0])
        exchange.accepted()
        run(["kdestroy"])
        exchange = GSSAPIClient().begin(TicketCredentials("imap@localhost"), info)
        self.assertRaises(AuthenticationFailed, exchange.respond, None)

    def test_dovecot(self) -> None:
        """Our clients for IMAP, POP3 and submission log in to Dovecot with a ticket."""
        needsDovecot(*PROTOCOLS, "gssapi")
        authority = Authority()
        dovecot = Dovecot(*PROTOCOLS, certificate=authority.issue("localhost"))
        self.addCleanup(dovecot.close)
        trust = dovecot.place / "ca.pem"
        trust.write_bytes(authority.own.public_bytes(Encoding.PEM))
        # It doesn't say smtp there (RFC 4954 §4).
        for query in (
            "addprinc -randkey submission/localhost",
            f"ktadd -k {self.keytab} submission/localhost",
        ):
            run(["kadmin.local", "-r", REALM, "-q", query])
        # Its process for this isn't root's.
        self.folder.chmod(0o755)
        self.keytab.chmod(0o644)
        dovecot.start(DOVECOT % self.keytab)
        attempts = [
            {
                "protocol": protocol,
                "mechanism": "GSSAPI",
                "credentials": ["TicketCredentials", f"{service}@localhost"],
                "trust": str(trust),
                "options": {"host": "localhost", "port": port, "tls": "verified"},
            }
            for (protocol, port), service in zip(
                dovecot.ports.items(), ("imap", "pop", "submission"), strict=True
            )
        ]

        def work() -> Any:
            done = subprocess.run(
                [sys.executable, "-m", "tests.interop.loginclient"],
                input=json.dumps(attempts).encode(),
                capture_output=True,
                timeout=120,
                cwd=ROOT,
                env=environment(),
            )
            return json.loads(done.stdout), done.stderr

        self.assertEqual(work(), ([[], [], []], b""))
        run(["kdestroy"])
        found, _ = work()
        self.assertEqual([each[0] for each in found], ["AuthenticationFailed"] * 3)

    def test_clients(self) -> None:
        """GNU SASL and curl log in to the server with a ticket, and not without."""
        needs("gsasl", "curl")
        server = Server(config=CONFIG % self.keytab)
        self.addCleanup(server.close)
        server.start()
        server.tool("user", "add", ALICE, stdin=PASSWORD + "\n")
        commands = [
            [
                *("gsasl", "--client", f"--{protocol}", f"--service={protocol}"),
                *("--connect", f"127.0.0.1:{server.ports[service]}", "--hostname=localhost"),
                *("--starttls", "--x509-ca-file=", "--application-data", "--mechanism=GSSAPI"),
                *("--authorization-id=", f"--authentication-id={ALICE}"),
            ]
            for protocol, service in (("imap", "imap"), ("smtp", "submission"))
        ]
        for command in commands:
            self.assertIn(b"Client authentication finished", run(command, status=None))
        for scheme in ("imaps", "pop3s"):
            run(
                [
                    *("curl", "-sS", "-k", "--max-time", "60", "--user", f"alice@{REALM}:"),
                    *("--login-options", "AUTH=GSSAPI"),
                    f"{scheme}://localhost:{server.ports[scheme]}/",
                ]
            )
        run(["kdestroy"])
        for command in commands:
            self.assertNotIn(b"Client authentication finished", run(command, status=None))
