"""Measure a walk over the lists of many courses: memory, requests and time, against a Canvas that costs nothing.

The server runs in a process of its own and makes each page from its URL. It has no rate limit, so that the walk itself is
measured. The floor is a client that reads the same lists and keeps nothing.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import click
import psycopg
from pydantic import SecretStr

from canvas_sync_dagster.canvas.client import Canvas
from canvas_sync_dagster.catalogue import BUILT_IN
from canvas_sync_dagster.settings import Settings
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.options import SyncOptions
from canvas_sync_dagster.sync.rest_sync import sync_list
from canvas_sync_dagster.sync.session import open_session
from canvas_sync_dagster.tenants import TenantSettings
from canvas_sync_dagster.testing import embedded_postgres
from canvas_sync_dagster.warehouse.schema.migrate import migrate

TERM = 118
PAGE = 100


class _Lists(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    results = 100

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        course, page = int(url.path.split("/")[4]), int(parse_qs(url.query).get("page", ["1"])[0])
        start, stop = (page - 1) * PAGE, min(page * PAGE, self.results)
        body = json.dumps({"outcome_results": [_result(course, number) for number in range(start, stop)]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Rate-Limit-Remaining", "600")
        if stop < self.results:
            host = self.headers["Host"]
            self.send_header("Link", f'<http://{host}{url.path}?page={page + 1}&per_page={PAGE}>; rel="next"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


def _result(course: int, number: int) -> dict[str, object]:
    return {
        "id": course * 100_000 + number,
        "score": number % 5,
        "percent": number % 5 / 5,
        "mastery": number % 5 > 2,
        "submitted_or_assessed_at": "2026-08-30T10:00:00Z",
        "links": {"user": str(number), "learning_outcome": "20", "alignment": f"assignment_{course}"},
    }


def _serve(results: int, port: multiprocessing.Queue[int]) -> None:
    _Lists.results = results
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Lists)
    port.put(server.server_address[1])
    server.serve_forever()


@contextmanager
def serving(results: int) -> Iterator[str]:
    """Serve the lists from another process, and yield the URL."""
    context = multiprocessing.get_context("spawn")
    port: multiprocessing.Queue[int] = context.Queue()
    process = context.Process(target=_serve, args=(results, port), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{port.get()}"
    finally:
        process.terminate()
        process.join()


@click.command()
@click.option("--courses", default=3_000, show_default=True)
@click.option("--results", default=100, show_default=True, help="Results of each course.")
def main(courses: int, results: int) -> None:
    """Print time, CPU and memory of one walk, and of the floor."""
    model = next(model for model in BUILT_IN if model.name == "learning_outcome_results")
    with tempfile.TemporaryDirectory() as home, serving(results) as canvas, embedded_postgres() as url:
        migrate(url, "canvas", BUILT_IN)
        with psycopg.connect(url) as connection:
            connection.execute(
                "insert into canvas.courses (canvas_id, canvas_term_id, workflow_state) "
                "select n, %s, 'available' from generate_series(1, %s) n",
                (TERM, courses),
            )
        tenant = TenantSettings(base_url=canvas, token=SecretStr("x"), database_url=SecretStr(url))
        with open_session(Settings(home=Path(home), tenants=(tenant,)), tenant, BUILT_IN) as session:
            before, peak = cpu_seconds(), Peak()
            start = time.perf_counter()
            with peak:
                outcome = sync_list(Flow.of(session, SyncOptions(), str(TERM)), model)
            seconds = time.perf_counter() - start
            counts = outcome.models[0].counts
            print(f"{courses:,} courses x {results:,} results: {counts.inserted:,} rows in {seconds:.0f} s")
            print(
                f"  CPU {cpu_seconds() - before:.0f} s; memory {peak.start:.0f} MB before, {peak.most:.0f} MB at its peak"
            )
            print(f"  reading {outcome.waited:.0f} s, publishing {counts.seconds['merge']:.0f} s")
        start, before = time.perf_counter(), cpu_seconds()
        _floor(canvas, courses)
        print(f"  floor, reading only: {time.perf_counter() - start:.0f} s, CPU {cpu_seconds() - before:.0f} s")


def _floor(url: str, courses: int) -> None:
    with Canvas(url, "x") as canvas, ThreadPoolExecutor(8) as threads:

        def read(course: int) -> int:
            return sum(1 for _ in canvas.get_list(f"/courses/{course}/outcome_results", envelope="outcome_results"))

        sum(threads.map(read, range(1, courses + 1)))


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Peak:
    """The resident memory of this process while the body runs, in MB."""

    def __init__(self) -> None:
        self.start = self.most = _resident()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            self.most = max(self.most, _resident())


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


if __name__ == "__main__":
    main()
