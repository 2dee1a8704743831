"""Lists that Canvas returns over REST, read to their end: complete, or an error."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from canvas_sync_dagster.catalogue import Model, RestFeed
from canvas_sync_dagster.errors import CanvasNotFoundError, NotCanvasError, SettingError
from canvas_sync_dagster.sync.api_rows import rows_of
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.loading.row_statements import read_live_ids

AT_ONCE = 8
"""Lists that are read at the same time. Canvas's bucket has room for eleven requests, and others use some of it."""

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Walk:
    """A list that was read to its end, or the lists of all parents.

    Attributes:
        rows: Column → value, of each object.
        observed_at: When the first request was sent, on Canvas's clock.
        not_found: Ids of parents that Canvas does not find: they are deleted, or hidden from the token.
    """

    rows: list[dict[str, object]]
    observed_at: datetime
    not_found: tuple[int, ...] = ()


def walk(session: Session, model: Model, feed: RestFeed, scope: str) -> Walk:
    """Read a model's whole list, or the lists of all its parents.

    Args:
        session: The tenant's Canvas and database.
        model: Model of the objects.
        feed: Its feed: which list, or which lists.
        scope: Canvas term id of the parents, or empty for all.

    Raises:
        CanvasSyncError: A page cannot be read; nothing is returned.
    """
    start = time.monotonic()
    if feed.per is None:
        rows = rows_of(session, model, ((body, {}) for body in _list(session, feed)))
        return Walk(rows, session.canvas.moment(start))
    parents = _parents(session, feed.per, scope)
    with ThreadPoolExecutor(max_workers=AT_ONCE) as threads:
        lists = list(threads.map(lambda parent: _list_of(session, feed, parent), parents))
    bodies = (
        (body, {feed.inject: parent} if feed.inject else {})
        for parent, listed in zip(parents, lists, strict=True)
        for body in listed or ()
    )
    rows = rows_of(session, model, bodies)
    not_found = tuple(parent for parent, listed in zip(parents, lists, strict=True) if listed is None)
    return Walk(rows, session.canvas.moment(start), not_found)


def _list(session: Session, feed: RestFeed) -> list[Body]:
    listed: list[Body] = list(session.canvas.get_list(feed.path, feed.parameters, envelope=feed.envelope))
    if feed.first is None:
        return listed
    first = session.canvas.get(feed.first)
    if not isinstance(first, dict):
        raise NotCanvasError(f"{feed.first} does not answer with an object. Check CANVAS_SYNC_BASE_URL.")
    return [first, *listed]


def _list_of(session: Session, feed: RestFeed, parent: int) -> list[Body] | None:
    path = feed.path.replace("{parent}", str(parent))
    try:
        listed: list[Body] = list(session.canvas.get_list(path, feed.parameters, envelope=feed.envelope))
    except CanvasNotFoundError:
        return None
    return [body[feed.item] for body in listed] if feed.item else listed


def _parents(session: Session, per: str, scope: str) -> list[int]:
    """Return the ids of the parents whose lists are read, in order."""
    if per == "self":
        return [_id_of(session, "/users/self")]
    model = session.by_name.get(per)
    if model is None:
        return _parents_without_table(session, per)
    with session.warehouse(f"reading {per}") as warehouse:
        ids = read_live_ids(warehouse.table(model), scope)
    return ids or (_parents_without_table(session, per) if per == "accounts" else [])


def _parents_without_table(session: Session, per: str) -> list[int]:
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
