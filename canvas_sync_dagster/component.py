"""`CanvasSyncComponent`: the same code location in YAML, for projects made by `dg`."""

from __future__ import annotations

from typing import Any

import dagster as dg
from pydantic import Field, create_model

from canvas_sync_dagster.project.builder import CanvasSync
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.tenants import TenantSettings

Value = str | int | float | bool | list[str] | dict[str, Any] | None
"""Types of values in YAML. `TenantSettings` validates them, so that a wrong value gets the same message everywhere."""


class _Attributes(dg.Model, dg.Resolvable):
    pass


_FIELDS: dict[str, Any] = {
    name: (Value, Field(None, alias=field.alias, description=field.description))
    for name, field in TenantSettings.model_fields.items()
    if name != "slug"
}
TenantAttributes = create_model("TenantAttributes", __base__=_Attributes, **_FIELDS)


class CanvasSyncComponent(dg.Component, dg.Model, dg.Resolvable):
    """Sync Canvas to PostgreSQL: assets, checks, schedules and sensors of all tenants.

    Without `tenants`, the environment and `canvas_sync.yaml` define the tenants, as in the built-in location.
    """

    tenants: dict[str, TenantAttributes] | None = Field(
        None, description="slug → settings of the tenant; write secrets as ${NAME} or {{ env.NAME }}"
    )
    mappings: dict[str, dict[str, Any]] | None = Field(None, description="model → mapping, as in canvas_sync.yaml")
    legacy_ids: bool = Field(False, description="true names keys as in the gem's oldest tables")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build the definitions, without access to network or database.

        Raises:
            SettingError: A value is wrong.
        """
        return self.canvas_sync(context).definitions()

    def canvas_sync(self, context: dg.ComponentLoadContext) -> CanvasSync:
        """Return the `CanvasSync` of the component; a subclass may register functions with it.

        Raises:
            SettingError: A value is wrong.
        """
        if self.tenants is None and self.mappings is None and not self.legacy_ids:
            return CanvasSync.from_environment()
        content = self.model_dump(by_alias=True, exclude_unset=True, exclude_none=True)
        return CanvasSync(Settings.from_content(content, source=context.path / "defs.yaml"))
