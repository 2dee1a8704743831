"""All kinds of sources take the steps of docs/understand/architecture.md, in this order."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.custom_report import sync_custom_report
from canvas_sync_dagster.sync.extension_types import CustomReport
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.report_request import report_groups
from canvas_sync_dagster.sync.report_sync import sync_report
from canvas_sync_dagster.sync.rest_sync import sync_list
from canvas_sync_dagster.sync.session import Session
from tests.walks import recorded, stations

GROUP = next(group for group in report_groups(BUILT_IN) if group.name == "provisioning")
CUSTOM = CustomReport("own_csv", lambda report, context: report.path.read_text())
REQUEST, DECIDE, DOWNLOAD, LOAD = 3, 4, 6, 8
"""Stations that some sources skip."""


@pytest.mark.parametrize(
    ("sync", "skipped"),
    [
        (lambda flow: sync_report(flow, GROUP, {"users"}), ()),
        (lambda flow: sync_custom_report(flow, CUSTOM), (REQUEST, LOAD)),
        (lambda flow: sync_list(flow, flow.session.by_name["terms"]), (REQUEST, DECIDE, DOWNLOAD, LOAD)),
    ],
    ids=["report", "custom report", "list"],
)
def test_the_walk_of_a_report_is_the_way_that_a_sync_takes(
    session: Session, canvas: SimulatedCanvas, sync: Callable[[Flow], object], skipped: tuple[int, ...]
) -> None:
    canvas.add_report("own_csv", "a\n1\n")
    names = stations("The sync of a report")
    with recorded(names, "call") as called:
        sync(Flow.of(session, SyncOptions()))
    assert called == [name for number, name in enumerate(names, start=1) if number not in skipped]
