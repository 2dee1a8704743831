"""`canvas-sync reconcile` and `replay`: what was held back is asked about, or tried again."""

from __future__ import annotations

import click

from canvas_sync_dagster.commands.location import Location, located
from canvas_sync_dagster.commands.output import say
from canvas_sync_dagster.live_events.inbox import replay as replay_inbox
from canvas_sync_dagster.sync.reconciliation import LIMIT
from canvas_sync_dagster.sync.reconciliation import reconcile as reconcile_model
from canvas_sync_dagster.sync.rejects import replay_rejects
from canvas_sync_dagster.sync.session import database_url, open_session
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.connection import transaction
from canvas_sync_dagster.warehouse.tables import prepare_schema


@click.command()
@click.option("--model", help="Only this model; all if not given.")
@click.option("--limit", default=LIMIT, show_default=True, help="Suspects per model, at most.")
@click.option("--tenant", help="Only this tenant; all if not given.")
@located
def reconcile(location: Location, model: str | None, limit: int, tenant: str | None) -> None:
    """Ask Canvas about rows that its reports no longer list."""
    known = [each.name for each in location.models]
    if model is not None and model not in known:
        raise click.BadParameter(f"there is no such model; there are {', '.join(known)}", param_hint="--model")

    def work(each: TenantSettings) -> None:
        asked = 0
        with open_session(location.settings, each, location.models_of(each), location.extensions) as session:
            for chosen in session.models:
                if model not in {None, chosen.name}:
                    continue
                done = reconcile_model(session, chosen, limit=limit)
                asked += done.asked
                if done.asked or done.reason or model:
                    why = f" ({done.reason})" if done.reason else ""
                    say(
                        f"{each.slug}/{chosen.name}: {done.asked} asked, {done.deleted} deleted, {done.alive} alive, "
                        f"{done.forbidden} hidden, {done.left} left{why}"
                    )
        if not asked:
            say(f"{each.slug}: no suspect was asked about")

    location.each(tenant, work)


@click.group()
def replay() -> None:
    """Apply rejected rows or dead live events again, after a fix."""


@replay.command()
@click.option("--model", help="Only this model's; all if not given.")
@click.option("--tenant", help="Only this tenant; all if not given.")
@located
def rejects(location: Location, model: str | None, tenant: str | None) -> None:
    """Load rejected rows again, with the mappings as they are now."""

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
@click.option("--id", "ids", type=int, multiple=True, help="Only this event; may be given often.")
@click.option("--event", help="Only events of this name.")
@click.option("--tenant", help="Only this tenant; all if not given.")
@located
def events(location: Location, ids: tuple[int, ...], event: str | None, tenant: str | None) -> None:
    """Make dead and failed live events wait again; the next drain takes them."""

    def work(each: TenantSettings) -> None:
        url = database_url(location.settings, each)
        prepare_schema(url, each.schema_in_database, location.models_of(each), ())
        with transaction(url, "replaying events") as connection:
            number = replay_inbox(connection, each.schema_in_database, ids=list(ids), name=event)
        say(f"{each.slug}: {number} events wait again")

    location.each(tenant, work)
