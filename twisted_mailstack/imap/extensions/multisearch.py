# -*- test-case-name: tests.imap.test_multisearch -*-
"""MULTISEARCH (RFC 7377): ESEARCH looks at many mailboxes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from zope.interface import implementer

from twisted_mailstack.errors import LimitExceeded, MailError, SyntaxProblem
from twisted_mailstack.imap.encode import mailbox as encodedName
from twisted_mailstack.imap.extension import LOGGED_IN, Command, Extension
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.results import (
    Results,
    check,
    completed,
    conclude,
    extended,
    forget,
    highestModSeq,
    lookUp,
    newContext,
    readReturns,
    tagOf,
)
from twisted_mailstack.imap.search import Context, Query, readQuery, readSearchCharset
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.imap.sources import MailboxFilter, foreignPrefixes, readFilters
from twisted_mailstack.imap.view import View
from twisted_mailstack.interfaces import (
    IMailbox,
    ISearchableAccount,
    ISearchableMailbox,
    ISurveyableAccount,
)
from twisted_mailstack.model.records import MailboxStatus
from twisted_mailstack.model.sequence import NumberSet

_SELECTED = MailboxFilter(b"SELECTED")
#: Mailboxes up to which each is asked for itself what may match.
FEW = 3
#: Mailboxes that are left out between two turns for everyone else.
SLICE = 500


def _readSources(cursor: Cursor) -> list[MailboxFilter]:
    #   esearch-source-opts = "IN" SP "(" source-mbox [SP "(" scope-options ")"] ")"
    if not cursor.skipWord(b"IN"):
        return [_SELECTED]
    cursor.space()
    cursor.expect(b"(")
    filters = readFilters(cursor)
    # There are no scope options yet that could be known.
    cursor.expect(b")")
    cursor.space()
    return filters


def _checkScope(session: IMAPSession, sources: Sequence[MailboxFilter], returns: Any) -> None:
    """
    @raise SyntaxProblem: if the mailboxes and the return options don't go together (§2.2).
    """
    if _SELECTED in sources and session.selected is None:
        raise SyntaxProblem("No mailbox is selected")
    for name in returns:
        option = session.registry.searchReturns[name]
        if option.ofSelected and _SELECTED not in sources:
            raise SyntaxProblem("That return option is for the selected mailbox")
        if option.alone and any(each != _SELECTED for each in sources):
            raise SyntaxProblem("That return option is for the selected mailbox alone")


class _Survey:
    """
    What is known of the account's mailboxes before they are opened, asked for once in a command.
    """

    def __init__(self, session: IMAPSession, query: Query) -> None:
        self._session = session
        self._query = query
        self._account: Any = session.theAccount()
        self._statuses: Mapping[str, MailboxStatus] = {}
        self._known: dict[tuple[Any, ...], Mapping[str, NumberSet] | None] = {}
        self._isIndexed = False
        self._excluded = 0

    async def begin(self, mailboxes: int) -> None:
        """
        @param mailboxes: how many are searched.
        """
        # To look through the whole account for a few would take longer.
        self._isIndexed = mailboxes > FEW and ISearchableAccount.providedBy(self._account)
        if ISurveyableAccount.providedBy(self._account):
            self._statuses = await self._account.statuses()

    async def candidates(self, *question: Any) -> Mapping[str, NumberSet]:
        """
        @param question: as of L{ISearchableAccount.candidates}.
        """
        if not self._isIndexed:
            return {}
        if question not in self._known:
            self._known[question] = await self._account.candidates(*question)
        return self._known[question] or {}

    async def excludes(self, mailboxId: str) -> bool:
        """
        @return: whether it is known that nothing in a mailbox matches.
        """
        status = self._statuses.get(mailboxId)
        if status is None or status.messages:
            index: Any = _Index(self, mailboxId)
            context = Context(View.empty(), index, self._session.stream)
            if not await self._query.node.excludes(context, status):
                return False
        self._excluded += 1
        if self._excluded % SLICE == 0:
            await self._session.stream.breathe()
        return True


@implementer(ISearchableMailbox)
class _Index:
    """
    What the account's index says of a mailbox, or if that isn't known, the mailbox's own.
    """

    def __init__(self, survey: _Survey, mailboxId: str, mailbox: Any = None) -> None:
        self._survey = survey
        self._mailboxId = mailboxId
        self._mailbox = mailbox

    async def candidates(
        self, texts: Sequence[str], inHeader: bool = True, inBody: bool = True
    ) -> NumberSet | None:
        """See L{ISearchableMailbox}."""
        question = tuple(texts), inHeader, inBody
        found = (await self._survey.candidates(*question)).get(self._mailboxId)
        if found is None and self._mailbox is not None:
            found = await self._mailbox.candidates(*question)
        return found


async def _mailboxes(
    session: IMAPSession, sources: Sequence[MailboxFilter], survey: _Survey
) -> AsyncIterator[tuple[str, int, IMailbox, View]]:
    """
    @return: name, UIDVALIDITY, mailbox and what there is in it; each mailbox once, the selected one
        as its client knows it. What can't be opened is left out; what is known to have no
        match isn't opened.
    """
    done: set[str] = set()
    selected = session.selected
    if _SELECTED in sources and selected is not None:
        done.add(selected.mailbox.mailboxId)
        yield selected.name, selected.uidValidity, selected.mailbox, selected.view
    others = [each for each in sources if each != _SELECTED]
    if not others:
        return
    account: Any = session.theAccount()
    foreign = foreignPrefixes(account)
    names = {
        info.name: info.mailboxId
        for info in await account.listMailboxes()
        if info.selectable
        and any(each.matches(info, not info.name.startswith(foreign)) for each in others)
    }
    for each in others:
        # A mailbox that is named has to be readable, not to be listed.
        for name in each.names:
            names.setdefault(name, "")
    await survey.begin(len(names))
    for name, mailboxId in names.items():
        if await survey.excludes(mailboxId):
            continue
        try:
            mailbox = await account.openMailbox(name)
            if mailbox.mailboxId in done:
                continue
            done.add(mailbox.mailboxId)
            uidValidity = (await mailbox.status()).uidValidity
            view = await session.views.open(mailbox)
        except MailError:
            # Gone meanwhile, or not for this user.
            continue
        view.uidOnly = b"UIDONLY" in session.enabled
        yield name, uidValidity, mailbox, view


async def esearch(session: IMAPSession, cursor: Cursor) -> bytes | None:
    """RFC 7377 §2."""
    cursor.space()
    sources = _readSources(cursor)
    returns = readReturns(session, cursor) or {}
    _checkScope(session, sources, returns)
    try:
        return await _esearch(session, cursor, sources, returns)
    except (SyntaxProblem, LimitExceeded):
        raise
    except Exception:
        forget(session, returns)
        raise


async def _esearch(
    session: IMAPSession, cursor: Cursor, sources: Sequence[MailboxFilter], returns: Any
) -> bytes | None:
    charset = readSearchCharset(session, cursor)
    start = cursor.at
    # Also if there is nothing to look at, what isn't right is told.
    view = View.empty() if session.selected is None else session.selected.view
    if session.selected is None:
        view.uidOnly = b"UIDONLY" in session.enabled
    query = await readQuery(session, cursor, view, charset)
    tag = tagOf(cursor)
    looked = 0
    done: bytes | None = None
    survey = _Survey(session, query)
    async for name, uidValidity, mailbox, view in _mailboxes(session, sources, survey):
        isSelected = session.selected is not None and view is session.selected.view
        if not isSelected:
            # Numbers mean others here.
            again = Cursor(cursor.text, at=start)
            again.utf8 = cursor.utf8
            query = await readQuery(session, again, view, charset)
        context = newContext(session, view, mailbox, tag)
        context.looked = looked
        if not isSelected and context.index is not None:
            context.index = _Index(survey, mailbox.mailboxId, context.index)
        place = b" MAILBOX %b UIDVALIDITY %d" % (encodedName(name, cursor.utf8), uidValidity)
        results = Results(session, tag, True, returns, query, None, context, place)
        check(results)
        try:
            await lookUp(results)
        except MailError:
            if isSelected:
                raise
            # It went while it was looked at.
            continue
        looked = context.looked
        if isSelected:
            done = completed(context, b"ESEARCH", False)
        await results.prepare()
        if results.found:
            # "An ESEARCH response MUST NOT be returned for mailboxes that contain no matching
            # messages" (§2.1).
            session.stream.write(extended(results, highestModSeq(results)))
        await conclude(results)
        await session.stream.drain()
        await context.breathe()
    return done


EXTENSION = Extension(
    b"MULTISEARCH",
    7377,
    # Numbers of messages may stand among the keys, so that none may shift (RFC 7162 §3.2.10.2).
    commands=(Command(b"ESEARCH", LOGGED_IN, esearch, mayExpunge=False),),
)
