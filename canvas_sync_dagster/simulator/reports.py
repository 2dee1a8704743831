"""Reports under way: queued one after another, compiled in real time, delivered as Canvas delivers them."""

from __future__ import annotations

import io
import itertools
import random
import threading
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from canvas_sync_dagster.simulator.faults import Faults
from canvas_sync_dagster.simulator.tables import PROPRIETARY, REPORTS, SINGLE, STOCK, Question
from canvas_sync_dagster.simulator.university import University

SPANISH = {"canvas_user_id": "id_de_usuario_de_canvas", "canvas_course_id": "id_de_curso_de_canvas"}


class BadTermError(Exception):
    """The term does not exist; Canvas refuses the report with 400."""


@dataclass
class Report:
    """A report in Canvas. `state` is as Canvas would store it; what a client sees follows from it and the time."""

    id: int
    name: str
    parameters: dict[str, str]
    created_at: datetime
    asked: float
    state: str = "created"
    began: float | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    file: Path | None = None
    faults: set[str] = field(default_factory=set)
    polls: int = 0
    twins: int = 0
    """Reports of the same name and parameters that were still under way when this one was started."""


class ReportQueue:
    """All reports of an account.

    Args:
        university: What they tell of.
        faults: What goes wrong.
        directory: Where files lie.
        compile_seconds: How long one takes, in real time.
        available: Names of the reports that this Canvas has.
    """

    def __init__(
        self,
        university: University,
        faults: Faults,
        directory: Path,
        *,
        compile_seconds: float,
        available: frozenset[str],
    ) -> None:
        self.university = university
        self.available = available
        self.reports: dict[int, Report] = {}
        self._faults = faults
        self._directory = directory
        self._compile_seconds = compile_seconds
        # Ids go on from process to process, as Canvas's do: a new simulator is no Canvas that forgot its reports' ids.
        self._ids = itertools.count(int(time.time() * 10) % 1_000_000_000)
        self._lock = threading.RLock()

    def start(self, name: str, parameters: dict[str, str]) -> Report:
        """Queues a report.

        Raises:
            BadTermError: The term does not exist.
        """
        with self._lock:
            self._term(parameters)
            self.university.now += timedelta(seconds=1)
            report = Report(next(self._ids), name, parameters, self.university.now, time.monotonic())
            wanted = ("stuck_in_created", "stuck_in_running", "progress_falls_back", "unknown_state", "without_attachment",
                      "report_error", "report_aborted", "report_vanishes")  # fmt: skip
            report.faults = {fault for fault in wanted if self._faults.take(fault)}
            alike = [each for each in self.of(name) if each.parameters == parameters]
            report.twins = sum(each.state in {"created", "running"} for each in alike)
            self.reports[report.id] = report
            return report

    def of(self, name: str) -> list[Report]:
        """Lists the reports of a name, the newest first."""
        with self._lock:
            found = [each for each in self.reports.values() if each.name == name and each.state != "deleted"]
            return sorted(found, key=lambda each: -each.id)

    def look(self, name: str, number: int) -> Report | None:
        """Returns a report as it is now, after time has done its work."""
        with self._lock:
            report = self.reports.get(number)
            if report is None or report.name != name or report.state == "deleted":
                return None
            report.polls += 1
            self._work(report)
            return None if report.state == "deleted" else report

    def abort(self, report: Report) -> bool:
        """Aborts a report that runs."""
        if report.state != "running":
            return False
        report.state = "aborted"
        return True

    def _work(self, report: Report) -> None:
        if report.state == "created" and "stuck_in_created" not in report.faults:
            report.state, report.began = "running", time.monotonic()
            report.started_at = self.university.now
            # A snapshot of this moment; a real one is torn by minutes.
            self._write(report)
        if report.state != "running" or report.began is None or "stuck_in_running" in report.faults:
            return
        ends = {"report_error": "error", "report_aborted": "aborted", "report_vanishes": "deleted"}
        elapsed = time.monotonic() - report.began
        for fault, state in ends.items():
            if fault in report.faults and elapsed >= self._compile_seconds / 2:
                report.state = state
                return
        if elapsed >= self._compile_seconds:
            report.state = "complete"
            report.ended_at = None

    def _term(self, parameters: Mapping[str, str]) -> int | None:
        asked = parameters.get("enrollment_term_id") or parameters.get("enrollment_term")
        if not asked:
            return None
        terms = self.university.terms.filter(pl.col("state") != "deleted")
        key, value = (
            ("sis_id", asked.removeprefix("sis_term_id:")) if asked.startswith("sis_term_id:") else ("id", asked)
        )
        found = terms.filter(pl.col(key).cast(pl.String) == value)
        if found.is_empty():
            raise BadTermError(asked)
        return int(found.get_column("id")[0])

    def question(self, report: Report) -> Question:
        """Reads what a report was asked."""
        since = report.parameters.get("updated_after")
        knows = report.name != "provisioning_csv"
        return Question(
            self._term(report.parameters),
            deleted=truthy(report.parameters.get("include_deleted")),
            updated_after=datetime.fromisoformat(since) if since and knows else None,
            proprietary=report.name.startswith("proserv"),
        )

    def tables(self, report: Report) -> dict[str, pl.DataFrame]:
        """Answers a report: table → rows."""
        question = self.question(report)
        if report.name in SINGLE:
            return {report.name: SINGLE[report.name](self.university, question)}
        known = STOCK if report.name == "provisioning_csv" else PROPRIETARY
        return {
            name: make(self.university, question) for name, make in known.items() if truthy(report.parameters.get(name))
        }

    def _write(self, report: Report) -> None:
        files = {name: self._csv(frame) for name, frame in self.tables(report).items()}
        if not files:
            report.state = "error"
            return
        content = self._packed(files)
        report.file = self._directory / f"{report.name}-{report.id}"
        report.file.write_bytes(b"" if self._faults.take("empty_file") else content)

    def _packed(self, files: dict[str, bytes]) -> bytes:
        if len(files) == 1 and not self._faults.take("zip_for_one"):
            return next(iter(files.values()))
        if self._faults.take("csv_for_many"):
            return next(iter(files.values()))
        if self._faults.take("zip_lacks_table"):
            files = dict(list(files.items())[1:])
        prefix = "../../../etc/" if self._faults.take("hostile_names") else ""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, content in files.items():
                archive.writestr(f"{prefix}{name}.csv", content)
        whole = packed.getvalue()
        return whole[: len(whole) * 2 // 3] if self._faults.take("damaged_zip") else whole

    def _csv(self, frame: pl.DataFrame) -> bytes:
        """Writes as Ruby does: quotes where they must be, nothing for null; and breaks what was ordered to break."""
        take = self._faults.take
        if take("shuffled_rows"):
            frame = frame.sample(fraction=1, shuffle=True, seed=random.Random(len(frame)).getrandbits(30))
        if take("duplicate_rows"):
            frame = pl.concat([frame, frame])
        if take("volume_drop"):
            frame = frame.head(frame.height // 10)
        if take("header_only"):
            frame = frame.clear()
        if take("reordered_columns"):
            frame = frame.select(frame.columns[::-1])
        if take("unknown_column"):
            frame = frame.with_columns(pl.lit("?").alias("pronouns"))
        header, _, rows = frame.write_csv(separator=";" if take("semicolons") else ",").encode().partition(b"\n")
        return self._broken(header, rows, frame)

    def _broken(self, header: bytes, rows: bytes, frame: pl.DataFrame) -> bytes:
        take = self._faults.take
        if take("duplicate_column"):
            header += b"," + header.split(b",")[1]
            rows = b"\n".join(row + b"," for row in rows.removesuffix(b"\n").split(b"\n"))
        if take("spaced_header"):
            header = header.replace(b"_", b" ")
        if take("translated_header"):
            for english, spanish in SPANISH.items():
                header = header.replace(english.encode(), spanish.encode())
        lines = rows.split(b"\n")
        if len(lines) > 2:
            second = lines[1]
            for fault, broken in {
                "short_row": second.rpartition(b",")[0],
                "long_row": second + b",1",
                "bad_number": b"no" + second.replace(b",", b",no"),
                "nul_byte": second.replace(b",", b"\0,", 1),
                "bad_utf8": second.replace(b",", b"\xff,", 1),
                "open_quote": second.replace(b",", b',"', 1),
            }.items():
                if take(fault):
                    lines[1] = broken
        if take("mostly_rubbish"):
            lines = [line.rpartition(b",")[0] for line in lines]
        mark = b"\xef\xbb\xbf" if take("byte_order_mark") else b""
        return mark + header + b"\n" + b"\n".join(lines)


def truthy(value: str | None) -> bool:
    """Reads a parameter as Rails does."""
    return value is not None and value.lower() not in {"", "0", "false"}


def as_json(report: Report, base_url: str) -> dict[str, Any]:
    """Writes a report as Canvas's API shows it; a complete one is without its end for its first poll."""
    state, progress = report.state, 100 if report.state == "complete" else 41 if report.state == "error" else 0
    if state == "running" and "progress_falls_back" in report.faults:
        state, progress = ("running", 99) if report.polls <= 1 else ("compiling", 3)
    if state == "running" and "unknown_state" in report.faults:
        state = "meditating"
    terms = f"Term: {report.parameters.get('enrollment_term_id', 'All Terms')}; "
    body: dict[str, Any] = {
        "id": report.id,
        "report": report.name,
        "status": state,
        "progress": progress,
        "current_line": None,
        "created_at": _iso(report.created_at),
        "started_at": _iso(report.started_at),
        "ended_at": _iso(report.ended_at),
        "file_url": None,
        "parameters": {
            **report.parameters,
            "extra_text": "Failed, the report failed to generate a file. Please try again."
            if state == "error"
            else terms,
            "locale": "en",
        },
    }
    if state == "complete" and report.file is not None and "without_attachment" not in report.faults:
        body["file_url"] = f"{base_url}/accounts/1/files/{report.id}/download"
        body["attachment"] = attachment(report, base_url)
    report.faults.discard("without_attachment") if state == "complete" else None
    return body


def attachment(report: Report, base_url: str) -> dict[str, Any]:
    """Writes a report's file as Canvas's API shows it."""
    assert report.file is not None  # noqa: S101 (only finished reports have one)
    return {
        "id": report.id,
        "display_name": f"{report.name}_{report.id}_.csv",
        "filename": f"{report.name}_{report.id}.csv",
        "content-type": "text/csv",
        "url": f"{base_url}/files/{report.id}/download?download_frd=1&verifier=v{report.id}",
        "size": report.file.stat().st_size,
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


__all__ = ["REPORTS", "BadTermError", "Report", "ReportQueue", "as_json", "attachment", "truthy"]
