# -*- test-case-name: tests.auth.test_urls -*-
"""
Messages by URL (RFC 5092): for CATENATE (RFC 4469), and with URLAUTH (RFC 4467) for others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from twisted_mailstack.errors import MailError, NoSuchMailbox
from twisted_mailstack.interfaces import IAccount, IMailbox, IMessageContent
from twisted_mailstack.model.header import selectFields
from twisted_mailstack.model.imapurl import IMAPURL
from twisted_mailstack.model.mailboxname import normaliseName
from twisted_mailstack.model.mime import sectionRange

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
