# -*- test-case-name: tests.auth.test_checker -*-
"""
The names under which people log in.
"""

from __future__ import annotations

from typing import NamedTuple
from unicodedata import normalize

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.model.address import Address, foldLocalPart

#: Between the account and the master in the name of a master who logs in to it.
MASTER_SEPARATOR = "*"


class LoginName(NamedTuple):
    """
    @ivar account: to which one wants to log in; C{None} if that can't be an account.
    @ivar actor: whose password it is; the same but for masters.
    """

    account: Address | None
    actor: Address | None


def parseAddress(name: bytes, defaultDomain: str | None = None) -> Address | None:
    """
    @param name: UTF-8, in any form of Unicode.
    @param defaultDomain: of names without C{@}; C{None}: they are nobody's.
    """
    try:
        text = normalize("NFC", name.decode("utf-8"))
        if "@" not in text and defaultDomain is not None:
            text = f"{text}@{defaultDomain}"
        return Address.parse(text)
    except (UnicodeDecodeError, SyntaxProblem):
        return None


def parseLogin(
    name: bytes, defaultDomain: str | None = None, authorizationIdentity: bytes | None = None
) -> LoginName:
    """
    @param name: an address, or C{account*master}.
    @param authorizationIdentity: to whose account (RFC 4616 §2), C{None} for the name's.
    """
    account, separator, actor = name.rpartition(MASTER_SEPARATOR.encode("ascii"))
    # Otherwise the star belongs to an address such as "a*b@example.org".
    isMaster = bool(separator) and (b"@" in account or (b"@" not in actor and bool(account)))
    mine = parseAddress(actor if isMaster else name, defaultDomain)
    wanted = parseAddress(account, defaultDomain) if isMaster else mine
    if authorizationIdentity is not None:
        wanted = parseAddress(authorizationIdentity, defaultDomain)
    return LoginName(wanted, mine)


def nameKey(name: bytes, defaultDomain: str | None = None) -> str:
    """
    @return: what is the same for all ways of writing one name.
    """
    actor = parseLogin(name, defaultDomain).actor
    if actor is None:
        return name.decode("utf-8", "replace").casefold()
    return addressKey(actor)


def addressKey(address: Address) -> str:
    """
    @return: what L{nameKey} makes of a name that is that address.
    """
    return f"{foldLocalPart(address.localPart)}@{address.domain}"
