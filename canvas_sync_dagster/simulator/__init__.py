"""A simulated Canvas: account reports, REST, live events, a clock, and faults that real Canvases have.

This package depends on no other part of `canvas_sync_dagster`. The names below are its public face; everything else is
internal. See docs/how-to/simulator.md.
"""

from canvas_sync_dagster.simulator.event_feed.delivery import DeliveryFaults, deliver
from canvas_sync_dagster.simulator.event_feed.event_bodies import global_id
from canvas_sync_dagster.simulator.event_feed.event_source import event
from canvas_sync_dagster.simulator.event_feed.signer import Signer
from canvas_sync_dagster.simulator.faults import FAULTS
from canvas_sync_dagster.simulator.http_api.served_state import RecordedRequest
from canvas_sync_dagster.simulator.rate_limit import Bucket
from canvas_sync_dagster.simulator.report_runs.report_run import ReportRun
from canvas_sync_dagster.simulator.report_tables.offered_reports import REPORTS
from canvas_sync_dagster.simulator.simulated_canvas import SimulatedCanvas
from canvas_sync_dagster.simulator.university.sizes import EPOCH, ROOT_ACCOUNT, SIZES, Size
from canvas_sync_dagster.simulator.university.state import University

__all__ = [
    "EPOCH",
    "FAULTS",
    "REPORTS",
    "ROOT_ACCOUNT",
    "SIZES",
    "Bucket",
    "DeliveryFaults",
    "RecordedRequest",
    "ReportRun",
    "Signer",
    "SimulatedCanvas",
    "Size",
    "University",
    "deliver",
    "event",
    "global_id",
]
