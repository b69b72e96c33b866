# -*- test-case-name: tests.delivery.test_resolve -*-
"""
Who an address reaches.

Resolution, in order: the account; the alias; both again without the subaddress (C{user+tag@}, RFC
5233), the longest name first; the domain's catch-all alias C{*@domain}; postmaster, which every
domain has (RFC 5321 §4.5.1), whatever its aliases lead to. Aliases may have several targets, in
other domains, too, ours or not. What is reached in several ways is reached once.

In a target C{*} stands for the local-part that the mail came for. So the catch-all C{*@old} to
C{*@new} makes a domain another's alias, but for the addresses that it has itself.

Aliases may lead back to themselves. What is beside such a loop is reached; an address from which
nobody else is, is refused with the status of loops (RFC 3463 §3.5).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from twisted.logger import Logger

from twisted_mailstack.errors import CannotDoThat, NoSuchAccount, NoSuchDomain
from twisted_mailstack.interfaces import IDirectoryAdmin
from twisted_mailstack.model.address import Address, foldLocalPart
from twisted_mailstack.model.records import AccountRecord, AliasRecord

#: Targets that one address may have, those of aliases that lead to aliases among them.
MAX_EXPANSION = 1000
#: The local-part of catch-alls, and what stands for the recipient's in a target.
ANY = "*"
#: A local-part that no address has.
_NOBODY = "\0"
_POSTMASTER = "postmaster"


class AliasLoop(NoSuchAccount):
    """Aliases lead from an address to nobody but themselves (RFC 3463 §3.5)."""

    enhancedStatus = "5.4.6"
    text = "Mail for that address goes in a circle"


class Resolver:
    """
    Finds the accounts that an address reaches.
    """

    log = Logger()

    def __init__(
        self,
        directory: IDirectoryAdmin,
        separator: str | Sequence[str] = "+",
        postmaster: Address | None = None,
        hostname: str = "",
    ) -> None:
        """
        @param separator: of user and tag, or several that do; empty for no subaddresses.
        @param postmaster: who gets the mail of a postmaster that is neither account nor alias;
            C{None}: the domain's first account, or if it has none the first of any domain.
        @param hostname: what the server calls itself. Its postmaster is reachable under that name,
            too, which stands in notifications (RFC 3461 §9.3), whether it is a domain of ours or
            not.
        """
        self._directory = directory
        separators = (separator,) if isinstance(separator, str) else tuple(separator)
        either = "|".join(re.escape(each) for each in separators if each)
        self._separators = re.compile(either) if either else None
        self._postmaster = postmaster
        self._hostname = hostname.lower()

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
        @raise NoSuchAccount: if nobody has that address; an L{AliasLoop} if that is so since it
            leads back to itself.
        @raise CannotDoThat: if it leads to too many.
        """
        accounts: dict[str, AccountRecord] = {}
        elsewhere: list[Address] = []
        ways = await self._follow([address], accounts, elsewhere)
        if elsewhere == [address]:
            raise NoSuchDomain()
        if not accounts and not elsewhere and self._isPostmaster(address):
            # Its aliases are dead.
            await self._follow(await self._postmasters(address.domain), accounts, elsewhere)
        if not accounts and not elsewhere:
            if circle := _circle(address, ways):
                self.log.warn(
                    "aliases lead back to themselves: {circle}", circle=formatCircle(circle)
                )
                raise AliasLoop()
            # If some targets of several are dead, that is the alias owner's business.
            raise NoSuchAccount()
        return list(accounts.values()), elsewhere

    async def findCircle(self, address: Address, targets: Sequence[Address]) -> list[Address]:
        """
        Look, before an alias is made, whether it would lead back to itself, or to others that do.

        @param address: whose alias it is.
        @param targets: where it would lead.
        @return: the way there, up to the first address that comes again; empty if there is none.
        """
        planned = AliasRecord(address, tuple(targets))
        probes = [address]
        if address.localPart == ANY:
            # What nobody has comes to a catch-all; in the domain it leads to, somebody may have it.
            probes = [address._replace(localPart=_NOBODY)]
            for domain in {target.domain for target in targets if target.localPart == ANY}:
                probes += [
                    address._replace(localPart=record.address.localPart)
                    for record in await self._directory.listAliases(domain)
                    if record.address.localPart != ANY
                ]
        for probe in probes:
            ways = await self._follow([probe], {}, [], planned)
            if circle := _circle(probe, ways):
                return [
                    each._replace(localPart=ANY) if each.localPart == _NOBODY else each
                    for each in circle
                ]
        return []

    async def _follow(
        self,
        addresses: Iterable[Address],
        accounts: dict[str, AccountRecord],
        elsewhere: list[Address],
        planned: AliasRecord | None = None,
    ) -> Mapping[Address, Sequence[Address]]:
        # Enters what is reached. Returns where each address on the way leads; each is looked at
        # once, whatever leads to it, so loops end.
        ways: dict[Address, Sequence[Address]] = dict.fromkeys(addresses, ())
        waiting = deque(ways)
        while waiting:
            each = waiting.popleft()
            targets = await self._look(each, accounts, planned)
            if targets is None:
                elsewhere.append(each)
                continue
            ways[each] = targets
            fresh = [target for target in dict.fromkeys(targets) if target not in ways]
            ways.update(dict.fromkeys(fresh, ()))
            waiting.extend(fresh)
            if len(ways) > MAX_EXPANSION + 1:
                raise CannotDoThat("The alias leads to too many addresses", enhancedStatus="5.2.4")
        return ways

    async def _look(
        self, address: Address, accounts: dict[str, AccountRecord], planned: AliasRecord | None
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
            if address.domain == self._hostname and self._isPostmaster(address):
                return await self._postmasters("")
            return None
        alias = await self._findAlias(address, planned)
        if alias is None:
            for user in self._users(address.localPart):
                plain = address._replace(localPart=user)
                account = await directory.findAccount(plain)
                if account is not None:
                    accounts[account.accountId] = account
                    return ()
                alias = await self._findAlias(plain, planned)
                if alias is not None:
                    break
        if alias is None:
            alias = await self._findAlias(address._replace(localPart=ANY), planned)
        if alias is not None:
            return [
                target._replace(localPart=address.localPart) if target.localPart == ANY else target
                for target in alias.targets
            ]
        if self._isPostmaster(address):
            return await self._postmasters(address.domain)
        return ()

    async def _findAlias(self, address: Address, planned: AliasRecord | None) -> AliasRecord | None:
        if planned is not None and _isSame(planned.address, address):
            return planned
        return await self._directory.findAlias(address)

    def _users(self, localPart: str) -> list[str]:
        # Whose subaddress it may be, the longest name first.
        if self._separators is None:
            return []
        ends = [match.start() for match in self._separators.finditer(localPart)]
        return [localPart[:end] for end in reversed(ends) if end]

    def _isPostmaster(self, address: Address) -> bool:
        return _POSTMASTER in (
            each.lower() for each in (address.localPart, *self._users(address.localPart))
        )

    async def _postmasters(self, domain: str) -> Sequence[Address]:
        if self._postmaster is not None:
            return (self._postmaster,)
        if not domain:
            domains = await self._directory.listDomains()
            return [Address(_POSTMASTER, each.name) for each in domains[:1]]
        records = await self._directory.listAccounts(domain)
        records = records or await self._directory.listAccounts()
        return [record.address for record in records[:1]]


def formatCircle(circle: Sequence[Address]) -> str:
    """
    @return: the way of mail that goes in a circle, for people.
    """
    return " -> ".join(map(str, circle))


def _isSame(one: Address, other: Address) -> bool:
    return one.domain == other.domain and (
        foldLocalPart(one.localPart) == foldLocalPart(other.localPart)
    )


def _circle(start: Address, ways: Mapping[Address, Sequence[Address]]) -> list[Address]:
    # A way from the start to an address that is on it already.
    path = {start: iter(ways[start])}
    done: set[Address] = set()
    while path:
        here = next(reversed(path))
        for target in path[here]:
            if target in path:
                return [*path, target]
            if target not in done:
                path[target] = iter(ways[target])
                break
        else:
            del path[here]
            done.add(here)
    return []
