"""What is requested from Canvas: which report feeds which models, and with which parameters.

Pure: computed from the catalogue, the settings, and the list of reports that this Canvas has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from canvas_sync_dagster.catalogue import Model, ProvisioningFeed, ReportFeed, RestFeed
from canvas_sync_dagster.catalogue.parameters import NONE, Parameters, digest, encoded, merged
from canvas_sync_dagster.errors import CanvasNotFoundError

PROPRIETARY = "proservices_provisioning_csv"
STOCK = "provisioning_csv"
SPLIT = "split_reports"
"""Name of the sub-accounts among the parameters that an incremental report must have in common with earlier ones; Canvas
has no such parameter."""


@dataclass(frozen=True, slots=True)
class ReportGroup:
    """The models that one report feeds: one op, one download, one transaction.

    Attributes:
        name: Name of the op, without the tenant (`provisioning_term`, `assignments`).
        models: In the order of the catalogue, parents first.
        term_scoped: Whether the report is requested term by term.
        report: Canvas's name of the report; None for the provisioning report, of which there are two kinds.
        parameters: Custom parameters, from the settings, the run, or the mapping of a model.
    """

    name: str
    models: tuple[Model, ...]
    term_scoped: bool
    report: str | None = None
    parameters: Parameters = field(default_factory=lambda: NONE)


def report_groups(models: Iterable[Model]) -> tuple[ReportGroup, ...]:
    """Group models by the report that feeds them; models that are not fed by a report are omitted."""
    chosen = tuple(models)
    provisioning = [model for model in chosen if isinstance(model.feed, ProvisioningFeed)]
    groups = [
        ReportGroup("provisioning", tuple(m for m in provisioning if not m.term_scoped), term_scoped=False),
        ReportGroup("provisioning_term", tuple(m for m in provisioning if m.term_scoped), term_scoped=True),
        *(
            ReportGroup(model.name, (model,), model.term_scoped, model.feed.report)
            for model in chosen
            if isinstance(model.feed, ReportFeed)
        ),
    ]
    return tuple(group for group in groups if group.models)


def split_by_parameters(group: ReportGroup, params: Mapping[str, Parameters]) -> tuple[ReportGroup, ...]:
    """Split a group into reports whose models have the same parameters: one, unless a model has custom parameters.

    Args:
        group: Models that one report feeds.
        params: Model → parameters of the settings and the run; they replace those of the model's mapping by name.
    """
    alike: dict[str, list[Model]] = defaultdict(list)
    given: dict[str, Parameters] = {}
    for model in group.models:
        parameters = encoded(merged(model.parameters, params.get(model.name, NONE)))
        alike[digest(parameters)].append(model)
        given[digest(parameters)] = parameters
    return tuple(replace(group, models=tuple(models), parameters=given[key]) for key, models in alike.items())


def requested(
    wanted: Iterable[tuple[ReportGroup, Collection[str]]], params: Mapping[str, Parameters]
) -> list[tuple[ReportGroup, set[str]]]:
    """Return the reports to request, in order.

    Args:
        wanted: Groups, each with the names of the models that are wanted.
        params: Model → parameters of the settings and the run.

    Returns:
        Reports, each with the names of the models that are wanted of it; at least one.
    """
    reports = [
        (part, {model.name for model in part.models} & set(names))
        for group, names in wanted
        for part in split_by_parameters(group, params)
    ]
    return [(part, names) for part, names in reports if names]


def rest_models(models: Iterable[Model]) -> tuple[Model, ...]:
    """Return the models that are fed by a list over REST."""
    return tuple(model for model in models if isinstance(model.feed, RestFeed))


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """A report to request.

    Attributes:
        report: Canvas's name of the report.
        models: Models that it will feed.
        skipped: Model → why this Canvas cannot feed it.
        takes_updated_after: Whether it can be limited to what changed.
        custom: Custom parameters.
        split: Ids of the sub-accounts whose reports are its parts, or `all`; empty if it is requested as a whole.
    """

    report: str
    models: tuple[Model, ...]
    skipped: Mapping[str, str]
    takes_updated_after: bool
    custom: Parameters = field(default_factory=lambda: NONE)
    split: tuple[str, ...] = ()

    @property
    def basis(self) -> Parameters:
        """What an incremental report must have in common with the earlier ones: fixed parameters and sub-accounts.

        An account that was not covered before has changes from before the watermark, so the next report is full.
        """
        return {**self.fixed, SPLIT: ",".join(sorted(self.split))} if self.split else self.fixed

    @property
    def fixed(self) -> Parameters:
        """Parameters other than tables, term and `updated_after`: those of the declaration, then the custom ones."""
        declared = [model.feed.parameters for model in self.models if isinstance(model.feed, ReportFeed)]
        return {name: value for given in (*declared, self.custom) for name, value in given.items()}

    @property
    def lists_all(self) -> bool:
        """Whether a full report lists every row of its scope: custom parameters may exclude some."""
        return not self.custom

    def without(self, reasons: Mapping[str, str]) -> ReportRequest:
        """Return the request without some models, which must not make the other models of the report fail.

        A report that feeds one model is unchanged: if it fails, no other model is affected.

        Args:
            reasons: Model → why it is skipped.
        """
        if len(self.models) < 2:
            return self
        skipped = {model.name: reasons[model.name] for model in self.models if model.name in reasons}
        kept = tuple(model for model in self.models if model.name not in skipped)
        return replace(self, models=kept, skipped={**self.skipped, **skipped})

    def tables(self) -> tuple[str, ...]:
        """Return the names of the tables in the file; empty for a report that has no named tables."""
        feeds = [model.feed for model in self.models if isinstance(model.feed, ProvisioningFeed)]
        return tuple(name for feed in feeds for name in (feed.table, *(extra.table for extra in feed.enrichments)))

    def parameters(self, scope: str, updated_after: datetime | None) -> dict[str, Any]:
        """Return all parameters of the request.

        Args:
            scope: Canvas term id, or empty for a report without a term.
            updated_after: Since when, for an incremental report.
        """
        tables = dict.fromkeys(self.tables(), "true")
        return {"include_deleted": "true", **self.fixed, **tables, **scoped(scope, updated_after)}


def scoped(scope: str, updated_after: datetime | None) -> dict[str, str]:
    """Return the parameters that limit a report.

    Args:
        scope: Canvas term id, or empty for a report without a term.
        updated_after: Since when, for an incremental report; None for a full one.

    >>> scoped("118", datetime(2026, 9, 1, tzinfo=UTC))
    {'enrollment_term_id': '118', 'updated_after': '2026-09-01T00:00:00Z'}
    """
    term = {"enrollment_term_id": scope} if scope else {}
    if updated_after is None:
        return term
    return {**term, "updated_after": updated_after.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}


def plan_request(
    group: ReportGroup,
    selected: Collection[str],
    available: Collection[str],
    provisioning_report: str,
    split: Sequence[str] = (),
) -> ReportRequest:
    """Choose the report of a group, and the selected models that it can feed.

    Args:
        group: Models that one report feeds.
        selected: Names of the models that are wanted now.
        available: Names of the reports that this Canvas offers.
        provisioning_report: The setting: Canvas's name of the report, or `auto`.
        split: The setting `split_reports`; only the reports of a term are split.
    """
    report = group.report or provisioning_report_of(provisioning_report, available)
    wanted = tuple(model for model in group.models if model.name in selected)
    skipped = {model.name: why for model in wanted if (why := why_not(model, report, available))}
    feeds = [model.feed for model in wanted]
    return ReportRequest(
        report,
        tuple(model for model in wanted if model.name not in skipped),
        skipped,
        takes_updated_after=report == PROPRIETARY
        or any(isinstance(feed, ReportFeed) and feed.takes_updated_after for feed in feeds),
        custom=group.parameters,
        split=tuple(split) if group.term_scoped else (),
    )


def provisioning_report_of(setting: str, available: Collection[str]) -> str:
    """Return Canvas's name of the provisioning report.

    Args:
        setting: The name, or `auto`.
        available: Names of the reports that this Canvas offers.
    """
    if setting != "auto":
        return setting
    return PROPRIETARY if PROPRIETARY in available else STOCK


def why_not(model: Model, report: str, available: Collection[str]) -> str | None:
    """Return why a report of this Canvas cannot feed a model; None if it can."""
    if report not in available:
        return f"this Canvas has no report {report}, or the token may not run it on this account"
    if not carries(report, model):
        return f"the stock {STOCK} has no table of {model.name}"
    return None


def carries(report: str, model: Model) -> bool:
    """Return whether a report has the table of a model; the stock provisioning report lacks some tables."""
    return report != STOCK or not isinstance(model.feed, ProvisioningFeed) or model.feed.stock


def refuse_skipped(
    request: ReportRequest, named: Collection[str], *, tenant: str, set_to_report: Collection[str] = ()
) -> None:
    """Refuse a request that skips a model which the settings name.

    Args:
        request: What is requested.
        named: Models that the setting `models` names.
        tenant: Slug of the tenant.
        set_to_report: Models for which the setting `feeds` requests the report.

    Raises:
        CanvasNotFoundError: A model that is named cannot be fed.
    """
    if fixed := [name for name in request.skipped if name in set_to_report]:
        raise CanvasNotFoundError(
            f"tenant {tenant}: feeds requests the report of {fixed[0]}, but {request.skipped[fixed[0]]}. Set feeds: "
            f"{{{fixed[0]}: rest}}, remove it from feeds, or have Canvas offer the report."
        )
    refused = {name: why for name, why in request.skipped.items() if name in named}
    if refused:
        reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise CanvasNotFoundError(
            f"tenant {tenant}: {reasons}. Take {', '.join(refused)} out of CANVAS_SYNC_MODELS, or have Canvas offer the "
            "report (Admin → Settings → Reports shows what it has)."
        )
