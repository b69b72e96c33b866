# -*- test-case-name: tests.cli.test_tlsreport -*-
"""
``mailstack tls-report``: what was found about the TLS of other servers, as reports have it.
"""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from twisted_mailstack.cli.context import DOMAIN, Context, passContext
from twisted_mailstack.relay.records import RecordsProblem, RelayRecords
from twisted_mailstack.relay.security import RECORDS_FILE
from twisted_mailstack.relay.tlsrpt import reportPolicies


class DayType(click.ParamType[str]):
    """A day: 2026-10-31, today, yesterday."""

    name = "day"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """See L{click.ParamType}."""
        # Days are UTC's (RFC 8460 §4.1).
        today = datetime.now(UTC).date()
        if value in ("today", "yesterday"):
            return str(today - timedelta(days=value == "yesterday"))
        try:
            return str(date.fromisoformat(value))
        except ValueError:
            self.fail(f"{value}: a day like 2026-10-31, today or yesterday", param, ctx)


@click.command("tls-report")
@click.option("--domain", type=DOMAIN, help="Of that domain's servers only.")
@click.option("--days", "listDays", is_flag=True, help="List the days there are, and nothing else.")
@click.argument("day", type=DayType(), default="yesterday")
@passContext
def tlsReport(context: Context, day: str, domain: str | None, listDays: bool) -> None:
    """
    Print how the TLS of other domains' servers was on a day (UTC, as 2026-10-31, today or
    yesterday): JSON, for each domain what the "policies" of its TLS report (RFC 8460) are. Nothing
    is sent to anybody.
    """
    path = Path(context.configuration.data) / RECORDS_FILE
    if not path.exists():
        raise click.ClickException(
            f"there is no {path}: it is made when the server is started with relay.enabled"
        )
    try:
        records = RelayRecords(path)
        try:
            days = records.days()
            found = reportPolicies(records.sessions(day))
        finally:
            records.close()
    except RecordsProblem as problem:
        raise click.ClickException(str(problem)) from None
    except sqlite3.Error as error:
        raise click.ClickException(f"{path}: {error}") from None
    if listDays:
        for each in days:
            click.echo(each)
        return
    if domain is not None:
        found = {domain: found[domain]} if domain in found else {}
    if not found:
        of = "" if domain is None else f" of {domain}"
        there = f" (there are {', '.join(days)})" if days else ""
        raise click.ClickException(f"nothing{of} was counted on {day}{there}")
    click.echo(json.dumps(found, indent=2, ensure_ascii=False))
