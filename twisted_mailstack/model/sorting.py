# -*- test-case-name: tests.model.test_sorting -*-
"""
What messages are sorted and threaded by (RFC 5256, RFC 5957), found once in each of them.

Texts are keys of the collation i;unicode-casemap (RFC 5051): compared as they are, by the numbers
of their characters, they are in its order. The order of the octets of UTF-8 is the same one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from hashlib import blake2b
from typing import NamedTuple
from unicodedata import normalize

from twisted_mailstack.model.dates import parseFieldDate
from twisted_mailstack.model.header import (
    Header,
    HeaderAddress,
    decodeText,
    firstAddress,
    parseMessageIds,
)

#: Characters of a text that are compared.
KEY_CHARACTERS = 255
#: Characters of a subject that are looked at.
SUBJECT_CHARACTERS = 1000
#: References that are kept, the last ones: they are the nearest.
MAX_REFERENCES = 100

_SPACE = re.compile(r"[ \t\r\n]+")
#   subj-refwd = ("re" / ("fw" ["d"])) *WSP [subj-blob] ":"      (RFC 5256 §5)
#   subj-blob  = "[" *BLOBCHAR "]" *WSP
_LEADER = re.compile(r"(?:\[[^\[\]]*+\] ?)*+(?:re|fwd?) ?(?:\[[^\[\]]*+\] ?)?: ?", re.I | re.A)
_BLOB = re.compile(r"\[[^\[\]]*+\] ?")
#   id-left may be quoted, as it need not be (RFC 5322 §3.6.4)
_QUOTED_LEFT = re.compile(rb'<"((?:[^"\\]|\\.)*+)"(?=@)', re.S)
_ESCAPED = re.compile(rb"\\(.)", re.S)


class SortKey(Enum):
    """By what messages can be sorted."""

    ARRIVAL = "arrival"
    CC = "cc"
    DATE = "date"
    DISPLAYFROM = "displayFrom"
    DISPLAYTO = "displayTo"
    FROM = "from"
    SIZE = "size"
    SUBJECT = "subject"
    TO = "to"


class SortCriterion(NamedTuple):
    """
    @ivar reverse: the other way round; among equals the order stays as it is.
    """

    key: SortKey
    reverse: bool = False


class SortValues(NamedTuple):
    """
    @ivar sentDate: the Date field in seconds since 1970 UTC, C{None} if it has no valid one
        (INTERNALDATE counts then).
    @ivar subject: the base subject.
    @ivar isReply: whether the subject says that it is a reply or forwarded.
    @ivar sender: addr-mailbox of the first address in From; C{recipient} of To, C{copy} of Cc.
    @ivar displayFrom: that address as a person reads it; C{displayTo} likewise.
    @ivar identity: the message id as a number, 0 if it has none.
    @ivar references: the ids of what it refers to, likewise, the parent last.
    """

    sentDate: int | None
    subject: str
    isReply: bool
    sender: str
    recipient: str
    copy: str
    displayFrom: str
    displayTo: str
    identity: int
    references: tuple[int, ...]


class ThreadRow(NamedTuple):
    """
    What threads a message.

    @ivar date: its sent date; if it has none, its internal date.
    @ivar arrival: its internal date.
    """

    uid: int
    date: int
    arrival: int
    subject: str
    isReply: bool
    identity: int
    references: Sequence[int]


def _title(character: str) -> str:
    # UnicodeData's titlecase property has one character; those with several are SpecialCasing's.
    title = character.title()
    return title if len(title) == 1 else character


def collate(text: str) -> str:
    """
    @return: the key of i;unicode-casemap: titlecased, then decomposed (RFC 5051 §2).
    """
    if text.isascii():
        return text.upper()
    return normalize("NFKD", "".join(map(_title, text)))


def splitSubject(subject: str) -> tuple[str, bool]:
    """
    @param subject: decoded.
    @return: the base subject (RFC 5256 §2.1), and whether what was removed says that it is a reply
        or forwarded (RFC 5256 §3, C{REFERENCES}).
    """
    #   (1) Convert all tabs and continuations to space, and multiple spaces to one.
    text = _SPACE.sub(" ", subject[:SUBJECT_CHARACTERS])
    isReply = False
    while True:
        #   (2) subj-trailer = "(fwd)" / WSP
        text = text.rstrip(" ")
        while text[-5:].lower() == "(fwd)":
            text = text[:-5].rstrip(" ")
            isReply = True
        start = 0
        while True:
            #   (3) subj-leader = (*subj-blob subj-refwd) / WSP
            if text.startswith(" ", start):
                start += 1
            leader = _LEADER.match(text, start)
            if leader:
                start = leader.end()
                isReply = True
                continue
            #   (4) A blob goes only if something stays.
            blob = _BLOB.match(text, start)
            if blob and blob.end() < len(text):
                start = blob.end()
                continue
            break
        text = text[start:]
        #   (6) subj-fwd-hdr, subj-fwd-trl
        if text[:5].lower() == "[fwd:" and text.endswith("]"):
            text = text[5:-1]
            isReply = True
            continue
        return text, isReply


def identityKey(messageId: bytes) -> int:
    """
    @param messageId: brackets included.
    @return: a number of 63 bits, the same for the same id however it is quoted.
    """
    quoted = _QUOTED_LEFT.match(messageId)
    if quoted:
        messageId = b"<" + _ESCAPED.sub(rb"\1", quoted.group(1)) + messageId[quoted.end() :]
    # 0 says that there is none.
    return (int.from_bytes(blake2b(messageId, digest_size=8).digest(), "big") >> 1) or 1


def _mailbox(address: HeaderAddress | None) -> str:
    if address is None or not address.localPart:
        return ""
    return collate(decodeText(address.localPart)[:KEY_CHARACTERS])[:KEY_CHARACTERS]


def _display(address: HeaderAddress | None) -> str:
    if address is None:
        return ""
    text = decodeText(address.name) if address.name else ""
    if not text and address.localPart is not None:
        text = decodeText(address.localPart)
        if address.domain is not None:
            text += "@" + decodeText(address.domain)
    return collate(text[:KEY_CHARACTERS])[:KEY_CHARACTERS]


def _first(header: Header, name: bytes) -> HeaderAddress | None:
    # As ENVELOPE has it: of several such fields all addresses count.
    for value in header.getAll(name):
        address = firstAddress(value)
        if address is not None:
            return address
    return None


def sortValues(header: Header) -> SortValues:
    """
    @param header: the message's, or its first C{MAX_HEADER} octets (model.mime).
    """
    subject, isReply = splitSubject(decodeText(header.get(b"subject") or b""))
    sender, recipient = _first(header, b"from"), _first(header, b"to")
    ids = parseMessageIds(header.get(b"message-id") or b"")[:1]
    references = parseMessageIds(header.get(b"references") or b"")[-MAX_REFERENCES:]
    if not references:
        references = parseMessageIds(header.get(b"in-reply-to") or b"")[:1]
    return SortValues(
        parseFieldDate(header.get(b"date") or b""),
        collate(subject)[:KEY_CHARACTERS],
        isReply,
        _mailbox(sender),
        _mailbox(recipient),
        _mailbox(_first(header, b"cc")),
        _display(sender),
        _display(recipient),
        identityKey(ids[0]) if ids else 0,
        tuple(map(identityKey, references)),
    )
