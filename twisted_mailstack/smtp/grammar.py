# -*- test-case-name: tests.smtp.test_grammar -*-
"""
SMTP command lines (RFC 5321 §4.1.2, with the UTF-8 of RFC 6531 §3.3).
"""

from __future__ import annotations

import re

from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.model.address import Address, ReversePath, parseDomain, parsePath

#   esmtp-param   = esmtp-keyword ["=" esmtp-value]
#   esmtp-keyword = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
#   esmtp-value   = 1*(%d33-60 / %d62-126)      ; RFC 6531 adds UTF8-non-ascii
_PARAMETER = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9\-]*)(?:=([\x21-\x3c\x3e-\x7e\u0080-\U0010ffff]+))?\Z"
)
_VERB = re.compile(rb"[A-Za-z]+")


def splitCommand(line: bytes) -> tuple[bytes, bytes]:
    """
    @return: the verb in upper case and what follows it, without white space around. The verb is
        empty if the line doesn't begin with letters.
    """
    verb, _, argument = line.strip(b" \t").partition(b" ")
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
    if not text.isprintable():
        raise SyntaxProblem("Control characters are not allowed")
    return text


def parseMailArgument(text: str, word: str) -> tuple[ReversePath, dict[str, str | None]]:
    """
    Read MAIL's or RCPT's argument: C{FROM:<path> parameters}.

    @param word: C{FROM} or C{TO}.
    @raise SyntaxProblem: if it is malformed.
    """
    head, colon, rest = text.partition(":")
    if not colon or head.strip().upper() != word:
        raise SyntaxProblem(f"Syntax: {'MAIL' if word == 'FROM' else 'RCPT'} {word}:<address>")
    # Deviation: a space behind the colon is let through, as many clients send one.
    rest = rest.lstrip(" ")
    path: ReversePath
    if word == "TO" and rest[:12].lower() == "<postmaster>":
        # RFC 5321 §4.5.1: postmaster without a domain; the caller gives it one.
        path, rest = Address("postmaster", ""), rest[12:]
    else:
        path, rest = parsePath(rest)
    if rest and not rest.startswith(" "):
        raise SyntaxProblem("A space must follow the path")
    parameters: dict[str, str | None] = {}
    for item in rest.split():
        match = _PARAMETER.match(item)
        if match is None:
            raise SyntaxProblem("Malformed parameter")
        keyword = match.group(1).upper()
        if keyword in parameters:
            raise SyntaxProblem(f"{keyword} is given twice")
        parameters[keyword] = match.group(2)
    return path, parameters


def parseClientName(text: str, strict: bool = False) -> str:
    """
    EHLO's and HELO's argument: a domain or an address literal.

    @param strict: refuse what is neither. Many clients send names that aren't valid, so otherwise
        anything printable of reasonable length is taken as it stands.
    @raise SyntaxProblem: if there is none.
    """
    name = text.split(" ", 1)[0]
    if not name or len(name) > 255:
        raise SyntaxProblem("A domain name or an address literal is needed")
    if strict:
        parseDomain(name)
    return name
