# -*- test-case-name: tests.sharing.test_identifiers -*-
"""
Identifiers of access control lists as people write them (RFC 4314 §3).
"""

from __future__ import annotations

from twisted_mailstack.errors import MailError, SyntaxProblem
from twisted_mailstack.interfaces import IDirectory
from twisted_mailstack.model.address import Address, parseDomain
from twisted_mailstack.model.rights import ANONYMOUS, ANYONE, NEGATIVE
from twisted_mailstack.sasl.saslprep import saslprep


async def canonicalIdentifier(
    directory: IDirectory, text: str, defaultDomain: str | None = None
) -> str:
    """
    @param defaultDomain: of names without one, as at login.
    @return: the identifier as lists have it: an account's address as the account is written.
    @raise SyntaxProblem: if it can't be one (RFC 4314 §3: BAD).
    @raise MailError: if it is about nobody.
    """
    text = saslprep(text)
    negative = text.startswith(NEGATIVE)
    name = text.removeprefix(NEGATIVE)
    found: str | None = None
    if name in (ANYONE, ANONYMOUS):
        found = name
    elif name.startswith("@"):
        domain = parseDomain(name[1:])
        if await directory.findDomain(domain) is not None:
            found = f"@{domain}"
    else:
        if not name:
            raise SyntaxProblem("The identifier is empty")
        if "@" not in name and defaultDomain:
            name = f"{name}@{defaultDomain}"
        try:
            address = Address.parse(name)
        except SyntaxProblem:
            # It could be somebody's name elsewhere, so it is no mistake of syntax.
            record = None
        else:
            record = await directory.findAccount(address)
        if record is not None:
            found = str(record.address)
    if found is None:
        raise MailError("No such user here", imapCode="NONEXISTENT")
    return NEGATIVE + found if negative else found
