# -*- test-case-name: tests.cli.test_access -*-
"""
``mailstack user``: who may log in to an account, with what, from where, and who did.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import click

from twisted_mailstack.auth.guessing import GuessingGuard
from twisted_mailstack.auth.names import addressKey
from twisted_mailstack.auth.onetime import newSecret, secretURI
from twisted_mailstack.auth.schemes import newAppPassword
from twisted_mailstack.cli.context import ADDRESS, Context, passContext
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.logins import printable
from twisted_mailstack.model.records import (
    APP_PASSWORD,
    KEPT_STRAY_LOGINS,
    LOGIN_SERVICES,
    AccountPolicy,
    AccountRecord,
    Credential,
    LoginRecord,
)

_SERVICE = click.Choice(sorted(LOGIN_SERVICES))
_SWITCH = click.Choice(("on", "off"))


class DateType(click.ParamType[int]):
    """A day, up to its end, or C{never}; as seconds since 1970, 0 for never."""

    name = "date"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        """See L{click.ParamType}."""
        if isinstance(value, int):
            return value
        if value == "never":
            return 0
        try:
            day = datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC)
            return int((day + timedelta(days=1)).timestamp())
        except (ValueError, OverflowError):
            self.fail(f"{value}: a day is wanted, as 2027-12-31, or never", param, ctx)


class NetworkType(click.ParamType[str]):
    """A network, or an address."""

    name = "network"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """See L{click.ParamType}."""
        try:
            return str(ip_network(value))
        except ValueError as problem:
            self.fail(f"{problem}", param, ctx)


DATE = DateType()
NETWORK = NetworkType()


def _account(context: Context, address: Address) -> AccountRecord:
    record = context.run(context.open().directory.findAccount(address))
    if record is None:
        raise click.ClickException(f"there is no account {address}")
    return record


def _policy(context: Context, address: Address) -> AccountPolicy:
    accountId = _account(context, address).accountId
    return context.run(context.open().directory.findPolicy(accountId))


def _change(context: Context, address: Address, **values: Any) -> None:
    changed = _policy(context, address)._replace(**values)
    context.run(context.open().directory.setPolicy(address, changed))


def _credentials(context: Context, address: Address) -> list[Credential]:
    accountId = _account(context, address).accountId
    found = context.run(context.open().directory.findCredentials(accountId))
    return [each for each in found if each.kind == APP_PASSWORD]


def _until(when: int) -> str:
    # The last day on which it holds.
    try:
        return datetime.fromtimestamp(when - 1, UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):
        return "the end of time"


def _at(when: int | None) -> str:
    if when is None:
        return "never"
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _all(services: frozenset[str] | None) -> str:
    return "all" if services is None else " ".join(sorted(services)) or "none"


@click.group("app-password")
def appPassword() -> None:
    """Passwords for one application each."""


@appPassword.command("add")
@click.argument("address", type=ADDRESS)
@click.argument("name")
@click.option("--service", "services", type=_SERVICE, multiple=True, help="For these only.")
@click.option("--expires", type=DATE, default="never", help="The last day, as 2027-12-31.")
@passContext
def addAppPassword(
    context: Context, address: Address, name: str, services: tuple[str, ...], expires: int
) -> None:
    """Make a password for an application, and show it, this once."""
    if not name.isprintable() or not name.strip():
        raise click.ClickException("the name of an app password must be printable")
    # All verifiers of an account have one salt: a client is told it before it says which it has.
    text, secrets = newAppPassword(str(address), context.configuration.scramIterations)
    directory = context.open().directory
    wanted = frozenset(services) or None
    context.run(directory.addAppPassword(address, name, secrets, wanted, expires or None))
    click.echo(f"The app password {name} of {address}: {text}")


@appPassword.command("list")
@click.argument("address", type=ADDRESS)
@passContext
def listAppPasswords(context: Context, address: Address) -> None:
    """List the app passwords of an account."""
    for each in _credentials(context, address):
        expires = f"  until {_until(each.expires)}" if each.expires is not None else ""
        click.echo(
            f"{each.name:30} {_all(each.services):14} last used {_at(each.lastUsed)}{expires}"
        )


@appPassword.command("remove")
@click.argument("address", type=ADDRESS)
@click.argument("name")
@passContext
def removeAppPassword(context: Context, address: Address, name: str) -> None:
    """Let an app password hold no more."""
    for each in _credentials(context, address):
        if each.name == name:
            context.run(context.open().directory.removeCredential(each.credentialId))
            click.echo(f"Removed the app password {name} of {address}.")
            return
    raise click.ClickException(f"{address} has no app password {name}")


@click.command()
@click.argument("address", type=ADDRESS)
@click.argument("date", type=DATE)
@passContext
def expire(context: Context, address: Address, date: int) -> None:
    """Let nobody log in to an account after a day, as 2027-12-31; or never: it doesn't expire."""
    _change(context, address, expires=date or None)
    click.echo(f"{address} expires {'after ' + _until(date) if date else 'never'}.")


@click.command()
@click.argument("address", type=ADDRESS)
@click.argument("networks", type=NETWORK, nargs=-1)
@click.option("--any", "everywhere", is_flag=True, help="From everywhere.")
@passContext
def networks(
    context: Context, address: Address, networks: tuple[str, ...], everywhere: bool
) -> None:
    """From which networks one may log in, as 192.0.2.0/24. Without any it is shown."""
    if networks and everywhere:
        raise click.UsageError("--any and networks exclude each other")
    if networks or everywhere:
        _change(context, address, networks=networks)
    found = _policy(context, address).networks
    click.echo(f"{address} may log in from {' '.join(found) or 'everywhere'}.")


@click.command()
@click.argument("address", type=ADDRESS)
@click.argument("services", type=_SERVICE, nargs=-1)
@click.option("--all", "every", is_flag=True, help="All there are.")
@click.option("--none", "none", is_flag=True, help="None.")
@passContext
def services(
    context: Context, address: Address, services: tuple[str, ...], every: bool, none: bool
) -> None:
    """The protocols by which one may log in to an account. Without any they are shown."""
    if bool(services) + every + none > 1:
        raise click.UsageError("--all, --none and services exclude each other")
    if services or every or none:
        _change(context, address, services=None if every else frozenset(services))
    click.echo(f"{address} may use: {_all(_policy(context, address).services)}.")


@click.command()
@click.argument("address", type=ADDRESS)
@click.argument("switch", type=_SWITCH)
@passContext
def master(context: Context, address: Address, switch: str) -> None:
    """Let an account's owner log in to all others, as OTHER*ADDRESS with the own password."""
    _change(context, address, master=switch == "on")
    click.echo(f"{address} is {'a' if switch == 'on' else 'no'} master.")


@click.command()
@click.argument("address", type=ADDRESS)
@click.argument("switch", type=_SWITCH)
@passContext
def totp(context: Context, address: Address, switch: str) -> None:
    """Whether an account's main password needs a one-time code behind it (TOTP).

    The secret for the owner's application is shown once. Mail programs need app passwords then.
    """
    secret = newSecret() if switch == "on" else None
    _change(context, address, totp=secret)
    if secret is None:
        click.echo(f"The password of {address} needs no code.")
        return
    click.echo(f"The password of {address} needs a code of this secret behind it: {secret}")
    click.echo(secretURI(secret, str(address), context.configuration.name))


@click.command()
@click.argument("address", type=ADDRESS, required=False)
@click.option("--limit", type=click.IntRange(1, KEPT_STRAY_LOGINS), default=20, help="How many.")
@passContext
def logins(context: Context, address: Address | None, limit: int) -> None:
    """Show the latest logins to an account, or under names that nobody has."""
    store = context.open()
    accountId = None if address is None else _account(context, address).accountId
    for each in context.run(store.logins.recent(accountId, limit)):
        click.echo(loginLine(each))


def loginLine(record: LoginRecord) -> str:
    """
    @return: it, for a person.
    """
    # A name may be anything, and this is a terminal.
    name = printable(record.name)
    by = f" by {record.credential}" if record.credential else ""
    return (
        f"{_at(record.when)}  {'ok    ' if record.success else 'failed'}  {record.service:11}"
        f" {record.peer:15} {record.mechanism:13} {name}{by}"
    )


@click.command()
@click.argument("address", type=ADDRESS, required=False)
@click.option("--network", type=NETWORK, multiple=True, help="As the log shows its addresses.")
@passContext
def unlock(context: Context, address: Address | None, network: tuple[str, ...]) -> None:
    """Forget the failed logins of an account, or of networks, that are locked out for them."""
    if address is None and not network:
        raise click.UsageError("say an address, or --network")
    guard = GuessingGuard(context.open().memory, time.time, context.configuration.guessing)
    peers = [each.partition("/")[0] for each in network]
    context.run(guard.forgive(None if address is None else addressKey(address), peers))
    click.echo("Forgot their failed logins.")


#: Those of C{mailstack user}.
COMMANDS: tuple[click.Command, ...] = (
    *(appPassword, expire, logins, master, networks, services, totp, unlock),
)
