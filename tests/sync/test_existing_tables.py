"""Tables as the gem made them: an id of their own, narrow types, times without zone, none of the system's columns."""

from __future__ import annotations

import psycopg
from psycopg import sql

from canvas_sync_dagster.catalogue import BUILT_IN, SYSTEM_COLUMNS, ColumnType, Model
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.loading.row_statements import mark_deleted
from canvas_sync_dagster.warehouse.schema.migrate import migrate
from canvas_sync_dagster.warehouse.warehouse import Warehouse
from tests.truth import COLUMNS, FULL, actual, expected, sync_list, sync_structure

GEM_TYPES = {
    ColumnType.TEXT: "varchar",
    ColumnType.NUMERIC: "double precision",
    ColumnType.TIMESTAMP: "timestamp(6) without time zone",
    ColumnType.JSON: "json",
}
INTEGERS = {"canvas_account_id", "canvas_term_id", "canvas_role_id"}
STRUCTURE = ("users", "pseudonyms", "courses", "sections", "enrollments")
ADDED = {column.name for column in SYSTEM_COLUMNS} - {"created_at", "updated_at"}


def create_as_the_gem(connection: psycopg.Connection[tuple[object, ...]], model: Model) -> None:
    kinds = {c.name: "integer" if c.name in INTEGERS else GEM_TYPES.get(c.type, c.type.value) for c in model.columns}
    columns = [sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in kinds.items()]
    connection.execute(
        sql.SQL(
            "create table {} (id bigserial primary key, {}, flag integer not null default 7, "
            "created_at timestamp(6) not null, updated_at timestamp(6) not null)"
        ).format(sql.Identifier("canvas", model.name), sql.SQL(", ").join(columns))
    )
    key = sql.SQL(", ").join(map(sql.Identifier, model.key))
    connection.execute(sql.SQL("create unique index on {} ({})").format(sql.Identifier("canvas", model.name), key))


def test_tables_of_the_gem_become_and_stay_true_without_the_systems_columns(
    canvas: SimulatedCanvas, session: Session
) -> None:
    roles = session.by_name["roles"]
    with psycopg.connect(session.database_url) as connection:
        connection.execute("drop schema canvas cascade; create schema canvas")
        for model in BUILT_IN:
            create_as_the_gem(connection, model)
        connection.execute("create view canvas.living as select canvas_id, name from canvas.users")
    migrate(session.database_url, "canvas", BUILT_IN)
    with psycopg.connect(session.database_url) as connection:
        for model in BUILT_IN:
            drops = sql.SQL(", ").join(sql.SQL("drop {}").format(sql.Identifier(name)) for name in sorted(ADDED))
            connection.execute(sql.SQL("alter table {} {}").format(sql.Identifier("canvas", model.name), drops))
    for days in (0, 3):
        canvas.advance(days=days)
        sync_structure(session)
        sync_list(Flow.of(session, FULL), roles)
        for name in STRUCTURE:
            have, want = actual(session.database_url, name), expected(canvas, name)
            assert have == {**have, **want}, name
    versions = "select sum(hashtext(t::text || xmin::text)) from canvas.{} t"
    with psycopg.connect(session.database_url, autocommit=True) as connection:
        before = [connection.execute(versions.format(model)).fetchone() for model in (*COLUMNS, "roles")]
        sync_structure(session)
        sync_list(Flow.of(session, FULL), roles)
        assert [connection.execute(versions.format(model)).fetchone() for model in (*COLUMNS, "roles")] == before
        row = connection.execute("select canvas_id from canvas.roles where workflow_state = 'active'").fetchone()
        assert row is not None
        gone = {"canvas_id": row[0]}
        moment = session.canvas.now()
        assert (
            mark_deleted(Warehouse(connection, "canvas").table(roles), gone, {"workflow_state": "inactive"}, moment)
            == 1
        )
