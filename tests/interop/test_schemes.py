"""
Passwords as C{doveadm pw} writes them: each scheme that it has is verified here, or refused by a
text that names it.
"""

from __future__ import annotations

import subprocess
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.harness import needs
from twisted_mailstack.auth.passwordfile import parsePasswordFile
from twisted_mailstack.auth.schemes import parseSecret, verifySecret

#: With an apostrophe and what isn't ASCII.
PASSWORD = "geheim's Gr\u00fc\u00dfe"
# DES counts no more than eight characters.
WRONG = PASSWORD.upper()
ALICE = "alice@example.test"
#: What can't be verified by a password alone: it was cut off, or holds once.
REFUSED = frozenset(("PLAIN-TRUNC", "OTP"))
#: What each can be written in.
ENCODINGS = ("", ".hex", ".b64", ".BASE64")


def doveadm(*arguments: str) -> str:
    """
    @return: what it prints.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as empty:
        # Not what this machine's own Dovecot may have, or may not.
        command = ["doveadm", "-c", empty.name, *arguments]
        done = subprocess.run(command, capture_output=True, check=True, timeout=120)
    return done.stdout.decode("utf-8").rstrip("\n")


class DoveadmTests(SynchronousTestCase):
    """
    C{doveadm pw}.
    """

    def setUp(self) -> None:
        """It is there."""
        needs("doveadm")
        self.schemes = doveadm("pw", "-l").split()
        self.assertIn("SHA512-CRYPT", self.schemes)

    def written(self, scheme: str) -> str:
        """
        @return: what it makes of the password.
        """
        cost = ("-r", "4") if scheme in ("BLF-CRYPT", "CRYPT") else ()
        return doveadm("pw", "-s", scheme, "-p", PASSWORD, "-u", ALICE, *cost)

    def test_verified(self) -> None:
        """Each scheme, in each encoding, is the password's and no other's; or it is refused."""
        for scheme in self.schemes:
            for encoding in ENCODINGS:
                text = self.written(scheme + encoding)
                entries, bad = parsePasswordFile(f"{ALICE}:{text}\n".encode())
                if scheme in REFUSED:
                    self.assertEqual(entries, {}, text)
                    ((_, said),) = bad
                    self.assertIn(f"{{{scheme}", said)
                    self.assertNotIn(text.partition("}")[2], said)
                    continue
                self.assertEqual(bad, [], text)
                secret = entries[ALICE].secret
                assert secret is not None
                found, rest = parseSecret(secret)
                self.assertTrue(verifySecret(found, rest, PASSWORD.encode()), text)
                self.assertFalse(verifySecret(found, rest, WRONG.encode()), text)
