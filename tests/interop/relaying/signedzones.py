"""
DNSSEC on loopback: a signed zone, an authoritative server for it (NSD), and a resolver that
validates (Unbound). Nothing is asked of anybody else.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree

from twisted.names import dns

from tests.interop.harness import needs
from tests.interop.relaying.nameserver import TTL, unusedPort

#: Seconds until a server must answer.
PATIENCE = 30.0
#: The signed zone; and one below it that isn't signed.
SIGNED, UNSIGNED = "test", "unsigned.test"

_NSD = """
server:
    port: {port}
    ip-address: 127.0.0.1
    server-count: 1
    username: ""
    chroot: ""
    zonesdir: "{work}"
    database: ""
    pidfile: "{work}/nsd.pid"
    xfrdfile: "{work}/xfrd.state"
    xfrdir: "{work}"
    zonelistfile: "{work}/zone.list"
    logfile: "{work}/nsd.log"
remote-control:
    control-enable: no
zone:
    name: "{signed}"
    zonefile: "{signed}.signed"
zone:
    name: "{unsigned}"
    zonefile: "{unsigned}"
"""
# All that isn't in the zones is asked of the same server, which refuses.
_UNBOUND = """
server:
    interface: 127.0.0.1
    port: {resolver}
    username: ""
    chroot: ""
    directory: "{work}"
    pidfile: "{work}/unbound.pid"
    use-syslog: no
    logfile: "{work}/unbound.log"
    num-threads: 1
    do-ip6: no
    do-not-query-localhost: no
    local-zone: "{signed}." nodefault
    module-config: "validator iterator"
    trust-anchor-file: "{work}/anchor.key"
    cache-max-ttl: {ttl}
    cache-max-negative-ttl: {ttl}
    val-bogus-ttl: {ttl}
    infra-host-ttl: {ttl}
    qname-minimisation: no
remote-control:
    control-enable: no
stub-zone:
    name: "{signed}"
    stub-addr: 127.0.0.1@{port}
stub-zone:
    name: "{unsigned}"
    stub-addr: 127.0.0.1@{port}
stub-zone:
    name: "."
    stub-addr: 127.0.0.1@{port}
    stub-prime: no
"""


class SignedZones:
    """
    The zones and both servers.

    @ivar resolver: the port of the resolver, on 127.0.0.1.
    """

    def __init__(self) -> None:
        needs("nsd", "unbound", "ldns-keygen", "ldns-signzone")
        self.work = Path(tempfile.mkdtemp(prefix="mailstack-dnssec-"))
        self.port, self.resolver = unusedPort(), unusedPort()
        self._records: dict[str, list[str]] = {SIGNED: [], UNSIGNED: []}
        self._spoilt: list[tuple[str, str]] = []
        self._serial = 0
        self._processes: list[subprocess.Popen[bytes]] = []
        made = self._run("ldns-keygen", "-r", "/dev/urandom", "-a", "ECDSAP256SHA256", "-k", SIGNED)
        self._key = made.strip()
        (self.work / "anchor.key").write_text((self.work / f"{self._key}.key").read_text())

    def _run(self, *command: str) -> str:
        return subprocess.run(
            command, cwd=self.work, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    # --- what is in them -----------------------------------------------------------------------

    def add(self, *records: str) -> None:
        """
        Records as in a zone file, with whole names; where they belong is seen by the name.
        """
        for each in records:
            name = each.split()[0].rstrip(".")
            below = name == UNSIGNED or name.endswith("." + UNSIGNED)
            self._records[UNSIGNED if below else SIGNED].append(each)

    def spoil(self, right: str, wrong: str) -> None:
        """
        Replace a text of the signed zone, when it is signed: so signatures don't fit any more.
        """
        self._spoilt.append((right, wrong))

    def mend(self) -> None:
        """
        What was spoilt is right again.
        """
        self._spoilt = []
        self.write()
        self._processes[0].send_signal(signal.SIGHUP)

    def write(self) -> None:
        """
        Write the zones' files.
        """
        self._serial += 1
        for zone, records in self._records.items():
            lines = [
                f"$TTL {TTL}",
                f"{zone}. SOA ns.{SIGNED}. root.{SIGNED}. {self._serial} 60 60 600 {TTL}",
                f"{zone}. NS ns.{SIGNED}.",
            ]
            if zone == SIGNED:
                lines += [f"ns.{SIGNED}. A 127.0.0.1", f"{UNSIGNED}. NS ns.{SIGNED}."]
            (self.work / zone).write_text("\n".join(lines + records) + "\n")
        self._run("ldns-signzone", SIGNED, self._key)
        signed = self.work / f"{SIGNED}.signed"
        text = signed.read_text()
        for right, wrong in self._spoilt:
            assert right in text, right
            text = text.replace(right, wrong)
        signed.write_text(text)

    # --- running -------------------------------------------------------------------------------

    def start(self) -> None:
        """
        Start both servers, and wait until an answer comes that was validated.
        """
        self.write()
        values = {
            "work": self.work,
            "port": self.port,
            "resolver": self.resolver,
            "ttl": TTL,
            "signed": SIGNED,
            "unsigned": UNSIGNED,
        }
        for name, template in (("nsd", _NSD), ("unbound", _UNBOUND)):
            path = self.work / f"{name}.conf"
            path.write_text(template.format(**values))
            with (self.work / f"{name}.out").open("wb") as output:
                self._processes.append(
                    subprocess.Popen(
                        (name, "-d", "-c", str(path)),
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                    )
                )
        deadline = time.monotonic() + PATIENCE
        while not self._validates():
            if time.monotonic() > deadline or any(
                each.poll() is not None for each in self._processes
            ):
                raise AssertionError(f"no answer is validated:\n{self.output()}")
            time.sleep(0.05)

    def _validates(self) -> bool:
        question = dns.Message(4711, recDes=1, authenticData=1)
        question.addQuery(SIGNED.encode(), dns.SOA)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(1)
            client.connect(("127.0.0.1", self.resolver))
            try:
                client.send(question.toStr())
                octets = client.recv(4096)
            except OSError:
                return False
        answer = dns.Message()
        answer.fromStr(octets)
        return bool(answer.answers and answer.authenticData)

    def output(self) -> str:
        """
        @return: what the servers printed.
        """
        return "\n".join(
            path.read_text(errors="replace")[-2000:]
            for pattern in ("*.log", "*.out")
            for path in self.work.glob(pattern)
        )

    def close(self) -> None:
        """
        Stop them.
        """
        for each in self._processes:
            each.terminate()
        for each in self._processes:
            each.wait(30)
        rmtree(self.work, ignore_errors=True)


def exchanger(domain: str, address: str, port: int, tlsa: Sequence[str] = ()) -> list[str]:
    """
    @param tlsa: digests of public keys.
    @return: the records of a domain with one mail exchanger, C{mx} below it.
    """
    host = f"mx.{domain}."
    return [
        f"{domain}. MX 10 {host}",
        f"{host} A {address}",
        *(f"_{port}._tcp.{host} TLSA 3 1 1 {digest}" for digest in tlsa),
    ]
