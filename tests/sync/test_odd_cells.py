"""One odd cell costs its own row, never the list, the drain or what only reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import psycopg
import pytest

from canvas_sync_dagster.canvas.answers import read_json
from canvas_sync_dagster.errors import RejectThresholdError, ReportContentError
from canvas_sync_dagster.live_events.drain import drain
from canvas_sync_dagster.live_events.event import read_event, read_time
from canvas_sync_dagster.simulator import SimulatedCanvas, event, global_id
from canvas_sync_dagster.sync.covered_terms import CoveredTerms
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.rejects import Replay, replay_rejects
from canvas_sync_dagster.sync.rest_sync import sync_list
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.sync.sync_status import read_status
from canvas_sync_dagster.warehouse.loading.load import Source, load_rows
from canvas_sync_dagster.warehouse.state.inbox import store
from canvas_sync_dagster.warehouse.state.inbox_partitions import ensure_partitions
from canvas_sync_dagster.warehouse.warehouse import Warehouse
from tests.truth import live_term_ids

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def rows(session: Session, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(session.database_url) as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


def test_odd_terms_are_kept_or_rejected_alone_and_are_no_trouble_to_read(
    canvas: SimulatedCanvas, session: Session
) -> None:
    terms = session.by_name["terms"]
    canvas.override_term(118, end_at="9999-12-31T23:59:59-07:00", name="a\0b c")
    canvas.override_term(117, start_at="20205-01-01T00:00:00Z", end_at="0000-01-01T00:00:00Z")
    canvas.override_term(116, start_at="next week")
    outcome = sync_list(Flow.of(session, SyncOptions()), terms).models[0]
    assert (outcome.counts.inserted, outcome.counts.rejected) == (4, 1)
    held: dict[Any, Any] = dict(
        cast(Any, rows(session, "select canvas_id, coalesce(end_at::text, '') from canvas.terms"))
    )
    assert held[118] == "10000-01-01 06:59:59+00"
    assert held[117] == "0001-01-01 00:00:00+00 BC"
    assert sorted(live_term_ids(session)) == ["1", "117", "118"]
    covered = CoveredTerms(session.tenant, session.database_url, session.models)
    assert covered.in_scope(canvas.now) == ["1", "118"]
    assert read_status(covered)

    assert replay_rejects(session.database_url, session.schema, terms) == Replay(1, 0, 1)
    with psycopg.connect(session.database_url) as connection:
        connection.execute("update canvas.canvas_sync_rejected_rows set raw = replace(raw, 'next week', '2026-01-02')")
    assert replay_rejects(session.database_url, session.schema, terms) == Replay(1, 1, 0)
    assert rows(session, "select start_at::date::text from canvas.terms where canvas_id = 116") == [("2026-01-02",)]


def test_a_rejected_row_is_no_missing_row(canvas: SimulatedCanvas, session: Session) -> None:
    terms = session.by_name["terms"]
    sync_list(Flow.of(session, SyncOptions()), terms)
    canvas.override_term(116, start_at="next week")
    outcome = sync_list(Flow.of(session, SyncOptions()), terms).models[0]
    assert (outcome.counts.rejected, outcome.absence.missing) == (1, 0)
    assert rows(session, "select reason from canvas.canvas_sync_rejected_rows") == [
        ("'next week' is not a valid timestamptz",)
    ]


@pytest.mark.parametrize(
    "odd",
    [
        {"canvas_id": 2**63},
        {"canvas_id": None},
        {"canvas_account_id": 10**30},
        {"canvas_account_id": float("inf")},
        {"canvas_account_id": "9" * 5000},
        {"start_at": "294277-01-01"},
        {"start_at": {"not": "a time"}},
        {"canvas_account_id": float("nan")},
    ],
)
def test_values_that_no_column_takes_reject_their_row(session: Session, odd: dict[str, object]) -> None:
    courses, source = session.by_name["courses"], Source("", T0, "/courses")
    given = [{"canvas_id": 1, "name": "one"}, {"canvas_id": 2, "name": "two", **odd}]
    with session.transaction("loading") as connection:
        with pytest.raises(ReportContentError), connection.transaction():
            load_rows(Warehouse(connection, session.schema).table(courses), given, source)
        counts = load_rows(Warehouse(connection, session.schema).table(courses), given, source, keep_rejects=True)
    assert (counts.rows_in_report, counts.inserted, counts.rejected) == (2, 1, 1)
    assert rows(session, "select canvas_id from canvas.courses") == [(1,)]


def test_a_list_that_is_odd_as_a_whole_is_refused(session: Session) -> None:
    given = [{"canvas_id": number, "start_at": "soon"} for number in range(200)]
    with session.transaction("loading") as connection, pytest.raises(RejectThresholdError, match="200 of 200 rows"):
        load_rows(
            Warehouse(connection, session.schema).table(session.by_name["courses"]),
            given,
            Source("", T0, "/courses"),
            keep_rejects=True,
        )


def test_a_number_of_thousands_of_digits_does_not_spoil_its_answer() -> None:
    import httpx

    request = httpx.Request("GET", "https://school.test/api/v1/courses")
    answer = httpx.Response(200, text='[{"id": 1}, {"id": %s}]' % ("7" * 5000), request=request)
    assert read_json(answer) == [{"id": 1}, {"id": "7" * 5000}]


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "20205-01-01", "x"])
def test_a_time_that_no_calendar_has_is_the_moment_of_receipt(text: str) -> None:
    assert read_time(text, T0) == T0


def test_events_of_the_year_1_do_not_stop_the_drain(canvas: SimulatedCanvas, session: Session) -> None:
    sync_list(Flow.of(session, SyncOptions()), session.by_name["accounts"])
    body = {"course_id": global_id(2003), "name": "x", "end_at": "20205-01-01T00:00:00Z"}
    given = event("course_updated", body, canvas.now + timedelta(hours=1))
    with session.transaction("storing") as connection:
        ensure_partitions(Warehouse(connection, session.schema))
        store(Warehouse(connection, session.schema), [read_event(given, canvas.now + timedelta(hours=2))])
        # As an older version stored it.
        connection.execute("update canvas.canvas_sync_live_events set event_time = '0001-01-01T00:00:00+14:00'")
    assert drain(session).events.total() == 1
    given["metadata"]["event_time"] = "0001-01-01T00:00:00+14:00"
    given["body"]["name"] = "y"
    with session.transaction("storing") as connection:
        store(Warehouse(connection, session.schema), [read_event(given, canvas.now + timedelta(hours=2))])
    assert drain(session).events == {"applied": 1}
