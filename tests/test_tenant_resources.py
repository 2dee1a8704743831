"""`CanvasResource` and `WarehouseResource`: for assets of the user, in place of ours, and without a secret in sight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster_shared.serdes import serialize_value
from pydantic import SecretStr

from canvas_sync_dagster import CanvasResource, CanvasSync, Settings, TenantSettings, WarehouseResource
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.simulator import SimulatedCanvas
from tests.fix_canvas import tenant_of

TOKEN, PASSWORD = "token-4711-of-canvas", "password-4711-of-postgres"
NOWHERE = {
    "base_url": "http://127.0.0.1:9",
    "token": "unused",
    "database_url": SecretStr("postgresql:///?host=/nowhere"),
}


def sync_of(home: Path, *tenants: TenantSettings) -> CanvasSync:
    return CanvasSync(Settings(home=home, tenants=tenants))


def nowhere(slug: str = "canvas") -> TenantSettings:
    """A tenant whose Canvas and database do not answer."""
    return TenantSettings.model_validate({"slug": slug, "models": "terms,accounts", **NOWHERE})


@dg.asset
def role_names(canvas: CanvasResource, canvas_warehouse: WarehouseResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    with canvas.client() as client:
        roles = list(client.get_list("/accounts/{account_id}/roles"))
    with canvas_warehouse.connect() as connection:
        connection.execute("create table role_names as select %s::int as roles", [len(roles)])
    return dg.MaterializeResult(metadata={"roles": len(roles)})


def test_an_asset_of_the_user_works_on_the_tenant_of_the_settings(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("create schema school")
    definitions = sync_of(tmp_path, tenant_of(canvas, database_url, slug="school")).definitions(
        dg.Definitions(assets=[role_names], jobs=[dg.define_asset_job("roles", selection=[role_names])])
    )
    done = definitions.resolve_job_def("roles").execute_in_process()
    (made,) = done.get_asset_materialization_events()
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("select roles from school.role_names").fetchall()
    assert rows == [(made.materialization.metadata["roles"].value,)]
    assert rows[0][0] > 0


def test_resources_that_replace_ours_change_what_our_ops_use(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    definitions = sync_of(tmp_path, nowhere()).definitions()
    monkeypatch.setenv("OTHER_CANVAS", canvas.token)
    replaced = {
        "canvas": CanvasResource(base_url=canvas.base_url, token=dg.EnvVar("OTHER_CANVAS")),
        "canvas_warehouse": WarehouseResource(database_url=database_url, schema_name="other"),
    }
    assets = [each for each in definitions.assets or () if isinstance(each, dg.AssetsDefinition)]
    resources: dict[str, Any] = {**(definitions.resources or {}), **replaced}
    done = dg.materialize(assets, selection=["canvas/accounts"], resources=resources)
    assert done.success
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select count(*) > 0 from other.accounts").fetchone() == (True,)


def test_replacements_among_merged_definitions_are_used_by_sensors_too(
    canvas: SimulatedCanvas, migrated_url: str, tmp_path: Path
) -> None:
    mine = dg.Definitions(
        resources={
            "canvas": CanvasResource(base_url=canvas.base_url, token=canvas.token),
            "canvas_warehouse": WarehouseResource(database_url=migrated_url),
        }
    )
    definitions = sync_of(tmp_path, nowhere()).definitions(mine)
    dg.Definitions.validate_loadable(definitions)
    (sensor,) = [each for each in definitions.sensors or () if each.name.endswith("live_events")]
    with dg.DagsterInstance.ephemeral() as instance:
        tick = sensor.evaluate_tick(dg.build_sensor_context(instance=instance, definitions=definitions))  # type: ignore[union-attr]
    assert "nowhere" not in str(tick.skip_message)


def test_a_resource_of_our_name_and_another_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"'canvas': a resource of this name is already defined"):
        sync_of(tmp_path, nowhere()).definitions(dg.Definitions(resources={"canvas": "mine"}))


def test_with_several_tenants_one_must_be_named(tmp_path: Path) -> None:
    project = sync_of(tmp_path, nowhere("north"), nowhere("south")).project()
    assert CanvasResource.of(project).client("south").base_url == "http://127.0.0.1:9"
    with pytest.raises(SettingError, match="several tenants are configured"):
        CanvasResource.of(project).client()
    with pytest.raises(SettingError, match="unknown tenant"), WarehouseResource.of(project).connect("west"):
        pass


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: CanvasResource().client(), "belongs to no code location"),
        (lambda: CanvasResource(base_url="https://c.example").client(), "CanvasResource.token: is not set"),
        (lambda: CanvasResource(base_url="c.example", token="x").client(), "CanvasResource.base_url"),
        (lambda: CanvasResource(base_url="https://c.example", token="x y").client(), "CanvasResource.token"),
        (lambda: CanvasResource(base_url="https://c.example", token=dg.EnvVar("UNSET")).client(), "UNSET: is not set"),
        (lambda: WarehouseResource(schema_name="a").connect().__enter__(), "WarehouseResource.database_url"),
    ],
)
def test_what_is_missing_or_wrong_is_named(use: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message) as raised:
        use()
    assert "x y" not in str(raised.value)


@pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition.environment_vars`:DeprecationWarning")
def test_secrets_are_in_no_snapshot_and_no_repr(tmp_path: Path) -> None:
    url = f"postgresql://me:{PASSWORD}@db.example:5432/x"
    tenant = TenantSettings.model_validate({"base_url": "https://c.example", "token": TOKEN, "database_url": url})
    plain = CanvasResource(base_url="https://c.example", token=TOKEN)
    named = CanvasResource(base_url="https://c.example", token=dg.EnvVar("MY_TOKEN"))
    tables = WarehouseResource(database_url=url)
    theirs = dg.Definitions(
        resources={"plain": plain, "named": named, "tables": tables},
        jobs=[dg.define_asset_job("my_job", selection=["mine"])],
        assets=[dg.asset(name="mine", required_resource_keys={"plain", "named", "tables"})(lambda: None)],
    )
    repository = sync_of(tmp_path, tenant).definitions(theirs).get_repository_def()
    shown = serialize_value(RepositorySnap.from_def(repository))
    shown += "".join(serialize_value(job.get_job_snapshot()) for job in repository.get_all_jobs())
    assert "MY_TOKEN" in shown
    for text in (
        shown,
        *(f"{each!r} {each}" for each in (plain, tables, *(repository.get_top_level_resources().values()))),
    ):
        assert TOKEN not in text
        assert PASSWORD not in text
