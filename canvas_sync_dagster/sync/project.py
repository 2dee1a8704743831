"""`Project`: a code location as immutable data, computed once from what a `CanvasSync` has collected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import SecretStr

from canvas_sync_dagster.catalogue import BUILT_IN, Model
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.sync.chain import Chain
from canvas_sync_dagster.sync.extensions import Extensions
from canvas_sync_dagster.sync.session import Session, open_session
from canvas_sync_dagster.tenants import TenantSettings

TEST_POLL_SECONDS = 0.05
"""Longest pause between two looks at a report of a simulated Canvas, which compiles in about 0.02 seconds."""


@dataclass(frozen=True, slots=True)
class Project:
    """Everything that a code location consists of. It needs neither Dagster nor network nor database.

    Attributes:
        settings: Settings with the tenants.
        models: All models, with their mappings.
        chain: Models, custom reports and inserted steps, with what comes before each. It always has `terms`.
        extensions: The user's functions.
    """

    settings: Settings
    models: tuple[Model, ...]
    chain: Chain
    extensions: Extensions

    @property
    def custom_steps(self) -> tuple[str, ...]:
        """Names of the custom reports and inserted steps."""
        return (*self.chain.reports, *self.chain.insertions)

    def models_of(self, tenant: TenantSettings) -> tuple[Model, ...]:
        """Return the models that a tenant syncs: those of its settings, and all custom ones.

        Columns that the tenant excludes or hashes are changed accordingly.

        `terms` is among them whenever a part of the sync runs per term, because the terms are the partitions.
        """
        chosen = tenant.chosen(self.models)
        if self._any_per_term(chosen) and all(model.name != "terms" for model in chosen):
            return (tenant.adapted(self.chain.models["terms"]), *chosen)
        return chosen

    def names_of(self, tenant: TenantSettings) -> tuple[str, ...]:
        """Return the names of all models, custom reports and inserted steps that a tenant syncs."""
        return (*(model.name for model in self.models_of(tenant)), *self.custom_steps)

    def is_per_term(self, tenant: TenantSettings) -> bool:
        """Return whether a part of a tenant's sync runs once for each term."""
        return self._any_per_term(self.models_of(tenant))

    def _any_per_term(self, models: Iterable[Model]) -> bool:
        return any(map(self.chain.is_per_term, [*(model.name for model in models), *self.custom_steps]))

    def assets_of(self, tenant: TenantSettings, genre: str, *, per_term: bool) -> tuple[str, ...]:
        """Return the names of the assets that a sync materializes.

        Args:
            tenant: Tenant of the sync.
            genre: Genre of the sync; one that the settings do not declare covers everything.
            per_term: True for the assets of each term run, False for those of the root run. The steps at the end of a
                batch are in neither.
        """
        names = self.names_of(tenant)
        chosen = self.chain.of_genre(tenant.genres[genre], names) if genre in tenant.genres else names
        at_end = self.chain.at("end")
        return tuple(
            name for name in names if name in chosen and name not in at_end and self.chain.is_per_term(name) is per_term
        )

    def session(self, tenant: TenantSettings) -> AbstractContextManager[Session]:
        """Open a tenant's Canvas and database for the length of a `with`.

        Raises:
            SettingError: The tenant has no address or no token.
        """
        return open_session(self.settings, tenant, self.models_of(tenant), self.extensions)

    def redirected(self, *, base_url: str, token: str, database_url: str, home: Path) -> Project:
        """Return the same project with all tenants on another Canvas and database, as tests need it.

        Its `client` function is removed: it would return the client of the real Canvas.

        Args:
            base_url: URL of the Canvas.
            token: Access token of the Canvas.
            database_url: URL of the database.
            home: Directory for downloads.
        """
        place = {"base_url": base_url, "token": SecretStr(token), "database_url": SecretStr(database_url)}
        update = {**place, "poll_seconds": TEST_POLL_SECONDS}
        tenants = tuple(tenant.model_copy(update=update) for tenant in self.settings.tenants)
        settings = self.settings.model_copy(update={"tenants": tenants, "home": home})
        return replace(self, settings=settings, extensions=replace(self.extensions, client=None))

    def validate(self) -> None:
        """Check what can be checked only once everything is registered.

        Raises:
            SettingError: A step cannot run where it was put, `sync.api` names a column that the table lacks, or a genre
                names a step that does not exist.
        """
        self.chain.refuse_impossible()
        for error in (*self._unknown_api_columns(), *self._unknown_genre_steps()):
            raise error

    def _unknown_api_columns(self) -> Iterator[SettingError]:
        models = {model.name: model for model in self.models}
        for name, override in self.extensions.api.items():
            columns = [column.name for column in models[name].columns]
            for column in override.columns:
                if column not in columns:
                    allowed = ", ".join(columns)
                    yield SettingError(f"api of {name}", "unknown column", allowed=allowed, value=column)

    def _unknown_genre_steps(self) -> Iterator[SettingError]:
        built_in = {model.name for model in BUILT_IN}
        steps = [name for name in self.chain.names if name not in built_in]
        allowed = ", ".join(steps) or "nothing: this code location has no custom steps"
        for tenant in self.settings.tenants:
            for name, genre in tenant.genres.items():
                where = f"tenants.{tenant.slug}.genres.{name}.steps"
                for step in genre.steps:
                    if step not in steps:
                        yield SettingError(where, "unknown step", allowed=allowed, value=step)
