# -*- test-case-name: tests.delivery.steps.test_ownsender -*-
"""
C{own-sender}: who is logged in sends under addresses of the account only (RFC 6409 §6.1, §6.3): the
reverse-path at MAIL, the From and Sender fields when the message is there.

An account's addresses are all that reach it: its own, with any subaddress, aliases that lead to it,
alone or among others, catch-alls and domain aliases. The null reverse-path is everybody's: mail
programs that report what became of a message send with it.

Every address in From has to belong to the account, and in Sender, also what only looks like one
where no quotes are around it: readers differ about what they show of a malformed field. Who sends
somebody else's message on as it stands, with Resent-From, is refused too: readers show From.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from twisted_mailstack.delivery.policy import MAX_HEADER, PolicyStep, readHeader
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.delivery.step import StepProblem, StepRecord, StepServices
from twisted_mailstack.errors import (
    CannotDoThat,
    MailError,
    NoSuchAccount,
    NoSuchDomain,
    SyntaxProblem,
)
from twisted_mailstack.interfaces import IStagedContent
from twisted_mailstack.model.address import Address, foldLocalPart, parseDomain
from twisted_mailstack.model.header import (
    MAX_ADDRESSES,
    MAX_VALUE,
    Header,
    HeaderAddress,
    parseAddressList,
)
from twisted_mailstack.model.records import Envelope, Recipient

_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*+("?)', re.DOTALL)
_LIKE_ADDRESS = re.compile(rb'([^\s<>()\[\]:;,"@]++)@([^\s<>():;,"@]++)')


@dataclass(frozen=True, kw_only=True)
class OwnSenderSettings:
    """
    @ivar required: whether anything is checked.
    @ivar fields: whether the header is, too.
    @ivar allowed: addresses (C{news@example.org}) and domains (C{example.net}) that every account
        may use.
    @ivar unrestricted: addresses of accounts that may use any address.
    """

    required: bool = True
    fields: bool = True
    allowed: tuple[str, ...] = ()
    unrestricted: tuple[str, ...] = ()


class OwnSender(PolicyStep):
    """
    See the module.
    """

    def __init__(self, settings: OwnSenderSettings, resolver: Resolver) -> None:
        """
        @raise StepProblem: if an address or a domain isn't one.
        """
        self._fields = settings.fields
        self._resolver = resolver
        self._addresses = {_key(each) for each in _parsed(settings.allowed, True)}
        self._domains = frozenset(_domains(settings.allowed))
        self._unrestricted = {_key(each) for each in _parsed(settings.unrestricted, False)}

    async def reversePath(self, envelope: Envelope) -> None:
        """See L{IPolicyStep}."""
        account, path = envelope.authenticated, envelope.reversePath
        if account is None or path is None or await self._mayUse(account, path):
            return
        raise _denied(f"{path} is no address of {account}")

    async def message(
        self, envelope: Envelope, recipients: Collection[Recipient], content: IStagedContent
    ) -> bytes:
        """See L{IPolicyStep}."""
        account = envelope.authenticated
        if account is None or not self._fields or _key(account) in self._unrestricted:
            return b""
        if content.summary.headerSize > MAX_HEADER:
            raise _malformed("The header is too long")
        header = Header(await readHeader(content))
        for name in (b"From", b"Sender"):
            for address in _addresses(header, name):
                if not await self._mayUse(account, address):
                    raise _denied(f"{address} in {name.decode()} is no address of {account}")
        return b""

    async def _mayUse(self, account: Address, address: Address) -> bool:
        wanted = _key(account)
        if wanted in self._unrestricted or address.domain in self._domains:
            return True
        if _key(address) == wanted or _key(address) in self._addresses:
            return True
        try:
            reached, _ = await self._resolver.resolve(address)
        except (NoSuchDomain, NoSuchAccount, CannotDoThat):
            return False
        return any(_key(record.address) == wanted for record in reached)


def _key(address: Address) -> tuple[str, str]:
    return foldLocalPart(address.localPart), address.domain


def _parsed(texts: Collection[str], orDomains: bool) -> Iterator[Address]:
    for text in texts:
        if "@" in text or not orDomains:
            try:
                yield Address.parse(text)
            except SyntaxProblem as problem:
                raise StepProblem(f"{text!r}: {problem.text}") from None


def _domains(texts: Collection[str]) -> Iterator[str]:
    for text in texts:
        if "@" not in text:
            try:
                yield parseDomain(text)
            except SyntaxProblem as problem:
                raise StepProblem(f"{text!r}: {problem.text}") from None


def _addresses(header: Header, name: bytes) -> Iterator[Address]:
    # Of all fields of that name: different readers show different ones.
    found = 0
    for field, value in header.fields():
        if field.lower() != name.lower():
            continue
        entries = parseAddressList(value)
        if len(value) > MAX_VALUE or len(entries) >= MAX_ADDRESSES:
            raise _malformed(f"{name.decode()} is too long")
        for entry in entries:
            # What begins or ends a group is no address.
            if entry.domain is not None:
                found += 1
                yield _address(entry, name)
        yield from _looksLike(value)
    if not found and name == b"From":
        raise _malformed("The message has no address in From")


def _looksLike(value: bytes) -> Iterator[Address]:
    # A quote that isn't closed is none.
    bare = _QUOTED.sub(lambda match: b" " if match.group(1) else match.group(), value)
    for localPart, domain in _LIKE_ADDRESS.findall(bare):
        try:
            yield Address(localPart.decode("utf-8"), parseDomain(domain.decode("utf-8")))
        except (SyntaxProblem, UnicodeDecodeError):
            continue


def _address(entry: HeaderAddress, name: bytes) -> Address:
    try:
        domain = parseDomain((entry.domain or b"").decode("utf-8"))
        return Address((entry.localPart or b"").decode("utf-8"), domain)
    except (SyntaxProblem, UnicodeDecodeError):
        raise _malformed(f"{name.decode()} has something in it that is no address") from None


def _denied(text: str) -> MailError:
    # RFC 6409 §6.1, §6.3
    return MailError(text, smtpCode=550, enhancedStatus="5.7.1")


def _malformed(text: str) -> MailError:
    # RFC 6409 §5.1, §6.3
    return MailError(text, smtpCode=554, enhancedStatus="5.6.0")


def _make(settings: OwnSenderSettings, services: StepServices) -> OwnSender | None:
    return OwnSender(settings, services.resolver) if settings.required else None


STEP = StepRecord(name="own-sender", settings=OwnSenderSettings, make=_make)
