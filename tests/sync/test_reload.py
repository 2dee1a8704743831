"""`--reload` compares values: what was changed in the database behind the digests becomes as Canvas has it."""

from __future__ import annotations

from dataclasses import replace

import psycopg

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.resources import SyncOptionsResource
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.report_request import report_groups
from canvas_sync_dagster.sync.report_sync import sync_report
from canvas_sync_dagster.sync.session import Session
from tests.truth import FULL, actual

GROUPS = {group.name: group for group in report_groups(BUILT_IN)}
RELOAD = replace(FULL, reload=True)


def sync(session: Session, options: SyncOptions) -> dict[str, tuple[int, int]]:
    """Syncs a root report and a term's; returns updated and unchanged rows by model."""
    root = sync_report(Flow.of(session, options, log=print), GROUPS["provisioning"], {"users"})
    term = sync_report(Flow.of(session, options, "118", log=print), GROUPS["provisioning_term"], {"courses"})
    return {each.model.name: (each.counts.updated, each.counts.unchanged) for each in (*root.models, *term.models)}


def test_a_reload_repairs_values_whose_digests_are_equal_and_writes_nothing_else(
    canvas: SimulatedCanvas, session: Session
) -> None:
    sync(session, FULL)
    good = {model: actual(session.database_url, model) for model in ("users", "courses")}
    with psycopg.connect(session.database_url) as connection:
        connection.execute("update canvas.users set name = 'ZoÃ«' where canvas_id = 1002")
        connection.execute("update canvas.courses set name = 'ZoÃ«' where canvas_id = 2003")
    assert {updated for updated, _ in sync(session, FULL).values()} == {0}
    done = sync(session, RELOAD)
    assert done == {"users": (1, len(good["users"]) - 1), "courses": (1, len(good["courses"]) - 1)}
    assert {model: actual(session.database_url, model) for model in good} == good
    assert {updated for updated, _ in sync(session, RELOAD).values()} == {0}


def test_a_reload_in_run_config_is_a_full_sync() -> None:
    options = SyncOptionsResource(reload=True).options(run_id="1", batch_id="1", mode="incremental")
    assert (options.mode, options.reload) == ("full", True)
