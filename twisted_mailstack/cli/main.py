# -*- test-case-name: tests.cli.test_main -*-
"""
The ``mailstack`` command: accounts, domains, aliases, maintenance. Each command works while the
server runs, and the server sees the change at once.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import click

from twisted_mailstack.cli.acl import acl
from twisted_mailstack.cli.aliases import alias
from twisted_mailstack.cli.context import Commands, Context
from twisted_mailstack.cli.domains import domain
from twisted_mailstack.cli.logins import logins
from twisted_mailstack.cli.maintenance import backup, check, index, init
from twisted_mailstack.cli.pop3 import pop3
from twisted_mailstack.cli.queue import queue
from twisted_mailstack.cli.tlsreport import tlsReport
from twisted_mailstack.cli.transfer import export, importMail
from twisted_mailstack.cli.userimport import importUsers
from twisted_mailstack.cli.users import user
from twisted_mailstack.config import ConfigurationProblem, load


def _version() -> str:
    try:
        return version("twisted_mailstack")
    except PackageNotFoundError:
        # Run from a tree that isn't installed.
        return "unknown"


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "-c", metavar="FILE", help="Configuration file (TOML).")
@click.option("--data", "-d", metavar="DIR", help="Data directory [default: mailstack-data].")
@click.version_option(_version(), prog_name="mailstack")
@click.pass_context
def main(context: click.Context, config: str | None, data: str | None) -> None:
    """Look after a mail server: accounts, domains, aliases, and what it keeps."""
    if context.invoked_subcommand == "init":
        # Makes the file that the others read.
        context.obj = (config, data)
        return
    try:
        configuration = load(config, data=data)
    except ConfigurationProblem as problem:
        raise click.UsageError(str(problem)) from None
    shared = context.obj = Context(configuration)
    context.call_on_close(shared.close)


for command in (
    *(acl, alias, backup, check, domain, export, importMail, index, init, logins, queue),
    *(tlsReport, user),
):
    main.add_command(command)
user.add_command(importUsers)
user.add_command(pop3)
