# -*- test-case-name: tests.model.test_address -*-
"""
Addresses and paths of RFC 5321 §4.1.2, with the UTF-8 that RFC 6531 §3.3 adds.

An L{Address} is RFC 5321's Mailbox production: local-part @ domain or address literal. The domain
is kept in lower case and as A-labels; the local-part as it was written, without needless quotes.

U-labels become A-labels by IDNA2008 (RFC 5891 §5), after the mapping of UTS #46: the standard
library has only IDNA2003, which sends mail for C{faß.example} to C{fass.example}.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import NamedTuple
from unicodedata import normalize

import idna

from twisted_mailstack.errors import SyntaxProblem

#: RFC 5321 §4.5.3.1.1-3.
MAX_LOCAL_PART = 64
MAX_DOMAIN = 255
MAX_PATH = 256

#   UTF8-non-ascii = UTF8-2 / UTF8-3 / UTF8-4 (RFC 6532 §3.1)
#   Deviation: without the control characters U+0080 to U+009F.
_NON_ASCII = r"\u00a0-\ud7ff\ue000-\U0010ffff"
#   atext = ALPHA / DIGIT / "!" / "#" / ... (RFC 5322 §3.2.3) / UTF8-non-ascii (RFC 6531 §3.3)
_ATEXT = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~\-{_NON_ASCII}]"
_DOT_STRING = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*\Z")
#   Quoted-string = DQUOTE *QcontentSMTP DQUOTE; qtextSMTP = %d32-33 / %d35-91 / %d93-126
_QUOTED = re.compile(rf'"((?:[\x20\x21\x23-\x5b\x5d-\x7e{_NON_ASCII}]|\\[\x20-\x7e])*)"\Z')
#   sub-domain = Let-dig [Ldh-str]. Deviation: underscores inside, which real hosts have.
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_\-]{0,61}[a-z0-9_])?\Z")
_ADDRESS = re.compile(r'("(?:[^"\\]|\\.)*"|[^@"]+)@(.+)\Z', re.DOTALL)
#   A-d-l = At-domain *( "," At-domain )  ; accepted and ignored (RFC 5321 §4.1.1.3, appendix C)
_SOURCE_ROUTE = re.compile(r"@[^,:<>\s]+(?:,@[^,:<>\s]+)*:")
#   IPv4-address-literal = Snum 3("." Snum); Snum = 1*3DIGIT, decimal also with zeros in front
_IPV4 = re.compile(r"0{0,2}([0-9]+)" + r"\.0{0,2}([0-9]+)" * 3 + r"\Z")


class Address(NamedTuple):
    """
    @ivar localPart: without quotes or escapes.
    @ivar domain: lower case, A-labels; an address literal with its brackets. Empty for the one
        address that has none, SMTP's C{<Postmaster>} (RFC 5321 §4.5.1).
    """

    localPart: str
    domain: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """
        @raise SyntaxProblem: if it isn't an address.
        """
        return _parse(text)

    @property
    def isASCII(self) -> bool:
        """Whether it can be sent without SMTPUTF8 (RFC 6531)."""
        return self.localPart.isascii()

    def __str__(self) -> str:
        if not self.domain:
            return self.localPart
        if _DOT_STRING.match(self.localPart):
            return f"{self.localPart}@{self.domain}"
        escaped = self.localPart.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"@{self.domain}'


#: A reverse-path: an address, or C{NULL_PATH} for notifications (RFC 5321 §4.5.5).
ReversePath = Address | None
NULL_PATH: ReversePath = None


def formatPath(path: ReversePath) -> str:
    """
    @return: the path in its angle brackets, C{<>} for the null path.
    """
    return "<>" if path is None else f"<{path}>"


def parseDomain(text: str) -> str:
    """
    @return: the domain in lower case and as A-labels, or the address literal in canonical form.
    @raise SyntaxProblem: if it is neither.
    """
    if text.startswith("["):
        return _parseLiteral(text)
    domain = text.lower()
    if not domain.isascii():
        try:
            domain = _toALabels(text)
        except UnicodeError:
            raise SyntaxProblem("Invalid domain name") from None
    if len(domain) > MAX_DOMAIN or not all(_LABEL.match(label) for label in domain.split(".")):
        raise SyntaxProblem("Invalid domain name")
    return domain


def _toALabels(domain: str) -> str:
    mapped = idna.uts46_remap(domain, std3_rules=False)
    return ".".join(
        label if label.isascii() else idna.alabel(label).decode("ascii")
        for label in mapped.split(".")
    )


def parsePath(text: str) -> tuple[ReversePath, str]:
    """
    Read a path from the head of MAIL's or RCPT's argument.

    @param text: C{<...>} and what follows.
    @return: the address (C{None} for C{<>}) and the rest behind the bracket. A source route is
        dropped.
    @raise SyntaxProblem: if there is no path.
    """
    if text.startswith("<>"):
        return None, text[2:]
    if not text.startswith("<"):
        raise SyntaxProblem("The path must be in angle brackets")
    end = _closing(text)
    inside = text[1:end]
    route = _SOURCE_ROUTE.match(inside)
    if route:
        inside = inside[route.end() :]
    return _parse(inside), text[end + 1 :]


def _closing(text: str) -> int:
    end = text.find(">")
    if end > 0 and '"' not in text[:end]:
        # Nearly every path: there is nothing in which a bracket could be meant otherwise.
        return end
    quoted = False
    at = 1
    while at < len(text):
        character = text[at]
        if quoted and character == "\\":
            at += 1
        elif character == '"':
            quoted = not quoted
        elif character == ">" and not quoted:
            return at
        at += 1
    raise SyntaxProblem("The path has no closing bracket")


@lru_cache(maxsize=4096)
def _parse(text: str) -> Address:
    match = _ADDRESS.match(text)
    if match is None:
        raise SyntaxProblem("Not an address: local-part@domain expected")
    localPart, domain = match.groups()
    quoted = _QUOTED.match(localPart)
    if quoted:
        localPart = re.sub(r"\\(.)", r"\1", quoted.group(1))
    elif not _DOT_STRING.match(localPart):
        raise SyntaxProblem("Invalid local-part")
    if len(localPart.encode("utf-8")) > MAX_LOCAL_PART:
        raise SyntaxProblem("The local-part is too long")
    address = Address(localPart, parseDomain(domain))
    # As it will be written, so that whatever is taken here can be sent on.
    if len(str(address).encode("utf-8")) > MAX_PATH - 2:
        raise SyntaxProblem("The address is too long")
    return address


def _parseLiteral(text: str) -> str:
    #   address-literal = "[" ( IPv4 / IPv6:... / General ) "]"   (RFC 5321 §4.1.3)
    if not text.endswith("]"):
        raise SyntaxProblem("Invalid address literal")
    inside = text[1:-1]
    if "%" in inside:
        # A zone (RFC 4007 §11) means nothing to anybody else, and may have any character in it.
        raise SyntaxProblem("Invalid address literal")
    try:
        if inside[:5].lower() == "ipv6:":
            return f"[IPv6:{ipaddress.IPv6Address(inside[5:])}]"
        # Of General-address-literal there is none: IANA's registry of tags has IPv6 alone.
        numbers = _IPV4.sub(r"\1.\2.\3.\4", inside)
        return f"[{ipaddress.IPv4Address(numbers)}]"
    except ValueError:
        raise SyntaxProblem("Invalid address literal") from None


def foldLocalPart(localPart: str) -> str:
    """
    How a local-part of our own domains is compared: without regard to case (RFC 5321 §2.4 leaves
    that to the domain's own host), Unicode-normalised.
    """
    if localPart.isascii():
        return localPart.lower()
    # Unicode's canonical caseless matching; decomposed first, or marks could hide from folding.
    return normalize("NFC", normalize("NFD", localPart).casefold())
