# -*- test-case-name: tests.auth.checkers.test_decoy -*-
"""
Hashes to verify against for names that aren't known, so that they take as long as those that are.
"""

from __future__ import annotations

import re

#: The last characters of a hash, in any of the alphabets of base64 and of crypt(3), whatever fills
#: it up.
_LAST = re.compile(r"[A-Za-z0-9+/.]{1,4}(?=[^A-Za-z0-9+/.]*\Z)")


def decoyOf(hashed: str) -> str:
    """
    @return: a hash that costs as much as that one, and is of no password that anybody knows. It
        isn't the same: who knows that password would find it remembered, and be fast.
    """
    return _LAST.sub(lambda match: "AAAA" if match[0] != "AAAA" else "QQQQ", hashed)
