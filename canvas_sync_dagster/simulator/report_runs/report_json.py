"""A report run and its file as Canvas's API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from canvas_sync_dagster.simulator.report_runs.report_run import ReportRun
from canvas_sync_dagster.simulator.report_tables.offered_reports import PROPRIETARY
from canvas_sync_dagster.simulator.report_tables.report_query import truthy

FAILED = "Failed, the report failed to generate a file. Please try again."

FAILED_WITH_ID = "Failed, please report the following error code to your system administrator: ErrorReport:{id};"

ABORTED = "Report has been aborted"


def as_json(report: ReportRun, base_url: str) -> dict[str, Any]:
    """Return a report as Canvas's API shows it; `ended_at` of a complete one is null for one poll."""
    state, progress = report.state, 100 if report.state == "complete" else 0
    if state == "error":
        progress = 41 if "report_error" in report.faults else 100
    if state == "running" and "progress_falls_back" in report.faults:
        state, progress = ("running", 99) if report.polls <= 1 else ("compiling", 3)
    if state == "running" and "unknown_state" in report.faults:
        state = "meditating"
    first_poll = report.polls_since_complete <= 1
    unfinished = state == "complete" and first_poll
    body: dict[str, Any] = {
        "id": report.id,
        "report": report.name,
        "status": state,
        "progress": progress,
        "current_line": None,
        "created_at": _iso(report.created_at),
        "started_at": _iso(report.started_at),
        "ended_at": None if unfinished else _iso(report.ended_at),
        "file_url": None,
        "parameters": {**report.parameters, "extra_text": _told(report), "locale": "en"},
    }
    if state == "complete" and report.file is not None and not ("without_attachment" in report.faults and first_poll):
        body["file_url"] = f"{base_url}/accounts/{report.account}/files/{report.file_id}/download"
        body["attachment"] = attachment(report, base_url)
    return body


def _told(report: ReportRun) -> str:
    if report.message:
        return report.message
    if report.state == "error":
        return FAILED_WITH_ID.format(id=report.id) if "report_error_id" in report.faults else FAILED
    if report.state == "aborted":
        return ABORTED
    deleted = "Include Deleted Objects; " if truthy(report.parameters.get("include_deleted")) else ""
    tables = [name for name in PROPRIETARY if truthy(report.parameters.get(name))]
    return f"Term: {report.term_name}; {deleted}" + (f"Reports: {' '.join(tables)} " if tables else "")


def attachment(report: ReportRun, base_url: str) -> dict[str, Any]:
    """Return a report's file as Canvas's API shows it."""
    assert report.file is not None  # noqa: S101 (only finished reports have one)
    kind, suffix = ("application/zip", ".zip") if report.is_zip else ("text/csv", ".csv")
    stem = f"{report.name}_{report.created_at:%d_%b_%Y}_{report.id}"
    return {
        "id": report.file_id,
        "uuid": verifier(report),
        "folder_id": 1,
        "display_name": f"{stem}_{suffix}",
        "filename": f"{stem}_6257-0{suffix}",
        "workflow_state": "processed",
        "content-type": kind,
        "url": f"{base_url}/files/{report.file_id}/download?download_frd=1&verifier={verifier(report)}",
        "size": report.file.stat().st_size,
        "created_at": _iso(report.started_at),
        "updated_at": _iso(report.started_at),
        "unlock_at": None,
        "locked": False,
        "hidden": False,
        "lock_at": None,
        "hidden_for_user": False,
        "thumbnail_url": None,
        "modified_at": _iso(report.started_at),
        "mime_class": "zip" if report.is_zip else "file",
        "media_entry_id": None,
        "locked_for_user": False,
    }


def verifier(report: ReportRun) -> str:
    """Return the parameter that opens a report's file without a token."""
    return f"verifier-of-{report.file_id}"


def _iso(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None
