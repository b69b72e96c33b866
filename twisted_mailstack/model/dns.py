"""
The answers of the domain name system, as far as mail needs them.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class MX(NamedTuple):
    """A mail exchanger (RFC 5321 §5.1). C{host} is empty for the null MX (RFC 7505)."""

    preference: int
    host: str


class TLSA(NamedTuple):
    """What a TLS server's certificate must match (RFC 6698 §2.1)."""

    usage: int
    selector: int
    matchingType: int
    data: bytes


class DNSAnswer(NamedTuple):
    """
    @ivar records: of the type that was asked for, aliases (CNAME) followed: addresses as text for
        A and AAAA, L{MX}, host names without the final dot for PTR, C{bytes} with the strings
        joined for TXT, L{TLSA}. For CNAME the alias's target; it is not followed.
    @ivar exists: whether the name exists, with whatever records.
    @ivar authenticated: whether the resolver validated it (DNSSEC, RFC 4035 §3.2.3).
    @ivar name: where the aliases led; the name itself if there were none.
    """

    records: tuple[Any, ...]
    exists: bool = True
    authenticated: bool = False
    name: str = ""
