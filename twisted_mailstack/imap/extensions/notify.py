# -*- test-case-name: tests.imap.test_notify -*-
"""
NOTIFY (RFC 5465): the client says what it is to be told of, at any time: of the selected mailbox
and of others, of messages, names, subscriptions and metadata.

What the session did itself is told like what others did: the RFC would have it left out, but then
what others did in the same instant could be missed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twisted_mailstack.errors import (
    AccessDenied,
    CannotDoThat,
    MailError,
    SyntaxProblem,
)
from twisted_mailstack.imap.commands.listing import ListRequest, listLine, selectNames
from twisted_mailstack.imap.commands.mailboxes import statusResponse
from twisted_mailstack.imap.encode import mailbox
from twisted_mailstack.imap.extension import LOGGED_IN, Command, Extension, Listed
from twisted_mailstack.imap.extensions.annotate import tellAnnotations
from twisted_mailstack.imap.extensions.metadata import MetadataListener
from twisted_mailstack.imap.fetch import Item, fetchUnasked, parseItems
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.imap.sources import KINDS, MailboxFilter, foreignPrefixes, readFilter
from twisted_mailstack.interfaces import (
    IAnnotatedAccount,
    IAnnotatedMailbox,
    IMailbox,
    IMetadataAccount,
)
from twisted_mailstack.model.mailboxname import DELIMITER, parents
from twisted_mailstack.model.records import MailboxInfo, MailboxStatus

#: Event groups of one command, and mailboxes that they may name.
MAX_GROUPS = 100
MAX_NAMES = 1000
#: Mailboxes that are looked at before others have their turn.
SLICE = 100

_MESSAGE_EVENTS = (b"MESSAGENEW", b"MESSAGEEXPUNGE", b"FLAGCHANGE", b"ANNOTATIONCHANGE")
#: Of an account whose storage keeps annotations.
_ANNOTATION_EVENTS = (b"ANNOTATIONCHANGE",)
_MAILBOX_EVENTS = (b"MAILBOXNAME", b"SUBSCRIPTIONCHANGE")
_METADATA_EVENTS = (b"MAILBOXMETADATACHANGE", b"SERVERMETADATACHANGE")
_SPELLED = (
    *("MessageNew", "MessageExpunge", "FlagChange", "AnnotationChange", "MailboxName"),
    *("SubscriptionChange", "MailboxMetadataChange", "ServerMetadataChange"),
)
#: Commands that tell what they did to the selected mailbox, whatever else is wanted of it.
_OWN = frozenset((b"EXPUNGE", b"UID EXPUNGE", b"MOVE", b"UID MOVE", b"REPLACE", b"UID REPLACE"))
#: Of a mailbox that was just made, whose UIDVALIDITY nobody has been told.
_NEW = MailboxStatus(0, 1, 0, 0, 0, 0, 0, 0, ())

#: Filters that mean the selected mailbox, and all that there are.
_OF_SELECTED = frozenset((b"SELECTED", b"SELECTED-DELAYED"))
_KINDS = KINDS | _OF_SELECTED


@dataclass(frozen=True)
class Group:
    """
    An event-group (RFC 5465 §8).

    @ivar filter: which mailboxes are meant.
    @ivar events: upper case.
    @ivar items: that are fetched of each new message.
    @ivar immediate: of the selected mailbox, whether EXPUNGE is told at any time.
    """

    filter: MailboxFilter
    events: frozenset[bytes]
    items: tuple[Item, ...] = ()
    immediate: bool = True


class Watch:
    """
    What a session is told, since NOTIFY SET. One of its
    L{listeners<twisted_mailstack.imap.session.Listener>}, and its
    L{Pusher<twisted_mailstack.imap.session.Pusher>}.
    """

    def __init__(self, session: IMAPSession, groups: Sequence[Group]) -> None:
        self._session = session
        self._account = session.theAccount()
        selected = [group for group in groups if group.filter.kind in _OF_SELECTED]
        self._selected = selected[0] if selected and selected[0].events else None
        self._groups = [group for group in groups if group.filter.kind not in _OF_SELECTED]
        self._foreign = foreignPrefixes(self._account)
        self._infos: dict[str, MailboxInfo] = {}
        # What is known of the mailboxes whose messages are watched; None: nothing, as it may not
        # be read.
        self._known: dict[str, MailboxStatus | None] = {}
        self._dirty: set[str] = set()
        self._stop = self._account.watch(self._changed)

    def _changed(self, mailboxId: str) -> None:
        self._dirty.add(mailboxId)
        self._session.stream.wake()

    def close(self) -> None:
        """See L{Listener<twisted_mailstack.imap.session.Listener>}."""
        self._stop()

    # --- the selected mailbox ------------------------------------------------------------------

    async def selectedNews(self, mayExpunge: bool) -> bytes:
        """See L{Pusher<twisted_mailstack.imap.session.Pusher>}."""
        session, group = self._session, self._selected
        selected, command = session.theSelected(), session.running
        own = command is not None and command.name in _OWN
        if group is None and not own:
            await selected.observe()
            return b""
        selected.withUIDs = True
        selected.tellsFlags = own or (group is not None and b"FLAGCHANGE" in group.events)
        tellAnnotations(selected, group is not None and b"ANNOTATIONCHANGE" in group.events)
        if command is None and group is not None:
            mayExpunge = group.immediate
        view = selected.view
        last = view.uids[-1] if view.uids else 0
        selected.newItems = () if group is None else group.items
        selected.fetchedNew = ()
        news = await selected.synchronise(mayExpunge)
        if not selected.newItems:
            return news
        fetched = selected.fetchedNew
        fresh = [
            at
            for at in range(bisect_right(view.uids, last), len(view.uids))
            if view.uids[at] not in fetched
        ]
        if not fresh:
            return news
        session.stream.write(news)
        await fetchUnasked(session, fresh, selected.newItems)
        return b""

    # --- other mailboxes -----------------------------------------------------------------------

    def _events(self, info: MailboxInfo) -> frozenset[bytes]:
        found: frozenset[bytes] = frozenset()
        for group in self._groups:
            if group.filter.matches(info, not info.name.startswith(self._foreign)):
                found |= group.events
        return found

    async def begin(self, withStatus: bool) -> None:
        """
        Learn how things are.

        @param withStatus: and tell it (RFC 5465 §3.1).
        """
        for info in await self._account.listMailboxes():
            # A name that is subscribed and has no mailbox is known by its name.
            self._infos[info.mailboxId or info.name] = info
        for number, info in enumerate(tuple(self._infos.values())):
            if number % SLICE == SLICE - 1:
                await self._session.stream.breathe()
            await self._learn(info, withStatus)

    async def _learn(self, info: MailboxInfo, tell: bool) -> None:
        events = self._events(info).intersection(_MESSAGE_EVENTS)
        if not events or not info.selectable:
            return
        session = self._session
        try:
            opened = await self._account.openMailbox(info.name)
            status = await opened.status()
        except AccessDenied:
            self._known[info.mailboxId] = None
            name = mailbox(info.name, self._session.utf8)
            session.stream.write(b'* LIST (\\NoAccess) "/" %b\r\n' % name)
            return
        except MailError:
            # Gone by now: the next look at the list tells.
            return
        self._known[info.mailboxId] = status
        if tell and not self._isSelected(info.mailboxId):
            items = [b"UIDVALIDITY", b"UIDNEXT", b"MESSAGES"]
            changes = not events.isdisjoint((b"FLAGCHANGE", *_ANNOTATION_EVENTS))
            if changes and b"HIGHESTMODSEQ" in session.registry.statusItems:
                items.append(b"HIGHESTMODSEQ")
            session.stream.write(await self._statusLine(info, items, opened, status))

    async def _statusLine(
        self, info: MailboxInfo, items: Sequence[bytes], opened: Any, status: MailboxStatus
    ) -> bytes:
        session = self._session
        enabled = set(session.enabled)
        line = await statusResponse(
            session, mailbox(info.name, self._session.utf8), items, opened, status
        )
        # Asking for HIGHESTMODSEQ enables CONDSTORE; being told of it doesn't.
        session.enabled.intersection_update(enabled)
        return line

    def _isSelected(self, mailboxId: str) -> bool:
        selected = self._session.selected
        return selected is not None and selected.mailbox.mailboxId == mailboxId

    async def news(self) -> bytes:
        """See L{Listener<twisted_mailstack.imap.session.Listener>}."""
        dirty, self._dirty = self._dirty, set()
        parts: list[bytes] = []
        try:
            if "" in dirty:
                parts += await self._listNews()
                dirty |= self._dirty
                self._dirty = set()
            for mailboxId in sorted(dirty):
                parts.append(await self._mailboxNews(mailboxId))
                dirty.discard(mailboxId)
        except BaseException:
            self._dirty |= dirty
            raise
        return b"".join(parts)

    async def _mailboxNews(self, mailboxId: str) -> bytes:
        info = self._infos.get(mailboxId)
        if info is None or mailboxId not in self._known:
            return b""
        try:
            opened = await self._account.openMailbox(info.name)
            status = await opened.status()
        except MailError:
            # Gone, or not ours any more: the list tells. Or not ours yet.
            return b""
        # Who may read it only now has been told nothing of it.
        before = self._known[mailboxId] or _NEW
        self._known[mailboxId] = status
        if opened.mailboxId != mailboxId or self._isSelected(mailboxId):
            return b""
        items: list[bytes] = []
        withModSeq = b"CONDSTORE" in self._session.enabled
        events = self._events(info)
        flags = status.highestModSeq != before.highestModSeq and (
            b"FLAGCHANGE" in events
            or (b"ANNOTATIONCHANGE" in events and await _annotated(opened, before.highestModSeq))
        )
        messages = (status.uidNext, status.messages) != (before.uidNext, before.messages)
        other = before.uidValidity and status.uidValidity != before.uidValidity
        if other or (flags and withModSeq):
            items.append(b"UIDVALIDITY")
        if messages:
            items += (b"UIDNEXT", b"MESSAGES")
        if flags and b"FLAGCHANGE" in events and status.unseen != before.unseen:
            items.append(b"UNSEEN")
        if withModSeq and (messages or flags):
            items.append(b"HIGHESTMODSEQ")
        return await self._statusLine(info, items, opened, status) if items else b""

    async def _listNews(self) -> list[bytes]:
        infos = await self._account.listMailboxes()
        before, self._infos = self._infos, {info.mailboxId or info.name: info for info in infos}
        names = {info.name: info for info in infos}
        affected: dict[str, str | None] = {}
        for key, info in self._infos.items():
            old = before.get(key)
            events = self._events(info)
            if old is None:
                if b"MAILBOXNAME" in events and info.mailboxId:
                    affected.setdefault(info.name, None)
                    self._affectParent(info.name, names, affected)
            elif old.name != info.name:
                if b"MAILBOXNAME" in events | self._events(old) and not _with(info, old, before):
                    affected[info.name] = old.name
        for key, old in before.items():
            if key not in self._infos and old.name not in names and old.mailboxId:
                if b"MAILBOXNAME" in self._events(old):
                    affected.setdefault(old.name, None)
                    self._affectParent(old.name, names, affected)
        earlier = {info.name: info for info in before.values()}
        for name in {*names, *earlier}:
            absent = MailboxInfo(name, "", False, False)
            now, was = names.get(name, absent), earlier.get(name, absent)
            # Also what the filter no longer matches, as it isn't subscribed any more.
            if now.subscribed != was.subscribed:
                if b"SUBSCRIPTIONCHANGE" in self._events(now) | self._events(was):
                    affected.setdefault(name, None)
        parts = self._listLines(affected, infos, names)
        watched = {
            key
            for key, info in self._infos.items()
            if info.selectable and b"MESSAGENEW" in self._events(info)
        }
        for key in self._known.keys() - watched:
            del self._known[key]
        for key in watched - self._known.keys():
            # Told once it has messages.
            self._known[key] = _NEW
            self._dirty.add(key)
        return parts

    def _affectParent(
        self, name: str, names: dict[str, MailboxInfo], affected: dict[str, str | None]
    ) -> None:
        # "The mailbox itself and its direct parent (whether it is an existing mailbox or not) are
        # considered to be affected" (RFC 5465 §5.4).
        above = name.rpartition(DELIMITER)[0]
        info = names.get(above) or MailboxInfo(above, "", True, False)
        if above and b"MAILBOXNAME" in self._events(info):
            affected.setdefault(above, None)

    def _listLines(
        self,
        affected: dict[str, str | None],
        infos: Sequence[MailboxInfo],
        names: dict[str, MailboxInfo],
    ) -> list[bytes]:
        """
        @param affected: names, each with the one that it had before it was renamed.
        @return: a LIST response for each.
        """
        session = self._session
        # A name may look like a pattern, and find others.
        request = ListRequest(tuple(affected), {}, {}, True, session.utf8)
        found = {each.info.name: each for each in selectNames(session, request, infos)}
        lines = []
        for name, old in sorted(affected.items()):
            listed = found.get(name) or self._absent(name, infos, names)
            if listed.info.subscribed:
                listed.attributes.append(b"\\Subscribed")
            if old is not None:
                listed.items.append(b'"OLDNAME" (%b)' % mailbox(old, session.utf8))
            lines.append(listLine(listed, session.utf8))
        return lines

    def _absent(
        self, name: str, infos: Sequence[MailboxInfo], names: dict[str, MailboxInfo]
    ) -> Listed:
        info = names.get(name) or MailboxInfo(name, "", False, False)
        attributes = [b"\\NonExistent"]
        if any(each.mailboxId and each.name.startswith(name + DELIMITER) for each in infos):
            for attributesOf in self._session.registry.listAttributes:
                attributes += attributesOf(info, True)
        return Listed(info, True, attributes)


async def _annotated(mailbox: IMailbox, modSeq: int) -> bool:
    """
    @return: whether an annotation was changed since.
    """
    if not IAnnotatedMailbox.providedBy(mailbox):
        return False
    return bool(await IAnnotatedMailbox(mailbox).annotationChangesSince(modSeq))


def _with(info: MailboxInfo, old: MailboxInfo, before: dict[str, MailboxInfo]) -> bool:
    """
    @return: whether it was renamed with a mailbox above it.
    """
    names = {each.name for each in before.values()}
    return any(
        old.name[len(above) :] == info.name[len(info.name) - len(old.name) + len(above) :]
        for above in parents(old.name)
        if above in names
    )


# --- the command ---------------------------------------------------------------------------------


def _readEvents(
    session: IMAPSession, cursor: Cursor, ofSelected: bool
) -> tuple[frozenset[bytes], tuple[Item, ...]]:
    """events = ( "(" event *(SP event) ")" ) / "NONE" """
    cursor.space()
    if cursor.skipWord(b"NONE"):
        return frozenset(), ()
    known = {*_MESSAGE_EVENTS, *_MAILBOX_EVENTS}
    if not IAnnotatedAccount.providedBy(session.theAccount()):
        known.difference_update(_ANNOTATION_EVENTS)
    if IMetadataAccount.providedBy(session.theAccount()):
        known.update(_METADATA_EVENTS)
    events: set[bytes] = set()
    items: tuple[Item, ...] = ()
    # Some of the RFC's own examples have no parentheses.
    enclosed = cursor.skip(b"(")
    while True:
        event = cursor.atom().upper()
        if event not in known:
            names = " ".join(name for name in _SPELLED if name.upper().encode("ascii") in known)
            raise MailError("Unsupported event", imapCode=f"BADEVENT ({names})")
        events.add(event)
        if event == b"MESSAGENEW" and cursor.text.startswith(b" (", cursor.at):
            cursor.space()
            items = parseItems(cursor, session.registry.fetchItems)
            if not ofSelected:
                raise SyntaxProblem("Messages of other mailboxes can't be fetched")
        if cursor.peek() != b" ":
            break
        cursor.space()
    if enclosed:
        cursor.expect(b")")
    changes = events.intersection((b"FLAGCHANGE", *_ANNOTATION_EVENTS))
    if (b"MESSAGENEW" in events) != (b"MESSAGEEXPUNGE" in events) or (
        changes and b"MESSAGENEW" not in events
    ):
        raise SyntaxProblem(
            "MessageNew and MessageExpunge belong together, and to FlagChange and AnnotationChange"
        )
    if ofSelected and not events <= set(_MESSAGE_EVENTS):
        raise SyntaxProblem("Only message events of the selected mailbox")
    return frozenset(events), items


def _readGroups(session: IMAPSession, cursor: Cursor) -> list[Group]:
    """event-groups = event-group *(SP event-group)"""
    groups: list[Group] = []
    while True:
        cursor.expect(b"(")
        filtered = readFilter(cursor, _KINDS)
        if len(filtered.names) > MAX_NAMES:
            raise CannotDoThat("Too many mailboxes", imapCode="NOTIFICATIONOVERFLOW")
        kind = filtered.kind
        ofSelected = kind in _OF_SELECTED
        events, items = _readEvents(session, cursor, ofSelected)
        cursor.expect(b")")
        if ofSelected and any(group.filter.kind in _OF_SELECTED for group in groups):
            raise SyntaxProblem("The selected mailbox is specified twice")
        groups.append(Group(filtered, events, items, kind != b"SELECTED-DELAYED"))
        if len(groups) > MAX_GROUPS:
            raise CannotDoThat("Too many events", imapCode="NOTIFICATIONOVERFLOW")
        if cursor.atEnd:
            return groups
        cursor.space()


async def notify(session: IMAPSession, cursor: Cursor) -> None:
    """
    RFC 5465 §3.1::

        notify-set = "SET" [SP "STATUS"] SP event-groups
        notify-none = "NONE"
    """
    cursor.space()
    word = cursor.atom().upper()
    if word == b"NONE":
        cursor.end()
        _replace(session, Watch(session, ()))
        return
    if word != b"SET":
        raise SyntaxProblem("SET or NONE expected")
    cursor.space()
    withStatus = cursor.skipWord(b"STATUS")
    if withStatus:
        cursor.space()
    groups = _readGroups(session, cursor)
    if session.selected is not None:
        # "MUST cause the server to immediately return any accumulated changes": by the rules that
        # were there until now, for which the client knows what to expect.
        await session.tellNews()
    watch = Watch(session, groups)
    try:
        await watch.begin(withStatus)
    except BaseException:
        watch.close()
        raise
    _replace(session, watch)
    events = {event for group in groups for event in group.events}
    if not events.isdisjoint(_METADATA_EVENTS):
        session.listeners.append(_MetadataEvents(session, groups))


class _MetadataEvents(MetadataListener):
    """Entries of those mailboxes of which NOTIFY wants to know."""

    def __init__(self, session: IMAPSession, groups: Sequence[Group]) -> None:
        super().__init__(session)
        self._groups = groups

    def wants(self, info: MailboxInfo | None) -> bool:
        """See L{MetadataListener}."""
        if info is None:
            return any(b"SERVERMETADATACHANGE" in group.events for group in self._groups)
        return any(
            b"MAILBOXMETADATACHANGE" in group.events and group.filter.matches(info)
            for group in self._groups
        )


def _replace(session: IMAPSession, watch: Watch) -> None:
    for listener in tuple(session.listeners):
        if isinstance(listener, Watch | _MetadataEvents):
            listener.close()
            session.listeners.remove(listener)
    session.listeners.append(watch)
    session.pusher = watch


EXTENSION = Extension(b"NOTIFY", 5465, (Command(b"NOTIFY", LOGGED_IN, notify),))
