"""The second walk of docs/understand/architecture.md is the path of an event: each station exists, and they follow in this order."""

from __future__ import annotations

from pathlib import Path

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.live_events.drain import drain
from canvas_sync_dagster.live_events.receiver import PATH
from canvas_sync_dagster.live_events.serve import receiver
from canvas_sync_dagster.live_events.uvicorn_server import served
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas, deliver
from canvas_sync_dagster.sync.session import open_session
from tests.fix_canvas import tenant_of
from tests.walks import recorded, stations


def test_an_event_takes_the_walk_of_the_page(canvas: SimulatedCanvas, database_url: str, tmp_path: Path) -> None:
    names = stations("Live events: an event")
    tenant = tenant_of(canvas, database_url)
    settings = Settings(home=tmp_path, tenants=(tenant,), jwk_url=canvas.jwk_url)
    with recorded(names, "return") as handed_over:
        with served(receiver(settings, BUILT_IN)) as url:
            assert deliver(url + PATH, canvas.signer, canvas.save_again("courses", 1)) == [200]
        with open_session(settings, tenant, BUILT_IN) as session:
            done = drain(session)
    assert (done.events, done.tables["courses"]) == ({"applied": 1}, 1)
    assert handed_over == names
