"""A list that Canvas gives over REST, from the walk to the committed table: complete or nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from psycopg import sql

from canvas_sync_dagster.catalogue import Model, RestFeed
from canvas_sync_dagster.errors import NotCanvasError
from canvas_sync_dagster.sync.journal import journaled
from canvas_sync_dagster.sync.outcome import ModelOutcome, SyncOutcome
from canvas_sync_dagster.sync.policy import Decision
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.connection import connect, explained
from canvas_sync_dagster.warehouse.load import Source, count_rows, load_rows
from canvas_sync_dagster.warehouse.state import advance_watermark, lock_scopes, read_watermarks
from canvas_sync_dagster.warehouse.tables import prepare_schema


def sync_list(session: Session, model: Model, *, run_id: str) -> SyncOutcome:
    """Walks a model's list and loads it.

    Raises:
        CanvasSyncError: Nothing was published; the message says what to do.
    """
    feed = model.feed
    if not isinstance(feed, RestFeed):
        raise TypeError(f"{model.name} is not fed over REST")
    prepare_schema(session.database_url, session.schema, session.models)
    with journaled(session, f"rest:{model.name}", {"path": feed.path}, run_id) as job:
        start = time.perf_counter()
        observed_at = session.canvas.now()
        rows = [as_row(model, each) for each in walk(session, feed)]
        # Before its first answer we only guess Canvas's clock; the answer is at most one walk younger.
        source = Source("", min(observed_at, session.canvas.now()), feed.path)
        waited = time.perf_counter() - start
        with explained(session.database_url, f"loading {model.name}"), connect(session.database_url) as connection:
            lock_scopes(connection, session.schema, [model.name], "")
            mark = read_watermarks(connection, session.schema, [model.name], "").get(model.name)
            source = replace(source, watermark=mark.observed_at if mark else None)
            counts = load_rows(connection, session.schema, model, rows, source)
            advance_watermark(
                connection,
                session.schema,
                model.name,
                "",
                observed_at=source.observed_at,
                complete=True,
                report_id=None,
            )
            each = ModelOutcome(model, counts, count_rows(connection, session.schema, model))
            outcome = SyncOutcome(
                source=feed.path,
                scope="",
                observed_at=source.observed_at,
                decision=Decision(None, "a list over REST is always read in full"),
                waited=waited,
                models=(each,),
            )
            job.succeed(connection, outcome.summary())
    return outcome


def walk(session: Session, feed: RestFeed) -> list[dict[str, Any]]:
    """Reads the whole list; an error in its middle leaves nothing."""
    found = list(session.canvas.get_list(feed.path, feed.parameters, envelope=feed.envelope))
    if feed.first is None:
        return found
    first = session.canvas.get(feed.first)
    if not isinstance(first, dict):
        raise NotCanvasError(f"{feed.first} does not answer with an object. Check CANVAS_SYNC_BASE_URL.")
    return [first, *found]


def as_row(model: Model, body: Mapping[str, Any]) -> dict[str, object]:
    """Maps an object of Canvas's API to columns; what it does not tell is left out, so that it keeps its value.

    >>> from canvas_sync_dagster.catalogue.models import terms
    >>> as_row(terms, {"id": 7, "name": None})
    {'canvas_id': 7, 'name': None}
    """
    row: dict[str, object] = {}
    for column in model.api_columns():
        value: Any = body
        for key in (column.api or "").split("."):
            if not isinstance(value, Mapping) or key not in value:
                break
            value = value[key]
        else:
            row[column.name] = value
    return row


def live_term_ids(session: Session) -> list[str]:
    """Returns the ids of the terms that Canvas has and has not deleted, as partition keys."""
    query = sql.SQL("select canvas_id::text from {} where workflow_state is distinct from 'deleted' order by canvas_id")
    with explained(session.database_url, "reading terms"), connect(session.database_url) as connection:
        rows = connection.execute(query.format(sql.Identifier(session.schema, "terms"))).fetchall()
    return [str(row[0]) for row in rows]
