# -*- test-case-name: tests.delivery.test_returnpath -*-
"""
Takes the Return-Path fields that a message came with out of its header, while it streams by.

RFC 5321 §4.4: a delivered message SHOULD have exactly one, the one that final delivery puts in
front; that server MAY remove those that were there before. Who answers mail or makes notifications
looks at that field, so one that a stranger wrote has no place in a mailbox.

Nothing else is touched, nothing behind the header is looked at, and what is held back is less than
a line, however the message was cut into pieces.
"""

from __future__ import annotations

import re

_FIELD = re.compile(rb"return-path[ \t]*:", re.IGNORECASE)
#   A line that may yet become one; white space before the colon is obsolete (RFC 5322 §4.5).
_BEGINNING = re.compile(rb"return-path[ \t]*\Z", re.IGNORECASE)
#   Spelt out: with IGNORECASE the search would take ten times as long.
_LATER = re.compile(rb"\n[Rr][Ee][Tt][Uu][Rr][Nn]-[Pp][Aa][Tt][Hh][ \t]*:")
_NAME = b"return-path"
#: RFC 5322 §2.1.1: what is longer is no beginning of a field of ours.
_LONGEST = 998


class ReturnPathRemover:
    """
    One message's.
    """

    def __init__(self) -> None:
        self._inHeader = True
        # Within a line of which it is known whether it is kept.
        self._inLine = False
        # That line, or the last whole one, belongs to a field that is removed.
        self._removing = False
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """
        @return: the next octets of the message as it is to be stored.
        """
        if not self._inHeader:
            return data
        data = self._held + data
        self._held = b""
        if self._inLine or self._removing or _FIELD.match(data):
            return b"".join(self._lines(data))
        end = data.find(b"\n\r\n")
        whole = (end if end >= 0 else data.rfind(b"\n")) + 1
        if _LATER.search(data, 0, whole):
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
        kept = []
        at = 0
        while at < len(data):
            end = data.find(b"\n", at) + 1
            line = data[at : end or len(data)]
            if not self._inLine:
                if not end and self._undecided(line):
                    self._held = line
                    break
                if line in (b"\r\n", b"\n"):
                    self._inHeader = False
                    kept.append(data[at:])
                    break
                if line[0] not in b" \t":
                    self._removing = _FIELD.match(line) is not None
            if not self._removing:
                kept.append(line)
            self._inLine = not end
            at += len(line)
        return kept

    @staticmethod
    def _undecided(line: bytes) -> bool:
        return line == b"\r" or (
            len(line) <= _LONGEST
            and (_NAME.startswith(line.lower()) or _BEGINNING.match(line) is not None)
        )

    def finish(self) -> bytes:
        """
        @return: what was held back to the end.
        """
        held, self._held = self._held, b""
        return held
