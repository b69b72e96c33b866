# -*- test-case-name: tests.net.test_dns -*-
"""
DNS lookups through twisted.names, with a cache that heeds TTLs.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.names import dns
from twisted.names.error import DNSNameError
from zope.interface import implementer

from twisted_mailstack.errors import LookupFailed
from twisted_mailstack.interfaces import IDNSLookup
from twisted_mailstack.model.dns import MX, TLSA, DNSAnswer

#: RFC 6698 §7.1; twisted.names has no class for it.
TLSA_TYPE = 52
_TYPES = {
    "A": dns.A,
    "AAAA": dns.AAAA,
    "MX": dns.MX,
    "TXT": dns.TXT,
    "PTR": dns.PTR,
    "TLSA": TLSA_TYPE,
}
#: Aliases that are followed.
MAX_ALIASES = 8
#: Answers that are kept, and seconds: at most, and for a "no" that doesn't say.
MAX_ENTRIES = 20_000
MAX_TTL = 86400
NEGATIVE_TTL = 60


def _host(name: Any) -> str:
    return str(name.name.decode("ascii", "backslashreplace")).rstrip(".").lower()


def _value(kind: int, payload: Any) -> Any:
    if kind in (dns.A, dns.AAAA):
        return str(ip_address(payload.address))
    if kind == dns.MX:
        return MX(payload.preference, _host(payload.name))
    if kind == dns.PTR:
        return _host(payload.name)
    if kind == dns.TXT:
        return b"".join(payload.data)
    octets = payload.data
    return TLSA(octets[0], octets[1], octets[2], octets[3:])


def _isWhole(kind: int, payload: Any) -> bool:
    return payload is not None and (kind != TLSA_TYPE or len(payload.data) > 3)


@implementer(IDNSLookup)
class CachedLookup:
    """
    See L{IDNSLookup}. Questions that are asked while the same one waits share its answer.
    """

    def __init__(
        self,
        query: Callable[[dns.Query], Deferred[Any]],
        clock: IReactorTime,
    ) -> None:
        """
        @param query: of a twisted.names resolver. Where the answer list it gives has an attribute
            C{authenticated}, that tells whether the resolver validated it.
        @param clock: for TTLs.
        """
        self._query = query
        self._clock = clock
        self._known: dict[tuple[str, int], tuple[float, DNSAnswer]] = {}
        self._asked: dict[tuple[str, int], list[Deferred[DNSAnswer]]] = {}

    async def lookup(self, name: str, kind: str) -> DNSAnswer:
        """See L{IDNSLookup}."""
        key = name.lower().rstrip("."), _TYPES[kind]
        known = self._known.get(key)
        if known is not None and self._clock.seconds() < known[0]:
            return known[1]
        waiting = self._asked.get(key)
        if waiting is not None:
            shared: Deferred[DNSAnswer] = Deferred()
            waiting.append(shared)
            return await shared
        waiting = self._asked[key] = []
        try:
            answer, ttl = await self._ask(*key)
        except LookupFailed as error:
            del self._asked[key]
            for each in waiting:
                each.errback(error)
            raise
        except BaseException:
            del self._asked[key]
            for each in waiting:
                each.errback(LookupFailed())
            raise
        del self._asked[key]
        if len(self._known) >= MAX_ENTRIES:
            self._known.clear()
        self._known[key] = self._clock.seconds() + min(ttl, MAX_TTL), answer
        for each in waiting:
            each.callback(answer)
        return answer

    async def _ask(self, name: str, kind: int) -> tuple[DNSAnswer, float]:
        ttl = float(MAX_TTL)
        authenticated = True
        followed = 0
        while True:
            try:
                answers, authority, _ = await self._query(dns.Query(name, kind, dns.IN))
            except DNSNameError as error:
                authority = getattr(error.args[0], "authority", []) if error.args else []
                return (
                    DNSAnswer((), exists=False, name=name),
                    min(ttl, _negativeTTL(authority)),
                )
            except Exception as error:
                raise LookupFailed(f"DNS lookup of {name} failed") from error
            authenticated = authenticated and getattr(answers, "authenticated", False)
            aliases = {
                _host(each.name): _host(each.payload.name)
                for each in answers
                if each.type == dns.CNAME
            }
            if answers:
                ttl = min(ttl, *(each.ttl for each in answers))
            start = name
            while name in aliases and followed <= MAX_ALIASES:
                name = aliases[name]
                followed += 1
            records = tuple(
                _value(kind, each.payload)
                for each in answers
                if each.type == kind and _host(each.name) == name and _isWhole(kind, each.payload)
            )
            if records or name == start:
                if not records:
                    ttl = min(ttl, _negativeTTL(authority))
                return DNSAnswer(records, True, authenticated, name), ttl
            if followed > MAX_ALIASES:
                raise LookupFailed(f"{start} is an alias of too many others")


def _negativeTTL(authority: Any) -> float:
    # RFC 2308 §5: the lesser of the SOA's own TTL and its minimum.
    for each in authority:
        if each.type == dns.SOA and each.payload is not None:
            return float(min(each.ttl, each.payload.minimum))
    return float(NEGATIVE_TTL)
