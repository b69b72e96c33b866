# -*- test-case-name: tests.cli.test_pop3 -*-
"""
``mailstack user pop3``: what POP3 shows of an account, and where what is deleted goes.
"""

from __future__ import annotations

import click

from twisted_mailstack.cli.context import ADDRESS, Context, passContext
from twisted_mailstack.errors import MailError
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.mailboxname import INBOX, normaliseName


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
@passContext
def pop3(
    context: Context,
    address: Address,
    show: str | None,
    also: tuple[str, ...],
    only_inbox: bool,
    delete: str | None,
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
    if show is None and delete is None and not also and not only_inbox:
        names = " and ".join((INBOX, *settings.mailboxes))
        what = "unseen messages" if settings.unseenOnly else "all messages"
        where = "moved to Trash" if settings.toTrash else "expunged"
        click.echo(f"{address}: {what} of {names}; deleted ones are {where}")
        return
    if show is not None:
        settings = settings._replace(unseenOnly=show == "unseen")
    if delete is not None:
        settings = settings._replace(toTrash=delete == "trash")
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
