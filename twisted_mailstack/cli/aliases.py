# -*- test-case-name: tests.cli.test_aliases -*-
"""
``mailstack alias``: addresses whose mail goes to others.
"""

from __future__ import annotations

import click

from twisted_mailstack.cli.context import ADDRESS, DOMAIN, Context, passContext
from twisted_mailstack.delivery.resolve import Resolver, formatCircle
from twisted_mailstack.model.address import Address


@click.group()
def alias() -> None:
    """Aliases. *@DOMAIN is a domain's catch-all; as a target it keeps the recipient's name."""


@alias.command("set")
@click.argument("address", type=ADDRESS)
@click.argument("targets", type=ADDRESS, nargs=-1, required=True)
@passContext
def set_(context: Context, address: Address, targets: tuple[Address, ...]) -> None:
    """Pass an address's mail on to one or more others, here or elsewhere."""
    setAlias(context, address, targets)
    click.echo(f"{address} goes to {', '.join(map(str, targets))}.")


def setAlias(context: Context, address: Address, targets: tuple[Address, ...]) -> None:
    """
    Make or replace an alias.

    @raise click.ClickException: if it would lead back to itself, or can't be made.
    """
    directory = context.open().directory
    resolver = Resolver(directory, tuple(context.configuration.separator))
    if circle := context.run(resolver.findCircle(address, targets)):
        raise click.ClickException(
            f"mail for {address} would go in a circle: {formatCircle(circle)}"
        )
    context.run(directory.setAlias(address, targets))


@alias.command("list")
@click.argument("domain", type=DOMAIN, required=False)
@passContext
def list_(context: Context, domain: str | None) -> None:
    """List the aliases, or those of one domain."""
    for record in context.run(context.open().directory.listAliases(domain)):
        click.echo(f"{record.address}: {', '.join(map(str, record.targets))}")


@alias.command()
@click.argument("address", type=ADDRESS)
@passContext
def remove(context: Context, address: Address) -> None:
    """Remove an alias."""
    context.run(context.open().directory.removeAlias(address))
    click.echo(f"Removed the alias {address}.")
