"""Measure a first sync of a Canvas without proprietary reports: requests, time and memory of each walk over REST.

The simulated Canvas runs in a process of its own and has no rate limit, so that the walk itself is measured. The minutes
of a real Canvas follow from the requests; `canvas-sync doctor` estimates them.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from pydantic import SecretStr
from walk import Peak, cpu_seconds

from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.simulator import Bucket, SimulatedCanvas
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.model_sync import sync_models
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.outcome import SyncOutcome
from canvas_sync_dagster.sync.report_request import report_groups, rest_models
from canvas_sync_dagster.sync.rest_sync import sync_list
from canvas_sync_dagster.sync.session import Session, open_session
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.testing import embedded_postgres


def _serve(size: str, ready: multiprocessing.Queue[tuple[str, str]]) -> None:
    with SimulatedCanvas(
        size, reports=frozenset({"provisioning_csv"}), bucket=Bucket(cost=0, up_front=0)
    ).serve() as canvas:
        ready.put((canvas.base_url, canvas.token))
        wait_forever()


def wait_forever() -> None:
    """Wait until the process is terminated."""
    while True:
        time.sleep(3600)


@contextmanager
def serving(size: str) -> Iterator[tuple[str, str]]:
    """Serve a Canvas that offers `provisioning_csv` only from another process, and yield its URL and token."""
    context = multiprocessing.get_context("spawn")
    ready: multiprocessing.Queue[tuple[str, str]] = context.Queue()
    process = context.Process(target=_serve, args=(size, ready), daemon=True)
    process.start()
    try:
        yield ready.get()
    finally:
        process.terminate()
        process.join()


def sync(session: Session, term: str) -> Iterator[SyncOutcome]:
    """Sync all models of the account and of one term, and yield the outcomes."""
    lists = rest_models(session.models)
    for model in lists:
        if not model.term_scoped:
            yield sync_list(Flow.of(session, SyncOptions()), model)
    for scoped in (False, True):
        for group in report_groups(session.models):
            if group.term_scoped is scoped:
                flow = Flow.of(session, SyncOptions(), term if scoped else "")
                yield from sync_models(flow, group, {model.name for model in group.models})
    for model in lists:
        if model.term_scoped:
            yield sync_list(Flow.of(session, SyncOptions(), term), model)


@contextmanager
def session_on(canvas: tuple[str, str], database: str, term: str) -> Iterator[Session]:
    """Open a session on a served Canvas.

    Args:
        canvas: Its URL and token.
        database: URL of an empty database.
        term: Canvas id of the term that the tenant covers.
    """
    url, token = canvas
    with tempfile.TemporaryDirectory() as home:
        tenant = TenantSettings(
            base_url=url,
            token=SecretStr(token),
            database_url=SecretStr(database),
            term_scope=(term,),
            poll_seconds=0.1,
        )
        with open_session(Settings(home=Path(home), tenants=(tenant,)), tenant, BUILT_IN) as session:
            yield session


@click.command()
@click.option("--size", default="small", show_default=True)
@click.option("--term", default="118", show_default=True)
def main(size: str, term: str) -> None:
    """Print requests, estimate, rows, seconds and memory of a first sync of one term."""
    requests: dict[str, int] = defaultdict(int)
    peak, before, start = Peak(), cpu_seconds(), time.perf_counter()
    with (
        serving(size) as canvas,
        embedded_postgres() as database,
        session_on(canvas, database, term) as session,
        peak,
    ):
        for outcome in sync(session, term):
            for each in outcome.models:
                cost = outcome.walked
                walked = f"{cost.requests:,} requests ({cost.estimated_requests:,} estimated)" if cost else "report"
                requests[each.model.name] += cost.requests if cost else 0
                seconds = outcome.waited + sum(each.counts.seconds.values())
                print(f"{each.model.name}: {each.table_rows:,} rows, {walked}, {seconds:.0f} s", flush=True)
    print(f"{sum(requests.values()):,} requests, {(time.perf_counter() - start) / 60:.1f} minutes")
    print(f"CPU {cpu_seconds() - before:.0f} s; memory {peak.start:.0f} MB before, {peak.most:.0f} MB at its peak")


if __name__ == "__main__":
    main()
