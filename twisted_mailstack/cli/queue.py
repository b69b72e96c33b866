# -*- test-case-name: tests.cli.test_queue -*-
"""
``mailstack queue``: the mail that waits to be passed on. The running server sees each change.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import click

from twisted_mailstack.cli.context import ADDRESS, DOMAIN, Context, passContext
from twisted_mailstack.errors import MessageExpunged
from twisted_mailstack.interfaces import ISpool
from twisted_mailstack.model.address import Address, formatPath
from twisted_mailstack.model.queue import QueuedMessage, QueueFilter

F = TypeVar("F", bound=Callable[..., Any])

#: Messages read at a time.
PAGE = 500
#: Octets of a message shown at a time.
WINDOW = 64 * 1024
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class AgeType(click.ParamType[int]):
    """A span of time: 90, 30m, 4h, 2d."""

    name = "age"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        """See L{click.ParamType}."""
        match = re.fullmatch(r"(\d{1,9})([smhd]?)", str(value))
        if match is None:
            self.fail(f"{value}: a number of seconds, or one with m, h or d", param, ctx)
        return int(match.group(1)) * _UNITS[match.group(2) or "s"]


class SenderType(click.ParamType[str]):
    """A reverse-path, a domain, or <> for the null path."""

    name = "sender"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """See L{click.ParamType}."""
        text = str(value)
        if text == "<>":
            return ""
        # As it stands in lists.
        if text.startswith("<") and text.endswith(">"):
            text = text[1:-1]
        kind: Any = ADDRESS if "@" in text else DOMAIN
        found = kind.convert(text, param, ctx)
        return _plain(found) if isinstance(found, Address) else str(found)


def _plain(address: Address) -> str:
    # Not as text: L{QueueFilter} has local-parts without their quotes.
    return f"{address.localPart}@{address.domain}"


def filtered(command: F) -> F:
    """
    The options that say which messages are meant.
    """
    made: Any = command
    for option in (
        click.option("--held/--not-held", default=None, help="Held by an operator, or not."),
        click.option("--older", type=AgeType(), help="Accepted longer ago, as 30m, 4h or 2d."),
        click.option(
            "--domain",
            type=DOMAIN,
            metavar="DOMAIN",
            help="With a waiting recipient of that domain.",
        ),
        click.option(
            "--recipient", type=ADDRESS, metavar="ADDRESS", help="With that waiting recipient."
        ),
        click.option(
            "--sender",
            type=SenderType(),
            metavar="ADDRESS",
            help="From that reverse-path or its domain; <> for notifications.",
        ),
        click.argument("queue_ids", metavar="[QUEUE-ID]...", nargs=-1),
    ):
        made = option(made)
    return cast(F, made)


def _wanted(
    queue_ids: tuple[str, ...],
    sender: str | None,
    recipient: Address | None,
    domain: str | None,
    older: int | None,
    held: bool | None,
) -> QueueFilter:
    before = None if older is None else int(time.time()) - older
    plain = None if recipient is None else _plain(recipient)
    return QueueFilter(queue_ids, sender, plain, domain, before, held)


def _spool(context: Context) -> ISpool:
    spool: ISpool = context.open().spool
    return spool


def _chosen(all_: bool, options: dict[str, Any]) -> QueueFilter:
    wanted = _wanted(**options)
    if wanted == QueueFilter() and not all_:
        raise click.UsageError("say which messages: queue ids, a filter, or --all")
    return wanted


@click.group()
def queue() -> None:
    """Mail that waits to be passed on."""


@queue.command("list")
@filtered
@click.option("--json", "asJSON", is_flag=True, help="One JSON object a line, for programs.")
@passContext
def list_(context: Context, /, asJSON: bool, **options: Any) -> None:
    """List waiting messages with their recipients, the oldest first."""
    spool = _spool(context)
    wanted = _wanted(**options)
    postponed = {state.name: state for state in context.run(spool.destinations()) if state.failures}
    count = last = 0
    while True:
        messages = context.run(spool.select(wanted, PAGE, last))
        for message in messages:
            click.echo(json.dumps(_record(message)) if asJSON else _describe(message, postponed))
        count += len(messages)
        if len(messages) < PAGE:
            break
        last = messages[-1].spoolId
    if not asJSON:
        click.echo(f"{count} message{'' if count == 1 else 's'}.")


def _record(message: QueuedMessage) -> dict[str, Any]:
    return {
        "queueId": message.queueId,
        "reversePath": "" if message.reversePath is None else str(message.reversePath),
        "origin": message.origin,
        "octets": message.octets,
        "arrived": message.arrived,
        "expires": message.expires,
        "priority": message.priority,
        "held": message.held,
        "recipients": [
            {
                "address": str(each.address),
                "destination": each.destination,
                "attempts": each.attempts,
                "nextAttempt": each.nextAttempt,
                "lastReply": each.lastReply,
            }
            for each in message.recipients
        ],
    }


def _when(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _describe(message: QueuedMessage, postponed: dict[str, Any]) -> str:
    held = "  HELD" if message.held else ""
    lines = [
        f"{message.queueId}  {_when(message.arrived)}  {message.octets} octets"
        f"  {formatPath(message.reversePath)}{held}"
    ]
    for each in message.recipients:
        state = postponed.get(each.destination)
        again = max(each.nextAttempt, 0 if state is None else state.retryAt)
        said = each.lastReply if state is None else state.lastReply
        due = "now" if again <= time.time() else _when(again)
        lines.append(
            f"    <{each.address}>  next attempt {due}, {each.attempts} so far"
            + (f"\n        {said}" if said else "")
        )
    return "\n".join(lines)


@queue.command()
@click.argument("queue_id", metavar="QUEUE-ID")
@click.option("--header", is_flag=True, help="Only the message's header.")
@passContext
def show(context: Context, queue_id: str, header: bool) -> None:
    """Show a waiting message: what is known of it, then the message itself."""
    spool = _spool(context)
    messages = context.run(spool.select(QueueFilter((queue_id,)), 1))
    if not messages:
        raise click.ClickException(f"no message {queue_id} is waiting")
    (message,) = messages
    for name, value in (
        ("From", formatPath(message.reversePath)),
        ("Origin", message.origin or "-"),
        ("Arrived", _when(message.arrived)),
        ("Expires", _when(message.expires)),
        ("Octets", str(message.octets)),
        ("Priority", str(message.priority)),
        ("Held", "yes" if message.held else "no"),
        ("Parameters", _parameters(message.parameters) or "-"),
    ):
        click.echo(f"{name + ':':12} {value}")
    for each in message.recipients:
        click.echo(f"{'To:':12} <{each.address}> by {each.destination}, {each.attempts} attempts")
        for name, value in (
            ("next", _when(each.nextAttempt)),
            ("said", each.lastReply),
            ("parameters", _parameters(each.parameters)),
        ):
            if value:
                click.echo(f"{'':12} {name}: {value}")
    click.echo("")
    try:
        content: Any = context.run(spool.openContent(message.spoolId))
        size = content.structure.bodyOffset if header else content.size
        for offset in range(0, size, WINDOW):
            data: bytes = context.run(content.read(offset, min(WINDOW, size - offset)))
            click.echo(data, nl=False)
    except MessageExpunged:
        raise click.ClickException("it left the queue just now") from None


def _parameters(parameters: Any) -> str:
    return " ".join(
        name if value is None else f"{name}={value}" for name, value in parameters.items()
    )


def everything(command: F) -> F:
    """
    The option that means all messages.
    """
    return click.option("--all", "all_", is_flag=True, help="All messages.")(command)


def _say(count: int, what: str) -> None:
    click.echo(f"{count} message{'' if count == 1 else 's'} {what}.")


@queue.command()
@filtered
@everything
@passContext
def retry(context: Context, /, all_: bool, **options: Any) -> None:
    """Try messages again at once, and their destinations too; not those that are held."""
    wanted = _chosen(all_, options)
    if wanted.held:
        raise click.UsageError("what is held is not tried: release it")
    wanted = wanted._replace(held=False)
    _say(context.run(_spool(context).retry(wanted)), "to be tried now")


@queue.command()
@filtered
@everything
@passContext
def hold(context: Context, /, all_: bool, **options: Any) -> None:
    """Keep messages from being tried, and from expiring, until they are released."""
    wanted = _chosen(all_, options)
    _say(context.run(_spool(context).hold(wanted, True)), "held")


@queue.command()
@filtered
@everything
@passContext
def release(context: Context, /, all_: bool, **options: Any) -> None:
    """Let held messages go on."""
    wanted = _chosen(all_, options)
    _say(context.run(_spool(context).hold(wanted, False)), "released")


@queue.command()
@filtered
@everything
@click.option("--yes", is_flag=True, help="Don't ask.")
@passContext
def delete(context: Context, /, all_: bool, yes: bool, **options: Any) -> None:
    """Delete messages for good. Their senders are not told."""
    wanted = _chosen(all_, options)
    if not yes:
        click.confirm("Delete them? Nobody is told.", abort=True)
    _say(context.run(_spool(context).delete(wanted)), "deleted")


@queue.command()
@click.option("--json", "asJSON", is_flag=True, help="One JSON object, for programs.")
@passContext
def stats(context: Context, asJSON: bool) -> None:
    """The queue in numbers, and the destinations that can't be reached."""
    spool = _spool(context)
    counts = context.run(spool.counts())
    postponed = [state for state in context.run(spool.destinations()) if state.failures]
    if asJSON:
        record = {**counts._asdict(), "unreachable": [state._asdict() for state in postponed]}
        click.echo(json.dumps(record))
        return
    oldest = "-" if counts.oldest is None else _when(counts.oldest)
    click.echo(f"{'messages':12} {counts.messages} ({counts.held} held)")
    click.echo(f"{'octets':12} {counts.octets}")
    click.echo(f"{'recipients':12} {sum(counts.recipients.values())} ({counts.deferred} deferred)")
    click.echo(f"{'oldest':12} {oldest}")
    for name, number in sorted(counts.recipients.items(), key=lambda each: (-each[1], each[0])):
        click.echo(f"  {number:8} {name}")
    for state in postponed:
        click.echo(
            f"unreachable: {state.name}, {state.failures} failures, next attempt"
            f" {_when(state.retryAt)}: {state.lastReply}"
        )
