"""
A client that believes what it is told, for tests: it reads responses, keeps the mailbox that they
describe, and fails when they break a rule that the RFCs give to the server.

It is written from the grammar of RFC 3501 §9, and shares no code with the server.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from twisted_mailstack.model.sequence import NumberSet

_LITERAL = re.compile(rb"\{(\d+)\}\r\n\Z")
_KEY = re.compile(rb"([A-Za-z0-9.]+)(\[)?")
_NUMBERED = re.compile(rb"\* (\d+) (EXISTS|RECENT|EXPUNGE|FETCH)(?: (.*))?\Z", re.DOTALL)

#: During which no EXPUNGE may come (RFC 3501 §7.4.1).
NO_EXPUNGE = (b"FETCH", b"STORE", b"SEARCH")


def splitResponses(data: bytes) -> list[bytes]:
    """
    @return: each response without its final CRLF, literals where they stand.
    """
    responses = []
    at = start = 0
    while at < len(data):
        end = data.index(b"\r\n", at) + 2
        match = _LITERAL.search(data, at, end)
        if match is not None:
            at = end + int(match.group(1))
            if at > len(data):
                raise AssertionError(f"a literal is cut: {data[start:][:200]!r}")
            continue
        responses.append(data[start : end - 2])
        at = start = end
    if start != len(data):
        raise AssertionError(f"a response has no end: {data[start:]!r}")
    return responses


class _Reader:
    def __init__(self, text: bytes) -> None:
        self.text = text
        self.at = 0

    def take(self, octets: bytes) -> None:
        if not self.text.startswith(octets, self.at):
            raise AssertionError(f"{octets!r} expected in {self.text!r} at {self.at}")
        self.at += len(octets)

    def key(self) -> bytes:
        match = _KEY.match(self.text, self.at)
        if match is None:
            raise AssertionError(f"an item expected in {self.text!r} at {self.at}")
        start, self.at = self.at, match.end()
        if match.group(2):
            self.section()
        return self.text[start : self.at]

    def section(self) -> None:
        while self.text[self.at : self.at + 1] != b"]":
            if self.text[self.at : self.at + 1] in b'("{':
                self.value()
            else:
                self.at += 1
        self.at += 1
        if self.text[self.at : self.at + 1] == b"<":
            self.at = self.text.index(b">", self.at) + 1

    def value(self) -> Any:
        text = self.text
        first = text[self.at : self.at + 1]
        if first == b"(":
            return self.list()
        if first == b'"':
            match = re.compile(rb'"((?:[^"\\\r\n]|\\["\\])*)"').match(text, self.at)
            assert match is not None, text[self.at :]
            self.at = match.end()
            return re.sub(rb"\\(.)", rb"\1", match.group(1))
        if first == b"{":
            match = re.compile(rb"\{(\d+)\}\r\n").match(text, self.at)
            assert match is not None, text[self.at :]
            self.at = match.end() + int(match.group(1))
            return text[match.end() : self.at]
        match = re.compile(rb"[^\s()\"{]+").match(text, self.at)
        assert match is not None, text[self.at :]
        self.at = match.end()
        word = match.group()
        return None if word == b"NIL" else int(word) if word.isdigit() else word.decode("ascii")

    def list(self) -> list[Any]:
        self.take(b"(")
        values: list[Any] = []
        while self.text[self.at : self.at + 1] != b")":
            if values and self.text[self.at : self.at + 1] == b" ":
                self.at += 1
            values.append(self.value())
        self.at += 1
        return values


def parseFetch(response: bytes) -> tuple[int, dict[str, Any]]:
    """
    @param response: C{* n FETCH (...)}.
    @return: the number, and the values by their names; strings are bytes, atoms str.
    """
    match = _NUMBERED.match(response)
    if match is None or match.group(2) != b"FETCH":
        raise AssertionError(f"no FETCH response: {response!r}")
    reader = _Reader(match.group(3))
    reader.take(b"(")
    items: dict[str, Any] = {}
    while True:
        key = reader.key().decode("latin-1")
        reader.take(b" ")
        if key in items:
            raise AssertionError(f"{key} twice in {response!r}")
        items[key] = reader.value()
        if reader.text[reader.at : reader.at + 1] == b")":
            break
        reader.take(b" ")
    reader.take(b")")
    if reader.at != len(reader.text):
        raise AssertionError(f"text behind the response: {response!r}")
    return int(match.group(1)), items


@dataclass
class Known:
    """
    What a client knows of a message; C{None} for what it wasn't told.
    """

    uid: int | None = None
    flags: frozenset[str] | None = None


@dataclass
class MailboxModel:
    """
    A client's idea of its selected mailbox.

    @ivar messages: by sequence number, from 0.
    @ivar recent: as last told; C{uidValidity} likewise.
    @ivar found: the numbers of the last SEARCH.
    @ivar responses: all of the last L{read}.
    @ivar goodbye: whether BYE was said.
    @ivar qresync: whether it enabled QRESYNC (RFC 7162). It knows the UID of each message of which
        it knows the flags.
    @ivar gone: UIDs that VANISHED named, with EARLIER or without.
    @ivar highestModSeq: up to where it knows the mailbox, reckoned as RFC 7162 §6 says.
    """

    messages: list[Known] = field(default_factory=list)
    recent: int = 0
    uidValidity: int = 0
    found: list[int] = field(default_factory=list)
    responses: list[bytes] = field(default_factory=list)
    goodbye: bool = False
    qresync: bool = False
    highestModSeq: int = 0
    gone: set[int] = field(default_factory=set)
    _told: int = 0
    _code: int | None = None

    def reset(self) -> None:
        """
        Another mailbox is being selected.
        """
        self.messages = []
        self.recent = 0
        self.highestModSeq = 0
        self.gone = set()

    def read(
        self, data: bytes, command: bytes = b"", tag: bytes | None = None, pushed: bool = False
    ) -> bytes:
        """
        Take in what came while a command ran.

        @param command: its name (without UID's); empty: no EXPUNGE may come.
        @param tag: its tag; nothing may come behind the tagged response. Without one there must be
            none.
        @param pushed: after the tagged response something may come, but no EXPUNGE.
        @return: the tagged response without its tag.
        """
        self.responses = splitResponses(data)
        tagged = b""
        for response in self.responses:
            if tagged:
                if not pushed:
                    raise AssertionError(f"{response!r} came behind {tagged!r}")
                self._untagged(response, b"")
                continue
            if tag is not None and response.startswith(tag + b" "):
                tagged = response[len(tag) + 1 :]
                self._modSeqCode(tagged)
                code = self._code
                self.highestModSeq = max(self.highestModSeq, self._told) if code is None else code
                self._told, self._code = 0, None
            else:
                self._untagged(response, command)
        if tag is not None and not tagged and not self.goodbye:
            raise AssertionError(f"{command!r} got no tagged response: {data!r}")
        return tagged

    def _untagged(self, response: bytes, command: bytes) -> None:
        match = _NUMBERED.match(response)
        if match is None:
            if response.startswith(b"* SEARCH"):
                self.found = [int(each) for each in response.split()[2:]]
            elif response.startswith(b"* OK [UIDVALIDITY "):
                self.uidValidity = int(response[18:].partition(b"]")[0])
            elif response.startswith(b"* BYE "):
                self.goodbye = True
            elif response.startswith(b"* VANISHED "):
                self._vanished(response[11:], command)
            elif response.startswith(b"* OK [HIGHESTMODSEQ "):
                self._modSeqCode(response[2:])
            elif not response.startswith((b"* FLAGS (", b"* OK [", b"* STATUS ", b"+ idling")):
                raise AssertionError(f"unexpected response: {response!r}")
            return
        number, kind = int(match.group(1)), match.group(2)
        if kind == b"EXISTS":
            if number < len(self.messages):
                raise AssertionError(f"EXISTS shrank from {len(self.messages)} to {number}")
            self.messages += [Known() for _ in range(number - len(self.messages))]
        elif kind == b"RECENT":
            self.recent = number
        elif not 1 <= number <= len(self.messages):
            raise AssertionError(f"{response[:80]!r}, with {len(self.messages)} messages")
        elif kind == b"EXPUNGE":
            if not command or command in NO_EXPUNGE or self.qresync:
                raise AssertionError(f"EXPUNGE during {command or b'nothing'!r}")
            del self.messages[number - 1]
        else:
            self._fetched(number, parseFetch(response)[1], command)

    def _modSeqCode(self, response: bytes) -> None:
        match = re.match(rb"OK \[HIGHESTMODSEQ (\d+)\] ", response)
        if match is not None:
            self._code = int(match.group(1))

    def _vanished(self, text: bytes, command: bytes) -> None:
        earlier = text.startswith(b"(EARLIER) ")
        if not self.qresync or not command or command in NO_EXPUNGE:
            raise AssertionError(f"VANISHED during {command or b'nothing'!r}")
        for uid in NumberSet.parse(text.removeprefix(b"(EARLIER) ")):
            # A message whose UID isn't known lies between others, all as unknown as it is.
            known = [each.uid for each in self.messages]
            if uid in known:
                at = known.index(uid)
            else:
                at = max((n for n, each in enumerate(known, 1) if each and each < uid), default=0)
                if at == len(known) or known[at] is not None:
                    at = -1
            self.gone.add(uid)
            if earlier:
                if uid in known:
                    raise AssertionError(f"UID {uid} is there and in {text!r}")
            elif at < 0:
                raise AssertionError(f"UID {uid} vanished, which isn't there")
            else:
                del self.messages[at]

    def _fetched(self, number: int, items: dict[str, Any], command: bytes) -> None:
        known = self.messages[number - 1]
        if "MODSEQ" in items:
            self._told = max(self._told, items["MODSEQ"][0])
        if self.qresync and not command.endswith(b"FETCH") and not {"UID", "MODSEQ"} <= set(items):
            raise AssertionError(f"UID and MODSEQ are missing: {items!r}")
        if "UID" in items:
            uid = items["UID"]
            if known.uid not in (None, uid):
                raise AssertionError(f"message {number} had UID {known.uid}, now {uid}")
            known.uid = uid
            others = [each.uid for each in self.messages if each.uid is not None]
            if others != sorted(set(others)):
                raise AssertionError(f"UIDs don't ascend: {others}")
        if "FLAGS" in items:
            known.flags = frozenset(items["FLAGS"])

    def flagsByUID(self) -> dict[int | None, frozenset[str] | None]:
        """
        @return: what is known, without C{\\Recent}.
        """
        return {
            each.uid: None if each.flags is None else each.flags - {"\\Recent"}
            for each in self.messages
        }
