# -*- test-case-name: tests.delivery.steps.test_accountlimits -*-
"""
C{account-limits}: how many messages, and to how many recipients, an account may send in an hour and
in a day, so that a stolen password is worth little (RFC 6409 §6.2).

What is counted are messages that nobody asked before refuses, with their recipients. The counters
are in the store's memory, so they hold over restarts and for all processes, and each account has
its own. It costs an account a row for each counter and interval, and a message one change more in
the group commit that it waits for anyway.

An interval slides: what counts is this hour (or day), and of the one before it the share that lies
less than an hour back, as if it had been spread evenly. So there is no moment at which twice the
limit can be sent, and two numbers are enough.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from twisted_mailstack.delivery.policy import PolicyStep
from twisted_mailstack.delivery.step import StepRecord, StepServices, needMemory
from twisted_mailstack.errors import MailError
from twisted_mailstack.interfaces import IStagedContent
from twisted_mailstack.model.address import Address, foldLocalPart
from twisted_mailstack.model.records import Envelope, Recipient

HOUR = 3600
DAY = 86400


@dataclass(frozen=True, kw_only=True)
class AccountLimitsSettings:
    """
    0 is no limit.
    """

    messagesPerHour: int = 0
    messagesPerDay: int = 0
    recipientsPerHour: int = 0
    recipientsPerDay: int = 0


class _Limit(NamedTuple):
    what: str
    most: int
    seconds: int


class AccountLimits(PolicyStep):
    """
    See the module.
    """

    def __init__(self, settings: AccountLimitsSettings, services: StepServices) -> None:
        self._memory = needMemory(services)
        self._now = services.now
        limits = (
            _Limit("messages", settings.messagesPerHour, HOUR),
            _Limit("messages", settings.messagesPerDay, DAY),
            _Limit("recipients", settings.recipientsPerHour, HOUR),
            _Limit("recipients", settings.recipientsPerDay, DAY),
        )
        self._limits = [limit for limit in limits if limit.most]

    async def reversePath(self, envelope: Envelope) -> None:
        """See L{IPolicyStep}."""
        await self._check(envelope, "messages")

    async def recipient(self, envelope: Envelope, recipient: Recipient) -> None:
        """See L{IPolicyStep}."""
        await self._check(envelope, "recipients")

    async def _check(self, envelope: Envelope, what: str) -> None:
        # Early, for clients to see it; what counts is counted in the end.
        account = envelope.authenticated
        limits = [limit for limit in self._limits if limit.what == what]
        if account is None or not limits:
            return
        now = self._now()
        keys = [key for limit in limits for key in _keys(account, limit, now)]
        numbers = await self._memory.recall(keys)
        for limit in limits:
            if _sent(numbers, account, limit, now) + 1 > limit.most:
                raise _tooMany(limit)

    async def message(
        self, envelope: Envelope, recipients: Collection[Recipient], content: IStagedContent
    ) -> bytes:
        """See L{IPolicyStep}."""
        account = envelope.authenticated
        if account is None:
            return b""
        for limit in self._limits:
            if limit.what == "recipients" and len(recipients) > limit.most:
                raise MailError(
                    f"You may send to at most {limit.most} recipients in {_TIMES[limit.seconds]}",
                    smtpCode=550,
                    enhancedStatus="5.7.1",
                )
        amounts = {"messages": 1, "recipients": len(recipients)}
        now = self._now()
        before = await self._memory.recall([_keys(account, each, now)[0] for each in self._limits])
        after = await self._add(account, amounts, now)
        for limit in self._limits:
            if _sent({**before, **after}, account, limit, now) > limit.most:
                # It isn't taken, so it doesn't count.
                await self._add(account, {what: -amount for what, amount in amounts.items()}, now)
                raise _tooMany(limit)
        return b""

    async def _add(
        self, account: Address, amounts: Mapping[str, int], now: float
    ) -> Mapping[str, int]:
        entries = []
        for limit in self._limits:
            _, key = _keys(account, limit, now)
            # It is looked at in the next interval, too.
            expires = (int(now) // limit.seconds + 2) * limit.seconds
            entries.append((key, amounts[limit.what], expires))
        return await self._memory.add(entries)


def _keys(account: Address, limit: _Limit, now: float) -> tuple[str, str]:
    # Of the interval before, and of this one.
    who = f"{foldLocalPart(account.localPart)}@{account.domain}".encode()
    head = f"sent:{limit.what}/{limit.seconds}/{sha256(who).hexdigest()[:32]}"
    interval = int(now) // limit.seconds
    return f"{head}/{interval - 1}", f"{head}/{interval}"


def _sent(numbers: Mapping[str, int], account: Address, limit: _Limit, now: float) -> float:
    before, current = (numbers.get(key, 0) for key in _keys(account, limit, now))
    return current + before * (1 - now % limit.seconds / limit.seconds)


_TIMES = {HOUR: "an hour", DAY: "a day"}


def _tooMany(limit: _Limit) -> MailError:
    return MailError(
        f"You may send {limit.most} {limit.what} in {_TIMES[limit.seconds]}: try later",
        smtpCode=450,
        enhancedStatus="4.7.1",
    )


def _make(settings: AccountLimitsSettings, services: StepServices) -> AccountLimits | None:
    limits = (
        *(settings.messagesPerHour, settings.messagesPerDay),
        *(settings.recipientsPerHour, settings.recipientsPerDay),
    )
    return AccountLimits(settings, services) if any(limits) else None


STEP = StepRecord(name="account-limits", settings=AccountLimitsSettings, make=_make)
