# -*- test-case-name: tests.imap.test_liststatus -*-
"""LIST-STATUS (RFC 5819): LIST tells the STATUS of each mailbox, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted_mailstack.errors import AccessDenied, MailboxNotSelectable, NoSuchMailbox
from twisted_mailstack.imap.commands.mailboxes import parseStatusItems, statusResponse
from twisted_mailstack.imap.encode import mailbox
from twisted_mailstack.imap.extension import Extension, Listed, ListReturn
from twisted_mailstack.imap.grammar import Cursor
from twisted_mailstack.imap.session import IMAPSession
from twisted_mailstack.interfaces import ISurveyableAccount
from twisted_mailstack.model.records import MailboxStatus

#: Mailboxes that are asked one by one.
FEW = 10


@dataclass
class StatusRequest:
    """
    What RETURN (STATUS ...) asks for.

    @ivar items: names of STATUS items.
    @ivar utf8: whether names are told in UTF-8.
    @ivar known: the numbers of all mailboxes, by mailboxId, if they were asked for at once.
    """

    items: list[bytes]
    utf8: bool
    known: Mapping[str, MailboxStatus] | None = None


def parse(session: IMAPSession, cursor: Cursor) -> StatusRequest:
    """status-option = "STATUS" SP "(" status-att *(SP status-att) ")" """
    cursor.space()
    return StatusRequest(parseStatusItems(session, cursor), cursor.utf8)


async def tellStatus(
    session: IMAPSession, request: StatusRequest, listed: Sequence[Listed]
) -> None:
    r"""
    RFC 5819 §2. A mailbox that can't be selected any more is shown with C{\Noselect}; one whose
    numbers can't be found out has no STATUS, and LIST goes on.
    """
    account: Any = session.theAccount()
    # One question for all mailboxes costs less than one for each of a few.
    if request.known is None and ISurveyableAccount.providedBy(account) and len(listed) > FEW:
        request.known = await account.statuses()
    known = request.known or {}
    items = request.items
    needed = not session.registry.statusQueries.keys().isdisjoint(items)
    for each in listed:
        # Names that are there for those below them have none (RFC 5819 §3).
        if not each.selected or not each.info.selectable:
            continue
        found = known.get(each.info.mailboxId)
        opened = None
        try:
            if found is None or needed:
                opened = await account.openMailbox(each.info.name)
            name = mailbox(each.info.name, request.utf8)
            response = await statusResponse(session, name, items, opened, found)
        except (NoSuchMailbox, MailboxNotSelectable, AccessDenied):
            each.attributes.insert(0, b"\\Noselect")
        except Exception:
            session.log.failure("STATUS of {name} failed", name=each.info.name)
        else:
            each.responses.append(response)


EXTENSION = Extension(b"LIST-STATUS", 5819, listReturns={b"STATUS": ListReturn(parse, tellStatus)})
