# -*- test-case-name: tests.delivery.test_local -*-
"""
Delivery to the accounts of a store: addresses are resolved, the message is stored once, and one
durable step gives each account its copy.

Resolution, in order: the account; the alias; both again without the subaddress (C{user+tag@}, RFC
5233); the domain's catch-all alias C{*@domain}; postmaster, which every domain has (RFC 5321
§4.5.1). An account that is reached in several ways gets one copy. Aliases may name other domains;
what leads there goes to the spool, and where there is none it is refused at RCPT.

A message gets a Return-Path field and a Delivered-To field in front. Return-Path fields that it
came with are removed, whatever else is in it stays (RFC 5321 §4.4).

A reply to the end of data is for all recipients (RFC 5321 §4.1.1.4), so all of them get their copy
or none does: if one account has filled up since RCPT, the client is told to try again later, and
what it sends then is no duplicate for anybody. Quotas are checked at RCPT, so this takes a race.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from time import time

from zope.interface import implementer

from twisted_mailstack.delivery.returnpath import ReturnPathRemover
from twisted_mailstack.errors import (
    CannotDoThat,
    MailError,
    MessageTooLarge,
    NoSuchAccount,
    NoSuchDomain,
    OverQuota,
    TemporaryFailure,
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

#: Targets that one address may have, those of aliases that lead to aliases among them.
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
        @param address: without a domain it is the postmaster of this server (RFC 5321 §4.5.1).
        @return: the accounts, and the addresses elsewhere.
        @raise NoSuchDomain: if the domain isn't ours.
        @raise NoSuchAccount: if nobody has that address.
        @raise CannotDoThat: if it leads to too many.
        """
        accounts: dict[str, AccountRecord] = {}
        elsewhere: list[Address] = []
        # Each address is looked at once, whatever leads to it, so loops end.
        seen = {address}
        waiting = deque(seen)
        while waiting:
            each = waiting.popleft()
            targets = await self._look(each, accounts)
            if targets is None:
                if each is address:
                    raise NoSuchDomain()
                elsewhere.append(each)
                continue
            fresh = [target for target in dict.fromkeys(targets) if target not in seen]
            seen.update(fresh)
            waiting.extend(fresh)
            if len(seen) > MAX_EXPANSION + 1:
                raise CannotDoThat("The alias leads to too many addresses", enhancedStatus="5.2.4")
        if not accounts and not elsewhere:
            # If some targets of several are dead, that is the alias owner's business.
            raise NoSuchAccount()
        return list(accounts.values()), elsewhere

    async def _look(
        self, address: Address, accounts: dict[str, AccountRecord]
    ) -> Sequence[Address] | None:
        # Enters the account if it is one; else gives what the address leads to, None if the domain
        # isn't ours.
        directory = self._directory
        if not address.domain:
            return await self._postmasters("")
        account = await directory.findAccount(address)
        if account is not None:
            accounts[account.accountId] = account
            return ()
        if await directory.findDomain(address.domain) is None:
            return None
        alias = await directory.findAlias(address)
        user, separator, _ = (
            address.localPart.partition(self._separator) if self._separator else ("", "", "")
        )
        plain = address._replace(localPart=user) if separator and user else None
        if alias is None and plain is not None:
            account = await directory.findAccount(plain)
            if account is not None:
                accounts[account.accountId] = account
                return ()
            alias = await directory.findAlias(plain)
        if alias is None:
            alias = await directory.findAlias(address._replace(localPart="*"))
        if alias is not None:
            return alias.targets
        if (plain or address).localPart.lower() == "postmaster":
            return await self._postmasters(address.domain)
        return ()

    async def _postmasters(self, domain: str) -> Sequence[Address]:
        if self._postmaster is not None:
            return (self._postmaster,)
        if not domain:
            domains = await self._directory.listDomains()
            return [Address("postmaster", each.name) for each in domains[:1]]
        records = await self._directory.listAccounts(domain)
        records = records or await self._directory.listAccounts()
        return [record.address for record in records[:1]]


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
        # By account: which recipient reached it first.
        self._accounts: dict[str, tuple[int, AccountRecord]] = {}
        self._elsewhere: dict[Address, int] = {}
        self._writer: IContentWriter | None = None
        self._remover = ReturnPathRemover()
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
                f"{recipient.address}: this server does not relay mail to other domains",
                smtpCode=550,
                enhancedStatus="5.7.1",
            )
        for account in accounts:
            await self._checkRoom(account)
        index = len(self._recipients)
        for address in elsewhere:
            if address not in self._elsewhere:
                await self._spool().addRecipient(recipient._replace(address=address))
                self._elsewhere[address] = index
        self._recipients.append(recipient)
        for account in accounts:
            self._accounts.setdefault(account.accountId, (index, account))

    async def _checkRoom(self, account: AccountRecord) -> None:
        quota = await (await self._target.store.openAccount(account.accountId)).quota()
        size = max(1, int(self._envelope.parameters.get("SIZE") or 0))
        if quota.octetLimit is not None and size > quota.octetLimit:
            # RFC 1870 §6.4: for good, since no room that can be made is enough.
            raise MessageTooLarge("The message is larger than the account", enhancedStatus="5.2.3")
        if quota.octetLimit is not None and quota.octets + size > quota.octetLimit:
            raise OverQuota()
        if quota.messageLimit is not None and quota.messages >= quota.messageLimit:
            raise OverQuota()

    def _spool(self) -> IDelivery:
        if self._spooled is None:
            assert self._target.spool is not None
            self._spooled = self._target.spool.begin(self._envelope)
        return self._spooled

    def write(self, data: bytes) -> Awaitable[None] | None:
        """See L{IDelivery}."""
        if self._spooled is not None:
            return self._writeBoth(self._spooled, data)
        return self._content().write(self._remover.feed(data))

    async def _writeBoth(self, spooled: IDelivery, data: bytes) -> None:
        # What is passed on is passed on as it came (RFC 5321 §3.6.3).
        waiting = self._content().write(self._remover.feed(data))
        if waiting is not None:
            await waiting
        waiting = spooled.write(data)
        if waiting is not None:
            await waiting

    def _content(self) -> IContentWriter:
        if self._writer is None:
            self._writer = self._target.store.newContent()
        return self._writer

    async def commit(self, inspect: Inspect | None = None) -> Sequence[Exception | None]:
        """See L{IDelivery}."""
        staged: IStagedContent | None = None
        try:
            writer = self._content()
            waiting = writer.write(self._remover.finish())
            if waiting is not None:
                await waiting
            staged = await writer.finish()
            added = b"" if inspect is None else await inspect(staged)
            return await self._place(staged, added)
        except BaseException:
            self.abort()
            raise
        finally:
            if staged is not None:
                staged.discard()

    async def _place(self, staged: IStagedContent, added: bytes) -> Sequence[Exception | None]:
        envelope = self._envelope
        returnPath = f"Return-Path: {formatPath(envelope.reversePath)}\r\n".encode()
        placements = [
            Placement(
                accountId,
                INBOX,
                returnPath + self._deliveredTo(index, account) + added,
            )
            for accountId, (index, account) in self._accounts.items()
        ]
        if placements:
            try:
                await self._target.store.deliver(staged, placements, int(self._target.now()))
            except NoSuchAccount:
                # Deleted since RCPT: the next attempt will say so of that recipient alone.
                raise TemporaryFailure() from None
        spooled, self._spooled = self._spooled, None
        if spooled is not None:

            async def alreadyInspected(content: IStagedContent) -> bytes:
                return added

            await spooled.commit(alreadyInspected)
        return [None] * len(self._recipients)

    def _deliveredTo(self, index: int, account: AccountRecord) -> bytes:
        # As the client named the recipient; the postmaster without domain is nobody's address.
        address = self._recipients[index].address
        return f"Delivered-To: {address if address.domain else account.address}\r\n".encode()

    def abort(self) -> None:
        """See L{IDelivery}."""
        if self._writer is not None:
            self._writer.abort()
        spooled, self._spooled = self._spooled, None
        if spooled is not None:
            spooled.abort()
