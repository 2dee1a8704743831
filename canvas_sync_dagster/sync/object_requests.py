"""Requests for single objects: after events, for suspects, for missing parents, and for the user's functions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from string import Formatter
from typing import Any
from urllib.parse import parse_qsl

from canvas_sync_dagster.catalogue import Model
from canvas_sync_dagster.catalogue.identity_cache import once_per_model
from canvas_sync_dagster.catalogue.model import ObjectList
from canvas_sync_dagster.errors import (
    CanvasForbiddenError,
    CanvasNotFoundError,
    CanvasRequestError,
    CanvasUnauthorizedError,
    CanvasUnavailableError,
    FunctionError,
    NotCanvasError,
)
from canvas_sync_dagster.sync import api_functions
from canvas_sync_dagster.sync.api_rows import completed, row_of
from canvas_sync_dagster.sync.extensions import ApiOverride
from canvas_sync_dagster.sync.object_lists import lists_of, parameters_of
from canvas_sync_dagster.sync.object_rows import Change, as_row, change_of
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.connection import Connection

AT_ONCE = 8
"""Requests at the same time; Canvas's bucket has room for eleven."""

ACCOUNTS = frozenset({"account_id", "root_account_id"})
"""Names in a path that the client fills in."""

Row = Mapping[str, Any]


class Verdict(Enum):
    """Result of the request for one object."""

    FOUND = "found"
    GONE = "gone"
    FORBIDDEN = "forbidden"
    UNASKED = "unasked"
    """No request was sent: the row lacks a value that the path needs, or Canvas has no endpoint for single objects."""
    FAILED = "failed"
    """Canvas answers other requests, but not this one."""
    POSTPONED = "postponed"
    """The time was over before the answer came."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Canvas's answer about one object.

    Attributes:
        row: The row that was asked about, column → value.
        verdict: Result of the request.
        content: Columns of the object, if it was found.
        observed_at: When the request was sent, on Canvas's clock.
        problem: Why the request failed.
        gone: Values that are written to the row if the object is gone; those that the model declares if None.
        error: Exception of the user's function, which is not a problem of the object.
        change: What the object shows about its latest change.
    """

    row: Row
    verdict: Verdict
    content: Mapping[str, object] = field(default_factory=dict)
    observed_at: datetime | None = None
    problem: str = ""
    gone: Mapping[str, object] | None = None
    error: FunctionError | None = None
    change: Change = field(default_factory=Change)


@once_per_model
def path_columns(model: Model) -> frozenset[str]:
    """Return the columns that the path of a single object needs."""
    named = {name for _, name, _, _ in Formatter().parse(model.single or "") if name}
    return frozenset(named - ACCOUNTS)


def can_ask(session: Session, model: Model) -> bool:
    """Return whether single objects of a model can be requested."""
    override = session.extensions.api.get(model.name)
    return model.single is not None or (override is not None and override.fetch is not None)


def can_ask_about(session: Session, model: Model, row: Row) -> bool:
    """Return whether the object of a row can be requested: the row has the values that its path needs."""
    override = session.extensions.api.get(model.name, ApiOverride())
    if override.fetch is not None:
        return True
    return model.single is not None and all(row.get(name) is not None for name in path_columns(model))


def ask(
    session: Session,
    model: Model,
    rows: Sequence[Row],
    *,
    until: float | None = None,
    connection: Connection | None = None,
) -> list[Answer]:
    """Request the object of each row.

    A 404 counts as gone only while the token can read the account; otherwise Canvas may hide the object from the token.

    Args:
        session: The tenant's Canvas and database.
        model: Model of the objects.
        rows: Column → value, with those columns that the path needs.
        until: Moment of `time.monotonic()` until which answers are waited for; the others are postponed.
        connection: In a transaction, by which the rows are read for the user's functions; a new one if not given.

    Returns:
        An answer per row, in the order of the rows.

    Raises:
        CanvasError: Canvas does not answer, or refuses the token.
    """
    if session.extensions.api.get(model.name, ApiOverride()).has_function:
        rows = completed(session, model, rows, connection)
    threads = ThreadPoolExecutor(max_workers=AT_ONCE)
    try:
        listed = _ask_lists(session, model, rows, threads, until)
        asked = [threads.submit(_ask_one, session, model, row) for row in rows if id(row) not in listed]
        single = iter(_finished(asked, until))
        answers = [listed.get(id(row)) or _answer(row, next(single)) for row in rows]
        if all(answer.verdict not in {Verdict.GONE, Verdict.FORBIDDEN} for answer in answers):
            return answers
        # Raises if Canvas refuses the token itself.
        (account,) = _finished([threads.submit(session.canvas.get, "/accounts/{account_id}")], until)
        return answers if account is not None else [Answer(row, Verdict.POSTPONED) for row in rows]
    finally:
        # A request that hangs must not delay a caller whose time is over; it ends by its own timeout.
        threads.shutdown(wait=until is None, cancel_futures=True)


def _ask_lists(
    session: Session, model: Model, rows: Sequence[Row], threads: ThreadPoolExecutor, until: float | None
) -> dict[int, Answer]:
    """Request lists of objects where Canvas has them.

    Returns:
        `id` of a row → its answer. An object that a list does not contain may be deleted, or hidden from lists; it is
        requested by itself. So are the objects of a list that Canvas refuses, as for a student who has left the course.
    """
    override = session.extensions.api.get(model.name, ApiOverride())
    if model.several is None or override.fetch is not None:
        return {}
    groups = lists_of(model.several, [row for row in rows if can_ask_about(session, model, row)])
    asked = [threads.submit(_ask_list, session, model, model.several, group) for group in groups]
    return {key: answer for found in _finished(asked, until) if found for key, answer in found.items()}


def _ask_list(session: Session, model: Model, several: ObjectList, rows: Sequence[Row]) -> dict[int, Answer]:
    began, columns = time.monotonic(), list(several.ids.values())
    wanted = {tuple(row[name] for name in columns): row for row in rows}
    found: dict[int, Answer] = {}
    try:
        for body in session.canvas.get_list(several.path.format(**rows[0]), parameters_of(several, rows)):
            values = as_row(model, body, session.shard)
            row = wanted.get(tuple(values.get(name) for name in columns))
            if row is not None:
                found[id(row)] = _found(session, model, row, body, began)
    except (
        CanvasForbiddenError,
        CanvasUnauthorizedError,
        CanvasNotFoundError,
        CanvasRequestError,
        CanvasUnavailableError,
        FunctionError,
    ):
        return {}
    return found


def _finished(asked: Sequence[Future[Any]], until: float | None) -> list[Any]:
    """Wait for results until a moment or the first error, which is raised; return None for those that are not ready."""
    wait(asked, None if until is None else max(0.0, until - time.monotonic()), return_when=FIRST_EXCEPTION)
    done = [future if future.done() else None for future in asked]
    return [None if future is None else future.result() for future in done]


def _answer(row: Row, answer: Answer | None) -> Answer:
    return Answer(row, Verdict.POSTPONED) if answer is None else answer


def _ask_one(session: Session, model: Model, row: Row) -> Answer:
    if not can_ask_about(session, model, row):
        return Answer(row, Verdict.UNASKED)
    began = time.monotonic()
    try:
        return _asked(session, model, row, began)
    except FunctionError as error:
        return Answer(row, Verdict.FAILED, problem=str(error), error=error)
    except (CanvasForbiddenError, CanvasUnauthorizedError):
        # An older Canvas returns 401 for objects that the token may not see.
        return Answer(row, Verdict.FORBIDDEN, observed_at=session.canvas.moment(began))
    except (CanvasRequestError, CanvasUnavailableError) as error:
        # Raises if Canvas refuses other requests, too.
        session.canvas.get("/accounts/{account_id}")
        return Answer(row, Verdict.FAILED, problem=str(error))


def _asked(session: Session, model: Model, row: Row, began: float) -> Answer:
    override = session.extensions.api.get(model.name, ApiOverride())
    try:
        body = (
            api_functions.fetch(override, session.canvas, model, row) if override.fetch else _get(session, model, row)
        )
    except CanvasNotFoundError:
        values = api_functions.deleted_values(override, model, row)
        return Answer(row, Verdict.GONE, observed_at=session.canvas.moment(began), gone=values)
    if not isinstance(body, Mapping):
        raise NotCanvasError(f"{model.name}: Canvas does not return an object for {model.single}.")
    return _found(session, model, row, body, began)


def _found(session: Session, model: Model, row: Row, body: Mapping[str, Any], began: float) -> Answer:
    override = session.extensions.api.get(model.name, ApiOverride())
    content = row_of(session, model, body, row)
    # The answer is about the requested object, even if it does not contain its key, or the course that it is in.
    asked = (*model.key, *path_columns(model)) if override.fetch is None else model.key
    content |= {name: row[name] for name in asked if content.get(name) is None}
    return Answer(row, Verdict.FOUND, content, session.canvas.moment(began), change=change_of(body))


def _get(session: Session, model: Model, row: Row) -> Any:
    path, _, query = (model.single or "").partition("?")
    values = {name: row[name] for name in path_columns(model)}
    return session.canvas.get(path.format(**values, **{name: f"{{{name}}}" for name in ACCOUNTS}), parse_qsl(query))
