# -*- test-case-name: tests.relay.test_routes -*-
"""
Routes: where mail goes that doesn't go by MX.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from twisted_mailstack.model.address import Address

#: The port of other servers.
SMTP_PORT = 25


@dataclass(frozen=True)
class Route:
    """
    A next hop.

    @ivar destination: names it, and what waits for it.
    @ivar domain: whose mail exchangers are asked; C{None}: C{host} is.
    @ivar host: a name or an address; C{port}.
    @ivar path: a Unix socket, instead of a host.
    @ivar tls: C{opportunistic}, C{required} (any certificate), C{verified}, C{none}, or
        C{implicit} (verified, from the beginning).
    @ivar lmtp: it speaks LMTP (RFC 2033).
    @ivar username: for AUTH, empty for none; C{password}.
    """

    destination: str
    domain: str | None = None
    host: str = ""
    port: int = SMTP_PORT
    path: str = ""
    tls: str = "opportunistic"
    lmtp: bool = False
    username: str = ""
    password: str = field(default="", repr=False)


class Routes:
    """
    The configured routes.
    """

    def __init__(
        self,
        byDomain: Mapping[str, Route] | None = None,
        bySender: Mapping[str, Route] | None = None,
        default: Route | None = None,
    ) -> None:
        """
        @param byDomain: of the recipient, lower case; C{.example.org} is for all domains below.
        @param bySender: the reverse-path's address or domain.
        @param default: for all else; C{None}: the domain's mail exchangers.
        """
        self._byDomain = dict(byDomain or {})
        self._bySender = dict(bySender or {})
        self._default = default
        self._known = {
            route.destination: route
            for route in (*self._byDomain.values(), *self._bySender.values(), default)
            if route is not None
        }

    def destinationOf(self, reversePath: Address | None, address: Address) -> str:
        """
        @return: the destination: that of the recipient's domain, else of the sender, else the
            default, else the domain itself.
        """
        route = self._forDomain(address.domain)
        if route is None and reversePath is not None:
            route = self._bySender.get(str(reversePath).lower())
            route = route or self._bySender.get(reversePath.domain)
        route = route or self._default
        return address.domain if route is None else route.destination

    def _forDomain(self, domain: str) -> Route | None:
        route = self._byDomain.get(domain)
        rest = domain
        while route is None and "." in rest:
            rest = rest.partition(".")[2]
            route = self._byDomain.get("." + rest)
        return route

    def find(self, destination: str) -> Route:
        """
        @return: the way to a destination; what is no configured next hop is a domain.
        """
        return self._known.get(destination) or Route(destination, domain=destination)
