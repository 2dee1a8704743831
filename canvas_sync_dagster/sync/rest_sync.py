"""A list that Canvas gives over REST, from the walk to the committed table: complete or nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from psycopg import sql

from canvas_sync_dagster.catalogue import Model, RestFeed
from canvas_sync_dagster.errors import CanvasNotFoundError, NotCanvasError, SettingError
from canvas_sync_dagster.sync.journal import journaled
from canvas_sync_dagster.sync.objects import rows_of
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.outcome import ModelOutcome, SyncOutcome
from canvas_sync_dagster.sync.policy import Decision
from canvas_sync_dagster.sync.root_account import store_root_account
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.sync.terms import is_deleted, read_terms
from canvas_sync_dagster.warehouse.absence import (
    GATE,
    VolumeGate,
    in_scope,
    keys_of,
    mark_missing,
    not_deleted,
    spoken_of,
)
from canvas_sync_dagster.warehouse.loading.load import Source, load_rows
from canvas_sync_dagster.warehouse.schema.prepare import prepare_schema
from canvas_sync_dagster.warehouse.state.watermarks import Watermarks
from canvas_sync_dagster.warehouse.table_counts import count_rows
from canvas_sync_dagster.warehouse.warehouse import Warehouse

AT_ONCE = 8
"""Lists that are walked side by side. Canvas's bucket holds eleven requests in flight, and some is others' to use."""

Body = Mapping[str, Any]


def sync_list(session: Session, model: Model, options: SyncOptions, *, scope: str = "") -> SyncOutcome:
    """Walks a model's list, or one list per parent, and loads it.

    Args:
        session: The tenant's Canvas and database.
        model: What is listed.
        options: What this run asks for in place of the settings.
        scope: Canvas term id, or empty for a list without a term.

    Raises:
        CanvasSyncError: Nothing was published; the message says what to do.
    """
    feed = model.feed
    if not isinstance(feed, RestFeed):
        raise TypeError(f"{model.name} is not fed over REST")
    if model.term_scoped and not scope.isdecimal():
        raise SettingError("partition", "this is not a Canvas term", allowed="the id of a term, in digits", value=scope)
    prepare_schema(session.database_url, session.schema, session.models, [model.name])
    with journaled(session, f"rest:{model.name}", {"path": feed.path, "scope": scope}, options.run_id) as job:
        start = time.perf_counter()
        began = time.monotonic()
        walked = _walked(session, model, feed, scope)
        source = Source(scope, session.canvas.moment(began), feed.path)
        waited = time.perf_counter() - start
        with session.warehouse(f"loading {model.name}") as warehouse:
            watermarks = Watermarks(warehouse)
            watermarks.lock([model.name], scope)
            mark = watermarks.read([model.name], scope).get(model.name)
            source = replace(source, watermark=mark.observed_at if mark else None)
            deleted = is_deleted(warehouse.connection, session.schema, session.by_name, scope)
            gate = None if options.accept_shrinkage or deleted else GATE
            each = _published(warehouse, session, model, walked, source, gate)
            outcome = SyncOutcome(
                source=feed.path,
                scope=scope,
                observed_at=source.observed_at,
                decision=Decision(None, walked.reason),
                waited=waited,
                models=(each,),
            )
            job.succeed(warehouse, outcome.summary())
    if model.name == "terms":
        # Every sync begins with the terms.
        store_root_account(session)
    return outcome


def _published(
    warehouse: Warehouse, session: Session, model: Model, walked: _Walked, source: Source, gate: VolumeGate | None
) -> ModelOutcome:
    connection, schema = warehouse.connection, warehouse.schema
    assert isinstance(model.feed, RestFeed)  # noqa: S101 (the caller has seen to it)
    counts = load_rows(connection, schema, model, walked.rows, source, keep_rejects=True)
    absence = mark_missing(
        connection,
        schema,
        model,
        session.by_name,
        source,
        keys_of(model, walked.rows),
        gate=gate,
        among=spoken_of(model.feed, walked.silent),
        values=model.feed.absent,
    )
    if model.feed.absent and not absence.held:
        gone = absence.missing
        counts = replace(counts, updated=counts.updated + gone, rows_in_report=counts.rows_in_report + gone)
    Watermarks(warehouse).advance(
        model.name, source.scope, observed_at=source.observed_at, complete=True, report_id=None
    )
    counted = count_rows(connection, schema, model, session.by_name)
    return ModelOutcome(
        model, counts, counted.rows, absence=absence, suspects=counted.suspects, orphans=counted.orphans
    )


@dataclass(frozen=True, slots=True)
class _Walked:
    """A list that was read to its end, or all lists of the parents.

    Attributes:
        rows: What they hold.
        silent: Parents that Canvas does not find: they are gone, or hidden from the token, and nobody can say which.
    """

    rows: list[dict[str, object]]
    silent: tuple[int, ...] = ()

    @property
    def reason(self) -> str:
        missed = f"; Canvas does not find {', '.join(map(str, self.silent))}" if self.silent else ""
        return f"a list over REST is always read in full{missed}"


def _walked(session: Session, model: Model, feed: RestFeed, scope: str) -> _Walked:
    """Reads the whole list, or all lists of the parents, as rows; an error in its middle leaves nothing."""
    if feed.per is None:
        return _Walked(rows_of(session, model, ((body, {}) for body in _list(session, feed))))
    parents = _parents(session, feed.per, scope)
    with ThreadPoolExecutor(max_workers=AT_ONCE) as threads:
        lists = list(threads.map(lambda each: _list_of(session, feed, each), parents))
    told = (
        (body, {feed.inject: parent} if feed.inject else {})
        for parent, bodies in zip(parents, lists, strict=True)
        for body in bodies or ()
    )
    rows = rows_of(session, model, told)
    return _Walked(rows, tuple(parent for parent, bodies in zip(parents, lists, strict=True) if bodies is None))


def _list(session: Session, feed: RestFeed) -> list[Body]:
    found: list[Body] = list(session.canvas.get_list(feed.path, feed.parameters, envelope=feed.envelope))
    if feed.first is None:
        return found
    first = session.canvas.get(feed.first)
    if not isinstance(first, dict):
        raise NotCanvasError(f"{feed.first} does not answer with an object. Check CANVAS_SYNC_BASE_URL.")
    return [first, *found]


def _list_of(session: Session, feed: RestFeed, parent: int) -> list[Body] | None:
    path = feed.path.replace("{parent}", str(parent))
    try:
        found: list[Body] = list(session.canvas.get_list(path, feed.parameters, envelope=feed.envelope))
    except CanvasNotFoundError:
        return None
    return [each[feed.item] for each in found] if feed.item else found


def _parents(session: Session, per: str, scope: str) -> list[int]:
    """Finds the parents whose lists are walked."""
    if per == "self":
        return [_own_id(session, "/users/self")]
    model = session.by_name.get(per)
    if model is None:
        return _parents_unknown(session, per)
    with session.transaction(f"reading {per}") as connection:
        query = sql.SQL("select t.{key} from {table} t where {live} and {scope} order by 1").format(
            key=sql.Identifier(model.key[0]),
            table=sql.Identifier(session.schema, model.table),
            live=not_deleted(model),
            scope=in_scope(session.schema, model, session.by_name, scope),
        )
        found = [int(row[0]) for row in connection.execute(query).fetchall()]
    return found or (_parents_unknown(session, per) if per == "accounts" else [])


def _parents_unknown(session: Session, per: str) -> list[int]:
    """Returns the parents where the tenant does not sync them: of the accounts the tenant's own one.

    Raises:
        SettingError: Without the parents' table it is not known which lists there are.
    """
    if per != "accounts":
        problem = f"their lists are read for each row of {per}, which this tenant does not sync"
        raise SettingError("models", problem, allowed=f"{per} in addition")
    return [_own_id(session, "/accounts/{account_id}")]


def _own_id(session: Session, path: str) -> int:
    body = session.canvas.get(path)
    if not isinstance(body, dict) or not str(body.get("id", "")).isdecimal():
        raise NotCanvasError(f"{path} does not answer with an object. Check CANVAS_SYNC_BASE_URL.")
    return int(body["id"])


def live_term_ids(session: Session) -> list[str]:
    """Return the ids of the terms that Canvas lists and has not deleted, as partition keys."""
    with session.transaction("reading terms") as connection:
        terms = read_terms(connection, session.schema, session.by_name["terms"])
    return [term.id for term in terms if not term.deleted and not term.missing]
