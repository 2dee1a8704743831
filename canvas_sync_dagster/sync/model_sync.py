"""The models of one report: by the report where this Canvas offers it, and over REST where it does not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from canvas_sync_dagster.sync.feeds import over_rest
from canvas_sync_dagster.sync.flow import Flow
from canvas_sync_dagster.sync.outcome import SyncOutcome
from canvas_sync_dagster.sync.report_request import ReportGroup
from canvas_sync_dagster.sync.report_sync import Wanted, chooser_of, sync_report
from canvas_sync_dagster.sync.rest_sync import sync_list


def sync_models(
    flow: Flow, group: ReportGroup, selected: Collection[str], *, following: Sequence[Wanted] = ()
) -> Iterator[SyncOutcome]:
    """Load models of one report, and yield an outcome for the report and for each walk over REST.

    Args:
        flow: The tenant, the policy and the scope.
        group: Models that the report can feed, all with the same parameters.
        selected: Names of those that are wanted now.
        following: Reports that this run requests next; Canvas may already compile them.

    Raises:
        CanvasSyncError: A source was not published; the message names the remedy. Earlier ones were.
    """
    choices = chooser_of(flow, flow.session.available_reports()).of_group(group, selected)
    walked = over_rest(choices)
    if reported := set(choices) - set(walked):
        reasons = {name: choice.reason for name, choice in choices.items() if not choice.is_set}
        yield sync_report(flow, group, reported, following=following, reasons=reasons)
    for model in group.models:
        # After the report: a walk may read a list for each row of a table that the report loads.
        if model.name in walked:
            flow.log(f"{model.name} is read over REST, because {choices[model.name].reason}")
            yield sync_list(flow, model, because=choices[model.name].reason)
