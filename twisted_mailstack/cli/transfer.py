# -*- test-case-name: tests.cli.test_transfer -*-
"""
``mailstack export`` and ``import``: mail to and from files that other programs read.

An export is one Maildir++ tree: INBOX at its top, each other mailbox in a directory C{.Name},
levels separated by dots, names in modified UTF-7. What can't be read of a damaged store is named
and left out; the rest is exported.
"""

from __future__ import annotations

import mailbox
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import click

from twisted_mailstack.cli.context import ADDRESS, Context, passContext
from twisted_mailstack.errors import AlreadyExists, MailError
from twisted_mailstack.interfaces import IMailbox
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.flags import (
    ANSWERED,
    DELETED,
    DRAFT,
    FLAGGED,
    NO_FLAGS,
    SEEN,
    Flags,
    internFlags,
)
from twisted_mailstack.model.mailboxname import INBOX, decodeName, encodeName, normaliseName
from twisted_mailstack.model.records import Attribute
from twisted_mailstack.model.sequence import NumberSet

#: Maildir's flags (cr.yp.to/proto/maildir.html).
_LETTERS = {"D": DRAFT, "F": FLAGGED, "R": ANSWERED, "S": SEEN, "T": DELETED}
WINDOW = 256 * 1024


@click.command()
@click.argument("address", type=ADDRESS)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@passContext
def export(context: Context, address: Address, directory: Path) -> None:
    """Write an account's mail into a new directory, as Maildir++."""
    store = context.open()
    record = context.run(store.directory.findAccount(address))
    if record is None:
        raise click.ClickException(f"there is no account {address}")
    account = context.run(store.openAccount(record.accountId))
    if directory.exists() and any(directory.iterdir()):
        raise click.ClickException(f"{directory} is not empty")
    exported = failed = 0
    for info in context.run(account.listMailboxes()):
        if not info.selectable:
            continue
        name = encodeName(info.name.replace("/", ".")).decode("ascii")
        target = directory if info.name == INBOX else directory / f".{name}"
        for part in ("tmp", "new", "cur"):
            (target / part).mkdir(mode=0o700, parents=True, exist_ok=True)
        opened = context.run(account.openMailbox(info.name))
        changes = context.run(opened.changesSince(0))
        for uid, flags in zip(changes.uids, changes.flags, strict=True):
            try:
                _exportMessage(context, opened, uid, flags, target)
                exported += 1
            except (click.ClickException, sqlite3.Error) as error:
                failed += 1
                click.echo(f"{info.name}, UID {uid}: {error}", err=True)
    click.echo(f"Exported {exported} messages of {address} to {directory}.")
    if failed:
        raise click.ClickException(f"{failed} messages could not be read")


def _exportMessage(
    context: Context, opened: IMailbox, uid: int, flags: Flags, target: Path
) -> None:
    content = context.run(opened.openMessage(uid))
    ((_, seconds),) = context.run(opened.fetch(NumberSet.of([uid]), (Attribute.INTERNAL_DATE,)))
    letters = "".join(letter for letter, flag in _LETTERS.items() if flag in flags)
    name = f"{seconds}.{uid}.mailstack"
    temporary = target / "tmp" / name
    with temporary.open("wb") as file:
        offset = 0
        while offset < content.size:
            data = context.run(content.read(offset, WINDOW))
            if not data:
                raise click.ClickException("octets are missing")
            file.write(data)
            offset += len(data)
    os.utime(temporary, (seconds, seconds))
    temporary.rename(target / "cur" / f"{name}:2,{letters}")


@click.command("import")
@click.argument("address", type=ADDRESS)
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option("--mailbox", "name", default=INBOX, help="Where an mbox or .eml goes.")
@passContext
def importMail(context: Context, address: Address, source: Path, name: str) -> None:
    """Read mail into an account: a Maildir or Maildir++ tree, an mbox file, or a message (.eml)."""
    store = context.open()
    record = context.run(store.directory.findAccount(address))
    if record is None:
        raise click.ClickException(f"there is no account {address}")
    account = context.run(store.openAccount(record.accountId))
    try:
        name = normaliseName(name)
    except MailError as error:
        raise click.ClickException(error.text) from None
    count = 0
    for where, octets, flags, seconds in _read(source, name):
        try:
            context.run(account.createMailbox(where))
        except click.ClickException as error:
            if error.message != AlreadyExists("That mailbox exists already").text:
                raise
        writer = account.newContent(len(octets))
        waiting = writer.write(octets)
        if waiting is not None:
            context.run(waiting)
        staged = context.run(writer.finish())
        try:
            opened = context.run(account.openMailbox(where))
            context.run(opened.append([(staged, flags, seconds, 0)]))
        finally:
            staged.discard()
        count += 1
    click.echo(f"Imported {count} messages into {address}.")


def _read(source: Path, name: str) -> Iterator[tuple[str, bytes, Flags, int]]:
    if source.is_dir():
        if not (source / "cur").is_dir():
            raise click.ClickException(f"{source} is no Maildir: it has no directory cur")
        yield from _readMaildir(source, INBOX if name == INBOX else name)
        for below in sorted(source.glob(".*")):
            if (below / "cur").is_dir():
                yield from _readMaildir(
                    below, normaliseName(decodeName(below.name[1:].encode()).replace(".", "/"))
                )
        return
    with source.open("rb") as file:
        head = file.read(5)
    if head == b"From ":
        for message in mailbox.mbox(str(source), create=False):
            octets = message.as_bytes(unixfrom=False)
            yield name, _crlf(octets), NO_FLAGS, int(source.stat().st_mtime)
    else:
        yield name, _crlf(source.read_bytes()), NO_FLAGS, int(source.stat().st_mtime)


def _readMaildir(path: Path, name: str) -> Iterator[tuple[str, bytes, Flags, int]]:
    for part in ("new", "cur"):
        for file in sorted((path / part).glob("[!.]*")):
            letters = file.name.rpartition(":2,")[2] if ":2," in file.name else ""
            flags = internFlags(_LETTERS[letter] for letter in letters if letter in _LETTERS)
            seconds = int(file.stat().st_mtime or time.time())
            yield name, _crlf(file.read_bytes()), flags, seconds


def _crlf(octets: bytes) -> bytes:
    # Files of other programs have bare LF; what is in CRLF already stays as it is.
    if b"\r\n" in octets:
        return octets
    return octets.replace(b"\n", b"\r\n")
