"""The component: what a `defs.yaml` says becomes the same code location."""

from __future__ import annotations

import importlib
from typing import Any

import dagster as dg
import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from dagster.components.testing import create_defs_folder_sandbox

from canvas_sync_dagster import CanvasSyncComponent, TenantSettings
from tests.test_docs import blocks

# Dagster's own reading of YAML uses what pydantic has deprecated, and beta parts of its own.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.parse_obj_as. is deprecated"),
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
]

ATTRIBUTES: dict[str, Any] = {
    "tenants": {
        "north": {"base_url": "https://north.example.edu", "token": "${NORTH_TOKEN}", "models": ["terms", "courses"]},
        "south": {
            "base_url": "https://south.example.edu",
            "token": "{{ env.SOUTH_TOKEN }}",
            "term_concurrency": 2,
            "genres": {"grades": {"schedule": "*/30 * * * *", "models": ["enrollments", "scores"]}},
        },
    },
    "mappings": {"courses": {"columns": {"long_name": "title"}}},
}


def definitions(attributes: dict[str, Any], **more: Any) -> dg.Definitions:
    with create_defs_folder_sandbox() as sandbox:
        path = sandbox.scaffold_component(
            component_cls=CanvasSyncComponent,
            defs_yaml_contents={"type": "canvas_sync_dagster.CanvasSyncComponent", "attributes": attributes, **more},
        )
        with sandbox.load_component_and_build_defs(defs_path=path) as (component, found):
            assert isinstance(component, CanvasSyncComponent)
            return found


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORTH_TOKEN", "7~north")
    monkeypatch.setenv("SOUTH_TOKEN", "7~south")


def test_yaml_makes_the_tenants_assets() -> None:
    found = definitions({"tenants": ATTRIBUTES["tenants"]})
    keys = {key.to_user_string() for key in found.resolve_all_asset_keys()}
    assert {key for key in keys if key.startswith("north/")} == {"north/terms", "north/courses"}
    assert "south/enrollments" in keys
    assert {each.name for each in found.schedules or []} >= {"north__sync", "south__sync", "south__sync__grades"}
    assert "7~" not in repr(found.resources)


def test_mappings_reach_the_tables() -> None:
    found = definitions(ATTRIBUTES)
    courses = next(each for each in found.resolve_all_asset_specs() if each.key == dg.AssetKey(["north", "courses"]))
    schema = courses.metadata["dagster/column_schema"]
    assert "title" in {column.name for column in schema.columns}


def test_a_translation_is_for_one_tenant_or_below_that_of_each() -> None:
    found = definitions({"tenant": "school", "models": "terms,users", "translation": {"key_prefix": "lms"}})
    assert {key.to_user_string() for key in found.resolve_all_asset_keys()} == {"lms/terms", "lms/users"}
    north = {"models": "terms,users", "translation": {"assets": {"users": {"key": "people"}}}}
    shared = {"owners": ["team:lms"], "assets": {"terms": {"automation_condition": {"on_cron": "0 3 * * *"}}}}
    found = definitions({"tenants": {"north": north}, "translation": shared})
    specs = {spec.key.to_user_string(): spec for spec in found.resolve_all_asset_specs()}
    assert specs.keys() == {"north/terms", "people"}
    assert all(spec.owners == ["team:lms"] for spec in specs.values())
    assert specs["north/terms"].automation_condition is not None
    assert "defs.yaml: translation.owners" in problem({"translation": {"owners": ["me"]}})


def test_a_wrong_value_is_named() -> None:
    assert "defs.yaml: tenants.north.term_concurrency" in problem({"tenants": {"north": {"term_concurrency": 1000}}})
    assert "bas_url" in problem({"tenants": {"north": {"bas_url": "https://north.example.edu"}}})


def problem(attributes: dict[str, Any]) -> str:
    with pytest.raises(Exception, match=r"defs\.yaml") as caught:
        definitions(attributes)
    told = list[str]()
    error: BaseException | None = caught.value
    while error is not None:
        told.append(str(error))
        error = error.__cause__
    return "\n".join(told)


def test_dg_finds_the_component() -> None:
    from dagster.components.core.package_entry import get_package_objects_in_module

    found = {name for name, _ in get_package_objects_in_module(importlib.import_module("canvas_sync_dagster"))}
    assert "CanvasSyncComponent" in found


def test_one_tenant_needs_no_nesting() -> None:
    found = definitions({"tenant": "school", "base_url": "https://school.example.edu", "models": "terms,users"})
    assert {key.to_user_string() for key in found.resolve_all_asset_keys()} == {"school/terms", "school/users"}
    assert "defs.yaml: term_concurrency is 1000" in problem({"tenant": "school", "term_concurrency": 1000})
    assert "cannot be combined" in problem({"tenants": {"north": {}}, "token": "7~north"})


def test_the_components_of_the_page_load_and_are_post_processed() -> None:
    written = [yaml.safe_load(each) for each in blocks("docs/start/dg-project.md", "yaml")]
    components = [each for each in written if str(each.get("type", "")).endswith("CanvasSyncComponent")]
    assert len(components) == 2
    for each in components:
        found = definitions(each["attributes"], **{name: each[name] for name in each.keys() & {"post_processing"}})
        users = next(spec for spec in found.resolve_all_asset_specs() if spec.key.path[-1] == "users")
        assert users.owners == (["team:registrar"] if "post_processing" in each else ["team:lms"])


def test_a_variable_that_is_not_set_counts_as_missing() -> None:
    found = definitions({"tenant": "school", "token": "{{ env.NO_SUCH_TOKEN }}", "models": ["terms"]})
    assert {key.to_user_string() for key in found.resolve_all_asset_keys()} == {"school/terms"}


def test_the_schema_has_type_description_and_example_of_every_setting() -> None:
    schema = CanvasSyncComponent.model().model_json_schema()
    for name, field in TenantSettings.model_fields.items():
        if name == "slug":
            continue
        for place in (schema, schema["$defs"]["TenantSettings"]):
            shown = place["properties"][field.alias or name]
            assert shown["description"] == field.description, name
            assert shown["examples"], name
            assert {"type", "anyOf", "enum", "$ref"} & set(shown), name


@pytest.mark.parametrize(
    ("setting", "value", "valid"),
    [
        ("term_concurrency", 4, True),
        ("term_concurrency", "{{ env.NUMBER }}", True),
        ("term_concurrency", "${NUMBER}", True),
        ("term_concurrency", "four", False),
        ("term_concurrency", 1000, False),
        ("provisioning_report", "auto", True),
        ("provisioning_report", "other_csv", False),
        ("models", ["users"], True),
        ("models", "users,terms", True),
        ("models", 7, False),
        ("stale_after", "1 day", True),
        ("stale_after", 1, False),
        ("genres", {"grades": {"schedule": "@daily"}}, True),
        ("genres", {"grades": {"schedul": "@daily"}}, False),
        ("translation", {"owners": ["team:lms"], "assets": {"users": {"key": ["lms", "users"]}}}, True),
        ("translation", {"automation_condition": {"on_cron": "0 3 * * *"}}, True),
        ("translation", {"automation_condition": "always"}, False),
        ("translation", {"colour": "red"}, False),
        ("unknown", 1, False),
    ],
)
def test_dg_check_yaml_judges_by_type_and_allowed_values(setting: str, value: object, valid: bool) -> None:
    schema = CanvasSyncComponent.model().model_json_schema()
    for attributes in ({setting: value}, {"tenants": {"north": {setting: value}}}):
        assert jsonschema.Draft202012Validator(schema).is_valid(attributes) is valid
