"""The parents whose lists a walk reads."""

from __future__ import annotations

from datetime import datetime

from psycopg import sql

from canvas_sync_dagster.catalogue import Model, RestFeed
from canvas_sync_dagster.errors import NotCanvasError, SettingError
from canvas_sync_dagster.sync.rest_lists import ACCOUNT
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.loading.row_statements import read_live_ids
from canvas_sync_dagster.warehouse.loading.target import system_columns
from canvas_sync_dagster.warehouse.row_conditions import EVERY_ROW, refers_to, written_since
from canvas_sync_dagster.warehouse.state.watermarks import Watermarks
from canvas_sync_dagster.warehouse.warehouse import Table, Warehouse


def parents_of(session: Session, model: Model, feed: RestFeed, scope: str, since: datetime | None) -> list[int]:
    """Return the ids of the parents whose lists are read, in order.

    Args:
        session: The tenant's Canvas and database.
        model: Model of the listed objects.
        feed: Its feed.
        scope: Canvas term id of the parents, or empty for all.
        since: Reads only the lists of parents that were active since then; None reads all.

    Raises:
        SettingError: The tenant does not sync the model of the parents.
    """
    if feed.per is None:
        return [ACCOUNT]
    if feed.per == "self":
        return [_id_of(session, "/users/self")]
    parents = session.by_name.get(feed.per)
    if parents is None:
        return _without_table(session, feed.per)
    with session.warehouse(f"reading {feed.per}") as warehouse:
        table = warehouse.table(parents)
        among = [_may_have_objects(table, model, feed, scope), _is_active(table, feed, since)]
        ids = read_live_ids(table, scope, among=sql.SQL(" and ").join(among))
    return ids or (_without_table(session, feed.per) if feed.per == "accounts" else [])


def _is_active(parents: Table, feed: RestFeed, since: datetime | None) -> sql.Composable:
    if since is None or not _records_changes(parents):
        return EVERY_ROW
    active = [written_since(since, "t")]
    for name, column in feed.active_by:
        if name in parents.warehouse.models and _records_changes(parents.sibling(name)):
            active.append(refers_to(parents, parents.sibling(name), column, written_since(since, "r")))
    return sql.SQL("({})").format(sql.SQL(" or ").join(active))


def _records_changes(table: Table) -> bool:
    """Return whether a table records when its rows changed; an existing table may lack the column."""
    return "updated_at" in system_columns(table)


def _may_have_objects(parents: Table, model: Model, feed: RestFeed, scope: str) -> sql.Composable:
    """Return the condition that a parent's list may have objects, or that the table still has some of it."""
    if feed.only_with is None or feed.holder is None or not _was_loaded(parents.warehouse, feed.only_with[0], scope):
        return EVERY_ROW
    name, column = feed.only_with
    own = refers_to(parents, parents.warehouse.table(model), feed.holder)
    return sql.SQL("({} or {})").format(refers_to(parents, parents.sibling(name), column), own)


def _was_loaded(warehouse: Warehouse, model: str, scope: str) -> bool:
    """Return whether a model was loaded completely in a scope, so that the absence of a row means something."""
    if model not in warehouse.models:
        return False
    mark = Watermarks(warehouse).read([model], scope).get(model)
    return mark is not None and mark.full_observed_at is not None


def _without_table(session: Session, per: str) -> list[int]:
    """Return the parents if the tenant does not sync them: of the accounts, the tenant's own one.

    Raises:
        SettingError: The lists are unknown without the parents' table.
    """
    if per != "accounts":
        problem = f"their lists are read for each row of {per}, which this tenant does not sync"
        raise SettingError("models", problem, allowed=f"{per} in addition")
    return [_id_of(session, "/accounts/{account_id}")]


def _id_of(session: Session, path: str) -> int:
    body = session.canvas.get(path)
    if not isinstance(body, dict) or not str(body.get("id", "")).isdecimal():
        raise NotCanvasError(f"{path} does not answer with an object. Check CANVAS_SYNC_BASE_URL.")
    return int(body["id"])
