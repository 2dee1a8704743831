"""`canvas-sync sync`: a whole batch on the Dagster instance, with progress; what it did is there in the UI."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from canvas_sync_dagster.catalogue import with_carriers
from canvas_sync_dagster.commands.instance import dagster_instance
from canvas_sync_dagster.commands.location import Location, located
from canvas_sync_dagster.commands.output import console
from canvas_sync_dagster.commands.progress import Teller, teller
from canvas_sync_dagster.commands.watch import Watch
from canvas_sync_dagster.errors import CanvasSyncError, MisconfiguredError, SettingError, SyncUnderWayError
from canvas_sync_dagster.orchestration.batch_service import LOCKED_AT, last_sync_of
from canvas_sync_dagster.orchestration.callbacks import tell_of_batch, tell_of_failure
from canvas_sync_dagster.orchestration.identifiers import BATCH_TAG, GENRE_TAG, MODE_TAG, TENANT_TAG, TERM_TAG
from canvas_sync_dagster.orchestration.orphaned_runs import batch_runs, begin_batch
from canvas_sync_dagster.orchestration.run_errors import raised
from canvas_sync_dagster.project.definitions import code_location_of, definitions_of, keys_of
from canvas_sync_dagster.sync.heartbeat import beating
from canvas_sync_dagster.sync.options import parse_legacy_support
from canvas_sync_dagster.sync.session import connect_canvas
from canvas_sync_dagster.tenants import TenantSettings, parse_updated_after
from canvas_sync_dagster.warehouse.state.job_logs import CANCELLED

if TYPE_CHECKING:
    import dagster as dg

    from canvas_sync_dagster.orchestration.batch_service import BatchService
    from canvas_sync_dagster.project.project import Project
    from canvas_sync_dagster.warehouse.process_lock import ProcessLock
    from canvas_sync_dagster.warehouse.state.sync_batches import Batch

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@click.command()
@click.option("--genre", help="A genre of the settings, with its models, terms and policy.")
@click.option("--models", help="Comma list; those of the settings if not given.")
@click.option("--term-scope", help="active, all, or a comma list of term ids.")
@click.option("--updated-after", help="true, false, or an ISO-8601 date.")
@click.option("--full", is_flag=True, help="Read everything, whatever the policy says.")
@click.option(
    "--reload",
    is_flag=True,
    help="Like --full, and compare every value: repairs rows that were changed in the database.",
)
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
        "reload": reload,
    }
    if updated_after is not None:
        options["updated_after"] = updated_after
    wanted = set(with_carriers(name.strip() for name in models.split(","))) if models else None
    _refuse_unknown(wanted or set(), location)
    scope = [name.strip() for name in term_scope.split(",") if name.strip()] if term_scope else None
    tenants = location.tenants(tenant)
    errors: dict[str, CanvasSyncError] = {} if tenant else {each.slug: each.error for each in location.settings.broken}
    failed: list[str] = []
    alone = len(tenants) == 1 and not errors
    for each in tenants:
        try:
            failed += _Sync(location.project, _of_genre(each, genre), options, wanted, log_format).run(scope)
        except CanvasSyncError as error:
            if alone:
                raise
            # One tenant's trouble must not keep the others from their sync.
            errors[each.slug] = error
    raise click.exceptions.Exit(_finish(errors, failed))


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


def _refuse_unknown(wanted: set[str], location: Location) -> None:
    if wanted:
        tenants = location.settings.tenants
        known = {name for tenant in tenants for name in location.project.names_of(tenant)}
        if unknown := sorted(wanted - known):
            allowed = ", ".join(sorted(known))
            raise SettingError("--models", "there is no such model", allowed=allowed, value=", ".join(unknown))


def _locked(lock: ProcessLock) -> dict[str, str | None]:
    """Hold the lock of this process, and return what others need to know to see that it is gone."""
    since = lock.hold()
    return {LOCKED_AT: since.isoformat() if since else None}


def _reason(failed: list[str]) -> str:
    return f"{len(failed)} models failed" if failed else "all done"


class _Sync:
    """A sync of one tenant under way."""

    def __init__(
        self,
        project: Project,
        tenant: TenantSettings,
        options: dict[str, Any],
        models: set[str] | None,
        log_format: str,
    ) -> None:
        self._project, self._tenant, self._options = project, tenant, options
        self._models, self._format = models, log_format
        self._definitions = definitions_of(project)
        self._skipped: set[str] = set()
        self._blocked: list[str] = []
        self._said: set[str] = set()
        self._stopped = False

    def run(self, term_scope: list[str] | None) -> list[str]:
        """Sync, and return what failed.

        Raises:
            SettingError: A setting is wrong.
            SyncUnderWayError: Another sync of the tenant and genre is under way.
            CanvasSyncError: Canvas does not accept the token, or the database is away.
        """
        slug, genre = self._tenant.slug, self._tenant.batch_genre
        if genre in self._tenant.genres and not (self._keys(per_term=False) or self._keys(per_term=True)):
            raise SettingError(
                "--models", f"the genre {genre} of {slug} has none of them", allowed="others, or no --genre"
            )
        # Two that begin within one second must not take one batch for their own.
        key = f"{slug}:{genre}:{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}:{secrets.token_hex(2)}"
        own = self._project.extensions
        with ExitStack() as stack:
            # Before Canvas is asked: a command in the wrong directory needs no token to be told so.
            instance = stack.enter_context(dagster_instance(self._project.settings.home))
            batches = self._checked(lambda: code_location_of(self._project).batches(slug, genre, term_scope))
            lock = stack.enter_context(closing(batches.lock(key)))
            batch = begin_batch(instance, batches, key, {"trigger": "command", **_locked(lock)}, own.on_sync)
            if batch is None:
                raise SyncUnderWayError(slug, genre)
            failed: list[str] = []
            status, reason = "failed", CANCELLED
            try:
                with (
                    teller(self._format) as tell,
                    beating(lambda: batches.note(batch, _locked(lock)), self._tenant.lost_after),
                ):
                    self._work(instance, batches, batch, tell, failed)
                    status, reason = "failed" if failed else "completed", _reason(failed)
            except CanvasSyncError as error:
                reason = str(error)
                raise
            finally:
                self._close(instance, batches, batch, status, reason)
        if self._blocked:
            told = f"not started, because something before them failed: {', '.join(self._blocked)}"
            console(stderr=True).print(told, soft_wrap=True)
        return failed

    def _checked(self, connect: Callable[[], BatchService]) -> BatchService:
        """Check settings, database and token before anything begins: otherwise each run would report the same fault."""
        with connect_canvas(self._tenant, self._project.extensions) as canvas:
            batches = connect()
            with batches.warehouse("checking the database"):
                canvas.get("/accounts/{account_id}")
        return batches

    def _work(
        self, instance: dg.DagsterInstance, batches: BatchService, batch: Batch, tell: Teller, failed: list[str]
    ) -> None:
        slug = self._tenant.slug
        tags = {BATCH_TAG: batch.key, GENRE_TAG: batch.genre, TENANT_TAG: slug}
        root, term_job = f"{slug}__sync_root", f"{slug}__sync_term"
        tell.expect(len(self._keys(per_term=False)))
        failed += self._job(instance, root, None, tags, tell)
        per_term = self._keys(per_term=True)
        if per_term and not failed:
            # Only the root run tells which terms there are.
            batches.terms.refuse_unknown()
        terms = batches.terms.of_batch(batch.key) if per_term else []
        last = last_sync_of(batches.note_terms(batch, terms))
        tell.expect(len(per_term) * len(terms))
        names = batches.terms.names() if terms else {}
        known = set(instance.get_dynamic_partitions(f"canvas_terms__{slug}"))
        for term in () if self._stopped else terms:
            if failed and self._tenant.on_failed_term == "stop":
                break
            if term not in known:
                instance.add_dynamic_partitions(f"canvas_terms__{slug}", [term])
            mode = {MODE_TAG: "full"} if term in last else {}
            failed += self._job(instance, term_job, term, {**tags, TERM_TAG: names.get(term) or term, **mode}, tell)
        if self._project.chain.at("end"):
            batches.note_outcome(batch, "failed" if failed else "completed", _reason(failed))
            failed += self._job(instance, f"{slug}__sync_end", None, tags, tell, at_end=True)

    def _close(
        self, instance: dg.DagsterInstance, batches: BatchService, batch: Batch, status: str, reason: str
    ) -> None:
        _, _, runs = batch_runs(instance, self._tenant.slug, batch.key)
        for run in filter(None, map(instance.get_run_by_id, runs)):
            if not run.is_finished:
                instance.report_run_canceled(run, message=reason)
        if batches.close(batch, status, reason, runs):
            tell_of_batch(self._project.extensions.on_sync, batches, batch, status, reason)

    def _keys(self, *, per_term: bool) -> list[dg.AssetKey]:
        """Picks the assets that are wanted, of the root run or of each term run."""
        names = self._project.assets_of(self._tenant, self._tenant.batch_genre, per_term=per_term)
        wanted = None if self._models is None else {*self._models, *self._project.chain.at("start")}
        return keys_of(self._tenant.slug, [name for name in names if wanted is None or name in wanted])

    def _job(
        self,
        instance: dg.DagsterInstance,
        job: str,
        term: str | None,
        tags: dict[str, str],
        tell: Teller,
        *,
        at_end: bool = False,
    ) -> list[str]:
        ended = keys_of(self._tenant.slug, self._project.chain.at("end"))
        keys = ended if at_end else self._keys(per_term=term is not None)
        if not keys:
            return []
        title = f"{self._tenant.slug} {'end' if at_end else 'term ' + term if term else 'root'}"
        # The job of the steps at the end has no such resource.
        config = {} if at_end else {"resources": {"sync_options": {"config": self._options}}}
        tell.begin(title, len(keys))
        job_def = self._definitions.resolve_job_def(job)
        steps = {key: job_def.asset_layer.get_op_output_handle(key).node_handle.path[0] for key in keys}
        run_id, watch = str(uuid.uuid4()), Watch(title, term, tell, steps, self._said)
        instance.add_event_listener(run_id, watch)
        result = job_def.execute_in_process(
            instance=instance,
            run_config={**QUIET, **config},
            partition_key=term,
            tags=tags,
            raise_on_error=False,
            asset_selection=keys,
            run_id=run_id,
        )
        if watch.interrupted:
            # Dagster takes Ctrl-C within an op for the op's failure, and the next run would begin.
            raise KeyboardInterrupt
        unfed = self._tell_of_skipped(watch, succeeded=result.success)
        if result.success:
            return unfed
        first = {f"{self._tenant.slug}__{step}" for step in self._project.chain.at("start")}
        self._stopped = self._stopped or bool(first & watch.failed.keys())
        self._tell_of_failure(instance, run_id, watch)
        self._blocked += watch.blocked_models()
        return watch.failed_models() + unfed

    def _tell_of_skipped(self, watch: Watch, *, succeeded: bool) -> list[str]:
        """Name what was skipped once per sync; return those of them that the command names: they are failures."""
        new = {
            name: why for name, why in watch.skipped_models(succeeded=succeeded).items() if name not in self._skipped
        }
        self._skipped |= set(new)
        if new:
            watch.tell.skipped(new)
        return sorted(set(new) & (self._models or set()))

    def _tell_of_failure(self, instance: dg.DagsterInstance, run_id: str, watch: Watch) -> None:
        """Calls what on_failure asked for: the sensor hears only of runs that Dagster's daemon launched."""
        own, run = self._project.extensions, instance.get_run_by_id(run_id)
        if run is None or not own.on_failure:
            return
        batches = code_location_of(self._project).batches(self._tenant.slug)
        job_log = batches.close_journal(run_id, "the run ended")
        error = raised(watch.failures, "the run failed")
        slug = self._tenant.slug
        tell_of_failure(own.on_failure, error, tenant=slug, job_log=job_log, run=run, ours=batches)
