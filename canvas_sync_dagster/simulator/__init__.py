"""A Canvas that runs here: reports, REST, a clock, and everything that can go wrong."""

from canvas_sync_dagster.simulator.faults import FAULTS
from canvas_sync_dagster.simulator.server import SimulatedCanvas

__all__ = ["FAULTS", "SimulatedCanvas"]
