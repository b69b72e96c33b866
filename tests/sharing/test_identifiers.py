"""
Identifiers as people write them: C{twisted_mailstack.sharing.identifiers}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.test_memory import MemoryStore
from twisted_mailstack.errors import MailError, SyntaxProblem
from twisted_mailstack.sharing.identifiers import canonicalIdentifier


class IdentifierTests(MemoryStore, SynchronousTestCase):
    """
    RFC 4314 §3.
    """

    def canonical(self, text: str, domain: str | None = None) -> str:
        """
        @return: what lists have for it.
        """
        return self.wait(canonicalIdentifier(self.store.directory, text, domain))

    def test_known(self) -> None:
        """Accounts, domains and the words; the spelling is that of the account."""
        self.addAccount("Grace.Hopper")
        for text, expected in (
            ("grace.hopper@EXAMPLE.test", "Grace.Hopper@example.test"),
            ('"grace.hopper"@example.test', "Grace.Hopper@example.test"),
            ("-alice@example.test", "-alice@example.test"),
            ("anyone", "anyone"),
            ("-anyone", "-anyone"),
            ("anonymous", "anonymous"),
            ("@Example.TEST", "@example.test"),
            ("-@example.test", "-@example.test"),
            # SASLprep maps these away.
            ("al\u00adice@example.test", "alice@example.test"),
        ):
            self.assertEqual(self.canonical(text), expected, text)

    def test_defaultDomain(self) -> None:
        """A name without a domain is understood as at login."""
        self.assertEqual(self.canonical("alice", "example.test"), "alice@example.test")
        self.assertEqual(self.canonical("-alice", "example.test"), "-alice@example.test")
        self.assertEqual(self.canonical("anyone", "example.test"), "anyone")
        self.assertRaises(MailError, self.canonical, "alice")

    def test_nobody(self) -> None:
        """What is about nobody is refused, and isn't a mistake of syntax."""
        for text in ("bob@example.test", "bob", "Anyone", "$team", "--alice@example.test", "a b"):
            with self.assertRaises(MailError) as caught:
                self.canonical(text)
            self.assertNotIsInstance(caught.exception, SyntaxProblem)
            self.assertEqual(caught.exception.imapCode, "NONEXISTENT")

    def test_impossible(self) -> None:
        """What can't be prepared, or is empty then, is (§3: BAD)."""
        for text in ("", "-", "\u00ad", "a\x07b", "\u0627b@example.test", "@", "@a..b"):
            self.assertRaises(SyntaxProblem, self.canonical, text)
