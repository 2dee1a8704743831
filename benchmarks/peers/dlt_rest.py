"""The same lists with dlt: its REST API source, and `merge` on the primary key.

It reads CANVAS_URL, CANVAS_TOKEN and DATABASE_URL, and fills the schema `canvas`. It needs `dlt[postgres]` in a Python of
its own. Requests are sent by eight threads, as dlt's page on performance describes; `upsert` is the cheaper of its two
strategies that keep one row per key.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.update({"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR", "EXTRACT__WORKERS": "8",
                   "NORMALIZE__WORKERS": "2", "DATA_WRITER__BUFFER_MAX_ITEMS": "50000"})  # fmt: skip

import dlt  # type: ignore[import-not-found, unused-ignore]
from dlt.sources.rest_api import rest_api_source  # type: ignore[import-not-found, unused-ignore]

STATES = ["active", "invited", "creation_pending", "inactive", "completed"]
COURSE = "courses/{resources.courses.id}"


def resource(name: str, path: str, **endpoint: Any) -> dict[str, Any]:
    """Return the configuration of a list."""
    return {"name": name, "endpoint": {"path": path, **endpoint}}


def main() -> None:
    """Read everything once."""
    source = rest_api_source(
        {
            "client": {
                "base_url": f"{os.environ['CANVAS_URL']}/api/v1/",
                "auth": {"type": "bearer", "token": os.environ["CANVAS_TOKEN"]},
                "paginator": {"type": "header_link"},
            },
            "resource_defaults": {
                "primary_key": "id",
                "write_disposition": {"disposition": "merge", "strategy": "upsert"},
                "max_table_nesting": 0,
                "parallelized": True,
                "endpoint": {"params": {"per_page": 100}},
            },
            "resources": [
                resource(
                    "terms",
                    "accounts/self/terms",
                    data_selector="enrollment_terms",
                    params={"workflow_state": "all"},
                ),
                resource("users", "accounts/self/users"),
                resource("courses", "accounts/self/courses"),
                resource("sections", f"{COURSE}/sections"),
                resource("enrollments", f"{COURSE}/enrollments", params={"state[]": STATES}),
                resource("assignments", f"{COURSE}/assignments"),
                resource("submissions", f"{COURSE}/students/submissions", params={"student_ids[]": "all"}),
            ],
        }
    )
    pipeline = dlt.pipeline(
        "canvas",
        pipelines_dir=str(Path.cwd()),
        dataset_name="canvas",
        destination=dlt.destinations.postgres(os.environ["DATABASE_URL"]),
    )
    pipeline.run(source).raise_on_failed_jobs()


if __name__ == "__main__":
    main()
