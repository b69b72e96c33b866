"""
What relaying costs: a long queue, and mail passing through.

    python -m bench.relay [--messages 100000] [--domains 1000] [--mx] [--through 10000]

First a queue: messages of 5 KB for many domains are submitted, and the smarthost doesn't answer;
the server is restarted with all of them waiting; then the smarthost, Debian's ``smtp-sink``
(package postfix), comes up, and after ``mailstack queue retry --all`` all of it goes out. Then mail
that passes through: ``smtp-source``, the server, ``smtp-sink`` as its smarthost, counted until the
last message is there.

Each time the same with Debian's Postfix in between, if this runs as root, and the ratio, ours to
Postfix's. It isn't asked to log in. With ``--mx`` our server finds each domain's mail exchanger, by
a name server in the load generator; it is one host for all of them, so its connections are limited
and go from domain to domain. Postfix still has its ``relayhost``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from pathlib import Path
from typing import NamedTuple

from bench.floor import CONNECTIONS, SIZE, cpu, memory
from tests.interop.harness import ALICE, DOMAIN, PASSWORD, Server, freePorts, needs
from tests.interop.relaying.nameserver import NameServer

OUTSIDE = "outside.test"
#: Seconds that anything may take.
PATIENCE = 3600
#: Messages that pass through before those that are counted.
WARM = 200


def queued(server: Server) -> int:
    """
    @return: how many messages wait.
    """
    path = f"file:{server.data}/mail.sqlite3?mode=ro"
    connection = sqlite3.connect(path, uri=True, timeout=30)
    try:
        count: int = connection.execute("SELECT count(*) FROM queued").fetchone()[0]
        return count
    finally:
        connection.close()


def row(what: str, value: str) -> None:
    """
    Print a line of the table.
    """
    print(f"{what:46} {value}", flush=True)


def sink(port: int, count: int = 0) -> subprocess.Popen[bytes]:
    """
    @param count: it ends when it has that many messages, without a reply to the last one; 0: never.
    @return: an smtp-sink.
    """
    command = ["smtp-sink"]
    if os.geteuid() == 0:
        # It demands somebody else to run as.
        command += ["-u", "nobody"]
    if count:
        command += ["-M", str(count)]
    process = subprocess.Popen([*command, f"127.0.0.1:{port}", "1000"])
    answers(port)
    return process


def answers(port: int) -> None:
    """
    Wait until a port does.
    """
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


# --- a queue --------------------------------------------------------------------------------------


def submit(port: int, numbers: range, domains: int, login: bool) -> None:
    """
    Submit messages over one connection, each for one of the domains.
    """
    connection = socket.create_connection(("127.0.0.1", port), 60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    replies = connection.makefile("rb")

    def reply(wanted: bytes) -> None:
        while True:
            line = replies.readline()
            if line[3:4] != b"-":
                break
        if not line.startswith(wanted):
            raise AssertionError(line)

    reply(b"220")
    connection.sendall(b"EHLO load.test\r\n")
    reply(b"250")
    if login:
        plain = b64encode(f"\0{ALICE}\0{PASSWORD}".encode())
        connection.sendall(b"AUTH PLAIN " + plain + b"\r\n")
        reply(b"235")
    body = (b"x" * 70 + b"\r\n") * (SIZE // 72)
    for number in numbers:
        recipient = f"someone@d{number % domains}.test"
        connection.sendall(f"MAIL FROM:<{ALICE}>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode())
        for code in (b"250", b"250", b"354"):
            reply(code)
        connection.sendall(
            f"From: <{ALICE}>\r\nMessage-ID: <{number}@load.test>\r\n"
            "Date: Wed, 01 Jan 2025 00:00:00 +0000\r\n\r\n".encode()
            + body
            + b".\r\n"
        )
        reply(b"250")
    connection.sendall(b"QUIT\r\n")
    reply(b"221")
    connection.close()


def submitAll(port: int, count: int, domains: int, login: bool = True) -> float:
    """
    Submit messages over several connections.

    @return: messages a second.
    """
    started = time.monotonic()
    senders = [
        threading.Thread(
            target=submit, args=(port, range(number, count, CONNECTIONS), domains, login)
        )
        for number in range(CONNECTIONS)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    return count / (time.monotonic() - started)


class Results(NamedTuple):
    """
    What becomes of a long queue.

    @ivar accepted: messages a second, C{passedOn} likewise.
    @ivar acceptedCPU: microseconds for each message, C{passedOnCPU} likewise.
    @ivar memory: the highest while it is accepted and passed on, MiB.
    @ivar disk: with all of it waiting, MiB.
    @ivar restart: seconds until it answers again.
    """

    accepted: float
    acceptedCPU: float
    memory: float
    disk: float
    restart: float
    passedOn: float
    passedOnCPU: float


def longQueue(count: int, domains: int, mx: bool) -> Results:
    """
    @param mx: the domains are found by MX.
    @return: what becomes of one in our server.
    """
    (port,) = freePorts(1)
    dns = NameServer()
    dns.host("mx.sink.test", "127.0.0.1")
    for number in range(domains):
        dns.mx(f"d{number}.test", (10, "mx.sink.test"))
    way = f'relay.smarthost = "smtp://127.0.0.1:{port}"'
    if mx:
        way = f"""\
relay.resolvers = ["127.0.0.1:{dns.port}"]
relay.port = {port}
relay.address-families = ["ipv4"]
"""
    server = Server(
        config=f"""
auth.allow-plaintext = true
relay.enabled = true
queue.retry = [7200]
{way}
"""
    )
    receiver = None
    try:
        server.start()
        server.addAccounts(ALICE)
        assert server.process is not None
        accepted = submitAll(server.ports["submission"], count, domains)
        if queued(server) != count:
            raise AssertionError(f"{queued(server)} of {count} are queued:\n{server.output()}")
        acceptedCPU = cpu(server.process.pid)
        highest = memory(server.process.pid)[1]
        disk = size(server.data)

        server.stop()
        started = time.monotonic()
        server.start()
        restart = time.monotonic() - started

        receiver = sink(port)
        before = cpu(server.process.pid)
        started = time.monotonic()
        server.tool("queue", "retry", "--all")
        while waiting := queued(server):
            if time.monotonic() > started + PATIENCE:
                raise AssertionError(f"{waiting} still wait:\n{server.output()}")
            time.sleep(0.05)
        took = time.monotonic() - started
        return Results(
            *(accepted, acceptedCPU / count * 1e6),
            max(highest, memory(server.process.pid)[1]) / 1024,
            *(disk, restart, count / took),
            (cpu(server.process.pid) - before) / count * 1e6,
        )
    finally:
        if receiver is not None:
            receiver.kill()
            receiver.wait()
        server.close()
        dns.close()


def longPostfixQueue(count: int, domains: int) -> Results:
    """
    @return: what becomes of one in Postfix.
    """
    (sinkPort,) = freePorts(1)
    # What failed isn't tried again before it is told to, as by our server's configuration.
    postfix = Postfix(sinkPort, "minimal_backoff_time = 7200\nmaximal_backoff_time = 7200\n")
    receiver = None
    try:
        postfix.start()
        accepted = submitAll(postfix.port, count, domains, login=False)
        # It goes on for a while: each message is tried, and its failure noted.
        while postfix.has("incoming", "active", "maildrop"):
            time.sleep(0.1)
        acceptedCPU = postfix.cpu()
        disk = size(postfix.work)

        postfix.stop()
        started = time.monotonic()
        postfix.start()
        restart = time.monotonic() - started

        receiver = sink(sinkPort)
        before = postfix.cpu()
        started = time.monotonic()
        subprocess.run(
            ["postqueue", "-c", str(postfix.configuration), "-f"], check=True, timeout=60
        )
        while postfix.has("incoming", "active", "deferred"):
            if time.monotonic() > started + PATIENCE:
                raise AssertionError("messages still wait")
            time.sleep(0.1)
        took = time.monotonic() - started
        return Results(
            *(accepted, acceptedCPU / count * 1e6, postfix.highest / 1024, disk, restart),
            *(count / took, (postfix.cpu() - before) / count * 1e6),
        )
    finally:
        if receiver is not None:
            receiver.kill()
            receiver.wait()
        postfix.close()


def size(path: Path) -> float:
    """
    @return: what is on disk there, MiB.
    """
    blocks = 0
    for directory, _, names in os.walk(path):
        for name in names:
            try:
                blocks += os.lstat(os.path.join(directory, name)).st_blocks
            except FileNotFoundError:
                # It moved on.
                pass
    return blocks * 512 / 2**20


def waitingMail(count: int, domains: int, mx: bool) -> None:
    """
    Print what becomes of a long queue, ours and Postfix's.
    """
    ours = longQueue(count, domains, mx)
    theirs = longPostfixQueue(count, domains) if hasPostfix() else None
    row(f"{count} messages for {domains} domains", "    ours  Postfix   ratio")
    for name, what, form in (
        ("accepted", "accepted, messages/s", "8.0f"),
        ("acceptedCPU", "  CPU for each, µs", "8.0f"),
        ("disk", "  on disk with all of them waiting, MiB", "8.0f"),
        ("restart", "restart with the queue, s", "8.2f"),
        ("passedOn", "passed on, messages/s", "8.0f"),
        ("passedOnCPU", "  CPU for each, µs", "8.0f"),
        ("memory", "memory, highest, MiB", "8.0f"),
    ):
        mine = getattr(ours, name)
        text = f"{mine:{form}}"
        if theirs is not None:
            other = getattr(theirs, name)
            text += f" {other:{form}}" + (f"{mine / other:8.2f}" if other else "")
        row(what, text)


def hasPostfix() -> bool:
    """
    @return: whether Postfix can be asked.
    """
    return os.geteuid() == 0 and shutil.which("postfix") is not None


# --- mail that passes through ---------------------------------------------------------------------


def source(port: int, recipient: str, count: int) -> None:
    """
    Debian's smtp-source.
    """
    subprocess.run(
        [
            *("smtp-source", "-d", "-s", str(CONNECTIONS), "-m", str(count), "-l", str(SIZE)),
            *("-f", "load@elsewhere.test", "-t", recipient, f"127.0.0.1:{port}"),
        ],
        check=True,
        timeout=PATIENCE,
    )


def through(port: int, sinkPort: int, recipient: str, count: int) -> tuple[float, float]:
    """
    @return: messages a second that are acknowledged, and that arrive at the sink.
    """
    receiver = sink(sinkPort, WARM + count)
    try:
        # The first ones find everything cold.
        source(port, recipient, WARM)
        time.sleep(2)
        started = time.monotonic()
        source(port, recipient, count)
        accepted = time.monotonic() - started
        receiver.wait(PATIENCE)
        return count / accepted, count / (time.monotonic() - started)
    finally:
        if receiver.poll() is None:
            receiver.kill()
            receiver.wait()


def ours(count: int) -> tuple[float, float]:
    """
    @return: as L{through}.
    """
    (port,) = freePorts(1)
    server = Server(
        config=f'relay.enabled = true\nrelay.smarthost = "smtp://127.0.0.1:{port}"\n',
    )
    try:
        server.tool("domain", "add", DOMAIN)
        server.tool("alias", "set", f"*@{DOMAIN}", f"*@{OUTSIDE}")
        server.start()
        return through(server.ports["smtp"], port, f"someone@{DOMAIN}", count)
    finally:
        server.close()


def postfix(count: int) -> tuple[float, float]:
    """
    @return: as L{through}.
    """
    (sinkPort,) = freePorts(1)
    server = Postfix(sinkPort)
    try:
        server.start()
        return through(server.port, sinkPort, f"someone@{OUTSIDE}", count)
    finally:
        server.close()


class Postfix:
    """
    Debian's, with a configuration of its own on loopback, whose only way out is the sink.

    @ivar highest: KiB of memory that its processes had at their highest, shared pages by shares.
    """

    def __init__(self, sinkPort: int, more: str = "") -> None:
        """
        @param more: lines of main.cf.
        """
        (self.port,) = freePorts(1)
        self.work = Path(tempfile.mkdtemp(prefix="relay-postfix-"))
        self.work.chmod(0o755)
        self.highest = 0
        self._over = threading.Event()
        self.configuration = self.work / "etc"
        queue, data = self.work / "queue", self.work / "data"
        for each in (self.configuration, queue, data):
            each.mkdir()
        shutil.chown(data, "postfix")
        (self.configuration / "main.cf").write_text(f"""\
compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
maillog_file = {self.work}/log
maillog_file_prefixes = {self.work}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.{DOMAIN}
mydestination =
mynetworks = 127.0.0.0/8
local_recipient_maps =
alias_maps =
alias_database =
relayhost = [127.0.0.1]:{sinkPort}
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
{more}""")
        services = [
            f"127.0.0.1:{self.port} inet n - n - - smtpd",
            "pickup unix n - n 60 1 pickup",
            "cleanup unix n - n - 0 cleanup",
            "flush unix n - n - 0 flush",
            "qmgr unix n - n 300 1 qmgr",
            "postlog unix-dgram n - n - 1 postlogd",
        ]
        # name, limit of processes, program
        for name, limit, program in (
            *(("rewrite", "-", "trivial-rewrite"), ("smtp", "-", "smtp")),
            *(("relay", "-", "smtp"), ("bounce", 0, "bounce"), ("defer", 0, "bounce")),
            *(("trace", 0, "bounce"), ("error", "-", "error"), ("retry", "-", "error")),
            *(("anvil", 1, "anvil"), ("scache", 1, "scache"), ("proxymap", "-", "proxymap")),
            *(("tlsmgr", 1, "tlsmgr"), ("verify", 1, "verify"), ("flush", 0, "flush")),
        ):
            services.append(f"{name} unix - - n - {limit} {program}")
        (self.configuration / "master.cf").write_text("\n".join(services) + "\n")
        threading.Thread(target=self._watch, daemon=True).start()

    def _command(self, what: str, check: bool = True) -> None:
        subprocess.run(
            ["postfix", "-c", str(self.configuration), what],
            check=check,
            stderr=subprocess.DEVNULL,
        )

    def start(self) -> None:
        """
        Start it, and wait until it answers.
        """
        self._command("start")
        answers(self.port)

    def stop(self) -> None:
        """
        Stop it.
        """
        self._command("stop", False)

    def close(self) -> None:
        """
        Stop it, and remove all of it.
        """
        self._over.set()
        self.stop()
        shutil.rmtree(self.work, ignore_errors=True)

    def has(self, *queues: str) -> bool:
        """
        @return: whether one of these queues has a message.
        """
        return any(names for each in queues for _, _, names in os.walk(self.work / "queue" / each))

    def _processes(self) -> list[int]:
        try:
            master = int((self.work / "queue/pid/master.pid").read_text())
            children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        except (OSError, ValueError):
            return []
        return [master, *map(int, children)]

    def cpu(self) -> float:
        """
        @return: seconds of CPU that it has used since it was started.
        """
        master, *children = self._processes()
        fields = Path(f"/proc/{master}/stat").read_text().rpartition(")")[2].split()
        # Of itself, and of the children that have ended.
        used = sum(map(int, fields[11:15])) / 100
        for child in children:
            try:
                used += cpu(child)
            except OSError:
                # It has ended.
                pass
        return used

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            total = 0
            for process in self._processes():
                try:
                    text = Path(f"/proc/{process}/smaps_rollup").read_text()
                except OSError:
                    continue
                total += int(text.partition("\nPss:")[2].split()[0])
            self.highest = max(self.highest, total)


def passing(count: int) -> None:
    """
    Print what passes through, ours and Postfix's.
    """
    accepted, arrived = ours(count)
    row(f"through the server, {count}: accepted", f"{accepted:8.0f} messages/s")
    row("  arrived", f"{arrived:8.0f} messages/s")
    if not hasPostfix():
        row("through Postfix", "left out: needs root and the package")
        return
    acceptedBy, arrivedBy = postfix(count)
    row("through Postfix: accepted", f"{acceptedBy:8.0f} messages/s")
    row("  arrived", f"{arrivedBy:8.0f} messages/s")
    row("ratio, arrived, ours to Postfix's", f"{arrived / arrivedBy:8.2f}")


def main() -> int:
    """The command."""
    needs("smtp-source", "smtp-sink")
    options = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    options.add_argument("--messages", type=int, default=100_000, help="0: no queue")
    options.add_argument("--domains", type=int, default=1000)
    options.add_argument("--mx", action="store_true", help="domains are found by MX")
    options.add_argument("--through", type=int, default=10_000, help="0: none pass through")
    given = options.parse_args()
    if given.messages:
        waitingMail(given.messages, given.domains, given.mx)
    if given.through:
        passing(given.through)
    return 0


if __name__ == "__main__":
    sys.exit(main())
