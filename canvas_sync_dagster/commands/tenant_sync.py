"""A whole sync of one tenant in this process: opens a batch, drives it to its end, and collects what failed."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from canvas_sync_dagster.assets.tenant_assets import tenant_assets
from canvas_sync_dagster.commands.sync_report import Recorder, SyncReport
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.orchestration.batch_service import LOCKED_AT, BatchService
from canvas_sync_dagster.orchestration.driver import Driver
from canvas_sync_dagster.orchestration.in_process import BatchAssets, InProcess
from canvas_sync_dagster.orchestration.next_step import Executor
from canvas_sync_dagster.orchestration.orphaned_runs import begin_batch
from canvas_sync_dagster.orchestration.run_listener import Progress
from canvas_sync_dagster.project.definitions import definitions_of
from canvas_sync_dagster.resources import CodeLocation
from canvas_sync_dagster.sync.heartbeat import beating
from canvas_sync_dagster.sync.project import Project
from canvas_sync_dagster.sync.scope import TermScope
from canvas_sync_dagster.sync.session import connect_canvas
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.process_lock import ProcessLock


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """What a person asks of one sync.

    Attributes:
        options: Run config of the resource `sync_options`: mode, updated_after, reload and others.
        models: Names of the only models and steps to sync; None for all of the genre.
        term_scope: Terms in place of the setting: `active`, `all`, ids or SIS ids; None for the setting.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    models: frozenset[str] | None = None
    term_scope: TermScope | None = None


def sync_tenant(
    project: Project,
    tenant: TenantSettings,
    request: SyncRequest,
    *,
    open_instance: Callable[[], AbstractContextManager[dg.DagsterInstance]],
    progress: Callable[[], AbstractContextManager[Progress]],
) -> SyncReport:
    """Sync a tenant, as one batch, in this process.

    Args:
        project: The code location.
        tenant: The tenant, with the settings of the genre applied.
        request: What is synced, and how.
        open_instance: Opens the Dagster instance that stores the runs.
        progress: Opens what receives the progress; called once the batch is open.

    Returns:
        What the sync did, and what failed.

    Raises:
        SettingError: A setting is invalid, or the genre has none of the models.
        SyncUnderWayError: Another sync of the tenant and genre is under way.
        CanvasSyncError: Canvas refuses the token, or the database cannot be reached.
    """
    start = time.monotonic()
    jobs = definitions_of(project).resolve_job_def
    assets = _assets(project, tenant, request.models)
    # Two syncs that begin within one second must not share a batch.
    key = f"{tenant.slug}:{tenant.batch_genre}:{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}:{secrets.token_hex(2)}"
    on_sync, on_failure = project.extensions.on_sync, project.extensions.on_failure
    with ExitStack() as stack:
        # Before the token is checked: a command in the wrong directory fails without it.
        instance = stack.enter_context(open_instance())
        service = _checked(project, tenant, lambda: _service(project, tenant, request))
        lock = stack.enter_context(closing(service.lock(key)))
        batch = begin_batch(instance, service, key, {"trigger": "command", **_locked(lock)}, on_sync)
        if batch is None:
            raise service.refusal()
        shown = Recorder(stack.enter_context(progress()))
        stack.enter_context(beating(lambda: service.note(batch, _locked(lock)), tenant.lost_after))
        named = request.models or frozenset()
        launcher = InProcess(instance, service, jobs, assets, request.options, shown, named, on_failure)
        shown.expect(len(assets.root))
        Driver(instance, service, batch, assets.parts, launcher, Executor.HERE, on_sync).run()
    return shown.report(tenant.slug, time.monotonic() - start, tuple(launcher.failed), tuple(launcher.blocked))


def _assets(project: Project, tenant: TenantSettings, models: frozenset[str] | None) -> BatchAssets:
    """Return the assets of the batch: of the named models only, with the steps at the start and at the end."""
    start, keys = project.chain.at("start"), tenant_assets(project, tenant).keys

    def wanted(*, per_term: bool) -> list[dg.AssetKey]:
        names = project.assets_of(tenant, tenant.batch_genre, per_term=per_term)
        return keys.all_of(name for name in names if models is None or name in {*models, *start})

    end = keys.all_of(project.chain.at("end"))
    assets = BatchAssets(wanted(per_term=False), wanted(per_term=True), end, start, keys.name_of)
    if tenant.batch_genre in tenant.genres and not (assets.root or assets.term):
        problem = f"the genre {tenant.batch_genre} of {tenant.slug} has none of them"
        raise SettingError("--models", problem, allowed="others, or no --genre")
    return assets


def _service(project: Project, tenant: TenantSettings, request: SyncRequest) -> BatchService:
    return CodeLocation(project).batches(tenant.slug, tenant.batch_genre, request.term_scope)


def _checked(project: Project, tenant: TenantSettings, connect: Callable[[], BatchService]) -> BatchService:
    """Check settings, database and token before anything begins: otherwise each run would report the same fault."""
    with connect_canvas(tenant, project.extensions) as canvas:
        service = connect()
        with service.warehouse("checking the database"):
            canvas.get("/accounts/{account_id}")
    return service


def _locked(lock: ProcessLock) -> dict[str, str | None]:
    """Hold the lock of this process; return since when, so that others can see that it was released."""
    since = lock.hold()
    return {LOCKED_AT: since.isoformat() if since else None}
