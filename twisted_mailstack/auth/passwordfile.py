# -*- test-case-name: tests.auth.test_passwordfile -*-
"""
Password files: a line each, C{user:hash}, with whatever Dovecot's passwd-file has behind that,
C{user:hash:uid:gid:gecos:home:shell:name=value name=value}.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from typing import NamedTuple
from unicodedata import normalize

from twisted_mailstack.auth.names import addressKey, parseAddress
from twisted_mailstack.auth.schemes import parseSecret, withName
from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.model.address import Address

#: What the digits of a DES crypt are, which has nothing to know it by but its length.
_CRYPT = frozenset("./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
#: Octets of a line.
MAX_LINE = 16384


class Entry(NamedTuple):
    """
    A line.

    @ivar secret: as L{parseSecret} reads it; C{None}: with no password one gets in.
    @ivar extra: the fields by name that stand behind the others; C{""} for one without a value.
    """

    number: int
    address: Address
    secret: str | None
    extra: Mapping[str, str]

    @property
    def isLocked(self) -> bool:
        """Whether nobody is to log in, whatever the password."""
        return "nologin" in self.extra

    @property
    def networks(self) -> tuple[str, ...]:
        """
        From which one may log in; empty: from everywhere.

        @raise SyntaxProblem: if they are none.
        """
        found = []
        for text in filter(None, self.extra.get("allow_nets", "").split(",")):
            try:
                found.append(str(ip_network(text, strict=False)))
            except ValueError:
                raise SyntaxProblem(f"allow_nets: {text!r} is no network") from None
        if "allow_nets" in self.extra and not found:
            raise SyntaxProblem("allow_nets has no networks")
        return tuple(found)


class BadLine(NamedTuple):
    """
    A line that can't be used.

    @ivar text: why, without anything of its password.
    """

    number: int
    text: str


def parsePasswordFile(
    octets: bytes, defaultDomain: str | None = None
) -> tuple[dict[str, Entry], list[BadLine]]:
    """
    @param defaultDomain: of names without C{@}; C{None}: their lines are bad ones.
    @return: the entries, by the L{addressKey} of each, and the lines that are none.
    """
    entries: dict[str, Entry] = {}
    bad = []
    for number, line in enumerate(octets.split(b"\n"), 1):
        line = line.removesuffix(b"\r")
        if not line.strip() or line.startswith(b"#"):
            continue
        try:
            entry = _parseLine(number, line, defaultDomain)
            key = addressKey(entry.address)
            if key in entries:
                # Which of them holds would be a matter of luck.
                raise SyntaxProblem(f"{entry.address} is in line {entries[key].number} already")
            entries[key] = entry
        except SyntaxProblem as problem:
            bad.append(BadLine(number, problem.text))
    return entries, bad


def _parseLine(number: int, line: bytes, defaultDomain: str | None) -> Entry:
    if len(line) > MAX_LINE:
        raise SyntaxProblem("it is too long")
    if b"\0" in line:
        raise SyntaxProblem("there is a NUL in it")
    try:
        name, separator, rest = normalize("NFC", line.decode("utf-8")).partition(":")
    except UnicodeDecodeError:
        raise SyntaxProblem("it is not UTF-8") from None
    if not separator:
        raise SyntaxProblem("there is no colon")
    address = parseAddress(name.encode("utf-8"), defaultDomain)
    if address is None:
        hint = "" if "@" in name or defaultDomain else ": it has no domain"
        raise SyntaxProblem(f"{name[:80]!r} is no address{hint}")
    fields = rest.split(":", 6)
    extra = {}
    for word in fields[6].split() if len(fields) > 6 else ():
        key, _, value = word.partition("=")
        extra[key.lower()] = value
    if "nopassword" in extra:
        raise SyntaxProblem("nopassword: that anybody may log in is not for here")
    return Entry(number, address, _secret(fields[0], name), extra)


def _secret(text: str, name: str) -> str | None:
    if not text or text[0] in "!*" or text == "x":
        # As in /etc/shadow: locked, or elsewhere.
        return None
    if len(text) == 13 and _CRYPT.issuperset(text):
        text = "{CRYPT}" + text
    text = withName(text, name)
    parseSecret(text)
    return text
