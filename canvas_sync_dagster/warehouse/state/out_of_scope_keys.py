"""Keys of rows that a complete report of a term listed, although the tables do not show that they belong to the term.

Their course or enrollment is not in its table, or the model does not say how a row's term is found. Their keys are kept
with the watermark, so that the next complete report of the term can tell which of them it no longer lists.
"""

from __future__ import annotations

import io

import polars as pl
from psycopg import sql

from canvas_sync_dagster.warehouse.connection import Connection

TABLE = "canvas_sync_watermarks"


def read_out_of_scope_keys(connection: Connection, schema: str, model: str) -> dict[str, pl.DataFrame]:
    """Reads the keys that were kept of a model: scope → keys."""
    query = sql.SQL("select scope, strays from {} where model = %s and strays is not null").format(
        sql.Identifier(schema, TABLE)
    )
    rows = connection.execute(query, (model,)).fetchall()
    return {str(scope): pl.read_ipc(io.BytesIO(content)) for scope, content in rows}


def write_out_of_scope_keys(connection: Connection, schema: str, model: str, scope: str, keys: pl.DataFrame) -> None:
    """Keeps keys in place of those that were kept before, in the caller's transaction."""
    content: bytes | None = None
    if keys.height:
        file = io.BytesIO()
        keys.write_ipc(file, compression="zstd")
        content = file.getvalue()
    query = sql.SQL(
        "insert into {} as w (model, scope, strays) values (%s, %s, %s) "
        "on conflict (model, scope) do update set strays = excluded.strays where w.strays is distinct from excluded.strays"
    ).format(sql.Identifier(schema, TABLE))
    connection.execute(query, (model, scope, content))
