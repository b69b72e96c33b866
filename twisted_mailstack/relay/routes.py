# -*- test-case-name: tests.relay.test_routes -*-
"""
Routes: where mail goes that doesn't go by MX, and how well the way there is secured.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import unquote

from twisted_mailstack.errors import DestinationUnavailable, SyntaxProblem
from twisted_mailstack.model.address import Address, parseDomain

#: The port of other servers.
SMTP_PORT = 25
#: By scheme: the default port, and the default of C{tls}.
_SCHEMES = {
    "smtp": (SMTP_PORT, "opportunistic"),
    "smtps": (465, "implicit"),
    "lmtp": (24, "opportunistic"),
}
#: What a route may say of TLS: not even try, use it where it works, demand it, demand it with a
#: certificate that is good for the host.
TLS_LEVELS = ("none", "opportunistic", "required", "verified")
#: The route to a domain's mail exchangers.
MX_ROUTE = "mx"
_SYNTAX = (
    "a route is mx, smtp://host:port, smtps://user@host:port, lmtp://host:port or lmtp+unix:/path,"
    " with ?tls=none, opportunistic, required or verified behind it"
)
#   [ user "@" ] ( "[" IPv6 "]" / host ) [ ":" port ]
_AUTHORITY = re.compile(r"(?:([^/]*)@)?(\[[^\]@/]*\]|[^:@/\[\]]+)(?::([^@/]*))?/?\Z")


@dataclass(frozen=True)
class Route:
    """
    A next hop.

    @ivar destination: names it, and what waits for it: how it is written in the configuration.
    @ivar domain: whose mail exchangers are asked; C{None}: C{host} is.
    @ivar host: a name or an address; C{port}.
    @ivar path: a Unix socket, instead of a host.
    @ivar tls: one of L{TLS_LEVELS}, or C{implicit}: verified, from the beginning.
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

    @property
    def byMX(self) -> bool:
        """Whether it stands for each domain's own mail exchangers."""
        return self.domain == ""


class RouteProblem(ValueError):
    """A route can't be used; the text says what is wrong and what to do."""


def parseRoute(text: str, password: str = "") -> Route:
    """
    Read a route from the configuration:

        - C{mx}: by the domain's mail exchangers, as without a route.
        - C{smtp://host}, C{smtp://host:port}, C{smtp://user@host:port}: by SMTP, STARTTLS where it
          works; with a user only over a verified connection. The port is 25 by default.
        - C{smtps://host}, C{smtps://user@host:port}: TLS from the beginning, verified; port 465.
        - C{lmtp://host:port}: by LMTP; port 24.
        - C{lmtp+unix:/path}: by LMTP over a Unix socket.

    C{?tls=} and one of L{TLS_LEVELS} behind it (not for C{smtps} and sockets) says something else
    about TLS. In the user C{%} and two hexadecimal digits are that octet. An IPv6 address is
    written in brackets.

    @param password: where there is a user. It is no part of the text, which is shown in logs and
        in the queue.
    @raise RouteProblem: if it is none.
    """
    user, at, _ = text.partition("://")[2].rpartition("@")
    if at and ":" in user:
        # The text is not shown: it has a password in it.
        raise RouteProblem(
            "a route has a password in it: give it apart, since routes are shown in logs and in the"
            " queue, and write only user@ before the host"
        )
    head, question, options = text.partition("?")
    tls = _tlsOption(text, options) if question else ""
    if head == MX_ROUTE:
        _noPassword(text, password)
        return Route(MX_ROUTE, domain="", tls=tls or "opportunistic")
    if head.startswith("lmtp+unix:"):
        path = head.removeprefix("lmtp+unix:")
        if not path.startswith("/") or path.startswith("//") or "\0" in path:
            raise RouteProblem(f"{text!r}: the path of the socket must begin with one /")
        if tls:
            raise RouteProblem(f"{text!r}: there is no TLS on a Unix socket; leave ?tls= out")
        _noPassword(text, password)
        return Route(f"lmtp+unix:{path}", path=path, tls="none", lmtp=True)
    scheme, slashes, authority = head.partition("://")
    if not slashes or scheme not in _SCHEMES:
        raise RouteProblem(f"{text!r} is no route: {_SYNTAX}")
    port, level = _SCHEMES[scheme]
    match = _AUTHORITY.match(authority)
    if match is None:
        raise RouteProblem(f"{text!r} is no route: {_SYNTAX}")
    user, host, portText = match.groups()
    host = _host(text, host)
    if portText is not None:
        if not re.fullmatch(r"[0-9]{1,5}", portText) or not 0 < int(portText) < 65536:
            raise RouteProblem(f"{text!r}: the port must be a number from 1 to 65535")
        port = int(portText)
    if tls and scheme == "smtps":
        raise RouteProblem(f"{text!r}: smtps is always verified; leave ?tls= out")
    if user is None:
        _noPassword(text, password)
        username = ""
    else:
        username = unquote(user)
        if not username or "\0" in username or "\ufffd" in username:
            raise RouteProblem(f"{text!r}: the user's name is not valid")
        if not password:
            raise RouteProblem(f"{text!r} has a user and no password is given for it")
        if level == "opportunistic":
            level = "verified"
        if tls == "opportunistic":
            raise RouteProblem(
                f"{text!r}: whoever interferes would get the password; say tls=required or"
                " tls=verified, or tls=none on a line that nobody else can reach"
            )
    level = tls or level
    shown = (
        f"{scheme}://{user + '@' if user else ''}{host if ':' not in host else f'[{host}]'}:{port}"
    )
    return Route(
        shown + (f"?tls={tls}" if tls else ""),
        host=host,
        port=port,
        tls=level,
        lmtp=scheme == "lmtp",
        username=username,
        password=password,
    )


def _tlsOption(text: str, options: str) -> str:
    name, _, value = options.partition("=")
    if name != "tls" or value not in TLS_LEVELS:
        raise RouteProblem(
            f"{text!r}: behind ? only tls=none, opportunistic, required or verified may stand"
        )
    return value


def _noPassword(text: str, password: str) -> None:
    if password:
        raise RouteProblem(f"{text!r} has no user that the password could be for")


def _host(text: str, host: str) -> str:
    if host.startswith("["):
        try:
            return str(ip_address(host[1:-1]))
        except ValueError:
            raise RouteProblem(f"{text!r}: there is no IP address in the brackets") from None
    try:
        return parseDomain(host)
    except SyntaxProblem:
        raise RouteProblem(f"{text!r}: {host!r} is not the name of a host") from None


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
        @param byDomain: of the recipient, lower case and as A-labels; C{.example.org} is for all
            domains below. The longest that matches counts.
        @param bySender: the reverse-path's address or domain, lower case; C{.example.org} likewise.
        @param default: for all else; C{None}: the domain's mail exchangers.
        """
        self._byDomain = dict(byDomain or {})
        self._bySender = dict(bySender or {})
        self._default = default
        self._known = {
            route.destination: route
            for route in (*self._byDomain.values(), *self._bySender.values(), default)
            if route is not None and not route.byMX
        }

    def destinationOf(self, reversePath: Address | None, address: Address) -> str:
        """
        @return: the destination: that of the recipient's domain, else of the sender, else the
            default, else the domain itself.
        """
        route = _forDomain(self._byDomain, address.domain)
        if route is None and reversePath is not None:
            route = self._bySender.get(str(reversePath).lower())
            route = route or _forDomain(self._bySender, reversePath.domain)
        route = route or self._default
        return address.domain if route is None or route.byMX else route.destination

    def find(self, destination: str) -> Route:
        """
        @return: the way to a destination; what is no configured next hop is a domain.
        @raise DestinationUnavailable: if it is a next hop that isn't configured (any more).
        """
        route = self._known.get(destination)
        if route is not None:
            return route
        if ":" in destination and not destination.startswith("["):
            raise DestinationUnavailable(f"There is no route {destination} any more")
        route = _forDomain(self._byDomain, destination) or self._default
        level = route.tls if route is not None and route.byMX else "opportunistic"
        return Route(destination, domain=destination, tls=level)


def _forDomain(routes: Mapping[str, Route], domain: str) -> Route | None:
    route = routes.get(domain)
    rest = domain
    while route is None and "." in rest:
        rest = rest.partition(".")[2]
        route = routes.get("." + rest)
    return route
