# -*- test-case-name: tests.delivery.steps.test_headers -*-
"""
C{header-checks}: headers that break RFC 5322 in ways that honest programs rarely do.

Off unless the operator names checks: readers cope with such mail (RFC 7103), and some of it is
wanted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from twisted_mailstack.delivery.policy import PolicyStep, readHeader
from twisted_mailstack.delivery.step import StepProblem, StepRecord, StepServices
from twisted_mailstack.errors import MailError
from twisted_mailstack.interfaces import IStagedContent
from twisted_mailstack.model.dates import parseFieldDate
from twisted_mailstack.model.header import Header, parseAddressList
from twisted_mailstack.model.records import Envelope, Recipient

#: RFC 5322 §3.6: at most one of each.
_ONCE = (
    *(b"From", b"Sender", b"Reply-To", b"To", b"Cc", b"Bcc", b"Date", b"Subject"),
    *(b"Message-ID", b"In-Reply-To", b"References"),
)
#   A field, a line of one that is folded, or the blank line. Behind the name there may be space
#   (RFC 5322 §4.5).
_LINE = re.compile(rb"[!-9;-~]+[ \t]*:|[ \t]|\r?\n?\Z")


def _from(header: Header, envelope: Envelope) -> str:
    # RFC 5322 §3.6.2
    for value in header.getAll(b"From"):
        if any(entry.domain for entry in parseAddressList(value)):
            return ""
    return "The message has no address in From"


def _date(header: Header, envelope: Envelope) -> str:
    # RFC 5322 §3.6.1
    valid = parseFieldDate(header.get(b"Date") or b"") is not None
    return "" if valid else "The message has no valid Date"


def _once(header: Header, envelope: Envelope) -> str:
    for name in _ONCE:
        if len(header.getAll(name)) > 1:
            return f"The message has several {name.decode()} fields"
    return ""


def _syntax(header: Header, envelope: Envelope) -> str:
    for line in header.data.split(b"\n"):
        if not _LINE.match(line):
            return "The header has a line that is no field"
    return ""


def _ascii(header: Header, envelope: Envelope) -> str:
    # RFC 6532 §3 allows it, by RFC 6531's extension.
    if header.data.isascii() or "SMTPUTF8" in envelope.parameters:
        return ""
    return "The header has characters that need SMTPUTF8"


#: By name: given the header, why the message is refused; empty if it isn't.
CHECKS: Mapping[str, Callable[[Header, Envelope], str]] = {
    "from": _from,
    "date": _date,
    "once": _once,
    "syntax": _syntax,
    "ascii": _ascii,
}


@dataclass(frozen=True, kw_only=True)
class HeaderChecksSettings:
    """
    @ivar checks: of L{CHECKS}. C{from}: there is an address in From; C{date}: there is a valid
        Date; C{once}: no field comes twice that may be there once; C{syntax}: every line is of a
        field; C{ascii}: it is ASCII, but with SMTPUTF8.
    """

    checks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.checks:
            if name not in CHECKS:
                raise StepProblem(f"there is no check {name!r} (there are {', '.join(CHECKS)})")


class HeaderChecks(PolicyStep):
    """
    See the module.
    """

    def __init__(self, settings: HeaderChecksSettings) -> None:
        self._checks = [CHECKS[name] for name in settings.checks]

    async def message(
        self, envelope: Envelope, recipients: Collection[Recipient], content: IStagedContent
    ) -> bytes:
        """See L{IPolicyStep}."""
        header = Header(await readHeader(content))
        for check in self._checks:
            if problem := check(header, envelope):
                raise MailError(problem, smtpCode=550, enhancedStatus="5.6.0")
        return b""


def _make(settings: HeaderChecksSettings, services: StepServices) -> HeaderChecks | None:
    return HeaderChecks(settings) if settings.checks else None


STEP = StepRecord(name="header-checks", settings=HeaderChecksSettings, make=_make)
