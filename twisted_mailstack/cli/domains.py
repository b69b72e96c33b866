# -*- test-case-name: tests.cli.test_domains -*-
"""
``mailstack domain``: the domains whose mail is taken.
"""

from __future__ import annotations

import click

from twisted_mailstack.cli.aliases import setAlias
from twisted_mailstack.cli.context import DOMAIN, Context, passContext
from twisted_mailstack.delivery.resolve import ANY
from twisted_mailstack.model.address import Address


@click.group()
def domain() -> None:
    """Domains."""


@domain.command()
@click.argument("name", type=DOMAIN)
@passContext
def add(context: Context, name: str) -> None:
    """Take mail for a domain."""
    context.run(context.open(make=True).directory.addDomain(name))
    click.echo(f"Made the domain {name}.")


@domain.command("list")
@passContext
def list_(context: Context) -> None:
    """List the domains; those that are aliases, with what of."""
    directory = context.open().directory
    for record in context.run(directory.listDomains()):
        catchAll = context.run(directory.findAlias(Address(ANY, record.name)))
        targets = () if catchAll is None else catchAll.targets
        others = ", ".join(target.domain for target in targets if target.localPart == ANY)
        click.echo(f"{record.name} -> {others}" if others else record.name)


@domain.command()
@click.argument("name", type=DOMAIN)
@click.argument("other", type=DOMAIN)
@passContext
def alias(context: Context, name: str, other: str) -> None:
    """Pass mail for USER@NAME on to USER@OTHER; what NAME has itself goes first."""
    directory = context.open(make=True).directory
    address, target = Address(ANY, name), Address(ANY, other)
    catchAll = context.run(directory.findAlias(address))
    if catchAll is not None and catchAll.targets != (target,):
        shown = ", ".join(map(str, catchAll.targets))
        raise click.ClickException(
            f"{name} has a catch-all, to {shown}: remove it first, with mailstack alias remove"
            f" {address}"
        )
    if context.run(directory.findDomain(name)) is None:
        context.run(directory.addDomain(name))
        click.echo(f"Made the domain {name}.")
    setAlias(context, address, (target,))
    click.echo(f"Mail for {name} goes to {other}.")


@domain.command()
@click.argument("name", type=DOMAIN)
@passContext
def remove(context: Context, name: str) -> None:
    """Take no more mail for a domain. It must have no accounts or aliases left."""
    context.run(context.open().directory.removeDomain(name))
    click.echo(f"Removed the domain {name}.")
