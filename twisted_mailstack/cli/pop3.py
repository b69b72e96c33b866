# -*- test-case-name: tests.cli.test_pop3 -*-
"""
``mailstack user pop3``: what POP3 shows of an account, where what is deleted goes, how often
clients may log in, and for how long what they have fetched stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from twisted_mailstack.cli.context import ADDRESS, Context, passContext
from twisted_mailstack.errors import MailError
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.mailboxname import INBOX, normaliseName
from twisted_mailstack.model.records import NEVER, MaildropSettings

#: What says that an account is as the server.
DEFAULT = "default"
NEVER_WORD = "never"


class NumberType(click.ParamType[int]):
    """
    A number, or a word that stands for one; C{-1} for "default".
    """

    def __init__(self, name: str, words: Mapping[str, int]) -> None:
        """
        @param name: of the number, for people.
        """
        self.name = name
        self._words = {DEFAULT: -1, **words}

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        """See L{click.ParamType}."""
        if isinstance(value, int):
            return value
        text = str(value).lower()
        if text in self._words:
            return self._words[text]
        if text.isascii() and text.isdigit() and int(text) < NEVER:
            return int(text)
        self.fail(f"{value} is no number, and not {' or '.join(self._words)}", param, ctx)


@click.command()
@click.argument("address", type=ADDRESS)
@click.option(
    "--show",
    type=click.Choice(("all", "unseen")),
    help="All messages, or only those that weren't read by IMAP.",
)
@click.option(
    "--also",
    multiple=True,
    metavar="MAILBOX",
    help="A mailbox whose messages are shown behind those of INBOX; for each one.",
)
@click.option("--only-inbox", is_flag=True, help="No other mailboxes.")
@click.option(
    "--delete",
    type=click.Choice(("expunge", "trash")),
    help="Remove what clients delete, or move it to the mailbox for that.",
)
@click.option(
    "--login-delay",
    type=NumberType("seconds", {}),
    help="Seconds from a login to the next; 0 for none, default for those of pop3.login-delay.",
)
@click.option(
    "--expire",
    type=NumberType("days", {NEVER_WORD: NEVER}),
    help="Days from when a client fetched a message until it is removed, at the end of a session; 0"
    " for the end of the same one, never, or default for what pop3.expire-days says.",
)
@passContext
def pop3(
    context: Context,
    address: Address,
    show: str | None,
    also: tuple[str, ...],
    only_inbox: bool,
    delete: str | None,
    login_delay: int | None,
    expire: int | None,
) -> None:
    """What POP3 shows of an account. What isn't named stays; without options it is shown."""
    store = context.open()
    record = context.run(store.directory.findAccount(address))
    if record is None:
        raise click.ClickException(f"there is no account {address}")
    account = context.run(store.openAccount(record.accountId))
    settings = context.run(account.maildropSettings())
    if also and only_inbox:
        raise click.UsageError("--also and --only-inbox exclude one another")
    if (show, delete, login_delay, expire) == (None,) * 4 and not also and not only_inbox:
        click.echo(f"{address}: {_said(settings)}")
        return
    if show is not None:
        settings = settings._replace(unseenOnly=show == "unseen")
    if delete is not None:
        settings = settings._replace(toTrash=delete == "trash")
    if login_delay is not None:
        settings = settings._replace(loginDelay=None if login_delay < 0 else login_delay)
    if expire is not None:
        settings = settings._replace(expireDays=None if expire < 0 else expire)
    if only_inbox:
        settings = settings._replace(mailboxes=())
    if also:
        there = {i.name for i in context.run(account.listMailboxes()) if i.selectable}
        mailboxes: list[str] = []
        for each in also:
            try:
                name = normaliseName(each)
            except MailError as error:
                raise click.ClickException(f"{each}: {error.text}") from None
            if name not in there:
                raise click.ClickException(f"{address} has no mailbox {name}")
            if name != INBOX and name not in mailboxes:
                mailboxes.append(name)
        settings = settings._replace(mailboxes=tuple(mailboxes))
    context.run(account.setMaildropSettings(settings))
    click.echo(f"Set what POP3 shows of {address}.")


def _said(settings: MaildropSettings) -> str:
    names = " and ".join((INBOX, *settings.mailboxes))
    what = "unseen messages" if settings.unseenOnly else "all messages"
    where = "moved to Trash" if settings.toTrash else "expunged"
    said = f"{what} of {names}; deleted ones are {where}"
    if settings.loginDelay is not None:
        said += f"; {settings.loginDelay} seconds between logins"
    days = settings.expireDays
    if days == NEVER:
        said += "; fetched ones stay"
    elif days is not None:
        said += f"; fetched ones go {f'after {days} days' if days else 'at once'}"
    return said
