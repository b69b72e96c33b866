# -*- test-case-name: tests.delivery.test_target -*-
"""
Where accepted mail goes: into the accounts of a store, and into its spool for everyone else, in one
durable step, the message stored once.

An account's copy gets a Return-Path field and a Delivered-To field in front. Return-Path fields
that the message came with are removed, and whatever else is in it stays (RFC 5321 §4.4); where a
stranger's message is only relayed, they stay too. What an alias passes on to others gets a
Delivered-To field, too, where it came for nobody else, so that it is known if it comes back (RFC
9228).

Notifications (RFC 3461 §5.2.7): an alias for one address passes all wishes on. One that stands for
several passes on all but that to know of success: its sender is told that it was expanded.

A recipient that is one account is refused when that account is full. Where a message has several
recipients, or an address stands for several, an account that is full, or was removed since RCPT,
keeps nobody else's copy back: its own goes into the spool, where it waits for room, or makes a
notification. So nothing is lost or delivered twice, and the client, which gets one reply for all
(RFC 5321 §4.1.1.4), need not try again.

A store without a spool gives all of them their copy or none: then the client is told to try again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any, NamedTuple

from zope.interface import implementer

from twisted_mailstack.delivery.dispatch import Dispatch, deliveredTo
from twisted_mailstack.delivery.notification import Notifier
from twisted_mailstack.delivery.resolve import Resolver
from twisted_mailstack.delivery.returnpath import ReturnPathRemover
from twisted_mailstack.delivery.wishes import deliveryWishes
from twisted_mailstack.errors import (
    MailError,
    MessageTooLarge,
    NoSuchAccount,
    NoSuchDomain,
    OverQuota,
    TemporaryFailure,
)
from twisted_mailstack.interfaces import (
    IContentWriter,
    IDelivery,
    IHonouringTarget,
    IMailStore,
    ISpoolingStore,
    IStagedContent,
)
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.queue import (
    DELIVERED,
    EXPANDED,
    NEVER,
    QueuedMessage,
    QueuedRecipient,
)
from twisted_mailstack.model.records import AccountRecord, Envelope, Placement, Recipient
from twisted_mailstack.model.xtext import encodeUnitext, encodeXtext

Inspect = Callable[[IStagedContent], Awaitable[bytes]]


class Copy(NamedTuple):
    """
    One account's copy.

    @ivar via: which recipient reached it first, by number.
    @ivar account: whose.
    @ivar recipient: what it is as a recipient of its own.
    @ivar alone: whether the recipient that reached it is this account and nobody else.
    """

    via: int
    account: AccountRecord
    recipient: Recipient
    alone: bool


#: What a queue that is run honours.
WISHES = frozenset({"DELIVERBY", "DSN", "FUTURERELEASE", "MT-PRIORITY", "REQUIRETLS"})


@implementer(IHonouringTarget)
class MailTarget:
    """
    See the module.
    """

    def __init__(
        self,
        store: IMailStore,
        resolver: Resolver,
        dispatch: Dispatch | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        """
        @param dispatch: without a relay, mail for other domains is refused.
        @param notifier: tells senders what becomes of their mail. Without it there is no queue, so
            nothing but delivery is promised to them.
        """
        self.store = store
        self.resolver = resolver
        self.dispatch = dispatch or Dispatch()
        self.notifier = notifier
        # zope's provider is the proof that mypy can't see.
        spooling: Any = store
        self.spool = spooling.spool if ISpoolingStore.providedBy(store) else None

    @property
    def honours(self) -> frozenset[str]:
        """See L{IHonouringTarget}."""
        return WISHES if self.spool is not None and self.notifier is not None else frozenset()

    @property
    def relays(self) -> bool:
        """Whether mail for other domains can go anywhere."""
        return self.spool is not None and self.dispatch.relay is not None

    def begin(self, envelope: Envelope) -> MailDelivery:
        """See L{IHonouringTarget}."""
        return MailDelivery(self, envelope)

    async def verify(self, address: Address) -> str:
        """See L{IHonouringTarget}."""
        await self.resolver.resolve(address)
        return str(address)


@implementer(IDelivery)
class MailDelivery:
    """
    See L{IDelivery}.
    """

    def __init__(self, target: MailTarget, envelope: Envelope) -> None:
        self._target = target
        self._envelope = envelope
        self._recipients: list[Recipient] = []
        self._copies: dict[str, Copy] = {}
        self._elsewhere: dict[Address, Recipient] = {}
        # By recipient: the account that it is, if it is one and nothing else.
        self._accounts: dict[int, str] = {}
        self._expanded: set[int] = set()
        self._writer: IContentWriter | None = None
        self._remover: ReturnPathRemover | None = None
        self._wishes = deliveryWishes(envelope.parameters, int(target.dispatch.now()))

    async def addRecipient(self, recipient: Recipient) -> None:
        """See L{IDelivery}."""
        target = self._target
        if target.spool is None and self._wishes.notBefore > target.dispatch.now():
            raise MailError("This server can't hold messages", enhancedStatus="5.3.3")
        try:
            accounts, elsewhere = await target.resolver.resolve(recipient.address)
        except NoSuchDomain:
            if self._envelope.authenticated is None:
                raise
            accounts, elsewhere = [], [recipient.address]
        if elsewhere and not target.relays:
            raise MailError(
                f"{recipient.address}: this server does not relay mail to other domains",
                smtpCode=550,
                enhancedStatus="5.7.1",
            )
        several = len(accounts) + len(elsewhere) > 1
        if target.spool is None or not several:
            for account in accounts:
                await self._checkRoom(account)
        index = len(self._recipients)
        self._recipients.append(recipient)
        if several:
            self._expanded.add(index)
        elif accounts:
            self._accounts[index] = accounts[0].accountId
        for address in elsewhere:
            self._elsewhere.setdefault(address, _forwarded(recipient, address, several))
        for account in accounts:
            forwarded = _forwarded(recipient, account.address, several)
            copy = Copy(index, account, forwarded, not several)
            self._copies.setdefault(account.accountId, copy)

    async def _checkRoom(self, account: AccountRecord) -> None:
        if not account.limited:
            return
        quota = await (await self._target.store.openAccount(account.accountId)).quota()
        size = max(1, int(self._envelope.parameters.get("SIZE") or 0))
        if quota.octetLimit is not None and size > quota.octetLimit:
            # RFC 1870 §6.4: for good, since no room that can be made is enough.
            raise MessageTooLarge("The message is larger than the account", enhancedStatus="5.2.3")
        if quota.octetLimit is not None and quota.octets + size > quota.octetLimit:
            raise OverQuota()
        if quota.messageLimit is not None and quota.messages >= quota.messageLimit:
            raise OverQuota()

    def write(self, data: bytes) -> Awaitable[None] | None:
        """See L{IDelivery}."""
        writer = self._content()
        return writer.write(data if self._remover is None else self._remover.feed(data))

    def _content(self) -> IContentWriter:
        if self._writer is None:
            self._writer = self._target.store.newContent()
            # RFC 5321 §4.4: who relays must not look for them; who originates mail must not send
            # them.
            if self._copies or self._envelope.authenticated is not None:
                self._remover = ReturnPathRemover()
        return self._writer

    async def commit(self, inspect: Inspect | None = None) -> Sequence[Exception | None]:
        """See L{IDelivery}."""
        staged: IStagedContent | None = None
        try:
            writer = self._content()
            if self._remover is not None:
                waiting = writer.write(self._remover.finish())
                if waiting is not None:
                    await waiting
            staged = await writer.finish()
            added = b"" if inspect is None else await inspect(staged)
            return await self._place(staged, added)
        except BaseException:
            self.abort()
            raise
        finally:
            if staged is not None:
                staged.discard()

    async def _place(self, staged: IStagedContent, added: bytes) -> Sequence[Exception | None]:
        target, envelope = self._target, self._envelope
        now = int(target.dispatch.now())
        # RFC 4865: what is to wait waits in the spool, whoever it is for.
        held = self._wishes.notBefore > now
        copies = [] if held else list(self._copies.values())
        queued = self._queued(added, held)
        waiting = queued.recipients if held else queued.recipients[: len(self._elsewhere)]
        placements = [
            target.dispatch.placement(
                copy.account, self._addressOf(copy), envelope.reversePath, added
            )
            for copy in copies
        ]
        # The only one, and who is told by a reply of its own, can be told.
        only = len(self._copies) + len(self._elsewhere) == 1
        told = [copy.alone and (envelope.perRecipient or only) for copy in copies]
        results: Sequence[Exception | None]
        if target.spool is None:
            results = await self._deliverAll(staged, placements, now)
        else:
            successes, expanded = self._successes(queued, copies)
            results = await target.spool.accept(
                staged,
                placements,
                now,
                queued._replace(recipients=(*waiting, *expanded)),
                fallbacks=[
                    None if each else fallback
                    for each, fallback in zip(told, queued.recipients[len(waiting) :], strict=True)
                ],
                successes=successes,
            )
        refused = {
            copy.via: result
            for copy, result, each in zip(copies, results, told, strict=True)
            if each
        }
        return [refused.get(number) for number in range(len(self._recipients))]

    async def _deliverAll(
        self, staged: IStagedContent, placements: Sequence[Placement], now: int
    ) -> Sequence[Exception | None]:
        try:
            return await self._target.store.deliver(staged, placements, now)
        except NoSuchAccount:
            # Removed since RCPT: the next attempt will say so of that recipient alone.
            raise TemporaryFailure() from None

    def _queued(self, added: bytes, held: bool) -> QueuedMessage:
        """
        @return: the message with all recipients that it may have in the spool, those elsewhere
            first, then the accounts.
        """
        envelope, wishes = self._envelope, self._wishes
        return self._target.dispatch.queued(
            envelope.queueId,
            envelope.reversePath,
            envelope.parameters,
            [
                *((recipient, None) for recipient in self._elsewhere.values()),
                *((copy.recipient, self._addressOf(copy)) for copy in self._copies.values()),
            ],
            added=self._passedOn() + added,
            origin=str(envelope.authenticated or envelope.connection.peer),
            notBefore=wishes.notBefore,
            expires=wishes.expires,
            warnAt=wishes.warnAt,
            priority=wishes.priority,
        )

    def _passedOn(self) -> bytes:
        # With several recipients it would tell each of another (RFC 5321 §7.2). A loop comes round
        # with one.
        if len(self._recipients) != 1 or not self._elsewhere:
            return b""
        address = self._recipients[0].address
        if not address.domain or address in self._elsewhere:
            return b""
        return deliveredTo(address)

    def _addressOf(self, copy: Copy) -> Address:
        # As the client named the recipient; the postmaster without domain is nobody's address.
        address = self._recipients[copy.via].address
        return address if address.domain else copy.account.address

    def _successes(
        self, queued: QueuedMessage, copies: Sequence[Copy]
    ) -> tuple[Sequence[Sequence[QueuedRecipient]], Sequence[QueuedRecipient]]:
        """
        @param copies: that are to be made at once. Of the others whoever takes them out of the
            spool tells.
        @return: of whom the sender is to be told with each copy that is made; and in any case,
            since they were expanded. They wait in the spool for that, so it is not forgotten.
        """
        byAccount: dict[str, list[QueuedRecipient]] = {
            copy.account.accountId: [] for copy in copies
        }
        expanded: list[QueuedRecipient] = []
        notifier = self._target.notifier
        numbers = count(len(queued.recipients))
        for number, given in enumerate(self._recipients):
            if notifier is None or "NOTIFY" not in given.parameters:
                continue
            found, action = byAccount.get(self._accounts.get(number, "")), "delivered"
            destination = DELIVERED
            if number in self._expanded:
                found, action, destination = expanded, "expanded", EXPANDED
            recipient = QueuedRecipient(
                next(numbers), given.address, given.parameters, destination, queued.arrived, NEVER
            )
            if found is not None and notifier.wants(queued, recipient, action):
                found.append(recipient)
        return list(byAccount.values()), expanded

    def abort(self) -> None:
        """See L{IDelivery}."""
        if self._writer is not None:
            self._writer.abort()


def _forwarded(recipient: Recipient, address: Address, several: bool) -> Recipient:
    """
    @param several: whether this is one of several addresses that the recipient stands for.
    @return: the recipient that it leads to. Who was meant first goes along, so that notifications
        can name an address that the sender knows (RFC 3461 §5.2.1 d).
    """
    if address == recipient.address:
        return recipient
    parameters = dict(recipient.parameters)
    notify = parameters.get("NOTIFY")
    if several and notify is not None:
        # RFC 3461 §5.2.7.3 (c): "except that ... any SUCCESS keyword is removed".
        wishes = [each for each in notify.split(",") if each.upper() != "SUCCESS"]
        parameters["NOTIFY"] = ",".join(wishes) or "NEVER"
    if recipient.address.domain:
        text = str(recipient.address)
        #   original-recipient-address = addr-type ";" xtext; RFC 6533 §3 has the type utf-8, with
        #   an encoding of its own
        original = f"rfc822;{encodeXtext(text)}"
        if not text.isascii():
            original = f"utf-8;{encodeUnitext(text, ascii=True)}"
        parameters.setdefault("ORCPT", original)
    return Recipient(address, parameters)
