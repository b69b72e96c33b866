# -*- test-case-name: tests.model.test_message -*-
"""
What is found in a message once, when it arrives, so that nobody has to look again: ENVELOPE and
BODYSTRUCTURE as FETCH sends them (RFC 9051 §7.5.2), the offsets of its parts, a preview (RFC 8970)
and what threads and sorts it (RFC 5256).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from twisted_mailstack.model.dates import parseFieldDate, parseFieldDateZone
from twisted_mailstack.model.envelope import imapString, renderEnvelope
from twisted_mailstack.model.header import (
    Header,
    Parameters,
    decodeText,
    joinSections,
    parseMessageIds,
)
from twisted_mailstack.model.mime import Part, StructureScanner, packStructure
from twisted_mailstack.model.sorting import SortValues, sortValues, splitSubject
from twisted_mailstack.model.text import partText, textParts

__all__ = [
    "Summariser",
    "Summary",
    "baseSubject",
    "parseFieldDate",
    "parseFieldDateZone",
    "renderEnvelope",
    "renderStructures",
    "summarise",
]

#: Characters of a preview (RFC 8970 §3.1), and octets of a body that are looked at for it.
PREVIEW_CHARACTERS = 200
PREVIEW_OCTETS = 16 * 1024
#: References that are kept, the last ones: threads need no more.
MAX_REFERENCES = 100


class Summary(NamedTuple):
    """
    @ivar size: octets of the message.
    @ivar headerSize: of its header, blank line included.
    @ivar envelope: rendered; C{bodyStructure} (with extension data) and C{body} (without) likewise.
    @ivar structure: L{packStructure}'s form.
    @ivar preview: the beginning of its text, on one line.
    @ivar messageId: of the Message-ID field, brackets included; empty if there is none.
    @ivar inReplyTo: the ids in In-Reply-To; C{references} those in References.
    @ivar subject: decoded.
    @ivar baseSubject: without Re: and Fwd: (RFC 5256 §2.1), in upper case.
    @ivar sentDate: the Date field in seconds since 1970 UTC, C{None} if it has no valid one.
    @ivar sorting: what it is sorted and threaded by.
    """

    size: int
    headerSize: int
    envelope: bytes
    bodyStructure: bytes
    body: bytes
    structure: bytes
    preview: str
    messageId: bytes
    inReplyTo: tuple[bytes, ...]
    references: tuple[bytes, ...]
    subject: str
    baseSubject: str
    sentDate: int | None
    sorting: SortValues


class Summariser:
    """
    Makes a L{Summary} of a message that arrives in chunks, in bounded memory.
    """

    def __init__(self) -> None:
        self._scanner = StructureScanner()
        self._size = 0
        # The beginning of the message, for the preview.
        self._start: list[bytes] = []
        self._startSize = 0

    def feed(self, data: bytes) -> None:
        """
        The message's next octets.
        """
        if self._startSize < _START:
            self._start.append(data[: _START - self._startSize])
            self._startSize += len(self._start[-1])
        self._size += len(data)
        self._scanner.feed(data)

    def finish(self) -> Summary:
        """
        @return: what was found. Nothing may be fed after it.
        """
        root = self._scanner.finish()
        header = self._scanner.header or Header(b"")
        value = header.get(b"subject") or b""
        subject = decodeText(value)
        structure, body = renderStructures(root)
        messageIds = parseMessageIds(header.get(b"message-id") or b"")
        sorting = sortValues(header)
        return Summary(
            self._size,
            root.bodyOffset,
            root.envelope or b"NIL",
            structure,
            body,
            packStructure(root),
            _preview(b"".join(self._start), root),
            messageIds[0] if messageIds else b"",
            tuple(parseMessageIds(header.get(b"in-reply-to") or b"")[-MAX_REFERENCES:]),
            tuple(parseMessageIds(header.get(b"references") or b"")[-MAX_REFERENCES:]),
            subject,
            baseSubject(subject),
            sorting.sentDate,
            sorting,
        )


#: Octets of a message's beginning in which the preview's text is looked for.
_START = 64 * 1024


def summarise(data: bytes) -> Summary:
    """
    @return: the summary of a message in one piece.
    """
    summariser = Summariser()
    summariser.feed(data)
    return summariser.finish()


_UNSHOWN = re.compile(r"[\s\u0000-\u001f\u007f-\u009f\u200b-\u200d\u2060\ufeff]+")


def _preview(start: bytes, root: Part) -> str:
    # The first text of the message itself; plain before HTML where both are there.
    found: Part | None = None
    for part in textParts(root):
        if part.bodyOffset >= len(start):
            break
        if part.disposition is not None and part.disposition[0].lower() == b"attachment":
            continue
        if part.subtype.lower() == b"plain":
            found = part
            break
        found = found or part
    if found is None:
        return ""
    end = min(found.endOffset, found.bodyOffset + PREVIEW_OCTETS)
    data = start[found.bodyOffset : end]
    if found.bodyOffset + len(data) < found.endOffset:
        # Cut at a line's end, not within a character or an encoding.
        data = data[: data.rfind(b"\n") + 1] or data
    text = partText(data, found, plain=True)
    # Ordinary text fills a preview with little more than its length.
    line = _oneLine(text[: 2 * PREVIEW_CHARACTERS])
    if len(line) < PREVIEW_CHARACTERS:
        line = _oneLine(text[: 20 * PREVIEW_CHARACTERS])
    return line[:PREVIEW_CHARACTERS].rstrip()


def _oneLine(text: str) -> str:
    line = " ".join(text.split())
    return line if line.isprintable() else _UNSHOWN.sub(" ", line).strip()


# --- BODYSTRUCTURE -----------------------------------------------------------------------------


def renderStructures(root: Part) -> tuple[bytes, bytes]:
    """
    @return: BODYSTRUCTURE and BODY, with extension data and without, as FETCH shows them (RFC 9051
        §7.5.2 and §9, C{body}).
    """
    structure: list[bytes] = []
    body: list[bytes] = []
    _renderPart(root, structure, body)
    return b"".join(structure), b"".join(body)


def _renderPart(part: Part, structure: list[bytes], body: list[bytes]) -> None:
    # Into one list for all levels, or what is deep inside would be copied at each of them.
    if part.isMultipart:
        #   body-type-mpart = 1*body SP media-subtype [SP body-ext-mpart]
        structure.append(b"(")
        body.append(b"(")
        for child in part.children:
            _renderPart(child, structure, body)
        fields = b" " + imapString(part.subtype)
        extension = _renderParameters(part.parameters)
    else:
        #   body-fields = body-fld-param SP body-fld-id SP body-fld-desc SP body-fld-enc SP
        #                 body-fld-octets
        parameters = part.parameters
        if not parameters and part.isText and part.subtype.lower() == b"plain":
            # RFC 2045 §5.2: plain US-ASCII is what a part is that says nothing.
            parameters = [(b"charset", b"us-ascii")]
        fields = b"(%b %b %b %b %b %b %d" % (
            imapString(part.mediaType),
            imapString(part.subtype),
            _renderParameters(parameters),
            imapString(part.contentId),
            imapString(part.description),
            imapString(part.encoding),
            part.size,
        )
        if part.isText:
            fields += b" %d" % part.lines
        elif part.isMessage:
            #   body-type-msg = media-message SP body-fields SP envelope SP body SP body-fld-lines
            message = part.children[0]
            for pieces in (structure, body):
                pieces += (fields, b" ", message.envelope or b"NIL", b" ")
            _renderPart(message, structure, body)
            fields = b" %d" % part.lines
        extension = imapString(part.md5)
    body += (fields, b")")
    #   body-ext-1part = body-fld-md5 [SP body-fld-dsp [SP body-fld-lang [SP body-fld-loc]]]
    #   body-ext-mpart = body-fld-param [SP body-fld-dsp [SP body-fld-lang [SP body-fld-loc]]]
    structure += (
        fields,
        b" %b %b %b %b)"
        % (extension, _renderDisposition(part), _renderLanguage(part), imapString(part.location)),
    )


def _renderParameters(parameters: Parameters) -> bytes:
    if not parameters:
        return b"NIL"
    # Deviation: "name*" isn't decoded to UTF-8 (a SHOULD of RFC 9051 §7.5.2). Clients decode what
    # has that name, as RFC 3501 leaves it to them, and would take a name with "%" for encoded.
    return b"(%b)" % b" ".join(
        [
            b"%b %b" % (imapString(name), imapString(value))
            for name, value in joinSections(parameters)
        ]
    )


def _renderDisposition(part: Part) -> bytes:
    if part.disposition is None:
        return b"NIL"
    value, parameters = part.disposition
    return b"(%b %b)" % (imapString(value), _renderParameters(parameters))


def _renderLanguage(part: Part) -> bytes:
    #   body-fld-lang = nstring / "(" string *(SP string) ")"
    if part.language is None:
        return b"NIL"
    languages = [tag.strip() for tag in part.language.split(b",") if tag.strip()][:50]
    if len(languages) < 2:
        return imapString(languages[0] if languages else None)
    return b"(%b)" % b" ".join(map(imapString, languages))


# --- sorting and threading ---------------------------------------------------------------------


def baseSubject(subject: str) -> str:
    """
    @param subject: decoded.
    @return: the base subject (RFC 5256 §2.1), in upper case so that equal ones are equal.
    """
    return splitSubject(subject)[0].upper()
