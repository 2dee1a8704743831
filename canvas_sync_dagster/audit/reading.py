"""Read the sample of an audit from Canvas, and compare it with the table. Nothing is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from canvas_sync_dagster.audit.comparison import (
    Cause,
    Difference,
    Kind,
    cause_of,
    differing_columns,
    is_deleted,
    latest,
)
from canvas_sync_dagster.audit.draw import Draw, Drawn, Group, draw_pages
from canvas_sync_dagster.audit.estimate import SampledList, share_of_objects, share_of_rows
from canvas_sync_dagster.audit.plan import ACCOUNT, MOST_PAGES, ModelPlan
from canvas_sync_dagster.audit.result import ModelAudit
from canvas_sync_dagster.canvas.client import PAGE_SIZE
from canvas_sync_dagster.catalogue import Listing, Model
from canvas_sync_dagster.clocks import horizon
from canvas_sync_dagster.errors import (
    CanvasForbiddenError,
    CanvasNotFoundError,
    CanvasRequestError,
    CanvasUnavailableError,
    NotCanvasError,
)
from canvas_sync_dagster.sync.api_rows import rows_of
from canvas_sync_dagster.sync.object_requests import AT_ONCE, Answer, Verdict, ask
from canvas_sync_dagster.sync.object_rows import Change, change_of
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.erasure import without_erased
from canvas_sync_dagster.warehouse.reading.frames import ROW, frame_of
from canvas_sync_dagster.warehouse.sampling import SCOPE, existing_keys
from canvas_sync_dagster.warehouse.state.erased_objects import read_erased

BATCH = 100
"""Rows that are read from Canvas between two lines of progress."""
LISTS = 50
"""Lists whose objects are looked up in one transaction."""
LEAST_ALL_GONE = 5
"""Number of rows, none of which Canvas finds, from which the token probably may not see them."""

Progress = Callable[[int], None]
"""Takes the number of requests that were sent since the last call."""


def audit_model(session: Session, plan: ModelPlan, progress: Progress = lambda _: None) -> ModelAudit:
    """Compare a planned sample with Canvas.

    Args:
        session: The tenant's Canvas and database.
        plan: The sample.
        progress: Is called as requests are sent.

    Returns:
        The comparison. What Canvas hides from the token is a reason in it, and no error.

    Raises:
        CanvasError: Canvas does not answer, refuses the token, or throttles for too long.
    """
    began = time.monotonic()
    audit = ModelAudit(
        plan.model.name,
        session.canvas.moment(began),
        plan.sample,
        plan.seed,
        rows=plan.rows,
        rows_reason=plan.rows_reason,
        objects_reason=plan.objects_reason,
    )
    if not plan.rows_reason:
        audit = _compare_rows(session, plan, audit, progress)
    if not plan.objects_reason:
        audit = _look_up_objects(session, plan, audit, progress)
    # Canvas's clock is known once it has answered.
    return replace(audit, audited_at=session.canvas.moment(began), seconds=time.monotonic() - began)


def _compare_rows(session: Session, plan: ModelPlan, audit: ModelAudit, progress: Progress) -> ModelAudit:
    if not plan.drawn:
        return replace(audit, rows_reason="the table has no rows")
    answers: list[Answer] = []
    for start in range(0, len(plan.drawn), BATCH):
        part = plan.drawn[start : start + BATCH]
        answers += ask(session, plan.model, part)
        progress(len(part))
    audit = replace(audit, requests=audit.requests + len(plan.drawn))
    verdicts = [answer.verdict for answer in answers]
    read = [answer for answer in answers if _is_comparable(plan.model, answer)]
    if not read:
        hidden = verdicts.count(Verdict.FORBIDDEN)
        why = f"the token may not read {hidden} of the {len(answers)} rows" if hidden else "Canvas answers for no row"
        return replace(audit, unread=len(answers), rows_reason=why, failed=True)
    live = [answer for answer in read if not is_deleted(plan.model, answer.row)]
    if len(live) >= LEAST_ALL_GONE and all(answer.verdict is Verdict.GONE for answer in live):
        why = f"Canvas finds none of {len(live)} rows: the token probably may not see them"
        return replace(audit, unread=len(answers), rows_reason=why, failed=True)
    found = [each for answer in read if (each := _difference(plan, answer)) is not None]
    counted = [each for each in found if each.cause is not Cause.LAG]
    certain = sum(each.cause is Cause.DRIFT for each in counted)
    return replace(
        audit,
        compared=len(read),
        unread=len(answers) - len(read),
        wrong=share_of_rows(len(counted), len(read), plan.rows, certain=certain),
        differences=(*audit.differences, *found),
    )


def _is_comparable(model: Model, answer: Answer) -> bool:
    """Return whether Canvas's answer shows if a row is right.

    Of a user, a report may show a deleted login, and REST another one; REST has no state that decides.
    """
    if answer.verdict is Verdict.FOUND:
        return not is_deleted(model, answer.row) or answer.content.keys() >= model.deleted_values.keys()
    return answer.verdict is Verdict.GONE


def _difference(plan: ModelPlan, answer: Answer) -> Difference | None:
    """Return how a row differs from Canvas's answer; None if it does not."""
    model, row = plan.model, answer.row
    key = {name: row[name] for name in model.key}
    if answer.verdict is Verdict.GONE:
        # Canvas does not show when it deleted an object.
        return None if is_deleted(model, row) else Difference(key, Kind.MISSING_THERE, Cause.UNDATED, found=row)
    columns = differing_columns(model, row, answer.content)
    if not columns:
        return None
    seen = row.get("observed_at")
    believed = seen if seen is not None and seen <= horizon() else None
    observed_at = latest([believed, plan.observed.get(str(row[SCOPE]))])
    cause = cause_of(answer.change.at, observed_at, dated=answer.change.is_latest)
    return Difference(key, Kind.DIFFERS, cause, columns, answer.change.at, {**row, **answer.content})


@dataclass(frozen=True, slots=True)
class _Objects:
    """Objects of a drawn list, or why it could not be read."""

    drawn: Drawn
    bodies: Sequence[Mapping[str, Any]] = ()
    requests: int = 1
    problem: str = ""


def _look_up_objects(session: Session, plan: ModelPlan, audit: ModelAudit, progress: Progress) -> ModelAudit:
    listing = plan.model.listing
    if listing is None:
        return audit
    if not plan.groups:
        return replace(audit, objects_reason=f"the table of {listing.per} has no rows")
    try:
        draw, asked = _draw(session, plan, listing)
    except (CanvasForbiddenError, CanvasNotFoundError, CanvasRequestError) as error:
        return replace(audit, objects_reason=str(error), failed=True, requests=audit.requests + 1)
    requests, read, problems = asked, list[SampledList](), list[str]()
    missing: list[Difference] = []
    hidden = lists = looked_up = 0
    lists_read = _read_lists(session, listing, draw.lists)
    while part := list(islice(lists_read, LISTS)):
        requests += sum(each.requests for each in part)
        progress(sum(each.requests for each in part))
        problems += [each.problem for each in part if each.problem]
        shown = {each.drawn: [body for body in each.bodies if _has(body, listing.requires)] for each in part}
        hidden += sum(len(each.bodies) - len(shown[each.drawn]) for each in part)
        lists += sum(not each.problem for each in part)
        for drawn, total, absent in _absent(
            session, plan, {each.drawn: shown[each.drawn] for each in part if not each.problem}
        ):
            looked_up += total
            missing += absent
            lag = sum(one.cause is Cause.LAG for one in absent)
            # What came after the last sync is no object that the table should have.
            read.append(SampledList(total - lag, len(absent) - lag, drawn.chance, drawn.draws))
    audit = replace(audit, requests=audit.requests + requests, lists=lists, looked_up=looked_up)
    if problems and not lists:
        return replace(audit, objects_reason=problems[0], failed=True)
    if not looked_up and hidden:
        why = f"Canvas shows {listing.requires} of none of {hidden} objects to the token"
        return replace(audit, objects_reason=why, failed=True)
    share = share_of_objects(read, complete=draw.complete and not problems)
    none = "" if share is not None else "the lists that were read are empty"
    return replace(audit, missing=share, objects_reason=none, differences=(*audit.differences, *missing))


def _draw(session: Session, plan: ModelPlan, listing: Listing) -> tuple[Draw, int]:
    """Return the lists to read, and the number of requests for the numbers of their pages."""
    if not listing.numbered:
        return plan.draw, 0
    counted = [_count_pages(session, listing, group) for group in plan.groups]
    pages = [(group, number) for group, (number, _) in zip(plan.groups, counted, strict=True)]
    return draw_pages(pages, plan.sample, plan.seed), sum(requests for _, requests in counted)


def _count_pages(session: Session, listing: Listing, group: Group) -> tuple[int, int]:
    """Return a number of pages that contains the whole list, and the number of requests that found it.

    The pages after the last one are empty, and count nothing. They are few: the first empty one is searched for beyond
    what the table has, in doubling steps.
    """
    number, requests = max(1, -(-group.rows // PAGE_SIZE)), 0
    step = 1
    while True:
        requests += 1
        if not _page(session, listing, group.parent, number + 1):
            return number, requests
        number, step = number + step, step * 2


def _read_lists(session: Session, listing: Listing, lists: Sequence[Drawn]) -> Iterator[_Objects]:
    """Yield the lists in their order; several are read at the same time."""
    threads = ThreadPoolExecutor(max_workers=AT_ONCE)
    try:
        yield from threads.map(lambda each: _read_list(session, listing, each), lists)
    finally:
        threads.shutdown(wait=True, cancel_futures=True)


def _read_list(session: Session, listing: Listing, drawn: Drawn) -> _Objects:
    try:
        if drawn.page is not None:
            return _Objects(drawn, _page(session, listing, drawn.parent, drawn.page))
        path, parameters = _request(listing, drawn.parent)
        bodies = list(islice(session.canvas.get_list(path, parameters), MOST_PAGES * PAGE_SIZE))
    except CanvasNotFoundError:
        # The parent was deleted after the last sync; that is found by the audit of its own model.
        return _Objects(drawn)
    except (CanvasForbiddenError, CanvasRequestError) as error:
        return _Objects(drawn, problem=str(error))
    except CanvasUnavailableError as error:
        if error.status is None:
            raise
        return _Objects(drawn, problem=str(error))
    return _Objects(drawn, bodies, max(1, -(-len(bodies) // PAGE_SIZE)))


def _page(session: Session, listing: Listing, parent: int, page: int) -> list[dict[str, Any]]:
    path, parameters = _request(listing, parent)
    found = session.canvas.get(path, [*parameters, ("per_page", str(PAGE_SIZE)), ("page", str(page))])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise NotCanvasError(f"{path} did not return a list of objects.")
    return found


def _request(listing: Listing, parent: int) -> tuple[str, list[tuple[str, str]]]:
    """Return the path of a list and its parameters."""
    path = listing.path.replace("{parent}", str(parent))
    return path, [(name, value.replace("{parent}", str(parent))) for name, value in listing.parameters]


def _absent(
    session: Session, plan: ModelPlan, lists: Mapping[Drawn, Sequence[Mapping[str, Any]]]
) -> Iterator[tuple[Drawn, int, list[Difference]]]:
    """Yield for each list the number of its objects that should be in the table, and those that are not."""
    model = plan.model
    with session.warehouse(f"looking up {model.name}") as warehouse:
        erased, table = read_erased(warehouse), warehouse.table(model)
        for drawn, bodies in lists.items():
            rows = _not_erased(model, _rows(session, model, drawn, bodies), erased)
            present = existing_keys(table, [_key(model, row) for row, _ in rows])
            absent = [
                Difference(
                    {name: row[name] for name in model.key},
                    Kind.MISSING_HERE,
                    # An object that exists was created at some time, which is all that matters here.
                    cause_of(change.at, plan.observed.get(drawn.scope), dated=change.at is not None),
                    changed_at=change.at,
                    found=row,
                )
                for row, change in rows
                if _key(model, row) not in present
            ]
            yield drawn, len(rows), absent


def _rows(
    session: Session, model: Model, drawn: Drawn, bodies: Sequence[Mapping[str, Any]]
) -> list[tuple[dict[str, object], Change]]:
    """Return the rows of the objects that have a key, each with its latest change."""
    holder = model.listing.holder if model.listing else None
    injected = {holder: drawn.parent} if holder and drawn.parent != ACCOUNT else {}
    rows = rows_of(session, model, ((body, injected) for body in bodies))
    return [
        (row, change_of(body))
        for row, body in zip(rows, bodies, strict=True)
        if all(type(row.get(name)) in {int, str} for name in model.key)
    ]


def _not_erased(
    model: Model, rows: Sequence[tuple[dict[str, object], Change]], erased: Mapping[str, frozenset[int]]
) -> list[tuple[dict[str, object], Change]]:
    """Leave out the rows of erased people, which the table must not have."""
    if not erased or not rows:
        return list(rows)
    frame = frame_of([row for row, _ in rows], model.columns)
    kept, _ = without_erased(frame, model, erased)
    return [rows[at] for at in kept.get_column(ROW)]


def _key(model: Model, row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in model.key)


def _has(body: Mapping[str, Any], field: str | None) -> bool:
    value: Any = body
    for name in field.split(".") if field else ():
        value = value.get(name) if isinstance(value, Mapping) else None
    return value is not None
