"""
Debian's Postfix and Exim, each with a configuration, a spool and a port of its own in a temporary
directory. Nothing of the system's own instance is touched.

They need root, since they give their rights away themselves.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.interop.harness import needs
from tests.interop.relaying.servers import waitFor
from twisted_mailstack.net.tls import selfSigned


def needsRoot() -> None:
    """
    Skip the test where it doesn't run as root, or fail it if nothing may be left out.
    """
    if os.geteuid() != 0:
        if os.environ.get("MAILSTACK_INTEROP") == "require":
            raise AssertionError("must be root")
        raise SkipTest("must be root")


class MTA:
    """
    Another's server.

    @ivar address: where it listens, at C{port}.
    @ivar domain: it stores the mail of this domain's users.
    """

    def __init__(
        self,
        address: str,
        port: int,
        domain: str,
        users: Sequence[str],
        routes: Mapping[str, tuple[str, int]],
    ) -> None:
        """
        @param users: local parts.
        @param routes: other domains and where their mail goes.
        """
        self.address = address
        self.port = port
        self.domain = domain
        self.name = f"mx.{domain}"
        # Reachable for the users that they become.
        self.work = Path(tempfile.mkdtemp(prefix="mailstack-mta-"))
        self.work.chmod(0o755)
        self._made = selfSigned(self.work, self.name)
        self.log = self.work / "log"
        self.log.mkdir()
        self.configure(users, routes)

    def configure(self, users: Sequence[str], routes: Mapping[str, tuple[str, int]]) -> None:
        """
        Write the configuration.
        """
        raise NotImplementedError

    def start(self) -> None:
        """
        Start it and wait until it answers.
        """
        self.launch()

        def answers() -> bool:
            try:
                with socket.create_connection((self.address, self.port), 5) as connection:
                    return connection.recv(4) == b"220 "
            except OSError:
                return False

        try:
            waitFor(answers, f"{type(self).__name__} answers")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output()}") from None

    def launch(self) -> None:
        """
        Start it.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """
        Stop it if it runs.
        """
        raise NotImplementedError

    def close(self) -> None:
        """
        Stop it, and remove what it left.
        """
        self.stop()
        shutil.rmtree(self.work, ignore_errors=True)

    def output(self) -> str:
        """
        @return: its logs.
        """
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.log.iterdir()))

    def inbox(self, user: str) -> list[bytes]:
        """
        @return: the messages that it has stored, in order, lines ended by CRLF.
        """
        paths = list((self.work / "mail" / user / "new").glob("*"))
        paths.sort(key=lambda path: path.stat().st_mtime_ns)
        return [path.read_bytes().replace(b"\n", b"\r\n") for path in paths]

    def mail(self, number: int, user: str) -> list[bytes]:
        """
        Wait for so many messages, at least one.
        """
        try:
            found: list[bytes] = waitFor(
                lambda: len(some := self.inbox(user)) >= number and some,
                f"{number} messages for {user}@{self.domain}",
            )
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output()[-4000:]}") from None
        return found

    def _mailDirectory(self, user: str) -> Path:
        path = self.work / "mail"
        path.mkdir()
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)
        return path


class Postfix(MTA):
    """
    Debian's Postfix.
    """

    @staticmethod
    def needed() -> None:
        """
        Skip the test where it isn't there.
        """
        needs("postfix", "postconf")
        needsRoot()

    def configure(self, users: Sequence[str], routes: Mapping[str, tuple[str, int]]) -> None:
        """See L{MTA}."""
        work = self.work
        for name in ("etc", "queue", "data"):
            (work / name).mkdir()
        mail = self._mailDirectory("nobody")
        shutil.chown(work / "data", "postfix")
        nobody = pwd.getpwnam("nobody")
        (work / "etc/users").write_text(
            "".join(f"{user}@{self.domain} {user}/\n" for user in users), "utf-8"
        )
        (work / "etc/routes").write_text(
            "".join(f"{domain} smtp:[{host}]:{port}\n" for domain, (host, port) in routes.items())
        )
        (work / "etc/main.cf").write_text(f"""
compatibility_level = 3.6
config_directory = {work}/etc
queue_directory = {work}/queue
data_directory = {work}/data
maillog_file = {self.log}/postfix.log
maillog_file_prefixes = {work}
syslog_name = postfix
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = {self.name}
mydomain = {self.domain}
myorigin = {self.domain}
mydestination =
mynetworks = 127.0.0.0/8
local_recipient_maps =
alias_maps =
alias_database =
append_dot_mydomain = no
virtual_mailbox_domains = {self.domain}
virtual_mailbox_maps = texthash:{work}/etc/users
virtual_mailbox_base = {mail}
virtual_uid_maps = static:{nobody.pw_uid}
virtual_gid_maps = static:{nobody.pw_gid}
transport_maps = texthash:{work}/etc/routes
default_transport = error:5.1.2 nothing leaves this machine
relay_transport = error:5.1.2 nothing leaves this machine
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_tls_security_level = may
smtpd_tls_received_header = yes
smtpd_tls_cert_file = {self._made.certificate}
smtpd_tls_key_file = {self._made.key}
smtpd_client_connection_count_limit = 0
smtp_tls_security_level = encrypt
smtputf8_enable = yes
message_size_limit = 0
virtual_mailbox_limit = 0
minimal_backoff_time = 1s
maximal_backoff_time = 1s
queue_run_delay = 1s
""")
        services = """
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp      unix  - - n - - smtp
showq     unix  n - n - - showq
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
virtual   unix  - n n - - virtual
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"""
        (work / "etc/master.cf").write_text(
            f"{self.address}:{self.port} inet n - n - - smtpd\n{services}"
        )

    def _command(self, word: str) -> bool:
        done = subprocess.run(
            ["postfix", "-c", str(self.work / "etc"), word],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )
        (self.log / word).write_bytes(done.stdout + done.stderr)
        return done.returncode == 0

    def launch(self) -> None:
        """See L{MTA}."""
        if not self._command("start"):
            raise AssertionError(f"Postfix doesn't start:\n{self.output()}")

    def stop(self) -> None:
        """See L{MTA}."""
        if self._command("status"):
            self._command("stop")


class Exim(MTA):
    """
    Debian's Exim. Its package can't be installed beside Postfix's; unpacked somewhere, with that on
    C{PATH}, it does, and the user that it runs as has to be there.
    """

    USER = "Debian-exim"

    @staticmethod
    def needed() -> None:
        """
        Skip the test where it isn't there.
        """
        needs("exim4")
        needsRoot()
        try:
            pwd.getpwnam(Exim.USER)
        except KeyError:
            text = f"there is no user {Exim.USER}"
            if os.environ.get("MAILSTACK_INTEROP") == "require":
                raise AssertionError(text) from None
            raise SkipTest(text) from None

    def configure(self, users: Sequence[str], routes: Mapping[str, tuple[str, int]]) -> None:
        """See L{MTA}."""
        work = self.work
        self._process: subprocess.Popen[bytes] | None = None
        mail = self._mailDirectory(self.USER)
        (work / "spool").mkdir()
        for name in ("spool", "log"):
            shutil.chown(work / name, self.USER)
        shutil.chown(self._made.key, self.USER)
        self._program = os.path.realpath(shutil.which("exim4") or "")
        table = "".join(
            f"    {domain} {host}::{port} ; \\\n" for domain, (host, port) in routes.items()
        )
        (work / "exim.conf").write_text(
            f"""
exim_path = {self._program}
primary_hostname = {self.name}
spool_directory = {work}/spool
log_file_path = {self.log}/%slog
pid_file_path =
local_interfaces = {self.address}
daemon_smtp_ports = {self.port}
domainlist local_domains = {self.domain}
tls_advertise_hosts = *
tls_certificate = {self._made.certificate}
tls_privatekey = {self._made.key}
dsn_advertise_hosts = *
smtputf8_advertise_hosts = *
chunking_advertise_hosts = *
host_lookup =
rfc1413_hosts =
message_size_limit = 0
keep_environment =
deliver_drop_privilege = true
never_users =
check_spool_space = 0
check_log_space = 0
acl_smtp_rcpt = recipients
acl_smtp_data = texts
log_selector = +all

begin acl
recipients:
  deny domains = +local_domains
       !verify = recipient
       message = 5.1.1 no such user
  accept
texts:
  accept

begin routers
out:
  driver = manualroute
  domains = !+local_domains
  transport = smtp
  self = send
  route_list = \\
{table}
here:
  driver = accept
  domains = +local_domains
  local_parts = {" : ".join(users)}
  transport = store

begin transports
smtp:
  driver = smtp
  allow_localhost
  hosts_require_tls = *
  tls_verify_hosts =
  tls_try_verify_hosts =
  hosts_try_chunking = *
store:
  driver = appendfile
  maildir_format
  directory = {mail}/$local_part_data
  create_directory
  return_path_add
  delivery_date_add = false
  envelope_to_add = false

begin retry
* * F,1h,1s
""",
            "utf-8",
        )
        # Whoever isn't root may not write it.
        (work / "exim.conf").chmod(0o644)

    def launch(self) -> None:
        """See L{MTA}."""
        with (self.log / "start").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-C", str(self.work / "exim.conf"), "-bdf", "-q1s"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                user=self.USER,
                group=pwd.getpwnam(self.USER).pw_gid,
                extra_groups=[],
            )

    def stop(self) -> None:
        """See L{MTA}."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
            # What it has started goes on for a moment.
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline and self._alive():
                time.sleep(0.1)

    def _alive(self) -> bool:
        word = str(self.work).encode()
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if word in path.read_bytes():
                    return True
            except OSError:
                pass
        return False
