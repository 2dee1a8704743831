"""Reports under way: begun when someone looks, compiled from a snapshot in real time, written as Canvas writes them."""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from canvas_sync_dagster.simulator import damage
from canvas_sync_dagster.simulator.available import PROPRIETARY, REPORTS, SINGLE, STOCK
from canvas_sync_dagster.simulator.changes import advance
from canvas_sync_dagster.simulator.faults import STATUS_FAULTS, Faults
from canvas_sync_dagster.simulator.report import FILE_IDS_FROM, Report, truthy
from canvas_sync_dagster.simulator.tables import Question
from canvas_sync_dagster.simulator.university import ROOT_ACCOUNT, University

Content = str | Callable[[Mapping[str, Any]], str]
"""CSV of a report of one's own, or what makes it from the parameters that were asked."""


ENDS = {
    "report_error": "error",
    "report_error_id": "error",
    "report_aborted": "aborted",
    "report_vanishes": "deleted",
    "report_returns": "deleted",
}
"""Fault → state in which it ends a report half way."""


def asked_term(parameters: Mapping[str, Any]) -> str:
    """Return the term that a request names, by id or `sis_term_id:…`; empty for all terms."""
    return str(parameters.get("enrollment_term_id") or parameters.get("enrollment_term") or "")


class ReportQueue:
    """All reports of a Canvas.

    Args:
        university: What they tell of.
        faults: What goes wrong.
        compile_seconds: How long one takes at least, in real time.
        available: Names of the reports that this Canvas has.
    """

    def __init__(
        self, university: University, faults: Faults, *, compile_seconds: float, available: frozenset[str]
    ) -> None:
        self.university = university
        self.available = available
        self.titles = dict(REPORTS)
        self._own: dict[str, Content] = {}
        self.reports: dict[int, Report] = {}
        self._faults = faults
        self.compile_seconds = compile_seconds
        # Ids go on from process to process, as Canvas's do: a new simulator is no Canvas that forgot its reports' ids.
        self._ids = itertools.count(int(time.time() * 10) % FILE_IDS_FROM)
        self._lock = threading.RLock()
        self._directory: Path | None = None
        self._workers: ThreadPoolExecutor | None = None

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Keeps a worker and a directory for the files; without them reports stay as they are."""
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
        """Offers a report of one's own from now on."""
        self.available |= {name}
        self.titles[name] = title
        self._own[name] = content

    def advance(self, duration: timedelta) -> None:
        """Moves Canvas's clock; no report begins in the middle of it."""
        with self._lock:
            advance(self.university, duration)

    def start(self, name: str, parameters: dict[str, Any], account: int = ROOT_ACCOUNT) -> Report | None:
        """Queue a report.

        Returns:
            The report; None if its term does not exist, for which Canvas responds with 400.
        """
        with self._lock:
            term = self._term(parameters)
            if term is None:
                return None
            alike = [each for each in self.of(name, account) if each.parameters == parameters]
            self._tick()
            report = Report(next(self._ids), name, parameters, self.university.now, account, term[1])
            report.faults = {fault for fault in STATUS_FAULTS if self._faults.take(fault)}
            report.twins = sum(each.state in {"created", "running"} for each in alike)
            self.reports[report.id] = report
            return report

    def of(self, name: str, account: int = ROOT_ACCOUNT) -> list[Report]:
        """Lists the reports of a name as they are now, the newest first."""
        with self._lock:
            found = [each for each in self.reports.values() if (each.name, each.account) == (name, account)]
            for each in found:
                self._work(each)
                if each.state == "deleted" and "report_returns" in each.faults:
                    # The job notices late that its report was deleted, and writes its own end over that.
                    each.state = "aborted"
            return sorted((each for each in found if each.state != "deleted"), key=lambda each: -each.id)

    def look(self, name: str, number: int, account: int = ROOT_ACCOUNT) -> Report | None:
        """Returns a report as it is now, after time has done its work."""
        with self._lock:
            report = self.reports.get(number)
            if report is None or (report.name, report.account) != (name, account):
                return None
            report.polls += 1
            self._work(report)
            report.polls_since_complete += report.state == "complete"
            return None if report.state == "deleted" else report

    def abort(self, report: Report) -> bool:
        """Aborts a report that runs."""
        with self._lock:
            if report.state != "running":
                return False
            report.state = "aborted"
            return True

    def delete(self, report: Report) -> None:
        """Deletes a report."""
        with self._lock:
            report.state = "deleted"

    def of_file(self, number: int) -> Report | None:
        """Returns the report whose file has an id."""
        report = self.reports.get(number - FILE_IDS_FROM)
        return report if report is not None and report.file is not None else None

    def _tick(self) -> None:
        """Lets a second pass, so that no two reports begin at one moment."""
        advance(self.university, timedelta(seconds=1))

    def _work(self, report: Report) -> None:
        if report.state == "created" and "stuck_in_created" not in report.faults and self._workers is not None:
            self._tick()
            report.state, report.began, report.started_at = "running", time.monotonic(), self.university.now
            # The frames never change in place, so this is a snapshot. A real Canvas's is torn by minutes.
            report.writing = self._workers.submit(self._write, report, copy.copy(self.university))
        if report.state == "running" and report.began is not None and "stuck_in_running" not in report.faults:
            self._go_on(report, time.monotonic() - report.began)

    def _go_on(self, report: Report, elapsed: float) -> None:
        for fault, state in ENDS.items():
            if fault in report.faults and elapsed >= self.compile_seconds / 2:
                report.state = state
                return
        # A report whose worker is gone stays running for ever.
        if elapsed < self.compile_seconds or not (report.writing and report.writing.done()):
            return
        if not report.writing.cancelled():
            report.file = report.writing.result()
            report.state, report.ended_at = "complete" if report.file else "error", self.university.now

    def _term(self, parameters: Mapping[str, Any]) -> tuple[int | None, str] | None:
        """Return id and name of the term that is asked for; None if there is no such term."""
        asked = asked_term(parameters)
        if not asked:
            return None, "All Terms"
        # Canvas looks the term up among all of the root account's, the deleted ones included.
        terms = self.university.terms
        by_sis = asked.startswith("sis_term_id:")
        key, value = ("sis_id", asked.removeprefix("sis_term_id:")) if by_sis else ("id", asked)
        found = terms.filter(pl.col(key).cast(pl.String) == value)
        if found.is_empty():
            return None
        return int(found.get_column("id")[0]), str(found.get_column("name")[0])

    def tables(self, report: Report, university: University) -> dict[str, pl.DataFrame]:
        """Answers a report: table → rows.

        Raises:
            ValueError: `updated_after` is not a time, or the term does not exist any more.
        """
        if report.name in self._own:
            return {report.name: _frame(self._own[report.name], report.parameters)}
        since = report.parameters.get("updated_after") if report.name != "provisioning_csv" else None
        term = self._term(report.parameters)
        if term is None:
            raise ValueError("unknown term")
        question = Question(
            term[0],
            deleted=truthy(report.parameters.get("include_deleted")),
            updated_after=_moment(str(since)) if since else None,
            account=report.account,
        )
        if report.name in SINGLE:
            return {report.name: SINGLE[report.name](university, question)}
        known = STOCK if report.name == "provisioning_csv" else PROPRIETARY
        tables = {n: make(university, question) for n, make in known.items() if truthy(report.parameters.get(n))}
        # Canvas reads this one parameter raw: the text "false" switches it on, too.
        if report.parameters.get("created_by_sis") is not None:
            return {n: frame.filter(created_by_sis=True) if "created_by_sis" in frame.columns else frame
                    for n, frame in tables.items()}  # fmt: skip
        return tables

    def _write(self, report: Report, university: University) -> Path | None:
        assert self._directory is not None  # noqa: S101 (the worker lives no longer than the directory)
        try:
            tables = self.tables(report, university)
            if report.name == "rubrics_csv" and report.account != ROOT_ACCOUNT:
                # As Canvas: "This report can only be run on the root account."
                return None
        except (ValueError, pl.exceptions.PolarsError):
            return None
        files: dict[str, Path] = {}
        for name, frame in tables.items():
            files[name] = self._directory / f"{report.name}-{report.id}-{name}.csv"
            self._write_csv(frame, files[name])
        return self._packed(files) if files else None

    def _packed(self, files: dict[str, Path]) -> Path:
        first = next(iter(files.values()))
        if self._faults.take("empty_file"):
            first.write_bytes(b"")
            return first
        if len(files) == 1 and not self._faults.take("zip_for_one"):
            return first
        if self._faults.take("csv_for_many"):
            return first
        if self._faults.take("zip_lacks_table"):
            files = dict(list(files.items())[1:])
        prefix = "../../../etc/" if self._faults.take("hostile_names") else ""
        packed = first.with_suffix(".zip")
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, path in files.items():
                archive.write(path, f"{prefix}{name}.csv")
        for path in files.values():
            path.unlink()
        if self._faults.take("damaged_zip"):
            whole = packed.read_bytes()
            packed.write_bytes(whole[: len(whole) * 2 // 3])
        return packed

    def _write_csv(self, frame: pl.DataFrame, path: Path) -> None:
        """Writes as Ruby does: quotes where they must be, nothing for null; and breaks what was ordered to break."""
        for fault, change in damage.ROWS.items():
            frame = change(frame) if self._faults.take(fault) else frame
        frame.write_csv(path, separator=";" if self._faults.take("semicolons") else ",")
        faults = [fault for fault in damage.BYTES if self._faults.take(fault)]
        if faults:
            path.write_bytes(damage.damaged(path.read_bytes(), faults))


def _frame(content: Content, parameters: Mapping[str, Any]) -> pl.DataFrame:
    text = content if isinstance(content, str) else content(parameters)
    return pl.read_csv(io.BytesIO(text.encode()), infer_schema=False)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
