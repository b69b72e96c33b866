# -*- test-case-name: tests.smtp.test_grammar -*-
"""
SMTP command lines (RFC 5321 §4.1.2, with the UTF-8 of RFC 6531 §3.3).
"""

from __future__ import annotations

import re

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.model.address import MAX_DOMAIN, Address, ReversePath, parsePath

#   esmtp-param   = esmtp-keyword ["=" esmtp-value]
#   esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
#   esmtp-value   = 1*(%d33-60 / %d62-126)      ; RFC 6531 adds UTF8-non-ascii
_PARAMETER = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9\-]*)(?:=([\x21-\x3c\x3e-\x7e\u0080-\U0010ffff]+))?\Z"
)
_VERB = re.compile(rb"[A-Za-z]+")
#   C0, DEL, C1, and what Unicode calls the ends of lines and paragraphs
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

#: RFC 5321 §4.5.1: the one address that has no domain, the postmaster of this very server. Its
#: local-part is compared without regard to case (§4.1.1.3).
POSTMASTER = Address("postmaster", "")


def splitCommand(line: bytes) -> tuple[bytes, bytes]:
    """
    @return: the verb in upper case and what follows it, without white space around. The verb is
        empty if the line doesn't begin with letters and then a space or its end.
    """
    # RFC 5321 §4.1.1: white space at the end is tolerated.
    verb, _, argument = line.rstrip(b" \t").partition(b" ")
    if not _VERB.fullmatch(verb):
        return b"", argument
    return verb.upper(), argument.strip(b" \t")


def decodeArgument(argument: bytes) -> str:
    """
    @raise SyntaxProblem: if it isn't UTF-8 or has control characters.
    """
    try:
        text = argument.decode("utf-8")
    except UnicodeDecodeError:
        raise SyntaxProblem("Not valid UTF-8") from None
    if _CONTROLS.search(text):
        raise SyntaxProblem("Control characters are not allowed")
    return text


def parseMailArgument(text: str, word: str) -> tuple[ReversePath, dict[str, str | None]]:
    """
    Read MAIL's or RCPT's argument: C{FROM:<path> parameters}.

    @param word: C{FROM} or C{TO}.
    @return: the path (L{POSTMASTER} for RCPT's C{<Postmaster>}), and the parameters by keyword in
        upper case, a value of C{None} for those without one.
    @raise SyntaxProblem: if it is malformed.
    """
    head, colon, rest = text.partition(":")
    if not colon or head.upper() != word:
        raise SyntaxProblem(f"Syntax: {'MAIL' if word == 'FROM' else 'RCPT'} {word}:<address>")
    # Deviation: a space behind the colon is let through, as many clients send one.
    rest = rest.lstrip(" ")
    path: ReversePath
    if word == "TO" and rest[:12].lower() == "<postmaster>":
        path, rest = POSTMASTER, rest[12:]
    else:
        path, rest = parsePath(rest)
    if rest and not rest.startswith(" "):
        raise SyntaxProblem("A space must follow the path")
    parameters: dict[str, str | None] = {}
    for item in rest.split(" "):
        if not item:
            continue
        match = _PARAMETER.match(item)
        if match is None:
            raise SyntaxProblem("Malformed parameter")
        keyword = match.group(1).upper()
        if keyword in parameters:
            raise SyntaxProblem(f"{keyword} is given twice")
        parameters[keyword] = match.group(2)
    return path, parameters


def parseClientName(text: str) -> str:
    """
    EHLO's and HELO's argument: a domain or an address literal. Text that follows it is tolerated
    (RFC 5321 §4.1.1.1).

    Deviation: what is neither is taken as it stands, as many clients don't know their name; only
    characters that no domain has are refused (RFC 6531 §3.7.1: also with SMTPUTF8).

    @raise SyntaxProblem: if there is none.
    """
    name = text.split(" ", 1)[0]
    if not name or len(name) > MAX_DOMAIN or not name.isascii():
        raise SyntaxProblem("A domain name or an address literal is needed")
    return name
