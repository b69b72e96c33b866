# -*- test-case-name: tests.wire.test_fields -*-
"""
A message's header while it streams by: fields can be left out of it, and lines put at its end.

Nothing else is touched, nothing behind the header is looked at, and what is held back is less than
a line, however the message was cut into pieces. A bare LF ends a line here, too: who lets it into a
message has readers that take it for one.
"""

from __future__ import annotations

import re

#: RFC 5322 §2.1.1: what is longer is no beginning of a field.
_LONGEST = 998


class FieldNames:
    """
    Names of fields that matter to a L{HeaderFilter}, in lower case. Made once.

    White space before the colon is obsolete (RFC 5322 §4.5.8), and occurs.

    @ivar begins: matches a field; C{later} finds one that isn't the first.
    """

    def __init__(self, *names: bytes) -> None:
        self._names = names
        either = b"|".join(map(re.escape, names))
        # Spelt out: with IGNORECASE the search would take ten times as long.
        spelt = b"|".join(map(_anyCase, names))
        self.begins = re.compile(rb"(%b)[ \t]*:" % either, re.IGNORECASE)
        self.later = re.compile(rb"\n(?:%b)[ \t]*:" % spelt)
        self._beginning = re.compile(rb"(?:%b)[ \t]*\Z" % either, re.IGNORECASE)

    def mayBecomeOne(self, line: bytes) -> bool:
        """
        @return: whether a line that isn't whole may yet become such a field.
        """
        if len(line) > _LONGEST:
            return False
        lower = line.lower()
        return any(name.startswith(lower) for name in self._names) or bool(
            self._beginning.match(line)
        )


def _anyCase(name: bytes) -> bytes:
    letters = (name[at : at + 1] for at in range(len(name)))
    return b"".join(
        b"[%b%b]" % (each.upper(), each) if each.isalpha() else re.escape(each) for each in letters
    )


class HeaderFilter:
    """
    One message's. Subclass it: it does nothing by itself.

    @cvar adds: whether L{end} gives anything.
    """

    adds = False

    def __init__(self, names: FieldNames) -> None:
        """
        @param names: of the fields that L{keep} is asked about.
        """
        self._names = names
        self._inHeader = True
        # Within a line of which it is known whether it is kept.
        self._inLine = False
        # That line, or the last whole one, belongs to a field that is left out.
        self._leaving = False
        # What was kept so far ends within a line.
        self._open = False
        self._held = b""

    def keep(self, name: bytes) -> bool:
        """
        A field begins.

        @param name: one of the names, in lower case.
        @return: whether it stays.
        """
        return True

    def end(self) -> bytes:
        """
        The header is over.

        @return: lines to put at its end, each ended by CRLF; may be empty.
        """
        return b""

    def feed(self, data: bytes) -> bytes:
        """
        @return: what becomes of the next octets; may be empty.
        """
        if not self._inHeader or not data:
            return data
        data = self._held + data
        self._held = b""
        if self.adds or self._inLine or self._leaving or self._names.begins.match(data):
            return b"".join(self._lines(data))
        end = data.find(b"\n\r\n")
        whole = (end if end >= 0 else data.rfind(b"\n")) + 1
        if self._names.later.search(data, 0, whole):
            return b"".join(self._lines(data))
        if end >= 0:
            # Nearly all messages: their header is whole in here, and has no such field.
            self._inHeader = False
            return data
        if data.startswith((b"\r\n", b"\n")) or data.find(b"\n\n", 0, whole) >= 0:
            return b"".join(self._lines(data))
        # Whole lines of a header that goes on; the last, unfinished one is looked at by itself.
        return data[:whole] + b"".join(self._lines(data[whole:]))

    def _lines(self, data: bytes) -> list[bytes]:
        kept: list[bytes] = []
        at = 0
        while at < len(data):
            end = data.find(b"\n", at) + 1
            line = data[at : end or len(data)]
            if not self._inLine:
                if not end and (line == b"\r" or self._names.mayBecomeOne(line)):
                    self._held = line
                    break
                if line in (b"\r\n", b"\n"):
                    self._inHeader = False
                    kept += (self.end(), data[at:])
                    break
                if line[0] not in b" \t":
                    match = self._names.begins.match(line)
                    self._leaving = match is not None and not self.keep(match.group(1).lower())
            if not self._leaving:
                kept.append(line)
                self._open = not end
            self._inLine = not end
            at += len(line)
        return kept

    def finish(self) -> bytes:
        """
        @return: what is left when all was fed.
        """
        held, self._held = self._held, b""
        if not self._inHeader:
            return held
        # There is no body.
        self._inHeader = False
        added = self.end()
        if added and (held or self._open):
            added = b"\r\n" + added
        return held + added
