"""
Kills a relaying server with SIGKILL at random instants of a load, again and again.

    python -m bench.relaycrash [--rounds 50] [--connections 10] [--seed N]

Mail for a local domain, whose catch-all leads outside, arrives over SMTP and is passed on to a sink
that remembers every message and tells some recipients to come later. In the end the queue must
drain; every message that got its 250 must have arrived for every recipient, and more than once only
for the reason that RFC 5321 §6.1 names: its sender was killed between the sink's 250 and writing
that down. So no message twice in one life of the server, and not more per kill than connections to
the sink can have in flight. ``mailstack check`` must be clean. A shortened form runs as a test
(tests/interop/test_relaycrash.py). Exit status 1 if anything is lost or doubled otherwise.
"""

from __future__ import annotations

import argparse
import random
import signal
import socketserver
import sqlite3
import sys
import threading
import time
from collections import Counter
from typing import Any

from bench.crash import Load
from tests.interop.harness import DOMAIN, Server
from twisted_mailstack.delivery.queue import UNSETTLED

OUTSIDE = "outside.test"
#: Seconds that the queue may take to drain.
PATIENCE = 300.0


class Sink:
    """
    The other server.

    @ivar port: where it listens, on 127.0.0.1.
    @ivar life: a number for the life of the sender that runs now.
    @ivar taken: how often each (recipient, message id) was taken in each life.
    @ivar open: connections now.
    """

    def __init__(self, later: float = 0.02) -> None:
        """
        @param later: which part of the recipients is told to come later.
        """
        self.life = 0
        self.taken: Counter[tuple[str, str, int]] = Counter()
        self.open = 0
        self.lock = threading.Lock()
        sink = self

        class Connection(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with sink.lock:
                    sink.open += 1
                    life = sink.life
                try:
                    sink._session(self.rfile, self.wfile, life, later)
                except OSError:
                    # The sender was killed.
                    pass
                finally:
                    with sink.lock:
                        sink.open -= 1

        class Listener(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 100

        self._listener = Listener(("127.0.0.1", 0), Connection)
        self.port: int = self._listener.server_address[1]
        threading.Thread(target=self._listener.serve_forever, args=(0.1,), daemon=True).start()

    def _session(self, source: Any, drain: Any, life: int, later: float) -> None:
        drain.write(b"220 sink.test ESMTP\r\n")
        recipients: list[str] = []
        while line := source.readline():
            verb = line[:4].upper().strip()
            if verb == b"EHLO":
                drain.write(b"250-sink.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
            elif verb == b"RCPT" and random.random() < later:
                drain.write(b"451 4.3.0 come later\r\n")
            elif verb == b"RCPT":
                recipients.append(line.decode().partition("<")[2].partition(">")[0])
                drain.write(b"250 2.1.5 good\r\n")
            elif verb == b"DATA" and not recipients:
                drain.write(b"554 5.5.1 nobody\r\n")
            elif verb == b"DATA":
                drain.write(b"354 go on\r\n")
                identity = ""
                while (text := source.readline()) != b".\r\n":
                    if not text:
                        return
                    if not identity and text.lower().startswith(b"message-id:"):
                        identity = text.decode().partition("<")[2].partition("@")[0]
                with self.lock:
                    for recipient in recipients:
                        self.taken[recipient, identity, life] += 1
                drain.write(b"250 2.0.0 taken\r\n")
                recipients = []
            elif verb == b"QUIT":
                drain.write(b"221 2.0.0 bye\r\n")
                return
            else:
                recipients = []
                drain.write(b"250 2.0.0 good\r\n")

    def close(self) -> None:
        """
        Take no more connections.
        """
        self._listener.shutdown()
        self._listener.server_close()


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


def crash(rounds: int, connections: int, seed: int, log: bool = True) -> list[str]:
    """
    @return: what went wrong, in words; empty if nothing did.
    """
    chance = random.Random(seed)
    wrong: list[str] = []
    sink = Sink()
    server = Server(
        config=f"""
relay.enabled = true
relay.smarthost = "smtp://127.0.0.1:{sink.port}"
queue.retry = [1, 2]
"""
    )
    # What each kill may double: the recipients of what was sent and not yet written down.
    window = 0
    try:
        server.tool("domain", "add", DOMAIN)
        server.tool("alias", "set", f"*@{DOMAIN}", f"*@{OUTSIDE}")
        server.start()
        load = Load(server.ports["smtp"], connections)
        for number in range(rounds):
            time.sleep(chance.uniform(0.2, 1.5))
            inFlight = sink.open
            server.stop(signal.SIGKILL)
            window += max(inFlight, sink.open) * (UNSETTLED + 1)
            # The sink reads what the dead one had written before the next one begins.
            settled = time.monotonic() + 10
            while sink.open and time.monotonic() < settled:
                time.sleep(0.01)
            waiting = queued(server)
            with sink.lock:
                sink.life += 1
            started = time.monotonic()
            server.start()
            if log:
                print(
                    f"round {number + 1}: {len(load.acknowledged)} acknowledged,"
                    f" {len(sink.taken)} passed on, {waiting} waiting,"
                    f" open after {time.monotonic() - started:.2f} s",
                    flush=True,
                )
        time.sleep(1)
        load.stop()
        started = time.monotonic()
        while waiting := queued(server):
            if time.monotonic() > started + PATIENCE:
                wrong.append(f"{waiting} messages wait after {PATIENCE:.0f} s")
                break
            time.sleep(0.1)
        drained = time.monotonic() - started
        wrong += [f"refused: {reply}" for reply in load.refused]
        if not load.acknowledged:
            wrong.append("nothing was acknowledged")
        lives: dict[tuple[str, str], list[int]] = {}
        for (recipient, identity, life), times in sink.taken.items():
            lives.setdefault((recipient, identity), []).append(life)
            if times > 1:
                wrong.append(f"{times} times in life {life}: {recipient} {identity}")
        sent = 0
        known: set[tuple[str, str]] = set()
        for lines, least in ((load.acknowledged, 1), (load.uncertain, 0)):
            for line in lines:
                identity, *recipients = line.split()
                sent += least * len(recipients)
                keys = {(f"{each.partition('@')[0]}@{OUTSIDE}", identity) for each in recipients}
                known |= keys
                absent = keys - lives.keys()
                if least and absent:
                    wrong.append(f"acknowledged and lost: {sorted(absent)}")
                elif absent and absent != keys:
                    wrong.append(f"no reply, and only a part of it arrived: {line}")
        wrong += [f"never sent: {key}" for key in lives.keys() - known]
        doubled = {key for key, which in lives.items() if len(which) > 1}
        copies = sum(len(which) - 1 for which in lives.values())
        # A message has up to five recipients, which travel together.
        messages = len({identity for _, identity in doubled})
        if messages > window:
            wrong.append(f"{messages} messages arrived again, {window} were in flight at most")
        server.stop()
        damage = server.tool("check")
        if log:
            print(damage.strip())
            print(
                f"{len(load.acknowledged)} messages acknowledged ({sent} recipients),"
                f" {len(load.uncertain)} without a reply;"
                f" {len(lives)} recipients arrived, {copies} copies too many of {messages} messages"
                f" ({window} could be in flight at {rounds} kills); drained after {drained:.1f} s"
            )
    except (OSError, AssertionError, sqlite3.Error) as error:
        wrong.append(f"{type(error).__name__}: {error}")
    finally:
        server.close()
        sink.close()
    return wrong


def main() -> int:
    """The command."""
    options = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    options.add_argument("--rounds", type=int, default=50)
    options.add_argument("--connections", type=int, default=10)
    options.add_argument("--seed", type=int, default=int(time.time()))
    given = options.parse_args()
    print(f"seed {given.seed}")
    wrong = crash(given.rounds, given.connections, given.seed)
    for line in wrong[:50]:
        print("WRONG", line)
    print(f"{len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
