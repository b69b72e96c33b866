"""
Dovecot, another's server for IMAP, POP3 and submission, for tests of our clients.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.interop.harness import freePorts, needs
from tests.net.authority import Issued

#: One account, whatever it is called.
ANYBODY = "disable_plaintext_auth = no\npassdb {\n  driver = static\n  args = password=secret\n}\n"
#: What it has.
PROTOCOLS = ("imap", "pop3", "submission")
CONFIG = """
base_dir = {place}/run
state_dir = {place}/state
log_path = {place}/log
protocols = {protocols}
listen = 127.0.0.1
login_greeting = {place}
default_internal_user = {internal}
default_login_user = {login}
mail_location = maildir:{place}/mail
first_valid_uid = 1
mail_max_userip_connections = 100
submission_relay_host = 127.0.0.1
submission_relay_port = {relay}
userdb {{
  driver = static
  args = uid={owner[0]} gid={owner[1]} home={place}/mail
}}
service anvil {{
  chroot =
  # It lets nobody wait who has failed before.
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
"""
LOGIN = """
service {name}-login {{
  chroot =
  inet_listener {name} {{
    port = {port}
  }}
  inet_listener {name}s {{
    port = 0
  }}
}}
"""
TLS = """
ssl = required
ssl_cert = <{place}/certificate.pem
ssl_key = <{place}/key.pem
"""


def needsDovecot(*parts: str) -> None:
    """
    As L{needs}.

    @param parts: protocols, or other packages' names behind C{dovecot-}.
    """
    files = {each: f"{each}-login" for each in PROTOCOLS}
    files["gssapi"] = "modules/auth/libmech_gssapi.so"
    absent = [each for each in parts if not (Path("/usr/lib/dovecot") / files[each]).exists()]
    needs("dovecot", *(f"dovecot-{each}" for each in absent))


class Relay(socketserver.StreamRequestHandler):
    """
    The server that submissions are for.
    """

    def handle(self) -> None:
        """Greet, and agree."""
        self.wfile.write(b"220 relay.test ESMTP\r\n")
        for line in self.rfile:
            leaves = line.upper().startswith(b"QUIT")
            self.wfile.write(b"221 bye\r\n" if leaves else b"250 relay.test\r\n")
            if leaves:
                break


@cache
def relayPort() -> int:
    """
    @return: where it listens.
    """
    relay = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay)
    relay.daemon_threads = True
    threading.Thread(target=relay.serve_forever, daemon=True).start()
    port: int = relay.server_address[1]
    return port


def pem(issued: Issued) -> tuple[bytes, bytes]:
    """
    @return: the certificate with its chain, and its key.
    """
    chain = b"".join(
        each.public_bytes(Encoding.PEM) for each in (issued.certificate, *issued.chain)
    )
    return chain, issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Dovecot:
    """
    A server, which delivers what it is given into one Maildir.

    @ivar place: its folder; a configuration may name files there.
    @ivar mail: the Maildir.
    @ivar ports: by protocol; without TLS, or with STARTTLS where there is a certificate.
    """

    def __init__(self, *protocols: str, certificate: Issued | None = None) -> None:
        """
        @param protocols: of L{PROTOCOLS}.
        """
        self.place = Path(tempfile.mkdtemp(prefix="mailstack-dovecot-"))
        self.place.chmod(0o755)
        self.mail = self.place / "mail"
        for name in ("cur", "new", "tmp"):
            (self.mail / name).mkdir(parents=True)
        # It takes no root for mail; who isn't root is everybody.
        root = os.getuid() == 0
        owner = pwd.getpwnam("nobody") if root else pwd.getpwuid(os.getuid())
        self.owner = owner.pw_uid, owner.pw_gid
        self.ports = dict.fromkeys(protocols, 0)
        self._settings = CONFIG.format(
            place=self.place,
            protocols=" ".join(protocols),
            internal="dovecot" if root else owner.pw_name,
            login="dovenull" if root else owner.pw_name,
            owner=self.owner,
            relay=relayPort() if "submission" in protocols else 25,
        )
        if certificate is None:
            self._settings += "ssl = no\n"
        else:
            self._settings += TLS.format(place=self.place)
            shown, key = pem(certificate)
            (self.place / "certificate.pem").write_bytes(shown)
            (self.place / "key.pem").write_bytes(key)
        for each in (self.mail, *self.mail.iterdir()):
            os.chown(each, *self.owner)
        self._process: subprocess.Popen[bytes] | None = None

    def put(self, name: str, octets: bytes) -> None:
        """A message arrives."""
        path = self.mail / "new" / name
        path.write_bytes(octets)
        os.chown(path, *self.owner)

    def log(self) -> str:
        """
        @return: what it has to say.
        """
        log = self.place / "log"
        return log.read_text(errors="replace") if log.exists() else ""

    def start(self, config: str = ANYBODY) -> None:
        """
        Start it and wait until it answers.

        @param config: who has an account, and what else there is.
        """
        for _ in range(5):
            # Ports that were free may be somebody's now.
            self.ports = dict(zip(self.ports, freePorts(len(self.ports)), strict=True))
            listeners = "".join(
                LOGIN.format(name=name, port=port) for name, port in self.ports.items()
            )
            path = self.place / "dovecot.conf"
            path.write_text(self._settings + listeners + config)
            self._process = subprocess.Popen(
                ["dovecot", "-F", "-c", str(path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if all(self._answers(self._process, each) for each in self.ports.values()):
                return
            self._stop()
        raise AssertionError(f"it didn't start:\n{self.log()}")

    def _answers(self, process: subprocess.Popen[bytes], port: int) -> bool:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            try:
                with (
                    socket.create_connection(("127.0.0.1", port), 5) as found,
                    found.makefile("rb") as lines,
                ):
                    # And not somebody else.
                    if str(self.place).encode() in lines.readline():
                        return True
            except OSError:
                pass
            time.sleep(0.05)
        return False

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def close(self) -> None:
        """End it."""
        self._stop()
        shutil.rmtree(self.place, ignore_errors=True)
