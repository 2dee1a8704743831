"""Loads one enrollments report as a whole process. usage: load_once.py DSN SCHEMA FILE

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
from canvas_sync_dagster.warehouse.connection import connect
from canvas_sync_dagster.warehouse.loading.load import Source, load_csv
from canvas_sync_dagster.warehouse.warehouse import Warehouse


def peak_kilobytes() -> int:
    """Returns the most memory that this process ever held; `getrusage` would count what its parent held, too."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024  # macOS, in bytes.
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))


def main() -> None:
    """Loads, commits, prints."""
    url, schema, path = sys.argv[1:4]
    start = time.perf_counter()
    source = Source(scope="1", observed_at=datetime.now(UTC), report="provisioning_csv", report_id=1)
    with connect(url) as connection:
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
