"""All settings of a code location: shared ones, tenants and mappings.

A wrong value raises one `SettingError`, which names the setting as the user wrote it, its value, and what is allowed.
Secrets appear neither in errors nor in any `repr`. Precedence: environment, `.env`, file, default.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError, model_validator

from canvas_sync_dagster.catalogue import BUILT_IN, Model
from canvas_sync_dagster.catalogue.overrides import MappingOverride, refuse_shared_tables, with_legacy_ids
from canvas_sync_dagster.configuration.environment import PREFIX, read_variables
from canvas_sync_dagster.configuration.files import (
    configuration_file,
    directory_for,
    gem_mappings,
    legacy_ids_in,
    mappings_in,
    read_content,
    tenants_in,
)
from canvas_sync_dagster.configuration.interpolation import without_unset_tokens
from canvas_sync_dagster.configuration.setting_errors import translation_error
from canvas_sync_dagster.configuration.shared_settings import SharedSettings, read_shared_settings
from canvas_sync_dagster.configuration.tenant_reading import (
    Place,
    read_tenants,
    refuse_shared_schema,
    tenant_given_in_python,
)
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.tenants import BrokenTenant, TenantSettings
from canvas_sync_dagster.translation_settings import Translation


class Settings(SharedSettings):
    """All tenants of a code location, and the settings that they share.

    Attributes:
        mappings: Changes of models' tables, in the order in which they apply.
        legacy_ids: Whether keys have the names of the gem's old mappings.
        tenants: Tenants with valid settings.
        broken: Tenants that are left out because of a wrong value.
    """

    mappings: tuple[MappingOverride, ...] = ()
    legacy_ids: bool = False
    tenants: tuple[TenantSettings, ...] = ()
    broken: tuple[BrokenTenant, ...] = ()

    @model_validator(mode="after")
    def _apart(self) -> Settings:
        taken: dict[Place, str] = {}
        for tenant in self.tenants:
            refuse_shared_schema(tenant, taken, f"tenants.{tenant.slug}")
        return self

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] | None = None, *, directory: Path | None = None, needs_tokens: bool = True
    ) -> Settings:
        """Read the environment, `.env` and, if it exists, the file.

        If one of several tenants has a wrong value, it is left out and listed in `broken`.

        Args:
            environ: Environment variables; `os.environ` by default.
            directory: Directory of `.env` and `canvas_sync.yaml`; the working directory by default.
            needs_tokens: Whether the variables of tokens in the file must be set. The receiver works without tokens.

        Returns:
            The validated settings.

        Raises:
            SettingError: A shared setting is wrong, or no tenant is valid.
        """
        directory = directory or Path.cwd()
        variables = read_variables(environ, directory)
        file = configuration_file(variables, directory)
        content = read_content(file)
        if not needs_tokens:
            content = without_unset_tokens(content, variables)
        return cls._of(content, variables, directory, file)

    @classmethod
    def from_content(
        cls, content: Mapping[str, Any], environ: Mapping[str, str] | None = None, *, source: Path
    ) -> Settings:
        """Read content that replaces the file, such as a component's attributes; the environment takes precedence.

        Args:
            content: `tenants`, `alerts`, `mappings` and `legacy_ids`, in the form of `canvas_sync.yaml`.
            environ: Environment variables; `os.environ` by default.
            source: File that messages name. `.env` is read from the working directory.

        Returns:
            The validated settings.

        Raises:
            SettingError: A value is wrong.
        """
        return cls._of(content, read_variables(environ, Path.cwd()), Path.cwd(), source)

    @classmethod
    def of_tenants(cls, tenants: Iterable[TenantSettings | Mapping[str, Any]]) -> Settings:
        """Build settings from tenants given in Python; shared settings come from the environment.

        Args:
            tenants: Validated settings, or mappings with the same names.

        Returns:
            The validated settings.

        Raises:
            SettingError: A value is wrong, or two tenants have the same slug.
        """
        made = tuple(map(tenant_given_in_python, tenants))
        slugs = [each.slug for each in made]
        if twice := sorted({slug for slug in slugs if slugs.count(slug) > 1}):
            raise SettingError(
                "tenants", "two tenants have this slug", allowed="a different slug for each tenant", value=twice[0]
            )
        fields = {f"{PREFIX}{name.upper()}" for name in TenantSettings.model_fields}
        shared = {name: value for name, value in read_variables(None, Path.cwd()).items() if name not in fields}
        whole = cls._of({}, shared, Path.cwd(), Path("tenants"))
        return whole.model_copy(update={"tenants": made})

    @classmethod
    def _of(cls, content: Mapping[str, Any], variables: Mapping[str, str], directory: Path, file: Path) -> Settings:
        tenants, broken = read_tenants(tenants_in(content, file), variables, file, content.get("alerts"))
        return cls(
            **dict(read_shared_settings(variables, directory)),
            tenants=tenants,
            broken=broken,
            mappings=(*gem_mappings(directory), *mappings_in(content, file.name)),
            legacy_ids=legacy_ids_in(content, file.name),
        )

    @classmethod
    def from_file(cls, path: Path, environ: Mapping[str, str] | None = None) -> Settings:
        """Read a file; the environment takes precedence.

        `.env` and a relative `CANVAS_SYNC_HOME` are in the directory of the file. If that is a Python package, they are in
        the directory of its project: the nearest one above with a `pyproject.toml`, or else the working directory.

        Args:
            path: The YAML file.
            environ: Environment variables; `os.environ` by default.

        Returns:
            The validated settings.

        Raises:
            SettingError: A value is wrong.
        """
        variables = dict(os.environ if environ is None else environ)
        path = path.resolve()
        return cls.from_environment({**variables, f"{PREFIX}CONFIG": str(path)}, directory=directory_for(path))

    def with_translation(self, given: Mapping[str, Any], where: str) -> Settings:
        """Return the settings with a translation for all tenants; what a tenant has in its own takes precedence.

        Args:
            given: Attributes of assets, in the form of `translation` of a tenant.
            where: Place of the setting, for messages, such as `defs.yaml: translation`.

        Raises:
            SettingError: An attribute is wrong.
        """
        try:
            shared = Translation.model_validate(given)
        except ValidationError as error:
            raise translation_error(where, error.errors()[0], given) from None
        update = [
            tenant.model_copy(update={"translation": shared.below(tenant.translation)}) for tenant in self.tenants
        ]
        return self.model_copy(update={"tenants": tuple(update)})

    def models(self) -> tuple[Model, ...]:
        """Return the built-in models with the mappings of the files applied.

        Raises:
            SettingError: A mapping names an unknown column or model.
        """
        found = [with_legacy_ids(model) if self.legacy_ids else model for model in BUILT_IN]
        for mapping in self.mappings:
            found = [mapping.applied(model) if model.name == mapping.model else model for model in found]
        refuse_shared_tables(found)
        return tuple(found)

    def tenant(self, slug: str | None = None) -> TenantSettings:
        """Return the settings of one tenant.

        Args:
            slug: Slug of the tenant; may be omitted if there is only one.

        Raises:
            SettingError: The slug is unknown or missing, or a setting of the tenant is wrong.
        """
        for each in self.broken:
            if each.slug == slug:
                raise each.error
        known = ", ".join(tenant.slug for tenant in self.tenants)
        found = [tenant for tenant in self.tenants if slug in {None, tenant.slug}]
        if len(found) != 1:
            problem = "several tenants are configured; specify one" if slug is None else "unknown tenant"
            raise SettingError("--tenant", problem, allowed=known, value=slug)
        return found[0]
