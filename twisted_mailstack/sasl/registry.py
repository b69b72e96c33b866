"""
The mechanisms that servers offer, the preferred ones first: one line each.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted_mailstack.interfaces import IServerMechanism
from twisted_mailstack.model.records import ConnectionInfo
from twisted_mailstack.sasl.login import Login
from twisted_mailstack.sasl.plain import Plain

MECHANISMS: tuple[IServerMechanism, ...] = (
    Plain(),
    Login(),
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
