# -*- test-case-name: tests.cli.test_domains -*-
"""
``mailstack domain``: the domains whose mail is taken.
"""

from __future__ import annotations

import click

from twisted_mailstack.cli.context import DOMAIN, Context, passContext


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
    """List the domains."""
    for record in context.run(context.open().directory.listDomains()):
        click.echo(record.name)


@domain.command()
@click.argument("name", type=DOMAIN)
@passContext
def remove(context: Context, name: str) -> None:
    """Take no more mail for a domain. It must have no accounts or aliases left."""
    context.run(context.open().directory.removeDomain(name))
    click.echo(f"Removed the domain {name}.")
