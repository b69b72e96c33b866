# -*- test-case-name: tests.delivery.test_local -*-
"""
Delivery to the accounts of a store: addresses are resolved, the message is stored once, and one
durable step gives each account its copy.

Resolution, in order: the account; the alias; both again without the subaddress (C{user+tag@}, RFC
5233); the domain's catch-all alias C{*@domain}; postmaster, which every domain has (RFC 5321
§4.5.1). An account that is reached in several ways gets one copy. Aliases may name other domains;
what leads there goes to the spool, and where there is none it is refused at RCPT.

A reply to the end of data is for all recipients (RFC 5321 §4.1.1.4), so all of them get their copy
or none does: if one account has filled up since RCPT, the client is told to try again later, and
what it sends then is no duplicate for anybody. Quotas are checked at RCPT, so this takes a race.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from time import time

from zope.interface import implementer

from twisted_mailstack.errors import (
    CannotDoThat,
    MailError,
    NoSuchAccount,
    NoSuchDomain,
    OverQuota,
)
from twisted_mailstack.interfaces import (
    IContentWriter,
    IDelivery,
    IDeliveryTarget,
    IDirectoryAdmin,
    IMailStore,
    IStagedContent,
)
from twisted_mailstack.model.address import Address, formatPath
from twisted_mailstack.model.mailboxname import INBOX
from twisted_mailstack.model.records import AccountRecord, Envelope, Placement, Recipient

#: Aliases that lead to aliases, and recipients that one address may become.
MAX_ALIAS_DEPTH = 10
MAX_EXPANSION = 1000

Inspect = Callable[[IStagedContent], Awaitable[bytes]]


class Resolver:
    """
    Finds the accounts that an address reaches.
    """

    def __init__(
        self, directory: IDirectoryAdmin, separator: str = "+", postmaster: Address | None = None
    ) -> None:
        """
        @param separator: of user and tag; empty for no subaddresses.
        @param postmaster: who gets the mail of a postmaster that is neither account nor alias;
            C{None}: the domain's first account, or if it has none the first of any domain.
        """
        self._directory = directory
        self._separator = separator
        self._postmaster = postmaster

    async def isLocal(self, domain: str) -> bool:
        """
        @return: whether the domain is ours.
        """
        return await self._directory.findDomain(domain) is not None

    async def resolve(self, address: Address) -> tuple[list[AccountRecord], list[Address]]:
        """
        @return: the accounts, and the addresses elsewhere.
        @raise NoSuchDomain: if the domain isn't ours.
        @raise NoSuchAccount: if nobody has that address.
        """
        accounts: dict[str, AccountRecord] = {}
        elsewhere: dict[Address, None] = {}
        await self._follow(address, accounts, elsewhere, (), True)
        return list(accounts.values()), list(elsewhere)

    async def _postmasters(self, domain: str) -> Sequence[Address]:
        if self._postmaster is not None:
            return (self._postmaster,)
        records = await self._directory.listAccounts(domain)
        records = records or await self._directory.listAccounts()
        if not records:
            raise NoSuchAccount()
        return (records[0].address,)

    async def _follow(
        self,
        address: Address,
        accounts: dict[str, AccountRecord],
        elsewhere: dict[Address, None],
        path: tuple[Address, ...],
        first: bool,
    ) -> None:
        directory = self._directory
        account = await directory.findAccount(address)
        if account is not None:
            accounts[account.accountId] = account
            return
        if await directory.findDomain(address.domain) is None:
            if first:
                raise NoSuchDomain()
            elsewhere[address] = None
            return
        user, separator, _ = (
            address.localPart.partition(self._separator) if self._separator else ("", "", "")
        )
        plain = address._replace(localPart=user) if separator and user else None
        alias = await directory.findAlias(address)
        if alias is None and plain is not None:
            account = await directory.findAccount(plain)
            if account is not None:
                accounts[account.accountId] = account
                return
            alias = await directory.findAlias(plain)
        if alias is None:
            alias = await directory.findAlias(address._replace(localPart="*"))
        targets: Sequence[Address]
        if alias is not None:
            targets = alias.targets
        elif address.localPart.lower() == "postmaster":
            targets = await self._postmasters(address.domain)
        else:
            raise NoSuchAccount()
        for target in targets:
            if target in path or target == address or len(path) >= MAX_ALIAS_DEPTH:
                # A loop, or so deep that it may as well be one: the rest still gets its copy.
                continue
            if len(accounts) + len(elsewhere) >= MAX_EXPANSION:
                raise CannotDoThat("The alias leads to too many addresses", enhancedStatus="5.4.6")
            try:
                await self._follow(target, accounts, elsewhere, (*path, address), False)
            except NoSuchAccount:
                # One dead target of several is the alias owner's business, not the client's.
                continue
        if first and not accounts and not elsewhere:
            raise NoSuchAccount()


@implementer(IDeliveryTarget)
class LocalTarget:
    """
    See the module.
    """

    def __init__(
        self,
        store: IMailStore,
        resolver: Resolver,
        spool: IDeliveryTarget | None = None,
        now: Callable[[], float] = time,
    ) -> None:
        """
        @param spool: takes what goes to other domains; C{None}: that is refused.
        @param now: seconds since 1970.
        """
        self.now = now
        self.store = store
        self.resolver = resolver
        self.spool = spool

    def begin(self, envelope: Envelope) -> LocalDelivery:
        """See L{IDeliveryTarget}."""
        return LocalDelivery(self, envelope)

    async def verify(self, address: Address) -> str:
        """See L{IDeliveryTarget}."""
        await self.resolver.resolve(address)
        return str(address)


@implementer(IDelivery)
class LocalDelivery:
    """
    See L{IDelivery}.
    """

    def __init__(self, target: LocalTarget, envelope: Envelope) -> None:
        self._target = target
        self._envelope = envelope
        self._recipients: list[Recipient] = []
        # By account: the recipient that reached it first, and the address it was reached by.
        self._accounts: dict[str, tuple[int, AccountRecord]] = {}
        self._elsewhere: dict[Address, int] = {}
        self._writer: IContentWriter | None = None
        self._spooled: IDelivery | None = None

    async def addRecipient(self, recipient: Recipient) -> None:
        """See L{IDelivery}."""
        target = self._target
        try:
            accounts, elsewhere = await target.resolver.resolve(recipient.address)
        except NoSuchDomain:
            if self._envelope.authenticated is None:
                raise
            accounts, elsewhere = [], [recipient.address]
        if elsewhere and target.spool is None:
            raise MailError(
                f"{recipient.address}: this server does not relay mail to other domains yet",
                smtpCode=550,
                enhancedStatus="5.7.1",
            )
        for account in accounts:
            await self._checkRoom(account)
        if elsewhere and target.spool is not None:
            if self._spooled is None:
                self._spooled = target.spool.begin(self._envelope)
            for address in elsewhere:
                if address not in self._elsewhere:
                    await self._spooled.addRecipient(recipient._replace(address=address))
        index = len(self._recipients)
        self._recipients.append(recipient)
        for account in accounts:
            self._accounts.setdefault(account.accountId, (index, account))
        for address in elsewhere:
            self._elsewhere.setdefault(address, index)

    async def _checkRoom(self, account: AccountRecord) -> None:
        quota = await (await self._target.store.openAccount(account.accountId)).quota()
        size = self._envelope.parameters.get("SIZE")
        octets = quota.octets + max(1, int(size or 0))
        if quota.octetLimit is not None and octets > quota.octetLimit:
            raise OverQuota()
        if quota.messageLimit is not None and quota.messages >= quota.messageLimit:
            raise OverQuota()

    def write(self, data: bytes) -> Awaitable[None] | None:
        """See L{IDelivery}."""
        if self._writer is None:
            self._writer = self._target.store.newContent()
        waiting = self._writer.write(data)
        if self._spooled is not None:
            other = self._spooled.write(data)
            if waiting is not None and other is not None:
                return _both(waiting, other)
            return waiting or other
        return waiting

    async def commit(self, inspect: Inspect | None = None) -> Sequence[Exception | None]:
        """See L{IDelivery}."""
        writer = self._writer or self._target.store.newContent()
        staged = await writer.finish()
        try:
            added = b"" if inspect is None else await inspect(staged)
            return await self._place(staged, added)
        except BaseException:
            if self._spooled is not None:
                self._spooled.abort()
            raise
        finally:
            staged.discard()

    async def _place(self, staged: IStagedContent, added: bytes) -> Sequence[Exception | None]:
        envelope = self._envelope
        returnPath = f"Return-Path: {formatPath(envelope.reversePath)}\r\n".encode()
        placements = [
            Placement(
                accountId,
                INBOX,
                returnPath
                + f"Delivered-To: {self._recipients[index].address}\r\n".encode()
                + added,
            )
            for accountId, (index, _) in self._accounts.items()
        ]
        if placements:
            await self._target.store.deliver(staged, placements, int(self._target.now()))
        if self._spooled is not None:
            await self._spooled.commit()
        return [None] * len(self._recipients)

    def abort(self) -> None:
        """See L{IDelivery}."""
        if self._writer is not None:
            self._writer.abort()
        if self._spooled is not None:
            self._spooled.abort()


async def _both(one: Awaitable[None], other: Awaitable[None]) -> None:
    await one
    await other
