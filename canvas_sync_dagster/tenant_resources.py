"""`CanvasResource` and `WarehouseResource`: Canvas and the tables of a tenant, for the user's own assets."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import dagster as dg
from pydantic import Field, PrivateAttr, ValidationError

from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.sync.session import connect_canvas, database_url
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.connection import transaction

if TYPE_CHECKING:
    from canvas_sync_dagster.canvas.client import Canvas
    from canvas_sync_dagster.sync.project import Project
    from canvas_sync_dagster.warehouse.connection import Connection

SECRET: dict[str, Any] = {"dagster__is_secret": True}
"""Marks a field for Dagster."""
EXTERNAL = "external"
"""Slug of the tenant that the fields of a resource describe if it belongs to no code location."""


class TenantResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """What both resources share: the fields that are set replace settings of the tenants."""

    SECRETS: ClassVar[tuple[str, ...]]
    _project: Project | None = PrivateAttr(None)
    _hidden: dg.ResourceDefinition | None = PrivateAttr(None)

    @classmethod
    def of(cls, project: Project) -> Self:
        """Return the resource of a code location, which answers for its tenants."""
        made = cls()
        made._project = project
        return made

    def get_resource_definition(self) -> Any:
        """Return Dagster's definition of this resource.

        A configurable resource shows its fields in the launchpad and in every snapshot, with their values. The resource of
        a code location has nothing to show there, and plain secrets must not be shown: both get a definition without fields.
        """
        plain = [name for name in self.SECRETS if type(getattr(self, name)) is str]
        if self._project is None and not plain:
            return super().get_resource_definition()
        if self._hidden is None:
            # Each job's snapshot repeats the description, for each tenant.
            summary = str(type(self).__doc__).partition("\n")[0]
            self._hidden = dg.ResourceDefinition.hardcoded_resource(self, description=summary)
        return self._hidden

    def applied(self, project: Project) -> Project:
        """Return a project whose tenants have the settings that are fields of this resource.

        Raises:
            SettingError: A value is wrong, or a variable of the environment that a field names is not set.
        """
        changed = self._settings()
        if not changed:
            return project
        tenants = tuple(tenant.model_copy(update=changed) for tenant in project.settings.tenants)
        return replace(project, settings=project.settings.model_copy(update={"tenants": tenants}))

    def _settings(self) -> dict[str, Any]:
        """Return the settings that are set, validated like those of a tenant."""
        given = {name: self._value(name) for name in type(self).model_fields if getattr(self, name) is not None}
        if not given:
            return {}
        try:
            tenant = TenantSettings.model_validate({"slug": EXTERNAL, **_by_alias(given)})
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            name = str(first["loc"][0])
            allowed = next(
                field.description for key, field in TenantSettings.model_fields.items() if name in {key, field.alias}
            )
            raise SettingError(f"{type(self).__name__}.{name}", first["msg"], allowed=str(allowed)) from None
        return {name: getattr(tenant, name) for name in given}

    def _value(self, name: str) -> str:
        """Return the value of a field. Dagster resolves variables of the environment only within runs."""
        value = getattr(self, name)
        if not isinstance(value, dg.EnvVar):
            return str(value)
        found = value.get_value()
        if found is None:
            where = f"{type(self).__name__}.{name}"
            raise SettingError(value.env_var_name, f"is not set, but {where} names it", allowed="a value")
        return found

    @abstractmethod
    def _missing(self) -> str:
        """Return what a resource without code location needs."""

    def _tenant(self, slug: str | None) -> tuple[Project | None, TenantSettings]:
        if self._project is not None:
            return self._project, self._project.settings.tenant(slug)
        settings = self._settings()
        if not settings:
            problem = "it has no fields, and belongs to no code location of CanvasSync"
            raise SettingError(type(self).__name__, problem, allowed=self._missing())
        return None, TenantSettings(slug=EXTERNAL).model_copy(update=settings)


def _by_alias(given: dict[str, str]) -> dict[str, str]:
    return {TenantSettings.model_fields[name].alias or name: value for name, value in given.items()}


class CanvasResource(TenantResource):
    """Canvas of a tenant: without fields that of the code location's settings, with fields the one that they name.

    Attributes:
        base_url: URL, such as `https://school.instructure.com`.
        token: Access token; use `EnvVar`.
        account_id: Account that replaces `{account_id}` in paths; `self` by default.
    """

    SECRETS = ("token",)
    base_url: str | None = Field(default=None, description="a URL such as https://school.instructure.com")
    token: str | None = Field(
        default=None, description="a Canvas access token; use EnvVar", repr=False, json_schema_extra=SECRET
    )
    account_id: str | None = Field(default=None, description="self, digits, or sis_account_id:…")

    def client(self, tenant: str | None = None) -> Canvas:
        """Return a client of Canvas; use it in a `with` statement, which closes it.

        Args:
            tenant: Slug of the tenant; may be omitted if there is only one. A resource with fields has a single Canvas and
                ignores it.

        Raises:
            SettingError: The tenant does not exist, or has no address or no token.
        """
        project, settings = self._tenant(tenant)
        for name in ("base_url", "token"):
            if project is None and getattr(settings, name) is None:
                raise SettingError(f"CanvasResource.{name}", "is not set", allowed=self._missing())
        return connect_canvas(settings, project.extensions if project else None)

    def applied(self, project: Project) -> Project:
        """Return a project whose tenants are on the Canvas of this resource.

        The project's `client` function is removed if a field is set: it would return a client of another Canvas.
        """
        changed = super().applied(project)
        if changed is project:
            return project
        return replace(changed, extensions=replace(changed.extensions, client=None))

    def _missing(self) -> str:
        return "CanvasResource(base_url=…, token=EnvVar(…)), or the resource `canvas` of your CanvasSync"


class WarehouseResource(TenantResource):
    """Tables of a tenant: without fields those of the code location's settings, with fields those that they name.

    Attributes:
        database_url: `postgresql://user:password@host:5432/db`; use `EnvVar`.
        schema_name: Schema of the tables.
    """

    SECRETS = ("database_url",)
    database_url: str | None = Field(
        default=None,
        description="postgresql://user:password@host:5432/db; use EnvVar",
        repr=False,
        json_schema_extra=SECRET,
    )
    schema_name: str | None = Field(default=None, description="schema of the tables")

    @contextmanager
    def connect(self, tenant: str | None = None) -> Iterator[Connection]:
        """Open a transaction in the tenant's schema; leaving the `with` commits, an exception rolls back.

        Names of tables without a schema are those of the tenant: the search path is its schema, then `public`.

        Args:
            tenant: Slug of the tenant; may be omitted if there is only one. A resource with fields has a single schema and
                ignores it.

        Yields:
            A psycopg connection.

        Raises:
            SettingError: The tenant does not exist, or its database is not configured.
            CanvasSyncError: The database cannot be reached.
        """
        url, schema = self._place(tenant)
        with transaction(url, "using the warehouse") as connection:
            if schema:
                connection.execute("select set_config('search_path', quote_ident(%s) || ', public', true)", [schema])
            yield connection

    def _place(self, tenant: str | None) -> tuple[str, str | None]:
        """Return the URL of the database and the schema."""
        project, settings = self._tenant(tenant)
        if project is not None:
            return database_url(project.settings, settings), settings.schema_in_database
        if settings.database_url is None:
            raise SettingError("WarehouseResource.database_url", "is not set", allowed=self._missing())
        return settings.database_url.get_secret_value(), settings.schema_name

    def _missing(self) -> str:
        return "WarehouseResource(database_url=EnvVar(…)), or the resource `canvas_warehouse` of your CanvasSync"
