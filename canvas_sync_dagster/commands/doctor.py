"""`canvas-sync doctor`: is everything as it must be, and what is to be done if not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import click

from canvas_sync_dagster.canvas.reports import available_reports
from canvas_sync_dagster.catalogue import ReportFeed
from canvas_sync_dagster.commands.location import Location, located
from canvas_sync_dagster.commands.output import console
from canvas_sync_dagster.errors import CanvasSyncError, ComeAgainError
from canvas_sync_dagster.live_events.inbox import depth
from canvas_sync_dagster.live_events.keys import KeySet
from canvas_sync_dagster.sync.plan import PROPRIETARY, STOCK
from canvas_sync_dagster.sync.session import connect_canvas, database_url
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.connection import redacted, transaction
from canvas_sync_dagster.warehouse.state import missing

SKEW = 120.0
"""Seconds between our clock and Canvas's from which on a person should look."""

Finding = tuple[bool, str]


@click.command()
@click.option("--tenant", help="Only this tenant; all if not given.")
@located
def doctor(location: Location, tenant: str | None) -> None:
    """Check token, permissions, reports, clock, database and live-event keys."""
    screen, fine = console(), True
    for broken in () if tenant else location.settings.broken:
        fine = False
        screen.print(broken.slug, style="bold")
        screen.print(f"  FAIL  {broken.error}", style="red", markup=False, soft_wrap=True)
    for each in location.tenants(tenant):
        screen.print(each.slug, style="bold")
        for check in (_canvas, _database, _events):
            for passed, said in _safe(check, location, each):
                fine = fine and passed
                screen.print(
                    f"  {'ok  ' if passed else 'FAIL'}  {said}",
                    style=None if passed else "red",
                    markup=False,
                    soft_wrap=True,
                )
    if not fine:
        raise click.exceptions.Exit(1)


Check = Callable[[Location, TenantSettings], Iterator[Finding]]


def _safe(check: Check, location: Location, tenant: TenantSettings) -> Iterator[Finding]:
    try:
        yield from check(location, tenant)
    except CanvasSyncError as error:
        yield False, str(error)


def _canvas(location: Location, tenant: TenantSettings) -> Iterator[Finding]:
    with connect_canvas(tenant, location.extensions) as canvas:
        account = canvas.get("/accounts/{account_id}")
        yield True, f"Canvas at {canvas.base_url} accepts the token; the account is {account.get('name')!r}"
        reports = available_reports(canvas)
        skew = abs((canvas.now() - datetime.now(UTC)).total_seconds())
    kinds = [name for name in (PROPRIETARY, STOCK) if name in reports]
    yield (
        bool(kinds),
        f"provisioning report: {kinds[0]}"
        if kinds
        else "this Canvas offers no provisioning report to the token; the user needs the permission to run reports",
    )
    wanted = {m.feed.report: m.name for m in location.models if isinstance(m.feed, ReportFeed) and tenant.wants(m.name)}
    lacking = {report: model for report, model in wanted.items() if report not in reports}
    for report, model in lacking.items():
        yield model not in tenant.models, f"there is no report {report}: {model} is skipped"
    note = (
        ""
        if skew < SKEW
        else " (the copy keeps Canvas's time; signatures of live events need yours within five minutes)"
    )
    yield True, f"clocks differ by {skew:,.0f} s{note}"


def _database(location: Location, tenant: TenantSettings) -> Iterator[Finding]:
    url, schema = database_url(location.settings, tenant), tenant.schema_in_database
    with transaction(url, "looking at the database") as connection:
        version = connection.info.server_version // 10000
        yield True, f"PostgreSQL {version}, {redacted(url)}"
        row = connection.execute(
            "select has_database_privilege(current_database(), 'CREATE'), pg_is_in_recovery()"
        ).fetchone()
        assert row is not None  # noqa: S101 (it always returns)
        yield not row[1], "the database can be written" if not row[1] else "the database is a read-only replica"
        lacking = missing(connection, schema, location.models)
        exists = connection.execute("select to_regnamespace(%s)", (f'"{schema}"',)).fetchone()
    if exists is None or exists[0] is None:
        yield (
            bool(row[0]),
            f"schema {schema} will be made by the first sync"
            if row[0]
            else f"schema {schema} is missing, and the user may not create it: grant create on database",
        )
    else:
        yield (
            not lacking,
            "all tables and columns are there"
            if not lacking
            else f"missing: {', '.join(lacking[:10])}; run `canvas-sync migrate`",
        )


def _events(location: Location, tenant: TenantSettings) -> Iterator[Finding]:
    keys = KeySet(location.settings.jwk_url)
    with contextlib.suppress(ComeAgainError):
        asyncio.run(keys.get("doctor"))
    if keys.size:
        yield True, f"{keys.size} keys of live events"
        return
    yield (
        not _receives_events(location, tenant),
        f"no keys of live events at {location.settings.jwk_url}; without them no signed event can be received",
    )


def _receives_events(location: Location, tenant: TenantSettings) -> bool:
    """Says whether live events have come; whoever gets none needs no keys."""
    schema = tenant.schema_in_database
    with transaction(database_url(location.settings, tenant), "looking for live events") as connection:
        if "canvas_sync_live_events" in missing(connection, schema, ()):
            return False
        return depth(connection, schema).latest is not None
