"""What `canvas-sync doctor` checks, by subject: `dagster.yaml`; then for each tenant settings, Canvas, database, Dagster's
storage and live events.

To add a check, write a generator that yields findings (`ok`, `note`, `fail`) in the module of its subject, and add it to
the tuple `CHECKS` of that module. A `CanvasSyncError` that a check raises becomes a failure; the next check runs.
"""

from __future__ import annotations

from collections.abc import Iterator

from canvas_sync_dagster.commands.checks import canvas, database, instance, live_events, settings, storage
from canvas_sync_dagster.commands.checks.finding import Checked, Finding
from canvas_sync_dagster.commands.location import Location
from canvas_sync_dagster.tenants import TenantSettings


def instance_findings() -> Iterator[Finding]:
    """Check the Dagster instance, which all tenants share."""
    return instance.run()


def findings(location: Location, tenant: TenantSettings) -> Iterator[Finding]:
    """Check one tenant.

    Args:
        location: The code location.
        tenant: One of its tenants.

    Yields:
        Findings in the order of the subjects. Equal ones are yielded once: several checks may find the same problem.
    """
    seen: set[Finding] = set()
    for subject in (settings, canvas, database, storage, live_events):
        for finding in subject.run(Checked(location, tenant)):
            if finding not in seen:
                seen.add(finding)
                yield finding
