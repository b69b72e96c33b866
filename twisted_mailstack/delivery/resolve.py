# -*- test-case-name: tests.delivery.test_resolve -*-
"""
Who an address reaches.

Resolution, in order: the account; the alias; both again without the subaddress (C{user+tag@}, RFC
5233); the domain's catch-all alias C{*@domain}; postmaster, which every domain has (RFC 5321
§4.5.1). Aliases may name other domains. What is reached in several ways is reached once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from twisted_mailstack.errors import CannotDoThat, NoSuchAccount, NoSuchDomain
from twisted_mailstack.interfaces import IDirectoryAdmin
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import AccountRecord

#: Targets that one address may have, those of aliases that lead to aliases among them.
MAX_EXPANSION = 1000


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
