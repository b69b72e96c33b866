"""
Tests for L{twisted_mailstack.model.records}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_mailstack.model.mailboxname import INBOX, normaliseName
from twisted_mailstack.model.records import (
    DEFAULT_MAILBOXES,
    SMALL_MESSAGE,
    SPECIAL_USES,
    Attribute,
)


class RecordTests(SynchronousTestCase):
    """
    What accounts begin with, and the columns they can be asked for.
    """

    def test_specialUses(self) -> None:
        """The special uses of RFC 6154 §2 and RFC 8457 §3, each once."""
        self.assertEqual(
            set(SPECIAL_USES),
            {"\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Important", "\\Junk"}
            | {"\\Sent", "\\Trash"},
        )
        self.assertEqual(len(SPECIAL_USES), 8)

    def test_defaultMailboxes(self) -> None:
        """Each account's first mailboxes have good names, each with another use."""
        names = [name for name, _ in DEFAULT_MAILBOXES]
        uses = [use for _, use in DEFAULT_MAILBOXES]
        self.assertEqual([normaliseName(name) for name in names], names)
        self.assertNotIn(INBOX, names)
        self.assertEqual(len(set(names)), len(names))
        self.assertEqual(len(set(uses)), len(uses))
        self.assertLessEqual(set(uses), set(SPECIAL_USES))
        self.assertGreaterEqual(set(uses), {"\\Drafts", "\\Sent", "\\Junk", "\\Trash", "\\Archive"})

    def test_attributes(self) -> None:
        """No two columns are the same."""
        self.assertEqual(len(Attribute.__members__), len(set(Attribute)))

    def test_smallMessage(self) -> None:
        """An ordinary message is small: it is given whole."""
        self.assertGreaterEqual(SMALL_MESSAGE, 64 * 1024)
