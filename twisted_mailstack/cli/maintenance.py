# -*- test-case-name: tests.cli.test_maintenance -*-
"""
``mailstack init``, ``check``, ``index`` and ``backup``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from twisted_mailstack.checkers import examine
from twisted_mailstack.cli.context import ADDRESS, Context, passContext, progress
from twisted_mailstack.config import template
from twisted_mailstack.model.address import Address
from twisted_mailstack.net.tls import Certificate, CertificateProblem
from twisted_mailstack.storage.sql.store import FILE

#: Days before a certificate's end from which on check warns.
WARN_DAYS = 21


@click.command()
@click.pass_obj
def init(given: tuple[str | None, str | None]) -> None:
    """Write a commented configuration file: the one of --config, or mailstack.toml."""
    path = Path(given[0] or "mailstack.toml")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(template())
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
    click.echo(f"Wrote {path}. Start the server with: twistd -n mailstack --config {path}")


@click.command()
@passContext
def check(context: Context) -> None:
    """Look at everything that is stored, and name what is damaged. Changes nothing."""
    store = context.open()
    with progress("Checking", 1000) as show:
        found = context.run(
            store.check(lambda done, whole: show(1000 * done // whole if whole else 1000))
        )
    for damage in found:
        click.echo(f"{damage.where}: {damage.what}")
    warnings = _certificates(context) + examine(context.configuration.values)
    for line in warnings:
        click.echo(line)
    if found:
        raise click.ClickException(f"{len(found)} finding{'s' if len(found) > 1 else ''}")
    click.echo("No damage found.")


def _certificates(context: Context) -> list[str]:
    configuration = context.configuration
    # Self-signed ones are renewed by the server.
    files = dict(configuration.certificates)
    if configuration.certificate:
        files = {configuration.certificate: configuration.key, **files}
    warnings = []
    for certificate, key in files.items():
        try:
            expires = Certificate(Path(certificate), Path(key)).expires
        except CertificateProblem as problem:
            warnings.append(str(problem))
            continue
        if expires < datetime.now(UTC) + timedelta(days=WARN_DAYS):
            warnings.append(f"{certificate} expires on {expires:%Y-%m-%d}")
    return warnings


@click.command()
@click.argument("addresses", type=ADDRESS, nargs=-1, metavar="[ADDRESS]...")
@click.option("--rebuild", is_flag=True, help="Throw away what there is, and make it anew.")
@passContext
def index(context: Context, addresses: tuple[Address, ...], rebuild: bool) -> None:
    """Bring the search indexes of these accounts, or of all, up to date. Searches find the same
    meanwhile, only not as fast."""
    store = context.open()
    accounts = []
    for address in addresses:
        record = context.run(store.directory.findAccount(address))
        if record is None:
            raise click.ClickException(f"there is no account {address}")
        accounts.append(record.accountId)
    if not addresses:
        accounts = [each.accountId for each in context.run(store.directory.listAccounts())]
    with progress("Indexing", 1000) as show:
        context.run(
            store.updateIndexes(
                accounts,
                rebuild,
                lambda done, whole: show(1000 * done // whole if whole else 1000),
            )
        )
    click.echo(f"Indexed {len(accounts)} account{'' if len(accounts) == 1 else 's'}.")


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@passContext
def backup(context: Context, directory: Path) -> None:
    """Write a consistent copy of all mail and accounts into a directory, while the server runs."""
    store = context.open()
    copied = directory / FILE
    with progress("Copying", context.file.stat().st_size) as show:
        # The copy is one step for the database; what has reached the disk tells how far it is.
        context.run(
            store.backUp(directory),
            lambda: show(copied.stat().st_size if copied.exists() else 0),
        )
    click.echo(f"Copied to {directory}. It can be used as a data directory.")
