"""A report run as Canvas stores it."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from canvas_sync_dagster.simulator.university.sizes import ROOT_ACCOUNT

FILE_IDS_FROM = 1_000_000_000
"""Files are counted elsewhere than reports: a client that takes one id for the other finds nothing."""


@dataclass
class ReportRun:
    """A report in Canvas. `state` is as Canvas would store it; what a client sees follows from it and the time."""

    id: int
    name: str
    parameters: dict[str, Any]
    created_at: datetime
    account: int = ROOT_ACCOUNT
    term_name: str = "All Terms"
    state: str = "created"
    began: float | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    writing: Future[Path | None] | None = None
    file: Path | None = None
    faults: set[str] = field(default_factory=set)
    message: str = ""
    """What Canvas shows as `extra_text` of a run that failed, if not its general message."""
    polls: int = 0
    polls_since_complete: int = 0
    twins: int = 0
    """Reports of the same name and parameters that were still under way when this one was started."""

    @property
    def file_id(self) -> int:
        return FILE_IDS_FROM + self.id

    @property
    def is_zip(self) -> bool:
        return self.file is not None and self.file.suffix == ".zip"
