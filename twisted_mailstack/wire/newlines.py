# -*- test-case-name: tests.wire.test_newlines -*-
"""
Line ends of text that is cut anywhere: what stands by itself becomes CRLF.

RFC 5321 §2.3.8 has one line end, CRLF, and CR and LF only within it. Who lets others into a text
leaves it to the next reader where its lines end, and where it ends (SMTP smuggling).
"""

from __future__ import annotations

import re

_LINE_END = re.compile(rb"\r\n|\r|\n")


class NewlineConverter:
    """
    Makes each CR that no LF follows, and each LF that no CR precedes, a CRLF. Everything else stays
    as it is. Holds back a CR at the end, since an LF may follow.
    """

    def __init__(self) -> None:
        self._held = b""

    def feed(self, text: bytes) -> bytes:
        """
        @return: what becomes of the next octets; may be empty.
        """
        if not text:
            return b""
        text = self._held + text
        self._held = b""
        if text.endswith(b"\r"):
            self._held = b"\r"
            text = text[:-1]
        # Nearly all text is right, and counting is ten times as fast as looking for what is not.
        lines = text.count(b"\r\n")
        if text.count(b"\n") == lines == text.count(b"\r"):
            return text
        return _LINE_END.sub(b"\r\n", text)

    def finish(self) -> bytes:
        """
        @return: what was held back to the end.
        """
        held, self._held = self._held, b""
        return b"\r\n" if held else b""
