"""Describes each asset of a tenant for the translator: its default specification, with the tenant's YAML applied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import dagster as dg

from canvas_sync_dagster.assets.attributes import with_attributes
from canvas_sync_dagster.assets.lineage import column_lineage, sources_of
from canvas_sync_dagster.assets.specs import custom_spec, model_spec
from canvas_sync_dagster.assets.translation import CanvasAsset
from canvas_sync_dagster.catalogue import Domain, Model
from canvas_sync_dagster.sync.project import Project
from canvas_sync_dagster.tenants import TenantSettings


@dataclass(frozen=True, slots=True)
class AssetDescriptions:
    """The descriptions of a tenant's assets.

    Attributes:
        project: The code location.
        tenant: Settings of the tenant.
        models: The models that it syncs.
        upstream: Name of an asset → names of its upstream assets.
        database: Name of its database; None if it is not known without connecting.
    """

    project: Project
    tenant: TenantSettings
    models: tuple[Model, ...]
    upstream: Mapping[str, Sequence[str]]
    database: str | None

    def of(self, name: str, keys: Mapping[str, dg.AssetKey]) -> CanvasAsset:
        """Return the description of a model, custom report or step.

        Args:
            name: Its name.
            keys: Name → translated key, of all upstream assets at least.
        """
        chain, slug = self.project.chain, self.tenant.slug
        model = chain.models.get(name)
        kind: Literal["model", "report", "step"] = "model" if model else "report" if name in chain.reports else "step"
        domain = model.domain if model else Domain.CUSTOM
        table = self._table(model) if model else None
        spec = self._model_spec(model, keys) if model else self._custom_spec(name, keys)
        spec = with_attributes(spec, self.tenant, name, domain)
        return CanvasAsset(slug, name, kind, domain, chain.is_per_term(name), model, table, spec)

    def _model_spec(self, model: Model, keys: Mapping[str, dg.AssetKey]) -> dg.AssetSpec:
        lineage = column_lineage(sources_of(model, self.models), lambda table: self._key(table, keys))
        deps, group, table = self._deps(model.name, keys), self._group(model.domain), self._table(model)
        terms = self._key("terms", keys)
        return model_spec(self.tenant, model, deps, terms=terms, group=group, table=table, lineage=lineage)

    def _custom_spec(self, name: str, keys: Mapping[str, dg.AssetKey]) -> dg.AssetSpec:
        chain = self.project.chain
        function = chain.reports[name].processor if name in chain.reports else chain.insertions[name].function
        deps, group, per_term = self._deps(name, keys), self._group(Domain.CUSTOM), chain.is_per_term(name)
        return custom_spec(self.tenant, name, deps, function.__doc__, group=group, per_term=per_term)

    def _deps(self, name: str, keys: Mapping[str, dg.AssetKey]) -> list[dg.AssetKey]:
        return [keys[each] for each in self.upstream.get(name, ())]

    def _key(self, table: str, keys: Mapping[str, dg.AssetKey]) -> dg.AssetKey:
        """Return the key of a source of columns. A second table of a report is no asset and has the key of one."""
        return keys[table] if table in keys else dg.AssetKey(self.tenant.translation.key_of(self.tenant.slug, table))

    def _group(self, domain: Domain) -> str:
        settings = self.project.settings
        alone = len(settings.tenants) + len(settings.broken) == 1
        return domain.value if alone else f"{self.tenant.slug}/{domain.value}"

    def _table(self, model: Model) -> str:
        parts = (self.database, self.tenant.schema_in_database, model.table)
        # Dagster compares the names of dbt's and Sling's tables in lower case, too.
        return ".".join(part for part in parts if part).lower()
