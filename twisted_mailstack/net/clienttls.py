# -*- test-case-name: tests.net.test_clienttls -*-
"""
TLS for clients: verified, or opportunistic (RFC 7435), where an unverified certificate is better
than none.
"""

from __future__ import annotations

from ipaddress import ip_address

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions, TLSVersion, optionsForClientTLS
from zope.interface import implementer

# RFC 8996: nothing below TLS 1.2. One context for all, since making one costs milliseconds.
_unverified = CertificateOptions(verify=False, raiseMinimumTo=TLSVersion.TLSv1_2)


@implementer(IOpenSSLClientConnectionCreator)
class OpportunisticTLS:
    """
    Takes any certificate: it keeps out those who listen, not those who interfere.
    """

    def __init__(self, hostname: str) -> None:
        """
        @param hostname: for SNI (RFC 6066 §3), where it is a name.
        """
        self._hostname = hostname

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """See IOpenSSLClientConnectionCreator."""
        connection = SSL.Connection(_unverified.getContext(), None)
        if not _isAddress(self._hostname):
            connection.set_tlsext_host_name(self._hostname.encode("ascii"))
        return connection


def verifiedTLS(hostname: str) -> IOpenSSLClientConnectionCreator:
    """
    @return: takes certificates that the platform's authorities issued for this name.
    """
    options: IOpenSSLClientConnectionCreator = optionsForClientTLS(hostname)
    return options


def _isAddress(text: str) -> bool:
    try:
        ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True
