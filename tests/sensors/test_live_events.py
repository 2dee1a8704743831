"""The sensor of live events: what a tick cannot finish becomes a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import dagster as dg
import pytest

from canvas_sync_dagster.assets.asset_keys import AssetKeys
from canvas_sync_dagster.sensors import live_events
from canvas_sync_dagster.simulator import SimulatedCanvas, event, global_id
from canvas_sync_dagster.sync.session import Session
from tests.live_events.test_drain import put, states
from tests.truth import sync_structure


def test_what_takes_longer_than_a_tick_becomes_one_run(
    canvas: SimulatedCanvas, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def opened() -> Iterator[Session]:
        yield session

    sync_structure(session)
    later = canvas.now + timedelta(hours=1)
    put(session, [event("course_updated", {"course_id": global_id(2003)}, later)], canvas)
    monkeypatch.setattr(live_events, "BUDGET", 0.0)
    sensor = live_events.live_event_sensor(session.tenant, AssetKeys("canvas", {}), opened)
    with dg.DagsterInstance.ephemeral() as instance:
        result = sensor(dg.build_sensor_context(instance=instance))
        assert [request.tags["canvas_sync/tenant"] for request in result.run_requests] == ["canvas"]
        assert states(session) == {"pending": 1}
        monkeypatch.undo()
        result = sensor(dg.build_sensor_context(instance=instance))
    assert not result.run_requests
    assert states(session) == {"applied": 1}
