"""Loads one report as a whole process. usage: load_once.py DSN SCHEMA FILE [MODEL]

The file is one of enrollments. With a model it is one of this model, its keys are listed, and the rows that it lacks are
marked, as a full sync does.

Prints counts, phases and peak memory as JSON. Imports no Dagster, as the receiver and the tests do not.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from canvas_sync_dagster.catalogue.built_in.courses import enrollments
from canvas_sync_dagster.warehouse.connection import Connection, connect
from canvas_sync_dagster.warehouse.loading.load import LoadCounts, Source, load_csv
from canvas_sync_dagster.warehouse.warehouse import Warehouse


def peak_kilobytes() -> int:
    """Returns the most memory that this process ever held; `getrusage` would count what its parent held, too."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # macOS, in bytes.
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))


def full_load(connection: Connection, schema: str, path: Path, name: str) -> LoadCounts:
    """Loads a report of any model, and marks the rows that it does not list."""
    from canvas_sync_dagster.catalogue import BUILT_IN, ProvisioningFeed
    from canvas_sync_dagster.warehouse.absence import mark_missing

    models = {model.name: model for model in BUILT_IN}
    feed, table = models[name].feed, Warehouse(connection, schema, models).table(models[name])
    source = Source(scope="", observed_at=datetime.now(UTC), report="provisioning_csv", report_id=1)
    prefer = feed.prefer if isinstance(feed, ProvisioningFeed) else None
    counts = load_csv(table, lambda: path.open("rb"), source, prefer=prefer, lists=True)
    if counts.listed is not None:
        mark_missing(table, source, counts.listed)
    return counts


def main() -> None:
    """Loads, commits, prints."""
    url, schema, path = sys.argv[1:4]
    start = time.perf_counter()
    with connect(url) as connection:
        if len(sys.argv) > 4:
            counts = full_load(connection, schema, Path(path), sys.argv[4])
        else:
            source = Source(scope="1", observed_at=datetime.now(UTC), report="provisioning_csv", report_id=1)
            counts = load_csv(Warehouse(connection, schema).table(enrollments), lambda: Path(path).open("rb"), source)  # noqa: SIM115 (load_csv closes it)
    print(
        json.dumps(
            {
                "rows": counts.rows_in_report,
                "inserted": counts.inserted,
                "updated": counts.updated,
                "unchanged": counts.unchanged,
                "seconds": time.perf_counter() - start,
                "phases": {name: round(value, 3) for name, value in counts.seconds.items()},
                "peak_mb": peak_kilobytes() // 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
