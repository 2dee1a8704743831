"""The road from Canvas to the tables, over real HTTP into a real PostgreSQL."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import psycopg
import pytest

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.errors import (
    CanvasForbiddenError,
    CanvasNotFoundError,
    CanvasRequestError,
    CanvasSyncError,
    CanvasUnauthorizedError,
    CanvasUnavailableError,
    DatabaseUnavailableError,
    HeaderContractError,
    LocalDiskError,
    MisconfiguredError,
    NotCanvasError,
    RejectThresholdError,
    ReportContentError,
    ReportFailedError,
    SchemaError,
    SettingError,
)
from canvas_sync_dagster.simulator import FAULTS, SimulatedCanvas
from canvas_sync_dagster.simulator.faults import OBJECT_FAULTS
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.report_request import report_groups
from canvas_sync_dagster.sync.report_sync import sync_report
from canvas_sync_dagster.sync.rest_sync import sync_list
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.schema.migrate import migrate
from tests.fix_canvas import Sessions
from tests.truth import COLUMNS, actual, assert_true, expected, sync_everything

GROUPS = {group.name: group for group in report_groups(BUILT_IN)}
TERM = "118"
TERM_MODELS = {"courses", "sections", "enrollments"}


def provisioning(session: Session, options: SyncOptions | None = None):
    options = options or SyncOptions(mode="full")
    return sync_report(Flow.of(session, options, TERM), GROUPS["provisioning_term"], TERM_MODELS)


@pytest.mark.every_postgres
def test_a_first_sync_makes_the_tables_equal_canvas(canvas: SimulatedCanvas, session: Session) -> None:
    outcomes = sync_everything(session)
    assert_true(canvas, session.database_url)
    for each in outcomes.values():
        counts = each.counts
        parts = (
            counts.inserted,
            counts.updated,
            counts.unchanged,
            counts.superseded,
            counts.rejected,
            counts.duplicates,
        )
        assert counts.rows_in_report == sum(parts)
    assert not canvas.storage_saw_authorization


def test_a_second_sync_writes_no_data_row(canvas: SimulatedCanvas, session: Session) -> None:
    sync_everything(session)
    writes = "select relname, n_tup_ins + n_tup_upd + n_tup_del from pg_stat_user_tables where relname = any(%s)"
    with psycopg.connect(session.database_url, autocommit=True) as connection:

        def written() -> list[tuple[object, ...]]:
            connection.execute("select pg_stat_clear_snapshot()")
            return sorted(connection.execute(writes, (list(COLUMNS),)).fetchall())

        before = written()
        outcomes = sync_everything(session)
        assert written() == before
    assert all(each.counts.inserted == each.counts.updated == 0 for each in outcomes.values())
    assert all(each.counts.unchanged == each.counts.rows for each in outcomes.values())


def test_after_days_of_change_a_full_sync_makes_the_tables_equal_canvas_again(
    canvas: SimulatedCanvas, session: Session
) -> None:
    sync_everything(session)
    for days in (2, 4):
        canvas.advance(days=days)
        sync_everything(session)
    assert_true(canvas, session.database_url)


def test_each_poll_is_a_line_in_the_log(canvas: SimulatedCanvas, session: Session) -> None:
    lines: list[str] = []
    flow = Flow.of(session, SyncOptions(mode="full"), TERM, log=lines.append)
    sync_report(flow, GROUPS["provisioning_term"], TERM_MODELS)
    (report,) = canvas.queue.reports.values()
    polls = [line for line in lines if line.startswith(f"{report.name} {report.id}: ")]
    assert len(polls) == report.polls > 1
    assert polls[-1].startswith(f"{report.name} {report.id}: complete, 100 %, after ")


def test_a_report_of_a_cancelled_run_stays_in_canvas_and_the_next_run_adopts_it(
    canvas: SimulatedCanvas, session: Session
) -> None:
    lines: list[str] = []

    def interrupt(line: str) -> None:
        lines.append(line)
        if "running" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync_report(
            Flow.of(session, SyncOptions(mode="full"), TERM, log=interrupt), GROUPS["provisioning_term"], TERM_MODELS
        )
    (report,) = canvas.queue.reports.values()
    assert lines[-1] == f"cancelled; {report.name} stays in Canvas, and the next run that requests the same adopts it"
    with psycopg.connect(session.database_url) as connection:
        query = "select status, exception from canvas.canvas_sync_job_logs"
        assert connection.execute(query).fetchall() == [("error", "cancelled before it was done")]
    outcome = provisioning(session)
    assert (outcome.adopted, outcome.report_id, len(canvas.queue.reports)) == (True, report.id, 1)


def test_an_incremental_sync_brings_what_changed_since_the_last_one(canvas: SimulatedCanvas, session: Session) -> None:
    sync_everything(session)
    canvas.advance(days=1)
    outcomes = sync_everything(session, SyncOptions(mode="incremental"))
    assert outcomes["enrollments", TERM].counts.rows_in_report < 54
    # An enrollment is told as deleted when its course is, without having changed itself: only a full sync sees that.
    for model in ("users", "pseudonyms", "courses"):
        want, have = expected(canvas, model), actual(session.database_url, model)
        assert have == {**have, **want}


def test_the_stock_report_feeds_what_it_can_and_names_the_rest(canvas: SimulatedCanvas, sessions: Sessions) -> None:
    canvas.queue.available = frozenset({"provisioning_csv"})
    session = sessions()
    outcome = sync_report(Flow.of(session, SyncOptions()), GROUPS["provisioning"], {"users", "pseudonyms"})
    assert [each.model.name for each in outcome.models] == ["users"]
    assert "pseudonyms" in outcome.skipped["pseudonyms"]
    assert sync_report(Flow.of(session, SyncOptions(), TERM), GROUPS["submissions"], {"submissions"}).models == ()
    with pytest.raises(CanvasNotFoundError, match="CANVAS_SYNC_MODELS"):
        sync_report(
            Flow.of(sessions(models="submissions"), SyncOptions(), TERM, log=print),
            GROUPS["submissions"],
            {"submissions"},
        )


def test_what_only_the_proprietary_report_tells_is_not_missed_in_the_stock_one(
    canvas: SimulatedCanvas, session: Session
) -> None:
    canvas.queue.available = frozenset({"provisioning_csv"})
    for group, scope in (("provisioning", ""), ("provisioning_term", TERM)):
        names = {model.name for model in GROUPS[group].models}
        for each in sync_report(Flow.of(session, SyncOptions(), scope), GROUPS[group], names).models:
            assert each.header is not None
            assert each.header.missing == (), each.model.name


def test_a_selection_chooses_the_reports_parameters(canvas: SimulatedCanvas, session: Session) -> None:
    sync_report(Flow.of(session, SyncOptions(), TERM), GROUPS["provisioning_term"], {"courses"})
    (report,) = canvas.queue.reports.values()
    assert report.parameters == {"courses": "true", "include_deleted": "true", "enrollment_term_id": TERM}


SURVIVED = None
OUTCOMES: dict[str, type[CanvasSyncError] | None] = {
    "throttled_403": SURVIVED,
    "throttled_429": SURVIVED,
    "bad_gateway": SURVIVED,
    "maintenance_page": NotCanvasError,
    "dropped_connection": SURVIVED,
    "token_expired": CanvasUnauthorizedError,
    "no_permission": CanvasForbiddenError,
    "server_error": SURVIVED,
    "lost_answer": SURVIVED,
    "unknown_report": CanvasNotFoundError,
    "stuck_in_created": ReportFailedError,
    "stuck_in_running": ReportFailedError,
    "root_report_stuck": ReportFailedError,
    "progress_falls_back": SURVIVED,
    "unknown_state": SURVIVED,
    "without_attachment": SURVIVED,
    "report_error": SURVIVED,
    "report_error_id": SURVIVED,
    "report_aborted": SURVIVED,
    "report_vanishes": SURVIVED,
    "report_returns": SURVIVED,
    "expired_url": SURVIVED,
    "login_page": SURVIVED,
    "truncated_download": SURVIVED,
    "byte_order_mark": SURVIVED,
    "semicolons": SURVIVED,
    "reordered_columns": SURVIVED,
    "missing_column": SURVIVED,
    "unknown_column": SURVIVED,
    "duplicate_column": SURVIVED,
    "spaced_header": SURVIVED,
    "translated_header": HeaderContractError,
    "header_only": SURVIVED,
    "sentence_for_rows": SURVIVED,
    "short_row": SURVIVED,
    "long_row": SURVIVED,
    "bad_number": SURVIVED,
    "nul_byte": SURVIVED,
    "bad_utf8": SURVIVED,
    "open_quote": SURVIVED,
    "duplicate_rows": SURVIVED,
    "shuffled_rows": SURVIVED,
    "mostly_rubbish": RejectThresholdError,
    "volume_drop": SURVIVED,
    "damaged_zip": ReportContentError,
    "zip_for_one": SURVIVED,
    "csv_for_many": ReportContentError,
    "zip_lacks_table": ReportContentError,
    "hostile_names": SURVIVED,
    "empty_file": ReportContentError,
}


def test_every_fault_has_an_outcome() -> None:
    assert set(OUTCOMES) == set(FAULTS) - set(OBJECT_FAULTS)


@pytest.mark.parametrize("fault", OUTCOMES)
def test_a_fault_ends_in_the_right_tables_or_in_one_clear_error(
    canvas: SimulatedCanvas, sessions: Sessions, fault: str
) -> None:
    session = sessions(report_timeout="4 seconds", report_compilation_timeout="1.2 seconds", report_max_tries=2)
    expectation = OUTCOMES[fault]
    stuck = "stuck" in fault
    canvas.faults.add(fault, times=9 if stuck else 1)
    if expectation is not None:
        with pytest.raises(expectation) as caught:
            provisioning(session)
        assert len(str(caught.value)) > 40
        assert canvas.token not in str(caught.value)
        for model in TERM_MODELS:
            assert actual(session.database_url, model) == {}
    else:
        provisioning(session)
    canvas.faults.clear()
    outcome = provisioning(session)
    assert {each.model.name for each in outcome.models} == TERM_MODELS
    truth = {key for key, row in expected(canvas, "courses").items() if row["canvas_term_id"] == int(TERM)}
    assert set(actual(session.database_url, "courses")) == truth
    assert all(each.twins == 0 for each in canvas.queue.reports.values())


def test_a_place_for_downloads_that_cannot_be_made_is_one_clear_error(session: Session) -> None:
    (session.home / "downloads").write_text("in the way")
    with pytest.raises(LocalDiskError, match=r"downloads cannot be written.*CANVAS_SYNC_HOME"):
        provisioning(session)


@pytest.mark.parametrize("fault", ["short_row", "long_row", "bad_number", "nul_byte", "bad_utf8", "open_quote"])
def test_an_unreadable_row_is_kept_with_line_reason_and_raw_text(
    canvas: SimulatedCanvas, session: Session, fault: str
) -> None:
    canvas.faults.add(fault)
    outcome = sync_report(Flow.of(session, SyncOptions()), GROUPS["provisioning"], {"users"})
    counts = outcome.models[0].counts
    assert (counts.rejected, counts.rows_in_report) == (1, 43)
    with psycopg.connect(session.database_url) as connection:
        (row,) = connection.execute("select line, reason, raw from canvas.canvas_sync_rejected_rows").fetchall()
    assert row[0] == 3
    assert row[1]
    assert "1002" in row[2]
    assert 1002 not in actual(session.database_url, "users")


def test_too_many_unreadable_rows_fail_the_load_and_publish_nothing(canvas: SimulatedCanvas, session: Session) -> None:
    canvas.faults.add("mostly_rubbish", times=3)
    with pytest.raises(RejectThresholdError, match=r"courses of term 118: 9 of 9 rows are unreadable.*line 2"):
        provisioning(session)
    assert actual(session.database_url, "courses") == {}


def test_a_hostile_canvas_ends_in_the_right_tables(database_url: str, tmp_path, request: pytest.FixtureRequest) -> None:
    from canvas_sync_dagster.settings import Settings
    from canvas_sync_dagster.sync.session import open_session
    from tests.fix_canvas import tenant_of

    with SimulatedCanvas(compile_seconds=0.02, hostile=True, seed=7).serve() as canvas:
        tenant = tenant_of(canvas, database_url, report_max_tries=5)
        with open_session(Settings(home=tmp_path, tenants=(tenant,)), tenant, BUILT_IN) as session:
            sync_everything(session)
        assert sum(canvas.faults.happened.values()) > 20
        assert_true(canvas, database_url)


def test_a_rename_in_canvas_that_an_api_read_saw_first_is_not_undone_by_an_older_report(
    canvas: SimulatedCanvas, session: Session
) -> None:
    provisioning(session)
    with psycopg.connect(session.database_url) as connection:
        later = canvas.now + timedelta(hours=1)
        connection.execute(
            "update canvas.courses set name = 'fresher', row_hash = null, observed_at = %s where canvas_id = 2003",
            (later,),
        )
    outcome = provisioning(session)
    counts = next(each.counts for each in outcome.models if each.model.name == "courses")
    assert counts.superseded == 1
    assert actual(session.database_url, "courses")[2003]["name"] == "fresher"


class TestBadInput:
    """Each is one clear error that says what happened, where, and what to do."""

    def test_no_base_url(self, sessions: Sessions) -> None:
        with pytest.raises(SettingError, match=r"CANVAS_SYNC_BASE_URL.*https://school"):
            sessions(base_url=None)

    def test_no_token(self, sessions: Sessions) -> None:
        with pytest.raises(SettingError, match="CANVAS_SYNC_TOKEN"):
            sessions(token=None)

    def test_a_bad_token(self, sessions: Sessions) -> None:
        with pytest.raises(CanvasUnauthorizedError, match="CANVAS_SYNC_TOKEN") as caught:
            provisioning(sessions(token="wrong~token"))
        assert "wrong~token" not in str(caught.value)

    def test_an_unreachable_host(self, sessions: Sessions) -> None:
        session = sessions(base_url="http://127.0.0.1:9")
        session.canvas._retry_seconds = 0.1
        with pytest.raises(CanvasUnavailableError, match="CANVAS_SYNC_BASE_URL"):
            provisioning(session)

    def test_a_web_page_instead_of_canvas(self, canvas: SimulatedCanvas, sessions: Sessions) -> None:
        with pytest.raises(NotCanvasError, match="CANVAS_SYNC_BASE_URL"):
            provisioning(sessions(base_url=f"{canvas.base_url}/some/path"))

    def test_an_unknown_term(self, session: Session) -> None:
        with pytest.raises(CanvasRequestError, match="enrollment_term_id"):
            sync_report(Flow.of(session, SyncOptions(), "4711"), GROUPS["provisioning_term"], {"courses"})

    def test_a_partition_that_is_no_term(self, session: Session) -> None:
        with pytest.raises(SettingError, match="digits"):
            sync_report(Flow.of(session, SyncOptions(), "fall"), GROUPS["provisioning_term"], {"courses"})

    def test_an_unreachable_database(self, sessions: Sessions) -> None:
        with pytest.raises(DatabaseUnavailableError, match="CANVAS_SYNC_DATABASE_URL"):
            provisioning(sessions(database_url="postgresql://u:hidden@127.0.0.1:9/x"))

    def test_a_database_that_is_not_there(self, session: Session, sessions: Sessions) -> None:
        url = session.database_url.replace("@/test_", "@/no_such_")
        with pytest.raises(MisconfiguredError, match="no_such_"):
            provisioning(sessions(database_url=url))

    def test_a_read_only_database(self, session: Session, sessions: Sessions) -> None:
        migrate(session.database_url, "canvas", BUILT_IN)
        with psycopg.connect(session.database_url, autocommit=True) as connection:
            connection.execute(f"alter database {connection.info.dbname} set default_transaction_read_only = on")
        with pytest.raises(MisconfiguredError, match="read-only"):
            provisioning(session)

    def test_a_table_that_lacks_a_column(self, session: Session) -> None:
        migrate(session.database_url, "canvas", BUILT_IN)
        with psycopg.connect(session.database_url) as connection:
            connection.execute("alter table canvas.courses drop column course_code")
        with pytest.raises(SchemaError, match=r"courses\.course_code.*canvas-sync migrate"):
            provisioning(session)
        assert migrate(session.database_url, "canvas", BUILT_IN).changes == ("add column courses.course_code",)
        provisioning(session)

    def test_terms_cannot_be_read_by_halves(self, canvas: SimulatedCanvas, session: Session) -> None:
        canvas.faults.add("token_expired")
        with pytest.raises(CanvasUnauthorizedError):
            sync_list(Flow.of(session, SyncOptions()), BUILT_IN[0])
        assert len(actual_terms(session)) == 0


def actual_terms(session: Session) -> list[tuple[object, ...]]:
    with psycopg.connect(session.database_url) as connection:
        return connection.execute("select canvas_id from canvas.terms").fetchall()


def test_the_last_full_sync_of_a_deleted_term_takes_its_rows_along(canvas: SimulatedCanvas, session: Session) -> None:
    sync_list(Flow.of(session, SyncOptions()), session.by_name["terms"])
    provisioning(session)
    canvas.university.set("terms", pl.col("id") == int(TERM), state="deleted")
    sync_list(Flow.of(session, SyncOptions()), session.by_name["terms"])
    canvas.university.set("courses", pl.col("term_id") == int(TERM), state="deleted")
    provisioning(session)
    with psycopg.connect(session.database_url) as connection:
        for table in ("courses", "enrollments"):
            query = f"select count(*) from canvas.{table} where workflow_state <> 'deleted' and missing_since is null"
            assert connection.execute(query).fetchone() == (0,)
