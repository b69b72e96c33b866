# -*- test-case-name: tests.imap.test_urlauth -*-
"""
Messages by URL (RFC 5092): for CATENATE (RFC 4469), and with URLAUTH (RFC 4467) for others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from hmac import compare_digest, digest

from twisted_mailstack.errors import MailError, NoSuchMailbox, SyntaxProblem
from twisted_mailstack.interfaces import IAccount, IMailbox, IMessageContent, IURLKeyStore
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.header import selectFields
from twisted_mailstack.model.imapurl import IMAPURL, URLAuth, parseURL
from twisted_mailstack.model.mailboxname import normaliseName
from twisted_mailstack.model.mime import sectionRange
from twisted_mailstack.model.records import AccountRecord

#: Octets that are read at a time.
WINDOW = 64 * 1024
#: Octets of a header out of which fields are selected.
MAX_HEADER = 1024 * 1024


class URLContent:
    """
    What a URL names.

    @ivar size: its octets.
    """

    def __init__(self, content: IMessageContent | None, data: bytes, start: int, end: int) -> None:
        """
        @param content: where the octets from C{start} to C{end} are; C{None} for C{data}.
        """
        self._content = content
        self._data = data
        self._start = start
        self.size = end - start

    async def pieces(self) -> AsyncIterator[bytes]:
        """
        @return: its octets, in pieces of a bounded size.
        """
        if self._content is None:
            yield self._data[self._start : self._start + self.size]
            return
        at, end = self._start, self._start + self.size
        while at < end:
            data = await self._content.read(at, min(WINDOW, end - at))
            if not data:
                raise MailError("The message is damaged")
            at += len(data)
            yield data


async def openURL(account: IAccount, url: IMAPURL) -> URLContent:
    """
    @param account: whose mailbox it is; the URL's user and host are not looked at.
    @param url: absolute, or relative to the server.
    @raise MailError: if there is no such mailbox, message or part.
    """
    return await openIn(await account.openMailbox(normaliseName(url.mailbox)), url)


async def openIn(mailbox: IMailbox, url: IMAPURL) -> URLContent:
    """
    @param mailbox: in which it is; the URL's isn't looked at.
    @raise MailError: if there is no such message or part.
    """
    if url.uidValidity is not None:
        if (await mailbox.status()).uidValidity != url.uidValidity:
            raise NoSuchMailbox("The mailbox is another one by now")
    content = await mailbox.openMessage(url.uid)
    where: tuple[int, int] | None = (0, content.size)
    if url.path or url.kind:
        where = sectionRange(content.structure, url.path, url.kind)
    if where is None:
        raise MailError("The message has no such part")
    start, end = where
    data = b""
    if url.fields is not None:
        header = await content.read(start, min(end - start, MAX_HEADER))
        data = selectFields(header, url.fields, url.exclude)
        start, end = 0, len(data)
    if url.partial is not None:
        first, count = url.partial
        start = min(start + first, end)
        end = end if count is None else min(start + count, end)
    return URLContent(None if url.fields is not None else content, data, start, end)


class URLAuthority:
    """
    Makes URLs with which others may read a message, and opens them (RFC 4467), for the accounts of
    one store. The only mechanism is INTERNAL: the token is a keyed hash of the URL.

    @ivar hostname: of the server that the URLs name.
    """

    def __init__(self, store: IURLKeyStore, hostname: str, now: Callable[[], float]) -> None:
        """
        @param now: seconds since 1970.
        """
        self._store = store
        self.hostname = hostname
        self._now = now

    async def authorise(self, account: IAccount, rump: bytes) -> bytes:
        """
        @param account: who asks, whose the mailbox must be.
        @param rump: the URL up to and with the access identifier.
        @return: the URL with its token.
        @raise SyntaxProblem: if it isn't such a URL.
        @raise MailError: if the URL isn't one of the account's on this server.
        """
        url = parseURL(rump)
        given = url.authorisation
        if given is None or given.token:
            raise SyntaxProblem("A URL up to its access identifier is needed")
        owner = await self._owner(url)
        if owner is None or owner.accountId != account.accountId:
            raise MailError("That is no URL of yours on this server")
        if given.expire is not None and given.expire <= self._now():
            raise MailError("The URL has expired")
        own = await self._store.openAccount(owner.accountId)
        mailbox = await own.openMailbox(normaliseName(url.mailbox))
        key = await self._store.urlKeys.key(mailbox.mailboxId, True)
        assert key is not None
        return rump + b":internal:" + _token(key, given.rump).hex().encode("ascii")

    async def reset(self, account: IAccount, mailboxName: str | None) -> None:
        """
        What was authorised in that mailbox, or in all of the account, holds no more.

        @raise MailError: if there is no such mailbox.
        """
        keys = self._store.urlKeys
        if mailboxName is None:
            await keys.forgetAll(account.accountId)
            return
        own = await self._store.openAccount(account.accountId)
        await keys.forget((await own.openMailbox(mailboxName)).mailboxId)

    async def open(self, text: bytes, reader: Address, submitting: bool = False) -> URLContent:
        """
        @param text: a URL with its token.
        @param reader: who is authenticated and wants to read it.
        @param submitting: whether it is to be sent as his mail.
        @raise MailError: if it can't be had, or he mustn't.
        """
        url = parseURL(text)
        given = url.authorisation
        if given is None or given.mechanism != "INTERNAL":
            raise MailError("The URL isn't authorised")
        if given.expire is not None and given.expire <= self._now():
            raise MailError("The URL has expired")
        if not await self._mayRead(given, reader, submitting):
            raise MailError("The URL is for others")
        owner = await self._owner(url)
        if owner is None:
            raise MailError("No such account on this server")
        account = await self._store.openAccount(owner.accountId)
        mailbox = await account.openMailbox(normaliseName(url.mailbox))
        key = await self._store.urlKeys.key(mailbox.mailboxId, False)
        if key is None or not compare_digest(_token(key, given.rump), given.token):
            raise MailError("The URL isn't authorised")
        return await openIn(mailbox, url)

    async def _mayRead(self, given: URLAuth, reader: Address, submitting: bool) -> bool:
        # RFC 4467 §3.
        if given.access in ("anonymous", "authuser"):
            return True
        if given.access == "submit" and not submitting:
            return False
        named = await self._find(given.user)
        reading = await self._store.directory.findAccount(reader)
        return named is not None and reading is not None and named.accountId == reading.accountId

    async def _owner(self, url: IMAPURL) -> AccountRecord | None:
        if url.host != self.hostname.lower():
            return None
        return await self._find(url.user)

    async def _find(self, user: str) -> AccountRecord | None:
        try:
            address = Address.parse(user)
        except SyntaxProblem:
            return None
        record = await self._store.directory.findAccount(address)
        # Nobody logs in to a disabled account, by no way.
        return record if record is not None and record.enabled else None


def _token(key: bytes, rump: str) -> bytes:
    # RFC 4467 §8: the first octet says which algorithm made it.
    return b"\x01" + digest(key, rump.encode("ascii"), "sha256")
