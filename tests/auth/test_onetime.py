"""
One-time codes.
"""

from __future__ import annotations

from base64 import b32encode

from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.auth.onetime import STEP, OneTimeCodes, code, newSecret, secretURI
from twisted_mailstack.storage.memory import KeyedMemory

#: RFC 6238 appendix B's secret, whose codes there have eight digits.
SECRET = b32encode(b"12345678901234567890").decode()


class CodeTests(SynchronousTestCase):
    """
    What is computed.
    """

    def test_vectors(self) -> None:
        """RFC 6238 appendix B, the last six of its digits; RFC 4226 appendix D."""
        for seconds, digits in (
            (59, "94287082"),
            (1111111109, "07081804"),
            (1111111111, "14050471"),
            (1234567890, "89005924"),
            (2000000000, "69279037"),
            (20000000000, "65353130"),
        ):
            self.assertEqual(code(SECRET, seconds // STEP), digits[2:])
        for counter, digits in enumerate(("755224", "287082", "359152", "969429", "338314")):
            self.assertEqual(code(SECRET, counter), digits)

    def test_secrets(self) -> None:
        """A secret may be written with spaces and in lower case; each new one is another."""
        spaced = " ".join((SECRET[:8], SECRET[8:])).lower()
        self.assertEqual(code(spaced, 1), code(SECRET, 1))
        self.assertNotEqual(newSecret(), newSecret())
        self.assertEqual(len(newSecret()), 32)
        for wrong in ("", "1", "!!!", "A"):
            self.assertRaises(ValueError, code, wrong, 1)

    def test_uri(self) -> None:
        """What an application scans names the account and the server."""
        self.assertEqual(
            secretURI("ABC", "a b@example.test", "mail.example.test"),
            "otpauth://totp/mail.example.test:a%20b%40example.test?secret=ABC"
            "&issuer=mail.example.test",
        )


class UseTests(SynchronousTestCase):
    """
    A code holds once.
    """

    def setUp(self) -> None:
        """It is a time in the middle of a step."""
        self.seconds = 1_700_000_000.0
        self.memory = KeyedMemory(self.now)
        self.codes = OneTimeCodes(self.memory, self.now)

    def now(self) -> float:
        """The time."""
        return self.seconds

    def use(self, given: bytes, accountId: str = "A1", codes: OneTimeCodes | None = None) -> bool:
        """
        @return: whether it is accepted.
        """
        return self.successResultOf(
            ensureDeferred((codes or self.codes).use(accountId, SECRET, given))
        )

    def current(self, drift: int = 0) -> bytes:
        """
        @return: the code of now.
        """
        return code(SECRET, int(self.seconds) // STEP + drift).encode()

    def test_once(self) -> None:
        """RFC 6238 §5.2: not a second time, in no process; another account has others."""
        given = self.current()
        self.assertTrue(self.use(given))
        self.assertFalse(self.use(given))
        elsewhere = OneTimeCodes(self.memory, self.now)
        self.assertFalse(self.use(given, codes=elsewhere))
        self.assertTrue(self.use(given, "A2"))
        self.seconds += STEP
        self.assertFalse(self.use(given))
        self.assertTrue(self.use(self.current()))

    def test_drift(self) -> None:
        """Clocks may be off by one step; what is older or younger is wrong."""
        for drift, right in ((-2, False), (-1, True), (0, True), (1, True), (2, False)):
            self.assertEqual(self.use(self.current(drift)), right, drift)

    def test_wrong(self) -> None:
        """What is no code isn't one."""
        for given in (b"", b"12345", self.current()[:-1], b" " + self.current(), b"\xff" * 6):
            self.assertFalse(self.use(given))
        self.assertFalse(
            self.successResultOf(ensureDeferred(self.codes.use("A1", "!", self.current())))
        )
