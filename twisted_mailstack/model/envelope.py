# -*- test-case-name: tests.model.test_envelope -*-
"""
ENVELOPE, rendered once when a message arrives (RFC 9051 §7.5.2), and the strings it is made of.
"""

from __future__ import annotations

import re

from twisted_mailstack.model.header import (
    MAX_ADDRESSES,
    Header,
    HeaderAddress,
    parseAddressList,
)

#   quoted = DQUOTE *QUOTED-CHAR DQUOTE: 7-bit, no CR, LF or NUL
_QUOTABLE = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]*\Z")
#: What nearly all are: quotable with nothing to escape.
_PLAIN = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-!#-\[\]-\x7f]*\Z")
_SPECIALS = re.compile(rb'(["\\])')


def imapString(value: bytes | None) -> bytes:
    """
    @return: an nstring: C{NIL}, a quoted string where the octets allow, else a literal. NULs, which
        no IMAP string can have, are dropped.
    """
    if value is None:
        return b"NIL"
    if _PLAIN.match(value):
        return b'"' + value + b'"'
    if _QUOTABLE.match(value):
        return b'"' + _SPECIALS.sub(rb"\\\1", value) + b'"'
    value = value.replace(b"\0", b"")
    return b"{%d}\r\n%b" % (len(value), value)


def renderAddresses(addresses: list[HeaderAddress]) -> bytes:
    """
    @return: a list of address structures, C{NIL} for none.
    """
    if not addresses:
        return b"NIL"
    string = imapString
    return b"(%b)" % b"".join(
        b"(%b %b %b %b)" % (string(name), string(route), string(local), string(domain))
        for name, route, local, domain in addresses
    )


def renderEnvelope(header: Header) -> bytes:
    """
    @return: the envelope: date subject from sender reply-to to cc bcc in-reply-to message-id.
        Sender and Reply-To default to From (RFC 9051 §7.5.2).
    """
    rendered = {}
    for field in (b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc"):
        addresses: list[HeaderAddress] = []
        # More than one such field breaks RFC 5322 §3.6; nothing of it is hidden (RFC 7103 §7.5.1).
        for value in header.getAll(field):
            addresses += parseAddressList(value)
            if len(addresses) >= MAX_ADDRESSES:
                break
        rendered[field] = renderAddresses(addresses)
    sender = rendered[b"from"]
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        imapString(header.get(b"date")),
        imapString(header.get(b"subject")),
        sender,
        sender if rendered[b"sender"] == b"NIL" else rendered[b"sender"],
        sender if rendered[b"reply-to"] == b"NIL" else rendered[b"reply-to"],
        rendered[b"to"],
        rendered[b"cc"],
        rendered[b"bcc"],
        imapString(header.get(b"in-reply-to")),
        imapString(header.get(b"message-id")),
    )
