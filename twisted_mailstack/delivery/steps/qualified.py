# -*- test-case-name: tests.delivery.steps.test_qualified -*-
"""
C{qualified-domains}: what is submitted names domains as everybody knows them (RFC 6409 §4.2), in
the envelope and in the address fields of the header, and only addresses stand there (§5.1).

A domain is qualified if it has a dot, is an address literal, or is ours.
"""

from __future__ import annotations

from collections.abc import Collection

from twisted_mailstack.delivery.policy import PolicyStep, readHeader
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.delivery.step import NoSettings, StepRecord
from twisted_mailstack.errors import MailError, SyntaxProblem
from twisted_mailstack.interfaces import IStagedContent
from twisted_mailstack.model.address import parseDomain
from twisted_mailstack.model.header import Header, parseAddressList
from twisted_mailstack.model.records import Envelope, Recipient

#: RFC 5322 §3.6.2, §3.6.3, §3.6.6.
_FIELDS = (
    *(b"From", b"Sender", b"Reply-To", b"To", b"Cc"),
    *(b"Resent-From", b"Resent-Sender", b"Resent-To", b"Resent-Cc"),
)


class QualifiedDomains(PolicyStep):
    """
    See the module.
    """

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def reversePath(self, envelope: Envelope) -> None:
        """See L{IPolicyStep}."""
        path = envelope.reversePath
        if path is not None:
            # RFC 3463 §3.2: X.1.8, bad sender's system address
            await self._check(path.domain, "5.1.8")

    async def recipient(self, envelope: Envelope, recipient: Recipient) -> None:
        """See L{IPolicyStep}."""
        if recipient.address.domain:
            # RFC 3463 §3.2: X.1.2, bad destination system address
            await self._check(recipient.address.domain, "5.1.2")

    async def message(
        self, envelope: Envelope, recipients: Collection[Recipient], content: IStagedContent
    ) -> bytes:
        """See L{IPolicyStep}."""
        header = Header(await readHeader(content))
        domains: dict[str, None] = {}
        for name in _FIELDS:
            for value in header.getAll(name):
                for entry in parseAddressList(value):
                    if entry.domain is not None:
                        domains[_parsed(entry.domain, name)] = None
        for domain in domains:
            await self._check(domain, "5.6.0")
        return b""

    async def _check(self, domain: str, status: str) -> None:
        if "." in domain or domain.startswith("[") or await self._resolver.isLocal(domain):
            return
        raise MailError(
            f"The domain {domain} is not fully qualified", smtpCode=554, enhancedStatus=status
        )


def _parsed(domain: bytes, name: bytes) -> str:
    try:
        return parseDomain(domain.decode("utf-8"))
    except (SyntaxProblem, UnicodeDecodeError):
        raise MailError(
            f"{name.decode()} has something in it that is no address",
            smtpCode=554,
            enhancedStatus="5.6.0",
        ) from None


STEP = StepRecord(
    name="qualified-domains",
    settings=NoSettings,
    make=lambda settings, services: QualifiedDomains(services.resolver),
)
