"""A report that feeds models: which one is requested, and with which parameters."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

from canvas_sync_dagster.canvas.reports import ReportFiles
from canvas_sync_dagster.catalogue.parameters import Parameters
from canvas_sync_dagster.sync.feeds import FeedChooser, over_rest
from canvas_sync_dagster.sync.flow import Flow, Publication
from canvas_sync_dagster.sync.journal import journaled
from canvas_sync_dagster.sync.outcome import SyncOutcome
from canvas_sync_dagster.sync.policy import Decision
from canvas_sync_dagster.sync.report_download import Asked, downloaded
from canvas_sync_dagster.sync.report_loading import ReportLoad
from canvas_sync_dagster.sync.report_parts import sub_accounts
from canvas_sync_dagster.sync.report_request import ReportGroup, ReportRequest, plan_request, refuse_skipped, requested
from canvas_sync_dagster.sync.unknown_columns import settle_unknown_columns

Wanted = tuple[ReportGroup, Collection[str]]
"""A report, and the names of the models that are wanted of it."""


def sync_report(
    flow: Flow,
    group: ReportGroup,
    selected: Collection[str],
    *,
    following: Sequence[Wanted] = (),
    reasons: Mapping[str, str] = MappingProxyType({}),
) -> SyncOutcome:
    """Request a report and load its tables.

    Args:
        flow: The tenant, the policy and the scope.
        group: Models that the report feeds. If some have parameters of their own, `report_request.requested` splits it first.
        selected: Names of those that are wanted now.
        following: Reports that this run requests next; Canvas may already compile them.
        reasons: Model → why it has this feed, which is reported if Canvas cannot feed it.

    Raises:
        CanvasSyncError: Nothing was published; the message names the remedy.
    """
    tables = flow.prepare(selected, per_term=group.term_scoped)
    available = flow.session.available_reports()
    group = _one_report(group, selected, flow.policy.params)
    request = _planned(flow, group, selected, available)
    request = replace(request, skipped={name: reasons.get(name, why) for name, why in request.skipped.items()})
    tenant = flow.session.tenant
    to_report = [name for name, feed in tenant.feeds.items() if feed == "report"]
    refuse_skipped(request, flow.policy.named_models, tenant=tenant.slug, set_to_report=to_report)
    request = request.without({name: f"{why}; see `canvas-sync doctor`" for name, why in tables.skipped.items()})
    if not request.models:
        return _skip(flow, request)
    ahead = _ahead(flow, following, available)
    report = ModelReport(flow, request, _decide(flow, request), ahead)
    flow.log(f"{request.report}: {report.decision.mode}, because {report.decision.reason}")
    if not request.lists_all:
        flow.log(f"{request.report} has custom parameters, so no row is marked as missing")
    return flow.run(report)


@dataclass(frozen=True, slots=True)
class ModelReport:
    """A report that feeds models, as a source of a flow.

    Attributes:
        flow: The sync that needs it.
        request: What to request.
        decision: In full or since when.
        ahead: Reports to order while Canvas compiles this one.
    """

    flow: Flow
    request: ReportRequest
    decision: Decision
    ahead: Sequence[ReportRequest] = ()

    @property
    def job(self) -> str:
        return self.request.report

    @property
    def arguments(self) -> Mapping[str, Any]:
        models = [model.name for model in self.request.models]
        return {"models": models, "scope": self.flow.scope, "mode": self.decision.mode}

    @property
    def watermarks(self) -> Sequence[str]:
        return _watermarks(self.flow, self.request)

    @property
    def parameters(self) -> Parameters:
        return self.request.basis

    @contextmanager
    def fetch(self) -> Iterator[ReportFiles]:
        """Request the report and download it, and order the next ones while Canvas compiles it."""
        parts = _asked(self.flow, self.request, self.decision)
        with downloaded(self.flow, parts, following=partial(_following, self.flow, self.ahead)) as content:
            settle_unknown_columns(self.flow, self.request, content)
            yield content

    def publish(self, publication: Publication[ReportFiles]) -> SyncOutcome:
        """Load all tables of the report."""
        content = publication.content
        return SyncOutcome(
            source=self.request.report,
            scope=self.flow.scope,
            observed_at=content.observed_at,
            decision=self.decision,
            waited=publication.waited,
            models=ReportLoad(self.flow, self.request, self.decision, publication).run(),
            skipped=self.request.skipped,
            report_id=content.report_id,
            adopted=content.adopted,
            parts={name: file.status.id for name, file in content.parts.items()} if self.request.split else {},
        )


def _asked(flow: Flow, request: ReportRequest, decision: Decision) -> list[Asked]:
    """Return what is requested from Canvas: one report, or one for each sub-account."""
    parameters = request.parameters(flow.scope, decision.updated_after)
    accounts = sub_accounts(flow.session, request.split) if request.split else (None,)
    return [Asked(request.report, parameters, account) for account in accounts]


def _following(flow: Flow, ahead: Sequence[ReportRequest]) -> list[Asked]:
    return [asked for request in ahead for asked in _asked(flow, request, _decide(flow, request))]


def _one_report(group: ReportGroup, selected: Collection[str], params: Mapping[str, Parameters]) -> ReportGroup:
    reports = requested([(group, selected)], params)
    if len(reports) > 1:
        raise ValueError(f"{group.name} is {len(reports)} reports, because models have parameters of their own")
    return reports[0][0] if reports else group


def _planned(flow: Flow, group: ReportGroup, names: Collection[str], available: Collection[str]) -> ReportRequest:
    policy = flow.policy
    return plan_request(group, names, available, policy.provisioning_report, policy.split_reports)


def _ahead(flow: Flow, following: Sequence[Wanted], available: Collection[str]) -> list[ReportRequest]:
    chooser = chooser_of(flow, available)
    reports = [
        (group, names - {*over_rest(chooser.of_group(group, names))})
        for group, names in requested(following, flow.policy.params)
    ]
    wanted = [(group, names) for group, names in reports if names][: flow.policy.reports_ahead]
    requests = [_planned(flow, group, names, available) for group, names in wanted]
    return [request for request in requests if request.models]


def chooser_of(flow: Flow, available: Collection[str]) -> FeedChooser:
    """Return what chooses the feeds of a sync.

    Args:
        flow: The tenant and the policy.
        available: Names of the reports that this Canvas offers.
    """
    policy, feeds = flow.policy, flow.session.tenant.feeds
    return FeedChooser(available, policy.provisioning_report, feeds, policy.params, flow.row_functions)


def _watermarks(flow: Flow, request: ReportRequest) -> list[str]:
    return [flow.watermark_name(model.name) for model in request.models]


def _decide(flow: Flow, request: ReportRequest) -> Decision:
    return flow.decide(_watermarks(flow, request), request.basis, takes_updated_after=request.takes_updated_after)


def _skip(flow: Flow, request: ReportRequest) -> SyncOutcome:
    """Record in the journal that this Canvas cannot feed any of the models."""
    session = flow.session
    outcome = SyncOutcome.nothing(request.report, flow.scope, session.canvas.now(), request.skipped)
    arguments = {"models": [], "scope": flow.scope}
    with (
        journaled(session, request.report, arguments, flow.policy.run_id) as job,
        session.warehouse("writing the journal") as warehouse,
    ):
        job.succeed(warehouse, outcome.summary())
    return outcome
