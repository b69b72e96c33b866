# -*- test-case-name: tests.model.test_transfer -*-
"""
Transfer encodings undone while a part streams by (RFC 2045 §6), in bounded memory.

Nothing here raises, whatever the octets: damaged encodings give what can be read of them. How a
part is cut into pieces makes no difference.
"""

from __future__ import annotations

import binascii
import re

_IDENTITIES = (b"7bit", b"8bit", b"binary")
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64 = bytes(set(range(256)) - set(_BASE64 + b"="))
_PADDING = re.compile(rb"=+")
#   "any trailing white space on a line must be deleted" (RFC 2045 §6.7), also behind a soft line
#   break's "=".
_TRAILING_SPACE = re.compile(rb"(?<![ \t])[ \t]++(?=\r?\n)")
#: What binascii reads in a way of its own.
_STRANGE = re.compile(rb"=(?:=|\r(?!\n)|\Z)")
_ESCAPE = re.compile(rb"=(?:([0-9A-Fa-f]{2})|\r?\n)")
#: White space that may be a line's trailing one is kept back until more is known, but not so much.
MAX_SPACE = 64 * 1024


class TransferDecoder:
    """
    Undoes one part's transfer encoding.
    """

    def feed(self, data: bytes) -> bytes:
        """
        @return: what the next octets of the part's body stand for; may be empty.
        """
        return data

    def finish(self) -> bytes:
        """
        @return: what is left when all was fed.
        """
        return b""


class Base64Decoder(TransferDecoder):
    """
    Base64 (RFC 2045 §6.8) as it comes: junk between, padding missing or in the middle.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """See L{TransferDecoder}."""
        first, *others = _PADDING.sub(b"=", data.translate(None, _NOT_BASE64)).split(b"=")
        out = [self._run(first)]
        for run in others:
            out += (self.finish(), self._run(run))
        return b"".join(out)

    def _run(self, run: bytes) -> bytes:
        run = self._rest + run
        whole = len(run) & ~3
        self._rest = run[whole:]
        return binascii.a2b_base64(run[:whole]) if whole else b""

    def finish(self) -> bytes:
        """See L{TransferDecoder}."""
        rest, self._rest = self._rest, b""
        # Six bits make no octet.
        return binascii.a2b_base64(rest + b"=" * (4 - len(rest))) if len(rest) > 1 else b""


class QuotedPrintableDecoder(TransferDecoder):
    """
    Quoted-printable (RFC 2045 §6.7). What is no escape stays as it is.
    """

    def __init__(self) -> None:
        self._kept = b""

    def feed(self, data: bytes) -> bytes:
        """See L{TransferDecoder}."""
        data = self._kept + data
        # An escape that isn't whole, or what may turn out to be a line's trailing white space.
        end = len(data.rstrip(b" \t\r"))
        if data[end - 1 : end] == b"=":
            end -= 1
        elif data[-2:-1] == b"=":
            end = len(data) - 2
        if len(data) - end > MAX_SPACE:
            end = len(data) - 1
        self._kept = data[end:]
        return _unquote(data[:end])

    def finish(self) -> bytes:
        """See L{TransferDecoder}."""
        kept, self._kept = self._kept.rstrip(b" \t"), b""
        # A soft line break whose line end belongs to the boundary.
        return _unquote(kept.removesuffix(b"="))


def _unquote(data: bytes) -> bytes:
    if any(end in data for end in (b" \r\n", b"\t\r\n", b" \n", b"\t\n")):
        data = _TRAILING_SPACE.sub(b"", data)
    if _STRANGE.search(data):
        return _ESCAPE.sub(lambda match: bytes.fromhex((match[1] or b"").decode("ascii")), data)
    return binascii.a2b_qp(data)


def transferDecoder(encoding: bytes) -> TransferDecoder | None:
    """
    @param encoding: a Content-Transfer-Encoding, in any case.
    @return: what undoes it; C{None} if it isn't known.
    """
    name = encoding.lower()
    if name in _IDENTITIES:
        return TransferDecoder()
    if name == b"base64":
        return Base64Decoder()
    if name == b"quoted-printable":
        return QuotedPrintableDecoder()
    return None
