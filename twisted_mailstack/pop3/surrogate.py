# -*- test-case-name: tests.pop3.test_surrogate -*-
"""
Messages with headers in UTF-8 for clients that haven't said UTF8 (RFC 6856 §2.1): surrogates whose
headers, those of their parts too, are ASCII (L{twisted_mailstack.model.surrogate}). Bodies stay
what they are. Only headers are held in memory, so a surrogate is read like the message itself.
"""

from __future__ import annotations

from bisect import bisect_right

from twisted_mailstack.errors import MailError, StoreDamaged
from twisted_mailstack.interfaces import IMessageContent
from twisted_mailstack.model.mime import MAX_HEADER
from twisted_mailstack.model.surrogate import asciiHeader

#: Octets that are read at a time.
WINDOW = 128 * 1024
#: Octets of other headers that are held for one message.
MAX_HEADERS = 1024 * 1024


class Text:
    """
    A message as it is sent.

    @ivar size: octets.
    @ivar bodyOffset: where its body begins.
    """

    def __init__(
        self, content: IMessageContent, first: bytes, headers: list[tuple[int, int, bytes]]
    ) -> None:
        """
        @param first: the message's first octets, which are read already.
        @param headers: ascending: octets of the message, and what stands in their place.
        """
        self._content = content
        self._first = first
        # Where each piece begins in what is sent, and there in the message, or its own octets.
        self._starts: list[int] = []
        self._pieces: list[int | bytes] = []
        at = size = 0
        for start, end, text in headers:
            if start > at:
                self._starts.append(size)
                self._pieces.append(at)
                size += start - at
            self._starts.append(size)
            self._pieces.append(text)
            size += len(text)
            at = end
        if at < content.size or not self._pieces:
            self._starts.append(size)
            self._pieces.append(at)
            size += content.size - at
        self.size = size
        root = content.structure.bodyOffset
        self.bodyOffset = root + sum(
            len(text) - (end - start) for start, end, text in headers if end <= root
        )

    async def read(self, offset: int, end: int) -> bytes:
        """
        @return: octets from an offset on, which is before C{end}; at least one, L{WINDOW} at most.
        @raise StoreDamaged: if they can't be had.
        """
        number = bisect_right(self._starts, offset) - 1
        if number + 1 < len(self._starts):
            end = min(end, self._starts[number + 1])
        start, piece = offset - self._starts[number], self._pieces[number]
        length = min(WINDOW, end - offset)
        if isinstance(piece, bytes):
            return piece[start : start + length]
        start += piece
        data = self._first[start : start + length] or await self._content.read(start, length)
        if not data:
            raise StoreDamaged()
        return data


async def textOf(content: IMessageContent, utf8: bool, onlyHeader: bool = False) -> Text:
    """
    @param utf8: the client takes UTF-8.
    @param onlyHeader: of no interest is what follows the message's header.
    @return: what it is sent.
    @raise MailError: (C{pop3Code UTF8}) if there is too much to be changed.
    """
    size = content.structure.bodyOffset if onlyHeader else content.size
    first = await content.read(0, min(WINDOW, size)) if size else b""
    if utf8 or (len(first) == size and first.isascii()):
        return Text(content, first, [])
    headers = []
    held = 0
    for part in content.structure.walk():
        start, end = part.headerOffset, part.bodyOffset
        if start == end or start >= size:
            continue
        if end - start > MAX_HEADER:
            # It is looked at in pieces, and if it has any, refused.
            for at in range(start, end, WINDOW):
                if not (await content.read(at, min(WINDOW, end - at))).isascii():
                    raise _tooMuch()
            continue
        header = first[start:end] if end <= len(first) else await content.read(start, end - start)
        text = asciiHeader(header)
        if text != header:
            headers.append((start, end, text))
            held += len(text)
            if held > MAX_HEADERS:
                raise _tooMuch()
    return Text(content, first, sorted(headers))


def _tooMuch() -> MailError:
    return MailError("Say UTF8 before logging in to see this message", pop3Code="UTF8")
