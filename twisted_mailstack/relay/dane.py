# -*- test-case-name: tests.relay.test_dane -*-
"""
DANE for SMTP (RFC 7672): TLSA records, vouched for by DNSSEC, say which certificates a mail
exchanger has, so that nobody can pretend to be it, or that it has no TLS.

It is for mail exchangers that were found with DNSSEC as well. The records of usage 2 (DANE-TA)
and 3 (DANE-EE) count; others can't be used (RFC 7672 §3.1.3). A host whose records can't be looked
up is not used, since that is what somebody who interferes would see to (RFC 7672 §2.1.2).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from OpenSSL import SSL
from OpenSSL.crypto import (
    X509,
    X509Store,
    X509StoreContext,
    X509StoreContextError,
    X509StoreFlags,
)

from twisted_mailstack.errors import DestinationUnavailable, LookupFailed
from twisted_mailstack.interfaces import IDNSLookup
from twisted_mailstack.model.dns import TLSA
from twisted_mailstack.net.clienttls import TLSProblem, certificateProblem, nameProblem
from twisted_mailstack.relay.hosts import Exchangers, HostAddresses

# RFC 6698 §7.2-4, by the names of RFC 7218.
_DANE_TA, _DANE_EE = 2, 3
_CERT, _SPKI = 0, 1
_FULL, _SHA256, _SHA512 = 0, 1, 2
_DIGESTS = {_SHA256: hashlib.sha256, _SHA512: hashlib.sha512}


class TLSARecords(NamedTuple):
    """
    What a host's certificate is held to.

    @ivar base: the host's name in the DNS, to which the records belong (RFC 7672 §2.2.3).
    @ivar port: likewise.
    @ivar names: for which a certificate may be issued, with usage 2 (RFC 7672 §3.2.2).
    @ivar records: all of them.
    """

    base: str
    port: int
    names: tuple[str, ...]
    records: tuple[TLSA, ...]

    @property
    def usable(self) -> tuple[TLSA, ...]:
        """
        Those that can be used. If none can, TLS is a must all the same (RFC 7672 §2.2).
        """
        return tuple(record for record in self.records if _isUsable(record))

    @property
    def lines(self) -> tuple[str, ...]:
        """As in a zone file, for reports."""
        return tuple(
            f"_{self.port}._tcp.{self.base}. IN TLSA"
            f" {each.usage} {each.selector} {each.matchingType} {each.data.hex().upper()}"
            for each in sorted(self.records)
        )

    def check(self, connection: SSL.Connection) -> None:
        """
        Hold the server to them, when the handshake is done.

        @raise TLSProblem: if its certificate isn't one of those.
        """
        chain = connection.get_peer_cert_chain(as_cryptography=True)
        if not chain:
            raise TLSProblem("the server has no certificate")
        checkChain(self.usable, chain, self.names)


def _isUsable(record: TLSA) -> bool:
    if record.usage not in (_DANE_TA, _DANE_EE) or record.selector not in (_CERT, _SPKI):
        return False
    if record.matchingType in _DIGESTS:
        return len(record.data) == _DIGESTS[record.matchingType]().digest_size
    if record.matchingType != _FULL:
        return False
    try:
        if record.selector == _CERT:
            x509.load_der_x509_certificate(record.data)
        else:
            load_der_public_key(record.data)
    except Exception:
        return False
    return True


def strongest(records: Iterable[TLSA]) -> list[TLSA]:
    """
    @return: of the digests of each usage and selector the strongest: a weaker one must not be what
        lets somebody in (RFC 7671 §9).
    """
    records = list(records)
    best: dict[tuple[int, int], int] = {}
    for each in records:
        key = each.usage, each.selector
        best[key] = max(best.get(key, _FULL), each.matchingType)
    return [
        each for each in records if each.matchingType in (_FULL, best[each.usage, each.selector])
    ]


def matches(record: TLSA, certificate: x509.Certificate) -> bool:
    """
    @param record: a usable one.
    @return: whether it is of this certificate or its key (RFC 6698 §2.1).
    """
    if record.selector == _CERT:
        octets = certificate.public_bytes(Encoding.DER)
    else:
        octets = certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
    if record.matchingType != _FULL:
        octets = _DIGESTS[record.matchingType](octets).digest()
    return octets == record.data


def checkChain(
    records: Collection[TLSA], chain: Sequence[x509.Certificate], names: Sequence[str]
) -> None:
    """
    @param records: usable ones.
    @param chain: what the server sent, its own certificate first.
    @param names: see L{TLSARecords}.
    @raise TLSProblem: if no record is good for this server.
    """
    records = strongest(records)
    own = chain[0]
    if any(record.usage == _DANE_EE and matches(record, own) for record in records):
        # RFC 7672 §3.1.1: names and dates don't matter.
        return
    anchors = [
        certificate
        for certificate in chain
        if any(record.usage == _DANE_TA and matches(record, certificate) for record in records)
    ]
    for record in records:
        if (record.usage, record.selector, record.matchingType) == (_DANE_TA, _CERT, _FULL):
            # The server needn't send an authority's certificate that is in the DNS.
            anchors.append(x509.load_der_x509_certificate(record.data))
    if not anchors:
        raise TLSProblem("no TLSA record matches the server's certificates")
    _checkAnchored(anchors, chain)
    problem = nameProblem(own, names)
    if problem is not None:
        raise problem


def _checkAnchored(anchors: Iterable[x509.Certificate], chain: Sequence[x509.Certificate]) -> None:
    store = X509Store()
    # An authority of DANE-TA may be an intermediate one of somebody's (RFC 7671 §5.2).
    store.set_flags(X509StoreFlags.PARTIAL_CHAIN)
    for anchor in anchors:
        store.add_cert(X509.from_cryptography(anchor))
    own, *others = (X509.from_cryptography(each) for each in chain)
    try:
        X509StoreContext(store, own, others).verify_certificate()
    except X509StoreContextError as error:
        raise certificateProblem(error.errors[0]) from error


class DANE:
    """
    Finds the TLSA records of mail exchangers.
    """

    def __init__(self, dns: IDNSLookup) -> None:
        """
        @param dns: whose answers tell whether they were validated.
        """
        self._dns = dns

    async def recordsOf(
        self, found: Exchangers, host: HostAddresses, port: int
    ) -> TLSARecords | None:
        """
        @return: C{None} if DANE doesn't apply to that host.
        @raise DestinationUnavailable: if it can't be found out, so that the host must not be used.
        """
        if not found.authenticated:
            return None
        try:
            for base in await self._bases(host):
                answer = await self._dns.lookup(f"_{port}._tcp.{base}", "TLSA")
                if answer.authenticated and answer.records:
                    # RFC 7672 §3.2.2: all that the host is called, and the next-hop domain.
                    names = dict.fromkeys((base, host.host, host.name or base, found.domain))
                    return TLSARecords(base, port, tuple(names), answer.records)
        except LookupFailed as error:
            raise DestinationUnavailable(
                f"The TLSA records of {host.host} can't be looked up",
                enhancedStatus="4.7.5",
            ) from error
        return None

    async def _bases(self, host: HostAddresses) -> list[str]:
        # RFC 7672 §2.2.2, §2.2.3: where the aliases lead, then the name itself. In zones that
        # aren't signed nothing is asked: there is nothing to find, and some servers there break.
        if host.authenticated:
            return list(dict.fromkeys((host.name or host.host, host.host)))
        if host.name and host.name != host.host:
            alias = await self._dns.lookup(host.host, "CNAME")
            if alias.authenticated and alias.records:
                return [host.host]
        return []
