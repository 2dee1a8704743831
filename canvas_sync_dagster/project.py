"""`CanvasSync`: what a code location is built from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from canvas_sync_dagster.assets.reports import report_asset
from canvas_sync_dagster.assets.rest import rest_asset
from canvas_sync_dagster.catalogue import BUILT_IN, Model
from canvas_sync_dagster.resources import CodeLocation, SyncOptionsResource
from canvas_sync_dagster.settings import Settings, TenantSettings
from canvas_sync_dagster.sync.plan import report_groups, rest_models


class CanvasSync:
    """A set of tenants and models, from which Dagster definitions are made.

    Constructing one touches neither network nor database, and two of them in one process share nothing.

    >>> defs = CanvasSync.from_environment({}).definitions()
    """

    def __init__(self, settings: Settings, *, models: Iterable[Model] = BUILT_IN) -> None:
        self.settings = settings
        self.models = tuple(models)

    def __repr__(self) -> str:
        return f"CanvasSync(tenants={[tenant.slug for tenant in self.settings.tenants]})"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, *, directory: Path | None = None) -> CanvasSync:
        """Reads the settings from the environment, `.env` and `canvas_sync.yaml`.

        Raises:
            SettingError: A value is wrong.
        """
        return cls(Settings.from_environment(environ, directory=directory))

    def models_of(self, tenant: TenantSettings) -> tuple[Model, ...]:
        """Returns the models that a tenant's settings ask for."""
        return tuple(model for model in self.models if tenant.wants(model.name))

    def definitions(self) -> dg.Definitions:
        """Makes the assets, jobs and resources of all tenants."""
        return dg.Definitions(
            assets=[asset for tenant in self.settings.tenants for asset in self._assets(tenant)],
            jobs=[job for tenant in self.settings.tenants for job in self._jobs(tenant)],
            resources={
                "code_location": dg.ResourceDefinition.hardcoded_resource(CodeLocation(self.settings, self.models)),
                "sync_options": SyncOptionsResource.configure_at_launch(),
            },
            # Reports are waiting, not computing, and a process per op costs five CPU seconds.
            executor=dg.in_process_executor,
        )

    def _assets(self, tenant: TenantSettings) -> list[dg.AssetsDefinition]:
        models = self.models_of(tenant)
        unscoped = {model.name for model in models if not model.term_scoped}
        lists = [rest_asset(tenant, model, unscoped=unscoped) for model in rest_models(models)]
        return lists + [report_asset(tenant, group, unscoped=unscoped) for group in report_groups(models)]

    def _jobs(self, tenant: TenantSettings) -> list[Any]:
        models = self.models_of(tenant)
        jobs = []
        for suffix, scoped in (("sync_root", False), ("sync_term", True)):
            keys = [dg.AssetKey([tenant.slug, model.name]) for model in models if model.term_scoped is scoped]
            if keys:
                jobs.append(
                    dg.define_asset_job(
                        f"{tenant.slug}__{suffix}",
                        selection=dg.AssetSelection.assets(*keys),
                        tags={"canvas_sync/tenant": tenant.slug, "canvas_sync/genre": tenant.batch_genre},
                    )
                )
        return jobs
