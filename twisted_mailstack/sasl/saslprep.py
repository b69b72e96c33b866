# -*- test-case-name: tests.sasl.test_saslprep -*-
"""
SASLprep (RFC 4013, a profile of RFC 3454): one form for what different keyboards write differently,
so that a password typed on another machine is the same password.

It is done by Unicode 3.2, as the RFC says, so a password that is hashed today has the same form
under any later Unicode.
"""

from __future__ import annotations

import stringprep
from unicodedata import ucd_3_2_0

from twisted_mailstack.errors import SyntaxProblem

#: RFC 4013 §2.3.
_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str) -> str:
    """
    @return: the prepared string, which isn't empty.
    @raise SyntaxProblem: if nothing is left of it, or it has characters that may not be in it: the
        text says which.
    """
    # Deviation: characters that Unicode 3.2 doesn't know are allowed in stored strings too, not
    # only in queries (RFC 3454 §7): all emoji are younger, and they have no other form.
    if not (text.isascii() and text.isprintable()):
        text = "".join(_mapped(character) for character in text)
        text = ucd_3_2_0.normalize("NFKC", text)
        for character in text:
            if any(isProhibited(character) for isProhibited in _PROHIBITED):
                raise SyntaxProblem(f"The character U+{ord(character):04X} is not allowed")
        _checkDirections(text)
    if not text:
        raise SyntaxProblem("It is empty")
    return text


def _mapped(character: str) -> str:
    # RFC 4013 §2.1
    if stringprep.in_table_c12(character):
        return " "
    return "" if stringprep.in_table_b1(character) else character


def _checkDirections(text: str) -> None:
    # RFC 3454 §6
    if any(map(stringprep.in_table_d1, text)):
        ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
        if not ends or any(map(stringprep.in_table_d2, text)):
            raise SyntaxProblem(
                "Text written from right to left must not be mixed with other letters, and must"
                " begin and end with a letter"
            )
