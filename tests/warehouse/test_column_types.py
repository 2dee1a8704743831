"""Columns of another type than declared: what PostgreSQL does with them is known before a load, and named with a remedy."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg import sql

from canvas_sync_dagster.catalogue import Column, ColumnType, Model, ReportFeed
from canvas_sync_dagster.errors import SchemaError
from canvas_sync_dagster.warehouse.connection import connect, transaction
from canvas_sync_dagster.warehouse.loading.load import load_csv
from canvas_sync_dagster.warehouse.reading.source import Source
from canvas_sync_dagster.warehouse.schema.column_types import KNOWN, Fit, fit_of
from canvas_sync_dagster.warehouse.schema.existing import fitness
from canvas_sync_dagster.warehouse.schema.migrate import migrate, plan
from canvas_sync_dagster.warehouse.warehouse import Warehouse

THINGS = Model(
    "things",
    (
        Column("canvas_id", ColumnType.BIGINT, report=("id",)),
        Column("name", ColumnType.TEXT, report=("name",)),
        Column("score", ColumnType.TEXT, report=("score",)),
    ),
    ReportFeed("things_csv"),
)


@pytest.mark.every_postgres
@pytest.mark.parametrize("declared", ColumnType)
def test_postgresql_assigns_and_compares_just_what_is_said_to_fit(database_url: str, declared: ColumnType) -> None:
    def works(statement: str) -> bool:
        try:
            with connection.transaction(force_rollback=True):
                connection.execute(statement.encode())
        except psycopg.errors.ProgrammingError:
            return False
        return True

    with psycopg.connect(database_url) as connection:
        connection.execute(sql.SQL("create temporary table s (c {})").format(sql.SQL(declared.value)))
        for number, existing in enumerate(sorted({*KNOWN, "character varying(255)", "numeric(10,2)"})):
            connection.execute(f"create temporary table t{number} (c {existing})".encode())
            takes = works(f"insert into t{number} (c) select c from s")
            own = "o.c::jsonb" if existing == "json" else "o.c"
            compares = takes and works(f"select 1 from t{number} o, s where ({own}) is distinct from (s.c)")
            found = fit_of(declared, existing)
            assert found is (Fit.FITS if compares else Fit.TAKES if takes else Fit.REFUSES), existing


def test_a_mistyped_column_is_a_problem_with_a_remedy_that_helps_and_doubtful_ones_are_notes(database_url: str) -> None:
    def load() -> None:
        with transaction(database_url, "loading things") as connection:
            source = Source("", datetime(2026, 1, 1, tzinfo=UTC), "things_csv", 1)
            content = b"id,name,score\n1,a,2.50\n2,toolong,1\n"
            load_csv(Warehouse(connection, "canvas").table(THINGS), lambda: io.BytesIO(content), source)

    numeric = replace(THINGS, columns=(*THINGS.columns[:2], Column("score", ColumnType.NUMERIC, report=("score",))))
    migrate(database_url, "canvas", [numeric])
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("insert into canvas.things (canvas_id, score) values (7, 1)")
        owner.execute("alter table canvas.things alter name type varchar(5), add dept text not null default 'x'")
        owner.execute("alter table canvas.things alter dept drop default")
        found = plan(database_url, "canvas", [THINGS])
        (problem,) = found.problems
        assert problem.startswith(
            "things: canvas.things.score is numeric, but the model declares text. Declare the type of"
        )
        assert [what for what, _ in found.notes] == [
            "things: canvas.things.name is character varying(5): rows with longer texts are rejected",
            "things: canvas.things has columns that are NOT NULL without a default and that the model does not fill "
            "(dept): unless a trigger fills them, its new rows cannot be loaded",
        ]
        with connect(database_url) as connection:
            fit = fitness(connection, "canvas", [THINGS])
        assert fit.skipped == {"things": problem}
        assert fit.held == fit.skipped
        with pytest.raises(SchemaError, match="but the model declares text"):
            load()
        owner.execute(problem.split("`")[1].encode())
        with pytest.raises(SchemaError, match="link a header to dept, give it a default, or drop its NOT NULL"):
            load()
        for _, remedy in found.notes:
            owner.execute(remedy.split("`")[1].encode())
        assert (plan(database_url, "canvas", [THINGS]).problems, plan(database_url, "canvas", [THINGS]).notes) == (
            (),
            (),
        )
        load()
        assert owner.execute(
            "select name, score from canvas.things where canvas_id < 7 order by canvas_id"
        ).fetchall() == [
            ("a", "2.50"),
            ("toolong", "1"),
        ]
