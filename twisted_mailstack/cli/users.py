# -*- test-case-name: tests.cli.test_users -*-
"""
``mailstack user``: accounts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from twisted_mailstack.auth.schemes import OURS, makeSecrets
from twisted_mailstack.cli.access import COMMANDS
from twisted_mailstack.cli.context import ADDRESS, DOMAIN, Context, askPassword, passContext
from twisted_mailstack.config import MOST
from twisted_mailstack.errors import SyntaxProblem
from twisted_mailstack.model.address import Address
from twisted_mailstack.storage.sql.account import MAX_MAILBOXES


def _newSecrets(context: Context, address: Address, plain: bool) -> dict[str, str]:
    configuration = context.configuration
    schemes = (OURS, *(each.lower() for each in configuration.scram), *(("plain",) * plain))
    try:
        return makeSecrets(askPassword(), schemes, str(address), configuration.scramIterations)
    except SyntaxProblem as problem:
        raise click.ClickException(f"that can't be a password: {problem.text}") from None


@click.group()
def user() -> None:
    """Accounts."""


for _command in COMMANDS:
    user.add_command(_command)


#: Of what asks for a password.
_plain = click.option(
    "--plain", is_flag=True, help="Keep the password as it is, too, for APOP and CRAM-MD5."
)


@user.command()
@click.argument("address", type=ADDRESS)
@_plain
@click.option(
    "--no-password",
    is_flag=True,
    help="Without one: another checker knows it (auth.checkers), or nobody logs in to it.",
)
@passContext
def add(context: Context, address: Address, plain: bool, no_password: bool) -> None:
    """Make an account. Asks for the password, or reads it as one line from standard input."""
    directory = context.open(make=True).directory
    if context.run(directory.findAccount(address)) is not None:
        raise click.ClickException(f"{address} exists already")
    secrets = None if no_password else _newSecrets(context, address, plain)
    if context.run(directory.findDomain(address.domain)) is None:
        context.run(directory.addDomain(address.domain))
        click.echo(f"Made the domain {address.domain}.")
    context.run(directory.addAccount(address, secrets))
    click.echo(f"Made the account {address}.")


@user.command()
@click.argument("address", type=ADDRESS)
@_plain
@passContext
def passwd(context: Context, address: Address, plain: bool) -> None:
    """Change an account's password."""
    directory = context.open().directory
    if context.run(directory.findAccount(address)) is None:
        raise click.ClickException(f"there is no account {address}")
    context.run(directory.setPassword(address, _newSecrets(context, address, plain)))
    click.echo(f"Changed the password of {address}.")


@user.command("list")
@click.argument("domain", type=DOMAIN, required=False)
@passContext
def list_(context: Context, domain: str | None) -> None:
    """List the accounts, or those of one domain."""
    store = context.open()
    for record in context.run(store.directory.listAccounts(domain)):
        account = context.run(store.openAccount(record.accountId))
        quota = context.run(account.quota())
        limit = "" if quota.octetLimit is None else f" of {_octets(quota.octetLimit)}"
        state = "" if record.enabled else "  disabled"
        click.echo(
            f"{record.address!s:40} {quota.messages:8} messages"
            f" {_octets(quota.octets):>10}{limit}{state}"
        )


@user.command()
@click.argument("address", type=ADDRESS)
@click.option("--yes", is_flag=True, help="Don't ask.")
@passContext
def remove(context: Context, address: Address, yes: bool) -> None:
    """Remove an account and all its mail."""
    directory = context.open().directory
    if context.run(directory.findAccount(address)) is None:
        raise click.ClickException(f"there is no account {address}")
    if not yes:
        if not sys.stdin.isatty():
            raise click.ClickException("this deletes mail: say --yes")
        click.confirm(f"Remove {address} and all its mail?", abort=True)
    context.run(directory.removeAccount(address))
    click.echo(f"Removed the account {address}.")


@user.command()
@click.argument("address", type=ADDRESS)
@passContext
def enable(context: Context, address: Address) -> None:
    """Let an account log in again."""
    context.run(context.open().directory.setEnabled(address, True))
    click.echo(f"{address} may log in.")


@user.command()
@click.argument("address", type=ADDRESS)
@passContext
def disable(context: Context, address: Address) -> None:
    """Let nobody log in to an account. It goes on taking mail."""
    context.run(context.open().directory.setEnabled(address, False))
    click.echo(f"{address} may not log in.")


@user.command()
@click.argument("address", type=ADDRESS)
@click.option("--octets", type=click.IntRange(0, MOST), help="0: no limit.")
@click.option("--messages", type=click.IntRange(0, MOST), help="0: no limit.")
@click.option("--mailboxes", type=click.IntRange(0, MOST), help="0: as many as there can be.")
@click.option(
    "--annotations", type=click.IntRange(0, MOST), help="Octets of annotations. 0: no limit."
)
@passContext
def quota(
    context: Context,
    address: Address,
    octets: int | None,
    messages: int | None,
    mailboxes: int | None,
    annotations: int | None,
) -> None:
    """Limit what an account may hold. What isn't named stays; without options it is shown."""
    store = context.open()
    record = context.run(store.directory.findAccount(address))
    if record is None:
        raise click.ClickException(f"there is no account {address}")
    account = context.run(store.openAccount(record.accountId))
    found = context.run(account.quota())
    count, most = context.run(account.mailboxQuota())
    noted, mostNoted = context.run(account.annotationQuota())
    if octets is None and messages is None and mailboxes is None and annotations is None:
        click.echo(
            f"{address}: {_octets(found.octets)} of {_limit(found.octetLimit, _octets)},"
            f" {found.messages} messages of {_limit(found.messageLimit, str)}"
            + (f", {count} mailboxes of {most}" if most != MAX_MAILBOXES else "")
            + (
                f", annotations: {_octets(noted)} of {_octets(mostNoted)}"
                if mostNoted is not None
                else ""
            )
        )
        return
    octetLimit = found.octetLimit if octets is None else octets or None
    messageLimit = found.messageLimit if messages is None else messages or None
    mailboxLimit = most if mailboxes is None else mailboxes or None
    if mailboxLimit == MAX_MAILBOXES:
        mailboxLimit = None
    annotationLimit = mostNoted if annotations is None else annotations or None
    context.run(
        store.directory.setQuota(address, octetLimit, messageLimit, mailboxLimit, annotationLimit)
    )
    click.echo(f"Set the quota of {address}.")


def _limit(number: int | None, show: Callable[[int], str]) -> str:
    return "any number" if number is None else show(number)


def _octets(number: int) -> str:
    size = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
