"""`canvas-sync reconcile`, `replay` and `erase`: verify suspects, apply rejects and dead events again, erase a person."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

import click

from canvas_sync_dagster.commands.location import Location, located
from canvas_sync_dagster.commands.output import json_option, say, write_json
from canvas_sync_dagster.sync.erase import erase_user
from canvas_sync_dagster.sync.reconciliation import LIMIT, Reconciliation
from canvas_sync_dagster.sync.reconciliation import reconcile as reconcile_model
from canvas_sync_dagster.sync.rejects import replay_rejects
from canvas_sync_dagster.sync.session import database_url, open_session
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.connection import transaction
from canvas_sync_dagster.warehouse.schema.prepare import prepare_schema
from canvas_sync_dagster.warehouse.state.inbox import count_dead, discard
from canvas_sync_dagster.warehouse.state.inbox import replay as replay_inbox
from canvas_sync_dagster.warehouse.warehouse import Warehouse


@click.command()
@click.option("--model", help="Only this model; all by default.")
@click.option("--limit", default=LIMIT, show_default=True, help="Maximum suspects per model.")
@click.option("--tenant", help="Only this tenant; all by default.")
@json_option
@located
def reconcile(location: Location, model: str | None, limit: int, tenant: str | None, as_json: bool) -> None:
    """Verify with Canvas the rows that its reports no longer list.

    \b
    Examples:
      canvas-sync reconcile
      canvas-sync reconcile --model enrollments --limit 100

    A row that Canvas no longer has is marked as deleted; one that exists is refreshed.
    """
    _refuse_unknown(model, location)
    told: list[dict[str, Any]] = []

    def work(each: TenantSettings) -> None:
        asked = 0
        with open_session(location.settings, each, location.models_of(each), location.extensions) as session:
            for chosen in session.models:
                if model not in {None, chosen.name}:
                    continue
                done = reconcile_model(session, chosen, limit=limit)
                asked += done.asked
                if done.asked or done.reason or model:
                    told.append({"tenant": each.slug, **asdict(done)})
                    if not as_json:
                        say(_reconciled(each, done))
        if not asked and not as_json:
            say(f"{each.slug}: no suspect was asked about")

    try:
        location.each(tenant, work)
    finally:
        if as_json:
            write_json(told)


def _reconciled(tenant: TenantSettings, done: Reconciliation) -> str:
    why = f" ({done.reason})" if done.reason else ""
    return (
        f"{tenant.slug}/{done.model}: {done.asked} asked, {done.deleted} deleted, {done.alive} alive, "
        f"{done.forbidden} hidden, {done.left} left{why}"
    )


def _refuse_unknown(model: str | None, location: Location) -> None:
    known = [each.name for each in location.models]
    if model is not None and model not in known:
        raise click.BadParameter(f"unknown model; the models are {', '.join(known)}", param_hint="--model")


@click.command()
@click.option("--user", type=click.IntRange(min=1), required=True, help="Canvas id of the person.")
@click.option("--yes", is_flag=True, help="Erase without confirmation.")
@click.option("--tenant", help="Only this tenant; all by default.")
@located
def erase(location: Location, user: int, tenant: str | None, *, yes: bool) -> None:
    """Remove one person from data tables, rejected rows, live events and the journal."""
    if sys.stdin.isatty() and not yes:
        click.confirm(f"All data of user {user} will be removed permanently. Erase?", abort=True)

    def work(each: TenantSettings) -> None:
        url, schema = database_url(location.settings, each), each.schema_in_database
        models = location.models_of(each)
        prepare_schema(url, schema, models, ())
        done = erase_user(url, schema, models, user)
        for table in sorted({*done.removed, *done.blanked}):
            if done.removed[table] or done.blanked[table]:
                say(f"{each.slug}/{table}: {done.removed[table]} rows removed, {done.blanked[table]} blanked")
        if not done.removed.total() + done.blanked.total():
            say(f"{each.slug}: no data of user {user} found")
        say(f"{each.slug}: user {user} is erased; no sync and no live event will bring the person back")

    location.each(tenant, work)


@click.group()
def replay() -> None:
    """Apply rejected rows or dead live events again, after a fix."""


@replay.command()
@click.option("--model", help="Only rows of this model; all by default.")
@click.option("--tenant", help="Only this tenant; all by default.")
@located
def rejects(location: Location, model: str | None, tenant: str | None) -> None:
    """Load rejected rows again, with the current mappings."""
    _refuse_unknown(model, location)

    def work(each: TenantSettings) -> None:
        url = database_url(location.settings, each)
        models = location.models_of(each)
        prepare_schema(url, each.schema_in_database, models, None if model is None else [model])
        for chosen in models:
            if model in {None, chosen.name}:
                done = replay_rejects(url, each.schema_in_database, chosen)
                if done.tried:
                    say(f"{each.slug}/{chosen.name}: {done.tried} tried, {done.loaded} loaded, {done.left} left")

    location.each(tenant, work)


@replay.command()
@click.option("--id", "ids", type=int, multiple=True, help="Only this event; may be repeated.")
@click.option("--event", help="Only events of this name.")
@click.option("--discard", "gives_up", is_flag=True, help="Discard dead events instead: they will never be applied.")
@click.option("--yes", is_flag=True, help="Discard without confirmation.")
@click.option("--tenant", help="Only this tenant; all by default.")
@located
def events(
    location: Location, ids: tuple[int, ...], event: str | None, tenant: str | None, *, gives_up: bool, yes: bool
) -> None:
    """Apply dead and failed live events again with the next drain, or discard the dead ones."""
    if gives_up:
        location.each(tenant, lambda each: _discard(location, each, list(ids), event, yes=yes))
        return

    def work(each: TenantSettings) -> None:
        url = database_url(location.settings, each)
        prepare_schema(url, each.schema_in_database, location.models_of(each), ())
        with transaction(url, "replaying events") as connection:
            number = replay_inbox(Warehouse(connection, each.schema_in_database), ids=list(ids), name=event)
        say(f"{each.slug}: {number} events will be applied again")

    location.each(tenant, work)


def _discard(location: Location, tenant: TenantSettings, ids: list[int], event: str | None, *, yes: bool) -> None:
    url, schema = database_url(location.settings, tenant), tenant.schema_in_database
    prepare_schema(url, schema, location.models_of(tenant), ())
    with transaction(url, "counting dead events") as connection:
        number = count_dead(Warehouse(connection, schema), ids=ids, name=event)
    if number == 0:
        say(f"{tenant.slug}: no dead event")
        return
    _confirm(f"{tenant.slug}: {number} dead events will never be applied. Discard them?", yes=yes)
    with transaction(url, "discarding dead events") as connection:
        number = discard(Warehouse(connection, schema), ids=ids, name=event)
    say(f"{tenant.slug}: {number} dead events discarded")


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Without a terminal, --yes is required.")
    click.confirm(question, abort=True)
