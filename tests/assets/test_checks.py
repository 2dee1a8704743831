"""Asset checks: two per model, their evidence, and what a blocking one keeps from running."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import psycopg
import pytest

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.assets.checks import check_results, check_specs, markdown_table, staleness_evaluations
from canvas_sync_dagster.catalogue import BUILT_IN, Model
from canvas_sync_dagster.catalogue.overrides import MappingOverride
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.outcome import ModelOutcome
from canvas_sync_dagster.sync.report_request import report_groups
from canvas_sync_dagster.sync.report_sync import sync_report
from canvas_sync_dagster.sync.rest_sync import sync_list
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.sync.staleness import Staleness, TenantStaleness
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.schema.migrate import migrate
from tests.fix_canvas import session_of, tenant_of
from tests.truth import FULL

SECTIONS = dg.AssetKey(["canvas", "sections"])
LOAD = dg.AssetCheckKey(SECTIONS, "load")
NOW = datetime(2026, 10, 5, tzinfo=UTC)
DAY = timedelta(days=1)


def loaded(session: Session, model: str) -> ModelOutcome:
    group = next(each for each in report_groups(session.models) if each.name == "provisioning_term")
    return sync_report(Flow.of(session, FULL, "118"), group, {model}).models[0]


def load_check(session: Session) -> tuple[bool, dict[str, Any]]:
    """Syncs sections and returns whether their check passed, with its evidence."""
    (result,) = check_results(SECTIONS, loaded(session, "sections"), "118", {}, {LOAD})
    return result.passed, {name: value.value for name, value in result.metadata.items()}


def with_sections(session: Session, model: Model) -> Session:
    return replace(session, models=tuple(model if each.name == "sections" else each for each in BUILT_IN))


@pytest.fixture
def prepared(session: Session) -> Session:
    migrate(session.database_url, "canvas", BUILT_IN)
    loaded(session, "courses")
    return session


def test_checks_of_each_model_and_the_blocking_ones_on_demand() -> None:
    checks = CanvasSync(Settings(tenants=(TenantSettings(),))).definitions().resolve_asset_graph().asset_check_keys
    by_name = Counter(check.name for check in checks)
    assert by_name.keys() == {"load", "staleness", "drift"}
    assert by_name["load"] == by_name["staleness"] == len(BUILT_IN) > by_name["drift"] > len(BUILT_IN) / 2
    models = {model.name: model for model in BUILT_IN}
    for name, added in (("sections", ["header_contract", "volume"]), ("terms", ["volume"])):
        specs = check_specs(dg.AssetKey(name), models[name], ("volume", "header_contract"))
        assert [spec.name for spec in specs if spec.blocking] == added
        assert all(spec.description for spec in specs)


def test_the_evidence_of_a_load_is_a_table_and_plain_values(canvas: SimulatedCanvas, prepared: Session) -> None:
    passed, evidence = load_check(prepared)
    assert (passed, evidence["rejected"], evidence["suspects"], evidence["term"]) == (True, 0, 0, "118")
    assert evidence["header"].startswith("canvas_section_id, section_id, canvas_course_id")
    canvas.faults.add("unknown_column")
    passed, evidence = load_check(prepared)
    assert not passed
    assert evidence["header_unknown"] == "pronouns"
    assert "| header_contract | **no** | unknown: pronouns | Compare the header" in evidence["findings"]
    canvas.faults.add("duplicate_column")
    assert load_check(prepared)[1]["header_duplicated"] == "section_id"


def test_an_unknown_column_is_taken_in_by_a_mapping(canvas: SimulatedCanvas, prepared: Session) -> None:
    mapping = MappingOverride("sections").link_column("pronouns").unlink_column("start_at")
    wider = mapping.applied(prepared.by_name["sections"])
    migrate(prepared.database_url, "canvas", [wider])
    canvas.faults.add("unknown_column")
    assert load_check(with_sections(prepared, wider))[0]


def test_a_cell_cannot_break_the_table() -> None:
    assert markdown_table(("a", "b"), [("x|y", "<b>\n")]).splitlines()[2] == "| x\\|y | &lt;b>  |"


def test_staleness_names_each_stale_term_and_since_when() -> None:
    synced = {"117": NOW - 3 * DAY, "118": NOW - DAY / 2, "119": None}
    found = TenantStaleness([Staleness("courses", synced, ["117", "119"])], {"117": "Autumn", "118": "Winter"}, DAY)
    (check,) = staleness_evaluations(found, dg.AssetKey)
    assert not check.passed
    assert check.description == "2 of 3 stale, not synced within 1 day: 117 (Autumn), 119."
    table = str(check.metadata["scopes"].value)
    assert "| 117 (Autumn) | 2026-10-02 00:00 UTC | 2026-10-03 00:00 UTC |" in table
    assert "| 119 | never | always |" in table


def test_a_blocking_check_keeps_assets_downstream_from_running(
    canvas: SimulatedCanvas, database_url: str, tmp_path: Path
) -> None:
    @dg.asset(deps=[["canvas", "enrollments"]], key=["reporting", "enrollments"])
    def downstream() -> None:
        pass

    def executed(mode: str = "full", **settings: object) -> dg.ExecuteInProcessResult:
        models = "terms,courses,sections,enrollments"
        tenant = tenant_of(canvas, database_url, models=models, term_scope="1,118", **settings)
        job = dg.define_asset_job(
            "both", dg.AssetSelection.assets(["canvas", "enrollments"], ["reporting", "enrollments"])
        )
        theirs = dg.Definitions(assets=[downstream], jobs=[job])
        definitions = CanvasSync(Settings(home=tmp_path, tenants=(tenant,))).definitions(theirs)
        return definitions.resolve_job_def("both").execute_in_process(
            instance=instance, partition_key="118", raise_on_error=False, run_config=in_mode(mode)
        )

    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("canvas_terms__canvas", ["118"])
        read_terms(canvas, database_url, tmp_path)
        first = executed(blocking_checks=["volume"])
        assert first.success
        assert dg.AssetKey(["reporting", "enrollments"]) in materialized(first)
        canvas.advance(minutes=1)
        with psycopg.connect(database_url) as connection:
            query = "select canvas_id from canvas.enrollments where workflow_state <> 'deleted' limit 15"
            vanishing = [number for (number,) in connection.execute(query).fetchall()]
        canvas.university.set("enrollments", pl.col("id").is_in(vanishing), state="deleted", by_sis=False)
        held = executed(blocking_checks=["volume"])
        assert not held.success
        assert materialized(held) == {dg.AssetKey(["canvas", "enrollments"])}
        volume, load = evaluated(held)["volume"], evaluated(held)["load"]
        assert (volume.passed, volume.severity, volume.blocking) == (False, dg.AssetCheckSeverity.ERROR, True)
        assert (load.passed, load.severity) == (False, dg.AssetCheckSeverity.WARN)
        # An incremental sync cannot show that the rows are there; the scope stays held.
        still = executed("incremental", blocking_checks=["volume"])
        assert not still.success
        assert str(evaluated(still)["volume"].description).startswith("nothing to compare; held since")
        # Without the setting the same finding is a warning.
        warned = executed()
        assert warned.success
        assert dg.AssetKey(["reporting", "enrollments"]) in materialized(warned)
        assert not evaluated(warned)["load"].passed
        assert evaluated(warned).keys() == {"load", "staleness", "drift"}
        # Only 118 was synced; the check in the op evaluates every term in scope.
        staleness = evaluated(warned)["staleness"]
        assert not staleness.passed
        assert "1 (Default Term)" in str(staleness.description)


def read_terms(canvas: SimulatedCanvas, url: str, home: Path) -> None:
    with session_of(canvas, url, home) as session:
        sync_list(Flow.of(session, FULL), session.by_name["terms"])


def in_mode(mode: str) -> dict[str, object]:
    return {"resources": {"sync_options": {"config": {"mode": mode}}}}


def materialized(result: dg.ExecuteInProcessResult) -> set[dg.AssetKey]:
    return {event.materialization.asset_key for event in result.get_asset_materialization_events()}


def evaluated(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {each.check_name: each for each in result.get_asset_check_evaluations()}
