# -*- test-case-name: tests.cli.test_acl -*-
"""
``mailstack acl``: who may do what in whose mailboxes.
"""

from __future__ import annotations

from typing import Any

import click

from twisted_mailstack.cli.context import ADDRESS, Context, passContext
from twisted_mailstack.errors import InvalidMailboxName, SyntaxProblem
from twisted_mailstack.interfaces import IAccount
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.flags import FlagOperation
from twisted_mailstack.model.mailboxname import DELIMITER, normaliseName
from twisted_mailstack.model.rights import NEGATIVE, NO_RIGHTS, Rights, formatRights, parseRights
from twisted_mailstack.sharing.account import PUBLIC_PREFIX
from twisted_mailstack.sharing.identifiers import canonicalIdentifier


class MailboxType(click.ParamType[str]):
    """The name of a mailbox."""

    name = "mailbox"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """See L{click.ParamType}."""
        try:
            return normaliseName(value)
        except InvalidMailboxName as problem:
            self.fail(f"{value}: {problem.text}", param, ctx)


MAILBOX = MailboxType()

#: Identifiers and rights may begin with a dash, and are no options.
_DASHES = {"ignore_unknown_options": True}


@click.group()
def acl() -> None:
    """
    Who may use whose mailboxes.

    IDENTIFIER is an account's address, @DOMAIN for all accounts of a domain, or anyone; with a - in
    front, its rights are taken away, whatever grants them. RIGHTS are letters of lrswipkxtean (see
    the documentation on sharing), with a + or - in front added or taken away.
    """


def _account(context: Context, address: Address) -> IAccount:
    store = context.open()
    record = context.run(store.directory.findAccount(address))
    if record is None:
        raise click.ClickException(f"there is no account {address}")
    return context.run(store.openAccount(record.accountId))


@acl.command("list")
@click.argument("address", type=ADDRESS)
@click.argument("mailbox", type=MAILBOX, required=False)
@passContext
def list_(context: Context, address: Address, mailbox: str | None) -> None:
    """List who may do what in an account's mailboxes, or in one of them."""
    store = context.open()
    account = _account(context, address)
    for info in context.run(account.listMailboxes()):
        if info.selectable and mailbox in (None, info.name):
            for identifier, rights in context.run(store.sharing.entries(info.mailboxId)).items():
                click.echo(f"{info.name}: {identifier} {formatRights(rights)}")
    if mailbox is not None:
        # Says so if there is none.
        context.run(account.openMailbox(mailbox))


@acl.command("set", context_settings=_DASHES)
@click.argument("address", type=ADDRESS)
@click.argument("mailbox", type=MAILBOX)
@click.argument("identifier")
@click.argument("rights")
@passContext
def set_(context: Context, address: Address, mailbox: str, identifier: str, rights: str) -> None:
    """Change what IDENTIFIER may do in a mailbox of an account."""
    operation = {"+": FlagOperation.ADD, "-": FlagOperation.REMOVE}.get(rights[:1])
    try:
        letters = parseRights(rights if operation is None else rights[1:])
    except SyntaxProblem as problem:
        raise click.ClickException(problem.text) from None
    known = _change(
        context, address, mailbox, identifier, operation or FlagOperation.REPLACE, letters
    )
    account = context.run(_account(context, address).openMailbox(mailbox))
    entries = context.run(context.open().sharing.entries(account.mailboxId, (known,)))
    click.echo(f"{mailbox}: {known} {formatRights(entries.get(known, NO_RIGHTS)) or 'nothing'}")


@acl.command(context_settings=_DASHES)
@click.argument("address", type=ADDRESS)
@click.argument("mailbox", type=MAILBOX)
@click.argument("identifier")
@passContext
def delete(context: Context, address: Address, mailbox: str, identifier: str) -> None:
    """Say nothing of IDENTIFIER in a mailbox any more."""
    known = _change(context, address, mailbox, identifier, FlagOperation.REPLACE, NO_RIGHTS)
    click.echo(f"{mailbox}: {known} nothing")


def _change(
    context: Context,
    address: Address,
    mailbox: str,
    identifier: str,
    operation: FlagOperation,
    rights: Rights,
) -> str:
    """
    @return: the identifier as the list has it.
    """
    store = context.open()
    account = _account(context, address)
    opened = context.run(account.openMailbox(mailbox))
    domain = context.configuration.defaultDomain or None
    known = context.run(canonicalIdentifier(store.directory, identifier, domain))
    if known.removeprefix(NEGATIVE) == str(account.address):
        raise click.ClickException("the owner of a mailbox has all rights in it")
    context.run(store.sharing.change(opened.mailboxId, known, operation, rights))
    return known


@acl.command()
@click.argument("address", type=ADDRESS)
@click.argument("name")
@passContext
def publish(context: Context, address: Address, name: str) -> None:
    """
    Make an account a public one: its mailboxes are below Shared/NAME for who may see them.
    """
    if not name or DELIMITER in name:
        raise click.ClickException(f"{name!r}: a public name is one level, without {DELIMITER}")
    try:
        wanted = normaliseName(PUBLIC_PREFIX + name).removeprefix(PUBLIC_PREFIX)
    except InvalidMailboxName as problem:
        raise click.ClickException(f"{name}: {problem.text}") from None
    account = _account(context, address)
    context.run(context.open().sharing.publish(account.accountId, wanted))
    click.echo(f"The mailboxes of {address} are below {PUBLIC_PREFIX}{wanted}.")


@acl.command()
@click.argument("address", type=ADDRESS)
@passContext
def withdraw(context: Context, address: Address) -> None:
    """Make a public account a person's again."""
    account = _account(context, address)
    context.run(context.open().sharing.publish(account.accountId, None))
    click.echo(f"{address} is not public.")
