# -*- test-case-name: tests.model.test_logins -*-
"""
Recent logins as text, for their owners: a line each, UTF-8, with a tab between its fields. These
are when it was (UTC, RFC 3339), C{ok} or C{failed}, service, address, mechanism, the name as it was
said, and the app password; what comes to be known of a login later stands behind them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.model.records import LoginRecord

#: The metadata entry of an IMAP server (RFC 5464) that has them.
LOGINS = "/private/vendor/twisted_mailstack/logins"

_WHEN = "%Y-%m-%dT%H:%M:%SZ"
_RESULTS = {True: "ok", False: "failed"}
_FIELDS = 7


def printable(text: str) -> str:
    """
    @return: it without what moves a terminal's cursor, or would end a line or a field.
    """
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def writeLogins(records: Iterable[LoginRecord]) -> bytes:
    """
    @return: their lines, each with CRLF at its end.
    """
    return "".join(f"{_line(each)}\r\n" for each in records).encode("utf-8")


def _line(record: LoginRecord) -> str:
    when = datetime.fromtimestamp(record.when, UTC).strftime(_WHEN)
    fields = (record.service, record.peer, record.mechanism, record.name, record.credential)
    return "\t".join((when, _RESULTS[record.success], *map(printable, fields)))


def readLogins(octets: bytes) -> list[LoginRecord]:
    """
    @return: what L{writeLogins} has written, without the accountIds; the texts are L{printable}.
    @raise SyntaxProblem: if it hasn't.
    """
    records = []
    try:
        for line in octets.decode("utf-8").splitlines():
            when, result, *fields = line.split("\t")
            if result not in _RESULTS.values() or len(fields) < _FIELDS - 2:
                raise ValueError(line)
            service, peer, mechanism, name, credential = map(printable, fields[: _FIELDS - 2])
            at = int(datetime.strptime(when, _WHEN).replace(tzinfo=UTC).timestamp())
            records.append(
                LoginRecord(
                    at, None, name, service, peer, mechanism, result == _RESULTS[True], credential
                )
            )
    except ValueError:
        raise SyntaxProblem("These are no logins") from None
    return records
