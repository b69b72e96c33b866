# -*- test-case-name: tests.imap.test_fuzzy -*-
"""
SEARCH=FUZZY (RFC 6203): texts that are nearly what is searched for.

A text matches if each word of what is searched for is somewhere in it, or a word that differs in
few letters: one that was changed, left out or put in, for words of four letters on, two for words
of eight. The text as it is scores 100, and each letter that differs takes from that. Flags, dates,
sizes and numbers are matched as ever.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.imap.extension import Extension, SearchReturn
from twisted_mailstack.imap.results import Results
from twisted_mailstack.imap.search import (
    And,
    Context,
    InField,
    InHeader,
    InText,
    Node,
    Or,
    Parser,
)
from twisted_mailstack.imap.sort import RELEVANCY
from twisted_mailstack.model.header import Header, decodeText
from twisted_mailstack.model.mime import Part
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.model.text import fold

#: Words of a search that may differ; longer searches are for the text as it is.
MAX_WORDS = 10
#: Letters of a word that may differ.
MAX_WORD = 40
#: Places of one text at which a word is looked for.
MAX_PLACES = 200

_WORD = re.compile(r"\w+")


class Word:
    """
    A word, and what is nearly it.

    @ivar allowed: letters that may differ.
    @ivar pieces: of which each word that is nearly it has one, as it is.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        length = len(text)
        self.allowed = 0 if length < 4 or length > MAX_WORD else 1 if length < 8 else 2
        count = self.allowed + 1
        cuts = [length * number // count for number in range(count + 1)]
        self.pieces = [text[cuts[n] : cuts[n + 1]] for n in range(count)]
        # Where in the word each of them begins.
        self._begins = cuts[:-1]

    def score(self, text: str) -> int:
        """
        @param text: folded.
        @return: how much of the word the text has: 100 as it is, 0 not at all.
        """
        if self.text in text:
            return 100
        if not self.allowed:
            return 0
        best = self.allowed + 1
        places = 0
        seen: set[str] = set()
        for piece, begin in zip(self.pieces, self._begins, strict=True):
            at = text.find(piece)
            # As it is it would have been found: nothing is nearer than one letter.
            while at >= 0 and places < MAX_PLACES and best > 1:
                start, end = _wordAround(text, at, at + len(piece))
                word = text[start:end]
                if (
                    word not in seen
                    and abs(len(word) - len(self.text)) <= self.allowed
                    and abs(at - start - begin) <= self.allowed
                ):
                    places += 1
                    seen.add(word)
                    best = min(best, _distance(self.text, word))
                at = text.find(piece, at + 1)
        return round(100 * (1 - best / (self.allowed + 1))) if best <= self.allowed else 0


def _wordAround(text: str, start: int, end: int) -> tuple[int, int]:
    # One that is much longer is another word, wherever it ends.
    least, most = max(0, start - MAX_WORD), min(len(text), end + MAX_WORD)
    while start > least and (text[start - 1].isalnum() or text[start - 1] == "_"):
        start -= 1
    while end < most and (text[end].isalnum() or text[end] == "_"):
        end += 1
    return start, end


def _distance(one: str, other: str) -> int:
    """
    @return: letters to be changed, left out or put in.
    """
    above = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        line = [row]
        for column, another in enumerate(other, 1):
            line.append(
                min(
                    above[column] + 1,
                    line[-1] + 1,
                    above[column - 1] + (letter != another),
                )
            )
        above = line
    return above[-1]


class Pattern:
    """
    What is searched for.
    """

    def __init__(self, text: str) -> None:
        """
        @param text: folded.
        """
        self.text = text
        found = _WORD.findall(text)
        self.words = [Word(each) for each in found] if len(found) <= MAX_WORDS else []

    def score(self, text: str) -> int:
        """
        @return: how near the text is: 1 to 100, 0 for not at all.
        """
        text = fold(text)
        if self.text in text:
            return 100
        if not self.words:
            return 0
        total = 0
        for word in self.words:
            score = word.score(text)
            if not score:
                return 0
            total += score
        # Its words alone aren't the text as it is.
        return max(1, min(99, total // len(self.words)))

    async def possible(self, context: Context, inHeader: bool, inBody: bool) -> NumberSet | None:
        """
        @return: as of L{Node.possible}: by the word whose pieces are longest.
        """
        words = [word for word in self.words if min(map(len, word.pieces)) >= 3]
        if not words or context.index is None:
            return None
        ranges: list[tuple[int, int]] = []
        for piece in max(words, key=lambda word: len(word.text)).pieces:
            found: NumberSet | None = await context.index.candidates([piece], inHeader, inBody)
            if found is None:
                return None
            ranges += found.ranges
        return NumberSet(ranges)


def _note(context: Context, found: Sequence[int], scores: Sequence[int]) -> None:
    # Of several texts the one that is the least near counts.
    for at, score in zip(found, scores, strict=True):
        context.scores[at] = min(score, context.scores.get(at, 100))


class FuzzyText(InText):
    """As L{InText}, nearly."""

    def __init__(self, text: str, withHeader: bool) -> None:
        super().__init__(text, withHeader)
        self._pattern = Pattern(self.text)
        self._best = 0
        self._scores: list[int] = []

    async def possible(self, context: Context) -> NumberSet | None:
        """See L{Node}."""
        if self not in context.possible:
            context.possible[self] = await self._pattern.possible(context, self.withHeader, True)
        return context.possible[self]

    async def narrow(self, context: Context, candidates: list[int]) -> list[int]:
        """See L{Node}."""
        self._scores = []
        found = await super().narrow(context, candidates)
        _note(context, found, self._scores)
        return found

    def _in(self, text: str) -> bool:
        self._best = max(self._best, self._pattern.score(text))
        return self._best == 100

    def _inSmall(self, data: bytes, root: Part) -> bool:
        self._best = 0
        super()._inSmall(data, root)
        return self._matched()

    async def _inLarge(self, context: Context, uid: int) -> bool:
        self._best = 0
        await super()._inLarge(context, uid)
        return self._matched()

    def _matched(self) -> bool:
        if self._best:
            self._scores.append(self._best)
        return self._best > 0


class FuzzyField(InField):
    """As L{InField}, nearly."""

    def __init__(self, name: bytes, text: str) -> None:
        super().__init__(name, text)
        self._pattern = Pattern(self.text)

    async def possible(self, context: Context) -> NumberSet | None:
        """See L{Node}."""
        if self not in context.possible:
            context.possible[self] = await self._pattern.possible(context, True, False)
        return context.possible[self]

    async def narrow(self, context: Context, candidates: list[int]) -> list[int]:
        """See L{Node}."""
        scores: list[int] = []

        def test(header: Header) -> bool:
            values = map(decodeText, header.getAll(self.name))
            best = max(map(self._pattern.score, values), default=0)
            if best:
                scores.append(best)
            return best > 0

        found = await InHeader(test).narrow(context, await self.among(context, candidates))
        _note(context, found, scores)
        return found


class Fuzzy(Node):
    """What is to be matched nearly."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.cost = node.cost

    async def narrow(self, context: Context, candidates: list[int]) -> list[int]:
        """See L{Node}."""
        found = await self.node.narrow(context, candidates)
        for at in found:
            context.scores.setdefault(at, 100)
        return found

    async def possible(self, context: Context) -> NumberSet | None:
        """See L{Node}."""
        return await self.node.possible(context)


def approximate(node: Node) -> Node:
    """
    @return: what matches nearly; for all but texts, and for what must not match, it is the node.
    """
    if isinstance(node, And):
        return And([approximate(each) for each in node.nodes])
    if isinstance(node, Or):
        return Or(approximate(node.one), approximate(node.other))
    if isinstance(node, InText) and node.text:
        return FuzzyText(node.text, node.withHeader)
    if isinstance(node, InField) and node.text:
        return FuzzyField(node.name, node.text)
    return node


def _fuzzy(parser: Parser) -> Node:
    #   search-key =/ "FUZZY" SP search-key
    parser.cursor.space()
    parser.asked.add(b"FUZZY")
    return Fuzzy(approximate(parser.key()))


def _requireFuzzy(results: Results) -> None:
    # RFC 6203 §4: "MUST NOT be used unless a FUZZY search key is also given".
    if b"FUZZY" not in results.query.asked:
        raise SyntaxProblem("RELEVANCY is for FUZZY searches")


def _relevancy(results: Results, value: Any) -> bytes:
    #   score-list = "(" [score *(SP score)] ")": of the messages that are listed, in their order
    known = results.session.registry.searchReturns
    listed = results.found
    for name, given in (results.returns or {}).items():
        messages = known[name].messages
        if name in (b"ALL", b"PARTIAL") and messages is not None:
            listed = messages(results, given)
            break
    scores = results.context.scores
    return b"(%b)" % b" ".join([b"%d" % scores.get(at, 1) for at in listed])


EXTENSION = Extension(
    b"SEARCH=FUZZY",
    6203,
    searchKeys={b"FUZZY": _fuzzy},
    searchReturns={b"RELEVANCY": SearchReturn(_relevancy, needsAll=True, check=_requireFuzzy)},
    sortKeys={b"RELEVANCY": RELEVANCY},
)
