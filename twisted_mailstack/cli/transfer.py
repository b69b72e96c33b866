# -*- test-case-name: tests.cli.test_transfer -*-
"""
``mailstack export`` and ``import``: mail to and from files that other programs read.

An export is one Maildir++ tree: INBOX at its top, each other mailbox in a directory C{.Name},
levels separated by dots, names in modified UTF-7; a dot or backslash inside a name as C{\\2e} and
C{\\5c} (Dovecot's listescape). Flags are in the files' names, keywords as letters that
C{dovecot-keywords} in each directory explains, internal dates are the files' times, and POP3's
unique-ids are in C{dovecot-uidlist} (P, by the files' names). What can't be read of a damaged store
is named and left out; the rest is exported.

An import gives back an export octet for octet, in the same order. Files of other programs end their
lines as these do, and get CRLF.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from twisted_mailstack.cli.context import ADDRESS, Context, askPassword, passContext, progress
from twisted_mailstack.cli.migrate import Migration
from twisted_mailstack.cli.migratepop3 import MaildropMigration
from twisted_mailstack.cli.servers import parseServer, tlsOption
from twisted_mailstack.errors import MailError
from twisted_mailstack.imap.client import IMAPClient, ListedMailbox
from twisted_mailstack.imap.clientsession import Refused
from twisted_mailstack.interfaces import IMailbox, IStagedContent
from twisted_mailstack.model.address import Address
from twisted_mailstack.model.flags import (
    ANSWERED,
    DELETED,
    DRAFT,
    FLAGGED,
    NO_FLAGS,
    SEEN,
    Flags,
    canonicalFlag,
    internFlags,
)
from twisted_mailstack.model.mailboxname import (
    DELIMITER,
    INBOX,
    decodeName,
    encodeName,
    normaliseName,
)
from twisted_mailstack.model.message import parseFieldDate
from twisted_mailstack.model.records import Attribute
from twisted_mailstack.model.sequence import NumberSet
from twisted_mailstack.pop3.client import POP3Client
from twisted_mailstack.storage.sql.account import SQLAccount
from twisted_mailstack.storage.sql.store import SQLMailStore

#: Maildir's flags (cr.yp.to/proto/maildir.html).
_LETTERS = {"D": DRAFT, "F": FLAGGED, "R": ANSWERED, "S": SEEN, "T": DELETED}
#: Keywords' letters: a is the first line of the file that names them.
KEYWORDS = "dovecot-keywords"
MAX_KEYWORDS = 26
#: Its first line: version, UIDVALIDITY, next UID; then a line for each file: its UID, extensions of
#: a letter each, and behind a colon the file's name without flags.
UIDLIST = "dovecot-uidlist"
_UIDLIST_VALIDITY = re.compile(r"3(?: [A-Z]\S*)*? V(\d+)(?: |\Z)")
_UIDLIST_LINE = re.compile(r"(\d+)((?: [A-Z]\S*)*) :(.+)\Z")
#: What the files of an export are called: time, UID. Their octets are a message's own.
_OURS = re.compile(r"\d+\.(\d+)\.mailstack(?=:|\Z)")
WINDOW = 256 * 1024
#: Messages, and their octets, of one durable step of an import.
BATCH = 100
BATCH_OCTETS = 8 * 1024 * 1024


@click.command()
@click.argument("address", type=ADDRESS)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@passContext
def export(context: Context, address: Address, directory: Path) -> None:
    """Write an account's mail into a new directory, as Maildir++."""
    account = _openAccount(context, address)
    if directory.exists() and any(directory.iterdir()):
        raise click.ClickException(f"{directory} is not empty")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    exported = failed = 0
    whole = context.run(account.quota()).messages
    with progress("Exporting", whole) as show:
        for info in context.run(account.listMailboxes()):
            if not info.selectable:
                continue
            try:
                target = directory if info.name == INBOX else directory / _folder(info.name)
                for path in (target, target / "tmp", target / "new", target / "cur"):
                    path.mkdir(mode=0o700, exist_ok=True)
                if target != directory:
                    # Says in Maildir++ that it is a folder.
                    (target / "maildirfolder").touch(mode=0o600)
                opened = context.run(account.openMailbox(info.name))
                changes = context.run(opened.changesSince(0))
                letters = _writeKeywords(target, info.name, changes.flags)
                _writeUniqueIds(context, account, opened, changes.uids, target)
            except (click.ClickException, OSError) as error:
                failed += 1
                click.echo(f"{info.name}: {_text(error)}", err=True)
                continue
            for uid, flags in zip(changes.uids, changes.flags, strict=True):
                try:
                    _exportMessage(context, opened, uid, flags, target, letters)
                    exported += 1
                except click.ClickException as error:
                    failed += 1
                    click.echo(f"{info.name}, UID {uid}: {error.message}", err=True)
                show(exported + failed)
    click.echo(f"Exported {exported} messages of {address} to {directory}.")
    if failed:
        raise click.ClickException(f"{failed} messages or mailboxes could not be exported")


def _text(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    return error.message if isinstance(error, click.ClickException) else str(error)


def _folder(name: str) -> str:
    escaped = name.replace("\\", "\\5c").replace(".", "\\2e").replace(DELIMITER, ".")
    return f".{encodeName(escaped).decode('ascii')}"


def _writeKeywords(target: Path, name: str, flags: Sequence[Flags]) -> dict[str, str]:
    keywords = sorted({flag for each in set(flags) for flag in each if flag[0] != "\\"})
    if len(keywords) > MAX_KEYWORDS:
        click.echo(
            f"{name}: {len(keywords)} keywords; files' names have letters for {MAX_KEYWORDS} only,"
            f" left out: {' '.join(keywords[MAX_KEYWORDS:])}",
            err=True,
        )
    letters = {keyword: chr(97 + at) for at, keyword in enumerate(keywords[:MAX_KEYWORDS])}
    if letters:
        lines = [f"{at} {keyword}\n" for at, keyword in enumerate(letters)]
        (target / KEYWORDS).write_text("".join(lines), "utf-8")
    return letters


def _writeUniqueIds(
    context: Context, account: SQLAccount, opened: IMailbox, uids: Sequence[int], target: Path
) -> None:
    status = context.run(opened.status())
    lines = [f"3 V{status.uidValidity} N{status.uidNext}\n"]
    columns = (Attribute.MESSAGE_ID, Attribute.INTERNAL_DATE)
    for some in NumberSet.slices(uids, BATCH):
        rows = context.run(opened.fetch(some, columns))
        uniqueIds = context.run(account.uniqueIds([row[1] for row in rows]))
        lines += [
            f"{uid} P{uniqueIds[messageId]} :{_fileName(seconds, uid)}\n"
            for uid, messageId, seconds in rows
        ]
    (target / UIDLIST).write_text("".join(lines), "ascii")


def _fileName(seconds: int, uid: int) -> str:
    return f"{seconds}.{uid}.mailstack"


def _exportMessage(
    context: Context,
    opened: IMailbox,
    uid: int,
    flags: Flags,
    target: Path,
    keywords: dict[str, str],
) -> None:
    content = context.run(opened.openMessage(uid))
    ((_, seconds),) = context.run(opened.fetch(NumberSet.of([uid]), (Attribute.INTERNAL_DATE,)))
    letters = [letter for letter, flag in _LETTERS.items() if flag in flags]
    letters += sorted(keywords[flag] for flag in flags if flag in keywords)
    name = _fileName(seconds, uid)
    temporary = target / "tmp" / name
    try:
        with temporary.open("wb") as file:
            offset = 0
            while offset < content.size:
                data = context.run(content.read(offset, WINDOW))
                if not data:
                    raise click.ClickException("octets are missing")
                file.write(data)
                offset += len(data)
    except click.ClickException:
        temporary.unlink()
        raise
    os.utime(temporary, (seconds, seconds))
    temporary.rename(target / "cur" / f"{name}:2,{''.join(letters)}")


def _openAccount(context: Context, address: Address) -> SQLAccount:
    store = context.open()
    record = context.run(store.directory.findAccount(address))
    if record is None:
        raise click.ClickException(f"there is no account {address}")
    return context.run(store.openAccount(record.accountId))


# --- import ------------------------------------------------------------------------------------


class Found(NamedTuple):
    """
    A message in a file.

    @ivar source: where, for a person.
    @ivar mailbox: where it goes.
    @ivar seconds: its internal date.
    @ivar done: how much of the whole has been read with it: files or octets.
    @ivar uniqueId: that it had for POP3 clients, empty if that isn't known.
    """

    source: str
    mailbox: str
    octets: bytes
    flags: Flags
    seconds: int
    done: int
    uniqueId: str = ""


@click.command("import")
@click.argument("address", type=ADDRESS)
@click.argument("source")
@click.option("--mailbox", "name", help="Where it goes; folders go below.")
@tlsOption
@passContext
def importMail(
    context: Context, address: Address, source: str, name: str | None, tls: str | None
) -> None:
    """
    Read mail into an account: a Maildir or Maildir++ tree, an mbox file, a message (.eml); or all
    of an account on another server, as imaps://user@host or imap://user@host; or what POP3 shows of
    it, as pop3s://user@host or pop3://user@host: messages then keep their unique-ids, so that POP3
    clients don't fetch them again. That asks for the other account's password, or reads it as one
    line from standard input. What was read before is not read again.
    """
    if "://" in source:
        _fromServer(context, address, source, name, tls)
        return
    path = Path(source)
    if tls is not None:
        raise click.UsageError("--tls is for servers")
    if not path.exists():
        raise click.UsageError(f"{source} does not exist")
    _fromFiles(context, address, path, INBOX if name is None else name)


def _fromServer(
    context: Context, address: Address, source: str, name: str | None, tls: str | None
) -> None:
    protocol, host, port, user, level = parseServer(source, tls)
    password = askPassword(confirm=False).decode("utf-8", "surrogateescape")
    if protocol == "pop3":
        _fromMaildrop(context, address, (host, port), (user, password), name, level)
        return

    async def work(reactor: Any, store: SQLMailStore) -> Migration:
        record = await store.directory.findAccount(address)
        if record is None:
            raise MailError(f"there is no account {address}")
        client = IMAPClient(
            reactor,
            host,
            port,
            tls=level,
            username=user,
            password=password,
            # Who says so knows that the way is safe, or that there is none.
            allowPlaintextAuth=level == "none",
        )
        account = await store.openAccount(record.accountId)
        async with client:
            whole = sum([await _messages(client, each) for each in await client.listMailboxes()])
            with progress("Importing", whole) as show:
                migration = Migration(
                    client,
                    account,
                    "" if name is None else normaliseName(name),
                    tell=lambda text: click.echo(text, err=True),
                    show=show,
                )
                await migration.run()
        return migration

    done = context.react(work)
    click.echo(
        f"Imported {done.imported} messages into {address}; {done.present} were there already."
    )
    if done.failed:
        raise click.ClickException(f"{done.failed} messages or mailboxes could not be imported")


def _fromMaildrop(
    context: Context,
    address: Address,
    where: tuple[str, int | None],
    login: tuple[str, str],
    name: str | None,
    level: str,
) -> None:
    async def work(reactor: Any, store: SQLMailStore) -> MaildropMigration:
        record = await store.directory.findAccount(address)
        if record is None:
            raise MailError(f"there is no account {address}")
        client = POP3Client(
            reactor,
            *where,
            tls=level,
            username=login[0],
            password=login[1],
            # Who says so knows that the way is safe, or that there is none.
            allowPlaintextAuth=level == "none",
        )
        account = await store.openAccount(record.accountId)
        wanted = INBOX if name is None else normaliseName(name)
        if not any(i.name == wanted and i.selectable for i in await account.listMailboxes()):
            await account.createMailbox(wanted)
            await account.setSubscribed(wanted, True)
        target = await account.openMailbox(wanted)
        async with client:
            whole, _ = await client.status()
            with progress("Importing", whole) as show:
                migration = MaildropMigration(
                    client,
                    account,
                    target,
                    tell=lambda text: click.echo(text, err=True),
                    show=show,
                )
                await migration.run()
        return migration

    done = context.react(work)
    click.echo(
        f"Imported {done.imported} messages into {address}; {done.present} were there already."
    )
    if done.failed:
        raise click.ClickException(f"{done.failed} messages could not be imported")


async def _messages(client: IMAPClient, listed: ListedMailbox) -> int:
    if not listed.selectable:
        return 0
    try:
        return int((await client.status(listed.name, ["MESSAGES"]))["MESSAGES"])
    except (Refused, KeyError):
        # It is named when it is to be read.
        return 0


def _fromFiles(context: Context, address: Address, source: Path, name: str) -> None:
    account = _openAccount(context, address)
    try:
        name = normaliseName(name)
    except MailError as error:
        raise click.ClickException(error.text) from None
    places = _folders(source, name) if source.is_dir() else {name: source}
    existing = {info.name for info in context.run(account.listMailboxes()) if info.selectable}
    for place in places:
        if place not in existing:
            context.run(account.createMailbox(place))
    whole = source.stat().st_size
    if source.is_dir():
        whole = sum(len(_files(path)) for path in places.values())
    count = 0
    waiting: list[Found] = []
    with progress("Importing", whole) as show:
        try:
            for found in _read(places, source):
                if waiting and (
                    waiting[0].mailbox != found.mailbox
                    or len(waiting) >= BATCH
                    or sum(len(each.octets) for each in waiting) >= BATCH_OCTETS
                ):
                    count += _append(context, account, waiting)
                    show(waiting[-1].done)
                    waiting = []
                waiting.append(found)
            count += _append(context, account, waiting)
        except click.ClickException as error:
            at = f"{waiting[0].source}: " if waiting else ""
            raise click.ClickException(
                f"{at}{error.message}; the {count} messages before it are imported"
            ) from None
    click.echo(f"Imported {count} messages into {address}.")


def _append(context: Context, account: SQLAccount, found: Sequence[Found]) -> int:
    if not found:
        return 0
    staged: list[IStagedContent] = []
    try:
        for each in found:
            writer = account.newContent(len(each.octets))
            waiting = writer.write(each.octets)
            if waiting is not None:
                context.run(waiting)
            staged.append(context.run(writer.finish()))
        opened = context.run(account.openMailbox(found[0].mailbox))
        result = context.run(
            opened.append(
                [
                    (content, each.flags, each.seconds, 0)
                    for content, each in zip(staged, found, strict=True)
                ]
            )
        )
        if any(each.uniqueId for each in found):
            rows = context.run(opened.fetch(NumberSet.of(result.uids), (Attribute.MESSAGE_ID,)))
            identities = dict(rows)
            values = {
                identities[uid]: each.uniqueId
                for uid, each in zip(result.uids, found, strict=True)
                if each.uniqueId and uid in identities
            }
            context.run(account.assignUniqueIds(values))
    finally:
        for content in staged:
            content.discard()
    return len(found)


def _folders(source: Path, name: str) -> dict[str, Path]:
    if not (source / "cur").is_dir():
        raise click.ClickException(f"{source} is no Maildir: it has no directory cur")
    places = {name: source}
    above = "" if name == INBOX else f"{name}{DELIMITER}"
    for below in sorted(source.glob(".*")):
        if (below / "cur").is_dir():
            try:
                levels = decodeName(os.fsencode(below.name[1:]), utf8=not _isUTF7(below.name))
                place = above + levels.replace(".", DELIMITER)
                place = re.sub(r"\\(2[ef]|5c)", lambda m: chr(int(m.group(1), 16)), place)
                places[normaliseName(place)] = below
            except MailError as error:
                raise click.ClickException(f"{below}: {error.text}") from None
    return places


def _isUTF7(name: str) -> bool:
    try:
        decodeName(os.fsencode(name))
    except MailError:
        return False
    return True


def _read(places: dict[str, Path], source: Path) -> Iterator[Found]:
    if source.is_dir():
        done = 0
        for name, path in places.items():
            yield from _readMaildir(path, name, done)
            done += len(_files(path))
        return
    ((name, _),) = places.items()
    with source.open("rb") as file:
        isMbox = file.read(5) == b"From "
    if isMbox:
        yield from _readMbox(source, name)
    else:
        octets = source.read_bytes()
        seconds = int(source.stat().st_mtime)
        yield Found(str(source), name, _crlf(octets), NO_FLAGS, seconds, len(octets))


def _files(path: Path) -> list[Path]:
    # In the order of the UIDs of an export; those of other programs by the numbers in their names,
    # which begin with the time of arrival.
    found = [*(path / "new").glob("[!.]*"), *(path / "cur").glob("[!.]*")]

    def order(file: Path) -> tuple[int, list[tuple[int, str]]]:
        ours = _OURS.match(file.name)
        if ours:
            return int(ours.group(1)), []
        words = re.findall(r"\d+|\D+", file.name)
        return 0, [(int(word), "") if word.isdecimal() else (0, word) for word in words]

    return sorted((file for file in found if file.is_file()), key=order)


def _readMaildir(path: Path, name: str, done: int) -> Iterator[Found]:
    keywords = _readKeywords(path)
    uniqueIds = _readUniqueIds(path)
    for number, file in enumerate(_files(path), done + 1):
        letters = file.name.rpartition(":2,")[2] if ":2," in file.name else ""
        flags = {_LETTERS[letter] for letter in letters if letter in _LETTERS}
        flags |= {keywords[letter] for letter in letters if letter in keywords}
        octets = file.read_bytes()
        if not _OURS.match(file.name):
            octets = _crlf(octets)
        seconds = int(file.stat().st_mtime)
        uniqueId = uniqueIds.get(file.name.partition(":2,")[0], "")
        yield Found(str(file), name, octets, internFlags(flags), seconds, number, uniqueId)


def _readUniqueIds(path: Path) -> dict[str, str]:
    try:
        lines = (path / UIDLIST).read_text("latin-1").split("\n")
    except FileNotFoundError:
        return {}
    found = {}
    header = _UIDLIST_VALIDITY.match(lines[0])
    for line in lines[1:]:
        match = _UIDLIST_LINE.match(line)
        if match is None:
            continue
        uid, extensions, name = match.groups()
        given = re.search(r" P([!-~]{1,70})(?: |\Z)", extensions)
        if given is not None:
            found[name] = given.group(1)
        elif header is not None:
            # What Dovecot's POP3 server makes of them, if it isn't told otherwise.
            found[name] = f"{int(uid):08x}{int(header.group(1)):08x}"
    return found


def _readKeywords(path: Path) -> dict[str, str]:
    try:
        text = (path / KEYWORDS).read_text("utf-8", "replace")
    except FileNotFoundError:
        return {}
    found = re.findall(r"^(\d{1,2}) (\S+)$", text, re.MULTILINE)
    return {
        chr(97 + int(at)): word
        for at, word in found
        if int(at) < MAX_KEYWORDS and word[0] != "\\" and canonicalFlag(word)
    }


#   From_ line: "From " address, date as of asctime (RFC 4155, appendix A)
_FROM = re.compile(rb"From (?:\S.*?)??\s*((?:\w{3},? +)?\w{3} +\d{1,2} +\d{1,2}:\d\d.*)")
#   A From_ line of the text has a > put before it; one that had some gets another.
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)
_STATUS = re.compile(rb"^(X-Status|Status):[ \t]*(\w*)", re.MULTILINE | re.IGNORECASE)
_STATUS_FLAGS = {"R": SEEN, "A": ANSWERED, "F": FLAGGED, "T": DRAFT, "D": DELETED}


def _readMbox(source: Path, name: str) -> Iterator[Found]:
    lines: list[bytes] = []
    begin = b""
    blank = True
    done = number = 0

    def found() -> Found:
        if lines and not lines[-1].strip(b"\r\n"):
            # The blank line between two messages.
            lines.pop()
        octets = _QUOTED.sub(rb"\1", b"".join(lines))
        header = re.split(rb"\r?\n\r?\n", octets, maxsplit=1)[0]
        letters = b"".join(each[1] for each in _STATUS.findall(header)).decode("latin-1")
        flags = {_STATUS_FLAGS[letter] for letter in letters if letter in _STATUS_FLAGS}
        match = _FROM.match(begin)
        seconds = None if match is None else parseFieldDate(match.group(1))
        if seconds is None:
            seconds = int(source.stat().st_mtime or time.time())
        where = f"{source}, message {number}"
        return Found(where, name, _crlf(octets), internFlags(flags), seconds, done)

    with source.open("rb") as file:
        for line in file:
            # Behind a blank line only: one that was left as it is in a text mustn't cut it.
            if blank and _FROM.match(line):
                if begin:
                    yield found()
                begin, lines = line, []
                number += 1
            else:
                lines.append(line)
            blank = not line.strip(b"\r\n")
            done += len(line)
    if begin:
        yield found()
    elif lines:
        raise click.ClickException(f"{source} begins like an mbox and isn't one")


def _crlf(octets: bytes) -> bytes:
    return re.sub(rb"(?<!\r)\n", b"\r\n", octets)
