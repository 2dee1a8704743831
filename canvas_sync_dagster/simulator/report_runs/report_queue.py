"""Reports under way: begun when someone looks, compiled from a snapshot in real time, written as Canvas writes them."""

from __future__ import annotations

import contextlib
import copy
import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from canvas_sync_dagster.simulator.faults import STATUS_FAULTS, Faults
from canvas_sync_dagster.simulator.report_runs.report_content import Content, refusal_of, tables_of, term_of
from canvas_sync_dagster.simulator.report_runs.report_files import write_file
from canvas_sync_dagster.simulator.report_runs.report_run import FILE_IDS_FROM, ReportRun
from canvas_sync_dagster.simulator.report_tables.offered_reports import REPORTS
from canvas_sync_dagster.simulator.university.bulk_changes import change_rows
from canvas_sync_dagster.simulator.university.daily_changes import advance
from canvas_sync_dagster.simulator.university.sizes import ROOT_ACCOUNT
from canvas_sync_dagster.simulator.university.state import University

ENDS = {
    "report_error": "error",
    "report_error_id": "error",
    "report_aborted": "aborted",
    "report_vanishes": "deleted",
    "report_returns": "deleted",
}
"""Fault → state in which it ends a report half way."""
STUCK = frozenset({"stuck_in_running", "root_report_stuck"})
OF_ROOT = frozenset({"root_report_stuck"})
"""Faults that only reports of the root account have."""


class ReportQueue:
    """All reports of a Canvas.

    Args:
        university: What the reports contain.
        faults: What goes wrong.
        compile_seconds: Seconds of real time that a report takes at least.
        available: Names of the reports that are offered.
    """

    def __init__(
        self, university: University, faults: Faults, *, compile_seconds: float, available: frozenset[str]
    ) -> None:
        self.university = university
        self.available = available
        self.titles = dict(REPORTS)
        self.custom: dict[str, Content] = {}
        self.reports: dict[int, ReportRun] = {}
        self._faults = faults
        self.compile_seconds = compile_seconds
        # Ids increase across processes, as Canvas's do: a new simulator must not reuse ids of earlier reports.
        self._ids = itertools.count(int(time.time() * 10) % FILE_IDS_FROM)
        self._lock = threading.RLock()
        self._directory: Path | None = None
        self._workers: ThreadPoolExecutor | None = None

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Provide a worker and a directory for files; without them no report makes progress."""
        with (
            TemporaryDirectory(prefix="canvas_sync_simulator_") as directory,
            ThreadPoolExecutor(1, thread_name_prefix="report") as workers,
        ):
            self._workers, self._directory = workers, Path(directory)
            try:
                yield
            finally:
                workers.shutdown(cancel_futures=True)
                self._workers = self._directory = None

    def add(self, name: str, content: Content, title: str) -> None:
        """Offer a custom report from now on."""
        self.available |= {name}
        self.titles[name] = title
        self.custom[name] = content

    def advance(self, duration: timedelta) -> None:
        """Move Canvas's clock; no report begins meanwhile."""
        with self._lock:
            advance(self.university, duration)

    def change_rows(self, share: float) -> int:
        """Change a share of the rows a second later; no report begins meanwhile.

        Returns:
            The number of rows that were changed.
        """
        with self._lock:
            self._tick()
            return change_rows(self.university, share)

    def start(self, name: str, parameters: dict[str, Any], account: int = ROOT_ACCOUNT) -> ReportRun | None:
        """Queue a report.

        Returns:
            The report; None if its term does not exist, for which Canvas responds with 400.
        """
        with self._lock:
            term = term_of(self.university, parameters)
            if term is None:
                return None
            alike = [each for each in self.of(name, account) if each.parameters == parameters]
            self._tick()
            report = ReportRun(next(self._ids), name, parameters, self.university.now, account, term[1])
            possible = STATUS_FAULTS.keys() - (set() if account == ROOT_ACCOUNT else OF_ROOT)
            report.faults = {fault for fault in STATUS_FAULTS if fault in possible and self._faults.take(fault)}
            report.twins = sum(each.state in {"created", "running"} for each in alike)
            self.reports[report.id] = report
            return report

    def of(self, name: str, account: int = ROOT_ACCOUNT) -> list[ReportRun]:
        """Return the current reports of a name and account, the newest first."""
        with self._lock:
            found = [each for each in self.reports.values() if (each.name, each.account) == (name, account)]
            for each in found:
                self._work(each)
                if each.state == "deleted" and "report_returns" in each.faults:
                    # The job notices late that its report was deleted, and writes its own end over that.
                    each.state = "aborted"
            return sorted((each for each in found if each.state != "deleted"), key=lambda each: -each.id)

    def look(self, name: str, number: int, account: int = ROOT_ACCOUNT) -> ReportRun | None:
        """Return a report in its current state; None if it does not exist or was deleted. Counts as a poll."""
        with self._lock:
            report = self.reports.get(number)
            if report is None or (report.name, report.account) != (name, account):
                return None
            report.polls += 1
            self._work(report)
            report.polls_since_complete += report.state == "complete"
            return None if report.state == "deleted" else report

    def abort(self, report: ReportRun) -> bool:
        """Abort a report; False if it is not running."""
        with self._lock:
            if report.state != "running":
                return False
            report.state = "aborted"
            return True

    def delete(self, report: ReportRun) -> None:
        """Delete a report."""
        with self._lock:
            report.state = "deleted"

    def of_file(self, number: int) -> ReportRun | None:
        """Return the report that has a file of this id; None if there is none."""
        report = self.reports.get(number - FILE_IDS_FROM)
        return report if report is not None and report.file is not None else None

    def _tick(self) -> None:
        """Let a second pass, so that no two reports begin at the same time."""
        advance(self.university, timedelta(seconds=1))

    def _work(self, report: ReportRun) -> None:
        if report.state == "created" and "stuck_in_created" not in report.faults and self._workers is not None:
            self._tick()
            report.state, report.began, report.started_at = "running", time.monotonic(), self.university.now
            # The frames never change in place, so this is a snapshot. A real Canvas's is torn by minutes.
            report.writing = self._workers.submit(self._write, report, copy.copy(self.university))
        if report.state == "running" and report.began is not None and not report.faults & STUCK:
            self._go_on(report, time.monotonic() - report.began)

    def _go_on(self, report: ReportRun, elapsed: float) -> None:
        for fault, state in ENDS.items():
            if fault in report.faults and elapsed >= self.compile_seconds / 2:
                report.state = state
                return
        # A report without a worker stays `running`.
        if elapsed < self.compile_seconds or not (report.writing and report.writing.done()):
            return
        if not report.writing.cancelled():
            report.file = report.writing.result()
            report.state, report.ended_at = "complete" if report.file else "error", self.university.now

    def _write(self, report: ReportRun, university: University) -> Path | None:
        assert self._directory is not None  # noqa: S101 (the worker lives no longer than the directory)
        if refusal := refusal_of(report, self.custom):
            report.message = refusal
            return None
        try:
            tables = tables_of(report, university, self.custom)
            return write_file(tables, self._directory / f"{report.name}-{report.id}", self._faults)
        except (ValueError, pl.exceptions.PolarsError):
            return None
