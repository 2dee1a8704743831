"""The parents whose lists a walk reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from psycopg import sql

from canvas_sync_dagster.catalogue import Model, RestFeed
from canvas_sync_dagster.catalogue.model import CONTEXTS
from canvas_sync_dagster.errors import NotCanvasError, SettingError
from canvas_sync_dagster.sync.covered_terms import CoveredTerms
from canvas_sync_dagster.sync.object_rows import local_id
from canvas_sync_dagster.sync.rest_lists import ACCOUNT, Parent
from canvas_sync_dagster.sync.scope import in_scope
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.sync.terms import list_terms
from canvas_sync_dagster.warehouse.loading.row_statements import read_live_contexts, read_live_ids
from canvas_sync_dagster.warehouse.loading.target import system_columns
from canvas_sync_dagster.warehouse.row_conditions import EVERY_ROW, refers_to, written_since
from canvas_sync_dagster.warehouse.state.watermarks import Watermarks
from canvas_sync_dagster.warehouse.warehouse import Table, Warehouse

PATHS: Mapping[str, str] = {"Course": "courses", "Account": "accounts"}
"""Type of a context → its part of a path."""


def parents_of(
    session: Session,
    model: Model,
    feed: RestFeed,
    scope: str,
    since: datetime | None,
    *,
    courses: Sequence[int] | None = None,
) -> list[Parent]:
    """Return the parents whose lists are read. Those that were active since the last walk come first.

    Args:
        session: The tenant's Canvas and database.
        model: Model of the listed objects.
        feed: Its feed.
        scope: Canvas term id of the parents, or empty for all.
        since: Reads only the lists of parents that were active since then, or what changed since then; None reads all.
        courses: Ids of the courses that Canvas lists; if not given, Canvas is asked where the feed requires it.

    Raises:
        SettingError: The tenant does not sync the model of the parents.
    """
    if feed.per is None:
        return [Parent(ACCOUNT)]
    if feed.per == "self":
        return [Parent(_id_of(session, "/users/self"))]
    if feed.parents_path is not None:
        listed = listed_courses(session, feed.parents_path, scope) if courses is None else courses
        found = _among_listed(session, model, feed, scope, since, listed)
        return [*found, *_accounts(session)] if feed.per == CONTEXTS else found
    parents = session.by_name.get(feed.per)
    if parents is None:
        return [Parent(number) for number in _without_table(session, feed.per)]
    with session.warehouse(f"reading {feed.per}") as warehouse:
        table = warehouse.table(parents)
        among = sql.SQL(" and ").join([_may_have_objects(table, model, feed, scope), _is_active(table, feed, since)])
        if "{context}" in feed.path:
            contexts = read_live_contexts(table, scope, among=among)
            return [Parent(number, f"{PATHS[kind]}/{of}") for number, kind, of in contexts if kind in PATHS]
        ids = read_live_ids(table, scope, among=among, deleted=feed.of_deleted)
    return [Parent(number) for number in ids or (_without_table(session, "accounts") if feed.per == "accounts" else ())]


def listed_courses(session: Session, path: str, scope: str) -> list[int]:
    """Return the ids of the courses that Canvas lists.

    Args:
        session: The tenant's Canvas and database.
        path: Path of the list.
        scope: Canvas term id; empty for the courses of all terms that the tenant's sync covers.
    """
    terms = [scope] if scope else covered_terms(session)
    queries = [[("enrollment_term_id", term)] for term in terms]
    bodies = (body for query in queries for body in session.canvas.get_list(path, query))
    ids = (local_id(body.get("id"), session.shard) for body in bodies)
    return list(dict.fromkeys(int(str(number)) for number in ids))


def covered_terms(session: Session) -> list[str]:
    """Return the ids of the terms that the tenant's sync covers; before the first sync, Canvas is asked which there are."""
    now, scope = datetime.now(UTC), session.extensions.term_scope
    terms = CoveredTerms(session.tenant, session.database_url, session.models, scope, session.connections)
    return terms.in_scope(now) or in_scope(list_terms(session), scope or session.tenant.term_scope, now)


def _among_listed(
    session: Session, model: Model, feed: RestFeed, scope: str, since: datetime | None, listed: Sequence[int]
) -> list[Parent]:
    """Return the courses that may have objects; a course that the table lacks always may."""
    courses = session.by_name.get("courses")
    if courses is None:
        return _as_parents(feed, listed)
    with session.warehouse("reading courses") as warehouse:
        table, mark = warehouse.table(courses), Watermarks(warehouse).read([model.name], scope).get(model.name)
        last = since or (mark.observed_at if mark else None)
        known = set(read_live_ids(table, ""))
        usable = set(read_live_ids(table, "", among=_may_have_objects(table, model, feed, scope)))
        active = set(read_live_ids(table, "", among=_is_active(table, feed, last))) if last else set[int]()
    first = [number for number in listed if number not in known or number in active]
    among = [number for number in first if number not in known or number in usable]
    quiet = [number for number in listed if number in usable and number not in active]
    if since is None:
        return _as_parents(feed, [*among, *quiet])
    changed = [replace(parent, since=since) for parent in _as_parents(feed, quiet)] if feed.since else []
    return [*_as_parents(feed, among), *changed]


def _as_parents(feed: RestFeed, courses: Iterable[int]) -> list[Parent]:
    return [Parent(number, f"courses/{number}" if feed.per == CONTEXTS else "") for number in courses]


def _accounts(session: Session) -> list[Parent]:
    accounts, ids = session.by_name.get("accounts"), list[int]()
    if accounts is not None:
        with session.warehouse("reading accounts") as warehouse:
            ids = read_live_ids(warehouse.table(accounts), "")
    return [Parent(-number, f"accounts/{number}") for number in ids or _without_table(session, "accounts")]


def _is_active(parents: Table, feed: RestFeed, since: datetime | None) -> sql.Composable:
    if since is None or not feed.active_by or not _records_changes(parents):
        return EVERY_ROW
    active = [written_since(since, "t")]
    for name, column, *own in feed.active_by:
        if name in parents.warehouse.models and _records_changes(parents.sibling(name)):
            changed = written_since(since, "r")
            active.append(refers_to(parents, parents.sibling(name), column, changed, own=own[0] if own else None))
    return sql.SQL("({})").format(sql.SQL(" or ").join(active))


def _records_changes(table: Table) -> bool:
    """Return whether a table records when its rows changed; an existing table may lack the column."""
    return "updated_at" in system_columns(table)


def _may_have_objects(parents: Table, model: Model, feed: RestFeed, scope: str) -> sql.Composable:
    """Return the condition that a parent's list may have objects, or that the table still has some of it."""
    if feed.only_with is None or feed.holder is None or not _was_loaded(parents.warehouse, feed.only_with[0], scope):
        return EVERY_ROW
    name, column = feed.only_with
    if isinstance(feed.holder, str):
        own = refers_to(parents, parents.warehouse.table(model), feed.holder)
    else:
        _, between, holder = feed.holder
        own = refers_to(parents, parents.sibling(between), holder)
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
