# -*- test-case-name: tests.relay.test_hosts -*-
"""
Which hosts take the mail of a domain, and in which order (RFC 5321 §5.1, RFC 7505).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from typing import NamedTuple

from twisted_mailstack.errors import DestinationUnavailable, LookupFailed, MailError
from twisted_mailstack.interfaces import IDNSLookup

#: Hosts that are tried in one attempt; RFC 5321 §5.1 wants at least two.
MAX_HOSTS = 10


class Exchangers(NamedTuple):
    """
    @ivar hosts: names in the order in which they are to be tried.
    @ivar authenticated: whether DNSSEC vouches for them.
    @ivar implicit: whether the domain has no MX and is its own host.
    """

    hosts: tuple[str, ...]
    authenticated: bool
    implicit: bool = False


class HostFinder:
    """
    Asks the DNS for mail exchangers and addresses.
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
        @param ownNames: what this server is called, in lower case: mail must not go in circles.
        @param families: kinds of addresses, in the order in which they are tried.
        @param shuffle: puts hosts of equal preference, and a host's addresses, into random order.
        """
        self._dns = dns
        self._ownNames = frozenset(ownNames)
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
            # RFC 5321 §5.1: the implicit MX.
            return Exchangers((answer.name or domain,), answer.authenticated, True)
        if any(not record.host for record in answer.records):
            # RFC 7505 §3; with other records beside it it has no meaning (§4.1), and they count.
            if len(answer.records) == 1:
                raise MailError(
                    f"The domain {domain} takes no mail", smtpCode=556, enhancedStatus="5.1.10"
                )
        byPreference: dict[int, list[str]] = {}
        for record in answer.records:
            if record.host:
                byPreference.setdefault(record.preference, []).append(record.host)
        hosts: list[str] = []
        for preference in sorted(byPreference):
            equal = list(dict.fromkeys(byPreference[preference]))
            if self._ownNames.intersection(equal):
                # RFC 5321 §5.1: we are one of them, so those of our preference and after are no
                # way forward.
                if not hosts:
                    raise MailError(
                        f"The mail of {domain} is to come here, and is not wanted here",
                        smtpCode=554,
                        enhancedStatus="5.4.6",
                    )
                break
            self._shuffle(equal)
            hosts += equal
        return Exchangers(tuple(hosts[:MAX_HOSTS]), answer.authenticated)

    async def addresses(self, host: str) -> list[str]:
        """
        @return: in the order in which they are to be tried; empty if the host has none.
        @raise DestinationUnavailable: if the DNS gives no answer.
        """
        found: list[str] = []
        failure: LookupFailed | None = None
        for family in self._families:
            try:
                answer = await self._dns.lookup(host, family)
            except LookupFailed as error:
                failure = error
                continue
            some = list(answer.records)
            self._shuffle(some)
            found += some
        if not found and failure is not None:
            raise DestinationUnavailable(failure.text, enhancedStatus=failure.enhancedStatus)
        return found
