"""SQL on `canvas_sync_watermarks`: how fresh each model is in each scope, written in the transaction of its data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from canvas_sync_dagster.clocks import horizon
from canvas_sync_dagster.warehouse.connection import Connection


@dataclass(frozen=True, slots=True)
class Watermark:
    """How fresh a model is in a scope.

    Attributes:
        observed_at: Freshness of the newest load.
        full_observed_at: Freshness of the newest complete load.
        parameters: Digest of the parameters of the newest load's report, other than its term and `updated_after`.
        full_started_at: When the sync of the newest complete load started, on our own clock.
    """

    observed_at: datetime | None
    full_observed_at: datetime | None
    parameters: str = ""
    full_started_at: datetime | None = None


def read_watermarks(connection: Connection, schema: str, models: Iterable[str], scope: str) -> dict[str, Watermark]:
    """Read the watermarks of the models that were ever loaded in a scope; a time in the future counts as none."""
    query = sql.SQL(
        "select model, case when observed_at <= %s then observed_at end, "
        "case when full_observed_at <= %s then full_observed_at end, coalesce(parameters, ''), "
        "case when full_started_at <= %s then full_started_at end "
        "from {} where scope = %s and model = any(%s)"
    ).format(sql.Identifier(schema, "canvas_sync_watermarks"))
    latest = horizon()
    rows = connection.execute(query, (latest, latest, latest, scope, list(models))).fetchall()
    return {str(model): Watermark(*rest) for model, *rest in rows}


ROW_MARK = "rows:"


def row_mark(model: str) -> str:
    """Names the watermark of a model whose rows go to the user's function in place of the table."""
    return f"{ROW_MARK}{model}"


def model_marked(mark: str) -> str:
    """Names the model that a watermark speaks of, wherever its rows go."""
    return mark.removeprefix(ROW_MARK)


def lock_scopes(connection: Connection, schema: str, models: Iterable[str], scope: str) -> None:
    """Makes loads of one scope wait for each other until the transaction ends, always in the same order."""
    for model in sorted(models):
        connection.execute(
            "select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"canvas_sync load {schema} {model} {scope}",)
        )


def advance_watermark(
    connection: Connection,
    schema: str,
    model: str,
    scope: str,
    *,
    observed_at: datetime,
    complete: bool,
    report_id: int | None,
    started_at: datetime | None = None,
    parameters: str = "",
) -> None:
    """Move a watermark forward, never back unless it lies in the future, in the caller's transaction."""
    latest = sql.Literal(horizon())
    query = sql.SQL(
        "insert into {} as w (model, scope, observed_at, full_observed_at, full_started_at, report_id, parameters) "
        "values (%s, %s, %s, %s, %s, %s, %s) "
        "on conflict (model, scope) do update set updated_at = now(), report_id = excluded.report_id, "
        "parameters = case when w.observed_at > excluded.observed_at and w.observed_at <= {latest} "
        "then w.parameters else excluded.parameters end, "
        "observed_at = greatest(case when w.observed_at <= {latest} then w.observed_at end, excluded.observed_at), "
        "full_started_at = case when excluded.full_observed_at is null or (w.full_observed_at > excluded.full_observed_at "
        "and w.full_observed_at <= {latest}) then w.full_started_at else excluded.full_started_at end, "
        "full_observed_at = greatest(case when w.full_observed_at <= {latest} then w.full_observed_at end, "
        "excluded.full_observed_at)"
    ).format(sql.Identifier(schema, "canvas_sync_watermarks"), latest=latest)
    connection.execute(
        query,
        (
            model,
            scope,
            observed_at,
            observed_at if complete else None,
            started_at if complete else None,
            report_id,
            parameters,
        ),
    )
