# -*- test-case-name: tests.smtp.test_submission -*-
"""
What a submission server does to the text that its users send (RFC 6409 §8), while it streams by:
Date (§8.2) and Message-ID (§8.3) are added at the end of a header that lacks them, and Bcc is left
out (RFC 5322 §3.6.3: the first of its three ways).

Deviation: a Message-ID or Date that is there stays as it is, however it is written. Replacing it
would break the signatures and the threads that rely on it.

Nothing else is altered. That only domains get through which others can use (§4.2), and whose
addresses are in From, is for the steps of C{delivery.steps} to say.
"""

from __future__ import annotations

from twisted_mailstack.model.dates import formatFieldDate
from twisted_mailstack.wire.fields import FieldNames, HeaderFilter

#   Resent-Bcc is Bcc for who sends a message on (RFC 5322 §3.6.6).
_NAMES = FieldNames(b"bcc", b"resent-bcc", b"date", b"message-id")
_REMOVED = frozenset({b"bcc", b"resent-bcc"})


class SubmissionFilter(HeaderFilter):
    """
    One message's.
    """

    adds = True

    def __init__(self, queueId: str, hostname: str, now: int, zone: int) -> None:
        """
        @param queueId: which makes the Message-ID unique, and leads from it to the log.
        @param now: seconds since 1970.
        @param zone: minutes east of UTC.
        """
        super().__init__(_NAMES)
        self._seen: set[bytes] = set()
        self._queueId = queueId
        self._hostname = hostname
        self._now = now
        self._zone = zone

    def keep(self, name: bytes) -> bool:
        """See L{HeaderFilter}."""
        self._seen.add(name)
        return name not in _REMOVED

    def end(self) -> bytes:
        """See L{HeaderFilter}."""
        lines = b""
        if b"date" not in self._seen:
            lines += b"Date: %b\r\n" % formatFieldDate(self._now, self._zone)
        if b"message-id" not in self._seen:
            lines += f"Message-ID: <{self._queueId}@{self._hostname}>\r\n".encode()
        return lines
