"""
What several workers change (docs/performance.rst).

    python -m bench.workers [0 1 2 4]

For each number of workers: 5 KB messages from Debian's ``smtp-source`` over 20 kept connections to
one account; then twelve IMAP sessions at once that thread its messages by REFS, which is the
server's work alone; and memory.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.floor import Raw, memory, smtpSource
from tests.interop.harness import DOMAIN, Server, needs

ACCOUNT = f"user@{DOMAIN}"
MESSAGES = 4000
SESSIONS = 12
COMMANDS = 10
COMMAND = b"UID THREAD REFS UTF-8 NOT HEADER Subject zzzz"


def measure(workers: int) -> None:
    """
    Print what so many do.
    """
    server = Server("--workers", str(workers))
    try:
        server.start()
        server.addAccounts(ACCOUNT)
        # All of them are up when the first is in use.
        Raw(server, ACCOUNT)
        time.sleep(2)
        deliveries = MESSAGES / smtpSource(server, ACCOUNT, MESSAGES, 0, True)
        sessions = [Raw(server, ACCOUNT) for _ in range(SESSIONS)]
        for each in sessions:
            each.ask(b"SELECT INBOX")
            each.ask(COMMAND)
        started = time.monotonic()

        def work(session: Raw) -> None:
            for _ in range(COMMANDS):
                session.ask(COMMAND)

        with ThreadPoolExecutor(SESSIONS) as threads:
            list(threads.map(work, sessions))
        commands = SESSIONS * COMMANDS / (time.monotonic() - started)
        assert server.process is not None
        pid = server.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        used = [memory(int(each))[0] // 1024 for each in (pid, *children)]
        print(
            f"{workers} workers: {deliveries:5,.0f} deliveries/s, {commands:5.1f} threads/s,"
            f" MiB: {' '.join(map(str, used))}",
            flush=True,
        )
    finally:
        server.stop()
        server.close()


if __name__ == "__main__":
    needs("smtp-source")
    for number in sys.argv[1:] or ("0", "1", "2", "4", "0", "2"):
        measure(int(number))
