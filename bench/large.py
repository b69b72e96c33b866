"""
What large mailboxes and large accounts cost (docs/performance.rst).

    python -m bench.large [--messages 1000000] [--mailboxes 10000] [--sessions 1000]

One mailbox with a million messages, and what each command takes there: the time until its tagged
response, the CPU time of the server's process, the longest turn of its reactor, in which nobody
else is served, and its memory. A hundred sessions that select that mailbox. An account with 10,000
mailboxes. A mailbox on which 1,000 sessions idle, and how long it takes until a new message was
told to all of them. The store is filled directly, not over the network.
"""

from __future__ import annotations

import argparse
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

from bench.floor import Raw, cpu, memory
from tests.interop.harness import DOMAIN, Server
from twisted_mailstack.cli.context import Context
from twisted_mailstack.config import Configuration
from twisted_mailstack.interfaces import IAccount
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.flags import internFlags

T = TypeVar("T")
MANY, WIDE, BUSY = (f"{name}@{DOMAIN}" for name in ("many", "wide", "busy"))
#: Messages of one step when the mailbox is filled; each tenth is unseen.
STEP = 1000
TEXT = (
    b"From: Bob <bob@b.test>\r\nTo: many@example.test\r\nSubject: message %d\r\n"
    b"Message-ID: <%d@b.test>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n\r\ntext %d\r\n"
)
#: Different messages; each is entered many times, as copies.
KINDS = 1000


class TimedServer(Server):
    """
    A server that knows how long its reactor's turns take.
    """

    program = """
import os, signal, time
from twisted.internet import reactor
last, longest = None, 0.0
def tick():
    global last, longest
    now = time.perf_counter()
    if last is not None:
        longest = max(longest, now - last - 0.002)
    last = now
    reactor.callLater(0.002, tick)
def tell(*_):
    global longest
    with open("turn.new", "w") as file:
        file.write(str(longest))
    os.rename("turn.new", "turn")
    longest = 0.0
reactor.callWhenRunning(tick)
signal.signal(signal.SIGUSR2, tell)
from twisted.scripts.twistd import run
run()
"""

    def longestTurn(self) -> float:
        """
        @return: in seconds, since the last call.
        """
        assert self.process is not None
        file = self.work / "turn"
        file.unlink(missing_ok=True)
        os.kill(self.process.pid, signal.SIGUSR2)
        while not file.exists():
            time.sleep(0.002)
        return float(file.read_text())


def fill(server: Server, messages: int, mailboxes: int) -> None:
    """
    Put the messages into INBOX of one account, and make another's mailboxes.
    """
    context = Context(Configuration(data=str(server.data)))
    store = context.open()

    def account(name: str) -> IAccount:
        record = context.run(store.directory.findAccount(Address.parse(name)))
        assert record is not None
        return context.run(store.openAccount(record.accountId))

    many = account(MANY)
    inbox = context.run(many.openMailbox("INBOX"))
    staged = []
    for number in range(KINDS):
        writer = many.newContent()
        writer.write(TEXT % (number, number, number))
        staged.append(context.run(writer.finish()))
    seen, unseen = internFlags(["\\Seen"]), internFlags([])
    started = time.monotonic()
    for start in range(0, messages, STEP):
        some: list[Any] = [
            (staged[at % KINDS], seen if at % 10 else unseen, 1_700_000_000 + at, 0)
            for at in range(start, min(start + STEP, messages))
        ]
        context.run(inbox.append(some))
    for content in staged:
        content.discard()
    print(f"{messages} messages entered: {messages / (time.monotonic() - started):.0f}/s")
    wide = account(WIDE)
    started = time.monotonic()
    for number in range(mailboxes):
        context.run(wide.createMailbox(f"level {number // 100}/box {number}"))
    print(f"{mailboxes} mailboxes made: {mailboxes / (time.monotonic() - started):.0f}/s")
    for number in range(mailboxes):
        name = f"level {number // 100}/box {number}"
        writer = wide.newContent()
        writer.write(TEXT % (number, number, number))
        content = context.run(writer.finish())
        flags = unseen if number % 1000 == 0 else seen
        opened = context.run(wide.openMailbox(name))
        context.run(opened.append([(content, flags, 1_700_000_000, 0)]))
        content.discard()
    context.close()


def timed(server: TimedServer, what: str, work: Callable[[], T]) -> T:
    """
    Print what it took.
    """
    assert server.process is not None
    server.longestTurn()
    before, started = cpu(server.process.pid), time.monotonic()
    result = work()
    took, used = time.monotonic() - started, cpu(server.process.pid) - before
    print(
        f"{what:48} {took * 1e3:9.1f} ms {used * 1e3:9.1f} ms CPU"
        f" {server.longestTurn() * 1e3:7.1f} ms turn"
        f" {memory(server.process.pid)[0] >> 10:6} MiB",
        flush=True,
    )
    return result


def many(server: TimedServer, messages: int) -> None:
    """
    The commands on the large mailbox.
    """
    client = Raw(server, MANY)
    last = messages
    for what, command in (
        ("STATUS", b"STATUS INBOX (MESSAGES UNSEEN SIZE HIGHESTMODSEQ)"),
        ("SELECT, the first time", b"SELECT INBOX"),
        ("SELECT again", b"SELECT INBOX"),
        ("NOOP", b"NOOP"),
        ("UID FETCH 1:* (FLAGS)", b"UID FETCH 1:* (FLAGS)"),
        ("UID FETCH 1:* (FLAGS) again", b"UID FETCH 1:* (FLAGS)"),
        (
            "FETCH of the last 100 (ENVELOPE FLAGS)",
            b"FETCH %d:* (UID FLAGS ENVELOPE)" % (last - 99),
        ),
        ("UID SEARCH UNSEEN", b"UID SEARCH UNSEEN"),
        ("UID SEARCH RETURN (COUNT) UNSEEN", b"UID SEARCH RETURN (COUNT) UNSEEN"),
        ("UID SEARCH SINCE", b"UID SEARCH RETURN (MIN MAX COUNT) SINCE 20-Nov-2023"),
        ("UID SEARCH SUBJECT, one in a thousand", b'UID SEARCH SUBJECT "message 77"'),
        ("UID SEARCH BODY", b'UID SEARCH RETURN (COUNT) BODY "text 77"'),
        (
            "UID SORT (REVERSE ARRIVAL), 100 of them",
            b"UID SORT RETURN (PARTIAL 1:100) (REVERSE ARRIVAL) UTF-8 ALL",
        ),
        ("UID SORT (SUBJECT)", b"UID SORT RETURN (COUNT) (SUBJECT) UTF-8 ALL"),
        ("UID THREAD REFERENCES", b"UID THREAD REFERENCES UTF-8 ALL"),
        ("STORE one +FLAGS", b"STORE %d +FLAGS (\\Flagged)" % last),
        ("STORE 1:10000 +FLAGS", b"STORE 1:10000 +FLAGS.SILENT (work)"),
        ("COPY 10,000 to Archive", b"UID COPY 1:10000 Archive"),
        ("STORE one \\Deleted", b"STORE %d +FLAGS.SILENT (\\Deleted)" % last),
        ("EXPUNGE one", b"EXPUNGE"),
        ("UNSELECT", b"UNSELECT"),
        ("ENABLE QRESYNC", b"ENABLE QRESYNC"),
    ):
        timed(server, what, lambda command=command: client.ask(command))
    state = client.ask(b"STATUS INBOX (UIDVALIDITY HIGHESTMODSEQ)")
    values = state.replace(b")", b" ").split()
    validity = values[values.index(b"(UIDVALIDITY") + 1]
    modSeq = int(values[values.index(b"HIGHESTMODSEQ") + 1])
    timed(
        server,
        "SELECT (QRESYNC ...), two changes behind",
        lambda: client.ask(b"SELECT INBOX (QRESYNC (%b %d))" % (validity, modSeq - 2)),
    )
    half = messages // 2
    for what, command in (
        ("STORE 1:* +FLAGS.SILENT", b"STORE 1:* +FLAGS.SILENT (other)"),
        ("STORE of half \\Deleted", b"STORE 1:%d +FLAGS.SILENT (\\Deleted)" % half),
        ("EXPUNGE of half", b"EXPUNGE"),
    ):
        timed(server, what, lambda command=command: client.ask(command))
    client.socket.close()


def together(server: TimedServer) -> None:
    """
    Sessions that have the large mailbox selected.
    """
    clients = [Raw(server, MANY) for _ in range(100)]
    timed(server, "SELECT by one session", lambda: clients[0].ask(b"SELECT INBOX"))
    rest = clients[1:]
    timed(server, "SELECT by 99 more", lambda: [each.ask(b"SELECT INBOX") for each in rest])
    timed(server, "STORE one +FLAGS", lambda: clients[0].ask(b"STORE 1 +FLAGS (\\Flagged)"))
    timed(server, "told to the others", lambda: [each.ask(b"NOOP") for each in rest])
    for each in clients:
        each.socket.close()


def wide(server: TimedServer) -> None:
    """
    The account with many mailboxes.
    """
    client = Raw(server, WIDE)
    for what, command in (
        ("LIST of all mailboxes", b'LIST "" *'),
        ("LIST again", b'LIST "" *'),
        ("LIST of one level", b'LIST "" %'),
        ("LIST below one", b'LIST "" "level 1/*"'),
        ("LIST RETURN (STATUS)", b'LIST "" * RETURN (STATUS (MESSAGES UNSEEN))'),
        ("LSUB", b'LSUB "" *'),
        ("STATUS of one", b'STATUS "level 1/box 111" (MESSAGES)'),
        ("ESEARCH of all mailboxes, UNSEEN", b"ESEARCH IN (PERSONAL) UNSEEN"),
        ("ESEARCH of all mailboxes, TEXT", b'ESEARCH IN (PERSONAL) TEXT "text 1"'),
        ("CREATE", b"CREATE new"),
        ("RENAME of a level with 100", b'RENAME "level 2" "level x"'),
        ("DELETE", b"DELETE new"),
    ):
        timed(server, what, lambda command=command: client.ask(command))
    client.socket.close()


def busy(server: TimedServer, sessions: int) -> None:
    """
    Sessions that idle on one mailbox.
    """
    assert server.process is not None
    first = Raw(server, BUSY)
    for number in range(100):
        text = TEXT % (number, number, number)
        first.ask(b"APPEND INBOX {%d+}\r\n%b" % (len(text), text))
    before = memory(server.process.pid)[0]
    clients = []
    for _ in range(sessions):
        client = Raw(server, BUSY)
        client.ask(b"SELECT INBOX")
        client.socket.sendall(b"i IDLE\r\n")
        client.socket.recv(100)
        clients.append(client.socket)
    grown = memory(server.process.pid)[0] - before
    print(f"{sessions} sessions idle on 100 messages: {grown / sessions:.1f} KiB each")

    def told() -> None:
        text = TEXT % (0, 0, 0)
        first.ask(b"APPEND INBOX {%d+}\r\n%b" % (len(text), text))
        poll = select.poll()
        waiting: dict[int, socket.socket] = {each.fileno(): each for each in clients}
        for number in waiting:
            poll.register(number, select.POLLIN)
        while waiting:
            for number, _ in poll.poll(60_000):
                if b"EXISTS" in waiting[number].recv(65536):
                    poll.unregister(number)
                    del waiting[number]

    timed(server, "a new message, told to all of them", told)
    timed(server, "another", told)


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--mailboxes", type=int, default=10_000)
    parser.add_argument("--sessions", type=int, default=1000)
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = TimedServer()
    try:
        server.start()
        server.addAccounts(MANY, WIDE, BUSY)
        server.stop()
        fill(server, given.messages, given.mailboxes)
        server.start()
        together(server)
        server.stop()
        server.start()
        many(server, given.messages)
        server.stop()
        server.start()
        wide(server)
        server.stop()
        server.start()
        busy(server, given.sessions)
        server.stop()
    finally:
        server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
