"""
Kills the server with SIGKILL at random instants of a delivery load, again and again.

    python -m bench.crash [--rounds 50] [--connections 20] [--seed N] [--workers N]

Every message that got its 250 must be there exactly once, one without a reply at most once; the
store opens at once and ``mailstack check`` is clean. A shortened form runs as a test
(tests/interop/test_crash.py). With workers it is one of them, or all that
there is. Exit status 1 if anything is lost or doubled.
"""

from __future__ import annotations

import argparse
import imaplib
import os
import random
import signal
import smtplib
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from tests.interop.harness import DOMAIN, PASSWORD, Server, looseTLS

ACCOUNTS = tuple(f"user{number}@{DOMAIN}" for number in range(5))


class Load:
    """
    What the clients sent and what they were told.

    @ivar acknowledged: ids of messages that got their 250.
    @ivar uncertain: ids whose end of data was sent, and no reply came.
    """

    def __init__(self, port: int, connections: int) -> None:
        self.port = port
        self.acknowledged: set[str] = set()
        self.uncertain: set[str] = set()
        self.refused: list[str] = []
        self._lock = threading.Lock()
        self._stop = False
        self._number = 0
        self._threads = [
            threading.Thread(target=self._send, args=(random.Random(number),), daemon=True)
            for number in range(connections)
        ]
        for thread in self._threads:
            thread.start()

    def _send(self, chance: random.Random) -> None:
        while not self._stop:
            try:
                client = smtplib.SMTP("127.0.0.1", self.port, timeout=10)
                client.ehlo()
                while not self._stop:
                    with self._lock:
                        self._number += 1
                        identity = f"m{self._number}-{chance.random()}"
                    # Some messages are large enough to be stored in pieces.
                    size = 600_000 if chance.random() < 0.02 else chance.randrange(100, 20_000)
                    text = f"From: a@b.test\r\nMessage-ID: <{identity}@load.test>\r\n\r\n" + (
                        "x" * 70 + "\r\n"
                    ) * (size // 72)
                    recipients = chance.sample(ACCOUNTS, chance.choice((1, 1, 1, 2, 5)))
                    replies = [client.mail("load@elsewhere.test")]
                    replies += [client.rcpt(recipient) for recipient in recipients]
                    identity = f"{identity} {' '.join(recipients)}"
                    with self._lock:
                        self.uncertain.add(identity)
                    code, reply = client.data(text)
                    with self._lock:
                        self.uncertain.discard(identity)
                        if code == 250:
                            self.acknowledged.add(identity)
                        for each in (*replies, (code, reply)):
                            if each[0] not in (250, 421):
                                self.refused.append(f"{each[0]} {each[1]!r}")
            except smtplib.SMTPResponseException as error:
                # A server that is killed says nothing, one that is asked to stop says 421; any
                # other reply refuses.
                if error.smtp_code != 421:
                    with self._lock:
                        self.refused.append(str(error))
                time.sleep(0.1)
            except (OSError, smtplib.SMTPServerDisconnected):
                # The server is gone: that is the point. Wait for the next one or for the end.
                time.sleep(0.01)

    def stop(self) -> None:
        """
        Wait until no client sends any more.
        """
        self._stop = True
        for thread in self._threads:
            thread.join(30)


def stored(server: Server) -> Counter[tuple[str, str]]:
    """
    @return: how often each (account, message id) is there.
    """
    found: Counter[tuple[str, str]] = Counter()
    for account in ACCOUNTS:
        client = imaplib.IMAP4_SSL(
            "127.0.0.1", server.ports["imaps"], ssl_context=looseTLS(), timeout=120
        )
        client.login(account, PASSWORD)
        _, (exists,) = client.select()
        if exists == b"0":
            # RFC 3501 §6.4.8: nothing can be named in an empty mailbox.
            client.logout()
            continue
        _, data = client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
        for part in data:
            if isinstance(part, tuple):
                identity = part[1].decode().partition("<")[2].partition("@")[0]
                found[account, identity] += 1
        client.logout()
    return found


def processes(server: Server) -> list[int]:
    """
    @return: the process ids of its workers.
    """
    assert server.process is not None
    pid = server.process.pid
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def crash(
    rounds: int,
    connections: int,
    seed: int,
    log: bool = True,
    how: signal.Signals = signal.SIGKILL,
    workers: int = 0,
) -> list[str]:
    """
    @param how: the server is ended.
    @param workers: of which one is killed, three times in four.
    @return: what went wrong, in words; empty if nothing did.
    """
    chance = random.Random(seed)
    wrong: list[str] = []
    server = Server("--workers", str(workers))
    try:
        server.start()
        server.addAccounts(*ACCOUNTS)
        load = Load(server.ports["smtp"], connections)
        for number in range(rounds):
            time.sleep(chance.uniform(0.2, 1.5))
            children = processes(server)
            if children and chance.random() < 0.75:
                os.kill(chance.choice(children), how)
                continue
            server.stop(how)
            for each in children:
                os.kill(each, how)
            started = time.monotonic()
            server.start()
            if log:
                print(
                    f"round {number + 1}: {len(load.acknowledged)} acknowledged,"
                    f" open after {time.monotonic() - started:.2f} s",
                    flush=True,
                )
        time.sleep(1)
        load.stop()
        wrong += [f"refused: {reply}" for reply in load.refused]
        if not load.acknowledged:
            wrong.append("nothing was acknowledged")
        found = stored(server)
        for identities, most in ((load.acknowledged, 1), (load.uncertain, 0)):
            for line in identities:
                identity, *recipients = line.split()
                copies = [found.pop((recipient, identity), 0) for recipient in recipients]
                if most and copies != [1] * len(recipients):
                    wrong.append(f"acknowledged, there {copies} times: {line}")
                elif not most and copies not in ([0] * len(recipients), [1] * len(recipients)):
                    wrong.append(f"no reply, there {copies} times: {line}")
        wrong += [f"never sent: {key}" for key in found]
        server.stop()
        damage = server.tool("check", status=None)
        # Status again, as a check that fails must fail this.
        server.tool("check")
        if log:
            print(damage.strip())
            print(f"{len(load.acknowledged)} acknowledged, {len(load.uncertain)} without a reply")
    except (OSError, AssertionError, imaplib.IMAP4.error) as error:
        wrong.append(f"{type(error).__name__}: {error}")
    finally:
        server.close()
    return wrong


def main() -> int:
    """The command."""
    options = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    options.add_argument("--rounds", type=int, default=50)
    options.add_argument("--connections", type=int, default=20)
    options.add_argument("--seed", type=int, default=int(time.time()))
    options.add_argument("--workers", type=int, default=0)
    given = options.parse_args()
    print(f"seed {given.seed}")
    wrong = crash(given.rounds, given.connections, given.seed, workers=given.workers)
    for line in wrong[:50]:
        print("WRONG", line)
    print(f"{len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
