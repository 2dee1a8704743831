"""A custom report: requested like any other, and processed by the user's function in one transaction."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from canvas_sync_dagster.canvas.reports import ReportFiles
from canvas_sync_dagster.catalogue.parameters import Parameters
from canvas_sync_dagster.sync.downloaded_report import DownloadedReport, ReportContext
from canvas_sync_dagster.sync.extension_types import CustomReport
from canvas_sync_dagster.sync.flow import Flow, Publication
from canvas_sync_dagster.sync.policy import Decision
from canvas_sync_dagster.sync.report_download import Asked, downloaded
from canvas_sync_dagster.sync.report_request import scoped

LONGEST_RETURNED = 500
"""Characters of the function's result that the journal keeps."""


@dataclass(frozen=True, slots=True)
class CustomOutcome:
    """What the sync of a custom report did.

    Attributes:
        report_id: Canvas's id of the report.
        observed_at: How fresh its rows are, on Canvas's clock.
        decision: In full or since when, and why.
        waited: Seconds until the file was downloaded.
        seconds: Seconds that the function took.
        returned: What the function returned.
    """

    report_id: int
    observed_at: datetime
    decision: Decision
    waited: float
    seconds: float
    returned: object

    def summary(self) -> dict[str, object]:
        """Return what the journal keeps."""
        returned = repr(self.returned)[:LONGEST_RETURNED]
        return {"report_id": self.report_id, "mode": self.decision.mode, "returned": returned}


def sync_custom_report(flow: Flow, report: CustomReport) -> CustomOutcome:
    """Request a report and have the user's function process it; its changes and the watermark are committed together.

    Args:
        flow: The tenant, the policy and the scope.
        report: The report and its function.

    Raises:
        CanvasSyncError: Canvas or the database failed.
        Exception: The function raised it; nothing was committed.
    """
    flow.prepare((), per_term=report.per_term)
    name = f"report:{report.asset or report.name}"
    decision = flow.decide([name], report.parameters, takes_updated_after=report.takes_updated_after)
    return flow.run(ProcessedReport(flow, report, decision, [name]))


@dataclass(frozen=True, slots=True)
class ProcessedReport:
    """A report that the user's function processes, as a source of a flow.

    Attributes:
        flow: The tenant, the policy and the scope.
        report: The report and its function.
        decision: In full or since when.
        watermarks: Name of its watermark.
    """

    flow: Flow
    report: CustomReport
    decision: Decision
    watermarks: Sequence[str]

    @property
    def job(self) -> str:
        return self.report.name

    @property
    def arguments(self) -> Mapping[str, Any]:
        return {"scope": self.flow.scope, "mode": self.decision.mode}

    @property
    def parameters(self) -> Parameters:
        return self.report.parameters

    @property
    def requested(self) -> dict[str, Any]:
        """All parameters of the request."""
        return {**self.report.parameters, **scoped(self.flow.scope, self.decision.updated_after)}

    def fetch(self) -> AbstractContextManager[ReportFiles]:
        """Request the report and download it."""
        return downloaded(self.flow, [Asked(self.report.name, self.requested)])

    def publish(self, publication: Publication[ReportFiles]) -> CustomOutcome:
        """Call the user's function."""
        session, (file,) = self.flow.session, publication.content.files
        start = time.perf_counter()
        given = DownloadedReport(
            path=file.path,
            name=self.report.name,
            id=file.status.id,
            scope=self.flow.scope,
            started_at=file.observed_at,
            parameters=self.requested,
            updated_after=self.decision.updated_after,
        )
        context = ReportContext(
            session.tenant.slug, session.schema, publication.warehouse.connection, session, self.flow.log
        )
        returned = self.report.processor(given, context)
        seconds = time.perf_counter() - start
        return CustomOutcome(file.status.id, file.observed_at, self.decision, publication.waited, seconds, returned)
