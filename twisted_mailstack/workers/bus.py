# -*- test-case-name: tests.workers.test_bus -*-
"""
What the processes of one server tell each other, over pipes: lines of JSON, each with a kind and a
value.

Only hints go this way. What changed is in the store, and who is told that a mailbox changed asks
the store what did; so nothing diverges when a hint comes late, or never.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

#: C{(account, mailbox)}, as L{SQLMailStore<twisted_mailstack.storage.sql.store.SQLMailStore>} says
#: it; C{None}: anything may have changed.
Changed = Collection[tuple[int, int | str]] | None

#: What the worker begins with: its L{Setup<twisted_mailstack.workers.worker.Setup>}.
SETUP = "setup"
#: Both ways: mailboxes changed.
CHANGED = "changed"
#: To the worker: read the certificates again.
RELOAD = "reload"
#: From the worker: it serves.
READY = "ready"
#: From the worker: it can't start, and why.
FAILED = "failed"
#: From the worker: what a person at the terminal is to see.
ANNOUNCE = "announce"
#: From the worker: namespace, level and text of an event.
LOG = "log"

#: Mailboxes that are told one by one to a process that was slow; of more it hears that anything may
#: have changed.
MAX_GATHERED = 10_000


@implementer(IPushProducer)
class Outbox:
    """
    What goes to another process. While that can't take it, what changed is gathered, each mailbox
    once, and log lines are counted, so that a process that hangs costs no memory.
    """

    def __init__(self, write: Callable[[bytes], Any]) -> None:
        """
        @param write: whose consumer this is registered with as a streaming producer.
        """
        self._write = write
        self._paused = False
        self._gathered: set[tuple[int, int | str]] | None = set()
        self._lost = 0

    def send(self, kind: str, value: Any = None) -> None:
        """
        Tell something.
        """
        self._write(json.dumps([kind, value]).encode("ascii") + b"\n")

    def tell(self, changed: Changed) -> None:
        """
        Tell what changed.
        """
        if not self._paused:
            self.send(CHANGED, None if changed is None else list(changed))
        elif self._gathered is not None:
            self._gathered = None if changed is None else self._gathered | set(changed)
            if self._gathered is not None and len(self._gathered) > MAX_GATHERED:
                self._gathered = None

    def log(self, namespace: str, level: str, text: str) -> None:
        """
        Tell a line of the log.
        """
        if self._paused:
            self._lost += 1
        else:
            self.send(LOG, [namespace, level, text])

    def pauseProducing(self) -> None:
        """See C{IPushProducer}."""
        self._paused = True

    def resumeProducing(self) -> None:
        """See C{IPushProducer}."""
        self._paused = False
        gathered, self._gathered = self._gathered, set()
        if gathered is None or gathered:
            self.tell(gathered)
        lost, self._lost = self._lost, 0
        if lost:
            self.log(__name__, "warn", f"{lost} events are missing here")

    def stopProducing(self) -> None:
        """See C{IProducer}."""
        self._paused = True


class Inbox:
    """
    Takes apart what another process says.
    """

    def __init__(self, received: Callable[[str, Any], None]) -> None:
        """
        @param received: called with the kind and the value of each message.
        """
        self._received = received
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """
        @param data: whatever came.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            kind, value = json.loads(line)
            if kind == CHANGED and value is not None:
                value = [(account, mailbox) for account, mailbox in value]
            self._received(kind, value)
