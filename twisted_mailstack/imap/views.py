# -*- test-case-name: tests.imap.test_views -*-
"""
The views that there are of each mailbox.

To read a mailbox of a million messages takes a second. Who selects it while another session has it
selected gets a twin of that session's view, and asks the mailbox's change log for the rest, as
everyone does: so it is right whatever other sessions and processes do, and how far the other
session has come makes no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import cast

from twisted_mailstack.imap.view import View
from twisted_mailstack.interfaces import IIdentifiedMailbox, IMailbox


class Views:
    """
    Those of all sessions of a server.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, list[View]] = {}

    async def open(self, mailbox: IMailbox) -> View:
        """
        @return: a new view of the mailbox as it is.
        @raise MailError: as L{IMailbox.changesSince}.
        """
        known = self._known.get(_identity(mailbox))
        if not known:
            return View(await mailbox.changesSince(0))
        view = max(known, key=lambda each: each.highestModSeq).twin()
        view.apply(await mailbox.changesSince(view.highestModSeq))
        view.expunge()
        return view

    def keep(self, mailbox: IMailbox, view: View) -> Callable[[], None]:
        """
        Make twins of this view, too.

        @return: call it, once or more, when the view is no longer used.
        """
        identity = _identity(mailbox)
        if identity is None:
            return lambda: None
        known = self._known.setdefault(identity, [])
        known.append(view)

        def forget() -> None:
            if view in known:
                known.remove(view)
                if not known:
                    del self._known[identity]

        return forget


def _identity(mailbox: IMailbox) -> Hashable:
    if not IIdentifiedMailbox.providedBy(mailbox):
        return None
    return cast(IIdentifiedMailbox, mailbox).identity
