# -*- test-case-name: tests.sharing.test_account -*-
"""
The avatar: a person's own account, and what others share with it below two names.

An account's own mailboxes are those of the storage itself; only what has a name below
L{OTHERS_PREFIX} or L{PUBLIC_PREFIX} is looked at more closely. There, the first level says whose
mailboxes follow (the address of a person, the name of a public account), and stands for that
account's INBOX itself; the rest is the name that the mailbox has for its owner. A mailbox of one's
own that had such a name before goes on having it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple
from unicodedata import normalize

from zope.interface import alsoProvides, implementer, providedBy

from twisted_mailstack.errors import (
    AccessDenied,
    CannotDoThat,
    MailboxNotSelectable,
    MailError,
    NoSuchAccount,
    NoSuchMailbox,
    SyntaxProblem,
)
from twisted_mailstack.interfaces import (
    IAccount,
    IAnnotatedAccount,
    ILimitedAccount,
    IMailbox,
    ISharingAccount,
    ISharingStore,
)
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.flags import FlagOperation
from twisted_mailstack.model.mailboxname import DELIMITER, INBOX, normaliseName, parents
from twisted_mailstack.model.records import MailboxInfo, MailboxStatus, Quota
from twisted_mailstack.model.rights import (
    ALL_RIGHTS,
    NEGATIVE,
    NO_RIGHTS,
    REVEALING,
    Rights,
    effectiveRights,
    identifiersOf,
    withNegative,
)
from twisted_mailstack.sharing.identifiers import canonicalIdentifier
from twisted_mailstack.sharing.mailbox import SharedMailbox
from twisted_mailstack.sharing.watching import Watching

#: RFC 2342: "Other Users' Namespace" and "Shared Namespace".
OTHERS_PREFIX = "Other Users/"
PUBLIC_PREFIX = "Shared/"

CREATE: Rights = frozenset("k")
DELETE: Rights = frozenset("x")
ADMINISTER: Rights = frozenset("a")
#: One of these is needed, besides l, for the entries of a mailbox's metadata (RFC 5464 §3.3), and
#: to change those that everybody sees.
METADATA_READ: Rights = frozenset("rswip")
METADATA_CHANGE: Rights = frozenset("w")


def ownerLevel(address: Address) -> str:
    """
    @return: the level of a mailbox's name that stands for a person: the address, without the
        delimiter, which a local-part may have.
    """
    text = str(address).replace("=", "=3D").replace(DELIMITER, "=2F")
    return normalize("NFC", text)


def _addressOf(level: str) -> Address | None:
    try:
        address = Address.parse(level.replace("=2F", DELIMITER).replace("=3D", "="))
    except SyntaxProblem:
        return None
    return address if ownerLevel(address) == level else None


class Place(NamedTuple):
    """
    Where a name below one of the prefixes leads.

    @ivar root: the name that stands for the account.
    @ivar account: whose the mailbox is.
    @ivar name: that it has there.
    """

    root: str
    account: IAccount
    name: str

    def visibleName(self, name: str) -> str:
        """
        @return: how a mailbox of the account is called by others.
        """
        return self.root if name == INBOX else self.root + DELIMITER + name


@implementer(ISharingAccount)
class SharingAccount:
    """
    See L{ISharingAccount}.
    """

    def __init__(
        self,
        own: IAccount,
        store: ISharingStore,
        *,
        administrator: bool = False,
        defaultDomain: str | None = None,
    ) -> None:
        """
        @param own: the storage's.
        @param administrator: may change quotas.
        @param defaultDomain: of identifiers without one.
        """
        self.own = own
        self._store = store
        self._control = store.sharing
        self._defaultDomain = defaultDomain
        self.accountId = own.accountId
        self.address = own.address
        self.administrator = administrator
        self.othersPrefix = OTHERS_PREFIX
        self.publicPrefix = PUBLIC_PREFIX
        self._prefixes = OTHERS_PREFIX, PUBLIC_PREFIX
        self._reserved = OTHERS_PREFIX[:-1], PUBLIC_PREFIX[:-1]
        self._identifiers = identifiersOf(own.address)
        self._wanted = withNegative(self._identifiers)
        alsoProvides(self, *providedBy(own))

    def __getattr__(self, name: str) -> Any:
        # Whatever isn't here is about the account itself: C{quota}, C{newContent}, C{setSubscribed}
        # and so on, and abilities that only some storages have.
        return getattr(self.own, name)

    # --- where a name leads --------------------------------------------------------------------

    async def _locate(self, name: str) -> Place | None:
        """
        @return: where a name leads; C{None} for a name of one's own.
        @raise NoSuchMailbox: if it leads nowhere.
        """
        if not name.startswith(self._prefixes) or await _has(self.own, name):
            return None
        prefix = next(each for each in self._prefixes if name.startswith(each))
        level, _, rest = name[len(prefix) :].partition(DELIMITER)
        accountId: str | None = None
        if prefix == self.publicPrefix:
            accountId = await self._control.published(level)
        else:
            address = _addressOf(level)
            if address is not None:
                record = await self._store.directory.findAccount(address)
                if record is not None and ownerLevel(record.address) == level:
                    accountId = record.accountId
        if accountId is None or accountId == self.accountId:
            raise NoSuchMailbox()
        try:
            account = await self._store.openAccount(accountId)
        except NoSuchAccount:
            # Removed meanwhile.
            raise NoSuchMailbox() from None
        return Place(prefix + level, account, normaliseName(rest) if rest else INBOX)

    async def _open(self, place: Place) -> SharedMailbox:
        try:
            inner = await place.account.openMailbox(place.name)
        except (MailboxNotSelectable, NoSuchAccount):
            # What holds only children has no list, so nobody else may see it.
            raise NoSuchMailbox() from None
        return SharedMailbox(inner, self._control, self._identifiers, self)

    async def _nearest(self, place: Place, name: str) -> SharedMailbox:
        """
        @return: the nearest mailbox above a name of another account; INBOX is above all others.
        """
        for parent in reversed(tuple(parents(name))):
            try:
                return await self._open(place._replace(name=parent))
            except NoSuchMailbox:
                continue
        return await self._open(place._replace(name=INBOX))

    async def _requireCreation(self, place: Place, name: str) -> SharedMailbox:
        nearest = await self._nearest(place, name)
        if not CREATE <= await nearest.rights():
            raise AccessDenied()
        return nearest

    # --- IAccount ------------------------------------------------------------------------------

    def openMailbox(self, name: str) -> Awaitable[IMailbox]:
        """See L{IAccount}."""
        if not name.startswith(self._prefixes):
            return self.own.openMailbox(name)
        return self._openShared(name)

    async def _openShared(self, name: str) -> IMailbox:
        place = await self._locate(name)
        if place is None:
            return await self.own.openMailbox(name)
        mailbox = await self._open(place)
        if not REVEALING & await mailbox.rights():
            raise NoSuchMailbox()
        return mailbox

    async def _shared(self) -> list[tuple[str, MailboxInfo, Rights]]:
        found = []
        for each in await self._control.shared(self._wanted):
            rights = effectiveRights(each.entries, self._identifiers)
            if "l" not in rights or each.accountId == self.accountId:
                continue
            if each.publicName is None:
                root = self.othersPrefix + ownerLevel(each.address)
            else:
                root = self.publicPrefix + each.publicName
            name = root if each.info.name == INBOX else root + DELIMITER + each.info.name
            found.append((name, each.info, rights))
        return found

    async def listMailboxes(self) -> Sequence[MailboxInfo]:
        """See L{IAccount}."""
        own = await self.own.listMailboxes()
        shared = await self._shared()
        if not shared:
            return own
        infos = {info.name: info for info in own}
        for name, info, _ in shared:
            known = infos.get(name)
            if known is None or not known.mailboxId:
                # Its special use is the owner's.
                infos[name] = info._replace(
                    name=name, subscribed=known is not None, specialUse=None
                )
        return sorted(infos.values(), key=lambda info: (info.name != INBOX, info.name))

    async def createMailbox(self, name: str, specialUse: str | None = None) -> MailboxInfo:
        """See L{IAccount}."""
        name = normaliseName(name)
        if name in self._reserved:
            raise CannotDoThat("That name is above those of other accounts")
        try:
            place = await self._locate(name)
            if place is None:
                if specialUse is None:
                    return await self.own.createMailbox(name)
                return await self.own.createMailbox(name, specialUse)
            nearest = await self._requireCreation(place, place.name)
        except NoSuchMailbox:
            # As if nothing could be created where nothing can be seen.
            raise AccessDenied() from None
        if specialUse is not None:
            raise CannotDoThat("Only an owner gives special uses", imapCode="USEATTR")
        entries = await self._control.entries(nearest.mailboxId)
        missing = [
            each
            for each in (*parents(place.name), place.name)
            if not await _has(place.account, each)
        ]
        info = await place.account.createMailbox(place.name)
        for each in missing:
            # Of what is on top of an account, INBOX is the superior only for others.
            made = await place.account.openMailbox(each)
            await self._control.replace(made.mailboxId, entries)
        return info._replace(name=name, specialUse=None)

    async def deleteMailbox(self, name: str) -> None:
        """See L{IAccount}."""
        place = await self._locate(name)
        if place is None:
            await self.own.deleteMailbox(name)
            return
        mailbox = await self._open(place)
        await mailbox.require(DELETE)
        await place.account.deleteMailbox(place.name)

    async def renameMailbox(self, old: str, new: str) -> None:
        """See L{IAccount}."""
        new = normaliseName(new)
        if new in self._reserved:
            raise CannotDoThat("That name is above those of other accounts")
        source = await self._locate(old)
        if source is None:
            if new.startswith(self._prefixes) and await _has(self.own, old):
                raise self._stays()
            await self.own.renameMailbox(old, new)
            return
        mailbox = await self._open(source)
        await mailbox.require(DELETE)
        if not new.startswith(source.root + DELIMITER):
            raise self._stays()
        if source.name == INBOX:
            raise CannotDoThat("Only its owner can rename an INBOX")
        target = normaliseName(new[len(source.root) + 1 :])
        await self._requireCreation(source, target)
        await source.account.renameMailbox(source.name, target)

    @staticmethod
    def _stays() -> CannotDoThat:
        return CannotDoThat("A mailbox stays in its account: copy the messages instead")

    def watch(self, changed: Callable[[str], None]) -> Callable[[], None]:
        """See L{IAccount}."""
        watching = Watching(self._visible, changed)
        stops = (
            self.own.watch(changed),
            self._control.watch(watching.refresh),
            watching.stop,
        )
        watching.refresh(tell=False)

        def stop() -> None:
            for each in stops:
                each()

        return stop

    async def _visible(self) -> dict[str, tuple[IAccount, object]]:
        found: dict[str, tuple[IAccount, object]] = {}
        owners: dict[str, IAccount] = {}
        for each in await self._control.shared(self._wanted):
            rights = effectiveRights(each.entries, self._identifiers)
            if "l" not in rights or each.accountId == self.accountId:
                continue
            try:
                if each.accountId not in owners:
                    owners[each.accountId] = await self._store.openAccount(each.accountId)
            except NoSuchAccount:
                continue
            what = each.publicName, each.info.name, rights
            found[each.info.mailboxId] = owners[each.accountId], what
        return found

    # --- ISurveyableAccount --------------------------------------------------------------------

    async def statuses(self) -> Mapping[str, MailboxStatus]:
        """See L{ISurveyableAccount}."""
        surveyable: Any = self.own
        found = dict(await surveyable.statuses())
        for name, info, rights in await self._shared():
            if "r" in rights:
                try:
                    found[info.mailboxId] = await (await self.openMailbox(name)).status()
                except (NoSuchMailbox, AccessDenied):
                    # Since it was listed.
                    continue
        return found

    # --- IMetadataAccount ----------------------------------------------------------------------

    async def _metadata(self, name: str, change: bool) -> tuple[Any, str, str | None]:
        """
        @return: the account that keeps the entries of a mailbox, its name there, and who looks.
        """
        place = await self._locate(name)
        if place is None:
            return self.own, name, None
        rights = await (await self._open(place)).rights()
        # RFC 5464 §3.3, RFC 4314's letters.
        if "l" not in rights:
            raise NoSuchMailbox()
        if not rights & (METADATA_CHANGE if change else METADATA_READ):
            raise AccessDenied()
        return place.account, place.name, self.accountId

    async def metadataSizes(self, mailboxName: str, reader: str | None = None) -> Mapping[str, int]:
        """See L{IMetadataAccount<twisted_mailstack.interfaces.IMetadataAccount>}."""
        account, name, viewer = await self._metadata(mailboxName, False)
        sizes: Mapping[str, int] = await account.metadataSizes(name, viewer or reader)
        return sizes

    async def getMetadata(
        self, mailboxName: str, names: Collection[str], reader: str | None = None
    ) -> Mapping[str, bytes]:
        """See L{IMetadataAccount<twisted_mailstack.interfaces.IMetadataAccount>}."""
        account, name, viewer = await self._metadata(mailboxName, False)
        values: Mapping[str, bytes] = await account.getMetadata(name, names, viewer or reader)
        return values

    async def setMetadata(
        self,
        mailboxName: str,
        values: Mapping[str, bytes | None],
        limit: int,
        reader: str | None = None,
    ) -> int:
        """See L{IMetadataAccount<twisted_mailstack.interfaces.IMetadataAccount>}."""
        shared = any(not name.startswith("/private/") for name in values)
        account, name, viewer = await self._metadata(mailboxName, shared)
        modSeq: int = await account.setMetadata(name, values, limit, viewer or reader)
        return modSeq

    # --- rights --------------------------------------------------------------------------------

    async def rights(self, name: str) -> Rights:
        """See L{ISharingAccount}."""
        mailbox = await self.openMailbox(name)
        return await mailbox.rights() if isinstance(mailbox, SharedMailbox) else ALL_RIGHTS

    async def sharedRights(self) -> Mapping[str, Rights]:
        """See L{ISharingAccount}."""
        return {name: rights for name, _, rights in await self._shared()}

    async def _administered(self, name: str) -> tuple[IMailbox, Address]:
        """
        @return: a mailbox whose list the account may read and change, and its owner.
        """
        place = await self._locate(name)
        if place is None:
            return await self.own.openMailbox(name), self.address
        mailbox = await self._open(place)
        await mailbox.require(ADMINISTER)
        return mailbox, place.account.address

    async def accessList(self, name: str) -> Mapping[str, Rights]:
        """See L{ISharingAccount}."""
        mailbox, owner = await self._administered(name)
        return {str(owner): ALL_RIGHTS, **await self._control.entries(mailbox.mailboxId)}

    async def _identify(self, identifier: str) -> str:
        return await canonicalIdentifier(self._store.directory, identifier, self._defaultDomain)

    async def changeRights(
        self, name: str, identifier: str, operation: FlagOperation, rights: Rights
    ) -> None:
        """See L{ISharingAccount}."""
        # Whoever may not change the list learns nothing of who there is.
        mailbox, owner = await self._administered(name)
        known = await self._identify(identifier)
        if known.removeprefix(NEGATIVE) == str(owner):
            negative = known.startswith(NEGATIVE)
            after = operation.apply(NO_RIGHTS if negative else ALL_RIGHTS, rights)
            if after != (NO_RIGHTS if negative else ALL_RIGHTS):
                raise CannotDoThat("The owner of a mailbox has all rights in it")
            return
        await self._control.change(mailbox.mailboxId, known, operation, rights)

    async def grantable(self, name: str, identifier: str) -> tuple[Rights, Rights]:
        """See L{ISharingAccount}."""
        _, owner = await self._administered(name)
        known = await self._identify(identifier)
        if known == str(owner):
            return ALL_RIGHTS, NO_RIGHTS
        if known == NEGATIVE + str(owner):
            return NO_RIGHTS, NO_RIGHTS
        return NO_RIGHTS, ALL_RIGHTS

    async def mayCreate(self, name: str) -> bool:
        """See L{ISharingAccount}."""
        if name in self._reserved:
            return False
        if not name.startswith(self._prefixes):
            return True
        try:
            place = await self._locate(name)
            if place is not None:
                await self._requireCreation(place, place.name)
        except (NoSuchMailbox, AccessDenied):
            return False
        return True

    # --- quotas --------------------------------------------------------------------------------

    async def quotaRoot(self, name: str) -> str:
        """See L{ISharingAccount}."""
        place = await self._locate(name)
        if place is None:
            return str(self.address)
        mailbox = await self._open(place)
        # RFC 9208 §6: the numbers tell of what is in the mailbox.
        await mailbox.require(frozenset("r"))
        return str(place.account.address)

    async def _quotaAccount(self, root: str) -> IAccount:
        try:
            record = await self._store.directory.findAccount(Address.parse(root))
        except SyntaxProblem:
            record = None
        if record is not None and record.accountId == self.accountId:
            return self.own
        mayKnow = self.administrator or any(
            each.address == record.address and "r" in rights
            for each in (await self._control.shared(self._wanted) if record is not None else ())
            for rights in (effectiveRights(each.entries, self._identifiers),)
            if record is not None
        )
        if record is None or not mayKnow:
            raise MailError("No such quota root", imapCode="NONEXISTENT")
        return await self._store.openAccount(record.accountId)

    async def quotaOf(
        self, root: str
    ) -> tuple[Quota, tuple[int, int | None] | None, tuple[int, int | None] | None]:
        """See L{ISharingAccount}."""
        account: Any = await self._quotaAccount(root)
        quota: Quota = await account.quota()
        mailboxes = await account.mailboxQuota() if ILimitedAccount.providedBy(account) else None
        noted = await account.annotationQuota() if IAnnotatedAccount.providedBy(account) else None
        return quota, mailboxes, noted

    async def setQuota(
        self,
        root: str,
        octetLimit: int | None,
        messageLimit: int | None,
        mailboxLimit: int | None,
        annotationLimit: int | None = None,
    ) -> None:
        """See L{ISharingAccount}."""
        if not self.administrator:
            raise AccessDenied()
        account = await self._quotaAccount(root)
        await self._store.directory.setQuota(
            account.address, octetLimit, messageLimit, mailboxLimit, annotationLimit
        )


async def _has(account: IAccount, name: str) -> bool:
    """
    @return: whether there is a mailbox of that name, or children.
    """
    try:
        await account.openMailbox(name)
    except NoSuchMailbox:
        return False
    except MailboxNotSelectable:
        return True
    return True
