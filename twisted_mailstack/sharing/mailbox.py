# -*- test-case-name: tests.sharing.test_mailbox -*-
"""
A mailbox of another account, which is asked before each call what may be done in it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from typing import Any, cast

from zope.interface import Interface, alsoProvides, implementer

from twisted_mailstack.errors import AccessDenied, NoSuchMailbox
from twisted_mailstack.interfaces import (
    IAccessControl,
    IAccount,
    IAnnotatedMailbox,
    IIdentifiedMailbox,
    IMailbox,
    IMessageContent,
    IMovableMailbox,
    IReceivingMailbox,
    IRestrictedMailbox,
    ISearchableMailbox,
    ISortingMailbox,
    IStagedContent,
)
from twisted_mailstack.model.flags import FlagOperation, Flags, FlagScope
from twisted_mailstack.model.records import (
    Annotation,
    AnnotationChange,
    AnnotationKey,
    AnnotationScope,
    AppendResult,
    Attribute,
    Changes,
    CopyResult,
    MailboxStatus,
    StoreResult,
)
from twisted_mailstack.model.rights import Rights, effectiveRights, withNegative
from twisted_mailstack.model.sequence import NumberSet

#: Abilities of storages that only read: they are passed on to who may read. An ability that isn't
#: here is not there for others.
READING: tuple[type[Interface], ...] = (ISearchableMailbox, ISortingMailbox)

READ: Rights = frozenset("r")
INSERT: Rights = frozenset("i")
EXPUNGE: Rights = frozenset("e")
REMOVE: Rights = frozenset("te")
#: To change annotations that everybody sees (RFC 5257 §3.4).
ANNOTATE: Rights = frozenset("n")


def scopeOf(rights: Rights) -> FlagScope:
    """
    @return: the flags that may be changed with these rights (RFC 4314 §4).
    """
    return FlagScope("s" in rights, "t" in rights, "w" in rights)


def refuse(rights: Rights, needed: Rights) -> None:
    """
    @param needed: for what is about to be done.
    @raise AccessDenied: if one of them isn't there.
    @raise NoSuchMailbox: if then the mailbox may not be seen, either.
    """
    if not needed <= rights:
        if "l" not in rights:
            raise NoSuchMailbox()
        raise AccessDenied()


def refuseChange(rights: Rights, needed: Rights) -> None:
    """
    The same for what is done to messages: who reads these knows that the mailbox is there.
    """
    if not needed <= rights and "r" in rights:
        raise AccessDenied()
    refuse(rights, needed)


@implementer(IRestrictedMailbox, IReceivingMailbox)
class SharedMailbox:
    """
    See L{IRestrictedMailbox}.
    """

    def __init__(
        self,
        inner: IMailbox,
        control: IAccessControl,
        identifiers: Sequence[str],
        account: IAccount,
    ) -> None:
        """
        @param inner: the storage's own.
        @param identifiers: that are about who looks.
        @param account: who looks.
        """
        self._inner = inner
        self._control = control
        self._identifiers = identifiers
        self._wanted = withNegative(identifiers)
        self.account = account
        self.mailboxId = inner.mailboxId
        self.watch = inner.watch
        for interface in READING:
            if interface.providedBy(inner):
                self._passOn(interface)
        if IIdentifiedMailbox.providedBy(inner):
            self.identity: Hashable = cast(IIdentifiedMailbox, inner).identity
            alsoProvides(self, IIdentifiedMailbox)
        for interface in (IAnnotatedMailbox, IMovableMailbox):
            if interface.providedBy(inner):
                alsoProvides(self, interface)

    def _passOn(self, interface: type[Interface]) -> None:
        methods: Mapping[str, Callable[..., Awaitable[Any]]] = {
            name: getattr(self._inner, name) for name in interface
        }
        for name, method in methods.items():

            async def reading(
                *arguments: Any, _method: Callable[..., Awaitable[Any]] = method, **more: Any
            ) -> Any:
                await self.require(READ)
                return await _method(*arguments, **more)

            setattr(self, name, reading)
        alsoProvides(self, interface)

    async def rights(self) -> Rights:
        """See L{IRestrictedMailbox}."""
        entries = await self._control.entries(self.mailboxId, self._wanted)
        return effectiveRights(entries, self._identifiers)

    async def require(self, rights: Rights) -> None:
        """See L{IRestrictedMailbox}."""
        refuse(await self.rights(), rights)

    # --- reading -------------------------------------------------------------------------------

    async def status(self) -> MailboxStatus:
        """See L{IMailbox}."""
        await self.require(READ)
        return await self._inner.status()

    async def changesSince(self, modSeq: int) -> Changes:
        """See L{IMailbox}."""
        await self.require(READ)
        return await self._inner.changesSince(modSeq)

    async def claimRecent(self) -> tuple[int, int]:
        """See L{IMailbox}."""
        rights = await self.rights()
        refuse(rights, READ)
        if "s" not in rights:
            # They stay recent for those who may take note of messages.
            return 1, 0
        return await self._inner.claimRecent()

    async def fetch(
        self, uids: NumberSet, attributes: Sequence[Attribute]
    ) -> Sequence[tuple[Any, ...]]:
        """See L{IMailbox}."""
        await self.require(READ)
        return await self._inner.fetch(uids, attributes)

    async def openMessage(self, uid: int) -> IMessageContent:
        """See L{IMailbox}."""
        await self.require(READ)
        return await self._inner.openMessage(uid)

    # --- changing ------------------------------------------------------------------------------

    async def storeFlags(
        self,
        uids: NumberSet,
        operation: FlagOperation,
        flags: Flags,
        unchangedSince: int | None = None,
        scope: FlagScope | None = None,
    ) -> StoreResult:
        """See L{IMailbox}."""
        rights = await self.rights()
        refuse(rights, READ)
        mine = scopeOf(rights)
        if scope is not None:
            mine = FlagScope(*(a and b for a, b in zip(mine, scope, strict=True)))
        allowed = mine.within(flags)
        # RFC 4314 §4: it doesn't fail "if the user has rights to modify at least one flag".
        if not any(mine) or (flags and not allowed):
            raise AccessDenied()
        return await self._inner.storeFlags(uids, operation, allowed, unchangedSince, mine)

    async def expunge(self, uids: NumberSet | None, onlyDeleted: bool = True) -> Sequence[int]:
        """See L{IMailbox}."""
        refuseChange(await self.rights(), EXPUNGE if onlyDeleted else REMOVE)
        return await self._inner.expunge(uids, onlyDeleted)

    async def append(
        self,
        messages: Sequence[tuple[IStagedContent, Flags, int, int]],
        annotations: Sequence[Mapping[AnnotationKey, bytes]] = (),
        reader: str | None = None,
    ) -> AppendResult:
        """See L{IAnnotatedMailbox}."""
        rights = await self.rights()
        refuse(rights, INSERT)
        scope = scopeOf(rights)
        allowed = [
            (content, scope.within(flags), date, zone) for content, flags, date, zone in messages
        ]
        if not annotations:
            return await self._inner.append(allowed)
        for values in annotations:
            _refuseAnnotations(rights, values)
        inner: Any = self._inner
        result: AppendResult = await inner.append(allowed, annotations, self._reader)
        return result

    def _along(self, inner: IMailbox, along: AnnotationScope) -> tuple[AnnotationScope, ...]:
        # An argument that only some storages know.
        return (along,) if IAnnotatedMailbox.providedBy(inner) else ()

    async def copyMessages(
        self,
        uids: NumberSet,
        destination: IMailbox,
        scope: FlagScope | None = None,
        along: AnnotationScope | None = None,
    ) -> CopyResult:
        """See L{IAnnotatedMailbox}."""
        await self.require(READ)
        inner: Any = self._inner
        mine = self._along(inner, AnnotationScope(self._reader))
        copied: CopyResult = await inner.copyMessages(uids, destination, scope, *mine)
        return copied

    async def moveMessages(
        self,
        uids: NumberSet,
        destination: IMailbox,
        scope: FlagScope | None = None,
        along: AnnotationScope | None = None,
    ) -> CopyResult:
        """See L{IMovableMailbox}. RFC 6851 §4.2: the rights of COPY, STORE and EXPUNGE together."""
        refuseChange(await self.rights(), READ | REMOVE)
        movable: Any = self._inner
        mine = self._along(movable, AnnotationScope(self._reader))
        moved: CopyResult = await movable.moveMessages(uids, destination, scope, *mine)
        return moved

    async def receive(
        self, source: IMailbox, uids: NumberSet, move: bool, reader: str | None = None
    ) -> CopyResult:
        """
        See L{IReceivingMailbox}. Annotations that may not be set are left behind (RFC 5257 §4.6).
        """
        rights = await self.rights()
        refuse(rights, INSERT)
        giving: Any = source
        put = giving.moveMessages if move else giving.copyMessages
        mine = self._along(source, AnnotationScope(reader, rights >= READ, rights >= ANNOTATE))
        result: CopyResult = await put(uids, self._inner, scopeOf(rights), *mine)
        return result

    # --- annotations ---------------------------------------------------------------------------

    @property
    def _reader(self) -> str:
        return self.account.accountId

    async def _annotated(self) -> Any:
        # RFC 5257 §3.4: who may read messages may read what is noted about them.
        await self.require(READ)
        return self._inner

    async def annotations(
        self, uids: NumberSet, entries: Collection[str] | None = None, reader: str | None = None
    ) -> Sequence[Annotation]:
        """See L{IAnnotatedMailbox}."""
        inner = await self._annotated()
        found: Sequence[Annotation] = await inner.annotations(uids, entries, self._reader)
        return found

    async def annotatedMessages(self, uids: NumberSet, reader: str | None = None) -> Sequence[int]:
        """See L{IAnnotatedMailbox}."""
        inner = await self._annotated()
        found: Sequence[int] = await inner.annotatedMessages(uids, self._reader)
        return found

    async def annotationChangesSince(
        self, modSeq: int, reader: str | None = None
    ) -> Sequence[AnnotationChange]:
        """See L{IAnnotatedMailbox}."""
        inner = await self._annotated()
        found: Sequence[AnnotationChange] = await inner.annotationChangesSince(modSeq, self._reader)
        return found

    async def storeAnnotations(
        self,
        uids: NumberSet,
        values: Mapping[AnnotationKey, bytes | None],
        limit: int,
        unchangedSince: int | None = None,
        reader: str | None = None,
    ) -> StoreResult:
        """See L{IAnnotatedMailbox}."""
        rights = await self.rights()
        refuse(rights, READ)
        _refuseAnnotations(rights, values)
        inner: Any = self._inner
        result: StoreResult = await inner.storeAnnotations(
            uids, values, limit, unchangedSince, self._reader
        )
        return result


def _refuseAnnotations(rights: Rights, values: Mapping[AnnotationKey, bytes | None]) -> None:
    """
    RFC 5257 §3.4.

    @param values: that are to be set.
    @raise AccessDenied: if they may not.
    """
    needed = {right for _, private in values for right in (READ if private else ANNOTATE)}
    refuseChange(rights, frozenset(needed))
