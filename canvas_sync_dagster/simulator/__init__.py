"""A Canvas that runs here: reports, REST, a clock, and everything that can go wrong."""

from canvas_sync_dagster.simulator.app import RecordedRequest
from canvas_sync_dagster.simulator.faults import FAULTS
from canvas_sync_dagster.simulator.server import SimulatedCanvas
from canvas_sync_dagster.simulator.throttle import Bucket

__all__ = ["FAULTS", "Bucket", "RecordedRequest", "SimulatedCanvas"]
