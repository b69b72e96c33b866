"""
What searching, sorting and threading a large mailbox takes (docs/performance.rst).

    python -m bench.search [--messages 20000]

A mailbox of messages of 5 KB, made of 20,000 words as rare as words are; the time from a command to
its reply, with the search index and without; how long the index takes to be made, and its size.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from pathlib import Path

from bench.costs import Line
from tests.cli.support import Look
from tests.interop.harness import DOMAIN, PASSWORD, Server, environment
from twisted_mailstack.model.flags import NO_FLAGS

ACCOUNT = f"search@{DOMAIN}"
SIZE = 5000
BATCH = 500
#: In one message of a hundred, in one alone, in none.
SOME, ONE, NONE = "quokkawort", "zyzzyvafund", "nirgendwoher"

#: What is asked, and how often.
QUERIES = (
    ("SUBJECT, 1 in 100", f"SEARCH SUBJECT {SOME}"),
    ("FROM, 1 in 100", "SEARCH FROM quokka@"),
    ("BODY, 1 in 100", f"SEARCH BODY {SOME}"),
    ("BODY, one message", f"SEARCH BODY {ONE}"),
    ("BODY, none", f"SEARCH BODY {NONE}"),
    ("TEXT, one message", f"SEARCH TEXT {ONE}"),
    ("TEXT, none", f"SEARCH TEXT {NONE}"),
    ("TEXT, all", "SEARCH TEXT subject"),
    ("SORT (DATE)", "SORT (DATE) UTF-8 ALL"),
    ("SORT (SUBJECT REVERSE DATE)", "SORT (SUBJECT REVERSE DATE) UTF-8 ALL"),
    ("SORT (DISPLAYFROM)", "SORT (DISPLAYFROM) UTF-8 ALL"),
    ("THREAD REFERENCES", "THREAD REFERENCES UTF-8 ALL"),
    ("THREAD ORDEREDSUBJECT", "THREAD ORDEREDSUBJECT UTF-8 ALL"),
)


def messages(count: int) -> list[bytes]:
    """
    @return: so many messages of L{SIZE} octets, a fifth of them replies.
    """
    chance = random.Random(1)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    words = [
        "".join(chance.choices(letters, range(26, 0, -1), k=chance.randint(2, 10)))
        for _ in range(20_000)
    ]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    stock = chance.choices(words, weights, k=2_000_000)
    made = []
    for number in range(count):
        at = chance.randrange(len(stock) - 1000)
        text = stock[at : at + 900]
        if number % 100 == 50:
            text.insert(300, SOME)
        if number == count // 2:
            text.insert(300, ONE)
        subject = " ".join(stock[at + 900 : at + 905]) + (f" {SOME}" if number % 100 == 20 else "")
        sender = "quokka" if number % 100 == 70 else chance.choice(words)
        parent = chance.randrange(number) if number and number % 5 == 0 else None
        reply = "" if parent is None else f"References: <{parent}@bench.test>\r\n"
        header = (
            f"Date: {time.strftime('%d %b %Y %H:%M:%S', time.gmtime(chance.randrange(10**9)))}"
            f" +0000\r\nFrom: {chance.choice(words)} <{sender}@example.net>\r\nTo: {ACCOUNT}\r\n"
            f"Subject: {subject}\r\nMessage-ID: <{number}@bench.test>\r\n{reply}\r\n"
        )
        lines = [" ".join(text[start : start + 12]) for start in range(0, len(text), 12)]
        made.append((header + "\r\n".join(lines))[: SIZE - 2].encode() + b"\r\n")
    return made


def fill(data: Path, count: int) -> None:
    """
    Store them.
    """
    look = Look(data)
    account, mailbox = look.account(ACCOUNT), look.mailbox(ACCOUNT)
    batch = []
    for octets in messages(count):
        writer = account.newContent()
        writer.write(octets)
        batch.append((look.run(writer.finish()), NO_FLAGS, 1_000_000_000, 0))
        if len(batch) == BATCH:
            look.run(mailbox.append(batch))
            batch = []
    if batch:
        look.run(mailbox.append(batch))
    look.close()


def ask(server: Server) -> dict[str, float]:
    """
    @return: milliseconds of each query, the best of three.
    """
    imap = Line(server, "imaps", True)
    imap.ask(f'a LOGIN "{ACCOUNT}" "{PASSWORD}"\r\n'.encode())
    imap.socket.sendall(b"b SELECT INBOX\r\n")
    _until(imap, b"\nb ")
    times = {}
    for name, query in QUERIES:
        best = float("inf")
        for _ in range(3):
            began = time.perf_counter()
            imap.socket.sendall(f"c {query}\r\n".encode())
            _until(imap, b"\r\nc OK ")
            best = min(best, time.perf_counter() - began)
            if best > 1:
                break
        times[name] = best * 1000
    return times


def _until(imap: Line, end: bytes) -> None:
    tail = b""
    while end not in tail:
        data = imap.socket.recv(1 << 20)
        if not data:
            raise ConnectionError(tail)
        tail = tail[-1000:] + data


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=20_000)
    count = parser.parse_args().messages
    server = Server(config="[search]\nindex = false\n")
    try:
        server.start()
        server.addAccounts(ACCOUNT)
        server.stop()
        fill(server.data, count)
        server.start()
        without = ask(server)
        server.stop()
        began = time.perf_counter()
        command = [sys.executable, "-m", "twisted_mailstack.cli", "--data", str(server.data)]
        subprocess.run([*command, "index"], check=True, env=environment(), capture_output=True)
        built = time.perf_counter() - began
        size = sum(file.stat().st_size for file in (server.data / "index").iterdir())
        print(
            f"index of {count} messages: {built:.1f} s, {count / built:.0f} a second,"
            f" {size / 1e6:.1f} MB, {size / (count * SIZE):.2f} of the messages"
        )
        server.arguments = []
        server.start()
        indexed = ask(server)
        server.stop()
        print(f"{'':30} {'without index':>14} {'with index':>14}")
        for name in without:
            print(f"{name:30} {without[name]:11.1f} ms {indexed[name]:11.1f} ms")
    finally:
        server.close()


if __name__ == "__main__":
    main()
