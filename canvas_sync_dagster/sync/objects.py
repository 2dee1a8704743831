"""Single objects, asked of Canvas again: after events, for suspects, for parents that are missing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from string import Formatter
from typing import Any
from urllib.parse import parse_qsl

from canvas_sync_dagster.catalogue import Model
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
from canvas_sync_dagster.sync.extensions import ApiOverride
from canvas_sync_dagster.sync.object_rows import as_row
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.loading.load import LoadCounts, Source, load_rows
from canvas_sync_dagster.warehouse.loading.row_statements import mark_deleted, read_rows
from canvas_sync_dagster.warehouse.warehouse import Table

AT_ONCE = 8
"""Requests side by side; Canvas's bucket holds eleven in flight."""

ACCOUNTS = frozenset({"account_id", "root_account_id"})
"""What a path names that the client fills in."""

Row = Mapping[str, Any]


class Verdict(Enum):
    """What Canvas said of one object."""

    FOUND = "found"
    GONE = "gone"
    FORBIDDEN = "forbidden"
    UNASKED = "unasked"
    """The row does not hold what the object's path needs, or Canvas shows no such objects singly."""
    FAILED = "failed"
    """Canvas answers, but not about this object."""
    POSTPONED = "postponed"
    """There was no time left to ask."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Canvas's word on one object.

    Attributes:
        row: What was asked about.
        verdict: What was said.
        content: The object's columns, if it was found.
        observed_at: When it was asked, on Canvas's clock.
        problem: Why it failed.
        gone: What is written to the row if it is gone; what the model declares if None.
        error: What a function of the user's raised; the object is not to blame.
    """

    row: Row
    verdict: Verdict
    content: Mapping[str, object] = field(default_factory=dict)
    observed_at: datetime | None = None
    problem: str = ""
    gone: Mapping[str, object] | None = None
    error: FunctionError | None = None


def path_columns(model: Model) -> set[str]:
    """Names the columns that the path of a single object needs."""
    named = {name for _, name, _, _ in Formatter().parse(model.single or "") if name}
    return named - ACCOUNTS


def can_ask(session: Session, model: Model) -> bool:
    """Says whether Canvas shows single objects of a model."""
    override = session.extensions.api.get(model.name)
    return model.single is not None or (override is not None and override.fetch is not None)


def can_ask_about(session: Session, model: Model, row: Row) -> bool:
    """Says whether Canvas shows single objects of a model, and the row holds what this one's path needs."""
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
    """Asks Canvas about each row's object.

    A 404 counts as gone only while the token may see the account: else it may as well hide the object.

    Args:
        session: The tenant's Canvas.
        model: What the rows are of.
        rows: With what the objects' path needs.
        until: Moment of `time.monotonic()` after which nothing is waited for; what is not answered by then is postponed.
        connection: In a transaction, by which the rows are read for the user's functions; a new one if not given.

    Raises:
        CanvasError: Canvas does not answer, or does not accept the token.
    """
    if session.extensions.api.get(model.name, ApiOverride()).has_function:
        rows = completed(session, model, rows, connection)
    threads = ThreadPoolExecutor(max_workers=AT_ONCE)
    try:
        asked = [threads.submit(_ask_one, session, model, row) for row in rows]
        answers = [_answer(row, each) for row, each in zip(rows, _finished(asked, until), strict=True)]
        if all(answer.verdict not in {Verdict.GONE, Verdict.FORBIDDEN} for answer in answers):
            return answers
        # Raises if the token itself is what Canvas refuses.
        (account,) = _finished([threads.submit(session.canvas.get, "/accounts/{account_id}")], until)
        return answers if account is not None else [Answer(row, Verdict.POSTPONED) for row in rows]
    finally:
        # A request that hangs must not hold up whoever has no time left; it ends by its own timeout.
        threads.shutdown(wait=until is None, cancel_futures=True)


def _finished(asked: Sequence[Future[Any]], until: float | None) -> list[Any]:
    """Waits for results, until a moment or the first error, which is raised; None stands for what is not there by then."""
    wait(asked, None if until is None else max(0.0, until - time.monotonic()), return_when=FIRST_EXCEPTION)
    done = [each if each.done() else None for each in asked]
    return [None if each is None else each.result() for each in done]


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
        # An older Canvas says 401 for what the token may not see.
        return Answer(row, Verdict.FORBIDDEN, observed_at=session.canvas.moment(began))
    except (CanvasRequestError, CanvasUnavailableError) as error:
        # Raises if it is not this object alone.
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
        raise NotCanvasError(f"{model.name}: Canvas does not answer with an object for {model.single}.")
    content = row_of(session, model, body, row)
    # What was asked about is what was answered, even if the object does not repeat its key, or the course it is in.
    asked = (*model.key, *path_columns(model)) if override.fetch is None else model.key
    content |= {name: row[name] for name in asked if content.get(name) is None}
    return Answer(row, Verdict.FOUND, content, session.canvas.moment(began))


def _get(session: Session, model: Model, row: Row) -> Any:
    path, _, query = (model.single or "").partition("?")
    values = {name: row[name] for name in path_columns(model)}
    return session.canvas.get(path.format(**values, **{name: f"{{{name}}}" for name in ACCOUNTS}), parse_qsl(query))


def row_of(session: Session, model: Model, body: Mapping[str, Any], row: Row) -> dict[str, object]:
    """Map an object of Canvas's API to columns, by the declaration and by what the user registered with `sync.api`.

    Args:
        session: The tenant's Canvas.
        model: Model of the object.
        body: The object.
        row: Its row in the table; read only by the user's functions.

    Raises:
        FunctionError: A function of the user's raised.
    """
    override = session.extensions.api.get(model.name, ApiOverride())
    return api_functions.values(override, model, body, as_row(model, body, session.shard), row)


def rows_of(
    session: Session,
    model: Model,
    bodies: Iterable[tuple[Mapping[str, Any], Row]],
    connection: Connection | None = None,
) -> list[dict[str, object]]:
    """Map a list of objects to columns.

    Args:
        session: The tenant's Canvas and database.
        model: Model of the objects.
        bodies: Each with the values that it does not contain, such as the course it was requested from.
        connection: In a transaction, by which the rows are read for the user's functions; a new one if not given.

    Raises:
        FunctionError: A function of the user's raised.
    """
    given = list(bodies)
    known: Sequence[Row] = [values for _, values in given]
    if session.extensions.api.get(model.name, ApiOverride()).maps_by_function:
        mapped = [{**values, **as_row(model, body, session.shard)} for body, values in given]
        keys = [{name: row.get(name) for name in model.key} for row in mapped]
        known = completed(
            session, model, [{**values, **key} for (_, values), key in zip(given, keys, strict=True)], connection
        )
    return [{**values, **row_of(session, model, body, row)} for (body, values), row in zip(given, known, strict=True)]


def completed(
    session: Session, model: Model, rows: Sequence[Row], connection: Connection | None = None
) -> list[dict[str, Any]]:
    """Return rows with all columns of the table, as the user's functions get them.

    What is given counts more than what the table holds. For a row that the table lacks, the model's columns are None.
    """
    blank = dict.fromkeys(column.name for column in model.columns)
    complete = [row for row in rows if all(row.get(name) is not None for name in model.key)]
    with session.transaction(f"reading {model.name}") if connection is None else nullcontext(connection) as opened:
        held = {_key(model, row): row for row in read_rows(session.warehouse_on(opened).table(model), None, complete)}
    found = []
    for row in rows:
        there = held.get(_key(model, row), {})
        told = {name: value for name, value in row.items() if value is not None}
        found.append({**blank, **there, **told, **{name: there[name] for name in model.key if name in there}})
    return found


def _key(model: Model, row: Row) -> tuple[str, ...]:
    return tuple(str(row.get(name)) for name in model.key)


@dataclass(frozen=True, slots=True)
class Applied:
    """What answers did to the table.

    Attributes:
        counts: What became of the objects that were found.
        deleted: Rows that are marked as deleted now.
        forbidden: Objects that the token may not see; their rows stay as they are.
        unasked: Rows that Canvas could not be asked about.
    """

    counts: LoadCounts
    deleted: int
    forbidden: int
    unasked: int


def apply_answers(table: Table, answers: Iterable[Answer], *, keep_rejects: bool = False) -> Applied:
    """Write answers of Canvas in the caller's transaction; a row with a newer observation stays as it is.

    Args:
        table: Table of the model that the answers are about.
        answers: Of Canvas.
        keep_rejects: Whether objects that do not fit their table go to `canvas_sync_rejected_rows`, instead of failing all.
    """
    model, given = table.model, list(answers)
    found = [(each.observed_at, each) for each in given if each.verdict is Verdict.FOUND and each.observed_at]
    counts = LoadCounts()
    if found:
        source = Source("", max(at for at, _ in found), model.single or model.name, complete=False)
        rows = [{**answer.content, "observed_at": at} for at, answer in found]
        counts = load_rows(table, rows, source, timed=True, keep_rejects=keep_rejects)
    deleted = 0
    for answer in given:
        if answer.verdict is Verdict.GONE and answer.observed_at is not None:
            values = model.deleted_values if answer.gone is None else answer.gone
            deleted += mark_deleted(table, answer.row, values, answer.observed_at)
    return Applied(
        counts,
        deleted,
        sum(answer.verdict is Verdict.FORBIDDEN for answer in given),
        sum(answer.verdict is Verdict.UNASKED for answer in given),
    )
