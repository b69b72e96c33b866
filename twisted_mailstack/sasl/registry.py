# -*- test-case-name: tests.sasl.test_registry -*-
"""
The mechanisms that servers offer and that clients use, the preferred ones first: one line each.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from twisted_mailstack.interfaces import IClientMechanism, IServerMechanism
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.sasl.login import Login, LoginClient
from twisted_mailstack.sasl.plain import Plain, PlainClient

MECHANISMS: tuple[IServerMechanism, ...] = (
    Plain(),
    Login(),
)

CLIENT_MECHANISMS: tuple[IClientMechanism, ...] = (
    PlainClient(),
    LoginClient(),
)


def offered(
    mechanisms: Sequence[IServerMechanism], info: ConnectionInfo, allowPlaintext: bool
) -> dict[bytes, IServerMechanism]:
    """
    @param allowPlaintext: passwords may be sent without TLS on this connection.
    @return: the mechanisms that may be used on this connection as it is now, by name.
    """
    return {
        mechanism.name: mechanism
        for mechanism in mechanisms
        if info.secure or allowPlaintext or not mechanism.needsTLS
    }


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
    return [
        mechanism
        for mechanism in mechanisms
        if mechanism.name in names and (info.secure or allowPlaintext or not mechanism.needsTLS)
    ]
