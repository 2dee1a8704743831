"""`canvas-sync sync`: a whole sync on the Dagster instance, with progress; its runs are shown in the UI."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import click

from canvas_sync_dagster.catalogue import with_carriers
from canvas_sync_dagster.commands.instance import dagster_instance
from canvas_sync_dagster.commands.location import Location, located
from canvas_sync_dagster.commands.output import complain, json_option, show, width_of_output, write_json
from canvas_sync_dagster.commands.progress import FORMATS, Log, log_of, shown_progress
from canvas_sync_dagster.commands.sync_report import SyncReport, summary
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
@click.option(
    "--log-format",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="text: bars at a terminal, and logfmt elsewhere.",
)
@click.option("--by-term", is_flag=True, help="Show a row for each model and term in the closing table.")
@json_option
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
    by_term: bool,
    as_json: bool,
) -> None:
    """Sync now, on the Dagster instance.

    \b
    Examples:
      canvas-sync sync
      canvas-sync sync --models users,courses --term-scope all
      canvas-sync sync --full --json > report.json

    At a terminal, bars show the progress, and a table what was loaded. Elsewhere, standard output is a log in logfmt; its
    last line, event=finished, has the sums. --json prints one document at the end, and the log to standard error. Exit code
    1: something failed, and is named.
    """
    location.extensions.row_functions(parse_legacy_support(legacy_support))
    options = _options(updated_after, full=full, reload=reload, legacy_support=legacy_support)
    wanted = frozenset(with_carriers(name.strip() for name in models.split(","))) if models else None
    _refuse_unknown(wanted or frozenset(), location)
    scope = [name.strip() for name in term_scope.split(",") if name.strip()] if term_scope else None
    request = SyncRequest({**options, "accept_shrinkage": accept_shrinkage}, wanted, scope)
    tenants = location.tenants(tenant)
    errors: dict[str, CanvasSyncError] = {} if tenant else {each.slug: each.error for each in location.settings.broken}
    reports: list[SyncReport] = []
    alone = len(tenants) == 1 and not errors
    log = log_of(log_format, stderr=as_json)
    for each in tenants:
        try:
            report = sync_tenant(
                location.project,
                _of_genre(each, genre),
                request,
                open_instance=functools.partial(dagster_instance, location.settings.home),
                progress=functools.partial(shown_progress, log, each.slug),
            )
        except CanvasSyncError as error:
            if alone:
                raise
            # An error of one tenant must not keep the others from their sync.
            errors[each.slug] = error
        else:
            reports.append(report)
            if log is not None:
                log.finished(report)
            elif not as_json:
                show(summary(report, width_of_output(), by_term=by_term))
    if as_json:
        write_json([*(report.document() for report in reports), *map(_unsynced, errors, errors.values())])
    _print_errors(errors, log)
    raise click.exceptions.Exit(_exit_code(errors, reports))


def _options(updated_after: str | None, *, full: bool, reload: bool, legacy_support: str) -> dict[str, Any]:
    options = {"mode": "full" if full else "auto", "legacy_support": legacy_support, "reload": reload}
    if updated_after is None:
        return options
    try:
        parse_updated_after(updated_after)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--updated-after") from None
    return {**options, "updated_after": updated_after}


def _unsynced(slug: str, error: CanvasSyncError) -> dict[str, Any]:
    return {"tenant": slug, "status": "failed", "messages": [str(error)]}


def _print_errors(errors: Mapping[str, CanvasSyncError], log: Log | None) -> None:
    """Print why tenants were not synced; equal errors of several tenants once."""
    for message in dict.fromkeys(map(str, errors.values())):
        slugs = ", ".join(slug for slug, error in errors.items() if str(error) == message)
        if log is not None:
            log.write("error", "failed", slugs, message=message)
        else:
            complain(f"failed: {slugs}: {message}")


def _exit_code(errors: Mapping[str, CanvasSyncError], reports: Sequence[SyncReport]) -> int:
    if any(report.failed for report in reports):
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
