# -*- test-case-name: tests.relay.test_hosts -*-
"""
Which hosts take the mail of a domain, and in which order (RFC 5321 §5.1, RFC 7505).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from ipaddress import ip_address
from itertools import zip_longest
from typing import NamedTuple

from twisted_mailstack.errors import DestinationUnavailable, LookupFailed, MailError
from twisted_mailstack.interfaces import IDNSLookup

#: Hosts that are tried in one attempt; RFC 5321 §5.1 wants at least two.
MAX_HOSTS = 10


class Exchangers(NamedTuple):
    """
    @ivar domain: whose they are.
    @ivar hosts: names in the order in which they are to be tried.
    @ivar authenticated: whether DNSSEC vouches for them.
    @ivar implicit: whether the domain has no MX and is its own host.
    """

    domain: str
    hosts: tuple[str, ...]
    authenticated: bool
    implicit: bool = False


class HostAddresses(NamedTuple):
    """
    @ivar host: what was asked for.
    @ivar addresses: in the order in which they are to be tried; empty if the host has none.
    @ivar authenticated: whether DNSSEC vouches for them.
    @ivar name: where the host's aliases led; C{host} itself if it has none.
    """

    host: str
    addresses: tuple[str, ...]
    authenticated: bool = False
    name: str = ""


class HostFinder:
    """
    Asks the DNS for mail exchangers and addresses.

    @ivar ownNames: what this server is called, in lower case: mail must not go in circles.
    """

    def __init__(
        self,
        dns: IDNSLookup,
        ownNames: Collection[str] = (),
        *,
        families: Collection[str] = ("AAAA", "A"),
        shuffle: Callable[[list[str]], None] = random.shuffle,
    ) -> None:
        """
        @param families: kinds of addresses, in the order in which they are tried.
        @param shuffle: puts hosts of equal preference, and a host's addresses, into random order.
        """
        self.ownNames = frozenset(name.lower() for name in ownNames)
        self._dns = dns
        self._families = tuple(families)
        self._shuffle = shuffle

    async def exchangers(self, domain: str) -> Exchangers:
        """
        @raise MailError: if the domain takes no mail, or doesn't exist, or we are the one who
            should take it: for good.
        @raise DestinationUnavailable: if the DNS gives no answer.
        """
        try:
            answer = await self._dns.lookup(domain, "MX")
        except LookupFailed as error:
            raise DestinationUnavailable(error.text, enhancedStatus=error.enhancedStatus) from error
        if not answer.exists:
            raise MailError(
                f"The domain {domain} does not exist", smtpCode=550, enhancedStatus="5.1.2"
            )
        if not answer.records:
            # RFC 5321 §5.1: the implicit MX. Aliases are followed with its addresses.
            if self.ownNames.intersection((domain, answer.name)):
                raise self._loop(domain)
            return Exchangers(domain, (domain,), answer.authenticated, True)
        byPreference: dict[int, list[str]] = {}
        for record in answer.records:
            # RFC 7505 §4.1: a null MX beside others means nothing.
            if record.host:
                byPreference.setdefault(record.preference, []).append(record.host)
        if not byPreference:
            raise MailError(
                f"The domain {domain} takes no mail", smtpCode=556, enhancedStatus="5.1.10"
            )
        hosts: list[str] = []
        for preference in sorted(byPreference):
            equal = list(dict.fromkeys(byPreference[preference]))
            if self.ownNames.intersection(equal):
                # RFC 5321 §5.1: we are one of them, so those of our preference and after are no
                # way forward.
                if not hosts:
                    raise self._loop(domain)
                break
            self._shuffle(equal)
            hosts += [host for host in equal if host not in hosts]
        return Exchangers(domain, tuple(hosts[:MAX_HOSTS]), answer.authenticated)

    def _loop(self, domain: str) -> MailError:
        return MailError(
            f"The mail of {domain} is to come here, and is not wanted here",
            smtpCode=554,
            enhancedStatus="5.4.6",
        )

    async def addresses(self, host: str) -> HostAddresses:
        """
        @param host: a name, or an address, which is its own.
        @raise DestinationUnavailable: if the DNS gives no answer.
        """
        try:
            # Deviation: RFC 1035 §3.3.9 has names in MX records; some have addresses.
            return HostAddresses(host, (str(ip_address(host)),), name=host)
        except ValueError:
            pass
        families: list[list[str]] = []
        failure: LookupFailed | None = None
        authenticated = True
        name = host
        for family in self._families:
            try:
                answer = await self._dns.lookup(host, family)
            except LookupFailed as error:
                failure = error
                continue
            if answer.records:
                authenticated = authenticated and answer.authenticated
                name = answer.name or name
            some = list(answer.records)
            self._shuffle(some)
            families.append(some)
        # In turn, so that one family that can't be reached doesn't use up the attempt.
        found = tuple(each for some in zip_longest(*families) for each in some if each)
        if not found and failure is not None:
            raise DestinationUnavailable(
                f"{host}: {failure.text}", enhancedStatus=failure.enhancedStatus
            )
        return HostAddresses(host, found, authenticated and bool(found), name)
