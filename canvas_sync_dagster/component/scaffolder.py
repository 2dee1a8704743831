"""Scaffolder of the component: `dg scaffold defs canvas_sync_dagster.CanvasSyncComponent school --base-url …`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import dagster as dg
from pydantic import BaseModel, Field

from canvas_sync_dagster.catalogue import with_carriers
from canvas_sync_dagster.dagster_yaml import NAME, flow, instance_file, read_settings, unmet
from canvas_sync_dagster.tenants import SLUG, TenantSettings

ENVIRONMENT = ".env.example"


class ScaffoldParams(BaseModel):
    """Options of `dg scaffold defs`."""

    base_url: str | None = Field(
        None,
        description="Address of your Canvas, such as https://school.instructure.com; CANVAS_SYNC_BASE_URL by default.",
    )
    tenant: str | None = Field(
        None, description="Slug of the tenant, prefix of its assets; the name of the folder by default."
    )
    models: str | None = Field(None, description="Comma-separated list of models; all by default.")
    token_variable: str = Field("CANVAS_SYNC_TOKEN", description="Environment variable of the access token.")


class CanvasSyncScaffolder(dg.Scaffolder[ScaffoldParams]):
    """Write `defs.yaml`, and what else the project needs; report what only the user can change."""

    @classmethod
    def get_scaffold_params(cls) -> type[ScaffoldParams]:
        """Return the model of the options."""
        return ScaffoldParams

    def scaffold(self, request: dg.ScaffoldRequest[ScaffoldParams]) -> None:
        """Write the files of a component.

        Raises:
            click.UsageError: An option has a wrong value.
        """
        attributes = _checked(_attributes(request))
        dg.scaffold_component(request, attributes)
        if request.project_root is None:
            return
        for line in (*_environment(request), *_instance(request.project_root)):
            click.echo(line)
        click.echo(
            f"Next: set {request.params.token_variable} in .env, then run `canvas-sync doctor` and `dg check defs`."
        )


def _attributes(request: dg.ScaffoldRequest[ScaffoldParams]) -> dict[str, Any]:
    given, folder = request.params, request.target_path.name
    attributes: dict[str, Any] = {
        "tenant": given.tenant or (folder if SLUG.fullmatch(folder) else "canvas"),
        "base_url": given.base_url or "{{ env.CANVAS_SYNC_BASE_URL }}",
        "token": f"{{{{ env.{given.token_variable} }}}}",
    }
    if given.models:
        attributes["models"] = list(with_carriers(name.strip() for name in given.models.split(",") if name.strip()))
    return attributes


def _checked(attributes: dict[str, Any]) -> dict[str, Any]:
    """Refuse wrong options before a file is written."""
    values = {name: value for name, value in attributes.items() if name != "tenant" and "{{" not in str(value)}
    try:
        TenantSettings.model_validate({**values, "slug": attributes["tenant"]})
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return attributes


def _environment(request: dg.ScaffoldRequest[ScaffoldParams]) -> list[str]:
    """Add the variable of the token to `.env.example`."""
    assert request.project_root is not None  # noqa: S101 (checked by the caller)
    file, variable = request.project_root / ENVIRONMENT, request.params.token_variable
    present = file.read_text(encoding="utf-8") if file.is_file() else ""
    if any(line.startswith(f"{variable}=") for line in present.splitlines()):
        return []
    lines = present + ("\n" if present and not present.endswith("\n") else "")
    file.write_text(f"{lines}# Access token of a Canvas admin.\n{variable}=\n", encoding="utf-8")
    return [f"{file} names {variable}."]


def _instance(root: Path) -> list[str]:
    """Write a `dagster.yaml` with pools, monitoring and retries, or name what an existing one lacks."""
    file = root / NAME
    if not file.is_file():
        file.write_text(instance_file(storage=False), encoding="utf-8")
        return [f"{file} limits reports and restarts lost runs; Dagster reads it where DAGSTER_HOME points to."]
    settings = read_settings(file)
    return [f"{file}: set {each.path} to {flow(each.value)}; otherwise {each.otherwise}." for each in unmet(settings)]
