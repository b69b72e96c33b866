# -*- test-case-name: tests.model.test_searchtext -*-
"""
The texts of a message that substring searches look at (RFC 9051 §6.4.4), for whoever compares them
and whoever indexes them: who indexes what is given here finds all that is compared here.
"""

from __future__ import annotations

from collections.abc import Iterator
from unicodedata import combining, normalize

from twisted_mailstack.model.header import (
    MAX_VALUE,
    Header,
    decodeParameters,
    decodeText,
    unfold,
)
from twisted_mailstack.model.mime import Part
from twisted_mailstack.model.text import fold

#: Octets of one header that are searched, and of one text of a large message.
MAX_HEADER = 1024 * 1024
MAX_TEXT = 16 * 1024 * 1024
#: Characters of a large text that are folded at a time.
PIECE = 256 * 1024
#: Characters among which a place is looked for where a text can be cut.
MARKS = 64


def headerTexts(data: bytes, part: Part) -> Iterator[str]:
    """
    @param data: the header of the part.
    @return: each field on one line, words decoded, its name with it; and the parameters that are
        encoded in a way of their own (RFC 2231), as names of attachments may be.
    """
    for name, value in Header(data).fields():
        text = decodeText(value)
        yield f"{name.decode('latin-1')}: {text}"
        if len(value) > MAX_VALUE:
            # A key that names the field sees no more of it than this.
            yield decodeText(unfold(value[:MAX_VALUE]))
    parameters = [*part.parameters, *(part.disposition[1] if part.disposition else ())]
    encoded = [each for each in parameters if b"*" in each[0]]
    if encoded:
        yield from decodeParameters(encoded).values()


def _isStart(character: str) -> bool:
    return character.isascii() or not (
        combining(character)
        or combining(normalize("NFKD", character)[0])
        or combining(fold(character)[0])
    )


def cut(text: str, at: int) -> int:
    """
    @return: the first place from there on where the text can be cut so that each half is folded as
        it is in the whole: not before a mark that belongs to the letter in front of it. C{at} if
        there is none nearby.
    """
    for place in range(at, min(at + MARKS, len(text))):
        if _isStart(text[place]):
            return place
    return at if at + MARKS < len(text) else len(text)


def pieces(text: str, overlap: int = 0) -> Iterator[str]:
    """
    @param overlap: characters of the next one that each piece has, at least.
    @return: a long text in pieces; a short one whole.
    """
    start = 0
    while True:
        end = cut(text, start + PIECE)
        yield text[start : cut(text, end + overlap) if overlap else end]
        if end >= len(text):
            return
        start = end


def isWhole(text: str) -> bool:
    """
    @return: whether its pieces, folded, are what the text is, folded.
    """
    start = 0
    while start + PIECE < len(text):
        end = cut(text, start + PIECE)
        if end < len(text) and end == start + PIECE and not _isStart(text[end]):
            return False
        start = end
    return True
