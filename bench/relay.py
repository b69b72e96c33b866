"""
What relaying costs: a long queue, and mail passing through.

    python -m bench.relay [--messages 100000] [--domains 1000] [--through 10000]

First a queue: an account submits messages of 5 KB for many domains, whose mail exchanger doesn't
answer; the server is restarted with all of them waiting; then the mail exchanger, Debian's
``smtp-sink`` (package postfix), comes up, and after ``mailstack queue retry --all`` all of it goes
out. Then mail that passes through: ``smtp-source``, the server, ``smtp-sink`` as its smarthost,
counted until the last message is there. The same with Debian's Postfix in between, if this runs as
root.
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


def submit(port: int, numbers: range, domains: int) -> None:
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


def longQueue(count: int, domains: int) -> None:
    """
    Print what becomes of a long queue.
    """
    (port,) = freePorts(1)
    dns = NameServer()
    dns.host("mx.sink.test", "127.0.0.1")
    for number in range(domains):
        dns.mx(f"d{number}.test", (10, "mx.sink.test"))
    server = Server(
        config=f"""
auth.allow-plaintext = true
relay.enabled = true
relay.resolvers = ["127.0.0.1:{dns.port}"]
relay.port = {port}
relay.address-families = ["ipv4"]
queue.retry = [7200]
"""
    )
    receiver = None
    try:
        server.start()
        server.addAccounts(ALICE)
        assert server.process is not None
        started = time.monotonic()
        senders = [
            threading.Thread(
                target=submit,
                args=(server.ports["submission"], range(number, count, CONNECTIONS), domains),
            )
            for number in range(CONNECTIONS)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        took = time.monotonic() - started
        if queued(server) != count:
            raise AssertionError(f"{queued(server)} of {count} are queued:\n{server.output()}")
        row(f"accept {count} for {domains} domains", f"{count / took:8.0f} messages/s")
        row("  CPU", f"{cpu(server.process.pid) / count * 1e6:8.0f} µs each")
        row("  memory, highest", f"{memory(server.process.pid)[1] // 1024:8} MiB")
        row("  database", f"{(server.data / 'mail.sqlite3').stat().st_size >> 20:8} MiB")

        server.stop()
        started = time.monotonic()
        server.start()
        row(
            "restart with the queue, until all ports answer", f"{time.monotonic() - started:8.2f} s"
        )

        receiver = sink(port)
        before = cpu(server.process.pid)
        started = time.monotonic()
        server.tool("queue", "retry", "--all")
        row("mailstack queue retry --all", f"{time.monotonic() - started:8.2f} s")
        while waiting := queued(server):
            if time.monotonic() > started + PATIENCE:
                raise AssertionError(f"{waiting} still wait:\n{server.output()}")
            time.sleep(0.05)
        took = time.monotonic() - started
        used = cpu(server.process.pid) - before
        row("pass it on, from the command to an empty queue", f"{count / took:8.0f} messages/s")
        row("  CPU", f"{used / count * 1e6:8.0f} µs each")
        row("  memory, highest", f"{memory(server.process.pid)[1] // 1024:8} MiB")
    finally:
        if receiver is not None:
            receiver.kill()
            receiver.wait()
        server.close()
        dns.close()


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
    port, sinkPort = freePorts(2)
    work = Path(tempfile.mkdtemp(prefix="relay-postfix-"))
    work.chmod(0o755)
    configuration, queue, data = work / "etc", work / "queue", work / "data"
    for each in (configuration, queue, data):
        each.mkdir()
    shutil.chown(data, "postfix")
    (configuration / "main.cf").write_text(f"""\
compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
maillog_file = {work}/log
maillog_file_prefixes = {work}
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
""")
    services = [
        f"127.0.0.1:{port} inet n - n - - smtpd",
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
    (configuration / "master.cf").write_text("\n".join(services) + "\n")
    command = ["postfix", "-c", str(configuration)]
    try:
        subprocess.run([*command, "start"], check=True, stderr=subprocess.DEVNULL)
        try:
            answers(port)
            return through(port, sinkPort, f"someone@{OUTSIDE}", count)
        finally:
            subprocess.run([*command, "stop"], check=False, stderr=subprocess.DEVNULL)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def passing(count: int) -> None:
    """
    Print what passes through, ours and Postfix's.
    """
    accepted, arrived = ours(count)
    row(f"through the server, {count}: accepted", f"{accepted:8.0f} messages/s")
    row("  arrived", f"{arrived:8.0f} messages/s")
    if os.geteuid() != 0 or shutil.which("postfix") is None:
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
    options.add_argument("--through", type=int, default=10_000, help="0: none pass through")
    given = options.parse_args()
    if given.messages:
        longQueue(given.messages, given.domains)
    if given.through:
        passing(given.through)
    return 0


if __name__ == "__main__":
    sys.exit(main())
