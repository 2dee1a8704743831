"""Single objects, asked of Canvas again: after events, for suspects, for parents that are missing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
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
    NotCanvasError,
)
from canvas_sync_dagster.sync.extensions import ApiOverride
from canvas_sync_dagster.sync.mapping import as_row
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.connection import Connection
from canvas_sync_dagster.warehouse.load import LoadCounts, Source, load_rows
from canvas_sync_dagster.warehouse.single import mark_deleted

AT_ONCE = 8
"""Requests side by side; Canvas's bucket holds eleven in flight."""

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
    """

    row: Row
    verdict: Verdict
    content: Mapping[str, object] = field(default_factory=dict)
    observed_at: datetime | None = None
    problem: str = ""


def path_columns(model: Model) -> set[str]:
    """Names the columns that the path of a single object needs."""
    named = {name for _, name, _, _ in Formatter().parse(model.single or "") if name}
    return named - {"account_id"}


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


def ask(session: Session, model: Model, rows: Sequence[Row], *, until: float | None = None) -> list[Answer]:
    """Asks Canvas about each row's object.

    A 404 counts as gone only while the token may see the account: else it may as well hide the object.

    Args:
        session: The tenant's Canvas.
        model: What the rows are of.
        rows: With what the objects' path needs.
        until: Moment of `time.monotonic()` after which nothing is waited for; what is not answered by then is postponed.

    Raises:
        CanvasError: Canvas does not answer, or does not accept the token.
    """
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
    override = session.extensions.api.get(model.name, ApiOverride())
    if not can_ask_about(session, model, row):
        return Answer(row, Verdict.UNASKED)
    began = time.monotonic()
    try:
        body = override.fetch(session.canvas, row) if override.fetch else _get(session, model, row)
    except CanvasNotFoundError:
        return Answer(row, Verdict.GONE, observed_at=session.canvas.moment(began))
    except (CanvasForbiddenError, CanvasUnauthorizedError):
        # An older Canvas says 401 for what the token may not see.
        return Answer(row, Verdict.FORBIDDEN, observed_at=session.canvas.moment(began))
    except (CanvasRequestError, CanvasUnavailableError) as error:
        # Raises if it is not this object alone.
        session.canvas.get("/accounts/{account_id}")
        return Answer(row, Verdict.FAILED, problem=str(error))
    if not isinstance(body, Mapping):
        raise NotCanvasError(f"{model.name}: Canvas does not answer with an object for {model.single}.")
    content = row_of(session, model, body)
    # What was asked about is what was answered, even if the object does not repeat its key, or the course it is in.
    asked = (*model.key, *path_columns(model)) if override.fetch is None else model.key
    content |= {name: row[name] for name in asked if content.get(name) is None}
    return Answer(row, Verdict.FOUND, content, session.canvas.moment(began))


def _get(session: Session, model: Model, row: Row) -> Any:
    path, _, query = (model.single or "").partition("?")
    values = {name: row[name] for name in path_columns(model)}
    return session.canvas.get(path.format(**values, account_id="{account_id}"), parse_qsl(query))


def row_of(session: Session, model: Model, body: Mapping[str, Any]) -> dict[str, object]:
    """Maps an object of Canvas's API to columns, by the declaration and by what the user says beside it."""
    override = session.extensions.api.get(model.name, ApiOverride())
    return {**as_row(model, body, session.shard), **_fields(override, body)}


def _fields(override: ApiOverride, body: Mapping[str, Any]) -> dict[str, object]:
    found: dict[str, object] = {}
    for column, source in override.fields.items():
        if callable(source):
            found[column] = source(body)
            continue
        value: Any = body
        for key in source.split("."):
            if not isinstance(value, Mapping) or key not in value:
                break
            value = value[key]
        else:
            found[column] = value
    return found


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


def apply_answers(connection: Connection, session: Session, model: Model, answers: Iterable[Answer]) -> Applied:
    """Writes what Canvas said, in the caller's transaction, under the ordering rule."""
    given = list(answers)
    override = session.extensions.api.get(model.name, ApiOverride())
    found = [(each.observed_at, each) for each in given if each.verdict is Verdict.FOUND and each.observed_at]
    counts = LoadCounts()
    if found:
        source = Source("", max(at for at, _ in found), model.single or model.name, complete=False)
        rows = [{**answer.content, "observed_at": at} for at, answer in found]
        counts = load_rows(connection, session.schema, model, rows, source, timed=True)
    deleted = 0
    for answer in given:
        if answer.verdict is Verdict.GONE and answer.observed_at is not None:
            values = override.deleted_values(model, answer.row)
            deleted += mark_deleted(connection, session.schema, model, answer.row, values, answer.observed_at)
    return Applied(
        counts,
        deleted,
        sum(answer.verdict is Verdict.FORBIDDEN for answer in given),
        sum(answer.verdict is Verdict.UNASKED for answer in given),
    )
