# -*- test-case-name: tests.sasl.test_registry -*-
"""
The mechanisms that servers offer and that clients use, the preferred ones first: one line each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from twisted_mailstack.errors import EncryptionRequired
from twisted_mailstack.interfaces import (
    IClientMechanism,
    IConditionalMechanism,
    INegotiatingMechanism,
    ISecretSource,
    IServerMechanism,
    ITokenVerifier,
)
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.sasl.anonymous import Anonymous, AnonymousClient
from twisted_mailstack.sasl.crammd5 import CramMD5, CramMD5Client
from twisted_mailstack.sasl.external import CertificateNames, External, ExternalClient
from twisted_mailstack.sasl.gssapi import GSSAPI, GSSAPIClient, SecurityContext
from twisted_mailstack.sasl.login import Login, LoginClient
from twisted_mailstack.sasl.oauthbearer import OAuthBearer, OAuthBearerClient
from twisted_mailstack.sasl.plain import Plain, PlainClient
from twisted_mailstack.sasl.scram import Scram, ScramClient
from twisted_mailstack.sasl.xoauth2 import XOAuth2, XOAuth2Client


class MechanismServices(NamedTuple):
    """
    What mechanisms can need. Those that need what isn't there aren't offered.

    @ivar names: of those that are offered beside one another.
    @ivar hostname: the server's.
    @ivar secrets: for SCRAM and CRAM-MD5.
    @ivar covers: whether there is one in that scheme for everybody who has a password. Else SCRAM
        isn't offered: clients prefer it, and those for whom there is none would fail.
    @ivar tokens: for OAUTHBEARER and XOAUTH2.
    @ivar tokenHints: what their clients are told of where tokens are to be had.
    @ivar certificates: for EXTERNAL.
    @ivar anonymous: whether there is something for ANONYMOUS to see.
    @ivar tickets: for GSSAPI; C{accountName} too.
    """

    names: Collection[str]
    hostname: str = "localhost"
    secrets: ISecretSource | None = None
    covers: Callable[[str], bool] = lambda scheme: True
    tokens: ITokenVerifier | None = None
    tokenHints: Mapping[str, str] = {}
    certificates: CertificateNames | None = None
    anonymous: bool = False
    tickets: Callable[[], SecurityContext] | None = None
    accountName: Callable[[str], bytes | None] | None = None


Maker = Callable[[MechanismServices], IServerMechanism | None]


def _scram(scheme: str, plus: bool) -> Maker:
    def make(services: MechanismServices) -> IServerMechanism | None:
        if services.secrets is None:
            return None
        plusOffered = scheme.upper() + "-PLUS" in services.names
        covers = partial(services.covers, scheme)
        return Scram(scheme, services.secrets, plus=plus, plusOffered=plusOffered, covers=covers)

    return make


def _crammd5(services: MechanismServices) -> IServerMechanism | None:
    source = services.secrets
    return None if source is None else CramMD5(source, services.hostname)


def _oauthbearer(services: MechanismServices) -> IServerMechanism | None:
    tokens = services.tokens
    return None if tokens is None else OAuthBearer(tokens, services.tokenHints)


def _xoauth2(services: MechanismServices) -> IServerMechanism | None:
    tokens = services.tokens
    return None if tokens is None else XOAuth2(tokens, services.tokenHints)


def _external(services: MechanismServices) -> IServerMechanism | None:
    return None if services.certificates is None else External(services.certificates)


def _gssapi(services: MechanismServices) -> IServerMechanism | None:
    if services.tickets is None or services.accountName is None:
        return None
    return GSSAPI(services.tickets, services.accountName)


#: All that there are, by name.
MAKERS: Mapping[str, Maker] = {
    "EXTERNAL": _external,
    "GSSAPI": _gssapi,
    "SCRAM-SHA-512-PLUS": _scram("scram-sha-512", plus=True),
    "SCRAM-SHA-256-PLUS": _scram("scram-sha-256", plus=True),
    "SCRAM-SHA-1-PLUS": _scram("scram-sha-1", plus=True),
    "SCRAM-SHA-512": _scram("scram-sha-512", plus=False),
    "SCRAM-SHA-256": _scram("scram-sha-256", plus=False),
    "SCRAM-SHA-1": _scram("scram-sha-1", plus=False),
    "OAUTHBEARER": _oauthbearer,
    "XOAUTH2": _xoauth2,
    "PLAIN": lambda services: Plain(),
    "LOGIN": lambda services: Login(),
    "CRAM-MD5": _crammd5,
    "ANONYMOUS": lambda services: Anonymous() if services.anonymous else None,
}

#: What a server can offer of which nothing is known but a portal that takes passwords.
MECHANISMS: tuple[IServerMechanism, ...] = (Plain(), Login())

CLIENT_MECHANISMS: tuple[IClientMechanism, ...] = (
    ExternalClient(),
    GSSAPIClient(),
    ScramClient("scram-sha-512", plus=True),
    ScramClient("scram-sha-256", plus=True),
    ScramClient("scram-sha-1", plus=True),
    ScramClient("scram-sha-512"),
    ScramClient("scram-sha-256"),
    ScramClient("scram-sha-1"),
    OAuthBearerClient(),
    XOAuth2Client(),
    PlainClient(),
    LoginClient(),
    CramMD5Client(),
    AnonymousClient(),
)


def makeMechanisms(services: MechanismServices) -> tuple[IServerMechanism, ...]:
    """
    @return: the mechanisms of C{services.names} that can be had, in the order of the registry.
    @raise KeyError: with the name of one that doesn't exist.
    """
    for name in services.names:
        MAKERS[name]
    made = (make(services) for name, make in MAKERS.items() if name in services.names)
    return tuple(each for each in made if each is not None)


def _isAvailable(mechanism: IServerMechanism, info: ConnectionInfo) -> bool:
    return not IConditionalMechanism.providedBy(mechanism) or mechanism.isAvailable(info)


def offered(
    mechanisms: Iterable[IServerMechanism], info: ConnectionInfo, allowPlaintext: bool
) -> dict[bytes, IServerMechanism]:
    """
    @param allowPlaintext: passwords may be sent without TLS on this connection.
    @return: the mechanisms that may be used on this connection as it is now, by name.
    """
    return {
        mechanism.name: mechanism
        for mechanism in mechanisms
        if (info.secure or allowPlaintext or not mechanism.needsTLS)
        and _isAvailable(mechanism, info)
    }


def choose(
    mechanisms: Iterable[IServerMechanism], name: bytes, info: ConnectionInfo, allowPlaintext: bool
) -> IServerMechanism | None:
    """
    @param name: what a client asks for, in any case.
    @return: the mechanism of that name, C{None} if there is none that could be used here.
    @raise EncryptionRequired: if it can be used under TLS only.
    """
    for mechanism in mechanisms:
        if mechanism.name == name.upper():
            if mechanism.needsTLS and not info.secure and not allowPlaintext:
                raise EncryptionRequired()
            return mechanism if _isAvailable(mechanism, info) else None
    return None


def usable(
    mechanisms: Sequence[IClientMechanism],
    names: Collection[bytes],
    info: ConnectionInfo,
    allowPlaintext: bool,
) -> list[IClientMechanism]:
    """
    @param names: of the mechanisms that the server offers, upper case.
    @param allowPlaintext: passwords may be sent without TLS on this connection.
    @return: the mechanisms that may be used with it, the preferred ones first.
    """
    found: list[IClientMechanism] = []
    for mechanism in mechanisms:
        if mechanism.name in names and (info.secure or allowPlaintext or not mechanism.needsTLS):
            if INegotiatingMechanism.providedBy(mechanism):
                negotiated = mechanism.against(names, info)
                if negotiated is not None:
                    found.append(negotiated)
            else:
                found.append(mechanism)
    return found


def showsPassword(mechanisms: Collection[IClientMechanism]) -> bool:
    """
    @param mechanisms: those that a client may use.
    @return: whether a command that sends the password as it is (LOGIN of IMAP, PASS of POP3) does
        no more than they would: one of them sends it too, or there are none.
    """
    return not mechanisms or any(each.name in (b"PLAIN", b"LOGIN") for each in mechanisms)
