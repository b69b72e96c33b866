# -*- test-case-name: tests.auth.test_onetime -*-
"""
One-time codes of a clock (TOTP, RFC 6238): six digits of SHA-1, a new one every thirty seconds, as
every application for them knows.
"""

from __future__ import annotations

import hmac
import os
from base64 import b32decode, b32encode
from binascii import Error
from collections.abc import Callable
from secrets import randbelow
from urllib.parse import quote

from twisted_mailstack.interfaces import IKeyedMemory

#: RFC 6238 §4's X, and the digits of a code.
STEP = 30
DIGITS = 6
#: Steps that a clock may be off (RFC 6238 §5.2: one is recommended).
DRIFT = 1
#: Octets of a secret (RFC 4226 §4: 20 are recommended).
SECRET = 20


def newSecret() -> str:
    """
    @return: a secret in base32, as applications take it.
    """
    return b32encode(os.urandom(SECRET)).decode("ascii")


def code(secret: str, counter: int) -> str:
    """
    @param secret: in base32, upper or lower case, with or without spaces.
    @param counter: seconds since 1970, divided by L{STEP}.
    @return: RFC 4226 §5.3's digits.
    @raise ValueError: if the secret is none.
    """
    text = secret.replace(" ", "").rstrip("=").upper()
    try:
        key = b32decode(text + "=" * (-len(text) % 8))
    except Error as error:
        raise ValueError(str(error)) from None
    if not key:
        raise ValueError("an empty secret")
    digest = hmac.digest(key, counter.to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 15
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def secretURI(secret: str, account: str, issuer: str) -> str:
    """
    @return: what applications read as a QR code.
    """
    return f"otpauth://totp/{quote(issuer)}:{quote(account)}?secret={secret}&issuer={quote(issuer)}"


class OneTimeCodes:
    """
    Checks codes, each of which holds once, wherever and in whatever process it is shown.
    """

    def __init__(self, memory: IKeyedMemory, now: Callable[[], float]) -> None:
        """
        @param memory: which codes were used.
        @param now: seconds since 1970.
        """
        self._memory = memory
        self._now = now

    async def use(self, accountId: str, secret: str, given: bytes) -> bool:
        """
        @param secret: the account's.
        @return: whether the code is one of now that hasn't been used (RFC 6238 §5.2: "The verifier
            MUST NOT accept the second attempt of the OTP").
        """
        current = int(self._now()) // STEP
        for counter in range(current - DRIFT, current + DRIFT + 1):
            try:
                wanted = code(secret, counter)
            except ValueError:
                return False
            if hmac.compare_digest(wanted.encode("ascii"), given):
                ours = randbelow(2**52)
                key = f"totp:{accountId}:{counter}"
                until = (current + 2 * DRIFT + 2) * STEP
                kept = await self._memory.introduce([(key, ours, until)])
                return kept[key] == ours
        return False
