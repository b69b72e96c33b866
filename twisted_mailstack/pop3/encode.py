# -*- test-case-name: tests.pop3.test_encode -*-
"""
Messages as multi-line responses (RFC 1939 §3): every line ends in CRLF, lines that begin with a dot
get another, a dot alone is the end.
"""

from __future__ import annotations

import re

from twisted_mailstack.wire.dots import DotWriter

_LF = re.compile(rb"(?<!\r)\n")


class MultiLine:
    """
    Encodes a message that comes in chunks, cut anywhere.

    A bare LF, which only IMAP's APPEND can have brought, becomes CRLF: many clients take it for a
    line's end, and would take LF, dot, LF inside a message for its end, and what follows for the
    next response. Everything else is as it is stored.
    """

    def __init__(self) -> None:
        self._dots = DotWriter()
        self._afterCR = False

    def feed(self, data: bytes) -> bytes:
        """
        @return: what is sent for the next octets.
        """
        if not data:
            return b""
        split = self._afterCR and data.startswith(b"\n")
        self._afterCR = data.endswith(b"\r")
        if data.count(b"\n") != data.count(b"\r\n") + split:
            # The first LF may belong to the CR before it.
            head, tail = (data[:1], data[1:]) if split else (b"", data)
            data = head + _LF.sub(b"\r\n", tail)
        return self._dots.feed(data)

    def finish(self) -> bytes:
        """
        @return: the end: the last line's, if it has none, and the dot.
        """
        return self._dots.finish()
