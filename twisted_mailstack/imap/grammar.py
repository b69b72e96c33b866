# -*- test-case-name: tests.imap.test_grammar -*-
"""
Reading a command (RFC 9051 §9, RFC 3501 §9): one method an ABNF element, one regex a method.

A L{Cursor} walks over a command that was cut from the stream whole (C{imap.framing}): literals
stand in it as they came, C{{n}CRLF} and the octets, or as a reference to a content that was
streamed to the store. Nothing here reads from a connection. Every method raises
L{SyntaxProblem<twisted_mailstack.errors.SyntaxProblem>} where its element isn't.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.interfaces import IContentWriter
from twisted_mailstack.model.dates import parseDate, parseDateTime
from twisted_mailstack.model.flags import Flags, canonicalFlag, internFlags
from twisted_mailstack.model.mailboxname import decodeName, normaliseName
from twisted_mailstack.model.sequence import LAST_RESULT, SequenceSet

#   tag = 1*<any ASTRING-CHAR except "+">
TAG = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\+]+(?= |\Z)")
#   ATOM-CHAR = <any CHAR except atom-specials>
_ATOM = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]]+")
#   ASTRING-CHAR = ATOM-CHAR / resp-specials
_ASTRING = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\]+")
#   list-char = ATOM-CHAR / list-wildcards / resp-specials
#   Deviation: octets outside ASCII too, as clients send mailbox names in UTF-8.
_LIST = re.compile(rb"[^\x00-\x20\x7f(){\"\\]+")
#   quoted = DQUOTE *QUOTED-CHAR DQUOTE, with RFC 9051's UTF-8
_QUOTED = re.compile(rb'"((?:[^\x00\r\n"\\]|\\["\\])*)"')
_ESCAPED = re.compile(rb"\\(.)")
_LITERAL = re.compile(rb"\{(\d+)\+?\}\r\n")
# Only imap.framing writes this: a client's line has no LF.
_SINK = re.compile(rb"\{\$(\d+)\}\n")
_NUMBER = re.compile(rb"\d{1,20}")
_SET = re.compile(rb"[\d*:,]+")
_FLAG = re.compile(rb"\\?[^\x00-\x20\x7f-\xff(){%*\"\\\]]+")
_DATE_TIME = re.compile(rb'"([^"]{20,30})"')


#: mod-sequence-value: unsigned, 63 bits (RFC 7162 §7).
MAX_MODSEQ = 2**63 - 1


def _requireUTF8(value: bytes) -> None:
    # "the server MUST reject, with a "BAD" response, any octet sequences with the high bit set that
    # fail to comply with the formal syntax requirements of UTF-8" (RFC 6855 §3).
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        raise SyntaxProblem("A quoted string has UTF-8 only") from None


class Cursor:
    """
    A position in a command.

    @ivar utf8: whether the session speaks UTF-8 in mailbox names.
    """

    def __init__(self, text: bytes, sinks: Sequence[IContentWriter] = (), at: int = 0) -> None:
        self.text = text
        self.at = at
        self.utf8 = False
        self._sinks = sinks
        self._sinksTaken = 0

    def _match(self, pattern: re.Pattern[bytes], what: str) -> re.Match[bytes]:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise SyntaxProblem(f"{what} expected")
        self.at = match.end()
        return match

    def peek(self) -> bytes:
        """
        @return: the next octet, empty at the end.
        """
        return self.text[self.at : self.at + 1]

    @property
    def atEnd(self) -> bool:
        """Whether all is read."""
        return self.at >= len(self.text)

    def rest(self) -> bytes:
        """
        @return: all that is left; it is read then.
        """
        at, self.at = self.at, len(self.text)
        return self.text[at:]

    def end(self) -> None:
        """
        @raise SyntaxProblem: if anything is left.
        """
        if self.at < len(self.text):
            raise SyntaxProblem("Unexpected text at the end of the command")

    def skip(self, octets: bytes) -> bool:
        """
        @return: whether these octets came next; they are read then.
        """
        if self.text.startswith(octets, self.at):
            self.at += len(octets)
            return True
        return False

    def skipWord(self, word: bytes) -> bool:
        """
        @return: whether this word, in any case and as a whole, came next; it is read then.
        """
        end = self.at + len(word)
        if self.text[self.at : end].upper() == word and not _ATOM.match(self.text, end):
            self.at = end
            return True
        return False

    def expect(self, octets: bytes) -> None:
        """
        @raise SyntaxProblem: if these octets don't come next.
        """
        if not self.skip(octets):
            raise SyntaxProblem(f"{octets.decode('latin-1')} expected")

    def space(self) -> None:
        """SP"""
        if not self.skip(b" "):
            raise SyntaxProblem("Space expected")

    def atom(self) -> bytes:
        """atom"""
        return self._match(_ATOM, "Atom").group()

    def string(self) -> bytes:
        """
        string = quoted / literal

        "The ASCII NUL character, %x00, MUST NOT be used at any time" (RFC 3501 §9).
        """
        following = self.peek()
        if following == b'"':
            value = self._match(_QUOTED, "Quoted string").group(1)
            if self.utf8 and not value.isascii():
                _requireUTF8(value)
            return _ESCAPED.sub(rb"\1", value) if b"\\" in value else value
        if following == b"{":
            size = int(self._match(_LITERAL, "Literal").group(1))
            value = self.text[self.at : self.at + size]
            self.at += size
            if b"\0" in value:
                raise SyntaxProblem("NUL is not allowed")
            return value
        raise SyntaxProblem("String expected")

    def astring(self) -> bytes:
        """astring = 1*ASTRING-CHAR / string"""
        match = _ASTRING.match(self.text, self.at)
        if match is None:
            return self.string()
        self.at = match.end()
        return match.group()

    def literal8(self) -> bytes:
        """
        literal8 = "~{" number64 ["+"] "}" CRLF *OCTET

        It may have NULs (RFC 3516 §4.4).
        """
        self.expect(b"~")
        size = int(self._match(_LITERAL, "Literal").group(1))
        self.at += size
        return self.text[self.at - size : self.at]

    def nstring(self) -> bytes | None:
        """nstring = string / nil"""
        if self.skipWord(b"NIL"):
            return None
        return self.string()

    def number(self) -> int:
        """number: unsigned, 32 bits (64 where an extension says so; the larger is accepted)"""
        return int(self._match(_NUMBER, "Number").group())

    def modSeq(self) -> int:
        """
        mod-sequence-valzer = "0" / mod-sequence-value: 63 bits (RFC 7162 §7)
        """
        value = self.number()
        if value > MAX_MODSEQ:
            raise SyntaxProblem("Mod-sequence out of range")
        return value

    def sequenceSet(self) -> SequenceSet:
        """sequence-set, C{$} included (RFC 5182 §3)"""
        if self.skip(b"$"):
            return LAST_RESULT
        return SequenceSet.parse(self._match(_SET, "Sequence set").group())

    def mailbox(self) -> str:
        """mailbox, decoded and normalised"""
        return normaliseName(decodeName(self.astring(), self.utf8))

    def mailboxGiven(self) -> tuple[str, str]:
        """mailbox, as L{mailbox} gives it and as the client wrote it"""
        given = decodeName(self.astring(), self.utf8)
        return normaliseName(given), given

    def listMailbox(self) -> str:
        """list-mailbox, decoded"""
        return decodeName(self.pattern(), self.utf8)

    def pattern(self) -> bytes:
        """list-mailbox = 1*list-char / string"""
        match = _LIST.match(self.text, self.at)
        if match is None:
            return self.string()
        self.at = match.end()
        return match.group()

    def flag(self) -> str:
        """flag, canonical"""
        text = self._match(_FLAG, "Flag").group().decode("ascii")
        flag = canonicalFlag(text)
        if flag is None:
            raise SyntaxProblem(f"{text} can't be set")
        return flag

    def flagList(self) -> Flags:
        """flag-list = "(" [flag *(SP flag)] ")" """
        flags: list[str] = []
        self.expect(b"(")
        while not self.skip(b")"):
            if flags:
                self.space()
            flags.append(self.flag())
        return internFlags(flags)

    def storeFlags(self) -> Flags:
        """flag-list / (flag *(SP flag))"""
        if self.peek() == b"(":
            return self.flagList()
        flags = [self.flag()]
        while self.skip(b" "):
            flags.append(self.flag())
        return internFlags(flags)

    def dateTime(self) -> tuple[int, int]:
        """date-time: seconds and zone"""
        return parseDateTime(self._match(_DATE_TIME, "Date-time").group(1))

    def date(self) -> int:
        """date = date-text / DQUOTE date-text DQUOTE: days since 1970"""
        quoted = self.skip(b'"')
        value = self.atom()
        if quoted:
            self.expect(b'"')
        return parseDate(value)

    def content(self) -> IContentWriter:
        """A literal that was streamed to the store."""
        number = int(self._match(_SINK, "Literal").group(1))
        if number != self._sinksTaken or number >= len(self._sinks):
            raise SyntaxProblem("Literal expected")
        self._sinksTaken += 1
        return self._sinks[number]

    @property
    def contents(self) -> Sequence[IContentWriter]:
        """Where the command's streamed literals went, so far."""
        return self._sinks

    @property
    def contentsTaken(self) -> int:
        """How many of them are read."""
        return self._sinksTaken

    def goOn(self, at: int, contentsTaken: int) -> None:
        """
        Leave out what was read before, of a shorter piece of this command.
        """
        self.at = at
        self._sinksTaken = contentsTaken
