# -*- test-case-name: tests.relay.test_security -*-
"""
How well a connection to the next hop must be secured, and by what.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from twisted.internet.interfaces import IOpenSSLClientConnectionCreator

from twisted_mailstack.model.queue import QueuedMessage
from twisted_mailstack.net.clienttls import OpportunisticTLS, verifiedTLS
from twisted_mailstack.relay.routes import Route


@dataclass(frozen=True)
class Security:
    """
    What holds for one host.

    @ivar required: no mail without TLS. If not, it is used where it works.
    @ivar tls: makes the TLS connection, and verifies what is to be verified; C{None}: no TLS.
    @ivar policy: what it comes from, as TLS-RPT names it (RFC 8460 §4.3): C{no-policy-found},
        C{sts} or C{tlsa}.
    """

    required: bool
    tls: IOpenSSLClientConnectionCreator | None
    policy: str = "no-policy-found"


class ISecurityPolicy(Protocol):
    """
    Says how well connections are to be secured.
    """

    async def hosts(
        self, domain: str, hosts: tuple[str, ...], authenticated: bool
    ) -> tuple[str, ...]:
        """
        @param hosts: mail exchangers; C{authenticated}: by DNSSEC.
        @return: those of them that may be used, in the same order.
        @raise DestinationUnavailable: if none may.
        """

    async def securityOf(
        self, route: Route, host: str, authenticated: bool, message: QueuedMessage
    ) -> Security:
        """
        @param host: the name that the certificate is to be for.
        @raise DestinationUnavailable: if that host must not be used now.
        """

    def count(self, domain: str, host: str, security: Security, result: str) -> None:
        """
        Note how it went (TLS-RPT).

        @param result: C{success}, or a result type of RFC 8460 §4.3.
        """


class ConfiguredSecurity:
    """
    Knows nothing but the routes: opportunistic where they say nothing else.
    """

    async def hosts(
        self, domain: str, hosts: tuple[str, ...], authenticated: bool
    ) -> tuple[str, ...]:
        """See L{ISecurityPolicy}."""
        return hosts

    async def securityOf(
        self, route: Route, host: str, authenticated: bool, message: QueuedMessage
    ) -> Security:
        """See L{ISecurityPolicy}."""
        if "REQUIRETLS" in message.parameters:
            # RFC 8689 §4.2.1: the host's certificate is verified.
            return Security(True, verifiedTLS(host))
        if route.tls == "none":
            return Security(False, None)
        if route.tls in ("verified", "implicit"):
            return Security(True, verifiedTLS(host))
        return Security(route.tls == "required", OpportunisticTLS(host))

    def count(self, domain: str, host: str, security: Security, result: str) -> None:
        """See L{ISecurityPolicy}."""
