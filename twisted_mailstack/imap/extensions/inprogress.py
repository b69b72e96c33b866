# -*- test-case-name: tests.imap.test_inprogress -*-
"""INPROGRESS (RFC 9585): a long command tells that it goes on, and how far it came."""

from __future__ import annotations

from collections.abc import Callable

from twisted_mailstack.imap.encode import string
from twisted_mailstack.imap.extension import Extension
from twisted_mailstack.imap.session import IMAPSession

#: Seconds from one to the next.
INTERVAL = 10.0


def _progress(session: IMAPSession, tag: bytes) -> Callable[[int], None]:
    stream = session.stream
    last = stream.clock.seconds()

    def progress(looked: int) -> None:
        nonlocal last
        now = stream.clock.seconds()
        if now - last < INTERVAL:
            return
        last = now
        # How many there will be in the end isn't known: some messages are looked at for several
        # keys, others for none.
        stream.write(b"* OK [INPROGRESS (%b %d NIL)] Still searching\r\n" % (string(tag), looked))
        stream.flush()

    return progress


EXTENSION = Extension(b"INPROGRESS", 9585, progress=_progress)
