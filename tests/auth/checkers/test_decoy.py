"""
Hashes that nobody has a password for.
"""

from __future__ import annotations

from unittest import mock

import bcrypt
from argon2.exceptions import VerifyMismatchError
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.auth import schemes
from twisted_mailstack.auth.checkers.decoy import decoyOf
from twisted_mailstack.auth.passwords import verifyPassword
from twisted_mailstack.auth.schemes import argon2, parseSecret

#: Of C{secret}, most of them.
HASHES = (
    argon2.hash("secret"),
    bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode(),
    "{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=",
    # bcrypt's alphabet has dots and slashes, wherever they come.
    "$2b$04$abcdefghijklmnopqrstuuHkkPfDAqx4Vva4zmJ2Ghv1tFBYFz/.u",
    "$2b$04$abcdefghijklmnopqrstuuHkkPfDAqx4Vva4zmJ2Ghv1tFBYF./..",
    "{PLAIN}secret",
    "{PLAIN}AAAA",
)


class DecoyTests(SynchronousTestCase):
    """
    L{decoyOf}.
    """

    def test_other(self) -> None:
        """It is of the same scheme, another one, and no password that was right is."""
        for hashed in HASHES:
            decoy = decoyOf(hashed)
            self.assertNotEqual(decoy, hashed)
            self.assertEqual(parseSecret(decoy)[0], parseSecret(hashed)[0])
            for password in (b"secret", b"AAAA"):
                self.assertFalse(verifyPassword(decoy, password), hashed)

    def test_short(self) -> None:
        """A secret as short as can be isn't left as it is."""
        self.assertFalse(verifyPassword(decoyOf("{PLAIN}one"), b"one"))

    def test_cost(self) -> None:
        """argon2 computes it to its end: what it is made of is still a hash."""
        with mock.patch.object(schemes, "argon2", wraps=argon2) as watched:
            self.assertFalse(verifyPassword(decoyOf(HASHES[0]), b"secret"))
        self.assertEqual(watched.verify.call_count, 1)
        # A damaged one would be InvalidHashError, or VerificationError, at once.
        self.assertRaises(VerifyMismatchError, argon2.verify, decoyOf(HASHES[0]), "secret")
