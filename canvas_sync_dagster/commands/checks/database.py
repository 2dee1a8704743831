"""Checks of a tenant's database: server, rights, tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from textwrap import shorten

from canvas_sync_dagster.catalogue import Model, ReportFeed, match_header
from canvas_sync_dagster.catalogue.added_columns import column_for
from canvas_sync_dagster.clocks import SLACK
from canvas_sync_dagster.commands.checks.finding import Checked, Finding, fail, failed, note, ok, run_checks
from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.postgres_url import redacted
from canvas_sync_dagster.sync.missing_headers import read_missing_headers
from canvas_sync_dagster.warehouse.connection import Connection, Pooling, pooling, transaction
from canvas_sync_dagster.warehouse.schema.existing import STATE_TABLES
from canvas_sync_dagster.warehouse.schema.migrate import plan
from canvas_sync_dagster.warehouse.schema.names import digest_table_name, history_table_name
from canvas_sync_dagster.warehouse.schema.rights import lacking_rights, may_create_temporary, may_use
from canvas_sync_dagster.warehouse.state import schema_migrations
from canvas_sync_dagster.warehouse.state.observed_headers import read_header
from canvas_sync_dagster.warehouse.state.remembered import TABLE as REMEMBERED
from canvas_sync_dagster.warehouse.warehouse import Warehouse

LONGEST_HEADER = 500
"""Characters of a header that one line shows."""
SHOWN = 10
"""Missing tables and columns that one line names."""


def run(checked: Checked) -> Iterator[Finding]:
    """Run all checks of this subject; if the database cannot be reached, only that is reported.

    Each check has a separate transaction, so that an error of one does not abort the next.
    """
    try:
        with transaction(checked.url, "checking the database") as connection:
            yield ok(f"PostgreSQL {connection.info.server_version // 10000}, {redacted(checked.url)}")
    except CanvasSyncError as error:
        yield failed(error)
        return
    yield from run_checks([partial(_in_transaction, check) for check in CHECKS], checked)


def _in_transaction(check: Check, checked: Checked) -> Iterator[Finding]:
    with transaction(checked.url, "checking the database") as connection:
        yield from check(checked, connection)


def writable(checked: Checked, connection: Connection) -> Iterator[Finding]:
    """The database must not be a read-only replica."""
    row = connection.execute("select pg_is_in_recovery()").fetchone()
    if row and row[0]:
        yield fail("the database is a read-only replica", "Point CANVAS_SYNC_DATABASE_URL to the primary")
    else:
        yield ok("the database is no read-only replica")


def tables(checked: Checked, connection: Connection) -> Iterator[Finding]:
    """Schema, tables and columns must exist."""
    schema = checked.schema
    if not _exists(connection, schema):
        creates = connection.execute("select has_database_privilege(current_database(), 'CREATE')").fetchone()
        if creates and creates[0]:
            yield ok(f"schema {schema} will be created by the first sync")
        else:
            yield fail(
                f"schema {schema} is missing, and the role may not create it",
                f"Run `create schema {schema} authorization {connection.info.user}` as an administrator, or set `schema:` of "
                f"tenant {checked.tenant.slug} to an existing schema in which the role may create tables",
            )
        return
    # The same comparison as that of `canvas-sync migrate --check`, so that both give the same result.
    migration = plan(checked.url, schema, checked.location.models_of(checked.tenant))
    for problem in migration.problems:
        yield fail(problem, f"Afterwards run `canvas-sync migrate --check --tenant {checked.tenant.slug}`")
    for limit in migration.notes:
        yield note(*limit)
    if lacking := migration.changes:
        more = f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else ""
        yield fail(f"missing in schema {schema}: {', '.join(lacking[:SHOWN])}{more}", "Run `canvas-sync migrate`")
    elif not migration.problems:
        last = f"; {migration.last}" if migration.last else ""
        yield ok(f"schema {schema} has all tables, columns and indexes{last}")


def rights(checked: Checked, connection: Connection) -> Iterator[Finding]:
    """The role must have the rights that loads need; docs/how-to/least-privilege.md grants them."""
    role, database = connection.info.user, connection.info.dbname
    if not may_create_temporary(connection):
        yield fail(
            f"role {role} may not create temporary tables, which loads need",
            f"Run `grant temporary on database {database} to {role}`",
        )
    schema = checked.schema
    if not _exists(connection, schema):
        return
    if not may_use(connection, schema):
        yield fail(f"role {role} may not use schema {schema}", f"Run `grant usage on schema {schema} to {role}`")
        return
    models = checked.location.models_of(checked.tenant)
    wanted = {*(model.table for model in models), *STATE_TABLES} - {schema_migrations.TABLE}
    wanted |= {digest_table_name(model.table) for model in models}
    wanted |= {history_table_name(model.table) for model in models if model.history}
    lacking = lacking_rights(connection, schema, wanted)
    for missing, names in lacking.items():
        granted, listed = ", ".join(missing).lower(), ", ".join(f"{schema}.{name}" for name in names)
        yield fail(f"role {role} lacks {granted} on {listed}", f"Run `grant {granted} on {listed} to {role}`")
    if not lacking:
        yield ok(f"role {role} has the rights that loads need")


def pooler(checked: Checked, connection: Connection) -> Iterator[Finding]:
    """A transaction pooler works, but hides whether a process is still alive."""
    match pooling(checked.url):
        case Pooling.TRANSACTION:
            yield note(
                "a transaction pooler is between here and the server: a killed sync is recognized by its missing "
                "heartbeat only",
                "After a kill, wait for CANVAS_SYNC_LOST_AFTER, or connect syncs directly to the server",
            )
        case Pooling.SESSION:
            yield ok("a session pooler is between here and the server")
        case Pooling.NONE:
            pass


def headers(checked: Checked, connection: Connection) -> Iterator[Finding]:
    """Reports must have the headers that are mapped; show the observed headers of those that were only assumed."""
    if not _exists(connection, checked.schema):
        return
    warehouse, unseen = Warehouse(connection, checked.schema), list[str]()
    if not warehouse.has(REMEMBERED):
        return
    models = checked.location.models_of(checked.tenant)
    for lack in read_missing_headers(warehouse, models):
        yield note(
            f"{lack}, so that this is not filled. Its header was: {shorten(', '.join(lack.header), LONGEST_HEADER)}",
            f'Correct the mapping of {lack.model.name}: `link_column("header", "column")`',
        )
    for model in models:
        if not isinstance(model.feed, ReportFeed) or not model.feed.assumed_header:
            continue
        header = read_header(warehouse, model.name)
        if header is None:
            unseen.append(model.name)
        else:
            yield _observed(model, model.feed.report, header)
    if unseen:
        yield ok(
            f"the report headers of {', '.join(unseen)} are assumed; the first sync from a report shows the real ones"
        )


def _observed(model: Model, report: str, header: Sequence[str]) -> Finding:
    """Compare an observed header with the assumed one; the message contains a mapping with all of its names."""
    wanted = {column.name: column.report for column in model.report_columns()}
    optional = {column.name for column in model.columns if column.optional}
    match = match_header(header, wanted, required=(), where=report, ignored=model.ignored, optional=optional)
    places = {at: column for column, at in match.positions.items()}
    columns = {name: places.get(at, column_for(name, wanted)) for at, name in enumerate(match.header)}
    mapping = f"mappings: {{{model.name}: {{columns: {json.dumps(columns, ensure_ascii=False)}}}}}"
    if not match.missing and not match.unknown:
        return ok(f"{report}, which feeds {model.name}, has the header that is assumed", details=mapping)
    drift = {"lacks": match.missing, "also has": match.unknown}
    differences = " and ".join(f"{verb} {', '.join(names)}" for verb, names in drift.items() if names)
    return note(
        f"{report}, which feeds {model.name}, {differences}, compared with the assumed header",
        "Run `canvas-sync doctor --verbose`, paste the mapping of this header into canvas_sync.yaml, and correct the columns",
        details=mapping,
    )


def clock(checked: Checked, connection: Connection) -> Iterator[Finding]:
    """The database's clock must agree with this host's, because it decides when batches start and retries are due."""
    yield from clocks(connection, datetime.now(UTC))


def clocks(connection: Connection, now: datetime) -> Iterator[Finding]:
    """Compare the database's clock with a time by this host's clock."""
    row = connection.execute("select clock_timestamp()").fetchone()
    skew = abs(row[0] - now) if row else timedelta()
    message = f"the clocks of this host and of the database differ by {skew.total_seconds():,.0f} s"
    yield ok(message) if skew < SLACK else fail(message, "Synchronize both clocks (NTP)")


def _exists(connection: Connection, schema: str) -> bool:
    return connection.execute("select from pg_namespace where nspname = %s", (schema,)).fetchone() is not None


Check = Callable[[Checked, Connection], Iterator[Finding]]
CHECKS: tuple[Check, ...] = (writable, clock, tables, rights, headers, pooler)
"""Each gets the tenant and a connection in a transaction. Add further checks here."""
