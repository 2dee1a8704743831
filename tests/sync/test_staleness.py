"""Staleness: what has fallen behind is named, term by term; what was never synced is not judged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import psycopg

from canvas_sync_dagster import CanvasSync
from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.report_request import report_groups
from canvas_sync_dagster.sync.report_sync import sync_report
from canvas_sync_dagster.sync.session import Session
from canvas_sync_dagster.sync.staleness import Staleness, staleness
from tests.truth import FULL

NOW = datetime(2026, 10, 5, tzinfo=UTC)
DAY = timedelta(days=1)


def test_each_term_in_scope_is_judged() -> None:
    models = [model for model in BUILT_IN if model.name in {"users", "courses", "sections", "rubrics"}]
    marks = {
        ("users", ""): NOW - timedelta(hours=3),
        ("courses", "117"): NOW - timedelta(days=9),
        ("courses", "118"): NOW - timedelta(hours=2),
        ("sections", "118"): NOW - timedelta(hours=2),
        ("courses", "1"): NOW - timedelta(days=900),
    }
    found = {each.model: each for each in staleness(models, marks, ["118", "117"], NOW, DAY)}
    recent = NOW - timedelta(hours=2)
    assert found == {
        "users": Staleness("users", {"": NOW - timedelta(hours=3)}, []),
        "courses": Staleness("courses", {"117": NOW - timedelta(days=9), "118": recent}, ["117"]),
        "sections": Staleness("sections", {"117": None, "118": recent}, ["117"]),
    }
    assert [each.oldest for each in found.values()] == [NOW - timedelta(hours=3), NOW - timedelta(days=9), None]


def test_the_sensor_reports_checks_that_the_catalog_knows(session: Session) -> None:
    tenant = session.tenant.model_copy(update={"stale_after": DAY})
    sync = CanvasSync(Settings(home=session.home, tenants=(tenant,)))
    definitions = sync.definitions()
    (sensor,) = (each for each in definitions.sensors or [] if each.name == "canvas_sync_staleness")
    with dg.DagsterInstance.ephemeral() as instance, dg.build_sensor_context(instance=instance) as context:
        assert sensor(context).skip_reason
        group = next(each for each in report_groups(session.models) if each.name == "provisioning")
        sync_report(Flow.of(session, FULL), group, {"users", "pseudonyms"})
        with psycopg.connect(session.database_url) as connection:
            connection.execute(
                "update canvas.canvas_sync_watermarks set updated_at = now() - interval '2 days' where model = 'users'"
            )
        result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    told = {each.asset_key.path[-1]: each for each in result.asset_events or []}
    assert all(each.asset_check_key in _checks(definitions) for each in told.values())
    assert {name for name, each in told.items() if not each.passed} == {"users"}
    assert told["pseudonyms"].passed
    assert "the account" in str(told["users"].metadata["scopes"].value)


def _checks(definitions: dg.Definitions) -> set[dg.AssetCheckKey]:
    return set(definitions.resolve_asset_graph().asset_check_keys)
