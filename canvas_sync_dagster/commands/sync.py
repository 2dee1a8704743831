"""`canvas-sync sync`: a whole sync on the Dagster instance, with progress; its runs are shown in the UI."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import click

from canvas_sync_dagster.catalogue import with_carriers
from canvas_sync_dagster.commands.instance import dagster_instance
from canvas_sync_dagster.commands.location import Location, located
from canvas_sync_dagster.commands.output import console
from canvas_sync_dagster.commands.progress import shown_progress
from canvas_sync_dagster.commands.tenant_sync import SyncRequest, sync_tenant
from canvas_sync_dagster.errors import CanvasSyncError, MisconfiguredError, SettingError
from canvas_sync_dagster.sync.options import parse_legacy_support
from canvas_sync_dagster.tenants import TenantSettings, parse_updated_after


@click.command()
@click.option("--genre", help="A genre of the settings, with its models, terms and policy.")
@click.option("--models", help="Comma-separated list of models; those of the settings by default.")
@click.option("--term-scope", help="active, all, or a comma-separated list of term ids.")
@click.option("--updated-after", help="true, false, or an ISO-8601 date.")
@click.option("--full", is_flag=True, help="Read everything, whatever the full-sync policy decides.")
@click.option(
    "--reload",
    is_flag=True,
    help="Like --full, and compare every value: repairs rows that were changed in the database.",
)
@click.option("--tenant", help="Only this tenant; all by default.")
@click.option(
    "--legacy-support",
    default="all",
    show_default=True,
    help="Models whose rows are passed to your row_by_row functions: all, none, or a comma list.",
)
@click.option("--accept-shrinkage", is_flag=True, help="Accept a large drop in row count.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@located
def sync(
    location: Location,
    *,
    genre: str | None,
    models: str | None,
    term_scope: str | None,
    updated_after: str | None,
    full: bool,
    reload: bool,
    tenant: str | None,
    legacy_support: str,
    accept_shrinkage: bool,
    log_format: str,
) -> None:
    """Sync now, on the Dagster instance."""
    location.extensions.row_functions(parse_legacy_support(legacy_support))
    options = _options(updated_after, full=full, reload=reload, legacy_support=legacy_support)
    wanted = frozenset(with_carriers(name.strip() for name in models.split(","))) if models else None
    _refuse_unknown(wanted or frozenset(), location)
    scope = [name.strip() for name in term_scope.split(",") if name.strip()] if term_scope else None
    request = SyncRequest({**options, "accept_shrinkage": accept_shrinkage}, wanted, scope)
    tenants = location.tenants(tenant)
    errors: dict[str, CanvasSyncError] = {} if tenant else {each.slug: each.error for each in location.settings.broken}
    failed: list[str] = []
    alone = len(tenants) == 1 and not errors
    for each in tenants:
        try:
            result = sync_tenant(
                location.project,
                _of_genre(each, genre),
                request,
                open_instance=functools.partial(dagster_instance, location.settings.home),
                progress=functools.partial(shown_progress, log_format),
            )
        except CanvasSyncError as error:
            if alone:
                raise
            # An error of one tenant must not keep the others from their sync.
            errors[each.slug] = error
        else:
            _print_blocked(result.blocked)
            failed += result.failed
    raise click.exceptions.Exit(_finish(errors, failed))


def _options(updated_after: str | None, *, full: bool, reload: bool, legacy_support: str) -> dict[str, Any]:
    options = {"mode": "full" if full else "auto", "legacy_support": legacy_support, "reload": reload}
    if updated_after is None:
        return options
    try:
        parse_updated_after(updated_after)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--updated-after") from None
    return {**options, "updated_after": updated_after}


def _print_blocked(blocked: Sequence[str]) -> None:
    if blocked:
        text = f"not started, because something before them failed: {', '.join(blocked)}"
        console(stderr=True).print(text, soft_wrap=True)


def _finish(errors: Mapping[str, CanvasSyncError], failed: Sequence[str]) -> int:
    """Print what failed, equal errors of several tenants once; return the exit code."""
    screen = console(stderr=True)
    for message in dict.fromkeys(map(str, errors.values())):
        slugs = [slug for slug, error in errors.items() if str(error) == message]
        screen.print(f"failed: {', '.join(slugs)}: {message}", style="red", soft_wrap=True)
    if failed:
        screen.print(f"failed: {', '.join(failed)}", style="red", soft_wrap=True)
        return 1
    if not errors:
        return 0
    return 2 if all(isinstance(error, MisconfiguredError) for error in errors.values()) else 1


def _of_genre(tenant: TenantSettings, genre: str | None) -> TenantSettings:
    known = [tenant.batch_genre, *tenant.genres]
    if genre is not None and genre not in known:
        problem = f"tenant {tenant.slug} has no such genre"
        raise SettingError("--genre", problem, allowed=", ".join(known), value=genre)
    return tenant.of_genre(genre or tenant.batch_genre)


def _refuse_unknown(wanted: frozenset[str], location: Location) -> None:
    if wanted:
        tenants = location.settings.tenants
        known = {name for tenant in tenants for name in location.project.names_of(tenant)}
        if unknown := sorted(wanted - known):
            allowed = ", ".join(sorted(known))
            raise SettingError("--models", "unknown model", allowed=allowed, value=", ".join(unknown))
