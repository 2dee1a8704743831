"""What users put between the models runs in that order, per term where its neighbour does, or is refused."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.errors import SettingError


@pytest.fixture
def sync() -> CanvasSync:
    models = ["terms", "accounts", "users", "courses", "sections", "enrollments", "assignments"]
    return CanvasSync(tenants=[{"base_url": "https://school.example.edu", "token": "7~x", "models": models}])


def nothing(*_: Any) -> None: ...


def parents(sync: CanvasSync, name: str) -> set[str]:
    graph = sync.definitions().resolve_asset_graph()
    return {key.path[-1] for key in graph.get(dg.AssetKey(["canvas", name])).parent_keys}


def steps(sync: CanvasSync, job: str) -> set[str]:
    keys = sync.definitions().resolve_job_def(f"canvas__{job}").asset_layer.executable_asset_keys
    return {key.path[-1] for key in keys}


def test_a_step_may_come_before_a_report_of_ones_own_and_before_another_step(sync: CanvasSync) -> None:
    sync.report("x_csv", deps=["courses"], per_term=True, name="x")(nothing)
    sync.insert(before="x", name="first")(nothing)
    sync.insert(before="first", name="zeroth")(nothing)
    assert parents(sync, "x") == {"courses", "first"}
    assert parents(sync, "first") == {"zeroth"}
    assert steps(sync, "sync_term") >= {"zeroth", "first", "x"}


def test_a_table_by_declaration_waits_for_what_it_names(sync: CanvasSync) -> None:
    sync.insert(after="users", name="prepare")(nothing)
    sync.simple_table(report="x_csv", model="x", key="id", columns={"id": "id"}, deps=["users", "prepare"])
    assert parents(sync, "x") == {"users", "prepare"}


def test_a_step_two_steps_behind_a_term_scoped_model_runs_per_term(sync: CanvasSync) -> None:
    sync.insert(after="courses", name="first")(nothing)
    sync.insert(after="first", name="second")(nothing)
    sync.insert(after="users", name="of_no_term")(nothing)
    assert steps(sync, "sync_term") >= {"first", "second"}
    assert "of_no_term" in steps(sync, "sync_root")


def test_a_step_may_stand_between_two_tables_of_one_report(sync: CanvasSync) -> None:
    sync.insert(after="sections", before="enrollments", name="between")(nothing)
    nodes = {node.name for node in sync.definitions().resolve_job_def("canvas__sync_term").nodes}
    assert {"canvas__between", "canvas__provisioning_term", "canvas__provisioning_term_2"} <= nodes


def test_a_step_without_its_neighbour_is_part_of_the_sync_all_the_same(sync: CanvasSync) -> None:
    sync.insert(after="submissions", name="late")(nothing)
    assert parents(sync, "late") == set()
    assert "late" in steps(sync, "sync_term")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda sync: sync.insert(after="courses", before="users", name="wrong")(nothing),
        lambda sync: sync.report("x_csv", deps=["courses"], name="wrong")(nothing),
        lambda sync: sync.simple_table(report="r", model="wrong", key="id", columns={"id": "id"}, deps=["courses"]),
    ],
)
def test_what_belongs_to_no_term_cannot_come_after_what_does(sync: CanvasSync, wrong: Any) -> None:
    wrong(sync)
    with pytest.raises(SettingError, match=r"cannot come after .* once for each term"):
        sync.definitions()


def test_a_circle_is_shown(sync: CanvasSync) -> None:
    sync.insert(after="enrollments", before="courses", name="wrong")(nothing)
    with pytest.raises(SettingError, match=r"circle: .*wrong"):
        sync.definitions()


def test_steps_per_term_have_terms_even_if_no_model_has() -> None:
    sync = CanvasSync(tenants=[{"base_url": "https://x.example.edu", "token": "7~x", "models": ["users"]}])
    sync.report("x_csv", per_term=True, name="x")(nothing)
    assert "terms" in steps(sync, "sync_root")
    assert CanvasSync(models=["courses"]).settings.tenants == ()


def test_a_step_beside_another_waits_for_the_same_and_what_waits_for_one_waits_for_both(sync: CanvasSync) -> None:
    sync.insert(after="users", name="first")(nothing)
    sync.insert(after="first", name="target")(nothing)
    sync.insert(with_="target", name="beside")(nothing)
    sync.insert(after="target", name="last")(nothing)
    sync.report("x_csv", deps=["last"], name="x")(nothing)
    sync.insert(with_="x", name="beside_report")(nothing)
    assert parents(sync, "beside") == parents(sync, "target") == {"first"}
    assert parents(sync, "last") == {"target", "beside"}
    assert parents(sync, "beside_report") == parents(sync, "x") == {"last"}


def test_a_step_has_the_pool_the_tags_and_the_retry_policy_that_it_is_given(sync: CanvasSync) -> None:
    policy = dg.RetryPolicy(max_retries=2)
    sync.insert(after="users", pool="sis", retry_policy=policy, tags={"dagster/priority": "3"}, name="mine")(nothing)
    op = sync.definitions().resolve_job_def("canvas__sync_root").graph.node_named("canvas__mine").definition
    assert isinstance(op, dg.OpDefinition)
    assert (op.pool, op.retry_policy, op.tags["dagster/priority"]) == ("sis", policy, "3")
