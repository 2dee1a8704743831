"""Full syncs of a simulated university, all models and terms: where the time goes, what it takes, what is written.

The simulated Canvas and PostgreSQL are processes of their own, and so is each sync, whose peak memory is measured. It
does what the jobs do, one report after the other, without Dagster. Time between the phases is count and check.

    ./run python benchmarks/sync.py [--size medium] [--rounds 2] [--dsn …]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from pydantic import SecretStr

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.embedded import EmbeddedPostgres
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import SimulatedCanvas
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.outcome import SyncOutcome
from canvas_sync_dagster.sync.report_request import report_groups, rest_models
from canvas_sync_dagster.sync.report_sync import sync_report
from canvas_sync_dagster.sync.rest_sync import sync_list
from canvas_sync_dagster.sync.session import Session, open_session
from canvas_sync_dagster.sync.terms import read_terms
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.warehouse.schema.migrate import migrate

FULL = SyncOptions(mode="full")
WRITTEN = "select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) from pg_stat_user_tables where relname = any(%s)"


def outcomes(session: Session) -> Iterator[tuple[str, SyncOutcome]]:
    """Syncs everything and yields what each report and list did."""
    lists = rest_models(session.models)
    for model in lists:
        if not model.term_scoped:
            yield model.name, sync_list(Flow.of(session, FULL), model)
    with session.warehouse("reading terms") as warehouse:
        held = read_terms(warehouse.table(warehouse.models["terms"]))
    terms = [term.id for term in held if not term.deleted and not term.missing]
    for group in report_groups(session.models):
        for scope in terms if group.term_scoped else [""]:
            names = {model.name for model in group.models}
            yield group.name, sync_report(Flow.of(session, FULL, scope), group, names)
    for model in lists:
        for scope in terms if model.term_scoped else []:
            yield model.name, sync_list(Flow.of(session, FULL, scope), model)


def once(url: str, token: str, dsn: str) -> None:
    """Syncs everything once, as a process of its own, and prints what it took."""
    phases: dict[str, float] = defaultdict(float)
    rows: Counter[str] = Counter()
    steps: dict[str, list[float]] = defaultdict(list)
    tenant = TenantSettings(
        slug="canvas", base_url=url, token=SecretStr(token), database_url=SecretStr(dsn), poll_seconds=0.2
    )
    start = last = time.perf_counter()
    with (
        TemporaryDirectory() as home,
        open_session(Settings(home=Path(home), tenants=(tenant,)), tenant, BUILT_IN) as session,
    ):
        for name, outcome in outcomes(session):
            phases["wait"] += outcome.waited
            for each in outcome.models:
                for phase, seconds in each.counts.seconds.items():
                    phases[phase] += seconds
                rows.update(each.counts.as_dict())
            now = time.perf_counter()
            steps[name].append(now - last - outcome.waited)
            last = now
    print(json.dumps({
        "seconds": last - start,
        "phases": phases,
        "rows": rows,
        "slowest": dict(sorted(((name, sum(each)) for name, each in steps.items()), key=lambda each: -each[1])[:8]),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }))  # fmt: skip


def told(number: int, result: dict[str, object], written: int) -> str:
    """Writes one sync for people."""
    total, phases, rows = result["seconds"], result["phases"], result["rows"]
    assert isinstance(total, float)
    assert isinstance(phases, dict)
    assert isinstance(rows, dict)
    phases = phases | {"other": total - sum(phases.values())}
    shares = ", ".join(f"{name} {seconds:.1f} s ({seconds / total:.0%})" for name, seconds in phases.items())
    slowest = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in dict(result["slowest"]).items())  # type: ignore[call-overload]
    return (
        f"sync {number}: {total:.1f} s for {rows['rows_in_report']:,} rows, {written:,} data rows written, "
        f"peak {result['peak_mb']} MB\n  {shares}\n  without waiting: {slowest}"
    )


def main() -> None:
    """Runs a Canvas and a database, and syncs as often as asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="medium", choices=["small", "medium", "large"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--dsn", help="an empty database; an embedded PostgreSQL if not given")
    parser.add_argument("--once", nargs=3, metavar=("URL", "TOKEN", "DSN"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        once(*options.once)
        return
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory()))
        dsn = options.dsn or stack.enter_context(EmbeddedPostgres(directory / "postgres")).database("benchmark")
        migrate(dsn, "canvas", BUILT_IN)
        canvas = stack.enter_context(SimulatedCanvas(options.size, compile_seconds=0).serve())
        written = 0
        for number in range(1, options.rounds + 1):
            command = [sys.executable, __file__, "--once", canvas.base_url, canvas.token, dsn]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(done.stderr)
            with psycopg.connect(dsn) as connection:
                row = connection.execute(WRITTEN, ([model.name for model in BUILT_IN],)).fetchone()
            before, written = written, int(row[0]) if row else 0
            print(told(number, json.loads(done.stdout), written - before), flush=True)


if __name__ == "__main__":
    main()
