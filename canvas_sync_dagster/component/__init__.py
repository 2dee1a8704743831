"""`CanvasSyncComponent`: the same code location in YAML, for projects made by `dg`."""

from collections.abc import Mapping
from types import GenericAlias
from typing import Any

import dagster as dg
from pydantic import create_model

from canvas_sync_dagster.component.attributes import attribute, attributes_of, shape_of
from canvas_sync_dagster.component.scaffolder import CanvasSyncScaffolder
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.project.builder import CanvasSync
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.tenants import SLUG_RULE, TenantSettings

SHARED = ("tenant", "tenants", "mappings", "legacy_ids")


class _Attributes(dg.Model, dg.Resolvable):
    tenant: attribute(str, f"Slug of the only tenant: {SLUG_RULE}", ["school"]) = "canvas"  # type: ignore[valid-type]
    tenants: attribute(  # type: ignore[valid-type]
        GenericAlias(dict, (str, shape_of(TenantSettings, without=("slug",)))),
        "Several tenants: slug → settings, in place of `tenant` and its settings",
        [{"north": {"base_url": "https://north.instructure.com", "token": "{{ env.NORTH_TOKEN }}"}}],
    ) = None
    mappings: attribute(  # type: ignore[valid-type]
        dict[str, dict[str, Any]],
        "Model → mapping, as in canvas_sync.yaml",
        [{"users": {"columns": {"pronouns": {"name": "pronouns", "type": "text"}}}}],
    ) = None
    legacy_ids: attribute(bool, "true names keys as in the gem's oldest tables", [False]) = False  # type: ignore[valid-type]


_WithSettings: type[_Attributes] = create_model(
    "_WithSettings", __base__=_Attributes, **attributes_of(TenantSettings, without=("slug",))
)


@dg.scaffold_with(CanvasSyncScaffolder)
class CanvasSyncComponent(dg.Component, _WithSettings):
    """Sync Canvas to PostgreSQL: assets, checks, schedules and sensors of all tenants.

    Write the settings of one tenant directly, or those of several under `tenants`. Without any of them, the environment and
    `canvas_sync.yaml` define the tenants, as in the built-in location. Variables of the environment take precedence.
    `translation` next to `tenants` applies to all of them; what a tenant has in its own takes precedence.
    """

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Build the definitions, without access to network or database.

        Raises:
            SettingError: A value is wrong, or the project contains another CanvasSyncComponent.
        """
        _refuse_several(context)
        return self.canvas_sync(context).definitions()

    def canvas_sync(self, context: dg.ComponentLoadContext) -> CanvasSync:
        """Return the `CanvasSync` of the component; a subclass may register functions with it.

        Raises:
            SettingError: A value is wrong.
        """
        given = self._given()
        # Without settings of a single tenant, it applies to all tenants, also to those of the environment.
        shared = given.pop("translation", {}) if "tenants" in given or given.keys() <= {"translation"} else {}
        settings = self._settings(given, context)
        return CanvasSync(settings.with_translation(shared, "defs.yaml: translation") if shared else settings)

    def _settings(self, given: Mapping[str, Any], context: dg.ComponentLoadContext) -> Settings:
        if not given:
            return Settings.from_environment()
        content = self._content(given)
        try:
            return Settings.from_content(content, source=context.path / "defs.yaml")
        except SettingError as error:
            raise error if "tenants" in given else error.renamed(f"tenants.{self.tenant}.", "") from None

    def _given(self) -> dict[str, Any]:
        """Return the attributes in the YAML. One that is null counts as missing, like a variable that is not set."""
        fields = type(self).model_fields
        values = {name: getattr(self, name) for name in fields if name in self.model_fields_set}
        return {fields[name].alias or name: value for name, value in values.items() if value is not None}

    def _content(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the attributes in the form of `canvas_sync.yaml`."""
        shared = {name: value for name, value in given.items() if name in {"mappings", "legacy_ids"}}
        own = {name: value for name, value in given.items() if name not in SHARED}
        if "tenants" not in given:
            return {"tenants": {self.tenant: own}, **shared} if own or "tenant" in given else shared
        if own or "tenant" in given:
            allowed = "tenants with the settings of each, or the settings of one tenant"
            where = ", ".join(each for each in given if each in {"tenant", *own})
            raise SettingError("defs.yaml: tenants", f"{where} cannot be combined with tenants", allowed=allowed)
        tenants = {slug: _without_null(values) for slug, values in given["tenants"].items()}
        return {"tenants": tenants, **shared}


def _without_null(values: Any) -> Any:
    return (
        {name: value for name, value in values.items() if value is not None} if isinstance(values, Mapping) else values
    )


def _refuse_several(context: dg.ComponentLoadContext) -> None:
    """Two components would define the same resources and sensors; Dagster's error names only the first of these."""
    found = context.component_tree.get_all_components(of_type=CanvasSyncComponent)
    if len(found) > 1:
        raise SettingError(
            "defs.yaml",
            f"the project contains several CanvasSyncComponents: {len(found)}",
            allowed="one component; write several tenants under `tenants` of it",
        )
