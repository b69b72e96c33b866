# -*- test-case-name: tests.wire.test_dots -*-
"""
Transparency: the dots of RFC 5321 §4.5.2 and RFC 1939 §3, in streams cut anywhere.

L{DotReader} takes octets until CRLF.CRLF and gives the text with the stuffed dots removed;
L{DotWriter} stuffs them. L{LineInspector} finds what isn't lines. Only CRLF counts as a line's end:
a bare LF or CR neither ends the text nor makes a dot special, so that no two readers can disagree
about where the text ends (SMTP smuggling).
"""

from __future__ import annotations

import re

_STUFFED = re.compile(rb"\r\n\.")


class LineInspector:
    """
    Looks at text, cut anywhere, for what isn't lines ended by CRLF.

    @ivar bareCR: whether the text had a CR that no LF follows; C{bareLF}, C{nul} and C{eightBit}
        likewise.
    @ivar longestLine: octets of the longest line so far, its CRLF included; here a bare LF ends one
        too.
    """

    def __init__(self) -> None:
        self.bareCR = self.bareLF = self.nul = self.eightBit = False
        self.longestLine = 0
        self._lineSoFar = 0
        self._endsInCR = False

    def inspect(self, text: bytes) -> None:
        """
        @param text: the next octets.
        """
        # A CR at the end is judged together with what follows it.
        if self._endsInCR:
            text = b"\r" + text
        self._endsInCR = text.endswith(b"\r")
        if self._endsInCR:
            text = text[:-1]
        lines = text.count(b"\r\n")
        if text.count(b"\n") != lines:
            self.bareLF = True
        if text.count(b"\r") != lines:
            self.bareCR = True
        if b"\0" in text:
            self.nul = True
        if not text.isascii():
            self.eightBit = True
        self._measure(text)

    def finishInspection(self) -> None:
        """
        That was all of the text.
        """
        if self._endsInCR:
            self._endsInCR = False
            self.bareCR = True
            self._measure(b"\r")

    def _measure(self, text: bytes) -> None:
        last = text.rfind(b"\n")
        if last < 0:
            self._lineSoFar += len(text)
        else:
            first = text.find(b"\n")
            longest = max(self._lineSoFar + first + 1, self.longestLine)
            # Only when a longer line than any yet can be inside is it worth looking for.
            if last - first > longest:
                longest = max(longest, max(map(len, text[first + 1 : last].split(b"\n"))) + 1)
            self.longestLine = longest
            self._lineSoFar = len(text) - last - 1
        if self._lineSoFar > self.longestLine:
            self.longestLine = self._lineSoFar


class DotReader:
    """
    Finds the end of dot-stuffed text.

    @ivar finished: whether CRLF.CRLF was seen.
    @ivar rest: once finished, the octets behind it.
    """

    def __init__(self) -> None:
        self.finished = False
        self.rest = b""
        # The octets that can't be judged yet. It begins as if a CRLF had come before the text,
        # so a dot as the very first octet is a stuffed one.
        self._held = b"\r\n"
        self._first = True

    def feed(self, data: bytes) -> bytes:
        """
        @return: the next octets of the text, dots removed; may be empty.
        """
        if self.finished:
            self.rest += data
            return b""
        data = self._held + data
        end = data.find(b"\r\n.\r\n")
        if end >= 0:
            self.finished = True
            self.rest = data[end + 5 :]
            text = data[: end + 2]
            self._held = b""
        else:
            # Longest tail that may yet become CRLF.CRLF or CRLF-dot.
            keep = next((n for n in (4, 3, 2, 1) if data.endswith(b"\r\n.\r\n"[:n])), 0)
            text, self._held = (data[:-keep], data[-keep:]) if keep else (data, b"")
        # The held tail always starts with its CR, so each CRLF-dot is whole in one text.
        text = _STUFFED.sub(b"\r\n", text)
        if self._first and text:
            # Take back the CRLF that was lent before the first octet.
            text = text[2:]
            self._first = False
        return text


class DotWriter:
    """
    Stuffs dots.
    """

    def __init__(self) -> None:
        # The last octets written, as much as decides about the next dot.
        self._tail = b"\r\n"

    def feed(self, data: bytes) -> bytes:
        """
        @return: C{data} with a dot put before each dot that begins a line.
        """
        if not data:
            return b""
        tail = self._tail
        self._tail = (tail + data)[-2:]
        joined = tail + data
        if b"\r\n." in joined:
            return joined.replace(b"\r\n.", b"\r\n..")[len(tail) :]
        return data

    def finish(self) -> bytes:
        """
        @return: the end of the text: a CRLF if the last line has none, then the dot.
        """
        return b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"
