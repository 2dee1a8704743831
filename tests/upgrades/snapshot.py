"""Write the schema of the installed version, with the rows of a full sync, for the test of later versions.

    ./run python -m tests.upgrades.snapshot [BIN]

BIN is a directory with PostgreSQL's programs, `pg_dump` among them; the oldest in `/usr/lib/postgresql` by default.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.extras import DISTRIBUTION
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.warehouse.schema.migrate import migrate
from tests.fix_canvas import session_of
from tests.truth import assert_true, sync_everything

SETTINGS = ("\\", "--", "SET ", "SELECT pg_catalog.set_config")
"""How lines of `pg_dump` begin that only psql understands, or that older servers refuse."""


def snapshot(programs: Path) -> str:
    """Return the schema as SQL, one statement after the other."""
    with (
        tempfile.TemporaryDirectory() as home,
        EmbeddedPostgres(Path(home), binaries=programs) as server,
        SimulatedCanvas(compile_seconds=0.01).serve() as canvas,
    ):
        url = server.database("snapshot")
        migrate(url, "canvas", BUILT_IN)
        with session_of(canvas, url, Path(home)) as session:
            sync_everything(session)
        assert_true(canvas, url)
        options = ["--schema=canvas", "--no-owner", "--no-privileges", "--inserts", "--rows-per-insert=200"]
        dumped = subprocess.run(
            [str(programs / "pg_dump"), *options, url], stdout=subprocess.PIPE, text=True, check=True
        ).stdout
    return "".join(f"{line}\n" for line in dumped.splitlines() if line.strip() and not line.startswith(SETTINGS))


if __name__ == "__main__":
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    chosen = Path(sys.argv[1]) if len(sys.argv) > 1 else found[0]
    target = Path(__file__).with_name(f"{version(DISTRIBUTION)}.sql.gz")
    target.write_bytes(gzip.compress(snapshot(chosen).encode(), 9, mtime=0))
    print(f"written {target}")
