# -*- test-case-name: tests.storage.test_memory -*-
"""
What L{ILoginRecordingStore} and L{ILoginHistory} promise.
"""

from __future__ import annotations

from typing import Any

from twisted_mailstack.errors import NoSuchAccount
from twisted_mailstack.interfaces import (
    ILoginHistory,
    ILoginRecordingAccount,
    ILoginRecordingStore,
)
from twisted_mailstack.model.records import KEPT_LOGINS, KEPT_STRAY_LOGINS, LoginRecord
from twisted_mailstack.testing.contracts.base import StorageContract


class LoginHistoryContract(StorageContract):
    """
    Recent logins.
    """

    def setUp(self) -> None:
        """What is asked."""
        super().setUp()
        store: Any = self.store
        self.assertProvides(ILoginRecordingStore, store)
        self.history: ILoginHistory = store.logins
        self.assertProvides(ILoginHistory, self.history)

    def login(self, number: int = 0, accountId: str | None = None, **more: Any) -> LoginRecord:
        """
        @return: one of alice's, if no other account is named.
        """
        made = LoginRecord(
            int(self.seconds) + number,
            accountId or self.account.accountId,
            "alice@example.test",
            "imaps",
            "2001:db8::1",
            "PLAIN",
            True,
            "Telephone",
        )
        return made._replace(**more)

    def recent(self, accountId: str | None = None, limit: int = 10_000) -> list[LoginRecord]:
        """
        @return: what is known, alice's if nobody is named.
        """
        return list(self.wait(self.history.recent(accountId or self.account.accountId, limit)))

    def strays(self) -> list[LoginRecord]:
        """
        @return: what is known of names that nobody has.
        """
        return list(self.wait(self.history.recent(None, 10_000)))

    def test_recent(self) -> None:
        """The latest first, as many as are wanted; each account's alone."""
        bob = self.addAccount("bob").accountId
        mine = [
            self.login(0),
            self.login(1, success=False, name="Ali\u00e7e \ufffd", credential=""),
        ]
        theirs = self.login(2, bob)
        stray = self.login(3)._replace(accountId=None, success=False)
        self.wait(self.history.record([mine[0], theirs, stray]))
        self.wait(self.history.record([mine[1]]))
        self.wait(self.history.record([]))
        self.assertEqual(self.recent(), mine[::-1])
        self.assertEqual(self.recent(limit=1), mine[1:])
        self.assertEqual(self.recent(limit=0), [])
        self.assertEqual(self.recent(bob), [theirs])
        self.assertEqual(self.strays(), [stray])

    def test_owner(self) -> None:
        """The account tells of its own, the latest first, as many as are wanted, and no others."""
        bob = self.addAccount("bob")
        account: Any = self.account
        self.assertProvides(ILoginRecordingAccount, account)
        mine, theirs = [self.login(0), self.login(1, success=False)], self.login(2, bob.accountId)
        stray = self.login(3)._replace(accountId=None, success=False)
        self.wait(self.history.record([mine[0], theirs, mine[1], stray]))
        self.assertEqual(list(self.wait(account.recentLogins(10))), mine[::-1])
        self.assertEqual(list(self.wait(account.recentLogins(1))), mine[1:])
        self.wait(self.store.directory.removeAccount(self.account.address))
        self.assertFails(account.recentLogins(10), NoSuchAccount)

    def test_bounded(self) -> None:
        """Of an account so many are kept, of all names that nobody has so many together."""
        for start in range(0, KEPT_LOGINS + 20, 40):
            self.wait(self.history.record([self.login(start + n) for n in range(40)]))
        found = self.recent()
        self.assertEqual(len(found), KEPT_LOGINS)
        self.assertEqual(
            [found[0].when - found[-1].when, found[0].when],
            [KEPT_LOGINS - 1, int(self.seconds) + start + 39],
        )
        strays = [
            self.login(n)._replace(accountId=None, name=str(n))
            for n in range(KEPT_STRAY_LOGINS + 5)
        ]
        self.wait(self.history.record(strays))
        self.assertEqual(self.strays(), strays[:4:-1])

    def test_nobody(self) -> None:
        """What is of an account that isn't there isn't kept, and none has any."""
        for wrong in ("nobody", "A999", ""):
            self.wait(self.history.record([self.login(0, wrong or "A0"), self.login(1)]))
            self.assertEqual(list(self.wait(self.history.recent(wrong, 10))), [])
        self.assertEqual(len(self.recent()), 3)
        self.assertEqual(self.strays(), [])

    def test_removed(self) -> None:
        """It goes with its account."""
        self.wait(self.history.record([self.login()]))
        identity = self.account.accountId
        self.wait(self.store.directory.removeAccount(self.account.address))
        self.assertEqual(list(self.wait(self.history.recent(identity, 10))), [])
        self.assertEqual(self.recent(self.addAccount("alice").accountId), [])
        self.assertSound()
