"""`canvas-sync sync`: a whole batch on the Dagster instance, with progress; what it did is there in the UI."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from canvas_sync_dagster.commands.location import Location, located
from canvas_sync_dagster.commands.output import console
from canvas_sync_dagster.errors import CanvasSyncError
from canvas_sync_dagster.settings import TenantSettings, parse_updated_after
from canvas_sync_dagster.sync.heartbeat import beating
from canvas_sync_dagster.sync.options import parse_legacy_support

if TYPE_CHECKING:
    import dagster as dg

    from canvas_sync_dagster.project import CanvasSync

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@click.command()
@click.option("--models", help="Comma list; those of the settings if not given.")
@click.option("--term-scope", help="active, all, or a comma list of term ids.")
@click.option("--updated-after", help="true, false, or an ISO-8601 date.")
@click.option("--full", is_flag=True, help="Read everything, whatever the policy says.")
@click.option("--tenant", help="Only this tenant; all if not given.")
@click.option(
    "--legacy-support",
    default="all",
    show_default=True,
    help="Whose rows go to the functions of your own given by row_by_row: all, none, or a comma list of models.",
)
@click.option("--accept-shrinkage", is_flag=True, help="A report may be much shorter than the table.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@located
def sync(
    location: Location,
    *,
    models: str | None,
    term_scope: str | None,
    updated_after: str | None,
    full: bool,
    tenant: str | None,
    legacy_support: str,
    accept_shrinkage: bool,
    log_format: str,
) -> None:
    """Sync now, on the Dagster instance."""
    if updated_after is not None:
        try:
            parse_updated_after(updated_after)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--updated-after") from None
    location.extensions.row_functions(parse_legacy_support(legacy_support))
    options = {
        "mode": "full" if full else "auto",
        "legacy_support": legacy_support,
        "accept_shrinkage": accept_shrinkage,
    }
    if updated_after is not None:
        options["updated_after"] = updated_after
    wanted = {name.strip() for name in models.split(",")} if models else None
    failed: list[str] = []
    tenants = location.tenants(tenant)
    for each in tenants:
        run = _Run(location.whole(), each, options, wanted, log_format)
        try:
            failed += run.sync(term_scope.split(",") if term_scope else None)
        except (CanvasSyncError, click.ClickException) as error:
            if len(tenants) == 1:
                raise
            # One tenant's trouble must not keep the others from their sync.
            failed.append(f"{each.slug}: {error}")
    if failed:
        console(stderr=True).print(f"failed: {', '.join(failed)}", style="red", markup=False)
        sys.exit(1)


class _Run:
    """A sync of one tenant under way."""

    def __init__(
        self,
        project: CanvasSync,
        tenant: TenantSettings,
        options: dict[str, Any],
        models: set[str] | None,
        log_format: str,
    ) -> None:
        self._project, self._tenant, self._options = project, tenant, options
        self._models, self._format = models, log_format
        self._definitions = project.definitions()

    def sync(self, term_scope: list[str] | None) -> list[str]:
        """Syncs, and returns what failed."""
        # Only here, for Dagster takes over a second.
        from canvas_sync_dagster.assets.specs import BATCH_TAG, GENRE_TAG, TENANT_TAG  # noqa: PLC0415
        from canvas_sync_dagster.commands.instance import dagster_instance  # noqa: PLC0415
        from canvas_sync_dagster.resources import CodeLocation  # noqa: PLC0415
        from canvas_sync_dagster.sensors.batches import call_back  # noqa: PLC0415
        from canvas_sync_dagster.sensors.lost import batch_runs, begin_batch  # noqa: PLC0415

        slug, genre = self._tenant.slug, self._tenant.batch_genre
        key = f"{slug}:{genre}:{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
        location = CodeLocation(self._project.settings, self._project.models, self._project.extensions)
        batches = location.batches(slug, term_scope)
        tags = {BATCH_TAG: key, GENRE_TAG: genre, TENANT_TAG: slug}
        with dagster_instance(self._project.settings.home) as instance:
            batch = begin_batch(instance, batches, key, {"trigger": "command"})
            if batch is None:
                raise click.ClickException(
                    f"a sync of {slug} ({genre}) is under way already; `canvas-sync status` tells which. "
                    f"One that died is recognized by {self._tenant.lost_after} of silence"
                )
            failed: list[str] = []
            try:
                with self._progress() as progress, beating(lambda: batches.note(batch, {}), self._tenant.lost_after):
                    failed += self._job(instance, f"{slug}__sync_root", None, tags, progress)
                    terms = batches.terms(key)
                    batches.note(batch, {"terms": terms})
                    known = set(instance.get_dynamic_partitions(f"canvas_terms__{slug}"))
                    for term in terms if self._has_terms() else []:
                        if term not in known:
                            instance.add_dynamic_partitions(f"canvas_terms__{slug}", [term])
                        failed += self._job(instance, f"{slug}__sync_term", term, tags, progress)
            finally:
                reason = f"{len(failed)} models failed" if failed else "all done"
                status = "failed" if failed or sys.exc_info()[0] else "completed"
                _, _, runs = batch_runs(instance, slug, key)
                if batches.close(batch, status, reason, runs):
                    call_back(self._project.extensions.on_sync, batch, status, reason, logging.getLogger(__name__))
        return failed

    def _has_terms(self) -> bool:
        names = self._models
        return any(m.term_scoped and (names is None or m.name in names) for m in self._project.models_of(self._tenant))

    def _job(
        self, instance: dg.DagsterInstance, job: str, term: str | None, tags: dict[str, str], progress: Any
    ) -> list[str]:
        from dagster import AssetKey  # noqa: PLC0415

        resolved = self._definitions.resolve_job_def(job)
        keys = [
            key
            for key in resolved.asset_layer.executable_asset_keys
            if self._models is None or key.path[-1] in self._models
        ]
        if not keys:
            return []
        title = f"{self._tenant.slug} {'term ' + term if term else 'root'}"
        progress.begin(title, len(keys))
        result = resolved.execute_in_process(
            instance=instance,
            run_config={**QUIET, "resources": {"sync_options": {"config": self._options}}},
            partition_key=term,
            tags=tags,
            raise_on_error=False,
            asset_selection=[AssetKey(key.path) for key in keys],
        )
        done = set()
        for event in result.get_asset_materialization_events():
            made = event.materialization
            done.add(made.asset_key)
            progress.landed(made.asset_key.path[-1], term, {n: v.value for n, v in made.metadata.items()})
        for event in result.get_step_failure_events():
            error = event.step_failure_data.error
            progress.failed(title, ((error.cause or error).message if error else "").strip())
        if result.success:
            return []
        broken = {event.step_key for event in result.get_step_failure_events()}
        lost = sorted(key.path[-1] for key in keys if key not in done)
        return [f"{name}{f' of term {term}' if term else ''}" for name in lost or sorted(map(str, broken))]

    @contextmanager
    def _progress(self) -> Iterator[Any]:
        screen = console(stderr=True)
        if self._format == "json" or not screen.is_terminal:
            yield _Lines(as_json=self._format == "json")
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=screen) as bars:
            yield _Bars(bars)


class _Lines:
    """Progress for logs: one line each."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def begin(self, title: str, number: int) -> None:
        self._say("begin", title=title, models=number)

    def landed(self, model: str, term: str | None, told: dict[str, Any]) -> None:
        names = ("rows_in_report", "inserted", "updated", "unchanged", "rejected", "mode", "mode_reason", "seconds")
        self._say("landed", model=model, term=term or "", **{name: told[name] for name in names if name in told})

    def failed(self, title: str, message: str) -> None:
        self._say("failed", title=title, message=message)

    def _say(self, event: str, **told: object) -> None:
        if self._as_json:
            click.echo(json.dumps({"at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "event": event, **told}, default=str))
        else:
            click.echo(f"{event} " + " ".join(f"{name}={value}" for name, value in told.items()))


class _Bars:
    """Progress for people: one bar per run."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task: Any = None

    def begin(self, title: str, number: int) -> None:
        self._task = self._bars.add_task(title, total=number)

    def landed(self, model: str, term: str | None, told: dict[str, Any]) -> None:
        self._bars.advance(self._task)
        changed = told.get("inserted", 0) + told.get("updated", 0)
        self._bars.console.print(
            f"  {model}: {told.get('rows_in_report', 0):,} rows, {changed:,} changed ({told.get('mode', '')})"
        )

    def failed(self, title: str, message: str) -> None:
        self._bars.console.print(f"  {title}: {message}", style="red", markup=False)
