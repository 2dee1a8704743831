"""Genres: further kinds of sync of one tenant, each with a schedule, models, terms and a policy of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.errors import SettingError
from canvas_sync_dagster.orchestration.identifiers import BATCH_TAG, GENRE_TAG
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.tenants import Genre
from tests.fix_canvas import tenant_of
from tests.ticking import Ticking

GRADES = {
    "schedule": "*/30 * * * *",
    "models": ["enrollments"],
    "term_scope": ["118"],
    "updated_after": False,
    "report_max_tries": 1,
}


@pytest.fixture
def sync(canvas: SimulatedCanvas, database_url: str, tmp_path: Path) -> CanvasSync:
    tenant = tenant_of(
        canvas, database_url, models="terms,users,courses,enrollments", term_scope="116,118", genres={"grades": GRADES}
    )
    return CanvasSync(Settings(home=tmp_path, tenants=(tenant,)))


@pytest.fixture
def ticking(sync: CanvasSync, tmp_path: Path) -> Iterator[Ticking]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield Ticking(sync, instance)


def made(result: Any) -> dict[str, Any]:
    events = result.get_asset_materialization_events()
    return {event.asset_key.path[-1]: event.materialization.metadata for event in events}


def batches(url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        query = "select batch_genre, status, metadata->'terms' from canvas.canvas_sync_sync_batches order by id"
        return connection.execute(query).fetchall()


def test_a_genre_syncs_its_models_and_terms_by_its_own_schedule_and_policy(ticking: Ticking, database_url: str) -> None:
    assert ticking.definitions.resolve_schedule_def("canvas__sync__grades").cron_schedule == "*/30 * * * *"
    for hour in (3, 4):
        request = ticking.schedule("canvas__sync__grades", hour)
        assert request is not None
        assert request.tags[GENRE_TAG] == "grades"
        assert set(made(ticking.run("canvas__sync_root", request))) == {"terms"}
        (term,) = ticking.sensor()
        assert (term.partition_key, term.tags[GENRE_TAG]) == ("118", "grades")
        result = ticking.run("canvas__sync_term", term)
        landed = made(result)
        assert set(landed) == {"enrollments"}
        assert result.get_asset_check_evaluations(), "what is chosen is checked as well"
        assert ticking.sensor() == []
    assert landed["enrollments"]["mode_reason"].value == "updated_after is false: every sync is full"
    assert batches(database_url) == [("grades", "completed", ["118"])] * 2


def test_genres_run_side_by_side_and_each_only_once(ticking: Ticking, database_url: str) -> None:
    whole, grades = ticking.schedule("canvas__sync"), ticking.schedule("canvas__sync__grades")
    assert whole is not None
    assert grades is not None
    assert whole.asset_selection is None
    assert ticking.schedule("canvas__sync", 6) is None
    assert ticking.schedule("canvas__sync__grades", 6) is None
    ticking.run("canvas__sync_root", grades)
    assert set(made(ticking.run("canvas__sync_root", whole))) == {"terms", "users"}
    requests = ticking.sensor()
    assert {(each.tags[GENRE_TAG], each.partition_key) for each in requests} == {
        ("default", "116"),
        ("default", "118"),
        ("grades", "118"),
    }
    for each in requests:
        landed = set(made(ticking.run("canvas__sync_term", each)))
        assert landed == (
            {"enrollments"} if each.tags[BATCH_TAG] == grades.tags[BATCH_TAG] else {"courses", "enrollments"}
        )
    assert ticking.sensor() == []
    assert [(genre, status) for genre, status, _ in batches(database_url)] == [
        ("default", "completed"),
        ("grades", "completed"),
    ]


def nothing(*_: Any) -> None: ...


def names(sync: CanvasSync, genre: str) -> set[str]:
    tenant = sync.settings.tenants[0]
    project = sync.project()
    return {name for each in (False, True) for name in project.assets_of(tenant, genre, per_term=each)}


def test_what_is_inserted_beside_a_model_of_a_genre_belongs_to_it_and_a_report_only_if_it_is_named() -> None:
    genres = {
        "few": Genre(schedule="@daily", models="users"),
        "more": Genre(schedule="@daily", models="courses", steps="mine"),
        "whole": Genre(schedule="@daily"),
    }
    sync = CanvasSync(tenants=[{"base_url": "https://a.test", "models": "users,courses", "genres": genres}])
    sync.insert(after="courses", name="second")(nothing)
    sync.insert(after="second", name="third")(nothing)
    sync.report("mine_csv", deps=["courses"], per_term=True, name="mine")(nothing)
    sync.report("other_csv", name="other")(nothing)
    sync.definitions()
    assert names(sync, "few") == {"users"}
    assert names(sync, "more") == {"terms", "courses", "second", "third", "mine"}
    assert names(sync, "whole") == {"terms", "users", "courses", "second", "third", "mine", "other"}


def test_a_step_that_is_not_there_is_refused_with_its_place() -> None:
    genres = {"few": Genre(schedule="@daily", steps="mine,yours")}
    sync = CanvasSync(tenants=[{"base_url": "https://a.test", "genres": genres}])
    sync.report("mine_csv", name="mine")(nothing)
    with pytest.raises(SettingError, match=r"tenants\.canvas\.genres\.few\.steps is 'yours'.*mine"):
        sync.definitions()
