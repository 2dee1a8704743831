"""Upgrades: the schema of each released version, with columns and views of users, is upgraded, synced and compared."""

from __future__ import annotations

import gzip
import re
from importlib.metadata import version
from pathlib import Path

import psycopg
import pytest

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.errors import SchemaError
from canvas_sync_dagster.extras import DISTRIBUTION
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.warehouse.schema.migrate import migrate, plan
from canvas_sync_dagster.warehouse.schema.prepare import prepare_schema
from tests.fix_canvas import Sessions
from tests.truth import actual, assert_true, expected, sync_everything, sync_structure

SNAPSHOTS = sorted((Path(__file__).parents[1] / "upgrades").glob("*.sql.gz"))
OWN = """
    alter table canvas.courses add column shelf text default 'new', add column checked boolean;
    create index courses_shelf on canvas.courses (shelf);
    update canvas.courses set shelf = 'of ' || canvas_id, checked = true;
    create view canvas.roster as
        select e.canvas_id, u.name, c.shelf from canvas.enrollments e
        join canvas.users u on u.canvas_id = e.canvas_user_id join canvas.courses c on c.canvas_id = e.canvas_course_id;
    create materialized view canvas.sizes as select canvas_course_id, count(*) from canvas.enrollments group by 1;
    create table canvas.notes (course bigint references canvas.courses (canvas_id), note text);
    insert into canvas.notes select canvas_id, 'mine' from canvas.courses;
"""


@pytest.mark.parametrize("snapshot", SNAPSHOTS, ids=lambda path: path.name.removesuffix(".sql.gz"))
def test_a_released_schema_is_upgraded_with_what_users_added_and_then_synced(
    snapshot: Path, canvas: SimulatedCanvas, database_url: str, sessions: Sessions
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(gzip.decompress(snapshot.read_bytes()))
        # The snapshot stays in effect until the end of the transaction.
        connection.execute("set search_path to default")
        connection.execute(OWN.encode())
        before = rows(connection)

    changes = migrate(database_url, "canvas", BUILT_IN).changes
    assert [change for change in changes if "drop" in change] == []
    assert plan(database_url, "canvas", BUILT_IN).changes == ()
    with psycopg.connect(database_url) as connection:
        assert rows(connection) == before

    session = sessions()
    # Nothing has changed in Canvas: the digests of the released version are still understood, and no row is written.
    first = sync_everything(session)
    written = {each: n for each, outcome in first.items() if (n := outcome.counts.inserted + outcome.counts.updated)}
    # The simulated Canvas of 0.1.0 wrote scores such as 67.60000000000001.
    assert {each for each in written if each[0] != "scores"} == set()
    assert_true(canvas, database_url)
    canvas.advance(days=3)
    sync_structure(session)
    for name in ("users", "pseudonyms", "courses", "sections", "enrollments"):
        have, want = actual(database_url, name), expected(canvas, name)
        assert have == {**have, **want}, name
    with psycopg.connect(database_url) as connection:
        after = rows(connection)
        assert before["shelves"] == after["shelves"][: len(before["shelves"])]
        assert after["notes"] == before["notes"]
        (joined,) = connection.execute("select count(*) from canvas.roster where name is not null").fetchone() or (0,)
        assert joined > 100


def rows(connection: psycopg.Connection[tuple[object, ...]]) -> dict[str, list[tuple[object, ...]]]:
    """Return what users have added, and how many rows each table has."""
    shelves = "select canvas_id, shelf, checked from canvas.courses where checked order by canvas_id"
    queries = {"shelves": shelves, "notes": "select * from canvas.notes order by course"}
    found = {name: connection.execute(query.encode()).fetchall() for name, query in queries.items()}
    for model in BUILT_IN:
        held = connection.execute("select to_regclass(%s) is not null", (f"canvas.{model.table}",)).fetchone()
        if held == (True,):
            found[model.name] = connection.execute(f"select count(*) from canvas.{model.table}".encode()).fetchall()
    return found


def test_every_release_since_the_first_has_its_snapshot() -> None:
    names = {path.name.removesuffix(".sql.gz") for path in SNAPSHOTS}
    assert "0.1.0" in names
    changelog = (Path(__file__).parents[2] / "CHANGELOG.md").read_text(encoding="utf-8")
    released = set(re.findall(r"^## \[?(\d+\.\d+\.\d+)", changelog, re.MULTILINE)) - {version(DISTRIBUTION)}
    assert released <= names


def test_a_schema_of_a_newer_major_version_is_refused_in_one_sentence_and_a_newer_minor_one_is_used(
    database_url: str,
) -> None:
    url, own = database_url, version(DISTRIBUTION)
    migrate(url, "canvas", BUILT_IN)
    major = int(own.partition(".")[0])
    with psycopg.connect(url, autocommit=True) as connection:
        insert = "insert into canvas.canvas_sync_schema_migrations (version, changes) values (%s, '[]')"
        connection.execute(insert, (f"{major}.99.0",))
        prepare_schema(url, "canvas", BUILT_IN)
        assert migrate(url, "canvas", BUILT_IN).changes == ()
        connection.execute(insert, (f"{major + 1}.0.0",))
    for refused in (prepare_schema, migrate, plan):
        with pytest.raises(SchemaError) as caught:
            refused(url, "canvas", BUILT_IN)
        assert str(caught.value) == (
            f"schema canvas was migrated by canvas-sync-dagster {major + 1}.0.0, which this version {own} does not know: "
            f"install {major + 1}.0.0 or newer, or restore the database from before that upgrade"
        )
