"""What a load found out about a header is a check with its evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dagster as dg
import pytest

from canvas_sync_dagster.assets.asset_keys import AssetKeys
from canvas_sync_dagster.assets.checks import check_results
from canvas_sync_dagster.catalogue import BUILT_IN, Model
from canvas_sync_dagster.catalogue.overrides import MappingOverride
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.report_request import report_groups
from canvas_sync_dagster.sync.report_sync import sync_report
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.warehouse.schema.migrate import migrate
from tests.truth import FULL

KEYS = AssetKeys("canvas", {"sections": dg.AssetKey(["canvas", "sections"])})
KEY = dg.AssetCheckKey(dg.AssetKey(["canvas", "sections"]), "header_contract")


def header_check(session: Session) -> tuple[bool, dict[str, Any]]:
    """Syncs sections and returns whether their check passed, with its evidence."""
    group = next(each for each in report_groups(session.models) if each.name == "provisioning_term")
    outcome = sync_report(Flow.of(session, FULL, "118"), group, {"sections"})
    (result,) = check_results(KEYS, outcome.models[0], {KEY})
    return result.passed, {name: value.value for name, value in result.metadata.items()}


def with_sections(session: Session, model: Model) -> Session:
    return replace(session, models=tuple(model if each.name == "sections" else each for each in BUILT_IN))


@pytest.fixture
def session(session: Session) -> Session:
    migrate(session.database_url, "canvas", BUILT_IN)
    return session


def test_canvass_own_header_passes(session: Session) -> None:
    passed, evidence = header_check(session)
    assert passed
    assert evidence["header"].startswith("canvas_section_id, section_id, canvas_course_id")


@pytest.mark.parametrize(
    ("fault", "evidence"),
    [
        ("unknown_column", {"unknown": "pronouns"}),
        ("duplicate_column", {"duplicated": "section_id"}),
    ],
)
def test_a_drift_is_a_warning_with_evidence(
    canvas: SimulatedCanvas, session: Session, fault: str, evidence: dict[str, str]
) -> None:
    canvas.faults.add(fault)
    passed, found = header_check(session)
    assert not passed
    assert evidence.items() <= found.items()


def test_an_unknown_column_is_taken_in_by_a_mapping(canvas: SimulatedCanvas, session: Session) -> None:
    mapping = MappingOverride("sections").link_column("pronouns").unlink_column("start_at")
    wider = mapping.applied(session.by_name["sections"])
    migrate(session.database_url, "canvas", [wider])
    canvas.faults.add("unknown_column")
    assert header_check(with_sections(session, wider))[0]
