# -*- test-case-name: tests.model.test_rights -*-
"""
Rights in mailboxes (RFC 4314 §2).

Rights are a C{frozenset} of letters, each of L{ALL_RIGHTS}: the virtual rights C{c} and C{d} of
RFC 2086 exist only on the wire. An identifier says whom an entry of an access control list is
about:

  - an account, by its address;
  - C{@} and a domain: all accounts of that domain;
  - L{ANYONE}: all accounts; L{ANONYMOUS}: who has logged in without being anybody;
  - each of them with a C{-} in front: rights that are taken away.

What somebody may do is the sum of what the entries about him grant, without what those with a C{-}
take away, whatever grants it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.records import MailboxInfo

Rights = frozenset[str]
NO_RIGHTS: Rights = frozenset()
#: RFC 4314 §2.1 and RFC 5257 §3.4, in the order in which they are shown.
ORDER = "lrswipkxtean"
ALL_RIGHTS: Rights = frozenset(ORDER)
#: RFC 4314 §2.1.1: the rights of RFC 2086, and what each of them stands for.
VIRTUAL: Mapping[str, Rights] = {"c": frozenset("kx"), "d": frozenset("te")}
#: MYRIGHTS may be asked by whoever has one of these (RFC 4314 §4); with none of them, a mailbox is
#: not there.
REVEALING: Rights = frozenset("lrikxa")

#: Entries of one access control list.
MAX_ENTRIES = 1000

ANYONE = "anyone"
ANONYMOUS = "anonymous"
NEGATIVE = "-"


def parseRights(text: str) -> Rights:
    """
    @raise SyntaxProblem: if there is a character that is no right (RFC 4314 §3.1: "an unrecognized
        right MUST cause the command to return the BAD response").
    """
    rights: set[str] = set()
    for letter in text:
        if letter in VIRTUAL:
            rights |= VIRTUAL[letter]
        elif letter in ALL_RIGHTS:
            rights.add(letter)
        elif letter.isascii() and letter.isupper():
            raise SyntaxProblem("Uppercase rights are not allowed")
        else:
            raise SyntaxProblem(f"The right {letter} is not supported")
    return frozenset(rights)


def formatRights(rights: Rights) -> str:
    """
    @return: the letters, with those of RFC 2086 that have a member among them (RFC 4314 §2.1.1).
    """
    virtual = "".join(letter for letter, members in VIRTUAL.items() if members & rights)
    return "".join(letter for letter in ORDER if letter in rights) + virtual


def identifiersOf(address: Address) -> tuple[str, ...]:
    """
    @return: the identifiers that are about an account.
    """
    return str(address), f"@{address.domain}", ANYONE


def withNegative(identifiers: Collection[str]) -> tuple[str, ...]:
    """
    @return: the identifiers, and those that take away from them.
    """
    return (*identifiers, *(NEGATIVE + each for each in identifiers))


def effectiveRights(entries: Mapping[str, Rights], identifiers: Collection[str]) -> Rights:
    """
    @param entries: of an access control list.
    @param identifiers: those about somebody.
    @return: what he may do.
    """
    granted: set[str] = set()
    for identifier in identifiers:
        granted |= entries.get(identifier, NO_RIGHTS)
    for identifier in identifiers:
        granted -= entries.get(NEGATIVE + identifier, NO_RIGHTS)
    return frozenset(granted)


class SharedMailbox(NamedTuple):
    """
    A mailbox in whose access control list somebody was looked for.

    @ivar accountId: whose it is.
    @ivar address: the same account's.
    @ivar publicName: under which that account is public; C{None} if it is a person's.
    @ivar info: the mailbox, by the name it has in that account.
    @ivar entries: of its list, those that were looked for.
    """

    accountId: str
    address: Address
    publicName: str | None
    info: MailboxInfo
    entries: Mapping[str, Rights]
