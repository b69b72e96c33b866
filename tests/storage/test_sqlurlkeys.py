"""
Keys of mailboxes on disk: C{twisted_mailstack.storage.sql.urlkeys}. What they promise is in the
contract (L{tests.storage.test_sql}); this is about what else may be in the database.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.storage.test_sqlcheck import Damaged
from twisted_mailstack.model.records import Damage

ALICE = "alice@example.test"


class URLKeyTests(Damaged, SynchronousTestCase):
    """
    Alice's INBOX has a key.
    """

    def setUp(self) -> None:
        """Nothing is damaged yet."""
        super().setUp()
        self.key = self.wait(self.store.urlKeys.key(self.inbox.mailboxId, True))
        self.assertSound()

    def test_kept(self) -> None:
        """Another process, and the next start, find the same key."""
        other = self.startStore()
        self.assertEqual(self.wait(other.urlKeys.key(self.inbox.mailboxId, True)), self.key)

    def test_renamed(self) -> None:
        """The key stays with its mailbox, whatever that is called."""
        mailbox = self.mailbox("other")
        key = self.wait(self.store.urlKeys.key(mailbox.mailboxId, True))
        self.wait(self.account.renameMailbox("other", "another"))
        self.assertEqual(self.wait(self.store.urlKeys.key(mailbox.mailboxId, False)), key)
        self.assertSound()

    def test_check(self) -> None:
        """Keys of what isn't there are found by C{mailstack check}."""
        self.damage("INSERT INTO url_key VALUES (1, 999, x'00'), (77, 1, x'00')")
        self.assertEqual(
            self.findings(),
            [
                Damage("account A77", "does not exist, but has 1 keys of URLs"),
                Damage(ALICE, "has 1 keys of mailboxes that don't exist"),
            ],
        )
