"""Translation of assets: by a class in Python, and by `translation` in YAML."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import yaml
from click.testing import CliRunner

from canvas_sync_dagster import CanvasAsset, CanvasSync, CanvasSyncTranslator
from canvas_sync_dagster.assets.tenant_assets import tenant_assets
from canvas_sync_dagster.catalogue import BUILT_IN, Domain
from canvas_sync_dagster.catalogue.versions import code_version
from canvas_sync_dagster.cli import main
from canvas_sync_dagster.commands.tenant_sync import SyncRequest, sync_tenant
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.live_events.event import read_event
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.translation_settings import NamedAttributes, Translation
from canvas_sync_dagster.warehouse.state.inbox import store
from canvas_sync_dagster.warehouse.state.inbox_partitions import ensure_partitions
from tests.fix_canvas import tenant_of

SPEC = Callable[[dg.AssetSpec], Any]


@pytest.fixture(autouse=True)
def dagsters_own_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=dg.BetaWarning)
        yield


class Changed(CanvasSyncTranslator):
    """Translates by a function of the default specification, for the named assets only."""

    def __init__(self, change: SPEC, *names: str) -> None:
        self.change, self.names = change, names

    def get_asset_spec(self, asset: CanvasAsset) -> dg.AssetSpec:
        spec = super().get_asset_spec(asset)
        changed: dg.AssetSpec = self.change(spec) if not self.names or asset.name in self.names else spec
        return changed


def located(*tenants: Mapping[str, Any], translator: CanvasSyncTranslator | None = None, **settings: Any) -> CanvasSync:
    sync = CanvasSync(tenants=tenants or [{"slug": "canvas", **settings}])
    if translator is not None:
        sync.translator(translator)
    return sync


def specs(sync: CanvasSync, tenant: str = "canvas") -> Mapping[str, dg.AssetSpec]:
    project = sync.project()
    return tenant_assets(project, project.settings.tenant(tenant)).specs


def refusal(sync: CanvasSync) -> str:
    with pytest.raises(SettingError) as caught:
        sync.definitions()
    return str(caught.value)


def key_of(spec: dg.AssetSpec) -> str:
    return spec.key.to_user_string()


def upstream(spec: dg.AssetSpec) -> set[str]:
    return {dep.asset_key.to_user_string() for dep in spec.deps}


# Defaults


def test_assets_are_grouped_by_domain_below_the_tenant_if_there_are_several() -> None:
    alone = specs(located())
    assert {spec.group_name for spec in alone.values()} == {domain.value for domain in Domain if domain != "custom"}
    sync = located({"slug": "north"}, {"slug": "south"})
    sync.insert(after="courses", name="mine")(lambda context: None)
    assert {name: specs(sync, "south")[name].group_name for name in ("users", "mine")} == {
        "users": "south/people",
        "mine": "south/custom",
    }


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "canvas_sync.canvas.users"),
        ({"database_url": "postgresql://u@h/School", "schema": "public"}, "school.public.users"),
        ({"database_url": "postgresql://u@h/ignored?dbname=used"}, "used.canvas.users"),
        ({"database_url": "postgresql://u@h"}, "u.canvas.users"),
        ({"database_url": "postgresql:///?service=school"}, "canvas.users"),
    ],
)
def test_a_table_is_named_with_its_database_without_connecting(settings: dict[str, Any], name: str) -> None:
    assert specs(located(**settings))["users"].metadata["dagster/table_name"] == name


def test_the_code_version_changes_with_a_mapping_but_not_with_a_comment() -> None:
    users = next(model for model in BUILT_IN if model.name == "users")
    described = users.with_columns(replace(users["name"], comment="Another comment."))
    assert code_version(described) == code_version(replace(users, domain=Domain.CUSTOM)) == code_version(users)
    assert code_version(users.with_columns(replace(users["name"], report=("another",)))) != code_version(users)
    sync, unchanged = located(), specs(located())
    sync.mapping("users").link_column("pronouns")
    different = [name for name, spec in specs(sync).items() if spec.code_version != unchanged[name].code_version]
    assert different == ["users"]


def test_columns_that_another_table_fills_have_a_lineage() -> None:
    sync = located(translator=Changed(lambda spec: spec.replace_attributes(key=spec.key.with_prefix("lms"))))
    found = {
        f"{name}.{column}": f"{source.asset_key.to_user_string()}.{source.column_name}"
        for name, spec in specs(sync).items()
        if (lineage := spec.metadata.get("dagster/column_lineage")) is not None
        for column, sources in lineage.deps_by_column.items()
        for source in sources
    }
    assert found == {
        "admins.canvas_account_id": "lms/canvas/accounts.canvas_id",
        "roles.canvas_account_id": "lms/canvas/accounts.canvas_id",
        "learning_outcome_results.canvas_course_id": "lms/canvas/courses.canvas_id",
        "enrollments.canvas_course_id": "lms/canvas/sections.canvas_course_id",
        "sections.canvas_nonxlist_course_id": "canvas/xlist.canvas_nonxlist_course_id",
    }


def test_jobs_have_descriptions() -> None:
    sync = located()
    sync.insert(at="end", name="last")(lambda context: None)
    jobs = sync.definitions().resolve_all_job_defs()
    assert {job.name for job in jobs if not job.name.startswith("__")} == {
        f"canvas__{name}"
        for name in ("sync_root", "sync_term", "sync_end", "live_events", "audit", "reconcile", "housekeeping")
    }
    assert [job.name for job in jobs if not job.description and not job.name.startswith("__")] == []


# In Python


def test_a_key_that_a_translator_changes_is_followed_by_what_depends_on_it() -> None:
    sync = located(translator=Changed(lambda spec: spec.replace_attributes(key=["lms", "people"]), "users"))
    sync.report("my_report", after="users")(my_report)
    sync.insert(after="my_report", before="courses", name="step", at=None)(lambda context: None)
    found = specs(sync)
    assert key_of(found["users"]) == "lms/people"
    assert "lms/people" in upstream(found["pseudonyms"])
    assert upstream(found["my_report"]) == {"lms/people"}
    assert "canvas/step" in upstream(found["courses"])
    definitions = sync.definitions()
    graph = definitions.resolve_asset_graph()
    people = dg.AssetKey(["lms", "people"])
    assert dg.AssetKey(["canvas", "users"]) not in graph.get_all_asset_keys()
    assert {check.name for check in graph.asset_check_keys if check.asset_key == people} == {
        "load",
        "staleness",
        "drift",
    }
    assert people in definitions.resolve_job_def("canvas__sync_root").asset_layer.executable_asset_keys


def test_a_translator_sees_what_each_asset_is() -> None:
    seen: dict[str, CanvasAsset] = {}

    class Watching(CanvasSyncTranslator):
        def get_asset_spec(self, asset: CanvasAsset) -> dg.AssetSpec:
            seen[asset.name] = asset
            return super().get_asset_spec(asset)

    sync = located(translator=Watching(), slug="uni", models="terms,courses")
    sync.report("my_report", per_term=True)(my_report)
    sync.insert(after="courses", name="step")(lambda context: None)
    specs(sync, "uni")
    assert {name: (asset.kind, asset.domain, asset.per_term, asset.table) for name, asset in seen.items()} == {
        "terms": ("model", "organisation", False, "canvas_sync.uni.terms"),
        "courses": ("model", "courses", True, "canvas_sync.uni.courses"),
        "my_report": ("report", "custom", True, None),
        "step": ("step", "custom", True, None),
    }
    assert {asset.model.name for asset in seen.values() if asset.model} == {"terms", "courses"}


def test_any_attribute_can_be_changed_and_yaml_comes_first() -> None:
    def change(spec: dg.AssetSpec) -> dg.AssetSpec:
        assert spec.group_name == "from_yaml"
        return spec.replace_attributes(
            group_name="from_python", automation_condition=dg.AutomationCondition.eager(), skippable=False
        ).merge_attributes(owners=["team:lms"], tags={"layer": "bronze"}, kinds={"bronze"}, metadata={"more": 1})

    sync = located(translator=Changed(change, "users"), translation={"group_name": "from_yaml", "owners": ["team:all"]})
    users, courses = specs(sync)["users"], specs(sync)["courses"]
    assert (users.group_name, courses.group_name) == ("from_python", "from_yaml")
    assert users.owners == ["team:all", "team:lms"]
    assert users.kinds == {"canvas", "postgres", "bronze"}
    assert users.metadata["more"] == 1
    assert users.tags["layer"] == "bronze"
    assert users.automation_condition == dg.AutomationCondition.eager()
    assert users.skippable


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda spec: spec.replace_attributes(key="same"), ["'same'", "cannot distinguish", "of tenant canvas"]),
        (lambda spec: spec.replace_attributes(key=["a b", "c"]), ["'a b/c'", "not an asset key"]),
        (lambda spec: spec.merge_attributes(owners=["nobody"]), ["Changed.get_asset_spec raised", "Invalid owner"]),
        (lambda spec: spec.merge_attributes(tags={"a/b/c": ""}), ["invalid tag keys"]),
        (lambda spec: spec.merge_attributes(kinds=set("abcdefghijk")), ["at most ten kinds"]),
        (lambda spec: spec.replace_attributes(group_name="a//b"), ["not a valid asset group name"]),
        (lambda spec: spec.replace_attributes(automation_condition="eager"), ["automation_condition"]),
        (lambda spec: spec.nothing, ["AttributeError"]),
        (lambda spec: None, ["returned NoneType", "super().get_asset_spec(asset)"]),
    ],
)
def test_a_wrong_translator_is_one_error_that_names_tenant_and_model(change: SPEC, says: Sequence[str]) -> None:
    names = ("users", "pseudonyms") if "same" in says[0] else ("users",)
    text = refusal(located(translator=Changed(change, *names)))
    assert text.startswith(f"translation of {names[-1]} of tenant canvas")
    assert [part for part in [*says, "Allowed: "] if part not in text] == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda spec: dg.AssetSpec(spec.key), "the partitions are other ones"),
        (lambda spec: spec.replace_attributes(deps=[]), "the dependencies lack canvas/accounts, canvas/terms"),
    ],
)
def test_a_translator_keeps_partitions_and_dependencies(change: SPEC, says: str) -> None:
    text = refusal(located(translator=Changed(change, "courses")))
    assert text.startswith("translation of courses of tenant canvas")
    assert says in text


def test_two_tenants_share_no_key() -> None:
    change = Changed(lambda spec: spec.replace_attributes(key=spec.key.path[-1]))
    text = refusal(located({"slug": "north"}, {"slug": "south"}, translator=change))
    assert text.startswith("translation of terms of tenant south is 'terms'")
    assert "terms of tenant north" in text


@pytest.mark.parametrize("given", [CanvasSyncTranslator, object(), None])
def test_only_a_translator_is_accepted_and_only_one(given: Any) -> None:
    sync = located()
    with pytest.raises(SettingError, match="an instance of a subclass of CanvasSyncTranslator"):
        sync.translator(given)
    sync.translator(CanvasSyncTranslator())
    with pytest.raises(SettingError, match="a translator is set already"):
        sync.translator(CanvasSyncTranslator())


# In YAML


def test_yaml_changes_all_assets_and_single_ones() -> None:
    translation = {
        "key_prefix": "lms/raw",
        "group_name": "canvas/{domain}",
        "owners": ["team:lms"],
        "tags": {"layer": "bronze"},
        "automation_condition": "on_missing",
        "assets": {
            "users": {
                "key": ["identity", "people"],
                "owners": ["registrar@school.edu"],
                "tags": {"pii": "yes"},
                "kinds": ["table"],
                "description": "People.",
                "metadata": {"contact": {"room": 7}},
                "automation_condition": {"on_cron": "0 3 * * *"},
            },
            "courses": {"key_prefix": "teaching", "automation_condition": "none"},
        },
    }
    found = specs(located(translation=translation, timezone="America/Denver"))
    users, courses, sections = found["users"], found["courses"], found["sections"]
    assert [*map(key_of, (users, courses, sections))] == ["identity/people", "teaching/courses", "lms/raw/sections"]
    assert upstream(sections) == {"teaching/courses"}
    assert [each.group_name for each in (users, courses)] == ["canvas/people", "canvas/courses"]
    assert (users.owners, courses.owners) == (["registrar@school.edu"], ["team:lms"])
    assert {"layer", "pii", "canvas_sync/tenant"} <= users.tags.keys()
    assert "pii" not in courses.tags
    assert (users.kinds, courses.kinds) == ({"table"}, {"canvas", "postgres"})
    assert users.description == "People."
    assert users.metadata["contact"] == {"room": 7}
    assert users.metadata["dagster/table_name"] == "canvas_sync.canvas.users"
    assert users.automation_condition == dg.AutomationCondition.on_cron("0 3 * * *", "America/Denver")
    assert courses.automation_condition is None
    assert sections.automation_condition == dg.AutomationCondition.on_missing()


def test_a_translation_for_all_tenants_is_below_that_of_each() -> None:
    settings = Settings.of_tenants(
        [{"slug": "north"}, {"slug": "south", "translation": {"owners": ["team:s"], "assets": {"users": {"key": "s"}}}}]
    )
    shared = {"owners": ["team:all"], "tags": {"a": "1"}, "assets": {"users": {"key_prefix": "all", "kinds": ["x"]}}}
    sync = CanvasSync(settings.with_translation(shared, "defs.yaml: translation"))
    north, south = specs(sync, "north")["users"], specs(sync, "south")["users"]
    assert (key_of(north), key_of(south)) == ("all/users", "s")
    assert (north.owners, south.owners) == (["team:all"], ["team:s"])
    assert north.kinds == south.kinds == {"x"}
    assert north.tags["a"] == south.tags["a"] == "1"
    with pytest.raises(SettingError, match=r"defs.yaml: translation.assets.users.owners.*'me' is neither"):
        settings.with_translation({"assets": {"users": {"owners": ["me"]}}}, "defs.yaml: translation")


WRONG = [
    ("nothing", "translation", "expected a mapping"),
    ({"assets": {"users": None}}, "translation.assets.users", "expected a mapping"),
    ({"group": "a"}, "translation.group", "unknown setting. Allowed: key_prefix, group_name"),
    ({"key": "a"}, "translation.key", "unknown setting"),
    ({"key_prefix": "a b"}, "translation.key_prefix is 'a b'", "not an asset key"),
    ({"group_name": "a//b"}, "translation.group_name is 'a//b'", "not the name of a group"),
    ({"owners": ["me"]}, "translation.owners", "'me' is neither an email address nor a team"),
    ({"owners": "team:a"}, "translation.owners", "expected a list"),
    ({"tags": {"a/b/c": "d"}}, "translation.tags", "'a/b/c'"),
    ({"tags": {"a": 1}}, "translation.tags", "a valid string"),
    ({"kinds": [*"abcdefghijk"]}, "translation.kinds", "too many kinds"),
    ({"automation_condition": "always"}, "translation.automation_condition is 'always'", "eager, on_missing, none"),
    ({"automation_condition": {"on_cron": "x * * * *"}}, "translation.automation_condition", "not a cron expression"),
    ({"assets": {"users": {"colour": 1}}}, "translation.assets.users.colour", "unknown setting"),
    ({"assets": {"users": {"key": "a", "key_prefix": "b"}}}, "translation.assets.users", "exclude each other"),
    ({"assets": {"users": {"owners": ["me"]}}}, "translation.assets.users.owners", "neither"),
    ({"assets": {"usres": {}}}, "translation.assets.usres", "unknown model, custom report or step. Allowed: "),
    ({"assets": {"users": {"key": "north/terms"}}}, "translation.assets.users.key is 'north/terms'", "key of terms"),
]


@pytest.mark.parametrize(("given", "where", "says"), WRONG)
def test_a_wrong_translation_in_yaml_leaves_its_tenant_out(given: object, where: str, says: str) -> None:
    content = {"tenants": {"north": {"translation": given}, "south": {}}}
    project = CanvasSync(Settings.from_content(content, {}, source=Path("/canvas_sync.yaml"))).project()
    assert [tenant.slug for tenant in project.settings.tenants] == ["south"]
    (broken,) = project.settings.broken
    assert f"tenants.north.{where}" in str(broken.error)
    assert says in str(broken.error)
    del content["tenants"]["south"]
    with pytest.raises(SettingError, match=r"tenants\.north\.translation"):
        CanvasSync(Settings.from_content(content, {}, source=Path("/canvas_sync.yaml"))).project()


def test_a_tenant_that_takes_the_keys_of_another_one_is_left_out() -> None:
    content = {
        "tenants": {"north": {"translation": {"key_prefix": "lms"}}, "south": {"translation": {"key_prefix": "lms"}}}
    }
    project = CanvasSync(Settings.from_content(content, {}, source=Path("/canvas_sync.yaml"))).project()
    assert [tenant.slug for tenant in project.settings.tenants] == ["north"]
    assert "terms of tenant north" in str(project.settings.broken[0].error)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        *(("owners", [owner]) for owner in ("team:a b", "team:", "a@b.c", "a@b.edu", ".a@b.edu", "team:x", "me", "")),
        *(("group_name", name) for name in ("a", "a/b_1", "a//b", "/a", "a-b", "", "a/")),
        *(("tags", {name: ""}) for name in ("a", "a/b", "a/b/c", "a b", "x" * 64, "")),
        *(("tags", {"a": text}) for text in ("", "a b", "x" * 64, "a/b", "1.2-3_4")),
    ],
)
def test_yaml_accepts_nothing_that_dagster_refuses(attribute: str, value: object) -> None:
    accepted = True
    try:
        Translation.model_validate({attribute: value})
    except ValueError:
        accepted = False
    given: dict[str, Any] = {attribute: value}
    if accepted:
        dg.AssetSpec("key", **given)
    else:
        with pytest.raises(dg.DagsterInvalidDefinitionError):
            dg.AssetSpec("key", **given)


def test_the_schema_documents_each_attribute() -> None:
    for declared in (Translation, NamedAttributes):
        for name, field in declared.model_fields.items():
            assert field.description, name
            assert field.examples, name
            declared.model_validate({name: field.examples[0]})


def test_dbt_finds_the_translated_keys(tmp_path: Path) -> None:
    (tmp_path / "translated.py").write_text(
        "from canvas_sync_dagster import CanvasSync\n"
        "translation = {'assets': {'users': {'key': 'identity/people'}}}\n"
        "sync = CanvasSync(tenants=[{'slug': 'canvas', 'models': 'users,terms', 'translation': translation}])\n"
    )
    done = CliRunner().invoke(main, ["dbt-sources", "-f", str(tmp_path / "translated.py")])
    assert done.exit_code == 0
    (source,) = yaml.safe_load(done.output)["sources"]
    assert {table["name"]: table.get("config") for table in source["tables"]} == {
        "terms": None,
        "users": {"meta": {"dagster": {"asset_key": ["identity", "people"]}}},
    }


# A real run


class Collected:
    """Progress of a sync."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str | None]] = []
        self.problems: list[object] = []

    def expect(self, tables: int) -> None: ...

    def begin(self, title: str, number: int) -> None: ...

    def log(self, line: str) -> None: ...

    def table_done(self, model: str, term: str | None, metadata: Mapping[str, Any]) -> None:
        self.done.append((model, term))

    def skipped(self, reasons: Mapping[str, str]) -> None:
        self.problems.append(reasons)

    def failed(self, title: str, models: Sequence[str], message: str) -> None:
        self.problems.append((models, message))


def test_a_sync_and_live_events_report_to_the_translated_keys(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path
) -> None:
    translation = {"assets": {"users": {"key": "identity/people"}}}
    genres = {"people": {"schedule": "@daily", "models": ["users"]}}
    scope = {"models": "terms,users,courses", "term_scope": "118", "genres": genres}
    tenant = tenant_of(canvas, database_url, translation=translation, **scope)
    sync = CanvasSync(Settings(home=tmp_path, tenants=(tenant,)))
    sync.translator(Changed(lambda spec: spec.replace_attributes(key=spec.key.with_prefix("lms"))))
    sync.insert(after="users", name="step")(lambda context: {"ran": True})
    progress = Collected()
    people, courses = dg.AssetKey(["lms", "identity", "people"]), dg.AssetKey(["lms", "canvas", "courses"])
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:

        @contextmanager
        def opened() -> Iterator[dg.DagsterInstance]:
            yield instance

        @contextmanager
        def shown() -> Iterator[Collected]:
            yield progress

        result = sync_tenant(sync.project(), tenant, SyncRequest(), open_instance=opened, progress=shown)
        assert (result.failed, result.blocked, progress.problems) == ((), (), [])
        assert sorted(progress.done) == [("courses", "118"), ("step", None), ("terms", None), ("users", None)]
        made = {*instance.all_asset_keys()}
        assert {key.to_user_string() for key in made} == {
            "lms/identity/people",
            "lms/canvas/courses",
            "lms/canvas/terms",
            "lms/canvas/step",
        }
        event = instance.get_latest_materialization_event(people)
        assert event is not None and event.asset_materialization is not None
        assert event.asset_materialization.metadata["dagster/table_name"].value.endswith(".canvas.users")
        checks = instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(people, "load"), limit=9)
        assert len(checks) == 1
        project = sync.project()
        with project.session(tenant) as session, session.warehouse("storing live events") as warehouse:
            ensure_partitions(warehouse)
            store(warehouse, [read_event(each, canvas.now) for each in canvas.save_again("courses", 1)])
            warehouse.connection.execute("delete from canvas.courses")
        definitions = sync.definitions()
        drained = definitions.resolve_job_def("canvas__live_events").execute_in_process(instance=instance)
        events = [
            event.asset_observation_data.asset_observation for event in drained.all_events if event.is_asset_observation
        ]
        assert [each.asset_key for each in events] == [courses]
        time = datetime(2026, 9, 2, tzinfo=UTC)
        schedule = definitions.resolve_schedule_def("canvas__sync__people")
        with dg.build_schedule_context(instance=instance, scheduled_execution_time=time) as context:
            (request,) = schedule.evaluate_tick(context).run_requests or ()
        assert set(request.asset_selection or ()) == {people, dg.AssetKey(["lms", "canvas", "step"])}
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select count(*) from canvas.courses").fetchone() == (1,)


def my_report(report: object, context: object) -> None:
    """A report of the school."""
