# -*- test-case-name: tests.delivery.test_quotawarnings -*-
"""
Warnings of quotas: an account that has come above a threshold of its quota is told by a message in
its INBOX, and the log has a line, once for each time that it comes above.

It is looked at now and then, so it makes no difference by which way the mail came, and costs no
delivery anything. What was warned of is in the store's memory, so a restart warns nobody again.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from email.header import Header

from twisted.logger import Logger

from twisted_mailstack.errors import MailError, NoSuchAccount
from twisted_mailstack.interfaces import IKeyedMemory, IMailStore
from twisted_mailstack.model.dates import formatFieldDate
from twisted_mailstack.model.mailboxname import INBOX
from twisted_mailstack.model.records import AccountRecord, Placement, Quota

#: Seconds between two looks at all accounts.
INTERVAL = 300.0
#: Accounts that are looked at until others have their turn.
SLICE = 100
#: Seconds for which it is known that somebody was warned, should he stay above for ever.
KEPT = 10 * 365 * 86400


class QuotaWarner:
    """
    Looks after the accounts of one store.
    """

    log = Logger()

    def __init__(
        self,
        store: IMailStore,
        memory: IKeyedMemory,
        thresholds: Sequence[int],
        hostname: str,
        now: Callable[[], float],
        pause: Callable[[], Awaitable[None]],
    ) -> None:
        """
        @param thresholds: in percent of the quota.
        @param hostname: whose warnings they are.
        @param now: seconds since 1970.
        @param pause: lets others have their turn.
        """
        self._store = store
        self._memory = memory
        self._thresholds = sorted(set(thresholds))
        self._hostname = hostname
        self._now = now
        self._pause = pause

    async def look(self) -> None:
        """
        Look at all accounts, and warn those that have come above a threshold since last time.
        """
        if not self._thresholds:
            return
        limited = [each for each in await self._store.directory.listAccounts() if each.limited]
        for number, record in enumerate(limited):
            if number % SLICE == SLICE - 1:
                await self._pause()
            try:
                await self._lookAt(record)
            except NoSuchAccount:
                # Removed meanwhile.
                continue

    async def _lookAt(self, record: AccountRecord) -> None:
        account = await self._store.openAccount(record.accountId)
        quota = await account.quota()
        percent = usedPercent(quota)
        keys = {each: f"quota:{record.accountId}:{each}" for each in self._thresholds}
        known = await self._memory.recall(list(keys.values()))
        now = int(self._now())
        below = [key for each, key in keys.items() if percent < each and key in known]
        if below:
            # It may come above them again.
            await self._memory.remember([(key, 0, now) for key in below])
        above = [key for each, key in keys.items() if percent >= each and key not in known]
        if not above:
            return
        # Another process may look at the same time: one of them warns.
        ours = secrets.randbelow(2**52)
        entries = [(key, ours, now + KEPT) for key in above]
        kept = await self._memory.introduce(entries)
        if kept[above[-1]] == ours:
            await self._warn(record, quota, percent)

    async def _warn(self, record: AccountRecord, quota: Quota, percent: int) -> None:
        self.log.warn(
            "quota: user={address} used={percent}% octets={quota.octets} of {octetLimit}"
            " messages={quota.messages} of {messageLimit}",
            address=str(record.address),
            percent=percent,
            quota=quota,
            octetLimit="any" if quota.octetLimit is None else quota.octetLimit,
            messageLimit="any" if quota.messageLimit is None else quota.messageLimit,
        )
        now = int(self._now())
        writer = self._store.newContent()
        try:
            waiting = writer.write(self._message(record, quota, percent, now))
            if waiting is not None:
                await waiting
            staged = await writer.finish()
        except BaseException:
            writer.abort()
            raise
        try:
            await self._store.deliver(staged, [Placement(record.accountId, INBOX)], now)
        except MailError as error:
            # It is full; its owner hears of that from his clients.
            self.log.info(
                "quota: user={address} can't be told: {error.text}",
                address=str(record.address),
                error=error,
            )
        finally:
            staged.discard()

    def _message(self, record: AccountRecord, quota: Quota, percent: int, now: int) -> bytes:
        lines = [f"{percent} percent of the room for your mail are in use."]
        if quota.octetLimit is not None:
            lines.append(f"In use: {_size(quota.octets)} of {_size(quota.octetLimit)}.")
        if quota.messageLimit is not None:
            lines.append(f"In use: {quota.messages} messages of {quota.messageLimit}.")
        lines += ["When nothing is left new mail is refused. Delete what you don't need any more."]
        address = str(record.address)
        to = address if address.isascii() else Header(address, "utf-8").encode()
        head = (
            f"From: Mail delivery system <MAILER-DAEMON@{self._hostname}>",
            f"To: {to}" if address.isascii() else f"To: {to}:;",
            f"Subject: Your mailbox is {percent} percent full",
            "Date: " + formatFieldDate(now).decode("ascii"),
            f"Message-ID: <{secrets.token_hex(12)}@{self._hostname}>",
            # RFC 3834 §5: nobody answers it.
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=us-ascii",
        )
        return "".join(f"{line}\r\n" for line in (*head, "", *lines)).encode("ascii")


def usedPercent(quota: Quota) -> int:
    """
    @return: how much of a quota is in use, in whole percent, of the limit that is nearer.
    """
    found = 0
    for used, limit in (
        (quota.octets, quota.octetLimit),
        (quota.messages, quota.messageLimit),
    ):
        if limit is not None:
            found = max(found, used * 100 // limit if limit else 100)
    return found


def _size(octets: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if octets >= size:
            return f"{octets / size:.1f} {unit}"
    return f"{octets} octets"
